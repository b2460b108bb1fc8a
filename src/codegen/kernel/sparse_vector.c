/* The kernel of a sparse matrix times a vector: batch 1, as slices or as a bitmap.
 * error: |y - y64| <= gamma(nonzeros(row) + 2) (sum |weight x| + |bias|). source: KREUTZER2014, HIGHAM2002 */
#include "codegen/kernel/sparse_vector.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>

/* Schedules: a form, and whether threads share it. */
enum { SLICES = 1, BITMAP = 2, FORM = 3, SHARED = 4 };

static bool reject(const char **why, const char *text) {
    if (why) *why = text;
    return false;
}

static bool is_schedule(const deft_request *request) {
    uint64_t form = request->schedule & FORM;
    bool has_form = form == SLICES || (form == BITMAP && request->isa == DEFT_ISA_AVX512);
    return request->schedule == 0 || (request->schedule < 2 * SHARED && has_form);
}

static bool linear_of(const deft_request *request, deft_linear *linear, const char **why) {
    if (request->isa != DEFT_ISA_AVX2 && request->isa != DEFT_ISA_AVX512) return reject(why, "needs AVX2");
    if (request->in_layout != DEFT_LAYOUT_ROWS || request->out_layout != DEFT_LAYOUT_ROWS)
        return reject(why, "reads and writes rows");
    if (request->residual) {
        if (why) *why = "it adds no residual";
        return false;
    }
    if (!deft_linear_of(request, linear, why)) return false;
    if (linear->conv) return reject(why, "a convolution");
    if (linear->n > 1) return reject(why, "more than a vector");
    if (linear->n == 0 || linear->m == 0 || linear->k == 0) return reject(why, "nothing to compute");
    if (linear->k > INT32_MAX || linear->m > INT32_MAX) return reject(why, "a matrix of more than 2^31 rows");
    if (!is_schedule(request)) return reject(why, "not a schedule of it");
    return true;
}

/* ---- choosing a form ----------------------------------------------------------------------------------------- */

/* Basis, one core of a Sapphire Rapids Xeon, nanoseconds: 0.24 a nonzero by gathers of 16, 0.4 by gathers of 8, slices
 * being some 5% longer than their rows; 1.4 for 16 positions of a bitmap; bytes out of L2, L3 and memory. */
static double form_ns(const deft_request *request, const deft_linear *l, uint64_t form) {
    double nonzeros = (double)l->nonzeros, positions = (double)l->weights, rows = (double)l->m;
    double bytes = form == BITMAP ? 4 * nonzeros + positions / 8 : 5.3 * nonzeros;
    double bytes_per_ns = bytes < 1 << 20 ? 100 : bytes < 32 << 20 ? 30 : 9;
    double gather_ns = request->isa == DEFT_ISA_AVX512 ? 0.24 : 0.4;
    double compute_ns = form == BITMAP ? 1.4 / 16 * positions + 5 * rows : 1.05 * gather_ns * nonzeros + 0.6 * rows;
    return fmax(compute_ns, bytes / bytes_per_ns) + 20;
}

static uint64_t best_form(const deft_request *request, const deft_linear *l) {
    bool bitmap = request->isa == DEFT_ISA_AVX512 && form_ns(request, l, BITMAP) < form_ns(request, l, SLICES);
    return bitmap ? BITMAP : SLICES;
}

/* What the request says, or the best by estimate. */
static uint64_t schedule_of(const deft_request *request, const deft_linear *l) {
    if (request->schedule) return request->schedule;
    uint64_t form = best_form(request, l);
    bool shared = request->call.threads > 1 && form_ns(request, l, form) >= DEFT_WORTH_A_TEAM_NS;
    return form | (shared ? SHARED : 0);
}

bool deft_sparse_vector_accepts(const deft_request *request, const char **why) {
    deft_linear linear;
    return linear_of(request, &linear, why);
}

double deft_sparse_vector_estimate_ns(const deft_request *request) {
    deft_linear linear;
    if (!linear_of(request, &linear, NULL)) return INFINITY;
    return form_ns(request, &linear, schedule_of(request, &linear) & FORM);
}

/* A bitmap is worth timing only where it might be smaller. */
int deft_sparse_vector_schedules(const deft_request *request, int most, uint64_t *schedules) {
    static const double least_share = 0.08;
    deft_linear linear;
    if (!linear_of(request, &linear, NULL)) return 0;
    bool dense_enough = (double)linear.nonzeros > least_share * (double)linear.weights;
    uint64_t best = best_form(request, &linear), other = best == SLICES ? BITMAP : SLICES;
    uint64_t shared = request->call.threads > 1 ? SHARED : 0;
    bool both = request->isa == DEFT_ISA_AVX512 && dense_enough;
    const uint64_t all[] = {best | shared, best, other | shared, other};
    int count = 0;
    for (int i = 0; i < (both ? 4 : 2) && count < most; i++)
        if (shared || i % 2) schedules[count++] = all[i];
    return count;
}

/* ---- the kernel ---------------------------------------------------------------------------------------------- */

static void free_vector(deft_context *ctx, deft_vector *v) {
    if (!v) return;
    deft_sell_free(ctx, v->sell);
    deft_bitmap_free(ctx, v->bitmap);
    deft_release(ctx, v);
}

static void describe(deft_vector *v, const deft_linear *l, deft_kernel *kernel) {
    size_t weight_bytes;
    if (v->bitmap) {
        weight_bytes = (size_t)l->nonzeros * sizeof(float) + (size_t)(l->m * v->bitmap->words) * sizeof(uint64_t);
        snprintf(v->detail, sizeof v->detail, "bitmap, %d threads", v->threads);
    } else {
        int value_bytes = v->sell->short_values ? 2 : 4;
        weight_bytes = (size_t)(v->sell->step_count * v->sell->lanes * value_bytes + v->sell->index_bytes);
        snprintf(v->detail, sizeof v->detail, "slices of %d rows, %d-bit weights, %d threads", v->sell->lanes,
                 8 * value_bytes, v->threads);
    }
    kernel->state = v;
    kernel->weight_bytes = weight_bytes;
    kernel->weights = l->weights;
    kernel->nonzeros = l->nonzeros;
    kernel->detail = v->detail;
}

deft_status deft_sparse_vector_prepare(deft_context *ctx, const deft_request *request, deft_kernel *kernel) {
    deft_linear linear;
    const char *why = NULL;
    if (!linear_of(request, &linear, &why)) return deft_fail(ctx, DEFT_BUG, "sparse-vector: not accepted: %s", why);
    uint64_t schedule = schedule_of(request, &linear);
    bool shared = (schedule & SHARED) && request->call.threads > 1;
    deft_vector *v;
    deft_status status;
    DEFT_TRY(deft_allocate_zeroed(ctx, 1, sizeof *v, &v));
    v->isa = request->isa;
    v->threads = shared ? request->call.threads : 1;
    v->activation = request->activation;
    v->input = linear.input;
    v->m = linear.m, v->k = linear.k;
    if ((schedule & FORM) == BITMAP)
        DEFT_TRY_OR_FAIL(deft_bitmap_new(ctx, &linear, &v->bitmap));
    else
        DEFT_TRY_OR_FAIL(deft_sell_new(ctx, &linear, request->isa == DEFT_ISA_AVX512 ? 16 : 8, &v->sell));
    describe(v, &linear, kernel);
    return DEFT_OK;
fail:
    free_vector(ctx, v);
    return status;
}

static void run_share(const deft_vector *v, const float *x, float *y, int thread, int team) {
    const int64_t *starts = v->bitmap ? v->bitmap->begin : v->sell->begin;
    int64_t count = v->bitmap ? v->m : v->sell->slice_count;
    int64_t begin = deft_rows_share(starts, count, thread, team),
            end = deft_rows_share(starts, count, thread + 1, team);
    if (v->bitmap)
        deft_bitmap_run_avx512(v, begin, end, x, y);
    else if (v->isa == DEFT_ISA_AVX512)
        deft_sell_run_avx512(v, begin, end, x, y);
    else
        deft_sell_run_avx2(v, begin, end, x, y);
}

deft_status deft_sparse_vector_run(deft_context *ctx, const deft_kernel *kernel, const deft_tensor *const *in,
                                   deft_tensor *const *out, void *scratch) {
    (void)ctx, (void)scratch;
    const deft_vector *v = kernel->state;
    const float *x = in[v->input]->data;
    if (v->threads == 1) {
        run_share(v, x, out[0]->data, 0, 1);
        return DEFT_OK;
    }
#pragma omp parallel num_threads(v->threads)
    run_share(v, x, out[0]->data, omp_get_thread_num(), omp_get_num_threads());
    return DEFT_OK;
}

void deft_sparse_vector_done(deft_context *ctx, deft_kernel *kernel) {
    free_vector(ctx, kernel->state);
    kernel->state = NULL;
}

/* The kernel of products with 2 to 16 columns: x into rows of 4, 8 or 16 lanes, the loop, y out of them.
 * error: |y - y64| <= gamma(nonzeros(row) + 2) (sum |weight x| + |bias|). source: KREUTZER2014, HIGHAM2002 */
#include "codegen/kernel/sparse_stream.h"

#include "codegen/kernel/sparse_rows.h"
#include "codegen/kernel/transpose.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>

enum { LEAST_COLUMNS = 2, MOST_COLUMNS = 16, PANEL = DEFT_PANEL_LANES };
enum { ALL_THREADS = 1, ONE_THREAD = 2 }; /* schedules */

static bool reject(const char **why, const char *text) {
    if (why) *why = text;
    return false;
}

/* A product whose columns are pixels: a weight on the left, or a convolution of one tap. */
static bool is_pointwise(const deft_linear *l) {
    bool one_tap = l->kernel_height == 1 && l->kernel_width == 1 && l->stride_y == 1 && l->stride_x == 1;
    return one_tap && l->groups == 1 && !(l->pad_top || l->pad_left || l->pad_bottom || l->pad_right);
}

static bool linear_of(const deft_request *request, deft_linear *linear, const char **why) {
    if (request->residual) {
        if (why) *why = "it adds no residual";
        return false;
    }
    if (!deft_linear_of(request, linear, why)) return false;
    if (linear->conv && !is_pointwise(linear)) return reject(why, "a convolution of more than one tap");
    bool panels = request->in_layout != DEFT_LAYOUT_ROWS || request->out_layout != DEFT_LAYOUT_ROWS;
    if (linear->conv && panels) return reject(why, "panels are for matrix products");
    int64_t columns = linear->conv ? linear->in_height * linear->in_width : linear->n;
    if (columns < LEAST_COLUMNS) return reject(why, "a matrix times a vector");
    if (columns > MOST_COLUMNS) return reject(why, "the batch is large");
    if (linear->n == 0 || linear->m == 0 || linear->k == 0) return reject(why, "nothing to compute");
    if (linear->k > INT32_MAX / MOST_COLUMNS || linear->m > INT32_MAX / MOST_COLUMNS)
        return reject(why, "a matrix of more than 2^31 elements");
    if (request->schedule > ONE_THREAD) return reject(why, "not a schedule of it");
    return true;
}

/* All but the memory. */
static deft_stream stream_of(const deft_request *request, const deft_linear *linear) {
    bool pixels = linear->conv;
    deft_stream s = {
        .isa = request->isa,
        .activation = request->activation,
        .input = linear->input,
        .images = pixels ? linear->n : 1,
        .n = pixels ? linear->in_height * linear->in_width : linear->n,
        .m = linear->m,
        .k = linear->k,
        .by_columns = pixels,
    };
    bool in_panels = request->in_layout == DEFT_LAYOUT_PANELS, out_panels = request->out_layout == DEFT_LAYOUT_PANELS;
    s.lanes = out_panels || s.n > 8 ? 16 : s.n > 4 ? 8 : 4;
    s.x_direct = in_panels || (pixels && s.n == s.lanes);
    s.y_direct = out_panels || pixels;
    s.x_pitch = in_panels ? PANEL : s.lanes;
    s.y_pitch = out_panels ? PANEL : pixels ? s.n : s.lanes;
    s.stored = pixels ? s.n : s.lanes;
    return s;
}

/* Basis: one core of a Sapphire Rapids Xeon, nanoseconds: 0.35 a nonzero for vectors of up to 256 bits, 0.45 for 512;
 * a row costs 3, packing and copying out 0.3 and 0.1 a lane of 4. Portable C multiplies and adds four lanes in 0.3. */
static double one_thread_ns(const deft_stream *s, int64_t nonzeros) {
    double vectors = s->isa == DEFT_ISA_C ? s->lanes / 4.0 : s->isa == DEFT_ISA_AVX2 ? (s->lanes + 7) / 8 : 1;
    double nonzero_ns = s->isa == DEFT_ISA_C ? 0.3 * vectors + 0.2 : s->lanes > 8 ? 0.45 * vectors : 0.35;
    double quarters = s->lanes / 4.0, pack_ns = s->x_direct ? 0 : (0.2 + 0.1 * quarters) * (double)s->k;
    double unpack_ns = s->y_direct ? 0 : 0.2 * quarters * (double)s->m;
    return (double)s->images * (nonzero_ns * (double)nonzeros + 3 * (double)s->m + pack_ns + unpack_ns) + 20;
}

/* By what the schedule says, or where it pays. */
static int threads_of(const deft_request *request, const deft_stream *s, int64_t nonzeros) {
    int most = request->call.threads > 1 ? request->call.threads : 1;
    if (request->schedule) return request->schedule == ALL_THREADS ? most : 1;
    return one_thread_ns(s, nonzeros) < DEFT_WORTH_A_TEAM_NS ? 1 : most;
}

bool deft_sparse_stream_accepts(const deft_request *request, const char **why) {
    deft_linear linear;
    return linear_of(request, &linear, why);
}

double deft_sparse_stream_estimate_ns(const deft_request *request) {
    deft_linear linear;
    if (!linear_of(request, &linear, NULL)) return INFINITY;
    deft_stream stream = stream_of(request, &linear);
    return one_thread_ns(&stream, linear.nonzeros);
}

int deft_sparse_stream_schedules(const deft_request *request, int most, uint64_t *schedules) {
    schedules[0] = ONE_THREAD;
    schedules[1] = ALL_THREADS;
    return request->call.threads > 1 && most > 1 ? 2 : 1;
}

/* ---- making it ----------------------------------------------------------------------------------------------- */

static void fill_row(deft_stream *s, const deft_linear *l, int64_t i) {
    const float *weight = l->weight + s->rows[i] * l->row_stride;
    int64_t at = s->begin[i];
    for (int64_t j = 0; j < l->k; j++) {
        if (weight[j * l->column_stride] == 0) continue;
        int64_t offset = j * s->x_pitch / DEFT_STREAM_UNIT;
        s->values[at] = l->scale * weight[j * l->column_stride];
        if (s->short_offsets)
            s->short_offsets[at++] = (uint16_t)offset;
        else
            s->offsets[at++] = (int32_t)offset;
    }
}

static deft_status fill_stream(deft_context *ctx, const deft_linear *l, const deft_sorted_row *order, deft_stream *s) {
    size_t rows = (size_t)s->m, nonzeros = (size_t)l->nonzeros;
    DEFT_TRY(deft_allocate(ctx, rows * sizeof *s->rows, &s->rows));
    DEFT_TRY(deft_allocate(ctx, rows * sizeof *s->bias, &s->bias));
    DEFT_TRY(deft_allocate(ctx, (rows + 1) * sizeof *s->begin, &s->begin));
    DEFT_TRY(deft_allocate(ctx, nonzeros * sizeof *s->values, &s->values));
    if (l->k * s->x_pitch / DEFT_STREAM_UNIT <= UINT16_MAX + 1)
        DEFT_TRY(deft_allocate(ctx, nonzeros * sizeof *s->short_offsets, &s->short_offsets));
    else
        DEFT_TRY(deft_allocate(ctx, nonzeros * sizeof *s->offsets, &s->offsets));
    s->begin[0] = 0;
    for (int64_t i = 0; i < s->m; i++) {
        s->rows[i] = (int32_t)order[i].row;
        s->bias[i] = l->bias ? l->bias_scale * l->bias[order[i].row * l->bias_stride] : 0;
        s->begin[i + 1] = s->begin[i] + order[i].length;
        fill_row(s, l, i);
    }
    return DEFT_OK;
}

static void free_stream(deft_context *ctx, deft_stream *s) {
    deft_release(ctx, s->rows);
    deft_release(ctx, s->bias);
    deft_release(ctx, s->begin);
    deft_release(ctx, s->values);
    deft_release(ctx, s->short_offsets);
    deft_release(ctx, s->offsets);
    deft_release(ctx, s);
}

static deft_stream_engine engine_of(const deft_stream *s) {
    bool is_short = s->short_offsets != NULL;
    switch (s->isa) {
    case DEFT_ISA_AVX512:
        return deft_stream_engine_avx512(s->lanes, is_short);
    case DEFT_ISA_AVX2:
        return deft_stream_engine_avx2(s->lanes, is_short);
    default:
        return deft_stream_engine_c(s->lanes, is_short);
    }
}

static size_t x_scratch_bytes(const deft_stream *s) {
    return s->x_direct ? 0 : ((size_t)(s->k * s->lanes) * sizeof(float) + 63) / 64 * 64;
}

static size_t y_scratch_bytes(const deft_stream *s) {
    return s->y_direct ? 0 : (size_t)(s->m * s->lanes) * sizeof(float);
}

deft_status deft_sparse_stream_prepare(deft_context *ctx, const deft_request *request, deft_kernel *kernel) {
    deft_linear linear;
    const char *why = NULL;
    if (!linear_of(request, &linear, &why)) return deft_fail(ctx, DEFT_BUG, "sparse-stream: not accepted: %s", why);
    deft_stream *s;
    deft_sorted_row *order = NULL;
    deft_status status;
    DEFT_TRY(deft_allocate(ctx, sizeof *s, &s));
    *s = stream_of(request, &linear);
    s->threads = threads_of(request, s, linear.nonzeros);
    DEFT_TRY_OR_FAIL(deft_allocate(ctx, (size_t)s->m * sizeof *order, &order));
    deft_rows_sort(&linear, order);
    DEFT_TRY_OR_FAIL(fill_stream(ctx, &linear, order, s));
    deft_release(ctx, order);
    s->engine = engine_of(s);
    kernel->state = s;
    kernel->scratch_bytes = x_scratch_bytes(s) + y_scratch_bytes(s);
    kernel->weight_bytes = (size_t)linear.nonzeros * (sizeof(float) + (s->short_offsets ? 2 : 4));
    kernel->weights = linear.weights;
    kernel->nonzeros = linear.nonzeros;
    snprintf(s->detail, sizeof s->detail, "%d lanes, %d-bit offsets, %d threads", s->lanes, s->short_offsets ? 16 : 32,
             s->threads);
    kernel->detail = s->detail;
    return DEFT_OK;
fail:
    deft_release(ctx, order);
    free_stream(ctx, s);
    return status;
}

void deft_sparse_stream_done(deft_context *ctx, deft_kernel *kernel) {
    if (kernel->state) free_stream(ctx, kernel->state);
    kernel->state = NULL;
}

/* ---- running it ---------------------------------------------------------------------------------------------- */

/* Rows of n floats into rows of as many lanes, of which those past n then hold what comes next in x, and are zero where
 * x ends. */
static void widen_rows(const float *x, int64_t n, int64_t begin, int64_t end, int64_t k, int lanes, float *to) {
    int64_t safe = k - (lanes + n - 1) / n + 1; /* rows at which as many floats begin */
    for (int64_t j = begin; j < end; j++) {
        const float *from = x + j * n;
        float *row = to + j * lanes;
        if (j >= safe) {
            memset(row, 0, (size_t)lanes * sizeof *row);
            for (int64_t i = 0; i < n; i++)
                row[i] = from[i];
        } else if (lanes == 4) {
            memcpy(row, from, 4 * sizeof *row);
        } else {
            for (int i = 0; i < lanes; i += 8)
                memcpy(row + i, from + i, 8 * sizeof *row);
        }
    }
}

/* A thread's share of the rows of x. */
static void pack(const deft_stream *s, const float *x, float *to, int thread, int team) {
    int64_t begin = s->k * thread / team, end = s->k * (thread + 1) / team;
    if (s->by_columns)
        widen_rows(x, s->n, begin, end, s->k, s->lanes, to);
    else
        deft_transpose(s->isa, x + begin, s->k, s->n, end - begin, to + begin * s->lanes, s->lanes, s->lanes);
}

static void unpack(const deft_stream *s, const float *from, float *y, int thread, int team) {
    int64_t begin = s->m * thread / team, end = s->m * (thread + 1) / team;
    deft_transpose(s->isa, from + begin * s->lanes, s->lanes, end - begin, s->n, y + begin, s->m, end - begin);
}

static void run_image(const deft_stream *s, const float *x, float *y, char *scratch, int thread, int team) {
    float *x_scratch = (float *)scratch, *y_scratch = (float *)(scratch + x_scratch_bytes(s));
    if (!s->x_direct) {
        pack(s, x, x_scratch, thread, team);
        if (team > 1) {
#pragma omp barrier
        }
    }
    s->engine(s, deft_rows_share(s->begin, s->m, thread, team), deft_rows_share(s->begin, s->m, thread + 1, team),
              s->x_direct ? x : x_scratch, s->y_direct ? y : y_scratch);
    if (team > 1) { /* the next image is packed over this one */
#pragma omp barrier
    }
    if (!s->y_direct) unpack(s, y_scratch, y, thread, team);
}

static void run_thread(const deft_stream *s, const float *x, float *y, char *scratch, int thread, int team) {
    for (int64_t image = 0; image < s->images; image++)
        run_image(s, x + image * s->k * s->n, y + image * s->m * s->n, scratch, thread, team);
}

deft_status deft_sparse_stream_run(deft_context *ctx, const deft_kernel *kernel, const deft_tensor *const *in,
                                   deft_tensor *const *out, void *scratch) {
    (void)ctx;
    const deft_stream *s = kernel->state;
    const float *x = in[s->input]->data;
    float *y = out[0]->data;
    if (s->threads == 1) {
        run_thread(s, x, y, scratch, 0, 1);
        return DEFT_OK;
    }
#pragma omp parallel num_threads(s->threads)
    run_thread(s, x, y, scratch, omp_get_thread_num(), omp_get_num_threads());
    return DEFT_OK;
}

/* The kernel of products with few columns (batch 1 above all), by gathering.
 * error: |y - y64| <= gamma(nonzeros(row) + 2) (sum |weight x| + |bias|). source: KREUTZER2014, HIGHAM2002 */
#include "codegen/kernel/sparse_vector.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>

enum { MOST_COLUMNS = 16, MOST_SHORT = 65536, MOST_LANES = 16 };

static bool reject(const char **why, const char *text) {
    if (why) *why = text;
    return false;
}

static bool linear_of(const deft_request *request, deft_linear *linear, const char **why) {
    if (request->isa != DEFT_ISA_AVX2 && request->isa != DEFT_ISA_AVX512) return reject(why, "needs AVX2");
    if (request->in_layout != DEFT_LAYOUT_ROWS || request->out_layout != DEFT_LAYOUT_ROWS)
        return reject(why, "reads and writes rows");
    if (!deft_linear_of(request, linear, why)) return false;
    if (linear->conv) return reject(why, "a convolution");
    if (linear->n > MOST_COLUMNS) return reject(why, "the batch is large");
    if (linear->n == 0 || linear->m == 0) return reject(why, "nothing to compute");
    if (linear->k > INT32_MAX / MOST_COLUMNS || linear->m > INT32_MAX / MOST_COLUMNS)
        return reject(why, "a matrix of more than 2^31 elements");
    return true;
}

/* ---- making the matrix ---- */

typedef struct sorted_row {
    int64_t length, row;
} sorted_row;

static int by_descending_length(const void *a, const void *b) {
    const sorted_row *first = a, *second = b;
    if (first->length != second->length) return first->length < second->length ? 1 : -1;
    return first->row < second->row ? -1 : first->row > second->row;
}

static void sort_rows(const deft_linear *l, sorted_row *order) {
    for (int64_t row = 0; row < l->m; row++) {
        const float *weight = l->weight + row * l->row_stride;
        order[row] = (sorted_row){.row = row};
        for (int64_t j = 0; j < l->k; j++)
            order[row].length += weight[j * l->column_stride] != 0;
    }
    qsort(order, (size_t)l->m, sizeof *order, by_descending_length);
}

/* Sets slices and rows, and counts the steps. */
static void slice_rows(deft_sell *sell, const deft_linear *l, const sorted_row *order, int64_t *partial_count) {
    int64_t steps = 0, partial = 0;
    for (int64_t slice = 0; slice < sell->slice_count; slice++) {
        int64_t first = slice * sell->lanes, past = first + sell->lanes;
        deft_sell_slice *s = &sell->slices[slice];
        *s = (deft_sell_slice){.step = steps, .partial = partial, .last = order[first].length};
        s->full = past <= l->m ? order[past - 1].length : 0;
        steps += s->last;
        partial += s->last - s->full;
        for (int64_t i = first; i < past; i++) {
            bool there = i < l->m;
            sell->rows[i] = there ? (int32_t)order[i].row : -1;
            sell->bias[i] = there && l->bias ? l->bias_scale * l->bias[order[i].row * l->bias_stride] : 0;
        }
    }
    sell->step_count = steps;
    *partial_count = partial;
}

static void fill_row(deft_sell *sell, const deft_linear *l, int64_t slice, int lane) {
    const float *weight = l->weight + sell->rows[slice * sell->lanes + lane] * l->row_stride;
    int64_t at = sell->slices[slice].step * sell->lanes + lane;
    for (int64_t j = 0; j < l->k; j++) {
        if (weight[j * l->column_stride] == 0) continue;
        sell->values[at] = l->scale * weight[j * l->column_stride];
        if (sell->short_columns)
            sell->short_columns[at] = (uint16_t)j;
        else
            sell->columns[at] = (int32_t)j;
        at += sell->lanes;
    }
}

static void fill_active(deft_sell *sell, const deft_linear *l, const sorted_row *order) {
    for (int64_t slice = 0; slice < sell->slice_count; slice++) {
        const deft_sell_slice *s = &sell->slices[slice];
        for (int64_t step = s->full; step < s->last; step++) {
            int rows = 0;
            int64_t i = slice * sell->lanes;
            while (rows < sell->lanes && i + rows < l->m && order[i + rows].length > step)
                rows++;
            sell->active[s->partial + step - s->full] = (uint8_t)rows;
        }
    }
}

static deft_status fill_sell(deft_context *ctx, const deft_linear *l, const sorted_row *order, deft_sell *sell) {
    size_t lanes = (size_t)sell->lanes, places = (size_t)sell->slice_count * lanes;
    DEFT_TRY(deft_allocate_zeroed(ctx, (size_t)sell->slice_count, sizeof *sell->slices, &sell->slices));
    DEFT_TRY(deft_allocate_zeroed(ctx, places, sizeof *sell->rows, &sell->rows));
    DEFT_TRY(deft_allocate_zeroed(ctx, places, sizeof *sell->bias, &sell->bias));
    int64_t partial;
    slice_rows(sell, l, order, &partial);
    size_t count = (size_t)sell->step_count * lanes;
    DEFT_TRY(deft_allocate_zeroed(ctx, count, sizeof *sell->values, &sell->values));
    if (l->k <= MOST_SHORT)
        DEFT_TRY(deft_allocate_zeroed(ctx, count, sizeof *sell->short_columns, &sell->short_columns));
    else
        DEFT_TRY(deft_allocate_zeroed(ctx, count, sizeof *sell->columns, &sell->columns));
    DEFT_TRY(deft_allocate_zeroed(ctx, (size_t)partial, sizeof *sell->active, &sell->active));
    fill_active(sell, l, order);
    for (int64_t slice = 0; slice < sell->slice_count; slice++)
        for (int lane = 0; lane < sell->lanes && sell->rows[slice * sell->lanes + lane] >= 0; lane++)
            fill_row(sell, l, slice, lane);
    return DEFT_OK;
}

static void free_sell(deft_context *ctx, deft_sell *sell) {
    deft_release(ctx, sell->slices);
    deft_release(ctx, sell->rows);
    deft_release(ctx, sell->bias);
    deft_release(ctx, sell->values);
    deft_release(ctx, sell->short_columns);
    deft_release(ctx, sell->columns);
    deft_release(ctx, sell->active);
    deft_release(ctx, sell);
}

/* ---- the kernel ---- */

bool deft_sparse_vector_accepts(const deft_request *request, const char **why) {
    deft_linear linear;
    return linear_of(request, &linear, why);
}

/* Basis: 16-bit indices and gathers reach 0.87 nonzeros a cycle in L1 on the AVX-512 machine that the project began
 * with (Zen 4 at 3.66 GHz), each column gathers anew; six bytes a nonzero come from L2 at 118, L3 at 74, memory at 25
 * GB/s; slices are some 5% longer than their rows. */
double deft_sparse_vector_estimate_ns(const deft_request *request) {
    deft_linear linear;
    if (!linear_of(request, &linear, NULL)) return INFINITY;
    double nonzeros = 1.05 * (double)linear.nonzeros, columns = (double)linear.n;
    double bytes = nonzeros * (linear.k <= MOST_SHORT ? 6 : 8);
    double bytes_per_ns = bytes < 1 << 20 ? 118 : bytes < 32 << 20 ? 74 : 25;
    double gather_ns = 0.31 * nonzeros * columns, read_ns = bytes / bytes_per_ns * ceil(columns / DEFT_SELL_COLUMNS);
    return fmax(gather_ns, read_ns) + 0.6 * (double)linear.m * columns + 20;
}

deft_status deft_sparse_vector_prepare(deft_context *ctx, const deft_request *request, deft_kernel *kernel) {
    deft_linear linear;
    const char *why = NULL;
    if (!linear_of(request, &linear, &why)) return deft_fail(ctx, DEFT_BUG, "sparse-vector: not accepted: %s", why);
    deft_sell *sell;
    sorted_row *order = NULL;
    DEFT_TRY(deft_allocate_zeroed(ctx, 1, sizeof *sell, &sell));
    sell->isa = request->isa;
    sell->threads = request->call.threads > 1 ? request->call.threads : 1;
    sell->activation = request->activation;
    sell->input = linear.input;
    sell->n = linear.n, sell->m = linear.m, sell->k = linear.k;
    sell->lanes = request->isa == DEFT_ISA_AVX512 ? MOST_LANES : MOST_LANES / 2;
    sell->slice_count = (linear.m + sell->lanes - 1) / sell->lanes;
    deft_status status;
    DEFT_TRY_OR_FAIL(deft_allocate(ctx, (size_t)linear.m * sizeof *order, &order));
    sort_rows(&linear, order);
    DEFT_TRY_OR_FAIL(fill_sell(ctx, &linear, order, sell));
    deft_release(ctx, order);
    kernel->state = sell;
    kernel->weight_bytes = (size_t)(sell->step_count * sell->lanes) * (sell->short_columns ? 6 : 8);
    kernel->weights = linear.weights;
    kernel->nonzeros = linear.nonzeros;
    kernel->detail = sell->short_columns ? "rows sliced by length, 16-bit indices" : "rows sliced by length";
    return DEFT_OK;
fail:
    deft_release(ctx, order);
    free_sell(ctx, sell);
    return status;
}

/* The first slice of a thread's share, which holds about as many steps as the others'. */
static int64_t share_begin(const deft_sell *sell, int thread, int team) {
    int64_t slice = 0, target = sell->step_count * thread / team;
    if (thread == team) return sell->slice_count;
    while (slice < sell->slice_count && sell->slices[slice].step < target)
        slice++;
    return slice;
}

static void run_share(const deft_sell *sell, const float *x, float *y, int thread, int team) {
    int64_t begin = share_begin(sell, thread, team), end = share_begin(sell, thread + 1, team);
    (sell->isa == DEFT_ISA_AVX512 ? deft_sell_run_avx512 : deft_sell_run_avx2)(sell, begin, end, x, y);
}

deft_status deft_sparse_vector_run(deft_context *ctx, const deft_kernel *kernel, const deft_tensor *const *in,
                                   deft_tensor *const *out, void *scratch) {
    (void)ctx, (void)scratch;
    const deft_sell *sell = kernel->state;
    const float *x = in[sell->input]->data;
    if (sell->threads == 1) {
        run_share(sell, x, out[0]->data, 0, 1);
        return DEFT_OK;
    }
#pragma omp parallel num_threads(sell->threads)
    run_share(sell, x, out[0]->data, omp_get_thread_num(), omp_get_num_threads());
    return DEFT_OK;
}

void deft_sparse_vector_done(deft_context *ctx, deft_kernel *kernel) {
    if (kernel->state) free_sell(ctx, kernel->state);
    kernel->state = NULL;
}

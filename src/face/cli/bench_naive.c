/* The loops that one would write first for Y = W X: what the generated code is to be told against, not the best that
 * there is. All with OpenMP over the rows of Y. */
#include "face/cli/bench.h"

#include <string.h>

enum { TILE = 64 };

/* The layer, and its weights over their nonzeros. */
typedef struct naive {
    deft_bench_layer layer;
    float *values;               /* [nonzeros], row after row */
    int32_t *row_of, *column_of; /* of each */
    int64_t *row_begin;          /* [m + 1] */
} naive;

static deft_status run_triple(deft_context *ctx, void *state) {
    (void)ctx;
    const deft_bench_layer *l = &((const naive *)state)->layer;
#pragma omp parallel for num_threads(l->threads)
    for (int64_t i = 0; i < l->m; i++)
        for (int64_t j = 0; j < l->n; j++) {
            float sum = 0;
            for (int64_t k = 0; k < l->k; k++)
                sum += l->w[i * l->k + k] * l->x[k * l->n + j];
            l->y[i * l->n + j] = sum;
        }
    return DEFT_OK;
}

static void add_scaled(float weight, const float *restrict x, float *restrict y, int64_t count) {
#pragma omp simd
    for (int64_t j = 0; j < count; j++)
        y[j] += weight * x[j];
}

static deft_status run_interchanged(deft_context *ctx, void *state) {
    (void)ctx;
    const deft_bench_layer *l = &((const naive *)state)->layer;
#pragma omp parallel for num_threads(l->threads)
    for (int64_t i = 0; i < l->m; i++) {
        memset(l->y + i * l->n, 0, (size_t)l->n * sizeof *l->y);
        for (int64_t k = 0; k < l->k; k++)
            add_scaled(l->w[i * l->k + k], l->x + k * l->n, l->y + i * l->n, l->n);
    }
    return DEFT_OK;
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static deft_status run_tiled(deft_context *ctx, void *state) {
    (void)ctx;
    const deft_bench_layer *l = &((const naive *)state)->layer;
#pragma omp parallel for num_threads(l->threads)
    for (int64_t i0 = 0; i0 < l->m; i0 += TILE) {
        memset(l->y + i0 * l->n, 0, (size_t)(least(TILE, l->m - i0) * l->n) * sizeof *l->y);
        for (int64_t k0 = 0; k0 < l->k; k0 += TILE)
            for (int64_t j0 = 0; j0 < l->n; j0 += TILE)
                for (int64_t i = i0; i < least(i0 + TILE, l->m); i++)
                    for (int64_t k = k0; k < least(k0 + TILE, l->k); k++)
                        add_scaled(l->w[i * l->k + k], l->x + k * l->n + j0, l->y + i * l->n + j0,
                                   least(TILE, l->n - j0));
    }
    return DEFT_OK;
}

static deft_status run_csr(deft_context *ctx, void *state) {
    (void)ctx;
    const naive *s = state;
    const deft_bench_layer *l = &s->layer;
#pragma omp parallel for num_threads(l->threads)
    for (int64_t i = 0; i < l->m; i++) {
        memset(l->y + i * l->n, 0, (size_t)l->n * sizeof *l->y);
        for (int64_t e = s->row_begin[i]; e < s->row_begin[i + 1]; e++)
            add_scaled(s->values[e], l->x + s->column_of[e] * l->n, l->y + i * l->n, l->n);
    }
    return DEFT_OK;
}

/* Threads share the columns, since entries of one row may be anywhere. */
static deft_status run_coo(deft_context *ctx, void *state) {
    (void)ctx;
    const naive *s = state;
    const deft_bench_layer *l = &s->layer;
    int64_t count = s->row_begin[l->m], width = (l->n + l->threads - 1) / l->threads;
    memset(l->y, 0, (size_t)(l->m * l->n) * sizeof *l->y);
#pragma omp parallel for num_threads(l->threads)
    for (int64_t j = 0; j < l->n; j += width)
        for (int64_t e = 0; e < count; e++)
            add_scaled(s->values[e], l->x + s->column_of[e] * l->n + j, l->y + s->row_of[e] * l->n + j,
                       least(width, l->n - j));
    return DEFT_OK;
}

static void release(deft_context *ctx, void *state) {
    naive *s = state;
    deft_release(ctx, s->values);
    deft_release(ctx, s->row_of);
    deft_release(ctx, s->column_of);
    deft_release(ctx, s->row_begin);
    deft_release(ctx, s);
}

static deft_status compress(deft_context *ctx, naive *s) {
    const deft_bench_layer *l = &s->layer;
    size_t nonzeros = 0, at = 0;
    for (int64_t i = 0; i < l->m * l->k; i++)
        nonzeros += l->w[i] != 0;
    DEFT_TRY(deft_allocate_zeroed(ctx, nonzeros, sizeof *s->values, &s->values));
    DEFT_TRY(deft_allocate_zeroed(ctx, nonzeros, sizeof *s->row_of, &s->row_of));
    DEFT_TRY(deft_allocate_zeroed(ctx, nonzeros, sizeof *s->column_of, &s->column_of));
    DEFT_TRY(deft_allocate_zeroed(ctx, (size_t)l->m + 1, sizeof *s->row_begin, &s->row_begin));
    for (int64_t i = 0; i < l->m; i++) {
        for (int64_t k = 0; k < l->k; k++) {
            float weight = l->w[i * l->k + k];
            if (weight == 0) continue;
            s->values[at] = weight;
            s->row_of[at] = (int32_t)i;
            s->column_of[at++] = (int32_t)k;
        }
        s->row_begin[i + 1] = (int64_t)at;
    }
    return DEFT_OK;
}

deft_status deft_rivals_add_naive(deft_rivals *rivals, const deft_bench_layer *layer) {
    static const deft_contestant loops[] = {
        {.name = "triple loop", .run = run_triple, .baseline = true, .on_layer = true, .in_place = true},
        {.name = "interchanged", .run = run_interchanged, .baseline = true, .on_layer = true, .in_place = true},
        {.name = "tiled", .run = run_tiled, .baseline = true, .on_layer = true, .in_place = true},
        {.name = "csr", .run = run_csr, .baseline = true, .on_layer = true, .in_place = true},
        {.name = "coo", .run = run_coo, .baseline = true, .on_layer = true, .in_place = true},
    };
    for (size_t i = 0; i < sizeof loops / sizeof *loops; i++) {
        naive *state;
        DEFT_TRY(deft_allocate_zeroed(rivals->ctx, 1, sizeof *state, &state));
        state->layer = *layer;
        deft_status status = compress(rivals->ctx, state);
        if (status != DEFT_OK) {
            release(rivals->ctx, state);
            return status;
        }
        DEFT_TRY(deft_rivals_add(rivals, &loops[i], state, release));
    }
    return DEFT_OK;
}

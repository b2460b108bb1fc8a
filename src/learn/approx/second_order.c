#include "learn/approx/second_order.h"

#include "learn/approx/cholesky.h"
#include "learn/approx/hessian.h"
#include "learn/approx/rank.h"

#include <math.h>

enum { BLOCK = 128 /* columns whose zeros are chosen together */ };

/* A layer being pruned. */
typedef struct pruning {
    deft_context *ctx;
    const deft_second_order_options *options;
    double damping;
    deft_arena arena;
    deft_hessian h;
    int64_t wanted; /* zeros */
    int64_t *quota; /* of each block of columns, by part: quota[part * blocks + block] */
    int64_t blocks; /* of a part, at most */
    /* of the part under way */
    const deft_hessian_part *part;
    double *w;     /* [rows][count] */
    uint8_t *gone; /* the same: 1 where it is or becomes zero */
} pruning;

static float *element(const pruning *p, const deft_hessian_part *part, int64_t row, int64_t column) {
    const deft_weight *weight = p->h.weight;
    int64_t inner = p->h.order[part->first + column];
    return weight->data + (part->group * p->h.rows + row) * weight->row_stride + inner * weight->inner_stride;
}

/* ---- factors ------------------------------------------------------------------------------------------------- */

/* Makes U of H, where H^-1 = U^T U. */
static deft_status factor(pruning *p, const deft_graph *graph, const deft_hessian_part *part) {
    int64_t n = part->count;
    double *matrix = part->matrix, trace = 0, *row;
    for (int64_t i = 0; i < n; i++)
        trace += matrix[i * n + i];
    double added = p->damping * trace / (double)n;
    for (int64_t i = 0; i < n; i++)
        matrix[i * n + i] += added > 0 ? added : 1; /* where all inputs are zero, nothing matters */
    DEFT_TRY(deft_arena_array(&p->arena, (size_t)n, sizeof *row, &row));
    if (!deft_cholesky_upper(matrix, n))
        return deft_fail(p->ctx, DEFT_INVALID,
                         "what goes into the layer of weight '%.64s' on the calibration data is not finite: check the "
                         "data and the model",
                         graph->values[p->h.weight->value].name);
    deft_invert_upper(matrix, n, row);
    return DEFT_OK;
}

/* ---- how many go where --------------------------------------------------------------------------------------- */

/* scores[row][column] = w^2 / [H^-1]jj: the least change of the outputs where this weight alone goes. */
static deft_status score_part(pruning *p, const deft_hessian_part *part, float *scores) {
    int64_t n = part->count;
    double *variance; /* [H^-1]jj */
    DEFT_TRY(deft_arena_array(&p->arena, (size_t)n, sizeof *variance, &variance));
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = i; j < n; j++)
            variance[j] += part->matrix[i * n + j] * part->matrix[i * n + j];
    for (int64_t r = 0; r < p->h.rows; r++)
        for (int64_t j = 0; j < n; j++) {
            double w = (double)*element(p, part, r, j);
            scores[r * n + j] = (float)(w * w / variance[j]);
        }
    return DEFT_OK;
}

static deft_status settle_quotas(pruning *p) {
    deft_ranked *ranked;
    deft_threshold threshold;
    int parts = p->h.part_count;
    for (int i = 0; i < parts; i++) {
        int64_t blocks = (p->h.parts[i].count + BLOCK - 1) / BLOCK;
        if (blocks > p->blocks) p->blocks = blocks;
    }
    DEFT_TRY(deft_arena_array(&p->arena, (size_t)(parts * p->blocks), sizeof *p->quota, &p->quota));
    DEFT_TRY(deft_arena_array(&p->arena, (size_t)parts, sizeof *ranked, &ranked));
    for (int i = 0; i < parts; i++) {
        float *scores;
        ranked[i].count = p->h.rows * p->h.parts[i].count;
        DEFT_TRY(deft_arena_array(&p->arena, (size_t)ranked[i].count, sizeof *scores, &scores));
        DEFT_TRY(score_part(p, &p->h.parts[i], scores));
        ranked[i].values = scores;
    }
    DEFT_TRY(deft_rank_smallest(p->ctx, ranked, parts, p->wanted, &threshold));
    for (int i = 0; i < parts; i++)
        for (int64_t e = 0; e < ranked[i].count; e++)
            if (deft_threshold_takes(&threshold, ranked[i].values[e]))
                p->quota[i * p->blocks + e % p->h.parts[i].count / BLOCK]++;
    return DEFT_OK;
}

/* ---- a part -------------------------------------------------------------------------------------------------- */

static double score_now(const pruning *p, int64_t row, int64_t column) {
    int64_t n = p->part->count;
    double ratio = p->w[row * n + column] / p->part->matrix[column * n + column];
    return p->gone[row * n + column] ? 0 : ratio * ratio;
}

/* Chooses the weights that go among the columns [first, end). */
static deft_status choose_in_block(pruning *p, int64_t first, int64_t end, int64_t quota, float *scores) {
    int64_t n = p->part->count, width = end - first;
    deft_threshold threshold;
    for (int64_t r = 0; r < p->h.rows; r++)
        for (int64_t j = first; j < end; j++)
            scores[r * width + j - first] = (float)score_now(p, r, j);
    DEFT_TRY(deft_rank_smallest(p->ctx, &(deft_ranked){scores, p->h.rows * width}, 1, quota, &threshold));
    for (int64_t r = 0; r < p->h.rows; r++)
        for (int64_t j = first; j < end; j++)
            if (deft_threshold_takes(&threshold, scores[r * width + j - first])) p->gone[r * n + j] = 1;
    return DEFT_OK;
}

/* Of the group of N:M that begins at a column, marks the least until `keep` are left. */
static void choose_in_group(const pruning *p, int64_t row, int64_t first) {
    const deft_prune_options *o = &p->options->prune;
    int64_t n = p->part->count, channels = p->h.weight->inner / p->h.weight->taps;
    int64_t size = channels - (p->part->first + first) % channels;
    uint8_t *gone = p->gone + row * n + first;
    if (size > o->of) size = o->of;
    int64_t left = 0;
    for (int64_t i = 0; i < size; i++)
        left += !gone[i];
    for (; left > o->keep; left--) {
        int64_t least = -1;
        for (int64_t i = 0; i < size; i++)
            if (!gone[i] && (least < 0 || score_now(p, row, first + i) < score_now(p, row, first + least))) least = i;
        gone[least] = 1;
    }
}

/* Makes the zeros of a row in the columns [first, end), from the left; those to the right take over. */
static void sweep_row(const pruning *p, int64_t row, int64_t first, int64_t end) {
    int64_t n = p->part->count, channels = p->h.weight->inner / p->h.weight->taps;
    double *w = p->w + row * n;
    int of = p->options->prune.of;
    for (int64_t j = first; j < end; j++) {
        if (of && (p->part->first + j) % channels % of == 0) choose_in_group(p, row, j);
        if (!p->gone[row * n + j]) continue;
        const double *u = p->part->matrix + j * n;
        double error = w[j] / u[j];
#pragma omp simd
        for (int64_t k = j; k < n; k++)
            w[k] -= error * u[k];
        w[j] = 0;
    }
}

static void load_part(const pruning *p) {
    for (int64_t r = 0; r < p->h.rows; r++)
        for (int64_t j = 0; j < p->part->count; j++) {
            float value = *element(p, p->part, r, j);
            p->w[r * p->part->count + j] = (double)value;
            p->gone[r * p->part->count + j] = value == 0.0f;
        }
}

static void store_part(const pruning *p) {
    for (int64_t r = 0; r < p->h.rows; r++)
        for (int64_t j = 0; j < p->part->count; j++) {
            int64_t at = r * p->part->count + j;
            *element(p, p->part, r, j) = p->gone[at] ? 0 : (float)p->w[at];
        }
}

static deft_status prune_part(pruning *p, int index, float *scores) {
    p->part = &p->h.parts[index];
    load_part(p);
    for (int64_t first = 0; first < p->part->count; first += BLOCK) {
        int64_t end = first + BLOCK < p->part->count ? first + BLOCK : p->part->count, rows = p->h.rows;
        if (!p->options->prune.of)
            DEFT_TRY(choose_in_block(p, first, end, p->quota[index * p->blocks + first / BLOCK], scores));
#pragma omp parallel for schedule(static) num_threads(p->ctx->threads) if (rows * p->part->count >= 1 << 14)
        for (int64_t r = 0; r < rows; r++)
            sweep_row(p, r, first, end);
    }
    store_part(p);
    return DEFT_OK;
}

/* ---- a layer ------------------------------------------------------------------------------------------------- */

static deft_status prune_by_moments(pruning *p, const deft_graph *graph) {
    int64_t most = 0;
    float *scores;
    for (int i = 0; i < p->h.part_count; i++) {
        DEFT_TRY(factor(p, graph, &p->h.parts[i]));
        if (p->h.parts[i].count > most) most = p->h.parts[i].count;
    }
    if (!p->options->prune.of) DEFT_TRY(settle_quotas(p));
    DEFT_TRY(deft_arena_array(&p->arena, (size_t)(p->h.rows * most), sizeof *p->w, &p->w));
    DEFT_TRY(deft_arena_array(&p->arena, (size_t)(p->h.rows * most), sizeof *p->gone, &p->gone));
    DEFT_TRY(deft_arena_array(&p->arena, (size_t)p->h.rows * BLOCK, sizeof *scores, &scores));
    for (int i = 0; i < p->h.part_count; i++)
        DEFT_TRY(prune_part(p, i, scores));
    return DEFT_OK;
}

static deft_status prune_by_magnitude(const pruning *p, const deft_weight *weight) {
    deft_weights alone = {.items = (deft_weight *)weight, .count = 1, .total = weight->count};
    if (p->options->prune.of) return deft_prune_weights(p->ctx, &alone, &p->options->prune);
    return deft_prune_by_scores(p->ctx, weight, weight->data, (double)p->wanted / (double)weight->count);
}

static deft_status prune_layer(deft_context *ctx, deft_graph *graph, const deft_weight *weight, int64_t wanted,
                               const deft_calibration *calibration, const deft_second_order_options *options) {
    pruning p = {.ctx = ctx, .options = options, .wanted = wanted};
    bool supported;
    p.damping = options->damping ? options->damping : 0.01;
    deft_arena_init(&p.arena, ctx);
    deft_status status =
        deft_hessian_sum(ctx, graph, weight, calibration, options->prune.of, &p.arena, &p.h, &supported);
    if (status == DEFT_OK) status = supported ? prune_by_moments(&p, graph) : prune_by_magnitude(&p, weight);
    deft_arena_done(&p.arena);
    return status;
}

/* ---- all ----------------------------------------------------------------------------------------------------- */

/* How many zeros each weight is to have. */
static deft_status share_out(deft_context *ctx, const deft_weights *weights, const deft_prune_options *options,
                             deft_arena *arena, int64_t *wanted) {
    deft_ranked *parts;
    deft_threshold threshold;
    for (int i = 0; i < weights->count; i++)
        wanted[i] = llround(options->zeros * (double)weights->items[i].count);
    if (options->scope == DEFT_PRUNE_LAYER) return DEFT_OK;
    DEFT_TRY(deft_arena_array(arena, (size_t)weights->count, sizeof *parts, &parts));
    for (int i = 0; i < weights->count; i++)
        parts[i] = (deft_ranked){weights->items[i].data, weights->items[i].count};
    int64_t all = llround(options->zeros * (double)weights->total);
    DEFT_TRY(deft_rank_smallest(ctx, parts, weights->count, all, &threshold));
    for (int i = 0; i < weights->count; i++) {
        wanted[i] = 0;
        for (int64_t e = 0; e < parts[i].count; e++)
            wanted[i] += deft_threshold_takes(&threshold, parts[i].values[e]);
    }
    return DEFT_OK;
}

static deft_status check(deft_context *ctx, const deft_second_order_options *options) {
    DEFT_TRY(deft_prune_check(ctx, &options->prune));
    if (options->prune.block_rows)
        return deft_fail(ctx, DEFT_INVALID,
                         "blocks cannot be pruned by the second order: choose single weights or N:M");
    if (!(options->damping >= 0 && options->damping < INFINITY))
        return deft_fail(ctx, DEFT_INVALID, "a damping of %g: expected 0 or more", options->damping);
    return DEFT_OK;
}

deft_status deft_prune_second_order(deft_context *ctx, deft_graph *graph, const deft_calibration *calibration,
                                    const deft_second_order_options *options) {
    deft_arena arena;
    deft_weights weights;
    int64_t *wanted;
    deft_status status;
    DEFT_TRY(check(ctx, options));
    if (options->prune.zeros == 0 && !options->prune.of) return DEFT_OK;
    deft_arena_init(&arena, ctx);
    DEFT_TRY_OR_FAIL(deft_weights_find(graph, &arena, &weights));
    DEFT_TRY_OR_FAIL(deft_arena_array(&arena, (size_t)weights.count, sizeof *wanted, &wanted));
    DEFT_TRY_OR_FAIL(share_out(ctx, &weights, &options->prune, &arena, wanted));
    for (int i = 0; i < weights.count; i++) {
        DEFT_TRY_OR_FAIL(deft_progress(ctx, "pruning", (double)i / weights.count));
        DEFT_TRY_OR_FAIL(prune_layer(ctx, graph, &weights.items[i], wanted[i], calibration, options));
    }
fail:
    deft_arena_done(&arena);
    return status;
}

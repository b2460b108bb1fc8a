#include "learn/approx/prune.h"

#include "learn/approx/rank.h"

#include <math.h>

/* ---- single weights ------------------------------------------------------------------------------------------ */

static void zero_taken(const deft_weight *weight, const float *scores, deft_threshold *threshold) {
    for (int64_t i = 0; i < weight->count; i++)
        if (deft_threshold_takes(threshold, scores[i])) weight->data[i] = 0;
}

/* Ranks the weights together. `parts` is scratch for as many. */
static deft_status prune_together(deft_context *ctx, const deft_weight *weights, int count, double zeros,
                                  deft_ranked *parts) {
    int64_t total = 0;
    deft_threshold threshold;
    for (int i = 0; i < count; i++) {
        parts[i] = (deft_ranked){weights[i].data, weights[i].count};
        total += weights[i].count;
    }
    DEFT_TRY(deft_rank_smallest(ctx, parts, count, llround(zeros * (double)total), &threshold));
    for (int i = 0; i < count; i++)
        zero_taken(&weights[i], weights[i].data, &threshold);
    return DEFT_OK;
}

deft_status deft_prune_by_scores(deft_context *ctx, const deft_weight *weight, const float *scores, double zeros) {
    deft_ranked part = {scores, weight->count};
    deft_threshold threshold;
    DEFT_TRY(deft_rank_smallest(ctx, &part, 1, llround(zeros * (double)weight->count), &threshold));
    zero_taken(weight, scores, &threshold);
    return DEFT_OK;
}

/* ---- blocks -------------------------------------------------------------------------------------------------- */

/* A weight cut into blocks. */
typedef struct blocking {
    const deft_weight *weight;
    int64_t block_rows, block_inner; /* of a block */
    int64_t down, across;            /* blocks in a matrix */
} blocking;

static blocking cut(const deft_weight *weight, const deft_prune_options *options) {
    int64_t rows = options->block_rows, inner = options->block_inner;
    return (blocking){weight, rows, inner, (weight->rows + rows - 1) / rows, (weight->inner + inner - 1) / inner};
}

static int64_t block_count(const blocking *b) {
    return b->weight->matrices * b->down * b->across;
}

/* Calls for each element of block number `index`, which is zeroed, or whose squares are summed. */
static double visit_block(const blocking *b, int64_t index, bool zero) {
    const deft_weight *w = b->weight;
    int64_t first_inner = index % b->across * b->block_inner, first_row = index / b->across % b->down * b->block_rows;
    float *matrix = w->data + index / (b->across * b->down) * w->matrix_stride;
    double squares = 0;
    int64_t visited = 0;
    for (int64_t r = first_row; r < first_row + b->block_rows && r < w->rows; r++)
        for (int64_t i = first_inner; i < first_inner + b->block_inner && i < w->inner; i++) {
            float *element = &matrix[r * w->row_stride + i * w->inner_stride];
            if (zero) *element = 0;
            squares += (double)*element * (double)*element;
            visited++;
        }
    return sqrt(squares / (double)visited);
}

static deft_status prune_blocks(deft_context *ctx, const deft_weight *weights, int count,
                                const deft_prune_options *options, deft_ranked *parts, deft_arena *arena) {
    int64_t total = 0;
    deft_threshold threshold;
    for (int w = 0; w < count; w++) {
        blocking b = cut(&weights[w], options);
        float *scores;
        parts[w].count = block_count(&b);
        total += parts[w].count;
        DEFT_TRY(deft_arena_array(arena, (size_t)parts[w].count, sizeof *scores, &scores));
        for (int64_t i = 0; i < parts[w].count; i++)
            scores[i] = (float)visit_block(&b, i, false);
        parts[w].values = scores;
    }
    DEFT_TRY(deft_rank_smallest(ctx, parts, count, llround(options->zeros * (double)total), &threshold));
    for (int w = 0; w < count; w++) {
        blocking b = cut(&weights[w], options);
        for (int64_t i = 0; i < parts[w].count; i++)
            if (deft_threshold_takes(&threshold, parts[w].values[i])) visit_block(&b, i, true);
    }
    return DEFT_OK;
}

/* ---- N:M ----------------------------------------------------------------------------------------------------- */

/* Zeroes the smallest of `size` elements until `keep` are left. */
static void prune_group(float *first, int64_t stride, int64_t size, int keep) {
    bool gone[DEFT_PRUNE_MAX_GROUP] = {false};
    for (int64_t left = size; left > keep; left--) {
        int64_t least = -1;
        for (int64_t i = 0; i < size; i++) {
            if (gone[i]) continue;
            if (least < 0 || deft_magnitude_key(first[i * stride]) < deft_magnitude_key(first[least * stride]))
                least = i;
        }
        gone[least] = true;
        first[least * stride] = 0;
    }
}

/* The groups of one output: along the channels, for each tap by itself. */
static void prune_row(const deft_weight *w, float *row, const deft_prune_options *options) {
    int64_t channels = w->inner / w->taps, stride = w->taps * w->inner_stride;
    for (int64_t tap = 0; tap < w->taps; tap++)
        for (int64_t c = 0; c < channels; c += options->of) {
            int64_t size = channels - c < options->of ? channels - c : options->of;
            prune_group(row + tap * w->inner_stride + c * stride, stride, size, options->keep);
        }
}

static void prune_groups(const deft_weight *w, const deft_prune_options *options) {
    for (int64_t m = 0; m < w->matrices; m++)
        for (int64_t r = 0; r < w->rows; r++)
            prune_row(w, w->data + m * w->matrix_stride + r * w->row_stride, options);
}

/* ---- all ----------------------------------------------------------------------------------------------------- */

deft_status deft_prune_check(deft_context *ctx, const deft_prune_options *options) {
    bool groups = options->keep || options->of, blocks = options->block_rows || options->block_inner;
    if (!(options->zeros >= 0 && options->zeros <= 1))
        return deft_fail(ctx, DEFT_INVALID, "a share of %g zeros: expected 0 to 1", options->zeros);
    if (groups && (options->keep < 1 || options->of <= options->keep || options->of > DEFT_PRUNE_MAX_GROUP))
        return deft_fail(ctx, DEFT_INVALID, "%d of %d weights to keep: expected 1 or more, of more than that, up to %d",
                         options->keep, options->of, DEFT_PRUNE_MAX_GROUP);
    if (blocks && (options->block_rows < 1 || options->block_inner < 1))
        return deft_fail(ctx, DEFT_INVALID, "blocks of %d x %d weights: expected 1 x 1 or more", options->block_rows,
                         options->block_inner);
    if (groups && (blocks || options->zeros > 0))
        return deft_fail(ctx, DEFT_INVALID,
                         "%d of %d weights to keep: the share of zeros follows from that, and there "
                         "are no blocks: leave %s away",
                         options->keep, options->of, blocks ? "the blocks" : "the share");
    return DEFT_OK;
}

deft_status deft_prune_weights(deft_context *ctx, const deft_weights *weights, const deft_prune_options *options) {
    deft_arena arena;
    deft_ranked *parts;
    deft_status status;
    DEFT_TRY(deft_prune_check(ctx, options));
    deft_arena_init(&arena, ctx);
    DEFT_TRY_OR_FAIL(deft_arena_array(&arena, (size_t)weights->count, sizeof *parts, &parts));
    int step = options->scope == DEFT_PRUNE_GLOBAL ? weights->count : 1; /* how many are ranked together */
    for (int i = 0; i < weights->count; i += step) {
        const deft_weight *together = &weights->items[i];
        if (options->of)
            for (int j = 0; j < step; j++)
                prune_groups(&together[j], options);
        else if (options->block_rows)
            DEFT_TRY_OR_FAIL(prune_blocks(ctx, together, step, options, parts, &arena));
        else
            DEFT_TRY_OR_FAIL(prune_together(ctx, together, step, options->zeros, parts));
    }
fail:
    deft_arena_done(&arena);
    return status;
}

deft_status deft_prune_graph(deft_context *ctx, deft_graph *graph, const deft_prune_options *options) {
    deft_arena arena;
    deft_weights weights;
    deft_arena_init(&arena, ctx);
    deft_status status = deft_weights_find(graph, &arena, &weights);
    if (status == DEFT_OK) status = deft_prune_weights(ctx, &weights, options);
    deft_arena_done(&arena);
    return status;
}

deft_status deft_prune_magnitude(deft_context *ctx, deft_graph *graph, double zeros) {
    return deft_prune_graph(ctx, graph, &(deft_prune_options){.zeros = zeros});
}

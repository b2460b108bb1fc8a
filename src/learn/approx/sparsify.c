#include "learn/approx/sparsify.h"

#include "learn/approx/rank.h"
#include "learn/train/fingerprint.h"
#include "learn/train/trainer.h"

#include <math.h>

/* Training under way. */
typedef struct sparsifier {
    deft_context *ctx;
    deft_sparsify_options options; /* with the defaults filled in */
    double zeros;                  /* share at the start */
    deft_arena arena;
    deft_weights weights; /* of the graph; while training, their data is the trainer's */
    int *learned;         /* by weight: its index among what is learned, or -1 */
    float *scores;        /* as many as the largest weight has elements */
} sparsifier;

/* ---- the schedule -------------------------------------------------------------------------------------------- */

static int64_t last_update(const deft_sparsify_options *options, int64_t steps) {
    int64_t last = (int64_t)(options->until * (double)steps);
    return last < 1 ? 1 : last;
}

static deft_status prune_on_schedule(const sparsifier *s, int64_t step, int64_t last) {
    deft_prune_options now = s->options.prune;
    double left = 1 - (double)step / (double)last;
    now.zeros += (s->zeros - now.zeros) * left * left * left;
    return deft_prune_weights(s->ctx, &s->weights, &now);
}

static void mask_zeros(const float *weights, int64_t count, uint8_t *keep) {
    for (int64_t i = 0; i < count; i++)
        keep[i] &= weights[i] != 0.0f;
}

static void mask_average(float *average, int64_t count, const uint8_t *keep) {
    for (int64_t i = 0; i < count; i++)
        if (!keep[i]) average[i] = 0;
}

/* ---- movement ------------------------------------------------------------------------------------------------ */

/* Drops the `count` smallest of the weights that are kept. */
static deft_status drop(const sparsifier *s, const deft_weight *w, uint8_t *keep, int64_t count) {
    deft_threshold threshold;
    for (int64_t i = 0; i < w->count; i++)
        s->scores[i] = keep[i] ? w->data[i] : INFINITY;
    DEFT_TRY(deft_rank_smallest(s->ctx, &(deft_ranked){s->scores, w->count}, 1, count, &threshold));
    for (int64_t i = 0; i < w->count; i++) {
        if (!deft_threshold_takes(&threshold, s->scores[i])) continue;
        keep[i] = 0;
        w->data[i] = 0;
    }
    return DEFT_OK;
}

/* Takes back, at zero, the `count` weights with the largest gradients. */
static deft_status grow(const sparsifier *s, const deft_weight *w, const float *gradient, uint8_t *keep,
                        int64_t count) {
    static const float LEAST = 0x1p-149f; /* so that a gradient of zero comes before what is kept already */
    deft_threshold threshold;
    for (int64_t i = 0; i < w->count; i++)
        s->scores[i] = keep[i] ? 0 : fmaxf(fabsf(gradient[i]), LEAST);
    DEFT_TRY(deft_rank_smallest(s->ctx, &(deft_ranked){s->scores, w->count}, 1, w->count - count, &threshold));
    for (int64_t i = 0; i < w->count; i++)
        if (!deft_threshold_takes(&threshold, s->scores[i])) keep[i] = 1;
    return DEFT_OK;
}

static deft_status move(const sparsifier *s, const deft_weight *w, const float *gradient, uint8_t *keep, double share) {
    int64_t kept = 0;
    for (int64_t i = 0; i < w->count; i++)
        kept += keep[i];
    int64_t count = llround(share * (double)kept);
    if (count > w->count - kept) count = w->count - kept;
    if (count < 1) return DEFT_OK;
    DEFT_TRY(drop(s, w, keep, count));
    return grow(s, w, gradient, keep, count);
}

/* ---- training ------------------------------------------------------------------------------------------------ */

/* From now on the weights are the trainer's, where it learns them. */
static void look_into(sparsifier *s, const deft_trainer *trainer) {
    for (int w = 0; w < s->weights.count; w++) {
        s->learned[w] = -1;
        for (int i = 0; i < trainer->net->learned_count; i++)
            if (trainer->net->learned[i].original == s->weights.items[w].value && trainer->moments[i].keep)
                s->learned[w] = i;
        if (s->learned[w] >= 0) s->weights.items[w].data = deft_trainer_weights(trainer, s->learned[w]);
    }
}

static deft_status update(void *user, deft_trainer *trainer, int64_t step, int64_t steps) {
    sparsifier *s = user;
    int64_t last = last_update(&s->options, steps);
    if (step > last || (step % s->options.every != 0 && step != last)) return DEFT_OK;
    look_into(s, trainer);
    if (s->options.cubic) DEFT_TRY(prune_on_schedule(s, step, last));
    double share = s->options.move / 2 * (1 + cos(acos(-1.0) * (double)step / (double)last));
    for (int w = 0; w < s->weights.count; w++) {
        const deft_weight *weight = &s->weights.items[w];
        int index = s->learned[w];
        if (index < 0) continue;
        uint8_t *keep = trainer->moments[index].keep;
        if (s->options.cubic) mask_zeros(weight->data, weight->count, keep);
        if (share > 0) DEFT_TRY(move(s, weight, deft_trainer_gradient(trainer, index), keep, share));
        if (trainer->moments[index].average) mask_average(trainer->moments[index].average, weight->count, keep);
    }
    return DEFT_OK;
}

static deft_status check(deft_context *ctx, const deft_sparsify_options *o) {
    bool single = !o->prune.of && !o->prune.block_rows;
    DEFT_TRY(deft_prune_check(ctx, &o->prune));
    if (!(o->move >= 0 && o->move < 1) || o->every < 1 || !(o->until > 0 && o->until <= 1))
        return deft_fail(ctx, DEFT_INVALID,
                         "masks that move a share of %g every %lld steps until %g of the training: expected a share "
                         "below 1, 1 step or more, and more than 0 up to 1",
                         o->move, (long long)o->every, o->until);
    if (o->cubic && o->prune.of)
        return deft_fail(ctx, DEFT_INVALID,
                         "a schedule needs a share of zeros that grows; %d of %d has none: prune at "
                         "once",
                         o->prune.keep, o->prune.of);
    if (o->move > 0 && !single)
        return deft_fail(ctx, DEFT_INVALID, "only single weights can move: leave away the pattern or the movement");
    return DEFT_OK;
}

static uint64_t fingerprint(const sparsifier *s) {
    const deft_sparsify_options *o = &s->options;
    const double numbers[] = {o->prune.zeros,       o->prune.scope, o->prune.block_rows,
                              o->prune.block_inner, o->cubic,       o->move,
                              (double)o->every,     o->until,       s->zeros};
    return deft_fingerprint_bytes(DEFT_FINGERPRINT_START, numbers, sizeof numbers);
}

static deft_status prepare(sparsifier *s, deft_graph *graph) {
    int64_t largest = 0;
    DEFT_TRY(deft_weights_find(graph, &s->arena, &s->weights));
    for (int i = 0; i < s->weights.count; i++)
        if (s->weights.items[i].count > largest) largest = s->weights.items[i].count;
    DEFT_TRY(deft_arena_array(&s->arena, (size_t)s->weights.count, sizeof *s->learned, &s->learned));
    if (s->options.move > 0) DEFT_TRY(deft_arena_array(&s->arena, (size_t)largest, sizeof *s->scores, &s->scores));
    if (s->weights.total) s->zeros = (double)deft_weights_zeros(&s->weights) / (double)s->weights.total;
    if (s->zeros > s->options.prune.zeros) s->zeros = s->options.prune.zeros;
    return s->options.cubic ? DEFT_OK : deft_prune_weights(s->ctx, &s->weights, &s->options.prune);
}

deft_status deft_sparsify_train(deft_context *ctx, deft_graph *graph, const deft_dataset *data,
                                const deft_sparsify_options *options, const deft_train_options *training) {
    sparsifier s = {.ctx = ctx, .options = *options};
    if (s.options.every == 0) s.options.every = 100;
    if (s.options.until == 0) s.options.until = 0.75;
    DEFT_TRY(check(ctx, &s.options));
    deft_arena_init(&s.arena, ctx);
    deft_status status = prepare(&s, graph);
    deft_train_hook hook = {.after_step = update, .user = &s, .print = fingerprint(&s)};
    deft_train_options masked = *training;
    masked.keep_zeros = true;
    if (options->cubic || options->move > 0) masked.hook = &hook;
    if (status == DEFT_OK) status = deft_train(ctx, graph, data, &masked);
    deft_arena_done(&s.arena);
    return status;
}

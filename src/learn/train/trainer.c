#include "learn/train/trainer.h"

#include <math.h>
#include <string.h>

float *deft_trainer_data(const deft_trainer *trainer, int value) {
    return deft_executor_tensor(trainer->executor, value)->data;
}

/* ---- state --------------------------------------------------------------------------------------------------- */

static deft_status mark_kept(deft_trainer *trainer, const deft_learned *learned, uint8_t **keep) {
    const float *weights = deft_trainer_data(trainer, learned->value);
    DEFT_TRY(deft_arena_array(&trainer->arena, (size_t)learned->count, sizeof **keep, keep));
    for (int64_t i = 0; i < learned->count; i++)
        (*keep)[i] = weights[i] != 0.0f;
    return DEFT_OK;
}

static deft_status make_moments(deft_trainer *trainer, const deft_learned *learned, bool keep_zeros,
                                deft_moments *moments) {
    deft_optimizer kind = trainer->options.kind;
    deft_arena *arena = &trainer->arena;
    size_t count = (size_t)learned->count;
    DEFT_TRY(deft_arena_array(arena, count, sizeof(float), &moments->first));
    if (kind == DEFT_OPTIMIZER_ADAM || kind == DEFT_OPTIMIZER_ADAMW)
        DEFT_TRY(deft_arena_array(arena, count, sizeof(float), &moments->second));
    if (trainer->options.average > 0)
        DEFT_TRY(deft_arena_copy(arena, deft_trainer_data(trainer, learned->value), count * sizeof(float),
                                 &moments->average));
    return keep_zeros && learned->prunable ? mark_kept(trainer, learned, &moments->keep) : DEFT_OK;
}

/* What of it is evaluated and kept. */
static void *kept_data(const deft_trainer *trainer, int index) {
    float *average = trainer->moments[index].average;
    return average ? average : deft_trainer_weights(trainer, index);
}

static void add_part(deft_trainer *trainer, void *data, size_t bytes) {
    if (data) trainer->parts[trainer->part_count++] = (deft_checkpoint_part){data, bytes};
}

static deft_status list_parts(deft_trainer *trainer) {
    const deft_loss_graph *net = trainer->net;
    DEFT_TRY(
        deft_arena_array(&trainer->arena, 5 * (size_t)net->learned_count + 2, sizeof *trainer->parts, &trainer->parts));
    for (int i = 0; i < net->learned_count; i++)
        add_part(trainer, kept_data(trainer, i), (size_t)net->learned[i].count * sizeof(float));
    for (int i = 0; i < net->learned_count; i++) {
        const deft_moments *moments = &trainer->moments[i];
        size_t count = (size_t)net->learned[i].count;
        if (moments->average) add_part(trainer, deft_trainer_weights(trainer, i), count * sizeof(float));
        add_part(trainer, moments->first, count * sizeof(float));
        add_part(trainer, moments->second, count * sizeof(float));
        add_part(trainer, moments->keep, count);
    }
    add_part(trainer, &trainer->steps, sizeof trainer->steps);
    return DEFT_OK;
}

deft_status deft_trainer_init(deft_context *ctx, const deft_loss_graph *net, const deft_optimizer_options *options,
                              bool keep_zeros, deft_trainer *trainer) {
    *trainer = (deft_trainer){.ctx = ctx, .net = net, .options = *options};
    deft_arena_init(&trainer->arena, ctx);
    DEFT_TRY(deft_plan_new(ctx, net->graph, &(deft_plan_options){.training = true}, &trainer->plan));
    DEFT_TRY(deft_executor_new(trainer->plan, &trainer->executor));
    while (trainer->forward_steps < trainer->plan->step_count &&
           trainer->plan->steps[trainer->forward_steps].node < net->forward_nodes)
        trainer->forward_steps++;
    DEFT_TRY(
        deft_arena_array(&trainer->arena, (size_t)net->learned_count, sizeof *trainer->moments, &trainer->moments));
    for (int i = 0; i < net->learned_count; i++)
        if (net->learned[i].grad != DEFT_NO_VALUE)
            DEFT_TRY(make_moments(trainer, &net->learned[i], keep_zeros, &trainer->moments[i]));
    return list_parts(trainer);
}

float *deft_trainer_weights(const deft_trainer *trainer, int index) {
    return deft_trainer_data(trainer, trainer->net->learned[index].value);
}

const float *deft_trainer_gradient(const deft_trainer *trainer, int index) {
    int grad = trainer->net->learned[index].grad;
    return grad == DEFT_NO_VALUE ? NULL : deft_trainer_data(trainer, grad);
}

void deft_trainer_remember(deft_trainer *trainer, void *state, size_t bytes) {
    if (bytes) add_part(trainer, state, bytes);
}

void deft_trainer_done(deft_trainer *trainer) {
    deft_executor_free(trainer->executor);
    deft_plan_free(trainer->plan);
    deft_arena_done(&trainer->arena);
}

/* ---- steps --------------------------------------------------------------------------------------------------- */

static void move_towards(float *running, const float *batch, float momentum, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        running[i] = momentum * running[i] + (1 - momentum) * batch[i];
}

static void update_statistics(const deft_trainer *trainer) {
    for (int i = 0; i < trainer->net->stat_count; i++) {
        const deft_batch_stats *stats = &trainer->net->stats[i];
        int64_t channels = deft_tensor_count(deft_executor_tensor(trainer->executor, stats->batch_mean));
        move_towards(deft_trainer_data(trainer, stats->running_mean), deft_trainer_data(trainer, stats->batch_mean),
                     stats->momentum, channels);
        move_towards(deft_trainer_data(trainer, stats->running_var), deft_trainer_data(trainer, stats->batch_var),
                     stats->momentum, channels);
    }
}

/* Of all gradients together, without those of weights that stay zero. */
static float gradient_norm(const deft_trainer *trainer) {
    double squares = 0;
    for (int i = 0; i < trainer->net->learned_count; i++) {
        const float *gradient = deft_trainer_gradient(trainer, i);
        if (gradient)
            squares += deft_optimizer_square(gradient, trainer->moments[i].keep, trainer->net->learned[i].count,
                                             trainer->ctx->threads);
    }
    return (float)sqrt(squares);
}

static void update_weights(const deft_trainer *trainer, float rate, float scale) {
    deft_update update = {.options = &trainer->options,
                          .step = trainer->steps,
                          .rate = rate,
                          .scale = scale,
                          .threads = trainer->ctx->threads};
    for (int i = 0; i < trainer->net->learned_count; i++) {
        const deft_learned *learned = &trainer->net->learned[i];
        const float *gradient = deft_trainer_gradient(trainer, i);
        update.decays = learned->decays;
        if (gradient)
            deft_optimizer_update(&update, learned->count, deft_trainer_weights(trainer, i), gradient,
                                  &trainer->moments[i]);
    }
}

/* Forward and backward; *loss is set between them. */
static deft_status run(const deft_trainer *trainer, float *loss) {
    DEFT_TRY(deft_executor_run_steps(trainer->executor, 0, trainer->forward_steps));
    if (trainer->own_loss) DEFT_TRY(trainer->own_loss(trainer->own_user, loss));
    DEFT_TRY(deft_executor_run_steps(trainer->executor, trainer->forward_steps, trainer->plan->step_count));
    if (!trainer->own_loss) *loss = *deft_trainer_data(trainer, trainer->net->loss);
    return DEFT_OK;
}

deft_status deft_trainer_step(deft_trainer *trainer, float rate, float *loss) {
    float most = trainer->options.max_gradient_norm;
    DEFT_TRY(run(trainer, loss));
    float norm = gradient_norm(trainer);
    if (!isfinite(norm)) *loss = norm;
    if (!isfinite(*loss)) return DEFT_OK;
    update_weights(trainer, rate, norm > most ? most / norm : 1);
    update_statistics(trainer);
    trainer->steps++;
    return DEFT_OK;
}

/* ---- what is learned ----------------------------------------------------------------------------------------- */

bool deft_trainer_is_finite(const deft_trainer *trainer) {
    for (int i = 0; i < trainer->net->learned_count; i++) {
        const float *values = deft_trainer_weights(trainer, i);
        int64_t count = trainer->net->learned[i].count, finite = 0;
        for (int64_t j = 0; j < count; j++)
            finite += fabsf(values[j]) < INFINITY;
        if (finite < count) return false;
    }
    return true;
}

/* A weight that has just been pruned has no average. */
void deft_trainer_store(const deft_trainer *trainer, deft_graph *graph) {
    for (int i = 0; i < trainer->net->learned_count; i++) {
        const deft_learned *learned = &trainer->net->learned[i];
        const uint8_t *keep = trainer->moments[i].keep;
        const float *weights = deft_trainer_weights(trainer, i);
        float *out = graph->values[learned->original].desc.data;
        memcpy(out, kept_data(trainer, i), (size_t)learned->count * sizeof(float));
        for (int64_t j = 0; keep && j < learned->count; j++)
            if (!keep[j]) out[j] = weights[j];
    }
}

#include "learn/train/trainer.h"

#include <math.h>
#include <string.h>

static float *data_of(const deft_trainer *trainer, int value) {
    return deft_executor_tensor(trainer->executor, value)->data;
}

/* ---- state --------------------------------------------------------------------------------------------------- */

static deft_status mark_kept(deft_trainer *trainer, int index) {
    const deft_learned *learned = &trainer->net.learned[index];
    const float *weights = data_of(trainer, learned->value);
    uint8_t *keep;
    DEFT_TRY(deft_arena_array(&trainer->arena, (size_t)learned->count, sizeof *keep, &keep));
    for (int64_t i = 0; i < learned->count; i++)
        keep[i] = weights[i] != 0.0f;
    trainer->keep[index] = keep;
    return DEFT_OK;
}

static void add_part(deft_trainer *trainer, void *data, size_t bytes) {
    trainer->parts[trainer->part_count++] = (deft_checkpoint_part){data, bytes};
}

static void list_parts(deft_trainer *trainer) {
    int count = trainer->net.learned_count;
    const deft_learned *learned = trainer->net.learned;
    for (int i = 0; i < count; i++)
        add_part(trainer, data_of(trainer, learned[i].value), (size_t)learned[i].count * sizeof(float));
    for (int i = 0; i < count; i++)
        if (trainer->velocity[i]) add_part(trainer, trainer->velocity[i], (size_t)learned[i].count * sizeof(float));
    for (int i = 0; i < count; i++)
        if (trainer->keep[i]) add_part(trainer, trainer->keep[i], (size_t)learned[i].count);
}

static deft_status make_state(deft_trainer *trainer, bool keep_zeros) {
    deft_arena *arena = &trainer->arena;
    size_t count = (size_t)trainer->net.learned_count;
    DEFT_TRY(deft_arena_array(arena, count, sizeof *trainer->velocity, &trainer->velocity));
    DEFT_TRY(deft_arena_array(arena, count, sizeof *trainer->keep, &trainer->keep));
    DEFT_TRY(deft_arena_array(arena, 3 * count + 1, sizeof *trainer->parts, &trainer->parts));
    for (int i = 0; i < trainer->net.learned_count; i++) {
        const deft_learned *learned = &trainer->net.learned[i];
        if (learned->grad == DEFT_NO_VALUE) continue;
        DEFT_TRY(deft_arena_array(arena, (size_t)learned->count, sizeof(float), &trainer->velocity[i]));
        if (keep_zeros && learned->prunable) DEFT_TRY(mark_kept(trainer, i));
    }
    list_parts(trainer);
    return DEFT_OK;
}

deft_status deft_trainer_init(deft_context *ctx, const deft_graph *graph, const deft_dataset *data, int64_t batch,
                              const deft_graph *teacher, bool keep_zeros, deft_trainer *trainer) {
    *trainer = (deft_trainer){.ctx = ctx, .data = data};
    deft_arena_init(&trainer->arena, ctx);
    DEFT_TRY(deft_loss_graph_init(ctx, graph, data, batch, teacher != NULL, &trainer->net));
    DEFT_TRY(deft_targets_init(ctx, &trainer->net, data, teacher, &trainer->targets));
    DEFT_TRY(deft_plan_new(ctx, trainer->net.graph, &(deft_plan_options){.training = true}, &trainer->plan));
    DEFT_TRY(deft_executor_new(trainer->plan, &trainer->executor));
    return make_state(trainer, keep_zeros);
}

void deft_trainer_remember(deft_trainer *trainer, void *state, size_t bytes) {
    if (bytes) add_part(trainer, state, bytes);
}

float *deft_trainer_weights(const deft_trainer *trainer, int index) {
    return data_of(trainer, trainer->net.learned[index].value);
}

const float *deft_trainer_gradient(const deft_trainer *trainer, int index) {
    int grad = trainer->net.learned[index].grad;
    return grad == DEFT_NO_VALUE ? NULL : data_of(trainer, grad);
}

void deft_trainer_done(deft_trainer *trainer) {
    deft_executor_free(trainer->executor);
    deft_plan_free(trainer->plan);
    deft_targets_done(&trainer->targets);
    deft_loss_graph_done(&trainer->net);
    deft_arena_done(&trainer->arena);
}

/* ---- steps --------------------------------------------------------------------------------------------------- */

static void move_towards(float *running, const float *batch, float momentum, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        running[i] = momentum * running[i] + (1 - momentum) * batch[i];
}

static void update_statistics(deft_trainer *trainer) {
    for (int i = 0; i < trainer->net.stat_count; i++) {
        const deft_batch_stats *stats = &trainer->net.stats[i];
        int64_t channels = deft_tensor_count(deft_executor_tensor(trainer->executor, stats->batch_mean));
        move_towards(data_of(trainer, stats->running_mean), data_of(trainer, stats->batch_mean), stats->momentum,
                     channels);
        move_towards(data_of(trainer, stats->running_var), data_of(trainer, stats->batch_var), stats->momentum,
                     channels);
    }
}

/* Of all gradients together, without those of weights that stay zero. */
static float gradient_norm(const deft_trainer *trainer, int threads) {
    double squares = 0;
    for (int i = 0; i < trainer->net.learned_count; i++) {
        const deft_learned *learned = &trainer->net.learned[i];
        if (learned->grad != DEFT_NO_VALUE)
            squares += deft_sgd_square(data_of(trainer, learned->grad), trainer->keep[i], learned->count, threads);
    }
    return (float)sqrt(squares);
}

static void update_weights(deft_trainer *trainer, const deft_sgd *sgd) {
    for (int i = 0; i < trainer->net.learned_count; i++) {
        const deft_learned *learned = &trainer->net.learned[i];
        if (learned->grad == DEFT_NO_VALUE) continue;
        deft_sgd own = *sgd;
        if (!learned->decays) own.decay = 0;
        deft_sgd_step(&own, learned->count, data_of(trainer, learned->value), trainer->velocity[i],
                      data_of(trainer, learned->grad), trainer->keep[i]);
    }
}

deft_status deft_trainer_step(deft_trainer *trainer, const deft_sgd *sgd, float max_norm, const int64_t *order,
                              int64_t first, float *loss) {
    const deft_loss_graph *net = &trainer->net;
    deft_dataset_gather(trainer->data, DEFT_TRAIN, order, first, net->batch, data_of(trainer, net->input), NULL);
    deft_targets_gather(&trainer->targets, order, first, net->batch, data_of(trainer, net->targets));
    DEFT_TRY(deft_executor_run(trainer->executor));
    *loss = *data_of(trainer, net->loss);
    float norm = gradient_norm(trainer, sgd->threads);
    if (!isfinite(norm)) *loss = norm;
    if (!isfinite(*loss)) return DEFT_OK;
    deft_sgd clipped = *sgd;
    clipped.scale = norm > max_norm ? max_norm / norm : 1;
    update_weights(trainer, &clipped);
    update_statistics(trainer);
    return DEFT_OK;
}

bool deft_trainer_is_finite(const deft_trainer *trainer) {
    for (int i = 0; i < trainer->net.learned_count; i++) {
        const float *values = data_of(trainer, trainer->net.learned[i].value);
        int64_t count = trainer->net.learned[i].count, finite = 0;
        for (int64_t j = 0; j < count; j++)
            finite += fabsf(values[j]) < INFINITY;
        if (finite < count) return false;
    }
    return true;
}

void deft_trainer_store(const deft_trainer *trainer, deft_graph *graph) {
    for (int i = 0; i < trainer->net.learned_count; i++) {
        const deft_learned *learned = &trainer->net.learned[i];
        memcpy(graph->values[learned->original].desc.data, data_of(trainer, learned->value),
               (size_t)learned->count * sizeof(float));
    }
}

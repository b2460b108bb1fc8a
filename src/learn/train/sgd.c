#include "learn/train/sgd.h"

/* Below this, starting threads costs more than the update. */
enum { PARALLEL_COUNT = 1 << 16 };

static bool is_prunable(const deft_graph *graph, int value) {
    for (int i = 0; i < graph->node_count; i++)
        if (deft_node_weight(graph, &graph->nodes[i]) == value) return true;
    return false;
}

static deft_status init_slot(deft_sgd *sgd, deft_training *training, int index, bool keep_zeros) {
    int parameter = training->parameters[index];
    const deft_tensor *weights = &training->graph->values[parameter].desc;
    deft_sgd_slot *slot = &sgd->slots[index];
    *slot = (deft_sgd_slot){.count = deft_tensor_count(weights),
                            .weights = weights->data,
                            .gradient = deft_executor_tensor(training->executor, training->gradients[index])->data,
                            .decays = weights->rank >= 2};
    DEFT_TRY(deft_arena_array(&sgd->arena, (size_t)slot->count, sizeof(float), &slot->velocity));
    if (!keep_zeros || !is_prunable(training->graph, parameter)) return DEFT_OK;
    DEFT_TRY(deft_arena_array(&sgd->arena, (size_t)slot->count, sizeof(float), &slot->mask));
    for (int64_t i = 0; i < slot->count; i++)
        slot->mask[i] = slot->weights[i] != 0;
    return DEFT_OK;
}

deft_status deft_sgd_init(deft_sgd *sgd, deft_training *training, float momentum, float weight_decay, bool keep_zeros) {
    *sgd = (deft_sgd){.ctx = training->ctx, .momentum = momentum, .weight_decay = weight_decay};
    deft_arena_init(&sgd->arena, training->ctx);
    deft_status status =
        deft_arena_array(&sgd->arena, (size_t)training->parameter_count, sizeof *sgd->slots, &sgd->slots);
    for (int i = 0; status == DEFT_OK && i < training->parameter_count; i++)
        status = init_slot(sgd, training, i, keep_zeros);
    sgd->count = training->parameter_count;
    if (status != DEFT_OK) deft_sgd_done(sgd);
    return status;
}

void deft_sgd_done(deft_sgd *sgd) {
    deft_arena_done(&sgd->arena);
    sgd->count = 0;
}

static void step_slot(const deft_sgd_slot *slot, float rate, float momentum, float decay, int threads) {
    float *restrict w = slot->weights, *restrict v = slot->velocity;
    const float *restrict g = slot->gradient, *restrict mask = slot->mask;
    if (mask) {
#pragma omp parallel for simd num_threads(threads) if (slot->count >= PARALLEL_COUNT)
        for (int64_t i = 0; i < slot->count; i++) {
            v[i] = (momentum * v[i] + g[i] + decay * w[i]) * mask[i];
            w[i] -= rate * v[i];
        }
    } else {
#pragma omp parallel for simd num_threads(threads) if (slot->count >= PARALLEL_COUNT)
        for (int64_t i = 0; i < slot->count; i++) {
            v[i] = momentum * v[i] + g[i] + decay * w[i];
            w[i] -= rate * v[i];
        }
    }
}

void deft_sgd_step(deft_sgd *sgd, float rate) {
    for (int i = 0; i < sgd->count; i++)
        step_slot(&sgd->slots[i], rate, sgd->momentum, sgd->slots[i].decays ? sgd->weight_decay : 0, sgd->ctx->threads);
}

static void mix(float *running, const float *batch, int64_t count, float momentum) {
    for (int64_t i = 0; i < count; i++)
        running[i] = momentum * running[i] + (1 - momentum) * batch[i];
}

void deft_sgd_update_statistics(deft_training *training) {
    for (int i = 0; i < training->stats_count; i++) {
        const deft_batch_stats *stats = &training->stats[i];
        deft_tensor *mean = &training->graph->values[stats->running_mean].desc;
        deft_tensor *var = &training->graph->values[stats->running_var].desc;
        int64_t count = deft_tensor_count(mean);
        mix(mean->data, deft_executor_tensor(training->executor, stats->batch_mean)->data, count, stats->momentum);
        mix(var->data, deft_executor_tensor(training->executor, stats->batch_var)->data, count, stats->momentum);
    }
}

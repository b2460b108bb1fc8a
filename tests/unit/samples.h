/* Data sets made in memory, and models small enough to follow by hand. */
#ifndef DEFT_TESTS_UNIT_SAMPLES_H
#define DEFT_TESTS_UNIT_SAMPLES_H

#include "tests/unit/graphs.h"

#include "learn/data/arrays.h"
#include "learn/data/format.h"

/* Random samples around a centre for each class, well apart; 0 classes: without labels. The split sizes are given. */
static inline deft_dataset *make_samples(deft_context *ctx, int rank, const int64_t *dims, int classes,
                                         const int64_t counts[DEFT_SPLITS]) {
    deft_dataset *set = NULL;
    deft_arrays *arrays = NULL;
    float *x;
    int32_t *y;
    deft_rng rng;
    int64_t total = counts[0] + counts[1] + counts[2], at = 0;
    assert_int_equal(deft_allocate_zeroed(ctx, 1, sizeof *set, &set), DEFT_OK);
    set->ctx = ctx;
    deft_arena_init(&set->arena, ctx);
    set->classes = classes;
    deft_data_set_shape(set, rank, dims);
    assert_int_equal(deft_arena_string(&set->arena, "made:samples", &set->spec), DEFT_OK);
    assert_int_equal(deft_arrays_attach(set, &arrays), DEFT_OK);
    assert_int_equal(deft_arena_array(&set->arena, (size_t)(total * set->sample_count), sizeof *x, &x), DEFT_OK);
    assert_int_equal(deft_arena_array(&set->arena, (size_t)total, sizeof *y, &y), DEFT_OK);
    arrays->dtype = DEFT_F32;
    deft_rng_init(&rng, 5, 0);
    for (int64_t i = 0; i < total; i++) {
        y[i] = classes ? (int32_t)deft_rng_below(&rng, (uint64_t)classes) : 0;
        for (int64_t j = 0; j < set->sample_count; j++)
            x[i * set->sample_count + j] = 0.3f * deft_rng_normal(&rng) + (classes && j % classes == y[i] ? 1 : 0);
    }
    for (int split = 0; split < DEFT_SPLITS; split++) {
        set->split[split] = (deft_samples){.count = counts[split], .y = classes ? y + at : NULL};
        arrays->split[split].x = x + at * set->sample_count;
        at += counts[split];
    }
    return set;
}
/* What make_samples made: [samples of the split][sample]. */
static inline float *samples_of(const deft_dataset *set, deft_split split) {
    return (float *)((const deft_arrays *)set->source.state)->split[split].x;
}
#define COUNTS(...)                                                                                                    \
    (const int64_t[DEFT_SPLITS]) {                                                                                     \
        __VA_ARGS__                                                                                                    \
    }

/* x [batch, 6] -> Gemm 12 -> Relu -> Gemm 3 -> y; batch -1 is any. */
static inline deft_graph *two_layers(deft_context *ctx, int64_t batch, bool softmax) {
    deft_graph *graph = new_graph(ctx);
    add_graph_input(graph, "x", DIMS(batch, 6));
    add_weight(graph, "w1", DIMS(6, 12), 0);
    add_weight(graph, "b1", DIMS(12), 1);
    add_weight(graph, "w2", DIMS(12, 3), 0);
    add_weight(graph, "b2", DIMS(3), 1);
    NODE(graph, GEMM, "h", "x", "w1", "b1");
    NODE(graph, RELU, "r", "h");
    NODE(graph, GEMM, "logits", "r", "w2", "b2");
    if (softmax) NODE(graph, SOFTMAX, "p", "logits");
    finish_graph(graph, softmax ? "p" : "logits");
    assert_int_equal(deft_graph_infer(graph, 1, NULL, 0), DEFT_OK);
    return graph;
}

static inline deft_tensor *constant_of(const deft_graph *graph, const char *name) {
    int id = deft_graph_find(graph, name);
    assert_true(id >= 0 && graph->values[id].desc.data);
    return &graph->values[id].desc;
}

static inline int64_t zeros_of(const deft_graph *graph, const char *name) {
    const deft_tensor *tensor = constant_of(graph, name);
    int64_t zeros = 0;
    for (int64_t i = 0; i < deft_tensor_count(tensor); i++)
        zeros += ((const float *)tensor->data)[i] == 0.0f;
    return zeros;
}

/* Whether all constants of the two, by name, are the same bit for bit. */
static inline bool same_constants(const deft_graph *a, const deft_graph *b) {
    int compared = 0;
    for (int i = 0; i < a->value_count; i++) {
        if (!a->values[i].desc.data) continue;
        compared++;
        if (!deft_tensor_equal(&a->values[i].desc, constant_of(b, a->values[i].name))) return false;
    }
    assert_true(compared > 0);
    return true;
}

#endif

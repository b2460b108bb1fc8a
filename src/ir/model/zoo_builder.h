/* What the networks of the zoo are built with: layers in a row, each on what the last one made. */
#ifndef DEFT_IR_MODEL_ZOO_BUILDER_H
#define DEFT_IR_MODEL_ZOO_BUILDER_H

#include "base/core/rng.h"
#include "ir/graph/graph.h"

typedef enum deft_zoo_kind {
    DEFT_ZOO_CONV,
    DEFT_ZOO_BATCH_NORM,
    DEFT_ZOO_RELU,
    DEFT_ZOO_LRN,
    DEFT_ZOO_MAX_POOL,
    DEFT_ZOO_AVERAGE_POOL,
    DEFT_ZOO_GLOBAL_POOL,
    DEFT_ZOO_KINDS
} deft_zoo_kind;

typedef struct deft_zoo_layer {
    deft_zoo_kind kind;
    int64_t channels;  /* made, or features */
    int64_t kernel;    /* square */
    int64_t stride;    /* 0: 1 */
    int64_t pad;       /* on each side; without it, pooling windows may hang over the end (ceil_mode) */
    int64_t groups;    /* 0: 1 */
    bool unbiased;     /* what follows adds a bias */
    float alpha, bias; /* of an LRN over `kernel` channels, beta 0.75 */
} deft_zoo_layer;

/* A network so far. */
typedef struct deft_zoo_builder {
    deft_graph *graph;
    deft_rng rng;
    int value;                 /* what the last layer made */
    int64_t channels;          /* of it, or its features when it is flat */
    int64_t side;              /* of its square pictures; 1 when it is flat */
    int count[DEFT_ZOO_KINDS]; /* of layers, for their names; pools of all kinds at MAX_POOL */
    int sum_count;
} deft_zoo_builder;

/* Input x [N, channels, side, side], or [N, channels] for a side of 0. */
DEFT_MUST_CHECK deft_status deft_zoo_add_input(deft_zoo_builder *b, int64_t channels, int64_t side);
/* Layers are named by kind and number: conv1, pool1, ... */
DEFT_MUST_CHECK deft_status deft_zoo_add_layers(deft_zoo_builder *b, const deft_zoo_layer *layers, int count);
/* Convolution without a bias, batch normalisation and, where it is asked for, ReLU. */
DEFT_MUST_CHECK deft_status deft_zoo_add_conv_bn(deft_zoo_builder *b, deft_zoo_layer conv, bool relu);
/* The sum of two values of one shape, and ReLU. */
DEFT_MUST_CHECK deft_status deft_zoo_add_sum_relu(deft_zoo_builder *b, int first, int second);
/* Linear layers of these sizes with ReLU between them, on what the last layer made, flat; the last one makes the
 * graph's output, logits [N, classes]. */
DEFT_MUST_CHECK deft_status deft_zoo_add_classifier(deft_zoo_builder *b, const int64_t *sizes, int count);

#define DEFT_ZOO_NET(NAME, FUNCTION, SUMMARY) DEFT_MUST_CHECK deft_status deft_zoo_##FUNCTION(deft_zoo_builder *b);
#include "ir/model/zoo.def"
#undef DEFT_ZOO_NET

#endif

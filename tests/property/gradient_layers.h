/* Problems for the gradients of normalisations, losses, attention and recurrent layers. */
#ifndef DEFT_TESTS_PROPERTY_GRADIENT_LAYERS_H
#define DEFT_TESTS_PROPERTY_GRADIENT_LAYERS_H

#include "tests/property/gradient_building.h"

/* ---- normalisations and losses ---- */

static int make_layer_norm(problem *p, deft_op op) {
    int64_t a = pick(p, 1, 3), b = pick(p, 2, 4), c = pick(p, 2, 3);
    deft_attr attrs[] = {one_float("epsilon", 0.01f), one_int("axis", coin(p) ? 1 : -1)};
    int in[] = {VARIABLE(p, a, b, c), attrs[1].i == 1 ? VARIABLE(p, b, c) : VARIABLE(p, c), -1};
    if (coin(p)) in[2] = attrs[1].i == 1 ? VARIABLE(p, b, c) : VARIABLE(p, c);
    return add_nodes(p, op, attrs, 2, in, 3, coin(p) ? 1 : 3);
}

static int make_rms_norm(problem *p, deft_op op) {
    int64_t a = pick(p, 1, 3), b = pick(p, 2, 4), c = pick(p, 2, 3);
    deft_attr attrs[] = {one_float("epsilon", 0.01f), one_int("axis", coin(p) ? 1 : -1)};
    return add_node(p, op, attrs, 2, VARIABLE(p, a, b, c), attrs[1].i == 1 ? VARIABLE(p, b, c) : VARIABLE(p, c), -1);
}

static int make_group_norm(problem *p, deft_op op) {
    int64_t groups = pick(p, 1, 2), channels = groups * pick(p, 1, 2);
    deft_attr attrs[] = {one_int("num_groups", groups), one_float("epsilon", 0.01f)};
    p->graph->opset = coin(p) ? 21 : 18;
    int64_t numbers = p->graph->opset == 21 ? channels : groups;
    return add_node(p, op, attrs, coin(p) ? 2 : 1, VARIABLE(p, 2, channels, 3, pick(p, 1, 2)), VARIABLE(p, numbers),
                    VARIABLE(p, numbers));
}

static int make_mean_variance(problem *p, deft_op op) {
    static const int64_t axes[] = {-1, 0};
    deft_attr attr = ints("axes", (int)pick(p, 1, 2), axes);
    return add_node(p, op, &attr, coin(p), VARIABLE(p, 2, 3, 4), -1, -1);
}

static int make_lp_norm(problem *p, deft_op op) {
    deft_attr attrs[] = {one_int("p", pick(p, 1, 2)), one_int("axis", pick(p, -2, 2))};
    return add_node(p, op, attrs, 2, VARIABLE(p, 2, 3, 4), -1, -1);
}

/* Positions of a pooling of 2x2, all different; of a picture that is larger, too. */
static int make_max_unpool(problem *p, deft_op op) {
    static const int64_t at[] = {0, 3, 9, 10, 16, 21, 26, 31}, dims[] = {1, 2, 2, 2}, two[] = {2, 2},
                         larger[] = {1, 2, 5, 6};
    deft_attr attrs[] = {ints("kernel_shape", 2, two), ints("strides", 2, two)};
    int x = VARIABLE(p, 1, 2, 2, 2), indices = of_type(p, DEFT_I64, 4, dims, at);
    return add_node(p, op, attrs, 2, x, indices, coin(p) ? i64_vector(p, 4, larger) : -1);
}

static int make_instance_norm(problem *p, deft_op op) {
    int64_t channels = pick(p, 1, 3);
    deft_attr epsilon = one_float("epsilon", 0.01f);
    return add_node(p, op, &epsilon, 1, VARIABLE(p, 2, channels, pick(p, 2, 3), 2), VARIABLE(p, channels),
                    VARIABLE(p, channels));
}

static int make_lrn(problem *p, deft_op op) {
    deft_attr attrs[] = {one_int("size", pick(p, 1, 4)), one_float("alpha", 0.9f),
                         one_float("beta", coin(p) ? 0.75f : 0.6f), one_float("bias", 1.3f)};
    int x =
        coin(p) ? VARIABLE(p, 2, pick(p, 1, 5), 3) : VARIABLE(p, 1, 2, 7, 11); /* more than one block of positions */
    return add_node(p, op, attrs, 4, x, -1, -1);
}

static int make_label_loss(problem *p, deft_op op) {
    static const char *const reductions[] = {"mean", "sum", "none"};
    deft_attr attrs[] = {{.name = "reduction", .type = DEFT_ATTR_STRING, .s = reductions[pick(p, 0, 2)]},
                         one_int("ignore_index", 2)};
    const int64_t labels[] = {pick(p, 0, 2), 1, pick(p, 0, 2), pick(p, 0, 2)}, grid[] = {2, 2}, four = 4;
    bool pictures = coin(p);
    int at = pictures ? of_type(p, DEFT_I64, 2, grid, labels) : of_type(p, DEFT_I64, 1, &four, labels);
    int x = pictures ? VARIABLE(p, 2, 3, 2) : VARIABLE(p, 4, 3), weights = coin(p) ? FIXED(p, 3) : -1;
    if (weights >= 0) move_into(p, weights, 0.3, 2);
    return add_node(p, op, attrs, coin(p) ? 2 : 1, x, at, weights);
}

/* ---- attention ---- */

/* Of outputs y, ..., those whose bits are in `which`, flat, one after the other. */
static int join_outputs(problem *p, int y, int count, int which) {
    int flat[3], used = 0;
    deft_attr axis = one_int("axis", 0);
    for (int i = 0; i < count; i++)
        if (which >> i & 1)
            flat[used++] = add_node(p, DEFT_OP_RESHAPE, NULL, 0, y + i, i64_vector(p, 1, (int64_t[]){-1}), -1);
    return used ? add_nodes(p, DEFT_OP_CONCAT, &axis, 1, flat, used, 1) : y;
}

/* Heads that share keys, masks of all kinds, keys and values of the past. */
static int make_attention(problem *p, deft_op op) {
    int64_t b = pick(p, 1, 2), shared = pick(p, 1, 2), kv = pick(p, 1, 2), rows = pick(p, 1, 3), keys = pick(p, 1, 3);
    int64_t heads = shared * kv, size = pick(p, 1, 2), width = pick(p, 1, 2), past = coin(p) ? pick(p, 1, 2) : 0;
    bool flat = coin(p);
    deft_attr attrs[] = {one_int("q_num_heads", heads), one_int("kv_num_heads", kv), one_int("is_causal", coin(p)),
                         one_float("scale", 0.7f)};
    int in[] = {flat ? VARIABLE(p, b, rows, heads * size) : VARIABLE(p, b, heads, rows, size),
                flat ? VARIABLE(p, b, keys, kv * size) : VARIABLE(p, b, kv, keys, size),
                flat ? VARIABLE(p, b, keys, kv * width) : VARIABLE(p, b, kv, keys, width),
                -1,
                past ? VARIABLE(p, b, kv, past, size) : -1,
                past ? VARIABLE(p, b, kv, past, width) : -1};
    int64_t all = past + keys, few = pick(p, 1, all), mask_dims[] = {rows, few};
    const bool looks[] = {true, coin(p), coin(p), true, coin(p), true,    true, coin(p),
                          true, coin(p), coin(p), true, true,    coin(p), true};
    switch (pick(p, 0, 3)) {
    case 0:
        in[3] = VARIABLE(p, rows, few);
        break;
    case 1:
        in[3] = VARIABLE(p, b, 1, 1, all);
        break;
    case 2:
        in[3] = of_type(p, DEFT_BOOL, 2, mask_dims, looks);
    }
    int y = add_nodes(p, op, attrs, coin(p) ? 4 : 3, in, past ? 6 : 4, 3);
    return join_outputs(p, y, 3, 1 + 2 * (int)pick(p, 0, 3));
}

static int make_rotary(problem *p, deft_op op) {
    static const int64_t positions[] = {2, 0, 1, 1, 0, 2}, two_by_three[] = {2, 3};
    deft_attr attrs[] = {one_int("interleaved", coin(p)), one_int("num_heads", 2), one_int("rotary_embedding_dim", 2)};
    bool given = coin(p), part = coin(p);
    int64_t half = part ? 1 : 2;
    int x = coin(p) ? VARIABLE(p, 2, 2, 3, 4) : VARIABLE(p, 2, 3, 8);
    int in[] = {x, given ? FIXED(p, 3, half) : FIXED(p, 2, 3, half), given ? FIXED(p, 3, half) : FIXED(p, 2, 3, half),
                given ? of_type(p, DEFT_I64, 2, two_by_three, positions) : -1};
    return add_nodes(p, op, attrs, part ? 3 : 2, in, given ? 4 : 3, 1);
}

static int make_einsum(problem *p, deft_op op) {
    static const char *const equations[] = {"ij,jk->ik", "bij,bkj->bik", "...ij,...jk->...ik", "i,j->ij",
                                            "ij->",      "ij,ij->i",     "ij,kl->k",           "ij,jk,kl",
                                            "...i->...", "ij->ji",       "...i,...i->..."};
    int64_t a = pick(p, 1, 3), b = pick(p, 1, 3), c = pick(p, 1, 3), d = pick(p, 1, 3);
    int which = (int)pick(p, 0, 10);
    deft_attr attr = {.name = "equation", .type = DEFT_ATTR_STRING, .s = equations[which]};
    switch (which) {
    case 0:
        return add_node(p, op, &attr, 1, VARIABLE(p, a, b), VARIABLE(p, b, c), -1);
    case 1:
        return add_node(p, op, &attr, 1, VARIABLE(p, a, b, c), VARIABLE(p, a, d, c), -1);
    case 2: /* what broadcasts: a dimension of 1, and one that is not there */
        return add_node(p, op, &attr, 1, coin(p) ? VARIABLE(p, 2, 1, a, b) : VARIABLE(p, a, b), VARIABLE(p, d, b, c),
                        -1);
    case 3:
        return add_node(p, op, &attr, 1, VARIABLE(p, a), VARIABLE(p, b), -1);
    case 5:
        return add_node(p, op, &attr, 1, VARIABLE(p, a, b), VARIABLE(p, a, b), -1);
    case 6: /* j and l are summed alone */
        return add_node(p, op, &attr, 1, VARIABLE(p, a, b), VARIABLE(p, c, d), -1);
    case 7:
        return add_node(p, op, &attr, 1, VARIABLE(p, a, b), VARIABLE(p, b, c), VARIABLE(p, c, d));
    case 10:
        return add_node(p, op, &attr, 1, VARIABLE(p, a, 1, b), VARIABLE(p, 1, c, b), -1);
    default:
        return add_node(p, op, &attr, 1, VARIABLE(p, a, b), -1, -1);
    }
}

/* ---- recurrent ---- */

/* All that a node may have, at random: attributes, optional inputs, and of its outputs any that are used. */
static int make_recurrent(problem *p, deft_op op) {
    static const char *const directions[] = {"forward", "reverse", "bidirectional"};
    static const char *const lstm[] = {"Sigmoid", "Relu", "Sigmoid", "Tanh", "Sigmoid", "Relu"};
    static const char *const gru[] = {"Tanh", "Sigmoid", "Sigmoid", "Relu"}, *const rnn[] = {"Sigmoid", "Relu"};
    int way = (int)pick(p, 0, 2), gates = op == DEFT_OP_LSTM ? 4 : op == DEFT_OP_GRU ? 3 : 1;
    int64_t d = way == 2 ? 2 : 1, t = pick(p, 1, 3), b = pick(p, 1, 3), inputs = pick(p, 1, 2), h = pick(p, 1, 3);
    int64_t rows = gates * h, layout = pick(p, 0, 1), lengths_dim = b;
    const int32_t lengths[] = {(int32_t)pick(p, 0, t), (int32_t)pick(p, 0, t), (int32_t)t};
    deft_attr attrs[8] = {{.name = "direction", .type = DEFT_ATTR_STRING, .s = directions[way]},
                          one_int("layout", layout),
                          one_int("hidden_size", h),
                          one_int("linear_before_reset", pick(p, 0, 1)),
                          one_int("input_forget", pick(p, 0, 3) == 0)};
    int attr_count = 5;
    if (pick(p, 0, 3) == 0) attrs[attr_count++] = one_float("clip", 0.61f);
    if (coin(p))
        attrs[attr_count++] = (deft_attr){.name = "activations",
                                          .type = DEFT_ATTR_STRINGS,
                                          .count = d * (op == DEFT_OP_LSTM  ? 3
                                                        : op == DEFT_OP_GRU ? 2
                                                                            : 1),
                                          .strings = op == DEFT_OP_LSTM  ? lstm
                                                     : op == DEFT_OP_GRU ? gru
                                                                         : rnn};
    int in[8] = {layout ? VARIABLE(p, b, t, inputs) : VARIABLE(p, t, b, inputs),
                 VARIABLE(p, d, rows, inputs),
                 VARIABLE(p, d, rows, h),
                 -1,
                 -1,
                 -1,
                 -1,
                 -1};
    int outs = op == DEFT_OP_LSTM ? 3 : 2;
    if (coin(p)) in[3] = VARIABLE(p, d, 2 * rows);
    if (coin(p)) in[4] = of_type(p, DEFT_I32, 1, &lengths_dim, lengths);
    for (int i = 5; i < 4 + outs; i++)
        if (coin(p)) in[i] = layout ? VARIABLE(p, b, d, h) : VARIABLE(p, d, b, h);
    if (op == DEFT_OP_LSTM && coin(p)) in[7] = VARIABLE(p, d, 3 * h);
    int y = add_nodes(p, op, attrs, attr_count, in, op == DEFT_OP_LSTM ? 8 : 6, outs);
    return join_outputs(p, y, outs, (int)pick(p, 1, 7));
}

#endif

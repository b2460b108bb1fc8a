/* What gradients are checked on: a random problem for each operator that has one. A maker adds the operator to the
 * graph with constants for inputs, and returns what is differentiated: its output, mostly. */
#ifndef DEFT_TESTS_PROPERTY_GRADIENT_PROBLEMS_H
#define DEFT_TESTS_PROPERTY_GRADIENT_PROBLEMS_H

#include "tests/property/gradient_layers.h"

/* Dimensions of which some operand has a 1 or nothing. */
static int make_binary(problem *p, deft_op op) {
    int64_t full[3], a[3], b[3];
    for (int i = 0; i < 3; i++) {
        full[i] = pick(p, 1, 4);
        int thin = (int)pick(p, 0, 3);
        a[i] = thin == 1 ? 1 : full[i];
        b[i] = thin == 2 ? 1 : full[i];
    }
    int a_skip = (int)pick(p, 0, 3), b_skip = a_skip ? 0 : (int)pick(p, 0, 3);
    int left = make_constant(p, 3 - a_skip, a + a_skip, true);
    if (op == DEFT_OP_MUL && coin(p)) return add_node(p, op, NULL, 0, left, left, -1); /* a square */
    int right = make_constant(p, 3 - b_skip, b + b_skip, true);
    double *divisor = p->graph->values[right].desc.data; /* far from 0, where differences are of no use */
    for (int64_t i = 0; op == DEFT_OP_DIV && i < deft_tensor_count(&p->graph->values[right].desc); i++)
        divisor[i] += copysign(0.5, divisor[i]);
    return add_node(p, op, NULL, 0, left, right, -1);
}

static int make_unary(problem *p, deft_op op) {
    return add_node(p, op, NULL, 0, VARIABLE(p, pick(p, 1, 4), pick(p, 1, 5)), -1, -1);
}

static int make_clip(problem *p, deft_op op) {
    int x = VARIABLE(p, pick(p, 1, 4), pick(p, 1, 5));
    if (coin(p)) {
        p->graph->opset = 6;
        deft_attr attrs[] = {one_float("min", -0.43217f), one_float("max", 0.61819f)};
        return add_node(p, op, attrs, 2, x, -1, -1);
    }
    double low = -0.43217, high = 0.61819;
    deft_tensor low_tensor = {.dtype = DEFT_F64, .data = &low}, high_tensor = {.dtype = DEFT_F64, .data = &high};
    int in[3] = {x, -1, -1};
    if (coin(p)) assert_int_equal(deft_graph_add_constant(p->graph, NULL, &low_tensor, &in[1]), DEFT_OK);
    if (coin(p)) assert_int_equal(deft_graph_add_constant(p->graph, NULL, &high_tensor, &in[2]), DEFT_OK);
    return add_nodes(p, op, NULL, 0, in, 3, 1);
}

static int make_reshape(problem *p, deft_op op) {
    int64_t a = pick(p, 1, 3), b = pick(p, 1, 3), axis = 1;
    int x = VARIABLE(p, a, 1, b);
    if (op == DEFT_OP_FLATTEN) return add_node(p, op, (deft_attr[]){one_int("axis", pick(p, 0, 3))}, 1, x, -1, -1);
    if (op == DEFT_OP_RESHAPE) return add_node(p, op, NULL, 0, x, i64_vector(p, 2, (int64_t[]){b, -1}), -1);
    if (coin(p)) return add_node(p, op, NULL, 0, x, i64_vector(p, 1, &axis), -1);
    p->graph->opset = 11;
    return add_node(p, op, (deft_attr[]){ints("axes", 1, &axis)}, 1, x, -1, -1);
}

static int make_transpose(problem *p, deft_op op) {
    int64_t perm[] = {0, 1, 2};
    deft_rng_shuffle(&p->rng, perm, 3);
    deft_attr attr = ints("perm", 3, perm);
    return add_node(p, op, &attr, coin(p), VARIABLE(p, pick(p, 1, 4), pick(p, 1, 4), pick(p, 1, 4)), -1, -1);
}

static int make_gemm(problem *p, deft_op op) {
    int64_t m = pick(p, 1, 4), n = pick(p, 1, 4), k = pick(p, 1, 4);
    bool a_turned = coin(p), b_turned = coin(p);
    deft_attr attrs[] = {one_int("transA", a_turned), one_int("transB", b_turned), one_float("alpha", 0.75f),
                         one_float("beta", coin(p) ? 1 : -1.5f)};
    int a = a_turned ? VARIABLE(p, k, m) : VARIABLE(p, m, k), b = b_turned ? VARIABLE(p, n, k) : VARIABLE(p, k, n),
        c = -1;
    switch (pick(p, 0, 4)) {
    case 0:
        c = VARIABLE(p, n);
        break;
    case 1:
        c = VARIABLE(p, m, 1);
        break;
    case 2:
        c = VARIABLE(p, m, n);
        break;
    case 3:
        c = VARIABLE(p, 1);
    }
    return add_node(p, op, attrs, 4, a, b, c);
}

static int make_matmul(problem *p, deft_op op) {
    int64_t m = pick(p, 1, 3), n = pick(p, 1, 3), k = pick(p, 1, 3), s = pick(p, 1, 3), t = pick(p, 1, 3);
    switch (pick(p, 0, 7)) {
    case 0:
        return add_node(p, op, NULL, 0, VARIABLE(p, k), VARIABLE(p, k), -1);
    case 1:
        return add_node(p, op, NULL, 0, VARIABLE(p, k), VARIABLE(p, s, k, n), -1);
    case 2:
        return add_node(p, op, NULL, 0, VARIABLE(p, s, m, k), VARIABLE(p, k), -1);
    case 3:
        return add_node(p, op, NULL, 0, VARIABLE(p, s, m, k), VARIABLE(p, k, n), -1);
    case 4:
        return add_node(p, op, NULL, 0, VARIABLE(p, m, k), VARIABLE(p, s, k, n), -1);
    case 5:
        return add_node(p, op, NULL, 0, VARIABLE(p, s, 1, m, k), VARIABLE(p, t, k, n), -1);
    case 6:
        return add_node(p, op, NULL, 0, VARIABLE(p, k), VARIABLE(p, k, n), -1);
    default:
        return add_node(p, op, NULL, 0, VARIABLE(p, m, k), VARIABLE(p, k, n), -1);
    }
}

/* 1 to 3, volumes seldom: they take long. */
static int pick_spatial(problem *p) {
    return pick(p, 0, 5) == 0 ? 3 : (int)pick(p, 1, 2);
}

/* x of so many spatial dimensions. */
static int make_picture(problem *p, int spatial, int64_t batch, int64_t channels) {
    if (spatial == 3) return VARIABLE(p, 1, channels, 5, 5, 5);
    return spatial == 2 ? VARIABLE(p, batch, channels, 5, 6) : VARIABLE(p, batch, channels, 6);
}

/* The weight of a convolution with this window. */
static int make_kernel(problem *p, int spatial, int64_t filters, int64_t depth, const int64_t *kernel) {
    const int64_t dims[] = {filters, depth, kernel[0], kernel[1], kernel[2]};
    return make_constant(p, 2 + spatial, dims, true);
}

/* Random windows that fit a picture of 5x6, a volume of 5x5x5, or a line of 6: strides, dilations and pads for
 * `spatial` dimensions. */
typedef struct window_attrs {
    int64_t kernel[3], strides[3], dilations[3], pads[6];
    deft_attr attrs[6];
    int count;
} window_attrs;

static void make_window(problem *p, int spatial, bool dilated, window_attrs *out) {
    static const char *const modes[] = {"SAME_UPPER", "SAME_LOWER", "VALID"};
    *out = (window_attrs){.count = 0};
    for (int i = 0; i < spatial; i++) {
        out->kernel[i] = pick(p, 1, 3);
        out->strides[i] = pick(p, 1, 3);
        out->dilations[i] = dilated ? pick(p, 1, 2) : 1;
        out->pads[i] = pick(p, 0, out->kernel[i] - 1);
        out->pads[spatial + i] = pick(p, 0, out->kernel[i] - 1);
    }
    out->attrs[out->count++] = ints("kernel_shape", spatial, out->kernel);
    out->attrs[out->count++] = ints("strides", spatial, out->strides);
    out->attrs[out->count++] = ints("dilations", spatial, out->dilations);
    if (pick(p, 0, 2) == 0)
        out->attrs[out->count++] = (deft_attr){.name = "auto_pad", .type = DEFT_ATTR_STRING, .s = modes[pick(p, 0, 2)]};
    else
        out->attrs[out->count++] = ints("pads", 2 * spatial, out->pads);
}

static int make_conv(problem *p, deft_op op) {
    int spatial = pick_spatial(p);
    int64_t groups = pick(p, 1, 2), channels = groups, filters = groups, batch = pick(p, 1, 2);
    window_attrs w;
    if (spatial < 3) channels *= pick(p, 1, 2);
    if (spatial < 3) filters *= pick(p, 1, 2);
    make_window(p, spatial, true, &w);
    w.attrs[w.count++] = one_int("group", groups);
    int x = make_picture(p, spatial, batch, channels);
    int weight = make_kernel(p, spatial, filters, channels / groups, w.kernel);
    return add_node(p, op, w.attrs, w.count, x, weight, coin(p) ? VARIABLE(p, filters) : -1);
}

static int make_pool(problem *p, deft_op op) {
    int spatial = pick_spatial(p);
    window_attrs w;
    make_window(p, spatial, op == DEFT_OP_MAX_POOL, &w);
    w.attrs[w.count++] = one_int("ceil_mode", pick(p, 0, 1));
    if (op == DEFT_OP_AVERAGE_POOL) w.attrs[w.count++] = one_int("count_include_pad", pick(p, 0, 1));
    int x = make_picture(p, spatial, 2, 2);
    if (spatial == 2 && coin(p)) { /* windows of 2x2 side by side have loops of their own */
        static const int64_t twos[] = {2, 2};
        return add_node(p, op, (deft_attr[]){ints("kernel_shape", 2, twos), ints("strides", 2, twos)}, 2, x, -1, -1);
    }
    return add_node(p, op, w.attrs, w.count, x, -1, -1);
}

static int make_global_pool(problem *p, deft_op op) {
    return add_node(p, op, NULL, 0, VARIABLE(p, 2, pick(p, 1, 3), pick(p, 1, 3), pick(p, 1, 3)), -1, -1);
}

static int make_softmax(problem *p, deft_op op) {
    p->graph->opset = coin(p) ? 17 : 11;
    deft_attr axis = one_int("axis", pick(p, -3, 2));
    return add_node(p, op, &axis, coin(p), VARIABLE(p, pick(p, 1, 3), pick(p, 1, 3), pick(p, 2, 4)), -1, -1);
}

static int make_batch_norm(problem *p, deft_op op) {
    int64_t channels = pick(p, 1, 3);
    deft_attr epsilon = one_float("epsilon", 0.01f);
    int in[] = {coin(p) ? VARIABLE(p, 3, channels, 2, 2) : VARIABLE(p, 5, channels), VARIABLE(p, channels),
                VARIABLE(p, channels)};
    return add_nodes(p, op, &epsilon, coin(p), in, 3, 3);
}

/* Targets are weights of the classes that need not sum to 1. */
static int make_loss(problem *p, deft_op op) {
    int64_t rows = pick(p, 1, 4), classes = pick(p, 2, 4);
    int y = VARIABLE(p, rows, classes), targets = FIXED(p, rows, classes);
    if (op == DEFT_OP_MEAN_PERCENTAGE_ERROR) move_into(p, targets, 1.5, 3); /* not near 0, nor near y */
    return add_node(p, op, NULL, 0, y, targets, -1);
}

/* Without the kink where the answer is the target. */
static int make_percentage_error(problem *p, deft_op op) {
    int out = make_loss(p, op);
    const deft_node *node = &p->graph->nodes[p->graph->node_count - 1];
    double *y = p->graph->values[node->in[0]].desc.data;
    const double *target = p->graph->values[node->in[1]].desc.data;
    for (int64_t i = 0; i < deft_tensor_count(&p->graph->values[node->in[0]].desc); i++)
        if (fabs(y[i] - target[i]) < 0.01) y[i] = target[i] + 0.01;
    return out;
}

/* ---- functions of one element ---- */

static int make_function(problem *p, deft_op op) {
    int x = VARIABLE(p, pick(p, 1, 4), pick(p, 1, 5));
    deft_attr attrs[] = {one_float("alpha", 0.37f), one_float("beta", 0.4f), one_float("gamma", 1.2f)};
    bool negative;
    deft_attr tangent = {.name = "approximate", .type = DEFT_ATTR_STRING, .s = "tanh"};
    switch (op) {
    case DEFT_OP_SQRT:
    case DEFT_OP_LOG:
        move_into(p, x, 0.3, 3);
        break;
    case DEFT_OP_RECIPROCAL:
        negative = coin(p);
        move_into(p, x, negative ? -2 : 0.5, negative ? -0.5 : 2);
        break;
    case DEFT_OP_ASIN:
    case DEFT_OP_ACOS:
    case DEFT_OP_ATANH:
        move_into(p, x, -0.9, 0.9);
        break;
    case DEFT_OP_ACOSH:
        move_into(p, x, 1.2, 3);
        break;
    case DEFT_OP_HARD_SIGMOID:
    case DEFT_OP_HARD_SWISH:
    case DEFT_OP_SOFTPLUS:
    case DEFT_OP_GELU:
        move_into(p, x, -4.03, 4.02);
        break;
    default:
        break;
    }
    if (op == DEFT_OP_GELU) return add_node(p, op, &tangent, coin(p), x, -1, -1);
    return add_node(p, op, attrs, coin(p) ? 3 : 0, x, -1, -1);
}

static int make_pow(problem *p, deft_op op) {
    int out = make_binary(p, op), base = p->wrt[0];
    move_into(p, base, 0.3, 2);
    return out;
}

static int make_prelu(problem *p, deft_op op) {
    int64_t a = pick(p, 1, 3), b = pick(p, 1, 3), c = pick(p, 1, 3);
    int x = VARIABLE(p, a, b, c);
    switch (pick(p, 0, 2)) {
    case 0:
        return add_node(p, op, NULL, 0, x, VARIABLE(p, b, 1), -1);
    case 1:
        return add_node(p, op, NULL, 0, x, VARIABLE(p, 1), -1);
    default:
        return add_node(p, op, NULL, 0, x, VARIABLE(p, a, b, c), -1);
    }
}

static int make_variadic(problem *p, deft_op op) {
    int64_t a = pick(p, 1, 3), b = pick(p, 1, 3);
    int x = VARIABLE(p, a, b), in[] = {x, coin(p) ? VARIABLE(p, b) : VARIABLE(p, a, 1), x};
    int count = (int)pick(p, 1, 3);
    if (count == 1) p->wrt_count = 1;
    return add_nodes(p, op, NULL, 0, in, count, 1);
}

static int make_where(problem *p, deft_op op) {
    const bool condition[] = {coin(p), coin(p), coin(p)};
    int64_t a = pick(p, 1, 3), three = 3;
    return add_node(p, op, NULL, 0, of_type(p, DEFT_BOOL, 1, &three, condition),
                    coin(p) ? VARIABLE(p, a, 3) : VARIABLE(p, 1), coin(p) ? VARIABLE(p, a, 1) : VARIABLE(p, 3));
}

static int make_cast(problem *p, deft_op op) {
    deft_attr to = one_int("to", DEFT_F64);
    int x = VARIABLE(p, pick(p, 1, 3), 2);
    return op == DEFT_OP_CAST ? add_node(p, op, &to, 1, x, -1, -1) : add_node(p, op, NULL, 0, x, FIXED(p, 1), -1);
}

/* ---- moves ---- */

static int make_concat(problem *p, deft_op op) {
    int64_t a = pick(p, 1, 3), b = pick(p, 1, 3);
    deft_attr axis = one_int("axis", coin(p) ? 1 : -2);
    p->graph->opset = coin(p) ? 17 : 8;
    return add_node(p, op, &axis, 1, VARIABLE(p, a, pick(p, 1, 3), b), VARIABLE(p, a, 2, b), VARIABLE(p, a, 1, b));
}

/* Of the parts, all or some are used. */
static int make_split(problem *p, deft_op op) {
    deft_attr axis = one_int("axis", 1);
    int in[] = {VARIABLE(p, pick(p, 1, 3), 6, 2), i64_vector(p, 3, (int64_t[]){1, 3, 2})};
    int first = add_nodes(p, op, &axis, 1, in, coin(p) ? 2 : 1, 3); /* else in equal parts */
    return add_node(p, DEFT_OP_CONCAT, &axis, 1, first + 2, first, coin(p) ? first + 1 : -1);
}

static int make_slice(problem *p, deft_op op) {
    int64_t starts[] = {pick(p, 0, 2), pick(p, 2, 5) - 6 * pick(p, 0, 1)}; /* of 5 and 6 elements */
    int64_t ends[] = {coin(p) ? starts[0] + pick(p, 1, 5) : -pick(p, 1, 2), coin(p) ? 0 : -9};
    int64_t steps[] = {pick(p, 1, 2), -pick(p, 1, 2)}; /* the second backwards */
    int in[] = {VARIABLE(p, 5, 2, 6), i64_vector(p, 2, starts), i64_vector(p, 2, ends),
                i64_vector(p, 2, (int64_t[]){0, -1}), i64_vector(p, 2, steps)};
    return add_nodes(p, op, NULL, 0, in, 5, 1);
}

static int make_pad(problem *p, deft_op op) {
    static const char *const modes[] = {"constant", "reflect", "edge", "wrap"};
    deft_attr mode = {.name = "mode", .type = DEFT_ATTR_STRING, .s = modes[pick(p, 0, 3)]};
    int64_t pads[] = {pick(p, -1, 2), pick(p, -1, 2), pick(p, -1, 2), pick(p, -1, 2)};
    return add_node(p, op, &mode, 1, VARIABLE(p, 3, 4), i64_vector(p, 4, pads), coin(p) ? FIXED(p, 1) : -1);
}

static int make_tile(problem *p, deft_op op) {
    return add_node(p, op, NULL, 0, VARIABLE(p, 2, pick(p, 1, 3)),
                    i64_vector(p, 2, (int64_t[]){pick(p, 1, 3), pick(p, 1, 2)}), -1);
}

static int make_expand(problem *p, deft_op op) {
    int64_t a = pick(p, 1, 3);
    return add_node(p, op, NULL, 0, VARIABLE(p, a, 1, 2), i64_vector(p, 4, (int64_t[]){2, a, pick(p, 1, 3), 1}), -1);
}

static int make_depth_space(problem *p, deft_op op) {
    deft_attr attrs[] = {one_int("blocksize", 2), {.name = "mode", .type = DEFT_ATTR_STRING, .s = "CRD"}};
    int x = op == DEFT_OP_DEPTH_TO_SPACE ? VARIABLE(p, 2, 8, 1, 3) : VARIABLE(p, 2, 1, 2, 4);
    return add_node(p, op, attrs, op == DEFT_OP_DEPTH_TO_SPACE && coin(p) ? 2 : 1, x, -1, -1);
}

static int make_trilu(problem *p, deft_op op) {
    deft_attr upper = one_int("upper", pick(p, 0, 1));
    int64_t shift = pick(p, -2, 2);
    return add_node(p, op, &upper, 1, VARIABLE(p, 2, 3, 4), coin(p) ? i64_vector(p, 1, &shift) : -1, -1);
}

static int make_gather(problem *p, deft_op op) {
    int64_t indices[] = {pick(p, -3, 2), pick(p, -3, 2), pick(p, -3, 2), pick(p, -3, 2)};
    const int64_t pair[] = {2, 2};
    deft_attr axis = one_int("axis", op == DEFT_OP_GATHER ? pick(p, 0, 1) : 1);
    deft_attr batch = one_int("batch_dims", pick(p, 0, 1));
    int at = of_type(p, DEFT_I64, 2, pair, indices);
    if (op != DEFT_OP_GATHER_ND) return add_node(p, op, &axis, 1, VARIABLE(p, 3, 3), at, -1);
    return add_node(p, op, &batch, 1, batch.i ? VARIABLE(p, 2, 3, 3, 2) : VARIABLE(p, 3, 3, 2), at, -1);
}

/* No index is there twice, unless updates are added. */
static int make_scatter(problem *p, deft_op op) {
    bool added = op != DEFT_OP_SCATTER && coin(p);
    deft_attr attrs[] = {one_int("axis", coin(p) ? 0 : -2),
                         {.name = "reduction", .type = DEFT_ATTR_STRING, .s = added ? "add" : "none"}};
    int64_t elements[] = {3, 1, added ? 3 : 0, -2}, pieces[] = {2, 0, added ? 2 : -2, added ? 0 : 1};
    const int64_t pair[] = {2, 2};
    int at = of_type(p, DEFT_I64, 2, pair, op == DEFT_OP_SCATTER_ND ? pieces : elements);
    if (op == DEFT_OP_SCATTER_ND) return add_node(p, op, attrs + 1, 1, VARIABLE(p, 3, 2, 2), at, VARIABLE(p, 2, 2));
    return add_node(p, op, attrs, op == DEFT_OP_SCATTER ? 1 : 2, VARIABLE(p, 4, 3), at, VARIABLE(p, 2, 2));
}

static int make_top_k(problem *p, deft_op op) {
    const int64_t k = pick(p, 1, 3);
    deft_attr attrs[] = {one_int("axis", coin(p) ? 1 : -1), one_int("largest", coin(p))};
    int in[] = {attrs[0].i == 1 ? VARIABLE(p, 2, 4, 2) : VARIABLE(p, 2, 2, 3), i64_vector(p, 1, &k)};
    return add_nodes(p, op, attrs, 2, in, 2, 2);
}

static int make_compress(problem *p, deft_op op) {
    const bool condition[] = {coin(p), true, coin(p)};
    const int64_t three = 3;
    deft_attr axis = one_int("axis", 1);
    return add_node(p, op, &axis, coin(p), VARIABLE(p, 2, 3), of_type(p, DEFT_BOOL, 1, &three, condition), -1);
}

static int make_reverse_sequence(problem *p, deft_op op) {
    const int64_t lengths[] = {pick(p, 1, 4), pick(p, 1, 4)};
    return add_node(p, op, NULL, 0, VARIABLE(p, 4, 2, pick(p, 1, 2)), i64_vector(p, 2, lengths), -1);
}

static int make_cum_sum(problem *p, deft_op op) {
    deft_attr attrs[] = {one_int("exclusive", pick(p, 0, 1)), one_int("reverse", pick(p, 0, 1))};
    const int64_t axis = pick(p, -2, 1);
    return add_node(p, op, attrs, 2, VARIABLE(p, 3, 4), of_type(p, DEFT_I64, 0, NULL, &axis), -1);
}

/* ---- along axes ---- */

static int make_reduce(problem *p, deft_op op) {
    static const int64_t axes[][2] = {{0, 2}, {1}, {-1}, {0, 1}};
    static const int counts[] = {2, 1, 1, 2};
    int choice = (int)pick(p, 0, 4), x = VARIABLE(p, 2, pick(p, 1, 3), 3);
    deft_attr attrs[] = {one_int("keepdims", pick(p, 0, 1)),
                         ints("axes", choice < 4 ? counts[choice] : 0, axes[choice % 4])};
    if (op == DEFT_OP_REDUCE_LOG_SUM) move_into(p, x, 0.2, 2);
    if (op == DEFT_OP_REDUCE_PROD) /* zeros too */
        for (int i = 0; i < 2; i++)
            ((double *)p->graph->values[x].desc.data)[pick(p, 0, 5)] = 0;
    p->graph->opset = 11;
    return add_node(p, op, attrs, choice < 4 ? 2 : 1, x, -1, -1);
}

static int make_conv_transpose(problem *p, deft_op op) {
    int64_t groups = pick(p, 1, 2), channels = groups * pick(p, 1, 2), filters = groups * pick(p, 1, 2);
    int spatial = pick_spatial(p);
    int64_t extra[] = {0, 0, 0};
    window_attrs w;
    make_window(p, spatial, true, &w);
    for (int i = 0; i < spatial; i++)
        extra[i] = pick(p, 0, w.strides[i] - 1);
    for (int i = 0; i < 2 * spatial; i++)
        w.pads[i] = w.pads[i] > 1 ? 1 : w.pads[i];
    w.attrs[w.count++] = one_int("group", groups);
    if (w.attrs[3].type == DEFT_ATTR_INTS) w.attrs[w.count++] = ints("output_padding", spatial, extra);
    int x = spatial == 3   ? VARIABLE(p, 1, channels, 2, 2, 3)
            : spatial == 2 ? VARIABLE(p, 2, channels, 3, 4)
                           : VARIABLE(p, 2, channels, 4);
    int weight = make_kernel(p, spatial, channels, filters / groups, w.kernel);
    return add_node(p, op, w.attrs, w.count, x, weight, coin(p) ? VARIABLE(p, filters) : -1);
}

static int make_resize(problem *p, deft_op op) {
    static const char *const modes[] = {"nearest", "linear", "cubic"};
    static const char *const places[] = {"half_pixel", "align_corners", "asymmetric"};
    deft_attr attrs[] = {
        {.name = "mode", .type = DEFT_ATTR_STRING, .s = modes[pick(p, 0, op == DEFT_OP_RESIZE ? 2 : 1)]},
        {.name = "coordinate_transformation_mode", .type = DEFT_ATTR_STRING, .s = places[pick(p, 0, 2)]}};
    const float scales[] = {1, 1, coin(p) ? 2 : 0.5f, coin(p) ? 1.7f : 3};
    const int64_t four = 4;
    int at = of_type(p, DEFT_F32, 1, &four, scales), in[] = {VARIABLE(p, 1, 2, 4, 3), -1, at};
    p->graph->opset = op == DEFT_OP_RESIZE ? 17 : 9;
    if (op == DEFT_OP_UPSAMPLE) return add_node(p, op, attrs, 1, in[0], at, -1);
    return add_nodes(p, op, attrs, 2, in, 3, 1);
}

/* ---- all of them ---- */

static int (*const makers[DEFT_OP_COUNT])(problem *p, deft_op op) = {
    [DEFT_OP_ADD] = make_binary,
    [DEFT_OP_SUB] = make_binary,
    [DEFT_OP_MUL] = make_binary,
    [DEFT_OP_DIV] = make_binary,
    [DEFT_OP_RELU] = make_unary,
    [DEFT_OP_CLIP] = make_clip,
    [DEFT_OP_SIGMOID] = make_unary,
    [DEFT_OP_TANH] = make_unary,
    [DEFT_OP_IDENTITY] = make_unary,
    [DEFT_OP_DROPOUT] = make_unary,
    [DEFT_OP_FLATTEN] = make_reshape,
    [DEFT_OP_RESHAPE] = make_reshape,
    [DEFT_OP_SQUEEZE] = make_reshape,
    [DEFT_OP_UNSQUEEZE] = make_reshape,
    [DEFT_OP_TRANSPOSE] = make_transpose,
    [DEFT_OP_GEMM] = make_gemm,
    [DEFT_OP_MATMUL] = make_matmul,
    [DEFT_OP_CONV] = make_conv,
    [DEFT_OP_MAX_POOL] = make_pool,
    [DEFT_OP_AVERAGE_POOL] = make_pool,
    [DEFT_OP_GLOBAL_AVERAGE_POOL] = make_global_pool,
    [DEFT_OP_SOFTMAX] = make_softmax,
    [DEFT_OP_LOG_SOFTMAX] = make_softmax,
    [DEFT_OP_BATCH_NORM_TRAINING] = make_batch_norm,
    [DEFT_OP_SOFTMAX_CROSS_ENTROPY] = make_loss,
    [DEFT_OP_MEAN_SQUARED_ERROR] = make_loss,
    [DEFT_OP_MEAN_PERCENTAGE_ERROR] = make_percentage_error,
    [DEFT_OP_ABS] = make_function,
    [DEFT_OP_NEG] = make_function,
    [DEFT_OP_RECIPROCAL] = make_function,
    [DEFT_OP_SQRT] = make_function,
    [DEFT_OP_EXP] = make_function,
    [DEFT_OP_LOG] = make_function,
    [DEFT_OP_ERF] = make_function,
    [DEFT_OP_SIN] = make_function,
    [DEFT_OP_COS] = make_function,
    [DEFT_OP_TAN] = make_function,
    [DEFT_OP_ASIN] = make_function,
    [DEFT_OP_ACOS] = make_function,
    [DEFT_OP_ATAN] = make_function,
    [DEFT_OP_SINH] = make_function,
    [DEFT_OP_COSH] = make_function,
    [DEFT_OP_ASINH] = make_function,
    [DEFT_OP_ACOSH] = make_function,
    [DEFT_OP_ATANH] = make_function,
    [DEFT_OP_LEAKY_RELU] = make_function,
    [DEFT_OP_ELU] = make_function,
    [DEFT_OP_SELU] = make_function,
    [DEFT_OP_CELU] = make_function,
    [DEFT_OP_THRESHOLDED_RELU] = make_function,
    [DEFT_OP_HARD_SIGMOID] = make_function,
    [DEFT_OP_HARD_SWISH] = make_function,
    [DEFT_OP_SOFTPLUS] = make_function,
    [DEFT_OP_SOFTSIGN] = make_function,
    [DEFT_OP_GELU] = make_function,
    [DEFT_OP_MISH] = make_function,
    [DEFT_OP_SWISH] = make_function,
    [DEFT_OP_SHRINK] = make_function,
    [DEFT_OP_MAX] = make_variadic,
    [DEFT_OP_MIN] = make_variadic,
    [DEFT_OP_SUM] = make_variadic,
    [DEFT_OP_MEAN] = make_variadic,
    [DEFT_OP_REDUCE_SUM] = make_reduce,
    [DEFT_OP_REDUCE_MEAN] = make_reduce,
    [DEFT_OP_REDUCE_MAX] = make_reduce,
    [DEFT_OP_REDUCE_MIN] = make_reduce,
    [DEFT_OP_REDUCE_L1] = make_reduce,
    [DEFT_OP_REDUCE_L2] = make_reduce,
    [DEFT_OP_REDUCE_SUM_SQUARE] = make_reduce,
    [DEFT_OP_REDUCE_LOG_SUM] = make_reduce,
    [DEFT_OP_REDUCE_LOG_SUM_EXP] = make_reduce,
    [DEFT_OP_POW] = make_pow,
    [DEFT_OP_PRELU] = make_prelu,
    [DEFT_OP_WHERE] = make_where,
    [DEFT_OP_CAST] = make_cast,
    [DEFT_OP_CAST_LIKE] = make_cast,
    [DEFT_OP_CONCAT] = make_concat,
    [DEFT_OP_SPLIT] = make_split,
    [DEFT_OP_SLICE] = make_slice,
    [DEFT_OP_PAD] = make_pad,
    [DEFT_OP_TILE] = make_tile,
    [DEFT_OP_EXPAND] = make_expand,
    [DEFT_OP_DEPTH_TO_SPACE] = make_depth_space,
    [DEFT_OP_SPACE_TO_DEPTH] = make_depth_space,
    [DEFT_OP_TRILU] = make_trilu,
    [DEFT_OP_GATHER] = make_gather,
    [DEFT_OP_GATHER_ELEMENTS] = make_gather,
    [DEFT_OP_GATHER_ND] = make_gather,
    [DEFT_OP_COMPRESS] = make_compress,
    [DEFT_OP_REVERSE_SEQUENCE] = make_reverse_sequence,
    [DEFT_OP_CUM_SUM] = make_cum_sum,
    [DEFT_OP_CONV_TRANSPOSE] = make_conv_transpose,
    [DEFT_OP_RESIZE] = make_resize,
    [DEFT_OP_UPSAMPLE] = make_resize,
    [DEFT_OP_GLOBAL_MAX_POOL] = make_global_pool,
    [DEFT_OP_LAYER_NORM] = make_layer_norm,
    [DEFT_OP_INSTANCE_NORM] = make_instance_norm,
    [DEFT_OP_LRN] = make_lrn,
    [DEFT_OP_REDUCE_PROD] = make_reduce,
    [DEFT_OP_SCATTER] = make_scatter,
    [DEFT_OP_SCATTER_ELEMENTS] = make_scatter,
    [DEFT_OP_SCATTER_ND] = make_scatter,
    [DEFT_OP_TOP_K] = make_top_k,
    [DEFT_OP_RMS_NORM] = make_rms_norm,
    [DEFT_OP_LP_NORM] = make_lp_norm,
    [DEFT_OP_MEAN_VARIANCE] = make_mean_variance,
    [DEFT_OP_MAX_UNPOOL] = make_max_unpool,
    [DEFT_OP_GROUP_NORM] = make_group_norm,
    [DEFT_OP_ATTENTION] = make_attention,
    [DEFT_OP_ROTARY_EMBEDDING] = make_rotary,
    [DEFT_OP_EINSUM] = make_einsum,
    [DEFT_OP_RNN] = make_recurrent,
    [DEFT_OP_GRU] = make_recurrent,
    [DEFT_OP_LSTM] = make_recurrent,
    [DEFT_OP_NEGATIVE_LOG_LIKELIHOOD_LOSS] = make_label_loss,
    [DEFT_OP_SOFTMAX_CROSS_ENTROPY_LOSS] = make_label_loss,
};

#endif

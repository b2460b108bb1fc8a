/* Plans for training: pictures stay in blocks forth and back, and the gradients are those of the reference. */
#include "tests/unit/graphs.h"

#include <math.h>

#include "base/core/cpu.h"
#include "exec/run/executor.h"
#include "ir/grad/grad.h"

/* A graph to train: its loss, then d loss / d learned, then statistics are its outputs. */
typedef struct network {
    deft_graph *graph;
    const char *const *learned;
    int learned_count;
    int pictures; /* of a training step, that can be in blocks */
} network;

static const int64_t ones[] = {1, 1, 1, 1}, twos[] = {2, 2}, threes[] = {3, 3};
static const deft_attr conv_pads = {.name = "pads", .type = DEFT_ATTR_INTS, .ints = ones, .count = 4};

static void add_conv(deft_graph *graph, const char *x, const char *w, const char *b, const char *out) {
    add_node(graph, DEFT_OP_CONV, &conv_pads, 1, (const char *const[]){x, w, b}, b ? 3 : 2, out);
}

/* out = BatchNormalization(in), with parameters and statistics of its own. */
static void add_norm(deft_graph *graph, int layer, int64_t channels, const char *in, const char *out) {
    char names[4][8];
    static const char letters[] = "sbmv";
    for (int i = 0; i < 4; i++) {
        snprintf(names[i], sizeof names[i], "%c%d", letters[i], layer);
        add_weight(graph, names[i], DIMS(channels), 0);
    }
    add_node(graph, DEFT_OP_BATCH_NORM, NULL, 0, (const char *const[]){in, names[0], names[1], names[2], names[3]}, 5,
             out);
}

/* The mean of the squares of y. */
static void add_loss(deft_graph *graph) {
    const deft_attr flat = {.name = "keepdims", .type = DEFT_ATTR_INT, .i = 0};
    NODE(graph, MUL, "q", "y", "y");
    add_node(graph, DEFT_OP_REDUCE_MEAN, &flat, 1, (const char *const[]){"q"}, 1, "loss");
    finish_graph(graph, "loss");
}

static void add_gradients(const network *net) {
    deft_graph *graph = net->graph;
    int wrt[16], grads[16], count;
    deft_batch_stats *stats;
    assert_int_equal(deft_graph_infer(graph, 1, NULL, 0), DEFT_OK);
    assert_int_equal(deft_grad_use_batch_statistics(graph, &stats, &count), DEFT_OK);
    for (int i = 0; i < net->learned_count; i++) {
        wrt[i] = deft_graph_find(graph, net->learned[i]);
        graph->values[wrt[i]].variable = true;
    }
    assert_int_equal(deft_grad_build(graph, graph->outputs[0], wrt, net->learned_count, grads), DEFT_OK);
    for (int i = 0; i < net->learned_count; i++)
        assert_int_equal(deft_graph_add_output(graph, grads[i]), DEFT_OK);
    for (int i = 0; i < count; i++) {
        assert_int_equal(deft_graph_add_output(graph, stats[i].batch_mean), DEFT_OK);
        assert_int_equal(deft_graph_add_output(graph, stats[i].batch_var), DEFT_OK);
    }
}

/* Like ResNet. In blocks: of 3 convolutions, 3 norms, 3 Relus and a sum the results; their slopes but that of x, and a
 * sum of two. GlobalAveragePool's result is in rows, that of its gradient is one of the slopes. */
static network residual_network(deft_context *ctx, int64_t channels) {
    static const char *const learned[] = {"w1", "w2", "w3", "w4", "s1", "b1", "s2", "b2", "s3", "b3"};
    network net = {new_graph(ctx), learned, 10, 10 + 10};
    deft_graph *graph = net.graph;
    add_graph_input(graph, "x", DIMS(3, 3, 9, 10));
    add_weight(graph, "w1", DIMS(channels, 3, 3, 3), 0);
    add_weight(graph, "w2", DIMS(channels, channels, 3, 3), 0);
    add_weight(graph, "w3", DIMS(channels, channels, 3, 3), 0);
    add_weight(graph, "w4", DIMS(channels, 5), 0);
    add_conv(graph, "x", "w1", NULL, "c1");
    add_norm(graph, 1, channels, "c1", "n1");
    NODE(graph, RELU, "r1", "n1");
    add_conv(graph, "r1", "w2", NULL, "c2");
    add_norm(graph, 2, channels, "c2", "n2");
    NODE(graph, RELU, "r2", "n2");
    add_conv(graph, "r2", "w3", NULL, "c3");
    add_norm(graph, 3, channels, "c3", "n3");
    NODE(graph, ADD, "a", "n3", "r1");
    NODE(graph, RELU, "r3", "a");
    NODE(graph, GLOBAL_AVERAGE_POOL, "g", "r3");
    NODE(graph, FLATTEN, "f", "g");
    NODE(graph, GEMM, "y", "f", "w4");
    add_loss(graph);
    add_gradients(&net);
    return net;
}

/* Like CifarNet. In blocks: of 3 convolutions, a maximum, a mean, 2 Relus and 2 norms the results, and their slopes;
 * but not the last mean. */
static network pooling_network(deft_context *ctx, int64_t channels) {
    static const char *const learned[] = {"w1", "b1", "w2", "b2", "w3", "b3", "w4"};
    const deft_attr pool[] = {{.name = "kernel_shape", .type = DEFT_ATTR_INTS, .ints = threes, .count = 2},
                              {.name = "strides", .type = DEFT_ATTR_INTS, .ints = twos, .count = 2},
                              {.name = "pads", .type = DEFT_ATTR_INTS, .ints = ones, .count = 4}};
    const deft_attr response[] = {{.name = "size", .type = DEFT_ATTR_INT, .i = 4},
                                  {.name = "alpha", .type = DEFT_ATTR_FLOAT, .f = 0.5f}};
    network net = {new_graph(ctx), learned, 7, 9 + 9};
    deft_graph *graph = net.graph;
    add_graph_input(graph, "x", DIMS(3, 3, 18, 22));
    add_weight(graph, "w1", DIMS(channels, 3, 3, 3), 0);
    add_weight(graph, "b1", DIMS(channels), 0);
    add_weight(graph, "w2", DIMS(channels, channels, 3, 3), 0);
    add_weight(graph, "b2", DIMS(channels), 0);
    add_weight(graph, "w3", DIMS(channels, channels, 3, 3), 0);
    add_weight(graph, "b3", DIMS(channels), 0);
    add_weight(graph, "w4", DIMS(9 * channels, 5), 0);
    add_conv(graph, "x", "w1", "b1", "c1");
    add_node(graph, DEFT_OP_MAX_POOL, pool, 3, (const char *const[]){"c1"}, 1, "p1");
    NODE(graph, RELU, "r1", "p1");
    add_node(graph, DEFT_OP_LRN, response, 2, (const char *const[]){"r1"}, 1, "n1");
    add_conv(graph, "n1", "w2", "b2", "c2");
    NODE(graph, RELU, "r2", "c2");
    add_node(graph, DEFT_OP_AVERAGE_POOL, pool, 3, (const char *const[]){"r2"}, 1, "p2");
    add_node(graph, DEFT_OP_LRN, response, 2, (const char *const[]){"p2"}, 1, "n2");
    add_conv(graph, "n2", "w3", "b3", "c3");
    add_node(graph, DEFT_OP_AVERAGE_POOL, pool, 3, (const char *const[]){"c3"}, 1, "p3");
    NODE(graph, FLATTEN, "f", "p3");
    NODE(graph, GEMM, "y", "f", "w4");
    add_loss(graph);
    add_gradients(&net);
    return net;
}

/* What is convolved is a constant in part: it is in rows, and so is the slope that meets it. */
static network constant_network(deft_context *ctx, int64_t channels) {
    static const char *const learned[] = {"w1", "w2"};
    network net = {new_graph(ctx), learned, 2, 4 + 2};
    deft_graph *graph = net.graph;
    add_graph_input(graph, "x", DIMS(1, channels, 4, 4));
    add_weight(graph, "h", DIMS(1, channels, 4, 4), 0);
    add_weight(graph, "w1", DIMS(channels, channels, 3, 3), 0);
    add_weight(graph, "w2", DIMS(channels, channels, 3, 3), 0);
    add_conv(graph, "h", "w1", NULL, "c1");
    add_conv(graph, "x", "w2", NULL, "c2");
    NODE(graph, ADD, "a", "c1", "c2");
    NODE(graph, RELU, "r", "a");
    NODE(graph, GLOBAL_AVERAGE_POOL, "g", "r");
    NODE(graph, FLATTEN, "y", "g");
    add_loss(graph);
    add_gradients(&net);
    return net;
}

typedef struct run {
    deft_plan *plan;
    deft_executor *executor;
} run;

static run run_with(deft_graph *graph, deft_chooser choose) {
    run r;
    deft_rng rng;
    assert_int_equal(
        deft_plan_new(graph->ctx, graph, &(deft_plan_options){.choose = choose, .training = true}, &r.plan), DEFT_OK);
    assert_int_equal(deft_executor_new(r.plan, &r.executor), DEFT_OK);
    deft_tensor *x = deft_executor_tensor(r.executor, graph->inputs[0]);
    deft_rng_init(&rng, 3, 1);
    for (int64_t i = 0; i < deft_tensor_count(x); i++)
        ((float *)x->data)[i] = deft_rng_normal(&rng);
    for (int turn = 0; turn < 2; turn++)
        assert_int_equal(deft_executor_run(r.executor), DEFT_OK);
    return r;
}

static void end_run(run *r) {
    deft_executor_free(r->executor);
    deft_plan_free(r->plan);
}

static int count_in_blocks(const deft_plan *plan) {
    int count = 0;
    for (int i = 0; i < plan->step_count; i++)
        if (plan->steps[i].out[0] != DEFT_NO_VALUE)
            count += plan->placements[plan->steps[i].out[0]].layout == DEFT_LAYOUT_BLOCKS;
    return count;
}

/* Of the largest element of `expected`. */
static double largest_error(const deft_tensor *expected, const deft_tensor *got) {
    double size = 0, error = 0;
    assert_true(deft_shape_equal(expected, got));
    for (int64_t i = 0; i < deft_tensor_count(expected); i++) {
        double value = ((const float *)expected->data)[i];
        size = fmax(size, fabs(value));
        error = fmax(error, fabs(value - (double)((const float *)got->data)[i]));
    }
    return size > 0 ? error / size : error;
}

static void check_network(network (*make)(deft_context *ctx, int64_t channels), deft_isa isa, int64_t channels) {
    deft_context *ctx = test_context();
    ctx->isa = isa;
    network exact_net = make(ctx, channels), net = make(ctx, channels);
    run exact = run_with(exact_net.graph, deft_choose_reference), planned = run_with(net.graph, NULL);
    assert_int_equal(count_in_blocks(exact.plan), 0);
    assert_int_equal(count_in_blocks(planned.plan), net.pictures);
    for (int o = 0; o < net.graph->output_count; o++) {
        const deft_tensor *expected = deft_executor_tensor(exact.executor, exact_net.graph->outputs[o]);
        deft_tensor *got = deft_executor_tensor(planned.executor, net.graph->outputs[o]);
        double error = largest_error(expected, got);
        if (!(error < 3e-5)) fail_msg("output %d: %g", o, error); /* gamma(500): a sum of 3 x 9 x 18 slopes */
        ((float *)got->data)[0] += (float)(1 + fabs((double)((float *)got->data)[0]));
        assert_true(largest_error(expected, got) > 1e-2); /* the comparison can fail */
    }
    end_run(&exact);
    end_run(&planned);
    deft_graph_free(exact_net.graph);
    deft_graph_free(net.graph);
    test_context_free(ctx);
}

/* 20 channels fill no blocks. */
static void check_everywhere(network (*make)(deft_context *ctx, int64_t channels)) {
    static const deft_isa isas[] = {DEFT_ISA_AVX512, DEFT_ISA_AVX2};
    for (int i = 0; i < 4; i++)
        if (deft_cpu_has(isas[i / 2])) check_network(make, isas[i / 2], i % 2 ? 16 : 20);
}

static void test_residual_network(void **state) {
    (void)state;
    check_everywhere(residual_network);
}

static void test_pooling_network(void **state) {
    (void)state;
    check_everywhere(pooling_network);
}

static void test_constant_picture(void **state) {
    (void)state;
    check_everywhere(constant_network);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_residual_network), cmocka_unit_test(test_pooling_network),
                                       cmocka_unit_test(test_constant_picture)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

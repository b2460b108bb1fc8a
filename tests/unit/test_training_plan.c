/* Plans for training: pictures stay in blocks forth and back, and the gradients are those of the reference. */
#include "tests/unit/graphs.h"

#include <math.h>

#include "base/core/cpu.h"
#include "exec/run/executor.h"
#include "ir/grad/grad.h"

static const char *const learned[] = {"w1", "w2", "w3", "w4", "s1", "b1", "s2", "b2", "s3", "b3"};
enum { LEARNED = sizeof learned / sizeof *learned };

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

/* A residual network of 20 channels, which fill no block, down to the mean of its squared outputs; d loss / d learned
 * are its outputs. */
static deft_graph *training_graph(deft_context *ctx, int64_t channels) {
    static const int64_t ones[] = {1, 1, 1, 1};
    const deft_attr pads = {.name = "pads", .type = DEFT_ATTR_INTS, .ints = ones, .count = 4};
    deft_graph *graph = new_graph(ctx);
    add_graph_input(graph, "x", DIMS(3, 3, 9, 10));
    add_weight(graph, "w1", DIMS(channels, 3, 3, 3), 0);
    add_weight(graph, "w2", DIMS(channels, channels, 3, 3), 0);
    add_weight(graph, "w3", DIMS(channels, channels, 3, 3), 0);
    add_weight(graph, "w4", DIMS(channels, 5), 0);
    add_node(graph, DEFT_OP_CONV, &pads, 1, (const char *const[]){"x", "w1"}, 2, "c1");
    add_norm(graph, 1, channels, "c1", "n1");
    NODE(graph, RELU, "r1", "n1");
    add_node(graph, DEFT_OP_CONV, &pads, 1, (const char *const[]){"r1", "w2"}, 2, "c2");
    add_norm(graph, 2, channels, "c2", "n2");
    NODE(graph, RELU, "r2", "n2");
    add_node(graph, DEFT_OP_CONV, &pads, 1, (const char *const[]){"r2", "w3"}, 2, "c3");
    add_norm(graph, 3, channels, "c3", "n3");
    NODE(graph, ADD, "a", "n3", "r1");
    NODE(graph, RELU, "r3", "a");
    NODE(graph, GLOBAL_AVERAGE_POOL, "g", "r3");
    NODE(graph, FLATTEN, "f", "g");
    NODE(graph, GEMM, "y", "f", "w4");
    NODE(graph, MUL, "q", "y", "y");
    const deft_attr flat = {.name = "keepdims", .type = DEFT_ATTR_INT, .i = 0};
    add_node(graph, DEFT_OP_REDUCE_MEAN, &flat, 1, (const char *const[]){"q"}, 1, "loss");
    finish_graph(graph, "loss");
    assert_int_equal(deft_graph_infer(graph, 1, NULL, 0), DEFT_OK);
    int wrt[LEARNED], grads[LEARNED], count;
    deft_batch_stats *stats;
    assert_int_equal(deft_grad_use_batch_statistics(graph, &stats, &count), DEFT_OK);
    assert_int_equal(count, 3);
    for (int i = 0; i < LEARNED; i++) {
        wrt[i] = deft_graph_find(graph, learned[i]);
        graph->values[wrt[i]].variable = true;
    }
    assert_int_equal(deft_grad_build(graph, graph->outputs[0], wrt, LEARNED, grads), DEFT_OK);
    for (int i = 0; i < LEARNED; i++)
        assert_int_equal(deft_graph_add_output(graph, grads[i]), DEFT_OK);
    for (int i = 0; i < count; i++) {
        assert_int_equal(deft_graph_add_output(graph, stats[i].batch_mean), DEFT_OK);
        assert_int_equal(deft_graph_add_output(graph, stats[i].batch_var), DEFT_OK);
    }
    return graph;
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

/* Every picture but x: 3 convolutions, 3 norms, 3 Relus, a sum; back, the gradients of as many, 2 of them of
 * convolutions, and a sum of two slopes; GlobalAveragePool's result is in rows, that of its gradient is not. */
enum { PICTURES = 10 + 10 };

static void test_pictures_stay_in_blocks(void **state) {
    (void)state;
    static const deft_isa isas[] = {DEFT_ISA_AVX512, DEFT_ISA_AVX2};
    static const int64_t channels[] = {20, 16};
    for (int i = 0; i < 4; i++) {
        if (!deft_cpu_has(isas[i / 2])) continue;
        deft_context *ctx = test_context();
        ctx->isa = isas[i / 2];
        deft_graph *exact_graph = training_graph(ctx, channels[i % 2]), *graph = training_graph(ctx, channels[i % 2]);
        run exact = run_with(exact_graph, deft_choose_reference), planned = run_with(graph, NULL);
        assert_int_equal(count_in_blocks(exact.plan), 0);
        assert_int_equal(count_in_blocks(planned.plan), PICTURES);
        for (int o = 0; o < graph->output_count; o++) {
            const deft_tensor *expected = deft_executor_tensor(exact.executor, exact_graph->outputs[o]);
            deft_tensor *got = deft_executor_tensor(planned.executor, graph->outputs[o]);
            double error = largest_error(expected, got);
            if (!(error < 2e-5)) /* gamma(270), of the longest sum */
                fail_msg("output %d: %g", o, error);
            ((float *)got->data)[0] += (float)(1 + fabs((double)((float *)got->data)[0]));
            assert_true(largest_error(expected, got) > 1e-2); /* the comparison can fail */
        }
        end_run(&exact);
        end_run(&planned);
        deft_graph_free(exact_graph);
        deft_graph_free(graph);
        test_context_free(ctx);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pictures_stay_in_blocks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

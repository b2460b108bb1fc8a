#include "tests/support.h"

#include "ir/model/zoo.h"

#include <math.h>
#include <string.h>

static const deft_tensor *constant(const deft_graph *graph, const char *name) {
    int value = deft_graph_find(graph, name);
    assert_int_not_equal(value, DEFT_NO_VALUE);
    assert_non_null(graph->values[value].desc.data);
    return &graph->values[value].desc;
}

static void check_net(const char *spec, int64_t parameters, int input_rank, int64_t classes) {
    deft_context *ctx = test_context();
    deft_graph *graph;
    assert_int_equal(deft_zoo_build(ctx, spec, &graph), DEFT_OK);
    assert_int_equal(deft_graph_count(graph).parameters, parameters);
    assert_int_equal(graph->input_count, 1);
    assert_int_equal(graph->output_count, 1);
    const deft_value *input = &graph->values[graph->inputs[0]], *output = &graph->values[graph->outputs[0]];
    assert_string_equal(input->name, "x");
    assert_string_equal(output->name, "logits");
    assert_int_equal(input->desc.rank, input_rank);
    assert_string_equal(input->dim_names[0], "N");
    assert_int_equal(deft_graph_infer(graph, 3, NULL, 0), DEFT_OK);
    assert_int_equal(output->desc.rank, 2);
    assert_int_equal(output->desc.dims[0], 3);
    assert_int_equal(output->desc.dims[1], classes);
    for (int i = 0; i < graph->value_count; i++)
        assert_true(graph->values[i].known);
    deft_graph_free(graph);
    test_context_free(ctx);
}

static void test_nets(void **state) {
    (void)state;
    check_net("lenet-300-100", 266610, 4, 10);
    check_net("lenet-5", 431080, 4, 10);
    check_net("mlp:784,300,100,10", 266610, 2, 10);
    check_net("mlp:1,1", 2, 2, 1);
}

/* Mean 0 and variance 2 / fan_in, within what so many samples allow (5 standard errors). */
static void check_distribution(const deft_tensor *weight, double fan_in) {
    const float *data = weight->data;
    int64_t count = deft_tensor_count(weight);
    double sum = 0, squares = 0, variance = 2 / fan_in;
    for (int64_t i = 0; i < count; i++) {
        sum += (double)data[i];
        squares += (double)data[i] * (double)data[i];
    }
    assert_true(fabs(sum / (double)count) < 5 * sqrt(variance / (double)count));
    assert_true(fabs(squares / (double)count / variance - 1) < 5 * sqrt(2 / (double)count));
}

static void test_initialisation(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *graph;
    assert_int_equal(deft_zoo_build(ctx, "lenet-5", &graph), DEFT_OK);
    check_distribution(constant(graph, "conv1.weight"), 25);
    check_distribution(constant(graph, "conv2.weight"), 500);
    check_distribution(constant(graph, "fc1.weight"), 800);
    check_distribution(constant(graph, "fc2.weight"), 500);
    const deft_tensor *bias = constant(graph, "fc1.bias");
    for (int64_t i = 0; i < 500; i++)
        assert_true(((float *)bias->data)[i] == 0);
    assert_int_equal(constant(graph, "fc1.weight")->dims[0], 500);
    assert_int_equal(constant(graph, "fc1.weight")->dims[1], 800);
    deft_graph_free(graph);
    test_context_free(ctx);
}

static void test_seed(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *first, *same, *other;
    assert_int_equal(deft_zoo_build(ctx, "mlp:9,8,7", &first), DEFT_OK);
    assert_int_equal(deft_zoo_build(ctx, "mlp:9,8,7", &same), DEFT_OK);
    ctx->seed = 1;
    assert_int_equal(deft_zoo_build(ctx, "mlp:9,8,7", &other), DEFT_OK);
    assert_true(deft_tensor_equal(constant(first, "fc2.weight"), constant(same, "fc2.weight")));
    assert_false(deft_tensor_equal(constant(first, "fc2.weight"), constant(other, "fc2.weight")));
    deft_graph_free(first);
    deft_graph_free(same);
    deft_graph_free(other);
    test_context_free(ctx);
}

static void test_bad_specs(void **state) {
    (void)state;
    static const char *const specs[] = {"",
                                        "lenet",
                                        "lenet-5 ",
                                        "LENET-5",
                                        "mlp",
                                        "mlp:",
                                        "mlp:5",
                                        "mlp:5,",
                                        "mlp:,5",
                                        "mlp:5,,5",
                                        "mlp:5,0",
                                        "mlp:0,5",
                                        "mlp:-1,5",
                                        "mlp:5,x",
                                        "mlp:5;5",
                                        "mlp: 5,5",
                                        "mlp:+5,5",
                                        "mlp:5,1000001",
                                        "mlp:99999999999999999999,5",
                                        "mlp:1000000,1000000",
                                        "mlp:0x10,5",
                                        "mlp:1e3,5"};
    deft_context *ctx = test_context();
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        deft_graph *graph = NULL;
        assert_int_equal(deft_zoo_build(ctx, specs[i], &graph), DEFT_INVALID);
        assert_null(graph);
        assert_non_null(strstr(deft_context_message(ctx), "lenet-300-100, lenet-5"));
    }
    char layers[400] = "mlp:1";
    for (int i = 0; i < 64; i++)
        strcat(layers, ",1");
    deft_graph *graph;
    assert_int_equal(deft_zoo_build(ctx, layers, &graph), DEFT_INVALID);
    test_context_free(ctx);
}

static deft_status build(deft_context *ctx, void *spec) {
    deft_graph *graph;
    DEFT_TRY(deft_zoo_build(ctx, spec, &graph));
    deft_graph_free(graph);
    return DEFT_OK;
}

static void test_out_of_memory(void **state) {
    (void)state;
    check_every_allocation_failure(build, "lenet-5");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nets),      cmocka_unit_test(test_initialisation), cmocka_unit_test(test_seed),
        cmocka_unit_test(test_bad_specs), cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

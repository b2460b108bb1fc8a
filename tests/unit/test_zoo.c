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

/* Of the running statistics of batch normalisations: parameters that are not learned. */
static int64_t count_statistics(const deft_graph *graph) {
    int64_t count = 0;
    for (int i = 0; i < graph->node_count; i++)
        if (graph->nodes[i].op == DEFT_OP_BATCH_NORM)
            count += 2 * deft_tensor_count(&graph->values[graph->nodes[i].in[3]].desc);
    return count;
}

typedef struct net {
    const char *spec;
    int64_t learned, macs; /* parameters; multiply-adds of one sample */
    int input_rank;
    int64_t classes;
} net;

static void check_net(const net *expected) {
    deft_context *ctx = test_context();
    deft_graph *graph;
    assert_int_equal(deft_zoo_build(ctx, expected->spec, &graph), DEFT_OK);
    deft_graph_stats stats = deft_graph_count(graph);
    assert_int_equal(stats.parameters - count_statistics(graph), expected->learned);
    assert_int_equal(stats.macs, expected->macs);
    assert_int_equal(graph->input_count, 1);
    assert_int_equal(graph->output_count, 1);
    const deft_value *input = &graph->values[graph->inputs[0]], *output = &graph->values[graph->outputs[0]];
    assert_string_equal(input->name, "x");
    assert_string_equal(output->name, "logits");
    assert_int_equal(input->desc.rank, expected->input_rank);
    assert_string_equal(input->dim_names[0], "N");
    assert_int_equal(deft_graph_infer(graph, 3, NULL, 0), DEFT_OK);
    assert_int_equal(output->desc.rank, 2);
    assert_int_equal(output->desc.dims[0], 3);
    assert_int_equal(output->desc.dims[1], expected->classes);
    for (int i = 0; i < graph->value_count; i++)
        assert_true(graph->values[i].known);
    deft_graph_free(graph);
    test_context_free(ctx);
}

/* The papers' figures, to the digits that they give: 60 million (KRIZHEVSKY2012), 138 million (SIMONYAN2015), 0.27
 * million for ResNet-20 and 3.8 billion multiply-adds for ResNet-50 (HE2016), 1.5e7 and 3.13e8 (LI2017), 4.2 and 569
 * million (HOWARD2017). */
static void test_nets(void **state) {
    (void)state;
    static const net nets[] = {
        {"lenet-300-100", 266610, 266200, 4, 10},
        {"lenet-5", 431080, 2293000, 4, 10},
        {"cifarnet", 89578, 12298240, 4, 10},
        {"resnet-20", 272474, 40813184, 4, 10},
        {"vgg-16-cifar", 14986698, 313463808, 4, 10},
        {"alexnet", 60965224, 724406816, 4, 1000},
        {"vgg-16", 138357544, 15470264320, 4, 1000},
        {"resnet-50", 25557032, 3857973248, 4, 1000},
        {"mobilenet-v1", 4231976, 568740352, 4, 1000},
        {"mlp:784,300,100,10", 266610, 266200, 2, 10},
        {"mlp:1,1", 2, 1, 2, 1},
    };
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++)
        check_net(&nets[i]);
}

static int count_nodes(const deft_graph *graph, deft_op op) {
    int count = 0;
    for (int i = 0; i < graph->node_count; i++)
        count += graph->nodes[i].op == op;
    return count;
}

static const deft_node *node_named(const deft_graph *graph, const char *name) {
    for (int i = 0; i < graph->node_count; i++)
        if (strcmp(graph->nodes[i].name, name) == 0) return &graph->nodes[i];
    fail_msg("no node '%s'", name);
    return NULL;
}

/* Caffe's sizes: 32 -> 16 -> 8 -> 4, the last window of each pooling hanging over. */
static void test_cifarnet(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *graph;
    assert_int_equal(deft_zoo_build(ctx, "cifarnet", &graph), DEFT_OK);
    static const char *const pools[] = {"pool1", "pool2", "pool3"};
    static const deft_op ops[] = {DEFT_OP_MAX_POOL, DEFT_OP_AVERAGE_POOL, DEFT_OP_AVERAGE_POOL};
    for (int i = 0; i < 3; i++) {
        const deft_node *node = node_named(graph, pools[i]);
        assert_int_equal(node->op, ops[i]);
        assert_int_equal(graph->values[node->out[0]].desc.dims[2], 16 >> i);
        assert_int_equal(graph->values[node->out[0]].desc.dims[3], 16 >> i);
    }
    assert_int_equal(count_nodes(graph, DEFT_OP_LRN), 2);
    assert_int_equal(deft_attr_int(&node_named(graph, "norm2")->attrs, "size", 0), 3);
    deft_graph_free(graph);
    test_context_free(ctx);
}

static void test_residual_networks(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *graph;
    assert_int_equal(deft_zoo_build(ctx, "resnet-20", &graph), DEFT_OK);
    /* 19 convolutions on the way, and two shortcuts. */
    assert_int_equal(count_nodes(graph, DEFT_OP_CONV), 21);
    assert_int_equal(count_nodes(graph, DEFT_OP_BATCH_NORM), 21);
    assert_int_equal(count_nodes(graph, DEFT_OP_ADD), 9);
    /* The first shortcut is the input of its block itself. */
    const deft_node *sum = node_named(graph, "add1");
    assert_int_equal(sum->in[1], deft_graph_find(graph, "relu1"));
    assert_int_equal(sum->in[0], deft_graph_find(graph, "bn3"));
    static const struct {
        const char *name;
        float value;
    } vectors[] = {{"bn1.scale", 1}, {"bn1.bias", 0}, {"bn1.mean", 0}, {"bn1.var", 1}};
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++)
        for (int c = 0; c < 16; c++)
            assert_true(((const float *)constant(graph, vectors[i].name)->data)[c] == vectors[i].value);
    deft_graph_free(graph);
    assert_int_equal(deft_zoo_build(ctx, "resnet-50", &graph), DEFT_OK);
    assert_int_equal(count_nodes(graph, DEFT_OP_CONV), 53);
    deft_graph_free(graph);
    test_context_free(ctx);
}

static void test_depthwise(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *graph;
    assert_int_equal(deft_zoo_build(ctx, "mobilenet-v1", &graph), DEFT_OK);
    assert_int_equal(count_nodes(graph, DEFT_OP_CONV), 27);
    const deft_node *depthwise = node_named(graph, "conv26");
    assert_int_equal(deft_attr_int(&depthwise->attrs, "group", 1), 1024);
    check_distribution(constant(graph, "conv26.weight"), 9);
    check_distribution(constant(graph, "conv27.weight"), 1024);
    deft_graph_free(graph);
    test_context_free(ctx);
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
        assert_non_null(strstr(deft_context_message(ctx), "lenet-300-100, lenet-5, cifarnet"));
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
    check_every_allocation_failure(build, "cifarnet");
    check_every_allocation_failure(build, "resnet-20");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nets),
        cmocka_unit_test(test_cifarnet),
        cmocka_unit_test(test_residual_networks),
        cmocka_unit_test(test_depthwise),
        cmocka_unit_test(test_initialisation),
        cmocka_unit_test(test_seed),
        cmocka_unit_test(test_bad_specs),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

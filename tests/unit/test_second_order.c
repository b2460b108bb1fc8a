/* Pruning by the second order: factors, moments against the operators themselves, what is left takes over, patterns. */
#include "tests/unit/samples.h"

#include <math.h>
#include <stdio.h>

#include "exec/run/executor.h"
#include "learn/approx/cholesky.h"
#include "learn/approx/hessian.h"
#include "learn/approx/second_order.h"

/* ---- factors ------------------------------------------------------------------------------------------------- */

static void test_factors(void **state) {
    (void)state;
    enum { MOST = 40 };
    static double g[MOST * MOST], a[MOST * MOST], r[MOST * MOST], row[MOST];
    static const int sizes[] = {1, 2, 3, 17, MOST};
    deft_rng rng;
    deft_rng_init(&rng, 1, 0);
    for (int s = 0; s < 5; s++) {
        int n = sizes[s];
        for (int i = 0; i < n * n; i++)
            g[i] = (double)deft_rng_normal(&rng);
        for (int i = 0; i < n; i++)
            for (int j = 0; j < n; j++) {
                a[i * n + j] = i == j ? 1 : 0;
                for (int k = 0; k < n; k++)
                    a[i * n + j] += g[i * n + k] * g[j * n + k];
            }
        memcpy(r, a, sizeof a);
        assert_true(deft_cholesky_upper(r, n));
        for (int i = 0; i < n; i++)
            for (int j = i; j < n; j++) {
                double sum = 0;
                for (int k = j; k < n; k++)
                    sum += r[i * n + k] * r[j * n + k];
                assert_true(fabs(sum - a[i * n + j]) < 1e-10 * n);
            }
        deft_invert_upper(r, n, row);
        for (int i = 0; i < n; i++) /* U^T U a is the identity */
            for (int j = 0; j < n; j++) {
                double sum = 0;
                for (int k = 0; k < n; k++) {
                    double inverse = 0; /* [a^-1]ik */
                    for (int m = 0; m <= i && m <= k; m++)
                        inverse += r[m * n + i] * r[m * n + k];
                    sum += inverse * a[k * n + j];
                }
                assert_true(fabs(sum - (i == j)) < 1e-9);
            }
    }
    double negative[4] = {1, 2, 2, 1}, nan[4] = {1, 0, 0, NAN};
    assert_false(deft_cholesky_upper(negative, 2));
    assert_false(deft_cholesky_upper(nan, 2));
}

/* ---- moments ------------------------------------------------------------------------------------------------- */

/* Data for a graph with one input, made without a file. */
static deft_calibration random_data(deft_context *ctx, const deft_graph *graph, int64_t samples, int64_t batch) {
    deft_calibration c = {.ctx = ctx, .input_count = 1, .samples = samples, .batch = batch};
    const deft_value *input = &graph->values[graph->inputs[0]];
    deft_rng rng;
    deft_arena_init(&c.arena, ctx);
    assert_int_equal(deft_arena_array(&c.arena, 1, sizeof *c.inputs, &c.inputs), DEFT_OK);
    assert_int_equal(deft_arena_array(&c.arena, 1, sizeof *c.bindings, &c.bindings), DEFT_OK);
    c.inputs[0] = input->desc;
    c.inputs[0].dims[0] = samples;
    c.bindings[0] = (deft_binding){.input = input->name, .rank = input->desc.rank};
    memcpy(c.bindings[0].dims, c.inputs[0].dims, sizeof c.inputs[0].dims);
    c.bindings[0].dims[0] = batch;
    int64_t count = deft_tensor_count(&c.inputs[0]);
    assert_int_equal(deft_arena_array(&c.arena, (size_t)count, sizeof(float), &c.inputs[0].data), DEFT_OK);
    deft_rng_init(&rng, 9, 0);
    float common = 0; /* so that neighbours are correlated */
    for (int64_t i = 0; i < count; i++) {
        common = 0.9f * common + deft_rng_normal(&rng);
        ((float *)c.inputs[0].data)[i] = common + 0.3f * deft_rng_normal(&rng);
    }
    return c;
}

/* The outputs of the graph on all of the data, one batch after the other; the caller frees them. */
static float *run_on(deft_context *ctx, deft_graph *graph, const deft_calibration *c, int64_t *count) {
    deft_plan *plan;
    deft_executor *executor;
    deft_plan_options options = {.batch = c->batch, .bindings = c->bindings, .binding_count = 1};
    assert_int_equal(deft_plan_new(ctx, graph, &options, &plan), DEFT_OK);
    assert_int_equal(deft_executor_new(plan, &executor), DEFT_OK);
    const deft_tensor *y = deft_executor_tensor(executor, plan->graph->outputs[0]);
    deft_tensor *x = deft_executor_tensor(executor, plan->graph->inputs[0]);
    int64_t one = deft_tensor_count(y), batches = c->samples / c->batch;
    float *all = calloc((size_t)(one * batches), sizeof *all);
    for (int64_t b = 0; b < batches; b++) {
        memcpy(x->data, (const char *)c->inputs[0].data + (size_t)b * deft_tensor_bytes(x), deft_tensor_bytes(x));
        assert_int_equal(deft_executor_run(executor), DEFT_OK);
        memcpy(all + b * one, y->data, (size_t)one * sizeof *all);
    }
    deft_executor_free(executor);
    deft_plan_free(plan);
    *count = one * batches;
    return all;
}

/* For each output, w H w^T is the sum of the squares that the operator itself makes with that output alone. */
static void check_moments(deft_context *ctx, deft_graph *graph, int channel_axis, int of) {
    deft_arena arena;
    deft_weights weights;
    deft_hessian h;
    bool supported;
    deft_calibration data = random_data(ctx, graph, 12, 4);
    deft_arena_init(&arena, ctx);
    assert_int_equal(deft_weights_find(graph, &arena, &weights), DEFT_OK);
    assert_int_equal(weights.count, 1);
    const deft_weight *w = &weights.items[0];
    assert_int_equal(deft_hessian_sum(ctx, graph, w, &data, of, &arena, &h, &supported), DEFT_OK);
    assert_true(supported);
    int64_t count;
    float *y = run_on(ctx, graph, &data, &count);
    const deft_tensor *shape = &graph->values[graph->outputs[0]].desc;
    int64_t after = 1, checked = 0;
    for (int i = channel_axis + 1; i < shape->rank; i++)
        after *= shape->dims[i];
    for (int p = 0; p < h.part_count; p++)
        for (int64_t r = 0; r < h.rows; r++) {
            double expected = 0, got = 0;
            int64_t output = h.parts[p].group * h.rows + r, n = h.parts[p].count;
            for (int64_t i = 0; i < count; i++)
                if (i / after % w->rows == output) expected += (double)y[i] * (double)y[i];
            for (int64_t i = 0; i < n; i++)
                for (int64_t j = 0; j < n; j++) {
                    double wi = (double)w->data[output * w->row_stride + h.order[i] * w->inner_stride];
                    double wj = (double)w->data[output * w->row_stride + h.order[j] * w->inner_stride];
                    got += wi * wj * h.parts[p].matrix[(i < j ? i : j) * n + (i < j ? j : i)];
                }
            assert_true(fabs(got - expected) < 1e-4 * expected);
            checked++;
        }
    assert_int_equal(checked, w->rows);
    free(y);
    deft_arena_done(&arena);
    deft_calibration_done(&data);
    deft_graph_free(graph);
}

static deft_graph *conv_graph(deft_context *ctx, const deft_attr *attrs, int attr_count, int rank,
                              const int64_t *x_dims, const int64_t *w_dims) {
    deft_graph *graph = new_graph(ctx);
    add_graph_input(graph, "x", rank, x_dims);
    add_weight(graph, "w", rank, w_dims, 0);
    add_node(graph, DEFT_OP_CONV, attrs, attr_count, (const char *const[]){"x", "w"}, 2, "y");
    finish_graph(graph, "y");
    assert_int_equal(deft_graph_infer(graph, 1, NULL, 0), DEFT_OK);
    return graph;
}

static void test_moments_of_convolutions(void **state) {
    (void)state;
    static const int64_t strides[] = {2, 1}, pads[] = {1, 0, 2, 1}, dilations[] = {1, 2};
    const deft_attr attrs[] = {{.name = "strides", .type = DEFT_ATTR_INTS, .count = 2, .ints = strides},
                               {.name = "pads", .type = DEFT_ATTR_INTS, .count = 4, .ints = pads},
                               {.name = "dilations", .type = DEFT_ATTR_INTS, .count = 2, .ints = dilations},
                               {.name = "group", .type = DEFT_ATTR_INT, .i = 2}};
    deft_context *ctx = test_context();
    static const int64_t x[] = {-1, 4, 9, 8}, w[] = {6, 4, 3, 2}, grouped[] = {6, 2, 3, 2};
    check_moments(ctx, conv_graph(ctx, NULL, 0, 4, x, w), 1, 0);
    check_moments(ctx, conv_graph(ctx, attrs, 3, 4, x, w), 1, 0);
    check_moments(ctx, conv_graph(ctx, attrs, 4, 4, x, grouped), 1, 0);
    check_moments(ctx, conv_graph(ctx, attrs, 3, 4, x, w), 1, 4); /* columns in another order */
    static const int64_t x1[] = {-1, 3, 20}, w1[] = {5, 3, 4};
    check_moments(ctx, conv_graph(ctx, NULL, 0, 3, x1, w1), 1, 0);
    test_context_free(ctx);
}

static void test_moments_of_products(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *graph = new_graph(ctx);
    add_graph_input(graph, "x", DIMS(-1, 3, 7));
    add_weight(graph, "w", DIMS(7, 5), 0);
    NODE(graph, MATMUL, "y", "x", "w");
    finish_graph(graph, "y");
    assert_int_equal(deft_graph_infer(graph, 1, NULL, 0), DEFT_OK);
    check_moments(ctx, graph, 2, 0);
    graph = new_graph(ctx);
    add_graph_input(graph, "x", DIMS(-1, 7));
    add_weight(graph, "w", DIMS(5, 7), 0);
    const deft_attr transposed = {.name = "transB", .type = DEFT_ATTR_INT, .i = 1};
    add_node(graph, DEFT_OP_GEMM, &transposed, 1, (const char *const[]){"x", "w"}, 2, "y");
    finish_graph(graph, "y");
    assert_int_equal(deft_graph_infer(graph, 1, NULL, 0), DEFT_OK);
    check_moments(ctx, graph, 1, 0);
    test_context_free(ctx);
}

/* ---- pruning ------------------------------------------------------------------------------------------------- */

/* Two inputs that are always the same: what one of them loses, the other gains. */
static void test_the_rest_takes_over(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *graph = new_graph(ctx);
    add_graph_input(graph, "x", DIMS(-1, 2));
    add_weight(graph, "w", DIMS(2, 1), 0);
    NODE(graph, MATMUL, "y", "x", "w");
    finish_graph(graph, "y");
    assert_int_equal(deft_graph_infer(graph, 1, NULL, 0), DEFT_OK);
    float *w = constant_of(graph, "w")->data;
    w[0] = 0.25f;
    w[1] = 1;
    deft_calibration data = random_data(ctx, graph, 8, 4);
    for (int i = 0; i < 8; i++)
        ((float *)data.inputs[0].data)[2 * i] = ((float *)data.inputs[0].data)[2 * i + 1];
    deft_second_order_options options = {.prune.zeros = 0.5, .damping = 1e-9};
    assert_int_equal(deft_prune_second_order(ctx, graph, &data, &options), DEFT_OK);
    assert_true(w[0] == 0.0f && fabsf(w[1] - 1.25f) < 1e-4f);
    deft_calibration_done(&data);
    deft_graph_free(graph);
    test_context_free(ctx);
}

/* x [batch, 3, 8, 8] -> Conv 8 -> Relu -> Flatten -> Gemm 10 */
static deft_graph *small_net(deft_context *ctx) {
    deft_graph *graph = new_graph(ctx);
    add_graph_input(graph, "x", DIMS(-1, 3, 8, 8));
    add_weight(graph, "w1", DIMS(8, 3, 3, 3), 0);
    add_weight(graph, "w2", DIMS(288, 10), 0.1);
    NODE(graph, CONV, "c", "x", "w1");
    NODE(graph, RELU, "r", "c");
    NODE(graph, FLATTEN, "f", "r");
    NODE(graph, MATMUL, "y", "f", "w2");
    finish_graph(graph, "y");
    assert_int_equal(deft_graph_infer(graph, 1, NULL, 0), DEFT_OK);
    return graph;
}

static double loss_on(deft_context *ctx, deft_graph *graph, deft_graph *original, const deft_calibration *data) {
    int64_t count;
    float *y = run_on(ctx, graph, data, &count), *truth = run_on(ctx, original, data, &count);
    double loss = 0;
    for (int64_t i = 0; i < count; i++)
        loss += ((double)y[i] - (double)truth[i]) * ((double)y[i] - (double)truth[i]);
    free(y);
    free(truth);
    return loss;
}

static void test_half_the_loss_of_magnitude(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *original = small_net(ctx);
    deft_calibration data = random_data(ctx, original, 256, 32);
    for (int scope = 0; scope < 2; scope++) {
        deft_graph *plain = small_net(ctx), *second = small_net(ctx);
        deft_second_order_options options = {.prune = {.zeros = 0.5, .scope = scope}};
        assert_int_equal(deft_prune_graph(ctx, plain, &options.prune), DEFT_OK);
        assert_int_equal(deft_prune_second_order(ctx, second, &data, &options), DEFT_OK);
        assert_int_equal(zeros_of(second, "w1"), zeros_of(plain, "w1"));
        assert_int_equal(zeros_of(second, "w2"), zeros_of(plain, "w2"));
        assert_true(loss_on(ctx, second, original, &data) < 0.5 * loss_on(ctx, plain, original, &data));
        deft_graph_free(plain);
        deft_graph_free(second);
    }
    deft_calibration_done(&data);
    deft_graph_free(original);
    test_context_free(ctx);
}

static void test_zeros_that_are_there_stay(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *original = small_net(ctx), *second = small_net(ctx);
    deft_calibration data = random_data(ctx, original, 32, 32);
    assert_int_equal(deft_prune_magnitude(ctx, original, 0.6), DEFT_OK);
    assert_int_equal(deft_prune_magnitude(ctx, second, 0.6), DEFT_OK);
    deft_second_order_options options = {.prune = {.zeros = 0.3}}; /* fewer than there are */
    assert_int_equal(deft_prune_second_order(ctx, second, &data, &options), DEFT_OK);
    options.prune.zeros = 0.8;
    assert_int_equal(deft_prune_second_order(ctx, second, &data, &options), DEFT_OK);
    static const char *const names[] = {"w1", "w2"};
    for (int w = 0; w < 2; w++) {
        const float *before = constant_of(original, names[w])->data, *after = constant_of(second, names[w])->data;
        for (int64_t i = 0; i < deft_tensor_count(constant_of(original, names[w])); i++)
            assert_true(before[i] != 0.0f || after[i] == 0.0f);
    }
    assert_int_equal(zeros_of(second, "w1") + zeros_of(second, "w2"), llround(0.8 * (216 + 2880)));
    deft_calibration_done(&data);
    deft_graph_free(original);
    deft_graph_free(second);
    test_context_free(ctx);
}

/* Of a Conv with six channels: groups of four and of two, along the channels for each tap. */
static void test_two_of_four(void **state) {
    (void)state;
    static const int64_t x[] = {-1, 6, 7, 7}, dims[] = {5, 6, 3, 3};
    deft_context *ctx = test_context();
    deft_graph *graph = conv_graph(ctx, NULL, 0, 4, x, dims), *plain = conv_graph(ctx, NULL, 0, 4, x, dims);
    deft_graph *original = conv_graph(ctx, NULL, 0, 4, x, dims);
    deft_calibration data = random_data(ctx, graph, 64, 16);
    deft_second_order_options options = {.prune = {.keep = 2, .of = 4}};
    assert_int_equal(deft_prune_second_order(ctx, graph, &data, &options), DEFT_OK);
    assert_int_equal(deft_prune_graph(ctx, plain, &options.prune), DEFT_OK);
    const float *w = constant_of(graph, "w")->data;
    for (int row = 0; row < 5; row++)
        for (int tap = 0; tap < 9; tap++)
            for (int first = 0; first < 6; first += 4) {
                int left = 0;
                for (int c = first; c < first + 4 && c < 6; c++)
                    left += w[row * 54 + c * 9 + tap] != 0.0f;
                assert_int_equal(left, 2);
            }
    assert_true(loss_on(ctx, graph, original, &data) < 0.7 * loss_on(ctx, plain, original, &data));
    deft_calibration_done(&data);
    deft_graph_free(graph);
    deft_graph_free(plain);
    deft_graph_free(original);
    test_context_free(ctx);
}

/* Weights of three dimensions are pruned by magnitude. */
static void test_what_is_not_supported_goes_by_magnitude(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *graphs[2];
    for (int i = 0; i < 2; i++) {
        graphs[i] = new_graph(ctx);
        add_graph_input(graphs[i], "x", DIMS(-1, 3, 4, 5));
        add_weight(graphs[i], "w", DIMS(3, 5, 6), 0);
        NODE(graphs[i], MATMUL, "y", "x", "w");
        finish_graph(graphs[i], "y");
        assert_int_equal(deft_graph_infer(graphs[i], 1, NULL, 0), DEFT_OK);
    }
    deft_calibration data = random_data(ctx, graphs[0], 8, 4);
    deft_second_order_options options = {.prune.zeros = 0.5};
    assert_int_equal(deft_prune_second_order(ctx, graphs[0], &data, &options), DEFT_OK);
    assert_int_equal(deft_prune_magnitude(ctx, graphs[1], 0.5), DEFT_OK);
    assert_true(same_constants(graphs[0], graphs[1]));
    deft_calibration_done(&data);
    for (int i = 0; i < 2; i++)
        deft_graph_free(graphs[i]);
    test_context_free(ctx);
}

static void test_refusals(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *graph = small_net(ctx), *untouched = small_net(ctx);
    deft_calibration data = random_data(ctx, graph, 8, 4);
    deft_second_order_options wrong[] = {{.prune = {.zeros = 0.5, .block_rows = 2, .block_inner = 2}},
                                         {.prune.zeros = 2},
                                         {.prune.zeros = 0.5, .damping = -1}};
    for (int i = 0; i < 3; i++)
        assert_int_equal(deft_prune_second_order(ctx, graph, &data, &wrong[i]), DEFT_INVALID);
    deft_second_order_options options = {.prune.zeros = 0};
    assert_int_equal(deft_prune_second_order(ctx, graph, &data, &options), DEFT_OK);
    assert_true(same_constants(graph, untouched));
    options.prune.zeros = 0.5;
    ((float *)data.inputs[0].data)[5] = NAN;
    assert_int_equal(deft_prune_second_order(ctx, graph, &data, &options), DEFT_INVALID);
    assert_non_null(strstr(deft_context_message(ctx), "'w1'"));
    assert_true(same_constants(graph, untouched));
    deft_calibration_done(&data);
    deft_graph_free(graph);
    deft_graph_free(untouched);
    test_context_free(ctx);
}

/* ---- data ---------------------------------------------------------------------------------------------------- */

static void save_array(deft_context *ctx, const char *name, deft_dtype dtype, int rank, const int64_t *dims) {
    deft_npz_entry entry = {.name = (char *)name, .tensor = {.dtype = dtype, .rank = rank}};
    memcpy(entry.tensor.dims, dims, (size_t)rank * sizeof *dims);
    assert_int_equal(deft_tensor_allocate(ctx, &entry.tensor), DEFT_OK);
    memset(entry.tensor.data, 0, deft_tensor_bytes(&entry.tensor));
    assert_int_equal(deft_npz_save(ctx, "calibration.npz", &entry, 1), DEFT_OK);
    deft_release(ctx, entry.tensor.data);
}

static void test_where_data_comes_from(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *graph = new_graph(ctx);
    add_graph_input(graph, "image", DIMS(-1, 1, 28, 28));
    NODE(graph, RELU, "y", "image");
    finish_graph(graph, "y");
    assert_int_equal(deft_graph_infer(graph, 1, NULL, 0), DEFT_OK);
    deft_calibration c;
    assert_int_equal(deft_calibration_open(ctx, "digits:200", graph, 50, &c), DEFT_OK);
    assert_int_equal(c.samples, 32); /* whole batches */
    assert_int_equal(c.bindings[0].dims[0], 32);
    deft_calibration_done(&c);
    save_array(ctx, "image", DEFT_F32, DIMS(70, 1, 28, 28));
    assert_int_equal(deft_calibration_open(ctx, "npz:calibration.npz", graph, 50, &c), DEFT_OK);
    assert_int_equal(c.samples, 64);
    deft_calibration_done(&c);
    save_array(ctx, "image", DEFT_F32, DIMS(70, 1, 28, 27));
    assert_int_equal(deft_calibration_open(ctx, "npz:calibration.npz", graph, 50, &c), DEFT_INVALID);
    assert_non_null(strstr(deft_context_message(ctx), "'image'"));
    deft_calibration_done(&c);
    save_array(ctx, "image", DEFT_I64, DIMS(70, 1, 28, 28));
    assert_int_equal(deft_calibration_open(ctx, "npz:calibration.npz", graph, 50, &c), DEFT_INVALID);
    deft_calibration_done(&c);
    save_array(ctx, "image", DEFT_F32, DIMS(0, 1, 28, 28));
    assert_int_equal(deft_calibration_open(ctx, "npz:calibration.npz", graph, 50, &c), DEFT_INVALID);
    deft_calibration_done(&c);
    assert_int_equal(deft_calibration_open(ctx, "npz:missing.npz", graph, 50, &c), DEFT_INVALID);
    deft_calibration_done(&c);
    remove("calibration.npz");
    deft_graph_free(graph);
    test_context_free(ctx);
}

static deft_status prune_in(deft_context *ctx, void *user) {
    deft_graph *source = user, *graph;
    deft_calibration c = {.ctx = ctx};
    deft_second_order_options options = {.prune.zeros = 0.5};
    DEFT_TRY(deft_graph_clone(ctx, source, &graph));
    deft_status status = deft_calibration_open(ctx, "digits:100", graph, 32, &c);
    if (status == DEFT_OK) status = deft_prune_second_order(ctx, graph, &c, &options);
    deft_calibration_done(&c);
    deft_graph_free(graph);
    return status;
}

static void test_out_of_memory(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *graph = new_graph(ctx);
    add_graph_input(graph, "x", DIMS(-1, 1, 28, 28));
    add_weight(graph, "w", DIMS(2, 1, 5, 5), 0);
    add_weight(graph, "v", DIMS(24, 3), 0);
    NODE(graph, CONV, "c", "x", "w");
    NODE(graph, MATMUL, "y", "c", "v");
    finish_graph(graph, "y");
    assert_int_equal(deft_graph_infer(graph, 1, NULL, 0), DEFT_OK);
    check_allocation_failures(prune_in, graph, 20);
    deft_graph_free(graph);
    test_context_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_factors),
        cmocka_unit_test(test_moments_of_convolutions),
        cmocka_unit_test(test_moments_of_products),
        cmocka_unit_test(test_the_rest_takes_over),
        cmocka_unit_test(test_half_the_loss_of_magnitude),
        cmocka_unit_test(test_zeros_that_are_there_stay),
        cmocka_unit_test(test_two_of_four),
        cmocka_unit_test(test_what_is_not_supported_goes_by_magnitude),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_where_data_comes_from),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

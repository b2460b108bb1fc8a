/* Pruning by magnitude: against a brute-force sort, ties, NaN, what is sparse already, errors. */
#include "tests/unit/graphs.h"

#include <math.h>

#include "learn/approx/prune.h"

/* One weight of a graph: where it is, for the brute force. */
typedef struct entry {
    float magnitude; /* infinity and more for NaN */
    bool is_nan;
    int index;
} entry;

static int compare_entries(const void *a, const void *b) {
    const entry *x = a, *y = b;
    if (x->is_nan != y->is_nan) return x->is_nan - y->is_nan;
    if (!x->is_nan && x->magnitude != y->magnitude) return x->magnitude < y->magnitude ? -1 : 1;
    return x->index - y->index;
}

/* What pruning should leave, by sorting: out[i] for the weights `values`. */
static void prune_by_sorting(const float *values, int count, double zeros, float *out) {
    entry *entries = calloc((size_t)count, sizeof *entries);
    int wanted = (int)llround(zeros * count);
    for (int i = 0; i < count; i++)
        entries[i] = (entry){fabsf(values[i]), values[i] != values[i], i};
    qsort(entries, (size_t)count, sizeof *entries, compare_entries);
    memcpy(out, values, (size_t)count * sizeof *out);
    for (int i = 0; i < wanted; i++)
        out[entries[i].index] = 0;
    free(entries);
}

/* A Conv, a MatMul and a Gemm whose weights hold `values` in this order, 72 + 256 + 160 of them; biases beside them. */
enum { CONV_WEIGHTS = 72, MATMUL_WEIGHTS = 256, GEMM_WEIGHTS = 160, WEIGHTS = 488 };
static const char *const weight_names[] = {"w1", "w2", "w3"};
static const int weight_counts[] = {CONV_WEIGHTS, MATMUL_WEIGHTS, GEMM_WEIGHTS};

static float *data_of(deft_graph *graph, const char *name) {
    return graph->values[deft_graph_find(graph, name)].desc.data;
}

static deft_graph *graph_with(deft_context *ctx, const float *values) {
    deft_graph *graph = new_graph(ctx);
    add_graph_input(graph, "x", DIMS(-1, 1, 4, 4));
    add_weight(graph, "w1", DIMS(8, 1, 3, 3), 0);
    add_weight(graph, "b1", DIMS(8), 0);
    add_weight(graph, "w2", DIMS(32, 8), 0);
    add_weight(graph, "w3", DIMS(8, 20), 0);
    add_weight(graph, "b3", DIMS(20), 0);
    NODE(graph, CONV, "c", "x", "w1", "b1");
    NODE(graph, FLATTEN, "f", "c");
    NODE(graph, MATMUL, "m", "f", "w2");
    NODE(graph, GEMM, "y", "m", "w3", "b3");
    finish_graph(graph, "y");
    for (int w = 0; w < 3; w++, values += weight_counts[w - 1])
        memcpy(data_of(graph, weight_names[w]), values, (size_t)weight_counts[w] * sizeof *values);
    return graph;
}

static bool same_bits(const float *a, const float *b, int count) {
    return memcmp(a, b, (size_t)count * sizeof *a) == 0;
}

/* Whether the weights of the graph are `expected`, bit for bit. */
static bool holds(deft_graph *graph, const float *expected) {
    for (int w = 0; w < 3; w++) {
        if (!same_bits(data_of(graph, weight_names[w]), expected, weight_counts[w])) return false;
        expected += weight_counts[w];
    }
    return true;
}

static void check_against_sorting(deft_context *ctx, const float *values, double zeros) {
    float expected[WEIGHTS], before[20];
    deft_graph *graph = graph_with(ctx, values);
    memcpy(before, data_of(graph, "b3"), sizeof before);
    prune_by_sorting(values, WEIGHTS, zeros, expected);
    assert_int_equal(deft_prune_magnitude(ctx, graph, zeros), DEFT_OK);
    assert_true(holds(graph, expected));
    assert_true(same_bits(before, data_of(graph, "b3"), 20));
    deft_graph_free(graph);
}

static const double shares[] = {0, 0.001, 0.1, 0.25, 0.5, 0.501, 0.9, 0.99, 0.999, 1};

static void check_all_shares(const float *values) {
    deft_context *ctx = test_context();
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++)
        check_against_sorting(ctx, values, shares[i]);
    test_context_free(ctx);
}

static void test_random_weights(void **state) {
    (void)state;
    float values[WEIGHTS];
    deft_rng rng;
    deft_rng_init(&rng, 1, 0);
    for (int i = 0; i < WEIGHTS; i++)
        values[i] = deft_rng_normal(&rng);
    check_all_shares(values);
    /* magnitudes that share their upper bits, and denormals */
    for (int i = 0; i < WEIGHTS; i++)
        values[i] = 1.0f + 0x1p-23f * (float)deft_rng_below(&rng, 1000);
    check_all_shares(values);
    for (int i = 0; i < WEIGHTS; i++)
        values[i] = 0x1p-149f * (float)deft_rng_below(&rng, 1 << 20);
    check_all_shares(values);
}

static void test_ties_go_to_the_first(void **state) {
    (void)state;
    float values[WEIGHTS];
    for (int i = 0; i < WEIGHTS; i++)
        values[i] = i % 3 == 0 ? 0.5f : i % 3 == 1 ? -0.5f : 0.25f;
    check_all_shares(values);
    for (int i = 0; i < WEIGHTS; i++)
        values[i] = -1;
    check_all_shares(values);
}

static void test_zeros_stay_and_count(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    float values[WEIGHTS];
    deft_rng rng;
    deft_rng_init(&rng, 2, 0);
    for (int i = 0; i < WEIGHTS; i++)
        values[i] = i % 4 ? 0 : 1 + deft_rng_uniform(&rng);
    check_all_shares(values);
    /* 366 of 488 are zero: less than that changes nothing, more adds up to the share */
    static const struct {
        double share;
        int64_t zeros;
    } cases[] = {{0.5, 366}, {0.75, 366}, {0.8, 390}, {1, 488}};
    for (int c = 0; c < 4; c++) {
        deft_graph *graph = graph_with(ctx, values);
        assert_int_equal(deft_prune_magnitude(ctx, graph, cases[c].share), DEFT_OK);
        deft_graph_stats stats = deft_graph_count(graph);
        assert_int_equal(stats.prunable, WEIGHTS);
        assert_int_equal(stats.prunable_zeros, cases[c].zeros);
        deft_graph_free(graph);
    }
    test_context_free(ctx);
}

static void test_nan_and_infinity_go_last(void **state) {
    (void)state;
    float values[WEIGHTS];
    deft_rng rng;
    deft_rng_init(&rng, 3, 0);
    for (int i = 0; i < WEIGHTS; i++)
        values[i] = i % 7 == 0 ? NAN : i % 7 == 1 ? -INFINITY : i % 7 == 2 ? -NAN : deft_rng_normal(&rng);
    uint32_t other_nan = 0x7fc12345u;
    memcpy(&values[14], &other_nan, sizeof other_nan);
    check_all_shares(values);
}

/* Negative zeros and NaN payloads included. */
static void test_none_is_the_identity(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    float values[WEIGHTS] = {0, -0.0f, 1, NAN, -INFINITY, 0x1p-149f};
    deft_graph *graph = graph_with(ctx, values);
    assert_int_equal(deft_prune_magnitude(ctx, graph, 0), DEFT_OK);
    assert_true(holds(graph, values));
    values[2] = 2;
    assert_false(holds(graph, values)); /* the checker sees a wrong weight */
    deft_graph_free(graph);
    test_context_free(ctx);
}

static void test_a_shared_weight_counts_once(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *graph = new_graph(ctx);
    add_graph_input(graph, "x", DIMS(-1, 4));
    add_weight(graph, "w", DIMS(4, 4), 0);
    NODE(graph, MATMUL, "a", "x", "w");
    NODE(graph, MATMUL, "y", "a", "w");
    finish_graph(graph, "y");
    assert_int_equal(deft_prune_magnitude(ctx, graph, 0.5), DEFT_OK);
    deft_graph_stats stats = deft_graph_count(graph);
    assert_int_equal(stats.prunable, 16);
    assert_int_equal(stats.prunable_zeros, 8);
    deft_graph_free(graph);
    test_context_free(ctx);
}

static void test_without_weights_nothing_happens(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *graph = new_graph(ctx);
    add_graph_input(graph, "x", DIMS(-1, 4));
    NODE(graph, RELU, "y", "x");
    finish_graph(graph, "y");
    assert_int_equal(deft_prune_magnitude(ctx, graph, 1), DEFT_OK);
    deft_graph_free(graph);
    test_context_free(ctx);
}

static void test_errors_change_nothing(void **state) {
    (void)state;
    static const double wrong[] = {-0.1, 1.0001, 90, NAN, INFINITY};
    deft_context *ctx = test_context();
    float values[WEIGHTS];
    for (int i = 0; i < WEIGHTS; i++)
        values[i] = (float)i;
    deft_graph *graph = graph_with(ctx, values);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(deft_prune_magnitude(ctx, graph, wrong[i]), DEFT_INVALID);
        assert_non_null(strstr(deft_context_message(ctx), "expected 0 to 1"));
        assert_true(holds(graph, values));
    }
    double wide[160] = {1, 2, 3};
    deft_tensor tensor = {.dtype = DEFT_F64, .rank = 2, .dims = {8, 20}, .data = wide};
    assert_int_equal(deft_graph_set_constant(graph, deft_graph_find(graph, "w3"), &tensor), DEFT_OK);
    assert_int_equal(deft_prune_magnitude(ctx, graph, 0.5), DEFT_UNSUPPORTED);
    assert_non_null(strstr(deft_context_message(ctx), "'w3'"));
    assert_true(same_bits(data_of(graph, "w1"), values, CONV_WEIGHTS));
    deft_graph_free(graph);
    test_context_free(ctx);
}

static deft_status prune_a_graph(deft_context *ctx, void *user) {
    return deft_prune_magnitude(ctx, user, 0.5);
}

static void test_out_of_memory(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    float values[WEIGHTS] = {0};
    deft_graph *graph = graph_with(ctx, values);
    check_every_allocation_failure(prune_a_graph, graph);
    deft_graph_free(graph);
    test_context_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_weights),
        cmocka_unit_test(test_ties_go_to_the_first),
        cmocka_unit_test(test_zeros_stay_and_count),
        cmocka_unit_test(test_nan_and_infinity_go_last),
        cmocka_unit_test(test_none_is_the_identity),
        cmocka_unit_test(test_a_shared_weight_counts_once),
        cmocka_unit_test(test_without_weights_nothing_happens),
        cmocka_unit_test(test_errors_change_nothing),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Pruning by magnitude: against a brute-force sort, ties, NaN, what is sparse already, patterns, errors. */
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

/* ---- scopes and patterns ------------------------------------------------------------------------------------- */

static void fill_random(float *values, uint64_t seed) {
    deft_rng rng;
    deft_rng_init(&rng, seed, 0);
    for (int i = 0; i < WEIGHTS; i++)
        values[i] = deft_rng_normal(&rng);
}

static deft_graph *pruned_graph(deft_context *ctx, const float *values, deft_prune_options options) {
    deft_graph *graph = graph_with(ctx, values);
    assert_int_equal(deft_prune_graph(ctx, graph, &options), DEFT_OK);
    return graph;
}

static void test_a_layer_at_a_time(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    float values[WEIGHTS], expected[WEIGHTS];
    fill_random(values, 4);
    for (int i = 0; i < CONV_WEIGHTS; i++)
        values[i] *= 100; /* all together, none of these would go */
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        deft_graph *graph =
            pruned_graph(ctx, values, (deft_prune_options){.zeros = shares[i], .scope = DEFT_PRUNE_LAYER});
        for (int w = 0, at = 0; w < 3; at += weight_counts[w++])
            prune_by_sorting(values + at, weight_counts[w], shares[i], expected + at);
        assert_true(holds(graph, expected));
        deft_graph_free(graph);
    }
    test_context_free(ctx);
}

/* Of each group, by definition, at most two are left, and they are no smaller than those that went. */
static void check_group(const float *before, const float *after, int stride, int size) {
    float least_kept = INFINITY, largest_gone = 0;
    int kept = 0;
    for (int i = 0; i < size; i++) {
        float magnitude = fabsf(before[i * stride]);
        if (after[i * stride] != 0.0f) {
            assert_true(after[i * stride] == before[i * stride]);
            kept++;
            least_kept = fminf(least_kept, magnitude);
        } else {
            largest_gone = fmaxf(largest_gone, magnitude);
        }
    }
    assert_int_equal(kept, size < 2 ? size : 2);
    assert_true(least_kept >= largest_gone);
}

static void test_two_of_four(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    float values[WEIGHTS];
    fill_random(values, 5);
    deft_graph *graph = pruned_graph(ctx, values, (deft_prune_options){.keep = 2, .of = 4});
    /* the Conv has one input channel: groups of one, all kept */
    assert_true(same_bits(data_of(graph, "w1"), values, CONV_WEIGHTS));
    const float *matmul = values + CONV_WEIGHTS, *gemm = matmul + MATMUL_WEIGHTS;
    for (int row = 0; row < 8; row++) /* w2 [32, 8]: what an output sums over is the first dimension */
        for (int k = 0; k < 32; k += 4)
            check_group(matmul + k * 8 + row, data_of(graph, "w2") + k * 8 + row, 8, 4);
    for (int row = 0; row < 20; row++)
        for (int k = 0; k < 8; k += 4)
            check_group(gemm + k * 20 + row, data_of(graph, "w3") + k * 20 + row, 20, 4);
    deft_graph_free(graph);
    test_context_free(ctx);
}

/* Along the channels of a Conv, with 6 of them: a group of four and one of two; and a Gemm with transB. */
static void test_groups_along_channels(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *graph = new_graph(ctx);
    add_graph_input(graph, "x", DIMS(-1, 6, 4, 4));
    add_weight(graph, "w", DIMS(3, 6, 2, 2), 0);
    add_weight(graph, "v", DIMS(5, 27), 0);
    NODE(graph, CONV, "c", "x", "w");
    NODE(graph, FLATTEN, "f", "c");
    const deft_attr transposed = {.name = "transB", .type = DEFT_ATTR_INT, .i = 1};
    add_node(graph, DEFT_OP_GEMM, &transposed, 1, (const char *const[]){"f", "v"}, 2, "y");
    finish_graph(graph, "y");
    float w[72], v[135];
    memcpy(w, data_of(graph, "w"), sizeof w);
    memcpy(v, data_of(graph, "v"), sizeof v);
    assert_int_equal(deft_prune_graph(ctx, graph, &(deft_prune_options){.keep = 2, .of = 4}), DEFT_OK);
    for (int row = 0; row < 3; row++)
        for (int tap = 0; tap < 4; tap++)
            for (int c = 0; c < 6; c += 4)
                check_group(w + row * 24 + c * 4 + tap, data_of(graph, "w") + row * 24 + c * 4 + tap, 4, c ? 2 : 4);
    for (int row = 0; row < 5; row++)
        for (int k = 0; k < 27; k += 4)
            check_group(v + row * 27 + k, data_of(graph, "v") + row * 27 + k, 1, k == 24 ? 3 : 4);
    deft_graph_free(graph);
    test_context_free(ctx);
}

/* Every block of w2 [32, 8], 4 outputs by 5 inputs (the last of 2), is whole or gone, the weaker half is gone. */
static void test_blocks_go_together(void **state) {
    (void)state;
    enum { ROWS = 4, INNER = 5, DOWN = 2, ACROSS = 7 };
    deft_context *ctx = test_context();
    deft_graph *graph = new_graph(ctx);
    add_graph_input(graph, "x", DIMS(-1, 32));
    add_weight(graph, "w", DIMS(32, 8), 0);
    NODE(graph, MATMUL, "y", "x", "w");
    finish_graph(graph, "y");
    float before[256];
    memcpy(before, data_of(graph, "w"), sizeof before);
    deft_prune_options options = {.zeros = 0.5, .block_rows = ROWS, .block_inner = INNER};
    assert_int_equal(deft_prune_graph(ctx, graph, &options), DEFT_OK);
    const float *after = data_of(graph, "w");
    double least_kept = INFINITY, largest_gone = 0;
    int gone_blocks = 0;
    for (int block = 0; block < DOWN * ACROSS; block++) {
        double squares = 0;
        int zeros = 0, count = 0;
        for (int r = block / ACROSS * ROWS; r < block / ACROSS * ROWS + ROWS; r++)
            for (int k = block % ACROSS * INNER; k < block % ACROSS * INNER + INNER && k < 32; k++) {
                squares += (double)before[k * 8 + r] * (double)before[k * 8 + r];
                zeros += after[k * 8 + r] == 0.0f;
                count++;
            }
        assert_true(zeros == 0 || zeros == count);
        gone_blocks += zeros > 0;
        if (zeros)
            largest_gone = fmax(largest_gone, sqrt(squares / count));
        else
            least_kept = fmin(least_kept, sqrt(squares / count));
    }
    assert_int_equal(gone_blocks, DOWN * ACROSS / 2);
    assert_true(least_kept >= largest_gone);
    deft_graph_free(graph);
    test_context_free(ctx);
}

/* Blocks of one weight are single weights. */
static void test_smallest_blocks(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    float values[WEIGHTS], expected[WEIGHTS];
    fill_random(values, 6);
    prune_by_sorting(values, WEIGHTS, 0.7, expected);
    /* w1 is [8, 1, 3, 3], so its blocks are in the order of its elements; the rest differ in order, not in outcome */
    deft_graph *graph =
        pruned_graph(ctx, values, (deft_prune_options){.zeros = 0.7, .block_rows = 1, .block_inner = 1});
    assert_true(holds(graph, expected));
    deft_graph_free(graph);
    test_context_free(ctx);
}

static void test_patterns_that_make_no_sense(void **state) {
    (void)state;
    static const deft_prune_options wrong[] = {{.keep = 4, .of = 4},
                                               {.keep = 0, .of = 4},
                                               {.keep = -1, .of = 4},
                                               {.keep = 2, .of = DEFT_PRUNE_MAX_GROUP + 1},
                                               {.keep = 2, .of = 4, .zeros = 0.5},
                                               {.keep = 2, .of = 4, .block_rows = 1, .block_inner = 2},
                                               {.block_rows = 0, .block_inner = 2},
                                               {.block_rows = 4, .block_inner = -2}};
    deft_context *ctx = test_context();
    float values[WEIGHTS];
    fill_random(values, 7);
    deft_graph *graph = graph_with(ctx, values);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(deft_prune_graph(ctx, graph, &wrong[i]), DEFT_INVALID);
    assert_true(holds(graph, values));
    deft_graph_free(graph);
    test_context_free(ctx);
}

static void test_by_scores(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    float values[4] = {1, 2, 3, 4};
    deft_weight weight = {.data = values, .count = 4};
    assert_int_equal(deft_prune_by_scores(ctx, &weight, (const float[]){9, 0, 7, 1}, 0.5), DEFT_OK);
    assert_true(same_bits(values, (const float[]){1, 0, 3, 0}, 4));
    test_context_free(ctx);
}

static deft_status prune_blocks_of_a_graph(deft_context *ctx, void *user) {
    return deft_prune_graph(ctx, user, &(deft_prune_options){.zeros = 0.5, .block_rows = 2, .block_inner = 2});
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
    check_every_allocation_failure(prune_blocks_of_a_graph, graph);
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
        cmocka_unit_test(test_a_layer_at_a_time),
        cmocka_unit_test(test_two_of_four),
        cmocka_unit_test(test_groups_along_channels),
        cmocka_unit_test(test_blocks_go_together),
        cmocka_unit_test(test_smallest_blocks),
        cmocka_unit_test(test_patterns_that_make_no_sense),
        cmocka_unit_test(test_by_scores),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

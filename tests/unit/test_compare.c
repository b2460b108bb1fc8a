/* Comparisons feed a model what it takes: batches of its own where they are fixed, pictures of the samples' size. */
#include "tests/unit/samples.h"

#include "decide/tune/compare.h"

static void check_comparison(deft_context *ctx, deft_graph *graph, const deft_dataset *data) {
    deft_tuner *tuner;
    deft_comparison comparison;
    assert_int_equal(deft_tuner_new(ctx, false, &tuner), DEFT_OK);
    assert_int_equal(deft_compare(ctx, graph, graph, tuner, data, 64, &comparison), DEFT_OK);
    assert_true(comparison.dense.p50 > 0 && comparison.fast.p50 > 0);
    assert_true(comparison.speedup == comparison.dense.p50 / comparison.fast.p50);
    deft_tuner_free(tuner);
}

static void test_fixed_batch(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_dataset *data = make_samples(ctx, 1, (int64_t[]){6}, 3, COUNTS(9, 9, 9));
    deft_graph *graph = two_layers(ctx, 2, false);
    check_comparison(ctx, graph, data);
    deft_graph_free(graph);
    deft_dataset_free(data);
    test_context_free(ctx);
}

static void test_pictures_of_any_size(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_dataset *data = make_samples(ctx, 3, (int64_t[]){2, 5, 7}, 2, COUNTS(9, 9, 9));
    deft_graph *graph = new_graph(ctx);
    add_graph_input(graph, "x", DIMS(-1, 2, -1, -1));
    add_weight(graph, "w", DIMS(3, 2, 3, 3), 0);
    NODE(graph, CONV, "c", "x", "w");
    NODE(graph, GLOBAL_AVERAGE_POOL, "y", "c");
    finish_graph(graph, "y");
    check_comparison(ctx, graph, data);
    deft_graph_free(graph);
    deft_dataset_free(data);
    test_context_free(ctx);
}

static void test_shapes_that_do_not_fit(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_dataset *data = make_samples(ctx, 1, (int64_t[]){7}, 3, COUNTS(9, 9, 9));
    deft_graph *graph = two_layers(ctx, -1, false);
    deft_tuner *tuner;
    deft_comparison comparison;
    assert_int_equal(deft_tuner_new(ctx, false, &tuner), DEFT_OK);
    assert_int_equal(deft_compare(ctx, graph, graph, tuner, data, 64, &comparison), DEFT_INVALID);
    assert_non_null(strstr(deft_context_message(ctx), "a sample of made:samples is 7"));
    deft_tuner_free(tuner);
    deft_graph_free(graph);
    deft_dataset_free(data);
    test_context_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fixed_batch),
        cmocka_unit_test(test_pictures_of_any_size),
        cmocka_unit_test(test_shapes_that_do_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/support.h"

#include "decide/tune/frontier.h"
#include "decide/tune/optimize.h"
#include "ir/model/zoo.h"
#include "learn/approx/prune.h"
#include "learn/train/train.h"

#include <math.h>
#include <string.h>

/* A small network, trained a little on a small set: enough for a search to have something to lose. */
typedef struct fixture {
    deft_context *ctx;
    deft_dataset *data;
    deft_graph *graph;
} fixture;

static fixture make_fixture(void) {
    fixture f;
    assert_int_equal(deft_context_new(&(deft_context_options){.cache_directory = "", .threads = 1}, &f.ctx), DEFT_OK);
    assert_int_equal(deft_dataset_open(f.ctx, "digits:1500", &f.data), DEFT_OK);
    assert_int_equal(deft_zoo_build(f.ctx, "lenet-300-100", &f.graph), DEFT_OK);
    deft_train_options options = {.epochs = 3};
    assert_int_equal(deft_train(f.ctx, f.graph, f.data, &options), DEFT_OK);
    return f;
}

static void free_fixture(fixture *f) {
    deft_graph_free(f->graph);
    deft_dataset_free(f->data);
    test_context_free(f->ctx);
}

typedef struct seen {
    deft_point points[32];
    int count;
} seen;

static void remember(void *user, const deft_point *point) {
    seen *all = user;
    assert_true(all->count < 32);
    all->points[all->count++] = *point;
}

static double share_of_zeros(const deft_graph *graph) {
    deft_graph_stats stats = deft_graph_count(graph);
    return (double)stats.prunable_zeros / (double)stats.prunable;
}

static void test_finds_the_sparsest_point_within_the_bound(void **state) {
    (void)state;
    fixture f = make_fixture();
    seen all = {.count = 0};
    deft_optimize_options options = {.max_drop = 3, .epochs = 1, .point = remember, .user = &all};
    deft_graph *fast;
    char *text;
    deft_point chosen;
    assert_int_equal(deft_optimize_graph(f.ctx, f.graph, f.data, &options, &fast, &text, &chosen), DEFT_OK);
    assert_true(all.count >= 2);
    assert_true(all.points[all.count - 1].chosen && chosen.chosen);
    double sparsest = 0;
    for (int i = 0; i < all.count - 1; i++) {
        const deft_point *point = &all.points[i];
        assert_true(point->within_bound == (point->drop <= 3));
        assert_true(isnan(point->accuracy_test) && point->dense_us > 0 && point->fast_us_b1 > 0 &&
                    point->file_bytes > 0);
        if (point->within_bound && point->zeros > sparsest) sparsest = point->zeros;
    }
    assert_true(chosen.zeros == sparsest && chosen.zeros >= 0.5);
    assert_true(fabs(share_of_zeros(fast) - chosen.zeros) < 1e-9);
    assert_true(fabs(chosen.drop - 100 * (chosen.accuracy_dense - chosen.accuracy_test)) < 1e-9);
    assert_true(share_of_zeros(f.graph) < 0.01);
    assert_non_null(deft_graph_metadata(fast, "deft.recipe"));

    deft_quality quality;
    assert_int_equal(deft_evaluate(f.ctx, fast, NULL, f.data, DEFT_TEST, &quality), DEFT_OK);
    assert_true(quality.accuracy == chosen.accuracy_test);

    deft_point *read;
    int count;
    assert_int_equal(deft_frontier_parse(f.ctx, text, &read, &count), DEFT_OK);
    assert_int_equal(count, all.count - 1);
    deft_release(f.ctx, read);
    deft_release(f.ctx, text);
    deft_graph_free(fast);
    free_fixture(&f);
}

static void test_no_point_within_the_bound_keeps_the_original(void **state) {
    (void)state;
    fixture f = make_fixture();
    deft_optimize_options options = {.max_drop = -101, .epochs = 1};
    deft_graph *fast;
    char *text;
    deft_point chosen;
    assert_int_equal(deft_optimize_graph(f.ctx, f.graph, f.data, &options, &fast, &text, &chosen), DEFT_NO);
    assert_false(chosen.chosen);
    assert_true(share_of_zeros(fast) == share_of_zeros(f.graph));
    deft_release(f.ctx, text);
    deft_graph_free(fast);
    free_fixture(&f);
}

static void test_a_sparse_model_is_only_measured(void **state) {
    (void)state;
    fixture f = make_fixture();
    assert_int_equal(deft_prune_magnitude(f.ctx, f.graph, 0.6), DEFT_OK);
    seen all = {.count = 0};
    deft_optimize_options options = {.max_drop = 0.5, .epochs = 1, .point = remember, .user = &all};
    deft_graph *fast;
    char *text;
    deft_point chosen;
    assert_int_equal(deft_optimize_graph(f.ctx, f.graph, f.data, &options, &fast, &text, &chosen), DEFT_OK);
    assert_int_equal(all.count, 2);
    assert_true(chosen.drop == 0 && fabs(chosen.zeros - 0.6) < 1e-3);
    deft_release(f.ctx, text);
    deft_graph_free(fast);
    free_fixture(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finds_the_sparsest_point_within_the_bound),
        cmocka_unit_test(test_no_point_within_the_bound_keeps_the_original),
        cmocka_unit_test(test_a_sparse_model_is_only_measured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

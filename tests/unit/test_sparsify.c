/* Pruning while training: the zeros that a schedule leaves, masks that move, and what comes of an interruption. */
#include "tests/unit/samples.h"

#include <stdio.h>

#include "learn/approx/sparsify.h"

enum { EPOCHS = 4, STEPS = 48 /* 4 epochs of 12: 200 samples in batches of 16 */ };
static const char path[] = "test-sparsify.checkpoint";

/* A context whose training stops at a share of it. */
static bool report_progress(void *user, const char *what, double done) {
    return strcmp(what, "training") != 0 || done < *(double *)user;
}

typedef struct setting {
    double stop_at;
    deft_context *ctx;
    deft_dataset *data;
    deft_graph *graph;
} setting;

static void set_up(setting *s) {
    deft_context_options options = {.cache_directory = "", .threads = 1, .progress = report_progress, .user = s};
    s->stop_at = 2;
    assert_int_equal(deft_context_new(&options, &s->ctx), DEFT_OK);
    s->data = make_samples(s->ctx, 1, (int64_t[]){6}, 3, COUNTS(200, 20, 20));
    s->graph = two_layers(s->ctx, -1, false);
}

static void tear_down(setting *s) {
    deft_graph_free(s->graph);
    deft_dataset_free(s->data);
    test_context_free(s->ctx);
}

/* Remembers the zeros after each epoch. */
typedef struct zero_log {
    const deft_graph *graph;
    int64_t zeros[EPOCHS];
    int count;
} zero_log;

static deft_status log_zeros(void *user, const deft_epoch *epoch) {
    zero_log *log = user;
    (void)epoch;
    log->zeros[log->count++] = zeros_of(log->graph, "w1") + zeros_of(log->graph, "w2");
    return DEFT_OK;
}

static deft_status sparsify(setting *s, const deft_sparsify_options *options, const char *checkpoint, zero_log *log) {
    deft_train_options training = {.epochs = EPOCHS, .batch = 16, .checkpoint = checkpoint};
    if (log) {
        *log = (zero_log){.graph = s->graph};
        training.on_epoch = log_zeros;
        training.user = log;
    }
    return deft_sparsify_train(s->ctx, s->graph, s->data, options, &training);
}

/* Of 108 weights, 87 are to go; z(t) = 0.8 (1 - (1 - t / 36)^3), at steps 10, 20, 30 and 36. */
static void test_zeros_grow_along_a_cube(void **state) {
    (void)state;
    setting s;
    set_up(&s);
    zero_log log;
    deft_sparsify_options options = {.prune.zeros = 87.0 / 108, .cubic = true, .every = 10, .until = 0.75};
    assert_int_equal(sparsify(&s, &options, NULL, &log), DEFT_OK);
    static const double at[EPOCHS] = {10 / 36.0, 20 / 36.0, 1, 1}; /* the last update of each epoch */
    for (int i = 0; i < EPOCHS; i++) {
        double left = 1 - at[i];
        assert_int_equal(log.zeros[i], (int64_t)(87 * (1 - left * left * left) + 0.5));
    }
    tear_down(&s);
}

/* It starts from the zeros that are there. */
static void test_zeros_that_are_there_stay(void **state) {
    (void)state;
    setting s;
    set_up(&s);
    zero_log log;
    assert_int_equal(deft_prune_magnitude(s.ctx, s.graph, 0.5), DEFT_OK);
    deft_sparsify_options options = {.prune.zeros = 0.75, .cubic = true, .every = 1000, .until = 1};
    assert_int_equal(sparsify(&s, &options, NULL, &log), DEFT_OK);
    static const int64_t expected[EPOCHS] = {54, 54, 54, 81}; /* the last step is an update too */
    for (int i = 0; i < EPOCHS; i++)
        assert_int_equal(log.zeros[i], expected[i]);
    tear_down(&s);
}

static void test_at_once_is_pruning_and_training(void **state) {
    (void)state;
    setting s;
    set_up(&s);
    deft_graph *by_hand = two_layers(s.ctx, -1, false);
    deft_sparsify_options options = {.prune = {.zeros = 0.5, .scope = DEFT_PRUNE_LAYER}};
    deft_train_options training = {.epochs = EPOCHS, .batch = 16, .keep_zeros = true};
    assert_int_equal(sparsify(&s, &options, NULL, NULL), DEFT_OK);
    assert_int_equal(deft_prune_graph(s.ctx, by_hand, &options.prune), DEFT_OK);
    assert_int_equal(deft_train(s.ctx, by_hand, s.data, &training), DEFT_OK);
    assert_true(same_constants(s.graph, by_hand));
    deft_graph_free(by_hand);
    tear_down(&s);
}

/* As many weights as before, not all of them the same. */
static void test_masks_move(void **state) {
    (void)state;
    setting s;
    set_up(&s);
    deft_graph *pruned = two_layers(s.ctx, -1, false);
    deft_sparsify_options options = {.prune = {.zeros = 0.5, .scope = DEFT_PRUNE_LAYER}, .move = 0.4, .every = 4};
    assert_int_equal(deft_prune_graph(s.ctx, pruned, &options.prune), DEFT_OK);
    zero_log log;
    assert_int_equal(sparsify(&s, &options, NULL, &log), DEFT_OK);
    assert_int_equal(zeros_of(s.graph, "w1"), 36);
    assert_int_equal(zeros_of(s.graph, "w2"), 18);
    int moved = 0;
    const float *before = constant_of(pruned, "w1")->data, *after = constant_of(s.graph, "w1")->data;
    for (int i = 0; i < 72; i++)
        moved += before[i] == 0.0f && after[i] != 0.0f;
    assert_true(moved > 0);
    deft_graph_free(pruned);
    tear_down(&s);
}

/* Where every weight but a few is masked, what grows is where the gradient is largest: the feature that tells. */
static void test_it_grows_where_the_gradient_is(void **state) {
    (void)state;
    setting s;
    set_up(&s);
    float *w1 = constant_of(s.graph, "w1")->data, *b1 = constant_of(s.graph, "b1")->data; /* [6, 12] */
    memset(w1, 0, 72 * sizeof *w1);
    for (int h = 0; h < 12; h++) {
        w1[5 * 12 + h] = 1e-3f; /* only feature 5, which is made to say nothing, has weights */
        b1[h] = 1;
    }
    for (int64_t i = 0; i < 200; i++)
        samples_of(s.data, DEFT_TRAIN)[i * 6 + 5] = 0;
    deft_sparsify_options options = {.prune.zeros = 0, .move = 0.5, .every = 4, .until = 0.2};
    assert_int_equal(sparsify(&s, &options, NULL, NULL), DEFT_OK);
    int useful = 0;
    for (int i = 0; i < 60; i++)
        useful += w1[i] != 0.0f;
    assert_int_equal(useful, 4); /* at step 4 of 9: 12 weights, 0.5 / 2 (1 + cos(4/9 pi)) of them */
    assert_int_equal(zeros_of(s.graph, "w1"), 60);
    tear_down(&s);
}

static void check_resumed(const deft_sparsify_options *options) {
    setting whole;
    set_up(&whole);
    assert_int_equal(sparsify(&whole, options, NULL, NULL), DEFT_OK);
    for (int epoch = 0; epoch < EPOCHS; epoch++) {
        setting stopped, resumed;
        set_up(&stopped);
        set_up(&resumed);
        remove(path);
        stopped.stop_at = (epoch + 0.5) / EPOCHS;
        assert_int_equal(sparsify(&stopped, options, path, NULL), DEFT_CANCELLED);
        assert_int_equal(sparsify(&resumed, options, path, NULL), DEFT_OK);
        assert_true(same_constants(resumed.graph, whole.graph));
        tear_down(&resumed);
        tear_down(&stopped);
    }
    remove(path);
    tear_down(&whole);
}

static void test_resumed_is_uninterrupted(void **state) {
    (void)state;
    check_resumed(&(deft_sparsify_options){.prune.zeros = 0.8, .cubic = true, .move = 0.3, .every = 5});
    check_resumed(&(deft_sparsify_options){.prune = {.zeros = 0.5, .block_rows = 2, .block_inner = 2}, .cubic = true});
}

static void test_a_checkpoint_of_another_schedule_is_refused(void **state) {
    (void)state;
    setting s;
    set_up(&s);
    remove(path);
    deft_sparsify_options options = {.prune.zeros = 0.8, .cubic = true, .every = 5};
    s.stop_at = 0.6;
    assert_int_equal(sparsify(&s, &options, path, NULL), DEFT_CANCELLED);
    s.stop_at = 2;
    options.every = 6;
    assert_int_equal(sparsify(&s, &options, path, NULL), DEFT_INVALID);
    remove(path);
    tear_down(&s);
}

static void test_options_that_make_no_sense(void **state) {
    (void)state;
    static const deft_sparsify_options wrong[] = {{.prune.zeros = 1.5},
                                                  {.move = -0.1},
                                                  {.move = 1},
                                                  {.every = -1},
                                                  {.until = 1.1},
                                                  {.prune = {.keep = 2, .of = 4}, .cubic = true},
                                                  {.prune = {.keep = 2, .of = 4}, .move = 0.1},
                                                  {.prune = {.block_rows = 2, .block_inner = 1}, .move = 0.1}};
    setting s;
    set_up(&s);
    deft_graph *untouched = two_layers(s.ctx, -1, false);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(sparsify(&s, &wrong[i], NULL, NULL), DEFT_INVALID);
    assert_true(same_constants(s.graph, untouched));
    deft_graph_free(untouched);
    tear_down(&s);
}

static deft_status sparsify_in(deft_context *ctx, void *user) {
    (void)user;
    deft_sparsify_options options = {.prune.zeros = 0.5, .cubic = true, .move = 0.3, .every = 2};
    deft_train_options training = {.epochs = 1, .batch = 16};
    deft_graph *graph = two_layers(test_context(), -1, false), *copy = NULL;
    deft_dataset *data = make_samples(graph->ctx, 1, (int64_t[]){6}, 3, COUNTS(64, 8, 8));
    deft_status status = deft_graph_clone(ctx, graph, &copy);
    if (status == DEFT_OK) status = deft_sparsify_train(ctx, copy, data, &options, &training);
    deft_graph_free(copy);
    deft_context *own = graph->ctx;
    deft_dataset_free(data);
    deft_graph_free(graph);
    test_context_free(own);
    return status;
}

static void test_out_of_memory(void **state) {
    (void)state;
    check_allocation_failures(sparsify_in, NULL, 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zeros_grow_along_a_cube),
        cmocka_unit_test(test_zeros_that_are_there_stay),
        cmocka_unit_test(test_at_once_is_pruning_and_training),
        cmocka_unit_test(test_masks_move),
        cmocka_unit_test(test_it_grows_where_the_gradient_is),
        cmocka_unit_test(test_resumed_is_uninterrupted),
        cmocka_unit_test(test_a_checkpoint_of_another_schedule_is_refused),
        cmocka_unit_test(test_options_that_make_no_sense),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The hook of training: called for every step, its memory kept in checkpoints; and schedules that begin later. */
#include "tests/unit/samples.h"

#include <stdio.h>

#include "learn/train/train.h"
#include "learn/train/trainer.h"

enum { EPOCHS = 3, STEPS = 12 /* an epoch: 200 samples in batches of 16 */ };
static const char path[] = "test-hook.checkpoint";

/* What the hook sees, and does. */
typedef struct watcher {
    int64_t calls, last; /* the state that checkpoints keep */
    int64_t keep_at;     /* the step after which the weights are stored into `kept` */
    deft_graph *kept;
    int64_t cancel_at;
} watcher;

static deft_status watch(void *user, deft_trainer *trainer, int64_t step, int64_t steps) {
    watcher *w = user;
    assert_int_equal(steps, EPOCHS * STEPS);
    assert_int_equal(step, w->last + 1);
    w->calls++;
    w->last = step;
    for (int i = 0; i < trainer->net->learned_count; i++) {
        assert_non_null(deft_trainer_weights(trainer, i));
        assert_non_null(deft_trainer_gradient(trainer, i));
    }
    if (step == w->keep_at) deft_trainer_store(trainer, w->kept);
    return step == w->cancel_at ? deft_fail(trainer->ctx, DEFT_CANCELLED, "stopped") : DEFT_OK;
}

static deft_train_hook hook_of(watcher *w) {
    return (deft_train_hook){
        .after_step = watch, .user = w, .state = w, .state_bytes = offsetof(watcher, keep_at), .print = 1};
}

static deft_train_options options_with(const deft_train_hook *hook) {
    return (deft_train_options){.epochs = EPOCHS, .batch = 16, .optimizer = {.momentum = -1}, .hook = hook};
}

typedef struct setting {
    deft_context *ctx;
    deft_dataset *data;
    deft_graph *whole, *second;
} setting;

static setting set_up(void) {
    setting s = {.ctx = test_context()};
    s.data = make_samples(s.ctx, 1, (int64_t[]){6}, 3, COUNTS(200, 20, 20));
    s.whole = two_layers(s.ctx, -1, false);
    s.second = two_layers(s.ctx, -1, false);
    return s;
}

static void tear_down(setting *s) {
    deft_graph_free(s->whole);
    deft_graph_free(s->second);
    deft_dataset_free(s->data);
    test_context_free(s->ctx);
}

/* Without momentum, a run from the weights after step K, with K steps taken as done, ends where the whole run does. */
static void test_a_schedule_that_begins_later(void **state) {
    (void)state;
    static const int64_t firsts[] = {5, STEPS, 2 * STEPS + 7};
    for (int i = 0; i < 3; i++) {
        setting s = set_up();
        watcher w = {.keep_at = firsts[i], .kept = s.second}, rest = {.last = firsts[i]};
        deft_train_hook hook = hook_of(&w), rest_hook = hook_of(&rest);
        deft_train_options options = options_with(&hook);
        assert_int_equal(deft_train(s.ctx, s.whole, s.data, &options), DEFT_OK);
        assert_int_equal(w.calls, EPOCHS * STEPS);
        options.hook = &rest_hook;
        options.first_step = firsts[i];
        assert_int_equal(deft_train(s.ctx, s.second, s.data, &options), DEFT_OK);
        assert_int_equal(rest.calls, EPOCHS * STEPS - firsts[i]);
        assert_true(same_constants(s.whole, s.second));
        tear_down(&s);
    }
}

static void test_steps_that_are_not_there(void **state) {
    (void)state;
    setting s = set_up();
    deft_train_options options = options_with(NULL);
    options.first_step = EPOCHS * STEPS;
    assert_int_equal(deft_train(s.ctx, s.whole, s.data, &options), DEFT_INVALID);
    assert_non_null(strstr(deft_context_message(s.ctx), "36 steps"));
    options.first_step = -1;
    assert_int_equal(deft_train(s.ctx, s.whole, s.data, &options), DEFT_INVALID);
    assert_true(same_constants(s.whole, s.second));
    tear_down(&s);
}

/* Stopped in the second epoch, it goes on after the first, with what the hook knew then. */
static void test_its_memory_is_kept(void **state) {
    (void)state;
    setting s = set_up();
    remove(path);
    watcher w = {.cancel_at = STEPS + 3}, again = {.calls = 0};
    deft_train_hook hook = hook_of(&w), again_hook = hook_of(&again);
    deft_train_options options = options_with(&hook);
    options.checkpoint = path;
    assert_int_equal(deft_train(s.ctx, s.whole, s.data, &options), DEFT_CANCELLED);
    assert_int_equal(w.calls, STEPS + 3);
    options.hook = &again_hook;
    again_hook.print = 2;
    assert_int_equal(deft_train(s.ctx, s.second, s.data, &options), DEFT_INVALID);
    assert_int_equal(again.calls, 0);
    again_hook.print = 1;
    assert_int_equal(deft_train(s.ctx, s.second, s.data, &options), DEFT_OK);
    assert_int_equal(again.calls, EPOCHS * STEPS);
    options.checkpoint = NULL;
    options.hook = NULL;
    deft_graph *fresh = two_layers(s.ctx, -1, false);
    assert_int_equal(deft_train(s.ctx, fresh, s.data, &options), DEFT_OK);
    assert_true(same_constants(fresh, s.second));
    deft_graph_free(fresh);
    remove(path);
    tear_down(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_schedule_that_begins_later),
        cmocka_unit_test(test_steps_that_are_not_there),
        cmocka_unit_test(test_its_memory_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Lottery tickets: what each begins with, how many weights are left, and that it goes on where it stopped. */
#include "tests/unit/samples.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/core/file.h"
#include "ir/model/file.h"
#include "learn/approx/lottery.h"

enum { EPOCHS = 2, STEPS = 24, ROUNDS = 3 /* epochs of 12 steps: 200 samples in batches of 16 */ };

/* Tickets as they are reported. */
typedef struct drawn {
    deft_ticket tickets[64];
    int count;
} drawn;

static void collect(void *user, const deft_ticket *ticket) {
    drawn *d = user;
    assert_true(d->count < 64);
    d->tickets[d->count++] = *ticket;
}

static bool report_progress(void *user, const char *what, double done) {
    (void)done;
    return strcmp(what, "training") != 0 || --*(int *)user != 0;
}

typedef struct setting {
    int steps_left; /* until it is stopped */
    deft_context *ctx;
    deft_dataset *data;
    deft_graph *network;
    drawn drawn;
} setting;

static void set_up(setting *s) {
    deft_context_options options = {.cache_directory = "", .threads = 1, .progress = report_progress, .user = s};
    memset(s, 0, sizeof *s);
    assert_int_equal(deft_context_new(&options, &s->ctx), DEFT_OK);
    s->data = make_samples(s->ctx, 1, (int64_t[]){6}, 3, COUNTS(200, 40, 40));
    s->network = two_layers(s->ctx, -1, false);
}

static void tear_down(setting *s) {
    deft_graph_free(s->network);
    deft_dataset_free(s->data);
    test_context_free(s->ctx);
}

static void remove_folder(const char *folder) {
    DIR *stream = opendir(folder);
    for (struct dirent *entry; stream && (entry = readdir(stream));) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        unlink(path);
    }
    if (stream) closedir(stream);
    rmdir(folder);
}

static deft_lottery_options options_for(setting *s, const char *folder) {
    return (deft_lottery_options){.folder = folder,
                                  .rounds = ROUNDS,
                                  .scope = DEFT_PRUNE_LAYER,
                                  .controls = {[DEFT_TICKET_REINITIALIZED] = true, [DEFT_TICKET_RANDOM] = true},
                                  .evaluations = 6,
                                  .training = {.epochs = EPOCHS, .batch = 16},
                                  .on_ticket = collect,
                                  .user = &s->drawn};
}

static deft_graph *network_in(setting *s, const char *folder, const char *name) {
    char path[512];
    deft_model_file file;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(deft_model_file_load(s->ctx, path, &file), DEFT_OK);
    return file.graph;
}

/* ---- rounds -------------------------------------------------------------------------------------------------- */

/* Of w1 [72], 20% go in each round, of w2 [36], the output's, 10%. */
static void test_weights_that_are_left(void **state) {
    (void)state;
    static const int64_t zeros1[] = {0, 14, 26, 35}, zeros2[] = {0, 4, 7, 10};
    setting s;
    set_up(&s);
    remove_folder("drawn");
    deft_lottery_options options = options_for(&s, "drawn");
    options.seeds = 2;
    assert_int_equal(deft_lottery(s.ctx, s.network, s.data, &options), DEFT_OK);
    assert_int_equal(s.drawn.count, 2 * (1 + ROUNDS * 3));
    for (int i = 0; i < s.drawn.count; i++) {
        const deft_ticket *t = &s.drawn.tickets[i];
        assert_true(fabs(t->weights_left - (1 - (double)(zeros1[t->round] + zeros2[t->round]) / 108)) < 1e-12);
        assert_true(t->accuracy_validation > 0.3 && t->accuracy_test > 0.3 && t->stop_accuracy_test > 0.3);
        assert_true(t->stop_step > 0 && t->stop_step <= STEPS && t->stop_step % 4 == 0);
        assert_true(t->stop_loss > 0 && t->stop_loss < 1.2);
        if (t->kind != DEFT_TICKET_WINNING) continue;
        char name[64];
        snprintf(name, sizeof name, "seed-%d-round-%d.onnx", t->seed, t->round);
        deft_graph *graph = network_in(&s, "drawn", name);
        deft_quality quality;
        assert_int_equal(deft_evaluate(s.ctx, graph, NULL, s.data, DEFT_TEST, &quality), DEFT_OK);
        assert_true(quality.accuracy == t->accuracy_test);
        assert_int_equal(zeros_of(graph, "w1"), zeros1[t->round]);
        assert_int_equal(zeros_of(graph, "w2"), zeros2[t->round]);
        deft_graph_free(graph);
    }
    remove_folder("drawn");
    tear_down(&s);
}

/* A round by hand: trained, pruned, reset, trained. */
static void check_first_round(deft_lottery_reset reset, int64_t rewind_step) {
    setting s;
    set_up(&s);
    remove_folder("hand");
    deft_lottery_options options = options_for(&s, "hand");
    options.rounds = 1;
    options.scope = DEFT_PRUNE_GLOBAL;
    options.rate = 0.5;
    options.reset = reset;
    options.rewind_step = rewind_step;
    memset(options.controls, 0, sizeof options.controls);
    assert_int_equal(deft_lottery(s.ctx, s.network, s.data, &options), DEFT_OK);
    deft_graph *dense = network_in(&s, "hand", "seed-0-round-0.onnx"), *by_hand;
    deft_graph *pruned = network_in(&s, "hand", "seed-0-round-0.onnx");
    deft_graph *early = rewind_step ? network_in(&s, "hand", "seed-0-early.onnx") : two_layers(s.ctx, -1, false);
    assert_int_equal(deft_prune_magnitude(s.ctx, pruned, 0.5), DEFT_OK);
    by_hand = two_layers(s.ctx, -1, false);
    deft_train_options training = options.training;
    assert_int_equal(deft_train(s.ctx, by_hand, s.data, &training), DEFT_OK);
    assert_true(same_constants(by_hand, dense));
    static const char *const names[] = {"w1", "b1", "w2", "b2"};
    for (int i = 0; i < 4; i++) {
        const float *mask = constant_of(pruned, names[i])->data;
        const float *from = constant_of(reset == DEFT_RESET_WEIGHTS ? early : dense, names[i])->data;
        deft_tensor *to = constant_of(by_hand, names[i]);
        for (int64_t j = 0; j < deft_tensor_count(to); j++)
            ((float *)to->data)[j] = names[i][0] == 'w' && mask[j] == 0.0f ? 0 : from[j];
    }
    training.keep_zeros = true;
    training.first_step = rewind_step;
    assert_int_equal(deft_train(s.ctx, by_hand, s.data, &training), DEFT_OK);
    deft_graph *ticket = network_in(&s, "hand", "seed-0-round-1.onnx");
    assert_true(same_constants(by_hand, ticket));
    deft_graph *graphs[] = {dense, pruned, early, by_hand, ticket};
    for (int i = 0; i < 5; i++)
        deft_graph_free(graphs[i]);
    remove_folder("hand");
    tear_down(&s);
}

static void test_a_round_by_hand(void **state) {
    (void)state;
    check_first_round(DEFT_RESET_WEIGHTS, 0);
    check_first_round(DEFT_RESET_WEIGHTS, 5);
    check_first_round(DEFT_RESET_WEIGHTS, 12);
    check_first_round(DEFT_RESET_LEARNING_RATE, 0);
    check_first_round(DEFT_RESET_LEARNING_RATE, 7);
}

/* ---- going on ------------------------------------------------------------------------------------------------ */

static void check_same_files(setting *s, const char *one, const char *other) {
    DIR *stream = opendir(one);
    int compared = 0;
    assert_non_null(stream);
    for (struct dirent *entry; (entry = readdir(stream));) {
        char paths[2][512];
        void *data[2];
        size_t bytes[2];
        if (entry->d_name[0] == '.') continue;
        snprintf(paths[0], sizeof paths[0], "%s/%s", one, entry->d_name);
        snprintf(paths[1], sizeof paths[1], "%s/%s", other, entry->d_name);
        for (int i = 0; i < 2; i++)
            assert_int_equal(deft_file_read(s->ctx, paths[i], 1 << 20, &data[i], &bytes[i]), DEFT_OK);
        assert_int_equal(bytes[0], bytes[1]);
        assert_memory_equal(data[0], data[1], bytes[0]);
        for (int i = 0; i < 2; i++)
            deft_release(s->ctx, data[i]);
        compared++;
    }
    closedir(stream);
    assert_true(compared >= 1 + ROUNDS + 1); /* the log, and the networks */
}

/* Stopped again and again, after so many steps of training that it gets on, it ends with the same files. */
static void check_stopped(int64_t rewind_step) {
    setting s;
    set_up(&s);
    remove_folder("whole");
    remove_folder("stopped");
    deft_lottery_options options = options_for(&s, "whole");
    options.rewind_step = rewind_step;
    options.rounds = ROUNDS;
    assert_int_equal(deft_lottery(s.ctx, s.network, s.data, &options), DEFT_OK);
    options.folder = "stopped";
    options.on_ticket = NULL;
    int stops = 0;
    for (deft_status status = DEFT_CANCELLED; status != DEFT_OK; stops++) {
        assert_true(stops < 100);
        s.steps_left = 17 + stops % 3 * 9;
        status = deft_lottery(s.ctx, s.network, s.data, &options);
        assert_true(status == DEFT_OK || status == DEFT_CANCELLED);
    }
    assert_true(stops > 5);
    s.steps_left = 0;
    check_same_files(&s, "whole", "stopped");
    drawn first = s.drawn;
    s.drawn.count = 0;
    options.on_ticket = collect;
    assert_int_equal(deft_lottery(s.ctx, s.network, s.data, &options), DEFT_OK); /* nothing is left to do */
    assert_int_equal(s.drawn.count, first.count);
    for (int i = 0; i < first.count; i++)
        assert_true(s.drawn.tickets[i].accuracy_test == first.tickets[i].accuracy_test &&
                    s.drawn.tickets[i].stop_loss == first.tickets[i].stop_loss &&
                    s.drawn.tickets[i].weights_left == first.tickets[i].weights_left);
    remove_folder("whole");
    remove_folder("stopped");
    tear_down(&s);
}

static void test_stopped_and_resumed_is_the_same(void **state) {
    (void)state;
    check_stopped(0);
    check_stopped(13);
}

/* Rounds, repetitions and controls may come later. */
static void test_more_may_be_added(void **state) {
    (void)state;
    setting s;
    set_up(&s);
    remove_folder("more");
    deft_lottery_options options = options_for(&s, "more");
    memset(options.controls, 0, sizeof options.controls);
    options.rounds = 1;
    assert_int_equal(deft_lottery(s.ctx, s.network, s.data, &options), DEFT_OK);
    assert_int_equal(s.drawn.count, 2);
    s.drawn.count = 0;
    options.rounds = 2;
    options.seeds = 2;
    options.controls[DEFT_TICKET_RANDOM] = true;
    options.control_every = 2;
    assert_int_equal(deft_lottery(s.ctx, s.network, s.data, &options), DEFT_OK);
    assert_int_equal(s.drawn.count, 2 * (3 + 1));
    remove_folder("more");
    tear_down(&s);
}

/* ---- controls ------------------------------------------------------------------------------------------------ */

/* Data that only the right weights can learn: a reinitialised ticket differs, and so does each repetition. */
static void test_tickets_differ(void **state) {
    (void)state;
    setting s;
    set_up(&s);
    remove_folder("differ");
    deft_lottery_options options = options_for(&s, "differ");
    options.rounds = 1;
    options.seeds = 2;
    assert_int_equal(deft_lottery(s.ctx, s.network, s.data, &options), DEFT_OK);
    assert_int_equal(s.drawn.count, 8);
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < i; j++)
            assert_true(s.drawn.tickets[i].stop_loss != s.drawn.tickets[j].stop_loss);
    remove_folder("differ");
    tear_down(&s);
}

/* ---- refusals ------------------------------------------------------------------------------------------------ */

static void test_a_folder_of_another_lottery(void **state) {
    (void)state;
    setting s;
    set_up(&s);
    remove_folder("other");
    deft_lottery_options options = options_for(&s, "other");
    options.rounds = 1;
    assert_int_equal(deft_lottery(s.ctx, s.network, s.data, &options), DEFT_OK);
    deft_lottery_options changed[] = {options, options, options, options};
    changed[0].rate = 0.3;
    changed[1].training.epochs = 3;
    changed[2].training.optimizer.momentum = 0.8f;
    changed[3].scope = DEFT_PRUNE_GLOBAL;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(deft_lottery(s.ctx, s.network, s.data, &changed[i]), DEFT_INVALID);
        assert_non_null(strstr(deft_context_message(s.ctx), "another lottery"));
    }
    float *weights = constant_of(s.network, "w1")->data;
    weights[0] += 1;
    assert_int_equal(deft_lottery(s.ctx, s.network, s.data, &options), DEFT_INVALID);
    weights[0] -= 1;
    FILE *file = fopen("other/log.jsonl", "a");
    fputs("{\"kind\":\"tick", file);
    fclose(file);
    assert_int_equal(deft_lottery(s.ctx, s.network, s.data, &options), DEFT_INVALID);
    assert_non_null(strstr(deft_context_message(s.ctx), "no line of a log"));
    remove_folder("other");
    tear_down(&s);
}

static void test_options_that_make_no_sense(void **state) {
    (void)state;
    setting s;
    set_up(&s);
    deft_lottery_options options = options_for(&s, "never"), wrong[8];
    for (int i = 0; i < 8; i++)
        wrong[i] = options;
    wrong[0].rate = 1;
    wrong[1].rate = -0.1;
    wrong[2].rounds = -1;
    wrong[3].seeds = -1;
    wrong[4].rewind_step = -1;
    wrong[5].evaluations = -1;
    wrong[6].folder = "";
    wrong[7].output_rate = 1;
    for (int i = 0; i < 8; i++)
        assert_int_equal(deft_lottery(s.ctx, s.network, s.data, &wrong[i]), DEFT_INVALID);
    assert_int_not_equal(access("never", F_OK), 0);
    s.data->classes = 0;
    assert_int_equal(deft_lottery(s.ctx, s.network, s.data, &options), DEFT_INVALID);
    s.data->classes = 3;
    remove_folder("late");
    options.folder = "late";
    options.rewind_step = STEPS;
    assert_int_equal(deft_lottery(s.ctx, s.network, s.data, &options), DEFT_INVALID);
    assert_non_null(strstr(deft_context_message(s.ctx), "choose an earlier one"));
    remove_folder("late");
    FILE *file = fopen("a-file", "w");
    fclose(file);
    options.folder = "a-file";
    assert_int_equal(deft_lottery(s.ctx, s.network, s.data, &options), DEFT_IO);
    options.folder = "no/such/folder";
    assert_int_equal(deft_lottery(s.ctx, s.network, s.data, &options), DEFT_IO);
    remove("a-file");
    tear_down(&s);
}

static deft_status draw_one(deft_context *ctx, void *user) {
    setting *s = user;
    deft_lottery_options options = options_for(s, "memory");
    deft_graph *network = NULL;
    remove_folder("memory");
    options.rounds = 1;
    options.on_ticket = NULL;
    options.training.epochs = 1;
    options.evaluations = 2;
    deft_status status = deft_graph_clone(ctx, s->network, &network);
    if (status == DEFT_OK) status = deft_lottery(ctx, network, s->data, &options);
    deft_graph_free(network);
    return status;
}

static void test_out_of_memory(void **state) {
    (void)state;
    setting s;
    set_up(&s);
    check_allocation_failures(draw_one, &s, 6);
    remove_folder("memory");
    tear_down(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weights_that_are_left),
        cmocka_unit_test(test_a_round_by_hand),
        cmocka_unit_test(test_stopped_and_resumed_is_the_same),
        cmocka_unit_test(test_more_may_be_added),
        cmocka_unit_test(test_tickets_differ),
        cmocka_unit_test(test_a_folder_of_another_lottery),
        cmocka_unit_test(test_options_that_make_no_sense),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

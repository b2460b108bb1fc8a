/* Checkpoints: an interrupted run that goes on ends where an uninterrupted one does, bit for bit; a file that is
 * damaged or of another run is refused and left alone. */
#include "tests/unit/samples.h"

#include <stdio.h>
#include <unistd.h>

#include "base/core/file.h"
#include "learn/approx/prune.h"
#include "learn/train/train.h"

enum { EPOCHS = 4 };
static const char path[] = "test.checkpoint";

/* A context whose training stops at a share of it. */
typedef struct brake {
    double stop_at;
} brake;

static bool report_progress(void *user, const char *what, double done) {
    return strcmp(what, "training") != 0 || done < ((brake *)user)->stop_at;
}

static deft_context *context_with(brake *b) {
    deft_context *ctx = NULL;
    deft_context_options options = {
        .cache_directory = "", .threads = 2, .seed = 7, .progress = report_progress, .user = b};
    assert_int_equal(deft_context_new(&options, &ctx), DEFT_OK);
    return ctx;
}

/* With batch statistics, so that all that a checkpoint holds is there: weights, running statistics, momentum, masks. */
static deft_graph *make_model(deft_context *ctx) {
    deft_graph *graph = new_graph(ctx);
    add_graph_input(graph, "x", DIMS(-1, 2, 4, 4));
    add_weight(graph, "w", DIMS(4, 2, 3, 3), 0);
    static const char *const names[] = {"gamma", "beta", "mean", "var"};
    for (int i = 0; i < 4; i++) {
        add_weight(graph, names[i], DIMS(4), 1);
        for (int c = 0; c < 4; c++)
            ((float *)constant_of(graph, names[i])->data)[c] = i == 0 || i == 3 ? 1 : 0;
    }
    add_weight(graph, "w2", DIMS(16, 3), 0);
    add_weight(graph, "b2", DIMS(3), 0);
    NODE(graph, CONV, "c", "x", "w");
    NODE(graph, BATCH_NORM, "n", "c", "gamma", "beta", "mean", "var");
    NODE(graph, RELU, "r", "n");
    NODE(graph, FLATTEN, "f", "r");
    NODE(graph, GEMM, "y", "f", "w2", "b2");
    finish_graph(graph, "y");
    assert_int_equal(deft_graph_infer(graph, 1, NULL, 0), DEFT_OK);
    assert_int_equal(deft_prune_magnitude(ctx, graph, 0.5), DEFT_OK);
    return graph;
}

static deft_dataset *make_data(deft_context *ctx) {
    return make_samples(ctx, 3, (int64_t[]){2, 4, 4}, 3, COUNTS(100, 20, 20));
}

/* Trains a new model until the brake; the graph is the caller's, and the context freed with it. */
typedef struct trained {
    brake b;
    deft_optimizer_options optimizer;
    deft_schedule_kind schedule;
    deft_context *ctx;
    deft_dataset *data;
    deft_graph *graph;
} trained;

static deft_train_options options_with(const trained *t, const char *checkpoint) {
    return (deft_train_options){.epochs = EPOCHS,
                                .batch = 20,
                                .optimizer = t->optimizer,
                                .schedule = t->schedule,
                                .warmup_epochs = t->schedule == DEFT_SCHEDULE_COSINE ? 1.5f : 0,
                                .label_smoothing = 0.1f,
                                .keep_zeros = true,
                                .checkpoint = checkpoint};
}

static void set_up(trained *t) {
    t->optimizer = (deft_optimizer_options){.weight_decay = 0.01f};
    t->schedule = DEFT_SCHEDULE_STEPS;
    t->b.stop_at = 2;
    t->ctx = context_with(&t->b);
    t->data = make_data(t->ctx);
    t->graph = make_model(t->ctx);
}

static void tear_down(trained *t) {
    deft_graph_free(t->graph);
    deft_dataset_free(t->data);
    test_context_free(t->ctx);
}

static deft_status train_until(trained *t, double stop_at, const char *checkpoint) {
    t->b.stop_at = stop_at;
    deft_train_options options = options_with(t, checkpoint);
    return deft_train(t->ctx, t->graph, t->data, &options);
}

/* ---- going on ------------------------------------------------------------------------------------------------ */

/* A run that is stopped in the middle of epoch `epoch`, which is lost and done again, and goes on: in the process that
 * was interrupted, or in a new one. */
static void check_resumed(const trained *whole, int epoch, bool in_process) {
    trained stopped, resumed;
    set_up(&stopped);
    set_up(&resumed);
    stopped.optimizer = resumed.optimizer = whole->optimizer;
    stopped.schedule = resumed.schedule = whole->schedule;
    remove(path);
    assert_int_equal(train_until(&stopped, (epoch + 0.5) / EPOCHS, path), DEFT_CANCELLED);
    assert_false(same_constants(stopped.graph, whole->graph));
    trained *second = in_process ? &stopped : &resumed;
    if (train_until(second, 2, path) != DEFT_OK) fail_msg("%s", deft_context_message(second->ctx));
    assert_true(same_constants(second->graph, whole->graph));
    tear_down(&resumed);
    tear_down(&stopped);
}

static void test_resumed_is_uninterrupted(void **state) {
    (void)state;
    static const struct {
        deft_optimizer_options optimizer;
        deft_schedule_kind schedule;
    } cases[] = {
        {{.kind = DEFT_OPTIMIZER_SGD, .weight_decay = 0.01f}, DEFT_SCHEDULE_STEPS},
        {{.kind = DEFT_OPTIMIZER_NESTEROV}, DEFT_SCHEDULE_COSINE},
        {{.kind = DEFT_OPTIMIZER_ADAM, .average = 0.9f}, DEFT_SCHEDULE_COSINE},
        {{.kind = DEFT_OPTIMIZER_ADAMW, .average = 0.5f}, DEFT_SCHEDULE_CONSTANT},
    };
    deft_graph *trained_before[4];
    trained whole[4];
    for (int i = 0; i < 4; i++) {
        set_up(&whole[i]);
        whole[i].optimizer = cases[i].optimizer;
        whole[i].schedule = cases[i].schedule;
        assert_int_equal(train_until(&whole[i], 2, NULL), DEFT_OK);
        trained_before[i] = whole[i].graph;
        for (int j = 0; j < i; j++) /* the rules differ */
            assert_false(same_constants(trained_before[j], whole[i].graph));
        for (int epoch = 0; epoch < EPOCHS; epoch++)
            for (int in_process = 0; in_process < 2; in_process++)
                check_resumed(&whole[i], epoch, in_process);
    }
    for (int i = 0; i < 4; i++)
        tear_down(&whole[i]);
    remove(path);
}

static deft_status count_epochs(void *user, const deft_epoch *epoch) {
    (void)epoch;
    ++*(int *)user;
    return DEFT_OK;
}

static void test_a_finished_run_is_not_run_again(void **state) {
    (void)state;
    trained first, second;
    set_up(&first);
    set_up(&second);
    int epochs = 0;
    remove(path);
    deft_train_options options = options_with(&first, path);
    options.on_epoch = count_epochs;
    options.user = &epochs;
    assert_int_equal(deft_train(first.ctx, first.graph, first.data, &options), DEFT_OK);
    assert_int_equal(epochs, EPOCHS);
    assert_int_equal(deft_train(second.ctx, second.graph, second.data, &options), DEFT_OK);
    assert_int_equal(epochs, EPOCHS);
    assert_true(same_constants(first.graph, second.graph));
    remove(path);
    tear_down(&second);
    tear_down(&first);
}

/* ---- refusing ------------------------------------------------------------------------------------------------ */

/* A checkpoint after two epochs, read back. */
static void make_checkpoint(trained *t, char **content, size_t *bytes) {
    remove(path);
    assert_int_equal(train_until(t, 0.5, path), DEFT_CANCELLED);
    void *data;
    assert_int_equal(deft_file_read(t->ctx, path, 1 << 20, &data, bytes), DEFT_OK);
    *content = data;
}

/* Training from a file with this content fails with DEFT_INVALID and one line that names it; the file and the graph
 * stay as they are. */
static void expect_refused(const char *content, size_t bytes, const char *part) {
    trained t, untouched;
    set_up(&t);
    set_up(&untouched);
    assert_int_equal(deft_file_write(t.ctx, path, content, bytes), DEFT_OK);
    assert_int_equal(train_until(&t, 2, path), DEFT_INVALID);
    const char *message = deft_context_message(t.ctx);
    if (!strstr(message, path) || !strstr(message, part)) fail_msg("message: %s", message);
    assert_true(same_constants(t.graph, untouched.graph));
    void *after;
    size_t after_bytes;
    assert_int_equal(deft_file_read(t.ctx, path, 1 << 22, &after, &after_bytes), DEFT_OK);
    assert_int_equal(after_bytes, bytes);
    assert_memory_equal(after, content, bytes);
    deft_release(t.ctx, after);
    tear_down(&untouched);
    tear_down(&t);
}

static void test_damaged_files(void **state) {
    (void)state;
    trained t;
    char *content;
    size_t bytes;
    set_up(&t);
    make_checkpoint(&t, &content, &bytes);
    static const char *const told[] = {"no checkpoint", "another version", "checksum"};
    static const size_t places[] = {0, 7, 8, 11, 12, 16, 24, 39, 40, 100};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        content[places[i]] ^= 0x10;
        bool sized = places[i] >= 32 && places[i] < 40;
        expect_refused(content, bytes, sized ? "truncated" : told[places[i] < 8 ? 0 : places[i] < 12 ? 1 : 2]);
        content[places[i]] ^= 0x10;
    }
    content[bytes - 9] ^= 1;
    expect_refused(content, bytes, "checksum");
    content[bytes - 9] ^= 1;
    content[bytes - 1] ^= 1;
    expect_refused(content, bytes, "checksum");
    content[bytes - 1] ^= 1;
    for (size_t cut = 0; cut < bytes; cut += cut < 64 ? 7 : 301)
        expect_refused(content, cut, cut < 40 ? "no checkpoint" : "truncated");
    deft_release(t.ctx, content);
    remove(path);
    tear_down(&t);
}

static void test_foreign_files(void **state) {
    (void)state;
    trained t;
    char *content, *large;
    size_t bytes;
    set_up(&t);
    make_checkpoint(&t, &content, &bytes);
    expect_refused("hello", 5, "no checkpoint");
    expect_refused("", 0, "no checkpoint");
    assert_int_equal(deft_allocate_zeroed(t.ctx, 1, 3 << 20, &large), DEFT_OK);
    memcpy(large, content, bytes);
    expect_refused(large, bytes + 100, "truncated or has grown");
    expect_refused(large, 3 << 20, "larger");
    deft_release(t.ctx, large);
    deft_release(t.ctx, content);
    remove(path);
    tear_down(&t);
}

/* Changes one thing of a run. */
typedef void (*change)(trained *t, deft_train_options *options);

static void change_epochs(trained *t, deft_train_options *options) {
    (void)t;
    options->epochs++;
}
static void change_batch(trained *t, deft_train_options *options) {
    (void)t;
    options->batch = 25;
}
static void change_rate(trained *t, deft_train_options *options) {
    (void)t;
    options->learning_rate = 0.01f;
}
static void change_decay(trained *t, deft_train_options *options) {
    (void)t;
    options->optimizer.weight_decay = 0;
}
static void change_norm(trained *t, deft_train_options *options) {
    (void)t;
    options->optimizer.max_gradient_norm = 2;
}
static void change_kind(trained *t, deft_train_options *options) {
    (void)t;
    options->optimizer.kind = DEFT_OPTIMIZER_NESTEROV;
}
static void change_average(trained *t, deft_train_options *options) {
    (void)t;
    options->optimizer.average = 0.5f;
}
static void change_schedule(trained *t, deft_train_options *options) {
    (void)t;
    options->schedule = DEFT_SCHEDULE_CONSTANT;
}
static void change_warmup(trained *t, deft_train_options *options) {
    (void)t;
    options->warmup_epochs = 0.5f;
}
static void change_smoothing(trained *t, deft_train_options *options) {
    (void)t;
    options->label_smoothing = 0;
}
static void change_loss(trained *t, deft_train_options *options) {
    (void)t;
    options->loss = DEFT_LOSS_SQUARED_ERROR;
}
static void change_zeros(trained *t, deft_train_options *options) {
    (void)t;
    options->keep_zeros = false;
}
static void change_teacher(trained *t, deft_train_options *options) {
    options->teacher = t->graph;
}
static void change_seed(trained *t, deft_train_options *options) {
    (void)options;
    t->ctx->seed++;
}
static void change_data(trained *t, deft_train_options *options) {
    (void)options;
    t->data->spec[0] = 'M';
}
static void change_count(trained *t, deft_train_options *options) {
    (void)options;
    t->data->split[DEFT_TRAIN].count--;
}
static void change_node(trained *t, deft_train_options *options) {
    (void)options;
    t->graph->nodes[2].op = DEFT_OP_TANH;
}
static void change_weight(trained *t, deft_train_options *options) {
    (void)options;
    ((float *)constant_of(t->graph, "b2")->data)[0] += 1;
}

static void test_other_runs(void **state) {
    (void)state;
    static const change changes[] = {change_epochs, change_batch,   change_rate,     change_decay,  change_norm,
                                     change_kind,   change_average, change_schedule, change_warmup, change_smoothing,
                                     change_loss,   change_zeros,   change_teacher,  change_seed,   change_data,
                                     change_count,  change_node,    change_weight};
    trained t;
    char *content;
    size_t bytes;
    set_up(&t);
    make_checkpoint(&t, &content, &bytes);
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        trained other;
        set_up(&other);
        deft_train_options options = options_with(&other, path);
        changes[i](&other, &options);
        assert_int_equal(deft_train(other.ctx, other.graph, other.data, &options), DEFT_INVALID);
        const char *part = changes[i] == change_weight ? "began with other weights" : "another model, data";
        const char *message = deft_context_message(other.ctx);
        if (!strstr(message, path) || !strstr(message, part)) fail_msg("change %zu: %s", i, message);
        tear_down(&other);
    }
    deft_release(t.ctx, content);
    remove(path);
    tear_down(&t);
}

/* A run that never finished an epoch, as when its learning rate was too high, leaves nothing that another could lose.
 */
static void test_nothing_is_lost_of_a_run_that_only_began(void **state) {
    (void)state;
    trained began, other, whole;
    set_up(&began);
    set_up(&other);
    set_up(&whole);
    remove(path);
    assert_int_equal(train_until(&began, 0, path), DEFT_CANCELLED);
    assert_int_equal(access(path, F_OK), 0);
    deft_train_options options = options_with(&other, path);
    options.learning_rate = 0.01f;
    assert_int_equal(deft_train(other.ctx, other.graph, other.data, &options), DEFT_OK);
    options.checkpoint = NULL;
    assert_int_equal(deft_train(whole.ctx, whole.graph, whole.data, &options), DEFT_OK);
    assert_true(same_constants(other.graph, whole.graph));
    remove(path);
    tear_down(&whole);
    tear_down(&other);
    tear_down(&began);
}

/* What cannot be written is told before the first epoch, not after it. */
static void test_unwritable(void **state) {
    (void)state;
    trained t, untouched;
    set_up(&t);
    set_up(&untouched);
    assert_int_equal(train_until(&t, 2, "/dev/full"), DEFT_IO);
    assert_non_null(strstr(deft_context_message(t.ctx), "/dev/full"));
    assert_int_equal(train_until(&t, 2, "no/such/folder/x.checkpoint"), DEFT_IO);
    assert_int_equal(train_until(&t, 2, "."), DEFT_INVALID);
    assert_true(same_constants(t.graph, untouched.graph));
    tear_down(&untouched);
    tear_down(&t);
}

static deft_status train_with_checkpoint(deft_context *ctx, void *user) {
    trained *t = user;
    remove(path);
    deft_train_options options = options_with(t, path);
    options.epochs = 1;
    DEFT_TRY(deft_train(ctx, t->graph, t->data, &options));
    return deft_train(ctx, t->graph, t->data, &options);
}

static void test_out_of_memory(void **state) {
    (void)state;
    trained t;
    set_up(&t);
    check_every_allocation_failure(train_with_checkpoint, &t);
    remove(path);
    tear_down(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resumed_is_uninterrupted),
        cmocka_unit_test(test_a_finished_run_is_not_run_again),
        cmocka_unit_test(test_damaged_files),
        cmocka_unit_test(test_foreign_files),
        cmocka_unit_test(test_other_runs),
        cmocka_unit_test(test_nothing_is_lost_of_a_run_that_only_began),
        cmocka_unit_test(test_unwritable),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

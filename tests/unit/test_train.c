/* Training: steps against the rule worked out by hand, what stays as it is, and every way to refuse. */
#include "tests/unit/samples.h"

#include <math.h>

#include "learn/approx/prune.h"
#include "learn/train/train.h"

/* ---- helpers ------------------------------------------------------------------------------------------------- */

typedef struct log_of_epochs {
    deft_epoch epochs[64];
    int count;
} log_of_epochs;

static deft_status remember(void *user, const deft_epoch *epoch) {
    log_of_epochs *log = user;
    assert_true(log->count < 64);
    log->epochs[log->count++] = *epoch;
    return DEFT_OK;
}

static const int64_t six[] = {6};

static deft_dataset *three_classes(deft_context *ctx) {
    return make_samples(ctx, 1, six, 3, COUNTS(200, 60, 60));
}

static deft_context *context_of(int threads, uint64_t seed) {
    deft_context *ctx = NULL;
    deft_context_options options = {.cache_directory = "", .threads = threads, .seed = seed};
    assert_int_equal(deft_context_new(&options, &ctx), DEFT_OK);
    return ctx;
}

static void copy_constants(const deft_graph *from, deft_graph *to) {
    for (int i = 0; i < to->value_count; i++) {
        deft_tensor *tensor = &to->values[i].desc;
        if (tensor->data) memcpy(tensor->data, constant_of(from, to->values[i].name)->data, deft_tensor_bytes(tensor));
    }
}

/* ---- learning ------------------------------------------------------------------------------------------------ */

static void test_learns(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_dataset *data = three_classes(ctx);
    deft_graph *graph = two_layers(ctx, -1, false);
    log_of_epochs log = {.count = 0};
    deft_train_options options = {.epochs = 8, .batch = 16, .on_epoch = remember, .user = &log};
    assert_int_equal(deft_train(ctx, graph, data, &options), DEFT_OK);
    assert_int_equal(log.count, 8);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(log.epochs[i].epoch, i + 1);
        assert_int_equal(log.epochs[i].epochs, 8);
        assert_true(log.epochs[i].images_per_second > 0 && log.epochs[i].seconds > 0);
        double rate = i < 4 ? 0.05 : i < 6 ? 0.005 : 0.0005;
        assert_true(fabs(log.epochs[i].learning_rate - rate) < 1e-6 * rate);
    }
    assert_true(log.epochs[7].loss < 0.3 * log.epochs[0].loss);
    deft_quality quality;
    assert_int_equal(deft_evaluate(ctx, graph, NULL, data, DEFT_VALIDATION, &quality), DEFT_OK);
    assert_true(quality.accuracy > 0.95);
    assert_true(quality.accuracy == log.epochs[7].accuracy);
    deft_graph_free(graph);
    deft_dataset_free(data);
    test_context_free(ctx);
}

static void test_same_seed_same_weights(void **state) {
    (void)state;
    deft_graph *trained[3];
    deft_context *contexts[3];
    for (int i = 0; i < 3; i++) {
        contexts[i] = context_of(2, i < 2 ? 1 : 2);
        deft_dataset *data = three_classes(contexts[i]);
        trained[i] = two_layers(contexts[i], -1, false);
        assert_int_equal(deft_train(contexts[i], trained[i], data, &(deft_train_options){.epochs = 2}), DEFT_OK);
        deft_dataset_free(data);
    }
    assert_true(same_constants(trained[0], trained[1]));
    assert_false(same_constants(trained[0], trained[2]));
    for (int i = 0; i < 3; i++) {
        deft_graph_free(trained[i]);
        test_context_free(contexts[i]);
    }
}

/* ---- the rule, by hand --------------------------------------------------------------------------------------- */

enum { ROWS = 8, FEATURES = 6, CLASSES = 3 };

static deft_graph *one_layer(deft_context *ctx) {
    deft_graph *graph = new_graph(ctx);
    add_graph_input(graph, "x", DIMS(-1, FEATURES));
    add_weight(graph, "w", DIMS(FEATURES, CLASSES), 0.3);
    add_weight(graph, "b", DIMS(CLASSES), 1);
    NODE(graph, GEMM, "y", "x", "w", "b");
    finish_graph(graph, "y");
    assert_int_equal(deft_graph_infer(graph, 1, NULL, 0), DEFT_OK);
    return graph;
}

/* A linear model and its momentum in f64: the last row is the bias. */
typedef struct by_hand {
    double w[FEATURES + 1][CLASSES], v[FEATURES + 1][CLASSES];
    bool kept[FEATURES + 1][CLASSES];
} by_hand;

static by_hand start_by_hand(const deft_graph *graph, bool keep_zeros) {
    by_hand h = {0};
    const float *w = constant_of(graph, "w")->data, *b = constant_of(graph, "b")->data;
    for (int j = 0; j <= FEATURES; j++)
        for (int c = 0; c < CLASSES; c++) {
            h.w[j][c] = (double)(j < FEATURES ? w[j * CLASSES + c] : b[c]);
            h.kept[j][c] = !keep_zeros || j == FEATURES || h.w[j][c] != 0;
        }
    return h;
}

static double feature(const deft_dataset *data, int row, int j) {
    return j == FEATURES ? 1 : (double)samples_of(data, DEFT_TRAIN)[row * FEATURES + j];
}

static void softmax_by_hand(const double *y, double *p) {
    double sum = 0;
    for (int c = 0; c < CLASSES; c++)
        sum += p[c] = exp(y[c]);
    for (int c = 0; c < CLASSES; c++)
        p[c] /= sum;
}

static void outputs_by_hand(const by_hand *h, const deft_dataset *data, int row, double *y) {
    for (int c = 0; c < CLASSES; c++) {
        y[c] = 0;
        for (int j = 0; j <= FEATURES; j++)
            y[c] += feature(data, row, j) * h->w[j][c];
    }
}

/* One step on all rows; returns the loss before it. */
static double step_by_hand(by_hand *h, const deft_dataset *data, double targets[ROWS][CLASSES], double rate,
                           double momentum, double decay, double max_norm) {
    double g[FEATURES + 1][CLASSES] = {{0}}, loss = 0;
    for (int row = 0; row < ROWS; row++) {
        double y[CLASSES], p[CLASSES];
        outputs_by_hand(h, data, row, y);
        softmax_by_hand(y, p);
        for (int c = 0; c < CLASSES; c++) {
            loss -= targets[row][c] * log(p[c]) / ROWS;
            for (int j = 0; j <= FEATURES; j++)
                g[j][c] += feature(data, row, j) * (p[c] - targets[row][c]) / ROWS;
        }
    }
    double squares = 0;
    for (int j = 0; j <= FEATURES; j++)
        for (int c = 0; c < CLASSES; c++)
            squares += h->kept[j][c] ? g[j][c] * g[j][c] : 0;
    double scale = fmin(1, max_norm / sqrt(squares));
    for (int j = 0; j <= FEATURES; j++)
        for (int c = 0; c < CLASSES; c++) {
            if (!h->kept[j][c]) continue;
            h->v[j][c] = momentum * h->v[j][c] + scale * g[j][c] + (j < FEATURES ? decay * h->w[j][c] : 0);
            h->w[j][c] -= rate * h->v[j][c];
        }
    return loss;
}

static double distance(const by_hand *h, const deft_graph *graph) {
    by_hand trained = start_by_hand(graph, false);
    double largest = 0;
    for (int j = 0; j <= FEATURES; j++)
        for (int c = 0; c < CLASSES; c++)
            largest = fmax(largest, fabs(trained.w[j][c] - h->w[j][c]));
    return largest;
}

/* Batches of all samples, so that their order does not matter. */
static void check_by_hand(const deft_train_options *given, double targets[ROWS][CLASSES], deft_context *ctx,
                          const deft_dataset *data, deft_graph *graph) {
    log_of_epochs log = {.count = 0};
    deft_train_options options = *given;
    options.on_epoch = remember;
    options.user = &log;
    by_hand h = start_by_hand(graph, options.keep_zeros);
    double momentum = options.optimizer.momentum < 0 ? 0 : 0.9;
    double decay = options.optimizer.weight_decay < 0   ? 0
                   : options.optimizer.weight_decay > 0 ? (double)options.optimizer.weight_decay
                                                        : 5e-4;
    double max_norm = options.optimizer.max_gradient_norm > 0   ? (double)options.optimizer.max_gradient_norm
                      : options.optimizer.max_gradient_norm < 0 ? 1e9
                                                                : 1;
    assert_int_equal(deft_train(ctx, graph, data, &options), DEFT_OK);
    for (int epoch = 0; epoch < options.epochs; epoch++) {
        double rate = (double)options.learning_rate * pow(0.5, epoch / 2);
        double loss = step_by_hand(&h, data, targets, rate, momentum, decay, max_norm);
        assert_true(fabs(log.epochs[epoch].loss - loss) < 1e-5);
    }
    assert_true(distance(&h, graph) < 1e-5);
    h.w[0][0] += 1e-3;
    assert_true(distance(&h, graph) > 1e-4); /* the checker sees a wrong weight */
}

static void one_hot(const deft_dataset *data, double share, double targets[ROWS][CLASSES]) {
    for (int row = 0; row < ROWS; row++)
        targets[row][data->split[DEFT_TRAIN].y[row]] += share;
}

static void test_steps_by_hand(void **state) {
    (void)state;
    static const struct {
        float momentum, decay, max_norm;
        bool keep_zeros;
    } cases[] = {{-1, -1, 0, false},        {0, 0, -1, false},        {0.9f, 0.1f, 0, false},
                 {0.9f, 0.1f, 0.1f, false}, {0.9f, 0.1f, 0.1f, true}, {0.9f, 0.1f, 0, true}};
    deft_context *ctx = test_context();
    deft_dataset *data = make_samples(ctx, 1, six, CLASSES, COUNTS(ROWS, 4, 4));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        deft_graph *graph = one_layer(ctx);
        double targets[ROWS][CLASSES] = {{0}};
        one_hot(data, 1, targets);
        deft_train_options options = {.epochs = 6,
                                      .batch = 100, /* more than there are: all of them */
                                      .learning_rate = 0.1f,
                                      .optimizer = {.momentum = cases[i].momentum,
                                                    .weight_decay = cases[i].decay,
                                                    .max_gradient_norm = cases[i].max_norm},
                                      .step_factor = 0.5f,
                                      .step_epochs = 2,
                                      .keep_zeros = cases[i].keep_zeros};
        check_by_hand(&options, targets, ctx, data, graph);
        deft_graph_free(graph);
    }
    deft_dataset_free(data);
    test_context_free(ctx);
}

/* A label's weight, in part shared by all classes. */
static void test_smoothing_by_hand(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_dataset *data = make_samples(ctx, 1, six, CLASSES, COUNTS(ROWS, 4, 4));
    deft_graph *graph = one_layer(ctx);
    double targets[ROWS][CLASSES];
    for (int row = 0; row < ROWS; row++)
        for (int c = 0; c < CLASSES; c++)
            targets[row][c] = 0.3 / CLASSES;
    one_hot(data, 0.7, targets);
    deft_train_options options = {.epochs = 6,
                                  .batch = ROWS,
                                  .learning_rate = 0.1f,
                                  .step_factor = 0.5f,
                                  .step_epochs = 2,
                                  .label_smoothing = 0.3f};
    check_by_hand(&options, targets, ctx, data, graph);
    deft_graph_free(graph);
    deft_dataset_free(data);
    test_context_free(ctx);
}

/* With labels the teacher's softmax is half of the target; without, all of it. */
static void test_teacher_by_hand(void **state) {
    (void)state;
    for (int labelled = 0; labelled < 2; labelled++) {
        deft_context *ctx = test_context();
        deft_dataset *data = make_samples(ctx, 1, six, CLASSES, COUNTS(ROWS, 4, 4));
        deft_graph *graph = one_layer(ctx), *teacher = one_layer(ctx);
        float *weights = constant_of(teacher, "w")->data;
        for (int i = 0; i < FEATURES * CLASSES; i++)
            weights[i] = 0.1f * (float)(i % 7 - 3);
        by_hand h = start_by_hand(teacher, false);
        double targets[ROWS][CLASSES];
        for (int row = 0; row < ROWS; row++) {
            double y[CLASSES];
            outputs_by_hand(&h, data, row, y);
            softmax_by_hand(y, targets[row]);
            for (int c = 0; c < CLASSES; c++)
                targets[row][c] *= labelled ? 0.5 : 1;
        }
        if (labelled) {
            one_hot(data, 0.5, targets);
        } else { /* outputs that are no classes would be compared by squared error */
            for (int split = 0; split < DEFT_SPLITS; split++)
                data->split[split].y = NULL;
            data->classes = 0;
            NODE(graph, SOFTMAX, "p", "y");
            graph->outputs[0] = deft_graph_find(graph, "p");
            assert_int_equal(deft_graph_infer(graph, 1, NULL, 0), DEFT_OK);
        }
        deft_train_options options = {.epochs = 4,
                                      .batch = ROWS,
                                      .learning_rate = 0.1f,
                                      .step_factor = 0.5f,
                                      .step_epochs = 2,
                                      .teacher = teacher};
        check_by_hand(&options, targets, ctx, data, graph);
        deft_graph_free(teacher);
        deft_graph_free(graph);
        deft_dataset_free(data);
        test_context_free(ctx);
    }
}

/* ---- distillation -------------------------------------------------------------------------------------------- */

static void test_follows_a_teacher_without_labels(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_dataset *data = make_samples(ctx, 1, six, 0, COUNTS(300, 100, 100));
    for (int softmax = 0; softmax < 2; softmax++) {
        deft_graph *graph = two_layers(ctx, -1, softmax), *teacher = two_layers(ctx, -1, softmax);
        log_of_epochs log = {.count = 0};
        deft_train_options options = {
            .epochs = 20, .batch = 10, .teacher = teacher, .on_epoch = remember, .user = &log};
        assert_int_equal(deft_prune_magnitude(ctx, graph, 0.5), DEFT_OK);
        deft_quality before, after;
        assert_int_equal(deft_evaluate(ctx, graph, teacher, data, DEFT_VALIDATION, &before), DEFT_OK);
        assert_int_equal(deft_train(ctx, graph, data, &options), DEFT_OK);
        assert_int_equal(deft_evaluate(ctx, graph, teacher, data, DEFT_VALIDATION, &after), DEFT_OK);
        assert_true(after.relative_error < 0.75 * before.relative_error);
        assert_true(after.agreement >= before.agreement);
        assert_true(log.epochs[19].accuracy == after.agreement);
        deft_graph_free(teacher);
        deft_graph_free(graph);
    }
    deft_dataset_free(data);
    test_context_free(ctx);
}

/* One number for a sample: squared error, and the accuracy reported is 1 - the relative error. */
static void test_regression(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_dataset *data = make_samples(ctx, 1, six, 0, COUNTS(300, 100, 100));
    deft_graph *teacher = new_graph(ctx), *graph;
    add_graph_input(teacher, "x", DIMS(-1, 6));
    add_weight(teacher, "w", DIMS(6, 1), 0);
    add_weight(teacher, "b", DIMS(1), 0);
    NODE(teacher, MATMUL, "m", "x", "w");
    NODE(teacher, ADD, "y", "m", "b");
    finish_graph(teacher, "y");
    assert_int_equal(deft_graph_clone(ctx, teacher, &graph), DEFT_OK);
    static const deft_loss losses[] = {DEFT_LOSS_DEFAULT, DEFT_LOSS_SQUARED_ERROR, DEFT_LOSS_PERCENTAGE_ERROR};
    double squared_error = 0;
    ((float *)constant_of(teacher, "b")->data)[0] = 3; /* no output near 0 */
    for (int i = 0; i < 3; i++) {
        memset(constant_of(graph, "w")->data, 0, 6 * sizeof(float));
        memset(constant_of(graph, "b")->data, 0, sizeof(float));
        log_of_epochs log = {.count = 0};
        deft_train_options options = {.epochs = 30,
                                      .batch = 10,
                                      .optimizer = {.weight_decay = -1},
                                      .loss = losses[i],
                                      .teacher = teacher,
                                      .on_epoch = remember,
                                      .user = &log};
        assert_int_equal(deft_train(ctx, graph, data, &options), DEFT_OK);
        assert_true(log.epochs[29].accuracy > 0.99 && log.epochs[29].accuracy <= 1);
        assert_true(log.epochs[29].loss < (i < 2 ? 1e-4 : 1e-2));
        assert_true(i != 1 || log.epochs[29].loss == squared_error);
        assert_true(i != 2 || log.epochs[29].loss > 2 * squared_error);
        squared_error = log.epochs[29].loss;
    }
    deft_graph_free(graph);
    deft_graph_free(teacher);
    deft_dataset_free(data);
    test_context_free(ctx);
}

/* ---- graphs -------------------------------------------------------------------------------------------------- */

/* A Softmax at the end, and nodes that training does not need, change nothing. */
static void test_softmax_is_taken_into_the_loss(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_dataset *data = three_classes(ctx);
    deft_graph *plain = two_layers(ctx, -1, false), *softmax = two_layers(ctx, -1, true);
    copy_constants(plain, softmax);
    NODE(softmax, IDENTITY, "i", "p");
    softmax->outputs[0] = deft_graph_find(softmax, "i");
    NODE(softmax, SIGMOID, "other", "r");
    assert_int_equal(deft_graph_add_output(softmax, deft_graph_find(softmax, "other")), DEFT_OK);
    deft_train_options options = {.epochs = 2};
    assert_int_equal(deft_train(ctx, plain, data, &options), DEFT_OK);
    assert_int_equal(deft_train(ctx, softmax, data, &options), DEFT_OK);
    assert_int_equal(softmax->output_count, 2);
    assert_true(same_constants(plain, softmax));
    deft_graph_free(softmax);
    deft_graph_free(plain);
    deft_dataset_free(data);
    test_context_free(ctx);
}

static void test_fixed_batch(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_dataset *data = three_classes(ctx);
    deft_graph *any = two_layers(ctx, -1, false), *fixed = two_layers(ctx, 20, false);
    assert_int_equal(deft_train(ctx, any, data, &(deft_train_options){.epochs = 2, .batch = 20}), DEFT_OK);
    assert_int_equal(deft_train(ctx, fixed, data, &(deft_train_options){.epochs = 2}), DEFT_OK);
    assert_true(same_constants(any, fixed));
    deft_graph_free(fixed);
    deft_graph_free(any);
    deft_dataset_free(data);
    test_context_free(ctx);
}

/* x * scale + shift -> Conv -> BatchNormalization -> Relu -> mean -> Gemm */
static deft_graph *picture_model(deft_context *ctx) {
    deft_graph *graph = new_graph(ctx);
    add_graph_input(graph, "x", DIMS(-1, 2, 5, 5));
    add_weight(graph, "scale", DIMS(1, 2, 1, 1), 0);
    add_weight(graph, "shift", DIMS(1), 0);
    add_weight(graph, "w", DIMS(4, 2, 3, 3), 0);
    static const char *const names[] = {"gamma", "beta", "mean", "var"};
    for (int i = 0; i < 4; i++) {
        add_weight(graph, names[i], DIMS(4), 1);
        for (int c = 0; c < 4; c++)
            ((float *)constant_of(graph, names[i])->data)[c] = i == 0 || i == 3 ? 1 : 0;
    }
    add_weight(graph, "w2", DIMS(4, 3), 0);
    NODE(graph, MUL, "s", "x", "scale");
    NODE(graph, ADD, "t", "s", "shift");
    NODE(graph, CONV, "c", "t", "w");
    NODE(graph, BATCH_NORM, "n", "c", "gamma", "beta", "mean", "var");
    NODE(graph, RELU, "r", "n");
    NODE(graph, GLOBAL_AVERAGE_POOL, "p", "r");
    NODE(graph, FLATTEN, "f", "p");
    NODE(graph, GEMM, "y", "f", "w2");
    finish_graph(graph, "y");
    assert_int_equal(deft_graph_infer(graph, 1, NULL, 0), DEFT_OK);
    return graph;
}

/* Running statistics follow the batches; what prepares the input stays. */
static void test_batch_norm_and_preprocessing(void **state) {
    (void)state;
    static const char *const changed[] = {"w", "gamma", "beta", "mean", "var", "w2"};
    deft_context *ctx = test_context();
    deft_dataset *data = make_samples(ctx, 3, (int64_t[]){2, 5, 5}, 3, COUNTS(200, 60, 60));
    deft_graph *before = picture_model(ctx), *graph = picture_model(ctx);
    log_of_epochs log = {.count = 0};
    deft_train_options options = {.epochs = 4, .batch = 20, .on_epoch = remember, .user = &log};
    assert_int_equal(deft_train(ctx, graph, data, &options), DEFT_OK);
    assert_true(log.epochs[3].loss < log.epochs[0].loss);
    for (size_t i = 0; i < sizeof changed / sizeof *changed; i++)
        assert_false(deft_tensor_equal(constant_of(before, changed[i]), constant_of(graph, changed[i])));
    assert_true(deft_tensor_equal(constant_of(before, "scale"), constant_of(graph, "scale")));
    assert_true(deft_tensor_equal(constant_of(before, "shift"), constant_of(graph, "shift")));
    assert_int_equal(graph->nodes[3].op, DEFT_OP_BATCH_NORM);
    for (int c = 0; c < 4; c++)
        assert_true(((float *)constant_of(graph, "var")->data)[c] > 0);
    deft_graph_free(graph);
    deft_graph_free(before);
    deft_dataset_free(data);
    test_context_free(ctx);
}

static void test_zeros_stay(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_dataset *data = three_classes(ctx);
    deft_graph *pruned = two_layers(ctx, -1, false), *graph;
    assert_int_equal(deft_prune_magnitude(ctx, pruned, 0.7), DEFT_OK);
    for (int keep = 0; keep < 2; keep++) {
        assert_int_equal(deft_graph_clone(ctx, pruned, &graph), DEFT_OK);
        deft_train_options options = {.epochs = 3, .optimizer = {.weight_decay = 0.01f}, .keep_zeros = keep};
        assert_int_equal(deft_train(ctx, graph, data, &options), DEFT_OK);
        static const char *const names[] = {"w1", "w2"};
        int64_t revived = 0, moved = 0;
        for (int n = 0; n < 2; n++) {
            const float *old = constant_of(pruned, names[n])->data, *new = constant_of(graph, names[n])->data;
            for (int64_t i = 0; i < deft_tensor_count(constant_of(graph, names[n])); i++) {
                revived += old[i] == 0 && new[i] != 0;
                moved += old[i] != 0 && new[i] != old[i];
            }
        }
        assert_true(moved > 20);
        assert_true(keep ? revived == 0 : revived > 50);
        /* biases begin at zero, and are no weights */
        assert_false(deft_tensor_equal(constant_of(pruned, "b2"), constant_of(graph, "b2")));
        deft_graph_free(graph);
    }
    deft_graph_free(pruned);
    deft_dataset_free(data);
    test_context_free(ctx);
}

/* ---- stopping ------------------------------------------------------------------------------------------------ */

typedef struct brake {
    double stop_at; /* share of the training done */
    int calls;
} brake;

static bool report_progress(void *user, const char *what, double done) {
    brake *b = user;
    assert_true(what[0] && done >= 0 && done <= 1);
    b->calls++;
    return strcmp(what, "training") != 0 || done < b->stop_at;
}

/* Stopped in the third epoch, the graph is as it was after the second. */
static void test_cancelled_keeps_whole_epochs(void **state) {
    (void)state;
    deft_graph *stopped[2];
    deft_context *contexts[2];
    for (int i = 0; i < 2; i++) {
        brake b = {.stop_at = i == 0 ? 0.5 : 0.6};
        deft_context_options options = {.cache_directory = "", .threads = 1, .progress = report_progress, .user = &b};
        assert_int_equal(deft_context_new(&options, &contexts[i]), DEFT_OK);
        deft_dataset *data = three_classes(contexts[i]);
        stopped[i] = two_layers(contexts[i], -1, false);
        assert_int_equal(deft_train(contexts[i], stopped[i], data, &(deft_train_options){.epochs = 4, .batch = 10}),
                         DEFT_CANCELLED);
        assert_true(b.calls >= 40);
        deft_dataset_free(data);
    }
    assert_true(same_constants(stopped[0], stopped[1]));
    for (int i = 0; i < 2; i++) {
        deft_graph_free(stopped[i]);
        test_context_free(contexts[i]);
    }
}

static void test_divergence_is_told(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_dataset *data = three_classes(ctx);
    deft_graph *before = two_layers(ctx, -1, false), *graph = two_layers(ctx, -1, false);
    deft_train_options options = {.epochs = 3, .batch = 10, .learning_rate = 1e30f};
    assert_int_equal(deft_train(ctx, graph, data, &options), DEFT_INVALID);
    assert_non_null(strstr(deft_context_message(ctx), "the learning rate 1e+30 may be too high"));
    assert_true(same_constants(before, graph));
    ((float *)constant_of(graph, "w1")->data)[3] = NAN;
    assert_int_equal(deft_train(ctx, graph, data, NULL), DEFT_INVALID);
    assert_non_null(strstr(deft_context_message(ctx), "epoch 1, step 1"));
    deft_graph_free(graph);
    deft_graph_free(before);
    deft_dataset_free(data);
    test_context_free(ctx);
}

/* Puts a NaN among the training samples once an epoch is done. */
static deft_status spoil(void *user, const deft_epoch *epoch) {
    deft_dataset *data = user;
    if (epoch->epoch == 2) samples_of(data, DEFT_TRAIN)[77] = NAN;
    return DEFT_OK;
}

/* A loss that is not finite in the third epoch leaves the model, and the checkpoint, of the second. */
static void test_divergence_keeps_the_checkpoint(void **state) {
    (void)state;
    static const char path[] = "diverged.checkpoint";
    deft_context *ctx = test_context();
    deft_dataset *data = three_classes(ctx), *spoilt = three_classes(ctx);
    deft_graph *whole = two_layers(ctx, -1, false), *graph = two_layers(ctx, -1, false);
    deft_train_options options = {.epochs = 4, .batch = 10, .optimizer = {.kind = DEFT_OPTIMIZER_ADAM}};
    assert_int_equal(deft_train(ctx, whole, data, &options), DEFT_OK);
    options.checkpoint = path;
    options.on_epoch = spoil;
    options.user = spoilt;
    remove(path);
    assert_int_equal(deft_train(ctx, graph, spoilt, &options), DEFT_INVALID);
    assert_non_null(strstr(deft_context_message(ctx), "epoch 3, step "));
    assert_non_null(strstr(deft_context_message(ctx), "the model is as it was after epoch 2"));
    assert_false(same_constants(graph, whole));
    options.on_epoch = NULL;
    assert_int_equal(deft_train(ctx, graph, data, &options), DEFT_OK); /* goes on from the second */
    assert_true(same_constants(graph, whole));
    remove(path);
    deft_graph_free(graph);
    deft_graph_free(whole);
    deft_dataset_free(spoilt);
    deft_dataset_free(data);
    test_context_free(ctx);
}

/* ---- numbers to learn ---------------------------------------------------------------------------------------- */

/* Samples whose two targets are linear in them. */
static deft_dataset *linear_targets(deft_context *ctx) {
    deft_dataset *data = make_samples(ctx, 1, six, 0, COUNTS(300, 100, 100));
    data->target_count = 2;
    for (int split = 0; split < DEFT_SPLITS; split++) {
        float *targets;
        int64_t count = data->split[split].count;
        const float *x = samples_of(data, (deft_split)split);
        assert_int_equal(deft_arena_array(&data->arena, (size_t)(2 * count), sizeof *targets, &targets), DEFT_OK);
        for (int64_t i = 0; i < count; i++) {
            targets[2 * i] = x[6 * i] - 2 * x[6 * i + 3] + 5;
            targets[2 * i + 1] = 0.5f * x[6 * i + 1] - 3;
        }
        data->split[split].targets = targets;
    }
    return data;
}

static deft_graph *linear_model(deft_context *ctx, int64_t outputs) {
    deft_graph *graph = new_graph(ctx);
    add_graph_input(graph, "x", DIMS(-1, 6));
    add_weight(graph, "w", DIMS(6, outputs), 0);
    add_weight(graph, "b", DIMS(outputs), 0);
    NODE(graph, GEMM, "y", "x", "w", "b");
    finish_graph(graph, "y");
    assert_int_equal(deft_graph_infer(graph, 1, NULL, 0), DEFT_OK);
    return graph;
}

static void test_targets(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_dataset *data = linear_targets(ctx);
    static const deft_loss losses[] = {DEFT_LOSS_DEFAULT, DEFT_LOSS_SQUARED_ERROR, DEFT_LOSS_PERCENTAGE_ERROR};
    for (int i = 0; i < 3; i++) {
        deft_graph *graph = linear_model(ctx, 2);
        log_of_epochs log = {.count = 0};
        deft_quality before, after;
        const deft_train_options options = {.epochs = 30,
                                            .batch = 10,
                                            .loss = losses[i],
                                            .optimizer = {.weight_decay = -1},
                                            .on_epoch = remember,
                                            .user = &log};
        assert_int_equal(deft_evaluate(ctx, graph, NULL, data, DEFT_VALIDATION, &before), DEFT_OK);
        assert_int_equal(deft_train(ctx, graph, data, &options), DEFT_OK);
        assert_int_equal(deft_evaluate(ctx, graph, NULL, data, DEFT_VALIDATION, &after), DEFT_OK);
        assert_true(before.target_error > 0.8 && after.target_error < 0.02);
        assert_true(before.percentage_error > 0.8 && after.percentage_error < 0.02);
        assert_true(isnan(after.accuracy) && isnan(after.agreement) && isnan(after.loss));
        assert_true(log.epochs[29].accuracy == 1 - after.target_error);
        deft_graph_free(graph);
    }
    deft_dataset_free(data);
    test_context_free(ctx);
}

/* Half of what is followed is the teacher, which says 0; the targets are the other half. */
static void test_targets_and_a_teacher(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_dataset *data = linear_targets(ctx);
    deft_graph *graph = linear_model(ctx, 2), *teacher = linear_model(ctx, 2);
    for (int i = 0; i < 2; i++) {
        const deft_tensor *constant = constant_of(teacher, i ? "w" : "b");
        memset(constant->data, 0, deft_tensor_bytes(constant));
    }
    const deft_train_options options = {
        .epochs = 30, .batch = 10, .teacher = teacher, .optimizer = {.weight_decay = -1}};
    assert_int_equal(deft_train(ctx, graph, data, &options), DEFT_OK);
    const float *w = constant_of(graph, "w")->data, *b = constant_of(graph, "b")->data;
    assert_true(fabsf(w[2 * 3] + 1) < 0.02f && fabsf(w[0] - 0.5f) < 0.02f && fabsf(b[0] - 2.5f) < 0.02f);
    deft_graph *narrow = linear_model(ctx, 1);
    deft_quality quality;
    assert_int_equal(deft_train(ctx, narrow, data, &(deft_train_options){.epochs = 1}), DEFT_INVALID);
    assert_non_null(strstr(deft_context_message(ctx), "2 targets for each sample"));
    assert_int_equal(deft_evaluate(ctx, narrow, NULL, data, DEFT_TEST, &quality), DEFT_INVALID);
    deft_graph_free(narrow);
    deft_graph_free(teacher);
    deft_graph_free(graph);
    deft_dataset_free(data);
    test_context_free(ctx);
}

/* ---- errors -------------------------------------------------------------------------------------------------- */

static void expect_refused(deft_context *ctx, deft_graph *graph, const deft_dataset *data, deft_train_options options,
                           deft_status status, const char *part) {
    assert_int_equal(deft_train(ctx, graph, data, &options), status);
    if (!strstr(deft_context_message(ctx), part)) fail_msg("message: %s", deft_context_message(ctx));
}

static void test_wrong_options(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_dataset *data = three_classes(ctx);
    deft_graph *graph = two_layers(ctx, -1, false);
    const deft_train_options wrong[] = {{.epochs = -1},           {.batch = -1},
                                        {.learning_rate = -0.1f}, {.learning_rate = NAN},
                                        {.warmup_epochs = -1},    {.warmup_epochs = 10},
                                        {.label_smoothing = 1},   {.step_factor = -0.5f},
                                        {.label_smoothing = NAN}, {.schedule = (deft_schedule_kind)3},
                                        {.loss = (deft_loss)4},   {.step_factor = NAN},
                                        {.step_epochs = -1},      {.learning_rate = INFINITY}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        expect_refused(ctx, graph, data, wrong[i], DEFT_INVALID, "training options");
    deft_graph_free(graph);
    deft_dataset_free(data);
    test_context_free(ctx);
}

static void test_wrong_models_and_data(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    const deft_train_options none = {0};
    deft_dataset *data = three_classes(ctx), *unlabelled = make_samples(ctx, 1, six, 0, COUNTS(9, 9, 9));
    deft_dataset *classes = make_samples(ctx, 1, six, 4, COUNTS(9, 9, 9));
    deft_dataset *wide = make_samples(ctx, 1, (int64_t[]){7}, 3, COUNTS(9, 9, 9));
    deft_dataset *empty = make_samples(ctx, 1, six, 3, COUNTS(0, 9, 9));
    deft_graph *graph = two_layers(ctx, -1, false), *fixed = two_layers(ctx, 10, false);
    expect_refused(ctx, graph, unlabelled, none, DEFT_INVALID, "no labels");
    expect_refused(ctx, graph, classes, none, DEFT_INVALID, "4 classes");
    expect_refused(ctx, graph, data, (deft_train_options){.loss = DEFT_LOSS_PERCENTAGE_ERROR}, DEFT_INVALID,
                   "percentage error");
    expect_refused(ctx, graph, wide, none, DEFT_INVALID, "a sample of made:samples is 7");
    expect_refused(ctx, graph, empty, none, DEFT_INVALID, "empty");
    expect_refused(ctx, fixed, classes, none, DEFT_INVALID, "4 classes");
    classes->classes = 3;
    expect_refused(ctx, fixed, classes, none, DEFT_INVALID, "fixed batch of 10");
    classes->classes = 4;

    deft_graph *teacher = one_layer(ctx);
    expect_refused(ctx, graph, wide, (deft_train_options){.teacher = teacher}, DEFT_INVALID, "is 7");
    deft_graph_free(teacher);

    deft_graph *weightless = new_graph(ctx);
    add_graph_input(weightless, "x", DIMS(-1, 6));
    NODE(weightless, RELU, "y", "x");
    finish_graph(weightless, "y");
    expect_refused(ctx, weightless, data, none, DEFT_INVALID, "nothing to train");
    deft_graph_free(weightless);

    deft_graph *no_gradient = new_graph(ctx);
    add_graph_input(no_gradient, "x", DIMS(-1, 6));
    add_weight(no_gradient, "w", DIMS(6, 3), 0);
    NODE(no_gradient, MATMUL, "m", "x", "w");
    NODE(no_gradient, HARDMAX, "y", "m");
    finish_graph(no_gradient, "y");
    expect_refused(ctx, no_gradient, data, none, DEFT_UNSUPPORTED, "Hardmax");
    deft_graph_free(no_gradient);

    deft_graph_free(fixed);
    deft_graph_free(graph);
    deft_dataset_free(empty);
    deft_dataset_free(wide);
    deft_dataset_free(classes);
    deft_dataset_free(unlabelled);
    deft_dataset_free(data);
    test_context_free(ctx);
}

typedef struct subject {
    deft_graph *graph, *teacher;
    deft_dataset *data;
} subject;

static deft_status train_subject(deft_context *ctx, void *user) {
    subject *s = user;
    deft_train_options options = {.epochs = 1, .batch = 20, .keep_zeros = true, .teacher = s->teacher};
    return deft_train(ctx, s->graph, s->data, &options);
}

static void test_out_of_memory(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    subject s = {picture_model(ctx), picture_model(ctx),
                 make_samples(ctx, 3, (int64_t[]){2, 5, 5}, 3, COUNTS(40, 10, 10))};
    check_every_allocation_failure(train_subject, &s);
    deft_graph_free(s.graph);
    deft_graph_free(s.teacher);
    deft_dataset_free(s.data);
    test_context_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_learns),
        cmocka_unit_test(test_same_seed_same_weights),
        cmocka_unit_test(test_steps_by_hand),
        cmocka_unit_test(test_smoothing_by_hand),
        cmocka_unit_test(test_teacher_by_hand),
        cmocka_unit_test(test_follows_a_teacher_without_labels),
        cmocka_unit_test(test_targets),
        cmocka_unit_test(test_targets_and_a_teacher),
        cmocka_unit_test(test_regression),
        cmocka_unit_test(test_softmax_is_taken_into_the_loss),
        cmocka_unit_test(test_fixed_batch),
        cmocka_unit_test(test_batch_norm_and_preprocessing),
        cmocka_unit_test(test_zeros_stay),
        cmocka_unit_test(test_cancelled_keeps_whole_epochs),
        cmocka_unit_test(test_divergence_is_told),
        cmocka_unit_test(test_divergence_keeps_the_checkpoint),
        cmocka_unit_test(test_wrong_options),
        cmocka_unit_test(test_wrong_models_and_data),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

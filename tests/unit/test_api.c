/* The public header, used as a user of the library would; only the models come from inside. */
#include "tests/support.h"

#include "ir/model/file.h"
#include "ir/model/onnx.h"
#include "ir/model/zoo.h"

#include <deft/deft.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char network[] = "mlp:20,16,5";

static void serialize(deft_context *ctx, const char *spec, void **data, size_t *bytes) {
    deft_graph *graph;
    assert_int_equal(deft_zoo_build(ctx, spec, &graph), DEFT_OK);
    assert_int_equal(deft_onnx_serialize(graph, data, bytes), DEFT_OK);
    deft_graph_free(graph);
}

static deft_model *load(deft_context *ctx, const char *spec) {
    void *data;
    size_t bytes;
    deft_model *model;
    serialize(ctx, spec, &data, &bytes);
    assert_int_equal(deft_model_load_memory(ctx, data, bytes, &model), DEFT_OK);
    deft_release(ctx, data);
    return model;
}

static deft_session *open_session(const deft_model *model, int64_t batch) {
    deft_session *session;
    assert_int_equal(deft_session_new(model, &(deft_session_options){.batch = batch}, &session), DEFT_OK);
    return session;
}

/* Fills the first input with a ramp, runs, and gives the first output. */
static deft_tensor run_ramp(deft_session *session) {
    deft_tensor input, output;
    assert_int_equal(deft_session_input(session, deft_session_input_name(session, 0), &input), DEFT_OK);
    int64_t count = input.dims[0] * input.dims[1];
    for (int64_t i = 0; i < count; i++)
        ((float *)input.data)[i] = (float)(i % 7) - 3;
    assert_int_equal(deft_session_run(session), DEFT_OK);
    assert_int_equal(deft_session_output(session, deft_session_output_name(session, 0), &output), DEFT_OK);
    return output;
}

static void test_a_model_runs_after_it_is_freed(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_model *model = load(ctx, network);
    deft_session *session = open_session(model, 3);
    deft_model_free(model);
    assert_int_equal(deft_session_input_count(session), 1);
    assert_int_equal(deft_session_output_count(session), 1);
    deft_tensor output = run_ramp(session);
    assert_int_equal(output.dtype, DEFT_F32);
    assert_int_equal(output.rank, 2);
    assert_int_equal(output.dims[0], 3);
    assert_int_equal(output.dims[1], 5);
    bool any = false;
    for (int i = 0; i < 15; i++) {
        assert_true(isfinite(((float *)output.data)[i]));
        any |= ((float *)output.data)[i] != 0;
    }
    assert_true(any);
    deft_session_free(session);
    test_context_free(ctx);
}

/* A session of a file computes what one of a model does, in less memory: there, weights are in memory as they are
 * stored and as the kernels want them. */
static void test_a_session_of_a_file(void **state) {
    (void)state;
    static const char spec[] = "mlp:512,1024,512,5";
    deft_context *ctx = test_context();
    deft_model *model = load(ctx, spec);
    assert_int_equal(deft_model_save(model, "session.onnx"), DEFT_OK);
    deft_session *expected = open_session(model, 64), *session;
    long long both = atomic_load(&ctx->live_bytes);
    assert_int_equal(deft_session_load(ctx, "session.onnx", &(deft_session_options){.batch = 64}, &session), DEFT_OK);
    long long alone = atomic_load(&ctx->live_bytes) - both, weights = 4 * (512 * 1024 * 2 + 512 * 5);
    bool packs = ctx->isa != DEFT_ISA_C;
    assert_true(alone <= both);
    if (packs) assert_true(both >= 2 * weights && alone < weights + weights / 2);
    deft_tensor y = run_ramp(session), z = run_ramp(expected);
    assert_memory_equal(y.data, z.data, 64 * 5 * sizeof(float));
    deft_session_free(session);
    deft_session_free(expected);
    deft_model_free(model);
    session = NULL;
    assert_int_equal(deft_session_load(ctx, "missing.onnx", NULL, &session), DEFT_INVALID);
    assert_int_equal(deft_session_load(ctx, "session.onnx", &(deft_session_options){.batch = -1}, &session),
                     DEFT_INVALID);
    deft_binding wrong = {"x", 2, {3, 7}};
    deft_session_options refused = {.bindings = &wrong, .binding_count = 1};
    assert_int_equal(deft_session_load(ctx, "session.onnx", &refused, &session), DEFT_INVALID);
    assert_non_null(strstr(deft_context_message(ctx), "session.onnx"));
    assert_null(session);
    unlink("session.onnx");
    test_context_free(ctx);
}

static deft_status load_session_and_run(deft_context *ctx, void *user) {
    deft_session *session;
    DEFT_TRY(deft_session_load(ctx, user, NULL, &session));
    deft_status status = deft_session_run(session);
    deft_session_free(session);
    return status;
}

static void test_a_session_of_a_file_may_run_out_of_memory(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_model *model = load(ctx, network);
    assert_int_equal(deft_model_save(model, "small.onnx"), DEFT_OK);
    deft_model_free(model);
    check_every_allocation_failure(load_session_and_run, "small.onnx");
    unlink("small.onnx");
    test_context_free(ctx);
}

static void test_a_run_allocates_nothing_and_keeps_its_tensors(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_model *model = load(ctx, network);
    deft_session *session = open_session(model, 64);
    deft_tensor first = run_ramp(session);
    long long before = atomic_load(&ctx->allocation_count);
    deft_tensor second = run_ramp(session);
    assert_int_equal(atomic_load(&ctx->allocation_count), before);
    assert_ptr_equal(first.data, second.data);
    deft_session_free(session);
    deft_model_free(model);
    test_context_free(ctx);
}

static void test_files_come_back_to_the_bit(void **state) {
    (void)state;
    static const char *const paths[] = {"api.onnx", "api.deft"};
    deft_context *ctx = test_context();
    deft_model *model = load(ctx, network);
    deft_session *session = open_session(model, 4);
    deft_tensor expected = run_ramp(session);
    for (int i = 0; i < 2; i++) {
        deft_model *again;
        assert_int_equal(deft_model_save(model, paths[i]), DEFT_OK);
        assert_int_equal(deft_model_load(ctx, paths[i], &again), DEFT_OK);
        deft_session *other = open_session(again, 4);
        deft_tensor output = run_ramp(other);
        assert_memory_equal(output.data, expected.data, 4 * 5 * sizeof(float));
        deft_session_free(other);
        deft_model_free(again);
        assert_int_equal(unlink(paths[i]), 0);
    }
    deft_session_free(session);
    deft_model_free(model);
    test_context_free(ctx);
}

static void test_names_out_of_range_are_null(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_model *model = load(ctx, network);
    deft_session *session = open_session(model, 0);
    assert_null(deft_session_input_name(session, -1));
    assert_null(deft_session_input_name(session, 1));
    assert_null(deft_session_output_name(session, 1));
    assert_non_null(deft_session_output_name(session, 0));
    deft_tensor tensor;
    assert_int_equal(deft_session_input(session, "nobody", &tensor), DEFT_INVALID);
    assert_non_null(strstr(deft_context_message(ctx), "no input 'nobody'"));
    assert_non_null(strstr(deft_context_message(ctx), deft_session_input_name(session, 0)));
    assert_int_equal(deft_session_output(session, "nobody", &tensor), DEFT_INVALID);
    /* an output is not an input */
    assert_int_equal(deft_session_input(session, deft_session_output_name(session, 0), &tensor), DEFT_INVALID);
    deft_session_free(session);
    deft_model_free(model);
    test_context_free(ctx);
}

static void test_shapes_are_bound_by_name(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_model *model = load(ctx, network);
    deft_session *named = open_session(model, 1), *session;
    deft_binding binding = {deft_session_input_name(named, 0), 2, {7, 20}};
    deft_session_options options = {.batch = 3, .bindings = &binding, .binding_count = 1};
    assert_int_equal(deft_session_new(model, &options, &session), DEFT_OK);
    deft_tensor output = run_ramp(session);
    assert_int_equal(output.dims[0], 7);
    deft_session_free(session);
    binding.dims[1] = 21;
    assert_int_equal(deft_session_new(model, &options, &session), DEFT_INVALID);
    binding = (deft_binding){"nobody", 2, {7, 20}};
    assert_int_equal(deft_session_new(model, &options, &session), DEFT_INVALID);
    assert_non_null(strstr(deft_context_message(ctx), "nobody"));
    deft_session_free(named);
    deft_model_free(model);
    test_context_free(ctx);
}

static void test_bad_requests_are_refused(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_model *model = load(ctx, network), *none = NULL;
    deft_session *session;
    deft_optimize_options options = {.max_drop = -1};
    assert_int_equal(deft_session_new(model, &(deft_session_options){.batch = -1}, &session), DEFT_INVALID);
    assert_int_equal(deft_optimize(model, "digits:200", &options, &none, NULL), DEFT_INVALID);
    options = (deft_optimize_options){.max_drop = NAN};
    assert_int_equal(deft_optimize(model, "digits:200", &options, &none, NULL), DEFT_INVALID);
    options = (deft_optimize_options){.epochs = -1};
    assert_int_equal(deft_optimize(model, "digits:200", &options, &none, NULL), DEFT_INVALID);
    assert_int_equal(deft_optimize(model, "nonsense", NULL, &none, NULL), DEFT_INVALID);
    assert_int_equal(deft_model_load(ctx, "/no/such/file", &none), DEFT_INVALID);
    assert_non_null(strstr(deft_context_message(ctx), "/no/such/file"));
    assert_int_equal(deft_model_load(ctx, "/", &none), DEFT_INVALID);
    assert_int_equal(deft_model_load_memory(ctx, "garbage", 7, &none), DEFT_INVALID);
    assert_int_equal(deft_model_save(model, "/no/such/folder/x.onnx"), DEFT_IO);
    assert_null(none);
    deft_model_free(model);
    test_context_free(ctx);
}

static void test_null_is_freed_like_free(void **state) {
    (void)state;
    deft_model_free(NULL);
    deft_session_free(NULL);
    deft_context_free(NULL);
}

typedef struct serialized {
    void *data;
    size_t bytes;
} serialized;

static deft_status load_and_run(deft_context *ctx, void *user) {
    const serialized *file = user;
    deft_model *model;
    deft_session *session = NULL;
    DEFT_TRY(deft_model_load_memory(ctx, file->data, file->bytes, &model));
    deft_status status = deft_session_new(model, NULL, &session);
    if (status == DEFT_OK) status = deft_session_run(session);
    deft_session_free(session);
    deft_model_free(model);
    return status;
}

static void test_every_allocation_may_fail(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    serialized file;
    serialize(ctx, network, &file.data, &file.bytes);
    check_every_allocation_failure(load_and_run, &file);
    deft_release(ctx, file.data);
    test_context_free(ctx);
}

/* ---- optimize ---- */

typedef struct points_seen {
    int points, chosen;
    bool chosen_last;
} points_seen;

static void count_point(void *user, const deft_point *point) {
    points_seen *seen = user;
    seen->points++;
    seen->chosen += point->chosen;
    seen->chosen_last = point->chosen;
}

static void test_optimize_gives_a_sparse_model_that_runs(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_model *model = load(ctx, "lenet-300-100"), *fast;
    points_seen seen = {0};
    deft_point chosen;
    deft_optimize_options options = {.max_drop = 100, .epochs = 1, .point = count_point, .user = &seen};
    assert_int_equal(deft_optimize(model, "digits:300", &options, &fast, &chosen), DEFT_OK);
    assert_true(seen.points >= 2);
    assert_int_equal(seen.chosen, 1);
    assert_true(seen.chosen_last);
    assert_true(chosen.chosen && chosen.within_bound);
    assert_true(chosen.zeros >= 0.9 && chosen.zeros < 1);
    assert_true(chosen.accuracy_test >= 0 && chosen.accuracy_test <= 1);
    assert_true(chosen.fast_us > 0 && chosen.dense_us > 0 && chosen.speedup > 0);
    deft_session *session = open_session(fast, 2);
    assert_int_equal(deft_session_run(session), DEFT_OK);
    deft_session_free(session);
    deft_model_free(fast);
    deft_model_free(model);
    test_context_free(ctx);
}

static bool stop_at_once(void *user, const char *what, double done) {
    (void)user;
    (void)what;
    (void)done;
    return false;
}

static void test_optimize_can_be_stopped(void **state) {
    (void)state;
    deft_context *ctx;
    deft_context_options stopping = {.cache_directory = "", .progress = stop_at_once};
    assert_int_equal(deft_context_new(&stopping, &ctx), DEFT_OK);
    deft_model *model = load(ctx, "lenet-300-100"), *fast = NULL;
    assert_int_equal(deft_optimize(model, "digits:300", NULL, &fast, NULL), DEFT_CANCELLED);
    assert_null(fast);
    deft_model_free(model);
    test_context_free(ctx);
}

/* ---- pruning ------------------------------------------------------------------------------------------------- */

/* Zeros of the outputs' weights: with all weights zero but the biases, which are zero too, the output is. */
static void test_prune(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_model *model = load(ctx, "mlp:784,16,10"), *pruned, *none = NULL;
    deft_prune_options options = {.zeros = 1};
    assert_int_equal(deft_prune(model, &options, NULL, &pruned), DEFT_OK);
    deft_session *session = open_session(pruned, 2);
    deft_tensor y = run_ramp(session);
    for (int i = 0; i < 20; i++)
        assert_true(((const float *)y.data)[i] == 0.0f);
    deft_session_free(session);
    deft_model_free(pruned);
    session = open_session(model, 2); /* the original is as it was */
    y = run_ramp(session);
    assert_true(((const float *)y.data)[0] != 0.0f);
    deft_session_free(session);
    options = (deft_prune_options){.keep = 2, .of = 4};
    assert_int_equal(deft_prune(model, &options, "digits:100", &pruned), DEFT_OK);
    deft_model_free(pruned);
    assert_int_equal(deft_prune(model, &options, "nonsense", &none), DEFT_INVALID);
    options = (deft_prune_options){.zeros = 2};
    assert_int_equal(deft_prune(model, &options, NULL, &none), DEFT_INVALID);
    assert_null(none);
    deft_model_free(model);
    test_context_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prune),
        cmocka_unit_test(test_a_model_runs_after_it_is_freed),
        cmocka_unit_test(test_a_session_of_a_file),
        cmocka_unit_test(test_a_session_of_a_file_may_run_out_of_memory),
        cmocka_unit_test(test_a_run_allocates_nothing_and_keeps_its_tensors),
        cmocka_unit_test(test_files_come_back_to_the_bit),
        cmocka_unit_test(test_names_out_of_range_are_null),
        cmocka_unit_test(test_shapes_are_bound_by_name),
        cmocka_unit_test(test_bad_requests_are_refused),
        cmocka_unit_test(test_null_is_freed_like_free),
        cmocka_unit_test(test_every_allocation_may_fail),
        cmocka_unit_test(test_optimize_gives_a_sparse_model_that_runs),
        cmocka_unit_test(test_optimize_can_be_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

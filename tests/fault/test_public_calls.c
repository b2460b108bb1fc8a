/* Whole public calls, on files, with the nth allocation failing: each says so, leaks nothing, and leaves nothing
 * half-written. */
#include "tests/support.h"

#include "base/core/rng.h"
#include "base/tensor/npy.h"
#include "ir/model/file.h"
#include "ir/model/zoo.h"
#include "learn/approx/prune.h"

#include <deft/deft.h>
#include <dirent.h>
#include <stdio.h>
#include <unistd.h>

enum { SAMPLES = 40, FEATURES = 8 };

/* dense.onnx, sparse.onnx, and x.npz: samples without labels. */
static int make_files(void **state) {
    (void)state;
    float x[SAMPLES * FEATURES];
    deft_rng rng;
    deft_graph *graph;
    deft_context *ctx = test_context();
    deft_rng_init(&rng, 1, 0);
    for (int i = 0; i < SAMPLES * FEATURES; i++)
        x[i] = deft_rng_normal(&rng);
    deft_npz_entry entry = {.name = "x", .tensor = {DEFT_F32, 2, {SAMPLES, FEATURES}, x}};
    assert_int_equal(deft_npz_save(ctx, "x.npz", &entry, 1), DEFT_OK);
    assert_int_equal(deft_zoo_build(ctx, "mlp:8,12,3", &graph), DEFT_OK);
    assert_int_equal(deft_model_file_save(ctx, "dense.onnx", graph, NULL), DEFT_OK);
    assert_int_equal(deft_prune_magnitude(ctx, graph, 0.6), DEFT_OK);
    assert_int_equal(deft_model_file_save(ctx, "sparse.onnx", graph, NULL), DEFT_OK);
    deft_graph_free(graph);
    test_context_free(ctx);
    return 0;
}

static int files_here(void) {
    int count = 0;
    DIR *folder = opendir(".");
    assert_non_null(folder);
    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

/* ---- load, session, run ---- */

static deft_status run_session(deft_session *session) {
    deft_tensor input, output;
    DEFT_TRY(deft_session_input(session, deft_session_input_name(session, 0), &input));
    DEFT_TRY(deft_session_run(session));
    return deft_session_output(session, deft_session_output_name(session, 0), &output);
}

static deft_status load_and_run(deft_context *ctx, void *path) {
    deft_model *model;
    deft_session *session = NULL;
    DEFT_TRY(deft_model_load(ctx, path, &model));
    deft_status status = deft_session_new(model, &(deft_session_options){.batch = 2}, &session);
    if (status == DEFT_OK) status = run_session(session);
    deft_session_free(session);
    deft_model_free(model);
    return status;
}

static void test_load_and_run(void **state) {
    (void)state;
    check_every_allocation_failure(load_and_run, "dense.onnx");
    check_every_allocation_failure(load_and_run, "sparse.onnx");
}

/* ---- save ---- */

static deft_status copy(deft_context *ctx, void *target) {
    deft_model *model;
    DEFT_TRY(deft_model_load(ctx, "sparse.onnx", &model));
    int before = files_here();
    deft_status status = deft_model_save(model, target);
    assert_int_equal(files_here(), before + (status == DEFT_OK));
    deft_model_free(model);
    return status;
}

static void test_save(void **state) {
    (void)state;
    check_every_allocation_failure(copy, "copy.onnx");
    check_every_allocation_failure(copy, "copy.deft");
    assert_int_equal(unlink("copy.onnx"), 0);
    assert_int_equal(unlink("copy.deft"), 0);
}

/* ---- prune ---- */

static deft_status prune(deft_context *ctx, void *calibration) {
    deft_model *model, *pruned = NULL;
    DEFT_TRY(deft_model_load(ctx, "dense.onnx", &model));
    deft_status status = deft_prune(model, &(deft_prune_options){.zeros = 0.5}, calibration, &pruned);
    assert_true((status == DEFT_OK) == (pruned != NULL));
    deft_model_free(pruned);
    deft_model_free(model);
    return status;
}

static void test_prune(void **state) {
    (void)state;
    check_every_allocation_failure(prune, NULL);
    check_every_allocation_failure(prune, "npz:x.npz");
}

/* ---- optimize ---- */

/* That no point is within the bound is an answer too. */
static deft_status optimize(deft_context *ctx, const char *path, const deft_optimize_options *options) {
    deft_model *model, *fast = NULL;
    DEFT_TRY(deft_model_load(ctx, path, &model));
    deft_status status = deft_optimize(model, "npz:x.npz", options, &fast, NULL);
    assert_true((status == DEFT_OK || status == DEFT_NO) == (fast != NULL));
    deft_model_free(fast);
    deft_model_free(model);
    return status == DEFT_NO ? DEFT_OK : status;
}

static deft_status prune_and_measure(deft_context *ctx, void *user) {
    (void)user;
    return optimize(ctx, "dense.onnx", &(deft_optimize_options){.max_drop = 0, .epochs = 1});
}

static deft_status measure_only(deft_context *ctx, void *user) {
    (void)user;
    return optimize(ctx, "sparse.onnx", &(deft_optimize_options){.max_drop = 100});
}

/* Each point is measured for about a second, so allocations fail at a few numbers only. */
static void test_optimize(void **state) {
    (void)state;
    int before = files_here();
    check_allocation_failures(measure_only, NULL, 8);
    check_allocation_failures(prune_and_measure, NULL, 2);
    assert_int_equal(files_here(), before);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_load_and_run),
        cmocka_unit_test(test_save),
        cmocka_unit_test(test_prune),
        cmocka_unit_test(test_optimize),
    };
    return cmocka_run_group_tests(tests, make_files, NULL);
}

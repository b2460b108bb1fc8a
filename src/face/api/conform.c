#include "face/api/conform.h"

#include "base/core/file.h"
#include "base/number/half.h"
#include "exec/run/program.h"
#include "ir/model/onnx.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const double RELATIVE = 1e-3, RELATIVE_BF16 = 0x1p-6, ABSOLUTE = 1e-7;
enum { MAX_TENSORS = 256, MODEL_MAX_BYTES = INT_MAX };

/* A data set of a case, read. */
typedef struct data_set {
    deft_context *ctx;
    deft_arena arena;
    deft_tensor inputs[MAX_TENSORS], outputs[MAX_TENSORS];
    int input_count, output_count;
} data_set;

/* What a case brings to every data set. */
typedef struct test_case {
    deft_context *ctx;
    const char *folder;
    void *model;
    size_t model_bytes;
} test_case;

/* ---- files --------------------------------------------------------------------------------------------------- */

static bool join(char out[PATH_MAX], const char *folder, const char *name) {
    return snprintf(out, PATH_MAX, "%s/%s", folder, name) < PATH_MAX;
}

bool deft_conform_is_case(const char *folder) {
    char path[PATH_MAX];
    return join(path, folder, "model.onnx") && access(path, F_OK) == 0;
}

/* What.0.pb, what.1.pb and so on, until one is missing. */
static deft_status read_tensors(data_set *set, const char *folder, const char *what, deft_tensor *tensors, int *count) {
    char name[64], path[PATH_MAX];
    for (*count = 0;; (*count)++) {
        snprintf(name, sizeof name, "%s_%d.pb", what, *count);
        if (!join(path, folder, name) || access(path, F_OK) != 0) return DEFT_OK;
        if (*count == MAX_TENSORS)
            return deft_fail(set->ctx, DEFT_UNSUPPORTED, "%s: more than %d tensors", folder, MAX_TENSORS);
        DEFT_TRY(deft_onnx_tensor_load(&set->arena, path, &tensors[*count]));
    }
}

/* ---- comparison ---------------------------------------------------------------------------------------------- */

static bool is_float(deft_dtype dtype) {
    return dtype == DEFT_F32 || dtype == DEFT_F64 || dtype == DEFT_F16 || dtype == DEFT_BF16;
}

static double real_at(const deft_tensor *tensor, int64_t i) {
    switch (tensor->dtype) {
    case DEFT_F32:
        return (double)((const float *)tensor->data)[i];
    case DEFT_F64:
        return ((const double *)tensor->data)[i];
    case DEFT_F16:
        return (double)deft_f16_decode(((const uint16_t *)tensor->data)[i]);
    default:
        return (double)deft_bf16_decode(((const uint16_t *)tensor->data)[i]);
    }
}

static bool close_enough(double got, double expected, double relative) {
    if (isnan(got) || isnan(expected)) return isnan(got) && isnan(expected);
    return got == expected || fabs(got - expected) <= ABSOLUTE + relative * fabs(expected);
}

/* NumPy has no bf16: ONNX stores its bits as u16. */
static bool same_type(deft_dtype declared, deft_dtype stored) {
    return declared == stored || (declared == DEFT_BF16 && stored == DEFT_U16);
}

/* Fails with what differs first. */
static deft_status compare(deft_context *ctx, const char *name, const deft_tensor *got, const deft_tensor *stored) {
    deft_tensor viewed = *stored;
    const deft_tensor *expected = &viewed;
    if (same_type(got->dtype, stored->dtype)) viewed.dtype = got->dtype;
    char got_text[DEFT_SHAPE_TEXT_BYTES], expected_text[DEFT_SHAPE_TEXT_BYTES];
    if (got->dtype != expected->dtype || !deft_shape_equal(got, expected))
        return deft_fail(ctx, DEFT_NO, "output '%.64s' is %s %s; expected %s %s", name, deft_dtype_name(got->dtype),
                         deft_shape_text(got, got_text, sizeof got_text), deft_dtype_name(expected->dtype),
                         deft_shape_text(expected, expected_text, sizeof expected_text));
    int64_t count = deft_tensor_count(got);
    if (is_float(got->dtype)) {
        double relative = got->dtype == DEFT_BF16 ? RELATIVE_BF16 : RELATIVE;
        for (int64_t i = 0; i < count; i++)
            if (!close_enough(real_at(got, i), real_at(expected, i), relative))
                return deft_fail(ctx, DEFT_NO, "output '%.64s': element %lld is %.9g; expected %.9g", name,
                                 (long long)i, real_at(got, i), real_at(expected, i));
        return DEFT_OK;
    }
    size_t bytes = deft_dtype_bytes(got->dtype);
    for (int64_t i = 0; i < count; i++)
        if (memcmp((const char *)got->data + (size_t)i * bytes, (const char *)expected->data + (size_t)i * bytes,
                   bytes) != 0)
            return deft_fail(ctx, DEFT_NO, "output '%.64s': element %lld differs", name, (long long)i);
    return DEFT_OK;
}

/* ---- running ------------------------------------------------------------------------------------------------- */

/* They have the shapes that the program is bound to. */
static deft_status fill_inputs(const data_set *set, deft_program *program) {
    for (int i = 0; i < set->input_count; i++) {
        deft_tensor *tensor = deft_program_input(program, i);
        if (!same_type(tensor->dtype, set->inputs[i].dtype))
            return deft_fail(set->ctx, DEFT_INVALID, "input '%.64s' is declared as %s, but given as %s",
                             deft_program_input_name(program, i), deft_dtype_name(tensor->dtype),
                             deft_dtype_name(set->inputs[i].dtype));
        size_t bytes = deft_tensor_bytes(tensor);
        if (bytes) memcpy(tensor->data, set->inputs[i].data, bytes);
    }
    return DEFT_OK;
}

static deft_status compare_outputs(const data_set *set, deft_program *program) {
    if (set->output_count > deft_program_output_count(program))
        return deft_fail(set->ctx, DEFT_INVALID, "%d outputs are expected of a model that has %d", set->output_count,
                         deft_program_output_count(program));
    for (int i = 0; i < set->output_count; i++)
        DEFT_TRY(
            compare(set->ctx, deft_program_output_name(program, i), deft_program_output(program, i), &set->outputs[i]));
    return DEFT_OK;
}

/* The shapes of a data set's inputs. */
static deft_status bind_inputs(const data_set *set, const deft_graph *graph, deft_binding *bindings) {
    if (set->input_count > graph->input_count)
        return deft_fail(set->ctx, DEFT_INVALID, "the model has %d inputs, but %d are given", graph->input_count,
                         set->input_count);
    if (set->input_count < graph->input_count)
        return deft_fail(set->ctx, DEFT_INVALID, "input '%.64s' is not given",
                         graph->values[graph->inputs[set->input_count]].name);
    for (int i = 0; i < set->input_count; i++) {
        bindings[i] = (deft_binding){.input = graph->values[graph->inputs[i]].name, .rank = set->inputs[i].rank};
        memcpy(bindings[i].dims, set->inputs[i].dims, sizeof bindings[i].dims);
    }
    return DEFT_OK;
}

static deft_status run_data_set(const test_case *test, const data_set *set) {
    deft_graph *graph;
    deft_program *program = NULL;
    deft_status status;
    deft_binding bindings[MAX_TENSORS];
    DEFT_TRY(deft_onnx_parse_with(test->ctx, test->model, test->model_bytes,
                                  &(deft_onnx_options){.folder = test->folder}, &graph));
    DEFT_TRY_OR_FAIL(bind_inputs(set, graph, bindings));
    deft_plan_options options = {.bindings = bindings, .binding_count = set->input_count};
    DEFT_TRY_OR_FAIL(deft_program_new(graph, &options, &program));
    DEFT_TRY_OR_FAIL(fill_inputs(set, program));
    DEFT_TRY_OR_FAIL(deft_program_run(program));
    status = compare_outputs(set, program);
fail:
    deft_program_free(program);
    deft_graph_free(graph);
    return status;
}

/* Tensors that cannot be read do not matter to a model that cannot be read either: its reason is the better one. */
static deft_status read_and_run(const test_case *test, data_set *set, const char *folder) {
    deft_status status = read_tensors(set, folder, "input", set->inputs, &set->input_count);
    if (status == DEFT_OK) status = read_tensors(set, folder, "output", set->outputs, &set->output_count);
    if (status == DEFT_OK) return run_data_set(test, set);
    deft_graph *graph;
    char reason[sizeof test->ctx->message];
    memcpy(reason, test->ctx->message, sizeof reason);
    deft_status parsed = deft_onnx_parse_with(test->ctx, test->model, test->model_bytes,
                                              &(deft_onnx_options){.folder = test->folder}, &graph);
    if (parsed == DEFT_UNSUPPORTED) return parsed;
    if (parsed == DEFT_OK) deft_graph_free(graph);
    return deft_fail(test->ctx, status, "%s", reason);
}

static deft_status run_folder(const test_case *test, const char *folder) {
    data_set *set;
    DEFT_TRY(deft_allocate_zeroed(test->ctx, 1, sizeof *set, &set));
    set->ctx = test->ctx;
    deft_arena_init(&set->arena, test->ctx);
    deft_status status = read_and_run(test, set, folder);
    deft_arena_done(&set->arena);
    deft_release(test->ctx, set);
    return status;
}

static deft_status run_data_sets(const test_case *test) {
    char name[64], path[PATH_MAX];
    for (int i = 0;; i++) {
        snprintf(name, sizeof name, "test_data_set_%d", i);
        bool exists = join(path, test->folder, name) && access(path, F_OK) == 0;
        if (!exists && i == 0) return deft_fail(test->ctx, DEFT_INVALID, "there is no test_data_set_0");
        if (!exists) return DEFT_OK;
        DEFT_TRY(run_folder(test, path));
    }
}

deft_status deft_conform_run(deft_context *ctx, const char *folder, deft_conform_result *result) {
    char path[PATH_MAX];
    test_case test = {.ctx = ctx, .folder = folder};
    *result = (deft_conform_result){.verdict = DEFT_CONFORM_PASSED};
    if (!join(path, folder, "model.onnx"))
        return deft_fail(ctx, DEFT_INVALID, "%.64s...: the name is too long", folder);
    DEFT_TRY(deft_file_read(ctx, path, MODEL_MAX_BYTES, &test.model, &test.model_bytes));
    deft_status status = run_data_sets(&test);
    deft_release(ctx, test.model);
    if (status == DEFT_IO || status == DEFT_MEMORY || status == DEFT_CANCELLED || status == DEFT_BUG)
        return deft_fail_in(ctx, status, "%s", folder);
    if (status == DEFT_OK) return DEFT_OK;
    result->verdict = status == DEFT_UNSUPPORTED ? DEFT_CONFORM_SKIPPED : DEFT_CONFORM_FAILED;
    snprintf(result->reason, sizeof result->reason, "%.*s", (int)sizeof result->reason - 1, ctx->message);
    return DEFT_OK;
}

#include "tests/support.h"

#include "base/core/file.h"
#include "ir/model/file.h"
#include "ir/model/onnx.h"
#include "ir/model/zoo.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zip.h>

static deft_graph *new_net(deft_context *ctx, const char *spec) {
    deft_graph *graph = NULL;
    assert_int_equal(deft_zoo_build(ctx, spec, &graph), DEFT_OK);
    return graph;
}

static void assert_same_weights(const deft_graph *a, const deft_graph *b) {
    int compared = 0;
    for (int i = 0; i < a->value_count; i++) {
        if (!a->values[i].desc.data) continue;
        int found = deft_graph_find(b, a->values[i].name);
        assert_int_not_equal(found, DEFT_NO_VALUE);
        assert_true(deft_tensor_equal(&a->values[i].desc, &b->values[found].desc));
        compared++;
    }
    assert_true(compared > 0);
}

static void check_round_trip(const char *path, bool keeps_frontier) {
    deft_context *ctx = test_context();
    deft_graph *graph = new_net(ctx, "lenet-300-100");
    deft_model_file file;
    assert_int_equal(deft_model_file_save(ctx, path, graph, "{\"points\": []}"), DEFT_OK);
    assert_int_equal(deft_model_file_load(ctx, path, &file), DEFT_OK);
    assert_same_weights(graph, file.graph);
    if (keeps_frontier)
        assert_string_equal(file.frontier, "{\"points\": []}");
    else
        assert_null(file.frontier);
    deft_release(ctx, file.frontier);
    deft_graph_free(file.graph);
    deft_graph_free(graph);
    assert_int_equal(unlink(path), 0);
    test_context_free(ctx);
}

static void test_round_trip(void **state) {
    (void)state;
    check_round_trip("m.onnx", false);
    check_round_trip("m.deft", true);
    check_round_trip("no extension", false);
}

/* A .deft under another name is known by its content. */
static void test_told_apart_by_content(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *graph = new_net(ctx, "mlp:3,2");
    deft_model_file file;
    assert_int_equal(deft_model_file_save(ctx, "a.deft", graph, NULL), DEFT_OK);
    assert_int_equal(rename("a.deft", "a.onnx"), 0);
    assert_int_equal(deft_model_file_load(ctx, "a.onnx", &file), DEFT_OK);
    assert_null(file.frontier);
    deft_graph_free(file.graph);
    deft_graph_free(graph);
    unlink("a.onnx");
    test_context_free(ctx);
}

static void test_size_and_repeatability(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *graph = new_net(ctx, "lenet-300-100");
    void *first, *second;
    size_t first_bytes, second_bytes;
    int64_t stated, sparse;
    assert_int_equal(deft_model_file_save(ctx, "a.deft", graph, "{}"), DEFT_OK);
    assert_int_equal(deft_file_read(ctx, "a.deft", 1 << 24, &first, &first_bytes), DEFT_OK);
    assert_int_equal(deft_model_file_bytes(ctx, graph, "{}", &stated), DEFT_OK);
    assert_int_equal(stated, first_bytes);
    sleep(2); /* what a zip states of time is in steps of 2 seconds */
    assert_int_equal(deft_model_file_save(ctx, "a.deft", graph, "{}"), DEFT_OK);
    assert_int_equal(deft_file_read(ctx, "a.deft", 1 << 24, &second, &second_bytes), DEFT_OK);
    assert_int_equal(first_bytes, second_bytes);
    assert_memory_equal(first, second, first_bytes);
    /* Zeros are packed. */
    deft_tensor *weight = &graph->values[deft_graph_find(graph, "fc1.weight")].desc;
    memset(weight->data, 0, deft_tensor_bytes(weight));
    assert_int_equal(deft_model_file_bytes(ctx, graph, "{}", &sparse), DEFT_OK);
    assert_true(sparse < stated / 4);
    deft_release(ctx, first);
    deft_release(ctx, second);
    deft_graph_free(graph);
    unlink("a.deft");
    test_context_free(ctx);
}

/* ---- what the system refuses --------------------------------------------------------------------------------- */

static void check_load(deft_context *ctx, const char *path, deft_status expected, const char *message) {
    deft_model_file file = {0};
    assert_int_equal(deft_model_file_load(ctx, path, &file), expected);
    assert_null(file.graph);
    assert_null(file.frontier);
    const char *got = deft_context_message(ctx);
    if (strncmp(got, path, strlen(path)) != 0 || !strstr(got, message)) fail_msg("%s", got);
}

static void write_text(const char *path, const char *text) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

/* Zeros pack a thousandfold, which the reader would take for a bomb: such a model is stored unpacked. */
static void test_nearly_all_zero(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *graph;
    assert_int_equal(deft_zoo_build(ctx, "mlp:1200,1200,2", &graph), DEFT_OK);
    for (int i = 0; i < graph->value_count; i++) {
        deft_tensor *tensor = &graph->values[i].desc;
        if (tensor->data) memset(tensor->data, 0, deft_tensor_bytes(tensor));
    }
    assert_int_equal(deft_model_file_save(ctx, "zero.deft", graph, NULL), DEFT_OK);
    deft_model_file file = {0};
    assert_int_equal(deft_model_file_load(ctx, "zero.deft", &file), DEFT_OK);
    deft_graph_free(file.graph);
    deft_graph_free(graph);
    test_context_free(ctx);
}

static void test_load_refuses(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    write_text("text.onnx", "This is not a model.\n");
    write_text("empty.onnx", "");
    write_text("short.deft", "PK");
    assert_int_equal(mkdir("folder.onnx", 0755), 0);
    check_load(ctx, "missing.onnx", DEFT_INVALID, "No such file");
    check_load(ctx, "folder.onnx", DEFT_INVALID, "directory");
    check_load(ctx, "text.onnx", DEFT_INVALID, "not an ONNX model");
    check_load(ctx, "empty.onnx", DEFT_INVALID, "empty");
    check_load(ctx, "short.deft", DEFT_INVALID, "not a .deft file");
    check_load(ctx, "/dev/null", DEFT_INVALID, "empty");
    unlink("text.onnx");
    unlink("empty.onnx");
    unlink("short.deft");
    rmdir("folder.onnx");
    test_context_free(ctx);
}

static void check_save(deft_context *ctx, const char *path, const deft_graph *graph) {
    assert_int_equal(deft_model_file_save(ctx, path, graph, NULL), DEFT_IO);
    assert_non_null(strstr(deft_context_message(ctx), path));
}

static void test_save_refuses(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *graph = new_net(ctx, "mlp:3,2");
    check_save(ctx, "/dev/full", graph);
    check_save(ctx, "no such folder/m.onnx", graph);
    check_save(ctx, "no such folder/m.deft", graph);
    check_save(ctx, ".", graph);
    deft_graph_free(graph);
    test_context_free(ctx);
}

/* ---- damaged archives ---------------------------------------------------------------------------------------- */

static void test_truncated(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *graph = new_net(ctx, "mlp:3,2");
    void *data;
    size_t bytes;
    assert_int_equal(deft_model_file_save(ctx, "t.deft", graph, "{}"), DEFT_OK);
    assert_int_equal(deft_file_read(ctx, "t.deft", 1 << 20, &data, &bytes), DEFT_OK);
    deft_model_file file;
    for (size_t i = 0; i < bytes; i++) {
        char *prefix = malloc(i ? i : 1);
        memcpy(prefix, data, i);
        assert_int_equal(deft_model_file_parse(ctx, prefix, i, &file), DEFT_INVALID);
        free(prefix);
    }
    /* Every bit of what is packed is covered by a checksum; elsewhere damage may go unseen, but does no harm. */
    int refused = 0;
    for (size_t i = 0; i < bytes; i++) {
        ((char *)data)[i] ^= 0x10;
        deft_status status = deft_model_file_parse(ctx, data, bytes, &file);
        ((char *)data)[i] ^= 0x10;
        refused += status != DEFT_OK;
        if (status != DEFT_OK) continue;
        deft_release(ctx, file.frontier);
        deft_graph_free(file.graph);
    }
    assert_true(refused > (int)bytes / 2);
    deft_release(ctx, data);
    deft_graph_free(graph);
    unlink("t.deft");
    test_context_free(ctx);
}

static void write_zip(const char *path, const char *name, const void *data, size_t bytes) {
    zip_t *zip = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, NULL);
    assert_non_null(zip);
    zip_source_t *source = zip_source_buffer(zip, data, bytes, 0);
    assert_true(zip_file_add(zip, name, source, 0) >= 0);
    assert_int_equal(zip_close(zip), 0);
}

static void test_foreign_zips(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    write_zip("z.zip", "other.txt", "text", 4);
    check_load(ctx, "z.zip", DEFT_INVALID, "without a model.onnx");
    write_zip("z.zip", "model.onnx", "text", 4);
    check_load(ctx, "z.zip", DEFT_INVALID, "not an ONNX model");
    /* A bomb: 64 MB of zeros in 64 kB. */
    size_t bytes = 64 << 20;
    char *zeros = calloc(bytes, 1);
    write_zip("z.zip", "model.onnx", zeros, bytes);
    free(zeros);
    struct stat info;
    assert_int_equal(stat("z.zip", &info), 0);
    assert_true(info.st_size < 128 << 10);
    check_load(ctx, "z.zip", DEFT_INVALID, "states 67108864 bytes");
    unlink("z.zip");
    test_context_free(ctx);
}

/* ---- memory -------------------------------------------------------------------------------------------------- */

static deft_status save_and_load(deft_context *ctx, void *user) {
    deft_graph *graph = NULL;
    deft_model_file file = {0};
    int64_t bytes;
    deft_status status;
    DEFT_TRY_OR_FAIL(deft_zoo_build(ctx, "mlp:3,2", &graph));
    DEFT_TRY_OR_FAIL(deft_model_file_bytes(ctx, graph, NULL, &bytes));
    DEFT_TRY_OR_FAIL(deft_model_file_save(ctx, user, graph, "{}"));
    DEFT_TRY_OR_FAIL(deft_model_file_load(ctx, user, &file));
fail:
    deft_release(ctx, file.frontier);
    deft_graph_free(file.graph);
    deft_graph_free(graph);
    return status;
}

static void test_out_of_memory(void **state) {
    (void)state;
    check_every_allocation_failure(save_and_load, "o.deft");
    check_every_allocation_failure(save_and_load, "o.onnx");
    unlink("o.deft");
    unlink("o.onnx");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_told_apart_by_content),
        cmocka_unit_test(test_size_and_repeatability),
        cmocka_unit_test(test_nearly_all_zero),
        cmocka_unit_test(test_load_refuses),
        cmocka_unit_test(test_save_refuses),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_foreign_zips),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Bytes that are damaged, hostile, or read in the least memory. */
#include "tests/unit/models.h"

#include "base/core/file.h"
#include "base/core/rng.h"
#include "ir/model/onnx_wire.h"

#include <string.h>
#include <unistd.h>

/* ---- damaged and hostile bytes ------------------------------------------------------------------------------- */

static void test_truncated(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    void *data;
    size_t bytes;
    make_model(ctx, "mlp:3,2", &data, &bytes);
    deft_graph *graph;
    /* The operator set is written last, so that no prefix is a model. */
    for (size_t i = 0; i < bytes; i++) {
        uint8_t *prefix = malloc(i ? i : 1);
        memcpy(prefix, data, i);
        assert_int_equal(deft_onnx_parse(ctx, prefix, i, &graph), DEFT_INVALID);
        assert_true(deft_context_message(ctx)[0] != 0);
        free(prefix);
    }
    assert_int_equal(deft_onnx_parse(ctx, data, bytes, &graph), DEFT_OK);
    deft_graph_free(graph);
    deft_release(ctx, data);
    test_context_free(ctx);
}

static void test_random_damage(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_rng rng;
    deft_rng_init(&rng, 1, 2);
    void *data;
    size_t bytes;
    make_model(ctx, "mlp:3,2", &data, &bytes);
    uint8_t *damaged = malloc(bytes);
    for (int i = 0; i < 20000; i++) {
        memcpy(damaged, data, bytes);
        for (int j = 0; j <= i % 3; j++)
            damaged[deft_rng_below(&rng, bytes)] = (uint8_t)deft_rng_u64(&rng);
        deft_graph *graph;
        deft_status status = deft_onnx_parse(ctx, damaged, bytes, &graph);
        if (status == DEFT_OK)
            deft_graph_free(graph);
        else
            assert_true(status == DEFT_INVALID || status == DEFT_UNSUPPORTED);
        assert_int_equal(atomic_load(&ctx->live_bytes), (long long)bytes);
    }
    free(damaged);
    deft_release(ctx, data);
    test_context_free(ctx);
}

/* An allocator that remembers the most that was allocated at once. */
typedef struct peak {
    size_t live, most;
} peak;

static void *peak_allocate(void *user, size_t bytes) {
    peak *p = user;
    p->live += bytes;
    if (p->live > p->most) p->most = p->live;
    return aligned_alloc(64, (bytes + 63) / 64 * 64);
}

static void peak_release(void *user, void *memory, size_t bytes) {
    ((peak *)user)->live -= bytes;
    free(memory);
}

/* Parses and checks that the memory stays within what onnx_wire.h promises, and a little for the context. */
static deft_status parse_within_budget(const void *data, size_t bytes, const char *message) {
    peak p = {0};
    deft_context *ctx;
    deft_context_options options = {.cache_directory = "", .allocator = {peak_allocate, peak_release, &p}};
    assert_int_equal(deft_context_new(&options, &ctx), DEFT_OK);
    deft_graph *graph;
    deft_status status = deft_onnx_parse(ctx, data, bytes, &graph);
    assert_int_not_equal(status, DEFT_OK);
    assert_non_null(strstr(deft_context_message(ctx), message));
    assert_true(p.most <= DEFT_WIRE_MEMORY_FACTOR * bytes + DEFT_WIRE_FREE_MEMORY + 64 * 1024);
    deft_context_free(ctx);
    assert_int_equal(p.live, 0);
    return status;
}

/* The weights of a file are in memory once while it is read, and the blocks that they were read to are the graph's. */
static void test_weights_are_read_once(void **state) {
    (void)state;
    peak p = {0};
    deft_context *ctx;
    deft_context_options options = {.cache_directory = "", .allocator = {peak_allocate, peak_release, &p}};
    assert_int_equal(deft_context_new(&options, &ctx), DEFT_OK);
    void *data;
    size_t bytes;
    make_model(ctx, "mlp:1000,700,10", &data, &bytes);
    assert_int_equal(deft_file_write(ctx, "weights.onnx", data, bytes), DEFT_OK);
    deft_release(ctx, data);
    deft_stream stream;
    deft_graph *graph;
    p.most = p.live;
    assert_int_equal(deft_file_open(ctx, "weights.onnx", bytes, &stream), DEFT_OK);
    assert_int_equal(deft_onnx_read(&stream, &(deft_onnx_options){0}, &graph), DEFT_OK);
    deft_stream_done(&stream);
    assert_true(p.most <= bytes + 256 * 1024);
    assert_true(p.live >= 707000 * sizeof(float));
    for (int i = 0; i < graph->value_count; i++)
        if (graph->values[i].desc.data) assert_false(deft_is_shared(graph->values[i].desc.data));
    deft_graph_free(graph);
    deft_context_free(ctx);
    assert_int_equal(p.live, 0);
    unlink("weights.onnx");
}

static size_t put_field(uint8_t *out, int field, const void *data, size_t bytes) {
    out[0] = (uint8_t)(field << 3 | 2);
    out[1] = (uint8_t)((bytes & 0x7f) | 0x80);
    out[2] = (uint8_t)(bytes >> 7);
    memcpy(out + 3, data, bytes);
    return 3 + bytes;
}

/* As protobuf has it: of a field that is there twice, the last one counts. */
static void check_raw_data_twice(deft_context *ctx, int64_t count) {
    enum { DIMS = 1, DATA_TYPE = 2, RAW_DATA = 9 };
    const uint8_t head[] = {DIMS << 3, (uint8_t)((count & 0x7f) | 0x80), (uint8_t)(count >> 7), DATA_TYPE << 3,
                            DEFT_U8};
    size_t bytes = sizeof head, size = (size_t)count;
    uint8_t *first = malloc(size), *second = malloc(size), *file = malloc(2 * size + 64);
    memset(first, 1, size);
    memset(second, 2, size);
    memcpy(file, head, sizeof head);
    bytes += put_field(file + bytes, RAW_DATA, first, size);
    bytes += put_field(file + bytes, RAW_DATA, second, size);
    assert_int_equal(deft_file_write(ctx, "twice.pb", file, bytes), DEFT_OK);
    deft_arena arena;
    deft_tensor tensor;
    deft_arena_init(&arena, ctx);
    assert_int_equal(deft_onnx_tensor_load(&arena, "twice.pb", &tensor), DEFT_OK);
    assert_int_equal(tensor.dims[0], count);
    assert_memory_equal(tensor.data, second, size);
    deft_arena_done(&arena);
    free(first);
    free(second);
    free(file);
    unlink("twice.pb");
}

static void test_raw_data_twice(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    check_raw_data_twice(ctx, 10);
    check_raw_data_twice(ctx, DEFT_WIRE_BLOCK_BYTES - 1);
    check_raw_data_twice(ctx, DEFT_WIRE_BLOCK_BYTES);
    check_raw_data_twice(ctx, 3 * DEFT_WIRE_BLOCK_BYTES);
    test_context_free(ctx);
}

/* Writes backwards from `at`: the bytes so far become a field of this number. Returns the new start. */
static size_t wrap(uint8_t *data, size_t at, size_t end, int field) {
    uint8_t length[10];
    int count = 0;
    for (size_t rest = end - at; count == 0 || rest; rest >>= 7)
        length[count++] = (uint8_t)((rest & 0x7f) | (rest >> 7 ? 0x80 : 0));
    at -= (size_t)count;
    memcpy(data + at, length, (size_t)count);
    data[--at] = (uint8_t)(field << 3 | 2);
    return at;
}

/* A model whose graph's node's attribute is a graph whose node's attribute ... */
static void test_nested_messages(void **state) {
    (void)state;
    enum { MODEL_GRAPH = 7, GRAPH_NODE = 1, NODE_ATTRIBUTE = 5, ATTRIBUTE_GRAPH = 6 };
    static const int fields[] = {GRAPH_NODE, NODE_ATTRIBUTE, ATTRIBUTE_GRAPH};
    static const size_t depths[] = {1, 99, 100, 100000};
    size_t room = 1 << 20;
    uint8_t *data = malloc(room);
    for (int i = 0; i < 4; i++) {
        size_t at = room;
        for (size_t depth = depths[i]; depth > 1; depth--)
            at = wrap(data, at, room, fields[(depth - 2) % 3]);
        at = wrap(data, at, room, MODEL_GRAPH);
        const char *message = depths[i] < 100 ? "operator set" : "nested more than 100 deep";
        assert_int_equal(parse_within_budget(data + at, room - at, message), DEFT_INVALID);
    }
    free(data);
}

static void test_empty_messages(void **state) {
    (void)state;
    enum { COUNT = 100000 };
    size_t bytes = 2 * COUNT + 16;
    uint8_t *data = calloc(bytes, 1);
    for (int i = 0; i < COUNT; i++)
        data[16 + 2 * i] = 1 << 3 | 2;
    size_t at = wrap(data, 16, bytes, 7);
    assert_int_equal(parse_within_budget(data + at, bytes - at, "more nested messages"), DEFT_INVALID);
    free(data);
}

/* What slips through the count of messages: fields that ONNX does not have, each of which protobuf-c keeps. */
static void test_unknown_fields(void **state) {
    (void)state;
    enum { COUNT = 200000 };
    uint8_t *data = malloc(3 * COUNT);
    for (int i = 0; i < COUNT; i++)
        memcpy(data + 3 * i, (uint8_t[]){0x80 | (100 << 3 & 0x7f), 100 >> 4, 1}, 3);
    assert_int_equal(parse_within_budget(data, 3 * COUNT, "bytes of memory"), DEFT_INVALID);
    free(data);
}

static void test_not_protobuf(void **state) {
    (void)state;
    static const char *const texts[] = {"# A readme, not a model\n",
                                        "{\"json\": true}",
                                        "\x93NUMPY",
                                        "\xff\xff\xff\xff",
                                        "\x0b\x0c",
                                        "\x02\x01",
                                        "\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f"};
    deft_context *ctx = test_context();
    deft_graph *graph;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_int_equal(deft_onnx_parse(ctx, texts[i], strlen(texts[i]), &graph), DEFT_INVALID);
        assert_non_null(strstr(deft_context_message(ctx), "not an ONNX model"));
    }
    assert_int_equal(deft_onnx_parse(ctx, "", 0, &graph), DEFT_INVALID);
    test_context_free(ctx);
}

/* ---- memory -------------------------------------------------------------------------------------------------- */

typedef struct bytes_of_model {
    void *data;
    size_t bytes;
} bytes_of_model;

static deft_status parse_and_serialize(deft_context *ctx, void *user) {
    const bytes_of_model *model = user;
    deft_graph *graph = NULL;
    void *data = NULL;
    size_t bytes;
    deft_status status;
    DEFT_TRY_OR_FAIL(deft_onnx_parse(ctx, model->data, model->bytes, &graph));
    DEFT_TRY_OR_FAIL(deft_onnx_serialize(graph, &data, &bytes));
fail:
    deft_graph_free(graph);
    deft_release(ctx, data);
    return status;
}

static void test_out_of_memory(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    bytes_of_model model;
    make_model(ctx, "lenet-5", &model.data, &model.bytes);
    check_every_allocation_failure(parse_and_serialize, &model);
    deft_release(ctx, model.data);
    test_context_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_random_damage),
        cmocka_unit_test(test_weights_are_read_once),
        cmocka_unit_test(test_raw_data_twice),
        cmocka_unit_test(test_nested_messages),
        cmocka_unit_test(test_empty_messages),
        cmocka_unit_test(test_unknown_fields),
        cmocka_unit_test(test_not_protobuf),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

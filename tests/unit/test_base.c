#include "tests/support.h"

#include "base/core/arena.h"
#include "base/core/cpu.h"
#include "base/core/file.h"
#include "base/core/rng.h"
#include "base/core/timing.h"
#include "base/tensor/tensor.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void test_context_options(void **state) {
    (void)state;
    deft_context *ctx = NULL;
    assert_int_equal(deft_context_new(&(deft_context_options){.threads = -1}, &ctx), DEFT_INVALID);
    assert_null(ctx);
    assert_int_equal(deft_context_new(NULL, &ctx), DEFT_OK);
    assert_true(ctx->threads >= 1);
    assert_int_not_equal(ctx->isa, DEFT_ISA_BEST);
    deft_context_free(ctx);
    deft_context_free(NULL);
}

static void test_messages_are_one_line(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    assert_int_equal(deft_fail(ctx, DEFT_INVALID, "node '%s'", "a\nb"), DEFT_INVALID);
    assert_string_equal(deft_context_message(ctx), "node 'a?b'");
    assert_int_equal(deft_fail_in(ctx, DEFT_IO, "%s", "m.onnx"), DEFT_IO);
    assert_string_equal(deft_context_message(ctx), "m.onnx: node 'a?b'");
    test_context_free(ctx);
}

static void test_allocation_overflow(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    void *memory;
    assert_int_equal(deft_allocate_zeroed(ctx, SIZE_MAX / 2, 4, &memory), DEFT_MEMORY);
    assert_int_equal(deft_allocate(ctx, SIZE_MAX - 10, &memory), DEFT_MEMORY);
    test_context_free(ctx);
}

/* What is live counts, to the byte; what was released is there again. */
static void test_memory_budget(void **state) {
    (void)state;
    deft_context *ctx;
    void *first, *second;
    deft_context_options options = {.cache_directory = "", .max_memory_bytes = 3 << 20};
    assert_int_equal(deft_context_new(&options, &ctx), DEFT_OK);
    assert_int_equal(deft_allocate(ctx, 2 << 20, &first), DEFT_OK);
    assert_int_equal(deft_allocate(ctx, (1 << 20) + 1, &second), DEFT_MEMORY);
    assert_string_equal(deft_context_message(ctx),
                        "over the memory budget of 3.0 MB: 1.0 MB more were asked for, with 2.0 MB in use; a larger "
                        "--max-memory (max_memory_bytes) allows it");
    assert_int_equal(atomic_load(&ctx->live_bytes), 2 << 20);
    assert_int_equal(deft_allocate(ctx, 1 << 20, &second), DEFT_OK);
    assert_int_equal(deft_reallocate(ctx, 4 << 20, &second), DEFT_MEMORY);
    deft_release(ctx, first);
    assert_int_equal(deft_reallocate(ctx, 2 << 20, &second), DEFT_OK);
    deft_release(ctx, second);
    test_context_free(ctx);
}

/* By default some of the machine's memory can be had, but not all of it. */
static void test_memory_of_the_machine(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    size_t bytes = deft_machine_memory_bytes();
    void *memory;
    assert_true(bytes > 64 << 20);
    assert_int_equal(deft_allocate(ctx, 1 << 20, &memory), DEFT_OK);
    deft_release(ctx, memory);
    assert_int_equal(deft_allocate(ctx, bytes, &memory), DEFT_MEMORY);
    test_context_free(ctx);
}

static deft_status use_arena(deft_context *ctx, void *user) {
    (void)user;
    deft_arena arena;
    deft_arena_init(&arena, ctx);
    deft_status status = DEFT_OK;
    char *text;
    float *numbers;
    for (int i = 0; i < 100; i++) {
        DEFT_TRY_OR_FAIL(deft_arena_string(&arena, "a name", &text));
        assert_string_equal(text, "a name");
        DEFT_TRY_OR_FAIL(deft_arena_array(&arena, 100u << (i % 8), sizeof *numbers, &numbers));
        assert_int_equal((uintptr_t)numbers % 64, 0);
        assert_true(numbers[0] == 0 && numbers[(100u << (i % 8)) - 1] == 0);
        numbers[0] = 1;
    }
fail:
    deft_arena_done(&arena);
    return status;
}

static void test_arena(void **state) {
    (void)state;
    check_every_allocation_failure(use_arena, NULL);
}

static void test_rng(void **state) {
    (void)state;
    deft_rng a, b, other;
    deft_rng_init(&a, 7, 1);
    deft_rng_init(&b, 7, 1);
    deft_rng_init(&other, 7, 2);
    double sum = 0, squares = 0;
    int same = 0;
    for (int i = 0; i < 100000; i++) {
        uint64_t x = deft_rng_u64(&a);
        assert_true(x == deft_rng_u64(&b));
        same += x == deft_rng_u64(&other);
        double normal = deft_rng_normal(&a);
        deft_rng_normal(&b);
        sum += normal;
        squares += normal * normal;
    }
    assert_int_equal(same, 0);
    assert_true(sum / 1e5 < 0.02 && sum / 1e5 > -0.02);
    assert_true(squares / 1e5 < 1.03 && squares / 1e5 > 0.97);

    int64_t order[100];
    bool seen[100] = {false};
    for (int i = 0; i < 100; i++)
        order[i] = i;
    deft_rng_shuffle(&a, order, 100);
    for (int i = 0; i < 100; i++)
        seen[order[i]] = true;
    for (int i = 0; i < 100; i++)
        assert_true(seen[i]);
}

static void test_timing(void **state) {
    (void)state;
    double samples[] = {5, 1, 4, 2, 3};
    deft_timing timing = deft_timing_of(samples, 5);
    assert_true(timing.p50 == 3 && timing.min == 1 && timing.max == 5 && timing.mean == 3);
    double one[] = {2};
    assert_true(deft_timing_of(one, 1).p99 == 2);
}

/* A clock that halves after two of five rounds, a contestant that is disturbed once, and one that never ran. */
static void test_timing_paces(void **state) {
    (void)state;
    const double samples[3][5] = {{10, 10, 20, 20, 20}, {30, 90, 60, 60, 60}, {5, 5, 10, 10, 10}};
    double list[4][8], scratch[4 + 5], paces[5];
    for (int i = 0; i < 4; i++)
        for (int r = 0; r < 5; r++)
            list[i][r] = i < 3 ? samples[i][r] : __builtin_inf();
    deft_timing_paces(list[0], 4, 5, 8, scratch, paces);
    for (int r = 0; r < 5; r++)
        assert_true(paces[r] == (r < 2 ? 0.5 : 1));
    assert_true(list[1][1] == 90);
    deft_timing_paces(list[3], 1, 5, 8, scratch, paces);
    assert_true(paces[0] == 1 && paces[4] == 1);
}

/* What a file names must lie in its folder, whatever the name and whatever links there are. */
static void test_file_read_within(void **state) {
    (void)state;
    static const struct {
        const char *name;
        deft_status status;
        const char *message;
    } cases[] = {
        {"data.bin", DEFT_OK, ""},
        {"inner/deep/data.bin", DEFT_OK, ""},
        {"...bin", DEFT_OK, ""},
        {"", DEFT_INVALID, "not within"},
        {"../outside.bin", DEFT_INVALID, "not within"},
        {"inner/../../outside.bin", DEFT_INVALID, "not within"},
        {"inner/../data.bin", DEFT_INVALID, "not within"},
        {"./data.bin", DEFT_INVALID, "not within"},
        {"inner//deep/data.bin", DEFT_INVALID, "not within"},
        {"data.bin/", DEFT_INVALID, "not within"},
        {"/etc/passwd", DEFT_INVALID, "not within"},
        {"..", DEFT_INVALID, "not within"},
        {"link.bin", DEFT_INVALID, "symbolic link"},
        {"linked/outside.bin", DEFT_INVALID, "symbolic link"},
        {"inside_link.bin", DEFT_INVALID, "symbolic link"},
        {"data.bin/x", DEFT_INVALID, "not within"},
        {"inner", DEFT_INVALID, "not a regular file"},
        {"pipe", DEFT_INVALID, "not a regular file"},
        {"missing.bin", DEFT_INVALID, "No such file"},
    };
    deft_context *ctx = test_context();
    const char text[] = "0123456789";
    assert_int_equal(mkdir("model", 0777) | mkdir("model/inner", 0777) | mkdir("model/inner/deep", 0777), 0);
    static const char *const files[] = {"outside.bin", "model/data.bin", "model/inner/deep/data.bin", "model/...bin"};
    for (int i = 0; i < 4; i++)
        assert_int_equal(deft_file_write(ctx, files[i], text, sizeof text - 1), DEFT_OK);
    assert_int_equal(symlink("../outside.bin", "model/link.bin"), 0);
    assert_int_equal(symlink("..", "model/linked"), 0);
    assert_int_equal(symlink("data.bin", "model/inside_link.bin"), 0);
    assert_int_equal(mkfifo("model/pipe", 0666), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        void *data = NULL;
        deft_status status = deft_file_read_within(ctx, "model", cases[i].name, 3, 4, &data);
        if (status != cases[i].status) fail_msg("'%s': %s", cases[i].name, deft_status_name(status));
        if (status != DEFT_OK) assert_non_null(strstr(deft_context_message(ctx), cases[i].message));
        if (status == DEFT_OK) assert_memory_equal(data, "3456", 4);
        deft_release(ctx, data);
    }
    void *data;
    assert_int_equal(deft_file_read_within(ctx, "model", "data.bin", 0, 10, &data), DEFT_OK);
    deft_release(ctx, data);
    assert_int_equal(deft_file_read_within(ctx, "model", "data.bin", 10, 0, &data), DEFT_OK);
    deft_release(ctx, data);
    assert_int_equal(deft_file_read_within(ctx, "model", "data.bin", 1, 10, &data), DEFT_INVALID);
    assert_int_equal(deft_file_read_within(ctx, "model", "data.bin", 11, 0, &data), DEFT_INVALID);
    assert_int_equal(deft_file_read_within(ctx, "model", "data.bin", UINT64_MAX, 2, &data), DEFT_INVALID);
    assert_int_equal(deft_file_read_within(ctx, "nowhere", "data.bin", 0, 2, &data), DEFT_INVALID);
    test_context_free(ctx);
}

/* ---- streams ---- */

/* Takes all of it in pieces of these sizes, again and again. */
static void check_stream(deft_stream *stream, const unsigned char *expected, size_t bytes) {
    static const size_t pieces[] = {1, 3, 0, 70000, 5, 65536, 200000, 64};
    unsigned char *taken = malloc(bytes);
    assert_int_equal(stream->bytes, bytes);
    for (size_t at = 0, i = 0; at < bytes; i++) {
        size_t piece = pieces[i % 8] < bytes - at ? pieces[i % 8] : bytes - at;
        assert_int_equal(deft_stream_left(stream), bytes - at);
        assert_int_equal(deft_stream_take(stream, taken + at, piece), DEFT_OK);
        at += piece;
    }
    assert_int_equal(deft_stream_left(stream), 0);
    assert_memory_equal(taken, expected, bytes);
    free(taken);
}

static void test_streams(void **state) {
    (void)state;
    enum { BYTES = 1000003 };
    deft_context *ctx = test_context();
    deft_stream stream;
    bool begins;
    unsigned char *data = malloc(BYTES);
    for (size_t i = 0; i < BYTES; i++)
        data[i] = (unsigned char)(i % 251 + 1);
    assert_int_equal(deft_file_write(ctx, "stream.bin", data, BYTES), DEFT_OK);

    stream = deft_stream_of_memory(ctx, data, BYTES);
    check_stream(&stream, data, BYTES);
    assert_int_equal(deft_file_open(ctx, "stream.bin", BYTES, &stream), DEFT_OK);
    check_stream(&stream, data, BYTES);
    deft_stream_done(&stream);

    assert_int_equal(deft_file_open(ctx, "stream.bin", BYTES, &stream), DEFT_OK);
    const char two[] = {(char)data[0], (char)data[1], 0}, other[] = {(char)data[0], (char)(data[1] + 1), 0};
    assert_int_equal(deft_stream_begins_with(&stream, two, &begins), DEFT_OK);
    assert_true(begins);
    assert_int_equal(deft_stream_begins_with(&stream, other, &begins), DEFT_OK);
    assert_false(begins);
    check_stream(&stream, data, BYTES);
    deft_stream_done(&stream);

    stream = deft_stream_of_memory(ctx, NULL, 0);
    assert_int_equal(deft_stream_begins_with(&stream, two, &begins), DEFT_OK);
    assert_false(begins);
    assert_int_equal(deft_file_open(ctx, "stream.bin", BYTES - 1, &stream), DEFT_INVALID);
    assert_non_null(strstr(deft_context_message(ctx), "larger than"));
    assert_int_equal(deft_file_open(ctx, "missing.bin", BYTES, &stream), DEFT_INVALID);
    assert_int_equal(deft_file_open(ctx, ".", BYTES, &stream), DEFT_INVALID);
    free(data);
    test_context_free(ctx);
}

/* A file that is written to while it is read is no crash: what was taken is the reader's own. */
static void test_stream_of_a_file_that_shrinks(void **state) {
    (void)state;
    enum { BYTES = 300000 };
    deft_context *ctx = test_context();
    deft_stream stream;
    char *data = calloc(1, BYTES);
    assert_int_equal(deft_file_write(ctx, "shrinks.bin", data, BYTES), DEFT_OK);
    assert_int_equal(deft_file_open(ctx, "shrinks.bin", BYTES, &stream), DEFT_OK);
    assert_int_equal(deft_stream_take(&stream, data, 1000), DEFT_OK);
    assert_int_equal(truncate("shrinks.bin", BYTES / 2), 0);
    assert_int_equal(deft_stream_take(&stream, data, BYTES - 1000), DEFT_IO);
    assert_non_null(strstr(deft_context_message(ctx), "became shorter"));
    deft_stream_done(&stream);
    free(data);
    test_context_free(ctx);
}

static void test_stream_of_a_pipe(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_stream stream;
    char path[64];
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "from a pipe", 11), 11);
    close(ends[1]);
    snprintf(path, sizeof path, "/dev/fd/%d", ends[0]);
    assert_int_equal(deft_file_open(ctx, path, 100, &stream), DEFT_OK);
    check_stream(&stream, (const unsigned char *)"from a pipe", 11);
    deft_stream_done(&stream);
    close(ends[0]);
    test_context_free(ctx);
}

static deft_status adopt_blocks(deft_context *ctx, void *user) {
    void **kept = user;
    deft_arena arena;
    deft_arena_init(&arena, ctx);
    deft_status status = DEFT_OK;
    char *text = NULL;
    for (int i = 0; i < 3 && status == DEFT_OK; i++) {
        void *block;
        DEFT_TRY_OR_FAIL(deft_allocate(ctx, 100, &block));
        memset(block, i, 100);
        if (i == 1 && kept) deft_retain(*kept = block);
        DEFT_TRY_OR_FAIL(deft_arena_adopt(&arena, block));
        DEFT_TRY_OR_FAIL(deft_arena_string(&arena, "between", &text));
    }
    assert_string_equal(text, "between");
fail:
    deft_arena_done(&arena);
    return status;
}

/* What an arena has taken over goes with it, but for what someone else holds too. */
static void test_arena_adopts(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    void *kept = NULL;
    assert_int_equal(adopt_blocks(ctx, &kept), DEFT_OK);
    assert_int_equal(atomic_load(&ctx->live_bytes), 100);
    assert_int_equal(((char *)kept)[99], 1);
    deft_release(ctx, kept);
    test_context_free(ctx);
    check_every_allocation_failure(adopt_blocks, NULL);
}

static void test_file_write_and_read(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    void *data;
    size_t bytes;
    assert_int_equal(deft_file_write(ctx, "out.bin", "hello", 5), DEFT_OK);
    assert_int_equal(deft_file_write(ctx, "out.bin", "world!", 6), DEFT_OK);
    assert_int_equal(deft_file_read(ctx, "out.bin", 100, &data, &bytes), DEFT_OK);
    assert_int_equal(bytes, 6);
    assert_memory_equal(data, "world!", 6);
    deft_release(ctx, data);
    assert_int_equal(deft_file_read(ctx, "out.bin", 5, &data, &bytes), DEFT_INVALID);
    assert_int_equal(deft_file_read(ctx, "missing", 5, &data, &bytes), DEFT_INVALID);
    assert_non_null(strstr(deft_context_message(ctx), "missing"));
    assert_int_equal(deft_file_read(ctx, ".", 5, &data, &bytes), DEFT_INVALID);
    assert_int_equal(deft_file_write(ctx, "/dev/full", "x", 1), DEFT_IO);
    assert_int_equal(deft_file_write(ctx, "/dev/null", "x", 1), DEFT_OK);
    assert_int_equal(deft_file_write(ctx, "no/such/folder", "x", 1), DEFT_IO);
    assert_int_equal(symlink("out.bin", "link.bin"), 0);
    assert_int_equal(deft_file_write(ctx, "link.bin", "by link", 7), DEFT_OK);
    struct stat info;
    assert_int_equal(lstat("link.bin", &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    assert_int_equal(stat("out.bin", &info), 0);
    assert_int_equal(info.st_size, 7);
    test_context_free(ctx);
}

static void test_shapes(void **state) {
    (void)state;
    deft_tensor a = {.dtype = DEFT_F32, .rank = 3, .dims = {2, 1, 4}},
                b = {.dtype = DEFT_F32, .rank = 2, .dims = {3, 1}};
    deft_tensor out = {0};
    assert_true(deft_broadcast(&a, &b, &out));
    assert_int_equal(out.rank, 3);
    assert_true(out.dims[0] == 2 && out.dims[1] == 3 && out.dims[2] == 4);
    int64_t strides[3];
    deft_broadcast_strides(&a, &out, strides);
    assert_true(strides[0] == 4 && strides[1] == 0 && strides[2] == 1);
    deft_broadcast_strides(&b, &out, strides);
    assert_true(strides[0] == 0 && strides[1] == 1 && strides[2] == 0);
    b.dims[1] = 5;
    assert_false(deft_broadcast(&a, &b, &out));

    assert_true(deft_shape_valid(DEFT_F32, 3, (int64_t[]){2, 0, 4}));
    assert_false(deft_shape_valid(DEFT_F32, 3, (int64_t[]){0, INT64_MAX, 4}));
    assert_false(deft_shape_valid(DEFT_F32, 2, (int64_t[]){(int64_t)1 << 32, (int64_t)1 << 32}));
    assert_false(deft_shape_valid(DEFT_F32, 1, (int64_t[]){-1}));
    assert_false(deft_shape_valid(DEFT_F32, 9, (int64_t[9]){0}));
    char text[DEFT_SHAPE_TEXT_BYTES];
    assert_string_equal(deft_shape_text(&a, text, sizeof text), "2x1x4");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_context_options),
        cmocka_unit_test(test_messages_are_one_line),
        cmocka_unit_test(test_allocation_overflow),
        cmocka_unit_test(test_memory_budget),
        cmocka_unit_test(test_memory_of_the_machine),
        cmocka_unit_test(test_arena),
        cmocka_unit_test(test_rng),
        cmocka_unit_test(test_timing),
        cmocka_unit_test(test_timing_paces),
        cmocka_unit_test(test_file_read_within),
        cmocka_unit_test(test_file_write_and_read),
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_stream_of_a_file_that_shrinks),
        cmocka_unit_test(test_stream_of_a_pipe),
        cmocka_unit_test(test_arena_adopts),
        cmocka_unit_test(test_shapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/support.h"

#include "base/core/file.h"
#include "learn/data/idx.h"

#include <string.h>
#include <unistd.h>
#include <zlib.h>

typedef struct bytes {
    size_t count;
    unsigned char at[2048];
} bytes;

/* Three pictures of 2 x 4. */
static bytes pictures(void) {
    bytes out = {16 + 24, {0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 4}};
    for (unsigned i = 0; i < 24; i++)
        out.at[16 + i] = (unsigned char)(10 * i);
    return out;
}

static bytes gzip(const void *data, size_t count) {
    bytes out = {0};
    z_stream stream = {
        .next_in = (unsigned char *)data, .avail_in = (uInt)count, .next_out = out.at, .avail_out = sizeof out.at};
    assert_int_equal(deflateInit2(&stream, 9, Z_DEFLATED, 16 + MAX_WBITS, 9, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    out.count = stream.total_out;
    deflateEnd(&stream);
    return out;
}

/* Parses a copy of exactly that size, so that a sanitizer sees a read past its end. */
static deft_status parse(deft_context *ctx, const bytes *file, deft_tensor *tensor) {
    unsigned char *copy = malloc(file->count ? file->count : 1);
    memcpy(copy, file->at, file->count);
    deft_status status = deft_idx_parse(ctx, copy, file->count, tensor);
    free(copy);
    return status;
}

static void expect_failure(deft_context *ctx, const bytes *file, deft_status wanted, const char *message) {
    deft_tensor tensor;
    deft_status status = parse(ctx, file, &tensor);
    if (status != wanted || !strstr(deft_context_message(ctx), message))
        fail_msg("%s (%s), expected %s (...%s...)", deft_status_name(status), deft_context_message(ctx),
                 deft_status_name(wanted), message);
    assert_int_equal(atomic_load(&ctx->live_bytes), 0);
}

static void expect_pictures(deft_context *ctx, const deft_tensor *tensor) {
    assert_int_equal(tensor->dtype, DEFT_U8);
    assert_int_equal(tensor->rank, 3);
    assert_memory_equal(tensor->dims, ((int64_t[]){3, 2, 4}), 3 * sizeof(int64_t));
    assert_memory_equal(tensor->data, pictures().at + 16, 24);
    deft_release(ctx, tensor->data);
}

static void test_plain_and_packed(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_tensor tensor;
    const bytes plain = pictures(), packed = gzip(plain.at, plain.count);
    assert_int_equal(parse(ctx, &plain, &tensor), DEFT_OK);
    expect_pictures(ctx, &tensor);
    assert_int_equal(parse(ctx, &packed, &tensor), DEFT_OK);
    expect_pictures(ctx, &tensor);

    const bytes none = {8, {0, 0, 8, 1, 0, 0, 0, 0}}, none_packed = gzip(none.at, none.count);
    assert_int_equal(parse(ctx, &none, &tensor), DEFT_OK);
    assert_int_equal(deft_tensor_count(&tensor), 0);
    deft_release(ctx, tensor.data);
    assert_int_equal(parse(ctx, &none_packed, &tensor), DEFT_OK);
    deft_release(ctx, tensor.data);
    test_context_free(ctx);
}

static void test_truncated_and_trailing(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    const bytes plain = pictures(), packed = gzip(plain.at, plain.count);
    deft_tensor tensor;
    for (size_t count = 0; count < plain.count; count++) {
        bytes cut = plain;
        cut.count = count;
        assert_int_equal(parse(ctx, &cut, &tensor), DEFT_INVALID);
        const bytes cut_then_packed = gzip(plain.at, count);
        assert_int_equal(parse(ctx, &cut_then_packed, &tensor), DEFT_INVALID);
    }
    for (size_t count = 0; count < packed.count; count++) {
        bytes cut = packed;
        cut.count = count;
        assert_int_equal(parse(ctx, &cut, &tensor), DEFT_INVALID);
    }
    bytes longer = plain;
    longer.count++;
    expect_failure(ctx, &longer, DEFT_INVALID, "bytes after the last value");
    longer = gzip(longer.at, longer.count);
    expect_failure(ctx, &longer, DEFT_INVALID, "bytes after the last value");
    longer = packed;
    longer.count++;
    expect_failure(ctx, &longer, DEFT_INVALID, "bytes after the last value");
    test_context_free(ctx);
}

static void test_malformed(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    static const struct {
        bytes file;
        deft_status status;
        const char *message;
    } cases[] = {
        {{0}, DEFT_INVALID, "cut off"},
        {{8, {1, 0, 8, 1, 0, 0, 0, 0}}, DEFT_INVALID, "not an IDX file: it begins with 01 00 08 01"},
        {{8, {0, 0, 7, 1, 0, 0, 0, 0}}, DEFT_INVALID, "not an IDX file"},
        {{4, {0, 0, 8, 0}}, DEFT_INVALID, "not an IDX file"},
        {{12, {0, 0, 13, 1, 0, 0, 0, 1}}, DEFT_UNSUPPORTED, "IDX type 0d"},
        {{44, {0, 0, 8, 9}}, DEFT_UNSUPPORTED, "9 dimensions"},
        {{9, {0, 0, 8, 1, 0, 0, 0, 2}}, DEFT_INVALID, "IDX shape 2: cut off"},
        {{16, {0, 0, 8, 2, 255, 255, 255, 255, 255, 255, 255, 255}}, DEFT_INVALID, "not a size that memory can hold"},
        {{16, {0, 0, 8, 2, 0, 0, 0, 0, 255, 255, 255, 255}}, DEFT_INVALID, "after the last value"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        expect_failure(ctx, &cases[i].file, cases[i].status, cases[i].message);
        const bytes packed = gzip(cases[i].file.at, cases[i].file.count);
        deft_tensor tensor;
        assert_int_equal(parse(ctx, &packed, &tensor), cases[i].status);
    }
    const bytes plain = pictures(), packed = gzip(plain.at, plain.count);
    for (size_t i = 0; i < packed.count; i++) {
        bytes damaged = packed;
        damaged.at[i] ^= 0x55;
        deft_tensor tensor;
        deft_status status = parse(ctx, &damaged, &tensor);
        /* The time, the level and the system in gzip's header mean nothing. */
        if (status == DEFT_OK) {
            assert_in_range(i, 4, 9);
            expect_pictures(ctx, &tensor);
        }
    }
    bytes wrong = packed;
    wrong.at[wrong.count - 8] ^= 1;
    expect_failure(ctx, &wrong, DEFT_INVALID, "gzip data is damaged");
    test_context_free(ctx);
}

/* A small file that states, or unpacks to, much more than it should is refused before memory is taken for it. */
static void test_bombs(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    const bytes huge = {8, {0, 0, 8, 1, 1, 2, 3, 4}};
    expect_failure(ctx, &huge, DEFT_INVALID, "IDX shape 16909060: cut off: the 0 bytes left cannot hold that");
    bytes packed = gzip(huge.at, huge.count);
    expect_failure(ctx, &packed, DEFT_INVALID, "cannot hold that");

    enum { COUNT = 1000000 };
    unsigned char *zeros = calloc(1, 8 + COUNT);
    memcpy(zeros, ((unsigned char[]){0, 0, 8, 1, COUNT >> 24, COUNT >> 16 & 255, COUNT >> 8 & 255, COUNT & 255}), 8);
    packed = gzip(zeros, 8 + COUNT);
    deft_tensor tensor;
    assert_int_equal(parse(ctx, &packed, &tensor), DEFT_OK);
    assert_int_equal(tensor.dims[0], COUNT);
    deft_release(ctx, tensor.data);
    memcpy(zeros + 4, ((unsigned char[]){0, 0, 0, 5}), 4);
    packed = gzip(zeros, 8 + COUNT);
    expect_failure(ctx, &packed, DEFT_INVALID, "bytes after the last value");
    free(zeros);
    test_context_free(ctx);
}

static void test_files(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_tensor tensor;
    const bytes plain = pictures(), packed = gzip(plain.at, plain.count);
    assert_int_equal(deft_file_write(ctx, "a.gz", packed.at, packed.count), DEFT_OK);
    assert_int_equal(deft_idx_load(ctx, "a", &tensor), DEFT_OK);
    expect_pictures(ctx, &tensor);
    assert_int_equal(deft_idx_load(ctx, "a.gz", &tensor), DEFT_OK);
    expect_pictures(ctx, &tensor);
    /* Where both exist, the plain one. */
    assert_int_equal(deft_file_write(ctx, "a", plain.at, plain.count - 1), DEFT_OK);
    assert_int_equal(deft_idx_load(ctx, "a", &tensor), DEFT_INVALID);
    assert_memory_equal(deft_context_message(ctx), "a: ", 3);
    assert_int_equal(deft_idx_load(ctx, "b", &tensor), DEFT_INVALID);
    assert_non_null(strstr(deft_context_message(ctx), "b: cannot open"));
    assert_int_equal(deft_idx_load(ctx, ".", &tensor), DEFT_INVALID);
    test_context_free(ctx);
}

static deft_status load(deft_context *ctx, void *user) {
    deft_tensor tensor;
    DEFT_TRY(deft_idx_load(ctx, user, &tensor));
    deft_release(ctx, tensor.data);
    return DEFT_OK;
}

static void test_out_of_memory(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    const bytes plain = pictures(), packed = gzip(plain.at, plain.count);
    assert_int_equal(deft_file_write(ctx, "plain", plain.at, plain.count), DEFT_OK);
    assert_int_equal(deft_file_write(ctx, "packed.gz", packed.at, packed.count), DEFT_OK);
    test_context_free(ctx);
    check_every_allocation_failure(load, "plain");
    check_every_allocation_failure(load, "packed");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_and_packed),
        cmocka_unit_test(test_truncated_and_trailing),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_bombs),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

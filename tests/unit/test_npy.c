#include "tests/support.h"

#include "base/core/file.h"
#include "base/core/rng.h"
#include "base/tensor/npy.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

typedef struct bytes {
    size_t count;
    unsigned char at[4096];
} bytes;

static void append(bytes *out, const void *data, size_t count) {
    assert_true(out->count + count <= sizeof out->at);
    if (count) memcpy(out->at + out->count, data, count);
    out->count += count;
}

/* Little-endian. */
static void append_number(bytes *out, uint64_t value, int width) {
    for (int i = 0; i < width; i++)
        append(out, &(unsigned char){(unsigned char)(value >> 8 * i)}, 1);
}

/* An .npy with the header as it is given. */
static bytes npy(int major, const char *header, const void *values, size_t value_bytes) {
    bytes out = {0};
    append(&out, "\x93NUMPY", 6);
    append_number(&out, (unsigned)major, 1);
    append_number(&out, 0, 1);
    append_number(&out, strlen(header), major == 1 ? 2 : 4);
    append(&out, header, strlen(header));
    append(&out, values, value_bytes);
    return out;
}

/* Parses a copy of exactly that size, so that a sanitizer sees a read past its end. */
static deft_status parse(deft_context *ctx, const bytes *file, deft_tensor *tensor) {
    unsigned char *copy = malloc(file->count ? file->count : 1);
    memcpy(copy, file->at, file->count);
    deft_status status = deft_npy_parse(ctx, copy, file->count, tensor);
    free(copy);
    return status;
}

static void expect_failure(deft_context *ctx, const bytes *file, deft_status wanted, const char *message) {
    deft_tensor tensor;
    deft_status status = parse(ctx, file, &tensor);
    if (status != wanted || !strstr(deft_context_message(ctx), message))
        fail_msg("%s (%s), expected %s (...%s...)", deft_status_name(status), deft_context_message(ctx),
                 deft_status_name(wanted), message);
}

static const float six[] = {1, -2, 3.5f, 0, 1e-40f, 1e30f};

static void test_versions_and_spellings(void **state) {
    (void)state;
    static const char *const headers[] = {
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }            \n",
        "{\"shape\":(2,3,),\"fortran_order\":False,\"descr\":\"<f4\"}",
        " { 'shape' : ( 2 , 3 ) , 'descr' : '<f4' , 'fortran_order' : False }\n",
    };
    deft_context *ctx = test_context();
    for (int version = 1; version <= 3; version++)
        for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
            bytes file = npy(version, headers[i], six, sizeof six);
            deft_tensor tensor;
            assert_int_equal(parse(ctx, &file, &tensor), DEFT_OK);
            assert_int_equal(tensor.dtype, DEFT_F32);
            assert_int_equal(tensor.rank, 2);
            assert_int_equal(tensor.dims[0], 2);
            assert_int_equal(tensor.dims[1], 3);
            assert_memory_equal(tensor.data, six, sizeof six);
            deft_release(ctx, tensor.data);
        }
    test_context_free(ctx);
}

static void test_malformed_headers(void **state) {
    (void)state;
#define START "{'descr': '<f4', 'fortran_order': False, 'shape': "
    static const struct {
        const char *header, *message;
        deft_status status;
    } cases[] = {
        {"", "expected '{'", DEFT_INVALID},
        {"{}", "descr, fortran_order and shape, each once", DEFT_INVALID},
        {"{'descr': '<f4', 'shape': (2, 3)}", "each once", DEFT_INVALID},
        {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}", "each once", DEFT_INVALID},
        {START "(2, 3), 'more': 1}", "each once", DEFT_INVALID},
        {START "(2, 3)} x", "nothing after", DEFT_INVALID},
        {START "(2, 3)", "',' or '}'", DEFT_INVALID},
        {START "(2, 3", "',' or ')'", DEFT_INVALID},
        {START "(2 3)}", "',' or ')'", DEFT_INVALID},
        {START "(6)}", "',' in a shape of one dimension", DEFT_INVALID},
        {START "(,)}", "a dimension", DEFT_INVALID},
        {START "(-2, -3)}", "a dimension", DEFT_INVALID},
        {START "[2, 3]}", "'('", DEFT_INVALID},
        {START "(2.0, 3)}", "',' or ')'", DEFT_INVALID},
        {START "(99999999999999999999, )}", "less than 2^63", DEFT_INVALID},
        {START "(9223372036854775807, 9223372036854775807)}", "not a size that memory can hold", DEFT_INVALID},
        {START "(4294967296, 4294967296)}", "not a size that memory can hold", DEFT_INVALID},
        {START "(0, 9223372036854775807)}", "not a size that memory can hold", DEFT_INVALID},
        {START "(1, 1, 1, 1, 1, 1, 1, 2, 3)}", "more than 8 dimensions", DEFT_UNSUPPORTED},
        {"{'descr': '<f4", "a short string", DEFT_INVALID},
        {"{'descr' '<f4'}", "':'", DEFT_INVALID},
        {"{'des\\x63r': '<f4'}", "without escapes", DEFT_INVALID},
        {"{'descr': 4}", "a quoted string", DEFT_INVALID},
        {"{'descr': '<f4', 'fortran_order': 0, 'shape': (2, 3)}", "True or False", DEFT_INVALID},
        {"{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3)}", "ascontiguousarray", DEFT_UNSUPPORTED},
        {"{'descr': '>f4', 'fortran_order': False, 'shape': (2, 3)}", "type '>f4'", DEFT_UNSUPPORTED},
        {"{'descr': '|O', 'fortran_order': False, 'shape': (2, 3)}", "type '|O'", DEFT_UNSUPPORTED},
        {"{'descr': '<c8', 'fortran_order': False, 'shape': (2, 3)}", "type '<c8'", DEFT_UNSUPPORTED},
        {"{'descr': '', 'fortran_order': False, 'shape': (2, 3)}", "type ''", DEFT_UNSUPPORTED},
        {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2, 3)}", "records", DEFT_UNSUPPORTED},
        {START "(2, 4)}", "takes 32 bytes of values, 24 are there: it is cut off", DEFT_INVALID},
        {START "(5,)}", "takes 20 bytes of values, 24 are there", DEFT_INVALID},
    };
#undef START
    deft_context *ctx = test_context();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bytes file = npy(1, cases[i].header, six, sizeof six);
        expect_failure(ctx, &file, cases[i].status, cases[i].message);
    }
    test_context_free(ctx);
}

static void test_malformed_files(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    const bytes good = npy(2, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n", six, sizeof six);
    deft_tensor tensor;
    for (size_t count = 0; count < good.count; count++) {
        bytes cut = good;
        cut.count = count;
        assert_int_equal(parse(ctx, &cut, &tensor), DEFT_INVALID);
    }
    bytes bad = good;
    append(&bad, "", 1);
    expect_failure(ctx, &bad, DEFT_INVALID, "takes 24 bytes of values, 25 are there");
    bad = good;
    bad.at[6] = 4;
    expect_failure(ctx, &bad, DEFT_UNSUPPORTED, "version 4.0");
    bad = good;
    bad.at[0] = 'x';
    expect_failure(ctx, &bad, DEFT_INVALID, "not an .npy");
    bad = good;
    bad.at[10] = 1; /* 65,536 bytes more */
    expect_failure(ctx, &bad, DEFT_INVALID, "more than 65535 are not read");
    bad = npy(1, "{'descr': '|b1', 'fortran_order': False, 'shape': (3,), }", "\0\1\2", 3);
    expect_failure(ctx, &bad, DEFT_INVALID, "element 2 is the byte 2");
    test_context_free(ctx);
}

static void test_random_damage(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    const bytes good = npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n", six, sizeof six);
    deft_rng rng;
    deft_rng_init(&rng, 1, 0);
    int refused = 0;
    for (int i = 0; i < 5000; i++) {
        bytes damaged = good;
        for (uint64_t n = 1 + deft_rng_below(&rng, 3); n > 0; n--)
            damaged.at[deft_rng_below(&rng, good.count - sizeof six)] = (unsigned char)deft_rng_u64(&rng);
        deft_tensor tensor;
        deft_status status = parse(ctx, &damaged, &tensor);
        if (status == DEFT_OK)
            deft_release(ctx, tensor.data);
        else
            assert_true(status == DEFT_INVALID || status == DEFT_UNSUPPORTED);
        refused += status != DEFT_OK;
    }
    assert_true(refused > 4000);
    test_context_free(ctx);
}

/* What numpy.save writes for this array, byte for byte. */
static void test_saves_what_numpy_saves(void **state) {
    (void)state;
    static const char wanted[] = "\x93NUMPY\1\0\x76\0{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"
                                 "                                                          \n";
    deft_context *ctx = test_context();
    float values[6];
    memcpy(values, six, sizeof six);
    deft_tensor tensor = {DEFT_F32, 2, {2, 3}, values};
    assert_int_equal(deft_npy_save(ctx, "a.npy", &tensor), DEFT_OK);
    void *data;
    size_t count;
    assert_int_equal(deft_file_read(ctx, "a.npy", 1000, &data, &count), DEFT_OK);
    assert_int_equal(count, 128 + sizeof six);
    assert_memory_equal(data, wanted, 128);
    assert_memory_equal((char *)data + 128, six, sizeof six);
    deft_release(ctx, data);
    test_context_free(ctx);
}

static void test_round_trips(void **state) {
    (void)state;
    static const deft_dtype dtypes[] = {DEFT_F32, DEFT_U8,   DEFT_I8,  DEFT_U16, DEFT_I16, DEFT_I32,
                                        DEFT_I64, DEFT_BOOL, DEFT_F16, DEFT_F64, DEFT_U32, DEFT_U64};
    static const deft_tensor shapes[] = {{.rank = 0},
                                         {.rank = 1, .dims = {7}},
                                         {.rank = 1, .dims = {0}},
                                         {.rank = 3, .dims = {4, 0, 5}},
                                         {.rank = 8, .dims = {1, 2, 1, 2, 1, 2, 1, 3}}};
    deft_context *ctx = test_context();
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        for (size_t j = 0; j < sizeof shapes / sizeof *shapes; j++) {
            deft_tensor saved = shapes[j], loaded;
            saved.dtype = dtypes[i];
            assert_int_equal(deft_tensor_allocate(ctx, &saved), DEFT_OK);
            for (size_t k = 0; k < deft_tensor_bytes(&saved); k++)
                ((unsigned char *)saved.data)[k] = (unsigned char)(dtypes[i] == DEFT_BOOL ? k & 1 : 251 * k + 7);
            assert_int_equal(deft_npy_save(ctx, "b.npy", &saved), DEFT_OK);
            assert_int_equal(deft_npy_load(ctx, "b.npy", &loaded), DEFT_OK);
            assert_true(deft_tensor_equal(&saved, &loaded));
            if (deft_tensor_bytes(&saved)) {
                ((unsigned char *)loaded.data)[0] ^= 1;
                assert_false(deft_tensor_equal(&saved, &loaded));
            }
            deft_release(ctx, saved.data);
            deft_release(ctx, loaded.data);
        }
    test_context_free(ctx);
}

static void test_files_that_cannot_be(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_tensor tensor;
    deft_npz npz;
    assert_int_equal(deft_npy_load(ctx, "missing.npy", &tensor), DEFT_INVALID);
    assert_non_null(strstr(deft_context_message(ctx), "missing.npy"));
    assert_int_equal(deft_npy_load(ctx, ".", &tensor), DEFT_INVALID);
    assert_int_equal(deft_npz_load(ctx, "missing.npz", &npz), DEFT_INVALID);
    assert_int_equal(deft_npz_load(ctx, "/dev/null", &npz), DEFT_INVALID);
    float one = 1;
    deft_npz_entry entry = {"x", {.dtype = DEFT_F32, .data = &one}};
    assert_int_equal(deft_npy_save(ctx, "no/such/folder.npy", &entry.tensor), DEFT_IO);
    assert_int_equal(deft_npz_save(ctx, "no/such/folder.npz", &entry, 1), DEFT_IO);
    if (access("/dev/full", W_OK) == 0) {
        assert_int_equal(deft_npy_save(ctx, "/dev/full", &entry.tensor), DEFT_IO);
        assert_int_equal(deft_npz_save(ctx, "/dev/full", &entry, 1), DEFT_IO);
    }
    entry.tensor.dtype = DEFT_BF16;
    assert_int_equal(deft_npy_save(ctx, "c.npy", &entry.tensor), DEFT_UNSUPPORTED);
    assert_int_equal(deft_npz_save(ctx, "c.npz", &entry, 1), DEFT_UNSUPPORTED);
    assert_non_null(strstr(deft_context_message(ctx), "bf16"));
    assert_int_not_equal(access("c.npy", F_OK), 0);
    test_context_free(ctx);
}

/* ---- npz ------------------------------------------------------------------------------------------------------- */

/* An entry of a zip made by hand, so that it can lie. */
typedef struct zip_entry {
    const char *name;
    bytes content;      /* as it stands in the file */
    int method, flags;  /* 0: stored, 8: deflated; 1: encrypted */
    uint32_t size, crc; /* as stated, unpacked */
} zip_entry;

static zip_entry stored(const char *name, bytes content) {
    zip_entry entry = {.name = name, .content = content, .size = (uint32_t)content.count};
    entry.crc = (uint32_t)crc32(0, content.at, (uInt)content.count);
    return entry;
}

static void append_zip_fields(bytes *out, const zip_entry *entry) {
    append_number(out, 20, 2);
    append_number(out, (unsigned)entry->flags, 2);
    append_number(out, (unsigned)entry->method, 2);
    append_number(out, 0x210000, 4);
    append_number(out, entry->crc, 4);
    append_number(out, entry->content.count, 4);
    append_number(out, entry->size, 4);
    append_number(out, strlen(entry->name), 2);
    append_number(out, 0, 2);
}

/* `overlap`: every entry of the directory names the first one's bytes. */
static bytes zip_of(const zip_entry *entries, int count, bool overlap) {
    bytes out = {0};
    size_t offsets[8];
    for (int i = 0; i < count; i++) {
        offsets[i] = overlap ? 0 : out.count;
        if (overlap && i) continue;
        append(&out, "PK\3\4", 4);
        append_zip_fields(&out, &entries[i]);
        append(&out, entries[i].name, strlen(entries[i].name));
        append(&out, entries[i].content.at, entries[i].content.count);
    }
    size_t directory = out.count;
    for (int i = 0; i < count; i++) {
        append(&out, "PK\1\2\24\0", 6);
        append_zip_fields(&out, &entries[i]);
        append_number(&out, 0, 6); /* no comment, first disk, no attributes */
        append_number(&out, 0, 4);
        append_number(&out, offsets[i], 4);
        append(&out, entries[i].name, strlen(entries[i].name));
    }
    size_t directory_bytes = out.count - directory;
    append(&out, "PK\5\6\0\0\0\0", 8);
    append_number(&out, (unsigned)count, 2);
    append_number(&out, (unsigned)count, 2);
    append_number(&out, directory_bytes, 4);
    append_number(&out, directory, 4);
    append_number(&out, 0, 2);
    return out;
}

static bytes f32_2x3(void) {
    return npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n", six, sizeof six);
}

static void expect_npz_failure(deft_context *ctx, const bytes *file, deft_status wanted, const char *message) {
    deft_npz npz;
    deft_status status = deft_npz_parse(ctx, file->at, file->count, &npz);
    if (status != wanted || !strstr(deft_context_message(ctx), message))
        fail_msg("%s (%s), expected %s (...%s...)", deft_status_name(status), deft_context_message(ctx),
                 deft_status_name(wanted), message);
    assert_int_equal(atomic_load(&ctx->live_bytes), 0);
}

static void test_npz_round_trip(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    float x[6];
    int64_t y[] = {3, -1};
    memcpy(x, six, sizeof six);
    deft_npz_entry entries[] = {
        {"x", {DEFT_F32, 2, {2, 3}, x}}, {"deep/y", {DEFT_I64, 1, {2}, y}}, {"none", {DEFT_F64, 2, {0, 3}, NULL}}};
    assert_int_equal(deft_npz_save(ctx, "d.npz", entries, 3), DEFT_OK);
    deft_npz npz;
    assert_int_equal(deft_npz_load(ctx, "d.npz", &npz), DEFT_OK);
    assert_int_equal(npz.count, 3);
    for (int i = 0; i < 3; i++) {
        assert_string_equal(npz.entries[i].name, entries[i].name);
        assert_true(deft_tensor_equal(deft_npz_find(&npz, entries[i].name), &entries[i].tensor));
    }
    assert_null(deft_npz_find(&npz, "z"));
    assert_null(deft_npz_find(&npz, "x.npy"));
    deft_npz_done(&npz);
    deft_npz_done(&npz);

    void *first, *second;
    size_t first_bytes, second_bytes;
    assert_int_equal(deft_file_read(ctx, "d.npz", 10000, &first, &first_bytes), DEFT_OK);
    assert_int_equal(deft_npz_save(ctx, "d.npz", entries, 3), DEFT_OK);
    assert_int_equal(deft_file_read(ctx, "d.npz", 10000, &second, &second_bytes), DEFT_OK);
    assert_int_equal(first_bytes, second_bytes);
    assert_memory_equal(first, second, first_bytes);
    deft_release(ctx, first);
    deft_release(ctx, second);

    entries[1].name = "x";
    assert_int_equal(deft_npz_save(ctx, "e.npz", entries, 2), DEFT_INVALID);
    assert_int_equal(deft_npz_save(ctx, "e.npz", entries, 0), DEFT_INVALID);
    assert_int_not_equal(access("e.npz", F_OK), 0);
    test_context_free(ctx);
}

static void test_npz_by_hand(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    const zip_entry good = stored("x.npy", f32_2x3());
    const bytes file = zip_of(&good, 1, false);
    deft_npz npz;
    assert_int_equal(deft_npz_parse(ctx, file.at, file.count, &npz), DEFT_OK);
    assert_int_equal(npz.count, 1);
    assert_memory_equal(deft_npz_find(&npz, "x")->data, six, sizeof six);
    deft_npz_done(&npz);
    for (size_t count = 0; count < file.count; count++)
        assert_int_equal(deft_npz_parse(ctx, file.at, count, &npz), DEFT_INVALID);
    assert_int_equal(atomic_load(&ctx->live_bytes), 0);

    zip_entry bad = good;
    bad.crc ^= 1;
    bytes wrong = zip_of(&bad, 1, false);
    expect_npz_failure(ctx, &wrong, DEFT_INVALID, "array 'x': it is damaged");
    bad = good;
    bad.name = "x.txt";
    wrong = zip_of(&bad, 1, false);
    expect_npz_failure(ctx, &wrong, DEFT_INVALID, "'x.txt' is not an .npy");
    bad.name = ".npy";
    wrong = zip_of(&bad, 1, false);
    expect_npz_failure(ctx, &wrong, DEFT_INVALID, "'.npy' is not an .npy");
    bad = good;
    bad.method = 12;
    wrong = zip_of(&bad, 1, false);
    expect_npz_failure(ctx, &wrong, DEFT_UNSUPPORTED, "compression method 12");
    bad = good;
    bad.flags = 1;
    wrong = zip_of(&bad, 1, false);
    expect_npz_failure(ctx, &wrong, DEFT_UNSUPPORTED, "encrypted");
    bad = stored("x.npy", npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4), }\n", six, sizeof six));
    wrong = zip_of(&bad, 1, false);
    expect_npz_failure(ctx, &wrong, DEFT_INVALID, "array 'x': npy: shape 2x4 of f32 takes 32 bytes");
    const zip_entry twice[] = {good, good};
    wrong = zip_of(twice, 2, false);
    expect_npz_failure(ctx, &wrong, DEFT_INVALID, "two arrays are named 'x'");
    test_context_free(ctx);
}

static void *allocate_a_little(void *user, size_t size) {
    (void)user;
    return size <= 1 << 20 ? aligned_alloc(64, (size + 63) / 64 * 64) : NULL;
}

static void release(void *user, void *memory, size_t size) {
    (void)user;
    (void)size;
    free(memory);
}

/* Arrays that state more than the file can hold are refused before memory is taken for them: with a megabyte, the
 * answer is not DEFT_MEMORY. */
static void test_npz_bombs(void **state) {
    (void)state;
    deft_context *ctx = NULL;
    deft_context_options options = {.cache_directory = "", .allocator = {allocate_a_little, release, NULL}};
    assert_int_equal(deft_context_new(&options, &ctx), DEFT_OK);

    /* 4 GB stated by 24 bytes, stored and deflated. */
    zip_entry bomb = stored(
        "x.npy", npy(1, "{'descr': '|u1', 'fortran_order': False, 'shape': (4000000000,), }\n", six, sizeof six));
    bomb.size = 4000000000u;
    bytes file = zip_of(&bomb, 1, false);
    expect_npz_failure(ctx, &file, DEFT_INVALID, "more than a file of");
    bomb.method = 8;
    file = zip_of(&bomb, 1, false);
    expect_npz_failure(ctx, &file, DEFT_INVALID, "more than a file of");

    /* Many entries that share their bytes. */
    bytes wide = npy(1, "{'descr': '|u1', 'fortran_order': False, 'shape': (1000,), }\n", (char[1000]){0}, 1000);
    zip_entry shared[5];
    const char *const names[] = {"a.npy", "b.npy", "c.npy", "d.npy", "e.npy"};
    for (int i = 0; i < 5; i++)
        shared[i] = stored(names[i], wide);
    file = zip_of(shared, 5, true);
    expect_npz_failure(ctx, &file, DEFT_INVALID, "more than a file of");
    deft_context_free(ctx);
}

static void test_npz_deflated(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    /* A megabyte of zeros: near the best that deflate can do. */
    enum { COUNT = 1000000 };
    bytes head = npy(1, "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000,), }\n", NULL, 0);
    unsigned char *plain = calloc(1, head.count + COUNT);
    memcpy(plain, head.at, head.count);
    zip_entry entry = {.name = "x.npy", .method = 8, .size = (uint32_t)head.count + COUNT};
    entry.crc = (uint32_t)crc32(0, plain, entry.size);
    z_stream stream = {.next_in = plain, .avail_in = entry.size, .next_out = entry.content.at, .avail_out = 4096};
    assert_int_equal(deflateInit2(&stream, 9, Z_DEFLATED, -MAX_WBITS, 9, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    entry.content.count = stream.total_out;
    deflateEnd(&stream);
    bytes file = zip_of(&entry, 1, false);
    deft_npz npz;
    assert_int_equal(deft_npz_parse(ctx, file.at, file.count, &npz), DEFT_OK);
    const deft_tensor *x = deft_npz_find(&npz, "x");
    assert_int_equal(x->dims[0], COUNT);
    assert_memory_equal(x->data, plain + head.count, COUNT);
    deft_npz_done(&npz);

    /* States less than it unpacks to, and more. */
    entry.size -= 1;
    file = zip_of(&entry, 1, false);
    expect_npz_failure(ctx, &file, DEFT_INVALID, "takes 1000000 bytes of values, 999999 are there");
    entry.size += 2;
    file = zip_of(&entry, 1, false);
    expect_npz_failure(ctx, &file, DEFT_INVALID, "takes 1000000 bytes of values, 1000001 are there");
    free(plain);
    test_context_free(ctx);
}

/* ---- memory ---------------------------------------------------------------------------------------------------- */

static deft_status parse_npy(deft_context *ctx, void *user) {
    const bytes *file = user;
    deft_tensor tensor;
    DEFT_TRY(deft_npy_parse(ctx, file->at, file->count, &tensor));
    deft_release(ctx, tensor.data);
    return DEFT_OK;
}

static deft_status save_and_load(deft_context *ctx, void *user) {
    const deft_npz_entry *entries = user;
    deft_tensor tensor;
    deft_npz npz;
    DEFT_TRY(deft_npy_save(ctx, "f.npy", &entries[0].tensor));
    DEFT_TRY(deft_npy_load(ctx, "f.npy", &tensor));
    deft_release(ctx, tensor.data);
    DEFT_TRY(deft_npz_save(ctx, "f.npz", entries, 2));
    DEFT_TRY(deft_npz_load(ctx, "f.npz", &npz));
    deft_npz_done(&npz);
    return DEFT_OK;
}

static void test_out_of_memory(void **state) {
    (void)state;
    bytes file = f32_2x3();
    check_every_allocation_failure(parse_npy, &file);
    float x[6] = {0};
    deft_npz_entry entries[] = {{"x", {DEFT_F32, 2, {2, 3}, x}}, {"y", {DEFT_F32, 1, {6}, x}}};
    check_every_allocation_failure(save_and_load, entries);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_versions_and_spellings),
        cmocka_unit_test(test_malformed_headers),
        cmocka_unit_test(test_malformed_files),
        cmocka_unit_test(test_random_damage),
        cmocka_unit_test(test_saves_what_numpy_saves),
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_files_that_cannot_be),
        cmocka_unit_test(test_npz_round_trip),
        cmocka_unit_test(test_npz_by_hand),
        cmocka_unit_test(test_npz_bombs),
        cmocka_unit_test(test_npz_deflated),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "learn/data/idx.h"

#include "base/core/file.h"

#include <limits.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

/* The format: two zero bytes, the type, the rank; a big-endian u32 for each dimension; the values (Y. LeCun's page on
 * MNIST). */
enum {
    TYPE_U8 = 0x08,
    HEADER_MAX_BYTES = 4 + 4 * DEFT_MAX_RANK,
    /* Deflate takes two bits or more for a match, which is of 258 bytes or less. */
    DEFLATE_MAX_RATIO = 1032
};
static const size_t FILE_MAX_BYTES = (size_t)1 << 34;

/* Where the bytes come from: memory, inflated on the way if it is gz. */
typedef struct source {
    deft_context *ctx;
    const unsigned char *at, *end;
    bool gz;
    z_stream stream;
} source;

static void *zlib_allocate(void *user, unsigned count, unsigned size) {
    void *memory;
    return deft_allocate_zeroed(user, count, size, &memory) == DEFT_OK ? memory : NULL;
}

static void zlib_release(void *user, void *memory) {
    deft_release(user, memory);
}

static deft_status source_init(source *in, deft_context *ctx, const void *data, size_t bytes) {
    *in = (source){.ctx = ctx, .at = data, .end = (const unsigned char *)data + bytes};
    in->gz = bytes >= 2 && in->at[0] == 0x1f && in->at[1] == 0x8b;
    if (!in->gz) return DEFT_OK;
    in->stream = (z_stream){.zalloc = zlib_allocate, .zfree = zlib_release, .opaque = ctx};
    /* 16: gzip, whose checksum zlib compares. */
    if (inflateInit2(&in->stream, 16 + MAX_WBITS) == Z_OK) return DEFT_OK;
    in->gz = false;
    return deft_fail(ctx, DEFT_MEMORY, "out of memory for inflating");
}

static void source_done(source *in) {
    if (in->gz) inflateEnd(&in->stream);
}

static unsigned at_most_uint(size_t bytes) {
    return bytes < UINT_MAX ? (unsigned)bytes : UINT_MAX;
}

/* One step of inflating into out[bytes], which may be empty; zlib's answer in `result`. Returns how much was written.
 */
static size_t inflate_some(source *in, unsigned char *out, size_t bytes, int *result) {
    z_stream *stream = &in->stream;
    unsigned given = at_most_uint((size_t)(in->end - in->at)), room = at_most_uint(bytes);
    stream->next_in = (unsigned char *)in->at; /* zlib does not write there */
    stream->avail_in = given;
    stream->next_out = out;
    stream->avail_out = room;
    *result = inflate(stream, Z_NO_FLUSH);
    in->at += given - stream->avail_in;
    return room - stream->avail_out;
}

/* Reads exactly `bytes`; `what` is for the message. */
static deft_status source_read(source *in, const char *what, void *out, size_t bytes) {
    size_t used = 0;
    if (!in->gz) {
        size_t there = (size_t)(in->end - in->at);
        used = there < bytes ? there : bytes;
        if (used) memcpy(out, in->at, used);
        in->at += used;
    }
    while (in->gz && used < bytes) {
        int result;
        used += inflate_some(in, (unsigned char *)out + used, bytes - used, &result);
        if (result == Z_MEM_ERROR) return deft_fail(in->ctx, DEFT_MEMORY, "out of memory for inflating");
        if (result == Z_DATA_ERROR || result == Z_NEED_DICT)
            return deft_fail(in->ctx, DEFT_INVALID, "%s: the gzip data is damaged (%s); fetch the file again", what,
                             in->stream.msg ? in->stream.msg : "inflate failed");
        if (result != Z_OK) break;
    }
    if (used == bytes) return DEFT_OK;
    return deft_fail(in->ctx, DEFT_INVALID, "%s: cut off: %zu bytes expected, %zu are there; fetch the file again",
                     what, bytes, used);
}

/* Checks that nothing follows, and for gz, that the checksum at the end holds. */
static deft_status source_finish(source *in) {
    int result = Z_STREAM_END;
    unsigned char extra;
    size_t more = in->gz ? inflate_some(in, &extra, 1, &result) : 0;
    if (more || (in->at != in->end && result == Z_STREAM_END))
        return deft_fail(in->ctx, DEFT_INVALID, "there are bytes after the last value; fetch the file again");
    if (result == Z_MEM_ERROR) return deft_fail(in->ctx, DEFT_MEMORY, "out of memory for inflating");
    if (result != Z_STREAM_END)
        return deft_fail(in->ctx, DEFT_INVALID, "the end of the gzip data is damaged or cut off; fetch the file again");
    return DEFT_OK;
}

static deft_status read_header(source *in, deft_tensor *tensor) {
    unsigned char magic[4], dims[HEADER_MAX_BYTES - 4];
    DEFT_TRY(source_read(in, "IDX header", magic, sizeof magic));
    int type = magic[2], rank = magic[3];
    bool known = type == TYPE_U8 || type == 0x09 || (type >= 0x0b && type <= 0x0e);
    if (magic[0] || magic[1] || !known || rank == 0)
        return deft_fail(in->ctx, DEFT_INVALID,
                         "not an IDX file: it begins with %02x %02x %02x %02x, not 00 00 08 rank", magic[0], magic[1],
                         type, rank);
    if (type != TYPE_U8)
        return deft_fail(in->ctx, DEFT_UNSUPPORTED, "IDX type %02x; only unsigned bytes (08) are read", type);
    if (rank > DEFT_MAX_RANK)
        return deft_fail(in->ctx, DEFT_UNSUPPORTED, "IDX of %d dimensions; at most %d are read", rank, DEFT_MAX_RANK);
    DEFT_TRY(source_read(in, "IDX dimensions", dims, 4 * (size_t)rank));
    *tensor = (deft_tensor){.dtype = DEFT_U8, .rank = rank};
    for (int i = 0; i < rank; i++)
        tensor->dims[i] = (int64_t)dims[4 * i] << 24 | dims[4 * i + 1] << 16 | dims[4 * i + 2] << 8 | dims[4 * i + 3];
    char text[DEFT_SHAPE_TEXT_BYTES];
    if (!deft_shape_valid(DEFT_U8, rank, tensor->dims))
        return deft_fail(in->ctx, DEFT_INVALID, "IDX shape %s is not a size that memory can hold",
                         deft_shape_text(tensor, text, sizeof text));
    /* Before memory is taken for it. */
    size_t bytes = deft_tensor_bytes(tensor), rest = (size_t)(in->end - in->at);
    if (in->gz ? bytes / DEFLATE_MAX_RATIO > rest + HEADER_MAX_BYTES : bytes > rest)
        return deft_fail(in->ctx, DEFT_INVALID,
                         "IDX shape %s: cut off: the %zu bytes left cannot hold that; fetch the file again",
                         deft_shape_text(tensor, text, sizeof text), rest);
    return DEFT_OK;
}

deft_status deft_idx_parse(deft_context *ctx, const void *data, size_t bytes, deft_tensor *tensor) {
    source in;
    deft_tensor read = {0};
    deft_status status;
    DEFT_TRY(source_init(&in, ctx, data, bytes));
    DEFT_TRY_OR_FAIL(read_header(&in, &read));
    DEFT_TRY_OR_FAIL(deft_tensor_allocate(ctx, &read));
    DEFT_TRY_OR_FAIL(source_read(&in, "IDX values", read.data, deft_tensor_bytes(&read)));
    DEFT_TRY_OR_FAIL(source_finish(&in));
    source_done(&in);
    *tensor = read;
    return DEFT_OK;
fail:
    source_done(&in);
    deft_release(ctx, read.data);
    return status;
}

deft_status deft_idx_load(deft_context *ctx, const char *path, deft_tensor *tensor) {
    char *packed_path = NULL;
    void *data = NULL;
    size_t bytes = 0, length = strlen(path);
    DEFT_TRY(deft_allocate(ctx, length + sizeof ".gz", &packed_path));
    memcpy(packed_path, path, length);
    memcpy(packed_path + length, ".gz", sizeof ".gz");
    bool packed = access(path, F_OK) != 0 && access(packed_path, F_OK) == 0;
    deft_status status = deft_file_read(ctx, packed ? packed_path : path, FILE_MAX_BYTES, &data, &bytes);
    if (status == DEFT_OK) {
        status = deft_idx_parse(ctx, data, bytes, tensor);
        if (status != DEFT_OK) status = deft_fail_in(ctx, status, "%s", packed ? packed_path : path);
        deft_release(ctx, data);
    }
    deft_release(ctx, packed_path);
    return status;
}

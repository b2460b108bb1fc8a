#include "ir/model/file.h"

#include "base/core/file.h"
#include "ir/model/onnx.h"

#include <string.h>
#include <zip.h>

/* Protobuf holds no more. */
static const size_t FILE_MAX_BYTES = 0x7fffffff;
/* Zeros in weights compress well, but deflate's thousandfold would let a small file fill the memory. */
static const uint64_t MAX_COMPRESSION = 256, FREE_BYTES = 1024 * 1024;

static const char MODEL_ENTRY[] = "model.onnx", FRONTIER_ENTRY[] = "frontier.json";

/* ---- reading ------------------------------------------------------------------------------------------------- */

static deft_status open_zip(deft_context *ctx, const void *data, size_t bytes, zip_t **out) {
    zip_error_t error;
    zip_error_init(&error);
    zip_source_t *source = zip_source_buffer_create(data, bytes, 0, &error);
    zip_t *zip = source ? zip_open_from_source(source, ZIP_RDONLY | ZIP_CHECKCONS, &error) : NULL;
    deft_status status = DEFT_OK;
    if (!zip) {
        bool memory = zip_error_code_zip(&error) == ZIP_ER_MEMORY;
        status = deft_fail(ctx, memory ? DEFT_MEMORY : DEFT_INVALID, "not a .deft file, or damaged: %s",
                           zip_error_strerror(&error));
        if (source) zip_source_free(source);
    }
    zip_error_fini(&error);
    *out = zip;
    return status;
}

static deft_status check_entry(deft_context *ctx, const char *name, const zip_stat_t *info, size_t file_bytes) {
    const zip_uint64_t needed = ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD;
    if ((info->valid & needed) != needed)
        return deft_fail(ctx, DEFT_INVALID, "the .deft file is damaged: the size of its %s is missing", name);
    if (info->comp_method != ZIP_CM_STORE && info->comp_method != ZIP_CM_DEFLATE)
        return deft_fail(ctx, DEFT_UNSUPPORTED, "%s is compressed by method %d; Deft reads deflate", name,
                         info->comp_method);
    if (info->comp_size > file_bytes || info->size > info->comp_size * MAX_COMPRESSION + FREE_BYTES ||
        info->size > FILE_MAX_BYTES)
        return deft_fail(ctx, DEFT_INVALID, "the .deft file is damaged: its %s states %llu bytes in a file of %zu",
                         name, (unsigned long long)info->size, file_bytes);
    return DEFT_OK;
}

/* To the end, where libzip compares the checksum. */
static bool read_exactly(zip_file_t *file, char *out, size_t bytes) {
    char extra;
    for (size_t used = 0; used < bytes;) {
        zip_int64_t got = zip_fread(file, out + used, bytes - used);
        if (got <= 0) return false;
        used += (size_t)got;
    }
    return zip_fread(file, &extra, 1) == 0;
}

/* An entry with a 0 behind it; NULL where there is none of that name. */
static deft_status read_entry(deft_context *ctx, zip_t *zip, size_t file_bytes, const char *name, char **out,
                              size_t *out_bytes) {
    zip_stat_t info;
    zip_stat_init(&info);
    *out = NULL;
    if (zip_stat(zip, name, 0, &info) != 0) return DEFT_OK;
    DEFT_TRY(check_entry(ctx, name, &info, file_bytes));
    zip_file_t *file = zip_fopen_index(zip, info.index, 0);
    if (!file) return deft_fail(ctx, DEFT_INVALID, "the .deft file is damaged: its %s: %s", name, zip_strerror(zip));
    char *data = NULL;
    deft_status status = deft_allocate(ctx, info.size + 1, &data);
    if (status == DEFT_OK && !read_exactly(file, data, info.size))
        status = deft_fail(ctx, DEFT_INVALID, "the .deft file is damaged: its %s does not unpack", name);
    zip_fclose(file);
    if (status != DEFT_OK) {
        deft_release(ctx, data);
        return status;
    }
    data[info.size] = 0;
    *out = data;
    *out_bytes = info.size;
    return DEFT_OK;
}

static deft_status parse_deft(deft_context *ctx, const void *data, size_t bytes, deft_model_file *file) {
    deft_model_file read = {0};
    char *model = NULL;
    size_t model_bytes = 0, frontier_bytes;
    zip_t *zip;
    deft_status status;
    DEFT_TRY(open_zip(ctx, data, bytes, &zip));
    DEFT_TRY_OR_FAIL(read_entry(ctx, zip, bytes, MODEL_ENTRY, &model, &model_bytes));
    if (!model) {
        status = deft_fail(ctx, DEFT_INVALID, "not a .deft file: it is a zip without a %s", MODEL_ENTRY);
        goto fail;
    }
    DEFT_TRY_OR_FAIL(read_entry(ctx, zip, bytes, FRONTIER_ENTRY, &read.frontier, &frontier_bytes));
    DEFT_TRY_OR_FAIL(deft_onnx_parse(ctx, model, model_bytes, &read.graph));
    deft_release(ctx, model);
    zip_discard(zip);
    *file = read;
    return DEFT_OK;
fail:
    deft_release(ctx, model);
    deft_release(ctx, read.frontier);
    zip_discard(zip);
    return status;
}

deft_status deft_model_file_parse(deft_context *ctx, const void *data, size_t bytes, deft_model_file *file) {
    if (bytes == 0) return deft_fail(ctx, DEFT_INVALID, "not a model: it is empty");
    if (bytes >= 2 && memcmp(data, "PK", 2) == 0) return parse_deft(ctx, data, bytes, file);
    deft_graph *graph;
    DEFT_TRY(deft_onnx_parse(ctx, data, bytes, &graph));
    *file = (deft_model_file){.graph = graph};
    return DEFT_OK;
}

deft_status deft_model_file_load(deft_context *ctx, const char *path, deft_model_file *file) {
    void *data;
    size_t bytes;
    DEFT_TRY(deft_file_read(ctx, path, FILE_MAX_BYTES, &data, &bytes));
    deft_status status = deft_model_file_parse(ctx, data, bytes, file);
    deft_release(ctx, data);
    return status == DEFT_OK ? DEFT_OK : deft_fail_in(ctx, status, "%s", path);
}

/* ---- writing ------------------------------------------------------------------------------------------------- */

/* Adds an entry, which must stay until the zip is closed. Its day is 1980-01-01: equal models make equal files. */
static deft_status add_entry(deft_context *ctx, zip_t *zip, const char *name, const void *data, size_t bytes) {
    zip_source_t *source = zip_source_buffer(zip, data, bytes, 0);
    zip_int64_t index = source ? zip_file_add(zip, name, source, ZIP_FL_ENC_UTF_8) : -1;
    if (index < 0 && source) zip_source_free(source);
    if (index < 0 || zip_set_file_compression(zip, (zip_uint64_t)index, ZIP_CM_DEFLATE, 0) != 0 ||
        zip_file_set_dostime(zip, (zip_uint64_t)index, 0, 1 << 5 | 1, 0) != 0)
        return deft_fail(ctx, DEFT_MEMORY, "cannot pack %s: %s", name, zip_strerror(zip));
    return DEFT_OK;
}

/* Copies what was written to a source: release with deft_release. */
static deft_status take_source(deft_context *ctx, zip_source_t *source, void **data, size_t *bytes) {
    zip_stat_t info;
    zip_stat_init(&info);
    if (zip_source_stat(source, &info) != 0 || zip_source_open(source) != 0)
        return deft_fail(ctx, DEFT_MEMORY, "cannot read the zip back: %s",
                         zip_error_strerror(zip_source_error(source)));
    deft_status status = deft_allocate(ctx, info.size, data);
    if (status == DEFT_OK && zip_source_read(source, *data, info.size) != (zip_int64_t)info.size) {
        status = deft_fail(ctx, DEFT_MEMORY, "cannot read the zip back");
        deft_release(ctx, *data);
    }
    zip_source_close(source);
    *bytes = info.size;
    return status;
}

static deft_status pack_deft(deft_context *ctx, const void *model, size_t model_bytes, const char *frontier,
                             void **data, size_t *bytes) {
    deft_status status;
    zip_source_t *source = zip_source_buffer_create(NULL, 0, 0, NULL);
    zip_t *zip = source ? zip_open_from_source(source, ZIP_TRUNCATE, NULL) : NULL;
    if (!zip) {
        status = deft_fail(ctx, DEFT_MEMORY, "cannot begin a zip");
        goto fail;
    }
    zip_source_keep(source); /* closing the zip releases it once */
    DEFT_TRY_OR_FAIL(add_entry(ctx, zip, MODEL_ENTRY, model, model_bytes));
    if (frontier) DEFT_TRY_OR_FAIL(add_entry(ctx, zip, FRONTIER_ENTRY, frontier, strlen(frontier)));
    if (zip_close(zip) != 0) {
        status = deft_fail(ctx, DEFT_MEMORY, "cannot write the zip: %s", zip_strerror(zip));
        goto fail;
    }
    zip = NULL;
    DEFT_TRY_OR_FAIL(take_source(ctx, source, data, bytes));
fail:
    if (zip) zip_discard(zip);
    if (source) zip_source_free(source);
    return status;
}

static deft_status serialize_deft(deft_context *ctx, const deft_graph *graph, const char *frontier, void **data,
                                  size_t *bytes) {
    void *model;
    size_t model_bytes;
    DEFT_TRY(deft_onnx_serialize(graph, &model, &model_bytes));
    deft_status status = pack_deft(ctx, model, model_bytes, frontier, data, bytes);
    deft_release(graph->ctx, model);
    return status;
}

static bool ends_in(const char *text, const char *end) {
    size_t length = strlen(text), end_length = strlen(end);
    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

deft_status deft_model_file_save(deft_context *ctx, const char *path, const deft_graph *graph, const char *frontier) {
    bool deft = ends_in(path, ".deft");
    deft_context *owner = deft ? ctx : graph->ctx;
    void *data;
    size_t bytes;
    deft_status status =
        deft ? serialize_deft(ctx, graph, frontier, &data, &bytes) : deft_onnx_serialize(graph, &data, &bytes);
    if (status != DEFT_OK) return deft_fail_in(ctx, status, "%s", path);
    status = deft_file_write(ctx, path, data, bytes);
    deft_release(owner, data);
    return status;
}

deft_status deft_model_file_bytes(deft_context *ctx, const deft_graph *graph, const char *frontier, int64_t *bytes) {
    void *data;
    size_t size;
    DEFT_TRY(serialize_deft(ctx, graph, frontier, &data, &size));
    deft_release(ctx, data);
    *bytes = (int64_t)size;
    return DEFT_OK;
}

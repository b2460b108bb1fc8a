#include "ir/model/file.h"

#include "base/core/file.h"
#include "base/core/zip.h"
#include "ir/model/onnx.h"

#include <string.h>

/* Protobuf holds no more. */
static const size_t FILE_MAX_BYTES = 0x7fffffff;
/* Zeros in weights compress well, but deflate's thousandfold would let a small file fill the memory. */
static const uint64_t MAX_COMPRESSION = 256, FREE_BYTES = 1024 * 1024;

static const char MODEL_ENTRY[] = "model.onnx", FRONTIER_ENTRY[] = "frontier.json";

/* ---- reading ------------------------------------------------------------------------------------------------- */

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

/* *file is NULL where there is none of that name. */
static deft_status open_entry(deft_context *ctx, zip_t *zip, size_t file_bytes, const char *name, zip_file_t **file,
                              size_t *bytes) {
    zip_stat_t info;
    zip_stat_init(&info);
    *file = NULL;
    if (zip_stat(zip, name, 0, &info) != 0) return DEFT_OK;
    DEFT_TRY(check_entry(ctx, name, &info, file_bytes));
    *file = zip_fopen_index(zip, info.index, 0);
    *bytes = info.size;
    if (*file) return DEFT_OK;
    return deft_fail(ctx, DEFT_INVALID, "the .deft file is damaged: its %s: %s", name, zip_strerror(zip));
}

static deft_status in_entry(deft_context *ctx, deft_status status, const char *name) {
    return status == DEFT_OK ? DEFT_OK : deft_fail_in(ctx, status, "the .deft file's %s", name);
}

/* The frontier's text; NULL where there is none. */
static deft_status read_frontier(deft_context *ctx, zip_t *zip, size_t file_bytes, char **text) {
    zip_file_t *file;
    size_t bytes;
    DEFT_TRY(open_entry(ctx, zip, file_bytes, FRONTIER_ENTRY, &file, &bytes));
    if (!file) return DEFT_OK;
    deft_status status = deft_allocate(ctx, bytes + 1, text);
    if (status == DEFT_OK) status = deft_zip_read(ctx, file, *text, bytes);
    if (status == DEFT_OK) status = deft_zip_read_end(ctx, file);
    zip_fclose(file);
    if (status == DEFT_OK) (*text)[bytes] = 0;
    return in_entry(ctx, status, FRONTIER_ENTRY);
}

static deft_status read_graph(deft_context *ctx, zip_t *zip, size_t file_bytes, const deft_onnx_options *options,
                              deft_graph **graph) {
    zip_file_t *file;
    size_t bytes;
    deft_stream stream;
    DEFT_TRY(open_entry(ctx, zip, file_bytes, MODEL_ENTRY, &file, &bytes));
    if (!file) return deft_fail(ctx, DEFT_INVALID, "not a .deft file: it is a zip without a %s", MODEL_ENTRY);
    deft_status status = deft_zip_stream(ctx, file, bytes, &stream);
    if (status == DEFT_OK) status = deft_onnx_read(&stream, options, graph);
    if (status == DEFT_OK) status = deft_zip_read_end(ctx, file);
    deft_stream_done(&stream);
    zip_fclose(file);
    return in_entry(ctx, status, MODEL_ENTRY);
}

static deft_status parse_deft(deft_context *ctx, const void *data, size_t bytes, const deft_onnx_options *options,
                              deft_model_file *file) {
    deft_model_file read = {0};
    zip_t *zip;
    deft_onnx_options inside = {.missing = options->missing, .user = options->user}; /* it has no folder */
    DEFT_TRY(deft_zip_open(ctx, data, bytes, "a .deft file", &zip));
    deft_status status = read_frontier(ctx, zip, bytes, &read.frontier);
    if (status == DEFT_OK) status = read_graph(ctx, zip, bytes, &inside, &read.graph);
    zip_discard(zip);
    if (status == DEFT_OK) {
        *file = read;
        return DEFT_OK;
    }
    deft_graph_free(read.graph);
    deft_release(ctx, read.frontier);
    return status;
}

/* libzip wants the archive in memory: it is small, being compressed. */
static deft_status read_deft(deft_stream *stream, const deft_onnx_options *options, deft_model_file *file) {
    void *data;
    size_t bytes = stream->bytes;
    DEFT_TRY(deft_allocate(stream->ctx, bytes, &data));
    deft_status status = deft_stream_take(stream, data, bytes);
    if (status == DEFT_OK) status = parse_deft(stream->ctx, data, bytes, options, file);
    deft_release(stream->ctx, data);
    return status;
}

static deft_status read_model(deft_stream *stream, const deft_onnx_options *options, deft_model_file *file) {
    bool zip;
    deft_graph *graph;
    if (stream->bytes == 0) return deft_fail(stream->ctx, DEFT_INVALID, "not a model: it is empty");
    DEFT_TRY(deft_stream_begins_with(stream, "PK", &zip));
    if (zip) return read_deft(stream, options, file);
    DEFT_TRY(deft_onnx_read(stream, options, &graph));
    *file = (deft_model_file){.graph = graph};
    return DEFT_OK;
}

deft_status deft_model_file_parse(deft_context *ctx, const void *data, size_t bytes, deft_model_file *file) {
    deft_stream stream = deft_stream_of_memory(ctx, data, bytes);
    return read_model(&stream, &(deft_onnx_options){0}, file);
}

/* The folder that a file is in. */
static deft_status folder_of(deft_context *ctx, const char *path, char **folder) {
    const char *slash = strrchr(path, '/');
    DEFT_TRY(deft_duplicate_string(ctx, slash ? path : ".", folder));
    if (slash) (*folder)[slash == path ? 1 : slash - path] = '\0';
    return DEFT_OK;
}

deft_status deft_model_file_check(deft_context *ctx, const char *path, void (*missing)(void *user, const char *message),
                                  void *user, deft_model_file *file) {
    char *folder;
    deft_stream stream;
    DEFT_TRY(folder_of(ctx, path, &folder));
    deft_status status = deft_file_open(ctx, path, FILE_MAX_BYTES, &stream);
    if (status == DEFT_OK) {
        status = read_model(&stream, &(deft_onnx_options){folder, missing, user}, file);
        deft_stream_done(&stream);
        if (status != DEFT_OK) status = deft_fail_in(ctx, status, "%s", path);
    }
    deft_release(ctx, folder);
    return status;
}

deft_status deft_model_file_load(deft_context *ctx, const char *path, deft_model_file *file) {
    return deft_model_file_check(ctx, path, NULL, NULL, file);
}

/* ---- writing ------------------------------------------------------------------------------------------------- */

static deft_status add_entry(deft_zip *zip, const char *name, const void *data, size_t bytes, bool deflate) {
    const zip_buffer_fragment_t part = {(zip_uint8_t *)data, bytes};
    return deft_zip_add(zip, name, &part, 1, deflate);
}

static deft_status pack_deft(deft_context *ctx, const void *model, size_t model_bytes, const char *frontier,
                             bool deflate, void **data, size_t *bytes) {
    deft_zip zip;
    DEFT_TRY(deft_zip_begin(ctx, &zip));
    deft_status status = add_entry(&zip, MODEL_ENTRY, model, model_bytes, deflate);
    if (status == DEFT_OK && frontier) status = add_entry(&zip, FRONTIER_ENTRY, frontier, strlen(frontier), true);
    if (status == DEFT_OK) return deft_zip_end(&zip, data, bytes);
    deft_zip_abandon(&zip);
    return status;
}

static deft_status serialize_deft(deft_context *ctx, const deft_graph *graph, const char *frontier, void **data,
                                  size_t *bytes) {
    void *model;
    size_t model_bytes;
    DEFT_TRY(deft_onnx_serialize(graph, &model, &model_bytes));
    deft_status status = pack_deft(ctx, model, model_bytes, frontier, true, data, bytes);
    /* Weights that are nearly all zero pack into less than the reader believes of a file. */
    if (status == DEFT_OK && model_bytes > *bytes * MAX_COMPRESSION) {
        deft_release(ctx, *data);
        status = pack_deft(ctx, model, model_bytes, frontier, false, data, bytes);
    }
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

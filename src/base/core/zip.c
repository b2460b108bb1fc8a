#include "base/core/zip.h"

#include "base/core/file.h"

/* Takes the source over, NULL where it could not be made; `error` says why. */
static deft_status open_source(deft_context *ctx, zip_source_t *source, const char *what, zip_error_t *error,
                               zip_t **zip) {
    *zip = source ? zip_open_from_source(source, ZIP_RDONLY, error) : NULL;
    if (*zip) return DEFT_OK;
    if (source) zip_source_free(source);
    bool memory = zip_error_code_zip(error) == ZIP_ER_MEMORY;
    return deft_fail(ctx, memory ? DEFT_MEMORY : DEFT_INVALID, "not %s, or damaged: %s", what,
                     zip_error_strerror(error));
}

/* To libzip, nothing at all is an empty zip. */
static deft_status fail_empty(deft_context *ctx, const char *what) {
    return deft_fail(ctx, DEFT_INVALID, "not %s: it is empty", what);
}

deft_status deft_zip_open(deft_context *ctx, const void *data, size_t bytes, const char *what, zip_t **zip) {
    if (bytes == 0) return fail_empty(ctx, what);
    zip_error_t error;
    zip_error_init(&error);
    deft_status status = open_source(ctx, zip_source_buffer_create(data, bytes, 0, &error), what, &error, zip);
    zip_error_fini(&error);
    return status;
}

/* Takes the file over. */
static deft_status open_file(deft_context *ctx, FILE *file, uint64_t bytes, const char *what, zip_t **zip) {
    zip_error_t error;
    zip_error_init(&error);
    zip_source_t *source = bytes ? zip_source_filep_create(file, 0, -1, &error) : NULL;
    if (!source) fclose(file);
    deft_status status = bytes ? open_source(ctx, source, what, &error, zip) : fail_empty(ctx, what);
    zip_error_fini(&error);
    return status;
}

deft_status deft_zip_open_file(deft_context *ctx, const char *path, const char *what, zip_t **zip, uint64_t *bytes) {
    FILE *file;
    *zip = NULL;
    DEFT_TRY(deft_file_open_regular(ctx, path, &file, bytes));
    if (!file) return DEFT_OK;
    deft_status status = open_file(ctx, file, *bytes, what, zip);
    return status == DEFT_OK ? DEFT_OK : deft_fail_in(ctx, status, "%s", path);
}

deft_status deft_zip_read(deft_context *ctx, zip_file_t *file, void *out, size_t bytes) {
    for (size_t used = 0; used < bytes;) {
        zip_int64_t got = zip_fread(file, (char *)out + used, bytes - used);
        if (got <= 0)
            return deft_fail(ctx, DEFT_INVALID, "it is damaged at byte %zu: %s", used,
                             got < 0 ? zip_file_strerror(file) : "cut off");
        used += (size_t)got;
    }
    return DEFT_OK;
}

static deft_status fill_from_entry(deft_stream *stream, void *data, size_t bytes) {
    return deft_zip_read(stream->ctx, stream->entry, data, bytes);
}

deft_status deft_zip_stream(deft_context *ctx, zip_file_t *file, size_t bytes, deft_stream *stream) {
    DEFT_TRY(deft_stream_init(ctx, bytes, fill_from_entry, stream));
    stream->entry = file;
    return DEFT_OK;
}

deft_status deft_zip_read_end(deft_context *ctx, zip_file_t *file) {
    char extra;
    if (zip_fread(file, &extra, 1) == 0) return DEFT_OK;
    return deft_fail(ctx, DEFT_INVALID, "it is damaged: its checksum or its length is wrong");
}

deft_status deft_zip_begin(deft_context *ctx, deft_zip *zip) {
    *zip = (deft_zip){.ctx = ctx, .source = zip_source_buffer_create(NULL, 0, 0, NULL)};
    if (zip->source) zip->zip = zip_open_from_source(zip->source, ZIP_TRUNCATE, NULL);
    if (!zip->zip) {
        deft_zip_abandon(zip);
        return deft_fail(ctx, DEFT_MEMORY, "cannot begin a zip");
    }
    zip_source_keep(zip->source); /* closing the zip releases it once */
    return DEFT_OK;
}

deft_status deft_zip_add(deft_zip *zip, const char *name, const zip_buffer_fragment_t *parts, int count, bool deflate) {
    zip_source_t *source = zip_source_buffer_fragment(zip->zip, parts, (zip_uint64_t)count, 0);
    zip_int64_t index = source ? zip_file_add(zip->zip, name, source, ZIP_FL_ENC_UTF_8) : -1;
    if (index < 0) {
        if (source) zip_source_free(source);
        bool twice = zip_error_code_zip(zip_get_error(zip->zip)) == ZIP_ER_EXISTS;
        return deft_fail(zip->ctx, twice ? DEFT_INVALID : DEFT_MEMORY, "'%s': %s", name, zip_strerror(zip->zip));
    }
    const zip_uint16_t first_of_1980 = 1 << 5 | 1;
    if (zip_set_file_compression(zip->zip, (zip_uint64_t)index, deflate ? ZIP_CM_DEFLATE : ZIP_CM_STORE, 0) != 0 ||
        zip_file_set_dostime(zip->zip, (zip_uint64_t)index, 0, first_of_1980, 0) != 0)
        return deft_fail(zip->ctx, DEFT_MEMORY, "'%s': %s", name, zip_strerror(zip->zip));
    return DEFT_OK;
}

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

deft_status deft_zip_end(deft_zip *zip, void **data, size_t *bytes) {
    deft_status status = DEFT_OK;
    if (zip_close(zip->zip) == 0)
        zip->zip = NULL;
    else
        status = deft_fail(zip->ctx, DEFT_MEMORY, "cannot write the zip: %s", zip_strerror(zip->zip));
    if (status == DEFT_OK) status = take_source(zip->ctx, zip->source, data, bytes);
    deft_zip_abandon(zip);
    return status;
}

void deft_zip_abandon(deft_zip *zip) {
    if (zip->zip) zip_discard(zip->zip);
    if (zip->source) zip_source_free(zip->source);
    zip->zip = NULL;
    zip->source = NULL;
}

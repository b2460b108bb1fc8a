#include "base/tensor/npy.h"

#include "base/core/file.h"
#include "base/core/zip.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* The format: numpy.lib.format's documentation. "\x93NUMPY", version, length of the header (2 bytes in version 1, 4
 * after), the header: a Python dictionary of descr, fortran_order and shape; then the values. */
enum {
    MAGIC_BYTES = 6,
    /* More than any header that NumPy writes for what is read here, and the most that version 1 can state. */
    HEADER_MAX_BYTES = 65535,
    PREFIX_MAX_BYTES = MAGIC_BYTES + 2 + 4 + HEADER_MAX_BYTES,
    ALIGNMENT = 64
};
static const char magic[MAGIC_BYTES] = "\x93NUMPY";
static const size_t FILE_MAX_BYTES = (size_t)1 << 36;

static const struct {
    deft_dtype dtype;
    char descr[4];
} descrs[] = {{DEFT_F32, "<f4"}, {DEFT_U8, "|u1"},  {DEFT_I8, "|i1"},  {DEFT_U16, "<u2"},
              {DEFT_I16, "<i2"}, {DEFT_I32, "<i4"}, {DEFT_I64, "<i8"}, {DEFT_BOOL, "|b1"},
              {DEFT_F16, "<f2"}, {DEFT_F64, "<f8"}, {DEFT_U32, "<u4"}, {DEFT_U64, "<u8"}};

/* ---- the header ------------------------------------------------------------------------------------------------ */

/* Reads a Python literal; `at` never passes `end`. */
typedef struct cursor {
    deft_context *ctx;
    const char *start, *at, *end;
} cursor;

static deft_status fail_at(const cursor *c, const char *expected) {
    return deft_fail(c->ctx, DEFT_INVALID, "npy header, byte %td: expected %s; write the file again with numpy.save",
                     c->at - c->start, expected);
}

static void skip_space(cursor *c) {
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\n'))
        c->at++;
}

static bool accept(cursor *c, char wanted) {
    skip_space(c);
    if (c->at == c->end || *c->at != wanted) return false;
    c->at++;
    return true;
}

static deft_status expect(cursor *c, char wanted) {
    const char text[] = {'\'', wanted, '\'', 0};
    return accept(c, wanted) ? DEFT_OK : fail_at(c, text);
}

static bool accept_word(cursor *c, const char *word) {
    skip_space(c);
    size_t length = strlen(word);
    if ((size_t)(c->end - c->at) < length || memcmp(c->at, word, length) != 0) return false;
    c->at += length;
    return true;
}

/* A quoted string without escapes, into `out`. */
static deft_status read_string(cursor *c, char *out, size_t bytes) {
    char quote = accept(c, '\'') ? '\'' : accept(c, '"') ? '"' : 0;
    if (!quote) return fail_at(c, "a quoted string");
    const char *close = memchr(c->at, quote, (size_t)(c->end - c->at));
    if (!close || (size_t)(close - c->at) >= bytes || memchr(c->at, '\\', (size_t)(close - c->at)))
        return fail_at(c, "a short string without escapes");
    size_t length = (size_t)(close - c->at);
    memcpy(out, c->at, length);
    out[length] = 0;
    c->at = close + 1;
    return DEFT_OK;
}

static deft_status read_dim(cursor *c, int64_t *out) {
    skip_space(c);
    const char *first = c->at;
    int64_t value = 0;
    for (; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++)
        if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, *c->at - '0', &value))
            return fail_at(c, "a dimension of less than 2^63");
    if (c->at == first) return fail_at(c, "a dimension, 0 or more");
    *out = value;
    return DEFT_OK;
}

/* A tuple: (), (3,), (3, 4). */
static deft_status read_shape(cursor *c, deft_tensor *tensor) {
    DEFT_TRY(expect(c, '('));
    tensor->rank = 0;
    bool comma = true;
    while (!accept(c, ')')) {
        if (!comma) return fail_at(c, "',' or ')'");
        if (tensor->rank == DEFT_MAX_RANK)
            return deft_fail(c->ctx, DEFT_UNSUPPORTED, "npy header: more than %d dimensions; reshape the array",
                             DEFT_MAX_RANK);
        DEFT_TRY(read_dim(c, &tensor->dims[tensor->rank++]));
        comma = accept(c, ',');
    }
    /* In Python, (3) is a number. */
    return tensor->rank == 1 && !comma ? fail_at(c, "',' in a shape of one dimension") : DEFT_OK;
}

static deft_status read_descr(cursor *c, deft_tensor *tensor) {
    char text[32];
    skip_space(c);
    if (c->at < c->end && *c->at == '[')
        return deft_fail(c->ctx, DEFT_UNSUPPORTED,
                         "npy header: an array of records; save one field of it as an array of its own");
    DEFT_TRY(read_string(c, text, sizeof text));
    for (size_t i = 0; i < sizeof descrs / sizeof *descrs; i++) {
        /* Single bytes have no order: any mark will do. */
        bool order = descrs[i].descr[0] == '|' ? strchr("|<>=", text[0]) != NULL : text[0] == '<';
        if (text[0] && order && strcmp(text + 1, descrs[i].descr + 1) == 0) {
            tensor->dtype = descrs[i].dtype;
            return DEFT_OK;
        }
    }
    return deft_fail(c->ctx, DEFT_UNSUPPORTED,
                     "npy header: values of type '%s'; convert to a little-endian number or bool, like astype('<f4')",
                     text);
}

static deft_status read_order(cursor *c) {
    if (accept_word(c, "False")) return DEFT_OK;
    if (!accept_word(c, "True")) return fail_at(c, "True or False");
    return deft_fail(c->ctx, DEFT_UNSUPPORTED,
                     "npy header: the array is in Fortran order; save numpy.ascontiguousarray(a) instead");
}

/* The three keys, each once, in any order. */
static deft_status read_dictionary(cursor *c, deft_tensor *tensor) {
    static const char *const keys[] = {"descr", "fortran_order", "shape"};
    unsigned seen = 0;
    DEFT_TRY(expect(c, '{'));
    for (bool comma = true; !accept(c, '}'); comma = accept(c, ',')) {
        char key[16];
        if (!comma) return fail_at(c, "',' or '}'");
        DEFT_TRY(read_string(c, key, sizeof key));
        unsigned which = 0;
        while (which < 3 && strcmp(key, keys[which]) != 0)
            which++;
        if (which == 3 || seen & 1u << which) return fail_at(c, "descr, fortran_order and shape, each once");
        seen |= 1u << which;
        DEFT_TRY(expect(c, ':'));
        DEFT_TRY(which == 0 ? read_descr(c, tensor) : which == 1 ? read_order(c) : read_shape(c, tensor));
    }
    if (seen != 7) return fail_at(c, "descr, fortran_order and shape, each once");
    skip_space(c);
    return c->at == c->end ? DEFT_OK : fail_at(c, "nothing after the dictionary");
}

/* Reads what stands before the values, from the first `bytes` bytes: type and shape (checked), and where the values
 * begin. */
static deft_status read_prefix(deft_context *ctx, const char *data, size_t bytes, deft_tensor *tensor,
                               size_t *values_at) {
    const unsigned char *raw = (const unsigned char *)data;
    if (bytes < MAGIC_BYTES + 4 || memcmp(data, magic, MAGIC_BYTES) != 0)
        return deft_fail(ctx, DEFT_INVALID, "not an .npy: it does not begin with \\x93NUMPY");
    int major = raw[MAGIC_BYTES], minor = raw[MAGIC_BYTES + 1];
    if (major < 1 || major > 3 || minor != 0)
        return deft_fail(ctx, DEFT_UNSUPPORTED, "npy version %d.%d: only 1.0, 2.0 and 3.0 are known", major, minor);
    size_t at = major == 1 ? 10 : 12, header = raw[8] | (size_t)raw[9] << 8;
    if (bytes < at) return deft_fail(ctx, DEFT_INVALID, "npy header: cut off at %zu bytes", bytes);
    if (major > 1) header |= (size_t)raw[10] << 16 | (size_t)raw[11] << 24;
    if (header > HEADER_MAX_BYTES)
        return deft_fail(ctx, DEFT_INVALID, "npy header: %zu bytes; more than %d are not read", header,
                         HEADER_MAX_BYTES);
    if (bytes - at < header)
        return deft_fail(ctx, DEFT_INVALID, "npy header: cut off; %zu bytes are stated, %zu are there", header,
                         bytes - at);
    cursor c = {ctx, data, data + at, data + at + header};
    *tensor = (deft_tensor){0};
    DEFT_TRY(read_dictionary(&c, tensor));
    if (!deft_shape_valid(tensor->dtype, tensor->rank, tensor->dims)) {
        char text[DEFT_SHAPE_TEXT_BYTES];
        return deft_fail(ctx, DEFT_INVALID, "npy header: shape %s is not a size that memory can hold",
                         deft_shape_text(tensor, text, sizeof text));
    }
    *values_at = at + header;
    return DEFT_OK;
}

/* `bytes`: of the whole array, header and values. */
static deft_status check_length(deft_context *ctx, const deft_tensor *tensor, size_t values_at, size_t bytes) {
    size_t values = deft_tensor_bytes(tensor);
    if (bytes - values_at == values) return DEFT_OK;
    char text[DEFT_SHAPE_TEXT_BYTES];
    return deft_fail(ctx, DEFT_INVALID, "npy: shape %s of %s takes %zu bytes of values, %zu are there: %s",
                     deft_shape_text(tensor, text, sizeof text), deft_dtype_name(tensor->dtype), values,
                     bytes - values_at, bytes - values_at < values ? "it is cut off" : "refused, as something else");
}

/* To read a byte other than 0 and 1 as a C bool is undefined. */
static deft_status check_values(deft_context *ctx, const deft_tensor *tensor) {
    const unsigned char *values = tensor->data;
    size_t bytes = tensor->dtype == DEFT_BOOL ? deft_tensor_bytes(tensor) : 0;
    for (size_t i = 0; i < bytes; i++)
        if (values[i] > 1)
            return deft_fail(ctx, DEFT_INVALID, "npy: element %zu is the byte %d, not a bool (0 or 1)", i, values[i]);
    return DEFT_OK;
}

/* ---- npy ------------------------------------------------------------------------------------------------------- */

deft_status deft_npy_parse(deft_context *ctx, const void *data, size_t bytes, deft_tensor *tensor) {
    deft_tensor read;
    size_t at;
    DEFT_TRY(read_prefix(ctx, data, bytes, &read, &at));
    DEFT_TRY(check_length(ctx, &read, at, bytes));
    DEFT_TRY(deft_tensor_allocate(ctx, &read));
    memcpy(read.data, (const char *)data + at, bytes - at);
    deft_status status = check_values(ctx, &read);
    if (status == DEFT_OK)
        *tensor = read;
    else
        deft_release(ctx, read.data);
    return status;
}

deft_status deft_npy_load(deft_context *ctx, const char *path, deft_tensor *tensor) {
    void *data;
    size_t bytes;
    DEFT_TRY(deft_file_read(ctx, path, FILE_MAX_BYTES, &data, &bytes));
    deft_status status = deft_npy_parse(ctx, data, bytes, tensor);
    deft_release(ctx, data);
    return status == DEFT_OK ? DEFT_OK : deft_fail_in(ctx, status, "%s", path);
}

/* What numpy.save writes before the values, padded so that they are aligned. */
typedef struct prefix {
    size_t bytes;
    char text[4 * ALIGNMENT];
} prefix;

static deft_status write_prefix(deft_context *ctx, const deft_tensor *tensor, prefix *out) {
    const char *descr = NULL;
    for (size_t i = 0; i < sizeof descrs / sizeof *descrs; i++)
        if (descrs[i].dtype == tensor->dtype) descr = descrs[i].descr;
    if (!descr)
        return deft_fail(ctx, DEFT_UNSUPPORTED, "NumPy has no type %s; convert to f32 first",
                         deft_dtype_name(tensor->dtype));
    enum { FIXED = MAGIC_BYTES + 4 };
    size_t used = FIXED, room = sizeof out->text;
    used +=
        (size_t)snprintf(out->text + used, room - used, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr);
    for (int i = 0; i < tensor->rank; i++)
        used += (size_t)snprintf(out->text + used, room - used, "%s%lld%s", i ? ", " : "", (long long)tensor->dims[i],
                                 tensor->rank == 1 ? "," : "");
    used += (size_t)snprintf(out->text + used, room - used, "), }");
    out->bytes = (used + 1 + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    memset(out->text + used, ' ', out->bytes - used);
    out->text[out->bytes - 1] = '\n';
    size_t header = out->bytes - FIXED;
    memcpy(out->text, magic, MAGIC_BYTES);
    memcpy(out->text + MAGIC_BYTES, (char[]){1, 0, (char)(header & 255), (char)(header >> 8)}, 4);
    return DEFT_OK;
}

deft_status deft_npy_save(deft_context *ctx, const char *path, const deft_tensor *tensor) {
    prefix head;
    char *data = NULL;
    size_t values = deft_tensor_bytes(tensor);
    deft_status status;
    DEFT_TRY_OR_FAIL(write_prefix(ctx, tensor, &head));
    DEFT_TRY_OR_FAIL(deft_allocate(ctx, head.bytes + values, &data));
    memcpy(data, head.text, head.bytes);
    if (values) memcpy(data + head.bytes, tensor->data, values);
    status = deft_file_write(ctx, path, data, head.bytes + values);
    deft_release(ctx, data);
    return status;
fail:
    return deft_fail_in(ctx, status, "%s", path);
}

/* ---- npz: reading ---------------------------------------------------------------------------------------------- */

/* Deflate takes two bits or more for a match, which is of 258 bytes or less: 1032:1 is the best it can do. What states
 * more is a lie that would cost its size in memory. */
enum { DEFLATE_MAX_RATIO = 1032, ENTRIES_MAX = 10000 };

/* Checks what an entry states before anything is allocated for it. `packed_bytes`: of all entries so far; they cannot
 * take more than the file has, unless they overlap. */
static deft_status check_entry(deft_context *ctx, const zip_stat_t *info, uint64_t file_bytes, uint64_t *packed_bytes) {
    const zip_uint64_t needed = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD;
    if ((info->valid & needed) != needed) return deft_fail(ctx, DEFT_INVALID, "its name or its size is missing");
    if ((info->valid & ZIP_STAT_ENCRYPTION_METHOD) && info->encryption_method != ZIP_EM_NONE)
        return deft_fail(ctx, DEFT_UNSUPPORTED, "it is encrypted; write the file again with numpy.savez");
    if (info->comp_method != ZIP_CM_STORE && info->comp_method != ZIP_CM_DEFLATE)
        return deft_fail(ctx, DEFT_UNSUPPORTED, "compression method %d; write the file again with numpy.savez",
                         info->comp_method);
    uint64_t most = info->comp_method == ZIP_CM_STORE ? info->comp_size : info->comp_size * DEFLATE_MAX_RATIO;
    if (info->comp_size > file_bytes - *packed_bytes || info->size > most)
        return deft_fail(
            ctx, DEFT_INVALID, "it states %llu bytes, %llu when packed, more than a file of %llu bytes can hold",
            (unsigned long long)info->size, (unsigned long long)info->comp_size, (unsigned long long)file_bytes);
    *packed_bytes += info->comp_size;
    return DEFT_OK;
}

struct deft_npz_array {
    pthread_mutex_t mutex; /* of the file, which is at one place at a time */
    zip_t *zip;
    zip_file_t *file;
    size_t values_at, end;
};

/* What an archive's entries are read to. */
typedef struct archive {
    deft_npz npz;
    zip_t *zip;
    uint64_t bytes, packed_bytes; /* of the file; of the entries so far */
    const char *name;             /* of the array to leave where it is, or NULL */
    deft_npz_array *left;         /* it; or NULL */
} archive;

/* Reads what stands before the values of an entry, checks it, and returns the bytes read so far, of which the values
 * begin at *at. */
static deft_status read_head(deft_context *ctx, zip_file_t *file, size_t bytes, deft_tensor *tensor, char **head,
                             size_t *head_bytes, size_t *at) {
    *head_bytes = bytes < PREFIX_MAX_BYTES ? bytes : PREFIX_MAX_BYTES;
    DEFT_TRY(deft_allocate(ctx, *head_bytes, head));
    DEFT_TRY(deft_zip_read(ctx, file, *head, *head_bytes));
    DEFT_TRY(read_prefix(ctx, *head, *head_bytes, tensor, at));
    return check_length(ctx, tensor, *at, bytes);
}

/* Reads one array: first what stands before the values, then, when that justifies the stated size, the values. */
static deft_status read_array(deft_context *ctx, zip_file_t *file, size_t bytes, deft_tensor *tensor) {
    size_t head_bytes, at;
    char *head = NULL;
    deft_tensor read = {0};
    deft_status status;
    DEFT_TRY_OR_FAIL(read_head(ctx, file, bytes, &read, &head, &head_bytes, &at));
    DEFT_TRY_OR_FAIL(deft_tensor_allocate(ctx, &read));
    memcpy(read.data, head + at, head_bytes - at);
    DEFT_TRY_OR_FAIL(deft_zip_read(ctx, file, (char *)read.data + (head_bytes - at), bytes - head_bytes));
    DEFT_TRY_OR_FAIL(deft_zip_read_end(ctx, file));
    DEFT_TRY_OR_FAIL(check_values(ctx, &read));
    deft_release(ctx, head);
    *tensor = read;
    return DEFT_OK;
fail:
    deft_release(ctx, head);
    deft_release(ctx, read.data);
    return status;
}

/* Leaves an array where it is. libzip sums up what is read in order, and goes on where it was after other reads: so the
 * values, read from the first on, complete the checksum that the head has begun. */
static deft_status leave_array(archive *a, zip_uint64_t index, size_t bytes, deft_tensor *tensor) {
    deft_context *ctx = a->npz.ctx;
    size_t head_bytes;
    char *head = NULL;
    DEFT_TRY(deft_allocate_zeroed(ctx, 1, sizeof *a->left, &a->left));
    pthread_mutex_init(&a->left->mutex, NULL);
    a->left->end = bytes;
    a->left->file = zip_fopen_index(a->zip, index, 0);
    if (!a->left->file) return deft_fail(ctx, DEFT_INVALID, "%s", zip_strerror(a->zip));
    deft_tensor read = {0};
    deft_status status = read_head(ctx, a->left->file, bytes, &read, &head, &head_bytes, &a->left->values_at);
    deft_release(ctx, head);
    if (status == DEFT_OK) *tensor = read;
    return status;
}

static deft_status read_values(archive *a, zip_uint64_t index, const zip_stat_t *info, deft_npz_entry *entry) {
    deft_context *ctx = a->npz.ctx;
    DEFT_TRY(check_entry(ctx, info, a->bytes, &a->packed_bytes));
    if (a->name && info->comp_method == ZIP_CM_STORE && strcmp(entry->name, a->name) == 0)
        return leave_array(a, index, info->size, &entry->tensor);
    zip_file_t *file = zip_fopen_index(a->zip, index, 0);
    if (!file) return deft_fail(ctx, DEFT_INVALID, "%s", zip_strerror(a->zip));
    deft_status status = read_array(ctx, file, info->size, &entry->tensor);
    zip_fclose(file);
    return status;
}

static deft_status read_entry(archive *a, zip_uint64_t index) {
    deft_npz *npz = &a->npz;
    deft_context *ctx = npz->ctx;
    zip_stat_t info;
    zip_stat_init(&info);
    if (zip_stat_index(a->zip, index, ZIP_FL_ENC_RAW, &info) != 0 || !(info.valid & ZIP_STAT_NAME))
        return deft_fail(ctx, DEFT_INVALID, "npz: entry %llu: %s", (unsigned long long)index, zip_strerror(a->zip));
    size_t length = strlen(info.name);
    if (length <= 4 || strcmp(info.name + length - 4, ".npy") != 0)
        return deft_fail(ctx, DEFT_INVALID, "npz: entry '%s' is not an .npy; write the file again with numpy.savez",
                         info.name);
    deft_npz_entry *entry = &npz->entries[npz->count];
    DEFT_TRY(deft_duplicate_string(ctx, info.name, &entry->name));
    npz->count++; /* from here on, deft_npz_done releases the entry */
    entry->name[length - 4] = 0;
    if (deft_npz_find(npz, entry->name) != &entry->tensor)
        return deft_fail(ctx, DEFT_INVALID, "npz: two arrays are named '%s'", entry->name);
    deft_status status = read_values(a, index, &info, entry);
    return status == DEFT_OK ? DEFT_OK : deft_fail_in(ctx, status, "npz: array '%s'", entry->name);
}

static deft_status read_entries(archive *a) {
    deft_context *ctx = a->npz.ctx;
    zip_int64_t count = zip_get_num_entries(a->zip, 0);
    if (count > ENTRIES_MAX)
        return deft_fail(ctx, DEFT_UNSUPPORTED, "npz: %lld arrays; more than %d are not read", (long long)count,
                         ENTRIES_MAX);
    DEFT_TRY(deft_allocate_zeroed(ctx, (size_t)count, sizeof *a->npz.entries, &a->npz.entries));
    for (zip_int64_t i = 0; i < count; i++)
        DEFT_TRY(read_entry(a, (zip_uint64_t)i));
    return DEFT_OK;
}

/* Reads the archive's entries; it is closed, but where an array is left in it. */
static deft_status read_archive(archive *a, deft_npz *npz, deft_npz_array **array) {
    deft_status status = read_entries(a);
    if (status == DEFT_OK) {
        *npz = a->npz;
        if (a->left) a->left->zip = a->zip;
        if (array) *array = a->left;
    } else {
        deft_npz_array_close(a->npz.ctx, a->left);
        deft_npz_done(&a->npz);
    }
    if (status != DEFT_OK || !a->left) zip_discard(a->zip);
    return status;
}

static const char archive_name[] = "an .npz (a zip of arrays)";

deft_status deft_npz_parse(deft_context *ctx, const void *data, size_t bytes, deft_npz *npz) {
    archive a = {.npz = {.ctx = ctx}, .bytes = bytes};
    DEFT_TRY(deft_zip_open(ctx, data, bytes, archive_name, &a.zip));
    return read_archive(&a, npz, NULL);
}

deft_status deft_npz_open(deft_context *ctx, const char *path, const char *name, deft_npz *npz,
                          deft_npz_array **array) {
    archive a = {.npz = {.ctx = ctx}, .name = name};
    *array = NULL;
    DEFT_TRY(deft_zip_open_file(ctx, path, archive_name, &a.zip, &a.bytes));
    if (!a.zip) return deft_npz_load(ctx, path, npz);
    deft_status status = read_archive(&a, npz, array);
    return status == DEFT_OK ? DEFT_OK : deft_fail_in(ctx, status, "%s", path);
}

deft_status deft_npz_array_read(deft_npz_array *array, deft_context *ctx, size_t offset, size_t bytes, void *data) {
    size_t at = array->values_at + offset;
    pthread_mutex_lock(&array->mutex);
    deft_status status = DEFT_OK;
    if (zip_fseek(array->file, (zip_int64_t)at, SEEK_SET) != 0)
        status = deft_fail(ctx, DEFT_INVALID, "it is damaged: %s", zip_file_strerror(array->file));
    if (status == DEFT_OK) status = deft_zip_read(ctx, array->file, data, bytes);
    if (status == DEFT_OK && at + bytes == array->end) status = deft_zip_read_end(ctx, array->file);
    pthread_mutex_unlock(&array->mutex);
    return status;
}

void deft_npz_array_close(deft_context *ctx, deft_npz_array *array) {
    if (!array) return;
    if (array->file) zip_fclose(array->file);
    if (array->zip) zip_discard(array->zip);
    pthread_mutex_destroy(&array->mutex);
    deft_release(ctx, array);
}

deft_status deft_npz_load(deft_context *ctx, const char *path, deft_npz *npz) {
    void *data;
    size_t bytes;
    DEFT_TRY(deft_file_read(ctx, path, FILE_MAX_BYTES, &data, &bytes));
    deft_status status = deft_npz_parse(ctx, data, bytes, npz);
    deft_release(ctx, data);
    return status == DEFT_OK ? DEFT_OK : deft_fail_in(ctx, status, "%s", path);
}

const deft_tensor *deft_npz_find(const deft_npz *npz, const char *name) {
    for (int i = 0; i < npz->count; i++)
        if (strcmp(npz->entries[i].name, name) == 0) return &npz->entries[i].tensor;
    return NULL;
}

void deft_npz_done(deft_npz *npz) {
    if (!npz->ctx) return;
    for (int i = 0; i < npz->count; i++) {
        deft_release(npz->ctx, npz->entries[i].name);
        deft_release(npz->ctx, npz->entries[i].tensor.data);
    }
    deft_release(npz->ctx, npz->entries);
    *npz = (deft_npz){0};
}

/* ---- npz: writing ---------------------------------------------------------------------------------------------- */

/* Adds one array, stored. `head` and the tensor must stay until the zip is closed. */
static deft_status add_entry(deft_zip *zip, const deft_npz_entry *entry, prefix *head) {
    char name[1024];
    if (snprintf(name, sizeof name, "%s.npy", entry->name) >= (int)sizeof name)
        return deft_fail(zip->ctx, DEFT_INVALID, "the name of an array is longer than %zu bytes", sizeof name - 5);
    DEFT_TRY(write_prefix(zip->ctx, &entry->tensor, head));
    const zip_buffer_fragment_t parts[] = {{(zip_uint8_t *)head->text, head->bytes},
                                           {entry->tensor.data, deft_tensor_bytes(&entry->tensor)}};
    return deft_zip_add(zip, name, parts, parts[1].length ? 2 : 1, false);
}

deft_status deft_npz_save(deft_context *ctx, const char *path, const deft_npz_entry *entries, int count) {
    deft_zip zip = {0};
    prefix *heads = NULL;
    void *data = NULL;
    size_t bytes = 0;
    deft_status status;
    if (count <= 0) return deft_fail(ctx, DEFT_INVALID, "%s: there is no array to write", path);
    DEFT_TRY_OR_FAIL(deft_allocate_zeroed(ctx, (size_t)count, sizeof *heads, &heads));
    DEFT_TRY_OR_FAIL(deft_zip_begin(ctx, &zip));
    for (int i = 0; i < count; i++)
        DEFT_TRY_OR_FAIL(add_entry(&zip, &entries[i], &heads[i]));
    DEFT_TRY_OR_FAIL(deft_zip_end(&zip, &data, &bytes));
    deft_release(ctx, heads);
    status = deft_file_write(ctx, path, data, bytes);
    deft_release(ctx, data);
    return status;
fail:
    deft_zip_abandon(&zip);
    deft_release(ctx, heads);
    return deft_fail_in(ctx, status, "%s", path);
}

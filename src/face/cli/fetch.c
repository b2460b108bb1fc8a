#include "face/cli/fetch.h"

#include "base/tensor/npy.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

enum { TOP_ROWS = 8 };

typedef struct summary {
    const char *name, *type, *shape, *top;
    double min, mean, max;
    int64_t not_finite;
} summary;

static const deft_column columns[] = {
    {"output", "output", DEFT_FIELD_TEXT, offsetof(summary, name), 0, NULL, 0, NULL},
    {"type", "type", DEFT_FIELD_TEXT, offsetof(summary, type), 0, NULL, 0, NULL},
    {"shape", "shape", DEFT_FIELD_TEXT, offsetof(summary, shape), 0, NULL, 0, NULL},
    {"min", "min", DEFT_FIELD_REAL, offsetof(summary, min), 4, NULL, 0, NULL},
    {"mean", "mean", DEFT_FIELD_REAL, offsetof(summary, mean), 4, NULL, 0, NULL},
    {"max", "max", DEFT_FIELD_REAL, offsetof(summary, max), 4, NULL, 0, NULL},
    {"not_finite", "NaN, Inf", DEFT_FIELD_INT64, offsetof(summary, not_finite), 0, NULL, 0, NULL},
    {"top", "top answers", DEFT_FIELD_TEXT, offsetof(summary, top), 0, NULL, 0, NULL},
};

static deft_tensor *output_tensor(const deft_session *session, int index) {
    return deft_program_output(session->program, index);
}

/* ---- printed ---- */

static double element(const deft_tensor *tensor, int64_t index) {
    switch (tensor->dtype) {
    case DEFT_F32:
        return ((const float *)tensor->data)[index];
    case DEFT_F64:
        return ((const double *)tensor->data)[index];
    case DEFT_I64:
        return (double)((const int64_t *)tensor->data)[index];
    case DEFT_I32:
        return ((const int32_t *)tensor->data)[index];
    default:
        return NAN;
    }
}

static void put_range(const deft_tensor *tensor, summary *row) {
    int64_t count = deft_tensor_count(tensor), finite = 0;
    double sum = 0, min = INFINITY, max = -INFINITY;
    for (int64_t i = 0; i < count; i++) {
        double value = element(tensor, i);
        if (!isfinite(value)) continue;
        finite++;
        sum += value;
        min = fmin(min, value);
        max = fmax(max, value);
    }
    row->not_finite = count - finite;
    row->min = finite ? min : NAN;
    row->max = finite ? max : NAN;
    row->mean = finite ? sum / (double)finite : NAN;
}

static const char *put_top(const deft_tensor *tensor, char *out, size_t bytes) {
    size_t at = 0;
    out[0] = '\0';
    if (tensor->rank != 2 || tensor->dims[1] < 1) return out;
    for (int64_t row = 0; row < tensor->dims[0] && at < bytes; row++) {
        if (row == TOP_ROWS) {
            snprintf(out + at, bytes - at, " ...");
            break;
        }
        int64_t top = 0;
        for (int64_t i = 1; i < tensor->dims[1]; i++)
            if (element(tensor, row * tensor->dims[1] + i) > element(tensor, row * tensor->dims[1] + top)) top = i;
        at += (size_t)snprintf(out + at, bytes - at, "%s%lld", row ? " " : "", (long long)top);
    }
    return out;
}

deft_status deft_fetch_print(const deft_cli *cli, const deft_session *session) {
    deft_report report;
    deft_cli_report(cli, &report, columns, sizeof columns / sizeof *columns);
    deft_status status = DEFT_OK;
    for (int i = 0; status == DEFT_OK && i < deft_session_output_count(session); i++) {
        const deft_tensor *tensor = output_tensor(session, i);
        char shape[DEFT_SHAPE_TEXT_BYTES], top[128];
        summary row = {.name = deft_session_output_name(session, i),
                       .type = deft_dtype_name(tensor->dtype),
                       .shape = deft_shape_text(tensor, shape, sizeof shape),
                       .top = put_top(tensor, top, sizeof top)};
        put_range(tensor, &row);
        status = deft_report_row(&report, &row);
    }
    deft_report_flush(&report);
    deft_report_done(&report);
    return status;
}

/* ---- written ---- */

static bool ends_in(const char *text, const char *suffix) {
    size_t length = strlen(text), tail = strlen(suffix);
    return length >= tail && strcmp(text + length - tail, suffix) == 0;
}

static deft_status write_file(const deft_session *session, const char *path) {
    int count = deft_session_output_count(session);
    if (count != 1)
        return deft_fail(session->ctx, DEFT_INVALID,
                         "%s: the model has %d outputs: name a folder, or FILE.npz, for them", path, count);
    return deft_npy_save(session->ctx, path, output_tensor(session, 0));
}

static deft_status write_npz(const deft_session *session, const char *path) {
    int count = deft_session_output_count(session);
    deft_npz_entry *entries;
    DEFT_TRY(deft_allocate_zeroed(session->ctx, (size_t)count, sizeof *entries, &entries));
    for (int i = 0; i < count; i++) {
        entries[i].tensor = *output_tensor(session, i);
        entries[i].name = (char *)deft_session_output_name(session, i);
    }
    deft_status status = deft_npz_save(session->ctx, path, entries, count);
    deft_release(session->ctx, entries);
    return status;
}

/* A name out of a model as that of a file in the folder and nowhere else; the index keeps names apart that become the
 * same. */
static void file_name(const deft_session *session, int index, char *out, size_t bytes) {
    const char *name = deft_session_output_name(session, index);
    bool clean = name[0] != '.';
    snprintf(out, bytes, "%.128s", name);
    for (char *c = out; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("._-", *c)) {
            *c = '_';
            clean = false;
        }
    if (out[0] == '.') out[0] = '_';
    size_t length = strlen(out);
    if (!clean || length < strlen(name)) snprintf(out + length, bytes - length, "-%d", index);
}

static deft_status write_folder(const deft_session *session, const char *path) {
    if (mkdir(path, 0777) != 0 && errno != EEXIST)
        return deft_fail(session->ctx, DEFT_IO, "%s: the folder could not be made: %s", path, strerror(errno));
    for (int i = 0; i < deft_session_output_count(session); i++) {
        char name[160], target[4096];
        file_name(session, i, name, sizeof name);
        if (snprintf(target, sizeof target, "%s/%s.npy", path, name) >= (int)sizeof target)
            return deft_fail(session->ctx, DEFT_IO, "%.64s...: the name is too long: choose a shorter one", path);
        DEFT_TRY(deft_npy_save(session->ctx, target, output_tensor(session, i)));
    }
    return DEFT_OK;
}

deft_status deft_fetch_write(const deft_session *session, const char *path) {
    struct stat info;
    bool exists = stat(path, &info) == 0;
    if (exists && S_ISDIR(info.st_mode)) return write_folder(session, path);
    if (ends_in(path, ".npz")) return write_npz(session, path);
    if (ends_in(path, ".npy") || exists) return write_file(session, path);
    return write_folder(session, path);
}

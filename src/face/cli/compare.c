#include "face/cli/compare.h"

#include "base/tensor/npy.h"
#include "ir/op/element.h"

#include <string.h>

typedef struct difference {
    const char *name;
    double max_abs, max_rel, mean_abs;
    bool within;
} difference;

static const deft_column columns[] = {
    {"output", "output", DEFT_FIELD_TEXT, offsetof(difference, name), 0, NULL, 0, NULL},
    {"max_abs", "max |x-y|", DEFT_FIELD_REAL, offsetof(difference, max_abs), 9, NULL, 0, NULL},
    {"max_rel", "of max |y|", DEFT_FIELD_REAL, offsetof(difference, max_rel), 9, NULL, 0, NULL},
    {"mean_abs", "mean |x-y|", DEFT_FIELD_REAL, offsetof(difference, mean_abs), 9, NULL, 0, NULL},
    {"within", "within", DEFT_FIELD_BOOL, offsetof(difference, within), 0, NULL, 0, NULL},
};

/* 0 for equal ones, infinite or not numbers included. */
static double distance(double x, double y) {
    if (x == y || (isnan(x) && isnan(y))) return 0;
    return isfinite(x) && isfinite(y) ? fabs(x - y) : INFINITY;
}

static difference difference_of(const deft_tensor *got, const deft_tensor *expected, double tolerance) {
    difference row = {0};
    double largest = 0;
    int64_t count = deft_tensor_count(got);
    for (int64_t i = 0; i < count; i++) {
        double y = deft_element_real(expected, i), d = distance(deft_element_real(got, i), y);
        row.max_abs = fmax(row.max_abs, d);
        row.mean_abs += d / (double)count;
        if (isfinite(y)) largest = fmax(largest, fabs(y));
    }
    row.max_rel = row.max_abs == 0 ? 0 : row.max_abs / largest;
    row.within = row.max_rel <= tolerance;
    return row;
}

static deft_status find_output(const deft_session *session, const char *path, const deft_npz_entry *entry,
                               const deft_tensor **output) {
    for (int i = 0; i < deft_session_output_count(session); i++) {
        if (strcmp(deft_session_output_name(session, i), entry->name) != 0) continue;
        *output = deft_program_output(session->program, i);
        if (deft_shape_equal(*output, &entry->tensor)) return DEFT_OK;
        char got[DEFT_SHAPE_TEXT_BYTES], expected[DEFT_SHAPE_TEXT_BYTES];
        return deft_fail(session->ctx, DEFT_INVALID, "%s: '%.64s' is %s, but the model's output is %s", path,
                         entry->name, deft_shape_text(&entry->tensor, expected, sizeof expected),
                         deft_shape_text(*output, got, sizeof got));
    }
    return deft_fail(session->ctx, DEFT_INVALID, "%s: the model has no output '%.64s'; its first of %d is '%.64s'",
                     path, entry->name, deft_session_output_count(session), deft_session_output_name(session, 0));
}

static deft_status add_rows(deft_report *report, const deft_session *session, const char *path, const deft_npz *npz,
                            double tolerance, int *outside) {
    for (int i = 0; i < npz->count; i++) {
        const deft_tensor *output = NULL;
        DEFT_TRY(find_output(session, path, &npz->entries[i], &output));
        difference row = difference_of(output, &npz->entries[i].tensor, tolerance);
        row.name = npz->entries[i].name;
        *outside += !row.within;
        DEFT_TRY(deft_report_row(report, &row));
    }
    return DEFT_OK;
}

deft_status deft_compare_outputs(const deft_cli *cli, const deft_session *session, const char *path, double tolerance) {
    deft_npz npz = {0};
    deft_report report;
    int outside = 0;
    DEFT_TRY(deft_npz_load(cli->ctx, path, &npz));
    deft_cli_report(cli, &report, columns, sizeof columns / sizeof *columns);
    deft_status status = add_rows(&report, session, path, &npz, tolerance, &outside);
    if (status == DEFT_OK) deft_report_flush(&report);
    if (status == DEFT_OK && outside)
        status = deft_fail(cli->ctx, DEFT_NO, "%d of %d outputs are further from %s than --tolerance %g", outside,
                           npz.count, path, tolerance);
    deft_report_done(&report);
    deft_npz_done(&npz);
    return status;
}

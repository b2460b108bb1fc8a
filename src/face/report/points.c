#include "face/report/points.h"

#include "decide/tune/frontier.h"

#include <math.h>

typedef struct point_row {
    deft_point point;
    const char *verdict;
} point_row;

#define POINT(FIELD) offsetof(point_row, point.FIELD)

static const deft_column columns[] = {
    {NULL, "zeros", DEFT_FIELD_SHARE, POINT(zeros), 1, NULL, 6, NULL},
    {NULL, "valid.", DEFT_FIELD_SHARE, POINT(accuracy_validation), 2, NULL, 7, "accuracy"},
    {NULL, "test", DEFT_FIELD_SHARE, POINT(accuracy_test), 2, NULL, 7, "accuracy"},
    {NULL, "drop", DEFT_FIELD_REAL, POINT(drop), 2, NULL, 5, "accuracy"},
    {NULL, "dense", DEFT_FIELD_REAL, POINT(dense_us_b1), 1, NULL, 7, "us at batch 1"},
    {NULL, "fast", DEFT_FIELD_REAL, POINT(fast_us_b1), 1, NULL, 7, "us at batch 1"},
    {NULL, "", DEFT_FIELD_REAL, POINT(speedup_b1), 1, "x", 5, "us at batch 1"},
    {NULL, "dense", DEFT_FIELD_REAL, POINT(dense_us), 1, NULL, 8, "us at batch 64"},
    {NULL, "fast", DEFT_FIELD_REAL, POINT(fast_us), 1, NULL, 8, "us at batch 64"},
    {NULL, "", DEFT_FIELD_REAL, POINT(speedup), 1, "x", 5, "us at batch 64"},
    {NULL, "bytes", DEFT_FIELD_INT64, POINT(file_bytes), 0, NULL, 9, NULL},
    {NULL, "", DEFT_FIELD_TEXT, offsetof(point_row, verdict), 0, NULL, 0, NULL},
};

void deft_points_init(deft_report *report, deft_context *ctx, FILE *file, bool json) {
    deft_report_init(report, ctx, file, json, columns, sizeof columns / sizeof *columns);
    report->live = true;
}

deft_status deft_points_add(deft_report *report, const deft_point *point) {
    if (report->json) return deft_json_line(report->ctx, report->file, deft_point_json(point));
    point_row row = {*point, point->chosen ? "chosen" : point->within_bound ? "" : "over"};
    return deft_report_row(report, &row);
}

static const char *put_speedup(double speedup, char out[32]) {
    if (isnan(speedup))
        snprintf(out, 32, "not measured");
    else if (speedup >= 1)
        snprintf(out, 32, "%.1f times as fast", speedup);
    else
        snprintf(out, 32, "%.2f times as fast", speedup);
    return out;
}

/* How the accuracy compares with the original's. */
static void put_drop(const deft_point *chosen, char out[96]) {
    double original = 100 * chosen->accuracy_dense;
    if (chosen->drop == 0)
        snprintf(out, 96, "the original's too");
    else
        snprintf(out, 96, "%.2f points %s the original's %.2f%%", fabs(chosen->drop),
                 chosen->drop > 0 ? "below" : "above", original);
}

const char *deft_points_sentence(const deft_point *chosen, const char *path, bool agreement, char *out, size_t bytes) {
    char at_64[32], at_1[32], drop[96], quality[192];
    put_drop(chosen, drop);
    if (agreement)
        snprintf(quality, sizeof quality, "its test answers agree with the original's to %.2f%%",
                 100 * chosen->accuracy_test);
    else
        snprintf(quality, sizeof quality, "test accuracy %.2f%%, %s", 100 * chosen->accuracy_test, drop);
    snprintf(out, bytes, "%s: %s at batch 64, %s at batch 1, with %.1f%% zeros; %s.", path,
             put_speedup(chosen->speedup, at_64), put_speedup(chosen->speedup_b1, at_1), 100 * chosen->zeros, quality);
    return out;
}

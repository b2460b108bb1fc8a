/* Points of the frontier, as a table and as lines of JSON. */
#ifndef DEFT_FACE_REPORT_POINTS_H
#define DEFT_FACE_REPORT_POINTS_H

#include "face/report/report.h"

/* A report of points: a live table, or lines of JSON as deft_point_json makes them. */
void deft_points_init(deft_report *report, deft_context *ctx, FILE *file, bool json);
DEFT_MUST_CHECK deft_status deft_points_add(deft_report *report, const deft_point *point);
/* What a user wants to know of the chosen point, in a sentence. `agreement`: the accuracies are agreement with the
 * original: a share of answers, or 1 - the relative error. Returns `out`. */
const char *deft_points_sentence(const deft_point *chosen, const char *path, bool agreement, char *out, size_t bytes);

#endif

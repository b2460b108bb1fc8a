/* The frontier: the points that a search tried, as JSON and back. */
#ifndef DEFT_DECIDE_TUNE_FRONTIER_H
#define DEFT_DECIDE_TUNE_FRONTIER_H

#include "base/core/context.h"

#include <jansson.h>

/* A point as an object: the line that `optimize --json` prints and the element of frontier.json's "points". Keys:
 * zeros, accuracy_dense, accuracy_fast (the test split's for the chosen point, else validation's), accuracy_validation,
 * accuracy_test, drop, dense_us, fast_us, speedup, dense_us_b1, fast_us_b1, speedup_b1, file_bytes, within_bound,
 * chosen. What is not known (NaN) is null. A new reference, or NULL where memory ran out. */
json_t *deft_point_json(const deft_point *point);
/* And back. Error: DEFT_INVALID (a number is missing). */
DEFT_MUST_CHECK deft_status deft_point_parse(deft_context *ctx, const json_t *object, deft_point *point);

typedef struct deft_frontier {
    const char *data;    /* as the search was told */
    const char *measure; /* "accuracy", "agreement" or "relative_error" */
    double max_drop;     /* percentage points */
    deft_point *points;
    int count;
} deft_frontier;

/* frontier.json: {"version": 1, "data", "measure", "max_drop", "cpu", "isa", "threads", "points"}. `*text` is released
 * with deft_release. */
DEFT_MUST_CHECK deft_status deft_frontier_text(deft_context *ctx, const deft_frontier *frontier, char **text);
/* Reads the points back. `*points` is released with deft_release. Errors: DEFT_INVALID (not JSON, another version, a
 * key missing or of another type). */
DEFT_MUST_CHECK deft_status deft_frontier_parse(deft_context *ctx, const char *text, deft_point **points, int *count);

#endif

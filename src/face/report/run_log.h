/* What runs leave behind, read for a report: lines of JSON, and frontiers. */
#ifndef DEFT_FACE_REPORT_RUN_LOG_H
#define DEFT_FACE_REPORT_RUN_LOG_H

#include "base/core/arena.h"
#include "learn/approx/lottery.h"

/* An epoch of `deft train` or `deft prune`. */
typedef struct deft_logged_epoch {
    int epoch;
    double loss, accuracy, learning_rate;
} deft_logged_epoch;

/* A point of a curve in a lottery's log. */
typedef struct deft_logged_point {
    int seed, round;
    deft_ticket_kind kind;
    deft_curve_point point;
} deft_logged_point;

/* Arrays are the context's; each holds what there is of its kind. */
typedef struct deft_run_log {
    deft_context *ctx;
    const char *path;
    deft_logged_epoch *epochs;
    deft_ticket *tickets;
    deft_logged_point *curve;
    deft_point *points; /* of a frontier */
    int epoch_count, ticket_count, curve_count, point_count;
} deft_run_log;

/* Reads a .deft file, a frontier.json, or lines of JSON: the logs of `deft train`, `deft prune` and `deft lottery`,
 * and what `deft train` and `deft optimize` print with --json. Lines of other kinds are passed over. To be done with
 * after a failure too; `path` must outlive it. Errors: DEFT_INVALID (missing, a line that is no JSON, nothing in it
 * that a report shows), DEFT_IO. */
DEFT_MUST_CHECK deft_status deft_run_log_read(deft_context *ctx, const char *path, deft_run_log *log);
void deft_run_log_done(deft_run_log *log);

#endif

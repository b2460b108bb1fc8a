#include "face/report/run_log.h"

#include "base/core/file.h"
#include "decide/tune/frontier.h"
#include "ir/model/file.h"
#include "learn/approx/lottery_log.h"

#include <math.h>
#include <string.h>

static const size_t MAX_BYTES = 1 << 30;

/* ---- lines --------------------------------------------------------------------------------------------------- */

static double number_of(const json_t *object, const char *key) {
    const json_t *item = json_object_get(object, key);
    return json_is_number(item) ? json_number_value(item) : NAN;
}

/* Makes room for one more: at each power of two. */
static deft_status grow(deft_context *ctx, int count, size_t size, void *in_out_array) {
    if (count & (count - 1)) return DEFT_OK;
    return deft_reallocate(ctx, (size_t)(count ? 2 * count : 1) * size, in_out_array);
}

static deft_status add_epoch(deft_run_log *log, const json_t *object) {
    DEFT_TRY(grow(log->ctx, log->epoch_count, sizeof *log->epochs, &log->epochs));
    log->epochs[log->epoch_count++] =
        (deft_logged_epoch){(int)json_integer_value(json_object_get(object, "epoch")), number_of(object, "loss"),
                            number_of(object, "accuracy_validation"), number_of(object, "learning_rate")};
    return DEFT_OK;
}

static deft_status add_curve(deft_run_log *log, const json_t *object) {
    const char *name = json_string_value(json_object_get(object, "ticket"));
    deft_logged_point point = {(int)json_integer_value(json_object_get(object, "seed")),
                               (int)json_integer_value(json_object_get(object, "round")),
                               DEFT_TICKET_KINDS,
                               {json_integer_value(json_object_get(object, "step")), number_of(object, "loss"),
                                number_of(object, "accuracy_validation")}};
    for (int i = 0; name && i < DEFT_TICKET_KINDS; i++)
        if (strcmp(name, deft_ticket_names[i]) == 0) point.kind = i;
    if (point.kind == DEFT_TICKET_KINDS) return DEFT_OK;
    DEFT_TRY(grow(log->ctx, log->curve_count, sizeof *log->curve, &log->curve));
    log->curve[log->curve_count++] = point;
    return DEFT_OK;
}

static deft_status add_ticket(deft_run_log *log, const deft_ticket *ticket) {
    DEFT_TRY(grow(log->ctx, log->ticket_count, sizeof *log->tickets, &log->tickets));
    log->tickets[log->ticket_count++] = *ticket;
    return DEFT_OK;
}

static deft_status add_point(deft_run_log *log, const json_t *object) {
    deft_point point;
    DEFT_TRY(deft_point_parse(log->ctx, object, &point));
    DEFT_TRY(grow(log->ctx, log->point_count, sizeof *log->points, &log->points));
    log->points[log->point_count++] = point;
    return DEFT_OK;
}

static deft_status add_line(deft_run_log *log, const json_t *object) {
    const char *kind = json_string_value(json_object_get(object, "kind"));
    deft_ticket ticket;
    if (!kind) return json_object_get(object, "within_bound") ? add_point(log, object) : DEFT_OK;
    if (strcmp(kind, "epoch") == 0) return add_epoch(log, object);
    if (strcmp(kind, "curve") == 0) return add_curve(log, object);
    return deft_ticket_parse(object, &ticket) ? add_ticket(log, &ticket) : DEFT_OK;
}

static deft_status parse_lines(deft_run_log *log, const char *text, size_t bytes) {
    const char *end = text + bytes;
    for (int number = 1; text < end; number++) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        size_t length = (size_t)((newline ? newline : end) - text);
        json_error_t error;
        json_t *object = json_loadb(text, length, 0, &error);
        deft_status status = json_is_object(object) ? add_line(log, object)
                             : length == 0          ? DEFT_OK
                                                    : deft_fail(log->ctx, DEFT_INVALID,
                                                                "line %d is no JSON object: %s; expected a log, a "
                                                                         "frontier.json or a .deft file",
                                                                number, object ? "another value" : error.text);
        json_decref(object);
        DEFT_TRY(status);
        text += length + 1;
    }
    return DEFT_OK;
}

/* ---- files --------------------------------------------------------------------------------------------------- */

/* Reads an archive's frontier. */
static deft_status parse_archive(deft_run_log *log, const void *data, size_t bytes) {
    deft_model_file file;
    DEFT_TRY(deft_model_file_parse(log->ctx, data, bytes, &file));
    deft_status status = DEFT_OK;
    if (file.frontier) status = deft_frontier_parse(log->ctx, file.frontier, &log->points, &log->point_count);
    deft_graph_free(file.graph);
    deft_release(log->ctx, file.frontier);
    return status;
}

/* frontier.json is one object over many lines, with points. */
static bool is_frontier(const char *text) {
    json_t *root = json_loads(text, 0, NULL);
    bool frontier = json_is_array(json_object_get(root, "points"));
    json_decref(root);
    return frontier;
}

static deft_status parse(deft_run_log *log, const char *text, size_t bytes) {
    if (bytes > 2 && memcmp(text, "PK", 2) == 0)
        DEFT_TRY(parse_archive(log, text, bytes));
    else if (is_frontier(text))
        DEFT_TRY(deft_frontier_parse(log->ctx, text, &log->points, &log->point_count));
    else
        DEFT_TRY(parse_lines(log, text, bytes));
    if (log->epoch_count + log->ticket_count + log->curve_count + log->point_count > 0) return DEFT_OK;
    return deft_fail(log->ctx, DEFT_INVALID, "there are no epochs, tickets or points of a frontier in it");
}

deft_status deft_run_log_read(deft_context *ctx, const char *path, deft_run_log *log) {
    void *data;
    char *text;
    size_t bytes;
    *log = (deft_run_log){.ctx = ctx, .path = path};
    DEFT_TRY(deft_file_read(ctx, path, MAX_BYTES, &data, &bytes));
    deft_status status = deft_allocate(ctx, bytes + 1, &text);
    if (status == DEFT_OK) {
        memcpy(text, data, bytes);
        text[bytes] = '\0';
        status = parse(log, text, bytes);
        deft_release(ctx, text);
    }
    deft_release(ctx, data);
    return status == DEFT_OK ? DEFT_OK : deft_fail_in(ctx, status, "%s", path);
}

void deft_run_log_done(deft_run_log *log) {
    deft_release(log->ctx, log->epochs);
    deft_release(log->ctx, log->tickets);
    deft_release(log->ctx, log->curve);
    deft_release(log->ctx, log->points);
}

#include "learn/approx/lottery_log.h"

#include "base/core/file.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

static const size_t MAX_BYTES = 1 << 30;

const char *const deft_ticket_names[DEFT_TICKET_KINDS] = {"winning", "reinitialized", "random"};

/* The numbers of a ticket by their keys. */
static const struct {
    const char *key;
    size_t offset;
} numbers[] = {
    {"weights_left", offsetof(deft_ticket, weights_left)},
    {"accuracy_validation", offsetof(deft_ticket, accuracy_validation)},
    {"accuracy_test", offsetof(deft_ticket, accuracy_test)},
    {"stop_loss", offsetof(deft_ticket, stop_loss)},
    {"stop_accuracy_test", offsetof(deft_ticket, stop_accuracy_test)},
};
enum { NUMBERS = sizeof numbers / sizeof *numbers };

/* ---- lines --------------------------------------------------------------------------------------------------- */

static json_t *number_or_null(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *ticket_line(const deft_ticket *ticket) {
    json_t *line =
        json_pack("{s:s, s:i, s:i, s:s, s:I}", "kind", "ticket", "seed", ticket->seed, "round", ticket->round, "ticket",
                  deft_ticket_names[ticket->kind], "stop_step", (json_int_t)ticket->stop_step);
    for (int i = 0; i < NUMBERS; i++) {
        double value;
        memcpy(&value, (const char *)ticket + numbers[i].offset, sizeof value);
        if (json_object_set_new(line, numbers[i].key, number_or_null(value)) == 0) continue;
        json_decref(line);
        return NULL;
    }
    return line;
}

static json_t *curve_line(const deft_ticket *ticket, const deft_curve_point *point) {
    return json_pack("{s:s, s:i, s:i, s:s, s:I, s:o, s:o}", "kind", "curve", "seed", ticket->seed, "round",
                     ticket->round, "ticket", deft_ticket_names[ticket->kind], "step", (json_int_t)point->step, "loss",
                     number_or_null(point->loss), "accuracy_validation", number_or_null(point->accuracy));
}

bool deft_ticket_parse(const json_t *object, deft_ticket *ticket) {
    const char *kind = json_string_value(json_object_get(object, "kind"));
    const char *name = json_string_value(json_object_get(object, "ticket"));
    const json_t *seed = json_object_get(object, "seed"), *round = json_object_get(object, "round");
    if (!kind || strcmp(kind, "ticket") != 0 || !name || !json_is_integer(seed) || !json_is_integer(round))
        return false;
    *ticket = (deft_ticket){.seed = (int)json_integer_value(seed),
                            .round = (int)json_integer_value(round),
                            .kind = DEFT_TICKET_KINDS,
                            .stop_step = json_integer_value(json_object_get(object, "stop_step"))};
    for (int i = 0; i < DEFT_TICKET_KINDS; i++)
        if (strcmp(name, deft_ticket_names[i]) == 0) ticket->kind = i;
    for (int i = 0; i < NUMBERS; i++) {
        const json_t *item = json_object_get(object, numbers[i].key);
        double value = json_is_number(item) ? json_number_value(item) : NAN;
        memcpy((char *)ticket + numbers[i].offset, &value, sizeof value);
    }
    return ticket->kind < DEFT_TICKET_KINDS;
}

/* Appends an object, whose reference it takes, as a line; NULL stands for one that memory ran out for. */
static deft_status append(deft_lottery_log *log, json_t *object) {
    /* seventeen digits: a ticket that is read back is the one that was written */
    char *line = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(object);
    if (!line) return deft_fail(log->ctx, DEFT_MEMORY, "out of memory for a line of the log");
    size_t length = strlen(line);
    deft_status status = deft_reallocate(log->ctx, log->bytes + length + 2, &log->text);
    if (status == DEFT_OK) {
        memcpy(log->text + log->bytes, line, length);
        memcpy(log->text + log->bytes + length, "\n", 2);
        log->bytes += length + 1;
    }
    free(line);
    return status;
}

static deft_status remember(deft_lottery_log *log, const deft_ticket *ticket) {
    DEFT_TRY(deft_reallocate(log->ctx, (size_t)(log->count + 1) * sizeof *log->tickets, &log->tickets));
    log->tickets[log->count++] = *ticket;
    return DEFT_OK;
}

/* ---- the file ------------------------------------------------------------------------------------------------ */

static deft_status parse_lines(deft_lottery_log *log, const char *text, size_t bytes) {
    int number = 1;
    for (const char *line = text, *end = text + bytes; line < end; number++) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        size_t length = (size_t)((newline ? newline : end) - line);
        json_t *object = json_loadb(line, length, 0, NULL);
        deft_ticket ticket;
        deft_status status =
            json_is_object(object) && newline
                ? DEFT_OK
                : deft_fail(log->ctx, DEFT_INVALID, "%s: line %d is no line of a log", log->path, number);
        if (status == DEFT_OK && deft_ticket_parse(object, &ticket)) status = remember(log, &ticket);
        json_decref(object);
        DEFT_TRY(status);
        line += length + 1;
    }
    return DEFT_OK;
}

/* `log` holds the settings; what follows them in the file is added. */
static deft_status take_file(deft_lottery_log *log, const char *text, size_t bytes) {
    if (bytes < log->bytes || memcmp(text, log->text, log->bytes) != 0)
        return deft_fail(log->ctx, DEFT_INVALID,
                         "%s is of another lottery: its network, data, seed, threads or settings differ; name another "
                         "folder, or remove this one",
                         log->path);
    DEFT_TRY(parse_lines(log, text + log->bytes, bytes - log->bytes));
    DEFT_TRY(deft_reallocate(log->ctx, bytes + 1, &log->text));
    memcpy(log->text, text, bytes);
    log->text[bytes] = '\0';
    log->bytes = bytes;
    return DEFT_OK;
}

deft_status deft_lottery_log_open(deft_context *ctx, const char *path, json_t *settings, deft_lottery_log *log) {
    *log = (deft_lottery_log){.ctx = ctx};
    DEFT_TRY(append(log, settings));
    DEFT_TRY(deft_duplicate_string(ctx, path, &log->path));
    if (access(path, F_OK) != 0 && errno == ENOENT) return deft_file_write(ctx, path, log->text, log->bytes);
    void *text;
    size_t bytes;
    DEFT_TRY(deft_file_read(ctx, path, MAX_BYTES, &text, &bytes));
    deft_status status = take_file(log, text, bytes);
    deft_release(ctx, text);
    return status;
}

void deft_lottery_log_done(deft_lottery_log *log) {
    deft_release(log->ctx, log->path);
    deft_release(log->ctx, log->text);
    deft_release(log->ctx, log->tickets);
}

const deft_ticket *deft_lottery_log_find(const deft_lottery_log *log, int seed, int round, deft_ticket_kind kind) {
    for (int i = 0; i < log->count; i++) {
        const deft_ticket *ticket = &log->tickets[i];
        if (ticket->seed == seed && ticket->round == round && ticket->kind == kind) return ticket;
    }
    return NULL;
}

deft_status deft_lottery_log_add(deft_lottery_log *log, const deft_ticket *ticket, const deft_curve_point *curve,
                                 int count) {
    for (int i = 0; i < count; i++)
        DEFT_TRY(append(log, curve_line(ticket, &curve[i])));
    DEFT_TRY(append(log, ticket_line(ticket)));
    DEFT_TRY(remember(log, ticket));
    return deft_file_write(log->ctx, log->path, log->text, log->bytes);
}

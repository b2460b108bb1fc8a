#include "face/report/page.h"

#include "face/report/plot.h"
#include "face/report/points.h"
#include "face/report/tickets.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SERIES = 12 /* more cannot be told apart */ };

/* A page in the making. */
typedef struct page {
    deft_context *ctx;
    FILE *file;
    deft_arena arena; /* points of the plot in the making */
    bool tables_only;
    int plots;
} page;

/* ---- parts of it --------------------------------------------------------------------------------------------- */

static void put_escaped(FILE *file, const char *text) {
    for (; *text; text++) {
        switch (*text) {
        case '<':
            fputs("&lt;", file);
            break;
        case '>':
            fputs("&gt;", file);
            break;
        case '&':
            fputs("&amp;", file);
            break;
        case '"':
            fputs("&quot;", file);
            break;
        default:
            fputc(*text, file);
        }
    }
}

static void put_element(FILE *file, const char *element, const char *text) {
    fprintf(file, "<%s>", element);
    put_escaped(file, text);
    fprintf(file, "</%s>\n", element);
}

static deft_status put_plot(page *p, deft_plot *plot) {
    char *svg;
    if (p->tables_only || deft_plot_is_empty(plot)) return DEFT_OK;
    plot->number = ++p->plots;
    DEFT_TRY(deft_plot_svg(p->ctx, plot, &svg));
    fprintf(p->file, "<figure>%s</figure>\n", svg);
    deft_release(p->ctx, svg);
    return DEFT_OK;
}

/* What `print` prints, as it is. */
static deft_status put_table(page *p, deft_status (*print)(deft_context *ctx, FILE *file, const deft_run_log *log),
                             const deft_run_log *log) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *file = open_memstream(&text, &bytes);
    if (!file) return deft_fail(p->ctx, DEFT_MEMORY, "out of memory for a table");
    deft_status status = print(p->ctx, file, log);
    bool failed = ferror(file) != 0;
    failed |= fclose(file) != 0;
    if (status == DEFT_OK && failed) status = deft_fail(p->ctx, DEFT_MEMORY, "out of memory for a table");
    if (status == DEFT_OK) put_element(p->file, "pre", text);
    free(text);
    return status;
}

/* A series with room for `count` points in the arena. */
static deft_status add_series(page *p, deft_series *series, int *series_count, const char *title, int count,
                              deft_plot_point **points) {
    DEFT_TRY(deft_arena_array(&p->arena, (size_t)count, sizeof **points, points));
    series[(*series_count)++] = (deft_series){title, *points, count};
    return DEFT_OK;
}

/* ---- training ------------------------------------------------------------------------------------------------ */

static double loss_of(const deft_logged_epoch *epoch) {
    return epoch->loss;
}

static double accuracy_of(const deft_logged_epoch *epoch) {
    return 100 * epoch->accuracy;
}

static deft_status plot_epochs(page *p, const deft_run_log *logs, int log_count, const char *title, const char *y_title,
                               double (*y_of)(const deft_logged_epoch *epoch)) {
    deft_series series[MAX_SERIES];
    deft_plot plot = {.title = title, .x_title = "epoch", .y_title = y_title, .series = series};
    for (int l = 0; l < log_count && plot.count < MAX_SERIES; l++) {
        deft_plot_point *points;
        if (logs[l].epoch_count == 0) continue;
        DEFT_TRY(add_series(p, series, &plot.count, logs[l].path, logs[l].epoch_count, &points));
        for (int i = 0; i < logs[l].epoch_count; i++)
            points[i] = (deft_plot_point){logs[l].epochs[i].epoch, y_of(&logs[l].epochs[i]), NAN};
    }
    return put_plot(p, &plot);
}

static const deft_column epoch_columns[] = {
    {"epoch", "epoch", DEFT_FIELD_INT, offsetof(deft_logged_epoch, epoch), 0, NULL, 0, NULL},
    {"loss", "loss", DEFT_FIELD_REAL, offsetof(deft_logged_epoch, loss), 4, NULL, 0, NULL},
    {"accuracy", "validation", DEFT_FIELD_SHARE, offsetof(deft_logged_epoch, accuracy), 2, NULL, 0, NULL},
    {"rate", "rate", DEFT_FIELD_REAL, offsetof(deft_logged_epoch, learning_rate), 5, NULL, 0, NULL},
};

static deft_status print_epochs(deft_context *ctx, FILE *file, const deft_run_log *log) {
    deft_report report;
    deft_status status = DEFT_OK;
    deft_report_init(&report, ctx, file, false, epoch_columns, sizeof epoch_columns / sizeof *epoch_columns);
    for (int i = 0; status == DEFT_OK && i < log->epoch_count; i++)
        status = deft_report_row(&report, &log->epochs[i]);
    deft_report_flush(&report);
    deft_report_done(&report);
    return status;
}

static deft_status put_training(page *p, const deft_run_log *logs, int log_count) {
    bool any = false;
    for (int l = 0; l < log_count; l++)
        any |= logs[l].epoch_count > 0;
    if (!any) return DEFT_OK;
    put_element(p->file, "h2", "Training");
    DEFT_TRY(plot_epochs(p, logs, log_count, "Validation accuracy", "accuracy, per cent", accuracy_of));
    DEFT_TRY(plot_epochs(p, logs, log_count, "Training loss", "loss", loss_of));
    for (int l = 0; l < log_count; l++) {
        if (logs[l].epoch_count == 0) continue;
        put_element(p->file, "h3", logs[l].path);
        DEFT_TRY(put_table(p, print_epochs, &logs[l]));
    }
    return DEFT_OK;
}

/* ---- lotteries ----------------------------------------------------------------------------------------------- */

static deft_plot_point accuracy_point(const deft_ticket_summary *s) {
    return (deft_plot_point){100 * s->weights_left, 100 * s->accuracy, 100 * s->accuracy_spread};
}

static deft_plot_point speed_point(const deft_ticket_summary *s) {
    return (deft_plot_point){100 * s->weights_left, s->stop_step, s->stop_spread};
}

/* A point a round, a series a kind of ticket. */
static deft_status plot_rounds(page *p, const deft_run_log *log, const char *title, const char *y_title,
                               deft_plot_point (*point_of)(const deft_ticket_summary *summary)) {
    deft_series series[DEFT_TICKET_KINDS];
    deft_plot plot = {
        .title = title, .x_title = "weights left", .y_title = y_title, .shrinking = true, .series = series};
    int rounds = deft_tickets_last_round(log->tickets, log->ticket_count) + 1;
    for (int kind = 0; kind < DEFT_TICKET_KINDS; kind++) {
        deft_plot_point *points;
        int found = 0;
        DEFT_TRY(add_series(p, series, &plot.count, deft_ticket_names[kind], rounds, &points));
        for (int round = 0; round < rounds; round++) {
            deft_ticket_summary summary = deft_tickets_summarize(log->tickets, log->ticket_count, round, kind);
            if (summary.count > 0) points[found++] = point_of(&summary);
        }
        series[plot.count - 1].count = found;
        if (found == 0) plot.count--;
    }
    return put_plot(p, &plot);
}

/* The mean over the seeds of the curve points of a round, at their steps. The log has the curve of each seed in the
 * order of the steps. */
static int average_curve(const deft_run_log *log, int round, deft_ticket_kind kind, deft_plot_point *points) {
    int count = 0, seeds = 0, at = 0, seed = -1;
    for (int i = 0; i < log->curve_count; i++) {
        const deft_logged_point *c = &log->curve[i];
        if (c->round != round || c->kind != kind) continue;
        if (c->seed != seed) seed = c->seed, seeds++, at = 0;
        if (seeds == 1) points[count++] = (deft_plot_point){(double)c->point.step, 0, NAN};
        if (at < count) points[at++].y += 100 * c->point.accuracy;
    }
    for (int i = 0; i < count; i++)
        points[i].y /= seeds;
    return count;
}

/* Of six rounds at most, evenly from the first to the last, and the controls of the last. */
static deft_status plot_curves(page *p, const deft_run_log *log) {
    enum { ROUNDS = 6 };
    deft_series series[ROUNDS + DEFT_TICKET_KINDS];
    deft_plot plot = {.title = "Learning curves, mean of the seeds",
                      .x_title = "step",
                      .y_title = "validation accuracy, per cent",
                      .series = series};
    int last = deft_tickets_last_round(log->tickets, log->ticket_count), before = -1;
    for (int i = 0; i < ROUNDS + DEFT_TICKET_KINDS - 1; i++) {
        int round = i < ROUNDS ? i * last / (ROUNDS - 1) : last;
        deft_ticket_kind kind = i < ROUNDS ? DEFT_TICKET_WINNING : DEFT_TICKET_WINNING + i - ROUNDS + 1;
        deft_ticket_summary summary = deft_tickets_summarize(log->tickets, log->ticket_count, round, kind);
        deft_plot_point *points;
        char title[64], *kept;
        if ((i < ROUNDS && round == before) || summary.count == 0) continue;
        before = round;
        snprintf(title, sizeof title, "%.1f per cent%s%s", 100 * summary.weights_left, i < ROUNDS ? "" : ", ",
                 i < ROUNDS ? "" : deft_ticket_names[kind]);
        DEFT_TRY(deft_arena_string(&p->arena, title, &kept));
        DEFT_TRY(add_series(p, series, &plot.count, kept, log->curve_count, &points));
        series[plot.count - 1].count = average_curve(log, round, kind, points);
    }
    return put_plot(p, &plot);
}

static deft_status print_tickets(deft_context *ctx, FILE *file, const deft_run_log *log) {
    return deft_tickets_print(ctx, file, false, log->tickets, log->ticket_count);
}

static deft_status put_lottery(page *p, const deft_run_log *log) {
    fputs("<h2>Lottery: ", p->file);
    put_escaped(p->file, log->path);
    fputs("</h2>\n", p->file);
    DEFT_TRY(plot_rounds(p, log, "Accuracy at the end of training", "test accuracy, per cent", accuracy_point));
    DEFT_TRY(plot_rounds(p, log, "Learning speed: the step of least validation loss", "step", speed_point));
    DEFT_TRY(plot_curves(p, log));
    return put_table(p, print_tickets, log);
}

/* ---- frontiers ----------------------------------------------------------------------------------------------- */

static deft_status print_points(deft_context *ctx, FILE *file, const deft_run_log *log) {
    deft_report report;
    deft_status status = DEFT_OK;
    deft_points_init(&report, ctx, file, false);
    for (int i = 0; status == DEFT_OK && i < log->point_count; i++)
        status = deft_points_add(&report, &log->points[i]);
    deft_report_done(&report);
    return status;
}

static deft_status plot_frontier(page *p, const deft_run_log *log) {
    deft_series series[2];
    deft_plot plot = {.title = "Accuracy and speed of the points tried",
                      .x_title = "times as fast as the dense original, batch 64",
                      .y_title = "validation accuracy, per cent",
                      .series = series};
    for (int within = 1; within >= 0; within--) {
        deft_plot_point *points;
        int found = 0;
        DEFT_TRY(
            add_series(p, series, &plot.count, within ? "within the bound" : "over it", log->point_count, &points));
        for (int i = 0; i < log->point_count; i++)
            if (log->points[i].within_bound == within)
                points[found++] =
                    (deft_plot_point){log->points[i].speedup, 100 * log->points[i].accuracy_validation, NAN};
        series[plot.count - 1].count = found;
        if (found == 0) plot.count--;
    }
    return put_plot(p, &plot);
}

static deft_status put_frontier(page *p, const deft_run_log *log) {
    fputs("<h2>Frontier: ", p->file);
    put_escaped(p->file, log->path);
    fputs("</h2>\n", p->file);
    DEFT_TRY(plot_frontier(p, log));
    return put_table(p, print_points, log);
}

/* ---- the page ------------------------------------------------------------------------------------------------ */

static deft_status put_page(page *p, const deft_run_log *logs, int log_count) {
    fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>Deft report</title>\n<style>\n"
          "body { font-family: sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }\n"
          "figure { margin: 1rem 0; }\nsvg { max-width: 100%; height: auto; }\npre { overflow-x: auto; }\n"
          "</style>\n</head>\n<body>\n<h1>Deft report</h1>\n",
          p->file);
    DEFT_TRY(put_training(p, logs, log_count));
    for (int l = 0; l < log_count; l++) {
        if (logs[l].ticket_count) DEFT_TRY(put_lottery(p, &logs[l]));
        if (logs[l].point_count) DEFT_TRY(put_frontier(p, &logs[l]));
    }
    fputs("</body>\n</html>\n", p->file);
    return DEFT_OK;
}

deft_status deft_page_make(deft_context *ctx, const deft_run_log *logs, int log_count, bool tables_only,
                           char **page_text, int *plots) {
    char *text = NULL;
    size_t bytes = 0;
    page p = {.ctx = ctx, .file = open_memstream(&text, &bytes), .tables_only = tables_only};
    if (!p.file) return deft_fail(ctx, DEFT_MEMORY, "out of memory for a page");
    deft_arena_init(&p.arena, ctx);
    deft_status status = put_page(&p, logs, log_count);
    deft_arena_done(&p.arena);
    bool failed = ferror(p.file) != 0;
    failed |= fclose(p.file) != 0;
    if (status == DEFT_OK && failed) status = deft_fail(ctx, DEFT_MEMORY, "out of memory for a page");
    if (status == DEFT_OK) status = deft_duplicate_string(ctx, text, page_text);
    free(text);
    *plots = p.plots;
    return status;
}

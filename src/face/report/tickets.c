#include "face/report/tickets.h"

#include <math.h>

/* A round in the table. */
typedef struct round_row {
    int round, seeds;
    double weights_left, fewer;
    deft_ticket_summary kinds[DEFT_TICKET_KINDS];
} round_row;

#define KIND(KIND_, FIELD) offsetof(round_row, kinds[DEFT_TICKET_##KIND_].FIELD)

static const deft_column columns[] = {
    {"round", "round", DEFT_FIELD_INT, offsetof(round_row, round), 0, NULL, 0, NULL},
    {"seeds", "seeds", DEFT_FIELD_INT, offsetof(round_row, seeds), 0, NULL, 0, NULL},
    {"weights_left", "left", DEFT_FIELD_SHARE, offsetof(round_row, weights_left), 2, NULL, 0, "weights"},
    {"times_fewer", "fewer", DEFT_FIELD_REAL, offsetof(round_row, fewer), 1, "x", 0, "weights"},
    {"winning", "test", DEFT_FIELD_SHARE, KIND(WINNING, accuracy), 2, NULL, 0, "winning ticket"},
    {"winning_spread", "+-", DEFT_FIELD_SHARE, KIND(WINNING, accuracy_spread), 2, NULL, 0, "winning ticket"},
    {"winning_stop", "stop", DEFT_FIELD_REAL, KIND(WINNING, stop_step), 0, NULL, 0, "winning ticket"},
    {"winning_stop_spread", NULL, DEFT_FIELD_REAL, KIND(WINNING, stop_spread), 0, NULL, 0, "winning ticket"},
    {"reinitialized", "test", DEFT_FIELD_SHARE, KIND(REINITIALIZED, accuracy), 2, NULL, 0, "reinitialized"},
    {"reinitialized_spread", "+-", DEFT_FIELD_SHARE, KIND(REINITIALIZED, accuracy_spread), 2, NULL, 0, "reinitialized"},
    {"reinitialized_stop", "stop", DEFT_FIELD_REAL, KIND(REINITIALIZED, stop_step), 0, NULL, 0, "reinitialized"},
    {"reinitialized_stop_spread", NULL, DEFT_FIELD_REAL, KIND(REINITIALIZED, stop_spread), 0, NULL, 0, "reinitialized"},
    {"random", "test", DEFT_FIELD_SHARE, KIND(RANDOM, accuracy), 2, NULL, 0, "random"},
    {"random_spread", "+-", DEFT_FIELD_SHARE, KIND(RANDOM, accuracy_spread), 2, NULL, 0, "random"},
    {"random_stop", "stop", DEFT_FIELD_REAL, KIND(RANDOM, stop_step), 0, NULL, 0, "random"},
    {"random_stop_spread", NULL, DEFT_FIELD_REAL, KIND(RANDOM, stop_spread), 0, NULL, 0, "random"},
};

/* Sums for a mean and a standard deviation. */
typedef struct moments {
    double sum, squares; /* squares of the differences from the first, so that little is lost */
    double first;
} moments;

static void add(moments *m, int index, double value) {
    if (index == 0) m->first = value;
    m->sum += value - m->first;
    m->squares += (value - m->first) * (value - m->first);
}

static double mean_of(const moments *m, int count) {
    return count ? m->first + m->sum / count : NAN;
}

static double deviation_of(const moments *m, int count) {
    return count > 1 ? sqrt(fmax(0, m->squares - m->sum * m->sum / count) / (count - 1)) : NAN;
}

deft_ticket_summary deft_tickets_summarize(const deft_ticket *tickets, int count, int round, deft_ticket_kind kind) {
    deft_ticket_summary summary = {0};
    moments left = {0}, accuracy = {0}, stop = {0};
    for (int i = 0; i < count; i++) {
        const deft_ticket *t = &tickets[i];
        if (t->round != round || t->kind != kind) continue;
        add(&left, summary.count, t->weights_left);
        add(&accuracy, summary.count, t->accuracy_test);
        add(&stop, summary.count, (double)t->stop_step);
        summary.count++;
    }
    summary.weights_left = mean_of(&left, summary.count);
    summary.accuracy = mean_of(&accuracy, summary.count);
    summary.accuracy_spread = deviation_of(&accuracy, summary.count);
    summary.stop_step = mean_of(&stop, summary.count);
    summary.stop_spread = deviation_of(&stop, summary.count);
    return summary;
}

int deft_tickets_last_round(const deft_ticket *tickets, int count) {
    int last = -1;
    for (int i = 0; i < count; i++)
        if (tickets[i].round > last) last = tickets[i].round;
    return last;
}

deft_status deft_tickets_print(deft_context *ctx, FILE *file, bool json, const deft_ticket *tickets, int count) {
    deft_report report;
    deft_status status = DEFT_OK;
    deft_report_init(&report, ctx, file, json, columns, sizeof columns / sizeof *columns);
    report.kind = "round";
    for (int round = 0; status == DEFT_OK && round <= deft_tickets_last_round(tickets, count); round++) {
        round_row row = {.round = round};
        for (int kind = 0; kind < DEFT_TICKET_KINDS; kind++)
            row.kinds[kind] = deft_tickets_summarize(tickets, count, round, kind);
        row.seeds = row.kinds[DEFT_TICKET_WINNING].count;
        row.weights_left = row.kinds[DEFT_TICKET_WINNING].weights_left;
        row.fewer = 1 / row.weights_left;
        status = deft_report_row(&report, &row);
    }
    deft_report_flush(&report);
    deft_report_done(&report);
    return status;
}

/* Lottery tickets, as a table: a line a round, the mean of the repetitions and their spread. */
#ifndef DEFT_FACE_REPORT_TICKETS_H
#define DEFT_FACE_REPORT_TICKETS_H

#include "face/report/report.h"
#include "learn/approx/lottery.h"

/* Tickets of one round and kind. */
typedef struct deft_ticket_summary {
    int count;                        /* repetitions; 0: there are none, and the rest is NaN */
    double weights_left;              /* mean */
    double accuracy, accuracy_spread; /* test, at the end: mean and standard deviation (NaN of one) */
    double stop_step, stop_spread;    /* of early stopping */
} deft_ticket_summary;

deft_ticket_summary deft_tickets_summarize(const deft_ticket *tickets, int count, int round, deft_ticket_kind kind);
/* The largest round; -1 of none. */
int deft_tickets_last_round(const deft_ticket *tickets, int count);
/* Prints the table. JSON: a line a round, of the kind "round". */
DEFT_MUST_CHECK deft_status deft_tickets_print(deft_context *ctx, FILE *file, bool json, const deft_ticket *tickets,
                                               int count);

#endif

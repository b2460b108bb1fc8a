/* The log of a lottery: what has been trained, in lines of JSON, so that it can go on and be plotted.
 *
 * {"kind": "lottery", ...}  the settings, first
 * {"kind": "curve", "seed", "round", "ticket", "step", "loss", "accuracy_validation"}
 * {"kind": "ticket", "seed", "round", "ticket", "weights_left", "accuracy_validation", "accuracy_test", "stop_step",
 *  "stop_loss", "stop_accuracy_test"}  after its curve */
#ifndef DEFT_LEARN_APPROX_LOTTERY_LOG_H
#define DEFT_LEARN_APPROX_LOTTERY_LOG_H

#include "learn/approx/lottery.h"

#include <jansson.h>

typedef struct deft_lottery_log {
    deft_context *ctx;
    char *path;
    char *text; /* all lines */
    size_t bytes;
    deft_ticket *tickets;
    int count;
} deft_lottery_log;

/* Reads the log at `path` where there is one; its settings must be these, whose reference is taken (NULL: memory ran
 * out). To be done with after a failure too. Errors: DEFT_INVALID (another lottery's log, or none), DEFT_IO,
 * DEFT_MEMORY.
 */
DEFT_MUST_CHECK deft_status deft_lottery_log_open(deft_context *ctx, const char *path, json_t *settings,
                                                  deft_lottery_log *log);
void deft_lottery_log_done(deft_lottery_log *log);

/* The ticket where it is in the log, else NULL. */
const deft_ticket *deft_lottery_log_find(const deft_lottery_log *log, int seed, int round, deft_ticket_kind kind);
/* Adds a ticket and its curve, and writes the file beside and renames. Errors: DEFT_IO, DEFT_MEMORY. */
DEFT_MUST_CHECK deft_status deft_lottery_log_add(deft_lottery_log *log, const deft_ticket *ticket,
                                                 const deft_curve_point *curve, int count);

/* A line's object as a ticket; false where it is none. */
bool deft_ticket_parse(const json_t *object, deft_ticket *ticket);

#endif

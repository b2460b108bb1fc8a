/* deft lottery: iterative magnitude pruning that resets what is left to its early values, with controls. */
#include "face/cli/cli.h"
#include "face/cli/training.h"
#include "face/report/tickets.h"
#include "ir/model/file.h"
#include "learn/approx/lottery.h"

#include <string.h>

typedef struct lottery_options {
    deft_training_settings training;
    const char *data, *folder;
    int rounds, seeds, control_every;
    deft_prune_scope scope;
    deft_lottery_reset reset;
    int64_t rewind;
    int controls; /* none|reinit|random|both: bit 0 and bit 1 */
    double rate, output_rate;
} lottery_options;

static const lottery_options defaults = {.training = {DEFT_TRAINING_DEFAULTS},
                                         .rounds = 15,
                                         .seeds = 1,
                                         .control_every = 1,
                                         .scope = DEFT_PRUNE_LAYER,
                                         .rate = 0.2};

static const deft_option options[] = {
    {"data", 0, DEFT_OPTION_TEXT, offsetof(lottery_options, data), "DATA", DEFT_DATA_HELP, 0, 0, true},
    {"output", 'o', DEFT_OPTION_FILE, offsetof(lottery_options, folder), "FOLDER", "for the log and the networks", 0, 0,
     true},
    {"rounds", 0, DEFT_OPTION_INT, offsetof(lottery_options, rounds), "R", "of pruning (default 15)", 1, 1000, false},
    {"rate", 0, DEFT_OPTION_REAL, offsetof(lottery_options, rate), "SHARE", "of what is left, a round (default 0.2)",
     0.001, 0.999, false},
    {"output-rate", 0, DEFT_OPTION_REAL, offsetof(lottery_options, output_rate), "SHARE",
     "of the last layer (default: half)", 0.001, 0.999, false},
    {"scope", 0, DEFT_OPTION_CHOICE, offsetof(lottery_options, scope), "global|layer", "(default layer)", 0, 0, false},
    {"reset", 0, DEFT_OPTION_CHOICE, offsetof(lottery_options, reset), "weights|learning-rate", "(weights)", 0, 0,
     false},
    {"rewind", 0, DEFT_OPTION_INT64, offsetof(lottery_options, rewind), "STEP",
     "what is reset is as after it (default 0)", 0, 1e12, false},
    {"controls", 0, DEFT_OPTION_CHOICE, offsetof(lottery_options, controls), "none|reinit|random|both", "(none)", 0, 0,
     false},
    {"control-every", 0, DEFT_OPTION_INT, offsetof(lottery_options, control_every), "R",
     "rounds from control to control (default 1)", 1, 1000, false},
    {"seeds", 0, DEFT_OPTION_INT, offsetof(lottery_options, seeds), "N", "repetitions (default 1)", 1, 1000, false},
};

/* A training in the table. */
typedef struct ticket_row {
    deft_ticket ticket;
    const char *kind;
} ticket_row;

#define TICKET(FIELD) offsetof(ticket_row, ticket.FIELD)

static const deft_column ticket_columns[] = {
    {"seed", "seed", DEFT_FIELD_INT, TICKET(seed), 0, NULL, 0, NULL},
    {"round", "round", DEFT_FIELD_INT, TICKET(round), 0, NULL, 0, NULL},
    {"ticket", "ticket", DEFT_FIELD_TEXT, offsetof(ticket_row, kind), 0, NULL, 13, NULL},
    {"weights_left", "left", DEFT_FIELD_SHARE, TICKET(weights_left), 2, NULL, 7, NULL},
    {"accuracy_validation", "validation", DEFT_FIELD_SHARE, TICKET(accuracy_validation), 2, NULL, 0, NULL},
    {"accuracy_test", "test", DEFT_FIELD_SHARE, TICKET(accuracy_test), 2, NULL, 7, NULL},
    {"stop_step", "step", DEFT_FIELD_INT64, TICKET(stop_step), 0, NULL, 7, "stopped early"},
    {"stop_loss", "loss", DEFT_FIELD_REAL, TICKET(stop_loss), 4, NULL, 7, "stopped early"},
    {"stop_accuracy_test", "test", DEFT_FIELD_SHARE, TICKET(stop_accuracy_test), 2, NULL, 7, "stopped early"},
};

/* The tickets as they are drawn. */
typedef struct drawing {
    deft_cli *cli;
    deft_report report;
    deft_ticket *tickets;
    int count;
    deft_status status; /* whether all of them could be kept and printed */
} drawing;

static void on_ticket(void *user, const deft_ticket *ticket) {
    drawing *d = user;
    deft_console_clear(&d->cli->console);
    if (d->status == DEFT_OK)
        d->status = deft_reallocate(d->cli->ctx, (size_t)(d->count + 1) * sizeof *d->tickets, &d->tickets);
    if (d->status != DEFT_OK) return;
    d->tickets[d->count++] = *ticket;
    ticket_row row = {*ticket, deft_ticket_names[ticket->kind]};
    d->status = deft_report_row(&d->report, &row);
}

static deft_lottery_options lottery_from(const lottery_options *wanted, drawing *d) {
    return (deft_lottery_options){
        .folder = wanted->folder,
        .seeds = wanted->seeds,
        .rounds = wanted->rounds,
        .rate = wanted->rate,
        .output_rate = wanted->output_rate,
        .scope = wanted->scope,
        .reset = wanted->reset,
        .rewind_step = wanted->rewind,
        .controls = {[DEFT_TICKET_REINITIALIZED] = wanted->controls & 1, [DEFT_TICKET_RANDOM] = wanted->controls & 2},
        .control_every = wanted->control_every,
        .training = deft_training_options(&wanted->training),
        .on_ticket = on_ticket,
        .user = d};
}

static deft_status draw(deft_cli *cli, const lottery_options *wanted, const deft_graph *network,
                        const deft_dataset *data) {
    drawing d = {.cli = cli};
    deft_lottery_options lottery = lottery_from(wanted, &d);
    deft_cli_report(cli, &d.report, ticket_columns, sizeof ticket_columns / sizeof *ticket_columns);
    d.report.live = true;
    d.report.kind = "ticket";
    deft_status status = deft_lottery(cli->ctx, network, data, &lottery);
    deft_report_done(&d.report);
    if (status == DEFT_CANCELLED)
        deft_console_note(&cli->console, "%s keeps what is finished: the same command goes on from there",
                          wanted->folder);
    if (status == DEFT_OK) status = d.status;
    if (status == DEFT_OK && !cli->json) fputc('\n', cli->out);
    if (status == DEFT_OK) status = deft_tickets_print(cli->ctx, cli->out, cli->json, d.tickets, d.count);
    deft_release(cli->ctx, d.tickets);
    return status;
}

static deft_status run(deft_cli *cli, const void *arguments) {
    const lottery_options *wanted = arguments;
    deft_model_file model = {0};
    deft_dataset *data = NULL;
    deft_status status;
    DEFT_TRY_OR_FAIL(deft_model_file_load(cli->ctx, cli->operand, &model));
    DEFT_TRY_OR_FAIL(deft_dataset_open(cli->ctx, wanted->data, &data));
    DEFT_TRY_OR_FAIL(draw(cli, wanted, model.graph, data));
fail:
    deft_dataset_free(data);
    deft_graph_free(model.graph);
    deft_release(cli->ctx, model.frontier);
    return status;
}

const deft_command deft_command_lottery = {
    .name = "lottery",
    .summary = "Find sparse parts of an untrained network that learn as well as it.",
    .operand = "MODEL",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .training = &deft_teacherless_training_table,
    .training_offset = offsetof(lottery_options, training),
    .options_bytes = sizeof(lottery_options),
    .defaults = &defaults,
    .run = run,
};

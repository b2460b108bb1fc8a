/* deft report: the logs of runs as one page of plots and tables. */
#include "base/core/file.h"
#include "face/cli/cli.h"
#include "face/cli/output.h"
#include "face/report/page.h"

#include <string.h>

typedef struct report_options {
    const char *output;
    bool tables;
} report_options;

static const deft_option options[] = {
    {"output", 'o', DEFT_OPTION_FILE, offsetof(report_options, output), "FILE", "where to write the page", 0, 0, true},
    {"tables", 0, DEFT_OPTION_FLAG, offsetof(report_options, tables), NULL, "no plots, so gnuplot is not needed", 0, 0,
     false},
};

typedef struct made {
    const char *file;
    int logs, plots;
} made;

static const deft_column columns[] = {
    {"file", "file", DEFT_FIELD_TEXT, offsetof(made, file), 0, NULL, 0, NULL},
    {"logs", "logs", DEFT_FIELD_INT, offsetof(made, logs), 0, NULL, 0, NULL},
    {"plots", "plots", DEFT_FIELD_INT, offsetof(made, plots), 0, NULL, 0, NULL},
};

static deft_status run(deft_cli *cli, const void *arguments) {
    const report_options *wanted = arguments;
    deft_run_log *logs;
    char *page = NULL;
    int count = 0, plots;
    deft_status status;
    while (cli->operands[count])
        count++;
    DEFT_TRY(deft_output_claim(cli, wanted->output));
    DEFT_TRY(deft_allocate_zeroed(cli->ctx, (size_t)count, sizeof *logs, &logs));
    for (int i = 0; i < count; i++)
        logs[i].ctx = cli->ctx;
    for (int i = 0; i < count; i++)
        DEFT_TRY_OR_FAIL(deft_run_log_read(cli->ctx, cli->operands[i], &logs[i]));
    DEFT_TRY_OR_FAIL(deft_page_make(cli->ctx, logs, count, wanted->tables, &page, &plots));
    DEFT_TRY_OR_FAIL(deft_file_write(cli->ctx, wanted->output, page, strlen(page)));
    made row = {wanted->output, count, plots};
    DEFT_TRY_OR_FAIL(deft_cli_print(cli, NULL, columns, sizeof columns / sizeof *columns, &row));
fail:
    deft_release(cli->ctx, page);
    for (int i = 0; i < count; i++)
        deft_run_log_done(&logs[i]);
    deft_release(cli->ctx, logs);
    return status;
}

const deft_command deft_command_report = {
    .name = "report",
    .summary = "Plot training curves, lottery tickets and frontiers, as a page.",
    .operand = "LOG",
    .many_operands = true,
    .notes = "LOG: OUTPUT.log.jsonl of train or prune, log.jsonl of a lottery, lines that\n"
             "train or optimize print with --json, frontier.json, or a .deft file.\n",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .options_bytes = sizeof(report_options),
    .run = run,
};

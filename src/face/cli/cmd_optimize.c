/* deft optimize: the main job. Load the model and the data, search, keep the point that was chosen, say what it is. */
#include "decide/tune/optimize.h"
#include "face/cli/cli.h"
#include "face/cli/output.h"
#include "face/report/points.h"
#include "ir/model/file.h"

typedef struct optimize_options {
    const char *data, *output;
    double max_drop;
    int epochs;
    bool prune_sparse;
} optimize_options;

static const optimize_options defaults = {.max_drop = 0.5};

static const deft_option options[] = {
    {"data", 0, DEFT_OPTION_TEXT, offsetof(optimize_options, data), "DATA", DEFT_DATA_HELP, 0, 0, true},
    {"output", 'o', DEFT_OPTION_FILE, offsetof(optimize_options, output), "FILE", "where to write the fast model", 0, 0,
     true},
    {"max-drop", 0, DEFT_OPTION_REAL, offsetof(optimize_options, max_drop), "PP",
     "percentage points of accuracy that may go (0.5)", 0, 100, false},
    {"epochs", 0, DEFT_OPTION_INT, offsetof(optimize_options, epochs), "E",
     "fine-tuning of a point (default: by the data)", 1, 1e6, false},
    {"prune-sparse", 0, DEFT_OPTION_FLAG, offsetof(optimize_options, prune_sparse), NULL,
     "prune a model further that arrives sparse", 0, 0, false},
};

/* The table, while the search goes on. */
typedef struct progress_table {
    deft_cli *cli;
    deft_report report;
    deft_status printed;
} progress_table;

static void on_point(void *user, const deft_point *point) {
    progress_table *table = user;
    deft_console_clear(&table->cli->console);
    if (table->printed == DEFT_OK) table->printed = deft_points_add(&table->report, point);
}

static deft_status search(deft_cli *cli, const optimize_options *wanted, const deft_graph *original,
                          const deft_dataset *data, deft_model_file *fast, deft_point *chosen) {
    progress_table table = {.cli = cli, .printed = DEFT_OK};
    deft_points_init(&table.report, cli->ctx, cli->out, cli->json);
    deft_optimize_options searching = {.max_drop = wanted->max_drop,
                                       .epochs = wanted->epochs,
                                       .prune_sparse = wanted->prune_sparse,
                                       .point = on_point,
                                       .user = &table};
    deft_status status =
        deft_optimize_graph(cli->ctx, original, data, &searching, &fast->graph, &fast->frontier, chosen);
    deft_report_done(&table.report);
    return status == DEFT_OK ? table.printed : status;
}

static void print_sentence(const deft_cli *cli, const deft_point *chosen, const char *path, bool agreement) {
    char sentence[512];
    if (!cli->json)
        fprintf(cli->out, "\n%s\n", deft_points_sentence(chosen, path, agreement, sentence, sizeof sentence));
}

static deft_status run(deft_cli *cli, const void *arguments) {
    const optimize_options *wanted = arguments;
    deft_model_file original = {0}, fast = {0};
    deft_dataset *data = NULL;
    deft_point chosen;
    deft_status status;
    DEFT_TRY(deft_output_claim(cli, wanted->output));
    DEFT_TRY_OR_FAIL(deft_model_file_load(cli->ctx, cli->operand, &original));
    DEFT_TRY_OR_FAIL(deft_dataset_open(cli->ctx, wanted->data, &data));
    DEFT_TRY_OR_FAIL(search(cli, wanted, original.graph, data, &fast, &chosen));
    DEFT_TRY_OR_FAIL(deft_model_file_save(cli->ctx, wanted->output, fast.graph, fast.frontier));
    print_sentence(cli, &chosen, wanted->output, data->classes == 0);
fail:
    deft_graph_free(fast.graph);
    deft_release(cli->ctx, fast.frontier);
    deft_dataset_free(data);
    deft_graph_free(original.graph);
    deft_release(cli->ctx, original.frontier);
    return status;
}

const deft_command deft_command_optimize = {
    .name = "optimize",
    .summary = "Make a model faster within a bound on its accuracy, and measure it.",
    .operand = "MODEL",
    .notes = "Where no point is within the bound, nothing is written; the exit status is 1.\n"
             "Data without labels measures agreement with the original instead of accuracy.\n",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .options_bytes = sizeof(optimize_options),
    .defaults = &defaults,
    .run = run,
};

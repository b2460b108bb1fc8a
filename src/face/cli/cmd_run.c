/* deft run: arrays in, arrays out. */
#include "face/api/model.h"
#include "face/cli/cli.h"
#include "face/cli/compare.h"
#include "face/cli/feed.h"
#include "face/cli/fetch.h"
#include "face/cli/output.h"

#include <math.h>

typedef struct run_options {
    deft_texts inputs;
    const char *output, *compare;
    double tolerance;
} run_options;

static const run_options defaults = {.tolerance = 1e-3};

static const deft_option options[] = {
    {"input", 0, DEFT_OPTION_TEXTS, offsetof(run_options, inputs), "[NAME=]FILE", "a .npy array; once for each input",
     0, 0, false},
    {"output", 'o', DEFT_OPTION_FILE, offsetof(run_options, output), "PATH",
     "write outputs: FILE.npy, FILE.npz or a folder", 0, 0, false},
    {"compare", 0, DEFT_OPTION_TEXT, offsetof(run_options, compare), "FILE.npz",
     "with outputs of another runtime; exit 1 if far", 0, 0, false},
    {"tolerance", 0, DEFT_OPTION_REAL, offsetof(run_options, tolerance), "T",
     "of --compare: max |x - y| / max |y| (default 1e-3)", 0, INFINITY, false},
};

static deft_status run(deft_cli *cli, const void *arguments) {
    const run_options *wanted = arguments;
    deft_model_file file = {0};
    deft_session *session = NULL;
    deft_feed feed = {0};
    deft_status status;
    if (wanted->output) deft_output_keep_apart(cli, wanted->output);
    DEFT_TRY(deft_model_file_load(cli->ctx, cli->operand, &file));
    DEFT_TRY_OR_FAIL(deft_feed_read(cli->ctx, file.graph, &wanted->inputs, &feed));
    deft_plan_options planning = {.bindings = feed.bindings, .binding_count = feed.count};
    status = deft_session_take(file.graph, &planning, false, &session);
    file.graph = NULL; /* the session's: weights are in memory once */
    DEFT_TRY_OR_FAIL(status);
    deft_feed_copy(&feed, session);
    DEFT_TRY_OR_FAIL(deft_session_run(session));
    if (wanted->output) DEFT_TRY_OR_FAIL(deft_fetch_write(session, wanted->output));
    DEFT_TRY_OR_FAIL(wanted->compare ? deft_compare_outputs(cli, session, wanted->compare, wanted->tolerance)
                                     : deft_fetch_print(cli, session));
fail:
    deft_feed_done(&feed);
    deft_session_free(session);
    deft_graph_free(file.graph);
    deft_release(cli->ctx, file.frontier);
    return status;
}

const deft_command deft_command_run = {
    .name = "run",
    .summary = "Run a model on arrays.",
    .operand = "MODEL",
    .notes = "The batch is the first dimension of the arrays. An array without a name goes to\n"
             "the first input that has none.\n",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .options_bytes = sizeof(run_options),
    .defaults = &defaults,
    .run = run,
};

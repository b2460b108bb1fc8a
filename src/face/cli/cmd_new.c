/* deft new: an untrained network. */
#include "face/cli/cli.h"
#include "face/cli/output.h"
#include "ir/model/file.h"
#include "ir/model/zoo.h"

typedef struct new_options {
    const char *output;
} new_options;

static const deft_option options[] = {
    {"output", 'o', DEFT_OPTION_FILE, offsetof(new_options, output), "FILE", "where to write the model", 0, 0, true},
};

typedef struct made {
    const char *file, *network;
    int64_t parameters;
} made;

static const deft_column columns[] = {
    {"file", "file", DEFT_FIELD_TEXT, offsetof(made, file), 0, NULL, 0, NULL},
    {"network", "network", DEFT_FIELD_TEXT, offsetof(made, network), 0, NULL, 0, NULL},
    {"parameters", "parameters", DEFT_FIELD_INT64, offsetof(made, parameters), 0, NULL, 0, NULL},
};

static deft_status run(deft_cli *cli, const void *arguments) {
    const new_options *wanted = arguments;
    deft_graph *graph;
    DEFT_TRY(deft_output_claim(cli, wanted->output));
    DEFT_TRY(deft_zoo_build(cli->ctx, cli->operand, &graph));
    made row = {wanted->output, cli->operand, deft_graph_count(graph).parameters};
    deft_status status = deft_model_file_save(cli->ctx, wanted->output, graph, NULL);
    deft_graph_free(graph);
    DEFT_TRY(status);
    return deft_cli_print(cli, NULL, columns, sizeof columns / sizeof *columns, &row);
}

const deft_command deft_command_new = {
    .name = "new",
    .summary = "Make an untrained network, initialised from the seed.",
    .operand = "NETWORK",
    .notes = "NETWORK:\n"
#define DEFT_ZOO_NET(NAME, FUNCTION, SUMMARY) "  " NAME ": " SUMMARY "\n"
#include "ir/model/zoo.def"
#undef DEFT_ZOO_NET
             "  mlp:784,300,100,10: fully connected, of any layer sizes\n",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .options_bytes = sizeof(new_options),
    .run = run,
};

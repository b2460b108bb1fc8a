/* deft export: a model as plain ONNX, for any runtime. */
#include "face/cli/cli.h"
#include "face/cli/output.h"
#include "ir/model/file.h"

typedef struct export_options {
    const char *output;
} export_options;

static const deft_option options[] = {
    {"output", 'o', DEFT_OPTION_FILE, offsetof(export_options, output), "FILE", "where to write the ONNX model", 0, 0,
     true},
};

typedef struct exported {
    const char *file;
    int64_t parameters;
    double zeros;
} exported;

static const deft_column columns[] = {
    {"file", "file", DEFT_FIELD_TEXT, offsetof(exported, file), 0, NULL, 0, NULL},
    {"parameters", "parameters", DEFT_FIELD_INT64, offsetof(exported, parameters), 0, NULL, 0, NULL},
    {"zeros", "zeros", DEFT_FIELD_SHARE, offsetof(exported, zeros), 1, NULL, 0, NULL},
};

static deft_status run(deft_cli *cli, const void *arguments) {
    const export_options *wanted = arguments;
    deft_model_file file = {0};
    DEFT_TRY(deft_output_claim(cli, wanted->output));
    DEFT_TRY(deft_model_file_load(cli->ctx, cli->operand, &file));
    deft_graph_stats stats = deft_graph_count(file.graph);
    exported row = {wanted->output, stats.parameters, deft_share(stats.prunable_zeros, stats.prunable)};
    deft_status status = deft_model_file_save(cli->ctx, wanted->output, file.graph, NULL);
    deft_graph_free(file.graph);
    deft_release(cli->ctx, file.frontier);
    DEFT_TRY(status);
    return deft_cli_print(cli, NULL, columns, sizeof columns / sizeof *columns, &row);
}

const deft_command deft_command_export = {
    .name = "export",
    .summary = "Write a model as plain ONNX, for any runtime, its zeros in place.",
    .operand = "MODEL",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .options_bytes = sizeof(export_options),
    .run = run,
};

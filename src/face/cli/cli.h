/* A command, and what main gives it. */
#ifndef DEFT_FACE_CLI_CLI_H
#define DEFT_FACE_CLI_CLI_H

#include "base/core/context.h"
#include "face/cli/console.h"
#include "face/cli/options.h"
#include "face/report/report.h"

/* A command being run: the options that every command has, and what it needs to answer. */
typedef struct deft_cli {
    bool json, quiet;
    int threads;
    deft_isa isa;
    uint64_t seed;
    size_t max_memory_bytes;
    const char *operand;   /* the argument that is no option, or the first of them */
    char *const *operands; /* all of them, where the command takes several; ends in NULL */
    deft_context *ctx;
    FILE *out; /* where what is asked for is printed: stdout, but see deft_output_claim */
    deft_console console;
} deft_cli;

typedef struct deft_command {
    const char *name;
    const char *summary;
    const char *operand; /* what the help calls the argument that is no option */
    bool many_operands;  /* it takes one or more of them */
    const char *notes;   /* lines under the options, or NULL; examples */
    const deft_option *options;
    int option_count;
    const deft_option_table *training; /* more options, those of training, or NULL: they set the ... */
    size_t training_offset;            /* ... deft_training_settings there in the same structure */
    bool explains_training;            /* in its help; else that names them only */
    size_t options_bytes;              /* of the structure that the options set */
    const void *defaults;              /* of that structure; NULL: all zero */
    deft_status (*run)(deft_cli *cli, const void *options);
} deft_command;

#define DEFT_COMMAND(NAME) extern const deft_command deft_command_##NAME;
#include "face/cli/commands.def"
#undef DEFT_COMMAND

#define DEFT_DATA_HELP "a folder or file of samples, or digits[:N]"

/* Starts a report on cli->out, as a table or as JSON, whichever was asked for. */
void deft_cli_report(const deft_cli *cli, deft_report *report, const deft_column *columns, int column_count);
/* A report of one row; `kind` as in deft_report. */
DEFT_MUST_CHECK deft_status deft_cli_print(const deft_cli *cli, const char *kind, const deft_column *columns,
                                           int column_count, const void *row);

#endif

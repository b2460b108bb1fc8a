/* deft train: a network and labelled data in, a trained network out. */
#include "face/cli/journal.h"
#include "face/cli/output.h"
#include "face/cli/training.h"
#include "ir/model/file.h"

#include <stdio.h>

typedef struct train_options {
    deft_training_settings training;
    const char *data, *output, *teacher, *checkpoint, *log;
    bool keep_zeros;
} train_options;

static const train_options defaults = {.training = {DEFT_TRAINING_DEFAULTS}};

static const deft_option options[] = {
    {"data", 0, DEFT_OPTION_TEXT, offsetof(train_options, data), "DATA", DEFT_DATA_HELP, 0, 0, true},
    {"output", 'o', DEFT_OPTION_FILE, offsetof(train_options, output), "FILE", "where to write the trained model", 0, 0,
     true},
    {"teacher", 0, DEFT_OPTION_TEXT, offsetof(train_options, teacher), "FILE",
     "a model to distil from, with the labels or without", 0, 0, false},
    {"keep-zeros", 0, DEFT_OPTION_FLAG, offsetof(train_options, keep_zeros), NULL,
     "weights that are zero now stay exactly zero", 0, 0, false},
    {"checkpoint", 0, DEFT_OPTION_FILE, offsetof(train_options, checkpoint), "FILE",
     "to go on from where stopped (OUTPUT.checkpoint)", 0, 0, false},
    {"log", 0, DEFT_OPTION_FILE, offsetof(train_options, log), "FILE",
     "of the run, in JSON (default: OUTPUT.log.jsonl)", 0, 0, false},
};

typedef struct outcome {
    const char *file;
    double accuracy_validation, accuracy_test;
    double error_validation, error_test, percentage_validation, percentage_test;
} outcome;

static const deft_column outcome_columns[] = {
    {"file", "file", DEFT_FIELD_TEXT, offsetof(outcome, file), 0, NULL, 0, NULL},
    {"accuracy_validation", "validation", DEFT_FIELD_SHARE, offsetof(outcome, accuracy_validation), 2, NULL, 0, NULL},
    {"accuracy_test", "test", DEFT_FIELD_SHARE, offsetof(outcome, accuracy_test), 2, NULL, 0, NULL},
};
enum { OUTCOME_COLUMNS = sizeof outcome_columns / sizeof *outcome_columns };

/* Where numbers are learned. */
static const deft_column regression_columns[] = {
    {"file", "file", DEFT_FIELD_TEXT, offsetof(outcome, file), 0, NULL, 0, NULL},
    {"error_validation", "validation", DEFT_FIELD_SHARE, offsetof(outcome, error_validation), 2, NULL, 0, "error"},
    {"error_test", "test", DEFT_FIELD_SHARE, offsetof(outcome, error_test), 2, NULL, 0, "error"},
    {"percentage_validation", "validation", DEFT_FIELD_SHARE, offsetof(outcome, percentage_validation), 2, NULL, 0,
     "mean of each"},
    {"percentage_test", "test", DEFT_FIELD_SHARE, offsetof(outcome, percentage_test), 2, NULL, 0, "mean of each"},
};
enum { REGRESSION_COLUMNS = sizeof regression_columns / sizeof *regression_columns };

static deft_status check(deft_context *ctx, const train_options *wanted) {
    bool usual = wanted->training.teacher_share == defaults.training.teacher_share &&
                 wanted->training.temperature == defaults.training.temperature;
    if (wanted->teacher || usual) return DEFT_OK;
    return deft_fail(ctx, DEFT_INVALID, "--teacher-share and --temperature are of a teacher: add --teacher");
}

static deft_status train(deft_cli *cli, const train_options *wanted, const char *checkpoint, deft_graph *graph,
                         const deft_graph *teacher, const deft_dataset *data, deft_journal *journal) {
    deft_train_options training = deft_training_options(&wanted->training);
    training.keep_zeros = wanted->keep_zeros;
    training.teacher = teacher;
    training.checkpoint = checkpoint;
    training.on_epoch = deft_journal_epoch;
    training.user = journal;
    deft_status status = deft_train(cli->ctx, graph, data, &training);
    deft_journal_tell_kept(journal, status, checkpoint);
    return status;
}

/* Without labels, accuracy is agreement with the teacher. */
static deft_status print_outcome(deft_cli *cli, const char *file, const deft_graph *graph, const deft_graph *teacher,
                                 const deft_dataset *data, deft_journal *journal) {
    deft_quality validation, test;
    if (data->classes || data->target_count) teacher = NULL;
    DEFT_TRY(deft_evaluate(cli->ctx, graph, teacher, data, DEFT_VALIDATION, &validation));
    DEFT_TRY(deft_evaluate(cli->ctx, graph, teacher, data, DEFT_TEST, &test));
    outcome row = {file,
                   teacher ? validation.agreement : validation.accuracy,
                   teacher ? test.agreement : test.accuracy,
                   validation.target_error,
                   test.target_error,
                   validation.percentage_error,
                   test.percentage_error};
    const deft_column *columns = data->target_count ? regression_columns : outcome_columns;
    int count = data->target_count ? REGRESSION_COLUMNS : OUTCOME_COLUMNS;
    DEFT_TRY(deft_journal_outcome(journal, columns, count, &row));
    return deft_cli_print(cli, "outcome", columns, count, &row);
}

static deft_status run(deft_cli *cli, const void *arguments) {
    const train_options *wanted = arguments;
    deft_model_file model = {0}, teacher = {0};
    deft_dataset *data = NULL;
    deft_journal journal;
    char *checkpoint = NULL;
    deft_status status;
    DEFT_TRY(check(cli->ctx, wanted));
    DEFT_TRY(deft_output_claim(cli, wanted->output));
    DEFT_TRY_OR_FAIL(deft_journal_init(cli, &deft_command_train, wanted, wanted->log, wanted->output, &journal));
    DEFT_TRY_OR_FAIL(deft_model_file_load(cli->ctx, cli->operand, &model));
    if (wanted->teacher) DEFT_TRY_OR_FAIL(deft_model_file_load(cli->ctx, wanted->teacher, &teacher));
    DEFT_TRY_OR_FAIL(deft_dataset_open(cli->ctx, wanted->data, &data));
    DEFT_TRY_OR_FAIL(deft_output_beside(cli->ctx, wanted->output, ".checkpoint", &checkpoint));
    DEFT_TRY_OR_FAIL(train(cli, wanted, wanted->checkpoint ? wanted->checkpoint : checkpoint, model.graph,
                           teacher.graph, data, &journal));
    DEFT_TRY_OR_FAIL(deft_model_file_save(cli->ctx, wanted->output, model.graph, NULL));
    if (checkpoint && !wanted->checkpoint) remove(checkpoint);
    DEFT_TRY_OR_FAIL(print_outcome(cli, wanted->output, model.graph, teacher.graph, data, &journal));
fail:
    deft_journal_done(&journal);
    deft_release(cli->ctx, checkpoint);
    deft_dataset_free(data);
    deft_graph_free(teacher.graph);
    deft_release(cli->ctx, teacher.frontier);
    deft_graph_free(model.graph);
    deft_release(cli->ctx, model.frontier);
    return status;
}

const deft_command deft_command_train = {
    .name = "train",
    .summary = "Train, or go on training, a network on labels or targets.",
    .operand = "MODEL",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .training = &deft_training_table,
    .training_offset = offsetof(train_options, training),
    .explains_training = true,
    .options_bytes = sizeof(train_options),
    .defaults = &defaults,
    .run = run,
};

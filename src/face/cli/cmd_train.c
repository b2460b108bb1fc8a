/* deft train: a network and labelled data in, a trained network out. */
#include "face/cli/journal.h"
#include "face/cli/output.h"
#include "ir/model/file.h"
#include "learn/train/train.h"

#include <stdio.h>

typedef struct train_options {
    const char *data, *output, *teacher, *checkpoint, *log;
    int epochs;
    int64_t batch;
    deft_optimizer optimizer;
    deft_schedule_kind schedule;
    deft_loss loss;
    double learning_rate, momentum, weight_decay, clip, average, warmup, label_smoothing;
    bool keep_zeros;
} train_options;

static const train_options defaults = {.epochs = 10, .batch = 64, .momentum = 0.9, .weight_decay = -1, .clip = 1};

static const deft_option options[] = {
    {"data", 0, DEFT_OPTION_TEXT, offsetof(train_options, data), "DATA", DEFT_DATA_HELP, 0, 0, true},
    {"output", 'o', DEFT_OPTION_FILE, offsetof(train_options, output), "FILE", "where to write the trained model", 0, 0,
     true},
    {"epochs", 0, DEFT_OPTION_INT, offsetof(train_options, epochs), "E", "passes over the data (default 10)", 1, 1e6,
     false},
    {"batch", 0, DEFT_OPTION_INT64, offsetof(train_options, batch), "N", "samples a step (default 64)", 1, 1e6, false},
    {"optimizer", 0, DEFT_OPTION_CHOICE, offsetof(train_options, optimizer), "sgd|nesterov|adam|adamw", "(default sgd)",
     0, 0, false},
    {"learning-rate", 0, DEFT_OPTION_REAL, offsetof(train_options, learning_rate), "R",
     "at the start (default 0.05; adam, adamw: 0.001)", 1e-12, 1e6, false},
    {"schedule", 0, DEFT_OPTION_CHOICE, offsetof(train_options, schedule), "steps|cosine|constant",
     "of the rate (default steps)", 0, 0, false},
    {"warmup", 0, DEFT_OPTION_REAL, offsetof(train_options, warmup), "E",
     "epochs over which the rate rises from 0 (default 0)", 0, 1e6, false},
    {"momentum", 0, DEFT_OPTION_REAL, offsetof(train_options, momentum), "M", "0 for none (default 0.9)", 0, 0.9999,
     false},
    {"weight-decay", 0, DEFT_OPTION_REAL, offsetof(train_options, weight_decay), "W",
     "L2 penalty; 0 for none (default 5e-4; adamw: 0.01)", 0, 1e6, false},
    {"clip", 0, DEFT_OPTION_REAL, offsetof(train_options, clip), "G",
     "largest norm of the gradient; 0 for any (default 1)", 0, 1e6, false},
    {"average", 0, DEFT_OPTION_REAL, offsetof(train_options, average), "A",
     "keep a moving average of the weights: 0.999, say", 0, 0.999999, false},
    {"loss", 0, DEFT_OPTION_CHOICE, offsetof(train_options, loss), "auto|cross-entropy|squared-error|percentage",
     "(auto)", 0, 0, false},
    {"label-smoothing", 0, DEFT_OPTION_REAL, offsetof(train_options, label_smoothing), "S",
     "share of a label given to all classes (default 0)", 0, 0.9999, false},
    {"teacher", 0, DEFT_OPTION_TEXT, offsetof(train_options, teacher), "FILE",
     "a model to distil from, with the labels or without", 0, 0, false},
    {"keep-zeros", 0, DEFT_OPTION_FLAG, offsetof(train_options, keep_zeros), NULL,
     "weights that are zero now stay exactly zero", 0, 0, false},
    {"checkpoint", 0, DEFT_OPTION_FILE, offsetof(train_options, checkpoint), "FILE",
     "to keep (default: OUTPUT.checkpoint, until the end)", 0, 0, false},
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

/* The library's number, where 0 is the default and a negative one is none; here, 0 is none and a negative one the
 * default. */
static float number(double wanted) {
    return wanted > 0 ? (float)wanted : wanted < 0 ? 0 : -1;
}

static deft_train_options training_options(const train_options *wanted) {
    const deft_optimizer_options optimizer = {.kind = wanted->optimizer,
                                              .momentum = number(wanted->momentum),
                                              .weight_decay = number(wanted->weight_decay),
                                              .max_gradient_norm = number(wanted->clip),
                                              .average = (float)wanted->average};
    return (deft_train_options){.epochs = wanted->epochs,
                                .batch = wanted->batch,
                                .optimizer = optimizer,
                                .learning_rate = (float)wanted->learning_rate,
                                .schedule = wanted->schedule,
                                .warmup_epochs = (float)wanted->warmup,
                                .loss = wanted->loss,
                                .label_smoothing = (float)wanted->label_smoothing,
                                .keep_zeros = wanted->keep_zeros};
}

static deft_status train(deft_cli *cli, const train_options *wanted, const char *checkpoint, deft_graph *graph,
                         const deft_graph *teacher, const deft_dataset *data, deft_journal *journal) {
    deft_train_options training = training_options(wanted);
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
    .notes = "The same command goes on where it was stopped, but for the epoch under way.\n",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .options_bytes = sizeof(train_options),
    .defaults = &defaults,
    .run = run,
};

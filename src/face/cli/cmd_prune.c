/* deft prune: zeros in a model; without data, with calibration data, or fine-tuned under the mask. */
#include "face/cli/journal.h"
#include "face/cli/output.h"
#include "face/cli/training.h"
#include "face/report/shape.h"
#include "ir/model/file.h"
#include "learn/approx/second_order.h"
#include "learn/approx/sparsify.h"

#include <stdio.h>
#include <string.h>

typedef struct prune_options {
    deft_training_settings training;
    const char *output, *pattern, *data, *teacher, *calibrate, *log;
    deft_prune_scope scope;
    bool cubic;
    double zeros, move;
    int64_t every, samples;
} prune_options;

static const prune_options defaults = {.training = {DEFT_TRAINING_DEFAULTS}, .zeros = -1, .every = 100, .samples = 512};

static const deft_option options[] = {
    {"output", 'o', DEFT_OPTION_FILE, offsetof(prune_options, output), "FILE", "where to write the pruned model", 0, 0,
     true},
    {"zeros", 0, DEFT_OPTION_REAL, offsetof(prune_options, zeros), "SHARE", "of the weights, 0 to 1", 0, 1, false},
    {"scope", 0, DEFT_OPTION_CHOICE, offsetof(prune_options, scope), "global|layer",
     "together, or each (default global)", 0, 0, false},
    {"pattern", 0, DEFT_OPTION_TEXT, offsetof(prune_options, pattern), "P", "2:4 keeps 2 of 4; 4x1: blocks go together",
     0, 0, false},
    {"data", 0, DEFT_OPTION_TEXT, offsetof(prune_options, data), "DATA",
     "to fine-tune on: a folder or file, or digits[:N]", 0, 0, false},
    {"teacher", 0, DEFT_OPTION_TEXT, offsetof(prune_options, teacher), "FILE",
     "to distil from in fine-tuning (default: MODEL)", 0, 0, false},
    {"cubic", 0, DEFT_OPTION_FLAG, offsetof(prune_options, cubic), NULL,
     "the zeros grow while fine-tuning; else all at once", 0, 0, false},
    {"move", 0, DEFT_OPTION_REAL, offsetof(prune_options, move), "SHARE", "dropped and grown at an update (default 0)",
     0, 0.99, false},
    {"every", 0, DEFT_OPTION_INT64, offsetof(prune_options, every), "STEPS", "from update to update (default 100)", 1,
     1e9, false},
    {"calibrate", 0, DEFT_OPTION_TEXT, offsetof(prune_options, calibrate), "DATA",
     "no training: the least change on this data", 0, 0, false},
    {"samples", 0, DEFT_OPTION_INT64, offsetof(prune_options, samples), "N", "of it to use (default 512)", 1, 1e9,
     false},
    {"log", 0, DEFT_OPTION_FILE, offsetof(prune_options, log), "FILE",
     "of fine-tuning, in JSON (default: OUTPUT.log.jsonl)", 0, 0, false},
};

/* ---- what is asked ------------------------------------------------------------------------------------------- */

static deft_status parse_pattern(deft_context *ctx, const char *text, deft_prune_options *prune) {
    int first, second, end = 0;
    char between;
    bool whole = sscanf(text, "%4d%c%4d%n", &first, &between, &second, &end) == 3 && text[end] == '\0';
    if (whole && between == ':')
        prune->keep = first, prune->of = second;
    else if (whole && between == 'x')
        prune->block_rows = first, prune->block_inner = second;
    else
        return deft_fail(ctx, DEFT_INVALID, "--pattern '%.64s' is neither N:M, as in 2:4, nor RxC, as in 4x1", text);
    return DEFT_OK;
}

static deft_status read_options(deft_context *ctx, const prune_options *wanted, deft_sparsify_options *sparsify) {
    *sparsify = (deft_sparsify_options){.cubic = wanted->cubic, .move = wanted->move, .every = wanted->every};
    if (wanted->pattern) DEFT_TRY(parse_pattern(ctx, wanted->pattern, &sparsify->prune));
    if (wanted->zeros < 0 && !sparsify->prune.of)
        return deft_fail(ctx, DEFT_INVALID, "--zeros SHARE is missing, or --pattern N:M; see 'deft help prune'");
    if (!wanted->data && (wanted->cubic || wanted->move > 0 || wanted->teacher || wanted->log))
        return deft_fail(ctx, DEFT_INVALID, "--cubic, --move, --teacher and --log are of fine-tuning: it needs --data");
    if (!wanted->data && memcmp(&wanted->training, &defaults.training, sizeof defaults.training) != 0)
        return deft_fail(ctx, DEFT_INVALID, "the options of training are of fine-tuning: it needs --data");
    if (wanted->data && wanted->calibrate)
        return deft_fail(ctx, DEFT_INVALID, "--data fine-tunes and --calibrate does not: choose one of them");
    sparsify->prune.scope = wanted->scope;
    sparsify->prune.zeros = wanted->zeros < 0 ? 0 : wanted->zeros;
    return deft_prune_check(ctx, &sparsify->prune);
}

/* ---- what is told -------------------------------------------------------------------------------------------- */

typedef struct layer {
    const char *name, *op;
    int64_t weights, zeros;
    double share;
} layer;

static const deft_column layer_columns[] = {
    {"layer", "layer", DEFT_FIELD_TEXT, offsetof(layer, name), 0, NULL, 0, NULL},
    {"op", "op", DEFT_FIELD_TEXT, offsetof(layer, op), 0, NULL, 0, NULL},
    {"weights", "weights", DEFT_FIELD_INT64, offsetof(layer, weights), 0, NULL, 0, NULL},
    {"zeros", "zeros", DEFT_FIELD_INT64, offsetof(layer, zeros), 0, NULL, 0, NULL},
    {"share", "share", DEFT_FIELD_SHARE, offsetof(layer, share), 2, NULL, 0, NULL},
};

typedef struct outcome {
    const char *file;
    int64_t weights, zeros;
    double share, dense_validation, dense_test, validation, test, error;
} outcome;

static const deft_column outcome_columns[] = {
    {"file", "file", DEFT_FIELD_TEXT, offsetof(outcome, file), 0, NULL, 0, NULL},
    {"weights", "weights", DEFT_FIELD_INT64, offsetof(outcome, weights), 0, NULL, 0, NULL},
    {"zeros", "zeros", DEFT_FIELD_INT64, offsetof(outcome, zeros), 0, NULL, 0, NULL},
    {"share", "share", DEFT_FIELD_SHARE, offsetof(outcome, share), 2, NULL, 0, NULL},
    {"dense_validation", "valid.", DEFT_FIELD_SHARE, offsetof(outcome, dense_validation), 2, NULL, 0, "dense"},
    {"dense_test", "test", DEFT_FIELD_SHARE, offsetof(outcome, dense_test), 2, NULL, 0, "dense"},
    {"accuracy_validation", "valid.", DEFT_FIELD_SHARE, offsetof(outcome, validation), 2, NULL, 0, "pruned"},
    {"accuracy_test", "test", DEFT_FIELD_SHARE, offsetof(outcome, test), 2, NULL, 0, "pruned"},
    {"relative_error", "error", DEFT_FIELD_SHARE, offsetof(outcome, error), 2, NULL, 0, "pruned"},
};
enum { OUTCOME_COLUMNS = sizeof outcome_columns / sizeof *outcome_columns };

static deft_status print_layers(deft_cli *cli, const deft_graph *graph, const deft_weights *weights) {
    deft_report report;
    deft_status status = DEFT_OK;
    deft_cli_report(cli, &report, layer_columns, sizeof layer_columns / sizeof *layer_columns);
    report.kind = "layer";
    for (int i = 0; status == DEFT_OK && i < weights->count; i++) {
        const deft_weight *weight = &weights->items[i];
        const deft_node *node = &graph->nodes[weight->node];
        int64_t zeros = deft_weight_zeros(weight);
        layer row = {deft_layer_name(graph, node), deft_ops[node->op].name, weight->count, zeros,
                     deft_share(zeros, weight->count)};
        status = deft_report_row(&report, &row);
    }
    deft_report_flush(&report);
    deft_report_done(&report);
    if (!cli->json) fputc('\n', cli->out);
    return status;
}

/* Accuracy where there are labels, 1 - the relative error of targets, else agreement with the original; and the
 * relative error of the outputs. */
static deft_status evaluate(deft_cli *cli, const deft_graph *graph, const deft_graph *original,
                            const deft_dataset *data, deft_split split, double *result, double *error) {
    deft_quality quality;
    DEFT_TRY(deft_evaluate(cli->ctx, graph, original, data, split, &quality));
    *result = data->classes ? quality.accuracy : data->target_count ? 1 - quality.target_error : quality.agreement;
    *error = quality.relative_error;
    return DEFT_OK;
}

static deft_status print_outcome(deft_cli *cli, const char *file, const deft_graph *graph, const deft_graph *original,
                                 const deft_weights *weights, const deft_dataset *data, deft_journal *journal) {
    int64_t zeros = deft_weights_zeros(weights);
    double none = deft_share(0, 0), error;
    outcome row = {file, weights->total, zeros, deft_share(zeros, weights->total), none, none, none, none, none};
    if (data) {
        DEFT_TRY(evaluate(cli, original, original, data, DEFT_VALIDATION, &row.dense_validation, &error));
        DEFT_TRY(evaluate(cli, original, original, data, DEFT_TEST, &row.dense_test, &error));
        DEFT_TRY(evaluate(cli, graph, original, data, DEFT_VALIDATION, &row.validation, &error));
        DEFT_TRY(evaluate(cli, graph, original, data, DEFT_TEST, &row.test, &row.error));
    }
    DEFT_TRY(deft_journal_outcome(journal, outcome_columns, OUTCOME_COLUMNS, &row));
    return deft_cli_print(cli, "outcome", outcome_columns, OUTCOME_COLUMNS, &row);
}

static deft_status print_all(deft_cli *cli, const char *file, const deft_graph *graph, const deft_graph *original,
                             const deft_dataset *data, deft_journal *journal) {
    deft_arena arena;
    deft_weights weights;
    deft_arena_init(&arena, cli->ctx);
    deft_status status = deft_weights_find(graph, &arena, &weights);
    if (journal->epochs.columns && !cli->json) fputc('\n', cli->out); /* after the epochs */
    if (status == DEFT_OK) status = print_layers(cli, graph, &weights);
    if (status == DEFT_OK) status = print_outcome(cli, file, graph, original, &weights, data, journal);
    deft_arena_done(&arena);
    return status;
}

/* ---- pruning ------------------------------------------------------------------------------------------------- */

/* With fine-tuning's own defaults of the rate, its steps, and the decay, of which sparse networks need less. */
static deft_train_options fine_tuning(const deft_training_settings *wanted) {
    bool adaptive = wanted->optimizer == DEFT_OPTIMIZER_ADAM || wanted->optimizer == DEFT_OPTIMIZER_ADAMW;
    deft_train_options training = deft_training_options(wanted);
    training.step_factor = 0.3f;
    if (wanted->learning_rate == 0 && !adaptive) training.learning_rate = 0.1f;
    if (wanted->weight_decay < 0 && !adaptive) training.optimizer.weight_decay = 1e-4f;
    return training;
}

static deft_status fine_tune(deft_cli *cli, const prune_options *wanted, const deft_sparsify_options *sparsify,
                             const char *checkpoint, deft_graph *graph, const deft_graph *teacher,
                             const deft_dataset *data, deft_journal *journal) {
    deft_train_options training = fine_tuning(&wanted->training);
    training.teacher = teacher;
    training.checkpoint = checkpoint;
    training.on_epoch = deft_journal_epoch;
    training.user = journal;
    deft_status status = deft_sparsify_train(cli->ctx, graph, data, sparsify, &training);
    deft_journal_tell_kept(journal, status, checkpoint);
    return status;
}

/* Prunes by calibration data. *data is set where that is a data set, which has a test split to tell the loss on. */
static deft_status calibrate(deft_cli *cli, const prune_options *wanted, const deft_prune_options *prune,
                             deft_graph *graph, deft_dataset **data) {
    deft_calibration calibration;
    deft_second_order_options second = {.prune = *prune};
    deft_status status;
    DEFT_TRY_OR_FAIL(deft_calibration_open(cli->ctx, wanted->calibrate, graph, wanted->samples, &calibration));
    DEFT_TRY_OR_FAIL(deft_prune_second_order(cli->ctx, graph, &calibration, &second));
    if (!calibration.npz.count) status = deft_dataset_open(cli->ctx, wanted->calibrate, data);
fail:
    deft_calibration_done(&calibration);
    return status;
}

/* As it was asked for: fine-tuned, calibrated, or neither. */
static deft_status prune(deft_cli *cli, const prune_options *wanted, const deft_sparsify_options *sparsify,
                         deft_graph *graph, const deft_graph *teacher, deft_dataset **data, deft_journal *journal) {
    char *checkpoint;
    if (wanted->calibrate) return calibrate(cli, wanted, &sparsify->prune, graph, data);
    if (!wanted->data) return deft_prune_graph(cli->ctx, graph, &sparsify->prune);
    DEFT_TRY(deft_dataset_open(cli->ctx, wanted->data, data));
    DEFT_TRY(deft_output_beside(cli->ctx, wanted->output, ".checkpoint", &checkpoint));
    deft_status status = fine_tune(cli, wanted, sparsify, checkpoint, graph, teacher, *data, journal);
    /* the checkpoint stays until the model is written */
    if (status == DEFT_OK) status = deft_model_file_save(cli->ctx, wanted->output, graph, NULL);
    if (status == DEFT_OK && checkpoint) remove(checkpoint);
    deft_release(cli->ctx, checkpoint);
    return status;
}

static deft_status run(deft_cli *cli, const void *arguments) {
    const prune_options *wanted = arguments;
    deft_model_file model = {0}, teacher = {0};
    deft_graph *original = NULL;
    deft_dataset *data = NULL;
    deft_sparsify_options sparsify;
    deft_journal journal = {0};
    deft_status status;
    DEFT_TRY(read_options(cli->ctx, wanted, &sparsify));
    DEFT_TRY(deft_output_claim(cli, wanted->output));
    if (wanted->data)
        DEFT_TRY_OR_FAIL(deft_journal_init(cli, &deft_command_prune, wanted, wanted->log, wanted->output, &journal));
    DEFT_TRY_OR_FAIL(deft_model_file_load(cli->ctx, cli->operand, &model));
    DEFT_TRY_OR_FAIL(deft_graph_clone(cli->ctx, model.graph, &original));
    if (wanted->teacher) DEFT_TRY_OR_FAIL(deft_model_file_load(cli->ctx, wanted->teacher, &teacher));
    DEFT_TRY_OR_FAIL(
        prune(cli, wanted, &sparsify, model.graph, teacher.graph ? teacher.graph : original, &data, &journal));
    if (!wanted->data) DEFT_TRY_OR_FAIL(deft_model_file_save(cli->ctx, wanted->output, model.graph, NULL));
    DEFT_TRY_OR_FAIL(print_all(cli, wanted->output, model.graph, original, data, &journal));
fail:
    deft_journal_done(&journal);
    deft_dataset_free(data);
    deft_graph_free(original);
    deft_graph_free(teacher.graph);
    deft_release(cli->ctx, teacher.frontier);
    deft_graph_free(model.graph);
    deft_release(cli->ctx, model.frontier);
    return status;
}

const deft_command deft_command_prune = {
    .name = "prune",
    .summary = "Set the smallest weights to zero; with data, fine-tune the rest.",
    .operand = "MODEL",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .training = &deft_training_table,
    .training_offset = offsetof(prune_options, training),
    .options_bytes = sizeof(prune_options),
    .defaults = &defaults,
    .run = run,
};

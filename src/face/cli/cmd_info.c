/* deft info: what a model is. */
#include "decide/tune/frontier.h"
#include "exec/plan/plan.h"
#include "face/cli/cli.h"
#include "face/report/points.h"
#include "face/report/shape.h"
#include "ir/model/file.h"

#include <string.h>

/* ---- the whole ---- */

typedef struct whole {
    const char *file, *name, *recipe;
    int opset;
    int64_t parameters, prunable, macs, macs_nonzero, activation_bytes;
    double zeros;
} whole;

static const deft_column whole_columns[] = {
    {"file", NULL, DEFT_FIELD_TEXT, offsetof(whole, file), 0, NULL, 0, NULL},
    {"name", "graph", DEFT_FIELD_TEXT, offsetof(whole, name), 0, NULL, 0, NULL},
    {"opset", "opset", DEFT_FIELD_INT, offsetof(whole, opset), 0, NULL, 0, NULL},
    {"parameters", "parameters", DEFT_FIELD_INT64, offsetof(whole, parameters), 0, NULL, 0, NULL},
    {"prunable", "prunable", DEFT_FIELD_INT64, offsetof(whole, prunable), 0, NULL, 0, NULL},
    {"zeros", "zeros", DEFT_FIELD_SHARE, offsetof(whole, zeros), 1, NULL, 0, NULL},
    {"macs", "MACs", DEFT_FIELD_INT64, offsetof(whole, macs), 0, NULL, 0, NULL},
    {"macs_nonzero", "by nonzeros", DEFT_FIELD_INT64, offsetof(whole, macs_nonzero), 0, NULL, 0, NULL},
    {"activation_bytes", "activation bytes", DEFT_FIELD_INT64, offsetof(whole, activation_bytes), 0, NULL, 0, NULL},
    {"recipe", NULL, DEFT_FIELD_TEXT, offsetof(whole, recipe), 0, NULL, 0, NULL},
};

static deft_status print_whole(deft_cli *cli, deft_graph *graph, int64_t activation_bytes) {
    deft_graph_stats stats = deft_graph_count(graph);
    whole row = {.file = cli->operand,
                 .name = graph->name,
                 .recipe = deft_graph_metadata(graph, "deft.recipe"),
                 .opset = graph->opset,
                 .parameters = stats.parameters,
                 .prunable = stats.prunable,
                 .macs = stats.macs,
                 .macs_nonzero = stats.macs_nonzero,
                 .activation_bytes = activation_bytes,
                 .zeros = deft_share(stats.prunable_zeros, stats.prunable)};
    return deft_cli_print(cli, "model", whole_columns, sizeof whole_columns / sizeof *whole_columns, &row);
}

/* Memory of a run at batch 1. Kernels do not matter to it, so the plan is made with those that take no time to prepare.
 */
static deft_status count_activations(deft_cli *cli, deft_graph *graph, int64_t *bytes) {
    deft_plan_options planning = {.batch = 1, .choose = deft_choose_reference};
    deft_plan *plan;
    DEFT_TRY(deft_plan_new(cli->ctx, graph, &planning, &plan));
    *bytes = (int64_t)plan->memory_bytes;
    deft_plan_free(plan);
    return DEFT_OK;
}

/* ---- inputs and outputs ---- */

typedef struct terminal {
    const char *name, *direction, *type, *shape;
} terminal;

static const deft_column terminal_columns[] = {
    {"name", "tensor", DEFT_FIELD_TEXT, offsetof(terminal, name), 0, NULL, 0, NULL},
    {"direction", "is", DEFT_FIELD_TEXT, offsetof(terminal, direction), 0, NULL, 0, NULL},
    {"type", "type", DEFT_FIELD_TEXT, offsetof(terminal, type), 0, NULL, 0, NULL},
    {"shape", "shape", DEFT_FIELD_TEXT, offsetof(terminal, shape), 0, NULL, 0, NULL},
};

static deft_status add_terminal(deft_report *report, const deft_value *value, const char *direction) {
    char shape[DEFT_SHAPE_TEXT_BYTES];
    terminal row = {value->name, direction, deft_dtype_name(value->desc.dtype),
                    deft_shape_symbols(value, shape, sizeof shape)};
    return deft_report_row(report, &row);
}

static deft_status print_terminals(deft_cli *cli, const deft_graph *graph) {
    deft_report report;
    deft_status status = DEFT_OK;
    deft_cli_report(cli, &report, terminal_columns, sizeof terminal_columns / sizeof *terminal_columns);
    report.kind = "tensor";
    for (int i = 0; status == DEFT_OK && i < graph->input_count; i++)
        status = add_terminal(&report, &graph->values[graph->inputs[i]], "input");
    for (int i = 0; status == DEFT_OK && i < graph->output_count; i++)
        status = add_terminal(&report, &graph->values[graph->outputs[i]], "output");
    deft_report_flush(&report);
    deft_report_done(&report);
    return status;
}

/* ---- layers ---- */

typedef struct layer {
    const char *name, *op, *shape;
    int64_t parameters, macs;
    double zeros;
} layer;

static const deft_column layer_columns[] = {
    {"layer", "layer", DEFT_FIELD_TEXT, offsetof(layer, name), 0, NULL, 0, NULL},
    {"op", "op", DEFT_FIELD_TEXT, offsetof(layer, op), 0, NULL, 0, NULL},
    {"output", "output at batch 1", DEFT_FIELD_TEXT, offsetof(layer, shape), 0, NULL, 0, NULL},
    {"parameters", "parameters", DEFT_FIELD_INT64, offsetof(layer, parameters), 0, NULL, 0, NULL},
    {"zeros", "zeros", DEFT_FIELD_SHARE, offsetof(layer, zeros), 1, NULL, 0, NULL},
    {"macs", "MACs", DEFT_FIELD_INT64, offsetof(layer, macs), 0, NULL, 0, NULL},
};

static double share_of_zeros(const deft_tensor *weight) {
    int64_t zeros = 0, count = deft_tensor_count(weight);
    if (weight->dtype != DEFT_F32) return deft_share(0, 0);
    for (int64_t i = 0; i < count; i++)
        zeros += ((const float *)weight->data)[i] == 0;
    return deft_share(zeros, count);
}

static int64_t count_parameters(const deft_graph *graph, const deft_node *node) {
    int64_t count = 0;
    for (int i = 0; i < node->in_count; i++) {
        const deft_tensor *tensor = node->in[i] == DEFT_NO_VALUE ? NULL : &graph->values[node->in[i]].desc;
        if (tensor && tensor->data && tensor->dtype == DEFT_F32) count += deft_tensor_count(tensor);
    }
    return count;
}

static deft_status add_layer(deft_report *report, const deft_graph *graph, const deft_node *node) {
    char shape[DEFT_SHAPE_TEXT_BYTES];
    const deft_value *output = &graph->values[node->out[0]];
    int weight = deft_node_weight(graph, node);
    layer row = {.name = deft_layer_name(graph, node),
                 .op = deft_ops[node->op].name,
                 .shape = deft_shape_text(&output->desc, shape, sizeof shape),
                 .parameters = count_parameters(graph, node),
                 .macs = deft_node_macs(graph, node),
                 .zeros = weight == DEFT_NO_VALUE ? deft_share(0, 0) : share_of_zeros(&graph->values[weight].desc)};
    return deft_report_row(report, &row);
}

static deft_status print_layers(deft_cli *cli, const deft_graph *graph) {
    deft_report report;
    deft_status status = DEFT_OK;
    deft_cli_report(cli, &report, layer_columns, sizeof layer_columns / sizeof *layer_columns);
    report.kind = "layer";
    for (int i = 0; status == DEFT_OK && i < graph->node_count; i++)
        status = add_layer(&report, graph, &graph->nodes[i]);
    deft_report_flush(&report);
    deft_report_done(&report);
    return status;
}

/* ---- the frontier ---- */

static deft_status print_frontier(deft_cli *cli, const char *text) {
    deft_point *points;
    int count;
    DEFT_TRY(deft_frontier_parse(cli->ctx, text, &points, &count));
    deft_report report;
    deft_status status = DEFT_OK;
    deft_points_init(&report, cli->ctx, cli->out, cli->json);
    for (int i = 0; status == DEFT_OK && i < count; i++)
        status = deft_points_add(&report, &points[i]);
    deft_report_done(&report);
    deft_release(cli->ctx, points);
    return status;
}

static void print_gap(const deft_cli *cli) {
    if (!cli->json) fputc('\n', cli->out);
}

static void print_recipe(const deft_cli *cli, const deft_graph *graph) {
    const char *recipe = deft_graph_metadata(graph, "deft.recipe");
    char line[1024];
    if (!recipe || cli->json) return;
    snprintf(line, sizeof line, "%s", recipe);
    deft_text_clean(line);
    fprintf(cli->out, "\nrecipe: %s\n", line);
}

static deft_status print_all(deft_cli *cli, const deft_model_file *file) {
    int64_t activation_bytes;
    DEFT_TRY(count_activations(cli, file->graph, &activation_bytes));
    DEFT_TRY(print_whole(cli, file->graph, activation_bytes));
    print_gap(cli);
    DEFT_TRY(print_terminals(cli, file->graph));
    print_gap(cli);
    DEFT_TRY(print_layers(cli, file->graph));
    print_recipe(cli, file->graph);
    if (!file->frontier) return DEFT_OK;
    print_gap(cli);
    return print_frontier(cli, file->frontier);
}

static deft_status run(deft_cli *cli, const void *arguments) {
    (void)arguments;
    deft_model_file file = {0};
    DEFT_TRY(deft_model_file_load(cli->ctx, cli->operand, &file));
    deft_status status = print_all(cli, &file);
    deft_graph_free(file.graph);
    deft_release(cli->ctx, file.frontier);
    return status;
}

const deft_command deft_command_info = {
    .name = "info",
    .summary = "Say what a model is: tensors, layers, work, zeros, frontier.",
    .operand = "MODEL",
    .options_bytes = 1,
    .run = run,
};

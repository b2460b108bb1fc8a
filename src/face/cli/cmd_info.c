/* deft info: what a model is. */
#include "decide/tune/frontier.h"
#include "exec/run/program.h"
#include "face/cli/cli.h"
#include "face/cli/shapes.h"
#include "face/report/points.h"
#include "face/report/shape.h"
#include "ir/model/file.h"
#include "ir/pass/pass.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct info_options {
    deft_texts shapes;
    const char *dump;
} info_options;

static const deft_option options[] = {
    DEFT_SHAPE_OPTION(info_options, shapes),
    {"dump", 0, DEFT_OPTION_TEXT, offsetof(info_options, dump), "WHEN", "print the graph as text: load, or after:PASS",
     0, 0, false},
};

/* What a run keeps in memory; NaN where values that only a run computes decide it. */
typedef struct memory {
    double activation_bytes, peak_bytes;
} memory;

/* ---- the whole ---- */

typedef struct whole {
    const char *file, *name, *recipe;
    int opset;
    int64_t parameters, prunable, macs, macs_nonzero;
    double zeros;
    memory memory;
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
    {"activation_bytes", "activation bytes", DEFT_FIELD_REAL, offsetof(whole, memory.activation_bytes), 0, NULL, 0,
     NULL},
    {"peak_bytes", "peak bytes", DEFT_FIELD_REAL, offsetof(whole, memory.peak_bytes), 0, NULL, 0, NULL},
    {"recipe", NULL, DEFT_FIELD_TEXT, offsetof(whole, recipe), 0, NULL, 0, NULL},
};

static deft_status print_whole(deft_cli *cli, const deft_graph *graph, const memory *used) {
    deft_graph_stats stats = deft_graph_count(graph);
    whole row = {.file = cli->operand,
                 .name = graph->name,
                 .recipe = deft_graph_metadata(graph, "deft.recipe"),
                 .opset = graph->opset,
                 .parameters = stats.parameters,
                 .prunable = stats.prunable,
                 .macs = stats.macs,
                 .macs_nonzero = stats.macs_nonzero,
                 .memory = *used,
                 .zeros = deft_share(stats.prunable_zeros, stats.prunable)};
    return deft_cli_print(cli, "model", whole_columns, sizeof whole_columns / sizeof *whole_columns, &row);
}

/* Of the model and a session: weights, which the kernels share or keep in forms of their own, activations, what kernels
 * need while they run. */
static deft_status measure_memory(deft_cli *cli, const deft_graph *graph, const deft_shapes *shapes, memory *used) {
    const deft_plan_options planning = {.bindings = shapes->bindings, .binding_count = shapes->count};
    deft_program *program;
    *used = (memory){NAN, NAN};
    DEFT_TRY(deft_program_new(graph, &planning, &program));
    if (!deft_program_waits_for(program)) {
        used->activation_bytes = (double)deft_executor_plan(deft_program_executor(program))->memory_bytes;
        used->peak_bytes = (double)atomic_load(&cli->ctx->live_bytes);
    }
    deft_program_free(program);
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
    bool known = value->known || value->input || value->desc.dtype; /* declared, at least */
    terminal row = {value->name, direction, known ? deft_dtype_name(value->desc.dtype) : NULL,
                    known ? deft_shape_symbols(value, shape, sizeof shape) : NULL};
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
    {"output", "output", DEFT_FIELD_TEXT, offsetof(layer, shape), 0, NULL, 0, NULL},
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
    for (int i = 0; i < node->attrs.count; i++)
        if (node->attrs.items[i].type == DEFT_ATTR_GRAPH)
            count += deft_graph_count(node->attrs.items[i].graph).parameters;
    return count;
}

static deft_status add_layer(deft_report *report, const deft_graph *graph, const deft_node *node) {
    char shape[DEFT_SHAPE_TEXT_BYTES];
    const deft_value *output = &graph->values[node->out[0]];
    int weight = deft_node_weight(graph, node);
    layer row = {.name = deft_layer_name(graph, node),
                 .op = deft_ops[node->op].name,
                 .shape = output->known ? deft_shape_text(&output->desc, shape, sizeof shape) : NULL,
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

static deft_status print_all(deft_cli *cli, const deft_model_file *file, const deft_shapes *shapes) {
    memory used;
    int waits;
    DEFT_TRY(measure_memory(cli, file->graph, shapes, &used));
    DEFT_TRY(deft_graph_infer_until(file->graph, 1, shapes->bindings, shapes->count, &waits));
    DEFT_TRY(print_whole(cli, file->graph, &used));
    print_gap(cli);
    DEFT_TRY(print_terminals(cli, file->graph));
    print_gap(cli);
    DEFT_TRY(print_layers(cli, file->graph));
    print_recipe(cli, file->graph);
    if (!file->frontier) return DEFT_OK;
    print_gap(cli);
    return print_frontier(cli, file->frontier);
}

/* ---- the graph as text ---- */

static deft_status print_dump(deft_cli *cli, const deft_graph *graph) {
    char *text = NULL;
    size_t bytes;
    FILE *file = open_memstream(&text, &bytes);
    if (!file) return deft_fail(cli->ctx, DEFT_MEMORY, "out of memory for the text of the graph");
    deft_graph_dump(graph, file);
    deft_status status = DEFT_OK;
    if (fclose(file) != 0)
        status = deft_fail(cli->ctx, DEFT_MEMORY, "out of memory for the text of the graph");
    else if (cli->json)
        status = deft_json_line(cli->ctx, cli->out, json_pack("{s:s}", "graph", text));
    else
        fputs(text, cli->out);
    free(text);
    return status;
}

static deft_status dump(deft_cli *cli, deft_graph *graph, const deft_shapes *shapes, const char *when) {
    static const char after[] = "after:";
    bool after_pass = strncmp(when, after, sizeof after - 1) == 0;
    if (!after_pass && strcmp(when, "load") != 0)
        return deft_fail(cli->ctx, DEFT_INVALID, "--dump %.64s: expected load or after:PASS", when);
    int waits = DEFT_NO_VALUE;
    DEFT_TRY(after_pass ? deft_graph_infer(graph, 1, shapes->bindings, shapes->count)
                        : deft_graph_infer_until(graph, 1, shapes->bindings, shapes->count, &waits));
    if (after_pass) DEFT_TRY(deft_pass_run_until(graph, when + sizeof after - 1));
    return print_dump(cli, graph);
}

static deft_status run(deft_cli *cli, const void *arguments) {
    const info_options *wanted = arguments;
    deft_model_file file = {0};
    deft_shapes shapes;
    deft_status status;
    DEFT_TRY_OR_FAIL(deft_shapes_parse(cli->ctx, &wanted->shapes, &shapes));
    DEFT_TRY_OR_FAIL(deft_model_file_load(cli->ctx, cli->operand, &file));
    status = wanted->dump ? dump(cli, file.graph, &shapes, wanted->dump) : print_all(cli, &file, &shapes);
fail:
    deft_shapes_done(&shapes);
    deft_graph_free(file.graph);
    deft_release(cli->ctx, file.frontier);
    return status;
}

const deft_command deft_command_info = {
    .name = "info",
    .summary = "Say what a model is: tensors, layers, work, zeros, frontier.",
    .operand = "MODEL",
    .notes = "Symbolic dimensions are 1 where --shape does not say.\n",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .options_bytes = sizeof(info_options),
    .run = run,
};

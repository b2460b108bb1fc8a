/* deft check: whether Deft can run a model, and if not, all that is missing. */
#include "exec/run/program.h"
#include "face/cli/cli.h"
#include "face/cli/shapes.h"
#include "ir/model/file.h"

#include <string.h>

typedef struct check_options {
    deft_texts shapes;
} check_options;

static const deft_option options[] = {DEFT_SHAPE_OPTION(check_options, shapes)};

/* A check under way. */
typedef struct check {
    deft_cli *cli;
    int problems;
    deft_status status; /* of printing */
} check;

static void tell(void *user, const char *message) {
    check *c = user;
    c->problems++;
    if (c->cli->json) {
        deft_status status = deft_json_line(c->cli->ctx, c->cli->out, json_pack("{s:s}", "problem", message));
        if (status != DEFT_OK) c->status = status;
        return;
    }
    char line[1024];
    snprintf(line, sizeof line, "%s", message);
    deft_text_clean(line);
    fprintf(c->cli->out, "%s\n", line);
}

/* The problem that a call ended with, told; DEFT_OK then. What is no fault of the model stays an error. */
static deft_status tell_of(check *c, deft_status status) {
    if (status != DEFT_UNSUPPORTED && status != DEFT_INVALID) return status;
    tell(c, deft_context_message(c->cli->ctx));
    return DEFT_OK;
}

static bool is_ready(const deft_graph *graph, const deft_node *node) {
    for (int i = 0; i < node->in_count; i++)
        if (node->in[i] != DEFT_NO_VALUE && !graph->values[node->in[i]].known) return false;
    return !deft_node_is_control(node) && !graph->values[node->out[0]].known;
}

/* Tells of every node whose inputs are known and that has no shapes; of the first with what inference says around it.
 */
static deft_status check_shapes(check *c, deft_graph *graph, const deft_shapes *shapes) {
    int waits;
    deft_status status = deft_graph_infer_until(graph, 1, shapes->bindings, shapes->count, &waits);
    if (status != DEFT_UNSUPPORTED && status != DEFT_INVALID) return status;
    tell(c, deft_context_message(c->cli->ctx));
    for (int i = 0; i < graph->input_count; i++)
        if (!graph->values[graph->inputs[i]].known) return DEFT_OK;
    bool first = true; /* told already */
    for (int i = 0; i < graph->node_count; i++) {
        if (!is_ready(graph, &graph->nodes[i])) continue;
        status = deft_graph_infer_node(graph, i);
        bool told = first && (status == DEFT_UNSUPPORTED || status == DEFT_INVALID);
        if (!told) DEFT_TRY(tell_of(c, status));
        first &= !told;
    }
    return DEFT_OK;
}

/* ---- a run --------------------------------------------------------------------------------------------------- */

/* On zeros, which fit every type. Where shapes depend on values, zeros may be none that make sense. */
static deft_status check_run(check *c, const deft_graph *graph, const deft_shapes *shapes, char waits_for[128]) {
    const deft_plan_options planning = {.bindings = shapes->bindings, .binding_count = shapes->count};
    deft_program *program;
    deft_status status = deft_program_new(graph, &planning, &program);
    if (status != DEFT_OK) return tell_of(c, status);
    const char *waits = deft_program_waits_for(program);
    status = deft_program_run(program);
    if (waits && status == DEFT_INVALID) {
        snprintf(waits_for, 128, "%s", waits);
        status = DEFT_OK;
    }
    if (status != DEFT_OK) status = tell_of(c, status);
    deft_program_free(program);
    return status;
}

/* ---- all is well --------------------------------------------------------------------------------------------- */

typedef struct verdict {
    const char *file, *not_checked;
    int opset, nodes, operators;
} verdict;

static const deft_column columns[] = {
    {"file", "runs", DEFT_FIELD_TEXT, offsetof(verdict, file), 0, NULL, 0, NULL},
    {"opset", "opset", DEFT_FIELD_INT, offsetof(verdict, opset), 0, NULL, 0, NULL},
    {"nodes", "nodes", DEFT_FIELD_INT, offsetof(verdict, nodes), 0, NULL, 0, NULL},
    {"operators", "operators", DEFT_FIELD_INT, offsetof(verdict, operators), 0, NULL, 0, NULL},
    {"not_checked_after", "not checked after the value", DEFT_FIELD_TEXT, offsetof(verdict, not_checked), 0, NULL, 0,
     NULL},
};

static deft_status print_verdict(deft_cli *cli, const deft_graph *graph, const char *waits_for) {
    bool used[DEFT_OP_COUNT] = {false};
    verdict row = {.file = cli->operand,
                   .opset = graph->opset,
                   .nodes = graph->node_count,
                   .not_checked = *waits_for ? waits_for : NULL};
    for (int i = 0; i < graph->node_count; i++) {
        row.operators += !used[graph->nodes[i].op];
        used[graph->nodes[i].op] = true;
    }
    return deft_cli_print(cli, NULL, columns, sizeof columns / sizeof *columns, &row);
}

static deft_status check_graph(check *c, const deft_graph *graph, const deft_shapes *shapes) {
    deft_graph *copy;
    char waits_for[128] = "";
    DEFT_TRY(deft_graph_clone(c->cli->ctx, graph, &copy));
    deft_status status = check_shapes(c, copy, shapes);
    deft_graph_free(copy);
    DEFT_TRY(status);
    if (c->problems == 0) DEFT_TRY(check_run(c, graph, shapes, waits_for));
    return c->problems ? DEFT_OK : print_verdict(c->cli, graph, waits_for);
}

static deft_status run(deft_cli *cli, const void *arguments) {
    const check_options *wanted = arguments;
    deft_model_file file = {0};
    deft_shapes shapes;
    check c = {.cli = cli};
    deft_status status;
    DEFT_TRY_OR_FAIL(deft_shapes_parse(cli->ctx, &wanted->shapes, &shapes));
    status = deft_model_file_check(cli->ctx, cli->operand, tell, &c, &file);
    if (status == DEFT_UNSUPPORTED) status = c.problems ? DEFT_OK : tell_of(&c, status);
    DEFT_TRY_OR_FAIL(status);
    if (file.graph) DEFT_TRY_OR_FAIL(check_graph(&c, file.graph, &shapes));
    status = c.status;
    if (status == DEFT_OK && c.problems)
        status = deft_fail(cli->ctx, DEFT_NO, "%s: Deft cannot run it: %d %s", cli->operand, c.problems,
                           c.problems == 1 ? "problem" : "problems");
fail:
    deft_shapes_done(&shapes);
    deft_graph_free(file.graph);
    deft_release(cli->ctx, file.frontier);
    return status;
}

const deft_command deft_command_check = {
    .name = "check",
    .summary = "Say whether Deft can run a model, and all that is missing.",
    .operand = "MODEL",
    .notes = "A line for each problem, and exit status 1; without one, the model was run on\nzeros. "
             "Symbolic dimensions are 1 where --shape does not say.\n",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .options_bytes = sizeof(check_options),
    .run = run,
};

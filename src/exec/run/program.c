#include "exec/run/program.h"

#include <string.h>

enum { KEPT_BRANCHES = 8 };

typedef struct stage stage;

/* What follows where a stage has computed this value. */
typedef struct branch {
    void *value;
    stage *next;
    uint64_t last_run;
} branch;

struct stage {
    deft_plan *plan;
    deft_executor *executor;
    deft_graph *rest; /* what follows, but for the value `waits_for`, this stage's first output; NULL: nothing does */
    int waits_for;
    branch branches[KEPT_BRANCHES];
};

struct deft_program {
    deft_context *ctx;
    deft_plan_options options;
    stage *first, *last; /* last: NULL until the outputs are there */
    char **output_names;
    int output_count;
    deft_arena arena;
    uint64_t runs;
};

static void stage_free(deft_context *ctx, stage *s) {
    if (!s) return;
    for (int i = 0; i < KEPT_BRANCHES; i++) {
        deft_release(ctx, s->branches[i].value);
        stage_free(ctx, s->branches[i].next);
    }
    deft_executor_free(s->executor);
    deft_plan_free(s->plan);
    deft_graph_free(s->rest);
    deft_release(ctx, s);
}

/* The part of the graph that shapes allow. Takes the graph over, also where it fails. */
static deft_status stage_new(deft_program *program, deft_graph *graph, const deft_plan_options *options, stage **out) {
    deft_plan_options planning = *options;
    stage *made = NULL;
    deft_graph *head = graph;
    deft_status status;
    int waits;
    DEFT_TRY_OR_FAIL(deft_graph_infer_until(graph, options->batch ? options->batch : 1, options->bindings,
                                            options->binding_count, &waits));
    DEFT_TRY_OR_FAIL(deft_allocate_zeroed(program->ctx, 1, sizeof *made, &made));
    if (waits != DEFT_NO_VALUE) {
        DEFT_TRY_OR_FAIL(deft_graph_split(graph, waits, &head, &made->waits_for));
        made->rest = graph;
    }
    graph = NULL;
    planning.inferred = true;
    DEFT_TRY_OR_FAIL(deft_plan_new(program->ctx, head, &planning, &made->plan));
    DEFT_TRY_OR_FAIL(deft_executor_new(made->plan, &made->executor));
    *out = made;
    return DEFT_OK;
fail:
    deft_graph_free(graph);
    stage_free(program->ctx, made);
    return status;
}

static deft_tensor *stage_input(const stage *s, int index) {
    return deft_executor_tensor(s->executor, s->plan->graph->inputs[index]);
}

static deft_tensor *stage_output(const stage *s, int index) {
    return deft_executor_tensor(s->executor, s->plan->graph->outputs[index]);
}

/* ---- what follows a value ------------------------------------------------------------------------------------ */

static deft_status plan_branch(deft_program *program, const stage *s, const deft_tensor *value, branch *b) {
    const deft_plan_options options = {.choose = program->options.choose, .choose_user = program->options.choose_user};
    deft_graph *graph;
    size_t bytes = deft_tensor_bytes(value);
    DEFT_TRY(deft_allocate(program->ctx, bytes ? bytes : 1, &b->value));
    if (bytes) memcpy(b->value, value->data, bytes);
    DEFT_TRY(deft_graph_clone_sharing(s->rest, &graph));
    deft_status status = deft_graph_set_constant(graph, s->waits_for, value);
    if (status == DEFT_OK) return stage_new(program, graph, &options, &b->next);
    deft_graph_free(graph);
    return status;
}

/* The branch of the value that the stage has made; where it is new, in the place of that which ran longest ago. */
static deft_status find_branch(deft_program *program, stage *s, branch **found) {
    const deft_tensor *value = stage_output(s, 0);
    size_t bytes = deft_tensor_bytes(value);
    branch *oldest = &s->branches[0];
    for (int i = 0; i < KEPT_BRANCHES; i++) {
        branch *b = *found = &s->branches[i];
        if (b->next && (bytes == 0 || memcmp(b->value, value->data, bytes) == 0)) return DEFT_OK;
        if (b->last_run < oldest->last_run) oldest = b;
    }
    deft_release(program->ctx, oldest->value);
    stage_free(program->ctx, oldest->next);
    *oldest = (branch){0};
    *found = oldest;
    return plan_branch(program, s, value, oldest);
}

static void hand_on(const stage *from, const stage *to) {
    for (int i = 0; i < to->plan->graph->input_count; i++) {
        deft_tensor *input = stage_input(to, i);
        size_t bytes = deft_tensor_bytes(input);
        if (bytes) memcpy(input->data, stage_output(from, 1 + i)->data, bytes);
    }
}

deft_status deft_program_run(deft_program *program) {
    stage *s = program->first;
    program->runs++;
    DEFT_TRY(deft_executor_run(s->executor));
    while (s->rest) {
        branch *b;
        program->last = NULL; /* what it was may be replaced */
        DEFT_TRY(find_branch(program, s, &b));
        b->last_run = program->runs;
        hand_on(s, b->next);
        s = b->next;
        DEFT_TRY(deft_executor_run(s->executor));
    }
    program->last = s;
    return DEFT_OK;
}

/* ---- life ---------------------------------------------------------------------------------------------------- */

static deft_status copy_output_names(deft_program *program, const deft_graph *graph) {
    size_t count = (size_t)graph->output_count;
    DEFT_TRY(deft_arena_array(&program->arena, count, sizeof *program->output_names, &program->output_names));
    for (int i = 0; i < graph->output_count; i++)
        DEFT_TRY(deft_arena_string(&program->arena, graph->values[graph->outputs[i]].name, &program->output_names[i]));
    program->output_count = graph->output_count;
    return DEFT_OK;
}

static deft_status start(deft_context *ctx, const deft_plan_options *options, const deft_graph *graph,
                         deft_program **program) {
    DEFT_TRY(deft_allocate_zeroed(ctx, 1, sizeof **program, program));
    (*program)->ctx = ctx;
    if (options) (*program)->options = *options;
    deft_arena_init(&(*program)->arena, ctx);
    return copy_output_names(*program, graph);
}

deft_status deft_program_take(deft_graph *graph, const deft_plan_options *options, deft_program **program) {
    deft_program *made = NULL;
    deft_status status = start(graph->ctx, options, graph, &made);
    if (status == DEFT_OK)
        status = stage_new(made, graph, &made->options, &made->first);
    else
        deft_graph_free(graph);
    if (status != DEFT_OK) {
        deft_program_free(made);
        return status;
    }
    made->options.bindings = NULL; /* the caller's, and for the first stage alone */
    made->options.binding_count = 0;
    if (!made->first->rest) made->last = made->first;
    *program = made;
    return DEFT_OK;
}

deft_status deft_program_new(const deft_graph *graph, const deft_plan_options *options, deft_program **program) {
    deft_graph *copy;
    DEFT_TRY(deft_graph_clone_sharing(graph, &copy));
    return deft_program_take(copy, options, program);
}

void deft_program_free(deft_program *program) {
    if (!program) return;
    stage_free(program->ctx, program->first);
    deft_arena_done(&program->arena);
    deft_release(program->ctx, program);
}

int deft_program_input_count(const deft_program *program) {
    return program->first->plan->graph->input_count;
}

int deft_program_output_count(const deft_program *program) {
    return program->output_count;
}

const char *deft_program_input_name(const deft_program *program, int index) {
    const deft_graph *graph = program->first->plan->graph;
    return index >= 0 && index < graph->input_count ? graph->values[graph->inputs[index]].name : NULL;
}

const char *deft_program_output_name(const deft_program *program, int index) {
    return index >= 0 && index < program->output_count ? program->output_names[index] : NULL;
}

deft_tensor *deft_program_input(deft_program *program, int index) {
    return stage_input(program->first, index);
}

deft_tensor *deft_program_output(const deft_program *program, int index) {
    return program->last ? stage_output(program->last, index) : NULL;
}

const char *deft_program_waits_for(const deft_program *program) {
    const stage *first = program->first;
    return first->rest ? first->rest->values[first->waits_for].name : NULL;
}

deft_executor *deft_program_executor(const deft_program *program) {
    return program->first->executor;
}

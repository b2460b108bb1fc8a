/* Control flow is no step of a plan: inference puts the nodes of the graph that an If, Loop or Scan holds in its place,
 * as soon as it is known which graph, or whether there is another iteration. What is known ahead of a run is so decided
 * once; what is not splits the run into stages (exec/run/program.h). */
#include "ir/graph/replace.h"

#include <string.h>

enum { MAX_NODES = 1 << 17 };
static const char ITERATION[] = "deft.iteration"; /* of a Loop: how many iterations are in front of it already */

bool deft_node_is_control(const deft_node *node) {
    return node->op == DEFT_OP_IF || node->op == DEFT_OP_LOOP || node->op == DEFT_OP_SCAN;
}

static deft_status fail(deft_replacement *r, deft_status status, const char *what) {
    return deft_fail(r->graph->ctx, status, "%s: %s", r->label, what);
}

static deft_status add_scalar(deft_replacement *r, deft_dtype dtype, int64_t number, int *value) {
    uint8_t flag = number != 0;
    deft_tensor scalar = {.dtype = dtype, .data = dtype == DEFT_BOOL ? (void *)&flag : (void *)&number};
    return deft_graph_add_constant(r->graph, NULL, &scalar, value);
}

/* ---- the nodes of a body ------------------------------------------------------------------------------------- */

static deft_status map_ids(deft_replacement *r, const deft_graph *body, const int *ids, int count, int *map,
                           int *mapped) {
    for (int i = 0; i < count; i++) {
        mapped[i] = ids[i];
        if (ids[i] == DEFT_NO_VALUE) continue;
        const deft_value *value = &body->values[ids[i]];
        if (map[ids[i]] == DEFT_NO_VALUE && value->desc.data)
            DEFT_TRY(deft_graph_add_constant(r->graph, NULL, &value->desc, &map[ids[i]]));
        else if (map[ids[i]] == DEFT_NO_VALUE)
            DEFT_TRY(deft_graph_add_value(r->graph, NULL, &map[ids[i]]));
        mapped[i] = map[ids[i]];
    }
    return DEFT_OK;
}

static deft_status add_body_node(deft_replacement *r, const deft_graph *body, const deft_node *node, int *map) {
    int *in, *out, added;
    DEFT_TRY(deft_arena_array(&r->scratch, (size_t)node->in_count, sizeof *in, &in));
    DEFT_TRY(deft_arena_array(&r->scratch, (size_t)node->out_count, sizeof *out, &out));
    DEFT_TRY(map_ids(r, body, node->in, node->in_count, map, in));
    DEFT_TRY(map_ids(r, body, node->out, node->out_count, map, out));
    if (r->graph->node_count >= MAX_NODES)
        return fail(r, DEFT_UNSUPPORTED, "its graphs, unrolled, have more nodes than Deft takes");
    return deft_graph_add_node(r->graph, node->op, node->name, node->attrs.items, node->attrs.count, in, node->in_count,
                               out, node->out_count, &added);
}

/* Adds the body's nodes, its inputs being `args`. results[i] is the value that its output i is to be, or DEFT_NO_VALUE,
 * and then set to what it is. */
static deft_status add_body(deft_replacement *r, const deft_graph *body, const int *args, int *results,
                            int result_count) {
    int *map;
    DEFT_TRY(deft_arena_array(&r->scratch, (size_t)body->value_count, sizeof *map, &map));
    for (int i = 0; i < body->value_count; i++)
        map[i] = DEFT_NO_VALUE;
    for (int i = 0; i < body->input_count; i++)
        map[body->inputs[i]] = args[i];
    for (int i = 0; i < result_count; i++)
        if (map[body->outputs[i]] == DEFT_NO_VALUE && body->values[body->outputs[i]].producer >= 0)
            map[body->outputs[i]] = results[i];
    for (int i = 0; i < body->node_count; i++)
        DEFT_TRY(add_body_node(r, body, &body->nodes[i], map));
    for (int i = 0; i < result_count; i++) {
        int made;
        DEFT_TRY(map_ids(r, body, &body->outputs[i], 1, map, &made));
        if (results[i] == DEFT_NO_VALUE)
            results[i] = made;
        else if (results[i] != made)
            DEFT_TRY(deft_replacement_add(r, DEFT_OP_IDENTITY, NULL, 0, &made, 1, &results[i]));
    }
    return DEFT_OK;
}

static const deft_attr *find_body(const deft_replacement *r, const char *name) {
    const deft_attr *attr = deft_attr_find(&r->node.attrs, name);
    return attr && attr->type == DEFT_ATTR_GRAPH ? attr : NULL;
}

static deft_status check_inputs(deft_replacement *r, int first, int count) {
    for (int i = first; i < first + count; i++)
        if (r->node.in[i] == DEFT_NO_VALUE) return fail(r, DEFT_INVALID, "one of its inputs is missing");
    return DEFT_OK;
}

/* ---- If ------------------------------------------------------------------------------------------------------ */

/* Outputs that the node does without get a value all the same. */
static deft_status list_targets(deft_replacement *r, int **targets) {
    return deft_arena_copy(&r->scratch, r->node.out, (size_t)r->node.out_count * sizeof **targets, targets);
}

static deft_status replace_if(deft_replacement *r, int *waits) {
    DEFT_TRY(check_inputs(r, 0, 1));
    const deft_tensor *condition = &r->graph->values[r->node.in[0]].desc;
    if (condition->dtype != DEFT_BOOL || deft_tensor_count(condition) != 1)
        return fail(r, DEFT_INVALID, "its condition must be one bool");
    if (!condition->data) {
        *waits = r->node.in[0];
        return DEFT_OK;
    }
    const deft_attr *taken = find_body(r, *(const uint8_t *)condition->data ? "then_branch" : "else_branch");
    if (!taken || !find_body(r, "then_branch") || !find_body(r, "else_branch"))
        return fail(r, DEFT_INVALID, "it must have the graphs then_branch and else_branch");
    if (taken->graph->output_count < r->node.out_count)
        return fail(r, DEFT_INVALID, "the branch taken makes fewer values than the node");
    const int *around = r->node.in + 1;
    for (const deft_attr *attr = r->node.attrs.items; attr != taken; attr++)
        if (attr->type == DEFT_ATTR_GRAPH) around += attr->graph->input_count;
    int *targets;
    DEFT_TRY(list_targets(r, &targets));
    return add_body(r, taken->graph, around, targets, r->node.out_count);
}

/* ---- Loop ---------------------------------------------------------------------------------------------------- */

/* Inputs: the number of iterations, the condition, the states, what has been stacked (but for iteration 0), the values
 * around. The body's: iteration, condition, states, the values around; it makes condition, states, what to stack. */
typedef struct loop {
    const deft_attr *body;
    int64_t iteration;
    int states, stacks, around;
    const int *state, *stacked, *values_around;
} loop;

static deft_status read_loop(deft_replacement *r, loop *l) {
    l->body = find_body(r, "body");
    if (!l->body) return fail(r, DEFT_INVALID, "it must have the graph body");
    l->iteration = deft_attr_int(&r->node.attrs, ITERATION, 0);
    l->states = (int)l->body->i - 2;
    l->stacks = l->body->graph->output_count - 1 - l->states;
    l->around = l->body->graph->input_count - (int)l->body->i;
    int expected = 2 + l->states + l->around + (l->iteration ? l->stacks : 0);
    if (l->states < 0 || l->stacks < 0 || r->node.in_count != expected || r->node.out_count > l->states + l->stacks)
        return fail(r, DEFT_INVALID, "its body has other numbers of inputs or outputs than it");
    DEFT_TRY(check_inputs(r, 2, l->states));
    l->state = r->node.in + 2;
    l->stacked = l->state + l->states;
    l->values_around = l->stacked + (l->iteration ? l->stacks : 0);
    return DEFT_OK;
}

/* Whether there is another iteration. */
static deft_status decide(deft_replacement *r, const loop *l, bool *more, int *waits) {
    *more = true;
    for (int i = 0; i < 2; i++) {
        if (r->node.in[i] == DEFT_NO_VALUE) continue;
        const deft_tensor *limit = &r->graph->values[r->node.in[i]].desc;
        if (deft_tensor_count(limit) != 1 || limit->dtype != (i == 0 ? DEFT_I64 : DEFT_BOOL))
            return fail(r, DEFT_INVALID, "its number of iterations must be one i64, its condition one bool");
        if (!limit->data)
            *waits = r->node.in[i];
        else
            *more &= i == 0 ? l->iteration < *(const int64_t *)limit->data : *(const uint8_t *)limit->data != 0;
    }
    if (!*more) *waits = DEFT_NO_VALUE;
    return DEFT_OK;
}

static deft_status end_loop(deft_replacement *r, const loop *l) {
    for (int i = 0; i < r->node.out_count; i++) {
        int from = i < l->states ? l->state[i] : DEFT_NO_VALUE, to = r->node.out[i];
        if (to == DEFT_NO_VALUE) continue;
        if (i >= l->states && l->iteration == 0)
            return fail(r, DEFT_UNSUPPORTED,
                        "it stacks values, but has no iteration, so that their shape is not known");
        if (i >= l->states) from = l->stacked[i - l->states];
        DEFT_TRY(deft_replacement_add(r, DEFT_OP_IDENTITY, NULL, 0, &from, 1, &to));
    }
    return DEFT_OK;
}

/* Puts a value behind what has been stacked along `axis` (or DEFT_NO_VALUE), or before it. */
static deft_status stack(deft_replacement *r, int value, int64_t axis, bool in_front, int *stacked) {
    deft_attr axes = {.name = "axes", .type = DEFT_ATTR_INTS, .count = 1, .ints = &axis};
    deft_attr along = {.name = "axis", .type = DEFT_ATTR_INT, .i = axis};
    int slice = DEFT_NO_VALUE, both = DEFT_NO_VALUE;
    DEFT_TRY(deft_replacement_add(r, DEFT_OP_UNSQUEEZE, &axes, 1, &value, 1, &slice));
    if (*stacked != DEFT_NO_VALUE) {
        int parts[] = {in_front ? slice : *stacked, in_front ? *stacked : slice};
        DEFT_TRY(deft_replacement_add(r, DEFT_OP_CONCAT, &along, 1, parts, 2, &both));
        slice = both;
    }
    *stacked = slice;
    return DEFT_OK;
}

/* The Loop that is left, after an iteration that made `made`. */
static deft_status add_rest(deft_replacement *r, const loop *l, const int *made) {
    int count = 2 + l->states + l->stacks + l->around, *in, node;
    DEFT_TRY(deft_arena_array(&r->scratch, (size_t)count, sizeof *in, &in));
    in[0] = r->node.in[0];
    memcpy(in + 1, made, (size_t)(1 + l->states) * sizeof *in);
    int *stacked = in + 2 + l->states;
    for (int i = 0; i < l->stacks; i++) {
        stacked[i] = l->iteration ? l->stacked[i] : DEFT_NO_VALUE;
        DEFT_TRY(stack(r, made[1 + l->states + i], 0, false, &stacked[i]));
    }
    for (int i = 0; i < l->around; i++)
        stacked[l->stacks + i] = l->values_around[i];
    deft_attr attrs[] = {*l->body, {.name = ITERATION, .type = DEFT_ATTR_INT, .i = l->iteration + 1}};
    return deft_graph_add_node(r->graph, DEFT_OP_LOOP, r->node.name, attrs, 2, in, count, r->node.out,
                               r->node.out_count, &node);
}

static deft_status replace_loop(deft_replacement *r, int *waits) {
    loop l = {0};
    bool more;
    DEFT_TRY(read_loop(r, &l));
    DEFT_TRY(decide(r, &l, &more, waits));
    if (*waits != DEFT_NO_VALUE) return DEFT_OK;
    if (!more) return end_loop(r, &l);
    int made_count = l.body->graph->output_count, *args, *made;
    DEFT_TRY(deft_arena_array(&r->scratch, (size_t)l.body->graph->input_count, sizeof *args, &args));
    DEFT_TRY(deft_arena_array(&r->scratch, (size_t)made_count, sizeof *made, &made));
    DEFT_TRY(add_scalar(r, DEFT_I64, l.iteration, &args[0]));
    DEFT_TRY(add_scalar(r, DEFT_BOOL, true, &args[1]));
    memcpy(args + 2, l.state, (size_t)l.states * sizeof *args);
    memcpy(args + 2 + l.states, l.values_around, (size_t)l.around * sizeof *args);
    for (int i = 0; i < made_count; i++)
        made[i] = DEFT_NO_VALUE;
    DEFT_TRY(add_body(r, l.body->graph, args, made, made_count));
    return add_rest(r, &l, made);
}

/* ---- Scan ---------------------------------------------------------------------------------------------------- */

/* From opset 9 on. Inputs: states, sequences, the values around; the body's: states, slices, the values around; it
 * makes states, slices to stack. */
typedef struct scan {
    const deft_attr *body;
    int states, sequences, stacks, around;
    int64_t length;
} scan;

/* The i-th of a list attribute, 0 where there is none. */
static int64_t listed(const deft_replacement *r, const char *name, int i) {
    const deft_attr *attr = deft_attr_find(&r->node.attrs, name);
    return attr && attr->type == DEFT_ATTR_INTS && i < attr->count ? attr->ints[i] : 0;
}

static deft_status read_scan(deft_replacement *r, scan *s) {
    s->body = find_body(r, "body");
    if (r->graph->opset < 9) return fail(r, DEFT_UNSUPPORTED, "Deft has it from operator set 9 on");
    int64_t sequences = deft_attr_int(&r->node.attrs, "num_scan_inputs", 0);
    if (!s->body || sequences < 1 || sequences > s->body->i)
        return fail(r, DEFT_INVALID, "it must have the graph body, and num_scan_inputs of that graph's inputs");
    s->sequences = (int)sequences;
    s->states = (int)s->body->i - s->sequences;
    s->stacks = s->body->graph->output_count - s->states;
    s->around = s->body->graph->input_count - (int)s->body->i;
    if (s->stacks < 0 || r->node.in_count != s->body->graph->input_count || r->node.out_count > s->states + s->stacks)
        return fail(r, DEFT_INVALID, "its body has other numbers of inputs or outputs than it");
    DEFT_TRY(check_inputs(r, 0, r->node.in_count));
    for (int i = 0; i < s->sequences; i++) {
        const deft_tensor *x = &r->graph->values[r->node.in[s->states + i]].desc;
        int64_t axis = listed(r, "scan_input_axes", i);
        if (axis < 0) axis += x->rank;
        if (axis < 0 || axis >= x->rank) return fail(r, DEFT_INVALID, "scan_input_axes are outside of the inputs");
        if (i > 0 && s->length != x->dims[axis])
            return fail(r, DEFT_INVALID, "the inputs that it scans have different lengths");
        s->length = x->dims[axis];
    }
    if (s->length == 0 && s->stacks > 0) return fail(r, DEFT_UNSUPPORTED, "what it scans is empty");
    return DEFT_OK;
}

static deft_status add_slice(deft_replacement *r, const scan *s, int sequence, int64_t step, int *slice) {
    deft_attr along = {.name = "axis", .type = DEFT_ATTR_INT, .i = listed(r, "scan_input_axes", sequence)};
    bool reverse = listed(r, "scan_input_directions", sequence) == 1;
    int in[] = {r->node.in[s->states + sequence], 0};
    *slice = DEFT_NO_VALUE;
    DEFT_TRY(add_scalar(r, DEFT_I64, reverse ? s->length - 1 - step : step, &in[1]));
    return deft_replacement_add(r, DEFT_OP_GATHER, &along, 1, in, 2, slice);
}

static deft_status add_step(deft_replacement *r, const scan *s, int64_t step, int *states, int *stacked) {
    int made_count = s->body->graph->output_count, *args, *made;
    DEFT_TRY(deft_arena_array(&r->scratch, (size_t)s->body->graph->input_count, sizeof *args, &args));
    DEFT_TRY(deft_arena_array(&r->scratch, (size_t)made_count, sizeof *made, &made));
    memcpy(args, states, (size_t)s->states * sizeof *args);
    for (int i = 0; i < s->sequences; i++)
        DEFT_TRY(add_slice(r, s, i, step, &args[s->states + i]));
    memcpy(args + s->body->i, r->node.in + s->body->i, (size_t)s->around * sizeof *args);
    for (int i = 0; i < made_count; i++)
        made[i] = DEFT_NO_VALUE;
    DEFT_TRY(add_body(r, s->body->graph, args, made, made_count));
    memcpy(states, made, (size_t)s->states * sizeof *states);
    for (int i = 0; i < s->stacks; i++)
        DEFT_TRY(stack(r, made[s->states + i], listed(r, "scan_output_axes", i),
                       listed(r, "scan_output_directions", i) == 1, &stacked[i]));
    return DEFT_OK;
}

static deft_status replace_scan(deft_replacement *r) {
    scan s = {0};
    int *values; /* states, then what is stacked: as the outputs */
    DEFT_TRY(read_scan(r, &s));
    DEFT_TRY(deft_arena_array(&r->scratch, (size_t)(s.states + s.stacks), sizeof *values, &values));
    for (int i = 0; i < s.states + s.stacks; i++)
        values[i] = i < s.states ? r->node.in[i] : DEFT_NO_VALUE;
    for (int64_t step = 0; step < s.length; step++)
        DEFT_TRY(add_step(r, &s, step, values, values + s.states));
    for (int i = 0; i < r->node.out_count; i++) {
        int out = r->node.out[i];
        if (out != DEFT_NO_VALUE) DEFT_TRY(deft_replacement_add(r, DEFT_OP_IDENTITY, NULL, 0, &values[i], 1, &out));
    }
    return DEFT_OK;
}

/* ---- all ----------------------------------------------------------------------------------------------------- */

deft_status deft_graph_replace_control(deft_graph *graph, int node, int *waits) {
    deft_replacement r;
    deft_replacement_begin(graph, node, &r);
    *waits = DEFT_NO_VALUE;
    deft_status status;
    if (r.node.op == DEFT_OP_IF)
        status = replace_if(&r, waits);
    else if (r.node.op == DEFT_OP_LOOP)
        status = replace_loop(&r, waits);
    else
        status = replace_scan(&r);
    return deft_replacement_end(&r, status, *waits == DEFT_NO_VALUE);
}

#include "ir/graph/graph.h"

#include <limits.h>
#include <string.h>

enum { FIRST_SLOTS = 64, DEFAULT_OPSET = 17 };

/* ---- names --------------------------------------------------------------------------------------------------- */

/* FNV-1a from a start that differs from run to run, so that no file can be made whose names all collide. */
static size_t hash_name(const deft_graph *graph, const char *name) {
    uint64_t hash = 0xcbf29ce484222325u ^ ((uintptr_t)graph >> 6);
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 0x100000001b3u;
    return (size_t)(hash ^ hash >> 32);
}

/* The slot that holds `name`, or the empty one where it belongs. */
static int *find_slot(const deft_graph *graph, const char *name) {
    size_t mask = (size_t)graph->slot_count - 1, slot = hash_name(graph, name) & mask;
    while (graph->slots[slot] && strcmp(graph->values[graph->slots[slot] - 1].name, name) != 0)
        slot = (slot + 1) & mask;
    return &graph->slots[slot];
}

static void fill_slots(deft_graph *graph) {
    memset(graph->slots, 0, (size_t)graph->slot_count * sizeof *graph->slots);
    for (int i = 0; i < graph->value_count; i++)
        *find_slot(graph, graph->values[i].name) = i + 1;
}

/* Keeps half of the slots empty. */
static deft_status grow_slots(deft_graph *graph) {
    if (graph->slots && graph->value_count < graph->slot_count / 2) return DEFT_OK;
    int count = graph->slots ? 2 * graph->slot_count : FIRST_SLOTS;
    int *slots;
    DEFT_TRY(deft_allocate_zeroed(graph->ctx, (size_t)count, sizeof *slots, &slots));
    deft_release(graph->ctx, graph->slots);
    graph->slots = slots;
    graph->slot_count = count;
    fill_slots(graph);
    return DEFT_OK;
}

int deft_graph_find(const deft_graph *graph, const char *name) {
    return graph->slots ? *find_slot(graph, name) - 1 : DEFT_NO_VALUE;
}

static deft_status fresh_name(deft_graph *graph, const char **name) {
    char text[32];
    do
        snprintf(text, sizeof text, "v%d", graph->fresh_count++);
    while (deft_graph_find(graph, text) != DEFT_NO_VALUE);
    char *copy;
    DEFT_TRY(deft_arena_string(&graph->arena, text, &copy));
    *name = copy;
    return DEFT_OK;
}

/* ---- life ---------------------------------------------------------------------------------------------------- */

deft_status deft_graph_new(deft_context *ctx, deft_graph **graph) {
    deft_graph *made;
    DEFT_TRY(deft_allocate_zeroed(ctx, 1, sizeof *made, &made));
    made->ctx = ctx;
    made->name = "";
    made->opset = DEFAULT_OPSET;
    deft_arena_init(&made->arena, ctx);
    *graph = made;
    return DEFT_OK;
}

void deft_graph_free(deft_graph *graph) {
    if (!graph) return;
    deft_context *ctx = graph->ctx;
    for (int i = 0; i < graph->value_count; i++)
        deft_release(ctx, graph->values[i].desc.data);
    deft_release(ctx, graph->values);
    deft_release(ctx, graph->nodes);
    deft_release(ctx, graph->inputs);
    deft_release(ctx, graph->outputs);
    deft_release(ctx, graph->metadata);
    deft_release(ctx, graph->slots);
    for (int i = 0; i < graph->body_count; i++)
        deft_graph_free(graph->bodies[i]);
    deft_release(ctx, graph->bodies);
    deft_arena_done(&graph->arena);
    deft_release(ctx, graph);
}

/* Makes room for one more where `count` elements fill the array: its capacity is the power of two above. */
static deft_status grow(deft_graph *graph, int count, size_t size, void *in_out_array) {
    if (count & (count - 1)) return DEFT_OK;
    if (count > INT_MAX / 4) return deft_fail(graph->ctx, DEFT_MEMORY, "a graph of more than %d elements", count);
    return deft_reallocate(graph->ctx, 2 * ((size_t)count + 1) * size, in_out_array);
}

static deft_status copy_dim_names(deft_graph *graph, const deft_value *from, deft_value *to) {
    for (int i = 0; i < DEFT_MAX_RANK; i++) {
        if (!from->dim_names[i]) continue;
        char *name;
        DEFT_TRY(deft_arena_string(&graph->arena, from->dim_names[i], &name));
        to->dim_names[i] = name;
    }
    return DEFT_OK;
}

static deft_status clone_value(deft_graph *to, const deft_value *value, bool share) {
    int id;
    DEFT_TRY(deft_graph_add_value(to, value->name, &id));
    deft_value *copy = &to->values[id];
    DEFT_TRY(copy_dim_names(to, value, copy));
    share = share && value->desc.data && !value->variable;
    if (share)
        deft_retain(value->desc.data);
    else if (value->desc.data)
        DEFT_TRY(deft_graph_set_constant(to, id, &value->desc));
    void *data = share ? value->desc.data : copy->desc.data;
    copy->desc = value->desc;
    copy->desc.data = data;
    copy->known = value->known;
    copy->variable = value->variable;
    return DEFT_OK;
}

static deft_status clone_contents(const deft_graph *from, deft_graph *to, bool share) {
    char *name;
    DEFT_TRY(deft_arena_string(&to->arena, from->name, &name));
    to->name = name;
    to->opset = from->opset;
    for (int i = 0; i < from->value_count; i++)
        DEFT_TRY(clone_value(to, &from->values[i], share));
    for (int i = 0; i < from->node_count; i++) {
        const deft_node *node = &from->nodes[i];
        int added;
        DEFT_TRY(deft_graph_add_node(to, node->op, node->name, node->attrs.items, node->attrs.count, node->in,
                                     node->in_count, node->out, node->out_count, &added));
    }
    for (int i = 0; i < from->input_count; i++) {
        DEFT_TRY(grow(to, to->input_count, sizeof *to->inputs, &to->inputs));
        to->inputs[to->input_count++] = from->inputs[i];
        to->values[from->inputs[i]].input = true;
    }
    for (int i = 0; i < from->output_count; i++)
        DEFT_TRY(deft_graph_add_output(to, from->outputs[i]));
    for (int i = 0; i < from->metadata_count; i++)
        DEFT_TRY(deft_graph_set_metadata(to, from->metadata[i].key, from->metadata[i].value));
    return DEFT_OK;
}

static deft_status clone(deft_context *ctx, const deft_graph *graph, bool share, deft_graph **copy) {
    deft_graph *made = NULL;
    deft_status status;
    DEFT_TRY_OR_FAIL(deft_graph_new(ctx, &made));
    DEFT_TRY_OR_FAIL(clone_contents(graph, made, share));
    *copy = made;
    return DEFT_OK;
fail:
    deft_graph_free(made);
    return status;
}

deft_status deft_graph_clone(deft_context *ctx, const deft_graph *graph, deft_graph **copy) {
    return clone(ctx, graph, false, copy);
}

deft_status deft_graph_clone_sharing(const deft_graph *graph, deft_graph **copy) {
    return clone(graph->ctx, graph, true, copy);
}

/* ---- values -------------------------------------------------------------------------------------------------- */

deft_status deft_graph_add_value(deft_graph *graph, const char *name, int *value) {
    DEFT_TRY(grow(graph, graph->value_count, sizeof *graph->values, &graph->values));
    DEFT_TRY(grow_slots(graph));
    deft_value added = {.producer = DEFT_NO_VALUE};
    if (name && *name) {
        if (deft_graph_find(graph, name) != DEFT_NO_VALUE)
            return deft_fail(graph->ctx, DEFT_INVALID, "two values are called '%.64s'; names must be unique", name);
        char *copy;
        DEFT_TRY(deft_arena_string(&graph->arena, name, &copy));
        added.name = copy;
    } else {
        DEFT_TRY(fresh_name(graph, &added.name));
    }
    int id = graph->value_count++;
    graph->values[id] = added;
    *find_slot(graph, added.name) = id + 1;
    *value = id;
    return DEFT_OK;
}

deft_status deft_graph_take_constant(deft_graph *graph, int value, const deft_tensor *tensor) {
    deft_value *target = &graph->values[value];
    if (target->input || target->producer >= 0) {
        deft_release(graph->ctx, tensor->data);
        return deft_fail(graph->ctx, DEFT_INVALID,
                         "value '%.64s' cannot be a constant: it is an input or a node makes it", target->name);
    }
    deft_release(graph->ctx, target->desc.data);
    target->desc = *tensor;
    target->known = true;
    return DEFT_OK;
}

deft_status deft_graph_set_constant(deft_graph *graph, int value, const deft_tensor *tensor) {
    deft_tensor copy = *tensor;
    size_t bytes = deft_tensor_bytes(tensor);
    DEFT_TRY(deft_allocate(graph->ctx, bytes, &copy.data));
    if (bytes) memcpy(copy.data, tensor->data, bytes);
    return deft_graph_take_constant(graph, value, &copy);
}

deft_status deft_graph_add_constant(deft_graph *graph, const char *name, const deft_tensor *tensor, int *value) {
    DEFT_TRY(deft_graph_add_value(graph, name, value));
    return deft_graph_set_constant(graph, *value, tensor);
}

static deft_status check_input_shape(deft_graph *graph, const char *name, deft_dtype dtype, int rank,
                                     const int64_t *dims) {
    int64_t bound[DEFT_MAX_RANK] = {0};
    for (int i = 0; i < rank && i < DEFT_MAX_RANK; i++)
        bound[i] = dims[i] == -1 ? 1 : dims[i];
    if (!deft_shape_valid(dtype, rank, bound))
        return deft_fail(graph->ctx, DEFT_INVALID,
                         "input '%.64s': a shape of rank %d and type %s that memory cannot hold", name ? name : "",
                         rank, deft_dtype_name(dtype));
    return DEFT_OK;
}

deft_status deft_graph_add_input(deft_graph *graph, const char *name, deft_dtype dtype, int rank, const int64_t *dims,
                                 const char *const *dim_names, int *value) {
    DEFT_TRY(check_input_shape(graph, name, dtype, rank, dims));
    DEFT_TRY(grow(graph, graph->input_count, sizeof *graph->inputs, &graph->inputs));
    int id;
    DEFT_TRY(deft_graph_add_value(graph, name, &id));
    deft_value *input = &graph->values[id], named = {0};
    input->desc = (deft_tensor){.dtype = dtype, .rank = rank};
    input->input = input->known = true;
    graph->inputs[graph->input_count++] = id;
    for (int i = 0; i < rank; i++) {
        input->desc.dims[i] = dims[i];
        if (dims[i] != -1) continue;
        input->known = false;
        named.dim_names[i] = dim_names && dim_names[i] ? dim_names[i] : "";
    }
    *value = id;
    return copy_dim_names(graph, &named, input);
}

deft_status deft_graph_declare_input(deft_graph *graph, int value) {
    DEFT_TRY(grow(graph, graph->input_count, sizeof *graph->inputs, &graph->inputs));
    graph->inputs[graph->input_count++] = value;
    graph->values[value].input = true;
    return DEFT_OK;
}

deft_status deft_graph_add_output(deft_graph *graph, int value) {
    DEFT_TRY(grow(graph, graph->output_count, sizeof *graph->outputs, &graph->outputs));
    graph->outputs[graph->output_count++] = value;
    return DEFT_OK;
}

/* ---- nodes --------------------------------------------------------------------------------------------------- */

static deft_status copy_strings(deft_arena *arena, deft_attr *attr) {
    char **copies;
    DEFT_TRY(deft_arena_array(arena, (size_t)attr->count, sizeof *copies, &copies));
    for (int64_t i = 0; i < attr->count; i++)
        DEFT_TRY(deft_arena_string(arena, attr->strings[i], &copies[i]));
    attr->strings = (const char *const *)copies;
    return DEFT_OK;
}

deft_status deft_graph_adopt_body(deft_graph *graph, deft_graph *body) {
    DEFT_TRY(grow(graph, graph->body_count, sizeof *graph->bodies, &graph->bodies));
    graph->bodies[graph->body_count++] = body;
    return DEFT_OK;
}

/* A copy, unless the graph has this one already. */
static deft_status copy_body(deft_graph *graph, deft_attr *attr) {
    deft_graph *copy;
    for (int i = 0; i < graph->body_count; i++)
        if (graph->bodies[i] == attr->graph) return DEFT_OK;
    DEFT_TRY(deft_graph_clone(graph->ctx, attr->graph, &copy));
    deft_status status = deft_graph_adopt_body(graph, copy);
    if (status != DEFT_OK) deft_graph_free(copy);
    attr->graph = copy;
    return status;
}

/* Replaces what the attribute points to by copies that the graph owns. */
static deft_status copy_attr(deft_graph *graph, deft_attr *attr) {
    deft_arena *arena = &graph->arena;
    char *name, *text;
    DEFT_TRY(deft_arena_string(arena, attr->name, &name));
    attr->name = name;
    size_t count = (size_t)attr->count;
    switch (attr->type) {
    case DEFT_ATTR_INT:
    case DEFT_ATTR_FLOAT:
        return DEFT_OK;
    case DEFT_ATTR_STRING:
        DEFT_TRY(deft_arena_string(arena, attr->s, &text));
        attr->s = text;
        return DEFT_OK;
    case DEFT_ATTR_TENSOR:
        return deft_arena_copy(arena, attr->tensor.data, deft_tensor_bytes(&attr->tensor), &attr->tensor.data);
    case DEFT_ATTR_INTS:
        return deft_arena_copy(arena, attr->ints, count * sizeof *attr->ints, &attr->ints);
    case DEFT_ATTR_FLOATS:
        return deft_arena_copy(arena, attr->floats, count * sizeof *attr->floats, &attr->floats);
    case DEFT_ATTR_STRINGS:
        return copy_strings(arena, attr);
    case DEFT_ATTR_GRAPH:
        return copy_body(graph, attr);
    }
    return deft_fail(arena->ctx, DEFT_BUG, "attribute '%.64s' has the unknown type %d", attr->name, (int)attr->type);
}

static deft_status copy_node(deft_graph *graph, const deft_node *node, deft_node *copy) {
    deft_arena *arena = &graph->arena;
    *copy = *node;
    char *name;
    DEFT_TRY(deft_arena_string(arena, node->name ? node->name : "", &name));
    copy->name = name;
    DEFT_TRY(deft_arena_copy(arena, node->in, (size_t)node->in_count * sizeof *node->in, &copy->in));
    DEFT_TRY(deft_arena_copy(arena, node->out, (size_t)node->out_count * sizeof *node->out, &copy->out));
    deft_attr *attrs;
    DEFT_TRY(deft_arena_copy(arena, node->attrs.items, (size_t)node->attrs.count * sizeof *attrs, &attrs));
    copy->attrs.items = attrs;
    for (int i = 0; i < node->attrs.count; i++)
        DEFT_TRY(copy_attr(graph, &attrs[i]));
    return DEFT_OK;
}

deft_status deft_graph_add_node(deft_graph *graph, deft_op op, const char *name, const deft_attr *attrs, int attr_count,
                                const int *in, int in_count, const int *out, int out_count, int *node) {
    DEFT_TRY(grow(graph, graph->node_count, sizeof *graph->nodes, &graph->nodes));
    deft_node given = {.name = name,
                       .op = op,
                       .attrs = {attrs, attr_count},
                       .in_count = in_count,
                       .out_count = out_count,
                       .in = (int *)in,
                       .out = (int *)out};
    deft_node copy;
    DEFT_TRY(copy_node(graph, &given, &copy));
    for (int i = 0; i < out_count; i++) {
        if (out[i] == DEFT_NO_VALUE) continue;
        deft_value *made = &graph->values[out[i]];
        if (made->producer < 0) made->producer = graph->node_count;
    }
    *node = graph->node_count;
    graph->nodes[graph->node_count++] = copy;
    return DEFT_OK;
}

const char *deft_node_label(const deft_graph *graph, const deft_node *node, char *out, size_t bytes) {
    const char *op = deft_ops[node->op].name;
    if (*node->name) {
        snprintf(out, bytes, "%s '%.64s'", op, node->name);
        return out;
    }
    const char *made = node->out_count && node->out[0] >= 0 ? graph->values[node->out[0]].name : "";
    snprintf(out, bytes, "%s making '%.64s'", op, made);
    return out;
}

/* ---- removing ------------------------------------------------------------------------------------------------ */

void deft_graph_set_producers(deft_graph *graph) {
    for (int i = 0; i < graph->value_count; i++)
        graph->values[i].producer = DEFT_NO_VALUE;
    for (int i = graph->node_count - 1; i >= 0; i--) {
        const deft_node *node = &graph->nodes[i];
        for (int j = 0; j < node->out_count; j++)
            if (node->out[j] != DEFT_NO_VALUE) graph->values[node->out[j]].producer = i;
    }
}

/* Calls `visit` with the place of every value id that the graph holds. */
static void visit_ids(deft_graph *graph, void (*visit)(deft_graph *graph, int *id)) {
    for (int i = 0; i < graph->input_count; i++)
        visit(graph, &graph->inputs[i]);
    for (int i = 0; i < graph->output_count; i++)
        visit(graph, &graph->outputs[i]);
    for (int i = 0; i < graph->node_count; i++) {
        deft_node *node = &graph->nodes[i];
        for (int j = 0; j < node->in_count; j++)
            if (node->in[j] != DEFT_NO_VALUE) visit(graph, &node->in[j]);
        for (int j = 0; j < node->out_count; j++)
            if (node->out[j] != DEFT_NO_VALUE) visit(graph, &node->out[j]);
    }
}

static void mark_used(deft_graph *graph, int *id) {
    graph->values[*id].producer = 0;
}

static void take_new_id(deft_graph *graph, int *id) {
    *id = graph->values[*id].producer;
}

/* Until the end, `producer` holds a mark of use and then the new id: so removing needs no memory and cannot fail. */
void deft_graph_keep(deft_graph *graph, const bool *keep) {
    int kept = 0;
    for (int i = 0; i < graph->node_count; i++)
        if (keep[i]) graph->nodes[kept++] = graph->nodes[i];
    graph->node_count = kept;

    for (int i = 0; i < graph->value_count; i++)
        graph->values[i].producer = DEFT_NO_VALUE;
    visit_ids(graph, mark_used);
    kept = 0;
    for (int i = 0; i < graph->value_count; i++)
        if (graph->values[i].producer != DEFT_NO_VALUE) graph->values[i].producer = kept++;
    visit_ids(graph, take_new_id);

    kept = 0;
    for (int i = 0; i < graph->value_count; i++) {
        if (graph->values[i].producer != DEFT_NO_VALUE)
            graph->values[kept++] = graph->values[i];
        else
            deft_release(graph->ctx, graph->values[i].desc.data);
    }
    graph->value_count = kept;
    deft_graph_set_producers(graph);
    if (graph->slots) fill_slots(graph);
}

/* ---- metadata ------------------------------------------------------------------------------------------------ */

deft_status deft_graph_set_metadata(deft_graph *graph, const char *key, const char *value) {
    char *key_copy, *value_copy;
    DEFT_TRY(deft_arena_string(&graph->arena, value, &value_copy));
    for (int i = 0; i < graph->metadata_count; i++) {
        if (strcmp(graph->metadata[i].key, key) != 0) continue;
        graph->metadata[i].value = value_copy;
        return DEFT_OK;
    }
    DEFT_TRY(grow(graph, graph->metadata_count, sizeof *graph->metadata, &graph->metadata));
    DEFT_TRY(deft_arena_string(&graph->arena, key, &key_copy));
    graph->metadata[graph->metadata_count++] = (deft_metadata){key_copy, value_copy};
    return DEFT_OK;
}

const char *deft_graph_metadata(const deft_graph *graph, const char *key) {
    for (int i = 0; i < graph->metadata_count; i++)
        if (strcmp(graph->metadata[i].key, key) == 0) return graph->metadata[i].value;
    return NULL;
}

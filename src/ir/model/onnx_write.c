#include "ir/model/onnx.h"

#include "ir/model/onnx_tensor.h"

#include <limits.h>
#include <string.h>

enum { IR_VERSION = 8 };

/* A graph being written: messages in an arena that point to the graph's strings and data. */
typedef struct writer {
    const deft_graph *graph;
    deft_arena *arena;
    Onnx__GraphProto *proto;
    const char **names; /* of values, by id */
    int given;          /* of control flow: how many of its inputs the operator gives it; of a model -1 */
} writer;

/* An array of `count` pointers to elements of `size` bytes. */
static deft_status new_messages(writer *w, size_t count, size_t size, void *out_pointers) {
    char *elements;
    void **pointers;
    DEFT_TRY(deft_arena_array(w->arena, count, size, &elements));
    DEFT_TRY(deft_arena_array(w->arena, count, sizeof *pointers, &pointers));
    for (size_t i = 0; i < count; i++)
        pointers[i] = elements + i * size;
    memcpy(out_pointers, &pointers, sizeof pointers);
    return DEFT_OK;
}

static bool is_constant(const deft_value *value) {
    return value->desc.data && value->producer < 0;
}

static deft_status write_initializers(writer *w) {
    const deft_graph *graph = w->graph;
    size_t count = 0;
    for (int i = 0; i < graph->value_count; i++)
        count += is_constant(&graph->values[i]);
    DEFT_TRY(new_messages(w, count, sizeof(Onnx__TensorProto), &w->proto->initializer));
    for (int i = 0; i < graph->value_count; i++) {
        const deft_value *value = &graph->values[i];
        if (!is_constant(value)) continue;
        deft_onnx_tensor_write(&value->desc, w->names[i], w->proto->initializer[w->proto->n_initializer++]);
    }
    return DEFT_OK;
}

/* ---- inputs and outputs -------------------------------------------------------------------------------------- */

/* Everything that a declared tensor type consists of. */
typedef struct value_info {
    Onnx__ValueInfoProto info;
    Onnx__TypeProto type;
    Onnx__TypeProto__Tensor tensor;
    Onnx__TensorShapeProto shape;
    Onnx__TensorShapeProto__Dimension dims[DEFT_MAX_RANK], *dim_pointers[DEFT_MAX_RANK];
} value_info;

/* A dim that is neither symbolic nor `fixed` is left out: it follows from the inputs'. */
static void write_value_info(const deft_value *value, bool fixed, value_info *v) {
    onnx__value_info_proto__init(&v->info);
    onnx__type_proto__init(&v->type);
    onnx__type_proto__tensor__init(&v->tensor);
    onnx__tensor_shape_proto__init(&v->shape);
    v->info.name = (char *)value->name;
    v->info.type = &v->type;
    v->type.value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    v->type.tensor_type = &v->tensor;
    v->tensor.has_elem_type = 1;
    v->tensor.elem_type = (int32_t)value->desc.dtype;
    v->tensor.shape = &v->shape;
    v->shape.n_dim = (size_t)value->desc.rank;
    v->shape.dim = v->dim_pointers;
    for (int i = 0; i < value->desc.rank; i++) {
        Onnx__TensorShapeProto__Dimension *dim = v->dim_pointers[i] = &v->dims[i];
        onnx__tensor_shape_proto__dimension__init(dim);
        if (value->dim_names[i] && *value->dim_names[i]) {
            dim->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
            dim->dim_param = (char *)value->dim_names[i];
        } else if (!value->dim_names[i] && fixed) {
            dim->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
            dim->dim_value = value->desc.dims[i];
        }
    }
}

static bool is_symbolic(const deft_value *value) {
    for (int i = 0; i < value->desc.rank; i++)
        if (value->dim_names[i]) return true;
    return false;
}

static bool has_symbolic_inputs(const deft_graph *graph) {
    for (int i = 0; i < graph->input_count; i++)
        if (is_symbolic(&graph->values[graph->inputs[i]])) return true;
    return false;
}

static deft_status write_value_infos(writer *w, const int *ids, int count, Onnx__ValueInfoProto ***infos) {
    const deft_graph *graph = w->graph;
    bool symbolic = has_symbolic_inputs(graph);
    DEFT_TRY(deft_arena_array(w->arena, (size_t)count, sizeof **infos, infos));
    for (int i = 0; i < count; i++) {
        const deft_value *value = &graph->values[ids[i]];
        bool body = w->given >= 0, typed = value->known || value->input || value->desc.dtype;
        if (!typed && !body)
            return deft_fail(graph->ctx, DEFT_INVALID, "output '%.64s': its type is not known", value->name);
        value_info *v;
        DEFT_TRY(deft_arena_array(w->arena, 1, sizeof *v, &v));
        /* At another batch an output that declares no symbolic dims may have another shape than it has now. */
        write_value_info(value, value->input || !symbolic || is_symbolic(value), v);
        v->info.name = (char *)w->names[ids[i]];
        if (body && !(value->input && value->desc.dtype)) v->info.type = NULL; /* it follows from what is given */
        (*infos)[i] = &v->info;
    }
    return DEFT_OK;
}

/* ---- nodes --------------------------------------------------------------------------------------------------- */

static deft_status write_strings(writer *w, const deft_attr *attr, Onnx__AttributeProto *proto) {
    proto->n_strings = (size_t)attr->count;
    DEFT_TRY(deft_arena_array(w->arena, proto->n_strings, sizeof *proto->strings, &proto->strings));
    for (size_t i = 0; i < proto->n_strings; i++)
        proto->strings[i] = (ProtobufCBinaryData){strlen(attr->strings[i]), (uint8_t *)attr->strings[i]};
    return DEFT_OK;
}

static deft_status write_body(writer *w, const deft_attr *attr, const int *around, Onnx__AttributeProto *proto);

/* around: the values around the node that a graph of control flow uses. */
static deft_status write_attr(writer *w, const deft_attr *attr, const int *around, Onnx__AttributeProto *proto) {
    onnx__attribute_proto__init(proto);
    proto->name = (char *)attr->name;
    proto->has_type = 1;
    switch (attr->type) {
    case DEFT_ATTR_INT:
        proto->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT;
        proto->has_i = 1;
        proto->i = attr->i;
        return DEFT_OK;
    case DEFT_ATTR_FLOAT:
        proto->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT;
        proto->has_f = 1;
        proto->f = attr->f;
        return DEFT_OK;
    case DEFT_ATTR_STRING:
        proto->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING;
        proto->has_s = 1;
        proto->s = (ProtobufCBinaryData){strlen(attr->s), (uint8_t *)attr->s};
        return DEFT_OK;
    case DEFT_ATTR_TENSOR:
        proto->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR;
        DEFT_TRY(deft_arena_array(w->arena, 1, sizeof *proto->t, &proto->t));
        deft_onnx_tensor_write(&attr->tensor, NULL, proto->t);
        return DEFT_OK;
    case DEFT_ATTR_INTS:
        proto->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS;
        proto->n_ints = (size_t)attr->count;
        proto->ints = (int64_t *)attr->ints;
        return DEFT_OK;
    case DEFT_ATTR_FLOATS:
        proto->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS;
        proto->n_floats = (size_t)attr->count;
        proto->floats = (float *)attr->floats;
        return DEFT_OK;
    case DEFT_ATTR_STRINGS:
        proto->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRINGS;
        return write_strings(w, attr, proto);
    case DEFT_ATTR_GRAPH:
        proto->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH;
        return write_body(w, attr, around, proto);
    }
    return deft_fail(w->graph->ctx, DEFT_BUG, "attribute '%.64s' has the unknown type %d", attr->name, (int)attr->type);
}

static deft_status write_names(writer *w, const int *ids, int count, char ***names) {
    DEFT_TRY(deft_arena_array(w->arena, (size_t)count, sizeof **names, names));
    for (int i = 0; i < count; i++)
        (*names)[i] = ids[i] == DEFT_NO_VALUE ? "" : (char *)w->names[ids[i]];
    return DEFT_OK;
}

/* How many values around it a graph of control flow uses. */
static int count_around(const deft_attr *attr) {
    return attr->type == DEFT_ATTR_GRAPH ? attr->graph->input_count - (int)attr->i : 0;
}

/* The inputs that ONNX lists: without the values around it, which stand last, and absent ones at the end. */
static int count_listed(const deft_node *node) {
    int count = node->in_count;
    for (int i = 0; i < node->attrs.count; i++)
        count -= count_around(&node->attrs.items[i]);
    while (count > 0 && node->in[count - 1] == DEFT_NO_VALUE)
        count--;
    return count;
}

static deft_status write_node(writer *w, const deft_node *node, Onnx__NodeProto *proto) {
    char label[DEFT_NODE_LABEL_BYTES];
    if (*deft_ops[node->op].domain)
        return deft_fail(w->graph->ctx, DEFT_INVALID, "%s is an operator of training; ONNX does not have it",
                         deft_node_label(w->graph, node, label, sizeof label));
    onnx__node_proto__init(proto);
    proto->name = (char *)node->name;
    proto->op_type = (char *)deft_ops[node->op].name;
    int listed = count_listed(node);
    proto->n_input = (size_t)listed;
    DEFT_TRY(write_names(w, node->in, listed, &proto->input));
    proto->n_output = (size_t)node->out_count;
    DEFT_TRY(write_names(w, node->out, node->out_count, &proto->output));
    DEFT_TRY(new_messages(w, (size_t)node->attrs.count, sizeof(Onnx__AttributeProto), &proto->attribute));
    const int *around = node->in + node->in_count;
    for (int i = 0; i < node->attrs.count; i++)
        around -= count_around(&node->attrs.items[i]);
    for (int i = 0; i < node->attrs.count; i++) {
        DEFT_TRY(write_attr(w, &node->attrs.items[i], around, proto->attribute[i]));
        around += count_around(&node->attrs.items[i]);
    }
    proto->n_attribute = (size_t)node->attrs.count;
    return DEFT_OK;
}

/* ---- graphs -------------------------------------------------------------------------------------------------- */

static deft_status write_graph(writer *w) {
    const deft_graph *graph = w->graph;
    onnx__graph_proto__init(w->proto);
    /* ONNX requires a name. */
    w->proto->name = *graph->name ? (char *)graph->name : "graph";
    DEFT_TRY(write_initializers(w));
    w->proto->n_input = (size_t)(w->given >= 0 ? w->given : graph->input_count);
    DEFT_TRY(write_value_infos(w, graph->inputs, (int)w->proto->n_input, &w->proto->input));
    w->proto->n_output = (size_t)graph->output_count;
    DEFT_TRY(write_value_infos(w, graph->outputs, graph->output_count, &w->proto->output));
    DEFT_TRY(new_messages(w, (size_t)graph->node_count, sizeof(Onnx__NodeProto), &w->proto->node));
    for (int i = 0; i < graph->node_count; i++)
        DEFT_TRY(write_node(w, &graph->nodes[i], w->proto->node[i]));
    w->proto->n_node = (size_t)graph->node_count;
    return DEFT_OK;
}

static deft_status name_values(writer *w) {
    DEFT_TRY(deft_arena_array(w->arena, (size_t)w->graph->value_count, sizeof *w->names, &w->names));
    for (int i = 0; i < w->graph->value_count; i++)
        w->names[i] = w->graph->values[i].name;
    return DEFT_OK;
}

/* A graph of control flow knows the values around it by the names that they have there. */
static deft_status write_body(writer *w, const deft_attr *attr, const int *around, Onnx__AttributeProto *proto) {
    writer inner = {.graph = attr->graph, .arena = w->arena, .given = (int)attr->i};
    DEFT_TRY(deft_arena_array(w->arena, 1, sizeof *proto->g, &proto->g));
    inner.proto = proto->g;
    DEFT_TRY(name_values(&inner));
    for (int i = 0; i < count_around(attr); i++)
        inner.names[attr->graph->inputs[inner.given + i]] = w->names[around[i]];
    return write_graph(&inner);
}

/* ---- model --------------------------------------------------------------------------------------------------- */

static deft_status write_metadata(writer *w, Onnx__ModelProto *model) {
    size_t count = (size_t)w->graph->metadata_count;
    DEFT_TRY(new_messages(w, count, sizeof(Onnx__StringStringEntryProto), &model->metadata_props));
    for (size_t i = 0; i < count; i++) {
        Onnx__StringStringEntryProto *entry = model->metadata_props[i];
        onnx__string_string_entry_proto__init(entry);
        entry->key = (char *)w->graph->metadata[i].key;
        entry->value = (char *)w->graph->metadata[i].value;
    }
    model->n_metadata_props = count;
    return DEFT_OK;
}

static deft_status pack(deft_context *ctx, const Onnx__ModelProto *model, void **data, size_t *bytes) {
    size_t size = onnx__model_proto__get_packed_size(model);
    if (size > INT_MAX)
        return deft_fail(ctx, DEFT_UNSUPPORTED, "the model takes %zu bytes; an ONNX file holds less than 2^31", size);
    uint8_t *packed;
    DEFT_TRY(deft_allocate(ctx, size, &packed));
    *bytes = onnx__model_proto__pack(model, packed);
    *data = packed;
    return DEFT_OK;
}

deft_status deft_onnx_serialize(const deft_graph *graph, void **data, size_t *bytes) {
    deft_arena arena;
    Onnx__GraphProto proto;
    Onnx__OperatorSetIdProto opset = ONNX__OPERATOR_SET_ID_PROTO__INIT, *opsets[] = {&opset};
    Onnx__ModelProto model = ONNX__MODEL_PROTO__INIT;
    writer w = {.graph = graph, .arena = &arena, .proto = &proto, .given = -1};
    opset.domain = "";
    opset.has_version = 1;
    opset.version = graph->opset;
    model.graph = &proto;
    model.has_ir_version = 1;
    model.ir_version = IR_VERSION;
    model.producer_name = "deft";
    model.producer_version = DEFT_VERSION;
    model.opset_import = opsets;
    model.n_opset_import = 1;
    deft_arena_init(&arena, graph->ctx);
    deft_status status;
    DEFT_TRY_OR_FAIL(write_metadata(&w, &model));
    DEFT_TRY_OR_FAIL(name_values(&w));
    DEFT_TRY_OR_FAIL(write_graph(&w));
    DEFT_TRY_OR_FAIL(pack(graph->ctx, &model, data, bytes));
fail:
    deft_arena_done(&arena);
    return status;
}

#include "ir/model/onnx.h"

#include "ir/model/onnx_tensor.h"
#include "ir/model/onnx_wire.h"

#include <string.h>

enum {
    FIRST_OPSET = 6, /* older ones are read where the operators are the same in them */
    LAST_OPSET = 28,
    NUMPY_BROADCAST_OPSET = 7, /* before it, element-wise operators had an axis to broadcast along */
    MAX_ENDS = 4096,           /* inputs or outputs of a model; metadata entries */
    MAX_ATTRIBUTES = 1000
};

/* A model being read, or a graph in it. */
typedef struct reader {
    deft_context *ctx;
    deft_arena *scratch; /* the unpacked messages, until the graph is made */
    const Onnx__ModelProto *model;
    const Onnx__GraphProto *proto;
    deft_graph *graph;
    const deft_onnx_options *options;
    int *missing; /* how many findings there are */
    bool body;    /* of control flow */
} reader;

/* protobuf-c gives absent strings as NULL or "". */
static const char *text_of(const char *text) {
    return text ? text : "";
}

static bool is_onnx_domain(const char *domain) {
    return *text_of(domain) == 0 || strcmp(domain, "ai.onnx") == 0;
}

/* ---- model --------------------------------------------------------------------------------------------------- */

static deft_status check_size(reader *r, const char *what, size_t count) {
    if (count <= MAX_ENDS) return DEFT_OK;
    return deft_fail(r->ctx, DEFT_UNSUPPORTED, "the model has %zu %s; Deft takes %d", count, what, MAX_ENDS);
}

static deft_status read_opset(reader *r) {
    int64_t version = 0;
    for (size_t i = 0; i < r->model->n_opset_import; i++)
        if (is_onnx_domain(r->model->opset_import[i]->domain)) version = r->model->opset_import[i]->version;
    if (version == 0 && r->model->n_opset_import)
        return deft_fail(r->ctx, DEFT_UNSUPPORTED,
                         "the model imports operators of the domain '%.64s', and none of ONNX's own",
                         text_of(r->model->opset_import[0]->domain));
    if (version == 0) return deft_fail(r->ctx, DEFT_INVALID, "the model does not import ONNX's operator set");
    if (version < 1 || version > LAST_OPSET)
        return deft_fail(r->ctx, DEFT_UNSUPPORTED, "the model uses operator set %lld; Deft reads %d to %d",
                         (long long)version, FIRST_OPSET, LAST_OPSET);
    r->graph->opset = (int)version;
    return DEFT_OK;
}

static deft_status read_header(reader *r) {
    if (!r->model->graph) return deft_fail(r->ctx, DEFT_INVALID, "not an ONNX model: it has no graph");
    r->proto = r->model->graph;
    DEFT_TRY(check_size(r, "inputs", r->proto->n_input));
    DEFT_TRY(check_size(r, "outputs", r->proto->n_output));
    DEFT_TRY(check_size(r, "metadata entries", r->model->n_metadata_props));
    DEFT_TRY(read_opset(r));
    char *name;
    DEFT_TRY(deft_arena_string(&r->graph->arena, text_of(r->proto->name), &name));
    r->graph->name = name;
    for (size_t i = 0; i < r->model->n_metadata_props; i++) {
        const Onnx__StringStringEntryProto *entry = r->model->metadata_props[i];
        DEFT_TRY(deft_graph_set_metadata(r->graph, text_of(entry->key), text_of(entry->value)));
    }
    return DEFT_OK;
}

/* ---- constants and inputs ------------------------------------------------------------------------------------ */

static deft_status read_initializer(reader *r, const Onnx__TensorProto *proto, const char *name) {
    deft_tensor tensor;
    int value;
    DEFT_TRY(deft_graph_add_value(r->graph, name, &value));
    DEFT_TRY(deft_onnx_tensor_read(r->ctx, proto, name, r->options->folder, &tensor));
    return deft_graph_take_constant(r->graph, value, &tensor);
}

static deft_status read_initializers(reader *r) {
    if (r->proto->n_sparse_initializer) {
        const Onnx__TensorProto *values = r->proto->sparse_initializer[0]->values;
        return deft_fail(r->ctx, DEFT_UNSUPPORTED, "tensor '%.64s' is a sparse initializer; save it as a dense one",
                         text_of(values ? values->name : NULL));
    }
    for (size_t i = 0; i < r->proto->n_initializer; i++) {
        const Onnx__TensorProto *proto = r->proto->initializer[i];
        const char *name = text_of(proto->name);
        if (!*name) return deft_fail(r->ctx, DEFT_INVALID, "initializer %zu has no name", i);
        DEFT_TRY(read_initializer(r, proto, name));
    }
    return DEFT_OK;
}

/* The dims of a declared type, -1 where symbolic. */
static deft_status read_type(reader *r, const char *what, const Onnx__ValueInfoProto *info, deft_tensor *desc,
                             const char **dim_names) {
    const char *name = text_of(info->name);
    const Onnx__TypeProto *type = info->type;
    if (!type || type->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE || !type->tensor_type)
        return deft_fail(r->ctx, DEFT_UNSUPPORTED, "%s '%.64s' is not declared to be a tensor; Deft has no other types",
                         what, name);
    const Onnx__TypeProto__Tensor *tensor = type->tensor_type;
    if (deft_dtype_bytes((deft_dtype)tensor->elem_type) == 0)
        return deft_fail(r->ctx, DEFT_UNSUPPORTED, "%s '%.64s' has ONNX's data type %d, which Deft does not have", what,
                         name, (int)tensor->elem_type);
    if (!tensor->shape || tensor->shape->n_dim > DEFT_MAX_RANK)
        return deft_fail(r->ctx, DEFT_UNSUPPORTED, "%s '%.64s': %s dimensions; Deft needs a known number, at most %d",
                         what, name, tensor->shape ? "too many" : "an unknown number of", DEFT_MAX_RANK);
    *desc = (deft_tensor){.dtype = (deft_dtype)tensor->elem_type, .rank = (int)tensor->shape->n_dim};
    for (int i = 0; i < desc->rank; i++) {
        const Onnx__TensorShapeProto__Dimension *dim = tensor->shape->dim[i];
        bool fixed = dim->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        bool named = dim->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
        desc->dims[i] = fixed ? dim->dim_value : -1;
        dim_names[i] = desc->dims[i] != -1 ? NULL : named ? text_of(dim->dim_param) : "";
        if (desc->dims[i] < -1)
            return deft_fail(r->ctx, DEFT_INVALID, "%s '%.64s': dimension %d is %lld; it cannot be negative", what,
                             name, i, (long long)desc->dims[i]);
    }
    return DEFT_OK;
}

static bool has_shape(const Onnx__ValueInfoProto *info) {
    const Onnx__TypeProto *type = info->type;
    return type && type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE && type->tensor_type->shape;
}

/* Gives symbolic dims the names that the file has. */
static deft_status keep_dim_names(reader *r, const char *const *dim_names, deft_value *value) {
    for (int i = 0; i < value->desc.rank; i++) {
        char *name;
        if (!dim_names[i]) continue;
        DEFT_TRY(deft_arena_string(&r->graph->arena, dim_names[i], &name));
        value->dim_names[i] = name;
    }
    return DEFT_OK;
}

/* Of a value whose shape only a run knows: what is declared, so that the model can be written again. */
static deft_status keep_declared(reader *r, const char *what, const Onnx__ValueInfoProto *info, int value) {
    const char *dim_names[DEFT_MAX_RANK] = {0};
    if (!has_shape(info)) return DEFT_OK;
    DEFT_TRY(read_type(r, what, info, &r->graph->values[value].desc, dim_names));
    return keep_dim_names(r, dim_names, &r->graph->values[value]);
}

/* Older models list their initializers among the inputs. */
static deft_status read_inputs(reader *r) {
    for (size_t i = 0; i < r->proto->n_input; i++) {
        const Onnx__ValueInfoProto *info = r->proto->input[i];
        const char *name = text_of(info->name), *dim_names[DEFT_MAX_RANK] = {0};
        if (!*name) return deft_fail(r->ctx, DEFT_INVALID, "input %zu has no name", i);
        int value = deft_graph_find(r->graph, name);
        if (value != DEFT_NO_VALUE && !r->graph->values[value].input) continue;
        deft_tensor desc;
        DEFT_TRY(read_type(r, "input", info, &desc, dim_names));
        DEFT_TRY(deft_graph_add_input(r->graph, name, desc.dtype, desc.rank, desc.dims, dim_names, &value));
    }
    return DEFT_OK;
}

static deft_status read_body(reader *r, const char *label, const Onnx__GraphProto *proto, deft_attr *attr);

/* What the operator gives a graph of control flow. */
static deft_status read_body_inputs(reader *r) {
    for (size_t i = 0; i < r->proto->n_input; i++) {
        int value;
        DEFT_TRY(deft_graph_add_value(r->graph, text_of(r->proto->input[i]->name), &value));
        DEFT_TRY(deft_graph_declare_input(r->graph, value));
        DEFT_TRY(keep_declared(r, "input", r->proto->input[i], value));
    }
    return DEFT_OK;
}

/* What a graph of control flow uses and does not make is a value around it. */
static deft_status declare_values_around(reader *r) {
    for (int i = 0; i < r->graph->value_count; i++) {
        const deft_value *value = &r->graph->values[i];
        if (value->producer < 0 && !value->input && !value->desc.data) DEFT_TRY(deft_graph_declare_input(r->graph, i));
    }
    return DEFT_OK;
}

/* ---- attributes ---------------------------------------------------------------------------------------------- */

/* Bytes, which need not end in 0, as a string. */
static deft_status read_bytes(reader *r, const ProtobufCBinaryData *bytes, const char **out) {
    char *text;
    DEFT_TRY(deft_arena_allocate(r->scratch, bytes->len + 1, &text));
    if (bytes->len) memcpy(text, bytes->data, bytes->len);
    *out = text;
    return DEFT_OK;
}

static deft_status read_strings(reader *r, const Onnx__AttributeProto *proto, deft_attr *attr) {
    const char **strings;
    DEFT_TRY(deft_arena_array(r->scratch, proto->n_strings, sizeof *strings, &strings));
    for (size_t i = 0; i < proto->n_strings; i++)
        DEFT_TRY(read_bytes(r, &proto->strings[i], &strings[i]));
    attr->type = DEFT_ATTR_STRINGS;
    attr->strings = strings;
    attr->count = (int64_t)proto->n_strings;
    return DEFT_OK;
}

static deft_status read_attr(reader *r, const char *label, const Onnx__AttributeProto *proto, deft_attr *attr) {
    const char *name = text_of(proto->name);
    *attr = (deft_attr){.name = name};
    switch (proto->type) {
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT:
        attr->type = DEFT_ATTR_INT;
        attr->i = proto->i;
        return DEFT_OK;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT:
        attr->type = DEFT_ATTR_FLOAT;
        attr->f = proto->f;
        return DEFT_OK;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING:
        attr->type = DEFT_ATTR_STRING;
        return read_bytes(r, &proto->s, &attr->s);
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS:
        attr->type = DEFT_ATTR_INTS;
        attr->ints = proto->ints;
        attr->count = (int64_t)proto->n_ints;
        return DEFT_OK;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS:
        attr->type = DEFT_ATTR_FLOATS;
        attr->floats = proto->floats;
        attr->count = (int64_t)proto->n_floats;
        return DEFT_OK;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRINGS:
        return read_strings(r, proto, attr);
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR:
        attr->type = DEFT_ATTR_TENSOR;
        if (!proto->t) return deft_fail(r->ctx, DEFT_INVALID, "%s: its attribute '%.64s' holds no tensor", label, name);
        DEFT_TRY(deft_onnx_tensor_read(r->ctx, proto->t, name, r->options->folder, &attr->tensor));
        return deft_arena_adopt(r->scratch, attr->tensor.data);
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH:
        return read_body(r, label, proto->g, attr);
    default:
        return deft_fail(r->ctx, DEFT_UNSUPPORTED,
                         "%s: its attribute '%.64s' has the type %d, which Deft does not read", label, name,
                         (int)proto->type);
    }
}

static deft_status read_attrs(reader *r, const char *label, const Onnx__NodeProto *proto, deft_attr **attrs) {
    if (proto->n_attribute > MAX_ATTRIBUTES)
        return deft_fail(r->ctx, DEFT_INVALID, "%s has %zu attributes; no operator has so many", label,
                         proto->n_attribute);
    DEFT_TRY(deft_arena_array(r->scratch, proto->n_attribute, sizeof **attrs, attrs));
    for (size_t i = 0; i < proto->n_attribute; i++) {
        const char *name = text_of(proto->attribute[i]->name);
        for (size_t j = 0; j < i; j++)
            if (strcmp((*attrs)[j].name, name) == 0)
                return deft_fail(r->ctx, DEFT_INVALID, "%s has two attributes '%.64s'", label, name);
        DEFT_TRY(read_attr(r, label, proto->attribute[i], &(*attrs)[i]));
    }
    return DEFT_OK;
}

/* ---- nodes --------------------------------------------------------------------------------------------------- */

/* As deft_node_label, before there is a node. */
static const char *label_of(const Onnx__NodeProto *proto, char *out, size_t bytes) {
    const char *op = text_of(proto->op_type), *name = text_of(proto->name);
    if (*name)
        snprintf(out, bytes, "%.32s '%.64s'", op, name);
    else
        snprintf(out, bytes, "%.32s making '%.64s'", op, proto->n_output ? text_of(proto->output[0]) : "");
    return out;
}

/* Absent ones at the end do not count. */
static size_t count_names(char *const *names, size_t count) {
    while (count && !*text_of(names[count - 1]))
        count--;
    return count;
}

/* The value ids of names, made where they are new. */
static deft_status find_values(reader *r, char *const *names, size_t count, int *ids) {
    for (size_t i = 0; i < count; i++) {
        ids[i] = DEFT_NO_VALUE;
        if (!*text_of(names[i])) continue;
        ids[i] = deft_graph_find(r->graph, names[i]);
        if (ids[i] == DEFT_NO_VALUE) DEFT_TRY(deft_graph_add_value(r->graph, names[i], &ids[i]));
    }
    return DEFT_OK;
}

static deft_status check_not_made(reader *r, const char *label, const int *out, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const deft_value *value = out[i] == DEFT_NO_VALUE ? NULL : &r->graph->values[out[i]];
        if (value && (value->input || value->desc.data || value->producer >= 0))
            return deft_fail(r->ctx, DEFT_INVALID,
                             "%s makes '%.64s', which is made elsewhere too; names must be unique", label, value->name);
    }
    return DEFT_OK;
}

/* Operators that no operator set up to the 6th has changed. */
static bool is_as_old(deft_op op) {
    static const deft_op old[] = {
        DEFT_OP_GLOBAL_AVERAGE_POOL, DEFT_OP_GLOBAL_MAX_POOL, DEFT_OP_NOT, DEFT_OP_SOFTPLUS, DEFT_OP_SOFTSIGN,
        DEFT_OP_TRANSPOSE,           DEFT_OP_CONSTANT};
    for (size_t i = 0; i < sizeof old / sizeof *old; i++)
        if (old[i] == op) return true;
    return false;
}

static deft_status find_op(reader *r, const Onnx__NodeProto *proto, const char *label, deft_op *op) {
    if (!*text_of(proto->op_type)) return deft_fail(r->ctx, DEFT_INVALID, "a node %s has no operator", label);
    if (!is_onnx_domain(proto->domain))
        return deft_fail(r->ctx, DEFT_UNSUPPORTED, "%s: Deft has no operators of the domain '%.64s'", label,
                         proto->domain);
    *op = deft_op_find("", proto->op_type);
    if (*op == DEFT_OP_COUNT)
        return deft_fail(r->ctx, DEFT_UNSUPPORTED, "%s: Deft does not have the operator %.64s", label, proto->op_type);
    if (r->graph->opset < FIRST_OPSET && !is_as_old(*op))
        return deft_fail(
            r->ctx, DEFT_UNSUPPORTED,
            "%s: the model uses operator set %d, where Deft does not read this operator; it reads %d to %d", label,
            r->graph->opset, FIRST_OPSET, LAST_OPSET);
    return DEFT_OK;
}

static deft_status check_broadcast(reader *r, deft_op op, const char *label, const deft_attrs *attrs) {
    bool elementwise = op == DEFT_OP_ADD || op == DEFT_OP_SUB || op == DEFT_OP_MUL || op == DEFT_OP_DIV;
    if (r->graph->opset >= NUMPY_BROADCAST_OPSET || !elementwise || !deft_attr_find(attrs, "axis")) return DEFT_OK;
    return deft_fail(r->ctx, DEFT_UNSUPPORTED,
                     "%s broadcasts along an axis, as operator set 6 does; convert the model to 7 or later", label);
}

/* A Constant node becomes a constant. */
static deft_status read_constant(reader *r, const char *label, const deft_attrs *attrs, const int *out,
                                 size_t out_count) {
    if (attrs->count != 1 || out_count != 1)
        return deft_fail(r->ctx, DEFT_INVALID, "%s: one attribute and one output are expected", label);
    const deft_attr *attr = &attrs->items[0];
    deft_tensor tensor = {.rank = attr->type == DEFT_ATTR_INTS || attr->type == DEFT_ATTR_FLOATS,
                          .dims = {attr->count}};
    int64_t i = attr->i;
    float f = attr->f;
    switch (attr->type) {
    case DEFT_ATTR_TENSOR: /* in a block, which the scratch memory has too */
        deft_retain(attr->tensor.data);
        return deft_graph_take_constant(r->graph, out[0], &attr->tensor);
    case DEFT_ATTR_INT:
        tensor.dtype = DEFT_I64;
        tensor.data = &i;
        break;
    case DEFT_ATTR_FLOAT:
        tensor.dtype = DEFT_F32;
        tensor.data = &f;
        break;
    case DEFT_ATTR_INTS:
        tensor.dtype = DEFT_I64;
        tensor.data = (void *)attr->ints;
        break;
    case DEFT_ATTR_FLOATS:
        tensor.dtype = DEFT_F32;
        tensor.data = (void *)attr->floats;
        break;
    case DEFT_ATTR_STRING:
    case DEFT_ATTR_STRINGS:
        return deft_fail(r->ctx, DEFT_UNSUPPORTED, "%s: Deft has no strings", label);
    case DEFT_ATTR_GRAPH: /* refused already */
        break;
    }
    return deft_graph_set_constant(r->graph, out[0], &tensor);
}

static deft_status check_arity(reader *r, const char *label, const char *what, size_t count, int most) {
    if (count <= (size_t)most) return DEFT_OK;
    return deft_fail(r->ctx, DEFT_UNSUPPORTED, "%s has %zu %s; Deft has the operator with at most %d", label, count,
                     what, most);
}

/* Before they are read. */
static deft_status check_bodies(reader *r, const char *label, deft_op op, const Onnx__NodeProto *proto) {
    bool control = deft_node_is_control(&(deft_node){.op = op});
    for (size_t i = 0; i < proto->n_attribute && !control; i++)
        if (proto->attribute[i]->type == ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH)
            return deft_fail(r->ctx, DEFT_UNSUPPORTED, "%s: its attribute '%.64s' is a graph; the operator has none",
                             label, text_of(proto->attribute[i]->name));
    return DEFT_OK;
}

/* The value ids of a node's inputs; of control flow also of the values around it that its graphs use, which stand after
 * as many inputs as these graphs are given (of Loop: absent ones too). */
static deft_status read_inputs_of(reader *r, const Onnx__NodeProto *proto, size_t in_count, const deft_attrs *attrs,
                                  int **in, int *count) {
    size_t capacity = in_count;
    for (int i = 0; i < attrs->count; i++)
        if (attrs->items[i].type == DEFT_ATTR_GRAPH) capacity += (size_t)attrs->items[i].graph->input_count;
    DEFT_TRY(deft_arena_array(r->scratch, capacity, sizeof **in, in));
    DEFT_TRY(find_values(r, proto->input, in_count, *in));
    for (int i = 0; i < attrs->count; i++) {
        if (attrs->items[i].type != DEFT_ATTR_GRAPH) continue;
        const deft_graph *body = attrs->items[i].graph;
        while (in_count < (size_t)attrs->items[i].i)
            (*in)[in_count++] = DEFT_NO_VALUE;
        for (int64_t j = attrs->items[i].i; j < body->input_count; j++)
            DEFT_TRY(find_values(r, (char *[]){(char *)body->values[body->inputs[j]].name}, 1, &(*in)[in_count++]));
    }
    *count = (int)in_count;
    return DEFT_OK;
}

static deft_status read_node(reader *r, const Onnx__NodeProto *proto) {
    char label[DEFT_NODE_LABEL_BYTES];
    label_of(proto, label, sizeof label);
    deft_op op = DEFT_OP_COUNT;
    DEFT_TRY(find_op(r, proto, label, &op));
    size_t in_count = count_names(proto->input, proto->n_input);
    size_t out_count = count_names(proto->output, proto->n_output);
    DEFT_TRY(check_arity(r, label, "inputs", in_count, deft_ops[op].max_in));
    DEFT_TRY(check_arity(r, label, "outputs", out_count, deft_ops[op].max_out));
    int *in, *out, node, all_in_count;
    deft_attr *attrs;
    DEFT_TRY(check_bodies(r, label, op, proto));
    DEFT_TRY(read_attrs(r, label, proto, &attrs));
    deft_attrs all = {attrs, (int)proto->n_attribute};
    DEFT_TRY(read_inputs_of(r, proto, in_count, &all, &in, &all_in_count));
    DEFT_TRY(deft_arena_array(r->scratch, out_count + (size_t)deft_ops[op].min_out, sizeof *out, &out));
    DEFT_TRY(find_values(r, proto->output, out_count, out));
    DEFT_TRY(check_not_made(r, label, out, out_count));
    for (int i = 0; out_count > 0 && i < deft_ops[op].min_out;
         i++) { /* what the operator makes in any case, it uses as its memory */
        if ((size_t)i >= out_count) out[out_count++] = DEFT_NO_VALUE;
        if (out[i] == DEFT_NO_VALUE) DEFT_TRY(deft_graph_add_value(r->graph, NULL, &out[i]));
    }
    DEFT_TRY(check_broadcast(r, op, label, &all));
    if (op == DEFT_OP_CONSTANT) return read_constant(r, label, &all, out, out_count);
    return deft_graph_add_node(r->graph, op, text_of(proto->name), attrs, all.count, in, all_in_count, out,
                               (int)out_count, &node);
}

/* ---- outputs and checks -------------------------------------------------------------------------------------- */

static deft_status read_outputs(reader *r) {
    if (r->proto->n_output == 0) return deft_fail(r->ctx, DEFT_INVALID, "the model has no outputs");
    for (size_t i = 0; i < r->proto->n_output; i++) {
        const char *name = text_of(r->proto->output[i]->name);
        int value = deft_graph_find(r->graph, name);
        if (value == DEFT_NO_VALUE && !r->body)
            return deft_fail(r->ctx, DEFT_INVALID, "output '%.64s': no node makes it", name);
        if (value == DEFT_NO_VALUE) DEFT_TRY(deft_graph_add_value(r->graph, name, &value));
        for (int j = 0; j < r->graph->output_count && !r->body; j++)
            if (r->graph->outputs[j] == value)
                return deft_fail(r->ctx, DEFT_INVALID, "output '%.64s' is listed twice", name);
        DEFT_TRY(deft_graph_add_output(r->graph, value));
    }
    return DEFT_OK;
}

/* A network with a weight that is not finite computes nothing of use: its training diverged, or the file is damaged. */
static deft_status check_weights(reader *r) {
    for (int i = 0; i < r->graph->node_count; i++) {
        const deft_node *node = &r->graph->nodes[i];
        if (node->op != DEFT_OP_GEMM && node->op != DEFT_OP_MATMUL && node->op != DEFT_OP_CONV) continue;
        for (int j = 0; j < node->in_count; j++) {
            const deft_value *value = node->in[j] == DEFT_NO_VALUE ? NULL : &r->graph->values[node->in[j]];
            int64_t at = value && value->desc.data ? deft_tensor_find_not_finite(&value->desc) : -1;
            char label[DEFT_NODE_LABEL_BYTES];
            if (at >= 0)
                return deft_fail(r->ctx, DEFT_INVALID,
                                 "tensor '%.64s', a weight of %s: element %lld is not a finite number; the file is "
                                 "damaged, or training diverged",
                                 value->name, deft_node_label(r->graph, node, label, sizeof label), (long long)at);
        }
    }
    return DEFT_OK;
}

static bool has_symbolic_dims(const deft_graph *graph) {
    for (int i = 0; i < graph->input_count; i++)
        for (int j = 0; j < DEFT_MAX_RANK; j++)
            if (graph->values[graph->inputs[i]].dim_names[j]) return true;
    return false;
}

/* What the file declares of an output must be what its node makes; the names of its symbolic dims are kept. An output
 * may be declared without a type, or without a shape; exporters get that of a model with symbolic dims wrong now and
 * then.
 */
static deft_status check_output(reader *r, const Onnx__ValueInfoProto *info, deft_value *value, bool symbolic) {
    if (!has_shape(info)) return DEFT_OK;
    deft_tensor declared;
    const char *dim_names[DEFT_MAX_RANK] = {0};
    DEFT_TRY(read_type(r, "output", info, &declared, dim_names));
    bool fits = declared.dtype == value->desc.dtype, same_rank = declared.rank == value->desc.rank;
    for (int i = 0; fits && !symbolic && i < declared.rank; i++)
        fits = same_rank && (declared.dims[i] == -1 || declared.dims[i] == value->desc.dims[i]);
    if (!fits) {
        char expected[DEFT_SHAPE_TEXT_BYTES], got[DEFT_SHAPE_TEXT_BYTES];
        return deft_fail(r->ctx, DEFT_INVALID, "output '%.64s' is declared as %s %s, but the graph makes %s %s",
                         value->name, deft_dtype_name(declared.dtype),
                         deft_shape_text(&declared, expected, sizeof expected), deft_dtype_name(value->desc.dtype),
                         deft_shape_text(&value->desc, got, sizeof got));
    }
    return same_rank ? keep_dim_names(r, dim_names, value) : DEFT_OK;
}

static deft_status keep_declared_outputs(reader *r) {
    for (size_t i = 0; i < r->proto->n_output; i++) {
        int id = r->graph->outputs[i];
        if (!r->graph->values[id].known && !r->graph->values[id].input)
            DEFT_TRY(keep_declared(r, "output", r->proto->output[i], id));
    }
    return DEFT_OK;
}

static deft_status check_shapes(reader *r) {
    bool symbolic = has_symbolic_dims(r->graph);
    bool complete;
    deft_status status = deft_graph_infer_unchanged(r->graph, &complete);
    bool undecided = symbolic && (status == DEFT_INVALID || status == DEFT_UNSUPPORTED);
    if (undecided || (status == DEFT_OK && !complete)) {
        deft_graph_forget_shapes(r->graph);
        return keep_declared_outputs(r);
    }
    DEFT_TRY(status);
    for (size_t i = 0; i < r->proto->n_output; i++) {
        deft_value *value = &r->graph->values[r->graph->outputs[i]];
        if (!value->input) DEFT_TRY(check_output(r, r->proto->output[i], value, symbolic));
    }
    return DEFT_OK;
}

/* Where findings are asked for, what is missing for one node is noted, and the rest is read for more. */
static deft_status note_missing(reader *r, deft_status status) {
    if (status != DEFT_UNSUPPORTED || !r->options->missing) return status;
    r->options->missing(r->options->user, r->ctx->message);
    ++*r->missing;
    return DEFT_OK;
}

static deft_status read_graph(reader *r) {
    DEFT_TRY(read_initializers(r));
    DEFT_TRY(r->body ? read_body_inputs(r) : read_inputs(r));
    for (size_t i = 0; i < r->proto->n_node; i++)
        DEFT_TRY(note_missing(r, read_node(r, r->proto->node[i])));
    if (*r->missing) return DEFT_OK;
    DEFT_TRY(read_outputs(r));
    if (r->body) DEFT_TRY(declare_values_around(r));
    DEFT_TRY(deft_graph_verify(r->graph));
    return check_weights(r);
}

/* The graph of a control-flow attribute; it belongs to the one that it is in. */
static deft_status read_body(reader *r, const char *label, const Onnx__GraphProto *proto, deft_attr *attr) {
    reader inner = {.ctx = r->ctx,
                    .scratch = r->scratch,
                    .options = r->options,
                    .missing = r->missing,
                    .proto = proto,
                    .body = true};
    if (!proto) return deft_fail(r->ctx, DEFT_INVALID, "%s: its attribute '%.64s' holds no graph", label, attr->name);
    DEFT_TRY(check_size(r, "inputs in a graph of control flow", proto->n_input));
    DEFT_TRY(check_size(r, "outputs in a graph of control flow", proto->n_output));
    DEFT_TRY(deft_graph_new(r->ctx, &inner.graph));
    inner.graph->opset = r->graph->opset;
    deft_status status = deft_graph_adopt_body(r->graph, inner.graph);
    if (status != DEFT_OK) {
        deft_graph_free(inner.graph);
        return status;
    }
    attr->type = DEFT_ATTR_GRAPH;
    attr->graph = inner.graph;
    attr->i = (int64_t)proto->n_input;
    status = read_graph(&inner);
    return status == DEFT_OK ? DEFT_OK : deft_fail_in(r->ctx, status, "in %s", label);
}

static deft_status read_model(reader *r, deft_stream *stream) {
    DEFT_TRY(deft_wire_unpack(r->scratch, &onnx__model_proto__descriptor, stream, &r->model));
    DEFT_TRY(deft_graph_new(r->ctx, &r->graph));
    DEFT_TRY(read_header(r));
    DEFT_TRY(read_graph(r));
    if (*r->missing) return deft_fail(r->ctx, DEFT_UNSUPPORTED, "%d of its nodes cannot run, as was said", *r->missing);
    return check_shapes(r);
}

deft_status deft_onnx_read(deft_stream *stream, const deft_onnx_options *options, deft_graph **graph) {
    deft_arena scratch;
    int missing = 0;
    reader r = {.ctx = stream->ctx, .scratch = &scratch, .options = options, .missing = &missing};
    deft_arena_init(&scratch, stream->ctx);
    deft_status status = read_model(&r, stream);
    deft_arena_done(&scratch);
    if (status == DEFT_OK)
        *graph = r.graph;
    else
        deft_graph_free(r.graph);
    return status;
}

deft_status deft_onnx_parse_with(deft_context *ctx, const void *data, size_t bytes, const deft_onnx_options *options,
                                 deft_graph **graph) {
    deft_stream stream = deft_stream_of_memory(ctx, data, bytes);
    return deft_onnx_read(&stream, options, graph);
}

deft_status deft_onnx_parse(deft_context *ctx, const void *data, size_t bytes, deft_graph **graph) {
    return deft_onnx_parse_with(ctx, data, bytes, &(deft_onnx_options){0}, graph);
}

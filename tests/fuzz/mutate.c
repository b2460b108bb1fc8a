#include "mutate.h"

#include "ir/op/op.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const texts[] = {"",
                                    "NOTSET",
                                    "SAME_UPPER",
                                    "SAME_LOWER",
                                    "VALID",
                                    "linear",
                                    "nearest",
                                    "cubic",
                                    "constant",
                                    "edge",
                                    "reflect",
                                    "wrap",
                                    "floor",
                                    "ceil",
                                    "round_prefer_floor",
                                    "round_prefer_ceil",
                                    "asymmetric",
                                    "align_corners",
                                    "half_pixel",
                                    "pytorch_half_pixel",
                                    "tf_crop_and_resize",
                                    "forward",
                                    "reverse",
                                    "bidirectional",
                                    "Tanh",
                                    "Relu",
                                    "Sigmoid",
                                    "Affine",
                                    "ij,jk->ik",
                                    "ii->i",
                                    "...ij->...ji",
                                    "a,b,c,d,e->",
                                    "->",
                                    "i->ii",
                                    ",",
                                    "...",
                                    "ij,ij,ij,ij->",
                                    "ab,cd,ef,gh,ij,kl,mn,op->",
                                    "add",
                                    "mul",
                                    "min",
                                    "max",
                                    "none",
                                    "DCR",
                                    "CRD",
                                    "tanh",
                                    "bilinear",
                                    "zeros",
                                    "border",
                                    "reflection",
                                    "../../etc/passwd",
                                    "%s%n\x01\xff",
                                    "location",
                                    "offset",
                                    "length"};

static const char *const attribute_names[] = {"axis",
                                              "axes",
                                              "keepdims",
                                              "group",
                                              "kernel_shape",
                                              "pads",
                                              "strides",
                                              "dilations",
                                              "perm",
                                              "to",
                                              "auto_pad",
                                              "ceil_mode",
                                              "count_include_pad",
                                              "storage_order",
                                              "output_padding",
                                              "output_shape",
                                              "alpha",
                                              "beta",
                                              "epsilon",
                                              "transA",
                                              "transB",
                                              "value",
                                              "mode",
                                              "fmod",
                                              "blocksize",
                                              "size",
                                              "bias",
                                              "split",
                                              "num_outputs",
                                              "largest",
                                              "sorted",
                                              "select_last_index",
                                              "exclusive",
                                              "direction",
                                              "hidden_size",
                                              "activations",
                                              "clip",
                                              "layout",
                                              "linear_before_reset",
                                              "equation",
                                              "upper",
                                              "batch_dims",
                                              "reduction",
                                              "then_branch",
                                              "else_branch",
                                              "body",
                                              "noop_with_empty_axes",
                                              "allowzero",
                                              "starts",
                                              "ends",
                                              "steps",
                                              "start",
                                              "end",
                                              "dtype",
                                              "value_ints",
                                              "value_int",
                                              "value_floats",
                                              "center_point_box",
                                              "antialias",
                                              "exclude_outside",
                                              "coordinate_transformation_mode",
                                              "nearest_mode",
                                              "cubic_coeff_a",
                                              "align_corners",
                                              "padding_mode",
                                              "k",
                                              "training_mode",
                                              "seed",
                                              "p",
                                              "spatial"};

#define COUNT(ARRAY)     (sizeof(ARRAY) / sizeof *(ARRAY))
#define ONE_OF(M, ARRAY) ((ARRAY)[below((M)->rng, COUNT(ARRAY))])

typedef struct mutation {
    deft_arena *arena;
    deft_rng *rng;
} mutation;

static size_t below(deft_rng *rng, size_t bound) {
    return (size_t)deft_rng_below(rng, bound);
}

static bool one_in(mutation *m, size_t n) {
    return below(m->rng, n) == 0;
}

int64_t mutate_number(deft_rng *rng) {
    static const int64_t edges[] = {INT64_MIN,
                                    INT64_MIN + 1,
                                    INT32_MIN,
                                    -65536,
                                    -1000,
                                    64,
                                    1000,
                                    65536,
                                    INT32_MAX,
                                    (int64_t)INT32_MAX + 1,
                                    UINT32_MAX,
                                    (int64_t)1 << 32,
                                    (int64_t)1 << 40,
                                    (int64_t)1 << 47,
                                    (int64_t)1 << 62,
                                    INT64_MAX / 2,
                                    INT64_MAX - 1,
                                    INT64_MAX};
    return below(rng, 3) ? (int64_t)below(rng, 12) - 3 : edges[below(rng, COUNT(edges))];
}

float mutate_real(deft_rng *rng) {
    static const float edges[] = {0,      -0.0f, 1,     -1,       0.5f,      2,   1e-45f,
                                  1e-38f, 1e9f,  3e38f, INFINITY, -INFINITY, NAN, 1e19f};
    return below(rng, 3) ? deft_rng_normal(rng) : edges[below(rng, COUNT(edges))];
}

/* ---- memory -------------------------------------------------------------------------------------------------- */

static void *make(mutation *m, size_t bytes) {
    void *memory;
    if (deft_arena_allocate(m->arena, bytes, &memory) != DEFT_OK) abort();
    return memory;
}

/* A copy of an array with room for one more element. */
static void *grown(mutation *m, const void *items, size_t count, size_t size) {
    char *copy = make(m, (count + 1) * size);
    if (count) memcpy(copy, items, count * size);
    return copy;
}

#define APPEND(M, ITEMS, COUNT_FIELD, ITEM)                                                                            \
    do {                                                                                                               \
        (ITEMS) = grown((M), (ITEMS), (COUNT_FIELD), sizeof *(ITEMS));                                                 \
        (ITEMS)[(COUNT_FIELD)++] = (ITEM);                                                                             \
    } while (0)

#define REMOVE(ITEMS, COUNT_FIELD, AT)                                                                                 \
    do {                                                                                                               \
        memmove((ITEMS) + (AT), (ITEMS) + (AT) + 1, ((COUNT_FIELD) - (AT)-1) * sizeof *(ITEMS));                       \
        (COUNT_FIELD)--;                                                                                               \
    } while (0)

static char *text(const char *constant) {
    return (char *)constant; /* protobuf-c's fields are not const; nothing writes to them */
}

static ProtobufCBinaryData bytes_of(mutation *m) {
    if (one_in(m, 20)) {
        ProtobufCBinaryData longer = {below(m->rng, 20000), NULL};
        longer.data = make(m, longer.len + 1);
        memset(longer.data, 'a', longer.len);
        return longer;
    }
    const char *chosen = ONE_OF(m, texts);
    return (ProtobufCBinaryData){strlen(chosen), (uint8_t *)text(chosen)};
}

/* ---- tensors ------------------------------------------------------------------------------------------------- */

/* Mostly one that Deft has. */
static int32_t any_type(mutation *m) {
    int32_t type = (int32_t)below(m->rng, 20);
    while (deft_dtype_bytes((deft_dtype)type) == 0 && !one_in(m, 10))
        type = (int32_t)below(m->rng, 20);
    return type;
}

static void set_dims(mutation *m, Onnx__TensorProto *tensor, size_t rank) {
    tensor->dims = make(m, rank * sizeof *tensor->dims);
    tensor->n_dims = rank;
    for (size_t i = 0; i < rank; i++)
        tensor->dims[i] = (int64_t)below(m->rng, 5);
}

static void clear_values(Onnx__TensorProto *tensor) {
    tensor->n_float_data = tensor->n_double_data = tensor->n_int32_data = tensor->n_int64_data = tensor->n_uint64_data =
        tensor->n_string_data = 0;
}

/* Writes a number, or a real, over one element of raw data. */
static void poke(mutation *m, ProtobufCBinaryData *raw, size_t size) {
    int64_t number = mutate_number(m->rng);
    double wide = (double)mutate_real(m->rng);
    float narrow = (float)wide;
    bool real = one_in(m, 2);
    const void *value = !real ? (void *)&number : size == 8 ? (void *)&wide : (void *)&narrow;
    if (size && raw->len >= size) memcpy(raw->data + below(m->rng, raw->len / size) * size, value, size);
}

/* Another shape with data of the right length. */
static void reshape(mutation *m, Onnx__TensorProto *tensor) {
    size_t size = deft_dtype_bytes((deft_dtype)tensor->data_type), count = 1;
    set_dims(m, tensor, below(m->rng, 5));
    for (size_t i = 0; i < tensor->n_dims; i++)
        count *= (size_t)tensor->dims[i];
    clear_values(tensor);
    tensor->has_raw_data = 1;
    tensor->raw_data = (ProtobufCBinaryData){count * size, make(m, count * size + 1)};
    for (size_t i = 0; i < count; i++)
        poke(m, &tensor->raw_data, size);
}

static void make_external(mutation *m, Onnx__TensorProto *tensor) {
    for (int i = 0; i < 3; i++) {
        Onnx__StringStringEntryProto *entry = make(m, sizeof *entry);
        onnx__string_string_entry_proto__init(entry);
        entry->key = text(i == 0 ? "location" : i == 1 ? "offset" : "length");
        entry->value = text(i == 0 || one_in(m, 4) ? ONE_OF(m, texts) : one_in(m, 2) ? "-1" : "18446744073709551615");
        APPEND(m, tensor->external_data, tensor->n_external_data, entry);
    }
    tensor->has_data_location = 1;
    tensor->data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
}

static void mutate_typed(mutation *m, Onnx__TensorProto *tensor) {
    if (tensor->n_float_data) tensor->float_data[below(m->rng, tensor->n_float_data)] = mutate_real(m->rng);
    if (tensor->n_double_data) tensor->double_data[below(m->rng, tensor->n_double_data)] = (double)mutate_real(m->rng);
    if (tensor->n_int64_data) tensor->int64_data[below(m->rng, tensor->n_int64_data)] = mutate_number(m->rng);
    if (tensor->n_int32_data) tensor->int32_data[below(m->rng, tensor->n_int32_data)] = (int32_t)mutate_number(m->rng);
    if (tensor->n_int64_data && one_in(m, 4)) tensor->n_int64_data--;
    if (tensor->n_float_data && one_in(m, 4)) tensor->n_float_data--;
}

static void mutate_tensor(mutation *m, Onnx__TensorProto *tensor) {
    switch (below(m->rng, 10)) {
    case 0:
        tensor->data_type = any_type(m);
        return;
    case 1:
        if (tensor->n_dims) tensor->dims[below(m->rng, tensor->n_dims)] = mutate_number(m->rng);
        return;
    case 2:
        if (tensor->n_dims) tensor->n_dims--;
        return;
    case 3:
        APPEND(m, tensor->dims, tensor->n_dims, one_in(m, 2) ? 1 : mutate_number(m->rng));
        return;
    case 4:
        if (tensor->raw_data.len) tensor->raw_data.len = below(m->rng, tensor->raw_data.len);
        return;
    case 5:
        if (one_in(m, 4)) make_external(m, tensor);
        return;
    case 6:
    case 7:
        reshape(m, tensor);
        return;
    case 8:
        mutate_typed(m, tensor);
        return;
    default:
        poke(m, &tensor->raw_data, deft_dtype_bytes((deft_dtype)tensor->data_type));
        return;
    }
}

/* ---- names --------------------------------------------------------------------------------------------------- */

/* The name of some value of the graph; never NULL, which protobuf-c cannot pack. */
static char *any_name(mutation *m, const Onnx__GraphProto *graph) {
    char *name = NULL;
    const Onnx__NodeProto *node = graph->n_node ? graph->node[below(m->rng, graph->n_node)] : NULL;
    size_t what = below(m->rng, 8);
    if (what == 0 && one_in(m, 3)) return text("");
    if (what == 1 && graph->n_initializer)
        name = graph->initializer[below(m->rng, graph->n_initializer)]->name;
    else if (what < 4 && graph->n_input)
        name = graph->input[below(m->rng, graph->n_input)]->name;
    else if (node && node->n_output)
        name = node->output[below(m->rng, node->n_output)];
    return name ? name : text("x");
}

static char *fresh_name(mutation *m) {
    enum { BYTES = 32 };
    char *name = make(m, BYTES);
    snprintf(name, BYTES, "fresh_%llx", (unsigned long long)deft_rng_u64(m->rng));
    return name;
}

/* ---- nodes --------------------------------------------------------------------------------------------------- */

static void mutate_graph(mutation *m, Onnx__GraphProto *graph);

static void mutate_ints(mutation *m, Onnx__AttributeProto *attr) {
    size_t what = below(m->rng, 4);
    if (what == 0) {
        APPEND(m, attr->ints, attr->n_ints, mutate_number(m->rng));
    } else if (what == 1 && attr->n_ints) {
        attr->n_ints--;
    } else if (attr->n_ints) {
        attr->ints[below(m->rng, attr->n_ints)] = mutate_number(m->rng);
    }
}

static void mutate_value(mutation *m, Onnx__AttributeProto *attr) {
    switch (attr->type) {
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT:
        attr->has_f = 1;
        attr->f = mutate_real(m->rng);
        return;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING:
        attr->has_s = 1;
        attr->s = bytes_of(m);
        return;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR:
        if (attr->t) mutate_tensor(m, attr->t);
        return;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH:
        if (attr->g) mutate_graph(m, attr->g);
        return;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS:
        if (attr->n_floats) attr->floats[below(m->rng, attr->n_floats)] = mutate_real(m->rng);
        return;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS:
        mutate_ints(m, attr);
        return;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRINGS:
        if (one_in(m, 2) || attr->n_strings == 0)
            APPEND(m, attr->strings, attr->n_strings, bytes_of(m));
        else
            attr->strings[below(m->rng, attr->n_strings)] = bytes_of(m);
        return;
    default:
        attr->has_i = 1;
        attr->i = mutate_number(m->rng);
    }
}

/* Sets an attribute of any name to a value of a type that is likely for it. */
static void add_attribute(mutation *m, Onnx__NodeProto *node) {
    static const Onnx__AttributeProto__AttributeType types[] = {
        ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS,
        ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING,
        ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRINGS};
    Onnx__AttributeProto *attr = make(m, sizeof *attr);
    onnx__attribute_proto__init(attr);
    attr->name = text(ONE_OF(m, attribute_names));
    attr->has_type = 1;
    attr->type = ONE_OF(m, types);
    for (size_t i = below(m->rng, 5) + 1; i > 0; i--)
        mutate_value(m, attr);
    APPEND(m, node->attribute, node->n_attribute, attr);
}

static void mutate_attribute(mutation *m, Onnx__NodeProto *node) {
    if (node->n_attribute == 0 || one_in(m, 4)) {
        add_attribute(m, node);
        return;
    }
    size_t at = below(m->rng, node->n_attribute);
    Onnx__AttributeProto *attr = node->attribute[at];
    switch (below(m->rng, 12)) {
    case 0:
        attr->has_type = 1;
        attr->type = (Onnx__AttributeProto__AttributeType)below(m->rng, 16);
        return;
    case 1:
        attr->name = text(ONE_OF(m, attribute_names));
        return;
    case 2:
        REMOVE(node->attribute, node->n_attribute, at);
        return;
    default:
        mutate_value(m, attr);
    }
}

static void mutate_inputs(mutation *m, const Onnx__GraphProto *graph, Onnx__NodeProto *node) {
    size_t what = below(m->rng, 5);
    if (what == 0 || node->n_input == 0) {
        APPEND(m, node->input, node->n_input, any_name(m, graph));
        return;
    }
    size_t at = below(m->rng, node->n_input), other = below(m->rng, node->n_input);
    char *name = node->input[at];
    if (what == 1) {
        node->n_input--;
    } else if (what == 2) {
        node->input[at] = node->input[other];
        node->input[other] = name;
    } else if (what == 3 && node->n_output && one_in(m, 4)) {
        node->input[at] = node->output[0];
    } else {
        node->input[at] = any_name(m, graph);
    }
}

static void mutate_outputs(mutation *m, const Onnx__GraphProto *graph, Onnx__NodeProto *node) {
    size_t what = below(m->rng, 4);
    if (what == 0 && node->n_output)
        node->n_output--;
    else if (what == 1 || node->n_output == 0)
        APPEND(m, node->output, node->n_output, text("extra"));
    else
        node->output[below(m->rng, node->n_output)] = any_name(m, graph);
}

/* Mostly one that takes as many inputs as there are. */
static size_t any_op(mutation *m, const Onnx__NodeProto *node) {
    size_t op = below(m->rng, DEFT_OP_COUNT);
    for (int tries = 0; tries < 20 && !one_in(m, 40); tries++) {
        bool fits = node->n_input >= (size_t)deft_ops[op].min_in && node->n_input <= (size_t)deft_ops[op].max_in;
        if (fits && deft_ops[op].domain[0] == 0) break;
        op = below(m->rng, DEFT_OP_COUNT);
    }
    return op;
}

static void mutate_node(mutation *m, Onnx__GraphProto *graph, Onnx__NodeProto *node) {
    switch (below(m->rng, 8)) {
    case 0:
    case 1:
        node->op_type = text(deft_ops[any_op(m, node)].name);
        return;
    case 2:
        mutate_inputs(m, graph, node);
        return;
    case 3:
        mutate_outputs(m, graph, node);
        return;
    case 4:
        if (one_in(m, 4)) node->domain = text(ONE_OF(m, texts));
        return;
    default:
        mutate_attribute(m, node);
    }
}

/* ---- graphs -------------------------------------------------------------------------------------------------- */

static void mutate_shape(mutation *m, Onnx__TypeProto__Tensor *type) {
    if (!type->shape || one_in(m, 12)) {
        type->shape = NULL;
        return;
    }
    if (type->shape->n_dim && one_in(m, 6)) {
        type->shape->n_dim--;
        return;
    }
    if (type->shape->n_dim == 0 || one_in(m, 6)) {
        Onnx__TensorShapeProto__Dimension *added = make(m, sizeof *added);
        onnx__tensor_shape_proto__dimension__init(added);
        APPEND(m, type->shape->dim, type->shape->n_dim, added);
    }
    Onnx__TensorShapeProto__Dimension *dim = type->shape->dim[below(m->rng, type->shape->n_dim)];
    if (one_in(m, 4)) {
        dim->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
        dim->dim_param = text(one_in(m, 2) ? "N" : ONE_OF(m, texts));
    } else {
        dim->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        dim->dim_value = mutate_number(m->rng);
    }
}

static void mutate_info(mutation *m, Onnx__GraphProto *graph, Onnx__ValueInfoProto *info) {
    Onnx__TypeProto *type = info->type;
    bool tensor = type && type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE && type->tensor_type;
    if (one_in(m, 8) || !tensor)
        info->name = any_name(m, graph);
    else if (one_in(m, 3))
        type->tensor_type->elem_type = any_type(m);
    else
        mutate_shape(m, type->tensor_type);
}

/* Each of up to 60 new nodes takes what the one before it made, twice: sizes that double. */
static void add_chain(mutation *m, Onnx__GraphProto *graph) {
    static const char *const ops[] = {"Concat", "Add", "MatMul", "Mul", "Gather", "Where", "Tile", "Expand", "Einsum"};
    const char *op = ONE_OF(m, ops);
    char *name = any_name(m, graph);
    for (size_t i = below(m->rng, 60) + 1; i > 0; i--) {
        Onnx__NodeProto *node = make(m, sizeof *node);
        onnx__node_proto__init(node);
        node->op_type = text(op);
        APPEND(m, node->input, node->n_input, name);
        APPEND(m, node->input, node->n_input, name);
        if (strcmp(op, "Where") == 0) APPEND(m, node->input, node->n_input, name);
        if (strcmp(op, "Concat") == 0) add_attribute(m, node), node->attribute[0]->name = text("axis");
        name = fresh_name(m);
        APPEND(m, node->output, node->n_output, name);
        APPEND(m, graph->node, graph->n_node, node);
    }
    if (graph->n_output) graph->output[0]->name = name;
}

/* A node of any operator on values that there are. */
static void add_node(mutation *m, Onnx__GraphProto *graph) {
    Onnx__NodeProto *node = make(m, sizeof *node);
    onnx__node_proto__init(node);
    const deft_op_info *op = &deft_ops[below(m->rng, DEFT_OP_COUNT)];
    node->op_type = text(op->name);
    for (size_t i = (size_t)op->min_in + below(m->rng, (size_t)(op->max_in - op->min_in) % 4 + 1); i > 0; i--)
        APPEND(m, node->input, node->n_input, any_name(m, graph));
    for (size_t i = below(m->rng, 3); i > 0; i--)
        add_attribute(m, node);
    for (int i = 0; i < op->min_out; i++)
        APPEND(m, node->output, node->n_output, fresh_name(m));
    APPEND(m, graph->node, graph->n_node, node);
    if (graph->n_output) graph->output[below(m->rng, graph->n_output)]->name = node->output[0];
}

static void mutate_nodes(mutation *m, Onnx__GraphProto *graph) {
    if (graph->n_node == 0) return;
    size_t at = below(m->rng, graph->n_node), other = below(m->rng, graph->n_node);
    Onnx__NodeProto *node = graph->node[at];
    switch (below(m->rng, 16)) {
    case 0:
        APPEND(m, graph->node, graph->n_node, node);
        return;
    case 1:
        REMOVE(graph->node, graph->n_node, at);
        return;
    case 2:
        graph->node[at] = graph->node[other];
        graph->node[other] = node;
        return;
    case 3:
        add_chain(m, graph);
        return;
    case 4:
    case 5:
        add_node(m, graph);
        return;
    default:
        mutate_node(m, graph, node);
    }
}

static void mutate_initializers(mutation *m, Onnx__GraphProto *graph) {
    if (graph->n_initializer == 0) return;
    size_t at = below(m->rng, graph->n_initializer);
    Onnx__TensorProto *tensor = graph->initializer[at];
    switch (below(m->rng, 12)) {
    case 0:
        APPEND(m, graph->initializer, graph->n_initializer, tensor);
        return;
    case 1:
        REMOVE(graph->initializer, graph->n_initializer, at);
        return;
    case 2:
        tensor->name = any_name(m, graph);
        return;
    default:
        mutate_tensor(m, tensor);
    }
}

static void mutate_graph(mutation *m, Onnx__GraphProto *graph) {
    size_t what = below(m->rng, 12);
    if (what == 0 && graph->n_input)
        mutate_info(m, graph, graph->input[below(m->rng, graph->n_input)]);
    else if (what == 1 && graph->n_input)
        mutate_info(m, graph, graph->input[0]);
    else if (what == 2 && graph->n_output)
        mutate_info(m, graph, graph->output[below(m->rng, graph->n_output)]);
    else if (what == 3 && graph->n_output && one_in(m, 4))
        graph->n_output--;
    else if (what < 7)
        mutate_initializers(m, graph);
    else
        mutate_nodes(m, graph);
}

/* The graph as a branch of an If, that as a branch of an If, and so on. */
static void nest(mutation *m, Onnx__ModelProto *model) {
    for (size_t i = below(m->rng, 60) + 1; i > 0; i--) {
        Onnx__GraphProto *outer = make(m, sizeof *outer);
        Onnx__NodeProto *node = make(m, sizeof *node);
        onnx__graph_proto__init(outer);
        onnx__node_proto__init(node);
        node->op_type = text("If");
        APPEND(m, node->input, node->n_input, any_name(m, model->graph));
        for (size_t j = 0; j < model->graph->n_output; j++)
            APPEND(m, node->output, node->n_output,
                   text(model->graph->output[j]->name ? model->graph->output[j]->name : "y"));
        Onnx__AttributeProto *attr = make(m, sizeof *attr);
        onnx__attribute_proto__init(attr);
        attr->name = text("then_branch");
        attr->has_type = 1;
        attr->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH;
        attr->g = model->graph;
        APPEND(m, node->attribute, node->n_attribute, attr);
        APPEND(m, outer->node, outer->n_node, node);
        outer->output = model->graph->output;
        outer->n_output = model->graph->n_output;
        outer->input = model->graph->input;
        outer->n_input = model->graph->n_input;
        model->graph = outer;
    }
}

void mutate_model(deft_arena *arena, Onnx__ModelProto *model, deft_rng *rng) {
    mutation m = {arena, rng};
    size_t what = below(rng, 90);
    if (what == 0 && model->n_opset_import)
        model->opset_import[0]->version = one_in(&m, 4) ? mutate_number(rng) : 1 + (int64_t)below(rng, 26);
    else if (what == 1 && model->n_opset_import)
        model->opset_import[0]->domain = text(ONE_OF(&m, texts));
    else if (what == 2 && model->graph && one_in(&m, 3))
        nest(&m, model);
    else if (model->graph)
        mutate_graph(&m, model->graph);
}

/* ---- bytes --------------------------------------------------------------------------------------------------- */

size_t mutate_bytes(uint8_t *data, size_t bytes, size_t capacity, deft_rng *rng) {
    static const uint8_t edges[] = {0, 1, 0x7f, 0x80, 0xff, 0xfe, 8, 0x0a, 0x12};
    if (bytes == 0) return 0;
    size_t at = below(rng, bytes), length = below(rng, below(rng, 4) ? 8 : bytes - at + 1) + 1;
    if (length > bytes - at) length = bytes - at;
    switch (below(rng, 6)) {
    case 0:
        return at; /* cut off */
    case 1:
        memmove(data + at, data + at + length, bytes - at - length);
        return bytes - length;
    case 2:
        if (length > capacity - bytes) return bytes;
        memmove(data + at + length, data + at, bytes - at);
        return bytes + length;
    case 3:
        data[at] ^= (uint8_t)(1u << below(rng, 8));
        return bytes;
    case 4:
        for (size_t i = 0; i < length; i++)
            data[at + i] = (uint8_t)below(rng, 256);
        return bytes;
    default:
        data[at] = edges[below(rng, COUNT(edges))];
        return bytes;
    }
}

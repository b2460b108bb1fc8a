#include "tests/unit/models.h"

#include "ir/model/onnx_wire.h"
#include "onnx.pb-c.h"

#include <math.h>
#include <string.h>

/* ---- bytes --------------------------------------------------------------------------------------------------- */

/* A model as messages that a test may change: strings and arrays it puts there stay its own. */
typedef struct messages {
    deft_context *ctx;
    deft_arena arena;
    Onnx__ModelProto *model;
    Onnx__GraphProto *graph;
} messages;

static messages unpack(deft_context *ctx, const char *spec) {
    messages m = {.ctx = ctx};
    void *data;
    size_t bytes;
    make_model(ctx, spec, &data, &bytes);
    deft_arena_init(&m.arena, ctx);
    deft_stream stream = deft_stream_of_memory(ctx, data, bytes);
    assert_int_equal(deft_wire_unpack(&m.arena, &onnx__model_proto__descriptor, &stream, &m.model), DEFT_OK);
    m.graph = m.model->graph;
    deft_release(ctx, data);
    return m;
}

static deft_status parse(messages *m, deft_graph **graph) {
    size_t bytes = onnx__model_proto__get_packed_size(m->model);
    uint8_t *data = malloc(bytes);
    onnx__model_proto__pack(m->model, data);
    deft_status status = deft_onnx_parse(m->ctx, data, bytes, graph);
    free(data);
    return status;
}

static void *allocate(messages *m, size_t bytes) {
    void *memory = NULL;
    assert_int_equal(deft_arena_allocate(&m->arena, bytes, &memory), DEFT_OK);
    return memory;
}

/* ---- there and back ------------------------------------------------------------------------------------------ */

static void assert_same_graph(const deft_graph *a, const deft_graph *b) {
    assert_string_equal(a->name, b->name);
    assert_int_equal(a->opset, b->opset);
    assert_int_equal(a->value_count, b->value_count);
    assert_int_equal(a->node_count, b->node_count);
    for (int i = 0; i < a->value_count; i++) {
        const deft_value *x = &a->values[i];
        int found = deft_graph_find(b, x->name);
        assert_int_not_equal(found, DEFT_NO_VALUE);
        const deft_value *y = &b->values[found];
        assert_int_equal(x->input, y->input);
        assert_int_equal(x->desc.dtype, y->desc.dtype);
        assert_true(deft_shape_equal(&x->desc, &y->desc));
        assert_true(!x->desc.data == !y->desc.data);
        if (x->desc.data) assert_true(deft_tensor_equal(&x->desc, &y->desc));
        for (int j = 0; j < DEFT_MAX_RANK; j++) {
            assert_true(!x->dim_names[j] == !y->dim_names[j]);
            if (x->dim_names[j]) assert_string_equal(x->dim_names[j], y->dim_names[j]);
        }
    }
    for (int i = 0; i < a->node_count; i++) {
        assert_string_equal(a->nodes[i].name, b->nodes[i].name);
        assert_int_equal(a->nodes[i].op, b->nodes[i].op);
        assert_int_equal(a->nodes[i].attrs.count, b->nodes[i].attrs.count);
    }
}

static void test_round_trip(void **state) {
    (void)state;
    static const char *const specs[] = {"lenet-300-100", "lenet-5", "mlp:3,2"};
    deft_context *ctx = test_context();
    for (int i = 0; i < 3; i++) {
        deft_graph *graph, *back;
        void *data, *again;
        size_t bytes, again_bytes;
        assert_int_equal(deft_zoo_build(ctx, specs[i], &graph), DEFT_OK);
        assert_int_equal(deft_graph_set_metadata(graph, "deft.recipe", "{\"zeros\": 0.9}"), DEFT_OK);
        /* Every bit pattern counts: a denormal, and a negative zero. */
        float *weights = graph->values[deft_graph_find(graph, "fc1.weight")].desc.data;
        weights[0] = 1e-42f;
        weights[1] = -0.0f;
        assert_int_equal(deft_onnx_serialize(graph, &data, &bytes), DEFT_OK);
        assert_int_equal(deft_onnx_parse(ctx, data, bytes, &back), DEFT_OK);
        assert_same_graph(graph, back);
        assert_string_equal(deft_graph_metadata(back, "deft.recipe"), "{\"zeros\": 0.9}");
        assert_int_equal(deft_onnx_serialize(back, &again, &again_bytes), DEFT_OK);
        assert_int_equal(bytes, again_bytes);
        /* The order of initializers follows the values', which reading changes: so compare the third time around. */
        deft_graph *third;
        assert_int_equal(deft_onnx_parse(ctx, again, again_bytes, &third), DEFT_OK);
        assert_same_graph(back, third);
        deft_graph_free(graph);
        deft_graph_free(back);
        deft_graph_free(third);
        deft_release(ctx, data);
        deft_release(ctx, again);
    }
    test_context_free(ctx);
}

static void test_header(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    messages m = unpack(ctx, "mlp:3,2");
    assert_int_equal(m.model->ir_version, 8);
    assert_int_equal(m.model->n_opset_import, 1);
    assert_int_equal(m.model->opset_import[0]->version, 17);
    assert_string_equal(m.model->producer_name, "deft");
    assert_string_equal(m.model->producer_version, DEFT_VERSION);
    assert_string_equal(m.graph->input[0]->type->tensor_type->shape->dim[0]->dim_param, "N");
    assert_string_equal(m.graph->output[0]->type->tensor_type->shape->dim[0]->dim_param, "N");
    assert_int_equal(m.graph->output[0]->type->tensor_type->shape->dim[1]->dim_value, 2);
    deft_arena_done(&m.arena);
    test_context_free(ctx);
}

static void test_training_graph_is_refused(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *graph;
    void *data;
    size_t bytes;
    int out, node;
    assert_int_equal(deft_zoo_build(ctx, "mlp:3,2", &graph), DEFT_OK);
    int in[] = {graph->outputs[0], graph->outputs[0]};
    assert_int_equal(deft_graph_add_value(graph, "loss", &out), DEFT_OK);
    assert_int_equal(deft_graph_add_node(graph, DEFT_OP_MEAN_SQUARED_ERROR, "mse", NULL, 0, in, 2, &out, 1, &node),
                     DEFT_OK);
    assert_int_equal(deft_onnx_serialize(graph, &data, &bytes), DEFT_INVALID);
    assert_non_null(strstr(deft_context_message(ctx), "'mse'"));
    deft_graph_free(graph);
    test_context_free(ctx);
}

/* ---- tensors ------------------------------------------------------------------------------------------------- */

/* Puts {1, 2} of a type into a typed field, as an initializer that nothing uses. */
static void store_typed(messages *m, Onnx__TensorProto *proto, deft_dtype dtype) {
    onnx__tensor_proto__init(proto);
    proto->name = "extra";
    proto->n_dims = 1;
    proto->dims = memcpy(allocate(m, 8), &(int64_t){2}, 8);
    proto->has_data_type = 1;
    proto->data_type = (int32_t)dtype;
    switch (dtype) {
    case DEFT_F32:
        proto->n_float_data = 2;
        proto->float_data = memcpy(allocate(m, 8), (float[]){1, 2}, 8);
        break;
    case DEFT_F64:
        proto->n_double_data = 2;
        proto->double_data = memcpy(allocate(m, 16), (double[]){1, 2}, 16);
        break;
    case DEFT_I64:
        proto->n_int64_data = 2;
        proto->int64_data = memcpy(allocate(m, 16), (int64_t[]){1, 2}, 16);
        break;
    case DEFT_U32:
    case DEFT_U64:
        proto->n_uint64_data = 2;
        proto->uint64_data = memcpy(allocate(m, 16), (uint64_t[]){1, 2}, 16);
        break;
    default:
        proto->n_int32_data = 2;
        proto->int32_data = memcpy(allocate(m, 8), (int32_t[]){1, dtype == DEFT_BOOL ? 0 : 2}, 8);
    }
}

static Onnx__TensorProto *add_initializer(messages *m) {
    size_t count = m->graph->n_initializer;
    Onnx__TensorProto **all = allocate(m, (count + 1) * sizeof *all);
    memcpy(all, m->graph->initializer, count * sizeof *all);
    all[count] = allocate(m, sizeof **all);
    m->graph->initializer = all;
    m->graph->n_initializer++;
    return all[count];
}

static void test_typed_fields(void **state) {
    (void)state;
    static const deft_dtype types[] = {DEFT_F32,  DEFT_U8,  DEFT_I8,  DEFT_U16, DEFT_I16, DEFT_I32, DEFT_I64,
                                       DEFT_BOOL, DEFT_F16, DEFT_F64, DEFT_U32, DEFT_U64, DEFT_BF16};
    deft_context *ctx = test_context();
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        messages m = unpack(ctx, "mlp:3,2");
        store_typed(&m, add_initializer(&m), types[i]);
        deft_graph *graph;
        assert_int_equal(parse(&m, &graph), DEFT_OK);
        const deft_tensor *extra = &graph->values[deft_graph_find(graph, "extra")].desc;
        assert_int_equal(extra->dtype, types[i]);
        assert_int_equal(extra->dims[0], 2);
        /* Little-endian: what integers begin with; floats end with the high byte of their exponent. */
        const uint8_t *data = extra->data;
        size_t size = deft_dtype_bytes(types[i]);
        if (types[i] == DEFT_F32) {
            assert_true(((const float *)extra->data)[1] == 2);
        } else if (types[i] == DEFT_F64) {
            assert_true(((const double *)extra->data)[1] == 2);
        } else {
            assert_int_equal(data[0], 1);
            assert_int_equal(data[size], types[i] == DEFT_BOOL ? 0 : 2);
        }
        deft_graph_free(graph);
        deft_arena_done(&m.arena);
    }
    test_context_free(ctx);
}

/* ---- what is accepted ---------------------------------------------------------------------------------------- */

/* Models up to IR version 3 list initializers among the inputs. */
static void test_initializers_as_inputs(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    messages m = unpack(ctx, "mlp:3,2");
    Onnx__ValueInfoProto **inputs = allocate(&m, 2 * sizeof *inputs), *bias = allocate(&m, sizeof *bias);
    *bias = *m.graph->input[0];
    bias->name = "fc1.bias";
    inputs[0] = bias;
    inputs[1] = m.graph->input[0];
    m.graph->input = inputs;
    m.graph->n_input = 2;
    m.model->ir_version = 3;
    deft_graph *graph;
    assert_int_equal(parse(&m, &graph), DEFT_OK);
    assert_int_equal(graph->input_count, 1);
    assert_string_equal(graph->values[graph->inputs[0]].name, "x");
    deft_graph_free(graph);
    deft_arena_done(&m.arena);
    test_context_free(ctx);
}

static Onnx__NodeProto *new_node(messages *m, const char *op, const char *name, char *in, char *out) {
    Onnx__NodeProto *node = allocate(m, sizeof *node);
    onnx__node_proto__init(node);
    node->op_type = (char *)op;
    node->name = (char *)name;
    node->n_input = in ? 1 : 0;
    node->input = allocate(m, sizeof in);
    node->input[0] = in;
    node->n_output = out ? 1 : 0;
    node->output = allocate(m, sizeof out);
    node->output[0] = out;
    return node;
}

static Onnx__AttributeProto *add_attribute(messages *m, Onnx__NodeProto *node, const char *name,
                                           Onnx__AttributeProto__AttributeType type) {
    Onnx__AttributeProto **all = allocate(m, (node->n_attribute + 1) * sizeof *all), *attr = allocate(m, sizeof *attr);
    if (node->n_attribute) memcpy(all, node->attribute, node->n_attribute * sizeof *all);
    onnx__attribute_proto__init(attr);
    attr->name = (char *)name;
    attr->has_type = 1;
    attr->type = type;
    all[node->n_attribute++] = attr;
    node->attribute = all;
    return attr;
}

static void add_node(messages *m, Onnx__NodeProto *node) {
    Onnx__NodeProto **all = allocate(m, (m->graph->n_node + 1) * sizeof *all);
    memcpy(all, m->graph->node, m->graph->n_node * sizeof *all);
    all[m->graph->n_node++] = node;
    m->graph->node = all;
}

static void test_constant_nodes(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    messages m = unpack(ctx, "mlp:3,2");
    /* The bias becomes a Constant node that stands behind its use. */
    Onnx__TensorProto *bias = m.graph->initializer[1];
    assert_string_equal(bias->name, "fc1.bias");
    m.graph->n_initializer = 1;
    Onnx__NodeProto *node = new_node(&m, "Constant", "make bias", NULL, "fc1.bias");
    add_attribute(&m, node, "value", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR)->t = bias;
    add_node(&m, node);
    Onnx__NodeProto *ints = new_node(&m, "Constant", "", NULL, "numbers");
    Onnx__AttributeProto *attr = add_attribute(&m, ints, "value_ints", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
    attr->n_ints = 3;
    attr->ints = (int64_t[]){5, 6, 7};
    add_node(&m, ints);
    Onnx__NodeProto *scalar = new_node(&m, "Constant", "", NULL, "half");
    attr = add_attribute(&m, scalar, "value_float", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);
    attr->has_f = 1;
    attr->f = 0.5f;
    add_node(&m, scalar);
    deft_graph *graph;
    assert_int_equal(parse(&m, &graph), DEFT_OK);
    assert_int_equal(graph->node_count, 1);
    assert_non_null(graph->values[deft_graph_find(graph, "fc1.bias")].desc.data);
    const deft_tensor *numbers = &graph->values[deft_graph_find(graph, "numbers")].desc;
    assert_int_equal(numbers->rank, 1);
    assert_int_equal(((int64_t *)numbers->data)[2], 7);
    const deft_tensor *half = &graph->values[deft_graph_find(graph, "half")].desc;
    assert_int_equal(half->rank, 0);
    assert_true(*(float *)half->data == 0.5f);
    deft_graph_free(graph);
    deft_arena_done(&m.arena);
    test_context_free(ctx);
}

static void test_absent_inputs(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    messages m = unpack(ctx, "mlp:3,2");
    m.graph->node[0]->input[2] = "";
    m.graph->n_initializer = 1;
    deft_graph *graph;
    assert_int_equal(parse(&m, &graph), DEFT_OK);
    assert_int_equal(graph->nodes[0].in_count, 2);
    deft_graph_free(graph);
    deft_arena_done(&m.arena);
    test_context_free(ctx);
}

/* ---- what is refused ----------------------------------------------------------------------------------------- */

static void no_graph(messages *m) {
    m->model->graph = NULL;
}
static void no_opset(messages *m) {
    m->model->n_opset_import = 0;
}
static void old_opset(messages *m) {
    m->model->opset_import[0]->version = 5;
}
static void new_opset(messages *m) {
    m->model->opset_import[0]->version = 29;
}
static void no_outputs(messages *m) {
    m->graph->n_output = 0;
}
static void unknown_output(messages *m) {
    m->graph->output[0]->name = "elsewhere";
}
static void repeated_output(messages *m) {
    Onnx__ValueInfoProto **outputs = allocate(m, 2 * sizeof *outputs);
    outputs[0] = outputs[1] = m->graph->output[0];
    m->graph->output = outputs;
    m->graph->n_output = 2;
}
static void wrong_output_type(messages *m) {
    m->graph->output[0]->type->tensor_type->elem_type = DEFT_I64;
}
/* What does not fit in a model without symbolic dimensions fits at no batch. */
static void fix_batch(messages *m) {
    Onnx__TensorShapeProto__Dimension *batch = m->graph->input[0]->type->tensor_type->shape->dim[0];
    batch->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
    batch->dim_value = 1;
}
static void wrong_output_rank(messages *m) {
    fix_batch(m);
    m->graph->output[0]->type->tensor_type->shape->n_dim = 1;
}
static void unknown_operator(messages *m) {
    m->graph->node[0]->op_type = "Teleport";
}
static void no_operator(messages *m) {
    m->graph->node[0]->op_type = NULL;
}
static void unknown_domain(messages *m) {
    m->graph->node[0]->domain = "com.example";
}
static void training_domain(messages *m) {
    m->graph->node[0]->op_type = "ReluGrad";
    m->graph->node[0]->domain = "deft";
}
static void training_operator(messages *m) {
    m->graph->node[0]->op_type = "ReluGrad";
}
static void dangling_name(messages *m) {
    m->graph->node[0]->input[0] = "nowhere";
}
static void cycle(messages *m) {
    m->graph->node[0]->input[0] = "relu1";
}
static void made_twice(messages *m) {
    m->graph->node[1]->output[0] = "fc1";
}
static void made_and_input(messages *m) {
    m->graph->node[1]->output[0] = "x";
}
static void made_and_constant(messages *m) {
    m->graph->node[1]->output[0] = "fc1.bias";
}
static void constant_twice(messages *m) {
    m->graph->initializer[1]->name = "fc1.weight";
}
static void constant_without_name(messages *m) {
    m->graph->initializer[1]->name = "";
}
static void input_without_name(messages *m) {
    m->graph->input[0]->name = NULL;
}
static void input_without_shape(messages *m) {
    m->graph->input[0]->type->tensor_type->shape = NULL;
}
static void input_without_type(messages *m) {
    m->graph->input[0]->type = NULL;
}
static void input_of_strings(messages *m) {
    m->graph->input[0]->type->tensor_type->elem_type = 8;
}
static void input_with_negative_size(messages *m) {
    m->graph->input[0]->type->tensor_type->shape->dim[1]->dim_value = -7;
}
static void input_too_large(messages *m) {
    m->graph->input[0]->type->tensor_type->shape->dim[1]->dim_value = INT64_MAX;
}
static void shapes_do_not_fit(messages *m) {
    fix_batch(m);
    m->graph->input[0]->type->tensor_type->shape->dim[1]->dim_value = 5;
}
static void data_too_short(messages *m) {
    m->graph->initializer[0]->raw_data.len -= 4;
}
static void size_overflows(messages *m) {
    static int64_t dims[] = {1ll << 62, 1ll << 62};
    m->graph->initializer[0]->dims = dims;
}
static void size_wraps_to_zero(messages *m) {
    static int64_t dims[] = {1ll << 32, 1ll << 32};
    m->graph->initializer[0]->dims = dims;
    m->graph->initializer[0]->raw_data.len = 0;
}
static void negative_size(messages *m) {
    static int64_t dims[] = {-2, -6};
    m->graph->initializer[0]->dims = dims;
}
static void too_many_dims(messages *m) {
    static int64_t dims[9] = {1, 1, 1, 1, 1, 1, 1, 3, 2};
    m->graph->initializer[0]->n_dims = 9;
    m->graph->initializer[0]->dims = dims;
}
static void unknown_data_type(messages *m) {
    m->graph->initializer[0]->data_type = 77;
}
static void external_data(messages *m) {
    m->graph->initializer[0]->has_data_location = 1;
    m->graph->initializer[0]->data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
}
static void out_of_range(messages *m) {
    Onnx__TensorProto *extra = add_initializer(m);
    store_typed(m, extra, DEFT_U8);
    extra->int32_data[1] = 256;
}
static void typed_count(messages *m) {
    Onnx__TensorProto *extra = add_initializer(m);
    store_typed(m, extra, DEFT_F32);
    extra->n_float_data = 1;
}
static void sparse_constant(messages *m) {
    Onnx__SparseTensorProto *sparse = allocate(m, sizeof *sparse), **all = allocate(m, sizeof *all);
    onnx__sparse_tensor_proto__init(sparse);
    sparse->values = m->graph->initializer[0];
    all[0] = sparse;
    m->graph->n_sparse_initializer = 1;
    m->graph->sparse_initializer = all;
}
static void graph_attribute(messages *m) {
    Onnx__AttributeProto *attr =
        add_attribute(m, m->graph->node[0], "then_branch", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH);
    attr->g = allocate(m, sizeof *attr->g);
    onnx__graph_proto__init(attr->g);
}
static void repeated_attribute(messages *m) {
    add_attribute(m, m->graph->node[0], "transB", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);
}
static void too_many_inputs(messages *m) {
    static char *names[65];
    for (int i = 0; i < 65; i++)
        names[i] = "x";
    m->graph->node[0]->input = names;
    m->graph->node[0]->n_input = 65;
}
static void missing_input(messages *m) {
    m->graph->node[0]->n_input = 1;
}
static void no_made_value(messages *m) {
    m->graph->node[0]->n_output = 0;
}
static void old_broadcast(messages *m) {
    static char *names[] = {"fc1", "fc1.bias"};
    m->model->opset_import[0]->version = 6;
    m->graph->node[1]->op_type = "Add";
    m->graph->node[1]->n_input = 2;
    m->graph->node[1]->input = names;
    add_attribute(m, m->graph->node[1], "axis", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);
}
static float *weights_of(messages *m) {
    return (float *)(void *)m->graph->initializer[0]->raw_data.data;
}
static void nan_weight(messages *m) {
    weights_of(m)[7] = NAN;
}
static void infinite_weight(messages *m) {
    weights_of(m)[0] = -INFINITY;
}
static void nan_bias(messages *m) {
    memcpy(m->graph->initializer[1]->raw_data.data, &(float){NAN}, 4);
}

/* mlp:6,4,2 = fc1 [4, 6], relu1, fc2 [2, 4], with one thing wrong. */
static const struct refusal {
    void (*spoil)(messages *m);
    deft_status status;
    const char *message;
} refusals[] = {
    {no_graph, DEFT_INVALID, "no graph"},
    {no_opset, DEFT_INVALID, "operator set"},
    {old_opset, DEFT_UNSUPPORTED, "operator set 5, where Deft"},
    {new_opset, DEFT_UNSUPPORTED, "operator set 29"},
    {no_outputs, DEFT_INVALID, "no outputs"},
    {unknown_output, DEFT_INVALID, "'elsewhere'"},
    {repeated_output, DEFT_INVALID, "'logits' is listed twice"},
    {wrong_output_type, DEFT_INVALID, "'logits' is declared as i64"},
    {wrong_output_rank, DEFT_INVALID, "'logits' is declared as f32 -1, but the graph makes f32 1x2"},
    {unknown_operator, DEFT_UNSUPPORTED, "Teleport 'fc1'"},
    {no_operator, DEFT_INVALID, "'fc1' has no operator"},
    {unknown_domain, DEFT_UNSUPPORTED, "'com.example'"},
    {training_domain, DEFT_UNSUPPORTED, "'deft'"},
    {training_operator, DEFT_UNSUPPORTED, "ReluGrad 'fc1'"},
    {dangling_name, DEFT_INVALID, "Gemm 'fc1': its input 'nowhere'"},
    {cycle, DEFT_INVALID, "a cycle"},
    {made_twice, DEFT_INVALID, "Relu 'relu1' makes 'fc1'"},
    {made_and_input, DEFT_INVALID, "Relu 'relu1' makes 'x'"},
    {made_and_constant, DEFT_INVALID, "Relu 'relu1' makes 'fc1.bias'"},
    {constant_twice, DEFT_INVALID, "'fc1.weight'"},
    {constant_without_name, DEFT_INVALID, "initializer 1"},
    {input_without_name, DEFT_INVALID, "input 0"},
    {input_without_shape, DEFT_UNSUPPORTED, "input 'x'"},
    {input_without_type, DEFT_UNSUPPORTED, "input 'x'"},
    {input_of_strings, DEFT_UNSUPPORTED, "data type 8"},
    {input_with_negative_size, DEFT_INVALID, "input 'x': dimension 1 is -7"},
    {input_too_large, DEFT_INVALID, "input 'x'"},
    {shapes_do_not_fit, DEFT_INVALID, "fc1"},
    {data_too_short, DEFT_INVALID, "'fc1.weight' of shape 4x6 and type f32 needs 96 bytes but stores 92"},
    {size_overflows, DEFT_INVALID, "'fc1.weight'"},
    {size_wraps_to_zero, DEFT_INVALID, "'fc1.weight'"},
    {negative_size, DEFT_INVALID, "'fc1.weight'"},
    {too_many_dims, DEFT_UNSUPPORTED, "'fc1.weight' has 9 dimensions"},
    {unknown_data_type, DEFT_UNSUPPORTED, "data type 77"},
    {external_data, DEFT_UNSUPPORTED, "'fc1.weight' is stored in another file"},
    {out_of_range, DEFT_INVALID, "'extra': element 1 is 256"},
    {typed_count, DEFT_INVALID, "'extra' of shape 2 and type f32 needs 2 elements but stores 1"},
    {sparse_constant, DEFT_UNSUPPORTED, "sparse"},
    {graph_attribute, DEFT_UNSUPPORTED, "'then_branch' is a graph"},
    {repeated_attribute, DEFT_INVALID, "two attributes 'transB'"},
    {too_many_inputs, DEFT_UNSUPPORTED, "65 inputs"},
    {missing_input, DEFT_INVALID, "Gemm 'fc1' has 1 inputs"},
    {no_made_value, DEFT_INVALID, "Gemm 'fc1' has 0 outputs"},
    {old_broadcast, DEFT_UNSUPPORTED, "axis"},
    {nan_weight, DEFT_INVALID, "'fc1.weight', a weight of Gemm 'fc1': element 7"},
    {infinite_weight, DEFT_INVALID, "'fc1.weight', a weight of Gemm 'fc1': element 0"},
    {nan_bias, DEFT_INVALID, "'fc1.bias'"},
};

/* It may be that they fit at another size than 1. */
static void test_symbolic_shapes_undecided(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    messages m = unpack(ctx, "mlp:6,4,2");
    m.graph->input[0]->type->tensor_type->shape->dim[1]->dim_value = 5;
    deft_graph *graph;
    assert_int_equal(parse(&m, &graph), DEFT_OK);
    for (int i = 0; i < graph->node_count; i++)
        assert_false(graph->values[graph->nodes[i].out[0]].known);
    assert_int_equal(deft_graph_infer(graph, 3, NULL, 0), DEFT_INVALID);
    assert_non_null(strstr(deft_context_message(ctx), "with input 'x' at 3x5: Gemm 'fc1'"));
    deft_graph_free(graph);
    deft_arena_done(&m.arena);
    test_context_free(ctx);
}

static void test_refusals(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        messages m = unpack(ctx, "mlp:6,4,2");
        deft_graph *graph = NULL;
        assert_int_equal(parse(&m, &graph), DEFT_OK);
        deft_graph_free(graph);
        graph = NULL;
        refusals[i].spoil(&m);
        deft_status status = parse(&m, &graph);
        if (status != refusals[i].status || !strstr(deft_context_message(ctx), refusals[i].message))
            fail_msg("refusal %zu (%s): %s: %s", i, refusals[i].message, deft_status_name(status),
                     deft_context_message(ctx));
        assert_null(graph);
        deft_arena_done(&m.arena);
    }
    test_context_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_training_graph_is_refused),
        cmocka_unit_test(test_typed_fields),
        cmocka_unit_test(test_initializers_as_inputs),
        cmocka_unit_test(test_constant_nodes),
        cmocka_unit_test(test_absent_inputs),
        cmocka_unit_test(test_symbolic_shapes_undecided),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

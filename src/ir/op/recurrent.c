/* RNN, GRU and LSTM, forward, reverse or both. A sequence of a batch is independent of the others: each runs its steps
 * one after the other. The state needs no memory of its own: h is the previous step's row of output Y, c is in output
 * Y_c, and GRU keeps its gated state in Y_h until the end. So these outputs are always made (ops.def; the reader adds
 * them). */
#include "ir/op/rule.h"

#include <math.h>
#include <string.h>

enum { RNN_X, RNN_W, RNN_R, RNN_B, RNN_LENGTHS, RNN_H, RNN_C, RNN_P };

typedef enum squash { SQUASH_SIGMOID, SQUASH_TANH, SQUASH_RELU, SQUASHES } squash;

/* A node, resolved. Strides in elements. */
typedef struct recurrent {
    int64_t steps, batch, inputs, directions, hidden, gates;
    bool reverse; /* the only direction is */
    int64_t x_step, x_batch, y_step, y_batch, y_direction, h_batch, h_direction;
    squash squashes[2][3]; /* by direction: f, g, h */
    double clip;
    bool linear_before_reset, input_forget;
} recurrent;

static int gates_of(deft_op op) {
    return op == DEFT_OP_LSTM ? 4 : op == DEFT_OP_GRU ? 3 : 1;
}

static deft_status read_direction(const deft_op_call *call, recurrent *out) {
    const char *direction = deft_attr_string(call->attrs, "direction", "forward");
    out->directions = strcmp(direction, "bidirectional") == 0 ? 2 : 1;
    out->reverse = strcmp(direction, "reverse") == 0;
    if (out->directions == 2 || out->reverse || strcmp(direction, "forward") == 0) return DEFT_OK;
    return deft_rule_fail(call, DEFT_INVALID, "the direction '%.32s' is none of forward, reverse, bidirectional",
                          direction);
}

static deft_status read_squash(const deft_op_call *call, const char *name, squash *out) {
    static const char *const names[] = {"Sigmoid", "Tanh", "Relu"};
    for (int i = 0; i < SQUASHES; i++) {
        if (strcmp(name, names[i]) != 0) continue;
        *out = (squash)i;
        return DEFT_OK;
    }
    return deft_rule_fail(call, DEFT_UNSUPPORTED, "the activation '%.32s' is none of Sigmoid, Tanh, Relu", name);
}

static deft_status read_squashes(const deft_op_call *call, recurrent *out) {
    const deft_attr *attr = deft_attr_find(call->attrs, "activations");
    int each = call->op == DEFT_OP_LSTM ? 3 : call->op == DEFT_OP_GRU ? 2 : 1;
    if (attr && (attr->type != DEFT_ATTR_STRINGS || attr->count != each * out->directions))
        return deft_rule_fail(call, DEFT_INVALID, "the attribute activations must have %d names for each direction",
                              each);
    for (int direction = 0; direction < out->directions; direction++)
        for (int i = 0; i < each; i++) {
            out->squashes[direction][i] = i > 0 || call->op == DEFT_OP_RNN ? SQUASH_TANH : SQUASH_SIGMOID;
            if (attr) DEFT_TRY(read_squash(call, attr->strings[direction * each + i], &out->squashes[direction][i]));
        }
    return DEFT_OK;
}

static deft_status resolve(const deft_op_call *call, recurrent *out) {
    const int64_t *x = call->in[RNN_X]->dims, *r = call->in[RNN_R]->dims;
    bool batch_first = deft_attr_int(call->attrs, "layout", 0) != 0;
    DEFT_TRY(deft_rule_require_rank(call, RNN_X, 3, true));
    DEFT_TRY(deft_rule_require_rank(call, RNN_R, 3, true));
    *out = (recurrent){.steps = x[batch_first], .batch = x[!batch_first], .inputs = x[2], .hidden = r[2]};
    out->gates = gates_of(call->op);
    out->clip = (double)deft_attr_float(call->attrs, "clip", INFINITY);
    out->linear_before_reset = deft_attr_int(call->attrs, "linear_before_reset", 0) != 0;
    out->input_forget = deft_attr_int(call->attrs, "input_forget", 0) != 0;
    DEFT_TRY(read_direction(call, out));
    DEFT_TRY(read_squashes(call, out));
    if (out->hidden > INT32_MAX || deft_attr_int(call->attrs, "hidden_size", out->hidden) != out->hidden)
        return deft_rule_fail(call, DEFT_INVALID, "hidden_size is not the last dimension of input 2");
    int64_t row = out->directions * out->hidden;
    out->x_step = (batch_first ? 1 : out->batch) * out->inputs;
    out->x_batch = (batch_first ? out->steps : 1) * out->inputs;
    out->y_step = batch_first ? row : out->batch * row;
    out->y_direction = batch_first ? out->hidden : out->batch * out->hidden;
    out->y_batch = batch_first ? out->steps * row : out->hidden;
    out->h_direction = out->y_direction;
    out->h_batch = batch_first ? row : out->hidden;
    return DEFT_OK;
}

/* A state as the layout has it. */
static deft_tensor state_shape(const deft_op_call *call, const recurrent *r) {
    bool batch_first = deft_attr_int(call->attrs, "layout", 0) != 0;
    return (deft_tensor){
        .dtype = call->in[0]->dtype,
        .rank = 3,
        .dims = {batch_first ? r->batch : r->directions, batch_first ? r->directions : r->batch, r->hidden}};
}

static deft_status check_inputs(const deft_op_call *call, const recurrent *r) {
    deft_dtype dtype = call->in[0]->dtype;
    int64_t gates = r->gates * r->hidden;
    deft_tensor state = state_shape(call, r);
    const struct {
        int input;
        deft_tensor shape;
        const char *what;
    } expected[] = {
        {RNN_W, {.dtype = dtype, .rank = 3, .dims = {r->directions, gates, r->inputs}}, "the weights of the input,"},
        {RNN_R, {.dtype = dtype, .rank = 3, .dims = {r->directions, gates, r->hidden}}, "the weights of the state,"},
        {RNN_B, {.dtype = dtype, .rank = 2, .dims = {r->directions, 2 * gates}}, "the biases,"},
        {RNN_LENGTHS, {.dtype = DEFT_I32, .rank = 1, .dims = {r->batch}}, "the sequences' lengths,"},
        {RNN_H, state, "the initial state,"},
        {RNN_C, state, "the initial cell state,"},
        {RNN_P, {.dtype = dtype, .rank = 2, .dims = {r->directions, 3 * r->hidden}}, "the peepholes,"},
    };
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        if (deft_rule_in(call, expected[i].input))
            DEFT_TRY(deft_rule_require_shape(call, expected[i].input, &expected[i].shape, expected[i].what));
    return DEFT_OK;
}

deft_status deft_shape_recurrent(const deft_op_call *call) {
    recurrent r;
    DEFT_TRY(deft_rule_require_real(call, 0, RNN_B));
    DEFT_TRY(resolve(call, &r));
    DEFT_TRY(check_inputs(call, &r));
    deft_tensor state = state_shape(call, &r), y = {.dtype = state.dtype, .rank = 4};
    int64_t forward[] = {r.steps, r.directions, r.batch, r.hidden},
            batched[] = {r.batch, r.steps, r.directions, r.hidden};
    memcpy(y.dims, deft_attr_int(call->attrs, "layout", 0) ? batched : forward, sizeof forward);
    DEFT_TRY(deft_rule_set_out_like(call, 0, &y));
    DEFT_TRY(deft_rule_set_out_like(call, 1, &state));
    return deft_rule_set_out_like(call, 2, &state);
}

/* How many steps a sequence has; a length outside of what there is has all. */
static int64_t length_of(const deft_op_call *call, const recurrent *r, int64_t batch) {
    const deft_tensor *lengths = deft_rule_in(call, RNN_LENGTHS);
    int64_t length = lengths ? ((const int32_t *)lengths->data)[batch] : r->steps;
    return length < 0 || length > r->steps ? r->steps : length;
}

#define BODY "ir/op/recurrent_body.h"
#include "ir/op/each_real.h"

deft_status deft_forward_recurrent(const deft_op_call *call) {
    return deft_rule_by_real(call, recurrent_f32, recurrent_f64);
}

/* RNN, GRU and LSTM, forward, reverse or both. A sequence of a batch is independent of the others: each runs its steps
 * one after the other. The state needs no memory of its own: h is the previous step's row of output Y, c is in output
 * Y_c, and GRU keeps its gated state in Y_h until the end. So these outputs are always made (ops.def; the reader adds
 * them). */
#include "ir/op/recurrent.h"

#include "ir/op/rule.h"

#include <math.h>
#include <string.h>

static int gates_of(deft_op op) {
    return op == DEFT_OP_LSTM ? 4 : op == DEFT_OP_GRU ? 3 : 1;
}

static deft_status read_direction(const deft_op_call *call, deft_recurrent *out) {
    const char *direction = deft_attr_string(call->attrs, "direction", "forward");
    out->directions = strcmp(direction, "bidirectional") == 0 ? 2 : 1;
    out->reverse = strcmp(direction, "reverse") == 0;
    if (out->directions == 2 || out->reverse || strcmp(direction, "forward") == 0) return DEFT_OK;
    return deft_rule_fail(call, DEFT_INVALID, "the direction '%.32s' is none of forward, reverse, bidirectional",
                          direction);
}

static deft_status read_squash(const deft_op_call *call, const char *name, deft_squash *out) {
    static const char *const names[] = {"Sigmoid", "Tanh", "Relu"};
    for (int i = 0; i < DEFT_SQUASHES; i++) {
        if (strcmp(name, names[i]) != 0) continue;
        *out = (deft_squash)i;
        return DEFT_OK;
    }
    return deft_rule_fail(call, DEFT_UNSUPPORTED, "the activation '%.32s' is none of Sigmoid, Tanh, Relu", name);
}

static deft_status read_squashes(const deft_op_call *call, deft_recurrent *out) {
    const deft_attr *attr = deft_attr_find(call->attrs, "activations");
    int each = out->op == DEFT_OP_LSTM ? 3 : out->op == DEFT_OP_GRU ? 2 : 1;
    if (attr && (attr->type != DEFT_ATTR_STRINGS || attr->count != each * out->directions))
        return deft_rule_fail(call, DEFT_INVALID, "the attribute activations must have %d names for each direction",
                              each);
    for (int direction = 0; direction < out->directions; direction++)
        for (int i = 0; i < each; i++) {
            out->squashes[direction][i] = i > 0 || out->op == DEFT_OP_RNN ? DEFT_SQUASH_TANH : DEFT_SQUASH_SIGMOID;
            if (attr) DEFT_TRY(read_squash(call, attr->strings[direction * each + i], &out->squashes[direction][i]));
        }
    return DEFT_OK;
}

bool deft_recurrent_is_batch_first(const deft_op_call *call) {
    return deft_attr_int(call->attrs, "layout", 0) != 0;
}

deft_status deft_recurrent_resolve(const deft_op_call *call, deft_op op, int64_t steps, int64_t batch, int64_t inputs,
                                   int64_t hidden, deft_recurrent *out) {
    bool batch_first = deft_recurrent_is_batch_first(call);
    *out = (deft_recurrent){.op = op,
                            .steps = steps,
                            .batch = batch,
                            .inputs = inputs,
                            .hidden = hidden,
                            .gates = gates_of(op),
                            .batch_first = batch_first};
    out->clip = (double)deft_attr_float(call->attrs, "clip", INFINITY);
    out->linear_before_reset = deft_attr_int(call->attrs, "linear_before_reset", 0) != 0;
    out->input_forget = deft_attr_int(call->attrs, "input_forget", 0) != 0;
    DEFT_TRY(read_direction(call, out));
    DEFT_TRY(read_squashes(call, out));
    if (hidden > INT32_MAX || deft_attr_int(call->attrs, "hidden_size", hidden) != hidden)
        return deft_rule_fail(call, DEFT_INVALID, "hidden_size is not the last dimension of input 2");
    int64_t row = out->directions * hidden;
    out->x_step = (batch_first ? 1 : batch) * inputs;
    out->x_batch = (batch_first ? steps : 1) * inputs;
    out->y_step = batch_first ? row : batch * row;
    out->y_direction = batch_first ? hidden : batch * hidden;
    out->y_batch = batch_first ? steps * row : hidden;
    out->h_direction = out->y_direction;
    out->h_batch = batch_first ? row : hidden;
    return DEFT_OK;
}

deft_status deft_recurrent_read(const deft_op_call *call, deft_recurrent *out) {
    const int64_t *x = call->in[DEFT_RNN_X]->dims;
    bool batch_first = deft_recurrent_is_batch_first(call);
    DEFT_TRY(deft_rule_require_rank(call, DEFT_RNN_X, 3, true));
    DEFT_TRY(deft_rule_require_rank(call, DEFT_RNN_R, 3, true));
    return deft_recurrent_resolve(call, call->op, x[batch_first], x[!batch_first], x[2], call->in[DEFT_RNN_R]->dims[2],
                                  out);
}

bool deft_recurrent_is_usual(const deft_recurrent *r) {
    int count = r->op == DEFT_OP_LSTM ? 3 : r->op == DEFT_OP_GRU ? 2 : 1;
    for (int64_t direction = 0; direction < r->directions; direction++)
        for (int i = 0; i < count; i++) {
            bool gates = i == 0 && r->op != DEFT_OP_RNN;
            if (r->squashes[direction][i] != (gates ? DEFT_SQUASH_SIGMOID : DEFT_SQUASH_TANH)) return false;
        }
    return !isfinite(r->clip) && !r->input_forget;
}

deft_tensor deft_recurrent_y_shape(const deft_recurrent *r, deft_dtype dtype) {
    if (r->batch_first)
        return (deft_tensor){.dtype = dtype, .rank = 4, .dims = {r->batch, r->steps, r->directions, r->hidden}};
    return (deft_tensor){.dtype = dtype, .rank = 4, .dims = {r->steps, r->directions, r->batch, r->hidden}};
}

deft_tensor deft_recurrent_state_shape(const deft_recurrent *r, deft_dtype dtype) {
    if (r->batch_first) return (deft_tensor){.dtype = dtype, .rank = 3, .dims = {r->batch, r->directions, r->hidden}};
    return (deft_tensor){.dtype = dtype, .rank = 3, .dims = {r->directions, r->batch, r->hidden}};
}

deft_status deft_recurrent_check_inputs(const deft_op_call *call, const deft_recurrent *r) {
    deft_dtype dtype = call->in[0]->dtype;
    int64_t gates = r->gates * r->hidden;
    deft_tensor state = deft_recurrent_state_shape(r, dtype);
    const struct {
        int input;
        deft_tensor shape;
        const char *what;
    } expected[] = {
        {DEFT_RNN_R, {.dtype = dtype, .rank = 3, .dims = {r->directions, gates, r->hidden}}, "the state's weights,"},
        {DEFT_RNN_B, {.dtype = dtype, .rank = 2, .dims = {r->directions, 2 * gates}}, "the biases,"},
        {DEFT_RNN_LENGTHS, {.dtype = DEFT_I32, .rank = 1, .dims = {r->batch}}, "the sequences' lengths,"},
        {DEFT_RNN_H, state, "the initial state,"},
        {DEFT_RNN_C, state, "the initial cell state,"},
        {DEFT_RNN_P, {.dtype = dtype, .rank = 2, .dims = {r->directions, 3 * r->hidden}}, "the peepholes,"},
    };
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        if (deft_rule_in(call, expected[i].input))
            DEFT_TRY(deft_rule_require_shape(call, expected[i].input, &expected[i].shape, expected[i].what));
    return DEFT_OK;
}

deft_status deft_shape_recurrent(const deft_op_call *call) {
    deft_recurrent r;
    DEFT_TRY(deft_rule_require_real(call, 0, DEFT_RNN_B));
    DEFT_TRY(deft_recurrent_read(call, &r));
    deft_dtype dtype = call->in[0]->dtype;
    deft_tensor y = deft_recurrent_y_shape(&r, dtype), state = deft_recurrent_state_shape(&r, dtype);
    deft_tensor w = {.dtype = dtype, .rank = 3, .dims = {r.directions, r.gates * r.hidden, r.inputs}};
    DEFT_TRY(deft_rule_require_shape(call, DEFT_RNN_W, &w, "the input's weights,"));
    DEFT_TRY(deft_recurrent_check_inputs(call, &r));
    DEFT_TRY(deft_rule_set_out_like(call, 0, &y));
    DEFT_TRY(deft_rule_set_out_like(call, 1, &state));
    return deft_rule_set_out_like(call, 2, &state);
}

int64_t deft_recurrent_length(const deft_op_call *call, int lengths, const deft_recurrent *r, int64_t batch) {
    const deft_tensor *tensor = deft_rule_in(call, lengths);
    int64_t length = tensor ? ((const int32_t *)tensor->data)[batch] : r->steps;
    return length < 0 || length > r->steps ? r->steps : length;
}

#define BODY "ir/op/recurrent_body.h"
#include "ir/op/each_real.h"

deft_status deft_forward_recurrent(const deft_op_call *call) {
    return deft_rule_by_real(call, recurrent_f32, recurrent_f64);
}

/* Gradients of RNN, GRU and LSTM. Nothing but Y is kept from the forward pass: with Y known, what the gates'
 * activations are applied to follows for all steps at once from two matrix products, over the rows of every step of
 * every sequence. RecurrentGrad then goes back step by step, with the one product that cannot wait, dz R over the
 * batch, and gives dz, from which the gradients of X, W and R are again products over all rows. source: HOCHREITER1997,
 * CHO2014 */
#include "ir/op/emit.h"
#include "ir/op/product.h"
#include "ir/op/recurrent.h"
#include "ir/op/rule.h"

#include <math.h>
#include <string.h>

/* RecurrentGrad has X W' and H R', [directions, steps batch, gates hidden] without biases, in the places of X and W;
 * the rest as the forward operator has it; then Y and the gradients of the outputs, which may be absent. */
enum { GRAD_ZX, GRAD_ZH, GRAD_Y = DEFT_RNN_P + 1, GRAD_DY, GRAD_DYH, GRAD_DYC };
/* dz [directions, steps batch, gates hidden] of what comes with the state, and, but for the last gate of a GRU that is
 * linear before reset, with the input. dh, dc: of the initial states. work [directions, batch, hidden]. kept
 * [directions, steps batch, hidden]: LSTM's cells; GRU's r h, or, linear before reset, the last gate's dz of what comes
 * with the input. RNN ends before it, GRU before dc. */
enum { GRAD_DZ, GRAD_DH, GRAD_WORK, GRAD_KEPT, GRAD_DC, GRAD_DP };
static int outputs_of(deft_op op) {
    return op == DEFT_OP_LSTM ? GRAD_DP + 1 : op == DEFT_OP_GRU ? GRAD_KEPT + 1 : GRAD_WORK + 1;
}

/* Of an operator of the gradients: input `y` has the shape of Y. */
static deft_status resolve_by_y(const deft_op_call *call, int y, deft_recurrent *out) {
    int64_t op = deft_attr_int(call->attrs, "of", -1);
    bool batch_first = deft_recurrent_is_batch_first(call);
    if (op != DEFT_OP_RNN && op != DEFT_OP_GRU && op != DEFT_OP_LSTM)
        return deft_rule_fail(call, DEFT_INVALID, "the attribute 'of' names no recurrent operator");
    if (!deft_rule_in(call, y)) return deft_rule_fail(call, DEFT_INVALID, "input %d, the output Y, is missing", y);
    DEFT_TRY(deft_rule_require_rank(call, y, 4, true));
    const deft_tensor *shape = call->in[y];
    const int64_t *dims = shape->dims;
    DEFT_TRY(deft_recurrent_resolve(call, (deft_op)op, dims[batch_first], dims[batch_first ? 0 : 2], 0, dims[3], out));
    deft_tensor expected = deft_recurrent_y_shape(out, shape->dtype);
    if (!deft_shape_valid(shape->dtype, 2, (int64_t[]){out->steps, out->batch}))
        return deft_rule_fail(call, DEFT_INVALID, "so many steps do not fit in memory");
    return deft_rule_require_shape(call, y, &expected, "the output of all steps,");
}

deft_status deft_recurrent_grad_read(const deft_op_call *call, deft_recurrent *out) {
    return resolve_by_y(call, GRAD_Y, out);
}

/* RecurrentBefore: (Y, lengths, initial state). */
enum { BEFORE_Y, BEFORE_LENGTHS, BEFORE_H };

static deft_status resolve_before(const deft_op_call *call, deft_recurrent *out) {
    return resolve_by_y(call, BEFORE_Y, out);
}

#define BODY "ir/op/recurrent_grad_body.h"
#include "ir/op/each_real.h"

/* ---- RecurrentBefore ------------------------------------------------------------------------------------------- */

deft_status deft_shape_recurrent_before(const deft_op_call *call) {
    deft_recurrent r;
    DEFT_TRY(deft_rule_require_real(call, BEFORE_Y, BEFORE_Y));
    DEFT_TRY(resolve_before(call, &r));
    deft_dtype dtype = call->in[BEFORE_Y]->dtype;
    const deft_tensor state = deft_recurrent_state_shape(&r, dtype);
    const deft_tensor lengths = {.dtype = DEFT_I32, .rank = 1, .dims = {r.batch}};
    if (deft_rule_in(call, BEFORE_LENGTHS))
        DEFT_TRY(deft_rule_require_shape(call, BEFORE_LENGTHS, &lengths, "the sequences' lengths,"));
    if (deft_rule_in(call, BEFORE_H)) DEFT_TRY(deft_rule_require_shape(call, BEFORE_H, &state, "the initial state,"));
    return deft_rule_set_out(call, 0, dtype, 3, (int64_t[]){r.directions, r.steps * r.batch, r.hidden});
}

deft_status deft_forward_recurrent_before(const deft_op_call *call) {
    return deft_rule_by_real(call, recurrent_before_f32, recurrent_before_f64);
}

/* ---- RecurrentGrad --------------------------------------------------------------------------------------------- */

static deft_status check_gradients(const deft_op_call *call, const deft_recurrent *r) {
    deft_dtype dtype = call->in[GRAD_Y]->dtype;
    const deft_tensor y = deft_recurrent_y_shape(r, dtype), state = deft_recurrent_state_shape(r, dtype);
    if (deft_rule_in(call, GRAD_DY)) DEFT_TRY(deft_rule_require_shape(call, GRAD_DY, &y, "the gradient of Y,"));
    for (int i = GRAD_DYH; i <= GRAD_DYC; i++)
        if (deft_rule_in(call, i)) DEFT_TRY(deft_rule_require_shape(call, i, &state, "a final state's gradient,"));
    return DEFT_OK;
}

deft_status deft_shape_recurrent_grad(const deft_op_call *call) {
    deft_recurrent r;
    DEFT_TRY(deft_rule_require_real(call, 0, DEFT_RNN_B));
    DEFT_TRY(deft_recurrent_grad_read(call, &r));
    deft_dtype dtype = call->in[GRAD_ZX]->dtype;
    int64_t rows = r.steps * r.batch;
    const deft_tensor z = {.dtype = dtype, .rank = 3, .dims = {r.directions, rows, r.gates * r.hidden}};
    const deft_tensor state = deft_recurrent_state_shape(&r, dtype);
    for (int i = GRAD_ZX; i <= GRAD_ZH; i++)
        DEFT_TRY(deft_rule_require_shape(call, i, &z, "what the gates see,"));
    DEFT_TRY(deft_recurrent_check_inputs(call, &r));
    DEFT_TRY(check_gradients(call, &r));
    if (call->out_count != outputs_of(r.op))
        return deft_rule_fail(call, DEFT_INVALID, "it has %d outputs, and not %d", outputs_of(r.op), call->out_count);
    DEFT_TRY(deft_rule_set_out_like(call, GRAD_DZ, &z));
    DEFT_TRY(deft_rule_set_out_like(call, GRAD_DH, &state));
    DEFT_TRY(deft_rule_set_out(call, GRAD_WORK, dtype, 3, (int64_t[]){r.directions, r.batch, r.hidden}));
    DEFT_TRY(deft_rule_set_out(call, GRAD_KEPT, dtype, 3, (int64_t[]){r.directions, rows, r.hidden}));
    DEFT_TRY(deft_rule_set_out_like(call, GRAD_DC, &state));
    return deft_rule_set_out(call, GRAD_DP, dtype, 2, (int64_t[]){r.directions, 3 * r.hidden});
}

deft_status deft_recurrent_grad_run(const deft_op_call *call, deft_product_fn product) {
    return call->in[GRAD_ZX]->dtype == DEFT_F64 ? recurrent_grad_f64(call, product) : recurrent_grad_f32(call, product);
}

static deft_status multiply(const deft_op_call *call, const deft_product *product) {
    deft_product_run(call, call->in[GRAD_ZX]->dtype, product);
    return DEFT_OK;
}

deft_status deft_forward_recurrent_grad(const deft_op_call *call) {
    return deft_recurrent_grad_run(call, multiply);
}

/* ---- the rule -------------------------------------------------------------------------------------------------- */

/* A node that is differentiated. */
typedef struct differentiated {
    deft_gradient *gradient;
    deft_recurrent r;
    int x;      /* [steps batch, inputs] */
    int before; /* [directions, steps batch, hidden] */
    int grad[GRAD_DP + 1];
} differentiated;

static int input_of(const deft_gradient *gradient, int i) {
    return i < gradient->in_count ? gradient->in[i] : -1;
}

static bool wants(const deft_gradient *gradient, int i) {
    return i < gradient->in_count && gradient->wanted[i];
}

static int out_grad_of(const deft_gradient *gradient, int i) {
    return i < gradient->out_count ? gradient->out_grad[i] : -1;
}

/* Swaps the first two of three dimensions, where X has the batch first. */
static deft_status emit_steps_first(const differentiated *d, int value, int *out) {
    const int64_t perm[] = {1, 0, 2};
    deft_attr attr = {.name = "perm", .type = DEFT_ATTR_INTS, .count = 3, .ints = perm};
    *out = value;
    if (!d->r.batch_first) return DEFT_OK;
    return d->gradient->emit(d->gradient, DEFT_OP_TRANSPOSE, &attr, 1, &value, 1, out, 1);
}

static deft_status emit_rows(differentiated *d) {
    deft_gradient *gradient = d->gradient;
    int turned;
    const int64_t dims[] = {d->r.steps * d->r.batch, d->r.inputs};
    DEFT_TRY(emit_steps_first(d, gradient->in[DEFT_RNN_X], &turned));
    DEFT_TRY(deft_emit_reshaped(gradient, turned, 2, dims, &d->x));
    const int in[] = {gradient->out[0], input_of(gradient, DEFT_RNN_LENGTHS), input_of(gradient, DEFT_RNN_H)};
    return deft_emit_of(gradient, DEFT_OP_RECURRENT_BEFORE, in, 3, &d->before, 1);
}

/* rows W' */
static deft_status emit_product(deft_gradient *gradient, int rows, int weights, int *out) {
    int turned;
    DEFT_TRY(deft_emit_turned(gradient, weights, 3, &turned));
    return deft_emit(gradient, DEFT_OP_MATMUL, out, 2, rows, turned);
}

/* dz' rows: the gradient of weights. */
static deft_status emit_weights(deft_gradient *gradient, int dz, int rows, int *out) {
    int turned;
    DEFT_TRY(deft_emit_turned(gradient, dz, 3, &turned));
    return deft_emit(gradient, DEFT_OP_MATMUL, out, 2, turned, rows);
}

static deft_status emit_joined(deft_gradient *gradient, int64_t axis, int a, int b, int *out) {
    deft_attr attr = {.name = "axis", .type = DEFT_ATTR_INT, .i = axis};
    return gradient->emit(gradient, DEFT_OP_CONCAT, &attr, 1, (int[]){a, b}, 2, out, 1);
}

static deft_status emit_grad(differentiated *d) {
    deft_gradient *gradient = d->gradient;
    int in[GRAD_DYC + 1];
    for (int i = DEFT_RNN_R; i <= DEFT_RNN_P; i++)
        in[i] = input_of(gradient, i);
    DEFT_TRY(emit_product(gradient, d->x, gradient->in[DEFT_RNN_W], &in[GRAD_ZX]));
    DEFT_TRY(emit_product(gradient, d->before, gradient->in[DEFT_RNN_R], &in[GRAD_ZH]));
    in[GRAD_Y] = gradient->out[0];
    for (int i = 0; i < 3; i++)
        in[GRAD_DY + i] = out_grad_of(gradient, i);
    return deft_emit_of(gradient, DEFT_OP_RECURRENT_GRAD, in, GRAD_DYC + 1, d->grad, outputs_of(d->r.op));
}

static deft_status emit_x(const differentiated *d, int dz) {
    deft_gradient *gradient = d->gradient;
    int value;
    const int64_t dims[] = {d->r.steps, d->r.batch, d->r.inputs};
    DEFT_TRY(deft_emit(gradient, DEFT_OP_MATMUL, &value, 2, dz, gradient->in[DEFT_RNN_W]));
    DEFT_TRY(deft_emit(gradient, DEFT_OP_SUM_TO, &value, 2, value, d->x)); /* over the directions */
    DEFT_TRY(deft_emit_reshaped(gradient, value, 3, dims, &value));
    return emit_steps_first(d, value, &gradient->in_grad[DEFT_RNN_X]);
}

/* The last gate of a GRU that is not linear before reset sees r h, and not h. */
static deft_status emit_r(const differentiated *d) {
    deft_gradient *gradient = d->gradient;
    int dz = d->grad[GRAD_DZ], *out = &gradient->in_grad[DEFT_RNN_R], first, last;
    if (d->r.op != DEFT_OP_GRU || d->r.linear_before_reset) return emit_weights(gradient, dz, d->before, out);
    DEFT_TRY(deft_emit_slice(gradient, dz, 2, 0, 2 * d->r.hidden, &first));
    DEFT_TRY(emit_weights(gradient, first, d->before, &first));
    DEFT_TRY(deft_emit_slice(gradient, dz, 2, 2 * d->r.hidden, 3 * d->r.hidden, &last));
    DEFT_TRY(emit_weights(gradient, last, d->grad[GRAD_KEPT], &last));
    return emit_joined(gradient, 1, first, last, out);
}

static deft_status emit_row_sum(deft_gradient *gradient, int value, int *out) {
    const int64_t axis = 1;
    const deft_attr attrs[] = {{.name = "axes", .type = DEFT_ATTR_INTS, .count = 1, .ints = &axis},
                               {.name = "keepdims", .type = DEFT_ATTR_INT, .i = 0}};
    return gradient->emit(gradient, DEFT_OP_REDUCE_SUM, attrs, 2, &value, 1, out, 1);
}

static deft_status emit_biases(const differentiated *d, int dz_input) {
    int of_input, of_state;
    DEFT_TRY(emit_row_sum(d->gradient, dz_input, &of_input));
    DEFT_TRY(emit_row_sum(d->gradient, d->grad[GRAD_DZ], &of_state));
    return emit_joined(d->gradient, 1, of_input, of_state, &d->gradient->in_grad[DEFT_RNN_B]);
}

deft_status deft_gradient_recurrent(deft_gradient *gradient) {
    differentiated d = {.gradient = gradient};
    deft_op_call call = deft_gradient_call(gradient);
    DEFT_TRY(deft_recurrent_read(&call, &d.r));
    DEFT_TRY(emit_rows(&d));
    DEFT_TRY(emit_grad(&d));
    int dz_input = d.grad[GRAD_DZ];
    if (d.r.op == DEFT_OP_GRU && d.r.linear_before_reset) {
        DEFT_TRY(deft_emit_slice(gradient, dz_input, 2, 0, 2 * d.r.hidden, &dz_input));
        DEFT_TRY(emit_joined(gradient, 2, dz_input, d.grad[GRAD_KEPT], &dz_input));
    }
    if (wants(gradient, DEFT_RNN_X)) DEFT_TRY(emit_x(&d, dz_input));
    if (wants(gradient, DEFT_RNN_W)) DEFT_TRY(emit_weights(gradient, dz_input, d.x, &gradient->in_grad[DEFT_RNN_W]));
    if (wants(gradient, DEFT_RNN_R)) DEFT_TRY(emit_r(&d));
    if (wants(gradient, DEFT_RNN_B)) DEFT_TRY(emit_biases(&d, dz_input));
    if (wants(gradient, DEFT_RNN_H)) gradient->in_grad[DEFT_RNN_H] = d.grad[GRAD_DH];
    if (wants(gradient, DEFT_RNN_C)) gradient->in_grad[DEFT_RNN_C] = d.grad[GRAD_DC];
    if (wants(gradient, DEFT_RNN_P)) gradient->in_grad[DEFT_RNN_P] = d.grad[GRAD_DP];
    return DEFT_OK;
}

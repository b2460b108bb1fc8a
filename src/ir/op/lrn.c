/* LRN, the response of a channel divided by that of its neighbours, and its gradient. With the sum over the `size`
 * channels around c, s[c] = bias + alpha / size sum x^2: y[c] = x[c] s[c]^-beta. source: KRIZHEVSKY2012 */
#include "ir/op/emit.h"
#include "ir/op/rule.h"

/* A node, resolved. */
typedef struct response {
    double share, beta, bias; /* share: alpha / size */
    int64_t before, after;    /* channels of the sum beside the one itself */
    deft_lines lines;
} response;

static response resolve(const deft_op_call *call, const deft_tensor *x) {
    int64_t size = deft_attr_int(call->attrs, "size", 1);
    return (response){.share = (double)deft_attr_float(call->attrs, "alpha", 1e-4f) / (double)size,
                      .beta = (double)deft_attr_float(call->attrs, "beta", 0.75f),
                      .bias = (double)deft_attr_float(call->attrs, "bias", 1),
                      .before = (size - 1) / 2,
                      .after = size - 1 - (size - 1) / 2,
                      .lines = deft_rule_lines(x, 1)};
}

/* Positions of a channel are done side by side, a few at a time, so that what is between stays in registers or L1. */
enum { LANES = 64 };

#define BODY "ir/op/lrn_body.h"
#include "ir/op/each_real.h"

/* x in input `x`. */
static deft_status check(const deft_op_call *call, int x) {
    DEFT_TRY(deft_rule_require_real(call, 0, call->in_count - 1));
    DEFT_TRY(deft_rule_require_rank(call, x, 2, false));
    if (deft_attr_int(call->attrs, "size", 0) < 1)
        return deft_rule_fail(call, DEFT_INVALID, "the attribute size must be at least 1");
    return deft_rule_set_out_like(call, 0, call->in[x]);
}

deft_status deft_shape_lrn(const deft_op_call *call) {
    return check(call, 0);
}

/* (dy, x) to dx, and room for as much, whose content means nothing. */
deft_status deft_shape_lrn_grad(const deft_op_call *call) {
    DEFT_TRY(check(call, 1));
    DEFT_TRY(deft_rule_require_same(call, 0, 1));
    return deft_rule_set_out_like(call, 1, call->in[1]);
}

deft_status deft_forward_lrn(const deft_op_call *call) {
    return deft_rule_by_real(call, lrn_f32, lrn_f64);
}

deft_status deft_forward_lrn_grad(const deft_op_call *call) {
    return deft_rule_by_real(call, lrn_grad_f32, lrn_grad_f64);
}

deft_status deft_gradient_lrn(deft_gradient *gradient) {
    int out[2], in[] = {gradient->out_grad[0], gradient->in[0]};
    DEFT_TRY(gradient->emit(gradient, DEFT_OP_LRN_GRAD, gradient->attrs->items, gradient->attrs->count, in, 2, out, 2));
    gradient->in_grad[0] = out[0];
    return DEFT_OK;
}

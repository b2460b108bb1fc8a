/* Gemm: Y = alpha op(A) op(B) + beta C; a C that beta = 0 takes away is not read. */
#include "ir/op/emit.h"
#include "ir/op/product.h"
#include "ir/op/rule.h"

/* Sizes and strides. */
static deft_status resolve(const deft_op_call *call, deft_product *product) {
    const deft_tensor *a = call->in[0], *b = call->in[1];
    bool a_turned = deft_attr_int(call->attrs, "transA", 0) != 0,
         b_turned = deft_attr_int(call->attrs, "transB", 0) != 0;
    DEFT_TRY(deft_rule_require_rank(call, 0, 2, true));
    DEFT_TRY(deft_rule_require_rank(call, 1, 2, true));
    product->m = a->dims[a_turned];
    product->k = a->dims[!a_turned];
    product->n = b->dims[!b_turned];
    product->a_row = a_turned ? 1 : a->dims[1];
    product->a_column = a_turned ? a->dims[1] : 1;
    product->b_row = b_turned ? 1 : b->dims[1];
    product->b_column = b_turned ? b->dims[1] : 1;
    if (b->dims[b_turned] == product->k) return DEFT_OK;
    char a_text[DEFT_SHAPE_TEXT_BYTES], b_text[DEFT_SHAPE_TEXT_BYTES];
    return deft_rule_fail(
        call, DEFT_INVALID, "the inner dimensions differ: A is %s with transA %d, B is %s with transB %d",
        deft_shape_text(a, a_text, sizeof a_text), a_turned, deft_shape_text(b, b_text, sizeof b_text), b_turned);
}

deft_status deft_shape_gemm(const deft_op_call *call) {
    deft_product product;
    DEFT_TRY(deft_rule_require_real(call, 0, 2));
    DEFT_TRY(resolve(call, &product));
    deft_tensor out = {.dtype = call->in[0]->dtype, .rank = 2, .dims = {product.m, product.n}}, broadcast = {0};
    const deft_tensor *c = call->in_count > 2 ? call->in[2] : NULL;
    if (c && (!deft_broadcast(c, &out, &broadcast) || !deft_shape_equal(&broadcast, &out))) {
        char c_text[DEFT_SHAPE_TEXT_BYTES], out_text[DEFT_SHAPE_TEXT_BYTES];
        return deft_rule_fail(call, DEFT_INVALID, "C of shape %s does not broadcast to the output's %s",
                              deft_shape_text(c, c_text, sizeof c_text),
                              deft_shape_text(&out, out_text, sizeof out_text));
    }
    return deft_rule_set_out_like(call, 0, &out);
}

#define BODY "ir/op/gemm_body.h"
#include "ir/op/each_real.h"

deft_status deft_forward_gemm(const deft_op_call *call) {
    return deft_rule_by_real(call, gemm_f32, gemm_f64);
}

/* One Gemm without C: alpha op(a) op(b). */
static deft_status emit_product(deft_gradient *gradient, int a, bool a_turned, int b, bool b_turned, int *out) {
    deft_attr attrs[] = {
        {.name = "alpha", .type = DEFT_ATTR_FLOAT, .f = deft_attr_float(gradient->attrs, "alpha", 1)},
        {.name = "transA", .type = DEFT_ATTR_INT, .i = a_turned},
        {.name = "transB", .type = DEFT_ATTR_INT, .i = b_turned},
    };
    return gradient->emit(gradient, DEFT_OP_GEMM, attrs, 3, (int[]){a, b}, 2, out, 1);
}

/* With P = op(A), Q = op(B): dP = alpha dY Q', dQ = alpha P' dY, and dA = dP or dP', dB = dQ or dQ'. */
deft_status deft_gradient_gemm(deft_gradient *gradient) {
    int dy = gradient->out_grad[0], a = gradient->in[0], b = gradient->in[1];
    bool a_turned = deft_attr_int(gradient->attrs, "transA", 0) != 0;
    bool b_turned = deft_attr_int(gradient->attrs, "transB", 0) != 0;
    if (gradient->wanted[0] && !a_turned)
        DEFT_TRY(emit_product(gradient, dy, false, b, !b_turned, &gradient->in_grad[0]));
    if (gradient->wanted[0] && a_turned) DEFT_TRY(emit_product(gradient, b, b_turned, dy, true, &gradient->in_grad[0]));
    if (gradient->wanted[1] && !b_turned)
        DEFT_TRY(emit_product(gradient, a, !a_turned, dy, false, &gradient->in_grad[1]));
    if (gradient->wanted[1] && b_turned) DEFT_TRY(emit_product(gradient, dy, true, a, a_turned, &gradient->in_grad[1]));
    if (gradient->in_count < 3 || !gradient->wanted[2]) return DEFT_OK;
    DEFT_TRY(deft_emit_sum_to(gradient, dy, 2, &gradient->in_grad[2]));
    float beta = deft_attr_float(gradient->attrs, "beta", 1);
    if (beta == 1) return DEFT_OK;
    return deft_emit_scaled(gradient, gradient->in_grad[2], gradient->in_desc[2]->dtype, beta, &gradient->in_grad[2]);
}

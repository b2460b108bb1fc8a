/* MatMul, as numpy.matmul: the last two dimensions are matrices, those before them broadcast; a vector on the left is a
 * row, on the right a column, and that dimension is dropped from the result. */
#include "ir/op/emit.h"
#include "ir/op/nest.h"
#include "ir/op/product.h"
#include "ir/op/rule.h"

#include <string.h>

deft_status deft_matrix_stack_resolve(const deft_op_call *call, int left, int right, deft_matrix_stack *out) {
    const deft_tensor *a = call->in[left], *b = call->in[right];
    char a_text[DEFT_SHAPE_TEXT_BYTES], b_text[DEFT_SHAPE_TEXT_BYTES];
    DEFT_TRY(deft_rule_require_rank(call, left, 1, false));
    DEFT_TRY(deft_rule_require_rank(call, right, 1, false));
    *out = (deft_matrix_stack){.a = *a, .b = *b, .m = 1, .n = 1, .k = a->dims[a->rank - 1]};
    if (a->rank > 1) out->m = a->dims[a->rank - 2];
    if (b->rank > 1) out->n = b->dims[b->rank - 1];
    out->a.rank = a->rank > 2 ? a->rank - 2 : 0;
    out->b.rank = b->rank > 2 ? b->rank - 2 : 0;
    if (b->dims[b->rank > 1 ? b->rank - 2 : 0] == out->k && deft_broadcast(&out->a, &out->b, &out->out)) return DEFT_OK;
    return deft_rule_fail(
        call, DEFT_INVALID,
        "shapes %s and %s do not fit: [..., m, k] times [..., k, n] with dimensions before these that "
        "broadcast",
        deft_shape_text(a, a_text, sizeof a_text), deft_shape_text(b, b_text, sizeof b_text));
}

int deft_matrix_stack_shape(const deft_op_call *call, int a, int b, const deft_matrix_stack *stack, int64_t *dims) {
    int rank = stack->out.rank;
    memcpy(dims, stack->out.dims, sizeof *dims * (size_t)rank);
    if (call->in[a]->rank > 1) dims[rank++] = stack->m;
    if (call->in[b]->rank > 1) dims[rank++] = stack->n;
    return rank;
}

void deft_matrix_stack_nest(const deft_matrix_stack *stack, deft_nest *nest) {
    int64_t a_strides[DEFT_MAX_RANK], b_strides[DEFT_MAX_RANK];
    deft_broadcast_strides(&stack->a, &stack->out, a_strides);
    deft_broadcast_strides(&stack->b, &stack->out, b_strides);
    deft_nest_init(nest, stack->out.rank, stack->out.dims, a_strides, b_strides);
}

deft_status deft_shape_matmul(const deft_op_call *call) {
    deft_matrix_stack stack;
    int64_t dims[DEFT_MAX_RANK + 2];
    DEFT_TRY(deft_rule_require_real(call, 0, 1));
    DEFT_TRY(deft_matrix_stack_resolve(call, 0, 1, &stack));
    int rank = deft_matrix_stack_shape(call, 0, 1, &stack, dims);
    return deft_rule_set_out(call, 0, call->in[0]->dtype, rank, dims);
}

deft_status deft_forward_matmul(const deft_op_call *call) {
    deft_matrix_stack stack;
    deft_nest nest;
    DEFT_TRY(deft_matrix_stack_resolve(call, 0, 1, &stack));
    deft_matrix_stack_nest(&stack, &nest);
    int last = nest.rank - 1;
    int64_t bytes = (int64_t)deft_dtype_bytes(call->in[0]->dtype);
    for (int64_t done = 0; done < nest.count;) {
        deft_nest_row row = deft_nest_row_at(&nest, done, nest.count);
        for (int64_t i = 0; i < row.length; i++) {
            int64_t a = row.offset[0] + i * nest.strides[0][last], b = row.offset[1] + i * nest.strides[1][last];
            deft_product product = {.m = stack.m,
                                    .n = stack.n,
                                    .k = stack.k,
                                    .a = (const char *)call->in[0]->data + a * stack.m * stack.k * bytes,
                                    .b = (const char *)call->in[1]->data + b * stack.k * stack.n * bytes,
                                    .a_row = stack.k,
                                    .a_column = 1,
                                    .b_row = stack.n,
                                    .b_column = 1,
                                    .y = (char *)call->out[0]->data + (done + i) * stack.m * stack.n * bytes};
            deft_product_run(call, call->in[0]->dtype, &product);
        }
        done += row.length;
    }
    return DEFT_OK;
}

/* Inserts a dimension of size 1 at `axis`. */
static deft_status emit_unsqueeze(deft_gradient *gradient, int value, int64_t axis, int *out) {
    deft_attr attr = {.name = "axes", .type = DEFT_ATTR_INTS, .count = 1, .ints = &axis};
    return gradient->emit(gradient, DEFT_OP_UNSQUEEZE, &attr, 1, &value, 1, out, 1);
}

/* Brings the gradient of an operand, a stack of matrices, to the operand's shape: what was broadcast is summed, and a
 * vector's extra dimension goes. `matrix` is the operand as a stack of matrices. */
static deft_status emit_fitted(deft_gradient *gradient, int value, int matrix, int input) {
    const deft_tensor *desc = gradient->in_desc[input];
    int out_rank = gradient->out_desc[0]->rank;
    if (desc->rank != 2 || out_rank != 2) DEFT_TRY(deft_emit(gradient, DEFT_OP_SUM_TO, &value, 2, value, matrix));
    if (desc->rank == 1) DEFT_TRY(deft_emit(gradient, DEFT_OP_RESHAPE_LIKE, &value, 2, value, gradient->in[input]));
    gradient->in_grad[input] = value;
    return DEFT_OK;
}

/* dA = dY B', dB = A' dY, of stacks of matrices. */
deft_status deft_gradient_matmul(deft_gradient *gradient) {
    int dy = gradient->out_grad[0], a = gradient->in[0], b = gradient->in[1], turned, product;
    int a_rank = gradient->in_desc[0]->rank, b_rank = gradient->in_desc[1]->rank;
    if (b_rank == 1) {
        DEFT_TRY(emit_unsqueeze(gradient, b, 1, &b));
        DEFT_TRY(emit_unsqueeze(gradient, dy, -1, &dy));
    }
    if (a_rank == 1) {
        DEFT_TRY(emit_unsqueeze(gradient, a, 0, &a));
        DEFT_TRY(emit_unsqueeze(gradient, dy, -2, &dy));
    }
    if (gradient->wanted[0]) {
        DEFT_TRY(deft_emit_turned(gradient, b, b_rank > 1 ? b_rank : 2, &turned));
        DEFT_TRY(deft_emit(gradient, DEFT_OP_MATMUL, &product, 2, dy, turned));
        DEFT_TRY(emit_fitted(gradient, product, a, 0));
    }
    if (gradient->wanted[1]) {
        DEFT_TRY(deft_emit_turned(gradient, a, a_rank > 1 ? a_rank : 2, &turned));
        DEFT_TRY(deft_emit(gradient, DEFT_OP_MATMUL, &product, 2, turned, dy));
        DEFT_TRY(emit_fitted(gradient, product, b, 1));
    }
    return DEFT_OK;
}

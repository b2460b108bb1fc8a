/* The matrix product that Gemm and MatMul share: Y[m, n] = A[m, k] B[k, n], strides in elements. */
#ifndef DEFT_IR_OP_PRODUCT_H
#define DEFT_IR_OP_PRODUCT_H

#include "ir/op/nest.h"
#include "ir/op/op.h"

typedef struct deft_product {
    int64_t m, n, k;
    const void *a, *b;
    int64_t a_row, a_column, b_row, b_column;
    void *y; /* row-major */
} deft_product;

/* Runs one by whatever means. */
typedef deft_status (*deft_product_fn)(const deft_op_call *call, const deft_product *product);

/* |Y - Y64| <= gamma(k) sum |a||b|, of f32 sums in any order. */
void deft_product_run(const deft_op_call *call, deft_dtype dtype, const deft_product *product);

/* Two operands as stacks of matrices, as numpy.matmul has them. */
typedef struct deft_matrix_stack {
    deft_tensor a, b, out; /* leading dimensions only */
    int64_t m, n, k;
} deft_matrix_stack;

/* Of inputs `a` and `b`. Error: DEFT_INVALID where they do not fit. */
DEFT_MUST_CHECK deft_status deft_matrix_stack_resolve(const deft_op_call *call, int a, int b, deft_matrix_stack *stack);
/* The dims of their product, of which there are at most DEFT_MAX_RANK + 2; returns how many. */
int deft_matrix_stack_shape(const deft_op_call *call, int a, int b, const deft_matrix_stack *stack, int64_t *dims);
/* A walk over the products, offsets counted in matrices. */
void deft_matrix_stack_nest(const deft_matrix_stack *stack, deft_nest *nest);

#endif

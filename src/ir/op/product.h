/* The matrix product that Gemm and MatMul share: Y[m, n] = A[m, k] B[k, n], strides in elements. */
#ifndef DEFT_IR_OP_PRODUCT_H
#define DEFT_IR_OP_PRODUCT_H

#include "ir/op/op.h"

typedef struct deft_product {
    int64_t m, n, k;
    const void *a, *b;
    int64_t a_row, a_column, b_row, b_column;
    void *y; /* row-major */
} deft_product;

/* |Y - Y64| <= gamma(k) sum |a||b|, of f32 sums in any order. */
void deft_product_run(const deft_op_call *call, deft_dtype dtype, const deft_product *product);

#endif

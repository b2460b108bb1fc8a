/* Loop nests: walks a row-major space of elements while up to three operands follow with strides of their own. */
#ifndef DEFT_IR_OP_NEST_H
#define DEFT_IR_OP_NEST_H

#include "base/tensor/tensor.h"

enum { DEFT_NEST_OPERANDS = 3 };

/* Dimensions of size 1 are dropped, and neighbours that every operand walks evenly are merged: rows get long. */
typedef struct deft_nest {
    int rank; /* at least 1; a row is the last dimension */
    int64_t dims[DEFT_MAX_RANK];
    int64_t strides[DEFT_NEST_OPERANDS][DEFT_MAX_RANK]; /* in elements */
    int64_t count;                                      /* of all elements */
} deft_nest;

/* a, b: strides[rank] of the operands; b may be NULL. */
void deft_nest_init(deft_nest *nest, int rank, const int64_t *dims, const int64_t *a, const int64_t *b);

/* The same for `count` operands. */
void deft_nest_init_many(deft_nest *nest, int rank, const int64_t *dims, int count,
                         const int64_t strides[][DEFT_MAX_RANK]);

/* A piece of one row. */
typedef struct deft_nest_row {
    int64_t begin, length;              /* in the row-major space */
    int64_t offset[DEFT_NEST_OPERANDS]; /* of the operands' first element */
} deft_nest_row;

/* The row that element `begin` is in, from there to its end, or to `end` if that comes first. `begin` < `end`. */
deft_nest_row deft_nest_row_at(const deft_nest *nest, int64_t begin, int64_t end);

/* How many rows begin with that of `begin`, whole, each strides[i][rank - 2] behind the one before, and none past
 * `end`; 1 where the first is not whole. */
int64_t deft_nest_rows_at(const deft_nest *nest, int64_t begin, int64_t end);

#endif

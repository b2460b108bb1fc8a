/* What the rules of the operators share: failures that name the node, checks of inputs, the type of a forward. */
#ifndef DEFT_IR_OP_RULE_H
#define DEFT_IR_OP_RULE_H

#include "ir/op/op.h"

/* deft_fail with "Conv 'name': " before the message. */
deft_status deft_rule_fail(const deft_op_call *call, deft_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* DEFT_UNSUPPORTED unless in[i], for i in [first, last], is f32 or f64, all of them the same; absent ones pass. */
deft_status deft_rule_require_real(const deft_op_call *call, int first, int last);
/* Types, as a set. */
enum {
    DEFT_TYPES_REAL = 1, /* f32, f64 */
    DEFT_TYPES_HALF = 2, /* f16, bf16 */
    DEFT_TYPES_FLOAT = DEFT_TYPES_REAL | DEFT_TYPES_HALF,
    DEFT_TYPES_SIGNED = 4,
    DEFT_TYPES_UNSIGNED = 8,
    DEFT_TYPES_INTEGER = DEFT_TYPES_SIGNED | DEFT_TYPES_UNSIGNED,
    DEFT_TYPES_NUMBER = DEFT_TYPES_FLOAT | DEFT_TYPES_INTEGER,
    DEFT_TYPES_BOOL = 16,
    DEFT_TYPES_ANY = DEFT_TYPES_NUMBER | DEFT_TYPES_BOOL
};
/* The set of one that `dtype` is in. */
int deft_rule_types(deft_dtype dtype);
/* DEFT_UNSUPPORTED unless in[i], for i in [first, last], is of the set, all of them the same; absent ones pass. */
deft_status deft_rule_require_types(const deft_op_call *call, int first, int last, int types);
/* DEFT_INVALID unless in[i] is absent, i32 or i64. */
deft_status deft_rule_require_index(const deft_op_call *call, int i);
/* DEFT_INVALID unless in[i] is absent or has one element. */
deft_status deft_rule_require_scalar(const deft_op_call *call, int i);

/* The input, or NULL where it is absent. */
const deft_tensor *deft_rule_in(const deft_op_call *call, int i);
/* The output, or NULL where it is absent. */
deft_tensor *deft_rule_out(const deft_op_call *call, int i);
/* Reads input `i`, at most `max` integers (i32 or i64) in at most one dimension, which must be known: `what` is its
 * name in messages. Errors: DEFT_INVALID, DEFT_UNSUPPORTED (its value is computed when the model runs). */
deft_status deft_rule_read_integers(const deft_op_call *call, int i, const char *what, int64_t *values, int max,
                                    int *count);
/* The same, for the attribute `name` where input `i` is absent (or -1); *given says whether there is either. */
deft_status deft_rule_read_list(const deft_op_call *call, int i, const char *name, int64_t *values, int max, int *count,
                                bool *given);
/* Fails with DEFT_UNSUPPORTED unless the value of input `i` is known ahead of a run. */
deft_status deft_rule_require_known(const deft_op_call *call, int i, const char *what);
/* Reads axes, as in deft_rule_read_list, as flags over `rank` dimensions. None may be given twice. */
deft_status deft_rule_read_axes(const deft_op_call *call, int i, int rank, bool *flags, bool *given);

/* DEFT_INVALID unless in[i] and in[j] have the same type and shape. */
deft_status deft_rule_require_same(const deft_op_call *call, int i, int j);
/* DEFT_INVALID unless in[i] has the shape and type of `expected`, which is `what`. */
deft_status deft_rule_require_shape(const deft_op_call *call, int i, const deft_tensor *expected, const char *what);
/* DEFT_INVALID unless in[i] has at least `rank` dimensions, or exactly so many. */
deft_status deft_rule_require_rank(const deft_op_call *call, int i, int rank, bool exactly);

/* Sets the shape of an output, where it is not absent. DEFT_INVALID for a size that memory cannot hold. */
deft_status deft_rule_set_out(const deft_op_call *call, int index, deft_dtype dtype, int rank, const int64_t *dims);
deft_status deft_rule_set_out_like(const deft_op_call *call, int index, const deft_tensor *tensor);

/* An axis in [-rank, rank) as one in [0, rank). Error: DEFT_INVALID. */
deft_status deft_rule_axis(const deft_op_call *call, int64_t axis, int rank, int *out);

/* Element strides of a row-major tensor. */
void deft_rule_strides(const deft_tensor *tensor, int64_t *strides);

/* A tensor as [outer][length][inner], its dimension `axis` in the middle. */
typedef struct deft_lines {
    int64_t outer, length, inner;
} deft_lines;
deft_lines deft_rule_lines(const deft_tensor *tensor, int axis);
/* The first element of a line, counted from 0 to outer * inner - 1; its others are `inner` apart. */
static inline int64_t deft_rule_line(const deft_lines *lines, int64_t line) {
    return line / lines->inner * lines->length * lines->inner + line % lines->inner;
}

/* Product of dims[first] .. dims[last - 1]. */
int64_t deft_rule_product(const int64_t *dims, int first, int last);

/* Runs the f32 or the f64 body of a forward (each_real.h), by the type of in[0]. */
deft_status deft_rule_by_real(const deft_op_call *call, deft_op_forward_fn f32, deft_op_forward_fn f64);

/* How many threads `work` elementary operations are worth: 1 where starting them would take longer. */
int deft_rule_threads(const deft_op_call *call, int64_t work);

#endif

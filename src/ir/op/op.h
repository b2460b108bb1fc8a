/* Operators. A row of ops.def gives an operator its enum, name, arity, shape rule, reference forward, gradient rule and
 * documentation; a missing function fails to link. docs/ADDING-AN-OP.md shows one being added. */
#ifndef DEFT_IR_OP_OP_H
#define DEFT_IR_OP_OP_H

#include "ir/op/attr.h"

typedef enum deft_op {
#define DEFT_OP(ENUM, ...) DEFT_OP_##ENUM,
#include "ir/op/ops.def"
#undef DEFT_OP
    DEFT_OP_COUNT
} deft_op;

/* The most inputs or outputs of an operator that is computed; those of control flow take any number. */
#define DEFT_MAX_ARITY 64
#define DEFT_ANY_ARITY 32767

/* One application of an operator. Every dim is known: symbolic ones are bound before a rule is asked. */
typedef struct deft_op_call {
    deft_context *ctx;
    const char *name; /* of the node, for messages */
    deft_op op;
    const deft_attrs *attrs;
    int opset;
    int in_count, out_count;
    const deft_tensor *const *in; /* NULL where an optional input is absent */
    deft_tensor *const *out;      /* NULL where an optional output is absent */
    int threads;
    int *waits_for; /* where not NULL: a shape rule that needs the value of an input that is not known sets it to its
                       index */
} deft_op_call;

/* Sets dtype, rank and dims of every output. in[i]->data is NULL where the value is not known ahead of time; a rule
 * that needs it (Reshape's shape) fails with DEFT_UNSUPPORTED and says which (deft_rule_require_known). Errors:
 * DEFT_INVALID, naming the node and both shapes. */
typedef deft_status (*deft_op_shape_fn)(const deft_op_call *call);

/* Fills out[i]->data in portable C: the reference that kernels are tested against, and the fallback. Outputs may not
 * overlap inputs. Allocates nothing. Accumulates in f32 unless the operator says otherwise. */
typedef deft_status (*deft_op_forward_fn)(const deft_op_call *call);

/* What a gradient rule sees: value ids of the graph, and a way to append nodes to it. */
typedef struct deft_gradient {
    deft_context *ctx;
    const char *name;
    deft_op op;
    int opset;
    const deft_attrs *attrs;
    int in_count, out_count;
    const int *in, *out;               /* value ids; -1 where absent */
    const deft_tensor *const *in_desc; /* shapes of the inputs */
    const deft_tensor *const *out_desc;
    const int *out_grad; /* of each output; -1 where none flows */
    const bool *wanted;  /* which inputs' gradients are needed */
    int *in_grad;        /* to fill with value ids; -1: none */
    /* Appends a node, infers its shapes and sets out[out_count] to the value ids of its outputs. */
    deft_status (*emit)(struct deft_gradient *gradient, deft_op op, const deft_attr *attrs, int attr_count,
                        const int *in, int in_count, int *out, int out_count);
} deft_gradient;

typedef deft_status (*deft_op_gradient_fn)(deft_gradient *gradient);

typedef struct deft_op_info {
    const char *name;   /* "Conv" */
    const char *domain; /* "" for ONNX, "deft" for operators that only training graphs have */
    int min_in, max_in, min_out, max_out;
    deft_op_shape_fn shape;
    deft_op_forward_fn forward;
    deft_op_gradient_fn gradient; /* deft_gradient_none where there is none: fails with DEFT_UNSUPPORTED */
    const char *summary;
} deft_op_info;

extern const deft_op_info deft_ops[DEFT_OP_COUNT];

/* Runs the operator's forward, unless no output has an element: then there is nothing to do, however large the other
 * dimensions are. */
DEFT_MUST_CHECK deft_status deft_op_forward(const deft_op_call *call);

/* DEFT_OP_COUNT where there is none of that name. */
deft_op deft_op_find(const char *domain, const char *name);

#define DEFT_OP(ENUM, NAME, DOMAIN, MIN_IN, MAX_IN, MIN_OUT, MAX_OUT, SHAPE, FORWARD, GRADIENT, SUMMARY)               \
    deft_status deft_shape_##SHAPE(const deft_op_call *call);                                                          \
    deft_status deft_forward_##FORWARD(const deft_op_call *call);                                                      \
    deft_status deft_gradient_##GRADIENT(deft_gradient *gradient);
#include "ir/op/ops.def"
#undef DEFT_OP

#endif

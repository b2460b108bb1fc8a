/* Attributes of a node, as in ONNX. */
#ifndef DEFT_IR_OP_ATTR_H
#define DEFT_IR_OP_ATTR_H

#include "base/tensor/tensor.h"

typedef enum deft_attr_type {
    DEFT_ATTR_INT,
    DEFT_ATTR_FLOAT,
    DEFT_ATTR_STRING,
    DEFT_ATTR_TENSOR,
    DEFT_ATTR_INTS,
    DEFT_ATTR_FLOATS,
    DEFT_ATTR_STRINGS,
    DEFT_ATTR_GRAPH
} deft_attr_type;

struct deft_graph;

typedef struct deft_attr {
    const char *name;
    deft_attr_type type;
    int64_t i; /* of a graph: how many of its inputs the operator gives it; the rest are values around the node */
    float f;
    const char *s;
    deft_tensor tensor;
    int64_t count; /* of ints, floats or strings */
    const int64_t *ints;
    const float *floats;
    const char *const *strings;
    struct deft_graph *graph;
} deft_attr;

typedef struct deft_attrs {
    const deft_attr *items;
    int count;
} deft_attrs;

/* NULL where there is none of that name. */
const deft_attr *deft_attr_find(const deft_attrs *attrs, const char *name);
/* The value, or `fallback` where it is absent or of another type. */
int64_t deft_attr_int(const deft_attrs *attrs, const char *name, int64_t fallback);
float deft_attr_float(const deft_attrs *attrs, const char *name, float fallback);
const char *deft_attr_string(const deft_attrs *attrs, const char *name, const char *fallback);
/* Copies up to `max` ints and returns how many there are; 0 where it is absent. */
int deft_attr_ints(const deft_attrs *attrs, const char *name, int64_t *out, int max);

#endif

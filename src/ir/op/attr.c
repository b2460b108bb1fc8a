#include "ir/op/attr.h"

#include <string.h>

const deft_attr *deft_attr_find(const deft_attrs *attrs, const char *name) {
    for (int i = 0; i < attrs->count; i++)
        if (strcmp(attrs->items[i].name, name) == 0) return &attrs->items[i];
    return NULL;
}

static const deft_attr *find_typed(const deft_attrs *attrs, const char *name, deft_attr_type type) {
    const deft_attr *attr = deft_attr_find(attrs, name);
    return attr && attr->type == type ? attr : NULL;
}

int64_t deft_attr_int(const deft_attrs *attrs, const char *name, int64_t fallback) {
    const deft_attr *attr = find_typed(attrs, name, DEFT_ATTR_INT);
    return attr ? attr->i : fallback;
}

float deft_attr_float(const deft_attrs *attrs, const char *name, float fallback) {
    const deft_attr *attr = find_typed(attrs, name, DEFT_ATTR_FLOAT);
    return attr ? attr->f : fallback;
}

const char *deft_attr_string(const deft_attrs *attrs, const char *name, const char *fallback) {
    const deft_attr *attr = find_typed(attrs, name, DEFT_ATTR_STRING);
    return attr ? attr->s : fallback;
}

int deft_attr_ints(const deft_attrs *attrs, const char *name, int64_t *out, int max) {
    const deft_attr *attr = find_typed(attrs, name, DEFT_ATTR_INTS);
    if (!attr) return 0;
    for (int64_t i = 0; i < attr->count && i < max; i++)
        out[i] = attr->ints[i];
    return attr->count > INT32_MAX ? INT32_MAX : (int)attr->count;
}

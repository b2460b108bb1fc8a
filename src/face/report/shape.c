#include "face/report/shape.h"

#include <stdio.h>

const char *deft_shape_symbols(const deft_value *value, char *out, size_t bytes) {
    size_t at = 0;
    snprintf(out, bytes, "scalar");
    for (int i = 0; i < value->desc.rank && at < bytes; i++) {
        const char *separator = i ? "x" : "", *symbol = value->dim_names[i];
        int length = symbol ? snprintf(out + at, bytes - at, "%s%s", separator, symbol[0] ? symbol : "?")
                            : snprintf(out + at, bytes - at, "%s%lld", separator, (long long)value->desc.dims[i]);
        at += length > 0 ? (size_t)length : 0;
    }
    return out;
}

const char *deft_layer_name(const deft_graph *graph, const deft_node *node) {
    if (node->name && node->name[0]) return node->name;
    return graph->values[node->out[0]].name;
}

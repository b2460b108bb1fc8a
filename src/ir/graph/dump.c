#include "ir/graph/graph.h"

static void print_value(const deft_graph *graph, int id, FILE *file) {
    if (id == DEFT_NO_VALUE) {
        fputc('_', file);
        return;
    }
    const deft_value *value = &graph->values[id];
    char text[DEFT_SHAPE_TEXT_BYTES];
    fprintf(file, "%s%s", value->desc.data ? "$" : "%", value->name);
    if (value->known)
        fprintf(file, ":%s[%s]", deft_dtype_name(value->desc.dtype), deft_shape_text(&value->desc, text, sizeof text));
}

static void print_values(const deft_graph *graph, const int *ids, int count, FILE *file) {
    for (int i = 0; i < count; i++) {
        if (i) fputs(", ", file);
        print_value(graph, ids[i], file);
    }
}

static void print_attr(const deft_attr *attr, FILE *file) {
    char text[DEFT_SHAPE_TEXT_BYTES];
    fprintf(file, " %s=", attr->name);
    switch (attr->type) {
    case DEFT_ATTR_INT:
        fprintf(file, "%lld", (long long)attr->i);
        return;
    case DEFT_ATTR_FLOAT:
        fprintf(file, "%.9g", (double)attr->f);
        return;
    case DEFT_ATTR_STRING:
        fprintf(file, "\"%s\"", attr->s);
        return;
    case DEFT_ATTR_TENSOR:
        fprintf(file, "%s[%s]", deft_dtype_name(attr->tensor.dtype), deft_shape_text(&attr->tensor, text, sizeof text));
        return;
    case DEFT_ATTR_GRAPH:
        fprintf(file, "{%d nodes}", attr->graph->node_count);
        return;
    case DEFT_ATTR_INTS:
    case DEFT_ATTR_FLOATS:
    case DEFT_ATTR_STRINGS:
        break;
    }
    for (int64_t i = 0; i < attr->count; i++) {
        if (i) fputc(',', file);
        if (attr->type == DEFT_ATTR_INTS)
            fprintf(file, "%lld", (long long)attr->ints[i]);
        else if (attr->type == DEFT_ATTR_FLOATS)
            fprintf(file, "%.9g", (double)attr->floats[i]);
        else
            fprintf(file, "\"%s\"", attr->strings[i]);
    }
}

void deft_graph_dump(const deft_graph *graph, FILE *file) {
    fprintf(file, "graph %s opset %d (", graph->name, graph->opset);
    print_values(graph, graph->inputs, graph->input_count, file);
    fputs(")\n", file);
    for (int i = 0; i < graph->node_count; i++) {
        const deft_node *node = &graph->nodes[i];
        fputs("  ", file);
        print_values(graph, node->out, node->out_count, file);
        fprintf(file, " = %s(", deft_ops[node->op].name);
        print_values(graph, node->in, node->in_count, file);
        fputc(')', file);
        for (int j = 0; j < node->attrs.count; j++)
            print_attr(&node->attrs.items[j], file);
        if (*node->name) fprintf(file, "  # %s", node->name);
        fputc('\n', file);
    }
    fputs("  return ", file);
    print_values(graph, graph->outputs, graph->output_count, file);
    fputc('\n', file);
}

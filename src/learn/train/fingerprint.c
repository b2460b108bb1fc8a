#include "learn/train/fingerprint.h"

#include <stdlib.h>

uint64_t deft_fingerprint_bytes(uint64_t print, const void *data, size_t bytes) {
    for (const unsigned char *at = data, *end = at + bytes; at < end; at++)
        print = (print ^ *at) * 0x100000001b3u;
    return print;
}

deft_status deft_fingerprint_structure(deft_context *ctx, const deft_graph *graph, uint64_t *print) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *file = open_memstream(&text, &bytes);
    bool failed = !file;
    if (file) {
        deft_graph_dump(graph, file);
        failed = ferror(file) != 0;
        failed |= fclose(file) != 0;
    }
    if (!failed) *print = deft_fingerprint_bytes(*print, text, bytes);
    free(text);
    return failed ? deft_fail(ctx, DEFT_MEMORY, "out of memory: the graph as text") : DEFT_OK;
}

uint64_t deft_fingerprint_constants(uint64_t print, const deft_graph *graph) {
    for (int i = 0; i < graph->value_count; i++) {
        const deft_value *value = &graph->values[i];
        if (value->desc.data && !value->variable)
            print = deft_fingerprint_bytes(print, value->desc.data, deft_tensor_bytes(&value->desc));
    }
    return print;
}

uint64_t deft_fingerprint_optimizer(uint64_t print, const deft_optimizer_options *options) {
    const double numbers[] = {options->kind,
                              (double)options->momentum,
                              (double)options->beta2,
                              (double)options->epsilon,
                              (double)options->weight_decay,
                              (double)options->max_gradient_norm,
                              (double)options->average};
    return deft_fingerprint_bytes(print, numbers, sizeof numbers);
}

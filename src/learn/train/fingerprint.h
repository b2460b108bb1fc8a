/* Fingerprints: 64 bits that tell one graph, or run, from another (FNV-1a; not against forgery). */
#ifndef DEFT_LEARN_TRAIN_FINGERPRINT_H
#define DEFT_LEARN_TRAIN_FINGERPRINT_H

#include "ir/graph/graph.h"

static const uint64_t DEFT_FINGERPRINT_START = 0xcbf29ce484222325u;

/* Goes on from `print` with these bytes. */
uint64_t deft_fingerprint_bytes(uint64_t print, const void *data, size_t bytes);
/* The same with the nodes, names, attributes and shapes of a graph, without the data of its constants. */
DEFT_MUST_CHECK deft_status deft_fingerprint_structure(deft_context *ctx, const deft_graph *graph, uint64_t *print);
/* The same with the data of its constants, but for what training changes. */
uint64_t deft_fingerprint_constants(uint64_t print, const deft_graph *graph);
/* The same with an optimiser's rule and numbers, filled in. */
uint64_t deft_fingerprint_optimizer(uint64_t print, const deft_optimizer_options *options);

#endif

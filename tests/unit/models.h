/* Models as files have them. */
#ifndef DEFT_TESTS_UNIT_MODELS_H
#define DEFT_TESTS_UNIT_MODELS_H

#include "tests/support.h"

#include "ir/model/onnx.h"
#include "ir/model/zoo.h"

/* The bytes of what `deft new` makes. */
static inline void make_model(deft_context *ctx, const char *spec, void **data, size_t *bytes) {
    deft_graph *graph;
    assert_int_equal(deft_zoo_build(ctx, spec, &graph), DEFT_OK);
    assert_int_equal(deft_onnx_serialize(graph, data, bytes), DEFT_OK);
    deft_graph_free(graph);
}

#endif

/* ONNX files in and out, through protobuf-c with an allocator that has a budget and a depth limit. */
#ifndef DEFT_IR_MODEL_ONNX_H
#define DEFT_IR_MODEL_ONNX_H

#include "base/core/stream.h"
#include "ir/graph/graph.h"

/* Reads a model, verifies it and infers its shapes with symbolic dimensions at 1. Where a model with symbolic
 * dimensions does not fit together at 1, which need not be a fault of its, no shape is known yet. Memory while reading
 * is bounded by a small multiple of `bytes`, and by little more than they are where tensors are stored as raw data, as
 * exporters do; nesting by 100 levels (onnx_wire.h). Errors: DEFT_INVALID (malformed,
 * cycles, dangling names, shapes that do not fit, weights of Gemm, MatMul or Conv that are not finite),
 * DEFT_UNSUPPORTED (an operator, an operator set, a data type, data in other files), DEFT_MEMORY. The
 * message names the node or tensor. */
DEFT_MUST_CHECK deft_status deft_onnx_parse(deft_context *ctx, const void *data, size_t bytes, deft_graph **graph);

typedef struct deft_onnx_options {
    const char *folder; /* where the files are that tensors may be stored in; NULL: such tensors are DEFT_UNSUPPORTED */
    /* Where it is set, called for each node that Deft cannot run, with why; after the last one parsing fails. */
    void (*missing)(void *user, const char *message);
    void *user;
} deft_onnx_options;
DEFT_MUST_CHECK deft_status deft_onnx_parse_with(deft_context *ctx, const void *data, size_t bytes,
                                                 const deft_onnx_options *options, deft_graph **graph);
/* The same of a stream, whose errors it has too. */
DEFT_MUST_CHECK deft_status deft_onnx_read(deft_stream *stream, const deft_onnx_options *options, deft_graph **graph);

/* A file that holds one TensorProto, as ONNX's tests have them (input_0.pb). The data is the arena's. Messages name the
 * file. Errors: DEFT_IO, DEFT_INVALID, DEFT_UNSUPPORTED (a data type that Deft lacks), DEFT_MEMORY. */
DEFT_MUST_CHECK deft_status deft_onnx_tensor_load(deft_arena *arena, const char *path, deft_tensor *tensor);
/* A graph as a ModelProto, IR version 8, opset as in the graph. Constants are written bit-exact as raw data, symbolic
 * dimensions by their names; outputs whose shapes only a run knows as they were declared.
 * `*data` is released with deft_release. Error: DEFT_INVALID where the graph has operators of the domain "deft", or an
 * output of which nothing says the type. */
DEFT_MUST_CHECK deft_status deft_onnx_serialize(const deft_graph *graph, void **data, size_t *bytes);

#endif

/* Model files: .onnx, and .deft: a zip of model.onnx (plain ONNX, zeros in place) and frontier.json. */
#ifndef DEFT_IR_MODEL_FILE_H
#define DEFT_IR_MODEL_FILE_H

#include "ir/graph/graph.h"

typedef struct deft_model_file {
    deft_graph *graph;
    char *frontier; /* JSON text of frontier.json, or NULL; released with deft_release */
} deft_model_file;

/* Told apart by content (a zip starts with "PK"). Every message names `path`. A directory, a missing file:
 * DEFT_INVALID. Tensors may be stored in files of the folder that an .onnx is in, or of folders in it. */
DEFT_MUST_CHECK deft_status deft_model_file_load(deft_context *ctx, const char *path, deft_model_file *file);
/* The same; where nodes cannot run, `missing` is told of each before loading fails with DEFT_UNSUPPORTED. */
DEFT_MUST_CHECK deft_status deft_model_file_check(deft_context *ctx, const char *path,
                                                  void (*missing)(void *user, const char *message), void *user,
                                                  deft_model_file *file);
DEFT_MUST_CHECK deft_status deft_model_file_parse(deft_context *ctx, const void *data, size_t bytes,
                                                  deft_model_file *file);
/* A .deft where `path` ends in ".deft", else .onnx (the frontier is then left out). `frontier` may be NULL. */
DEFT_MUST_CHECK deft_status deft_model_file_save(deft_context *ctx, const char *path, const deft_graph *graph,
                                                 const char *frontier);
/* Size that deft_model_file_save would write as a .deft. */
DEFT_MUST_CHECK deft_status deft_model_file_bytes(deft_context *ctx, const deft_graph *graph, const char *frontier,
                                                  int64_t *bytes);

#endif

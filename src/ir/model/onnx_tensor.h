/* TensorProto: a tensor in a model file. */
#ifndef DEFT_IR_MODEL_ONNX_TENSOR_H
#define DEFT_IR_MODEL_ONNX_TENSOR_H

#include "base/tensor/tensor.h"
#include "onnx.pb-c.h"

/* `proto` is as deft_wire_unpack makes it. The data is released with deft_release: shared with the message where it is
 * a block there, else a copy, decoded, or read from a file in `folder`, which is NULL where there is none. Messages
 * name the tensor by `name`. Errors: DEFT_INVALID (sizes that overflow or disagree, values out of range, a file that is
 * not within the folder), DEFT_UNSUPPORTED (a data type; data in another file where there is no folder). */
DEFT_MUST_CHECK deft_status deft_onnx_tensor_read(deft_context *ctx, const Onnx__TensorProto *proto, const char *name,
                                                  const char *folder, deft_tensor *tensor);
/* Borrows name, dims and data. */
void deft_onnx_tensor_write(const deft_tensor *tensor, const char *name, Onnx__TensorProto *proto);

#endif

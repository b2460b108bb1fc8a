/* Conformance: a model in ONNX's test layout, run and compared with the outputs that belong to it.
 *
 *   FOLDER/model.onnx
 *   FOLDER/test_data_set_0/input_0.pb ... output_0.pb ...    TensorProto files, in the order of the model's */
#ifndef DEFT_FACE_API_CONFORM_H
#define DEFT_FACE_API_CONFORM_H

#include "base/core/context.h"

typedef enum deft_conform_verdict {
    DEFT_CONFORM_PASSED,
    DEFT_CONFORM_FAILED,
    DEFT_CONFORM_SKIPPED
} deft_conform_verdict;

typedef struct deft_conform_result {
    deft_conform_verdict verdict;
    char reason[512]; /* why it failed or was skipped; else empty */
} deft_conform_result;

/* Runs every data set of a test folder. Outputs must have the type and shape of the expected ones; integers and bools
 * be equal; floats be within 1e-7 + 1e-3 |expected| (bf16: 2^-6 |expected|; NaN equals NaN): the tolerances of ONNX's
 * own runner. Skipped is what Deft refuses with DEFT_UNSUPPORTED; every other refusal of the model or its data is a
 * failure. Errors: DEFT_INVALID (no model.onnx or no data set there), DEFT_IO, DEFT_MEMORY, DEFT_CANCELLED. */
DEFT_MUST_CHECK deft_status deft_conform_run(deft_context *ctx, const char *folder, deft_conform_result *result);

/* True where `folder` holds a model.onnx. */
bool deft_conform_is_case(const char *folder);

#endif

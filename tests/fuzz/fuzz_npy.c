#include "fuzz.h"

#include "base/tensor/npy.h"

#include <stdlib.h>

/* An array takes no more memory than its file: the values, and the allocator's own. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    deft_context *ctx;
    deft_tensor tensor;
    if (deft_context_new(&(deft_context_options){.cache_directory = ""}, &ctx) != DEFT_OK) return 0;
    if (deft_npy_parse(ctx, data, bytes, &tensor) == DEFT_OK) {
        if ((size_t)atomic_load(&ctx->live_bytes) > bytes) abort();
        if (!deft_shape_valid(tensor.dtype, tensor.rank, tensor.dims)) abort();
        /* Reads every value, for the sanitizers. */
        if (!deft_tensor_equal(&tensor, &tensor)) abort();
        deft_release(ctx, tensor.data);
    } else if (!deft_context_message(ctx)[0]) {
        abort();
    }
    if (atomic_load(&ctx->live_bytes) != 0) abort();
    deft_context_free(ctx);
    return 0;
}

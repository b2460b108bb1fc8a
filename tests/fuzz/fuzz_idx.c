#include "fuzz.h"

#include "learn/data/idx.h"

#include <stdlib.h>

/* Plain or gz: no more memory than deflate can pack into the file, 1032:1. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    deft_context *ctx;
    deft_tensor tensor;
    if (deft_context_new(&(deft_context_options){.cache_directory = ""}, &ctx) != DEFT_OK) return 0;
    if (deft_idx_parse(ctx, data, bytes, &tensor) == DEFT_OK) {
        if ((size_t)atomic_load(&ctx->live_bytes) > 1032 * bytes) abort();
        if (!deft_tensor_equal(&tensor, &tensor)) abort();
        deft_release(ctx, tensor.data);
    } else if (!deft_context_message(ctx)[0]) {
        abort();
    }
    if (atomic_load(&ctx->live_bytes) != 0) abort();
    deft_context_free(ctx);
    return 0;
}

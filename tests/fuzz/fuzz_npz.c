#include "fuzz.h"

#include "base/tensor/npy.h"

#include <stdlib.h>

/* Arrays take no more memory than deflate can pack into the file, 1032:1, and their entries and names. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    deft_context *ctx;
    deft_npz npz;
    if (deft_context_new(&(deft_context_options){.cache_directory = ""}, &ctx) != DEFT_OK) return 0;
    if (deft_npz_parse(ctx, data, bytes, &npz) == DEFT_OK) {
        if ((size_t)atomic_load(&ctx->live_bytes) > 1040 * bytes) abort();
        for (int i = 0; i < npz.count; i++) {
            const deft_tensor *tensor = &npz.entries[i].tensor;
            if (deft_npz_find(&npz, npz.entries[i].name) != tensor) abort();
            if (!deft_tensor_equal(tensor, tensor)) abort();
        }
        deft_npz_done(&npz);
    } else if (!deft_context_message(ctx)[0]) {
        abort();
    }
    if (atomic_load(&ctx->live_bytes) != 0) abort();
    deft_context_free(ctx);
    return 0;
}

#include "fuzz.h"

#include "learn/data/picture.h"

#include <stdlib.h>

/* A small picture out of whatever file: refused with a message, or decoded to the size that it states, and fitted. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    enum { SIDE = 5 };
    deft_context *ctx;
    deft_picture picture;
    float x[3 * SIDE * SIDE];
    if (deft_context_new(&(deft_context_options){.cache_directory = ""}, &ctx) != DEFT_OK) return 0;
    /* The first byte, where it is no beginning of a file, says how many channels are wanted. */
    int channels = bytes && (data[0] == 1 || data[0] == 3) ? *data++ : 0;
    if (channels) bytes--;
    if (deft_picture_decode(ctx, data, bytes, channels, &picture) == DEFT_OK) {
        if (channels ? picture.channels != channels : picture.channels != 1 && picture.channels != 3) abort();
        if (picture.height * picture.width <= 1 << 16) {
            if (deft_picture_fit(ctx, &picture, SIDE, SIDE, x) != DEFT_OK) abort();
            for (int i = 0; i < picture.channels * SIDE * SIDE; i++)
                if (!(x[i] >= 0 && x[i] <= 1.00001f)) abort();
        }
        deft_release(ctx, picture.pixels);
    } else if (!deft_context_message(ctx)[0]) {
        abort();
    }
    if (atomic_load(&ctx->live_bytes) != 0) abort();
    deft_context_free(ctx);
    return 0;
}

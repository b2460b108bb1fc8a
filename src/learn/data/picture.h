/* Pictures in files: PNG and JPEG. */
#ifndef DEFT_LEARN_DATA_PICTURE_H
#define DEFT_LEARN_DATA_PICTURE_H

#include "base/core/context.h"

typedef struct deft_picture {
    int64_t height, width;
    int channels;    /* 1 or 3: grey; red, green, blue */
    uint8_t *pixels; /* [height][width][channels], released with deft_release */
} deft_picture;

/* Decodes a PNG or JPEG, told apart by content, to 8 bits and so many channels; 0: as many as its colours need. What is
 * transparent is on black. Memory is bounded: more than 2^26 pixels are refused before they are unpacked, and so are
 * JPEGs of more than 500 scans. Errors: DEFT_INVALID (malformed, cut off, damaged, neither format), DEFT_UNSUPPORTED
 * (too large, CMYK), DEFT_MEMORY. */
DEFT_MUST_CHECK deft_status deft_picture_decode(deft_context *ctx, const void *data, size_t bytes, int channels,
                                                deft_picture *picture);

/* Pixels / 255 as planes x [channels][height][width] of a given size: scaled, by a triangle as wide as an output pixel,
 * or as an input pixel where those are larger, until the picture just covers it, and cut equally on both sides. A
 * picture of that size is taken as it is. Errors: DEFT_MEMORY. */
DEFT_MUST_CHECK deft_status deft_picture_fit(deft_context *ctx, const deft_picture *picture, int64_t height,
                                             int64_t width, float *x);

#endif

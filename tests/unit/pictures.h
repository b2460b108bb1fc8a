/* PNG and JPEG files made in memory. */
#ifndef DEFT_TESTS_UNIT_PICTURES_H
#define DEFT_TESTS_UNIT_PICTURES_H

#include "tests/support.h"

#include <png.h>
#include <string.h>
#include <turbojpeg.h>

typedef struct encoded {
    uint8_t bytes[4096];
    size_t count;
} encoded;

/* `format`: a PNG_FORMAT of 8 bits a channel. */
static inline encoded make_png(int width, int height, png_uint_32 format, const void *pixels) {
    png_image image = {
        .version = PNG_IMAGE_VERSION, .width = (png_uint_32)width, .height = (png_uint_32)height, .format = format};
    encoded made = {.count = sizeof made.bytes};
    assert_true(png_image_write_to_memory(&image, made.bytes, &made.count, 0, pixels, 0, NULL));
    return made;
}

static inline encoded make_jpeg(int width, int height, int format, int sampling, const void *pixels) {
    encoded made;
    unsigned char *bytes = NULL;
    unsigned long count = 0;
    tjhandle encoder = tjInitCompress();
    assert_non_null(encoder);
    assert_int_equal(
        tjCompress2(encoder, pixels, width, 0, height, format, &bytes, &count, sampling, 95, TJFLAG_ACCURATEDCT), 0);
    assert_true(count <= sizeof made.bytes);
    memcpy(made.bytes, bytes, count);
    made.count = count;
    tjFree(bytes);
    tjDestroy(encoder);
    return made;
}

#endif

#include "learn/data/picture.h"

#include <math.h>
#include <png.h>
#include <string.h>
#include <turbojpeg.h>

static const int64_t PIXELS_MAX = INT64_C(1) << 26;

/* Takes the memory, once the size is known and before anything is unpacked. */
static deft_status make_room(deft_context *ctx, deft_picture *picture) {
    if (picture->height < 1 || picture->width < 1)
        return deft_fail(ctx, DEFT_INVALID, "a picture without a size: cut off, or damaged");
    if (picture->height > PIXELS_MAX / picture->width)
        return deft_fail(ctx, DEFT_UNSUPPORTED, "a picture of %lldx%lld; at most %lld pixels are read",
                         (long long)picture->height, (long long)picture->width, (long long)PIXELS_MAX);
    return deft_allocate_zeroed(ctx, (size_t)(picture->height * picture->width), (size_t)picture->channels,
                                &picture->pixels);
}

/* ---- PNG ------------------------------------------------------------------------------------------------------- */

static deft_status fail_png(deft_context *ctx, png_image *image) {
    deft_status status = deft_fail(ctx, DEFT_INVALID, "a damaged PNG: %s", image->message);
    png_image_free(image);
    return status;
}

static deft_status decode_png(deft_context *ctx, const void *data, size_t bytes, int channels, deft_picture *picture) {
    png_image image = {.version = PNG_IMAGE_VERSION};
    if (!png_image_begin_read_from_memory(&image, data, bytes)) return fail_png(ctx, &image);
    if (channels == 0) channels = image.format & PNG_FORMAT_FLAG_COLOR ? 3 : 1;
    *picture = (deft_picture){.height = image.height, .width = image.width, .channels = channels};
    deft_status status = make_room(ctx, picture);
    if (status != DEFT_OK) {
        png_image_free(&image);
        return status;
    }
    image.format = channels == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY;
    return png_image_finish_read(&image, NULL, picture->pixels, 0, NULL) ? DEFT_OK : fail_png(ctx, &image);
}

/* ---- JPEG ------------------------------------------------------------------------------------------------------ */

static deft_status fail_jpeg(deft_context *ctx, tjhandle decoder) {
    return deft_fail(ctx, DEFT_INVALID, "a damaged JPEG: %s", tjGetErrorStr2(decoder));
}

static deft_status decode_with(deft_context *ctx, tjhandle decoder, const void *data, size_t bytes, int channels,
                               deft_picture *picture) {
    int width = 0, height = 0, sampling = 0, colours = 0; /* a file of tables alone says nothing of them */
    if (tjDecompressHeader3(decoder, data, bytes, &width, &height, &sampling, &colours) != 0)
        return fail_jpeg(ctx, decoder);
    if (colours == TJCS_CMYK || colours == TJCS_YCCK)
        return deft_fail(ctx, DEFT_UNSUPPORTED, "a JPEG in CMYK colours; convert it to RGB");
    if (channels == 0) channels = colours == TJCS_GRAY ? 1 : 3;
    *picture = (deft_picture){.height = height, .width = width, .channels = channels};
    DEFT_TRY(make_room(ctx, picture));
    const int flags = TJFLAG_STOPONWARNING | TJFLAG_LIMITSCANS | TJFLAG_ACCURATEDCT;
    if (tjDecompress2(decoder, data, bytes, picture->pixels, width, 0, height, channels == 3 ? TJPF_RGB : TJPF_GRAY,
                      flags) != 0)
        return fail_jpeg(ctx, decoder);
    return DEFT_OK;
}

static deft_status decode_jpeg(deft_context *ctx, const void *data, size_t bytes, int channels, deft_picture *picture) {
    tjhandle decoder = tjInitDecompress();
    if (!decoder) return deft_fail(ctx, DEFT_MEMORY, "out of memory for a JPEG decoder");
    deft_status status = decode_with(ctx, decoder, data, bytes, channels, picture);
    tjDestroy(decoder);
    return status;
}

deft_status deft_picture_decode(deft_context *ctx, const void *data, size_t bytes, int channels,
                                deft_picture *picture) {
    static const unsigned char png[] = {0x89, 'P', 'N', 'G'}, jpeg[] = {0xff, 0xd8, 0xff};
    deft_picture decoded = {0};
    deft_status status;
    if (bytes >= sizeof png && memcmp(data, png, sizeof png) == 0)
        status = decode_png(ctx, data, bytes, channels, &decoded);
    else if (bytes >= sizeof jpeg && memcmp(data, jpeg, sizeof jpeg) == 0)
        status = decode_jpeg(ctx, data, bytes, channels, &decoded);
    else
        status = deft_fail(ctx, DEFT_INVALID, "neither a PNG nor a JPEG");
    if (status == DEFT_OK)
        *picture = decoded;
    else
        deft_release(ctx, decoded.pixels);
    return status;
}

/* ---- size ------------------------------------------------------------------------------------------------------ */

/* Along one axis: output i is the mean of the inputs around (i + 1/2) step + start, weighted by a triangle. */
typedef struct axis {
    int64_t in, out;
    double step, start; /* in input pixels */
} axis;

typedef struct taps {
    int64_t first, end;
    double centre, reach, sum;
} taps;

static double weight_of(const taps *t, int64_t i) {
    double distance = fabs((double)i + 0.5 - t->centre) / t->reach;
    return distance < 1 ? 1 - distance : 0;
}

static taps taps_of(const axis *a, int64_t output) {
    taps t = {.centre = ((double)output + 0.5) * a->step + a->start, .reach = a->step > 1 ? a->step : 1};
    double first = ceil(t.centre - t.reach - 0.5), end = floor(t.centre + t.reach - 0.5) + 1;
    t.first = first > 0 ? (int64_t)first : 0;
    t.end = end < (double)a->in ? (int64_t)end : a->in;
    for (int64_t i = t.first; i < t.end; i++)
        t.sum += weight_of(&t, i);
    return t;
}

/* Rows of pixels to rows of the output's width: [height][channels][width]. */
static void shrink_rows(const deft_picture *p, const axis *across, float *rows) {
    for (int64_t ox = 0; ox < across->out; ox++) {
        taps t = taps_of(across, ox);
        for (int64_t y = 0; y < p->height; y++)
            for (int c = 0; c < p->channels; c++) {
                double sum = 0;
                for (int64_t x = t.first; x < t.end; x++)
                    sum += weight_of(&t, x) * p->pixels[(y * p->width + x) * p->channels + c];
                rows[(y * p->channels + c) * across->out + ox] = (float)(sum / t.sum / 255);
            }
    }
}

static void shrink_columns(const float *rows, int channels, const axis *down, int64_t width, float *x) {
    for (int64_t oy = 0; oy < down->out; oy++) {
        taps t = taps_of(down, oy);
        for (int c = 0; c < channels; c++)
            for (int64_t ox = 0; ox < width; ox++) {
                double sum = 0;
                for (int64_t y = t.first; y < t.end; y++)
                    sum += weight_of(&t, y) * (double)rows[(y * channels + c) * width + ox];
                x[(c * down->out + oy) * width + ox] = (float)(sum / t.sum);
            }
    }
}

static void copy_planes(const deft_picture *p, float *x) {
    for (int c = 0; c < p->channels; c++)
        for (int64_t i = 0; i < p->height * p->width; i++)
            *x++ = (float)p->pixels[i * p->channels + c] / 255.0f;
}

deft_status deft_picture_fit(deft_context *ctx, const deft_picture *p, int64_t height, int64_t width, float *x) {
    if (p->height == height && p->width == width) {
        copy_planes(p, x);
        return DEFT_OK;
    }
    float *rows;
    axis down = {.in = p->height, .out = height, .step = (double)p->height / (double)height};
    axis across = {.in = p->width, .out = width, .step = (double)p->width / (double)width};
    down.step = across.step = down.step < across.step ? down.step : across.step;
    down.start = ((double)down.in - (double)down.out * down.step) / 2;
    across.start = ((double)across.in - (double)across.out * across.step) / 2;
    DEFT_TRY(deft_allocate(ctx, (size_t)(p->height * p->channels * width) * sizeof *rows, &rows));
    shrink_rows(p, &across, rows);
    shrink_columns(rows, p->channels, &down, width, x);
    deft_release(ctx, rows);
    return DEFT_OK;
}

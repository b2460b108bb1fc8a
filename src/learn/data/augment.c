#include "learn/data/augment.h"

#include "base/core/rng.h"

#include <stdlib.h>
#include <string.h>

enum { CROP_DEFAULT = 4, CUTOUT_DEFAULT = 8, PIXELS_MAX = 4096, STREAM_EPOCH_BITS = 40 /* below them, the sample */ };

static deft_status fail_text(deft_context *ctx, const char *text) {
    return deft_fail(ctx, DEFT_INVALID,
                     "augment '%.64s': expected some of crop, flip and cutout, with commas between, or crop=PIXELS and "
                     "cutout=PIXELS (1 to %d)",
                     text, PIXELS_MAX);
}

static bool is_word(const char *word, size_t length, const char *name) {
    return length == strlen(name) && strncmp(word, name, length) == 0;
}

/* "name", or "name=PIXELS". */
static bool parse_pixels(const char *word, size_t length, const char *name, int pixels_default, int *pixels) {
    size_t start = strlen(name) + 1;
    if (is_word(word, length, name)) {
        *pixels = pixels_default;
        return true;
    }
    if (length <= start || strncmp(word, name, start - 1) != 0 || word[start - 1] != '=') return false;
    if (word[start] < '0' || word[start] > '9') return false;
    char *end;
    long number = strtol(word + start, &end, 10);
    *pixels = number <= PIXELS_MAX ? (int)number : 0;
    return end == word + length && *pixels > 0;
}

deft_status deft_augment_parse(deft_context *ctx, const char *text, deft_augment *augment) {
    *augment = (deft_augment){0};
    for (const char *word = text;; word++) {
        size_t length = strcspn(word, ",");
        bool known = parse_pixels(word, length, "crop", CROP_DEFAULT, &augment->crop) ||
                     parse_pixels(word, length, "cutout", CUTOUT_DEFAULT, &augment->cutout);
        bool flip = is_word(word, length, "flip");
        if (!known && !flip) return fail_text(ctx, text);
        augment->flip |= flip;
        word += length;
        if (*word == 0) return DEFT_OK;
    }
}

deft_status deft_augment_check(const deft_dataset *set) {
    int crop = set->augment.crop;
    if (set->sample_rank != 3)
        return deft_fail(set->ctx, DEFT_INVALID,
                         "%s: samples of %d dimensions are no pictures that augment could change", set->spec,
                         set->sample_rank);
    if (crop >= set->sample_dims[1] || crop >= set->sample_dims[2])
        return deft_fail(set->ctx, DEFT_INVALID, "augment: pictures of %lldx%lld cannot be moved by up to %d pixels",
                         (long long)set->sample_dims[1], (long long)set->sample_dims[2], crop);
    return DEFT_OK;
}

/* Moves a row of a picture by `shift` to the left; zeros come in. */
static void move_row(float *to, const float *from, int64_t width, int64_t shift) {
    int64_t kept = width - llabs(shift);
    memmove(shift > 0 ? to : to - shift, shift > 0 ? from + shift : from, (size_t)kept * sizeof *to);
    memset(shift > 0 ? to + kept : to, 0, (size_t)(width - kept) * sizeof *to);
}

/* Output (y, x) is input (y + down, x + right); rows are taken in the order in which none is needed any more that has
 * been written. */
static void move_plane(float *plane, int64_t height, int64_t width, int64_t down, int64_t right) {
    for (int64_t i = 0; i < height; i++) {
        int64_t y = down >= 0 ? i : height - 1 - i, from = y + down;
        if (from < 0 || from >= height)
            memset(plane + y * width, 0, (size_t)width * sizeof *plane);
        else
            move_row(plane + y * width, plane + from * width, width, right);
    }
}

static void flip_row(float *row, int64_t width) {
    for (int64_t left = 0, right = width - 1; left < right; left++, right--) {
        float kept = row[left];
        row[left] = row[right];
        row[right] = kept;
    }
}

/* Sets to zero what a square of `side` pixels around (y, x) covers of the picture. */
static void cut_out(float *x, int64_t planes, int64_t height, int64_t width, int64_t side, int64_t y, int64_t at) {
    int64_t top = y - side / 2 > 0 ? y - side / 2 : 0, left = at - side / 2 > 0 ? at - side / 2 : 0;
    int64_t bottom = y - side / 2 + side, right = at - side / 2 + side;
    if (bottom > height) bottom = height;
    if (right > width) right = width;
    for (int64_t c = 0; c < planes; c++)
        for (int64_t row = top; row < bottom; row++)
            memset(x + (c * height + row) * width + left, 0, (size_t)(right - left) * sizeof *x);
}

void deft_augment_apply(const deft_dataset *set, uint64_t seed, int epoch, int64_t number, float *x) {
    const deft_augment *augment = &set->augment;
    if (!deft_augment_is_any(augment)) return;
    int64_t planes = set->sample_dims[0], height = set->sample_dims[1], width = set->sample_dims[2];
    deft_rng rng;
    deft_rng_init(&rng, seed, ((uint64_t)epoch + 1) << STREAM_EPOCH_BITS | (uint64_t)number);
    uint64_t steps = 2 * (uint64_t)augment->crop + 1;
    int64_t down = (int64_t)deft_rng_below(&rng, steps) - augment->crop;
    int64_t right = (int64_t)deft_rng_below(&rng, steps) - augment->crop;
    bool flip = augment->flip && deft_rng_below(&rng, 2) == 1;
    for (int64_t c = 0; c < planes && (down || right); c++)
        move_plane(x + c * height * width, height, width, down, right);
    for (int64_t row = 0; row < planes * height && flip; row++)
        flip_row(x + row * width, width);
    if (!augment->cutout) return;
    int64_t y = (int64_t)deft_rng_below(&rng, (uint64_t)height);
    cut_out(x, planes, height, width, augment->cutout, y, (int64_t)deft_rng_below(&rng, (uint64_t)width));
}

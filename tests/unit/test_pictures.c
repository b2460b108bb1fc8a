/* Pictures: decoding, scaling, and folders of them. */
#include "tests/unit/pictures.h"

#include "base/core/file.h"
#include "learn/data/dataset.h"
#include "learn/data/picture.h"

#include <math.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- decoding -------------------------------------------------------------------------------------------------- */

static void expect_pixels(deft_context *ctx, const encoded *file, int channels, int wanted_channels,
                          const uint8_t *pixels, int count) {
    deft_picture picture;
    if (deft_picture_decode(ctx, file->bytes, file->count, channels, &picture) != DEFT_OK)
        fail_msg("%s", deft_context_message(ctx));
    assert_int_equal(picture.height, 2);
    assert_int_equal(picture.width, 3);
    assert_int_equal(picture.channels, wanted_channels);
    assert_memory_equal(picture.pixels, pixels, (size_t)count);
    deft_release(ctx, picture.pixels);
}

static void test_png(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    static const uint8_t grey[6] = {0, 50, 100, 150, 200, 255};
    uint8_t colour[18], spread[18], with_alpha[24], on_black[18];
    for (int i = 0; i < 18; i++) {
        colour[i] = (uint8_t)(14 * i);
        spread[i] = grey[i / 3];
    }
    for (int i = 0; i < 6; i++)
        for (int c = 0; c < 4; c++) {
            with_alpha[4 * i + c] = c == 3 ? (i % 2 ? 255 : 0) : colour[3 * i + c];
            if (c < 3) on_black[3 * i + c] = i % 2 ? colour[3 * i + c] : 0;
        }
    encoded file = make_png(3, 2, PNG_FORMAT_GRAY, grey);
    expect_pixels(ctx, &file, 0, 1, grey, 6);
    expect_pixels(ctx, &file, 3, 3, spread, 18);
    file = make_png(3, 2, PNG_FORMAT_RGB, colour);
    expect_pixels(ctx, &file, 0, 3, colour, 18);
    file = make_png(3, 2, PNG_FORMAT_RGBA, with_alpha);
    expect_pixels(ctx, &file, 3, 3, on_black, 18);
    file = make_png(3, 2, PNG_FORMAT_RGB, spread);
    expect_pixels(ctx, &file, 1, 1, grey, 6);
    test_context_free(ctx);
}

/* Flat colours come back to within the rounding of a quality of 95. */
static void test_jpeg(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    uint8_t pixels[16 * 16 * 3];
    for (int i = 0; i < 16 * 16; i++)
        memcpy(pixels + 3 * i, ((uint8_t[]){200, 100, 50}), 3);
    encoded file = make_jpeg(16, 16, TJPF_RGB, TJSAMP_420, pixels);
    deft_picture picture;
    assert_int_equal(deft_picture_decode(ctx, file.bytes, file.count, 0, &picture), DEFT_OK);
    assert_int_equal(picture.channels, 3);
    assert_int_equal(picture.height, 16);
    for (int i = 0; i < 16 * 16 * 3; i++)
        assert_in_range(picture.pixels[i], pixels[i] - 3, pixels[i] + 3);
    deft_release(ctx, picture.pixels);
    /* As grey: 0.299 red + 0.587 green + 0.114 blue. */
    assert_int_equal(deft_picture_decode(ctx, file.bytes, file.count, 1, &picture), DEFT_OK);
    for (int i = 0; i < 16 * 16; i++)
        assert_in_range(picture.pixels[i], 121, 127);
    deft_release(ctx, picture.pixels);
    memset(pixels, 77, sizeof pixels);
    file = make_jpeg(16, 16, TJPF_GRAY, TJSAMP_GRAY, pixels);
    assert_int_equal(deft_picture_decode(ctx, file.bytes, file.count, 0, &picture), DEFT_OK);
    assert_int_equal(picture.channels, 1);
    assert_in_range(picture.pixels[100], 76, 78);
    deft_release(ctx, picture.pixels);
    file = make_jpeg(16, 16, TJPF_CMYK, TJSAMP_444, (uint8_t[16 * 16 * 4]){0});
    assert_int_equal(deft_picture_decode(ctx, file.bytes, file.count, 3, &picture), DEFT_UNSUPPORTED);
    assert_non_null(strstr(deft_context_message(ctx), "CMYK"));
    test_context_free(ctx);
}

/* Cut off anywhere, or with a bit turned anywhere in the middle of a PNG, a file is refused, in one line. */
static void check_refused(deft_context *ctx, const uint8_t *bytes, size_t count) {
    deft_picture picture;
    uint8_t *exact = malloc(count ? count : 1); /* so that a sanitizer sees what is read past its end */
    memcpy(exact, bytes, count);
    assert_int_equal(deft_picture_decode(ctx, exact, count, 3, &picture), DEFT_INVALID);
    assert_true(deft_context_message(ctx)[0] && !strchr(deft_context_message(ctx), '\n'));
    assert_int_equal(atomic_load(&ctx->live_bytes), 0);
    free(exact);
}

static void test_damaged(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    uint8_t pixels[16 * 16 * 3];
    for (int i = 0; i < 16 * 16 * 3; i++)
        pixels[i] = (uint8_t)(i * i * 31);
    encoded png = make_png(16, 16, PNG_FORMAT_RGB, pixels), jpeg = make_jpeg(16, 16, TJPF_RGB, TJSAMP_444, pixels);
    /* The last chunk of a PNG says only that it ends. */
    for (size_t count = 0; count + 16 < png.count; count++)
        check_refused(ctx, png.bytes, count);
    for (size_t count = 0; count + 2 < jpeg.count; count++)
        check_refused(ctx, jpeg.bytes, count);
    for (size_t at = 100; at + 100 < png.count; at += 7) {
        png.bytes[at] ^= 4;
        check_refused(ctx, png.bytes, png.count);
        png.bytes[at] ^= 4;
    }
    check_refused(ctx, (const uint8_t *)"GIF89a...", 9);
    test_context_free(ctx);
}

/* A header that promises more than may be unpacked. */
static void test_bomb(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    static const uint8_t huge[] = {0x89, 'P',  'N',  'G', 13, 10, 26, 10,  0,   0,   0,   13,   'I',  'H',  'D',
                                   'R',  0,    1,    0,   0,  0,  1,  0,   0,   8,   2,   0,    0,    0,    0x78,
                                   0x59, 0x3e, 0x3e, 0,   0,  0,  0,  'I', 'D', 'A', 'T', 0x35, 0xaf, 0x06, 0x1e};
    deft_picture picture;
    deft_status status = deft_picture_decode(ctx, huge, sizeof huge, 3, &picture);
    assert_true(status == DEFT_UNSUPPORTED || status == DEFT_INVALID);
    test_context_free(ctx);
}

/* ---- scaling --------------------------------------------------------------------------------------------------- */

static void test_fit(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    uint8_t pixels[] = {0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120, 130, 140, 150};
    deft_picture picture = {.height = 2, .width = 8, .channels = 1, .pixels = pixels};
    float x[64];
    /* As it is. */
    assert_int_equal(deft_picture_fit(ctx, &picture, 2, 8, x), DEFT_OK);
    for (int i = 0; i < 16; i++)
        assert_true(x[i] == (float)pixels[i] / 255.0f);
    /* The middle, where only the width is too large. */
    assert_int_equal(deft_picture_fit(ctx, &picture, 2, 4, x), DEFT_OK);
    for (int i = 0; i < 8; i++)
        assert_true(fabsf(x[i] - (float)pixels[i / 4 * 8 + 2 + i % 4] / 255) < 1e-6f);
    /* Half the size: the four pixels around each middle, 1 3 3 1; at the edges, those that are there. Down: of the two
     * rows, the same. */
    assert_int_equal(deft_picture_fit(ctx, &picture, 1, 4, x), DEFT_OK);
    static const double columns[4] = {(3 * 0 + 3 * 10 + 20) / 7.0, (10 + 3 * 20 + 3 * 30 + 40) / 8.0,
                                      (30 + 3 * 40 + 3 * 50 + 60) / 8.0, (50 + 3 * 60 + 3 * 70) / 7.0};
    for (int i = 0; i < 4; i++)
        assert_true(fabs((double)x[i] - (columns[i] + 40) / 255) < 1e-6);
    /* Twice the size: between the neighbours, a quarter and three quarters. */
    assert_int_equal(deft_picture_fit(ctx, &picture, 4, 16, x), DEFT_OK);
    assert_true(fabs((double)x[0] - 0) < 1e-6 && fabs((double)x[1] - 2.5 / 255) < 1e-6 &&
                fabs((double)x[2] - 7.5 / 255) < 1e-6);
    assert_true(fabs((double)x[16] - 20.0 / 255) < 1e-6 && fabs((double)x[63] - 150.0 / 255) < 1e-6);
    test_context_free(ctx);
}

/* Channels become planes. */
static void test_planes(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    uint8_t pixels[] = {1, 2, 3, 4, 5, 6};
    deft_picture picture = {.height = 1, .width = 2, .channels = 3, .pixels = pixels};
    float x[3 * 2 * 4];
    assert_int_equal(deft_picture_fit(ctx, &picture, 1, 2, x), DEFT_OK);
    static const uint8_t planes[] = {1, 4, 2, 5, 3, 6};
    for (int i = 0; i < 6; i++)
        assert_true(x[i] == (float)planes[i] / 255.0f);
    assert_int_equal(deft_picture_fit(ctx, &picture, 2, 4, x), DEFT_OK);
    for (int c = 0; c < 3; c++)
        for (int row = 0; row < 2; row++)
            for (int i = 0; i < 4; i++) {
                static const double share[] = {0, 0.25, 0.75, 1};
                assert_true(fabs((double)x[(c * 2 + row) * 4 + i] * 255 - (c + 1 + 3 * share[i])) < 1e-4);
            }
    test_context_free(ctx);
}

/* ---- folders --------------------------------------------------------------------------------------------------- */

/* A flat grey PNG of 4 x 3. */
static void write_flat(deft_context *ctx, const char *path, int value) {
    uint8_t pixels[12];
    memset(pixels, value, sizeof pixels);
    encoded file = make_png(4, 3, PNG_FORMAT_GRAY, pixels);
    assert_int_equal(deft_file_write(ctx, path, file.bytes, file.count), DEFT_OK);
}

/* `count` pictures of each of the classes a, b, c, whose values are 100 x class + number + first. */
static void write_classes(deft_context *ctx, const char *folder, int count, int first) {
    char path[256];
    mkdir(folder, 0755);
    for (int class = 0; class < 3; class ++) {
        snprintf(path, sizeof path, "%s/%c", folder, 'a' + class);
        mkdir(path, 0755);
        for (int i = 0; i < count; i++) {
            snprintf(path, sizeof path, "%s/%c/%d.PNG", folder, 'a' + class, i);
            write_flat(ctx, path, 80 * class + i + first);
        }
    }
}

static deft_dataset *open_set(deft_context *ctx, const char *spec) {
    deft_dataset *set = NULL;
    if (deft_dataset_open(ctx, spec, &set) != DEFT_OK) fail_msg("%s", deft_context_message(ctx));
    return set;
}

static void expect_failure(deft_context *ctx, const char *spec, deft_status wanted, const char *message) {
    deft_dataset *set = NULL;
    deft_status status = deft_dataset_open(ctx, spec, &set);
    if (status != wanted || !strstr(deft_context_message(ctx), message))
        fail_msg("%s: %s (%s), expected %s (...%s...)", spec, deft_status_name(status), deft_context_message(ctx),
                 deft_status_name(wanted), message);
    assert_int_equal(atomic_load(&ctx->live_bytes), 0);
}

/* Reads all of a split; every picture is flat, its value says its class, and none has been seen. */
static void check_split(const deft_dataset *set, deft_split split, int64_t count, int low, int high, bool *seen) {
    assert_int_equal(set->split[split].count, count);
    for (int64_t i = 0; i < count; i++) {
        float x[12];
        assert_int_equal(deft_dataset_read(set, set->ctx, split, i, x), DEFT_OK);
        int value = (int)lrintf(x[0] * 255);
        for (int p = 0; p < 12; p++)
            assert_true(x[p] == (float)value / 255.0f);
        assert_int_equal(set->split[split].y[i], value / 80);
        assert_in_range(value % 80, low, high);
        assert_false(seen[value]);
        seen[value] = true;
    }
}

static void test_one_folder(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    write_classes(ctx, "flat", 10, 0);
    assert_int_equal(deft_file_write(ctx, "flat/a/notes.txt", "no picture", 10), DEFT_OK);
    assert_int_equal(deft_file_write(ctx, "flat/.hidden", "", 0), DEFT_OK);
    deft_dataset *set = open_set(ctx, "flat");
    bool seen[256] = {false};
    assert_int_equal(set->classes, 3);
    assert_int_equal(set->sample_rank, 3);
    assert_memory_equal(set->sample_dims, ((int64_t[]){1, 3, 4}), 3 * sizeof(int64_t));
    check_split(set, DEFT_TRAIN, 24, 0, 9, seen);
    check_split(set, DEFT_VALIDATION, 3, 0, 9, seen);
    check_split(set, DEFT_TEST, 3, 0, 9, seen);
    deft_dataset_free(set);
    test_context_free(ctx);
}

static void test_parted_folders(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    mkdir("parted", 0755);
    write_classes(ctx, "parted/train", 10, 0);
    write_classes(ctx, "parted/val", 2, 20);
    bool seen[256] = {false};
    deft_dataset *set = open_set(ctx, "pictures:parted");
    check_split(set, DEFT_TRAIN, 27, 0, 9, seen);
    check_split(set, DEFT_VALIDATION, 3, 0, 9, seen);
    check_split(set, DEFT_TEST, 6, 20, 21, seen);
    deft_dataset_free(set);
    write_classes(ctx, "parted/test", 4, 40);
    memset(seen, 0, sizeof seen);
    set = open_set(ctx, "parted");
    check_split(set, DEFT_TRAIN, 30, 0, 9, seen);
    check_split(set, DEFT_VALIDATION, 6, 20, 21, seen);
    check_split(set, DEFT_TEST, 12, 40, 43, seen);
    deft_dataset_free(set);
    mkdir("parted/test/d", 0755);
    expect_failure(ctx, "parted", DEFT_INVALID, "parted/test/d: a class that the training pictures have not");
    assert_int_equal(rmdir("parted/test/d"), 0);
    test_context_free(ctx);
}

static void test_sizes(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    write_classes(ctx, "flat", 10, 0);
    deft_dataset *set = open_set(ctx, "size=6x5x3:flat");
    assert_memory_equal(set->sample_dims, ((int64_t[]){3, 6, 5}), 3 * sizeof(int64_t));
    float x[90];
    assert_int_equal(deft_dataset_read(set, ctx, DEFT_TEST, 0, x), DEFT_OK);
    for (int i = 1; i < 90; i++)
        assert_true(fabsf(x[i] - x[0]) < 1e-6f);
    deft_dataset_free(set);
    set = open_set(ctx, "augment=flip:size=2x2:pictures:flat");
    assert_memory_equal(set->sample_dims, ((int64_t[]){1, 2, 2}), 3 * sizeof(int64_t));
    deft_dataset_free(set);
    static const char *const bad[] = {"", "6", "6x", "0x5", "6x5x", "6x5x2", "-6x5", "6x5x3x1", "100000x5", "6 x5"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char spec[64];
        snprintf(spec, sizeof spec, "size=%s:flat", bad[i]);
        expect_failure(ctx, spec, DEFT_INVALID, "expected HEIGHTxWIDTH or HEIGHTxWIDTHxCHANNELS");
    }
    expect_failure(ctx, "size=14x14:digits:10", DEFT_INVALID, "only pictures in folders can be had in another size");
    test_context_free(ctx);
}

static void test_bad_folders(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    mkdir("bare", 0755);
    mkdir("bare/a", 0755);
    expect_failure(ctx, "bare", DEFT_INVALID, "bare: no picture (.png, .jpg, .jpeg) in a folder for its class");
    expect_failure(ctx, "pictures:missing", DEFT_INVALID, "missing: cannot open the folder");
    write_flat(ctx, "bare/a/0.png", 1);
    write_flat(ctx, "bare/a/1.png", 2);
    expect_failure(ctx, "bare", DEFT_INVALID, "bare: 2 training pictures; 3 or more are needed");
    /* A corrupt picture is told when it is read, with its name. */
    assert_int_equal(deft_file_write(ctx, "bare/a/2.png", "\x89PNG and no more", 16), DEFT_OK);
    deft_dataset *set = open_set(ctx, "bare");
    int refused = 0;
    for (int split = 0; split < DEFT_SPLITS; split++) {
        float x[12];
        if (deft_dataset_read(set, ctx, (deft_split)split, 0, x) == DEFT_OK) continue;
        refused++;
        assert_ptr_equal(strstr(deft_context_message(ctx), "bare/a/2.png: a damaged PNG: "), deft_context_message(ctx));
    }
    assert_int_equal(refused, 1);
    deft_dataset_free(set);
    assert_int_equal(deft_file_write(ctx, "bare/a/0.png", "GIF89a", 6), DEFT_OK);
    expect_failure(ctx, "bare", DEFT_INVALID, "bare/a/0.png: neither a PNG nor a JPEG");
    assert_int_equal(unlink("bare/a/2.png"), 0);
    test_context_free(ctx);
}

/* ---- memory ---------------------------------------------------------------------------------------------------- */

static deft_status open_and_read(deft_context *ctx, void *spec) {
    deft_dataset *set;
    float x[75];
    DEFT_TRY(deft_dataset_open(ctx, spec, &set));
    deft_status status = deft_dataset_read(set, ctx, DEFT_TEST, 0, x);
    deft_dataset_free(set);
    return status;
}

static void test_out_of_memory(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    write_classes(ctx, "flat", 10, 0);
    test_context_free(ctx);
    check_every_allocation_failure(open_and_read, "flat");
    check_every_allocation_failure(open_and_read, "normalize:size=5x5x3:flat");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_png),           cmocka_unit_test(test_jpeg),
        cmocka_unit_test(test_damaged),       cmocka_unit_test(test_bomb),
        cmocka_unit_test(test_fit),           cmocka_unit_test(test_planes),
        cmocka_unit_test(test_one_folder),    cmocka_unit_test(test_parted_folders),
        cmocka_unit_test(test_sizes),         cmocka_unit_test(test_bad_folders),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Batches read ahead, and what changes the samples on their way. */
#include "tests/support.h"

#include "base/tensor/npy.h"
#include "learn/data/augment.h"
#include "learn/data/format.h"
#include "learn/data/loader.h"

#include <string.h>

enum { CHANNELS = 2, HEIGHT = 4, WIDTH = 5, SIZE = CHANNELS * HEIGHT * WIDTH, COUNT = 100, BAD = 61 };

/* Sample i holds 1000 i + 1, 1000 i + 2, ...: no zero, so that what comes in from outside is seen. */
static float pixel(int64_t index, int64_t at) {
    return (float)(1000 * index + at + 1);
}

static deft_status read_made(const deft_dataset *set, deft_context *ctx, deft_split split, int64_t index, float *x) {
    (void)split;
    if (set->source.state && index >= BAD) return deft_fail(ctx, DEFT_INVALID, "sample %d is bad", (int)index);
    for (int64_t i = 0; i < SIZE; i++)
        x[i] = pixel(index, i);
    return DEFT_OK;
}

/* A set whose samples are made when they are read; where `bad`, those from number BAD on cannot be. */
static deft_dataset made_set(deft_context *ctx, bool bad) {
    deft_dataset set = {.ctx = ctx, .spec = (char *)"made", .source = {.read = read_made}};
    if (bad) set.source.state = ctx;
    set.split[DEFT_TRAIN].count = COUNT;
    deft_data_set_shape(&set, 3, (const int64_t[]){CHANNELS, HEIGHT, WIDTH});
    return set;
}

static deft_context *context_of(int threads) {
    deft_context *ctx;
    deft_context_options options = {.cache_directory = "", .threads = threads, .seed = 3};
    assert_int_equal(deft_context_new(&options, &ctx), DEFT_OK);
    return ctx;
}

static deft_loader *new_loader(deft_context *ctx, const deft_dataset *set, int64_t batch, bool augment) {
    deft_loader *loader;
    assert_int_equal(deft_loader_new(ctx, set, DEFT_TRAIN, batch, augment, &loader), DEFT_OK);
    return loader;
}

/* ---- order ----------------------------------------------------------------------------------------------------- */

/* Whatever the batch and the number of threads: the samples in the order that was asked for, the last batch shorter. */
static void check_order(int threads, int64_t batch, int64_t first, int64_t count) {
    deft_context *ctx = context_of(threads);
    deft_dataset set = made_set(ctx, false);
    int64_t order[COUNT];
    for (int64_t i = 0; i < COUNT; i++)
        order[i] = i * 37 % COUNT;
    deft_loader *loader = new_loader(ctx, &set, batch, false);
    float *x = calloc((size_t)batch, SIZE * sizeof *x);
    for (int pass = 0; pass < 2; pass++) {
        deft_loader_start(loader, pass ? order : NULL, first, count, pass);
        for (int64_t done = 0; done < count; done += batch) {
            int64_t here = count - done < batch ? count - done : batch;
            x[(here - 1) * SIZE] = -1;
            assert_int_equal(deft_loader_next(loader, x), DEFT_OK);
            for (int64_t i = 0; i < here; i++) {
                int64_t index = pass ? order[first + done + i] : first + done + i;
                for (int64_t j = 0; j < SIZE; j++)
                    assert_true(x[i * SIZE + j] == pixel(index, j));
            }
        }
    }
    free(x);
    deft_loader_free(loader);
    test_context_free(ctx);
}

static void test_order(void **state) {
    (void)state;
    for (int threads = 1; threads <= 5; threads += 2) {
        check_order(threads, 1, 0, COUNT);
        check_order(threads, 10, 0, COUNT);
        check_order(threads, 17, 0, COUNT);
        check_order(threads, 17, 40, 51);
        check_order(threads, 100, 0, COUNT);
        check_order(threads, 1000, 99, 1);
    }
    deft_loader_free(NULL);
}

/* What was read ahead of an order that is given up does not come out of the next. */
static void test_start_again(void **state) {
    (void)state;
    deft_context *ctx = context_of(4);
    deft_dataset set = made_set(ctx, false);
    deft_loader *loader = new_loader(ctx, &set, 30, false);
    float x[30 * SIZE];
    for (int i = 0; i < 200; i++) {
        deft_loader_start(loader, NULL, i % 40, 60, i);
        if (i % 3) assert_int_equal(deft_loader_next(loader, x), DEFT_OK);
        if (i % 3) assert_true(x[29 * SIZE] == pixel(i % 40 + 29, 0));
    }
    deft_loader_free(loader);
    test_context_free(ctx);
}

/* ---- errors ---------------------------------------------------------------------------------------------------- */

/* Of the batches, the one with the bad samples fails, with the message of the first, and the others do not. */
static void test_bad_samples(void **state) {
    (void)state;
    for (int threads = 1; threads <= 5; threads += 2) {
        deft_context *ctx = context_of(threads);
        deft_dataset set = made_set(ctx, true);
        deft_loader *loader = new_loader(ctx, &set, 20, false);
        float x[20 * SIZE];
        for (int pass = 0; pass < 20; pass++) {
            deft_loader_start(loader, NULL, 0, COUNT, pass);
            for (int batch = 0; batch < 3; batch++)
                assert_int_equal(deft_loader_next(loader, x), DEFT_OK);
            assert_int_equal(deft_loader_next(loader, x), DEFT_INVALID);
            assert_string_equal(deft_context_message(ctx), "sample 61 is bad");
            assert_int_equal(deft_loader_next(loader, x), DEFT_INVALID);
            assert_string_equal(deft_context_message(ctx), "sample 80 is bad");
        }
        deft_loader_free(loader);
        test_context_free(ctx);
    }
}

static deft_status load_some(deft_context *ctx, void *user) {
    (void)user;
    deft_dataset set = made_set(ctx, false);
    deft_loader *loader;
    float x[10 * SIZE];
    ctx->threads = 2;
    DEFT_TRY(deft_loader_new(ctx, &set, DEFT_TRAIN, 10, true, &loader));
    deft_loader_start(loader, NULL, 0, COUNT, 0);
    deft_status status = deft_loader_next(loader, x);
    deft_loader_free(loader);
    return status;
}

static void test_out_of_memory(void **state) {
    (void)state;
    check_every_allocation_failure(load_some, NULL);
}

/* ---- augmentation ---------------------------------------------------------------------------------------------- */

/* The picture moved and flipped, by the definition. */
static float moved(int64_t index, int64_t channel, int64_t y, int64_t x, int down, int right, bool flip) {
    int64_t from_y = y + down, from_x = (flip ? WIDTH - 1 - x : x) + right;
    if (from_y < 0 || from_y >= HEIGHT || from_x < 0 || from_x >= WIDTH) return 0;
    return pixel(index, (channel * HEIGHT + from_y) * WIDTH + from_x);
}

static bool is_moved(const float *x, int64_t index, int down, int right, bool flip) {
    for (int64_t i = 0; i < SIZE; i++)
        if (x[i] != moved(index, i / (HEIGHT * WIDTH), i / WIDTH % HEIGHT, i % WIDTH, down, right, flip)) return false;
    return true;
}

/* Which of all moves and flips a picture is; each is another picture. */
static int find_move(const float *x, int64_t index, int crop) {
    int found = -1, number = 0;
    for (int flip = 0; flip < 2; flip++)
        for (int down = -crop; down <= crop; down++)
            for (int right = -crop; right <= crop; right++, number++)
                if (is_moved(x, index, down, right, flip)) {
                    assert_int_equal(found, -1);
                    found = number;
                }
    assert_int_not_equal(found, -1);
    return found;
}

/* Every move and flip comes up, about equally often: of 5,000 draws among 50, within 5 standard deviations (10). */
static void test_moves(void **state) {
    (void)state;
    deft_context *ctx = context_of(1);
    deft_dataset set = made_set(ctx, false);
    set.augment = (deft_augment){.crop = 2, .flip = true};
    int seen[50] = {0};
    for (int epoch = 0; epoch < 50; epoch++)
        for (int64_t i = 0; i < COUNT; i++) {
            float x[SIZE];
            assert_int_equal(deft_dataset_read(&set, ctx, DEFT_TRAIN, i, x), DEFT_OK);
            deft_augment_apply(&set, 3, epoch, i, x);
            seen[find_move(x, i, 2)]++;
        }
    for (int i = 0; i < 50; i++)
        assert_in_range(seen[i], 50, 150);
    /* Neither, unless asked for. */
    set.augment = (deft_augment){0};
    float x[SIZE];
    assert_int_equal(deft_dataset_read(&set, ctx, DEFT_TRAIN, 9, x), DEFT_OK);
    deft_augment_apply(&set, 3, 1, 9, x);
    assert_true(is_moved(x, 9, 0, 0, false));
    test_context_free(ctx);
}

/* Every picture misses a square around one of its pixels, cut at the borders, and every pixel is that one about equally
 * often: of 5,000 draws among 20, within 5 standard deviations (15). */
static void test_cutouts(void **state) {
    (void)state;
    enum { SIDE = 3 };
    deft_context *ctx = context_of(1);
    deft_dataset set = made_set(ctx, false);
    set.augment = (deft_augment){.cutout = SIDE};
    int seen[HEIGHT * WIDTH] = {0};
    for (int epoch = 0; epoch < 50; epoch++)
        for (int64_t i = 0; i < COUNT; i++) {
            float x[SIZE];
            assert_int_equal(deft_dataset_read(&set, ctx, DEFT_TRAIN, i, x), DEFT_OK);
            deft_augment_apply(&set, 3, epoch, i, x);
            int found = 0;
            for (int centre = 0; centre < HEIGHT * WIDTH; centre++) {
                bool is = true;
                for (int64_t at = 0; at < SIZE && is; at++) {
                    int64_t down = at / WIDTH % HEIGHT - centre / WIDTH, right = at % WIDTH - centre % WIDTH;
                    bool covered = llabs(down) <= SIDE / 2 && llabs(right) <= SIDE / 2;
                    is = x[at] == (covered ? 0 : pixel(i, at));
                }
                found += is;
                seen[centre] += is;
            }
            assert_int_equal(found, 1);
        }
    for (int i = 0; i < HEIGHT * WIDTH; i++)
        assert_in_range(seen[i], 175, 325);
    test_context_free(ctx);
}

/* An even side covers as many pixels, and one larger than the picture all of it. */
static void test_cutout_sizes(void **state) {
    (void)state;
    deft_context *ctx = context_of(1);
    deft_dataset set = made_set(ctx, false);
    for (int side = 2; side <= 20; side += 18) {
        set.augment = (deft_augment){.cutout = side};
        int most = 0;
        for (int64_t i = 0; i < COUNT; i++) {
            float x[SIZE];
            int zeros = 0;
            assert_int_equal(deft_dataset_read(&set, ctx, DEFT_TRAIN, i, x), DEFT_OK);
            deft_augment_apply(&set, 3, 0, i, x);
            for (int at = 0; at < SIZE; at++)
                zeros += x[at] == 0;
            most = zeros > most ? zeros : most;
        }
        assert_int_equal(most, side == 2 ? CHANNELS * 4 : SIZE);
    }
    test_context_free(ctx);
}

/* Into x [COUNT][SIZE], in a shuffled order. */
static void load_augmented(int threads, uint64_t seed, int epoch, bool augment, float *x) {
    deft_context *ctx = context_of(threads);
    ctx->seed = seed;
    deft_dataset set = made_set(ctx, false);
    set.augment = (deft_augment){.crop = 1, .flip = true};
    deft_loader *loader = new_loader(ctx, &set, COUNT, augment);
    deft_loader_start(loader, NULL, 0, COUNT, epoch);
    assert_int_equal(deft_loader_next(loader, x), DEFT_OK);
    deft_loader_free(loader);
    test_context_free(ctx);
}

/* By seed, epoch and sample, and by nothing else. */
static void test_moves_follow_from_the_seed(void **state) {
    (void)state;
    static float x[5][COUNT * SIZE];
    load_augmented(1, 3, 7, true, x[0]);
    load_augmented(4, 3, 7, true, x[1]);
    load_augmented(4, 3, 8, true, x[2]);
    load_augmented(4, 4, 7, true, x[3]);
    load_augmented(4, 3, 7, false, x[4]);
    assert_memory_equal(x[0], x[1], sizeof x[0]);
    int same[2] = {0};
    for (int64_t i = 0; i < COUNT; i++) {
        assert_true(is_moved(x[4] + i * SIZE, i, 0, 0, false));
        for (int other = 0; other < 2; other++)
            same[other] += find_move(x[0] + i * SIZE, i, 1) == find_move(x[2 + other] + i * SIZE, i, 1);
    }
    assert_in_range(same[0], 0, 20);
    assert_in_range(same[1], 0, 20);
}

static void test_words(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_augment augment;
    static const struct {
        const char *text;
        deft_augment expected;
    } good[] = {{"crop", {.crop = 4}},
                {"flip", {.flip = true}},
                {"crop,flip", {.crop = 4, .flip = true}},
                {"flip,crop=3", {.crop = 3, .flip = true}},
                {"crop=4096", {.crop = 4096}},
                {"crop=2,crop=1", {.crop = 1}},
                {"cutout", {.cutout = 8}},
                {"flip,cutout=16,crop", {.crop = 4, .flip = true, .cutout = 16}}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(deft_augment_parse(ctx, good[i].text, &augment), DEFT_OK);
        assert_int_equal(augment.crop, good[i].expected.crop);
        assert_int_equal(augment.flip, good[i].expected.flip);
        assert_int_equal(augment.cutout, good[i].expected.cutout);
    }
    static const char *const bad[] = {
        "",         ",",       "crop,",     ",flip",   "crop=",  "crop=0",
        "crop=-1",  "crop= 1", "crop=4097", "crop=1x", "flip=1", "crop flip",
        "cropflip", "cutout=", "cutout=0",  "cutouts", "crop:3", "crop=99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(deft_augment_parse(ctx, bad[i], &augment), DEFT_INVALID);
        assert_non_null(strstr(deft_context_message(ctx), "expected some of crop, flip and cutout"));
    }
    test_context_free(ctx);
}

/* Before a format, in any order with the other prefix. */
static void test_specs(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_dataset *set;
    assert_int_equal(deft_dataset_open(ctx, "normalize:augment=crop=2:digits:10", &set), DEFT_OK);
    assert_non_null(set->mean);
    assert_int_equal(set->augment.crop, 2);
    deft_dataset_free(set);
    assert_int_equal(deft_dataset_open(ctx, "augment=flip:normalize=0/1:digits:10", &set), DEFT_OK);
    assert_non_null(set->mean);
    assert_true(set->augment.flip);
    deft_dataset_free(set);
    assert_int_equal(deft_dataset_open(ctx, "validation=3:digits:20", &set), DEFT_OK);
    assert_int_equal(set->split[DEFT_TRAIN].count, 15);
    assert_int_equal(set->split[DEFT_VALIDATION].count, 3);
    assert_int_equal(set->split[DEFT_TEST].count, 2);
    deft_dataset_free(set);
    static const struct {
        const char *spec, *message;
    } bad[] = {{"augment:digits:10", "augment '': expected"},
               {"augment=crop=28:digits:10", "pictures of 28x28 cannot be moved by up to 28 pixels"},
               {"augment=flip:augment=flip:digits:10", "data 'augment=flip:digits:10': no such format"},
               {"validation:digits:10", "validation=: expected how many samples to hold back"},
               {"validation=0:digits:10", "validation=0: expected how many samples to hold back"},
               {"validation=2x:digits:10", "validation=2x: expected how many samples to hold back"},
               {"validation=9:digits:10", "fewer samples to train with (9 with the validation split)"},
               {"augment=flip:flat.npz", "augment=flip:flat.npz: samples of 1 dimensions are no pictures"}};
    float x[3] = {0};
    deft_npz_entry entry = {"x", {DEFT_F32, 2, {3, 1}, x}};
    assert_int_equal(deft_npz_save(ctx, "flat.npz", &entry, 1), DEFT_OK);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(deft_dataset_open(ctx, bad[i].spec, &set), DEFT_INVALID);
        if (!strstr(deft_context_message(ctx), bad[i].message)) fail_msg("%s", deft_context_message(ctx));
    }
    test_context_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),       cmocka_unit_test(test_start_again),
        cmocka_unit_test(test_bad_samples), cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_moves),       cmocka_unit_test(test_moves_follow_from_the_seed),
        cmocka_unit_test(test_words),       cmocka_unit_test(test_specs),
        cmocka_unit_test(test_cutouts),     cmocka_unit_test(test_cutout_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

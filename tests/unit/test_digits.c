#include "tests/support.h"

#include "base/core/rng.h"
#include "learn/data/digits.h"

#include <math.h>
#include <string.h>

enum { PIXELS = DEFT_DIGITS_SIZE * DEFT_DIGITS_SIZE };

/* FNV-1a over the bits of 200 pictures: the same with any compiler and on any machine. A new value here means that
 * every accuracy ever reported on `digits` is of another data set. */
static void test_bits_never_change(void **state) {
    (void)state;
    uint64_t hash = 0xcbf29ce484222325u;
    for (uint64_t i = 0; i < 200; i++) {
        float pixels[PIXELS];
        int32_t label;
        deft_digits_draw(7, i << (i % 40), pixels, &label);
        for (int j = 0; j <= PIXELS; j++) {
            uint32_t bits;
            if (j < PIXELS)
                memcpy(&bits, &pixels[j], sizeof bits);
            else
                bits = (uint32_t)label;
            hash = (hash ^ bits) * 0x100000001b3u;
        }
    }
    assert_int_equal(hash, 0x2b781edced3f16e4u);
}

static void test_pictures(void **state) {
    (void)state;
    enum { COUNT = 5000 };
    int seen[10] = {0};
    for (uint64_t i = 0; i < COUNT; i++) {
        float pixels[PIXELS], again[PIXELS], brightest = 0, sum = 0;
        int32_t label, label_again;
        deft_digits_draw(1, i, pixels, &label);
        assert_true(label >= 0 && label < 10);
        seen[label]++;
        for (int j = 0; j < PIXELS; j++) {
            assert_true(pixels[j] >= 0 && pixels[j] <= 1);
            brightest = fmaxf(brightest, pixels[j]);
            sum += pixels[j];
        }
        /* Neither empty nor full. */
        assert_true(brightest > 0.25f && sum > 8 && sum < 0.6f * PIXELS);
        if (i % 100 == 0) {
            deft_digits_draw(1, i, again, &label_again);
            assert_memory_equal(pixels, again, sizeof pixels);
            deft_digits_draw(2, i, again, &label_again);
            assert_memory_not_equal(pixels, again, sizeof pixels);
            deft_digits_draw(1, i + 1, again, &label_again);
            assert_memory_not_equal(pixels, again, sizeof pixels);
        }
    }
    /* Six standard deviations of a binomial around a tenth. */
    for (int k = 0; k < 10; k++)
        assert_in_range(seen[k], 373, 627);
}

/* One step of softmax regression. */
static void learn(float weights[10][PIXELS + 1], const float *x, int32_t y, float rate) {
    float score[10], most = -INFINITY, sum = 0;
    for (int k = 0; k < 10; k++) {
        score[k] = weights[k][PIXELS];
        for (int j = 0; j < PIXELS; j++)
            score[k] += weights[k][j] * x[j];
        most = fmaxf(most, score[k]);
    }
    for (int k = 0; k < 10; k++)
        sum += score[k] = expf(score[k] - most);
    for (int k = 0; k < 10; k++) {
        float step = rate * ((k == y) - score[k] / sum);
        for (int j = 0; j < PIXELS; j++)
            weights[k][j] += step * x[j];
        weights[k][PIXELS] += step;
    }
}

static bool is_right(float weights[10][PIXELS + 1], const float *x, int32_t y) {
    float most = -INFINITY;
    int best = -1;
    for (int k = 0; k < 10; k++) {
        float score = weights[k][PIXELS];
        for (int j = 0; j < PIXELS; j++)
            score += weights[k][j] * x[j];
        if (score > most) {
            most = score;
            best = k;
        }
    }
    return best == y;
}

/* The classes can be told apart, but not by a linear classifier. (What networks reach is for the tests of training.) */
static void test_hard_for_a_linear_classifier(void **state) {
    (void)state;
    enum { TRAIN = 8000, TEST = 2000, EPOCHS = 6 };
    static float weights[10][PIXELS + 1];
    float *x = malloc(sizeof(float) * PIXELS * (TRAIN + TEST));
    int32_t *y = malloc(sizeof(int32_t) * (TRAIN + TEST));
    for (int i = 0; i < TRAIN + TEST; i++)
        deft_digits_draw(3, (uint64_t)i, x + i * PIXELS, &y[i]);
    for (int epoch = 0; epoch < EPOCHS; epoch++)
        for (int i = 0; i < TRAIN; i++)
            learn(weights, x + i * PIXELS, y[i], 0.02f / (1.0f + (float)epoch));
    int right = 0;
    for (int i = TRAIN; i < TRAIN + TEST; i++)
        right += is_right(weights, x + i * PIXELS, y[i]);
    print_message("# a linear classifier: %.1f%%\n", 100.0 * right / TEST);
    assert_in_range(right, 0.6 * TEST, 0.95 * TEST);
    free(x);
    free(y);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bits_never_change),
        cmocka_unit_test(test_pictures),
        cmocka_unit_test(test_hard_for_a_linear_classifier),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

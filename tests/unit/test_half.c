/* 16-bit floats: every pattern there and back, and rounding at the edges. */
#include "tests/support.h"

#include "base/number/half.h"

#include <math.h>

static void test_f16_round_trip(void **state) {
    (void)state;
    for (uint32_t bits = 0; bits <= UINT16_MAX; bits++) {
        float value = deft_f16_decode((uint16_t)bits);
        uint16_t back = deft_f16_encode(value);
        if (isnan(value))
            assert_true(isnan(deft_f16_decode(back)));
        else
            assert_int_equal(back, bits);
    }
}

static void test_bf16_round_trip(void **state) {
    (void)state;
    for (uint32_t bits = 0; bits <= UINT16_MAX; bits++) {
        float value = deft_bf16_decode((uint16_t)bits);
        if (isnan(value))
            assert_true(isnan(deft_bf16_decode(deft_bf16_encode(value))));
        else
            assert_int_equal(deft_bf16_encode(value), bits);
    }
}

static void test_f16_rounding(void **state) {
    (void)state;
    assert_int_equal(deft_f16_encode(1), 0x3c00);
    assert_int_equal(deft_f16_encode(-2), 0xc000);
    assert_int_equal(deft_f16_encode(65504), 0x7bff);      /* the largest */
    assert_int_equal(deft_f16_encode(65519.996f), 0x7bff); /* below the tie */
    assert_int_equal(deft_f16_encode(65520), 0x7c00);      /* the tie goes to even: infinity */
    assert_int_equal(deft_f16_encode(INFINITY), 0x7c00);
    assert_int_equal(deft_f16_encode(1 + 0x1p-11f), 0x3c00); /* a tie, to even */
    assert_int_equal(deft_f16_encode(1 + 3 * 0x1p-11f), 0x3c02);
    assert_int_equal(deft_f16_encode(1 + 0x1.1p-11f), 0x3c01);
    assert_int_equal(deft_f16_encode(0x1p-24f), 0x0001); /* the smallest */
    assert_int_equal(deft_f16_encode(0x1p-25f), 0x0000); /* a tie, to even */
    assert_int_equal(deft_f16_encode(0x1.1p-25f), 0x0001);
    assert_int_equal(deft_f16_encode(0x1p-26f), 0x0000);
    assert_int_equal(deft_f16_encode(-0x1p-40f), 0x8000);
    assert_int_equal(deft_f16_encode(0x1.ffcp-15f), 0x0400); /* rounds up to the smallest normal */
    assert_int_equal(deft_f16_encode(-0.0f), 0x8000);
}

static void test_bf16_rounding(void **state) {
    (void)state;
    assert_int_equal(deft_bf16_encode(1), 0x3f80);
    assert_int_equal(deft_bf16_encode(1 + 0x1p-8f), 0x3f80); /* a tie, to even */
    assert_int_equal(deft_bf16_encode(1 + 3 * 0x1p-8f), 0x3f82);
    assert_int_equal(deft_bf16_encode(1 + 0x1.1p-8f), 0x3f81);
    assert_int_equal(deft_bf16_encode(0x1.fffffep127f), 0x7f80);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_f16_round_trip), cmocka_unit_test(test_bf16_round_trip),
                                       cmocka_unit_test(test_f16_rounding), cmocka_unit_test(test_bf16_rounding)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Element-wise operators beyond arithmetic: what ONNX's own tests do not ask. */
#include "tests/op_support.h"

#define BOOLS(...)                                                                                                     \
    .dtype = DEFT_BOOL, .data = (uint8_t[]) {                                                                          \
        __VA_ARGS__                                                                                                    \
    }
#define U64(...)                                                                                                       \
    .dtype = DEFT_U64, .data = (uint64_t[]) {                                                                          \
        __VA_ARGS__                                                                                                    \
    }

static void test_nan(void **state) {
    (void)state;
    CHECK(CASE(.op = DEFT_OP_MAX, .in = {{DIMS(3), F32(NAN, 1, 2)}, {DIMS(3), F32(1, NAN, 3)}}), DIMS(3),
          F32(NAN, NAN, 3));
    CHECK(CASE(.op = DEFT_OP_SIGN, .in = {{DIMS(4), F32(NAN, -2, 0, INFINITY)}}), DIMS(4), F32(NAN, -1, 0, 1));
    CHECK(CASE(.op = DEFT_OP_SHRINK, .in = {{DIMS(4), F32(NAN, -2, 0.25, 2)}}), DIMS(4), F32(NAN, -2, 0, 2));
    CHECK(CASE(.op = DEFT_OP_LESS_OR_EQUAL, .in = {{DIMS(3), F32(NAN, 1, 2)}, {SCALAR, F32(1)}}), DIMS(3),
          BOOLS(0, 1, 0));
    CHECK(CASE(.op = DEFT_OP_SOFTPLUS, .in = {{DIMS(3), F32(-1000, 0, 1000)}}), DIMS(3), F32(0, 0.69314718f, 1000));
}

static void test_integers(void **state) {
    (void)state;
    CHECK(CASE(.op = DEFT_OP_MOD, .in = {{DIMS(4), I64(-7, 7, -7, 6)}, {DIMS(4), I64(3, -3, -1, 3)}}), DIMS(4),
          I64(2, -2, 0, 0));
    CHECK(CASE(.op = DEFT_OP_MOD, .attrs = {INT("fmod", 1)}, .in = {{DIMS(2), I64(-7, 7)}, {SCALAR, I64(3)}}), DIMS(2),
          I64(-1, 1));
    CHECK(CASE(.op = DEFT_OP_POW, .in = {{DIMS(5), I64(2, -3, -1, 5, 1)}, {DIMS(5), I64(10, 3, -3, -1, -9)}}), DIMS(5),
          I64(1024, -27, -1, 0, 1));
    CHECK(CASE(.op = DEFT_OP_ABS, .in = {{DIMS(2), I64(INT64_MIN, -5)}}), DIMS(2), I64(INT64_MIN, 5));
    CHECK(CASE(.op = DEFT_OP_GREATER, .in = {{DIMS(2), U64(UINT64_MAX, 1)}, {SCALAR, U64(2)}}), DIMS(2), BOOLS(1, 0));
    CHECK(CASE(.op = DEFT_OP_MAX, .in = {{DIMS(2), U64(UINT64_MAX, 1)}, {SCALAR, U64(2)}}), DIMS(2),
          U64(UINT64_MAX, 2));
    CHECK(CASE(.op = DEFT_OP_BIT_SHIFT, .attrs = {STRING("direction", "LEFT")},
               .in = {{DIMS(3), U8(1, 255, 3)}, {DIMS(3), U8(7, 1, 200)}}),
          DIMS(3), U8(128, 254, 0));
    CHECK(CASE(.op = DEFT_OP_BIT_SHIFT, .attrs = {STRING("direction", "RIGHT")},
               .in = {{DIMS(4), I64(-8, -8, 8, INT64_MIN)}, {DIMS(4), I64(1, 99, 64, -1)}}),
          DIMS(4), I64(-4, -1, 0, -1));
    CHECK(CASE(.op = DEFT_OP_BITWISE_XOR, .in = {{DIMS(3), U8(1, 255, 3)}, {SCALAR, U8(6)}}), DIMS(3), U8(7, 249, 5));
    CHECK(CASE(.op = DEFT_OP_BITWISE_AND, .in = {{DIMS(2), I64(-1, 12)}, {SCALAR, I64(6)}}), DIMS(2), I64(6, 4));
    CHECK(CASE(.op = DEFT_OP_BITWISE_OR, .in = {{DIMS(2), I64(-1, 12)}, {SCALAR, I64(6)}}), DIMS(2), I64(-1, 14));
    CHECK(CASE(.op = DEFT_OP_BITWISE_NOT, .in = {{DIMS(3), U8(0, 255, 5)}}), DIMS(3), U8(255, 0, 250));
}

/* The sign of the result is the divisor's, or with fmod the dividend's. */
static void test_modulo_of_reals(void **state) {
    (void)state;
    deft_tensor a = {DIMS(6), F32(-7, 7, 5.5f, -1, NAN, 1)}, b = {DIMS(6), F32(3, -3, -2, INFINITY, 1, 0)};
    CHECK(CASE(.op = DEFT_OP_MOD, .in = {a, b}), DIMS(6), F32(2, -2, -0.5f, INFINITY, NAN, NAN));
    CHECK(CASE(.op = DEFT_OP_MOD, .attrs = {INT("fmod", 1)}, .in = {a, b}), DIMS(6), F32(-1, 1, 1.5f, -1, NAN, NAN));
}

static void test_broadcasting(void **state) {
    (void)state;
    CHECK(CASE(.op = DEFT_OP_WHERE, .in = {{DIMS(2, 1), BOOLS(1, 0)}, {DIMS(3), F32(1, 2, 3)}, {SCALAR, F32(9)}}),
          DIMS(2, 3), F32(1, 2, 3, 9, 9, 9));
    CHECK(CASE(.op = DEFT_OP_MEAN, .in = {{DIMS(2, 1), F32(1, 2)}, {DIMS(2), F32(3, 5)}, {SCALAR, F32(2)}}), DIMS(2, 2),
          F32(2, 8.f / 3, 7.f / 3, 3));
    /* before opset 7, a slope for each channel */
    CHECK(CASE(.op = DEFT_OP_PRELU, .opset = 6, .in = {{DIMS(1, 2, 2), F32(-1, 1, -1, 1)}, {DIMS(2), F32(2, 3)}}),
          DIMS(1, 2, 2), F32(-2, 1, -3, 1));
    CHECK(CASE(.op = DEFT_OP_POW, .in = {{DIMS(2), F32(2, 3)}, {DIMS(2), I64(3, 2)}}), DIMS(2), F32(8, 9));
}

static void test_refusals(void **state) {
    (void)state;
    REFUSED(DEFT_UNSUPPORTED, "f32",
            CASE(.op = DEFT_OP_BITWISE_OR, .in = {{DIMS(2), UNKNOWN(DEFT_F32)}, {DIMS(2), UNKNOWN(DEFT_F32)}}));
    REFUSED(DEFT_INVALID, "direction",
            CASE(.op = DEFT_OP_BIT_SHIFT, .in = {{DIMS(2), UNKNOWN(DEFT_U8)}, {DIMS(2), UNKNOWN(DEFT_U8)}}));
    REFUSED(DEFT_UNSUPPORTED, "data type 8",
            CASE(.op = DEFT_OP_CAST, .attrs = {INT("to", 8)}, .in = {{DIMS(2), UNKNOWN(DEFT_U8)}}));
    REFUSED(DEFT_INVALID, "2x3 and 2",
            CASE(.op = DEFT_OP_MAX, .in = {{DIMS(2, 3), UNKNOWN(DEFT_F32)}, {DIMS(2), UNKNOWN(DEFT_F32)}}));
    REFUSED(DEFT_INVALID, "broadcast",
            CASE(.op = DEFT_OP_PRELU, .in = {{DIMS(2), UNKNOWN(DEFT_F32)}, {DIMS(2, 2), UNKNOWN(DEFT_F32)}}));
    REFUSED(DEFT_UNSUPPORTED, "i64", CASE(.op = DEFT_OP_EXP, .in = {{DIMS(2), UNKNOWN(DEFT_I64)}}));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_nan), cmocka_unit_test(test_integers),
                                       cmocka_unit_test(test_modulo_of_reals), cmocka_unit_test(test_broadcasting),
                                       cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

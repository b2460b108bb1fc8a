/* Gemm and MatMul, on values checked by hand; Conv's on values and refusals. */
#include "tests/op_support.h"

static void test_gemm(void **state) {
    (void)state;
    deft_tensor a = {DIMS(2, 3), F32(1, 2, 3, 4, 5, 6)}, b = {DIMS(3, 2), F32(1, 0, 0, 1, 1, 1)},
                at = {DIMS(3, 2), F32(1, 4, 2, 5, 3, 6)}, bt = {DIMS(2, 3), F32(1, 0, 1, 0, 1, 1)};
    CHECK(CASE(.op = DEFT_OP_GEMM, .in = {a, b}), DIMS(2, 2), F32(4, 5, 10, 11));
    CHECK(CASE(.op = DEFT_OP_GEMM, .attrs = {INT("transA", 1)}, .in = {at, b}), DIMS(2, 2), F32(4, 5, 10, 11));
    CHECK(CASE(.op = DEFT_OP_GEMM, .attrs = {INT("transB", 1)}, .in = {a, bt}), DIMS(2, 2), F32(4, 5, 10, 11));
    CHECK(CASE(.op = DEFT_OP_GEMM, .attrs = {INT("transA", 1), INT("transB", 1)}, .in = {at, bt}), DIMS(2, 2),
          F32(4, 5, 10, 11));
    CHECK(CASE(.op = DEFT_OP_GEMM, .attrs = {FLOAT("alpha", 2), FLOAT("beta", 0.5f)},
               .in = {a, b, {DIMS(2), F32(10, 20)}}),
          DIMS(2, 2), F32(13, 20, 25, 32));
    CHECK(CASE(.op = DEFT_OP_GEMM, .in = {a, b, {DIMS(2, 1), F32(10, 20)}}), DIMS(2, 2), F32(14, 15, 30, 31));
    CHECK(CASE(.op = DEFT_OP_GEMM, .in = {a, b, {SCALAR, F32(10)}}), DIMS(2, 2), F32(14, 15, 20, 21));
    CHECK(CASE(.op = DEFT_OP_GEMM, .in = {a, b, {DIMS(2, 2), F32(1, 2, 3, 4)}}), DIMS(2, 2), F32(5, 7, 13, 15));
    /* beta 0 takes C away, even where it is NaN */
    CHECK(CASE(.op = DEFT_OP_GEMM, .attrs = {FLOAT("beta", 0)}, .in = {a, b, {SCALAR, F32(NAN)}}), DIMS(2, 2),
          F32(4, 5, 10, 11));
    /* a zero does not hide a NaN or an infinity */
    CHECK(CASE(.op = DEFT_OP_GEMM, .in = {{DIMS(1, 2), F32(0, 1)}, {DIMS(2, 2), F32(NAN, 1, 2, INFINITY)}}), DIMS(1, 2),
          F32(NAN, INFINITY));
    CHECK(CASE(.op = DEFT_OP_GEMM, .in = {{DIMS(0, 3), F32(0)}, b}), DIMS(0, 2), F32(0));
    CHECK(CASE(.op = DEFT_OP_GEMM, .in = {{DIMS(2, 0), F32(0)}, {DIMS(0, 2), F32(0)}, {DIMS(2), F32(3, 4)}}),
          DIMS(2, 2), F32(3, 4, 3, 4));

    REFUSED(DEFT_INVALID, "inner dimensions", CASE(.op = DEFT_OP_GEMM, .in = {a, bt}));
    REFUSED(DEFT_INVALID, "exactly 2",
            CASE(.op = DEFT_OP_GEMM, .in = {{DIMS(1, 2, 3), UNKNOWN(DEFT_F32)}, {DIMS(3, 2), UNKNOWN(DEFT_F32)}}));
    REFUSED(DEFT_INVALID, "does not broadcast", CASE(.op = DEFT_OP_GEMM, .in = {a, b, {DIMS(3), F32(1, 2, 3)}}));
    REFUSED(DEFT_INVALID, "does not broadcast",
            CASE(.op = DEFT_OP_GEMM, .in = {a, b, {DIMS(1, 2, 2), F32(1, 2, 3, 4)}}));
    REFUSED(DEFT_INVALID, "one type", CASE(.op = DEFT_OP_GEMM, .in = {a, {DIMS(3, 2), UNKNOWN(DEFT_F64)}}));
    REFUSED(DEFT_UNSUPPORTED, "i64",
            CASE(.op = DEFT_OP_GEMM, .in = {{DIMS(2, 2), UNKNOWN(DEFT_I64)}, {DIMS(2, 2), UNKNOWN(DEFT_I64)}}));
    int64_t big = (int64_t)1 << 40;
    REFUSED(DEFT_INVALID, "memory",
            CASE(.op = DEFT_OP_GEMM, .in = {{DIMS(big, 1), UNKNOWN(DEFT_F32)}, {DIMS(1, big), UNKNOWN(DEFT_F32)}}));
}

static void test_matmul(void **state) {
    (void)state;
    deft_tensor m = {DIMS(2, 2), F32(1, 2, 3, 4)}, v = {DIMS(2), F32(5, 6)};
    CHECK(CASE(.op = DEFT_OP_MATMUL, .in = {m, m}), DIMS(2, 2), F32(7, 10, 15, 22));
    CHECK(CASE(.op = DEFT_OP_MATMUL, .in = {m, v}), DIMS(2), F32(17, 39));
    CHECK(CASE(.op = DEFT_OP_MATMUL, .in = {v, m}), DIMS(2), F32(23, 34));
    CHECK(CASE(.op = DEFT_OP_MATMUL, .in = {v, v}), SCALAR, F32(61));
    deft_tensor stack = {DIMS(2, 1, 2), F32(1, 2, 3, 4)};
    CHECK(CASE(.op = DEFT_OP_MATMUL, .in = {stack, m}), DIMS(2, 1, 2), F32(7, 10, 15, 22));
    CHECK(CASE(.op = DEFT_OP_MATMUL, .in = {stack, v}), DIMS(2, 1), F32(17, 39));
    CHECK(CASE(.op = DEFT_OP_MATMUL, .in = {v, {DIMS(2, 2, 1), F32(1, 2, 3, 4)}}), DIMS(2, 1), F32(17, 39));
    CHECK(CASE(.op = DEFT_OP_MATMUL, .in = {{DIMS(2, 1, 1, 2), F32(1, 2, 3, 4)}, {DIMS(2, 2, 1), F32(1, 1, 1, -1)}}),
          DIMS(2, 2, 1, 1), F32(3, -1, 7, -1));
    CHECK(CASE(.op = DEFT_OP_MATMUL, .in = {{DIMS(2, 0), F32(0)}, {DIMS(0, 2), F32(0)}}), DIMS(2, 2), F32(0, 0, 0, 0));
    REFUSED(DEFT_INVALID, "2x2 and 3", CASE(.op = DEFT_OP_MATMUL, .in = {m, {DIMS(3), F32(1, 2, 3)}}));
    REFUSED(DEFT_INVALID, "do not fit",
            CASE(.op = DEFT_OP_MATMUL, .in = {{DIMS(2, 2, 2), UNKNOWN(DEFT_F32)}, {DIMS(3, 2, 2), UNKNOWN(DEFT_F32)}}));
    REFUSED(DEFT_INVALID, "at least 1", CASE(.op = DEFT_OP_MATMUL, .in = {{SCALAR, F32(1)}, m}));
}

static void test_conv(void **state) {
    (void)state;
    deft_tensor x = {DIMS(1, 1, 3, 3), F32(1, 2, 3, 4, 5, 6, 7, 8, 9)}, w = {DIMS(1, 1, 2, 2), F32(1, 0, 0, -1)};
    CHECK(CASE(.op = DEFT_OP_CONV, .in = {x, w}), DIMS(1, 1, 2, 2), F32(-4, -4, -4, -4));
    CHECK(CASE(.op = DEFT_OP_CONV, .in = {x, w, {DIMS(1), F32(10)}}), DIMS(1, 1, 2, 2), F32(6, 6, 6, 6));
    CHECK(CASE(.op = DEFT_OP_CONV, .attrs = {INTS("pads", 1, 1, 0, 0), INTS("strides", 2, 2)}, .in = {x, w}),
          DIMS(1, 1, 2, 2), F32(-1, -3, -7, -4));
    CHECK(CASE(.op = DEFT_OP_CONV, .attrs = {STRING("auto_pad", "SAME_UPPER")}, .in = {x, w}), DIMS(1, 1, 3, 3),
          F32(-4, -4, 3, -4, -4, 6, 7, 8, 9));
    CHECK(CASE(.op = DEFT_OP_CONV, .attrs = {STRING("auto_pad", "SAME_LOWER")}, .in = {x, w}), DIMS(1, 1, 3, 3),
          F32(-1, -2, -3, -4, -4, -4, -7, -4, -4));
    CHECK(CASE(.op = DEFT_OP_CONV, .attrs = {STRING("auto_pad", "VALID"), INTS("dilations", 2, 2)}, .in = {x, w}),
          DIMS(1, 1, 1, 1), F32(-8));
    /* one dimension; groups */
    CHECK(CASE(.op = DEFT_OP_CONV, .attrs = {INT("group", 2)},
               .in = {{DIMS(1, 2, 3), F32(1, 2, 3, 4, 5, 6)}, {DIMS(2, 1, 2), F32(1, 1, 1, -1)}}),
          DIMS(1, 2, 2), F32(3, 5, -1, -1));
    CHECK(CASE(.op = DEFT_OP_CONV, .in = {{DIMS(0, 1, 3, 3), F32(0)}, w}), DIMS(0, 1, 2, 2), F32(0));
    /* a NaN reaches the outputs whose window has it, no others */
    CHECK(CASE(.op = DEFT_OP_CONV, .in = {{DIMS(1, 1, 4), F32(NAN, 1, 1, 1)}, {DIMS(1, 1, 2), F32(0, 1)}}),
          DIMS(1, 1, 3), F32(NAN, 1, 1));
}

static void test_conv_refusals(void **state) {
    (void)state;
    deft_tensor x = {DIMS(1, 4, 5, 5), UNKNOWN(DEFT_F32)}, w = {DIMS(6, 4, 3, 3), UNKNOWN(DEFT_F32)};
#define REFUSED_CONV(PART, ...)                                                                                        \
    REFUSED(DEFT_INVALID, PART, CASE(.op = DEFT_OP_CONV, .in = {x, w}, .attrs = {__VA_ARGS__}))
    REFUSED_CONV("strides[0]", INTS("strides", 0, 1));
    REFUSED_CONV("strides must have 2", INTS("strides", 1));
    REFUSED_CONV("dilations[1]", INTS("dilations", 1, -1));
    REFUSED_CONV("dilations[1]", INTS("dilations", 1, INT64_MAX));
    REFUSED_CONV("pads[3]", INTS("pads", 0, 0, 0, -1));
    REFUSED_CONV("pads must have 4", INTS("pads", 0, 0));
    REFUSED_CONV("auto_pad", STRING("auto_pad", "SOMEHOW"));
    REFUSED_CONV("kernel_shape[1] is 2", INTS("kernel_shape", 3, 2));
    REFUSED_CONV("spans 7 positions (kernel 3, dilation 3) of axis 3", INTS("dilations", 1, 3));
    REFUSED_CONV("group 0", INT("group", 0));
    REFUSED_CONV("group 2", INT("group", 2));
    REFUSED_CONV("group -4", INT("group", -4));
    REFUSED_CONV("memory", INTS("pads", INT32_MAX, INT32_MAX, INT32_MAX, INT32_MAX));
#undef REFUSED_CONV
    REFUSED(DEFT_INVALID, "group 1", CASE(.op = DEFT_OP_CONV, .in = {x, {DIMS(6, 3, 3, 3), UNKNOWN(DEFT_F32)}}));
    REFUSED(DEFT_INVALID, "at", CASE(.op = DEFT_OP_CONV, .in = {x, {DIMS(6, 4, 0, 3), UNKNOWN(DEFT_F32)}}));
    REFUSED(DEFT_INVALID, "same number", CASE(.op = DEFT_OP_CONV, .in = {x, {DIMS(6, 4, 3), UNKNOWN(DEFT_F32)}}));
    REFUSED(DEFT_INVALID, "same number",
            CASE(.op = DEFT_OP_CONV, .in = {{DIMS(1, 4), UNKNOWN(DEFT_F32)}, {DIMS(6, 4), UNKNOWN(DEFT_F32)}}));
    REFUSED(DEFT_INVALID, "the bias", CASE(.op = DEFT_OP_CONV, .in = {x, w, {DIMS(4), UNKNOWN(DEFT_F32)}}));
    REFUSED(DEFT_UNSUPPORTED, "4 spatial",
            CASE(.op = DEFT_OP_CONV,
                 .in = {{DIMS(1, 4, 5, 5, 5, 5), UNKNOWN(DEFT_F32)}, {DIMS(6, 4, 3, 3, 3, 3), UNKNOWN(DEFT_F32)}}));
    REFUSED(DEFT_INVALID, "gradient of the output",
            CASE(.op = DEFT_OP_CONV_INPUT_GRAD, .in = {{DIMS(1, 6, 3, 4), UNKNOWN(DEFT_F32)}, w, x}));
    REFUSED(DEFT_INVALID, "gradient of the output",
            CASE(.op = DEFT_OP_CONV_WEIGHT_GRAD, .in = {{DIMS(1, 6, 3, 4), UNKNOWN(DEFT_F32)}, x, w}));
    REFUSED(DEFT_INVALID, "at least 2", CASE(.op = DEFT_OP_CONV_BIAS_GRAD, .in = {{DIMS(1), UNKNOWN(DEFT_F32)}}));
}

/* Dimensions beside a 0 may be enormous: nothing may loop over them. */
static void test_enormous_and_empty(void **state) {
    (void)state;
    int64_t big = (int64_t)1 << 40;
    CHECK(CASE(.op = DEFT_OP_MATMUL, .in = {{DIMS(big, 0, 2), F32(0)}, {DIMS(2, 2), F32(1, 2, 3, 4)}}), DIMS(big, 0, 2),
          F32(0));
    CHECK(CASE(.op = DEFT_OP_GEMM, .in = {{DIMS(big, 0), F32(0)}, {DIMS(0, 0), F32(0)}}), DIMS(big, 0), F32(0));
    CHECK(CASE(.op = DEFT_OP_CONV_BIAS_GRAD, .in = {{DIMS(big, 2, 0), F32(0)}}), DIMS(2), F32(0, 0));
    for (int output = 1; output <= 2; output++)
        CHECK_OUTPUT(output,
                     CASE(.op = DEFT_OP_BATCH_NORM_GRAD, .out_count = 3,
                          .in = {{DIMS(big, 1, 0), F32(0)},
                                 {DIMS(big, 1, 0), F32(0)},
                                 {DIMS(1), F32(1)},
                                 {DIMS(1), F32(1)},
                                 {DIMS(1), F32(1)}}),
                     DIMS(1), F32(0));
    CHECK(CASE(.op = DEFT_OP_NORM_SCALE_GRAD,
               .in = {{DIMS(big, 1, 0), F32(0)}, {DIMS(big, 1, 0), F32(0)}, {DIMS(1), F32(1)}}),
          DIMS(1), F32(0));
    CHECK(CASE(.op = DEFT_OP_SUM_TO, .in = {{DIMS(big, 0), F32(0)}, {SCALAR, F32(1)}}), SCALAR, F32(0));
    CHECK(CASE(.op = DEFT_OP_TRANSPOSE, .in = {{DIMS(big, 0), F32(0)}}), DIMS(0, big), F32(0));
    CHECK(CASE(.op = DEFT_OP_SOFTMAX, .in = {{DIMS(big, 0), F32(0)}}), DIMS(big, 0), F32(0));
}

static void test_conv_transpose_of_volumes(void **state) {
    (void)state;
    deft_tensor plane = {DIMS(1, 1, 1, 2, 2), F32(1, 2, 3, 4)}, depth = {DIMS(1, 1, 2, 1, 1), F32(1, 2)};
    CHECK(
        CASE(.op = DEFT_OP_CONV_TRANSPOSE, .in = {plane, {DIMS(1, 1, 1, 2, 2), F32(1, 1, 1, 1)}, {DIMS(1), F32(0.5f)}}),
        DIMS(1, 1, 1, 3, 3), F32(1.5f, 3.5f, 2.5f, 4.5f, 10.5f, 6.5f, 3.5f, 7.5f, 4.5f));
    deft_tensor tall = {DIMS(1, 1, 2, 1, 1), F32(1, 10)};
    CHECK(CASE(.op = DEFT_OP_CONV_TRANSPOSE, .attrs = {INTS("strides", 2, 1, 1)}, .in = {depth, tall}),
          DIMS(1, 1, 4, 1, 1), F32(1, 10, 2, 20));
    CHECK(CASE(.op = DEFT_OP_CONV_TRANSPOSE, .attrs = {INTS("dilations", 2, 1, 1), INTS("pads", 1, 0, 0, 0, 0, 0)},
               .in = {depth, tall}),
          DIMS(1, 1, 3, 1, 1), F32(2, 10, 20));
    CHECK(CASE(.op = DEFT_OP_CONV_TRANSPOSE, .attrs = {INT("group", 2)},
               .in = {{DIMS(1, 2, 1, 1, 1), F32(3, 5)}, {DIMS(2, 2, 1, 1, 1), F32(1, 2, 10, 20)}}),
          DIMS(1, 4, 1, 1, 1), F32(3, 6, 50, 100));
    REFUSED(DEFT_UNSUPPORTED, "4 spatial",
            CASE(.op = DEFT_OP_CONV_TRANSPOSE,
                 .in = {{DIMS(1, 1, 1, 1, 1, 1), UNKNOWN(DEFT_F32)}, {DIMS(1, 1, 1, 1, 1, 1), UNKNOWN(DEFT_F32)}}));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gemm),
        cmocka_unit_test(test_matmul),
        cmocka_unit_test(test_conv),
        cmocka_unit_test(test_conv_refusals),
        cmocka_unit_test(test_conv_transpose_of_volumes),
        cmocka_unit_test(test_enormous_and_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Operators that choose, move, count and order elements: what ONNX's own tests do not ask. */
#include "tests/op_support.h"

static void test_slices(void **state) {
    (void)state;
    /* bounds and steps as far out as they go */
    CHECK(CASE(.op = DEFT_OP_SLICE, .in = {{DIMS(4), F32(0, 1, 2, 3)},
                                           {DIMS(1), I64(INT64_MAX)},
                                           {DIMS(1), I64(INT64_MIN)},
                                           {DIMS(1), I64(0)},
                                           {DIMS(1), I64(-1)}}),
          DIMS(4), F32(3, 2, 1, 0));
    CHECK(CASE(.op = DEFT_OP_SLICE, .in = {{DIMS(4), F32(0, 1, 2, 3)},
                                           {DIMS(1), I64(1)},
                                           {DIMS(1), I64(INT64_MAX)},
                                           {DIMS(1), I64(0)},
                                           {DIMS(1), I64(INT64_MAX)}}),
          DIMS(1), F32(1));
    CHECK(CASE(.op = DEFT_OP_SLICE, .in = {{DIMS(4), F32(0, 1, 2, 3)},
                                           {DIMS(1), I64(3)},
                                           {DIMS(1), I64(INT64_MIN)},
                                           {DIMS(1), I64(0)},
                                           {DIMS(1), I64(INT64_MIN)}}),
          DIMS(1), F32(3));
    CHECK(CASE(.op = DEFT_OP_SLICE, .opset = 9, .attrs = {INTS("starts", 1, -1), INTS("ends", 2, 9)},
               .in = {{DIMS(2, 2), F32(1, 2, 3, 4)}}),
          DIMS(1, 1), F32(4));
    CHECK_OUTPUT(1,
                 CASE(.op = DEFT_OP_SPLIT, .out_count = 2, .opset = 11, .attrs = {INT("axis", 1), INTS("split", 1, 2)},
                      .in = {{DIMS(2, 3), F32(1, 2, 3, 4, 5, 6)}}),
                 DIMS(2, 2), F32(2, 3, 5, 6));
}

static void test_pad(void **state) {
    (void)state;
    CHECK(CASE(.op = DEFT_OP_PAD, .in = {{DIMS(3), F32(1, 2, 3)}, {DIMS(2), I64(-1, 2)}, {SCALAR, F32(9)}}), DIMS(4),
          F32(2, 3, 9, 9));
    CHECK(
        CASE(.op = DEFT_OP_PAD, .attrs = {STRING("mode", "wrap")}, .in = {{DIMS(2), F32(1, 2)}, {DIMS(2), I64(3, 1)}}),
        DIMS(6), F32(2, 1, 2, 1, 2, 1));
    REFUSED(DEFT_INVALID, "cannot be padded",
            CASE(.op = DEFT_OP_PAD, .attrs = {STRING("mode", "reflect")},
                 .in = {{DIMS(2), UNKNOWN(DEFT_F32)}, {DIMS(2), I64(2, 0)}}));
    REFUSED(DEFT_INVALID, "cannot be padded",
            CASE(.op = DEFT_OP_PAD, .in = {{DIMS(2), UNKNOWN(DEFT_F32)}, {DIMS(2), I64(-3, 2)}}));
    REFUSED(DEFT_UNSUPPORTED, "computed from the inputs",
            CASE(.op = DEFT_OP_PAD, .in = {{DIMS(2), UNKNOWN(DEFT_F32)}, {DIMS(2), UNKNOWN(DEFT_I64)}}));
}

/* The forward refuses an index that points outside; nothing is read there. */
static void check_index(deft_op op, deft_tensor x, deft_tensor indices, deft_tensor updates) {
    deft_context *ctx = test_context();
    op_case test = {.op = op, .in = {x, indices, updates}};
    op_run run;
    assert_int_equal(op_apply(ctx, &test, &run), DEFT_INVALID);
    assert_non_null(strstr(deft_context_message(ctx), "outside"));
    op_release(ctx, &run);
    test_context_free(ctx);
}

static void test_indices(void **state) {
    (void)state;
    CHECK(CASE(.op = DEFT_OP_GATHER, .in = {{DIMS(3), F32(1, 2, 3)}, {DIMS(2), I32(-3, -1)}}), DIMS(2), F32(1, 3));
    CHECK(CASE(.op = DEFT_OP_SCATTER_ND, .attrs = {STRING("reduction", "add")},
               .in = {{DIMS(3), F32(1, 2, 3)}, {DIMS(2, 1), I64(1, 1)}, {DIMS(2), F32(10, 20)}}),
          DIMS(3), F32(1, 32, 3));
    int64_t wrong[] = {3, -4, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        deft_tensor x = {DIMS(3), F32(1, 2, 3)}, at = {DIMS(1), I64(wrong[i])}, row = {DIMS(1, 1), I64(wrong[i])};
        check_index(DEFT_OP_GATHER, x, at, (deft_tensor){0});
        check_index(DEFT_OP_GATHER_ELEMENTS, x, at, (deft_tensor){0});
        check_index(DEFT_OP_GATHER_ND, x, row, (deft_tensor){0});
        check_index(DEFT_OP_SCATTER_ELEMENTS, x, at, (deft_tensor){DIMS(1), F32(1)});
        check_index(DEFT_OP_SCATTER_ND, x, row, (deft_tensor){DIMS(1), F32(1)});
    }
}

static void test_order(void **state) {
    (void)state;
    op_case top = {
        .op = DEFT_OP_TOP_K, .out_count = 2, .in = {{DIMS(7), F32(1, 5, 5, NAN, 2, 5, 0)}, {DIMS(1), I64(4)}}};
    check_output(&top, 0, (deft_tensor){DIMS(4), F32(NAN, 5, 5, 5)});
    check_output(&top, 1, (deft_tensor){DIMS(4), I64(3, 1, 2, 5)}); /* of equals the first comes first */
    op_case all = {.op = DEFT_OP_TOP_K,
                   .out_count = 2,
                   .attrs = {INT("largest", 0), INT("axis", 0)},
                   .in = {{DIMS(3, 2), F32(3, 1, 1, 2, 2, 0)}, {DIMS(1), I64(3)}}};
    check_output(&all, 1, (deft_tensor){DIMS(3, 2), I64(1, 2, 2, 0, 0, 1)});
    CHECK(CASE(.op = DEFT_OP_ARG_MAX, .attrs = {INT("select_last_index", 1)}, .in = {{DIMS(3), F32(7, 1, 7)}}), DIMS(1),
          I64(2));
    REFUSED(DEFT_INVALID, "k is 3",
            CASE(.op = DEFT_OP_TOP_K, .out_count = 2, .in = {{DIMS(2), UNKNOWN(DEFT_F32)}, {DIMS(1), I64(3)}}));
}

static void test_reductions(void **state) {
    (void)state;
    CHECK(
        CASE(.op = DEFT_OP_REDUCE_SUM, .attrs = {INT("keepdims", 0)}, .in = {{DIMS(0, 2), F32(0)}, {DIMS(1), I64(0)}}),
        DIMS(2), F32(0, 0));
    CHECK(CASE(.op = DEFT_OP_REDUCE_LOG_SUM_EXP, .attrs = {INT("keepdims", 0)}, .in = {{DIMS(2), F32(1000, 1000)}}),
          SCALAR, F32(1000.6931f));
    CHECK(CASE(.op = DEFT_OP_REDUCE_MAX, .in = {{DIMS(3), F32(1, NAN, 3)}}), DIMS(1), F32(NAN));
    CHECK(CASE(.op = DEFT_OP_REDUCE_MEAN, .attrs = {INT("keepdims", 0)}, .in = {{DIMS(3), I64(-7, 0, 0)}}), SCALAR,
          I64(-2));
    /* the first and the last dimension at once */
    CHECK(CASE(.op = DEFT_OP_REDUCE_SUM, .attrs = {INT("keepdims", 0)},
               .in = {{DIMS(2, 2, 2), F32(1, 2, 3, 4, 5, 6, 7, 8)}, {DIMS(2), I64(-1, 0)}}),
          DIMS(2), F32(14, 22));
}

static void test_quantised(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    /* halves to even, saturation, NaN */
    op_case test = {.op = DEFT_OP_QUANTIZE_LINEAR,
                    .in = {{DIMS(6), F32(0.5f, 1.5f, 2.5f, 1e9f, -1e9f, NAN)}, {SCALAR, F32(1)}, {SCALAR, U8(1)}}};
    op_run run;
    assert_int_equal(op_apply(ctx, &test, &run), DEFT_OK);
    op_expect(run.out[0], &(deft_tensor){DIMS(6), U8(1, 3, 3, 255, 0, 0)});
    op_release(ctx, &run);
    test_context_free(ctx);
}

static void test_einsum(void **state) {
    (void)state;
    CHECK(CASE(.op = DEFT_OP_EINSUM, .attrs = {STRING("equation", "ii")}, .in = {{DIMS(2, 2), F32(1, 2, 3, 4)}}),
          SCALAR, F32(5));
    CHECK(CASE(.op = DEFT_OP_EINSUM, .attrs = {STRING("equation", "b...,c...->...bc")},
               .in = {{DIMS(2, 1), F32(1, 2)}, {DIMS(1, 2), F32(3, 4)}}),
          DIMS(2, 2, 1), F32(3, 6, 4, 8));
    REFUSED(DEFT_INVALID, "twice in the output",
            CASE(.op = DEFT_OP_EINSUM, .attrs = {STRING("equation", "i->ii")}, .in = {{DIMS(2), UNKNOWN(DEFT_F32)}}));
    REFUSED(DEFT_INVALID, "two sizes",
            CASE(.op = DEFT_OP_EINSUM, .attrs = {STRING("equation", "i,i")},
                 .in = {{DIMS(2), UNKNOWN(DEFT_F32)}, {DIMS(3), UNKNOWN(DEFT_F32)}}));
    REFUSED(DEFT_INVALID, "a term for each",
            CASE(.op = DEFT_OP_EINSUM, .attrs = {STRING("equation", "i")},
                 .in = {{DIMS(2), UNKNOWN(DEFT_F32)}, {DIMS(2), UNKNOWN(DEFT_F32)}}));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_slices),     cmocka_unit_test(test_pad),
                                       cmocka_unit_test(test_indices),    cmocka_unit_test(test_order),
                                       cmocka_unit_test(test_reductions), cmocka_unit_test(test_quantised),
                                       cmocka_unit_test(test_einsum)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

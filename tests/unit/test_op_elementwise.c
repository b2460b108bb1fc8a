/* Element-wise operators: broadcasting, edges of the numbers, integers, refusals. */
#include "tests/op_support.h"

static void test_broadcast(void **state) {
    (void)state;
    CHECK(CASE(.op = DEFT_OP_ADD, .in = {{DIMS(3), F32(1, 2, 3)}, {DIMS(3), F32(10, 20, 30)}}), DIMS(3),
          F32(11, 22, 33));
    CHECK(CASE(.op = DEFT_OP_SUB, .in = {{DIMS(2, 3), F32(1, 2, 3, 4, 5, 6)}, {DIMS(3), F32(10, 20, 30)}}), DIMS(2, 3),
          F32(-9, -18, -27, -6, -15, -24));
    CHECK(CASE(.op = DEFT_OP_SUB, .in = {{DIMS(3), F32(10, 20, 30)}, {DIMS(2, 3), F32(1, 2, 3, 4, 5, 6)}}), DIMS(2, 3),
          F32(9, 18, 27, 6, 15, 24));
    CHECK(CASE(.op = DEFT_OP_MUL, .in = {{DIMS(2, 1), F32(2, 3)}, {DIMS(1, 3), F32(1, 10, 100)}}), DIMS(2, 3),
          F32(2, 20, 200, 3, 30, 300));
    CHECK(CASE(.op = DEFT_OP_DIV, .in = {{SCALAR, F32(6)}, {DIMS(3), F32(1, 2, 3)}}), DIMS(3), F32(6, 3, 2));
    CHECK(CASE(.op = DEFT_OP_DIV, .in = {{SCALAR, F32(6)}, {SCALAR, F32(4)}}), SCALAR, F32(1.5f));
    /* a channel's number over pictures, as a bias is added */
    CHECK(
        CASE(.op = DEFT_OP_ADD, .in = {{DIMS(2, 2, 1, 2), F32(0, 1, 2, 3, 4, 5, 6, 7)}, {DIMS(2, 1, 1), F32(10, 20)}}),
        DIMS(2, 2, 1, 2), F32(10, 11, 22, 23, 14, 15, 26, 27));
    CHECK(CASE(.op = DEFT_OP_ADD, .in = {{DIMS(0, 3), F32(0)}, {DIMS(3), F32(1, 2, 3)}}), DIMS(0, 3), F32(0));
    CHECK(CASE(.op = DEFT_OP_ADD, .in = {{DIMS(0, 3), F32(0)}, {DIMS(1, 1), F32(1)}}), DIMS(0, 3), F32(0));
}

static void test_special_numbers(void **state) {
    (void)state;
    CHECK(CASE(.op = DEFT_OP_DIV, .in = {{DIMS(3), F32(1, 0, -1)}, {DIMS(3), F32(0, 0, 0)}}), DIMS(3),
          F32(INFINITY, NAN, -INFINITY));
    CHECK(CASE(.op = DEFT_OP_RELU, .in = {{DIMS(5), F32(-1, 2, NAN, INFINITY, -INFINITY)}}), DIMS(5),
          F32(0, 2, NAN, INFINITY, 0));
    CHECK(CASE(.op = DEFT_OP_SIGMOID, .in = {{DIMS(4), F32(0, INFINITY, -INFINITY, NAN)}}), DIMS(4),
          F32(0.5f, 1, 0, NAN));
    CHECK(CASE(.op = DEFT_OP_SIGMOID, .in = {{DIMS(2), F32(1, -200)}}), DIMS(2), F32(0.7310586f, 0));
    CHECK(CASE(.op = DEFT_OP_TANH, .in = {{DIMS(4), F32(0, 1, INFINITY, NAN)}}), DIMS(4), F32(0, 0.7615942f, 1, NAN));
}

static void test_clip(void **state) {
    (void)state;
    deft_tensor x = {DIMS(5), F32(-3, -1, 0.5f, 2, NAN)};
    CHECK(CASE(.op = DEFT_OP_CLIP, .in = {x, {SCALAR, F32(-2)}, {SCALAR, F32(1)}}), DIMS(5), F32(-2, -1, 0.5f, 1, NAN));
    CHECK(CASE(.op = DEFT_OP_CLIP, .in = {x, {0}, {SCALAR, F32(1)}}), DIMS(5), F32(-3, -1, 0.5f, 1, NAN));
    CHECK(CASE(.op = DEFT_OP_CLIP, .in = {x, {SCALAR, F32(-2)}}), DIMS(5), F32(-2, -1, 0.5f, 2, NAN));
    CHECK(CASE(.op = DEFT_OP_CLIP, .in = {x}), DIMS(5), F32(-3, -1, 0.5f, 2, NAN));
    CHECK(CASE(.op = DEFT_OP_CLIP, .opset = 6, .attrs = {FLOAT("min", 0), FLOAT("max", 6)}, .in = {x}), DIMS(5),
          F32(0, 0, 0.5f, 2, NAN));
    /* where the bounds cross, the upper one wins, as in NumPy */
    CHECK(CASE(.op = DEFT_OP_CLIP, .in = {x, {SCALAR, F32(2)}, {SCALAR, F32(-2)}}), DIMS(5), F32(-2, -2, -2, -2, NAN));
    REFUSED(DEFT_INVALID, "scalar", CASE(.op = DEFT_OP_CLIP, .in = {x, {DIMS(2), F32(0, 1)}}));
    REFUSED(DEFT_INVALID, "scalar", CASE(.op = DEFT_OP_CLIP, .in = {x, {DIMS(0), F32(0)}}));
    REFUSED(DEFT_UNSUPPORTED, "bool", CASE(.op = DEFT_OP_CLIP, .in = {{DIMS(1), UNKNOWN(DEFT_BOOL)}}));
    CHECK(CASE(.op = DEFT_OP_CLIP, .in = {{DIMS(3), I64(-5, 0, 5)}, {SCALAR, I64(-1)}, {SCALAR, I64(2)}}), DIMS(3),
          I64(-1, 0, 2));
}

static void test_integers(void **state) {
    (void)state;
    CHECK(CASE(.op = DEFT_OP_ADD, .in = {{DIMS(2), I64(1, INT64_MAX)}, {SCALAR, I64(1)}}), DIMS(2), I64(2, INT64_MIN));
    CHECK(CASE(.op = DEFT_OP_MUL, .in = {{DIMS(2), I32(3, 1 << 30)}, {DIMS(2), I32(-5, 4)}}), DIMS(2), I32(-15, 0));
    CHECK(CASE(.op = DEFT_OP_DIV, .in = {{DIMS(3), I64(7, -7, INT64_MIN)}, {DIMS(3), I64(2, 2, -1)}}), DIMS(3),
          I64(3, -3, INT64_MIN));
    CHECK(CASE(.op = DEFT_OP_DIV, .in = {{SCALAR, I32(INT32_MIN)}, {SCALAR, I32(-1)}}), SCALAR, I32(INT32_MIN));
    deft_context *ctx = test_context();
    op_run run;
    op_case by_zero = {.op = DEFT_OP_DIV, .in = {{DIMS(2), I64(1, 2)}, {DIMS(2), I64(1, 0)}}};
    assert_int_equal(op_apply(ctx, &by_zero, &run), DEFT_INVALID);
    assert_non_null(strstr(deft_context_message(ctx), "by 0"));
    op_release(ctx, &run);
    test_context_free(ctx);
}

static void test_refusals(void **state) {
    (void)state;
    REFUSED(DEFT_INVALID, "2x3 and 2",
            CASE(.op = DEFT_OP_ADD, .in = {{DIMS(2, 3), UNKNOWN(DEFT_F32)}, {DIMS(2), UNKNOWN(DEFT_F32)}}));
    REFUSED(DEFT_INVALID, "f32 and i64",
            CASE(.op = DEFT_OP_ADD, .in = {{DIMS(2), UNKNOWN(DEFT_F32)}, {DIMS(2), UNKNOWN(DEFT_I64)}}));
    REFUSED(DEFT_UNSUPPORTED, "bool",
            CASE(.op = DEFT_OP_ADD, .in = {{DIMS(2), UNKNOWN(DEFT_BOOL)}, {DIMS(2), UNKNOWN(DEFT_BOOL)}}));
    int64_t big = (int64_t)1 << 40;
    REFUSED(DEFT_INVALID, "memory",
            CASE(.op = DEFT_OP_ADD, .in = {{DIMS(big, 1), UNKNOWN(DEFT_F32)}, {DIMS(1, big), UNKNOWN(DEFT_F32)}}));
    REFUSED(DEFT_UNSUPPORTED, "f16", CASE(.op = DEFT_OP_RELU, .in = {{DIMS(2), UNKNOWN(DEFT_F16)}}));
    REFUSED(DEFT_INVALID, "like input 1",
            CASE(.op = DEFT_OP_RELU_GRAD, .in = {{DIMS(2), UNKNOWN(DEFT_F32)}, {DIMS(3), UNKNOWN(DEFT_F32)}}));
}

/* Large enough for threads and merged rows: against a plain loop. */
static void test_large(void **state) {
    (void)state;
    enum { ROWS = 301, COLUMNS = 257 };
    deft_context *ctx = test_context();
    float *a = malloc(sizeof(float) * ROWS * COLUMNS), *b = malloc(sizeof(float) * COLUMNS);
    for (int i = 0; i < ROWS * COLUMNS; i++)
        a[i] = (float)(i % 1009) - 500;
    for (int i = 0; i < COLUMNS; i++)
        b[i] = (float)i;
    op_case add = {
        .op = DEFT_OP_ADD,
        .in = {{DIMS(ROWS, COLUMNS), .dtype = DEFT_F32, .data = a}, {DIMS(COLUMNS), .dtype = DEFT_F32, .data = b}}};
    op_case relu = {.op = DEFT_OP_RELU, .in = {add.in[0]}};
    op_case sum = {.op = DEFT_OP_SUM_TO, .in = {add.in[0], add.in[1]}};
    op_run run;
    assert_int_equal(op_apply(ctx, &add, &run), DEFT_OK);
    for (int i = 0; i < ROWS * COLUMNS; i++)
        assert_true(((float *)run.out[0]->data)[i] == a[i] + b[i % COLUMNS]);
    op_release(ctx, &run);
    assert_int_equal(op_apply(ctx, &relu, &run), DEFT_OK);
    for (int i = 0; i < ROWS * COLUMNS; i++)
        assert_true(((float *)run.out[0]->data)[i] == (a[i] > 0 ? a[i] : 0));
    op_release(ctx, &run);
    assert_int_equal(op_apply(ctx, &sum, &run), DEFT_OK);
    for (int j = 0; j < COLUMNS; j++) {
        double expected = 0;
        for (int i = 0; i < ROWS; i++)
            expected += a[i * COLUMNS + j];
        assert_true(((float *)run.out[0]->data)[j] == (float)expected); /* integers: exact */
    }
    op_release(ctx, &run);
    free(a);
    free(b);
    test_context_free(ctx);
}

static void test_sum_to(void **state) {
    (void)state;
    deft_tensor x = {DIMS(2, 3), F32(1, 2, 3, 4, 5, 6)};
    CHECK(CASE(.op = DEFT_OP_SUM_TO, .in = {x, {DIMS(3), F32(0, 0, 0)}}), DIMS(3), F32(5, 7, 9));
    CHECK(CASE(.op = DEFT_OP_SUM_TO, .in = {x, {DIMS(2, 1), F32(0, 0)}}), DIMS(2, 1), F32(6, 15));
    CHECK(CASE(.op = DEFT_OP_SUM_TO, .in = {x, {SCALAR, F32(0)}}), SCALAR, F32(21));
    CHECK(CASE(.op = DEFT_OP_SUM_TO, .in = {x, {DIMS(2, 3), F32(0, 0, 0, 0, 0, 0)}}), DIMS(2, 3),
          F32(1, 2, 3, 4, 5, 6));
    REFUSED(DEFT_INVALID, "does not broadcast", CASE(.op = DEFT_OP_SUM_TO, .in = {x, {DIMS(2), F32(0, 0)}}));
    REFUSED(DEFT_INVALID, "does not broadcast", CASE(.op = DEFT_OP_SUM_TO, .in = {x, {DIMS(1, 2, 3), F32(0)}}));
}

/* The checker itself must be able to fail. */
static void test_checker(void **state) {
    (void)state;
    deft_tensor a = {DIMS(3), F32(1, 2, NAN)}, b = {DIMS(3), F32(1, 2.001f, NAN)}, c = {DIMS(3), F32(1, 2, 3)},
                d = {DIMS(1, 3), F32(1, 2, NAN)};
    assert_true(op_close(&a, &a));
    assert_false(op_close(&a, &b));
    assert_false(op_close(&a, &c));
    assert_false(op_close(&c, &a));
    assert_false(op_close(&a, &d));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_broadcast), cmocka_unit_test(test_special_numbers), cmocka_unit_test(test_clip),
        cmocka_unit_test(test_integers),  cmocka_unit_test(test_refusals),        cmocka_unit_test(test_large),
        cmocka_unit_test(test_sum_to),    cmocka_unit_test(test_checker),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

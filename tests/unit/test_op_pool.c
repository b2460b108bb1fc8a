/* Pooling: values checked by hand, ceil_mode, padding, NaN, refusals. */
#include "tests/op_support.h"

#define NINE F32(1, 2, 3, 4, 5, 6, 7, 8, 9)

static void test_max_pool(void **state) {
    (void)state;
    deft_tensor x = {DIMS(1, 1, 3, 3), NINE};
    CHECK(CASE(.op = DEFT_OP_MAX_POOL, .attrs = {INTS("kernel_shape", 2, 2)}, .in = {x}), DIMS(1, 1, 2, 2),
          F32(5, 6, 8, 9));
    CHECK(CASE(.op = DEFT_OP_MAX_POOL, .attrs = {INTS("kernel_shape", 2, 2), INTS("strides", 2, 2)}, .in = {x}),
          DIMS(1, 1, 1, 1), F32(5));
    CHECK(CASE(.op = DEFT_OP_MAX_POOL,
               .attrs = {INTS("kernel_shape", 2, 2), INTS("strides", 2, 2), INT("ceil_mode", 1)}, .in = {x}),
          DIMS(1, 1, 2, 2), F32(5, 6, 8, 9));
    CHECK(CASE(.op = DEFT_OP_MAX_POOL, .attrs = {INTS("kernel_shape", 2, 2), INTS("dilations", 2, 2)}, .in = {x}),
          DIMS(1, 1, 1, 1), F32(9));
    CHECK(CASE(.op = DEFT_OP_MAX_POOL,
               .attrs = {INTS("kernel_shape", 3, 3), INTS("strides", 3, 3), INTS("pads", 1, 1, 1, 1)}, .in = {x}),
          DIMS(1, 1, 1, 1), F32(5));
    CHECK(CASE(.op = DEFT_OP_MAX_POOL, .attrs = {INTS("kernel_shape", 2), STRING("auto_pad", "SAME_UPPER")},
               .in = {{DIMS(1, 1, 3), F32(3, 1, 2)}}),
          DIMS(1, 1, 3), F32(3, 2, 2));
    /* padding is less than anything, even than -inf is not; NaN wins */
    CHECK(CASE(.op = DEFT_OP_MAX_POOL, .attrs = {INTS("kernel_shape", 2), INTS("pads", 1, 1)},
               .in = {{DIMS(1, 1, 2), F32(-INFINITY, -5)}}),
          DIMS(1, 1, 3), F32(-INFINITY, -5, -5));
    CHECK(CASE(.op = DEFT_OP_MAX_POOL, .attrs = {INTS("kernel_shape", 2)},
               .in = {{DIMS(2, 1, 3), F32(NAN, 1, 2, 1, 2, NAN)}}),
          DIMS(2, 1, 2), F32(NAN, 2, 2, NAN));
    CHECK(CASE(.op = DEFT_OP_MAX_POOL, .attrs = {INTS("kernel_shape", 2, 2)}, .in = {{DIMS(0, 1, 3, 3), F32(0)}}),
          DIMS(0, 1, 2, 2), F32(0));
}

/* The first of equal maxima, counted through the whole tensor, by rows or by columns; of padding alone, nowhere. */
static void test_max_pool_positions(void **state) {
    (void)state;
    deft_tensor x = {DIMS(2, 1, 2, 3), F32(1, 2, 3, 4, 4, 1, 0, NAN, 0, 9, 9, 9)};
    op_case rows = {.op = DEFT_OP_MAX_POOL, .out_count = 2, .attrs = {INTS("kernel_shape", 2, 2)}, .in = {x}};
    check_output(&rows, 0, (deft_tensor){DIMS(2, 1, 1, 2), F32(4, 4, NAN, NAN)});
    check_output(&rows, 1, (deft_tensor){DIMS(2, 1, 1, 2), I64(3, 4, 7, 7)});
    op_case columns = rows;
    columns.attrs[1] = (deft_attr)INT("storage_order", 1);
    check_output(&columns, 1, (deft_tensor){DIMS(2, 1, 1, 2), I64(1, 3, 8, 8)});
    op_case padding = {.op = DEFT_OP_MAX_POOL,
                       .out_count = 2,
                       .attrs = {INTS("kernel_shape", 2), INTS("dilations", 3), INTS("pads", 2, 2)},
                       .in = {{DIMS(1, 1, 1), U8(7)}}};
    check_output(&padding, 0, (deft_tensor){DIMS(1, 1, 2), U8(0, 0)});
    check_output(&padding, 1, (deft_tensor){DIMS(1, 1, 2), I64(-1, -1)});
    CHECK(CASE(.op = DEFT_OP_MAX_POOL, .attrs = {INTS("kernel_shape", 2, 1, 1)},
               .in = {{DIMS(1, 1, 2, 1, 2), U8(5, 250, 6, 7)}}),
          DIMS(1, 1, 1, 1, 2), U8(6, 250));
}

static void test_max_unpool(void **state) {
    (void)state;
    deft_tensor x = {DIMS(1, 1, 2), F32(5, 6)}, at = {DIMS(1, 1, 2), I64(1, 2)};
    deft_attr kernel = INTS("kernel_shape", 2), stride = INTS("strides", 2);
    CHECK(CASE(.op = DEFT_OP_MAX_UNPOOL, .attrs = {kernel, stride}, .in = {x, at}), DIMS(1, 1, 4), F32(0, 5, 6, 0));
    CHECK(CASE(.op = DEFT_OP_MAX_UNPOOL, .attrs = {kernel, stride}, .in = {x, at, {DIMS(3), I64(1, 1, 5)}}),
          DIMS(1, 1, 5), F32(0, 5, 6, 0, 0));
    REFUSED(DEFT_INVALID, "output_shape",
            CASE(.op = DEFT_OP_MAX_UNPOOL, .attrs = {kernel, stride}, .in = {x, at, {DIMS(3), I64(1, 1, 3)}}));
    REFUSED(DEFT_INVALID, "an index for each", CASE(.op = DEFT_OP_MAX_UNPOOL, .attrs = {kernel}, .in = {x, x}));
    REFUSED(DEFT_INVALID, "kernel_shape", CASE(.op = DEFT_OP_MAX_UNPOOL, .in = {x, at}));
    deft_tensor outside[] = {{DIMS(1, 1, 2), I64(1, 4)}, {DIMS(1, 1, 2), I64(-1, 1)}};
    for (int i = 0; i < 2; i++)
        DATA_REFUSED("is outside of what was pooled",
                     CASE(.op = DEFT_OP_MAX_UNPOOL, .attrs = {kernel, stride}, .in = {x, outside[i]}));
}

static void test_ceil_mode(void **state) {
    (void)state;
    /* a last window that would start in the padding at the end is left out: ONNX, PyTorch */
    deft_tensor x = {DIMS(1, 1, 4), F32(1, 2, 3, 4)};
    CHECK(CASE(.op = DEFT_OP_AVERAGE_POOL,
               .attrs = {INTS("kernel_shape", 3), INTS("strides", 3), INTS("pads", 1, 1), INT("ceil_mode", 1)},
               .in = {x}),
          DIMS(1, 1, 2), F32(1.5f, 3.5f));
    CHECK(CASE(.op = DEFT_OP_AVERAGE_POOL, .attrs = {INTS("kernel_shape", 1), INTS("strides", 2), INT("ceil_mode", 1)},
               .in = {x}),
          DIMS(1, 1, 2), F32(1, 3));
    /* what hangs over the padded input is not counted: ONNX */
    CHECK(CASE(.op = DEFT_OP_AVERAGE_POOL,
               .attrs = {INTS("kernel_shape", 3), INTS("strides", 2), INT("ceil_mode", 1), INT("count_include_pad", 1)},
               .in = {x}),
          DIMS(1, 1, 2), F32(2, 3.5f));
}

static void test_average_pool(void **state) {
    (void)state;
    deft_tensor x = {DIMS(1, 1, 3, 3), NINE};
    CHECK(CASE(.op = DEFT_OP_AVERAGE_POOL, .attrs = {INTS("kernel_shape", 2, 2)}, .in = {x}), DIMS(1, 1, 2, 2),
          F32(3, 4, 6, 7));
    CHECK(CASE(.op = DEFT_OP_AVERAGE_POOL,
               .attrs = {INTS("kernel_shape", 2, 2), INTS("pads", 1, 1, 0, 0), INTS("strides", 2, 2)}, .in = {x}),
          DIMS(1, 1, 2, 2), F32(1, 2.5f, 5.5f, 7));
    CHECK(CASE(.op = DEFT_OP_AVERAGE_POOL,
               .attrs = {INTS("kernel_shape", 2, 2), INTS("pads", 1, 1, 0, 0), INTS("strides", 2, 2),
                         INT("count_include_pad", 1)},
               .in = {x}),
          DIMS(1, 1, 2, 2), F32(0.25f, 1.25f, 2.75f, 7));
    CHECK(CASE(.op = DEFT_OP_GLOBAL_AVERAGE_POOL, .in = {{DIMS(1, 2, 2, 2), F32(1, 2, 3, 4, 5, 6, 7, 9)}}),
          DIMS(1, 2, 1, 1), F32(2.5f, 6.75f));
    CHECK(CASE(.op = DEFT_OP_GLOBAL_AVERAGE_POOL, .in = {{DIMS(2, 1, 2), F32(1, 2, 3, NAN)}}), DIMS(2, 1, 1),
          F32(1.5f, NAN));
}

static void test_max_pool_grad(void **state) {
    (void)state;
    deft_attr kernel = INTS("kernel_shape", 2);
    /* the first of equals; windows that share it add up; a NaN is the maximum */
    CHECK(CASE(.op = DEFT_OP_MAX_POOL_GRAD, .attrs = {kernel},
               .in = {{DIMS(1, 1, 3), F32(10, 20, 30)}, {DIMS(1, 1, 4), F32(1, 5, 5, 2)}}),
          DIMS(1, 1, 4), F32(0, 30, 30, 0));
    CHECK(CASE(.op = DEFT_OP_MAX_POOL_GRAD, .attrs = {kernel},
               .in = {{DIMS(1, 1, 2), F32(10, 20)}, {DIMS(1, 1, 3), F32(7, NAN, 8)}}),
          DIMS(1, 1, 3), F32(0, 30, 0));
    CHECK(CASE(.op = DEFT_OP_MAX_POOL_GRAD, .attrs = {kernel},
               .in = {{DIMS(1, 1, 1), F32(10)}, {DIMS(1, 1, 2), F32(-INFINITY, -INFINITY)}}),
          DIMS(1, 1, 2), F32(10, 0));
    REFUSED(DEFT_INVALID, "gradient of the output",
            CASE(.op = DEFT_OP_MAX_POOL_GRAD, .attrs = {kernel},
                 .in = {{DIMS(1, 1, 4), UNKNOWN(DEFT_F32)}, {DIMS(1, 1, 4), UNKNOWN(DEFT_F32)}}));
}

/* Rows of more outputs than are looked at together: against a window at a time. */
static void check_long_row(int64_t stride, int64_t kernel, int64_t dilation, int64_t pad) {
    enum { WIDTH = 1200 };
    static float x[WIDTH], dy[WIDTH + 16], dx[WIDTH];
    int64_t out = (WIDTH + 2 * pad - (kernel - 1) * dilation - 1) / stride + 1;
    for (int64_t i = 0; i < WIDTH; i++) {
        x[i] = i % 97 == 0 ? -INFINITY : (float)(i * i % 31);
        dx[i] = 0;
    }
    for (int64_t o = 0; o < out; o++) {
        int64_t best = -1;
        dy[o] = (float)(o % 13);
        for (int64_t tap = 0; tap < kernel; tap++) {
            int64_t at = o * stride + tap * dilation - pad;
            if (at >= 0 && at < WIDTH && (best < 0 || x[at] > x[best])) best = at;
        }
        dx[best] += dy[o];
    }
    check_output(&(op_case){.op = DEFT_OP_MAX_POOL_GRAD,
                            .attrs = {INTS("kernel_shape", kernel), INTS("strides", stride),
                                      INTS("dilations", dilation), INTS("pads", pad, pad)},
                            .in = {{DIMS(1, 1, out), .dtype = DEFT_F32, .data = dy},
                                   {DIMS(1, 1, WIDTH), .dtype = DEFT_F32, .data = x}}},
                 0, (deft_tensor){DIMS(1, 1, WIDTH), .dtype = DEFT_F32, .data = dx});
}

static void test_long_rows(void **state) {
    (void)state;
    check_long_row(1, 3, 1, 1);
    check_long_row(2, 3, 1, 1);
    check_long_row(3, 5, 2, 4);
    check_long_row(5, 2, 7, 0);
    check_long_row(2, 300, 1, 150); /* few at a time */
    check_long_row(300, 2, 400, 1); /* more than there is room for */
}

/* Windows of 2x2 side by side have loops of their own: in width 3 and 11, for what is left of the vectors and the
 * picture. */
static void test_halving(void **state) {
    (void)state;
    deft_attr attrs[] = {INTS("kernel_shape", 2, 2), INTS("strides", 2, 2)};
    CHECK(CASE(.op = DEFT_OP_MAX_POOL, .attrs = {attrs[0], attrs[1]}, .in = {{DIMS(1, 1, 3, 3), NINE}}),
          DIMS(1, 1, 1, 1), F32(5));
    CHECK(CASE(.op = DEFT_OP_MAX_POOL, .attrs = {attrs[0], attrs[1]},
               .in = {{DIMS(1, 1, 2, 11), F32(NAN, 0, 1, NAN, 1, 2, 1, 2, -1, -INFINITY, 9, 1, 2, 1, 2, NAN, 2, 1, NAN,
                                              -3, -INFINITY, 9)}}),
          DIMS(1, 1, 1, 5), F32(NAN, NAN, NAN, NAN, -1));
    /* the first of equals, the first NaN; nothing for the column that is left */
    CHECK(CASE(.op = DEFT_OP_MAX_POOL_GRAD, .attrs = {attrs[0], attrs[1]},
               .in = {{DIMS(1, 1, 1, 5), F32(1, 2, 3, 4, 5)},
                      {DIMS(1, 1, 2, 11), F32(5, 5, 1, 7, NAN, 2, 1, 2, 0, 0, 9, 5, 5, 7, 7, 3, NAN, 3, 3, 0, 1, 9)}}),
          DIMS(1, 1, 2, 11), F32(1, 0, 0, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 5, 0));
}

static void test_refusals(void **state) {
    (void)state;
    deft_tensor x = {DIMS(1, 1, 3, 3), UNKNOWN(DEFT_F32)};
#define REFUSED_POOL(PART, ...)                                                                                        \
    REFUSED(DEFT_INVALID, PART, CASE(.op = DEFT_OP_MAX_POOL, .in = {x}, .attrs = {__VA_ARGS__}))
    REFUSED_POOL("kernel_shape is missing", INT("ceil_mode", 1));
    REFUSED_POOL("kernel_shape[0]", INTS("kernel_shape", 0, 2));
    REFUSED_POOL("kernel_shape must have 2", INTS("kernel_shape", 2));
    REFUSED_POOL("kernel_shape must have 2", INTS("kernel_shape", 2, 2, 2));
    REFUSED_POOL("spans 4 positions", INTS("kernel_shape", 4, 4));
    REFUSED_POOL("strides[1]", INTS("kernel_shape", 2, 2), INTS("strides", 1, 0));
    REFUSED_POOL("pads 2+0 must be smaller", INTS("kernel_shape", 2, 2), INTS("pads", 2, 0, 0, 0));
    REFUSED_POOL("pads[0]", INTS("kernel_shape", 2, 2), INTS("pads", -1, 0, 0, 0));
    REFUSED_POOL("spans", INTS("kernel_shape", INT32_MAX, INT32_MAX), INTS("dilations", INT32_MAX, INT32_MAX));
#undef REFUSED_POOL
    REFUSED(
        DEFT_INVALID, "3 or 4",
        CASE(.op = DEFT_OP_AVERAGE_POOL, .attrs = {INTS("kernel_shape", 2)}, .in = {{DIMS(3, 3), UNKNOWN(DEFT_F32)}}));
    REFUSED(DEFT_INVALID, "3 or 4", CASE(.op = DEFT_OP_AVERAGE_POOL, .in = {{SCALAR, UNKNOWN(DEFT_F32)}}));
    REFUSED(DEFT_INVALID, "at least 3",
            CASE(.op = DEFT_OP_GLOBAL_AVERAGE_POOL, .in = {{DIMS(3, 3), UNKNOWN(DEFT_F32)}}));
    REFUSED(DEFT_UNSUPPORTED, "u8",
            CASE(.op = DEFT_OP_AVERAGE_POOL, .attrs = {INTS("kernel_shape", 2)},
                 .in = {{DIMS(1, 3, 3), UNKNOWN(DEFT_U8)}}));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_max_pool_positions), cmocka_unit_test(test_max_unpool),
        cmocka_unit_test(test_max_pool),           cmocka_unit_test(test_ceil_mode),
        cmocka_unit_test(test_average_pool),       cmocka_unit_test(test_max_pool_grad),
        cmocka_unit_test(test_long_rows),          cmocka_unit_test(test_halving),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

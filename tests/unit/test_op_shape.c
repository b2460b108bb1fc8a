/* Operators that copy, reshape and move. */
#include "tests/op_support.h"

static const float six[] = {1, 2, 3, 4, 5, 6};
#define SIX .dtype = DEFT_F32, .data = (void *)six

static void test_reshape(void **state) {
    (void)state;
    CHECK(CASE(.op = DEFT_OP_RESHAPE, .in = {{DIMS(2, 3), SIX}, {DIMS(2), I64(3, 2)}}), DIMS(3, 2), SIX);
    CHECK(CASE(.op = DEFT_OP_RESHAPE, .in = {{DIMS(2, 3), SIX}, {DIMS(3), I64(0, -1, 1)}}), DIMS(2, 3, 1), SIX);
    CHECK(CASE(.op = DEFT_OP_RESHAPE, .in = {{DIMS(2, 3), SIX}, {DIMS(1), I64(-1)}}), DIMS(6), SIX);
    CHECK(CASE(.op = DEFT_OP_RESHAPE, .in = {{DIMS(1), F32(7)}, {DIMS(0), I64(0)}}), SCALAR, F32(7));
    CHECK(
        CASE(.op = DEFT_OP_RESHAPE, .attrs = {INT("allowzero", 1)}, .in = {{DIMS(0, 3), SIX}, {DIMS(3), I64(3, 0, 2)}}),
        DIMS(3, 0, 2), SIX);
    CHECK(CASE(.op = DEFT_OP_RESHAPE, .in = {{DIMS(0, 3), SIX}, {DIMS(2), I64(0, 7)}}), DIMS(0, 7), SIX);
    CHECK(CASE(.op = DEFT_OP_RESHAPE, .in = {{DIMS(2), I64(5, 6)}, {DIMS(2), I64(1, 2)}}), DIMS(1, 2), I64(5, 6));

    REFUSED(DEFT_INVALID, "2x3 cannot become 4x2",
            CASE(.op = DEFT_OP_RESHAPE, .in = {{DIMS(2, 3), SIX}, {DIMS(2), I64(4, 2)}}));
    REFUSED(DEFT_INVALID, "number of elements",
            CASE(.op = DEFT_OP_RESHAPE, .in = {{DIMS(2, 3), SIX}, {DIMS(2), I64(4, -1)}}));
    REFUSED(DEFT_INVALID, "one entry may be -1",
            CASE(.op = DEFT_OP_RESHAPE, .in = {{DIMS(2, 3), SIX}, {DIMS(2), I64(-1, -1)}}));
    REFUSED(DEFT_INVALID, "one entry may be -1",
            CASE(.op = DEFT_OP_RESHAPE, .in = {{DIMS(2, 3), SIX}, {DIMS(2), I64(-6, -1)}}));
    REFUSED(DEFT_INVALID, "shape[2] is 0",
            CASE(.op = DEFT_OP_RESHAPE, .in = {{DIMS(2, 3), SIX}, {DIMS(3), I64(2, 3, 0)}}));
    REFUSED(DEFT_INVALID, "number of elements",
            CASE(.op = DEFT_OP_RESHAPE, .in = {{DIMS(2, 3), SIX}, {DIMS(2), I64(INT64_MAX, INT64_MAX)}}));
    REFUSED(DEFT_INVALID, "number of elements",
            CASE(.op = DEFT_OP_RESHAPE, .in = {{DIMS(0), SIX}, {DIMS(3), I64(INT64_MAX, INT64_MAX, 0)}},
                 .attrs = {INT("allowzero", 1)}));
    REFUSED(DEFT_UNSUPPORTED, "constant",
            CASE(.op = DEFT_OP_RESHAPE, .in = {{DIMS(2, 3), SIX}, {DIMS(2), UNKNOWN(DEFT_I64)}}));
    REFUSED(DEFT_INVALID, "vector",
            CASE(.op = DEFT_OP_RESHAPE, .in = {{DIMS(2, 3), SIX}, {DIMS(9), UNKNOWN(DEFT_I64)}}));
    REFUSED(DEFT_INVALID, "vector", CASE(.op = DEFT_OP_RESHAPE, .in = {{DIMS(2, 3), SIX}, {DIMS(2), F32(2, 3)}}));
}

static void test_flatten(void **state) {
    (void)state;
    CHECK(CASE(.op = DEFT_OP_FLATTEN, .in = {{DIMS(1, 2, 3), SIX}}), DIMS(1, 6), SIX);
    CHECK(CASE(.op = DEFT_OP_FLATTEN, .attrs = {INT("axis", 2)}, .in = {{DIMS(1, 2, 3), SIX}}), DIMS(2, 3), SIX);
    CHECK(CASE(.op = DEFT_OP_FLATTEN, .attrs = {INT("axis", 3)}, .in = {{DIMS(1, 2, 3), SIX}}), DIMS(6, 1), SIX);
    CHECK(CASE(.op = DEFT_OP_FLATTEN, .attrs = {INT("axis", 0)}, .in = {{DIMS(1, 2, 3), SIX}}), DIMS(1, 6), SIX);
    CHECK(CASE(.op = DEFT_OP_FLATTEN, .attrs = {INT("axis", -1)}, .in = {{DIMS(1, 2, 3), SIX}}), DIMS(2, 3), SIX);
    CHECK(CASE(.op = DEFT_OP_FLATTEN, .attrs = {INT("axis", 0)}, .in = {{SCALAR, SIX}}), DIMS(1, 1), SIX);
    REFUSED(DEFT_INVALID, "axis 4",
            CASE(.op = DEFT_OP_FLATTEN, .attrs = {INT("axis", 4)}, .in = {{DIMS(1, 2, 3), SIX}}));
    REFUSED(DEFT_INVALID, "axis 1", CASE(.op = DEFT_OP_FLATTEN, .in = {{SCALAR, SIX}}));
}

static void test_squeeze(void **state) {
    (void)state;
    deft_tensor x = {DIMS(1, 2, 1, 3), SIX};
    CHECK(CASE(.op = DEFT_OP_SQUEEZE, .in = {x}), DIMS(2, 3), SIX);
    CHECK(CASE(.op = DEFT_OP_SQUEEZE, .in = {x, {DIMS(1), I64(-2)}}), DIMS(1, 2, 3), SIX);
    CHECK(CASE(.op = DEFT_OP_SQUEEZE, .opset = 11, .attrs = {INTS("axes", 0, 2)}, .in = {x}), DIMS(2, 3), SIX);
    REFUSED(DEFT_INVALID, "dimension 1 is 2", CASE(.op = DEFT_OP_SQUEEZE, .in = {x, {DIMS(1), I64(1)}}));
    REFUSED(DEFT_INVALID, "twice", CASE(.op = DEFT_OP_SQUEEZE, .in = {x, {DIMS(2), I64(0, -4)}}));
    REFUSED(DEFT_INVALID, "axis 4", CASE(.op = DEFT_OP_SQUEEZE, .in = {x, {DIMS(1), I64(4)}}));
    REFUSED(DEFT_UNSUPPORTED, "constant", CASE(.op = DEFT_OP_SQUEEZE, .in = {x, {DIMS(1), UNKNOWN(DEFT_I64)}}));
    CHECK(CASE(.op = DEFT_OP_UNSQUEEZE, .in = {{DIMS(2, 3), SIX}, {DIMS(2), I64(0, -1)}}), DIMS(1, 2, 3, 1), SIX);
    CHECK(CASE(.op = DEFT_OP_UNSQUEEZE, .opset = 11, .attrs = {INTS("axes", 2, 0)}, .in = {{DIMS(2, 3), SIX}}),
          DIMS(1, 2, 1, 3), SIX);
    REFUSED(DEFT_INVALID, "missing", CASE(.op = DEFT_OP_UNSQUEEZE, .in = {{DIMS(2, 3), SIX}}));
    REFUSED(DEFT_INVALID, "twice", CASE(.op = DEFT_OP_UNSQUEEZE, .in = {{DIMS(2, 3), SIX}, {DIMS(2), I64(1, 1)}}));
    REFUSED(DEFT_INVALID, "axis 3", CASE(.op = DEFT_OP_UNSQUEEZE, .in = {{DIMS(2, 3), SIX}, {DIMS(1), I64(3)}}));
    REFUSED(DEFT_UNSUPPORTED, "more than 8",
            CASE(.op = DEFT_OP_UNSQUEEZE, .in = {{DIMS(2, 3), SIX}, {DIMS(7), I64(0, 1, 2, 3, 4, 5, 6)}}));
}

static void test_transpose(void **state) {
    (void)state;
    CHECK(CASE(.op = DEFT_OP_TRANSPOSE, .in = {{DIMS(2, 3), SIX}}), DIMS(3, 2), F32(1, 4, 2, 5, 3, 6));
    CHECK(CASE(.op = DEFT_OP_TRANSPOSE, .attrs = {INTS("perm", 1, 0, 2)}, .in = {{DIMS(3, 2, 1), SIX}}), DIMS(2, 3, 1),
          F32(1, 3, 5, 2, 4, 6));
    CHECK(CASE(.op = DEFT_OP_TRANSPOSE, .attrs = {INTS("perm", 2, 0, 1)},
               .in = {{DIMS(2, 2, 2), F32(0, 1, 2, 3, 4, 5, 6, 7)}}),
          DIMS(2, 2, 2), F32(0, 2, 4, 6, 1, 3, 5, 7));
    CHECK(CASE(.op = DEFT_OP_TRANSPOSE, .in = {{DIMS(2, 2), U8(1, 2, 3, 4)}}), DIMS(2, 2), U8(1, 3, 2, 4));
    CHECK(CASE(.op = DEFT_OP_TRANSPOSE, .in = {{DIMS(2, 2), I64(1, 2, 3, 4)}}), DIMS(2, 2), I64(1, 3, 2, 4));
    CHECK(CASE(.op = DEFT_OP_TRANSPOSE, .in = {{SCALAR, F32(3)}}), SCALAR, F32(3));
    CHECK(CASE(.op = DEFT_OP_TRANSPOSE, .in = {{DIMS(0, 3), SIX}}), DIMS(3, 0), SIX);
    REFUSED(DEFT_INVALID, "once",
            CASE(.op = DEFT_OP_TRANSPOSE, .attrs = {INTS("perm", 0, 0)}, .in = {{DIMS(2, 3), SIX}}));
    REFUSED(DEFT_INVALID, "once",
            CASE(.op = DEFT_OP_TRANSPOSE, .attrs = {INTS("perm", 0, -1)}, .in = {{DIMS(2, 3), SIX}}));
    REFUSED(DEFT_INVALID, "once", CASE(.op = DEFT_OP_TRANSPOSE, .attrs = {INTS("perm", 0)}, .in = {{DIMS(2, 3), SIX}}));
    REFUSED(
        DEFT_INVALID, "once",
        CASE(.op = DEFT_OP_TRANSPOSE, .attrs = {INTS("perm", 0, 1, 2, 3, 4, 5, 6, 7, 8)}, .in = {{DIMS(2, 3), SIX}}));
}

static void test_concat(void **state) {
    (void)state;
    CHECK(CASE(.op = DEFT_OP_CONCAT, .attrs = {INT("axis", 0)}, .in = {{DIMS(2), F32(1, 2)}, {DIMS(1), F32(3)}}),
          DIMS(3), F32(1, 2, 3));
    CHECK(CASE(.op = DEFT_OP_CONCAT, .attrs = {INT("axis", -1)},
               .in = {{DIMS(2, 2), F32(1, 2, 3, 4)}, {DIMS(2, 1), F32(9, 8)}, {DIMS(2, 0), F32(0)}}),
          DIMS(2, 3), F32(1, 2, 9, 3, 4, 8));
    CHECK(CASE(.op = DEFT_OP_CONCAT, .attrs = {INT("axis", 0)}, .in = {{DIMS(1), I64(5)}, {DIMS(1), I64(6)}}), DIMS(2),
          I64(5, 6));
    REFUSED(DEFT_INVALID, "axis", CASE(.op = DEFT_OP_CONCAT, .in = {{DIMS(2), F32(1, 2)}}));
    REFUSED(DEFT_INVALID, "input 1",
            CASE(.op = DEFT_OP_CONCAT, .attrs = {INT("axis", 0)}, .in = {{DIMS(2), F32(1, 2)}, {DIMS(2), I64(1, 2)}}));
    REFUSED(DEFT_INVALID, "input 1",
            CASE(.op = DEFT_OP_CONCAT, .attrs = {INT("axis", 0)}, .in = {{DIMS(2, 2), SIX}, {DIMS(2, 1), SIX}}));
    REFUSED(DEFT_INVALID, "input 1",
            CASE(.op = DEFT_OP_CONCAT, .attrs = {INT("axis", 0)}, .in = {{DIMS(2, 2), SIX}, {DIMS(2), SIX}}));
    REFUSED(DEFT_INVALID, "axis 0", CASE(.op = DEFT_OP_CONCAT, .attrs = {INT("axis", 0)}, .in = {{SCALAR, F32(1)}}));
    REFUSED(DEFT_INVALID, "input 1 is missing",
            CASE(.op = DEFT_OP_CONCAT, .attrs = {INT("axis", 0)}, .in = {{DIMS(2), SIX}, {0}, {DIMS(2), SIX}}));
    int64_t big = (int64_t)1 << 44;
    REFUSED(
        DEFT_INVALID, "memory",
        CASE(.op = DEFT_OP_CONCAT, .attrs = {INT("axis", 0)},
             .in = {{DIMS(big), UNKNOWN(DEFT_U8)}, {DIMS(big), UNKNOWN(DEFT_U8)}, {DIMS(8 * big), UNKNOWN(DEFT_U8)}}));
}

static void test_constant(void **state) {
    (void)state;
    deft_attr value = {.name = "value", .type = DEFT_ATTR_TENSOR, .tensor = {DIMS(2, 3), SIX}};
    CHECK(CASE(.op = DEFT_OP_CONSTANT, .attrs = {value}), DIMS(2, 3), SIX);
    CHECK(CASE(.op = DEFT_OP_CONSTANT, .attrs = {INT("value_int", 7)}), SCALAR, I64(7));
    CHECK(CASE(.op = DEFT_OP_CONSTANT, .attrs = {INTS("value_ints", 7, 8)}), DIMS(2), I64(7, 8));
    CHECK(CASE(.op = DEFT_OP_CONSTANT, .attrs = {FLOAT("value_float", 1.5f)}), SCALAR, F32(1.5f));
    CHECK(CASE(.op = DEFT_OP_CONSTANT,
               .attrs = {{.name = "value_floats", .type = DEFT_ATTR_FLOATS, .count = 6, .floats = six}}),
          DIMS(6), SIX);
    REFUSED(DEFT_UNSUPPORTED, "value", CASE(.op = DEFT_OP_CONSTANT));
    REFUSED(DEFT_UNSUPPORTED, "value", CASE(.op = DEFT_OP_CONSTANT, .attrs = {STRING("value_string", "x")}));
    REFUSED(DEFT_UNSUPPORTED, "value", CASE(.op = DEFT_OP_CONSTANT, .attrs = {INT("value", 3)}));
}

static void test_copies(void **state) {
    (void)state;
    CHECK(CASE(.op = DEFT_OP_IDENTITY, .in = {{DIMS(2), U8(1, 2)}}), DIMS(2), U8(1, 2));
    CHECK(CASE(.op = DEFT_OP_RESHAPE_LIKE, .in = {{DIMS(2, 3), SIX}, {DIMS(6), SIX}}), DIMS(6), SIX);
    REFUSED(DEFT_INVALID, "number of elements",
            CASE(.op = DEFT_OP_RESHAPE_LIKE, .in = {{DIMS(2, 3), SIX}, {DIMS(5), SIX}}));
    op_case dropout = {.op = DEFT_OP_DROPOUT, .out_count = 2, .in = {{DIMS(2), F32(1, NAN)}, {SCALAR, F32(0.5f)}}};
    check_output(&dropout, 0, (deft_tensor){DIMS(2), F32(1, NAN)});
    check_output(&dropout, 1, (deft_tensor){DIMS(2), .dtype = DEFT_BOOL, .data = (uint8_t[]){1, 1}});
    dropout.opset = 7;
    check_refused(&dropout, DEFT_UNSUPPORTED, "mask");
    dropout.opset = 13;
    dropout.in[2] = (deft_tensor){SCALAR, .dtype = DEFT_BOOL, .data = (uint8_t[]){1}};
    check_refused(&dropout, DEFT_UNSUPPORTED, "training_mode");
    dropout.in[2].data = (uint8_t[]){0};
    check_output(&dropout, 0, (deft_tensor){DIMS(2), F32(1, NAN)});
}

static void test_table(void **state) {
    (void)state;
    assert_int_equal(deft_op_find("", "Conv"), DEFT_OP_CONV);
    assert_int_equal(deft_op_find("ai.onnx", "Conv"), DEFT_OP_CONV);
    assert_int_equal(deft_op_find("deft", "SumTo"), DEFT_OP_SUM_TO);
    assert_int_equal(deft_op_find("", "SumTo"), DEFT_OP_COUNT);
    assert_int_equal(deft_op_find("deft", "Conv"), DEFT_OP_COUNT);
    assert_int_equal(deft_op_find("", "conv"), DEFT_OP_COUNT);
    for (int i = 0; i < DEFT_OP_COUNT; i++) {
        const deft_op_info *info = &deft_ops[i];
        assert_int_equal(deft_op_find(info->domain, info->name), i);
        assert_true(info->shape && info->forward && info->gradient && info->summary[0]);
        assert_true(info->min_in <= info->max_in && info->min_out >= 1 && info->min_out <= info->max_out);
    }
}

static void test_attributes(void **state) {
    (void)state;
    deft_attr items[] = {INT("i", 3), FLOAT("f", 0.5f), STRING("s", "text"), INTS("n", 1, 2, 3)};
    deft_attrs attrs = {items, 4};
    int64_t ints[2] = {0};
    assert_int_equal(deft_attr_int(&attrs, "i", 9), 3);
    assert_int_equal(deft_attr_int(&attrs, "f", 9), 9);
    assert_int_equal(deft_attr_int(&attrs, "none", 9), 9);
    assert_true(deft_attr_float(&attrs, "f", 9) == 0.5f && deft_attr_float(&attrs, "i", 9) == 9);
    assert_string_equal(deft_attr_string(&attrs, "s", "no"), "text");
    assert_string_equal(deft_attr_string(&attrs, "n", "no"), "no");
    assert_int_equal(deft_attr_ints(&attrs, "n", ints, 2), 3);
    assert_true(ints[0] == 1 && ints[1] == 2);
    assert_int_equal(deft_attr_ints(&attrs, "i", ints, 2), 0);
    assert_null(deft_attr_find(&attrs, "none"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reshape),   cmocka_unit_test(test_flatten), cmocka_unit_test(test_squeeze),
        cmocka_unit_test(test_transpose), cmocka_unit_test(test_concat),  cmocka_unit_test(test_constant),
        cmocka_unit_test(test_copies),    cmocka_unit_test(test_table),   cmocka_unit_test(test_attributes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

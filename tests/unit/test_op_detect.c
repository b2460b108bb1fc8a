/* NonMaxSuppression, RoiAlign, GridSample: values checked by hand, ties, edges, positions that are no numbers,
 * refusals. */
#include "tests/op_support.h"

#define NUMBER(...)                                                                                                    \
    { SCALAR, F32(__VA_ARGS__) }
#define COUNT(N)                                                                                                       \
    { SCALAR, I64(N) }

/* Two boxes that overlap by a third, one apart. */
#define BOXES                                                                                                          \
    { DIMS(1, 3, 4), F32(0, 0, 1, 1, 0, 0.5f, 1, 1.5f, 5, 5, 6, 6) }

static void test_non_max_suppression(void **state) {
    (void)state;
    deft_tensor boxes = BOXES, scores = {DIMS(1, 1, 3), F32(0.5f, 0.9f, 0.7f)};
    op_case all = {.op = DEFT_OP_NON_MAX_SUPPRESSION, .in = {boxes, scores, COUNT(9), NUMBER(0.3f)}};
    check_output(&all, 0, (deft_tensor){DIMS(2, 3), I64(0, 0, 1, 0, 0, 2)});
    op_case lenient = all;
    lenient.in[3] = (deft_tensor)NUMBER(0.34f);
    check_output(&lenient, 0, (deft_tensor){DIMS(3, 3), I64(0, 0, 1, 0, 0, 2, 0, 0, 0)});
    op_case above = lenient;
    above.in[4] = (deft_tensor)NUMBER(0.6f);
    check_output(&above, 0, (deft_tensor){DIMS(2, 3), I64(0, 0, 1, 0, 0, 2)});
    op_case one = lenient;
    one.in[2] = (deft_tensor)COUNT(1);
    check_output(&one, 0, (deft_tensor){DIMS(1, 3), I64(0, 0, 1)});
    op_case none = {.op = DEFT_OP_NON_MAX_SUPPRESSION, .in = {boxes, scores}}; /* ONNX's default */
    check_output(&none, 0, (deft_tensor){DIMS(0, 3), I64(0)});
    /* of equal scores the first; one that is no number is none */
    op_case ties = {.op = DEFT_OP_NON_MAX_SUPPRESSION,
                    .in = {boxes, {DIMS(1, 2, 3), F32(1, 1, 1, NAN, 0, NAN)}, COUNT(9), NUMBER(0.3f)}};
    check_output(&ties, 0, (deft_tensor){DIMS(3, 3), I64(0, 0, 0, 0, 0, 2, 0, 1, 1)});
}

static void test_non_max_suppression_refuses(void **state) {
    (void)state;
    deft_tensor boxes = BOXES, scores = {DIMS(1, 1, 3), F32(1, 2, 3)};
    REFUSED(DEFT_INVALID, "[batch, boxes, 4]",
            CASE(.op = DEFT_OP_NON_MAX_SUPPRESSION, .in = {boxes, {DIMS(1, 1, 2), F32(1, 2)}}));
    REFUSED(DEFT_UNSUPPORTED, "must be constant",
            CASE(.op = DEFT_OP_NON_MAX_SUPPRESSION, .in = {boxes, {DIMS(1, 1, 3), UNKNOWN(DEFT_F32)}}));
    REFUSED(DEFT_INVALID, "scalar",
            CASE(.op = DEFT_OP_NON_MAX_SUPPRESSION, .in = {boxes, scores, {DIMS(2), I64(1, 1)}}));
    float *many = calloc(4 << 16, sizeof *many); /* 2^32 comparisons */
    REFUSED(DEFT_UNSUPPORTED, "too many to compare",
            CASE(.op = DEFT_OP_NON_MAX_SUPPRESSION, .in = {{DIMS(1, 1 << 16, 4), .dtype = DEFT_F32, .data = many},
                                                           {DIMS(1, 1, 1 << 16), .dtype = DEFT_F32, .data = many},
                                                           COUNT(1 << 16)}));
    free(many);
}

static void test_roi_align(void **state) {
    (void)state;
    deft_tensor x = {DIMS(1, 1, 2, 2), F32(0, 1, 2, 3)}, first = {DIMS(1), I64(0)};
    deft_tensor whole = {DIMS(1, 4), F32(0, 0, 2, 2)};
    deft_attr high = INT("output_height", 2), wide = INT("output_width", 2), one = INT("sampling_ratio", 1);
    CHECK(CASE(.op = DEFT_OP_ROI_ALIGN, .attrs = {high, wide, one}, .in = {x, whole, first}), DIMS(1, 1, 2, 2),
          F32(0, 1, 2, 3));
    CHECK(CASE(.op = DEFT_OP_ROI_ALIGN, .attrs = {one}, .in = {x, whole, first}), DIMS(1, 1, 1, 1), F32(1.5f));
    CHECK(CASE(.op = DEFT_OP_ROI_ALIGN, .attrs = {one, STRING("mode", "max")}, .in = {x, whole, first}),
          DIMS(1, 1, 1, 1), F32(0.75f));
    /* as many samples as there are points; outside of the picture there is nothing */
    CHECK(CASE(.op = DEFT_OP_ROI_ALIGN, .in = {x, whole, first}), DIMS(1, 1, 1, 1), F32(1.5f));
    CHECK(CASE(.op = DEFT_OP_ROI_ALIGN, .attrs = {one}, .in = {x, {DIMS(1, 4), F32(9, 9, 9.5f, 9.5f)}, first}),
          DIMS(1, 1, 1, 1), F32(0));
    DATA_REFUSED("picture 1", CASE(.op = DEFT_OP_ROI_ALIGN, .in = {x, whole, {DIMS(1), I64(1)}}));
    DATA_REFUSED("picture -1", CASE(.op = DEFT_OP_ROI_ALIGN, .in = {x, whole, {DIMS(1), I64(-1)}}));
    DATA_REFUSED("samples", CASE(.op = DEFT_OP_ROI_ALIGN, .in = {x, {DIMS(1, 4), F32(0, 0, 1e30f, 1)}, first}));
    DATA_REFUSED("samples", CASE(.op = DEFT_OP_ROI_ALIGN, .in = {x, {DIMS(1, 4), F32(NAN, 0, 1, 1)}, first}));
    REFUSED(DEFT_INVALID, "[count, 4]", CASE(.op = DEFT_OP_ROI_ALIGN, .in = {x, whole, {DIMS(2), I64(0, 0)}}));
    REFUSED(DEFT_INVALID, "neither avg nor max",
            CASE(.op = DEFT_OP_ROI_ALIGN, .attrs = {STRING("mode", "sum")}, .in = {x, whole, first}));
}

static void test_grid_sample(void **state) {
    (void)state;
    deft_tensor line = {DIMS(1, 1, 4), F32(1, 2, 3, 4)}, picture = {DIMS(1, 1, 2, 2), F32(1, 2, 3, 4)};
    /* x comes first in a position */
    CHECK(CASE(.op = DEFT_OP_GRID_SAMPLE, .attrs = {INT("align_corners", 1)},
               .in = {picture, {DIMS(1, 1, 3, 2), F32(1, -1, -1, 1, 0, 0)}}),
          DIMS(1, 1, 1, 3), F32(2, 3, 2.5f));
    deft_tensor grid = {DIMS(1, 6, 1), F32(-1, -0.75f, 0, 1, 3, NAN)};
    CHECK(CASE(.op = DEFT_OP_GRID_SAMPLE, .in = {line, grid}), DIMS(1, 1, 6), F32(0.5f, 1, 2.5f, 2, 0, 0));
    CHECK(CASE(.op = DEFT_OP_GRID_SAMPLE, .attrs = {STRING("padding_mode", "border")}, .in = {line, grid}),
          DIMS(1, 1, 6), F32(1, 1, 2.5f, 4, 4, 1));
    CHECK(CASE(.op = DEFT_OP_GRID_SAMPLE,
               .attrs = {STRING("padding_mode", "reflection"), STRING("mode", "nearest"), INT("align_corners", 1)},
               .in = {line, {DIMS(1, 4, 1), F32(-1, 1, 5.0f / 3, 3)}}),
          DIMS(1, 1, 4), F32(1, 4, 3, 1));
    /* a straight line stays one under cubic interpolation, away from its ends */
    CHECK(CASE(.op = DEFT_OP_GRID_SAMPLE, .attrs = {STRING("mode", "cubic")}, .in = {line, {DIMS(1, 1, 1), F32(0)}}),
          DIMS(1, 1, 1), F32(2.5f));
    deft_tensor huge = {DIMS(1, 3, 1), F32(INFINITY, -3e38f, 3e38f)};
    static const char *const modes[] = {"nearest", "linear", "cubic"};
    for (int i = 0; i < 3; i++)
        CHECK(CASE(.op = DEFT_OP_GRID_SAMPLE, .attrs = {STRING("mode", modes[i])}, .in = {line, huge}), DIMS(1, 1, 3),
              F32(0, 0, 0));
}

static void test_grid_sample_refuses(void **state) {
    (void)state;
    deft_tensor x = {DIMS(1, 1, 2, 2), F32(1, 2, 3, 4)}, grid = {DIMS(1, 1, 1, 2), F32(0, 0)};
    REFUSED(DEFT_INVALID, "2 numbers", CASE(.op = DEFT_OP_GRID_SAMPLE, .in = {x, {DIMS(1, 1, 1, 3), F32(0, 0, 0)}}));
    REFUSED(DEFT_INVALID, "dimension 3 is 0",
            CASE(.op = DEFT_OP_GRID_SAMPLE, .in = {{DIMS(1, 1, 2, 0), UNKNOWN(DEFT_F32)}, grid}));
    REFUSED(DEFT_INVALID, "mode", CASE(.op = DEFT_OP_GRID_SAMPLE, .attrs = {STRING("mode", "area")}, .in = {x, grid}));
    REFUSED(DEFT_INVALID, "padding_mode",
            CASE(.op = DEFT_OP_GRID_SAMPLE, .attrs = {STRING("padding_mode", "wrap")}, .in = {x, grid}));
    REFUSED(DEFT_UNSUPPORTED, "4 spatial",
            CASE(.op = DEFT_OP_GRID_SAMPLE,
                 .in = {{DIMS(1, 1, 1, 1, 1, 1), UNKNOWN(DEFT_F32)}, {DIMS(1, 1, 1, 1, 1, 4), UNKNOWN(DEFT_F32)}}));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_non_max_suppression), cmocka_unit_test(test_non_max_suppression_refuses),
        cmocka_unit_test(test_roi_align),           cmocka_unit_test(test_grid_sample),
        cmocka_unit_test(test_grid_sample_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

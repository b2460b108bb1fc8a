/* Normalisation, softmax and losses: values checked by hand, edges, refusals. */
#include "tests/op_support.h"

static void test_softmax(void **state) {
    (void)state;
    deft_tensor x = {DIMS(2, 2, 2), F32(0, 0, 0, 0, 1, 2, 3, 4)};
    const float a = 0.26894143f, b = 0.73105857f, c = 0.11920292f, d = 0.88079708f;
    CHECK(CASE(.op = DEFT_OP_SOFTMAX, .in = {x}), DIMS(2, 2, 2), F32(.5f, .5f, .5f, .5f, a, b, a, b));
    CHECK(CASE(.op = DEFT_OP_SOFTMAX, .attrs = {INT("axis", 1)}, .in = {x}), DIMS(2, 2, 2),
          F32(.5f, .5f, .5f, .5f, c, c, d, d));
    /* before opset 13: over all from axis on, which is 1 by default */
    CHECK(CASE(.op = DEFT_OP_SOFTMAX, .opset = 11, .in = {x}), DIMS(2, 2, 2),
          F32(.25f, .25f, .25f, .25f, 0.03205860f, 0.08714432f, 0.23688282f, 0.64391426f));
    CHECK(CASE(.op = DEFT_OP_LOG_SOFTMAX, .attrs = {INT("axis", 2)}, .in = {x}), DIMS(2, 2, 2),
          F32(-0.69314718f, -0.69314718f, -0.69314718f, -0.69314718f, -1.31326169f, -0.31326169f, -1.31326169f,
              -0.31326169f));
    /* large numbers do not overflow; NaN spoils its line alone; an empty line is nothing */
    CHECK(CASE(.op = DEFT_OP_SOFTMAX, .in = {{DIMS(3, 2), F32(1e30f, 1e30f, NAN, 0, 5, -INFINITY)}}), DIMS(3, 2),
          F32(.5f, .5f, NAN, NAN, 1, 0));
    CHECK(CASE(.op = DEFT_OP_LOG_SOFTMAX, .in = {{DIMS(2, 2), F32(1000, 0, 0, NAN)}}), DIMS(2, 2),
          F32(0, -1000, NAN, NAN));
    CHECK(CASE(.op = DEFT_OP_SOFTMAX, .in = {{DIMS(2, 0), F32(0)}}), DIMS(2, 0), F32(0));
    CHECK(CASE(.op = DEFT_OP_SOFTMAX, .in = {{DIMS(0, 2), F32(0)}}), DIMS(0, 2), F32(0));
    CHECK(CASE(.op = DEFT_OP_SOFTMAX, .attrs = {INT("axis", 0)}, .in = {{DIMS(2, 0), F32(0)}}), DIMS(2, 0), F32(0));
    REFUSED(DEFT_INVALID, "axis 3", CASE(.op = DEFT_OP_SOFTMAX, .attrs = {INT("axis", 3)}, .in = {x}));
    REFUSED(DEFT_INVALID, "axis -1", CASE(.op = DEFT_OP_SOFTMAX, .in = {{SCALAR, F32(1)}}));
    REFUSED(DEFT_INVALID, "axis 1", CASE(.op = DEFT_OP_SOFTMAX, .opset = 11, .in = {{DIMS(2), F32(1, 2)}}));
}

static void test_batch_norm(void **state) {
    (void)state;
    deft_tensor x = {DIMS(2, 2, 2), F32(1, 2, 3, 4, 5, 6, 7, 8)};
    deft_tensor scale = {DIMS(2), F32(2, 1)}, shift = {DIMS(2), F32(0, 10)}, mean = {DIMS(2), F32(1, 3)},
                var = {DIMS(2), F32(4, 1)};
    deft_attr epsilon = FLOAT("epsilon", 0);
    CHECK(CASE(.op = DEFT_OP_BATCH_NORM, .attrs = {epsilon}, .in = {x, scale, shift, mean, var}), DIMS(2, 2, 2),
          F32(0, 1, 10, 11, 4, 5, 14, 15));
    CHECK(CASE(.op = DEFT_OP_BATCH_NORM, .in = {{DIMS(1, 2), F32(3, 4)}, scale, shift, mean, var}), DIMS(1, 2),
          F32(1.9999975f, 10.999995f));
    REFUSED(DEFT_INVALID, "for each channel",
            CASE(.op = DEFT_OP_BATCH_NORM, .in = {x, scale, {DIMS(3), F32(1, 2, 3)}, mean, var}));
    REFUSED(DEFT_INVALID, "at least 2", CASE(.op = DEFT_OP_BATCH_NORM, .in = {mean, scale, shift, mean, var}));
    REFUSED(DEFT_UNSUPPORTED, "training_mode",
            CASE(.op = DEFT_OP_BATCH_NORM, .attrs = {INT("training_mode", 1)}, .in = {x, scale, shift, mean, var}));
    REFUSED(
        DEFT_UNSUPPORTED, "spatial",
        CASE(.op = DEFT_OP_BATCH_NORM, .opset = 7, .attrs = {INT("spatial", 0)}, .in = {x, scale, shift, mean, var}));

    /* the batch's own statistics: channels 1 2 5 6 and 3 4 7 8 */
    op_case training = {.op = DEFT_OP_BATCH_NORM_TRAINING, .out_count = 3, .attrs = {epsilon}, .in = {x, scale, shift}};
    const float k = 1.21267813f, l = 0.72760688f;
    check_output(&training, 0,
                 (deft_tensor){DIMS(2, 2, 2), F32(-2 * k, -2 * l, 10 - k, 10 - l, 2 * l, 2 * k, 10 + l, 10 + k)});
    check_output(&training, 1, (deft_tensor){DIMS(2), F32(3.5f, 5.5f)});
    check_output(&training, 2, (deft_tensor){DIMS(2), F32(4.25f, 4.25f)});
    training.in[0] = (deft_tensor){DIMS(0, 2, 2), F32(0)};
    check_refused(&training, DEFT_INVALID, "empty");
}

static void test_rms_norm(void **state) {
    (void)state;
    deft_tensor x = {DIMS(2, 2), F32(3, -4, 0, 0)}, scale = {DIMS(2), F32(1, 10)};
    deft_attr exact = FLOAT("epsilon", 0), one = FLOAT("epsilon", 1);
    CHECK(CASE(.op = DEFT_OP_RMS_NORM, .attrs = {exact}, .in = {x, scale}), DIMS(2, 2),
          F32(0.84852814f, -11.3137085f, NAN, NAN));
    CHECK(CASE(.op = DEFT_OP_RMS_NORM, .attrs = {one, INT("axis", 0)}, .in = {x, {DIMS(2, 2), F32(1, 1, 1, 1)}}),
          DIMS(2, 2), F32(1.1141720f, -1.4855627f, 0, 0));
    REFUSED(DEFT_INVALID, "that is normalised", CASE(.op = DEFT_OP_RMS_NORM, .in = {x, {DIMS(3), F32(1, 1, 1)}}));
}

static void test_losses(void **state) {
    (void)state;
    deft_tensor logits = {DIMS(2, 2), F32(0, 0, 1000, 0)}, targets = {DIMS(2, 2), F32(1, 0, 0, 1)};
    CHECK(CASE(.op = DEFT_OP_SOFTMAX_CROSS_ENTROPY, .in = {logits, targets}), SCALAR, F32(500.346574f));
    CHECK(CASE(.op = DEFT_OP_SOFTMAX_CROSS_ENTROPY_GRAD, .in = {{SCALAR, F32(2)}, logits, targets}), DIMS(2, 2),
          F32(-0.5f, 0.5f, 1, -1));
    CHECK(CASE(.op = DEFT_OP_MEAN_SQUARED_ERROR, .in = {logits, targets}), SCALAR, F32(250000.5f));
    CHECK(CASE(.op = DEFT_OP_MEAN_SQUARED_ERROR_GRAD, .in = {{SCALAR, F32(2)}, logits, targets}), DIMS(2, 2),
          F32(-1, 0, 1000, -1));
    REFUSED(DEFT_INVALID, "like input 0",
            CASE(.op = DEFT_OP_SOFTMAX_CROSS_ENTROPY, .in = {logits, {DIMS(2), F32(0, 1)}}));
    REFUSED(DEFT_INVALID, "exactly 2",
            CASE(.op = DEFT_OP_SOFTMAX_CROSS_ENTROPY, .in = {{DIMS(2), F32(0, 1)}, {DIMS(2), F32(0, 1)}}));
    REFUSED(DEFT_INVALID, "empty",
            CASE(.op = DEFT_OP_MEAN_SQUARED_ERROR, .in = {{DIMS(0), F32(0)}, {DIMS(0), F32(0)}}));
    REFUSED(DEFT_INVALID, "gradient of the loss",
            CASE(.op = DEFT_OP_MEAN_SQUARED_ERROR_GRAD, .in = {{DIMS(2), F32(1, 1)}, logits, targets}));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rms_norm),
        cmocka_unit_test(test_softmax),
        cmocka_unit_test(test_batch_norm),
        cmocka_unit_test(test_losses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* deft_conform_run on ONNX's own cases, with every allocation failing in turn. What it compares is tested through the
 * command (tests/conform). */
#include "tests/support.h"

#include "face/api/conform.h"

#include <string.h>

#define DATA "/usr/include/onnx/backend/test/data/node/"

/* OK only where the case passes: with little memory it may neither fail nor be skipped instead. */
static deft_status run_case(deft_context *ctx, void *user) {
    deft_conform_result result;
    DEFT_TRY(deft_conform_run(ctx, user, &result));
    if (result.verdict != DEFT_CONFORM_PASSED) fail_msg("%s: %s", (char *)user, result.reason);
    return DEFT_OK;
}

static void test_out_of_memory(void **state) {
    (void)state;
    static char *const folders[] = {DATA "test_relu", DATA "test_reshape_negative_dim", DATA "test_lstm_defaults",
                                    DATA "test_range_float_type_positive_delta"};
    if (!deft_conform_is_case(folders[0])) skip();
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        check_every_allocation_failure(run_case, folders[i]);
}

static void test_nothing_there(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_conform_result result;
    assert_false(deft_conform_is_case("/nowhere"));
    assert_int_equal(deft_conform_run(ctx, "/nowhere", &result), DEFT_INVALID);
    assert_non_null(strstr(deft_context_message(ctx), "/nowhere/model.onnx"));
    test_context_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_nothing_there)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/support.h"

#include "decide/tune/frontier.h"

#include <math.h>
#include <string.h>

static const deft_point points[] = {
    {.zeros = 0.5,
     .accuracy_dense = 0.98,
     .accuracy_validation = 0.97,
     .accuracy_test = NAN,
     .drop = 1,
     .dense_us = 30,
     .fast_us = 10,
     .speedup = 3,
     .dense_us_b1 = 4,
     .fast_us_b1 = 2,
     .speedup_b1 = 2,
     .file_bytes = 12345},
    {.zeros = 0.9,
     .accuracy_dense = 0.99,
     .accuracy_validation = 0.96,
     .accuracy_test = 0.95,
     .drop = -0.25,
     .within_bound = true,
     .chosen = true},
};
static const deft_frontier frontier = {"npz:a \"quoted\".npz", "accuracy", 0.5, (deft_point *)points, 2};

static deft_status round_trip(deft_context *ctx, void *user) {
    (void)user;
    char *text;
    DEFT_TRY(deft_frontier_text(ctx, &frontier, &text));
    deft_point *read;
    int count;
    deft_status status = deft_frontier_parse(ctx, text, &read, &count);
    deft_release(ctx, text);
    if (status != DEFT_OK) return status;
    assert_int_equal(count, 2);
    assert_true(isnan(read[0].accuracy_test) && read[0].dense_us == 30 && read[0].file_bytes == 12345);
    assert_true(read[1].chosen && read[1].within_bound && read[1].drop == -0.25 && !read[0].chosen);
    deft_release(ctx, read);
    return DEFT_OK;
}

static void test_round_trip(void **state) {
    (void)state;
    check_every_allocation_failure(round_trip, NULL);
}

static void test_accuracy_fast_is_of_the_test_split_where_there_is_one(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        json_t *object = deft_point_json(&points[i]);
        double fast = json_number_value(json_object_get(object, "accuracy_fast"));
        assert_true(fast == (i == 0 ? 0.97 : 0.95));
        json_decref(object);
    }
}

static void test_bad_text(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    static const char *const bad[] = {"",
                                      "[",
                                      "[]",
                                      "{\"version\": 2, \"points\": []}",
                                      "{\"version\": 1}",
                                      "{\"version\": 1, \"points\": 3}",
                                      "{\"version\": 1, \"points\": [{}]}",
                                      "{\"version\": 1, \"points\": [{\"zeros\": \"x\"}]}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        deft_point *read;
        int count;
        assert_int_equal(deft_frontier_parse(ctx, bad[i], &read, &count), DEFT_INVALID);
        assert_non_null(strstr(deft_context_message(ctx), "frontier.json"));
    }
    test_context_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_accuracy_fast_is_of_the_test_split_where_there_is_one),
        cmocka_unit_test(test_bad_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

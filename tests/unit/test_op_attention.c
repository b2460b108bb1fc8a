/* Attention, RotaryEmbedding and GroupNormalization: values checked by hand, edges, refusals. */
#include "tests/op_support.h"

/* Two queries, two keys, one head of size 1; the scores are q k. */
static void test_attention(void **state) {
    (void)state;
    deft_tensor q = {DIMS(1, 1, 2, 1), F32(0, 1)}, k = {DIMS(1, 1, 2, 1), F32(0, 1)},
                v = {DIMS(1, 1, 2, 1), F32(10, 20)};
    deft_attr one = FLOAT("scale", 1);
    const float b = 0.73105857f; /* 1 / (1 + exp(-1)) */
    CHECK(CASE(.op = DEFT_OP_ATTENTION, .attrs = {one}, .in = {q, k, v}), DIMS(1, 1, 2, 1), F32(15, 10 + 10 * b));
    CHECK(CASE(.op = DEFT_OP_ATTENTION, .attrs = {one, INT("is_causal", 1)}, .in = {q, k, v}), DIMS(1, 1, 2, 1),
          F32(10, 10 + 10 * b));
    CHECK(CASE(.op = DEFT_OP_ATTENTION, .attrs = {one, INT("left_window_size", 0), INT("right_window_size", 0)},
               .in = {q, k, v}),
          DIMS(1, 1, 2, 1), F32(10, 20));
    /* a query that looks at no key is zero; a mask may be short; numbers are added */
    CHECK(CASE(.op = DEFT_OP_ATTENTION, .attrs = {one},
               .in = {q, k, v, {DIMS(2, 2), F32(-INFINITY, -INFINITY, 0, -INFINITY)}}),
          DIMS(1, 1, 2, 1), F32(0, 10));
    CHECK(CASE(.op = DEFT_OP_ATTENTION, .attrs = {one}, .in = {q, k, v, {DIMS(2, 1), F32(0, 0)}}), DIMS(1, 1, 2, 1),
          F32(15, 10 + 10 * b));
    CHECK(CASE(.op = DEFT_OP_ATTENTION, .attrs = {one}, .in = {q, k, v, {DIMS(1, 2), F32(1, 0)}}), DIMS(1, 1, 2, 1),
          F32(20 - 10 * b, 15));
    /* a past key and value come first, and the causal frontier moves by them */
    op_case past = {.op = DEFT_OP_ATTENTION,
                    .out_count = 3,
                    .attrs = {one, INT("is_causal", 1)},
                    .in = {q, k, v, {0}, {DIMS(1, 1, 1, 1), F32(0)}, {DIMS(1, 1, 1, 1), F32(30)}}};
    const float e = 2.7182818f;
    check_output(&past, 0, (deft_tensor){DIMS(1, 1, 2, 1), F32(20, (30 + 10 + 20 * e) / (2 + e))});
    check_output(&past, 1, (deft_tensor){DIMS(1, 1, 3, 1), F32(0, 0, 1)});
    check_output(&past, 2, (deft_tensor){DIMS(1, 1, 3, 1), F32(30, 10, 20)});
    /* two heads of queries share one of keys, as columns of a row */
    CHECK(CASE(.op = DEFT_OP_ATTENTION, .attrs = {one, INT("q_num_heads", 2), INT("kv_num_heads", 1)},
               .in = {{DIMS(1, 1, 2), F32(0, 1)}, {DIMS(1, 2, 1), F32(0, 1)}, {DIMS(1, 2, 1), F32(10, 20)}}),
          DIMS(1, 1, 2), F32(15, 10 + 10 * b));
    CHECK(CASE(.op = DEFT_OP_ATTENTION, .attrs = {one},
               .in = {q, {DIMS(1, 1, 0, 1), F32(0)}, {DIMS(1, 1, 0, 1), F32(0)}}),
          DIMS(1, 1, 2, 1), F32(0, 0));
    REFUSED(DEFT_INVALID, "fit together", CASE(.op = DEFT_OP_ATTENTION, .in = {q, {DIMS(1, 1, 1, 1), F32(1)}, v}));
    REFUSED(DEFT_INVALID, "0 heads", CASE(.op = DEFT_OP_ATTENTION, .in = {{DIMS(1, 1, 2), F32(0, 1)}, k, v}));
    REFUSED(DEFT_INVALID, "broadcast",
            CASE(.op = DEFT_OP_ATTENTION, .in = {q, k, v, {DIMS(3, 2), F32(0, 0, 0, 0, 0, 0)}}));
    REFUSED(DEFT_INVALID, "past", CASE(.op = DEFT_OP_ATTENTION, .in = {q, k, v, {0}, {DIMS(1, 1, 1, 1), F32(0)}}));
}

static void test_rotary(void **state) {
    (void)state;
    deft_tensor x = {DIMS(1, 1, 2, 3), F32(1, 2, 3, 4, 5, 6)};
    deft_tensor cosine = {DIMS(2, 1), F32(1, 0)}, sine = {DIMS(2, 1), F32(0, 1)}, places = {DIMS(1, 2), I64(0, 1)};
    deft_attr two = INT("rotary_embedding_dim", 2);
    CHECK(CASE(.op = DEFT_OP_ROTARY_EMBEDDING, .attrs = {two}, .in = {x, cosine, sine, places}), DIMS(1, 1, 2, 3),
          F32(1, 2, 3, -5, 4, 6));
    REFUSED(DEFT_INVALID, "in pairs", CASE(.op = DEFT_OP_ROTARY_EMBEDDING, .in = {x, cosine, sine, places}));
    REFUSED(DEFT_INVALID, "do not fit x",
            CASE(.op = DEFT_OP_ROTARY_EMBEDDING, .attrs = {two}, .in = {x, cosine, sine}));
    DATA_REFUSED("position 2 is outside", CASE(.op = DEFT_OP_ROTARY_EMBEDDING, .attrs = {two},
                                               .in = {x, cosine, sine, {DIMS(1, 2), I64(0, 2)}}));
    DATA_REFUSED("position -1 is outside", CASE(.op = DEFT_OP_ROTARY_EMBEDDING, .attrs = {two},
                                                .in = {x, cosine, sine, {DIMS(1, 2), I64(0, -1)}}));
}

static void test_group_norm(void **state) {
    (void)state;
    deft_tensor x = {DIMS(1, 2, 2), F32(3, 4, 0, 0)}, scale = {DIMS(2), F32(1, 2)}, shift = {DIMS(2), F32(0, 1)};
    deft_attr groups = INT("num_groups", 2);
    CHECK(CASE(.op = DEFT_OP_GROUP_NORM, .opset = 21, .attrs = {groups, FLOAT("epsilon", 0.75f)},
               .in = {x, scale, shift}),
          DIMS(1, 2, 2), F32(-0.5f, 0.5f, 1, 1));
    REFUSED(DEFT_INVALID, "3 groups",
            CASE(.op = DEFT_OP_GROUP_NORM, .attrs = {INT("num_groups", 3)}, .in = {x, scale, shift}));
    REFUSED(DEFT_INVALID, "0 groups", CASE(.op = DEFT_OP_GROUP_NORM, .in = {x, scale, shift}));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_rotary),
        cmocka_unit_test(test_group_norm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

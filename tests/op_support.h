/* What tests of operators share: one operator applied by hand, in f32 and in f64. */
#ifndef DEFT_TESTS_OP_SUPPORT_H
#define DEFT_TESTS_OP_SUPPORT_H

#include "tests/support.h"

#include "ir/op/op.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { OP_MAX_INPUTS = 12, OP_MAX_OUTPUTS = 6, OP_MAX_ATTRS = 8 };

/* Initialisers of tensors and attributes: {DIMS(2, 3), F32(1, 2, 3, 4, 5, 6)}, {SCALAR, F32(1)}, INTS("pads", 1, 1). */
#define DIMS(...) .rank = sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), .dims = {__VA_ARGS__}
#define SCALAR    .rank = 0
#define F32(...)                                                                                                       \
    .dtype = DEFT_F32, .data = (float[]) {                                                                             \
        __VA_ARGS__                                                                                                    \
    }
#define I64(...)                                                                                                       \
    .dtype = DEFT_I64, .data = (int64_t[]) {                                                                           \
        __VA_ARGS__                                                                                                    \
    }
#define I32(...)                                                                                                       \
    .dtype = DEFT_I32, .data = (int32_t[]) {                                                                           \
        __VA_ARGS__                                                                                                    \
    }
#define U8(...)                                                                                                        \
    .dtype = DEFT_U8, .data = (uint8_t[]) {                                                                            \
        __VA_ARGS__                                                                                                    \
    }
#define UNKNOWN(DTYPE) .dtype = DTYPE
#define INT(NAME, ...)                                                                                                 \
    { .name = NAME, .type = DEFT_ATTR_INT, .i = __VA_ARGS__ }
#define FLOAT(NAME, ...)                                                                                               \
    { .name = NAME, .type = DEFT_ATTR_FLOAT, .f = __VA_ARGS__ }
#define STRING(NAME, ...)                                                                                              \
    { .name = NAME, .type = DEFT_ATTR_STRING, .s = __VA_ARGS__ }
#define INTS(NAME, ...)                                                                                                \
    {                                                                                                                  \
        .name = NAME, .type = DEFT_ATTR_INTS, .count = sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t),             \
        .ints = (int64_t[]) {                                                                                          \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    }

typedef struct op_case {
    deft_op op;
    int opset;                     /* default 17 */
    int out_count;                 /* default 1 */
    deft_attr attrs[OP_MAX_ATTRS]; /* up to the first without a name */
    deft_tensor in[OP_MAX_INPUTS]; /* up to the last with a type; those without are absent */
} op_case;

/* A call with the arrays that it points to. */
typedef struct op_run {
    deft_op_call call;
    deft_attrs attrs;
    const deft_tensor *in[OP_MAX_INPUTS];
    deft_tensor out_desc[OP_MAX_OUTPUTS], *out[OP_MAX_OUTPUTS];
} op_run;

static inline void op_prepare(deft_context *ctx, const op_case *test, op_run *run) {
    *run = (op_run){.attrs = {test->attrs, 0}};
    run->call = (deft_op_call){.ctx = ctx,
                               .name = "under test",
                               .op = test->op,
                               .attrs = &run->attrs,
                               .opset = test->opset ? test->opset : 17,
                               .out_count = test->out_count ? test->out_count : 1,
                               .in = run->in,
                               .out = run->out,
                               .threads = 2};
    while (run->attrs.count < OP_MAX_ATTRS && test->attrs[run->attrs.count].name)
        run->attrs.count++;
    for (int i = 0; i < OP_MAX_INPUTS; i++)
        if (test->in[i].dtype) {
            run->in[i] = &test->in[i];
            run->call.in_count = i + 1;
        }
    for (int i = 0; i < run->call.out_count; i++)
        run->out[i] = &run->out_desc[i];
}

/* Shape rule, allocation, forward; release with op_release. */
static inline deft_status op_apply(deft_context *ctx, const op_case *test, op_run *run) {
    op_prepare(ctx, test, run);
    DEFT_TRY(deft_ops[test->op].shape(&run->call));
    for (int i = 0; i < run->call.out_count; i++)
        DEFT_TRY(deft_tensor_allocate(ctx, run->out[i]));
    long long made = atomic_load(&ctx->allocation_count);
    deft_status status = deft_op_forward(&run->call);
    assert_int_equal(atomic_load(&ctx->allocation_count), made); /* forwards allocate nothing */
    return status;
}

static inline void op_release(deft_context *ctx, op_run *run) {
    for (int i = 0; i < run->call.out_count; i++)
        deft_release(ctx, run->out_desc[i].data);
}

static inline double op_element(const deft_tensor *tensor, int64_t i) {
    switch (tensor->dtype) {
    case DEFT_F32:
        return (double)((const float *)tensor->data)[i];
    case DEFT_F64:
        return ((const double *)tensor->data)[i];
    case DEFT_I64:
        return (double)((const int64_t *)tensor->data)[i];
    case DEFT_I32:
        return ((const int32_t *)tensor->data)[i];
    default:
        return ((const uint8_t *)tensor->data)[i];
    }
}

/* Same shape, and elements equal to about 1e-6; NaN equals NaN. */
static inline bool op_close(const deft_tensor *got, const deft_tensor *expected) {
    if (!deft_shape_equal(got, expected)) return false;
    for (int64_t i = 0; i < deft_tensor_count(expected); i++) {
        double a = op_element(got, i), b = op_element(expected, i);
        if (isnan(a) && isnan(b)) continue;
        if (a != b && !(fabs(a - b) <= 2e-6 * (1 + fabs(b)))) return false;
    }
    return true;
}

static inline void op_expect(const deft_tensor *got, const deft_tensor *expected) {
    if (op_close(got, expected)) return;
    char got_text[DEFT_SHAPE_TEXT_BYTES], expected_text[DEFT_SHAPE_TEXT_BYTES];
    print_message("got %s:", deft_shape_text(got, got_text, sizeof got_text));
    for (int64_t i = 0; i < deft_tensor_count(got) && i < 64; i++)
        print_message(" %g", op_element(got, i));
    print_message("\nexpected %s:", deft_shape_text(expected, expected_text, sizeof expected_text));
    for (int64_t i = 0; i < deft_tensor_count(expected) && i < 64; i++)
        print_message(" %g", op_element(expected, i));
    print_message("\n");
    fail_msg("%s", "the output differs");
}

static inline deft_tensor op_widened(deft_context *ctx, const deft_tensor *tensor) {
    deft_tensor wide = *tensor;
    wide.dtype = DEFT_F64;
    assert_int_equal(deft_tensor_allocate(ctx, &wide), DEFT_OK);
    for (int64_t i = 0; i < deft_tensor_count(tensor); i++)
        ((double *)wide.data)[i] = (double)((const float *)tensor->data)[i];
    return wide;
}

/* Output `index` of the case is `expected`; where inputs are f32, also with all of them in f64. */
static inline void check_output(const op_case *test, int index, deft_tensor expected) {
    deft_context *ctx = test_context();
    op_run run;
    if (op_apply(ctx, test, &run) != DEFT_OK) fail_msg("%s", deft_context_message(ctx));
    op_expect(run.out[index], &expected);
    op_release(ctx, &run);

    op_case wide = *test;
    bool real = false;
    for (int i = 0; i < OP_MAX_INPUTS; i++)
        if (test->in[i].dtype == DEFT_F32) {
            wide.in[i] = op_widened(ctx, &test->in[i]);
            real = true;
        }
    if (real) {
        if (op_apply(ctx, &wide, &run) != DEFT_OK) fail_msg("in f64: %s", deft_context_message(ctx));
        if (expected.dtype == DEFT_F32) assert_int_equal(run.out[index]->dtype, DEFT_F64);
        op_expect(run.out[index], &expected);
        op_release(ctx, &run);
    }
    for (int i = 0; i < OP_MAX_INPUTS; i++)
        if (test->in[i].dtype == DEFT_F32) deft_release(ctx, wide.in[i].data);
    test_context_free(ctx);
}

#define CHECK(CASE, ...)               check_output(&(op_case)CASE, 0, (deft_tensor){__VA_ARGS__})
#define CHECK_OUTPUT(INDEX, CASE, ...) check_output(&(op_case)CASE, INDEX, (deft_tensor){__VA_ARGS__})
/* Keeps the commas of an initialiser inside of a macro's argument. */
#define CASE(...)                                                                                                      \
    { __VA_ARGS__ }

/* The shape rule refuses the case with this status and a message that names the operator, the node and `part`. */
static inline void check_refused(const op_case *test, deft_status expected, const char *part) {
    deft_context *ctx = test_context();
    op_run run;
    op_prepare(ctx, test, &run);
    deft_status status = deft_ops[test->op].shape(&run.call);
    if (status != expected || !strstr(deft_context_message(ctx), part))
        fail_msg("expected %s with '%s', got %s: %s", deft_status_name(expected), part, deft_status_name(status),
                 deft_context_message(ctx));
    assert_non_null(strstr(deft_context_message(ctx), deft_ops[test->op].name));
    assert_non_null(strstr(deft_context_message(ctx), "under test"));
    test_context_free(ctx);
}

/* The shape rule takes the case, and the forward refuses its data with a message that holds `part`. */
static inline void check_data_refused(const op_case *test, const char *part) {
    deft_context *ctx = test_context();
    op_run run;
    assert_int_equal(op_apply(ctx, test, &run), DEFT_INVALID);
    if (!strstr(deft_context_message(ctx), part))
        fail_msg("expected a message with '%s', got: %s", part, deft_context_message(ctx));
    op_release(ctx, &run);
    test_context_free(ctx);
}

#define DATA_REFUSED(PART, CASE)    check_data_refused(&(op_case)CASE, PART)
#define REFUSED(STATUS, PART, CASE) check_refused(&(op_case)CASE, STATUS, PART)

#endif

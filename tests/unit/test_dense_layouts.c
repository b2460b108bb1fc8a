/* Dense kernels between blocks and rows, on large pictures, and what oneDNN is asked for them. */
#include "tests/unit/dense_samples.h"

/* ---- blocks -------------------------------------------------------------------------------------------------- */

/* Runs every dense kernel that accepts the sample between blocks, into them and out of them; returns how many did. */
static int check_layouts(sample *s) {
    static const deft_layout layouts[][2] = {{DEFT_LAYOUT_BLOCKS, DEFT_LAYOUT_BLOCKS},
                                             {DEFT_LAYOUT_ROWS, DEFT_LAYOUT_BLOCKS},
                                             {DEFT_LAYOUT_BLOCKS, DEFT_LAYOUT_ROWS},
                                             {DEFT_LAYOUT_ROWS, DEFT_LAYOUT_ROWS}};
    static const deft_isa isas[] = {DEFT_ISA_AVX512, DEFT_ISA_AVX2};
    int ran = 0;
    compute_oracle(s);
    for (int i = 0; i < 2; i++)
        for (int id = DEFT_KERNEL_DENSE_CONV; id <= DEFT_KERNEL_VECTOR_WINOGRAD; id++)
            for (int l = 0; l < 4 && (id <= DEFT_KERNEL_DENSE_POOL || id == DEFT_KERNEL_VECTOR_WINOGRAD); l++)
                for (int way = 0; way < (s->op == DEFT_OP_CONV ? 3 : 1); way++) {
                    s->ctx->isa = isas[i];
                    s->in_layout = layouts[l][0];
                    s->out_layout = layouts[l][1];
                    s->activation = way == 1 ? (deft_activation){0, 6} : deft_activation_none;
                    s->function = way == 2 ? DEFT_FUNCTION_SWISH : DEFT_FUNCTION_NONE;
                    s->winograd = id == DEFT_KERNEL_DENSE_WINOGRAD || id == DEFT_KERNEL_VECTOR_WINOGRAD;
                    if (!deft_cpu_has(isas[i]) || !run_kernel(s, (deft_kernel_id)id)) continue;
                    assert_int_equal(count_wrong(s), 0);
                    ran++;
                }
    free_sample(s);
    return ran;
}

static const conv_case block_cases[] = {
    {2, 16, 5, 7, 48, 3, 3, 1, {1, 1}, {1, 1}, {1, 0, 0, 2}, false},
    {1, 48, 33, 26, 16, 3, 3, 1, {1, 1}, {1, 1}, {0, 1, 1, 1}, false},
    {1, 3, 20, 20, 24, 3, 3, 1, {2, 2}, {1, 1}, {1, 1, 1, 1}, false},
    {2, 24, 9, 7, 40, 1, 1, 1, {1, 1}, {1, 1}, {0, 0, 0, 0}, false},
    {1, 32, 15, 17, 48, 3, 3, 1, {1, 1}, {1, 1}, {1, 1, 1, 1}, false},
    {1, 20, 11, 11, 20, 3, 3, 20, {1, 1}, {1, 1}, {1, 1, 1, 1}, false},
    {1, 32, 8, 9, 64, 5, 5, 1, {2, 1}, {1, 1}, {2, 2, 2, 2}, false},
};

static void test_conv_in_blocks(void **state) {
    (void)state;
    if (!deft_cpu_has(DEFT_ISA_AVX512)) skip();
    for (int i = 0; i < (int)(sizeof block_cases / sizeof *block_cases); i++)
        for (int residual = 0; residual < 2; residual++) {
            const conv_case *c = &block_cases[i];
            int64_t pads[4];
            sample s = new_sample(DEFT_OP_CONV);
            add_conv_attrs(&s, c, pads);
            add_picture(&s, c, false);
            add_filters(&s, c, true);
            add_input(&s, true, 1, (int64_t[]){c->m});
            if (residual) add_out_gradient(&s, c);
            s.residual = residual;
            s.terms = c->c / c->groups * c->kh * c->kw + residual;
            assert_true(check_layouts(&s) >= 18); /* a kernel at the least, in three combinations, three ways, twice */
        }
}

/* While training: weights that change, and the gradients; what is of a weight is in rows. */
static void test_conv_training_in_blocks(void **state) {
    (void)state;
    if (!deft_cpu_has(DEFT_ISA_AVX512)) skip();
    for (int i = 0; i < (int)(sizeof block_cases / sizeof *block_cases); i++) {
        const conv_case *c = &block_cases[i];
        int64_t pads[4];
        sample s = new_sample(DEFT_OP_CONV);
        add_conv_attrs(&s, c, pads);
        add_picture(&s, c, false);
        add_filters(&s, c, false);
        s.in_rows[1] = true;
        s.terms = c->c / c->groups * c->kh * c->kw;
        assert_true(check_layouts(&s) >= 18);

        s = new_sample(DEFT_OP_CONV_INPUT_GRAD);
        add_conv_attrs(&s, c, pads);
        add_out_gradient(&s, c);
        add_filters(&s, c, false);
        add_picture(&s, c, false);
        s.in_rows[1] = true;
        s.terms = c->m / c->groups * c->kh * c->kw;
        assert_true(check_layouts(&s) >= 5); /* not from and to blocks of 8 where strides differ */

        for (int rows = 0; rows < 3; rows++) { /* neither, dy or x */
            s = new_sample(DEFT_OP_CONV_WEIGHT_GRAD);
            add_conv_attrs(&s, c, pads);
            add_out_gradient(&s, c);
            add_picture(&s, c, false);
            add_filters(&s, c, false);
            if (rows) s.in_rows[rows - 1] = true;
            s.terms = c->n * c->h * c->w;
            assert_true(check_layouts(&s) >= (c->c == 3 && rows < 2 ? 2 : 4)); /* no blocks of few channels */
        }
    }
}

static void test_pool_in_blocks(void **state) {
    (void)state;
    if (!deft_cpu_has(DEFT_ISA_AVX512)) skip();
    static const deft_op ops[] = {DEFT_OP_MAX_POOL, DEFT_OP_AVERAGE_POOL, DEFT_OP_GLOBAL_AVERAGE_POOL};
    static const int64_t three[] = {3, 3}, two[] = {2, 2}, pads[] = {1, 1, 1, 1};
    for (int i = 0; i < 3; i++) {
        sample s = new_sample(ops[i]);
        if (i < 2) add_ints(&s, "kernel_shape", three, 2);
        if (i < 2) add_ints(&s, "strides", two, 2);
        if (i < 2) add_ints(&s, "pads", pads, 4);
        add_input(&s, false, 4, (int64_t[]){2, 20, 11, 12});
        s.terms = i == 0 ? 0 : i == 1 ? 9 : 132;
        assert_true(check_layouts(&s) >= (i == 0 ? 3 : 5));
    }
}

static void scale_input(sample *s, int input, double factor) {
    for (int64_t i = 0; i < deft_tensor_count(&s->in[input]); i++) {
        float value = (float)(((double *)s->in64[input].data)[i] * factor);
        ((float *)s->in[input].data)[i] = value;
        ((double *)s->in64[input].data)[i] = (double)value;
        ((double *)s->in_abs[input].data)[i] = fabs((double)value);
    }
}

/* Sums of the tiles' pixels overflow, those of the convolution do not. */
static void test_winograd_of_huge_values(void **state) {
    (void)state;
    if (!deft_cpu_has(DEFT_ISA_AVX512)) skip();
    sample s = new_sample(DEFT_OP_CONV);
    add_input(&s, false, 4, (int64_t[]){1, 16, 12, 12});
    add_input(&s, true, 4, (int64_t[]){16, 16, 3, 3});
    scale_input(&s, 0, 3e37);
    scale_input(&s, 1, 1e-3);
    s.terms = 16 * 9;
    s.in_layout = s.out_layout = DEFT_LAYOUT_BLOCKS;
    s.not_finite = true;
    compute_oracle(&s);
    assert_true(run_kernel(&s, DEFT_KERNEL_VECTOR_WINOGRAD));
    assert_int_equal(count_wrong(&s), 0);
    free_sample(&s);
}

/* ---- large pictures, long rows, and what oneDNN is asked ----------------------------------------------------- */

/* Winograd's weights of a large picture are transformed in every run, so the packed ones are the model's own. */
static sample large_picture(void) {
    static const int64_t pads[] = {1, 1, 1, 1};
    sample s = new_sample(DEFT_OP_CONV);
    add_ints(&s, "pads", pads, 4);
    add_input(&s, false, 4, (int64_t[]){1, 16, 128, 132});
    add_input(&s, true, 4, (int64_t[]){16, 16, 3, 3});
    s.terms = 16 * 9;
    s.in_layout = s.out_layout = DEFT_LAYOUT_BLOCKS;
    return s;
}

static void test_winograd_of_a_large_picture(void **state) {
    (void)state;
    if (!deft_cpu_has(DEFT_ISA_AVX512)) skip();
    sample s = large_picture();
    s.winograd = true;
    compute_oracle(&s);
    const deft_tensor *in_pointers[MAX_IN];
    deft_tensor in[MAX_IN], *out = &s.out;
    deft_request request = request_of(&s, in_pointers, in, &out);
    deft_kernel kernel;
    assert_int_equal(deft_kernel_prepare(s.ctx, DEFT_KERNEL_DENSE_WINOGRAD, &request, &kernel), DEFT_OK);
    assert_non_null(strstr(kernel.detail, "wino_4x3"));
    assert_true(kernel.packed);
    assert_int_equal(kernel.weight_bytes, deft_tensor_bytes(&s.in[1]));
    deft_kernel_done(s.ctx, &kernel);
    assert_true(run_kernel(&s, DEFT_KERNEL_DENSE_WINOGRAD));
    assert_int_equal(count_wrong(&s), 0);
    free_sample(&s);
    s = large_picture();
    check_not_finite(&s, DEFT_KERNEL_DENSE_WINOGRAD);
}

/* Prepared, run, and run again on what is not finite, for which another kernel is prepared. */
static deft_status run_winograd(deft_context *ctx, void *user) {
    const sample *s = user;
    sample own = *s;
    const deft_tensor *in_pointers[MAX_IN];
    deft_tensor in[MAX_IN], *out = &own.out;
    deft_request request = request_of(&own, in_pointers, in, &out);
    deft_kernel kernel;
    void *scratch = NULL;
    deft_status status;
    request.call.ctx = ctx;
    DEFT_TRY(deft_kernel_prepare(ctx, DEFT_KERNEL_VECTOR_WINOGRAD, &request, &kernel));
    DEFT_TRY_OR_FAIL(deft_allocate(ctx, kernel.scratch_bytes, &scratch));
    const deft_tensor *run_in[] = {&s->in[0], &s->in[1]};
    DEFT_TRY_OR_FAIL(kernel.def->run(ctx, &kernel, run_in, &out, scratch));
fail:
    deft_release(ctx, scratch);
    deft_kernel_done(ctx, &kernel);
    return status;
}

static void test_winograd_out_of_memory(void **state) {
    (void)state;
    if (!deft_cpu_has(DEFT_ISA_AVX512)) skip();
    sample s = new_sample(DEFT_OP_CONV);
    add_input(&s, false, 4, (int64_t[]){1, 16, 8, 8});
    add_input(&s, true, 4, (int64_t[]){16, 16, 3, 3});
    s.in_layout = s.out_layout = DEFT_LAYOUT_BLOCKS;
    compute_oracle(&s);
    ((float *)s.in[0].data)[5] = NAN; /* 16 channels in blocks of 16 are as large as in rows */
    check_every_allocation_failure(run_winograd, &s);
    free_sample(&s);
}

/* Which of them Winograd's own kernel computes. */
static void test_what_winograd_accepts(void **state) {
    (void)state;
    static const int64_t two[] = {2, 2};
    if (!deft_cpu_has(DEFT_ISA_AVX512)) skip();
    for (int way = 0; way < 6; way++) {
        sample s = new_sample(DEFT_OP_CONV);
        if (way == 1) add_ints(&s, "strides", two, 2);
        if (way == 2) add_ints(&s, "dilations", two, 2);
        add_input(&s, false, 4, (int64_t[]){1, way == 3 ? 20 : 32, 9, 9});
        add_input(&s, way != 4, 4, (int64_t[]){16, way == 3 ? 20 : 32, 3, 3});
        s.in_layout = s.out_layout = way == 5 ? DEFT_LAYOUT_ROWS : DEFT_LAYOUT_BLOCKS;
        s.winograd = true;
        compute_oracle(&s);
        assert_int_equal(run_kernel(&s, DEFT_KERNEL_VECTOR_WINOGRAD), way == 0);
        if (way == 0) assert_int_equal(count_wrong(&s), 0);
        free_sample(&s);
    }
}

/* The implementation that generates code for each length of a row is not taken where one is long. */
static void test_long_rows_take_little_code(void **state) {
    (void)state;
    sample s = new_sample(DEFT_OP_CONV);
    add_input(&s, false, 3, (int64_t[]){1, 1, 2000});
    add_input(&s, true, 3, (int64_t[]){1, 1, 64});
    compute_oracle(&s);
    const deft_tensor *in_pointers[MAX_IN];
    deft_tensor in[MAX_IN], *out = &s.out;
    deft_request request = request_of(&s, in_pointers, in, &out);
    deft_kernel kernel;
    assert_int_equal(deft_kernel_prepare(s.ctx, DEFT_KERNEL_DENSE_CONV, &request, &kernel), DEFT_OK);
    assert_null(strstr(kernel.detail, "brgconv"));
    assert_int_equal(kernel.scratch_bytes, 0); /* neither x nor y is reordered */
    deft_kernel_done(s.ctx, &kernel);
    free_sample(&s);
}

static deft_status ask_again(deft_context *ctx, void *user) {
    deft_request request = *(const deft_request *)user;
    deft_kernel kernels[2] = {{0}};
    const char *why;
    deft_status status;
    DEFT_TRY(deft_kernel_memo_new(ctx, &request.memo));
    for (int i = 0; i < 3; i++)
        assert_true(deft_kernels[DEFT_KERNEL_DENSE_CONV].accepts(&request, &why));
    assert_int_equal(deft_kernel_memo_searches(request.memo), 1);
    assert_false(deft_kernels[DEFT_KERNEL_DENSE_PACKED].accepts(&request, &why));
    assert_int_equal(deft_kernel_memo_searches(request.memo), 1); /* no question for oneDNN */
    DEFT_TRY_OR_FAIL(deft_kernel_prepare(ctx, DEFT_KERNEL_DENSE_CONV, &request, &kernels[0]));
    assert_int_equal(deft_kernel_memo_searches(request.memo), 1);
    DEFT_TRY_OR_FAIL(deft_kernel_prepare(ctx, DEFT_KERNEL_DENSE_CONV, &request, &kernels[1]));
    assert_int_equal(deft_kernel_memo_searches(request.memo), 2); /* the one that was found is the first kernel's */
    assert_true(deft_kernels[DEFT_KERNEL_DENSE_NCHW].accepts(&request, &why));
    assert_int_equal(deft_kernel_memo_searches(request.memo), 3);
fail:
    deft_kernel_memo_free(request.memo);
    for (int i = 0; i < 2; i++)
        deft_kernel_done(ctx, &kernels[i]);
    return status;
}

static void test_answers_are_remembered(void **state) {
    (void)state;
    sample s = new_sample(DEFT_OP_CONV);
    add_input(&s, false, 4, (int64_t[]){2, 16, 14, 14});
    add_input(&s, true, 4, (int64_t[]){32, 16, 3, 3});
    compute_oracle(&s);
    const deft_tensor *in_pointers[MAX_IN];
    deft_tensor in[MAX_IN], *out = &s.out;
    deft_request request = request_of(&s, in_pointers, in, &out);
    assert_int_equal(ask_again(s.ctx, &request), DEFT_OK);
    free_sample(&s);
}

/* Winograd's algorithm computes in blocks: the layouts outside are no other question. */
static void test_layouts_outside_are_no_question(void **state) {
    (void)state;
    if (!deft_cpu_has(DEFT_ISA_AVX512)) skip();
    static const int64_t pads[] = {1, 1, 1, 1};
    sample s = new_sample(DEFT_OP_CONV);
    add_ints(&s, "pads", pads, 4);
    add_input(&s, false, 4, (int64_t[]){1, 32, 14, 14});
    add_input(&s, true, 4, (int64_t[]){32, 32, 3, 3});
    compute_oracle(&s);
    const deft_tensor *in_pointers[MAX_IN];
    deft_tensor in[MAX_IN], *out = &s.out;
    deft_request request = request_of(&s, in_pointers, in, &out);
    const char *why;
    assert_int_equal(deft_kernel_memo_new(s.ctx, &request.memo), DEFT_OK);
    for (int i = 0; i < 4; i++) {
        request.in_layout = i % 2 ? DEFT_LAYOUT_BLOCKS : DEFT_LAYOUT_ROWS;
        request.out_layout = i / 2 ? DEFT_LAYOUT_BLOCKS : DEFT_LAYOUT_ROWS;
        assert_true(deft_kernels[DEFT_KERNEL_DENSE_WINOGRAD].accepts(&request, &why));
    }
    assert_int_equal(deft_kernel_memo_searches(request.memo), 1);
    deft_kernel_memo_free(request.memo);
    free_sample(&s);
}

static void test_not_finite_values_survive_in_blocks(void **state) {
    (void)state;
    if (!deft_cpu_has(DEFT_ISA_AVX512)) skip();
    const deft_kernel_id kernels[] = {DEFT_KERNEL_DENSE_CONV, DEFT_KERNEL_DENSE_WINOGRAD};
    for (int i = 0; i < 2; i++) {
        sample s = new_sample(DEFT_OP_CONV);
        static const int64_t pads[] = {1, 1, 1, 1};
        add_ints(&s, "pads", pads, 4);
        add_input(&s, false, 4, (int64_t[]){1, 20, 8, 8});
        add_input(&s, true, 4, (int64_t[]){24, 20, 3, 3});
        s.in_layout = s.out_layout = DEFT_LAYOUT_BLOCKS;
        check_not_finite(&s, kernels[i]);
    }
    for (int infinite = 0; infinite < 2; infinite++) {
        sample s = new_sample(DEFT_OP_CONV);
        add_input(&s, false, 4, (int64_t[]){1, 32, 8, 8});
        add_input(&s, true, 4, (int64_t[]){16, 32, 3, 3});
        if (infinite) ((float *)s.in[1].data)[7] = (float)(((double *)s.in64[1].data)[7] = -INFINITY);
        s.in_layout = s.out_layout = DEFT_LAYOUT_BLOCKS;
        check_not_finite(&s, DEFT_KERNEL_VECTOR_WINOGRAD);
    }
    static const int64_t two[] = {2, 2};
    sample s = new_sample(DEFT_OP_MAX_POOL);
    add_ints(&s, "kernel_shape", two, 2);
    add_input(&s, false, 4, (int64_t[]){1, 20, 4, 4});
    s.in_layout = s.out_layout = DEFT_LAYOUT_BLOCKS;
    compute_oracle(&s);
    ((float *)s.in[0].data)[5] = NAN;
    assert_true(run_kernel(&s, DEFT_KERNEL_DENSE_POOL));
    for (int i = 0; i < 9; i++) /* of the 3 x 3 windows of 2 x 2, the first four see pixel (1, 1) */
        assert_int_equal(isnan(((float *)s.out.data)[i]) != 0, i / 3 < 2 && i % 3 < 2);
    assert_false(isnan(((float *)s.out.data)[9]));
    free_sample(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conv_in_blocks),
        cmocka_unit_test(test_conv_training_in_blocks),
        cmocka_unit_test(test_pool_in_blocks),
        cmocka_unit_test(test_not_finite_values_survive_in_blocks),
        cmocka_unit_test(test_winograd_of_huge_values),
        cmocka_unit_test(test_winograd_of_a_large_picture),
        cmocka_unit_test(test_what_winograd_accepts),
        cmocka_unit_test(test_winograd_out_of_memory),
        cmocka_unit_test(test_long_rows_take_little_code),
        cmocka_unit_test(test_answers_are_remembered),
        cmocka_unit_test(test_layouts_outside_are_no_question),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

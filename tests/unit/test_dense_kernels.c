/* The dense kernels: products, convolutions and pooling in rows, and the edges of all. */
#include "tests/unit/dense_samples.h"

/* Checks every dense kernel that accepts the sample, in all activations and functions; returns how many there were. */
static int check_all(sample *s) {
    static const deft_activation activations[] = {{-INFINITY, INFINITY}, {0, INFINITY}, {-0.5f, 1.5f}};
    const bool activated = s->op == DEFT_OP_GEMM || s->op == DEFT_OP_MATMUL || s->op == DEFT_OP_CONV_TRANSPOSE;
    const int ways = s->op == DEFT_OP_CONV ? 6 : activated ? 3 : 1;
    int ran = 0;
    compute_oracle(s);
    for (int id = DEFT_KERNEL_DENSE_MATMUL; id <= DEFT_KERNEL_DENSE_POOL; id++)
        for (int a = 0; a < ways; a++) {
            s->activation = activations[a < 3 ? a : 0];
            s->function = a < 3 ? DEFT_FUNCTION_NONE : (deft_function)(a - 2);
            s->winograd = id == DEFT_KERNEL_DENSE_WINOGRAD;
            if (!run_kernel(s, (deft_kernel_id)id)) continue;
            assert_int_equal(count_wrong(s), 0);
            ran += a == 0;
        }
    free_sample(s);
    return ran;
}

/* ---- matrix products ----------------------------------------------------------------------------------------- */

/* Which operand is constant. */
enum { NONE, RIGHT, LEFT };

static int check_gemm(int64_t m, int64_t k, int64_t n, int transposes, int constant, int bias) {
    static const float alphas[] = {1, -0.5f}, betas[] = {1, 2};
    sample s = new_sample(DEFT_OP_GEMM);
    bool ta = transposes & 1, tb = transposes & 2;
    add_int(&s, "transA", ta);
    add_int(&s, "transB", tb);
    add_float(&s, "alpha", alphas[bias % 2]);
    add_float(&s, "beta", betas[bias % 2]);
    add_input(&s, constant == LEFT, 2, ta ? (int64_t[]){k, m} : (int64_t[]){m, k});
    add_input(&s, constant == RIGHT, 2, tb ? (int64_t[]){n, k} : (int64_t[]){k, n});
    if (bias == 1) add_input(&s, constant, 1, (int64_t[]){n});
    if (bias == 2) add_input(&s, false, 2, (int64_t[]){m, 1});
    if (bias == 3) add_input(&s, constant, 2, (int64_t[]){m, n});
    if (bias == 4) add_input(&s, constant, 0, NULL);
    if (bias == 5) add_input(&s, constant, 2, (int64_t[]){1, n});
    s.terms = k;
    return check_all(&s);
}

static void test_gemm(void **state) {
    (void)state;
    static const int64_t sizes[][3] = {{1, 1, 1}, {1, 7, 5}, {3, 2, 1}, {33, 100, 10}, {64, 30, 17}, {17, 300, 100}};
    int ran[3] = {0};
    for (int i = 0; i < 6; i++)
        for (int transposes = 0; transposes < 4; transposes++)
            for (int bias = 0; bias < 6; bias++)
                for (int constant = NONE; constant <= LEFT; constant++)
                    ran[constant] += check_gemm(sizes[i][0], sizes[i][1], sizes[i][2], transposes, constant, bias);
    assert_int_equal(ran[NONE], 6 * 24);
    assert_true(ran[RIGHT] > 6 * 24 && ran[LEFT] > 6 * 24); /* the packed kernel took its share */
}

static void check_matmul(int a_rank, const int64_t *a, int b_rank, const int64_t *b, int constant) {
    sample s = new_sample(DEFT_OP_MATMUL);
    add_input(&s, constant == LEFT, a_rank, a);
    add_input(&s, constant == RIGHT, b_rank, b);
    s.terms = a[a_rank - 1];
    assert_in_range(check_all(&s), 1, 2);
}

#define DIMS(...)                                                                                                      \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]) {                                           \
        __VA_ARGS__                                                                                                    \
    }

static void test_matmul_broadcasts(void **state) {
    (void)state;
    for (int constant = NONE; constant <= LEFT; constant++) {
        check_matmul(DIMS(5, 7), DIMS(7, 3), constant);
        check_matmul(DIMS(7), DIMS(7, 3), constant);
        check_matmul(DIMS(5, 7), DIMS(7), constant);
        check_matmul(DIMS(7), DIMS(7), constant);
        check_matmul(DIMS(2, 5, 7), DIMS(7, 3), constant);
        check_matmul(DIMS(2, 5, 7), DIMS(7), constant);
        check_matmul(DIMS(7), DIMS(4, 7, 3), constant);
        check_matmul(DIMS(4, 5, 7), DIMS(4, 7, 3), constant);
        check_matmul(DIMS(2, 1, 5, 7), DIMS(4, 7, 3), constant);
        check_matmul(DIMS(2, 4, 5, 7), DIMS(2, 1, 7, 3), constant);
    }
}

/* ---- convolutions -------------------------------------------------------------------------------------------- */

static const conv_case conv_cases[] = {
    {1, 1, 28, 28, 20, 5, 5, 1, {1, 1}, {1, 1}, {0, 0, 0, 0}, false},
    {3, 20, 12, 12, 50, 5, 5, 1, {1, 1}, {1, 1}, {0, 0, 0, 0}, false},
    {2, 16, 14, 14, 32, 3, 3, 1, {1, 1}, {1, 1}, {1, 1, 1, 1}, false},
    {2, 5, 9, 11, 7, 3, 2, 1, {2, 1}, {1, 2}, {0, 1, 2, 0}, false},
    {1, 8, 10, 10, 8, 3, 3, 8, {1, 1}, {1, 1}, {1, 1, 1, 1}, false},
    {2, 6, 7, 8, 9, 3, 3, 3, {2, 2}, {1, 1}, {1, 0, 1, 0}, false},
    {2, 32, 8, 8, 16, 1, 1, 1, {1, 1}, {1, 1}, {0, 0, 0, 0}, false},
    {4, 3, 1, 30, 8, 1, 5, 1, {1, 2}, {1, 1}, {0, 2, 0, 2}, true},
    {1, 1, 1, 700, 1, 1, 64, 1, {1, 2}, {1, 1}, {0, 0, 0, 0}, true},
    {1, 8, 20, 20, 1, 3, 3, 1, {1, 1}, {1, 1}, {1, 1, 1, 1}, false},
};
enum { CONV_CASES = sizeof conv_cases / sizeof *conv_cases };

static void test_conv(void **state) {
    (void)state;
    int total = 0;
    for (int i = 0; i < CONV_CASES; i++)
        for (int constant = 0; constant < 2; constant++)
            for (int bias = 0; bias < 2; bias++) {
                const conv_case *c = &conv_cases[i];
                int64_t pads[4];
                sample s = new_sample(DEFT_OP_CONV);
                add_conv_attrs(&s, c, pads);
                add_picture(&s, c, false);
                add_filters(&s, c, constant);
                if (bias) add_input(&s, constant, 1, (int64_t[]){c->m});
                s.terms = c->c / c->groups * c->kh * c->kw;
                int ran = check_all(&s);
                assert_in_range(ran, 1, 3);
                total += ran;
            }
    assert_true(total > CONV_CASES * 4); /* more than one of the kernels took part */
}

static void test_conv_gradients(void **state) {
    (void)state;
    for (int i = 0; i < CONV_CASES; i++) {
        const conv_case *c = &conv_cases[i];
        int64_t pads[4];
        sample s = new_sample(DEFT_OP_CONV_INPUT_GRAD);
        add_conv_attrs(&s, c, pads);
        add_out_gradient(&s, c);
        add_filters(&s, c, false);
        add_picture(&s, c, false);
        s.terms = c->m / c->groups * c->kh * c->kw;
        assert_int_equal(check_all(&s), 1);

        s = new_sample(DEFT_OP_CONV_WEIGHT_GRAD);
        add_conv_attrs(&s, c, pads);
        add_out_gradient(&s, c);
        add_picture(&s, c, false);
        add_filters(&s, c, false);
        s.terms = c->n * c->h * c->w;
        assert_int_equal(check_all(&s), 1);
    }
}

static void test_conv_transpose(void **state) {
    (void)state;
    for (int i = 0; i < CONV_CASES; i++)
        for (int bias = 0; bias < 2; bias++) {
            const conv_case *c = &conv_cases[i];
            int64_t pads[4];
            sample s = new_sample(DEFT_OP_CONV_TRANSPOSE);
            add_conv_attrs(&s, c, pads);
            add_out_gradient(&s, c);
            add_filters(&s, c, bias);
            if (bias) add_input(&s, true, 1, (int64_t[]){c->c});
            s.terms = c->m / c->groups * c->kh * c->kw;
            assert_int_equal(check_all(&s), 1);
        }
}

/* ---- pooling ------------------------------------------------------------------------------------------------- */

static int check_pool(deft_op op, const conv_case *c, bool ceil_mode, bool include_pad) {
    int64_t pads[4], kernel[2] = {c->kh, c->kw};
    sample s = new_sample(op);
    if (c->one_d) kernel[0] = c->kw;
    memcpy(pads, c->pads, sizeof c->pads);
    if (c->one_d) pads[0] = c->pads[1], pads[1] = c->pads[3];
    add_ints(&s, "kernel_shape", kernel, c->one_d ? 1 : 2);
    add_ints(&s, "strides", c->strides + c->one_d, c->one_d ? 1 : 2);
    add_ints(&s, "pads", pads, c->one_d ? 2 : 4);
    add_int(&s, "ceil_mode", ceil_mode);
    add_int(&s, "count_include_pad", include_pad);
    add_picture(&s, c, false);
    s.terms = op == DEFT_OP_MAX_POOL ? 0 : c->kh * c->kw;
    return check_all(&s);
}

static void test_pool(void **state) {
    (void)state;
    static const conv_case cases[] = {
        {2, 20, 24, 24, 0, 2, 2, 1, {2, 2}, {1, 1}, {0, 0, 0, 0}, false},
        {3, 5, 9, 7, 0, 3, 2, 1, {1, 2}, {1, 1}, {1, 0, 0, 1}, false},
        {1, 16, 10, 10, 0, 3, 3, 1, {2, 2}, {1, 1}, {1, 1, 1, 1}, false},
        {2, 3, 1, 17, 0, 1, 4, 1, {1, 3}, {1, 1}, {0, 1, 0, 1}, true},
    };
    int ran = 0, tried = 0;
    for (int i = 0; i < 4; i++)
        for (int ceil_mode = 0; ceil_mode < 2; ceil_mode++) {
            ran += check_pool(DEFT_OP_MAX_POOL, &cases[i], ceil_mode, false);
            ran += check_pool(DEFT_OP_AVERAGE_POOL, &cases[i], ceil_mode, false);
            ran += check_pool(DEFT_OP_AVERAGE_POOL, &cases[i], ceil_mode, true);
            tried += 3;
        }
    if (!deft_cpu_has(DEFT_ISA_AVX512)) skip(); /* oneDNN has no fast row-major pooling for less */
    assert_true(ran > tried / 2);               /* means over padding of windows that hang over are refused */
}

/* ---- edges --------------------------------------------------------------------------------------------------- */

static void test_checker_sees_a_wrong_value(void **state) {
    (void)state;
    sample s = new_sample(DEFT_OP_MATMUL);
    add_input(&s, false, 2, (int64_t[]){4, 50});
    add_input(&s, false, 2, (int64_t[]){50, 3});
    s.terms = 50;
    compute_oracle(&s);
    assert_true(run_kernel(&s, DEFT_KERNEL_DENSE_MATMUL));
    assert_int_equal(count_wrong(&s), 0);
    float *y = s.out.data;
    y[5] += 4 * (float)(gamma_of(52) * ((double *)s.out_abs.data)[5]);
    assert_int_equal(count_wrong(&s), 1);
    y[6] = NAN;
    assert_int_equal(count_wrong(&s), 2);
    free_sample(&s);
}

static void test_not_finite_values_survive(void **state) {
    (void)state;
    const deft_kernel_id matmuls[] = {DEFT_KERNEL_DENSE_MATMUL, DEFT_KERNEL_DENSE_PACKED};
    for (int i = 0; i < 2; i++) {
        sample s = new_sample(DEFT_OP_MATMUL);
        add_input(&s, false, 2, (int64_t[]){8, 20});
        add_input(&s, true, 2, (int64_t[]){20, 16});
        check_not_finite(&s, matmuls[i]);
    }
    const deft_kernel_id convs[] = {DEFT_KERNEL_DENSE_CONV, DEFT_KERNEL_DENSE_NCHW};
    for (int i = 0; i < 2; i++) {
        sample s = new_sample(DEFT_OP_CONV);
        add_input(&s, false, 4, (int64_t[]){2, 3, 8, 8});
        add_input(&s, true, 4, (int64_t[]){16, 3, 3, 3});
        check_not_finite(&s, convs[i]);
    }
}

static void test_maximum_keeps_nan(void **state) {
    (void)state;
    static const int64_t two[] = {2, 2};
    if (!deft_cpu_has(DEFT_ISA_AVX512)) skip();
    sample s = new_sample(DEFT_OP_MAX_POOL);
    add_ints(&s, "kernel_shape", two, 2);
    add_ints(&s, "strides", two, 2);
    add_input(&s, false, 4, (int64_t[]){1, 16, 4, 4});
    compute_oracle(&s);
    ((float *)s.in[0].data)[0] = NAN;
    assert_true(run_kernel(&s, DEFT_KERNEL_DENSE_POOL));
    assert_true(isnan(((float *)s.out.data)[0]));
    assert_false(isnan(((float *)s.out.data)[1]));
    free_sample(&s);
}

static void test_what_is_refused(void **state) {
    (void)state;
    sample s = new_sample(DEFT_OP_MATMUL);
    add_input(&s, false, 2, (int64_t[]){4, 0});
    add_input(&s, true, 2, (int64_t[]){0, 3});
    compute_oracle(&s);
    assert_false(run_kernel(&s, DEFT_KERNEL_DENSE_MATMUL));
    assert_false(run_kernel(&s, DEFT_KERNEL_DENSE_PACKED));
    assert_false(run_kernel(&s, DEFT_KERNEL_DENSE_CONV));
    assert_true(run_kernel(&s, DEFT_KERNEL_REFERENCE));
    const deft_tensor *in_pointers[MAX_IN];
    deft_tensor in[MAX_IN], *out = &s.out;
    deft_request request = request_of(&s, in_pointers, in, &out);
    deft_kernel kernel;
    assert_int_equal(deft_kernel_prepare(s.ctx, DEFT_KERNEL_DENSE_CONV, &request, &kernel), DEFT_UNSUPPORTED);
    assert_non_null(strstr(deft_context_message(s.ctx), "'sample'"));
    assert_null(kernel.def);
    request.in_layout = DEFT_LAYOUT_PANELS;
    const char *why;
    assert_false(deft_kernels[DEFT_KERNEL_REFERENCE].accepts(&request, &why));
    free_sample(&s);
}

static void test_threads_setting_does_not_leak(void **state) {
    (void)state;
    extern int omp_get_max_threads(void);
    int before = omp_get_max_threads();
    check_matmul(DIMS(5, 7), DIMS(7, 3), true);
    assert_int_equal(omp_get_max_threads(), before);
}

static deft_status measure_matmul(deft_context *ctx, void *user) {
    (void)user;
    float weight[20 * 16];
    for (int i = 0; i < 20 * 16; i++)
        weight[i] = (float)i;
    deft_tensor x = {DEFT_F32, 2, {8, 20}, NULL}, w = {DEFT_F32, 2, {20, 16}, weight}, y = {DEFT_F32, 2, {8, 16}, NULL};
    const deft_tensor *in[] = {&x, &w};
    deft_tensor *out[] = {&y};
    deft_attrs none = {0};
    deft_request request = {.call = {.ctx = ctx,
                                     .name = "layer",
                                     .op = DEFT_OP_MATMUL,
                                     .attrs = &none,
                                     .opset = 13,
                                     .in_count = 2,
                                     .out_count = 1,
                                     .in = in,
                                     .out = out,
                                     .threads = 1},
                            .activation = deft_activation_none,
                            .isa = ctx->isa};
    const deft_candidate all[] = {
        {.kernel = DEFT_KERNEL_REFERENCE}, {.kernel = DEFT_KERNEL_DENSE_MATMUL}, {.kernel = DEFT_KERNEL_DENSE_PACKED}};
    double ns[3];
    DEFT_TRY(deft_kernel_measure(ctx, &request, all, 3, 0.001, ns));
    for (int i = 0; i < 3; i++)
        assert_true(ns[i] > 0 && isfinite(ns[i]));
    return DEFT_OK;
}

static void test_measure(void **state) {
    (void)state;
    check_every_allocation_failure(measure_matmul, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gemm),
        cmocka_unit_test(test_matmul_broadcasts),
        cmocka_unit_test(test_conv),
        cmocka_unit_test(test_conv_gradients),
        cmocka_unit_test(test_conv_transpose),
        cmocka_unit_test(test_pool),
        cmocka_unit_test(test_checker_sees_a_wrong_value),
        cmocka_unit_test(test_not_finite_values_survive),
        cmocka_unit_test(test_maximum_keeps_nan),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_threads_setting_does_not_leak),
        cmocka_unit_test(test_measure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

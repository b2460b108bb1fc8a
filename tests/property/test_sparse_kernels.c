/* Every kernel of a sparse constant matrix, on random shapes, patterns and attributes. */
#include "tests/property/sparse_problems.h"

#include "base/core/cpu.h"

#include <Zydis/Zydis.h>
#include <stdio.h>

static void run_kernel(instance *s, deft_kernel *kernel) {
    guarded scratch = guarded_new((kernel->scratch_bytes + 63) / 64 * 64, true);
    memset(scratch.data, 0xFF, kernel->scratch_bytes); /* NaN */
    size_t y_bytes =
        s->p.out_layout == DEFT_LAYOUT_PANELS ? deft_panel_bytes(s->p.n, s->p.m) : deft_tensor_bytes(&s->y);
    memset(s->y.data, 0xFF, y_bytes);
    long long made = atomic_load(&s->ctx->allocation_count);
    assert_int_equal(kernel->def->run(s->ctx, kernel, s->in, s->out, scratch.data), DEFT_OK);
    assert_int_equal(atomic_load(&s->ctx->allocation_count), made);
    guarded_free(&scratch);
}

static void describe(const problem *p, const char *kernel, const char *detail) {
    if (p->left) print_message("the weight on the left, %d images: ", (int)p->images);
    print_message("%s (%s) %s n %d m %d k %d transB %d alpha %g bias %d zeros %g residual %d layouts %d %d threads %d "
                  "act %g %g\n",
                  kernel, detail, deft_isa_name(p->isa), (int)p->n, (int)p->m, (int)p->k, p->trans_b, (double)p->alpha,
                  p->bias, p->zeros, p->residual, (int)p->in_layout, (int)p->out_layout, p->threads,
                  (double)p->activation.low, (double)p->activation.high);
    if (p->op == DEFT_OP_CONV)
        print_message("conv spatial %d channels %d groups %d filters %d in %dx%d kernel %dx%d stride %dx%d dilation "
                      "%dx%d pads %d %d %d %d\n",
                      (int)p->spatial, (int)p->channels, (int)p->groups, (int)p->filters, (int)p->in[0], (int)p->in[1],
                      (int)p->kernel[0], (int)p->kernel[1], (int)p->stride[0], (int)p->stride[1], (int)p->dilation[0],
                      (int)p->dilation[1], (int)p->pads[0], (int)p->pads[1], (int)p->pads[2], (int)p->pads[3]);
}

static int64_t count_nonzeros(const deft_tensor *w) {
    int64_t nonzeros = 0;
    for (int64_t i = 0; i < deft_tensor_count(w); i++)
        nonzeros += ((const float *)w->data)[i] != 0;
    return nonzeros;
}

static void check_kernel(instance *s, deft_kernel_id id) {
    deft_kernel kernel;
    assert_int_equal(deft_kernel_prepare(s->ctx, id, &s->request, &kernel), DEFT_OK);
    assert_int_equal(kernel.nonzeros, count_nonzeros(&s->w));
    assert_int_equal(kernel.weights, deft_tensor_count(&s->w));
    assert_true(kernel.packed);
    size_t bytes = deft_tensor_bytes(&s->w);
    void *weight = malloc(bytes + 1);
    if (bytes) memcpy(weight, s->w.data, bytes);
    if (bytes) memset(s->w.data, 0xff, bytes); /* nothing may read it any more */
    run_kernel(s, &kernel);
    if (bytes) memcpy(s->w.data, weight, bytes);
    free(weight);
    int64_t wrong = count_wrong(s);
    if (wrong) {
        describe(&s->p, deft_kernels[id].name, kernel.detail);
        fail_msg("%lld of %lld outputs are beyond the bound", (long long)wrong, (long long)s->outputs);
    }
    deft_kernel_done(s->ctx, &kernel);
}

/* The best schedules, and some that may not exist. */
static void check_schedules(instance *s, deft_kernel_id id, deft_rng *rng) {
    enum { MOST = 12 };
    uint64_t schedules[MOST];
    const deft_kernel_def *def = &deft_kernels[id];
    int count = def->schedules(&s->request, MOST, schedules);
    assert_true(count >= 1 && count <= MOST);
    for (int i = 0; i < count; i++) {
        s->request.schedule = schedules[i];
        assert_true(schedules[i] != 0);
        check_kernel(s, id);
    }
    for (int i = 0; i < 40; i++) {
        const char *why = NULL;
        s->request.schedule = (uint64_t)between(rng, 1, 1 << 10) | (uint64_t)between(rng, 0, 1) << 10 |
                              (uint64_t)between(rng, 1, 5) << 12 | (uint64_t)between(rng, 1, 9) << 20 |
                              (uint64_t)between(rng, 0, 1) << 63;
        if (i == 0) s->request.schedule = deft_rng_u64(rng);
        if (def->accepts(&s->request, &why))
            check_kernel(s, id);
        else
            assert_string_equal(why, "not a schedule of it");
    }
    s->request.schedule = 0;
}

/* Runs what accepts the problem; returns how many kernels did. */
static int check_problem(const problem *p, deft_context *ctx, deft_rng *rng) {
    instance s;
    instance_init(&s, p, ctx, rng);
    int accepted = 0;
    for (int id = 0; id < DEFT_KERNEL_COUNT; id++) {
        const deft_kernel_def *def = &deft_kernels[id];
        const char *why = NULL;
        if (!def->sparse) continue;
        if (!def->accepts(&s.request, &why)) {
            assert_non_null(why);
            continue;
        }
        accepted++;
        double estimate = def->estimate_ns(&s.request);
        assert_true(estimate > 0 && estimate < 1e12);
        check_kernel(&s, (deft_kernel_id)id);
        if (def->schedules) check_schedules(&s, (deft_kernel_id)id, rng);
    }
    instance_done(&s);
    return accepted;
}

static deft_isa random_isa(deft_rng *rng) {
    deft_isa best = deft_cpu_best_isa();
    return (deft_isa)between(rng, DEFT_ISA_C, best);
}

static double random_zeros(deft_rng *rng) {
    static const double shares[] = {0, 0.3, 0.5, 0.7, 0.9, 0.95, 0.98, 1};
    return shares[between(rng, 0, 7)];
}

static deft_activation random_activation(deft_rng *rng) {
    switch (between(rng, 0, 4)) {
    case 0:
        return (deft_activation){0, INFINITY};
    case 1:
        return (deft_activation){0, 6};
    case 2:
        return (deft_activation){-0.5f, 0.25f};
    case 3:
        return (deft_activation){-INFINITY, 1};
    default:
        return deft_activation_none;
    }
}

static problem random_common(deft_rng *rng) {
    return (problem){
        .alpha = 1,
        .beta = 1,
        .bias = between(rng, 0, 2) != 0,
        .residual = between(rng, 0, 3) == 0,
        .zeros = random_zeros(rng),
        .halved = between(rng, 0, 2) == 0,
        .activation = random_activation(rng),
        .isa = random_isa(rng),
        .threads = between(rng, 0, 3) ? 1 : (int)between(rng, 2, 5),
        .specials = between(rng, 0, 4) == 0,
        .x_scale = between(rng, 0, 9) == 0 ? 1e-40 : 1,
    };
}

/* Sizes small or large, often at the edges of registers and panels. */
static int64_t random_size(deft_rng *rng, int64_t most) {
    static const int64_t edges[] = {1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65};
    int64_t size = between(rng, 0, 1) ? edges[between(rng, 0, 14)] : between(rng, 1, most);
    return size < most ? size : most;
}

/* Now and then: y is what the activation makes of the bias. */
static bool sums_nothing(deft_rng *rng) {
    return between(rng, 0, 29) == 0;
}

static problem random_product(deft_rng *rng) {
    problem p = random_common(rng);
    p.op = between(rng, 0, 3) ? DEFT_OP_GEMM : DEFT_OP_MATMUL;
    if (p.op == DEFT_OP_MATMUL) p.bias = false;
    p.n = random_size(rng, 150), p.m = random_size(rng, 150), p.k = random_size(rng, between(rng, 0, 9) ? 400 : 3000);
    if (p.op == DEFT_OP_GEMM) {
        static const float factors[] = {1, 1, 1, -2.5f, 0.125f, 0};
        p.trans_b = between(rng, 0, 1);
        p.alpha = factors[between(rng, 0, 4)];
        p.beta = factors[between(rng, 0, 5)];
        p.bias_form = (int)between(rng, 0, 2);
    }
    if (sums_nothing(rng)) p.k = 0;
    p.in_layout = between(rng, 0, 2) ? DEFT_LAYOUT_ROWS : DEFT_LAYOUT_PANELS;
    p.out_layout = between(rng, 0, 2) ? DEFT_LAYOUT_ROWS : DEFT_LAYOUT_PANELS;
    return p;
}

static problem random_left_product(deft_rng *rng) {
    problem p = random_product(rng);
    p.left = true;
    p.in_layout = p.out_layout = DEFT_LAYOUT_ROWS;
    if (p.op == DEFT_OP_GEMM)
        p.bias_form = p.bias_form == 1 ? 0 : p.bias_form;
    else
        p.trans_b = false, p.images = between(rng, 0, 3);
    return p;
}

/* What sparse-vector and sparse-stream take; at times with more weights in a row than 16 bits tell apart. */
static problem random_small_batch(deft_rng *rng) {
    problem p = between(rng, 0, 1) ? random_left_product(rng) : random_product(rng);
    p.n = between(rng, 1, 16);
    if (between(rng, 0, 39) == 0) p.k = between(rng, 65000, 70000), p.m = between(rng, 1, 9);
    if (between(rng, 0, 2)) p.in_layout = p.out_layout = DEFT_LAYOUT_ROWS;
    return p;
}

static problem random_convolution(deft_rng *rng) {
    problem p = random_common(rng);
    p.op = DEFT_OP_CONV;
    p.n = between(rng, 0, 2) ? 1 : between(rng, 2, 5);
    p.spatial = between(rng, 0, 4) ? 2 : 1;
    p.groups = between(rng, 0, 2) ? 1 : between(rng, 2, 6);
    bool depthwise = p.groups > 1 && between(rng, 0, 1);
    p.channels = p.groups * (depthwise ? 1 : between(rng, 1, 6));
    p.filters = p.groups * between(rng, 1, depthwise ? 2 : 40 / p.groups);
    if (sums_nothing(rng)) p.channels = 0;
    bool plain = between(rng, 0, 2) == 0; /* what needs no packing */
    for (int axis = 0; axis < 2; axis++) {
        bool flat = axis == 0 && p.spatial == 1;
        p.kernel[axis] = flat ? 1 : between(rng, 0, 2) ? between(rng, 1, 5) : 1;
        p.stride[axis] = flat || plain ? 1 : between(rng, 1, 4);
        p.dilation[axis] = flat || plain ? 1 : between(rng, 1, 3);
        p.pads[axis] = flat || plain ? 0 : between(rng, 0, 3);
        p.pads[2 + axis] = flat || plain ? 0 : between(rng, 0, 3);
        int64_t extent = (p.kernel[axis] - 1) * p.dilation[axis] + 1 - p.pads[axis] - p.pads[2 + axis];
        p.in[axis] = flat ? 1 : (extent > 1 ? extent : 1) + between(rng, 0, p.spatial == 1 ? 90 : 20);
    }
    return p;
}

static void check_random(problem (*make)(deft_rng *rng), int count, uint64_t seed) {
    deft_context *ctx = test_context();
    deft_rng rng;
    deft_rng_init(&rng, seed, 0);
    int runs = 0;
    for (int i = 0; i < count; i++) {
        problem p = make(&rng);
        int accepted = check_problem(&p, ctx, &rng);
        assert_true(accepted >= (p.residual ? 0 : p.isa == DEFT_ISA_C ? 1 : 2));
        runs += accepted;
    }
    print_message("%d runs\n", runs);
    test_context_free(ctx);
}

static void test_random_products(void **state) {
    (void)state;
    check_random(random_product, 700, 1);
}

static void test_random_left_products(void **state) {
    (void)state;
    check_random(random_left_product, 500, 8);
}

static void test_random_small_batches(void **state) {
    (void)state;
    check_random(random_small_batch, 400, 7);
}

static void test_random_convolutions(void **state) {
    (void)state;
    check_random(random_convolution, 700, 2);
}

/* ---- the rest ---- */

static problem plain_product(int64_t n, int64_t m, int64_t k, double zeros) {
    return (problem){.op = DEFT_OP_GEMM,
                     .n = n,
                     .m = m,
                     .k = k,
                     .trans_b = true,
                     .bias = true,
                     .alpha = 1,
                     .beta = 1,
                     .zeros = zeros,
                     .activation = deft_activation_none,
                     .isa = deft_cpu_best_isa(),
                     .threads = 1,
                     .x_scale = 1};
}

/* One weight a little off must be seen, for each kernel. */
static void test_a_planted_weight_is_seen(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_rng rng;
    deft_rng_init(&rng, 3, 0);
    problem p = plain_product(5, 40, 60, 0.5);
    instance s;
    instance_init(&s, &p, ctx, &rng);
    float *w = s.w.data;
    int64_t planted = 0;
    while (w[planted] == 0)
        planted++;
    for (int id = 0; id < DEFT_KERNEL_COUNT; id++) {
        const char *why;
        if (!deft_kernels[id].sparse || !deft_kernels[id].accepts(&s.request, &why)) continue;
        for (int wrong = 0; wrong < 2; wrong++) {
            float right = w[planted];
            if (wrong) w[planted] *= 1.001f;
            deft_kernel kernel;
            assert_int_equal(deft_kernel_prepare(ctx, (deft_kernel_id)id, &s.request, &kernel), DEFT_OK);
            run_kernel(&s, &kernel);
            w[planted] = right;
            if (wrong)
                assert_true(count_wrong(&s) > 0);
            else
                assert_int_equal(count_wrong(&s), 0);
            deft_kernel_done(ctx, &kernel);
        }
    }
    instance_done(&s);
    test_context_free(ctx);
}

/* Bytes that a matrix times a vector reads for a nonzero: a schedule of sparse-vector, `extra` for all of it. */
static void check_weight_bytes(double zeros, bool halved, int64_t k, uint64_t schedule, double per_nonzero,
                               double extra) {
    deft_context *ctx = test_context();
    deft_rng rng;
    deft_rng_init(&rng, 9, 0);
    problem p = plain_product(1, 64, k, zeros);
    p.halved = halved;
    instance s;
    instance_init(&s, &p, ctx, &rng);
    s.request.schedule = schedule;
    deft_kernel kernel;
    assert_int_equal(deft_kernel_prepare(ctx, DEFT_KERNEL_SPARSE_VECTOR, &s.request, &kernel), DEFT_OK);
    double bytes = (double)kernel.weight_bytes, least = per_nonzero * (double)kernel.nonzeros;
    assert_true(bytes >= least && bytes <= 1.1 * least + extra);
    deft_kernel_done(ctx, &kernel);
    instance_done(&s);
    test_context_free(ctx);
}

static void test_compact_weights(void **state) {
    (void)state;
    if (!deft_cpu_has(DEFT_ISA_AVX512)) {
        print_message("skip: this CPU has no AVX-512\n");
        skip();
    }
    enum { SLICES = 1, BITMAP = 2 };
    /* slices are as long as their longest row: here 5% of the rows are full, and sorted side by side */
    check_weight_bytes(0.5, false, 2000, SLICES, 5, 16 * 2000 * 5);
    check_weight_bytes(0.5, true, 2000, SLICES, 3, 16 * 2000 * 3);
    check_weight_bytes(0.5, false, 2000, BITMAP, 4, 64 * 256);
}

typedef struct code_counts {
    int64_t fmas, loads, stores, instructions;
} code_counts;

static code_counts count_instructions(const uint8_t *code, size_t bytes) {
    ZydisDecoder decoder;
    assert_true(ZYAN_SUCCESS(ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64)));
    code_counts counts = {0};
    for (size_t at = 0; at < bytes;) {
        ZydisDecodedInstruction instruction;
        ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
        assert_true(ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, code + at, bytes - at, &instruction, operands)));
        at += instruction.length;
        counts.instructions++;
        counts.fmas += instruction.mnemonic == ZYDIS_MNEMONIC_VFMADD231PS;
        bool move = instruction.mnemonic == ZYDIS_MNEMONIC_VMOVUPS;
        counts.stores += move && operands[0].type == ZYDIS_OPERAND_TYPE_MEMORY;
        counts.loads += move && operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER;
        if (instruction.mnemonic == ZYDIS_MNEMONIC_RET) break;
    }
    return counts;
}

/* As many multiply-adds as nonzeros, band by band, as many stores as sums, and bounded code. */
static void check_code(deft_isa isa, int64_t m, int64_t k, double most_bytes_per_nonzero) {
    deft_context *ctx = test_context();
    deft_rng rng;
    deft_rng_init(&rng, 4, 0);
    problem p = plain_product(64, m, k, 0.9);
    p.isa = isa;
    instance s;
    instance_init(&s, &p, ctx, &rng);
    deft_kernel kernel;
    assert_int_equal(deft_kernel_prepare(ctx, DEFT_KERNEL_SPARSE_X86, &s.request, &kernel), DEFT_OK);
    const deft_sparse *sparse = kernel.state;
    int64_t nonzeros = 0, rows = 0, vectors = sparse->schedule.vectors;
    int64_t depths = sparse->schedule.depths;
    for (int64_t i = 0; i < sparse->band_count; i++) {
        const deft_sparse_band *band = &sparse->bands[i];
        int64_t fmas = 0;
        for (int64_t depth = 0; depth < depths; depth++) {
            size_t entry = sparse->segments[i * depths + depth].entry;
            const uint8_t *code = sparse->code.memory;
            code_counts counts = count_instructions(code + entry, sparse->code_bytes - entry);
            int64_t sums = band->row_count * vectors;
            int64_t tiles = (band->row_count + sparse->schedule.tile_rows - 1) / sparse->schedule.tile_rows;
            fmas += counts.fmas;
            assert_int_equal(counts.stores, sums);
            assert_true(counts.loads <= tiles * k * vectors + sums);
        }
        assert_int_equal(fmas, band->nonzeros * vectors);
        assert_int_equal(band->first_row, rows);
        nonzeros += band->nonzeros;
        rows += band->row_count;
    }
    if (k > 1000) assert_true(depths > 1);
    assert_int_equal(rows, m);
    assert_int_equal(nonzeros, kernel.nonzeros);
    double per_nonzero = (double)kernel.code_bytes / (double)(nonzeros * vectors);
    print_message("%s %dx%d: %.1f bytes of code a nonzero and vector\n", deft_isa_name(isa), (int)m, (int)k,
                  per_nonzero);
    assert_true(per_nonzero <= most_bytes_per_nonzero);
    deft_kernel_done(ctx, &kernel);
    instance_done(&s);
    test_context_free(ctx);
}

static void test_generated_code(void **state) {
    (void)state;
    if (!deft_cpu_has(DEFT_ISA_AVX2)) {
        print_message("skip: this CPU has no AVX2\n");
        skip();
    }
    check_code(DEFT_ISA_AVX2, 300, 784, 24);
    check_code(DEFT_ISA_AVX2, 40, 2000, 24);
    if (!deft_cpu_has(DEFT_ISA_AVX512)) {
        print_message("skip: this CPU has no AVX-512\n");
        return;
    }
    check_code(DEFT_ISA_AVX512, 300, 784, 16);
    check_code(DEFT_ISA_AVX512, 512, 512, 16);
    check_code(DEFT_ISA_AVX512, 60, 3000, 16);
    check_code(DEFT_ISA_AVX512, 10, 100, 24);
}

static deft_status prepare_all(deft_context *ctx, void *user) {
    instance *s = user;
    s->request.call.ctx = ctx;
    for (int id = 0; id < DEFT_KERNEL_COUNT; id++) {
        const char *why;
        if (!deft_kernels[id].sparse || !deft_kernels[id].accepts(&s->request, &why)) continue;
        deft_kernel kernel;
        DEFT_TRY(deft_kernel_prepare(ctx, (deft_kernel_id)id, &s->request, &kernel));
        deft_kernel_done(ctx, &kernel);
    }
    return DEFT_OK;
}

static void test_prepare_without_memory(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_rng rng;
    deft_rng_init(&rng, 5, 0);
    problem p = plain_product(3, 70, 90, 0.8);
    instance s;
    instance_init(&s, &p, ctx, &rng);
    check_every_allocation_failure(prepare_all, &s);
    instance_done(&s);
    test_context_free(ctx);
}

/* What is refused, and why. */
static void test_refusals(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_rng rng;
    deft_rng_init(&rng, 6, 0);
    problem p = plain_product(4, 20, 30, 0.5);
    instance s;
    instance_init(&s, &p, ctx, &rng);
    void *weight = s.w.data, *bias = s.b.data;
    deft_linear linear;
    const char *why = NULL;
    s.w.data = NULL;
    assert_false(deft_linear_of(&s.request, &linear, &why));
    assert_string_equal(why, "the weight is not constant");
    s.w.data = weight;
    s.b.data = NULL;
    assert_false(deft_linear_of(&s.request, &linear, &why));
    assert_string_equal(why, "the bias is not constant");
    s.b.data = bias;
    s.b.dims[1] = 1, s.b.dims[0] = 4, s.b.rank = 2;
    assert_false(deft_linear_of(&s.request, &linear, &why));
    assert_string_equal(why, "the bias differs between rows of the output");
    s.b.dims[0] = 20, s.b.rank = 1;
    s.attrs[3] = (deft_attr){.name = "transA", .type = DEFT_ATTR_INT, .i = 1};
    s.attr_list.count = 4;
    assert_false(deft_linear_of(&s.request, &linear, &why));
    assert_string_equal(why, "the input is transposed");
    s.attr_list.count = 3;
    s.changing.dtype = DEFT_F64;
    assert_false(deft_linear_of(&s.request, &linear, &why));
    assert_string_equal(why, "not f32");
    s.changing.dtype = DEFT_F32;
    s.request.isa = DEFT_ISA_C;
    assert_false(deft_sparse_x86_accepts(&s.request, &why));
    assert_true(deft_linear_of(&s.request, &linear, &why));
    assert_true(linear.n == 4 && linear.m == 20 && linear.k == 30 && linear.row_stride == 30);
    instance_done(&s);
    test_context_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_products),
        cmocka_unit_test(test_random_left_products),
        cmocka_unit_test(test_random_small_batches),
        cmocka_unit_test(test_random_convolutions),
        cmocka_unit_test(test_compact_weights),
        cmocka_unit_test(test_a_planted_weight_is_seen),
        cmocka_unit_test(test_generated_code),
        cmocka_unit_test(test_prepare_without_memory),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

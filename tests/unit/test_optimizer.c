/* Optimisers against their rules worked out in f64, one weight at a time, and learning rates against theirs. */
#include "tests/support.h"

#include <math.h>
#include <string.h>

#include "base/core/rng.h"
#include "learn/train/optimizer.h"
#include "learn/train/schedule.h"

enum { COUNT = 1000, STEPS = 7 };

/* ---- the rules, by hand -------------------------------------------------------------------------------------- */

typedef struct by_hand {
    double w, first, second, average;
} by_hand;

/* Step `t` from 0 on a gradient g, which has been scaled. */
static void step_by_hand(const deft_optimizer_options *o, by_hand *h, double g, double rate, int t, bool decays) {
    double decay = decays ? (double)o->weight_decay : 0, m = (double)o->momentum, b = (double)o->beta2;
    bool adam = o->kind == DEFT_OPTIMIZER_ADAM || o->kind == DEFT_OPTIMIZER_ADAMW;
    if (o->kind != DEFT_OPTIMIZER_ADAMW) g += decay * h->w;
    if (adam) {
        h->first = m * h->first + (1 - m) * g;
        h->second = b * h->second + (1 - b) * g * g;
        double mean = h->first / (1 - pow(m, t + 1)), square = h->second / (1 - pow(b, t + 1));
        double shrunk = o->kind == DEFT_OPTIMIZER_ADAMW ? rate * decay * h->w : 0;
        h->w -= rate * mean / (sqrt(square) + (double)o->epsilon) + shrunk;
    } else {
        h->first = m * h->first + g;
        h->w -= rate * (o->kind == DEFT_OPTIMIZER_NESTEROV ? g + m * h->first : h->first);
    }
    double share = fmin((double)o->average, (1.0 + t) / (10.0 + t));
    h->average = share * h->average + (1 - share) * h->w;
}

typedef struct vectors {
    float w[COUNT], g[STEPS][COUNT], first[COUNT], second[COUNT], average[COUNT];
    uint8_t keep[COUNT];
} vectors;

static vectors *make_vectors(void) {
    vectors *v = calloc(1, sizeof *v);
    deft_rng rng;
    deft_rng_init(&rng, 3, 0);
    for (int i = 0; i < COUNT; i++) {
        v->keep[i] = i % 3 != 0;
        v->w[i] = v->average[i] = v->keep[i] ? deft_rng_normal(&rng) : 0;
        v->first[i] = v->second[i] = v->keep[i] ? 0 : 1; /* as of a weight that has just been pruned */
        for (int t = 0; t < STEPS; t++)
            v->g[t][i] = deft_rng_normal(&rng);
    }
    return v;
}

static void run_steps(const deft_optimizer_options *options, vectors *v, bool kept, bool decays, int threads) {
    deft_moments moments = {v->first, v->second, v->average, kept ? v->keep : NULL};
    for (int t = 0; t < STEPS; t++) {
        deft_update update = {options, t, 0.05f / (float)(t + 1), 0.5f, decays, threads};
        deft_optimizer_update(&update, COUNT, v->w, v->g[t], &moments);
    }
}

/* The largest distance of weights and averages from the rule in f64. */
static double distance_by_hand(const deft_optimizer_options *options, const vectors *start, const vectors *v, bool kept,
                               bool decays) {
    double largest = 0;
    for (int i = 0; i < COUNT; i++) {
        by_hand h = {.w = (double)start->w[i], .average = (double)start->w[i]};
        for (int t = 0; t < STEPS && (!kept || start->keep[i]); t++)
            step_by_hand(options, &h, 0.5 * (double)start->g[t][i], 0.05 / (t + 1), t, decays);
        largest = fmax(largest, fmax(fabs(h.w - (double)v->w[i]), fabs(h.average - (double)v->average[i])));
    }
    return largest;
}

static void test_rules_by_hand(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    for (int kind = DEFT_OPTIMIZER_SGD; kind <= DEFT_OPTIMIZER_ADAMW; kind++)
        for (int variant = 0; variant < 8; variant++) {
            bool kept = variant & 1, decays = variant & 2;
            deft_optimizer_options given = {.kind = (deft_optimizer)kind,
                                            .momentum = variant & 4 ? -1 : 0.8f,
                                            .beta2 = 0.95f,
                                            .weight_decay = 0.1f,
                                            .average = 0.6f},
                                   options;
            assert_int_equal(deft_optimizer_fill_in(ctx, &given, &options), DEFT_OK);
            vectors *start = make_vectors(), *v = make_vectors();
            if (!kept) memset(v->first, 0, sizeof v->first), memset(v->second, 0, sizeof v->second);
            run_steps(&options, v, kept, decays, 1);
            double distance = distance_by_hand(&options, start, v, kept, decays);
            if (!(distance < 3e-6)) fail_msg("optimiser %d, variant %d: %g apart", kind, variant, distance);
            for (int i = 0; i < COUNT; i += 3)
                assert_true(!kept || (v->w[i] == 0 && v->average[i] == 0 && v->first[i] == 0 &&
                                      (v->second[i] == 0 || kind < DEFT_OPTIMIZER_ADAM)));
            options.weight_decay += 0.01f; /* the checker sees a wrong number */
            assert_true(!decays || distance_by_hand(&options, start, v, kept, decays) > 3e-6);
            options.weight_decay -= 0.01f;
            options.kind = (deft_optimizer)((kind + 1) % 4);                  /* and a wrong rule */
            bool alike = kind == DEFT_OPTIMIZER_SGD && options.momentum == 0; /* then Nesterov's is the same */
            alike |= kind == DEFT_OPTIMIZER_ADAM && !decays;
            assert_true(alike || distance_by_hand(&options, start, v, kept, decays) > 1e-4);
            free(start);
            free(v);
        }
    test_context_free(ctx);
}

/* Enough elements that threads share them. */
static void test_threads_do_not_matter(void **state) {
    (void)state;
    enum { MANY = 200003 };
    deft_context *ctx = test_context();
    for (int kind = DEFT_OPTIMIZER_SGD; kind <= DEFT_OPTIMIZER_ADAMW; kind++) {
        float *arrays[2][5];
        deft_optimizer_options given = {.kind = (deft_optimizer)kind, .average = 0.9f}, options;
        assert_int_equal(deft_optimizer_fill_in(ctx, &given, &options), DEFT_OK);
        for (int threads = 1; threads <= 2; threads++) {
            float **a = arrays[threads - 1];
            deft_rng rng;
            deft_rng_init(&rng, 1, 0);
            for (int i = 0; i < 5; i++)
                a[i] = calloc(MANY, sizeof *a[i]);
            for (int i = 0; i < MANY; i++)
                a[0][i] = deft_rng_normal(&rng), a[1][i] = deft_rng_normal(&rng);
            deft_moments moments = {a[2], a[3], a[4], NULL};
            for (int t = 0; t < 2; t++) {
                deft_update update = {&options, t, 0.1f, 1, true, threads};
                deft_optimizer_update(&update, MANY, a[0], a[1], &moments);
            }
            assert_true(deft_optimizer_square(a[1], NULL, MANY, threads) ==
                        deft_optimizer_square(arrays[0][1], NULL, MANY, 1));
        }
        for (int i = 0; i < 5; i++) {
            assert_memory_equal(arrays[0][i], arrays[1][i], MANY * sizeof(float));
            free(arrays[0][i]);
            free(arrays[1][i]);
        }
    }
    test_context_free(ctx);
}

/* Gradients that have ceased leave zeros, not denormals. */
static void test_no_denormals(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    for (int kind = DEFT_OPTIMIZER_SGD; kind <= DEFT_OPTIMIZER_ADAMW; kind++) {
        float w = 1, g = 1e-3f, first = 0, second = 0;
        deft_moments moments = {&first, &second, NULL, NULL};
        deft_optimizer_options given = {.kind = (deft_optimizer)kind, .momentum = 0.5f, .beta2 = 0.5f}, options;
        assert_int_equal(deft_optimizer_fill_in(ctx, &given, &options), DEFT_OK);
        for (int t = 0; t < 300; t++, g = 0) {
            deft_update update = {&options, t, 0.1f, 1, false, 1};
            deft_optimizer_update(&update, 1, &w, &g, &moments);
            assert_true(fpclassify(first) != FP_SUBNORMAL && fpclassify(second) != FP_SUBNORMAL);
        }
        assert_true(first == 0 && second == 0);
    }
    test_context_free(ctx);
}

static void test_wrong_options(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    const deft_optimizer_options wrong[] = {{.kind = (deft_optimizer)4},
                                            {.kind = (deft_optimizer)-1},
                                            {.momentum = 1},
                                            {.momentum = NAN},
                                            {.beta2 = 1},
                                            {.beta2 = NAN},
                                            {.epsilon = NAN},
                                            {.weight_decay = NAN},
                                            {.weight_decay = INFINITY},
                                            {.average = 1},
                                            {.average = -0.1f},
                                            {.average = NAN},
                                            {.max_gradient_norm = NAN},
                                            {.epsilon = INFINITY}};
    deft_optimizer_options options;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        if (deft_optimizer_fill_in(ctx, &wrong[i], &options) != DEFT_INVALID) fail_msg("case %zu is let through", i);
        assert_non_null(strstr(deft_context_message(ctx), "optimiser"));
    }
    test_context_free(ctx);
}

/* ---- the learning rate --------------------------------------------------------------------------------------- */

static void expect_rate(const deft_schedule *schedule, int64_t step, double rate) {
    double got = (double)deft_schedule_rate(schedule, step);
    if (!(fabs(got - rate) <= 1e-6 * rate + 1e-12)) fail_msg("step %d: %g instead of %g", (int)step, got, rate);
}

static void test_schedules(void **state) {
    (void)state;
    deft_schedule steps = {.rate = 0.5f, .epochs = 8, .steps = 10, .step_factor = 0.1f};
    const double expected[] = {0.5, 0.5, 0.5, 0.5, 0.05, 0.05, 0.005, 0.005};
    for (int64_t step = 0; step < 80; step++)
        expect_rate(&steps, step, expected[step / 10]);
    steps.step_epochs = 3;
    expect_rate(&steps, 29, 0.5);
    expect_rate(&steps, 30, 0.05);
    expect_rate(&steps, 79, 0.005);

    deft_schedule cosine = {.kind = DEFT_SCHEDULE_COSINE, .rate = 2, .epochs = 10, .steps = 4, .warmup_epochs = 2.5f};
    for (int64_t step = 0; step < 10; step++)
        expect_rate(&cosine, step, 2 * (double)(step + 1) / 10);
    expect_rate(&cosine, 10, 2);
    expect_rate(&cosine, 20, 2 * 0.75); /* a third of the way: (1 + cos 60 degrees) / 2 */
    expect_rate(&cosine, 25, 1);
    expect_rate(&cosine, 30, 2 * 0.25);
    for (int64_t step = 10; step < 39; step++)
        assert_true(deft_schedule_rate(&cosine, step + 1) < deft_schedule_rate(&cosine, step));
    assert_true(deft_schedule_rate(&cosine, 39) > 0);

    deft_schedule constant = {.kind = DEFT_SCHEDULE_CONSTANT, .rate = 0.25f, .epochs = 3, .steps = 5};
    for (int64_t step = 0; step < 15; step++)
        expect_rate(&constant, step, 0.25);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules_by_hand), cmocka_unit_test(test_threads_do_not_matter),
        cmocka_unit_test(test_no_denormals),  cmocka_unit_test(test_wrong_options),
        cmocka_unit_test(test_schedules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

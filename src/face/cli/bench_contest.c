/* Timing contestants against each other. Turns are short, so that what disturbs the machine disturbs all; within a turn
 * one contestant runs several times, so that each finds its own operands in the caches. Every other round goes
 * backwards: who comes after a contestant that runs the same code finds it warm, which tells at half a microsecond. */
#include "face/cli/bench.h"

enum { MOST_SAMPLES = 4096, LEAST_RUNS = 3, MOST_RUNS = 64, LEAST_TURNS = 6, WARM_SHARE = 16 };
static const double turn_ns = 2e6;

static deft_status time_run(deft_context *ctx, deft_contestant *one, double *us) {
    void *state = one->states[one->next++ % one->copies];
    int64_t start = deft_time_ns();
    DEFT_TRY(one->run(ctx, state));
    *us = (double)(deft_time_ns() - start) / 1000;
    return DEFT_OK;
}

/* How many runs a turn is made of. */
static deft_status runs_of(deft_context *ctx, deft_contestant *one, int *runs) {
    double first, us;
    DEFT_TRY(time_run(ctx, one, &first));
    DEFT_TRY(time_run(ctx, one, &us));
    double wanted = turn_ns / (1000 * us + 1);
    *runs = wanted < LEAST_RUNS ? LEAST_RUNS : wanted > MOST_RUNS ? MOST_RUNS : (int)wanted;
    return DEFT_OK;
}

static deft_status take_turn(deft_context *ctx, deft_contestant *one, int runs, double *samples, int *taken) {
    double warming;
    for (int i = 0; i <= runs / WARM_SHARE; i++)
        DEFT_TRY(time_run(ctx, one, &warming));
    for (int i = 0; i < runs && *taken < MOST_SAMPLES; i++)
        DEFT_TRY(time_run(ctx, one, &samples[(*taken)++]));
    return DEFT_OK;
}

deft_status deft_bench_contest(deft_context *ctx, deft_contestant *all, int count, double seconds) {
    double *samples = NULL;
    int runs[DEFT_CONTESTANTS], taken[DEFT_CONTESTANTS] = {0};
    deft_status status;
    DEFT_TRY_OR_FAIL(deft_allocate_zeroed(ctx, (size_t)count * MOST_SAMPLES, sizeof *samples, &samples));
    for (int i = 0; i < count; i++)
        DEFT_TRY_OR_FAIL(runs_of(ctx, &all[i], &runs[i]));
    int64_t start = deft_time_ns(), length = (int64_t)(seconds * count * 1e9);
    for (int turn = 0; turn < LEAST_TURNS || deft_time_ns() - start < length; turn++) {
        for (int j = 0; j < count; j++) {
            int i = turn % 2 ? count - 1 - j : j;
            DEFT_TRY_OR_FAIL(take_turn(ctx, &all[i], runs[i], samples + (size_t)i * MOST_SAMPLES, &taken[i]));
        }
        double done = length > 0 ? (double)(deft_time_ns() - start) / (double)length : 1;
        DEFT_TRY_OR_FAIL(deft_progress(ctx, "measuring", done < 1 ? done : 1));
    }
    for (int i = 0; i < count; i++)
        all[i].us = deft_timing_of(samples + (size_t)i * MOST_SAMPLES, taken[i]);
fail:
    deft_release(ctx, samples);
    return status;
}

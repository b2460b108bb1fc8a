/* Timing contestants against each other. Turns are short, so that what disturbs the machine disturbs all; within a turn
 * one contestant runs several times, so that each finds its own operands in the caches. Every other round goes
 * backwards: who comes after a contestant that runs the same code finds it warm, which tells at half a microsecond.
 * Clocks have states a fifth apart that last for some rounds; where each is there half of the time, the medians of two
 * contestants may fall into different ones. So all times are brought to the pace of the median round. */
#include "face/cli/bench.h"

#include <math.h>
#include <string.h>

enum { LEAST_RUNS = 3, MOST_RUNS = 64, LEAST_TURNS = 6, WARM_RUNS = 2, WARM_SHARE = 16, MOST_ROUNDS = 1024 };
static const double turn_ns = 4e5;

/* The last MOST_ROUNDS rounds, of a turn of each contestant. */
typedef struct rounds {
    double *samples; /* [contestants][MOST_ROUNDS][MOST_RUNS] */
    double *turns;   /* [contestants][MOST_ROUNDS]: the median of a turn */
    double scratch[DEFT_CONTESTANTS + MOST_ROUNDS], paces[MOST_ROUNDS];
    int runs[DEFT_CONTESTANTS]; /* of a turn */
    int64_t count;
} rounds;

static deft_status time_run(deft_context *ctx, deft_contestant *one, double *us) {
    void *state = one->states[one->next++ % one->copies];
    int64_t start = deft_time_ns();
    DEFT_TRY(one->run(ctx, state));
    int64_t passed = deft_time_ns() - start;
    *us = passed > 0 ? (double)passed / 1000 : 0.001; /* less than a coarse clock tells */
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

static deft_status take_turn(deft_context *ctx, deft_contestant *one, int runs, double *samples, double *median) {
    double us, sorted[MOST_RUNS];
    for (int i = 0; i < WARM_RUNS + runs / WARM_SHARE; i++)
        DEFT_TRY(time_run(ctx, one, &us));
    for (int i = 0; i < runs; i++)
        DEFT_TRY(time_run(ctx, one, &samples[i]));
    memcpy(sorted, samples, (size_t)runs * sizeof *sorted);
    *median = deft_timing_of(sorted, runs).p50;
    return DEFT_OK;
}

static deft_status take_rounds(deft_context *ctx, deft_contestant *all, int count, double seconds, rounds *taken) {
    for (int i = 0; i < count; i++)
        DEFT_TRY(runs_of(ctx, &all[i], &taken->runs[i]));
    int64_t start = deft_time_ns(), length = (int64_t)(seconds * count * 1e9);
    for (int64_t round = 0; round < LEAST_TURNS || deft_time_ns() - start < length; round++) {
        for (int j = 0; j < count; j++) {
            int i = round % 2 ? count - 1 - j : j;
            int64_t place = i * MOST_ROUNDS + round % MOST_ROUNDS;
            DEFT_TRY(take_turn(ctx, &all[i], taken->runs[i], taken->samples + place * MOST_RUNS, taken->turns + place));
        }
        if (taken->count < MOST_ROUNDS) taken->count++;
        double done = length > 0 ? (double)(deft_time_ns() - start) / (double)length : 1;
        DEFT_TRY(deft_progress(ctx, "measuring", done < 1 ? done : 1));
    }
    return DEFT_OK;
}

/* All but the least time at the pace of the median round. */
static deft_timing timing_of(const rounds *taken, int contestant) {
    double *samples = taken->samples + (int64_t)contestant * MOST_ROUNDS * MOST_RUNS, least = INFINITY;
    int64_t count = 0;
    for (int64_t r = 0; r < taken->count; r++)
        for (int i = 0; i < taken->runs[contestant]; i++) {
            double us = samples[r * MOST_RUNS + i];
            if (us < least) least = us;
            samples[count++] = us / taken->paces[r];
        }
    deft_timing timing = deft_timing_of(samples, count);
    timing.min = least;
    return timing;
}

deft_status deft_bench_contest(deft_context *ctx, deft_contestant *all, int count, double seconds) {
    rounds *taken = NULL;
    size_t places = (size_t)count * MOST_ROUNDS;
    deft_status status;
    DEFT_TRY_OR_FAIL(deft_allocate_zeroed(ctx, 1, sizeof *taken, &taken));
    DEFT_TRY_OR_FAIL(deft_allocate_zeroed(ctx, places * MOST_RUNS, sizeof *taken->samples, &taken->samples));
    DEFT_TRY_OR_FAIL(deft_allocate_zeroed(ctx, places, sizeof *taken->turns, &taken->turns));
    DEFT_TRY_OR_FAIL(take_rounds(ctx, all, count, seconds, taken));
    deft_timing_paces(taken->turns, count, taken->count, MOST_ROUNDS, taken->scratch, taken->paces);
    for (int i = 0; i < count; i++)
        all[i].us = timing_of(taken, i);
fail:
    if (taken) {
        deft_release(ctx, taken->samples);
        deft_release(ctx, taken->turns);
    }
    deft_release(ctx, taken);
    return status;
}

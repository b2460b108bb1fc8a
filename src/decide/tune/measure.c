#include "decide/tune/measure.h"

#include <string.h>

static const double warm_up_share = 0.1, warm_up_seconds = 0.2; /* the lesser of the two */
enum { WARM_UP_RUNS = 3, FIRST_CAPACITY = 1024 };
static const int64_t progress_every_ns = 50000000;

/* Latencies of each runnable, one after the other: number i has samples[i * capacity + run]. */
typedef struct recording {
    double *samples;
    int count; /* of runnables */
    int64_t runs, capacity;
} recording;

static deft_status grow(deft_context *ctx, recording *r) {
    if (r->runs < r->capacity) return DEFT_OK;
    int64_t capacity = r->capacity ? 2 * r->capacity : FIRST_CAPACITY;
    double *samples;
    DEFT_TRY(deft_allocate_zeroed(ctx, (size_t)(r->count * capacity), sizeof *samples, &samples));
    for (int i = 0; r->samples && i < r->count; i++)
        memcpy(samples + i * capacity, r->samples + i * r->capacity, sizeof *samples * (size_t)r->runs);
    deft_release(ctx, r->samples);
    r->samples = samples;
    r->capacity = capacity;
    return DEFT_OK;
}

static deft_status run_each(const deft_runnable *runnables, int count, double *microseconds) {
    for (int i = 0; i < count; i++) {
        int64_t start = deft_time_ns();
        DEFT_TRY(runnables[i].run(runnables[i].subject));
        microseconds[i] = (double)(deft_time_ns() - start) / 1000;
    }
    return DEFT_OK;
}

static deft_status warm_up(const deft_runnable *runnables, int count, double seconds, double *microseconds) {
    double length = warm_up_share * seconds < warm_up_seconds ? warm_up_share * seconds : warm_up_seconds;
    int64_t stop = deft_time_ns() + (int64_t)(length * 1e9);
    for (int runs = 0; runs < WARM_UP_RUNS || deft_time_ns() < stop; runs++)
        DEFT_TRY(run_each(runnables, count, microseconds));
    return DEFT_OK;
}

static deft_status record(deft_context *ctx, const deft_runnable *runnables, double seconds, int64_t min_runs,
                          double *microseconds, recording *r) {
    int64_t start = deft_time_ns(), length = (int64_t)(seconds * r->count * 1e9), told = start, now = start;
    while (r->runs < min_runs || now - start < length) {
        DEFT_TRY(grow(ctx, r));
        DEFT_TRY(run_each(runnables, r->count, microseconds));
        for (int i = 0; i < r->count; i++)
            r->samples[i * r->capacity + r->runs] = microseconds[i];
        r->runs++;
        now = deft_time_ns();
        if (now - told < progress_every_ns) continue;
        told = now;
        double by_time = length > 0 ? (double)(now - start) / (double)length : 1;
        double by_runs = min_runs > 0 ? (double)r->runs / (double)min_runs : 1;
        double done = by_time < by_runs ? by_time : by_runs;
        DEFT_TRY(deft_progress(ctx, "measuring", done < 1 ? done : 1));
    }
    return DEFT_OK;
}

deft_status deft_measure(deft_context *ctx, const deft_runnable *runnables, int count, double seconds, int64_t min_runs,
                         deft_timing *timings) {
    recording r = {.count = count};
    double *microseconds = NULL;
    deft_status status;
    DEFT_TRY_OR_FAIL(deft_allocate_zeroed(ctx, (size_t)count, sizeof *microseconds, &microseconds));
    DEFT_TRY_OR_FAIL(warm_up(runnables, count, seconds, microseconds));
    DEFT_TRY_OR_FAIL(record(ctx, runnables, seconds, min_runs > 0 ? min_runs : 1, microseconds, &r));
    for (int i = 0; i < count; i++)
        timings[i] = deft_timing_of(r.samples + i * r.capacity, r.runs);
fail:
    deft_release(ctx, microseconds);
    deft_release(ctx, r.samples);
    return status;
}

/* Timing kernels against each other on one request, in rounds of a turn each. Other programs only ever add to a time,
 * so of a turn the least counts. Clocks change from turn to turn, so that the least of all turns would be the one of
 * who came when they were high: of rounds the median counts, each brought to the same pace. */
#include "base/core/rng.h"
#include "base/core/timing.h"
#include "codegen/kernel/kernel.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MIN_RUNS = 5, MAX_RUNS = 256, MAX_ARITY = 65 };
static const double turn_ns = 3e5;

/* The operands of the request with memory of their own where it gives none. */
typedef struct operands {
    deft_tensor in[MAX_ARITY], out[MAX_ARITY];
    const deft_tensor *in_pointers[MAX_ARITY];
    deft_tensor *out_pointers[MAX_ARITY];
    bool owned[MAX_ARITY];
    void *scratch;
} operands;

static deft_status allocate_operand(deft_context *ctx, const deft_request *request, deft_layout layout,
                                    deft_tensor *tensor, deft_rng *rng) {
    size_t bytes = deft_layout_bytes(tensor, layout, request->isa);
    DEFT_TRY(deft_allocate_zeroed(ctx, 1, bytes, &tensor->data));
    float *values = tensor->data;
    for (size_t i = 0; tensor->dtype == DEFT_F32 && i < bytes / sizeof *values; i++)
        values[i] = 2 * deft_rng_uniform(rng) - 1;
    return DEFT_OK;
}

static deft_status make_operands(deft_context *ctx, const deft_request *request, operands *all) {
    const deft_op_call *call = &request->call;
    deft_rng rng;
    deft_rng_init(&rng, ctx->seed, 0);
    for (int i = 0; i <= call->in_count; i++) {
        const deft_tensor *given = i < call->in_count ? call->in[i] : request->residual;
        if (!given) continue;
        all->in[i] = *given;
        all->in_pointers[i] = &all->in[i];
        if (given->data) continue;
        deft_layout layout = i < call->in_count ? request->in_layout : request->out_layout;
        DEFT_TRY(allocate_operand(ctx, request, layout, &all->in[i], &rng));
        all->owned[i] = true;
    }
    for (int i = 0; i < call->out_count; i++) {
        if (!call->out[i]) continue;
        all->out[i] = *call->out[i];
        all->out[i].data = NULL;
        all->out_pointers[i] = &all->out[i];
        DEFT_TRY(allocate_operand(ctx, request, i == 0 ? request->out_layout : DEFT_LAYOUT_ROWS, &all->out[i], &rng));
    }
    return DEFT_OK;
}

static void release_operands(deft_context *ctx, operands *all) {
    for (int i = 0; i < MAX_ARITY; i++) {
        if (all->owned[i]) deft_release(ctx, all->in[i].data);
        deft_release(ctx, all->out[i].data);
    }
    deft_release(ctx, all->scratch);
}

/* A kernel that this machine refuses (no executable memory) is left zeroed. */
static deft_status prepare_all(deft_context *ctx, const deft_request *request, const deft_candidate *candidates,
                               int count, deft_kernel *kernels, operands *all) {
    size_t scratch_bytes = 0;
    for (int i = 0; i < count; i++) {
        deft_request scheduled = *request;
        scheduled.schedule = candidates[i].schedule;
        kernels[i] = (deft_kernel){0};
        deft_status status = deft_kernel_prepare(ctx, candidates[i].kernel, &scheduled, &kernels[i]);
        if (status == DEFT_DEVICE) continue;
        DEFT_TRY(status);
        if (kernels[i].scratch_bytes > scratch_bytes) scratch_bytes = kernels[i].scratch_bytes;
    }
    return deft_allocate_zeroed(ctx, 1, scratch_bytes, &all->scratch);
}

static deft_status time_once(deft_context *ctx, const deft_kernel *kernel, const operands *all, double *ns) {
    int64_t start = deft_time_ns();
    DEFT_TRY(kernel->def->run(ctx, kernel, all->in_pointers, all->out_pointers, all->scratch));
    *ns = (double)(deft_time_ns() - start);
    return DEFT_OK;
}

/* Runs one kernel until the turn is over, once at least, after a run that brings its operands and code into the caches;
 * the least time. What is used again and again, as in a small network, is deeper in the caches than after one run. */
static deft_status take_turn(deft_context *ctx, const deft_kernel *kernel, const operands *all, double *least) {
    double ns;
    DEFT_TRY(time_once(ctx, kernel, all, &ns));
    *least = INFINITY;
    for (double spent = 0; spent < turn_ns; spent += ns) {
        DEFT_TRY(time_once(ctx, kernel, all, &ns));
        if (ns < *least) *least = ns;
        if (ns <= 0) break; /* a clock too coarse to end the turn */
    }
    return DEFT_OK;
}

/* A first run of each takes what happens only once. Returns in `rounds` how many there were; samples[k * MAX_RUNS + r]
 * is infinite where there is no kernel k. */
static deft_status take_rounds(deft_context *ctx, const deft_kernel *kernels, int count, double seconds,
                               const operands *all, double *samples, int *rounds) {
    double discarded;
    for (int k = 0; k < count; k++)
        if (kernels[k].def) DEFT_TRY(time_once(ctx, &kernels[k], all, &discarded));
    int64_t stop = deft_time_ns() + (int64_t)(seconds * 1e9);
    for (*rounds = 0; *rounds < MIN_RUNS || (*rounds < MAX_RUNS && deft_time_ns() < stop); ++*rounds)
        for (int k = 0; k < count; k++) {
            double *sample = &samples[k * MAX_RUNS + *rounds];
            *sample = INFINITY;
            if (kernels[k].def) DEFT_TRY(take_turn(ctx, &kernels[k], all, sample));
        }
    return DEFT_OK;
}

/* The median of the rounds at the pace of the median round. `scratch`: count + max(count, rounds) doubles. */
static void compare(double *samples, int count, int rounds, double *scratch, double *ns) {
    double paces[MAX_RUNS];
    deft_timing_paces(samples, count, rounds, MAX_RUNS, scratch, paces);
    for (int k = 0; k < count; k++) {
        for (int r = 0; r < rounds; r++)
            samples[k * MAX_RUNS + r] /= paces[r];
        ns[k] = deft_timing_of(samples + k * MAX_RUNS, rounds).p50;
    }
}

deft_status deft_kernel_measure(deft_context *ctx, const deft_request *request, const deft_candidate *candidates,
                                int count, double seconds, double *ns) {
    deft_kernel *kernels = NULL;
    operands *all = NULL;
    double *samples = NULL, *scratch;
    int rounds;
    deft_status status;
    DEFT_TRY_OR_FAIL(deft_allocate_zeroed(ctx, (size_t)count, sizeof *kernels, &kernels));
    DEFT_TRY_OR_FAIL(deft_allocate_zeroed(ctx, 1, sizeof *all, &all));
    size_t sampled = (size_t)count * MAX_RUNS, more = (size_t)count + (count > MAX_RUNS ? (size_t)count : MAX_RUNS);
    DEFT_TRY_OR_FAIL(deft_allocate_zeroed(ctx, sampled + more, sizeof *samples, &samples));
    scratch = samples + sampled;
    DEFT_TRY_OR_FAIL(make_operands(ctx, request, all));
    DEFT_TRY_OR_FAIL(prepare_all(ctx, request, candidates, count, kernels, all));
    DEFT_TRY_OR_FAIL(take_rounds(ctx, kernels, count, seconds, all, samples, &rounds));
    compare(samples, count, rounds, scratch, ns);
fail:
    for (int i = 0; kernels && i < count; i++)
        deft_kernel_done(ctx, &kernels[i]);
    if (all) release_operands(ctx, all);
    deft_release(ctx, samples);
    deft_release(ctx, all);
    deft_release(ctx, kernels);
    return status;
}

/* ---- screening ----------------------------------------------------------------------------------------------- */

enum { SCREENING_TURNS = 3 };

typedef struct screened {
    deft_candidate candidate;
    double ns;
} screened;

static int by_time(const void *left, const void *right) {
    const screened *a = left, *b = right;
    return (a->ns > b->ns) - (a->ns < b->ns);
}

/* Infinite where this machine refuses the kernel. */
static deft_status screen_one(deft_context *ctx, const deft_request *request, operands *all, screened *one) {
    deft_kernel kernel;
    one->ns = INFINITY;
    deft_status status = prepare_all(ctx, request, &one->candidate, 1, &kernel, all);
    for (int turn = 0; turn < SCREENING_TURNS && status == DEFT_OK && kernel.def; turn++) {
        double ns;
        status = take_turn(ctx, &kernel, all, &ns);
        if (status == DEFT_OK && ns < one->ns) one->ns = ns;
    }
    deft_kernel_done(ctx, &kernel);
    deft_release(ctx, all->scratch);
    all->scratch = NULL;
    return status;
}

deft_status deft_kernel_screen(deft_context *ctx, const deft_request *request, deft_candidate *candidates,
                               double seconds, int finalists, int *count) {
    screened *list = NULL;
    operands *all = NULL;
    int tried = 0;
    deft_status status;
    DEFT_TRY_OR_FAIL(deft_allocate_zeroed(ctx, (size_t)*count, sizeof *list, &list));
    DEFT_TRY_OR_FAIL(deft_allocate_zeroed(ctx, 1, sizeof *all, &all));
    DEFT_TRY_OR_FAIL(make_operands(ctx, request, all));
    int64_t stop = deft_time_ns() + (int64_t)(seconds * 1e9);
    for (; tried < *count && (tried < finalists || deft_time_ns() < stop); tried++) {
        list[tried].candidate = candidates[tried];
        DEFT_TRY_OR_FAIL(screen_one(ctx, request, all, &list[tried]));
    }
    qsort(list, (size_t)tried, sizeof *list, by_time);
    *count = tried < finalists ? tried : finalists;
    for (int i = 0; i < *count; i++)
        candidates[i] = list[i].candidate;
fail:
    if (all) release_operands(ctx, all);
    deft_release(ctx, all);
    deft_release(ctx, list);
    return status;
}

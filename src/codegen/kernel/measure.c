/* Timing kernels against each other on one request, in rounds of a turn each. A turn is several runs: what is used
 * again and again, as in a small network, is deeper in the caches than after one run. Clocks change from turn to turn,
 * so that the least of all turns would be the one of who came when they were high: each round is brought to the same
 * pace. Some kernels stay fast for a dozen runs after another has left the caches as they like them, and are slow from
 * then on: every turn begins with other memory in the caches, every round goes in another order, and the upper
 * quartile of the rounds counts. */
#include "base/core/rng.h"
#include "base/core/timing.h"
#include "codegen/kernel/kernel.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MIN_ROUNDS = 5, MAX_ROUNDS = 256, MAX_ARITY = 65 };
enum { ELSEWHERE_BYTES = 1 << 20 };
enum { WARM_RUNS = 2, LEAST_RUNS = 3, MOST_RUNS = 256 }; /* of a turn */
static const double turn_ns = 3e5;

/* The operands of the request with memory of their own where it gives none. */
typedef struct operands {
    deft_tensor in[MAX_ARITY], out[MAX_ARITY];
    const deft_tensor *in_pointers[MAX_ARITY];
    deft_tensor *out_pointers[MAX_ARITY];
    bool owned[MAX_ARITY];
    void *scratch;
    char *elsewhere; /* ELSEWHERE_BYTES: what other layers would put into the caches */
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
    DEFT_TRY(deft_allocate(ctx, ELSEWHERE_BYTES, &all->elsewhere));
    for (int i = 0; i <= call->in_count; i++) {
        const deft_tensor *given = i < call->in_count ? call->in[i] : request->residual;
        if (!given) continue;
        all->in[i] = *given;
        all->in_pointers[i] = &all->in[i];
        if (given->data) continue;
        deft_layout layout = i < call->in_count ? request->in_layout : request->out_layout;
        if (layout == DEFT_LAYOUT_BLOCKS && given->rank != 4) layout = DEFT_LAYOUT_ROWS; /* a parameter */
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
    deft_release(ctx, all->elsewhere);
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
    int64_t passed = deft_time_ns() - start;
    *ns = passed > 0 ? (double)passed : 1; /* less than a coarse clock tells */
    return DEFT_OK;
}

/* Runs one kernel until the turn is over, after runs that do not count; the median. */
static deft_status take_turn(deft_context *ctx, const deft_kernel *kernel, const operands *all, double *median) {
    double samples[MOST_RUNS], spent = 0;
    int runs = 0;
    memset(all->elsewhere, 0, ELSEWHERE_BYTES);
    for (int i = 0; i < WARM_RUNS; i++)
        DEFT_TRY(time_once(ctx, kernel, all, &samples[0]));
    while (runs < LEAST_RUNS || (runs < MOST_RUNS && spent < turn_ns)) {
        DEFT_TRY(time_once(ctx, kernel, all, &samples[runs]));
        spent += samples[runs++];
    }
    *median = deft_timing_of(samples, runs).p50;
    return DEFT_OK;
}

/* The times of the rounds. */
typedef struct rounds {
    double *samples; /* [kernels][MAX_ROUNDS]; infinite where there is no such kernel */
    double *scratch; /* of deft_timing_paces() */
    int64_t *order;  /* of the kernels */
    int count;
} rounds;

static deft_status allocate_rounds(deft_context *ctx, int kernels, rounds *taken) {
    size_t places = (size_t)kernels, more = places + (kernels > MAX_ROUNDS ? places : MAX_ROUNDS);
    DEFT_TRY(deft_allocate_zeroed(ctx, places * MAX_ROUNDS, sizeof *taken->samples, &taken->samples));
    DEFT_TRY(deft_allocate_zeroed(ctx, more, sizeof *taken->scratch, &taken->scratch));
    return deft_allocate_zeroed(ctx, places, sizeof *taken->order, &taken->order);
}

static void release_rounds(deft_context *ctx, rounds *taken) {
    deft_release(ctx, taken->samples);
    deft_release(ctx, taken->scratch);
    deft_release(ctx, taken->order);
}

/* A first run of each takes what happens only once. */
static deft_status take_rounds(deft_context *ctx, const deft_kernel *kernels, int count, double seconds,
                               const operands *all, rounds *taken) {
    double discarded;
    deft_rng rng;
    deft_rng_init(&rng, ctx->seed, 0);
    for (int k = 0; k < count; k++) {
        taken->order[k] = k;
        if (kernels[k].def) DEFT_TRY(time_once(ctx, &kernels[k], all, &discarded));
    }
    int64_t stop = deft_time_ns() + (int64_t)(seconds * 1e9);
    for (; taken->count < MIN_ROUNDS || (taken->count < MAX_ROUNDS && deft_time_ns() < stop); taken->count++) {
        deft_rng_shuffle(&rng, taken->order, count);
        for (int i = 0; i < count; i++) {
            int64_t k = taken->order[i];
            double *sample = &taken->samples[k * MAX_ROUNDS + taken->count];
            *sample = INFINITY;
            if (kernels[k].def) DEFT_TRY(take_turn(ctx, &kernels[k], all, sample));
        }
    }
    return DEFT_OK;
}

static void compare(rounds *taken, int count, double *ns) {
    double paces[MAX_ROUNDS];
    deft_timing_paces(taken->samples, count, taken->count, MAX_ROUNDS, taken->scratch, paces);
    for (int k = 0; k < count; k++) {
        double *samples = taken->samples + k * MAX_ROUNDS;
        for (int r = 0; r < taken->count; r++)
            samples[r] /= paces[r];
        ns[k] = deft_timing_of(samples, taken->count).p75;
    }
}

deft_status deft_kernel_measure(deft_context *ctx, const deft_request *request, const deft_candidate *candidates,
                                int count, double seconds, double *ns) {
    deft_kernel *kernels = NULL;
    operands *all = NULL;
    rounds taken = {0};
    deft_status status;
    DEFT_TRY_OR_FAIL(deft_allocate_zeroed(ctx, (size_t)count, sizeof *kernels, &kernels));
    DEFT_TRY_OR_FAIL(deft_allocate_zeroed(ctx, 1, sizeof *all, &all));
    DEFT_TRY_OR_FAIL(allocate_rounds(ctx, count, &taken));
    DEFT_TRY_OR_FAIL(make_operands(ctx, request, all));
    DEFT_TRY_OR_FAIL(prepare_all(ctx, request, candidates, count, kernels, all));
    DEFT_TRY_OR_FAIL(take_rounds(ctx, kernels, count, seconds, all, &taken));
    compare(&taken, count, ns);
fail:
    for (int i = 0; kernels && i < count; i++)
        deft_kernel_done(ctx, &kernels[i]);
    if (all) release_operands(ctx, all);
    release_rounds(ctx, &taken);
    deft_release(ctx, all);
    deft_release(ctx, kernels);
    return status;
}

/* ---- screening ----------------------------------------------------------------------------------------------- */

enum { SCREENING_TURNS = 2 };

typedef struct screened {
    deft_candidate candidate;
    double paced; /* its time, relative to the pacemaker's */
} screened;

static int by_time(const void *left, const void *right) {
    const screened *a = left, *b = right;
    return (a->paced > b->paced) - (a->paced < b->paced);
}

static deft_status pace_one(deft_context *ctx, const deft_kernel *pacemaker, const operands *paced,
                            const deft_kernel *kernel, const operands *all, double *median) {
    double ratios[SCREENING_TURNS];
    for (int turn = 0; turn < SCREENING_TURNS; turn++) {
        double pace = 1, ns;
        if (pacemaker->def) DEFT_TRY(take_turn(ctx, pacemaker, paced, &pace));
        DEFT_TRY(take_turn(ctx, kernel, all, &ns));
        ratios[turn] = ns / pace;
    }
    *median = deft_timing_of(ratios, SCREENING_TURNS).p50;
    return DEFT_OK;
}

/* `all` with the scratch memory of the pacemaker. Infinite where this machine refuses the kernel. */
static deft_status screen_one(deft_context *ctx, const deft_request *request, const deft_kernel *pacemaker,
                              const operands *all, screened *one) {
    deft_kernel kernel;
    operands own = *all;
    own.scratch = NULL;
    one->paced = INFINITY;
    deft_status status = prepare_all(ctx, request, &one->candidate, 1, &kernel, &own);
    if (status == DEFT_OK && kernel.def) status = pace_one(ctx, pacemaker, all, &kernel, &own, &one->paced);
    deft_kernel_done(ctx, &kernel);
    deft_release(ctx, own.scratch);
    return status;
}

/* The clock changes between one candidate and the next: each takes turns with the first. */
deft_status deft_kernel_screen(deft_context *ctx, const deft_request *request, deft_candidate *candidates,
                               double seconds, int finalists, int *count) {
    screened *list = NULL;
    operands *all = NULL;
    deft_kernel pacemaker = {0};
    int tried = 0;
    deft_status status;
    DEFT_TRY_OR_FAIL(deft_allocate_zeroed(ctx, (size_t)*count, sizeof *list, &list));
    DEFT_TRY_OR_FAIL(deft_allocate_zeroed(ctx, 1, sizeof *all, &all));
    DEFT_TRY_OR_FAIL(make_operands(ctx, request, all));
    int64_t stop = deft_time_ns() + (int64_t)(seconds * 1e9);
    DEFT_TRY_OR_FAIL(prepare_all(ctx, request, candidates, 1, &pacemaker, all));
    for (; tried < *count && (tried < finalists || deft_time_ns() < stop); tried++) {
        list[tried].candidate = candidates[tried];
        DEFT_TRY_OR_FAIL(screen_one(ctx, request, &pacemaker, all, &list[tried]));
    }
    qsort(list, (size_t)tried, sizeof *list, by_time);
    *count = tried < finalists ? tried : finalists;
    for (int i = 0; i < *count; i++)
        candidates[i] = list[i].candidate;
fail:
    deft_kernel_done(ctx, &pacemaker);
    if (all) release_operands(ctx, all);
    deft_release(ctx, all);
    deft_release(ctx, list);
    return status;
}

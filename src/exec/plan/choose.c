/* The choosers that need no tuner, and how a choice is told. */
#include "exec/plan/plan.h"

#include "codegen/kernel/linear.h"

#include <math.h>
#include <stdio.h>

/* The fastest other than `best`; of the other kind only, where that is asked. */
static int find_other(const deft_candidate *all, const double *ns, int count, int best, bool other_kind) {
    int other = -1;
    for (int i = 0; i < count; i++) {
        bool same_kind = deft_kernels[all[i].kernel].sparse == deft_kernels[all[best].kernel].sparse;
        if (all[i].kernel == all[best].kernel || !isfinite(ns[i]) || (other_kind && same_kind)) continue;
        if (other < 0 || ns[i] < ns[other]) other = i;
    }
    return other;
}

/* Times still vary by some percent: a layer is sparse, or leaves the library for vectors of ours, where that is clearly
 * faster, so that none is slower than dense; and its weights are packed where that is worth a copy of them. */
static double handicap(const deft_candidate *candidate) {
    switch (candidate->kernel) {
    case DEFT_KERNEL_VECTOR_LINEAR:
        return 1.1;
    case DEFT_KERNEL_DENSE_PACKED:
        return 1.02;
    default:
        return deft_kernels[candidate->kernel].sparse ? 1.03 : 1;
    }
}

deft_verdict deft_verdict_of(const deft_candidate *all, const double *ns, int count) {
    deft_verdict verdict = {.best = DEFT_KERNEL_REFERENCE, .other = DEFT_KERNEL_COUNT};
    int best = -1;
    for (int i = 0; i < count; i++)
        if (isfinite(ns[i]) && (best < 0 || ns[i] * handicap(&all[i]) < ns[best] * handicap(&all[best]))) best = i;
    if (best < 0) return verdict;
    verdict.best = all[best].kernel;
    verdict.schedule = all[best].schedule;
    verdict.best_us = ns[best] / 1000;
    int other = find_other(all, ns, count, best, true);
    if (other < 0) other = find_other(all, ns, count, best, false);
    if (other < 0) return verdict;
    verdict.other = all[other].kernel;
    verdict.other_us = ns[other] / 1000;
    return verdict;
}

void deft_verdict_tell(const deft_verdict *verdict, const char *how, deft_choice *choice) {
    choice->kernel = verdict->best;
    choice->schedule = verdict->schedule;
    choice->us = verdict->best_us;
    if (verdict->other == DEFT_KERNEL_COUNT)
        snprintf(choice->why, sizeof choice->why, "the only kernel for it");
    else
        snprintf(choice->why, sizeof choice->why, "%s%.1f us; %s %.1f us", how, verdict->best_us,
                 deft_kernels[verdict->other].name, verdict->other_us);
}

/* Estimates err by a fifth, and generating code takes longer than all else: it is for zeros, or where it is clearly
 * faster without. */
static const double few_zeros_handicap = 1.25;

static bool has_few_zeros(const deft_request *request) {
    static const double share = 0.8;
    int weight = deft_linear_weight(&request->call);
    return weight >= 0 && (double)request->nonzeros > share * (double)deft_tensor_count(request->call.in[weight]);
}

static deft_verdict estimated(const deft_request *request) {
    deft_candidate all[DEFT_CANDIDATES];
    double ns[DEFT_CANDIDATES];
    bool few = has_few_zeros(request);
    int count = deft_kernel_candidates(request, false, all);
    for (int i = 0; i < count; i++) {
        ns[i] = all[i].estimate_ns;
        if (few && deft_kernels[all[i].kernel].sparse) ns[i] *= few_zeros_handicap;
    }
    return deft_verdict_of(all, ns, count);
}

static bool is_accepted(const deft_request *request, deft_kernel_id kernel) {
    const char *why;
    return kernel == DEFT_KERNEL_COUNT || deft_kernels[kernel].accepts(request, &why);
}

/* Libraries take longer to say what they can do than all else here: only those that are told of are asked. */
deft_status deft_choose_by_estimate(void *user, deft_context *ctx, const deft_request *request, deft_choice *choice) {
    (void)user;
    (void)ctx;
    deft_request presumed = *request;
    presumed.presumed = true;
    deft_verdict verdict = estimated(&presumed);
    if (!is_accepted(request, verdict.best) || !is_accepted(request, verdict.other)) verdict = estimated(request);
    deft_verdict_tell(&verdict, "estimated ", choice);
    return DEFT_OK;
}

deft_status deft_choose_reference(void *user, deft_context *ctx, const deft_request *request, deft_choice *choice) {
    (void)user;
    (void)ctx;
    (void)request;
    *choice = (deft_choice){.kernel = DEFT_KERNEL_REFERENCE, .why = "no other was asked for"};
    return DEFT_OK;
}

deft_status deft_choose_dense(void *user, deft_context *ctx, const deft_request *request, deft_choice *choice) {
    (void)user;
    static const double seconds = 0.01;
    deft_candidate all[DEFT_CANDIDATES];
    double ns[DEFT_CANDIDATES] = {0};
    int count = deft_kernel_scheduled_candidates(request, true, DEFT_SCHEDULES, all);
    if (count > 1) DEFT_TRY(deft_kernel_measure(ctx, request, all, count, seconds, ns));
    deft_verdict verdict = deft_verdict_of(all, ns, count);
    deft_verdict_tell(&verdict, "", choice);
    return DEFT_OK;
}

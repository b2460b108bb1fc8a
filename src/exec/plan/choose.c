/* The choosers that need no tuner. */
#include "exec/plan/plan.h"

#include <stdio.h>

static void choose_only(deft_kernel_id id, deft_choice *choice) {
    choice->kernel = id;
    snprintf(choice->why, sizeof choice->why, "the only kernel for it");
}

/* The winner's time and that of the best of the others, of which `other` says what they are. */
static void explain(deft_choice *choice, const char *how, double best_ns, deft_kernel_id other, double other_ns) {
    snprintf(choice->why, sizeof choice->why, "%s %.1f us; %s %.1f us", how, best_ns / 1000, deft_kernels[other].name,
             other_ns / 1000);
}

/* Takes the least of `ns`, and names the runner-up. */
static void choose_least(const deft_kernel_id *ids, const double *ns, int count, const char *how, deft_choice *choice) {
    int best = 0, second = -1;
    for (int i = 1; i < count; i++)
        if (ns[i] < ns[best]) best = i;
    for (int i = 0; i < count; i++)
        if (i != best && (second < 0 || ns[i] < ns[second])) second = i;
    choice->kernel = ids[best];
    explain(choice, how, ns[best], ids[second], ns[second]);
}

deft_status deft_choose_by_estimate(void *user, deft_context *ctx, const deft_request *request, deft_choice *choice) {
    (void)user;
    (void)ctx;
    deft_kernel_id ids[DEFT_KERNEL_COUNT];
    double ns[DEFT_KERNEL_COUNT];
    int count = deft_kernel_candidates(request, false, ids);
    if (count < 2) {
        choose_only(count ? ids[0] : DEFT_KERNEL_REFERENCE, choice);
        return DEFT_OK;
    }
    for (int i = 0; i < count; i++)
        ns[i] = deft_kernels[ids[i]].estimate_ns(request);
    choose_least(ids, ns, count, "estimated", choice);
    return DEFT_OK;
}

deft_status deft_choose_dense(void *user, deft_context *ctx, const deft_request *request, deft_choice *choice) {
    (void)user;
    static const double seconds = 0.01;
    deft_kernel_id ids[DEFT_KERNEL_COUNT];
    double ns[DEFT_KERNEL_COUNT];
    int count = deft_kernel_candidates(request, true, ids);
    if (count < 2) {
        choose_only(count ? ids[0] : DEFT_KERNEL_REFERENCE, choice);
        return DEFT_OK;
    }
    DEFT_TRY(deft_kernel_measure(ctx, request, ids, count, seconds, ns));
    choose_least(ids, ns, count, "measured", choice);
    return DEFT_OK;
}

#include "decide/tune/choose.h"

#include "decide/tune/cache.h"

#include <math.h>
#include <stdio.h>

static const double seconds_per_request = 0.05;

struct deft_tuner {
    deft_context *ctx;
    deft_cache cache;
    bool measure;
};

deft_status deft_tuner_new(deft_context *ctx, bool measure, deft_tuner **tuner) {
    deft_tuner *made;
    DEFT_TRY(deft_allocate_zeroed(ctx, 1, sizeof *made, &made));
    made->ctx = ctx;
    made->measure = measure;
    deft_status status = deft_cache_open(ctx, &made->cache);
    if (status != DEFT_OK) {
        deft_release(ctx, made);
        return status;
    }
    *tuner = made;
    return DEFT_OK;
}

void deft_tuner_free(deft_tuner *tuner) {
    if (!tuner) return;
    deft_cache_save(&tuner->cache);
    deft_cache_done(&tuner->cache);
    deft_release(tuner->ctx, tuner);
}

/* ---- measuring ----------------------------------------------------------------------------------------------- */

/* The fastest other than `best`, of the other kind (sparse or dense) where there is one. */
static int find_other(const deft_kernel_id *ids, const double *ns, int count, int best) {
    int other = -1;
    for (int pass = 0; pass < 2 && other < 0; pass++)
        for (int i = 0; i < count; i++) {
            bool other_kind = deft_kernels[ids[i]].sparse != deft_kernels[ids[best]].sparse;
            if (i == best || !isfinite(ns[i]) || (pass == 0 && !other_kind)) continue;
            if (other < 0 || ns[i] < ns[other]) other = i;
        }
    return other;
}

static deft_status measure(deft_tuner *tuner, const deft_request *request, deft_cache_entry *entry) {
    deft_kernel_id ids[DEFT_KERNEL_COUNT];
    double ns[DEFT_KERNEL_COUNT];
    int best = 0, count = deft_kernel_candidates(request, false, ids);
    DEFT_TRY(deft_kernel_measure(tuner->ctx, request, ids, count, seconds_per_request, ns));
    for (int i = 1; i < count; i++)
        if (ns[i] < ns[best]) best = i;
    int other = find_other(ids, ns, count, best);
    entry->best = isfinite(ns[best]) ? ids[best] : DEFT_KERNEL_REFERENCE;
    entry->best_us = ns[best] / 1000;
    entry->other = other < 0 ? DEFT_KERNEL_COUNT : ids[other];
    entry->other_us = other < 0 ? 0 : ns[other] / 1000;
    entry->fresh = true;
    return deft_cache_put(&tuner->cache, entry);
}

/* ---- choosing ------------------------------------------------------------------------------------------------ */

static void tell(const deft_cache_entry *entry, deft_choice *choice) {
    choice->kernel = entry->best;
    int length = snprintf(choice->why, sizeof choice->why, "%.1f us", entry->best_us);
    if (entry->other == DEFT_KERNEL_COUNT) return;
    snprintf(choice->why + length, sizeof choice->why - (size_t)length, "; %s %.1f us", deft_kernels[entry->other].name,
             entry->other_us);
}

/* A file may have been written by anyone: what it says must still be possible. */
static bool is_usable(const deft_cache_entry *entry, const deft_request *request) {
    const char *why;
    return entry && deft_kernels[entry->best].accepts(request, &why);
}

static bool has_alternatives(const deft_request *request) {
    deft_kernel_id ids[DEFT_KERNEL_COUNT];
    return deft_kernel_candidates(request, false, ids) > 1;
}

deft_status deft_tuner_choose(void *user, deft_context *ctx, const deft_request *request, deft_choice *choice) {
    deft_tuner *tuner = user;
    if (!has_alternatives(request)) return deft_choose_by_estimate(NULL, ctx, request, choice);
    uint64_t key = deft_cache_key(request);
    const deft_cache_entry *known = deft_cache_find(&tuner->cache, key);
    if (is_usable(known, request) && (known->fresh || !tuner->measure)) {
        tell(known, choice);
        return DEFT_OK;
    }
    if (!tuner->measure) return deft_choose_by_estimate(NULL, ctx, request, choice);
    deft_cache_entry entry = {.key = key};
    DEFT_TRY(measure(tuner, request, &entry));
    tell(&entry, choice);
    return DEFT_OK;
}

#include "decide/tune/choose.h"

#include "decide/tune/cache.h"

#include <string.h>

static const double seconds_per_request = 0.05, seconds_per_schedule = 0.02, screening_seconds = 0.4;
enum { FINALISTS = 6 };

struct deft_tuner {
    deft_context *ctx;
    deft_cache cache;
    deft_tuning tuning;
};

deft_status deft_tuner_new(deft_context *ctx, deft_tuning tuning, deft_tuner **tuner) {
    deft_tuner *made;
    DEFT_TRY(deft_allocate_zeroed(ctx, 1, sizeof *made, &made));
    made->ctx = ctx;
    made->tuning = tuning;
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

/* Puts the candidates of the kernel that has many schedules last; returns how many others there are. */
static int split_off_generated(deft_candidate *candidates, int count) {
    deft_candidate generated[DEFT_CANDIDATES];
    int others = 0, found = 0;
    for (int i = 0; i < count; i++)
        if (candidates[i].kernel == DEFT_KERNEL_SPARSE_X86)
            generated[found++] = candidates[i];
        else
            candidates[others++] = candidates[i];
    memcpy(candidates + others, generated, (size_t)found * sizeof *generated);
    return others;
}

static deft_status measure(deft_tuner *tuner, const deft_request *request, deft_cache_entry *entry) {
    deft_candidate candidates[DEFT_CANDIDATES];
    double ns[DEFT_CANDIDATES];
    bool full = tuner->tuning == DEFT_TUNE_FULL;
    int kernels = deft_kernel_candidates(request, false, candidates);
    int count =
        deft_kernel_scheduled_candidates(request, false, full ? DEFT_ALL_SCHEDULES : DEFT_SCHEDULES, candidates);
    int others = split_off_generated(candidates, count), generated = count - others;
    if (generated > FINALISTS)
        DEFT_TRY(deft_kernel_screen(tuner->ctx, request, candidates + others, full ? 1e9 : screening_seconds, FINALISTS,
                                    &generated));
    count = others + generated;
    double seconds = seconds_per_request + (count - kernels) * seconds_per_schedule;
    DEFT_TRY(deft_kernel_measure(tuner->ctx, request, candidates, count, seconds, ns));
    entry->verdict = deft_verdict_of(candidates, ns, count);
    entry->fresh = true;
    return deft_cache_put(&tuner->cache, entry);
}

/* ---- choosing ------------------------------------------------------------------------------------------------ */

/* A file may have been written by anyone: what it says must still be possible. */
static bool is_usable(const deft_cache_entry *entry, const deft_request *request) {
    const char *why;
    if (!entry) return false;
    deft_request scheduled = *request;
    scheduled.schedule = entry->verdict.schedule;
    return deft_kernels[entry->verdict.best].accepts(&scheduled, &why);
}

/* Where there is a choice; or layouts are compared, for which the time of the one kernel matters too. */
static bool is_worth_timing(const deft_request *request) {
    deft_candidate candidates[DEFT_CANDIDATES];
    int count = deft_kernel_scheduled_candidates(request, false, 2, candidates);
    bool rows = request->in_layout == DEFT_LAYOUT_ROWS && request->out_layout == DEFT_LAYOUT_ROWS;
    return count > 1 || (count == 1 && !rows);
}

deft_status deft_tuner_choose(void *user, deft_context *ctx, const deft_request *request, deft_choice *choice) {
    deft_tuner *tuner = user;
    bool timed = tuner->tuning != DEFT_TUNE_NEVER;
    if (timed ? !is_worth_timing(request) : tuner->cache.count == 0)
        return deft_choose_by_estimate(NULL, ctx, request, choice);
    uint64_t key = deft_cache_key(request);
    const deft_cache_entry *known = deft_cache_find(&tuner->cache, key);
    if (is_usable(known, request) && (known->fresh || !timed)) {
        deft_verdict_tell(&known->verdict, "", choice);
        return DEFT_OK;
    }
    if (!timed) return deft_choose_by_estimate(NULL, ctx, request, choice);
    deft_cache_entry entry = {.key = key};
    DEFT_TRY(measure(tuner, request, &entry));
    deft_verdict_tell(&entry.verdict, "", choice);
    return DEFT_OK;
}

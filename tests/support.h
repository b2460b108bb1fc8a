/* What tests share: cmocka, and contexts whose allocator counts and fails on demand. */
#ifndef DEFT_TESTS_SUPPORT_H
#define DEFT_TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/core/context.h"

/* Fails the allocation numbered `fail_at` (from 0) and every later one; -1: never. */
typedef struct failing_allocator {
    long made, fail_at;
    long live; /* blocks */
} failing_allocator;

static inline void *failing_allocate(void *user, size_t bytes) {
    failing_allocator *state = user;
    if (state->fail_at >= 0 && state->made >= state->fail_at) return NULL;
    void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (memory) state->made++, state->live++;
    return memory;
}

static inline void failing_release(void *user, void *memory, size_t bytes) {
    (void)bytes;
    ((failing_allocator *)user)->live--;
    free(memory);
}

/* Without a cache folder, so that a test depends on nothing outside it. */
static inline deft_context *test_context(void) {
    deft_context *ctx = NULL;
    assert_int_equal(deft_context_new(&(deft_context_options){.cache_directory = ""}, &ctx), DEFT_OK);
    return ctx;
}

/* Frees the context and checks that nothing made with it is still allocated. */
static inline void test_context_free(deft_context *ctx) {
    assert_int_equal(atomic_load(&ctx->live_bytes), 0);
    deft_context_free(ctx);
}

/* Runs `work` with allocation n and all later ones failing: that must be DEFT_MEMORY with a message, or of no
 * consequence, and leak nothing. The context itself is made before the counting starts. */
static inline deft_status check_allocation_failure(deft_status (*work)(deft_context *ctx, void *user), void *user,
                                                   long n) {
    failing_allocator state = {.fail_at = -1};
    deft_context *ctx = NULL;
    deft_context_options options = {.cache_directory = "", .allocator = {failing_allocate, failing_release, &state}};
    assert_int_equal(deft_context_new(&options, &ctx), DEFT_OK);
    long before = state.live;
    state.made = 0;
    state.fail_at = n;
    deft_status status = work(ctx, user);
    assert_int_equal(state.live, before);
    assert_true(status == DEFT_OK || status == DEFT_MEMORY);
    if (status == DEFT_MEMORY) assert_true(deft_context_message(ctx)[0] != 0);
    deft_context_free(ctx);
    assert_int_equal(state.live, 0);
    return status;
}

/* Runs `work` with the nth allocation failing, for n from 0 until it succeeds. */
static inline void check_every_allocation_failure(deft_status (*work)(deft_context *ctx, void *user), void *user) {
    for (long n = 0; check_allocation_failure(work, user, n) != DEFT_OK;)
        n++;
}

/* The same for work that takes too long to fail at each: every one at first, then `dense` in each doubling of n. */
static inline void check_allocation_failures(deft_status (*work)(deft_context *ctx, void *user), void *user,
                                             long dense) {
    for (long n = 0; check_allocation_failure(work, user, n) != DEFT_OK;)
        n += 1 + n / dense;
}

#endif

/* The context: allocator, error message, log, progress, thread count, instruction set, seed. */
#ifndef DEFT_BASE_CORE_CONTEXT_H
#define DEFT_BASE_CORE_CONTEXT_H

#include <deft/deft.h>
#include <stdatomic.h>

struct deft_context {
    deft_allocator allocator;
    long long max_bytes;           /* that may be live at a time */
    atomic_llong live_bytes;       /* allocated and not yet released */
    atomic_llong allocation_count; /* ever made: what "a run allocates nothing" is asserted on */
    int threads;
    deft_isa isa; /* never DEFT_ISA_BEST */
    uint64_t seed;
    void (*log)(void *user, deft_log_level level, const char *message);
    bool (*progress)(void *user, const char *what, double done);
    void *user;
    char *cache_directory; /* NULL: no cache */
    char message[1024];
};

/* Sets the context's message (one line: what, where, expected, got, what to do) and returns `status`. */
deft_status deft_fail(deft_context *ctx, deft_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Puts "format: " before the message that is there: for adding the file or node that an error came from. */
deft_status deft_fail_in(deft_context *ctx, deft_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Returns from the calling function where `expression` fails. */
#define DEFT_TRY(expression)                                                                                           \
    do {                                                                                                               \
        deft_status deft_try_ = (expression);                                                                          \
        if (deft_try_ != DEFT_OK) return deft_try_;                                                                    \
    } while (0)

/* Jumps to `fail` with the local `status` set: for functions that clean up. */
#define DEFT_TRY_OR_FAIL(expression)                                                                                   \
    do {                                                                                                               \
        if ((status = (expression)) != DEFT_OK) goto fail;                                                             \
    } while (0)

/* 64-byte aligned, uninitialised; zero bytes gives a valid pointer. Error: DEFT_MEMORY with a message, where memory is
 * out or the context's budget is. */
DEFT_MUST_CHECK deft_status deft_allocate(deft_context *ctx, size_t bytes, void *out_pointer);
/* The same, zeroed, of `count` elements; an overflowing product is DEFT_MEMORY. */
DEFT_MUST_CHECK deft_status deft_allocate_zeroed(deft_context *ctx, size_t count, size_t size, void *out_pointer);
/* Grows a block: the first min(old_bytes, new_bytes) bytes are kept. `*in_out_pointer` may be NULL. */
DEFT_MUST_CHECK deft_status deft_reallocate(deft_context *ctx, size_t new_bytes, void *in_out_pointer);
/* Accepts NULL. */
void deft_release(deft_context *ctx, void *memory);
/* The memory has one more owner: it goes when each has released it. It must not be reallocated. */
void deft_retain(void *memory);
bool deft_is_shared(void *memory);
DEFT_MUST_CHECK deft_status deft_duplicate_string(deft_context *ctx, const char *text, char **out);

void deft_log(deft_context *ctx, deft_log_level level, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* DEFT_CANCELLED when the callback asks to stop. `done`: share, 0 to 1. */
DEFT_MUST_CHECK deft_status deft_progress(deft_context *ctx, const char *what, double done);

#endif

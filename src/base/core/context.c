#include "base/core/context.h"

#include "base/core/cpu.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Before every block: its size, for release. One cache line, so that blocks stay 64-byte aligned. */
enum { HEADER_BYTES = 64 };

const char *deft_version(void) {
    return DEFT_VERSION;
}

const char *deft_status_name(deft_status status) {
    static const char *const names[] = {"ok",     "no",     "invalid",   "unsupported", "io",
                                        "memory", "device", "cancelled", "bug"};
    return (unsigned)status < sizeof names / sizeof *names ? names[status] : "unknown";
}

static void *allocate_aligned(void *user, size_t bytes) {
    (void)user;
    return aligned_alloc(64, (bytes + 63) / 64 * 64);
}

static void release_aligned(void *user, void *memory, size_t bytes) {
    (void)user;
    (void)bytes;
    free(memory);
}

static deft_status set_cache_directory(deft_context *ctx, const char *wanted) {
    char path[4096];
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int length = 0;
    if (wanted)
        length = snprintf(path, sizeof path, "%s", wanted);
    else if (xdg && xdg[0] == '/')
        length = snprintf(path, sizeof path, "%s/deft", xdg);
    else if (home && home[0] == '/')
        length = snprintf(path, sizeof path, "%s/.cache/deft", home);
    if (length <= 0 || length >= (int)sizeof path) return DEFT_OK;
    return deft_duplicate_string(ctx, path, &ctx->cache_directory);
}

static long long budget_of(size_t wanted) {
    size_t bytes = wanted ? wanted : deft_machine_memory_bytes() / 4 * 3;
    return bytes > LLONG_MAX ? LLONG_MAX : (long long)bytes;
}

deft_status deft_context_new(const deft_context_options *options, deft_context **context) {
    static const deft_context_options defaults = {0};
    if (!options) options = &defaults;
    deft_allocator allocator = options->allocator;
    if (!allocator.allocate || !allocator.release)
        allocator = (deft_allocator){allocate_aligned, release_aligned, NULL};
    if (options->threads < 0) return DEFT_INVALID;
    if (options->isa != DEFT_ISA_BEST && !deft_cpu_has(options->isa)) return DEFT_DEVICE;

    deft_context *ctx = allocator.allocate(allocator.user, sizeof *ctx);
    if (!ctx) return DEFT_MEMORY;
    memset(ctx, 0, sizeof *ctx);
    ctx->allocator = allocator;
    ctx->threads = options->threads ? options->threads : deft_cpu_count();
    ctx->isa = options->isa != DEFT_ISA_BEST ? options->isa : deft_cpu_best_isa();
    ctx->seed = options->seed;
    ctx->max_bytes = budget_of(options->max_memory_bytes);
    ctx->log = options->log;
    ctx->progress = options->progress;
    ctx->user = options->user;
    deft_status status = set_cache_directory(ctx, options->cache_directory);
    if (status != DEFT_OK) {
        deft_context_free(ctx);
        return status;
    }
    *context = ctx;
    return DEFT_OK;
}

void deft_context_free(deft_context *ctx) {
    if (!ctx) return;
    deft_release(ctx, ctx->cache_directory);
    ctx->allocator.release(ctx->allocator.user, ctx, sizeof *ctx);
}

const char *deft_context_message(const deft_context *ctx) {
    return ctx->message;
}

/* One line: control characters, as a hostile name may hold, become '?'. */
static void make_one_line(char *text) {
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 127) *text = '?';
}

deft_status deft_fail(deft_context *ctx, deft_status status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(ctx->message, sizeof ctx->message, format, arguments);
    va_end(arguments);
    make_one_line(ctx->message);
    return status;
}

deft_status deft_fail_in(deft_context *ctx, deft_status status, const char *format, ...) {
    char rest[sizeof ctx->message];
    memcpy(rest, ctx->message, sizeof rest);
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(ctx->message, sizeof ctx->message, format, arguments);
    va_end(arguments);
    if (length >= 0 && length < (int)sizeof ctx->message)
        snprintf(ctx->message + length, sizeof ctx->message - (size_t)length, ": %s", rest);
    make_one_line(ctx->message);
    return status;
}

/* Before each block, in its first HEADER_BYTES. */
typedef struct header {
    size_t bytes;
    atomic_int owners;
} header;

static header *header_of(void *memory) {
    return (header *)((char *)memory - HEADER_BYTES);
}

static deft_status fail_to_allocate(deft_context *ctx, size_t bytes, long long live) {
    static const double megabyte = 1 << 20;
    if (live <= ctx->max_bytes && (long long)bytes <= ctx->max_bytes - live)
        return deft_fail(ctx, DEFT_MEMORY, "out of memory: %zu bytes were asked for", bytes);
    return deft_fail(ctx, DEFT_MEMORY,
                     "over the memory budget of %.1f MB: %.1f MB more were asked for, with %.1f MB in use; a larger "
                     "--max-memory (max_memory_bytes) allows it",
                     (double)ctx->max_bytes / megabyte, (double)bytes / megabyte, (double)live / megabyte);
}

deft_status deft_allocate(deft_context *ctx, size_t bytes, void *out_pointer) {
    if (bytes > LLONG_MAX / 2) return deft_fail(ctx, DEFT_MEMORY, "out of memory: %zu bytes were asked for", bytes);
    long long live = atomic_fetch_add(&ctx->live_bytes, (long long)bytes);
    char *block = live <= ctx->max_bytes && (long long)bytes <= ctx->max_bytes - live
                      ? ctx->allocator.allocate(ctx->allocator.user, bytes + HEADER_BYTES)
                      : NULL;
    if (!block) {
        atomic_fetch_sub(&ctx->live_bytes, (long long)bytes);
        return fail_to_allocate(ctx, bytes, live);
    }
    void *memory = block + HEADER_BYTES;
    header_of(memory)->bytes = bytes;
    atomic_init(&header_of(memory)->owners, 1);
    atomic_fetch_add(&ctx->allocation_count, 1);
    memcpy(out_pointer, &memory, sizeof memory);
    return DEFT_OK;
}

deft_status deft_allocate_zeroed(deft_context *ctx, size_t count, size_t size, void *out_pointer) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        return deft_fail(ctx, DEFT_MEMORY, "out of memory: %zu elements of %zu bytes were asked for", count, size);
    DEFT_TRY(deft_allocate(ctx, bytes, out_pointer));
    void *memory;
    memcpy(&memory, out_pointer, sizeof memory);
    memset(memory, 0, bytes);
    return DEFT_OK;
}

deft_status deft_reallocate(deft_context *ctx, size_t new_bytes, void *in_out_pointer) {
    void *old, *fresh;
    memcpy(&old, in_out_pointer, sizeof old);
    DEFT_TRY(deft_allocate(ctx, new_bytes, &fresh));
    if (old) {
        size_t old_bytes = header_of(old)->bytes;
        memcpy(fresh, old, old_bytes < new_bytes ? old_bytes : new_bytes);
        deft_release(ctx, old);
    }
    memcpy(in_out_pointer, &fresh, sizeof fresh);
    return DEFT_OK;
}

void deft_release(deft_context *ctx, void *memory) {
    if (!memory || atomic_fetch_sub(&header_of(memory)->owners, 1) > 1) return;
    size_t bytes = header_of(memory)->bytes;
    atomic_fetch_sub(&ctx->live_bytes, (long long)bytes);
    ctx->allocator.release(ctx->allocator.user, (char *)memory - HEADER_BYTES, bytes + HEADER_BYTES);
}

void deft_retain(void *memory) {
    atomic_fetch_add(&header_of(memory)->owners, 1);
}

bool deft_is_shared(void *memory) {
    return atomic_load(&header_of(memory)->owners) > 1;
}

deft_status deft_duplicate_string(deft_context *ctx, const char *text, char **out) {
    size_t bytes = strlen(text) + 1;
    DEFT_TRY(deft_allocate(ctx, bytes, out));
    memcpy(*out, text, bytes);
    return DEFT_OK;
}

void deft_log(deft_context *ctx, deft_log_level level, const char *format, ...) {
    if (!ctx->log) return;
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    make_one_line(text);
    ctx->log(ctx->user, level, text);
}

deft_status deft_progress(deft_context *ctx, const char *what, double done) {
    if (ctx->progress && !ctx->progress(ctx->user, what, done))
        return deft_fail(ctx, DEFT_CANCELLED, "%s: stopped on request", what);
    return DEFT_OK;
}

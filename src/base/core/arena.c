#include "base/core/arena.h"

#include <string.h>

enum { BLOCK_BYTES = 16 * 1024 };

struct deft_arena_block {
    deft_arena_block *previous;
    size_t used, bytes; /* of what follows the header */
    void *guest;        /* memory that came from elsewhere and goes with the block; or NULL */
};
enum { BLOCK_HEADER_BYTES = (sizeof(deft_arena_block) + 63) / 64 * 64 };

void deft_arena_init(deft_arena *arena, deft_context *ctx) {
    arena->ctx = ctx;
    arena->last = NULL;
}

void deft_arena_done(deft_arena *arena) {
    while (arena->last) {
        deft_arena_block *previous = arena->last->previous;
        deft_release(arena->ctx, arena->last->guest);
        deft_release(arena->ctx, arena->last);
        arena->last = previous;
    }
}

static deft_status add_block(deft_arena *arena, size_t bytes) {
    if (bytes > SIZE_MAX - BLOCK_HEADER_BYTES)
        return deft_fail(arena->ctx, DEFT_MEMORY, "out of memory: %zu bytes were asked for", bytes);
    deft_arena_block *block;
    DEFT_TRY(deft_allocate(arena->ctx, BLOCK_HEADER_BYTES + bytes, &block));
    *block = (deft_arena_block){.previous = arena->last, .bytes = bytes};
    arena->last = block;
    return DEFT_OK;
}

deft_status deft_arena_allocate(deft_arena *arena, size_t bytes, void *out_pointer) {
    size_t alignment = bytes >= 64 ? 64 : 16;
    size_t start = 0;
    if (arena->last) start = (arena->last->used + alignment - 1) / alignment * alignment;
    if (!arena->last || start > arena->last->bytes || arena->last->bytes - start < bytes) {
        DEFT_TRY(add_block(arena, bytes > BLOCK_BYTES ? bytes : BLOCK_BYTES));
        start = 0;
    }
    void *memory = (char *)arena->last + BLOCK_HEADER_BYTES + start;
    arena->last->used = start + bytes;
    memset(memory, 0, bytes);
    memcpy(out_pointer, &memory, sizeof memory);
    return DEFT_OK;
}

deft_status deft_arena_array(deft_arena *arena, size_t count, size_t size, void *out_pointer) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        return deft_fail(arena->ctx, DEFT_MEMORY, "out of memory: %zu elements of %zu bytes were asked for", count,
                         size);
    return deft_arena_allocate(arena, bytes, out_pointer);
}

deft_status deft_arena_copy(deft_arena *arena, const void *data, size_t bytes, void *out_pointer) {
    DEFT_TRY(deft_arena_allocate(arena, bytes, out_pointer));
    void *memory;
    memcpy(&memory, out_pointer, sizeof memory);
    if (bytes) memcpy(memory, data, bytes);
    return DEFT_OK;
}

deft_status deft_arena_string(deft_arena *arena, const char *text, char **out) {
    return deft_arena_copy(arena, text, strlen(text) + 1, out);
}

/* A block of its own that has no room, before the one that has. */
deft_status deft_arena_adopt(deft_arena *arena, void *memory) {
    deft_arena_block *block;
    deft_status status = deft_allocate(arena->ctx, sizeof *block, &block);
    if (status != DEFT_OK) {
        deft_release(arena->ctx, memory);
        return status;
    }
    deft_arena_block **place = arena->last ? &arena->last->previous : &arena->last;
    *block = (deft_arena_block){.previous = *place, .guest = memory};
    *place = block;
    return DEFT_OK;
}

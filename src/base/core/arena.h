/* An arena: many allocations of one lifetime, released together. */
#ifndef DEFT_BASE_CORE_ARENA_H
#define DEFT_BASE_CORE_ARENA_H

#include "base/core/context.h"

typedef struct deft_arena_block deft_arena_block;
typedef struct deft_arena {
    deft_context *ctx;
    deft_arena_block *last;
} deft_arena;

void deft_arena_init(deft_arena *arena, deft_context *ctx);
void deft_arena_done(deft_arena *arena);
/* Zeroed, 64-byte aligned where bytes >= 64, else 16. Error: DEFT_MEMORY. */
DEFT_MUST_CHECK deft_status deft_arena_allocate(deft_arena *arena, size_t bytes, void *out_pointer);
/* Zeroed array; an overflowing product is DEFT_MEMORY. */
DEFT_MUST_CHECK deft_status deft_arena_array(deft_arena *arena, size_t count, size_t size, void *out_pointer);
DEFT_MUST_CHECK deft_status deft_arena_string(deft_arena *arena, const char *text, char **out);
DEFT_MUST_CHECK deft_status deft_arena_copy(deft_arena *arena, const void *data, size_t bytes, void *out_pointer);
/* Takes over memory from deft_allocate, also where it fails: it is released with the rest. Error: DEFT_MEMORY. */
DEFT_MUST_CHECK deft_status deft_arena_adopt(deft_arena *arena, void *memory);

#endif

/* Executable memory: writable, then executable, never both. */
#ifndef DEFT_CODEGEN_X86_MEMORY_H
#define DEFT_CODEGEN_X86_MEMORY_H

#include "base/core/context.h"

typedef struct deft_code {
    void *memory; /* page-aligned; NULL: none */
    size_t bytes;
} deft_code;

/* Copies machine code into fresh pages and makes them executable. Error: DEFT_DEVICE where the system refuses
 * executable memory (the caller falls back to C kernels), DEFT_MEMORY. */
DEFT_MUST_CHECK deft_status deft_code_new(deft_context *ctx, const void *machine_code, size_t bytes, deft_code *code);
/* Accepts a zeroed code. */
void deft_code_done(deft_code *code);
/* Whether this process may make executable memory: tried once a call, cheap. */
bool deft_code_allowed(void);

#endif

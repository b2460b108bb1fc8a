/* The file that remembers kernel choices. */
#ifndef DEFT_DECIDE_TUNE_CACHE_H
#define DEFT_DECIDE_TUNE_CACHE_H

#include "exec/plan/plan.h"

/* One measurement. */
typedef struct deft_cache_entry {
    uint64_t key;
    deft_verdict verdict;
    bool fresh; /* measured by this tuner, not read from the file */
} deft_cache_entry;

typedef struct deft_cache {
    deft_context *ctx;
    deft_cache_entry *entries; /* sorted by key */
    int count, capacity;
    char *path; /* NULL: no file */
} deft_cache;

/* What a choice depends on beside the library's version and the CPU, which the file is for: isa, threads, operator,
 * attributes, shapes, which operands are constant, where the zeros of a constant weight are, layouts and activation.
 * 64-bit FNV-1a. */
uint64_t deft_cache_key(const deft_request *request);

/* Reads the file; one that is missing or does not check out is as good as empty. Error: DEFT_MEMORY. */
DEFT_MUST_CHECK deft_status deft_cache_open(deft_context *ctx, deft_cache *cache);
void deft_cache_done(deft_cache *cache);
/* NULL where there is none. */
const deft_cache_entry *deft_cache_find(const deft_cache *cache, uint64_t key);
/* Adds or replaces. Error: DEFT_MEMORY. */
DEFT_MUST_CHECK deft_status deft_cache_put(deft_cache *cache, const deft_cache_entry *entry);
/* Writes the file, with what others have added to it meanwhile, if there is anything fresh; makes the folder. Where it
 * cannot: a warning in the log. */
void deft_cache_save(deft_cache *cache);

#endif

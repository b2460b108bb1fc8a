#include "decide/tune/cache.h"

#include "base/core/cpu.h"
#include "base/core/file.h"
#include "codegen/kernel/linear.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { FORMAT_VERSION = 3, MAX_FILE_BYTES = 16 << 20, MAX_ENTRIES = 100000 };

/* ---- keys ---------------------------------------------------------------------------------------------------- */

static const uint64_t fnv_start = 0xcbf29ce484222325u, fnv_prime = 0x100000001b3u;

static uint64_t hash_bytes(uint64_t hash, const void *data, size_t bytes) {
    const unsigned char *p = data;
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ p[i]) * fnv_prime;
    return hash;
}

static uint64_t hash_int(uint64_t hash, int64_t value) {
    return hash_bytes(hash, &value, sizeof value);
}

static uint64_t hash_text(uint64_t hash, const char *text) {
    return hash_bytes(hash, text, strlen(text) + 1);
}

/* The file's: a choice holds for another version of the library or another CPU no more. */
static uint64_t hash_machine(void) {
    char cpu[64];
    deft_cpu_name(cpu, sizeof cpu);
    return hash_text(hash_text(fnv_start, DEFT_VERSION), cpu);
}

static uint64_t hash_attrs(uint64_t hash, const deft_attrs *attrs) {
    for (int i = 0; i < attrs->count; i++) {
        const deft_attr *attr = &attrs->items[i];
        hash = hash_int(hash_text(hash, attr->name), attr->type);
        hash = hash_int(hash, attr->i);
        hash = hash_bytes(hash, &attr->f, sizeof attr->f);
        if (attr->s) hash = hash_text(hash, attr->s);
        if (attr->ints) hash = hash_bytes(hash, attr->ints, sizeof *attr->ints * (size_t)attr->count);
    }
    return hash;
}

/* Where the nonzeros are, 64 weights a word. */
static uint64_t hash_pattern(uint64_t hash, const float *weight, int64_t count) {
    for (int64_t i = 0; i < count; i += 64) {
        uint64_t word = 0;
        int64_t end = count - i < 64 ? count - i : 64;
        for (int64_t j = 0; j < end; j++)
            word |= (uint64_t)(weight[i + j] != 0) << j;
        hash = hash_int(hash, (int64_t)word);
    }
    return hash;
}

static uint64_t hash_tensor(uint64_t hash, const deft_tensor *tensor) {
    if (!tensor) return hash_int(hash, -1);
    hash = hash_int(hash_int(hash, tensor->dtype), tensor->rank);
    hash = hash_bytes(hash, tensor->dims, sizeof *tensor->dims * (size_t)tensor->rank);
    return hash_int(hash, tensor->data != NULL);
}

uint64_t deft_cache_key(const deft_request *request) {
    const deft_op_call *call = &request->call;
    uint64_t hash = hash_text(fnv_start, deft_ops[call->op].name);
    hash = hash_int(hash_int(hash, request->isa), call->threads);
    hash = hash_int(hash_int(hash, request->in_layout), request->out_layout);
    hash = hash_int(hash_int(hash, request->in_rows), request->residual != NULL);
    hash = hash_bytes(hash, &request->activation, sizeof request->activation);
    if (request->function) {
        hash = hash_bytes(hash, &request->function, sizeof request->function);
        hash = hash_bytes(hash, &request->alpha, sizeof request->alpha);
    }
    hash = hash_attrs(hash, call->attrs);
    for (int i = 0; i < call->in_count; i++)
        hash = hash_tensor(hash, call->in[i]);
    int constant = deft_linear_weight(call);
    const deft_tensor *weight = constant < 0 ? NULL : call->in[constant];
    if (!weight || weight->dtype != DEFT_F32) return hash;
    int64_t count = deft_tensor_count(weight), nonzeros = request->nonzeros;
    if (nonzeros == 0) nonzeros = deft_linear_count_nonzeros(weight->data, count);
    hash = hash_int(hash, nonzeros);
    return nonzeros == count ? hash : hash_pattern(hash, weight->data, count);
}

/* ---- the table ----------------------------------------------------------------------------------------------- */

/* The index of the key, or where it would be. */
static int search(const deft_cache *cache, uint64_t key) {
    int low = 0, high = cache->count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (cache->entries[middle].key < key)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const deft_cache_entry *deft_cache_find(const deft_cache *cache, uint64_t key) {
    int at = search(cache, key);
    return at < cache->count && cache->entries[at].key == key ? &cache->entries[at] : NULL;
}

deft_status deft_cache_put(deft_cache *cache, const deft_cache_entry *entry) {
    int at = search(cache, entry->key);
    if (at < cache->count && cache->entries[at].key == entry->key) {
        cache->entries[at] = *entry;
        return DEFT_OK;
    }
    if (cache->count == cache->capacity) {
        int capacity = cache->capacity ? 2 * cache->capacity : 64;
        DEFT_TRY(deft_reallocate(cache->ctx, (size_t)capacity * sizeof *cache->entries, &cache->entries));
        cache->capacity = capacity;
    }
    memmove(cache->entries + at + 1, cache->entries + at, (size_t)(cache->count - at) * sizeof *cache->entries);
    cache->entries[at] = *entry;
    cache->count++;
    return DEFT_OK;
}

/* ---- the file ------------------------------------------------------------------------------------------------ */

/* {"version": 3, "choices": {"<key in hex>": {"kernel", "schedule", "us", "other", "other_us"}}}; kernels by their
 * names in kernels.def, which are unique; without "other" where there was none. */
static const char *const kernel_names[DEFT_KERNEL_COUNT] = {
#define DEFT_KERNEL(ENUM, ...) [DEFT_KERNEL_##ENUM] = #ENUM,
#include "codegen/kernel/kernels.def"
#undef DEFT_KERNEL
};

static deft_kernel_id find_kernel(const char *name) {
    for (int id = 0; id < DEFT_KERNEL_COUNT; id++)
        if (strcmp(kernel_names[id], name) == 0) return (deft_kernel_id)id;
    return DEFT_KERNEL_COUNT;
}

static bool parse_entry(const char *key, json_t *value, deft_cache_entry *entry) {
    const char *best, *other = "";
    json_int_t schedule = 0;
    char *end;
    if (strlen(key) != 16 || strspn(key, "0123456789abcdef") != 16) return false;
    entry->key = strtoull(key, &end, 16);
    if (json_unpack(value, "{s:s, s?I, s:F, s?s, s?F}", "kernel", &best, "schedule", &schedule, "us",
                    &entry->verdict.best_us, "other", &other, "other_us", &entry->verdict.other_us) != 0)
        return false;
    entry->verdict.best = find_kernel(best);
    entry->verdict.schedule = (uint64_t)schedule;
    entry->verdict.other = find_kernel(other);
    return entry->verdict.best != DEFT_KERNEL_COUNT && entry->verdict.best_us >= 0 && entry->verdict.other_us >= 0;
}

/* What is known already stays: it is newer. */
static deft_status merge_json(deft_cache *cache, json_t *root) {
    const char *key;
    json_t *value;
    if (json_integer_value(json_object_get(root, "version")) != FORMAT_VERSION) return DEFT_OK;
    json_object_foreach(json_object_get(root, "choices"), key, value) {
        deft_cache_entry entry = {0};
        if (cache->count >= MAX_ENTRIES) break;
        if (!parse_entry(key, value, &entry) || deft_cache_find(cache, entry.key)) continue;
        DEFT_TRY(deft_cache_put(cache, &entry));
    }
    return DEFT_OK;
}

static deft_status merge_file(deft_cache *cache) {
    char *text;
    size_t bytes;
    deft_status status = deft_file_read(cache->ctx, cache->path, MAX_FILE_BYTES, (void **)&text, &bytes);
    if (status != DEFT_OK) return status == DEFT_MEMORY ? status : DEFT_OK;
    json_t *root = json_loadb(text, bytes, 0, NULL);
    deft_release(cache->ctx, text);
    status = merge_json(cache, root);
    json_decref(root);
    return status;
}

deft_status deft_cache_open(deft_context *ctx, deft_cache *cache) {
    *cache = (deft_cache){.ctx = ctx};
    if (!ctx->cache_directory) return DEFT_OK;
    char path[4096];
    int length = snprintf(path, sizeof path, "%s/kernels-%016" PRIx64 ".json", ctx->cache_directory, hash_machine());
    if (length >= (int)sizeof path) return DEFT_OK;
    DEFT_TRY(deft_duplicate_string(ctx, path, &cache->path));
    deft_status status = merge_file(cache);
    if (status != DEFT_OK) deft_cache_done(cache);
    return status;
}

void deft_cache_done(deft_cache *cache) {
    deft_release(cache->ctx, cache->entries);
    deft_release(cache->ctx, cache->path);
    *cache = (deft_cache){.ctx = cache->ctx};
}

static json_t *entry_json(const deft_cache_entry *entry) {
    const deft_verdict *v = &entry->verdict;
    json_t *json = json_pack("{s:s, s:I, s:f}", "kernel", kernel_names[v->best], "schedule", (json_int_t)v->schedule,
                             "us", v->best_us);
    if (!json || v->other == DEFT_KERNEL_COUNT) return json;
    json_t *other = json_pack("{s:s, s:f}", "other", kernel_names[v->other], "other_us", v->other_us);
    bool complete = other && json_object_update(json, other) == 0;
    json_decref(other);
    if (complete) return json;
    json_decref(json);
    return NULL;
}

static char *cache_text(const deft_cache *cache) {
    json_t *root = json_object(), *choices = json_object();
    char *text = NULL;
    int failed = json_object_set_new(root, "version", json_integer(FORMAT_VERSION));
    for (int i = 0; i < cache->count && !failed; i++) {
        char key[17];
        snprintf(key, sizeof key, "%016" PRIx64, cache->entries[i].key);
        failed = json_object_set_new(choices, key, entry_json(&cache->entries[i]));
    }
    if (!failed && json_object_set(root, "choices", choices) == 0) text = json_dumps(root, JSON_INDENT(1));
    json_decref(choices);
    json_decref(root);
    return text;
}

/* The folder and those above it. */
static bool make_folders(const char *path) {
    char part[4096];
    if (snprintf(part, sizeof part, "%s", path) >= (int)sizeof part) return false;
    for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        if (mkdir(part, 0777) != 0 && errno != EEXIST) return false;
        *slash = '/';
    }
    return mkdir(part, 0777) == 0 || errno == EEXIST;
}

static bool has_fresh(const deft_cache *cache) {
    for (int i = 0; i < cache->count; i++)
        if (cache->entries[i].fresh) return true;
    return false;
}

void deft_cache_save(deft_cache *cache) {
    if (!cache->path || !has_fresh(cache)) return;
    char message[sizeof cache->ctx->message]; /* a cache must not cover up what failed before */
    memcpy(message, cache->ctx->message, sizeof message);
    bool merged = merge_file(cache) == DEFT_OK;
    char *text = merged ? cache_text(cache) : NULL;
    if (!text || !make_folders(cache->ctx->cache_directory))
        deft_log(cache->ctx, DEFT_LOG_WARNING, "%s: kernel choices are not remembered: %s", cache->path,
                 text ? strerror(errno) : "out of memory");
    else if (deft_file_write(cache->ctx, cache->path, text, strlen(text)) != DEFT_OK)
        deft_log(cache->ctx, DEFT_LOG_WARNING, "kernel choices are not remembered: %s", cache->ctx->message);
    free(text);
    memcpy(cache->ctx->message, message, sizeof message);
}

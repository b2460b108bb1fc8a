#include "decide/tune/frontier.h"

#include "base/core/cpu.h"

#include <math.h>
#include <string.h>

enum { FRONTIER_VERSION = 1, MAX_POINTS = 10000 };

/* The numbers of a point by their keys: what is written, and what is read back. */
static const struct {
    const char *key;
    size_t offset;
} numbers[] = {
    {"zeros", offsetof(deft_point, zeros)},
    {"accuracy_dense", offsetof(deft_point, accuracy_dense)},
    {"accuracy_validation", offsetof(deft_point, accuracy_validation)},
    {"accuracy_test", offsetof(deft_point, accuracy_test)},
    {"drop", offsetof(deft_point, drop)},
    {"dense_us", offsetof(deft_point, dense_us)},
    {"fast_us", offsetof(deft_point, fast_us)},
    {"speedup", offsetof(deft_point, speedup)},
    {"dense_us_b1", offsetof(deft_point, dense_us_b1)},
    {"fast_us_b1", offsetof(deft_point, fast_us_b1)},
    {"speedup_b1", offsetof(deft_point, speedup_b1)},
};
enum { NUMBERS = sizeof numbers / sizeof *numbers };

static json_t *number_or_null(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *deft_point_json(const deft_point *point) {
    json_t *object = json_object();
    if (!object) return NULL;
    int failed = 0;
    for (int i = 0; i < NUMBERS; i++) {
        double value;
        memcpy(&value, (const char *)point + numbers[i].offset, sizeof value);
        failed |= json_object_set_new(object, numbers[i].key, number_or_null(value));
    }
    double accuracy = isnan(point->accuracy_test) ? point->accuracy_validation : point->accuracy_test;
    failed |= json_object_set_new(object, "accuracy_fast", number_or_null(accuracy));
    failed |= json_object_set_new(object, "file_bytes", json_integer(point->file_bytes));
    failed |= json_object_set_new(object, "within_bound", json_boolean(point->within_bound));
    failed |= json_object_set_new(object, "chosen", json_boolean(point->chosen));
    if (!failed) return object;
    json_decref(object);
    return NULL;
}

static json_t *points_json(const deft_frontier *frontier) {
    json_t *list = json_array();
    for (int i = 0; list && i < frontier->count; i++) {
        if (json_array_append_new(list, deft_point_json(&frontier->points[i])) == 0) continue;
        json_decref(list);
        return NULL;
    }
    return list;
}

deft_status deft_frontier_text(deft_context *ctx, const deft_frontier *frontier, char **text) {
    char cpu[64];
    deft_cpu_name(cpu, sizeof cpu);
    json_t *points = points_json(frontier);
    json_t *root = !points ? NULL
                           : json_pack("{s:i, s:s%, s:s, s:f, s:s, s:s, s:i, s:o}", "version", FRONTIER_VERSION, "data",
                                       frontier->data, strlen(frontier->data), "measure", frontier->measure, "max_drop",
                                       frontier->max_drop, "cpu", cpu, "isa", deft_isa_name(ctx->isa), "threads",
                                       ctx->threads, "points", points);
    char *dumped = root ? json_dumps(root, JSON_INDENT(2) | JSON_PRESERVE_ORDER) : NULL;
    json_decref(root);
    deft_status status =
        dumped ? deft_duplicate_string(ctx, dumped, text)
               : deft_fail(ctx, DEFT_MEMORY,
                           "the frontier could not be written as JSON: out of memory, or a name that is not UTF-8");
    free(dumped);
    return status;
}

deft_status deft_point_parse(deft_context *ctx, const json_t *object, deft_point *point) {
    for (int i = 0; i < NUMBERS; i++) {
        const json_t *item = json_object_get(object, numbers[i].key);
        if (!json_is_number(item) && !json_is_null(item))
            return deft_fail(ctx, DEFT_INVALID, "frontier.json: a point's '%s' is missing or not a number",
                             numbers[i].key);
        double value = json_is_number(item) ? json_number_value(item) : NAN;
        memcpy((char *)point + numbers[i].offset, &value, sizeof value);
    }
    point->file_bytes = json_integer_value(json_object_get(object, "file_bytes"));
    point->within_bound = json_is_true(json_object_get(object, "within_bound"));
    point->chosen = json_is_true(json_object_get(object, "chosen"));
    return DEFT_OK;
}

deft_status deft_frontier_parse(deft_context *ctx, const char *text, deft_point **points, int *count) {
    json_error_t error;
    json_t *root = json_loads(text, 0, &error);
    if (!root) return deft_fail(ctx, DEFT_INVALID, "frontier.json: line %d: %s", error.line, error.text);
    const json_t *list = json_object_get(root, "points");
    deft_point *parsed = NULL;
    deft_status status = DEFT_OK;
    size_t size = json_array_size(list);
    if (json_integer_value(json_object_get(root, "version")) != FRONTIER_VERSION || !json_is_array(list) ||
        size > MAX_POINTS)
        status = deft_fail(ctx, DEFT_INVALID, "frontier.json: not a frontier of version %d", FRONTIER_VERSION);
    if (status == DEFT_OK) status = deft_allocate_zeroed(ctx, size, sizeof *parsed, &parsed);
    for (size_t i = 0; status == DEFT_OK && i < size; i++)
        status = deft_point_parse(ctx, json_array_get(list, i), &parsed[i]);
    json_decref(root);
    if (status != DEFT_OK) {
        deft_release(ctx, parsed);
        return status;
    }
    *points = parsed;
    *count = (int)size;
    return DEFT_OK;
}

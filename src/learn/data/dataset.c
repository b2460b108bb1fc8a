#include "learn/data/dataset.h"

#include "base/core/rng.h"
#include "learn/data/augment.h"
#include "learn/data/format.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { VALIDATION = 5000 };

/* ---- what formats share ---------------------------------------------------------------------------------------- */

void deft_data_set_shape(deft_dataset *set, int rank, const int64_t *dims) {
    set->sample_rank = rank;
    set->sample_count = 1;
    for (int i = 0; i < rank; i++) {
        set->sample_dims[i] = dims[i];
        set->sample_count *= dims[i];
    }
}

static int64_t tenth(int64_t count) {
    return count < 10 ? 1 : count / 10;
}

/* How many of `count` training samples, the last ones, are the validation split: as asked for, where that leaves some.
 */
static int64_t held_back(const deft_dataset *set, int64_t count, int64_t held_default) {
    return set->validation && set->validation < count ? set->validation : held_default;
}

static void set_split(deft_dataset *set, deft_split split, const int32_t *y, int64_t first, int64_t count) {
    set->split[split] = (deft_samples){.count = count, .y = y ? y + first : NULL};
}

void deft_data_set_splits(deft_dataset *set, int64_t train, const int32_t *y, int64_t test, const int32_t *y_test) {
    int64_t validation = held_back(set, train, train >= 10 * VALIDATION ? VALIDATION : tenth(train));
    set_split(set, DEFT_TRAIN, y, 0, train - validation);
    set_split(set, DEFT_VALIDATION, y, train - validation, validation);
    set_split(set, DEFT_TEST, y_test, 0, test);
}

deft_status deft_data_shuffle(deft_dataset *set, int64_t count, int64_t **order) {
    DEFT_TRY(deft_arena_array(&set->arena, (size_t)count, sizeof **order, order));
    for (int64_t i = 0; i < count; i++)
        (*order)[i] = i;
    deft_rng rng;
    deft_rng_init(&rng, DEFT_DATA_SEED, 0);
    deft_rng_shuffle(&rng, *order, count);
    return DEFT_OK;
}

void deft_data_split_evenly(deft_dataset *set, int64_t count, const int32_t *y) {
    int64_t test = tenth(count), train = count - test, validation = held_back(set, train, test);
    set_split(set, DEFT_TRAIN, y, 0, train - validation);
    set_split(set, DEFT_VALIDATION, y, train - validation, validation);
    set_split(set, DEFT_TEST, y, train, test);
}

int64_t deft_data_number(const deft_dataset *set, deft_split split, int64_t index) {
    for (int before = 0; before < (int)split; before++)
        index += set->split[before].count;
    return index;
}

bool deft_data_has(const char *dir, const char *name) {
    char path[4096];
    return snprintf(path, sizeof path, "%s/%s", dir, name) < (int)sizeof path && access(path, F_OK) == 0;
}

void deft_data_pixels(const uint8_t *pixels, int64_t count, float *x) {
#pragma omp simd
    for (int64_t i = 0; i < count; i++)
        x[i] = (float)pixels[i] / 255.0f;
}

/* ---- opening --------------------------------------------------------------------------------------------------- */

typedef struct format {
    const char *name;
    bool files; /* comes from them, and not out of nothing */
    deft_status (*open)(deft_dataset *set, const char *where);
    bool (*is_at)(const char *path);
} format;

static const format formats[] = {
#define DEFT_DATA_FORMAT(NAME, USAGE, FILES) {#NAME, FILES, deft_data_open_##NAME, deft_data_at_##NAME},
#include "learn/data/data.def"
#undef DEFT_DATA_FORMAT
};
enum { FORMATS = sizeof formats / sizeof *formats };

static deft_status fail_spec(deft_context *ctx, const char *spec, const char *why) {
    static const char usages[] =
#define DEFT_DATA_FORMAT(NAME, USAGE, FILES) USAGE ", "
#include "learn/data/data.def"
#undef DEFT_DATA_FORMAT
        ;
    return deft_fail(ctx, DEFT_INVALID, "data '%.256s': %s; expected %sor the name of a folder or file alone", spec,
                     why, usages);
}

/* A name, with a colon and what it is at; alone, it may as well be that of a folder, unless it needs none. */
static deft_status open_named(deft_dataset *set, const char *spec, bool *named) {
    for (int i = 0; i < FORMATS; i++) {
        size_t length = strlen(formats[i].name);
        *named = strncmp(spec, formats[i].name, length) == 0 &&
                 (spec[length] == ':' || (spec[length] == 0 && !formats[i].files));
        if (!*named) continue;
        const char *where = spec[length] ? spec + length + 1 : NULL;
        if (formats[i].files && !*where) return fail_spec(set->ctx, spec, "does not say which folder or file");
        return formats[i].open(set, where);
    }
    return DEFT_OK;
}

static deft_status open_spec(deft_dataset *set, const char *spec) {
    bool named;
    DEFT_TRY(open_named(set, spec, &named));
    if (named) return DEFT_OK;
    if (access(spec, F_OK) != 0) return fail_spec(set->ctx, spec, "no such format, and no such folder or file");
    for (int i = 0; i < FORMATS; i++)
        if (formats[i].is_at(spec)) return formats[i].open(set, spec);
    return fail_spec(set->ctx, spec, "holds none of the formats that Deft recognises");
}

/* What stands before the format: "NAME:" or "NAME=VALUE:". */
typedef struct prefixes {
    bool normalize, augment, size, validation;
    char *numbers, *words, *sides, *held; /* their values, or NULL */
} prefixes;

/* Takes "NAME:" or "NAME=VALUE:" off the front of `*spec`. */
static deft_status take_prefix(deft_dataset *set, const char **spec, const char *name, bool *found, char **value) {
    const char *rest = *spec + strlen(name), *colon = strchr(*spec, ':');
    if (*found || strncmp(*spec, name, strlen(name)) != 0 || !colon || (*rest != ':' && *rest != '=')) return DEFT_OK;
    *found = true;
    *spec = colon + 1;
    if (*rest == ':') return DEFT_OK;
    DEFT_TRY(deft_arena_copy(&set->arena, rest + 1, (size_t)(colon - rest), value));
    (*value)[colon - rest - 1] = 0;
    return DEFT_OK;
}

static deft_status parse_size(deft_dataset *set, const char *text) {
    int end = 0;
    long long height = 0, width = 0, channels = 0;
    int found = sscanf(text, "%5lldx%5lld%nx%1lld%n", &height, &width, &end, &channels, &end);
    bool valid = found >= 2 && text[end] == 0 && height > 0 && width > 0;
    if (!valid || (found == 3 && channels != 1 && channels != 3))
        return deft_fail(
            set->ctx, DEFT_INVALID,
            "size=%.64s: expected HEIGHTxWIDTH or HEIGHTxWIDTHxCHANNELS, up to 99999 pixels a side and 1 or "
            "3 channels, as in size=224x224:DIR",
            text);
    memcpy(set->size, (const int64_t[]){height, width, channels}, sizeof set->size);
    return DEFT_OK;
}

static deft_status check_size(deft_dataset *set) {
    const int64_t *size = set->size, *dims = set->sample_dims;
    if (set->sample_rank == 3 && dims[1] == size[0] && dims[2] == size[1] && (!size[2] || dims[0] == size[2]))
        return DEFT_OK;
    return deft_fail(set->ctx, DEFT_INVALID, "%s: only pictures in folders can be had in another size", set->spec);
}

static deft_status parse_validation(deft_dataset *set, const char *text) {
    char *end;
    set->validation = *text >= '0' && *text <= '9' ? strtoll(text, &end, 10) : 0;
    if (set->validation > 0 && set->validation < INT64_MAX && *end == 0) return DEFT_OK;
    return deft_fail(set->ctx, DEFT_INVALID, "validation=%.64s: expected how many samples to hold back, 1 or more",
                     text);
}

static deft_status check_validation(deft_dataset *set) {
    int64_t held = set->split[DEFT_VALIDATION].count, all = set->split[DEFT_TRAIN].count + held;
    if (held == set->validation) return DEFT_OK;
    return deft_fail(set->ctx, DEFT_INVALID,
                     "%s: validation=%lld: the files have a validation split of their own, or fewer samples to train "
                     "with (%lld with the validation split)",
                     set->spec, (long long)set->validation, (long long)all);
}

static deft_status open_prefixed(deft_dataset *set, const char *spec) {
    prefixes p = {0};
    const char *before;
    do {
        before = spec;
        DEFT_TRY(take_prefix(set, &spec, "normalize", &p.normalize, &p.numbers));
        DEFT_TRY(take_prefix(set, &spec, "augment", &p.augment, &p.words));
        DEFT_TRY(take_prefix(set, &spec, "size", &p.size, &p.sides));
        DEFT_TRY(take_prefix(set, &spec, "validation", &p.validation, &p.held));
    } while (spec != before);
    if (p.augment) DEFT_TRY(deft_augment_parse(set->ctx, p.words ? p.words : "", &set->augment));
    if (p.size) DEFT_TRY(parse_size(set, p.sides ? p.sides : ""));
    if (p.validation) DEFT_TRY(parse_validation(set, p.held ? p.held : ""));
    DEFT_TRY(open_spec(set, spec));
    if (p.validation) DEFT_TRY(check_validation(set));
    if (p.size) DEFT_TRY(check_size(set));
    if (p.augment) DEFT_TRY(deft_augment_check(set));
    return p.normalize ? deft_data_normalize(set, p.numbers) : DEFT_OK;
}

deft_status deft_dataset_open(deft_context *ctx, const char *spec, deft_dataset **dataset) {
    deft_dataset *set = NULL;
    deft_status status;
    DEFT_TRY(deft_allocate_zeroed(ctx, 1, sizeof *set, &set));
    set->ctx = ctx;
    deft_arena_init(&set->arena, ctx);
    DEFT_TRY_OR_FAIL(deft_arena_string(&set->arena, spec, &set->spec));
    DEFT_TRY_OR_FAIL(open_prefixed(set, spec));
    *dataset = set;
    return DEFT_OK;
fail:
    deft_dataset_free(set);
    return status;
}

void deft_dataset_free(deft_dataset *set) {
    if (!set) return;
    if (set->source.close) set->source.close(set);
    deft_arena_done(&set->arena);
    deft_release(set->ctx, set);
}

/* ---- reading --------------------------------------------------------------------------------------------------- */

deft_status deft_dataset_read(const deft_dataset *set, deft_context *ctx, deft_split split, int64_t index, float *x) {
    DEFT_TRY(set->source.read(set, ctx, split, index, x));
    if (!set->mean) return DEFT_OK;
    int64_t channels = set->sample_dims[0], plane = set->sample_count / channels;
    for (int64_t c = 0; c < channels; c++) {
        float mean = set->mean[c], factor = 1 / set->deviation[c];
        for (int64_t i = 0; i < plane; i++, x++)
            *x = (*x - mean) * factor;
    }
    return DEFT_OK;
}

deft_status deft_dataset_gather(const deft_dataset *set, deft_split split, const int64_t *order, int64_t first,
                                int64_t count, float *x) {
    for (int64_t i = first; i < first + count; i++, x += set->sample_count)
        DEFT_TRY(deft_dataset_read(set, set->ctx, split, order ? order[i] : i, x));
    return DEFT_OK;
}

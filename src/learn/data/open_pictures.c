/* Folders of PNG and JPEG files, a folder for each class. Only names are kept; a picture is read when it is asked for.
 */
#include "base/core/file.h"
#include "learn/data/format.h"
#include "learn/data/picture.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum { PATH_BYTES = 4096 };
static const size_t FILE_MAX_BYTES = (size_t)1 << 28;

typedef struct file {
    const char *path;
    int32_t label;
} file;

/* Names or files, of which more come. */
typedef struct names {
    char **items;
    int64_t count, room;
} names;

typedef struct pictures {
    file *files[DEFT_SPLITS];
    const int64_t *order[DEFT_SPLITS]; /* of the files; NULL: as they are */
    int64_t count[DEFT_SPLITS];        /* of the files */
} pictures;

/* ---- folders --------------------------------------------------------------------------------------------------- */

static bool is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static bool is_picture(const char *name) {
    static const char *const ends[] = {".png", ".jpg", ".jpeg"};
    size_t length = strlen(name);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (length > strlen(ends[i]) && strcasecmp(name + length - strlen(ends[i]), ends[i]) == 0) return true;
    return false;
}

static deft_status join(deft_context *ctx, const char *folder, const char *name, char path[PATH_BYTES]) {
    if (snprintf(path, PATH_BYTES, "%s/%s", folder, name) < PATH_BYTES) return DEFT_OK;
    return deft_fail(ctx, DEFT_INVALID, "%.64s...: the name is too long", folder);
}

static deft_status add_name(deft_dataset *set, names *all, const char *name) {
    if (all->count == all->room) {
        int64_t room = all->room ? 2 * all->room : 64;
        DEFT_TRY(deft_reallocate(set->ctx, (size_t)room * sizeof *all->items, &all->items));
        all->room = room;
    }
    return deft_arena_string(&set->arena, name, &all->items[all->count++]);
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The paths of the folders, or of the pictures, in a folder, sorted. To be released after a failure too. */
static deft_status list_folder(deft_dataset *set, const char *folder, bool folders, names *all) {
    DIR *dir = opendir(folder);
    deft_status status = DEFT_OK;
    if (!dir) return deft_fail(set->ctx, DEFT_INVALID, "%s: cannot open the folder: %s", folder, strerror(errno));
    for (struct dirent *entry; status == DEFT_OK && (entry = readdir(dir));) {
        char path[PATH_BYTES];
        if (entry->d_name[0] == '.' || (!folders && !is_picture(entry->d_name))) continue;
        status = join(set->ctx, folder, entry->d_name, path);
        if (status == DEFT_OK && is_folder(path) == folders) status = add_name(set, all, path);
    }
    closedir(dir);
    if (all->count) qsort(all->items, (size_t)all->count, sizeof *all->items, compare_names);
    return status;
}

bool deft_data_at_pictures(const char *path) {
    DIR *dir = opendir(path);
    bool found = false;
    for (struct dirent *entry; dir && !found && (entry = readdir(dir));) {
        char inner[PATH_BYTES];
        found = entry->d_name[0] != '.' &&
                snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name) < (int)sizeof inner && is_folder(inner);
    }
    if (dir) closedir(dir);
    return found;
}

/* ---- classes --------------------------------------------------------------------------------------------------- */

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static deft_status find_class(deft_context *ctx, const names *classes, const char *folder, int32_t *label) {
    for (int64_t i = 0; i < classes->count; i++)
        if (strcmp(base_name(classes->items[i]), base_name(folder)) == 0) {
            *label = (int32_t)i;
            return DEFT_OK;
        }
    return deft_fail(ctx, DEFT_INVALID, "%s: a class that the training pictures have not", folder);
}

/* All pictures below a folder of folders, with the number of their folder's name among the classes. */
static deft_status list_files(deft_dataset *set, const names *folders, const names *classes, file **files,
                              int64_t *count) {
    file *all = NULL;
    int64_t room = 0;
    deft_status status = DEFT_OK;
    *count = 0;
    for (int64_t i = 0; i < folders->count && status == DEFT_OK; i++) {
        names here = {0};
        int32_t label = 0;
        status = find_class(set->ctx, classes, folders->items[i], &label);
        if (status == DEFT_OK) status = list_folder(set, folders->items[i], false, &here);
        if (status == DEFT_OK && *count + here.count > room) {
            room = 2 * (*count + here.count);
            status = deft_reallocate(set->ctx, (size_t)room * sizeof *all, &all);
        }
        for (int64_t j = 0; j < here.count && status == DEFT_OK; j++)
            all[(*count)++] = (file){here.items[j], label};
        deft_release(set->ctx, here.items);
    }
    *files = all;
    return status;
}

static deft_status list_split(deft_dataset *set, const char *folder, const names *folders, const names *classes,
                              deft_split split) {
    pictures *p = set->source.state;
    DEFT_TRY(list_files(set, folders, classes, &p->files[split], &p->count[split]));
    if (p->count[split] > 0) return DEFT_OK;
    return deft_fail(set->ctx, DEFT_INVALID, "%s: no picture (.png, .jpg, .jpeg) in a folder for its class", folder);
}

/* A split that has a folder of its own. */
static deft_status list_held(deft_dataset *set, const char *folder, const names *classes, deft_split split) {
    names folders = {0};
    deft_status status = list_folder(set, folder, true, &folders);
    if (status == DEFT_OK) status = list_split(set, folder, &folders, classes, split);
    deft_release(set->ctx, folders.items);
    return status;
}

/* ---- reading --------------------------------------------------------------------------------------------------- */

static const file *file_of(const deft_dataset *set, deft_split split, int64_t index) {
    const pictures *p = set->source.state;
    return &p->files[split][p->order[split] ? p->order[split][index] : index];
}

static deft_status decode_file(deft_context *ctx, const char *path, int channels, deft_picture *picture) {
    void *data;
    size_t bytes;
    DEFT_TRY(deft_file_read(ctx, path, FILE_MAX_BYTES, &data, &bytes));
    deft_status status = deft_picture_decode(ctx, data, bytes, channels, picture);
    deft_release(ctx, data);
    return status == DEFT_OK ? DEFT_OK : deft_fail_in(ctx, status, "%s", path);
}

static deft_status read_picture(const deft_dataset *set, deft_context *ctx, deft_split split, int64_t index, float *x) {
    deft_picture picture;
    DEFT_TRY(decode_file(ctx, file_of(set, split, index)->path, (int)set->sample_dims[0], &picture));
    deft_status status = deft_picture_fit(ctx, &picture, set->sample_dims[1], set->sample_dims[2], x);
    deft_release(ctx, picture.pixels);
    return status;
}

static void close_pictures(deft_dataset *set) {
    pictures *p = set->source.state;
    for (int split = 0; split < DEFT_SPLITS; split++) {
        bool shared = split != DEFT_TRAIN && p->files[split] == p->files[DEFT_TRAIN];
        if (!shared) deft_release(set->ctx, p->files[split]);
    }
}

/* ---- splits ---------------------------------------------------------------------------------------------------- */

static deft_status labels_of(deft_dataset *set, const file *files, const int64_t *order, int64_t count, int32_t **y) {
    DEFT_TRY(deft_arena_array(&set->arena, (size_t)count, sizeof **y, y));
    for (int64_t i = 0; i < count; i++)
        (*y)[i] = files[order ? order[i] : i].label;
    return DEFT_OK;
}

/* What has no folder is of the training pictures, shuffled since they come sorted by class. */
static deft_status split_files(deft_dataset *set, const char *dir) {
    pictures *p = set->source.state;
    int32_t *y, *y_held[DEFT_SPLITS] = {NULL};
    int64_t *order, count = p->count[DEFT_TRAIN];
    if (count < 3)
        return deft_fail(set->ctx, DEFT_INVALID, "%s: %" PRId64 " training pictures; 3 or more are needed", dir, count);
    DEFT_TRY(deft_data_shuffle(set, count, &order));
    DEFT_TRY(labels_of(set, p->files[DEFT_TRAIN], order, count, &y));
    for (int split = DEFT_VALIDATION; split < DEFT_SPLITS; split++)
        if (p->files[split]) DEFT_TRY(labels_of(set, p->files[split], NULL, p->count[split], &y_held[split]));
    if (p->files[DEFT_TEST])
        deft_data_set_splits(set, count, y, p->count[DEFT_TEST], y_held[DEFT_TEST]);
    else
        deft_data_split_evenly(set, count, y);
    if (p->files[DEFT_VALIDATION]) {
        set->split[DEFT_TRAIN].count = count;
        set->split[DEFT_VALIDATION] = (deft_samples){.count = p->count[DEFT_VALIDATION], .y = y_held[DEFT_VALIDATION]};
    }
    for (int split = 0; split < DEFT_SPLITS; split++) {
        if (split != DEFT_TRAIN && p->files[split]) continue;
        p->files[split] = p->files[DEFT_TRAIN];
        p->order[split] = order + deft_data_number(set, (deft_split)split, 0);
    }
    return DEFT_OK;
}

/* Where nobody said it, the size and the colours are the first picture's. */
static deft_status choose_shape(deft_dataset *set) {
    int64_t height = set->size[0], width = set->size[1], channels = set->size[2];
    if (!height || !channels) {
        const pictures *p = set->source.state;
        deft_picture first;
        DEFT_TRY(decode_file(set->ctx, p->files[DEFT_TRAIN][0].path, (int)channels, &first));
        deft_release(set->ctx, first.pixels);
        if (!height) height = first.height, width = first.width;
        channels = first.channels;
    }
    deft_data_set_shape(set, 3, (const int64_t[]){channels, height, width});
    return DEFT_OK;
}

/* ---- opening --------------------------------------------------------------------------------------------------- */

/* DIR/train and DIR/test or DIR/val, or both; or DIR alone. */
static deft_status list_all(deft_dataset *set, const char *dir, names *classes) {
    char train[PATH_BYTES], test[PATH_BYTES], val[PATH_BYTES];
    DEFT_TRY(join(set->ctx, dir, "train", train));
    DEFT_TRY(join(set->ctx, dir, "test", test));
    DEFT_TRY(join(set->ctx, dir, "val", val));
    bool parted = is_folder(train);
    DEFT_TRY(list_folder(set, parted ? train : dir, true, classes));
    DEFT_TRY(list_split(set, parted ? train : dir, classes, classes, DEFT_TRAIN));
    bool tests = parted && is_folder(test), validates = parted && is_folder(val);
    if (tests || validates) DEFT_TRY(list_held(set, tests ? test : val, classes, DEFT_TEST));
    return tests && validates ? list_held(set, val, classes, DEFT_VALIDATION) : DEFT_OK;
}

deft_status deft_data_open_pictures(deft_dataset *set, const char *dir) {
    pictures *p;
    names classes = {0};
    DEFT_TRY(deft_arena_array(&set->arena, 1, sizeof *p, &p));
    set->source = (deft_source){.read = read_picture, .close = close_pictures, .state = p};
    deft_status status = list_all(set, dir, &classes);
    set->classes = (int)classes.count;
    deft_release(set->ctx, classes.items);
    DEFT_TRY(status);
    DEFT_TRY(choose_shape(set));
    return split_files(set, dir);
}

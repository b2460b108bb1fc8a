/* CIFAR-10 and CIFAR-100: files of records, a label or two and then the red, green and blue planes of 32x32 pixels.
 * Labels are read once, pixels when they are asked for. source: KRIZHEVSKY2009 */
#include "learn/data/format.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SIDE = 32, PIXELS = 3 * SIDE * SIDE, FILES_MAX = 6, LABELS_MAX = 2 };

typedef struct variant {
    const char *files[FILES_MAX]; /* of training, and the test file last */
    int file_count, label_bytes;  /* the last of them is the class */
    int classes;
} variant;

typedef struct cifar {
    const variant *kind;
    char *paths[FILES_MAX];
    int fds[FILES_MAX];         /* -1: not open */
    int64_t records[FILES_MAX]; /* in each */
} cifar;

static const variant cifar10 = {{"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin",
                                 "data_batch_5.bin", "test_batch.bin"},
                                6,
                                1,
                                10};
static const variant cifar100 = {{"train.bin", "test.bin"}, 2, 2, 100};

bool deft_data_at_cifar10(const char *path) {
    return deft_data_has(path, cifar10.files[0]);
}

bool deft_data_at_cifar100(const char *path) {
    return deft_data_has(path, cifar100.files[0]) && deft_data_has(path, cifar100.files[1]);
}

/* ---- reading --------------------------------------------------------------------------------------------------- */

static deft_status read_at(deft_context *ctx, const cifar *c, int file, int64_t offset, void *out, size_t bytes) {
    size_t used = 0;
    while (used < bytes) {
        ssize_t got = pread(c->fds[file], (char *)out + used, bytes - used, offset + (off_t)used);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return deft_fail(ctx, DEFT_IO, "%s: cannot read: %s", c->paths[file], strerror(errno));
        if (got == 0)
            return deft_fail(ctx, DEFT_INVALID, "%s: cut off while it was in use: %zu bytes missing at %" PRId64,
                             c->paths[file], bytes - used, offset + (int64_t)used);
        used += (size_t)got;
    }
    return DEFT_OK;
}

static int64_t record_bytes(const cifar *c) {
    return c->kind->label_bytes + PIXELS;
}

static deft_status read_picture(const deft_dataset *set, deft_context *ctx, deft_split split, int64_t index, float *x) {
    const cifar *c = set->source.state;
    uint8_t pixels[PIXELS];
    int file = c->kind->file_count - 1;
    if (split != DEFT_TEST) {
        index = deft_data_number(set, split, index);
        for (file = 0; index >= c->records[file]; file++)
            index -= c->records[file];
    }
    DEFT_TRY(read_at(ctx, c, file, index * record_bytes(c) + c->kind->label_bytes, pixels, sizeof pixels));
    deft_data_pixels(pixels, PIXELS, x);
    return DEFT_OK;
}

static void close_files(deft_dataset *set) {
    const cifar *c = set->source.state;
    for (int i = 0; i < c->kind->file_count; i++)
        if (c->fds[i] >= 0) close(c->fds[i]);
}

/* ---- opening --------------------------------------------------------------------------------------------------- */

static deft_status open_file(deft_dataset *set, cifar *c, int file, const char *dir) {
    char path[4096];
    struct stat info;
    if (snprintf(path, sizeof path, "%s/%s", dir, c->kind->files[file]) >= (int)sizeof path)
        return deft_fail(set->ctx, DEFT_INVALID, "cifar: the folder's name is too long");
    DEFT_TRY(deft_arena_string(&set->arena, path, &c->paths[file]));
    int fd = c->fds[file] = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return deft_fail(set->ctx, errno == ENOENT || errno == ENOTDIR ? DEFT_INVALID : DEFT_IO, "%s: cannot open: %s",
                         path, strerror(errno));
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode))
        return deft_fail(set->ctx, DEFT_INVALID, "%s: is not a regular file", path);
    if (info.st_size == 0 || info.st_size % record_bytes(c) != 0)
        return deft_fail(set->ctx, DEFT_INVALID,
                         "%s: %" PRId64 " bytes are not a whole number of records of %" PRId64
                         ", or none: cut off, or another file; fetch it again",
                         path, (int64_t)info.st_size, record_bytes(c));
    c->records[file] = info.st_size / record_bytes(c);
    return DEFT_OK;
}

/* The labels of files [first, end). */
static deft_status read_labels(deft_dataset *set, const cifar *c, int first, int end, int32_t **labels,
                               int64_t *count) {
    int32_t *y;
    *count = 0;
    for (int file = first; file < end; file++)
        *count += c->records[file];
    DEFT_TRY(deft_arena_array(&set->arena, (size_t)*count, sizeof *y, &y));
    *labels = y;
    for (int file = first; file < end; file++)
        for (int64_t i = 0; i < c->records[file]; i++) {
            uint8_t label[LABELS_MAX];
            int64_t offset = i * record_bytes(c);
            DEFT_TRY(read_at(set->ctx, c, file, offset, label, (size_t)c->kind->label_bytes));
            *y = label[c->kind->label_bytes - 1];
            if (*y++ >= c->kind->classes)
                return deft_fail(set->ctx, DEFT_INVALID,
                                 "%s: record %" PRId64 " has the label %d, not 0 to %d; fetch the file again",
                                 c->paths[file], i, label[c->kind->label_bytes - 1], c->kind->classes - 1);
        }
    return DEFT_OK;
}

static deft_status open_cifar(deft_dataset *set, const variant *kind, const char *dir) {
    cifar *c;
    int32_t *y, *y_test;
    int64_t train, test;
    int test_file = kind->file_count - 1;
    DEFT_TRY(deft_arena_array(&set->arena, 1, sizeof *c, &c));
    *c = (cifar){.kind = kind, .fds = {-1, -1, -1, -1, -1, -1}};
    set->source = (deft_source){.read = read_picture, .close = close_files, .state = c};
    for (int file = 0; file < kind->file_count; file++)
        DEFT_TRY(open_file(set, c, file, dir));
    DEFT_TRY(read_labels(set, c, 0, test_file, &y, &train));
    DEFT_TRY(read_labels(set, c, test_file, kind->file_count, &y_test, &test));
    if (train < 2)
        return deft_fail(set->ctx, DEFT_INVALID,
                         "%s: one training picture; two or more are needed, for a validation split", dir);
    deft_data_set_shape(set, 3, (const int64_t[]){3, SIDE, SIDE});
    set->classes = kind->classes;
    deft_data_set_splits(set, train, y, test, y_test);
    return DEFT_OK;
}

deft_status deft_data_open_cifar10(deft_dataset *set, const char *dir) {
    return open_cifar(set, &cifar10, dir);
}

deft_status deft_data_open_cifar100(deft_dataset *set, const char *dir) {
    return open_cifar(set, &cifar100, dir);
}

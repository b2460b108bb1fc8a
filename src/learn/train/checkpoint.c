#include "learn/train/checkpoint.h"

#include "base/core/file.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

enum { VERSION = 2 };
static const char MAGIC[8] = "deft-ck";

typedef struct header {
    char magic[8];
    uint32_t version, epoch;
    uint64_t run, start;
    uint64_t parts_bytes;
} header;
_Static_assert(sizeof(header) == 40, "the file's header has no padding");

static size_t parts_bytes(const deft_checkpoint *checkpoint) {
    size_t bytes = 0;
    for (int i = 0; i < checkpoint->part_count; i++)
        bytes += checkpoint->parts[i].bytes;
    return bytes;
}

static uint64_t checksum(const void *data, size_t bytes) {
    return crc32_z(crc32_z(0, NULL, 0), data, bytes);
}

deft_status deft_checkpoint_write(deft_context *ctx, const char *path, const deft_checkpoint *checkpoint) {
    size_t bytes = sizeof(header) + parts_bytes(checkpoint);
    char *content;
    DEFT_TRY(deft_allocate(ctx, bytes + sizeof(uint64_t), &content));
    header head = {.version = VERSION,
                   .epoch = (uint32_t)checkpoint->epoch,
                   .run = checkpoint->run,
                   .start = checkpoint->start,
                   .parts_bytes = parts_bytes(checkpoint)};
    memcpy(head.magic, MAGIC, sizeof MAGIC);
    memcpy(content, &head, sizeof head);
    char *at = content + sizeof head;
    for (int i = 0; i < checkpoint->part_count; i++) {
        memcpy(at, checkpoint->parts[i].data, checkpoint->parts[i].bytes);
        at += checkpoint->parts[i].bytes;
    }
    uint64_t sum = checksum(content, bytes);
    memcpy(at, &sum, sizeof sum);
    deft_status status = deft_file_write(ctx, path, content, bytes + sizeof sum);
    deft_release(ctx, content);
    return status;
}

static deft_status refuse(deft_context *ctx, const char *path, const char *why) {
    return deft_fail(ctx, DEFT_INVALID, "checkpoint %s: %s; remove it to train from the start, or name another", path,
                     why);
}

static bool same_weights(const deft_checkpoint *checkpoint, const char *parts) {
    for (int i = 0; i < checkpoint->weight_count; i++) {
        if (memcmp(checkpoint->parts[i].data, parts, checkpoint->parts[i].bytes) != 0) return false;
        parts += checkpoint->parts[i].bytes;
    }
    return true;
}

static deft_status check_whole(deft_context *ctx, const char *path, const char *content, size_t bytes, header *head) {
    if (bytes < sizeof *head || memcmp(content, MAGIC, sizeof MAGIC) != 0)
        return refuse(ctx, path, "this is no checkpoint");
    memcpy(head, content, sizeof *head);
    if (head->version != VERSION) return refuse(ctx, path, "it is of another version of Deft");
    uint64_t sum;
    size_t summed = bytes - sizeof sum;
    if (bytes < sizeof *head + sizeof sum || summed - sizeof *head != head->parts_bytes)
        return refuse(ctx, path, "it is truncated or has grown");
    memcpy(&sum, content + summed, sizeof sum);
    return sum == checksum(content, summed) ? DEFT_OK : refuse(ctx, path, "it is damaged: its checksum is wrong");
}

static deft_status check_run(deft_context *ctx, const char *path, const deft_checkpoint *checkpoint, const header *head,
                             const char *parts) {
    if (head->run != checkpoint->run || head->parts_bytes != parts_bytes(checkpoint))
        return refuse(ctx, path, "it is of another model, data, seed or options");
    if (head->start != checkpoint->start && !same_weights(checkpoint, parts))
        return refuse(ctx, path, "its run began with other weights");
    return DEFT_OK;
}

/* Takes over what a whole checkpoint holds. One of no epochs holds nothing: it may be of any run. */
static deft_status take(deft_context *ctx, const char *path, const char *content, size_t bytes,
                        deft_checkpoint *checkpoint, bool *found) {
    header head;
    DEFT_TRY(check_whole(ctx, path, content, bytes, &head));
    *found = head.epoch > 0;
    if (!*found) return DEFT_OK;
    content += sizeof head;
    DEFT_TRY(check_run(ctx, path, checkpoint, &head, content));
    checkpoint->start = head.start;
    checkpoint->epoch = (int)head.epoch;
    for (int i = 0; i < checkpoint->part_count; i++) {
        memcpy(checkpoint->parts[i].data, content, checkpoint->parts[i].bytes);
        content += checkpoint->parts[i].bytes;
    }
    return DEFT_OK;
}

deft_status deft_checkpoint_read(deft_context *ctx, const char *path, deft_checkpoint *checkpoint, bool *found) {
    struct stat about = {0};
    bool there = stat(path, &about) == 0 || errno != ENOENT;
    *found = there && !S_ISCHR(about.st_mode); /* a device holds nothing */
    if (!*found) return DEFT_OK;
    void *content;
    size_t bytes;
    /* A larger one is of another run; a little more is read, so that it is told by what it is. */
    size_t most = sizeof(header) + 2 * parts_bytes(checkpoint) + (1 << 20);
    deft_status status = deft_file_read(ctx, path, most, &content, &bytes);
    if (status == DEFT_INVALID) return refuse(ctx, path, "it is larger than one of this model");
    DEFT_TRY(status);
    status = take(ctx, path, content, bytes, checkpoint, found);
    deft_release(ctx, content);
    return status;
}

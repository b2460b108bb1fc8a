#include "base/core/file.h"

#include "base/core/timing.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static deft_status fail_errno(deft_context *ctx, const char *path, const char *doing) {
    return deft_fail(ctx, DEFT_IO, "%s: cannot %s: %s", path, doing, strerror(errno));
}

static deft_status fail_too_large(deft_context *ctx, const char *path, size_t max_bytes) {
    return deft_fail(ctx, DEFT_INVALID, "%s: larger than %zu bytes, the most that is read", path, max_bytes);
}

/* Reads to the end of the file: sizes are a hint only, since a pipe has none and a file may grow. */
static deft_status read_all(deft_context *ctx, const char *path, int fd, size_t hint, size_t max_bytes, char **data,
                            size_t *bytes) {
    size_t capacity = (hint < max_bytes ? hint : max_bytes) + 1, used = 0;
    DEFT_TRY(deft_allocate(ctx, capacity, data));
    for (;;) {
        if (used == capacity) {
            capacity = capacity < 4096 ? 8192 : 2 * capacity;
            DEFT_TRY(deft_reallocate(ctx, capacity, data));
        }
        ssize_t got = read(fd, *data + used, capacity - used);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return fail_errno(ctx, path, "read");
        if (got == 0) break;
        used += (size_t)got;
        if (used > max_bytes) return fail_too_large(ctx, path, max_bytes);
    }
    *bytes = used;
    return DEFT_OK;
}

/* A name that leads to no file is the caller's mistake; anything else is the system's. */
static deft_status fail_to_open(deft_context *ctx, const char *path) {
    deft_status status = errno == ENOENT || errno == ENOTDIR ? DEFT_INVALID : DEFT_IO;
    return deft_fail(ctx, status, "%s: cannot open: %s", path, strerror(errno));
}

static deft_status open_to_read(deft_context *ctx, const char *path, int *fd, struct stat *info) {
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0) return fail_to_open(ctx, path);
    deft_status status = DEFT_OK;
    if (fstat(*fd, info) != 0)
        status = fail_errno(ctx, path, "read");
    else if (S_ISDIR(info->st_mode))
        status = deft_fail(ctx, DEFT_INVALID, "%s: is a directory; name a file", path);
    if (status != DEFT_OK) close(*fd);
    return status;
}

deft_status deft_file_read(deft_context *ctx, const char *path, size_t max_bytes, void **data, size_t *bytes) {
    struct stat info;
    int fd;
    char *content = NULL;
    DEFT_TRY(open_to_read(ctx, path, &fd, &info));
    deft_status status =
        read_all(ctx, path, fd, S_ISREG(info.st_mode) ? (size_t)info.st_size : 0, max_bytes, &content, bytes);
    close(fd);
    if (status != DEFT_OK)
        deft_release(ctx, content);
    else
        *data = content;
    return status;
}

/* ---- as a stream ---- */

static deft_status fill_from_file(deft_stream *stream, void *data, size_t bytes) {
    for (size_t done = 0; done < bytes;) {
        ssize_t got = read(stream->file, (char *)data + done, bytes - done);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return deft_fail(stream->ctx, DEFT_IO, "cannot read: %s", strerror(errno));
        if (got == 0)
            return deft_fail(stream->ctx, DEFT_IO, "it had %zu bytes, and became shorter while it was read",
                             stream->bytes);
        done += (size_t)got;
    }
    return DEFT_OK;
}

static deft_status source_of(deft_context *ctx, const char *path, int fd, const struct stat *info, size_t max_bytes,
                             deft_stream *stream) {
    if (S_ISREG(info->st_mode) && info->st_size > 0) {
        if ((uintmax_t)info->st_size > max_bytes) return fail_too_large(ctx, path, max_bytes);
        return deft_stream_init(ctx, (size_t)info->st_size, fill_from_file, stream);
    }
    char *content = NULL;
    size_t bytes;
    deft_status status = read_all(ctx, path, fd, 0, max_bytes, &content, &bytes);
    if (status != DEFT_OK) {
        deft_release(ctx, content);
        return status;
    }
    *stream = deft_stream_of_memory(ctx, content, bytes);
    stream->buffer = (unsigned char *)content;
    return DEFT_OK;
}

deft_status deft_file_open(deft_context *ctx, const char *path, size_t max_bytes, deft_stream *stream) {
    struct stat info;
    int fd;
    DEFT_TRY(open_to_read(ctx, path, &fd, &info));
    deft_status status = source_of(ctx, path, fd, &info, max_bytes, stream);
    if (status == DEFT_OK)
        stream->file = fd;
    else
        close(fd);
    return status;
}

deft_status deft_file_open_regular(deft_context *ctx, const char *path, FILE **file, uint64_t *bytes) {
    struct stat info;
    int fd;
    *file = NULL;
    DEFT_TRY(open_to_read(ctx, path, &fd, &info));
    bool regular = S_ISREG(info.st_mode);
    *bytes = regular ? (uint64_t)info.st_size : 0;
    if (regular && (*file = fdopen(fd, "rb")) != NULL) return DEFT_OK;
    close(fd);
    return regular ? deft_fail(ctx, DEFT_MEMORY, "%s: cannot open: out of memory", path) : DEFT_OK;
}

/* ---- within a folder ---- */

/* Opens part by part, following no link: nothing that changes meanwhile can lead elsewhere. -1 with errno. */
static int open_within(const char *folder, const char *name) {
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    while (fd >= 0 && *name) {
        char part[256];
        size_t length = strcspn(name, "/");
        bool last = name[length] == '\0';
        if (length == 0 || length >= sizeof part || (length <= 2 && strspn(name, ".") >= length) ||
            (!last && name[length + 1] == '\0')) {
            close(fd);
            errno = EACCES;
            return -1;
        }
        memcpy(part, name, length);
        part[length] = '\0';
        int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | (last ? 0 : O_DIRECTORY);
        int inner = openat(fd, part, flags), error = errno;
        close(fd);
        errno = error;
        fd = inner;
        name += length + !last;
    }
    return fd;
}

static deft_status fail_to_open_within(deft_context *ctx, const char *folder, const char *name) {
    if (errno == EACCES || errno == ELOOP || errno == EMLINK || errno == ENOTDIR)
        return deft_fail(ctx, DEFT_INVALID,
                         "the file '%.128s' that it names is not within the folder %.128s, or through a symbolic link",
                         name, folder);
    return deft_fail(ctx, errno == ENOENT ? DEFT_INVALID : DEFT_IO, "cannot open the file '%.128s' in %.128s: %s", name,
                     folder, strerror(errno));
}

static deft_status read_part(deft_context *ctx, const char *name, int fd, uint64_t offset, size_t bytes, void **data) {
    char *part;
    DEFT_TRY(deft_allocate(ctx, bytes, &part));
    for (size_t done = 0; done < bytes;) {
        ssize_t got = pread(fd, part + done, bytes - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
            deft_release(ctx, part);
            return fail_errno(ctx, name, "read");
        }
        done += (size_t)got;
    }
    *data = part;
    return DEFT_OK;
}

deft_status deft_file_read_within(deft_context *ctx, const char *folder, const char *name, uint64_t offset,
                                  size_t bytes, void **data) {
    struct stat info;
    int fd = *name ? open_within(folder, name) : (errno = EACCES, -1);
    if (fd < 0) return fail_to_open_within(ctx, folder, name);
    deft_status status;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode))
        status = deft_fail(ctx, DEFT_INVALID, "'%.128s' in %.128s is not a regular file", name, folder);
    else if (offset > (uint64_t)info.st_size || bytes > (uint64_t)info.st_size - offset)
        status = deft_fail(ctx, DEFT_INVALID, "'%.128s' has %lld bytes; %zu from byte %" PRIu64 " on are asked for",
                           name, (long long)info.st_size, bytes, offset);
    else
        status = read_part(ctx, name, fd, offset, bytes, data);
    close(fd);
    return status;
}

/* ---- writing ---- */

static bool write_all(int fd, const char *data, size_t bytes) {
    while (bytes) {
        ssize_t put = write(fd, data, bytes);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return false;
        data += put;
        bytes -= (size_t)put;
    }
    return true;
}

static deft_status write_directly(deft_context *ctx, const char *path, const void *data, size_t bytes) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return fail_errno(ctx, path, "open for writing");
    bool written = write_all(fd, data, bytes);
    int error = errno;
    if (close(fd) != 0 && written) {
        written = false;
        error = errno;
    }
    errno = error;
    return written ? DEFT_OK : fail_errno(ctx, path, "write");
}

/* Makes a new file beside `target`, with the mode that the process gives new files; its name into `beside`. */
static int open_beside(const char *target, char *beside, size_t room) {
    uint64_t mark = (uint64_t)deft_time_ns() ^ (uint64_t)getpid() * 0x9e3779b97f4a7c15u;
    for (int tries = 0; tries < 100; tries++, mark++) {
        int length = snprintf(beside, room, "%s.%06" PRIx64, target, mark & 0xffffff);
        if (length < 0 || (size_t)length >= room) {
            errno = ENAMETOOLONG;
            return -1;
        }
        int fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0 || errno != EEXIST) return fd;
    }
    return -1;
}

/* `old`: of the file that is replaced, whose mode is kept; or NULL. */
static deft_status write_beside(deft_context *ctx, const char *path, const char *target, const struct stat *old,
                                const void *data, size_t bytes) {
    char beside[4096];
    int fd = open_beside(target, beside, sizeof beside);
    if (fd < 0) return fail_errno(ctx, path, "write");
    bool written = (!old || fchmod(fd, old->st_mode & 0777) == 0) && write_all(fd, data, bytes) && fsync(fd) == 0;
    int error = errno;
    if (close(fd) != 0 && written) {
        written = false;
        error = errno;
    }
    if (written && rename(beside, target) != 0) {
        written = false;
        error = errno;
    }
    if (written) return DEFT_OK;
    unlink(beside);
    errno = error;
    return fail_errno(ctx, path, "write");
}

deft_status deft_file_write(deft_context *ctx, const char *path, const void *data, size_t bytes) {
    struct stat info;
    bool exists = stat(path, &info) == 0;
    if (exists && S_ISDIR(info.st_mode)) return deft_fail(ctx, DEFT_IO, "%s: is a directory; name a file", path);
    if (exists && !S_ISREG(info.st_mode)) return write_directly(ctx, path, data, bytes);

    /* A link is followed, so that the file it names is replaced and not the link. */
    char *real = exists ? realpath(path, NULL) : NULL;
    deft_status status = write_beside(ctx, path, real ? real : path, exists ? &info : NULL, data, bytes);
    free(real);
    return status;
}

/* Whole files: read within a budget; written beside, then renamed, so that a reader never sees half of one. */
#ifndef DEFT_BASE_CORE_FILE_H
#define DEFT_BASE_CORE_FILE_H

#include "base/core/stream.h"

#include <stdio.h>

/* Reads a file (or a pipe) of at most `max_bytes`. `*data` is released with deft_release.
 * Errors: DEFT_INVALID (missing, a directory, larger than the budget), DEFT_IO (unreadable); the message names it. */
DEFT_MUST_CHECK deft_status deft_file_read(deft_context *ctx, const char *path, size_t max_bytes, void **data,
                                           size_t *bytes);
/* The same as a stream: a regular file, which may change meanwhile, is read as it is taken; a pipe at once. Released
 * with deft_stream_done. Errors of taking: DEFT_IO (a file that has become shorter, too), which does not name it. */
DEFT_MUST_CHECK deft_status deft_file_open(deft_context *ctx, const char *path, size_t max_bytes, deft_stream *stream);
/* Opens a regular file to read here and there, for fclose; NULL, and no error, where it is another kind of file.
 * Errors: DEFT_INVALID (missing, a directory), DEFT_IO; the message names it. */
DEFT_MUST_CHECK deft_status deft_file_open_regular(deft_context *ctx, const char *path, FILE **file, uint64_t *bytes);
/* Reads bytes [offset, offset + bytes) of a regular file that a file of the folder names: `name` is relative to it,
 * with "/" between parts, none of them "..", ".", empty or a symbolic link, so that it cannot lead out of the folder.
 * `*data` is released with deft_release, and is not allocated where the file is too short.
 * Errors: DEFT_INVALID (another name, no such file, too short), DEFT_IO; the message gives the name. */
DEFT_MUST_CHECK deft_status deft_file_read_within(deft_context *ctx, const char *folder, const char *name,
                                                  uint64_t offset, size_t bytes, void **data);
/* Writes beside the target and renames; a target that exists and is not a regular file (/dev/stdout, /dev/full, a
 * FIFO) is written directly. Nothing is left behind on failure. Error: DEFT_IO. */
DEFT_MUST_CHECK deft_status deft_file_write(deft_context *ctx, const char *path, const void *data, size_t bytes);

#endif

/* Zip archives in memory or on disk, through libzip: what .npz and .deft files share. */
#ifndef DEFT_BASE_CORE_ZIP_H
#define DEFT_BASE_CORE_ZIP_H

#include "base/core/stream.h"

#include <zip.h>

/* Opens the archive in `data`, which must outlive it; released with zip_discard. `what` says what it should be ("an
 * .npz"). Errors: DEFT_INVALID, DEFT_MEMORY. */
DEFT_MUST_CHECK deft_status deft_zip_open(deft_context *ctx, const void *data, size_t bytes, const char *what,
                                          zip_t **zip);
/* The same of a file of *bytes, which zip_discard closes; NULL, and no error, where it is no regular file. Errors:
 * those of deft_file_open_regular, too; the message names the file. */
DEFT_MUST_CHECK deft_status deft_zip_open_file(deft_context *ctx, const char *path, const char *what, zip_t **zip,
                                               uint64_t *bytes);
/* Reads the next `bytes` of an entry. Error: DEFT_INVALID (cut off or damaged). */
DEFT_MUST_CHECK deft_status deft_zip_read(deft_context *ctx, zip_file_t *file, void *out, size_t bytes);
/* An entry of so many bytes as a stream; it must outlive it. Released with deft_stream_done. Error: DEFT_MEMORY. */
DEFT_MUST_CHECK deft_status deft_zip_stream(deft_context *ctx, zip_file_t *file, size_t bytes, deft_stream *stream);
/* Checks that an entry ends here; libzip then compares its checksum. Error: DEFT_INVALID. */
DEFT_MUST_CHECK deft_status deft_zip_read_end(deft_context *ctx, zip_file_t *file);

/* An archive being written. */
typedef struct deft_zip {
    deft_context *ctx;
    zip_source_t *source;
    zip_t *zip;
} deft_zip;

DEFT_MUST_CHECK deft_status deft_zip_begin(deft_context *ctx, deft_zip *zip);
/* Adds an entry of one or two parts, which must stay until the end; every entry is of the same day, so that equal
 * contents make equal files. Errors: DEFT_INVALID (a name that is taken), DEFT_MEMORY. */
DEFT_MUST_CHECK deft_status deft_zip_add(deft_zip *zip, const char *name, const zip_buffer_fragment_t *parts, int count,
                                         bool deflate);
/* Finishes the archive into *data, released with deft_release; the writer is done in any case. */
DEFT_MUST_CHECK deft_status deft_zip_end(deft_zip *zip, void **data, size_t *bytes);
/* Gives it up; accepts one that is done. */
void deft_zip_abandon(deft_zip *zip);

#endif

/* Bytes that come one after the other, as many as are known ahead: of memory, of a file, of an entry of a zip. So what
 * is large in them is read to where it stays, and the whole is never in memory beside its parts. */
#ifndef DEFT_BASE_CORE_STREAM_H
#define DEFT_BASE_CORE_STREAM_H

#include "base/core/context.h"

typedef struct deft_stream {
    deft_context *ctx;
    size_t bytes, taken;             /* in all; of these */
    const unsigned char *next, *end; /* what has been read ahead */
    /* Reads the next ones, exactly so many; NULL where all have been read ahead. */
    deft_status (*fill)(struct deft_stream *stream, void *data, size_t bytes);
    void *entry;           /* of a zip */
    int file;              /* a descriptor, or -1 */
    unsigned char *buffer; /* owned: what is read ahead lies in it; or NULL */
} deft_stream;

/* Of memory, which must outlive it; there is nothing to be done with afterwards. */
deft_stream deft_stream_of_memory(deft_context *ctx, const void *data, size_t bytes);
/* Of what `fill` reads, with room to read ahead. Error: DEFT_MEMORY. */
DEFT_MUST_CHECK deft_status deft_stream_init(deft_context *ctx, size_t bytes,
                                             deft_status (*fill)(deft_stream *stream, void *data, size_t bytes),
                                             deft_stream *stream);
/* Accepts a zeroed stream whose file is -1. */
void deft_stream_done(deft_stream *stream);

/* Takes the next ones: no more than are left, which is for the caller to check. Errors: those of reading. */
DEFT_MUST_CHECK deft_status deft_stream_take(deft_stream *stream, void *data, size_t bytes);
/* Whether it begins with these, of which none has been taken; *begins is false where it has fewer. */
DEFT_MUST_CHECK deft_status deft_stream_begins_with(deft_stream *stream, const char *text, bool *begins);

static inline size_t deft_stream_left(const deft_stream *stream) {
    return stream->bytes - stream->taken;
}

#endif

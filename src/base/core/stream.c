#include "base/core/stream.h"

#include <string.h>
#include <unistd.h>

enum { WINDOW_BYTES = 64 * 1024 };

deft_stream deft_stream_of_memory(deft_context *ctx, const void *data, size_t bytes) {
    const unsigned char *begin = data;
    return (deft_stream){.ctx = ctx, .bytes = bytes, .next = begin, .end = bytes ? begin + bytes : begin, .file = -1};
}

deft_status deft_stream_init(deft_context *ctx, size_t bytes,
                             deft_status (*fill)(deft_stream *stream, void *data, size_t bytes), deft_stream *stream) {
    *stream = (deft_stream){.ctx = ctx, .bytes = bytes, .fill = fill, .file = -1};
    return deft_allocate(ctx, WINDOW_BYTES, &stream->buffer);
}

void deft_stream_done(deft_stream *stream) {
    if (stream->file >= 0) close(stream->file);
    deft_release(stream->ctx, stream->buffer);
    *stream = (deft_stream){.file = -1};
}

/* Where nothing is read ahead and something is left. */
static deft_status read_ahead(deft_stream *stream) {
    size_t left = deft_stream_left(stream), bytes = left < WINDOW_BYTES ? left : WINDOW_BYTES;
    DEFT_TRY(stream->fill(stream, stream->buffer, bytes));
    stream->next = stream->buffer;
    stream->end = stream->next + bytes;
    return DEFT_OK;
}

deft_status deft_stream_take(deft_stream *stream, void *data, size_t bytes) {
    for (char *to = data; bytes;) {
        size_t ready = (size_t)(stream->end - stream->next), part = ready < bytes ? ready : bytes;
        if (part) {
            memcpy(to, stream->next, part);
            stream->next += part;
        } else if (bytes >= WINDOW_BYTES) {
            part = bytes;
            DEFT_TRY(stream->fill(stream, to, part));
        } else {
            DEFT_TRY(read_ahead(stream));
        }
        to += part;
        bytes -= part;
        stream->taken += part;
    }
    return DEFT_OK;
}

deft_status deft_stream_begins_with(deft_stream *stream, const char *text, bool *begins) {
    size_t length = strlen(text);
    *begins = false;
    if (stream->bytes < length) return DEFT_OK;
    if (stream->next == stream->end) DEFT_TRY(read_ahead(stream));
    *begins = memcmp(stream->next, text, length) == 0;
    return DEFT_OK;
}

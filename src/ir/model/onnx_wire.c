#include "ir/model/onnx_wire.h"

#include <string.h>

enum { WIRE_VARINT = 0, WIRE_64_BITS = 1, WIRE_LENGTH = 2, WIRE_32_BITS = 5 };

typedef struct cursor {
    deft_context *ctx;
    const uint8_t *data;
    size_t at;
} cursor;

/* The messages that enclose the cursor, outermost first. */
typedef struct level {
    const ProtobufCMessageDescriptor *type;
    size_t end;
} level;

static deft_status fail_at(const cursor *c, const char *what) {
    return deft_fail(c->ctx, DEFT_INVALID, "not an ONNX model, or damaged: at byte %zu %s", c->at, what);
}

static deft_status read_varint(cursor *c, size_t end, uint64_t *value) {
    uint64_t result = 0;
    for (int shift = 0; shift < 70; shift += 7) {
        if (c->at >= end) return fail_at(c, "the data ends within a number");
        uint8_t byte = c->data[c->at++];
        if (shift < 64) result |= (uint64_t)(byte & 0x7f) << shift;
        if (byte & 0x80) continue;
        *value = result;
        return DEFT_OK;
    }
    return fail_at(c, "a number is longer than 10 bytes");
}

static deft_status skip(cursor *c, size_t end, uint64_t bytes) {
    if (bytes > end - c->at) return fail_at(c, "a field runs past the end of its message");
    c->at += (size_t)bytes;
    return DEFT_OK;
}

/* Reads a field of the message `in`; where it is a message itself, goes to its first byte and sets `*inner`. */
static deft_status enter_field(cursor *c, const level *in, level *inner) {
    uint64_t tag, length;
    inner->type = NULL;
    DEFT_TRY(read_varint(c, in->end, &tag));
    if (tag >> 3 == 0 || tag > UINT32_MAX) return fail_at(c, "a field has no valid number");
    switch (tag & 7) {
    case WIRE_VARINT:
        return read_varint(c, in->end, &length);
    case WIRE_64_BITS:
        return skip(c, in->end, 8);
    case WIRE_32_BITS:
        return skip(c, in->end, 4);
    case WIRE_LENGTH:
        break;
    default:
        return fail_at(c, "a field has an unknown wire type");
    }
    DEFT_TRY(read_varint(c, in->end, &length));
    size_t start = c->at;
    DEFT_TRY(skip(c, in->end, length));
    const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field(in->type, (unsigned)(tag >> 3));
    if (!field || field->type != PROTOBUF_C_TYPE_MESSAGE) return DEFT_OK;
    *inner = (level){field->descriptor, c->at};
    c->at = start;
    return DEFT_OK;
}

static deft_status check(deft_context *ctx, const ProtobufCMessageDescriptor *type, const void *data, size_t bytes) {
    level levels[DEFT_WIRE_DEPTH] = {{type, bytes}}, inner;
    size_t messages = 0, most = bytes / DEFT_WIRE_BYTES_PER_MESSAGE + DEFT_WIRE_FREE_MESSAGES;
    cursor c = {.ctx = ctx, .data = data};
    for (int depth = 0; depth >= 0;) {
        if (c.at == levels[depth].end) {
            depth--;
            continue;
        }
        DEFT_TRY(enter_field(&c, &levels[depth], &inner));
        if (!inner.type) continue;
        if (++messages > most) return fail_at(&c, "there are more nested messages than a model of this size has");
        if (++depth == DEFT_WIRE_DEPTH) return fail_at(&c, "messages are nested more than 100 deep");
        levels[depth] = inner;
    }
    return DEFT_OK;
}

/* ---- memory -------------------------------------------------------------------------------------------------- */

typedef struct budget {
    deft_arena *arena;
    size_t left;
    bool exceeded;
    deft_status status; /* of the arena */
} budget;

static void *allocate(void *user, size_t bytes) {
    budget *b = user;
    void *memory;
    if (bytes > b->left) {
        b->exceeded = true;
        return NULL;
    }
    b->left -= bytes;
    b->status = deft_arena_allocate(b->arena, bytes, &memory);
    return b->status == DEFT_OK ? memory : NULL;
}

static void release(void *user, void *memory) {
    (void)user;
    (void)memory;
}

deft_status deft_wire_unpack(deft_arena *arena, const ProtobufCMessageDescriptor *type, const void *data, size_t bytes,
                             void *out_message) {
    DEFT_TRY(check(arena->ctx, type, data, bytes));
    size_t limit;
    if (__builtin_mul_overflow(bytes, (size_t)DEFT_WIRE_MEMORY_FACTOR, &limit)) limit = SIZE_MAX / 2;
    budget b = {.arena = arena, .left = limit + DEFT_WIRE_FREE_MEMORY};
    ProtobufCAllocator allocator = {.alloc = allocate, .free = release, .allocator_data = &b};
    ProtobufCMessage *message = protobuf_c_message_unpack(type, &allocator, bytes, data);
    if (!message && b.exceeded)
        return deft_fail(arena->ctx, DEFT_INVALID,
                         "not an ONNX model, or damaged: its %zu bytes would take more than %zu bytes of memory", bytes,
                         limit + DEFT_WIRE_FREE_MEMORY);
    DEFT_TRY(b.status);
    if (!message) return deft_fail(arena->ctx, DEFT_INVALID, "not an ONNX model, or damaged: its fields do not decode");
    memcpy(out_message, &message, sizeof message);
    return DEFT_OK;
}

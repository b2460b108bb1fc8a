#include "ir/model/onnx_wire.h"

#include "onnx.pb-c.h"

#include <string.h>

enum { WIRE_VARINT = 0, WIRE_64_BITS = 1, WIRE_LENGTH = 2, WIRE_32_BITS = 5 };
enum {
    VARINT_BYTES = 10,
    LENGTH_BYTES = 5, /* of a length that is filled in later: a varint may be longer than it need be */
    SMALL_MODEL_BYTES = 1 << 21 /* its outline has room for all of it, rather than to be copied as it grows */
};

/* Stands in the outline for the raw data of a tensor. */
typedef struct stand_in {
    void *data;
    size_t bytes;
} stand_in;

/* The message without the raw data of tensors, as it is being made. */
typedef struct outline {
    deft_arena *arena;
    deft_stream *stream;
    uint8_t *data;
    size_t used, capacity;
} outline;

/* The messages that enclose the next byte, outermost first. */
typedef struct level {
    const ProtobufCMessageDescriptor *type;
    size_t end;      /* in the stream */
    size_t begin_at; /* in the outline, behind the length */
} level;

static deft_status fail_at(const outline *o, const char *what) {
    return deft_fail(o->stream->ctx, DEFT_INVALID, "not an ONNX model, or damaged: at byte %zu %s", o->stream->taken,
                     what);
}

/* ---- in and out ---------------------------------------------------------------------------------------------- */

static deft_status take_varint(outline *o, size_t end, uint64_t *value) {
    uint64_t result = 0;
    for (int shift = 0; shift < 7 * VARINT_BYTES; shift += 7) {
        uint8_t byte;
        if (o->stream->taken >= end) return fail_at(o, "the data ends within a number");
        DEFT_TRY(deft_stream_take(o->stream, &byte, 1));
        if (shift < 64) result |= (uint64_t)(byte & 0x7f) << shift;
        if (byte & 0x80) continue;
        *value = result;
        return DEFT_OK;
    }
    return fail_at(o, "a number is longer than 10 bytes");
}

static deft_status make_room(outline *o, size_t bytes) {
    size_t needed;
    if (__builtin_add_overflow(o->used, bytes, &needed)) return fail_at(o, "it is too long");
    if (needed <= o->capacity) return DEFT_OK;
    size_t capacity = needed < 2 * o->capacity ? 2 * o->capacity : needed;
    if (o->stream->bytes <= SMALL_MODEL_BYTES && capacity < o->stream->bytes) capacity = o->stream->bytes;
    DEFT_TRY(deft_reallocate(o->stream->ctx, capacity, &o->data));
    o->capacity = capacity;
    return DEFT_OK;
}

static deft_status put_varint(outline *o, uint64_t value) {
    DEFT_TRY(make_room(o, VARINT_BYTES));
    for (; value >= 0x80; value >>= 7)
        o->data[o->used++] = (uint8_t)(value | 0x80);
    o->data[o->used++] = (uint8_t)value;
    return DEFT_OK;
}

static deft_status copy(outline *o, size_t end, uint64_t bytes) {
    if (bytes > end - o->stream->taken) return fail_at(o, "a field runs past the end of its message");
    DEFT_TRY(make_room(o, (size_t)bytes));
    DEFT_TRY(deft_stream_take(o->stream, o->data + o->used, (size_t)bytes));
    o->used += (size_t)bytes;
    return DEFT_OK;
}

/* ---- the walk ------------------------------------------------------------------------------------------------ */

static bool is_raw_data(const ProtobufCMessageDescriptor *type, const ProtobufCFieldDescriptor *field) {
    return type == &onnx__tensor_proto__descriptor && field->offset == offsetof(Onnx__TensorProto, raw_data);
}

/* Reads raw data into memory of its own. */
static deft_status take_raw_data(outline *o, size_t end, uint64_t bytes) {
    if (bytes > end - o->stream->taken) return fail_at(o, "a field runs past the end of its message");
    stand_in raw = {.bytes = (size_t)bytes};
    if (raw.bytes < DEFT_WIRE_BLOCK_BYTES) {
        DEFT_TRY(deft_arena_allocate(o->arena, raw.bytes, &raw.data));
    } else {
        DEFT_TRY(deft_allocate(o->stream->ctx, raw.bytes, &raw.data));
        DEFT_TRY(deft_arena_adopt(o->arena, raw.data));
    }
    DEFT_TRY(deft_stream_take(o->stream, raw.data, raw.bytes));
    DEFT_TRY(put_varint(o, sizeof raw));
    DEFT_TRY(make_room(o, sizeof raw));
    memcpy(o->data + o->used, &raw, sizeof raw);
    o->used += sizeof raw;
    return DEFT_OK;
}

/* Takes a field of the message `in`; where it is a message itself, goes to its first byte and sets `*inner`. */
static deft_status enter_field(outline *o, const level *in, level *inner) {
    uint64_t tag, value;
    inner->type = NULL;
    DEFT_TRY(take_varint(o, in->end, &tag));
    if (tag >> 3 == 0 || tag > UINT32_MAX) return fail_at(o, "a field has no valid number");
    DEFT_TRY(put_varint(o, tag));
    switch (tag & 7) {
    case WIRE_VARINT:
        DEFT_TRY(take_varint(o, in->end, &value));
        return put_varint(o, value);
    case WIRE_64_BITS:
        return copy(o, in->end, 8);
    case WIRE_32_BITS:
        return copy(o, in->end, 4);
    case WIRE_LENGTH:
        break;
    default:
        return fail_at(o, "a field has an unknown wire type");
    }
    DEFT_TRY(take_varint(o, in->end, &value));
    const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field(in->type, (unsigned)(tag >> 3));
    if (field && is_raw_data(in->type, field)) return take_raw_data(o, in->end, value);
    if (!field || field->type != PROTOBUF_C_TYPE_MESSAGE) {
        DEFT_TRY(put_varint(o, value));
        return copy(o, in->end, value);
    }
    if (value > in->end - o->stream->taken) return fail_at(o, "a field runs past the end of its message");
    DEFT_TRY(make_room(o, LENGTH_BYTES));
    o->used += LENGTH_BYTES;
    *inner = (level){field->descriptor, o->stream->taken + (size_t)value, o->used};
    return DEFT_OK;
}

/* Fills in the length of a message that is complete. Past 2 GB protobuf-c refuses it. */
static void leave_message(outline *o, const level *done) {
    size_t bytes = o->used - done->begin_at;
    for (int i = 0; i < LENGTH_BYTES; i++, bytes >>= 7)
        o->data[done->begin_at - LENGTH_BYTES + (size_t)i] =
            (uint8_t)((bytes & 0x7f) | (i < LENGTH_BYTES - 1 ? 0x80 : 0));
}

static deft_status walk(outline *o, const ProtobufCMessageDescriptor *type) {
    level levels[DEFT_WIRE_DEPTH] = {{type, o->stream->bytes, 0}}, inner;
    size_t messages = 0, most = deft_stream_left(o->stream) / DEFT_WIRE_BYTES_PER_MESSAGE + DEFT_WIRE_FREE_MESSAGES;
    for (int depth = 0; depth >= 0;) {
        if (o->stream->taken == levels[depth].end) {
            if (depth > 0) leave_message(o, &levels[depth]);
            depth--;
            continue;
        }
        DEFT_TRY(enter_field(o, &levels[depth], &inner));
        if (!inner.type) continue;
        if (++messages > most) return fail_at(o, "there are more nested messages than a model of this size has");
        if (++depth == DEFT_WIRE_DEPTH) return fail_at(o, "messages are nested more than 100 deep");
        levels[depth] = inner;
    }
    return DEFT_OK;
}

/* ---- unpacking ----------------------------------------------------------------------------------------------- */

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

static void put_raw_data_back(ProtobufCMessage *message);

static void visit_field(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field) {
    char *base = (char *)message;
    if (field->type != PROTOBUF_C_TYPE_MESSAGE) return;
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        size_t count = *(const size_t *)(void *)(base + field->quantifier_offset);
        for (size_t i = 0; i < count; i++)
            put_raw_data_back((*(ProtobufCMessage ***)(void *)(base + field->offset))[i]);
        return;
    }
    bool one_of = field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF;
    if (one_of && *(const uint32_t *)(void *)(base + field->quantifier_offset) != field->id) return;
    ProtobufCMessage *inner = *(ProtobufCMessage **)(void *)(base + field->offset);
    if (inner) put_raw_data_back(inner);
}

/* Into all tensors of the message. It recurses as deep as messages are nested. */
static void put_raw_data_back(ProtobufCMessage *message) {
    for (unsigned i = 0; i < message->descriptor->n_fields; i++)
        visit_field(message, &message->descriptor->fields[i]);
    Onnx__TensorProto *tensor = (Onnx__TensorProto *)message;
    if (message->descriptor != &onnx__tensor_proto__descriptor || !tensor->has_raw_data) return;
    stand_in raw;
    memcpy(&raw, tensor->raw_data.data, sizeof raw);
    tensor->raw_data = (ProtobufCBinaryData){raw.bytes, raw.data};
}

static deft_status unpack(const outline *o, const ProtobufCMessageDescriptor *type, ProtobufCMessage **message) {
    size_t limit;
    if (__builtin_mul_overflow(o->stream->bytes, (size_t)DEFT_WIRE_MEMORY_FACTOR, &limit)) limit = SIZE_MAX / 2;
    budget b = {.arena = o->arena, .left = limit + DEFT_WIRE_FREE_MEMORY};
    ProtobufCAllocator allocator = {.alloc = allocate, .free = release, .allocator_data = &b};
    *message = protobuf_c_message_unpack(type, &allocator, o->used, o->data);
    if (!*message && b.exceeded)
        return deft_fail(o->stream->ctx, DEFT_INVALID,
                         "not an ONNX model, or damaged: its %zu bytes would take more than %zu bytes of memory",
                         o->stream->bytes, limit + DEFT_WIRE_FREE_MEMORY);
    DEFT_TRY(b.status);
    if (*message) return DEFT_OK;
    return deft_fail(o->stream->ctx, DEFT_INVALID, "not an ONNX model, or damaged: its fields do not decode");
}

deft_status deft_wire_unpack(deft_arena *arena, const ProtobufCMessageDescriptor *type, deft_stream *stream,
                             void *out_message) {
    outline o = {.arena = arena, .stream = stream};
    ProtobufCMessage *message;
    deft_status status = walk(&o, type);
    if (status == DEFT_OK) status = unpack(&o, type, &message);
    deft_release(stream->ctx, o.data);
    DEFT_TRY(status);
    put_raw_data_back(message);
    memcpy(out_message, &message, sizeof message);
    return DEFT_OK;
}

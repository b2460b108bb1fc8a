/* Protobuf messages out of untrusted bytes, within a depth and a memory budget. */
#ifndef DEFT_IR_MODEL_ONNX_WIRE_H
#define DEFT_IR_MODEL_ONNX_WIRE_H

#include "base/core/arena.h"
#include "base/core/stream.h"

#include <protobuf-c/protobuf-c.h>

enum {
    DEFT_WIRE_DEPTH = 100,           /* levels of nested messages */
    DEFT_WIRE_BYTES_PER_MESSAGE = 4, /* on average at least this many, but for ... */
    DEFT_WIRE_FREE_MESSAGES = 1000,  /* ... the first so many */
    DEFT_WIRE_MEMORY_FACTOR = 16,    /* memory for the unpacked message: this times the bytes, plus ... */
    DEFT_WIRE_FREE_MEMORY = 1024 * 1024,
    DEFT_WIRE_BLOCK_BYTES = 4096 /* the raw data of a tensor of at least so many is a block of its own */
};

/* Unpacks a message of type `type` out of the rest of a stream into `arena`, which owns it: there is nothing else to
 * free. The raw data of tensors, which is nearly all of a model, is read to where it stays: a block that deft_retain
 * keeps beyond the arena, where it is not small. The rest is walked before protobuf-c sees it, since that recurses
 * without a limit (a 114 kB file of nested messages overflows the stack), takes 70 bytes of memory for a byte of empty
 * messages, and copies what it is given. Errors: DEFT_INVALID (no protobuf of this type; over a budget, with the byte
 * where), DEFT_MEMORY, those of the stream. */
DEFT_MUST_CHECK deft_status deft_wire_unpack(deft_arena *arena, const ProtobufCMessageDescriptor *type,
                                             deft_stream *stream, void *out_message);

#endif

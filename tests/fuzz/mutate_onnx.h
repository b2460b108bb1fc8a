/* libFuzzer's LLVMFuzzerCustomMutator for the fuzz targets that read ONNX models: for them to include. */
#ifndef DEFT_TESTS_FUZZ_MUTATE_ONNX_H
#define DEFT_TESTS_FUZZ_MUTATE_ONNX_H

#include "ir/model/onnx_wire.h"
#include "mutate.h"

/* libFuzzer's; not there in a replay, which mutates nothing. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t bytes, size_t max_bytes) __attribute__((weak));
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t max_bytes, unsigned seed);

/* Bytes changed blindly seldom get past protobuf's lengths: so mostly changes the messages. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t max_bytes, unsigned seed) {
    deft_rng rng;
    deft_rng_init(&rng, seed, 0);
    deft_context *ctx;
    if (deft_rng_below(&rng, 5) == 0 ||
        deft_context_new(&(deft_context_options){.cache_directory = ""}, &ctx) != DEFT_OK)
        return LLVMFuzzerMutate(data, bytes, max_bytes);
    deft_arena arena;
    deft_arena_init(&arena, ctx);
    Onnx__ModelProto *model;
    size_t packed = 0;
    deft_stream stream = deft_stream_of_memory(ctx, data, bytes);
    if (deft_wire_unpack(&arena, &onnx__model_proto__descriptor, &stream, &model) == DEFT_OK) {
        for (uint64_t i = deft_rng_below(&rng, 3) + 1; i > 0; i--)
            mutate_model(&arena, model, &rng);
        packed = onnx__model_proto__get_packed_size(model);
        if (packed <= max_bytes) onnx__model_proto__pack(model, data);
    }
    deft_arena_done(&arena);
    deft_context_free(ctx);
    return packed && packed <= max_bytes ? packed : LLVMFuzzerMutate(data, bytes, max_bytes);
}

#endif

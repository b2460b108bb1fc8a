/* Mutation of ONNX models, by seed: of the messages, so that much of what comes out gets past the parser, and of bytes.
 */
#ifndef DEFT_TESTS_FUZZ_MUTATE_H
#define DEFT_TESTS_FUZZ_MUTATE_H

#include "base/core/arena.h"
#include "base/core/rng.h"
#include "onnx.pb-c.h"

/* Makes one change to the messages of a model: operators, attributes, shapes, types, lengths, names, edges, nesting.
 * What it adds is the arena's. Aborts where memory is out. */
void mutate_model(deft_arena *arena, Onnx__ModelProto *model, deft_rng *rng);
/* Changes bytes in place, or removes, repeats or inserts some; returns how many there are then, at most `capacity`. */
size_t mutate_bytes(uint8_t *data, size_t bytes, size_t capacity, deft_rng *rng);
/* Mostly a small number, else one at an edge of some type. */
int64_t mutate_number(deft_rng *rng);
/* Likewise: zeros, infinities, NaN, the least and the largest. */
float mutate_real(deft_rng *rng);

#endif

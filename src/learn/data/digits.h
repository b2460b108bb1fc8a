/* Pictures of digits that Deft draws itself: strokes with random affine and elastic distortion, thickness, blur, noise.
 */
#ifndef DEFT_LEARN_DATA_DIGITS_H
#define DEFT_LEARN_DATA_DIGITS_H

#include "base/core/context.h"

#define DEFT_DIGITS_SIZE 28

/* Draws picture number `index` of the sequence named by `seed`: pixels[28*28] in 0..1, and its class 0-9. The same on
 * every machine. */
void deft_digits_draw(uint64_t seed, uint64_t index, float *pixels, int32_t *label);

#endif

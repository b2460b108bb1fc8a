/* Random changes of pictures, so that training does not see the same ones again. */
#ifndef DEFT_LEARN_DATA_AUGMENT_H
#define DEFT_LEARN_DATA_AUGMENT_H

#include "learn/data/dataset.h"

/* `text`: "crop", "crop=PIXELS" (default 4), "flip", "cutout", "cutout=PIXELS" (default 8), with commas between. Error:
 * DEFT_INVALID. */
DEFT_MUST_CHECK deft_status deft_augment_parse(deft_context *ctx, const char *text, deft_augment *augment);
/* Error: DEFT_INVALID, where the set's samples are no pictures [channels, height, width], or not larger than the crop.
 */
DEFT_MUST_CHECK deft_status deft_augment_check(const deft_dataset *dataset);
/* Whether it changes anything. */
static inline bool deft_augment_is_any(const deft_augment *augment) {
    return augment->crop || augment->flip || augment->cutout;
}
/* Changes a picture in place by the set's augmentation, as follows from the seed, the epoch and the sample's number. */
void deft_augment_apply(const deft_dataset *dataset, uint64_t seed, int epoch, int64_t number, float *x);

#endif

/* Samples in the type that they came in, held in memory. */
#ifndef DEFT_LEARN_DATA_ARRAYS_H
#define DEFT_LEARN_DATA_ARRAYS_H

#include "learn/data/dataset.h"

typedef struct deft_arrays {
    deft_dtype dtype; /* f32, f64 or u8 */
    bool pixels;      /* u8 is divided by 255 */
    struct {
        const void *x;        /* [...][sample] */
        const int64_t *order; /* which of them are the split's samples; NULL: the first ones */
    } split[DEFT_SPLITS];
    void *owned[2]; /* released with deft_release */
} deft_arrays;

/* Numbers of a type of samples as f32. */
void deft_arrays_convert(deft_dtype dtype, const void *from, int64_t count, float *x);
/* Makes the set's samples come from arrays, for the caller to fill in. Error: DEFT_MEMORY. */
DEFT_MUST_CHECK deft_status deft_arrays_attach(deft_dataset *set, deft_arrays **arrays);

#endif

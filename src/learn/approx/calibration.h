/* Calibration data: samples that a network is run on, without labels, to see what its layers take in. */
#ifndef DEFT_LEARN_APPROX_CALIBRATION_H
#define DEFT_LEARN_APPROX_CALIBRATION_H

#include "base/tensor/npy.h"
#include "ir/graph/graph.h"

typedef struct deft_calibration {
    deft_context *ctx;
    deft_arena arena;
    deft_npz npz;
    int input_count;
    deft_tensor *inputs;    /* by input of the graph: [samples, ...] */
    deft_binding *bindings; /* of a batch */
    int64_t samples, batch; /* samples: whole batches */
} deft_calibration;

/* `spec` is what deft_dataset_open takes, of which `samples`, evenly spread, of the training split are used; or
 * npz:FILE with an array for each input of the graph, by its name, all of whose samples are used. To be done with after
 * a failure too. Errors: those of deft_dataset_open and deft_npz_load; DEFT_INVALID (arrays that do not fit the
 * inputs).
 */
DEFT_MUST_CHECK deft_status deft_calibration_open(deft_context *ctx, const char *spec, const deft_graph *graph,
                                                  int64_t samples, deft_calibration *calibration);
void deft_calibration_done(deft_calibration *calibration);

#endif

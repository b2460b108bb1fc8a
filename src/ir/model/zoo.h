/* Networks that `deft new` makes: initialised (Kaiming, from the context's seed) and untrained. */
#ifndef DEFT_IR_MODEL_ZOO_H
#define DEFT_IR_MODEL_ZOO_H

#include "ir/graph/graph.h"

/* `spec`: "lenet-300-100" (266,610 parameters), "lenet-5" (Caffe's: conv 20 and 50 of 5x5, max pooling, 500, 10;
 * 431,080 parameters), "mlp:784,300,100,10" (any layer sizes). Input x [batch, 1, 28, 28] for the LeNets ([batch, first
 * size] for mlp), batch symbolic ("N"); output logits [batch, classes]. Errors: DEFT_INVALID, with the list of names.
 */
DEFT_MUST_CHECK deft_status deft_zoo_build(deft_context *ctx, const char *spec, deft_graph **graph);

#endif

/* Networks that `deft new` makes: initialised (Kaiming, from the context's seed) and untrained. */
#ifndef DEFT_IR_MODEL_ZOO_H
#define DEFT_IR_MODEL_ZOO_H

#include "ir/graph/graph.h"

/* `spec`: a name out of zoo.def, or "mlp:784,300,100,10" (any layer sizes). Input x [batch, channels, height, width]
 * ([batch, first size] for mlp) of pixels from 0 to 1 or standardised, batch symbolic ("N"); output logits [batch,
 * classes]. Dropout is left out. Errors: DEFT_INVALID, with the list of names.
 *
 *   name            input      parameters learned   multiply-adds    as in
 *   lenet-300-100   1x28x28               266,610         266,200    LECUN1998
 *   lenet-5         1x28x28               431,080       2,293,000    Caffe's, HAN2015
 *   cifarnet        3x32x32                89,578      12,298,240    CAFFE, cifar10_full
 *   resnet-20       3x32x32               272,474      40,813,184    HE2016, projection shortcuts (option B)
 *   vgg-16-cifar    3x32x32            14,986,698     313,463,808    LI2017
 *   alexnet         3x227x227          60,965,224     724,406,816    KRIZHEVSKY2012
 *   vgg-16          3x224x224         138,357,544  15,470,264,320    SIMONYAN2015, configuration D
 *   resnet-50       3x224x224          25,557,032   3,857,973,248    HE2016
 *   mobilenet-v1    3x224x224           4,231,976     568,740,352    HOWARD2017
 */
DEFT_MUST_CHECK deft_status deft_zoo_build(deft_context *ctx, const char *spec, deft_graph **graph);

#endif

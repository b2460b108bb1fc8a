/* --shape NAME=1,3,224,224: what the symbolic dimensions of inputs are. */
#ifndef DEFT_FACE_CLI_SHAPES_H
#define DEFT_FACE_CLI_SHAPES_H

#include "face/cli/options.h"
#include "ir/graph/graph.h"

typedef struct deft_shapes {
    deft_context *ctx;
    char *names[DEFT_TEXTS];
    deft_binding bindings[DEFT_TEXTS];
    int count;
} deft_shapes;

#define DEFT_SHAPE_OPTION(TYPE, FIELD)                                                                                 \
    {                                                                                                                  \
        "shape", 0, DEFT_OPTION_TEXTS, offsetof(TYPE, FIELD), "NAME=DIMS", "of an input, like x=1,3,224,224", 0, 0,    \
            false                                                                                                      \
    }

/* Released with deft_shapes_done, also where it fails. Error: DEFT_INVALID for what is not of this form. */
DEFT_MUST_CHECK deft_status deft_shapes_parse(deft_context *ctx, const deft_texts *texts, deft_shapes *shapes);
void deft_shapes_done(deft_shapes *shapes);

#endif

/* The main job: prune at rising sparsities, fine-tune, keep what is within the bound, measure against the original. */
#ifndef DEFT_DECIDE_TUNE_OPTIMIZE_H
#define DEFT_DECIDE_TUNE_OPTIMIZE_H

#include "ir/graph/graph.h"
#include "learn/data/dataset.h"

/* Does what deft_optimize (deft.h) says. `*fast` is a new graph with the recipe in its metadata; `*frontier` the JSON text of
 * frontier.json, released with deft_release. DEFT_NO: no point within the bound; both are then set too (the original's). */
DEFT_MUST_CHECK deft_status deft_optimize_graph(deft_context *ctx, const deft_graph *graph, const deft_dataset *data,
                                                const deft_optimize_options *options, deft_graph **fast,
                                                char **frontier, deft_point *chosen);

#endif

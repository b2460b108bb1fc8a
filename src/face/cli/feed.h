/* Arrays in files as the inputs of a model. */
#ifndef DEFT_FACE_CLI_FEED_H
#define DEFT_FACE_CLI_FEED_H

#include "face/api/model.h"
#include "face/cli/options.h"

/* An array for each input, by its index. */
typedef struct deft_feed {
    deft_context *ctx;
    const deft_graph *graph; /* while it is read; its names are the bindings' */
    int count;
    deft_tensor *tensors; /* data NULL: none yet */
    deft_binding *bindings;
} deft_feed;

/* Reads "[NAME=]FILE" arguments: an array without a name is for the first input that has none. Call deft_feed_done also
 * after a failure. Errors: those of deft_npy_load; DEFT_INVALID where an input has no array, or two, or one that does
 * not fit it. */
DEFT_MUST_CHECK deft_status deft_feed_read(deft_context *ctx, const deft_graph *graph, const deft_texts *arguments,
                                           deft_feed *feed);
/* Into a session that was planned with the feed's bindings; the graph need not be there any more. */
void deft_feed_copy(const deft_feed *feed, deft_session *session);
void deft_feed_done(deft_feed *feed);

#endif

/* A plan in the making: what the files of this room share. Arrays by value or node are in `scratch`, which goes when
 * the plan is made. */
#ifndef DEFT_EXEC_PLAN_PLANNER_H
#define DEFT_EXEC_PLAN_PLANNER_H

#include "exec/plan/plan.h"

/* What is fused into a node. */
typedef struct deft_fusion {
    int bias;     /* value id of a constant that is added, or DEFT_NO_VALUE */
    int residual; /* value id of what is added before the activation, or DEFT_NO_VALUE */
    int out;      /* the value that the node makes instead of its first output */
    deft_activation activation;
    deft_function function; /* in its place */
    float alpha;
} deft_fusion;

typedef struct deft_planner {
    deft_context *ctx;
    deft_graph *graph;
    const deft_plan_options *options; /* with a chooser */
    deft_plan *plan;
    deft_arena scratch;
    deft_kernel_memo *memo;
    /* by value */
    int *use_count;    /* by nodes and as outputs of the graph */
    int *user;         /* the last node that uses it */
    bool *pinned;      /* an input or output of the graph: lives to the end of a run */
    int *maker;        /* the node that makes it, which may have absorbed others; or -1 */
    int *home;         /* the value in whose memory it lies: itself, but for views */
    bool *viewed;      /* others lie in its memory */
    int64_t *nonzeros; /* of an f32 constant, once they have been counted; or -1 */
    /* by node */
    bool *absorbed; /* fused into another one, or a view: makes no step */
    deft_fusion *fusions;
    /* by step */
    deft_request *requests;
} deft_planner;

static inline bool deft_planner_is_constant(const deft_planner *p, int value) {
    return p->graph->values[value].desc.data != NULL;
}

/* Known ahead of time and not changed by training. */
static inline bool deft_planner_is_fixed(const deft_planner *p, int value) {
    return deft_planner_is_constant(p, value) && !p->graph->values[value].variable;
}

/* fuse.c: bias, residual and activation or function into the Gemm, MatMul, Conv or ConvTranspose that they follow. */
void deft_planner_fuse(deft_planner *p);
/* Of an f32 constant: read once, whoever asks. */
int64_t deft_planner_count_nonzeros(deft_planner *p, int value);
/* fuse.c: whether a convolution's constant f32 weight has so many zeros that it is for sparse kernels, which add no
 * residual and work on rows. */
bool deft_planner_has_zeros(deft_planner *p, const deft_node *conv);
/* fuse.c: values that are others in another shape share their memory. */
void deft_planner_alias_views(deft_planner *p);
/* layout.c: PANELS for the values between sparse products. */
DEFT_MUST_CHECK deft_status deft_planner_lay_out(deft_planner *p);
/* blocks.c: BLOCKS for the pictures between dense convolutions, forth and back. */
DEFT_MUST_CHECK deft_status deft_planner_block(deft_planner *p);
/* memory.c: offsets by lifetime. */
DEFT_MUST_CHECK deft_status deft_planner_place(deft_planner *p);

#endif

/* The plan: which kernel computes what, in which order, in which layout, at which place in memory. It decides nothing
 * about kernels: it obeys the chooser that it is given. */
#ifndef DEFT_EXEC_PLAN_PLAN_H
#define DEFT_EXEC_PLAN_PLAN_H

#include "codegen/kernel/kernel.h"
#include "ir/graph/graph.h"

typedef struct deft_choice {
    deft_kernel_id kernel;
    uint64_t schedule; /* of it; 0: its own estimate */
    double us;         /* what a run is expected to take; 0 where the chooser does not say */
    char why[96];      /* "12.1 us; dense 40.2 us" */
} deft_choice;

/* Chooses the kernel of one request; asked again with other layouts where that might save packing. Where no kernel
 * accepts the layouts, any choice will do. */
typedef deft_status (*deft_chooser)(void *user, deft_context *ctx, const deft_request *request, deft_choice *choice);
/* What times of several kernels say: the fastest (one of ours that multiplies by weights, where it is by 3% to 10%),
 * and what to tell it against: the fastest of the other kind (sparse or not), else the runner-up among other kernels.
 */
typedef struct deft_verdict {
    deft_kernel_id best, other; /* other: DEFT_KERNEL_COUNT where there is none */
    uint64_t schedule;          /* of the best */
    double best_us, other_us;
} deft_verdict;
/* Infinite times do not count; where all are, the best is the reference. */
deft_verdict deft_verdict_of(const deft_candidate *candidates, const double *ns, int count);
/* Writes it into a choice; `how` is "", "estimated " and the like. */
void deft_verdict_tell(const deft_verdict *verdict, const char *how, deft_choice *choice);

/* By analytical estimate, so the same on every run; `user` is not used. */
deft_status deft_choose_by_estimate(void *user, deft_context *ctx, const deft_request *request, deft_choice *choice);
/* The fastest kernel that is not sparse: the original to compare with. Where there are several, they are timed, about
 * 10 ms a layer, so the choice (and with it rounding) may differ from run to run; `user` is not used. */
deft_status deft_choose_dense(void *user, deft_context *ctx, const deft_request *request, deft_choice *choice);

/* The operators' own reference, which takes no time to prepare: where only shapes and memory matter. `user` is not
 * used.
 */
deft_status deft_choose_reference(void *user, deft_context *ctx, const deft_request *request, deft_choice *choice);

typedef struct deft_plan_options {
    int64_t batch; /* for symbolic dimensions; default 1 */
    const deft_binding *bindings;
    int binding_count;
    deft_chooser choose; /* default: by estimate */
    void *choose_user;
    bool inferred; /* the graph's shapes are bound: the plan takes the graph over, also where it fails */
    bool training; /* the graph is used as it is: no passes, no fusion; its variables may change between runs */
} deft_plan_options;

typedef struct deft_step {
    int node; /* of the plan's graph */
    int in_count, out_count;
    int *in, *out;                     /* value ids; DEFT_NO_VALUE where absent */
    bool residual;                     /* in[in_count - 1] is added before the activation */
    deft_layout in_layout, out_layout; /* of the pictures or matrices that change, and of out[0] */
    deft_activation activation;
    deft_function function;
    float alpha; /* of the function */
    deft_choice choice;
    deft_kernel kernel;
    int64_t macs, macs_nonzero;
} deft_step;

typedef struct deft_placement {
    int64_t offset; /* in the plan's memory; -1: not there (constants, and what was fused away) */
    size_t bytes;   /* of the place, rounded up; a view has the place of what it views */
    deft_layout layout;
} deft_placement;

typedef struct deft_plan {
    deft_context *ctx;
    deft_graph *graph; /* owned, but for training: a clone with shapes bound, after the passes. Weights that kernels
                          have packed have no data there */
    bool owns_graph;
    deft_arena arena;
    deft_step *steps;
    int step_count;
    deft_placement *placements; /* by value id */
    size_t memory_bytes;        /* activations, buffers reused by lifetime; inputs keep theirs, outputs from when they
                                   are made */
    size_t scratch_bytes;       /* the largest of the kernels' */
    int searches;               /* how often oneDNN was asked for implementations */
} deft_plan;

/* `graph` is cloned and may be freed before the plan, unless options->training, when it is used in place and must
 * outlive the plan. Errors: those of inference, passes and kernels. */
DEFT_MUST_CHECK deft_status deft_plan_new(deft_context *ctx, deft_graph *graph, const deft_plan_options *options,
                                          deft_plan **plan);
void deft_plan_free(deft_plan *plan);

#endif

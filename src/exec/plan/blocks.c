/* Pictures between the layers of a convolutional network stay in BLOCKS, the layout that the dense kernels compute in.
 *
 * At first every picture that could be is in BLOCKS. Then those go back to ROWS whose maker or one of whose readers has
 * no kernel for it, until all fit; and those next to a convolution that a sparse kernel computes faster from rows. */
#include "exec/plan/planner.h"

typedef struct assignment {
    deft_planner *p;
    deft_layout *layouts; /* by value */
    int *maker;           /* by value: the step, or -1 */
    deft_choice *choices; /* by step, as it is laid out now, where that is not all in ROWS */
    bool *stale;          /* by step: the layouts around it have changed since it was looked at */
} assignment;

/* What an input is to its operator. */
typedef enum input_role {
    PICTURE,  /* laid out as the request's in_layout says */
    IN_ROWS,  /* whatever that says */
    ITS_SHAPE /* is all that is read of it */
} input_role;

static input_role role_of(deft_op op, int input) {
    switch (op) {
    case DEFT_OP_CONV:
    case DEFT_OP_CONV_TRANSPOSE:
    case DEFT_OP_BATCH_NORM_TRAINING: /* what is learned comes after the picture */
        return input == 0 ? PICTURE : IN_ROWS;
    case DEFT_OP_CONV_INPUT_GRAD: /* dy, w, x */
        return input == 0 ? PICTURE : input == 1 ? IN_ROWS : ITS_SHAPE;
    case DEFT_OP_CONV_WEIGHT_GRAD: /* dy, x, w */
        return input < 2 ? PICTURE : ITS_SHAPE;
    case DEFT_OP_BATCH_NORM_GRAD: /* dy, x, scale, mean, variance */
        return input < 2 ? PICTURE : IN_ROWS;
    case DEFT_OP_AVERAGE_POOL_GRAD: /* dy, x */
        return input == 0 ? PICTURE : ITS_SHAPE;
    case DEFT_OP_GLOBAL_AVERAGE_POOL_GRAD: /* dy, x */
        return input == 0 ? IN_ROWS : ITS_SHAPE;
    default:
        return PICTURE;
    }
}

/* Whether its kernels read a constant picture as in_layout says. Those of element-wise operators know constants in rows
 * beside a picture in blocks; of others, pictures that are constant alone are in rows. */
static bool lays_out_constants(deft_op op) {
    return op == DEFT_OP_CONV_WEIGHT_GRAD || op == DEFT_OP_BATCH_NORM_GRAD || op == DEFT_OP_MAX_POOL_GRAD ||
           op == DEFT_OP_LRN_GRAD;
}

/* f32 pictures that only steps of the plan see, in their own shape. */
static bool may_be_blocks(const deft_planner *p, int value) {
    const deft_tensor *desc = &p->graph->values[value].desc;
    return desc->dtype == DEFT_F32 && desc->rank == 4 && deft_tensor_count(desc) > 0 && !desc->data &&
           !p->pinned[value] && p->home[value] == value && !p->viewed[value];
}

static deft_status begin(assignment *a) {
    deft_planner *p = a->p;
    size_t values = (size_t)p->graph->value_count, steps = (size_t)p->plan->step_count;
    DEFT_TRY(deft_arena_array(&p->scratch, values, sizeof *a->layouts, &a->layouts));
    DEFT_TRY(deft_arena_array(&p->scratch, values, sizeof *a->maker, &a->maker));
    DEFT_TRY(deft_arena_array(&p->scratch, steps, sizeof *a->choices, &a->choices));
    DEFT_TRY(deft_arena_array(&p->scratch, steps, sizeof *a->stale, &a->stale));
    for (int i = 0; i < p->graph->value_count; i++)
        a->maker[i] = -1;
    for (int i = 0; i < p->plan->step_count; i++) {
        const deft_step *step = &p->plan->steps[i];
        for (int j = 0; j < step->out_count; j++)
            if (step->out[j] != DEFT_NO_VALUE) a->maker[step->out[j]] = i;
        bool weight = p->requests[i].call.op == DEFT_OP_CONV_WEIGHT_GRAD;
        if (!weight && step->out[0] != DEFT_NO_VALUE && may_be_blocks(p, step->out[0]))
            a->layouts[step->out[0]] = DEFT_LAYOUT_BLOCKS;
        a->stale[i] = true;
    }
    for (int i = 0; i < p->plan->step_count; i++) {
        const deft_op_call *call = &p->requests[i].call;
        const int *in = p->plan->steps[i].in;
        for (int j = 0; j < call->in_count; j++)
            if (in[j] != DEFT_NO_VALUE && role_of(call->op, j) == IN_ROWS) a->layouts[in[j]] = DEFT_LAYOUT_ROWS;
    }
    return DEFT_OK;
}

/* The step's request with the layouts that its values have; false where its pictures differ in theirs, which a
 * ConvWeightGrad's may. */
static bool request_of(const assignment *a, int index, deft_request *request) {
    const deft_step *step = &a->p->plan->steps[index];
    *request = a->p->requests[index];
    request->out_layout = step->out[0] == DEFT_NO_VALUE ? DEFT_LAYOUT_ROWS : a->layouts[step->out[0]];
    deft_op op = request->call.op;
    bool mixed = false, first = true;
    for (int i = 0; i < step->in_count; i++) {
        if (step->in[i] == DEFT_NO_VALUE) continue;
        if (deft_planner_is_fixed(a->p, step->in[i]) && !lays_out_constants(op)) continue;
        deft_layout layout = a->layouts[step->in[i]];
        bool residual = i == request->call.in_count;
        if (residual && layout != request->out_layout) return false;
        if (residual || role_of(op, i) != PICTURE) continue;
        mixed |= !first && layout != request->in_layout;
        request->in_layout = layout;
        first = false;
    }
    if (!mixed || op != DEFT_OP_CONV_WEIGHT_GRAD) return !mixed;
    request->in_layout = DEFT_LAYOUT_BLOCKS;
    request->in_rows = a->layouts[step->in[0]] == DEFT_LAYOUT_ROWS ? 1 : 2;
    return true;
}

/* What the neighbours would pay to turn blocks into rows and back. */
static double reorder_us(const deft_request *request) {
    static const double bytes_per_us = 18000;
    size_t bytes = 0;
    if (request->in_layout == DEFT_LAYOUT_BLOCKS) bytes += deft_tensor_bytes(request->call.in[0]);
    if (request->out_layout == DEFT_LAYOUT_BLOCKS) bytes += deft_tensor_bytes(request->call.out[0]);
    return (double)bytes / bytes_per_us;
}

/* Whether the step computes as it is laid out now, no slower than a sparse kernel does from rows. */
static deft_status fits(const assignment *a, int index, bool *result) {
    const deft_step *step = &a->p->plan->steps[index];
    const deft_plan_options *options = a->p->options;
    deft_request request;
    deft_choice *choice = &a->choices[index];
    const char *why;
    *result = request_of(a, index, &request);
    bool rows = request.in_layout == DEFT_LAYOUT_ROWS && request.out_layout == DEFT_LAYOUT_ROWS;
    if (!*result || rows) return DEFT_OK;
    DEFT_TRY(options->choose(options->choose_user, a->p->ctx, &request, choice));
    *result = deft_kernels[choice->kernel].accepts(&request, &why);
    const deft_node *node = &a->p->graph->nodes[step->node];
    if (*result && deft_kernels[step->choice.kernel].sparse && deft_planner_has_zeros(a->p, node))
        *result &= choice->us <= step->choice.us + reorder_us(&request);
    return DEFT_OK;
}

static void use_rows(const assignment *a, int value, bool *changed) {
    if (value == DEFT_NO_VALUE || a->layouts[value] != DEFT_LAYOUT_BLOCKS) return;
    a->layouts[value] = DEFT_LAYOUT_ROWS;
    *changed = true;
    if (a->maker[value] >= 0) a->stale[a->maker[value]] = true;
    for (int i = 0; i < a->p->plan->step_count; i++)
        for (int j = 0; j < a->p->plan->steps[i].in_count; j++)
            a->stale[i] |= a->p->plan->steps[i].in[j] == value;
}

static deft_status settle(const assignment *a) {
    bool changed = true;
    while (changed) {
        changed = false;
        for (int i = 0; i < a->p->plan->step_count; i++) {
            const deft_step *step = &a->p->plan->steps[i];
            bool fitting;
            if (!a->stale[i]) continue;
            a->stale[i] = false;
            DEFT_TRY(fits(a, i, &fitting));
            if (fitting) continue;
            const deft_op_call *call = &a->p->requests[i].call;
            for (int j = 0; j < step->in_count; j++)
                if (j >= call->in_count || role_of(call->op, j) == PICTURE) use_rows(a, step->in[j], &changed);
            for (int j = 0; j < step->out_count; j++)
                use_rows(a, step->out[j], &changed);
        }
    }
    return DEFT_OK;
}

static void apply(const assignment *a) {
    deft_planner *p = a->p;
    for (int i = 0; i < p->plan->step_count; i++) {
        deft_step *step = &p->plan->steps[i];
        deft_request request;
        request_of(a, i, &request);
        if (request.in_layout == DEFT_LAYOUT_ROWS && request.out_layout == DEFT_LAYOUT_ROWS) continue;
        step->choice = a->choices[i];
        p->requests[i] = request;
        step->in_layout = request.in_layout;
        step->out_layout = request.out_layout;
        p->plan->placements[step->out[0]].layout = request.out_layout;
    }
}

deft_status deft_planner_block(deft_planner *p) {
    assignment a = {.p = p};
    DEFT_TRY(begin(&a));
    DEFT_TRY(settle(&a));
    apply(&a);
    return DEFT_OK;
}

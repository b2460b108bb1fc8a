/* Where the step that makes a matrix and all those that read it run faster with it in PANELS, it is kept in PANELS. The
 * chooser is asked what each would take. */
#include "exec/plan/planner.h"

#include <stdio.h>
#include <string.h>

/* A step as it would be with one of its values in PANELS. */
typedef struct change {
    deft_request request;
    deft_choice choice;
} change;

/* The steps around a value: the one that makes it, then those that read it. */
typedef struct neighbourhood {
    int value;
    int *steps;
    change *changes;
    int count;
} neighbourhood;

/* A matrix made by a product, that nothing but steps of the plan reads, in its own shape. */
static bool may_change_layout(const deft_planner *p, const deft_step *step) {
    deft_op op = p->graph->nodes[step->node].op;
    int value = step->out[0];
    if ((op != DEFT_OP_GEMM && op != DEFT_OP_MATMUL) || step->out_count != 1) return false;
    const deft_tensor *desc = &p->graph->values[value].desc;
    return desc->dtype == DEFT_F32 && desc->rank == 2 && !p->pinned[value] && p->home[value] == value &&
           !p->viewed[value];
}

/* Lists the steps; false where one reads the value as anything but its first input, or none reads it, or none is sparse
 * so far. */
static bool find_neighbours(const deft_planner *p, int producer, neighbourhood *around) {
    const deft_step *steps = p->plan->steps;
    bool sparse = deft_kernels[steps[producer].choice.kernel].sparse;
    around->value = steps[producer].out[0];
    around->steps[0] = producer;
    around->count = 1;
    int uses_left = p->use_count[around->value];
    for (int i = producer + 1; i < p->plan->step_count && uses_left > 0; i++) {
        for (int j = 1; j < steps[i].in_count; j++)
            if (steps[i].in[j] == around->value) return false;
        if (steps[i].in_count == 0 || steps[i].in[0] != around->value) continue;
        sparse |= deft_kernels[steps[i].choice.kernel].sparse;
        around->steps[around->count++] = i;
        uses_left--;
    }
    return sparse && around->count > 1;
}

static deft_request with_panels(const deft_planner *p, const neighbourhood *around, int index) {
    deft_request request = p->requests[around->steps[index]];
    *(index == 0 ? &request.out_layout : &request.in_layout) = DEFT_LAYOUT_PANELS;
    return request;
}

/* Before anything is timed: whether each step has a kernel for it at all. */
static bool is_possible(const deft_planner *p, neighbourhood *around) {
    deft_candidate candidates[DEFT_CANDIDATES];
    for (int i = 0; i < around->count; i++) {
        around->changes[i].request = with_panels(p, around, i);
        if (deft_kernel_candidates(&around->changes[i].request, false, candidates) == 0) return false;
    }
    return true;
}

static deft_status compare(deft_planner *p, neighbourhood *around, bool *better) {
    double rows_us = 0, panels_us = 0;
    for (int i = 0; i < around->count; i++) {
        change *c = &around->changes[i];
        const char *why;
        DEFT_TRY(p->options->choose(p->options->choose_user, p->ctx, &c->request, &c->choice));
        if (!deft_kernels[c->choice.kernel].accepts(&c->request, &why)) {
            *better = false;
            return DEFT_OK;
        }
        rows_us += p->plan->steps[around->steps[i]].choice.us;
        panels_us += c->choice.us;
    }
    *better = panels_us <= rows_us;
    return DEFT_OK;
}

/* Keeps what was said of the step in ROWS: that is where it was compared with dense kernels. */
static void explain(const deft_choice *before, deft_choice *after) {
    static const char between[] = "; in rows ";
    const char *rows = strstr(before->why, between), *other = "", *space = "";
    rows = rows ? rows + sizeof between - 1 : before->why;
    if (before->kernel != after->kernel) other = deft_kernels[before->kernel].name, space = " ";
    if (after->us > 0)
        snprintf(after->why, sizeof after->why, "in panels %.1f us%s%s%s%.50s", after->us, between, other, space, rows);
}

static void apply(deft_planner *p, const neighbourhood *around) {
    for (int i = 0; i < around->count; i++) {
        deft_step *step = &p->plan->steps[around->steps[i]];
        change *c = &around->changes[i];
        explain(&step->choice, &c->choice);
        step->choice = c->choice;
        p->requests[around->steps[i]] = c->request;
        step->in_layout = c->request.in_layout;
        step->out_layout = c->request.out_layout;
    }
    p->plan->placements[around->value].layout = DEFT_LAYOUT_PANELS;
}

deft_status deft_planner_lay_out(deft_planner *p) {
    neighbourhood around;
    size_t steps = (size_t)p->plan->step_count;
    DEFT_TRY(deft_arena_array(&p->scratch, steps, sizeof *around.steps, &around.steps));
    DEFT_TRY(deft_arena_array(&p->scratch, steps, sizeof *around.changes, &around.changes));
    for (int i = 0; i < p->plan->step_count; i++) {
        bool better = false;
        if (!may_change_layout(p, &p->plan->steps[i])) continue;
        if (!find_neighbours(p, i, &around) || !is_possible(p, &around)) continue;
        DEFT_TRY(compare(p, &around, &better));
        if (better) apply(p, &around);
    }
    return DEFT_OK;
}

#include "exec/plan/planner.h"

static bool accepts(const deft_step *step, const deft_request *request) {
    const char *why;
    return deft_kernels[step->choice.kernel].accepts(request, &why);
}

static double estimate_ns(const deft_step *step, const deft_request *request) {
    return deft_kernels[step->choice.kernel].estimate_ns(request);
}

/* A matrix that nothing but steps of the plan reads, in its own shape. */
static bool may_change_layout(const deft_planner *p, int value) {
    const deft_tensor *desc = &p->graph->values[value].desc;
    if (desc->dtype != DEFT_F32 || desc->rank != 2 || p->pinned[value] || p->home[value] != value) return false;
    for (int i = 0; i < p->graph->value_count; i++)
        if (i != value && p->home[i] == value) return false;
    return true;
}

/* How the step's request would be with its first input (or output) in PANELS. */
static deft_request with_panels(const deft_planner *p, int step, bool output) {
    deft_request request = p->requests[step];
    *(output ? &request.out_layout : &request.in_layout) = DEFT_LAYOUT_PANELS;
    return request;
}

/* Whether the step would run with the value, which it reads, in PANELS; adds what that costs (less than 0: saves). */
static bool reads_panels(const deft_planner *p, int index, int value, double *cost_ns) {
    const deft_step *step = &p->plan->steps[index];
    for (int i = 1; i < step->in_count; i++)
        if (step->in[i] == value) return false;
    deft_request request = with_panels(p, index, false);
    if (!deft_kernels[step->choice.kernel].sparse || !accepts(step, &request)) return false;
    *cost_ns += estimate_ns(step, &request) - estimate_ns(step, &p->requests[index]);
    return true;
}

static bool reads(const deft_step *step, int value) {
    for (int i = 0; i < step->in_count; i++)
        if (step->in[i] == value) return true;
    return false;
}

/* Whether what a step makes is better kept in PANELS by it and all that read it. */
static bool prefers_panels(const deft_planner *p, int producer) {
    const deft_step *step = &p->plan->steps[producer];
    int value = step->out[0], readers = 0;
    deft_request request = with_panels(p, producer, true);
    if (!accepts(step, &request)) return false;
    double cost_ns = estimate_ns(step, &request) - estimate_ns(step, &p->requests[producer]);
    for (int i = producer + 1; i < p->plan->step_count; i++) {
        if (!reads(&p->plan->steps[i], value)) continue;
        if (!reads_panels(p, i, value, &cost_ns)) return false;
        readers++;
    }
    return readers > 0 && cost_ns <= 0;
}

void deft_planner_lay_out(deft_planner *p) {
    for (int i = 0; i < p->plan->step_count; i++) {
        deft_step *step = &p->plan->steps[i];
        if (!deft_kernels[step->choice.kernel].sparse || step->out_count != 1) continue;
        int value = step->out[0];
        if (!may_change_layout(p, value) || !prefers_panels(p, i)) continue;
        p->requests[i].out_layout = step->out_layout = DEFT_LAYOUT_PANELS;
        for (int j = i + 1; j < p->plan->step_count; j++)
            if (reads(&p->plan->steps[j], value))
                p->requests[j].in_layout = p->plan->steps[j].in_layout = DEFT_LAYOUT_PANELS;
        p->plan->placements[value].layout = DEFT_LAYOUT_PANELS;
    }
}

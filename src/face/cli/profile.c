#include "face/cli/profile.h"

#include "base/core/timing.h"
#include "face/report/shape.h"

#include <math.h>

enum { MOST_RUNS = 200 };

typedef struct layer {
    const char *name, *op, *kernel, *why, *detail;
    double us, share, zeros;
    int64_t code_bytes;
} layer;

static const deft_column columns[] = {
    {"layer", "layer", DEFT_FIELD_TEXT, offsetof(layer, name), 0, NULL, 0, NULL},
    {"op", "op", DEFT_FIELD_TEXT, offsetof(layer, op), 0, NULL, 0, NULL},
    {"time_us", "us", DEFT_FIELD_REAL, offsetof(layer, us), 1, NULL, 0, NULL},
    {"share", "share", DEFT_FIELD_SHARE, offsetof(layer, share), 1, NULL, 0, NULL},
    {"kernel", "kernel", DEFT_FIELD_TEXT, offsetof(layer, kernel), 0, NULL, 0, NULL},
    {"zeros", "zeros", DEFT_FIELD_SHARE, offsetof(layer, zeros), 1, NULL, 0, NULL},
    {"code_bytes", "code", DEFT_FIELD_INT64, offsetof(layer, code_bytes), 0, NULL, 0, NULL},
    {"detail", NULL, DEFT_FIELD_TEXT, offsetof(layer, detail), 0, NULL, 0, NULL},
    {"why", "why", DEFT_FIELD_TEXT, offsetof(layer, why), 0, NULL, 0, NULL},
};

static const char *name_op(const deft_step *step, const deft_node *node, char *out, size_t bytes) {
    const deft_activation *activation = &step->activation;
    bool none = activation->low == -INFINITY && activation->high == INFINITY;
    bool relu = activation->low == 0 && activation->high == INFINITY;
    static const char *const functions[] = {[DEFT_FUNCTION_NONE] = "",
                                            [DEFT_FUNCTION_LEAKY_RELU] = "+LeakyRelu",
                                            [DEFT_FUNCTION_SWISH] = "+Swish",
                                            [DEFT_FUNCTION_HARD_SWISH] = "+HardSwish"};
    snprintf(out, bytes, "%s%s%s", deft_ops[node->op].name,
             none   ? ""
             : relu ? "+Relu"
                    : "+Clip",
             functions[step->function]);
    return out;
}

/* Times every step `runs` times: samples[step * runs + run], in microseconds. `step_ns` has room for a run. */
static deft_status time_steps(deft_cli *cli, deft_session *session, int64_t runs, int64_t *step_ns, double *samples) {
    deft_executor *executor = deft_program_executor(session->program);
    int steps = deft_executor_plan(executor)->step_count;
    for (int64_t run = 0; run < runs; run++) {
        for (int step = 0; step < steps; step++)
            step_ns[step] = 0;
        DEFT_TRY(deft_executor_run_timed(executor, step_ns));
        for (int step = 0; step < steps; step++)
            samples[step * runs + run] = (double)step_ns[step] / 1000;
        DEFT_TRY(deft_progress(cli->ctx, "profiling", (double)run / (double)runs));
    }
    return DEFT_OK;
}

static deft_status add_layer(deft_report *report, const deft_plan *plan, const deft_step *step, double us,
                             double total_us) {
    char op[48];
    const deft_node *node = &plan->graph->nodes[step->node];
    const deft_kernel *kernel = &step->kernel;
    layer row = {.name = deft_layer_name(plan->graph, node),
                 .op = name_op(step, node, op, sizeof op),
                 .kernel = kernel->def->name,
                 .why = step->choice.why,
                 .detail = kernel->detail,
                 .us = us,
                 .share = us / total_us,
                 .zeros = deft_share(kernel->weights - kernel->nonzeros, kernel->weights),
                 .code_bytes = (int64_t)kernel->code_bytes};
    return deft_report_row(report, &row);
}

static deft_status print_layers(deft_cli *cli, const deft_plan *plan, int64_t runs, double *samples) {
    double total_us = 0;
    /* a step's median takes the place of its first sample */
    for (int i = 0; i < plan->step_count; i++) {
        samples[i * runs] = deft_timing_of(samples + i * runs, runs).p50;
        total_us += samples[i * runs];
    }
    deft_report report;
    deft_cli_report(cli, &report, columns, sizeof columns / sizeof *columns);
    report.kind = "layer";
    deft_status status = DEFT_OK;
    for (int i = 0; status == DEFT_OK && i < plan->step_count; i++)
        status = add_layer(&report, plan, &plan->steps[i], samples[i * runs], total_us);
    deft_report_flush(&report);
    deft_report_done(&report);
    return status;
}

deft_status deft_profile_print(deft_cli *cli, deft_session *session, int64_t runs) {
    const deft_plan *plan = deft_executor_plan(deft_program_executor(session->program));
    size_t steps = (size_t)plan->step_count;
    int64_t *step_ns = NULL;
    double *samples = NULL;
    deft_status status;
    if (runs > MOST_RUNS) runs = MOST_RUNS;
    DEFT_TRY_OR_FAIL(deft_allocate_zeroed(cli->ctx, steps, sizeof *step_ns, &step_ns));
    DEFT_TRY_OR_FAIL(deft_allocate_zeroed(cli->ctx, steps * (size_t)runs, sizeof *samples, &samples));
    DEFT_TRY_OR_FAIL(time_steps(cli, session, runs, step_ns, samples));
    deft_console_clear(&cli->console);
    if (!cli->json) fputc('\n', cli->out);
    DEFT_TRY_OR_FAIL(print_layers(cli, plan, runs, samples));
fail:
    deft_release(cli->ctx, samples);
    deft_release(cli->ctx, step_ns);
    return status;
}

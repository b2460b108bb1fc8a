/* MaxPool and AveragePool on oneDNN. A maximum is exact; error of a mean: gamma(taps) sum|x| / taps.
 *
 * oneDNN's maximum forgets a NaN where Deft keeps it, so a picture that is not finite is left to the reference. */
#include "codegen/kernel/activation.h"
#include "codegen/kernel/dense.h"
#include "codegen/kernel/onednn.h"

typedef struct pool {
    deft_onednn *primitive;
    bool guarded;
    deft_kernel reference;
    int threads;
} pool;

/* With ceil_mode the last window hangs over the end: more padding, which a mean over padding would count. */
static bool reach_last_window(deft_window *window) {
    bool grown = false;
    for (int i = 0; i < 2; i++) {
        int64_t extent = (window->kernel[i] - 1) * window->dilation[i] + 1;
        int64_t needed = (window->out[i] - 1) * window->stride[i] + extent - window->in[i] - window->pad_begin[i];
        if (needed <= window->pad_end[i]) continue;
        window->pad_end[i] = needed;
        grown = true;
    }
    return grown;
}

static bool problem_of(const deft_request *request, deft_onednn_problem *problem, const char **why) {
    const deft_op_call *call = &request->call;
    *why = "it computes MaxPool and AveragePool only";
    if (call->op != DEFT_OP_MAX_POOL && call->op != DEFT_OP_AVERAGE_POOL) return false;
    *why = "it applies no activation";
    if (!deft_activation_is_none(request->activation)) return false;
    *why = "it works on f32 only";
    if (call->in[0]->dtype != DEFT_F32) return false;
    *why = "it works on row-major tensors only";
    if (request->in_layout != DEFT_LAYOUT_ROWS || request->out_layout != DEFT_LAYOUT_ROWS) return false;
    *problem =
        (deft_onednn_problem){.kind = call->op == DEFT_OP_MAX_POOL ? DEFT_ONEDNN_MAX_POOL : DEFT_ONEDNN_AVERAGE_POOL,
                              .threads = deft_dense_threads(request),
                              .plain = true,
                              .include_padding = deft_attr_int(call->attrs, "count_include_pad", 0) != 0};
    *why = "there is nothing to compute: a dimension is 0";
    if (deft_tensor_count(call->in[0]) == 0) return false;
    if (deft_window_of_pool(call, call->in[0], &problem->window) != DEFT_OK) return false;
    *why = "windows that hang over the end would count as padding in the mean";
    return !reach_last_window(&problem->window) || !problem->include_padding || problem->kind == DEFT_ONEDNN_MAX_POOL;
}

bool deft_dense_pool_accepts(const deft_request *request, const char **why) {
    deft_onednn_problem problem;
    if (!deft_dense_schedule_exists(request->schedule, why) || !problem_of(request, &problem, why)) return false;
    *why = "oneDNN has no fast implementation of this pooling";
    return deft_onednn_supports(&problem);
}

double deft_dense_pool_estimate_ns(const deft_request *request) {
    deft_onednn_problem problem;
    const char *why;
    if (!problem_of(request, &problem, &why)) return __builtin_inf();
    double taps = (double)(problem.window.kernel[0] * problem.window.kernel[1]);
    return 500 + (double)deft_tensor_count(request->call.in[0]) * (0.4 + 0.1 * taps);
}

deft_status deft_dense_pool_prepare(deft_context *ctx, const deft_request *request, deft_kernel *kernel) {
    deft_onednn_problem problem;
    const char *why;
    pool *state;
    deft_status status;
    DEFT_TRY(deft_allocate_zeroed(ctx, 1, sizeof *state, &state));
    problem_of(request, &problem, &why);
    state->guarded = problem.kind == DEFT_ONEDNN_MAX_POOL;
    state->threads = deft_dense_threads(request);
    DEFT_TRY_OR_FAIL(deft_onednn_new(ctx, &problem, &state->primitive));
    if (state->guarded) DEFT_TRY_OR_FAIL(deft_kernel_prepare(ctx, DEFT_KERNEL_REFERENCE, request, &state->reference));
    kernel->state = state;
    kernel->scratch_bytes = deft_onednn_scratch_bytes(state->primitive);
    kernel->detail = deft_onednn_implementation(state->primitive);
    return DEFT_OK;
fail:
    deft_onednn_free(ctx, state->primitive);
    deft_release(ctx, state);
    return status;
}

deft_status deft_dense_pool_run(deft_context *ctx, const deft_kernel *kernel, const deft_tensor *const *in,
                                deft_tensor *const *out, void *scratch) {
    const pool *state = kernel->state;
    if (state->guarded && !deft_dense_all_finite(in[0]->data, deft_tensor_count(in[0]), state->threads))
        return state->reference.def->run(ctx, &state->reference, in, out, scratch);
    const void *operands[DEFT_ONEDNN_OPERANDS] = {[DEFT_ONEDNN_X] = in[0]->data, [DEFT_ONEDNN_Y] = out[0]->data};
    return deft_onednn_run(ctx, state->primitive, operands, scratch);
}

void deft_dense_pool_done(deft_context *ctx, deft_kernel *kernel) {
    pool *state = kernel->state;
    deft_kernel_done(ctx, &state->reference);
    deft_onednn_free(ctx, state->primitive);
    deft_release(ctx, state);
}

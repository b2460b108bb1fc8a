/* MaxPool, AveragePool and GlobalAveragePool on oneDNN. A maximum is exact; error of a mean: gamma(taps) sum|x| / taps.
 *
 * oneDNN's maximum forgets a NaN where Deft keeps it, so where the CPU has noted an invalid operation and the picture
 * is not finite, it is computed again: by the reference, or in BLOCKS by plain loops. */
#include "codegen/kernel/activation.h"
#include "codegen/kernel/dense.h"
#include "codegen/kernel/onednn.h"

typedef struct pool {
    deft_onednn *primitive;
    bool guarded;
    deft_window window;
    bool blocked;
    deft_kernel reference; /* where it is not blocked */
    int threads, lanes;
    int64_t x_count; /* elements, as they are laid out */
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

/* The window is the picture. */
static void cover_picture(const deft_tensor *x, deft_window *window) {
    *window =
        (deft_window){.spatial = 2, .batch = x->dims[0], .channels = x->dims[1], .filters = x->dims[1], .groups = 1};
    for (int i = 0; i < 2; i++) {
        window->in[i] = window->kernel[i] = x->dims[2 + i];
        window->out[i] = window->stride[i] = window->dilation[i] = 1;
    }
}

static bool window_of(const deft_op_call *call, const deft_onednn_problem *problem, deft_window *window,
                      const char **why) {
    *why = "there is nothing to compute: a dimension is 0";
    if (deft_tensor_count(call->in[0]) == 0) return false;
    *why = "the picture is not of two dimensions";
    if (call->op == DEFT_OP_GLOBAL_AVERAGE_POOL) {
        if (call->in[0]->rank != 4) return false;
        cover_picture(call->in[0], window);
        return true;
    }
    if (deft_window_of_pool(call, call->in[0], window) != DEFT_OK) return false;
    *why = "windows that hang over the end would count as padding in the mean";
    return !reach_last_window(window) || !problem->include_padding || problem->kind == DEFT_ONEDNN_MAX_POOL;
}

static bool problem_of(const deft_request *request, deft_onednn_problem *problem, const char **why) {
    const deft_op_call *call = &request->call;
    *why = "it computes MaxPool, AveragePool and GlobalAveragePool only";
    bool global = call->op == DEFT_OP_GLOBAL_AVERAGE_POOL;
    if (call->op != DEFT_OP_MAX_POOL && call->op != DEFT_OP_AVERAGE_POOL && !global) return false;
    *why = "it applies no activation";
    if (!deft_activation_is_none(request->activation)) return false;
    *why = "it does not tell where the maximum was";
    if (call->out_count > 1 && call->out[1]) return false;
    *why = "it works on f32 only";
    if (call->in[0]->dtype != DEFT_F32) return false;
    bool in = request->in_layout == DEFT_LAYOUT_BLOCKS, out = request->out_layout == DEFT_LAYOUT_BLOCKS;
    *why = "it works on row-major pictures or on blocks; a mean may turn blocks into rows";
    if (request->in_layout == DEFT_LAYOUT_PANELS || request->out_layout == DEFT_LAYOUT_PANELS) return false;
    if (in != out && (out || call->op == DEFT_OP_MAX_POOL)) return false;
    if (in && call->in[0]->rank != 4) return false;
    *problem =
        (deft_onednn_problem){.kind = call->op == DEFT_OP_MAX_POOL ? DEFT_ONEDNN_MAX_POOL : DEFT_ONEDNN_AVERAGE_POOL,
                              .threads = deft_dense_threads(request),
                              .plain = !in,
                              .lanes = in ? deft_block_lanes(request->isa) : 0,
                              .x_blocked = in,
                              .y_blocked = out,
                              .include_padding = deft_attr_int(call->attrs, "count_include_pad", 0) != 0};
    return window_of(call, problem, &problem->window, why);
}

bool deft_dense_pool_accepts(const deft_request *request, const char **why) {
    deft_onednn_problem problem;
    if (!deft_dense_schedule_exists(request->schedule, why) || !problem_of(request, &problem, why)) return false;
    *why = "oneDNN has no fast implementation of this pooling";
    return request->presumed || deft_onednn_supports(request->memo, &problem);
}

double deft_dense_pool_estimate_ns(const deft_request *request) {
    deft_onednn_problem problem;
    const char *why;
    if (!problem_of(request, &problem, &why)) return __builtin_inf();
    double taps = (double)(problem.window.kernel[0] * problem.window.kernel[1]);
    double taps_of_all = taps * (double)deft_tensor_count(request->call.out[0]);
    if (problem.x_blocked) return 500 + 0.1 * taps_of_all;
    return 500 + 0.4 * (double)deft_tensor_count(request->call.in[0]) + 0.4 * taps_of_all;
}

deft_status deft_dense_pool_prepare(deft_context *ctx, const deft_request *request, deft_kernel *kernel) {
    deft_onednn_problem problem;
    const char *why;
    pool *state;
    deft_status status;
    DEFT_TRY(deft_allocate_zeroed(ctx, 1, sizeof *state, &state));
    problem_of(request, &problem, &why);
    state->window = problem.window;
    state->blocked = problem.x_blocked;
    state->lanes = (int)problem.lanes;
    state->guarded = problem.kind == DEFT_ONEDNN_MAX_POOL;
    state->threads = deft_dense_threads(request);
    state->x_count =
        (int64_t)(deft_layout_bytes(request->call.in[0], request->in_layout, request->isa) / sizeof(float));
    DEFT_TRY_OR_FAIL(deft_onednn_new(ctx, request->memo, &problem, &state->primitive));
    if (state->guarded && !state->blocked)
        DEFT_TRY_OR_FAIL(deft_kernel_prepare(ctx, DEFT_KERNEL_REFERENCE, request, &state->reference));
    kernel->state = state;
    kernel->scratch_bytes = deft_onednn_scratch_bytes(state->primitive);
    kernel->detail = deft_onednn_implementation(state->primitive);
    return DEFT_OK;
fail:
    deft_onednn_free(ctx, state->primitive);
    deft_release(ctx, state);
    return status;
}

/* y[lane] = the largest of x in the window of (oy, ox); a NaN stays. x: a block of channels of one picture. */
static void find_largest(const deft_window *window, const float *x, int64_t oy, int64_t ox, int lanes, float *y) {
    int64_t y_begin, y_end, x_begin, x_end;
    deft_window_taps(window, 0, oy, &y_begin, &y_end);
    deft_window_taps(window, 1, ox, &x_begin, &x_end);
    for (int lane = 0; lane < lanes; lane++)
        y[lane] = -__builtin_inff();
    for (int64_t ty = y_begin; ty < y_end; ty++)
        for (int64_t tx = x_begin; tx < x_end; tx++) {
            int64_t iy = oy * window->stride[0] + ty * window->dilation[0] - window->pad_begin[0];
            int64_t ix = ox * window->stride[1] + tx * window->dilation[1] - window->pad_begin[1];
            const float *pixel = x + (iy * window->in[1] + ix) * lanes;
            for (int lane = 0; lane < lanes; lane++)
                y[lane] = pixel[lane] <= y[lane] || y[lane] != y[lane] ? y[lane] : pixel[lane];
        }
}

static void find_all_largest(const pool *state, const float *x, float *y) {
    const deft_window *window = &state->window;
    int64_t blocks = window->batch * ((window->channels + state->lanes - 1) / state->lanes);
    int64_t out = window->out[0] * window->out[1], in = window->in[0] * window->in[1];
    for (int64_t i = 0; i < blocks * out; i++)
        find_largest(window, x + i / out * in * state->lanes, i % out / window->out[1], i % window->out[1],
                     state->lanes, y + i * state->lanes);
}

deft_status deft_dense_pool_run(deft_context *ctx, const deft_kernel *kernel, const deft_tensor *const *in,
                                deft_tensor *const *out, void *scratch) {
    const pool *state = kernel->state;
    const void *operands[DEFT_ONEDNN_OPERANDS] = {[DEFT_ONEDNN_X] = in[0]->data, [DEFT_ONEDNN_Y] = out[0]->data};
    deft_dense_forget_invalid();
    DEFT_TRY(deft_onednn_run(ctx, state->primitive, operands, scratch));
    if (!state->guarded || !deft_dense_met_invalid(state->threads)) return DEFT_OK;
    if (deft_dense_all_finite(in[0]->data, state->x_count, state->threads)) return DEFT_OK;
    if (!state->blocked) return state->reference.def->run(ctx, &state->reference, in, out, scratch);
    find_all_largest(state, in[0]->data, out[0]->data);
    return DEFT_OK;
}

void deft_dense_pool_done(deft_context *ctx, deft_kernel *kernel) {
    pool *state = kernel->state;
    deft_kernel_done(ctx, &state->reference);
    deft_onednn_free(ctx, state->primitive);
    deft_release(ctx, state);
}

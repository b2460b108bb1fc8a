/* Conv and its gradients on oneDNN. Three kernels, since no one of them is always the fastest: `dense` lets oneDNN
 * choose its blocked layouts and pays for the reorders from and to NCHW, `dense-nchw` keeps pictures row-major, and
 * `dense-winograd` computes 3x3 convolutions with fewer multiplications. Reorders are part of a run's time.
 *
 * error of the first two: |Y - Y64| <= gamma(k + 1) (sum|w||x| + |b|), k the products summed for an element (for a
 * weight gradient: batch * output positions). Winograd's error is bound by the largest of these in a picture, times
 * about 50.
 *
 * The activation runs inside of the primitive, which makes a NaN the lower bound where Deft keeps NaN. So a picture or
 * weight that is not finite is left to the reference; finite ones can only make a NaN by overflow to both infinities.
 */
#include "codegen/kernel/activation.h"
#include "codegen/kernel/dense.h"
#include "codegen/kernel/onednn.h"

typedef enum conv_method { BLOCKED, NCHW, WINOGRAD } conv_method;

typedef struct conv {
    deft_onednn *primitive;
    deft_onednn_operand in[3]; /* which operands the inputs of the node are */
    int in_count;
    deft_onednn_operand out;
    bool guarded; /* inputs must be finite, or the reference is run */
    bool weight_is_finite;
    deft_kernel reference;
    int threads;
} conv;

/* Which tensors of the call are the picture, the weight and the bias, and which operand is which input. */
typedef struct roles {
    deft_onednn_kind kind;
    const deft_tensor *x, *w, *b;
    deft_onednn_operand in[3];
    deft_onednn_operand out;
} roles;

static bool roles_of(const deft_op_call *call, roles *r) {
    const deft_tensor *const *in = call->in;
    switch (call->op) {
    case DEFT_OP_CONV:
        *r = (roles){DEFT_ONEDNN_CONV,
                     in[0],
                     in[1],
                     call->in_count > 2 ? in[2] : NULL,
                     {DEFT_ONEDNN_X, DEFT_ONEDNN_W, DEFT_ONEDNN_B},
                     DEFT_ONEDNN_Y};
        return true;
    case DEFT_OP_CONV_INPUT_GRAD: /* the third input of a gradient is there for its shape */
        *r = (roles){DEFT_ONEDNN_CONV_INPUT_GRAD,
                     in[2],
                     in[1],
                     NULL,
                     {DEFT_ONEDNN_Y, DEFT_ONEDNN_W, DEFT_ONEDNN_B},
                     DEFT_ONEDNN_X};
        return true;
    case DEFT_OP_CONV_WEIGHT_GRAD:
        *r = (roles){DEFT_ONEDNN_CONV_WEIGHT_GRAD,
                     in[1],
                     in[2],
                     NULL,
                     {DEFT_ONEDNN_Y, DEFT_ONEDNN_X, DEFT_ONEDNN_B},
                     DEFT_ONEDNN_W};
        return true;
    default:
        return false;
    }
}

static bool is_empty(const deft_window *window) {
    return window->batch == 0 || window->channels == 0 || window->filters == 0 || window->in[0] == 0 ||
           window->in[1] == 0;
}

static bool problem_of(const deft_request *request, conv_method method, deft_onednn_problem *problem, roles *r,
                       const char **why) {
    const deft_op_call *call = &request->call;
    *why = method == BLOCKED ? "it computes Conv and its gradients only" : "it computes Conv only";
    if (!roles_of(call, r) || (method != BLOCKED && r->kind != DEFT_ONEDNN_CONV)) return false;
    if (!deft_dense_schedule_exists(request->schedule, why)) return false;
    *why = "it works on f32 only";
    if (r->x->dtype != DEFT_F32 || r->w->dtype != DEFT_F32) return false;
    *why = "it works on row-major tensors only";
    if (request->in_layout != DEFT_LAYOUT_ROWS || request->out_layout != DEFT_LAYOUT_ROWS) return false;
    *problem = (deft_onednn_problem){.kind = r->kind,
                                     .threads = deft_dense_threads(request),
                                     .has_bias = r->b != NULL,
                                     .activation = request->activation,
                                     .weight = r->kind == DEFT_ONEDNN_CONV ? r->w->data : NULL,
                                     .plain = method == NCHW,
                                     .winograd = method == WINOGRAD};
    *why = "there is nothing to compute: a dimension is 0";
    if (deft_window_of_conv(call, r->x, r->w, &problem->window) != DEFT_OK || is_empty(&problem->window)) return false;
    *why = "oneDNN has no fast implementation of this convolution";
    return true;
}

static bool accepts(const deft_request *request, conv_method method, const char **why) {
    deft_onednn_problem problem;
    roles r;
    if (!problem_of(request, method, &problem, &r, why)) return false;
    const deft_window *o = &problem.window;
    if (method == WINOGRAD && (o->kernel[0] != 3 || o->kernel[1] != 3)) return false;
    return deft_onednn_supports(&problem);
}

static double estimate(const deft_request *request, conv_method method, double efficiency) {
    deft_onednn_problem problem;
    roles r;
    const char *why;
    if (!problem_of(request, method, &problem, &r, &why)) return __builtin_inf();
    const deft_window *o = &problem.window;
    double outputs = (double)o->batch * (double)o->filters * (double)o->out[0] * (double)o->out[1];
    double inputs = (double)deft_tensor_count(r.x), weights = (double)deft_tensor_count(r.w);
    double macs = o->filters ? outputs * weights / (double)o->filters : 0;
    double reorders = method == NCHW ? 1 : 3; /* each reads and writes what it reorders */
    double bytes = (double)sizeof(float) * ((inputs + outputs) * reorders + weights);
    return 2000 + deft_dense_estimate_ns(request->isa, macs, bytes, efficiency);
}

static deft_status prepare(deft_context *ctx, const deft_request *request, conv_method method, deft_kernel *kernel) {
    deft_onednn_problem problem;
    roles r;
    const char *why;
    conv *state;
    deft_status status;
    DEFT_TRY(deft_allocate_zeroed(ctx, 1, sizeof *state, &state));
    problem_of(request, method, &problem, &r, &why);
    for (int i = 0; i < 3; i++)
        state->in[i] = r.in[i];
    state->in_count = r.kind == DEFT_ONEDNN_CONV ? 2 + (r.b != NULL) : 2;
    state->out = r.out;
    state->threads = deft_dense_threads(request);
    state->guarded = r.kind == DEFT_ONEDNN_CONV && !deft_activation_is_none(request->activation);
    state->weight_is_finite =
        !problem.weight || deft_dense_all_finite(problem.weight, deft_tensor_count(r.w), state->threads);
    DEFT_TRY_OR_FAIL(deft_onednn_new(ctx, &problem, &state->primitive));
    if (state->guarded) DEFT_TRY_OR_FAIL(deft_kernel_prepare(ctx, DEFT_KERNEL_REFERENCE, request, &state->reference));
    if (problem.weight) deft_dense_count_weights(r.w, kernel);
    kernel->state = state;
    kernel->scratch_bytes = deft_onednn_scratch_bytes(state->primitive);
    kernel->weight_bytes = deft_onednn_weight_bytes(state->primitive);
    kernel->detail = deft_onednn_implementation(state->primitive);
    return DEFT_OK;
fail:
    deft_onednn_free(ctx, state->primitive);
    deft_release(ctx, state);
    return status;
}

static deft_status run(deft_context *ctx, const deft_kernel *kernel, const deft_tensor *const *in,
                       deft_tensor *const *out, void *scratch) {
    const conv *state = kernel->state;
    if (state->guarded &&
        !(state->weight_is_finite && deft_dense_all_finite(in[0]->data, deft_tensor_count(in[0]), state->threads)))
        return state->reference.def->run(ctx, &state->reference, in, out, scratch);
    const void *operands[DEFT_ONEDNN_OPERANDS] = {NULL};
    for (int i = 0; i < state->in_count; i++)
        operands[state->in[i]] = in[i]->data;
    operands[state->out] = out[0]->data;
    return deft_onednn_run(ctx, state->primitive, operands, scratch);
}

static void done(deft_context *ctx, deft_kernel *kernel) {
    conv *state = kernel->state;
    deft_kernel_done(ctx, &state->reference);
    deft_onednn_free(ctx, state->primitive);
    deft_release(ctx, state);
}

/* ---- the rows of the table ----------------------------------------------------------------------------------- */

bool deft_dense_conv_accepts(const deft_request *request, const char **why) {
    return accepts(request, BLOCKED, why);
}

double deft_dense_conv_estimate_ns(const deft_request *request) {
    return estimate(request, BLOCKED, 0.7);
}

deft_status deft_dense_conv_prepare(deft_context *ctx, const deft_request *request, deft_kernel *kernel) {
    return prepare(ctx, request, BLOCKED, kernel);
}

deft_status deft_dense_conv_run(deft_context *ctx, const deft_kernel *kernel, const deft_tensor *const *in,
                                deft_tensor *const *out, void *scratch) {
    return run(ctx, kernel, in, out, scratch);
}

void deft_dense_conv_done(deft_context *ctx, deft_kernel *kernel) {
    done(ctx, kernel);
}

bool deft_dense_nchw_accepts(const deft_request *request, const char **why) {
    return accepts(request, NCHW, why);
}

double deft_dense_nchw_estimate_ns(const deft_request *request) {
    return estimate(request, NCHW, 0.35);
}

deft_status deft_dense_nchw_prepare(deft_context *ctx, const deft_request *request, deft_kernel *kernel) {
    return prepare(ctx, request, NCHW, kernel);
}

deft_status deft_dense_nchw_run(deft_context *ctx, const deft_kernel *kernel, const deft_tensor *const *in,
                                deft_tensor *const *out, void *scratch) {
    return run(ctx, kernel, in, out, scratch);
}

void deft_dense_nchw_done(deft_context *ctx, deft_kernel *kernel) {
    done(ctx, kernel);
}

bool deft_dense_winograd_accepts(const deft_request *request, const char **why) {
    return accepts(request, WINOGRAD, why);
}

/* Fewer multiplications, but not always less time: only a measurement prefers it. */
double deft_dense_winograd_estimate_ns(const deft_request *request) {
    return 1.1 * estimate(request, BLOCKED, 0.7);
}

deft_status deft_dense_winograd_prepare(deft_context *ctx, const deft_request *request, deft_kernel *kernel) {
    return prepare(ctx, request, WINOGRAD, kernel);
}

deft_status deft_dense_winograd_run(deft_context *ctx, const deft_kernel *kernel, const deft_tensor *const *in,
                                    deft_tensor *const *out, void *scratch) {
    return run(ctx, kernel, in, out, scratch);
}

void deft_dense_winograd_done(deft_context *ctx, deft_kernel *kernel) {
    done(ctx, kernel);
}

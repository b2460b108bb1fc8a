/* Conv, ConvTranspose and Conv's gradients on oneDNN. Three kernels, since no one of them is always the fastest:
 * `dense` computes in blocked layouts and pays for reorders where its pictures are row-major outside, `dense-nchw`
 * keeps them row-major, and `dense-winograd` computes 3x3 convolutions with fewer multiplications. Reorders are part of
 * a run's time.
 *
 * error of the first two: |Y - Y64| <= gamma(k + 1) (sum|w||x| + |b|), k the products summed for an element (for a
 * weight gradient: batch * output positions).
 *
 * Winograd's: Y = A' (sum over channels of (G w G') (B' x B)) A, tiles of 4x4 interpolated at 0, +-5/8, +-3/2 and
 * infinity, as oneDNN has them. The computed Y is the same sum of products of entries, each off by at most as many
 * factors 1 + u as it goes through roundings: 4 in a pass of G, 4 of B', 5 of A', each in two dimensions, and one for
 * each channel. So |Y - Y64| <= gamma(channels + 40) times the sum with all entries made positive (the bias and the
 * residual, and the shortcuts that the passes share, are of the 40; HIGHAM2002). With the largest |w| and |x| of each
 * channel before it, that sum is at most the square of the largest row of |A'| diag(rows of |G| times rows of |B'|),
 * 23.746:
 *     |Y - Y64| <= gamma(channels + 40) (564 sum over channels of max|w| max|x| + |b| + |r|),
 * where none of these sums overflows.
 *
 * The activation runs inside of the primitive, which makes a NaN the lower bound where Deft keeps NaN. So where the CPU
 * has noted an invalid operation, and a picture or weight is not finite, everything is computed again by a primitive
 * without an activation, which is made when it is first needed. Finite ones can only make a NaN by overflow to both
 * infinities.
 */
#include "codegen/kernel/activation.h"
#include "codegen/kernel/dense.h"
#include "codegen/kernel/linear.h"
#include "codegen/kernel/onednn.h"
#include "codegen/kernel/vector.h"

typedef enum conv_method { BLOCKED, NCHW, WINOGRAD } conv_method;

typedef struct conv {
    deft_onednn_problem problem;
    deft_onednn *primitive;
    deft_onednn *careful;      /* the same without its activation; or NULL */
    deft_onednn_operand in[3]; /* which operands the inputs of the node are */
    int in_count;
    deft_onednn_operand out;
    bool guarded; /* inputs must be finite, or the careful one is run */
    bool weight_is_finite;
    int64_t x_count, y_count; /* elements, as they are laid out */
    deft_activation activation;
    const deft_vector_loops *loops;
    deft_function function; /* applied by them, after the primitive: the careful one's, and Winograd's */
    float alpha;
    bool transposed, has_bias; /* ConvTranspose: a bias is added, and the activation applied, to the rows of y */
    int64_t y_rows;
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
    case DEFT_OP_CONV_TRANSPOSE: /* the gradient of the convolution of its output; its bias is added after that */
        *r = (roles){DEFT_ONEDNN_CONV_INPUT_GRAD,
                     call->out[0],
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

static bool is_gradient(deft_op op) {
    return op == DEFT_OP_CONV_INPUT_GRAD || op == DEFT_OP_CONV_WEIGHT_GRAD;
}

static bool is_empty(const deft_window *window) {
    return window->batch == 0 || window->channels == 0 || window->filters == 0 || window->in[0] == 0 ||
           window->in[1] == 0;
}

static void swap(int64_t pair[2]) {
    int64_t first = pair[0];
    pair[0] = pair[1];
    pair[1] = first;
}

/* Pictures of one column lie in memory as those of one row do, in which oneDNN vectorises along the row. */
static void lay_down(deft_window *w) {
    if (w->in[1] != 1 || w->out[1] != 1 || w->kernel[1] != 1 || w->in[0] == 1) return;
    int64_t *const pairs[] = {w->in, w->out, w->kernel, w->stride, w->dilation, w->pad_begin, w->pad_end};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        swap(pairs[i]);
}

/* Pictures are in ROWS or BLOCKS. */
static bool layouts_of(const deft_request *request, conv_method method, deft_onednn_problem *problem,
                       const char **why) {
    deft_layout in = request->in_layout, out = request->out_layout;
    *why = "it reads and writes no panels";
    if (in == DEFT_LAYOUT_PANELS || out == DEFT_LAYOUT_PANELS) return false;
    bool in_blocks = in == DEFT_LAYOUT_BLOCKS, out_blocks = out == DEFT_LAYOUT_BLOCKS,
         blocked = in_blocks || out_blocks;
    if (blocked || method == WINOGRAD) problem->lanes = deft_block_lanes(request->isa);
    if (!blocked) return true;
    switch (request->call.op) {
    case DEFT_OP_CONV:
        problem->x_blocked = in_blocks;
        problem->y_blocked = out_blocks;
        break;
    case DEFT_OP_CONV_INPUT_GRAD:
        problem->y_blocked = in_blocks;
        problem->x_blocked = out_blocks;
        break;
    case DEFT_OP_CONV_WEIGHT_GRAD:
        problem->y_blocked = in_blocks && !(request->in_rows & 1);
        problem->x_blocked = in_blocks && !(request->in_rows & 2);
        break;
    default:
        break;
    }
    *why = "of pictures in blocks it computes Conv and its gradients only";
    bool makes_weight = request->call.op == DEFT_OP_CONV_WEIGHT_GRAD;
    return method != NCHW && request->call.op != DEFT_OP_CONV_TRANSPOSE && request->call.in[0]->rank == 4 &&
           !(makes_weight && out_blocks);
}

static bool problem_of(const deft_request *request, conv_method method, deft_onednn_problem *problem, roles *r,
                       const char **why) {
    const deft_op_call *call = &request->call;
    *why = method == BLOCKED ? "it computes Conv, ConvTranspose and Conv's gradients only" : "it computes Conv only";
    if (!roles_of(call, r) || (method != BLOCKED && r->kind != DEFT_ONEDNN_CONV)) return false;
    if (!deft_dense_schedule_exists(request->schedule, why)) return false;
    *why = "it works on f32 only";
    if (r->x->dtype != DEFT_F32 || r->w->dtype != DEFT_F32) return false;
    *problem = (deft_onednn_problem){.kind = r->kind,
                                     .threads = deft_dense_threads(request),
                                     .has_bias = r->b != NULL,
                                     .has_residual = request->residual != NULL,
                                     .activation = request->activation,
                                     .weight = is_gradient(call->op) ? NULL : r->w->data,
                                     .plain = method == NCHW,
                                     .winograd = method == WINOGRAD};
    if (method != WINOGRAD) problem->function = request->function;
    problem->alpha = request->alpha;
    if (!layouts_of(request, method, problem, why)) return false;
    *why = "weights that change are transformed in every run";
    if (method == WINOGRAD && !problem->weight && (problem->x_blocked || problem->y_blocked)) return false;
    *why = "there is nothing to compute: a dimension is 0";
    deft_status found = call->op == DEFT_OP_CONV_TRANSPOSE
                            ? deft_window_of_transpose(call, call->in[0], r->w, &problem->window)
                            : deft_window_of_conv(call, r->x, r->w, &problem->window);
    if (found != DEFT_OK || is_empty(&problem->window)) return false;
    lay_down(&problem->window);
    *why = "oneDNN has no fast implementation of this convolution";
    return true;
}

static bool accepts(const deft_request *request, conv_method method, const char **why) {
    deft_onednn_problem problem;
    roles r;
    if (!problem_of(request, method, &problem, &r, why)) return false;
    const deft_window *o = &problem.window;
    if (method == WINOGRAD && (o->groups != 1 || o->kernel[0] != 3 || o->kernel[1] != 3)) return false;
    return request->presumed || deft_onednn_supports(request->memo, &problem);
}

/* Of the lanes of blocks of channels. */
static double share_of_lanes(int64_t channels, int64_t lanes) {
    return (double)channels / (double)((channels + lanes - 1) / lanes * lanes);
}

/* Of the peak. Row-major pictures are unrolled into matrices, a group at a time; blocks are filled up, but for the few
 * channels of a first layer. */
static double efficiency_of(const deft_window *o, conv_method method, int64_t lanes) {
    double terms = (double)(o->channels / o->groups * o->kernel[0] * o->kernel[1]);
    double rows = (double)(o->filters / o->groups);
    if (method == NCHW) return 0.55 * terms / (terms + 256) * rows / (rows + 8);
    if (o->groups > 1) return 0.6;
    return 0.87 * share_of_lanes(o->filters, lanes) * (o->channels <= 3 ? 1 : share_of_lanes(o->channels, lanes));
}

/* Winograd's algorithm multiplies as many tiles of 4x4 at a time as registers take and divide all of them: of few, each
 * weight that is loaded serves few. */
static double winograd_efficiency(int64_t tiles) {
    enum { MOST = 14, ENOUGH = 6 };
    int64_t at_a_time = MOST;
    while (tiles % at_a_time)
        at_a_time--;
    return 0.9 * (at_a_time < ENOUGH ? (double)at_a_time / ENOUGH : 1);
}

static const double weight_bytes_per_ns = 14; /* other layers' have driven them out of the caches */

/* 36 products take the place of 144; and passes over tiles, by lanes of channels, before and after. */
static double winograd_ns(const deft_window *o, deft_isa isa) {
    static const double points = 36, passes_ns = 130;
    int64_t tiles = o->batch * ((o->out[0] + 3) / 4) * ((o->out[1] + 3) / 4), lanes = deft_block_lanes(isa);
    double weights = points * (double)(o->channels * o->filters);
    double blocks = (double)((o->channels + lanes - 1) / lanes + (o->filters + lanes - 1) / lanes);
    return 1000 + deft_dense_estimate_ns(isa, (double)tiles * weights, 0, winograd_efficiency(tiles)) +
           passes_ns * (double)tiles * blocks + weights * sizeof(float) / weight_bytes_per_ns;
}

static double estimate(const deft_request *request, conv_method method) {
    deft_onednn_problem problem;
    roles r;
    const char *why;
    if (!problem_of(request, method, &problem, &r, &why)) return __builtin_inf();
    const deft_window *o = &problem.window;
    if (method == WINOGRAD) return winograd_ns(o, request->isa);
    double outputs = (double)o->batch * (double)o->filters * (double)o->out[0] * (double)o->out[1];
    double inputs = (double)deft_tensor_count(r.x), weights = (double)deft_tensor_count(r.w);
    double macs = o->filters ? outputs * weights / (double)o->filters : 0;
    /* a reorder reads and writes what it reorders */
    double passes_in = method == NCHW || problem.x_blocked ? 1 : 3,
           passes_out = method == NCHW || problem.y_blocked ? 1 : 3;
    double bytes = (double)sizeof(float) * (inputs * passes_in + outputs * passes_out);
    return 1000 +
           deft_dense_estimate_ns(request->isa, macs, bytes, efficiency_of(o, method, deft_block_lanes(request->isa))) +
           (double)sizeof(float) * weights / weight_bytes_per_ns;
}

static deft_status prepare(deft_context *ctx, const deft_request *request, conv_method method, deft_kernel *kernel) {
    deft_onednn_problem problem;
    roles r;
    const char *why;
    conv *state;
    DEFT_TRY(deft_allocate_zeroed(ctx, 1, sizeof *state, &state));
    problem_of(request, method, &problem, &r, &why);
    for (int i = 0; i < 3; i++)
        state->in[i] = r.in[i];
    state->problem = problem;
    state->in_count = r.kind == DEFT_ONEDNN_CONV ? 2 + (r.b != NULL) : 2;
    state->out = r.out;
    state->activation = request->activation;
    state->transposed = request->call.op == DEFT_OP_CONV_TRANSPOSE;
    state->has_bias = request->call.in_count > 2 && request->call.in[2];
    state->y_rows = problem.window.batch * problem.window.channels;
    state->loops = deft_vector_loops_of(request->isa);
    state->function = request->function;
    state->alpha = request->alpha;
    state->guarded = r.kind == DEFT_ONEDNN_CONV && (problem.function || !deft_activation_is_none(request->activation));
    state->weight_is_finite =
        !problem.weight || deft_dense_all_finite(problem.weight, deft_tensor_count(r.w), problem.threads);
    state->x_count = (int64_t)(deft_layout_bytes(r.x, request->in_layout, request->isa) / sizeof(float));
    state->y_count =
        (int64_t)(deft_layout_bytes(request->call.out[0], request->out_layout, request->isa) / sizeof(float));
    deft_status status = deft_onednn_new(ctx, request->memo, &problem, &state->primitive);
    if (status != DEFT_OK) {
        deft_release(ctx, state);
        return status;
    }
    if (problem.weight) deft_dense_count_weights(request, r.w, kernel);
    if (problem.weight && deft_onednn_has_exact_weight(state->primitive))
        kernel->packed = deft_linear_weight_bit(&request->call);
    kernel->state = state;
    kernel->scratch_bytes = deft_onednn_scratch_bytes(state->primitive);
    kernel->weight_bytes = deft_onednn_weight_bytes(state->primitive);
    kernel->detail = deft_onednn_implementation(state->primitive);
    return DEFT_OK;
}

/* The primitive and its memory are used once in a while at most, so they have scratch memory of their own. */
static deft_status run_carefully(deft_context *ctx, conv *state, const void *const *operands, void *y) {
    deft_onednn_problem problem = state->problem;
    void *scratch;
    problem.activation = deft_activation_none;
    problem.function = DEFT_FUNCTION_NONE;
    if (problem.weight && deft_onednn_has_exact_weight(state->primitive)) { /* the original need not be there */
        problem.packed = state->primitive;
        problem.weight = NULL;
    }
    problem.winograd = false;
    if (!state->careful) DEFT_TRY(deft_onednn_new(ctx, NULL, &problem, &state->careful));
    DEFT_TRY(deft_allocate(ctx, deft_onednn_scratch_bytes(state->careful), &scratch));
    deft_status status = deft_onednn_run(ctx, state->careful, operands, scratch);
    deft_release(ctx, scratch);
    if (status != DEFT_OK) return status;
    deft_activation_apply(state->activation, y, state->y_count, problem.threads);
    deft_vector_apply(state->loops, state->function, state->alpha, y, state->y_count, problem.threads);
    return DEFT_OK;
}

/* A row is a channel of a picture. */
static void finish_transposed(const conv *state, const float *bias, float *y) {
    int64_t channels = state->problem.window.channels, pixels = state->y_count / state->y_rows;
    deft_bias each = {.data = bias, .scale = 1, .row_stride = 1};
    for (int64_t image = 0; image < state->problem.window.batch; image++)
        deft_activation_apply_biased(state->activation, &each, y + image * channels * pixels, channels, pixels,
                                     state->problem.threads);
}

static deft_status run(deft_context *ctx, const deft_kernel *kernel, const deft_tensor *const *in,
                       deft_tensor *const *out, void *scratch) {
    conv *state = kernel->state;
    const void *operands[DEFT_ONEDNN_OPERANDS] = {NULL};
    for (int i = 0; i < state->in_count; i++)
        operands[state->in[i]] = in[i]->data;
    if (state->problem.has_residual) operands[DEFT_ONEDNN_R] = in[state->in_count]->data;
    operands[state->out] = out[0]->data;
    deft_dense_forget_invalid();
    DEFT_TRY(deft_onednn_run(ctx, state->primitive, operands, scratch));
    int threads = state->problem.threads;
    if (state->function && !state->problem.function)
        deft_vector_apply(state->loops, state->function, state->alpha, out[0]->data, state->y_count, threads);
    if (state->transposed) finish_transposed(state, state->has_bias ? in[2]->data : NULL, out[0]->data);
    if (!state->guarded || !deft_dense_met_invalid(threads)) return DEFT_OK;
    bool finite = state->weight_is_finite && deft_dense_all_finite(in[0]->data, state->x_count, threads);
    if (finite && state->problem.has_residual)
        finite = deft_dense_all_finite(in[state->in_count]->data, state->y_count, threads);
    return finite ? DEFT_OK : run_carefully(ctx, state, operands, out[0]->data);
}

static void done(deft_context *ctx, deft_kernel *kernel) {
    conv *state = kernel->state;
    deft_onednn_free(ctx, state->careful);
    deft_onednn_free(ctx, state->primitive);
    deft_release(ctx, state);
}

/* ---- the rows of the table ----------------------------------------------------------------------------------- */

bool deft_dense_conv_accepts(const deft_request *request, const char **why) {
    return accepts(request, BLOCKED, why);
}

double deft_dense_conv_estimate_ns(const deft_request *request) {
    return estimate(request, BLOCKED);
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
    return estimate(request, NCHW);
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

/* Fewer multiplications, but not always less time: between row-major pictures, and where there are few channels or
 * pixels, only a measurement prefers it. */
double deft_dense_winograd_estimate_ns(const deft_request *request) {
    const deft_tensor *x = request->call.in[0], *y = request->call.out[0];
    bool blocked = request->in_layout == DEFT_LAYOUT_BLOCKS && request->out_layout == DEFT_LAYOUT_BLOCKS;
    bool pays = blocked && x->dims[1] >= 32 && y->dims[1] >= 32 && y->dims[2] * y->dims[3] >= 49;
    return pays ? 1.1 * estimate(request, WINOGRAD) : 1.1 * estimate(request, BLOCKED);
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

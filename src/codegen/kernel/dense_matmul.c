/* Gemm and MatMul on oneDNN. Two kernels, since neither is always the faster one (median of 600 runs, one core of a
 * Xeon with AVX-512, microseconds, plain / packed):
 *     rows x inner x columns    1x784x300 35/40   64x784x300 300/250   64x100x10 3.6/2.4   1x100x10 0.6/1.1
 *                               1x2048x1000 298/309                    64x2048x1000 1744/2034 */
#include "codegen/kernel/activation.h"
#include "codegen/kernel/dense.h"
#include "codegen/kernel/linear.h"
#include "codegen/kernel/onednn.h"

/* Y = activation(alpha op(A) op(B) + beta C), once for each index of the leading dimensions of a MatMul. */
typedef struct product {
    deft_sgemm gemm;
    deft_sgemm_batch batch;
    deft_bias bias; /* without its data */
    bool has_bias;
} product;

static bool is_f32(const deft_tensor *tensor) {
    return tensor && tensor->dtype == DEFT_F32;
}

static void gemm_of(const deft_op_call *call, product *p) {
    const deft_tensor *a = call->in[0], *y = call->out[0];
    p->gemm.transpose_a = deft_attr_int(call->attrs, "transA", 0) != 0;
    p->gemm.transpose_b = deft_attr_int(call->attrs, "transB", 0) != 0;
    p->gemm.alpha = deft_attr_float(call->attrs, "alpha", 1);
    p->gemm.m = y->dims[0];
    p->gemm.n = y->dims[1];
    p->gemm.k = a->dims[p->gemm.transpose_a ? 0 : 1];
    const deft_tensor *c = call->in_count > 2 ? call->in[2] : NULL;
    if (!c) return;
    int64_t strides[DEFT_MAX_RANK];
    deft_broadcast_strides(c, y, strides);
    p->has_bias = true;
    p->bias = (deft_bias){NULL, deft_attr_float(call->attrs, "beta", 1), strides[0], strides[1]};
}

/* Strides of the leading dimensions of an operand, in elements, at the shape `batch`. */
static void batch_strides(const deft_tensor *operand, const deft_tensor *batch, int64_t *strides) {
    deft_tensor leading = *operand;
    leading.rank = operand->rank > 2 ? operand->rank - 2 : 0;
    deft_broadcast_strides(&leading, batch, strides);
    int64_t matrix = operand->rank < 2 ? 0 : operand->dims[operand->rank - 1] * operand->dims[operand->rank - 2];
    for (int i = 0; i < batch->rank; i++)
        strides[i] *= matrix;
}

/* A vector on the left is a row, on the right a column; the dimension it lacks is missing in the result too. */
static void matmul_of(const deft_op_call *call, product *p) {
    const deft_tensor *a = call->in[0], *b = call->in[1], *y = call->out[0];
    p->gemm.alpha = 1;
    p->gemm.m = a->rank < 2 ? 1 : a->dims[a->rank - 2];
    p->gemm.k = a->dims[a->rank - 1];
    p->gemm.n = b->rank < 2 ? 1 : b->dims[b->rank - 1];
    deft_tensor batch = *y;
    batch.rank = y->rank - (a->rank > 1) - (b->rank > 1);
    if (b->rank <= 2) { /* one matrix for all: the leading dimensions are more rows */
        for (int i = 0; i < batch.rank; i++)
            p->gemm.m *= batch.dims[i];
        return;
    }
    p->batch.rank = batch.rank;
    for (int i = 0; i < batch.rank; i++)
        p->batch.count *= p->batch.dims[i] = batch.dims[i];
    batch_strides(a, &batch, p->batch.a_strides);
    batch_strides(b, &batch, p->batch.b_strides);
}

static bool product_of(const deft_request *request, product *p, const char **why) {
    const deft_op_call *call = &request->call;
    *why = "it computes Gemm and MatMul only";
    if (call->op != DEFT_OP_GEMM && call->op != DEFT_OP_MATMUL) return false;
    if (!deft_dense_schedule_exists(request->schedule, why)) return false;
    *why = "it adds no residual";
    if (request->residual) return false;
    *why = "it works on f32 only";
    if (!is_f32(call->in[0]) || !is_f32(call->in[1])) return false;
    *why = "it works on row-major tensors only";
    if (request->in_layout != DEFT_LAYOUT_ROWS || request->out_layout != DEFT_LAYOUT_ROWS) return false;
    *p = (product){.batch.count = 1, .gemm.threads = deft_dense_threads(request)};
    if (call->op == DEFT_OP_GEMM)
        gemm_of(call, p);
    else
        matmul_of(call, p);
    *why = "there is nothing to compute: a dimension is 0";
    return p->batch.count > 0 && p->gemm.m > 0 && p->gemm.n > 0 && p->gemm.k > 0;
}

static double estimate(const deft_request *request, double overhead_ns, double efficiency) {
    product p;
    const char *why;
    if (!product_of(request, &p, &why)) return __builtin_inf();
    const deft_op_call *call = &request->call;
    double macs = (double)p.batch.count * (double)p.gemm.m * (double)p.gemm.n * (double)p.gemm.k;
    double bytes =
        (double)(deft_tensor_bytes(call->in[0]) + deft_tensor_bytes(call->in[1]) + deft_tensor_bytes(call->out[0]));
    return overhead_ns + deft_dense_estimate_ns(request->isa, macs, bytes, efficiency);
}

/* ---- plain: dnnl_sgemm on the operands as they are ----------------------------------------------------------- */

/* error: |Y - Y64| <= gamma(k + 2) (|alpha| sum|a||b| + |beta c|); activations add none. */

bool deft_dense_matmul_accepts(const deft_request *request, const char **why) {
    product p;
    return product_of(request, &p, why);
}

double deft_dense_matmul_estimate_ns(const deft_request *request) {
    return estimate(request, 400, 0.7);
}

typedef struct plain_matmul {
    product product;
    deft_activation activation;
} plain_matmul;

deft_status deft_dense_matmul_prepare(deft_context *ctx, const deft_request *request, deft_kernel *kernel) {
    plain_matmul *state;
    const char *why;
    DEFT_TRY(deft_allocate_zeroed(ctx, 1, sizeof *state, &state));
    product_of(request, &state->product, &why);
    state->activation = request->activation;
    int weight = deft_linear_weight(&request->call);
    if (weight >= 0) deft_dense_count_weights(request, request->call.in[weight], kernel);
    if (weight >= 0) kernel->weight_bytes = deft_tensor_bytes(request->call.in[weight]);
    kernel->state = state;
    kernel->detail = "sgemm";
    return DEFT_OK;
}

deft_status deft_dense_matmul_run(deft_context *ctx, const deft_kernel *kernel, const deft_tensor *const *in,
                                  deft_tensor *const *out, void *scratch) {
    (void)scratch;
    const plain_matmul *state = kernel->state;
    const product *p = &state->product;
    float *y = out[0]->data;
    DEFT_TRY(deft_onednn_sgemms(ctx, &p->gemm, &p->batch, in[0]->data, in[1]->data, y));
    deft_bias bias = p->bias;
    if (p->has_bias) bias.data = in[2]->data;
    deft_activation_apply_biased(state->activation, &bias, y, p->batch.count * p->gemm.m, p->gemm.n, p->gemm.threads);
    return DEFT_OK;
}

void deft_dense_matmul_done(deft_context *ctx, deft_kernel *kernel) {
    deft_release(ctx, kernel->state);
}

/* ---- packed: the matmul primitive, with constant weights in the layout that it likes best -------------------- */

/* A weight on the left, Y = W X, is what the primitive calls its source, and stays as it is; unless X is one column,
 * which is as well a row: then the weight's transpose is the right operand. It is often faster than sgemm all the same.
 * error: |Y - Y64| <= gamma(k + 2) (sum|a||b| + |beta c|); activations add none. */

typedef struct packed_matmul {
    product product;
    deft_activation activation;
    bool swapped;   /* the first operand is the primitive's weight */
    bool adds_bias; /* the primitive does */
    deft_onednn *primitive;
} packed_matmul;

static bool is_swapped(const product *p, const deft_op_call *call) {
    return deft_linear_weight(call) == 0 && p->gemm.n == 1;
}

/* Whether a row is added to every row: the primitive does it, at no cost. */
static bool adds_row(const product *p) {
    return p->has_bias && p->bias.scale == 1 && p->bias.row_stride == 0 && p->bias.column_stride == 1;
}

static deft_onednn_problem packed_problem(const product *p, const deft_op_call *call) {
    const deft_sgemm *g = &p->gemm;
    bool swapped = is_swapped(p, call), transposed = swapped || g->transpose_b;
    return (deft_onednn_problem){.kind = DEFT_ONEDNN_MATMUL,
                                 .threads = g->threads,
                                 .rows = swapped ? 1 : g->m,
                                 .columns = swapped ? g->m : g->n,
                                 .inner = g->k,
                                 .weight_row_stride = transposed ? 1 : g->n,
                                 .weight_column_stride = transposed ? g->k : 1,
                                 .weight = call->in[swapped ? 0 : 1]->data,
                                 .has_bias = !swapped && adds_row(p),
                                 .plain = true};
}

bool deft_dense_packed_accepts(const deft_request *request, const char **why) {
    product p;
    if (!product_of(request, &p, why)) return false;
    *why = "it multiplies by a constant weight";
    if (deft_linear_weight(&request->call) < 0) return false;
    *why = "it multiplies one matrix, not transposed and not scaled, by one weight";
    if (p.batch.count != 1 || p.gemm.transpose_a || p.gemm.alpha != 1) return false;
    *why = "oneDNN has no fast implementation of this shape";
    deft_onednn_problem problem = packed_problem(&p, &request->call);
    return request->presumed || deft_onednn_supports(request->memo, &problem);
}

/* One row reads each weight once, in whatever order: packing them saves nothing. */
double deft_dense_packed_estimate_ns(const deft_request *request) {
    product p;
    const char *why;
    bool one_row = product_of(request, &p, &why) && p.gemm.m == 1;
    return estimate(request, 900, 0.85) * (one_row ? 1.1 : 1);
}

deft_status deft_dense_packed_prepare(deft_context *ctx, const deft_request *request, deft_kernel *kernel) {
    const deft_op_call *call = &request->call;
    const deft_tensor *weight = call->in[deft_linear_weight(call)];
    packed_matmul *state;
    const char *why;
    DEFT_TRY(deft_allocate_zeroed(ctx, 1, sizeof *state, &state));
    product_of(request, &state->product, &why);
    state->activation = request->activation;
    state->swapped = is_swapped(&state->product, call);
    deft_onednn_problem problem = packed_problem(&state->product, call);
    state->adds_bias = problem.has_bias;
    deft_status status = deft_onednn_new(ctx, request->memo, &problem, &state->primitive);
    if (status != DEFT_OK) {
        deft_release(ctx, state);
        return status;
    }
    deft_dense_count_weights(request, weight, kernel);
    if (deft_onednn_weight_bytes(state->primitive) > 0) kernel->packed = deft_linear_weight_bit(call);
    kernel->state = state;
    kernel->scratch_bytes = deft_onednn_scratch_bytes(state->primitive);
    kernel->weight_bytes = problem.weight ? deft_onednn_weight_bytes(state->primitive) : deft_tensor_bytes(weight);
    kernel->detail = deft_onednn_implementation(state->primitive);
    return DEFT_OK;
}

deft_status deft_dense_packed_run(deft_context *ctx, const deft_kernel *kernel, const deft_tensor *const *in,
                                  deft_tensor *const *out, void *scratch) {
    const packed_matmul *state = kernel->state;
    const product *p = &state->product;
    const void *operands[DEFT_ONEDNN_OPERANDS] = {[DEFT_ONEDNN_X] = in[state->swapped]->data,
                                                  [DEFT_ONEDNN_W] = in[!state->swapped]->data,
                                                  [DEFT_ONEDNN_B] = state->adds_bias ? in[2]->data : NULL,
                                                  [DEFT_ONEDNN_Y] = out[0]->data};
    DEFT_TRY(deft_onednn_run(ctx, state->primitive, operands, scratch));
    deft_bias bias = p->bias;
    if (p->has_bias && !state->adds_bias) bias.data = in[2]->data;
    deft_activation_apply_biased(state->activation, &bias, out[0]->data, p->gemm.m, p->gemm.n, p->gemm.threads);
    return DEFT_OK;
}

void deft_dense_packed_done(deft_context *ctx, deft_kernel *kernel) {
    packed_matmul *state = kernel->state;
    deft_onednn_free(ctx, state->primitive);
    deft_release(ctx, state);
}

/* The operator's own reference forward as a kernel: accepts everything in ROWS, and is the slowest. */
#include "codegen/kernel/vector.h"
#include "ir/op/window.h"

typedef struct reference {
    deft_op_call call;
    deft_activation activation;
    deft_function function;
    float alpha;
    bool has_residual;
} reference;

bool deft_reference_accepts(const deft_request *request, const char **why) {
    *why = "it works on row-major tensors only";
    return request->in_layout == DEFT_LAYOUT_ROWS && request->out_layout == DEFT_LAYOUT_ROWS;
}

/* 2x2 windows are done by vectors. */
static double window_taps(const deft_op_call *call) {
    deft_window window;
    if (deft_window_of_pool(call, call->in[0], &window) != DEFT_OK) return 1;
    int64_t taps = window.kernel[0] * window.kernel[1];
    return taps == 4 && call->op == DEFT_OP_MAX_POOL ? 1 : (double)taps;
}

/* Multiply-accumulates (or as many elementary operations) for one element of the output. */
static double work_per_element(const deft_op_call *call) {
    const deft_tensor *const *in = call->in;
    switch (call->op) {
    case DEFT_OP_GEMM:
        return (double)in[0]->dims[deft_attr_int(call->attrs, "transA", 0) ? 0 : 1];
    case DEFT_OP_MATMUL:
        return (double)in[0]->dims[in[0]->rank - 1];
    case DEFT_OP_CONV:
    case DEFT_OP_CONV_INPUT_GRAD:
        return in[1]->dims[0] ? (double)deft_tensor_count(in[1]) / (double)in[1]->dims[0] : 0;
    case DEFT_OP_CONV_TRANSPOSE: { /* each of its inputs is multiplied by the weights of its channel */
        double outputs = (double)deft_tensor_count(call->out[0]), channels = (double)in[1]->dims[0];
        double inputs = (double)deft_tensor_count(in[0]);
        return outputs * channels > 0 ? inputs * (double)deft_tensor_count(in[1]) / channels / outputs : 0;
    }
    case DEFT_OP_CONV_WEIGHT_GRAD:
        return in[0]->dims[1] ? (double)deft_tensor_count(in[0]) / (double)in[0]->dims[1] : 0;
    case DEFT_OP_LSTM:
    case DEFT_OP_GRU:
    case DEFT_OP_RNN: { /* the weights of a unit in each step, by dot products in vectors */
        double units = (double)(in[2]->dims[0] * in[2]->dims[2]);
        return units ? 0.25 * (double)(deft_tensor_count(in[1]) + deft_tensor_count(in[2])) / units : 0;
    }
    case DEFT_OP_RECURRENT_GRAD: /* of each step's gates to the state before it, and the activations */
        return 0.5 * (double)in[2]->dims[2] + 8;
    case DEFT_OP_REDUCE_SUM:
    case DEFT_OP_REDUCE_MEAN:
    case DEFT_OP_REDUCE_MAX:
    case DEFT_OP_GLOBAL_MAX_POOL:
    case DEFT_OP_GLOBAL_AVERAGE_POOL: {
        double outputs = (double)deft_tensor_count(call->out[0]);
        return outputs > 0 ? (double)deft_tensor_count(in[0]) / outputs : 0;
    }
    case DEFT_OP_MAX_POOL:
        return 0.7 * window_taps(call);
    case DEFT_OP_AVERAGE_POOL:
        return 1.5 * window_taps(call);
    default:
        return 1;
    }
}

double deft_reference_estimate_ns(const deft_request *request) {
    double elements = 0;
    for (int i = 0; i < request->call.out_count; i++)
        if (request->call.out[i]) elements += (double)deft_tensor_count(request->call.out[i]);
    return 100 + elements * work_per_element(&request->call);
}

deft_status deft_reference_prepare(deft_context *ctx, const deft_request *request, deft_kernel *kernel) {
    reference *state;
    DEFT_TRY(deft_allocate_zeroed(ctx, 1, sizeof *state, &state));
    state->call = request->call;
    state->activation = request->activation;
    state->function = request->function;
    state->alpha = request->alpha;
    state->has_residual = request->residual != NULL;
    kernel->state = state;
    return DEFT_OK;
}

deft_status deft_reference_run(deft_context *ctx, const deft_kernel *kernel, const deft_tensor *const *in,
                               deft_tensor *const *out, void *scratch) {
    (void)scratch;
    const reference *state = kernel->state;
    deft_op_call call = state->call;
    call.ctx = ctx;
    call.in = in;
    call.out = out;
    DEFT_TRY(deft_op_forward(&call));
    if (state->has_residual) {
        const float *residual = in[call.in_count]->data;
        float *y = out[0]->data;
        for (int64_t i = 0; i < deft_tensor_count(out[0]); i++)
            y[i] += residual[i];
    }
    if (!out[0] || out[0]->dtype != DEFT_F32) return DEFT_OK;
    int64_t count = deft_tensor_count(out[0]);
    deft_activation_apply(state->activation, out[0]->data, count, call.threads);
    deft_vector_apply(&deft_vector_loops_c, state->function, state->alpha, out[0]->data, count, call.threads);
    return DEFT_OK;
}

void deft_reference_done(deft_context *ctx, deft_kernel *kernel) {
    deft_release(ctx, kernel->state);
}

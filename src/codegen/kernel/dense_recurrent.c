/* LSTM, GRU and RNN, and what goes back through their steps, with weights that change: the products of a step are those
 * of oneDNN over the batch. For training; where weights are constant, they are packed (vector_recurrent.c).
 * error of a gate before its activation: gamma(inputs + hidden + 2) (sum|w||x| + sum|u||h| + |b|), and what that of the
 * steps before it comes to. */
#include "codegen/kernel/activation.h"
#include "codegen/kernel/dense.h"
#include "codegen/kernel/onednn.h"
#include "codegen/kernel/vector_math.h"
#include "ir/op/recurrent.h"
#include "ir/op/rule.h"

#include <math.h>
#include <string.h>

typedef struct dense_recurrent {
    deft_op_call call;
} dense_recurrent;

/* ---- requests -------------------------------------------------------------------------------------------------- */

static bool forward_of(const deft_op_call *call, deft_recurrent *g, const char **why) {
    *why = "it knows the usual activations only, without a clip or peepholes, and a GRU that is linear before reset";
    if (deft_recurrent_read(call, g) != DEFT_OK || !deft_recurrent_is_usual(g) || deft_rule_in(call, DEFT_RNN_P) ||
        (call->op == DEFT_OP_GRU && !g->linear_before_reset))
        return false;
    *why = "there is nothing to compute: a dimension is 0";
    return g->steps > 0 && g->batch > 0 && g->inputs > 0 && g->hidden > 0;
}

static bool geometry_of(const deft_request *request, deft_recurrent *g, const char **why) {
    const deft_op_call *call = &request->call;
    bool back = call->op == DEFT_OP_RECURRENT_GRAD;
    *why = "it computes LSTM, GRU and RNN and their gradients only";
    if (!back && call->op != DEFT_OP_LSTM && call->op != DEFT_OP_GRU && call->op != DEFT_OP_RNN) return false;
    *why = "it works on f32 only, row-major, without an activation after it";
    if (call->in[0]->dtype != DEFT_F32 || request->in_layout != DEFT_LAYOUT_ROWS ||
        request->out_layout != DEFT_LAYOUT_ROWS || request->residual || !deft_activation_is_none(request->activation))
        return false;
    if (!back) return forward_of(call, g, why);
    *why = "it knows a GRU that is linear before reset only";
    if (deft_recurrent_grad_read(call, g) != DEFT_OK || (g->op == DEFT_OP_GRU && !g->linear_before_reset)) return false;
    *why = "there is nothing to compute: a dimension is 0";
    return g->steps > 0 && g->batch > 0 && g->hidden > 0;
}

bool deft_dense_recurrent_accepts(const deft_request *request, const char **why) {
    deft_recurrent g;
    return geometry_of(request, &g, why);
}

/* 20 ns a unit: its activations. A product of few rows reads weights for little else. */
double deft_dense_recurrent_estimate_ns(const deft_request *request) {
    deft_recurrent g;
    const char *why;
    if (!geometry_of(request, &g, &why)) return INFINITY;
    double units = (double)(g.directions * g.steps * g.batch * g.hidden);
    double macs = units * (double)(g.gates * (g.inputs + g.hidden)), bytes = units * (double)(4 * g.gates);
    return 1000.0 * (double)(g.directions * g.steps) + 20 * units +
           deft_dense_estimate_ns(request->isa, macs, bytes, 0.5 * (double)g.batch / (double)(g.batch + 4));
}

/* Floats of scratch: what the gates see of the input, in all steps, and of the state; state, cell; biases of both. */
static int64_t scratch_floats(const deft_recurrent *g) {
    int64_t width = g->gates * g->hidden;
    return (g->steps + 1) * g->batch * width + 2 * g->batch * g->hidden + 2 * width;
}

deft_status deft_dense_recurrent_prepare(deft_context *ctx, const deft_request *request, deft_kernel *kernel) {
    dense_recurrent *state;
    deft_recurrent g;
    const char *why;
    DEFT_TRY(deft_allocate_zeroed(ctx, 1, sizeof *state, &state));
    state->call = request->call;
    geometry_of(request, &g, &why);
    if (request->call.op != DEFT_OP_RECURRENT_GRAD) kernel->scratch_bytes = (size_t)scratch_floats(&g) * sizeof(float);
    kernel->state = state;
    kernel->detail = "sgemm";
    return DEFT_OK;
}

void deft_dense_recurrent_done(deft_context *ctx, deft_kernel *kernel) {
    deft_release(ctx, kernel->state);
}

/* ---- forward --------------------------------------------------------------------------------------------------- */

/* One direction; rows of `gates`, `h` and `cell` are the batch's. */
typedef struct direction {
    const deft_op_call *call;
    const deft_recurrent *g;
    int64_t number;
    float *input, *gates, *h, *cell, *input_bias, *state_bias;
} direction;

static void rnn_row(int64_t hidden, const direction *d, const float *restrict x, const float *restrict u,
                    float *restrict h) {
    const float *restrict b = d->input_bias, *restrict c = d->state_bias;
#pragma omp simd
    for (int64_t i = 0; i < hidden; i++)
        h[i] = deft_vector_tanh(x[i] + u[i] + b[i] + c[i]);
}

static void gru_row(int64_t hidden, const direction *d, const float *restrict x, const float *restrict u,
                    float *restrict h) {
    const float *restrict b = d->input_bias, *restrict c = d->state_bias;
#pragma omp simd
    for (int64_t i = 0; i < hidden; i++) {
        int64_t r = hidden + i, n = 2 * hidden + i;
        float update = deft_vector_sigmoid(x[i] + u[i] + b[i] + c[i]);
        float reset = deft_vector_sigmoid(x[r] + u[r] + b[r] + c[r]);
        float candidate = deft_vector_tanh(x[n] + b[n] + reset * (u[n] + c[n]));
        h[i] = (1 - update) * candidate + update * h[i];
    }
}

static void lstm_row(int64_t hidden, const direction *d, const float *restrict x, const float *restrict u,
                     float *restrict h, float *restrict cell) {
    const float *restrict b = d->input_bias, *restrict c = d->state_bias;
#pragma omp simd
    for (int64_t i = 0; i < hidden; i++) {
        int64_t o = hidden + i, f = 2 * hidden + i, n = 3 * hidden + i;
        float in = deft_vector_sigmoid(x[i] + u[i] + b[i] + c[i]);
        float out = deft_vector_sigmoid(x[o] + u[o] + b[o] + c[o]);
        float forget = deft_vector_sigmoid(x[f] + u[f] + b[f] + c[f]);
        cell[i] = forget * cell[i] + in * deft_vector_tanh(x[n] + u[n] + b[n] + c[n]);
        h[i] = out * deft_vector_tanh(cell[i]);
    }
}

/* A sequence's step: its state moves on, or, past its end, stays. */
static void run_row(const direction *d, int64_t step, int64_t batch) {
    const deft_recurrent *g = d->g;
    int64_t hidden = g->hidden, width = g->gates * hidden;
    int64_t row = g->batch_first ? batch * g->steps + step : step * g->batch + batch;
    const float *x = d->input + row * width, *u = d->gates + batch * width;
    float *h = d->h + batch * hidden;
    float *y = (float *)d->call->out[0]->data + d->number * g->y_direction + step * g->y_step + batch * g->y_batch;
    if (step >= deft_recurrent_length(d->call, DEFT_RNN_LENGTHS, g, batch)) {
        memset(y, 0, (size_t)hidden * sizeof *y);
        return;
    }
    if (g->op == DEFT_OP_LSTM)
        lstm_row(hidden, d, x, u, h, d->cell + batch * hidden);
    else if (g->op == DEFT_OP_GRU)
        gru_row(hidden, d, x, u, h);
    else
        rnn_row(hidden, d, x, u, h);
    memcpy(y, h, (size_t)hidden * sizeof *y);
}

static void take_biases(const direction *d) {
    const deft_tensor *bias = deft_rule_in(d->call, DEFT_RNN_B);
    size_t width = (size_t)(d->g->gates * d->g->hidden);
    memset(d->input_bias, 0, width * sizeof(float));
    memset(d->state_bias, 0, width * sizeof(float));
    if (!bias) return;
    const float *from = (const float *)bias->data + (size_t)d->number * 2 * width;
    memcpy(d->input_bias, from, width * sizeof(float));
    memcpy(d->state_bias, from + width, width * sizeof(float));
}

/* Between the rows of a state input or output, where it is there, and a row for each of the batch. */
static void move_state(const direction *d, const deft_tensor *tensor, float *rows, bool out) {
    const deft_recurrent *g = d->g;
    size_t bytes = (size_t)g->hidden * sizeof *rows;
    if (!tensor && !out) memset(rows, 0, (size_t)g->batch * bytes);
    for (int64_t batch = 0; tensor && batch < g->batch; batch++) {
        float *at = (float *)tensor->data + d->number * g->h_direction + batch * g->h_batch;
        if (out)
            memcpy(at, rows + batch * g->hidden, bytes);
        else
            memcpy(rows + batch * g->hidden, at, bytes);
    }
}

static deft_status run_direction(const direction *d) {
    const deft_op_call *call = d->call;
    const deft_recurrent *g = d->g;
    int64_t hidden = g->hidden, width = g->gates * hidden;
    const deft_sgemm from_input = {.transpose_b = true,
                                   .m = g->steps * g->batch,
                                   .n = width,
                                   .k = g->inputs,
                                   .alpha = 1,
                                   .threads = call->threads};
    const deft_sgemm from_state = {
        .transpose_b = true, .m = g->batch, .n = width, .k = hidden, .alpha = 1, .threads = call->threads};
    const float *w = (const float *)call->in[DEFT_RNN_W]->data + d->number * width * g->inputs;
    const float *u = (const float *)call->in[DEFT_RNN_R]->data + d->number * width * hidden;
    int threads = deft_rule_threads(call, g->batch * width * 16);
    take_biases(d);
    move_state(d, deft_rule_in(call, DEFT_RNN_H), d->h, false);
    move_state(d, deft_rule_in(call, DEFT_RNN_C), d->cell, false);
    DEFT_TRY(deft_onednn_sgemm(call->ctx, &from_input, call->in[DEFT_RNN_X]->data, w, d->input));
    for (int64_t i = 0; i < g->steps; i++) {
        int64_t step = deft_recurrent_goes_back(g, d->number) ? g->steps - 1 - i : i;
        DEFT_TRY(deft_onednn_sgemm(call->ctx, &from_state, d->h, u, d->gates));
#pragma omp parallel for num_threads(threads)
        for (int64_t batch = 0; batch < g->batch; batch++)
            run_row(d, step, batch);
    }
    move_state(d, deft_rule_out(call, 1), d->h, true);
    move_state(d, deft_rule_out(call, 2), d->cell, true);
    return DEFT_OK;
}

static deft_status run_forward(const deft_op_call *call, float *scratch) {
    deft_recurrent g;
    DEFT_TRY(deft_recurrent_read(call, &g));
    int64_t width = g.gates * g.hidden, rows = g.batch * g.hidden;
    direction d = {.call = call, .g = &g, .input = scratch};
    d.gates = d.input + g.steps * g.batch * width;
    d.h = d.gates + g.batch * width;
    d.cell = d.h + rows;
    d.input_bias = d.cell + rows;
    d.state_bias = d.input_bias + width;
    for (d.number = 0; d.number < g.directions; d.number++)
        DEFT_TRY(run_direction(&d));
    return DEFT_OK;
}

/* ---- running --------------------------------------------------------------------------------------------------- */

/* Of matrices as the steps back have them: rows that lie together. */
static deft_status multiply(const deft_op_call *call, const deft_product *product) {
    const deft_sgemm sgemm = {.m = product->m, .n = product->n, .k = product->k, .alpha = 1, .threads = call->threads};
    return deft_onednn_sgemm(call->ctx, &sgemm, product->a, product->b, product->y);
}

deft_status deft_dense_recurrent_run(deft_context *ctx, const deft_kernel *kernel, const deft_tensor *const *in,
                                     deft_tensor *const *out, void *scratch) {
    const dense_recurrent *state = kernel->state;
    deft_op_call call = state->call;
    call.ctx = ctx;
    call.in = in;
    call.out = out;
    if (call.op == DEFT_OP_RECURRENT_GRAD) return deft_recurrent_grad_run(&call, multiply);
    return run_forward(&call, scratch);
}

/* LSTM, GRU and RNN with constant weights, with the usual activations. The input's part of the gates of all steps is
 * one product; a step multiplies the state before it by packed weights. error of a gate before its activation:
 * gamma(inputs + hidden + 2) (sum|w||x| + sum|u||h| + |b|), and what that of the steps before it comes to. */
#include "codegen/kernel/vector.h"
#include "ir/op/recurrent.h"

#include <math.h>
#include <omp.h>
#include <string.h>

enum { MACS_WORTH_THREADS = 1 << 17, MACS_WORTH_A_BARRIER = 1 << 18, BYTES_OF_L2 = 1 << 20 /* and more */ };

typedef struct recurrent {
    const deft_vector_loops *loops;
    deft_op op;
    int threads, in_count;
    deft_recurrent geometry;
    int64_t width;        /* units of a gate, with those that fill up its last panel */
    int64_t row;          /* gates * width: floats of a step of a sequence in one direction */
    float *input, *state; /* weights by direction and gate: panels of [inputs] and [hidden] rows */
    float *bias;          /* by direction: [row], then [width] inside of GRU's reset; the others are sums of both */
} recurrent;

static const deft_tensor *input_of(const deft_op_call *call, int index) {
    return index < call->in_count ? call->in[index] : NULL;
}

static bool geometry_of(const deft_request *request, deft_recurrent *g, const char **why) {
    const deft_op_call *call = &request->call;
    *why = "it computes LSTM, GRU and RNN only";
    if (call->op != DEFT_OP_LSTM && call->op != DEFT_OP_GRU && call->op != DEFT_OP_RNN) return false;
    *why = "it works on f32 only, row-major, without an activation after it";
    if (call->in[0]->dtype != DEFT_F32 || request->in_layout != DEFT_LAYOUT_ROWS ||
        request->out_layout != DEFT_LAYOUT_ROWS || !deft_activation_is_none(request->activation))
        return false;
    *why = "its weights are not constant";
    const deft_tensor *bias = input_of(call, DEFT_RNN_B);
    if (!call->in[DEFT_RNN_W]->data || !call->in[DEFT_RNN_R]->data || (bias && !bias->data)) return false;
    *why = "it knows no peepholes, and all sequences are as long";
    if (input_of(call, DEFT_RNN_LENGTHS) || input_of(call, DEFT_RNN_P)) return false;
    *why = "it knows the usual activations only, without a clip";
    if (deft_recurrent_read(call, g) != DEFT_OK || !deft_recurrent_is_usual(g)) return false;
    *why = "there is nothing to compute: a dimension is 0";
    return g->steps > 0 && g->batch > 0 && g->inputs > 0 && g->hidden > 0;
}

bool deft_vector_recurrent_accepts(const deft_request *request, const char **why) {
    deft_recurrent geometry;
    return geometry_of(request, &geometry, why);
}

/* A sequence alone reads the weights of the state for little else. */
double deft_vector_recurrent_estimate_ns(const deft_request *request) {
    static const double macs_per_ns = 60, macs_per_ns_alone = 15;
    deft_recurrent g;
    const char *why;
    if (!geometry_of(request, &g, &why)) return INFINITY;
    double units = (double)(g.steps * g.batch * g.directions * g.hidden), together = g.batch < 4 ? (double)g.batch : 4;
    double of_input = units * (double)(g.gates * g.inputs), of_state = units * (double)(g.gates * g.hidden);
    return 500 + of_input / macs_per_ns + of_state / (macs_per_ns_alone * together) + 2 * units;
}

/* ---- packing ------------------------------------------------------------------------------------------------- */

/* from[hidden, inner], a row a unit, to panels [width / panel][inner][panel]; what it does not fill is 0 already. */
static void pack_gate(const recurrent *state, const float *from, int64_t inner, float *to) {
    int64_t panel = state->loops->product_width;
    for (int64_t unit = 0; unit < state->geometry.hidden; unit++)
        for (int64_t k = 0; k < inner; k++)
            to[(unit / panel * inner + k) * panel + unit % panel] = from[unit * inner + k];
}

static void pack_bias(const recurrent *state, const float *from, int64_t direction) {
    const deft_recurrent *g = &state->geometry;
    float *to = state->bias + direction * (state->row + state->width);
    from += direction * 2 * g->gates * g->hidden;
    for (int64_t gate = 0; gate < g->gates; gate++) {
        bool apart = state->op == DEFT_OP_GRU && gate == 2 && g->linear_before_reset;
        for (int64_t unit = 0; unit < g->hidden; unit++) {
            float of_input = from[gate * g->hidden + unit], of_state = from[(g->gates + gate) * g->hidden + unit];
            to[gate * state->width + unit] = apart ? of_input : of_input + of_state;
            if (apart) to[state->row + unit] = of_state;
        }
    }
}

static deft_status pack(deft_context *ctx, const deft_op_call *call, recurrent *state) {
    const deft_recurrent *g = &state->geometry;
    const deft_tensor *bias = input_of(call, DEFT_RNN_B);
    const float *w = call->in[DEFT_RNN_W]->data, *u = call->in[DEFT_RNN_R]->data;
    size_t rows = (size_t)(g->directions * state->row);
    DEFT_TRY(deft_allocate_zeroed(ctx, rows * (size_t)g->inputs, sizeof(float), &state->input));
    DEFT_TRY(deft_allocate_zeroed(ctx, rows * (size_t)g->hidden, sizeof(float), &state->state));
    DEFT_TRY(
        deft_allocate_zeroed(ctx, (size_t)(g->directions * (state->row + state->width)), sizeof(float), &state->bias));
    for (int64_t gate = 0; gate < g->directions * g->gates; gate++) {
        pack_gate(state, w + gate * g->hidden * g->inputs, g->inputs, state->input + gate * state->width * g->inputs);
        pack_gate(state, u + gate * g->hidden * g->hidden, g->hidden, state->state + gate * state->width * g->hidden);
    }
    for (int64_t direction = 0; bias && direction < g->directions; direction++)
        pack_bias(state, bias->data, direction);
    return DEFT_OK;
}

/* Of each direction: the gates of all steps of all sequences, and for each sequence a vector besides. */
static size_t scratch_floats(const recurrent *state) {
    const deft_recurrent *g = &state->geometry;
    return (size_t)(g->directions * g->batch * (g->steps * state->row + state->width));
}

deft_status deft_vector_recurrent_prepare(deft_context *ctx, const deft_request *request, deft_kernel *kernel) {
    recurrent *state;
    const char *why;
    DEFT_TRY(deft_allocate_zeroed(ctx, 1, sizeof *state, &state));
    geometry_of(request, &state->geometry, &why);
    const deft_recurrent *g = &state->geometry;
    state->loops = deft_vector_loops_of(request->isa);
    state->op = request->call.op;
    state->threads = request->call.threads;
    state->in_count = request->call.in_count;
    int64_t panel = state->loops->product_width;
    state->width = (g->hidden + panel - 1) / panel * panel;
    state->row = g->gates * state->width;
    kernel->state = state;
    kernel->packed = 1u << DEFT_RNN_W | 1u << DEFT_RNN_R;
    if (input_of(&request->call, DEFT_RNN_B)) kernel->packed |= 1u << DEFT_RNN_B;
    kernel->scratch_bytes = scratch_floats(state) * sizeof(float);
    kernel->weight_bytes = (size_t)(g->directions * state->row * (g->inputs + g->hidden)) * sizeof(float);
    deft_status status = pack(ctx, &request->call, state);
    if (status != DEFT_OK) deft_vector_recurrent_done(ctx, kernel);
    return status;
}

/* ---- a run --------------------------------------------------------------------------------------------------- */

/* Some sequences in one direction. Row b of `gates`, of the step that it is at, is at gates + b * gates_batch. */
typedef struct sequences {
    const recurrent *state;
    int64_t direction, first, count;
    const float *before; /* h of the step before, or NULL for 0; rows as in h_batch or y_batch */
    int64_t before_batch;
    float *gates, *aside, *h, *cell;
    int64_t gates_batch;
    bool backwards; /* through the weights */
    /* The units of each gate that are computed here: all, or where threads share a sequence, those of some panels. */
    int64_t panel, past_panel, unit, units;
    bool shared;
} sequences;

/* gates += before U, of `count` gates from the given one on. Every other step goes through U backwards, so that it
 * begins with what the step before it has left in the cache. */
static void add_state(const sequences *s, const float *before, int64_t before_batch, int64_t gate, int64_t count,
                      float *to, int64_t to_batch) {
    const recurrent *state = s->state;
    const deft_recurrent *g = &state->geometry;
    const float *weight = state->state + (s->direction * g->gates + gate) * state->width * g->hidden;
    int64_t width = state->loops->product_width, each = s->past_panel - s->panel;
    for (int64_t i = 0; i < count * each; i++) {
        int64_t at = s->backwards ? count * each - 1 - i : i;
        int64_t p = at / each * (state->width / width) + s->panel + at % each;
        state->loops->product(before, before_batch, s->count, g->hidden, weight + p * width * g->hidden, 1,
                              to + p * width, to_batch);
    }
}

static void step_lstm(const sequences *s) {
    const recurrent *state = s->state;
    const deft_recurrent *g = &state->geometry;
    if (s->before) add_state(s, s->before, s->before_batch, 0, 4, s->gates, s->gates_batch);
    for (int64_t b = 0; b < s->count; b++)
        state->loops->lstm(s->gates + b * s->gates_batch + s->unit, state->width, s->cell + b * g->h_batch + s->unit,
                           s->h + b * g->y_batch + s->unit, s->units);
}

static void step_rnn(const sequences *s) {
    const deft_recurrent *g = &s->state->geometry;
    if (s->before) add_state(s, s->before, s->before_batch, 0, 1, s->gates, s->gates_batch);
    for (int64_t b = 0; b < s->count; b++)
        s->state->loops->unary[DEFT_UNARY_TANH](s->gates + b * s->gates_batch + s->unit,
                                                s->h + b * g->y_batch + s->unit, s->units, 0, 0);
}

/* The candidate's part of the state goes through the reset gate after its product with U. */
static void reset_after(const sequences *s) {
    const recurrent *state = s->state;
    const float *bias = state->bias + s->direction * (state->row + state->width) + state->row + s->unit;
    size_t bytes = (size_t)((s->past_panel - s->panel) * state->loops->product_width) * sizeof *bias;
    for (int64_t b = 0; b < s->count; b++)
        memcpy(s->aside + b * state->width + s->unit, bias, bytes);
    if (s->before) add_state(s, s->before, s->before_batch, 2, 1, s->aside, state->width);
    for (int64_t b = 0; b < s->count; b++) {
        float *gates = s->gates + b * s->gates_batch + s->unit;
        state->loops->add_gated(gates + state->width, s->aside + b * state->width + s->unit, gates + 2 * state->width,
                                s->units);
    }
}

/* Or before it: then all units of it are needed, and no sequence is shared. */
static void reset_before(const sequences *s) {
    const recurrent *state = s->state;
    if (!s->before) return;
    memset(s->aside, 0, (size_t)(s->count * state->width) * sizeof *s->aside);
    for (int64_t b = 0; b < s->count; b++)
        state->loops->add_gated(s->gates + b * s->gates_batch + state->width, s->before + b * s->before_batch,
                                s->aside + b * state->width, state->geometry.hidden);
    add_state(s, s->aside, state->width, 2, 1, s->gates + 2 * state->width, s->gates_batch);
}

static void step_gru(const sequences *s) {
    const recurrent *state = s->state;
    const deft_recurrent *g = &state->geometry;
    if (s->before) add_state(s, s->before, s->before_batch, 0, 2, s->gates, s->gates_batch);
    if (g->linear_before_reset)
        reset_after(s);
    else
        reset_before(s);
    for (int64_t b = 0; b < s->count; b++) {
        const float *gates = s->gates + b * s->gates_batch + s->unit;
        const float *before = s->before ? s->before + b * s->before_batch + s->unit : NULL;
        state->loops->gru(gates, gates + 2 * state->width, before, s->h + b * g->y_batch + s->unit, s->units);
    }
}

static void step(const sequences *s) {
    if (s->state->op == DEFT_OP_LSTM)
        step_lstm(s);
    else if (s->state->op == DEFT_OP_GRU)
        step_gru(s);
    else
        step_rnn(s);
}

static void copy_rows(const float *from, int64_t from_row, float *to, int64_t to_row, int64_t rows, int64_t count) {
    for (int64_t r = 0; r < rows; r++) {
        if (from)
            memcpy(to + r * to_row, from + r * from_row, (size_t)count * sizeof *to);
        else
            memset(to + r * to_row, 0, (size_t)count * sizeof *to);
    }
}

/* The first of the sequences' rows in a state input or output; NULL where that is absent. */
static float *state_rows(const deft_tensor *tensor, const sequences *s) {
    const deft_recurrent *g = &s->state->geometry;
    return tensor ? (float *)tensor->data + s->direction * g->h_direction + s->first * g->h_batch : NULL;
}

/* The units that are computed here, of states. */
static void copy_units(const sequences *s, const float *from, int64_t from_batch, float *to) {
    copy_rows(from ? from + s->unit : NULL, from_batch, to + s->unit, s->state->geometry.h_batch, s->count, s->units);
}

/* The gates as the input's part has them, in scratch: [direction][as X]. */
static float *gates_of(const recurrent *state, float *scratch, int64_t direction) {
    const deft_recurrent *g = &state->geometry;
    return scratch + direction * g->batch * g->steps * state->row;
}

static void run_sequences(const recurrent *state, const deft_tensor *h, const deft_tensor *c, deft_tensor *const *out,
                          float *scratch, sequences *s) {
    const deft_recurrent *g = &state->geometry;
    bool to_first = deft_recurrent_goes_back(g, s->direction);
    float *y = (float *)out[0]->data + s->direction * g->y_direction + s->first * g->y_batch;
    float *gates = gates_of(state, scratch, s->direction) + s->first * g->x_batch / g->inputs * state->row;
    s->before = state_rows(h, s);
    s->before_batch = g->h_batch;
    s->gates_batch = g->x_batch / g->inputs * state->row;
    s->aside = gates_of(state, scratch, g->directions) + (s->direction * g->batch + s->first) * state->width;
    if (state->op == DEFT_OP_LSTM) {
        s->cell = state_rows(out[2], s);
        copy_units(s, state_rows(c, s), g->h_batch, s->cell);
    }
    for (int64_t i = 0; i < g->steps; i++) {
        int64_t at = to_first ? g->steps - 1 - i : i;
        s->gates = gates + at * (g->x_step / g->inputs) * state->row;
        s->h = y + at * g->y_step;
        s->backwards = i % 2;
        step(s);
        s->before = s->h;
        s->before_batch = g->y_batch;
        if (s->shared) {
#pragma omp barrier
        }
    }
    copy_units(s, s->before, s->before_batch, state_rows(out[1], s));
}

/* Threads share a sequence, each with some units of all gates, where weights that are in no cache as a whole are so in
 * parts, or where there are too few sequences. */
static bool is_shared(const recurrent *state, int threads) {
    const deft_recurrent *g = &state->geometry;
    int64_t macs = g->batch * state->row * g->hidden, bytes = state->row * g->hidden * (int64_t)sizeof(float);
    if (threads == 1 || (state->op == DEFT_OP_GRU && !g->linear_before_reset)) return false;
    if (state->width / state->loops->product_width < threads || macs < MACS_WORTH_A_BARRIER) return false;
    return bytes > BYTES_OF_L2 || g->directions * g->batch < threads;
}

/* Panels [panel, past) of each gate. */
static sequences some_units(const recurrent *state, int64_t panel, int64_t past) {
    int64_t width = state->loops->product_width, hidden = state->geometry.hidden;
    return (sequences){.state = state,
                       .panel = panel,
                       .past_panel = past,
                       .unit = panel * width,
                       .units = (past * width < hidden ? past * width : hidden) - panel * width};
}

/* The input's part of the gates of rows [begin, end) of X, with the biases. */
static void run_input(const recurrent *state, int64_t direction, const float *x, int64_t begin, int64_t end,
                      float *scratch) {
    const deft_recurrent *g = &state->geometry;
    const float *bias = state->bias + direction * (state->row + state->width);
    float *to = gates_of(state, scratch, direction) + begin * state->row;
    copy_rows(bias, 0, to, state->row, end - begin, state->row);
    state->loops->product(x + begin * g->inputs, g->inputs, end - begin, g->inputs,
                          state->input + direction * state->row * g->inputs, state->row / state->loops->product_width,
                          to, state->row);
}

deft_status deft_vector_recurrent_run(deft_context *ctx, const deft_kernel *kernel, const deft_tensor *const *in,
                                      deft_tensor *const *out, void *scratch) {
    (void)ctx;
    const recurrent *state = kernel->state;
    const deft_recurrent *g = &state->geometry;
    const deft_tensor *h = state->in_count > DEFT_RNN_H ? in[DEFT_RNN_H] : NULL;
    const deft_tensor *c = state->in_count > DEFT_RNN_C ? in[DEFT_RNN_C] : NULL;
    int64_t rows = g->steps * g->batch, macs = g->directions * rows * state->row * (g->inputs + g->hidden);
    int threads = macs < MACS_WORTH_THREADS ? 1 : state->threads;
    int64_t slices = (threads + g->directions - 1) / g->directions, groups = slices < g->batch ? slices : g->batch;
    int64_t panels = state->width / state->loops->product_width;
    bool shared = is_shared(state, threads);
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        int64_t thread = omp_get_thread_num(), team = omp_get_num_threads();
#pragma omp for
        for (int64_t i = 0; i < g->directions * slices; i++)
            run_input(state, i / slices, in[DEFT_RNN_X]->data, i % slices * rows / slices,
                      (i % slices + 1) * rows / slices, scratch);
        for (int64_t i = 0; i < g->directions && shared; i++) {
            sequences s = some_units(state, thread * panels / team, (thread + 1) * panels / team);
            s.direction = i, s.count = g->batch, s.shared = true;
            run_sequences(state, h, c, out, scratch, &s);
        }
#pragma omp for
        for (int64_t i = 0; i < (shared ? 0 : g->directions * groups); i++) {
            sequences s = some_units(state, 0, panels);
            s.direction = i / groups, s.first = i % groups * g->batch / groups;
            s.count = (i % groups + 1) * g->batch / groups - s.first;
            run_sequences(state, h, c, out, scratch, &s);
        }
    }
    return DEFT_OK;
}

void deft_vector_recurrent_done(deft_context *ctx, deft_kernel *kernel) {
    recurrent *state = kernel->state;
    deft_release(ctx, state->input);
    deft_release(ctx, state->state);
    deft_release(ctx, state->bias);
    deft_release(ctx, state);
}

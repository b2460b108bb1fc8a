/* RNN, GRU and LSTM of one floating type: see each_real.h. */

#include "ir/op/recurrent_squash_body.h"

/* One sequence in one direction, and the step that it is at. */
typedef struct TYPED(sequence) {
    const deft_recurrent *r;
    const deft_squash *squashes;
    const REAL *x, *w, *u, *bias, *peepholes; /* this direction's weights; bias and peepholes may be NULL */
    const REAL *before;                       /* h of the step before; NULL: 0 */
    REAL *h, *state, *cell;                   /* h of this step (a row of Y); Y_h; Y_c */
} TYPED(sequence);

static REAL TYPED(activated)(const TYPED(sequence) * s, int which, REAL x) {
    return TYPED(squashed)(s->r, s->squashes[which], x);
}

static REAL TYPED(dot)(const REAL *a, const REAL *b, int64_t count) {
    REAL sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < count; i++)
        sum += a[i] * b[i];
    return sum;
}

/* The input's part of a gate of one unit, with its bias. */
static REAL TYPED(from_input)(const TYPED(sequence) * s, int64_t gate, int64_t unit) {
    int64_t row = gate * s->r->hidden + unit;
    return TYPED(dot)(s->x, s->w + row * s->r->inputs, s->r->inputs) + (s->bias ? s->bias[row] : 0);
}

/* The part of a state, which may be NULL for 0, with its bias. */
static REAL TYPED(from_state)(const TYPED(sequence) * s, const REAL *state, int64_t gate, int64_t unit) {
    int64_t row = gate * s->r->hidden + unit;
    REAL bias = s->bias ? s->bias[s->r->gates * s->r->hidden + row] : 0;
    return bias + (state ? TYPED(dot)(state, s->u + row * s->r->hidden, s->r->hidden) : 0);
}

static REAL TYPED(gate)(const TYPED(sequence) * s, int64_t gate, int64_t unit) {
    return TYPED(from_input)(s, gate, unit) + TYPED(from_state)(s, s->before, gate, unit);
}

static void TYPED(rnn_step)(const TYPED(sequence) * s) {
    for (int64_t i = 0; i < s->r->hidden; i++)
        s->h[i] = TYPED(activated)(s, 0, TYPED(gate)(s, 0, i));
}

/* Gates z, r, h. */
static void TYPED(gru_step)(const TYPED(sequence) * s) {
    int64_t hidden = s->r->hidden;
    for (int64_t i = 0; i < hidden && !s->r->linear_before_reset; i++)
        s->state[i] = TYPED(activated)(s, 0, TYPED(gate)(s, 1, i)) * (s->before ? s->before[i] : 0);
    for (int64_t i = 0; i < hidden; i++) {
        REAL update = TYPED(activated)(s, 0, TYPED(gate)(s, 0, i)), recurrent_part;
        if (s->r->linear_before_reset)
            recurrent_part = TYPED(activated)(s, 0, TYPED(gate)(s, 1, i)) * TYPED(from_state)(s, s->before, 2, i);
        else
            recurrent_part = TYPED(from_state)(s, s->state, 2, i);
        REAL candidate = TYPED(activated)(s, 1, TYPED(from_input)(s, 2, i) + recurrent_part);
        s->h[i] = (1 - update) * candidate + update * (s->before ? s->before[i] : 0);
    }
}

/* Gates i, o, f, c; peepholes i, o, f. */
static void TYPED(lstm_step)(const TYPED(sequence) * s) {
    int64_t hidden = s->r->hidden;
    const REAL *p = s->peepholes;
    for (int64_t i = 0; i < hidden; i++) {
        REAL cell = s->cell[i];
        REAL in = TYPED(activated)(s, 0, TYPED(gate)(s, 0, i) + (p ? p[i] * cell : 0));
        REAL forget = s->r->input_forget
                          ? 1 - in
                          : TYPED(activated)(s, 0, TYPED(gate)(s, 2, i) + (p ? p[2 * hidden + i] * cell : 0));
        cell = forget * cell + in * TYPED(activated)(s, 1, TYPED(gate)(s, 3, i));
        REAL out = TYPED(activated)(s, 0, TYPED(gate)(s, 1, i) + (p ? p[hidden + i] * cell : 0));
        s->cell[i] = cell;
        s->h[i] = out * TYPED(activated)(s, 2, cell);
    }
}

/* The row of a state input or output, NULL where that is absent. */
static REAL *TYPED(state_row)(const deft_tensor *tensor, const deft_recurrent *r, int64_t direction, int64_t batch) {
    return tensor ? (REAL *)tensor->data + direction * r->h_direction + batch * r->h_batch : NULL;
}

static void TYPED(run_sequence)(const deft_op_call *call, const deft_recurrent *r, int64_t direction, int64_t batch) {
    const deft_tensor *bias = deft_rule_in(call, DEFT_RNN_B), *peepholes = deft_rule_in(call, DEFT_RNN_P);
    int64_t rows = r->gates * r->hidden, length = deft_recurrent_length(call, DEFT_RNN_LENGTHS, r, batch);
    size_t bytes = (size_t)r->hidden * sizeof(REAL);
    REAL *y = (REAL *)call->out[0]->data + direction * r->y_direction + batch * r->y_batch;
    const REAL *cell = TYPED(state_row)(deft_rule_in(call, DEFT_RNN_C), r, direction, batch);
    TYPED(sequence)
    s = {.r = r,
         .squashes = r->squashes[direction],
         .w = (const REAL *)call->in[DEFT_RNN_W]->data + direction * rows * r->inputs,
         .u = (const REAL *)call->in[DEFT_RNN_R]->data + direction * rows * r->hidden,
         .bias = bias ? (const REAL *)bias->data + direction * 2 * rows : NULL,
         .peepholes = peepholes ? (const REAL *)peepholes->data + direction * 3 * r->hidden : NULL,
         .before = TYPED(state_row)(deft_rule_in(call, DEFT_RNN_H), r, direction, batch),
         .state = TYPED(state_row)(call->out[1], r, direction, batch),
         .cell = TYPED(state_row)(deft_rule_out(call, 2), r, direction, batch)};
    for (int64_t i = 0; s.cell && i < r->hidden; i++)
        s.cell[i] = cell ? cell[i] : 0;
    for (int64_t step = 0; step < r->steps; step++) {
        if (step >= length) {
            memset(y + step * r->y_step, 0, bytes);
            continue;
        }
        int64_t at = deft_recurrent_goes_back(r, direction) ? length - 1 - step : step;
        s.x = (const REAL *)call->in[DEFT_RNN_X]->data + at * r->x_step + batch * r->x_batch;
        s.h = y + at * r->y_step;
        if (call->op == DEFT_OP_LSTM)
            TYPED(lstm_step)(&s);
        else if (call->op == DEFT_OP_GRU)
            TYPED(gru_step)(&s);
        else
            TYPED(rnn_step)(&s);
        s.before = s.h;
    }
    if (s.before)
        memcpy(s.state, s.before, bytes);
    else
        memset(s.state, 0, bytes);
}

static deft_status TYPED(recurrent)(const deft_op_call *call) {
    deft_recurrent r;
    DEFT_TRY(deft_recurrent_read(call, &r));
    int64_t sequences = r.directions * r.batch;
    int threads = deft_rule_threads(call, sequences * r.steps * r.gates * r.hidden * (r.hidden + r.inputs));
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < sequences; i++)
        TYPED(run_sequence)(call, &r, i / r.batch, i % r.batch);
    return DEFT_OK;
}

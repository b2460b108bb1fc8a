/* Gradients of RNN, GRU and LSTM of one floating type: see each_real.h. Names follow the forward: z is what an
 * activation is applied to, and dz its gradient. */

#include "ir/op/recurrent_squash_body.h"

/* dy / dz of y = squash(z). */
static REAL TYPED(slope)(const deft_recurrent *r, deft_squash squash, REAL z, REAL y) {
    if (fabs(z) >= (REAL)r->clip) return 0;
    switch (squash) {
    case DEFT_SQUASH_SIGMOID:
        return y * (1 - y);
    case DEFT_SQUASH_TANH:
        return 1 - y * y;
    default:
        return z > 0;
    }
}

/* One direction. A row is one sequence at one step: rows of a step lie side by side. */
typedef struct TYPED(scan) {
    const deft_op_call *call;
    const deft_recurrent *r;
    const deft_squash *squashes;
    deft_product_fn product;
    int64_t direction;
    bool goes_back;
    const REAL *zx, *zh, *u, *bias, *peepholes; /* bias and peepholes may be NULL */
    REAL *dz;                                   /* [rows][gates hidden] */
    REAL *kept;                                 /* [rows][hidden]; NULL for RNN */
    REAL *work;                                 /* [batch][hidden]: what a product gives */
} TYPED(scan);

/* A row. */
typedef struct TYPED(place) {
    const REAL *zx, *zh;       /* from the input and from the state, without bias */
    const REAL *dy;            /* NULL: 0 */
    const REAL *h, *cell;      /* before the step; NULL: 0 */
    REAL *dz, *kept, *dh, *dc; /* dh, dc: of the state after the step, then of the one before it */
    const REAL *work;
} TYPED(place);

typedef void (*TYPED(visit))(const TYPED(scan) * s, const TYPED(place) * p);

static REAL *TYPED(at)(const deft_tensor *tensor, int64_t offset) {
    return tensor ? (REAL *)tensor->data + offset : NULL;
}

static TYPED(place) TYPED(place_of)(const TYPED(scan) * s, int64_t step, int64_t batch, int64_t length) {
    const deft_op_call *call = s->call;
    const deft_recurrent *r = s->r;
    int64_t row = step * r->batch + batch, width = r->gates * r->hidden;
    int64_t y = s->direction * r->y_direction + batch * r->y_batch;
    int64_t state = s->direction * r->h_direction + batch * r->h_batch;
    int64_t before = s->goes_back ? step + 1 : step - 1;
    bool first = before < 0 || before >= length;
    return (TYPED(place)){
        .zx = s->zx + row * width,
        .zh = s->zh + row * width,
        .dy = TYPED(at)(deft_rule_in(call, GRAD_DY), y + step * r->y_step),
        .h = first ? TYPED(at)(deft_rule_in(call, DEFT_RNN_H), state)
                   : TYPED(at)(call->in[GRAD_Y], y + before * r->y_step),
        .cell = first     ? TYPED(at)(deft_rule_in(call, DEFT_RNN_C), state)
                : s->kept ? s->kept + (before * r->batch + batch) * r->hidden
                          : NULL,
        .dz = s->dz + row * width,
        .kept = s->kept ? s->kept + row * r->hidden : NULL,
        .dh = TYPED(at)(call->out[GRAD_DH], state),
        .dc = TYPED(at)(deft_rule_out(call, GRAD_DC), state),
        .work = s->work + batch * r->hidden,
    };
}

/* For each sequence that has this step. */
static void TYPED(each)(const TYPED(scan) * s, int64_t step, TYPED(visit) visit) {
    const deft_recurrent *r = s->r;
    int threads = deft_rule_threads(s->call, r->batch * r->hidden * r->gates * 16);
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < r->batch; i++) {
        int64_t length = deft_recurrent_length(s->call, DEFT_RNN_LENGTHS, r, i);
        if (step >= length) continue;
        TYPED(place) p = TYPED(place_of)(s, step, i, length);
        visit(s, &p);
    }
}

static REAL TYPED(from_input)(const TYPED(scan) * s, const TYPED(place) * p, int64_t gate, int64_t unit) {
    int64_t i = gate * s->r->hidden + unit;
    return p->zx[i] + (s->bias ? s->bias[i] : 0);
}

/* `product`: of the state with the gate's weights. */
static REAL TYPED(from_state)(const TYPED(scan) * s, REAL product, int64_t gate, int64_t unit) {
    int64_t i = gate * s->r->hidden + unit;
    return product + (s->bias ? s->bias[s->r->gates * s->r->hidden + i] : 0);
}

static REAL TYPED(z_of)(const TYPED(scan) * s, const TYPED(place) * p, int64_t gate, int64_t unit) {
    return TYPED(from_input)(s, p, gate, unit) + TYPED(from_state)(s, p->zh[gate * s->r->hidden + unit], gate, unit);
}

/* The gradient of the state after the step. */
static REAL TYPED(arriving)(const TYPED(place) * p, int64_t unit) {
    return p->dh[unit] + (p->dy ? p->dy[unit] : 0);
}

/* ---- products -------------------------------------------------------------------------------------------------- */

/* work [batch, hidden] = a [batch, inner] b [inner, hidden]; strides in elements. */
static deft_status TYPED(multiply)(const TYPED(scan) * s, const REAL *a, int64_t a_row, int64_t inner, const REAL *b,
                                   int64_t b_row, int64_t b_column) {
    const deft_product product = {.m = s->r->batch,
                                  .n = s->r->hidden,
                                  .k = inner,
                                  .a = a,
                                  .a_row = a_row,
                                  .a_column = 1,
                                  .b = b,
                                  .b_row = b_row,
                                  .b_column = b_column,
                                  .y = s->work};
    return s->product(s->call, &product);
}

static void TYPED(add_work)(const TYPED(scan) * s, const TYPED(place) * p) {
    for (int64_t i = 0; i < s->r->hidden; i++)
        p->dh[i] += p->work[i];
}

/* Through gates 0 to count - 1 to the state before the step. */
static deft_status TYPED(through_gates)(const TYPED(scan) * s, int64_t step, int64_t count) {
    int64_t hidden = s->r->hidden, width = s->r->gates * hidden;
    DEFT_TRY(TYPED(multiply)(s, s->dz + step * s->r->batch * width, width, count * hidden, s->u, hidden, 1));
    TYPED(each)(s, step, TYPED(add_work));
    return DEFT_OK;
}

/* ---- RNN ------------------------------------------------------------------------------------------------------- */

static void TYPED(rnn_back)(const TYPED(scan) * s, const TYPED(place) * p) {
    for (int64_t i = 0; i < s->r->hidden; i++) {
        REAL z = TYPED(z_of)(s, p, 0, i);
        p->dz[i] =
            TYPED(arriving)(p, i) * TYPED(slope)(s->r, s->squashes[0], z, TYPED(squashed)(s->r, s->squashes[0], z));
        p->dh[i] = 0;
    }
}

/* ---- GRU: gates z (called update here), r (reset), h (candidate) ------------------------------------------------ */

/* The step's end, h' = (1 - update) candidate + update h, from what the candidate's activation sees. */
static void TYPED(gru_mix_back)(const TYPED(scan) * s, const TYPED(place) * p, int64_t i, REAL z, REAL *dcandidate) {
    REAL z_update = TYPED(z_of)(s, p, 0, i), update = TYPED(squashed)(s->r, s->squashes[0], z_update);
    REAL candidate = TYPED(squashed)(s->r, s->squashes[1], z), d = TYPED(arriving)(p, i);
    *dcandidate = d * (1 - update) * TYPED(slope)(s->r, s->squashes[1], z, candidate);
    p->dz[i] = d * ((p->h ? p->h[i] : 0) - candidate) * TYPED(slope)(s->r, s->squashes[0], z_update, update);
    p->dh[i] = d * update;
}

/* Linear before reset: the candidate sees r (h R' + b), whose second factor has the gradient dz; what comes with the
 * input is in `kept`. */
static void TYPED(gru_linear_back)(const TYPED(scan) * s, const TYPED(place) * p) {
    int64_t hidden = s->r->hidden;
    for (int64_t i = 0; i < hidden; i++) {
        REAL z_reset = TYPED(z_of)(s, p, 1, i), reset = TYPED(squashed)(s->r, s->squashes[0], z_reset);
        REAL linear = TYPED(from_state)(s, p->zh[2 * hidden + i], 2, i);
        TYPED(gru_mix_back)(s, p, i, TYPED(from_input)(s, p, 2, i) + reset * linear, &p->kept[i]);
        p->dz[hidden + i] = p->kept[i] * linear * TYPED(slope)(s->r, s->squashes[0], z_reset, reset);
        p->dz[2 * hidden + i] = p->kept[i] * reset;
    }
}

/* Else it sees (r h) R' + b; r h is kept. */
static void TYPED(gru_keep_gated)(const TYPED(scan) * s, const TYPED(place) * p) {
    for (int64_t i = 0; i < s->r->hidden; i++)
        p->kept[i] = TYPED(squashed)(s->r, s->squashes[0], TYPED(z_of)(s, p, 1, i)) * (p->h ? p->h[i] : 0);
}

static void TYPED(gru_candidate_back)(const TYPED(scan) * s, const TYPED(place) * p) {
    int64_t hidden = s->r->hidden;
    for (int64_t i = 0; i < hidden; i++) {
        REAL z = TYPED(from_input)(s, p, 2, i) + TYPED(from_state)(s, p->work[i], 2, i);
        TYPED(gru_mix_back)(s, p, i, z, &p->dz[2 * hidden + i]);
    }
}

static void TYPED(gru_reset_back)(const TYPED(scan) * s, const TYPED(place) * p) {
    int64_t hidden = s->r->hidden;
    for (int64_t i = 0; i < hidden; i++) {
        REAL z = TYPED(z_of)(s, p, 1, i), reset = TYPED(squashed)(s->r, s->squashes[0], z);
        p->dz[hidden + i] = p->work[i] * (p->h ? p->h[i] : 0) * TYPED(slope)(s->r, s->squashes[0], z, reset);
        p->dh[i] += p->work[i] * reset;
    }
}

static deft_status TYPED(gru_step_back)(const TYPED(scan) * s, int64_t step) {
    int64_t hidden = s->r->hidden, row = step * s->r->batch;
    const REAL *candidate_weights = s->u + 2 * hidden * hidden;
    if (s->r->linear_before_reset) {
        TYPED(each)(s, step, TYPED(gru_linear_back));
        return TYPED(through_gates)(s, step, 3);
    }
    TYPED(each)(s, step, TYPED(gru_keep_gated));
    DEFT_TRY(TYPED(multiply)(s, s->kept + row * hidden, hidden, hidden, candidate_weights, 1, hidden));
    TYPED(each)(s, step, TYPED(gru_candidate_back));
    DEFT_TRY(
        TYPED(multiply)(s, s->dz + row * 3 * hidden + 2 * hidden, 3 * hidden, hidden, candidate_weights, hidden, 1));
    TYPED(each)(s, step, TYPED(gru_reset_back));
    return TYPED(through_gates)(s, step, 2);
}

/* ---- LSTM: gates i, o, f, c; peepholes i, o, f ------------------------------------------------------------------ */

/* What the gates that see the cell before the step give. */
typedef struct TYPED(gates) {
    REAL cell, z_in, z_forget, z_new, in, forget, new;
} TYPED(gates);

static TYPED(gates) TYPED(gates_of)(const TYPED(scan) * s, const TYPED(place) * p, int64_t i) {
    int64_t hidden = s->r->hidden;
    const REAL *peepholes = s->peepholes;
    TYPED(gates) g = {.cell = p->cell ? p->cell[i] : 0};
    g.z_in = TYPED(z_of)(s, p, 0, i) + (peepholes ? peepholes[i] * g.cell : 0);
    g.z_forget = TYPED(z_of)(s, p, 2, i) + (peepholes ? peepholes[2 * hidden + i] * g.cell : 0);
    g.z_new = TYPED(z_of)(s, p, 3, i);
    g.in = TYPED(squashed)(s->r, s->squashes[0], g.z_in);
    g.forget = s->r->input_forget ? 1 - g.in : TYPED(squashed)(s->r, s->squashes[0], g.z_forget);
    g.new = TYPED(squashed)(s->r, s->squashes[1], g.z_new);
    return g;
}

/* The cells after the step are kept. */
static void TYPED(lstm_keep_cells)(const TYPED(scan) * s, const TYPED(place) * p) {
    for (int64_t i = 0; i < s->r->hidden; i++) {
        TYPED(gates) g = TYPED(gates_of)(s, p, i);
        p->kept[i] = g.forget * g.cell + g.in * g.new;
    }
}

static void TYPED(lstm_back)(const TYPED(scan) * s, const TYPED(place) * p) {
    const deft_recurrent *r = s->r;
    const REAL *peepholes = s->peepholes;
    const deft_squash *squashes = s->squashes;
    int64_t hidden = r->hidden;
    for (int64_t i = 0; i < hidden; i++) {
        TYPED(gates) g = TYPED(gates_of)(s, p, i);
        REAL cell = p->kept[i], shown = TYPED(squashed)(r, squashes[2], cell), d = TYPED(arriving)(p, i);
        REAL z_out = TYPED(z_of)(s, p, 1, i) + (peepholes ? peepholes[hidden + i] * cell : 0);
        REAL out = TYPED(squashed)(r, squashes[0], z_out);
        REAL dz_out = d * shown * TYPED(slope)(r, squashes[0], z_out, out);
        REAL dcell = p->dc[i] + d * out * TYPED(slope)(r, squashes[2], cell, shown) +
                     (peepholes ? dz_out * peepholes[hidden + i] : 0);
        REAL din = dcell * (g.new - (r->input_forget ? g.cell : 0));
        REAL dz_in = din * TYPED(slope)(r, squashes[0], g.z_in, g.in), dz_forget = 0;
        if (!r->input_forget) dz_forget = dcell * g.cell * TYPED(slope)(r, squashes[0], g.z_forget, g.forget);
        p->dz[i] = dz_in;
        p->dz[hidden + i] = dz_out;
        p->dz[2 * hidden + i] = dz_forget;
        p->dz[3 * hidden + i] = dcell * g.in * TYPED(slope)(r, squashes[1], g.z_new, g.new);
        p->dc[i] = dcell * g.forget;
        if (peepholes) p->dc[i] += dz_in * peepholes[i] + dz_forget * peepholes[2 * hidden + i];
        p->dh[i] = 0;
    }
}

/* dP, from all steps. */
static void TYPED(peepholes_back)(const TYPED(scan) * s) {
    const deft_recurrent *r = s->r;
    int64_t hidden = r->hidden;
    REAL *dp = (REAL *)s->call->out[GRAD_DP]->data + s->direction * 3 * hidden;
    memset(dp, 0, (size_t)(3 * hidden) * sizeof *dp);
    for (int64_t step = 0; s->peepholes && step < r->steps; step++)
        for (int64_t batch = 0; batch < r->batch; batch++) {
            int64_t length = deft_recurrent_length(s->call, DEFT_RNN_LENGTHS, r, batch);
            if (step >= length) continue;
            TYPED(place) p = TYPED(place_of)(s, step, batch, length);
            for (int64_t i = 0; i < hidden; i++) {
                REAL before = p.cell ? p.cell[i] : 0;
                dp[i] += p.dz[i] * before;
                dp[hidden + i] += p.dz[hidden + i] * p.kept[i];
                dp[2 * hidden + i] += p.dz[2 * hidden + i] * before;
            }
        }
}

/* ---- all steps ------------------------------------------------------------------------------------------------- */

/* Past the end of a sequence nothing has a gradient. */
static void TYPED(clear_padding)(const TYPED(scan) * s) {
    const deft_recurrent *r = s->r;
    size_t width = (size_t)(r->gates * r->hidden);
    for (int64_t batch = 0; batch < r->batch; batch++)
        for (int64_t step = deft_recurrent_length(s->call, DEFT_RNN_LENGTHS, r, batch); step < r->steps; step++) {
            int64_t row = step * r->batch + batch;
            memset(s->dz + row * (int64_t)width, 0, width * sizeof(REAL));
            if (s->kept) memset(s->kept + row * r->hidden, 0, (size_t)r->hidden * sizeof(REAL));
        }
}

static deft_status TYPED(scan_back)(const TYPED(scan) * s) {
    int64_t last = s->r->steps - 1;
    TYPED(clear_padding)(s);
    for (int64_t i = 0; s->r->op == DEFT_OP_LSTM && i <= last; i++)
        TYPED(each)(s, s->goes_back ? last - i : i, TYPED(lstm_keep_cells));
    for (int64_t i = last; i >= 0; i--) {
        int64_t step = s->goes_back ? last - i : i;
        if (s->r->op == DEFT_OP_GRU) {
            DEFT_TRY(TYPED(gru_step_back)(s, step));
            continue;
        }
        TYPED(each)(s, step, s->r->op == DEFT_OP_LSTM ? TYPED(lstm_back) : TYPED(rnn_back));
        DEFT_TRY(TYPED(through_gates)(s, step, s->r->gates));
    }
    if (s->r->op == DEFT_OP_LSTM) TYPED(peepholes_back)(s);
    return DEFT_OK;
}

static void TYPED(take_state)(const deft_op_call *call, int in, int out) {
    const deft_tensor *given = deft_rule_in(call, in);
    deft_tensor *state = deft_rule_out(call, out);
    if (!state) return;
    if (given)
        memcpy(state->data, given->data, deft_tensor_bytes(state));
    else
        memset(state->data, 0, deft_tensor_bytes(state));
}

static deft_status TYPED(recurrent_grad)(const deft_op_call *call, deft_product_fn product) {
    deft_recurrent r;
    DEFT_TRY(deft_recurrent_grad_read(call, &r));
    TYPED(take_state)(call, GRAD_DYH, GRAD_DH);
    TYPED(take_state)(call, GRAD_DYC, GRAD_DC);
    int64_t width = r.gates * r.hidden, rows = r.steps * r.batch;
    for (int64_t direction = 0; direction < r.directions; direction++) {
        const TYPED(scan) s = {
            .call = call,
            .r = &r,
            .squashes = r.squashes[direction],
            .product = product,
            .direction = direction,
            .goes_back = deft_recurrent_goes_back(&r, direction),
            .zx = TYPED(at)(call->in[GRAD_ZX], direction * rows * width),
            .zh = TYPED(at)(call->in[GRAD_ZH], direction * rows * width),
            .u = TYPED(at)(call->in[DEFT_RNN_R], direction * width * r.hidden),
            .bias = TYPED(at)(deft_rule_in(call, DEFT_RNN_B), direction * 2 * width),
            .peepholes = TYPED(at)(deft_rule_in(call, DEFT_RNN_P), direction * 3 * r.hidden),
            .dz = TYPED(at)(call->out[GRAD_DZ], direction * rows * width),
            .kept = TYPED(at)(deft_rule_out(call, GRAD_KEPT), direction * rows * r.hidden),
            .work = TYPED(at)(call->out[GRAD_WORK], direction * r.batch * r.hidden),
        };
        DEFT_TRY(TYPED(scan_back)(&s));
    }
    return DEFT_OK;
}

/* ---- the state before each step -------------------------------------------------------------------------------- */

static deft_status TYPED(recurrent_before)(const deft_op_call *call) {
    deft_recurrent r;
    DEFT_TRY(resolve_before(call, &r));
    const deft_tensor *initial = deft_rule_in(call, BEFORE_H);
    size_t bytes = (size_t)r.hidden * sizeof(REAL);
    REAL *out = call->out[0]->data;
    for (int64_t row = 0; row < r.directions * r.steps * r.batch; row++, out += r.hidden) {
        int64_t batch = row % r.batch, step = row / r.batch % r.steps, direction = row / r.batch / r.steps;
        int64_t length = deft_recurrent_length(call, BEFORE_LENGTHS, &r, batch);
        int64_t before = deft_recurrent_goes_back(&r, direction) ? step + 1 : step - 1;
        const REAL *state =
            before < 0 || before >= length
                ? TYPED(at)(initial, direction * r.h_direction + batch * r.h_batch)
                : TYPED(at)(call->in[BEFORE_Y], direction * r.y_direction + batch * r.y_batch + before * r.y_step);
        if (state)
            memcpy(out, state, bytes);
        else
            memset(out, 0, bytes);
    }
    return DEFT_OK;
}

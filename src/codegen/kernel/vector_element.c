/* Element-wise operators in wide vectors, with broadcasting, on rows or on blocks. errors: Add, Sub, Mul, Div, Sqrt,
 * Reciprocal: 1/2 ulp; the others by vector_math.h. NaN stays NaN. */
#include "codegen/kernel/share.h"
#include "codegen/kernel/vector.h"

#include <math.h>
#include <string.h>

enum { MAX_LOOPS = DEFT_MAX_RANK + 1, UNIT = 4096, ELEMENTS_WORTH_THREADS = 1 << 15 };

typedef struct element {
    const deft_vector_loops *loops;
    int threads;
    bool binary;
    int function; /* deft_unary or deft_binary */
    float a, b;   /* parameters of a unary one */
    int64_t count;
    /* The output as nested loops over its memory, and the operands' strides in them, in elements. */
    int rank;
    int64_t dims[MAX_LOOPS], strides[2][MAX_LOOPS];
    float *blocked[2]; /* a constant operand in BLOCKS */
    /* of BLOCKS whose last ones are not full */
    int lanes;
    int64_t used_lanes, channel_blocks, pixels;
} element;

/* ---- which function ------------------------------------------------------------------------------------------ */

static const float *constant_of(const deft_op_call *call, int input, int64_t *count) {
    const deft_tensor *t = input < call->in_count ? call->in[input] : NULL;
    *count = t ? deft_tensor_count(t) : 0;
    return t ? t->data : NULL;
}

static bool read_bound(const deft_op_call *call, int input, const char *name, float fallback, float *bound) {
    int64_t count;
    *bound = deft_attr_float(call->attrs, name, fallback);
    if (input >= call->in_count || !call->in[input]) return true;
    const float *value = constant_of(call, input, &count);
    if (value) *bound = value[0];
    return value != NULL;
}

static bool unary_of(const deft_op_call *call, deft_unary *function, float *a, float *b) {
    static const struct {
        deft_op op;
        deft_unary function;
        const char *a, *b;
        float default_a, default_b;
    } table[] = {
        {DEFT_OP_ABS, DEFT_UNARY_ABS, NULL, NULL, 0, 0},
        {DEFT_OP_NEG, DEFT_UNARY_NEG, NULL, NULL, 0, 0},
        {DEFT_OP_RECIPROCAL, DEFT_UNARY_RECIPROCAL, NULL, NULL, 0, 0},
        {DEFT_OP_SQRT, DEFT_UNARY_SQRT, NULL, NULL, 0, 0},
        {DEFT_OP_EXP, DEFT_UNARY_EXP, NULL, NULL, 0, 0},
        {DEFT_OP_ERF, DEFT_UNARY_ERF, NULL, NULL, 0, 0},
        {DEFT_OP_SIGMOID, DEFT_UNARY_SIGMOID, NULL, NULL, 0, 0},
        {DEFT_OP_TANH, DEFT_UNARY_TANH, NULL, NULL, 0, 0},
        {DEFT_OP_GELU, DEFT_UNARY_GELU, NULL, NULL, 0, 0},
        {DEFT_OP_RELU, DEFT_UNARY_CLAMP, NULL, NULL, 0, INFINITY},
        {DEFT_OP_LEAKY_RELU, DEFT_UNARY_LEAKY, "alpha", NULL, 0.01f, 0},
        {DEFT_OP_ELU, DEFT_UNARY_ELU, "alpha", NULL, 1, 0},
        {DEFT_OP_HARD_SIGMOID, DEFT_UNARY_HARD_SIGMOID, "alpha", "beta", 0.2f, 0.5f},
        {DEFT_OP_HARD_SWISH, DEFT_UNARY_HARD_SWISH, NULL, NULL, 0, 0},
        {DEFT_OP_SWISH, DEFT_UNARY_SWISH, "alpha", NULL, 1, 0},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (table[i].op != call->op) continue;
        *function = table[i].function;
        *a = table[i].a ? deft_attr_float(call->attrs, table[i].a, table[i].default_a) : table[i].default_a;
        *b = table[i].b ? deft_attr_float(call->attrs, table[i].b, table[i].default_b) : table[i].default_b;
        if (call->op == DEFT_OP_GELU && deft_attr_string(call->attrs, "approximate", "none")[0] == 't')
            *function = DEFT_UNARY_GELU_TANH;
        return true;
    }
    return false;
}

static bool binary_of(deft_op op, deft_binary *function) {
    switch (op) {
    case DEFT_OP_ADD:
        *function = DEFT_BINARY_ADD;
        return true;
    case DEFT_OP_SUB:
        *function = DEFT_BINARY_SUB;
        return true;
    case DEFT_OP_MUL:
        *function = DEFT_BINARY_MUL;
        return true;
    case DEFT_OP_DIV:
        *function = DEFT_BINARY_DIV;
        return true;
    case DEFT_OP_PRELU:
        *function = DEFT_BINARY_PRELU;
        return true;
    case DEFT_OP_MAX:
        *function = DEFT_BINARY_MAX;
        return true;
    case DEFT_OP_RELU_GRAD:
        *function = DEFT_BINARY_RELU_GRAD;
        return true;
    default:
        return false;
    }
}

static bool function_of(const deft_op_call *call, element *e) {
    deft_unary unary = DEFT_UNARY_COUNT;
    deft_binary binary = DEFT_BINARY_COUNT;
    int64_t count;
    if (call->op == DEFT_OP_PRELU && call->opset < 7) return false; /* its vector of slopes is one for each channel */
    e->binary = binary_of(call->op, &binary);
    e->function = (int)binary;
    if (e->binary) return true;
    bool found = unary_of(call, &unary, &e->a, &e->b);
    if (call->op == DEFT_OP_CLIP) {
        unary = DEFT_UNARY_CLAMP;
        found = read_bound(call, 1, "min", -INFINITY, &e->a) && read_bound(call, 2, "max", INFINITY, &e->b);
    }
    if (call->op == DEFT_OP_POW) {
        const float *power = constant_of(call, 1, &count);
        unary = DEFT_UNARY_SQUARE;
        found = power && count == 1 && call->in[1]->dtype == DEFT_F32 && power[0] == 2 &&
                deft_tensor_count(call->in[0]) == deft_tensor_count(call->out[0]);
    }
    e->function = (int)unary;
    return found;
}

/* ---- nested loops -------------------------------------------------------------------------------------------- */

/* The dims of a tensor broadcast with pictures, in blocks: where it has one channel, that is the first lane. */
static void block_strides(const deft_tensor *t, bool constant, int lanes, int64_t *strides) {
    int64_t dims[4] = {1, 1, 1, 1};
    for (int i = 0; i < t->rank; i++)
        dims[4 - t->rank + i] = t->dims[i];
    int64_t lane = constant && dims[1] == 1 ? 1 : lanes, blocks = (dims[1] + lanes - 1) / lanes;
    strides[4] = dims[1] == 1 ? 0 : 1;
    strides[3] = dims[3] == 1 ? 0 : lane;
    strides[2] = dims[2] == 1 ? 0 : dims[3] * lane;
    strides[1] = dims[1] == 1 ? 0 : dims[2] * dims[3] * lane;
    strides[0] = dims[0] == 1 ? 0 : blocks * dims[2] * dims[3] * lane;
}

static void set_loops(const deft_request *request, element *e) {
    const deft_tensor *y = request->call.out[0];
    bool blocked = request->out_layout == DEFT_LAYOUT_BLOCKS;
    e->lanes = deft_block_lanes(request->isa);
    e->rank = blocked ? 5 : y->rank;
    for (int i = 0; i < y->rank; i++)
        e->dims[i] = y->dims[i];
    if (blocked) {
        e->channel_blocks = e->dims[1] = (y->dims[1] + e->lanes - 1) / e->lanes;
        e->dims[4] = e->lanes;
        e->used_lanes = y->dims[1] % e->lanes;
        e->pixels = y->dims[2] * y->dims[3];
    }
    e->count = 1;
    for (int i = 0; i < e->rank; i++)
        e->count *= e->dims[i];
    for (int k = 0; k < 2 && e->binary; k++) {
        const deft_tensor *operand = request->call.in[k];
        if (blocked)
            block_strides(operand, operand->data != NULL, e->lanes, e->strides[k]);
        else
            deft_broadcast_strides(operand, y, e->strides[k]);
    }
}

static bool follow_each_other(const element *e, int outer, int inner) {
    for (int k = 0; k < 2; k++)
        if (e->strides[k][outer] != e->strides[k][inner] * e->dims[inner]) return false;
    return true;
}

/* Drops loops of one turn, and joins those that run through memory as one. */
static void join_loops(element *e) {
    int last = -1;
    for (int i = 0; i < e->rank; i++) {
        if (e->dims[i] == 1) continue;
        if (last >= 0 && follow_each_other(e, last, i)) {
            e->dims[last] *= e->dims[i];
        } else {
            last++;
            e->dims[last] = e->dims[i];
        }
        for (int k = 0; k < 2; k++)
            e->strides[k][last] = e->strides[k][i];
    }
    if (last < 0) {
        last = 0;
        e->dims[0] = 1;
    }
    e->rank = last + 1;
}

/* ---- the kernel ---------------------------------------------------------------------------------------------- */

static bool is_f32(const deft_tensor *t) {
    return !t || t->dtype == DEFT_F32;
}

bool deft_vector_element_accepts(const deft_request *request, const char **why) {
    const deft_op_call *call = &request->call;
    element e = {0};
    *why = "it computes some of the element-wise operators only";
    if (!function_of(call, &e)) return false;
    *why = "it works on two operands";
    if (e.binary && call->in_count != 2) return false;
    *why = "it works on f32 only";
    for (int i = 0; i < call->in_count; i++)
        if (!is_f32(call->in[i])) return false;
    *why = "before operator set 7 slopes lie along the channels";
    if (call->op == DEFT_OP_PRELU && call->opset < 7 && deft_tensor_count(call->in[1]) != 1) return false;
    *why = "it applies no activation";
    if (!deft_activation_is_none(request->activation)) return false;
    *why = "operands and result are in one layout, rows or blocks";
    if (request->in_layout != request->out_layout || request->in_layout == DEFT_LAYOUT_PANELS) return false;
    if (request->in_layout == DEFT_LAYOUT_ROWS) return true;
    for (int i = 0; i < call->in_count; i++)
        if (call->in[i] && !call->in[i]->data && call->in[i]->rank != 4) return false;
    return call->out[0]->rank == 4;
}

double deft_vector_element_estimate_ns(const deft_request *request) {
    return 100 + 0.3 * (double)deft_tensor_count(request->call.out[0]);
}

/* Constants are in rows; an operand in blocks is read with lanes side by side. */
static deft_status block_constant(deft_context *ctx, const deft_tensor *from, int lanes, float **to) {
    int64_t dims[4] = {1, 1, 1, 1};
    for (int i = 0; i < from->rank; i++)
        dims[4 - from->rank + i] = from->dims[i];
    if (dims[1] == 1) return DEFT_OK;
    int64_t pixels = dims[2] * dims[3], blocks = (dims[1] + lanes - 1) / lanes;
    DEFT_TRY(deft_allocate_zeroed(ctx, (size_t)(dims[0] * blocks * pixels * lanes), sizeof **to, to));
    for (int64_t i = 0; i < deft_tensor_count(from); i++) {
        int64_t n = i / pixels / dims[1], c = i / pixels % dims[1];
        (*to)[((n * blocks + c / lanes) * pixels + i % pixels) * lanes + c % lanes] = ((const float *)from->data)[i];
    }
    return DEFT_OK;
}

deft_status deft_vector_element_prepare(deft_context *ctx, const deft_request *request, deft_kernel *kernel) {
    element *e;
    deft_status status = DEFT_OK;
    DEFT_TRY(deft_allocate_zeroed(ctx, 1, sizeof *e, &e));
    e->loops = deft_vector_loops_of(request->isa);
    e->threads = request->call.threads;
    function_of(&request->call, e);
    set_loops(request, e);
    if (e->binary) join_loops(e);
    kernel->state = e;
    for (int k = 0; k < 2 && e->binary && status == DEFT_OK; k++) {
        const deft_tensor *operand = request->call.in[k];
        if (operand->data && request->out_layout == DEFT_LAYOUT_BLOCKS)
            status = block_constant(ctx, operand, e->lanes, &e->blocked[k]);
    }
    if (status != DEFT_OK) deft_vector_element_done(ctx, kernel);
    return status;
}

typedef struct unary_job {
    const element *e;
    const float *x;
    float *y;
} unary_job;

static void run_unary_unit(const void *job, int64_t index) {
    const unary_job *j = job;
    const element *e = j->e;
    int64_t begin = index * UNIT, rest = e->count - begin;
    e->loops->unary[e->function](j->x + begin, j->y + begin, rest < UNIT ? rest : UNIT, e->a, e->b);
}

static void run_unary(const element *e, const float *x, float *y) {
    unary_job job = {e, x, y};
    deft_share_units((e->count + UNIT - 1) / UNIT, e->threads, e->count >= ELEMENTS_WORTH_THREADS, run_unary_unit,
                     &job);
}

/* The two innermost loops are the vector loop's; a unit is a range of each. */
typedef struct tiling {
    int64_t rows, columns, unit_rows, unit_columns, row_units, column_units, units;
} tiling;

static tiling tiling_of(const element *e) {
    tiling t = {.rows = e->rank > 1 ? e->dims[e->rank - 2] : 1, .columns = e->dims[e->rank - 1]};
    t.unit_columns = t.columns < UNIT ? t.columns : UNIT;
    t.unit_rows = t.columns < UNIT ? UNIT / t.columns : 1;
    t.row_units = (t.rows + t.unit_rows - 1) / t.unit_rows;
    t.column_units = (t.columns + t.unit_columns - 1) / t.unit_columns;
    t.units = e->count / (t.rows * t.columns) * t.row_units * t.column_units;
    return t;
}

static deft_binary_operand operand_at(const element *e, int k, const float *data, int64_t outer, int64_t row,
                                      int64_t column) {
    int inner = e->rank - 1;
    const int64_t *strides = e->strides[k];
    deft_binary_operand operand = {.row = inner > 0 ? strides[inner - 1] : 0, .step = strides[inner]};
    int64_t offset = row * operand.row + column * operand.step;
    for (int i = inner - 2; i >= 0; i--) {
        offset += outer % e->dims[i] * strides[i];
        outer /= e->dims[i];
    }
    operand.data = data + offset;
    return operand;
}

typedef struct binary_job {
    const element *e;
    tiling tiling;
    const float *a, *b;
    float *y;
} binary_job;

static void run_binary_unit(const void *job, int64_t i) {
    const binary_job *j = job;
    const tiling *t = &j->tiling;
    int64_t outer = i / (t->row_units * t->column_units);
    int64_t row = i / t->column_units % t->row_units * t->unit_rows, column = i % t->column_units * t->unit_columns;
    int64_t rows = t->rows - row < t->unit_rows ? t->rows - row : t->unit_rows;
    int64_t columns = t->columns - column < t->unit_columns ? t->columns - column : t->unit_columns;
    j->e->loops->binary[j->e->function](
        operand_at(j->e, 0, j->a, outer, row, column), operand_at(j->e, 1, j->b, outer, row, column),
        j->y + (outer * t->rows + row) * t->columns + column, t->columns, rows, columns);
}

static void run_binary(const element *e, const float *a, const float *b, float *y) {
    binary_job job = {e, tiling_of(e), a, b, y};
    deft_share_units(job.tiling.units, e->threads, e->count >= ELEMENTS_WORTH_THREADS, run_binary_unit, &job);
}

/* Lanes past the channels are 0. */
static void clear_padding(const element *e, float *y) {
    int64_t block = e->pixels * e->lanes;
    if (e->used_lanes == 0) return;
    for (int64_t begin = (e->channel_blocks - 1) * block; begin < e->count; begin += e->channel_blocks * block)
        for (int64_t i = 0; i < e->pixels; i++)
            memset(y + begin + i * e->lanes + e->used_lanes, 0, (size_t)(e->lanes - e->used_lanes) * sizeof *y);
}

deft_status deft_vector_element_run(deft_context *ctx, const deft_kernel *kernel, const deft_tensor *const *in,
                                    deft_tensor *const *out, void *scratch) {
    (void)ctx;
    (void)scratch;
    const element *e = kernel->state;
    float *y = out[0]->data;
    if (e->count == 0) return DEFT_OK;
    if (e->binary)
        run_binary(e, e->blocked[0] ? e->blocked[0] : in[0]->data, e->blocked[1] ? e->blocked[1] : in[1]->data, y);
    else
        run_unary(e, in[0]->data, y);
    clear_padding(e, y);
    return DEFT_OK;
}

void deft_vector_element_done(deft_context *ctx, deft_kernel *kernel) {
    element *e = kernel->state;
    for (int k = 0; k < 2; k++)
        deft_release(ctx, e->blocked[k]);
    deft_release(ctx, e);
}

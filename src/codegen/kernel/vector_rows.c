/* Softmax and LayerNormalization over whole rows, in wide vectors. error of Softmax: (count / 16 + 8) 2^-23 of the
 * element; of LayerNormalization: (count / 16 + 16) 2^-23 (|y| + |scale| (|mean| / deviation + 1) + |shift|). NaN stays
 * NaN. */
#include "codegen/kernel/share.h"
#include "codegen/kernel/vector.h"

enum { ELEMENTS_WORTH_THREADS = 1 << 14 };

typedef struct row_set {
    const deft_vector_loops *loops;
    deft_op op;
    int threads;
    int64_t rows, columns;
    float epsilon;
    bool shifted; /* there is a third input */
} row_set;

static bool rows_of(const deft_request *request, row_set *set, const char **why) {
    const deft_op_call *call = &request->call;
    const deft_tensor *x = call->in[0];
    bool softmax = call->op == DEFT_OP_SOFTMAX;
    *why = "it computes Softmax and LayerNormalization only";
    if (!softmax && call->op != DEFT_OP_LAYER_NORM) return false;
    *why = "it works on f32 only, row-major, without an activation";
    if (x->dtype != DEFT_F32 || request->in_layout != DEFT_LAYOUT_ROWS || request->out_layout != DEFT_LAYOUT_ROWS ||
        !deft_activation_is_none(request->activation))
        return false;
    *why = "it makes no statistics";
    for (int i = 1; i < call->out_count; i++)
        if (call->out[i]) return false;
    bool coerced = softmax && call->opset < 13;
    int64_t axis = deft_attr_int(call->attrs, "axis", coerced ? 1 : -1);
    if (axis < 0) axis += x->rank;
    *set = (row_set){.loops = deft_vector_loops_of(request->isa),
                     .op = call->op,
                     .threads = call->threads,
                     .rows = 1,
                     .columns = 1,
                     .epsilon = deft_attr_float(call->attrs, "epsilon", 1e-5f),
                     .shifted = call->in_count > 2 && call->in[2]};
    *why = "the elements of a row do not lie side by side";
    if (softmax && !coerced && axis != x->rank - 1) return false;
    for (int i = 0; i < x->rank; i++)
        *(i < axis ? &set->rows : &set->columns) *= x->dims[i];
    return true;
}

bool deft_vector_rows_accepts(const deft_request *request, const char **why) {
    row_set set;
    return rows_of(request, &set, why);
}

double deft_vector_rows_estimate_ns(const deft_request *request) {
    return 100 + 0.5 * (double)deft_tensor_count(request->call.out[0]);
}

deft_status deft_vector_rows_prepare(deft_context *ctx, const deft_request *request, deft_kernel *kernel) {
    row_set *set;
    const char *why;
    DEFT_TRY(deft_allocate_zeroed(ctx, 1, sizeof *set, &set));
    rows_of(request, set, &why);
    kernel->state = set;
    return DEFT_OK;
}

typedef struct row_job {
    const row_set *set;
    const float *x, *scale, *shift;
    float *y;
} row_job;

static void run_row(const void *job, int64_t index) {
    const row_job *j = job;
    const row_set *set = j->set;
    const float *x = j->x + index * set->columns;
    float *y = j->y + index * set->columns;
    if (set->op == DEFT_OP_SOFTMAX)
        set->loops->softmax(x, y, set->columns);
    else
        set->loops->layer_norm(x, j->scale, j->shift, set->epsilon, y, set->columns);
}

deft_status deft_vector_rows_run(deft_context *ctx, const deft_kernel *kernel, const deft_tensor *const *in,
                                 deft_tensor *const *out, void *scratch) {
    (void)ctx;
    (void)scratch;
    const row_set *set = kernel->state;
    if (set->columns == 0) return DEFT_OK;
    row_job job = {.set = set, .x = in[0]->data, .y = out[0]->data};
    if (set->op != DEFT_OP_SOFTMAX) job.scale = in[1]->data;
    if (set->shifted) job.shift = in[2]->data;
    bool worth = set->rows * set->columns >= ELEMENTS_WORTH_THREADS;
    deft_share_units(set->rows, set->threads, worth, run_row, &job);
    return DEFT_OK;
}

void deft_vector_rows_done(deft_context *ctx, deft_kernel *kernel) {
    deft_release(ctx, kernel->state);
}

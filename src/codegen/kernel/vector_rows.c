/* Softmax and LayerNormalization over whole rows, in wide vectors. error of Softmax: (count / 16 + 8) 2^-23 of the
 * element; of LayerNormalization: (count / 16 + 16) 2^-23 (|y| + |scale| (|mean| / deviation + 1) + |shift|). NaN stays
 * NaN. */
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

deft_status deft_vector_rows_run(deft_context *ctx, const deft_kernel *kernel, const deft_tensor *const *in,
                                 deft_tensor *const *out, void *scratch) {
    (void)ctx;
    (void)scratch;
    const row_set *set = kernel->state;
    const float *x = in[0]->data;
    float *y = out[0]->data;
    bool softmax = set->op == DEFT_OP_SOFTMAX;
    const float *scale = softmax ? NULL : in[1]->data, *shift = NULL;
    if (set->shifted) shift = in[2]->data;
    int64_t columns = set->columns;
    if (columns == 0) return DEFT_OK;
#pragma omp parallel for num_threads(set->threads) if (set->rows * columns >= ELEMENTS_WORTH_THREADS)
    for (int64_t i = 0; i < set->rows; i++) {
        if (softmax)
            set->loops->softmax(x + i * columns, y + i * columns, columns);
        else
            set->loops->layer_norm(x + i * columns, scale, shift, set->epsilon, y + i * columns, columns);
    }
    return DEFT_OK;
}

void deft_vector_rows_done(deft_context *ctx, deft_kernel *kernel) {
    deft_release(ctx, kernel->state);
}

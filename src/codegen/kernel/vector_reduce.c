/* ReduceSum, ReduceMean, ReduceMax and GlobalMaxPool in wide vectors, over dimensions that follow each other. error of
 * a sum: gamma(count) sum|x|; a maximum is exact, and NaN where one is. */
#include "codegen/kernel/share.h"
#include "codegen/kernel/vector.h"
#include "ir/op/reduce.h"

#include <math.h>

enum { ELEMENTS_WORTH_THREADS = 1 << 15 };

/* y[outer, inner] from x[outer, count, inner] */
typedef struct reduction {
    const deft_vector_loops *loops;
    int threads;
    bool maximum;
    float scale; /* of the sum */
    int64_t outer, count, inner;
} reduction;

/* Whether the reduced dimensions follow each other, but for such of size 1. */
static bool tell_apart(const deft_tensor *x, const bool *reduced, reduction *r) {
    r->outer = r->count = r->inner = 1;
    bool begun = false, ended = false;
    for (int i = 0; i < x->rank; i++) {
        if (x->dims[i] == 1) continue;
        if (reduced[i] && ended) return false;
        begun |= reduced[i];
        ended = begun && !reduced[i];
        *(reduced[i] ? &r->count : begun ? &r->inner : &r->outer) *= x->dims[i];
    }
    return true;
}

static bool reduction_of(const deft_request *request, reduction *r, const char **why) {
    const deft_op_call *call = &request->call;
    const deft_tensor *x = call->in[0];
    bool reduced[DEFT_MAX_RANK], pool = call->op == DEFT_OP_GLOBAL_MAX_POOL, mean = call->op == DEFT_OP_REDUCE_MEAN;
    *why = "it computes ReduceSum, ReduceMean, ReduceMax and GlobalMaxPool only";
    if (!pool && !mean && call->op != DEFT_OP_REDUCE_SUM && call->op != DEFT_OP_REDUCE_MAX) return false;
    *why = "it works on f32 only, row-major, without an activation";
    if (x->dtype != DEFT_F32 || request->in_layout != DEFT_LAYOUT_ROWS || request->out_layout != DEFT_LAYOUT_ROWS ||
        !deft_activation_is_none(request->activation))
        return false;
    *why = "its axes are not constant";
    if (call->in_count > 1 && call->in[1] && !call->in[1]->data) return false;
    for (int i = 0; pool && i < x->rank; i++)
        reduced[i] = i > 1;
    if (!pool && deft_reduction_axes(call, reduced) != DEFT_OK) return false;
    *why = "it reduces dimensions that follow each other";
    if (!tell_apart(x, reduced, r)) return false;
    *why = "there is nothing to compute: a dimension is 0";
    if (r->outer == 0 || r->count == 0 || r->inner == 0) return false;
    r->loops = deft_vector_loops_of(request->isa);
    r->threads = call->threads;
    r->maximum = pool || call->op == DEFT_OP_REDUCE_MAX;
    r->scale = mean ? 1.0f / (float)r->count : 1;
    return true;
}

bool deft_vector_reduce_accepts(const deft_request *request, const char **why) {
    reduction r;
    return reduction_of(request, &r, why);
}

double deft_vector_reduce_estimate_ns(const deft_request *request) {
    return 50 + 0.15 * (double)deft_tensor_count(request->call.in[0]);
}

deft_status deft_vector_reduce_prepare(deft_context *ctx, const deft_request *request, deft_kernel *kernel) {
    reduction *r;
    const char *why;
    DEFT_TRY(deft_allocate_zeroed(ctx, 1, sizeof *r, &r));
    reduction_of(request, r, &why);
    kernel->state = r;
    return DEFT_OK;
}

/* Rows of `inner`, one after the other, into the first. */
static void reduce_rows(const reduction *r, const float *x, float *y) {
    deft_binary_operand sum = {.data = y, .row = 0, .step = 1}, row = {.data = x, .row = r->inner, .step = 1};
    float start = r->maximum ? -INFINITY : 0;
    for (int64_t i = 0; i < r->inner; i++)
        y[i] = start;
    r->loops->binary[r->maximum ? DEFT_BINARY_MAX : DEFT_BINARY_ADD](sum, row, y, 0, r->count, r->inner);
}

typedef struct reduce_job {
    const reduction *r;
    const float *x;
    float *y;
} reduce_job;

static void reduce_unit(const void *job, int64_t index) {
    const reduce_job *j = job;
    const reduction *r = j->r;
    const float *x = j->x + index * r->count * r->inner;
    float *y = j->y + index * r->inner;
    if (r->inner > 1)
        reduce_rows(r, x, y);
    else
        *y = (r->maximum ? r->loops->largest : r->loops->sum)(x, r->count);
    for (int64_t i = 0; i < r->inner && r->scale != 1; i++)
        y[i] *= r->scale;
}

deft_status deft_vector_reduce_run(deft_context *ctx, const deft_kernel *kernel, const deft_tensor *const *in,
                                   deft_tensor *const *out, void *scratch) {
    (void)ctx;
    (void)scratch;
    const reduction *r = kernel->state;
    reduce_job job = {r, in[0]->data, out[0]->data};
    bool worth = r->outer * r->count * r->inner >= ELEMENTS_WORTH_THREADS;
    deft_share_units(r->outer, r->threads, worth, reduce_unit, &job);
    return DEFT_OK;
}

void deft_vector_reduce_done(deft_context *ctx, deft_kernel *kernel) {
    deft_release(ctx, kernel->state);
}

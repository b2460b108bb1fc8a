/* Matrix products by oneDNN's dnnl_sgemm, one or a batch. */
#include "codegen/kernel/onednn.h"
#include "codegen/kernel/onednn_call.h"
#include "codegen/kernel/share.h"

static dnnl_status_t multiply(const deft_sgemm *s, int threads, const float *a, const float *b, float *c) {
    int before = deft_onednn_use_threads(threads);
    dnnl_status_t result =
        dnnl_sgemm(s->transpose_a ? 'T' : 'N', s->transpose_b ? 'T' : 'N', s->m, s->n, s->k, s->alpha, a,
                   s->transpose_a ? s->m : s->k, b, s->transpose_b ? s->k : s->n, 0, c, s->n);
    deft_onednn_use_threads(before);
    return result;
}

deft_status deft_onednn_sgemm(deft_context *ctx, const deft_sgemm *s, const float *a, const float *b, float *c) {
    return deft_onednn_check(ctx, multiply(s, s->threads, a, b, c), "multiply matrices");
}

/* Where operand number `index` begins. */
static int64_t offset_of(const deft_sgemm_batch *batch, const int64_t *strides, int64_t index) {
    int64_t offset = 0;
    for (int i = batch->rank - 1; i >= 0; i--) {
        offset += index % batch->dims[i] * strides[i];
        index /= batch->dims[i];
    }
    return offset;
}

typedef struct sgemms {
    const deft_sgemm *sgemm;
    const deft_sgemm_batch *batch;
    int threads; /* of one product */
    const float *a, *b;
    float *c;
    dnnl_status_t *result;
} sgemms;

static void multiply_one(const void *job, int64_t index) {
    const sgemms *all = job;
    const deft_sgemm_batch *batch = all->batch;
    dnnl_status_t one =
        multiply(all->sgemm, all->threads, all->a + offset_of(batch, batch->a_strides, index),
                 all->b + offset_of(batch, batch->b_strides, index), all->c + index * all->sgemm->m * all->sgemm->n);
    if (one == dnnl_success) return;
#pragma omp atomic write
    *all->result = one;
}

/* Where all threads have about as many products to do, each takes whole ones. */
deft_status deft_onednn_sgemms(deft_context *ctx, const deft_sgemm *s, const deft_sgemm_batch *batch, const float *a,
                               const float *b, float *c) {
    dnnl_status_t result = dnnl_success;
    bool whole = s->threads > 1 && (batch->count % s->threads == 0 || batch->count >= 4 * s->threads);
    sgemms job = {s, batch, whole ? 1 : s->threads, a, b, c, &result};
    deft_share_units(batch->count, s->threads, whole, multiply_one, &job);
    return deft_onednn_check(ctx, result, "multiply matrices");
}

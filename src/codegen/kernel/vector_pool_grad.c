/* The gradient of GlobalAveragePool, of pictures in blocks: all pixels of a channel get the same. error: 1/2 ulp. */
#include "codegen/kernel/share.h"
#include "codegen/kernel/vector.h"

enum { ELEMENTS_WORTH_THREADS = 1 << 15 };

typedef struct pool_grad {
    int threads, lanes;
    int64_t batch, channels, blocks, pixels;
} pool_grad;

static bool pool_grad_of(const deft_request *request, pool_grad *p, const char **why) {
    const deft_op_call *call = &request->call;
    *why = "it computes the gradient of GlobalAveragePool only";
    if (call->op != DEFT_OP_GLOBAL_AVERAGE_POOL_GRAD) return false;
    *why = "it makes blocks of f32 pictures of what is in rows";
    const deft_tensor *x = call->in[1];
    if (x->dtype != DEFT_F32 || x->rank != 4 || request->in_layout != DEFT_LAYOUT_ROWS ||
        request->out_layout != DEFT_LAYOUT_BLOCKS)
        return false;
    int lanes = deft_block_lanes(request->isa);
    *p = (pool_grad){.threads = call->threads,
                     .lanes = lanes,
                     .batch = x->dims[0],
                     .channels = x->dims[1],
                     .blocks = (x->dims[1] + lanes - 1) / lanes,
                     .pixels = x->dims[2] * x->dims[3]};
    return true;
}

bool deft_vector_pool_grad_accepts(const deft_request *request, const char **why) {
    pool_grad p;
    return pool_grad_of(request, &p, why);
}

double deft_vector_pool_grad_estimate_ns(const deft_request *request) {
    return 100 + 0.1 * (double)deft_tensor_count(request->call.out[0]);
}

deft_status deft_vector_pool_grad_prepare(deft_context *ctx, const deft_request *request, deft_kernel *kernel) {
    pool_grad *p;
    const char *why;
    DEFT_TRY(deft_allocate_zeroed(ctx, 1, sizeof *p, &p));
    pool_grad_of(request, p, &why);
    kernel->state = p;
    return DEFT_OK;
}

void deft_vector_pool_grad_done(deft_context *ctx, deft_kernel *kernel) {
    deft_release(ctx, kernel->state);
}

typedef struct pool_grad_job {
    const pool_grad *p;
    const float *dy;
    float *dx;
} pool_grad_job;

/* A block of channels of a picture. */
static void spread_unit(const void *job, int64_t index) {
    const pool_grad_job *j = job;
    const pool_grad *p = j->p;
    int64_t image = index / p->blocks, first = index % p->blocks * p->lanes, left = p->channels - first;
    const float *dy = j->dy + image * p->channels + first;
    float *dx = j->dx + index * p->pixels * p->lanes, share[DEFT_PANEL_LANES /* the most of a block */] = {0};
    for (int64_t i = 0; i < p->lanes && i < left; i++)
        share[i] = dy[i] / (float)p->pixels;
    for (int64_t pixel = 0; pixel < p->pixels; pixel++)
        for (int64_t i = 0; i < p->lanes; i++)
            dx[pixel * p->lanes + i] = share[i];
}

deft_status deft_vector_pool_grad_run(deft_context *ctx, const deft_kernel *kernel, const deft_tensor *const *in,
                                      deft_tensor *const *out, void *scratch) {
    (void)ctx;
    (void)scratch;
    const pool_grad *p = kernel->state;
    pool_grad_job job = {p, in[0]->data, out[0]->data};
    bool worth = p->batch * p->channels * p->pixels >= ELEMENTS_WORTH_THREADS;
    deft_share_units(p->batch * p->blocks, p->threads, worth, spread_unit, &job);
    return DEFT_OK;
}

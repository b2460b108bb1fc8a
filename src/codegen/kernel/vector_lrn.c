/* LRN of beta 3/4, which all networks have, and its gradient, of pictures in blocks: a pixel's channels, side by side,
 * with room for the neighbours of the first and the last. With a bias and an alpha that are not negative, s is off by
 * (size + 2) 2^-24 of it, and y by (3/4 size + 8) 2^-24 |y|; dx, by (2 size + 16) 2^-24 (|dy| s^-3/4 + factor |x|
 * sum|t|), t as in lrn_body.h. */
#include "codegen/kernel/share.h"
#include "codegen/kernel/vector.h"

enum { ELEMENTS_WORTH_THREADS = 1 << 14, UNIT = 64 /* pixels */ };

typedef struct normalizer {
    const deft_vector_loops *loops;
    bool gradient;
    int threads, lanes, used_lanes;  /* of the last block, if not all */
    int64_t pictures, pixels, units; /* of a picture */
    deft_response response;
} normalizer;

static bool normalizer_of(const deft_request *request, normalizer *n, const char **why) {
    const deft_op_call *call = &request->call;
    *why = "it computes LRN and its gradient only";
    if (call->op != DEFT_OP_LRN && call->op != DEFT_OP_LRN_GRAD) return false;
    *why = "it works on blocks of f32 pictures";
    const deft_tensor *x = call->in[call->in_count - 1];
    if (x->dtype != DEFT_F32 || x->rank != 4 || request->in_layout != DEFT_LAYOUT_BLOCKS ||
        request->out_layout != DEFT_LAYOUT_BLOCKS)
        return false;
    int lanes = deft_block_lanes(request->isa);
    int64_t size = deft_attr_int(call->attrs, "size", 1);
    *n = (normalizer){.loops = deft_vector_loops_of(request->isa),
                      .gradient = call->op == DEFT_OP_LRN_GRAD,
                      .threads = call->threads,
                      .lanes = lanes,
                      .used_lanes = (int)(x->dims[1] % lanes),
                      .pictures = x->dims[0],
                      .pixels = x->dims[2] * x->dims[3],
                      .response = {.share = deft_attr_float(call->attrs, "alpha", 1e-4f) / (float)size,
                                   .bias = deft_attr_float(call->attrs, "bias", 1),
                                   .before = (size - 1) / 2,
                                   .after = size - 1 - (size - 1) / 2,
                                   .channels = (x->dims[1] + lanes - 1) / lanes * lanes,
                                   .block = x->dims[2] * x->dims[3] * lanes}};
    *why = "a block is not a vector";
    if (!n->loops->lrn) return false;
    n->units = (n->pixels + UNIT - 1) / UNIT;
    *why = "its power is not 3/4, or what is raised to it may be 0 in lanes past the channels";
    if (deft_attr_float(call->attrs, "beta", 0.75f) != 0.75f || !(n->response.bias > 0)) return false;
    *why = "it sums over many channels";
    return size <= DEFT_RESPONSE_NEIGHBOURS && n->response.channels <= DEFT_RESPONSE_CHANNELS;
}

bool deft_vector_lrn_accepts(const deft_request *request, const char **why) {
    normalizer n;
    return normalizer_of(request, &n, why);
}

double deft_vector_lrn_estimate_ns(const deft_request *request) {
    normalizer n;
    const char *why;
    if (!normalizer_of(request, &n, &why)) return __builtin_inf();
    double terms = (double)(n.response.before + n.response.after + 4);
    return 100 + 0.1 * terms * (double)deft_tensor_count(request->call.out[0]);
}

deft_status deft_vector_lrn_prepare(deft_context *ctx, const deft_request *request, deft_kernel *kernel) {
    normalizer *n;
    const char *why;
    DEFT_TRY(deft_allocate_zeroed(ctx, 1, sizeof *n, &n));
    normalizer_of(request, n, &why);
    kernel->state = n;
    return DEFT_OK;
}

void deft_vector_lrn_done(deft_context *ctx, deft_kernel *kernel) {
    deft_release(ctx, kernel->state);
}

typedef struct lrn_job {
    const normalizer *n;
    const float *dy, *x;
    float *out;
} lrn_job;

/* What a NaN beside them has made of the lanes past the channels. */
static void clear_lanes(const normalizer *n, float *out, int64_t pixels) {
    float *last = out + n->response.channels / n->lanes * n->response.block - n->response.block;
    for (int64_t pixel = 0; pixel < pixels; pixel++)
        for (int i = n->used_lanes; i < n->lanes; i++)
            last[pixel * n->lanes + i] = 0;
}

static void run_unit(const void *job, int64_t index) {
    const lrn_job *j = job;
    const normalizer *n = j->n;
    int64_t first = index % n->units * UNIT, count = n->pixels - first < UNIT ? n->pixels - first : UNIT;
    int64_t at = index / n->units * n->pixels * n->response.channels + first * n->lanes;
    n->loops->lrn(&n->response, j->dy ? j->dy + at : NULL, j->x + at, j->out + at, count);
    if (n->used_lanes) clear_lanes(n, j->out + at, count);
}

deft_status deft_vector_lrn_run(deft_context *ctx, const deft_kernel *kernel, const deft_tensor *const *in,
                                deft_tensor *const *out, void *scratch) {
    (void)ctx;
    (void)scratch;
    const normalizer *n = kernel->state;
    lrn_job job = {n, n->gradient ? in[0]->data : NULL, in[n->gradient ? 1 : 0]->data, out[0]->data};
    bool worth = n->pictures * n->pixels * n->response.channels >= ELEMENTS_WORTH_THREADS;
    deft_share_units(n->pictures * n->units, n->threads, worth, run_unit, &job);
    return DEFT_OK;
}

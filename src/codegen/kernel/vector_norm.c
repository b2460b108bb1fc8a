/* BatchNormalization while training, its gradient, and that of a convolution's bias, of pictures in blocks: channels
 * are lanes, so that sums over all pixels of all pictures need no reduction between lanes. Sums are taken in f32 over
 * SUMMED pixels, in f64 from there on: error of a sum gamma(SUMMED) sum|.|; of y = x factor + level, that of its
 * statistics and 3 units of |x factor| + |level|.
 *
 * A block of channels is shared by threads, picture by picture: each sums its part, then all parts are added in their
 * order. */
#include "codegen/kernel/share.h"
#include "codegen/kernel/vector.h"

#include <math.h>

enum { ELEMENTS_WORTH_THREADS = 1 << 15, MOST_LANES = 16 };

typedef struct norm {
    const deft_vector_loops *loops;
    deft_op op;
    int threads, lanes;
    int64_t batch, channels, blocks, pixels;
    double epsilon;
} norm;

/* What a block of channels is multiplied with, by lane. */
typedef struct factors {
    float x[MOST_LANES], dy[MOST_LANES], level[MOST_LANES];
} factors;

/* Of a part of the pictures and a block of channels. */
typedef struct sums {
    double first[MOST_LANES], second[MOST_LANES];
} sums;

/* ---- the table's functions ----------------------------------------------------------------------------------- */

static bool norm_of(const deft_request *request, norm *n, const char **why) {
    const deft_op_call *call = &request->call;
    bool gradient = call->op == DEFT_OP_BATCH_NORM_GRAD, bias = call->op == DEFT_OP_CONV_BIAS_GRAD;
    *why = "it computes BatchNormalization while training, its gradient and a convolution's bias's only";
    if (!gradient && !bias && call->op != DEFT_OP_BATCH_NORM_TRAINING) return false;
    *why = "it works on blocks of f32 pictures";
    const deft_tensor *x = call->in[gradient ? 1 : 0];
    if (x->dtype != DEFT_F32 || x->rank != 4 || request->in_layout != DEFT_LAYOUT_BLOCKS ||
        request->out_layout != (bias ? DEFT_LAYOUT_ROWS : DEFT_LAYOUT_BLOCKS))
        return false;
    const deft_vector_loops *loops = deft_vector_loops_of(request->isa);
    int lanes = deft_block_lanes(request->isa);
    *why = "a block is not a vector";
    if (!loops->lane_sums) return false;
    *why = "it makes the picture and its statistics";
    for (int i = 0; i < 3 && !bias; i++)
        if (call->out_count != 3 || !call->out[i]) return false;
    *n = (norm){.loops = loops,
                .op = call->op,
                .threads = call->threads,
                .lanes = lanes,
                .batch = x->dims[0],
                .channels = x->dims[1],
                .blocks = (x->dims[1] + lanes - 1) / lanes,
                .pixels = x->dims[2] * x->dims[3],
                .epsilon = (double)deft_attr_float(call->attrs, "epsilon", 1e-5f)};
    *why = "there is nothing to compute: a dimension is 0";
    return n->batch > 0 && n->channels > 0 && n->pixels > 0;
}

bool deft_vector_norm_accepts(const deft_request *request, const char **why) {
    norm n;
    return norm_of(request, &n, why);
}

double deft_vector_norm_estimate_ns(const deft_request *request) {
    return 200 + 0.5 * (double)deft_tensor_count(request->call.in[0]);
}

static int64_t parts_of(const norm *n) {
    return n->threads < n->batch ? n->threads : n->batch;
}

deft_status deft_vector_norm_prepare(deft_context *ctx, const deft_request *request, deft_kernel *kernel) {
    norm *n;
    const char *why;
    DEFT_TRY(deft_allocate_zeroed(ctx, 1, sizeof *n, &n));
    norm_of(request, n, &why);
    kernel->state = n;
    kernel->scratch_bytes = (size_t)n->blocks * ((size_t)parts_of(n) * sizeof(sums) + sizeof(factors));
    return DEFT_OK;
}

void deft_vector_norm_done(deft_context *ctx, deft_kernel *kernel) {
    deft_release(ctx, kernel->state);
}

/* ---- a run ---------------------------------------------------------------------------------------------------- */

/* dy is NULL but for the gradient of BatchNormalization. While sums are taken, factors.level is what x is counted from,
 * so that little cancels. */
typedef struct norm_job {
    const norm *n;
    const float *dy, *x;
    float *out;
    sums *parts; /* [blocks][parts] */
    factors *factors;
} norm_job;

static int64_t plane_of(const norm *n, int64_t image, int64_t block) {
    return (image * n->blocks + block) * n->pixels * n->lanes;
}

static void sum_part(const void *job, int64_t index) {
    const norm_job *j = job;
    const norm *n = j->n;
    int64_t count = parts_of(n), block = index / count, part = index % count;
    const float *center = j->factors[block].level;
    sums *s = &j->parts[index];
    *s = (sums){{0}, {0}};
    for (int64_t image = part * n->batch / count; image < (part + 1) * n->batch / count; image++) {
        int64_t plane = plane_of(n, image, block);
        n->loops->lane_sums(j->dy ? j->dy + plane : NULL, j->x + plane, center, n->pixels, s->first, s->second);
    }
}

/* The parts of a block, added up into the first. */
static const sums *add_parts(const norm_job *j, int64_t block) {
    int64_t count = parts_of(j->n);
    sums *all = &j->parts[block * count];
    for (int64_t part = 1; part < count; part++)
        for (int i = 0; i < j->n->lanes; i++) {
            all->first[i] += all[part].first[i];
            all->second[i] += all[part].second[i];
        }
    return all;
}

static void write_plane(const void *job, int64_t index) {
    const norm_job *j = job;
    const norm *n = j->n;
    const factors *f = &j->factors[index % n->blocks];
    int64_t plane = plane_of(n, index / n->blocks, index % n->blocks);
    n->loops->lane_scale(j->dy ? j->dy + plane : NULL, j->x + plane, f->dy, f->x, f->level, j->out + plane, n->pixels);
}

static void for_all(const norm_job *j, deft_unit unit, int64_t units) {
    const norm *n = j->n;
    deft_share_units(units, n->threads, n->batch * n->channels * n->pixels >= ELEMENTS_WORTH_THREADS, unit, j);
}

/* The channels of a block; the lanes past them hold zeros, and are to hold zeros. */
static int lanes_used(const norm *n, int64_t block) {
    int64_t left = n->channels - block * n->lanes;
    return left < n->lanes ? (int)left : n->lanes;
}

/* Means near which the others are, so that little cancels: of the first picture. */
static void find_centers(const norm_job *j) {
    static const float zeros[MOST_LANES];
    const norm *n = j->n;
    for (int64_t block = 0; block < n->blocks; block++) {
        sums s = {{0}, {0}};
        n->loops->lane_sums(NULL, j->x + plane_of(n, 0, block), zeros, n->pixels, s.first, s.second);
        for (int i = 0; i < n->lanes; i++)
            j->factors[block].level[i] = (float)(s.first[i] / (double)n->pixels);
    }
}

/* y = x factor + offset; mean and variance of all pictures. */
static void find_statistics(const norm_job *j, const float *scale, const float *shift, float *mean, float *variance) {
    const norm *n = j->n;
    double size = (double)(n->batch * n->pixels);
    for (int64_t block = 0; block < n->blocks; block++) {
        const sums *s = add_parts(j, block);
        factors *f = &j->factors[block], near = *f;
        *f = (factors){{0}, {0}, {0}};
        for (int i = 0; i < lanes_used(n, block); i++) {
            int64_t c = block * n->lanes + i;
            double apart = s->first[i] / size, center = (double)near.level[i] + apart;
            double spread = fmax(0, s->second[i] / size - apart * apart);
            double factor = (double)scale[c] / sqrt(spread + n->epsilon);
            mean[c] = (float)center;
            variance[c] = (float)spread;
            f->x[i] = (float)factor;
            f->level[i] = (float)((double)shift[c] - center * factor);
        }
    }
}

static void run_forward(norm_job *j, const deft_tensor *const *in, deft_tensor *const *out) {
    const norm *n = j->n;
    find_centers(j);
    for_all(j, sum_part, n->blocks * parts_of(n));
    find_statistics(j, in[1]->data, in[2]->data, out[1]->data, out[2]->data);
    for_all(j, write_plane, n->batch * n->blocks);
}

/* dx = dy factor + x tilt + level, as the reference has it (batch_norm_body.h). */
static void find_slopes(const norm_job *j, const float *scale, const float *mean, const float *variance, float *dscale,
                        float *dshift) {
    const norm *n = j->n;
    double size = (double)(n->batch * n->pixels);
    for (int64_t block = 0; block < n->blocks; block++) {
        const sums *s = add_parts(j, block);
        factors *f = &j->factors[block];
        *f = (factors){{0}, {0}, {0}};
        for (int i = 0; i < lanes_used(n, block); i++) {
            int64_t c = block * n->lanes + i;
            double spread = (double)variance[c] + n->epsilon, factor = (double)scale[c] / sqrt(spread);
            double tilt = -factor * s->second[i] / size / spread;
            dscale[c] = (float)(s->second[i] / sqrt(spread));
            dshift[c] = (float)s->first[i];
            f->dy[i] = (float)factor;
            f->x[i] = (float)tilt;
            f->level[i] = (float)(-factor * s->first[i] / size - tilt * (double)mean[c]);
        }
    }
}

static void run_bias(norm_job *j, float *db) {
    const norm *n = j->n;
    for (int64_t block = 0; block < n->blocks; block++)
        j->factors[block] = (factors){{0}, {0}, {0}};
    for_all(j, sum_part, n->blocks * parts_of(n));
    for (int64_t c = 0; c < n->channels; c++) {
        if (c % n->lanes == 0) add_parts(j, c / n->lanes);
        db[c] = (float)j->parts[c / n->lanes * parts_of(n)].first[c % n->lanes];
    }
}

static void run_gradient(norm_job *j, const deft_tensor *const *in, deft_tensor *const *out) {
    const norm *n = j->n;
    const float *mean = in[3]->data;
    for (int64_t c = 0; c < n->blocks * n->lanes; c++)
        j->factors[c / n->lanes].level[c % n->lanes] = c < n->channels ? mean[c] : 0;
    for_all(j, sum_part, n->blocks * parts_of(n));
    find_slopes(j, in[2]->data, mean, in[4]->data, out[1]->data, out[2]->data);
    for_all(j, write_plane, n->batch * n->blocks);
}

deft_status deft_vector_norm_run(deft_context *ctx, const deft_kernel *kernel, const deft_tensor *const *in,
                                 deft_tensor *const *out, void *scratch) {
    (void)ctx;
    const norm *n = kernel->state;
    bool gradient = n->op == DEFT_OP_BATCH_NORM_GRAD;
    norm_job job = {.n = n,
                    .dy = gradient ? in[0]->data : NULL,
                    .x = in[gradient ? 1 : 0]->data,
                    .out = out[0]->data,
                    .parts = scratch,
                    .factors = (factors *)((sums *)scratch + n->blocks * parts_of(n))};
    if (gradient)
        run_gradient(&job, in, out);
    else if (n->op == DEFT_OP_CONV_BIAS_GRAD)
        run_bias(&job, out[0]->data);
    else
        run_forward(&job, in, out);
    return DEFT_OK;
}

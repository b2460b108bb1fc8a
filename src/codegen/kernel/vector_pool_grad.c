/* The gradients of MaxPool, AveragePool and GlobalAveragePool, of pictures in blocks: a vector is a pixel's channels. A
 * maximum's slope is exact where windows do not overlap; else, error: gamma(windows + 2) sum|dy| over those that meet.
 */
#include "codegen/kernel/share.h"
#include "codegen/kernel/vector.h"
#include "ir/op/window.h"

enum { ELEMENTS_WORTH_THREADS = 1 << 15, MOST_TAPS = 64, MOST_LANES = 16 };

typedef struct pool_grad {
    const deft_vector_loops *loops;
    deft_op op;
    bool in_rows, include_padding;
    int threads, lanes;
    int64_t blocks;
    deft_window window; /* its input is dx */
} pool_grad;

/* The window is the picture. */
static void cover_picture(const deft_tensor *x, deft_window *window) {
    *window = (deft_window){.spatial = 2, .batch = x->dims[0], .channels = x->dims[1]};
    for (int i = 0; i < 2; i++) {
        window->in[i] = window->kernel[i] = x->dims[2 + i];
        window->out[i] = window->stride[i] = window->dilation[i] = 1;
    }
}

static bool pool_grad_of(const deft_request *request, pool_grad *p, const char **why) {
    const deft_op_call *call = &request->call;
    bool global = call->op == DEFT_OP_GLOBAL_AVERAGE_POOL_GRAD, maximum = call->op == DEFT_OP_MAX_POOL_GRAD;
    *why = "it computes the gradients of MaxPool, AveragePool and GlobalAveragePool only";
    if (!global && !maximum && call->op != DEFT_OP_AVERAGE_POOL_GRAD) return false;
    *why = "it makes blocks of f32 pictures, of a maximum's from blocks";
    const deft_tensor *x = call->in[1];
    bool in_rows = request->in_layout == DEFT_LAYOUT_ROWS;
    if (x->dtype != DEFT_F32 || x->rank != 4 || request->out_layout != DEFT_LAYOUT_BLOCKS || (maximum && in_rows))
        return false;
    *p = (pool_grad){.loops = deft_vector_loops_of(request->isa),
                     .op = call->op,
                     .in_rows = in_rows,
                     .include_padding = deft_attr_int(call->attrs, "count_include_pad", 0) != 0,
                     .threads = call->threads,
                     .lanes = deft_block_lanes(request->isa)};
    p->blocks = (x->dims[1] + p->lanes - 1) / p->lanes;
    *why = "a block is not a vector";
    if (!p->loops->lane_sums) return false;
    if (global) {
        cover_picture(x, &p->window);
        return true;
    }
    *why = "its windows are large";
    return deft_window_of_pool(call, x, &p->window) == DEFT_OK &&
           p->window.kernel[0] * p->window.kernel[1] <= MOST_TAPS;
}

bool deft_vector_pool_grad_accepts(const deft_request *request, const char **why) {
    pool_grad p;
    return pool_grad_of(request, &p, why);
}

double deft_vector_pool_grad_estimate_ns(const deft_request *request) {
    pool_grad p;
    const char *why;
    if (!pool_grad_of(request, &p, &why)) return __builtin_inf();
    bool global = p.op == DEFT_OP_GLOBAL_AVERAGE_POOL_GRAD;
    double taps = global ? 1 : (double)(p.window.kernel[0] * p.window.kernel[1]);
    return 100 + 0.1 * (double)deft_tensor_count(request->call.out[0]) +
           0.1 * taps * (double)deft_tensor_count(request->call.in[0]);
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

/* ---- a run ---------------------------------------------------------------------------------------------------- */

typedef struct pool_grad_job {
    const pool_grad *p;
    const float *dy, *x;
    float *dx;
} pool_grad_job;

/* A block of channels of a picture: its slopes, and where it lies in x and dx. */
typedef struct block {
    const pool_grad *p;
    const float *dy;
    const float *x;
    float *dx;
    int64_t step, pixel; /* of dy, from channel to channel and from pixel to pixel */
    int used;            /* lanes that have slopes */
} block;

static block block_of(const pool_grad_job *j, int64_t index) {
    const pool_grad *p = j->p;
    const deft_window *w = &p->window;
    int64_t image = index / p->blocks, first = index % p->blocks * p->lanes, left = w->channels - first;
    int64_t in = w->in[0] * w->in[1], out = w->out[0] * w->out[1];
    return (block){.p = p,
                   .dy = j->dy + (p->in_rows ? (image * w->channels + first) * out : index * out * p->lanes),
                   .x = j->x + index * in * p->lanes,
                   .dx = j->dx + index * in * p->lanes,
                   .step = p->in_rows ? out : 1,
                   .pixel = p->in_rows ? 1 : p->lanes,
                   .used = left < p->lanes ? (int)left : p->lanes};
}

/* The slopes of a pixel, times `scale`; 0 past the channels. */
static void read_slopes(const block *b, int64_t pixel, float scale, float *slopes) {
    const float *dy = b->dy + pixel * b->pixel;
    for (int i = 0; i < MOST_LANES; i++)
        slopes[i] = i < b->used ? scale * dy[i * b->step] : 0;
}

/* Where in a block of x the taps of an output lie that meet no padding; returns how many. */
static int list_taps(const deft_window *w, int64_t oy, int64_t ox, int lanes, int64_t *taps) {
    int64_t rows[2], columns[2], y = oy * w->stride[0] - w->pad_begin[0], x = ox * w->stride[1] - w->pad_begin[1];
    int count = 0;
    deft_window_taps(w, 0, oy, &rows[0], &rows[1]);
    deft_window_taps(w, 1, ox, &columns[0], &columns[1]);
    for (int64_t ky = rows[0]; ky < rows[1]; ky++)
        for (int64_t kx = columns[0]; kx < columns[1]; kx++)
            taps[count++] = ((y + ky * w->dilation[0]) * w->in[1] + x + kx * w->dilation[1]) * lanes;
    return count;
}

/* What the sum over a window was divided by: its taps, without or with those on padding, but none past it. */
static int64_t divisor_of(const pool_grad *p, int64_t oy, int64_t ox, int taps) {
    const deft_window *w = &p->window;
    if (!p->include_padding) return taps > 0 ? taps : 1;
    int64_t count = 1;
    for (int i = 0; i < 2; i++) {
        int64_t at = (i ? ox : oy) * w->stride[i], room = w->in[i] + w->pad_begin[i] + w->pad_end[i] - at;
        int64_t fit = deft_window_divide_up(room, w->dilation[i]);
        count *= fit < w->kernel[i] ? fit : w->kernel[i];
    }
    return count > 0 ? count : 1;
}

static void add_windows(const block *b) {
    const pool_grad *p = b->p;
    const deft_window *w = &p->window;
    for (int64_t i = 0; i < w->in[0] * w->in[1] * p->lanes; i++)
        b->dx[i] = 0;
    for (int64_t oy = 0; oy < w->out[0]; oy++)
        for (int64_t ox = 0; ox < w->out[1]; ox++) {
            int64_t taps[MOST_TAPS];
            float slopes[MOST_LANES];
            int count = list_taps(w, oy, ox, p->lanes, taps);
            bool maximum = p->op == DEFT_OP_MAX_POOL_GRAD;
            read_slopes(b, oy * w->out[1] + ox, maximum ? 1 : 1 / (float)divisor_of(p, oy, ox, count), slopes);
            if (maximum)
                p->loops->lane_max_slopes(b->x, taps, count, slopes, b->dx);
            else
                p->loops->lane_add(slopes, taps, count, b->dx);
        }
}

static void fill_picture(const block *b) {
    const pool_grad *p = b->p;
    int64_t pixels = p->window.in[0] * p->window.in[1];
    float slopes[MOST_LANES];
    read_slopes(b, 0, 1 / (float)pixels, slopes);
    for (int64_t pixel = 0; pixel < pixels; pixel++)
        for (int i = 0; i < p->lanes; i++)
            b->dx[pixel * p->lanes + i] = slopes[i];
}

static void run_block(const void *job, int64_t index) {
    const pool_grad_job *j = job;
    block b = block_of(j, index);
    if (j->p->op == DEFT_OP_GLOBAL_AVERAGE_POOL_GRAD)
        fill_picture(&b);
    else
        add_windows(&b);
}

deft_status deft_vector_pool_grad_run(deft_context *ctx, const deft_kernel *kernel, const deft_tensor *const *in,
                                      deft_tensor *const *out, void *scratch) {
    (void)ctx;
    (void)scratch;
    const pool_grad *p = kernel->state;
    pool_grad_job job = {p, in[0]->data, in[1]->data, out[0]->data};
    const deft_window *w = &p->window;
    bool worth = w->batch * w->channels * w->in[0] * w->in[1] >= ELEMENTS_WORTH_THREADS;
    deft_share_units(w->batch * p->blocks, p->threads, worth, run_block, &job);
    return DEFT_OK;
}

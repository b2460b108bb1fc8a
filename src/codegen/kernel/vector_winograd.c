/* Conv of 3x3 by Winograd's algorithm, between pictures in BLOCKS, of any size: oneDNN's, with the same tiles, is made
 * for those whose number of tiles divides well, and searches for a way to divide the others.
 *
 * As many tiles as fit in the cache go through it together: B' x B of each, in all channels; then for each of the 36
 * points of a tile the product with the weights' there, over the channels; and A' of the sums. source: LAVIN2016
 *
 * error: as that of dense-winograd (dense_conv.c). A NaN or an infinity would spread over its tile, and what the tiles
 * go through may overflow where the convolution does not: where a sum is not finite, everything is computed again by
 * the dense kernel, which is prepared then. */
#include "codegen/kernel/dense.h"
#include "codegen/kernel/linear.h"
#include "codegen/kernel/vector.h"
#include "ir/op/window.h"

#include <omp.h>
#include <string.h>

enum { POINTS = 36, TILE = 4, WINDOW = 6, MOST_LANES = 16, MOST_IN = 4 };

typedef struct winograd {
    const deft_vector_loops *loops;
    deft_window window;
    int threads;
    int64_t lanes, panels, rows, columns; /* of a block; of filters, as products want them; tiles of a picture */
    int64_t tiles, together;              /* of all pictures; that go through the cache together */
    int64_t in_point, sum_point;          /* floats from a point of theirs to the next: an odd number of cache lines */
    float *weights;                       /* [points][panels][channels][width] */
    float *bias;                          /* [filters] */
    deft_activation activation;
    deft_function function;
    float alpha;
    bool residual;
    /* what the careful kernel is prepared of, when it is first needed */
    deft_request request;
    deft_tensor in[MOST_IN], out;
    const deft_tensor *in_list[MOST_IN];
    deft_tensor *out_list[1];
    deft_kernel careful;
} winograd;

static bool window_of(const deft_request *request, deft_window *window, const char **why) {
    const deft_op_call *call = &request->call;
    *why = "it computes Conv only, by AVX2 or AVX-512";
    if (call->op != DEFT_OP_CONV || !deft_vector_loops_of(request->isa)->winograd_in || request->schedule) return false;
    *why = "it works on blocks of f32 pictures, with constant weights";
    if (request->in_layout != DEFT_LAYOUT_BLOCKS || request->out_layout != DEFT_LAYOUT_BLOCKS) return false;
    const deft_tensor *w = call->in[1], *bias = call->in_count > 2 ? call->in[2] : NULL;
    if (call->in[0]->dtype != DEFT_F32 || call->in[0]->rank != 4 || !w->data || (bias && !bias->data)) return false;
    *why = "there is nothing to compute: a dimension is 0";
    if (deft_window_of_conv(call, call->in[0], w, window) != DEFT_OK || deft_tensor_count(call->in[0]) == 0)
        return false;
    int64_t lanes = deft_block_lanes(request->isa);
    *why = "windows are of 3x3 and next to each other, in one group of full blocks of channels";
    for (int i = 0; i < 2; i++)
        if (window->kernel[i] != 3 || window->stride[i] != 1 || window->dilation[i] != 1) return false;
    return window->groups == 1 && window->channels % lanes == 0 && window->filters % lanes == 0;
}

bool deft_vector_winograd_accepts(const deft_request *request, const char **why) {
    deft_window window;
    return window_of(request, &window, why);
}

static int64_t divide_up(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

/* Passes: nanoseconds of a tile's lanes of channels. */
double deft_vector_winograd_estimate_ns(const deft_request *request) {
    static const double efficiency = 0.85, passes_ns = 130, weight_bytes_per_ns = 14;
    deft_window w;
    const char *why;
    if (!window_of(request, &w, &why)) return __builtin_inf();
    double tiles = (double)(w.batch * divide_up(w.out[0], TILE) * divide_up(w.out[1], TILE));
    double weights = POINTS * (double)(w.channels * w.filters);
    return 2000 + deft_dense_estimate_ns(request->isa, tiles * weights, 0, efficiency) +
           passes_ns * tiles * (double)((w.channels + w.filters) / deft_block_lanes(request->isa)) +
           weights * sizeof(float) / weight_bytes_per_ns;
}

/* ---- preparing ------------------------------------------------------------------------------------------------- */

static void transform_weights(winograd *s, const float *w) {
    int64_t channels = s->window.channels, width = s->loops->product_width, halves = width / s->lanes;
    int64_t point = s->panels * channels * width;
    for (int64_t block = 0; block < s->window.filters / s->lanes; block++)
        for (int64_t c = 0; c < channels; c++) {
            float *to = s->weights + (block / halves * channels + c) * width + block % halves * s->lanes;
            s->loops->winograd_weights(w + (block * s->lanes * channels + c) * 9, channels * 9, to, point);
        }
}

/* The request outlives the call, for the careful kernel: constants and attributes do anyway. */
static void keep_request(winograd *s, const deft_request *request) {
    s->request = *request;
    s->request.memo = NULL;
    s->out = *request->call.out[0];
    s->out_list[0] = &s->out;
    s->request.call.out = s->out_list;
    for (int i = 0; i < request->call.in_count; i++) {
        if (request->call.in[i]) s->in[i] = *request->call.in[i];
        s->in_list[i] = request->call.in[i] ? &s->in[i] : NULL;
    }
    s->request.call.in = s->in_list;
    if (s->residual) s->request.residual = &s->out;
}

static size_t floats_of_thread(const winograd *s) {
    return (size_t)(POINTS * (s->in_point + s->sum_point));
}

static void divide(winograd *s) {
    enum { CACHE_BYTES = 1 << 20, LEAST = 8, MOST = 64, LINE = 16 };
    const deft_window *w = &s->window;
    s->panels = divide_up(w->filters, s->loops->product_width);
    s->rows = divide_up(w->out[0], TILE);
    s->columns = divide_up(w->out[1], TILE);
    s->tiles = w->batch * s->rows * s->columns;
    int64_t of_tile = POINTS * (w->channels + s->panels * s->loops->product_width) * (int64_t)sizeof(float);
    s->together = CACHE_BYTES / of_tile / LEAST * LEAST;
    if (s->together < LEAST) s->together = LEAST;
    if (s->together > MOST) s->together = MOST;
    s->in_point = (divide_up(s->together * w->channels, LINE) | 1) * LINE;
    s->sum_point = (divide_up(s->together * s->panels * s->loops->product_width, LINE) | 1) * LINE;
}

deft_status deft_vector_winograd_prepare(deft_context *ctx, const deft_request *request, deft_kernel *kernel) {
    const deft_op_call *call = &request->call;
    winograd *s;
    const char *why;
    deft_status status;
    DEFT_TRY(deft_allocate_zeroed(ctx, 1, sizeof *s, &s));
    window_of(request, &s->window, &why);
    s->loops = deft_vector_loops_of(request->isa);
    s->threads = call->threads;
    s->lanes = deft_block_lanes(request->isa);
    s->activation = request->activation;
    s->function = request->function;
    s->alpha = request->alpha;
    s->residual = request->residual != NULL;
    divide(s);
    keep_request(s, request);
    kernel->state = s;
    kernel->weight_bytes = (size_t)(POINTS * s->panels * s->window.channels * s->loops->product_width) * sizeof(float);
    kernel->scratch_bytes = (size_t)s->threads * floats_of_thread(s) * sizeof(float);
    kernel->detail = "tiles of 4x4";
    DEFT_TRY_OR_FAIL(deft_allocate_zeroed(ctx, 1, kernel->weight_bytes, &s->weights));
    DEFT_TRY_OR_FAIL(deft_allocate_zeroed(ctx, (size_t)s->window.filters, sizeof(float), &s->bias));
    transform_weights(s, call->in[1]->data);
    if (call->in_count > 2 && call->in[2]) memcpy(s->bias, call->in[2]->data, deft_tensor_bytes(call->in[2]));
    deft_dense_count_weights(request, call->in[1], kernel);
    return DEFT_OK;
fail:
    deft_vector_winograd_done(ctx, kernel);
    return status;
}

void deft_vector_winograd_done(deft_context *ctx, deft_kernel *kernel) {
    winograd *s = kernel->state;
    deft_kernel_done(ctx, &s->careful);
    deft_release(ctx, s->weights);
    deft_release(ctx, s->bias);
    deft_release(ctx, s);
}

/* ---- a run ----------------------------------------------------------------------------------------------------- */

/* Where a tile of outputs begins, and what it sees. */
typedef struct tile {
    int64_t image, y, x;
} tile;

static tile tile_of(const winograd *s, int64_t index) {
    int64_t of_image = index % (s->rows * s->columns);
    return (tile){index / (s->rows * s->columns), of_image / s->columns * TILE, of_image % s->columns * TILE};
}

/* The window of a tile at the edge, zeros around the picture. */
static void copy_window(const winograd *s, const float *plane, int64_t y, int64_t x, float *to) {
    const int64_t *in = s->window.in;
    memset(to, 0, (size_t)(WINDOW * WINDOW * s->lanes) * sizeof *to);
    int64_t first = x < 0 ? -x : 0, past = in[1] - x < WINDOW ? in[1] - x : WINDOW;
    for (int64_t r = 0; r < WINDOW; r++)
        if (y + r >= 0 && y + r < in[0] && past > first)
            memcpy(to + (r * WINDOW + first) * s->lanes, plane + ((y + r) * in[1] + x + first) * s->lanes,
                   (size_t)((past - first) * s->lanes) * sizeof *to);
}

/* to[points][together][channels], of one tile */
static void bring_in(const winograd *s, const float *x, tile at, float *to) {
    const deft_window *w = &s->window;
    int64_t y0 = at.y - w->pad_begin[0], x0 = at.x - w->pad_begin[1], plane = w->in[0] * w->in[1] * s->lanes;
    bool inside = y0 >= 0 && x0 >= 0 && y0 + WINDOW <= w->in[0] && x0 + WINDOW <= w->in[1];
    float edge[WINDOW * WINDOW * MOST_LANES] __attribute__((aligned(64)));
    for (int64_t block = 0; block < w->channels / s->lanes; block++) {
        const float *from = x + (at.image * (w->channels / s->lanes) + block) * plane;
        if (!inside) copy_window(s, from, y0, x0, edge);
        s->loops->winograd_in(inside ? from + (y0 * w->in[1] + x0) * s->lanes : edge,
                              (inside ? w->in[1] : WINDOW) * s->lanes, to + block * s->lanes, s->in_point);
    }
}

static void finish(const winograd *s, const float *from, const float *residual, int64_t count, float *y) {
    if (residual) {
        s->loops->binary[DEFT_BINARY_ADD]((deft_binary_operand){from, 0, 1}, (deft_binary_operand){residual, 0, 1}, y,
                                          0, 1, count);
        from = y;
    }
    s->loops->unary[DEFT_UNARY_CLAMP](from, y, count, s->activation.low, s->activation.high);
}

static void bring_out(const winograd *s, const float *sums, tile at, const float *residual, float *y,
                      float *not_finite) {
    const deft_window *w = &s->window;
    int64_t plane = w->out[0] * w->out[1] * s->lanes;
    int64_t rows = w->out[0] - at.y < TILE ? w->out[0] - at.y : TILE;
    int64_t columns = w->out[1] - at.x < TILE ? w->out[1] - at.x : TILE;
    float results[TILE * TILE * MOST_LANES] __attribute__((aligned(64)));
    for (int64_t block = 0; block < w->filters / s->lanes; block++) {
        int64_t offset = (at.image * (w->filters / s->lanes) + block) * plane;
        s->loops->winograd_out(sums + block * s->lanes, s->sum_point, s->bias + block * s->lanes, results, not_finite);
        for (int64_t r = 0; r < rows; r++) {
            int64_t to = offset + ((at.y + r) * w->out[1] + at.x) * s->lanes;
            finish(s, results + r * TILE * s->lanes, residual ? residual + to : NULL, columns * s->lanes, y + to);
        }
    }
}

static void run_tiles(const winograd *s, const float *x, const float *residual, float *y, int64_t first, int64_t count,
                      float *scratch, float *not_finite) {
    int64_t channels = s->window.channels, width = s->panels * s->loops->product_width;
    float *sums = scratch + POINTS * s->in_point;
    for (int64_t t = 0; t < count; t++)
        bring_in(s, x, tile_of(s, first + t), scratch + t * channels);
    for (int64_t p = 0; p < POINTS; p++) {
        float *to = sums + p * s->sum_point;
        memset(to, 0, (size_t)(count * width) * sizeof *to);
        s->loops->product(scratch + p * s->in_point, channels, count, channels, s->weights + p * channels * width,
                          s->panels, to, width);
    }
    for (int64_t t = 0; t < count; t++)
        bring_out(s, sums + t * width, tile_of(s, first + t), residual, y, not_finite);
}

/* Whether all sums were finite. */
static bool run_all(const winograd *s, const float *x, const float *residual, float *y, float *scratch) {
    int64_t turns = divide_up(s->tiles, s->together);
    bool finite = true;
#pragma omp parallel num_threads(s->threads) reduction(&& : finite) if (s->threads > 1)
    {
        float not_finite[MOST_LANES] __attribute__((aligned(64))) = {0};
        float *own = scratch + (size_t)omp_get_thread_num() * floats_of_thread(s);
#pragma omp for schedule(static)
        for (int64_t turn = 0; turn < turns; turn++) {
            int64_t first = turn * s->together, rest = s->tiles - first;
            run_tiles(s, x, residual, y, first, rest < s->together ? rest : s->together, own, not_finite);
        }
        for (int i = 0; i < MOST_LANES; i++)
            finite = finite && not_finite[i] == 0;
    }
    return finite;
}

static deft_status run_carefully(deft_context *ctx, winograd *s, const deft_tensor *const *in,
                                 deft_tensor *const *out) {
    void *scratch;
    if (!s->careful.def) DEFT_TRY(deft_kernel_prepare(ctx, DEFT_KERNEL_DENSE_CONV, &s->request, &s->careful));
    DEFT_TRY(deft_allocate(ctx, s->careful.scratch_bytes, &scratch));
    deft_status status = s->careful.def->run(ctx, &s->careful, in, out, scratch);
    deft_release(ctx, scratch);
    return status;
}

deft_status deft_vector_winograd_run(deft_context *ctx, const deft_kernel *kernel, const deft_tensor *const *in,
                                     deft_tensor *const *out, void *scratch) {
    winograd *s = kernel->state;
    const deft_window *w = &s->window;
    const float *residual = s->residual ? in[s->request.call.in_count]->data : NULL;
    if (!run_all(s, in[0]->data, residual, out[0]->data, scratch)) return run_carefully(ctx, s, in, out);
    deft_vector_apply(s->loops, s->function, s->alpha, out[0]->data, w->batch * w->filters * w->out[0] * w->out[1],
                      s->threads);
    return DEFT_OK;
}

/* Gemm, MatMul and Conv with a constant weight that is packed into panels: for few rows or pixels, where each weight is
 * read for little else. error: |Y - Y64| <= gamma(k + 2) (|alpha| sum|w||x| + |beta b|); activations add none. NaN
 * stays NaN. */
#include "codegen/kernel/dense.h"
#include "codegen/kernel/linear.h"
#include "codegen/kernel/vector.h"

#include <math.h>
#include <string.h>

enum { CHUNK = 64 /* rows at a time */, MACS_WORTH_THREADS = 1 << 17, MOST_GATHERED = 1 << 22 };

typedef struct vector_linear {
    const deft_vector_loops *loops;
    deft_linear linear; /* without its data */
    int threads;
    int64_t rows, panels; /* of a group: pixels of all pictures, for a convolution; panels of its m columns */
    float *weight;        /* [groups][panels][k][width] */
    float *bias;          /* [groups][panels * width] */
    deft_activation activation;
} vector_linear;

/* A convolution whose one output reads all of a picture, as it lies, is a product. */
static bool is_product(const deft_linear *l) {
    return l->groups == 1 && l->out_height * l->out_width == 1 && l->kernel_height == l->in_height &&
           l->kernel_width == l->in_width && l->pad_top == 0 && l->pad_left == 0;
}

static int64_t rows_of(const deft_linear *l) {
    return l->conv ? l->n * l->out_height * l->out_width : l->n;
}

static bool linear_of(const deft_request *request, deft_linear *linear, const char **why) {
    *why = "it has no schedules";
    if (request->schedule > 0) return false;
    *why = "it adds no residual";
    if (request->residual) return false;
    *why = "it reads and writes rows";
    if (request->in_layout != DEFT_LAYOUT_ROWS || request->out_layout != DEFT_LAYOUT_ROWS) return false;
    if (!deft_linear_of(request, linear, why)) return false;
    if (linear->conv && is_product(linear)) linear->conv = false;
    *why = "it is for fewer pixels";
    if (linear->conv && rows_of(linear) * linear->groups > MOST_GATHERED / (linear->k + 1)) return false;
    *why = "there is nothing to compute: a dimension is 0";
    return deft_tensor_count(request->call.out[0]) > 0 && linear->k > 0;
}

bool deft_vector_linear_accepts(const deft_request *request, const char **why) {
    deft_linear linear;
    return linear_of(request, &linear, why);
}

double deft_vector_linear_estimate_ns(const deft_request *request) {
    deft_linear l;
    const char *why;
    if (!linear_of(request, &l, &why)) return INFINITY;
    static const double weight_bytes_per_ns = 40;
    double rows = (double)rows_of(&l), filled = (double)l.m / (double)((l.m + 31) / 32 * 32);
    double macs = rows * (double)(l.groups * l.m * l.k), gathered = l.conv ? rows * (double)(l.groups * l.k) : 0;
    double stored = rows * (double)(l.groups * l.m), weight_bytes = (double)l.weights * (double)sizeof(float);
    double macs_per_ns = request->isa == DEFT_ISA_AVX512 ? 70 : request->isa == DEFT_ISA_AVX2 ? 35 : 8;
    return 80 + (macs / macs_per_ns + weight_bytes / weight_bytes_per_ns) / filled + gathered + 0.3 * stored;
}

/* ---- packing ------------------------------------------------------------------------------------------------- */

/* `columns` rows of W, `from` on, as the columns of a panel, the rest of it 0. A part of them that fits in L1 at a
 * time: one of the two is read or written across its rows. */
static void pack_panel(const deft_linear *l, const float *from, int64_t columns, int64_t width, float *panel) {
    for (int64_t begin = 0; begin < l->k; begin += CHUNK) {
        int64_t end = begin + CHUNK < l->k ? begin + CHUNK : l->k;
        for (int64_t i = 0; i < columns; i++)
            for (int64_t k = begin; k < end; k++)
                panel[k * width + i] = l->scale * from[i * l->row_stride + k * l->column_stride];
        for (int64_t k = begin; k < end; k++)
            memset(panel + k * width + columns, 0, (size_t)(width - columns) * sizeof *panel);
    }
}

static void pack_group(const deft_linear *l, int64_t group, int64_t width, int64_t panels, float *weight, float *bias) {
    for (int64_t panel = 0; panel < panels; panel++) {
        int64_t first = panel * width, columns = l->m - first < width ? l->m - first : width;
        pack_panel(l, l->weight + group * l->m * l->k + first * l->row_stride, columns, width,
                   weight + (group * panels + panel) * l->k * width);
    }
    for (int64_t i = 0; l->bias && i < l->m; i++)
        bias[group * panels * width + i] = l->bias_scale * l->bias[(group * l->m + i) * l->bias_stride];
}

static deft_status pack(deft_context *ctx, const deft_linear *l, vector_linear *state) {
    int64_t width = state->loops->product_width;
    size_t columns = (size_t)(l->groups * state->panels * width), bytes;
    if (__builtin_mul_overflow(columns * sizeof(float), (size_t)l->k, &bytes)) bytes = SIZE_MAX;
    DEFT_TRY(deft_allocate(ctx, bytes, &state->weight));
    DEFT_TRY(deft_allocate_zeroed(ctx, columns, sizeof(float), &state->bias));
    for (int64_t group = 0; group < l->groups; group++)
        pack_group(l, group, width, state->panels, state->weight, state->bias);
    return DEFT_OK;
}

deft_status deft_vector_linear_prepare(deft_context *ctx, const deft_request *request, deft_kernel *kernel) {
    vector_linear *state;
    deft_linear linear;
    const char *why;
    DEFT_TRY(deft_allocate_zeroed(ctx, 1, sizeof *state, &state));
    linear_of(request, &linear, &why);
    state->loops = deft_vector_loops_of(request->isa);
    state->activation = request->activation;
    state->rows = rows_of(&linear);
    int64_t width = state->loops->product_width, macs = state->rows * linear.groups * linear.m * linear.k;
    state->threads = macs < MACS_WORTH_THREADS ? 1 : request->call.threads;
    state->panels = (linear.m + width - 1) / width;
    kernel->state = state;
    kernel->packed = deft_linear_weight_bit(&request->call);
    kernel->weights = linear.weights;
    kernel->nonzeros = linear.nonzeros;
    kernel->weight_bytes = (size_t)(linear.groups * state->panels * width * linear.k) * sizeof(float);
    if (linear.conv) kernel->scratch_bytes = (size_t)(linear.groups * state->rows * linear.k) * sizeof(float);
    deft_status status = pack(ctx, &linear, state);
    linear.weight = linear.bias = NULL;
    state->linear = linear;
    if (status != DEFT_OK) deft_vector_linear_done(ctx, kernel);
    return status;
}

/* ---- a run --------------------------------------------------------------------------------------------------- */

/* to[x] = row[at + x * dilation] for the taps of a window's row, 0 outside of the picture. */
static void copy_taps(const deft_linear *l, const float *row, int64_t at, float *to) {
    if (l->dilation_x == 1 && at >= 0 && at + l->kernel_width <= l->in_width) {
        memcpy(to, row + at, (size_t)l->kernel_width * sizeof *to);
        return;
    }
    for (int64_t x = 0; x < l->kernel_width; x++) {
        int64_t from = at + x * l->dilation_x;
        to[x] = from >= 0 && from < l->in_width ? row[from] : 0;
    }
}

/* What an output reads of one channel. */
static void copy_window(const deft_linear *l, const float *channel, int64_t out, float *to) {
    int64_t top = out / l->out_width * l->stride_y - l->pad_top;
    int64_t left = out % l->out_width * l->stride_x - l->pad_left;
    for (int64_t y = 0; y < l->kernel_height; y++, to += l->kernel_width) {
        int64_t from = top + y * l->dilation_y;
        if (from >= 0 && from < l->in_height)
            copy_taps(l, channel + from * l->in_width, left, to);
        else
            memset(to, 0, (size_t)l->kernel_width * sizeof *to);
    }
}

/* Row number `row` of a group: what an output of a picture reads. */
static void gather(const vector_linear *state, const float *x, int64_t group, int64_t row, float *to) {
    const deft_linear *l = &state->linear;
    int64_t taps = l->kernel_height * l->kernel_width, pixels = l->in_height * l->in_width;
    int64_t outs = l->out_height * l->out_width, channels = l->channels_in / l->groups;
    x += (row / outs * l->channels_in + group * channels) * pixels;
    for (int64_t c = 0; c < channels; c++)
        copy_window(l, x + c * pixels, row % outs, to + c * taps);
}

/* A tile of rows [begin, end) and of the columns from `column` on of a group, to its places in Y. */
static void store(const vector_linear *state, const float *tile, int64_t group, int64_t column, int64_t begin,
                  int64_t end, float *y) {
    const deft_linear *l = &state->linear;
    int64_t width = state->loops->product_width, columns = l->m - column < width ? l->m - column : width;
    if (!l->conv) {
        for (int64_t r = begin; r < end; r++, tile += width)
            memcpy(y + r * l->m + column, tile, (size_t)columns * sizeof *y);
        return;
    }
    int64_t outs = l->out_height * l->out_width;
    for (int64_t r = begin; r < end; r++, tile += width) {
        float *to = y + ((r / outs * l->groups + group) * l->m + column) * outs + r % outs;
        for (int64_t c = 0; c < columns; c++)
            to[c * outs] = tile[c];
    }
}

/* Rows [begin, end) of x, of a group, by one of its panels. */
static void run_chunk(const vector_linear *state, const float *x, int64_t group, int64_t panel, int64_t begin,
                      int64_t end, float *y) {
    int64_t width = state->loops->product_width, k = state->linear.k, at = group * state->panels + panel;
    float tile[CHUNK * DEFT_PRODUCT_WIDTH] __attribute__((aligned(64)));
    for (int64_t r = 0; r < end - begin; r++)
        memcpy(tile + r * width, state->bias + at * width, (size_t)width * sizeof *tile);
    state->loops->product(x + begin * k, k, end - begin, k, state->weight + at * k * width, 1, tile, width);
    if (!deft_activation_is_none(state->activation))
        state->loops->unary[DEFT_UNARY_CLAMP](tile, tile, (end - begin) * width, state->activation.low,
                                              state->activation.high);
    store(state, tile, group, panel * width, begin, end, y);
}

/* A run: x is read where it is or, of a convolution, from `rows`, which are gathered first. */
typedef struct job {
    const vector_linear *state;
    const float *x;
    float *rows, *y;
    int64_t chunks; /* of the rows of a group */
} job;

static void gather_row(const job *j, int64_t i) {
    int64_t rows = j->state->rows;
    gather(j->state, j->x, i / rows, i % rows, j->rows + i * j->state->linear.k);
}

static void run_unit(const job *j, int64_t i) {
    const vector_linear *state = j->state;
    int64_t group = i / j->chunks / state->panels, begin = i % j->chunks * CHUNK, end = begin + CHUNK;
    const float *x = (state->linear.conv ? j->rows : j->x) + group * state->rows * state->linear.k;
    run_chunk(state, x, group, i / j->chunks % state->panels, begin, end < state->rows ? end : state->rows, j->y);
}

/* A team of one thread would cost 0.2 us, as much as a small layer. */
deft_status deft_vector_linear_run(deft_context *ctx, const deft_kernel *kernel, const deft_tensor *const *in,
                                   deft_tensor *const *out, void *scratch) {
    (void)ctx;
    const vector_linear *state = kernel->state;
    const deft_linear *l = &state->linear;
    job all = {state, in[l->input]->data, scratch, out[0]->data, (state->rows + CHUNK - 1) / CHUNK};
    int64_t gathered = l->conv ? l->groups * state->rows : 0, units = l->groups * state->panels * all.chunks;
    if (state->threads == 1) {
        for (int64_t i = 0; i < gathered; i++)
            gather_row(&all, i);
        for (int64_t i = 0; i < units; i++)
            run_unit(&all, i);
        return DEFT_OK;
    }
#pragma omp parallel num_threads(state->threads)
    {
#pragma omp for
        for (int64_t i = 0; i < gathered; i++)
            gather_row(&all, i);
#pragma omp for
        for (int64_t i = 0; i < units; i++)
            run_unit(&all, i);
    }
    return DEFT_OK;
}

void deft_vector_linear_done(deft_context *ctx, deft_kernel *kernel) {
    vector_linear *state = kernel->state;
    deft_release(ctx, state->weight);
    deft_release(ctx, state->bias);
    deft_release(ctx, state);
}

/* The kernel of products as a loop over a stream: x into panels, the loop, y out of them.
 * error: |y - y64| <= gamma(nonzeros(row) + 2) (sum |weight x| + |bias|). source: KREUTZER2014, HIGHAM2002 */
#include "codegen/kernel/sparse_stream.h"

#include "codegen/kernel/sparse_rows.h"
#include "codegen/kernel/transpose.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>

enum { LEAST_COLUMNS = 2, PANEL = DEFT_PANEL_LANES, WIDE = 2 * PANEL };
enum { ALL_THREADS = 1, ONE_THREAD = 2, SCHEDULES = 3, WIDE_PANELS = 4 }; /* schedules: one of two, and a flag */
enum { L1_FLOATS = 8192 };                                                /* of x: a third is for y and the stream */

/* A loop over 512 bits loses to generated code, where that is used more than a few times; portable C has another. */
static int64_t most_columns(deft_isa isa) {
    return isa == DEFT_ISA_AVX2 ? INT64_MAX : isa == DEFT_ISA_AVX512 ? 4 * PANEL : PANEL;
}

static bool reject(const char **why, const char *text) {
    if (why) *why = text;
    return false;
}

/* A product whose columns are pixels: a weight on the left, or a convolution of one tap. */
static bool is_pointwise(const deft_linear *l) {
    bool one_tap = l->kernel_height == 1 && l->kernel_width == 1 && l->stride_y == 1 && l->stride_x == 1;
    return one_tap && l->groups == 1 && !(l->pad_top || l->pad_left || l->pad_bottom || l->pad_right);
}

static int64_t columns_of(const deft_linear *l) {
    return l->conv ? l->in_height * l->in_width : l->n;
}

/* Rows of x that lie side by side in x panels of 16, or are to be cut anyway, which may then be wider. */
static bool may_be_wide(const deft_request *request, const deft_linear *l) {
    bool panels = request->in_layout != DEFT_LAYOUT_ROWS || request->out_layout != DEFT_LAYOUT_ROWS;
    return !panels && columns_of(l) >= WIDE;
}

static bool is_schedule(const deft_request *request, const deft_linear *l) {
    uint64_t who = request->schedule & SCHEDULES, wide = request->schedule & WIDE_PANELS;
    if (request->schedule == 0) return true;
    return request->schedule <= (SCHEDULES | WIDE_PANELS) && (who == ALL_THREADS || who == ONE_THREAD) &&
           (!wide || may_be_wide(request, l));
}

static bool linear_of(const deft_request *request, deft_linear *linear, const char **why) {
    if (request->residual) return reject(why, "it adds no residual");
    if (!deft_linear_of(request, linear, why)) return false;
    if (linear->conv && !is_pointwise(linear)) return reject(why, "a convolution of more than one tap");
    bool panels = request->in_layout != DEFT_LAYOUT_ROWS || request->out_layout != DEFT_LAYOUT_ROWS;
    if (linear->conv && panels) return reject(why, "panels are for matrix products");
    int64_t columns = columns_of(linear);
    if (columns < LEAST_COLUMNS) return reject(why, "a matrix times a vector");
    if (columns > most_columns(request->isa)) return reject(why, "the batch is large");
    if (linear->n == 0 || linear->m == 0 || linear->k == 0) return reject(why, "nothing to compute");
    if (linear->k > INT32_MAX / WIDE || linear->m > INT32_MAX / WIDE)
        return reject(why, "a matrix of more than 2^31 elements");
    if (!is_schedule(request, linear)) return reject(why, "not a schedule of it");
    return true;
}

/* The fewest lanes for some columns, at most `most`. */
static int lanes_for(int64_t columns, int most) {
    int lanes = columns > 16 ? 24 : columns > 8 ? 16 : columns > 4 ? 8 : 4;
    return columns > 24 || lanes > most ? most : lanes;
}

static void choose_lanes(const deft_request *request, const deft_linear *l, deft_stream *s) {
    bool in_panels = request->in_layout == DEFT_LAYOUT_PANELS, out_panels = request->out_layout == DEFT_LAYOUT_PANELS;
    bool wide = may_be_wide(request, l) && (!request->schedule || request->schedule & WIDE_PANELS);
    int most = wide ? WIDE : PANEL;
    s->lanes = in_panels || out_panels ? PANEL : lanes_for(s->n, most);
    s->panels = (s->n + s->lanes - 1) / s->lanes;
    s->last_lanes = out_panels ? PANEL : lanes_for(s->n - (s->panels - 1) * s->lanes, s->lanes);
    s->x_direct = in_panels || (s->by_columns && s->n == s->lanes);
    s->y_direct = out_panels || s->by_columns;
    s->y_pitch = s->by_columns ? s->n : s->lanes;
    s->stored = s->by_columns && s->n < s->lanes ? s->n : s->lanes;
    s->depths = (s->k * s->lanes + L1_FLOATS - 1) / L1_FLOATS;
}

/* Basis: one core of a Sapphire Rapids Xeon, nanoseconds: 0.3 a nonzero for the first vector of up to 256 bits and 0.25
 * for each further one, 0.45 for one of 512; a row of a depth costs 5, packing and copying out 0.1 a lane of 4.
 * Portable C multiplies and adds four lanes in 0.3. */
static double panel_ns(const deft_stream *s, int lanes, int64_t nonzeros) {
    double widest = s->isa == DEFT_ISA_C ? 4 : s->isa == DEFT_ISA_AVX2 ? 8 : 16, vectors = ceil(lanes / widest);
    double nonzero_ns = s->isa == DEFT_ISA_C      ? 0.3 * vectors + 0.2
                        : lanes > 8 && widest > 8 ? 0.45 * vectors
                                                  : 0.1 + 0.25 * vectors;
    double quarters = lanes / 4.0, pack_ns = s->x_direct ? 0 : (0.2 + 0.1 * quarters) * (double)s->k;
    double unpack_ns = s->y_direct ? 0 : 0.2 * quarters * (double)s->m;
    return nonzero_ns * (double)nonzeros + 5 * (double)(s->m * s->depths) + pack_ns + unpack_ns;
}

static double one_thread_ns(const deft_stream *s, int64_t nonzeros) {
    double others = (double)(s->panels - 1) * panel_ns(s, s->lanes, nonzeros);
    return (double)s->images * (others + panel_ns(s, s->last_lanes, nonzeros)) + 20;
}

/* By what the schedule says, or where it pays. */
static void choose_threads(const deft_request *request, deft_stream *s, int64_t nonzeros) {
    int most = request->call.threads > 1 ? request->call.threads : 1;
    bool alone = one_thread_ns(s, nonzeros) < DEFT_WORTH_A_TEAM_NS;
    if (request->schedule) alone = (request->schedule & SCHEDULES) == ONE_THREAD;
    s->threads = alone ? 1 : most;
    s->split = s->threads == 1                       ? DEFT_STREAM_ALONE
               : s->images * s->panels >= s->threads ? DEFT_STREAM_PANELS
                                                     : DEFT_STREAM_ROWS;
    s->shares = s->split == DEFT_STREAM_ROWS ? s->threads : 1;
}

/* All but the memory. */
static deft_stream stream_of(const deft_request *request, const deft_linear *linear) {
    deft_stream s = {
        .isa = request->isa,
        .activation = request->activation,
        .bounded = request->activation.low > -INFINITY || request->activation.high < INFINITY,
        .input = linear->input,
        .images = linear->conv ? linear->n : 1,
        .n = columns_of(linear),
        .m = linear->m,
        .k = linear->k,
        .by_columns = linear->conv,
    };
    choose_lanes(request, linear, &s);
    choose_threads(request, &s, linear->nonzeros);
    return s;
}

bool deft_sparse_stream_accepts(const deft_request *request, const char **why) {
    deft_linear linear;
    return linear_of(request, &linear, why);
}

double deft_sparse_stream_estimate_ns(const deft_request *request) {
    deft_linear linear;
    if (!linear_of(request, &linear, NULL)) return INFINITY;
    deft_stream stream = stream_of(request, &linear);
    return one_thread_ns(&stream, linear.nonzeros);
}

int deft_sparse_stream_schedules(const deft_request *request, int most, uint64_t *schedules) {
    static const uint64_t all[] = {ONE_THREAD | WIDE_PANELS, ONE_THREAD, ALL_THREADS | WIDE_PANELS, ALL_THREADS};
    deft_linear linear;
    deft_request possible = *request;
    int count = 0;
    for (int i = 0; i < 4 && count < most; i++) {
        possible.schedule = all[i];
        if ((all[i] & ALL_THREADS) && request->call.threads <= 1) continue;
        if (linear_of(&possible, &linear, NULL)) schedules[count++] = all[i];
    }
    return count;
}

/* ---- making it ----------------------------------------------------------------------------------------------- */

/* Rows of x of the depths before. */
static int64_t depth_begin(const deft_stream *s, int64_t depth) {
    return s->k * depth / s->depths;
}

/* Appends the nonzeros of a row in a depth. */
static int64_t fill_row(deft_stream *s, const deft_linear *l, int64_t row, int64_t depth, int64_t at) {
    const float *weight = deft_linear_row(l, row);
    int64_t first = depth_begin(s, depth), past = depth_begin(s, depth + 1);
    for (int64_t j = first; j < past; j++) {
        if (weight[j * l->column_stride] == 0) continue;
        s->values[at] = l->scale * weight[j * l->column_stride];
        s->offsets[at++] = (uint16_t)((j - first) * s->lanes / DEFT_STREAM_UNIT);
    }
    return at;
}

/* A depth of the stream, from `at` on: in every share, rows by their length in this depth. */
static int64_t fill_depth(deft_stream *s, const deft_linear *l, int64_t depth, deft_sorted_row *order, int64_t at) {
    int32_t *rows = s->rows + depth * s->m;
    int64_t *begin = s->begin + depth * (s->m + 1);
    for (int share = 0; share < s->shares; share++) {
        int64_t first = s->share_begin[share], past = s->share_begin[share + 1];
        deft_rows_sort(l, (deft_rows_part){first, past, depth_begin(s, depth), depth_begin(s, depth + 1)}, order);
        for (int64_t i = first; i < past; i++) {
            rows[i] = (int32_t)order[i - first].row;
            s->bias[i] = l->bias ? l->bias_scale * l->bias[rows[i] * l->bias_stride] : 0;
            begin[i] = at;
            at = fill_row(s, l, rows[i], depth, at);
        }
    }
    begin[s->m] = at;
    return at;
}

static deft_status fill_stream(deft_context *ctx, const deft_linear *l, deft_stream *s) {
    size_t rows = (size_t)s->m, depths = (size_t)s->depths, nonzeros = (size_t)l->nonzeros;
    deft_sorted_row *order;
    DEFT_TRY(deft_rows_balance(ctx, l, s->shares, &s->share_begin));
    DEFT_TRY(deft_allocate(ctx, depths * rows * sizeof *s->rows, &s->rows));
    DEFT_TRY(deft_allocate(ctx, rows * sizeof *s->bias, &s->bias));
    DEFT_TRY(deft_allocate(ctx, depths * (rows + 1) * sizeof *s->begin, &s->begin));
    DEFT_TRY(deft_allocate(ctx, nonzeros * sizeof *s->values, &s->values));
    DEFT_TRY(deft_allocate(ctx, nonzeros * sizeof *s->offsets, &s->offsets));
    DEFT_TRY(deft_allocate(ctx, rows * sizeof *order, &order));
    int64_t at = 0;
    for (int64_t depth = 0; depth < s->depths; depth++)
        at = fill_depth(s, l, depth, order, at);
    deft_release(ctx, order);
    return DEFT_OK;
}

static void free_stream(deft_context *ctx, deft_stream *s) {
    deft_release(ctx, s->share_begin);
    deft_release(ctx, s->rows);
    deft_release(ctx, s->bias);
    deft_release(ctx, s->begin);
    deft_release(ctx, s->values);
    deft_release(ctx, s->offsets);
    deft_release(ctx, s);
}

static deft_stream_engine engine_of(const deft_stream *s, int lanes) {
    switch (s->isa) {
    case DEFT_ISA_AVX512:
        return deft_stream_engine_avx512(lanes);
    case DEFT_ISA_AVX2:
        return deft_stream_engine_avx2(lanes);
    default:
        return deft_stream_engine_c(lanes);
    }
}

/* Of one copy: a panel of x, and one of sums or y. */
static size_t x_scratch_bytes(const deft_stream *s) {
    return s->x_direct ? 0 : ((size_t)(s->k * s->lanes) * sizeof(float) + 63) / 64 * 64;
}

static size_t scratch_bytes(const deft_stream *s) {
    size_t sums = s->y_direct && s->depths == 1 ? 0 : (size_t)(s->m * s->lanes) * sizeof(float);
    return x_scratch_bytes(s) + (sums + 63) / 64 * 64;
}

static void describe(deft_stream *s, const deft_linear *l, deft_kernel *kernel) {
    int copies = s->split == DEFT_STREAM_PANELS ? s->threads : 1;
    kernel->state = s;
    kernel->scratch_bytes = (size_t)copies * scratch_bytes(s);
    kernel->weight_bytes = (size_t)l->nonzeros * (sizeof *s->values + sizeof *s->offsets);
    kernel->weights = l->weights;
    kernel->nonzeros = l->nonzeros;
    snprintf(s->detail, sizeof s->detail, "%lld panels of %d lanes, %lld depths, %d threads", (long long)s->panels,
             s->lanes, (long long)s->depths, s->threads);
    kernel->detail = s->detail;
}

deft_status deft_sparse_stream_prepare(deft_context *ctx, const deft_request *request, deft_kernel *kernel) {
    deft_linear linear;
    const char *why = NULL;
    if (!linear_of(request, &linear, &why)) return deft_fail(ctx, DEFT_BUG, "sparse-stream: not accepted: %s", why);
    deft_stream *s;
    deft_status status;
    DEFT_TRY(deft_allocate(ctx, sizeof *s, &s));
    *s = stream_of(request, &linear);
    DEFT_TRY_OR_FAIL(fill_stream(ctx, &linear, s));
    s->engine = engine_of(s, s->lanes);
    s->last_engine = engine_of(s, s->last_lanes);
    describe(s, &linear, kernel);
    return DEFT_OK;
fail:
    free_stream(ctx, s);
    return status;
}

void deft_sparse_stream_done(deft_context *ctx, deft_kernel *kernel) {
    if (kernel->state) free_stream(ctx, kernel->state);
    kernel->state = NULL;
}

/* ---- running it ---------------------------------------------------------------------------------------------- */

/* Rows of n floats into rows of as many lanes, of which those past n then hold what comes next in x, and are zero where
 * x ends. */
static void widen_rows(const float *x, int64_t n, int64_t begin, int64_t end, int64_t k, int lanes, float *to) {
    int64_t safe = k - (lanes + n - 1) / n + 1; /* rows at which as many floats begin */
    for (int64_t j = begin; j < end; j++) {
        const float *from = x + j * n;
        float *row = to + j * lanes;
        if (j >= safe) {
            memset(row, 0, (size_t)lanes * sizeof *row);
            for (int64_t i = 0; i < n; i++)
                row[i] = from[i];
        } else if (lanes == 4) {
            memcpy(row, from, 4 * sizeof *row);
        } else {
            for (int i = 0; i < lanes; i += 8)
                memcpy(row + i, from + i, 8 * sizeof *row);
        }
    }
}

/* Some lanes out of rows of n floats. */
static void cut_rows(const float *x, int64_t n, int64_t begin, int64_t end, int lanes, float *to, int64_t pitch) {
    for (int64_t j = begin; j < end; j++)
        for (int i = 0; i < lanes; i += 4)
            memcpy(to + j * pitch + i, x + j * n + i, 4 * sizeof *to);
}

/* What is computed together: columns [first, first + count) of an image. */
typedef struct panel {
    const float *x; /* the image */
    float *y, *x_scratch, *sums;
    int64_t index, first, count;
    int lanes;
} panel;

/* Of columns side by side the last panel begins so that it ends with the last column. */
static panel panel_of(const deft_stream *s, const float *x, float *y, char *scratch, int64_t item) {
    panel p = {.index = item % s->panels, .lanes = s->lanes};
    p.x = x + item / s->panels * s->k * s->n;
    p.y = y + item / s->panels * s->m * s->n;
    p.x_scratch = (float *)scratch;
    p.sums = (float *)(scratch + x_scratch_bytes(s));
    p.first = p.index * s->lanes;
    p.count = s->n - p.first;
    if (p.index == s->panels - 1) p.lanes = s->last_lanes;
    if (s->by_columns && s->panels > 1 && p.count < p.lanes) p.first = s->n - p.lanes;
    if (p.count > p.lanes) p.count = p.lanes;
    return p;
}

/* Rows [begin, end) of x. */
static void pack(const deft_stream *s, const panel *p, int64_t begin, int64_t end) {
    if (!s->by_columns)
        deft_transpose(s->isa, p->x + p->first * s->k + begin, s->k, p->count, end - begin,
                       p->x_scratch + begin * s->lanes, s->lanes, p->lanes);
    else if (s->n < s->lanes)
        widen_rows(p->x, s->n, begin, end, s->k, s->lanes, p->x_scratch);
    else
        cut_rows(p->x + p->first, s->n, begin, end, p->lanes, p->x_scratch, s->lanes);
}

/* Rows [begin, end) of y. */
static void unpack(const deft_stream *s, const panel *p, int64_t begin, int64_t end) {
    deft_transpose(s->isa, p->sums + begin * s->lanes, s->lanes, end - begin, p->count, p->y + p->first * s->m + begin,
                   s->m, end - begin);
}

/* The share of rows of a thread. */
static void compute(const deft_stream *s, const panel *p, int share) {
    const float *x = s->x_direct ? p->x + p->index * s->k * s->lanes : p->x_scratch;
    float *y = !s->y_direct ? p->sums : s->by_columns ? p->y + p->first : p->y + p->index * s->m * s->lanes;
    int64_t begin = s->share_begin[share], end = s->share_begin[share + 1];
    deft_stream_engine engine = p->index == s->panels - 1 ? s->last_engine : s->engine;
    for (int64_t depth = 0; depth < s->depths; depth++)
        engine(s, depth, begin, end, x + depth_begin(s, depth) * s->lanes, p->sums, y);
    if (!s->y_direct) unpack(s, p, begin, end);
}

/* All rows of some panels. */
static void run_panels(const deft_stream *s, const float *x, float *y, char *scratch, int thread, int team) {
    int64_t items = s->images * s->panels;
    for (int64_t i = items * thread / team; i < items * (thread + 1) / team; i++) {
        panel p = panel_of(s, x, y, scratch + (size_t)thread * scratch_bytes(s), i);
        if (!s->x_direct) pack(s, &p, 0, s->k);
        compute(s, &p, 0);
    }
}

/* Some rows of all panels. A team may be smaller than there are shares. */
static void run_rows(const deft_stream *s, const float *x, float *y, char *scratch, int thread, int team) {
    for (int64_t i = 0; i < s->images * s->panels; i++) {
        panel p = panel_of(s, x, y, scratch, i);
        if (!s->x_direct) {
            pack(s, &p, s->k * thread / team, s->k * (thread + 1) / team);
#pragma omp barrier
        }
        for (int share = thread; share < s->shares; share += team)
            compute(s, &p, share);
#pragma omp barrier /* the next panel is packed over this one */
    }
}

deft_status deft_sparse_stream_run(deft_context *ctx, const deft_kernel *kernel, const deft_tensor *const *in,
                                   deft_tensor *const *out, void *scratch) {
    (void)ctx;
    const deft_stream *s = kernel->state;
    const float *x = in[s->input]->data;
    float *y = out[0]->data;
    if (s->split == DEFT_STREAM_ALONE) {
        run_panels(s, x, y, scratch, 0, 1);
        return DEFT_OK;
    }
#pragma omp parallel num_threads(s->threads)
    (s->split == DEFT_STREAM_PANELS ? run_panels : run_rows)(s, x, y, scratch, omp_get_thread_num(),
                                                             omp_get_num_threads());
    return DEFT_OK;
}

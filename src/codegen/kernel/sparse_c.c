/* Sparse products in portable C: what `--isa c` runs, and where executable memory is refused. Rows are compressed
 * (weights and offsets side by side), and each is multiplied with 16 positions at a time, or with one where the batch
 * is small. */
#include "codegen/kernel/sparse.h"
#include "codegen/kernel/sparse_rows.h"

#include <math.h>

#include <string.h>

/* Vectors of the compiler, which it makes of whatever the target has. */
typedef float quad __attribute__((vector_size(16)));
enum { LANES = DEFT_PANEL_LANES, QUAD = 4, QUADS = LANES / QUAD };

static inline float clamp(float value, deft_activation activation) {
    value = value < activation.low ? activation.low : value; /* comparisons with NaN are false: it stays */
    return value > activation.high ? activation.high : value;
}

static inline void run_row(const deft_sparse *sparse, int64_t row, const float *x, float *y) {
    float bias = deft_sparse_bias(&sparse->shape, row);
    quad start = {bias, bias, bias, bias}, a = start, b = start, c = start, d = start;
    for (int64_t i = sparse->row_begin[row]; i < sparse->row_begin[row + 1]; i++) {
        const float *from = x + sparse->offsets[i];
        quad in[QUADS];
        memcpy(in, from, sizeof in);
        a += sparse->stream[i] * in[0];
        b += sparse->stream[i] * in[1];
        c += sparse->stream[i] * in[2];
        d += sparse->stream[i] * in[3];
    }
    const quad sums[QUADS] = {a, b, c, d};
    for (int lane = 0; lane < LANES; lane++)
        y[lane] = clamp(sums[lane / QUAD][lane % QUAD], sparse->shape.activation);
}

static inline void run_row_single(const deft_sparse *sparse, int64_t row, const float *x, float *y) {
    float sum = deft_sparse_bias(&sparse->shape, row);
    for (int64_t i = sparse->row_begin[row]; i < sparse->row_begin[row + 1]; i++)
        sum += sparse->stream[i] * x[sparse->offsets[i]];
    *y = clamp(sum, sparse->shape.activation);
}

typedef void (*row_fn)(const deft_sparse *sparse, int64_t row, const float *x, float *y);

/* Inlined with a constant function. */
static inline void run_passes(const deft_sparse *sparse, int64_t index, const deft_sparse_stretch *stretch,
                              row_fn run) {
    const deft_sparse_shape *shape = &sparse->shape;
    const deft_sparse_band *band = &sparse->bands[index];
    int64_t span = sparse->schedule.span;
    const float *x = stretch->x;
    float *y = stretch->y + band->first_row * shape->y_row;
    for (int64_t pass = 0; pass < stretch->passes; pass++, x += span * shape->x_unit, y += span * shape->y_unit)
        for (int64_t i = 0; i < band->row_count; i++)
            run(sparse, band->first_row + i, x, y + i * shape->y_row);
}

static void run_wide(const deft_sparse *sparse, int64_t band, int64_t depth, const deft_sparse_stretch *stretch) {
    (void)depth;
    run_passes(sparse, band, stretch, run_row);
}

static void run_single(const deft_sparse *sparse, int64_t band, int64_t depth, const deft_sparse_stretch *stretch) {
    (void)depth;
    run_passes(sparse, band, stretch, run_row_single);
}

/* Whether a unit is one row of a small batch. */
static bool is_single(const deft_sparse_shape *shape) {
    return !shape->linear.conv && shape->unit_lanes == 1;
}

static deft_sparse_schedule schedule_of(const deft_sparse_shape *shape) {
    deft_sparse_schedule schedule = {.vectors = 1, .depths = 1, .band_tiles = 1};
    schedule.span = is_single(shape) ? 1 : LANES / shape->unit_lanes;
    schedule.block = 16 * schedule.span;
    schedule.split = deft_sparse_split_of(shape, schedule.span);
    int64_t bands = schedule.split == DEFT_SPLIT_BANDS ? 4 * shape->threads : 1;
    schedule.tile_rows = (shape->rows + bands - 1) / bands;
    return schedule;
}

static deft_status compress_rows(deft_context *ctx, deft_sparse *sparse) {
    const deft_sparse_shape *shape = &sparse->shape;
    int64_t k = shape->linear.k, stride = shape->linear.column_stride, count = 0;
    size_t nonzeros = (size_t)shape->linear.nonzeros;
    DEFT_TRY(deft_allocate_zeroed(ctx, (size_t)shape->rows + 1, sizeof *sparse->row_begin, &sparse->row_begin));
    DEFT_TRY(deft_allocate(ctx, nonzeros * sizeof *sparse->stream, &sparse->stream));
    DEFT_TRY(deft_allocate(ctx, nonzeros * sizeof *sparse->offsets, &sparse->offsets));
    for (int64_t row = 0; row < shape->rows; row++) {
        const float *weight = deft_linear_row(&shape->linear, row);
        for (int64_t j = 0; j < k; j++) {
            if (weight[j * stride] == 0) continue;
            sparse->stream[count] = shape->linear.scale * weight[j * stride];
            sparse->offsets[count++] = (int32_t)deft_sparse_x_offset(shape, row / shape->linear.m, j);
        }
        sparse->row_begin[row + 1] = count;
    }
    sparse->stream_count = count;
    for (int64_t i = 0; i < sparse->band_count; i++) {
        deft_sparse_band *band = &sparse->bands[i];
        int64_t past = band->first_row + band->row_count;
        band->nonzeros = sparse->row_begin[past] - sparse->row_begin[band->first_row];
    }
    return DEFT_OK;
}

bool deft_sparse_c_accepts(const deft_request *request, const char **why) {
    deft_request portable = *request;
    portable.isa = DEFT_ISA_C;
    deft_sparse_shape shape;
    if (!deft_sparse_shape_of(&portable, &shape, why)) return false;
    if (shape.residual && why) *why = "it adds no residual";
    return !shape.residual;
}

/* Basis: measured on the AVX-512 machine of docs/BENCHMARKS.md, compiled for SSE2: four lanes per multiplication and
 * addition, about 0.14 ns a lane but at least 1.5 ns, 1.3 ns for a single one, and 1 ns an element that is packed or
 * copied out. */
double deft_sparse_c_estimate_ns(const deft_request *request) {
    deft_request portable = *request;
    portable.isa = DEFT_ISA_C;
    deft_sparse_shape shape;
    if (!deft_sparse_shape_of(&portable, &shape, NULL)) return 0;
    double lanes = (double)(shape.images * shape.units * shape.unit_lanes);
    double steps = (double)(shape.linear.nonzeros + 2 * shape.rows);
    double copied = shape.linear.conv ? (double)(shape.images * (shape.picture + shape.y_image))
                                      : lanes * (double)(shape.linear.k + shape.linear.m);
    return is_single(&shape) ? steps * lanes * 1.3 : steps * fmax(0.14 * lanes, 1.5) + copied;
}

deft_status deft_sparse_c_prepare(deft_context *ctx, const deft_request *request, deft_kernel *kernel) {
    deft_request portable = *request;
    portable.isa = DEFT_ISA_C;
    deft_sparse_shape shape;
    if (!deft_sparse_shape_of(&portable, &shape, NULL)) return deft_fail(ctx, DEFT_BUG, "sparse-c: not accepted");
    if (deft_sparse_rough_ns(&shape) < DEFT_WORTH_A_TEAM_NS) shape.threads = 1;
    deft_sparse_schedule schedule = schedule_of(&shape);
    return deft_sparse_prepare(ctx, &shape, &schedule, is_single(&shape) ? run_single : run_wide, compress_rows,
                               kernel);
}

deft_status deft_sparse_c_run(deft_context *ctx, const deft_kernel *kernel, const deft_tensor *const *in,
                              deft_tensor *const *out, void *scratch) {
    (void)ctx;
    const deft_sparse *sparse = kernel->state;
    deft_sparse_run(sparse, in[sparse->shape.linear.input]->data, NULL, out[0]->data, scratch);
    return DEFT_OK;
}

void deft_sparse_c_done(deft_context *ctx, deft_kernel *kernel) {
    deft_sparse_done(ctx, kernel);
}

#include "codegen/kernel/sparse.h"

#include "codegen/kernel/sparse_rows.h"

#include <stdio.h>

enum { PANEL = DEFT_PANEL_LANES };
/* Generated code reaches operands by 32-bit offsets. */
static const double most_bytes = 2147483647.0;

static bool reject(const char **why, const char *text) {
    if (why) *why = text;
    return false;
}

static int64_t greatest_common_divisor(int64_t a, int64_t b) {
    return b ? greatest_common_divisor(b, a % b) : a;
}

/* Taps t and t + period fall into the same plane: t * dilation mod stride has that period, and no value twice in it. */
static deft_sparse_axis axis_of(int64_t in, int64_t out, int64_t taps, int64_t stride, int64_t dilation, int64_t pad) {
    int64_t period = stride / greatest_common_divisor(stride, dilation);
    return (deft_sparse_axis){
        .in = in,
        .out = out,
        .taps = taps,
        .stride = stride,
        .dilation = dilation,
        .pad = pad,
        .planes = taps < period ? taps : period,
        .size = out + (taps - 1) * dilation / stride,
    };
}

static bool shape_of_product(const deft_request *request, deft_sparse_shape *shape, const char **why) {
    const deft_linear *linear = &shape->linear;
    shape->images = 1;
    shape->x_direct = request->in_layout == DEFT_LAYOUT_PANELS;
    shape->y_direct = request->out_layout == DEFT_LAYOUT_PANELS;
    bool few = linear->n < PANEL / 2 && shape->isa == DEFT_ISA_C && !shape->x_direct && !shape->y_direct;
    if (few) shape->x_direct = shape->y_direct = true; /* one after the other, where they are */
    shape->unit_lanes = few ? 1 : PANEL;
    shape->units = (linear->n + shape->unit_lanes - 1) / shape->unit_lanes;
    shape->x_unit = linear->k * shape->unit_lanes;
    shape->y_unit = linear->m * shape->unit_lanes;
    shape->y_row = shape->unit_lanes;
    double columns = (double)(linear->k > linear->m ? linear->k : linear->m);
    if (columns * (double)(shape->units * shape->unit_lanes) * sizeof(float) > most_bytes)
        return reject(why, "a matrix of more than 2 GB");
    return true;
}

static bool shape_of_convolution(const deft_request *request, deft_sparse_shape *shape, const char **why) {
    const deft_linear *l = &shape->linear;
    if (request->in_layout != DEFT_LAYOUT_ROWS || request->out_layout != DEFT_LAYOUT_ROWS)
        return reject(why, "panels are for matrix products");
    deft_sparse_axis *y = &shape->axis_y, *x = &shape->axis_x;
    *y = axis_of(l->in_height, l->out_height, l->kernel_height, l->stride_y, l->dilation_y, l->pad_top);
    *x = axis_of(l->in_width, l->out_width, l->kernel_width, l->stride_x, l->dilation_x, l->pad_left);
    double plane = (double)y->size * (double)x->size;
    if (plane * (double)(y->planes * x->planes) * (double)l->channels_in * sizeof(float) > most_bytes ||
        plane * (double)shape->rows * sizeof(float) > most_bytes)
        return reject(why, "a picture of more than 2 GB");
    shape->images = l->n;
    shape->unit_lanes = shape->x_unit = shape->y_unit = 1;
    shape->units = (y->out - 1) * x->size + x->out;
    bool enough = shape->units >= PANEL;
    bool padded = l->pad_top || l->pad_left || l->pad_bottom || l->pad_right;
    shape->x_direct = enough && !padded && y->stride == 1 && x->stride == 1;
    shape->y_direct = enough && x->size == x->out;
    shape->y_row = y->out * x->out;
    shape->x_image = l->channels_in * y->in * x->in;
    shape->y_image = shape->rows * y->out * x->out;
    shape->pointwise = shape->x_direct && shape->y_direct && y->taps == 1 && x->taps == 1;
    shape->columns = shape->units;
    shape->picture = l->channels_in * y->planes * x->planes * y->size * x->size;
    return true;
}

/* 60 multiply-adds a nanosecond, and 20 bytes of x and y moved. */
double deft_sparse_rough_ns(const deft_sparse_shape *shape) {
    const deft_linear *l = &shape->linear;
    double lanes = (double)shape->images * (double)shape->units * (double)shape->unit_lanes;
    double moved = lanes * (double)(shape->rows + (l->conv ? l->channels_in : l->k)) * sizeof(float);
    return (double)l->nonzeros * lanes / 60 + moved / 20;
}

bool deft_sparse_shape_of(const deft_request *request, deft_sparse_shape *shape, const char **why) {
    *shape = (deft_sparse_shape){
        .residual = request->residual != NULL,
        .activation = request->activation,
        .isa = request->isa,
        .threads = request->call.threads > 1 ? request->call.threads : 1,
    };
    const deft_linear *linear = &shape->linear;
    if (!deft_linear_of(request, &shape->linear, why)) return false;
    if (linear->n == 0 || linear->m == 0) return reject(why, "nothing to compute");
    shape->rows = linear->groups * linear->m;
    if (!(linear->conv ? shape_of_convolution : shape_of_product)(request, shape, why)) return false;
    return true;
}

deft_sparse_shape deft_sparse_packed_shape(const deft_sparse_shape *shape, int64_t span, int64_t block) {
    deft_sparse_shape packed = *shape;
    packed.packed = true;
    packed.unit_lanes = PANEL;
    packed.units = (shape->columns + PANEL - 1) / PANEL;
    packed.x_unit = shape->linear.channels_in * PANEL;
    packed.y_unit = PANEL;
    packed.y_row = shape->columns;
    packed.x_direct = false;
    packed.masked = shape->isa == DEFT_ISA_AVX512 && span == 1;
    if (packed.masked) {
        packed.axis_x.size = packed.axis_x.out = shape->columns; /* one row */
        packed.sum_row = (block < packed.units ? block : packed.units) * PANEL;
        packed.y_direct = true;
        return packed;
    }
    /* the panel moved back writes over the one before, which then must be of the same thread */
    bool apart = shape->images >= shape->threads || packed.units >= 2 * shape->threads;
    packed.y_direct = shape->columns % PANEL == 0 || (span == 1 && (apart || packed.units < shape->threads));
    return packed;
}

static int64_t round_up(int64_t count, int64_t to) {
    return (count + to - 1) / to * to;
}

/* What is read beyond the right edge of a row may be the left padding of the next. */
static int64_t lanes_of_rows(const deft_sparse_shape *shape) {
    const deft_linear *l = &shape->linear;
    const deft_sparse_axis *x = &shape->axis_x;
    int64_t lanes = x->in + (l->pad_left > l->pad_right ? l->pad_left : l->pad_right);
    if (lanes < x->out) lanes = x->out;
    return x->stride > 1 || lanes > x->size ? x->size : lanes;
}

/* Positions are numbered as pixels of the picture are, so that a tap is one constant offset. */
static deft_sparse_shape virtual_shape(const deft_sparse_shape *shape, int64_t block) {
    deft_sparse_shape plain = *shape;
    const deft_linear *l = &shape->linear;
    plain.virtual = true;
    plain.axis_x.size = l->in_width;
    plain.gaps = l->out_width < l->in_width;
    plain.plane_lanes = l->in_height * l->in_width;
    plain.picture = l->channels_in * plain.plane_lanes;
    plain.units = (l->out_height * l->in_width + PANEL - 1) / PANEL;
    plain.unit_lanes = plain.x_unit = PANEL;
    plain.sum_row = (block < plain.units ? block : plain.units) * PANEL;
    plain.x_direct = plain.y_direct = true;
    return plain;
}

deft_sparse_shape deft_sparse_picture_shape(const deft_sparse_shape *shape, deft_sparse_packing packing,
                                            int64_t block) {
    deft_sparse_shape rows = *shape;
    deft_sparse_axis *y = &rows.axis_y, *x = &rows.axis_x;
    rows.masked = true;
    if (packing == DEFT_PACK_VIRTUAL) return virtual_shape(&rows, block);
    if (block > y->out) block = y->out;
    x->size = lanes_of_rows(shape);
    y->size += block - y->out;
    rows.gaps = x->size % PANEL != 0;
    rows.plane_lanes = round_up(y->size * x->size + rows.linear.pad_left, PANEL);
    rows.picture = rows.linear.channels_in * y->planes * x->planes * rows.plane_lanes;
    rows.sum_row = round_up(block * x->size, PANEL);
    rows.units = y->out;
    rows.unit_lanes = rows.x_unit = x->size;
    rows.y_unit = x->out;
    rows.x_direct = false;
    rows.y_direct = true;
    return rows;
}

int64_t deft_sparse_x_offset(const deft_sparse_shape *shape, int64_t group, int64_t j) {
    if (shape->packed) return (group * (shape->linear.channels_in / shape->linear.groups) + j) * PANEL;
    if (!shape->linear.conv) return j * shape->unit_lanes;
    const deft_sparse_axis *y = &shape->axis_y, *x = &shape->axis_x;
    int64_t taps = y->taps * x->taps, tap_y = j % taps / x->taps, tap_x = j % x->taps;
    int64_t channel = group * (shape->linear.channels_in / shape->linear.groups) + j / taps;
    int64_t plane = (channel * y->planes + tap_y % y->planes) * x->planes + tap_x % x->planes;
    if (shape->virtual) {
        const deft_linear *l = &shape->linear;
        int64_t row = tap_y * l->dilation_y - l->pad_top, column = tap_x * l->dilation_x - l->pad_left;
        return channel * shape->plane_lanes + row * l->in_width + column;
    }
    int64_t shift_y = tap_y * y->dilation / y->stride, shift_x = tap_x * x->dilation / x->stride;
    int64_t before = shape->masked ? plane * shape->plane_lanes : plane * y->size * x->size;
    return before + shift_y * x->size + shift_x;
}

float deft_sparse_bias(const deft_sparse_shape *shape, int64_t row) {
    const deft_linear *l = &shape->linear;
    return l->bias ? l->bias_scale * l->bias[row * l->bias_stride] : 0;
}

deft_sparse_split deft_sparse_split_of(const deft_sparse_shape *shape, int64_t span) {
    if (shape->images >= shape->threads) return DEFT_SPLIT_IMAGES;
    return shape->units / shape->threads >= span ? DEFT_SPLIT_UNITS : DEFT_SPLIT_BANDS;
}

static deft_status make_shares(deft_context *ctx, deft_sparse *sparse) {
    int64_t band_rows = sparse->schedule.tile_rows * sparse->schedule.band_tiles, *first;
    int count = sparse->schedule.split == DEFT_SPLIT_BANDS ? sparse->shape.threads : 1;
    DEFT_TRY(deft_allocate_zeroed(ctx, (size_t)count, sizeof *sparse->shares, &sparse->shares));
    DEFT_TRY(deft_rows_balance(ctx, &sparse->shape.linear, count, &first));
    for (int i = 0; i < count; i++) {
        deft_sparse_share *share = &sparse->shares[i];
        share->first_row = first[i];
        share->row_count = first[i + 1] - first[i];
        sparse->band_count += (share->row_count + band_rows - 1) / band_rows;
    }
    sparse->share_count = count;
    deft_release(ctx, first);
    return DEFT_OK;
}

static deft_status make_bands(deft_context *ctx, deft_sparse *sparse) {
    int64_t size = sparse->schedule.tile_rows * sparse->schedule.band_tiles, made = 0;
    DEFT_TRY(make_shares(ctx, sparse));
    DEFT_TRY(deft_allocate_zeroed(ctx, (size_t)sparse->band_count, sizeof *sparse->bands, &sparse->bands));
    for (int i = 0; i < sparse->share_count; i++) {
        deft_sparse_share *share = &sparse->shares[i];
        share->first_band = made;
        for (int64_t done = 0; done < share->row_count; done += size) {
            deft_sparse_band *band = &sparse->bands[made++];
            band->first_row = share->first_row + done;
            band->row_count = size < share->row_count - done ? size : share->row_count - done;
            band->is_first = done == 0;
        }
        share->past_band = made;
    }
    return DEFT_OK;
}

static size_t scratch_bytes(int64_t elements) {
    return ((size_t)elements * sizeof(float) + 63) / 64 * 64;
}

static void lay_out_scratch(deft_sparse *sparse) {
    deft_sparse_shape *shape = &sparse->shape;
    const deft_sparse_schedule *schedule = &sparse->schedule;
    int64_t span = schedule->span, capacity = schedule->block + span - 1;
    if (capacity > shape->units) capacity = shape->units;
    if (capacity < span) capacity = span;
    sparse->capacity = capacity;
    bool conv = shape->linear.conv;
    if (conv && !shape->y_direct) shape->y_row = capacity * shape->unit_lanes;
    bool together = schedule->split == DEFT_SPLIT_BANDS && schedule->packing != DEFT_PACK_AS_READ;
    int64_t units = together && shape->units > capacity ? shape->units : capacity;
    bool picture = conv && !shape->packed;
    /* what a pass that is longer than the picture reads behind it */
    int64_t behind = shape->masked ? PANEL + shape->axis_x.size + shape->axis_x.taps * shape->axis_x.dilation : span;
    int64_t x = picture ? shape->picture + behind : units * shape->x_unit;
    int64_t y = conv ? shape->rows * shape->y_row : capacity * shape->y_unit;
    if (!shape->x_direct) sparse->x_scratch_bytes = scratch_bytes(x);
    if (!shape->y_direct) sparse->y_scratch_bytes = scratch_bytes(y);
    if (shape->masked && schedule->depths > 1) sparse->y_scratch_bytes = scratch_bytes(shape->rows * shape->sum_row);
    bool whole = picture && !shape->masked; /* the picture is packed as a whole */
    bool shared = together || (schedule->split == DEFT_SPLIT_UNITS && whole);
    sparse->x_copies = shared ? 1 : shape->threads;
    sparse->y_copies = schedule->split == DEFT_SPLIT_BANDS ? 1 : shape->threads;
}

int64_t deft_sparse_pixels_before(const deft_sparse_shape *shape, int64_t position) {
    const deft_sparse_axis *x = &shape->axis_x;
    int64_t column = position % x->size;
    return position / x->size * x->out + (column < x->out ? column : x->out);
}

/* Where the positions of a vector lie in the picture. */
typedef struct places {
    int64_t row[PANEL], column[PANEL];
} places;

static places places_of(int64_t first, int64_t lanes) {
    places at;
    for (int i = 0; i < PANEL; i++) {
        at.row[i] = (first + i) / lanes;
        at.column[i] = (first + i) % lanes;
    }
    return at;
}

/* Those of `positions`, along one axis, that see [0, size) when shifted. */
static uint16_t seen(const int64_t positions[PANEL], int64_t shift, int64_t size) {
    int mask = 0;
    for (int i = 0; i < PANEL; i++)
        mask |= ((uint64_t)(positions[i] + shift) < (uint64_t)size) << i;
    return (uint16_t)mask;
}

/* Those that see pixels of the picture through each tap: by its row and by its column. */
static void fill_taps(const deft_linear *l, const places *at, uint16_t *taps) {
    uint16_t computed = seen(at->row, 0, l->out_height);
    for (int64_t x = 0; x < l->kernel_width; x++) {
        uint16_t by_column = computed & seen(at->column, x * l->dilation_x - l->pad_left, l->in_width);
        for (int64_t y = 0; y < l->kernel_height; y++)
            taps[y * l->kernel_width + x] = by_column;
    }
    for (int64_t y = 0; y < l->kernel_height; y++) {
        uint16_t by_row = seen(at->row, y * l->dilation_y - l->pad_top, l->in_height);
        for (int64_t x = 0; x < l->kernel_width; x++)
            taps[y * l->kernel_width + x] &= by_row;
    }
}

/* For the positions from `first` on, in a block of so many rows. */
static void fill_mask(const deft_sparse_shape *shape, int64_t first, int64_t rows, deft_sparse_mask *mask) {
    places at = places_of(first, shape->axis_x.size);
    for (int i = 0; i < PANEL; i++) {
        bool kept = at.row[i] < rows && at.column[i] < shape->axis_x.out;
        mask->kept |= (uint16_t)(kept << i);
    }
    int count = __builtin_popcount(mask->kept);
    mask->stored = (uint16_t)((1u << count) - 1);
    mask->y_bytes = count * (int64_t)sizeof(float);
    if (shape->virtual) fill_taps(&shape->linear, &at, mask->taps);
}

static deft_status make_masks(deft_context *ctx, deft_sparse *sparse) {
    const deft_sparse_shape *shape = &sparse->shape;
    const deft_linear *l = &shape->linear;
    int64_t taps = shape->virtual ? l->kernel_height * l->kernel_width : 0, lanes = shape->axis_x.size;
    int64_t rows = shape->packed    ? 1
                   : shape->virtual ? l->out_height
                                    : sparse->capacity,
            passes = (rows * lanes + PANEL - 1) / PANEL;
    sparse->mask_bytes = (int64_t)sizeof(deft_sparse_mask) + round_up(taps * (int64_t)sizeof(uint16_t), 16);
    size_t bytes = (size_t)sparse->mask_bytes;
    DEFT_TRY(deft_allocate_zeroed(ctx, (size_t)passes, bytes, &sparse->masks));
    DEFT_TRY(deft_allocate_zeroed(ctx, (size_t)rows + 1, bytes, &sparse->last_masks));
    for (int64_t i = 0; i < passes; i++)
        fill_mask(shape, i * PANEL, rows, (deft_sparse_mask *)(sparse->masks + i * sparse->mask_bytes));
    for (int64_t i = 1; i <= rows; i++)
        fill_mask(shape, (i * lanes - 1) / PANEL * PANEL, i,
                  (deft_sparse_mask *)(sparse->last_masks + i * sparse->mask_bytes));
    return DEFT_OK;
}

static void free_sparse(deft_context *ctx, deft_sparse *sparse) {
    deft_release(ctx, sparse->shares);
    deft_release(ctx, sparse->bands);
    deft_release(ctx, sparse->masks);
    deft_release(ctx, sparse->last_masks);
    deft_release(ctx, sparse->segments);
    deft_release(ctx, sparse->order);
    deft_release(ctx, sparse->stream);
    deft_release(ctx, sparse->offsets);
    deft_release(ctx, sparse->row_begin);
    deft_code_done(&sparse->code);
    deft_release(ctx, sparse);
}

static void describe(deft_sparse *sparse, deft_kernel *kernel) {
    const deft_linear *linear = &sparse->shape.linear;
    const deft_sparse_schedule *schedule = &sparse->schedule;
    long long lanes = (long long)sparse->shape.unit_lanes;
    static const char *const packings[] = {"", ", packed", ", packed as read", ", packed by rows", ", padded by masks"};
    static const char *const splits[] = {"", "", ", by bands", ", one thread"};
    snprintf(sparse->detail, sizeof sparse->detail,
             "tiles %lldx%lld, bands of %lld, blocks of %lld columns, %lld depths%s%s", (long long)schedule->tile_rows,
             (long long)schedule->span * lanes, (long long)schedule->band_tiles, (long long)schedule->block * lanes,
             (long long)schedule->depths, packings[schedule->packing], splits[schedule->split]);
    kernel->state = sparse;
    kernel->scratch_bytes =
        (size_t)sparse->x_copies * sparse->x_scratch_bytes + (size_t)sparse->y_copies * sparse->y_scratch_bytes;
    kernel->code_bytes = sparse->code_bytes;
    kernel->weight_bytes = (size_t)sparse->stream_count * sizeof(float);
    if (sparse->offsets) kernel->weight_bytes += (size_t)sparse->stream_count * sizeof *sparse->offsets;
    kernel->weights = linear->weights;
    kernel->nonzeros = linear->nonzeros;
    kernel->detail = sparse->detail;
}

/* What is packed as it is read is not read again in another depth, which packs its own in the same place: in a cache
 * that is near. */
static void share_panels(const deft_sparse_schedule *schedule, deft_sparse_shape *shape) {
    shape->x_unit = (shape->linear.k + schedule->depths - 1) / schedule->depths * PANEL;
}

deft_status deft_sparse_prepare(deft_context *ctx, const deft_sparse_shape *shape, const deft_sparse_schedule *schedule,
                                deft_sparse_engine engine, deft_sparse_filler fill, deft_kernel *kernel) {
    deft_sparse *sparse;
    DEFT_TRY(deft_allocate_zeroed(ctx, 1, sizeof *sparse, &sparse));
    deft_sparse_shape own = *shape;
    if (schedule->split == DEFT_SPLIT_NONE) own.threads = 1;
    sparse->shape = schedule->packing >= DEFT_PACK_ROWS
                        ? deft_sparse_picture_shape(&own, schedule->packing, schedule->block)
                    : schedule->packing ? deft_sparse_packed_shape(&own, schedule->span, schedule->block)
                                        : own;
    if (schedule->packing == DEFT_PACK_AS_READ) share_panels(schedule, &sparse->shape);
    sparse->schedule = *schedule;
    sparse->engine = engine;
    lay_out_scratch(sparse);
    deft_status status;
    DEFT_TRY_OR_FAIL(make_bands(ctx, sparse));
    if (sparse->shape.masked) DEFT_TRY_OR_FAIL(make_masks(ctx, sparse));
    DEFT_TRY_OR_FAIL(fill(ctx, sparse));
    describe(sparse, kernel);
    return DEFT_OK;
fail:
    free_sparse(ctx, sparse);
    return status;
}

void deft_sparse_done(deft_context *ctx, deft_kernel *kernel) {
    if (kernel->state) free_sparse(ctx, kernel->state);
    kernel->state = NULL;
}

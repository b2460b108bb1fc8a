/* Running a sparse product: threads, blocks, and the passes that bring x into the layout that the engines read and y
 * out of the one that they write. Blocks are small enough for what they touch to stay in a cache. */
#include "codegen/kernel/sparse.h"
#include "codegen/kernel/transpose.h"

#include <omp.h>
#include <string.h>

enum { PANEL = DEFT_PANEL_LANES };

typedef struct range {
    int64_t begin, end;
} range;

/* What one thread does. */
typedef struct part {
    const deft_sparse *sparse;
    const float *x, *residual; /* tensors */
    float *y;
    float *x_scratch, *y_scratch;
    int thread, team;
    range units, bands;
} part;

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static range share_of(int64_t count, int thread, int team) {
    return (range){count * thread / team, count * (thread + 1) / team};
}

/* Rows are often short: fixed-size copies, the last one overlapping, beat calls of memcpy. */
static inline void copy_floats(float *to, const float *from, int64_t count) {
    enum { CHUNK = 4 };
    if (count < CHUNK) {
        for (int64_t i = 0; i < count; i++)
            to[i] = from[i];
        return;
    }
    for (int64_t i = 0; i + CHUNK <= count; i += CHUNK)
        memcpy(to + i, from + i, CHUNK * sizeof(float));
    memcpy(to + count - CHUNK, from + count - CHUNK, CHUNK * sizeof(float));
}

static inline void zero_floats(float *to, int64_t count) {
    memset(to, 0, (size_t)count * sizeof(float));
}

/* The pixels of a plane along an axis: those of index [begin, end) are first + index * stride of the picture, the
 * others padding. */
typedef struct plane_axis {
    int64_t first, stride, begin, end;
} plane_axis;

/* `skipped` is how many come before the first of them. */
static plane_axis plane_of(const deft_sparse_axis *axis, int64_t plane, int64_t skipped) {
    int64_t stride = axis->stride, first = plane * axis->dilation % stride - axis->pad + skipped * stride;
    int64_t begin = first >= 0 ? 0 : least((-first + stride - 1) / stride, axis->size);
    int64_t end = axis->in > first ? least((axis->in - first + stride - 1) / stride, axis->size) : 0;
    return (plane_axis){first, stride, begin, end < begin ? begin : end};
}

/* Rows of the planes of one channel of an image, from the one that output row `first` begins with. */
static void pack_channel(const deft_sparse_shape *shape, const float *in, int64_t first, int64_t plane_lanes,
                         float *out) {
    const deft_sparse_axis *axis_y = &shape->axis_y, *axis_x = &shape->axis_x;
    zero_floats(out, axis_y->planes * axis_x->planes * plane_lanes);
    for (int64_t plane_y = 0; plane_y < axis_y->planes; plane_y++)
        for (int64_t plane_x = 0; plane_x < axis_x->planes; plane_x++, out += plane_lanes) {
            plane_axis y = plane_of(axis_y, plane_y, first), x = plane_of(axis_x, plane_x, 0);
            for (int64_t i = y.begin; i < y.end; i++) {
                const float *from = in + (y.first + i * y.stride) * axis_x->in + x.first;
                float *to = out + i * axis_x->size;
                if (x.stride == 1)
                    copy_floats(to + x.begin, from + x.begin, x.end - x.begin);
                else
                    for (int64_t j = x.begin; j < x.end; j++)
                        to[j] = from[j * x.stride];
            }
        }
}

static void pack_picture(const part *p, const float *image, range channels) {
    const deft_sparse_shape *shape = &p->sparse->shape;
    const deft_sparse_axis *y = &shape->axis_y, *x = &shape->axis_x;
    int64_t in = y->in * x->in, out = y->planes * x->planes * y->size * x->size;
    for (int64_t c = channels.begin; c < channels.end; c++)
        pack_channel(shape, image + c * in, 0, y->size * x->size, p->x_scratch + c * out);
    /* what a pass that is longer than the picture reads behind it */
    if (channels.end == shape->linear.channels_in) zero_floats(p->x_scratch + shape->picture, p->sparse->schedule.span);
}

/* The rows of all channels that output rows `units` see. */
static void pack_rows(const part *p, const float *image, range units) {
    const deft_sparse_shape *shape = &p->sparse->shape;
    int64_t channel_lanes = shape->axis_y.planes * shape->axis_x.planes * shape->plane_lanes;
    int64_t channel_pixels = shape->axis_y.in * shape->axis_x.in;
    for (int64_t c = 0; c < shape->linear.channels_in; c++)
        pack_channel(shape, image + c * channel_pixels, units.begin, shape->plane_lanes,
                     p->x_scratch + c * channel_lanes);
}

/* Columns (of x[n][k]) of the panels of some units; scratch memory begins with the first of them. */
static void pack_panels(const part *p, const float *x, range units, range columns) {
    const deft_sparse_shape *shape = &p->sparse->shape;
    int64_t k = shape->linear.k, n = shape->linear.n;
    for (int64_t unit = units.begin; unit < units.end; unit++)
        deft_transpose(shape->isa, x + unit * PANEL * k + columns.begin, k, least(PANEL, n - unit * PANEL),
                       columns.end - columns.begin,
                       p->x_scratch + (unit - units.begin) * shape->x_unit + columns.begin * PANEL, PANEL, PANEL);
}

/* The panel that has fewer than 16 columns, if there is one among the units. */
static bool has_partial(const deft_sparse_shape *shape, range units) {
    return shape->packed && units.end == shape->units && shape->columns % PANEL != 0;
}

/* Channels (of x[channel][column]) of the panels of some units. */
static void cut_panels(const part *p, const float *x, range units, range channels) {
    const deft_sparse_shape *shape = &p->sparse->shape;
    int64_t columns = shape->columns, begin = units.begin * PANEL, rows = channels.end - channels.begin;
    int64_t full = units.end - units.begin - has_partial(shape, units);
    float *to = p->x_scratch + channels.begin * PANEL;
    x += channels.begin * columns;
    deft_cut_panels(shape->isa, x + begin, columns, rows, full, to, shape->x_unit);
    if (!has_partial(shape, units)) return;
    to += full * shape->x_unit;
    if (shape->y_direct && !shape->masked) {
        deft_cut_panels(shape->isa, x + columns - PANEL, columns, rows, 1, to, shape->x_unit);
        return;
    }
    int64_t present = columns % PANEL;
    for (int64_t i = 0; i < rows; i++) {
        copy_floats(to + i * PANEL, x + (i + 1) * columns - present, present);
        zero_floats(to + i * PANEL + present, PANEL - present);
    }
}

static void pack_units(const part *p, const float *x, range units, range inputs) {
    (p->sparse->shape.packed ? cut_panels : pack_panels)(p, x, units, inputs);
}

static void unpack_panels(const part *p, range units, range rows) {
    const deft_sparse_shape *shape = &p->sparse->shape;
    int64_t m = shape->linear.m, n = shape->linear.n, count = rows.end - rows.begin;
    for (int64_t unit = units.begin; unit < units.end; unit++)
        deft_transpose(shape->isa, p->y_scratch + (unit - units.begin) * shape->y_unit + rows.begin * PANEL, PANEL,
                       count, least(PANEL, n - unit * PANEL), p->y + unit * PANEL * m + rows.begin, m, count);
}

/* Copies out the positions of a block, without those that lie beyond the right edge. */
static void unpack_picture(const part *p, float *image, range units, range rows) {
    const deft_sparse_shape *shape = &p->sparse->shape;
    int64_t width = shape->axis_x.size, out_width = shape->axis_x.out, out_pixels = shape->axis_y.out * out_width;
    for (int64_t row = rows.begin; row < rows.end; row++) {
        const float *from = p->y_scratch + row * shape->y_row;
        int64_t oy = units.begin / width, ox = units.begin % width;
        for (int64_t at = units.begin; at < units.end; oy++, ox = 0) {
            int64_t present = least(width - ox, units.end - at), kept = least(present, out_width - ox);
            if (kept > 0) copy_floats(image + row * out_pixels + oy * out_width + ox, from + at - units.begin, kept);
            at += present;
        }
    }
}

/* Copies out the columns of a block. */
static void unpack_columns(const part *p, float *image, range units, range rows) {
    const deft_sparse_shape *shape = &p->sparse->shape;
    int64_t begin = units.begin * PANEL, count = least(units.end * PANEL, shape->columns) - begin;
    for (int64_t row = rows.begin; row < rows.end; row++)
        copy_floats(image + row * shape->columns + begin, p->y_scratch + row * shape->y_row, count);
}

static void run_stretch(const part *p, int64_t band, int64_t depth, deft_sparse_stretch stretch) {
    if (p->residual) stretch.residual = p->residual + (stretch.y - p->y);
    p->sparse->engine(p->sparse, band, depth, &stretch);
}

/* The last pass is moved back to end with the block: what overlaps is computed twice, from the start. So is a panel of
 * which y has fewer than 16 columns. Where one depth makes the whole of y, this comes band by band, while its code is
 * in the cache; otherwise the first stretch must be complete before. */
static void run_bands(const part *p, float *x, float *y, range units) {
    const deft_sparse *sparse = p->sparse;
    const deft_sparse_shape *shape = &sparse->shape;
    int64_t span = sparse->schedule.span, count = units.end - units.begin, depths = sparse->schedule.depths;
    bool partial = has_partial(shape, units) && shape->y_direct;
    int64_t passes = (count - partial) / span, last = passes > 0 || partial ? count - span : 0;
    deft_sparse_stretch all[2] = {{.x = x, .y = y, .passes = passes},
                                  {.x = x + last * shape->x_unit, .y = y + last * shape->y_unit, .passes = 1}};
    if (partial) all[1].y -= PANEL - shape->columns % PANEL;
    bool more = partial || passes * span < count;
    int first = passes > 0 ? 0 : 1, end = more ? 2 : 1;
    int together = depths == 1 ? end - first : 1;
    for (int begin = first; begin < end; begin += together)
        for (int64_t depth = 0; depth < depths; depth++)
            for (int64_t band = p->bands.begin; band < p->bands.end; band++)
                for (int i = begin; i < begin + together; i++)
                    run_stretch(p, band, depth, all[i]);
}

/* Rows of x that there are to pack. */
static int64_t inputs_of(const deft_sparse_shape *shape) {
    return shape->linear.conv ? shape->linear.channels_in : shape->linear.k;
}

/* All passes of a block are whole but the last, which may hold less than another block's. */
static void run_masked_bands(const part *p, const deft_sparse_stretch *whole, range units) {
    const deft_sparse *sparse = p->sparse;
    const deft_sparse_axis *axis = &sparse->shape.axis_x;
    int64_t rows = units.end - units.begin, last = (rows * axis->size - 1) / PANEL;
    bool alike = axis->size % PANEL == 0;
    deft_sparse_stretch all[2] = {*whole, *whole};
    all[0].passes = alike ? last + 1 : last;
    all[1].x += last * PANEL;
    all[1].sums += last * PANEL;
    all[1].y += deft_sparse_pixels_before(&sparse->shape, last * PANEL);
    all[1].masks = sparse->last_masks + rows * sparse->mask_bytes;
    all[1].passes = 1;
    for (int64_t depth = 0; depth < sparse->schedule.depths; depth++)
        for (int64_t band = p->bands.begin; band < p->bands.end; band++)
            for (int i = all[0].passes == 0; i < 2 - alike; i++)
                run_stretch(p, band, depth, all[i]);
}

static void run_picture_rows(const part *p, const float *x_image, float *y_image, range units) {
    const deft_sparse *sparse = p->sparse;
    pack_rows(p, x_image, units);
    deft_sparse_stretch whole = {.x = p->x_scratch,
                                 .y = y_image + units.begin * sparse->shape.y_unit,
                                 .sums = sparse->schedule.depths > 1 ? p->y_scratch : p->x_scratch,
                                 .masks = sparse->masks};
    run_masked_bands(p, &whole, units);
}

/* Units that are vectors. */
static void run_masked_vectors(const part *p, const float *source, const float *x, float *y_image, range units) {
    const deft_sparse *sparse = p->sparse;
    deft_sparse_stretch stretch = {.source = source,
                                   .x = (float *)x, /* written to only where it is scratch memory */
                                   .y = y_image + deft_sparse_pixels_before(&sparse->shape, units.begin * PANEL),
                                   .sums = p->y_scratch,
                                   .masks = sparse->masks + units.begin * sparse->mask_bytes,
                                   .passes = units.end - units.begin};
    for (int64_t depth = 0; depth < sparse->schedule.depths; depth++)
        for (int64_t band = p->bands.begin; band < p->bands.end; band++)
            run_stretch(p, band, depth, stretch);
}

static void run_virtual_vectors(const part *p, const float *x_image, float *y_image, range units) {
    run_masked_vectors(p, NULL, x_image + units.begin * PANEL, y_image, units);
}

static void copy_out(const part *p, float *y_image, range units) {
    const deft_sparse *sparse = p->sparse;
    const deft_sparse_shape *shape = &sparse->shape;
    if (shape->y_direct || p->bands.begin == p->bands.end) return;
    const deft_sparse_band *last = &sparse->bands[p->bands.end - 1];
    range rows = {sparse->bands[p->bands.begin].first_row, last->first_row + last->row_count};
    if (shape->packed)
        unpack_columns(p, y_image, units, rows);
    else if (shape->linear.conv)
        unpack_picture(p, y_image, units, rows);
    else
        unpack_panels(p, units, rows);
}

/* `x_image` is a tensor's, or that of scratch memory where all of it has been packed. The engines write to x only where
 * it is scratch memory. */
static void run_block(const part *p, const float *x_image, float *y_image, range units) {
    const deft_sparse *sparse = p->sparse;
    const deft_sparse_shape *shape = &sparse->shape;
    bool picture = shape->linear.conv && !shape->packed;
    bool as_read = sparse->schedule.packing == DEFT_PACK_AS_READ;
    bool by_block = !shape->x_direct && !picture && (as_read || sparse->schedule.split != DEFT_SPLIT_BANDS);
    if (by_block && !as_read) pack_units(p, x_image, units, (range){0, inputs_of(shape)});
    float *x = by_block ? p->x_scratch : (float *)x_image + units.begin * shape->x_unit;
    const float *source = as_read ? x_image + units.begin * PANEL : NULL;
    if (shape->masked) {
        run_masked_vectors(p, source, x, y_image, units);
        return;
    }
    float *y = shape->y_direct ? y_image + units.begin * shape->y_unit : p->y_scratch;
    run_bands(p, x, y, units);
    copy_out(p, y_image, units);
}

typedef void (*block_fn)(const part *p, const float *x_image, float *y_image, range units);

static void run_blocks(const part *p, const float *x_image, float *y_image) {
    const deft_sparse_schedule *schedule = &p->sparse->schedule;
    const deft_sparse_shape *shape = &p->sparse->shape;
    block_fn run = shape->virtual                    ? run_virtual_vectors
                   : shape->masked && !shape->packed ? run_picture_rows
                                                     : run_block;
    for (int64_t begin = p->units.begin, end; begin < p->units.end; begin = end) {
        end = begin + schedule->block;
        if (p->units.end - end < schedule->span) end = p->units.end;
        run(p, x_image, y_image, (range){begin, end});
    }
}

/* A team may be smaller than there are shares of the bands. */
static void run_shares(part *p, const float *x_image, float *y_image) {
    const deft_sparse *sparse = p->sparse;
    bool by_bands = sparse->schedule.split == DEFT_SPLIT_BANDS;
    for (int i = by_bands ? p->thread : 0; i < sparse->share_count; i += p->team) {
        p->bands = (range){sparse->shares[i].first_band, sparse->shares[i].past_band};
        run_blocks(p, x_image, y_image);
    }
}

/* Packs what all threads read, each a share of it, or an image for this thread alone. */
static void pack_image(const part *p, const float *x_image, bool together) {
    const deft_sparse_shape *shape = &p->sparse->shape;
    int64_t count = inputs_of(shape);
    range share = together ? share_of(count, p->thread, p->team) : (range){0, count};
    if (shape->linear.conv && !shape->packed)
        pack_picture(p, x_image, share);
    else
        pack_units(p, x_image, (range){0, shape->units}, share);
}

static void run_part(part *p) {
    const deft_sparse_shape *shape = &p->sparse->shape;
    deft_sparse_split split = p->sparse->schedule.split;
    bool by_bands = split == DEFT_SPLIT_BANDS && p->sparse->schedule.packing != DEFT_PACK_AS_READ;
    bool by_image = split == DEFT_SPLIT_IMAGES;
    range images = by_image ? share_of(shape->images, p->thread, p->team) : (range){0, shape->images};
    bool picture = shape->linear.conv && !shape->packed;
    bool packs = !shape->x_direct && ((picture && !shape->masked) || by_bands);
    bool together = packs && !by_image && p->team > 1;
    for (int64_t i = images.begin; i < images.end; i++) {
        const float *x_image = p->x + i * shape->x_image;
        if (packs) pack_image(p, x_image, together);
        if (together) {
#pragma omp barrier
        }
        run_shares(p, packs ? p->x_scratch : x_image, p->y + i * shape->y_image);
        if (together) { /* the next image is packed over this one */
#pragma omp barrier
        }
    }
}

/* Whole spans each, but for the last: where rows of x and y are whole cache lines, all of these belong to one thread, and
 * no pass begins within one. A team has at least a span of units a thread, so that every share has one too. */
static range share_of_units(const deft_sparse *sparse, int thread, int team) {
    int64_t units = sparse->shape.units, span = sparse->schedule.span;
    range spans = share_of((units + span - 1) / span, thread, team);
    return (range){spans.begin * span, least(spans.end * span, units)};
}

static void run_thread(const deft_sparse *sparse, const float *x, const float *residual, float *y, void *scratch,
                       int thread, int team) {
    deft_sparse_split split = sparse->schedule.split;
    char *x_scratch = scratch, *y_scratch = x_scratch + (size_t)sparse->x_copies * sparse->x_scratch_bytes;
    if (sparse->x_copies > 1) x_scratch += (size_t)thread * sparse->x_scratch_bytes;
    if (sparse->y_copies > 1) y_scratch += (size_t)thread * sparse->y_scratch_bytes;
    part p = {
        .sparse = sparse,
        .x = x,
        .residual = residual,
        .y = y,
        .x_scratch = (float *)x_scratch,
        .y_scratch = (float *)y_scratch,
        .thread = thread,
        .team = team,
        .units = split == DEFT_SPLIT_UNITS ? share_of_units(sparse, thread, team) : (range){0, sparse->shape.units},
    };
    run_part(&p);
}

void deft_sparse_run(const deft_sparse *sparse, const float *x, const float *residual, float *y, void *scratch) {
    if (sparse->shape.threads == 1) {
        run_thread(sparse, x, residual, y, scratch, 0, 1);
        return;
    }
#pragma omp parallel num_threads(sparse->shape.threads)
    run_thread(sparse, x, residual, y, scratch, omp_get_thread_num(), omp_get_num_threads());
}

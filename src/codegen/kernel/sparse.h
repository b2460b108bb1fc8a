/* Products with a sparse constant matrix, as the engines see them that compute them (generated code, portable C).
 *
 * Matrix products and convolutions are one thing here. For every output row r and position p,
 *
 *     y[r * y_row + p] = act(bias[r] + sum over the nonzeros (r, j) of weight[r][j] * x[x_offset(r, j) + p] + residual)
 *
 * Of a matrix product the positions are the batch: x in panels of 16, x_offset(r, j) = 16 j. Of a convolution they are
 * the output pixels, numbered row after row of a zero-padded picture, p = oy * width + ox: then an input channel seen
 * through a tap of the kernel is the same picture from another constant offset, and no im2col is needed. The positions
 * at the right edge, where a window wraps around, are computed and dropped when y is copied out. A stride of s splits
 * the picture into s x s planes of every s-th pixel (polyphase), in which each tap again moves by one.
 *
 * Zeros are not multiplied: a NaN or Inf of x reaches only the outputs that have a nonzero weight for it.
 * error: |y - y64| <= gamma(nonzeros(r) + 2) (sum |weight x| + |bias|). source: SPARSERT, HIGHAM2002 */
#ifndef DEFT_CODEGEN_KERNEL_SPARSE_H
#define DEFT_CODEGEN_KERNEL_SPARSE_H

#include "codegen/kernel/linear.h"
#include "codegen/x86/memory.h"

/* How an axis of a convolution is split into planes. Tap t is found in plane t % planes, shifted by t * dilation /
 * stride. */
typedef struct deft_sparse_axis {
    int64_t in, out, taps, stride, dilation, pad;
    int64_t planes;
    int64_t size; /* of each plane along this axis */
} deft_sparse_axis;

/* Where x and y lie, in elements. Positions come in units: a panel of 16 for a matrix product, one pixel for a
 * convolution. Direct operands are used where they are; others are packed into scratch memory and copied out of it. A
 * pointwise convolution, whose picture is a matrix [channels][columns], may have it cut into panels too: then what it
 * reads lies side by side, in as few pages as can be. Where columns are no multiple of 16, y may still be direct: the
 * last panel begins as many columns earlier. */
typedef struct deft_sparse_shape {
    deft_linear linear;
    bool residual; /* added before the activation */
    deft_activation activation;
    deft_isa isa;
    int threads;
    int64_t rows;   /* of all groups */
    int64_t images; /* 1 for a matrix product */
    int64_t units, unit_lanes;
    int64_t x_unit, y_unit; /* from a unit to the next */
    int64_t y_row;          /* from a row to the next; in scratch memory of a convolution: the schedule's capacity */
    bool x_direct, y_direct;
    bool pointwise, packed;   /* one tap, no padding, no stride: may be packed; is */
    int64_t columns;          /* of the matrices of a pointwise convolution */
    int64_t x_image, y_image; /* elements of an image of the tensors */
    int64_t picture;          /* elements of the padded picture of an image */
    deft_sparse_axis axis_y, axis_x;
    /* y is written through masks, and sums between depths lie in scratch memory. ROWS: a unit is a row of the picture,
     * and axis_y.size counts the rows of a block. VIRTUAL: a unit is a vector. Packed matrices, by passes of one
     * vector. */
    bool masked, virtual;
    bool gaps;           /* between rows of a masked y */
    int64_t plane_lanes; /* from a plane of a packed block to the next; from a channel of x to the next */
    int64_t sum_row;     /* from a row of sums between depths to the next */
} deft_sparse_shape;

/* How threads share the work: each takes images, or ranges of units, or ranges of bands; or one does it all. */
typedef enum deft_sparse_split {
    DEFT_SPLIT_IMAGES,
    DEFT_SPLIT_UNITS,
    DEFT_SPLIT_BANDS,
    DEFT_SPLIT_NONE
} deft_sparse_split;

/* How x is reached. BLOCKS, AS_READ: the x of a pointwise convolution is cut into panels, block by block in a pass of
 * its own or by the first tile as it reads it. With AVX-512, where y can be written through masks that leave out what
 * lies beyond the right edge: ROWS: pictures are padded some rows at a time. VIRTUAL: x is read where it is, under
 * masks that are zero where a tap sees padding; for strides of 1. NONE: matrices are read where they are or packed
 * (x_direct); pictures are padded as a whole, y copied out. */
typedef enum deft_sparse_packing {
    DEFT_PACK_NONE,
    DEFT_PACK_BLOCKS,
    DEFT_PACK_AS_READ,
    DEFT_PACK_ROWS,
    DEFT_PACK_VIRTUAL
} deft_sparse_packing;

/* Loops, from the outside: images, blocks of units, depths of the inner dimension, bands of rows, passes over a span of
 * units, tiles of rows. */
typedef struct deft_sparse_schedule {
    int64_t tile_rows;
    bool full_tiles;    /* as many rows as registers allow, and what is left in the last; else all about alike */
    int64_t band_tiles; /* so many that their code stays in a cache, and x of a pass is read into it once for them */
    int64_t span;       /* units of a pass */
    int64_t block;  /* units of a block, a multiple of the span; the last one of a range may be up to a span longer */
    int64_t depths; /* into which the inner dimension is split, so that code and x stay in a cache */
    int vectors;    /* of a pass */
    deft_sparse_packing packing;
    deft_sparse_split split;
} deft_sparse_schedule;

/* Rows (of generated code: places in its order of rows) that one call computes, and one pass: tiles, one after the
 * other. */
typedef struct deft_sparse_band {
    int64_t first_row, row_count, nonzeros;
    bool is_first; /* of a share */
} deft_sparse_band;

/* Rows that one thread computes where bands are what threads share, else all: bands [first_band, past_band). They lie
 * together in y, and in any order of rows. */
typedef struct deft_sparse_share {
    int64_t first_row, row_count, first_band, past_band;
} deft_sparse_share;

/* Generated code: the nonzeros of a band in one of the depths into which the inner dimension is split. All but the
 * first add to what the one before left in y. */
typedef struct deft_sparse_segment {
    size_t entry;   /* of its code, in bytes */
    int64_t weight; /* where its weights begin in the stream */
} deft_sparse_segment;

typedef struct deft_sparse deft_sparse;
/* Of the 16 sums of a pass, in order of positions: which are kept, and as many bits set from the lowest; the bytes that
 * these are in y. */
typedef struct deft_sparse_mask {
    uint16_t kept, stored;
    uint32_t unused;
    int64_t y_bytes;
    uint16_t taps[]; /* VIRTUAL: of each tap, which positions see it; in a table, up to a multiple of 16 bytes */
} deft_sparse_mask;

/* Passes one after the other, a span (a vector where y is masked) further each. Where x is packed as it is read, the
 * first band of a share reads it from `source`, the matrix [channels][columns] from the first column of the first pass
 * on, and writes it to x. A residual is laid out as y. Where y is masked, one mask a pass, and sums between depths lie
 * in `sums`; elsewhere in y. */
typedef struct deft_sparse_stretch {
    const float *source, *residual;
    float *x, *y, *sums; /* of the first row */
    const char *masks;   /* a table of deft_sparse_mask */
    int64_t passes;
} deft_sparse_stretch;

/* Computes a stretch of a band. Depth 0 overwrites y, whatever it held; the others add to it. */
typedef void (*deft_sparse_engine)(const deft_sparse *sparse, int64_t band, int64_t depth,
                                   const deft_sparse_stretch *stretch);

struct deft_sparse {
    deft_sparse_shape shape;
    deft_sparse_schedule schedule;
    deft_sparse_engine engine;
    int in_count;                            /* of the node; a residual comes after its inputs */
    int64_t capacity;                        /* units of a block in scratch memory */
    size_t x_scratch_bytes, y_scratch_bytes; /* of one copy */
    int x_copies, y_copies;
    deft_sparse_share *shares; /* of about as many nonzeros each */
    int share_count;
    deft_sparse_band *bands;
    int64_t band_count;
    int64_t mask_bytes;            /* of one in a table */
    char *masks;                   /* of the passes of a whole block (VIRTUAL: picture) */
    char *last_masks;              /* of the last pass of a block of so many rows */
    deft_sparse_segment *segments; /* generated code: [band_count][depths] */
    int32_t *order;                /* generated code: the rows as the tiles take them, [rows] */
    float *stream;                 /* biases, weights and limits in the order of use */
    int64_t stream_count;
    int32_t *offsets;   /* portable engine: x_offset of each weight */
    int64_t *row_begin; /* portable engine: [rows + 1], into stream and offsets */
    deft_code code;
    size_t code_bytes;
    char detail[128];
};

/* What one thread takes, roughly; nanoseconds. */
double deft_sparse_rough_ns(const deft_sparse_shape *shape);
/* False, with the reason, where a request cannot be computed by these engines. */
bool deft_sparse_shape_of(const deft_request *request, deft_sparse_shape *shape, const char **why);
/* The shape as passes of `span` units see it, `block` units at a time, when x is cut into panels. */
deft_sparse_shape deft_sparse_packed_shape(const deft_sparse_shape *shape, int64_t span, int64_t block);
/* The shape when pictures are packed `block` rows at a time; or VIRTUAL, computed `block` vectors at a time. */
deft_sparse_shape deft_sparse_picture_shape(const deft_sparse_shape *shape, deft_sparse_packing packing, int64_t block);
/* In elements; j counts the weights of a row of `group`. */
int64_t deft_sparse_x_offset(const deft_sparse_shape *shape, int64_t group, int64_t j);
/* Scaled; 0 where there is none. */
float deft_sparse_bias(const deft_sparse_shape *shape, int64_t row);
/* Output pixels of an image, in its row-major order, before a position of a masked shape. */
int64_t deft_sparse_pixels_before(const deft_sparse_shape *shape, int64_t position);
/* How many threads take part, and what they share, for passes of `span` units. */
deft_sparse_split deft_sparse_split_of(const deft_sparse_shape *shape, int64_t span);

/* Fills in what an engine runs on: stream, code, the bands' nonzeros. Errors: DEFT_MEMORY, DEFT_DEVICE. */
typedef deft_status (*deft_sparse_filler)(deft_context *ctx, deft_sparse *sparse);
/* Makes a kernel with a deft_sparse for its state: bands, scratch memory, and what `fill` makes. */
DEFT_MUST_CHECK deft_status deft_sparse_prepare(deft_context *ctx, const deft_sparse_shape *shape,
                                                const deft_sparse_schedule *schedule, deft_sparse_engine engine,
                                                deft_sparse_filler fill, deft_kernel *kernel);
void deft_sparse_done(deft_context *ctx, deft_kernel *kernel);
/* Packs, computes and copies out. `residual`: of a shape with one. */
void deft_sparse_run(const deft_sparse *sparse, const float *x, const float *residual, float *y, void *scratch);

/* Generated code (AVX-512, AVX2). Whether there is any schedule: y is written in place where a residual is added. */
bool deft_sparse_x86_possible(const deft_sparse_shape *shape);
/* The schedule of least estimated time, and its time with one thread. */
deft_sparse_schedule deft_sparse_x86_schedule(const deft_sparse_shape *shape, double *ns);
/* The estimate of a schedule that is possible for the shape. */
double deft_sparse_x86_schedule_ns(const deft_sparse_shape *shape, const deft_sparse_schedule *schedule);
/* The codes of the schedules worth timing, by estimate, the best first; returns how many, at most `most`. */
int deft_sparse_x86_best_schedules(const deft_sparse_shape *shape, int most, uint64_t *codes);
/* A schedule in 64 bits, not 0, and back; false where the bits say nothing that is possible for the shape. */
uint64_t deft_sparse_schedule_code(const deft_sparse_schedule *schedule);
bool deft_sparse_schedule_of_code(const deft_sparse_shape *shape, uint64_t code, deft_sparse_schedule *schedule);
/* Fills in sparse->order: row `i` of all tiles is row order[i] of y, and of the same share. Error: DEFT_MEMORY. */
DEFT_MUST_CHECK deft_status deft_sparse_order(deft_context *ctx, deft_sparse *sparse);
/* Generates the code and the stream of `sparse`. Errors: DEFT_MEMORY, DEFT_DEVICE. */
DEFT_MUST_CHECK deft_status deft_sparse_x86_generate(deft_context *ctx, deft_sparse *sparse);
void deft_sparse_x86_engine(const deft_sparse *sparse, int64_t band, int64_t depth, const deft_sparse_stretch *stretch);

#endif

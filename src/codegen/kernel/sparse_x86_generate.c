/* Generates the code of a sparse product: for each segment of each band of rows a function whose body is one pass,
 * straight-line code without any index, and whose loop goes over passes.
 *
 * A pass goes over the tiles of its band. A tile keeps the outputs of its rows x vectors in registers. It walks the
 * inner dimension once; at each step it does one multiply-add for each row that has a nonzero there. The weights lie in
 * a stream in the order of use, so that displacements from a cursor that now and then moves on fit in one byte.
 * AVX-512: x is loaded into registers at the first nonzero of a step, and each nonzero is vfmadd231ps sum, x, dword
 * [weight]{1to16}: a weight read inside the multiply-add costs no instruction. AVX2:    has no embedded broadcast:
 * vbroadcastss weight; then vfmadd231ps sum, weight, [x] for each vector.
 *
 * Code that has been evicted from L1 is fetched one line after the other, each when the one before has come; only past
 * a jump does the branch predictor look ahead. So there is a jump to the next instruction now and then: with 1 MB of
 * code a product runs 15% faster.
 *
 * Generated functions have the type `code` below. Registers: rdi x, rsi sums (y, where it is not masked), rdx stream,
 * rcx passes left; r8 the masks of y, r10 a masked y, r11 the source of x where it is packed as it is read; rbx a
 * residual; rax the stream's cursor; r9-r11 and r8 the cursors of x, one a vector (where the offsets are multiples of
 * 64; with masks there is one vector). */
#include "codegen/kernel/sparse.h"
#include "codegen/x86/emit.h"

#include <string.h>

typedef void (*code)(float *x, float *sums, const float *stream, int64_t passes, const char *masks, float *y,
                     const float *source, const float *residual);

enum { MOST_ROWS = 32, MOST_VECTORS = 4, CHUNK_COLUMNS = 16 };
enum { CODE_ALIGNMENT = 64, JUMP_DISTANCE = 240, PREFETCH_BYTES = 64 };

enum { KEPT = 1, STORED = 2, SEEN = 3 }; /* mask registers */

/* Makes short displacements: [base + offset] by way of a cursor register that lies near. */
typedef struct window {
    deft_gpr base, cursor;
    int32_t unit;   /* bytes that a displacement of one byte counts in */
    int32_t origin; /* where the cursor stands, relative to base */
    bool used;      /* the cursor has been set in this pass */
} window;

typedef struct generator {
    deft_emitter emitter;
    deft_sparse *sparse;
    deft_sparse_band *band;
    deft_sparse_segment *segment; /* the one that is being emitted */
    int64_t first_row, row_count; /* of the tile */
    bool packs;                   /* the tile packs x as it reads it */
    deft_vector_width width;
    int lanes;   /* of a vector register */
    int vectors; /* of a pass */
    int scratch; /* the first of the registers that hold no sums */
    window stream, x[MOST_VECTORS];
    int64_t x_origin; /* offset of x in the tensor that lies at the beginning of x as the depth sees it */
    int64_t streamed; /* floats put into the stream */
    size_t jumped;    /* where the code last jumped to */
} generator;

/* The displacement from window_register() for `offset`. Moves the cursor on so that the offsets from here on are near.
 */
static int32_t window_reach(generator *g, window *w, int32_t offset) {
    int32_t distance = offset - w->origin;
    if (distance >= -128 * w->unit && distance <= 127 * w->unit) return distance;
    w->origin = offset + 128 * w->unit;
    w->used = true;
    deft_emit_lea(&g->emitter, w->cursor, w->base, w->origin);
    return -128 * w->unit;
}

static deft_gpr window_register(const window *w) {
    return w->used ? w->cursor : w->base;
}

/* x is reached anew by every tile, the stream once through all of a pass. */
static void begin_x(generator *g) {
    static const deft_gpr cursors[MOST_VECTORS] = {DEFT_R9, DEFT_R10, DEFT_R11, DEFT_R8};
    for (int v = 0; v < g->vectors; v++)
        g->x[v] = (window){.base = DEFT_RDI, .cursor = cursors[v], .unit = g->width == DEFT_ZMM ? 64 : 1};
}

static void begin_stream(generator *g) {
    g->stream = (window){.base = DEFT_RDX, .cursor = DEFT_RAX, .unit = g->width == DEFT_ZMM ? 4 : 1};
}

/* Puts a value into the stream and returns the operand that reads it. */
static deft_operand stream_operand(generator *g, float value, deft_operand_kind kind) {
    int32_t offset = (int32_t)((g->streamed - g->segment->weight) * (int64_t)sizeof(float));
    g->sparse->stream[g->streamed++] = value;
    int32_t displacement = window_reach(g, &g->stream, offset);
    return (deft_operand){kind, (int)window_register(&g->stream), displacement};
}

/* Bytes from the first to the v-th vector of a pass. */
static int32_t vector_offset(const generator *g, int v, int64_t unit) {
    int64_t lane = (int64_t)v * g->lanes, unit_lanes = g->sparse->shape.unit_lanes;
    return (int32_t)((lane / unit_lanes * unit + lane % unit_lanes) * (int64_t)sizeof(float));
}

static deft_operand x_operand(generator *g, int64_t offset, int v) {
    const deft_sparse_shape *shape = &g->sparse->shape;
    int32_t bytes = (int32_t)(offset * (int64_t)sizeof(float)) + vector_offset(g, v, shape->x_unit);
    bool near = g->width == DEFT_ZMM && shape->unit_lanes == DEFT_PANEL_LANES && !shape->masked;
    if (!near) return deft_in_memory(DEFT_RDI, bytes);
    int32_t displacement = window_reach(g, &g->x[v], bytes);
    return deft_in_memory(window_register(&g->x[v]), displacement);
}

static int sum_register(const generator *g, int64_t row, int v) {
    return (int)row * g->vectors + v;
}

static void emit_broadcast(generator *g, int dst, deft_operand operand) {
    deft_emit_vector(&g->emitter, DEFT_VBROADCASTSS, g->width, dst, 0, operand);
}

static void emit_zero(generator *g, int dst) {
    /* the xmm form clears the whole register, in fewer bytes */
    deft_emit_vector(&g->emitter, DEFT_VXORPS, dst < 16 ? DEFT_XMM : g->width, dst, dst, deft_in_register(dst));
}

static void emit_biases(generator *g) {
    const deft_sparse_shape *shape = &g->sparse->shape;
    for (int64_t row = 0; row < g->row_count; row++) {
        float bias = deft_sparse_bias(shape, g->sparse->order[g->first_row + row]);
        deft_operand operand = {0};
        if (bias != 0) operand = stream_operand(g, bias, DEFT_IN_MEMORY);
        for (int v = 0; v < g->vectors; v++)
            if (bias != 0)
                emit_broadcast(g, sum_register(g, row, v), operand);
            else
                emit_zero(g, sum_register(g, row, v));
    }
}

/* sum = op(limit, sum): of the two, maxps and minps return the second where one is NaN. */
static void emit_limit(generator *g, deft_vector_op op, float limit) {
    if (limit == 0)
        emit_zero(g, g->scratch);
    else
        emit_broadcast(g, g->scratch, stream_operand(g, limit, DEFT_IN_MEMORY));
    int sums = (int)g->row_count * g->vectors;
    for (int i = 0; i < sums; i++)
        deft_emit_vector(&g->emitter, op, g->width, i, g->scratch, deft_in_register(i));
}

static int32_t row_bytes(const generator *g, int64_t row, int64_t stride) {
    return (int32_t)(g->sparse->order[g->first_row + row] * stride * (int64_t)sizeof(float));
}

/* The sums to where the next depth finds them, or to y; or what the depth before left there from it. */
static void emit_moves(generator *g, deft_vector_op op) {
    const deft_sparse_shape *shape = &g->sparse->shape;
    for (int64_t row = 0; row < g->row_count; row++)
        for (int v = 0; v < g->vectors; v++) {
            int64_t stride = shape->masked ? shape->sum_row : shape->y_row;
            int32_t offset = row_bytes(g, row, stride);
            deft_emit_vector(&g->emitter, op, g->width, sum_register(g, row, v), 0,
                             deft_in_memory(DEFT_RSI, offset + vector_offset(g, v, shape->y_unit)));
        }
}

/* What a pass computes beyond the right edge is dropped by moving the other sums together. */
static void emit_compression(generator *g) {
    for (int row = 0; row < (int)g->row_count; row++)
        deft_emit_compress(&g->emitter, KEPT, row, row);
}

static void emit_residual(generator *g) {
    const deft_sparse_shape *shape = &g->sparse->shape;
    for (int64_t row = 0; row < g->row_count; row++)
        for (int v = 0; v < g->vectors; v++) {
            int32_t offset = row_bytes(g, row, shape->y_row) + vector_offset(g, v, shape->y_unit);
            int sum = sum_register(g, row, v);
            deft_operand residual = deft_in_memory(DEFT_RBX, offset);
            if (shape->masked) {
                deft_emit_masked_load(&g->emitter, STORED, g->scratch, DEFT_RBX, offset);
                residual = deft_in_register(g->scratch);
            }
            deft_emit_vector(&g->emitter, DEFT_VADDPS, g->width, sum, sum, residual);
        }
}

static void emit_masked_stores(generator *g) {
    const deft_sparse_shape *shape = &g->sparse->shape;
    for (int64_t row = 0; row < g->row_count; row++) {
        int sum = sum_register(g, row, 0);
        deft_emit_masked_store(&g->emitter, STORED, sum, DEFT_R10, row_bytes(g, row, shape->y_row));
    }
}

static void emit_jump_on(generator *g) {
    if (g->emitter.count - g->jumped < JUMP_DISTANCE) return;
    deft_emit_jump_on(&g->emitter);
    g->jumped = g->emitter.count;
}

/* Reads a row of the source, writes it to its place in the panel, and asks for what the next pass reads. */
static void emit_packing(generator *g, int64_t x_offset) {
    int64_t row = (g->x_origin + x_offset) / DEFT_PANEL_LANES;
    int32_t from = (int32_t)(row * g->sparse->shape.columns * (int64_t)sizeof(float));
    deft_emit_masked_load(&g->emitter, KEPT, g->scratch, DEFT_R11, from);
    deft_emit_prefetch(&g->emitter, DEFT_R11, from + PREFETCH_BYTES);
    deft_emit_vector(&g->emitter, DEFT_VMOVUPS_STORE, g->width, g->scratch, 0, x_operand(g, x_offset, 0));
}

/* What the nonzeros of a step share. */
static void emit_x(generator *g, int64_t x_offset) {
    emit_jump_on(g);
    if (g->width != DEFT_ZMM) return;
    if (g->packs) {
        emit_packing(g, x_offset);
        return;
    }
    if (g->sparse->shape.virtual) {
        deft_emit_masked_load(&g->emitter, SEEN, g->scratch, DEFT_RDI, (int32_t)(x_offset * (int64_t)sizeof(float)));
        return;
    }
    for (int v = 0; v < g->vectors; v++)
        deft_emit_vector(&g->emitter, DEFT_VMOVUPS, g->width, g->scratch + v, 0, x_operand(g, x_offset, v));
}

static void emit_nonzero(generator *g, int64_t row, float weight, int64_t x_offset) {
    bool embedded = g->width == DEFT_ZMM;
    deft_operand operand = stream_operand(g, weight, embedded ? DEFT_BROADCAST : DEFT_IN_MEMORY);
    if (!embedded) emit_broadcast(g, g->scratch, operand);
    for (int v = 0; v < g->vectors; v++) {
        int factor = embedded ? g->scratch + v : g->scratch;
        if (!embedded) operand = x_operand(g, x_offset, v);
        deft_emit_vector(&g->emitter, DEFT_VFMADD231PS, g->width, sum_register(g, row, v), factor, operand);
    }
}

/* Some columns of a tile's weights, turned, so that neither reading them nor walking down a column jumps about in
 * memory; bit i of `present` says that row i is not zero there. */
typedef struct weight_chunk {
    float weights[CHUNK_COLUMNS][MOST_ROWS];
    uint32_t present[CHUNK_COLUMNS];
} weight_chunk;

static void read_chunk(const deft_sparse_shape *shape, const int32_t *order, int64_t rows, int64_t first, int64_t step,
                       int64_t columns, weight_chunk *chunk) {
    int64_t stride = shape->linear.column_stride;
    memset(chunk->present, 0, sizeof chunk->present);
    for (int64_t i = 0; i < rows; i++) {
        const float *from = deft_linear_row(&shape->linear, order[i]) + first * stride;
        for (int64_t j = 0; j < columns; j++) {
            float weight = from[j * step * stride];
            chunk->weights[j][i] = shape->linear.scale * weight;
            chunk->present[j] |= (uint32_t)(weight != 0) << i;
        }
    }
}

/* The nonzeros in rows [begin, end) and columns first, first + step, ... of a group. */
static void emit_columns(generator *g, int64_t begin, int64_t end, int64_t first, int64_t step, int64_t count) {
    const deft_sparse_shape *shape = &g->sparse->shape;
    int64_t group = begin / shape->linear.m, row = begin - g->first_row;
    weight_chunk chunk;
    for (int64_t done = 0; done < count; done += CHUNK_COLUMNS, first += CHUNK_COLUMNS * step) {
        int64_t columns = count - done < CHUNK_COLUMNS ? count - done : CHUNK_COLUMNS;
        read_chunk(shape, g->sparse->order + begin, end - begin, first, step, columns, &chunk);
        for (int64_t j = 0; j < columns; j++) {
            uint32_t present = chunk.present[j];
            if (!present && !g->packs) continue;
            int64_t x_offset = deft_sparse_x_offset(shape, group, first + j * step) - g->x_origin;
            emit_x(g, x_offset);
            g->band->nonzeros += __builtin_popcount(present);
            for (; present; present &= present - 1) {
                int i = __builtin_ctz(present);
                emit_nonzero(g, row + i, chunk.weights[j][i], x_offset);
            }
        }
    }
}

/* The nonzeros of a depth in rows of one group. Tap by tap, where each has a mask. */
static void emit_group(generator *g, int64_t depth, int64_t begin, int64_t end) {
    const deft_linear *l = &g->sparse->shape.linear;
    bool by_tap = g->sparse->shape.virtual;
    int64_t sweeps = by_tap ? l->kernel_height * l->kernel_width : 1, inner = l->k / sweeps;
    int64_t depths = g->sparse->schedule.depths, first = inner * depth / depths, past = inner * (depth + 1) / depths;
    for (int64_t tap = 0; tap < sweeps; tap++) {
        int32_t mask = (int32_t)(offsetof(deft_sparse_mask, taps) + (size_t)tap * sizeof(uint16_t));
        if (by_tap) deft_emit_load_mask(&g->emitter, SEEN, DEFT_R8, mask);
        emit_columns(g, begin, end, first * sweeps + tap, sweeps, past - first);
    }
}

static void emit_nonzeros(generator *g, int64_t depth) {
    int64_t m = g->sparse->shape.linear.m, end = g->first_row + g->row_count;
    for (int64_t row = g->first_row, next; row < end; row = next) {
        next = (row / m + 1) * m;
        if (next > end) next = end;
        emit_group(g, depth, row, next);
    }
}

/* The first depth starts from the biases, the others from what was stored before them. */
static void emit_tile(generator *g, int64_t depth) {
    const deft_activation *activation = &g->sparse->shape.activation;
    begin_x(g);
    if (depth == 0)
        emit_biases(g);
    else
        emit_moves(g, DEFT_VMOVUPS);
    emit_nonzeros(g, depth);
    bool last = depth == g->sparse->schedule.depths - 1;
    if (last) {
        if (g->sparse->shape.gaps) emit_compression(g);
        if (g->sparse->shape.residual) emit_residual(g);
        if (activation->low > -__builtin_inff()) emit_limit(g, DEFT_VMAXPS, activation->low);
        if (activation->high < __builtin_inff()) emit_limit(g, DEFT_VMINPS, activation->high);
    }
    if (last && g->sparse->shape.masked)
        emit_masked_stores(g);
    else
        emit_moves(g, DEFT_VMOVUPS_STORE);
}

/* From one pass to the next. */
static void emit_steps(generator *g, bool packs, bool stores) {
    const deft_sparse_shape *shape = &g->sparse->shape;
    deft_emitter *e = &g->emitter;
    int64_t vector_bytes = DEFT_PANEL_LANES * (int64_t)sizeof(float);
    int64_t span_bytes = g->sparse->schedule.span * (int64_t)sizeof(float);
    int64_t x_bytes = shape->masked && !shape->packed ? vector_bytes : span_bytes * shape->x_unit;
    int64_t y_bytes = shape->masked ? vector_bytes : span_bytes * shape->y_unit;
    deft_emit_general_constant(e, DEFT_ADD, DEFT_RDI, (int32_t)x_bytes);
    deft_emit_general_constant(e, DEFT_ADD, DEFT_RSI, (int32_t)y_bytes);
    if (stores && shape->residual && !shape->masked)
        deft_emit_general_constant(e, DEFT_ADD, DEFT_RBX, (int32_t)y_bytes);
    if (!shape->masked) return;
    if (stores && shape->residual) deft_emit_add_memory(e, DEFT_RBX, DEFT_R8, offsetof(deft_sparse_mask, y_bytes));
    if (packs) deft_emit_general_constant(e, DEFT_ADD, DEFT_R11, (int32_t)vector_bytes);
    if (stores) deft_emit_add_memory(e, DEFT_R10, DEFT_R8, offsetof(deft_sparse_mask, y_bytes));
    deft_emit_general_constant(e, DEFT_ADD, DEFT_R8, (int32_t)g->sparse->mask_bytes);
}

/* The loop over passes. */
static void emit_segment(generator *g, int64_t depth) {
    const deft_sparse_schedule *schedule = &g->sparse->schedule;
    deft_emitter *e = &g->emitter;
    deft_emit_align(e, CODE_ALIGNMENT);
    *g->segment = (deft_sparse_segment){e->count, g->streamed};
    begin_stream(g);
    const deft_sparse_shape *shape = &g->sparse->shape;
    bool as_read = schedule->packing == DEFT_PACK_AS_READ, packs = as_read && g->band->is_first;
    g->x_origin = as_read ? shape->linear.k * depth / schedule->depths * DEFT_PANEL_LANES : 0;
    bool stores = depth == schedule->depths - 1, residual = stores && shape->residual;
    if (stores && shape->masked) deft_emit_move(e, DEFT_R10, DEFT_R9);
    if (packs) deft_emit_load(e, DEFT_R11, DEFT_RSP, 8); /* the seventh argument */
    if (residual) {
        deft_emit_push(e, DEFT_RBX);
        deft_emit_load(e, DEFT_RBX, DEFT_RSP, 24); /* the eighth */
    }
    size_t top = e->count;
    if (shape->masked) {
        deft_emit_load_mask(e, KEPT, DEFT_R8, offsetof(deft_sparse_mask, kept));
        deft_emit_load_mask(e, STORED, DEFT_R8, offsetof(deft_sparse_mask, stored));
    }
    int64_t past = g->band->first_row + g->band->row_count;
    for (g->first_row = g->band->first_row; g->first_row < past; g->first_row += g->row_count) {
        g->row_count = schedule->tile_rows < past - g->first_row ? schedule->tile_rows : past - g->first_row;
        g->packs = packs && g->first_row == g->band->first_row;
        emit_tile(g, depth);
    }
    emit_steps(g, packs, stores);
    deft_emit_general_constant(e, DEFT_SUB, DEFT_RCX, 1);
    deft_emit_jump(e, DEFT_JNZ, top);
    if (residual) deft_emit_pop(e, DEFT_RBX);
    deft_emit_vzeroupper(e);
    deft_emit_ret(e);
}

deft_status deft_sparse_x86_generate(deft_context *ctx, deft_sparse *sparse) {
    const deft_sparse_shape *shape = &sparse->shape;
    bool wide = shape->isa == DEFT_ISA_AVX512;
    generator g = {
        .sparse = sparse,
        .width = wide ? DEFT_ZMM : DEFT_YMM,
        .lanes = wide ? 16 : 8,
        .vectors = sparse->schedule.vectors,
        .scratch = (int)sparse->schedule.tile_rows * sparse->schedule.vectors,
    };
    deft_emitter_init(&g.emitter, ctx);
    deft_status status;
    int64_t depths = sparse->schedule.depths, tiles = sparse->band_count * sparse->schedule.band_tiles,
            most = shape->linear.nonzeros + shape->rows + 2 * tiles; /* weights, biases, limits */
    size_t segments = (size_t)(sparse->band_count * depths);
    DEFT_TRY_OR_FAIL(deft_allocate_zeroed(ctx, segments, sizeof *sparse->segments, &sparse->segments));
    DEFT_TRY_OR_FAIL(deft_allocate(ctx, (size_t)most * sizeof *sparse->stream, &sparse->stream));
    DEFT_TRY_OR_FAIL(deft_allocate(ctx, (size_t)shape->rows * sizeof *sparse->order, &sparse->order));
    DEFT_TRY_OR_FAIL(deft_sparse_order(ctx, sparse));
    for (int64_t depth = 0; depth < depths; depth++)
        for (int64_t band = 0; band < sparse->band_count; band++) {
            g.band = &sparse->bands[band];
            g.segment = &sparse->segments[band * depths + depth];
            emit_segment(&g, depth);
        }
    DEFT_TRY_OR_FAIL(g.emitter.status);
    DEFT_TRY_OR_FAIL(deft_code_new(ctx, g.emitter.bytes, g.emitter.count, &sparse->code));
    sparse->code_bytes = g.emitter.count;
    sparse->stream_count = g.streamed;
fail:
    deft_emitter_done(&g.emitter);
    return status;
}

void deft_sparse_x86_engine(const deft_sparse *sparse, int64_t band, int64_t depth,
                            const deft_sparse_stretch *stretch) {
    const deft_sparse_segment *segment = &sparse->segments[band * sparse->schedule.depths + depth];
    const deft_sparse_shape *shape = &sparse->shape;
    float *sums = shape->masked ? stretch->sums : stretch->y;
    char *entry = (char *)sparse->code.memory + segment->entry;
    code run;
    memcpy(&run, &entry, sizeof run);
    run(stretch->x, sums, sparse->stream + segment->weight, stretch->passes, stretch->masks, stretch->y,
        stretch->source, stretch->residual);
}

/* The loops of generated code, chosen by an estimate of what they cost. */
#include "codegen/kernel/sparse.h"

#include <math.h>

/* Basis of the estimates, for one core. Multiply-adds: 117 GFLOP/s in either width, measured on the AVX-512 machine
 * that the project began with (Zen 4 at 3.66 GHz); chains need 8 independent sums to be full. A load of x from L1: 0.30
 * ns for 512 bits, 0.15 for 256; of a broadcast, 0.14. What is not hidden behind them was fitted to schedules timed on
 * a Sapphire Rapids core, over the shapes of SPARSERT at 90% zeros: the rates at which x, sums between depths, code and
 * y move to and from L2 and beyond ("far"). Most of x's traffic hides; that of code does not, and code that does not
 * stay in L1 from pass to pass is the worst that can happen. Between machines mostly the unit of time changes, which
 * the choice does not depend on. */
static const double fma_gflops = 117, broadcast_ns = 0.14, loop_ns = 6, call_ns = 15, chains_full = 8;
static const double l1_bytes = 32768, l1_code_bytes = 24576, l2_bytes = 1048576;
static const double x_l2_bytes_per_ns = 400, x_far_bytes_per_ns = 60, sums_l2_bytes_per_ns = 60,
                    sums_far_bytes_per_ns = 20;
static const double row_ns = 5; /* to begin with another row of a picture, in another page */
static const double code_l2_bytes_per_ns = 20, code_far_bytes_per_ns = 10, y_far_bytes_per_ns = 20;

enum { MOST_VECTORS = 4, MOST_DEPTHS = 64, LEAST_DEPTH = 64 };

typedef struct rates {
    int lanes, registers;
    bool embedded_broadcast;
    double fma_ns, load_ns;
} rates;

static rates rates_of(deft_isa isa) {
    bool wide = isa == DEFT_ISA_AVX512;
    int lanes = wide ? 16 : 8;
    return (rates){
        .lanes = lanes,
        .registers = wide ? 32 : 16,
        .embedded_broadcast = wide,
        .fma_ns = 2 * lanes / fma_gflops,
        .load_ns = wide ? 0.30 : 0.15,
    };
}

/* What a pass over one depth of an average tile does. */
typedef struct pass_work {
    double sums, nonzeros;
    double steps; /* of the inner dimension with any nonzero, if they fall at random */
    double code_bytes, stream_bytes;
} pass_work;

static pass_work work_of(const deft_sparse_shape *shape, const rates *cpu, const deft_sparse_schedule *schedule) {
    const deft_linear *l = &shape->linear;
    double rows = (double)schedule->tile_rows, k = (double)l->k / (double)schedule->depths;
    double groups = rows > (double)l->m ? rows / (double)l->m : 1;
    double density = l->weights ? (double)l->nonzeros / (double)l->weights : 0;
    int vectors = schedule->vectors;
    pass_work work = {.sums = rows * vectors, .nonzeros = density * rows * k};
    work.steps = groups * k * (1 - pow(1 - density, rows / groups));
    double x_instruction = shape->unit_lanes == DEFT_PANEL_LANES ? 7 : 10;
    work.code_bytes = cpu->embedded_broadcast ? vectors * (7 * work.nonzeros + x_instruction * work.steps)
                                              : work.nonzeros * (6 + 9 * vectors);
    work.code_bytes += 14 * work.sums;
    work.stream_bytes = 4 * work.nonzeros;
    return work;
}

/* A pass whose operands and code are all in L1. */
static double compute_ns(const rates *cpu, const pass_work *work, const deft_sparse_schedule *schedule) {
    double fmas = work->nonzeros * schedule->vectors, chains = chains_full / work->sums;
    double fma_ns = fmas * cpu->fma_ns * (chains > 1 ? chains : 1);
    double load_ns = cpu->embedded_broadcast ? fmas * broadcast_ns + work->steps * schedule->vectors * cpu->load_ns
                                             : fmas * cpu->load_ns + work->nonzeros * broadcast_ns;
    return fmax(fma_ns, load_ns) + work->sums * (cpu->fma_ns + cpu->load_ns) + loop_ns;
}

/* Time of one image without packing. */
static double schedule_ns(const deft_sparse_shape *shape, const rates *cpu, const deft_sparse_schedule *schedule) {
    pass_work work = work_of(shape, cpu, schedule);
    double depths = (double)schedule->depths, tiles = ceil((double)shape->rows / (double)schedule->tile_rows);
    double units = (double)shape->units, blocks = fmax(1, ceil(units / (double)schedule->block));
    double passes = ceil(units / (double)schedule->span) / blocks, vector_bytes = 4.0 * cpu->lanes * schedule->vectors;
    bool picture = shape->linear.conv && !shape->packed;
    double inputs = picture              ? (double)shape->picture / (double)(shape->axis_y.size * shape->axis_x.size)
                    : shape->linear.conv ? (double)shape->linear.channels_in
                                         : (double)shape->linear.k;
    double tile_ns = passes * compute_ns(cpu, &work, schedule) + call_ns;

    double x_block_bytes = inputs / depths * passes * vector_bytes;
    double x_bytes = work.steps * passes * vector_bytes;
    if (x_block_bytes > l1_bytes)
        tile_ns += x_bytes / (x_block_bytes > l2_bytes / 2 ? x_far_bytes_per_ns : x_l2_bytes_per_ns);

    double fetched_bytes = work.code_bytes + work.stream_bytes, all_bytes = fetched_bytes * tiles * depths;
    double fetch_ns = fetched_bytes / (all_bytes > l2_bytes ? code_far_bytes_per_ns : code_l2_bytes_per_ns);
    if (work.code_bytes > l1_code_bytes)
        tile_ns += passes * fetch_ns;
    else if (all_bytes > l1_bytes)
        tile_ns += fetch_ns;

    double y_bytes = 4 * units * (double)(shape->unit_lanes * shape->rows), y_block_bytes = y_bytes / blocks;
    double y_ns = y_bytes > l2_bytes ? y_bytes / y_far_bytes_per_ns : 0;
    if (y_block_bytes > l1_bytes)
        y_ns +=
            2 * (depths - 1) * y_bytes / (y_block_bytes > l2_bytes / 2 ? sums_far_bytes_per_ns : sums_l2_bytes_per_ns);
    double rows_ns = shape->linear.conv ? row_ns * (inputs + (double)shape->rows) : 0; /* packed ones are, too */
    return blocks * (depths * tiles * tile_ns + rows_ns) + y_ns;
}

static const double cut_ns = 0.04;

/* Time of packing and copying out one image: cutting rows into panels, a vector each; by 16 x 16 transposition 0.06 ns
 * an element, by 8 x 8 0.1; pictures 0.08 and 4 ns a row. */
static double packing_ns(const deft_sparse_shape *shape) {
    double element_ns = shape->isa == DEFT_ISA_AVX512 ? 0.06 : 0.1, ns = 0;
    const deft_sparse_axis *y = &shape->axis_y;
    if (shape->packed) {
        ns = cut_ns * (double)(shape->units * shape->x_unit);
        if (!shape->y_direct) ns += 0.08 * (double)shape->y_image + 4 * (double)shape->rows;
        return ns;
    }
    if (shape->linear.conv) {
        double picture_rows = (double)(shape->linear.channels_in * y->planes * shape->axis_x.planes * y->size);
        if (!shape->x_direct) ns += 0.08 * (double)shape->picture + 4 * picture_rows;
        if (!shape->y_direct) ns += 0.08 * (double)shape->y_image + 4 * (double)(shape->rows * y->out);
        return ns;
    }
    double lanes = (double)(shape->units * shape->unit_lanes);
    if (!shape->x_direct) ns += element_ns * lanes * (double)shape->linear.k;
    if (!shape->y_direct) ns += element_ns * lanes * (double)shape->linear.m;
    return ns;
}

/* The tile of the most rows that registers allow, all tiles about alike, and enough of them for the threads. */
static int64_t tile_rows_of(const deft_sparse_shape *shape, const rates *cpu, const deft_sparse_schedule *schedule) {
    int operands = cpu->embedded_broadcast ? schedule->vectors : 1;
    int64_t most = (cpu->registers - operands) / schedule->vectors, threads = shape->threads;
    int64_t tiles = (shape->rows + most - 1) / most;
    if (schedule->split == DEFT_SPLIT_TILES) tiles = (tiles + threads - 1) / threads * threads;
    if (tiles > shape->rows) tiles = shape->rows;
    return (shape->rows + tiles - 1) / tiles;
}

/* ---- the space ----------------------------------------------------------------------------------------------- */

/* Is shown every schedule and its estimate. */
typedef void (*visitor)(void *user, const deft_sparse_schedule *schedule, double ns);

static void visit_blocks(const deft_sparse_shape *shape, const rates *cpu, deft_sparse_schedule schedule, visitor visit,
                         void *user) {
    for (schedule.depths = 1; schedule.depths <= MOST_DEPTHS; schedule.depths *= 2) {
        if (schedule.depths > 1 && shape->linear.k / schedule.depths < LEAST_DEPTH) break;
        for (schedule.block = schedule.span;; schedule.block *= 2) {
            double ns = schedule_ns(shape, cpu, &schedule) + packing_ns(shape);
            visit(user, &schedule, ns * (double)shape->images);
            if (schedule.block >= shape->units) break;
        }
    }
}

/* The shape, span, split and tiles that go with the vectors and the packing of a schedule; false where they do not go
 * together. A longer pass than there are units would have nothing to do, but some pass there must be. */
static bool complete(const deft_sparse_shape *shape, const rates *cpu, deft_sparse_schedule *schedule,
                     deft_sparse_shape *seen) {
    int64_t lanes = (int64_t)schedule->vectors * cpu->lanes;
    int64_t unit_lanes = schedule->packed ? DEFT_PANEL_LANES : shape->unit_lanes;
    if (lanes % unit_lanes || (schedule->packed && !shape->pointwise)) return false;
    schedule->span = lanes / unit_lanes;
    *seen = schedule->packed ? deft_sparse_packed_shape(shape, schedule->span) : *shape;
    bool shortest = !schedule->packed && (schedule->vectors == 1 || (schedule->vectors - 1) * cpu->lanes < unit_lanes);
    if (schedule->span > seen->units && !shortest) return false;
    schedule->split = deft_sparse_split_of(seen, schedule->span);
    schedule->tile_rows = tile_rows_of(seen, cpu, schedule);
    return true;
}

static void visit_all(const deft_sparse_shape *shape, visitor visit, void *user) {
    rates cpu = rates_of(shape->isa);
    for (int packed = 0; packed <= 1; packed++)
        for (int vectors = 1; vectors <= MOST_VECTORS; vectors++) {
            deft_sparse_schedule schedule = {.vectors = vectors, .packed = packed};
            deft_sparse_shape seen;
            if (complete(shape, &cpu, &schedule, &seen)) visit_blocks(&seen, &cpu, schedule, visit, user);
        }
}

/* The best of each kind, in order. Estimates tell kinds apart less well than schedules of one kind. */
typedef struct best_schedules {
    deft_sparse_schedule items[DEFT_SCHEDULES];
    double ns[DEFT_SCHEDULES];
    int count;
} best_schedules;

static bool is_of_kind(const deft_sparse_schedule *a, const deft_sparse_schedule *b) {
    return a->packed == b->packed && a->vectors == b->vectors && a->depths == b->depths && a->block <= 4 * b->block &&
           b->block <= 4 * a->block;
}

static void keep_best(void *user, const deft_sparse_schedule *schedule, double ns) {
    best_schedules *best = user;
    int at = 0;
    while (at < best->count && !is_of_kind(&best->items[at], schedule))
        at++;
    if (at < best->count && best->ns[at] <= ns) return;
    if (at == DEFT_SCHEDULES) at--; /* the worst of them goes, if it is worse */
    if (at == DEFT_SCHEDULES - 1 && best->count == DEFT_SCHEDULES && best->ns[at] <= ns) return;
    if (at == best->count) best->count++;
    for (; at > 0 && best->ns[at - 1] > ns; at--) {
        best->items[at] = best->items[at - 1];
        best->ns[at] = best->ns[at - 1];
    }
    best->items[at] = *schedule;
    best->ns[at] = ns;
}

int deft_sparse_x86_best_schedules(const deft_sparse_shape *shape, deft_sparse_schedule *schedules) {
    best_schedules best = {.count = 0};
    visit_all(shape, keep_best, &best);
    for (int i = 0; i < best.count; i++)
        schedules[i] = best.items[i];
    return best.count;
}

deft_sparse_schedule deft_sparse_x86_schedule(const deft_sparse_shape *shape, double *ns) {
    best_schedules best = {.count = 0};
    visit_all(shape, keep_best, &best);
    if (ns) *ns = best.ns[0];
    return best.items[0];
}

/* ---- as numbers ---------------------------------------------------------------------------------------------- */

/* From the lowest bits: vectors 3, packed 1, log2 of the depths 4, spans of a block. The rest follows from the shape.
 */
enum { VECTOR_BITS = 3, PACKED_BITS = 1, DEPTH_BITS = 4, BLOCK_SHIFT = VECTOR_BITS + PACKED_BITS + DEPTH_BITS };

uint64_t deft_sparse_schedule_code(const deft_sparse_schedule *schedule) {
    uint64_t depths = (uint64_t)__builtin_ctzll((unsigned long long)schedule->depths);
    return (uint64_t)schedule->vectors | (uint64_t)schedule->packed << VECTOR_BITS |
           depths << (VECTOR_BITS + PACKED_BITS) | (uint64_t)(schedule->block / schedule->span) << BLOCK_SHIFT;
}

bool deft_sparse_schedule_of_code(const deft_sparse_shape *shape, uint64_t code, deft_sparse_schedule *schedule) {
    rates cpu = rates_of(shape->isa);
    deft_sparse_shape seen;
    uint64_t spans = code >> BLOCK_SHIFT;
    *schedule = (deft_sparse_schedule){
        .vectors = (int)(code & ((1u << VECTOR_BITS) - 1)),
        .packed = code >> VECTOR_BITS & 1,
        .depths = 1ll << (code >> (VECTOR_BITS + PACKED_BITS) & ((1u << DEPTH_BITS) - 1)),
    };
    if (schedule->vectors < 1 || schedule->vectors > MOST_VECTORS || !complete(shape, &cpu, schedule, &seen))
        return false;
    if (schedule->depths > 1 && shape->linear.k / schedule->depths < LEAST_DEPTH) return false;
    if (schedule->depths > MOST_DEPTHS || spans < 1 || spans > 2 * (uint64_t)seen.units) return false;
    schedule->block = (int64_t)spans * schedule->span;
    return true;
}

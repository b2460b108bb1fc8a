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
    double x_instruction = l->conv ? 10 : 7;
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
    double inputs = shape->linear.conv ? (double)shape->picture / (double)(shape->axis_y.size * shape->axis_x.size)
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
    double rows_ns = shape->linear.conv ? row_ns * (inputs + (double)shape->rows) : 0;
    return blocks * (depths * tiles * tile_ns + rows_ns) + y_ns;
}

/* Time of packing and copying out one image: by 16 x 16 transposition 0.06 ns an element, by 8 x 8 0.1; pictures 0.08
 * and 4 ns a row. */
static double packing_ns(const deft_sparse_shape *shape) {
    double element_ns = shape->isa == DEFT_ISA_AVX512 ? 0.06 : 0.1, ns = 0;
    const deft_sparse_axis *y = &shape->axis_y;
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

/* Improves on `best` with the schedules that have the vectors, span and tiles of `schedule`. */
static void try_blocks(const deft_sparse_shape *shape, const rates *cpu, deft_sparse_schedule schedule,
                       deft_sparse_schedule *best, double *best_ns) {
    for (schedule.depths = 1; schedule.depths <= MOST_DEPTHS; schedule.depths *= 2) {
        if (schedule.depths > 1 && shape->linear.k / schedule.depths < LEAST_DEPTH) break;
        for (schedule.block = schedule.span;; schedule.block *= 2) {
            double ns = schedule_ns(shape, cpu, &schedule);
            if (ns < *best_ns) *best_ns = ns, *best = schedule;
            if (schedule.block >= shape->units) break;
        }
    }
}

deft_sparse_schedule deft_sparse_x86_schedule(const deft_sparse_shape *shape, double *ns) {
    rates cpu = rates_of(shape->isa);
    deft_sparse_schedule best = {0};
    double best_ns = INFINITY;
    for (int vectors = 1; vectors <= MOST_VECTORS; vectors++) {
        int64_t lanes = (int64_t)vectors * cpu.lanes;
        if (lanes % shape->unit_lanes) continue;
        deft_sparse_schedule schedule = {.vectors = vectors, .span = lanes / shape->unit_lanes};
        if (schedule.span > shape->units && best.span) break; /* a longer pass has nothing to do */
        schedule.split = deft_sparse_split_of(shape, schedule.span);
        schedule.tile_rows = tile_rows_of(shape, &cpu, &schedule);
        try_blocks(shape, &cpu, schedule, &best, &best_ns);
    }
    if (ns) *ns = (double)shape->images * (best_ns + packing_ns(shape));
    return best;
}

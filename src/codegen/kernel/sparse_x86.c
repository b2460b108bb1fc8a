/* The kernel of generated code: what it accepts, and its schedule by estimate. */
#include "codegen/kernel/sparse.h"

#include <math.h>

/* Basis of the estimates, for one core. Rates as measured on the AVX-512 machine that the project began with (Zen 4 at
 * 3.66 GHz); between machines mostly the unit of time changes, which the choice does not depend on.
 *   multiply-adds   117 GFLOP/s in either width; chains need 8 independent sums to be full
 *   loads of x      512 bits: 0.30 ns from L1; 256 bits: 0.15 ns; a broadcast: 0.14 ns
 *   caches          L1 32 KB; L2 1 MB at 118 GB/s; beyond, 74 GB/s; code from L2 is fetched at 40 GB/s
 *   packing         by 16 x 16 transposition 0.06 ns an element, by 8 x 8 0.1; pictures 0.08 and 4 ns a row */
static const double fma_gflops = 117, l1_bytes = 32768, l2_bytes = 1048576;
static const double l2_bytes_per_ns = 118, l3_bytes_per_ns = 74, code_bytes_per_ns = 40;
static const double broadcast_ns = 0.14, loop_ns = 3, call_ns = 8, fma_latency = 4, fma_ports = 2;

typedef struct rates {
    int lanes, registers;
    bool embedded_broadcast;
    double fma_ns, load_ns, store_ns;
} rates;

static rates rates_of(deft_isa isa) {
    bool wide = isa == DEFT_ISA_AVX512;
    rates cpu = {.lanes = wide ? 16 : 8, .registers = wide ? 32 : 16, .embedded_broadcast = wide};
    cpu.fma_ns = 2 * cpu.lanes / fma_gflops;
    cpu.load_ns = cpu.store_ns = wide ? 0.30 : 0.15;
    return cpu;
}

/* What a pass over an average tile does. */
typedef struct tile_work {
    double nonzeros, steps; /* steps of the inner dimension with any nonzero, if they fall at random */
    double code_bytes, stream_bytes;
} tile_work;

static tile_work work_of(const deft_sparse_shape *shape, const rates *cpu, int64_t tile_rows, int vectors) {
    const deft_linear *l = &shape->linear;
    double rows = (double)tile_rows, groups = rows > (double)l->m ? rows / (double)l->m : 1;
    double density = l->weights ? (double)l->nonzeros / (double)l->weights : 0;
    tile_work work = {.nonzeros = density * rows * (double)l->k};
    work.steps = groups * (double)l->k * (1 - pow(1 - density, rows / groups));
    double x_instruction = l->conv ? 10 : 7;
    if (cpu->embedded_broadcast)
        work.code_bytes = vectors * (7 * work.nonzeros + x_instruction * work.steps);
    else
        work.code_bytes = work.nonzeros * (6 + 9 * vectors);
    work.stream_bytes = 4 * work.nonzeros;
    return work;
}

static double compute_ns(const rates *cpu, const tile_work *work, int64_t tile_rows, int vectors) {
    double sums = (double)tile_rows * vectors, fmas = work->nonzeros * vectors;
    double chains = fma_latency * fma_ports / sums;
    double fma_ns = fmas * cpu->fma_ns * (chains > 1 ? chains : 1);
    double load_ns = cpu->embedded_broadcast ? fmas * broadcast_ns + work->steps * vectors * cpu->load_ns
                                             : fmas * cpu->load_ns + work->nonzeros * broadcast_ns;
    return fmax(fma_ns, load_ns) + sums * (cpu->fma_ns + cpu->store_ns) + loop_ns;
}

static double bytes_per_ns(double footprint_bytes) {
    return footprint_bytes <= l2_bytes ? l2_bytes_per_ns : l3_bytes_per_ns;
}

/* Time of one image without packing. */
static double schedule_ns(const deft_sparse_shape *shape, const rates *cpu, const deft_sparse_schedule *schedule) {
    tile_work work = work_of(shape, cpu, schedule->tile_rows, schedule->vectors);
    double tiles = ceil((double)shape->rows / (double)schedule->tile_rows);
    double blocks = fmax(1, floor((double)shape->units / (double)schedule->block));
    double passes = ceil((double)shape->units / (double)schedule->span / blocks);
    double vector_bytes = 4.0 * cpu->lanes * schedule->vectors;
    double inputs = shape->linear.conv ? (double)shape->picture / (double)(shape->axis_y.size * shape->axis_x.size)
                                       : (double)shape->linear.k;
    double pass_ns = compute_ns(cpu, &work, schedule->tile_rows, schedule->vectors);
    /* x comes from L1 where the block stays there, or where a pass uses up nothing but what the one before left */
    double x_block_bytes = inputs * passes * vector_bytes;
    if (x_block_bytes > l1_bytes)
        pass_ns = fmax(pass_ns, work.steps * vector_bytes / bytes_per_ns(x_block_bytes)) + 0.1 * pass_ns;
    /* the code of a tile is fetched for each block, and for each pass where it does not stay in L1 */
    double fetched = work.code_bytes + work.stream_bytes, fetch_ns = fetched / code_bytes_per_ns;
    if (fetched * tiles > l2_bytes) fetch_ns *= l2_bytes_per_ns / l3_bytes_per_ns;
    bool stays = work.code_bytes <= l1_bytes;
    double tile_ns = passes * (stays ? pass_ns : fmax(pass_ns, fetch_ns)) + call_ns;
    if (stays && (tiles > 1 || blocks == 1)) tile_ns += 0.5 * fetch_ns;
    return blocks * tiles * tile_ns;
}

/* Time of packing and copying out one image. */
static double packing_ns(const deft_sparse_shape *shape) {
    double element_ns = shape->isa == DEFT_ISA_AVX512 ? 0.06 : 0.1;
    const deft_sparse_axis *y = &shape->axis_y;
    double ns = 0;
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
static int64_t tile_rows_of(const deft_sparse_shape *shape, const rates *cpu, int vectors, deft_sparse_split split) {
    int operands = cpu->embedded_broadcast ? vectors : 1;
    int64_t most = (cpu->registers - operands) / vectors;
    int64_t tiles = (shape->rows + most - 1) / most;
    if (split == DEFT_SPLIT_TILES) tiles = (tiles + shape->threads - 1) / shape->threads * shape->threads;
    if (tiles > shape->rows) tiles = shape->rows;
    return (shape->rows + tiles - 1) / tiles;
}

deft_sparse_schedule deft_sparse_x86_schedule(const deft_sparse_shape *shape, double *ns) {
    rates cpu = rates_of(shape->isa);
    deft_sparse_schedule best = {0};
    double best_ns = INFINITY;
    for (int vectors = 1; vectors <= 4; vectors++) {
        int64_t lanes = (int64_t)vectors * cpu.lanes;
        if (lanes % shape->unit_lanes) continue;
        int64_t span = lanes / shape->unit_lanes;
        bool fits = span <= shape->units;
        if (!fits && (best.span || shape->x_direct || shape->y_direct)) continue;
        deft_sparse_schedule schedule = {.vectors = vectors, .span = span};
        schedule.split = deft_sparse_split_of(shape, span);
        schedule.tile_rows = tile_rows_of(shape, &cpu, vectors, schedule.split);
        for (int64_t block = span; block < 2 * shape->units || block == span; block *= 2) {
            schedule.block = block;
            double cost = schedule_ns(shape, &cpu, &schedule);
            if (cost < best_ns) best_ns = cost, best = schedule;
        }
    }
    if (ns) *ns = (double)shape->images * (best_ns + packing_ns(shape));
    return best;
}

static bool shape_of(const deft_request *request, deft_sparse_shape *shape, const char **why) {
    if (request->isa != DEFT_ISA_AVX2 && request->isa != DEFT_ISA_AVX512) {
        if (why) *why = "needs AVX2";
        return false;
    }
    return deft_sparse_shape_of(request, shape, why);
}

bool deft_sparse_x86_accepts(const deft_request *request, const char **why) {
    deft_sparse_shape shape;
    if (!shape_of(request, &shape, why)) return false;
    if ((double)shape.linear.nonzeros > 5e7) {
        if (why) *why = "more than 50 million nonzeros in a layer";
        return false;
    }
    if (!deft_code_allowed()) {
        if (why) *why = "the system refuses executable memory";
        return false;
    }
    return true;
}

double deft_sparse_x86_estimate_ns(const deft_request *request) {
    deft_sparse_shape shape;
    double ns = INFINITY;
    if (shape_of(request, &shape, NULL)) deft_sparse_x86_schedule(&shape, &ns);
    return ns;
}

deft_status deft_sparse_x86_prepare(deft_context *ctx, const deft_request *request, deft_kernel *kernel) {
    deft_sparse_shape shape;
    const char *why = NULL;
    if (!shape_of(request, &shape, &why)) return deft_fail(ctx, DEFT_BUG, "sparse-x86: not accepted: %s", why);
    deft_sparse_schedule schedule = deft_sparse_x86_schedule(&shape, NULL);
    return deft_sparse_prepare(ctx, &shape, &schedule, deft_sparse_x86_engine, deft_sparse_x86_generate, kernel);
}

deft_status deft_sparse_x86_run(deft_context *ctx, const deft_kernel *kernel, const deft_tensor *const *in,
                                deft_tensor *const *out, void *scratch) {
    (void)ctx;
    deft_sparse_run(kernel->state, in[0]->data, out[0]->data, scratch);
    return DEFT_OK;
}

void deft_sparse_x86_done(deft_context *ctx, deft_kernel *kernel) {
    deft_sparse_done(ctx, kernel);
}

/* The loops of generated code, chosen by an estimate of what they cost. */
#include "codegen/kernel/sparse.h"
#include "codegen/kernel/sparse_rows.h"

#include <math.h>
#include <string.h>

/* Basis of the estimates, for one core: cycles of an Emerald Rapids core at 3 GHz (docs/SPARSE.md), two multiply-adds a
 * cycle in either width. Chains need 8 independent sums to be full. Loads: 2.3 a cycle of 512 bits and broadcasts
 * mixed, 3 of 256. What comes from further away than L1 is hidden in part; the rates say what remains. Code that is
 * executed once, from L2, is fetched at 12 bytes a cycle whatever it does. "far" is beyond L2. Between machines mostly
 * the unit of time changes, which the choice does not depend on. */
static const double cycle_ns = 1 / 3.0, loop_cycles = 15, call_cycles = 45, chains_full = 8;
static const double l1_bytes = 36864, l1_code_bytes = 28672, l2_bytes = 1572864;
static const double code_l2_rate = 12, code_far_rate = 4, x_l2_rate = 100, x_far_rate = 14, y_l2_rate = 40,
                    y_far_rate = 7;  /* bytes a cycle */
static const double row_cycles = 15; /* to begin with another row of a picture, in another page */

enum {
    MOST_VECTORS = 4,
    MOST_DEPTHS = 64,
    LEAST_DEPTH = 64,
    MOST_BAND_TILES = 64,
    MOST_SPANS = 1 << 30,
    MOST_RANKED = DEFT_ALL_SCHEDULES
};

/* Inline, where the C library's calls would take most of the time of an estimate; the numbers are small, none is NaN. */
static double larger(double a, double b) {
    return a > b ? a : b;
}

static double smaller(double a, double b) {
    return a < b ? a : b;
}

static double whole(double a) {
    double below = (double)(int64_t)a;
    return below < a ? below + 1 : below;
}

typedef struct rates {
    int lanes, registers;
    bool embedded_broadcast;
    double loads; /* a cycle */
} rates;

static rates rates_of(deft_isa isa) {
    bool wide = isa == DEFT_ISA_AVX512;
    return (rates){
        .lanes = wide ? 16 : 8,
        .registers = wide ? 32 : 16,
        .embedded_broadcast = wide,
        .loads = wide ? 2.3 : 3,
    };
}

/* What a pass over one depth of an average tile does. */
typedef struct tile_work {
    double sums, nonzeros;
    double steps; /* of the inner dimension with any nonzero, if they fall at random */
    double code_bytes, stream_bytes;
} tile_work;

static tile_work work_of(const deft_sparse_shape *shape, const rates *cpu, const deft_sparse_schedule *schedule) {
    const deft_linear *l = &shape->linear;
    double rows = (double)schedule->tile_rows, k = (double)l->k / (double)schedule->depths;
    double groups = rows > (double)l->m ? rows / (double)l->m : 1;
    double density = l->weights ? (double)l->nonzeros / (double)l->weights : 0;
    int vectors = schedule->vectors;
    tile_work work = {.sums = rows * vectors, .nonzeros = density * rows * k};
    work.steps = groups * k * (1 - pow(1 - density, rows / groups));
    double x_instruction = shape->unit_lanes == DEFT_PANEL_LANES && !shape->masked ? 7 : 10;
    work.code_bytes = cpu->embedded_broadcast ? vectors * (7 * work.nonzeros + x_instruction * work.steps)
                                              : work.nonzeros * (6 + 9 * vectors);
    work.code_bytes += 14 * work.sums;
    work.stream_bytes = 4 * work.nonzeros;
    return work;
}

/* A pass over a tile whose operands and code are all in L1. */
static double compute_cycles(const rates *cpu, const tile_work *work, const deft_sparse_schedule *schedule) {
    double fmas = work->nonzeros * schedule->vectors, chains = chains_full / work->sums;
    double fma_cycles = fmas / 2 * (chains > 1 ? chains : 1);
    double loads = cpu->embedded_broadcast ? fmas + work->steps * schedule->vectors : fmas + work->nonzeros;
    double sum_cycles = (double)work->sums * (0.5 + (schedule->depths > 1 ? 0.5 : 0));
    return larger(fma_cycles, loads / cpu->loads) + sum_cycles;
}

/* Rows of x that a block is made of: of all depths. */
static double inputs_per_unit(const deft_sparse_shape *shape) {
    if (!shape->linear.conv) return (double)shape->linear.k;
    if (shape->packed) return (double)shape->linear.channels_in;
    if (shape->virtual) return (double)shape->linear.channels_in * 2;
    if (shape->masked && !shape->packed) return (double)(shape->picture / shape->plane_lanes);
    return (double)shape->picture / (double)(shape->axis_y.size * shape->axis_x.size);
}

/* Time of one image without packing. `work`: what work_of says of any schedule that differs in its bands and blocks. */
static double schedule_ns(const deft_sparse_shape *shape, const rates *cpu, const tile_work *work,
                          const deft_sparse_schedule *schedule) {
    double depths = (double)schedule->depths, tiles = larger(1, (double)shape->rows / (double)schedule->tile_rows);
    double bands = whole(tiles / (double)schedule->band_tiles), band_tiles = tiles / bands;
    double units = (double)shape->units, blocks = larger(1, whole(units / (double)schedule->block));
    double passes = whole(units * (double)shape->unit_lanes / (cpu->lanes * schedule->vectors)) / blocks,
           vector_bytes = 4.0 * cpu->lanes * schedule->vectors;
    double inputs = inputs_per_unit(shape);

    double y_bytes = 4 * units * (double)(shape->unit_lanes * shape->rows);
    double y_rate = y_bytes > l2_bytes && depths == 1 ? y_far_rate
                    : y_bytes / blocks > l2_bytes / 2 ? y_far_rate
                                                      : y_l2_rate;
    double moves = depths == 1 ? 1 : 2;
    double tile_cycles = compute_cycles(cpu, work, schedule) + moves * 4 * work->sums * cpu->lanes / y_rate;

    double code_bytes = work->code_bytes * band_tiles,
           all_bytes = (work->code_bytes + work->stream_bytes) * tiles * depths;
    bool far = all_bytes > l2_bytes;
    double fetch_cycles = code_bytes / (far ? code_far_rate : code_l2_rate), pass_cycles = band_tiles * tile_cycles;
    double fetches = code_bytes > l1_code_bytes ? passes : code_bytes * bands * depths > l1_code_bytes ? 1 : 0;
    double band_cycles = call_cycles + (passes - fetches) * pass_cycles + fetches * larger(pass_cycles, fetch_cycles);

    /* x of a pass stays in L1 for the tiles of a band, that of a block for all bands; that of the picture may have to
     * come from far for the first of them */
    double x_pass_bytes = inputs / depths * vector_bytes, x_block_bytes = x_pass_bytes * passes;
    double x_reads = x_block_bytes <= l1_bytes ? 1 : x_pass_bytes <= l1_bytes ? bands : tiles;
    double x_read_bytes =
        smaller(work->steps * vector_bytes * passes * (x_reads == tiles ? 1 : smaller(band_tiles, 3)), x_block_bytes);
    double x_far_bytes = inputs * 4 * units * (double)shape->unit_lanes > l2_bytes ? x_block_bytes : 0;
    double x_cycles = x_reads * x_read_bytes / (x_block_bytes > l2_bytes / 2 ? x_far_rate : x_l2_rate);
    x_cycles = larger(x_cycles, x_far_bytes / x_far_rate);

    double rows_cycles = shape->linear.conv && !shape->packed ? row_cycles * (inputs + (double)shape->rows)
                         : shape->packed                      ? row_cycles * (double)shape->rows
                                                              : 0;
    return cycle_ns * blocks * (depths * (bands * band_cycles + x_cycles) + rows_cycles + loop_cycles);
}

static const double cut_ns = 0.04, as_read_ns = 0.02;

/* Time of packing and copying out one image: cutting rows into panels, a vector each; by 16 x 16 transposition 0.06 ns
 * an element, by 8 x 8 0.1; pictures 0.08 and 4 ns a row. */
static double packing_ns(const deft_sparse_shape *shape, const deft_sparse_schedule *schedule) {
    double element_ns = shape->isa == DEFT_ISA_AVX512 ? 0.06 : 0.1, ns = 0;
    const deft_sparse_axis *y = &shape->axis_y;
    if (shape->packed) {
        ns = (schedule->packing == DEFT_PACK_AS_READ ? as_read_ns : cut_ns) * (double)(shape->units * shape->x_unit);
        if (!shape->y_direct) ns += 0.08 * (double)shape->y_image + 4 * (double)shape->rows;
        return ns;
    }
    if (shape->virtual) return 0;
    if (shape->masked) {
        double blocks = whole((double)shape->units / (double)schedule->block), picture = (double)shape->picture;
        double rows = picture / (double)shape->plane_lanes * (double)y->size;
        return blocks * (0.06 * picture + 3 * rows);
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

static double total_ns(const deft_sparse_shape *seen, const rates *cpu, const tile_work *work,
                       const deft_sparse_schedule *schedule) {
    return (schedule_ns(seen, cpu, work, schedule) + packing_ns(seen, schedule)) * (double)seen->images;
}

/* The tile of the most rows that registers allow, if all but the last are full; or all tiles about alike, and enough of
 * them for the threads. */
static int64_t tile_rows_of(const deft_sparse_shape *shape, const rates *cpu, const deft_sparse_schedule *schedule) {
    int operands = cpu->embedded_broadcast ? schedule->vectors : 1;
    int64_t most = (cpu->registers - operands) / schedule->vectors, threads = shape->threads;
    if (schedule->full_tiles) return most < shape->rows ? most : shape->rows;
    int64_t tiles = (shape->rows + most - 1) / most;
    if (schedule->split == DEFT_SPLIT_BANDS) tiles = (tiles + threads - 1) / threads * threads;
    if (tiles > shape->rows) tiles = shape->rows;
    return (shape->rows + tiles - 1) / tiles;
}

/* ---- the space ----------------------------------------------------------------------------------------------- */

/* Is shown every schedule and its estimate. */
typedef void (*visitor)(void *user, const deft_sparse_schedule *schedule, double ns);

static int64_t most_band_tiles(const deft_sparse_shape *shape, const deft_sparse_schedule *schedule) {
    int64_t tiles = (shape->rows + schedule->tile_rows - 1) / schedule->tile_rows;
    if (schedule->split == DEFT_SPLIT_BANDS) tiles = (tiles + shape->threads - 1) / shape->threads;
    return tiles < MOST_BAND_TILES ? tiles : MOST_BAND_TILES;
}

static void visit_bands(const deft_sparse_shape *shape, const rates *cpu, const tile_work *work,
                        deft_sparse_schedule schedule, visitor visit, void *user) {
    int64_t most = most_band_tiles(shape, &schedule);
    for (schedule.band_tiles = 1; schedule.band_tiles <= most; schedule.band_tiles += 1 + schedule.band_tiles / 4) {
        double ns = total_ns(shape, cpu, work, &schedule);
        if (shape->threads > 1) ns = ns / shape->threads + DEFT_WORTH_A_TEAM_NS / 2;
        if (schedule.split == DEFT_SPLIT_BANDS && schedule.packing == DEFT_PACK_AS_READ)
            ns += packing_ns(shape, &schedule) * (1 - 1.0 / shape->threads); /* each thread packs all of x */
        visit(user, &schedule, ns);
        if (work->code_bytes * (double)schedule.band_tiles > l1_code_bytes) break;
    }
}

static void visit_blocks(const deft_sparse_shape *unpacked, const deft_sparse_shape *shape, const rates *cpu,
                         deft_sparse_schedule schedule, visitor visit, void *user) {
    for (schedule.depths = 1; schedule.depths <= MOST_DEPTHS; schedule.depths *= 2) {
        if (schedule.depths > 1 && shape->linear.k / schedule.depths < LEAST_DEPTH) break;
        tile_work work = work_of(shape, cpu, &schedule);
        for (schedule.block = schedule.span;; schedule.block *= 2) {
            deft_sparse_shape rows = *shape;
            if (schedule.packing >= DEFT_PACK_ROWS)
                rows = deft_sparse_picture_shape(unpacked, schedule.packing, schedule.block);
            visit_bands(&rows, cpu, &work, schedule, visit, user);
            if (schedule.block >= shape->units) break;
        }
    }
}

/* One tile reads all of x, a panel a pass, before any other does. */
static bool may_pack_as_read(const deft_sparse_shape *seen, const rates *cpu, const deft_sparse_schedule *schedule) {
    return cpu->lanes == DEFT_PANEL_LANES && schedule->vectors == 1 && seen->linear.groups == 1 && seen->y_direct;
}

/* The shape, span, split and tiles that go with the vectors and the packing of a schedule; false where they do not go
 * together. A longer pass than there are units would have nothing to do, but some pass there must be. */
/* Bands, or one thread alone, are what they were asked to be. */
static void choose_split(const deft_sparse_shape *seen, deft_sparse_schedule *schedule) {
    if (schedule->split != DEFT_SPLIT_BANDS && schedule->split != DEFT_SPLIT_NONE)
        schedule->split = deft_sparse_split_of(seen, schedule->span);
}

/* A mask for each vector and tap must be worth its bytes: very large kernels are padded. */
static bool may_be_virtual(const deft_linear *l) {
    static const double most_mask_bytes = 1 << 20;
    double vectors = (double)l->out_height * (double)l->in_width / DEFT_PANEL_LANES;
    double mask_bytes = vectors * (double)(l->kernel_height * l->kernel_width) * sizeof(uint16_t);
    return l->stride_x == 1 && l->stride_y == 1 && l->out_width <= l->in_width && mask_bytes <= most_mask_bytes;
}

static bool complete_picture(const deft_sparse_shape *shape, const rates *cpu, deft_sparse_schedule *schedule,
                             deft_sparse_shape *seen) {
    bool pictures = shape->linear.conv && !shape->pointwise && shape->axis_x.in * shape->axis_y.in > 1;
    if (!pictures || cpu->lanes != DEFT_PANEL_LANES || schedule->vectors != 1) return false;
    if (schedule->packing == DEFT_PACK_VIRTUAL && !may_be_virtual(&shape->linear)) return false;
    *seen = deft_sparse_picture_shape(shape, schedule->packing, schedule->block);
    schedule->span = 1;
    choose_split(seen, schedule);
    schedule->tile_rows = tile_rows_of(seen, cpu, schedule);
    return schedule->packing == DEFT_PACK_VIRTUAL || schedule->split != DEFT_SPLIT_BANDS;
}

static bool fits_together(const deft_sparse_shape *shape, const rates *cpu, deft_sparse_schedule *schedule,
                          deft_sparse_shape *seen) {
    if (schedule->packing >= DEFT_PACK_ROWS) return complete_picture(shape, cpu, schedule, seen);
    int64_t lanes = (int64_t)schedule->vectors * cpu->lanes;
    int64_t unit_lanes = schedule->packing ? DEFT_PANEL_LANES : shape->unit_lanes;
    if (lanes % unit_lanes || (schedule->packing && !shape->pointwise)) return false;
    schedule->span = lanes / unit_lanes;
    *seen = schedule->packing ? deft_sparse_packed_shape(shape, schedule->span, schedule->block) : *shape;
    bool shortest = !schedule->packing && (schedule->vectors == 1 || (schedule->vectors - 1) * cpu->lanes < unit_lanes);
    if (schedule->span > seen->units && !shortest) return false;
    choose_split(seen, schedule);
    schedule->tile_rows = tile_rows_of(seen, cpu, schedule);
    return schedule->packing != DEFT_PACK_AS_READ || may_pack_as_read(seen, cpu, schedule);
}

/* A residual is added where y is written, so that must be y itself. */
static bool complete(const deft_sparse_shape *shape, const rates *cpu, deft_sparse_schedule *schedule,
                     deft_sparse_shape *seen) {
    deft_sparse_shape own = *shape;
    if (schedule->split == DEFT_SPLIT_NONE) own.threads = 1;
    return fits_together(&own, cpu, schedule, seen) && (seen->y_direct || !shape->residual);
}

/* Tiles about alike; and full ones, where that is not the same. */
static void visit_tiles(const deft_sparse_shape *shape, const deft_sparse_shape *seen, const rates *cpu,
                        deft_sparse_schedule schedule, visitor visit, void *user) {
    visit_blocks(shape, seen, cpu, schedule, visit, user);
    int64_t alike = schedule.tile_rows;
    schedule.full_tiles = true;
    schedule.tile_rows = tile_rows_of(seen, cpu, &schedule);
    if (schedule.tile_rows != alike) visit_blocks(shape, seen, cpu, schedule, visit, user);
}

/* One thread alone; what suits the units; bands of rows. */
static void visit_splits(const deft_sparse_shape *shape, const rates *cpu, deft_sparse_schedule schedule, visitor visit,
                         void *user) {
    static const deft_sparse_split asked[] = {DEFT_SPLIT_IMAGES, DEFT_SPLIT_BANDS, DEFT_SPLIT_NONE};
    deft_sparse_split usual = DEFT_SPLIT_IMAGES;
    for (int i = 0; i < (shape->threads > 1 ? 3 : 1); i++) {
        deft_sparse_shape seen;
        deft_sparse_schedule one = schedule;
        one.split = asked[i];
        if (!complete(shape, cpu, &one, &seen) || (i > 0 && one.split == usual)) continue;
        if (i == 0) usual = one.split;
        visit_tiles(shape, &seen, cpu, one, visit, user);
    }
}

static void visit_all(const deft_sparse_shape *shape, visitor visit, void *user) {
    rates cpu = rates_of(shape->isa);
    for (int packing = DEFT_PACK_NONE; packing <= DEFT_PACK_VIRTUAL; packing++)
        for (int vectors = 1; vectors <= MOST_VECTORS; vectors++) {
            deft_sparse_schedule schedule = {.vectors = vectors, .block = 1, .packing = (deft_sparse_packing)packing};
            visit_splits(shape, &cpu, schedule, visit, user);
        }
}

/* The best by estimate, in order. */
typedef struct ranking {
    deft_sparse_schedule schedules[MOST_RANKED];
    double ns[MOST_RANKED];
    int count;
} ranking;

static void rank(void *user, const deft_sparse_schedule *schedule, double ns) {
    ranking *best = user;
    int at = 0, past = best->count;
    while (at < past) {
        int middle = (at + past) / 2;
        if (best->ns[middle] <= ns)
            at = middle + 1;
        else
            past = middle;
    }
    if (at == MOST_RANKED) return;
    int moved = (best->count < MOST_RANKED ? best->count : MOST_RANKED - 1) - at;
    memmove(&best->ns[at + 1], &best->ns[at], (size_t)moved * sizeof best->ns[0]);
    memmove(&best->schedules[at + 1], &best->schedules[at], (size_t)moved * sizeof best->schedules[0]);
    best->ns[at] = ns;
    best->schedules[at] = *schedule;
    best->count = at + moved + 1;
}

static bool is_of_kind(const deft_sparse_schedule *a, const deft_sparse_schedule *b) {
    return a->packing == b->packing && a->split == b->split && a->vectors == b->vectors && a->depths == b->depths &&
           a->full_tiles == b->full_tiles && a->block <= 2 * b->block && b->block <= 2 * a->block &&
           (a->band_tiles > 1) == (b->band_tiles > 1);
}

static bool has_kind(const ranking *best, const bool *taken, int before) {
    for (int i = 0; i < before; i++)
        if (taken[i] && is_of_kind(&best->schedules[i], &best->schedules[before])) return true;
    return false;
}

/* Estimates tell kinds apart less well than schedules of one kind: first the best of each kind that is not far behind,
 * then the best of the others. */
int deft_sparse_x86_best_schedules(const deft_sparse_shape *shape, int most, uint64_t *codes) {
    static const double far = 2;
    ranking best = {.count = 0};
    bool taken[MOST_RANKED] = {false};
    visit_all(shape, rank, &best);
    int count = 0;
    for (int i = 0; i < best.count && count < most && best.ns[i] <= far * best.ns[0]; i++) {
        taken[i] = !has_kind(&best, taken, i);
        count += taken[i];
    }
    for (int i = 0; i < best.count && count < most; i++) {
        count += !taken[i];
        taken[i] = true;
    }
    count = 0;
    for (int i = 0; i < best.count; i++)
        if (taken[i]) codes[count++] = deft_sparse_schedule_code(&best.schedules[i]);
    return count;
}

typedef struct least {
    deft_sparse_schedule schedule;
    double ns;
} least;

static void keep_least(void *user, const deft_sparse_schedule *schedule, double ns) {
    least *best = user;
    if (ns < best->ns) *best = (least){*schedule, ns};
}

double deft_sparse_x86_schedule_ns(const deft_sparse_shape *shape, const deft_sparse_schedule *schedule) {
    rates cpu = rates_of(shape->isa);
    deft_sparse_schedule completed = *schedule;
    deft_sparse_shape seen;
    if (!complete(shape, &cpu, &completed, &seen)) return INFINITY;
    tile_work work = work_of(&seen, &cpu, &completed);
    return total_ns(&seen, &cpu, &work, &completed);
}

bool deft_sparse_x86_possible(const deft_sparse_shape *shape) {
    rates cpu = rates_of(shape->isa);
    for (int packing = DEFT_PACK_NONE; packing <= DEFT_PACK_VIRTUAL; packing++)
        for (int vectors = 1; vectors <= MOST_VECTORS; vectors++) {
            deft_sparse_schedule schedule = {.vectors = vectors, .block = 1, .packing = (deft_sparse_packing)packing};
            deft_sparse_shape seen;
            if (complete(shape, &cpu, &schedule, &seen)) return true;
        }
    return false;
}

deft_sparse_schedule deft_sparse_x86_schedule(const deft_sparse_shape *shape, double *ns) {
    least best = {.ns = INFINITY};
    visit_all(shape, keep_least, &best);
    if (ns) *ns = isfinite(best.ns) ? deft_sparse_x86_schedule_ns(shape, &best.schedule) : INFINITY;
    return best.schedule;
}

/* ---- as numbers ---------------------------------------------------------------------------------------------- */

/* From the lowest bits: vectors 3, packing 3, split 2, log2 of the depths 4, tiles of a band 8, spans of a
 * block; the highest: full tiles. The rest follows from the shape. */
enum {
    VECTOR_BITS = 3,
    PACKING_BITS = 3,
    SPLIT_BITS = 2,
    DEPTH_BITS = 4,
    BAND_BITS = 8,
    SPLIT_SHIFT = VECTOR_BITS + PACKING_BITS,
    DEPTH_SHIFT = SPLIT_SHIFT + SPLIT_BITS,
    BAND_SHIFT = DEPTH_SHIFT + DEPTH_BITS,
    BLOCK_SHIFT = BAND_SHIFT + BAND_BITS
};
static const uint64_t full_tiles_bit = (uint64_t)1 << 63;

static uint64_t field(uint64_t code, int shift, int bits) {
    return code >> shift & (((uint64_t)1 << bits) - 1);
}

uint64_t deft_sparse_schedule_code(const deft_sparse_schedule *schedule) {
    uint64_t depths = (uint64_t)__builtin_ctzll((unsigned long long)schedule->depths);
    return (schedule->full_tiles ? full_tiles_bit : 0) | (uint64_t)schedule->vectors |
           (uint64_t)schedule->packing << VECTOR_BITS | (uint64_t)schedule->split << SPLIT_SHIFT |
           depths << DEPTH_SHIFT | (uint64_t)schedule->band_tiles << BAND_SHIFT |
           (uint64_t)(schedule->block / schedule->span) << BLOCK_SHIFT;
}

bool deft_sparse_schedule_of_code(const deft_sparse_shape *shape, uint64_t code, deft_sparse_schedule *schedule) {
    rates cpu = rates_of(shape->isa);
    deft_sparse_shape seen;
    uint64_t spans = (code & ~full_tiles_bit) >> BLOCK_SHIFT;
    *schedule = (deft_sparse_schedule){
        .full_tiles = code & full_tiles_bit,
        .vectors = (int)field(code, 0, VECTOR_BITS),
        .packing = (deft_sparse_packing)field(code, VECTOR_BITS, PACKING_BITS),
        .split = (deft_sparse_split)field(code, SPLIT_SHIFT, SPLIT_BITS),
        .depths = 1ll << field(code, DEPTH_SHIFT, DEPTH_BITS),
        .band_tiles = (int64_t)field(code, BAND_SHIFT, BAND_BITS),
        .block = spans < MOST_SPANS ? (int64_t)spans : MOST_SPANS, /* of the span that follows */
    };
    if (schedule->vectors < 1 || schedule->vectors > MOST_VECTORS || schedule->packing > DEFT_PACK_VIRTUAL ||
        !complete(shape, &cpu, schedule, &seen))
        return false;
    if (schedule->band_tiles < 1 || schedule->band_tiles > most_band_tiles(&seen, schedule)) return false;
    if (schedule->depths > 1 && shape->linear.k / schedule->depths < LEAST_DEPTH) return false;
    if (schedule->depths > MOST_DEPTHS || spans < 1 || spans > 2 * (uint64_t)seen.units) return false;
    schedule->block = (int64_t)spans * schedule->span;
    return true;
}

/* The benches behind `deft bench`: of problems out of a file, against other libraries, and of the machine itself. */
#ifndef DEFT_FACE_CLI_BENCH_H
#define DEFT_FACE_CLI_BENCH_H

#include "base/core/timing.h"
#include "codegen/kernel/kernel.h"
#include "face/cli/cli.h"

/* ---- the machine (bench_peak.c) ---- */

/* f32 multiply-adds in registers on all threads, 50 us of them a run, to be timed beside others. */
typedef struct deft_fma_loop deft_fma_loop;
/* NULL where the isa has none that we can generate. Errors: DEFT_MEMORY. */
DEFT_MUST_CHECK deft_status deft_bench_fma_new(deft_context *ctx, deft_fma_loop **loop);
deft_status deft_bench_fma_run(deft_context *ctx, void *loop);
/* Of a run of `us`; a multiply-add is two. NaN where there is no loop. */
double deft_bench_fma_gflops(const deft_fma_loop *loop, double us);
void deft_bench_fma_free(deft_context *ctx, deft_fma_loop *loop);
/* `deft bench peak`. */
DEFT_MUST_CHECK deft_status deft_bench_peak(deft_cli *cli);

/* ---- what is timed against each other (bench_contest.c) ---- */

typedef struct deft_contestant {
    const char *name; /* static text */
    deft_status (*run)(deft_context *ctx, void *state);
    /* Runs take them in turns: more than one where weights are to come from memory, each copy having left the caches
     * when its turn comes again. */
    void **states;
    int copies, next;
    bool baseline; /* plain loops, that no one would call the best dense library */
    bool on_layer; /* reads the layer's own w and x and writes its y, so that its results can be checked */
    bool in_place; /* on the same row-major X and Y as ours */
    deft_timing us;
} deft_contestant;

/* Ours, on one thread too, the machine's peak, and the others. */
#define DEFT_RIVALS      13
#define DEFT_CONTESTANTS (DEFT_RIVALS + 3)

/* Times them in turns, each turn a run that warms the caches and some that count, until each has had `seconds`. Times
 * but the least are at the pace of the median round (deft_timing_paces()). Errors: those of a run, DEFT_CANCELLED. */
DEFT_MUST_CHECK deft_status deft_bench_contest(deft_context *ctx, deft_contestant *all, int count, double seconds);

/* ---- problems (bench_layers.c) ---- */

typedef struct deft_bench_options {
    const char *problems, *weights, *layout, *vs, *tune;
    bool cold;       /* weights come from memory */
    double sparsity; /* negative: as the file says */
    double seconds;  /* for each contestant and problem */
} deft_bench_options;

/* `deft bench spmm` and `deft bench conv`. */
DEFT_MUST_CHECK deft_status deft_bench_layers(deft_cli *cli, const deft_bench_options *options, bool conv);

/* One layer, as all contestants see it: Y[m][n] = W[m][k] X[k][n], or a convolution of one picture. */
typedef struct deft_bench_layer {
    bool conv;
    int64_t m, k, n;                         /* of a product */
    int64_t size, kernel, channels, filters; /* of a convolution, padded so that the size stays, of stride 1 */
    const float *w, *x;                      /* row-major: W [m][k] or [filters][channels][kernel][kernel] */
    float *y;                                /* row-major, for who works in place */
    int threads;
} deft_bench_layer;

/* Rows and columns of the weights, and columns of Y: pixels, of a convolution. */
int64_t deft_bench_rows(const deft_bench_layer *layer);
int64_t deft_bench_columns(const deft_bench_layer *layer);
int64_t deft_bench_positions(const deft_bench_layer *layer);

/* ---- the others (bench_rivals.c, bench_naive.c) ---- */

typedef struct deft_rivals {
    deft_context *ctx;
    deft_contestant all[DEFT_RIVALS];
    void (*done[DEFT_RIVALS])(deft_context *ctx, void *state);
    int count;
} deft_rivals;

/* Adds the contestants that `vs` names ("onednn,openblas,naive"); where they are there already, a state to each. The
 * layer's operands must outlive them. Errors: DEFT_INVALID (an unknown name), DEFT_UNSUPPORTED (OpenBLAS is not
 * installed), DEFT_MEMORY. */
DEFT_MUST_CHECK deft_status deft_rivals_add_all(deft_rivals *rivals, const deft_bench_layer *layer, const char *vs);
/* Releases whatever was added. */
void deft_rivals_done(deft_rivals *rivals);
/* Adds a contestant of one state, or that state to the contestant of this name. `state` is then the list's to release,
 * with `done`, even where this fails. */
DEFT_MUST_CHECK deft_status deft_rivals_add(deft_rivals *rivals, const deft_contestant *one, void *state,
                                            void (*done)(deft_context *ctx, void *state));
/* The loops that one would write first, for products: dense ones, and over CSR and COO. */
DEFT_MUST_CHECK deft_status deft_rivals_add_naive(deft_rivals *rivals, const deft_bench_layer *layer);

#endif

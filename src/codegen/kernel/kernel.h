/* Kernels: ways to compute a node. A row of kernels.def gives one its id, name and functions; the planner asks each
 * whether it accepts a request, takes the one that it is told to (or the cheapest by estimate), prepares it once and
 * runs it many times. */
#ifndef DEFT_CODEGEN_KERNEL_KERNEL_H
#define DEFT_CODEGEN_KERNEL_KERNEL_H

#include "ir/op/op.h"

typedef enum deft_kernel_id {
#define DEFT_KERNEL(ENUM, ...) DEFT_KERNEL_##ENUM,
#include "codegen/kernel/kernels.def"
#undef DEFT_KERNEL
    DEFT_KERNEL_COUNT
} deft_kernel_id;

/* ROWS: row-major as in ONNX. PANELS, of a matrix [N, C]: f32 [ceil(N/16)][C][16], so that 16 batch entries lie side by
 * side; lanes past N hold anything finite and are never read into a result. 64-byte aligned. */
/* BLOCKS, of pictures [N, C, H, W]: f32 [N][ceil(C/lanes)][H][W][lanes], so that channels lie side by side; those past
 * C are 0. Parameters (a convolution's weight and bias, the vectors of a BatchNormalization) and the slopes of a
 * GlobalAveragePool's gradient are in ROWS all the same. */
typedef enum deft_layout { DEFT_LAYOUT_ROWS, DEFT_LAYOUT_PANELS, DEFT_LAYOUT_BLOCKS } deft_layout;
#define DEFT_PANEL_LANES 16
size_t deft_panel_bytes(int64_t n, int64_t columns);
/* Lanes of BLOCKS: 16 with AVX-512, else 8. */
int deft_block_lanes(deft_isa isa);
/* Of a tensor in a layout. */
size_t deft_layout_bytes(const deft_tensor *tensor, deft_layout layout, deft_isa isa);

/* y = min(max(y, low), high); none: -inf, inf; Relu: 0, inf. NaN stays NaN. */
typedef struct deft_activation {
    float low, high;
} deft_activation;
static const deft_activation deft_activation_none = {-__builtin_inff(), __builtin_inff()};

/* What a convolution's result may go through instead: x < 0 ? alpha x : x; x sigmoid(alpha x); x clip(x / 6 + 1/2). */
typedef enum deft_function {
    DEFT_FUNCTION_NONE,
    DEFT_FUNCTION_LEAKY_RELU,
    DEFT_FUNCTION_SWISH,
    DEFT_FUNCTION_HARD_SWISH
} deft_function;

/* What oneDNN has answered to the kernels, for the time that the same is asked again and again: of each layer in
 * several layouts, of layers that are alike, and at last to prepare it. An answer takes from some microseconds to some
 * milliseconds. Not needed by a kernel that is prepared. */
typedef struct deft_kernel_memo deft_kernel_memo;
DEFT_MUST_CHECK deft_status deft_kernel_memo_new(deft_context *ctx, deft_kernel_memo **memo);
void deft_kernel_memo_free(deft_kernel_memo *memo);
/* How often oneDNN was asked for implementations so far. */
int deft_kernel_memo_searches(const deft_kernel_memo *memo);

/* What is to be computed: a node with fixed shapes, and what the planner fused into it. */
typedef struct deft_request {
    /* in[i]->data is set for constants, NULL for what changes. The data of constants (but for a weight that the kernel
     * packs), the attributes and the name must outlive the kernel; the arrays and tensors need not. */
    deft_op_call call;
    /* Added to out[0] before the activation; shaped and laid out as it; or NULL. A run gets it as in[call.in_count]. */
    const deft_tensor *residual;
    deft_activation activation; /* applied to out[0] */
    deft_function function;     /* applied to out[0] of a Conv, whose activation is none then */
    float alpha;                /* of the function */
    deft_layout in_layout;      /* of the inputs that change; constants and parameters are in ROWS */
    uint32_t in_rows;           /* bit i: in[i] is in ROWS whatever in_layout: of a ConvWeightGrad alone */
    deft_layout out_layout;     /* of out[0] */
    deft_isa isa;               /* the best that may be used */
    uint64_t schedule;          /* of the kernel, as its schedules() tells it; 0: the best by estimate */
    deft_kernel_memo *memo;     /* or NULL */
    bool presumed;              /* accepts() asks no library, and may be wrong about what only that can tell */
    int64_t nonzeros; /* of the constant weight of a Gemm, MatMul or Conv, where they have been counted, else 0 */
} deft_request;

typedef struct deft_kernel_def deft_kernel_def;

/* A prepared kernel. */
typedef struct deft_kernel {
    const deft_kernel_def *def;
    void *state;
    size_t scratch_bytes; /* that run() needs, 64-byte aligned; may be shared between kernels */
    /* what `bench --profile` tells */
    size_t code_bytes, weight_bytes; /* generated code; weights as the kernel reads them */
    int64_t weights, nonzeros;       /* 0 where there is no constant weight */
    uint32_t packed; /* bit i: it keeps a form of its own of the constant in[i], which from now on it does not read */
    const char *detail; /* the schedule, say; lives as long as the kernel; or "" */
} deft_kernel;

struct deft_kernel_def {
    const char *name;
    const char *summary;
    /* Whether it can compute this; where not, *why (static text) says what is missing. */
    bool (*accepts)(const deft_request *request, const char **why);
    /* Estimated time of a run from operations, bytes and code size, by the request's schedule or the best; one thread;
     * nanoseconds. */
    double (*estimate_ns)(const deft_request *request);
    /* Fills in all of *kernel but def. Only called after accepts. Errors: DEFT_MEMORY, DEFT_DEVICE. */
    deft_status (*prepare)(deft_context *ctx, const deft_request *request, deft_kernel *kernel);
    /* Allocates nothing through the context. `in`, `out` as in the request, with data. */
    deft_status (*run)(deft_context *ctx, const deft_kernel *kernel, const deft_tensor *const *in,
                       deft_tensor *const *out, void *scratch);
    /* Releases what prepare made; never called after a prepare that failed. */
    void (*done)(deft_context *ctx, deft_kernel *kernel);
    bool sparse; /* specialised to the nonzeros of a constant weight, which it always packs */
    /* Bit i: out[0] may lie where input i lies, if that has the same shape, type and layout. */
    uint32_t in_place;
    /* Ways to compute the request that are worth timing, by estimate, the best first, at most `most`; returns how
     * many. NULL: there is but one. accepts() refuses a schedule that is impossible. */
    int (*schedules)(const deft_request *request, int most, uint64_t *schedules);
};

/* How many are worth timing where not all are asked for, and a number that none exceeds. */
#define DEFT_SCHEDULES     40
#define DEFT_ALL_SCHEDULES 512

extern const deft_kernel_def deft_kernels[DEFT_KERNEL_COUNT];

#define DEFT_KERNEL(ENUM, NAME, ...)                                                                                   \
    bool deft_##NAME##_accepts(const deft_request *request, const char **why);                                         \
    double deft_##NAME##_estimate_ns(const deft_request *request);                                                     \
    deft_status deft_##NAME##_prepare(deft_context *ctx, const deft_request *request, deft_kernel *kernel);            \
    deft_status deft_##NAME##_run(deft_context *ctx, const deft_kernel *kernel, const deft_tensor *const *in,          \
                                  deft_tensor *const *out, void *scratch);                                             \
    void deft_##NAME##_done(deft_context *ctx, deft_kernel *kernel);
#include "codegen/kernel/kernels.def"
#undef DEFT_KERNEL
int deft_sparse_x86_schedules(const deft_request *request, int most, uint64_t *schedules);
int deft_sparse_vector_schedules(const deft_request *request, int most, uint64_t *schedules);
int deft_sparse_stream_schedules(const deft_request *request, int most, uint64_t *schedules);
int deft_dense_schedules(const deft_request *request, int most, uint64_t *schedules);

/* The kernel that accepts `request` with the least estimate. DEFT_KERNEL_REFERENCE accepts everything in ROWS. */
deft_kernel_id deft_kernel_cheapest(const deft_request *request);
/* One way to compute a request. */
typedef struct deft_candidate {
    deft_kernel_id kernel;
    uint64_t schedule;  /* 0: the best by estimate */
    double estimate_ns; /* by deft_kernel_candidates() */
} deft_candidate;
/* Room for every kernel with all of its schedules, of which one kernel has more than four. */
#define DEFT_CANDIDATES (4 * DEFT_KERNEL_COUNT + DEFT_ALL_SCHEDULES)

/* The kernels that accept `request` and are worth timing, each once, into candidates[DEFT_CANDIDATES]; returns how
 * many. Those in portable C are only where their estimate is at most 4 times the least. */
int deft_kernel_candidates(const deft_request *request, bool dense_only, deft_candidate *candidates);
/* The same, and of each kernel at most `schedules` schedules. */
int deft_kernel_scheduled_candidates(const deft_request *request, bool dense_only, int schedules,
                                     deft_candidate *candidates);
/* Fails with DEFT_UNSUPPORTED where the kernel does not accept the request. On failure *kernel is zeroed. */
DEFT_MUST_CHECK deft_status deft_kernel_prepare(deft_context *ctx, deft_kernel_id id, const deft_request *request,
                                                deft_kernel *kernel);
/* Accepts a zeroed kernel. */
void deft_kernel_done(deft_context *ctx, deft_kernel *kernel);

/* Prepares the candidates, all of which accept `request`, and times them in turns of 0.3 ms, five runs at least, on
 * random operands: at least 5 turns, and until `seconds` are spent on all of them. ns[i]: what candidates[i] takes, as
 * a median over the runs of a turn and the upper quartile of the turns, which were brought to the same pace
 * (deft_timing_paces()); infinite where it could not be prepared on this machine (DEFT_DEVICE). */
DEFT_MUST_CHECK deft_status deft_kernel_measure(deft_context *ctx, const deft_request *request,
                                                const deft_candidate *candidates, int count, double seconds,
                                                double *ns);

/* Of many candidates the `finalists` that are worth deft_kernel_measure(), into the first places; returns how many.
 * Takes one after the other, in a few turns each and in alternation with the first, until `seconds` are spent; the
 * first `finalists` always. The rest is lost. */
DEFT_MUST_CHECK deft_status deft_kernel_screen(deft_context *ctx, const deft_request *request,
                                               deft_candidate *candidates, double seconds, int finalists, int *count);

/* Keeps oneDNN, and with it the dense kernels, from instruction sets better than `isa` (DEFT_ISA_C: SSE 4.1): a setting
 * of the process, which a command makes once at its start. Without it the dense side uses the best that the CPU has,
 * whatever a request's isa is. False where oneDNN has been used already. */
bool deft_dense_limit_isa(deft_isa isa);

#endif

/* Deft: makes a trained neural network faster within a bound that you set. The one public header.
 *
 * Conventions
 *   Errors     Fallible functions return a deft_status; on anything but DEFT_OK, deft_context_message() says what went
 *              wrong, where, and what to do. The library never prints, exits or aborts on input.
 *   Ownership  deft_*_new/_load makes an object, deft_*_free releases it and accepts NULL. A context outlives all that
 *              was made with it. Out-parameters come last and are set only on DEFT_OK.
 *   Options    Zero means the default in every field of every options structure: start from `= {0}`.
 *   Threads    A context, and all that was made with it, is used by one thread at a time; different contexts are
 *              independent. A session uses the context's thread count inside a call.
 *   Tensors    Row-major, contiguous; images are NCHW.
 */
#ifndef DEFT_H
#define DEFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DEFT_VERSION "0.1.0"

#if defined(__GNUC__)
#define DEFT_API        __attribute__((visibility("default")))
#define DEFT_MUST_CHECK __attribute__((warn_unused_result))
#else
#define DEFT_API
#define DEFT_MUST_CHECK
#endif

/* ---- status -------------------------------------------------------------------------------------------------- */

typedef enum deft_status {
    DEFT_OK = 0,
    DEFT_NO,          /* the question was answered, and the answer is no: a bound is not met */
    DEFT_INVALID,     /* bad input or usage: no such file, a malformed one, a wrong shape, a name that does not exist */
    DEFT_UNSUPPORTED, /* well-formed, but Deft cannot do it: an unknown operator, a data type */
    DEFT_IO,          /* the operating system refused: no permission, disk full, no such folder to write to */
    DEFT_MEMORY,      /* out of memory, or over a memory budget */
    DEFT_DEVICE,      /* a device or an instruction set that is not there */
    DEFT_CANCELLED,   /* the progress callback asked to stop */
    DEFT_BUG          /* an internal invariant failed: please report it */
} deft_status;

/* A short lower-case name for a status, like "invalid". Never NULL. */
DEFT_API const char *deft_status_name(deft_status status);

/* The version of the library that is linked, as DEFT_VERSION is that of this header. */
DEFT_API const char *deft_version(void);

/* ---- context ------------------------------------------------------------------------------------------------- */

typedef struct deft_context deft_context;

typedef enum deft_isa {
    DEFT_ISA_BEST = 0, /* the best that this CPU has */
    DEFT_ISA_C,        /* portable C, no run-time code generation */
    DEFT_ISA_AVX2,     /* AVX2 and FMA */
    DEFT_ISA_AVX512    /* AVX-512 F, VL, BW, DQ */
} deft_isa;

typedef enum deft_log_level { DEFT_LOG_ERROR, DEFT_LOG_WARNING, DEFT_LOG_INFO, DEFT_LOG_DEBUG } deft_log_level;

/* Memory for everything the library keeps. `allocate` returns 64-byte aligned memory or NULL; `release` takes what it
 * returned, with the same size. */
typedef struct deft_allocator {
    void *(*allocate)(void *user, size_t bytes);
    void (*release)(void *user, void *memory, size_t bytes);
    void *user;
} deft_allocator;

typedef struct deft_context_options {
    int threads;              /* default: the cores this process may use */
    deft_isa isa;             /* default: the best there is; asking for one the CPU lacks is DEFT_DEVICE */
    uint64_t seed;            /* of everything random; default 0 */
    size_t max_memory_bytes;  /* what may be allocated at a time, beyond which a call is DEFT_MEMORY; generated code and
                                 the small objects of other libraries do not count; default: three quarters of what the
                                 machine or its container has */
    deft_allocator allocator; /* default: the C library */
    void (*log)(void *user, deft_log_level level, const char *message); /* default: discard */
    /* Called now and then during long work with the share done, 0 to 1; returning false stops it (DEFT_CANCELLED). */
    bool (*progress)(void *user, const char *what, double done);
    void *user;                  /* for log and progress */
    const char *cache_directory; /* kernel choices; default $XDG_CACHE_HOME/deft or ~/.cache/deft; "" for none */
} deft_context_options;

/* `options` may be NULL. Errors: DEFT_MEMORY, DEFT_DEVICE, DEFT_INVALID (negative threads). */
DEFT_API DEFT_MUST_CHECK deft_status deft_context_new(const deft_context_options *options, deft_context **context);
DEFT_API void deft_context_free(deft_context *context);

/* What went wrong in the last call that failed: one line, valid until the next failure. Never NULL. */
DEFT_API const char *deft_context_message(const deft_context *context);

/* ---- tensors ------------------------------------------------------------------------------------------------- */

#define DEFT_MAX_RANK 8

/* The values are ONNX's TensorProto.DataType. */
typedef enum deft_dtype {
    DEFT_F32 = 1,
    DEFT_U8 = 2,
    DEFT_I8 = 3,
    DEFT_U16 = 4,
    DEFT_I16 = 5,
    DEFT_I32 = 6,
    DEFT_I64 = 7,
    DEFT_BOOL = 9,
    DEFT_F16 = 10,
    DEFT_F64 = 11,
    DEFT_U32 = 12,
    DEFT_U64 = 13,
    DEFT_BF16 = 16
} deft_dtype;

/* A view: row-major and contiguous; a scalar has rank 0. Who owns `data` is said where a tensor is handed over. */
typedef struct deft_tensor {
    deft_dtype dtype;
    int rank;
    int64_t dims[DEFT_MAX_RANK];
    void *data;
} deft_tensor;

/* ---- models -------------------------------------------------------------------------------------------------- */

typedef struct deft_model deft_model;

/* Loads an .onnx or a .deft file (told apart by content) and checks it: names, types, shapes, operators.
 * Errors: DEFT_IO, DEFT_INVALID (malformed), DEFT_UNSUPPORTED (an operator Deft lacks), DEFT_MEMORY. */
DEFT_API DEFT_MUST_CHECK deft_status deft_model_load(deft_context *context, const char *path, deft_model **model);
/* The same from memory, which may be released afterwards. */
DEFT_API DEFT_MUST_CHECK deft_status deft_model_load_memory(deft_context *context, const void *data, size_t bytes,
                                                            deft_model **model);
/* Writes plain ONNX, or a .deft where the name ends in .deft; beside the target first, then renamed. */
DEFT_API DEFT_MUST_CHECK deft_status deft_model_save(const deft_model *model, const char *path);
DEFT_API void deft_model_free(deft_model *model);

/* ---- running ------------------------------------------------------------------------------------------------- */

typedef struct deft_session deft_session;

/* The shape of an input whose dimensions are symbolic; those that are not must be the same. */
typedef struct deft_binding {
    const char *input; /* its name */
    int rank;
    int64_t dims[DEFT_MAX_RANK];
} deft_binding;

typedef struct deft_session_options {
    int64_t batch; /* what symbolic dimensions of the inputs are bound to, but for `bindings`; default 1 */
    bool tune;     /* measure kernels now and choose the fastest; default: the cached choice, else the cost model */
    const deft_binding *bindings; /* a symbolic dimension of another input becomes what the same name is here */
    int binding_count;
} deft_session_options;

/* Makes a model ready to run: fixed shapes, kernels generated, memory planned. `options` may be NULL. The model may
 * be freed before the session. Errors: DEFT_INVALID (shapes that do not fit), DEFT_UNSUPPORTED, DEFT_MEMORY. */
DEFT_API DEFT_MUST_CHECK deft_status deft_session_new(const deft_model *model, const deft_session_options *options,
                                                      deft_session **session);
/* The same from a file, in the least memory: of a weight that a kernel keeps in a form of its own, the original goes at
 * once, where a session of a model shares it with that. Errors: those of deft_model_load too. */
DEFT_API DEFT_MUST_CHECK deft_status deft_session_load(deft_context *context, const char *path,
                                                       const deft_session_options *options, deft_session **session);
DEFT_API void deft_session_free(deft_session *session);

DEFT_API int deft_session_input_count(const deft_session *session);
DEFT_API int deft_session_output_count(const deft_session *session);
/* NULL when `index` is out of range. */
DEFT_API const char *deft_session_input_name(const deft_session *session, int index);
DEFT_API const char *deft_session_output_name(const deft_session *session, int index);

/* The tensor of an input, for the caller to fill: owned by the session, at the same address for its life. */
DEFT_API DEFT_MUST_CHECK deft_status deft_session_input(deft_session *session, const char *name, deft_tensor *tensor);
/* The tensor of an output, as the last deft_session_run left it: owned by the session. Where shapes depend on values of
 * the inputs, DEFT_INVALID before the first run, and the tensor's shape and address are those of the last run. */
DEFT_API DEFT_MUST_CHECK deft_status deft_session_output(deft_session *session, const char *name, deft_tensor *tensor);
/* Runs the model once. Allocates nothing through the context's allocator; but where shapes, or a branch that is taken,
 * depend on values, what follows is planned anew for each that is new. Errors: those of deft_session_new, then. */
DEFT_API DEFT_MUST_CHECK deft_status deft_session_run(deft_session *session);

/* ---- training ------------------------------------------------------------------------------------------------ */

typedef enum deft_optimizer {
    DEFT_OPTIMIZER_SGD = 0,  /* v = momentum v + g; w -= rate v */
    DEFT_OPTIMIZER_NESTEROV, /* v = momentum v + g; w -= rate (g + momentum v) */
    DEFT_OPTIMIZER_ADAM,     /* m = momentum m + (1 - momentum) g; v = beta2 v + (1 - beta2) g^2;
                                w -= rate m' / (sqrt(v') + epsilon), m' and v' corrected for their start at 0 */
    DEFT_OPTIMIZER_ADAMW     /* the same, and the decay is taken from the weight: w -= rate decay w */
} deft_optimizer;

typedef enum deft_loss {
    DEFT_LOSS_DEFAULT = 0,     /* of classes: CROSS_ENTROPY, else SQUARED_ERROR */
    DEFT_LOSS_CROSS_ENTROPY,   /* -sum target log softmax(y), mean over the batch: targets are shares of [N, classes] */
    DEFT_LOSS_SQUARED_ERROR,   /* (y - target)^2, mean over all elements */
    DEFT_LOSS_PERCENTAGE_ERROR /* |y - target| / max(|target|, 1e-7), mean over all elements; 1 is 100% */
} deft_loss;

/* How weights follow their gradient g. But for AdamW, weight decay is added to it: g + decay w. */
typedef struct deft_optimizer_options {
    deft_optimizer kind;
    float momentum;          /* default 0.9; negative for none */
    float beta2;             /* Adam's; default 0.999 */
    float epsilon;           /* Adam's; default 1e-8 */
    float weight_decay;      /* of weights: two dimensions or more; default 5e-4 (AdamW: 0.01); negative for none */
    float max_gradient_norm; /* the gradient of all weights together is scaled down to it; default 1; negative: none */
    float average;           /* what is evaluated and kept is a moving average of the weights, of which each step keeps
                                this share, and less at the start, (1 + step) / (10 + step); default 0: the last
                                weights */
} deft_optimizer_options;

/* Training step by step, with data and, if it is to be, a loss of the caller's: a copy of a model that learns. It
 * learns every f32 constant but scalars that the loss has a gradient for, without those that element-wise operators
 * apply to the inputs before the first layer. BatchNormalization uses the batch's statistics, and updates the running
 * ones. */
typedef struct deft_train_session deft_train_session;

/* A loss of the caller's. outputs[count] are the model's, in its order, as the forward pass left them; the function
 * writes the derivative of the loss for each of their elements into gradients[count], f32 of the same shapes and 0
 * before the call (data is NULL for outputs of another type), and the loss itself into *loss. Returning false stops
 * the step, which then changes nothing (DEFT_CANCELLED). */
typedef bool (*deft_loss_function)(void *user, int count, const deft_tensor *outputs, deft_tensor *gradients,
                                   double *loss);

typedef struct deft_train_session_options {
    int64_t batch; /* what symbolic dimensions of the inputs are bound to; default 1 */
    deft_optimizer_options optimizer;
    bool keep_zeros; /* weights of Gemm, MatMul and Conv that are zero now stay exactly zero */
    /* The loss is one of these three: */
    deft_loss_function function;
    void *user;                   /* of the function */
    const deft_model *loss_model; /* its inputs are outputs of the model where they have their names, and else become
                                     inputs of the session; its first output is the loss, one number */
    deft_loss loss; /* of the model's first output, against the session's input "targets" of the same shape. A Softmax
                       that makes the output is taken into a cross-entropy, by default where there is one */
} deft_train_session_options;

/* The model may be freed before the session, and so may the model of the loss. `options` may be NULL.
 * Errors: DEFT_INVALID (options; a loss that is not one number; nothing to learn), DEFT_UNSUPPORTED (an operator
 * without a gradient between a weight and the loss), and those of deft_session_new. */
DEFT_API DEFT_MUST_CHECK deft_status deft_train_session_new(const deft_model *model,
                                                            const deft_train_session_options *options,
                                                            deft_train_session **session);
DEFT_API void deft_train_session_free(deft_train_session *session);

/* The tensor of an input of the model, of the loss's model, or "targets", for the caller to fill before each step:
 * owned by the session, at the same address for its life. */
DEFT_API DEFT_MUST_CHECK deft_status deft_train_session_input(deft_train_session *session, const char *name,
                                                              deft_tensor *tensor);
/* The tensor of an output of the model, as the last step left it: before its update. */
DEFT_API DEFT_MUST_CHECK deft_status deft_train_session_output(deft_train_session *session, const char *name,
                                                               deft_tensor *tensor);
/* One step: forward, loss, backward, update at this learning rate. *loss (may be NULL) is that before the update.
 * Allocates nothing through the context's allocator. The result depends on the threads and the instruction set, but not
 * on the run. Errors: DEFT_INVALID (a loss or a gradient that is not finite; a rate that is not positive); then,
 * nothing has changed. DEFT_CANCELLED. */
DEFT_API DEFT_MUST_CHECK deft_status deft_train_session_step(deft_train_session *session, double learning_rate,
                                                             double *loss);
/* The model as it has learned so far (the moving average, where that is kept): a copy. */
DEFT_API DEFT_MUST_CHECK deft_status deft_train_session_model(const deft_train_session *session, deft_model **model);
/* Writes all of the state to a file (beside it first, then renamed), and takes it back, in a session made in the same
 * way: the steps after it then give the same weights, bit for bit. Errors: DEFT_IO; DEFT_INVALID (no such file,
 * damaged, or of another model, loss or options); then, nothing has changed. */
DEFT_API DEFT_MUST_CHECK deft_status deft_train_session_save(const deft_train_session *session, const char *path);
DEFT_API DEFT_MUST_CHECK deft_status deft_train_session_resume(deft_train_session *session, const char *path);

/* ---- pruning ------------------------------------------------------------------------------------------------- */

typedef enum deft_prune_scope {
    DEFT_PRUNE_GLOBAL = 0, /* the smallest of all weights together */
    DEFT_PRUNE_LAYER       /* the same share of each weight tensor */
} deft_prune_scope;

typedef struct deft_prune_options {
    double zeros; /* share of the weights of Gemm, MatMul and Conv, 0 to 1; 0 changes nothing */
    deft_prune_scope scope;
    int keep, of;                /* N:M: of `of` neighbours along what an output sums over (of a Conv, its channels),
                                    64 at most, `keep` stay; the share follows, and `zeros` is 0. Both 0: no such
                                    pattern */
    int block_rows, block_inner; /* blocks of weights go together, by their root mean square: so many outputs, and so
                                    many of what they sum over. Both 0: single weights */
} deft_prune_options;

/* Makes a copy of a model with zeros. Without `calibration` (NULL), the smallest weights by magnitude become zero. With
 * it, the data of deft_optimize, of which labels are not used, or "npz:FILE" with an array for each input of the model
 * by its name, the weights are chosen, and those that are left corrected, so that each layer's outputs on it change
 * least; not for blocks. To fine-tune the result, see `deft prune --data`. Errors: DEFT_INVALID (options, data),
 * DEFT_UNSUPPORTED (weights that are not f32). */
DEFT_API DEFT_MUST_CHECK deft_status deft_prune(const deft_model *model, const deft_prune_options *options,
                                                const char *calibration, deft_model **pruned);

/* ---- the main job -------------------------------------------------------------------------------------------- */

/* One configuration as it was measured, always beside the dense original in the same run. */
typedef struct deft_point {
    double zeros;                      /* share of zeros among the prunable weights, 0 to 1 */
    double accuracy_dense;             /* of the original, 0 to 1, on the same split */
    double accuracy_validation;        /* 0 to 1; agreement with the original where there are no labels */
    double accuracy_test;              /* 0 to 1; NaN but for the chosen point */
    double drop;                       /* percentage points: test for the chosen point, validation for the others */
    double dense_us, fast_us, speedup; /* median latency at batch 64, microseconds; their ratio */
    double dense_us_b1, fast_us_b1, speedup_b1; /* at batch 1 */
    int64_t file_bytes;                         /* of the model as a .deft file */
    bool within_bound, chosen;
} deft_point;

typedef struct deft_optimize_options {
    double max_drop;   /* percentage points of accuracy that may be lost; default 0: none */
    int epochs;        /* of fine-tuning per point at most; default: chosen by the size of the data */
    bool prune_sparse; /* prune a model further that arrives sparse */
    void (*point)(void *user, const deft_point *point); /* called for each point tried, the chosen one last */
    void *user;
} deft_optimize_options;

/* Prunes at rising sparsities with fine-tuning under the mask, keeps the sparsest point whose validation drop is
 * within the bound, generates kernels and measures everything against the dense original.
 * `data`: a folder or file of samples ("mnist:DIR", "cifar10:DIR", "cifar100:DIR", "npz:FILE", "pictures:DIR", or its
 * name alone; an npz has arrays x, y; without y the measure is agreement with the original), "digits[:N]"; "normalize:"
 * and "augment=crop,flip:" may stand before it. Errors: DEFT_NO when no point is within the bound (`fast` is then the
 * original). */
DEFT_API DEFT_MUST_CHECK deft_status deft_optimize(const deft_model *model, const char *data,
                                                   const deft_optimize_options *options, deft_model **fast,
                                                   deft_point *chosen);

#ifdef __cplusplus
}
#endif
#endif

/* Shape rules and forwards on random, mostly nonsensical nodes, as a hostile file would have them: a rule answers, with
 * a message where it refuses, and what it accepts runs within its tensors (which the sanitizers see). */
#include "tests/op_support.h"

#include "base/core/rng.h"

enum { TRIALS = 6000, MAX_BYTES = 1 << 16 };

static int64_t pick(deft_rng *rng, int64_t low, int64_t high) {
    return low + (int64_t)deft_rng_below(rng, (uint64_t)(high - low + 1));
}

static int64_t pick_size(deft_rng *rng) {
    static const int64_t odd[] = {-1, 0, 0, 7, 1 << 16, INT32_MAX, (int64_t)1 << 40, INT64_MAX, INT64_MIN};
    return pick(rng, 0, 19) ? pick(rng, 1, 3) : odd[pick(rng, 0, 8)];
}

/* What a loader lets through: any type and rank, sizes that memory could hold. */
static void make_tensor(deft_rng *rng, deft_tensor *tensor) {
    static const deft_dtype types[] = {DEFT_F32, DEFT_F32, DEFT_F32,  DEFT_F32, DEFT_F32, DEFT_F64, DEFT_I64,
                                       DEFT_I32, DEFT_U8,  DEFT_BOOL, DEFT_F16, DEFT_I8,  DEFT_U64, DEFT_BF16};
    do {
        *tensor = (deft_tensor){.dtype = types[pick(rng, 0, 13)], .rank = (int)pick(rng, 0, 5)};
        for (int i = 0; i < tensor->rank; i++)
            tensor->dims[i] = pick_size(rng);
    } while (!deft_shape_valid(tensor->dtype, tensor->rank, tensor->dims));
}

static void fill(deft_rng *rng, deft_tensor *tensor) {
    for (int64_t i = 0; i < deft_tensor_count(tensor); i++) {
        if (tensor->dtype == DEFT_I64) ((int64_t *)tensor->data)[i] = pick_size(rng);
        if (tensor->dtype == DEFT_I32) ((int32_t *)tensor->data)[i] = (int32_t)pick_size(rng);
        if (tensor->dtype == DEFT_U64) ((int64_t *)tensor->data)[i] = pick_size(rng);
        if (tensor->dtype == DEFT_U8 || tensor->dtype == DEFT_I8)
            ((uint8_t *)tensor->data)[i] = (uint8_t)pick(rng, 0, 9);
        if (tensor->dtype == DEFT_F16 || tensor->dtype == DEFT_BF16)
            ((uint16_t *)tensor->data)[i] = (uint16_t)pick(rng, 0, UINT16_MAX);
        if (tensor->dtype == DEFT_F32) ((float *)tensor->data)[i] = deft_rng_normal(rng);
        if (tensor->dtype == DEFT_F64) ((double *)tensor->data)[i] = (double)deft_rng_normal(rng);
        if (tensor->dtype == DEFT_BOOL) ((uint8_t *)tensor->data)[i] = (uint8_t)pick(rng, 0, 1);
    }
}

static void make_attr(deft_rng *rng, deft_attr *attr, int64_t *values) {
    static const char *const names[] = {
        "to",           "fmod",           "keepdims",  "mode",      "k",          "largest",     "exclusive",
        "reverse",      "starts",         "ends",      "split",     "batch_dims", "hidden_size", "size",
        "blocksize",    "output_padding", "direction", "reduction", "axis",       "axes",        "perm",
        "kernel_shape", "strides",        "dilations", "pads",      "group",      "alpha",       "auto_pad",
        "ceil_mode",    "transA",         "allowzero", "epsilon",   "min",        "value_ints",  "transB"};
    enum { NAMES = sizeof names / sizeof *names };
    static const char *const texts[] = {"", "SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET", "valid"};
    *attr = (deft_attr){.name = names[pick(rng, 0, NAMES - 1)],
                        .type = (deft_attr_type)(pick(rng, 0, 1) ? DEFT_ATTR_INTS : pick(rng, 0, 2)),
                        .i = pick_size(rng),
                        .f = deft_rng_normal(rng),
                        .s = texts[pick(rng, 0, 5)],
                        .count = pick(rng, 0, 3) ? 2 : pick(rng, 0, 9),
                        .ints = values};
    for (int i = 0; i < 9; i++)
        values[i] = pick(rng, 0, 3) ? pick(rng, 0, 2) : pick_size(rng);
}

/* True where every tensor is small; then they get memory of exactly their size. */
static bool allocate_small(deft_context *ctx, deft_rng *rng, deft_tensor *tensors, int count) {
    for (int i = 0; i < count; i++)
        if (tensors[i].dtype && deft_tensor_bytes(&tensors[i]) > MAX_BYTES) return false;
    for (int i = 0; i < count; i++) {
        if (!tensors[i].dtype) continue;
        tensors[i].data = malloc(deft_tensor_bytes(&tensors[i]));
        fill(rng, &tensors[i]);
    }
    (void)ctx;
    return true;
}

/* 1 where the node ran. */
static int try_node(deft_context *ctx, deft_rng *rng, deft_op op, const op_case *like) {
    const deft_op_info *info = &deft_ops[op];
    int64_t values[OP_MAX_ATTRS][9];
    op_case test = {.op = op,
                    .opset = (int)pick(rng, 7, 17),
                    .out_count = info->max_out < OP_MAX_OUTPUTS ? info->max_out : OP_MAX_OUTPUTS};
    if (like && like->out_count) test.out_count = like->out_count;
    int inputs = (int)pick(rng, info->min_in, info->max_in < OP_MAX_INPUTS ? info->max_in : OP_MAX_INPUTS);
    for (int i = 0; i < inputs; i++) {
        if (i >= info->min_in && pick(rng, 0, 1)) continue;
        make_tensor(rng, &test.in[i]);
        if (i > 0 && pick(rng, 0, 1)) test.in[i] = test.in[i - 1]; /* so that some fit */
        if (like && like->in[i].dtype && pick(rng, 0, 9)) test.in[i] = like->in[i];
        test.in[i].data = NULL;
        if (!test.in[i].dtype) make_tensor(rng, &test.in[i]);
    }
    for (int i = (int)pick(rng, 0, 4); i > 0; i--)
        make_attr(rng, &test.attrs[i - 1], values[i]);
    if (like && like->attrs[0].name && pick(rng, 0, 9)) test.attrs[0] = like->attrs[0];
    bool small = pick(rng, 0, 3) && allocate_small(ctx, rng, test.in, inputs);

    op_run run;
    op_prepare(ctx, &test, &run);
    ctx->message[0] = 0;
    deft_status status = info->shape(&run.call);
    bool ran = false;
    if (status != DEFT_OK) {
        assert_true(status == DEFT_INVALID || status == DEFT_UNSUPPORTED);
        assert_non_null(strstr(deft_context_message(ctx), info->name));
    } else {
        for (int i = 0; i < run.call.out_count; i++)
            assert_true(deft_shape_valid(run.out[i]->dtype, run.out[i]->rank, run.out[i]->dims));
        if (small && allocate_small(ctx, rng, run.out_desc, run.call.out_count)) {
            status = deft_op_forward(&run.call);
            assert_true(status == DEFT_OK || status == DEFT_INVALID || status == DEFT_UNSUPPORTED);
            ran = status == DEFT_OK;
        }
    }
    for (int i = 0; i < OP_MAX_INPUTS; i++)
        free(test.in[i].data);
    for (int i = 0; i < OP_MAX_OUTPUTS; i++)
        free(run.out_desc[i].data);
    return ran;
}

#define OF(DTYPE, ...)                                                                                                 \
    { .dtype = DTYPE, DIMS(__VA_ARGS__) }
#define REAL(...)                                                                                                      \
    { .dtype = DEFT_F32, DIMS(__VA_ARGS__) }

/* Shapes that fit, for operators whose inputs depend on each other so much that chance does not find them. */
static const op_case fitting[DEFT_OP_COUNT] = {
    [DEFT_OP_BIT_SHIFT] = {.attrs = {STRING("direction", "LEFT")}, .in = {OF(DEFT_U8, 2, 3), OF(DEFT_U8, 3)}},
    [DEFT_OP_AND] = {.in = {OF(DEFT_BOOL, 2, 3), OF(DEFT_BOOL, 3)}},
    [DEFT_OP_OR] = {.in = {OF(DEFT_BOOL, 2, 3), OF(DEFT_BOOL, 3)}},
    [DEFT_OP_XOR] = {.in = {OF(DEFT_BOOL, 2, 3), OF(DEFT_BOOL, 3)}},
    [DEFT_OP_WHERE] = {.in = {OF(DEFT_BOOL, 2, 3), REAL(3), REAL(2, 1)}},
    [DEFT_OP_CAST] = {.attrs = {INT("to", DEFT_I8)}, .in = {REAL(2, 3)}},
    [DEFT_OP_BITWISE_AND] = {.in = {OF(DEFT_I16, 2, 3), OF(DEFT_I16, 3)}},
    [DEFT_OP_BITWISE_OR] = {.in = {OF(DEFT_U8, 2, 3), OF(DEFT_U8, 3)}},
    [DEFT_OP_BITWISE_XOR] = {.in = {OF(DEFT_I64, 2, 3), OF(DEFT_I64, 3)}},
    [DEFT_OP_RMS_NORM] = {.in = {REAL(2, 3), REAL(3)}},
    [DEFT_OP_MOD] = {.attrs = {INT("fmod", 1)}, .in = {REAL(2, 3), REAL(3)}},
    [DEFT_OP_CONSTANT_OF_SHAPE] = {.in = {OF(DEFT_I64, 2)}},
    [DEFT_OP_EYE_LIKE] = {.attrs = {INT("k", 1)}, .in = {REAL(2, 3)}},
    [DEFT_OP_RANGE] = {.in = {{.dtype = DEFT_I64}, {.dtype = DEFT_I64}, {.dtype = DEFT_I64}}},
    [DEFT_OP_ONE_HOT] = {.in = {OF(DEFT_I64, 2, 3), {.dtype = DEFT_I64}, REAL(2)}},
    [DEFT_OP_MAX_UNPOOL] = {.attrs = {INTS("kernel_shape", 2)}, .in = {REAL(1, 1, 3), OF(DEFT_I64, 1, 1, 3)}},
    [DEFT_OP_GRID_SAMPLE] = {.attrs = {STRING("mode", "cubic")}, .in = {REAL(2, 2, 3, 2), REAL(2, 4, 1, 2)}},
    [DEFT_OP_NON_MAX_SUPPRESSION] = {.in = {REAL(2, 5, 4), REAL(2, 3, 5), {.dtype = DEFT_I64}}},
    [DEFT_OP_ROI_ALIGN] = {.attrs = {INT("sampling_ratio", 2)}, .in = {REAL(2, 2, 4, 3), REAL(3, 4), OF(DEFT_I64, 3)}},
    [DEFT_OP_SLICE] = {.attrs = {INTS("starts", 0)},
                       .in = {REAL(3, 2), OF(DEFT_I64, 1), OF(DEFT_I64, 1), OF(DEFT_I64, 1), OF(DEFT_I64, 1)}},
    [DEFT_OP_SPLIT] = {.out_count = 3, .attrs = {INTS("split", 1, 2)}, .in = {REAL(3, 2), OF(DEFT_I64, 3)}},
    [DEFT_OP_EXPAND] = {.in = {REAL(1, 1), OF(DEFT_I64, 3)}},
    [DEFT_OP_TILE] = {.in = {REAL(2, 3), OF(DEFT_I64, 2)}},
    [DEFT_OP_PAD] = {.attrs = {STRING("mode", "edge")}, .in = {REAL(2, 3), OF(DEFT_I64, 4)}},
    [DEFT_OP_DEPTH_TO_SPACE] = {.attrs = {INT("blocksize", 2)}, .in = {REAL(1, 8, 2, 3)}},
    [DEFT_OP_SPACE_TO_DEPTH] = {.attrs = {INT("blocksize", 2)}, .in = {REAL(1, 2, 4, 6)}},
    [DEFT_OP_TRILU] = {.in = {REAL(2, 3, 2), {.dtype = DEFT_I64}}},
    [DEFT_OP_GATHER] = {.in = {REAL(5, 2), OF(DEFT_I64, 3)}},
    [DEFT_OP_GATHER_ELEMENTS] = {.in = {REAL(5, 2), OF(DEFT_I64, 2, 2)}},
    [DEFT_OP_GATHER_ND] = {.in = {REAL(5, 4, 4), OF(DEFT_I64, 3, 2)}},
    [DEFT_OP_SCATTER_ELEMENTS] = {.in = {REAL(5, 2), OF(DEFT_I64, 2, 2), REAL(2, 2)}},
    [DEFT_OP_SCATTER] = {.in = {REAL(5, 2), OF(DEFT_I64, 2, 2), REAL(2, 2)}},
    [DEFT_OP_SCATTER_ND] = {.attrs = {STRING("reduction", "max")},
                            .in = {REAL(5, 4, 2), OF(DEFT_I64, 3, 2), REAL(3, 2)}},
    [DEFT_OP_COMPRESS] = {.attrs = {INT("axis", 1)}, .in = {REAL(2, 3), OF(DEFT_BOOL, 2)}},
    [DEFT_OP_REVERSE_SEQUENCE] = {.in = {REAL(4, 2, 2), OF(DEFT_I64, 2)}},
    [DEFT_OP_TOP_K] = {.attrs = {INT("k", 2)}, .in = {REAL(2, 5), OF(DEFT_I64, 1)}},
    [DEFT_OP_CUM_SUM] = {.in = {REAL(2, 3, 2, 2), {.dtype = DEFT_I64}}},
    [DEFT_OP_CUM_PROD] = {.in = {OF(DEFT_I32, 2, 3, 2), {.dtype = DEFT_I64}}},
    [DEFT_OP_BIT_CAST] = {.attrs = {INT("to", DEFT_I32)}, .in = {REAL(2, 3)}},
    [DEFT_OP_ATTENTION] = {.attrs = {INT("is_causal", 1)},
                           .in = {REAL(2, 4, 3, 2), REAL(2, 2, 3, 2), REAL(2, 2, 3, 3), OF(DEFT_BOOL, 3, 5),
                                  REAL(2, 2, 2, 2), REAL(2, 2, 2, 3), OF(DEFT_I64, 2)}},
    [DEFT_OP_ROTARY_EMBEDDING] = {.attrs = {INT("interleaved", 1)},
                                  .in = {REAL(2, 2, 3, 4), REAL(5, 2), REAL(5, 2), OF(DEFT_I64, 2, 3)}},
    [DEFT_OP_GROUP_NORM] = {.attrs = {INT("num_groups", 2)}, .in = {REAL(2, 4, 2), REAL(2), REAL(2)}},
    [DEFT_OP_INSTANCE_NORM] = {.in = {REAL(2, 3, 2), REAL(3), REAL(3)}},
    [DEFT_OP_LAYER_NORM] = {.attrs = {INT("axis", 1)}, .in = {REAL(2, 3, 2), REAL(3, 2), REAL(3, 2)}},
    [DEFT_OP_LRN] = {.attrs = {INT("size", 3)}, .in = {REAL(2, 5, 2)}},
    [DEFT_OP_NEGATIVE_LOG_LIKELIHOOD_LOSS] = {.in = {REAL(2, 4, 2), OF(DEFT_I64, 2, 2), REAL(4)}},
    [DEFT_OP_SOFTMAX_CROSS_ENTROPY_LOSS] = {.attrs = {STRING("reduction", "none")},
                                            .in = {REAL(2, 4, 2), OF(DEFT_I64, 2, 2), REAL(4)}},
    [DEFT_OP_RNN] = {.attrs = {INT("hidden_size", 3)},
                     .in = {REAL(2, 2, 4), REAL(1, 3, 4), REAL(1, 3, 3), REAL(1, 6), OF(DEFT_I32, 2), REAL(1, 2, 3)}},
    [DEFT_OP_GRU] = {.attrs = {INT("layout", 1)},
                     .in = {REAL(2, 2, 4), REAL(1, 9, 4), REAL(1, 9, 3), REAL(1, 18), OF(DEFT_I32, 2), REAL(2, 1, 3)}},
    [DEFT_OP_LSTM] = {.attrs = {STRING("direction", "bidirectional")},
                      .in = {REAL(2, 2, 4), REAL(2, 12, 4), REAL(2, 12, 3), REAL(2, 24), OF(DEFT_I32, 2), REAL(2, 2, 3),
                             REAL(2, 2, 3), REAL(2, 9)}},
    [DEFT_OP_QUANTIZE_LINEAR] = {.in = {REAL(2, 3), REAL(3), OF(DEFT_I8, 3)}},
    [DEFT_OP_DEQUANTIZE_LINEAR] = {.in = {OF(DEFT_U8, 2, 3), REAL(3), OF(DEFT_U8, 3)}},
    [DEFT_OP_DYNAMIC_QUANTIZE_LINEAR] = {.in = {REAL(2, 3)}},
    [DEFT_OP_MATMUL_INTEGER] = {.in = {OF(DEFT_U8, 2, 2, 3), OF(DEFT_I8, 3, 4), OF(DEFT_U8, 2), OF(DEFT_I8, 4)}},
    [DEFT_OP_QLINEAR_MATMUL] = {.in = {OF(DEFT_U8, 2, 3), REAL(1), OF(DEFT_U8, 1), OF(DEFT_I8, 3, 4), REAL(1),
                                       OF(DEFT_I8, 1), REAL(1), OF(DEFT_U8, 1)}},
    [DEFT_OP_CONV_INTEGER] = {.in = {OF(DEFT_U8, 1, 2, 4, 4), OF(DEFT_U8, 3, 2, 2, 2), OF(DEFT_U8, 1), OF(DEFT_U8, 3)}},
    [DEFT_OP_QLINEAR_CONV] = {.in = {OF(DEFT_U8, 1, 2, 4, 4), REAL(1), OF(DEFT_U8, 1), OF(DEFT_I8, 3, 2, 2, 2), REAL(3),
                                     OF(DEFT_I8, 1), REAL(1), OF(DEFT_U8, 1), OF(DEFT_I32, 3)}},
    [DEFT_OP_CONV_TRANSPOSE] = {.attrs = {INTS("strides", 2, 1)}, .in = {REAL(1, 2, 3, 3), REAL(2, 2, 2, 1), REAL(2)}},
    [DEFT_OP_RESIZE] = {.attrs = {STRING("mode", "cubic")},
                        .in = {REAL(1, 1, 3, 3), REAL(8), REAL(4), OF(DEFT_I64, 4)}},
    [DEFT_OP_UPSAMPLE] = {.attrs = {STRING("mode", "linear")}, .in = {REAL(2, 3), REAL(2)}},
    [DEFT_OP_EINSUM] = {.attrs = {STRING("equation", "...ij, jk")}, .in = {REAL(2, 2, 3), REAL(3, 4)}},
    [DEFT_OP_GEMM] = {.in = {REAL(2, 2), REAL(2, 2), REAL(2)}},
    [DEFT_OP_MATMUL] = {.in = {REAL(3, 2, 2), REAL(2, 2)}},
    [DEFT_OP_CONV] = {.in = {REAL(1, 2, 5, 4), REAL(2, 2, 2, 1), REAL(2)}},
    [DEFT_OP_BATCH_NORM] = {.in = {REAL(2, 3, 2), REAL(3), REAL(3), REAL(3), REAL(3)}},
    [DEFT_OP_CONCAT] = {.attrs = {INT("axis", 1)}, .in = {REAL(2, 3), REAL(2, 1), REAL(2, 2)}},
    [DEFT_OP_MAX_POOL] = {.attrs = {INTS("kernel_shape", 3, 2)}, .in = {REAL(2, 2, 6, 7)}},
    [DEFT_OP_AVERAGE_POOL] = {.attrs = {INTS("kernel_shape", 2, 3)}, .in = {REAL(2, 2, 6, 7)}},
    [DEFT_OP_MAX_POOL_GRAD] = {.attrs = {INTS("kernel_shape", 2, 2)}, .in = {REAL(1, 1, 4, 4), REAL(1, 1, 5, 5)}},
    [DEFT_OP_AVERAGE_POOL_GRAD] = {.attrs = {INTS("kernel_shape", 2, 2)}, .in = {REAL(1, 1, 4, 4), REAL(1, 1, 5, 5)}},
    [DEFT_OP_GLOBAL_AVERAGE_POOL_GRAD] = {.in = {REAL(2, 3, 1, 1), REAL(2, 3, 2, 2)}},
    [DEFT_OP_CONV_INPUT_GRAD] = {.in = {REAL(1, 2, 4, 4), REAL(2, 2, 2, 1), REAL(1, 2, 5, 4)}},
    [DEFT_OP_CONV_WEIGHT_GRAD] = {.in = {REAL(1, 2, 4, 4), REAL(1, 2, 5, 4), REAL(2, 2, 2, 1)}},
    [DEFT_OP_BATCH_NORM_TRAINING] = {.in = {REAL(2, 3, 2), REAL(3), REAL(3)}},
    [DEFT_OP_BATCH_NORM_GRAD] = {.in = {REAL(2, 3, 2), REAL(2, 3, 2), REAL(3), REAL(3), REAL(3)}},
    [DEFT_OP_SOFTMAX_CROSS_ENTROPY] = {.in = {REAL(2, 3), REAL(2, 3)}},
    [DEFT_OP_SOFTMAX_CROSS_ENTROPY_GRAD] = {.in = {{.dtype = DEFT_F32}, REAL(2, 3), REAL(2, 3)}},
    [DEFT_OP_MEAN_SQUARED_ERROR_GRAD] = {.in = {{.dtype = DEFT_F32}, REAL(2, 3), REAL(2, 3)}},
    [DEFT_OP_MEAN_PERCENTAGE_ERROR_GRAD] = {.in = {{.dtype = DEFT_F32}, REAL(2, 3), REAL(2, 3)}},
    [DEFT_OP_RESHAPE] = {.in = {REAL(2, 3), {.dtype = DEFT_I64, DIMS(2)}}},
    [DEFT_OP_SQUEEZE] = {.in = {REAL(1, 3, 1), {.dtype = DEFT_I64, DIMS(1)}}},
    [DEFT_OP_UNSQUEEZE] = {.in = {REAL(3), {.dtype = DEFT_I64, DIMS(1)}}},
    [DEFT_OP_UNARY_GRAD] = {.attrs = {INT("of", DEFT_OP_GELU)}, .in = {REAL(2, 3), REAL(2, 3)}},
    [DEFT_OP_MOVE_GRAD] = {.in = {REAL(2, 3), OF(DEFT_I32, 2, 3), REAL(4)}},
    [DEFT_OP_GATHER_GRAD] = {.attrs = {INT("axis", 0)}, .in = {REAL(3, 2), OF(DEFT_I64, 3), REAL(5, 2)}},
    [DEFT_OP_NORM_INPUT_GRAD] = {.attrs = {INT("of", DEFT_OP_LAYER_NORM)}, .in = {REAL(2, 3), REAL(2, 3), REAL(3)}},
    [DEFT_OP_NORM_SCALE_GRAD] = {.attrs = {INT("of", DEFT_OP_INSTANCE_NORM)},
                                 .in = {REAL(2, 3, 2), REAL(2, 3, 2), REAL(3)}},
    [DEFT_OP_LRN_GRAD] = {.attrs = {INT("size", 3)}, .in = {REAL(2, 5, 2), REAL(2, 5, 2)}},
    [DEFT_OP_LABEL_LOSS_GRAD] = {.attrs = {INT("of", DEFT_OP_SOFTMAX_CROSS_ENTROPY_LOSS)},
                                 .in = {{.dtype = DEFT_F32}, REAL(2, 4), OF(DEFT_I64, 2), REAL(4)}},
    [DEFT_OP_RECURRENT_BEFORE] = {.attrs = {INT("of", DEFT_OP_GRU)},
                                  .in = {REAL(3, 1, 2, 4), OF(DEFT_I32, 2), REAL(1, 2, 4)}},
    [DEFT_OP_RECURRENT_GRAD] = {.attrs = {INT("of", DEFT_OP_LSTM)},
                                .in = {REAL(1, 6, 16), REAL(1, 6, 16), REAL(1, 16, 4), REAL(1, 32), OF(DEFT_I32, 2),
                                       REAL(1, 2, 4), REAL(1, 2, 4), REAL(1, 12), REAL(3, 1, 2, 4), REAL(3, 1, 2, 4),
                                       REAL(1, 2, 4), REAL(1, 2, 4)}},
    [DEFT_OP_RESIZE_GRAD] = {.attrs = {INTS("axes", 1)}, .in = {REAL(1, 1), REAL(1, 1), REAL(1), REAL(1)}},
};

static void test_nonsense(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    for (int op = 0; op < DEFT_OP_COUNT; op++) {
        if (op == DEFT_OP_IF || op == DEFT_OP_LOOP || op == DEFT_OP_SCAN) continue; /* of graphs: ir/graph/control.c */
        deft_rng rng;
        deft_rng_init(&rng, 5, (uint64_t)op);
        if (deft_ops[op].shape == deft_shape_control) continue; /* control flow never runs by its forward */
        const op_case *like = fitting[op].in[0].dtype ? &fitting[op] : NULL;
        int ran = 0;
        for (int trial = 0; trial < TRIALS; trial++)
            ran += try_node(ctx, &rng, (deft_op)op, like);
        /* else the test would show nothing */
        if (ran < 20) fail_msg("%s ran %d times only", deft_ops[op].name, ran);
    }
    test_context_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_nonsense)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

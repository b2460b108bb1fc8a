#include "codegen/kernel/linear.h"

#include "ir/op/window.h"

static bool reject(const char **why, const char *text) {
    if (why) *why = text;
    return false;
}

static const deft_tensor *input(const deft_request *request, int index) {
    return index < request->call.in_count ? request->call.in[index] : NULL;
}

/* The bias of a Gemm, which must broadcast to the output along n: [m] or [1, m], or [m, 1] where the weight is on the
 * left. */
static bool read_gemm_bias(const deft_request *request, deft_linear *linear, const char **why) {
    const deft_tensor *c = input(request, 2);
    linear->bias_scale = deft_attr_float(request->call.attrs, "beta", 1.0f);
    if (!c || linear->bias_scale == 0) return true;
    bool left = linear->input == 1;
    int64_t columns = c->rank >= 1 ? c->dims[c->rank - 1] : 1, rows = c->rank >= 2 ? c->dims[c->rank - 2] : 1;
    int64_t along_m = left ? rows : columns, along_n = left ? columns : rows;
    if (c->rank > 2 || along_n != 1 || (along_m != 1 && along_m != linear->m))
        return reject(why, left ? "the bias differs between columns of the output"
                                : "the bias differs between rows of the output");
    if (!c->data) return reject(why, "the bias is not constant");
    linear->bias = c->data;
    linear->bias_stride = along_m != 1;
    return true;
}

/* `columns` of each of n matrices: a picture of one row. One column is a row of an ordinary product. */
static void set_columns(deft_linear *linear, int64_t columns) {
    if (columns == 1) return;
    linear->conv = true;
    linear->channels_in = linear->k;
    linear->in_width = linear->out_width = columns;
    linear->in_height = linear->out_height = linear->kernel_height = linear->kernel_width = 1;
    linear->stride_y = linear->stride_x = linear->dilation_y = linear->dilation_x = 1;
}

static bool read_left_product(const deft_request *request, deft_linear *linear, const char **why) {
    const deft_attrs *attrs = request->call.attrs;
    const deft_tensor *w = input(request, 0), *x = input(request, 1);
    bool gemm = request->call.op == DEFT_OP_GEMM;
    if (gemm && deft_attr_int(attrs, "transB", 0) != 0) return reject(why, "the input is transposed");
    if (w->rank != 2 || x->rank < 1) return reject(why, "the weight is not a matrix");
    if (request->in_layout != DEFT_LAYOUT_ROWS || request->out_layout != DEFT_LAYOUT_ROWS)
        return reject(why, "panels are for weights on the right");
    bool transposed = gemm && deft_attr_int(attrs, "transA", 0) != 0;
    linear->m = w->dims[transposed ? 1 : 0];
    linear->k = w->dims[transposed ? 0 : 1];
    linear->n = 1;
    for (int i = 0; i < x->rank - 2; i++)
        linear->n *= x->dims[i];
    linear->row_stride = transposed ? 1 : linear->k;
    linear->column_stride = transposed ? linear->m : 1;
    linear->groups = 1;
    int64_t columns = x->rank < 2 ? 1 : x->dims[x->rank - 1];
    if (columns == 0) return reject(why, "nothing to compute");
    set_columns(linear, columns);
    if (!gemm) return true;
    linear->scale = deft_attr_float(attrs, "alpha", 1.0f);
    return read_gemm_bias(request, linear, why);
}

static bool read_product(const deft_request *request, deft_linear *linear, const char **why) {
    const deft_attrs *attrs = request->call.attrs;
    const deft_tensor *x = input(request, 0), *w = input(request, 1);
    bool gemm = request->call.op == DEFT_OP_GEMM;
    if (gemm && deft_attr_int(attrs, "transA", 0) != 0) return reject(why, "the input is transposed");
    if (w->rank != 2 || x->rank < 1) return reject(why, "the weight is not a matrix");
    bool transposed = gemm && deft_attr_int(attrs, "transB", 0) != 0;
    linear->m = w->dims[transposed ? 0 : 1];
    linear->k = w->dims[transposed ? 1 : 0];
    linear->n = 1;
    for (int i = 0; i < x->rank - 1; i++)
        linear->n *= x->dims[i];
    linear->row_stride = transposed ? linear->k : 1;
    linear->column_stride = transposed ? 1 : linear->m;
    linear->groups = 1;
    if (!gemm) return true;
    linear->scale = deft_attr_float(attrs, "alpha", 1.0f);
    return read_gemm_bias(request, linear, why);
}

static bool read_convolution(const deft_request *request, deft_linear *linear, const char **why) {
    const deft_tensor *x = input(request, 0), *w = input(request, 1), *bias = input(request, 2);
    if (x->rank > 4) return reject(why, "the convolution has more than two spatial dimensions");
    deft_window window;
    if (deft_window_of_conv(&request->call, x, w, &window) != DEFT_OK) return reject(why, "the shapes do not fit");
    if (bias && !bias->data) return reject(why, "the bias is not constant");
    linear->conv = true;
    linear->n = window.batch;
    linear->groups = window.groups;
    linear->channels_in = window.channels;
    linear->m = window.filters / window.groups;
    linear->k = window.channels / window.groups * window.kernel[0] * window.kernel[1];
    linear->row_stride = linear->k;
    linear->column_stride = 1;
    linear->bias = bias ? bias->data : NULL;
    linear->bias_stride = 1;
    linear->in_height = window.in[0], linear->in_width = window.in[1];
    linear->out_height = window.out[0], linear->out_width = window.out[1];
    linear->kernel_height = window.kernel[0], linear->kernel_width = window.kernel[1];
    linear->stride_y = window.stride[0], linear->stride_x = window.stride[1];
    linear->dilation_y = window.dilation[0], linear->dilation_x = window.dilation[1];
    linear->pad_top = window.pad_begin[0], linear->pad_left = window.pad_begin[1];
    linear->pad_bottom = window.pad_end[0], linear->pad_right = window.pad_end[1];
    return true;
}

int64_t deft_linear_count_nonzeros(const float *values, int64_t count) {
    enum { BLOCK = 65536 }; /* its count fits in lanes as wide as a float */
    int64_t nonzeros = 0;
    for (int64_t begin = 0; begin < count; begin += BLOCK) {
        int64_t end = count - begin < BLOCK ? count : begin + BLOCK;
        int32_t found = 0;
#pragma omp simd reduction(+ : found)
        for (int64_t i = begin; i < end; i++)
            found += values[i] != 0;
        nonzeros += found;
    }
    return nonzeros;
}

int deft_linear_weight(const deft_op_call *call) {
    for (int i = 1; i >= 0; i--)
        if (i < call->in_count && call->in[i] && call->in[i]->data) return i;
    return -1;
}

bool deft_linear_of(const deft_request *request, deft_linear *linear, const char **why) {
    const deft_op_call *call = &request->call;
    if (call->op != DEFT_OP_GEMM && call->op != DEFT_OP_MATMUL && call->op != DEFT_OP_CONV)
        return reject(why, "not a Gemm, MatMul or Conv");
    if (request->in_layout == DEFT_LAYOUT_BLOCKS || request->out_layout == DEFT_LAYOUT_BLOCKS)
        return reject(why, "it reads and writes no blocks");
    if (request->function) return reject(why, "it applies no function but minimum and maximum");
    for (int i = 0; i < call->in_count; i++)
        if (call->in[i] && call->in[i]->dtype != DEFT_F32) return reject(why, "not f32");
    int weight = deft_linear_weight(call);
    bool left = weight == 0, conv = call->op == DEFT_OP_CONV;
    if (weight < 0 || (conv && left) || !input(request, 0) || !input(request, 1))
        return reject(why, "the weight is not constant");
    const deft_tensor *w = input(request, weight);
    *linear = (deft_linear){.input = left, .weight = w->data, .scale = 1, .bias_scale = 1};
    if (!(conv ? read_convolution : left ? read_left_product : read_product)(request, linear, why)) return false;
    linear->weights = deft_tensor_count(w);
    linear->nonzeros =
        request->nonzeros ? request->nonzeros : deft_linear_count_nonzeros(linear->weight, linear->weights);
    return true;
}

const float *deft_linear_row(const deft_linear *l, int64_t row) {
    return l->weight + row / l->m * l->m * l->k + row % l->m * l->row_stride;
}

/* Quantised numbers: x = (q - zero) * scale. QuantizeLinear and back, and products of quantised operands, whose sums
 * are exact in i32 (and wrap beyond it). Rounding is to nearest, halves to even; what does not fit is saturated. */
#include "ir/op/element.h"
#include "ir/op/nest.h"
#include "ir/op/product.h"
#include "ir/op/rule.h"
#include "ir/op/window.h"

#include <math.h>

/* An element of a scale or zero point, which is one for all or one for each `i`; 0 where it is absent. */
static int64_t zero_at(const deft_tensor *zero, int64_t i) {
    if (!zero) return 0;
    return deft_element_integer(zero, deft_tensor_count(zero) == 1 ? 0 : i);
}

static double scale_at(const deft_tensor *scale, int64_t i) {
    return deft_element_real(scale, deft_tensor_count(scale) == 1 ? 0 : i);
}

static void put_saturated(deft_tensor *y, int64_t i, double value) {
    bool is_signed = y->dtype == DEFT_I8 || y->dtype == DEFT_I16;
    double range = deft_dtype_bytes(y->dtype) == 1 ? UINT8_MAX + 1 : UINT16_MAX + 1;
    double low = is_signed ? -range / 2 : 0, high = low + range - 1;
    deft_element_set_integer(y, i, (int64_t)(value > low ? value < high ? value : high : low)); /* NaN: the lowest */
}

static deft_status require_bytes(const deft_op_call *call, int i) {
    const deft_tensor *in = deft_rule_in(call, i);
    if (!in || in->dtype == DEFT_U8 || in->dtype == DEFT_I8) return DEFT_OK;
    return deft_rule_fail(call, DEFT_UNSUPPORTED, "input %d is %s; only u8 and i8 are supported", i,
                          deft_dtype_name(in->dtype));
}

/* The types of QuantizeLinear and DequantizeLinear, 16 bits too. */
static deft_status require_narrow(const deft_op_call *call, int i) {
    const deft_tensor *in = deft_rule_in(call, i);
    return in && (in->dtype == DEFT_U16 || in->dtype == DEFT_I16) ? DEFT_OK : require_bytes(call, i);
}

/* Input `i`, where it is there, has one element or `count`; with a type of 0, any type. */
static deft_status require_parameter(const deft_op_call *call, int i, deft_dtype dtype, int64_t count) {
    const deft_tensor *in = deft_rule_in(call, i);
    if (!in) return DEFT_OK;
    int64_t got = deft_tensor_count(in);
    if (dtype == DEFT_F32 && deft_rule_types(in->dtype) == DEFT_TYPES_HALF)
        return deft_rule_fail(call, DEFT_UNSUPPORTED, "input %d is %s; only f32 is supported", i,
                              deft_dtype_name(in->dtype));
    if (in->dtype == dtype && (got == 1 || got == count)) return DEFT_OK;
    return deft_rule_fail(call, DEFT_INVALID, "input %d must be %s of 1 or %lld elements, got %lld of %s", i,
                          deft_dtype_name(dtype), (long long)count, (long long)got, deft_dtype_name(in->dtype));
}

/* ---- QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear ---- */

/* Which parameter an element of x has: x is [outer][length][inner] with one for each index of the middle; or, by
 * blocks, one for each `block` of those, and each outer and inner index. All of x is one where there is one for all. */
typedef struct layout {
    deft_lines lines;
    int64_t block, blocks; /* block 0: not by blocks */
} layout;

static deft_status find_layout(const deft_op_call *call, layout *out) {
    const deft_tensor *x = call->in[0], *scale = call->in[1];
    int axis;
    *out = (layout){.lines = {1, 1, deft_tensor_count(x)}};
    int64_t block = deft_attr_int(call->attrs, "block_size", 0);
    if (block < 0) return deft_rule_fail(call, DEFT_INVALID, "blocks of %lld elements", (long long)block);
    if (deft_tensor_count(scale) == 1 && block == 0) return DEFT_OK;
    DEFT_TRY(deft_rule_axis(call, deft_attr_int(call->attrs, "axis", 1), x->rank, &axis));
    out->lines = deft_rule_lines(x, axis);
    if (block == 0) return DEFT_OK;
    deft_tensor expected = *x;
    expected.dtype = scale->dtype;
    out->block = block;
    out->blocks = expected.dims[axis] = x->dims[axis] / block + (x->dims[axis] % block != 0);
    return deft_rule_require_shape(call, 1, &expected, "one for each block,");
}

static int64_t parameter_of(const layout *l, int64_t i) {
    int64_t at = l->lines.length ? i / l->lines.inner % l->lines.length : 0;
    if (l->block == 0) return at;
    int64_t outer = i / (l->lines.inner * l->lines.length);
    return (outer * l->blocks + at / l->block) * l->lines.inner + i % l->lines.inner;
}

static deft_status check_parameters(const deft_op_call *call, deft_dtype quantized) {
    layout l;
    if (call->in[1]->dtype != DEFT_F32)
        return deft_rule_fail(call, DEFT_UNSUPPORTED, "the scale is %s; only f32 is supported",
                              deft_dtype_name(call->in[1]->dtype));
    DEFT_TRY(find_layout(call, &l));
    int64_t count = l.block ? deft_tensor_count(call->in[1]) : l.lines.length;
    DEFT_TRY(require_parameter(call, 1, DEFT_F32, count));
    return require_parameter(call, 2, quantized, count);
}

deft_status deft_shape_quantize(const deft_op_call *call) {
    const deft_tensor *zero = deft_rule_in(call, 2);
    int64_t wanted = deft_attr_int(call->attrs, "output_dtype", 0);
    deft_dtype dtype = zero ? zero->dtype : wanted >= DEFT_U8 && wanted <= DEFT_I16 ? (deft_dtype)wanted : DEFT_U8;
    DEFT_TRY(require_narrow(call, 2));
    if (wanted && wanted != (int64_t)dtype)
        return deft_rule_fail(call, DEFT_UNSUPPORTED, "to ONNX's data type %lld", (long long)wanted);
    if (call->in[0]->dtype != DEFT_F32 && call->in[0]->dtype != DEFT_I32)
        return deft_rule_fail(call, DEFT_UNSUPPORTED, "input 0 is %s; only f32 and i32 are supported",
                              deft_dtype_name(call->in[0]->dtype));
    DEFT_TRY(check_parameters(call, dtype));
    return deft_rule_set_out(call, 0, dtype, call->in[0]->rank, call->in[0]->dims);
}

deft_status deft_forward_quantize(const deft_op_call *call) {
    const deft_tensor *x = call->in[0];
    layout l;
    DEFT_TRY(find_layout(call, &l));
    for (int64_t i = 0; i < deft_tensor_count(x); i++) {
        int64_t channel = parameter_of(&l, i);
        float scaled = (float)deft_element_real(x, i) / (float)scale_at(call->in[1], channel);
        put_saturated(call->out[0], i, (double)rintf(scaled) + (double)zero_at(deft_rule_in(call, 2), channel));
    }
    return DEFT_OK;
}

deft_status deft_shape_dequantize(const deft_op_call *call) {
    const deft_tensor *x = call->in[0];
    if (x->dtype != DEFT_I32) DEFT_TRY(require_narrow(call, 0));
    DEFT_TRY(check_parameters(call, x->dtype));
    return deft_rule_set_out(call, 0, DEFT_F32, x->rank, x->dims);
}

deft_status deft_forward_dequantize(const deft_op_call *call) {
    const deft_tensor *x = call->in[0];
    float *y = call->out[0]->data;
    layout l;
    DEFT_TRY(find_layout(call, &l));
    for (int64_t i = 0; i < deft_tensor_count(x); i++) {
        int64_t channel = parameter_of(&l, i);
        int64_t offset = deft_element_integer(x, i) - zero_at(deft_rule_in(call, 2), channel);
        y[i] = (float)offset * (float)scale_at(call->in[1], channel);
    }
    return DEFT_OK;
}

deft_status deft_shape_dynamic_quantize(const deft_op_call *call) {
    if (call->in[0]->dtype != DEFT_F32)
        return deft_rule_fail(call, DEFT_UNSUPPORTED, "input 0 is %s; only f32 is supported",
                              deft_dtype_name(call->in[0]->dtype));
    DEFT_TRY(deft_rule_set_out(call, 0, DEFT_U8, call->in[0]->rank, call->in[0]->dims));
    DEFT_TRY(deft_rule_set_out(call, 1, DEFT_F32, 0, NULL));
    return deft_rule_set_out(call, 2, DEFT_U8, 0, NULL);
}

/* The range is that of the elements and 0, in 255 steps. */
deft_status deft_forward_dynamic_quantize(const deft_op_call *call) {
    const float *x = call->in[0]->data;
    int64_t count = deft_tensor_count(call->in[0]);
    float low = 0, high = 0;
    for (int64_t i = 0; i < count; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    float scale = (high - low) / 255, divisor = scale > 0 ? scale : 1;
    float zero = rintf(fminf(fmaxf(-low / divisor, 0), 255));
    for (int64_t i = 0; i < count && call->out[0]; i++)
        put_saturated(call->out[0], i, (double)(rintf(x[i] / divisor) + zero));
    if (deft_rule_out(call, 1)) *(float *)call->out[1]->data = scale;
    if (deft_rule_out(call, 2)) *(uint8_t *)call->out[2]->data = (uint8_t)zero;
    return DEFT_OK;
}

/* ---- products ---- */

/* Where an operator has its operands and their parameters: -1 where it has none. */
typedef struct product_inputs {
    int a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero, bias;
} product_inputs;

static product_inputs inputs_of(deft_op op) {
    bool integer = op == DEFT_OP_MATMUL_INTEGER || op == DEFT_OP_CONV_INTEGER;
    if (integer) return (product_inputs){0, -1, 2, 1, -1, 3, -1, -1, -1};
    return (product_inputs){0, 1, 2, 3, 4, 5, 6, 7, op == DEFT_OP_QLINEAR_CONV ? 8 : -1};
}

/* `a_count`, `b_count`: how many parameters an operand may have. */
static deft_status check_product(const deft_op_call *call, const product_inputs *in, int64_t a_count, int64_t b_count) {
    DEFT_TRY(require_bytes(call, in->a));
    DEFT_TRY(require_bytes(call, in->b));
    DEFT_TRY(require_parameter(call, in->a_zero, call->in[in->a]->dtype, a_count));
    DEFT_TRY(require_parameter(call, in->b_zero, call->in[in->b]->dtype, b_count));
    DEFT_TRY(require_parameter(call, in->a_scale, DEFT_F32, a_count));
    DEFT_TRY(require_parameter(call, in->b_scale, DEFT_F32, b_count));
    DEFT_TRY(require_parameter(call, in->y_scale, DEFT_F32, 1));
    if (in->y_zero < 0) return DEFT_OK;
    DEFT_TRY(require_bytes(call, in->y_zero));
    return deft_rule_require_scalar(call, in->y_zero);
}

static deft_dtype product_type(const deft_op_call *call, const product_inputs *in) {
    return in->y_zero < 0 ? DEFT_I32 : call->in[in->y_zero]->dtype;
}

/* Stores a sum; a_at and b_at say which of the operands' parameters count. */
static void put_sum(const deft_op_call *call, const product_inputs *in, int64_t i, uint64_t sum, int64_t a_at,
                    int64_t b_at) {
    int32_t exact = (int32_t)(uint32_t)sum;
    if (in->y_scale < 0) {
        ((int32_t *)call->out[0]->data)[i] = exact;
        return;
    }
    double scale = scale_at(call->in[in->a_scale], a_at) * scale_at(call->in[in->b_scale], b_at);
    double scaled = rint(exact * scale / scale_at(call->in[in->y_scale], 0));
    put_saturated(call->out[0], i, scaled + (double)zero_at(call->in[in->y_zero], 0));
}

deft_status deft_shape_matmul_quantized(const deft_op_call *call) {
    product_inputs in = inputs_of(call->op);
    deft_matrix_stack stack;
    int64_t dims[DEFT_MAX_RANK + 2];
    DEFT_TRY(deft_matrix_stack_resolve(call, in.a, in.b, &stack));
    DEFT_TRY(check_product(call, &in, stack.m, stack.n));
    int rank = deft_matrix_stack_shape(call, in.a, in.b, &stack, dims);
    return deft_rule_set_out(call, 0, product_type(call, &in), rank, dims);
}

/* One product of matrices; a, b and y are the offsets of their first elements. */
static void multiply(const deft_op_call *call, const product_inputs *in, const deft_matrix_stack *stack, int64_t a,
                     int64_t b, int64_t y) {
    for (int64_t row = 0; row < stack->m; row++)
        for (int64_t column = 0; column < stack->n; column++) {
            int64_t a_zero = zero_at(deft_rule_in(call, in->a_zero), row);
            int64_t b_zero = zero_at(deft_rule_in(call, in->b_zero), column);
            uint64_t sum = 0;
            for (int64_t i = 0; i < stack->k; i++)
                sum += (uint64_t)((deft_element_integer(call->in[in->a], a + row * stack->k + i) - a_zero) *
                                  (deft_element_integer(call->in[in->b], b + i * stack->n + column) - b_zero));
            put_sum(call, in, y + row * stack->n + column, sum, row, column);
        }
}

deft_status deft_forward_matmul_quantized(const deft_op_call *call) {
    product_inputs in = inputs_of(call->op);
    deft_matrix_stack stack;
    deft_nest nest;
    DEFT_TRY(deft_matrix_stack_resolve(call, in.a, in.b, &stack));
    deft_matrix_stack_nest(&stack, &nest);
    for (int64_t i = 0; i < nest.count; i++) {
        deft_nest_row row = deft_nest_row_at(&nest, i, i + 1);
        multiply(call, &in, &stack, row.offset[0] * stack.m * stack.k, row.offset[1] * stack.k * stack.n,
                 i * stack.m * stack.n);
    }
    return DEFT_OK;
}

deft_status deft_shape_conv_quantized(const deft_op_call *call) {
    product_inputs in = inputs_of(call->op);
    deft_window window;
    deft_tensor out = {.dtype = DEFT_I32};
    DEFT_TRY(deft_window_of_conv(call, call->in[in.a], call->in[in.b], &window));
    DEFT_TRY(check_product(call, &in, 1, window.filters));
    deft_tensor bias = {.dtype = DEFT_I32, .rank = 1, .dims = {window.filters}};
    if (deft_rule_in(call, in.bias)) DEFT_TRY(deft_rule_require_shape(call, in.bias, &bias, "a bias for each filter,"));
    deft_window_out_shape(&window, &out);
    out.dtype = product_type(call, &in);
    return deft_rule_set_out_like(call, 0, &out);
}

/* The sum of one output: what the padding holds stands for 0, and adds nothing. */
static uint64_t convolve(const deft_op_call *call, const product_inputs *in, const deft_window *w, int64_t image,
                         int64_t filter, int64_t oy, int64_t ox) {
    const deft_tensor *x = call->in[in->a], *weight = call->in[in->b];
    int64_t depth = w->channels / w->groups, first = filter / (w->filters / w->groups) * depth;
    int64_t x_zero = zero_at(deft_rule_in(call, in->a_zero), 0),
            w_zero = zero_at(deft_rule_in(call, in->b_zero), filter);
    int64_t y_begin, y_end, x_begin, x_end;
    uint64_t sum = 0;
    deft_window_taps(w, 0, oy, &y_begin, &y_end);
    deft_window_taps(w, 1, ox, &x_begin, &x_end);
    for (int64_t c = 0; c < depth; c++)
        for (int64_t ky = y_begin; ky < y_end; ky++)
            for (int64_t kx = x_begin; kx < x_end; kx++) {
                int64_t iy = oy * w->stride[0] + ky * w->dilation[0] - w->pad_begin[0];
                int64_t ix = ox * w->stride[1] + kx * w->dilation[1] - w->pad_begin[1];
                int64_t at = ((image * w->channels + first + c) * w->in[0] + iy) * w->in[1] + ix;
                int64_t tap = ((filter * depth + c) * w->kernel[0] + ky) * w->kernel[1] + kx;
                sum +=
                    (uint64_t)((deft_element_integer(x, at) - x_zero) * (deft_element_integer(weight, tap) - w_zero));
            }
    return sum;
}

deft_status deft_forward_conv_quantized(const deft_op_call *call) {
    product_inputs in = inputs_of(call->op);
    deft_window w;
    DEFT_TRY(deft_window_of_conv(call, call->in[in.a], call->in[in.b], &w));
    const deft_tensor *bias = deft_rule_in(call, in.bias);
    int64_t plane = w.out[0] * w.out[1], count = w.batch * w.filters * plane;
    int threads = deft_rule_threads(call, count);
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < count; i++) {
        int64_t filter = i / plane % w.filters, at = i % plane;
        uint64_t sum = convolve(call, &in, &w, i / plane / w.filters, filter, at / w.out[1], at % w.out[1]);
        put_sum(call, &in, i, sum + (bias ? (uint64_t)deft_element_integer(bias, filter) : 0), 0, filter);
    }
    return DEFT_OK;
}

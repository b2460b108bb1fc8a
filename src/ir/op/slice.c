/* Parts of tensors, and tensors of parts: Slice, Split, Expand, Tile, Pad, DepthToSpace, SpaceToDepth, Trilu. Any type.
 */
#include "ir/op/element.h"
#include "ir/op/move.h"
#include "ir/op/rule.h"

#include <string.h>

/* ---- Slice ---- */

typedef struct slice {
    int64_t start[DEFT_MAX_RANK], step[DEFT_MAX_RANK], count[DEFT_MAX_RANK];
} slice;

static int64_t clamp(int64_t value, int64_t low, int64_t high) {
    return value < low ? low : value > high ? high : value;
}

/* One axis of `size`: bounds count from the end where they are negative, and are moved to the ends where outside. */
static void slice_axis(int64_t size, int64_t start, int64_t end, int64_t step, int64_t *first, int64_t *count) {
    if (start < 0) start = start < -size ? -1 : start + size;
    if (end < 0) end = end < -size ? -1 : end + size;
    *first = step > 0 ? clamp(start, 0, size) : clamp(start, -1, size - 1);
    end = step > 0 ? clamp(end, 0, size) : clamp(end, -1, size);
    int64_t span = step > 0 ? end - *first : *first - end;
    uint64_t stride = step > 0 ? (uint64_t)step : 0 - (uint64_t)step;
    *count = span <= 0 ? 0 : 1 + (int64_t)((uint64_t)(span - 1) / stride);
}

/* From attributes before opset 10, from inputs 1 to 4 after. */
static deft_status read_slice(const deft_op_call *call, slice *out) {
    static const char *const names[] = {"starts", "ends", "axes", "steps"};
    const deft_tensor *x = call->in[0];
    int64_t lists[4][DEFT_MAX_RANK];
    int counts[4];
    bool given[4], seen[DEFT_MAX_RANK] = {false};
    for (int i = 0; i < 4; i++)
        DEFT_TRY(deft_rule_read_list(call, call->opset < 10 ? -1 : i + 1, names[i], lists[i], DEFT_MAX_RANK, &counts[i],
                                     &given[i]));
    for (int i = 0; i < 4; i++)
        if (given[i] ? counts[i] != counts[0] : i < 2)
            return deft_rule_fail(call, DEFT_INVALID, "%s must be as many as starts", names[i]);
    for (int i = 0; i < x->rank; i++) {
        out->start[i] = 0;
        out->step[i] = 1;
        out->count[i] = x->dims[i];
    }
    for (int i = 0; i < counts[0]; i++) {
        int axis = 0;
        int64_t step = given[3] ? lists[3][i] : 1;
        DEFT_TRY(deft_rule_axis(call, given[2] ? lists[2][i] : i, x->rank, &axis));
        if (seen[axis] || step == 0)
            return deft_rule_fail(call, DEFT_INVALID, step ? "axis %d is given twice" : "the step of axis %d is 0",
                                  axis);
        seen[axis] = true;
        out->step[axis] = step;
        slice_axis(x->dims[axis], lists[0][i], lists[1][i], step, &out->start[axis], &out->count[axis]);
    }
    return DEFT_OK;
}

deft_status deft_shape_slice(const deft_op_call *call) {
    slice part;
    DEFT_TRY(read_slice(call, &part));
    return deft_rule_set_out(call, 0, call->in[0]->dtype, call->in[0]->rank, part.count);
}

/* Copies the part of x that begins at `start`; a step counts only where it is taken, and may be enormous else. */
static void move_part(const deft_op_call *call, const deft_tensor *x, const int64_t *start, const int64_t *step,
                      const deft_tensor *y) {
    int64_t strides[DEFT_MAX_RANK], offset = 0;
    size_t bytes = deft_dtype_bytes(x->dtype);
    deft_rule_strides(x, strides);
    for (int i = 0; i < x->rank; i++) {
        offset += start[i] * strides[i];
        strides[i] = y->dims[i] > 1 && step ? strides[i] * step[i] : strides[i];
    }
    deft_move_strided(call, bytes, (const char *)x->data + offset * (int64_t)bytes, y->rank, y->dims, strides, y->data);
}

deft_status deft_forward_slice(const deft_op_call *call) {
    slice part;
    DEFT_TRY(read_slice(call, &part));
    move_part(call, call->in[0], part.start, part.step, call->out[0]);
    return DEFT_OK;
}

/* ---- Split ---- */

/* The sizes of the outputs along the axis: as given, else equal (from opset 18 on with a smaller last one). */
static deft_status read_split(const deft_op_call *call, int *axis, int64_t sizes[64]) {
    const deft_tensor *x = call->in[0];
    int64_t sum = 0, outputs = deft_attr_int(call->attrs, "num_outputs", call->out_count);
    int count;
    bool given;
    DEFT_TRY(deft_rule_axis(call, deft_attr_int(call->attrs, "axis", 0), x->rank, axis));
    DEFT_TRY(deft_rule_read_list(call, call->opset < 13 ? -1 : 1, "split", sizes, 64, &count, &given));
    if (given ? count != call->out_count : outputs != call->out_count)
        return deft_rule_fail(call, DEFT_INVALID, "into %lld parts, but there are %d outputs",
                              (long long)(given ? count : outputs), call->out_count);
    int64_t size = x->dims[*axis], part = (size + call->out_count - 1) / call->out_count;
    if (!given && call->opset < 18 && part * call->out_count != size)
        return deft_rule_fail(call, DEFT_INVALID, "dimension %d is %lld; it cannot be split into %d equal parts", *axis,
                              (long long)size, call->out_count);
    for (int i = 0; i < call->out_count; i++) {
        if (!given) sizes[i] = clamp(size - i * part, 0, part);
        if (sizes[i] < 0 || sizes[i] > size - sum)
            return deft_rule_fail(call, DEFT_INVALID, "the parts must not be negative and add up to %lld",
                                  (long long)size);
        sum += sizes[i];
    }
    if (sum == size) return DEFT_OK;
    return deft_rule_fail(call, DEFT_INVALID, "the parts add up to %lld, not to %lld", (long long)sum, (long long)size);
}

deft_status deft_shape_split(const deft_op_call *call) {
    int64_t sizes[64];
    int axis;
    DEFT_TRY(read_split(call, &axis, sizes));
    for (int i = 0; i < call->out_count; i++) {
        deft_tensor out = *call->in[0];
        out.dims[axis] = sizes[i];
        DEFT_TRY(deft_rule_set_out_like(call, i, &out));
    }
    return DEFT_OK;
}

deft_status deft_forward_split(const deft_op_call *call) {
    int64_t sizes[64], start[DEFT_MAX_RANK] = {0};
    int axis;
    DEFT_TRY(read_split(call, &axis, sizes));
    for (int i = 0; i < call->out_count; i++) {
        if (call->out[i] && deft_tensor_count(call->out[i]) > 0)
            move_part(call, call->in[0], start, NULL, call->out[i]);
        start[axis] += sizes[i];
    }
    return DEFT_OK;
}

/* ---- Expand, Tile ---- */

deft_status deft_shape_expand(const deft_op_call *call) {
    const deft_tensor *x = call->in[0];
    deft_tensor wanted = {.dtype = x->dtype}, out = {.dtype = x->dtype};
    DEFT_TRY(deft_rule_read_integers(call, 1, "the shape", wanted.dims, DEFT_MAX_RANK, &wanted.rank));
    if (!deft_shape_valid(wanted.dtype, wanted.rank, wanted.dims) || !deft_broadcast(x, &wanted, &out)) {
        char from[DEFT_SHAPE_TEXT_BYTES], to[DEFT_SHAPE_TEXT_BYTES];
        return deft_rule_fail(call, DEFT_INVALID, "shape %s cannot be expanded to %s",
                              deft_shape_text(x, from, sizeof from), deft_shape_text(&wanted, to, sizeof to));
    }
    return deft_rule_set_out_like(call, 0, &out);
}

deft_status deft_forward_expand(const deft_op_call *call) {
    const deft_tensor *x = call->in[0], *y = call->out[0];
    int64_t strides[DEFT_MAX_RANK];
    deft_broadcast_strides(x, y, strides);
    deft_move_strided(call, deft_dtype_bytes(x->dtype), x->data, y->rank, y->dims, strides, y->data);
    return DEFT_OK;
}

deft_status deft_shape_tile(const deft_op_call *call) {
    int64_t repeats[DEFT_MAX_RANK];
    deft_tensor out = *call->in[0];
    int count;
    DEFT_TRY(deft_rule_read_integers(call, 1, "repeats", repeats, DEFT_MAX_RANK, &count));
    if (count != out.rank) return deft_rule_fail(call, DEFT_INVALID, "%d repeats for %d dimensions", count, out.rank);
    for (int i = 0; i < count; i++)
        if (repeats[i] < 0 || __builtin_mul_overflow(out.dims[i], repeats[i], &out.dims[i])) out.dims[i] = -1;
    return deft_rule_set_out_like(call, 0, &out);
}

/* A row of the output repeats a row of the input. */
deft_status deft_forward_tile(const deft_op_call *call) {
    const deft_tensor *x = call->in[0], *y = call->out[0];
    size_t bytes = deft_dtype_bytes(x->dtype);
    int last = x->rank - 1;
    if (x->rank == 0) return deft_forward_copy(call);
    int64_t rows = deft_rule_product(y->dims, 0, last), strides[DEFT_MAX_RANK];
    size_t row_bytes = (size_t)x->dims[last] * bytes;
    deft_rule_strides(x, strides);
    for (int64_t row = 0; row < rows; row++) {
        int64_t offset = 0, rest = row;
        for (int i = last - 1; i >= 0; i--) {
            offset += rest % y->dims[i] % x->dims[i] * strides[i];
            rest /= y->dims[i];
        }
        char *to = (char *)y->data + (size_t)row * (size_t)y->dims[last] * bytes;
        for (int64_t i = 0; i < y->dims[last]; i += x->dims[last])
            memcpy(to + (size_t)i * bytes, (const char *)x->data + (size_t)offset * bytes, row_bytes);
    }
    return DEFT_OK;
}

/* ---- Pad ---- */

typedef enum pad_mode { PAD_CONSTANT, PAD_REFLECT, PAD_EDGE, PAD_WRAP, PAD_MODES } pad_mode;

typedef struct padding {
    int64_t begin[DEFT_MAX_RANK], end[DEFT_MAX_RANK];
    pad_mode mode;
} padding;

static deft_status read_pad_mode(const deft_op_call *call, pad_mode *mode) {
    static const char *const modes[] = {"constant", "reflect", "edge", "wrap"};
    const char *name = deft_attr_string(call->attrs, "mode", "constant");
    for (int i = 0; i < PAD_MODES; i++) {
        if (strcmp(name, modes[i]) != 0) continue;
        *mode = (pad_mode)i;
        return DEFT_OK;
    }
    return deft_rule_fail(call, DEFT_UNSUPPORTED, "the mode '%.32s' is none of constant, reflect, edge, wrap", name);
}

/* Before opset 11 from attributes, after from inputs: pads, value and (opset 18) axes. */
static deft_status read_padding(const deft_op_call *call, padding *out) {
    const deft_tensor *x = call->in[0];
    int64_t pads[2 * DEFT_MAX_RANK], axes[DEFT_MAX_RANK];
    int count, axis_count = x->rank;
    bool given, some;
    *out = (padding){.mode = PAD_CONSTANT};
    DEFT_TRY(read_pad_mode(call, &out->mode));
    DEFT_TRY(deft_rule_read_list(call, call->opset < 11 ? -1 : 1, "pads", pads, 2 * DEFT_MAX_RANK, &count, &given));
    DEFT_TRY(deft_rule_read_list(call, 3, "axes", axes, DEFT_MAX_RANK, &axis_count, &some));
    if (!some) axis_count = x->rank;
    if (count != 2 * axis_count)
        return deft_rule_fail(call, DEFT_INVALID, "%d pads for %d dimensions; two for each are needed", count,
                              axis_count);
    for (int i = 0; i < axis_count; i++) {
        int axis = 0;
        DEFT_TRY(deft_rule_axis(call, some ? axes[i] : i, x->rank, &axis));
        out->begin[axis] = pads[i];
        out->end[axis] = pads[i + axis_count];
    }
    return DEFT_OK;
}

deft_status deft_shape_pad(const deft_op_call *call) {
    const int64_t most = (int64_t)1 << 47;
    padding pad;
    deft_tensor out = *call->in[0];
    DEFT_TRY(read_padding(call, &pad));
    if (deft_rule_in(call, 2)) {
        DEFT_TRY(deft_rule_require_scalar(call, 2));
        if (call->in[2]->dtype != out.dtype)
            return deft_rule_fail(call, DEFT_INVALID, "the value is %s, the tensor %s",
                                  deft_dtype_name(call->in[2]->dtype), deft_dtype_name(out.dtype));
    }
    for (int i = 0; i < out.rank; i++) {
        int64_t size = out.dims[i], begin = pad.begin[i], end = pad.end[i];
        bool fits = begin > -most && begin < most && end > -most && end < most;
        if (fits && pad.mode == PAD_REFLECT) fits = (begin < size && end < size) || (begin <= 0 && end <= 0);
        if (fits && pad.mode != PAD_CONSTANT) fits = size > 0 || (begin <= 0 && end <= 0);
        if (fits && size + begin + end >= 0 && -begin <= size && -end <= size) {
            out.dims[i] += begin + end;
            continue;
        }
        return deft_rule_fail(call, DEFT_INVALID, "dimension %d of %lld cannot be padded by %lld and %lld", i,
                              (long long)size, (long long)begin, (long long)end);
    }
    return deft_rule_set_out_like(call, 0, &out);
}

/* The input's index that an output's position along one axis shows, or -1 for padding by a constant. */
static int64_t padded_index(pad_mode mode, int64_t at, int64_t size) {
    if (at >= 0 && at < size) return at;
    switch (mode) {
    case PAD_EDGE:
        return at < 0 ? 0 : size - 1;
    case PAD_REFLECT:
        return at < 0 ? -at : 2 * (size - 1) - at;
    case PAD_WRAP:
        return (at % size + size) % size;
    default:
        return -1;
    }
}

static void read_pad_value(const deft_op_call *call, deft_tensor *value, uint64_t *memory) {
    const deft_tensor *input = deft_rule_in(call, 2);
    *value = (deft_tensor){.dtype = call->in[0]->dtype, .data = memory};
    *memory = 0;
    if (input)
        deft_element_copy(input, 0, value, 0);
    else if (deft_dtype_is_float(value->dtype))
        deft_element_set_real(value, 0, (double)deft_attr_float(call->attrs, "value", 0));
}

/* Where a row of the output (its last dimension) begins in x; false where it is all padding. */
static bool padded_row(const padding *pad, const deft_tensor *x, const deft_tensor *y, const int64_t *strides,
                       int64_t row, int64_t *offset) {
    *offset = 0;
    for (int dim = y->rank - 2; dim >= 0; dim--) {
        int64_t at = padded_index(pad->mode, row % y->dims[dim] - pad->begin[dim], x->dims[dim]);
        if (at < 0) return false;
        row /= y->dims[dim];
        *offset += at * strides[dim];
    }
    return true;
}

/* Elements [from, to) of the row of y that begins at `begin`, one by one. */
static void pad_elements(const padding *pad, const deft_tensor *x, int64_t offset, const deft_tensor *value,
                         int64_t from, int64_t to, deft_tensor *y, int64_t begin) {
    int last = y->rank - 1;
    for (int64_t i = from; i < to; i++) {
        int64_t at = padded_index(pad->mode, i - pad->begin[last], x->dims[last]);
        if (at >= 0)
            deft_element_copy(x, offset + at, y, begin + i);
        else
            deft_element_copy(value, 0, y, begin + i);
    }
}

deft_status deft_forward_pad(const deft_op_call *call) {
    const deft_tensor *x = call->in[0];
    deft_tensor *y = call->out[0], value;
    uint64_t memory;
    padding pad;
    int64_t strides[DEFT_MAX_RANK];
    int last = y->rank - 1;
    DEFT_TRY(read_padding(call, &pad));
    read_pad_value(call, &value, &memory);
    if (y->rank == 0) return deft_forward_copy(call);
    deft_rule_strides(x, strides);
    size_t bytes = deft_dtype_bytes(x->dtype);
    int64_t width = y->dims[last], rows = deft_rule_product(y->dims, 0, last);
    int64_t first = clamp(pad.begin[last], 0, width), past = clamp(pad.begin[last] + x->dims[last], first, width);
    int threads = deft_rule_threads(call, rows * width);
#pragma omp parallel for num_threads(threads)
    for (int64_t row = 0; row < rows; row++) {
        int64_t offset;
        if (!padded_row(&pad, x, y, strides, row, &offset)) {
            for (int64_t i = 0; i < width; i++)
                deft_element_copy(&value, 0, y, row * width + i);
            continue;
        }
        pad_elements(&pad, x, offset, &value, 0, first, y, row * width);
        memcpy((char *)y->data + (size_t)(row * width + first) * bytes,
               (const char *)x->data + (size_t)(offset + first - pad.begin[last]) * bytes,
               (size_t)(past - first) * bytes);
        pad_elements(&pad, x, offset, &value, past, width, y, row * width);
    }
    return DEFT_OK;
}

/* ---- DepthToSpace, SpaceToDepth ---- */

deft_status deft_shape_depth_space(const deft_op_call *call) {
    deft_tensor out = *call->in[0];
    int64_t block = deft_attr_int(call->attrs, "blocksize", 0), area;
    DEFT_TRY(deft_rule_require_rank(call, 0, 4, true));
    bool spread = call->op == DEFT_OP_DEPTH_TO_SPACE;
    bool fits = block > 0 && !__builtin_mul_overflow(block, block, &area);
    if (fits) fits = spread ? out.dims[1] % area == 0 : out.dims[2] % block == 0 && out.dims[3] % block == 0;
    if (!fits) return deft_rule_fail(call, DEFT_INVALID, "blocks of %lld do not divide the input", (long long)block);
    for (int i = 1; i < 4; i++) {
        int64_t factor = i == 1 ? area : block;
        bool grows = spread == (i != 1);
        if (!grows)
            out.dims[i] /= factor;
        else if (__builtin_mul_overflow(out.dims[i], factor, &out.dims[i]))
            out.dims[i] = INT64_MAX;
    }
    return deft_rule_set_out_like(call, 0, &out);
}

/* Both are transpositions of six dimensions, the blocks' rows and columns apart. */
deft_status deft_forward_depth_space(const deft_op_call *call) {
    const deft_tensor *x = call->in[0], *y = call->out[0];
    int64_t block = deft_attr_int(call->attrs, "blocksize", 1);
    bool spread = call->op == DEFT_OP_DEPTH_TO_SPACE;
    bool by_column = strcmp(deft_attr_string(call->attrs, "mode", "DCR"), "CRD") == 0;
    int64_t plane = x->dims[2] * x->dims[3], image = x->dims[1] * plane, width = x->dims[3];
    int64_t dims[6], strides[6];
    if (spread) {
        int64_t depth = y->dims[1];
        int64_t of_block = by_column ? plane : depth * plane, of_depth = by_column ? block * block * plane : plane;
        memcpy(dims, (int64_t[]){x->dims[0], depth, x->dims[2], block, width, block}, sizeof dims);
        memcpy(strides, (int64_t[]){image, of_depth, width, block * of_block, 1, of_block}, sizeof strides);
    } else if (by_column) {
        memcpy(dims, (int64_t[]){x->dims[0], x->dims[1], block, block, y->dims[2], y->dims[3]}, sizeof dims);
        memcpy(strides, (int64_t[]){image, plane, width, 1, block * width, block}, sizeof strides);
    } else {
        memcpy(dims, (int64_t[]){x->dims[0], block, block, x->dims[1], y->dims[2], y->dims[3]}, sizeof dims);
        memcpy(strides, (int64_t[]){image, width, 1, plane, block * width, block}, sizeof strides);
    }
    deft_move_strided(call, deft_dtype_bytes(x->dtype), x->data, 6, dims, strides, y->data);
    return DEFT_OK;
}

/* ---- Trilu ---- */

deft_status deft_shape_trilu(const deft_op_call *call) {
    DEFT_TRY(deft_rule_require_rank(call, 0, 2, false));
    DEFT_TRY(deft_rule_require_index(call, 1));
    DEFT_TRY(deft_rule_require_scalar(call, 1));
    return deft_rule_set_out_like(call, 0, call->in[0]);
}

/* A row keeps what is from its diagonal, shifted by k, on: to the right, or (lower) up to it. */
deft_status deft_forward_trilu(const deft_op_call *call) {
    const deft_tensor *x = call->in[0];
    int64_t rows = x->dims[x->rank - 2], columns = x->dims[x->rank - 1], count = deft_tensor_count(x);
    int64_t k = deft_rule_in(call, 1) ? deft_element_integer(call->in[1], 0) : 0;
    size_t bytes = deft_dtype_bytes(x->dtype);
    bool upper = deft_attr_int(call->attrs, "upper", 1) != 0;
    k = clamp(k, -rows, columns);
    DEFT_TRY(deft_forward_copy(call));
    for (int64_t row = 0; row < count / columns; row++) {
        int64_t at = row % rows + k + !upper;
        int64_t split = clamp(at, 0, columns);
        char *y = (char *)call->out[0]->data + (size_t)(row * columns) * bytes;
        if (upper)
            memset(y, 0, (size_t)split * bytes);
        else
            memset(y + (size_t)split * bytes, 0, (size_t)(columns - split) * bytes);
    }
    return DEFT_OK;
}

/* Resize and Upsample: each output element is a weighted sum of the input elements around the place that it comes from.
 * The weights of each dimension are found apart from the others: one for nearest, two for linear, four for cubic. */
#include "ir/op/element.h"
#include "ir/op/emit.h"
#include "ir/op/rule.h"

#include <math.h>
#include <string.h>

typedef enum interpolation { NEAREST, LINEAR, CUBIC, INTERPOLATIONS } interpolation;
typedef enum placing {
    HALF_PIXEL,
    PYTORCH_HALF_PIXEL,
    ALIGN_CORNERS,
    ASYMMETRIC,
    CROP,
    CORNERS_OF_NEAREST,
    PLACINGS
} placing;
typedef enum rounding { PREFER_FLOOR, PREFER_CEIL, DOWN, UP, ROUNDINGS } rounding;

enum { MAX_TAPS = 4 };

/* A node, resolved. */
typedef struct resizing {
    interpolation how;
    placing where;
    rounding round;
    bool exclude_outside;
    double cubic, outside;       /* the cubic's coefficient; the value outside of a crop */
    bool resized[DEFT_MAX_RANK]; /* else the dimension stays as it is */
    double scale[DEFT_MAX_RANK];
    double start[DEFT_MAX_RANK], end[DEFT_MAX_RANK]; /* of a crop, as shares */
    int64_t out[DEFT_MAX_RANK];
} resizing;

/* The input elements along one dimension that an output position is made of. */
typedef struct taps {
    int count;
    bool outside;
    int64_t index[MAX_TAPS];
    double weight[MAX_TAPS];
} taps;

/* The place of an attribute's value in a list of names. */
static deft_status read_choice(const deft_op_call *call, const char *attribute, const char *fallback,
                               const char *const *names, int count, int *out) {
    const char *name = deft_attr_string(call->attrs, attribute, fallback);
    for (*out = 0; *out < count; (*out)++)
        if (strcmp(name, names[*out]) == 0) return DEFT_OK;
    return deft_rule_fail(call, DEFT_UNSUPPORTED, "%s is '%.32s', which Deft does not have", attribute, name);
}

/* Or the gradient of one. */
static bool is_upsample(const deft_op_call *call) {
    return deft_attr_int(call->attrs, "of", call->op) == DEFT_OP_UPSAMPLE;
}

static deft_status read_modes(const deft_op_call *call, resizing *out) {
    static const char *const hows[] = {"nearest", "linear", "cubic"};
    static const char *const wheres[] = {"half_pixel", "pytorch_half_pixel", "align_corners",
                                         "asymmetric", "tf_crop_and_resize", "tf_half_pixel_for_nn"};
    static const char *const roundings[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"};
    bool old = is_upsample(call) || call->opset < 11;
    int how, where, round;
    DEFT_TRY(read_choice(call, "mode", "nearest", hows, INTERPOLATIONS, &how));
    DEFT_TRY(read_choice(call, "coordinate_transformation_mode", old ? "asymmetric" : "half_pixel", wheres, PLACINGS,
                         &where));
    DEFT_TRY(read_choice(call, "nearest_mode", old ? "floor" : "round_prefer_floor", roundings, ROUNDINGS, &round));
    if (deft_attr_int(call->attrs, "antialias", 0) ||
        strcmp(deft_attr_string(call->attrs, "keep_aspect_ratio_policy", "stretch"), "stretch") != 0)
        return deft_rule_fail(call, DEFT_UNSUPPORTED, "antialias and keep_aspect_ratio_policy are not supported");
    out->how = (interpolation)how;
    out->where = (placing)where;
    out->round = (rounding)round;
    out->exclude_outside = deft_attr_int(call->attrs, "exclude_outside", 0) != 0;
    out->cubic = (double)deft_attr_float(call->attrs, "cubic_coeff_a", -0.75f);
    out->outside = (double)deft_attr_float(call->attrs, "extrapolation_value", 0);
    return DEFT_OK;
}

/* Which input holds what: -1 where the operator does not have it. */
typedef struct resize_inputs {
    int roi, scales, sizes;
} resize_inputs;

static resize_inputs inputs_of(const deft_op_call *call) {
    if (is_upsample(call)) return (resize_inputs){-1, call->opset < 9 ? -1 : 1, -1};
    return call->opset < 11 ? (resize_inputs){-1, 1, -1} : (resize_inputs){1, 2, 3};
}

static bool is_given(const deft_op_call *call, int i) {
    return deft_rule_in(call, i) && deft_tensor_count(call->in[i]) > 0;
}

/* `count` known floats of input `i`. */
static deft_status read_floats(const deft_op_call *call, int i, const char *what, int count, double *out) {
    if (!deft_dtype_is_float(call->in[i]->dtype) || deft_tensor_count(call->in[i]) != count)
        return deft_rule_fail(call, DEFT_INVALID, "%s must be %d floats, one for each dimension", what, count);
    DEFT_TRY(deft_rule_require_known(call, i, what));
    for (int j = 0; j < count; j++)
        out[j] = deft_element_real(call->in[i], j);
    return DEFT_OK;
}

/* The dimensions that are resized, in the order of the lists that are given: all of them, or (opset 18) axes. */
static deft_status read_resized(const deft_op_call *call, int axes[DEFT_MAX_RANK], int *count) {
    int64_t list[DEFT_MAX_RANK];
    bool given, seen[DEFT_MAX_RANK] = {false};
    int rank = call->in[0]->rank;
    DEFT_TRY(deft_rule_read_list(call, -1, "axes", list, DEFT_MAX_RANK, count, &given));
    if (!given) *count = rank;
    for (int i = 0; i < *count; i++) {
        axes[i] = i;
        if (given) DEFT_TRY(deft_rule_axis(call, list[i], rank, &axes[i]));
        if (seen[axes[i]]) return deft_rule_fail(call, DEFT_INVALID, "axis %d is given twice", axes[i]);
        seen[axes[i]] = true;
    }
    return DEFT_OK;
}

static deft_status read_scales(const deft_op_call *call, const resize_inputs *in, int count, double *out) {
    const deft_attr *attr = deft_attr_find(call->attrs, "scales");
    if (in->scales >= 0 && is_given(call, in->scales)) return read_floats(call, in->scales, "scales", count, out);
    if (in->scales >= 0 || !attr || attr->type != DEFT_ATTR_FLOATS || attr->count != count)
        return deft_rule_fail(call, DEFT_INVALID, "neither scales nor sizes are given for %d dimensions", count);
    for (int i = 0; i < count; i++)
        out[i] = (double)attr->floats[i];
    return DEFT_OK;
}

static deft_status resolve(const deft_op_call *call, resizing *out) {
    const deft_tensor *x = call->in[0];
    resize_inputs in = inputs_of(call);
    double scales[DEFT_MAX_RANK], roi[2 * DEFT_MAX_RANK] = {0};
    int64_t sizes[DEFT_MAX_RANK];
    int axes[DEFT_MAX_RANK], count, given;
    bool by_size = is_given(call, in.sizes);
    *out = (resizing){.how = NEAREST};
    DEFT_TRY(read_modes(call, out));
    DEFT_TRY(read_resized(call, axes, &count));
    for (int i = 0; i < x->rank; i++)
        out->out[i] = x->dims[i];
    if (by_size)
        DEFT_TRY(deft_rule_read_integers(call, in.sizes, "sizes", sizes, count, &given));
    else
        DEFT_TRY(read_scales(call, &in, count, scales));
    if (out->where == CROP) {
        if (!is_given(call, in.roi)) return deft_rule_fail(call, DEFT_INVALID, "tf_crop_and_resize needs roi");
        DEFT_TRY(read_floats(call, in.roi, "roi", 2 * count, roi));
    }
    for (int i = 0; i < count; i++) {
        int axis = axes[i];
        double size = by_size ? (double)(i < given ? sizes[i] : -1) : floor((double)x->dims[axis] * scales[i]);
        if (!(size >= 0 && size < 0x1p47) || (size > 0 && x->dims[axis] == 0))
            return deft_rule_fail(call, DEFT_INVALID, "dimension %d of %lld cannot become %g", axis,
                                  (long long)x->dims[axis], size);
        out->resized[axis] = out->where == CROP || size != (double)x->dims[axis] || (!by_size && scales[i] != 1);
        out->scale[axis] = by_size ? size / (double)x->dims[axis] : scales[i];
        out->out[axis] = (int64_t)size;
        out->start[axis] = roi[i];
        out->end[axis] = roi[i + count];
    }
    return DEFT_OK;
}

deft_status deft_shape_resize(const deft_op_call *call) {
    resizing r;
    DEFT_TRY(deft_rule_require_types(call, 0, 0, DEFT_TYPES_NUMBER));
    DEFT_TRY(resolve(call, &r));
    return deft_rule_set_out(call, 0, call->in[0]->dtype, call->in[0]->rank, r.out);
}

/* Where in the input an output position comes from. */
static double place_of(const resizing *r, int axis, int64_t position, int64_t size) {
    /* scaled, not rounded: what ONNX's own tests expect where the scale is no ratio of the sizes */
    double x = (double)position, last = (double)(size - 1), out_last = (double)size * r->scale[axis] - 1;
    switch (r->where) {
    case ALIGN_CORNERS:
        return out_last > 0 ? x * last / out_last : 0;
    case ASYMMETRIC:
        return x / r->scale[axis];
    case CROP:
        if (out_last <= 0) return (r->start[axis] + r->end[axis]) / 2 * last;
        return r->start[axis] * last + x * (r->end[axis] - r->start[axis]) * last / out_last;
    case CORNERS_OF_NEAREST:
        return (x + 0.5) / r->scale[axis];
    case PYTORCH_HALF_PIXEL:
        if (out_last <= 0) return 0;
        return (x + 0.5) / r->scale[axis] - 0.5;
    default:
        return (x + 0.5) / r->scale[axis] - 0.5;
    }
}

static double rounded(rounding how, double place) {
    switch (how) {
    case PREFER_FLOOR:
        return ceil(place - 0.5);
    case PREFER_CEIL:
        return floor(place + 0.5);
    case DOWN:
        return floor(place);
    default:
        return ceil(place);
    }
}

/* The cubic convolution kernel with coefficient a, at a distance. */
static double cubic_weight(double a, double distance) {
    double d = fabs(distance);
    if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
    if (d < 2) return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
    return 0;
}

static int64_t clamped(double index, int64_t size) {
    return !(index > 0) ? 0 : index < (double)(size - 1) ? (int64_t)index : size - 1;
}

static void find_taps(const resizing *r, int axis, int64_t position, int64_t size, taps *out) {
    *out = (taps){.count = 1, .index = {position}, .weight = {1}};
    if (!r->resized[axis]) return;
    double place = place_of(r, axis, position, size), first = floor(place), sum = 0;
    out->outside = r->where == CROP && !(place >= 0 && place <= (double)(size - 1));
    if (r->how == NEAREST) {
        out->index[0] = clamped(rounded(r->round, place), size);
        return;
    }
    out->count = r->how == LINEAR ? 2 : 4;
    if (r->how == CUBIC) first--;
    for (int i = 0; i < out->count; i++) {
        double index = first + i;
        bool inside = index >= 0 && index < (double)size;
        out->index[i] = clamped(index, size);
        out->weight[i] = r->how == LINEAR ? 1 - fabs(place - index) : cubic_weight(r->cubic, place - index);
        if (r->exclude_outside && !inside) out->weight[i] = 0;
        sum += out->weight[i];
    }
    for (int i = 0; r->exclude_outside && i < out->count; i++)
        out->weight[i] /= sum;
}

/* One of the input elements that an output element is made of. */
typedef struct contribution {
    int64_t offset;
    double weight;
    int at[DEFT_MAX_RANK]; /* which tap of each dimension */
} contribution;

/* The contribution that `at` says; then `at` moves on, and false is returned after the last. */
static bool next_contribution(const taps *all, int rank, const int64_t *strides, contribution *c) {
    c->weight = 1;
    c->offset = 0;
    for (int i = 0; i < rank; i++) {
        c->weight *= all[i].weight[c->at[i]];
        c->offset += all[i].index[c->at[i]] * strides[i];
    }
    int dim = rank - 1;
    for (; dim >= 0 && ++c->at[dim] == all[dim].count; dim--)
        c->at[dim] = 0;
    return dim >= 0;
}

/* The weighted sum over all combinations of the taps of each dimension. */
static double interpolate(const deft_tensor *x, const int64_t *strides, const taps *all) {
    contribution c = {0};
    double sum = 0;
    for (bool more = true; more;) {
        more = next_contribution(all, x->rank, strides, &c);
        if (c.weight != 0) sum += c.weight * deft_element_real(x, c.offset);
    }
    return sum;
}

deft_status deft_forward_resize(const deft_op_call *call) {
    const deft_tensor *x = call->in[0];
    deft_tensor *y = call->out[0];
    int64_t strides[DEFT_MAX_RANK], count = deft_tensor_count(y);
    resizing r;
    DEFT_TRY(resolve(call, &r));
    deft_rule_strides(x, strides);
    int threads = deft_rule_threads(call, count);
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < count; i++) {
        taps all[DEFT_MAX_RANK];
        int64_t rest = i, offset = 0;
        bool outside = false, single = true;
        for (int dim = x->rank - 1; dim >= 0; dim--) {
            find_taps(&r, dim, rest % y->dims[dim], x->dims[dim], &all[dim]);
            rest /= y->dims[dim];
            offset += all[dim].index[0] * strides[dim];
            outside |= all[dim].outside;
            single &= all[dim].count == 1;
        }
        if (outside)
            deft_element_set_real(y, i, r.outside);
        else if (single)
            deft_element_copy(x, offset, y, i);
        else
            deft_element_set_real(y, i, interpolate(x, strides, all));
    }
    return DEFT_OK;
}

/* (dy, x, roi, scales, sizes), of the operator in the attribute "of": each element of dy goes, in shares, to where it
 * came from. */
static deft_op_call forward_of(const deft_op_call *call) {
    deft_op_call resize = *call;
    resize.in = call->in + 1;
    resize.in_count = call->in_count - 1;
    return resize;
}

deft_status deft_shape_resize_grad(const deft_op_call *call) {
    deft_op_call resize = forward_of(call);
    resizing r;
    DEFT_TRY(deft_rule_require_real(call, 0, 1));
    DEFT_TRY(resolve(&resize, &r));
    deft_tensor y = {.dtype = call->in[1]->dtype, .rank = call->in[1]->rank};
    memcpy(y.dims, r.out, sizeof y.dims);
    DEFT_TRY(deft_rule_require_shape(call, 0, &y, "the gradient of the output,"));
    return deft_rule_set_out_like(call, 0, call->in[1]);
}

deft_status deft_forward_resize_grad(const deft_op_call *call) {
    deft_op_call resize = forward_of(call);
    const deft_tensor *dy = call->in[0];
    deft_tensor *dx = call->out[0];
    int64_t strides[DEFT_MAX_RANK], count = deft_tensor_count(dy);
    resizing r;
    DEFT_TRY(resolve(&resize, &r));
    deft_rule_strides(dx, strides);
    memset(dx->data, 0, deft_tensor_bytes(dx));
    for (int64_t i = 0; i < count; i++) {
        taps all[DEFT_MAX_RANK];
        contribution c = {0};
        int64_t rest = i;
        bool more = true;
        for (int dim = dy->rank - 1; dim >= 0; dim--) {
            find_taps(&r, dim, rest % dy->dims[dim], dx->dims[dim], &all[dim]);
            rest /= dy->dims[dim];
            more &= !all[dim].outside;
        }
        while (more) {
            more = next_contribution(all, dx->rank, strides, &c);
            double sum = deft_element_real(dx, c.offset) + c.weight * deft_element_real(dy, i);
            deft_element_set_real(dx, c.offset, sum);
        }
    }
    return DEFT_OK;
}

deft_status deft_gradient_resize(deft_gradient *gradient) {
    int in[5] = {gradient->out_grad[0]};
    memcpy(in + 1, gradient->in, (size_t)gradient->in_count * sizeof *in);
    return deft_emit_of(gradient, DEFT_OP_RESIZE_GRAD, in, gradient->in_count + 1, &gradient->in_grad[0], 1);
}

/* What detectors of objects end in: NonMaxSuppression, and RoiAlign, which cuts regions out of a picture. */
#include "ir/op/element.h"
#include "ir/op/rule.h"

#include <string.h>

/* ---- NonMaxSuppression --------------------------------------------------------------------------------------- */

/* Boxes looked at, each against all: more would take longer than anyone waits. */
static const int64_t most_comparisons = (int64_t)1 << 31;

typedef struct suppression {
    const deft_tensor *boxes, *scores; /* [batch, count, 4], [batch, classes, count] */
    int64_t count, classes, most;      /* most: selected of a class */
    double iou, score;
    bool has_score, centered; /* centered: boxes are x, y, width, height; else two opposite corners y, x, y, x */
} suppression;

static double scalar_of(const deft_op_call *call, int i, double fallback) {
    const deft_tensor *in = deft_rule_in(call, i);
    return in && deft_tensor_count(in) > 0 ? deft_element_real(in, 0) : fallback;
}

static suppression read_suppression(const deft_op_call *call) {
    const deft_tensor *most = deft_rule_in(call, 2), *score = deft_rule_in(call, 4);
    suppression s = {.boxes = call->in[0],
                     .scores = call->in[1],
                     .count = call->in[0]->dims[1],
                     .classes = call->in[1]->dims[1],
                     .most = most && deft_tensor_count(most) > 0 ? deft_element_integer(most, 0) : 0,
                     .iou = scalar_of(call, 3, 0),
                     .score = scalar_of(call, 4, 0),
                     .has_score = score && deft_tensor_count(score) > 0,
                     .centered = deft_attr_int(call->attrs, "center_point_box", 0) != 0};
    if (s.most < 0) s.most = 0;
    if (s.most > s.count) s.most = s.count;
    return s;
}

/* Lower and upper end of a box along an axis: 0 is y, 1 is x. */
typedef struct interval {
    double low, high;
} interval;

static interval side_of(const suppression *s, int64_t box, int axis) {
    double a = deft_element_real(s->boxes, 4 * box + (s->centered ? 1 - axis : axis));
    double b = deft_element_real(s->boxes, 4 * box + (s->centered ? 3 - axis : 2 + axis));
    if (s->centered) return (interval){a - b / 2, a + b / 2};
    return a < b ? (interval){a, b} : (interval){b, a};
}

/* Whether the boxes have more in common, of what they cover together, than is allowed. */
static bool overlap(const suppression *s, int64_t a, int64_t b) {
    double common = 1, area_a = 1, area_b = 1;
    for (int axis = 0; axis < 2; axis++) {
        interval x = side_of(s, a, axis), y = side_of(s, b, axis);
        double width = (x.high < y.high ? x.high : y.high) - (x.low > y.low ? x.low : y.low);
        if (!(width > 0)) return false;
        common *= width;
        area_a *= x.high - x.low;
        area_b *= y.high - y.low;
    }
    return area_a > 0 && area_b > 0 && common / (area_a + area_b - common) > s->iou;
}

/* The box with the best score after `last` of score `last_score`, in the order in which they are looked at; -1 where
 * there is none. last: -1 for the first. */
static int64_t next_box(const suppression *s, int64_t first_score, int64_t last, double last_score) {
    int64_t best = -1;
    double best_score = 0;
    for (int64_t i = 0; i < s->count; i++) {
        double score = deft_element_real(s->scores, first_score + i);
        if (isnan(score) || (s->has_score && !(score > s->score))) continue;
        if (last >= 0 && (score > last_score || (score == last_score && i <= last))) continue;
        if (best < 0 || score > best_score) best = i, best_score = score;
    }
    return best;
}

/* Selects boxes of a class, the best score first, none of which overlaps another: into selected[i * stride]. */
static int64_t select_boxes(const suppression *s, int64_t batch, int64_t class, int64_t *selected, int64_t stride) {
    int64_t first_score = (batch * s->classes + class) * s->count, first_box = batch * s->count, count = 0;
    double score = 0;
    for (int64_t box = -1; count < s->most && (box = next_box(s, first_score, box, score)) >= 0;) {
        bool kept = true;
        score = deft_element_real(s->scores, first_score + box);
        for (int64_t i = 0; i < count && kept; i++)
            kept = !overlap(s, first_box + box, first_box + selected[i * stride]);
        if (kept) selected[stride * count++] = box;
    }
    return count;
}

static deft_status check_suppression(const deft_op_call *call) {
    const deft_tensor *boxes = call->in[0], *scores = call->in[1];
    DEFT_TRY(deft_rule_require_real(call, 0, 1));
    DEFT_TRY(deft_rule_require_rank(call, 0, 3, true));
    DEFT_TRY(deft_rule_require_rank(call, 1, 3, true));
    if (boxes->dims[2] != 4 || boxes->dims[0] != scores->dims[0] || boxes->dims[1] != scores->dims[2])
        return deft_rule_fail(call, DEFT_INVALID,
                              "the boxes must be [batch, boxes, 4], the scores [batch, classes, boxes]");
    for (int i = 0; i < call->in_count; i++) {
        const deft_tensor *in = deft_rule_in(call, i);
        if (!in) continue;
        if (i == 2) DEFT_TRY(deft_rule_require_index(call, i));
        if (i > 2) DEFT_TRY(deft_rule_require_types(call, i, i, DEFT_TYPES_REAL));
        if (i > 1 && deft_tensor_count(in) > 1) DEFT_TRY(deft_rule_require_scalar(call, i));
        DEFT_TRY(deft_rule_require_known(call, i, "a tensor, whose values its output's shape depends on,"));
    }
    return DEFT_OK;
}

/* Scores that pass the threshold, times the boxes that each is compared with. */
static deft_status check_work(const deft_op_call *call, const suppression *s) {
    int64_t candidates = 0;
    for (int64_t i = 0; i < deft_tensor_count(s->scores); i++)
        candidates += !s->has_score || deft_element_real(s->scores, i) > s->score;
    if (s->count == 0 || candidates <= most_comparisons / s->count) return DEFT_OK;
    return deft_rule_fail(call, DEFT_UNSUPPORTED,
                          "%lld scores of %lld boxes are above the threshold: too many to compare",
                          (long long)candidates, (long long)s->count);
}

/* The output's shape depends on the values, so that these must be known. */
deft_status deft_shape_non_max_suppression(const deft_op_call *call) {
    int64_t *selected, found = 0;
    DEFT_TRY(check_suppression(call));
    suppression s = read_suppression(call);
    DEFT_TRY(check_work(call, &s));
    DEFT_TRY(deft_allocate_zeroed(call->ctx, (size_t)s.most, sizeof *selected, &selected));
    for (int64_t i = 0; s.most > 0 && i < s.boxes->dims[0] * s.classes; i++)
        found += select_boxes(&s, i / s.classes, i % s.classes, selected, 1);
    deft_release(call->ctx, selected);
    return deft_rule_set_out(call, 0, DEFT_I64, 2, (int64_t[]){found, 3});
}

/* Rows of batch, class, box. */
deft_status deft_forward_non_max_suppression(const deft_op_call *call) {
    suppression s = read_suppression(call);
    int64_t *rows = call->out[0]->data;
    for (int64_t i = 0; i < s.boxes->dims[0] * s.classes; i++) {
        int64_t count = select_boxes(&s, i / s.classes, i % s.classes, rows + 2, 3);
        for (int64_t row = 0; row < count; row++) {
            rows[3 * row] = i / s.classes;
            rows[3 * row + 1] = i % s.classes;
        }
        rows += 3 * count;
    }
    return DEFT_OK;
}

/* ---- RoiAlign ------------------------------------------------------------------------------------------------ */

typedef struct roi_align {
    int64_t height, width, samples; /* of the output; samples along an axis of one output, 0: by the region's size */
    double scale, offset;
    bool maximum;
} roi_align;

static deft_status read_roi_align(const deft_op_call *call, roi_align *r) {
    const char *mode = deft_attr_string(call->attrs, "mode", "avg");
    const char *half = call->opset >= 16 ? "half_pixel" : "output_half_pixel";
    const char *coordinates = deft_attr_string(call->attrs, "coordinate_transformation_mode", half);
    *r = (roi_align){.height = deft_attr_int(call->attrs, "output_height", 1),
                     .width = deft_attr_int(call->attrs, "output_width", 1),
                     .samples = deft_attr_int(call->attrs, "sampling_ratio", 0),
                     .scale = (double)deft_attr_float(call->attrs, "spatial_scale", 1),
                     .offset = strcmp(coordinates, "half_pixel") == 0 ? 0.5 : 0,
                     .maximum = strcmp(mode, "max") == 0};
    if (strcmp(mode, "avg") != 0 && strcmp(mode, "max") != 0)
        return deft_rule_fail(call, DEFT_INVALID, "mode '%.32s' is neither avg nor max", mode);
    if (r->height < 1 || r->width < 1 || r->height > INT32_MAX || r->width > INT32_MAX || r->samples < 0)
        return deft_rule_fail(call, DEFT_INVALID, "outputs of %lld by %lld, %lld samples", (long long)r->height,
                              (long long)r->width, (long long)r->samples);
    return DEFT_OK;
}

deft_status deft_shape_roi_align(const deft_op_call *call) {
    const deft_tensor *x = call->in[0], *regions = call->in[1], *batches = call->in[2];
    roi_align r;
    DEFT_TRY(deft_rule_require_real(call, 0, 1));
    DEFT_TRY(deft_rule_require_index(call, 2));
    DEFT_TRY(deft_rule_require_rank(call, 0, 4, true));
    DEFT_TRY(deft_rule_require_rank(call, 1, 2, true));
    DEFT_TRY(deft_rule_require_rank(call, 2, 1, true));
    DEFT_TRY(read_roi_align(call, &r));
    if (regions->dims[1] != 4 || regions->dims[0] != batches->dims[0])
        return deft_rule_fail(call, DEFT_INVALID, "regions must be [count, 4], with a picture's index for each");
    if (x->dims[2] < 1 || x->dims[3] < 1) return deft_rule_fail(call, DEFT_INVALID, "the pictures are empty");
    return deft_rule_set_out(call, 0, x->dtype, 4, (int64_t[]){regions->dims[0], x->dims[1], r.height, r.width});
}

/* A region along an axis: output o has `samples` of them, `step` / samples apart, from start + o * step on. */
typedef struct region {
    double start, step;
    int64_t samples;
} region;

static deft_status find_region(const deft_op_call *call, const roi_align *r, int64_t index, bool vertical,
                               region *out) {
    const deft_tensor *corners = call->in[1], *x = call->in[0];
    double start = deft_element_real(corners, 4 * index + vertical) * r->scale - r->offset;
    double extent = deft_element_real(corners, 4 * index + 2 + vertical) * r->scale - r->offset - start;
    double outputs = (double)(vertical ? r->height : r->width), size = (double)x->dims[vertical ? 2 : 3];
    if (r->offset == 0 && extent < 1) extent = 1;
    double samples = r->samples ? (double)r->samples : ceil(extent / outputs);
    if (!isfinite(start) || !(fabs(samples) <= 16 * size + 64))
        return deft_rule_fail(call, DEFT_INVALID, "region %lld starts at %g and has %g samples of a picture of %g",
                              (long long)index, start, samples, size);
    *out = (region){start, extent / outputs, samples > 0 ? (int64_t)samples : 0};
    return DEFT_OK;
}

/* Two neighbours of a position and the share of the second; false where it is outside of the picture. */
static bool find_neighbours(double at, int64_t size, int64_t *low, int64_t *high, double *share) {
    if (!(at >= -1 && at <= (double)size)) return false;
    if (at < 0) at = 0;
    *low = (int64_t)at;
    *high = *low + 1;
    if (*low >= size - 1) {
        *low = *high = size - 1;
        at = (double)*low;
    }
    *share = at - (double)*low;
    return true;
}

/* Of one sample: its value, or for the maximum, the largest of its four weighted neighbours, as ONNX has it. */
static double sample(const deft_tensor *x, int64_t plane, double y_at, double x_at, bool maximum) {
    int64_t top, bottom, left, right;
    double down, along;
    if (!find_neighbours(y_at, x->dims[2], &top, &bottom, &down)) return 0;
    if (!find_neighbours(x_at, x->dims[3], &left, &right, &along)) return 0;
    int64_t width = x->dims[3], first = plane * x->dims[2];
    double parts[4] = {(1 - down) * (1 - along) * deft_element_real(x, (first + top) * width + left),
                       (1 - down) * along * deft_element_real(x, (first + top) * width + right),
                       down * (1 - along) * deft_element_real(x, (first + bottom) * width + left),
                       down * along * deft_element_real(x, (first + bottom) * width + right)};
    double result = parts[0];
    for (int i = 1; i < 4; i++)
        result = !maximum ? result + parts[i] : parts[i] > result ? parts[i] : result;
    return result;
}

static double pool_samples(const roi_align *r, const deft_tensor *x, int64_t plane, const region *rows,
                           const region *columns, int64_t oy, int64_t ox) {
    double sum = 0, most = -INFINITY;
    int64_t count = rows->samples * columns->samples;
    for (int64_t i = 0; i < count; i++) {
        double down = (double)(i / columns->samples) + 0.5, along = (double)(i % columns->samples) + 0.5;
        double value =
            sample(x, plane, rows->start + rows->step * ((double)oy + down / (double)rows->samples),
                   columns->start + columns->step * ((double)ox + along / (double)columns->samples), r->maximum);
        sum += value;
        if (value > most) most = value;
    }
    if (r->maximum) return count > 0 ? most : 0;
    return sum / (double)(count > 0 ? count : 1);
}

deft_status deft_forward_roi_align(const deft_op_call *call) {
    const deft_tensor *x = call->in[0];
    deft_tensor *y = call->out[0];
    roi_align r;
    DEFT_TRY(read_roi_align(call, &r));
    int64_t area = r.height * r.width;
    for (int64_t i = 0; i < y->dims[0]; i++) {
        region rows = {0}, columns = {0};
        int64_t picture = deft_element_integer(call->in[2], i);
        if (picture < 0 || picture >= x->dims[0])
            return deft_rule_fail(call, DEFT_INVALID, "region %lld is of picture %lld; there are %lld", (long long)i,
                                  (long long)picture, (long long)x->dims[0]);
        DEFT_TRY(find_region(call, &r, i, true, &rows));
        DEFT_TRY(find_region(call, &r, i, false, &columns));
        int threads = deft_rule_threads(call, x->dims[1] * area * rows.samples * columns.samples);
#pragma omp parallel for num_threads(threads)
        for (int64_t o = 0; o < x->dims[1] * area; o++)
            deft_element_set_real(
                y, i * x->dims[1] * area + o,
                pool_samples(&r, x, picture * x->dims[1] + o / area, &rows, &columns, o % area / r.width, o % r.width));
    }
    return DEFT_OK;
}

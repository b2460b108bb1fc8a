/* GridSample: a picture, or a line or a volume, looked up at the positions of a grid, from -1 at one end of a dimension
 * to 1 at the other. */
#include "ir/op/element.h"
#include "ir/op/rule.h"

#include <string.h>

enum { MAX_SPATIAL = 3, MAX_TAPS = 4 };

typedef enum padding_mode { PAD_ZEROS, PAD_BORDER, PAD_REFLECTION, PADS } padding_mode;

typedef struct grid_sample {
    int spatial, taps; /* taps along a dimension: 1 nearest, 2 linear, 4 cubic */
    padding_mode padding;
    bool align_corners, narrow; /* narrow: positions are computed in f32 */
} grid_sample;

/* What a position takes from one dimension: elements, -1 for none, and their shares. */
typedef struct line_taps {
    int64_t at[MAX_TAPS];
    double share[MAX_TAPS];
} line_taps;

static deft_status read_mode(const deft_op_call *call, int *taps) {
    static const struct {
        const char *name;
        int taps;
    } modes[] = {{"nearest", 1}, {"linear", 2}, {"bilinear", 2}, {"cubic", 4}, {"bicubic", 4}};
    const char *mode = deft_attr_string(call->attrs, "mode", "linear");
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (strcmp(mode, modes[i].name) == 0) {
            *taps = modes[i].taps;
            return DEFT_OK;
        }
    return deft_rule_fail(call, DEFT_INVALID, "mode '%.32s' is none of nearest, linear and cubic", mode);
}

static deft_status read_padding(const deft_op_call *call, padding_mode *padding) {
    static const char *const names[] = {"zeros", "border", "reflection"};
    const char *name = deft_attr_string(call->attrs, "padding_mode", "zeros");
    for (int i = 0; i < PADS; i++)
        if (strcmp(name, names[i]) == 0) {
            *padding = (padding_mode)i;
            return DEFT_OK;
        }
    return deft_rule_fail(call, DEFT_INVALID, "padding_mode '%.32s' is none of zeros, border and reflection", name);
}

static deft_status read_attributes(const deft_op_call *call, grid_sample *g) {
    *g = (grid_sample){.spatial = call->in[0]->rank - 2,
                       .align_corners = deft_attr_int(call->attrs, "align_corners", 0) != 0,
                       .narrow = call->in[1]->dtype == DEFT_F32};
    DEFT_TRY(read_mode(call, &g->taps));
    return read_padding(call, &g->padding);
}

deft_status deft_shape_grid_sample(const deft_op_call *call) {
    const deft_tensor *x = call->in[0], *grid = call->in[1];
    grid_sample g;
    deft_tensor out = *x;
    DEFT_TRY(deft_rule_require_types(call, 0, 0, DEFT_TYPES_NUMBER));
    DEFT_TRY(deft_rule_require_real(call, 1, 1));
    DEFT_TRY(deft_rule_require_rank(call, 0, 3, false));
    if (x->rank - 2 > MAX_SPATIAL)
        return deft_rule_fail(call, DEFT_UNSUPPORTED, "%d spatial dimensions; at most %d are supported", x->rank - 2,
                              MAX_SPATIAL);
    DEFT_TRY(read_attributes(call, &g));
    if (grid->rank != x->rank || grid->dims[0] != x->dims[0] || grid->dims[x->rank - 1] != g.spatial)
        return deft_rule_fail(call, DEFT_INVALID,
                              "the grid must have a position of %d numbers for each output of %lld pictures", g.spatial,
                              (long long)x->dims[0]);
    for (int i = 0; i < g.spatial; i++) {
        if (x->dims[2 + i] == 0) return deft_rule_fail(call, DEFT_INVALID, "dimension %d is 0", 2 + i);
        out.dims[2 + i] = grid->dims[1 + i];
    }
    return deft_rule_set_out_like(call, 0, &out);
}

static double narrowed(const grid_sample *g, double x) {
    return g->narrow ? (double)(float)x : x;
}

/* From [-1, 1] to elements. */
static double element_of(const grid_sample *g, double position, int64_t size) {
    double moved = narrowed(g, position + 1);
    if (g->align_corners) return narrowed(g, narrowed(g, moved / 2) * (double)(size - 1));
    return narrowed(g, narrowed(g, narrowed(g, moved * (double)size) - 1) / 2);
}

/* Back and forth between the ends: pixels' centres with align_corners, else their outer edges. */
static double reflect(const grid_sample *g, double at, int64_t size) {
    double low = g->align_corners ? 0 : -0.5, range = g->align_corners ? (double)size - 1 : (double)size;
    if (range <= 0) return 0;
    double past = fmod(fabs(at - low), 2 * range);
    return low + (past <= range ? past : 2 * range - past);
}

/* The element at `at`, a whole number that padding moves into the picture; -1 where it is outside. */
static int64_t pixel_of(const grid_sample *g, double at, int64_t size) {
    double last = (double)size - 1;
    if (g->padding == PAD_ZEROS) return at >= 0 && at <= last ? (int64_t)at : -1;
    if (g->padding == PAD_REFLECTION && !(at >= 0 && at <= last)) at = trunc(reflect(g, at, size));
    return at > 0 ? (int64_t)(at < last ? at : last) : 0;
}

/* Keys' cubic convolution with alpha = -0.75, of the elements -1, 0, 1, 2 around a position `x` past element 0. */
static void cubic_shares(double x, double *share) {
    const double a = -0.75;
    share[0] = ((a * (x + 1) - 5 * a) * (x + 1) + 8 * a) * (x + 1) - 4 * a;
    share[1] = ((a + 2) * x - (a + 3)) * x * x + 1;
    share[2] = ((a + 2) * (1 - x) - (a + 3)) * (1 - x) * (1 - x) + 1;
    share[3] = ((a * (2 - x) - 5 * a) * (2 - x) + 8 * a) * (2 - x) - 4 * a;
}

static line_taps find_taps(const grid_sample *g, double position, int64_t size) {
    line_taps taps = {.share = {1}};
    double at = element_of(g, position, size), last = (double)size - 1;
    double edge = g->align_corners ? 0 : 0.5;
    if (g->taps == 1) at = rint(at);
    if (!(fabs(at) < 0x1p53)) at = -2; /* NaN and infinity are outside */
    if (g->padding == PAD_BORDER && (at < -edge || at > last + edge)) at = at < 0 ? 0 : last;
    if (g->padding == PAD_REFLECTION && (at < -edge || at > last + edge)) at = reflect(g, at, size);
    double first = floor(at), past = at - first;
    if (g->taps == 2) taps.share[0] = 1 - past, taps.share[1] = past;
    if (g->taps == 4) cubic_shares(past, taps.share);
    for (int i = 0; i < g->taps; i++)
        taps.at[i] = pixel_of(g, g->taps == 1 ? at : first + i - (g->taps == 4), size);
    return taps;
}

/* The sum over all combinations of the dimensions' taps, in the plane that starts at `offset`. */
static double sum_taps(const deft_tensor *x, const grid_sample *g, const line_taps *lines, int64_t offset) {
    int combinations = 1;
    double sum = 0;
    for (int i = 0; i < g->spatial; i++)
        combinations *= g->taps;
    for (int i = 0; i < combinations; i++) {
        int64_t at = 0;
        double share = 1;
        int rest = i;
        for (int dim = 0; dim < g->spatial && at >= 0; dim++) {
            int tap = rest % g->taps;
            rest /= g->taps;
            share *= lines[dim].share[tap];
            at = lines[dim].at[tap] < 0 ? -1 : at * x->dims[2 + dim] + lines[dim].at[tap];
        }
        if (at >= 0) sum += share * deft_element_real(x, offset + at);
    }
    return sum;
}

deft_status deft_forward_grid_sample(const deft_op_call *call) {
    const deft_tensor *x = call->in[0], *grid = call->in[1];
    deft_tensor *y = call->out[0];
    grid_sample g;
    DEFT_TRY(read_attributes(call, &g));
    int64_t channels = x->dims[1], plane = deft_rule_product(x->dims, 2, x->rank);
    int64_t positions = deft_rule_product(y->dims, 2, y->rank), count = y->dims[0] * positions;
    int threads = deft_rule_threads(call, 8 * deft_tensor_count(y));
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < count; i++) {
        line_taps lines[MAX_SPATIAL];
        /* a position names the last dimension first */
        for (int dim = 0; dim < g.spatial; dim++)
            lines[dim] = find_taps(&g, deft_element_real(grid, (i + 1) * g.spatial - 1 - dim), x->dims[2 + dim]);
        for (int64_t c = 0; c < channels; c++) {
            int64_t from = i / positions * channels + c;
            deft_element_set_real(y, from * positions + i % positions, sum_taps(x, &g, lines, from * plane));
        }
    }
    return DEFT_OK;
}

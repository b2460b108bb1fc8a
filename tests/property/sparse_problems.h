/* Layers with a sparse constant weight and what they compute in float64, with the bound that every kernel keeps:
 * |y - y64| <= gamma(nonzeros of the row + 2) (sum |w x| + |bias|). Unmapped pages lie beside all memory that a kernel
 * is given, so that an access outside of it ends the test. */
#ifndef DEFT_TESTS_PROPERTY_SPARSE_PROBLEMS_H
#define DEFT_TESTS_PROPERTY_SPARSE_PROBLEMS_H

#include "tests/support.h"

#include "base/core/rng.h"
#include "codegen/kernel/sparse.h"
#include "ir/op/window.h"

#include <math.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- memory between unmapped pages ---- */

typedef struct guarded {
    void *data;
    void *map;
    size_t map_bytes;
} guarded;

/* Flush with the page behind it, or with the one before. */
static inline guarded guarded_new(size_t bytes, bool at_end) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), inner = (bytes + page - 1) / page * page;
    guarded g = {.map_bytes = inner + 2 * page};
    g.map = mmap(NULL, g.map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(g.map != MAP_FAILED);
    char *start = (char *)g.map + page;
    if (inner) assert_int_equal(mprotect(start, inner, PROT_READ | PROT_WRITE), 0);
    g.data = at_end ? start + inner - bytes : start;
    return g;
}

static inline void guarded_free(guarded *g) {
    munmap(g->map, g->map_bytes);
}

/* ---- problems ---- */

typedef struct problem {
    deft_op op;
    int64_t n, m, k; /* of a product */
    int64_t channels, groups, filters, spatial;
    int64_t in[2], kernel[2], stride[2], dilation[2], pads[4];
    bool left;          /* the weight is the left operand: y[images][m][n] = w x[images][k][n] */
    int64_t images;     /* of x; 0: it has none, and is a vector where n is 1 */
    bool trans_b, bias; /* trans_b: transA where the weight is on the left */
    int bias_form;      /* Gemm: 0 [m], 1 [1, m] ([m, 1] for both where the weight is on the left), 2 scalar */
    float alpha, beta;
    double zeros; /* share */
    bool halved;  /* weights are the upper halves of floats */
    bool residual;
    deft_activation activation;
    deft_layout in_layout, out_layout;
    deft_isa isa;
    int threads;
    int specials;   /* NaN, Inf planted in x */
    double x_scale; /* 1, or so small that products are denormal */
} problem;

typedef struct instance {
    problem p;
    deft_context *ctx;
    deft_attr attrs[8];
    deft_attrs attr_list;
    deft_tensor x, w, b, y, r;
    const deft_tensor *in[4];
    deft_tensor *out[1];
    deft_tensor changing; /* x, as the request shows it: without data */
    const deft_tensor *asked[3];
    guarded x_memory, w_memory, b_memory, y_memory, r_memory;
    deft_window window;
    deft_request request;
    int64_t rows, columns;    /* of the output: y is [rows][columns] per image or [n][m] */
    double *expected, *bound; /* in the order of y in ROWS */
    int64_t outputs;
} instance;

static inline int64_t between(deft_rng *rng, int64_t low, int64_t high) {
    return low + (int64_t)(deft_rng_u64(rng) % (uint64_t)(high - low + 1));
}

static inline double uniform(deft_rng *rng) {
    return (double)(deft_rng_u64(rng) >> 11) * 0x1p-53;
}

static inline deft_attr ints_attr(const char *name, const int64_t *values, int64_t count) {
    return (deft_attr){.name = name, .type = DEFT_ATTR_INTS, .ints = values, .count = count};
}

static inline guarded tensor_new(deft_tensor *tensor, deft_rng *rng) {
    guarded g = guarded_new(deft_tensor_bytes(tensor), between(rng, 0, 3) != 0);
    tensor->data = g.data;
    return g;
}

static inline int set_left_shapes(instance *s) {
    const problem *p = &s->p;
    bool vector = !p->images && p->n == 1 && p->op == DEFT_OP_MATMUL;
    s->w.rank = 2;
    s->w.dims[0] = p->trans_b ? p->k : p->m, s->w.dims[1] = p->trans_b ? p->m : p->k;
    deft_tensor *matrices[] = {&s->x, &s->y};
    for (int i = 0; i < 2; i++) {
        deft_tensor *t = matrices[i];
        if (p->images) t->dims[t->rank++] = p->images;
        t->dims[t->rank++] = i ? p->m : p->k;
        if (!vector) t->dims[t->rank++] = p->n;
    }
    s->b.rank = p->bias_form == 2 ? 0 : 2;
    s->b.dims[0] = p->m, s->b.dims[1] = 1;
    s->attrs[0] = (deft_attr){.name = "transA", .type = DEFT_ATTR_INT, .i = p->trans_b};
    s->attrs[1] = (deft_attr){.name = "alpha", .type = DEFT_ATTR_FLOAT, .f = p->alpha};
    s->attrs[2] = (deft_attr){.name = "beta", .type = DEFT_ATTR_FLOAT, .f = p->beta};
    return 3;
}

static inline void set_shapes(instance *s) {
    problem *p = &s->p;
    int count = 0;
    s->x.dtype = s->w.dtype = s->b.dtype = s->y.dtype = DEFT_F32;
    if (p->left) {
        count = set_left_shapes(s);
    } else if (p->op == DEFT_OP_CONV) {
        int spatial = (int)p->spatial, first = 2 - spatial;
        s->x.rank = s->w.rank = 2 + spatial;
        s->x.dims[0] = p->n, s->x.dims[1] = p->channels;
        s->w.dims[0] = p->filters, s->w.dims[1] = p->channels / p->groups;
        for (int i = 0; i < spatial; i++)
            s->x.dims[2 + i] = p->in[first + i], s->w.dims[2 + i] = p->kernel[first + i];
        if (spatial == 1) p->pads[0] = p->pads[1], p->pads[1] = p->pads[3];
        s->attrs[count++] = ints_attr("strides", p->stride + first, spatial);
        s->attrs[count++] = ints_attr("dilations", p->dilation + first, spatial);
        s->attrs[count++] = ints_attr("pads", p->pads, 2 * spatial);
        s->attrs[count++] = (deft_attr){.name = "group", .type = DEFT_ATTR_INT, .i = p->groups};
        s->b.rank = 1, s->b.dims[0] = p->filters;
    } else {
        s->x.rank = s->w.rank = s->y.rank = 2;
        s->x.dims[0] = p->n, s->x.dims[1] = p->k;
        s->w.dims[p->trans_b] = p->m, s->w.dims[!p->trans_b] = p->k;
        s->w.dims[0] = p->trans_b ? p->m : p->k, s->w.dims[1] = p->trans_b ? p->k : p->m;
        s->y.dims[0] = p->n, s->y.dims[1] = p->m;
        s->attrs[count++] = (deft_attr){.name = "transB", .type = DEFT_ATTR_INT, .i = p->trans_b};
        s->attrs[count++] = (deft_attr){.name = "alpha", .type = DEFT_ATTR_FLOAT, .f = p->alpha};
        s->attrs[count++] = (deft_attr){.name = "beta", .type = DEFT_ATTR_FLOAT, .f = p->beta};
        s->b.rank = p->bias_form == 2 ? 0 : p->bias_form == 1 ? 2 : 1;
        s->b.dims[0] = p->bias_form == 1 ? 1 : p->m, s->b.dims[1] = p->m;
    }
    s->attr_list = (deft_attrs){s->attrs, p->op == DEFT_OP_MATMUL ? 0 : count};
}

/* The bits that the mask leaves. */
static inline float masked(float value, uint32_t mask) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits &= mask;
    memcpy(&value, &bits, sizeof bits);
    return value;
}

/* Weights with the share of zeros asked for, some rows and columns empty, some rows full. */
static inline void fill_weights(instance *s, deft_rng *rng, int64_t rows, int64_t columns, bool rows_first) {
    float *w = s->w.data;
    for (int64_t i = 0; i < rows; i++) {
        double kind = uniform(rng), zeros = kind < 0.05 ? 1 : kind < 0.1 ? 0 : s->p.zeros;
        if (s->p.zeros == 0 || s->p.zeros == 1) zeros = s->p.zeros;
        for (int64_t j = 0; j < columns; j++) {
            bool zero = uniform(rng) < zeros || (s->p.zeros > 0 && j % 13 == 5);
            float value = zero ? 0 : (float)deft_rng_normal(rng);
            w[rows_first ? i * columns + j : j * rows + i] = masked(value, s->p.halved ? 0xffff0000 : 0xffffffff);
        }
    }
}

/* Where element j of row i of x lies: x in panels or in rows. */
static inline int64_t panel_index(int64_t i, int64_t j, int64_t columns) {
    return (i / 16 * columns + j) * 16 + i % 16;
}

static inline float random_x(const instance *s, deft_rng *rng) {
    if (s->p.specials && between(rng, 0, 200) == 0) {
        static const float values[] = {NAN, INFINITY, -INFINITY, 1e-45f, -0.0f, 3e38f};
        return values[between(rng, 0, 5)];
    }
    return (float)(deft_rng_normal(rng) * s->p.x_scale);
}

static inline float read_x(const instance *s, int64_t i) {
    return ((const float *)s->x.data)[i];
}

typedef struct sum {
    double value, magnitude;
    int64_t terms;
} sum;

static inline void add_term(sum *total, float w, float x) {
    if (w == 0) return;
    total->value += (double)w * x;
    total->magnitude += fabs((double)w * x);
    total->terms++;
}

static inline double clamp64(double value, deft_activation activation) {
    value = value < activation.low ? activation.low : value;
    return value > activation.high ? activation.high : value;
}

static inline void expect(instance *s, int64_t at, sum total, float bias) {
    const problem *p = &s->p;
    double alpha = p->op == DEFT_OP_GEMM ? p->alpha : 1, beta = p->op == DEFT_OP_GEMM ? p->beta : 1;
    double value = total.value * alpha + (s->in[2] ? beta * bias : 0);
    double magnitude = total.magnitude * fabs(alpha) + (s->in[2] ? fabs(beta * bias) : 0);
    if (p->residual) {
        int64_t place = p->out_layout == DEFT_LAYOUT_PANELS ? panel_index(at / p->m, at % p->m, p->m) : at;
        double added = ((const float *)s->r.data)[place];
        value += added, magnitude += fabs(added), total.terms++;
    }
    double n = (double)total.terms + 2, unit = 0x1p-24;
    s->expected[at] = clamp64(value, p->activation);
    s->bound[at] = n * unit / (1 - n * unit) * magnitude + n * 0x1p-149;
    if (fabs(value) > 3e38 || magnitude > 3e38) s->bound[at] = INFINITY; /* f32 overflows on the way or not */
}

static inline float bias_of(const instance *s, int64_t row) {
    if (!s->in[2]) return 0;
    return ((const float *)s->b.data)[s->b.rank == 0 ? 0 : row];
}

static inline void expect_product(instance *s) {
    const problem *p = &s->p;
    const float *w = s->w.data;
    for (int64_t n = 0; n < p->n; n++)
        for (int64_t m = 0; m < p->m; m++) {
            sum total = {0};
            for (int64_t k = 0; k < p->k; k++) {
                int64_t at = p->in_layout == DEFT_LAYOUT_PANELS ? panel_index(n, k, p->k) : n * p->k + k;
                add_term(&total, w[p->trans_b ? m * p->k + k : k * p->m + m], read_x(s, at));
            }
            expect(s, n * p->m + m, total, bias_of(s, m));
        }
}

static inline void expect_left_product(instance *s) {
    const problem *p = &s->p;
    const float *w = s->w.data;
    int64_t images = p->images ? p->images : 1;
    for (int64_t i = 0; i < images * p->m * p->n; i++) {
        int64_t image = i / (p->m * p->n), m = i / p->n % p->m, n = i % p->n;
        sum total = {0};
        for (int64_t k = 0; k < p->k; k++)
            add_term(&total, w[p->trans_b ? k * p->m + m : m * p->k + k], read_x(s, (image * p->k + k) * p->n + n));
        expect(s, i, total, bias_of(s, m));
    }
}

static inline sum convolve(const instance *s, int64_t n, int64_t filter, int64_t oy, int64_t ox) {
    const deft_window *v = &s->window;
    int64_t depth = v->channels / v->groups, group = filter / (v->filters / v->groups);
    sum total = {0};
    for (int64_t c = 0; c < depth; c++)
        for (int64_t ky = 0; ky < v->kernel[0]; ky++)
            for (int64_t kx = 0; kx < v->kernel[1]; kx++) {
                int64_t y = oy * v->stride[0] + ky * v->dilation[0] - v->pad_begin[0];
                int64_t x = ox * v->stride[1] + kx * v->dilation[1] - v->pad_begin[1];
                bool inside = y >= 0 && y < v->in[0] && x >= 0 && x < v->in[1];
                int64_t at = ((n * v->channels + group * depth + c) * v->in[0] + y) * v->in[1] + x;
                int64_t tap = ((filter * depth + c) * v->kernel[0] + ky) * v->kernel[1] + kx;
                add_term(&total, ((const float *)s->w.data)[tap], inside ? read_x(s, at) : 0);
            }
    return total;
}

static inline void expect_convolution(instance *s) {
    const deft_window *v = &s->window;
    int64_t at = 0;
    for (int64_t n = 0; n < v->batch; n++)
        for (int64_t filter = 0; filter < v->filters; filter++)
            for (int64_t oy = 0; oy < v->out[0]; oy++)
                for (int64_t ox = 0; ox < v->out[1]; ox++)
                    expect(s, at++, convolve(s, n, filter, oy, ox), bias_of(s, filter));
}

/* A product's matrix as panels, so that a tensor of that many bytes is guarded. */
static inline void guard_matrix(deft_tensor *tensor, deft_layout layout, guarded *memory, deft_rng *rng) {
    deft_tensor panels = {.dtype = DEFT_F32, .rank = 1};
    panels.dims[0] = (int64_t)(deft_panel_bytes(tensor->dims[0], tensor->dims[1]) / sizeof(float));
    *memory = tensor_new(layout == DEFT_LAYOUT_PANELS ? &panels : tensor, rng);
    tensor->data = memory->data;
}

static inline void instance_init(instance *s, const problem *p, deft_context *ctx, deft_rng *rng) {
    *s = (instance){.p = *p, .ctx = ctx};
    set_shapes(s);
    s->in[p->left] = &s->x, s->in[!p->left] = &s->w, s->in[2] = p->bias ? &s->b : NULL;
    s->out[0] = &s->y;
    s->changing = s->x;
    memcpy(s->asked, s->in, sizeof s->asked);
    s->in[3] = p->residual ? &s->r : NULL;
    s->asked[p->left] = &s->changing;
    s->request = (deft_request){
        .call = {.ctx = ctx,
                 .name = "test",
                 .op = p->op,
                 .attrs = &s->attr_list,
                 .opset = 13,
                 .in_count = 3,
                 .out_count = 1,
                 .in = s->asked,
                 .out = s->out,
                 .threads = p->threads},
        .residual = p->residual ? &s->y : NULL,
        .activation = p->activation,
        .in_layout = p->in_layout,
        .out_layout = p->out_layout,
        .isa = p->isa,
    };
    s->w_memory = tensor_new(&s->w, rng);
    s->b_memory = tensor_new(&s->b, rng);
    for (int64_t i = 0; i < deft_tensor_count(&s->b); i++)
        ((float *)s->b.data)[i] = (float)deft_rng_normal(rng);
    if (p->op == DEFT_OP_CONV) {
        fill_weights(s, rng, p->filters, deft_tensor_count(&s->w) / p->filters, true);
        assert_int_equal(deft_window_of_conv(&s->request.call, &s->x, &s->w, &s->window), DEFT_OK);
        deft_window_out_shape(&s->window, &s->y);
    } else {
        fill_weights(s, rng, p->m, p->k, p->trans_b != p->left);
    }
    guard_matrix(&s->x, p->in_layout, &s->x_memory, rng);
    guard_matrix(&s->y, p->out_layout, &s->y_memory, rng);
    s->r = s->y;
    guard_matrix(&s->r, p->out_layout, &s->r_memory, rng);
    size_t r_bytes = p->out_layout == DEFT_LAYOUT_PANELS ? deft_panel_bytes(p->n, p->m) : deft_tensor_bytes(&s->r);
    for (size_t i = 0; i < r_bytes / sizeof(float); i++)
        ((float *)s->r.data)[i] = (float)deft_rng_normal(rng);
    size_t x_count = p->in_layout == DEFT_LAYOUT_PANELS ? deft_panel_bytes(p->n, p->k) / sizeof(float)
                                                        : (size_t)deft_tensor_count(&s->x);
    for (size_t i = 0; i < x_count; i++)
        ((float *)s->x.data)[i] = random_x(s, rng);
    s->outputs = deft_tensor_count(&s->y);
    s->expected = malloc((size_t)(s->outputs + 1) * sizeof *s->expected);
    s->bound = malloc((size_t)(s->outputs + 1) * sizeof *s->bound);
    if (p->op == DEFT_OP_CONV)
        expect_convolution(s);
    else if (p->left)
        expect_left_product(s);
    else
        expect_product(s);
}

static inline void instance_done(instance *s) {
    guarded_free(&s->x_memory);
    guarded_free(&s->w_memory);
    guarded_free(&s->b_memory);
    guarded_free(&s->y_memory);
    guarded_free(&s->r_memory);
    free(s->expected);
    free(s->bound);
}

static inline bool is_right(double got, double expected, double bound) {
    if (isinf(bound)) return true;
    if (isnan(expected)) return isnan(got);
    if (isinf(expected)) return got == expected;
    return fabs(got - expected) <= bound;
}

/* How many outputs are beyond the bound. */
static inline int64_t count_wrong(const instance *s) {
    const problem *p = &s->p;
    const float *y = s->y.data;
    int64_t wrong = 0;
    for (int64_t i = 0; i < s->outputs; i++) {
        int64_t at = p->out_layout == DEFT_LAYOUT_PANELS ? panel_index(i / p->m, i % p->m, p->m) : i;
        wrong += !is_right((double)y[at], s->expected[i], s->bound[i]);
    }
    return wrong;
}

#endif

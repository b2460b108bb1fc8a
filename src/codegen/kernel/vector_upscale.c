/* Resize and Upsample of pictures by whole numbers to nearest, on rows or on blocks: every pixel is repeated. Exact. */
#include "codegen/kernel/vector.h"

#include <string.h>

enum { ELEMENTS_WORTH_THREADS = 1 << 15 };

typedef struct upscale {
    int threads;
    int64_t planes, height, width, by_y, by_x; /* of the input */
    int64_t lanes;                             /* floats of a pixel */
} upscale;

static bool is_attr(const deft_op_call *call, const char *name, const char *fallback, const char *value) {
    return strcmp(deft_attr_string(call->attrs, name, fallback), value) == 0;
}

/* Whether output i comes from input i / by, rounded down, for whole scales. */
static bool divides(const deft_op_call *call, const upscale *u) {
    bool old = call->op == DEFT_OP_UPSAMPLE || call->opset < 11;
    const char *place = old ? "asymmetric" : "half_pixel", *rounding = old ? "floor" : "round_prefer_floor";
    bool half = is_attr(call, "coordinate_transformation_mode", place, "half_pixel") ||
                is_attr(call, "coordinate_transformation_mode", place, "pytorch_half_pixel");
    bool down = is_attr(call, "nearest_mode", rounding, "floor");
    bool nearest = is_attr(call, "nearest_mode", rounding, "round_prefer_floor");
    if (half) return nearest;
    if (!is_attr(call, "coordinate_transformation_mode", place, "asymmetric")) return false;
    return down || (nearest && u->by_y <= 2 && u->by_x <= 2);
}

/* A list of scales, where there is one, says the same as the sizes do. */
static bool has_whole_scales(const deft_op_call *call, const upscale *u) {
    bool old = call->op == DEFT_OP_UPSAMPLE || call->opset < 11;
    int input = old ? 1 : 2;
    const double wanted[] = {1, 1, (double)u->by_y, (double)u->by_x};
    const deft_tensor *scales = input < call->in_count ? call->in[input] : NULL;
    if (call->op == DEFT_OP_UPSAMPLE && call->opset < 9) return false;
    if (!scales || deft_tensor_count(scales) == 0) return !old;
    if (!scales->data || scales->dtype != DEFT_F32 || deft_tensor_count(scales) != 4) return false;
    for (int i = 0; i < 4; i++)
        if ((double)((const float *)scales->data)[i] != wanted[i]) return false;
    return true;
}

static bool upscale_of(const deft_request *request, upscale *u, const char **why) {
    const deft_op_call *call = &request->call;
    const deft_tensor *x = call->in[0], *y = call->out[0];
    *why = "it computes Resize and Upsample of f32 pictures only";
    if ((call->op != DEFT_OP_RESIZE && call->op != DEFT_OP_UPSAMPLE) || x->dtype != DEFT_F32 || x->rank != 4)
        return false;
    *why = "both pictures are in rows, or in blocks, and no activation is applied";
    if (request->in_layout != request->out_layout || request->in_layout == DEFT_LAYOUT_PANELS ||
        !deft_activation_is_none(request->activation))
        return false;
    *why = "it repeats pixels: to nearest, by whole numbers";
    if (!is_attr(call, "mode", "nearest", "nearest") || deft_attr_find(call->attrs, "axes") ||
        deft_attr_int(call->attrs, "antialias", 0) || !is_attr(call, "keep_aspect_ratio_policy", "stretch", "stretch"))
        return false;
    if (deft_tensor_count(x) == 0 || x->dims[0] != y->dims[0] || x->dims[1] != y->dims[1]) return false;
    if (y->dims[2] % x->dims[2] || y->dims[3] % x->dims[3] || deft_tensor_count(y) == 0) return false;
    bool blocked = request->in_layout == DEFT_LAYOUT_BLOCKS;
    int64_t lanes = blocked ? deft_block_lanes(request->isa) : 1;
    *u = (upscale){.threads = call->threads,
                   .planes = x->dims[0] * ((x->dims[1] + lanes - 1) / lanes),
                   .height = x->dims[2],
                   .width = x->dims[3],
                   .by_y = y->dims[2] / x->dims[2],
                   .by_x = y->dims[3] / x->dims[3],
                   .lanes = lanes};
    return divides(call, u) && has_whole_scales(call, u);
}

bool deft_vector_upscale_accepts(const deft_request *request, const char **why) {
    upscale u;
    return upscale_of(request, &u, why);
}

double deft_vector_upscale_estimate_ns(const deft_request *request) {
    return 100 + 0.3 * (double)deft_tensor_count(request->call.out[0]);
}

deft_status deft_vector_upscale_prepare(deft_context *ctx, const deft_request *request, deft_kernel *kernel) {
    upscale *u;
    const char *why;
    DEFT_TRY(deft_allocate_zeroed(ctx, 1, sizeof *u, &u));
    upscale_of(request, u, &why);
    kernel->state = u;
    return DEFT_OK;
}

static void repeat_pixels(const upscale *u, const float *x, float *y) {
    if (u->lanes == 1) {
        for (int64_t i = 0; i < u->width; i++)
            for (int64_t j = 0; j < u->by_x; j++)
                *y++ = x[i];
        return;
    }
    for (int64_t i = 0; i < u->width; i++, x += u->lanes)
        for (int64_t j = 0; j < u->by_x; j++, y += u->lanes)
            memcpy(y, x, (size_t)u->lanes * sizeof *y);
}

static void repeat_rows(const upscale *u, const float *x, float *y) {
    int64_t row = u->width * u->lanes, out_row = row * u->by_x;
    for (int64_t i = 0; i < u->height; i++, x += row) {
        repeat_pixels(u, x, y);
        for (int64_t j = 1; j < u->by_y; j++)
            memcpy(y + j * out_row, y, (size_t)out_row * sizeof *y);
        y += u->by_y * out_row;
    }
}

deft_status deft_vector_upscale_run(deft_context *ctx, const deft_kernel *kernel, const deft_tensor *const *in,
                                    deft_tensor *const *out, void *scratch) {
    (void)ctx;
    (void)scratch;
    const upscale *u = kernel->state;
    const float *x = in[0]->data;
    float *y = out[0]->data;
    int64_t plane = u->height * u->width * u->lanes, out_plane = plane * u->by_y * u->by_x;
#pragma omp parallel for num_threads(u->threads) if (u->planes * out_plane >= ELEMENTS_WORTH_THREADS)
    for (int64_t i = 0; i < u->planes; i++)
        repeat_rows(u, x + i * plane, y + i * out_plane);
    return DEFT_OK;
}

void deft_vector_upscale_done(deft_context *ctx, deft_kernel *kernel) {
    deft_release(ctx, kernel->state);
}

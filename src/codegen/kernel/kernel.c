#include "codegen/kernel/kernel.h"

#include "codegen/kernel/linear.h"

#include <math.h>

const deft_kernel_def deft_kernels[DEFT_KERNEL_COUNT] = {
#define DEFT_KERNEL(ENUM, NAME, PRINTED, SPARSE, IN_PLACE, SCHEDULES, SUMMARY)                                         \
    [DEFT_KERNEL_##ENUM] = {.name = PRINTED,                                                                           \
                            .summary = SUMMARY,                                                                        \
                            .accepts = deft_##NAME##_accepts,                                                          \
                            .estimate_ns = deft_##NAME##_estimate_ns,                                                  \
                            .prepare = deft_##NAME##_prepare,                                                          \
                            .run = deft_##NAME##_run,                                                                  \
                            .done = deft_##NAME##_done,                                                                \
                            .sparse = SPARSE,                                                                          \
                            .in_place = IN_PLACE,                                                                      \
                            .schedules = SCHEDULES},
#include "codegen/kernel/kernels.def"
#undef DEFT_KERNEL
};

size_t deft_panel_bytes(int64_t n, int64_t columns) {
    int64_t panels = (n + DEFT_PANEL_LANES - 1) / DEFT_PANEL_LANES;
    return (size_t)(panels * columns) * DEFT_PANEL_LANES * sizeof(float);
}

int deft_block_lanes(deft_isa isa) {
    return isa == DEFT_ISA_AVX512 ? 16 : 8;
}

static size_t block_bytes(const deft_tensor *pictures, int64_t lanes) {
    const int64_t *dims = pictures->dims;
    int64_t channels = (dims[1] + lanes - 1) / lanes * lanes;
    return (size_t)(dims[0] * channels * dims[2] * dims[3]) * sizeof(float);
}

size_t deft_layout_bytes(const deft_tensor *tensor, deft_layout layout, deft_isa isa) {
    if (layout == DEFT_LAYOUT_PANELS) return deft_panel_bytes(tensor->dims[0], tensor->dims[1]);
    return layout == DEFT_LAYOUT_BLOCKS ? block_bytes(tensor, deft_block_lanes(isa)) : deft_tensor_bytes(tensor);
}

deft_kernel_id deft_kernel_cheapest(const deft_request *request) {
    deft_kernel_id best = DEFT_KERNEL_REFERENCE;
    double best_ns = INFINITY;
    for (int id = 0; id < DEFT_KERNEL_COUNT; id++) {
        const char *why;
        if (!deft_kernels[id].accepts(request, &why)) continue;
        double ns = deft_kernels[id].estimate_ns(request);
        if (ns >= best_ns) continue;
        best_ns = ns;
        best = (deft_kernel_id)id;
    }
    return best;
}

int deft_kernel_candidates(const deft_request *request, bool dense_only, deft_candidate *candidates) {
    static const double far = 4;
    double estimates[DEFT_KERNEL_COUNT], least = INFINITY;
    for (int id = 0; id < DEFT_KERNEL_COUNT; id++) {
        const char *why;
        bool wanted = !(dense_only && deft_kernels[id].sparse) && deft_kernels[id].accepts(request, &why);
        estimates[id] = wanted ? deft_kernels[id].estimate_ns(request) : INFINITY;
        if (estimates[id] < least) least = estimates[id];
    }
    int count = 0;
    for (int id = 0; id < DEFT_KERNEL_COUNT; id++) {
        bool portable = id == DEFT_KERNEL_REFERENCE || id == DEFT_KERNEL_SPARSE_C;
        if (isfinite(estimates[id]) && !(portable && estimates[id] > far * least))
            candidates[count++] = (deft_candidate){.kernel = (deft_kernel_id)id, .estimate_ns = estimates[id]};
    }
    return count;
}

int deft_kernel_scheduled_candidates(const deft_request *request, bool dense_only, int schedules,
                                     deft_candidate *candidates) {
    int count = deft_kernel_candidates(request, dense_only, candidates), kernels = count;
    for (int i = 0; i < kernels; i++) {
        uint64_t codes[DEFT_ALL_SCHEDULES];
        const deft_kernel_def *def = &deft_kernels[candidates[i].kernel];
        int ways = def->schedules ? def->schedules(request, schedules, codes) : 0;
        if (ways > 0) candidates[i].schedule = codes[0];
        for (int j = 1; j < ways && count < DEFT_CANDIDATES; j++)
            candidates[count++] = (deft_candidate){.kernel = candidates[i].kernel, .schedule = codes[j]};
    }
    return count;
}

deft_status deft_kernel_prepare(deft_context *ctx, deft_kernel_id id, const deft_request *request,
                                deft_kernel *kernel) {
    const deft_kernel_def *def = &deft_kernels[id];
    const char *why = "";
    *kernel = (deft_kernel){0};
    if (!def->accepts(request, &why))
        return deft_fail(ctx, DEFT_UNSUPPORTED, "%s '%s': the kernel %s cannot compute it: %s",
                         deft_ops[request->call.op].name, request->call.name, def->name, why);
    deft_kernel prepared = {.def = def, .detail = ""};
    if (def->sparse) prepared.packed = deft_linear_weight_bit(&request->call);
    DEFT_TRY(def->prepare(ctx, request, &prepared));
    *kernel = prepared;
    return DEFT_OK;
}

void deft_kernel_done(deft_context *ctx, deft_kernel *kernel) {
    if (kernel->def) kernel->def->done(ctx, kernel);
    *kernel = (deft_kernel){0};
}

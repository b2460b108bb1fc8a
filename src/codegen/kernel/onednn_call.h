/* What calls of oneDNN's C API share; for the files of onednn.h alone. */
#ifndef DEFT_CODEGEN_KERNEL_ONEDNN_CALL_H
#define DEFT_CODEGEN_KERNEL_ONEDNN_CALL_H

#include "base/core/context.h"

#include <dnnl.h>
#include <dnnl_debug.h>
#include <omp.h>

/* oneDNN takes its thread count from the calling thread's OpenMP setting, both when a primitive is made and when it
 * runs. */
static inline int deft_onednn_use_threads(int threads) {
    int before = omp_get_max_threads();
    if (threads > 0 && threads != before) omp_set_num_threads(threads);
    return before;
}

static inline deft_status deft_onednn_check(deft_context *ctx, dnnl_status_t result, const char *doing) {
    if (result == dnnl_success) return DEFT_OK;
    return deft_fail(ctx, result == dnnl_out_of_memory ? DEFT_MEMORY : DEFT_BUG, "oneDNN failed to %s: %s", doing,
                     dnnl_status2str(result));
}

#endif

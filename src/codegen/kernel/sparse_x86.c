/* The kernel of generated code. Its parts: sparse_schedule.c chooses the loops, sparse_x86_generate.c makes the code,
 * sparse_run.c runs it. */
#include "codegen/kernel/sparse.h"

#include <math.h>

/* In all schedules of a layer together: 20 ns of generating and 14 bytes of code and weights each. */
static const double nonzeros_to_try = 16e6;

static bool shape_of(const deft_request *request, deft_sparse_shape *shape, const char **why) {
    if (request->isa != DEFT_ISA_AVX2 && request->isa != DEFT_ISA_AVX512) {
        if (why) *why = "needs AVX2";
        return false;
    }
    return deft_sparse_shape_of(request, shape, why);
}

/* What the request says, or the best by estimate. */
static bool schedule_of(const deft_request *request, const deft_sparse_shape *shape, deft_sparse_schedule *schedule) {
    if (request->schedule) return deft_sparse_schedule_of_code(shape, request->schedule, schedule);
    *schedule = deft_sparse_x86_schedule(shape, NULL);
    return true;
}

bool deft_sparse_x86_accepts(const deft_request *request, const char **why) {
    deft_sparse_shape shape;
    if (!shape_of(request, &shape, why)) return false;
    if ((double)shape.linear.nonzeros > 5e7) {
        if (why) *why = "more than 50 million nonzeros in a layer";
        return false;
    }
    deft_sparse_schedule schedule;
    if (request->schedule && !schedule_of(request, &shape, &schedule)) {
        if (why) *why = "not a schedule of it";
        return false;
    }
    if (!deft_sparse_x86_possible(&shape)) {
        if (why) *why = "it adds a residual only where it writes y in place";
        return false;
    }
    if (!deft_code_allowed()) {
        if (why) *why = "the system refuses executable memory";
        return false;
    }
    return true;
}

double deft_sparse_x86_estimate_ns(const deft_request *request) {
    deft_sparse_shape shape;
    deft_sparse_schedule schedule;
    double ns = INFINITY;
    if (!shape_of(request, &shape, NULL)) return ns;
    if (!request->schedule)
        deft_sparse_x86_schedule(&shape, &ns);
    else if (schedule_of(request, &shape, &schedule))
        ns = deft_sparse_x86_schedule_ns(&shape, &schedule);
    return ns;
}

int deft_sparse_x86_schedules(const deft_request *request, int most, uint64_t *schedules) {
    deft_sparse_shape shape;
    if (!shape_of(request, &shape, NULL)) return 0;
    double affordable = nonzeros_to_try / (double)(shape.linear.nonzeros + 1);
    if (affordable < most) most = affordable < 1 ? 1 : (int)affordable;
    return deft_sparse_x86_best_schedules(&shape, most, schedules);
}

deft_status deft_sparse_x86_prepare(deft_context *ctx, const deft_request *request, deft_kernel *kernel) {
    deft_sparse_shape shape;
    const char *why = NULL;
    if (!shape_of(request, &shape, &why)) return deft_fail(ctx, DEFT_BUG, "sparse-x86: not accepted: %s", why);
    deft_sparse_schedule schedule;
    if (!schedule_of(request, &shape, &schedule)) return deft_fail(ctx, DEFT_BUG, "sparse-x86: no such schedule");
    DEFT_TRY(deft_sparse_prepare(ctx, &shape, &schedule, deft_sparse_x86_engine, deft_sparse_x86_generate, kernel));
    ((deft_sparse *)kernel->state)->in_count = request->call.in_count;
    return DEFT_OK;
}

deft_status deft_sparse_x86_run(deft_context *ctx, const deft_kernel *kernel, const deft_tensor *const *in,
                                deft_tensor *const *out, void *scratch) {
    (void)ctx;
    const deft_sparse *sparse = kernel->state;
    const float *residual = sparse->shape.residual ? in[sparse->in_count]->data : NULL;
    deft_sparse_run(sparse, in[sparse->shape.linear.input]->data, residual, out[0]->data, scratch);
    return DEFT_OK;
}

void deft_sparse_x86_done(deft_context *ctx, deft_kernel *kernel) {
    deft_sparse_done(ctx, kernel);
}

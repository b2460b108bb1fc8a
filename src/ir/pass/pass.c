#include "ir/pass/pass.h"

deft_status deft_pass_run_all(deft_graph *graph) {
#define RUN(NAME, SUMMARY) DEFT_TRY(deft_pass_##NAME(graph));
    DEFT_PASSES(RUN)
#undef RUN
    return DEFT_OK;
}

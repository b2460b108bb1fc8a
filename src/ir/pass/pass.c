#include "ir/pass/pass.h"

#include <string.h>

static const struct pass {
    const char *name;
    deft_status (*run)(deft_graph *graph);
} passes[] = {
#define ROW(NAME, SUMMARY) {#NAME, deft_pass_##NAME},
    DEFT_PASSES(ROW)
#undef ROW
};
enum { PASSES = sizeof passes / sizeof *passes };

static deft_status check_name(const deft_graph *graph, const char *name) {
    char names[256] = "";
    for (int i = 0; i < PASSES; i++) {
        if (strcmp(passes[i].name, name) == 0) return DEFT_OK;
        size_t length = strlen(names);
        snprintf(names + length, sizeof names - length, "%s%s", i ? ", " : "", passes[i].name);
    }
    return deft_fail(graph->ctx, DEFT_INVALID, "there is no pass '%.32s'; the passes are %s", name, names);
}

deft_status deft_pass_run_until(deft_graph *graph, const char *last) {
    if (last) DEFT_TRY(check_name(graph, last));
    for (int i = 0; i < PASSES; i++) {
        DEFT_TRY(passes[i].run(graph));
        if (last && strcmp(passes[i].name, last) == 0) break;
    }
    return DEFT_OK;
}

deft_status deft_pass_run_all(deft_graph *graph) {
    return deft_pass_run_until(graph, NULL);
}

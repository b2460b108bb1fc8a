#include "ir/model/zoo.h"

#include "ir/model/zoo_builder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_LAYERS = 64,
    MAX_SIZE = 1000 * 1000,
    RNG_STREAM = 0x7a6f6f /* "zoo" */
};
static const int64_t MAX_PARAMETERS = (int64_t)1 << 30;

static deft_status fail_spec(deft_context *ctx, const char *spec, const char *why) {
    static const char names[] =
#define DEFT_ZOO_NET(NAME, FUNCTION, SUMMARY) NAME ", "
#include "ir/model/zoo.def"
#undef DEFT_ZOO_NET
        ;
    return deft_fail(
        ctx, DEFT_INVALID,
        "'%.64s' is no network that Deft knows%s; choose %sor mlp: and two or more layer sizes from 1 to %d "
        "with commas between, as in mlp:784,300,100,10",
        spec, why, names, MAX_SIZE);
}

/* "784,300,100,10" */
static deft_status parse_sizes(deft_context *ctx, const char *spec, const char *text, int64_t *sizes, int *count) {
    int found = 0;
    int64_t parameters = 0;
    for (const char *at = text;; at++) {
        if (found == MAX_LAYERS) return fail_spec(ctx, spec, " (too many layers)");
        if (*at < '0' || *at > '9') return fail_spec(ctx, spec, " (a size is missing)");
        char *end;
        errno = 0;
        long long size = strtoll(at, &end, 10);
        if (errno || size < 1 || size > MAX_SIZE) return fail_spec(ctx, spec, " (a size is out of range)");
        sizes[found++] = size;
        if (found > 1) parameters += (sizes[found - 2] + 1) * size;
        at = end;
        if (*at == 0) break;
        if (*at != ',') return fail_spec(ctx, spec, " (sizes are numbers)");
    }
    if (found < 2) return fail_spec(ctx, spec, " (one size is no layer)");
    if (parameters > MAX_PARAMETERS) return fail_spec(ctx, spec, " (it has more than 2^30 parameters)");
    *count = found;
    return DEFT_OK;
}

static deft_status build_mlp(deft_zoo_builder *b, const char *spec) {
    int64_t sizes[MAX_LAYERS];
    int count = 0;
    DEFT_TRY(parse_sizes(b->graph->ctx, spec, spec + 4, sizes, &count));
    DEFT_TRY(deft_zoo_add_input(b, sizes[0], 0));
    return deft_zoo_add_classifier(b, sizes + 1, count - 1);
}

static deft_status build_spec(deft_zoo_builder *b, const char *spec) {
    static const struct {
        const char *name;
        deft_status (*build)(deft_zoo_builder *b);
    } nets[] = {
#define DEFT_ZOO_NET(NAME, FUNCTION, SUMMARY) {NAME, deft_zoo_##FUNCTION},
#include "ir/model/zoo.def"
#undef DEFT_ZOO_NET
    };
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++)
        if (strcmp(spec, nets[i].name) == 0) return nets[i].build(b);
    return strncmp(spec, "mlp:", 4) == 0 ? build_mlp(b, spec) : fail_spec(b->graph->ctx, spec, "");
}

deft_status deft_zoo_build(deft_context *ctx, const char *spec, deft_graph **graph) {
    deft_zoo_builder b = {0};
    deft_status status;
    char *name;
    DEFT_TRY_OR_FAIL(deft_graph_new(ctx, &b.graph));
    deft_rng_init(&b.rng, ctx->seed, RNG_STREAM);
    DEFT_TRY_OR_FAIL(build_spec(&b, spec));
    DEFT_TRY_OR_FAIL(deft_arena_string(&b.graph->arena, spec, &name));
    b.graph->name = name;
    DEFT_TRY_OR_FAIL(deft_graph_verify(b.graph));
    DEFT_TRY_OR_FAIL(deft_graph_infer(b.graph, 1, NULL, 0));
    *graph = b.graph;
    return DEFT_OK;
fail:
    deft_graph_free(b.graph);
    return status;
}

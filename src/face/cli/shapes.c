#include "face/cli/shapes.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* "1,3,224,224"; nothing is a scalar. */
static bool parse_dims(const char *text, deft_binding *binding) {
    for (binding->rank = 0; *text; binding->rank++) {
        char *end;
        errno = 0;
        if (binding->rank == DEFT_MAX_RANK || !isdigit((unsigned char)*text)) return false;
        binding->dims[binding->rank] = strtoll(text, &end, 10);
        if (errno || (*end && *end != ',') || (*end == ',' && !end[1])) return false;
        text = end + (*end == ',');
    }
    return true;
}

/* A name may hold '=' itself. */
static deft_status parse_shape(deft_shapes *shapes, const char *text) {
    const char *equals = strrchr(text, '=');
    deft_binding *binding = &shapes->bindings[shapes->count];
    if (!equals || equals == text || !parse_dims(equals + 1, binding))
        return deft_fail(shapes->ctx, DEFT_INVALID, "--shape %.128s: expected NAME=DIMS, like x=1,3,224,224", text);
    char **name = &shapes->names[shapes->count];
    DEFT_TRY(deft_duplicate_string(shapes->ctx, text, name));
    (*name)[equals - text] = '\0';
    for (int i = 0; i < shapes->count; i++)
        if (strcmp(shapes->names[i], *name) == 0)
            return deft_fail(shapes->ctx, DEFT_INVALID, "--shape %.128s: the shape of '%.64s' is given already", text,
                             *name);
    binding->input = *name;
    shapes->count++;
    return DEFT_OK;
}

deft_status deft_shapes_parse(deft_context *ctx, const deft_texts *texts, deft_shapes *shapes) {
    *shapes = (deft_shapes){.ctx = ctx};
    for (int i = 0; i < texts->count; i++)
        DEFT_TRY(parse_shape(shapes, texts->items[i]));
    return DEFT_OK;
}

void deft_shapes_done(deft_shapes *shapes) {
    for (int i = 0; i < DEFT_TEXTS && shapes->names[i]; i++)
        deft_release(shapes->ctx, shapes->names[i]);
}

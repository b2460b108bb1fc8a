/* Rows as lines of JSON. */
#include "face/report/report.h"

#include <math.h>
#include <string.h>

json_t *deft_json_text(const char *text) {
    if (!text) return json_null();
    json_t *value = json_string(text);
    if (value) return value;
    char *ascii = strdup(text);
    for (char *c = ascii; c && *c; c++)
        if ((unsigned char)*c >= 0x80) *c = '?';
    value = ascii ? json_string(ascii) : NULL;
    free(ascii);
    return value;
}

static json_t *field_value(const deft_column *column, const void *row) {
    const void *field = (const char *)row + column->offset;
    switch (column->field) {
    case DEFT_FIELD_TEXT:
        return deft_json_text(*(const char *const *)field);
    case DEFT_FIELD_INT:
        return json_integer(*(const int *)field);
    case DEFT_FIELD_INT64:
        return json_integer(*(const int64_t *)field);
    case DEFT_FIELD_BOOL:
        return json_boolean(*(const bool *)field);
    case DEFT_FIELD_REAL:
    case DEFT_FIELD_SHARE:
        break;
    }
    double real = *(const double *)field;
    return isfinite(real) ? json_real(real) : json_null();
}

deft_status deft_json_line(deft_context *ctx, FILE *file, json_t *object) {
    /* nine digits tell all f32 apart, and 0.98 stays "0.98" */
    char *text = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(object);
    if (!text) return deft_fail(ctx, DEFT_MEMORY, "out of memory for a line of JSON: free some and try again");
    fprintf(file, "%s\n", text);
    fflush(file);
    free(text);
    return DEFT_OK;
}

deft_status deft_json_row(const deft_report *report, const void *row) {
    json_t *object = json_object();
    bool complete = object && (!report->kind || json_object_set_new(object, "kind", json_string(report->kind)) == 0);
    for (int i = 0; complete && i < report->column_count; i++) {
        const deft_column *column = &report->columns[i];
        if (column->key) complete = json_object_set_new(object, column->key, field_value(column, row)) == 0;
    }
    if (!complete) {
        json_decref(object);
        object = NULL;
    }
    return deft_json_line(report->ctx, report->file, object);
}

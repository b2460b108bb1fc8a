/* Fields as text: fixed decimals, thousands separated, "-" for what is not there. */
#include "face/report/report.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

double deft_share(int64_t part, int64_t whole) {
    return whole ? (double)part / (double)whole : NAN;
}

int deft_text_width(const char *text) {
    int width = 0;
    for (; *text; text++)
        width += ((unsigned char)*text & 0xC0) != 0x80; /* not a continuation byte */
    return width;
}

void deft_text_clean(char *text) {
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7F) *text = '?';
}

/* 1234567 as "1,234,567". */
static void put_integer(int64_t value, char out[DEFT_CELL_BYTES]) {
    char digits[32];
    int count = snprintf(digits, sizeof digits, "%" PRId64, value);
    int first = value < 0 ? 1 : 0;
    size_t at = 0;
    for (int i = 0; i < count; i++) {
        if (i > first && (count - i) % 3 == 0) out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = '\0';
}

static void put_real(double value, int digits, const char *unit, char out[DEFT_CELL_BYTES]) {
    if (isnan(value))
        strcpy(out, "-");
    else if (fabs(value) >= 1e15) /* infinities too: decimals would say nothing */
        snprintf(out, DEFT_CELL_BYTES, "%.3g", value);
    else
        snprintf(out, DEFT_CELL_BYTES, "%.*f%s", digits, value, unit ? unit : "");
}

static void put_text(const char *text, char out[DEFT_CELL_BYTES]) {
    size_t length = text ? strnlen(text, DEFT_CELL_BYTES) : 0;
    if (!text) text = "-", length = 1;
    if (length >= DEFT_CELL_BYTES) {
        length = DEFT_CELL_BYTES - 1;
        while (length > 0 && ((unsigned char)text[length] & 0xC0) == 0x80)
            length--; /* not inside a character */
    }
    memcpy(out, text, length);
    out[length] = '\0';
    deft_text_clean(out);
}

const char *deft_cell_text(const deft_column *column, const void *row, char out[DEFT_CELL_BYTES]) {
    const void *field = (const char *)row + column->offset;
    switch (column->field) {
    case DEFT_FIELD_TEXT:
        put_text(*(const char *const *)field, out);
        break;
    case DEFT_FIELD_INT:
        put_integer(*(const int *)field, out);
        break;
    case DEFT_FIELD_INT64:
        put_integer(*(const int64_t *)field, out);
        break;
    case DEFT_FIELD_REAL:
        put_real(*(const double *)field, column->digits, column->unit, out);
        break;
    case DEFT_FIELD_SHARE:
        put_real(100 * *(const double *)field, column->digits, "%", out);
        break;
    case DEFT_FIELD_BOOL:
        strcpy(out, *(const bool *)field ? "yes" : "no");
        break;
    }
    return out;
}

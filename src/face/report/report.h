/* What a command prints: rows of one type, for people as a table with aligned columns, for programs as a JSON object a
 * line. One description of the columns serves both. */
#ifndef DEFT_FACE_REPORT_REPORT_H
#define DEFT_FACE_REPORT_REPORT_H

#include "base/core/arena.h"

#include <jansson.h>
#include <stdio.h>

/* The type of a field in a row: const char *, int, int64_t, double, a double of 0 to 1 that the table shows in per
 * cent, bool. */
typedef enum deft_field {
    DEFT_FIELD_TEXT,
    DEFT_FIELD_INT,
    DEFT_FIELD_INT64,
    DEFT_FIELD_REAL,
    DEFT_FIELD_SHARE,
    DEFT_FIELD_BOOL
} deft_field;

typedef struct deft_column {
    const char *key;   /* in JSON; NULL: only in the table */
    const char *title; /* over the column of the table; NULL: only in JSON */
    deft_field field;
    size_t offset;     /* of the field in a row */
    int digits;        /* after the point, of a real or a share in the table */
    const char *unit;  /* after a real in the table; NULL: none */
    int width;         /* at least: a live table has no other measure than this and the title */
    const char *group; /* a heading over neighbouring columns; NULL: none */
} deft_column;

#define DEFT_REPORT_COLUMNS 40 /* at most */

typedef struct deft_report {
    deft_context *ctx;
    FILE *file;
    bool json;
    bool live;        /* rows are printed as they come, in columns as wide as their titles and `width` say */
    const char *kind; /* the first key of each JSON object, where a command prints several kinds; or NULL */
    const deft_column *columns;
    int column_count;
    int widths[DEFT_REPORT_COLUMNS];
    deft_arena arena; /* what `rows` points to */
    char ***rows;     /* [row][column]: the cells of a table that is not live */
    int64_t row_count, row_capacity;
    bool headed; /* the headings of a live table are printed */
} deft_report;

/* Set `live` and `kind` afterwards where they are wanted. `columns` must outlive the report. There is nothing
 * to release until a row is added. */
void deft_report_init(deft_report *report, deft_context *ctx, FILE *file, bool json, const deft_column *columns,
                      int column_count);
/* Adds a row. A NaN or a NULL text is "-" in the table and null in JSON. What of a text cannot be printed is shown as
 * '?'. Whether writing failed is for the caller to ask (ferror). Error: DEFT_MEMORY. */
DEFT_MUST_CHECK deft_status deft_report_row(deft_report *report, const void *row);
/* Prints the rows that are held back. A table without rows prints nothing. */
void deft_report_flush(deft_report *report);
void deft_report_done(deft_report *report);

/* part / whole; NaN of nothing. */
double deft_share(int64_t part, int64_t whole);

/* Bytes of a printed cell at most, with the NUL: longer texts are cut. */
#define DEFT_CELL_BYTES 256
/* A field of a row as the table shows it. Returns `out`. */
const char *deft_cell_text(const deft_column *column, const void *row, char out[DEFT_CELL_BYTES]);
/* Columns of a terminal that a UTF-8 text takes, each character taken as one wide. */
int deft_text_width(const char *text);
/* Replaces control characters by '?', in place: names out of a file must not command a terminal. */
void deft_text_clean(char *text);

/* A string; null for NULL. Names need not be UTF-8, as JSON must be: what is not ASCII then becomes '?'. NULL where
 * memory ran out. */
json_t *deft_json_text(const char *text);
/* Prints an object, whose reference it takes, as a line of JSON. NULL stands for one that memory ran out for.
 * Error: DEFT_MEMORY. */
DEFT_MUST_CHECK deft_status deft_json_line(deft_context *ctx, FILE *file, json_t *object);
/* A row as a line of JSON. Error: DEFT_MEMORY. */
DEFT_MUST_CHECK deft_status deft_json_row(const deft_report *report, const void *row);

#endif

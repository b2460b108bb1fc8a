#include "face/report/report.h"

#include <assert.h>
#include <string.h>

static bool right_aligned(const deft_column *column) {
    return column->field != DEFT_FIELD_TEXT && column->field != DEFT_FIELD_BOOL;
}

static int larger(int a, int b) {
    return a > b ? a : b;
}

void deft_report_init(deft_report *report, deft_context *ctx, FILE *file, bool json, const deft_column *columns,
                      int column_count) {
    assert(column_count <= DEFT_REPORT_COLUMNS);
    *report = (deft_report){.ctx = ctx, .file = file, .json = json, .columns = columns, .column_count = column_count};
    for (int i = 0; i < column_count; i++)
        if (columns[i].title) report->widths[i] = larger(deft_text_width(columns[i].title), columns[i].width);
    deft_arena_init(&report->arena, ctx);
}

void deft_report_done(deft_report *report) {
    deft_release(report->ctx, report->rows);
    deft_arena_done(&report->arena);
}

static void print_spaces(FILE *file, int count) {
    if (count > 0) fprintf(file, "%*s", count, "");
}

/* A line of cells. Spaces are owed until another text comes, so that none end the line; two at least, so that a text
 * that is wider than its column stays apart from the next. */
static void print_line(const deft_report *report, const char *const *texts) {
    int owed = 0;
    bool begun = false;
    for (int i = 0; i < report->column_count; i++) {
        const deft_column *column = &report->columns[i];
        if (!column->title) continue;
        int pad = report->widths[i] - deft_text_width(texts[i]);
        if (right_aligned(column)) owed += pad;
        if (texts[i][0]) {
            print_spaces(report->file, begun ? larger(owed, 2) : owed);
            fputs(texts[i], report->file);
            begun = true;
            owed = 0;
        }
        owed += right_aligned(column) ? 2 : pad + 2;
    }
    fputc('\n', report->file);
}

/* The headings of groups, each over the left edge of its first column. */
static void print_groups(const deft_report *report) {
    int printed = 0, edge = 0;
    const char *group = NULL;
    for (int i = 0; i < report->column_count; i++) {
        const deft_column *column = &report->columns[i];
        if (!column->title) continue;
        if (column->group && (!group || strcmp(group, column->group) != 0)) {
            print_spaces(report->file, edge - printed);
            fputs(column->group, report->file);
            printed = larger(edge, printed) + deft_text_width(column->group);
        }
        group = column->group;
        edge += report->widths[i] + 2;
    }
    if (printed > 0) fputc('\n', report->file);
}

static void print_headings(const deft_report *report) {
    const char *titles[DEFT_REPORT_COLUMNS];
    for (int i = 0; i < report->column_count; i++)
        titles[i] = report->columns[i].title;
    print_groups(report);
    print_line(report, titles);
}

/* Keeps a row, and widens the columns to it. */
static deft_status keep_row(deft_report *report, const char *const *texts) {
    if (report->row_count == report->row_capacity) {
        int64_t capacity = report->row_capacity ? 2 * report->row_capacity : 16;
        DEFT_TRY(deft_reallocate(report->ctx, (size_t)capacity * sizeof *report->rows, &report->rows));
        report->row_capacity = capacity;
    }
    char **cells;
    DEFT_TRY(deft_arena_array(&report->arena, (size_t)report->column_count, sizeof *cells, &cells));
    for (int i = 0; i < report->column_count; i++) {
        DEFT_TRY(deft_arena_string(&report->arena, texts[i], &cells[i]));
        report->widths[i] = larger(report->widths[i], deft_text_width(texts[i]));
    }
    report->rows[report->row_count++] = cells;
    return DEFT_OK;
}

deft_status deft_report_row(deft_report *report, const void *row) {
    if (report->json) return deft_json_row(report, row);
    char cells[DEFT_REPORT_COLUMNS][DEFT_CELL_BYTES];
    const char *texts[DEFT_REPORT_COLUMNS];
    for (int i = 0; i < report->column_count; i++)
        texts[i] = deft_cell_text(&report->columns[i], row, cells[i]);
    if (!report->live) return keep_row(report, texts);
    if (!report->headed) print_headings(report);
    report->headed = true;
    print_line(report, texts);
    fflush(report->file);
    return DEFT_OK;
}

void deft_report_flush(deft_report *report) {
    if (report->row_count > 0) print_headings(report);
    for (int64_t i = 0; i < report->row_count; i++)
        print_line(report, (const char *const *)report->rows[i]);
    report->row_count = 0;
}

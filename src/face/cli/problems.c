#include "face/cli/problems.h"

#include "base/core/file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_COLUMNS = 64, MOST_BYTES = 1 << 20, MOST_SIZE = 1 << 20 };

typedef struct field {
    const char *name;
    size_t offset;
    bool real, of_product, of_convolution, optional;
} field;

static const field fields[] = {
    {"id", offsetof(deft_problem, id), false, true, true, false},
    {"m", offsetof(deft_problem, m), false, true, false, false},
    {"k", offsetof(deft_problem, k), false, true, false, false},
    {"n", offsetof(deft_problem, n), false, true, false, false},
    {"size", offsetof(deft_problem, size), false, false, true, false},
    {"channels_in", offsetof(deft_problem, channels_in), false, false, true, false},
    {"channels_out", offsetof(deft_problem, channels_out), false, false, true, false},
    {"kernel", offsetof(deft_problem, kernel), false, false, true, true},
    {"sparsity", offsetof(deft_problem, sparsity), true, true, true, true},
};
enum { FIELDS = sizeof fields / sizeof *fields };

/* A file being read. */
typedef struct parser {
    deft_context *ctx;
    const char *path;
    bool conv;
    int line;
    const field *columns[MOST_COLUMNS]; /* NULL: ignored */
    int column_count;
    deft_problems *problems;
} parser;

/* Cuts a line into cells in place, without the blanks around them; returns how many. */
static int split(char *line, char *cells[MOST_COLUMNS]) {
    int count = 0;
    for (char *next = line; next && count < MOST_COLUMNS;) {
        char *cell = next;
        next = strchr(cell, ',');
        if (next) *next++ = '\0';
        cell += strspn(cell, " \t\r");
        for (char *end = cell + strlen(cell); end > cell && strchr(" \t\r", end[-1]);)
            *--end = '\0';
        cells[count++] = cell;
    }
    return count;
}

static bool is_wanted(const parser *p, const field *f) {
    return p->conv ? f->of_convolution : f->of_product;
}

static deft_status read_header(parser *p, char *line) {
    char *cells[MOST_COLUMNS];
    bool found[FIELDS] = {false};
    p->column_count = split(line, cells);
    for (int i = 0; i < p->column_count; i++)
        for (int j = 0; j < FIELDS; j++)
            if (is_wanted(p, &fields[j]) && strcmp(cells[i], fields[j].name) == 0)
                p->columns[i] = &fields[j], found[j] = true;
    for (int j = 0; j < FIELDS; j++)
        if (is_wanted(p, &fields[j]) && !fields[j].optional && !found[j])
            return deft_fail(p->ctx, DEFT_INVALID,
                             "%s: line %d: there is no column '%s': name the columns in the "
                             "first line",
                             p->path, p->line, fields[j].name);
    return DEFT_OK;
}

static deft_status read_cell(const parser *p, const field *f, const char *text, deft_problem *problem) {
    char *end, *place = (char *)problem + f->offset;
    double value = strtod(text, &end), low = f->real ? 0 : 1, high = f->real ? 1 : MOST_SIZE;
    bool whole = f->real || value == floor(value);
    if (end == text || *end || !(value >= low && value <= high) || !whole)
        return deft_fail(p->ctx, DEFT_INVALID, "%s: line %d: %s is '%.40s', and not a %snumber from %.10g to %.10g",
                         p->path, p->line, f->name, text, f->real ? "" : "whole ", low, high);
    if (f->real)
        *(double *)(void *)place = value;
    else
        *(int64_t *)(void *)place = (int64_t)value;
    return DEFT_OK;
}

static bool is_same(const deft_problem *a, const deft_problem *b) {
    return a->m == b->m && a->k == b->k && a->n == b->n && a->size == b->size && a->channels_in == b->channels_in &&
           a->channels_out == b->channels_out && a->kernel == b->kernel && a->sparsity == b->sparsity;
}

static deft_status add_problem(parser *p, const deft_problem *problem) {
    deft_problems *all = p->problems;
    for (int i = 0; i < all->count; i++)
        if (is_same(&all->items[i], problem)) return DEFT_OK;
    DEFT_TRY(deft_reallocate(p->ctx, (size_t)(all->count + 1) * sizeof *all->items, &all->items));
    all->items[all->count++] = *problem;
    return DEFT_OK;
}

static deft_status read_problem(parser *p, char *line, double sparsity) {
    char *cells[MOST_COLUMNS];
    deft_problem problem = {.kernel = 3, .sparsity = -1};
    int count = split(line, cells);
    if (count != p->column_count)
        return deft_fail(p->ctx, DEFT_INVALID, "%s: line %d: %d fields, and %d columns are named", p->path, p->line,
                         count, p->column_count);
    for (int i = 0; i < count; i++)
        if (p->columns[i]) DEFT_TRY(read_cell(p, p->columns[i], cells[i], &problem));
    if (sparsity >= 0) problem.sparsity = sparsity;
    if (problem.sparsity < 0)
        return deft_fail(p->ctx, DEFT_INVALID, "%s: it has no column 'sparsity': give --sparsity", p->path);
    return add_problem(p, &problem);
}

static deft_status read_lines(parser *p, char *text, double sparsity) {
    for (char *next = text; next;) {
        char *line = next;
        next = strchr(line, '\n');
        if (next) *next++ = '\0';
        p->line++;
        line[strcspn(line, "#")] = '\0';
        if (line[strspn(line, " \t\r")] == '\0') continue;
        DEFT_TRY(p->column_count ? read_problem(p, line, sparsity) : read_header(p, line));
    }
    if (p->problems->count == 0) return deft_fail(p->ctx, DEFT_INVALID, "%s: there is no problem in it", p->path);
    return DEFT_OK;
}

deft_status deft_problems_read(deft_context *ctx, const char *path, bool conv, double sparsity,
                               deft_problems *problems) {
    char *data, *text = NULL;
    size_t bytes;
    *problems = (deft_problems){0};
    DEFT_TRY(deft_file_read(ctx, path, MOST_BYTES, (void **)&data, &bytes));
    deft_status status = deft_allocate(ctx, bytes + 1, &text);
    if (status == DEFT_OK) {
        memcpy(text, data, bytes);
        text[bytes] = '\0';
        parser p = {.ctx = ctx, .path = path, .conv = conv, .problems = problems};
        status = read_lines(&p, text, sparsity);
    }
    deft_release(ctx, text);
    deft_release(ctx, data);
    if (status != DEFT_OK) deft_problems_done(ctx, problems);
    return status;
}

void deft_problems_done(deft_context *ctx, deft_problems *problems) {
    deft_release(ctx, problems->items);
    *problems = (deft_problems){0};
}

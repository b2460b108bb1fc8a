/* The rows of a sparse constant matrix by their lengths: loops over the nonzeros of rows that are about as long as the
 * row before end where a processor expects it. */
#ifndef DEFT_CODEGEN_KERNEL_SPARSE_ROWS_H
#define DEFT_CODEGEN_KERNEL_SPARSE_ROWS_H

#include "codegen/kernel/linear.h"

/* A layer that one thread finishes sooner than this, in nanoseconds, is not shared. Waking a thread that sleeps took 5
 * to 15 us on a busy machine and about 60 us on an idle virtual one, whose cores sleep deeper: with less than twice
 * that, two threads were slower. */
#define DEFT_WORTH_A_TEAM_NS 120000.0

typedef struct deft_sorted_row {
    int64_t length, row;
} deft_sorted_row;

/* Rows and columns of a matrix [begin, past). */
typedef struct deft_rows_part {
    int64_t first_row, past_row, first_column, past_column;
} deft_rows_part;

/* The rows of a part of a matrix product by descending number of nonzeros in it, then by number: order[past_row -
 * first_row]. */
void deft_rows_sort(const deft_linear *l, deft_rows_part part, deft_sorted_row *order);

/* Cuts the rows (of all groups) into `count` shares of about as many nonzeros each, a row counting for one more: share
 * i is rows [*first)[i] to (*first)[i + 1], maybe none. To be released. Error: DEFT_MEMORY. */
DEFT_MUST_CHECK deft_status deft_rows_balance(deft_context *ctx, const deft_linear *l, int count, int64_t **first);

/* The first item of a thread's share of `count` items, whose nonzeros are numbered from begin[item]; begin[count]: how
 * many there are. Shares have about as many nonzeros each. */
int64_t deft_rows_share(const int64_t *begin, int64_t count, int thread, int team);

#endif

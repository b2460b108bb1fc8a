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

/* The rows of a matrix product by descending number of nonzeros, then by number: order[l->m]. */
void deft_rows_sort(const deft_linear *l, deft_sorted_row *order);

/* The first item of a thread's share of `count` items, whose nonzeros are numbered from begin[item]; begin[count]: how
 * many there are. Shares have about as many nonzeros each. */
int64_t deft_rows_share(const int64_t *begin, int64_t count, int thread, int team);

#endif

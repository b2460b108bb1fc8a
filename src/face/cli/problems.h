/* Problem files of `deft bench`: CSV with comments after '#', its columns found by name, others ignored. */
#ifndef DEFT_FACE_CLI_PROBLEMS_H
#define DEFT_FACE_CLI_PROBLEMS_H

#include "base/core/context.h"

typedef struct deft_problem {
    int64_t id;
    int64_t m, k, n;                         /* of a product */
    int64_t size, channels_in, channels_out; /* of a convolution */
    int64_t kernel;                          /* optional: 3 */
    double sparsity;                         /* share of zeros; optional: negative where the file does not say */
} deft_problem;

typedef struct deft_problems {
    deft_problem *items;
    int count;
} deft_problems;

/* Reads the columns id, m, k, n, or id, size, channels_in, channels_out. Where `sparsity` is not negative it stands for
 * that of the file, and of problems that then are the same one is kept. Errors: DEFT_IO; DEFT_INVALID (a column is
 * missing, a number is none or out of bounds, there is no problem), with the line. */
DEFT_MUST_CHECK deft_status deft_problems_read(deft_context *ctx, const char *path, bool conv, double sparsity,
                                               deft_problems *problems);
void deft_problems_done(deft_context *ctx, deft_problems *problems);

#endif

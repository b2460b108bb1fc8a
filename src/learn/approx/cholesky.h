/* Dense symmetric matrices, in f64. */
#ifndef DEFT_LEARN_APPROX_CHOLESKY_H
#define DEFT_LEARN_APPROX_CHOLESKY_H

#include <stdbool.h>
#include <stdint.h>

/* a [n][n], of which the upper triangle is read, becomes the upper triangular R with a = R R^T; below it is left as it
 * is. False where a is not positive definite, or not finite. n^3 / 3 operations. */
bool deft_cholesky_upper(double *a, int64_t n);

/* The upper triangular r [n][n] becomes its inverse; below it is left as it is. n^3 / 3 operations. With R of above,
 * U = R^-1 is the upper factor of the inverse: a^-1 = U^T U. `row` is scratch [n]. */
void deft_invert_upper(double *r, int64_t n, double *row);

#endif

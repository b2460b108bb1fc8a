#include "learn/approx/cholesky.h"

#include <math.h>
#include <string.h>

static double dot(const double *a, const double *b, int64_t n) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

bool deft_cholesky_upper(double *a, int64_t n) {
    for (int64_t j = n - 1; j >= 0; j--) {
        double *row = a + j * n;
        const double *right = row + j + 1; /* what is done of it */
        double square = row[j] - dot(right, right, n - 1 - j);
        if (!(square > 0 && square < INFINITY)) return false;
        row[j] = sqrt(square);
        for (int64_t i = 0; i < j; i++)
            a[i * n + j] = (a[i * n + j] - dot(a + i * n + j + 1, right, n - 1 - j)) / row[j];
    }
    return true;
}

void deft_invert_upper(double *r, int64_t n, double *row) {
    for (int64_t i = n - 1; i >= 0; i--) {
        double scale = 1 / r[i * n + i];
        memset(row + i, 0, (size_t)(n - i) * sizeof *row);
        for (int64_t k = i + 1; k < n; k++) { /* the rows below are inverted */
            double factor = -scale * r[i * n + k];
#pragma omp simd
            for (int64_t j = k; j < n; j++)
                row[j] += factor * r[k * n + j];
        }
        row[i] = scale;
        memcpy(r + i * n + i, row + i, (size_t)(n - i) * sizeof *row);
    }
}

/* Plots: series of points, drawn by gnuplot as SVG. */
#ifndef DEFT_FACE_REPORT_PLOT_H
#define DEFT_FACE_REPORT_PLOT_H

#include "base/core/context.h"

typedef struct deft_plot_point {
    double x, y, spread; /* spread: of an error bar up and down; NaN for none. Where y is NaN the point is left out */
} deft_plot_point;

typedef struct deft_series {
    const char *title;
    const deft_plot_point *points;
    int count;
} deft_series;

typedef struct deft_plot {
    int number; /* of it in its page: plots of one page need different ones */
    const char *title, *x_title, *y_title;
    bool shrinking; /* x is a share in per cent that falls from 100, on a logarithmic axis */
    const deft_series *series;
    int count;
} deft_plot;

/* Whether there is no point to draw. */
bool deft_plot_is_empty(const deft_plot *plot);

/* Draws a plot that is not empty. `*svg` is the element, without an XML declaration, released with deft_release.
 * Errors: DEFT_DEVICE (there is no gnuplot), DEFT_IO (it failed, with its message), DEFT_MEMORY. */
DEFT_MUST_CHECK deft_status deft_plot_svg(deft_context *ctx, const deft_plot *plot, char **svg);

#endif

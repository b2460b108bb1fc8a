/* A report as one page of HTML: plots as SVG and tables, of the logs of runs. */
#ifndef DEFT_FACE_REPORT_PAGE_H
#define DEFT_FACE_REPORT_PAGE_H

#include "face/report/run_log.h"

/* The page, a text that needs nothing beside it, released with deft_release: training curves of all logs together, then
 * for each lottery accuracy and learning speed over the weights that are left and curves of some rounds, and for each
 * frontier accuracy over speed. With `tables_only` there are no plots, and gnuplot is not asked for. *plots counts
 * them. Errors: those of deft_plot_svg, DEFT_MEMORY. */
DEFT_MUST_CHECK deft_status deft_page_make(deft_context *ctx, const deft_run_log *logs, int log_count, bool tables_only,
                                           char **page, int *plots);

#endif

#include "face/report/plot.h"

#include <errno.h>
#include <math.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* ---- the script ---------------------------------------------------------------------------------------------- */

/* A text in gnuplot's double quotes; what would mean something there is replaced. */
static void put_text(FILE *script, const char *text) {
    fputc('"', script);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        fputc(c < ' ' || c == 0x7F || strchr("\"\\`$%@{}^_&~", c) ? ' ' : c, script);
    }
    fputc('"', script);
}

static void put_command(FILE *script, const char *command, const char *text) {
    fprintf(script, "%s ", command);
    put_text(script, text);
    fputc('\n', script);
}

/* Neither missing nor so large that gnuplot's own sums overflow. */
static bool is_drawable(const deft_plot_point *point) {
    return fabs(point->x) < 1e30 && fabs(point->y) < 1e30;
}

static void put_data(FILE *script, const deft_plot *plot) {
    for (int s = 0; s < plot->count; s++) {
        fprintf(script, "$data%d << EOD\n", s);
        for (int i = 0; i < plot->series[s].count; i++) {
            const deft_plot_point *p = &plot->series[s].points[i];
            if (is_drawable(p)) fprintf(script, "%.9g %.9g %.9g\n", p->x, p->y, isfinite(p->spread) ? p->spread : 0);
        }
        fputs("EOD\n", script);
    }
}

/* From a little over 100 down to a little under the smallest. */
static void put_shrinking_axis(FILE *script, const deft_plot *plot) {
    double least = 50;
    for (int s = 0; s < plot->count; s++)
        for (int i = 0; i < plot->series[s].count; i++)
            least = fmin(least, fmax(plot->series[s].points[i].x, 1e-4));
    fprintf(script,
            "set logscale x\nset xrange [110:%g]\n"
            "set xtics ('100%%%%' 100, '50%%%%' 50, '20%%%%' 20, '10%%%%' 10, '5%%%%' 5, '2%%%%' 2, '1%%%%' 1, "
            "'0.5%%%%' 0.5, "
            "'0.2%%%%' 0.2, '0.1%%%%' 0.1, '0.01%%%%' 0.01)\n",
            0.9 * least);
}

static bool has_points(const deft_series *series) {
    for (int i = 0; i < series->count; i++)
        if (is_drawable(&series->points[i])) return true;
    return false;
}

bool deft_plot_is_empty(const deft_plot *plot) {
    for (int s = 0; s < plot->count; s++)
        if (has_points(&plot->series[s])) return false;
    return true;
}

static bool has_spread(const deft_series *series) {
    for (int i = 0; i < series->count; i++)
        if (isfinite(series->points[i].spread)) return true;
    return false;
}

static void put_script(FILE *script, const deft_plot *plot) {
    fprintf(script, "set terminal svg size 720,420 dynamic font 'sans-serif,13' noenhanced name 'plot%d'\n",
            plot->number);
    fputs("set key outside right top\nset grid\nset border 3\nset tics nomirror\n", script);
    put_command(script, "set title", plot->title);
    put_command(script, "set xlabel", plot->x_title);
    put_command(script, "set ylabel", plot->y_title);
    if (plot->shrinking) put_shrinking_axis(script, plot);
    put_data(script, plot);
    const char *before = "plot ";
    for (int s = 0; s < plot->count; s++) {
        if (!has_points(&plot->series[s])) continue;
        fprintf(script, "%s$data%d using 1:2%s lc %d pt 7 ps 0.5 lw 1.5 title ", before, s,
                has_spread(&plot->series[s]) ? ":3 with yerrorlines" : " with linespoints", s + 1);
        put_text(script, plot->series[s].title);
        before = ", ";
    }
    fputs("\n", script);
}

/* ---- gnuplot ------------------------------------------------------------------------------------------------- */

/* Runs it on the script; what it prints goes to `out`, what it complains of to `complaints`. */
static deft_status run_gnuplot(deft_context *ctx, FILE *script, FILE *out, FILE *complaints) {
    static char *const arguments[] = {"gnuplot", "-", NULL};
    posix_spawn_file_actions_t actions;
    pid_t child;
    int ended = 0;
    rewind(script); /* which also writes out what is buffered */
    if (posix_spawn_file_actions_init(&actions) != 0)
        return deft_fail(ctx, DEFT_MEMORY, "out of memory to start gnuplot");
    int failed = posix_spawn_file_actions_adddup2(&actions, fileno(script), STDIN_FILENO) ||
                 posix_spawn_file_actions_adddup2(&actions, fileno(out), STDOUT_FILENO) ||
                 posix_spawn_file_actions_adddup2(&actions, fileno(complaints), STDERR_FILENO);
    if (!failed) failed = posix_spawnp(&child, arguments[0], &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (failed)
        return deft_fail(ctx, DEFT_DEVICE,
                         "gnuplot could not be started (%s): install it (gnuplot-nox), or ask for --tables",
                         strerror(failed));
    while (waitpid(child, &ended, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(ended) && WEXITSTATUS(ended) == 127) /* some systems tell it so */
        return deft_fail(ctx, DEFT_DEVICE, "gnuplot was not found: install it (gnuplot-nox), or ask for --tables");
    if (WIFEXITED(ended) && WEXITSTATUS(ended) == 0) return DEFT_OK;
    char said[200] = "";
    rewind(complaints);
    size_t length = fread(said, 1, sizeof said - 1, complaints);
    said[length] = '\0';
    for (char *c = said; *c; c++)
        if ((unsigned char)*c < ' ') *c = ' ';
    return deft_fail(ctx, DEFT_IO, "gnuplot failed: %s: ask for --tables", said);
}

/* The element within what gnuplot printed. */
static deft_status take_svg(deft_context *ctx, FILE *out, char **svg) {
    long bytes = fseek(out, 0, SEEK_END) == 0 ? ftell(out) : -1;
    char *text;
    if (bytes < 0) return deft_fail(ctx, DEFT_IO, "what gnuplot printed could not be read");
    rewind(out);
    DEFT_TRY(deft_allocate(ctx, (size_t)bytes + 1, &text));
    size_t length = fread(text, 1, (size_t)bytes, out);
    text[length] = '\0';
    const char *element = strstr(text, "<svg");
    if (!element || !strstr(element, "</svg>")) {
        deft_release(ctx, text);
        return deft_fail(ctx, DEFT_IO, "gnuplot drew no SVG: ask for --tables");
    }
    memmove(text, element, strlen(element) + 1);
    *svg = text;
    return DEFT_OK;
}

deft_status deft_plot_svg(deft_context *ctx, const deft_plot *plot, char **svg) {
    FILE *script = tmpfile(), *out = tmpfile(), *complaints = tmpfile();
    deft_status status;
    if (script && out && complaints) {
        put_script(script, plot);
        status = run_gnuplot(ctx, script, out, complaints);
        if (status == DEFT_OK) status = take_svg(ctx, out, svg);
    } else {
        status = deft_fail(ctx, DEFT_IO, "no temporary file could be made: %s", strerror(errno));
    }
    FILE *files[] = {script, out, complaints};
    for (int i = 0; i < 3; i++)
        if (files[i]) fclose(files[i]);
    return status;
}

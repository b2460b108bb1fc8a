#include "face/cli/console.h"

#include "base/core/timing.h"
#include "face/report/report.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { BAR_WIDTH = 30 };
static const int64_t redraw_ns = 100000000;

/* The one variable of the process: a signal handler has no other place to leave word. */
static volatile sig_atomic_t signal_seen;
static int64_t signal_seen_ns; /* of the handler alone */

/* One request may arrive twice at once: timeout(1) signals the process and then its group. */
static void remember_signal(int number) {
    static const int64_t same_request_ns = 200000000;
    int64_t now = deft_time_ns();
    if (signal_seen && now - signal_seen_ns > same_request_ns) {
        signal(number, SIG_DFL);
        raise(number);
        return;
    }
    if (!signal_seen) signal_seen_ns = now;
    signal_seen = number;
}

/* A signal's frame, 12 KB with AVX-512 and AMX, goes to a stack of its own: matrix kernels of oneDNN 2.6 run with the
 * stack pointer at the edge of a heap block, and a frame there overwrites the heap (seen in one interrupted training of
 * six, never with this). A signal of the process goes to its first thread, so one such stack is enough. */
static void use_signal_stack(void) {
    static char stack[1 << 16];
    sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = sizeof stack}, NULL);
}

void deft_console_catch_signals(void) {
    use_signal_stack();
    struct sigaction action = {.sa_handler = remember_signal, .sa_flags = SA_RESTART | SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGINT);
    sigaddset(&action.sa_mask, SIGTERM);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

int deft_console_signal(void) {
    return signal_seen;
}

void deft_console_init(deft_console *console, bool quiet) {
    *console = (deft_console){.quiet = quiet, .terminal = isatty(STDERR_FILENO)};
}

static void print_message(deft_console *console, const char *format, va_list arguments) {
    char message[2048];
    vsnprintf(message, sizeof message, format, arguments);
    deft_text_clean(message);
    deft_console_clear(console);
    fprintf(stderr, "deft: %s\n", message);
}

void deft_console_error(deft_console *console, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    print_message(console, format, arguments);
    va_end(arguments);
}

void deft_console_note(deft_console *console, const char *format, ...) {
    if (console->quiet) return;
    va_list arguments;
    va_start(arguments, format);
    print_message(console, format, arguments);
    va_end(arguments);
}

static void draw(deft_console *console, double done, int64_t now) {
    char bar[BAR_WIDTH + 1], left[32] = "";
    int full = (int)(done * BAR_WIDTH);
    for (int i = 0; i < BAR_WIDTH; i++)
        bar[i] = i < full ? '#' : '.';
    bar[BAR_WIDTH] = '\0';
    if (done > 0.02) {
        double seconds = (double)(now - console->start_ns) * 1e-9 * (1 - done) / done;
        snprintf(left, sizeof left, "  %d:%02d left", (int)seconds / 60, (int)seconds % 60);
    }
    fprintf(stderr, "\r\033[K%s [%s] %3.0f%%%s", console->what, bar, 100 * done, left);
    fflush(stderr);
}

void deft_console_progress(deft_console *console, const char *what, double done) {
    if (console->quiet || !console->terminal) return;
    int64_t now = deft_time_ns();
    if (strncmp(console->what, what, sizeof console->what - 1) != 0) {
        snprintf(console->what, sizeof console->what, "%s", what);
        console->start_ns = now;
    } else if (now - console->drawn_ns < redraw_ns) {
        return;
    }
    console->drawn_ns = now;
    console->drawn = true;
    draw(console, done < 0 ? 0 : done > 1 ? 1 : done, now);
}

void deft_console_clear(deft_console *console) {
    if (!console->drawn) return;
    fputs("\r\033[K", stderr);
    fflush(stderr);
    console->drawn = false;
    console->what[0] = '\0'; /* what comes next is timed anew */
}

/* What goes to stderr: messages, a line each, and a progress bar where that is a terminal. */
#ifndef DEFT_FACE_CLI_CONSOLE_H
#define DEFT_FACE_CLI_CONSOLE_H

#include <deft/deft.h>

typedef struct deft_console {
    bool quiet;    /* errors only */
    bool terminal; /* stderr is one */
    bool drawn;    /* a bar stands on the line */
    int64_t start_ns, drawn_ns;
    char what[64]; /* the work that the bar is of */
} deft_console;

void deft_console_init(deft_console *console, bool quiet);
/* "deft: " and one line, whatever is in it. */
void deft_console_error(deft_console *console, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same, unless quiet. */
void deft_console_note(deft_console *console, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Draws the bar, ten times a second at most, with the time that is left. */
void deft_console_progress(deft_console *console, const char *what, double done);
/* Takes the bar away: before anything else is printed. */
void deft_console_clear(deft_console *console);

/* From now on an interrupt (Ctrl-C) or a request to terminate is remembered; a second one ends the process. */
void deft_console_catch_signals(void);
/* The signal that came, or 0. */
int deft_console_signal(void);

#endif

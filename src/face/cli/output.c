#include "face/cli/output.h"

#include <errno.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void deft_cli_report(const deft_cli *cli, deft_report *report, const deft_column *columns, int column_count) {
    deft_report_init(report, cli->ctx, cli->out, cli->json, columns, column_count);
}

deft_status deft_cli_print(const deft_cli *cli, const char *kind, const deft_column *columns, int column_count,
                           const void *row) {
    deft_report report;
    deft_cli_report(cli, &report, columns, column_count);
    report.kind = kind;
    deft_status status = deft_report_row(&report, row);
    deft_report_flush(&report);
    deft_report_done(&report);
    return status;
}

void deft_output_keep_apart(deft_cli *cli, const char *path) {
    struct stat file, standard;
    if (stat(path, &file) == 0 && fstat(STDOUT_FILENO, &standard) == 0 && file.st_dev == standard.st_dev &&
        file.st_ino == standard.st_ino)
        cli->out = stderr;
}

/* Makes a file in the folder of `path` and takes it away again: the one sure way to know. */
static deft_status try_folder(deft_context *ctx, const char *path) {
    char folder[4096], trial[4128];
    if (snprintf(folder, sizeof folder, "%s", path) >= (int)sizeof folder)
        return deft_fail(ctx, DEFT_IO, "%.64s...: the name is too long: choose a shorter one", path);
    snprintf(trial, sizeof trial, "%s/.deft-XXXXXX", dirname(folder));
    int fd = mkstemp(trial);
    if (fd < 0)
        return deft_fail(ctx, DEFT_IO, "%s: nothing can be written there: %s: choose another folder", path,
                         strerror(errno));
    close(fd);
    unlink(trial);
    return DEFT_OK;
}

deft_status deft_output_claim(deft_cli *cli, const char *path) {
    struct stat info;
    deft_output_keep_apart(cli, path);
    if (stat(path, &info) != 0) return try_folder(cli->ctx, path);
    if (S_ISDIR(info.st_mode)) return deft_fail(cli->ctx, DEFT_IO, "%s: is a folder: name a file to write to", path);
    if (!S_ISREG(info.st_mode)) return DEFT_OK; /* a device or a pipe, written directly */
    char *real = realpath(path, NULL);
    deft_status status = try_folder(cli->ctx, real ? real : path);
    free(real);
    return status;
}

deft_status deft_output_beside(deft_context *ctx, const char *path, const char *suffix, char **beside) {
    struct stat info;
    *beside = NULL;
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode)) return DEFT_OK;
    size_t bytes = strlen(path) + strlen(suffix) + 1;
    DEFT_TRY(deft_allocate(ctx, bytes, beside));
    snprintf(*beside, bytes, "%s%s", path, suffix);
    return DEFT_OK;
}

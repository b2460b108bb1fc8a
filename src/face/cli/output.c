#include "face/cli/output.h"

#include "face/cli/cli.h"

#include <errno.h>
#include <libgen.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void deft_cli_report(const deft_cli *cli, deft_report *report, const deft_column *columns, int column_count) {
    deft_report_init(report, cli->ctx, stdout, cli->json, columns, column_count);
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

deft_status deft_output_check(deft_context *ctx, const char *path) {
    struct stat info;
    char folder[4096];
    if (stat(path, &info) == 0) {
        if (S_ISDIR(info.st_mode)) return deft_fail(ctx, DEFT_IO, "%s: is a folder: name a file to write to", path);
        if (!S_ISREG(info.st_mode)) return DEFT_OK; /* a device or a pipe, written directly */
    }
    if (snprintf(folder, sizeof folder, "%s", path) >= (int)sizeof folder)
        return deft_fail(ctx, DEFT_IO, "%.64s...: the name is too long: choose a shorter one", path);
    if (access(dirname(folder), W_OK | X_OK) != 0)
        return deft_fail(ctx, DEFT_IO, "%s: cannot be written there: %s: choose another folder", path, strerror(errno));
    return DEFT_OK;
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

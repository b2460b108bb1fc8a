/* deft conform: models in ONNX's test layout, run and compared. */
#include "face/api/conform.h"
#include "face/cli/cli.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct conform_options {
    bool verbose;
} conform_options;

static const deft_option options[] = {
    {"verbose", 'v', DEFT_OPTION_FLAG, offsetof(conform_options, verbose), NULL,
     "a line for every case, not for failures alone", 0, 0, false},
};

typedef struct tally {
    int passed, failed, skipped;
} tally;

static const char *const verdicts[] = {"passed", "failed", "skipped"};

static deft_status print_case(const deft_cli *cli, const char *name, const deft_conform_result *result) {
    const char *verdict = verdicts[result->verdict];
    if (cli->json)
        return deft_json_line(cli->ctx, cli->out,
                              json_pack("{s:s, s:s, s:s}", "case", name, "verdict", verdict, "reason", result->reason));
    char line[sizeof result->reason + 512];
    snprintf(line, sizeof line, "%-7s  %s%s%s", verdict, name, *result->reason ? ": " : "", result->reason);
    deft_text_clean(line);
    fprintf(cli->out, "%s\n", line);
    return DEFT_OK;
}

static deft_status run_case(deft_cli *cli, const conform_options *wanted, const char *folder, const char *name,
                            tally *counts) {
    deft_conform_result result;
    DEFT_TRY(deft_conform_run(cli->ctx, folder, &result));
    counts->passed += result.verdict == DEFT_CONFORM_PASSED;
    counts->failed += result.verdict == DEFT_CONFORM_FAILED;
    counts->skipped += result.verdict == DEFT_CONFORM_SKIPPED;
    if (!wanted->verbose && !cli->json && result.verdict != DEFT_CONFORM_FAILED) return DEFT_OK;
    return print_case(cli, name, &result);
}

/* The last part of a path. */
static const char *name_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

/* Every case in a folder of them, in the order of their names. */
static deft_status run_cases(deft_cli *cli, const conform_options *wanted, const char *folder, struct dirent **entries,
                             int count, tally *counts) {
    int found = 0;
    for (int i = 0; i < count; i++) {
        char path[4096];
        if (snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name) >= (int)sizeof path) continue;
        if (entries[i]->d_name[0] == '.' || !deft_conform_is_case(path)) continue;
        DEFT_TRY(deft_progress(cli->ctx, "cases", (double)i / count));
        DEFT_TRY(run_case(cli, wanted, path, entries[i]->d_name, counts));
        found++;
    }
    if (found > 0) return DEFT_OK;
    return deft_fail(cli->ctx, DEFT_INVALID, "%s: no test case: neither it nor a folder in it holds a model.onnx",
                     folder);
}

static deft_status run_folder(deft_cli *cli, const conform_options *wanted, const char *folder, tally *counts) {
    if (deft_conform_is_case(folder)) return run_case(cli, wanted, folder, name_of(folder), counts);
    struct dirent **entries;
    int count = scandir(folder, &entries, NULL, alphasort);
    if (count < 0)
        return deft_fail(cli->ctx,
                         errno == ENOMEM                       ? DEFT_MEMORY
                         : errno == ENOTDIR || errno == ENOENT ? DEFT_INVALID
                                                               : DEFT_IO,
                         "%s: cannot open: %s", folder, strerror(errno));
    deft_status status = run_cases(cli, wanted, folder, entries, count, counts);
    for (int i = 0; i < count; i++)
        free(entries[i]);
    free(entries);
    return status;
}

static deft_status run(deft_cli *cli, const void *arguments) {
    tally counts = {0};
    for (char *const *folder = cli->operands; *folder; folder++)
        DEFT_TRY(run_folder(cli, arguments, *folder, &counts));
    deft_console_clear(&cli->console);
    if (cli->json)
        DEFT_TRY(deft_json_line(
            cli->ctx, cli->out,
            json_pack("{s:i, s:i, s:i}", "passed", counts.passed, "failed", counts.failed, "skipped", counts.skipped)));
    else
        fprintf(cli->out, "%d passed, %d failed, %d skipped\n", counts.passed, counts.failed, counts.skipped);
    if (counts.failed == 0) return DEFT_OK;
    return deft_fail(cli->ctx, DEFT_NO, "%d of %d cases failed", counts.failed,
                     counts.passed + counts.failed + counts.skipped);
}

const deft_command deft_command_conform = {
    .name = "conform",
    .summary = "Run models in ONNX's test layout and compare their outputs.",
    .operand = "FOLDER",
    .many_operands = true,
    .notes = "A FOLDER is a test (model.onnx, test_data_set_0/input_0.pb, output_0.pb) or\n"
             "holds tests. Skipped is what Deft does not have; --verbose says what it is.\n"
             "ONNX's own: /usr/include/onnx/backend/test/data/node (Debian: libonnx-testdata).\n",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .options_bytes = sizeof(conform_options),
    .run = run,
};

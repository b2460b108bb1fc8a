#include "face/cli/journal.h"

#include "base/core/file.h"
#include "face/cli/output.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const size_t MAX_BYTES = 1 << 30;
enum { DIGITS = 9 }; /* as deft_json_line writes reals */

static const deft_column epoch_columns[] = {
    {"epoch", "epoch", DEFT_FIELD_INT, offsetof(deft_epoch, epoch), 0, NULL, 0, NULL},
    {"epochs", "of", DEFT_FIELD_INT, offsetof(deft_epoch, epochs), 0, NULL, 3, NULL},
    {"loss", "loss", DEFT_FIELD_REAL, offsetof(deft_epoch, loss), 4, NULL, 8, NULL},
    {"accuracy_validation", "validation", DEFT_FIELD_SHARE, offsetof(deft_epoch, accuracy), 2, NULL, 0, NULL},
    {"learning_rate", "rate", DEFT_FIELD_REAL, offsetof(deft_epoch, learning_rate), 5, NULL, 8, NULL},
    {"images_per_second", "images/s", DEFT_FIELD_REAL, offsetof(deft_epoch, images_per_second), 0, NULL, 9, NULL},
    {"seconds", "seconds", DEFT_FIELD_REAL, offsetof(deft_epoch, seconds), 1, NULL, 0, NULL},
};
enum { EPOCH_COLUMNS = sizeof epoch_columns / sizeof *epoch_columns };

/* ---- settings ------------------------------------------------------------------------------------------------- */

static json_t *choice(const char *words, int index) {
    for (; index > 0; index--)
        words += strcspn(words, "|") + 1;
    return json_stringn(words, strcspn(words, "|"));
}

/* null for a number that no one can give: what the command makes of that is its default. */
static json_t *real(const deft_option *option, double value) {
    return value < option->low ? json_null() : json_real(value);
}

static json_t *setting(const deft_option *option, const void *field) {
    switch (option->type) {
    case DEFT_OPTION_FLAG:
        return json_boolean(*(const bool *)field);
    case DEFT_OPTION_TEXT:
        return deft_json_text(*(const char *const *)field);
    case DEFT_OPTION_INT:
        return json_integer(*(const int *)field);
    case DEFT_OPTION_INT64:
        return json_integer(*(const int64_t *)field);
    case DEFT_OPTION_REAL:
        return real(option, *(const double *)field);
    case DEFT_OPTION_CHOICE:
        return choice(option->argument, *(const int *)field);
    default:
        return json_null();
    }
}

/* The options of `table` that decide a run, as they are in `fields`. */
static bool add_settings(json_t *settings, deft_option_table table, const char *fields) {
    for (int i = 0; i < table.count; i++) {
        const deft_option *option = &table.options[i];
        if (option->type == DEFT_OPTION_FILE) continue;
        if (json_object_set_new(settings, option->name, setting(option, fields + option->offset)) != 0) return false;
    }
    return true;
}

/* What decides a run; names of files that it writes do not. NULL where memory ran out. */
static json_t *settings_of(const deft_cli *cli, const deft_command *command, const void *options) {
    json_t *settings = json_object();
    bool complete = settings && json_object_set_new(settings, "kind", json_string(command->name)) == 0 &&
                    json_object_set_new(settings, "model", deft_json_text(cli->operand)) == 0 &&
                    json_object_set_new(settings, "seed", json_integer((json_int_t)cli->seed)) == 0 &&
                    json_object_set_new(settings, "threads", json_integer(cli->ctx->threads)) == 0 &&
                    json_object_set_new(settings, "version", json_string(deft_version())) == 0;
    complete =
        complete && add_settings(settings, (deft_option_table){command->options, command->option_count}, options);
    if (complete && command->training)
        complete = add_settings(settings, *command->training, (const char *)options + command->training_offset);
    if (complete) return settings;
    json_decref(settings);
    return NULL;
}

/* The same but for the threads, which do not decide what is learned so much as how fast. */
static bool same_settings(const json_t *a, const json_t *b) {
    const json_t *sides[] = {a, b};
    char *texts[2];
    for (int i = 0; i < 2; i++) {
        json_t *copy = json_copy((json_t *)sides[i]);
        json_object_del(copy, "threads");
        texts[i] = json_dumps(copy, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(DIGITS));
        json_decref(copy);
    }
    bool same = texts[0] && texts[1] && strcmp(texts[0], texts[1]) == 0;
    free(texts[0]);
    free(texts[1]);
    return same;
}

/* ---- what is there already ------------------------------------------------------------------------------------ */

static bool is_log(const json_t *settings) {
    return json_is_string(json_object_get(settings, "kind")) && json_is_string(json_object_get(settings, "version"));
}

/* The epochs of a log with these settings; its last line may be torn. */
static deft_status take_lines(deft_journal *journal, const char *text, size_t bytes) {
    deft_context *ctx = journal->cli->ctx;
    const char *end = text + bytes;
    bool first = true, same = false;
    for (const char *newline; (newline = memchr(text, '\n', (size_t)(end - text))); text = newline + 1) {
        json_t *line = json_loadb(text, (size_t)(newline - text), 0, NULL);
        if (first && !is_log(line)) {
            json_decref(line);
            break;
        }
        if (first) same = same_settings(line, journal->settings);
        first = false;
        bool kept = !same || !json_is_integer(json_object_get(line, "epoch")) ||
                    json_array_append(journal->old_epochs, line) == 0;
        json_decref(line);
        if (!kept) return deft_fail(ctx, DEFT_MEMORY, "out of memory for the log %s", journal->path);
    }
    if (!first || bytes == 0) return DEFT_OK;
    return deft_fail(ctx, DEFT_INVALID, "%s: this file is no log of Deft's: name another with --log, or remove it",
                     journal->path);
}

static deft_status take_file(deft_journal *journal) {
    struct stat info;
    void *text;
    size_t bytes;
    if (stat(journal->path, &info) != 0 || !S_ISREG(info.st_mode)) return DEFT_OK;
    DEFT_TRY(deft_file_read(journal->cli->ctx, journal->path, MAX_BYTES, &text, &bytes));
    deft_status status = take_lines(journal, text, bytes);
    deft_release(journal->cli->ctx, text);
    return status;
}

deft_status deft_journal_init(deft_cli *cli, const deft_command *command, const void *options, const char *wanted,
                              const char *output, deft_journal *journal) {
    *journal = (deft_journal){.cli = cli};
    if (wanted && strcmp(wanted, output) == 0)
        return deft_fail(cli->ctx, DEFT_INVALID, "%s: the log and the model cannot be one file", wanted);
    if (wanted) DEFT_TRY(deft_duplicate_string(cli->ctx, wanted, &journal->path));
    if (!wanted) DEFT_TRY(deft_output_beside(cli->ctx, output, ".log.jsonl", &journal->path));
    if (!journal->path) return DEFT_OK;
    DEFT_TRY(deft_output_claim(cli, journal->path));
    journal->settings = settings_of(cli, command, options);
    journal->old_epochs = json_array();
    if (!journal->settings || !journal->old_epochs)
        return deft_fail(cli->ctx, DEFT_MEMORY, "out of memory for the log %s", journal->path);
    return take_file(journal);
}

/* ---- writing -------------------------------------------------------------------------------------------------- */

static deft_status fail_to_write(const deft_journal *journal) {
    return deft_fail(journal->cli->ctx, DEFT_IO, "%s: cannot write the log: %s", journal->path, strerror(errno));
}

/* The settings, and the old epochs before `epoch`. */
static deft_status write_start(const deft_journal *journal, int epoch) {
    deft_context *ctx = journal->cli->ctx;
    char *text = NULL;
    size_t bytes = 0, index;
    json_t *line;
    FILE *stream = open_memstream(&text, &bytes);
    if (!stream) return deft_fail(ctx, DEFT_MEMORY, "out of memory for the log %s", journal->path);
    deft_status status = deft_json_line(ctx, stream, json_incref(journal->settings));
    json_array_foreach(journal->old_epochs, index, line) {
        bool before = json_integer_value(json_object_get(line, "epoch")) < epoch;
        if (status == DEFT_OK && before) status = deft_json_line(ctx, stream, json_incref(line));
    }
    bool whole = fclose(stream) == 0;
    if (status == DEFT_OK && !whole) status = deft_fail(ctx, DEFT_MEMORY, "out of memory for the log");
    if (status == DEFT_OK) status = deft_file_write(ctx, journal->path, text, bytes);
    free(text);
    return status;
}

static deft_status add_row(deft_journal *journal, int epoch, const char *kind, const deft_column *columns, int count,
                           const void *row) {
    deft_report line;
    if (!journal->path) return DEFT_OK;
    if (!journal->file) {
        DEFT_TRY(write_start(journal, epoch));
        journal->file = fopen(journal->path, "ae");
        if (!journal->file) return fail_to_write(journal);
    }
    deft_report_init(&line, journal->cli->ctx, journal->file, true, columns, count);
    line.kind = kind;
    DEFT_TRY(deft_json_row(&line, row));
    return ferror(journal->file) ? fail_to_write(journal) : DEFT_OK;
}

deft_status deft_journal_epoch(void *user, const deft_epoch *epoch) {
    deft_journal *journal = user;
    deft_console_clear(&journal->cli->console);
    if (!journal->epochs.columns) { /* once it is known where the command prints */
        deft_cli_report(journal->cli, &journal->epochs, epoch_columns, EPOCH_COLUMNS);
        journal->epochs.live = true;
        journal->epochs.kind = "epoch";
    }
    DEFT_TRY(deft_report_row(&journal->epochs, epoch));
    return add_row(journal, epoch->epoch, "epoch", epoch_columns, EPOCH_COLUMNS, epoch);
}

void deft_journal_tell_kept(const deft_journal *journal, deft_status status, const char *checkpoint) {
    if (status == DEFT_CANCELLED && checkpoint && access(checkpoint, F_OK) == 0)
        deft_console_note(&journal->cli->console, "%s keeps the finished epochs: the same command goes on from there",
                          checkpoint);
}

/* A run that went on from a checkpoint of all epochs has none of its own: then all of the old ones stay. */
deft_status deft_journal_outcome(deft_journal *journal, const deft_column *columns, int column_count, const void *row) {
    return add_row(journal, INT_MAX, "outcome", columns, column_count, row);
}

void deft_journal_done(deft_journal *journal) {
    if (journal->file) fclose(journal->file);
    if (!journal->cli) return;
    if (journal->epochs.columns) deft_report_done(&journal->epochs);
    json_decref(journal->settings);
    json_decref(journal->old_epochs);
    deft_release(journal->cli->ctx, journal->path);
}

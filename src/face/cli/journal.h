/* What training tells: its epochs, printed as they come, and the log that a run keeps by itself: lines of JSON, the
 * settings first, then the epochs and the outcome. It goes on where training goes on from a checkpoint. `deft report`
 * plots it. */
#ifndef DEFT_FACE_CLI_JOURNAL_H
#define DEFT_FACE_CLI_JOURNAL_H

#include "face/cli/cli.h"
#include "learn/train/train.h"

typedef struct deft_journal {
    deft_cli *cli;
    deft_report epochs; /* as they are printed */
    char *path;         /* NULL: none is kept */
    json_t *settings;   /* the command and its options */
    json_t *old_epochs; /* of the file that is there, where it has the same settings, whatever the threads */
    FILE *file;         /* open for appending from the first row on */
} deft_journal;

/* `wanted` names the log; NULL: OUTPUT.log.jsonl, which there is none of beside a device or a pipe. Nothing is written
 * before the first row. To be done with after a failure too. Errors: DEFT_INVALID (there is a file of that name that is
 * no log), DEFT_IO (it could not be written), DEFT_MEMORY. */
DEFT_MUST_CHECK deft_status deft_journal_init(deft_cli *cli, const deft_command *command, const void *options,
                                              const char *wanted, const char *output, deft_journal *journal);
/* For deft_train_options.on_epoch: prints the epoch and appends it; the first one of a run keeps those before it that
 * are in the file. Error: DEFT_IO. */
DEFT_MUST_CHECK deft_status deft_journal_epoch(void *journal, const deft_epoch *epoch);
/* Where training was cancelled, says that its checkpoint (or NULL) is there. */
void deft_journal_tell_kept(const deft_journal *journal, deft_status status, const char *checkpoint);
/* Appends the outcome, a row of the command's. Error: DEFT_IO. */
DEFT_MUST_CHECK deft_status deft_journal_outcome(deft_journal *journal, const deft_column *columns, int column_count,
                                                 const void *row);
/* Accepts a zeroed journal. */
void deft_journal_done(deft_journal *journal);

#endif

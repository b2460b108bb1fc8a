/* The outputs of a session: printed, and written to files. */
#ifndef DEFT_FACE_CLI_FETCH_H
#define DEFT_FACE_CLI_FETCH_H

#include "face/api/model.h"
#include "face/cli/cli.h"

/* A line for each output: shape, range, and of a matrix the index of the largest element of its first rows. */
DEFT_MUST_CHECK deft_status deft_fetch_print(const deft_cli *cli, const deft_session *session);
/* Writes the outputs: to FILE.npy (one output only; a device or a pipe likewise), FILE.npz, or else to a folder, which
 * is made where it is missing, as NAME.npy. Errors: DEFT_IO, DEFT_INVALID. */
DEFT_MUST_CHECK deft_status deft_fetch_write(const deft_session *session, const char *path);

#endif

/* Files that a command writes. */
#ifndef DEFT_FACE_CLI_OUTPUT_H
#define DEFT_FACE_CLI_OUTPUT_H

#include "face/cli/cli.h"

/* Where `path` is the standard output itself, what is printed goes to stderr from now on. */
void deft_output_keep_apart(deft_cli *cli, const char *path);
/* The same, and refuses, before long work, a file that could not be written after it: its folder is missing or
 * read-only, it is a folder itself. Error: DEFT_IO. */
DEFT_MUST_CHECK deft_status deft_output_claim(deft_cli *cli, const char *path);
/* The name of a file beside `path`: path and suffix; NULL where `path` is a device or a pipe, which has no place
 * beside it. Released with deft_release. Error: DEFT_MEMORY. */
DEFT_MUST_CHECK deft_status deft_output_beside(deft_context *ctx, const char *path, const char *suffix, char **beside);

#endif

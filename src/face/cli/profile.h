/* Where the time of a run goes. */
#ifndef DEFT_FACE_CLI_PROFILE_H
#define DEFT_FACE_CLI_PROFILE_H

#include "face/api/model.h"
#include "face/cli/cli.h"

/* Runs the session up to `runs` times, and prints for each layer its median time, its kernel and why it has that. */
DEFT_MUST_CHECK deft_status deft_profile_print(deft_cli *cli, deft_session *session, int64_t runs);

#endif

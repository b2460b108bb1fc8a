/* deft run --compare: how far the outputs are from those that another runtime computed. */
#ifndef DEFT_FACE_CLI_COMPARE_H
#define DEFT_FACE_CLI_COMPARE_H

#include "face/api/model.h"
#include "face/cli/cli.h"

/* Prints a row for each array of the .npz, which the model's outputs of these names are compared with. An output's
 * error is the largest of |x - y|, relative to the largest |y|, y being expected. Errors: DEFT_NO where an output's
 * error is above `tolerance`, or other elements are infinite or not numbers; DEFT_INVALID (no output of an array's
 * name, another shape). */
DEFT_MUST_CHECK deft_status deft_compare_outputs(const deft_cli *cli, const deft_session *session, const char *path,
                                                 double tolerance);

#endif

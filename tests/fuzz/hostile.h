/* Hostile models: a model by seed, mutated from real ones, and what is done with it. test_hostile.c runs many. */
#ifndef DEFT_TESTS_FUZZ_HOSTILE_H
#define DEFT_TESTS_FUZZ_HOSTILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Models that are mutated: paths of .onnx files, sorted. */
typedef struct hostile_corpus {
    char **models;
    size_t count;
} hostile_corpus;

/* Adds the files *.onnx under a folder, or one file. False where there are none. */
bool hostile_corpus_add(hostile_corpus *corpus, const char *path);
void hostile_corpus_done(hostile_corpus *corpus);

/* The mutated model of a seed: of the small ones mostly, of the large ones, where there are any, once in fifty. NULL
 * where the chosen file cannot be read. Released with free. Where a file lies in ONNX's test layout, some or all of its
 * inputs become initializers of the first data set's values first, so that shapes and indices that a model computes are
 * mutated too. */
uint8_t *hostile_make(const hostile_corpus *small, const hostile_corpus *large, uint64_t seed, size_t *bytes);

/* What a model came to: the last stage that it reached. */
typedef enum hostile_stage {
    HOSTILE_MAKE,
    HOSTILE_LOAD,
    HOSTILE_WRITE,
    HOSTILE_PLAN,
    HOSTILE_RUN,
    HOSTILE_DONE
} hostile_stage;
#define HOSTILE_STAGES (HOSTILE_DONE + 1)

#define HOSTILE_NOTE   256
/* Loads, writes, plans and runs a model on small inputs that the seed fills; *stage says what is being done.
 * `note` is the message of what failed, if anything. False, and the note says why, where memory leaked or was not
 * justified, or a message was missing; what a sanitizer finds ends the process. */
bool hostile_use(const uint8_t *data, size_t bytes, uint64_t seed, volatile hostile_stage *stage,
                 char note[HOSTILE_NOTE]);

#endif

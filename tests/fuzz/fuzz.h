/* A fuzz target fuzz_X.c defines this one function over untrusted bytes; it returns 0 and aborts on a bug.
 * `make MODE=fuzz CC=clang fuzzers` links it with libFuzzer (build/fuzz/fuzz/fuzz_X CORPUS...); `make check` links it
 * with replay.c, which feeds it the files of tests/fuzz/corpus/X/: seeds, and every input that once found a bug. */
#ifndef DEFT_TESTS_FUZZ_FUZZ_H
#define DEFT_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

#endif

/* Feeds a fuzz target the files of its corpus, without libFuzzer. The program's name, replay_X, says which:
 * $DEFT_SOURCE/tests/fuzz/corpus/X, or else the folder given as an argument. Prints TAP, one test a file. */
#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int is_file(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

/* Of exactly the file's size, so that a sanitizer sees a read past its end. NULL on failure. */
static uint8_t *read_whole(const char *path, size_t *out_bytes) {
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    uint8_t *data = NULL;
    if (fseek(file, 0, SEEK_END) == 0) {
        long bytes = ftell(file);
        rewind(file);
        data = bytes < 0 ? NULL : malloc((size_t)bytes ? (size_t)bytes : 1);
        *out_bytes = (size_t)bytes;
        if (data && fread(data, 1, (size_t)bytes, file) != (size_t)bytes) {
            free(data);
            data = NULL;
        }
    }
    fclose(file);
    return data;
}

static int replay(const char *folder, const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    size_t bytes = 0;
    uint8_t *data = read_whole(path, &bytes);
    if (!data) return -1;
    /* Said before the run, so that the output of a crash names the input. */
    printf("# %s, %zu bytes\n", path, bytes);
    fflush(stdout);
    int result = LLVMFuzzerTestOneInput(data, bytes);
    free(data);
    return result;
}

int main(int argc, char **argv) {
    const char *source = getenv("DEFT_SOURCE");
    const char *slash = strrchr(argv[0], '/');
    const char *target = strstr(slash ? slash : argv[0], "replay_");
    char folder[2048];
    if (argc == 2) {
        snprintf(folder, sizeof folder, "%s", argv[1]);
    } else if (target) {
        snprintf(folder, sizeof folder, "%s/tests/fuzz/corpus/%s", source ? source : ".", target + strlen("replay_"));
    } else {
        fprintf(stderr, "usage: replay_X [CORPUS]\n");
        return 2;
    }
    struct dirent **entries = NULL;
    int count = scandir(folder, &entries, is_file, alphasort);
    int failed = count <= 0;
    if (failed) printf("not ok 1 - no corpus in %s\n", folder);
    for (int i = 0; i < count; i++) {
        int result = replay(folder, entries[i]->d_name);
        printf("%sok %d - %s\n", result == 0 ? "" : "not ", i + 1, entries[i]->d_name);
        failed |= result != 0;
        free(entries[i]);
    }
    free(entries);
    return failed;
}

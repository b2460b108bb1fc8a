/* Loads, writes, plans and runs mutated models, by seed, in a process of its own, each within 10 s of CPU time and 2 GB
 * of memory; before them the models of tests/fuzz/corpus/hostile, which once failed.
 *
 * usage: test_hostile [--first SEED] [--count N] [--verbose] [--models PATH]...
 *            mutates ONNX's node tests, and the models named
 *        test_hostile [--first SEED] FILE
 *            uses one file, in this process, its inputs filled by the seed
 *
 * Prints TAP: a line for each seed that fails, whose model is left in hostile-SEED.onnx, and one in all. Seeds name the
 * same models as long as the models that are mutated are the same. */
#include "hostile.h"

#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char NODE_TESTS[] = "/usr/include/onnx/backend/test/data";
enum { DEFAULT_COUNT = 400, CPU_SECONDS = 10, WALL_SECONDS = 300, MEMORY_MB = 2048, MAX_FILE_BYTES = 64 << 20 };

const char *__asan_default_options(void);
void __asan_init(void) __attribute__((weak)); /* there where the sanitizer is */

/* Leaks are looked for by counting. */
const char *__asan_default_options(void) {
    return "hard_rss_limit_mb=2048:allocator_may_return_null=1:detect_leaks=0:quarantine_size_mb=64";
}

static const char *const stages[] = {"make", "load", "write", "plan", "run", "done"};

/* What the process that works tells the one that watches it. */
typedef struct progress {
    volatile uint64_t seed;
    volatile hostile_stage stage;
    uint64_t reached[HOSTILE_STAGES];
    clock_t longest; /* CPU time of a seed, and which */
    uint64_t longest_seed;
    char note[HOSTILE_NOTE];
} progress;

/* What is asked for. */
typedef struct job {
    hostile_corpus small, large; /* ONNX's tests, and the models that were named */
    uint64_t first, count;
    bool verbose;
    const char *path; /* of one file, instead */
    progress *shared;
} job;

/* For the model under work: a hang ends the process. */
static void set_time_limit(void) {
    setitimer(ITIMER_PROF, &(struct itimerval){.it_value.tv_sec = CPU_SECONDS}, NULL);
    alarm(WALL_SECONDS);
}

static bool use_seed(const job *asked, uint64_t seed) {
    progress *shared = asked->shared;
    size_t bytes;
    shared->seed = seed;
    shared->stage = HOSTILE_MAKE;
    shared->note[0] = 0;
    set_time_limit();
    uint8_t *data = hostile_make(&asked->small, &asked->large, seed, &bytes);
    if (!data) return true;
    clock_t start = clock();
    bool good = hostile_use(data, bytes, seed, &shared->stage, shared->note);
    clock_t took = clock() - start;
    free(data);
    shared->reached[shared->stage]++;
    if (took > shared->longest) shared->longest = took, shared->longest_seed = seed;
    if (asked->verbose) printf("# seed %llu, %s: %s\n", (unsigned long long)seed, stages[shared->stage], shared->note);
    return good;
}

static bool use_seeds(const job *asked) {
    for (uint64_t i = 0; i < asked->count; i++)
        if (!use_seed(asked, asked->first + i)) return false;
    return true;
}

static bool use_file(const job *asked) {
    static uint8_t data[MAX_FILE_BYTES];
    progress *shared = asked->shared;
    FILE *file = fopen(asked->path, "rb");
    if (!file) return perror(asked->path), false;
    size_t bytes = fread(data, 1, sizeof data, file);
    fclose(file);
    shared->note[0] = 0;
    set_time_limit();
    return hostile_use(data, bytes, asked->first, &shared->stage, shared->note);
}

/* Does the work in a child; false where it fails or does not survive it, with why in the progress. */
static bool in_child(bool (*work)(const job *), const job *asked) {
    int status = 0;
    fflush(stdout);
    pid_t child = fork();
    if (child < 0) return false;
    if (child == 0) {
        bool good = work(asked);
        fflush(stdout);
        _exit(!good);
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    int number = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    const char *why = number == SIGPROF || number == SIGALRM ? "it took too long"
                      : number                               ? strsignal(number)
                                                             : "a sanitizer ended it";
    if (status != 0 && (number || !asked->shared->note[0])) snprintf(asked->shared->note, HOSTILE_NOTE, "%s", why);
    return status == 0;
}

static void keep_model(const job *asked, uint64_t seed) {
    char name[64];
    size_t bytes;
    uint8_t *data = hostile_make(&asked->small, &asked->large, seed, &bytes);
    snprintf(name, sizeof name, "hostile-%llu.onnx", (unsigned long long)seed);
    FILE *file = data ? fopen(name, "wb") : NULL;
    if (file) {
        fwrite(data, 1, bytes, file);
        fclose(file);
    }
    free(data);
}

/* Goes on after a seed that fails. Returns how many do. */
static int mutate(const job *asked) {
    int failures = 0;
    progress *shared = asked->shared;
    job rest = *asked;
    while (rest.count > 0 && !in_child(use_seeds, &rest)) {
        failures++;
        printf("not ok - seed %llu, at %s: %s\n", (unsigned long long)shared->seed, stages[shared->stage],
               shared->note);
        keep_model(asked, shared->seed);
        rest.first = shared->seed + 1;
        rest.count = asked->first + asked->count - rest.first;
    }
    const uint64_t *n = shared->reached;
    printf("# refused %llu, planned at most %llu, run %llu\n", (unsigned long long)n[HOSTILE_LOAD],
           (unsigned long long)(n[HOSTILE_WRITE] + n[HOSTILE_PLAN]),
           (unsigned long long)(n[HOSTILE_RUN] + n[HOSTILE_DONE]));
    printf("# the slowest, %llu, took %.2f s\n", (unsigned long long)shared->longest_seed,
           (double)shared->longest / CLOCKS_PER_SEC);
    printf("%sok - %llu mutated models of %zu, seeds from %llu: %d failed\n", failures ? "not " : "",
           (unsigned long long)asked->count, asked->small.count + asked->large.count, (unsigned long long)asked->first,
           failures);
    return failures;
}

static bool report_file(const job *asked, bool good) {
    printf("%sok - %s, at %s: %s\n", good ? "" : "not ", asked->path, stages[asked->shared->stage],
           asked->shared->note);
    return good;
}

static int is_file(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

/* Returns how many fail. */
static int replay(const job *asked) {
    const char *source = getenv("DEFT_SOURCE");
    char path[4096];
    struct dirent **entries = NULL;
    int length = snprintf(path, sizeof path, "%s/tests/fuzz/corpus/hostile/", source ? source : "."), failures = 0;
    int count = scandir(path, &entries, is_file, alphasort);
    if (count <= 0) return printf("not ok - no corpus in %s\n", path), 1;
    for (int i = 0; i < count; i++) {
        snprintf(path + length, sizeof path - (size_t)length, "%s", entries[i]->d_name);
        job one = {.path = path, .shared = asked->shared};
        failures += !report_file(&one, in_child(use_file, &one));
        free(entries[i]);
    }
    free(entries);
    return failures;
}

/* The sanitizer's shadow of the memory does not fit into such a limit; it has one of its own. */
static void limit_memory(void) {
    rlim_t bytes = (rlim_t)MEMORY_MB << 20;
    if (!__asan_init) setrlimit(RLIMIT_AS, &(struct rlimit){bytes, bytes});
}

static bool read_arguments(int argc, char **argv, job *asked) {
    static const struct option options[] = {{"first", required_argument, NULL, 'f'},
                                            {"count", required_argument, NULL, 'c'},
                                            {"models", required_argument, NULL, 'm'},
                                            {"verbose", no_argument, NULL, 'v'},
                                            {0}};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == 'f') asked->first = strtoull(optarg, NULL, 10);
        if (option == 'c') asked->count = strtoull(optarg, NULL, 10);
        if (option == 'v') asked->verbose = true;
        if (option == '?' || (option == 'm' && !hostile_corpus_add(&asked->large, optarg))) return false;
    }
    asked->path = argv[optind];
    return true;
}

int main(int argc, char **argv) {
    job asked = {.count = DEFAULT_COUNT};
    if (!read_arguments(argc, argv, &asked)) return 2;
    asked.shared = mmap(NULL, sizeof *asked.shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (asked.shared == MAP_FAILED) return perror("mmap"), 1;
    if (asked.path) return !report_file(&asked, use_file(&asked));
    if (!hostile_corpus_add(&asked.small, NODE_TESTS)) {
        printf("not ok - no models in %s\n", NODE_TESTS);
        return 1;
    }
    limit_memory();
    int failures = replay(&asked) + mutate(&asked);
    hostile_corpus_done(&asked.small);
    hostile_corpus_done(&asked.large);
    return failures > 0;
}

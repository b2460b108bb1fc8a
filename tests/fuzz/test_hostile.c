/* Loads, writes, plans and runs mutated models, by seed, in a process of its own, each within 10 s of CPU time and 2 GB
 * of memory.
 *
 * usage: test_hostile [--first SEED] [--count N] [--verbose] [--models PATH]...
 *            mutates ONNX's node tests, and the models named
 *        test_hostile [--first SEED] FILE
 *            uses one file, in this process, its inputs filled by the seed
 *
 * Prints TAP: a line for each seed that fails, whose model is left in hostile-SEED.onnx, and one in all. Seeds name the
 * same models as long as the models that are mutated are the same. */
#include "hostile.h"

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
enum { DEFAULT_COUNT = 400, CPU_SECONDS = 10, WALL_SECONDS = 300, MEMORY_MB = 2048 };

const char *__asan_default_options(void);
void __asan_init(void) __attribute__((weak)); /* there where the sanitizer is */

/* Leaks are looked for by counting. */
const char *__asan_default_options(void) {
    return "hard_rss_limit_mb=2048:allocator_may_return_null=1:detect_leaks=0:quarantine_size_mb=64";
}

static const char *const stages[] = {"make", "load", "write", "plan", "run", "done"};

/* ONNX's tests, and the models that were named. */
typedef struct corpora {
    hostile_corpus small, large;
} corpora;

/* Shared between the process that works and the one that watches it. */
typedef struct progress {
    volatile uint64_t seed;
    volatile hostile_stage stage;
    uint64_t reached[HOSTILE_STAGES];
    clock_t longest; /* CPU time of a seed, and which */
    uint64_t longest_seed;
    char note[HOSTILE_NOTE];
    bool verbose;
} progress;

/* A limit for the seed under work: a hang ends the process. */
static void set_time_limit(void) {
    setitimer(ITIMER_PROF, &(struct itimerval){.it_value.tv_sec = CPU_SECONDS}, NULL);
    alarm(WALL_SECONDS);
}

static void use_seed(const corpora *all, uint64_t seed, progress *shared) {
    size_t bytes;
    shared->seed = seed;
    shared->stage = HOSTILE_MAKE;
    shared->note[0] = 0;
    set_time_limit();
    uint8_t *data = hostile_make(&all->small, &all->large, seed, &bytes);
    if (!data) return;
    clock_t start = clock();
    if (!hostile_use(data, bytes, seed, &shared->stage, shared->note)) _exit(1);
    free(data);
    shared->reached[shared->stage]++;
    clock_t took = clock() - start;
    if (took > shared->longest) shared->longest = took, shared->longest_seed = seed;
    if (shared->verbose) printf("# seed %llu, %s: %s\n", (unsigned long long)seed, stages[shared->stage], shared->note);
}

static const char *reason_of(const progress *shared, int status) {
    if (WIFSIGNALED(status)) {
        int signal_number = WTERMSIG(status);
        return signal_number == SIGPROF || signal_number == SIGALRM ? "took too long" : strsignal(signal_number);
    }
    return shared->note[0] ? shared->note : "a sanitizer ended it";
}

static void keep_model(const corpora *all, uint64_t seed) {
    char name[64];
    size_t bytes;
    uint8_t *data = hostile_make(&all->small, &all->large, seed, &bytes);
    snprintf(name, sizeof name, "hostile-%llu.onnx", (unsigned long long)seed);
    FILE *file = data ? fopen(name, "wb") : NULL;
    if (file) {
        fwrite(data, 1, bytes, file);
        fclose(file);
    }
    free(data);
}

/* Uses the seeds in a child, and goes on after one that ends it. Returns how many did. */
static int use_seeds(const corpora *all, uint64_t first, uint64_t count, progress *shared) {
    int failures = 0;
    for (uint64_t next = first; next < first + count;) {
        fflush(stdout);
        pid_t child = fork();
        if (child < 0) return failures + 1;
        if (child == 0) {
            for (uint64_t seed = next; seed < first + count; seed++)
                use_seed(all, seed, shared);
            fflush(stdout);
            _exit(0);
        }
        int status = 0;
        while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
        }
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) break;
        failures++;
        printf("not ok - seed %llu, at %s: %s\n", (unsigned long long)shared->seed, stages[shared->stage],
               reason_of(shared, status));
        keep_model(all, shared->seed);
        next = shared->seed + 1;
    }
    return failures;
}

static int use_file(const char *path, uint64_t seed) {
    static uint8_t data[64 << 20];
    char note[HOSTILE_NOTE] = "";
    hostile_stage stage = HOSTILE_LOAD;
    FILE *file = fopen(path, "rb");
    if (!file) return perror(path), 2;
    size_t bytes = fread(data, 1, sizeof data, file);
    fclose(file);
    set_time_limit();
    bool good = hostile_use(data, bytes, seed, &stage, note);
    printf("%sok - %s, at %s: %s\n", good ? "" : "not ", path, stages[stage], note);
    return !good;
}

/* The sanitizer's shadow of the memory does not fit into such a limit; it has one of its own. */
static void limit_memory(void) {
    rlim_t bytes = (rlim_t)MEMORY_MB << 20;
    if (!__asan_init) setrlimit(RLIMIT_AS, &(struct rlimit){bytes, bytes});
}

int main(int argc, char **argv) {
    static const struct option options[] = {{"first", required_argument, NULL, 'f'},
                                            {"count", required_argument, NULL, 'c'},
                                            {"models", required_argument, NULL, 'm'},
                                            {"verbose", no_argument, NULL, 'v'},
                                            {0}};
    bool verbose = false;
    uint64_t first = 0, count = DEFAULT_COUNT;
    corpora all = {0};
    if (!hostile_corpus_add(&all.small, NODE_TESTS)) {
        printf("not ok - no models in %s\n", NODE_TESTS);
        return 1;
    }
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == 'f') first = strtoull(optarg, NULL, 10);
        if (option == 'c') count = strtoull(optarg, NULL, 10);
        if (option == 'v') verbose = true;
        if (option == '?' || (option == 'm' && !hostile_corpus_add(&all.large, optarg))) return 2;
    }
    if (optind < argc) return use_file(argv[optind], first);
    progress *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) return perror("mmap"), 1;
    shared->verbose = verbose;
    limit_memory();
    int failures = use_seeds(&all, first, count, shared);
    const uint64_t *n = shared->reached;
    printf("# refused %llu, planned at most %llu, too large to run %llu, ran with an error %llu, ran %llu\n",
           (unsigned long long)n[HOSTILE_LOAD], (unsigned long long)n[HOSTILE_WRITE],
           (unsigned long long)n[HOSTILE_PLAN], (unsigned long long)n[HOSTILE_RUN],
           (unsigned long long)n[HOSTILE_DONE]);
    printf("# the slowest, %llu, took %.2f s\n", (unsigned long long)shared->longest_seed,
           (double)shared->longest / CLOCKS_PER_SEC);
    printf("%sok - %llu mutated models of %zu, seeds from %llu: %d failed\n", failures ? "not " : "",
           (unsigned long long)count, all.small.count + all.large.count, (unsigned long long)first, failures);
    hostile_corpus_done(&all.small);
    hostile_corpus_done(&all.large);
    return failures > 0;
}

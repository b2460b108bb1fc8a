/* The command: finds out what is asked, runs it, and turns the outcome into a message and an exit status. */
#include "face/cli/cli.h"

#include "base/core/cpu.h"
#include "codegen/kernel/kernel.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_NO = 1, EXIT_USAGE = 2, EXIT_ENVIRONMENT = 3, EXIT_BUG = 4, EXIT_SIGNAL = 128 };

static const deft_command *const commands[] = {
#define DEFT_COMMAND(NAME) &deft_command_##NAME,
#include "face/cli/commands.def"
#undef DEFT_COMMAND
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static const deft_option global_options[] = {
    {"json", 0, DEFT_OPTION_FLAG, offsetof(deft_cli, json), NULL, "print a JSON object a line, and nothing else", 0, 0,
     false},
    {"threads", 0, DEFT_OPTION_INT, offsetof(deft_cli, threads), "N", "threads to use (default: all cores)", 1, 4096,
     false},
    {"isa", 0, DEFT_OPTION_CHOICE, offsetof(deft_cli, isa), "best|c|avx2|avx512", "(default best)", 0, 0, false},
    {"seed", 0, DEFT_OPTION_U64, offsetof(deft_cli, seed), "S", "seed of everything random (default 0)", 0, 0, false},
    {"max-memory", 0, DEFT_OPTION_BYTES, offsetof(deft_cli, max_memory_bytes), "BYTES",
     "memory to use, as 512M or 2G (default: 3/4 of it)", 0, 0, false},
    {"quiet", 'q', DEFT_OPTION_FLAG, offsetof(deft_cli, quiet), NULL, "no progress and no warnings", 0, 0, false},
};
static const deft_option_table global_table = {global_options, sizeof global_options / sizeof *global_options};

static int exit_status(deft_status status) {
    switch (status) {
    case DEFT_OK:
        return EXIT_SUCCESS;
    case DEFT_NO:
        return EXIT_NO;
    case DEFT_INVALID:
    case DEFT_UNSUPPORTED:
        return EXIT_USAGE;
    case DEFT_IO:
    case DEFT_MEMORY:
    case DEFT_DEVICE:
        return EXIT_ENVIRONMENT;
    case DEFT_CANCELLED:
        return EXIT_SIGNAL + deft_console_signal();
    case DEFT_BUG:
        break;
    }
    return EXIT_BUG;
}

/* ---- help ---- */

static void print_overview(FILE *file) {
    fputs("Deft makes a trained neural network faster within a bound that you set.\n"
          "usage: deft COMMAND ARGUMENTS\n\n",
          file);
    for (int i = 0; i < COMMANDS; i++)
        fprintf(file, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    fputs("Every command:\n", file);
    deft_options_print(file, global_table);
    fputs("'deft help COMMAND' says more; 'deft --version' prints the version.\n"
          "Exit status: 0 success, 1 the answer is no, 2 bad input, 3 environment, 4 a bug.\n",
          file);
}

static void print_command_help(FILE *file, const deft_command *command) {
    fprintf(file, "usage: deft %s %s%s", command->name, command->operand, command->many_operands ? "..." : "");
    for (int i = 0; i < command->option_count; i++) {
        const deft_option *option = &command->options[i];
        if (!option->required) continue;
        if (option->letter)
            fprintf(file, " -%c %s", option->letter, option->argument);
        else
            fprintf(file, " --%s %s", option->name, option->argument);
    }
    fprintf(file, " [OPTIONS]\n%s\n\n", command->summary);
    deft_options_print(file, (deft_option_table){command->options, command->option_count});
    if (command->training && command->explains_training)
        deft_options_print(file, *command->training);
    else if (command->training)
        deft_options_name(file, "of training, see 'deft help train'", *command->training);
    deft_options_name(file, "of every command", global_table);
    if (command->notes) fprintf(file, "\n%s", command->notes);
}

/* ---- running a command ---- */

static void log_message(void *user, deft_log_level level, const char *message) {
    deft_cli *cli = user;
    if (level == DEFT_LOG_ERROR || level == DEFT_LOG_WARNING)
        deft_console_note(&cli->console, "warning: %s", message);
    else if (level == DEFT_LOG_INFO)
        deft_console_note(&cli->console, "%s", message);
}

static bool report_progress(void *user, const char *what, double done) {
    deft_cli *cli = user;
    deft_console_progress(&cli->console, what, done);
    return deft_console_signal() == 0;
}

static deft_status make_context(deft_cli *cli) {
    deft_context_options options = {.threads = cli->threads,
                                    .isa = cli->isa,
                                    .seed = cli->seed,
                                    .max_memory_bytes = cli->max_memory_bytes,
                                    .log = log_message,
                                    .progress = report_progress,
                                    .user = cli};
    deft_status status = deft_context_new(&options, &cli->ctx);
    if (status == DEFT_DEVICE)
        deft_console_error(&cli->console, "--isa %s: this CPU cannot do that; its best is %s", deft_isa_name(cli->isa),
                           deft_isa_name(deft_cpu_best_isa()));
    else if (status != DEFT_OK)
        deft_console_error(&cli->console, "could not start: %s", deft_status_name(status));
    else
        deft_dense_limit_isa(cli->isa); /* before anything uses oneDNN, so it always succeeds */
    return status;
}

static deft_status run_in_context(deft_cli *cli, const deft_command *command, const void *options) {
    DEFT_TRY(make_context(cli));
    deft_status status = command->run(cli, options);
    deft_console_clear(&cli->console);
    if (status == DEFT_BUG)
        deft_console_error(&cli->console, "%s; this is a bug in Deft %s: please report it",
                           deft_context_message(cli->ctx), deft_version());
    else if (status != DEFT_OK)
        deft_console_error(&cli->console, "%s", deft_context_message(cli->ctx));
    deft_context_free(cli->ctx);
    return status;
}

static int run_command(const deft_command *command, int argc, char **argv) {
    deft_cli cli = {.out = stdout};
    void *options = calloc(1, command->options_bytes);
    if (!options) {
        fputs("deft: out of memory\n", stderr);
        return EXIT_ENVIRONMENT;
    }
    if (command->defaults) memcpy(options, command->defaults, command->options_bytes);
    bool help = false;
    deft_option_set sets[DEFT_OPTION_SETS] = {{{command->options, command->option_count}, options},
                                              {{NULL, 0}, (char *)options + command->training_offset},
                                              {global_table, &cli}};
    if (command->training) sets[1].table = *command->training;
    deft_operands operands = {.name = command->operand, .many = command->many_operands};
    int result = EXIT_USAGE;
    if (deft_options_parse(argc, argv, sets, &operands, &help)) {
        if (help) {
            print_command_help(stdout, command);
            result = EXIT_SUCCESS;
        } else {
            cli.operands = operands.items;
            cli.operand = operands.items[0];
            deft_console_init(&cli.console, cli.quiet);
            deft_console_catch_signals();
            result = exit_status(run_in_context(&cli, command, options));
        }
    }
    free(options);
    return result;
}

/* ---- finding it ---- */

static const deft_command *find_command(const char *name) {
    const char *names[COMMANDS];
    for (int i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i]->name, name) == 0) return commands[i];
        names[i] = commands[i]->name;
    }
    const char *nearest = deft_nearest_word(name, names, COMMANDS);
    if (nearest)
        fprintf(stderr, "deft: unknown command '%s'; did you mean '%s'?\n", name, nearest);
    else
        fprintf(stderr, "deft: unknown command '%s'; 'deft help' lists them\n", name);
    return NULL;
}

static bool is_one_of(const char *word, const char *a, const char *b, const char *c) {
    return strcmp(word, a) == 0 || strcmp(word, b) == 0 || strcmp(word, c) == 0;
}

static int dispatch(int argc, char **argv) {
    if (argc < 2) {
        print_overview(stderr);
        return EXIT_USAGE;
    }
    if (is_one_of(argv[1], "--version", "-V", "version")) {
        printf("deft %s\n", deft_version());
        return EXIT_SUCCESS;
    }
    bool help = is_one_of(argv[1], "--help", "-h", "help");
    if (help && argc < 3) {
        print_overview(stdout);
        return EXIT_SUCCESS;
    }
    const deft_command *command = find_command(argv[help ? 2 : 1]);
    if (!command) return EXIT_USAGE;
    if (!help) return run_command(command, argc - 1, argv + 1);
    print_command_help(stdout, command);
    return EXIT_SUCCESS;
}

/* OpenMP's threads spin while they wait unless told otherwise before the process starts, so this starts it again, told.
 * Where another process wants the cores, spinning costs a hundredfold: a thread that spins has used up its time slice
 * when its turn to work comes. What the user says of the matter stands. */
static void wait_without_spinning(char **argv) {
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT")) return;
    if (setenv("OMP_WAIT_POLICY", "passive", 1) == 0) execv("/proc/self/exe", argv);
    /* where that is not possible, it is only slower */
}

int main(int argc, char **argv) {
    wait_without_spinning(argv);
    int result = dispatch(argc, argv);
    bool written = !ferror(stdout);
    written &= fclose(stdout) == 0;
    if (!written) {
        fputs("deft: standard output: not all could be written: is the disk full, or the reader gone?\n", stderr);
        if (result == EXIT_SUCCESS || result == EXIT_NO) result = EXIT_ENVIRONMENT;
    }
    return result;
}

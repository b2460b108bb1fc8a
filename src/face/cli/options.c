#include "face/cli/options.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What getopt_long returns for an option: its place, above all characters. --help is nobody's. */
enum { FIRST = 256, HELP = 255, MAX_OPTIONS = 40 };

/* A parse under way. */
typedef struct option_parse {
    const char *command;
    const deft_option_set *sets;
    const deft_option *options[MAX_OPTIONS];
    char *targets[MAX_OPTIONS];
    bool given[MAX_OPTIONS];
    int count;
} option_parse;

static bool parse_integer(const char *text, int64_t *value) {
    char *end;
    errno = 0;
    *value = strtoll(text, &end, 10);
    return (isdigit((unsigned char)*text) || *text == '-') && *end == '\0' && errno == 0;
}

static bool parse_unsigned(const char *text, uint64_t *value) {
    char *end;
    errno = 0;
    *value = strtoull(text, &end, 10);
    return isdigit((unsigned char)*text) && *end == '\0' && errno == 0;
}

/* "512M". At least 1. */
static bool parse_bytes(const char *text, size_t *value) {
    static const char units[] = "KMG";
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    const char *unit = *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
    int shift = unit ? 10 * (int)(unit - units + 1) : 0;
    if (unit) end++;
    *value = (size_t)number << shift;
    return isdigit((unsigned char)*text) && *end == '\0' && errno == 0 && number > 0 && number <= SIZE_MAX >> shift;
}

static bool parse_real(const char *text, double *value) {
    char *end;
    *value = strtod(text, &end);
    return !isspace((unsigned char)*text) && end != text && *end == '\0' && isfinite(*value);
}

static bool parse_choice(const char *text, const char *words, int *value) {
    size_t length = strlen(text);
    for (int i = 0;; i++, words++) {
        size_t word = strcspn(words, "|");
        if (word == length && strncmp(text, words, word) == 0) {
            *value = i;
            return true;
        }
        words += word;
        if (!*words) return false;
    }
}

static bool add_text(const char *text, deft_texts *texts) {
    if (texts->count == DEFT_TEXTS) return false;
    texts->items[texts->count++] = text;
    return true;
}

/* Sets the option's field; false where the text is no value for it. */
static bool set_field(const deft_option *option, void *field, const char *text) {
    int64_t integer;
    switch (option->type) {
    case DEFT_OPTION_FLAG:
        *(bool *)field = true;
        return true;
    case DEFT_OPTION_TEXT:
    case DEFT_OPTION_FILE:
        *(const char **)field = text;
        return *text != '\0';
    case DEFT_OPTION_TEXTS:
        return *text != '\0' && add_text(text, field);
    case DEFT_OPTION_INT:
        if (!parse_integer(text, &integer) || integer < option->low || integer > option->high) return false;
        *(int *)field = (int)integer;
        return true;
    case DEFT_OPTION_INT64:
        return parse_integer(text, field) && *(int64_t *)field >= option->low && *(int64_t *)field <= option->high;
    case DEFT_OPTION_U64:
        return parse_unsigned(text, field);
    case DEFT_OPTION_BYTES:
        return parse_bytes(text, field);
    case DEFT_OPTION_REAL:
        return parse_real(text, field) && *(double *)field >= option->low && *(double *)field <= option->high;
    case DEFT_OPTION_CHOICE:
        return parse_choice(text, option->argument, field);
    }
    return false;
}

static void explain_value(const option_parse *parse, const deft_option *option, const char *text) {
    fprintf(stderr, "deft: %s: --%s '%s' is not ", parse->command, option->name, text);
    switch (option->type) {
    case DEFT_OPTION_INT:
    case DEFT_OPTION_INT64:
        fprintf(stderr, "a whole number from %.0f to %.0f\n", option->low, option->high);
        break;
    case DEFT_OPTION_U64:
        fprintf(stderr, "a whole number from 0 to %llu\n", (unsigned long long)UINT64_MAX);
        break;
    case DEFT_OPTION_BYTES:
        fprintf(stderr, "a number of bytes, as 1000000, 512M or 2G\n");
        break;
    case DEFT_OPTION_REAL:
        fprintf(stderr, "a number from %g to %g\n", option->low, option->high);
        break;
    case DEFT_OPTION_CHOICE:
        fprintf(stderr, "one of %s\n", option->argument);
        break;
    case DEFT_OPTION_TEXTS:
        fprintf(stderr, "possible: it is empty, or one of more than %d\n", DEFT_TEXTS);
        break;
    case DEFT_OPTION_TEXT:
    case DEFT_OPTION_FILE:
    case DEFT_OPTION_FLAG:
        fprintf(stderr, "possible: it is empty\n");
        break;
    }
}

/* Fills in what getopt_long wants. */
static void list_options(option_parse *parse, struct option *longs, char *shorts) {
    *shorts++ = ':'; /* a missing argument is told apart */
    *shorts++ = 'h';
    for (int s = 0; s < DEFT_OPTION_SETS; s++)
        for (int i = 0; i < parse->sets[s].table.count; i++) {
            const deft_option *option = &parse->sets[s].table.options[i];
            longs[parse->count] = (struct option){option->name, option->argument ? required_argument : no_argument,
                                                  NULL, FIRST + parse->count};
            if (option->letter) *shorts++ = option->letter;
            if (option->letter && option->argument) *shorts++ = ':';
            parse->targets[parse->count] = parse->sets[s].target;
            parse->options[parse->count++] = option;
        }
    *shorts = '\0';
    longs[parse->count] = (struct option){"help", no_argument, NULL, HELP};
    longs[parse->count + 1] = (struct option){0};
}

/* The option that getopt_long's value stands for, or -1. */
static int option_of(const option_parse *parse, int value) {
    if (value >= FIRST) return value - FIRST;
    for (int i = 0; i < parse->count; i++)
        if (parse->options[i]->letter && parse->options[i]->letter == value) return i;
    return -1;
}

static void explain_unknown(const option_parse *parse, const char *argument) {
    const char *words[MAX_OPTIONS];
    char word[64];
    for (int i = 0; i < parse->count; i++)
        words[i] = parse->options[i]->name;
    snprintf(word, sizeof word, "%.*s", (int)strcspn(argument + strspn(argument, "-"), "="),
             argument + strspn(argument, "-"));
    const char *nearest = deft_nearest_word(word, words, parse->count);
    if (nearest)
        fprintf(stderr, "deft: %s: unknown option '%s'; did you mean '--%s'?\n", parse->command, argument, nearest);
    else
        fprintf(stderr, "deft: %s: unknown option '%s'; see 'deft help %s'\n", parse->command, argument,
                parse->command);
}

/* Explains what getopt_long refused: `result` is ':' or '?'. */
static void explain_refusal(const option_parse *parse, int result, char **argv) {
    int index = optopt ? option_of(parse, optopt) : -1;
    if (index >= 0 && result == ':')
        fprintf(stderr, "deft: %s: --%s needs an argument, %s\n", parse->command, parse->options[index]->name,
                parse->options[index]->argument);
    else if (index >= 0)
        fprintf(stderr, "deft: %s: --%s takes no argument\n", parse->command, parse->options[index]->name);
    else
        explain_unknown(parse, optopt && optopt < HELP ? (char[]){'-', (char)optopt, '\0'} : argv[optind - 1]);
}

static bool check_rest(const option_parse *parse, int argc, char **argv, deft_operands *operands) {
    operands->items = argv + optind;
    if (optind == argc) {
        fprintf(stderr, "deft: %s: %s is missing; see 'deft help %s'\n", parse->command, operands->name,
                parse->command);
        return false;
    }
    if (optind + 1 < argc && !operands->many) {
        fprintf(stderr, "deft: %s: one argument too many: '%s'; see 'deft help %s'\n", parse->command, argv[optind + 1],
                parse->command);
        return false;
    }
    for (int i = 0; i < parse->count; i++)
        if (parse->options[i]->required && !parse->given[i]) {
            fprintf(stderr, "deft: %s: --%s %s is missing; see 'deft help %s'\n", parse->command,
                    parse->options[i]->name, parse->options[i]->argument, parse->command);
            return false;
        }
    return true;
}

bool deft_options_parse(int argc, char **argv, const deft_option_set sets[DEFT_OPTION_SETS], deft_operands *operands,
                        bool *help) {
    option_parse parse = {.command = argv[0], .sets = sets};
    struct option longs[MAX_OPTIONS + 2];
    char shorts[2 * MAX_OPTIONS + 3];
    list_options(&parse, longs, shorts);
    optind = 1;
    opterr = 0;
    for (int result; (result = getopt_long(argc, argv, shorts, longs, NULL)) != -1;) {
        if (result == 'h' || result == HELP) {
            *help = true;
            return true;
        }
        int index = result == ':' || result == '?' ? -1 : option_of(&parse, result);
        if (index < 0) {
            explain_refusal(&parse, result, argv);
            return false;
        }
        const deft_option *option = parse.options[index];
        if (!set_field(option, parse.targets[index] + option->offset, optarg)) {
            explain_value(&parse, option, optarg);
            return false;
        }
        parse.given[index] = true;
    }
    return check_rest(&parse, argc, argv, operands);
}

void deft_options_print(FILE *file, deft_option_table table) {
    for (int i = 0; i < table.count; i++) {
        const deft_option *option = &table.options[i];
        bool choice = option->type == DEFT_OPTION_CHOICE;
        const char *argument = choice ? "WORD" : option->argument;
        char left[64];
        snprintf(left, sizeof left, "%c%c%c --%s%s%s", option->letter ? '-' : ' ',
                 option->letter ? option->letter : ' ', option->letter ? ',' : ' ', option->name, argument ? " " : "",
                 argument ? argument : "");
        fprintf(file, "  %-26s %s%s%s\n", left, choice ? option->argument : "", choice ? " " : "", option->help);
    }
}

void deft_options_name(FILE *file, const char *title, deft_option_table table) {
    const int columns = 80;
    int column = fprintf(file, "  %s:", title);
    for (int i = 0; i < table.count; i++) {
        if (column + (int)strlen(" --") + (int)strlen(table.options[i].name) > columns)
            column = fprintf(file, "\n     ") - 1;
        column += fprintf(file, " --%s", table.options[i].name);
    }
    fputc('\n', file);
}

/* Edits (a character put in, left out, or replaced; neighbours swapped) that make one word of the other. */
static int edit_distance(const char *a, const char *b) {
    enum { LONGEST = 32 };
    int distance[LONGEST + 1][LONGEST + 1];
    int a_length = (int)strnlen(a, LONGEST), b_length = (int)strnlen(b, LONGEST);
    for (int i = 0; i <= a_length; i++)
        for (int j = 0; j <= b_length; j++) {
            if (i == 0 || j == 0) {
                distance[i][j] = i + j;
                continue;
            }
            int least = distance[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            if (distance[i - 1][j] + 1 < least) least = distance[i - 1][j] + 1;
            if (distance[i][j - 1] + 1 < least) least = distance[i][j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && distance[i - 2][j - 2] + 1 < least)
                least = distance[i - 2][j - 2] + 1;
            distance[i][j] = least;
        }
    return distance[a_length][b_length];
}

const char *deft_nearest_word(const char *word, const char *const *words, int count) {
    int least = strlen(word) < 4 ? 2 : 3; /* fewer edits than this are a slip */
    const char *nearest = NULL;
    for (int i = 0; i < count; i++) {
        int distance = edit_distance(word, words[i]);
        if (distance >= least) continue;
        least = distance;
        nearest = words[i];
    }
    return nearest;
}

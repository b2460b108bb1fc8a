/* Options of the command line. A table describes them; it is what parses them and what the help is made from. */
#ifndef DEFT_FACE_CLI_OPTIONS_H
#define DEFT_FACE_CLI_OPTIONS_H

#include <deft/deft.h>
#include <stdio.h>

/* The type of the field that an option sets: bool, const char *, deft_texts, int, int64_t, uint64_t, size_t, double, an
 * enum.
 */
typedef enum deft_option_type {
    DEFT_OPTION_FLAG,
    DEFT_OPTION_TEXT,
    DEFT_OPTION_FILE,  /* a text that names a file or folder which the command writes */
    DEFT_OPTION_TEXTS, /* may be given more than once */
    DEFT_OPTION_INT,
    DEFT_OPTION_INT64,
    DEFT_OPTION_U64,
    DEFT_OPTION_BYTES, /* with K, M or G behind it: times 1024, its square or its cube */
    DEFT_OPTION_REAL,
    DEFT_OPTION_CHOICE /* a word of its `argument`, "steps|cosine": the values of the enum, from 0 */
} deft_option_type;

#define DEFT_TEXTS 64
typedef struct deft_texts {
    const char *items[DEFT_TEXTS];
    int count;
} deft_texts;

typedef struct deft_option {
    const char *name; /* without the dashes */
    char letter;      /* its short form, or 0 */
    deft_option_type type;
    size_t offset;        /* of the field that it sets */
    const char *argument; /* what the help calls its argument; NULL for a flag */
    const char *help;
    double low, high; /* bounds of a number, both included */
    bool required;
} deft_option;

typedef struct deft_option_table {
    const deft_option *options;
    int count;
} deft_option_table;

/* A table of options and the structure that they set. */
typedef struct deft_option_set {
    deft_option_table table;
    void *target;
} deft_option_set;

/* A command's own, those of training, those of every command. */
#define DEFT_OPTION_SETS 3

/* The arguments that are no options. */
typedef struct deft_operands {
    const char *name;   /* what messages call one */
    bool many;          /* else there is one */
    char *const *items; /* set by the parser; ends in NULL */
} deft_operands;

/* Parses argv[1..]; argv[0] is the command's name. Options may stand anywhere; there is at least one operand.
 * Every fault is one line on stderr; false then. `*help` is set, and nothing more is checked, where --help is given. */
DEFT_MUST_CHECK bool deft_options_parse(int argc, char **argv, const deft_option_set sets[DEFT_OPTION_SETS],
                                        deft_operands *operands, bool *help);
/* The lines of the help for a table, aligned. */
void deft_options_print(FILE *file, deft_option_table table);
/* The names alone, after `title`, on lines of at most 80 columns. */
void deft_options_name(FILE *file, const char *title, deft_option_table table);

/* The word nearest to `word` among `count` of them where it is near enough to be a slip of the pen, else NULL. */
const char *deft_nearest_word(const char *word, const char *const *words, int count);

#endif

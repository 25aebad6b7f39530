// SPDX-License-Identifier: MIT
/*
 * The case language: text to a tree. What a verb does is the engine's business, what a function
 * gives that of expr; the parser asks them only whether a name exists. The language is described in
 * tuck-conform.1.
 *
 *     case ID LEVEL  title               one case; then its clauses, its explanation, and
 *     clause ID…                         indented by four, its statements
 *     explain …
 *         [HELPER:] VERB WORD… [-> NAME] [=> OUTCOME]
 *
 * The tree lives until the program ends. Threads: none.
 */
#pragma once
#include "cmd/tuck-conform/value.h"
#include "lib/base/error.h"

enum part_kind { PART_TEXT, PART_VARIABLE, PART_CALL };

struct word;

struct part {
    enum part_kind kind;
    char *text; // the bytes; the name of the variable or function
    size_t len;
    struct word *words; // arguments of a call
    size_t word_count;
};

struct word {
    struct part *parts;
    size_t part_count;
    bool is_bare; // begins without a quote: may be a keyword, an option, a range or a list
};

/** The text of a word that is one bare literal, else NULL. */
const char *word_literal(const struct word *word);

struct statement {
    const char *file;
    int line;
    struct word *helper; // NULL: the only one
    struct word *words;
    size_t word_count;
    struct word *outcome; // after =>
    size_t outcome_count;
    struct word *bind; // the name after ->, or NULL
    struct statement *body, *orelse, *next;
};

struct script_list {
    char *name;
    struct word *words;
    size_t word_count;
    struct script_list *next;
};

struct script_define {
    char *name;
    char **parameters;
    size_t parameter_count;
    struct statement *body;
    struct script_define *next;
};

struct script_case {
    const char *file;
    int line;
    char *id, *title, *explain;
    const char *area;
    bool is_must;
    char **clauses;
    size_t clause_count;
    struct statement *body;
};

struct script {
    struct script_case *cases;
    size_t case_count;
    struct script_list *lists;
    struct script_define *defines;
};

/** What words mean, as far as the parser has to know to refuse a wrong one where it stands. */
struct vocabulary {
    bool (*is_verb)(const char *name, bool *ret_takes_block);
    bool (*is_function)(const char *name);
    bool (*is_clause)(const char *name);
};

/** Adds what the text says to the script. TUCK_EINVAL with `file:line: what is wrong`. */
TUCK_CHECKED int script_parse(struct script *script, const char *file, const char *text, size_t len,
                              const struct vocabulary *vocabulary, struct tuck_error *err);

/** To be called when all files are there: every statement that is no verb names a definition. */
TUCK_CHECKED int script_check(const struct script *script, const struct vocabulary *vocabulary,
                              struct tuck_error *err);

/** Cases of the area client are played by a helper; all others ask one. */
bool script_is_about_clients(const struct script_case *one);

const struct script_list *script_find_list(const struct script *script, const char *name);
const struct script_define *script_find_define(const struct script *script, const char *name);

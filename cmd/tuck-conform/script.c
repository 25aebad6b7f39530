// SPDX-License-Identifier: MIT
#include "cmd/tuck-conform/script.h"

#include <ctype.h>
#include <stdarg.h>

#define DEPTH_MAX 16

struct parser {
    struct script *script;
    const struct vocabulary *vocabulary;
    const char *file;
    const char *at, *end; // what is left of the text
    int line;
    char *area;
    struct tuck_error *err;
};

// One logical line: continuations joined, without indentation and remarks at its end.
struct line {
    char *text;
    int number, indent;
};

__attribute__((format(printf, 3, 4))) static int wrong(struct parser *parser, int line,
                                                       const char *format, ...) {
    char text[180];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return tuck_fail(parser->err, TUCK_EINVAL, "%s:%d: %s", parser->file, line, text);
}

#define APPEND(array, count)                                                                       \
    ((array) = need_realloc((array), ((count) + 1) * sizeof(*(array))),                            \
     memset(&(array)[count], 0, sizeof(*(array))), &(array)[(count)++])

// -- lines ---------------------------------------------------------------------------------------
// Takes the next line that says something; false at the end.
static bool next_line(struct parser *parser, struct line *ret_line) {
    while (parser->at < parser->end) {
        struct buf text = {0};
        int number = parser->line, indent = 0;
        bool goes_on = true;
        while (goes_on && parser->at < parser->end) {
            const char *stop = memchr(parser->at, '\n', (size_t)(parser->end - parser->at));
            size_t len = (size_t)((stop ? stop : parser->end) - parser->at);
            const char *start = parser->at;
            parser->at = stop ? stop + 1 : parser->end;
            parser->line++;
            while (len > 0 && isspace((unsigned char)start[len - 1]))
                len--;
            goes_on = len > 0 && start[len - 1] == '\\';
            len -= goes_on;
            size_t blank = 0;
            while (blank < len && start[blank] == ' ')
                blank++;
            if (text.len == 0)
                indent = (int)blank;
            buf_add(&text, start + blank, len - blank);
        }
        if (text.len > 0 && text.data[0] != '#') {
            *ret_line = (struct line){text.data, number, indent};
            return true;
        }
        buf_free(&text);
    }
    return false;
}

static void unread_line(struct parser *parser, const char *before, int line) {
    parser->at = before;
    parser->line = line;
}

// -- words ---------------------------------------------------------------------------------------
static int parse_word(struct parser *parser, int line, const char **at, char stop,
                      struct word *ret_word);

static void add_text(struct word *word, struct buf *text, bool even_if_empty) {
    if (text->len == 0 && !even_if_empty)
        return;
    struct part *part = APPEND(word->parts, word->part_count);
    part->kind = PART_TEXT;
    part->text = need_strndup(text->data ? text->data : "", text->len);
    part->len = text->len;
    text->len = 0;
}

static bool is_name(char c) {
    return isalnum((unsigned char)c) || c == '_';
}

// At a dollar sign: a variable or a call.
static int parse_dollar(struct parser *parser, int line, const char **at, struct word *word) {
    const char *from = ++*at;
    struct part part = {.kind = PART_VARIABLE};
    if (*from != '(') {
        bool is_braced = *from == '{';
        from += is_braced;
        *at = from;
        while (is_name(**at))
            ++*at;
        if (*at == from || (is_braced && **at != '}'))
            return wrong(parser, line, "a name or ( is missing behind $; \\$ is the character");
        part.text = need_strndup(from, (size_t)(*at - from));
        *at += is_braced;
        *APPEND(word->parts, word->part_count) = part;
        return 0;
    }
    part.kind = PART_CALL;
    from = ++*at;
    while (is_name(**at) || **at == '-')
        ++*at;
    part.text = need_strndup(from, (size_t)(*at - from));
    if (!parser->vocabulary->is_function(part.text))
        return wrong(parser, line, "there is no function '%s'", part.text);
    for (;;) {
        while (**at == ' ')
            ++*at;
        if (**at == ')') {
            ++*at;
            *APPEND(word->parts, word->part_count) = part;
            return 0;
        }
        if (!**at)
            return wrong(parser, line, "the ) of $(%s is missing", part.text);
        int result = parse_word(parser, line, at, ')', APPEND(part.words, part.word_count));
        if (result < 0)
            return result;
    }
}

static int parse_escape(struct parser *parser, int line, const char **at, struct buf *text) {
    static const char from[] = "nrt0\\\"'$", to[] = "\n\r\t\0\\\"'$";
    char c = *++*at;
    const char *place = c ? strchr(from, c) : NULL;
    if (place) {
        buf_add(text, &to[place - from], 1);
    } else if (c == 'x') {
        uint8_t byte;
        if (!isxdigit((unsigned char)(*at)[1]) || !tuck_unhex(&byte, *at + 1, 1))
            return wrong(parser, line, "\\x needs two hexadecimal digits");
        buf_add(text, &byte, 1);
        *at += 2;
    } else {
        buf_text(text, "\\"); // not ours: JSON's own, \u0041 and \/
        if (!c)
            return wrong(parser, line, "the quote is not closed");
        buf_add(text, &c, 1);
    }
    ++*at;
    return 0;
}

static int parse_quoted(struct parser *parser, int line, const char **at, struct word *word) {
    char quote = *(*at)++;
    struct buf text = {0};
    int result = 0;
    bool is_empty = true;
    while (result == 0 && **at != quote) {
        is_empty = false;
        if (!**at) {
            result = wrong(parser, line, "the quote is not closed");
        } else if (**at == '$') {
            add_text(word, &text, false);
            result = parse_dollar(parser, line, at, word);
        } else if (**at == '\\') {
            result = parse_escape(parser, line, at, &text);
        } else {
            buf_add(&text, (*at)++, 1);
        }
    }
    if (result == 0)
        ++*at;
    add_text(word, &text, is_empty);
    buf_free(&text);
    return result;
}

static int parse_word(struct parser *parser, int line, const char **at, char stop,
                      struct word *ret_word) {
    struct buf text = {0};
    int result = 0;
    ret_word->is_bare = **at != '"' && **at != '\'' && **at != '$';
    while (result == 0 && **at && **at != ' ' && !(stop && **at == stop)) {
        if (**at == '"' || **at == '\'') {
            add_text(ret_word, &text, false);
            result = parse_quoted(parser, line, at, ret_word);
        } else if (**at == '$') {
            add_text(ret_word, &text, false);
            result = parse_dollar(parser, line, at, ret_word);
        } else {
            buf_add(&text, (*at)++, 1);
        }
    }
    add_text(ret_word, &text, ret_word->part_count == 0);
    buf_free(&text);
    return result;
}

static int parse_words(struct parser *parser, int line, const char *text, struct word **ret_words,
                       size_t *ret_count) {
    for (;;) {
        while (*text == ' ')
            text++;
        if (!*text || *text == '#')
            return 0;
        int result = parse_word(parser, line, &text, 0, APPEND(*ret_words, *ret_count));
        if (result < 0)
            return result;
    }
}

const char *word_literal(const struct word *word) {
    return word->is_bare && word->part_count == 1 && word->parts[0].kind == PART_TEXT
               ? word->parts[0].text
               : NULL;
}

static bool literal_is(const struct word *word, const char *text) {
    const char *literal = word_literal(word);
    return literal && strcmp(literal, text) == 0;
}

// -- statements ----------------------------------------------------------------------------------
// True if the word is the name of a helper; takes the colon off it.
static bool take_helper(struct word *word) {
    struct part *last = &word->parts[word->part_count - 1];
    if (!word->is_bare || last->kind != PART_TEXT || last->len < 1 ||
        last->text[last->len - 1] != ':' || (word->part_count == 1 && last->len == 1))
        return false;
    last->text[--last->len] = '\0';
    return true;
}

// Cuts `HELPER:`, `-> NAME` and `=> OUTCOME` off the words of a statement.
static int take_marks(struct parser *parser, struct statement *statement) {
    size_t count = statement->word_count;
    for (size_t i = 0; i < count; i++) {
        if (literal_is(&statement->words[i], "=>")) {
            statement->outcome = statement->words + i + 1;
            statement->outcome_count = count - i - 1;
            if (statement->outcome_count == 0)
                return wrong(parser, statement->line, "an outcome is missing behind =>");
            count = i;
        }
    }
    if (count >= 2 && literal_is(&statement->words[count - 2], "->")) {
        statement->bind = &statement->words[count - 1];
        count -= 2;
    }
    if (count > 1 && take_helper(&statement->words[0])) {
        statement->helper = statement->words++;
        count--;
    }
    statement->word_count = count;
    if (count == 0 || !word_literal(&statement->words[0]))
        return wrong(parser, statement->line, "a statement begins with a verb");
    return 0;
}

static int parse_block(struct parser *parser, int indent, int depth, struct statement **ret_first) {
    struct statement **next = ret_first, *last = NULL;
    for (;;) {
        const char *before = parser->at;
        int before_line = parser->line;
        struct line line;
        if (!next_line(parser, &line))
            return 0;
        if (line.indent < indent) {
            free(line.text);
            unread_line(parser, before, before_line);
            return 0;
        }
        if (line.indent > indent || depth > DEPTH_MAX)
            return wrong(parser, line.number,
                         depth > DEPTH_MAX ? "nested too deeply" : "indented too far");
        if (strcmp(line.text, "else") == 0 && last && literal_is(&last->words[0], "if") &&
            !last->orelse) {
            free(line.text);
            int result = parse_block(parser, indent + 4, depth + 1, &last->orelse);
            if (result < 0)
                return result;
            continue;
        }
        struct statement *statement = need_alloc(sizeof(*statement));
        statement->file = parser->file;
        statement->line = line.number;
        int result =
            parse_words(parser, line.number, line.text, &statement->words, &statement->word_count);
        free(line.text);
        if (result == 0)
            result = take_marks(parser, statement);
        if (result < 0)
            return result;
        bool takes_block = false;
        if (parser->vocabulary->is_verb(word_literal(&statement->words[0]), &takes_block) &&
            takes_block) {
            result = parse_block(parser, indent + 4, depth + 1, &statement->body);
            if (result < 0)
                return result;
            if (!statement->body)
                return wrong(parser, statement->line, "'%s' needs an indented block",
                             word_literal(&statement->words[0]));
        }
        *next = last = statement;
        next = &statement->next;
    }
}

// -- files ---------------------------------------------------------------------------------------
static char *rest_of(const char *text) {
    while (*text && *text != ' ')
        text++;
    while (*text == ' ')
        text++;
    return need_strndup(text, strlen(text));
}

static char *first_word(const char **text) {
    while (**text == ' ' || **text == ',')
        ++*text;
    const char *from = *text;
    while (**text && **text != ' ' && **text != ',')
        ++*text;
    return need_strndup(from, (size_t)(*text - from));
}

static int parse_case_head(struct parser *parser, const struct line *line,
                           struct script_case *one) {
    const char *at = line->text + 4;
    one->file = parser->file;
    one->line = line->number;
    one->area = parser->area;
    one->id = first_word(&at);
    char *level = first_word(&at);
    bool is_must = strcmp(level, "MUST") == 0, is_level = is_must || strcmp(level, "SHOULD") == 0;
    free(level);
    if (!*one->id || !is_level)
        return wrong(parser, line->number, "a case has the form: case ID MUST|SHOULD  title");
    one->is_must = is_must;
    while (*at == ' ')
        at++;
    one->title = need_strndup(at, strlen(at));
    if (!*one->title)
        return wrong(parser, line->number, "case %s has no title", one->id);
    for (size_t i = 0; i < parser->script->case_count - 1; i++)
        if (strcmp(parser->script->cases[i].id, one->id) == 0)
            return wrong(parser, line->number, "there is a case %s already, in %s:%d", one->id,
                         parser->script->cases[i].file, parser->script->cases[i].line);
    if (!parser->area)
        return wrong(parser, line->number, "no area was named before the first case");
    return 0;
}

static int parse_clauses(struct parser *parser, const struct line *line, struct script_case *one) {
    const char *at = line->text + strlen("clause");
    for (;;) {
        char *name = first_word(&at);
        if (!*name) {
            free(name);
            return 0;
        }
        if (!parser->vocabulary->is_clause(name))
            return wrong(parser, line->number, "protocol/SPEC.md has no clause '%s'", name);
        *APPEND(one->clauses, one->clause_count) = name;
    }
}

static int parse_case(struct parser *parser, const struct line *head) {
    struct script_case *one = APPEND(parser->script->cases, parser->script->case_count);
    int result = parse_case_head(parser, head, one);
    struct buf explain = {0};
    while (result == 0) {
        const char *before = parser->at;
        int before_line = parser->line;
        struct line line;
        if (!next_line(parser, &line))
            break;
        if (line.indent == 0 && strncmp(line.text, "clause ", 7) == 0) {
            result = parse_clauses(parser, &line, one);
        } else if (line.indent == 0 && strncmp(line.text, "explain ", 8) == 0) {
            char *text = rest_of(line.text);
            buf_format(&explain, "%s%s", explain.len ? " " : "", text);
            free(text);
        } else {
            unread_line(parser, before, before_line);
            free(line.text);
            break;
        }
        free(line.text);
    }
    one->explain = explain.data;
    if (result == 0)
        result = parse_block(parser, 4, 0, &one->body);
    if (result == 0 && one->clause_count == 0)
        return wrong(parser, head->number, "case %s names no clause", one->id);
    if (result == 0 && !one->explain)
        return wrong(parser, head->number, "case %s explains nothing", one->id);
    if (result == 0 && !one->body)
        return wrong(parser, head->number, "case %s does nothing", one->id);
    return result;
}

static int parse_list(struct parser *parser, const struct line *line) {
    struct word *words = NULL;
    size_t count = 0;
    int result = parse_words(parser, line->number, line->text, &words, &count);
    if (result < 0)
        return result;
    if (count < 4 || !word_literal(&words[1]) || !literal_is(&words[2], "="))
        return wrong(parser, line->number, "a list has the form: list NAME = WORD...");
    struct script_list *list = need_alloc(sizeof(*list));
    list->name = need_strndup(word_literal(&words[1]), strlen(word_literal(&words[1])));
    list->words = words + 3;
    list->word_count = count - 3;
    list->next = parser->script->lists;
    parser->script->lists = list;
    return 0;
}

static int parse_define(struct parser *parser, const struct line *line) {
    struct script_define *define = need_alloc(sizeof(*define));
    const char *at = line->text + strlen("define");
    define->name = first_word(&at);
    while (*at) {
        char *name = first_word(&at);
        if (*name)
            *APPEND(define->parameters, define->parameter_count) = name;
        else
            free(name);
    }
    bool takes_block;
    if (!*define->name || parser->vocabulary->is_verb(define->name, &takes_block))
        return wrong(parser, line->number, "a definition needs a name that is no verb");
    define->next = parser->script->defines;
    parser->script->defines = define;
    int result = parse_block(parser, 4, 0, &define->body);
    if (result == 0 && !define->body)
        return wrong(parser, line->number, "definition %s does nothing", define->name);
    return result;
}

int script_parse(struct script *script, const char *file, const char *text, size_t len,
                 const struct vocabulary *vocabulary, struct tuck_error *err) {
    struct parser parser = {script, vocabulary, file, text, text + len, 1, NULL, err};
    struct line line;
    while (next_line(&parser, &line)) {
        const char *at = line.text;
        char *verb = first_word(&at);
        int result;
        if (line.indent > 0)
            result = wrong(&parser, line.number, "a statement outside of a case");
        else if (strcmp(verb, "area") == 0)
            result = *(parser.area = rest_of(line.text))
                         ? 0
                         : wrong(&parser, line.number, "an area needs a name");
        else if (strcmp(verb, "case") == 0)
            result = parse_case(&parser, &line);
        else if (strcmp(verb, "list") == 0)
            result = parse_list(&parser, &line);
        else if (strcmp(verb, "define") == 0)
            result = parse_define(&parser, &line);
        else
            result = wrong(&parser, line.number,
                           "'%s' begins nothing; expected area, list, define or case", verb);
        free(verb);
        free(line.text);
        if (result < 0)
            return result;
    }
    return 0;
}

bool script_is_about_clients(const struct script_case *one) {
    return strcmp(one->area, "client") == 0;
}

// -- after all files -----------------------------------------------------------------------------
const struct script_list *script_find_list(const struct script *script, const char *name) {
    for (const struct script_list *list = script->lists; list; list = list->next)
        if (strcmp(list->name, name) == 0)
            return list;
    return NULL;
}

const struct script_define *script_find_define(const struct script *script, const char *name) {
    for (const struct script_define *define = script->defines; define; define = define->next)
        if (strcmp(define->name, name) == 0)
            return define;
    return NULL;
}

static int check_block(const struct script *script, const struct vocabulary *vocabulary,
                       const struct statement *first, struct tuck_error *err) {
    for (const struct statement *one = first; one; one = one->next) {
        const char *verb = word_literal(&one->words[0]);
        bool takes_block;
        if (!vocabulary->is_verb(verb, &takes_block)) {
            const struct script_define *define = script_find_define(script, verb);
            if (!define)
                return tuck_fail(err, TUCK_EINVAL, "%s:%d: there is no verb or definition '%s'",
                                 one->file, one->line, verb);
            if (one->word_count - 1 != define->parameter_count)
                return tuck_fail(err, TUCK_EINVAL, "%s:%d: '%s' takes %zu words, not %zu",
                                 one->file, one->line, verb, define->parameter_count,
                                 one->word_count - 1);
        }
        int result = check_block(script, vocabulary, one->body, err);
        if (result == 0)
            result = check_block(script, vocabulary, one->orelse, err);
        if (result < 0)
            return result;
    }
    return 0;
}

int script_check(const struct script *script, const struct vocabulary *vocabulary,
                 struct tuck_error *err) {
    int result = 0;
    for (size_t i = 0; i < script->case_count && result == 0; i++)
        result = check_block(script, vocabulary, script->cases[i].body, err);
    for (const struct script_define *one = script->defines; one && result == 0; one = one->next)
        result = check_block(script, vocabulary, one->body, err);
    return result;
}

// SPDX-License-Identifier: MIT
#include "cmd/tuck-conform/engine.h"
#include "cmd/tuck-conform/act.h"
#include "cmd/tuck-conform/clauses.h"
#include "lib/base/clock.h"

#include <errno.h>
#include <stdarg.h>
#include <sys/wait.h>

#define PATIENCE_NS   (5 * TUCK_NS_PER_S) // that any single wait may take
#define AFTERMATH_MAX 400                 // actions that are asked about when a case is over
#define ROUNDS_MAX    1000000

static int run_block(struct engine *engine, const struct statement *first);

// -- verdicts ------------------------------------------------------------------------------------
static void describe_place(struct engine *engine) {
    const struct statement *statement = engine->statement;
    struct buf *to = &engine->result.diagnostic;
    if (statement)
        buf_format(to, "in %s:%d\n", statement->file, statement->line);
    for (const struct variable *one = engine->variables; one; one = one->next) {
        if (strcmp(one->name, "case") == 0 || strcmp(one->name, "started") == 0)
            continue;
        buf_format(to, "with %s = ", one->name);
        if (one->value.kind == VALUE_BYTES)
            buf_visible(to, one->value.data, one->value.len, 50);
        else
            buf_format(to, "%llu bytes", (unsigned long long)one->value.size);
        buf_text(to, "\n");
    }
}

static void describe_talk(struct engine *engine) {
    struct buf *to = &engine->result.diagnostic;
    for (const struct helper *one = engine->group.first; one; one = one->next) {
        size_t from = one->log_count > HELPER_LOG_LINES ? one->log_count - HELPER_LOG_LINES : 0;
        if (one != engine->helper && engine->group.first != one)
            continue; // those of earlier rounds
        buf_format(to, "the last %zu messages of %s (s, > sent, < answered, ! stderr):\n",
                   one->log_count - from, one->name);
        for (size_t i = from; i < one->log_count; i++)
            buf_format(to, "  %s\n", one->log[i % HELPER_LOG_LINES]);
        struct buf end = {0};
        describe_end(one, &end);
        buf_format(to, "  %s\n", end.data);
        buf_free(&end);
    }
}

static int decide(struct engine *engine, enum verdict verdict) {
    engine->result.verdict = verdict;
    if (verdict == VERDICT_FAIL) {
        describe_place(engine);
        describe_talk(engine);
    }
    return ENGINE_STOP;
}

int fail(struct engine *engine, const char *format, ...) {
    if (check_breaches(engine) != 0)
        return ENGINE_STOP; // what went wrong first
    char *text;
    va_list args;
    va_start(args, format);
    if (vasprintf(&text, format, args) < 0)
        conform_die("out of memory");
    va_end(args);
    buf_text(&engine->result.why, text);
    free(text);
    return decide(engine, VERDICT_FAIL);
}

int not_judged(struct engine *engine, const char *format, ...) {
    char *text;
    va_list args;
    va_start(args, format);
    if (vasprintf(&text, format, args) < 0)
        conform_die("out of memory");
    va_end(args);
    buf_text(&engine->result.why, text);
    free(text);
    return decide(engine, VERDICT_NOT_JUDGED);
}

int check_breaches(struct engine *engine) {
    if (engine->result.verdict == VERDICT_FAIL)
        return ENGINE_STOP;
    for (struct helper *one = engine->group.first; one; one = one->next) {
        if (!one->breach)
            continue;
        engine->helper = one;
        engine->result.is_breach = true;
        engine->result.clause = one->breach_clause;
        buf_format(&engine->result.why, "%s", one->breach);
        return decide(engine, VERDICT_FAIL);
    }
    return 0;
}

void script_error(const struct engine *engine, const char *format, ...) {
    char text[400];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    conform_die("%s:%d: %s", engine->statement->file, engine->statement->line, text);
}

// -- names ---------------------------------------------------------------------------------------
static struct variable *find_own(const struct engine *engine, const char *name) {
    for (struct variable *one = engine->variables; one; one = one->next)
        if (strcmp(one->name, name) == 0)
            return one;
    return NULL;
}

const struct value *find_variable(const struct engine *engine, const char *name) {
    const struct variable *found = find_own(engine, name);
    return found ? &found->value : NULL;
}

static void push_variable(struct engine *engine, const char *name, struct value value) {
    struct variable *one = need_alloc(sizeof(*one));
    *one =
        (struct variable){engine->variables, need_strndup(name, strlen(name)), value_keep(value)};
    engine->variables = one;
}

static void pop_variables(struct engine *engine, struct variable *until) {
    while (engine->variables != until) {
        struct variable *next = engine->variables->next;
        free(engine->variables->name);
        value_free(&engine->variables->value);
        free(engine->variables);
        engine->variables = next;
    }
}

void set_variable(struct engine *engine, const char *name, struct value value) {
    struct variable *found = find_own(engine, name);
    if (!found) { // behind all scopes: it lives as long as the case
        struct variable **end = &engine->variables;
        while (*end)
            end = &(*end)->next;
        *end = need_alloc(sizeof(**end));
        **end = (struct variable){NULL, need_strndup(name, strlen(name)), value_keep(value)};
        return;
    }
    struct value old = found->value;
    found->value = value_keep(value); // which may be made of the old one
    value_free(&old);
}

struct place *use_place(struct engine *engine, const char *name) {
    struct place *place = engine->places;
    while (place && strcmp(place->name, name) != 0)
        place = place->next;
    if (!place) {
        place = place_new(engine->scratch, name);
        place->next = engine->places;
        engine->places = place;
    }
    // A helper's relative path means for the case what it means for the helper.
    (void)!chdir(place->work);
    return engine->place = place;
}

bool wait_for(struct engine *engine, bool (*done)(void *arg), void *arg) {
    return helper_pump(&engine->group, tuck_clock_mono_ns() + engine->patience_ns, done, arg);
}

// -- flow ----------------------------------------------------------------------------------------
// for NAME... in WORD...
static int verb_for(struct engine *engine, const struct statement *statement) {
    size_t names = 1;
    while (names < statement->word_count &&
           !(word_literal(&statement->words[names]) &&
             strcmp(word_literal(&statement->words[names]), "in") == 0))
        names++;
    if (names < 2 || names >= statement->word_count)
        script_error(engine, "a loop has the form: for NAME... in WORD...");
    size_t count;
    struct value *values =
        word_list(engine, statement->words + names + 1, statement->word_count - names - 1, &count);
    struct variable *outer = engine->variables;
    int result = 0;
    if (count % (names - 1) != 0)
        script_error(engine, "%zu words for %zu names", count, names - 1);
    for (size_t i = 0; i < count && result == 0; i += names - 1) {
        for (size_t j = 1; j < names; j++)
            push_variable(engine, word_literal(&statement->words[j]), values[i + j - 1]);
        result = run_block(engine, statement->body);
        pop_variables(engine, outer);
    }
    for (size_t i = 0; i < count; i++)
        value_free(&values[i]);
    free(values);
    return result;
}

static int verb_repeat(struct engine *engine, const struct statement *statement) {
    int64_t rounds = word_number(engine, &statement->words[1]);
    int result = 0;
    for (int64_t i = 0; i < rounds && i < ROUNDS_MAX && result == 0; i++) {
        struct variable *outer = engine->variables;
        char text[24];
        (void)snprintf(text, sizeof(text), "%lld", (long long)i);
        push_variable(engine, "round", value_text(text));
        result = run_block(engine, statement->body);
        pop_variables(engine, outer);
    }
    return result;
}

static int verb_if(struct engine *engine, const struct statement *statement) {
    bool is_true = compare(engine, statement->words + 1, statement->word_count - 1);
    return run_block(engine, is_true ? statement->body : statement->orelse);
}

static int verb_batch(struct engine *engine, const struct statement *statement) {
    struct buf batch = {0};
    engine->batch = &batch;
    engine->batch_helper = NULL;
    int result = run_block(engine, statement->body);
    engine->batch = NULL;
    if (result == 0 && engine->batch_helper)
        result = send_bytes(engine, engine->batch_helper, batch.data, batch.len);
    buf_free(&batch);
    return result;
}

// let NAME = WORD...: several are put together
static int verb_let(struct engine *engine, const struct statement *statement) {
    if (statement->word_count < 4 || !word_literal(&statement->words[2]) ||
        strcmp(word_literal(&statement->words[2]), "=") != 0)
        script_error(engine, "an assignment has the form: let NAME = WORD...");
    const char *name = word_string(engine, &statement->words[1]);
    struct value value = word_value(engine, &statement->words[3]);
    if (statement->word_count > 4) {
        struct buf all = {0};
        for (size_t i = 3; i < statement->word_count; i++) {
            struct value part =
                value_flat(&engine->arena, word_value(engine, &statement->words[i]));
            buf_add(&all, part.data, part.len);
        }
        set_variable(engine, name, value_bytes(all.data, all.len));
        buf_free(&all);
        return 0;
    }
    set_variable(engine, name, value);
    return 0;
}

static int verb_check(struct engine *engine, const struct statement *statement) {
    if (compare(engine, statement->words + 1, statement->word_count - 1))
        return 0;
    struct buf text = {0};
    for (size_t i = 1; i < statement->word_count; i++) {
        struct value value = value_flat(&engine->arena, word_value(engine, &statement->words[i]));
        buf_text(&text, i > 1 ? " " : "");
        if (value.len == 0)
            buf_text(&text, "(nothing)");
        buf_visible(&text, value.data, value.len, 300);
    }
    int result = fail(engine, "it does not hold that %s", text.data);
    buf_free(&text);
    return result;
}

static int verb_note(struct engine *engine, const struct statement *statement) {
    for (size_t i = 1; i < statement->word_count; i++) {
        const char *text = word_string(engine, &statement->words[i]);
        buf_format(&engine->result.notes, "%s%s", i > 1 ? " " : "", text);
    }
    buf_text(&engine->result.notes, "\n");
    return 0;
}

static int verb_skip(struct engine *engine, const struct statement *statement) {
    return not_judged(engine, "%s", word_string(engine, &statement->words[1]));
}

static int verb_fail(struct engine *engine, const struct statement *statement) {
    return fail(engine, "%s", word_string(engine, &statement->words[1]));
}

// need root | directory | room | bare | long | a key of the profile ...
static int verb_need(struct engine *engine, const struct statement *statement) {
    for (size_t i = 1; i < statement->word_count; i++) {
        const char *what = word_string(engine, &statement->words[i]);
        enum profile_key key = profile_key_of(what);
        if (strcmp(what, "root") == 0) {
            if (geteuid() != 0)
                return not_judged(engine, "needs root");
        } else if (strcmp(what, "directory") == 0) {
            if (!engine->setup->has_directory)
                return not_judged(engine, "needs a {dir} in the command, or a profile");
        } else if (strcmp(what, "room") == 0) {
            if (engine->setup->profile->value[PROFILE_no_room][0])
                return not_judged(engine, "needs room for what is put");
        } else if (strcmp(what, "bare") == 0) {
            if (engine->setup->profile->value[PROFILE_wrapped][0])
                return not_judged(engine, "needs the helper without a program around it");
        } else if (strcmp(what, "long") == 0) {
            if (!engine->setup->is_long)
                return not_judged(engine, "takes long; asked for with --long");
        } else if (key == PROFILE_MAX) {
            script_error(engine, "nothing is known of a need for '%s'", what);
        } else if (!engine->setup->profile->value[key][0]) {
            return not_judged(engine, "needs a profile with %s", what);
        }
    }
    return 0;
}

static int verb_place(struct engine *engine, const struct statement *statement) {
    (void)use_place(engine, word_string(engine, &statement->words[1]));
    return 0;
}

// directory PATH: another {dir} for the place
static int verb_directory(struct engine *engine, const struct statement *statement) {
    char *path = place_fill_in(engine->place, word_string(engine, &statement->words[1]));
    free(engine->place->dir);
    engine->place->dir = path;
    return 0;
}

static int verb_forget(struct engine *engine, const struct statement *statement) {
    (void)statement;
    place_forget(engine->place);
    return 0;
}

static void action_word(struct engine *engine, const struct word *word,
                        uint8_t ret_action[TUCK_ID_BYTES]) {
    struct value name = value_flat(&engine->arena, word_value(engine, word));
    action_of(name.data, name.len, ret_action);
}

// may ACTION BODY: it was put by a request that the engine did not make itself
static int verb_may(struct engine *engine, const struct statement *statement) {
    uint8_t action[TUCK_ID_BYTES];
    action_word(engine, &statement->words[1], action);
    (void)place_may(engine->place, action, word_value(engine, &statement->words[2]));
    return 0;
}

static int verb_never(struct engine *engine, const struct statement *statement) {
    for (size_t i = 1; i < statement->word_count; i++) {
        uint8_t action[TUCK_ID_BYTES];
        action_word(engine, &statement->words[i], action);
        place_known(engine->place, action)->is_never = true;
    }
    return 0;
}

// client WORD...: what is said about the client is for its judge
static int verb_client(struct engine *engine, const struct statement *statement) {
    (void)engine, (void)statement;
    return 0;
}

// Who can do it: the judge of helpers, a helper that misbehaves, or both.
enum side { ASK = 1, ACT = 2, BOTH = ASK | ACT };

static const struct verb {
    const char *name;
    size_t least, most; // words behind the verb
    bool takes_block;
    enum side side;
    verb_function *run;
} verbs[] = {
    {"for", 3, 999, true, BOTH, verb_for},
    {"repeat", 1, 1, true, BOTH, verb_repeat},
    {"if", 3, 3, true, BOTH, verb_if},
    {"batch", 0, 0, true, ASK, verb_batch},
    {"let", 3, 99, false, BOTH, verb_let},
    {"check", 3, 3, false, BOTH, verb_check},
    {"note", 1, 20, false, ASK, verb_note},
    {"fail", 1, 1, false, BOTH, verb_fail},
    {"skip", 1, 1, false, ASK, verb_skip},
    {"need", 1, 9, false, BOTH, verb_need},
    {"place", 1, 1, false, ASK, verb_place},
    {"directory", 1, 1, false, ASK, verb_directory},
    {"forget", 0, 0, false, ASK, verb_forget},
    {"may", 2, 2, false, ASK, verb_may},
    {"never", 1, 9, false, ASK, verb_never},
    {"start", 0, 20, false, ASK, verb_start},
    {"hello", 0, 0, false, ASK, verb_hello},
    {"get", 1, 20, false, ASK, verb_get},
    {"put", 2, 20, false, ASK, verb_put},
    {"close", 0, 9, false, ASK, verb_close},
    {"send", 1, 20, false, ASK, verb_send},
    {"rest", 0, 1, false, ASK, verb_rest},
    {"expect", 1, 20, false, ASK, verb_expect},
    {"nothing", 1, 1, false, ASK, verb_nothing},
    {"eof", 0, 0, false, ASK, verb_eof},
    {"end", 0, 1, false, ASK, verb_end},
    {"wait", 0, 9, false, ASK, verb_wait},
    {"stdout-ends", 0, 2, false, ASK, verb_stdout_ends},
    {"stderr-ends", 0, 2, false, ASK, verb_stderr_ends},
    {"kill", 0, 0, false, ASK, verb_kill},
    {"signal", 1, 2, false, ASK, verb_signal},
    {"read", 0, 0, false, ASK, verb_read},
    {"hangup", 0, 0, false, ASK, verb_hangup},
    {"provoke", 1, 60, false, ASK, verb_provoke},
    {"damage", 2, 2, false, BOTH, verb_damage},
    {"remove", 1, 1, false, BOTH, verb_remove},
    {"rename", 2, 2, false, BOTH, verb_rename},
    {"write", 2, 2, false, BOTH, verb_write},
    {"mkdir", 1, 2, false, BOTH, verb_mkdir},
    {"link", 2, 2, false, BOTH, verb_link},
    {"chmod", 2, 2, false, BOTH, verb_chmod},
    {"age", 2, 2, false, BOTH, verb_age},
    {"open", 3, 3, false, ASK, verb_open},
    {"unchanged", 1, 1, false, ASK, verb_unchanged},
    {"snapshot", 2, 20, false, ASK, verb_snapshot},
    {"copy-place", 1, 1, false, ASK, verb_copy_place},
    {"mount", 1, 4, false, ASK, verb_mount},
    {"fill-disk", 1, 2, false, ASK, verb_fill_disk},
    {"set-version", 3, 3, false, ASK, verb_set_version},
    {"clear", 0, 0, false, ASK, verb_clear},
    {"fill", 2, 2, false, ASK, verb_fill},
    {"crowd", 2, 4, false, ASK, verb_crowd},
    {"load", 3, 3, false, ASK, verb_load},
    {"quiet", 1, 1, false, ASK, verb_quiet},
    {"stuff", 1, 1, false, ASK, verb_stuff},
    {"flood", 2, 4, false, ASK, verb_flood},
    {"client", 1, 9, false, ACT, verb_client},
    {"announce", 0, 9, false, ACT, verb_announce},
    {"say", 1, 20, false, ACT, verb_say},
    {"await", 1, 2, false, ACT, verb_await},
    {"answer", 0, 9, false, ACT, verb_answer},
    {"bend", 1, 9, false, ACT, verb_bend},
    {"serve", 0, 1, false, ACT, verb_serve},
    {"over", 0, 1, false, ACT, verb_over},
    {"hang", 0, 0, false, ACT, verb_hang},
    {"read-on", 0, 0, false, ACT, verb_read_on},
    {"exit", 1, 1, false, ACT, verb_exit},
    {"die", 1, 1, false, ACT, verb_die},
    {"shut", 1, 1, false, ACT, verb_shut},
    {"pour", 3, 3, false, ACT, verb_pour},
    {"swell", 3, 3, false, ACT, verb_swell},
    {"trickle", 0, 0, false, ACT, verb_trickle},
    {"leave-child", 0, 0, false, ACT, verb_leave_child},
    {"descriptors", 0, 0, false, ACT, verb_descriptors},
    {"arguments", 0, 20, false, ACT, verb_arguments},
};

static const struct verb *find_verb(const char *name) {
    for (size_t i = 0; i < TUCK_ARRAY_LEN(verbs); i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

static bool is_verb(const char *name, bool *ret_takes_block) {
    const struct verb *verb = find_verb(name);
    if (verb)
        *ret_takes_block = verb->takes_block;
    return verb != NULL;
}

static bool is_clause(const char *name) {
    return clause_find(name) != NULL;
}

const struct vocabulary engine_vocabulary = {is_verb, expr_is_function, is_clause};

static int run_define(struct engine *engine, const struct statement *statement) {
    const struct script_define *define =
        script_find_define(engine->setup->script, word_literal(&statement->words[0]));
    struct variable *outer = engine->variables;
    struct value values[20];
    for (size_t i = 0; i < define->parameter_count; i++)
        values[i] = value_keep(word_value(engine, &statement->words[i + 1]));
    for (size_t i = 0; i < define->parameter_count; i++) {
        push_variable(engine, define->parameters[i], values[i]);
        value_free(&values[i]);
    }
    int result = run_block(engine, define->body);
    pop_variables(engine, outer);
    return result;
}

static int run_statement(struct engine *engine, const struct statement *statement) {
    const struct verb *verb = find_verb(word_literal(&statement->words[0]));
    arena_reset(&engine->arena);
    engine->statement = statement;
    engine->helper_name = statement->helper ? word_string(engine, statement->helper) : NULL;
    if (!verb)
        return run_define(engine, statement);
    if (!(verb->side & (engine->act ? ACT : ASK)))
        script_error(engine, "'%s' is for cases about %s", verb->name,
                     engine->act ? "helpers" : "clients");
    size_t words = statement->word_count - 1;
    if (words < verb->least || words > verb->most)
        script_error(engine, "'%s' takes %zu to %zu words", verb->name, verb->least, verb->most);
    return verb->run(engine, statement);
}

static int run_block(struct engine *engine, const struct statement *first) {
    for (const struct statement *one = first; one; one = one->next) {
        int result = run_statement(engine, one);
        if (result == 0)
            result = check_breaches(engine);
        if (result != 0)
            return result;
    }
    return 0;
}

// -- the end of a case ---------------------------------------------------------------------------
int aftermath(struct engine *engine, struct place *place) {
    engine->place = place;
    struct helper *helper = start_plainly(engine, "afterwards");
    if (!helper)
        return ENGINE_STOP;
    size_t from = place->known_count > AFTERMATH_MAX ? place->known_count - AFTERMATH_MAX : 0;
    struct buf text = {0};
    size_t first = helper->request_count;
    for (size_t i = from; i < place->known_count; i++)
        plain_get(engine, helper, place->known[i].action, &text);
    int result = text.len ? send_bytes(engine, helper, text.data, text.len) : 0;
    buf_free(&text);
    for (size_t i = from; i < place->known_count && result == 0; i++) {
        const struct known *known = &place->known[i];
        struct request *request = &helper->requests[first + i - from];
        if (known->must >= 0 && !known->is_never)
            result = judge_plain(engine, helper, request, "hit", &known->bodies[known->must]);
        else
            result = judge_plain(engine, helper, request,
                                 known->body_count && !known->is_never ? "true" : "lost", NULL);
        if (result != 0 && !engine->result.is_breach)
            buf_text(&engine->result.why, "  [a fresh helper was asked about it when the case was "
                                          "over]");
    }
    return result != 0 ? result : finish(engine, helper, true);
}

static int end_case(struct engine *engine) {
    engine->statement = NULL;
    for (struct helper *one = engine->group.first; one; one = one->next) {
        if (one->is_reaped)
            continue;
        int result = one->is_signalled || one->is_unread ? 0 : finish(engine, one, false);
        helper_kill(one);
        if (result != 0)
            return result;
    }
    if (check_breaches(engine) != 0)
        return ENGINE_STOP;
    bool has_no_room = engine->setup->profile->value[PROFILE_no_room][0] != NULL;
    for (struct place *place = engine->places; place && !has_no_room; place = place->next)
        if (place->is_used && place->known_count > 0 && aftermath(engine, place) != 0)
            return ENGINE_STOP;
    for (struct helper *one = engine->group.first; one; one = one->next)
        helper_kill(one);
    return check_breaches(engine);
}

struct engine engine_begin(const struct setup *setup, const struct script_case *one,
                           const char *scratch) {
    return (struct engine){
        .setup = setup,
        .one = one,
        .scratch = need_strndup(scratch, strlen(scratch)),
        .group = {.started_ns = tuck_clock_mono_ns()},
        .patience_ns = (uint64_t)((double)PATIENCE_NS * setup->scale),
        .fastest_hello_ns = UINT64_MAX,
    };
}

struct engine *engine_act(const struct setup *setup, const struct script_case *one,
                          const char *directory, struct act *act) {
    struct engine *engine = need_alloc(sizeof(*engine));
    *engine = engine_begin(setup, one, directory);
    engine->act = act;
    engine->places = engine->place = place_at(directory);
    return engine;
}

int engine_play(struct engine *engine, const struct script_case *one) {
    return run_block(engine, one->body);
}

static bool has_spoken(void *arg) {
    const struct helper *helper = arg;
    return helper->has_hello || helper->breach || helper->stdout_raw.len || helper->is_stdout_over;
}

static bool has_ended(void *arg) {
    struct helper *helper = arg;
    return helper_is_over(helper) && helper->is_stderr_over;
}

enum probe engine_probe(const struct setup *setup, const char *scratch, struct buf *ret_why) {
    struct engine engine = engine_begin(setup, NULL, scratch);
    (void)use_place(&engine, "place");
    struct helper *helper = start_silently(&engine, "h");
    if (!helper) {
        buf_text(ret_why, engine.result.why.data);
        return PROBE_NOT_RUN;
    }
    bool is_spoken = wait_for(&engine, has_spoken, helper);
    enum probe probe = is_spoken ? PROBE_RUNS : PROBE_SILENT;
    if (helper->is_stdout_over && !helper->has_hello && !helper->breach) {
        (void)wait_for(&engine, has_ended, helper);
        probe = PROBE_GAVE_UP;
    }
    describe_end(helper, ret_why);
    helper_free_all(&engine.group);
    return probe;
}

void engine_run(const struct setup *setup, const struct script_case *one, const char *scratch,
                struct result *ret_result) {
    struct engine engine = engine_begin(setup, one, scratch);
    (void)use_place(&engine, "place");
    set_variable(&engine, "case", value_text(one->id));
    if (run_block(&engine, one->body) == 0)
        (void)end_case(&engine);
    helper_free_all(&engine.group);
    pop_variables(&engine, NULL);
    while (engine.places) {
        struct place *next = engine.places->next;
        place_free(engine.places);
        engine.places = next;
    }
    arena_reset(&engine.arena);
    buf_free(&engine.rest);
    free(engine.scratch);
    *ret_result = engine.result; // names, references and snapshots live as long as the process
}

void result_free(struct result *result) {
    buf_free(&result->why);
    buf_free(&result->diagnostic);
    buf_free(&result->notes);
    buf_free(&result->facts);
}

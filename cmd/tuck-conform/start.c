// SPDX-License-Identifier: MIT
/*
 * The life of a helper: how it is started, how it ends, and what has to hold when it has.
 */
#include "cmd/tuck-conform/engine.h"
#include "cmd/tuck-conform/clauses.h"
#include "lib/base/clock.h"
#include "lib/base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

// -- start ---------------------------------------------------------------------------------------
static bool has_hello(void *arg) {
    const struct helper *helper = arg;
    return helper->has_hello || helper->is_stdout_over || helper->breach;
}

static bool is_over(void *arg) {
    return helper_is_over(arg);
}

static bool has_ended(void *arg) {
    struct helper *helper = arg;
    return helper_is_over(helper) && (helper->is_stdout_over || helper->is_unread) &&
           helper->is_stderr_over;
}

struct environment {
    char **list;
    size_t count;
};

static void set_environment(struct environment *environment, const char *assignment) {
    size_t name = strcspn(assignment, "=");
    size_t at = 0;
    while (at < environment->count && (strncmp(environment->list[at], assignment, name) != 0 ||
                                       environment->list[at][name] != '='))
        at++;
    if (at == environment->count) {
        environment->list = need_realloc(environment->list, (at + 2) * sizeof(*environment->list));
        environment->count++;
        environment->list[at + 1] = NULL;
    } else {
        free(environment->list[at]);
    }
    environment->list[at] = need_strndup(assignment, strlen(assignment));
}

static void unset_environment(struct environment *environment, const char *name) {
    for (size_t i = 0; i < environment->count; i++) {
        if (strncmp(environment->list[i], name, strlen(name)) == 0 &&
            environment->list[i][strlen(name)] == '=') {
            free(environment->list[i]);
            memmove(environment->list + i, environment->list + i + 1,
                    (environment->count - i) * sizeof(*environment->list));
            environment->count--;
            return;
        }
    }
}

static void set_filled(struct engine *engine, struct environment *environment,
                       const char *assignment) {
    char *filled = place_fill_in(engine->place, assignment);
    set_environment(environment, filled);
    free(filled);
}

// Only what programs need to run comes from outside: no setting of the user may reach a helper.
static void begin_environment(struct engine *engine, struct environment *environment) {
    static const char *const passed[] = {
        "PATH",         "LANG",
        "LC_ALL",       "LC_CTYPE",
        "TZ",           "LD_LIBRARY_PATH",
        "ASAN_OPTIONS", "UBSAN_OPTIONS",
        "TSAN_OPTIONS", "LSAN_OPTIONS",
        "USER",         "LLVM_PROFILE_FILE",
    };
    static const char *const own[] = {"HOME={home}", "GOCACHE={gocache}", "TMPDIR={tmp}",
                                      "XDG_CACHE_HOME={home}/.cache",
                                      "XDG_CONFIG_HOME={home}/.config"};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(passed); i++) {
        const char *value = getenv(passed[i]);
        struct buf text = {0};
        buf_format(&text, "%s=%s", passed[i], value ? value : "");
        if (value)
            set_environment(environment, text.data);
        buf_free(&text);
    }
    for (size_t i = 0; i < TUCK_ARRAY_LEN(own); i++)
        set_filled(engine, environment, own[i]);
    char *const *more = engine->setup->profile->value[PROFILE_environment];
    for (size_t i = 0; i < PROFILE_VALUES && more[i]; i++)
        set_filled(engine, environment, more[i]);
    for (size_t i = 0; i < engine->setup->environment_count; i++)
        set_filled(engine, environment, engine->setup->environment[i]);
}

struct start {
    struct helper_spec spec;
    struct environment environment;
    bool may_refuse;    // to start
    bool may_not_load;  // the kernel or the loader may end it before it is a helper
    bool without_hello; // do not wait for it
    const char *flag;   // one more argument
    uint64_t memory_limit;
};

static char **make_argv(struct engine *engine, const char *flag) {
    const struct setup *setup = engine->setup;
    char *const *more = setup->profile->value[PROFILE_directory_flag];
    char **argv = need_alloc((setup->command_count + PROFILE_VALUES + 2) * sizeof(*argv));
    size_t count = 0;
    bool has_dir = false;
    for (size_t i = 0; i < setup->command_count; i++) {
        has_dir = has_dir || strstr(setup->command[i], "{dir}");
        argv[count++] = place_fill_in(engine->place, setup->command[i]);
    }
    for (size_t i = 0; i < PROFILE_VALUES && more[i] && !has_dir; i++)
        argv[count++] = place_fill_in(engine->place, more[i]);
    if (flag)
        argv[count++] = place_fill_in(engine->place, flag);
    return argv;
}

static struct helper *run(struct engine *engine, struct start *start) {
    struct tuck_error err = {0};
    struct helper *helper = NULL;
    char **argv = make_argv(engine, start->flag);
    start->spec.argv = argv;
    start->spec.environment = start->environment.list;
    if (!start->spec.directory)
        start->spec.directory = engine->place->work;
    engine->place->is_used = true;
    if (helper_start(&engine->group, &start->spec, &helper, &err) < 0) {
        helper = NULL;
        if (start->spec.is_nobody && err.os == EACCES)
            (void)not_judged(engine, "the helper lies where other users cannot reach it");
        else if (!start->may_refuse)
            (void)not_judged(engine, "%s", err.text);
    }
    for (size_t i = 0; argv[i]; i++)
        free(argv[i]);
    free(argv);
    for (size_t i = 0; i < start->environment.count; i++)
        free(start->environment.list[i]);
    free(start->environment.list);
    if (helper && start->memory_limit) {
        helper->memory_limit = start->memory_limit;
    }
    engine->helper = helper ? helper : engine->helper;
    return helper;
}

static int await_hello(struct engine *engine, struct helper *helper, bool may_refuse,
                       bool may_not_load) {
    bool is_there = wait_for(engine, has_hello, helper);
    if (check_breaches(engine) != 0)
        return ENGINE_STOP;
    if (helper->has_hello) {
        uint64_t took_ns = helper->hello_ns - helper->started_ns;
        if (took_ns < engine->fastest_hello_ns)
            engine->fastest_hello_ns = took_ns;
        return 0;
    }
    if (is_there)
        (void)wait_for(engine, has_ended, helper);
    if (is_there && may_not_load) {
        helper->sent_signals = UINT32_MAX; // whatever ended it is not its fault
        return 0;
    }
    if (is_there && may_refuse && ended_in_refusal(helper))
        return 0;
    struct buf end = {0};
    describe_end(helper, &end);
    int result = fail(
        engine, is_there ? "it ended without a handshake: %s" : "no handshake came in time: %s",
        end.data);
    buf_free(&end);
    return result;
}

static struct start plain_start(struct engine *engine, const char *name) {
    struct start start = {.spec = {.name = name, .umask = -1}};
    for (int i = 0; i < RLIM_NLIMITS; i++)
        start.spec.limit[i] = RLIM_INFINITY;
    begin_environment(engine, &start.environment);
    engine->next_id = 0;
    return start;
}

struct helper *start_silently(struct engine *engine, const char *name) {
    struct start start = plain_start(engine, name);
    return run(engine, &start);
}

struct helper *start_plainly(struct engine *engine, const char *name) {
    struct start start = plain_start(engine, name);
    struct helper *helper = run(engine, &start);
    if (!helper || await_hello(engine, helper, false, false) != 0)
        return NULL;
    return helper;
}

static bool take_kind(const char *value, const char *const *names, size_t count, int *ret_kind) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i], value) == 0) {
            *ret_kind = (int)i;
            return true;
        }
    }
    return false;
}

static bool take_limit(struct start *start, const char *name, int64_t number) {
    static const struct {
        const char *name;
        int which;
    } limits[] = {{"nofile", RLIMIT_NOFILE},
                  {"fsize", RLIMIT_FSIZE},
                  {"as", RLIMIT_AS},
                  {"nproc", RLIMIT_NPROC}};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(limits); i++) {
        if (strcmp(limits[i].name, name) == 0) {
            start->spec.limit[limits[i].which] = (rlim_t)number;
            return true;
        }
    }
    return false;
}

// Loads a library into the helper whose wall clock begins at this second.
static void set_clock(struct engine *engine, struct start *start, const char *seconds) {
    struct buf path = {0}, text = {0};
    const char *options = getenv("ASAN_OPTIONS");
    buf_format(&path, "%s/clock.so", engine->scratch);
    int fd = open(path.data, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
    if (fd < 0 || tuck_pwrite_all(fd, clock_library, clock_library_len, 0) < 0)
        conform_die("cannot write '%s'", path.data);
    (void)close(fd);
    buf_format(&text, "LD_PRELOAD=%s", path.data);
    set_environment(&start->environment, text.data);
    text.len = 0;
    buf_format(&text, "CONFORM_NOW=%s", seconds);
    set_environment(&start->environment, text.data);
    text.len = 0;
    buf_format(&text, "ASAN_OPTIONS=%s%sverify_asan_link_order=0", options ? options : "",
               options ? ":" : "");
    set_environment(&start->environment, text.data);
    buf_free(&path);
    buf_free(&text);
}

static int octal(const char *text) {
    int number = 0;
    for (; *text >= '0' && *text <= '7'; text++)
        number = number * 8 + (*text - '0');
    return number;
}

static void take_start_option(struct engine *engine, struct start *start, const char *option) {
    static const char *const stdins[] = {"pipe", "at-end", "null", "closed"}, *const stderrs[] = {
                                                                                  "kept", "closed",
                                                                                  "full", "broken",
                                                                                  "stuffed"};
    const char *equals = strchr(option, '=');
    int kind = 0;
    int64_t number = 0;
    char *name = need_strndup(option, equals ? (size_t)(equals - option) : strlen(option));
    struct value value = value_text(equals ? equals + 1 : "");
    bool is_number = value_number(&value, &number);
    if (strncmp(option, "env.", 4) == 0 && equals) {
        set_filled(engine, &start->environment, option + 4);
    } else if (strncmp(option, "-env.", 5) == 0) {
        unset_environment(&start->environment, option + 5);
    } else if (strcmp(name, "stdin") == 0 && take_kind(value.data, stdins, 4, &kind)) {
        start->spec.stdin_kind = (enum helper_stdin)kind;
    } else if (strcmp(name, "stderr") == 0 && take_kind(value.data, stderrs, 5, &kind)) {
        start->spec.stderr_kind = (enum helper_stderr)kind;
    } else if (strcmp(name, "umask") == 0 && is_number) {
        start->spec.umask = octal(value.data);
    } else if (strcmp(name, "cwd") == 0 && value_is(&value, "gone")) {
        start->spec.is_directory_gone = true;
        start->spec.directory = arena_alloc(&engine->arena, strlen(engine->place->work) + 8);
        (void)snprintf((char *)(uintptr_t)start->spec.directory, strlen(engine->place->work) + 8,
                       "%s/gone", engine->place->work);
        (void)mkdir(start->spec.directory, 0755);
    } else if (strcmp(option, "user=nobody") == 0 || strcmp(option, "user=same") == 0) {
        start->spec.is_nobody = value_is(&value, "nobody");
    } else if (strcmp(option, "unread") == 0) {
        start->spec.is_unread = true;
        start->without_hello = true;
    } else if (strcmp(option, "or-refuses") == 0) {
        start->may_refuse = true;
    } else if (strcmp(option, "may-not-load") == 0) {
        start->may_not_load = true;
    } else if (strcmp(option, "silent") == 0) {
        start->without_hello = true;
    } else if (strcmp(name, "clock") == 0 && is_number) {
        set_clock(engine, start, value.data);
    } else if (strcmp(name, "flag") == 0) {
        start->flag = equals + 1;
    } else if (strcmp(name, "memory") == 0 && is_number) {
        start->memory_limit = (uint64_t)number;
    } else if (!is_number || !take_limit(start, name, number)) {
        script_error(engine, "a helper is not started with '%s'", option);
    }
    free(name);
}

// Nobody reads it, but it is there: the helper has started.
static void await_unread_hello(struct engine *engine, const struct helper *helper) {
    uint64_t until_ns = tuck_clock_mono_ns() + engine->patience_ns;
    while (!helper_has_unread(helper) && !helper->is_over && tuck_clock_mono_ns() < until_ns)
        (void)helper_pump(&engine->group, tuck_clock_mono_ns() + TUCK_NS_PER_MS, NULL, NULL);
}

// start [OPTION...]: sets $started to yes or no
int verb_start(struct engine *engine, const struct statement *statement) {
    struct start start = plain_start(engine, engine->helper_name ? engine->helper_name : "h");
    for (size_t i = 1; i < statement->word_count; i++)
        take_start_option(engine, &start, word_string(engine, &statement->words[i]));
    if (start.spec.is_nobody)
        place_give_away(engine->place);
    struct helper *helper = run(engine, &start);
    if (!helper && engine->result.verdict != VERDICT_PASS)
        return ENGINE_STOP;
    if (helper && !start.without_hello &&
        await_hello(engine, helper, start.may_refuse, start.may_not_load) != 0)
        return ENGINE_STOP;
    if (helper && start.spec.is_unread)
        await_unread_hello(engine, helper);
    set_variable(engine, "started",
                 value_text(helper && (helper->has_hello || start.without_hello) ? "yes" : "no"));
    if (helper && helper->memory_limit)
        helper->memory_base = helper_memory(helper);
    return 0;
}

int verb_hello(struct engine *engine, const struct statement *statement) {
    (void)statement;
    return await_hello(engine, find_helper(engine, engine->helper_name), false, false);
}

// -- ends ----------------------------------------------------------------------------------------
static int check_memory(struct engine *engine, const struct helper *helper) {
    uint64_t allowed = helper->memory_base + helper->memory_limit;
    if (!helper->memory_limit || helper->memory_peak <= allowed)
        return 0;
    return fail(engine, "its memory grew from %llu to %llu MiB, more than by %llu",
                (unsigned long long)helper->memory_base >> 20,
                (unsigned long long)helper->memory_peak >> 20,
                (unsigned long long)helper->memory_limit >> 20);
}

// Two puts of one action that were in work at the same time: either may win.
static bool is_contested(const struct helper *helper, const struct request *request) {
    for (size_t i = 0; i < helper->request_count; i++) {
        const struct request *other = &helper->requests[i];
        if (other != request && other->kind == REQUEST_PUT && other->has_action &&
            other->sent_wall_ns < request->answered_wall_ns &&
            (!other->answer || request->sent_wall_ns < other->answered_wall_ns) &&
            memcmp(other->action, request->action, TUCK_ID_BYTES) == 0 &&
            !value_equal(&other->body, &request->body))
            return true;
    }
    return false;
}

// What was answered before an orderly end has to be there afterwards.
static void keep_promises(struct engine *engine, const struct helper *helper) {
    for (size_t i = 0; i < helper->request_count; i++) {
        const struct request *request = &helper->requests[i];
        if (request->kind != REQUEST_PUT || !request->has_action || !request->answer ||
            !json_is_string(json_object_get(request->answer, "DiskPath")))
            continue;
        if (request->answered_ns < engine->place->forgotten_ns ||
            !place_find(engine->place, request->action))
            continue;
        struct known *known = place_known(engine->place, request->action);
        if (known->must >= 0 && known->must_ns > request->answered_ns)
            continue;
        if (is_contested(helper, request)) {
            known->must = -1;
            continue;
        }
        for (size_t j = 0; j < known->body_count; j++) {
            if (value_equal(&known->bodies[j], &request->body)) {
                known->must = (int)j;
                known->must_ns = request->answered_ns;
            }
        }
    }
}

static bool is_quiet(void *arg) {
    const struct helper *helper = arg;
    return helper->is_stdout_over || helper->breach;
}

bool announces(const struct helper *helper, const char *command) {
    const json_t *names = json_object_get(helper->hello, "KnownCommands");
    for (size_t i = 0; i < json_array_size(names); i++)
        if (strcmp(json_string_value(json_array_get(names, i)), command) == 0)
            return true;
    return false;
}

struct closing {
    struct helper *helper;
    size_t request;
};

static bool is_closed(void *arg) {
    const struct closing *closing = arg;
    return closing->helper->requests[closing->request].answer || is_quiet(closing->helper);
}

int finish(struct engine *engine, struct helper *helper, bool with_close) {
    bool has_closed = false;
    for (size_t i = 0; i < helper->request_count; i++)
        has_closed = has_closed || helper->requests[i].kind == REQUEST_CLOSE;
    if (with_close && !has_closed && helper->in >= 0 && announces(helper, "close")) {
        char text[64];
        int len = snprintf(text, sizeof(text), "{\"ID\":%lld,\"Command\":\"close\"}\n\n",
                           (long long)++engine->next_id);
        struct closing closing = {helper, helper->request_count};
        remember(engine, helper_ask(helper, engine->next_id), REQUEST_CLOSE, NULL, NULL);
        if (send_bytes(engine, helper, text, (size_t)len) != 0)
            return ENGINE_STOP;
        (void)wait_for(engine, is_closed, &closing);
    }
    helper_end_input(helper);
    if (!wait_for(engine, is_quiet, helper))
        return fail(engine, "its stdout does not end");
    if (check_breaches(engine) != 0)
        return ENGINE_STOP;
    keep_promises(engine, helper);
    if (!wait_for(engine, is_over, helper))
        return fail(engine, "it does not exit after its input and its output have ended");
    (void)wait_for(engine, has_ended, helper);
    int result = check_memory(engine, helper);
    helper_kill(helper);
    return result ? result : check_breaches(engine);
}

int verb_eof(struct engine *engine, const struct statement *statement) {
    (void)statement;
    struct helper *helper = find_helper(engine, engine->helper_name);
    engine->helper = helper;
    helper_end_input(helper);
    return 0;
}

// end [eof]: an orderly end, with close or without
int verb_end(struct engine *engine, const struct statement *statement) {
    bool is_eof =
        statement->word_count > 1 && strcmp(word_string(engine, &statement->words[1]), "eof") == 0;
    struct helper *helper = find_helper(engine, engine->helper_name);
    engine->helper = helper;
    int result = finish(engine, helper, !is_eof);
    if (result == 0 && statement->outcome_count) {
        const char *expected = word_string(engine, &statement->outcome[0]);
        struct buf end = {0};
        describe_end(helper, &end);
        if (strcmp(expected, "exit0") == 0 && !helper_ended_well(helper))
            result = fail(engine, "expected exit status 0, but %s", end.data);
        buf_free(&end);
    }
    return result;
}

static uint64_t within(struct engine *engine, const struct statement *statement) {
    for (size_t i = 1; i + 1 < statement->word_count; i++) {
        const char *word = word_literal(&statement->words[i]);
        if (word && strcmp(word, "within") == 0)
            return (uint64_t)((double)word_number(engine, &statement->words[i + 1]) *
                              engine->setup->scale);
    }
    return engine->patience_ns;
}

// wait [exit 0|above-0|any] [within TIME]
int verb_wait(struct engine *engine, const struct statement *statement) {
    struct helper *helper = find_helper(engine, engine->helper_name);
    uint64_t limit_ns = within(engine, statement), began_ns = tuck_clock_mono_ns();
    uint64_t patience_ns = limit_ns > engine->patience_ns ? limit_ns : engine->patience_ns;
    engine->helper = helper;
    if (!helper_pump(&engine->group, began_ns + patience_ns, is_over, helper))
        return fail(engine, "it does not end");
    if (helper->over_ns > began_ns + limit_ns)
        return fail(engine, "it took %.2f s to end, more than %.2f s",
                    (double)(helper->over_ns - began_ns) / 1e9, (double)limit_ns / 1e9);
    (void)wait_for(engine, has_ended, helper);
    const char *word = statement->word_count > 2 ? word_literal(&statement->words[1]) : NULL;
    if (!word || strcmp(word, "exit") != 0)
        return check_breaches(engine);
    const char *wanted = word_string(engine, &statement->words[2]);
    bool is_exit = WIFEXITED(helper->status);
    int status = WEXITSTATUS(helper->status);
    bool is_good = strcmp(wanted, "any") == 0       ? is_exit
                   : strcmp(wanted, "above-0") == 0 ? is_exit && status > 0 && status < 126
                                                    : is_exit && status == 0;
    struct buf end = {0};
    describe_end(helper, &end);
    int result = is_good ? check_breaches(engine)
                         : fail(engine, "expected exit status %s, but %s", wanted, end.data);
    buf_free(&end);
    return result;
}

// stdout-ends [within TIME]
int verb_stdout_ends(struct engine *engine, const struct statement *statement) {
    struct helper *helper = find_helper(engine, engine->helper_name);
    uint64_t limit_ns = within(engine, statement), began_ns = tuck_clock_mono_ns();
    uint64_t patience_ns = limit_ns > engine->patience_ns ? limit_ns : engine->patience_ns;
    if (!helper_pump(&engine->group, began_ns + patience_ns, is_quiet, helper))
        return fail(engine, "its stdout does not end");
    if (check_breaches(engine) != 0)
        return ENGINE_STOP;
    if (helper->stdout_over_ns > began_ns + limit_ns)
        return fail(engine, "its stdout ended after %.2f s, more than %.2f s",
                    (double)(helper->stdout_over_ns - began_ns) / 1e9, (double)limit_ns / 1e9);
    return 0;
}

static bool is_stderr_closed(void *arg) {
    return ((struct helper *)arg)->is_stderr_over;
}

// stderr-ends [within TIME]
int verb_stderr_ends(struct engine *engine, const struct statement *statement) {
    struct helper *helper = find_helper(engine, engine->helper_name);
    if (!helper_pump(&engine->group, tuck_clock_mono_ns() + within(engine, statement),
                     is_stderr_closed, helper))
        return fail(engine, "its stderr stays open");
    return check_breaches(engine);
}

int verb_kill(struct engine *engine, const struct statement *statement) {
    (void)statement;
    struct helper *helper = find_helper(engine, engine->helper_name);
    helper_signal(helper, SIGKILL, false);
    helper_kill(helper);
    return 0;
}

// signal [group] NAME
int verb_signal(struct engine *engine, const struct statement *statement) {
    static const struct {
        const char *name;
        int number;
    } signals[] = {{"INT", SIGINT},   {"QUIT", SIGQUIT}, {"TERM", SIGTERM}, {"HUP", SIGHUP},
                   {"STOP", SIGSTOP}, {"CONT", SIGCONT}, {"PIPE", SIGPIPE}};
    struct helper *helper = find_helper(engine, engine->helper_name);
    const char *name = word_string(engine, &statement->words[statement->word_count - 1]);
    for (size_t i = 0; i < TUCK_ARRAY_LEN(signals); i++) {
        if (strcmp(signals[i].name, name) == 0) {
            helper_signal(helper, signals[i].number, statement->word_count > 2);
            return 0;
        }
    }
    script_error(engine, "there is no signal '%s' here", name);
}

// read: from now on somebody reads its answers
int verb_read(struct engine *engine, const struct statement *statement) {
    (void)statement;
    struct helper *helper = find_helper(engine, engine->helper_name);
    helper->is_unread = false;
    return await_hello(engine, helper, false, false);
}

int verb_hangup(struct engine *engine, const struct statement *statement) {
    (void)statement;
    helper_hang_up(find_helper(engine, engine->helper_name));
    return 0;
}

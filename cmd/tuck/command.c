// SPDX-License-Identifier: MIT
// What the subcommands share.
#include "cmd/tuck/command.h"
#include "lib/base/clock.h"

#include <jansson.h>
#include <signal.h>
#include <stdarg.h>

void tuck_say(const char *format, ...) {
    char text[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    fprintf(stderr, "tuck: %s\n", text); // one write, so that lines of several helpers do not mix
}

// --- Arguments -----------------------------------------------------------------------------------

static void report_problem(const char *text) {
    tuck_say("%s", text);
}

// Takes argv[*at] if it is this option, with the value behind it. 1: taken, 0: another, -1: said.
static int take_option(const struct tuck_option *option, int argc, char **argv, int *at) {
    size_t len = strlen(option->name);
    const char *word = argv[*at];
    if (strncmp(word, option->name, len) != 0 || (word[len] && word[len] != '='))
        return 0;
    if (option->ret_flag) {
        if (word[len]) {
            tuck_say("%s takes no value", option->name);
            return -1;
        }
        *option->ret_flag = true;
        return 1;
    }
    if (!word[len] && *at + 1 >= argc) {
        tuck_say("%s needs a value", option->name);
        return -1;
    }
    *option->ret_value = word[len] ? word + len + 1 : argv[++*at];
    return 1;
}

int tuck_command_begin(struct tuck_settings *settings, int *argc, char **argv,
                       const struct tuck_option *options, int words_max) {
    struct tuck_error err = {0};
    settings->report = report_problem;
    int count = tuck_settings_from_flags(settings, *argc, argv), words = 1;
    for (int i = 1; i < count; i++) {
        int taken = 0;
        for (const struct tuck_option *option = options; taken == 0 && option->name; option++)
            taken = take_option(option, count, argv, &i);
        if (taken < 0)
            return TUCK_EXIT_USAGE;
        if (taken > 0)
            continue;
        if (argv[i][0] == '-' || words > words_max) {
            tuck_say("'%s' is not an argument of tuck %s; see tuck help", argv[i], argv[0]);
            return TUCK_EXIT_USAGE;
        }
        argv[words++] = argv[i];
    }
    argv[words] = NULL;
    *argc = words;
    if (tuck_settings_complete(settings, &err) < 0) {
        tuck_say("%s", err.text);
        return TUCK_EXIT_FAILED;
    }
    return settings->problems ? TUCK_EXIT_USAGE : TUCK_EXIT_DONE;
}

// --- Events --------------------------------------------------------------------------------------

static const struct {
    const char *what;    // followed by the path, if there is one, and by the reason
    const char *meaning; // for the build, and what to do
} reports[] = {
    [TUCK_EVENT_DRIVE_UNUSABLE] = {"cannot use the cache",
                                   "the build goes on without it, in a private directory"},
    [TUCK_EVENT_PUT_ELSEWHERE] = {"outputs go to the private directory",
                                  "the build goes on; make room, or see tuck config for the "
                                  "cache's place"},
    [TUCK_EVENT_PUT_FAILED] = {"an output could be kept nowhere",
                               "the build may fail; make room on the cache's drive or in TMPDIR"},
    [TUCK_EVENT_OBJECT_DAMAGED] = {"removed an object that did not have its hash",
                                   "it will be built again; if this comes again, check the drive"},
    [TUCK_EVENT_INDEX_DAMAGED] = {"began anew the damaged index",
                                  "what it knew will be built again"},
    [TUCK_EVENT_ENTRIES_LOST] = {"could not write some entries to the index",
                                 "these outputs will be built again"},
    [TUCK_EVENT_SET_REFUSED] = {"the drives are not the set that they were",
                                "those that can serve do; nothing is lost"},
    [TUCK_EVENT_DRIVE_OFFLINE] = {"does without the drive",
                                  "the build goes on with the others; it is tried again by itself, "
                                  "and tuck drive shows all of them"},
    [TUCK_EVENT_DRIVE_READONLY] = {"writes nothing to the drive",
                                   "what is on it serves, new outputs go to the others"},
    [TUCK_EVENT_DRIVE_ONLINE] = {"uses the drive again", "what is on it serves again"},
    [TUCK_EVENT_DRIVE_HEALED] = {"took the empty directory for a drive of the set",
                                 "it fills up again; if it should not be empty, look at it"},
    [TUCK_EVENT_BOUND_EXCEEDED] = {"the cache is larger than its quota",
                                   "all of it is in use or younger than an hour; it shrinks "
                                   "later, or raise quota"},
};

static void tell_what(const struct tuck_event *event, char *ret_text, size_t room) {
    bool has_path = event->path, has_reason = event->error && event->error->text[0];
    (void)snprintf(ret_text, room, "%s%s%s%s%s%s", reports[event->kind].what, has_path ? " '" : "",
                   has_path ? event->path : "", has_path ? "'" : "", has_reason ? ": " : "",
                   has_reason ? event->error->text : "");
}

void tuck_command_describe(const struct tuck_event *event, char *ret_text, size_t room) {
    tell_what(event, ret_text, room);
    size_t len = strlen(ret_text);
    (void)snprintf(ret_text + len, room - len, "; %s", reports[event->kind].meaning);
}

static void emit(struct tuck_event_sink *sink, const struct tuck_event *event) {
    char text[1100];
    (void)sink;
    if (event->kind == TUCK_EVENT_DRIVE_UNUSABLE) // here no build goes on without it
        tell_what(event, text, sizeof(text));
    else
        tuck_command_describe(event, text, sizeof(text));
    tuck_say("%s", text);
}

struct tuck_event_sink *tuck_command_sink(void) {
    static struct tuck_event_sink sink = {.emit = emit};
    return &sink;
}

// --- The cache -----------------------------------------------------------------------------------

static int open_cache(const struct tuck_settings *settings, bool must_exist,
                      struct tuck_cache **ret_cache) {
    struct tuck_error err = {0};
    struct tuck_cache_options options = tuck_settings_cache(settings);
    options.sink = tuck_command_sink();
    options.must_exist = must_exist;
    if (tuck_cache_open(&options, ret_cache, &err) == 0)
        return TUCK_EXIT_DONE;
    tuck_say("%s", err.text);
    return TUCK_EXIT_FAILED;
}

int tuck_command_open(const struct tuck_settings *settings, struct tuck_cache **ret_cache) {
    return open_cache(settings, true, ret_cache);
}

int tuck_command_make(const struct tuck_settings *settings, struct tuck_cache **ret_cache) {
    return open_cache(settings, false, ret_cache);
}

void tuck_command_close(struct tuck_cache *cache) {
    if (cache)
        tuck_cache_end(cache);
    tuck_cache_close(cache);
}

// --- Long work -----------------------------------------------------------------------------------

static volatile int stop;

static void on_stop(int number) {
    struct sigaction standard = {.sa_handler = SIG_DFL};
    stop = 1;
    (void)sigaction(number, &standard, NULL);
}

const volatile int *tuck_command_stop(void) {
    struct sigaction action = {.sa_handler = on_stop};
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    return &stop;
}

void tuck_command_progress(const char *format, ...) {
    static uint64_t last_ns;
    static size_t shown;
    char text[200];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    size_t len = strlen(text);
    uint64_t now_ns = tuck_clock_mono_ns();
    if (!isatty(2) || (len == 0 ? shown == 0 : now_ns < last_ns + 100 * TUCK_NS_PER_MS))
        return;
    last_ns = now_ns;
    fprintf(stderr, "\r%s%*s%s", text, (int)(shown > len ? shown - len : 0), "",
            len == 0 ? "\r" : "");
    shown = len;
    (void)fflush(stderr);
}

int tuck_command_print_json(struct json_t *object) {
    int status = object ? json_dumpf(object, stdout, JSON_INDENT(2)) : -1;
    json_decref(object);
    if (status < 0) {
        tuck_say("a name is not UTF-8 and cannot be shown as JSON");
        return TUCK_EXIT_FAILED;
    }
    fputc('\n', stdout);
    return TUCK_EXIT_DONE;
}

// SPDX-License-Identifier: MIT
#include "cmd/tuck-conform/client.h"
#include "lib/base/clock.h"
#include "lib/base/io.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define RUN_NS     (30 * TUCK_NS_PER_S) // that a client may take longer than it takes otherwise
#define PROBE_NS   (600 * TUCK_NS_PER_S)
#define LEAVE_NS   (5 * TUCK_NS_PER_S) // until its helper has gone, once it has ended
#define TURN_MS    20
#define OUTPUT_MAX (1U << 20)
#define SHOWN_MAX  30
#define BRIEF_MAX  65536 // bytes that a client prints beyond what it always prints
#define SAYS_MAX   8

extern char **environ;

enum expectation { ENDS, WORKS, REUSES, REBUILDS };

// What the case says about the client.
struct wanted {
    enum expectation expectation;
    bool is_warm, is_killed, is_brief;
    const char *says[SAYS_MAX], *prints_no, *program, *more;
};

struct trial {
    const struct setup *setup;
    const char *directory;
    pid_t pid;
    int output_fd;
    int exit_fd;       // readable once it has ended; -1: not to be had
    struct buf output; // what it printed
    struct buf report; // what the helpers noted
    bool is_over, is_late;
    int status;
    uint64_t started_ns, ended_ns;
    struct client_facts facts;
};

// -- the command ---------------------------------------------------------------------------------
// A word as the go command reads it from GOCACHEPROG: no escapes, quotes around the whole word.
static void add_quoted(struct buf *text, const char *word) {
    const char *quote = strchr(word, '\'') ? "\"" : strpbrk(word, " \t\r\n\"") || !*word ? "'" : "";
    if (strchr(word, '\'') && strchr(word, '"'))
        conform_die("'%s' has both kinds of quotes: a client cannot be told of it", word);
    buf_format(text, "%s%s%s%s", text->len ? " " : "", quote, word, quote);
}

// Executable, and of no format that the system knows.
static void make_foreign(const char *path) {
    static const char content[] = {1, 2, 3, 4, 0, 5};
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
    if (fd < 0 || tuck_write_all(fd, content, sizeof(content), NULL) < 0 || close(fd) < 0)
        conform_die("cannot write '%s': %s", path, strerror(errno));
}

// The helper's command line. Absolute: clients may run in any directory.
static void name_helper(const struct trial *trial, const char *act, const struct wanted *wanted,
                        struct buf *ret_text) {
    struct buf word = {0};
    char scale[40];
    if (wanted->program && strcmp(wanted->program, "foreign") == 0) {
        buf_format(&word, "%s/foreign", trial->directory);
        make_foreign(word.data);
        add_quoted(ret_text, word.data);
        buf_free(&word);
        return;
    }
    if (wanted->program) {
        add_quoted(ret_text, wanted->program);
        return;
    }
    add_quoted(ret_text, trial->setup->self);
    buf_format(&word, "--misbehave=%s", act);
    add_quoted(ret_text, word.data);
    word.len = 0;
    buf_format(&word, "--dir=%s", trial->directory);
    add_quoted(ret_text, word.data);
    (void)snprintf(scale, sizeof(scale), "--timeout-scale=%g", trial->setup->scale);
    add_quoted(ret_text, scale);
    if (trial->setup->cases) {
        word.len = 0;
        buf_format(&word, "--cases=%s", trial->setup->cases);
        add_quoted(ret_text, word.data);
    }
    if (wanted->more)
        buf_format(ret_text, " -- %s", wanted->more);
    buf_free(&word);
}

static void set_variables(const struct setup *setup, const char *helper) {
    for (size_t i = 0; i < setup->environment_count; i++) {
        char *equals = strchr(setup->environment[i], '=');
        char *name = need_strndup(setup->environment[i], (size_t)(equals - setup->environment[i]));
        (void)setenv(name, equals + 1, 1);
        free(name);
    }
    (void)setenv("GOCACHEPROG", helper, 1);
}

// In the child: everything up to exec.
__attribute__((noreturn)) static void become(const struct trial *trial, const char *helper,
                                             int out) {
    int nothing = open("/dev/null", O_RDONLY);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)setsid();
    set_variables(trial->setup, helper);
    if (dup2(nothing, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
        _exit(127);
    // What we were started with ourselves is no business of the client's.
    (void)close_range(3, ~0U, 0);
    for (int number = 1; number < 32; number++)
        (void)signal(number, SIG_DFL);
    (void)execve(trial->setup->command[0], trial->setup->command, environ);
    fprintf(stderr, "cannot run '%s': %s\n", trial->setup->command[0], strerror(errno));
    _exit(127);
}

static void start_client(struct trial *trial, const char *helper) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        conform_die("cannot make a pipe: %s", strerror(errno));
    trial->started_ns = tuck_clock_mono_ns();
    trial->pid = fork();
    if (trial->pid < 0)
        conform_die("cannot start a process: %s", strerror(errno));
    if (trial->pid == 0)
        become(trial, helper, ends[1]);
    (void)close(ends[1]);
    (void)fcntl(ends[0], F_SETFL, O_NONBLOCK);
    trial->output_fd = ends[0];
    trial->exit_fd = (int)syscall(SYS_pidfd_open, trial->pid, 0);
}

// -- watching it ---------------------------------------------------------------------------------
static void read_output(struct trial *trial) {
    char block[65536];
    ssize_t got;
    // No more than pipes hold at once: one that prints without end must not keep us here.
    for (int i = 0; i < 16 && (got = read(trial->output_fd, block, sizeof(block))) > 0; i++)
        if (trial->output.len < OUTPUT_MAX)
            buf_add(&trial->output, block, (size_t)got);
}

static void read_report(struct trial *trial) {
    struct buf path = {0};
    char block[65536];
    buf_format(&path, "%s/report", trial->directory);
    int fd = open(path.data, O_RDONLY | O_CLOEXEC);
    trial->report.len = 0;
    buf_text(&trial->report, "");
    for (ssize_t got; fd >= 0 && (got = read(fd, block, sizeof(block))) > 0;)
        buf_add(&trial->report, block, (size_t)got);
    if (fd >= 0)
        (void)close(fd);
    buf_free(&path);
}

// The next line whose second word this is; *ret_rest is what follows, up to the line's end.
static const char *next_note(const char *at, const char *word, long *ret_pid,
                             struct buf *ret_rest) {
    size_t len = strlen(word);
    while (at && *at) {
        char *space;
        const char *end = strchr(at, '\n');
        *ret_pid = (long)strtoll(at, &space, 10);
        if (end && *space == ' ' && strncmp(space + 1, word, len) == 0 &&
            (space[len + 1] == ' ' || space[len + 1] == '\n')) {
            ret_rest->len = 0;
            buf_text(ret_rest, "");
            if (space[len + 1] == ' ')
                buf_add(ret_rest, space + len + 2, (size_t)(end - space) - len - 2);
            return end + 1;
        }
        at = end ? end + 1 : NULL;
    }
    return NULL;
}

static bool has_note(const struct trial *trial, const char *word, struct buf *ret_rest) {
    struct buf unwanted = {0};
    long pid;
    bool is_there = next_note(trial->report.data, word, &pid, ret_rest ? ret_rest : &unwanted);
    buf_free(&unwanted);
    return is_there;
}

static bool is_ended(struct trial *trial) {
    siginfo_t info = {0};
    if (!trial->is_over && waitid(P_PID, (id_t)trial->pid, &info, WEXITED | WNOHANG) == 0 &&
        info.si_pid == trial->pid) {
        trial->is_over = true;
        trial->ended_ns = tuck_clock_mono_ns();
        trial->status = info.si_code == CLD_EXITED ? W_EXITCODE(info.si_status, 0)
                                                   : W_EXITCODE(0, info.si_status);
    }
    return trial->is_over;
}

// Once it waits for an answer: the process that started the helper, whatever stands in between.
static bool kill_client(struct trial *trial) {
    struct buf parent = {0};
    read_report(trial);
    bool is_asked = has_note(trial, "asks", NULL) && has_note(trial, "begin", &parent);
    if (is_asked)
        (void)kill((pid_t)strtoll(parent.data, NULL, 10), SIGKILL);
    buf_free(&parent);
    return is_asked;
}

static void watch(struct trial *trial, uint64_t limit_ns, bool is_to_be_killed) {
    bool is_silent = false; // nobody has its output any more, but it may run on
    while (!is_ended(trial)) {
        struct pollfd polled[] = {{.fd = is_silent ? -1 : trial->output_fd, .events = POLLIN},
                                  {.fd = trial->exit_fd, .events = POLLIN}};
        uint64_t past_ns = tuck_clock_mono_ns() - trial->started_ns;
        if (past_ns > limit_ns) {
            trial->is_late = true;
            (void)kill(-trial->pid, SIGKILL);
            (void)waitpid(trial->pid, NULL, 0);
            trial->ended_ns = tuck_clock_mono_ns();
            break;
        }
        if (is_to_be_killed)
            is_to_be_killed = !kill_client(trial);
        // What helpers note can only be looked for; so can the end, where there is no descriptor of it.
        bool is_turn = is_to_be_killed || trial->exit_fd < 0;
        uint64_t left_ms = (limit_ns - past_ns) / TUCK_NS_PER_MS + 1;
        (void)poll(polled, 2, is_turn ? TURN_MS : left_ms > 1000 ? 1000 : (int)left_ms);
        is_silent = polled[0].revents & POLLHUP && !(polled[0].revents & POLLIN);
        read_output(trial);
    }
    read_output(trial);
}

static bool is_running(long pid) {
    return pid > 0 && kill((pid_t)pid, 0) == 0;
}

// Its helpers are ours now that it has gone. Returns how many are left when the time is up.
static size_t await_helpers(struct trial *trial) {
    uint64_t until_ns = tuck_clock_mono_ns() + (uint64_t)((double)LEAVE_NS * trial->setup->scale);
    for (;;) {
        struct buf parent = {0};
        size_t left = 0;
        long pid;
        while (waitpid(-1, NULL, WNOHANG) > 0)
            continue;
        read_report(trial);
        for (const char *at = trial->report.data; (at = next_note(at, "begin", &pid, &parent));)
            left += is_running(pid);
        buf_free(&parent);
        if (left == 0 || tuck_clock_mono_ns() > until_ns)
            return left;
        (void)poll(NULL, 0, TURN_MS);
    }
}

// -- what it did ---------------------------------------------------------------------------------
static void count(struct trial *trial) {
    struct client_facts *facts = &trial->facts;
    struct buf rest = {0};
    long pid;
    const char *all = trial->report.data;
    *facts = (struct client_facts){.is_started = has_note(trial, "begin", NULL)};
    for (const char *at = all; (at = next_note(at, "asks", &pid, &rest));) {
        const char *size = strrchr(rest.data, ' ');
        bool is_empty = size && strcmp(size, " 0") == 0;
        facts->gets += strncmp(rest.data, "get ", 4) == 0;
        facts->closes += strncmp(rest.data, "close ", 6) == 0;
        if (strncmp(rest.data, "put ", 4) == 0) {
            facts->puts++;
            facts->bodies += !is_empty;
            facts->empty_puts += is_empty;
        }
    }
    for (const char *at = all; (at = next_note(at, "bent", &pid, &rest));)
        facts->bent++;
    facts->seconds = (double)(trial->ended_ns - trial->started_ns) / 1e9;
    buf_free(&rest);
}

static void make_report(const struct trial *trial) {
    struct buf path = {0};
    buf_format(&path, "%s/report", trial->directory);
    int fd = open(path.data, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        conform_die("cannot write '%s': %s", path.data, strerror(errno));
    (void)close(fd);
    buf_free(&path);
}

// Runs the client to its end, and waits for its helpers. Returns how many of them stay.
static size_t run_client(struct trial *trial, const char *act, const struct wanted *wanted,
                         uint64_t limit_ns) {
    struct buf helper = {0};
    make_report(trial);
    name_helper(trial, act, wanted, &helper);
    start_client(trial, helper.data);
    watch(trial, limit_ns, wanted->is_killed);
    size_t left = await_helpers(trial);
    read_output(trial);
    (void)close(trial->output_fd);
    if (trial->exit_fd >= 0)
        (void)close(trial->exit_fd);
    count(trial);
    buf_free(&helper);
    return left;
}

static void free_trial(struct trial *trial) {
    buf_free(&trial->output);
    buf_free(&trial->report);
}

// -- describing it -------------------------------------------------------------------------------
static void describe_status(const struct trial *trial, struct buf *ret_text) {
    if (trial->is_late)
        buf_text(ret_text, "it was ended by force");
    else if (WIFSIGNALED(trial->status))
        buf_format(ret_text, "it died by a signal (%s)", strsignal(WTERMSIG(trial->status)));
    else
        buf_format(ret_text, "it ended with status %d", WEXITSTATUS(trial->status));
}

static void add_lines(struct buf *to, const struct buf *text, const char *indent, size_t most) {
    size_t lines = 0, line = 0;
    for (size_t i = 0; i < text->len; i++)
        lines += text->data[i] == '\n';
    for (const char *at = text->data; at && *at; line++) {
        size_t len = strcspn(at, "\n");
        if (line + most >= lines) {
            buf_text(to, indent);
            buf_visible(to, at, len, 300);
            buf_text(to, "\n");
        }
        at += len + (at[len] == '\n');
    }
}

static void describe(const struct trial *trial, struct buf *ret_text) {
    struct buf status = {0};
    describe_status(trial, &status);
    buf_format(ret_text,
               "%s after %.2f s, with %" PRIu64 " gets, %" PRIu64 " puts, %" PRIu64
               " close; it printed:\n",
               status.data, trial->facts.seconds, trial->facts.gets, trial->facts.puts,
               trial->facts.closes);
    add_lines(ret_text, &trial->output, "  ", SHOWN_MAX);
    buf_text(ret_text, "what its helper saw last:\n");
    add_lines(ret_text, &trial->report, "  ", SHOWN_MAX);
    buf_free(&status);
}

// How many outputs it made that it need not have made.
static uint64_t made_again(const struct trial *trial, const struct wanted *wanted) {
    uint64_t usual = wanted->is_warm ? trial->setup->usual->warm.puts : 0;
    return trial->facts.puts > usual ? trial->facts.puts - usual : 0;
}

static void tell_facts(const struct trial *trial, const struct wanted *wanted,
                       struct buf *ret_json) {
    struct buf output = {0};
    buf_visible(&output, trial->output.data ? trial->output.data : "",
                trial->output.len < 4000 ? trial->output.len : 4000, 4000);
    const struct client_facts *facts = &trial->facts;
    bool is_exit = !trial->is_late && WIFEXITED(trial->status);
    json_t *value =
        json_pack("{s:s, s:i, s:f, s:b, s:I, s:I, s:I, s:I, s:I, s:s}", "end",
                  trial->is_late ? "forced"
                  : is_exit      ? "exit"
                                 : "signal",
                  "status",
                  trial->is_late ? 0
                  : is_exit      ? WEXITSTATUS(trial->status)
                                 : WTERMSIG(trial->status),
                  "seconds", facts->seconds, "warm", wanted->is_warm, "made",
                  (json_int_t)made_again(trial, wanted), "gets", (json_int_t)facts->gets, "puts",
                  (json_int_t)facts->puts, "closes", (json_int_t)facts->closes, "bent",
                  (json_int_t)facts->bent, "printed", output.data ? output.data : "");
    char *text = json_dumps(value, JSON_COMPACT);
    buf_text(ret_json, text ? text : "null");
    free(text);
    json_decref(value);
    buf_free(&output);
}

// -- judging -------------------------------------------------------------------------------------
static void decide(struct result *result, enum verdict verdict, const char *why) {
    if (result->verdict != VERDICT_PASS)
        return;
    result->verdict = verdict;
    buf_text(&result->why, why);
}

__attribute__((format(printf, 2, 3))) static void wrong(struct result *result, const char *format,
                                                        ...) {
    char text[1200];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    decide(result, VERDICT_FAIL, text);
}

// A line that says that the runtime of the client gave up, not the client.
static bool has_crashed(const struct trial *trial, struct buf *ret_line) {
    static const char *const signs[] = {
        "panic: ",     "fatal error: ",     "unexpected fault address",
        "Sanitizer: ", ": runtime error: ", "' panicked at ",
        "SIGSEGV: "};
    for (const char *at = trial->output.data; at && *at;) {
        size_t len = strcspn(at, "\n");
        for (size_t i = 0; i < TUCK_ARRAY_LEN(signs); i++) {
            if (memmem(at, len, signs[i], strlen(signs[i]))) {
                buf_visible(ret_line, at, len, 200);
                return true;
            }
        }
        at += len + (at[len] == '\n');
    }
    return false;
}

// As a shell says it of a program that it ran.
static bool is_by_signal(int status) {
    return WEXITSTATUS(status) > 128 && WEXITSTATUS(status) <= 128 + SIGRTMAX;
}

// What holds for every run of every client.
static void judge_end(struct trial *trial, struct result *result, bool is_killed) {
    struct buf line = {0};
    if (trial->is_late)
        wrong(result, "it has not ended after %.0f s", trial->facts.seconds);
    else if (WIFSIGNALED(trial->status) && !is_killed)
        wrong(result, "it died by a signal: %s", strsignal(WTERMSIG(trial->status)));
    else if (is_by_signal(trial->status) && !is_killed)
        wrong(result, "it ended with status %d, which means a signal", WEXITSTATUS(trial->status));
    else if (has_crashed(trial, &line))
        wrong(result, "it crashed: %s", line.data);
    else if (!is_killed && trial->status != 0 && trial->output.len == 0)
        wrong(result, "it ended with status %d and did not say why", WEXITSTATUS(trial->status));
    buf_free(&line);
}

static void judge_notes(struct trial *trial, struct result *result) {
    static const char *const rules[] = {"CLI-9", "CLI-37", "CLI-38", "CLI-39", "CLI-42"};
    struct buf rest = {0};
    if (has_note(trial, "breach", &rest)) {
        for (size_t i = 0; i < TUCK_ARRAY_LEN(rules); i++)
            if (strncmp(rest.data, rules[i], strcspn(rest.data, " ")) == 0)
                result->clause = rules[i];
        result->is_breach = result->verdict == VERDICT_PASS;
        wrong(result, "it sent %s", strchr(rest.data, ' ') + 1);
    } else if (has_note(trial, "fails", &rest)) {
        wrong(result, "it %s", rest.data);
    } else if (has_note(trial, "unmet", &rest)) {
        char text[100];
        (void)snprintf(text, sizeof(text), "the client sends nothing of the kind: %s", rest.data);
        decide(result, VERDICT_NOT_JUDGED, text);
    }
    buf_free(&rest);
}

static void judge_hits(const struct trial *trial, const struct wanted *wanted,
                       struct result *result) {
    const struct client_usual *usual = trial->setup->usual;
    bool is_error = trial->is_late || trial->status != 0;
    if (usual->warm.puts >= usual->cold.puts)
        decide(result, VERDICT_NOT_JUDGED, "the client finds nothing again of what it has stored");
    else if (trial->facts.bent == 0 && !is_error)
        decide(result, VERDICT_NOT_JUDGED, "nothing that the client asks for could be answered so");
    else if (wanted->expectation == REUSES && made_again(trial, wanted) > 0)
        wrong(result, "it did not take good answers for hits: it made %" PRIu64 " outputs again",
              made_again(trial, wanted));
    else if (wanted->expectation == REBUILDS && !is_error && made_again(trial, wanted) == 0)
        wrong(result, "it took for a hit what is none: it made nothing again");
}

static void judge_words(const struct trial *trial, const struct wanted *wanted,
                        struct result *result) {
    const char *output = trial->output.data ? trial->output.data : "";
    bool is_said = !wanted->says[0];
    for (size_t i = 0; i < SAYS_MAX && wanted->says[i]; i++)
        is_said = is_said || strcasestr(output, wanted->says[i]);
    if (!is_said && trial->status == 0)
        decide(result, VERDICT_NOT_JUDGED,
               "the client did without the helper, and reports nothing");
    else if (!is_said)
        wrong(result, "what it says does not name %s", wanted->says[0]);
    if (wanted->is_brief && trial->output.len > BRIEF_MAX)
        wrong(result, "it prints %zu bytes and more of what a helper sent", trial->output.len);
    if (wanted->prints_no &&
        memmem(output, trial->output.len, wanted->prints_no, strlen(wanted->prints_no)))
        wrong(result, "it prints what a helper sent as it is, escape sequences and all");
}

static void judge(struct trial *trial, const struct wanted *wanted, size_t left,
                  struct result *result) {
    struct buf broken = {0};
    if (has_note(trial, "broken", &broken))
        conform_die("the helper of the case failed itself: %s", broken.data);
    if (!wanted->program && !trial->facts.is_started && trial->status == 0)
        decide(result, VERDICT_NOT_JUDGED, "the client started no helper this time");
    judge_end(trial, result, wanted->is_killed);
    judge_notes(trial, result);
    if (wanted->is_killed && !has_note(trial, "over", NULL))
        wrong(result, "it was killed, and its helper does not see the end of its input");
    if (wanted->expectation != ENDS && wanted->expectation != REBUILDS && trial->status != 0)
        wrong(result, "it ended with status %d", WEXITSTATUS(trial->status));
    if (wanted->expectation == REUSES || wanted->expectation == REBUILDS)
        judge_hits(trial, wanted, result);
    judge_words(trial, wanted, result);
    if (left > 0)
        wrong(result, "it has ended, and its helper is left running");
}

// -- one case ------------------------------------------------------------------------------------
static char *filled_in(const char *directory, const char *text) {
    struct place *place = place_at(directory);
    char *filled = place_fill_in(place, text);
    place_free(place);
    return filled;
}

static const char *plain_text(const struct word *word) {
    return word->part_count == 1 && word->parts[0].kind == PART_TEXT ? word->parts[0].text : NULL;
}

// Reads the `client` statements of a case. They are plain words.
static void read_wanted(const struct script_case *one, const char *directory,
                        struct wanted *ret_wanted) {
    static const char *const names[] = {"ends", "works", "reuses", "rebuilds"};
    size_t said = 0;
    for (const struct statement *at = one->body; at; at = at->next) {
        const char *verb = word_literal(&at->words[0]), *what;
        if (strcmp(verb, "client") != 0)
            continue;
        what = at->word_count > 1 ? word_literal(&at->words[1]) : NULL;
        const char *text = at->word_count > 2 ? plain_text(&at->words[2]) : NULL;
        size_t i = 0;
        while (what && i < TUCK_ARRAY_LEN(names) && strcmp(what, names[i]) != 0)
            i++;
        if (what && i < TUCK_ARRAY_LEN(names))
            ret_wanted->expectation = (enum expectation)i;
        else if (what && strcmp(what, "warm") == 0)
            ret_wanted->is_warm = true;
        else if (what && strcmp(what, "killed") == 0)
            ret_wanted->is_killed = true;
        else if (what && strcmp(what, "brief") == 0)
            ret_wanted->is_brief = true;
        else if (what && text && strcmp(what, "says") == 0)
            for (size_t j = 2; j < at->word_count && said < SAYS_MAX; j++)
                ret_wanted->says[said++] = plain_text(&at->words[j]);
        else if (what && text && strcmp(what, "prints-no") == 0)
            ret_wanted->prints_no = text;
        else if (what && text && strcmp(what, "adds") == 0)
            ret_wanted->more = text;
        else if (what && text && strcmp(what, "runs") == 0)
            ret_wanted->program = filled_in(directory, text);
        else
            conform_die("%s:%d: nothing like this can be said about a client", at->file, at->line);
    }
}

static void copy_file(const char *from, const char *to) {
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    ssize_t copied = in >= 0 && out >= 0 ? 1 : -1;
    while (copied > 0)
        copied = copy_file_range(in, NULL, out, NULL, 1U << 30, 0);
    if (copied < 0 || close(out) < 0)
        conform_die("cannot copy '%s': %s", from, strerror(errno));
    (void)close(in);
}

// What an earlier run of the client stored. Copies: both the client and a case may change files.
static void warm_up(const struct setup *setup, const char *directory) {
    DIR *all = opendir(setup->usual->directory);
    for (struct dirent *one; all && (one = readdir(all));) {
        struct buf from = {0}, to = {0};
        buf_format(&from, "%s/%s", setup->usual->directory, one->d_name);
        buf_format(&to, "%s/%s", directory, one->d_name);
        if (strncmp(one->d_name, "o-", 2) == 0 || strcmp(one->d_name, "entries") == 0)
            copy_file(from.data, to.data);
        buf_free(&from);
        buf_free(&to);
    }
    if (all)
        (void)closedir(all);
}

void client_run(const struct setup *setup, const struct script_case *one, const char *scratch,
                struct result *ret_result) {
    struct buf directory = {0};
    struct wanted wanted = {0};
    buf_format(&directory, "%s/act", scratch);
    if (mkdir(directory.data, 0755) < 0)
        conform_die("cannot make the directory '%s': %s", directory.data, strerror(errno));
    *ret_result = (struct result){.verdict = VERDICT_PASS};
    struct trial trial = {.setup = setup, .directory = directory.data};
    read_wanted(one, directory.data, &wanted);
    if (wanted.is_warm)
        warm_up(setup, directory.data);
    size_t left =
        run_client(&trial, one->id, &wanted,
                   wanted.is_warm && wanted.expectation != REBUILDS ? setup->usual->warm_limit_ns
                                                                    : setup->usual->cold_limit_ns);
    judge(&trial, &wanted, left, ret_result);
    if (ret_result->verdict == VERDICT_FAIL)
        describe(&trial, &ret_result->diagnostic);
    tell_facts(&trial, &wanted, &ret_result->facts);
    free_trial(&trial);
    buf_free(&directory);
}

// -- the first look ------------------------------------------------------------------------------
static bool look_once(const struct setup *setup, const char *directory, struct client_facts *facts,
                      bool *ret_breaks, struct buf *ret_why) {
    struct trial trial = {.setup = setup, .directory = directory};
    struct wanted wanted = {.expectation = WORKS};
    struct buf rest = {0};
    size_t left = run_client(&trial, "none", &wanted, (uint64_t)((double)PROBE_NS * setup->scale));
    *facts = trial.facts;
    *ret_breaks = has_note(&trial, "breach", &rest);
    if (*ret_breaks)
        buf_format(ret_why, "it breaks %s", rest.data);
    else if (trial.is_late || trial.status != 0) {
        buf_text(ret_why, "with a helper that is right, ");
        describe(&trial, ret_why);
    } else if (!facts->is_started) {
        buf_text(ret_why, "it starts no helper; does it do what GOCACHEPROG says?");
    } else if (left > 0) {
        buf_text(ret_why, "it leaves a helper running that is right");
    }
    free_trial(&trial);
    buf_free(&rest);
    return ret_why->len == 0;
}

bool client_probe(const struct setup *setup, const char *directory, struct client_usual *ret_usual,
                  struct buf *ret_why) {
    struct buf report = {0};
    *ret_usual = (struct client_usual){0};
    uint64_t run_ns = (uint64_t)((double)RUN_NS * setup->scale);
    ret_usual->cold_limit_ns = ret_usual->warm_limit_ns = run_ns;
    if (!look_once(setup, directory, &ret_usual->cold, &ret_usual->is_broken, ret_why))
        return ret_usual->is_broken;
    buf_format(&report, "%s/report", directory);
    (void)unlink(report.data);
    buf_free(&report);
    if (!look_once(setup, directory, &ret_usual->warm, &ret_usual->is_broken, ret_why))
        return ret_usual->is_broken;
    ret_usual->cold_limit_ns += (uint64_t)(3e9 * ret_usual->cold.seconds);
    ret_usual->warm_limit_ns += (uint64_t)(3e9 * ret_usual->warm.seconds);
    return true;
}

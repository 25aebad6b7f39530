// SPDX-License-Identifier: MIT
/*
 * tuck serve: the helper. The order here is the promise: descriptors, handshake, and only then
 * settings and disk. From the handshake on nothing ends the build: what cannot be had is reported
 * on stderr in one line and done without.
 */
#include "cmd/tuck/command.h"
#include "lib/base/clock.h"
#include "lib/base/io.h"
#include "lib/serve/serve.h"
#include "lib/serve/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>

static volatile int stop;
static int nothing_to_read = -1; // opened beforehand: a handler may find no descriptor left

// Makes the reader's read end: either it is interrupted, or it finds the end of input.
static void on_stop(int number) {
    (void)number;
    int before = errno;
    stop = 1;
    (void)dup2(nothing_to_read, 0);
    errno = before;
}

// A terminal's ^C, ^\ and ^Z go to the whole process group: the client decides what they mean, and
// tells by closing our input. A stopped helper could hold locks that others wait for.
static void set_signals(void) {
    static const int ignored[] = {SIGINT, SIGQUIT, SIGTSTP, SIGPIPE, SIGXFSZ};
    struct sigaction action = {.sa_handler = SIG_IGN};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(ignored); i++)
        (void)sigaction(ignored[i], &action, NULL);
    action.sa_handler = on_stop; // without SA_RESTART
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGHUP, &action, NULL);
}

// Descriptors 0 to 2 exist, so that nothing that is opened later takes their place.
static void fill_standard_descriptors(void) {
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            (void)open("/dev/null", fd == 0 ? O_RDONLY : O_WRONLY);
}

// Answers go out through a private descriptor; fd 1 becomes stderr, so that no stray print can
// break the protocol.
static int take_stdout(void) {
    int out = fcntl(1, F_DUPFD_CLOEXEC, 3);
    if (out < 0)
        return -1;
    if (dup2(2, 1) < 0) {
        (void)close(out);
        return -1;
    }
    // A client that does not read must not keep us from ending when we are told to.
    (void)fcntl(out, F_SETFL, fcntl(out, F_GETFL) | O_NONBLOCK);
    return out;
}

// --- Reports: one line each, each kind once, on stderr or in the log -----------------------------

static int log_fd = -1;

static void report_line(const char *text) {
    char line[1200];
    if (log_fd < 0) {
        (void)snprintf(line, sizeof(line), "tuck: %s\n", text);
    } else {
        char time[31];
        (void)tuck_clock_format(tuck_clock_wall_ns(), time);
        (void)snprintf(line, sizeof(line), "%s %ld %s\n", time, (long)getpid(), text);
    }
    // A stderr that nobody reads must not stop the helper. A pipe that is ready takes a whole line.
    struct pollfd ready = {.fd = log_fd < 0 ? 2 : log_fd, .events = POLLOUT};
    if (poll(&ready, 1, 0) == 1 && (ready.revents & POLLOUT))
        (void)!write(ready.fd, line, strlen(line));
}

static void emit(struct tuck_event_sink *sink, const struct tuck_event *event) {
    static unsigned told; /* atomic: bits of the kinds */
    char text[1100];
    (void)sink;
    unsigned before = __atomic_fetch_or(&told, 1U << event->kind, __ATOMIC_RELAXED);
    if (log_fd < 0 && (before >> event->kind & 1))
        return;
    tuck_command_describe(event, text, sizeof(text));
    report_line(text);
}

// --- The helper ----------------------------------------------------------------------------------

static void read_settings(struct tuck_settings *settings, int argc, char **argv) {
    struct tuck_error err = {0};
    char text[300];
    settings->report = report_line;
    argc = tuck_settings_from_flags(settings, argc, argv);
    for (int i = 1; i < argc; i++) {
        (void)snprintf(text, sizeof(text), "'%s' is not an argument of tuck serve and is ignored",
                       argv[i]);
        report_line(text);
    }
    if (tuck_settings_complete(settings, &err) < 0)
        report_line(err.text);
    const char *log = settings->value[TUCK_SETTING_log];
    if (!log)
        return;
    int fd = open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
    if (fd < 0) {
        (void)snprintf(text, sizeof(text), "the log '%s' cannot be opened: %s; events go to stderr",
                       log, strerror(errno));
        report_line(text);
    }
    log_fd = fd;
}

static struct tuck_trace *open_trace(const struct tuck_settings *settings) {
    struct tuck_trace *trace = NULL;
    struct tuck_error err = {0};
    const char *path = settings->value[TUCK_SETTING_trace];
    if (path && tuck_trace_open(path, settings->has_trace_bodies, &trace, &err) < 0)
        report_line(err.text);
    return trace;
}

static int serve(int out, int argc, char **argv) {
    struct tuck_settings settings = {0};
    struct tuck_event_sink sink = {.emit = emit};
    struct tuck_error err = {0};
    struct tuck_cache *cache = NULL;
    (void)umask(077);
    read_settings(&settings, argc, argv);
    struct tuck_cache_options options = tuck_settings_cache(&settings);
    options.sink = &sink;
    struct tuck_trace *trace = open_trace(&settings);
    int status = tuck_cache_open(&options, &cache, &err);
    if (status == 0)
        status = tuck_serve(
            cache, &(struct tuck_serve_options){.in = 0, .out = out, .stop = &stop, .trace = trace},
            &err);
    else
        (void)close(out);
    struct tuck_error lost = {0};
    if (tuck_trace_close(trace, &lost) < 0)
        report_line(lost.text);
    if (status < 0) {
        char text[400];
        (void)snprintf(text, sizeof(text), "%s%s", err.text,
                       status == TUCK_EPROTO
                           ? "; the conversation is over, what was stored before is kept"
                           : "");
        report_line(text);
    }
    // The client waits for our output to end and whoever reads its stderr for that: what follows is
    // nobody's wait.
    // Their numbers stay taken: a late report must not go into a file that is opened next.
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd < 3; fd++)
        if (dup2(nothing, fd) < 0)
            (void)close(fd);
    tuck_close_fd(&nothing);
    if (cache)
        tuck_cache_tidy(cache, &stop);
    tuck_cache_close(cache);
    tuck_settings_fini(&settings);
    tuck_close_fd(&log_fd);
    return status < 0 ? TUCK_EXIT_FAILED : TUCK_EXIT_DONE;
}

int tuck_command_serve(int argc, char **argv) {
    struct tuck_error err = {0};
    fill_standard_descriptors();
    set_signals();
    int out = take_stdout();
    if (out < 0) {
        tuck_say("cannot take hold of stdout: %s", strerror(errno));
        return TUCK_EXIT_FAILED;
    }
    nothing_to_read = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (tuck_serve_hello(out, &err) < 0) {
        tuck_say("%s", err.text);
        return TUCK_EXIT_FAILED;
    }
    return serve(out, argc, argv);
}

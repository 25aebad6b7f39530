// SPDX-License-Identifier: MIT
#include "lib/serve/trace.h"
#include "lib/base/clock.h"
#include "lib/base/io.h"
#include "lib/base/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/file.h>

#define BUFFER_BYTES 65536U
#define TICK_NS      UINT64_C(50000) // events closer than this share a time

static const char body_instead[] = "> \"$BODY\"\n";

struct tuck_trace {
    char *path;    /* const */
    char *session; /* const: where this session goes meanwhile */
    bool has_bodies;
    uint64_t begin_ns; /* const */
    int fd;

    struct tuck_mutex lock;
    /* guarded by lock */
    char *buffer;
    size_t len;
    int failed; // -errno: nothing more is recorded
    uint64_t time_ns;
    bool is_in_line; // of the client's, whose beginning is written
    bool is_body;    // that line is one that is left out
};

// --- Writing -------------------------------------------------------------------------------------

static void write_out(struct tuck_trace *trace) {
    if (trace->failed == 0 && trace->len > 0)
        trace->failed = tuck_write_all(trace->fd, trace->buffer, trace->len, NULL);
    trace->len = 0;
}

static void add(struct tuck_trace *trace, const void *data, size_t len) {
    const char *at = data;
    while (len > 0 && trace->failed == 0) {
        size_t part = len < BUFFER_BYTES - trace->len ? len : BUFFER_BYTES - trace->len;
        memcpy(trace->buffer + trace->len, at, part);
        trace->len += part;
        at += part;
        len -= part;
        if (trace->len == BUFFER_BYTES)
            write_out(trace);
    }
}

static void add_text(struct tuck_trace *trace, const char *text) {
    add(trace, text, strlen(text));
}

// A line with the time, if some has passed.
static void add_time(struct tuck_trace *trace) {
    char text[40];
    uint64_t now_ns = tuck_clock_mono_ns() - trace->begin_ns;
    if (now_ns < trace->time_ns + TICK_NS)
        return;
    trace->time_ns = now_ns;
    (void)snprintf(text, sizeof(text), "@ %" PRIu64 ".%06" PRIu64 "\n", now_ns / TUCK_NS_PER_S,
                   now_ns % TUCK_NS_PER_S / 1000);
    add_text(trace, text);
}

// --- Events --------------------------------------------------------------------------------------

// A line of the client's begins.
static void begin_line(struct tuck_trace *trace, char first) {
    trace->is_in_line = true;
    trace->is_body = first == '"' && !trace->has_bodies;
    add_text(trace, trace->is_body ? body_instead : first == '\n' ? ">" : "> ");
}

void tuck_trace_read(struct tuck_trace *trace, const void *data, size_t len) {
    const char *at = data, *end = at + len;
    if (!trace)
        return;
    tuck_lock(&trace->lock);
    if (!trace->is_in_line)
        add_time(trace);
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *stop = newline ? newline : end;
        if (!trace->is_in_line)
            begin_line(trace, *at);
        if (!trace->is_body)
            add(trace, at, (size_t)(stop - at));
        if (newline && !trace->is_body)
            add_text(trace, "\n");
        trace->is_in_line = newline == NULL;
        at = newline ? newline + 1 : end;
    }
    tuck_unlock(&trace->lock);
}

// Answers can come while a body is on its way: the line is cut there, and marked to go on.
static void end_line(struct tuck_trace *trace) {
    if (trace->is_in_line && !trace->is_body)
        add_text(trace, "\n");
}

static void resume_line(struct tuck_trace *trace) {
    if (trace->is_in_line && !trace->is_body)
        add_text(trace, "+ ");
}

void tuck_trace_written(struct tuck_trace *trace, const void *data, size_t len) {
    const char *at = data, *end = at + len;
    if (!trace)
        return;
    tuck_lock(&trace->lock);
    end_line(trace);
    add_time(trace);
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *next = newline ? newline + 1 : end;
        add_text(trace, "< ");
        add(trace, at, (size_t)(next - at));
        at = next;
    }
    resume_line(trace);
    tuck_unlock(&trace->lock);
}

void tuck_trace_note(struct tuck_trace *trace, const char *what) {
    if (!trace)
        return;
    tuck_lock(&trace->lock);
    end_line(trace);
    trace->is_in_line = false;
    add_time(trace);
    add_text(trace, "! ");
    add_text(trace, what);
    add_text(trace, "\n");
    tuck_unlock(&trace->lock);
}

// --- Life ----------------------------------------------------------------------------------------

static void free_trace(struct tuck_trace *trace) {
    tuck_close_fd(&trace->fd);
    tuck_mutex_fini(&trace->lock);
    free(trace->path);
    free(trace->session);
    free(trace->buffer);
    free(trace);
}

int tuck_trace_open(const char *path, bool has_bodies, struct tuck_trace **ret_trace,
                    struct tuck_error *err) {
    char name[25], time[31], title[80];
    struct tuck_trace *trace = calloc(1, sizeof(*trace));
    if (!trace)
        return tuck_fail(err, TUCK_ENOMEM, "no memory for a trace");
    trace->fd = -1;
    tuck_mutex_init(&trace->lock, TUCK_RANK_TRACE);
    tuck_random_name(name);
    trace->path = strdup(path);
    trace->buffer = malloc(BUFFER_BYTES);
    if (!trace->path || !trace->buffer || asprintf(&trace->session, "%s.%s", path, name) < 0) {
        free_trace(trace);
        return tuck_fail(err, TUCK_ENOMEM, "no memory for a trace");
    }
    trace->has_bodies = has_bodies;
    trace->begin_ns = tuck_clock_mono_ns();
    trace->fd =
        open(trace->session, O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, 0600);
    if (trace->fd < 0) {
        int failed = errno;
        free_trace(trace);
        return tuck_fail_os(err, failed, "record the conversation in '%s'", path);
    }
    (void)tuck_clock_format(tuck_clock_wall_ns(), time);
    (void)snprintf(title, sizeof(title), "= %s %ld\n", time, (long)getpid());
    add_text(trace, title);
    *ret_trace = trace;
    return 0;
}

// Copies the session behind what is there. 0 or -errno.
static int append(struct tuck_trace *trace) {
    TUCK_CLEANUP(tuck_close_fd)
    int fd =
        open(trace->path, O_CREAT | O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, 0600);
    if (fd < 0 || flock(fd, LOCK_EX) < 0)
        return -errno;
    for (uint64_t at = 0;;) {
        ssize_t n = tuck_pread_full(trace->fd, trace->buffer, BUFFER_BYTES, at);
        if (n <= 0)
            return (int)n;
        int status = tuck_write_all(fd, trace->buffer, (size_t)n, NULL);
        if (status < 0)
            return status;
        at += (uint64_t)n;
    }
}

int tuck_trace_close(struct tuck_trace *trace, struct tuck_error *err) {
    if (!trace)
        return 0;
    end_line(trace);
    write_out(trace);
    int failed = trace->failed ? trace->failed : append(trace);
    if (failed == 0)
        (void)unlink(trace->session);
    int status = failed < 0 ? tuck_fail_os(err, -failed,
                                           "record the conversation in '%s'; what "
                                           "there is of it is in '%s'",
                                           trace->path, trace->session)
                            : 0;
    free_trace(trace);
    return status;
}

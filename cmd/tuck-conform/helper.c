// SPDX-License-Identifier: MIT
#include "cmd/tuck-conform/helper.h"
#include "lib/base/clock.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define NOBODY      65534
#define STDERR_MAX  (1 << 20)            // kept of what it writes there
#define ANSWER_MAX  (64 << 20)           // no answer is longer
#define SAMPLE_NS   (5 * TUCK_NS_PER_MS) // between two looks at memory and exit
#define PIPE_BLOCK  (1 << 16)
#define SHOWN_BYTES 300 // of a message, in the log

// -- log and breaches ----------------------------------------------------------------------------
void helper_note(struct helper *helper, char mark, const void *text, size_t len) {
    struct buf line = {0};
    uint64_t at_us = (tuck_clock_mono_ns() - helper->group->started_ns) / 1000;
    buf_format(&line, "%2llu.%03llu %s %c ", (unsigned long long)(at_us / 1000000),
               (unsigned long long)(at_us / 1000 % 1000), helper->name, mark);
    buf_visible(&line, text, len, SHOWN_BYTES);
    size_t place = helper->log_count++ % HELPER_LOG_LINES;
    free(helper->log[place]);
    helper->log[place] = line.data;
}

void helper_breach(struct helper *helper, const char *clause, const char *format, ...) {
    if (helper->breach)
        return;
    va_list args;
    va_start(args, format);
    if (vasprintf(&helper->breach, format, args) < 0)
        conform_die("out of memory");
    va_end(args);
    helper->breach_clause = clause;
}

// -- requests ------------------------------------------------------------------------------------
static size_t hash_id(int64_t id, size_t room) {
    return (size_t)(((uint64_t)id * UINT64_C(0x9e3779b97f4a7c15)) >> 20) & (room - 1);
}

static int *find_slot(const struct helper *helper, int64_t id) {
    size_t at = hash_id(id, helper->by_id_room);
    while (helper->by_id[at] >= 0 && helper->requests[helper->by_id[at]].id != id)
        at = (at + 1) & (helper->by_id_room - 1);
    return &helper->by_id[at];
}

static void grow_table(struct helper *helper) {
    helper->by_id_room = helper->by_id_room ? helper->by_id_room * 2 : 256;
    helper->by_id = need_realloc(helper->by_id, helper->by_id_room * sizeof(*helper->by_id));
    memset(helper->by_id, -1, helper->by_id_room * sizeof(*helper->by_id));
    for (size_t i = 0; i < helper->request_count; i++) {
        int *slot = find_slot(helper, helper->requests[i].id);
        if (*slot < 0)
            *slot = (int)i;
    }
}

struct request *helper_ask(struct helper *helper, int64_t id) {
    if (helper->request_count * 2 >= helper->by_id_room)
        grow_table(helper);
    if (helper->request_count == helper->request_room) {
        helper->request_room = helper->request_room ? helper->request_room * 2 : 64;
        helper->requests =
            need_realloc(helper->requests, helper->request_room * sizeof(*helper->requests));
    }
    int place = (int)helper->request_count++;
    helper->requests[place] =
        (struct request){.id = id, .next_same = -1, .sent_wall_ns = tuck_clock_wall_ns()};
    int *slot = find_slot(helper, id);
    if (*slot < 0) {
        *slot = place;
    } else {
        struct request *last = &helper->requests[*slot];
        while (last->next_same >= 0)
            last = &helper->requests[last->next_same];
        last->next_same = place;
    }
    return &helper->requests[place];
}

struct request *helper_request(const struct helper *helper, int64_t id) {
    if (!helper->by_id_room)
        return NULL;
    int place = *find_slot(helper, id);
    return place < 0 ? NULL : &helper->requests[place];
}

// -- what it says --------------------------------------------------------------------------------
static void take_hello(struct helper *helper, json_t *value) {
    helper->has_hello = true;
    helper->hello_ns = tuck_clock_mono_ns();
    helper->hello = value;
    const json_t *id = json_object_get(value, "ID"),
                 *names = json_object_get(value, "KnownCommands");
    if (id && !json_is_null(id) && !(json_is_integer(id) && json_integer_value(id) == 0))
        helper_breach(helper, "HS-1", "the handshake has an ID other than 0");
    else if (!json_is_array(names) || json_array_size(names) == 0)
        helper_breach(helper, "HS-1", "the first object is no handshake: it names no commands");
    for (size_t i = 0; i < json_array_size(names); i++)
        if (!json_is_string(json_array_get(names, i)))
            helper_breach(helper, "HS-1", "the handshake names a command that is no string");
}

static void take_answer(struct helper *helper, json_t *value) {
    const json_t *id = json_object_get(value, "ID");
    if (id && !json_is_integer(id) && !json_is_null(id)) {
        helper_breach(helper, "FR-16", "an answer whose ID is no integer");
        json_decref(value);
        return;
    }
    int64_t number = json_integer_value(id);
    struct request *request = helper_request(helper, number);
    while (request && request->answer)
        request = request->next_same < 0 ? NULL : &helper->requests[request->next_same];
    if (!request) {
        if (json_object_get(value, "KnownCommands") && number == 0)
            helper_breach(helper, "HS-4", "a second handshake");
        else if (helper_request(helper, number))
            helper_breach(helper, "OR-1", "a second answer to ID %lld", (long long)number);
        else
            helper_breach(helper, "HO-1", "an answer to ID %lld, which is not outstanding",
                          (long long)number);
        json_decref(value);
        return;
    }
    request->answer = value;
    request->place = helper->answer_count++;
    request->answered_ns = tuck_clock_mono_ns();
    request->answered_wall_ns = tuck_clock_wall_ns();
}

static void take_object(struct helper *helper, const char *text, size_t len) {
    json_error_t why;
    helper_note(helper, '<', text, len);
    json_t *value = json_loadb(text, len, JSON_ALLOW_NUL, &why);
    if (!value) {
        helper_breach(helper, "FR-22", "an answer that is no valid JSON: %s", why.text);
        return;
    }
    if (helper->has_hello)
        take_answer(helper, value);
    else
        take_hello(helper, value);
}

// Cuts objects out of what has arrived. An object ends where its braces are balanced.
static void understand(struct helper *helper) {
    struct buf *raw = &helper->stdout_raw;
    size_t begun = 0, at = helper->scanned;
    for (; at < raw->len && !helper->breach; at++) {
        char c = raw->data[at];
        if (!helper->is_in_object) {
            begun = at;
            if (c == '{') {
                helper->is_in_object = true;
                helper->depth = 1;
            } else if (!strchr(" \t\r\n", c) || !c) {
                helper_note(helper, '<', raw->data + at, raw->len - at);
                helper_breach(helper, helper->has_hello ? "HO-2" : "HS-5",
                              helper->has_hello ? "something on stdout that is no JSON object"
                                                : "something other than the handshake comes first");
            }
        } else if (helper->is_escaped) {
            helper->is_escaped = false;
        } else if (helper->is_in_string) {
            helper->is_escaped = c == '\\';
            helper->is_in_string = c != '"';
        } else if (c == '"') {
            helper->is_in_string = true;
        } else if (c == '{' || c == '[') {
            helper->depth++;
        } else if ((c == '}' || c == ']') && --helper->depth == 0) {
            take_object(helper, raw->data + begun, at + 1 - begun);
            helper->is_in_object = false;
        }
        if (!helper->is_in_object)
            begun = at + 1;
    }
    if (helper->breach || begun > raw->len)
        begun = raw->len;
    memmove(raw->data, raw->data + begun, raw->len - begun);
    raw->len -= begun;
    helper->scanned = raw->len;
    if (raw->len > ANSWER_MAX)
        helper_breach(helper, "HO-3", "an answer without an end");
}

static void stdout_is_over(struct helper *helper) {
    helper->is_stdout_over = true;
    helper->stdout_over_ns = tuck_clock_mono_ns();
    if (helper->out >= 0)
        (void)close(helper->out);
    helper->out = -1;
    if (helper->is_in_object && !helper->is_signalled && !helper->breach) {
        helper_note(helper, '<', helper->stdout_raw.data, helper->stdout_raw.len);
        helper_breach(helper, "FR-22", "stdout ends in the middle of an answer");
    }
}

static void read_stdout(struct helper *helper) {
    static char block[PIPE_BLOCK];
    ssize_t got = read(helper->out, block, sizeof(block));
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        stdout_is_over(helper);
        return;
    }
    if (helper->breach)
        return; // nothing that follows means anything
    buf_add(&helper->stdout_raw, block, (size_t)got);
    understand(helper);
}

static void read_stderr(struct helper *helper) {
    char block[4096];
    ssize_t got = read(helper->err_fd, block, sizeof(block));
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        (void)close(helper->err_fd);
        helper->err_fd = -1;
        helper->is_stderr_over = true;
        return;
    }
    if (helper->stderr_raw.len < STDERR_MAX)
        buf_add(&helper->stderr_raw, block, (size_t)got);
    helper_note(helper, '!', block, (size_t)got);
}

// -- looking at the process ----------------------------------------------------------------------
static FILE *open_proc(const struct helper *helper, const char *name) {
    char path[160];
    (void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)helper->pid, name);
    return helper->is_over ? NULL : fopen(path, "re");
}

uint64_t helper_memory(const struct helper *helper) {
    FILE *file = open_proc(helper, "status");
    unsigned long long kilobytes = 0;
    char line[256];
    while (file && fgets(line, sizeof(line), file))
        if (sscanf(line, "RssAnon: %llu", &kilobytes) == 1)
            break;
    if (file)
        (void)fclose(file);
    return kilobytes << 10;
}

uint64_t helper_processor_ns(const struct helper *helper) {
    char path[96];
    uint64_t total = 0;
    (void)snprintf(path, sizeof(path), "/proc/%d/task", (int)helper->pid);
    DIR *threads = helper->is_over ? NULL : opendir(path);
    for (struct dirent *one; threads && (one = readdir(threads));) {
        if (one->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof(path), "task/%.20s/schedstat", one->d_name);
        FILE *file = open_proc(helper, path);
        unsigned long long used = 0;
        if (file && fscanf(file, "%llu", &used) == 1)
            total += used;
        if (file)
            (void)fclose(file);
    }
    if (threads)
        (void)closedir(threads);
    return total;
}

size_t helper_descriptors(const struct helper *helper, uint64_t *ret_disk_bytes) {
    char path[64];
    size_t count = 0;
    (void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)helper->pid);
    DIR *open_files = helper->is_over ? NULL : opendir(path);
    *ret_disk_bytes = 0;
    for (struct dirent *one; open_files && (one = readdir(open_files));) {
        struct stat status, how; // the link's mode tells for what it is open
        if (one->d_name[0] == '.')
            continue;
        count++;
        if (fstatat(dirfd(open_files), one->d_name, &how, AT_SYMLINK_NOFOLLOW) == 0 &&
            (how.st_mode & S_IWUSR) && fstatat(dirfd(open_files), one->d_name, &status, 0) == 0 &&
            S_ISREG(status.st_mode))
            *ret_disk_bytes += (uint64_t)status.st_blocks * 512;
    }
    if (open_files)
        (void)closedir(open_files);
    return count;
}

size_t helper_left_behind(const struct helper *helper) {
    size_t count = 0;
    DIR *all = opendir("/proc");
    for (struct dirent *one; all && (one = readdir(all));) {
        char path[300], state;
        int pid = 0, group = 0;
        (void)snprintf(path, sizeof(path), "/proc/%s/stat", one->d_name);
        FILE *file = one->d_name[0] >= '0' && one->d_name[0] <= '9' ? fopen(path, "re") : NULL;
        if (file && fscanf(file, "%d (%*[^)]) %c %*d %d", &pid, &state, &group) == 3 &&
            group == helper->pid && pid != helper->pid && state != 'Z')
            count++;
        if (file)
            (void)fclose(file);
    }
    if (all)
        (void)closedir(all);
    return count;
}

// Go, too, says `runtime error:`, but without a line and column before it.
static bool has_sanitizer_report(const char *text) {
    for (const char *at = text; (at = strstr(at, "Sanitizer: ")) != NULL; at++)
        if (at > text && isalpha((unsigned char)at[-1]))
            return true;
    for (const char *at = text; (at = strstr(at, ": runtime error: ")) != NULL; at++)
        if (at > text && isdigit((unsigned char)at[-1]))
            return true;
    return false;
}

static void look_for_faults(struct helper *helper) {
    static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS, SIGTRAP};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(faults); i++)
        if (WIFSIGNALED(helper->status) && WTERMSIG(helper->status) == faults[i] &&
            !(helper->sent_signals & 1U << faults[i]))
            helper_breach(helper, "HO-3", "it died by a fault: %s", strsignal(faults[i]));
    if (helper->stderr_raw.data && has_sanitizer_report(helper->stderr_raw.data))
        helper_breach(helper, "HO-3", "its sanitizer reports a fault on stderr");
}

bool helper_is_over(struct helper *helper) {
    siginfo_t info = {0};
    if (!helper->is_over &&
        waitid(P_PID, (id_t)helper->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
        info.si_pid == helper->pid) {
        bool is_exit = info.si_code == CLD_EXITED;
        helper->status = is_exit ? W_EXITCODE(info.si_status, 0) : W_EXITCODE(0, info.si_status);
        helper->is_over = true;
        helper->over_ns = tuck_clock_mono_ns();
    }
    return helper->is_over;
}

static void watch(struct helper *helper) {
    if (helper->memory_limit && !helper->is_over) {
        uint64_t now = helper_memory(helper);
        helper->memory_peak = now > helper->memory_peak ? now : helper->memory_peak;
    }
    (void)helper_is_over(helper);
}

// -- the loop ------------------------------------------------------------------------------------
#define POLLED_MAX 64

// One turn: waits until something can be read, or `writer` can be written to, or the time is up.
static bool turn(struct helper_group *group, struct helper *writer, uint64_t until_ns) {
    struct pollfd polled[POLLED_MAX];
    struct helper *owner[POLLED_MAX];
    nfds_t count = 0;
    bool is_writable = false;
    for (struct helper *one = group->first; one && count + 4 < POLLED_MAX; one = one->next) {
        if (one->out >= 0 && !one->is_unread) {
            owner[count] = one;
            polled[count++] = (struct pollfd){.fd = one->out, .events = POLLIN};
        }
        if (one->err_fd >= 0) {
            owner[count] = one;
            polled[count++] = (struct pollfd){.fd = one->err_fd, .events = POLLIN};
        }
        if (one->exit_fd >= 0 && !one->is_over) {
            owner[count] = one;
            polled[count++] = (struct pollfd){.fd = one->exit_fd, .events = POLLIN};
        }
        if (one == writer && one->in >= 0) {
            owner[count] = one;
            polled[count++] = (struct pollfd){.fd = one->in, .events = POLLOUT};
        }
    }
    uint64_t now = tuck_clock_mono_ns(), left = until_ns > now ? until_ns - now : 0;
    left = left < SAMPLE_NS ? left : SAMPLE_NS;
    struct timespec wait = {.tv_nsec = (long)left};
    if (ppoll(polled, count, &wait, NULL) > 0) {
        for (nfds_t i = 0; i < count; i++) {
            if (!polled[i].revents)
                continue;
            if (polled[i].fd == owner[i]->in)
                is_writable = true;
            else if (polled[i].fd == owner[i]->exit_fd)
                (void)helper_is_over(owner[i]);
            else if (polled[i].fd == owner[i]->out)
                read_stdout(owner[i]);
            else
                read_stderr(owner[i]);
        }
    }
    return is_writable;
}

bool helper_pump(struct helper_group *group, uint64_t deadline_ns, bool (*done)(void *arg),
                 void *arg) {
    uint64_t watched_ns = 0;
    for (;;) {
        uint64_t now = tuck_clock_mono_ns();
        if (now - watched_ns >= SAMPLE_NS) {
            watched_ns = now;
            for (struct helper *one = group->first; one; one = one->next)
                watch(one);
        }
        if (done && done(arg))
            return true;
        if (now >= deadline_ns)
            return false;
        (void)turn(group, NULL, deadline_ns);
    }
}

int helper_send(struct helper *helper, const void *data, size_t len, uint64_t patience_ns,
                size_t *ret_taken) {
    const char *at = data;
    size_t left = len;
    uint64_t deadline_ns = tuck_clock_mono_ns() + patience_ns, watched_ns = 0;
    if (ret_taken)
        *ret_taken = 0;
    while (left > 0) {
        uint64_t now = tuck_clock_mono_ns();
        if (helper->in < 0 || helper->is_broken)
            return HELPER_GONE;
        if (now - watched_ns >= SAMPLE_NS) {
            watched_ns = now;
            watch(helper);
        }
        ssize_t put = write(helper->in, at, left < PIPE_BLOCK ? left : PIPE_BLOCK);
        if (put > 0) {
            at += put;
            left -= (size_t)put;
            if (ret_taken)
                *ret_taken += (size_t)put;
            deadline_ns = now + patience_ns; // as long as it takes something it is not stuck
            continue;
        }
        if (put < 0 && errno != EAGAIN && errno != EINTR) {
            helper->is_broken = true;
            return HELPER_GONE;
        }
        if (now >= deadline_ns)
            return HELPER_STUCK;
        (void)turn(helper->group, helper, deadline_ns);
    }
    return 0;
}

bool helper_took_all(const struct helper *helper) {
    int waiting = 0;
    return helper->in < 0 || ioctl(helper->in, FIONREAD, &waiting) < 0 || waiting == 0;
}

bool helper_has_unread(const struct helper *helper) {
    int waiting = 0;
    return helper->out < 0 || ioctl(helper->out, FIONREAD, &waiting) < 0 || waiting > 0;
}

// -- start and end -------------------------------------------------------------------------------
static void fill_pipe(int fd) {
    char block[4096] = {0};
    int flags = fcntl(fd, F_GETFL);
    (void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    while (write(fd, block, sizeof(block)) > 0)
        continue;
    (void)fcntl(fd, F_SETFL, flags);
}

static void give_up(int tell, int why) {
    (void)!write(tell, &why, sizeof(why));
    _exit(127);
}

// In the child: everything up to exec.
static void become(const struct helper_spec *spec, int in, int out, int err_fd, int tell) {
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)setsid();
    // dup2() clears close-on-exec only if the numbers differ; ours are all above 2.
    if (in >= 0 ? dup2(in, 0) < 0 : close(0) < 0)
        give_up(tell, errno);
    if (dup2(out, 1) < 0 || (err_fd >= 0 ? dup2(err_fd, 2) < 0 : close(2) < 0))
        give_up(tell, errno);
    if (chdir(spec->directory) < 0)
        give_up(tell, errno);
    if (spec->is_directory_gone)
        (void)rmdir(spec->directory);
    if (spec->umask >= 0)
        (void)umask((mode_t)spec->umask);
    if (spec->is_nobody && geteuid() == 0 &&
        (setgroups(0, NULL) < 0 || setgid(NOBODY) < 0 || setuid(NOBODY) < 0))
        give_up(tell, errno);
    for (int number = 1; number < 32; number++)
        (void)signal(number, SIG_DFL);
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    for (int which = 0; which < RLIM_NLIMITS; which++) {
        if (spec->limit[which] == RLIM_INFINITY)
            continue;
        struct rlimit limit = {spec->limit[which], spec->limit[which]};
        (void)setrlimit((__rlimit_resource_t)which, &limit);
    }
    (void)execve(spec->argv[0], spec->argv, spec->environment);
    give_up(tell, errno);
}

static int above_stderr(int fd) {
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, 10);
    (void)close(fd);
    return moved;
}

static void make_pipe(int ends[2]) {
    if (pipe2(ends, O_CLOEXEC) < 0)
        conform_die("cannot make a pipe: %s", strerror(errno));
    ends[0] = above_stderr(ends[0]);
    ends[1] = above_stderr(ends[1]);
}

struct ends {
    int in[2], out[2], err_fd[2], tell[2];
};

static void make_ends(const struct helper_spec *spec, struct ends *ends) {
    make_pipe(ends->in);
    make_pipe(ends->out);
    make_pipe(ends->err_fd);
    make_pipe(ends->tell);
    if (spec->stdin_kind != STDIN_PIPE) {
        (void)close(ends->in[1]);
        ends->in[1] = -1;
    }
    if (spec->stdin_kind == STDIN_NULL || spec->stdin_kind == STDIN_CLOSED) {
        (void)close(ends->in[0]);
        ends->in[0] =
            spec->stdin_kind == STDIN_NULL ? above_stderr(open("/dev/null", O_RDONLY)) : -1;
    }
    if (spec->stderr_kind == STDERR_BROKEN || spec->stderr_kind == STDERR_CLOSED ||
        spec->stderr_kind == STDERR_FULL) {
        (void)close(ends->err_fd[0]);
        ends->err_fd[0] = -1;
    }
    if (spec->stderr_kind == STDERR_CLOSED || spec->stderr_kind == STDERR_FULL) {
        (void)close(ends->err_fd[1]);
        ends->err_fd[1] =
            spec->stderr_kind == STDERR_FULL ? above_stderr(open("/dev/full", O_WRONLY)) : -1;
    }
    if (spec->stderr_kind == STDERR_STUFFED)
        fill_pipe(ends->err_fd[1]);
}

static void close_end(int *fd) {
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

int helper_start(struct helper_group *group, const struct helper_spec *spec,
                 struct helper **ret_helper, struct tuck_error *err) {
    struct ends ends;
    make_ends(spec, &ends);
    uint64_t started_ns = tuck_clock_mono_ns();
    pid_t pid = fork();
    if (pid < 0)
        conform_die("cannot start a process: %s", strerror(errno));
    if (pid == 0)
        become(spec, ends.in[0], ends.out[1], ends.err_fd[1], ends.tell[1]);
    close_end(&ends.in[0]);
    close_end(&ends.out[1]);
    close_end(&ends.err_fd[1]);
    close_end(&ends.tell[1]);
    int why = 0;
    ssize_t told = read(ends.tell[0], &why, sizeof(why));
    close_end(&ends.tell[0]);
    if (told == sizeof(why)) {
        (void)waitpid(pid, NULL, 0);
        close_end(&ends.in[1]);
        close_end(&ends.out[0]);
        close_end(&ends.err_fd[0]);
        return tuck_fail_os(err, why, "cannot run '%s'", spec->argv[0]);
    }
    struct helper *helper = need_alloc(sizeof(*helper));
    *helper = (struct helper){.group = group,
                              .name = need_strndup(spec->name, strlen(spec->name)),
                              .pid = pid,
                              .in = ends.in[1],
                              .out = ends.out[0],
                              .err_fd = spec->stderr_kind == STDERR_STUFFED ? -1 : ends.err_fd[0],
                              .spare = spec->stderr_kind == STDERR_STUFFED ? ends.err_fd[0] : -1,
                              .is_unread = spec->is_unread,
                              .is_stderr_over = spec->stderr_kind != STDERR_KEPT,
                              .started_ns = started_ns};
    // Where the kernel has no such descriptor, the end of a process is seen some milliseconds later.
    helper->exit_fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (helper->in >= 0)
        (void)fcntl(helper->in, F_SETFL, O_NONBLOCK);
    (void)fcntl(helper->out, F_SETFL, O_NONBLOCK);
    if (helper->err_fd >= 0)
        (void)fcntl(helper->err_fd, F_SETFL, O_NONBLOCK);
    helper->next = group->first;
    group->first = helper;
    *ret_helper = helper;
    return 0;
}

void helper_end_input(struct helper *helper) {
    if (helper->in >= 0)
        helper_note(helper, '>', "(end of input)", 14);
    close_end(&helper->in);
}

void helper_hang_up(struct helper *helper) {
    helper_note(helper, '-', "(stdout is not read any more)", 29);
    close_end(&helper->out);
    helper->is_stdout_over = true;
    helper->is_signalled = true; // it may be cut off anywhere
}

void helper_signal(struct helper *helper, int number, bool is_for_group) {
    helper_note(helper, '-', strsignal(number), strlen(strsignal(number)));
    helper->is_signalled = true;
    helper->sent_signals |= 1U << number;
    if (!helper_is_over(helper))
        (void)kill(is_for_group ? -helper->pid : helper->pid, number);
}

void helper_kill(struct helper *helper) {
    close_end(&helper->in);
    if (helper->is_reaped)
        return;
    if (!helper_is_over(helper)) {
        helper->sent_signals |= 1U << SIGKILL;
        helper->is_signalled = true;
        (void)kill(helper->pid, SIGKILL);
    }
    (void)kill(-helper->pid, SIGKILL); // also the children that it leaves behind
    siginfo_t info;
    (void)waitid(P_PID, (id_t)helper->pid, &info, WEXITED | WNOWAIT);
    (void)helper_is_over(helper);
    (void)waitpid(helper->pid, NULL, 0);
    helper->is_reaped = true;
    for (int turns = 0; helper->err_fd >= 0 && turns < 300; turns++)
        read_stderr(helper);
    close_end(&helper->out);
    close_end(&helper->err_fd);
    close_end(&helper->spare);
    close_end(&helper->exit_fd);
    helper->is_stdout_over = true;
    look_for_faults(helper);
}

void helper_forget_requests(struct helper *helper) {
    for (size_t i = 0; i < helper->request_count; i++) {
        json_decref(helper->requests[i].answer);
        value_free(&helper->requests[i].body);
    }
    helper->request_count = 0;
    if (helper->by_id)
        memset(helper->by_id, -1, helper->by_id_room * sizeof(*helper->by_id));
}

static void free_helper(struct helper *helper) {
    helper_kill(helper);
    helper_forget_requests(helper);
    for (size_t i = 0; i < HELPER_LOG_LINES; i++)
        free(helper->log[i]);
    json_decref(helper->hello);
    free(helper->requests);
    free(helper->by_id);
    free(helper->breach);
    free(helper->name);
    buf_free(&helper->stdout_raw);
    buf_free(&helper->stderr_raw);
    free(helper);
}

void helper_free_all(struct helper_group *group) {
    while (group->first) {
        struct helper *next = group->first->next;
        free_helper(group->first);
        group->first = next;
    }
}

// SPDX-License-Identifier: MIT
/*
 * badhelper: a GOCACHEPROG helper that does what its arguments say, one after the other, good or bad.
 *
 *     badhelper hello read 'say:{"ID":$i,"Miss":true}' exit:3
 *
 *     hello[:a,b]   the handshake, with all commands or those named
 *     say:TEXT      writes TEXT and a line end to stdout;  raw:TEXT without the line end
 *                   $i the ID of the last request, $1 to $9 that of the first to ninth, $a its ActionID, $o its OutputID
 *     read[:N]      reads a request, body included (N of them)
 *     part:N        reads N bytes of whatever comes;  line  reads to the end of the line
 *     serve[:N]     answers all (N) further requests as a good helper would: outputs are files in $BAD_DIR, and a get hits
 *                   what was put before in this run; close is answered
 *     echo          answers further requests with Err, whose text is the request's command
 *     eof           reads to the end of its input
 *     close:N       closes descriptor N
 *     slow          from now on writes single bytes
 *     flood:N:SIZE  writes SIZE bytes of x to descriptor N, in lines
 *     repeat:N:TEXT writes TEXT to stdout N times, as it is
 *     complain:TEXT a line to stderr
 *     ignore:N      ignores signal N;  catch:N:TEXT  on signal N notes TEXT and exits 0
 *     note:TEXT     appends a line to $BAD_NOTES;  record: appends all that is read there, byte for byte
 *     fds           notes its open descriptors;  signals: notes what is blocked and ignored;  args: notes what follows,
 *                   each in brackets, and ends the list;  env:NAME notes its value
 *     group         notes whether it leads its own process group
 *     hold:SECONDS  leaves a child behind that keeps all descriptors open that long
 *     wait:NAME     waits until there is such a file in $BAD_DIR
 *     stop          stops itself (SIGSTOP);  pause  does nothing for ever;  sleep:MS
 *     raise:N       kills itself with signal N;  exit:N
 *
 * At the end of its arguments it reads to the end of its input and exits 0.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/wait.h>

static int64_t ids[16];
static size_t request_count;
static char command[16], action[64], output[64];
static uint64_t body_size;
static bool is_slow, is_recorded;

static void write_all(int fd, const char *data, size_t len) {
    while (len > 0) {
        ssize_t n = write(fd, data, is_slow && fd == 1 ? 1 : len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            _exit(9);
        data += n;
        len -= (size_t)n;
    }
}

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...) {
    char text[4096];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    const char *path = getenv("BAD_NOTES");
    int fd = open(path ? path : "/dev/null", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0)
        _exit(8);
    write_all(fd, text, (size_t)len < sizeof(text) ? (size_t)len : sizeof(text) - 1);
    (void)close(fd);
}

// --- Input ---------------------------------------------------------------------------------------

static char input[65536];
static size_t input_begin, input_end;

static bool fill_input(void) {
    ssize_t n;
    do
        n = read(0, input, sizeof(input));
    while (n < 0 && errno == EINTR);
    input_begin = 0;
    input_end = n > 0 ? (size_t)n : 0;
    if (n > 0 && is_recorded) {
        int fd = open(getenv("BAD_NOTES"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        write_all(fd, input, (size_t)n);
        (void)close(fd);
    }
    return n > 0;
}

// The next line without its end, cut at room; false at the end of input.
static bool read_line(char *line, size_t room) {
    size_t len = 0;
    for (;;) {
        if (input_begin == input_end && !fill_input())
            return false;
        char *end = memchr(input + input_begin, '\n', input_end - input_begin);
        size_t part = end ? (size_t)(end - (input + input_begin)) : input_end - input_begin;
        size_t kept = part < room - 1 - len ? part : room - 1 - len;
        memcpy(line + len, input + input_begin, kept);
        len += kept;
        input_begin += part + (end != NULL);
        if (end) {
            line[len] = '\0';
            return true;
        }
    }
}

static void copy_field(const char *line, const char *name, char *to, size_t room) {
    const char *at = strstr(line, name);
    to[0] = '\0';
    if (!at)
        return;
    at += strlen(name);
    size_t len = strcspn(at, "\"");
    if (len < room) {
        memcpy(to, at, len);
        to[len] = '\0';
    }
}

static bool read_object(char *line, size_t room) {
    do
        if (!read_line(line, room))
            return false;
    while (!*line);
    const char *id = strstr(line, "\"ID\":"), *size = strstr(line, "\"BodySize\":");
    if (request_count < 16)
        ids[request_count] = id ? strtoll(id + 5, NULL, 10) : -1;
    request_count++;
    ids[15] = id ? strtoll(id + 5, NULL, 10) : -1; // the last one
    body_size = size ? strtoull(size + 11, NULL, 10) : 0;
    copy_field(line, "\"Command\":\"", command, sizeof(command));
    copy_field(line, "\"ActionID\":\"", action, sizeof(action));
    copy_field(line, "\"OutputID\":\"", output, sizeof(output));
    if (!*output)
        copy_field(line, "\"ObjectID\":\"", output, sizeof(output));
    return true;
}

static bool read_request(void) {
    char line[1024], start[8];
    if (!read_object(line, sizeof(line)))
        return false;
    while (body_size > 0) {
        if (!read_line(start, sizeof(start)))
            return false;
        if (*start == '"')
            return true;
    }
    return true;
}

// --- A good helper -------------------------------------------------------------------------------

static struct {
    char action[64], output[64];
    uint64_t size;
} entries[4096];
static size_t entry_count;

static int value_of(char c) {
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static char input_char(void) {
    if (input_begin == input_end && !fill_input())
        _exit(7); // in mid-body
    return input[input_begin++];
}

// The body's line into a file, as a whole or not at all. False if it is not what was announced.
static bool store_body(const char *path) {
    char temp[600];
    uint64_t done = 0;
    uint32_t bits = 0;
    unsigned digits = 0;
    bool is_good = true;
    (void)snprintf(temp, sizeof(temp), "%s.part-%d", path, (int)getpid());
    FILE *file = fopen(temp, "w");
    if (!file)
        _exit(6);
    char c;
    while (body_size > 0 && (c = input_char()) != '"')
        ;
    while (body_size > 0 && (c = input_char()) != '"') {
        if (c == '=')
            continue;
        int value = value_of(c);
        if (value < 0) {
            is_good = false;
            if (c == '{' || c == '\n')
                _exit(5); // out of step
            continue;
        }
        bits = bits << 6 | (uint32_t)value;
        if (++digits % 4 != 1) {
            (void)fputc((int)(bits >> (6 - 2 * ((digits - 1) % 4)) & 255), file);
            done++;
        }
    }
    is_good &= done == body_size;
    is_good &= fclose(file) == 0;
    if (is_good)
        is_good = rename(temp, path) == 0;
    else
        (void)unlink(temp);
    return is_good;
}

static void path_of(const char *id, char path[static 512]) {
    int len = snprintf(path, 512, "%s/", getenv("BAD_DIR"));
    for (; *id && *id != '='; id++)
        path[len++] = *id == '/' ? '-' : *id == '+' ? '_' : *id;
    path[len] = '\0';
}

__attribute__((format(printf, 1, 2))) static void answer(const char *format, ...) {
    char text[2048];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    write_all(1, text, (size_t)len);
}

static void serve_put(void) {
    char path[512];
    long long id = ids[15];
    path_of(output, path);
    if (!store_body(path)) {
        answer("{\"ID\":%lld,\"Err\":\"the body is not what was announced\"}\n", id);
        return;
    }
    size_t at = 0;
    while (at < entry_count && strcmp(entries[at].action, action) != 0)
        at++;
    if (at == entry_count && entry_count < 4095)
        entry_count++;
    memcpy(entries[at].action, action, sizeof(action));
    memcpy(entries[at].output, output, sizeof(output));
    entries[at].size = body_size;
    answer("{\"ID\":%lld,\"DiskPath\":\"%s\"}\n", id, path);
}

static void serve_get(void) {
    char path[512];
    for (size_t at = 0; at < entry_count; at++) {
        if (strcmp(entries[at].action, action) != 0)
            continue;
        path_of(entries[at].output, path);
        answer("{\"ID\":%lld,\"OutputID\":\"%s\",\"Size\":%llu,\"Time\":"
               "\"2026-02-11T09:30:00.5Z\",\"DiskPath\":\"%s\"}\n",
               (long long)ids[15], entries[at].output, (unsigned long long)entries[at].size, path);
        return;
    }
    answer("{\"ID\":%lld,\"Miss\":true}\n", (long long)ids[15]);
}

static void serve(uint64_t count) {
    char line[1024];
    while (count-- > 0 && read_object(line, sizeof(line))) {
        if (strcmp(command, "put") == 0) {
            serve_put();
        } else if (strcmp(command, "get") == 0) {
            serve_get();
        } else {
            answer("{\"ID\":%lld}\n", (long long)ids[15]);
            return;
        }
    }
}

// --- Words ---------------------------------------------------------------------------------------

static void say(const char *text, const char *end) {
    char out[8192];
    size_t len = 0;
    for (; *text && len < sizeof(out) - 80; text++) {
        if (text[0] != '$' || !text[1]) {
            out[len++] = *text;
            continue;
        }
        text++;
        if (*text == 'i' || (*text >= '1' && *text <= '9'))
            len += (size_t)snprintf(out + len, 40, "%lld",
                                    (long long)ids[*text == 'i' ? 15 : *text - '1']);
        else
            len += (size_t)snprintf(out + len, 70, "%s", *text == 'a' ? action : output);
    }
    if (*text) { // long ones have no places to fill
        write_all(1, out, len);
        write_all(1, text, strlen(text));
        len = 0;
    }
    write_all(1, out, len);
    write_all(1, end, strlen(end));
}

static void hello(const char *names) {
    write_all(1, "{\"ID\":0,\"KnownCommands\":[\"", 26);
    for (; *names; names++)
        write_all(1, *names == ',' ? "\",\"" : names, *names == ',' ? 3 : 1);
    write_all(1, "\"]}\n", 4);
}

static void flood(int fd, uint64_t size) {
    static char block[65536];
    memset(block, 'x', sizeof(block));
    for (size_t i = 99; i < sizeof(block); i += 100)
        block[i] = '\n';
    for (; size > 0; size -= size < sizeof(block) ? size : sizeof(block))
        write_all(fd, block, size < sizeof(block) ? (size_t)size : sizeof(block));
}

static void repeat(uint64_t count, const char *text) {
    static char block[65536];
    size_t len = strlen(text), in_block = sizeof(block) / len;
    for (size_t i = 0; i < in_block; i++)
        memcpy(block + i * len, text, len);
    for (; count > 0; count -= count < in_block ? count : in_block)
        write_all(1, block, (count < in_block ? (size_t)count : in_block) * len);
}

static void note_descriptors(void) {
    char text[1000] = "";
    size_t len = 0;
    DIR *dir = opendir("/proc/self/fd");
    for (int fd = 0; fd < 1024; fd++)
        if (fd != dirfd(dir) && fcntl(fd, F_GETFD) >= 0)
            len += (size_t)snprintf(text + len, sizeof(text) - len, " %d", fd);
    (void)closedir(dir);
    note("fds%s\n", text);
}

static void note_signals(void) {
    sigset_t blocked;
    char text[1000] = "";
    size_t len = 0;
    (void)sigprocmask(SIG_BLOCK, NULL, &blocked);
    for (int number = 1; number < 32; number++) {
        struct sigaction how;
        if (sigismember(&blocked, number) == 1)
            len += (size_t)snprintf(text + len, sizeof(text) - len, " blocked %d", number);
        if (sigaction(number, NULL, &how) == 0 && how.sa_handler == SIG_IGN)
            len += (size_t)snprintf(text + len, sizeof(text) - len, " ignored %d", number);
    }
    note("signals%s\n", text);
}

static const char *caught_text;

static void caught(int number) {
    (void)number;
    note("%s\n", caught_text);
    _exit(0);
}

static uint64_t number_of(const char *text) {
    return strtoull(text, NULL, 10);
}

static void do_word(const char *word, const char *value) {
    const char *second = strchr(value, ':');
    second = second ? second + 1 : "";
#define IS(name) (strcmp(word, name) == 0)
    if (IS("hello")) {
        hello(*value ? value : "get,put,close");
    } else if (IS("say") || IS("raw")) {
        say(value, IS("say") ? "\n" : "");
    } else if (IS("read")) {
        for (uint64_t n = *value ? number_of(value) : 1; n > 0; n--)
            if (!read_request())
                _exit(4);
    } else if (IS("part")) {
        for (uint64_t n = number_of(value); n > 0; n--)
            (void)input_char();
    } else if (IS("line")) {
        while (input_char() != '\n')
            ;
    } else if (IS("wait")) {
        char path[512];
        (void)snprintf(path, sizeof(path), "%s/%s", getenv("BAD_DIR"), value);
        while (access(path, F_OK) < 0)
            (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    } else if (IS("serve")) {
        serve(*value ? number_of(value) : UINT64_MAX);
    } else if (IS("echo")) {
        while (read_request())
            answer("{\"ID\":%lld,\"Err\":\"no %s\"}\n", (long long)ids[15], command);
    } else if (IS("eof")) {
        input_begin = input_end;
        while (fill_input())
            ;
    } else if (IS("close")) {
        (void)close((int)number_of(value));
    } else if (IS("slow")) {
        is_slow = true;
    } else if (IS("flood")) {
        flood((int)number_of(value), number_of(second));
    } else if (IS("repeat")) {
        repeat(number_of(value), second);
    } else if (IS("complain")) {
        write_all(2, value, strlen(value));
        write_all(2, "\n", 1);
    } else if (IS("ignore")) {
        (void)signal((int)number_of(value), SIG_IGN);
    } else if (IS("catch")) {
        caught_text = second;
        (void)signal((int)number_of(value), caught);
    } else if (IS("note")) {
        note("%s\n", value);
    } else if (IS("record")) {
        is_recorded = true;
    } else if (IS("fds")) {
        note_descriptors();
    } else if (IS("signals")) {
        note_signals();
    } else if (IS("env")) {
        note("%s=%s\n", value, getenv(value) ? getenv(value) : "(none)");
    } else if (IS("group")) {
        note("group %s\n", getpgrp() == getpid() ? "own" : "shared");
    } else if (IS("hold")) {
        if (fork() == 0) {
            (void)sleep((unsigned)number_of(value));
            _exit(0);
        }
    } else if (IS("stop")) {
        (void)raise(SIGSTOP);
    } else if (IS("pause")) {
        for (;;)
            (void)pause();
    } else if (IS("sleep")) {
        uint64_t ms = number_of(value);
        (void)nanosleep(&(struct timespec){(time_t)(ms / 1000), (long)(ms % 1000) * 1000000}, NULL);
    } else if (IS("raise")) {
        (void)signal((int)number_of(value), SIG_DFL);
        (void)raise((int)number_of(value));
    } else if (IS("exit")) {
        _exit((int)number_of(value));
    } else {
        note("unknown word %s\n", word);
        _exit(3);
    }
}

int main(int argc, char **argv) {
    (void)signal(SIGPIPE, SIG_IGN);
    for (int i = 1; i < argc; i++) {
        char word[16] = "";
        size_t len = strcspn(argv[i], ":");
        if (len >= sizeof(word))
            return 3;
        memcpy(word, argv[i], len);
        if (strcmp(word, "args") == 0) {
            for (i++; i < argc; i++)
                note("[%s]\n", argv[i]);
            hello("get,put,close");
            serve(UINT64_MAX);
            break;
        }
        do_word(word, argv[i][len] ? argv[i] + len + 1 : argv[i] + len);
    }
    while (fill_input())
        ;
    return 0;
}

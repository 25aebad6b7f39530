// SPDX-License-Identifier: MIT
/*
 * load: drives GOCACHEPROG helpers over their pipes, as the go command does, and measures them.
 *
 *     load MODE [--option=value]...
 *          -- LABEL[:ENTRIES] [NAME=VALUE]... PROGRAM [ARGUMENT]... [-- LABEL ...]...
 *
 * The helpers take turns, a round each (not in fill, replay and memory), so that whatever else the
 * machine does meets all of them alike. One JSON object goes to stdout: for each helper, for each
 * figure, one number per round; what to make of them (medians, ratios of neighbours) is the
 * reader's business. It exits with 1 when a helper breaks the protocol, answers something untrue,
 * or takes longer than --limit seconds.
 *
 * Instead of a program, a helper can be one of these, which say what no helper can beat:
 *     @echo    answers each 120 bytes with a fixed 200 bytes: the bare pipe   (gets, pipelined)
 *     @sink    reads a put's base64 and drops it: the client's own limit      (put-large)
 *     @bare P  program P that is no helper; its end counts as its handshake   (start)
 *
 * The population: entry i of N is an action id made from i; a quarter of the outputs are empty, the
 * others come from --objects small bodies. Filling and asking compute it alike, so that nothing has
 * to be remembered between runs.
 *
 * The go command's habits that matter for the figures are kept: a serial request is one write, a
 * body is encoded while it is written and leaves in writes of 4,096 bytes. Not here: how a helper
 * fares under a real go command (see run).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <openssl/evp.h>

#include "table.h"

enum {
    MAX_HELPERS = 16,
    MAX_SERIES = 12,
    ID_TEXT = TABLE_ID_TEXT, // 32 bytes in base64
    WINDOW = 64,             // requests in flight in the pipelined modes
    IN_FLIGHT_SLOTS = 1024,  // more than WINDOW, so that an id that comes back twice is noticed
    ECHO_REQUEST = 120,
    ECHO_ANSWER = 200,
    CLIENT_WRITE = 4096, // the go command's bufio.Writer
    INPUT_SIZE = 1 << 17,
};

enum kind {
    KIND_HELPER,
    KIND_ECHO,
    KIND_SINK,
    KIND_BARE,
};

/* One number per round. */
struct series {
    const char *name;
    double *values;
    size_t count, room;
};

struct helper {
    const char *label;
    uint64_t entries;
    enum kind kind;
    char **argv;
    char **environment;

    pid_t pid;
    clockid_t cpu_clock;
    int to, from; // its stdin and stdout
    uint64_t last_id, misses;
    uint64_t in_flight[IN_FLIGHT_SLOTS]; // request id by id % IN_FLIGHT_SLOTS, 0 = none
    uint32_t expected[IN_FLIGHT_SLOTS];  // the size its answer must name
    char *input;
    size_t input_begin, input_end;

    struct series series[MAX_SERIES];
};

struct slice {
    const char *data;
    size_t size;
};

static struct {
    uint64_t rounds, count, warm_up, objects, megabytes, seconds;
    int cpu, helper_cpu;
    bool first_get;
    const char *table;
} options = {
    .rounds = 1,
    .count = 1000,
    .warm_up = 0,
    .objects = 20000,
    .megabytes = 64,
    .seconds = 1800,
    .cpu = -1,
    .helper_cpu = -1,
};

static struct helper helpers[MAX_HELPERS];
static size_t helper_count;

__attribute__((noreturn, format(printf, 2, 3))) static void die(const struct helper *helper,
                                                                const char *format, ...) {
    va_list arguments;

    fprintf(stderr, "load: %s%s", helper ? helper->label : "", helper ? ": " : "");
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static void *allocate(size_t size) {
    void *memory = calloc(1, size ? size : 1);

    if (!memory)
        die(NULL, "out of memory");
    return memory;
}

static uint64_t now_ns(clockid_t clock) {
    struct timespec time;

    if (clock_gettime(clock, &time) < 0)
        return 0;
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static uint64_t now(void) {
    return now_ns(CLOCK_MONOTONIC);
}

static void note(struct helper *helper, const char *name, double value) {
    struct series *series = helper->series;

    while (series->name && strcmp(series->name, name) != 0)
        if (++series == helper->series + MAX_SERIES)
            die(helper, "too many figures");
    series->name = name;
    if (series->count == series->room) {
        series->room = series->room ? 2 * series->room : 64;
        series->values = realloc(series->values, series->room * sizeof(double));
        if (!series->values)
            die(NULL, "out of memory");
    }
    series->values[series->count++] = value;
}

static int compare_numbers(const void *a, const void *b) {
    const uint64_t *left = a, *right = b;

    return *left < *right ? -1 : *left > *right;
}

/* Sorts the latencies and notes their percentiles. */
static void note_latencies(struct helper *helper, uint64_t *ns, size_t count) {
    qsort(ns, count, sizeof(*ns), compare_numbers);
    note(helper, "p50_us", (double)ns[count / 2] / 1e3);
    note(helper, "p99_us", (double)ns[count * 99 / 100] / 1e3);
}

/*
 * Ids, bodies, base64
 */

static uint64_t mix(uint64_t x) { // splitmix64
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static uint64_t chance_state;

static uint64_t chance(void) {
    return mix(chance_state++);
}

static void fill_with_noise(unsigned char *body, size_t size, uint64_t seed) {
    for (size_t at = 0; at < size; at += 8) {
        uint64_t word = mix(seed + at);
        memcpy(body + at, &word, size - at < 8 ? size - at : 8);
    }
}

static uint16_t base64_pairs[4096]; // 12 bits → two characters: about as fast as Go's encoder

static void prepare_base64(void) {
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (unsigned i = 0; i < 4096; i++) {
        const char pair[2] = {alphabet[i >> 6], alphabet[i & 63]};
        memcpy(&base64_pairs[i], pair, 2);
    }
}

static size_t encode_base64(char *text, const unsigned char *data, size_t size) {
    char *out = text;

    for (; size >= 3; data += 3, size -= 3, out += 4) {
        const unsigned bits = (unsigned)data[0] << 16 | (unsigned)data[1] << 8 | data[2];
        memcpy(out, &base64_pairs[bits >> 12], 2);
        memcpy(out + 2, &base64_pairs[bits & 4095], 2);
    }
    if (size > 0) {
        const unsigned bits = (unsigned)data[0] << 16 | (size > 1 ? (unsigned)data[1] << 8 : 0);
        memcpy(out, &base64_pairs[bits >> 12], 2);
        memcpy(out + 2, &base64_pairs[bits & 4095], 2);
        out[3] = '=';
        if (size == 1)
            out[2] = '=';
        out += 4;
    }
    return (size_t)(out - text);
}

static void action_text(char text[ID_TEXT], uint64_t entry) {
    unsigned char id[32];

    fill_with_noise(id, sizeof(id), mix(entry) ^ 0x616374696f6eu);
    encode_base64(text, id, sizeof(id));
}

static void output_text(char text[ID_TEXT], const void *body, size_t size) {
    unsigned char id[32];

    if (!EVP_Digest(body, size, id, NULL, EVP_sha256(), NULL))
        die(NULL, "SHA-256 is not available");
    encode_base64(text, id, sizeof(id));
}

/* The output of an entry: 0 = the empty one, else one of --objects. */
static uint64_t object_of(uint64_t entry) {
    return entry % 4 == 0 ? 0 : 1 + mix(entry) % options.objects;
}

static uint32_t object_size(uint64_t object) {
    return object == 0 ? 0 : 100 + (uint32_t)(mix(object) % 1200);
}

/*
 * Processes
 */

static void stay_on(int cpu) {
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set) < 0)
        die(NULL, "CPU %d: %s", cpu, strerror(errno));
}

static void start(struct helper *helper) {
    int in[2], out[2];
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t pipe_signal;

    if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
        die(helper, "pipe: %s", strerror(errno));
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], 0);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE); // ignored here, but not under a go command
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigdefault(&attributes, &pipe_signal);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    if (options.helper_cpu >= 0) // inherited
        stay_on(options.helper_cpu);
    const int error = posix_spawnp(&helper->pid, helper->argv[0], &actions, &attributes,
                                   helper->argv, helper->environment);
    if (options.cpu >= 0)
        stay_on(options.cpu);
    if (error)
        die(helper, "cannot start '%s': %s", helper->argv[0], strerror(error));
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    close(in[0]);
    close(out[1]);
    helper->to = in[1];
    helper->from = out[0];
    helper->last_id = 0;
    helper->input_begin = helper->input_end = 0;
    if (!helper->input)
        helper->input = allocate(INPUT_SIZE);
    if (clock_getcpuclockid(helper->pid, &helper->cpu_clock) != 0)
        die(helper, "no CPU clock");
}

static uint64_t cpu_ns(const struct helper *helper) {
    return now_ns(helper->cpu_clock);
}

/* Reads more of the helper's stdout; false at its end. */
static bool receive(struct helper *helper) {
    if (helper->input_begin > 0) {
        memmove(helper->input, helper->input + helper->input_begin,
                helper->input_end - helper->input_begin);
        helper->input_end -= helper->input_begin;
        helper->input_begin = 0;
    }
    if (helper->input_end == INPUT_SIZE)
        die(helper, "an answer is longer than %d bytes", INPUT_SIZE);
    for (;;) {
        const ssize_t got =
            read(helper->from, helper->input + helper->input_end, INPUT_SIZE - helper->input_end);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            die(helper, "read: %s", strerror(errno));
        helper->input_end += (size_t)got;
        return got > 0;
    }
}

static void transmit(struct helper *helper, const char *data, size_t size) {
    while (size > 0) {
        const ssize_t put = write(helper->to, data, size);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            die(helper, "write: %s", strerror(errno));
        data += put;
        size -= (size_t)put;
    }
}

/* Length of the JSON object that begins `data`, blanks before it included; 0 while it is
 * incomplete. */
static size_t object_length(const char *data, size_t size) {
    unsigned depth = 0;

    for (size_t i = 0; i < size; i++) {
        if (data[i] == '{')
            depth++;
        else if (data[i] == '}' && depth > 0 && --depth == 0)
            return i + 1;
        while (data[i] == '"') { // on to the quote that ends the string
            const char *quote = memchr(data + i + 1, '"', size - i - 1);
            if (!quote)
                return 0;
            i = (size_t)(quote - data);
            size_t escapes = 0;
            while (data[i - 1 - escapes] == '\\')
                escapes++;
            if (escapes % 2 == 0)
                break;
        }
    }
    return 0;
}

/* The next answer that has already arrived; size 0 when there is none. */
static struct slice peek_answer(const struct helper *helper) {
    const char *data = helper->input + helper->input_begin;
    const size_t size = helper->input_end - helper->input_begin;

    if (helper->kind == KIND_ECHO)
        return (struct slice){data, size >= ECHO_ANSWER ? ECHO_ANSWER : 0};
    return (struct slice){data, object_length(data, size)};
}

static struct slice next_answer(struct helper *helper) {
    struct slice answer;

    while ((answer = peek_answer(helper)).size == 0)
        if (!receive(helper))
            die(helper, "ended before it had answered");
    helper->input_begin += answer.size;
    return answer;
}

static bool has(struct slice answer, const char *text) {
    return memmem(answer.data, answer.size, text, strlen(text)) != NULL;
}

static uint64_t number_in(struct slice answer, const char *name) {
    const char *at = memmem(answer.data, answer.size, name, strlen(name)),
               *end = answer.data + answer.size;
    uint64_t number = 0;

    if (!at)
        return 0;
    for (at += strlen(name); at < end && *at == ' '; at++)
        ;
    for (; at < end && *at >= '0' && *at <= '9'; at++)
        number = number * 10 + (uint64_t)(*at - '0');
    return number;
}

/* Copies the answer's path; the driver asks for none that needs escapes. */
static void path_in(const struct helper *helper, struct slice answer, char path[4096]) {
    static const char name[] = "\"DiskPath\":\"";
    const char *at = memmem(answer.data, answer.size, name, strlen(name));
    const char *end =
        at ? memchr(at + strlen(name), '"', (size_t)(answer.data + answer.size - at) - strlen(name))
           : NULL;

    if (!end || end - at > 4000)
        die(helper, "no path in %.*s", (int)answer.size, answer.data);
    at += strlen(name);
    memcpy(path, at, (size_t)(end - at));
    path[end - at] = '\0';
}

/* Takes a request id into the books. */
static uint64_t new_request(struct helper *helper, uint32_t expected_size) {
    uint64_t id;

    do // answers may overtake one that a helper sits on: its place stays taken
        id = ++helper->last_id;
    while (helper->in_flight[id % IN_FLIGHT_SLOTS] != 0);
    helper->in_flight[id % IN_FLIGHT_SLOTS] = id;
    helper->expected[id % IN_FLIGHT_SLOTS] = expected_size;
    return id;
}

/* Each request is answered once, and with success; misses are counted. */
static void check_answer(struct helper *helper, struct slice answer, bool is_get) {
    if (helper->kind == KIND_ECHO)
        return;
    const uint64_t id = number_in(answer, "\"ID\":");
    if (id == 0 || helper->in_flight[id % IN_FLIGHT_SLOTS] != id)
        die(helper, "unasked answer %.*s", (int)answer.size, answer.data);
    helper->in_flight[id % IN_FLIGHT_SLOTS] = 0;
    if (is_get && has(answer, "\"Miss\":true")) { // no lie, but the figures show it
        helper->misses++;
        return;
    }
    if (has(answer, "\"Err\"") || has(answer, "\"Miss\":true") || !has(answer, "\"DiskPath\":\"/"))
        die(helper, "no success: %.*s", (int)answer.size, answer.data);
    if (is_get && number_in(answer, "\"Size\":") != helper->expected[id % IN_FLIGHT_SLOTS])
        die(helper, "wrong size: %.*s", (int)answer.size, answer.data);
}

static void shake_hands(struct helper *helper) {
    if (helper->kind == KIND_ECHO)
        return;
    struct slice answer = next_answer(helper);
    if (!has(answer, "\"KnownCommands\""))
        die(helper, "no handshake but %.*s", (int)answer.size, answer.data);
}

/* Ends stdin, waits for the end of stdout and for the process. */
static void end(struct helper *helper) {
    struct rusage usage;
    int status;

    close(helper->to);
    while (receive(helper))
        helper->input_begin = helper->input_end;
    close(helper->from);
    while (wait4(helper->pid, &status, 0, &usage) < 0)
        if (errno != EINTR)
            die(helper, "wait: %s", strerror(errno));
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        die(helper, "ended with status %#x", (unsigned)status);
}

static void start_all(void) {
    for (size_t i = 0; i < helper_count; i++) {
        start(&helpers[i]);
        shake_hands(&helpers[i]);
    }
}

static void end_all(void) {
    for (size_t i = 0; i < helper_count; i++)
        end(&helpers[i]);
}

/* Waits until no helper works behind its answers any more, and the kernel behind theirs: what one
 * left undone must not slow the next. Longer than any of them waits before it begins such work. */
static void settle(void) {
    uint64_t used = 0, quiet_since = now();
    const uint64_t patience = now() + 2000000000u;

    sync();
    while (now() < quiet_since + 250000000u && now() < patience) {
        uint64_t sum = 0;
        for (size_t i = 0; i < helper_count; i++)
            sum += cpu_ns(&helpers[i]);
        if (sum > used + 200000u) {
            used = sum;
            quiet_since = now();
        }
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
}

/*
 * gets
 */

static size_t format_get(struct helper *helper, char *text) {
    const uint64_t entry = chance() % (helper->entries ? helper->entries : 1);

    if (helper->kind == KIND_ECHO) {
        memset(text, ' ', ECHO_REQUEST);
        return ECHO_REQUEST;
    }
    const uint64_t id = new_request(helper, object_size(object_of(entry)));
    char *out = text + sprintf(text, "{\"ID\":%" PRIu64 ",\"Command\":\"get\",\"ActionID\":\"", id);
    action_text(out, entry);
    memcpy(out + ID_TEXT, "\"}\n\n", 4);
    return (size_t)(out + ID_TEXT + 4 - text);
}

static void serial_gets(struct helper *helper, size_t count, uint64_t *ns) {
    char request[256];

    for (size_t i = 0; i < count; i++) {
        const size_t size = format_get(helper, request);
        const uint64_t begin = now();
        transmit(helper, request, size);
        const struct slice answer = next_answer(helper);
        ns[i] = now() - begin;
        check_answer(helper, answer, true);
    }
}

/* Keeps WINDOW gets in flight. As many requests leave in one write as answers came in one read. */
static void pipelined_gets(struct helper *helper, size_t count) {
    char requests[WINDOW * 256];
    size_t sent = 0, answered = 0, allowed = WINDOW;

    while (answered < count) {
        size_t size = 0;
        for (; allowed > 0 && sent < count; allowed--, sent++)
            size += format_get(helper, requests + size);
        transmit(helper, requests, size);
        check_answer(helper, next_answer(helper), true);
        allowed = 1;
        struct slice answer;
        while ((answer = peek_answer(helper)).size > 0) {
            helper->input_begin += answer.size;
            check_answer(helper, answer, true);
            allowed++;
        }
        answered += allowed;
    }
}

static void run_gets(void) {
    uint64_t *ns = allocate(options.count * sizeof(*ns));

    start_all();
    for (size_t i = 0; i < helper_count; i++)
        pipelined_gets(&helpers[i], options.warm_up);
    for (uint64_t round = 0; round < options.rounds; round++)
        for (size_t i = 0; i < helper_count; i++) {
            const uint64_t cpu = cpu_ns(&helpers[i]);
            serial_gets(&helpers[i], options.count, ns);
            note(&helpers[i], "cpu_us_per_get",
                 (double)(cpu_ns(&helpers[i]) - cpu) / 1e3 / (double)options.count);
            note_latencies(&helpers[i], ns, options.count);
        }
    end_all();
    free(ns);
}

static void run_pipelined(void) {
    start_all();
    for (size_t i = 0; i < helper_count; i++)
        pipelined_gets(&helpers[i], options.warm_up);
    for (uint64_t round = 0; round < options.rounds; round++)
        for (size_t i = 0; i < helper_count; i++) {
            const uint64_t cpu = cpu_ns(&helpers[i]), begin = now();
            pipelined_gets(&helpers[i], options.count);
            const double ns = (double)(now() - begin);
            note(&helpers[i], "gets_per_s", (double)options.count / ns * 1e9);
            note(&helpers[i], "cpu_us_per_get",
                 (double)(cpu_ns(&helpers[i]) - cpu) / 1e3 / (double)options.count);
        }
    end_all();
}

/*
 * puts
 */

/* Writes the header lines of a put, and the body too when `body` is given (small ones only). */
static size_t format_put(struct helper *helper, char *text, const char action[ID_TEXT],
                         const char output[ID_TEXT], const void *body, uint64_t size) {
    char *out =
        text + sprintf(text,
                       "{\"ID\":%" PRIu64
                       ",\"Command\":\"put\",\"ActionID\":\"%.*s\",\"OutputID\":\"%.*s\"",
                       new_request(helper, (uint32_t)size), ID_TEXT, action, ID_TEXT, output);

    if (size > 0)
        out += sprintf(out, ",\"BodySize\":%" PRIu64, size);
    out = stpcpy(out, "}\n\n");
    if (size > 0 && body) {
        *out++ = '"';
        out += encode_base64(out, body, size);
        out = stpcpy(out, "\"\n");
    }
    return (size_t)(out - text);
}

/* Sends a body as the go command does: encoded on the way, in writes of CLIENT_WRITE bytes. */
static void transmit_body(struct helper *helper, const unsigned char *body, size_t size) {
    char buffer[CLIENT_WRITE];
    size_t used = 0;

    buffer[used++] = '"';
    while (size > 0) {
        // Go's encoder hands on 1,024 characters at a time.
        char text[1024];
        const size_t step = size < 768 ? size : 768, length = encode_base64(text, body, step);
        const size_t first = length < CLIENT_WRITE - used ? length : CLIENT_WRITE - used;
        memcpy(buffer + used, text, first);
        used += first;
        if (used == CLIENT_WRITE) {
            transmit(helper, buffer, used);
            memcpy(buffer, text + first, length - first);
            used = length - first;
        }
        body += step;
        size -= step;
    }
    if (used + 2 > CLIENT_WRITE) {
        transmit(helper, buffer, used);
        used = 0;
    }
    memcpy(buffer + used, "\"\n", 2);
    transmit(helper, buffer, used + 2);
}

static void expect_file(const struct helper *helper, struct slice answer, const void *body,
                        size_t size) {
    char path[4096];

    if (helper->kind != KIND_HELPER)
        return;
    path_in(helper, answer, path);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const off_t length = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
    if (length < 0 || (size_t)length != size)
        die(helper, "'%s' is not there or has a wrong size", path);
    if (size > 0) {
        char stored[ID_TEXT], sent[ID_TEXT];
        void *map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED)
            die(helper, "mmap '%s': %s", path, strerror(errno));
        output_text(stored, map, size);
        output_text(sent, body, size);
        if (memcmp(stored, sent, ID_TEXT) != 0)
            die(helper, "'%s' holds other bytes than were sent", path);
        munmap(map, size);
    }
    close(fd);
}

static void run_fill(void) {
    struct body {
        char output[ID_TEXT];
        unsigned char *data;
    } *bodies = allocate((options.objects + 1) * sizeof(*bodies));
    char request[4096];

    output_text(bodies[0].output, "", 0);
    for (uint64_t object = 1; object <= options.objects; object++) {
        bodies[object].data = allocate(object_size(object));
        fill_with_noise(bodies[object].data, object_size(object), object << 16);
        output_text(bodies[object].output, bodies[object].data, object_size(object));
    }
    for (size_t i = 0; i < helper_count; i++) {
        struct helper *helper = &helpers[i];
        start(helper);
        shake_hands(helper);
        const uint64_t begin = now();
        for (uint64_t sent = 0, answered = 0; answered < helper->entries; answered++) {
            for (; sent < helper->entries && sent < answered + WINDOW; sent++) {
                char action[ID_TEXT];
                const uint64_t object = object_of(sent);
                action_text(action, sent);
                transmit(helper, request,
                         format_put(helper, request, action, bodies[object].output,
                                    bodies[object].data, object_size(object)));
            }
            check_answer(helper, next_answer(helper), false);
        }
        end(helper);
        const double ns = (double)(now() - begin);
        note(helper, "seconds", ns / 1e9);
        note(helper, "puts_per_s", (double)helper->entries / ns * 1e9);
    }
    for (uint64_t object = 1; object <= options.objects; object++)
        free(bodies[object].data);
    free(bodies);
}

static void run_put_small(void) {
    enum { SIZE = 1300 };
    uint64_t *ns = allocate(options.count * sizeof(*ns));
    unsigned char body[SIZE];
    char request[4096], action[ID_TEXT], output[ID_TEXT];

    start_all();
    settle();
    for (uint64_t round = 0; round < options.rounds; round++)
        for (size_t i = 0; i < helper_count; i++) {
            struct helper *helper = &helpers[i];
            const uint64_t cpu = cpu_ns(helper);
            for (size_t put = 0; put < options.count; put++) {
                const uint64_t seed = chance();
                fill_with_noise(body, SIZE, seed);
                action_text(action, seed);
                output_text(output, body, SIZE);
                const size_t size = format_put(helper, request, action, output, body, SIZE);
                const uint64_t begin = now();
                transmit(helper, request, size);
                const struct slice answer = next_answer(helper);
                ns[put] = now() - begin;
                check_answer(helper, answer, false);
                if (put == 0)
                    expect_file(helper, answer, body, SIZE);
            }
            note_latencies(helper, ns, options.count);
            settle(); // the CPU time counts what is done behind the answers, too
            note(helper, "cpu_us_per_put",
                 (double)(cpu_ns(helper) - cpu) / 1e3 / (double)options.count);
        }
    end_all();
    free(ns);
}

/* One large put; returns its answer and how long it took. */
static struct slice put_large(struct helper *helper, unsigned char *body, size_t size,
                              uint64_t *ret_ns) {
    char request[1024], action[ID_TEXT], output[ID_TEXT];
    const uint64_t seed = chance();

    memcpy(body, &seed, sizeof(seed)); // makes it an output that nobody has seen before
    action_text(action, seed);
    output_text(output, body, size);
    const size_t header = format_put(helper, request, action, output, NULL, size);
    const uint64_t begin = now();
    transmit(helper, request, header);
    transmit_body(helper, body, size);
    const struct slice answer = next_answer(helper);
    *ret_ns = now() - begin;
    check_answer(helper, answer, false);
    return answer;
}

static void run_put_large(void) {
    const size_t size = options.megabytes << 20;
    unsigned char *body = allocate(size);
    uint64_t ns;

    fill_with_noise(body, size, 1);
    start_all();
    for (uint64_t round = 0; round < options.rounds; round++)
        for (size_t i = 0; i < helper_count; i++) {
            settle();
            const uint64_t cpu = cpu_ns(&helpers[i]);
            const struct slice answer = put_large(&helpers[i], body, size, &ns);
            note(&helpers[i], "mb_per_s", (double)size / 1e6 / ((double)ns / 1e9));
            note(&helpers[i], "cpu_ms", (double)(cpu_ns(&helpers[i]) - cpu) / 1e6);
            expect_file(&helpers[i], answer, body, size);
        }
    end_all();
    free(body);
}

/*
 * memory
 */

struct watch {
    pid_t pid;
    atomic_bool is_over;
    uint64_t anonymous_kb, file_kb; // the highest seen
};

static void *watch_memory(void *argument) {
    struct watch *watch = argument;
    char path[64], text[8192];

    snprintf(path, sizeof(path), "/proc/%d/status", (int)watch->pid);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && !atomic_load_explicit(&watch->is_over, memory_order_relaxed)) {
        const ssize_t got = pread(fd, text, sizeof(text), 0);
        const char *anonymous = got > 0 ? memmem(text, (size_t)got, "RssAnon:\t", 9) : NULL;
        const char *file = got > 0 ? memmem(text, (size_t)got, "RssFile:\t", 9) : NULL;
        if (anonymous && file) {
            const uint64_t anonymous_kb = strtoull(anonymous + 9, NULL, 10),
                           file_kb = strtoull(file + 9, NULL, 10);
            watch->anonymous_kb =
                anonymous_kb > watch->anonymous_kb ? anonymous_kb : watch->anonymous_kb;
            watch->file_kb = file_kb > watch->file_kb ? file_kb : watch->file_kb;
        }
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    if (fd >= 0)
        close(fd);
    return NULL;
}

static void run_memory(void) {
    const size_t size = options.megabytes << 20;
    unsigned char *body = allocate(size);

    fill_with_noise(body, size, 2);
    for (size_t i = 0; i < helper_count; i++) {
        struct helper *helper = &helpers[i];
        pthread_t thread;
        uint64_t ns;
        start(helper);
        struct watch watch = {.pid = helper->pid};
        if (pthread_create(&thread, NULL, watch_memory, &watch) != 0)
            die(NULL, "cannot start a thread");
        shake_hands(helper);
        expect_file(helper, put_large(helper, body, size, &ns), body, size);
        pipelined_gets(helper, options.count);
        atomic_store_explicit(&watch.is_over, true, memory_order_relaxed);
        pthread_join(thread, NULL);
        if (watch.anonymous_kb == 0)
            die(helper, "its memory cannot be seen");
        note(helper, "rss_anon_mib", (double)watch.anonymous_kb / 1024);
        note(helper, "rss_file_mib", (double)watch.file_kb / 1024);
        end(helper);
    }
    free(body);
}

/*
 * start
 */

static void run_start(void) {
    char request[256];

    for (uint64_t round = 0; round < options.rounds; round++)
        for (size_t i = 0; i < helper_count; i++) {
            struct helper *helper = &helpers[i];
            const uint64_t begin = now();
            start(helper);
            if (helper->kind == KIND_BARE)
                while (receive(helper))
                    ;
            else
                shake_hands(helper);
            const uint64_t shaken = now();
            note(helper, "handshake_us", (double)(shaken - begin) / 1e3);
            if (helper->kind != KIND_BARE && options.first_get && helper->entries > 0) {
                transmit(helper, request, format_get(helper, request));
                const struct slice answer = next_answer(helper);
                note(helper, "first_hit_us", (double)(now() - begin) / 1e3);
                check_answer(helper, answer, true);
            }
            const uint64_t ending = now();
            end(helper);
            note(helper, "end_us", (double)(now() - ending) / 1e3);
        }
}

/*
 * replay
 */

/* Puts what the floor helper has recorded into each helper, so that all of them hold the same warm
 * cache. */
static void run_replay(void) {
    struct table table;

    if (!options.table || table_map(options.table, &table) < 0)
        die(NULL, "replay needs --table=FILE");
    for (size_t i = 0; i < helper_count; i++) {
        struct helper *helper = &helpers[i];
        start(helper);
        shake_hands(helper);
        uint64_t puts = 0;
        for (uint64_t at = 0; at < table.header->slots; at++) {
            const struct table_slot *slot = &table.slots[at];
            char request[1024], path[4096];
            if (slot->length == 0)
                continue;
            const struct slice tail = {table.tails + slot->offset, slot->length};
            const uint64_t size = number_in(tail, "\"Size\":");
            path_in(helper, tail, path);
            transmit(
                helper, request,
                format_put(helper, request, slot->action, tail.data + TABLE_OUTPUT_AT, NULL, size));
            if (size > 0) {
                const int fd = open(path, O_RDONLY | O_CLOEXEC);
                void *body = fd < 0 ? MAP_FAILED : mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
                if (body == MAP_FAILED)
                    die(NULL, "'%s': %s", path, strerror(errno));
                transmit_body(helper, body, size);
                munmap(body, size);
                close(fd);
            }
            check_answer(helper, next_answer(helper), false);
            puts++;
        }
        end(helper);
        note(helper, "puts", (double)puts);
    }
    table_unmap(&table);
}

/*
 * What no helper can beat
 */

static int be_echo(void) {
    char input[1 << 16], answers[(sizeof(input) / ECHO_REQUEST + 1) * ECHO_ANSWER];
    size_t left = 0;

    memset(answers, 'x', sizeof(answers));
    for (;;) {
        const ssize_t got = read(0, input, sizeof(input));
        if (got <= 0)
            return 0;
        left += (size_t)got;
        const size_t size = left / ECHO_REQUEST * ECHO_ANSWER;
        left %= ECHO_REQUEST;
        for (size_t done = 0; done < size;) {
            const ssize_t put = write(1, answers + done, size - done);
            if (put < 0)
                return 1;
            done += (size_t)put;
        }
    }
}

static int be_sink(void) {
    static const char handshake[] = "{\"ID\":0,\"KnownCommands\":[\"put\"]}\n";
    char input[1 << 16], answer[128];
    char last[2] = {0, 0};

    if (write(1, handshake, strlen(handshake)) < 0)
        return 1;
    for (uint64_t id = 1;;) {
        const ssize_t got = read(0, input, sizeof(input));
        if (got <= 0)
            return 0;
        last[0] = got > 1 ? input[got - 2] : last[1];
        last[1] = input[got - 1];
        if (last[0] != '"' || last[1] != '\n') // only a body ends like that
            continue;
        const int size = snprintf(answer, sizeof(answer),
                                  "{\"ID\":%" PRIu64 ",\"DiskPath\":\"/dev/null\"}\n", id++);
        if (write(1, answer, (size_t)size) < 0)
            return 1;
    }
}

/*
 * Command line
 */

static const struct mode {
    const char *name;
    void (*run)(void);
} modes[] = {
    {"start", run_start},         {"fill", run_fill},           {"gets", run_gets},
    {"pipelined", run_pipelined}, {"put-small", run_put_small}, {"put-large", run_put_large},
    {"memory", run_memory},       {"replay", run_replay},
};

static void usage(void) {
    fputs("usage: load start|fill|gets|pipelined|put-small|put-large|memory|replay "
          "[--option=value]...\n"
          "            -- LABEL[:ENTRIES] [NAME=VALUE]... PROGRAM [ARGUMENT]... [-- LABEL ...]...\n"
          "  --rounds=N     turns of each helper\n"
          "  --count=N      requests in a round\n"
          "  --warm-up=N    gets before the first round\n"
          "  --objects=N    how many outputs the population shares\n"
          "  --mib=N        size of a large put\n"
          "  --cpu=N        everything on this one CPU\n"
          "  --helper-cpu=N the helpers on that one (with --cpu)\n"
          "  --first-get    start: ask for one entry after the handshake\n"
          "  --table=FILE   replay: a table of the floor helper\n"
          "  --limit=N      seconds after which this counts as hung\n",
          stderr);
    exit(2);
}

static void set_option(char *word) {
    const struct {
        const char *name;
        uint64_t *value;
    } numbers[] = {
        {"--rounds=", &options.rounds},   {"--count=", &options.count},
        {"--warm-up=", &options.warm_up}, {"--objects=", &options.objects},
        {"--mib=", &options.megabytes},   {"--limit=", &options.seconds},
    };

    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
        if (strncmp(word, numbers[i].name, strlen(numbers[i].name)) == 0) {
            *numbers[i].value = strtoull(word + strlen(numbers[i].name), NULL, 10);
            return;
        }
    if (strncmp(word, "--cpu=", 6) == 0)
        options.cpu = (int)strtol(word + 6, NULL, 10);
    else if (strncmp(word, "--helper-cpu=", 13) == 0)
        options.helper_cpu = (int)strtol(word + 13, NULL, 10);
    else if (strncmp(word, "--table=", 8) == 0)
        options.table = word + 8;
    else if (strcmp(word, "--first-get") == 0)
        options.first_get = true;
    else
        usage();
}

/* The driver's own environment, changed by the helper's settings. */
static char **environment_with(char **settings, size_t count) {
    size_t own = 0;

    while (environ[own])
        own++;
    char **all = allocate((own + count + 1) * sizeof(*all));
    memcpy(all, settings, count * sizeof(*all));
    size_t used = count;
    for (size_t i = 0; i < own; i++) {
        const size_t name = strcspn(environ[i], "=") + 1;
        bool is_set = false;
        for (size_t j = 0; j < count; j++)
            is_set |= strncmp(environ[i], settings[j], name) == 0;
        if (!is_set)
            all[used++] = environ[i];
    }
    return all;
}

static char **own_argv(const char *child) {
    static char self[4096];
    char **argv = allocate(3 * sizeof(*argv));

    if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
        die(NULL, "readlink: %s", strerror(errno));
    argv[0] = self;
    argv[1] = strdup(child);
    return argv;
}

/* Reads one helper's words, up to the next "--" or the end; returns where it stopped. */
static char **parse_helper(char **word, struct helper *helper) {
    char **settings;
    size_t count = 0;

    if (!*word)
        usage();
    helper->label = *word;
    char *colon = strchr(*word, ':');
    if (colon) {
        *colon = '\0';
        helper->entries = strtoull(colon + 1, NULL, 10);
    }
    settings = ++word;
    for (; *word && strchr(*word, '=') && **word != '-' && **word != '/'; word++)
        count++;
    helper->environment = environment_with(settings, count);
    if (!*word)
        usage();
    if (strcmp(*word, "@echo") == 0) {
        helper->kind = KIND_ECHO;
        helper->argv = own_argv("--child=echo");
        return word + 1;
    }
    if (strcmp(*word, "@sink") == 0) {
        helper->kind = KIND_SINK;
        helper->argv = own_argv("--child=sink");
        return word + 1;
    }
    if (strcmp(*word, "@bare") == 0) {
        helper->kind = KIND_BARE;
        word++;
    }
    helper->argv = word;
    while (*word && strcmp(*word, "--") != 0)
        word++;
    return word;
}

static void print_results(const char *mode) {
    printf("{\"mode\":\"%s\",\"helpers\":[", mode);
    for (size_t i = 0; i < helper_count; i++) {
        printf("%s\n{\"label\":\"%s\",\"entries\":%" PRIu64 ",\"misses\":%" PRIu64, i ? "," : "",
               helpers[i].label, helpers[i].entries, helpers[i].misses);
        for (const struct series *s = helpers[i].series;
             s < helpers[i].series + MAX_SERIES && s->name; s++) {
            printf(",\"%s\":[", s->name);
            for (size_t j = 0; j < s->count; j++)
                printf("%s%.4g", j ? "," : "", s->values[j]);
            putchar(']');
        }
        putchar('}');
    }
    puts("\n]}");
}

static void hung(int number) {
    static const char text[] = "load: took longer than --limit\n";

    (void)number;
    (void)!write(2, text, strlen(text));
    _exit(1);
}

int main(int argc, char **argv) {
    const struct mode *mode = modes;

    if (argc == 2 && strcmp(argv[1], "--child=echo") == 0)
        return be_echo();
    if (argc == 2 && strcmp(argv[1], "--child=sink") == 0)
        return be_sink();
    while (argc > 1 && mode < modes + sizeof(modes) / sizeof(*modes) &&
           strcmp(mode->name, argv[1]) != 0)
        mode++;
    if (argc < 2 || mode == modes + sizeof(modes) / sizeof(*modes))
        usage();
    char **word = argv + 2;
    for (; *word && strcmp(*word, "--") != 0; word++)
        set_option(*word);
    while (*word) {
        if (helper_count == MAX_HELPERS)
            die(NULL, "too many helpers");
        *word++ = NULL; // ends the words of the helper before
        word = parse_helper(word, &helpers[helper_count++]);
    }
    if (helper_count == 0 || options.count == 0 || options.objects == 0)
        usage();

    signal(SIGPIPE, SIG_IGN);
    signal(SIGALRM, hung);
    alarm((unsigned)options.seconds);
    if (options.cpu >= 0)
        stay_on(options.cpu);
    if (getrandom(&chance_state, sizeof(chance_state), 0) !=
        sizeof(chance_state)) // no output of an earlier run again
        die(NULL, "no randomness");
    prepare_base64();
    mode->run();
    print_results(mode->name);
    return 0;
}

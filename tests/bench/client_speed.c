// SPDX-License-Identifier: MIT
/*
 * client_speed: measures libtuck, the client library, where a helper costs nothing.
 *
 *     client_speed gets [--option=value]... -- PROGRAM [ARGUMENT]...
 *     client_speed puts [--option=value]...
 *     client_speed memory [--option=value]... -- PROGRAM [ARGUMENT]...
 *
 * gets: keeps --in-flight gets on the way, the next one submitted by the callback of the last, on one thread. The
 * population is that of load (fill a helper with `load fill` first), so that the figure stands beside that of `load
 * pipelined` with the same helper. --threads=N instead: N threads that each wait for their get. --serial: one get at a
 * time.
 * puts: one body of --mib MiB from memory, to a helper that drops it. Beside it, in turns, the same bytes encoded and
 * written to a bare pipe whose reader drops them. Hashing apart: the library is told to trust the output id; a third
 * figure is that of the default, which hashes while it sends.
 * memory: highest RssAnon of this process during puts of --mib MiB from a function and --count gets.
 *
 * One JSON object goes to stdout: for each figure one number per round. It exits with 1 when anything is not as it
 * should be.
 */
#include "protocol/base64.h"
#include "tuck/client.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/wait.h>

static struct {
    uint64_t rounds, count, warm_up, entries, in_flight, threads, mib;
    uint32_t check;
    bool is_serial;
} options = {.rounds = 5,
             .count = 100000,
             .warm_up = 10000,
             .entries = 1,
             .in_flight = 64,
             .mib = 64,
             .check = TUCK_CLIENT_CHECK_DEFAULT};

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...) {
    va_list arguments;
    fputs("client_speed: ", stderr);
    va_start(arguments, format);
    (void)vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static uint64_t now(void) {
    struct timespec time;
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

// --- The population of load ----------------------------------------------------------------------

static uint64_t mix(uint64_t x) { // splitmix64
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static uint64_t chance(void) {
    static uint64_t state;
    return mix(state++);
}

static void fill_with_noise(unsigned char *to, size_t size, uint64_t seed) {
    for (size_t at = 0; at < size; at += 8) {
        uint64_t word = mix(seed + at);
        memcpy(to + at, &word, size - at < 8 ? size - at : 8);
    }
}

static void make_action(unsigned char action[32], uint64_t entry) {
    fill_with_noise(action, 32, mix(entry) ^ 0x616374696f6eu);
}

// --- Figures -------------------------------------------------------------------------------------

static struct figure {
    const char *name;
    double values[1024];
    size_t count;
} figures[8];

static void note(const char *name, double value) {
    struct figure *figure = figures;
    while (figure->name && strcmp(figure->name, name) != 0)
        figure++;
    figure->name = name;
    if (figure->count < TUCK_ARRAY_LEN(figure->values))
        figure->values[figure->count++] = value;
}

static void print_figures(void) {
    const char *before = "{";
    for (struct figure *figure = figures; figure->name; figure++, before = ",\n") {
        printf("%s\"%s\":", before, figure->name);
        for (size_t i = 0; i < figure->count; i++)
            printf("%c%.5g", i ? ',' : '[', figure->values[i]);
        putchar(']');
    }
    puts("}");
}

static struct tuck_client *start(const char *const *argv) {
    struct tuck_client_options settings = TUCK_CLIENT_OPTIONS_INIT;
    struct tuck_client_error error;
    struct tuck_client *client;
    settings.argv = argv;
    settings.check = options.check;
    if (tuck_client_open(&settings, &client, &error) < 0)
        die("%s", error.text);
    return client;
}

static void end(struct tuck_client *client) {
    struct tuck_client_error error = {0};
    int status = tuck_client_close(client, &error);
    if (status != 0)
        die("close: %s %s", tuck_client_status_name(status), error.text);
    tuck_client_free(client);
}

// --- gets ----------------------------------------------------------------------------------------

struct stream {
    struct tuck_client *client;
    uint64_t left;
};

static void submit_get(struct stream *stream);

static void got(void *arg, int status, const struct tuck_client_answer *answer,
                const struct tuck_client_error *error) {
    (void)answer;
    if (status != TUCK_CLIENT_OK)
        die("get: %s %s", tuck_client_status_name(status), error->text);
    submit_get(arg);
}

static void submit_get(struct stream *stream) {
    struct tuck_client_request request = TUCK_CLIENT_REQUEST_INIT;
    unsigned char action[32];
    if (stream->left == 0)
        return;
    stream->left--;
    make_action(action, chance() % options.entries);
    request.command = TUCK_CLIENT_GET;
    request.action = action;
    if (tuck_client_submit(stream->client, &request, got, stream, NULL, NULL) != 0)
        die("a get cannot be submitted");
}

static void pipelined_gets(struct tuck_client *client, uint64_t count) {
    struct stream stream = {client, count};
    for (uint64_t i = 0; i < options.in_flight; i++)
        submit_get(&stream);
    if (tuck_client_wait(client, 60000) != 0)
        die("the gets do not end");
}

struct worker {
    pthread_t thread;
    struct tuck_client *client;
    uint64_t first, count;
};

static void *waiting_gets(void *arg) {
    struct worker *worker = arg;
    for (uint64_t i = 0; i < worker->count; i++) {
        struct tuck_client_answer answer;
        struct tuck_client_error error;
        unsigned char action[32];
        make_action(action, mix(worker->first + i) % options.entries);
        int status = tuck_client_get(worker->client, action, &answer, &error);
        if (status != TUCK_CLIENT_OK)
            die("get: %s %s", tuck_client_status_name(status), error.text);
    }
    return NULL;
}

static void threaded_gets(struct tuck_client *client, uint64_t count) {
    struct worker workers[256];
    for (uint64_t i = 0; i < options.threads; i++) {
        workers[i] = (struct worker){.client = client, .first = i << 32};
        workers[i].count = count / options.threads;
        if (pthread_create(&workers[i].thread, NULL, waiting_gets, &workers[i]) != 0)
            die("cannot start a thread");
    }
    for (uint64_t i = 0; i < options.threads; i++)
        (void)pthread_join(workers[i].thread, NULL);
}

static void some_gets(struct tuck_client *client, uint64_t count) {
    struct worker self = {.client = client, .count = count};
    if (options.is_serial)
        (void)waiting_gets(&self);
    else if (options.threads > 0)
        threaded_gets(client, count);
    else
        pipelined_gets(client, count);
}

static void run_gets(const char *const *argv) {
    struct tuck_client *client = start(argv);
    some_gets(client, options.warm_up);
    for (uint64_t round = 0; round < options.rounds; round++) {
        uint64_t begin = now();
        some_gets(client, options.count);
        note("gets_per_s", (double)options.count / (double)(now() - begin) * 1e9);
    }
    end(client);
}

// --- puts ----------------------------------------------------------------------------------------

static void write_all(int fd, const char *data, size_t len) {
    while (len > 0) {
        ssize_t put = write(fd, data, len);
        if (put < 0 && errno != EINTR)
            die("write: %s", strerror(errno));
        data += put < 0 ? 0 : put;
        len -= put < 0 ? 0 : (size_t)put;
    }
}

// A helper that reads bodies and drops them. A line that begins with { is a request, and only a
// body ends with a quote.
static int be_sink(void) {
    static char input[1 << 16];
    static const char handshake[] = "{\"ID\":0,\"KnownCommands\":[\"put\",\"close\"]}\n";
    char last[2] = {0, 0}, answer[100];
    write_all(1, handshake, strlen(handshake));
    for (uint64_t id = 1;;) {
        ssize_t n = read(0, input, sizeof(input));
        if (n <= 0)
            return 0;
        last[0] = n > 1 ? input[n - 2] : last[1];
        last[1] = input[n - 1];
        // Looking for close in every block would cost what the bare pipe's reader has not to pay.
        bool is_close = n < 100 && memmem(input, (size_t)n, "\"close\"}", 8);
        if (last[0] != '"' && !is_close)
            continue;
        int len = snprintf(answer, sizeof(answer),
                           "{\"ID\":%" PRIu64 ",\"DiskPath\":\"/dev/null\"}\n", id++);
        write_all(1, answer, (size_t)len);
    }
}

// The bare pipe's reader: one byte back for each body.
static int be_drain(void) {
    static char input[1 << 16];
    for (;;) {
        ssize_t n = read(0, input, sizeof(input));
        if (n <= 0)
            return 0;
        if (input[n - 1] == '\n')
            write_all(1, "!", 1);
    }
}

struct pipe_end {
    int to, from;
};

static struct pipe_end start_drain(const char *self) {
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
        die("pipe: %s", strerror(errno));
    pid_t pid = fork();
    if (pid < 0)
        die("fork: %s", strerror(errno));
    if (pid == 0) {
        (void)dup2(in[0], 0);
        (void)dup2(out[1], 1);
        (void)execl(self, self, "--child=drain", (char *)NULL);
        _exit(127);
    }
    (void)close(in[0]);
    (void)close(out[1]);
    return (struct pipe_end){in[1], out[0]};
}

static double mb_per_s(uint64_t bytes, uint64_t ns) {
    return (double)bytes / 1e6 / ((double)ns / 1e9);
}

static double put_bare(struct pipe_end pipe, const uint8_t *body, size_t size) {
    enum { PIECE = 49152 };
    static char text[TUCK_BASE64_CHARS(PIECE)];
    char answer;
    uint64_t begin = now();
    for (size_t at = 0; at < size; at += PIECE) {
        size_t len = size - at < PIECE ? size - at : PIECE;
        tuck_base64_encode(body + at, len, text);
        write_all(pipe.to, text, TUCK_BASE64_CHARS(len));
    }
    write_all(pipe.to, "\n", 1);
    if (read(pipe.from, &answer, 1) != 1)
        die("the bare pipe's reader ended");
    return mb_per_s(size, now() - begin);
}

static double put_by_client(struct tuck_client *client, const uint8_t *body, size_t size,
                            const uint8_t output[32], uint32_t flags) {
    struct tuck_client_request request = TUCK_CLIENT_REQUEST_INIT;
    struct tuck_client_answer answer;
    struct tuck_client_error error;
    request.command = TUCK_CLIENT_PUT;
    request.action = output;
    request.output = output;
    request.body = tuck_client_memory(body, size);
    request.body.flags = flags;
    request.check = TUCK_CLIENT_CHECK_NOTHING;
    uint64_t begin = now();
    int status = tuck_client_call(client, &request, &answer, &error);
    if (status != 0)
        die("put: %s %s", tuck_client_status_name(status), error.text);
    return mb_per_s(size, now() - begin);
}

static void run_puts(const char *self) {
    const char *const argv[] = {self, "--child=sink", NULL};
    size_t size = options.mib << 20;
    uint8_t *body = malloc(size), output[32];
    if (!body)
        die("no memory");
    fill_with_noise(body, size, 1);
    if (!EVP_Digest(body, size, output, NULL, EVP_sha256(), NULL))
        die("no SHA-256");
    struct tuck_client *client = start(argv);
    struct pipe_end pipe = start_drain(self);
    for (uint64_t round = 0; round < options.rounds + 1; round++) {
        double bare = put_bare(pipe, body, size), again = put_bare(pipe, body, size);
        double trusted = put_by_client(client, body, size, output, TUCK_CLIENT_BODY_TRUSTED);
        double hashed = put_by_client(client, body, size, output, 0);
        if (round == 0) // warms up
            continue;
        note("bare_mb_per_s", bare);
        note("again_mb_per_s", again);
        note("client_mb_per_s", trusted);
        note("hashed_mb_per_s", hashed);
    }
    end(client);
    (void)close(pipe.to);
    (void)close(pipe.from);
    while (wait(NULL) < 0 && errno == EINTR)
        ;
    free(body);
}

// --- memory --------------------------------------------------------------------------------------

struct noise {
    uint64_t left, at;
    uint64_t highest_kb;
};

static uint64_t rss_anon_kb(void) {
    char text[8192];
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0)
        (void)close(fd);
    text[n > 0 ? n : 0] = '\0';
    const char *found = strstr(text, "RssAnon:");
    return found ? strtoull(found + 8, NULL, 10) : 0;
}

static int64_t read_noise(void *arg, void *buffer, size_t room) {
    struct noise *noise = arg;
    size_t len = noise->left < room ? (size_t)noise->left : room;
    fill_with_noise(buffer, len, noise->at += 8192);
    noise->left -= len;
    uint64_t kb = rss_anon_kb();
    noise->highest_kb = kb > noise->highest_kb ? kb : noise->highest_kb;
    return (int64_t)len;
}

static void run_memory(const char *const *argv) {
    struct tuck_client *client = start(argv);
    uint64_t size = options.mib << 20;
    struct noise noise = {.left = size};
    struct tuck_client_request request = TUCK_CLIENT_REQUEST_INIT;
    struct tuck_client_answer answer;
    struct tuck_client_error error;
    uint8_t id[32] = {1};
    uint64_t before = rss_anon_kb();
    request.command = TUCK_CLIENT_PUT;
    request.action = request.output = id;
    request.body = tuck_client_source(read_noise, &noise, size);
    request.body.flags = TUCK_CLIENT_BODY_TRUSTED;
    request.check = TUCK_CLIENT_CHECK_NOTHING;
    int status = tuck_client_call(client, &request, &answer, &error);
    if (status != 0 && status != TUCK_CLIENT_REFUSED) // the id is made up
        die("put: %s %s", tuck_client_status_name(status), error.text);
    some_gets(client, options.count);
    uint64_t after = rss_anon_kb();
    note("rss_anon_kb_before", (double)before);
    note("rss_anon_kb_highest", (double)(after > noise.highest_kb ? after : noise.highest_kb));
    end(client);
}

// --- Command line --------------------------------------------------------------------------------

__attribute__((noreturn)) static void usage(void) {
    fputs("usage: client_speed gets|puts|memory [--rounds=N] [--count=N] [--warm-up=N] "
          "[--entries=N]\n"
          "           [--in-flight=N | --threads=N | --serial] [--mib=N] "
          "[--check=nothing|file|bytes]\n"
          "           [-- PROGRAM [ARGUMENT]...]\n",
          stderr);
    exit(2);
}

static void set_option(const char *word) {
    static const struct {
        const char *name;
        uint64_t *value;
    } numbers[] = {{"--rounds=", &options.rounds},
                   {"--count=", &options.count},
                   {"--warm-up=", &options.warm_up},
                   {"--entries=", &options.entries},
                   {"--in-flight=", &options.in_flight},
                   {"--threads=", &options.threads},
                   {"--mib=", &options.mib}};
    static const char *const checks[] = {[TUCK_CLIENT_CHECK_NOTHING] = "--check=nothing",
                                         [TUCK_CLIENT_CHECK_FILE] = "--check=file",
                                         [TUCK_CLIENT_CHECK_BYTES] = "--check=bytes"};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(numbers); i++) {
        size_t len = strlen(numbers[i].name);
        char *end_of;
        if (strncmp(word, numbers[i].name, len) != 0)
            continue;
        *numbers[i].value = strtoull(word + len, &end_of, 10);
        if (end_of == word + len || *end_of)
            usage();
        return;
    }
    for (uint32_t i = 1; i < TUCK_ARRAY_LEN(checks); i++)
        if (strcmp(word, checks[i]) == 0) {
            options.check = i;
            return;
        }
    if (strcmp(word, "--serial") != 0)
        usage();
    options.is_serial = true;
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--child=sink") == 0)
        return be_sink();
    if (argc == 2 && strcmp(argv[1], "--child=drain") == 0)
        return be_drain();
    if (argc < 2)
        usage();
    char **word = argv + 2;
    for (; *word && strcmp(*word, "--") != 0; word++)
        set_option(*word);
    const char *const *program = (const char *const *)(*word ? word + 1 : word);
    if (options.threads > 256 || options.entries == 0)
        usage();
    if (strcmp(argv[1], "puts") == 0)
        run_puts("/proc/self/exe");
    else if (strcmp(argv[1], "gets") == 0 && *program)
        run_gets(program);
    else if (strcmp(argv[1], "memory") == 0 && *program)
        run_memory(program);
    else
        usage();
    print_figures();
    return 0;
}

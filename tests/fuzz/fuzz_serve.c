// SPDX-License-Identifier: MIT
/*
 * A whole helper but for the program around it: tuck_serve() with a cache on disk that is kept from one input to the
 * next. The input is what a client writes. A model, fed by reference.c, knows what every request must be answered
 * with: each once, a get with what was put last under its action, by this helper or an earlier one, a put with a file
 * that has the body.
 */
#include "tests/fuzz/fuzz.h"
#include "lib/base/digest.h"
#include "lib/cache/admin.h"
#include "lib/serve/serve.h"
#include "tests/fuzz/reference.h"

#include <fcntl.h>
#include <jansson.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define PIECES_MAX                                                                                 \
    96U // how many reads an input is spread over: each is one packet in a socket's buffer
#define PACKETS_MAX  65536U  // a longer input comes from a file
#define MODEL_PLACES 4096U   // a power of two; the cache is cleared when half of them are taken
#define LARGE_BYTES  300000U // an object so large that it is hashed on another thread

// --- The model: what the cache must hold ---------------------------------------------------------

static struct {
    bool is_taken;
    struct tuck_action_id action;
    struct tuck_output_id output;
} model[MODEL_PLACES];
static size_t model_count;

static size_t find_place(const struct tuck_action_id *action) {
    uint64_t at = fuzz_hash(action->bytes, TUCK_ID_BYTES);
    while (model[at % MODEL_PLACES].is_taken &&
           !tuck_action_equal(&model[at % MODEL_PLACES].action, action))
        at++;
    return at % MODEL_PLACES;
}

static void note_put(const struct tuck_action_id *action, const struct tuck_output_id *output) {
    size_t place = find_place(action);
    model_count += !model[place].is_taken;
    model[place].is_taken = true;
    model[place].action = *action;
    model[place].output = *output;
}

// --- What must come out --------------------------------------------------------------------------

enum kind { KIND_HIT, KIND_MISS, KIND_PUT, KIND_CLOSE, KIND_ERROR };
static const char *const kind_names[] = {"a hit", "a miss", "a put", "a close", "an error"};

struct expected {
    int64_t id;
    enum kind kind;
    struct tuck_action_id action;
    struct tuck_output_id output;
    bool may_be_late; // a get that may be answered after later puts: any of their outputs will do
    bool is_answered;
};

static struct tuck_action_id large_action = {"the action of the large object"};

static struct expected expect(const struct reference_request *request) {
    struct expected expected = {.id = request->id,
                                .kind = KIND_ERROR,
                                .action = request->action,
                                .output = request->output};
    if (request->is_flawed)
        return expected;
    if (request->command == REFERENCE_CLOSE) {
        expected.kind = KIND_CLOSE;
    } else if (request->command == REFERENCE_GET) {
        size_t place = find_place(&request->action);
        expected.kind = model[place].is_taken ? KIND_HIT : KIND_MISS;
        expected.output = model[place].output;
        expected.may_be_late = tuck_action_equal(&request->action, &large_action);
    } else if (request->is_good) {
        expected.kind = KIND_PUT;
        note_put(&request->action, &request->output);
    }
    return expected;
}

static struct expected *expect_all(const struct reference_stream *stream, size_t *ret_count) {
    struct expected *expected = calloc(stream->count + 1, sizeof(*expected));
    fuzz_check(expected, "no memory");
    *ret_count = 0;
    for (size_t i = 0; i < stream->count; i++)
        if (stream->request[i].is_whole)
            expected[(*ret_count)++] = expect(&stream->request[i]);
    return expected;
}

// --- One conversation ----------------------------------------------------------------------------

static char cache_dir[300], gocache_dir[300];

static void take_event(struct tuck_event_sink *sink, const struct tuck_event *event) {
    (void)sink;
    fuzz_check(false, "event %d about %s: %s", (int)event->kind,
               event->path ? event->path : "nothing", event->error ? event->error->text : "");
}

static int make_file(void) {
    int fd = memfd_create("tuck-fuzz", MFD_CLOEXEC);
    fuzz_check(fd >= 0, "no file in memory");
    return fd;
}

static void write_all(int fd, const uint8_t *data, size_t len) {
    fuzz_check(write(fd, data, len) == (ssize_t)len, "a short write of %zu bytes", len);
}

// A descriptor from which the input is read in pieces, and then its end.
static int make_input(const uint8_t *data, size_t size, uint64_t *random) {
    if (size > PACKETS_MAX || fuzz_random(random) % 8 == 0) {
        int fd = make_file();
        write_all(fd, data, size);
        fuzz_check(lseek(fd, 0, SEEK_SET) == 0, "a file in memory");
        return fd;
    }
    int ends[2];
    fuzz_check(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0,
               "no pair of sockets");
    size_t most = 2 * size / PIECES_MAX + 1 + fuzz_random(random) % 64;
    for (size_t at = 0, pieces = 0; at < size; pieces++) {
        size_t len = pieces + 1 < PIECES_MAX ? 1 + fuzz_random(random) % most : size - at;
        len = len < size - at ? len : size - at;
        write_all(ends[1], data + at, len);
        at += len;
    }
    (void)close(ends[1]);
    return ends[0];
}

static struct fuzz_text read_back(int fd) {
    struct fuzz_text text = {0};
    char block[65536];
    ssize_t len;
    fuzz_check(lseek(fd, 0, SEEK_SET) == 0, "a file in memory");
    while ((len = read(fd, block, sizeof(block))) > 0)
        fuzz_text_add(&text, block, (size_t)len);
    return text;
}

static struct tuck_cache_options options_of(struct tuck_event_sink *sink) {
    static const char *const drives[] = {cache_dir};
    return (struct tuck_cache_options){
        .drives = drives,
        .drive_count = 1,
        .gocache = gocache_dir,
        .bound = {.quota = TUCK_QUOTA_DEFAULT, .low = 80, .high = 90, .keep_s = 86400},
        .sink = sink,
    };
}

static struct fuzz_text converse(const uint8_t *data, size_t size, int expected_status,
                                 const char *why) {
    static struct tuck_event_sink sink = {.emit = take_event};
    static volatile int stop;
    uint64_t random = fuzz_hash(data, size);
    struct tuck_cache_options options = options_of(&sink);
    options.durability = fuzz_random(&random) % 8 ? TUCK_LAZY : TUCK_STRICT;
    struct tuck_cache *cache = NULL;
    struct tuck_error err = {0};
    int in = make_input(data, size, &random), out = make_file();
    int status = tuck_cache_open(&options, &cache, &err);
    fuzz_check(status == 0, "%s", err.text);
    struct tuck_serve_options serve = {
        .in = in, .out = fcntl(out, F_DUPFD_CLOEXEC, 0), .stop = &stop};
    status = tuck_serve(cache, &serve, &err);
    fuzz_check(status == expected_status, "status %d (%s), expected %d (%s)", status, err.text,
               expected_status, why ? why : "");
    fuzz_check(fcntl(serve.out, F_GETFD) < 0, "the output was not closed");
    if (fuzz_random(&random) % 8 == 0)
        tuck_cache_tidy(cache, &stop);
    tuck_cache_close(cache);
    (void)close(in);
    struct fuzz_text answers = read_back(out);
    (void)close(out);
    return answers;
}

// --- Answers -------------------------------------------------------------------------------------

static bool has_hash(const char *path, const struct tuck_output_id *output, json_int_t *ret_size) {
    uint8_t block[65536];
    struct tuck_digest digest;
    struct tuck_output_id found;
    struct stat stat;
    ssize_t len;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return false;
    bool is_file = fstat(fd, &stat) == 0 && S_ISREG(stat.st_mode);
    tuck_digest_init(&digest);
    while ((len = read(fd, block, sizeof(block))) > 0)
        tuck_digest_add(&digest, block, (size_t)len);
    tuck_digest_end(&digest, &found);
    (void)close(fd);
    *ret_size = stat.st_size;
    return is_file && tuck_output_equal(&found, output);
}

static enum kind kind_of(json_t *answer, const char *line) {
    const char *err = json_string_value(json_object_get(answer, "Err"));
    size_t fields = json_object_size(answer);
    if (err) {
        fuzz_check(err[0] && fields == 2, "%s", line);
        return KIND_ERROR;
    }
    if (json_object_get(answer, "Miss")) {
        fuzz_check(json_is_true(json_object_get(answer, "Miss")) && fields == 2, "%s", line);
        return KIND_MISS;
    }
    if (json_object_get(answer, "OutputID")) {
        fuzz_check(fields == 5, "%s", line);
        return KIND_HIT;
    }
    fuzz_check(fields == (json_object_get(answer, "DiskPath") ? 2 : 1), "%s", line);
    return fields == 2 ? KIND_PUT : KIND_CLOSE;
}

static void check_file(json_t *answer, enum kind kind, const struct tuck_output_id *output,
                       const char *line) {
    const char *path = json_string_value(json_object_get(answer, "DiskPath"));
    json_int_t size = -1;
    fuzz_check(path && strncmp(path, gocache_dir, strlen(gocache_dir)) == 0 &&
                   path[strlen(gocache_dir)] == '/',
               "%s", line);
    fuzz_check(has_hash(path, output, &size), "the file is not what it must be: %s", line);
    if (kind != KIND_HIT)
        return;
    const char *time = json_string_value(json_object_get(answer, "Time"));
    struct tm read;
    fuzz_check(json_integer_value(json_object_get(answer, "Size")) == size, "%s", line);
    fuzz_check(time && strlen(time) == 30 && strptime(time, "%Y-%m-%dT%H:%M:%S", &read), "%s",
               line);
}

static bool fits(const struct expected *expected, size_t count, enum kind kind,
                 const struct tuck_output_id *output) {
    if (expected->is_answered || expected->kind != kind)
        return false;
    if (kind != KIND_HIT || tuck_output_equal(&expected->output, output))
        return true;
    for (size_t later = 1; expected->may_be_late && later < count; later++)
        if (expected[later].kind == KIND_PUT &&
            tuck_action_equal(&expected[later].action, &expected->action) &&
            tuck_output_equal(&expected[later].output, output))
            return true;
    return false;
}

static void check_answer(const char *line, size_t len, struct expected *expected, size_t count) {
    json_error_t why;
    json_t *answer = json_loadb(line, len, JSON_REJECT_DUPLICATES, &why);
    fuzz_check(answer && json_is_object(answer), "%s: %s", why.text, line);
    json_t *id = json_object_get(answer, "ID");
    fuzz_check(json_is_integer(id), "no ID: %s", line);
    enum kind kind = kind_of(answer, line);
    struct tuck_output_id output = {0};
    if (kind == KIND_HIT) {
        uint8_t decoded[TUCK_ID_BYTES + 1];
        size_t decoded_len;
        const char *text = json_string_value(json_object_get(answer, "OutputID"));
        fuzz_check(text && strlen(text) == 44 &&
                       reference_base64((const uint8_t *)text, 44, decoded, &decoded_len) &&
                       decoded_len == TUCK_ID_BYTES,
                   "%s", line);
        memcpy(output.bytes, decoded, TUCK_ID_BYTES);
    }
    bool is_asked = false;
    for (size_t i = 0; i < count; i++) {
        if (expected[i].id != json_integer_value(id))
            continue;
        is_asked = true;
        if (!fits(&expected[i], count - i, kind, &output))
            continue;
        expected[i].is_answered = true;
        if (kind == KIND_HIT || kind == KIND_PUT)
            check_file(answer, kind, kind == KIND_HIT ? &output : &expected[i].output, line);
        json_decref(answer);
        return;
    }
    fuzz_check(false, "%s: %s", is_asked ? "not the answer, or one too many" : "nobody asked",
               line);
}

static void check_answers(struct fuzz_text *answers, struct expected *expected, size_t count) {
    fuzz_check(answers->len == 0 || answers->data[answers->len - 1] == '\n',
               "an answer without end");
    fuzz_text_add(answers, "", 1);
    for (size_t at = 0; at + 1 < answers->len;) {
        size_t len = strcspn(answers->data + at, "\n");
        fuzz_check(at + len + 1 < answers->len, "a NUL among the answers");
        answers->data[at + len] = '\0';
        check_answer(answers->data + at, len, expected, count);
        at += len + 1;
    }
    for (size_t i = 0; i < count; i++)
        fuzz_check(expected[i].is_answered, "request %zu of %zu, ID %lld, was not answered with %s",
                   i + 1, count, (long long)expected[i].id, kind_names[expected[i].kind]);
    fuzz_text_fini(answers);
}

// --- The target ----------------------------------------------------------------------------------

static void print_base64(struct fuzz_text *text, const uint8_t *data, size_t len) {
    char *encoded = malloc((len + 2) / 3 * 4 + 1);
    fuzz_check(encoded, "no memory");
    fuzz_text_add(text, encoded, reference_encode(data, len, encoded));
    free(encoded);
}

static char large_action_text[45], large_path[500];

static void run(const uint8_t *data, size_t size) {
    struct reference_stream stream;
    size_t count;
    reference_read(data, size, &stream);
    if (stream.is_open) {
        reference_fini(&stream);
        return;
    }
    struct expected *expected = expect_all(&stream, &count);
    struct fuzz_text answers =
        converse(data, size, stream.how == REFERENCE_BREACH ? TUCK_EPROTO : 0, stream.why);
    check_answers(&answers, expected, count);
    free(expected);
    reference_fini(&stream);
}

// Puts an object of which a part is enough to tell, through the protocol as all else.
static void put_large(void) {
    static uint8_t body[LARGE_BYTES];
    struct fuzz_text text = {0};
    struct tuck_digest digest;
    struct tuck_output_id output;
    char hex[TUCK_ID_HEX];
    tuck_digest_init(&digest);
    tuck_digest_add(&digest, body, sizeof(body));
    tuck_digest_end(&digest, &output);
    fuzz_text_print(&text, "{\"ID\":1,\"Command\":\"put\",\"BodySize\":%zu,\"OutputID\":\"",
                    sizeof(body));
    print_base64(&text, output.bytes, TUCK_ID_BYTES);
    fuzz_text_print(&text, "\",\"ActionID\":\"");
    print_base64(&text, large_action.bytes, TUCK_ID_BYTES);
    memcpy(large_action_text, text.data + text.len - 44, 44);
    fuzz_text_print(&text, "\"}\"");
    print_base64(&text, body, sizeof(body));
    fuzz_text_print(&text, "\"");
    run((const uint8_t *)text.data, text.len);
    fuzz_text_fini(&text);
    tuck_hex(hex, output.bytes, TUCK_ID_BYTES);
    (void)snprintf(large_path, sizeof(large_path), "%s/objects/%.2s/%.62s", cache_dir, hex,
                   hex + 2);
}

static void begin(void) {
    (void)snprintf(cache_dir, sizeof(cache_dir), "%s/cache", fuzz_scratch());
    (void)snprintf(gocache_dir, sizeof(gocache_dir), "%s/gocache", fuzz_scratch());
    fuzz_check(mkdir(gocache_dir, 0700) == 0, "%s cannot be made", gocache_dir);
    put_large();
}

static void begin_anew(void) {
    struct tuck_removed cleared;
    struct tuck_cache *cache = NULL;
    struct tuck_cache_options options = options_of(NULL);
    struct tuck_error err = {0};
    fuzz_check(tuck_cache_open(&options, &cache, &err) == 0, "%s", err.text);
    fuzz_check(tuck_cache_clear(cache, &cleared, &err) == 0, "%s", err.text);
    tuck_cache_end(cache);
    tuck_cache_close(cache);
    fuzz_check(cleared.kept == 0 && cleared.objects > 0, "%llu objects removed, %llu kept",
               (unsigned long long)cleared.objects, (unsigned long long)cleared.kept);
    memset(model, 0, sizeof(model));
    model_count = 0;
    put_large();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!large_path[0])
        begin();
    if (2 * model_count > MODEL_PLACES)
        begin_anew();
    // As if a backup had touched it: it must be looked at again before it is handed out.
    if (memmem(data, size, large_action_text, 44))
        fuzz_check(chmod(large_path, fuzz_hash(data, size) % 2 ? 0444 : 0400) == 0,
                   "the large object is gone");
    run(data, size);
    return 0;
}

// SPDX-License-Identifier: MIT
/*
 * What a client writes: byte for byte what go commands wrote, bodies from everywhere, and bodies that break, after
 * which no helper may be able to store anything.
 */
#include "tests/client/world.h"

#include "lib/base/digest.h"
#include "lib/base/io.h"
#include "protocol/base64.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>

static struct tuck_output_id hash_of(const void *data, size_t len) {
    struct tuck_digest digest;
    struct tuck_output_id id;
    tuck_digest_init(&digest);
    tuck_digest_add(&digest, data, len);
    tuck_digest_end(&digest, &id);
    return id;
}

static int put(struct tuck_client *client, struct tuck_client_body body, const uint8_t *output,
               struct tuck_client_answer *ret_answer, struct tuck_client_error *error) {
    struct tuck_client_request request = TUCK_CLIENT_REQUEST_INIT;
    struct tuck_action_id action = unit_action(1);
    request.command = TUCK_CLIENT_PUT;
    request.action = action.bytes;
    request.output = output;
    request.body = body;
    return tuck_client_call(client, &request, ret_answer, error);
}

// --- Recorded go commands ------------------------------------------------------------------------

/** What a go command wrote in one run, with its requests numbered anew in the order in which they were written: a go
 * command numbers them before it has the right to write. */
struct session {
    char *bytes;
    size_t len, room;
    int64_t last_id;
    bool has_close;
};

static void add_bytes(struct session *session, const char *text, size_t len) {
    if (session->len + len > session->room) {
        session->room = 2 * (session->len + len);
        session->bytes = realloc(session->bytes, session->room);
        assert_non_null(session->bytes);
    }
    memcpy(session->bytes + session->len, text, len);
    session->len += len;
}

static void add_line(struct session *session, const char *line) {
    if (strncmp(line, "{\"ID\":", 6) == 0) {
        char id[40];
        add_bytes(session, id,
                  (size_t)snprintf(id, sizeof(id), "{\"ID\":%lld", (long long)++session->last_id));
        line += 6 + strspn(line + 6, "0123456789");
        session->has_close |= strstr(line, "\"Command\":\"close\"") != NULL;
    }
    add_bytes(session, line, strlen(line));
    add_bytes(session, "\n", 1);
}

static bool read_id(const char *line, const char *name, uint8_t ret_id[TUCK_ID_BYTES]) {
    const char *at = strstr(line, name);
    return at && tuck_base64_id(at + strlen(name), TUCK_BASE64_ID_CHARS, ret_id);
}

// Sends the requests of a session again, as they are in its bytes.
static void send_again(struct tuck_client *client, const struct session *session) {
    const char *at = session->bytes, *end = at + session->len;
    while (at < end) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        TUCK_CLEANUP(tuck_free) char *line = strndup(at, (size_t)(line_end - at));
        struct tuck_client_request request = TUCK_CLIENT_REQUEST_INIT;
        struct tuck_client_answer answer;
        struct tuck_client_error error;
        uint8_t action[TUCK_ID_BYTES], output[TUCK_ID_BYTES], *body = NULL;
        at = line_end + 2; // and the empty line
        if (strstr(line, "\"Command\":\"close\""))
            return;
        assert_true(read_id(line, "\"ActionID\":\"", action));
        request.command = TUCK_CLIENT_GET;
        request.action = action;
        const char *size = strstr(line, "\"BodySize\":");
        if (strstr(line, "\"Command\":\"put\"")) {
            assert_true(read_id(line, "\"OutputID\":\"", output) ||
                        read_id(line, "\"ObjectID\":\"", output));
            request.command = TUCK_CLIENT_PUT;
        }
        if (size) {
            struct tuck_base64 decoder;
            size_t len;
            line_end = memchr(at, '\n', (size_t)(end - at));
            body = malloc(TUCK_BASE64_ROOM((size_t)(line_end - at)));
            assert_non_null(body);
            tuck_base64_init(&decoder);
            assert_int_equal(
                tuck_base64_add(&decoder, at + 1, (size_t)(line_end - at) - 2, body, &len), 0);
            assert_int_equal(len, strtoull(size + 11, NULL, 10));
            request.body = tuck_client_memory(body, len);
            at = line_end + 1;
        }
        int status = tuck_client_call(client, &request, &answer, &error);
        assert_true(status == TUCK_CLIENT_OK || status == TUCK_CLIENT_MISS);
        if (request.command == TUCK_CLIENT_PUT) // computed as the go command computes it
            assert_memory_equal(answer.output, output, TUCK_ID_BYTES);
        free(body);
    }
}

static void compare(struct session *session, uint32_t names) {
    struct tuck_client_options options =
        world_options(session->has_close ? BAD("record", "hello", "serve")
                                         : BAD("record", "hello:get,put", "serve"));
    if (session->len == 0)
        return;
    (void)unlink(unit_path(world_dir(), "notes"));
    options.names = names;
    struct tuck_client *client = world_open(&options);
    send_again(client, session);
    world_close(client, TUCK_CLIENT_OK);
    const char *written = world_notes();
    assert_int_equal(strlen(written), session->len);
    assert_memory_equal(written, session->bytes, session->len);
}

static void play(const char *path, uint32_t names) {
    struct session session = {0};
    char *line = NULL;
    size_t room = 0, sessions = 0;
    ssize_t len;
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while ((len = getline(&line, &room, file)) > 0) {
        line[len - 1] = '\0';
        if (line[0] == '=') {
            compare(&session, names);
            sessions++;
            session.len = 0;
            session.last_id = 0;
            session.has_close = false;
        } else if (line[0] == '>') {
            add_line(&session, line[1] ? line + 2 : "");
        }
    }
    compare(&session, names);
    assert_true(sessions >= 3);
    free(line);
    free(session.bytes);
    (void)fclose(file);
}

static void the_bytes_are_those_that_go_commands_wrote(void **state) {
    (void)state;
    play(TRANSCRIPTS "/go1.26.txt", TUCK_CLIENT_OUTPUT_ID);
    play(TRANSCRIPTS "/go1.24.txt", TUCK_CLIENT_OUTPUT_ID);
    play(TRANSCRIPTS "/go1.21.txt", TUCK_CLIENT_OBJECT_ID);
}

// Everything that a client writes for these requests, with one helper that records it.
static const char *written_for(uint32_t mode, uint32_t names) {
    struct tuck_client_options options = world_options(BAD("record", "hello", "serve"));
    options.mode = mode;
    options.names = names;
    (void)unlink(unit_path(world_dir(), "notes"));
    struct tuck_client *client = world_open(&options);
    world_get(client, TUCK_CLIENT_MISS, NULL);
    world_put(client, TUCK_CLIENT_OK, NULL);
    world_close(client, TUCK_CLIENT_OK);
    return world_notes();
}

static void each_form_of_a_request_has_its_bytes(void **state) {
    (void)state;
    char action[45] = "", expected[2000];
    struct tuck_action_id id = unit_action(1);
    tuck_base64_write_id(id.bytes, action);
    action[44] = '\0';
#define OUTPUT "\"LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=\""
#define GET    "{\"ID\":1,\"Command\":\"get\",\"ActionID\":\"%s\"}\n"
#define PUT    "{\"ID\":2,\"Command\":\"put\",\"ActionID\":\"%s\","
#define CLOSE  "{\"ID\":3,\"Command\":\"close\"}\n"
    (void)snprintf(expected, sizeof(expected),
                   GET "\n" PUT "\"OutputID\":" OUTPUT ",\"BodySize\":5}\n\n\"aGVsbG8=\"\n" CLOSE
                       "\n",
                   action, action);
    assert_string_equal(written_for(TUCK_CLIENT_GO, TUCK_CLIENT_OUTPUT_ID), expected);
    (void)snprintf(expected, sizeof(expected),
                   GET "\n" PUT "\"ObjectID\":" OUTPUT ",\"BodySize\":5}\n\n\"aGVsbG8=\"\n" CLOSE
                       "\n",
                   action, action);
    assert_string_equal(written_for(TUCK_CLIENT_GO, TUCK_CLIENT_OBJECT_ID), expected);
    (void)snprintf(expected, sizeof(expected),
                   GET "\n" PUT "\"OutputID\":" OUTPUT ",\"BodySize\":5,\"ObjectID\":" OUTPUT
                       "}\n\n\"aGVsbG8=\"\n" CLOSE "\n",
                   action, action);
    assert_string_equal(written_for(TUCK_CLIENT_GO, TUCK_CLIENT_BOTH_IDS), expected);
    (void)snprintf(expected, sizeof(expected),
                   GET PUT "\"OutputID\":" OUTPUT ",\"BodySize\":5}\n\"aGVsbG8=\"\n" CLOSE, action,
                   action);
    assert_string_equal(written_for(TUCK_CLIENT_STRICT, TUCK_CLIENT_OUTPUT_ID), expected);
}

// --- Bodies --------------------------------------------------------------------------------------

static int64_t read_nothing(void *arg, void *buffer, size_t room) {
    (void)arg, (void)buffer, (void)room;
    return 0;
}

static void an_empty_body_has_neither_size_nor_line(void **state) {
    (void)state;
    struct tuck_client_answer answer;
    struct tuck_client_error error;
    struct tuck_output_id empty = hash_of("", 0);
    int fd = world_open_file("empty", 0);
    const struct tuck_client_body bodies[] = {{0},
                                              tuck_client_memory(NULL, 0),
                                              tuck_client_file(fd),
                                              tuck_client_source(read_nothing, NULL, 0)};
    struct tuck_client *client = world_open_bad(BAD("record", "hello", "serve"));
    for (size_t i = 0; i < TUCK_ARRAY_LEN(bodies); i++) {
        int status = put(client, bodies[i], i == 3 ? empty.bytes : NULL, &answer, &error);
        world_expect(status, TUCK_CLIENT_OK, &error, NULL);
        assert_int_equal(answer.size, 0);
        assert_memory_equal(answer.output, empty.bytes, TUCK_ID_BYTES);
    }
    world_close(client, TUCK_CLIENT_OK);
    assert_null(strstr(world_notes(), "BodySize"));
    assert_null(strstr(world_notes(), "\n\""));
    (void)close(fd);
}

struct stream {
    const uint8_t *data;
    size_t len, at;
    size_t step;    // at most so many bytes at a time
    size_t fail_at; // where it fails; SIZE_MAX for nowhere
};

static int64_t read_stream(void *arg, void *buffer, size_t room) {
    struct stream *stream = arg;
    if (stream->at >= stream->fail_at)
        return -1;
    size_t len = stream->len - stream->at;
    len = len < room ? len : room;
    len = len < stream->step ? len : stream->step;
    memcpy(buffer, stream->data + stream->at, len);
    stream->at += len;
    return (int64_t)len;
}

static void bodies_of_every_length_come_back_from_every_source(void **state) {
    (void)state;
    static const size_t lengths[] = {1,     2,     3,     4,     1000,  49150,  49151,
                                     49152, 49153, 49154, 65536, 98304, 100001, 3000000};
    struct tuck_client *client = world_open_bad(BAD("hello", "serve"));
    for (size_t i = 0; i < TUCK_ARRAY_LEN(lengths); i++) {
        size_t len = lengths[i], got_len;
        char name[40];
        (void)snprintf(name, sizeof(name), "body-%zu", i);
        int fd = world_open_file(name, len);
        uint8_t *body = unit_read_file(unit_path(world_dir(), name), &got_len);
        struct tuck_output_id id = hash_of(body, len);
        struct stream stream = {body, len, 0, 777, SIZE_MAX};
        const struct tuck_client_body bodies[] = {tuck_client_memory(body, len),
                                                  tuck_client_file(fd),
                                                  tuck_client_source(read_stream, &stream, len)};
        assert_int_equal(lseek(fd, 1, SEEK_SET), 1); // the offset is the host's
        for (size_t j = 0; j < TUCK_ARRAY_LEN(bodies); j++)
            for (int has_id = j == 2; has_id < 2; has_id++) {
                struct tuck_client_answer answer;
                struct tuck_client_error error;
                int status = put(client, bodies[j], has_id ? id.bytes : NULL, &answer, &error);
                world_expect(status, TUCK_CLIENT_OK, &error, NULL);
                assert_memory_equal(answer.output, id.bytes, TUCK_ID_BYTES);
                assert_int_equal(answer.size, len);
                uint8_t *stored = unit_read_file(answer.path, &got_len);
                assert_int_equal(got_len, len);
                assert_memory_equal(stored, body, len);
                free(stored);
                (void)unlink(answer.path);
            }
        assert_int_equal(lseek(fd, 0, SEEK_CUR), 1);
        (void)close(fd);
        free(body);
    }
    world_close(client, TUCK_CLIENT_OK);
}

static void bodies_that_cannot_be_meant_are_refused_before_anything_is_sent(void **state) {
    (void)state;
    struct tuck_client_answer answer;
    struct tuck_client_error error;
    struct tuck_output_id id = hash_of("x", 1);
    int ends[2], closed = -1;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    struct tuck_client *client = world_open_bad(BAD("hello", "serve"));
    struct stream stream = {(const uint8_t *)"x", 1, 0, 1, SIZE_MAX};
    struct tuck_client_body body = tuck_client_file(ends[0]);
    world_expect(put(client, body, NULL, &answer, &error), TUCK_CLIENT_USAGE, &error,
                 "regular file");
    body = tuck_client_file(closed);
    world_expect(put(client, body, NULL, &answer, &error), TUCK_CLIENT_BAD_BODY, &error, NULL);
    assert_int_equal(error.os, EBADF);
    body = tuck_client_source(read_stream, &stream, 1);
    world_expect(put(client, body, NULL, &answer, &error), TUCK_CLIENT_USAGE, &error, "output id");
    body = tuck_client_source(NULL, NULL, 1);
    world_expect(put(client, body, id.bytes, &answer, &error), TUCK_CLIENT_USAGE, &error,
                 "no function");
    body = tuck_client_memory(NULL, 1);
    world_expect(put(client, body, NULL, &answer, &error), TUCK_CLIENT_USAGE, &error, "no address");
    body.kind = 77;
    world_expect(put(client, body, NULL, &answer, &error), TUCK_CLIENT_USAGE, &error,
                 "unknown kind");
    int fd = world_open_file("file", 10);
    body = tuck_client_file(fd);
    body.size = 11;
    world_expect(put(client, body, NULL, &answer, &error), TUCK_CLIENT_BAD_BODY, &error,
                 "another size");
    (void)close(fd);
    fd = open(unit_path(world_dir(), "file"), O_WRONLY | O_CLOEXEC); // cannot be read
    world_expect(put(client, tuck_client_file(fd), NULL, &answer, &error), TUCK_CLIENT_BAD_BODY,
                 &error, NULL);
    world_expect(put(client, tuck_client_file(fd), id.bytes, &answer, &error), TUCK_CLIENT_BAD_BODY,
                 &error, NULL);
    (void)close(fd);
    (void)close(ends[0]);
    (void)close(ends[1]);
    world_put(client, TUCK_CLIENT_OK, NULL); // the connection is as before
    world_close(client, TUCK_CLIENT_OK);
}

// --- Broken bodies -------------------------------------------------------------------------------

static int count_stored(void) {
    return unit_count_names(world_dir()) - (access(unit_path(world_dir(), "notes"), F_OK) == 0);
}

static void a_small_body_that_breaks_costs_only_its_own_request(void **state) {
    (void)state;
    uint8_t data[1000];
    struct unit_random random = unit_random_of(__func__);
    unit_random_fill(&random, data, sizeof(data));
    struct tuck_output_id id = hash_of(data, sizeof(data)), other = hash_of("x", 1);
    const struct {
        struct stream stream;
        uint64_t size;
        const uint8_t *output;
        const char *named;
    } rows[] = {
        {{data, 999, 0, 100, SIZE_MAX}, 1000, id.bytes, "too short"},
        {{data, 0, 0, 100, SIZE_MAX}, 1000, id.bytes, "too short"},
        {{data, 1000, 0, 100, SIZE_MAX}, 999, id.bytes, "too long"},
        {{data, 1000, 0, 100, 500}, 1000, id.bytes, "source failed"},
        {{data, 1000, 0, 100, 0}, 1000, id.bytes, "source failed"},
        {{data, 1000, 0, 100, 1000}, 1000, id.bytes, "source failed"}, // at its very end
        {{data, 1000, 0, 100, SIZE_MAX}, 1000, other.bytes, "another SHA-256"},
        {{data, 1000, 0, 100, SIZE_MAX}, 0, id.bytes, "too long"},
    };
    struct tuck_client *client = world_open_bad(BAD("hello", "serve"));
    for (size_t i = 0; i < TUCK_ARRAY_LEN(rows); i++) {
        struct tuck_client_answer answer;
        struct tuck_client_error error;
        struct stream stream = rows[i].stream;
        int status = put(client, tuck_client_source(read_stream, &stream, rows[i].size),
                         rows[i].output, &answer, &error);
        world_expect(status, TUCK_CLIENT_BAD_BODY, &error, rows[i].named);
    }
    struct tuck_client_answer answer;
    struct tuck_client_error error;
    int status = put(client, tuck_client_memory(data, 1000), other.bytes, &answer, &error);
    world_expect(status, TUCK_CLIENT_BAD_BODY, &error, "another SHA-256");
    assert_int_equal(count_stored(), 0);
    world_put(client, TUCK_CLIENT_OK, NULL);
    world_close(client, TUCK_CLIENT_OK);
}

static void a_large_body_that_breaks_ends_the_connection_and_is_not_stored(void **state) {
    (void)state;
    enum { SIZE = 300000 };
    static uint8_t data[SIZE + 1];
    struct unit_random random = unit_random_of(__func__);
    unit_random_fill(&random, data, sizeof(data));
    struct tuck_output_id id = hash_of(data, SIZE), other = hash_of("x", 1);
    const struct {
        struct stream stream;
        const uint8_t *output;
        const char *named;
    } rows[] = {
        {{data, SIZE - 1, 0, SIZE_MAX, SIZE_MAX}, id.bytes, "too short"},
        {{data, SIZE + 1, 0, SIZE_MAX, SIZE_MAX}, id.bytes, "too long"},
        {{data, SIZE, 0, SIZE_MAX, 200000}, id.bytes, "source failed"},
        {{data, SIZE, 0, SIZE_MAX, SIZE}, id.bytes, "source failed"},
        {{data, SIZE, 0, SIZE_MAX, SIZE_MAX}, other.bytes, "another SHA-256"},
    };
    for (size_t i = 0; i < TUCK_ARRAY_LEN(rows); i++) {
        struct stream stream = rows[i].stream;
        struct tuck_client_request request = TUCK_CLIENT_REQUEST_INIT;
        struct world_outcome before, broken = {0}, after;
        struct tuck_action_id action = unit_action(2);
        struct tuck_client_end end;
        struct tuck_client_error error;
        // The helper answers nothing before it has read all: so the get before is outstanding, too.
        struct tuck_client *client =
            world_open_bad(BAD("catch:15:terminated", "hello", "read", "serve", "note:served"));
        world_submit_get(client, 1, 0, &before);
        request.command = TUCK_CLIENT_PUT;
        request.action = action.bytes;
        request.output = rows[i].output;
        request.body = tuck_client_source(read_stream, &stream, SIZE);
        assert_int_equal(tuck_client_submit(client, &request, world_done, &broken, NULL, &error),
                         0);
        world_submit_get(client, 3, 0, &after);
        assert_int_equal(tuck_client_wait(client, 60000), TUCK_CLIENT_OK);
        world_expect(broken.status, TUCK_CLIENT_BAD_BODY, &broken.error, rows[i].named);
        world_expect(before.status, TUCK_CLIENT_BROKEN_OFF, &before.error, "request 2 broke off");
        world_expect(after.status, TUCK_CLIENT_BROKEN_OFF, &after.error, rows[i].named);
        world_get(client, TUCK_CLIENT_BROKEN_OFF, "request 2");
        int status = tuck_client_close(client, &error);
        world_expect(status, TUCK_CLIENT_BROKEN_OFF, &error, NULL);
        tuck_client_end(client, &end);
        tuck_client_free(client);
        // It saw the end in mid-body (7), or the SIGTERM that came with it; it never got so far as
        // to judge the body.
        assert_true(end.how == TUCK_CLIENT_END_EXIT && (end.status == 7 || end.status == 0));
        assert_null(strstr(world_notes(), "served"));
        for (size_t j = 0; j < 2; j++) {
            char name[46] = "";
            tuck_base64_write_id(j ? other.bytes : id.bytes, name);
            name[43] = '\0';
            for (char *c = name; *c; c++)
                *c = (char)(*c == '/' ? '-' : *c == '+' ? '_' : *c);
            assert_int_equal(access(unit_path(world_dir(), name), F_OK), -1);
        }
    }
}

// Changes a file while its body is on the way: the helper waits with reading until that has
// happened.
static void change_while_it_is_sent(void (*change)(int fd), const char *named) {
    struct world_outcome outcome;
    struct tuck_client_error error;
    int fd = world_open_file("changing", 2000000);
    (void)unlink(unit_path(world_dir(), "go"));
    struct tuck_client *client = world_open_bad(BAD("hello", "wait:go", "serve"));
    world_submit_put(client, 1, tuck_client_file(fd), &outcome);
    for (int i = 0; i < 20; i++) // until the pipe is full
        assert_int_equal(tuck_client_dispatch(client, &error), 0);
    change(fd);
    (void)world_file("go", "");
    assert_int_equal(tuck_client_wait(client, 60000), TUCK_CLIENT_OK);
    world_expect(outcome.status, TUCK_CLIENT_BAD_BODY, &outcome.error, named);
    world_get(client, TUCK_CLIENT_BROKEN_OFF, NULL);
    world_close(client, TUCK_CLIENT_BROKEN_OFF);
    (void)close(fd);
}

static void shrink(int fd) {
    assert_int_equal(ftruncate(fd, 1999999), 0);
}

static void shrink_much(int fd) {
    assert_int_equal(ftruncate(fd, 10), 0);
}

static void grow(int fd) {
    assert_int_equal(pwrite(fd, "x", 1, 2000000), 1);
}

static void overwrite(int fd) {
    assert_int_equal(pwrite(fd, "xxxx", 4, 1999000), 4);
}

// As if by a mapping, which need not move any time.
static void overwrite_and_hide_it(int fd) {
    struct stat before;
    assert_int_equal(fstat(fd, &before), 0);
    overwrite(fd);
    const struct timespec times[] = {before.st_atim, before.st_mtim};
    assert_int_equal(futimens(fd, times), 0);
}

static void a_file_that_changes_while_it_is_sent_is_not_stored(void **state) {
    (void)state;
    change_while_it_is_sent(shrink, NULL);
    change_while_it_is_sent(shrink_much, "shrank");
    change_while_it_is_sent(grow, "changed");
    change_while_it_is_sent(overwrite, NULL);
    change_while_it_is_sent(overwrite_and_hide_it, NULL);
}

static void a_trusted_body_is_not_hashed_again(void **state) {
    (void)state;
    struct tuck_client_answer answer;
    struct tuck_client_error error;
    struct tuck_output_id other = hash_of("x", 1);
    struct tuck_client_body body = tuck_client_memory("hello", 5);
    body.flags = TUCK_CLIENT_BODY_TRUSTED;
    struct tuck_client *client = world_open_bad(BAD("hello", "serve"));
    int status =
        put(client, body, other.bytes, &answer, &error); // this helper does not hash either
    world_expect(status, TUCK_CLIENT_OK, &error, NULL);
    world_close(client, TUCK_CLIENT_OK);
}

// --- Both directions at once ---------------------------------------------------------------------

static void an_answer_that_comes_before_its_body_is_written_waits_for_it(void **state) {
    (void)state;
    static const struct {
        const char *answer;
        int status;
    } rows[] = {{"say:{\"ID\":1,\"Err\":\"no space\"}", TUCK_CLIENT_REFUSED},
                {"say:{\"ID\":1,\"DiskPath\":\"/dev/null\"}", TUCK_CLIENT_BAD_FILE}};
    int fd = world_open_file("body", 8 << 20);
    for (size_t i = 0; i < TUCK_ARRAY_LEN(rows); i++) {
        struct tuck_client_answer answer;
        struct tuck_client_error error;
        struct tuck_client *client =
            world_open_bad(BAD("hello", "part:1000", rows[i].answer, "line", "serve"));
        int status = put(client, tuck_client_file(fd), NULL, &answer, &error);
        world_expect(status, rows[i].status, &error, NULL);
        world_put(client, TUCK_CLIENT_OK, NULL); // in step
        world_close(client, TUCK_CLIENT_OK);
        client = world_open_bad(
            BAD("hello", "part:1000", rows[i].answer, rows[i].answer, "line", "serve"));
        status = put(client, tuck_client_file(fd), NULL, &answer, &error);
        world_expect(status, TUCK_CLIENT_ANSWERED_TWICE, &error, NULL);
        world_close(client, TUCK_CLIENT_ANSWERED_TWICE);
    }
    (void)close(fd);
}

static void a_helper_that_writes_much_before_it_reads_does_not_block_the_client(void **state) {
    (void)state;
    struct tuck_client_answer answer;
    struct tuck_client_error error;
    int fd = world_open_file("body", 8 << 20);
    struct tuck_client *client =
        world_open_bad(BAD("hello", "part:10", "repeat:20000000: ", "line", "line", "line",
                           "say:{\"ID\":1,\"Err\":\"no\"}", "serve"));
    int status = put(client, tuck_client_file(fd), NULL, &answer, &error);
    world_expect(status, TUCK_CLIENT_REFUSED, &error, NULL);
    world_put(client, TUCK_CLIENT_OK, NULL);
    world_close(client, TUCK_CLIENT_OK);
    (void)close(fd);
}

static void a_helper_that_closes_its_stdin_is_an_error_and_never_a_sigpipe(void **state) {
    (void)state;
    struct tuck_client_answer answer;
    struct tuck_client_error error;
    struct sigaction how;
    sigset_t waiting, pipe_only, before;
    assert_int_equal(sigaction(SIGPIPE, NULL, &how), 0);
    assert_true(how.sa_handler == SIG_DFL); // would kill this program
    int fd = world_open_file("body", 8 << 20);
    struct tuck_client *client = world_open_bad(BAD("close:0", "hello", "pause"));
    world_get(client, TUCK_CLIENT_STDIN_ENDED, NULL);
    world_put(client, TUCK_CLIENT_STDIN_ENDED, NULL);
    world_close(client, TUCK_CLIENT_STDIN_ENDED);
    client = world_open_bad(BAD("hello", "part:100000", "close:0", "pause"));
    int status = put(client, tuck_client_file(fd), NULL, &answer, &error);
    world_expect(status, TUCK_CLIENT_STDIN_ENDED, &error, NULL);
    world_close(client, TUCK_CLIENT_STDIN_ENDED);
    client = world_open_bad(BAD("hello", "part:100000", "close:0", "exit:3"));
    status = put(client, tuck_client_file(fd), NULL, &answer, &error);
    world_expect(status, TUCK_CLIENT_EXITED, &error, "status 3");
    world_close(client, TUCK_CLIENT_EXITED);
    // A SIGPIPE that was waiting already is the host's.
    (void)sigemptyset(&pipe_only);
    (void)sigaddset(&pipe_only, SIGPIPE);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, &pipe_only, &before), 0);
    assert_int_equal(pthread_kill(pthread_self(), SIGPIPE), 0);
    client = world_open_bad(BAD("close:0", "hello", "pause"));
    world_get(client, TUCK_CLIENT_STDIN_ENDED, NULL);
    assert_int_equal(sigpending(&waiting), 0);
    assert_int_equal(sigismember(&waiting, SIGPIPE), 1);
    static const struct timespec at_once = {0, 0};
    assert_int_equal(sigtimedwait(&pipe_only, NULL, &at_once), SIGPIPE);
    world_get(client, TUCK_CLIENT_STDIN_ENDED, NULL);
    world_close(client, TUCK_CLIENT_STDIN_ENDED);
    client = world_open_bad(BAD("close:0", "hello", "pause"));
    world_get(client, TUCK_CLIENT_STDIN_ENDED, NULL);
    assert_int_equal(sigpending(&waiting), 0);
    assert_int_equal(sigismember(&waiting, SIGPIPE), 0); // ours was taken away
    world_close(client, TUCK_CLIENT_STDIN_ENDED);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, &before, NULL), 0);
    assert_int_equal(sigaction(SIGPIPE, NULL, &how), 0);
    assert_true(how.sa_handler == SIG_DFL);
    (void)close(fd);
}

// --- Large ones ----------------------------------------------------------------------------------

static int64_t read_zeros(void *arg, void *buffer, size_t room) {
    uint64_t *left = arg;
    size_t len = *left < room ? (size_t)*left : room;
    memset(buffer, 0, len);
    *left -= len;
    return (int64_t)len;
}

static void a_body_of_70_mib_takes_no_memory(void **state) {
    (void)state;
    struct tuck_client_request request = TUCK_CLIENT_REQUEST_INIT;
    struct tuck_client_answer answer;
    struct tuck_client_error error;
    struct tuck_action_id action = unit_action(1);
    struct tuck_output_id output = unit_output(1);
    uint64_t size = UINT64_C(70) << 20, left = size;
    struct tuck_client *client =
        world_open_bad(BAD("hello", "read", "say:{\"ID\":$i,\"Err\":\"seen\"}", "serve"));
    size_t before = unit_allocated_bytes();
    request.command = TUCK_CLIENT_PUT;
    request.action = action.bytes;
    request.output = output.bytes;
    request.body = tuck_client_source(read_zeros, &left, size);
    request.body.flags = TUCK_CLIENT_BODY_TRUSTED;
    request.timeout_ms = 300000;
    int status = tuck_client_call(client, &request, &answer, &error);
    world_expect(status, TUCK_CLIENT_REFUSED, &error, "seen");
    assert_int_equal(left, 0);
    assert_true(unit_allocated_bytes() <= before + 65536);
    world_close(client, TUCK_CLIENT_OK);
}

static void a_size_above_4_gib_is_announced_exactly(void **state) {
    (void)state;
    struct tuck_client_request request = TUCK_CLIENT_REQUEST_INIT;
    struct tuck_client_answer answer;
    struct tuck_client_error error;
    struct tuck_action_id action = unit_action(1);
    struct tuck_output_id output = unit_output(1);
    bool is_long = getenv("TUCK_TEST_LONG") != NULL; // all of it takes a minute
    uint64_t size = (UINT64_C(4) << 30) + 7, left = is_long ? size : 100000;
    struct tuck_client *client =
        is_long ? world_open_bad(BAD("hello", "read", "say:{\"ID\":$i,\"Err\":\"seen\"}", "serve"))
                : world_open_bad(BAD("record", "hello", "read"));
    request.command = TUCK_CLIENT_PUT;
    request.action = action.bytes;
    request.output = output.bytes;
    request.body = tuck_client_source(read_zeros, &left, size);
    request.body.flags = TUCK_CLIENT_BODY_TRUSTED;
    request.timeout_ms = 600000;
    int status = tuck_client_call(client, &request, &answer, &error);
    world_expect(status, is_long ? TUCK_CLIENT_REFUSED : TUCK_CLIENT_BAD_BODY, &error, NULL);
    assert_int_equal(left, 0);
    world_close(client, is_long ? TUCK_CLIENT_OK : TUCK_CLIENT_BROKEN_OFF);
    if (!is_long)
        assert_non_null(strstr(world_notes(), "\"BodySize\":4294967303}\n\n\"AAAA"));
}

static void ids_go_up_from_1_and_are_never_used_again(void **state) {
    (void)state;
    struct world_outcome outcomes[50], canceled[50];
    struct tuck_client *client = world_open_bad(BAD("record", "hello", "serve"));
    uint64_t before = 0;
    for (size_t i = 0; i < 50; i++) {
        uint64_t ticket = world_submit_get(client, i, 0, &outcomes[i]);
        assert_true(ticket > before);
        before = ticket;
        if (i % 7 == 3)
            assert_int_equal(
                tuck_client_cancel(client, world_submit_get(client, i, 0, &canceled[i])), 0);
        if (i % 10 == 9)
            assert_int_equal(tuck_client_wait(client, 60000), TUCK_CLIENT_OK);
    }
    world_close(client, TUCK_CLIENT_OK);
    int64_t last = 0;
    size_t count = 0;
    for (const char *at = world_notes(); (at = strstr(at, "{\"ID\":")); at++, count++) {
        int64_t id = strtoll(at + 6, NULL, 10);
        assert_true(id > last);
        last = id;
    }
    assert_true(count >= 51);
}

static const struct CMUnitTest tests[] = {
    CASE("L-40 PT1", the_bytes_are_those_that_go_commands_wrote),
    CASE("L-40 PT5", each_form_of_a_request_has_its_bytes),
    CASE("L-39 PT2", an_empty_body_has_neither_size_nor_line),
    CASE("L-40", bodies_of_every_length_come_back_from_every_source),
    CASE("L-38", bodies_that_cannot_be_meant_are_refused_before_anything_is_sent),
    CASE("L-38 PT8", a_small_body_that_breaks_costs_only_its_own_request),
    CASE("L-38 PT8", a_large_body_that_breaks_ends_the_connection_and_is_not_stored),
    CASE("L-38", a_file_that_changes_while_it_is_sent_is_not_stored),
    CASE("L-38", a_trusted_body_is_not_hashed_again),
    CASE("L-13", an_answer_that_comes_before_its_body_is_written_waits_for_it),
    CASE("L-14", a_helper_that_writes_much_before_it_reads_does_not_block_the_client),
    CASE("L-15", a_helper_that_closes_its_stdin_is_an_error_and_never_a_sigpipe),
    CASE("L-39 PT6", a_body_of_70_mib_takes_no_memory),
    CASE("L-39", a_size_above_4_gib_is_announced_exactly),
    CASE("L-39 PT3", ids_go_up_from_1_and_are_never_used_again),
};

UNIT_MAIN(tests)

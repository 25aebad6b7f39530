// SPDX-License-Identifier: MIT
#include "lib/serve/serve.h"
#include "lib/base/io.h"
#include "lib/base/thread.h"
#include "lib/cache/cache.h"
#include "lib/serve/trace.h"
#include "protocol/base64.h"
#include "protocol/frame.h"
#include "protocol/message.h"

#include <errno.h>
#include <poll.h>

#define INPUT_BYTES  262144U // what one read takes at most: a few pipes full
#define OUTPUT_BYTES 65536U  // answers are written when this is full, or when the input is consumed
#define DECODE_BYTES 49152U  // characters of a body that are decoded at once
#define SLOW_MAX     64U     // lookups that wait for hashing; one more is done by the reader

struct slow_get {
    int64_t id;
    struct tuck_action_id action;
};

struct server {
    struct tuck_cache *cache;
    const struct tuck_serve_options *options;

    /* owned by the reader */
    struct tuck_frame *frame;
    struct tuck_request request; // whose body is being read
    struct tuck_put *put;        // NULL if that body is only skipped
    struct tuck_base64 base64;
    const char *flaw; // of the body; it is skipped to its end and then answered with this
    bool has_body;
    bool is_closing;
    int64_t close_id;
    uint8_t *decoded;
    pthread_t slow_thread;
    bool has_slow_thread;

    struct tuck_mutex output_lock;
    /* guarded by output_lock */
    char *output;
    size_t output_len;
    int output_status; // why the client cannot be written to any more, or 0

    struct tuck_mutex slow_lock;
    /* guarded by slow_lock */
    pthread_cond_t slow_changed;
    struct slow_get slow[SLOW_MAX];
    size_t slow_first, slow_count; // a ring
    size_t slow_working;           // taken from the ring, not answered yet
    bool slow_is_ending;
};

// --- Answers -------------------------------------------------------------------------------------

static void write_output(struct server *server) {
    if (server->output_len > 0)
        tuck_trace_written(server->options->trace, server->output, server->output_len);
    if (server->output_len > 0 && server->output_status == 0)
        server->output_status = tuck_write_all(server->options->out, server->output,
                                               server->output_len, server->options->stop);
    server->output_len = 0;
}

static void answer(struct server *server, const struct tuck_answer *answer, bool is_urgent) {
    size_t room = tuck_answer_room(answer);
    tuck_lock(&server->output_lock);
    if (server->output_len + room > OUTPUT_BYTES)
        write_output(server);
    tuck_verify(room <= OUTPUT_BYTES);
    server->output_len += tuck_answer_write(answer, server->output + server->output_len);
    if (is_urgent)
        write_output(server);
    tuck_unlock(&server->output_lock);
}

static int flush_output(struct server *server) {
    tuck_lock(&server->output_lock);
    write_output(server);
    int status = server->output_status;
    tuck_unlock(&server->output_lock);
    return status;
}

static void answer_error(struct server *server, int64_t id, const char *text) {
    tuck_count(tuck_cache_counters(server->cache), TUCK_COUNT_errors, 1);
    answer(server, &(struct tuck_answer){.kind = TUCK_ANSWER_ERROR, .id = id, .text = text}, false);
}

static void answer_get(struct server *server, int64_t id, int status, const struct tuck_hit *hit,
                       bool is_urgent) {
    struct tuck_answer found = {.kind = TUCK_ANSWER_MISS, .id = id};
    if (status == 0)
        found = (struct tuck_answer){TUCK_ANSWER_HIT, id,           hit->output,
                                     hit->size,       hit->time_ns, hit->path};
    answer(server, &found, is_urgent);
}

// --- Lookups that must hash first ----------------------------------------------------------------

static void *run_slow(void *arg) {
    struct server *server = arg;
    struct tuck_hit hit;
    tuck_lock(&server->slow_lock);
    for (;;) {
        while (server->slow_count == 0 && !server->slow_is_ending)
            tuck_cond_wait(&server->slow_changed, &server->slow_lock);
        if (server->slow_count == 0)
            break;
        struct slow_get job = server->slow[server->slow_first];
        server->slow_first = (server->slow_first + 1) % SLOW_MAX;
        server->slow_count--;
        server->slow_working++;
        tuck_unlock(&server->slow_lock);
        int status = tuck_cache_get_slowly(server->cache, &job.action, &hit);
        answer_get(server, job.id, status, &hit, true);
        tuck_lock(&server->slow_lock);
        server->slow_working--;
        (void)pthread_cond_broadcast(&server->slow_changed);
    }
    tuck_unlock(&server->slow_lock);
    return NULL;
}

static bool hand_over(struct server *server, const struct tuck_request *request) {
    if (!server->has_slow_thread)
        server->has_slow_thread = tuck_thread_start(&server->slow_thread, run_slow, server) == 0;
    if (!server->has_slow_thread)
        return false;
    tuck_lock(&server->slow_lock);
    bool has_room = server->slow_count < SLOW_MAX;
    if (has_room) {
        server->slow[(server->slow_first + server->slow_count++) % SLOW_MAX] =
            (struct slow_get){request->id, request->action};
        (void)pthread_cond_broadcast(&server->slow_changed);
    }
    tuck_unlock(&server->slow_lock);
    return has_room;
}

static void end_slow(struct server *server) {
    if (!server->has_slow_thread)
        return;
    tuck_lock(&server->slow_lock);
    if (*server->options->stop)
        server->slow_count = 0; // told to end: who asked has gone
    server->slow_is_ending = true;
    (void)pthread_cond_broadcast(&server->slow_changed);
    tuck_unlock(&server->slow_lock);
    (void)pthread_join(server->slow_thread, NULL); // it works off the ring first
    server->has_slow_thread = false;
}

// --- Requests ------------------------------------------------------------------------------------

static void serve_get(struct server *server, const struct tuck_request *request) {
    struct tuck_hit hit;
    int status = tuck_cache_get(server->cache, &request->action, &hit);
    if (status == TUCK_CACHE_SLOW) {
        if (hand_over(server, request))
            return;
        status = tuck_cache_get_slowly(server->cache, &request->action, &hit);
    }
    answer_get(server, request->id, status, &hit, false);
}

static void end_put(struct server *server) {
    struct tuck_error err = {0};
    struct tuck_hit hit;
    int64_t id = server->request.id;
    server->has_body = false;
    if (!server->flaw && server->put && !tuck_base64_is_complete(&server->base64))
        server->flaw = "the body is not complete base64; nothing was stored";
    if (server->flaw || !server->put) {
        tuck_put_free(TUCK_TAKE(server->put));
        answer_error(server, id, server->flaw ? server->flaw : "no memory");
        return;
    }
    if (tuck_put_commit(&server->put, &hit, &err) < 0) {
        answer_error(server, id, err.text);
        return;
    }
    answer(server, &(struct tuck_answer){.kind = TUCK_ANSWER_PUT, .id = id, .text = hit.path},
           false);
}

static void begin_put(struct server *server, const struct tuck_request *request) {
    struct tuck_error err;
    server->request = *request;
    server->flaw = request->flaw;
    tuck_base64_init(&server->base64);
    if (!request->flaw && request->command == TUCK_COMMAND_PUT)
        (void)!tuck_put_begin(server->cache, &request->action, &request->output, request->body_size,
                              &server->put,
                              &err); // without memory: put stays NULL, answered at its end
    server->has_body = request->body_size > 0;
    if (server->has_body)
        tuck_frame_expect_body(server->frame);
    else
        end_put(server);
}

static void serve_request(struct server *server, struct tuck_request *request) {
    if (request->flaw || request->command == TUCK_COMMAND_PUT || request->body_size > 0) {
        if (!request->flaw && request->command != TUCK_COMMAND_PUT)
            request->flaw = "only put has a body";
        begin_put(server, request);
    } else if (request->command == TUCK_COMMAND_GET) {
        serve_get(server, request);
    } else {
        server->is_closing = true;
        server->close_id = request->id;
    }
}

static int serve_message(struct server *server, struct tuck_slice text, struct tuck_error *err) {
    struct tuck_request request;
    int status = tuck_request_parse(text, &request, err);
    if (status == 0)
        serve_request(server, &request);
    return status;
}

static int serve_body(struct server *server, struct tuck_slice piece, struct tuck_error *err) {
    if (!server->put || server->flaw)
        return tuck_frame_doubt_body(server->frame, piece, err);
    while (piece.len > 0) {
        size_t len = piece.len < DECODE_BYTES ? piece.len : DECODE_BYTES;
        size_t decoded;
        if (tuck_base64_add(&server->base64, (const char *)piece.data, len, server->decoded,
                            &decoded) < 0) {
            server->flaw = "the body is not base64; nothing was stored";
            return tuck_frame_doubt_body(server->frame, piece, err);
        }
        tuck_put_write(server->put, server->decoded, decoded);
        piece.data += len;
        piece.len -= len;
    }
    return 0;
}

static int serve_input(struct server *server, struct tuck_slice input, struct tuck_error *err) {
    int status = 0;
    while (status >= 0 && input.len > 0 && !server->is_closing) {
        struct tuck_slice piece;
        struct tuck_request request;
        if (tuck_frame_is_idle(server->frame) && tuck_request_take(&input, &request)) {
            serve_request(server, &request);
            continue;
        }
        status = tuck_frame_next(server->frame, &input, &piece, err);
        if (status == TUCK_FRAME_MESSAGE)
            status = serve_message(server, piece, err);
        else if (status == TUCK_FRAME_BODY)
            status = serve_body(server, piece, err);
        else if (status == TUCK_FRAME_BODY_END)
            end_put(server);
    }
    return status < 0 ? status : 0;
}

// --- The conversation ----------------------------------------------------------------------------

// The next input; 0 at its end or when the process is to stop, or -errno.
static ssize_t read_input(struct server *server, uint8_t *buffer) {
    while (!*server->options->stop) {
        ssize_t n = read(server->options->in, buffer, INPUT_BYTES);
        if (n >= 0)
            return n;
        if (errno == EAGAIN) { // a client may hand us a non-blocking pipe
            struct pollfd wait = {.fd = server->options->in, .events = POLLIN};
            (void)!poll(&wait, 1, -1);
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}

static int converse(struct server *server, struct tuck_error *err) {
    TUCK_CLEANUP(tuck_free) uint8_t *input = malloc(INPUT_BYTES);
    if (!input)
        return tuck_fail(err, TUCK_ENOMEM, "no memory for the input");
    while (!server->is_closing) {
        ssize_t n = read_input(server, input);
        if (n < 0)
            return tuck_fail_os(err, (int)-n, "read requests");
        if (n == 0) {
            tuck_trace_note(server->options->trace, "eof");
            if (*server->options->stop || (tuck_frame_is_idle(server->frame) && !server->has_body))
                return 0;
            return tuck_fail(err, TUCK_EPROTO, "the input ended in the middle of a request");
        }
        tuck_trace_read(server->options->trace, input, (size_t)n);
        int status = serve_input(server, (struct tuck_slice){input, (size_t)n}, err);
        int written = flush_output(server);
        if (status < 0)
            return status;
        if (written == -EINTR)
            return 0;
        if (written < 0) // the client went away: nobody is left to tell
            return written == -EPIPE ? 0 : tuck_fail_os(err, -written, "write answers");
    }
    return 0;
}

static int new_server(struct server **ret_server, struct tuck_error *err) {
    struct server *server = calloc(1, sizeof(*server));
    if (!server)
        return tuck_fail(err, TUCK_ENOMEM, "no memory to serve");
    server->output = malloc(OUTPUT_BYTES);
    server->decoded = malloc(TUCK_BASE64_ROOM(DECODE_BYTES));
    tuck_mutex_init(&server->output_lock, TUCK_RANK_OUTPUT);
    tuck_mutex_init(&server->slow_lock, TUCK_RANK_SERVE);
    tuck_cond_init(&server->slow_changed);
    *ret_server = server;
    if (!server->output || !server->decoded || tuck_frame_new(&server->frame) < 0)
        return tuck_fail(err, TUCK_ENOMEM, "no memory to serve");
    return 0;
}

static void free_server(struct server *server) {
    if (!server)
        return;
    tuck_put_free(server->put);
    tuck_frame_free(server->frame);
    (void)pthread_cond_destroy(&server->slow_changed);
    tuck_mutex_fini(&server->slow_lock);
    tuck_mutex_fini(&server->output_lock);
    free(server->output);
    free(server->decoded);
    free(server);
}

static size_t write_hello(char ret_text[static 512]) {
    return tuck_answer_write(&(struct tuck_answer){.kind = TUCK_ANSWER_HELLO}, ret_text);
}

int tuck_serve_hello(int out, struct tuck_error *err) {
    char text[512];
    int status = tuck_write_all(out, text, write_hello(text), NULL);
    return status < 0 ? tuck_fail_os(err, -status, "write the handshake") : 0;
}

int tuck_serve(struct tuck_cache *cache, const struct tuck_serve_options *options,
               struct tuck_error *err) {
    struct server *server = NULL;
    int out = options->out;
    int status = new_server(&server, err);
    if (status == 0) {
        char hello[512]; // was written before anybody knew that it is to be recorded
        server->cache = cache;
        server->options = options;
        tuck_trace_written(options->trace, hello, write_hello(hello));
        status = converse(server, err);
        end_slow(server);
        tuck_count(tuck_cache_counters(cache), TUCK_COUNT_helpers, 1);
        tuck_cache_end(cache);
        if (status == 0 && server->is_closing)
            answer(server, &(struct tuck_answer){.kind = TUCK_ANSWER_CLOSE, .id = server->close_id},
                   false);
        (void)flush_output(server); // a client that went away needs no answer
    }
    free_server(server);
    tuck_close_fd(&out);
    return status;
}

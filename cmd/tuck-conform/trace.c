// SPDX-License-Identifier: MIT
/*
 * A reader of lines. What the client wrote last may go on behind answers (`+`), so its line stays open
 * until the next one: an object is taken as soon as it is whole, a body grows by pieces.
 */
#include "cmd/tuck-conform/trace.h"
#include "lib/base/io.h"
#include "protocol/base64.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define OBJECT_MAX (1U << 20) // no request is longer, without its body
#define BODY_MAX                                                                                   \
    (UINT64_C(16) << 30) // what is larger no go command made, and takes too long to make
#define DECODE_BLOCK (1U << 15)
#define SHOWN_BYTES  60

const char *const trace_answer_names[] = {
    [TRACE_NOTHING] = "no answer", [TRACE_HIT] = "a hit", [TRACE_MISS] = "a miss",
    [TRACE_STORED] = "a put",      [TRACE_DONE] = "done", [TRACE_ERR] = "an error",
};

enum open_line { LINE_NONE, LINE_OBJECT, LINE_BODY };

struct reader {
    struct trace *trace;
    const char *name;
    struct tuck_error *err;
    size_t line;
    uint64_t at_ns;
    size_t event; // of the session

    struct trace_session *session; // NULL before the first
    bool has_hello, has_eof;
    enum open_line open;
    size_t open_line;                // where it began
    struct buf object;               // the open one, not yet whole
    struct trace_piece object_piece; // the same while it is in one piece
    size_t *waiting;                 // requests without an answer
    size_t waiting_count, waiting_room;
};

static int bad_line(struct reader *reader, size_t line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int bad_line(struct reader *reader, size_t line, const char *format, ...) {
    char text[160];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return tuck_fail(reader->err, TUCK_EINVAL, "%s:%zu: %s", reader->name, line, text);
}

// -- fields --------------------------------------------------------------------------------------
static bool take_id(const json_t *object, const char *field, uint8_t ret_id[TUCK_ID_BYTES]) {
    const json_t *value = json_object_get(object, field);
    const char *text = json_string_value(value);
    return text && tuck_base64_id(text, json_string_length(value), ret_id);
}

// A size that may be missing, which means 0.
static bool take_size(const json_t *object, const char *field, uint64_t *ret_size) {
    const json_t *value = json_object_get(object, field);
    *ret_size = 0;
    if (!value)
        return true;
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *ret_size = (uint64_t)json_integer_value(value);
    return true;
}

static bool is_text(const json_t *object, const char *field) {
    const char *text = json_string_value(json_object_get(object, field));
    return text && *text;
}

enum trace_answer trace_answer_kind(enum trace_command command, const json_t *answer) {
    if (is_text(answer, "Err"))
        return TRACE_ERR;
    if (command == TRACE_GET)
        return json_is_true(json_object_get(answer, "Miss")) || !is_text(answer, "DiskPath")
                   ? TRACE_MISS
                   : TRACE_HIT;
    return command == TRACE_PUT && is_text(answer, "DiskPath") ? TRACE_STORED : TRACE_DONE;
}

// -- what the client wrote -----------------------------------------------------------------------
static struct trace_request *last_request(struct reader *reader) {
    return reader->session->count ? &reader->trace->requests[reader->trace->request_count - 1]
                                  : NULL;
}

static void take_command(struct trace_request *request, const json_t *object) {
    const char *command = json_string_value(json_object_get(object, "Command"));
    bool has_action = take_id(object, "ActionID", request->action);
    bool has_size = take_size(object, "BodySize", &request->body_size);
    request->command = TRACE_OTHER;
    if (!command || !has_size)
        return;
    if (strcmp(command, "close") == 0)
        request->command = TRACE_CLOSE;
    else if (strcmp(command, "get") == 0 && has_action)
        request->command = TRACE_GET;
    else if (strcmp(command, "put") == 0 && has_action) {
        request->has_old_name = !json_object_get(object, "OutputID");
        if (take_id(object, request->has_old_name ? "ObjectID" : "OutputID", request->output))
            request->command = TRACE_PUT;
    }
}

static int add_request(struct reader *reader, const json_t *object, const char *text, size_t len) {
    struct trace *trace = reader->trace;
    const json_t *id = json_object_get(object, "ID");
    if (!json_is_integer(id))
        return bad_line(reader, reader->open_line, "a request without an ID");
    if (trace->request_count == trace->request_room) {
        trace->request_room = trace->request_room ? trace->request_room * 2 : 256;
        trace->requests =
            need_realloc(trace->requests, trace->request_room * sizeof(*trace->requests));
    }
    if (reader->waiting_count == reader->waiting_room) {
        reader->waiting_room = reader->waiting_room ? reader->waiting_room * 2 : 64;
        reader->waiting =
            need_realloc(reader->waiting, reader->waiting_room * sizeof(*reader->waiting));
    }
    struct trace_request *request = &trace->requests[trace->request_count];
    *request = (struct trace_request){.id = json_integer_value(id),
                                      .line = reader->open_line,
                                      .at_ns = reader->at_ns,
                                      .in_flight = reader->waiting_count,
                                      .event = reader->event++,
                                      .answer_event = SIZE_MAX,
                                      .text = text,
                                      .len = len};
    take_command(request, object);
    if (request->body_size > BODY_MAX)
        return bad_line(reader, reader->open_line, "a body of more than 16 GiB");
    reader->waiting[reader->waiting_count++] = trace->request_count++;
    reader->session->count++;
    reader->session->last_ns = reader->at_ns;
    return 0;
}

// The open object may be whole by now. 0 also where it is not.
static int try_object(struct reader *reader) {
    bool is_pieces = reader->object.data != NULL;
    const char *text = is_pieces ? reader->object.data : reader->object_piece.at;
    size_t len = is_pieces ? reader->object.len : reader->object_piece.len;
    if (len > OBJECT_MAX)
        return bad_line(reader, reader->open_line, "a request of more than %u bytes", OBJECT_MAX);
    while (len > 0 && strchr(" \t\r", text[len - 1]) && text[len - 1])
        len--;
    if (len < 2 || text[len - 1] != '}')
        return 0; // it goes on
    json_t *object = json_loadb(text, len, JSON_ALLOW_NUL, NULL);
    if (!object)
        return 0;
    if (is_pieces) {
        char *copy = arena_alloc(&reader->trace->arena, len);
        memcpy(copy, text, len);
        text = copy;
    }
    int result = add_request(reader, object, text, len);
    json_decref(object);
    buf_free(&reader->object);
    reader->open = LINE_NONE;
    return result;
}

static void add_piece(struct reader *reader, struct trace_request *request, const char *at,
                      size_t len) {
    struct trace *trace = reader->trace;
    if (trace->piece_count == trace->piece_room) {
        trace->piece_room = trace->piece_room ? trace->piece_room * 2 : 64;
        trace->pieces = need_realloc(trace->pieces, trace->piece_room * sizeof(*trace->pieces));
    }
    if (!request->piece_count)
        request->first_piece = trace->piece_count;
    request->piece_count++;
    trace->pieces[trace->piece_count++] = (struct trace_piece){at, len};
}

static bool is_body_whole(const struct reader *reader, const struct trace_request *request) {
    const struct trace_piece *pieces = reader->trace->pieces + request->first_piece;
    size_t total = 0;
    char last = 0;
    for (size_t i = 0; i < request->piece_count; i++) {
        total += pieces[i].len;
        if (pieces[i].len)
            last = pieces[i].at[pieces[i].len - 1];
    }
    return total >= 2 && last == '"';
}

// The line that the client wrote last ends here, because another begins or the session ends. What
// breaks off at the end of a session is left out: a helper was killed, or a client.
static int end_line(struct reader *reader, bool is_last) {
    enum open_line open = reader->open;
    reader->open = LINE_NONE;
    if (open == LINE_OBJECT) {
        buf_free(&reader->object);
        if (!is_last)
            return bad_line(reader, reader->open_line, "a request that is no JSON object");
        reader->session->cut_off++;
    }
    if (open != LINE_BODY)
        return 0;
    struct trace_request *request = last_request(reader);
    if (is_body_whole(reader, request))
        return 0;
    if (!is_last)
        return bad_line(reader, reader->open_line, "a body without its closing quote");
    size_t number = --reader->trace->request_count;
    if (reader->waiting_count && reader->waiting[reader->waiting_count - 1] == number)
        reader->waiting_count--; // else it was refused before its body had come
    reader->session->count--;
    reader->session->cut_off++;
    return 0;
}

static int take_client_line(struct reader *reader, const char *text, size_t len) {
    int result = end_line(reader, false);
    if (result < 0)
        return result;
    struct trace_request *request = last_request(reader);
    if (reader->has_eof)
        return bad_line(reader, reader->line, "the client had closed its side before this");
    reader->open_line = reader->line;
    if (len == 0) {
        if (request && !request->piece_count)
            request->blanks++;
        return 0;
    }
    if (text[0] == '{') {
        reader->open = LINE_OBJECT;
        reader->object_piece = (struct trace_piece){text, len};
        return try_object(reader);
    }
    if (text[0] != '"')
        return bad_line(reader, reader->line, "neither a request nor a body");
    if (!request || request->piece_count || !request->body_size)
        return bad_line(reader, reader->line, "a body that no request announces");
    if (len == 7 && memcmp(text, "\"$BODY\"", 7) == 0)
        return 0;
    reader->open = LINE_BODY;
    add_piece(reader, request, text, len);
    return 0;
}

static int take_more(struct reader *reader, const char *text, size_t len) {
    if (reader->open == LINE_BODY) {
        add_piece(reader, last_request(reader), text, len);
        return 0;
    }
    // An answer may have come between an object and its line end.
    if (reader->open == LINE_NONE && len == 0 && reader->session->count)
        return 0;
    if (reader->open != LINE_OBJECT)
        return bad_line(reader, reader->line, "no line of the client's is left to go on");
    if (!reader->object.data)
        buf_add(&reader->object, reader->object_piece.at, reader->object_piece.len);
    buf_add(&reader->object, text, len);
    return try_object(reader);
}

// -- what the helper wrote -----------------------------------------------------------------------
static void take_answer(struct reader *reader, struct trace_request *request,
                        const json_t *answer) {
    request->answer = trace_answer_kind(request->command, answer);
    request->answer_line = reader->line;
    request->answer_event = reader->event++;
    reader->session->last_ns = reader->at_ns;
    request->is_late = reader->has_eof;
    // A hit that does not say what it found is no evidence of anything.
    if (request->answer == TRACE_HIT &&
        (!take_id(answer, "OutputID", request->found) ||
         !take_size(answer, "Size", &request->found_size) || request->found_size > BODY_MAX))
        request->answer = TRACE_NOTHING;
}

static int take_object(struct reader *reader, const json_t *answer) {
    const json_t *id = json_object_get(answer, "ID");
    if (id && !json_is_integer(id))
        return bad_line(reader, reader->line, "an answer whose ID is no number");
    if (!reader->has_hello && json_is_array(json_object_get(answer, "KnownCommands"))) {
        reader->has_hello = true;
        reader->session->hello_ns = reader->session->last_ns = reader->at_ns;
        return 0;
    }
    int64_t number = json_integer_value(id);
    for (size_t i = 0; i < reader->waiting_count; i++) {
        struct trace_request *request = &reader->trace->requests[reader->waiting[i]];
        if (request->id != number)
            continue;
        memmove(reader->waiting + i, reader->waiting + i + 1,
                (--reader->waiting_count - i) * sizeof(*reader->waiting));
        take_answer(reader, request, answer);
        return 0;
    }
    return bad_line(reader, reader->line, "an answer to ID %lld, which nobody asked",
                    (long long)number);
}

static int take_helper_line(struct reader *reader, const char *text, size_t len) {
    json_t *answer = json_loadb(text, len, JSON_ALLOW_NUL, NULL);
    int result = json_is_object(answer)
                     ? take_object(reader, answer)
                     : bad_line(reader, reader->line, "an answer that is no JSON object");
    json_decref(answer);
    return result;
}

// -- what happened besides -----------------------------------------------------------------------
static bool take_digits(const char **at, const char *end, uint64_t *ret_number) {
    const char *from = *at;
    *ret_number = 0;
    for (; *at < end && **at >= '0' && **at <= '9' && *at - from < 10; ++*at)
        *ret_number = *ret_number * 10 + (uint64_t)(**at - '0');
    return *at > from;
}

static int take_time(struct reader *reader, const char *text, size_t len) {
    const char *at = text, *end = text + len;
    uint64_t seconds, fraction = 0, scale = 1000000000;
    bool is_good = take_digits(&at, end, &seconds);
    if (is_good && at < end && *at == '.') {
        for (at++; at < end && *at >= '0' && *at <= '9' && scale > 1; at++) {
            scale /= 10;
            fraction += (uint64_t)(*at - '0') * scale;
        }
    }
    if (!is_good || at != end)
        return bad_line(reader, reader->line, "a time that is no number of seconds");
    uint64_t at_ns = seconds * 1000000000 + fraction;
    if (at_ns < reader->at_ns)
        return bad_line(reader, reader->line, "a time before the one above it");
    reader->at_ns = at_ns;
    return 0;
}

static int take_note(struct reader *reader, const char *text, size_t len) {
    if (len == 3 && memcmp(text, "eof", 3) == 0) {
        int result = end_line(reader, true);
        reader->has_eof = true;
        reader->session->eof_ns = reader->at_ns;
        return result;
    }
    if (len > 5 && len < 10 && memcmp(text, "exit ", 5) == 0)
        reader->session->exit_status = text[5] == '0' ? 0 : 1;
    return 0;
}

static int end_session(struct reader *reader) {
    if (!reader->session)
        return 0;
    int result = end_line(reader, true);
    return result;
}

static int begin_session(struct reader *reader, const char *title, size_t len) {
    struct trace *trace = reader->trace;
    int result = end_session(reader);
    if (result < 0)
        return result;
    if (trace->session_count == trace->session_room) {
        trace->session_room = trace->session_room ? trace->session_room * 2 : 8;
        trace->sessions =
            need_realloc(trace->sessions, trace->session_room * sizeof(*trace->sessions));
    }
    reader->session = &trace->sessions[trace->session_count++];
    *reader->session = (struct trace_session){
        .title = {title, len}, .line = reader->line, .first = trace->request_count};
    reader->has_hello = reader->has_eof = false;
    reader->waiting_count = reader->event = 0;
    reader->at_ns = 0;
    return 0;
}

// -- lines ---------------------------------------------------------------------------------------
static int take_line(struct reader *reader, const char *line, size_t len) {
    const char *text = len > 2 ? line + 2 : line + len;
    size_t text_len = len > 2 ? len - 2 : 0;
    if (len == 0 || line[0] == '#')
        return 0;
    if (!line[0] || !strchr("=<>!+@", line[0]) || (len > 1 && line[1] != ' ')) {
        struct buf shown = {0};
        buf_visible(&shown, line, len, SHOWN_BYTES);
        int result = bad_line(reader, reader->line, "this is no line of a trace: %s", shown.data);
        buf_free(&shown);
        return result;
    }
    if (line[0] == '=')
        return begin_session(reader, text, text_len);
    if (!reader->session)
        return bad_line(reader, reader->line,
                        "this stands before the first session, a line with =");
    switch (line[0]) {
    case '>':
        return take_client_line(reader, text, text_len);
    case '+':
        return take_more(reader, text, text_len);
    case '<':
        return take_helper_line(reader, text, text_len);
    case '@':
        return take_time(reader, text, text_len);
    default:
        return take_note(reader, text, text_len);
    }
}

int trace_parse(struct trace *trace, const char *name, const char *text, size_t len,
                struct tuck_error *err) {
    struct reader reader = {.trace = trace, .name = name, .err = err};
    const char *at = text, *end = text + len;
    int result = 0;
    *trace = (struct trace){0};
    while (at < end && result == 0) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *stop = newline ? newline : end;
        reader.line++;
        result = take_line(&reader, at, (size_t)(stop - at));
        at = newline ? newline + 1 : end;
    }
    if (result == 0)
        result = end_session(&reader);
    if (result == 0 && trace->session_count == 0)
        result = tuck_fail(err, TUCK_EINVAL, "%s: there is no conversation in it", name);
    buf_free(&reader.object);
    free(reader.waiting);
    return result;
}

int trace_read(struct trace *trace, const char *path, struct tuck_error *err) {
    struct stat status;
    *trace = (struct trace){0};
    int fd TUCK_CLEANUP(tuck_close_fd) = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0 || fstat(fd, &status) < 0)
        return tuck_fail_os(err, errno, "read '%s'", path);
    if (!S_ISREG(status.st_mode))
        return tuck_fail(err, TUCK_EINVAL, "'%s' is no file", path);
    if (status.st_size == 0)
        return trace_parse(trace, path, "", 0, err);
    char *text = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (text == MAP_FAILED)
        return tuck_fail_os(err, errno, "read '%s'", path);
    return trace_parse(trace, path, text, (size_t)status.st_size, err);
}

void trace_free(struct trace *trace) {
    arena_reset(&trace->arena);
    free(trace->sessions);
    free(trace->requests);
    free(trace->pieces);
    *trace = (struct trace){0};
}

// -- bodies --------------------------------------------------------------------------------------
bool trace_body(const struct trace *trace, const struct trace_request *request, trace_take *take,
                void *arg) {
    struct tuck_base64 decoder;
    uint8_t block[TUCK_BASE64_ROOM(DECODE_BLOCK)];
    size_t total = 0, at = 0;
    for (size_t i = 0; i < request->piece_count; i++)
        total += trace->pieces[request->first_piece + i].len;
    tuck_base64_init(&decoder);
    for (size_t i = 0; i < request->piece_count; i++) {
        struct trace_piece piece = trace->pieces[request->first_piece + i];
        for (size_t from = 0; from < piece.len;) {
            size_t part = piece.len - from < DECODE_BLOCK ? piece.len - from : DECODE_BLOCK, got;
            // The first and the last character are the quotes; the reader has seen to it.
            size_t skipped = at == 0, left = at + part == total && total > 1;
            at += part;
            if (part > skipped + left) {
                if (tuck_base64_add(&decoder, piece.at + from + skipped, part - skipped - left,
                                    block, &got) < 0 ||
                    !take(arg, block, got))
                    return false;
            }
            from += part;
        }
    }
    return request->piece_count && tuck_base64_is_complete(&decoder);
}

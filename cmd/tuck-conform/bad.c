// SPDX-License-Identifier: MIT
#include "cmd/tuck-conform/bad.h"
#include "lib/base/clock.h"
#include "lib/base/digest.h"
#include "lib/base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/file.h>

#define BUFFER_BYTES 65536U
#define OBJECT_MAX   (1U << 20)
#define NO_BYTE      (-1)

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

const char *asked_name(enum asked_kind kind) {
    static const char *const names[] = {"get", "put", "close"};
    return names[kind];
}

// -- notes ---------------------------------------------------------------------------------------
void bad_note(struct bad *bad, const char *format, ...) {
    struct buf line = {0}, text = {0};
    char *raw;
    va_list args;
    va_start(args, format);
    if (vasprintf(&raw, format, args) < 0)
        conform_die("out of memory");
    va_end(args);
    buf_visible(&text, raw, strlen(raw), 1000);
    if (bad->report >= 0) {
        buf_format(&line, "%ld %s\n", (long)getpid(), text.data);
        (void)!tuck_write_all(bad->report, line.data, line.len, NULL);
    } else if (strncmp(raw, "breach ", 7) == 0 || strncmp(raw, "fails ", 6) == 0) {
        buf_format(&line, "tuck-conform: the client %s\n", text.data);
        (void)!tuck_write_all(STDERR_FILENO, line.data, line.len, NULL);
    }
    free(raw);
    buf_free(&line);
    buf_free(&text);
}

// What was read cannot be followed any further.
__attribute__((noreturn)) static void lose(struct bad *bad, const char *clause, const char *what) {
    bad_note(bad, "breach %s %s", clause, what);
    leave_at_once(1);
}

// -- the list of entries -------------------------------------------------------------------------
static void add_entry(struct bad *bad, const struct entry *entry) {
    for (size_t i = 0; i < bad->entry_count; i++) {
        if (memcmp(bad->entries[i].action, entry->action, TUCK_ID_BYTES) == 0) {
            bad->entries[i] = *entry;
            return;
        }
    }
    bad->entries = need_realloc(bad->entries, (bad->entry_count + 1) * sizeof(*bad->entries));
    bad->entries[bad->entry_count++] = *entry;
}

const struct entry *bad_find(const struct bad *bad, const uint8_t action[TUCK_ID_BYTES]) {
    for (size_t i = 0; i < bad->entry_count; i++)
        if (memcmp(bad->entries[i].action, action, TUCK_ID_BYTES) == 0)
            return &bad->entries[i];
    return NULL;
}

void bad_path(const struct bad *bad, const uint8_t output[TUCK_ID_BYTES], struct buf *ret_path) {
    char name[TUCK_ID_HEX];
    tuck_hex(name, output, TUCK_ID_BYTES);
    buf_format(ret_path, "%s/o-%.*s", bad->directory, TUCK_ID_HEX, name);
}

static FILE *open_list(const struct bad *bad, const char *mode) {
    struct buf path = {0};
    buf_format(&path, "%s/entries", bad->directory);
    FILE *file = fopen(path.data, mode);
    buf_free(&path);
    return file;
}

static void read_list(struct bad *bad) {
    char action[TUCK_ID_HEX + 1], output[TUCK_ID_HEX + 1];
    struct entry entry;
    FILE *file = open_list(bad, "re");
    while (file && fscanf(file, "%64s %64s %" SCNu64 " %" SCNu64, action, output, &entry.size,
                          &entry.put_ns) == 4)
        if (tuck_unhex(entry.action, action, TUCK_ID_BYTES) &&
            tuck_unhex(entry.output, output, TUCK_ID_BYTES))
            add_entry(bad, &entry);
    if (file)
        (void)fclose(file);
}

static void enter(struct bad *bad, const struct asked *asked) {
    char action[TUCK_ID_HEX], output[TUCK_ID_HEX];
    struct entry entry = {.size = asked->size, .put_ns = tuck_clock_wall_ns()};
    memcpy(entry.action, asked->action, TUCK_ID_BYTES);
    memcpy(entry.output, asked->output, TUCK_ID_BYTES);
    add_entry(bad, &entry);
    tuck_hex(action, asked->action, TUCK_ID_BYTES);
    tuck_hex(output, asked->output, TUCK_ID_BYTES);
    FILE *file = open_list(bad, "ae");
    if (!file)
        conform_die("cannot write in '%s': %s", bad->directory, strerror(errno));
    fprintf(file, "%.*s %.*s %" PRIu64 " %" PRIu64 "\n", TUCK_ID_HEX, action, TUCK_ID_HEX, output,
            entry.size, entry.put_ns);
    (void)fclose(file);
}

struct bad *bad_open(const char *directory) {
    struct bad *bad = need_alloc(sizeof(*bad));
    struct buf report = {0};
    int failed = tuck_mkdir_parents(directory);
    if (failed < 0)
        conform_die("cannot make the directory '%s': %s", directory, strerror(-failed));
    char *whole = realpath(directory, NULL);
    if (!whole)
        conform_die("cannot find '%s': %s", directory, strerror(errno));
    buf_format(&report, "%s/report", whole);
    *bad = (struct bad){
        .directory = whole,
        .report = open(report.data, O_WRONLY | O_APPEND | O_CLOEXEC),
        .input = STDIN_FILENO,
        .output = STDOUT_FILENO,
        .buffer = need_alloc(BUFFER_BYTES),
    };
    buf_free(&report);
    read_list(bad);
    bad_note(bad, "begin %ld", (long)getppid());
    return bad;
}

// -- bytes ---------------------------------------------------------------------------------------
bool bad_write(struct bad *bad, const void *data, size_t len) {
    const char *at = data;
    while (len > 0 && bad->output >= 0) {
        size_t part = bad->is_slow ? 1 : len;
        if (tuck_write_all(bad->output, at, part, NULL) < 0)
            return false;
        at += part;
        len -= part;
    }
    return len == 0;
}

// Waits for input. 0, BAD_LATER, or BAD_OVER when nobody reads our answers any more.
static int await_input(struct bad *bad, uint64_t deadline_ns) {
    for (;;) {
        struct pollfd polled[] = {{.fd = bad->input, .events = POLLIN}, {.fd = bad->output}};
        uint64_t now = tuck_clock_mono_ns();
        uint64_t left_ns = deadline_ns > now ? deadline_ns - now : 0;
        int left_ms = left_ns > TUCK_NS_PER_S ? 1000 : (int)(left_ns / TUCK_NS_PER_MS + 1);
        int ready = poll(polled, 2, left_ms);
        if (ready > 0 && (polled[0].revents & (POLLIN | POLLHUP)))
            return 0;
        if (ready > 0)
            return BAD_OVER;
        if (now >= deadline_ns)
            return BAD_LATER;
    }
}

static int fill(struct bad *bad, uint64_t deadline_ns) {
    int result = bad->is_input_over || bad->input < 0 ? BAD_OVER : await_input(bad, deadline_ns);
    if (result != 0)
        return result;
    ssize_t got = read(bad->input, bad->buffer, BUFFER_BYTES);
    bad->is_input_over = got <= 0;
    bad->begin = 0;
    bad->end = got > 0 ? (size_t)got : 0;
    return got > 0 ? 0 : BAD_OVER;
}

static int peek_byte(struct bad *bad) {
    if (bad->begin == bad->end && fill(bad, UINT64_MAX) != 0)
        return NO_BYTE;
    return (unsigned char)bad->buffer[bad->begin];
}

// -- a request's object --------------------------------------------------------------------------
static bool is_id(const json_t *value, uint8_t ret_id[TUCK_ID_BYTES]) {
    const char *text = json_string_value(value);
    struct buf again = {0};
    if (!text || strlen(text) != 44)
        return false;
    size_t len = 0;
    uint32_t bits = 0;
    for (size_t i = 0; i < 43; i++) {
        const char *place = strchr(letters, text[i]);
        bits = bits << 6 | (place ? (uint32_t)(place - letters) : 0);
        if (i % 4 != 0)
            ret_id[len++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
    }
    buf_base64(&again, ret_id, TUCK_ID_BYTES);
    bool is_same = strcmp(again.data, text) == 0;
    buf_free(&again);
    return is_same;
}

static bool was_asked(struct bad *bad, int64_t id) {
    // IDs that grow are new without a search.
    for (size_t i = 0; i < bad->id_count && id <= bad->highest_id; i++)
        if (bad->ids[i] == id)
            return true;
    bad->highest_id = id > bad->highest_id ? id : bad->highest_id;
    bad->ids = need_realloc(bad->ids, (bad->id_count + 1) * sizeof(*bad->ids));
    bad->ids[bad->id_count++] = id;
    return false;
}

// What is wrong with the fields, or NULL; *ret_clause says what that breaks.
static const char *look_at_fields(struct bad *bad, json_t *object, struct asked *asked,
                                  const char **ret_clause) {
    static const char *const allowed[] = {"ID",       "Command",  "ActionID",
                                          "OutputID", "ObjectID", "BodySize"};
    const char *name = json_string_value(json_object_get(object, "Command")), *key;
    const json_t *id = json_object_get(object, "ID"), *size = json_object_get(object, "BodySize");
    json_t *output = json_object_get(object, "OutputID"), *value;
    *ret_clause = "CLI-38";
    if (!json_is_integer(id) || json_integer_value(id) == 0)
        return "a request whose ID is no integer, or 0";
    asked->id = json_integer_value(id);
    if (was_asked(bad, asked->id))
        return "an ID that was asked before";
    *ret_clause = "CLI-39";
    for (asked->kind = ASKED_GET; asked->kind <= ASKED_CLOSE; asked->kind++)
        if (name && strcmp(name, asked_name(asked->kind)) == 0)
            break;
    if (asked->kind > ASKED_CLOSE)
        return "a command that is none of get, put and close";
    json_object_foreach(object, key, value) {
        size_t i = 0, most = asked->kind == ASKED_PUT ? 6 : asked->kind == ASKED_GET ? 3 : 2;
        while (i < most && strcmp(allowed[i], key) != 0)
            i++;
        // A field that nobody knows may come with a later Go.
        if (i == most && strcmp(key, "BodySize") == 0)
            return "a field that is 0 or not for this command, and not left out";
    }
    if (asked->kind != ASKED_CLOSE && !is_id(json_object_get(object, "ActionID"), asked->action))
        return "an ActionID that is not padded standard base64 of 32 bytes";
    if (asked->kind != ASKED_PUT)
        return NULL;
    if (!is_id(output ? output : json_object_get(object, "ObjectID"), asked->output))
        return "an output id that is not padded standard base64 of 32 bytes";
    if (size && (!json_is_integer(size) || json_integer_value(size) <= 0))
        return "a BodySize of 0 that is not left out, or one that is no size";
    asked->size = (uint64_t)json_integer_value(size);
    return NULL;
}

static const char *look_at_order(const struct bad *bad, const struct asked *asked,
                                 const char **ret_clause) {
    *ret_clause = bad->is_close_seen ? "CLI-42" : "CLI-9";
    if (bad->is_close_seen)
        return "a request after close";
    if (!bad->is_announced[asked->kind])
        return asked->kind == ASKED_GET   ? "get, which was not announced"
               : asked->kind == ASKED_PUT ? "put, which was not announced"
                                          : "close, which was not announced";
    return NULL;
}

static struct asked *understand(struct bad *bad, const struct buf *line) {
    json_error_t why;
    const char *clause = "CLI-39";
    struct asked *asked = need_alloc(sizeof(*asked));
    json_t *object = json_loadb(line->data, line->len, JSON_REJECT_DUPLICATES, &why);
    if (!json_is_object(object))
        lose(bad, clause, "a line that is no JSON object where a request is due");
    const char *wrong = look_at_fields(bad, object, asked, &clause);
    if (!wrong)
        wrong = look_at_order(bad, asked, &clause);
    if (wrong)
        lose(bad, clause, wrong);
    json_decref(object);
    bad->is_close_seen = asked->kind == ASKED_CLOSE;
    return asked;
}

// The empty line behind an object, or the line end behind a body. It may come with what follows.
static void take_due_line(struct bad *bad) {
    if (!bad->is_line_due)
        return;
    bad->is_line_due = false;
    int next = peek_byte(bad);
    if (next == NO_BYTE)
        return; // the client has gone
    if (next != '\n')
        lose(bad, "CLI-39", "something other than a line end behind a request or a body");
    bad->begin++;
}

static void note_request(struct bad *bad, const struct asked *asked) {
    bad_note(bad, "asks %s %" PRId64 " %" PRIu64, asked_name(asked->kind), asked->id, asked->size);
}

int bad_read(struct bad *bad, uint64_t deadline_ns, struct asked **ret_asked) {
    struct buf line = {0};
    if (bad_take_body(bad) != 0)
        return BAD_OVER;
    take_due_line(bad);
    if (bad->begin == bad->end) {
        int result = fill(bad, deadline_ns);
        if (result != 0)
            return result;
    }
    if (bad->buffer[bad->begin] != '{')
        lose(bad, "CLI-39", "something other than { where a request is due");
    for (;;) {
        char *from = bad->buffer + bad->begin, *end = memchr(from, '\n', bad->end - bad->begin);
        size_t part = end ? (size_t)(end - from) : bad->end - bad->begin;
        buf_add(&line, from, part);
        bad->begin += part + (end != NULL);
        if (end)
            break;
        if (line.len > OBJECT_MAX)
            lose(bad, "CLI-39", "a request of more than a megabyte");
        if (fill(bad, UINT64_MAX) != 0) {
            buf_free(&line);
            return BAD_OVER;
        }
    }
    struct asked *asked = understand(bad, &line), **last = &bad->outstanding;
    buf_free(&line);
    while (*last)
        last = &(*last)->next;
    *last = asked;
    bad->is_line_due = true;
    if (asked->kind == ASKED_PUT)
        bad->unread = asked;
    note_request(bad, asked);
    *ret_asked = asked;
    return 0;
}

void bad_answered(struct bad *bad, struct asked *asked) {
    struct asked **at = &bad->outstanding;
    while (*at && *at != asked)
        at = &(*at)->next;
    if (*at)
        *at = asked->next;
}

// -- bodies --------------------------------------------------------------------------------------
struct body {
    FILE *file;
    struct tuck_digest digest;
    uint64_t size;
    uint32_t bits;
    size_t chars, padding;
    uint8_t block[4096]; // decoded and not yet hashed
    size_t filled;
};

static void flush_block(struct body *body) {
    tuck_digest_add(&body->digest, body->block, body->filled);
    (void)fwrite(body->block, 1, body->filled, body->file);
    body->size += body->filled;
    body->filled = 0;
}

static bool take_char(struct body *body, unsigned char c) {
    const char *place = c ? strchr(letters, c) : NULL;
    if (c == '=' && body->chars % 4 >= 2) {
        body->padding++;
        body->chars++;
        return true;
    }
    if (!place || body->padding)
        return false;
    body->bits = body->bits << 6 | (uint32_t)(place - letters);
    if (body->chars++ % 4 != 0) {
        body->block[body->filled++] = (uint8_t)(body->bits >> (6 - 2 * ((body->chars - 1) % 4)));
        if (body->filled == sizeof(body->block))
            flush_block(body);
    }
    return true;
}

// Reads to the closing quote. 0 or BAD_OVER.
static int read_body(struct bad *bad, struct body *body) {
    for (;;) {
        int c = peek_byte(bad);
        if (c == NO_BYTE)
            return BAD_OVER;
        bad->begin++;
        if (c == '"')
            return 0;
        if (c == '{' || c < ' ')
            lose(bad, "CLI-37", "a body that breaks off, and the stream goes on");
        if (!take_char(body, (unsigned char)c))
            lose(bad, "CLI-39", "a body that is not padded standard base64 on one line");
    }
}

static void keep(struct bad *bad, struct asked *asked, struct body *body, const char *temp) {
    struct tuck_output_id id;
    struct buf path = {0};
    flush_block(body);
    bool is_written = fclose(body->file) == 0;
    tuck_digest_end(&body->digest, &id);
    if (body->chars % 4 != 0 || body->size != asked->size)
        lose(bad, "CLI-37", "a body of another size than BodySize says");
    if (memcmp(id.bytes, asked->output, TUCK_ID_BYTES) != 0)
        lose(bad, "CLI-37", "a body of another SHA-256 than its output id");
    bad_path(bad, asked->output, &path);
    (void)rmdir(path.data); // a case may have put a directory in its place
    if (!is_written || rename(temp, path.data) < 0)
        conform_die("cannot write '%s': %s", path.data, strerror(errno));
    buf_free(&path);
    enter(bad, asked);
}

int bad_take_body(struct bad *bad) {
    struct asked *asked = bad->unread;
    struct body body = {0};
    struct buf temp = {0};
    int result = 0;
    if (!asked)
        return 0;
    bad->unread = NULL;
    take_due_line(bad);
    buf_format(&temp, "%s/part-%ld", bad->directory, (long)getpid());
    body.file = fopen(temp.data, "we");
    if (!body.file)
        conform_die("cannot write '%s': %s", temp.data, strerror(errno));
    tuck_digest_init(&body.digest);
    if (asked->size > 0) {
        int first = peek_byte(bad);
        if (first != NO_BYTE && first != '"')
            lose(bad, "CLI-39", "something other than a string where a body is due");
        bad->begin += first != NO_BYTE;
        result = first == NO_BYTE ? BAD_OVER : read_body(bad, &body);
        bad->is_line_due = true;
    }
    if (result == 0)
        keep(bad, asked, &body, temp.data);
    else
        (void)fclose(body.file);
    buf_free(&temp);
    return result;
}

// -- the end -------------------------------------------------------------------------------------
int bad_await_end(struct bad *bad, uint64_t deadline_ns) {
    for (;;) {
        int result = bad->input < 0 ? await_input(bad, deadline_ns) : fill(bad, deadline_ns);
        if (result == BAD_OVER)
            bad_note(bad, "over");
        if (result != 0)
            return result;
    }
}

uint64_t bad_client_memory(void) {
    char path[64], line[256];
    unsigned long long kilobytes = 0;
    (void)snprintf(path, sizeof(path), "/proc/%ld/status", (long)getppid());
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof(line), file))
        if (sscanf(line, "RssAnon: %llu", &kilobytes) == 1)
            break;
    if (file)
        (void)fclose(file);
    return kilobytes << 10;
}

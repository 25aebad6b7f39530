// SPDX-License-Identifier: MIT
/*
 * floor: the helper that no other can be faster than. It answers the go command from a table in
 * memory and does no work at all; what a go command costs with it is what the pipe and the go
 * command's own JSON cost.
 *
 *     floor --record=TABLE --dir=D     minimal and correct: bodies become files in D; writes TABLE
 *     floor --play=TABLE               answers from the table; puts are swallowed
 *     floor --play=TABLE --counts=F    the same, and appends "gets hits puts" to F at the end
 *
 * Requests are taken apart by position, as the go command (1.24 and later) writes them, not as
 * JSON. Anything else ends it at once. Only one recorder at a time may have a table. A tool for
 * measuring, no cache to use.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "table.h"

enum { BUFFER = 1 << 16 };

/* A growable array of bytes. */
struct bytes {
    char *data;
    size_t size, room;
};

/* One request line, taken apart. */
struct request {
    uint64_t id, body_size;
    char action[TABLE_ID_TEXT], output[TABLE_ID_TEXT]; // base64 text
    char command;                                      // 'g', 'p', 'c'
};

static struct table table;        // what is played
static struct bytes slots, tails; // what is recorded: slots in the order of the puts
static const char *record_path, *directory, *counts_path;
static uint64_t gets, hits, puts_seen;

static char input[BUFFER + 256], output[BUFFER]; // the margin is for parse()
static size_t input_begin, input_end, output_size;

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...) {
    va_list arguments;

    fputs("floor: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static void append(struct bytes *bytes, const void *data, size_t size) {
    if (bytes->size + size > bytes->room) {
        bytes->room = 2 * (bytes->size + size);
        bytes->data = realloc(bytes->data, bytes->room);
        if (!bytes->data)
            die("out of memory");
    }
    memcpy(bytes->data + bytes->size, data, size);
    bytes->size += size;
}

static void write_all(int fd, const char *data, size_t size) {
    while (size > 0) {
        const ssize_t put = write(fd, data, size);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            die("write: %s", strerror(errno));
        data += put;
        size -= (size_t)put;
    }
}

static void flush(void) {
    write_all(1, output, output_size);
    output_size = 0;
}

/* Reads more; what is answered so far goes out first, for the go command may be waiting for it.
 * False at the end. */
static bool receive(void) {
    flush();
    memmove(input, input + input_begin, input_end - input_begin);
    input_end -= input_begin;
    input_begin = 0;
    if (input_end == BUFFER)
        die("a request line is too long");
    ssize_t got;
    while ((got = read(0, input + input_end, BUFFER - input_end)) < 0 && errno == EINTR)
        ;
    if (got < 0)
        die("read: %s", strerror(errno));
    input_end += (size_t)got;
    return got > 0;
}

static void answer(uint64_t id, const char *tail, size_t size) {
    if (output_size + size + 32 > BUFFER)
        flush();
    char *at = output + output_size, digits[20];
    size_t count = 0;
    memcpy(at, "{\"ID\":", 6);
    at += 6;
    do
        digits[count++] = (char)('0' + id % 10);
    while ((id /= 10) > 0);
    while (count > 0)
        *at++ = digits[--count];
    memcpy(at, tail, size);
    output_size = (size_t)(at + size - output);
}

static const char *expect(const char *at, const char *text) {
    const size_t size = strlen(text);

    if (memcmp(at, text, size) != 0)
        die("not what the go command sends: %.60s", at);
    return at + size;
}

static const char *number(const char *at, uint64_t *ret_number) {
    for (*ret_number = 0; *at >= '0' && *at <= '9'; at++)
        *ret_number = *ret_number * 10 + (uint64_t)(*at - '0');
    return at;
}

/* `{"ID":1,"Command":"put","ActionID":"…","OutputID":"…","BodySize":7}`; a line too short for that
 * is not the go command's and meets the buffer's end at worst, for the buffer has a margin. */
static void parse(const char *at, struct request *ret_request) {
    at = number(expect(at, "{\"ID\":"), &ret_request->id);
    at = expect(at, ",\"Command\":\"");
    ret_request->command = *at;
    ret_request->body_size = 0;
    at = expect(at, *at == 'g' ? "get\"" : *at == 'p' ? "put\"" : "close\"}");
    if (ret_request->command == 'c')
        return;
    at = expect(at, ",\"ActionID\":\"");
    memcpy(ret_request->action, at, TABLE_ID_TEXT);
    at += TABLE_ID_TEXT + 1;
    if (ret_request->command == 'g')
        return;
    at = expect(at, ",\"OutputID\":\"");
    memcpy(ret_request->output, at, TABLE_ID_TEXT);
    at += TABLE_ID_TEXT + 1;
    if (*at == ',')
        number(expect(at, ",\"BodySize\":"), &ret_request->body_size);
}

/*
 * Recording
 */

static struct table_slot *recorded(const char *action) {
    struct table_slot *all = (struct table_slot *)(void *)slots.data;

    for (size_t i = slots.size / sizeof(*all); i-- > 0;) // newest first
        if (memcmp(all[i].action, action, TABLE_ID_TEXT) == 0)
            return &all[i];
    return NULL;
}

/* Takes over what earlier recorders have left. */
static void load_records(void) {
    struct table old;

    if (table_map(record_path, &old) < 0)
        return;
    append(&tails, old.tails, old.header->tails_size);
    for (uint64_t at = 0; at < old.header->slots; at++)
        if (old.slots[at].length != 0)
            append(&slots, &old.slots[at], sizeof(old.slots[at]));
    table_unmap(&old);
}

static void save_records(void) {
    struct table_header header = {.magic = TABLE_MAGIC, .slots = 1024, .tails_size = tails.size};
    const struct table_slot *all = (const struct table_slot *)(const void *)slots.data;
    const size_t count = slots.size / sizeof(*all);
    char path[4096];

    while (header.slots < 4 * count)
        header.slots *= 2;
    struct table_slot *placed = calloc(header.slots, sizeof(*placed));
    if (!placed)
        die("out of memory");
    const struct table made = {.header = &header, .slots = placed};
    for (size_t i = 0; i < count; i++) {
        struct table_slot *slot = placed + (table_find(&made, all[i].action) - placed);
        header.entries += slot->length == 0;
        *slot = all[i]; // a later put of the same action wins
    }
    snprintf(path, sizeof(path), "%s.new", record_path);
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        die("'%s': %s", path, strerror(errno));
    write_all(fd, (const char *)&header, sizeof(header));
    write_all(fd, (const char *)placed, header.slots * sizeof(*placed));
    write_all(fd, tails.data, tails.size);
    close(fd);
    if (rename(path, record_path) < 0)
        die("'%s': %s", record_path, strerror(errno));
    free(placed);
}

static int digit_of(char c) {
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static size_t decode(char *to, const char *text, size_t size) {
    uint32_t bits = 0;
    size_t count = 0, used = 0;

    for (size_t i = 0; i < size && text[i] != '='; i++) {
        const int digit = digit_of(text[i]);
        if (digit < 0)
            die("not base64");
        bits = bits << 6 | (uint32_t)digit;
        if (++count % 4 != 1)
            to[used++] = (char)(bits >> (count % 4 == 0 ? 0 : count % 4 == 3 ? 2 : 4));
    }
    return used;
}

/* The blank line after the request and the body's line, quotes and all, however long. */
static void take_body(uint64_t body_size, struct bytes *ret_line) {
    uint64_t left = 1 + (body_size + 2) / 3 * 4 + 3;

    while (left > 0) {
        if (input_begin == input_end && !receive())
            die("ended within a body");
        const size_t step = input_end - input_begin < left ? input_end - input_begin : left;
        if (ret_line)
            append(ret_line, input + input_begin, step);
        input_begin += step;
        left -= step;
    }
}

static void record(const struct request *request) {
    char id[33], name[65], path[4096], text[5000];
    struct table_slot slot = {.offset = tails.size};
    struct bytes line = {0};
    struct timespec time;

    const uint64_t size = request->body_size;

    memcpy(slot.action, request->action, TABLE_ID_TEXT);
    if (size > 0)
        take_body(size, &line);
    decode(id, request->output, TABLE_ID_TEXT);
    for (size_t i = 0; i < 32; i++)
        snprintf(name + 2 * i, 3, "%02x", (unsigned char)id[i]);
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    if (access(path, F_OK) < 0) {
        char new_path[4200];
        snprintf(new_path, sizeof(new_path), "%s.%d", path, (int)getpid());
        const int fd = open(new_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        if (fd < 0)
            die("'%s': %s", new_path, strerror(errno));
        if (size > 0) {
            if (decode(line.data, line.data + 2, line.size - 4) !=
                size) // in place: it only shrinks
                die("a body of a wrong length");
            write_all(fd, line.data, size);
        }
        close(fd);
        if (rename(new_path, path) < 0)
            die("'%s': %s", path, strerror(errno));
    }
    free(line.data);
    clock_gettime(CLOCK_REALTIME, &time);
    struct tm broken;
    gmtime_r(&time.tv_sec, &broken);
    char stamp[64];
    strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &broken);
    slot.length = (uint32_t)snprintf(
        text, sizeof(text),
        ",\"OutputID\":\"%.*s\",\"Size\":%" PRIu64 ",\"Time\":\"%s.%09ldZ\",\"DiskPath\":\"%s\"}\n",
        TABLE_ID_TEXT, request->output, size, stamp, time.tv_nsec, path);
    append(&tails, text, slot.length);
    append(&slots, &slot, sizeof(slot));
    answer(request->id, tails.data + slot.offset, slot.length);
}

/*
 * Serving
 */

static void get(const struct request *request) {
    static const char miss[] = ",\"Miss\":true}\n";
    const struct table_slot *slot =
        record_path ? recorded(request->action) : table_find(&table, request->action);

    gets++;
    if (slot && slot->length != 0) {
        hits++;
        answer(request->id, (record_path ? tails.data : table.tails) + slot->offset, slot->length);
    } else {
        answer(request->id, miss, strlen(miss));
    }
}

static void put(const struct request *request) {
    static const char swallowed[] = ",\"DiskPath\":\"/dev/null\"}\n";

    puts_seen++;
    if (record_path) {
        record(request);
        return;
    }
    if (request->body_size > 0)
        take_body(request->body_size, NULL);
    answer(request->id, swallowed, strlen(swallowed));
}

static void serve(void) {
    static const char handshake[] = "{\"ID\":0,\"KnownCommands\":[\"get\",\"put\",\"close\"]}\n";
    struct request request;

    write_all(1, handshake, strlen(handshake));
    for (;;) {
        const char *line = input + input_begin;
        const char *line_end = memchr(line, '\n', input_end - input_begin);
        if (!line_end) {
            if (!receive())
                return;
            continue;
        }
        input_begin += (size_t)(line_end - line) + 1;
        if (line == line_end) // the blank line after each request
            continue;
        parse(line, &request);
        if (request.command == 'g') {
            get(&request);
        } else if (request.command == 'p') {
            put(&request);
        } else {
            answer(request.id, "}\n", 2);
            return;
        }
    }
}

static const char *option(const char *word, const char *name) {
    return strncmp(word, name, strlen(name)) == 0 ? word + strlen(name) : NULL;
}

int main(int argc, char **argv) {
    const char *play_path = NULL, *value;

    for (int i = 1; i < argc; i++)
        if ((value = option(argv[i], "--record=")))
            record_path = value;
        else if ((value = option(argv[i], "--dir=")))
            directory = value;
        else if ((value = option(argv[i], "--play=")))
            play_path = value;
        else if ((value = option(argv[i], "--counts=")))
            counts_path = value;
        else
            die("unknown option '%s'", argv[i]);
    if (record_path ? !directory || *directory != '/' : !play_path)
        die("usage: floor --record=TABLE --dir=/D | --play=TABLE [--counts=FILE]");
    if (record_path)
        load_records();
    else if (table_map(play_path, &table) < 0)
        die("'%s' is no table", play_path);
    serve();
    if (record_path)
        save_records();
    flush(); // the answer to close: the table is complete when the go command sees it
    if (counts_path) {
        FILE *file = fopen(counts_path, "a");
        if (!file ||
            fprintf(file, "%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", gets, hits, puts_seen) < 0 ||
            fclose(file))
            die("'%s': %s", counts_path, strerror(errno));
    }
    return 0;
}

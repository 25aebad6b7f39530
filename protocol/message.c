// SPDX-License-Identifier: MIT
#include "protocol/message.h"
#include "lib/base/clock.h"
#include "protocol/put.h"
#include "protocol/take.h"

#include <errno.h>
#include <jansson.h>
#include <strings.h>

static const char flaw_id[] = "ID is negative";
static const char flaw_action[] = "ActionID is not the base64 of 32 bytes";
static const char flaw_output[] = "OutputID is not the base64 of 32 bytes";
static const char flaw_command[] = "unknown command; this helper knows get, put and close";

// --- The short way: byte for byte what the go command writes -------------------------------------

bool tuck_request_take(struct tuck_slice *input, struct tuck_request *ret_request) {
    struct tuck_slice text = *input;
    struct tuck_request request = {0};
    uint64_t id;
    while (text.len > 0 && *text.data == '\n')
        text.data++, text.len--;
    if (!tuck_take_text(&text, "{\"ID\":") || !tuck_take_uint(&text, &id) || id == 0 ||
        !tuck_take_text(&text, ",\"Command\":\""))
        return false;
    request.id = (int64_t)id;
    if (tuck_take_text(&text, "get\",\"ActionID\":\"")) {
        request.command = TUCK_COMMAND_GET;
        if (!tuck_take_id(&text, request.action.bytes))
            return false;
    } else if (tuck_take_text(&text, "put\",\"ActionID\":\"")) {
        request.command = TUCK_COMMAND_PUT;
        if (!tuck_take_id(&text, request.action.bytes) ||
            !tuck_take_text(&text, ",\"OutputID\":\"") ||
            !tuck_take_id(&text, request.output.bytes))
            return false;
        if (tuck_take_text(&text, ",\"BodySize\":") &&
            (!tuck_take_uint(&text, &request.body_size) || request.body_size == 0))
            return false;
    } else if (tuck_take_text(&text, "close\"")) {
        request.command = TUCK_COMMAND_CLOSE;
    } else {
        return false;
    }
    if (!tuck_take_text(&text, "}"))
        return false;
    *input = text;
    *ret_request = request;
    return true;
}

// --- The long way: any JSON ----------------------------------------------------------------------

// Go's decoders match names in any letter case; of several the last one counts.
static const json_t *field(json_t *object, const char *name) {
    const json_t *found = NULL;
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value) {
        if (strcasecmp(key, name) == 0)
            found = json_is_null(value) ? NULL : value;
    }
    return found;
}

static bool read_id(const json_t *value, uint8_t ret_id[TUCK_ID_BYTES]) {
    return json_is_string(value) &&
           tuck_base64_id(json_string_value(value), json_string_length(value), ret_id);
}

static void read_command(json_t *object, struct tuck_request *request) {
    static const struct {
        const char *name;
        enum tuck_command command;
    } commands[] = {
        {"get", TUCK_COMMAND_GET}, {"put", TUCK_COMMAND_PUT}, {"close", TUCK_COMMAND_CLOSE}};
    const json_t *value = field(object, "Command");
    for (size_t i = 0; json_is_string(value) && i < TUCK_ARRAY_LEN(commands); i++)
        if (strcmp(json_string_value(value), commands[i].name) == 0 &&
            json_string_length(value) == strlen(commands[i].name)) // no NUL inside
            request->command = commands[i].command;
    if (request->command == TUCK_COMMAND_OTHER)
        request->flaw = flaw_command;
}

// The length of the JSON number that begins there, 0 if none does. The text ends with an object's brace.
static size_t number_len(const char *text) {
    const char *at = text + (*text == '-');
    size_t digits = strspn(at, "0123456789");
    if (digits == 0 || (digits > 1 && *at == '0'))
        return 0;
    at += digits;
    if (*at == '.') {
        digits = strspn(at + 1, "0123456789");
        at = digits ? at + 1 + digits : text;
    }
    if (at > text && (*at == 'e' || *at == 'E')) {
        at += at[1] == '+' || at[1] == '-' ? 2 : 1;
        digits = strspn(at, "0123456789");
        at = digits ? at + digits : text;
    }
    return (size_t)(at - text);
}

// JSON knows numbers of any size, jansson those of a machine. Those that are too large for it become false: harmless in a
// field that we ignore, and no number in one that we need.
static json_t *load_with_large_numbers(struct tuck_slice text, json_error_t *why) {
    char *copy = malloc(text.len + 1); // ends with a NUL, for strspn()
    if (!copy)
        return NULL;
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    bool is_string = false;
    for (size_t i = 0; i < text.len; i++) {
        if (copy[i] == '\\' && is_string)
            i++;
        else if (copy[i] == '"')
            is_string = !is_string;
        if (is_string || copy[i] == '\0' || !strchr("0123456789-", copy[i]))
            continue;
        size_t len = number_len(copy + i), whole = 1 + strspn(copy + i + 1, "0123456789");
        errno = 0;
        bool is_large =
            len > whole ? len >= 5 : len >= 19 && (strtoll(copy + i, NULL, 10), errno == ERANGE);
        if (is_large) { // at least five characters, as 1e309
            memset(copy + i, ' ', len);
            memcpy(copy + i, "false", 5);
        }
        // What is no number stays for jansson to refuse.
        i += (len ? len : strspn(copy + i, "0123456789+-.eE")) - 1;
    }
    json_t *object = json_loadb(copy, text.len, JSON_ALLOW_NUL, why);
    free(copy);
    return object;
}

int tuck_request_parse(struct tuck_slice text, struct tuck_request *ret_request,
                       struct tuck_error *err) {
    struct tuck_request request = {0};
    json_error_t why;
    if (memchr(text.data, 0, text.len)) // jansson skips one that follows a number or a word
        return tuck_fail(err, TUCK_EPROTO, "a request is not valid JSON: it has a NUL");
    json_t *object = json_loadb((const char *)text.data, text.len, JSON_ALLOW_NUL, &why);
    if (!object && json_error_code(&why) == json_error_numeric_overflow)
        object = load_with_large_numbers(text, &why);
    if (!object)
        return tuck_fail(err, TUCK_EPROTO, "a request is not valid JSON: %s", why.text);
    int status = 0;
    const json_t *id = field(object, "ID");
    const json_t *size = field(object, "BodySize");
    if (!json_is_integer(id) || json_integer_value(id) == 0) {
        status = tuck_fail(err, TUCK_EPROTO, "a request has no ID that is an integer other than 0");
    } else if (size && (!json_is_integer(size) || json_integer_value(size) < 0)) {
        status = tuck_fail(err, TUCK_EPROTO, "request %lld has a BodySize that is no size",
                           (long long)json_integer_value(id));
    } else {
        request.id = json_integer_value(id);
        request.body_size = size ? (uint64_t)json_integer_value(size) : 0;
        read_command(object, &request);
        if (request.id < 0)
            request.flaw = flaw_id;
    }
    if (status == 0 &&
        (request.command == TUCK_COMMAND_GET || request.command == TUCK_COMMAND_PUT) &&
        !read_id(field(object, "ActionID"), request.action.bytes))
        request.flaw = flaw_action;
    if (status == 0 && request.command == TUCK_COMMAND_PUT) {
        const json_t *output = field(object, "OutputID"); // Go 1.21 to 1.23 call it ObjectID
        if (!read_id(output ? output : field(object, "ObjectID"), request.output.bytes))
            request.flaw = request.flaw ? request.flaw : flaw_output;
    }
    json_decref(object);
    if (status == 0)
        *ret_request = request;
    return status;
}

// --- Answers -------------------------------------------------------------------------------------

static char *put_int(char *at, int64_t number) {
    if (number < 0)
        *at++ = '-';
    return tuck_put_uint(at, number < 0 ? 0 - (uint64_t)number : (uint64_t)number);
}

// What stands for itself in a JSON string: all but control characters, quote and backslash.
static bool is_plain[256];

__attribute__((constructor)) static void fill_plain(void) {
    for (int c = 0x20; c < 256; c++)
        is_plain[c] = c != '"' && c != '\\' && c != 0x7f;
}

static char *put_string(char *at, const char *text) {
    const uint8_t *c = (const uint8_t *)text;
    *at++ = '"';
    while (*c) {
        size_t len = 0;
        while (is_plain[c[len]])
            len++;
        memcpy(at, c, len);
        at += len;
        c += len;
        if (*c == '"' || *c == '\\') {
            *at++ = '\\';
            *at++ = (char)*c++;
        } else if (*c) {
            at = tuck_put_text(at, "\\u00");
            tuck_hex(at, c++, 1);
            at += 2;
        }
    }
    *at++ = '"';
    return at;
}

// What is not ASCII in a message may be half a character of a cut path: it must not make the answer
// invalid UTF-8.
static char *put_plain_string(char *at, const char *text) {
    char *from = at;
    at = put_string(at, text);
    for (char *c = from; c < at; c++)
        if ((uint8_t)*c >= 0x80)
            *c = '?';
    return at;
}

size_t tuck_answer_room(const struct tuck_answer *answer) {
    return 256 + (answer->text ? 6 * strlen(answer->text) : 0);
}

size_t tuck_answer_write(const struct tuck_answer *answer, char *ret_text) {
    char *at = tuck_put_text(ret_text, "{\"ID\":");
    at = put_int(at, answer->id);
    switch (answer->kind) {
    case TUCK_ANSWER_HELLO:
        at = tuck_put_text(at, ",\"KnownCommands\":[\"get\",\"put\",\"close\"]");
        break;
    case TUCK_ANSWER_HIT:
        at = tuck_put_text(at, ",\"OutputID\":\"");
        tuck_base64_write_id(answer->output.bytes, at);
        at = tuck_put_text(at + TUCK_BASE64_ID_CHARS, "\",\"Size\":");
        at = tuck_put_uint(at, answer->size);
        at = tuck_put_text(at, ",\"Time\":\"");
        at += tuck_clock_format(answer->time_ns, at);
        at = tuck_put_text(at, "\",\"DiskPath\":");
        at = put_string(at, answer->text);
        break;
    case TUCK_ANSWER_MISS:
        at = tuck_put_text(at, ",\"Miss\":true");
        break;
    case TUCK_ANSWER_PUT:
        at = tuck_put_text(at, ",\"DiskPath\":");
        at = put_string(at, answer->text);
        break;
    case TUCK_ANSWER_CLOSE:
        break;
    case TUCK_ANSWER_ERROR:
        at = tuck_put_text(at, ",\"Err\":");
        at = put_plain_string(at, answer->text);
        break;
    }
    at = tuck_put_text(at, "}\n");
    return (size_t)(at - ret_text);
}

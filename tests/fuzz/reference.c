// SPDX-License-Identifier: MIT
#include "tests/fuzz/reference.h"
#include "lib/base/digest.h"
#include "tests/fuzz/fuzz.h"

#include <strings.h>

#define MESSAGE_MAX 65536
#define DEPTH_MAX   2048

struct reader {
    const uint8_t *data;
    size_t len, at;
    const char *why; // the first fault, or NULL
};

static bool fault(struct reader *reader, const char *why) {
    if (!reader->why)
        reader->why = why;
    return false;
}

static int peek(const struct reader *reader) {
    return reader->at < reader->len ? reader->data[reader->at] : -1;
}

static void skip_blanks(struct reader *reader) {
    while (peek(reader) == ' ' || peek(reader) == '\t' || peek(reader) == '\n' ||
           peek(reader) == '\r')
        reader->at++;
}

// --- Base64 --------------------------------------------------------------------------------------

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

bool reference_base64(const uint8_t *text, size_t len, uint8_t *ret_data, size_t *ret_len) {
    size_t out = 0;
    if (len % 4 != 0)
        return false;
    for (size_t at = 0; at < len; at += 4) {
        unsigned group = 0, digits = 0;
        for (; digits < 4 && text[at + digits] != '='; digits++) {
            const char *digit = text[at + digits] ? strchr(alphabet, text[at + digits]) : NULL;
            if (!digit)
                return false;
            group |= (unsigned)(digit - alphabet) << (18 - 6 * digits);
        }
        bool is_last = at + 4 == len;
        if (digits < 4 && (!is_last || digits < 2 || text[at + 3] != '='))
            return false;
        if ((digits == 2 && (group & 0xffff)) || (digits == 3 && (group & 0xff)))
            return false; // bits that belong to no byte
        for (unsigned i = 0; i + 1 < digits; i++)
            ret_data[out++] = (uint8_t)(group >> (16 - 8 * i));
    }
    *ret_len = out;
    return true;
}

size_t reference_encode(const uint8_t *data, size_t len, char *ret_text) {
    size_t out = 0;
    for (size_t at = 0; at < len; at += 3) {
        unsigned group = (unsigned)data[at] << 16;
        group |= at + 1 < len ? (unsigned)data[at + 1] << 8 : 0;
        group |= at + 2 < len ? data[at + 2] : 0;
        ret_text[out++] = alphabet[group >> 18];
        ret_text[out++] = alphabet[group >> 12 & 63];
        ret_text[out++] = at + 1 < len ? alphabet[group >> 6 & 63] : '=';
        ret_text[out++] = at + 2 < len ? alphabet[group & 63] : '=';
    }
    return out;
}

// --- JSON ----------------------------------------------------------------------------------------

enum kind { KIND_NULL, KIND_INTEGER, KIND_STRING, KIND_OTHER };

struct value {
    enum kind kind;
    int64_t integer;
    struct fuzz_text string; // decoded
};

static bool read_hex(struct reader *reader, unsigned *ret_unit) {
    *ret_unit = 0;
    for (int i = 0; i < 4; i++, reader->at++) {
        int c = peek(reader);
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return fault(reader, "no hexadecimal digit");
        *ret_unit = *ret_unit << 4 | (unsigned)digit;
    }
    return true;
}

static void add_character(struct fuzz_text *text, unsigned c) {
    uint8_t utf8[4];
    size_t len = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t heads[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = len; i-- > 1; c >>= 6)
        utf8[i] = (uint8_t)(0x80 | (c & 0x3f));
    utf8[0] = (uint8_t)(heads[len] | c);
    fuzz_text_add(text, utf8, len);
}

static bool read_escape(struct reader *reader, struct fuzz_text *text) {
    static const char letters[] = "\"\"\\\\//b\bf\fn\nr\rt\t";
    int c = peek(reader);
    reader->at++;
    for (const char *pair = letters; *pair; pair += 2) {
        if (c == pair[0]) {
            fuzz_text_add(text, pair + 1, 1);
            return true;
        }
    }
    unsigned unit, low;
    if (c != 'u' || !read_hex(reader, &unit))
        return fault(reader, "an escape that JSON does not know");
    if (unit >= 0xd800 && unit < 0xdc00) {
        if (peek(reader) != '\\' || reader->at + 1 >= reader->len ||
            reader->data[reader->at + 1] != 'u')
            return fault(reader, "half a surrogate pair");
        reader->at += 2;
        if (!read_hex(reader, &low) || low < 0xdc00 || low >= 0xe000)
            return fault(reader, "half a surrogate pair");
        unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
    } else if (unit >= 0xdc00 && unit < 0xe000) {
        return fault(reader, "half a surrogate pair");
    }
    add_character(text, unit);
    return true;
}

// One character beyond ASCII, copied if it is valid UTF-8.
static bool read_utf8(struct reader *reader, struct fuzz_text *text) {
    static const unsigned least[] = {0, 0, 0x80, 0x800, 0x10000};
    uint8_t head = reader->data[reader->at];
    size_t len = head >= 0xf0 && head < 0xf8   ? 4
                 : head >= 0xe0 && head < 0xf0 ? 3
                 : head >= 0xc0 && head < 0xe0 ? 2
                                               : 0;
    if (len == 0 || reader->len - reader->at < len)
        return fault(reader, "invalid UTF-8");
    unsigned c = head & (0x7fU >> len);
    for (size_t i = 1; i < len; i++) {
        uint8_t next = reader->data[reader->at + i];
        if ((next & 0xc0) != 0x80)
            return fault(reader, "invalid UTF-8");
        c = c << 6 | (next & 0x3fU);
    }
    if (c < least[len] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return fault(reader, "invalid UTF-8");
    fuzz_text_add(text, reader->data + reader->at, len);
    reader->at += len;
    return true;
}

static bool read_string(struct reader *reader, struct fuzz_text *text) {
    text->len = 0;
    reader->at++; // the quote
    for (;;) {
        int c = peek(reader);
        if (c < 0x20)
            return fault(reader, "a string with a control character or without end");
        if (c == '"') {
            reader->at++;
            return true;
        }
        if (c == '\\') {
            reader->at++;
            if (!read_escape(reader, text))
                return false;
        } else if (c >= 0x80) {
            if (!read_utf8(reader, text))
                return false;
        } else {
            fuzz_text_add(text, &reader->data[reader->at++], 1);
        }
    }
}

static bool read_digits(struct reader *reader) {
    size_t before = reader->at;
    while (peek(reader) >= '0' && peek(reader) <= '9')
        reader->at++;
    return reader->at > before || fault(reader, "a number without digits");
}

static bool read_number(struct reader *reader, struct value *value) {
    bool is_negative = peek(reader) == '-';
    reader->at += is_negative;
    size_t first = reader->at;
    if (!read_digits(reader))
        return false;
    if (reader->data[first] == '0' && reader->at > first + 1)
        return fault(reader, "a number with a leading zero");
    value->kind = KIND_INTEGER;
    uint64_t number = 0, limit = (uint64_t)INT64_MAX + is_negative;
    for (size_t i = first; i < reader->at; i++) {
        unsigned digit = (unsigned)(reader->data[i] - '0');
        if (number > (limit - digit) / 10)
            value->kind = KIND_OTHER; // beyond 64 bits
        else
            number = number * 10 + digit;
    }
    value->integer = (int64_t)(is_negative ? 0 - number : number);
    if (peek(reader) == '.') {
        reader->at++;
        value->kind = KIND_OTHER;
        if (!read_digits(reader))
            return false;
    }
    if (peek(reader) == 'e' || peek(reader) == 'E') {
        reader->at++;
        value->kind = KIND_OTHER;
        if (peek(reader) == '+' || peek(reader) == '-')
            reader->at++;
        if (!read_digits(reader))
            return false;
    }
    return true;
}

static bool read_word(struct reader *reader, const char *word) {
    size_t len = strlen(word);
    if (reader->len - reader->at < len || memcmp(reader->data + reader->at, word, len) != 0)
        return fault(reader, "no JSON value");
    reader->at += len;
    return true;
}

typedef void take_member(void *arg, const struct fuzz_text *name, const struct value *value);

// Reads one value; each member of an object is handed out, those inside other values are not.
static bool read_value(struct reader *reader, unsigned depth, struct value *value,
                       take_member *take, void *arg) {
    int first = peek(reader);
    value->kind = KIND_OTHER;
    if (depth > DEPTH_MAX)
        return fault(reader, "values are nested too deep");
    if (first == '"') {
        value->kind = KIND_STRING;
        return read_string(reader, &value->string);
    }
    if (first == 't')
        return read_word(reader, "true");
    if (first == 'f')
        return read_word(reader, "false");
    if (first == 'n') {
        value->kind = KIND_NULL;
        return read_word(reader, "null");
    }
    if (first != '{' && first != '[')
        return read_number(reader, value);
    int last = first == '{' ? '}' : ']';
    struct fuzz_text name = {0};
    struct value member = {0};
    bool is_good = true;
    reader->at++;
    skip_blanks(reader);
    bool is_empty = peek(reader) == last;
    reader->at += is_empty;
    while (is_good && !is_empty) {
        skip_blanks(reader);
        if (first == '{') {
            is_good = peek(reader) == '"' ? read_string(reader, &name)
                                          : fault(reader, "a name is no string");
            if (is_good && memchr(name.data ? name.data : "", 0, name.len))
                is_good = fault(reader, "a name with a NUL");
            skip_blanks(reader);
            if (is_good && peek(reader) != ':')
                is_good = fault(reader, "a name without a colon");
            reader->at++;
            skip_blanks(reader);
        }
        is_good = is_good && read_value(reader, depth + 1, &member, NULL, NULL);
        if (is_good && take && first == '{')
            take(arg, &name, &member);
        skip_blanks(reader);
        int next = is_good ? peek(reader) : -1;
        reader->at++;
        if (next == last)
            break;
        if (is_good && next != ',')
            is_good = fault(reader, "no comma between two values");
    }
    fuzz_text_fini(&name);
    fuzz_text_fini(&member.string);
    return is_good;
}

// --- Requests ------------------------------------------------------------------------------------

enum field {
    FIELD_ID,
    FIELD_COMMAND,
    FIELD_ACTION,
    FIELD_OUTPUT,
    FIELD_OBJECT,
    FIELD_SIZE,
    FIELD_MAX
};

struct fields {
    bool is_open;
    struct fuzz_text spelled[FIELD_MAX]; // each name as it came, with a line end
    struct value
        value[FIELD_MAX]; // the last one of each name, in any letter case; null counts as absent
};

static void note_spelling(struct fields *fields, struct fuzz_text *spelled,
                          const struct fuzz_text *name) {
    size_t before = spelled->len, same = 0, last = 0;
    for (size_t at = 0; at < before; at += name->len + 1) {
        last = memcmp(spelled->data + at, name->data, name->len) == 0;
        same += last;
    }
    fields->is_open |= same > 0 && !last;
    fuzz_text_add(spelled, name->data, name->len);
    fuzz_text_add(spelled, "\n", 1);
}

static void take_field(void *arg, const struct fuzz_text *name, const struct value *value) {
    static const char *const names[] = {"ID",       "Command",  "ActionID",
                                        "OutputID", "ObjectID", "BodySize"};
    struct fields *fields = arg;
    for (size_t i = 0; i < FIELD_MAX; i++) {
        if (name->len != strlen(names[i]) || strncasecmp(name->data, names[i], name->len) != 0)
            continue;
        note_spelling(fields, &fields->spelled[i], name);
        fields->value[i].kind = value->kind;
        fields->value[i].integer = value->integer;
        fields->value[i].string.len = 0;
        if (value->kind == KIND_STRING)
            fuzz_text_add(&fields->value[i].string, value->string.data, value->string.len);
    }
}

static bool is_text(const struct value *value, const char *text) {
    return value->kind == KIND_STRING && value->string.len == strlen(text) &&
           memcmp(value->string.data ? value->string.data : "", text, value->string.len) == 0;
}

static bool read_id(const struct value *value, uint8_t ret_id[TUCK_ID_BYTES]) {
    uint8_t id[TUCK_ID_BYTES + 1];
    size_t len;
    if (value->kind != KIND_STRING || value->string.len != 44 ||
        !reference_base64((const uint8_t *)value->string.data, 44, id, &len) ||
        len != TUCK_ID_BYTES)
        return false;
    memcpy(ret_id, id, TUCK_ID_BYTES);
    return true;
}

static bool read_request(struct reader *reader, struct reference_request *request, bool *is_open) {
    struct fields fields = {0};
    struct value whole = {0};
    request->begin = reader->at;
    bool is_good = read_value(reader, 1, &whole, take_field, &fields);
    request->end = reader->at;
    const struct value *id = &fields.value[FIELD_ID], *size = &fields.value[FIELD_SIZE];
    if (is_good && request->end - request->begin > MESSAGE_MAX)
        is_good = fault(reader, "a request above 64 KiB");
    if (is_good && (id->kind != KIND_INTEGER || id->integer == 0))
        is_good = fault(reader, "no ID");
    if (is_good && size->kind != KIND_NULL && (size->kind != KIND_INTEGER || size->integer < 0))
        is_good = fault(reader, "no BodySize");
    if (is_good) {
        const struct value *command = &fields.value[FIELD_COMMAND],
                           *output = &fields.value[FIELD_OUTPUT];
        request->id = id->integer;
        request->body_size = size->kind == KIND_INTEGER ? (uint64_t)size->integer : 0;
        request->command = is_text(command, "get")     ? REFERENCE_GET
                           : is_text(command, "put")   ? REFERENCE_PUT
                           : is_text(command, "close") ? REFERENCE_CLOSE
                                                       : REFERENCE_OTHER;
        request->is_flawed = request->command == REFERENCE_OTHER;
        if (request->command == REFERENCE_GET || request->command == REFERENCE_PUT)
            request->is_flawed = !read_id(&fields.value[FIELD_ACTION], request->action.bytes);
        if (output->kind == KIND_NULL)
            output = &fields.value[FIELD_OBJECT];
        if (request->command == REFERENCE_PUT && !read_id(output, request->output.bytes))
            request->is_flawed = true;
        request->is_flawed |= request->id < 0;
    }
    *is_open |= fields.is_open;
    for (size_t i = 0; i < FIELD_MAX; i++) {
        fuzz_text_fini(&fields.value[i].string);
        fuzz_text_fini(&fields.spelled[i]);
    }
    fuzz_text_fini(&whole.string);
    return is_good;
}

static bool read_body(struct reader *reader, struct reference_request *request) {
    struct fuzz_text text = {0};
    bool is_good = true;
    skip_blanks(reader);
    request->body_begin = reader->at;
    if (peek(reader) != '"')
        return fault(reader, "no body where one was announced");
    reader->at++;
    while (is_good && peek(reader) != '"') {
        int c = peek(reader);
        if (c < 0x20 || c == '{') {
            is_good = fault(reader, "a body that broke off");
        } else if (c == '\\') {
            // In a body one half of a surrogate pair is just no base64.
            struct reader before = *reader;
            size_t was = text.len;
            reader->at++;
            if (!read_escape(reader, &text)) {
                unsigned unit;
                before.at += 2;
                is_good = before.at <= before.len && before.data[before.at - 1] == 'u' &&
                          read_hex(&before, &unit);
                if (is_good) {
                    *reader = before;
                    fuzz_text_add(&text, "?", 1);
                }
            } else if (text.len == was + 1 && (text.data[was] == '\n' || text.data[was] == '\r')) {
                text.len = was;
            }
        } else {
            fuzz_text_add(&text, &reader->data[reader->at++], 1);
        }
    }
    reader->at++;
    request->body_end = reader->at;
    if (is_good) {
        request->body = malloc(text.len + 1);
        fuzz_check(request->body, "no memory");
        request->is_base64 = reference_base64((const uint8_t *)text.data, text.len, request->body,
                                              &request->body_len);
    }
    fuzz_text_fini(&text);
    return is_good;
}

static void judge(struct reference_request *request) {
    struct tuck_digest digest;
    struct tuck_output_id found;
    request->is_whole = true;
    tuck_digest_init(&digest);
    tuck_digest_add(&digest, request->body, request->body_len);
    tuck_digest_end(&digest, &found);
    request->is_good = request->command == REFERENCE_PUT && !request->is_flawed &&
                       request->body_len == request->body_size &&
                       (request->body_size == 0 || request->is_base64) &&
                       tuck_output_equal(&found, &request->output);
    if (request->command != REFERENCE_PUT && request->body_size > 0)
        request->is_flawed = true; // only put has a body
}

void reference_read(const uint8_t *data, size_t len, struct reference_stream *ret_stream) {
    struct reader reader = {data, len, 0, NULL};
    size_t room = 0;
    *ret_stream = (struct reference_stream){.how = REFERENCE_END_OF_INPUT};
    for (;;) {
        skip_blanks(&reader);
        if (reader.at == len)
            return;
        struct reference_request request = {0};
        if (peek(&reader) != '{')
            (void)fault(&reader, "no object");
        bool is_message = !reader.why && read_request(&reader, &request, &ret_stream->is_open);
        if (is_message) {
            if (request.body_size == 0 || read_body(&reader, &request))
                judge(&request);
            if (ret_stream->count == room) {
                room = 2 * room + 16;
                ret_stream->request = realloc(ret_stream->request, room * sizeof(request));
                fuzz_check(ret_stream->request, "no memory");
            }
            ret_stream->request[ret_stream->count++] = request;
        }
        if (reader.why) {
            ret_stream->how = REFERENCE_BREACH;
            ret_stream->why = reader.why;
            return;
        }
        if (request.command == REFERENCE_CLOSE && !request.is_flawed) {
            ret_stream->how = REFERENCE_CLOSED;
            return;
        }
    }
}

void reference_fini(struct reference_stream *stream) {
    for (size_t i = 0; i < stream->count; i++)
        free(stream->request[i].body);
    free(stream->request);
    *stream = (struct reference_stream){0};
}

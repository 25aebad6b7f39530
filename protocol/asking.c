// SPDX-License-Identifier: MIT
/*
 * The reader is a state machine over single characters that runs through long stretches at once. It
 * knows where it is in the grammar from `state` and from one bit for each open brace or bracket:
 *
 *     BETWEEN ─ { ─► KEY_OR_END ─ " ─► TEXT ─► COLON ─ : ─► VALUE ─┬ " ─► TEXT, ESCAPE, HEX ─┐
 *        ▲              ▲                                          ├ 1 ─► NUMBER ────────────┤
 *        │              └──────────────── , ──────── AFTER ◄───────┼ t f n ─► WORD ──────────┤
 *        └────── the last brace is closed ─────────────┘ ▲         └ { [ ─► one level down   │
 *                                                        └───────────────────────────────────┘
 *
 * Only names and values of the outermost object mean something, and the names in KnownCommands.
 */
#include "protocol/asking.h"
#include "protocol/put.h"
#include "protocol/take.h"

#include <strings.h>

// --- Requests ------------------------------------------------------------------------------------

static char *put_id(char *at, const char *name, const uint8_t id[TUCK_ID_BYTES]) {
    at = tuck_put_text(at, name);
    tuck_base64_write_id(id, at);
    at[TUCK_BASE64_ID_CHARS] = '"';
    return at + TUCK_BASE64_ID_CHARS + 1;
}

size_t tuck_request_write(const struct tuck_request *request, unsigned form,
                          char ret_text[TUCK_REQUEST_ROOM]) {
    char *at = tuck_put_text(ret_text, "{\"ID\":");
    at = tuck_put_uint(at, (uint64_t)request->id);
    switch (request->command) {
    case TUCK_COMMAND_GET:
        at = put_id(at, ",\"Command\":\"get\",\"ActionID\":\"", request->action.bytes);
        break;
    case TUCK_COMMAND_PUT:
        at = put_id(at, ",\"Command\":\"put\",\"ActionID\":\"", request->action.bytes);
        at = put_id(at, form & TUCK_REQUEST_OBJECT_ID ? ",\"ObjectID\":\"" : ",\"OutputID\":\"",
                    request->output.bytes);
        if (request->body_size > 0)
            at = tuck_put_uint(tuck_put_text(at, ",\"BodySize\":"), request->body_size);
        if (form & TUCK_REQUEST_BOTH_IDS)
            at = put_id(at, ",\"ObjectID\":\"", request->output.bytes);
        break;
    case TUCK_COMMAND_CLOSE:
        at = tuck_put_text(at, ",\"Command\":\"close\"");
        break;
    case TUCK_COMMAND_OTHER:
        tuck_verify(request->command != TUCK_COMMAND_OTHER);
    }
    at = tuck_put_text(at, form & TUCK_REQUEST_NO_EMPTY_LINE ? "}\n" : "}\n\n");
    return (size_t)(at - ret_text);
}

// --- Answers -------------------------------------------------------------------------------------

#define DEPTH_MAX    2048U
#define NAME_ROOM    16U // no name that is known is longer
#define COMMAND_ROOM 16U
#define OUTPUT_ROOM  64U
#define TIME_ROOM    256U
#define NUMBER_ROOM  24U

enum state {
    BETWEEN,      // white space, then an object
    KEY_OR_END,   // after {
    KEY,          // after a comma in an object
    COLON,        // after a name
    VALUE,        // after a colon, or after a comma in an array
    VALUE_OR_END, // after [
    AFTER,        // after a value
    TEXT,         // inside a string, a name included
    ESCAPE,       // after a backslash
    HEX,          // inside the four digits of \uXXXX
    NUMBER,
    WORD, // inside true, false or null
    BROKEN,
};

enum number_state { // what has been read of a number; those above NUMBER_OPEN may end there
    NUMBER_MINUS,
    NUMBER_POINT,
    NUMBER_E,
    NUMBER_E_SIGN,
    NUMBER_OPEN = NUMBER_E_SIGN,
    NUMBER_ZERO,
    NUMBER_WHOLE,
    NUMBER_FRACTION,
    NUMBER_EXPONENT,
};

enum field {
    FIELD_OTHER,
    FIELD_ID,
    FIELD_ERR,
    FIELD_NAMES,
    FIELD_MISS,
    FIELD_OUTPUT,
    FIELD_SIZE,
    FIELD_TIME,
    FIELD_PATH,
};

static const struct {
    const char *name, *flaw;
} known_fields[] = {
    [FIELD_OTHER] = {"", ""},
    [FIELD_ID] = {"ID", "ID is no integer of 64 bits"},
    [FIELD_ERR] = {"Err", "Err is no string"},
    [FIELD_NAMES] = {"KnownCommands", "KnownCommands is no array of strings"},
    [FIELD_MISS] = {"Miss", "Miss is neither true nor false"},
    [FIELD_OUTPUT] = {"OutputID", "OutputID is no padded standard base64"},
    [FIELD_SIZE] = {"Size", "Size is no integer of 64 bits"},
    [FIELD_TIME] = {"Time", "Time is no RFC 3339 time"},
    [FIELD_PATH] = {"DiskPath", "DiskPath is no string"},
};

/** Where the text of a string goes: nowhere if room is 0. */
struct capture {
    char *data;
    size_t len, room;
    bool is_cut; // more came than has room
};

struct tuck_answer_reader {
    enum state state;
    enum tuck_answer_fault fault;
    uint64_t total; // bytes since the last answer
    unsigned depth;
    uint8_t is_object[DEPTH_MAX / 8]; // one bit for each level

    enum field field; // whose value is read, in the outermost object
    unsigned seen;    // 1 << enum field
    bool is_key;      // the string is a name
    bool in_names;    // inside KnownCommands' array

    struct capture text;
    unsigned utf8_left;          // continuation bytes that a character still needs
    uint8_t utf8_low, utf8_high; // between which the next one lies
    unsigned hex_digits, hex_value;
    unsigned surrogate; // the first half of a pair, 0 if none waits for its second
    bool is_no_text;    // the string has invalid UTF-8 or half a surrogate pair
    bool has_nul;

    enum number_state number;
    bool is_negative, is_too_large, is_integer;
    uint64_t magnitude;

    const char *word; // what is left of true, false, null
    char word_kind;

    struct tuck_answer_fields fields;
    char name[NAME_ROOM], command[COMMAND_ROOM], output[OUTPUT_ROOM], time[TIME_ROOM];
    char err[TUCK_ANSWER_ERR_MAX], path[TUCK_ANSWER_PATH_ROOM];
};

int tuck_answer_reader_new(struct tuck_answer_reader **ret_reader) {
    struct tuck_answer_reader *reader = calloc(1, sizeof(*reader));
    if (!reader)
        return TUCK_ENOMEM;
    *ret_reader = reader;
    return 0;
}

void tuck_answer_reader_free(struct tuck_answer_reader *reader) {
    free(reader);
}

bool tuck_answer_reader_is_idle(const struct tuck_answer_reader *reader) {
    return reader->state == BETWEEN;
}

static int broken(struct tuck_answer_reader *reader, enum tuck_answer_fault fault,
                  struct tuck_error *err, const char *why) {
    reader->state = BROKEN;
    reader->fault = fault;
    return tuck_fail(err, TUCK_EPROTO, "%s", why);
}

static int no_json(struct tuck_answer_reader *reader, struct tuck_error *err, const char *why) {
    return broken(reader, TUCK_ANSWER_NO_JSON, err, why);
}

// --- Values of known fields ----------------------------------------------------------------------

static void note(const char **flaw, const char *text) {
    if (!*flaw)
        *flaw = text;
}

static void wrong_type(struct tuck_answer_reader *reader, enum field field) {
    if (field == FIELD_ID)
        note(&reader->fields.id_flaw, known_fields[field].flaw);
    else if (field != FIELD_OTHER)
        note(&reader->fields.flaw, known_fields[field].flaw);
}

// Go's decoder skips line ends in base64 and takes any length: so the form is one question, and
// whether it is an id another.
static void take_output(struct tuck_answer_reader *reader) {
    struct tuck_answer_fields *fields = &reader->fields;
    char text[OUTPUT_ROOM];
    uint8_t decoded[TUCK_BASE64_ROOM(OUTPUT_ROOM)];
    size_t len = 0, decoded_len = 0;
    struct tuck_base64 decoder;
    fields->output_flaw = NULL;
    if (tuck_base64_id(reader->text.data, reader->text.len, fields->output.bytes) &&
        !reader->text.is_cut)
        return;
    for (size_t i = 0; i < reader->text.len; i++)
        if (reader->text.data[i] != '\n' && reader->text.data[i] != '\r')
            text[len++] = reader->text.data[i];
    tuck_base64_init(&decoder);
    if (tuck_base64_add(&decoder, text, len, decoded, &decoded_len) != 0 ||
        (!reader->text.is_cut && !tuck_base64_is_complete(&decoder)))
        wrong_type(reader, FIELD_OUTPUT);
    fields->output_flaw = decoded_len == TUCK_ID_BYTES && !reader->text.is_cut
                              ? "OutputID has line breaks in it"
                              : "OutputID is not of 32 bytes";
}

static inline bool read_digits(const char **at, const char *end, unsigned count,
                               unsigned *ret_number) {
    unsigned number = 0;
    for (; count > 0; count--, ++*at) {
        if (*at == end || **at < '0' || **at > '9')
            return false;
        number = number * 10 + (unsigned)(**at - '0');
    }
    *ret_number = number;
    return true;
}

static bool read_char(const char **at, const char *end, char c) {
    if (*at == end || **at != c)
        return false;
    ++*at;
    return true;
}

// Days from 1970 to a civil date: Howard Hinnant's algorithm, eras of 400 years that begin on 1
// March.
static int64_t days_of(int64_t year, unsigned month, unsigned day) {
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (int64_t)(month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

static unsigned days_in(unsigned year, unsigned month) {
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && is_leap);
}

// RFC 3339 as Go's decoder takes it: T and Z in upper case, no leap second, a comma as good as a
// point, any number of digits behind it of which nine count, any offset below a day.
static bool read_time(const char *at, size_t len, int64_t *ret_seconds, uint32_t *ret_ns) {
    const char *end = at + len;
    unsigned year, month, day, hour, minute, second, zone_hour = 0, zone_minute = 0;
    uint32_t ns = 0, unit = 100000000;
    if (!read_digits(&at, end, 4, &year) || !read_char(&at, end, '-') ||
        !read_digits(&at, end, 2, &month) || !read_char(&at, end, '-') ||
        !read_digits(&at, end, 2, &day) || !read_char(&at, end, 'T') ||
        !read_digits(&at, end, 2, &hour) || !read_char(&at, end, ':') ||
        !read_digits(&at, end, 2, &minute) || !read_char(&at, end, ':') ||
        !read_digits(&at, end, 2, &second))
        return false;
    if (month < 1 || month > 12 || day < 1 || day > days_in(year, month) || hour > 23 ||
        minute > 59 || second > 59)
        return false;
    if (at < end && (*at == '.' || *at == ',')) {
        unsigned digit;
        at++;
        if (!read_digits(&at, end, 1, &digit))
            return false;
        do {
            ns += digit * unit;
            unit /= 10;
        } while (read_digits(&at, end, 1, &digit));
    }
    int64_t offset = 0;
    if (at < end && (*at == '+' || *at == '-')) {
        int64_t sign = *at++ == '-' ? -1 : 1;
        if (!read_digits(&at, end, 2, &zone_hour) || !read_char(&at, end, ':') ||
            !read_digits(&at, end, 2, &zone_minute) || zone_hour > 23 || zone_minute > 59)
            return false;
        offset = sign * (zone_hour * 3600 + zone_minute * 60);
    } else if (!read_char(&at, end, 'Z')) {
        return false;
    }
    *ret_seconds = days_of(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset;
    *ret_ns = ns;
    return at == end;
}

static void take_path(struct tuck_answer_reader *reader) {
    struct tuck_answer_fields *fields = &reader->fields;
    fields->path_flaw = reader->text.is_cut  ? "DiskPath is longer than 4,095 bytes"
                        : reader->has_nul    ? "DiskPath has a NUL in it"
                        : reader->is_no_text ? "DiskPath is no valid UTF-8"
                                             : NULL;
    reader->path[reader->text.len] = '\0'; // has room: one byte less is captured
    fields->path = (struct tuck_slice){(const uint8_t *)reader->path, reader->text.len};
}

static void take_command(struct tuck_answer_reader *reader) {
    static const struct {
        const char *name;
        enum tuck_command command;
    } commands[] = {
        {"get", TUCK_COMMAND_GET}, {"put", TUCK_COMMAND_PUT}, {"close", TUCK_COMMAND_CLOSE}};
    unsigned found = TUCK_COMMAND_OTHER;
    for (size_t i = 0; i < TUCK_ARRAY_LEN(commands) && !reader->text.is_cut; i++)
        if (reader->text.len == strlen(commands[i].name) &&
            memcmp(reader->text.data, commands[i].name, reader->text.len) == 0)
            found = commands[i].command;
    reader->fields.commands |= 1U << found;
}

static void take_string(struct tuck_answer_reader *reader) {
    struct tuck_answer_fields *fields = &reader->fields;
    if (reader->is_no_text)
        note(&fields->oddity, "a string is no valid UTF-8");
    if (reader->depth == 2 && reader->in_names) {
        take_command(reader);
        return;
    }
    if (reader->depth != 1)
        return;
    switch (reader->field) {
    case FIELD_ERR:
        fields->err = (struct tuck_slice){(const uint8_t *)reader->err, reader->text.len};
        break;
    case FIELD_OUTPUT:
        take_output(reader);
        break;
    case FIELD_TIME:
        fields->has_time = !reader->text.is_cut && read_time(reader->time, reader->text.len,
                                                             &fields->time_s, &fields->time_ns);
        if (!fields->has_time)
            wrong_type(reader, FIELD_TIME);
        break;
    case FIELD_PATH:
        take_path(reader);
        break;
    default:
        wrong_type(reader, reader->field);
    }
}

static void take_number(struct tuck_answer_reader *reader) {
    uint64_t limit = (uint64_t)INT64_MAX + reader->is_negative;
    bool is_good = reader->is_integer && !reader->is_too_large && reader->magnitude <= limit;
    int64_t value = (int64_t)(reader->is_negative ? 0 - reader->magnitude : reader->magnitude);
    if (reader->depth == 2 && reader->in_names)
        wrong_type(reader, FIELD_NAMES);
    if (reader->depth != 1)
        return;
    if (is_good && reader->field == FIELD_ID)
        reader->fields.id = value;
    else if (is_good && reader->field == FIELD_SIZE)
        reader->fields.size = value;
    else
        wrong_type(reader, reader->field);
}

static void take_word(struct tuck_answer_reader *reader) {
    if (reader->word_kind == 'n') // null is as good as nothing, in Go too
        return;
    if (reader->depth == 2 && reader->in_names)
        wrong_type(reader, FIELD_NAMES);
    if (reader->depth == 1 && reader->field == FIELD_MISS)
        reader->fields.is_miss = reader->word_kind == 't';
    else if (reader->depth == 1)
        wrong_type(reader, reader->field);
}

static void take_name(struct tuck_answer_reader *reader) {
    static const uint8_t first[256] = {
        ['I'] = FIELD_ID,     ['i'] = FIELD_ID,     ['E'] = FIELD_ERR,  ['e'] = FIELD_ERR,
        ['K'] = FIELD_NAMES,  ['k'] = FIELD_NAMES,  ['M'] = FIELD_MISS, ['m'] = FIELD_MISS,
        ['O'] = FIELD_OUTPUT, ['o'] = FIELD_OUTPUT, ['S'] = FIELD_SIZE, ['s'] = FIELD_SIZE,
        ['T'] = FIELD_TIME,   ['t'] = FIELD_TIME,   ['D'] = FIELD_PATH, ['d'] = FIELD_PATH};
    const struct capture *text = &reader->text;
    if (reader->is_no_text)
        note(&reader->fields.oddity, "a name is no valid UTF-8");
    reader->field = FIELD_OTHER;
    if (text->is_cut || text->len < 2)
        return;
    enum field field = first[(uint8_t)text->data[0]];
    const char *name = known_fields[field].name;
    if (field == FIELD_OTHER || text->len != strlen(name) ||
        strncasecmp(text->data, name, text->len) != 0)
        return;
    if (memcmp(text->data, name, text->len) != 0)
        note(&reader->fields.oddity, "a field's name is in other letter case");
    if (reader->seen >> field & 1)
        note(&reader->fields.oddity, "a field is given twice");
    reader->seen |= 1U << field;
    reader->field = field;
}

// --- Levels --------------------------------------------------------------------------------------

static bool is_in_object(const struct tuck_answer_reader *reader) {
    unsigned level = reader->depth - 1;
    return reader->is_object[level / 8] >> level % 8 & 1;
}

static int go_down(struct tuck_answer_reader *reader, bool is_object, struct tuck_error *err) {
    if (reader->depth == DEPTH_MAX)
        return broken(reader, TUCK_ANSWER_TOO_DEEP, err,
                      "an answer has values nested deeper than 2,048");
    if (reader->depth == 1) {
        reader->in_names = !is_object && reader->field == FIELD_NAMES;
        if (reader->in_names)
            reader->fields.has_names = true;
        else if (!is_object && reader->field == FIELD_OUTPUT) // Go takes an array of numbers
            reader->fields.output_flaw = "OutputID is an array and no string";
        else
            wrong_type(reader, reader->field);
    } else if (reader->depth == 2 && reader->in_names) {
        wrong_type(reader, FIELD_NAMES);
    }
    unsigned level = reader->depth++, bit = 1U << level % 8;
    reader->is_object[level / 8] =
        (uint8_t)((reader->is_object[level / 8] & ~bit) | (is_object ? bit : 0));
    reader->state = is_object ? KEY_OR_END : VALUE_OR_END;
    return 0;
}

static int begin_answer(struct tuck_answer_reader *reader, struct tuck_error *err) {
    reader->fields = (struct tuck_answer_fields){.output_flaw = "OutputID is absent"};
    reader->field = FIELD_OTHER;
    reader->seen = 0;
    reader->depth = 0;
    reader->in_names = false;
    return go_down(reader, true, err);
}

static int go_up(struct tuck_answer_reader *reader, bool is_object, struct tuck_error *err) {
    if (is_in_object(reader) != is_object)
        return no_json(reader, err, "an answer is not valid JSON: a bracket does not match");
    if (--reader->depth == 1)
        reader->in_names = false;
    reader->state = reader->depth == 0 ? BETWEEN : AFTER;
    return 0;
}

// --- Strings -------------------------------------------------------------------------------------

static void begin_string(struct tuck_answer_reader *reader, bool is_key) {
    struct capture capture = {0};
    if (is_key && reader->depth == 1) {
        capture = (struct capture){.data = reader->name, .room = NAME_ROOM};
    } else if (!is_key && reader->depth == 2 && reader->in_names) {
        capture = (struct capture){.data = reader->command, .room = COMMAND_ROOM};
    } else if (!is_key && reader->depth == 1) {
        switch (reader->field) {
        case FIELD_ERR:
            capture = (struct capture){.data = reader->err, .room = TUCK_ANSWER_ERR_MAX};
            break;
        case FIELD_OUTPUT:
            capture = (struct capture){.data = reader->output, .room = OUTPUT_ROOM};
            break;
        case FIELD_TIME:
            capture = (struct capture){.data = reader->time, .room = TIME_ROOM};
            break;
        case FIELD_PATH:
            capture = (struct capture){.data = reader->path, .room = TUCK_ANSWER_PATH_ROOM - 1};
            break;
        default:
            break;
        }
    }
    reader->text = capture;
    reader->is_key = is_key;
    reader->is_no_text = reader->has_nul = false;
    reader->surrogate = 0;
    reader->utf8_left = 0;
    reader->state = TEXT;
}

static void capture(struct tuck_answer_reader *reader, const uint8_t *data, size_t len) {
    struct capture *text = &reader->text;
    size_t left = text->room - text->len;
    if (len > left) {
        text->is_cut = true;
        len = left;
    }
    if (len > 0) {
        memcpy(text->data + text->len, data, len);
        text->len += len;
    }
}

static void capture_code_point(struct tuck_answer_reader *reader, unsigned code) {
    uint8_t bytes[4];
    size_t len;
    if (code < 0x80) {
        bytes[0] = (uint8_t)code;
        len = 1;
    } else if (code < 0x800) {
        bytes[0] = (uint8_t)(0xc0 | code >> 6);
        bytes[1] = (uint8_t)(0x80 | (code & 63));
        len = 2;
    } else if (code < 0x10000) {
        bytes[0] = (uint8_t)(0xe0 | code >> 12);
        bytes[1] = (uint8_t)(0x80 | (code >> 6 & 63));
        bytes[2] = (uint8_t)(0x80 | (code & 63));
        len = 3;
    } else {
        bytes[0] = (uint8_t)(0xf0 | code >> 18);
        bytes[1] = (uint8_t)(0x80 | (code >> 12 & 63));
        bytes[2] = (uint8_t)(0x80 | (code >> 6 & 63));
        bytes[3] = (uint8_t)(0x80 | (code & 63));
        len = 4;
    }
    reader->has_nul |= code == 0;
    capture(reader, bytes, len);
}

// What is no character is kept as U+FFFD, as in Go.
static void capture_no_text(struct tuck_answer_reader *reader) {
    reader->is_no_text = true;
    capture_code_point(reader, 0xfffd);
}

// A first half of a pair that no second half follows.
static void drop_surrogate(struct tuck_answer_reader *reader) {
    if (reader->surrogate)
        capture_no_text(reader);
    reader->surrogate = 0;
}

static void take_escaped(struct tuck_answer_reader *reader, unsigned unit) {
    if (reader->surrogate && unit >= 0xdc00 && unit < 0xe000) {
        capture_code_point(reader, 0x10000 + ((reader->surrogate & 0x3ff) << 10) + (unit & 0x3ff));
        reader->surrogate = 0;
        return;
    }
    drop_surrogate(reader);
    if (unit >= 0xd800 && unit < 0xdc00)
        reader->surrogate = unit;
    else if (unit >= 0xdc00 && unit < 0xe000)
        capture_no_text(reader);
    else
        capture_code_point(reader, unit);
}

// One byte above 0x7f. Bytes of good characters are kept as they are; an unfinished character
// becomes one U+FFFD.
static void take_high_byte(struct tuck_answer_reader *reader, uint8_t byte) {
    if (reader->utf8_left > 0 && byte >= reader->utf8_low && byte <= reader->utf8_high) {
        reader->utf8_left--;
        reader->utf8_low = 0x80;
        reader->utf8_high = 0xbf;
    } else if (byte >= 0xc2 && byte <= 0xf4) {
        reader->is_no_text |= reader->utf8_left > 0;
        reader->utf8_left = byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3;
        reader->utf8_low = byte == 0xe0 ? 0xa0 : byte == 0xf0 ? 0x90 : 0x80;
        reader->utf8_high = byte == 0xed ? 0x9f : byte == 0xf4 ? 0x8f : 0xbf;
    } else {
        reader->is_no_text = true;
        reader->utf8_left = 0;
    }
    capture(reader, &byte, 1);
}

// How many of the bytes there stand for themselves in a string: no quote, backslash, control
// character, and nothing above 0x7f. Eight at a time: a byte of `found` has its top bit set where
// one does not, and the lowest such is right (a borrow can only mark those above it).
static size_t count_plain(const uint8_t *at, size_t len) {
    const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones << 7;
    size_t count = 0;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    for (; len - count >= 8; count += 8) {
        uint64_t word;
        memcpy(&word, at + count, sizeof(word));
        uint64_t quote = word ^ ones * '"', backslash = word ^ ones * '\\';
        uint64_t found = (word | ((word - ones * 0x20) & ~word) | ((quote - ones) & ~quote) |
                          ((backslash - ones) & ~backslash)) &
                         tops;
        if (found)
            return count + (size_t)__builtin_ctzll(found) / 8;
    }
#endif
    while (count < len && at[count] >= 0x20 && at[count] < 0x80 && at[count] != '"' &&
           at[count] != '\\')
        count++;
    return count;
}

static int end_string(struct tuck_answer_reader *reader) {
    if (!reader->is_key) {
        take_string(reader);
        reader->state = AFTER;
        return 0;
    }
    if (reader->depth == 1)
        take_name(reader);
    reader->state = COLON;
    return 0;
}

static int read_text(struct tuck_answer_reader *reader, const uint8_t **at, const uint8_t *end,
                     struct tuck_error *err) {
    size_t plain = count_plain(*at, (size_t)(end - *at));
    if (plain > 0) {
        if (reader->surrogate)
            drop_surrogate(reader);
        if (reader->utf8_left > 0)
            reader->is_no_text = true;
        reader->utf8_left = 0;
        capture(reader, *at, plain);
        *at += plain;
        return 0;
    }
    uint8_t c = *(*at)++;
    if (c >= 0x80) {
        drop_surrogate(reader);
        take_high_byte(reader, c);
        return 0;
    }
    if (reader->utf8_left > 0)
        reader->is_no_text = true;
    reader->utf8_left = 0;
    if (c == '\\') {
        reader->state = ESCAPE;
        return 0;
    }
    if (c < 0x20)
        return no_json(reader, err, "an answer is not valid JSON: a control character in a string");
    drop_surrogate(reader);
    return end_string(reader);
}

static int read_escape(struct tuck_answer_reader *reader, uint8_t c, struct tuck_error *err) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (c == 'u') {
        reader->hex_digits = reader->hex_value = 0;
        reader->state = HEX;
        return 0;
    }
    const char *found = c ? strchr(from, c) : NULL;
    if (!found)
        return no_json(reader, err, "an answer is not valid JSON: an escape that there is not");
    take_escaped(reader, (uint8_t)to[found - from]);
    reader->state = TEXT;
    return 0;
}

static int read_hex(struct tuck_answer_reader *reader, uint8_t c, struct tuck_error *err) {
    unsigned digit = c >= '0' && c <= '9'   ? c - (unsigned)'0'
                     : c >= 'a' && c <= 'f' ? c - 'a' + 10U
                     : c >= 'A' && c <= 'F' ? c - 'A' + 10U
                                            : 16;
    if (digit == 16)
        return no_json(reader, err, "an answer is not valid JSON: \\u without four digits");
    reader->hex_value = reader->hex_value << 4 | digit;
    if (++reader->hex_digits == 4) {
        take_escaped(reader, reader->hex_value);
        reader->state = TEXT;
    }
    return 0;
}

// --- Numbers and words ---------------------------------------------------------------------------

static int no_number(struct tuck_answer_reader *reader, struct tuck_error *err) {
    return no_json(reader, err, "an answer is not valid JSON: a number breaks off");
}

static void begin_number(struct tuck_answer_reader *reader, uint8_t c) {
    reader->is_negative = c == '-';
    reader->is_too_large = false;
    reader->is_integer = true;
    reader->magnitude = c == '-' ? 0 : c - (uint64_t)'0';
    reader->number = c == '-' ? NUMBER_MINUS : c == '0' ? NUMBER_ZERO : NUMBER_WHOLE;
    reader->state = NUMBER;
}

// One more character of a number; false if it belongs to what follows. *ret_is_good is false where
// it must not stand.
static bool continue_number(struct tuck_answer_reader *reader, uint8_t c, bool *ret_is_good) {
    bool is_digit = c >= '0' && c <= '9';
    enum number_state was = reader->number;
    *ret_is_good = true;
    if (is_digit) {
        if (was == NUMBER_MINUS || was == NUMBER_WHOLE) {
            if (reader->magnitude > (UINT64_MAX - 9) / 10)
                reader->is_too_large = true;
            else
                reader->magnitude = reader->magnitude * 10 + (c - (uint64_t)'0');
            reader->number = was == NUMBER_MINUS && c == '0' ? NUMBER_ZERO : NUMBER_WHOLE;
        } else if (was == NUMBER_ZERO) {
            *ret_is_good = false;
        } else {
            reader->number =
                was == NUMBER_POINT || was == NUMBER_FRACTION ? NUMBER_FRACTION : NUMBER_EXPONENT;
        }
        return true;
    }
    if (c == '.' && (was == NUMBER_ZERO || was == NUMBER_WHOLE)) {
        reader->number = NUMBER_POINT;
    } else if ((c == 'e' || c == 'E') &&
               (was == NUMBER_ZERO || was == NUMBER_WHOLE || was == NUMBER_FRACTION)) {
        reader->number = NUMBER_E;
    } else if ((c == '+' || c == '-') && was == NUMBER_E) {
        reader->number = NUMBER_E_SIGN;
    } else {
        *ret_is_good = was > NUMBER_OPEN;
        return false;
    }
    reader->is_integer = false;
    return true;
}

static int read_number(struct tuck_answer_reader *reader, const uint8_t **at, const uint8_t *end,
                       struct tuck_error *err) {
    bool is_good;
    while (*at < end) {
        bool is_part = continue_number(reader, **at, &is_good);
        if (!is_good)
            return no_number(reader, err);
        if (!is_part) {
            take_number(reader);
            reader->state = AFTER;
            return 0;
        }
        ++*at;
    }
    return 0;
}

static int read_word(struct tuck_answer_reader *reader, uint8_t c, struct tuck_error *err) {
    if (c != (uint8_t)*reader->word)
        return no_json(reader, err, "an answer is not valid JSON: a word that there is not");
    if (*++reader->word == '\0') {
        take_word(reader);
        reader->state = AFTER;
    }
    return 0;
}

// --- The way through -----------------------------------------------------------------------------

static int read_value(struct tuck_answer_reader *reader, uint8_t c, struct tuck_error *err) {
    switch (c) {
    case '"':
        begin_string(reader, false);
        return 0;
    case '{':
    case '[':
        return go_down(reader, c == '{', err);
    case ']':
        if (reader->state == VALUE_OR_END)
            return go_up(reader, false, err);
        break;
    case 't':
    case 'f':
    case 'n':
        reader->word = c == 't' ? "rue" : c == 'f' ? "alse" : "ull";
        reader->word_kind = (char)c;
        reader->state = WORD;
        return 0;
    default:
        if (c == '-' || (c >= '0' && c <= '9')) {
            begin_number(reader, c);
            return 0;
        }
    }
    return no_json(reader, err, "an answer is not valid JSON: no value where one is due");
}

// A character outside strings, numbers and words that is no white space.
static int read_mark(struct tuck_answer_reader *reader, uint8_t c, struct tuck_error *err) {
    switch (reader->state) {
    case BETWEEN:
        if (c == '{')
            return begin_answer(reader, err);
        return no_json(reader, err, "something that is no JSON object was written to stdout");
    case KEY_OR_END:
    case KEY:
        if (c == '"') {
            begin_string(reader, true);
            return 0;
        }
        if (c == '}' && reader->state == KEY_OR_END)
            return go_up(reader, true, err);
        return no_json(reader, err, "an answer is not valid JSON: no name where one is due");
    case COLON:
        if (c != ':')
            return no_json(reader, err, "an answer is not valid JSON: a name without a colon");
        reader->state = VALUE;
        return 0;
    case AFTER:
        if (c == '}' || c == ']')
            return go_up(reader, c == '}', err);
        if (c != ',')
            return no_json(reader, err, "an answer is not valid JSON: a comma is missing");
        reader->state = is_in_object(reader) ? KEY : VALUE;
        return 0;
    default:
        return read_value(reader, c, err);
    }
}

static int read_some(struct tuck_answer_reader *reader, const uint8_t **at, const uint8_t *end,
                     struct tuck_error *err) {
    switch (reader->state) {
    case TEXT:
        return read_text(reader, at, end, err);
    case ESCAPE:
        return read_escape(reader, *(*at)++, err);
    case HEX:
        return read_hex(reader, *(*at)++, err);
    case NUMBER:
        return read_number(reader, at, end, err);
    case WORD:
        return read_word(reader, *(*at)++, err);
    case BROKEN:
        return broken(reader, reader->fault, err, "the position in the stream is lost");
    default: {
        uint8_t c = *(*at)++;
        if (c == ' ' || c == '\n' || c == '\r' || c == '\t')
            return 0;
        return read_mark(reader, c, err);
    }
    }
}

// --- The short way: an answer as most helpers write it, whole in the input ------------------------

// A string without escapes, and its quote.
static bool take_plain(struct tuck_slice *text, size_t room, const char **ret_string,
                       size_t *ret_len) {
    size_t len = count_plain(text->data, text->len);
    if (len == text->len || len > room || text->data[len] != '"')
        return false;
    *ret_string = (const char *)text->data;
    *ret_len = len;
    text->data += len + 1;
    text->len -= len + 1;
    return true;
}

// The fields in the order of Go's struct, as all helpers that encode it, and tuck, write them; no
// Err and no names. False, with nothing changed, for anything else, also what would be as good in
// other bytes. The long way comes to the same for what this takes.
static bool take_usual(struct tuck_answer_reader *reader, struct tuck_slice *input,
                       struct tuck_answer_fields *ret_fields) {
    struct tuck_slice text = *input;
    struct tuck_answer_fields fields = {.output_flaw = "OutputID is absent"};
    const char *string;
    size_t len;
    while (text.len > 0 && *text.data == '\n')
        text.data++, text.len--;
    uint64_t id, size = (uint64_t)fields.size;
    if (!tuck_take_text(&text, "{\"ID\":") || !tuck_take_uint(&text, &id))
        return false;
    fields.id = (int64_t)id;
    if (tuck_take_text(&text, ",\"Miss\":true"))
        fields.is_miss = true;
    if (tuck_take_text(&text, ",\"OutputID\":\"")) {
        if (!tuck_take_id(&text, fields.output.bytes))
            return false;
        fields.output_flaw = NULL;
    }
    if (tuck_take_text(&text, ",\"Size\":") && !tuck_take_uint(&text, &size))
        return false;
    fields.size = (int64_t)size;
    if (tuck_take_text(&text, ",\"Time\":\"")) {
        if (!take_plain(&text, TIME_ROOM, &string, &len) ||
            !read_time(string, len, &fields.time_s, &fields.time_ns))
            return false;
        fields.has_time = true;
    }
    if (tuck_take_text(&text, ",\"DiskPath\":\"")) {
        if (!take_plain(&text, TUCK_ANSWER_PATH_ROOM - 1, &string, &len))
            return false;
        memcpy(reader->path, string, len);
        reader->path[len] = '\0';
        fields.path = (struct tuck_slice){(const uint8_t *)reader->path, len};
    }
    if (!tuck_take_text(&text, "}"))
        return false;
    *input = text;
    *ret_fields = fields;
    return true;
}

int tuck_answer_read(struct tuck_answer_reader *reader, struct tuck_slice *input,
                     struct tuck_answer_fields *ret_fields, enum tuck_answer_fault *ret_fault,
                     struct tuck_error *err) {
    if (reader->state == BETWEEN && reader->total == 0 && take_usual(reader, input, ret_fields))
        return TUCK_ANSWER_READ;
    const uint8_t *at = input->data, *end = at + input->len;
    int status = 0;
    while (at < end && status == 0) {
        bool was_idle = reader->state == BETWEEN;
        status = read_some(reader, &at, end, err);
        if (status == 0 && reader->state == BETWEEN && !was_idle)
            status = TUCK_ANSWER_READ;
    }
    reader->total += (size_t)(at - input->data);
    *input = (struct tuck_slice){at, (size_t)(end - at)};
    if (status >= 0 && reader->total > TUCK_ANSWER_MAX)
        status = broken(reader, TUCK_ANSWER_TOO_LONG, err, "an answer is longer than 64 MiB");
    if (status < 0) {
        *ret_fault = reader->fault;
        return status;
    }
    if (status != TUCK_ANSWER_READ)
        return TUCK_ANSWER_MORE;
    reader->total = 0;
    *ret_fields = reader->fields;
    return TUCK_ANSWER_READ;
}

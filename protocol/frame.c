// SPDX-License-Identifier: MIT
#include "protocol/frame.h"

enum state {
    BETWEEN,     // white space, then the next value
    OBJECT,      // inside a message, outside its strings
    STRING,      // inside a string of a message
    ESCAPE,      // after a backslash in a string of a message
    BODY,        // inside a body
    BODY_ESCAPE, // after a backslash in a body
    BODY_HEX,    // inside the four digits of \uXXXX in a body
    BROKEN,
};

struct tuck_frame {
    enum state state;
    bool body_is_next;
    bool body_is_doubted;
    unsigned depth;      // of braces and brackets in a message
    unsigned hex_digits; // read of a \uXXXX
    unsigned hex_value;
    uint8_t unescaped;
    // The part of a message that came with earlier input; a message within one input is handed out
    // in place.
    uint8_t *held;
    size_t held_len;
    size_t held_room;
};

int tuck_frame_new(struct tuck_frame **ret_frame) {
    struct tuck_frame *frame = calloc(1, sizeof(*frame));
    if (!frame)
        return TUCK_ENOMEM;
    *ret_frame = frame;
    return 0;
}

void tuck_frame_free(struct tuck_frame *frame) {
    if (!frame)
        return;
    free(frame->held);
    free(frame);
}

void tuck_frame_expect_body(struct tuck_frame *frame) {
    tuck_verify(frame->state == BETWEEN);
    frame->body_is_next = true;
}

bool tuck_frame_is_idle(const struct tuck_frame *frame) {
    return frame->state == BETWEEN && !frame->body_is_next;
}

__attribute__((cold)) static int broken(struct tuck_frame *frame, struct tuck_error *err,
                                        const char *what) {
    frame->state = BROKEN;
    return tuck_fail(err, TUCK_EPROTO, "%s", what);
}

static void skip(struct tuck_slice *input, size_t n) {
    input->data += n;
    input->len -= n;
}

static int find_value(struct tuck_frame *frame, struct tuck_slice *input, struct tuck_error *err) {
    size_t at = 0;
    while (at < input->len && (input->data[at] == '\n' || input->data[at] == ' ' ||
                               input->data[at] == '\r' || input->data[at] == '\t'))
        at++;
    skip(input, at);
    if (input->len == 0)
        return TUCK_FRAME_MORE;
    if (frame->body_is_next) {
        if (input->data[0] != '"')
            return broken(frame, err, "a body was announced by BodySize but something else came");
        skip(input, 1);
        frame->body_is_next = false;
        frame->body_is_doubted = false;
        frame->state = BODY;
        return 0;
    }
    if (input->data[0] != '{')
        return broken(frame, err,
                      input->data[0] == '"' ? "a body came that no BodySize announced"
                                            : "something that is not a JSON object came");
    frame->state = OBJECT;
    frame->depth = 0;
    frame->held_len = 0;
    return 0;
}

static int hold(struct tuck_frame *frame, const uint8_t *data, size_t len, struct tuck_error *err) {
    if (frame->held_len + len > TUCK_FRAME_MESSAGE_MAX)
        return broken(frame, err, "a request is longer than 64 KiB");
    if (frame->held_len + len > frame->held_room) {
        size_t room = frame->held_room ? frame->held_room : 512;
        while (room < frame->held_len + len)
            room *= 2;
        uint8_t *grown = realloc(frame->held, room);
        if (!grown)
            return tuck_fail(err, TUCK_ENOMEM, "no memory for a request of %zu bytes", room);
        frame->held = grown;
        frame->held_room = room;
    }
    memcpy(frame->held + frame->held_len, data, len);
    frame->held_len += len;
    return 0;
}

// What matters in a message outside its strings.
static const bool ends_plain[256] = {
    ['"'] = true, ['{'] = true, ['['] = true, ['}'] = true, [']'] = true};

static int read_object(struct tuck_frame *frame, struct tuck_slice *input,
                       struct tuck_slice *ret_piece, struct tuck_error *err) {
    enum state state = frame->state;
    unsigned depth = frame->depth;
    const uint8_t *at = input->data, *end = at + input->len;
    bool is_whole = false;
    while (at < end && !is_whole) {
        if (state == ESCAPE) {
            at++;
            state = STRING;
        } else if (state == STRING) {
            while (at < end && *at != '"' && *at != '\\')
                at++;
            if (at < end)
                state = *at++ == '"' ? OBJECT : ESCAPE;
        } else {
            while (at < end && !ends_plain[*at])
                at++;
            if (at == end)
                break;
            uint8_t c = *at++;
            if (c == '"')
                state = STRING;
            else if (c == '{' || c == '[')
                depth++;
            else
                is_whole = --depth == 0;
        }
    }
    size_t len = (size_t)(at - input->data);
    frame->state = state;
    frame->depth = depth;
    if (is_whole && frame->held_len == 0 && len <= TUCK_FRAME_MESSAGE_MAX) {
        *ret_piece = (struct tuck_slice){input->data, len};
    } else {
        int status = hold(frame, input->data, len, err);
        if (status < 0)
            return status;
        *ret_piece = (struct tuck_slice){frame->held, frame->held_len};
    }
    skip(input, len);
    if (!is_whole)
        return TUCK_FRAME_MORE;
    frame->state = BETWEEN;
    return TUCK_FRAME_MESSAGE;
}

static int hand_out_unescaped(struct tuck_frame *frame, unsigned value,
                              struct tuck_slice *ret_piece) {
    frame->state = BODY;
    if (value == '\n' || value == '\r') // skipped like \n and \r
        return 0;
    // Only raw bytes can show that the client broke off: what was escaped was meant, and if it is no
    // base64 one byte outside the alphabet stands for it.
    frame->unescaped = value > 0x20 && value < 0x7b ? (uint8_t)value : 0xff;
    *ret_piece = (struct tuck_slice){&frame->unescaped, 1};
    return TUCK_FRAME_BODY;
}

static int read_body_escape(struct tuck_frame *frame, struct tuck_slice *input,
                            struct tuck_slice *ret_piece, struct tuck_error *err) {
    uint8_t c = input->data[0];
    skip(input, 1);
    if (frame->state == BODY_HEX) {
        unsigned digit = c >= '0' && c <= '9'   ? c - (unsigned)'0'
                         : c >= 'a' && c <= 'f' ? c - 'a' + 10U
                         : c >= 'A' && c <= 'F' ? c - 'A' + 10U
                                                : 16;
        if (digit == 16)
            return broken(frame, err, "a \\u escape in a body has no four hexadecimal digits");
        frame->hex_value = frame->hex_value << 4 | digit;
        if (++frame->hex_digits < 4)
            return 0;
        return hand_out_unescaped(frame, frame->hex_value, ret_piece);
    }
    switch (c) {
    case 'n': // Go's decoder skips line ends inside base64
    case 'r':
        frame->state = BODY;
        return 0;
    case 'u':
        frame->state = BODY_HEX;
        frame->hex_digits = 0;
        frame->hex_value = 0;
        return 0;
    case '/':
    case '"':
    case '\\':
        return hand_out_unescaped(frame, c, ret_piece);
    case 'b':
    case 'f':
    case 't':
        return hand_out_unescaped(frame, 0xff, ret_piece);
    default:
        return broken(frame, err, "a body has an escape that JSON does not know");
    }
}

static int look_for_break(struct tuck_frame *frame, struct tuck_slice piece,
                          struct tuck_error *err) {
    for (size_t i = 0; i < piece.len; i++)
        if (piece.data[i] == '{' || piece.data[i] < 0x20)
            return broken(frame, err,
                          "a body broke off and the next request began inside it; "
                          "the client failed while it sent the file");
    return 0;
}

int tuck_frame_doubt_body(struct tuck_frame *frame, struct tuck_slice piece,
                          struct tuck_error *err) {
    frame->body_is_doubted = true;
    return look_for_break(frame, piece, err);
}

static int read_body(struct tuck_frame *frame, struct tuck_slice *input,
                     struct tuck_slice *ret_piece, struct tuck_error *err) {
    const uint8_t *quote = memchr(input->data, '"', input->len);
    size_t len = quote ? (size_t)(quote - input->data) : input->len;
    const uint8_t *escape = memchr(input->data, '\\', len);
    if (escape)
        len = (size_t)(escape - input->data);
    if (len > 0) {
        *ret_piece = (struct tuck_slice){input->data, len};
        skip(input, len);
        if (frame->body_is_doubted) {
            int status = look_for_break(frame, *ret_piece, err);
            if (status < 0)
                return status;
        }
        return TUCK_FRAME_BODY;
    }
    skip(input, 1);
    if (escape) {
        frame->state = BODY_ESCAPE;
        return 0;
    }
    frame->state = BETWEEN;
    return TUCK_FRAME_BODY_END;
}

int tuck_frame_next(struct tuck_frame *frame, struct tuck_slice *input,
                    struct tuck_slice *ret_piece, struct tuck_error *err) {
    while (input->len > 0) {
        int status = 0;
        switch (frame->state) {
        case BETWEEN:
            status = find_value(frame, input, err);
            break;
        case OBJECT:
        case STRING:
        case ESCAPE:
            status = read_object(frame, input, ret_piece, err);
            break;
        case BODY:
            status = read_body(frame, input, ret_piece, err);
            break;
        case BODY_ESCAPE:
        case BODY_HEX:
            status = read_body_escape(frame, input, ret_piece, err);
            break;
        case BROKEN:
            return broken(frame, err, "the position in the stream is lost");
        }
        if (status != 0)
            return status;
    }
    return TUCK_FRAME_MORE;
}

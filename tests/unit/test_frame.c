// SPDX-License-Identifier: MIT
/*
 * What the framing finds is written down as a text, one line for each event: "object …", "body …" (all its pieces as
 * one), "end", "broken". However the input is cut, that text must be the same. As in lib/serve, a message that names
 * BodySize announces a body, and a body is doubted from the first piece on that is not base64.
 */
#include "tests/unit/unit.h"

#include "protocol/frame.h"

#define LOG_ROOM 300000

struct conversation {
    struct tuck_frame *frame;
    char *log;
    size_t len;
    bool is_in_body;
    bool is_doubted;
    bool is_broken;
};

static void note(struct conversation *talk, const void *text, size_t len) {
    assert_true(talk->len + len < LOG_ROOM);
    memcpy(talk->log + talk->len, text, len);
    talk->len += len;
    talk->log[talk->len] = '\0';
}

static void note_text(struct conversation *talk, const char *text) {
    note(talk, text, strlen(text));
}

static struct conversation begin(void) {
    struct conversation talk = {.log = malloc(LOG_ROOM)};
    assert_non_null(talk.log);
    talk.log[0] = '\0';
    assert_int_equal(tuck_frame_new(&talk.frame), 0);
    return talk;
}

static void end(struct conversation *talk) {
    tuck_frame_free(talk->frame);
    free(talk->log);
}

static bool is_base64(struct tuck_slice piece) {
    for (size_t i = 0; i < piece.len; i++)
        if (piece.data[i] == 0 ||
            !strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=",
                    piece.data[i]))
            return false;
    return true;
}

static void note_piece(struct conversation *talk, struct tuck_slice piece) {
    if (!talk->is_in_body)
        note_text(talk, "body ");
    talk->is_in_body = true;
    size_t from = talk->len;
    note(talk, piece.data, piece.len);
    for (size_t i = from; i < talk->len; i++) // lines belong to the log
        if ((uint8_t)talk->log[i] < 0x20)
            talk->log[i] = '~';
}

static void note_broken(struct conversation *talk, int status, const struct tuck_error *err) {
    assert_int_equal(status, TUCK_EPROTO);
    assert_int_equal(err->code, TUCK_EPROTO);
    assert_true(strlen(err->text) > 0);
    note_text(talk, talk->is_in_body ? "\nbroken\n" : "broken\n");
    talk->is_broken = true;
}

// Takes one input, in memory of exactly its size that is gone afterwards.
static void take(struct conversation *talk, const void *data, size_t len) {
    uint8_t *copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, data, len);
    struct tuck_slice input = {copy, len}, piece;
    struct tuck_error err = {0};
    while (input.len > 0 && !talk->is_broken) {
        size_t before = input.len;
        int status = tuck_frame_next(talk->frame, &input, &piece, &err);
        assert_true(input.len <= before);
        if (status == TUCK_FRAME_BODY && !talk->is_doubted && !is_base64(piece)) {
            talk->is_doubted = true;
            note_piece(talk, piece);
            status = tuck_frame_doubt_body(talk->frame, piece, &err);
            if (status < 0)
                note_broken(talk, status, &err);
        } else if (status == TUCK_FRAME_BODY) {
            note_piece(talk, piece);
        } else if (status == TUCK_FRAME_MESSAGE) {
            note_text(talk, "object ");
            note(talk, piece.data, piece.len);
            note_text(talk, "\n");
            if (memmem(piece.data, piece.len, "BodySize", 8))
                tuck_frame_expect_body(talk->frame);
        } else if (status == TUCK_FRAME_BODY_END) {
            note_text(talk, talk->is_in_body ? "\nend\n" : "end\n");
            talk->is_in_body = talk->is_doubted = false;
        } else if (status == TUCK_FRAME_MORE) {
            assert_int_equal(input.len, 0);
        } else {
            note_broken(talk, status, &err);
        }
    }
    free(copy);
}

// A body that is doubted may show what is before its break or not, depending on how it was cut: what counts is that
// it broke.
static void forget_doubted_body(char *log) {
    char *broken = strstr(log, "\nbroken\n");
    if (!broken)
        return;
    char *line = broken;
    while (line > log && line[-1] != '\n')
        line--;
    if (strncmp(line, "body ", 5) == 0)
        memmove(line, broken + 1, strlen(broken));
}

static char *talk_in_pieces(const char *text, size_t len, const size_t *ends, size_t count,
                            bool *ret_is_idle) {
    struct conversation talk = begin();
    size_t at = 0;
    for (size_t i = 0; i < count; at = ends[i++])
        take(&talk, text + at, ends[i] - at);
    take(&talk, text + at, len - at);
    *ret_is_idle = tuck_frame_is_idle(talk.frame);
    forget_doubted_body(talk.log);
    char *log = strdup(talk.log);
    assert_non_null(log);
    end(&talk);
    return log;
}

#define ACTION "\"ActionID\":\"qxWcnC5pHpFE38q9zLcruuzB831Bbc3A2HJjQokD22A=\""
#define PUT5   "{\"ID\":2,\"Command\":\"put\"," ACTION ",\"BodySize\":5}"

static const struct golden {
    const char *text;
    const char *log;
    bool is_idle;
} golden[] = {
    // What the go command writes.
    {"", "", true},
    {"{\"ID\":1,\"Command\":\"get\"," ACTION "}\n\n",
     "object {\"ID\":1,\"Command\":\"get\"," ACTION "}\n", true},
    {PUT5 "\n\n\"aGVsbG8=\"\n", "object " PUT5 "\nbody aGVsbG8=\nend\n", true},
    {PUT5 "\n\n\"aGVsbG8=\"\n{\"ID\":3}\n\n" PUT5
          "\n\n\"QUJD\"\n{\"ID\":5,\"Command\":\"close\"}\n\n",
     "object " PUT5 "\nbody aGVsbG8=\nend\nobject {\"ID\":3}\nobject " PUT5
     "\nbody QUJD\nend\nobject {\"ID\":5,\"Command\":\"close\"}\n",
     true},

    // White space: any, anywhere between values, and none.
    {"{}{}{}", "object {}\nobject {}\nobject {}\n", true},
    {" \t\r\n\n {}\r\n\t {} \n", "object {}\nobject {}\n", true},
    {PUT5 "\"QQ==\"" PUT5 "\"Qg==\"{}",
     "object " PUT5 "\nbody QQ==\nend\nobject " PUT5 "\nbody Qg==\nend\nobject {}\n", true},
    {"{ \"BodySize\" :\n 5\t}\r\n \r\n \"QUI=\" \n",
     "object { \"BodySize\" :\n 5\t}\nbody QUI=\nend\n", true},
    {"   \n\n\n\t\t", "", true},

    // Braces, brackets, quotes and backslashes where they mean nothing.
    {"{\"a\":\"}\"}{}", "object {\"a\":\"}\"}\nobject {}\n", true},
    {"{\"a\":\"{[\"}{}", "object {\"a\":\"{[\"}\nobject {}\n", true},
    {"{\"a\":\"\\\"}\"}{}", "object {\"a\":\"\\\"}\"}\nobject {}\n", true},
    {"{\"a\":\"\\\\\"}{}", "object {\"a\":\"\\\\\"}\nobject {}\n", true},
    {"{\"a\":\"\\\\\\\"}\"}{}", "object {\"a\":\"\\\\\\\"}\"}\nobject {}\n", true},
    {"{\"a\":{\"b\":[{},[]]}}{}", "object {\"a\":{\"b\":[{},[]]}}\nobject {}\n", true},
    {"{\"\\u007d}\":[\"]\"]}", "object {\"\\u007d}\":[\"]\"]}\n", true},

    // Bodies.
    {PUT5 "\"\"{}", "object " PUT5 "\nend\nobject {}\n", true},
    {PUT5 "\"QU\\/\\u002b\\u003d\"", "object " PUT5 "\nbody QU/+=\nend\n", true},
    {PUT5 "\"QU\\nJD\\r\\nRA==\\n\"", "object " PUT5 "\nbody QUJDRA==\nend\n", true},
    {PUT5 "\"\\u0051\\u0055\\u004A\\u0044\"", "object " PUT5 "\nbody QUJD\nend\n", true},
    {PUT5 "\"%%%%\"{}", "object " PUT5 "\nbody %%%%\nend\nobject {}\n", true},
    {PUT5 "\"a\\\"b\\\\c\"{}", "object " PUT5 "\nbody a\"b\\c\nend\nobject {}\n", true},
    {PUT5 "\"a\\bb\\fc\\td\"{}",
     "object " PUT5 "\nbody a\xff"
     "b\xff"
     "c\xff"
     "d\nend\nobject {}\n",
     true},
    {PUT5 "\"\\u00e9\\ud83d\\ude00\"{}", "object " PUT5 "\nbody \xff\xff\xff\nend\nobject {}\n",
     true},
    {PUT5 "\"caf\xc3\xa9\"{}", "object " PUT5 "\nbody caf\xc3\xa9\nend\nobject {}\n", true},

    // Cut off.
    {"{", "", false},
    {"{\"a", "", false},
    {"{\"a\\", "", false},
    {"{\"a\":1", "", false},
    {PUT5, "object " PUT5 "\n", false},
    {PUT5 "\n\n", "object " PUT5 "\n", false},
    {PUT5 "\"", "object " PUT5 "\n", false},
    {PUT5 "\"QUJD", "object " PUT5 "\nbody QUJD", false},
    {PUT5 "\"QUJD\\", "object " PUT5 "\nbody QUJD", false},
    {PUT5 "\"QUJD\\u00", "object " PUT5 "\nbody QUJD", false},

    // Not the protocol.
    {"[]", "broken\n", false},
    {"null", "broken\n", false},
    {"12", "broken\n", false},
    {"}", "broken\n", false},
    {"\"QQ==\"", "broken\n", false},
    {"{}\"QQ==\"", "object {}\nbroken\n", false},
    {"{},{}", "object {}\nbroken\n", false},
    {"\v{}", "broken\n", false},
    {"\xef\xbb\xbf{}", "broken\n", false},
    {PUT5 "{}", "object " PUT5 "\nbroken\n", false},
    {PUT5 "[]", "object " PUT5 "\nbroken\n", false},
    {PUT5 "QQ==", "object " PUT5 "\nbroken\n", false},
    {PUT5 "\"QQ\\x==\"{}", "object " PUT5 "\nbody QQ\nbroken\n", false},
    {PUT5 "\"\\'\"", "object " PUT5 "\nbroken\n", false},
    {PUT5 "\"\\U0041\"", "object " PUT5 "\nbroken\n", false},
    {PUT5 "\"\\u00g1\"", "object " PUT5 "\nbroken\n", false},
    {PUT5 "\"\\u004\"", "object " PUT5 "\nbroken\n", false},

    // The client broke off inside a body and went on with its next request.
    {PUT5 "\"aGVs{\"ID\":3}", "object " PUT5 "\nbroken\n", false},
    {PUT5 "\"aGVs\n{\"ID\":3}", "object " PUT5 "\nbroken\n", false},
    {PUT5 "\"aGVs%%{\"", "object " PUT5 "\nbroken\n", false},
    {PUT5 "\"%%%%aGVs\n\"", "object " PUT5 "\nbroken\n", false},
    {PUT5 "\"%%\\n%%{\"", "object " PUT5 "\nbroken\n", false},
    {PUT5 "\"%%%%\"{}" PUT5 "\"{\"",
     "object " PUT5 "\nbody %%%%\nend\nobject {}\nobject " PUT5 "\nbroken\n", false},
};

static void print_lines(const char *what, const char *text) {
    print_message("# %s: ", what);
    for (; *text; text++)
        print_message(*text == '\n' ? " | " : "%c", *text);
    print_message("\n");
}

static void expect(const struct golden *golden_of, const size_t *ends, size_t count) {
    bool is_idle;
    char expected[4096];
    (void)snprintf(expected, sizeof(expected), "%s", golden_of->log);
    forget_doubted_body(expected);
    char *log = talk_in_pieces(golden_of->text, strlen(golden_of->text), ends, count, &is_idle);
    bool is_same = strcmp(log, expected) == 0 && is_idle == golden_of->is_idle;
    if (!is_same) {
        print_lines("input", golden_of->text);
        print_lines("expected", expected);
        print_lines("found", log);
    }
    free(log);
    assert_true(is_same);
}

static void whole_inputs_give_the_events_in_the_table(void **state) {
    (void)state;
    for (size_t i = 0; i < TUCK_ARRAY_LEN(golden); i++)
        expect(&golden[i], NULL, 0);
}

static void one_byte_at_a_time_gives_the_same_events(void **state) {
    (void)state;
    for (size_t i = 0; i < TUCK_ARRAY_LEN(golden); i++) {
        size_t ends[4096], len = strlen(golden[i].text);
        for (size_t at = 0; at < len; at++)
            ends[at] = at + 1;
        expect(&golden[i], ends, len);
    }
}

static void every_cut_in_two_gives_the_same_events(void **state) {
    (void)state;
    for (size_t i = 0; i < TUCK_ARRAY_LEN(golden); i++)
        for (size_t cut = 0; cut <= strlen(golden[i].text); cut++)
            expect(&golden[i], &cut, 1);
}

static void random_cuts_give_the_same_events(void **state) {
    (void)state;
    struct unit_random random = unit_random_of(__func__);
    for (int round = 0; round < 5000; round++) {
        const struct golden *chosen = &golden[unit_random_below(&random, TUCK_ARRAY_LEN(golden))];
        size_t ends[64], count = 0, len = strlen(chosen->text);
        for (size_t at = 0; at < len && count < TUCK_ARRAY_LEN(ends);) {
            at += unit_random_below(&random, 12);
            ends[count++] = at < len ? at : len;
        }
        expect(chosen, ends, count);
    }
}

static void random_inputs_are_found_the_same_however_they_are_cut(void **state) {
    (void)state;
    static const char *const parts[] = {"{",   "}",        "[",         "]",    "\"",
                                        "\\",  ",",        ":",         "{}",   PUT5,
                                        "\n",  " ",        "\"QQ==\"",  "\\\"", "\\u0041",
                                        "\\n", "BodySize", "{\"a\":1}", "\xc3", "\\u1",
                                        "QQ",  "%",        "\t",        "\"\"", "{\"BodySize\":1}"};
    struct unit_random random = unit_random_of(__func__);
    for (int round = 0; round < 20000; round++) {
        char text[2048] = "";
        size_t len = 0, ends[2048];
        for (size_t count = 1 + unit_random_below(&random, 12); count > 0; count--) {
            const char *part = parts[unit_random_below(&random, TUCK_ARRAY_LEN(parts))];
            len += (size_t)snprintf(text + len, sizeof(text) - len, "%s", part);
        }
        for (size_t at = 0; at < len; at++)
            ends[at] = at + 1;
        bool is_idle, is_idle_in_pieces;
        char *whole = talk_in_pieces(text, len, NULL, 0, &is_idle);
        char *pieces = talk_in_pieces(text, len, ends, len, &is_idle_in_pieces);
        bool is_same = strcmp(whole, pieces) == 0 && is_idle == is_idle_in_pieces;
        if (!is_same) {
            print_lines("input", text);
            print_lines("whole", whole);
            print_lines("in pieces", pieces);
        }
        free(whole);
        free(pieces);
        assert_true(is_same);
    }
}

static void a_nul_between_values_is_not_white_space(void **state) {
    (void)state;
    struct conversation talk = begin();
    take(&talk, "{}\0{}", 5);
    assert_string_equal(talk.log, "object {}\nbroken\n");
    end(&talk);
}

static void a_nul_inside_a_body_is_a_break(void **state) {
    (void)state;
    struct conversation talk = begin();
    take(&talk, PUT5 "\"QQ", strlen(PUT5) + 3);
    take(&talk, "\0", 1);
    assert_true(talk.is_broken);
    end(&talk);
}

static void an_escaped_line_end_is_skipped_in_either_spelling(void **state) {
    (void)state;
    static const struct golden one = {PUT5 "\"QU\\u000aJD\\u000D\\u000a\"",
                                      "object " PUT5 "\nbody QUJD\nend\n", true};
    expect(&one, NULL, 0);
}

static void an_escaped_brace_in_a_body_is_bad_base64_but_no_break(void **state) {
    (void)state;
    // A client that broke off goes on with a bare brace; an escaped one was meant.
    static const struct golden one = {PUT5 "\"\\u007b\\u0001\"{}", NULL, true};
    bool is_idle;
    char *log = talk_in_pieces(one.text, strlen(one.text), NULL, 0, &is_idle);
    bool goes_on = strstr(log, "end\nobject {}\n") != NULL;
    free(log);
    assert_true(goes_on);
    assert_true(is_idle);
}

// --- Limits --------------------------------------------------------------------------------------

// {"a":"xxx…"} of exactly this length.
static char *long_object(size_t len) {
    char *text = malloc(len + 1);
    assert_non_null(text);
    memset(text, 'x', len);
    memcpy(text, "{\"a\":\"", 6);
    memcpy(text + len - 2, "\"}", 3);
    return text;
}

static void a_message_of_64_kib_is_the_longest_however_it_is_cut(void **state) {
    (void)state;
    static const size_t steps[] = {1, 100, 4096, 65535, 65536, 65537, 100000};
    for (size_t len = TUCK_FRAME_MESSAGE_MAX - 1; len <= TUCK_FRAME_MESSAGE_MAX + 1; len++) {
        char *text = long_object(len);
        for (size_t i = 0; i < TUCK_ARRAY_LEN(steps); i++) {
            struct conversation talk = begin();
            for (size_t at = 0; at < len; at += steps[i])
                take(&talk, text + at, len - at < steps[i] ? len - at : steps[i]);
            assert_int_equal(talk.is_broken, len > TUCK_FRAME_MESSAGE_MAX);
            if (!talk.is_broken) {
                assert_int_equal(talk.len, 7 + len + 1);
                assert_memory_equal(talk.log + 7, text, len);
            }
            end(&talk);
        }
        free(text);
    }
}

static void a_message_that_never_ends_is_refused_and_takes_no_more_memory(void **state) {
    (void)state;
    static const char *const beginnings[] = {"{\"a\":\"", "{", "{\"a\\", "{[[[["};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(beginnings); i++) {
        struct conversation talk = begin();
        size_t before = unit_allocated_bytes(), most = 0;
        take(&talk, beginnings[i], strlen(beginnings[i]));
        char block[1000];
        memset(block, '[', sizeof(block));
        size_t sent = 0;
        while (!talk.is_broken && sent < 10 * TUCK_FRAME_MESSAGE_MAX) {
            take(&talk, block, sizeof(block));
            sent += sizeof(block);
            size_t now = unit_allocated_bytes();
            most = now > before && now - before > most ? now - before : most;
        }
        assert_true(talk.is_broken);
        assert_true(sent <= TUCK_FRAME_MESSAGE_MAX + sizeof(block));
        assert_true(most <= 4 * TUCK_FRAME_MESSAGE_MAX);
        end(&talk);
    }
}

static void a_body_has_no_limit_and_takes_no_memory(void **state) {
    (void)state;
    struct conversation talk = begin();
    take(&talk, PUT5 "\"", strlen(PUT5) + 1);
    size_t before = unit_allocated_bytes(), got = 0;
    static char block[65536];
    memset(block, 'A', sizeof(block));
    for (int i = 0; i < 1000; i++) {
        struct tuck_slice input = {(uint8_t *)block, sizeof(block)}, piece;
        while (input.len > 0) {
            assert_int_equal(tuck_frame_next(talk.frame, &input, &piece, NULL), TUCK_FRAME_BODY);
            got += piece.len;
        }
    }
    assert_int_equal(got, 1000 * sizeof(block));
    assert_true(unit_allocated_bytes() <= before + 65536);
    end(&talk);
}

static void many_long_messages_reuse_the_memory_of_the_first(void **state) {
    (void)state;
    struct conversation talk = begin();
    char *text = long_object(60000);
    size_t after_first = 0;
    for (int i = 0; i < 50; i++) {
        talk.len = 0;
        take(&talk, text, 30000);
        take(&talk, text + 30000, 30000);
        assert_int_equal(talk.len, 7 + 60000 + 1);
        if (i == 0)
            after_first = unit_allocated_bytes();
        assert_int_equal(unit_allocated_bytes(), after_first);
    }
    free(text);
    end(&talk);
}

// --- Broken --------------------------------------------------------------------------------------

static void once_broken_everything_fails_the_same_way(void **state) {
    (void)state;
    for (size_t i = 0; i < TUCK_ARRAY_LEN(golden); i++) {
        struct conversation talk = begin();
        take(&talk, golden[i].text, strlen(golden[i].text));
        if (talk.is_broken) {
            static const char *const more[] = {"{}", "\"QQ==\"", "\n", "}", PUT5};
            for (size_t j = 0; j < TUCK_ARRAY_LEN(more); j++) {
                struct tuck_slice input = {(const uint8_t *)more[j], strlen(more[j])}, piece;
                struct tuck_error err = {0};
                assert_int_equal(tuck_frame_next(talk.frame, &input, &piece, &err), TUCK_EPROTO);
                assert_int_equal(err.code, TUCK_EPROTO);
                assert_false(tuck_frame_is_idle(talk.frame));
            }
        }
        end(&talk);
    }
}

static void a_message_within_one_input_is_handed_out_in_place(void **state) {
    (void)state;
    struct conversation talk = begin();
    static const char text[] = " {\"ID\":1} {\"ID\":2}";
    struct tuck_slice input = {(const uint8_t *)text, strlen(text)}, piece;
    assert_int_equal(tuck_frame_next(talk.frame, &input, &piece, NULL), TUCK_FRAME_MESSAGE);
    assert_ptr_equal(piece.data, text + 1);
    assert_int_equal(tuck_frame_next(talk.frame, &input, &piece, NULL), TUCK_FRAME_MESSAGE);
    assert_ptr_equal(piece.data, text + 10);
    end(&talk);
}

static void no_input_at_all_asks_for_more(void **state) {
    (void)state;
    struct conversation talk = begin();
    struct tuck_slice input = {(const uint8_t *)"", 0}, piece;
    assert_int_equal(tuck_frame_next(talk.frame, &input, &piece, NULL), TUCK_FRAME_MORE);
    assert_true(tuck_frame_is_idle(talk.frame));
    end(&talk);
    tuck_frame_free(NULL);
}

static void doubt_ends_with_its_body(void **state) {
    (void)state;
    struct conversation talk = begin();
    take(&talk, PUT5 "\"%\"{}" PUT5 "\"QUJD\"{}", strlen(PUT5 "\"%\"{}" PUT5 "\"QUJD\"{}"));
    assert_string_equal(talk.log, "object " PUT5 "\nbody %\nend\nobject {}\nobject " PUT5
                                  "\nbody QUJD\nend\nobject {}\n");
    end(&talk);
}

static void a_body_that_nobody_doubts_may_hold_anything(void **state) {
    (void)state;
    // That of a request with another flaw: it is read past and never decoded.
    struct conversation talk = begin();
    static const char text[] = PUT5 "\"a{b\"{}";
    struct tuck_slice input = {(const uint8_t *)text, strlen(text)}, piece;
    assert_int_equal(tuck_frame_next(talk.frame, &input, &piece, NULL), TUCK_FRAME_MESSAGE);
    tuck_frame_expect_body(talk.frame);
    assert_int_equal(tuck_frame_next(talk.frame, &input, &piece, NULL), TUCK_FRAME_BODY);
    assert_int_equal(piece.len, 3);
    assert_int_equal(tuck_frame_next(talk.frame, &input, &piece, NULL), TUCK_FRAME_BODY_END);
    assert_int_equal(tuck_frame_next(talk.frame, &input, &piece, NULL), TUCK_FRAME_MESSAGE);
    end(&talk);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(whole_inputs_give_the_events_in_the_table),
    cmocka_unit_test(one_byte_at_a_time_gives_the_same_events),
    cmocka_unit_test(every_cut_in_two_gives_the_same_events),
    cmocka_unit_test(random_cuts_give_the_same_events),
    cmocka_unit_test(random_inputs_are_found_the_same_however_they_are_cut),
    cmocka_unit_test(a_nul_between_values_is_not_white_space),
    cmocka_unit_test(a_nul_inside_a_body_is_a_break),
    cmocka_unit_test(an_escaped_line_end_is_skipped_in_either_spelling),
    cmocka_unit_test(an_escaped_brace_in_a_body_is_bad_base64_but_no_break),
    cmocka_unit_test(a_message_of_64_kib_is_the_longest_however_it_is_cut),
    cmocka_unit_test(a_message_that_never_ends_is_refused_and_takes_no_more_memory),
    cmocka_unit_test(a_body_has_no_limit_and_takes_no_memory),
    cmocka_unit_test(many_long_messages_reuse_the_memory_of_the_first),
    cmocka_unit_test(once_broken_everything_fails_the_same_way),
    cmocka_unit_test(a_message_within_one_input_is_handed_out_in_place),
    cmocka_unit_test(no_input_at_all_asks_for_more),
    cmocka_unit_test(doubt_ends_with_its_body),
    cmocka_unit_test(a_body_that_nobody_doubts_may_hold_anything),
};

UNIT_MAIN(tests)

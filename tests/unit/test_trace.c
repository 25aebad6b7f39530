// SPDX-License-Identifier: MIT
/*
 * A trace says what went by, line by line, however it was cut; and never disturbs whom it listens to.
 */
#include "tests/unit/unit.h"

#include "lib/base/clock.h"
#include "lib/serve/trace.h"

#include <fcntl.h>
#include <sys/stat.h>

static struct tuck_trace *begin(const char *path, bool has_bodies) {
    struct tuck_trace *trace = NULL;
    assert_int_equal(tuck_trace_open(path, has_bodies, &trace, NULL), 0);
    assert_non_null(trace);
    return trace;
}

// What was recorded, without titles and times; owned.
static char *recorded(const char *path) {
    size_t len, kept = 0;
    char *text = (char *)unit_read_file(path, &len);
    for (char *line = text, *next; *line; line = next) {
        char *end = strchr(line, '\n');
        assert_non_null(end);
        next = end + 1;
        if (line[0] == '=' || line[0] == '@')
            continue;
        memmove(text + kept, line, (size_t)(next - line));
        kept += (size_t)(next - line);
    }
    text[kept] = '\0';
    return text;
}

static const char request[] = "{\"ID\":1,\"Command\":\"put\",\"BodySize\":6}\n\n\"Ym9keTEx\"\n";

static void a_conversation_is_recorded_the_same_however_it_was_cut(void **state) {
    (void)state;
    for (int has_bodies = 0; has_bodies < 2; has_bodies++) {
        const char *expected = has_bodies ? "> {\"ID\":1,\"Command\":\"put\",\"BodySize\":6}\n>\n"
                                            "> \"Ym9keTEx\"\n< {\"ID\":1}\n! eof\n"
                                          : "> {\"ID\":1,\"Command\":\"put\",\"BodySize\":6}\n>\n"
                                            "> \"$BODY\"\n< {\"ID\":1}\n! eof\n";
        for (size_t part = 1; part <= sizeof(request); part++) {
            const char *path = unit_path(unit_directory(), "trace");
            struct tuck_trace *trace = begin(path, has_bodies);
            for (size_t at = 0; at < sizeof(request) - 1; at += part) {
                size_t left = sizeof(request) - 1 - at;
                tuck_trace_read(trace, request + at, left < part ? left : part);
            }
            tuck_trace_written(trace, "{\"ID\":1}\n", 9);
            tuck_trace_note(trace, "eof");
            assert_int_equal(tuck_trace_close(trace, NULL), 0);
            char *text = recorded(path);
            assert_string_equal(text, expected);
            free(text);
        }
    }
}

static void an_answer_in_the_midst_of_a_body_cuts_its_line_and_marks_the_rest(void **state) {
    (void)state;
    const char *path = unit_path(unit_directory(), "trace");
    struct tuck_trace *trace = begin(path, true);
    tuck_trace_read(trace, "\"Ym9k", 5);
    tuck_trace_written(trace, "{\"ID\":7}\n{\"ID\":8}\n", 18);
    tuck_trace_read(trace, "eTEx\"\n", 6);
    assert_int_equal(tuck_trace_close(trace, NULL), 0);
    char *text = recorded(path);
    assert_string_equal(text, "> \"Ym9k\n< {\"ID\":7}\n< {\"ID\":8}\n+ eTEx\"\n");
    free(text);
    path = unit_path(unit_directory(), "trace");
    trace = begin(path, false);
    tuck_trace_read(trace, "\"Ym9k", 5);
    tuck_trace_written(trace, "{\"ID\":7}\n", 9);
    tuck_trace_read(trace, "eTEx\"\n{\"ID\":2}\n", 15);
    assert_int_equal(tuck_trace_close(trace, NULL), 0);
    text = recorded(path);
    assert_string_equal(text, "> \"$BODY\"\n< {\"ID\":7}\n> {\"ID\":2}\n");
    free(text);
}

static void sessions_are_appended_whole_one_after_the_other(void **state) {
    (void)state;
    const char *dir = unit_directory(), *path = unit_path(dir, "trace");
    struct tuck_trace *one = begin(path, false), *other = begin(path, false);
    for (int i = 0; i < 3; i++) {
        tuck_trace_read(one, "1\n", 2);
        tuck_trace_read(other, "2\n", 2);
    }
    assert_int_not_equal(access(path, F_OK), 0); // nothing of a session before its end
    assert_int_equal(tuck_trace_close(other, NULL), 0);
    assert_int_equal(tuck_trace_close(one, NULL), 0);
    char *text = recorded(path);
    assert_string_equal(text, "> 2\n> 2\n> 2\n> 1\n> 1\n> 1\n");
    free(text);
    assert_int_equal(unit_count_names(dir), 1);
}

static void a_long_body_is_recorded_whole_in_little_memory(void **state) {
    (void)state;
    const char *path = unit_path(unit_directory(), "trace");
    struct tuck_trace *trace = begin(path, true);
    size_t before = unit_allocated_bytes(), block = 65536 - 7, len;
    char *data = malloc(block);
    memset(data, 'A', block);
    tuck_trace_read(trace, "\"", 1);
    for (int i = 0; i < 50; i++)
        tuck_trace_read(trace, data, block);
    tuck_trace_read(trace, "\"\n", 2);
    assert_true(unit_allocated_bytes() < before + 2 * block);
    assert_int_equal(tuck_trace_close(trace, NULL), 0);
    char *text = recorded(path);
    len = strlen(text);
    assert_int_equal(len, 2 + 1 + 50 * block + 2);
    free(text);
    free(data);
}

static void a_time_stands_before_what_came_later(void **state) {
    (void)state;
    const char *path = unit_path(unit_directory(), "trace");
    struct tuck_trace *trace = begin(path, false);
    tuck_trace_read(trace, "a\n", 2);
    tuck_clock_shift_mono(1500 * TUCK_NS_PER_MS);
    tuck_trace_read(trace, "b\n", 2);
    assert_int_equal(tuck_trace_close(trace, NULL), 0);
    size_t len;
    char *text = (char *)unit_read_file(path, &len);
    char *time = strstr(text, "@ 1.5");
    assert_non_null(time);
    assert_true(strstr(text, "> a\n") < time);
    assert_true(strstr(text, "> b\n") > time);
    free(text);
}

static void a_trace_that_cannot_be_written_is_told_and_keeps_what_it_has(void **state) {
    (void)state;
    struct tuck_trace *trace = NULL;
    struct tuck_error err = {0};
    const char *dir = unit_directory(), *path = unit_path(dir, "trace");
    assert_true(tuck_trace_open(unit_path(dir, "absent/trace"), false, &trace, &err) < 0);
    assert_null(trace);
    assert_non_null(strstr(err.text, "absent/trace"));
    trace = begin(path, false);
    tuck_trace_read(trace, "a\n", 2);
    assert_int_equal(mkdir(path, 0700), 0); // something else took the name meanwhile
    assert_true(tuck_trace_close(trace, &err) < 0);
    assert_non_null(strstr(err.text, path));
    assert_int_equal(unit_count_names(dir), 2);
    tuck_trace_read(NULL, "a\n", 2);
    tuck_trace_written(NULL, "a\n", 2);
    tuck_trace_note(NULL, "eof");
    assert_int_equal(tuck_trace_close(NULL, NULL), 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_conversation_is_recorded_the_same_however_it_was_cut),
    cmocka_unit_test(an_answer_in_the_midst_of_a_body_cuts_its_line_and_marks_the_rest),
    cmocka_unit_test(sessions_are_appended_whole_one_after_the_other),
    cmocka_unit_test(a_long_body_is_recorded_whole_in_little_memory),
    cmocka_unit_test(a_time_stands_before_what_came_later),
    cmocka_unit_test(a_trace_that_cannot_be_written_is_told_and_keeps_what_it_has),
};

UNIT_MAIN(tests)

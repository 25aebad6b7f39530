// SPDX-License-Identifier: MIT
/*
 * The setting `drives`: what it may say, and that whatever may be a slip is refused with the right words.
 */
#include "tests/unit/unit.h"

#include "lib/store/drives.h"

#define LIST_MAX (TUCK_DRIVES_MAX + 1)

static void assert_drives(const char *text, const char *const expected[LIST_MAX]) {
    struct tuck_drives drives = {0};
    struct tuck_error err = {0};
    if (tuck_drives_parse(text, &drives, &err) != 0)
        fail_msg("'%s' is refused: %s", text, err.text);
    size_t count = 0;
    while (expected[count])
        count++;
    assert_int_equal(drives.count, count);
    for (size_t i = 0; i < count; i++)
        assert_string_equal(drives.paths[i], expected[i]);
    tuck_drives_fini(&drives);
    assert_int_equal(drives.count, 0);
    assert_null(drives.paths);
}

#define assert_read(text, ...) assert_drives(text, (const char *const[LIST_MAX]){__VA_ARGS__, NULL})

// Refused, with a text that has both words in it.
static void assert_refused(const char *text, const char *element, const char *remedy) {
    struct tuck_drives drives = {.count = 77};
    struct tuck_error err = {0};
    if (tuck_drives_parse(text, &drives, &err) == 0)
        fail_msg("'%s' is not refused", text);
    assert_int_equal(err.code, TUCK_EINVAL);
    assert_int_equal(drives.count, 77); // untouched
    if (!strstr(err.text, element) || !strstr(err.text, remedy))
        fail_msg("'%s' and '%s' are not both in: %s", element, remedy, err.text);
    assert_null(strpbrk(err.text, "\r\n"));
    assert_true(strlen(err.text) < sizeof(err.text) - 1); // nothing of it was cut off
    assert_int_equal(tuck_drives_parse(text, &drives, NULL), TUCK_EINVAL);
}

static void a_text_without_separators_and_braces_is_one_drive(void **state) {
    (void)state;
    assert_read("/cache", "/cache");
    assert_read("/", "/");
    assert_read("/with blank ", "/with blank ");
    assert_read("/1..3/...", "/1..3/...");
    assert_read("/caf\xc3\xa9\\\"'$~*", "/caf\xc3\xa9\\\"'$~*");
}

static void both_separators_separate_and_the_semicolon_is_tried_first(void **state) {
    (void)state;
    assert_read("/home/drive1;/home/drive2;/home/drive3", "/home/drive1", "/home/drive2",
                "/home/drive3");
    assert_read("/b,/a", "/b", "/a");
    assert_read("/a,b;/c", "/a,b", "/c");
}

static void three_dots_stand_for_all_numbers_between(void **state) {
    (void)state;
    assert_read("/home/drive{1...3}", "/home/drive1", "/home/drive2", "/home/drive3");
    assert_read("/d{9...11}/x", "/d9/x", "/d10/x", "/d11/x");
    assert_read("/{5...5}", "/5");
    assert_read("/{0...2}", "/0", "/1", "/2");
    assert_read("/{0...10}", "/0", "/1", "/2", "/3", "/4", "/5", "/6", "/7", "/8", "/9", "/10");
    assert_read("/a{1...2};/b", "/a1", "/a2", "/b");
    assert_read("/{999999998...999999999}", "/999999998", "/999999999");
}

static void zeros_in_front_stay(void **state) {
    (void)state;
    assert_read("/{08...11}", "/08", "/09", "/10", "/11");
    assert_read("/{1...03}", "/01", "/02", "/03");
    assert_read("/{00...2}", "/00", "/01", "/02");
    assert_read("/{000000001...000000002}", "/000000001", "/000000002");
}

static void several_ranges_multiply_and_the_first_varies_slowest(void **state) {
    (void)state;
    assert_read("/h{1...2}/d{1...3}", "/h1/d1", "/h1/d2", "/h1/d3", "/h2/d1", "/h2/d2", "/h2/d3");
    assert_read("/{1...2}{3...4}{5...6}", "/135", "/136", "/145", "/146", "/235", "/236", "/245",
                "/246");
    assert_read("/{1...2}{5...5}{1...1}/", "/151", "/251");
}

static void slashes_at_the_end_are_dropped(void **state) {
    (void)state;
    assert_read("/a/,/b///", "/a", "/b");
    assert_read("/d{1...2}//", "/d1", "/d2");
    assert_read("///", "/");
}

static void empty_elements_are_refused(void **state) {
    (void)state;
    static const char *const texts[] = {"", ";", ";;;", "/a;", ";/a", "/a;;/b", ",", "/a,", ",/a"};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(texts); i++)
        assert_refused(texts[i], "''", "write an absolute path");
    assert_refused(",;,;,;", "','", "begins with '/'");
}

static void relative_paths_are_refused(void **state) {
    (void)state;
    assert_refused("bucket1", "'bucket1'", "begins with '/'");
    assert_refused("/a;b/c", "'b/c'", "begins with '/'");
    assert_refused("~/cache", "'~/cache'", "begins with '/'");
    assert_refused("{1...3}", "'{1...3}'", "begins with '/'");
    assert_refused("/a, /b", "' /b'", "no blanks");
    assert_refused("bucket1/*;*.png;images/trip/barcelona/*", "'bucket1/*'", "begins with '/'");
}

static void two_dots_are_refused_and_three_suggested(void **state) {
    (void)state;
    assert_refused("/home/drive{1..3}", "'/home/drive{1..3}'", "write {1...3}");
    assert_refused("/a;/d{01..64}", "'/d{01..64}'", "write {01...64}");
}

static void braces_around_anything_but_a_range_are_refused(void **state) {
    (void)state;
    static const char *const texts[] = {"/d{}",         "/d{1}",      "/d{...}",    "/d{1...}",
                                        "/d{...3}",     "/d{1.3}",    "/d{1....3}", "/d{a...c}",
                                        "/d{-1...3}",   "/d{1...3 }", "/d{1... 3}", "/d{1,3}x",
                                        "/d{1...2...3}"};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(texts); i++) {
        if (strchr(texts[i], ','))
            assert_refused(texts[i], "'/d{1'", "such as {1...4}");
        else
            assert_refused(texts[i], texts[i], "such as {1...4}");
    }
}

static void braces_without_their_other_half_are_refused(void **state) {
    (void)state;
    static const char *const texts[] = {"/d{",         "/d}",         "/d{1...3", "/d1...3}",
                                        "/{{1...3}",   "/{1...3}}",   "/}{",      "/d{1...2}{",
                                        "/{1{2...3}}", "/{1...2}/}x", "/a{1...3{"};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(texts); i++)
        assert_refused(texts[i], texts[i], "such as {1...4}");
    assert_refused("/d{1;3}", "'/d{1'", "has no '}'");
}

static void a_range_that_runs_backwards_is_refused_and_turned_round(void **state) {
    (void)state;
    assert_refused("/d{4...1}", "'/d{4...1}'", "write {1...4}");
    assert_refused("/d{010...9}", "'/d{010...9}'", "write {9...010}");
}

static void more_than_64_drives_are_refused(void **state) {
    (void)state;
    struct tuck_drives drives = {0};
    assert_int_equal(tuck_drives_parse("/d{1...64}", &drives, NULL), 0);
    assert_int_equal(drives.count, 64);
    assert_string_equal(drives.paths[63], "/d64");
    tuck_drives_fini(&drives);
    assert_int_equal(tuck_drives_parse("/{1...8}/{1...8}", &drives, NULL), 0);
    assert_int_equal(drives.count, 64);
    tuck_drives_fini(&drives);
    assert_refused("/d{1...65}", "'/d{1...65}'", "fewer");
    assert_refused("/d{1...64},/e", "'/e'", "fewer");
    assert_refused("/{1...8}/{1...9}", "'/{1...8}/{1...9}'", "fewer");
    assert_refused("/d{0...999999999}", "64", "fewer");
    assert_refused("/{1...64}{1...64}{1...64}{1...64}{1...64}{1...64}{1...64}", "64", "fewer");
    assert_refused("/d{1...18446744073709551617}", "too large", "9 digits");
    assert_refused("/d{0000000001...2}", "too large", "9 digits");
}

static void a_drive_that_is_named_twice_is_refused(void **state) {
    (void)state;
    assert_refused("/a;/b;/a", "'/a'", "leave one out");
    assert_refused("/a,/a/", "'/a'", "leave one out");
    assert_refused("/d{1...3},/d2", "'/d2'", "leave one out");
}

static void a_long_element_leaves_room_for_what_to_do(void **state) {
    (void)state;
    char text[5000], shown[TUCK_DRIVES_SHOWN];
    for (size_t i = 0; i + 1 < sizeof(text); i++)
        text[i] = "/\xc3\xa9"[i % 3];
    text[sizeof(text) - 1] = '\0';
    memcpy(text + sizeof(text) - 10, "/d{1..3}", 9);
    assert_refused(text, "/d{1..3}'", "write {1...3}");
    assert_refused("/line\nend\x7f{", "'/line?end?{'", "has no '}'");

    assert_string_equal(tuck_drives__show("/short", 6, shown), "/short");
    for (size_t len = 60; len < 140; len++) {
        const char *all = tuck_drives__show(text, len, shown);
        assert_true(strlen(all) < TUCK_DRIVES_SHOWN);
        assert_int_equal(strncmp(all, "...", 3) == 0, len > TUCK_DRIVES_SHOWN - 1);
        if (len > TUCK_DRIVES_SHOWN - 1) { // no half of a character at the front
            assert_int_not_equal((uint8_t)all[3] & 0xc0, 0x80);
            assert_true(strlen(all) >= TUCK_DRIVES_SHOWN - 3);
        }
    }
}

static size_t allocations_left = SIZE_MAX;
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);

static bool has_memory(void) {
    if (allocations_left == 0)
        return false;
    allocations_left--;
    return true;
}

void *__wrap_malloc(size_t size) {
    return has_memory() ? __real_malloc(size) : NULL;
}

void *__wrap_calloc(size_t count, size_t size) {
    return has_memory() ? __real_calloc(count, size) : NULL;
}

static void without_memory_there_is_no_list(void **state) {
    (void)state;
    size_t failures = 0;
    for (;; failures++) {
        struct tuck_drives drives = {.count = 77};
        struct tuck_error err = {0};
        allocations_left = failures;
        int status = tuck_drives_parse("/d{1...3},/e", &drives, &err);
        allocations_left = SIZE_MAX;
        if (status == 0) {
            tuck_drives_fini(&drives);
            break;
        }
        assert_int_equal(status, TUCK_ENOMEM);
        assert_int_equal(err.code, TUCK_ENOMEM);
        assert_int_equal(drives.count, 77);
    }
    assert_int_equal(failures, 5);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_text_without_separators_and_braces_is_one_drive),
    cmocka_unit_test(both_separators_separate_and_the_semicolon_is_tried_first),
    cmocka_unit_test(three_dots_stand_for_all_numbers_between),
    cmocka_unit_test(zeros_in_front_stay),
    cmocka_unit_test(several_ranges_multiply_and_the_first_varies_slowest),
    cmocka_unit_test(slashes_at_the_end_are_dropped),
    cmocka_unit_test(empty_elements_are_refused),
    cmocka_unit_test(relative_paths_are_refused),
    cmocka_unit_test(two_dots_are_refused_and_three_suggested),
    cmocka_unit_test(braces_around_anything_but_a_range_are_refused),
    cmocka_unit_test(braces_without_their_other_half_are_refused),
    cmocka_unit_test(a_range_that_runs_backwards_is_refused_and_turned_round),
    cmocka_unit_test(more_than_64_drives_are_refused),
    cmocka_unit_test(a_drive_that_is_named_twice_is_refused),
    cmocka_unit_test(a_long_element_leaves_room_for_what_to_do),
    cmocka_unit_test(without_memory_there_is_no_list),
};

UNIT_MAIN(tests)

// SPDX-License-Identifier: MIT
/*
 * How a drive begins: its root, its format file, the path under which it is shown, and private drives.
 */
#include "tests/unit/unit.h"

#include "lib/base/clock.h"
#include "lib/base/digest.h"
#include "lib/store/drive.h"
#include "lib/store/object.h"
#include "lib/store/set.h"
#include "lib/store/stage.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <sys/stat.h>

// Each drive here is a set of its own, which closes it.
static struct tuck_set *sets[16];

static int open_set(const char *root, const char *gocache, struct tuck_set **ret_set,
                    struct tuck_error *err) {
    return tuck_set_open(&(struct tuck_set_options){.roots = &root, .count = 1, .gocache = gocache},
                         ret_set, err);
}

static struct tuck_drive *open_drive(const char *root, const char *gocache) {
    struct tuck_error err = {0};
    size_t at = 0;
    while (sets[at])
        at++;
    assert_true(at < TUCK_ARRAY_LEN(sets));
    int status = open_set(root, gocache, &sets[at], &err);
    if (status != 0)
        print_message("# %s\n", err.text);
    assert_int_equal(status, 0);
    assert_non_null(tuck_set_drive(sets[at], 0, NULL));
    return tuck_set_drive(sets[at], 0, NULL);
}

static void close_drive(struct tuck_drive *drive) {
    for (size_t at = 0; at < TUCK_ARRAY_LEN(sets); at++) {
        if (!sets[at] || tuck_set_drive(sets[at], 0, NULL) != drive)
            continue;
        tuck_set_close(TUCK_TAKE(sets[at]));
        return;
    }
    tuck_drive_close(drive); // a private one
}

// The text of the refusal; borrowed until the next call.
static const char *refuse_drive(const char *root, const char *gocache, int expected) {
    static struct tuck_error err;
    struct tuck_set *set = NULL;
    err = (struct tuck_error){0};
    assert_int_equal(open_set(root, gocache, &set, &err), TUCK_SET_REFUSED);
    assert_null(tuck_set_drive(set, 0, NULL));
    tuck_set_close(set);
    assert_int_equal(err.code, expected);
    return err.text;
}

static void assert_mode(const char *path, mode_t mode) {
    struct stat stat;
    assert_int_equal(lstat(path, &stat), 0);
    assert_int_equal(stat.st_mode & 07777, mode);
}

static char *read_text(const char *path) {
    size_t len;
    return (char *)unit_read_file(path, &len);
}

static void put_one(struct tuck_drive *drive, const char *text, char *ret_path) {
    struct tuck_output_id output;
    struct tuck_digest digest;
    struct tuck_stage *stage = NULL;
    uint32_t tag;
    bool is_new;
    tuck_digest_init(&digest);
    tuck_digest_add(&digest, text, strlen(text));
    tuck_digest_end(&digest, &output);
    assert_int_equal(tuck_stage_begin(drive, &output, &stage, NULL), 0);
    assert_int_equal(tuck_stage_write(stage, text, strlen(text), NULL), 0);
    assert_int_equal(tuck_stage_commit(&stage, &tag, &is_new, NULL), 0);
    tuck_object_path(drive, &output, ret_path);
}

// --- The root ------------------------------------------------------------------------------------

static void a_new_drive_says_what_it_is(void **state) {
    (void)state;
    mode_t mask = umask(077);
    const char *parent = unit_path(unit_directory(), "some"),
               *root = unit_path(parent, "where/deep");
    close_drive(open_drive(root, NULL));
    assert_mode(root, 0700);
    assert_mode(parent, 0700);
    assert_int_equal(unit_count_names(root), 3);
    char *tag = read_text(unit_path(root, "CACHEDIR.TAG"));
    assert_int_equal(strncmp(tag, "Signature: 8a477f597d28d172789f06886806bc55", 43), 0);
    free(tag);
    char *readme = read_text(unit_path(root, "README"));
    assert_non_null(strstr(readme, "tuck"));
    free(readme);
    json_t *format = json_load_file(unit_path(root, "tuck.json"), JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(format);
    assert_string_equal(json_string_value(json_object_get(format, "format")), "tuck");
    assert_int_equal(json_integer_value(json_object_get(format, "version")), 1);
    assert_int_equal(json_string_length(json_object_get(format, "id")), 24);
    json_decref(format);
    (void)umask(mask);
}

static void opening_again_changes_nothing(void **state) {
    (void)state;
    const char *root = unit_path(unit_directory(), "root"), *path = unit_path(root, "tuck.json");
    close_drive(open_drive(root, NULL));
    struct stat before, after;
    assert_int_equal(lstat(path, &before), 0);
    for (int i = 0; i < 3; i++)
        close_drive(open_drive(root, NULL));
    assert_int_equal(lstat(path, &after), 0);
    assert_int_equal(after.st_ino, before.st_ino);
    assert_int_equal(unit_count_names(root), 3);
}

static void a_root_that_cannot_be_one_is_refused_with_a_reason(void **state) {
    (void)state;
    const char *dir = unit_directory(), *file = unit_path(dir, "file");
    unit_write_file(file, "x", 1);
    assert_non_null(strstr(refuse_drive("relative/path", NULL, TUCK_EINVAL), "'relative/path'"));
    assert_non_null(strstr(refuse_drive("", NULL, TUCK_EINVAL), "absolute"));
    assert_non_null(strstr(refuse_drive(file, NULL, TUCK_EIO), file));
    assert_non_null(
        strstr(refuse_drive(unit_path(file, "below"), NULL, TUCK_EIO), "Not a directory"));
    assert_non_null(refuse_drive("/proc/no/such/place", NULL, TUCK_EIO));
    assert_int_equal(symlink("nowhere", unit_path(dir, "dangling")), 0);
    assert_non_null(refuse_drive(unit_path(dir, "dangling"), NULL, TUCK_EIO));
}

static void a_link_of_ones_own_to_another_disk_is_followed(void **state) {
    (void)state;
    const char *dir = unit_directory(), *real = unit_directory(), *link = unit_path(dir, "link");
    assert_int_equal(symlink(real, link), 0);
    char path[TUCK_OBJECT_PATH_ROOM];
    struct tuck_drive *drive = open_drive(link, NULL);
    put_one(drive, "body", path);
    assert_int_equal(strncmp(path, link, strlen(link)), 0);
    assert_int_equal(access(path, R_OK), 0);
    assert_int_equal(access(unit_path(real, "tuck.json"), R_OK), 0);
    close_drive(drive);
}

static void a_root_that_others_may_write_to_is_closed_to_them(void **state) {
    (void)state;
    const char *root = unit_directory();
    assert_int_equal(chmod(root, 0777), 0);
    close_drive(open_drive(root, NULL));
    assert_mode(root, 0755);
}

// --- The format ----------------------------------------------------------------------------------

static void a_newer_format_is_refused_and_left_alone(void **state) {
    (void)state;
    static const char *const formats[] = {
        "{\"format\":\"tuck\",\"version\":3}",
        "{\"version\":99999999999,\"format\":\"tuck\",\"unknown\":[1,2,{}]}",
        "{\"version\":9223372036854775807}",
    };
    for (size_t i = 0; i <= TUCK_ARRAY_LEN(formats); i++) {
        const char *root = unit_directory(), *path = unit_path(root, "tuck.json");
        char text[20000];
        if (i < TUCK_ARRAY_LEN(formats)) {
            (void)snprintf(text, sizeof(text), "%s", formats[i]);
        } else { // the set of a newer tuck may have many drives
            size_t len = (size_t)snprintf(text, sizeof(text), "{\"version\":3,\"set\":[\"x\"");
            while (len < 15000)
                len += (size_t)snprintf(text + len, sizeof(text) - len,
                                        ",\"0123456789abcdef01234567\"");
            (void)snprintf(text + len, sizeof(text) - len, "]}");
        }
        unit_write_file(path, text, strlen(text));
        const char *why = refuse_drive(root, NULL, TUCK_EINVAL);
        assert_non_null(strstr(why, "newer"));
        assert_int_equal(unit_count_names(root), 1);
        char *after = read_text(path);
        assert_string_equal(after, text);
        free(after);
    }
}

static void a_damaged_format_file_is_set_aside_and_written_anew(void **state) {
    (void)state;
    static const char *const texts[] = {"",
                                        "{",
                                        "not json",
                                        "[]",
                                        "{}",
                                        "{\"version\":\"1\"}",
                                        "{\"version\":0}",
                                        "{\"version\":-1}",
                                        "{\"version\":1.5}"};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(texts) + 4; i++) {
        const char *root = unit_directory(), *path = unit_path(root, "tuck.json"),
                   *target = unit_path(unit_directory(), "target");
        unit_write_file(target, "{\"version\":5}", 13);
        if (i < TUCK_ARRAY_LEN(texts))
            unit_write_file(path, texts[i], strlen(texts[i]));
        else if (i == TUCK_ARRAY_LEN(texts))
            assert_int_equal(mkdir(path, 0700), 0);
        else if (i == TUCK_ARRAY_LEN(texts) + 1)
            assert_int_equal(mkfifo(path, 0600), 0);
        else if (i == TUCK_ARRAY_LEN(texts) + 2)
            assert_int_equal(symlink(target, path), 0);
        else
            assert_int_equal(symlink("nowhere", path), 0);
        char object[TUCK_OBJECT_PATH_ROOM];
        struct tuck_drive *drive = open_drive(root, NULL);
        put_one(drive, "body", object);
        close_drive(drive);
        json_t *format = json_load_file(path, 0, NULL);
        assert_int_equal(json_integer_value(json_object_get(format, "version")), 1);
        json_decref(format);
        char *after = read_text(target);
        assert_string_equal(after, "{\"version\":5}");
        free(after);
    }
}

// --- How it is shown -----------------------------------------------------------------------------

static void a_root_below_gocache_is_shown_as_it_is(void **state) {
    (void)state;
    const char *gocache = unit_directory(), *root = unit_path(gocache, "tuck");
    char with_slashes[4200];
    (void)snprintf(with_slashes, sizeof(with_slashes), "%s///", gocache);
    struct tuck_drive *drive = open_drive(root, gocache);
    assert_string_equal(tuck_drive_shown_root(drive), root);
    close_drive(drive);
    drive = open_drive(root, with_slashes);
    assert_string_equal(tuck_drive_shown_root(drive), root);
    close_drive(drive);
    drive = open_drive(root, NULL);
    assert_string_equal(tuck_drive_shown_root(drive), root);
    close_drive(drive);
    assert_int_equal(unit_count_names(gocache), 1);
}

static void a_root_elsewhere_is_shown_through_a_link_below_gocache(void **state) {
    (void)state;
    const char *gocache = unit_directory(), *root = unit_path(unit_directory(), "root");
    char path[TUCK_OBJECT_PATH_ROOM], link[4200] = {0};
    struct tuck_drive *drive = open_drive(root, gocache);
    const char *shown = tuck_drive_shown_root(drive);
    assert_int_equal(strncmp(shown, gocache, strlen(gocache)), 0);
    assert_int_equal(shown[strlen(gocache)], '/');
    assert_true(readlink(shown, link, sizeof(link) - 1) > 0);
    assert_string_equal(link, root);
    put_one(drive, "body", path);
    assert_int_equal(strncmp(path, shown, strlen(shown)), 0);
    char *text = read_text(path);
    assert_string_equal(text, "body");
    free(text);

    // The next helper finds it; one with another root makes another.
    struct tuck_drive *again = open_drive(root, gocache),
                      *other = open_drive(unit_path(unit_directory(), "root"), gocache);
    assert_string_equal(tuck_drive_shown_root(again), shown);
    assert_string_not_equal(tuck_drive_shown_root(other), shown);
    assert_int_equal(unit_count_names(gocache), 2);
    close_drive(drive);
    close_drive(again);
    close_drive(other);
}

static void a_directory_whose_name_only_begins_like_gocache_is_elsewhere(void **state) {
    (void)state;
    const char *dir = unit_directory(), *gocache = unit_path(dir, "cache"),
               *root = unit_path(dir, "cache2");
    assert_int_equal(mkdir(gocache, 0700), 0);
    struct tuck_drive *drive = open_drive(root, gocache);
    char expected[4200];
    int len = snprintf(expected, sizeof(expected), "%s/tuck-", gocache);
    assert_int_equal(strncmp(tuck_drive_shown_root(drive), expected, (size_t)len), 0);
    close_drive(drive);
}

static void where_no_link_can_be_made_the_real_path_is_shown(void **state) {
    (void)state;
    const char *gocache = unit_directory(), *root = unit_path(unit_directory(), "root");
    struct tuck_drive *drive = open_drive(root, unit_path(gocache, "absent"));
    assert_string_equal(tuck_drive_shown_root(drive), root);
    close_drive(drive);
    drive = open_drive(root, gocache);
    const char *link = unit_path("", tuck_drive_shown_root(drive) + 1);
    close_drive(drive);

    // Something else stands where the link should be: it stays, and is not used.
    assert_int_equal(unlink(link), 0);
    assert_int_equal(symlink("/somewhere/else", link), 0);
    drive = open_drive(root, gocache);
    assert_string_equal(tuck_drive_shown_root(drive), root);
    close_drive(drive);
    assert_int_equal(unlink(link), 0);
    unit_write_file(link, "precious", 8);
    drive = open_drive(root, gocache);
    assert_string_equal(tuck_drive_shown_root(drive), root);
    close_drive(drive);
    char *text = read_text(link);
    assert_string_equal(text, "precious");
    free(text);
}

static void a_path_that_is_not_utf_8_is_refused(void **state) {
    (void)state;
    const char *dir = unit_directory();
    static const char *const names[] = {
        "caf\xe9", "\xff", "\xed\xa0\x80", "\xc0\xaf", "\xf5\x80\x80\x80", "cut\xe2\x82"};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(names); i++)
        assert_non_null(strstr(refuse_drive(unit_path(dir, names[i]), NULL, TUCK_EINVAL), "UTF-8"));
    const char *gocache = unit_path(dir, "go\xe9");
    assert_int_equal(mkdir(gocache, 0700), 0);
    assert_non_null(
        strstr(refuse_drive(unit_path(gocache, "tuck"), gocache, TUCK_EINVAL), "UTF-8"));
    struct tuck_drive *drive =
        open_drive(unit_path(dir, "caf\xc3\xa9 \xe6\x97\xa5\xf0\x9f\x98\x80"), NULL);
    close_drive(drive);
}

static void a_root_elsewhere_stays_usable_when_gocache_is_not_utf_8(void **state) {
    (void)state;
    // The link could not be shown, the root itself can.
    const char *dir = unit_directory(), *gocache = unit_path(dir, "go\xe9"),
               *root = unit_path(dir, "root");
    assert_int_equal(mkdir(gocache, 0700), 0);
    struct tuck_drive *drive = open_drive(root, gocache);
    assert_string_equal(tuck_drive_shown_root(drive), root);
    close_drive(drive);
}

static void a_path_that_is_too_long_is_refused(void **state) {
    (void)state;
    char root[4400];
    size_t len = (size_t)snprintf(root, sizeof(root), "%s", unit_directory());
    while (len < 3900)
        len += (size_t)snprintf(root + len, sizeof(root) - len,
                                "/0123456789012345678901234567890123456789");
    struct tuck_drive *drive = open_drive(root, NULL);
    char path[TUCK_OBJECT_PATH_ROOM];
    put_one(drive, "body", path);
    assert_int_equal(access(path, R_OK), 0);
    close_drive(drive);
    while (len < 4090)
        len += (size_t)snprintf(root + len, sizeof(root) - len,
                                "/0123456789012345678901234567890123456789");
    struct tuck_set *none = NULL;
    assert_int_equal(open_set(root, NULL, &none, NULL), TUCK_SET_REFUSED);
    assert_null(tuck_set_drive(none, 0, NULL));
    tuck_set_close(none);
}

// --- Private drives ------------------------------------------------------------------------------

static struct tuck_drive *open_private(void) {
    struct tuck_drive *drive = NULL;
    assert_int_equal(tuck_drive_open_private(&drive, NULL), 0);
    return drive;
}

static void a_private_drive_lies_in_tmpdir_and_stays_when_it_is_closed(void **state) {
    (void)state;
    const char *tmp = unit_directory();
    char path[TUCK_OBJECT_PATH_ROOM];
    mode_t mask = umask(0);
    assert_int_equal(setenv("TMPDIR", tmp, 1), 0);
    struct tuck_drive *drive = open_private(), *other = open_private();
    assert_string_not_equal(tuck_drive_shown_root(drive), tuck_drive_shown_root(other));
    assert_int_equal(strncmp(tuck_drive_shown_root(drive), tmp, strlen(tmp)), 0);
    assert_mode(tuck_drive_shown_root(drive), 0700);
    put_one(drive, "body", path);
    close_drive(drive);
    close_drive(other);
    assert_int_equal(access(path, R_OK), 0);
    (void)umask(mask);
}

static void private_drives_a_day_old_are_swept_unless_somebody_holds_them(void **state) {
    (void)state;
    const char *tmp = unit_directory();
    char path[TUCK_OBJECT_PATH_ROOM];
    assert_int_equal(setenv("TMPDIR", tmp, 1), 0);
    struct tuck_drive *closed = open_private(), *held = open_private();
    const char *closed_root = unit_path("", tuck_drive_shown_root(closed) + 1);
    const char *held_root = unit_path("", tuck_drive_shown_root(held) + 1);
    put_one(closed, "body", path);
    put_one(held, "body", path);
    close_drive(closed);
    // Things with such a name that are not ours to remove.
    const char *victim = unit_path(unit_directory(), "inside");
    unit_write_file(victim, "precious", 8);
    assert_int_equal(symlink(unit_path(victim, "../"), unit_path(tmp, "tuck-private-link")), 0);
    unit_write_file(unit_path(tmp, "tuck-private-file"), "x", 1);
    assert_int_equal(mkdir(unit_path(tmp, "tuck-other-dir"), 0700), 0);

    tuck_clock_shift(23 * 3600 * (int64_t)TUCK_NS_PER_S);
    close_drive(open_private());
    assert_int_equal(access(closed_root, F_OK), 0);
    tuck_clock_shift(2 * 3600 * (int64_t)TUCK_NS_PER_S);
    close_drive(open_private());
    assert_int_not_equal(access(closed_root, F_OK), 0);
    assert_int_equal(access(held_root, F_OK), 0);
    assert_int_equal(access(path, R_OK), 0);
    assert_int_equal(access(victim, R_OK), 0);
    assert_int_equal(access(unit_path(tmp, "tuck-private-file"), F_OK), 0);
    assert_int_equal(access(unit_path(tmp, "tuck-other-dir"), F_OK), 0);
    tuck_clock_shift(-25 * 3600 * (int64_t)TUCK_NS_PER_S);
    close_drive(held);
}

static void a_link_inside_a_swept_drive_is_removed_and_not_followed(void **state) {
    (void)state;
    const char *tmp = unit_directory(), *elsewhere = unit_directory();
    unit_write_file(unit_path(elsewhere, "precious"), "x", 1);
    assert_int_equal(setenv("TMPDIR", tmp, 1), 0);
    struct tuck_drive *drive = open_private();
    assert_int_equal(symlink(elsewhere, unit_path(tuck_drive_shown_root(drive), "link")), 0);
    close_drive(drive);
    tuck_clock_shift(25 * 3600 * (int64_t)TUCK_NS_PER_S);
    close_drive(open_private());
    tuck_clock_shift(-25 * 3600 * (int64_t)TUCK_NS_PER_S);
    assert_int_equal(unit_count_names(tmp), 1);
    assert_int_equal(unit_count_names(elsewhere), 1);
}

static void without_a_usable_tmpdir_there_is_an_error_and_no_drive(void **state) {
    (void)state;
    struct tuck_drive *drive = NULL;
    struct tuck_error err = {0};
    assert_int_equal(setenv("TMPDIR", unit_path(unit_directory(), "absent"), 1), 0);
    assert_true(tuck_drive_open_private(&drive, &err) < 0);
    assert_null(drive);
    assert_non_null(strstr(err.text, "absent"));
}

// That of the test runner, or NULL.
static char *tmpdir_before;

static int keep_tmpdir(void **state) {
    (void)state;
    const char *value = getenv("TMPDIR");
    tmpdir_before = value ? strdup(value) : NULL;
    return 0;
}

static int restore_tmpdir(void **state) {
    (void)state;
    int status = tmpdir_before ? setenv("TMPDIR", tmpdir_before, 1) : unsetenv("TMPDIR");
    free(tmpdir_before);
    return status;
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_new_drive_says_what_it_is),
    cmocka_unit_test(opening_again_changes_nothing),
    cmocka_unit_test(a_root_that_cannot_be_one_is_refused_with_a_reason),
    cmocka_unit_test(a_link_of_ones_own_to_another_disk_is_followed),
    cmocka_unit_test(a_root_that_others_may_write_to_is_closed_to_them),
    cmocka_unit_test(a_newer_format_is_refused_and_left_alone),
    cmocka_unit_test(a_damaged_format_file_is_set_aside_and_written_anew),
    cmocka_unit_test(a_root_below_gocache_is_shown_as_it_is),
    cmocka_unit_test(a_root_elsewhere_is_shown_through_a_link_below_gocache),
    cmocka_unit_test(a_directory_whose_name_only_begins_like_gocache_is_elsewhere),
    cmocka_unit_test(where_no_link_can_be_made_the_real_path_is_shown),
    cmocka_unit_test(a_path_that_is_not_utf_8_is_refused),
    cmocka_unit_test(a_root_elsewhere_stays_usable_when_gocache_is_not_utf_8),
    cmocka_unit_test(a_path_that_is_too_long_is_refused),
    cmocka_unit_test_setup_teardown(a_private_drive_lies_in_tmpdir_and_stays_when_it_is_closed,
                                    keep_tmpdir, restore_tmpdir),
    cmocka_unit_test_setup_teardown(private_drives_a_day_old_are_swept_unless_somebody_holds_them,
                                    keep_tmpdir, restore_tmpdir),
    cmocka_unit_test_setup_teardown(a_link_inside_a_swept_drive_is_removed_and_not_followed,
                                    keep_tmpdir, restore_tmpdir),
    cmocka_unit_test_setup_teardown(without_a_usable_tmpdir_there_is_an_error_and_no_drive,
                                    keep_tmpdir, restore_tmpdir),
};

UNIT_MAIN(tests)

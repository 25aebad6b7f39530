// SPDX-License-Identifier: MIT
/*
 * The drives of a list and what their format files say of each other, over real directories: how a set begins, heals and
 * refuses, and where it places an object.
 */
#include "tests/unit/set_world.h"

#include "lib/base/io.h"
#include "lib/store/drive.h"

#include <sys/stat.h>

// --- How a set begins ----------------------------------------------------------------------------

static void a_new_list_becomes_a_set_that_each_of_its_drives_knows(void **state) {
    (void)state;
    struct tuck_set *set = open_set("abcd");
    assert_string_equal(in_use(set, "abcd"), "abcd");
    assert_int_equal(tuck_set_placement(set), TUCK_CRCMOD);
    for (size_t i = 0; i < 4; i++) {
        assert_false(tuck_set_was_healed(set, i));
        assert_string_equal(tuck_set_root(set, i), root_of("abcd"[i]));
    }
    tuck_set_close(set);
    assert_is_set("abcd", 1);
    assert_int_equal(kernel.writes, 4);
    assert_int_equal(access(file_of('d', "CACHEDIR.TAG"), F_OK), 0);
    tuck_set_close(NULL);
}

static void opening_a_set_again_writes_nothing(void **state) {
    (void)state;
    form("abc");
    for (int i = 0; i < 3; i++)
        assert_opens("abc");
    assert_int_equal(kernel.writes, 0);
    assert_is_set("abc", 1);
}

static void no_set_is_begun_while_one_of_its_drives_cannot_be_reached(void **state) {
    (void)state;
    unit_write_file(root_of('b'), "x", 1); // no directory
    const char *text = refusal_of("abc", "");
    assert_says(text, "cannot be reached", 'b');
    assert_says(text, "Not a directory", 'b');
    assert_int_equal(unit_count_names(root_of('a')), -1);
    assert_int_equal(unlink(root_of('b')), 0);
    assert_opens("abc");
}

static void a_directory_with_other_things_in_it_is_left_to_them(void **state) {
    (void)state;
    assert_int_equal(mkdir(root_of('b'), 0700), 0);
    unit_write_file(file_of('b', "thesis.tex"), "x", 1);
    assert_says(refusal_of("abc", ""), "something else", 'b');
    assert_int_equal(unit_count_names(root_of('b')), 1);
    assert_int_equal(unlink(file_of('b', "thesis.tex")), 0);
    assert_opens("abc");
    // In a known set the others serve.
    empty('b');
    unit_write_file(file_of('b', "thesis.tex"), "x", 1);
    assert_says(refusal_of("abc", "ac"), "something else", 'b');
    assert_int_equal(unit_count_names(root_of('b')), 1);
}

static void a_drive_that_takes_no_file_is_a_hole_and_gets_its_place_later(void **state) {
    (void)state;
    kernel.fail_at = 2;
    struct tuck_set *set = open_set("abc");
    struct tuck_error why = {0};
    assert_string_equal(in_use(set, "abc"), "ac");
    assert_null(tuck_set_drive(set, 1, &why));
    assert_int_equal(why.code, TUCK_ENOSPACE);
    assert_says(why.text, "No space left", 'b');
    tuck_set_close(set);
    char id[TUCK_FORMAT_ID + 1];
    memcpy(id, format_of('a')->members[1].id, sizeof(id));
    kernel.fail_at = 0;
    assert_opens("abc");
    assert_is_set("abc", 1);
    assert_string_equal(id_of('b'), id);
}

static void subcommands_make_no_set_where_nothing_is(void **state) {
    (void)state;
    struct tuck_set *set = NULL;
    struct tuck_error err = {0};
    assert_int_equal(try_open("abc", true, &set, &err), TUCK_EINVAL);
    assert_null(set);
    assert_says(err.text, "no cache", 'a');
    assert_int_equal(unit_count_names(top), 0);
}

static void a_list_of_no_drives_is_refused(void **state) {
    (void)state;
    struct tuck_set *set = NULL;
    struct tuck_error err = {0};
    assert_int_equal(try_open("", false, &set, &err), TUCK_SET_REFUSED);
    assert_true(err.text[0]);
    tuck_set_close(set);
}

// --- Healing -------------------------------------------------------------------------------------

static void a_blank_drive_in_a_known_set_gets_its_id_back(void **state) {
    (void)state;
    form("abc");
    for (const char *letter = "abc"; *letter; letter++)
        for (int is_gone = 0; is_gone < 2; is_gone++) {
            char id[TUCK_FORMAT_ID + 1];
            memcpy(id, id_of(*letter), sizeof(id));
            empty(*letter);
            if (is_gone)
                assert_int_equal(rmdir(root_of(*letter)), 0);
            struct tuck_set *set = open_set("abc");
            for (size_t i = 0; i < 3; i++)
                assert_int_equal(tuck_set_was_healed(set, i), "abc"[i] == *letter);
            tuck_set_close(set);
            assert_string_equal(id_of(*letter), id);
            assert_is_set("abc", 1);
            set = open_set("abc");
            assert_false(tuck_set_was_healed(set, (size_t)(*letter - 'a')));
            tuck_set_close(set);
        }
}

static void a_damaged_format_file_is_kept_for_a_look_and_written_anew(void **state) {
    (void)state;
    static const char *const damaged[] = {"", "{", "[]", "{\"format\": \"tuck\"}",
                                          "{\"format\": \"tuck\", \"version\": 0}"};
    form("abc");
    for (size_t i = 0; i < TUCK_ARRAY_LEN(damaged); i++) {
        char letter = "abc"[i % 3], id[TUCK_FORMAT_ID + 1];
        size_t len;
        memcpy(id, id_of(letter), sizeof(id));
        write_text(letter, damaged[i]);
        struct tuck_set *set = open_set("abc");
        assert_string_equal(in_use(set, "abc"), "abc");
        assert_false(tuck_set_was_healed(set, i % 3)); // its objects are all there
        tuck_set_close(set);
        assert_is_set("abc", 1);
        assert_string_equal(id_of(letter), id);
        char *kept = (char *)unit_read_file(file_of(letter, "tuck.json.damaged"), &len);
        assert_string_equal(kept, damaged[i]);
        free(kept);
    }
}

static void a_set_whose_format_files_are_all_damaged_begins_anew(void **state) {
    (void)state;
    form("ab");
    write_text('a', "{");
    write_text('b', "");
    assert_opens("ab");
    assert_is_set("ab", 1);
}

static void a_drive_that_cannot_be_reached_is_a_hole_and_the_others_serve(void **state) {
    (void)state;
    form("abc");
    for (size_t i = 0; i < 3; i++) {
        const char *root = root_of("abc"[i]), *away = unit_path(top, "away");
        struct tuck_error why = {0};
        assert_int_equal(rename(root, away), 0);
        assert_int_equal(symlink("abc"[i] == 'a' ? "a" : "loop", root), 0);
        struct tuck_set *set = open_set("abc");
        const char *others = i == 0 ? "bc" : i == 1 ? "ac" : "ab";
        assert_string_equal(in_use(set, "abc"), others);
        assert_null(tuck_set_drive(set, i, &why));
        assert_says(why.text, "", "abc"[i]);
        assert_true(why.os != 0);
        tuck_set_close(set);
        assert_int_equal(unlink(root), 0);
        assert_int_equal(rename(away, root), 0);
        assert_opens("abc");
    }
    assert_int_equal(kernel.writes, 0);
}

static void a_place_that_is_left_alone_is_not_touched(void **state) {
    (void)state;
    form("abc");
    empty('b');
    left_alone = "b";
    struct tuck_set *set = open_set("abc");
    struct tuck_error why = {0};
    assert_string_equal(in_use(set, "abc"), "ac");
    assert_null(tuck_set_drive(set, 1, &why));
    assert_true(why.text[0]);
    tuck_set_close(set);
    assert_int_equal(unit_count_names(root_of('b')), 0);
    left_alone = NULL;
    assert_opens("abc");
}

static void a_drive_that_is_behind_and_takes_no_file_serves_as_it_is(void **state) {
    (void)state;
    form("ab");
    edit('a', "\"generation\": 1", "\"generation\": 4"); // b was not reached by a change
    kernel.fail_from = 1;
    assert_opens("ab");
    kernel.fail_from = 0;
    assert_opens("ab");
    assert_is_set("ab", 4);
}

// --- Mount points --------------------------------------------------------------------------------

static void a_drive_whose_file_system_is_not_mounted_is_not_healed(void **state) {
    (void)state;
    kernel.mounts[0] = root_of('b');
    assert_int_equal(mkdir(kernel.mounts[0], 0700), 0);
    form("abc");
    assert_string_equal(format_of('a')->members[1].mount, root_of('b'));
    assert_string_equal(format_of('a')->members[0].mount, "");
    empty('b'); // what is left where it was mounted
    kernel.mounts[0] = NULL;
    struct tuck_set *set = open_set("abc");
    struct tuck_error why = {0};
    assert_string_equal(in_use(set, "abc"), "ac");
    assert_null(tuck_set_drive(set, 1, &why));
    assert_says(why.text, "not mounted", 'b');
    tuck_set_close(set);
    assert_int_equal(unit_count_names(root_of('b')), 0);
    // A new disk at the same place is blank and mounted.
    kernel.mounts[0] = root_of('b');
    assert_opens("abc");
    assert_is_set("abc", 1);
}

static void a_directory_below_a_mount_point_that_is_not_mounted_is_not_made(void **state) {
    (void)state;
    const char *disk = unit_path(top, "disk");
    assert_int_equal(mkdir(disk, 0700), 0);
    kernel.mounts[0] = disk;
    const char *roots[] = {root_of('a'), unit_path(disk, "tuck")};
    struct tuck_set_options options = {.roots = roots, .count = 2};
    struct tuck_set *set = NULL;
    assert_int_equal(tuck_set_open(&options, &set, NULL), 0);
    tuck_set_close(TUCK_TAKE(set));
    assert_string_equal(format_of('a')->members[1].mount, disk);
    assert_int_equal(rename(disk, unit_path(top, "away")), 0);
    assert_int_equal(mkdir(disk, 0700), 0);
    kernel.mounts[0] = NULL;
    assert_int_equal(tuck_set_open(&options, &set, NULL), 0);
    assert_non_null(tuck_set_drive(set, 0, NULL));
    assert_null(tuck_set_drive(set, 1, NULL));
    tuck_set_close(set);
    assert_int_equal(unit_count_names(disk), 0);
}

// There is nothing that could tell; lib/README.md says so.
static void a_set_whose_drives_are_all_unmounted_looks_blank(void **state) {
    (void)state;
    assert_int_equal(mkdir(root_of('a'), 0700), 0);
    assert_int_equal(mkdir(root_of('b'), 0700), 0);
    kernel.mounts[0] = root_of('a');
    kernel.mounts[1] = root_of('b');
    form("ab");
    char *before = read_text('a');
    empty('a');
    empty('b');
    memset(kernel.mounts, 0, sizeof(kernel.mounts));
    assert_opens("ab");
    char *after = read_text('a');
    assert_string_not_equal(before, after);
    free(before);
    free(after);
}

// --- Refusals ------------------------------------------------------------------------------------

// Each kind of damage or confusion that a person has to look at: the drive is named, the others serve.
static void each_kind_of_wrong_format_file_is_refused_with_the_drive_named(void **state) {
    (void)state;
    static const struct {
        const char *from, *to, *says;
    } kinds[] = {
        {"\"version\": 2", "\"version\": 3", "newer tuck"},
        {"\"CRCMOD\"", "\"SIPMOD\"", "newer tuck"},
        {"\"tuck\"", "\"cache\"", "something else"},
        {"\"CRCMOD\"", "\"RENDEZVOUS\"", "lists its set otherwise"},
    };
    form("abc");
    char *good = read_text('b');
    for (size_t i = 0; i < TUCK_ARRAY_LEN(kinds); i++) {
        edit('b', kinds[i].from, kinds[i].to);
        assert_says(refusal_of("abc", "ac"), kinds[i].says, 'b');
        write_text('b', good);
        assert_opens("abc");
    }
    free(good);
}

// Takes the id of `gone` out of the set that `letter` knows, with its comma.
static void drop_id(char letter, char gone) {
    char *with_comma;
    assert_true(asprintf(&with_comma, ", \"%s\"", id_of(gone)) > 0);
    edit(letter, with_comma, "");
    free(with_comma);
}

static void a_drive_that_knows_fewer_drives_is_refused(void **state) {
    (void)state;
    form("abc");
    drop_id('b', 'c');
    assert_says(refusal_of("abc", "ac"), "lists its set otherwise", 'b');
}

static void a_drive_that_knows_others_is_refused(void **state) {
    (void)state;
    form("abc");
    edit('b', id_of('c'), "0123456789abcdef01234567");
    assert_says(refusal_of("abc", "ac"), "lists its set otherwise", 'b');
}

static void a_drive_of_another_set_is_refused(void **state) {
    (void)state;
    form("abc");
    form("xyz");
    copy('y', 'b');
    assert_says(refusal_of("abc", "ac"), "of another set", 'b');
    // Of two sets, that of the first drive.
    assert_says(refusal_of("xbc", "xb"), "of another set", 'c');
}

static void a_copy_of_a_drive_is_refused(void **state) {
    (void)state;
    form("abc");
    copy('a', 'c');
    assert_says(refusal_of("abc", "ab"), "by another name, or a copy", 'c');
}

static void another_order_is_refused_but_all_serve(void **state) {
    (void)state;
    form("abc");
    assert_says(refusal_of("bac", "bac"), "in the order of the set", 'b');
    assert_says(refusal_of("cab", "cab"), "in the order of the set", 'c');
}

static void more_or_fewer_drives_than_the_set_has_are_refused_but_those_of_it_serve(void **state) {
    (void)state;
    form("abc");
    assert_says(refusal_of("abcd", "abc"), "tuck drive add", 'd');
    assert_int_equal(unit_count_names(root_of('d')), -1);
    assert_says(refusal_of("abdc", "abc"), "tuck drive add", 'd');
    const char *text = refusal_of("ab", "ab");
    assert_says(text, "tuck drive remove", 'a');
    assert_says(text, id_of('c'), 0);
    assert_says(refusal_of("c", "c"), "tuck drive remove", 'c');
}

static void a_format_file_of_a_whole_set_with_long_mount_points_is_read_whole(void **state) {
    (void)state;
    struct tuck_format *format = calloc(1, sizeof(*format));
    char *text = NULL;
    format->generation = 1;
    for (; format->count < TUCK_DRIVES_MAX; format->count++) {
        struct tuck_format_member *member = &format->members[format->count];
        tuck_random_name(member->id);
        memset(member->mount, 1, sizeof(member->mount) - 1); // \u0001
        member->mount[0] = '/';
    }
    assert_int_equal(tuck_format_write(format, &text, NULL), 0);
    assert_true(strlen(text) > 90000);
    assert_int_equal(mkdir(root_of('a'), 0700), 0);
    write_text('a', text);
    assert_says(refusal_of("a", "a"), "64 drives", 'a');
    free(text);
    free(format);
}

// --- Order ---------------------------------------------------------------------------------------

static void an_object_is_placed_as_the_set_says_whatever_the_list_says(void **state) {
    (void)state;
    static const char *const lists[] = {"abcd", "bacd", "dcba", "acd", "dab"};
    form("abcd");
    for (int placement = TUCK_CRCMOD; placement <= TUCK_RENDEZVOUS; placement++) {
        set_placement("abcd", (enum tuck_placement)placement);
        struct tuck_set *right = open_set("abcd");
        for (size_t i = 0; i < TUCK_ARRAY_LEN(lists); i++) {
            struct tuck_set *set = NULL;
            assert_in_range(try_open(lists[i], false, &set, NULL), 0, TUCK_SET_REFUSED);
            for (uint64_t object = 0; object < 200; object++) {
                char expected[8], found[8], left[8];
                size_t count = 0;
                order_of(right, "abcd", object, expected);
                order_of(set, lists[i], object, found);
                for (const char *letter = expected; *letter;
                     letter++) // without those that are not in the list
                    if (strchr(lists[i], *letter))
                        left[count++] = *letter;
                left[count] = '\0';
                assert_string_equal(found, left);
            }
            tuck_set_close(set);
        }
        tuck_set_close(right);
    }
}

static void a_hole_keeps_its_place_in_the_order(void **state) {
    (void)state;
    form("abc");
    struct tuck_set *whole = open_set("abc");
    left_alone = "b";
    struct tuck_set *holed = open_set("abc");
    left_alone = NULL;
    for (uint64_t object = 0; object < 200; object++) {
        char expected[8], found[8];
        order_of(whole, "abc", object, expected);
        order_of(holed, "abc", object, found);
        assert_string_equal(found, expected);
    }
    tuck_set_close(whole);
    tuck_set_close(holed);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_world_begin, set_kernel_reset)
        TEST(a_new_list_becomes_a_set_that_each_of_its_drives_knows),
        TEST(opening_a_set_again_writes_nothing),
        TEST(no_set_is_begun_while_one_of_its_drives_cannot_be_reached),
        TEST(a_directory_with_other_things_in_it_is_left_to_them),
        TEST(a_drive_that_takes_no_file_is_a_hole_and_gets_its_place_later),
        TEST(subcommands_make_no_set_where_nothing_is),
        TEST(a_list_of_no_drives_is_refused),
        TEST(a_blank_drive_in_a_known_set_gets_its_id_back),
        TEST(a_damaged_format_file_is_kept_for_a_look_and_written_anew),
        TEST(a_set_whose_format_files_are_all_damaged_begins_anew),
        TEST(a_drive_that_cannot_be_reached_is_a_hole_and_the_others_serve),
        TEST(a_place_that_is_left_alone_is_not_touched),
        TEST(a_drive_that_is_behind_and_takes_no_file_serves_as_it_is),
        TEST(a_drive_whose_file_system_is_not_mounted_is_not_healed),
        TEST(a_directory_below_a_mount_point_that_is_not_mounted_is_not_made),
        TEST(a_set_whose_drives_are_all_unmounted_looks_blank),
        TEST(each_kind_of_wrong_format_file_is_refused_with_the_drive_named),
        TEST(a_drive_that_knows_fewer_drives_is_refused),
        TEST(a_drive_that_knows_others_is_refused),
        TEST(a_drive_of_another_set_is_refused),
        TEST(a_copy_of_a_drive_is_refused),
        TEST(another_order_is_refused_but_all_serve),
        TEST(more_or_fewer_drives_than_the_set_has_are_refused_but_those_of_it_serve),
        TEST(a_format_file_of_a_whole_set_with_long_mount_points_is_read_whole),
        TEST(an_object_is_placed_as_the_set_says_whatever_the_list_says),
        TEST(a_hole_keeps_its_place_in_the_order),
#undef TEST
    };
    return unit_run(__FILE__, tests, TUCK_ARRAY_LEN(tests), argc, argv);
}

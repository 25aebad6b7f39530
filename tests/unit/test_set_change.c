// SPDX-License-Identifier: MIT
/*
 * A set that several processes begin, heal or change at once; drives that are tried again; and how a set is changed,
 * also when that is cut off at any write.
 */
#include "tests/unit/set_world.h"

#include "lib/base/thread.h"
#include "lib/store/drive.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>

// --- Others at the same time ---------------------------------------------------------------------

// Runs so many processes that do one thing at the same moment, and returns how many of them exited with which status:
// ret_count[status].
static void run_at_once(size_t count, int (*body)(size_t number), unsigned *ret_count) {
    int start[2], ready[2];
    pid_t child[16];
    char c;
    assert_true(count <= TUCK_ARRAY_LEN(child));
    assert_int_equal(pipe(start), 0);
    assert_int_equal(pipe(ready), 0);
    (void)fflush(NULL);
    for (size_t i = 0; i < count; i++) {
        child[i] = fork();
        assert_true(child[i] >= 0);
        if (child[i] == 0) {
            (void)close(start[1]);
            (void)!write(ready[1], "!", 1);
            (void)!read(start[0], &c, 1); // until the other end is closed
            _exit(body(i));
        }
    }
    for (size_t i = 0; i < count; i++)
        assert_int_equal(read(ready[0], &c, 1), 1);
    (void)close(start[1]);
    memset(ret_count, 0, 8 * sizeof(*ret_count));
    for (size_t i = 0; i < count; i++) {
        int status;
        assert_int_equal(waitpid(child[i], &status, 0), child[i]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 8);
        ret_count[WEXITSTATUS(status)]++;
    }
    (void)close(start[0]);
    (void)close(ready[0]);
    (void)close(ready[1]);
}

// 0: all drives in use and none was healed.
static int open_quietly(size_t number) {
    struct tuck_set *set = NULL;
    struct tuck_error err = {0};
    (void)number;
    int status = try_open("abcd", false, &set, &err);
    int result = status != 0 ? 1 : strcmp(in_use(set, "abcd"), "abcd") != 0 ? 2 : 0;
    for (size_t i = 0; result == 0 && i < 4; i++)
        result = tuck_set_was_healed(set, i) ? 3 : 0;
    if (result)
        print_message("# %d: %s\n", result, err.text);
    return result;
}

static void processes_that_begin_one_set_at_once_agree(void **state) {
    (void)state;
    for (int round = 0; round < 10; round++) {
        unsigned count[8];
        top = unit_directory();
        run_at_once(6, open_quietly, count);
        // On a machine this busy one may wait for its turn in vain, and heal what another has begun.
        assert_int_equal(count[0] + count[3], 6);
        assert_is_set("abcd", 1);
    }
}

static void processes_that_find_damaged_files_at_once_agree(void **state) {
    (void)state;
    for (int round = 0; round < 10; round++) {
        unsigned count[8];
        top = unit_directory();
        for (const char *letter = "abcd"; *letter; letter++) {
            assert_int_equal(mkdir(root_of(*letter), 0700), 0);
            if (round % 2 || *letter == 'a')
                write_text(*letter, "{");
        }
        run_at_once(6, open_quietly, count);
        // As above, or go on without what nobody has mended by then; but none fails, and one mends all.
        assert_int_equal(count[0] + count[2] + count[3], 6);
        assert_true(count[2] < 6);
        assert_is_set("abcd", 1);
    }
}

static unsigned beside_at;

static void count_down(void) {
    if (kernel.writes != beside_at)
        kernel.before_write = count_down;
    else
        assert_opens("abcd");
}

// As if another process did everything between two steps of the first, where turns cannot be taken.
static void another_that_comes_between_any_two_writes_agrees(void **state) {
    (void)state;
    kernel.has_no_locks = true;
    for (beside_at = 1; beside_at <= 4; beside_at++) {
        top = unit_directory();
        kernel.writes = 0;
        kernel.before_write = count_down;
        assert_opens("abcd");
        assert_is_set("abcd", 1);
    }
}

static struct tuck_set *shared;
static int over; /* atomic */

static void *use_set(void *arg) {
    uint64_t object = 0;
    while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
        char order[8];
        struct tuck_error why;
        order_of(shared, arg, object++, order);
        (void)tuck_set_drive(shared, 1, &why);
        (void)tuck_set_was_healed(shared, 1);
    }
    return NULL;
}

static void a_set_is_used_while_a_drive_is_retried(void **state) {
    (void)state;
    pthread_t thread;
    form("abc");
    shared = open_set("abc");
    over = 0;
    assert_int_equal(tuck_thread_start(&thread, use_set, (void *)(uintptr_t) "abc"), 0);
    for (int i = 0; i < 100; i++) {
        struct tuck_drive *drive = NULL;
        if (i % 2)
            empty('b');
        assert_int_equal(tuck_set_retry(shared, 1, &drive, NULL), 0);
        assert_ptr_equal(tuck_set_drive(shared, 1, NULL), drive);
        assert_int_equal(tuck_set_was_healed(shared, 1), i % 2);
    }
    __atomic_store_n(&over, 1, __ATOMIC_RELAXED);
    (void)pthread_join(thread, NULL);
    tuck_set_close(shared);
}

// --- Trying again --------------------------------------------------------------------------------

static void a_drive_that_comes_back_is_opened_anew_and_the_old_one_stays_valid(void **state) {
    (void)state;
    form("abc");
    struct tuck_set *set = open_set("abc");
    struct tuck_drive *before = tuck_set_drive(set, 1, NULL), *after = NULL;
    struct tuck_error err = {0};
    const char *root = root_of('b'), *away = unit_path(top, "away");
    assert_int_equal(rename(root, away), 0);
    unit_write_file(root, "x", 1);
    assert_true(tuck_set_retry(set, 1, &after, &err) < 0);
    assert_says(err.text, "Not a directory", 'b');
    assert_null(after);
    assert_string_equal(in_use(set, "abc"), "ac");
    assert_true(tuck_drive_probe(before, NULL) < 0); // and no use of freed memory
    assert_int_equal(unlink(root), 0);
    assert_int_equal(rename(away, root), 0);
    assert_int_equal(tuck_set_retry(set, 1, &after, &err), 0);
    assert_ptr_equal(tuck_set_drive(set, 1, NULL), after);
    assert_ptr_not_equal(after, before);
    assert_int_equal(tuck_drive_probe(before, NULL), 0);
    tuck_set_close(set);
}

static void a_drive_comes_back_also_in_a_list_that_does_not_fit(void **state) {
    (void)state;
    static const char *const lists[] = {"bac", "ab", "cb", "abcd"};
    form("abc");
    for (size_t i = 0; i < TUCK_ARRAY_LEN(lists); i++) {
        struct tuck_set *set = NULL;
        assert_int_equal(try_open(lists[i], false, &set, NULL), TUCK_SET_REFUSED);
        for (size_t place = 0; place < 2; place++) {
            struct tuck_drive *drive = NULL;
            struct tuck_error err = {0};
            if (tuck_set_retry(set, place, &drive, &err) != 0)
                print_message("# %s place %zu: %s\n", lists[i], place, err.text);
            assert_non_null(drive);
        }
        tuck_set_close(set);
    }
    assert_int_equal(kernel.writes, 0);
}

static void what_was_another_drive_when_it_came_back_is_refused(void **state) {
    (void)state;
    form("abc");
    form("xyz");
    struct tuck_set *set = open_set("abc");
    struct tuck_drive *drive = NULL;
    struct tuck_error err = {0};
    copy('y', 'b');
    assert_true(tuck_set_retry(set, 1, &drive, &err) < 0);
    assert_says(err.text, "of another set", 'b');
    assert_null(drive);
    tuck_set_close(set);
}

// --- Changing ------------------------------------------------------------------------------------

static void a_drive_is_added_replaced_moved_and_removed(void **state) {
    (void)state;
    static const char *const steps[] = {"ab", "abc", "adc", "cda", "c", "cab"};
    char ids[26][TUCK_FORMAT_ID + 1] = {0};
    form("ab");
    for (size_t i = 1; i < TUCK_ARRAY_LEN(steps); i++) {
        for (const char *letter = steps[i - 1]; *letter; letter++)
            memcpy(ids[*letter - 'a'], id_of(*letter), TUCK_FORMAT_ID);
        assert_changes(steps[i - 1], steps[i]);
        assert_opens(steps[i]);
        assert_is_set(steps[i], i + 1);
        for (const char *letter = steps[i]; *letter; letter++) // it is who it was
            if (ids[*letter - 'a'][0])
                assert_string_equal(id_of(*letter), ids[*letter - 'a']);
    }
}

static void the_former_list_is_told_what_has_changed(void **state) {
    (void)state;
    form("abc");
    assert_changes("abc", "abcd");
    assert_says(refusal_of("abc", "abc"), "name number 4", 'a');
    assert_changes("abcd", "abd");
    assert_says(refusal_of("abcd", "abd"), "not, or no longer, in the set", 'c');
}

static void the_placement_is_changed(void **state) {
    (void)state;
    form("ab");
    set_placement("ab", TUCK_RENDEZVOUS);
    struct tuck_set *set = open_set("ab");
    assert_int_equal(tuck_set_placement(set), TUCK_RENDEZVOUS);
    tuck_set_close(set);
    assert_is_set("ab", 2);
}

static void drives_of_other_sets_are_taken_in_with_what_they_are(void **state) {
    (void)state;
    form("ab");
    form("x");
    form("yz");
    char id[TUCK_FORMAT_ID + 1];
    memcpy(id, id_of('y'), sizeof(id));
    assert_changes("ab", "abxy");
    assert_opens("abxy");
    assert_string_equal(id_of('y'), id);
    assert_says(refusal_of("yz", "y"), "", 0);
}

static void a_copy_is_not_taken_in(void **state) {
    (void)state;
    struct tuck_error err = {0};
    form("ab");
    assert_int_equal(mkdir(root_of('c'), 0700), 0);
    copy('a', 'c');
    assert_int_equal(change("ab", "abc", TUCK_CRCMOD, &err), TUCK_EINVAL);
    assert_says(err.text, "copies of one drive", 'c');
    assert_int_equal(kernel.writes, 0);
    assert_opens("ab");
}

static void what_belongs_to_others_or_a_newer_tuck_is_not_taken_in(void **state) {
    (void)state;
    struct tuck_error err = {0};
    form("ab");
    form("cd");
    edit('c', "\"tuck\"", "\"other\"");
    assert_true(change("ab", "abc", TUCK_CRCMOD, &err) < 0);
    assert_says(err.text, "other", 'c');
    edit('d', "\"version\": 2", "\"version\": 7");
    assert_true(change("ab", "abd", TUCK_CRCMOD, &err) < 0);
    assert_says(err.text, "version 7", 'd');
    assert_int_equal(kernel.writes, 0);
    assert_opens("ab");
}

static void a_set_is_not_changed_behind_the_back_of_a_drive_that_is_not_there(void **state) {
    (void)state;
    struct tuck_error err = {0};
    kernel.mounts[0] = root_of('b');
    assert_int_equal(mkdir(kernel.mounts[0], 0700), 0);
    form("ab");
    const char *away = unit_path(top, "away");
    assert_int_equal(rename(root_of('b'), away), 0);
    // Not mounted, whether or not there is a directory.
    kernel.mounts[0] = NULL;
    for (int has_directory = 0; has_directory < 2; has_directory++) {
        if (has_directory)
            assert_int_equal(mkdir(root_of('b'), 0700), 0);
        assert_true(change("ab", "abc", TUCK_CRCMOD, &err) < 0);
        assert_says(err.text, "not mounted", 'b');
        assert_int_equal(kernel.writes, 0);
    }
    assert_int_equal(rmdir(root_of('b')), 0);
    // In the way.
    unit_write_file(root_of('b'), "x", 1);
    assert_true(change("ab", "abc", TUCK_CRCMOD, &err) < 0);
    assert_says(err.text, "Not a directory", 'b');
    assert_int_equal(unlink(root_of('b')), 0);
    assert_int_equal(kernel.writes, 0);
    // Without it, it can be.
    assert_changes("ab", "ac");
    assert_opens("ac");
    // And it comes back as what it was.
    assert_int_equal(rename(away, root_of('b')), 0);
    assert_says(refusal_of("ab", "a"), "no longer, in the set", 'b');
    assert_changes("ac", "acb");
    assert_opens("acb");
}

static void a_blank_drive_of_the_set_keeps_its_id_when_the_set_is_changed(void **state) {
    (void)state;
    form("ab");
    char id[TUCK_FORMAT_ID + 1];
    memcpy(id, id_of('b'), sizeof(id));
    empty('b');
    assert_changes("ab", "abc");
    assert_opens("abc");
    assert_string_equal(id_of('b'), id);
    empty('b'); // while the list is ahead of the set
    assert_changes("abcd", "abcd");
    assert_opens("abcd");
    assert_string_equal(id_of('b'), id);
}

static void a_number_of_changes_that_cannot_be_is_an_error(void **state) {
    (void)state;
    struct tuck_error err = {0};
    form("ab");
    edit('a', "\"generation\": 1", "\"generation\": 9223372036854775807");
    assert_opens("ab");
    kernel.writes = 0;
    assert_true(change("ab", "abc", TUCK_CRCMOD, &err) < 0);
    assert_says(err.text, "", 'a');
    assert_int_equal(kernel.writes, 0);
}

static size_t count_new(const char *before, const char *after) {
    size_t count = 0;
    for (; *after; after++)
        count += !strchr(before, *after);
    return count;
}

// However a change is cut off: the former list or the new one is served by all its drives, and the same change again
// brings it to its end.
static void a_change_that_is_cut_off_at_any_write_is_carried_on(void **state) {
    (void)state;
    static const char *const changes[][2] = {
        {"ab", "abcd"}, {"abc", "ac"}, {"abc", "adc"}, {"abc", "cba"}, {"a", "ab"}};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(changes); i++)
        for (int way = 0; way < 3; way++)
            for (unsigned at = 1;; at++) {
                const char *before = changes[i][0], *after = changes[i][1];
                struct tuck_error err = {0};
                struct tuck_set *set = NULL;
                top = unit_directory();
                kernel.fail_from = 0;
                form(before);
                kernel.fail_from = at;
                if (change(before, after, TUCK_CRCMOD, &err) == 0)
                    break;
                assert_says(err.text, "No space left", 0);
                kernel.fail_from = 0;
                kernel.writes = 0;
                if (way == 0) { // the setting stays
                    size_t new = count_new(before, after);
                    int status = try_open(before, false, &set, NULL);
                    assert_in_range(status, 0, TUCK_SET_REFUSED);
                    if (at <= new) // none of the former drives knows of it yet
                        assert_int_equal(status, 0);
                    const char *used = in_use(set, before);
                    for (const char *letter = before; *letter; letter++)
                        assert_true(strchr(used, *letter) || !strchr(after, *letter));
                    tuck_set_close(set);
                } else if (way == 1) { // the setting is changed
                    assert_in_range(try_open(after, false, &set, &err), 0, TUCK_SET_REFUSED);
                    const char *used = in_use(set, after);
                    for (const char *letter = after; *letter; letter++)
                        assert_true(strchr(used, *letter) || !strchr(before, *letter));
                    tuck_set_close(set);
                }
                assert_changes(way == 1 ? after : before, after);
                assert_opens(after);
            }
    kernel.fail_from = 0;
}

static void a_process_that_is_stopped_in_its_turn_stops_a_change_but_no_helper(void **state) {
    (void)state;
    struct tuck_error err = {0};
    form("ab");
    int fd = open(root_of('a'), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    kernel.skips_waits = true;
    assert_int_equal(change("ab", "abc", TUCK_CRCMOD, &err), TUCK_ETIMEOUT);
    assert_says(err.text, "another process", 'a');
    assert_int_equal(kernel.writes, 0);
    empty('b');
    assert_opens("ab");
    assert_is_set("ab", 1);
    (void)close(fd);
}

static int add_one(size_t number) {
    const char *after = number % 2 ? "abc" : "abd";
    return change("ab", after, TUCK_CRCMOD, NULL) == 0 ? 0 : 1;
}

static void of_changes_at_once_one_is_the_last(void **state) {
    (void)state;
    for (int round = 0; round < 10; round++) {
        unsigned count[8];
        top = unit_directory();
        form("ab");
        run_at_once(4, add_one, count);
        assert_true(count[0] > 0);
        const char *after = format_of('a')->count == 3 &&
                                    access(file_of('c', "tuck.json"), F_OK) == 0 &&
                                    strcmp(format_of('a')->members[2].id, id_of('c')) == 0
                                ? "abc"
                                : "abd";
        assert_opens(after);
    }
}

static int open_or_change(size_t number) {
    struct tuck_set *set = NULL;
    if (number == 0)
        return change("abcd", "abcde", TUCK_CRCMOD, NULL) == 0 ? 0 : 1;
    int status = try_open(number % 2 ? "abcd" : "abcde", false, &set, NULL);
    int result = status < 0 ? 2 : strncmp(in_use(set, "abcd"), "abcd", 4) != 0 ? 3 : 0;
    tuck_set_close(set);
    return result;
}

static void helpers_that_begin_beside_a_change_have_their_drives(void **state) {
    (void)state;
    for (int round = 0; round < 10; round++) {
        unsigned count[8];
        top = unit_directory();
        form("abcd");
        run_at_once(6, open_or_change, count);
        assert_int_equal(count[0], 6);
        assert_opens("abcde");
        assert_is_set("abcde", 2);
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_world_begin, set_kernel_reset)
        TEST(processes_that_begin_one_set_at_once_agree),
        TEST(processes_that_find_damaged_files_at_once_agree),
        TEST(another_that_comes_between_any_two_writes_agrees),
        TEST(a_set_is_used_while_a_drive_is_retried),
        TEST(a_drive_that_comes_back_is_opened_anew_and_the_old_one_stays_valid),
        TEST(a_drive_comes_back_also_in_a_list_that_does_not_fit),
        TEST(what_was_another_drive_when_it_came_back_is_refused),
        TEST(a_drive_is_added_replaced_moved_and_removed),
        TEST(the_former_list_is_told_what_has_changed),
        TEST(the_placement_is_changed),
        TEST(drives_of_other_sets_are_taken_in_with_what_they_are),
        TEST(a_copy_is_not_taken_in),
        TEST(what_belongs_to_others_or_a_newer_tuck_is_not_taken_in),
        TEST(a_set_is_not_changed_behind_the_back_of_a_drive_that_is_not_there),
        TEST(a_blank_drive_of_the_set_keeps_its_id_when_the_set_is_changed),
        TEST(a_number_of_changes_that_cannot_be_is_an_error),
        TEST(a_change_that_is_cut_off_at_any_write_is_carried_on),
        TEST(a_process_that_is_stopped_in_its_turn_stops_a_change_but_no_helper),
        TEST(of_changes_at_once_one_is_the_last),
        TEST(helpers_that_begin_beside_a_change_have_their_drives),
#undef TEST
    };
    return unit_run(__FILE__, tests, TUCK_ARRAY_LEN(tests), argc, argv);
}

// SPDX-License-Identifier: MIT
/*
 * The drives of a list and what their format files say of each other, over real directories: how a set begins, heals,
 * refuses, changes, and comes through when it is cut off at any write or is not alone.
 *
 * Drives are named by letters: "abc" is the list of the drives a, b and c of one directory.
 */
#include "tests/unit/unit.h"

#include "lib/base/clock.h"
#include "lib/base/io.h"
#include "lib/base/thread.h"
#include "lib/store/drive.h"
#include "lib/store/format.h"
#include "lib/store/set.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>

// --- System calls --------------------------------------------------------------------------------

int __real_linkat(int from, const char *old, int to, const char *new, int flags);
int __wrap_linkat(int from, const char *old, int to, const char *new, int flags);
int __real_renameat(int from, const char *old, int to, const char *new);
int __wrap_renameat(int from, const char *old, int to, const char *new);
int __real_renameat2(int from, const char *old, int to, const char *new, unsigned flags);
int __wrap_renameat2(int from, const char *old, int to, const char *new, unsigned flags);
int __real_flock(int fd, int how);
int __wrap_flock(int fd, int how);
int __real_stat64(const char *path, struct stat *ret_stat);
int __wrap_stat64(const char *path, struct stat *ret_stat);

static unsigned writes;            // times that a file got the name tuck.json, or was to
static unsigned fail_at;           // which of them fails, from 1
static unsigned fail_from;         // from which on all do
static void (*before_write)(void); // called before each
static const char *mounts[4];      // directories that pass for mount points

// True if the call is to fail.
static bool note_write(const char *name) {
    if (strcmp(name, "tuck.json") != 0)
        return false;
    writes++;
    void (*hook)(void) = TUCK_TAKE(before_write);
    if (hook)
        hook();
    if (fail_at != writes && (!fail_from || writes < fail_from))
        return false;
    errno = ENOSPC;
    return true;
}

static bool has_no_locks, skips_waits;

int __wrap_flock(int fd, int how) {
    errno = ENOLCK;
    int status = has_no_locks ? -1 : __real_flock(fd, how);
    if (status < 0 && errno == EWOULDBLOCK && skips_waits) {
        tuck_clock_shift_mono(TUCK_NS_PER_S);
        errno = EWOULDBLOCK;
    }
    return status;
}

static bool has_link_failed; // then the same is tried by renaming, and does not count anew

int __wrap_linkat(int from, const char *old, int to, const char *new, int flags) {
    has_link_failed = note_write(new);
    return has_link_failed ? -1 : __real_linkat(from, old, to, new, flags);
}

int __wrap_renameat2(int from, const char *old, int to, const char *new, unsigned flags) {
    if (!has_link_failed)
        return __real_renameat2(from, old, to, new, flags);
    errno = ENOSPC;
    return -1;
}

int __wrap_renameat(int from, const char *old, int to, const char *new) {
    if (has_link_failed) {
        has_link_failed = false;
        errno = ENOSPC;
        return -1;
    }
    return note_write(new) ? -1 : __real_renameat(from, old, to, new);
}

int __wrap_stat64(const char *path, struct stat *ret_stat) {
    int status = __real_stat64(path, ret_stat);
    for (size_t i = 0; status == 0 && i < TUCK_ARRAY_LEN(mounts); i++) {
        size_t len = mounts[i] ? strlen(mounts[i]) : 0;
        if (len > 0 && strncmp(path, mounts[i], len) == 0 && strcmp(path + len, "/..") != 0)
            ret_stat->st_dev += 1000 + i;
    }
    return status;
}

static int reset_kernel(void **state) {
    (void)state;
    writes = fail_at = fail_from = 0;
    has_link_failed = has_no_locks = skips_waits = false;
    before_write = NULL;
    memset(mounts, 0, sizeof(mounts));
    return 0;
}

// --- Worlds --------------------------------------------------------------------------------------

static const char *top; // of the test that runs

static int begin(void **state) {
    top = unit_directory();
    return reset_kernel(state);
}

static const char *root_of(char letter) {
    return unit_path(top, (char[]){letter, '\0'});
}

static const char *file_of(char letter, const char *name) {
    return unit_path(root_of(letter), name);
}

struct list {
    const char *root[TUCK_DRIVES_MAX];
    size_t count;
};

static struct list list_of(const char *letters) {
    struct list list = {.count = 0};
    for (; letters[list.count]; list.count++)
        list.root[list.count] = root_of(letters[list.count]);
    return list;
}

static const char *left_alone; // letters of drives that are not to be touched

static bool is_left_alone(void *arg, size_t place) {
    const char *letters = arg;
    return left_alone && strchr(left_alone, letters[place]);
}

static int try_open(const char *letters, bool must_exist, struct tuck_set **ret_set,
                    struct tuck_error *err) {
    struct list list = list_of(letters);
    struct tuck_set_options options = {
        .roots = list.root,
        .count = list.count,
        .must_exist = must_exist,
        .is_left_alone = is_left_alone,
        .arg = (void *)(uintptr_t)letters,
    };
    return tuck_set_open(&options, ret_set, err);
}

static struct tuck_set *open_set(const char *letters) {
    struct tuck_set *set = NULL;
    struct tuck_error err = {0};
    int status = try_open(letters, false, &set, &err);
    if (status != 0)
        print_message("# %s\n", err.text);
    assert_int_equal(status, 0);
    return set;
}

// The letters of those that are open, in the order of the list. Borrowed until the next call.
static const char *in_use(struct tuck_set *set, const char *letters) {
    static char used[TUCK_DRIVES_MAX + 1];
    size_t count = 0;
    for (size_t i = 0; letters[i]; i++)
        if (tuck_set_drive(set, i, NULL))
            used[count++] = letters[i];
    used[count] = '\0';
    return used;
}

// All drives of the list are in use and nothing is said.
static void assert_opens(const char *letters) {
    struct tuck_set *set = open_set(letters);
    assert_string_equal(in_use(set, letters), letters);
    tuck_set_close(set);
}

// The text of a refusal, after which so many of the drives are in use. Nothing may be written. Borrowed until the
// next call.
static const char *refusal_of(const char *letters, const char *used) {
    static struct tuck_error err;
    struct tuck_error again = {0};
    struct tuck_set *set = NULL;
    unsigned before = writes;
    err = (struct tuck_error){0};
    assert_int_equal(try_open(letters, false, &set, &err), TUCK_SET_REFUSED);
    assert_string_equal(in_use(set, letters), used);
    tuck_set_close(TUCK_TAKE(set));
    assert_int_equal(try_open(letters, true, &set, &again),
                     TUCK_SET_REFUSED); // subcommands are told the same
    assert_string_equal(again.text, err.text);
    tuck_set_close(set);
    assert_int_equal(writes, before);
    return err.text;
}

static void assert_says(const char *text, const char *what, char letter) {
    if (strstr(text, what) && (!letter || strstr(text, root_of(letter))))
        return;
    print_message("# '%s' should have '%s' and drive %c\n", text, what, letter);
    fail();
}

// What the drive knows of its set. Borrowed until the fourth call from now.
static const struct tuck_format *format_of(char letter) {
    static struct tuck_format formats[4];
    static size_t next;
    struct tuck_format *format = &formats[next++ % TUCK_ARRAY_LEN(formats)];
    size_t len;
    char *text = (char *)unit_read_file(file_of(letter, "tuck.json"), &len);
    assert_int_equal(tuck_format_parse(text, len, format, NULL), TUCK_FORMAT_GOOD);
    free(text);
    return format;
}

// The drives of these letters know that they are a set in this order, and of which generation and placement.
static void assert_is_set(const char *letters, uint64_t generation) {
    struct tuck_format first = *format_of(letters[0]);
    assert_int_equal(first.count, strlen(letters));
    for (size_t i = 0; letters[i]; i++) {
        const struct tuck_format *other = format_of(letters[i]);
        assert_int_equal(other->self, i);
        assert_int_equal(other->count, first.count);
        assert_int_equal(other->generation, generation);
        assert_int_equal(other->placement, first.placement);
        for (size_t member = 0; member < first.count; member++)
            assert_string_equal(other->members[member].id, first.members[member].id);
    }
}

static const char *id_of(char letter) {
    const struct tuck_format *format = format_of(letter);
    return format->members[format->self].id;
}

static void write_text(char letter, const char *text) {
    unit_write_file(file_of(letter, "tuck.json"), text, strlen(text));
}

static char *read_text(char letter) {
    size_t len;
    return (char *)unit_read_file(file_of(letter, "tuck.json"), &len);
}

// Puts other words in place of some in the drive's format file.
static void edit(char letter, const char *from, const char *to) {
    char *text = read_text(letter), *at = strstr(text, from), *changed;
    assert_non_null(at);
    assert_true(asprintf(&changed, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from)) > 0);
    write_text(letter, changed);
    free(changed);
    free(text);
}

static void copy(char from, char to) {
    char *text = read_text(from);
    write_text(to, text);
    free(text);
}

static void empty(char letter) {
    static const char *const names[] = {"tuck.json", "README", "CACHEDIR.TAG", "tuck.json.damaged"};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(names); i++)
        (void)unlink(file_of(letter, names[i]));
    assert_int_equal(unit_count_names(root_of(letter)), 0);
}

static void form(const char *letters) {
    assert_opens(letters);
    assert_is_set(letters, 1);
    writes = 0;
}

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
    assert_int_equal(writes, 4);
    assert_int_equal(access(file_of('d', "CACHEDIR.TAG"), F_OK), 0);
    tuck_set_close(NULL);
}

static void opening_a_set_again_writes_nothing(void **state) {
    (void)state;
    form("abc");
    for (int i = 0; i < 3; i++)
        assert_opens("abc");
    assert_int_equal(writes, 0);
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
    fail_at = 2;
    struct tuck_set *set = open_set("abc");
    struct tuck_error why = {0};
    assert_string_equal(in_use(set, "abc"), "ac");
    assert_null(tuck_set_drive(set, 1, &why));
    assert_int_equal(why.code, TUCK_ENOSPACE);
    assert_says(why.text, "No space left", 'b');
    tuck_set_close(set);
    char id[TUCK_FORMAT_ID + 1];
    memcpy(id, format_of('a')->members[1].id, sizeof(id));
    fail_at = 0;
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
    assert_int_equal(writes, 0);
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
    fail_from = 1;
    assert_opens("ab");
    fail_from = 0;
    assert_opens("ab");
    assert_is_set("ab", 4);
}

// --- Mount points --------------------------------------------------------------------------------

static void a_drive_whose_file_system_is_not_mounted_is_not_healed(void **state) {
    (void)state;
    mounts[0] = root_of('b');
    assert_int_equal(mkdir(mounts[0], 0700), 0);
    form("abc");
    assert_string_equal(format_of('a')->members[1].mount, root_of('b'));
    assert_string_equal(format_of('a')->members[0].mount, "");
    empty('b'); // what is left where it was mounted
    mounts[0] = NULL;
    struct tuck_set *set = open_set("abc");
    struct tuck_error why = {0};
    assert_string_equal(in_use(set, "abc"), "ac");
    assert_null(tuck_set_drive(set, 1, &why));
    assert_says(why.text, "not mounted", 'b');
    tuck_set_close(set);
    assert_int_equal(unit_count_names(root_of('b')), 0);
    // A new disk at the same place is blank and mounted.
    mounts[0] = root_of('b');
    assert_opens("abc");
    assert_is_set("abc", 1);
}

static void a_directory_below_a_mount_point_that_is_not_mounted_is_not_made(void **state) {
    (void)state;
    const char *disk = unit_path(top, "disk");
    assert_int_equal(mkdir(disk, 0700), 0);
    mounts[0] = disk;
    const char *roots[] = {root_of('a'), unit_path(disk, "tuck")};
    struct tuck_set_options options = {.roots = roots, .count = 2};
    struct tuck_set *set = NULL;
    assert_int_equal(tuck_set_open(&options, &set, NULL), 0);
    tuck_set_close(TUCK_TAKE(set));
    assert_string_equal(format_of('a')->members[1].mount, disk);
    assert_int_equal(rename(disk, unit_path(top, "away")), 0);
    assert_int_equal(mkdir(disk, 0700), 0);
    mounts[0] = NULL;
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
    mounts[0] = root_of('a');
    mounts[1] = root_of('b');
    form("ab");
    char *before = read_text('a');
    empty('a');
    empty('b');
    memset(mounts, 0, sizeof(mounts));
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

// The letters of the list in the order in which the object is to be tried.
static void order_of(struct tuck_set *set, const char *letters, uint64_t object,
                     char *ret_letters) {
    uint8_t order[TUCK_DRIVES_MAX];
    struct tuck_output_id output = unit_output(object);
    tuck_set_order(set, &output, order);
    for (size_t i = 0; letters[i]; i++)
        ret_letters[i] = letters[order[i]];
    ret_letters[strlen(letters)] = '\0';
}

static void set_placement(const char *letters, enum tuck_placement placement);

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
        assert_int_equal(count[0], 6);
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
        assert_int_equal(count[0], 6);
        assert_is_set("abcd", 1);
    }
}

static unsigned beside_at;

static void count_down(void) {
    if (writes != beside_at)
        before_write = count_down;
    else
        assert_opens("abcd");
}

// As if another process did everything between two steps of the first, where turns cannot be taken.
static void another_that_comes_between_any_two_writes_agrees(void **state) {
    (void)state;
    has_no_locks = true;
    for (beside_at = 1; beside_at <= 4; beside_at++) {
        top = unit_directory();
        writes = 0;
        before_write = count_down;
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
    assert_int_equal(writes, 0);
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

// As `tuck drive` does it with drives=before.
static int change(const char *before, const char *after, enum tuck_placement placement,
                  struct tuck_error *err) {
    struct list list = list_of(after);
    struct tuck_set *set = NULL;
    int status = try_open(before, true, &set, err);
    if (status >= 0)
        status = tuck_set_change(set, list.root, list.count, placement, err);
    tuck_set_close(set);
    return status;
}

static void assert_changes(const char *before, const char *after) {
    struct tuck_error err = {0};
    int status = change(before, after, TUCK_CRCMOD, &err);
    if (status != 0)
        print_message("# from %s to %s: %s\n", before, after, err.text);
    assert_int_equal(status, 0);
}

static void set_placement(const char *letters, enum tuck_placement placement) {
    assert_int_equal(change(letters, letters, placement, NULL), 0);
}

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
    assert_int_equal(writes, 0);
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
    assert_int_equal(writes, 0);
    assert_opens("ab");
}

static void a_set_is_not_changed_behind_the_back_of_a_drive_that_is_not_there(void **state) {
    (void)state;
    struct tuck_error err = {0};
    mounts[0] = root_of('b');
    assert_int_equal(mkdir(mounts[0], 0700), 0);
    form("ab");
    const char *away = unit_path(top, "away");
    assert_int_equal(rename(root_of('b'), away), 0);
    // Not mounted, whether or not there is a directory.
    mounts[0] = NULL;
    for (int has_directory = 0; has_directory < 2; has_directory++) {
        if (has_directory)
            assert_int_equal(mkdir(root_of('b'), 0700), 0);
        assert_true(change("ab", "abc", TUCK_CRCMOD, &err) < 0);
        assert_says(err.text, "not mounted", 'b');
        assert_int_equal(writes, 0);
    }
    assert_int_equal(rmdir(root_of('b')), 0);
    // In the way.
    unit_write_file(root_of('b'), "x", 1);
    assert_true(change("ab", "abc", TUCK_CRCMOD, &err) < 0);
    assert_says(err.text, "Not a directory", 'b');
    assert_int_equal(unlink(root_of('b')), 0);
    assert_int_equal(writes, 0);
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
    writes = 0;
    assert_true(change("ab", "abc", TUCK_CRCMOD, &err) < 0);
    assert_says(err.text, "", 'a');
    assert_int_equal(writes, 0);
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
                fail_from = 0;
                form(before);
                fail_from = at;
                if (change(before, after, TUCK_CRCMOD, &err) == 0)
                    break;
                assert_says(err.text, "No space left", 0);
                fail_from = 0;
                writes = 0;
                if (way == 0) { // the setting stays
                    assert_in_range(try_open(before, false, &set, NULL), 0, TUCK_SET_REFUSED);
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
    fail_from = 0;
}

static void a_process_that_is_stopped_in_its_turn_stops_a_change_but_no_helper(void **state) {
    (void)state;
    struct tuck_error err = {0};
    form("ab");
    int fd = open(root_of('a'), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    skips_waits = true;
    assert_int_equal(change("ab", "abc", TUCK_CRCMOD, &err), TUCK_ETIMEOUT);
    assert_says(err.text, "another process", 'a');
    assert_int_equal(writes, 0);
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
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, reset_kernel)
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

// SPDX-License-Identifier: MIT
#include "tests/unit/set_world.h"

#include "lib/base/clock.h"
#include "lib/store/drive.h"

#include <errno.h>
#include <sys/file.h>
#include <sys/stat.h>

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

struct set_kernel kernel;

// True if the call is to fail.
static bool note_write(const char *name) {
    if (strcmp(name, "tuck.json") != 0)
        return false;
    kernel.writes++;
    void (*hook)(void) = TUCK_TAKE(kernel.before_write);
    if (hook)
        hook();
    if (kernel.fail_at != kernel.writes && (!kernel.fail_from || kernel.writes < kernel.fail_from))
        return false;
    errno = ENOSPC;
    return true;
}

int __wrap_flock(int fd, int how) {
    errno = ENOLCK;
    int status = kernel.has_no_locks ? -1 : __real_flock(fd, how);
    if (status < 0 && errno == EWOULDBLOCK && kernel.skips_waits) {
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
    for (size_t i = 0; status == 0 && i < TUCK_ARRAY_LEN(kernel.mounts); i++) {
        size_t len = kernel.mounts[i] ? strlen(kernel.mounts[i]) : 0;
        if (len > 0 && strncmp(path, kernel.mounts[i], len) == 0 && strcmp(path + len, "/..") != 0)
            ret_stat->st_dev += 1000 + i;
    }
    return status;
}

int set_kernel_reset(void **state) {
    (void)state;
    kernel = (struct set_kernel){0};
    has_link_failed = false;
    return 0;
}

// --- Worlds --------------------------------------------------------------------------------------

const char *top;

int set_world_begin(void **state) {
    top = unit_directory();
    return set_kernel_reset(state);
}

const char *root_of(char letter) {
    return unit_path(top, (char[]){letter, '\0'});
}

const char *file_of(char letter, const char *name) {
    return unit_path(root_of(letter), name);
}

struct list list_of(const char *letters) {
    struct list list = {.count = 0};
    for (; letters[list.count]; list.count++)
        list.root[list.count] = root_of(letters[list.count]);
    return list;
}

const char *left_alone;

static bool is_left_alone(void *arg, size_t place) {
    const char *letters = arg;
    return left_alone && strchr(left_alone, letters[place]);
}

int try_open(const char *letters, bool must_exist, struct tuck_set **ret_set,
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

struct tuck_set *open_set(const char *letters) {
    struct tuck_set *set = NULL;
    struct tuck_error err = {0};
    int status = try_open(letters, false, &set, &err);
    if (status != 0)
        print_message("# %s\n", err.text);
    assert_int_equal(status, 0);
    return set;
}

const char *in_use(struct tuck_set *set, const char *letters) {
    static char used[TUCK_DRIVES_MAX + 1];
    size_t count = 0;
    for (size_t i = 0; letters[i]; i++)
        if (tuck_set_drive(set, i, NULL))
            used[count++] = letters[i];
    used[count] = '\0';
    return used;
}

void assert_opens(const char *letters) {
    struct tuck_set *set = open_set(letters);
    assert_string_equal(in_use(set, letters), letters);
    tuck_set_close(set);
}

const char *refusal_of(const char *letters, const char *used) {
    static struct tuck_error err;
    struct tuck_error again = {0};
    struct tuck_set *set = NULL;
    unsigned before = kernel.writes;
    err = (struct tuck_error){0};
    assert_int_equal(try_open(letters, false, &set, &err), TUCK_SET_REFUSED);
    assert_string_equal(in_use(set, letters), used);
    tuck_set_close(TUCK_TAKE(set));
    assert_int_equal(try_open(letters, true, &set, &again),
                     TUCK_SET_REFUSED); // subcommands are told the same
    assert_string_equal(again.text, err.text);
    tuck_set_close(set);
    assert_int_equal(kernel.writes, before);
    return err.text;
}

void assert_says(const char *text, const char *what, char letter) {
    if (strstr(text, what) && (!letter || strstr(text, root_of(letter))))
        return;
    print_message("# '%s' should have '%s' and drive %c\n", text, what, letter);
    fail();
}

const struct tuck_format *format_of(char letter) {
    static struct tuck_format formats[4];
    static size_t next;
    struct tuck_format *format = &formats[next++ % TUCK_ARRAY_LEN(formats)];
    size_t len;
    char *text = (char *)unit_read_file(file_of(letter, "tuck.json"), &len);
    assert_int_equal(tuck_format_parse(text, len, format, NULL), TUCK_FORMAT_GOOD);
    free(text);
    return format;
}

void assert_is_set(const char *letters, uint64_t generation) {
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

const char *id_of(char letter) {
    const struct tuck_format *format = format_of(letter);
    return format->members[format->self].id;
}

void write_text(char letter, const char *text) {
    unit_write_file(file_of(letter, "tuck.json"), text, strlen(text));
}

char *read_text(char letter) {
    size_t len;
    return (char *)unit_read_file(file_of(letter, "tuck.json"), &len);
}

void edit(char letter, const char *from, const char *to) {
    char *text = read_text(letter), *at = strstr(text, from), *changed;
    assert_non_null(at);
    assert_true(asprintf(&changed, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from)) > 0);
    write_text(letter, changed);
    free(changed);
    free(text);
}

void copy(char from, char to) {
    char *text = read_text(from);
    write_text(to, text);
    free(text);
}

void empty(char letter) {
    static const char *const names[] = {"tuck.json", "README", "CACHEDIR.TAG", "tuck.json.damaged"};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(names); i++)
        (void)unlink(file_of(letter, names[i]));
    assert_int_equal(unit_count_names(root_of(letter)), 0);
}

void form(const char *letters) {
    assert_opens(letters);
    assert_is_set(letters, 1);
    kernel.writes = 0;
}

int change(const char *before, const char *after, enum tuck_placement placement,
           struct tuck_error *err) {
    struct list list = list_of(after);
    struct tuck_set *set = NULL;
    int status = try_open(before, true, &set, err);
    if (status >= 0)
        status = tuck_set_change(set, list.root, list.count, placement, err);
    tuck_set_close(set);
    return status;
}

void assert_changes(const char *before, const char *after) {
    struct tuck_error err = {0};
    int status = change(before, after, TUCK_CRCMOD, &err);
    if (status != 0)
        print_message("# from %s to %s: %s\n", before, after, err.text);
    assert_int_equal(status, 0);
}

void set_placement(const char *letters, enum tuck_placement placement) {
    assert_int_equal(change(letters, letters, placement, NULL), 0);
}

void order_of(struct tuck_set *set, const char *letters, uint64_t object, char *ret_letters) {
    uint8_t order[TUCK_DRIVES_MAX];
    struct tuck_output_id output = unit_output(object);
    tuck_set_order(set, &output, order);
    for (size_t i = 0; letters[i]; i++)
        ret_letters[i] = letters[order[i]];
    ret_letters[strlen(letters)] = '\0';
}

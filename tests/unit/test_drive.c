// SPDX-License-Identifier: MIT
/*
 * Objects on a drive. The linker sends a few system calls through this file, so that a test can take away what some
 * file systems lack, make writes fail, and see what is synced.
 */
#include "tests/unit/unit.h"

#include "lib/base/clock.h"
#include "lib/base/digest.h"
#include "lib/store/drive.h"
#include "lib/store/object.h"
#include "lib/store/stage.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

// --- System calls --------------------------------------------------------------------------------

int __real_openat64(int dirfd, const char *path, int flags, ...);
int __wrap_openat64(int dirfd, const char *path, int flags, ...);
int __real_linkat(int from, const char *old, int to, const char *new, int flags);
int __wrap_linkat(int from, const char *old, int to, const char *new, int flags);
ssize_t __real_pwrite64(int fd, const void *data, size_t len, off_t offset);
ssize_t __wrap_pwrite64(int fd, const void *data, size_t len, off_t offset);
int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
int __real_fsync(int fd);
int __wrap_fsync(int fd);

static struct {
    bool has_no_unnamed;  // O_TMPFILE fails as on file systems without it
    bool has_no_naming;   // an unnamed file can be made but not be given a name
    bool has_no_links;    // no hard links at all
    uint64_t space_bytes; // that can still be written, UINT64_MAX: enough
    unsigned file_syncs, directory_syncs;
    ino_t synced_file; // the last one
} kernel;

static int reset_kernel(void **state) {
    (void)state;
    memset(&kernel, 0, sizeof(kernel));
    kernel.space_bytes = UINT64_MAX;
    return 0;
}

int __wrap_openat64(int dirfd, const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (kernel.has_no_unnamed && (flags & O_TMPFILE) == O_TMPFILE) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return __real_openat64(dirfd, path, flags, mode);
}

int __wrap_linkat(int from, const char *old, int to, const char *new, int flags) {
    bool is_unnamed = (flags & (AT_EMPTY_PATH | AT_SYMLINK_FOLLOW)) != 0;
    if (kernel.has_no_links || (kernel.has_no_naming && is_unnamed)) {
        errno = flags & AT_EMPTY_PATH ? ENOENT : EPERM;
        return -1;
    }
    return __real_linkat(from, old, to, new, flags);
}

ssize_t __wrap_pwrite64(int fd, const void *data, size_t len, off_t offset) {
    if (kernel.space_bytes == 0 && len > 0) {
        errno = ENOSPC;
        return -1;
    }
    size_t part =
        len < kernel.space_bytes ? len : (size_t)kernel.space_bytes; // what still fits is written
    if (kernel.space_bytes != UINT64_MAX)
        kernel.space_bytes -= part;
    return __real_pwrite64(fd, data, part, offset);
}

static void note_sync(int fd) {
    struct stat stat;
    assert_int_equal(fstat(fd, &stat), 0);
    kernel.file_syncs += S_ISREG(stat.st_mode);
    kernel.directory_syncs += S_ISDIR(stat.st_mode);
    if (S_ISREG(stat.st_mode))
        kernel.synced_file = stat.st_ino;
}

int __wrap_fdatasync(int fd) {
    note_sync(fd);
    return 0;
}

int __wrap_fsync(int fd) {
    note_sync(fd);
    return 0;
}

// --- Objects -------------------------------------------------------------------------------------

struct body {
    struct tuck_output_id output;
    uint8_t *data;
    size_t len;
};

static struct body body_of(uint64_t number, size_t len) {
    struct body body = {.data = malloc(len + 1), .len = len};
    struct unit_random random = {number};
    struct tuck_digest digest;
    assert_non_null(body.data);
    unit_random_fill(&random, body.data, len);
    tuck_digest_init(&digest);
    tuck_digest_add(&digest, body.data, len);
    tuck_digest_end(&digest, &body.output);
    return body;
}

static struct tuck_drive *open_drive(const char *root) {
    struct tuck_drive *drive = NULL;
    struct tuck_error err = {0};
    int status = tuck_drive_open(root, true, &drive, &err);
    if (status == 0)
        status = tuck_drive_begin(drive, NULL, &err);
    if (status != 0)
        print_message("# %s\n", err.text);
    assert_int_equal(status, 0);
    return drive;
}

static struct tuck_drive *new_drive(const char **ret_root) {
    const char *root = unit_path(unit_directory(), "root");
    if (ret_root)
        *ret_root = root;
    return open_drive(root);
}

static struct tuck_stage *begin_stage(struct tuck_drive *drive, const struct body *body) {
    struct tuck_stage *stage = NULL;
    assert_int_equal(tuck_stage_begin(drive, &body->output, &stage, NULL), 0);
    assert_non_null(stage);
    return stage;
}

static struct tuck_stage *stage_body(struct tuck_drive *drive, const struct body *body) {
    struct tuck_stage *stage = begin_stage(drive, body);
    for (size_t at = 0; at < body->len; at += 70001)
        assert_int_equal(tuck_stage_write(stage, body->data + at,
                                          body->len - at < 70001 ? body->len - at : 70001, NULL),
                         0);
    return stage;
}

static bool was_new; // the object that was committed last

static uint32_t commit(struct tuck_stage *stage) {
    uint32_t tag = 0;
    struct tuck_error err = {0};
    int status = tuck_stage_commit(&stage, &tag, &was_new, &err);
    if (status != 0)
        print_message("# %s\n", err.text);
    assert_int_equal(status, 0);
    assert_null(stage);
    return tag;
}

static uint32_t put(struct tuck_drive *drive, const struct body *body) {
    return commit(stage_body(drive, body));
}

// Borrowed until the program ends.
static const char *path_of(struct tuck_drive *drive, const struct body *body) {
    char path[TUCK_OBJECT_PATH_ROOM];
    tuck_object_path(drive, &body->output, path);
    return unit_path("", path + 1);
}

static int check(struct tuck_drive *drive, const struct body *body, uint32_t *ret_tag) {
    return tuck_object_check(path_of(drive, body), body->len, ret_tag);
}

static int verify(struct tuck_drive *drive, const struct body *body) {
    struct tuck_object_found found;
    return tuck_object_verify(drive, &body->output, body->len, &found);
}

static void assert_holds(struct tuck_drive *drive, const struct body *body) {
    uint32_t tag;
    struct tuck_object_found verified;
    struct stat stat;
    size_t len;
    const char *path = path_of(drive, body);
    assert_int_equal(check(drive, body, &tag), 0);
    assert_int_equal(lstat(path, &stat), 0);
    assert_true(S_ISREG(stat.st_mode));
    assert_int_equal(stat.st_nlink, 1);
    uint8_t *data = unit_read_file(path, &len);
    assert_int_equal(len, body->len);
    assert_memory_equal(data, body->data, len);
    free(data);
    assert_int_equal(tuck_object_verify(drive, &body->output, body->len, &verified), 0);
    assert_int_equal(tag, verified.tag);
    assert_int_equal(body->len, verified.size);
}

static void assert_nothing_staged(const char *root) {
    assert_in_range(unit_count_names(unit_path(root, "staging")) + 1, 0, 1); // absent or empty
}

static void an_object_is_what_was_written_and_is_named_by_its_hash(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 4095, 70001, 70002, 3000000};
    mode_t mask = umask(077);
    const char *root;
    struct tuck_drive *drive = new_drive(&root);
    for (size_t i = 0; i < TUCK_ARRAY_LEN(sizes); i++) {
        struct body body = body_of(i, sizes[i]);
        uint32_t tag, found;
        struct stat stat;
        assert_int_equal(check(drive, &body, &tag), TUCK_OBJECT_ABSENT);
        assert_int_equal(verify(drive, &body), TUCK_OBJECT_ABSENT);
        tag = put(drive, &body);
        assert_int_equal(check(drive, &body, &found), 0);
        assert_int_equal(found, tag);
        assert_holds(drive, &body);
        char expected[128] = "objects/";
        tuck_hex(expected + 8, body.output.bytes, 1);
        expected[10] = '/';
        tuck_hex(expected + 11, body.output.bytes + 1, TUCK_ID_BYTES - 1);
        assert_string_equal(path_of(drive, &body), unit_path(root, expected));
        assert_int_equal(lstat(path_of(drive, &body), &stat), 0);
        assert_int_equal(stat.st_mode & 07777, 0400);
        expected[10] = '\0';
        assert_int_equal(lstat(unit_path(root, expected), &stat), 0);
        assert_int_equal(stat.st_mode & 07777, 0700);
        free(body.data);
    }
    assert_nothing_staged(root);
    tuck_drive_close(drive);
    tuck_drive_close(NULL);
    (void)umask(mask);
}

static bool count_object(void *arg, const struct tuck_object_seen *seen) {
    (void)seen;
    ++*(int *)arg;
    return true;
}

static int count_objects(struct tuck_drive *drive) {
    int count = 0;
    assert_int_equal(tuck_object_walk(drive, 0, 255, count_object, &count, NULL), 0);
    return count;
}

static void nothing_is_seen_of_a_body_before_it_is_complete_nor_after_it_was_dropped(void **state) {
    (void)state;
    for (int way = 0; way < 2; way++) {
        kernel.has_no_unnamed = way == 1;
        const char *root;
        struct tuck_drive *drive = new_drive(&root);
        struct body body = body_of(1, 100000);
        struct tuck_stage *stage = stage_body(drive, &body);
        uint32_t tag;
        assert_int_equal(check(drive, &body, &tag), TUCK_OBJECT_ABSENT);
        assert_int_equal(count_objects(drive), 0);
        tuck_stage_free(stage);
        tuck_stage_free(NULL);
        assert_int_equal(check(drive, &body, &tag), TUCK_OBJECT_ABSENT);
        assert_nothing_staged(root);
        tuck_drive_close(drive);
        free(body.data);
    }
}

static void an_object_that_is_there_is_left_as_it_is(void **state) {
    (void)state;
    for (int way = 0; way < 2; way++) {
        kernel.has_no_unnamed = way == 1;
        const char *root;
        struct tuck_drive *drive = new_drive(&root), *other = open_drive(root);
        struct body body = body_of(1, 5000);
        struct stat before, after;
        struct tuck_stage *late = stage_body(other, &body);
        uint32_t tag = put(drive, &body);
        assert_int_equal(lstat(path_of(drive, &body), &before), 0);
        assert_int_equal(commit(late), tag);
        assert_int_equal(lstat(path_of(drive, &body), &after), 0);
        assert_int_equal(after.st_ino, before.st_ino);
        assert_int_equal(after.st_ctim.tv_nsec, before.st_ctim.tv_nsec);
        assert_nothing_staged(root);
        tuck_drive_close(drive);
        tuck_drive_close(other);
        free(body.data);
    }
}

static void many_objects_are_walked_once_each_and_foreign_names_not_at_all(void **state) {
    (void)state;
    const char *root;
    struct tuck_drive *drive = new_drive(&root);
    assert_int_equal(count_objects(drive), 0);
    for (uint64_t i = 0; i < 400; i++) {
        struct body body = body_of(i, 10);
        (void)put(drive, &body);
        free(body.data);
    }
    assert_int_equal(count_objects(drive), 400);
    assert_int_equal(mkdir(unit_path(root, "objects/zz"), 0700), 0);
    unit_write_file(unit_path(root, "objects/README"), "x", 1);
    unit_write_file(unit_path(root, "objects/00/short"), "x", 1);
    unit_write_file(
        unit_path(root,
                  "objects/00/zz345678901234567890123456789012345678901234567890123456789012"),
        "x", 1);
    assert_int_equal(count_objects(drive), 400);
    tuck_drive_close(drive);
}

static bool stop_at_three(void *arg, const struct tuck_object_seen *seen) {
    (void)seen;
    return ++*(int *)arg < 3;
}

static void a_walk_ends_when_it_is_told_to(void **state) {
    (void)state;
    struct tuck_drive *drive = new_drive(NULL);
    for (uint64_t i = 0; i < 20; i++) {
        struct body body = body_of(i, 10);
        (void)put(drive, &body);
        free(body.data);
    }
    int count = 0;
    assert_int_equal(tuck_object_walk(drive, 0, 255, stop_at_three, &count, NULL), 0);
    assert_int_equal(count, 3);
    tuck_drive_close(drive);
}

// --- What else may stand under an object's name ---------------------------------------------------

enum planted {
    WRONG_BYTES,
    WRONG_SIZE,
    NOTHING_IN_IT,
    LINK_TO_VICTIM,
    LINK_TO_GOOD,
    LINK_TO_NOWHERE,
    EMPTY_DIRECTORY,
    FULL_DIRECTORY,
    FIFO,
    PLANTED_KINDS
};

static const char *victim;

static void plant(const char *path, enum planted kind, const struct body *body) {
    uint8_t *wrong = malloc(body->len + 1);
    assert_non_null(wrong);
    memcpy(wrong, body->data, body->len);
    wrong[body->len / 2] ^= 1;
    wrong[body->len] = 0;
    switch (kind) {
    case WRONG_BYTES:
        unit_write_file(path, wrong, body->len);
        break;
    case WRONG_SIZE:
        unit_write_file(path, wrong, body->len + 1);
        break;
    case NOTHING_IN_IT:
        unit_write_file(path, "", 0);
        break;
    case LINK_TO_VICTIM:
        unit_write_file(victim, wrong, body->len);
        assert_int_equal(symlink(victim, path), 0);
        break;
    case LINK_TO_GOOD:
        unit_write_file(victim, body->data, body->len);
        assert_int_equal(symlink(victim, path), 0);
        break;
    case LINK_TO_NOWHERE:
        assert_int_equal(symlink("/nowhere/at/all", path), 0);
        break;
    case EMPTY_DIRECTORY:
        assert_int_equal(mkdir(path, 0700), 0);
        break;
    case FULL_DIRECTORY:
        assert_int_equal(mkdir(path, 0700), 0);
        unit_write_file(unit_path(path, "inside"), "x", 1);
        break;
    case FIFO:
        assert_int_equal(mkfifo(path, 0600), 0);
        break;
    case PLANTED_KINDS:
        break;
    }
    free(wrong);
}

static void assert_victim_untouched(enum planted kind, const struct body *body) {
    if (kind != LINK_TO_VICTIM && kind != LINK_TO_GOOD)
        return;
    size_t len;
    uint8_t *data = unit_read_file(victim, &len);
    assert_int_equal(len, body->len);
    assert_int_equal(memcmp(data, body->data, len) == 0, kind == LINK_TO_GOOD);
    free(data);
}

static void whatever_else_stands_under_the_name_is_replaced_by_the_object(void **state) {
    (void)state;
    for (int way = 0; way < 4; way++) {
        for (int kind = 0; kind < PLANTED_KINDS; kind++) {
            kernel.has_no_unnamed = way & 1;
            kernel.has_no_links = way & 2;
            const char *root;
            struct tuck_drive *drive = new_drive(&root);
            struct body body = body_of(7, 3000);
            victim = unit_path(unit_directory(), "victim");
            (void)put(drive, &body);
            assert_int_equal(unlink(path_of(drive, &body)), 0);
            struct tuck_stage *stage = stage_body(drive, &body);
            plant(path_of(drive, &body), (enum planted)kind, &body);
            (void)commit(stage);
            assert_holds(drive, &body);
            assert_victim_untouched((enum planted)kind, &body);
            assert_int_equal(count_objects(drive), 1);
            tuck_drive_close(drive);
            free(body.data);
        }
    }
}

static void what_is_not_the_object_is_seen_by_a_check_or_at_least_by_a_verification(void **state) {
    (void)state;
    for (int kind = 0; kind < PLANTED_KINDS; kind++) {
        const char *root;
        struct tuck_drive *drive = new_drive(&root);
        struct body body = body_of(7, 3000);
        uint32_t tag = 0;
        victim = unit_path(unit_directory(), "victim");
        (void)put(drive, &body);
        assert_int_equal(unlink(path_of(drive, &body)), 0);
        plant(path_of(drive, &body), (enum planted)kind, &body);
        assert_int_equal(check(drive, &body, &tag), kind == WRONG_BYTES ? 0 : TUCK_OBJECT_DAMAGED);
        assert_int_equal(verify(drive, &body), TUCK_OBJECT_DAMAGED);
        assert_int_equal(check(drive, &body, &tag), TUCK_OBJECT_ABSENT); // it was taken away
        assert_victim_untouched((enum planted)kind, &body);
        (void)put(drive, &body);
        assert_holds(drive, &body);
        tuck_drive_close(drive);
        free(body.data);
    }
}

static void every_byte_of_an_object_counts_in_its_verification(void **state) {
    (void)state;
    struct tuck_drive *drive = new_drive(NULL);
    struct body body = body_of(1, 70000);
    for (size_t at = 0; at < body.len; at += 6999) {
        (void)put(drive, &body);
        assert_int_equal(chmod(path_of(drive, &body), 0600), 0);
        int fd = open(path_of(drive, &body), O_WRONLY | O_CLOEXEC);
        uint8_t wrong = body.data[at] ^ 0x10;
        assert_int_equal(__real_pwrite64(fd, &wrong, 1, (off_t)at), 1);
        (void)close(fd);
        assert_int_equal(verify(drive, &body), TUCK_OBJECT_DAMAGED);
        assert_int_equal(verify(drive, &body), TUCK_OBJECT_ABSENT);
    }
    free(body.data);
    tuck_drive_close(drive);
}

static void the_tag_changes_with_inode_size_and_change_time(void **state) {
    (void)state;
    struct tuck_drive *drive = new_drive(NULL);
    struct body body = body_of(1, 1000);
    const char *path = path_of(drive, &body);
    uint32_t first = put(drive, &body), again, other;
    assert_int_equal(check(drive, &body, &again), 0);
    assert_int_equal(again, first);
    // The clock that stamps files moves in ticks: until it has moved there is nothing to see.
    struct stat before, after;
    assert_int_equal(lstat(path, &before), 0);
    do {
        assert_int_equal(chmod(path, 0600), 0);
        assert_int_equal(lstat(path, &after), 0);
    } while (after.st_ctim.tv_nsec == before.st_ctim.tv_nsec &&
             after.st_ctim.tv_sec == before.st_ctim.tv_sec);
    assert_int_equal(check(drive, &body, &other), 0);
    assert_int_not_equal(other, first);
    assert_int_equal(rename(path, unit_path(unit_directory(), "aside")),
                     0); // keeps the inode's number in use
    uint32_t replaced = put(drive, &body);
    assert_int_not_equal(replaced, first);
    assert_int_not_equal(replaced, other);
    assert_int_equal(truncate(path, 999), 0);
    assert_int_equal(tuck_object_check(path, 999, &again), 0);
    assert_int_not_equal(again, replaced);
    free(body.data);
    tuck_drive_close(drive);
}

// --- File systems that lack something ------------------------------------------------------------

static void objects_are_made_on_file_systems_without_unnamed_files_or_links(void **state) {
    (void)state;
    for (int way = 0; way < 8; way++) {
        (void)reset_kernel(NULL);
        kernel.has_no_unnamed = way & 1;
        kernel.has_no_naming = way & 2;
        kernel.has_no_links = way & 4;
        const char *root;
        struct tuck_drive *drive = new_drive(&root);
        for (uint64_t i = 0; i < 5; i++) {
            struct body body = body_of(i, 100000 * i);
            (void)put(drive, &body);
            assert_holds(drive, &body);
            (void)put(drive, &body);
            assert_holds(drive, &body);
            free(body.data);
        }
        assert_nothing_staged(root);
        tuck_drive_close(drive);
        drive = open_drive(root);
        assert_int_equal(count_objects(drive), 5);
        tuck_drive_close(drive);
    }
}

static void a_full_drive_is_told_as_such_and_the_body_goes_on_elsewhere(void **state) {
    (void)state;
    for (int way = 0; way < 2; way++) {
        (void)reset_kernel(NULL);
        kernel.has_no_unnamed = way;
        const char *root, *other_root;
        struct tuck_drive *drive = new_drive(&root), *other = new_drive(&other_root);
        struct body body = body_of(1, 200000);
        struct tuck_error err = {0};
        struct tuck_stage *stage = begin_stage(drive, &body);
        assert_int_equal(tuck_stage_write(stage, body.data, 100000, &err), 0);
        kernel.space_bytes = 30000;
        assert_int_equal(tuck_stage_write(stage, body.data + 100000, 100000, &err), TUCK_ENOSPACE);
        assert_int_equal(err.code, TUCK_ENOSPACE);
        assert_int_equal(err.os, ENOSPC);
        kernel.space_bytes = UINT64_MAX;
        assert_int_equal(tuck_stage_move(&stage, other, &err), 0);
        assert_int_equal(tuck_stage_write(stage, body.data + 100000, 100000, &err), 0);
        (void)commit(stage);
        assert_holds(other, &body);
        assert_int_equal(count_objects(drive), 0);
        assert_nothing_staged(root);
        assert_nothing_staged(other_root);
        tuck_drive_close(drive);
        tuck_drive_close(other);
        free(body.data);
    }
}

static void a_move_that_fails_leaves_the_stage_where_it_was(void **state) {
    (void)state;
    const char *root, *other_root;
    struct tuck_drive *drive = new_drive(&root), *other = new_drive(&other_root);
    struct body body = body_of(1, 200000);
    struct tuck_error err = {0};
    struct tuck_stage *stage = stage_body(drive, &body), *same = stage;
    kernel.space_bytes = 90000;
    assert_int_equal(tuck_stage_move(&stage, other, &err), TUCK_ENOSPACE);
    assert_ptr_equal(stage, same);
    kernel.space_bytes = UINT64_MAX;
    (void)commit(stage);
    assert_holds(drive, &body);
    assert_int_equal(count_objects(other), 0);
    tuck_drive_close(drive);
    tuck_drive_close(other);
    free(body.data);
}

static void few_descriptors_are_enough(void **state) {
    (void)state;
    struct tuck_drive *drive = new_drive(NULL);
    struct rlimit before, few;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    few.rlim_cur = unit_count_descriptors() + 12;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    for (uint64_t i = 0; i < 200; i++) { // held directories alone would need 256
        struct body body = body_of(i, 10);
        (void)put(drive, &body);
        assert_int_equal(verify(drive, &body), 0);
        free(body.data);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    tuck_drive_close(drive);
}

// --- When others change the drive ----------------------------------------------------------------

static void directories_that_vanish_under_a_running_helper_are_made_anew(void **state) {
    (void)state;
    for (int way = 0; way < 2; way++) {
        (void)reset_kernel(NULL);
        kernel.has_no_unnamed = way;
        const char *root;
        struct tuck_drive *drive = new_drive(&root);
        struct body body = body_of(1, 1000);
        (void)put(drive, &body);
        char command[4096];
        (void)snprintf(command, sizeof(command), "rm -rf '%s/objects' '%s/staging'", root, root);
        assert_int_equal(system(command), 0);
        (void)put(drive, &body); // gone before it begins,
        assert_holds(drive, &body);
        struct tuck_stage *stage = stage_body(drive, &body);
        if (!way) {
            assert_int_equal(system(command), 0);
            (void)commit(stage); // and between begin and commit
            assert_holds(drive, &body);
        } else {
            tuck_stage_free(stage);
        }
        tuck_drive_close(drive);
        free(body.data);
    }
}

static void no_path_is_given_out_when_the_root_was_moved_away(void **state) {
    (void)state;
    const char *root;
    struct tuck_drive *drive = new_drive(&root);
    struct body body = body_of(1, 1000);
    struct tuck_error err = {0};
    uint32_t tag;
    struct tuck_stage *stage = stage_body(drive, &body);
    assert_int_equal(rename(root, unit_path(unit_directory(), "moved")), 0);
    assert_true(tuck_stage_commit(&stage, &tag, &was_new, &err) < 0);
    assert_non_null(stage);
    tuck_stage_free(stage);
    assert_int_equal(check(drive, &body, &tag), TUCK_OBJECT_ABSENT);
    tuck_drive_close(drive);
    free(body.data);
}

static void links_in_place_of_directories_are_not_followed_when_writing(void **state) {
    (void)state;
    static const char *const names[] = {"objects", "staging"};
    struct body body = body_of(1, 1000);
    for (size_t i = 0; i < 3; i++) {
        const char *root, *elsewhere = unit_directory();
        char subdir[] = "objects/xx";
        tuck_hex(subdir + 8, body.output.bytes, 1);
        struct tuck_drive *drive = new_drive(&root);
        if (i == 2)
            assert_int_equal(mkdir(unit_path(root, "objects"), 0700), 0);
        assert_int_equal(symlink(elsewhere, unit_path(root, i == 2 ? subdir : names[i])), 0);
        kernel.has_no_unnamed = i == 1;
        struct tuck_stage *stage = NULL;
        struct tuck_error err = {0};
        assert_true(tuck_stage_begin(drive, &body.output, &stage, &err) < 0);
        assert_null(stage);
        assert_true(err.code < 0 && err.text[0]);
        assert_int_equal(unit_count_names(elsewhere), 0);
        tuck_drive_close(drive);
    }
    free(body.data);
}

static void a_file_in_place_of_a_directory_is_a_failure_and_no_crash(void **state) {
    (void)state;
    const char *root;
    struct tuck_drive *drive = new_drive(&root);
    struct body body = body_of(1, 1000);
    struct tuck_stage *stage = NULL;
    struct tuck_error err = {0};
    unit_write_file(unit_path(root, "objects"), "x", 1);
    assert_true(tuck_stage_begin(drive, &body.output, &stage, &err) < 0);
    unit_write_file(unit_path(root, "index"), "x", 1);
    assert_true(tuck_drive_open_dir(drive, "index", &err) < 0);
    tuck_drive_close(drive);
    free(body.data);
}

// --- Removing ------------------------------------------------------------------------------------

struct claims {
    unsigned asked;
    unsigned claimed_from; // the n-th question on is answered with yes; 0: none
    const char *seen;      // the path of the object
    bool was_there[2];
};

static bool is_claimed(void *arg, const struct tuck_output_id *output) {
    struct claims *claims = arg;
    struct stat stat;
    (void)output;
    if (claims->asked < 2)
        claims->was_there[claims->asked] = lstat(claims->seen, &stat) == 0;
    claims->asked++;
    return claims->claimed_from && claims->asked >= claims->claimed_from;
}

static void an_object_is_removed_unless_it_is_claimed_before_or_meanwhile(void **state) {
    (void)state;
    static const struct {
        unsigned claimed_from;
        int status;
        unsigned asked;
    } table[] = {{0, 0, 2}, {1, TUCK_OBJECT_CLAIMED, 1}, {2, TUCK_OBJECT_CLAIMED, 2}};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(table); i++) {
        const char *root;
        struct tuck_drive *drive = new_drive(&root);
        struct body body = body_of(1, 1000);
        struct claims claims = {.claimed_from = table[i].claimed_from,
                                .seen = path_of(drive, &body)};
        uint32_t tag = put(drive, &body), found;
        assert_int_equal(tuck_object_remove(drive, &body.output, is_claimed, &claims, NULL),
                         table[i].status);
        assert_int_equal(claims.asked, table[i].asked);
        assert_true(claims.was_there[0]);
        assert_false(
            claims.was_there
                [1]); // whoever looks after the second question misses it, or had claimed it
        if (table[i].status == 0) {
            assert_int_equal(check(drive, &body, &found), TUCK_OBJECT_ABSENT);
            assert_int_equal(tuck_object_remove(drive, &body.output, is_claimed, &claims, NULL),
                             TUCK_OBJECT_ABSENT);
        } else {
            assert_holds(drive, &body);
            (void)tag;
        }
        assert_nothing_staged(root);
        tuck_drive_close(drive);
        free(body.data);
    }
}

struct replacing {
    struct tuck_drive *drive;
    struct body *body;
    unsigned asked;
};

// A helper that claims while the name is away finds nothing, and puts the object anew.
static bool put_then_claim(void *arg, const struct tuck_output_id *output) {
    struct replacing *replacing = arg;
    (void)output;
    if (replacing->asked++ == 0)
        return false;
    (void)put(replacing->drive, replacing->body);
    return true;
}

static void an_object_that_comes_back_replaces_none_that_was_put_meanwhile(void **state) {
    (void)state;
    const char *root;
    struct tuck_drive *drive = new_drive(&root), *other = open_drive(root);
    struct body body = body_of(1, 1000);
    struct replacing replacing = {.drive = other, .body = &body};
    struct stat before, after;
    (void)put(drive, &body);
    assert_int_equal(lstat(path_of(drive, &body), &before), 0);
    // The one before is gone then, and is counted as such.
    assert_int_equal(tuck_object_remove(drive, &body.output, put_then_claim, &replacing, NULL), 0);
    assert_holds(drive, &body);
    assert_int_equal(lstat(path_of(drive, &body), &after), 0);
    assert_true(after.st_ino != before.st_ino);
    assert_nothing_staged(root);
    tuck_drive_close(drive);
    tuck_drive_close(other);
    free(body.data);
}

static void what_is_no_file_goes_out_of_the_way_as_well(void **state) {
    (void)state;
    const char *root;
    struct tuck_drive *drive = new_drive(&root);
    struct body body = body_of(1, 1000);
    struct claims claims = {.seen = path_of(drive, &body)};
    (void)put(drive, &body);
    assert_int_equal(unlink(path_of(drive, &body)), 0);
    assert_int_equal(mkdir(path_of(drive, &body), 0700), 0);
    unit_write_file(unit_path(path_of(drive, &body), "in it"), "x", 1);
    assert_int_equal(tuck_object_remove(drive, &body.output, is_claimed, &claims, NULL), 0);
    assert_int_equal(access(path_of(drive, &body), F_OK), -1);
    assert_int_equal(unit_count_names(unit_path(root, "staging")), 1); // for the sweep
    tuck_drive_close(drive);
    free(body.data);
}

// --- Damaged objects -----------------------------------------------------------------------------

static void damage(struct tuck_drive *drive, struct body *body) {
    const char *path = path_of(drive, body);
    assert_int_equal(chmod(path, 0600), 0);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "\0\0", 2, (off_t)body->len / 2), 2);
    (void)close(fd);
}

static void a_damaged_object_is_kept_for_a_look_until_there_are_enough(void **state) {
    (void)state;
    const char *root;
    struct tuck_drive *drive = new_drive(&root);
    for (uint64_t i = 0; i < 40; i++) {
        struct body body = body_of(i, 1000);
        struct tuck_object_found found;
        (void)put(drive, &body);
        damage(drive, &body);
        assert_int_equal(tuck_object_inspect(drive, &body.output, &found), TUCK_OBJECT_DAMAGED);
        assert_int_equal(access(path_of(drive, &body), F_OK), 0); // only looked at
        assert_int_equal(tuck_object_verify(drive, &body.output, body.len, &found),
                         TUCK_OBJECT_DAMAGED);
        assert_true(found.is_gone);
        assert_int_equal(found.size, body.len);
        assert_int_equal(access(path_of(drive, &body), F_OK), -1);
        free(body.data);
    }
    assert_int_equal(unit_count_names(unit_path(root, "quarantine")), 32);
    tuck_drive_close(drive);
}

static void few_large_damaged_objects_are_enough_too(void **state) {
    (void)state;
    const char *root;
    struct tuck_drive *drive = new_drive(&root);
    for (uint64_t i = 0; i < 4; i++) { // as large as they look, and mostly holes
        struct body body = body_of(i, 1000);
        struct tuck_object_found found;
        (void)put(drive, &body);
        assert_int_equal(chmod(path_of(drive, &body), 0600), 0);
        assert_int_equal(truncate(path_of(drive, &body), 30 << 20), 0);
        assert_int_equal(tuck_object_verify(drive, &body.output, body.len, &found),
                         TUCK_OBJECT_DAMAGED);
        assert_true(found.is_gone);
        free(body.data);
    }
    assert_int_equal(unit_count_names(unit_path(root, "quarantine")), 2);
    tuck_drive_close(drive);
}

static void what_may_not_be_opened_is_neither_absent_nor_damaged_for_who_inspects(void **state) {
    (void)state;
    struct tuck_drive *drive = new_drive(NULL);
    struct body body = body_of(1, 1000), absent = body_of(2, 1000);
    struct tuck_object_found found;
    (void)put(drive, &body);
    assert_int_equal(tuck_object_inspect(drive, &absent.output, &found), TUCK_OBJECT_ABSENT);
    uid_t user = geteuid();
    assert_int_equal(chmod(path_of(drive, &body), 0), 0);
    assert_int_equal(seteuid(user == 0 ? 65534 : user), 0); // root may open everything
    int inspected = tuck_object_inspect(drive, &body.output, &found);
    int verified = tuck_object_verify(drive, &body.output, body.len, &found);
    assert_int_equal(seteuid(user), 0);
    assert_int_equal(inspected, TUCK_EIO);
    assert_int_equal(verified, TUCK_OBJECT_ABSENT); // a miss
    assert_int_equal(chmod(path_of(drive, &body), 0400), 0);
    assert_int_equal(tuck_object_inspect(drive, &body.output, &found), 0);
    tuck_drive_close(drive);
    free(body.data);
    free(absent.data);
}

// --- Durability ----------------------------------------------------------------------------------

static void a_commit_syncs_nothing_and_tells_whether_the_object_was_new(void **state) {
    (void)state;
    const char *root;
    struct tuck_drive *drive = new_drive(&root), *other = open_drive(root);
    struct body body = body_of(1, 1000);
    struct tuck_stage *stage = stage_body(drive, &body);
    (void)commit(stage_body(other, &body));
    assert_true(was_new);
    (void)commit(stage);
    assert_false(was_new);
    assert_int_equal(kernel.file_syncs + kernel.directory_syncs, 0);
    tuck_drive_close(drive);
    tuck_drive_close(other);
    free(body.data);
}

static void an_object_can_be_made_durable_later(void **state) {
    (void)state;
    struct tuck_drive *drive = new_drive(NULL);
    struct body body = body_of(1, 1000), absent = body_of(2, 1000);
    (void)put(drive, &body);
    assert_int_equal(tuck_object_sync(drive, &body.output, NULL), 0);
    assert_int_equal(kernel.file_syncs, 1);
    assert_int_equal(kernel.directory_syncs, 1);
    assert_true(tuck_object_sync(drive, &absent.output, NULL) < 0);
    tuck_drive_close(drive);
    free(body.data);
    free(absent.data);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup(an_object_is_what_was_written_and_is_named_by_its_hash, reset_kernel),
    cmocka_unit_test_setup(nothing_is_seen_of_a_body_before_it_is_complete_nor_after_it_was_dropped,
                           reset_kernel),
    cmocka_unit_test_setup(an_object_that_is_there_is_left_as_it_is, reset_kernel),
    cmocka_unit_test_setup(many_objects_are_walked_once_each_and_foreign_names_not_at_all,
                           reset_kernel),
    cmocka_unit_test_setup(a_walk_ends_when_it_is_told_to, reset_kernel),
    cmocka_unit_test_setup(whatever_else_stands_under_the_name_is_replaced_by_the_object,
                           reset_kernel),
    cmocka_unit_test_setup(what_is_not_the_object_is_seen_by_a_check_or_at_least_by_a_verification,
                           reset_kernel),
    cmocka_unit_test_setup(every_byte_of_an_object_counts_in_its_verification, reset_kernel),
    cmocka_unit_test_setup(the_tag_changes_with_inode_size_and_change_time, reset_kernel),
    cmocka_unit_test_setup(objects_are_made_on_file_systems_without_unnamed_files_or_links,
                           reset_kernel),
    cmocka_unit_test_setup(a_full_drive_is_told_as_such_and_the_body_goes_on_elsewhere,
                           reset_kernel),
    cmocka_unit_test_setup(a_move_that_fails_leaves_the_stage_where_it_was, reset_kernel),
    cmocka_unit_test_setup(few_descriptors_are_enough, reset_kernel),
    cmocka_unit_test_setup(directories_that_vanish_under_a_running_helper_are_made_anew,
                           reset_kernel),
    cmocka_unit_test_setup(no_path_is_given_out_when_the_root_was_moved_away, reset_kernel),
    cmocka_unit_test_setup(links_in_place_of_directories_are_not_followed_when_writing,
                           reset_kernel),
    cmocka_unit_test_setup(a_file_in_place_of_a_directory_is_a_failure_and_no_crash, reset_kernel),
    cmocka_unit_test_setup(an_object_is_removed_unless_it_is_claimed_before_or_meanwhile,
                           reset_kernel),
    cmocka_unit_test_setup(an_object_that_comes_back_replaces_none_that_was_put_meanwhile,
                           reset_kernel),
    cmocka_unit_test_setup(what_is_no_file_goes_out_of_the_way_as_well, reset_kernel),
    cmocka_unit_test_setup(a_damaged_object_is_kept_for_a_look_until_there_are_enough,
                           reset_kernel),
    cmocka_unit_test_setup(few_large_damaged_objects_are_enough_too, reset_kernel),
    cmocka_unit_test_setup(what_may_not_be_opened_is_neither_absent_nor_damaged_for_who_inspects,
                           reset_kernel),
    cmocka_unit_test_setup(a_commit_syncs_nothing_and_tells_whether_the_object_was_new,
                           reset_kernel),
    cmocka_unit_test_setup(an_object_can_be_made_durable_later, reset_kernel),
};

UNIT_MAIN(tests)

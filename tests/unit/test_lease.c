// SPDX-License-Identifier: MIT
/*
 * What a helper claims is seen by every collector until the helper is gone, however it goes; and what is removed
 * beside a running helper is either still there or was never seen by it.
 */
#include "tests/unit/unit.h"

#include "lib/base/digest.h"
#include "lib/base/thread.h"
#include "lib/store/drive.h"
#include "lib/store/lease.h"
#include "lib/store/object.h"
#include "lib/store/stage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>

// --- System calls --------------------------------------------------------------------------------

int __real_openat64(int dirfd, const char *path, int flags, ...);
int __wrap_openat64(int dirfd, const char *path, int flags, ...);
int __real_posix_fallocate64(int fd, off_t offset, off_t len);
int __wrap_posix_fallocate64(int fd, off_t offset, off_t len);

static bool has_no_unnamed, has_no_files, has_no_space;

int __wrap_openat64(int dirfd, const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    bool is_unnamed = (flags & O_TMPFILE) == O_TMPFILE;
    if ((has_no_unnamed && is_unnamed) || (has_no_files && (is_unnamed || (flags & O_CREAT)))) {
        errno = has_no_files ? EROFS : EOPNOTSUPP;
        return -1;
    }
    return __real_openat64(dirfd, path, flags, mode);
}

int __wrap_posix_fallocate64(int fd, off_t offset, off_t len) {
    return has_no_space ? ENOSPC : __real_posix_fallocate64(fd, offset, len);
}

static int reset_kernel(void **state) {
    (void)state;
    has_no_unnamed = has_no_files = has_no_space = false;
    return 0;
}

// --- Claims --------------------------------------------------------------------------------------

static struct tuck_lease *take(const char *dir) {
    struct tuck_lease *lease = NULL;
    assert_int_equal(tuck_lease_take(unit_open_directory(dir), &lease, NULL), 0);
    assert_non_null(lease);
    return lease;
}

static struct tuck_leases *look(const char *dir) {
    struct tuck_leases *leases = NULL;
    assert_int_equal(tuck_leases_open(unit_open_directory(dir), &leases, NULL), 0);
    assert_non_null(leases);
    return leases;
}

static void claim(struct tuck_lease *lease, uint64_t number) {
    struct tuck_output_id output = unit_output(number);
    tuck_lease_claim(lease, &output);
}

static bool is_claimed(struct tuck_leases *leases, uint64_t number) {
    struct tuck_output_id output = unit_output(number);
    return tuck_leases_claim(leases, &output);
}

// By a collector that begins now.
static bool is_claimed_in(const char *dir, uint64_t number) {
    struct tuck_leases *leases = look(dir);
    bool result = is_claimed(leases, number);
    tuck_leases_close(leases);
    return result;
}

static void without_helpers_nothing_is_claimed(void **state) {
    (void)state;
    const char *dir = unit_directory();
    assert_false(is_claimed_in(dir, 1));
    tuck_leases_close(NULL);
    tuck_lease_release(NULL);
    claim(NULL, 1);
}

static void a_claim_is_seen_in_the_same_process_until_it_is_released(void **state) {
    (void)state;
    for (int way = 0; way < 2; way++) {
        has_no_unnamed = way;
        const char *dir = unit_directory();
        struct tuck_leases *leases = look(dir);
        struct tuck_lease *lease = take(dir); // after the collector began
        assert_false(is_claimed(leases, 1));
        claim(lease, 1);
        assert_true(is_claimed(leases, 1));
        assert_true(is_claimed_in(dir, 1));
        assert_false(is_claimed(leases, 2));
        tuck_lease_release(lease);
        assert_false(is_claimed(leases, 1));
        assert_int_equal(unit_count_names(dir), 0);
        tuck_leases_close(leases);
    }
}

static void claims_of_several_helpers_stand_beside_each_other(void **state) {
    (void)state;
    const char *dir = unit_directory();
    struct tuck_lease *lease[20];
    for (uint64_t i = 0; i < 20; i++) {
        lease[i] = take(dir);
        claim(lease[i], i);
    }
    for (uint64_t i = 0; i < 20; i++)
        assert_true(is_claimed_in(dir, i));
    for (uint64_t i = 0; i < 20; i += 2)
        tuck_lease_release(lease[i]);
    for (uint64_t i = 0; i < 20; i++)
        assert_int_equal(is_claimed_in(dir, i), i % 2);
    for (uint64_t i = 1; i < 20; i += 2)
        tuck_lease_release(lease[i]);
}

static void twenty_thousand_claims_are_all_seen_and_few_others_with_them(void **state) {
    (void)state;
    const char *dir = unit_directory();
    struct tuck_lease *lease = take(dir);
    struct tuck_leases *leases = look(dir);
    for (uint64_t i = 0; i < 20000; i++)
        claim(lease, i);
    unsigned others = 0;
    for (uint64_t i = 0; i < 20000; i++)
        assert_true(is_claimed(leases, i));
    for (uint64_t i = 20000; i < 22000; i++)
        others += is_claimed(leases, i);
    assert_in_range(others, 0, 2000 * 4 / 100);
    tuck_leases_close(leases);
    tuck_lease_release(lease);
}

// What a collector that has read the claims at the beginning of a walk takes for claimed.
static bool was_claimed(struct tuck_leases *leases, uint64_t number) {
    struct tuck_output_id output = unit_output(number);
    return tuck_leases_claimed(leases, &output);
}

static void claims_that_were_read_say_what_the_files_said_then(void **state) {
    (void)state;
    const char *dir = unit_directory();
    struct tuck_leases *leases = look(dir);
    struct tuck_lease *lease[12];
    assert_int_equal(tuck_leases_read(leases, NULL), 0);
    assert_false(was_claimed(leases, 1));
    for (uint64_t i = 0; i < 12; i++) {
        lease[i] = take(dir);
        claim(lease[i], i);
    }
    assert_false(was_claimed(leases, 1)); // since it was read
    assert_int_equal(tuck_leases_read(leases, NULL), 0);
    for (uint64_t i = 0; i < 24; i++)
        assert_int_equal(was_claimed(leases, i), i < 12);
    for (uint64_t i = 0; i < 12; i += 2)
        tuck_lease_release(lease[i]);
    assert_true(was_claimed(leases, 2)); // until it is read anew
    assert_int_equal(tuck_leases_read(leases, NULL), 0);
    for (uint64_t i = 0; i < 24; i++)
        assert_int_equal(was_claimed(leases, i), i < 12 && i % 2);
    for (uint64_t i = 1; i < 12; i += 2)
        tuck_lease_release(lease[i]);
    tuck_leases_close(leases);
}

static void claims_that_cannot_be_read_are_claims_on_everything(void **state) {
    (void)state;
    const char *dir = unit_directory();
    struct tuck_leases *leases = look(dir);
    unit_write_file(unit_path(dir, "short"), "x", 1); // nobody holds it
    assert_int_equal(tuck_leases_read(leases, NULL), 0);
    assert_false(was_claimed(leases, 1));
    int fd = open(unit_path(dir, "short"), O_RDONLY | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_int_equal(tuck_leases_read(leases, NULL), 0);
    assert_true(was_claimed(leases, 1));
    (void)close(fd);
    has_no_files = true;
    struct tuck_lease *lease = take(dir); // claims everything
    has_no_files = false;
    assert_int_equal(tuck_leases_read(leases, NULL), 0);
    assert_true(was_claimed(leases, 1));
    tuck_lease_release(lease);
    assert_int_equal(tuck_leases_read(leases, NULL), 0);
    assert_false(was_claimed(leases, 1));
    tuck_leases_close(leases);
}

static void a_helper_that_left_its_claims_is_gone_and_its_claims_are_not(void **state) {
    (void)state;
    const char *dir = unit_directory();
    struct tuck_leases *leases = look(dir);
    struct tuck_lease *lease = take(dir);
    claim(lease, 1);
    tuck_lease_leave(lease);
    tuck_lease_leave(NULL);
    assert_true(is_claimed(leases, 1));
    assert_false(is_claimed(leases, 2));
    assert_int_equal(tuck_leases_read(leases, NULL), 0);
    assert_true(was_claimed(leases, 1));
    assert_false(was_claimed(leases, 2));
    tuck_leases_close(leases);
}

// --- Counters ------------------------------------------------------------------------------------

struct reaped {
    unsigned helpers; // that had published something
    uint64_t gets;
    bool is_refusing;
};

static bool take_in(void *arg, const struct tuck_counters *counters) {
    struct reaped *reaped = arg;
    if (reaped->is_refusing)
        return false;
    reaped->helpers++;
    reaped->gets += counters->value[TUCK_COUNT_gets];
    return true;
}

static struct reaped reap(const char *dir) {
    struct reaped reaped = {0};
    struct tuck_leases *leases = look(dir);
    tuck_leases_reap(leases, take_in, &reaped);
    tuck_leases_close(leases);
    return reaped;
}

static uint64_t count_gets(const char *dir) {
    struct tuck_counters sums = {{0}};
    struct tuck_leases *leases = look(dir);
    tuck_leases_count(leases, &sums);
    tuck_leases_close(leases);
    return sums.value[TUCK_COUNT_gets];
}

static void publish(struct tuck_lease *lease, uint64_t gets) {
    struct tuck_counters counters = {{0}};
    counters.value[TUCK_COUNT_gets] = gets;
    tuck_lease_publish(lease, &counters);
}

static void what_running_helpers_have_published_is_counted(void **state) {
    (void)state;
    const char *dir = unit_directory();
    struct tuck_lease *one = take(dir), *other = take(dir);
    assert_int_equal(count_gets(dir), 0);
    publish(one, 5);
    publish(other, 7);
    assert_int_equal(count_gets(dir), 12);
    publish(one, 6);
    assert_int_equal(count_gets(dir), 13);
    assert_int_equal(reap(dir).helpers, 0); // they run
    tuck_lease_release(one);
    assert_int_equal(count_gets(dir), 7);
    tuck_lease_release(other);
    publish(NULL, 1);
    assert_int_equal(unit_count_names(dir), 0);
}

static void what_an_abandoned_lease_has_published_is_taken_in_once(void **state) {
    (void)state;
    const char *dir = unit_directory();
    struct tuck_lease *lease = take(dir), *running = take(dir);
    claim(lease, 1);
    publish(lease, 5);
    publish(running, 7);
    tuck_lease_abandon(lease);
    tuck_lease_abandon(NULL);
    assert_false(is_claimed_in(dir, 1)); // nobody holds it
    assert_int_equal(count_gets(dir), 12);
    struct reaped refused = {.is_refusing = true};
    struct tuck_leases *leases = look(dir);
    tuck_leases_reap(leases, take_in, &refused);
    tuck_leases_close(leases);
    assert_int_equal(count_gets(dir), 12); // it stays for another
    struct reaped reaped = reap(dir);
    assert_int_equal(reaped.helpers, 1);
    assert_int_equal(reaped.gets, 5);
    assert_int_equal(unit_count_names(dir), 1);
    assert_int_equal(reap(dir).helpers, 0);
    tuck_lease_release(running);
}

static void what_a_helper_left_goes_with_the_next_reaping(void **state) {
    (void)state;
    const char *dir = unit_directory();
    struct tuck_lease *lease = take(dir);
    claim(lease, 1);
    publish(lease, 5);
    tuck_lease_leave(lease);
    assert_true(is_claimed_in(dir, 1));
    assert_int_equal(count_gets(dir), 5);
    struct reaped reaped = reap(dir);
    assert_int_equal(reaped.gets, 5);
    assert_false(is_claimed_in(dir, 1));
    assert_int_equal(unit_count_names(dir), 0);
}

static void a_lease_of_the_first_release_has_nothing_to_count_and_is_swept(void **state) {
    (void)state;
    const char *dir = unit_directory();
    uint8_t *filter = calloc(1, 32768);
    unit_write_file(unit_path(dir, "0123456789abcdef01234567"), filter, 32768);
    free(filter);
    assert_int_equal(count_gets(dir), 0);
    assert_int_equal(reap(dir).helpers, 0);
    assert_int_equal(unit_count_names(dir), 0);
}

// --- Other processes -----------------------------------------------------------------------------

// A helper that claims object 1 and tells so; then it ends, or waits to be ended.
static pid_t start_helper(const char *dir, bool ends) {
    int ready[2];
    char c;
    assert_int_equal(pipe(ready), 0);
    (void)fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        struct tuck_lease *lease = NULL;
        int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct tuck_output_id output = unit_output(1);
        if (tuck_lease_take(dirfd, &lease, NULL) != 0)
            _exit(1);
        tuck_lease_claim(lease, &output);
        (void)!write(ready[1], "!", 1);
        while (!ends)
            (void)pause();
        _exit(0); // without releasing it
    }
    assert_true(child > 0);
    (void)close(ready[1]);
    assert_int_equal(read(ready[0], &c, 1), 1);
    (void)close(ready[0]);
    return child;
}

static void a_claim_of_another_process_is_seen_until_it_is_killed(void **state) {
    (void)state;
    for (int way = 0; way < 2; way++) {
        has_no_unnamed = way;
        const char *dir = unit_directory();
        pid_t child = start_helper(dir, false);
        assert_true(is_claimed_in(dir, 1));
        assert_false(is_claimed_in(dir, 2));
        assert_int_equal(kill(child, SIGSTOP), 0); // one that is stopped may go on
        int status;
        assert_int_equal(waitpid(child, &status, WUNTRACED), child);
        assert_true(WIFSTOPPED(status));
        assert_true(is_claimed_in(dir, 1));
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(unit_count_names(dir), 1);
        assert_false(is_claimed_in(dir, 1));
        (void)reap(dir);
        assert_int_equal(unit_count_names(dir), 0);
    }
}

static void a_claim_ends_with_its_process(void **state) {
    (void)state;
    const char *dir = unit_directory();
    pid_t child = start_helper(dir, true);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_false(is_claimed_in(dir, 1));
}

// --- When no file can be made --------------------------------------------------------------------

static void a_lease_without_a_file_claims_everything(void **state) {
    (void)state;
    for (int way = 0; way < 3; way++) {
        (void)reset_kernel(NULL);
        has_no_files = way == 0;
        has_no_space = way >= 1;
        has_no_unnamed = way == 2;
        const char *dir = unit_directory();
        struct tuck_lease *lease = take(dir), *other = take(dir);
        (void)reset_kernel(NULL);
        assert_true(is_claimed_in(dir, 1));
        claim(lease, 1);
        assert_true(is_claimed_in(dir, 2));
        tuck_lease_release(lease);
        assert_true(is_claimed_in(dir, 1));
        tuck_lease_release(other);
        assert_false(is_claimed_in(dir, 1));
        assert_int_equal(unit_count_names(dir), 0);
    }
}

static char *only_file_in(const char *dir) {
    DIR *names = opendir(dir);
    char *found = NULL;
    assert_non_null(names);
    for (struct dirent *name; (name = readdir(names));)
        if (name->d_name[0] != '.')
            assert_true(asprintf(&found, "%s/%s", dir, name->d_name) > 0);
    (void)closedir(names);
    assert_non_null(found);
    return found;
}

static void *claim_many(void *arg) {
    for (uint64_t i = 100; i < 200; i++)
        claim(arg, i);
    publish(arg, 7);
    return NULL;
}

// A drive that fails, or a file that somebody cut off, is a fault in the mapping and SIGBUS.
static void a_lease_whose_file_breaks_claims_everything_and_kills_nobody(void **state) {
    (void)state;
    const char *dir = unit_directory();
    struct tuck_lease *lease = take(dir), *other = take(unit_directory());
    claim(lease, 1);
    claim(other, 1);
    assert_false(is_claimed_in(dir, 2));
    char *path = only_file_in(dir);
    assert_int_equal(truncate(path, 0), 0);
    pthread_t thread;
    assert_int_equal(tuck_thread_start(&thread, claim_many, lease), 0);
    (void)pthread_join(thread, NULL);
    (void)claim_many(lease);
    assert_int_equal(truncate(path, 65536), 0); // as if it had no claims
    assert_true(is_claimed_in(dir, 1));
    assert_true(is_claimed_in(dir, 2));
    tuck_lease_release(lease);
    assert_false(is_claimed_in(dir, 1));
    tuck_lease_release(other);
    free(path);
}

static void a_collector_that_is_stopped_with_the_directory_keeps_no_helper_waiting(void **state) {
    (void)state;
    const char *dir = unit_directory();
    int stopped = unit_open_directory(dir);
    assert_int_equal(flock(stopped, LOCK_EX), 0); // between two of its system calls
    has_no_files = true;
    struct tuck_lease *lease = take(dir);
    has_no_files = false;
    claim(lease, 1);
    (void)close(stopped); // it goes on
    claim(lease, 2);
    assert_true(is_claimed_in(dir, 1));
    assert_true(is_claimed_in(dir, 3));
    tuck_lease_release(lease);
    assert_false(is_claimed_in(dir, 1));
}

static void two_collectors_at_once_see_what_one_sees(void **state) {
    (void)state;
    const char *dir = unit_directory();
    struct tuck_lease *lease = take(dir);
    struct tuck_leases *one = look(dir), *other = look(dir);
    claim(lease, 1);
    for (int i = 0; i < 100; i++) {
        assert_true(is_claimed(one, 1));
        assert_true(is_claimed(other, 1));
        assert_false(is_claimed(one, 2));
        assert_false(is_claimed(other, 2));
    }
    tuck_leases_close(one);
    tuck_leases_close(other);
    tuck_lease_release(lease);
}

static void foreign_things_among_the_leases_do_no_harm(void **state) {
    (void)state;
    const char *dir = unit_directory();
    unit_write_file(unit_path(dir, "short"), "x", 1);
    unit_write_file(unit_path(dir, ".hidden"), "x", 1);
    assert_int_equal(mkfifo(unit_path(dir, "fifo"), 0600), 0);
    assert_int_equal(mkdir(unit_path(dir, "directory"), 0700), 0);
    assert_false(is_claimed_in(dir, 1));
    assert_int_equal(access(unit_path(dir, ".hidden"), F_OK), 0);

    // What is locked and too short, or cannot be opened, may be a claim.
    const char *path = unit_path(dir, "held");
    unit_write_file(path, "x", 1);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_true(is_claimed_in(dir, 1));
    (void)close(fd);
    assert_false(is_claimed_in(dir, 1));
    assert_int_equal(symlink("/nowhere/at/all", unit_path(dir, "link")), 0);
    assert_true(is_claimed_in(dir, 1));
}

static void a_lease_that_cannot_be_opened_gives_its_descriptor_back(void **state) {
    (void)state;
    struct tuck_leases *leases = NULL;
    struct tuck_error err = {0};
    size_t before = unit_count_descriptors();
    const char *path = unit_path(unit_directory(), "file");
    unit_write_file(path, "x", 1);
    assert_true(tuck_leases_open(open(path, O_RDONLY | O_CLOEXEC), &leases, &err) < 0);
    assert_null(leases);
    assert_int_equal(unit_count_descriptors(), before);
}

// --- The turn ------------------------------------------------------------------------------------

static void one_process_at_a_time_has_the_turn_and_loses_it_when_it_dies(void **state) {
    (void)state;
    const char *dir = unit_directory();
    int turn = -1, other = -1, ready[2];
    assert_false(tuck_turn_is_taken(unit_open_directory(dir)));
    assert_int_equal(tuck_turn_take(unit_open_directory(dir), &turn, NULL), 0);
    assert_true(tuck_turn_is_taken(unit_open_directory(dir)));
    assert_int_equal(tuck_turn_take(unit_open_directory(dir), &other, NULL), TUCK_TURN_TAKEN);
    (void)close(turn);
    assert_false(tuck_turn_is_taken(unit_open_directory(dir)));
    assert_int_equal(pipe(ready), 0);
    (void)fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (tuck_turn_take(dirfd, &turn, NULL) != 0)
            _exit(1);
        (void)!write(ready[1], "!", 1);
        (void)pause();
        _exit(0);
    }
    char c;
    assert_int_equal(read(ready[0], &c, 1), 1);
    assert_int_equal(kill(child, SIGSTOP), 0);
    assert_int_equal(tuck_turn_take(unit_open_directory(dir), &other, NULL), TUCK_TURN_TAKEN);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(tuck_turn_take(unit_open_directory(dir), &other, NULL), 0);
    (void)close(other);
    (void)close(ready[0]);
    (void)close(ready[1]);
}

static void who_only_asks_for_the_turn_takes_it_from_nobody(void **state) {
    (void)state;
    const char *dir = unit_directory();
    int turn = -1;
    for (int i = 0; i < 100; i++) {
        assert_false(tuck_turn_is_taken(unit_open_directory(dir)));
        assert_int_equal(tuck_turn_take(unit_open_directory(dir), &turn, NULL), 0);
        assert_true(tuck_turn_is_taken(unit_open_directory(dir)));
        assert_true(tuck_turn_is_taken(unit_open_directory(dir)));
        (void)close(turn);
    }
}

// --- Together with a drive -----------------------------------------------------------------------

static struct tuck_output_id put_object(struct tuck_drive *drive, const char *text) {
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
    return output;
}

struct late_claim {
    struct tuck_leases *leases;
    struct tuck_lease *lease;
    unsigned asked;
};

// A helper claims right after the collector has asked for the first time.
static bool ask_then_claim(void *arg, const struct tuck_output_id *output) {
    struct late_claim *late = arg;
    bool result = tuck_leases_claim(late->leases, output);
    if (late->asked++ == 0)
        tuck_lease_claim(late->lease, output);
    return result;
}

static void an_object_that_is_claimed_between_the_two_questions_comes_back(void **state) {
    (void)state;
    struct tuck_drive *drive = NULL;
    const char *root = unit_path(unit_directory(), "root");
    char path[TUCK_OBJECT_PATH_ROOM];
    struct tuck_object_found found;
    uint32_t tag;
    assert_int_equal(tuck_drive_open(root, true, &drive, NULL), 0);
    assert_int_equal(tuck_drive_begin(drive, NULL, NULL), 0);
    struct tuck_output_id output = put_object(drive, "body");
    tuck_object_path(drive, &output, path);
    struct late_claim late = {NULL, NULL, 0};
    assert_int_equal(
        tuck_leases_open(tuck_drive_open_dir(drive, "leases", NULL), &late.leases, NULL), 0);
    assert_int_equal(tuck_lease_take(tuck_drive_open_dir(drive, "leases", NULL), &late.lease, NULL),
                     0);
    assert_int_equal(tuck_object_remove(drive, &output, ask_then_claim, &late, NULL),
                     TUCK_OBJECT_CLAIMED);
    assert_int_equal(late.asked, 2);
    assert_int_equal(tuck_object_check(path, 4, &tag), 0);
    assert_int_equal(tuck_object_verify(drive, &output, 4, &found), 0);
    assert_int_equal(tuck_object_remove(drive, &output, tuck_leases_claim, late.leases, NULL),
                     TUCK_OBJECT_CLAIMED);
    tuck_lease_release(late.lease);
    assert_int_equal(tuck_object_remove(drive, &output, tuck_leases_claim, late.leases, NULL), 0);
    assert_int_equal(tuck_object_check(path, 4, &tag), TUCK_OBJECT_ABSENT);
    tuck_leases_close(late.leases);
    tuck_drive_close(drive);
}

struct race {
    pthread_barrier_t barrier;
    const char *dir;
    struct tuck_drive *drive;
    struct tuck_output_id output;
    char path[TUCK_OBJECT_PATH_ROOM];
    bool was_seen; // by the helper, which would have given the path out
    bool is_over;
};

static void *help(void *arg) {
    struct race *race = arg;
    uint32_t tag;
    for (;;) {
        struct tuck_lease *lease = NULL;
        int dirfd = open(race->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        bool has_lease = tuck_lease_take(dirfd, &lease, NULL) == 0;
        (void)pthread_barrier_wait(&race->barrier); // both begin
        if (race->is_over) {
            tuck_lease_release(lease);
            return NULL;
        }
        tuck_lease_claim(lease, &race->output);
        race->was_seen = has_lease && tuck_object_check(race->path, 4, &tag) == 0;
        (void)pthread_barrier_wait(&race->barrier); // both have done
        (void)pthread_barrier_wait(&race->barrier); // it was looked at
        tuck_lease_release(lease);
    }
}

static void what_a_helper_saw_after_its_claim_is_never_removed(void **state) {
    (void)state;
    static struct race race;
    const char *root = unit_path(unit_directory(), "root");
    pthread_t helper;
    int seen = 0, removed = 0;
    assert_int_equal(tuck_drive_open(root, true, &race.drive, NULL), 0);
    assert_int_equal(tuck_drive_begin(race.drive, NULL, NULL), 0);
    race.output = put_object(race.drive, "body");
    tuck_object_path(race.drive, &race.output, race.path);
    race.dir = unit_path(root, "leases");
    struct tuck_leases *leases = NULL;
    assert_int_equal(
        tuck_leases_open(tuck_drive_open_dir(race.drive, "leases", NULL), &leases, NULL), 0);
    assert_int_equal(pthread_barrier_init(&race.barrier, NULL, 2), 0);
    assert_int_equal(pthread_create(&helper, NULL, help, &race), 0);
    for (int round = 0; round < 1000; round++) {
        uint32_t tag;
        (void)put_object(race.drive, "body");
        (void)pthread_barrier_wait(&race.barrier);
        int status = tuck_object_remove(race.drive, &race.output, tuck_leases_claim, leases, NULL);
        (void)pthread_barrier_wait(&race.barrier);
        bool is_there = tuck_object_check(race.path, 4, &tag) == 0;
        assert_true(status == 0 || status == TUCK_OBJECT_CLAIMED);
        assert_int_equal(is_there, status == TUCK_OBJECT_CLAIMED);
        if (race.was_seen && !is_there)
            print_message("# round %d\n", round);
        assert_true(is_there || !race.was_seen);
        seen += race.was_seen;
        removed += !is_there;
        (void)pthread_barrier_wait(&race.barrier);
    }
    race.is_over = true;
    (void)pthread_barrier_wait(&race.barrier);
    assert_int_equal(pthread_join(helper, NULL), 0);
    (void)pthread_barrier_destroy(&race.barrier);
    print_message("# seen %d, removed %d\n", seen, removed);
    tuck_leases_close(leases);
    tuck_drive_close(race.drive);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup(without_helpers_nothing_is_claimed, reset_kernel),
    cmocka_unit_test_setup(a_claim_is_seen_in_the_same_process_until_it_is_released, reset_kernel),
    cmocka_unit_test_setup(claims_of_several_helpers_stand_beside_each_other, reset_kernel),
    cmocka_unit_test_setup(twenty_thousand_claims_are_all_seen_and_few_others_with_them,
                           reset_kernel),
    cmocka_unit_test_setup(claims_that_were_read_say_what_the_files_said_then, reset_kernel),
    cmocka_unit_test_setup(claims_that_cannot_be_read_are_claims_on_everything, reset_kernel),
    cmocka_unit_test_setup(a_helper_that_left_its_claims_is_gone_and_its_claims_are_not,
                           reset_kernel),
    cmocka_unit_test_setup(what_a_helper_left_goes_with_the_next_reaping, reset_kernel),
    cmocka_unit_test_setup(what_running_helpers_have_published_is_counted, reset_kernel),
    cmocka_unit_test_setup(what_an_abandoned_lease_has_published_is_taken_in_once, reset_kernel),
    cmocka_unit_test_setup(a_lease_of_the_first_release_has_nothing_to_count_and_is_swept,
                           reset_kernel),
    cmocka_unit_test_setup(a_claim_of_another_process_is_seen_until_it_is_killed, reset_kernel),
    cmocka_unit_test_setup(a_claim_ends_with_its_process, reset_kernel),
    cmocka_unit_test_setup(a_lease_without_a_file_claims_everything, reset_kernel),
    cmocka_unit_test_setup(a_lease_whose_file_breaks_claims_everything_and_kills_nobody,
                           reset_kernel),
    cmocka_unit_test_setup(a_collector_that_is_stopped_with_the_directory_keeps_no_helper_waiting,
                           reset_kernel),
    cmocka_unit_test_setup(two_collectors_at_once_see_what_one_sees, reset_kernel),
    cmocka_unit_test_setup(one_process_at_a_time_has_the_turn_and_loses_it_when_it_dies,
                           reset_kernel),
    cmocka_unit_test_setup(who_only_asks_for_the_turn_takes_it_from_nobody, reset_kernel),
    cmocka_unit_test_setup(foreign_things_among_the_leases_do_no_harm, reset_kernel),
    cmocka_unit_test_setup(a_lease_that_cannot_be_opened_gives_its_descriptor_back, reset_kernel),
    cmocka_unit_test_setup(an_object_that_is_claimed_between_the_two_questions_comes_back,
                           reset_kernel),
    cmocka_unit_test_setup(what_a_helper_saw_after_its_claim_is_never_removed, reset_kernel),
};

UNIT_MAIN(tests)

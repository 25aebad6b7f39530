// SPDX-License-Identifier: MIT
/*
 * The small things of lib/base: hexadecimal, errors, system calls, locks. The clock has a program of its own.
 */
#include "tests/unit/unit.h"

#include "lib/base/clock.h"
#include "lib/base/digest.h"
#include "lib/base/error.h"
#include "lib/base/io.h"
#include "lib/base/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
int __real_linkat(int from, const char *old, int to, const char *new, int flags);
int __wrap_linkat(int from, const char *old, int to, const char *new, int flags);
int __real_renameat2(int from, const char *old, int to, const char *new, unsigned flags);
int __wrap_renameat2(int from, const char *old, int to, const char *new, unsigned flags);

static bool is_old_kernel, has_no_links, has_no_noreplace;

// openat2() is the only one that is called this way.
long __wrap_syscall(long number, ...) {
    va_list args;
    va_start(args, number);
    long a = va_arg(args, long), b = va_arg(args, long), c = va_arg(args, long),
         d = va_arg(args, long);
    va_end(args);
    if (is_old_kernel) {
        errno = ENOSYS;
        return -1;
    }
    return __real_syscall(number, a, b, c, d);
}

int __wrap_linkat(int from, const char *old, int to, const char *new, int flags) {
    if (has_no_links) {
        errno = EPERM;
        return -1;
    }
    return __real_linkat(from, old, to, new, flags);
}

int __wrap_renameat2(int from, const char *old, int to, const char *new, unsigned flags) {
    if (has_no_noreplace && flags != 0) {
        errno = EINVAL;
        return -1;
    }
    return __real_renameat2(from, old, to, new, flags);
}

static int reset_kernel(void **state) {
    (void)state;
    is_old_kernel = has_no_links = has_no_noreplace = false;
    return 0;
}

// --- Hexadecimal ---------------------------------------------------------------------------------

static void hexadecimal_is_that_of_printf_and_exactly_as_long(void **state) {
    (void)state;
    struct unit_random random = unit_random_of(__func__);
    for (int round = 0; round < 2000; round++) {
        uint8_t bytes[40], back[40];
        size_t len = unit_random_below(&random, sizeof(bytes) + 1);
        unit_random_fill(&random, bytes, len);
        char *text = malloc(2 * len + (len == 0)), expected[81];
        assert_non_null(text);
        tuck_hex(text, bytes, len);
        for (size_t i = 0; i < len; i++)
            (void)snprintf(expected + 2 * i, 3, "%02x", bytes[i]);
        assert_memory_equal(text, expected, 2 * len);
        assert_true(tuck_unhex(back, text, len));
        assert_memory_equal(back, bytes, len);
        for (size_t i = 0; i < 2 * len; i++)
            text[i] = (char)(text[i] >= 'a' ? text[i] - 32 : text[i]);
        assert_true(tuck_unhex(back, text, len));
        assert_memory_equal(back, bytes, len);
        free(text);
    }
}

static void every_byte_has_its_digits_at_every_place(void **state) {
    (void)state;
    for (unsigned place = 0; place < 9; place++) {
        for (unsigned value = 0; value < 256; value++) {
            uint8_t bytes[9] = {0};
            char text[18], expected[19];
            bytes[place] = (uint8_t)value;
            tuck_hex(text, bytes, sizeof(bytes));
            for (size_t i = 0; i < sizeof(bytes); i++)
                (void)snprintf(expected + 2 * i, 3, "%02x", bytes[i]);
            assert_memory_equal(text, expected, sizeof(text));
        }
    }
}

static void what_is_no_digit_is_refused_at_every_place(void **state) {
    (void)state;
    for (size_t place = 0; place < 8; place++) {
        for (int c = 0; c < 256; c++) {
            char text[] = "0123abCD";
            uint8_t bytes[4];
            text[place] = (char)c;
            bool is_digit =
                (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
            assert_int_equal(tuck_unhex(bytes, text, 4), is_digit);
        }
    }
}

static void a_digest_in_parts_is_that_of_the_whole(void **state) {
    (void)state;
    static const char expected[] =
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    struct tuck_digest digest;
    struct tuck_output_id id;
    char text[TUCK_ID_HEX];
    tuck_digest_init(&digest);
    tuck_digest_add(&digest, "a", 1);
    tuck_digest_add(&digest, "", 0);
    tuck_digest_add(&digest, "bc", 2);
    tuck_digest_end(&digest, &id);
    tuck_hex(text, id.bytes, TUCK_ID_BYTES);
    assert_memory_equal(text, expected, sizeof(text));
}

static void random_names_are_24_digits_and_differ(void **state) {
    (void)state;
    char names[100][25];
    for (size_t i = 0; i < TUCK_ARRAY_LEN(names); i++) {
        memset(names[i], '?', sizeof(names[i]));
        tuck_random_name(names[i]);
        assert_int_equal(strlen(names[i]), 24);
        assert_int_equal(strspn(names[i], "0123456789abcdef"), 24);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(names[i], names[j]);
    }
}

// --- Errors --------------------------------------------------------------------------------------

static void an_error_says_what_and_why_and_has_the_code_that_fits(void **state) {
    (void)state;
    static const struct {
        int os, code;
    } table[] = {{ENOSPC, TUCK_ENOSPACE}, {EDQUOT, TUCK_ENOSPACE}, {EMFILE, TUCK_ENOSPACE},
                 {EFBIG, TUCK_ENOSPACE},  {EACCES, TUCK_EACCESS},  {EROFS, TUCK_EACCESS},
                 {ENOMEM, TUCK_ENOMEM},   {EIO, TUCK_EIO},         {ENOENT, TUCK_EIO}};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(table); i++) {
        struct tuck_error err = {0};
        char expected[200];
        (void)snprintf(expected, sizeof(expected), "open '%s': %s", "x", strerror(table[i].os));
        assert_int_equal(tuck_fail_os(&err, table[i].os, "open '%s'", "x"), table[i].code);
        assert_int_equal(err.code, table[i].code);
        assert_int_equal(err.os, table[i].os);
        assert_string_equal(err.text, expected);
        assert_int_equal(tuck_fail_os(NULL, table[i].os, "x"), table[i].code);
    }
    struct tuck_error err = {0};
    assert_int_equal(tuck_fail(&err, TUCK_EPROTO, "%d", 5), TUCK_EPROTO);
    assert_string_equal(err.text, "5");
    assert_int_equal(err.os, 0);
}

static void an_error_text_that_is_too_long_is_cut(void **state) {
    (void)state;
    char text[1000];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    for (size_t len = 200; len < 400; len++) {
        struct tuck_error err = {0};
        assert_int_equal(tuck_fail_os(&err, ENOENT, "%s", text + sizeof(text) - 1 - len), TUCK_EIO);
        assert_in_range(strlen(err.text), 200, sizeof(err.text) - 1);
    }
}

// --- System calls --------------------------------------------------------------------------------

static void nothing_below_a_directory_is_reached_through_links(void **state) {
    (void)state;
    for (int way = 0; way < 2; way++) {
        is_old_kernel = way;
        const char *dir = unit_directory(), *outside = unit_directory();
        int dirfd = unit_open_directory(dir);
        unit_write_file(unit_path(outside, "file"), "x", 1);
        assert_int_equal(mkdir(unit_path(dir, "sub"), 0700), 0);
        unit_write_file(unit_path(dir, "sub/file"), "x", 1);
        assert_int_equal(symlink(outside, unit_path(dir, "link")), 0);
        assert_int_equal(symlink("sub", unit_path(dir, "inner")), 0);
        assert_int_equal(symlink("file", unit_path(dir, "sub/last")), 0);
        int fd = tuck_open_beneath(dirfd, "sub/file", O_RDONLY, 0);
        assert_true(fd >= 0);
        assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
        (void)close(fd);
        assert_true(tuck_open_beneath(dirfd, "link/file", O_RDONLY, 0) < 0);
        assert_true(tuck_open_beneath(dirfd, "inner/file", O_RDONLY, 0) < 0);
        assert_true(tuck_open_beneath(dirfd, "sub/last", O_RDONLY, 0) < 0);
        assert_true(tuck_open_beneath(dirfd, "link", O_RDONLY | O_DIRECTORY, 0) < 0);
        assert_true(tuck_open_beneath(dirfd, "link/new", O_CREAT | O_WRONLY, 0600) < 0);
        assert_int_equal(tuck_open_beneath(dirfd, "absent", O_RDONLY, 0), -ENOENT);
        assert_int_equal(tuck_open_beneath(dirfd, "sub/absent", O_RDONLY, 0), -ENOENT);
        fd = tuck_open_beneath(dirfd, "sub/new", O_CREAT | O_EXCL | O_WRONLY, 0600);
        assert_true(fd >= 0);
        (void)close(fd);
        (void)close(dirfd);
        assert_int_equal(unit_count_names(outside), 1);
    }
}

static void a_file_is_named_only_where_no_other_is(void **state) {
    (void)state;
    for (int way = 0; way < 2; way++) {
        has_no_links = way == 1;
        const char *dir = unit_directory();
        int dirfd = unit_open_directory(dir);
        size_t len;
        unit_write_file(unit_path(dir, "temp"), "one", 3);
        assert_int_equal(tuck_name_file(dirfd, "temp", dirfd, "name"), 0);
        unit_write_file(unit_path(dir, "temp"), "two", 3);
        assert_int_equal(tuck_name_file(dirfd, "temp", dirfd, "name"), -EEXIST);
        uint8_t *text = unit_read_file(unit_path(dir, "name"), &len);
        assert_memory_equal(text, "one", 3);
        free(text);
        assert_int_equal(access(unit_path(dir, "temp"), F_OK), 0); // where it was
        assert_int_equal(unlink(unit_path(dir, "temp")), 0);
        assert_int_equal(tuck_name_file(dirfd, "temp", dirfd, "other"), -ENOENT);
        has_no_noreplace = way == 1;
        unit_write_file(unit_path(dir, "temp"), "three", 5);
        assert_int_equal(tuck_name_file(dirfd, "temp", dirfd, "third"), 0);
        assert_int_equal(unit_count_names(dir), 2);
        (void)close(dirfd);
    }
}

static void directories_are_made_with_their_parents_and_may_be_there(void **state) {
    (void)state;
    const char *dir = unit_directory();
    assert_int_equal(tuck_mkdir_parents(unit_path(dir, "a/b/c")), 0);
    assert_int_equal(tuck_mkdir_parents(unit_path(dir, "a/b/c")), 0);
    assert_int_equal(tuck_mkdir_parents(unit_path(dir, "a/b/d//e/")), 0);
    assert_int_equal(access(unit_path(dir, "a/b/d/e"), F_OK), 0);
    unit_write_file(unit_path(dir, "file"), "x", 1);
    assert_int_equal(tuck_mkdir_parents(unit_path(dir, "file/a")), -ENOTDIR);
}

static void all_is_written_into_a_pipe_that_is_slow_and_not_to_be_waited_for(void **state) {
    (void)state;
    int ends[2];
    assert_int_equal(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
    (void)fflush(NULL);
    pid_t child = fork();
    if (child == 0) { // reads in small parts
        char block[1000];
        size_t total = 0;
        (void)close(ends[1]);
        (void)fcntl(ends[0], F_SETFL, 0);
        for (ssize_t n; (n = read(ends[0], block, sizeof(block))) > 0; total += (size_t)n)
            for (ssize_t i = 0; i < n; i++)
                if ((uint8_t)block[i] != (uint8_t)((total + (size_t)i) * 7))
                    _exit(1);
        _exit(total == 1000000 ? 0 : 2);
    }
    (void)close(ends[0]);
    uint8_t *data = malloc(1000000);
    assert_non_null(data);
    for (size_t i = 0; i < 1000000; i++)
        data[i] = (uint8_t)(i * 7);
    assert_int_equal(tuck_write_all(ends[1], data, 1000000, NULL), 0);
    (void)close(ends[1]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    free(data);
}

static volatile int stop;

static void raise_stop(int number) {
    (void)number;
    stop = 1;
}

static void writing_ends_when_it_is_told_to_stop(void **state) {
    (void)state;
    static char block[1000000];
    struct sigaction action = {.sa_handler = raise_stop}, before; // interrupts what waits
    assert_int_equal(sigaction(SIGALRM, &action, &before), 0);
    for (int flags = 0; flags <= O_NONBLOCK; flags += O_NONBLOCK) {
        int ends[2];
        stop = 0;
        assert_int_equal(pipe2(ends, O_CLOEXEC | flags), 0);
        (void)fflush(NULL);
        pid_t parent = getpid(), child = fork();
        if (child == 0) // again and again, as the writer may not be waiting yet
            while (kill(parent, SIGALRM) == 0 && getppid() == parent)
                (void)sched_yield();
        assert_int_equal(tuck_write_all(ends[1], block, sizeof(block), &stop), -EINTR);
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, NULL, 0), child);
        (void)close(ends[0]);
        (void)close(ends[1]);
    }
    assert_int_equal(sigaction(SIGALRM, &before, NULL), 0);
    assert_int_equal(tuck_write_all(-1, "x", 1, NULL), -EBADF);
}

static void reading_at_an_offset_stops_at_the_end_of_the_file_only(void **state) {
    (void)state;
    const char *path = unit_path(unit_directory(), "file");
    char data[20];
    unit_write_file(path, "0123456789", 10);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(tuck_pread_full(fd, data, 4, 3), 4);
    assert_memory_equal(data, "3456", 4);
    assert_int_equal(tuck_pread_full(fd, data, sizeof(data), 7), 3);
    assert_int_equal(tuck_pread_full(fd, data, sizeof(data), 10), 0);
    assert_int_equal(tuck_pwrite_all(fd, "abc", 3, 15), 0);
    assert_int_equal(tuck_pread_full(fd, data, sizeof(data), 0), 18);
    assert_memory_equal(data + 10, "\0\0\0\0\0abc", 8);
    (void)close(fd);
    assert_int_equal(tuck_pread_full(fd, data, 1, 0), -EBADF);
    assert_int_equal(tuck_pwrite_all(fd, data, 1, 0), -EBADF);
}

static void an_unnamed_file_can_be_named_once_and_only_where_no_other_is(void **state) {
    (void)state;
    const char *dir = unit_directory();
    int dirfd = unit_open_directory(dir);
    int fd = tuck_open_unnamed(dirfd, 0444);
    assert_true(fd >= 0);
    assert_int_equal(unit_count_names(dir), 0);
    assert_int_equal(tuck_pwrite_all(fd, "x", 1, 0), 0);
    unit_write_file(unit_path(dir, "taken"), "y", 1);
    assert_int_equal(tuck_link_unnamed(fd, dirfd, "taken"), -EEXIST);
    assert_int_equal(tuck_link_unnamed(fd, dirfd, "free"), 0);
    assert_int_equal(unit_count_names(dir), 2);
    (void)close(fd);
    (void)close(dirfd);
}

static void a_locked_range_is_locked_for_other_open_files_until_it_is_given_back(void **state) {
    (void)state;
    const char *path = unit_path(unit_directory(), "file");
    unit_write_file(path, "x", 1);
    int one = open(path, O_RDWR | O_CLOEXEC), other = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(tuck_lock_range(one, 4096, 4096, 0), 0);
    assert_int_equal(tuck_lock_range(one, 4096, 4096, 0), 0); // its own
    assert_int_equal(tuck_lock_range(other, 8191, 1, 0), -ETIMEDOUT);
    assert_int_equal(tuck_lock_range(other, 0, 4096, 0), 0);
    assert_int_equal(tuck_lock_range(other, 8192, 4096, 0), 0);
    uint64_t deadline_ns = tuck_clock_mono_ns() + 20 * TUCK_NS_PER_MS;
    assert_int_equal(tuck_lock_range(other, 5000, 1, deadline_ns), -ETIMEDOUT);
    assert_true(tuck_clock_mono_ns() >= deadline_ns);
    tuck_unlock_range(one, 4096, 4096);
    assert_int_equal(tuck_lock_range(other, 4096, 4096, 0), 0);
    (void)close(other);
    assert_int_equal(tuck_lock_range(one, 0, 100000, 0), 0);
    (void)close(one);
    assert_int_equal(tuck_lock_range(one, 0, 1, 0), -EBADF);
}

// --- Threads -------------------------------------------------------------------------------------

// Ends as the function does: 0, or by the signal of an abort.
static int run_apart(void (*body)(void)) {
    (void)fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        struct rlimit none = {0, 0};
        (void)setrlimit(RLIMIT_CORE, &none);
        (void)signal(SIGABRT, SIG_DFL);
        if (!freopen("/dev/null", "w", stderr)) // what it says is expected
            _exit(99);
        body();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
}

static struct tuck_mutex outer, inner;

static void lock_in_order(void) {
    tuck_lock(&outer);
    tuck_lock(&inner);
    tuck_unlock(&inner);
    tuck_unlock(&outer);
}

static void lock_out_of_order(void) {
    tuck_lock(&inner);
    tuck_lock(&outer);
}

static void lock_two_of_a_rank(void) {
    struct tuck_mutex same;
    tuck_mutex_init(&same, inner.rank);
    tuck_lock(&inner);
    tuck_lock(&same);
}

static void locks_that_are_taken_out_of_order_end_a_debug_build(void **state) {
    (void)state;
    tuck_mutex_init(&outer, TUCK_RANK_CACHE);
    tuck_mutex_init(&inner, TUCK_RANK_INDEX);
    assert_int_equal(run_apart(lock_in_order), 0);
#ifndef NDEBUG
    assert_int_equal(run_apart(lock_out_of_order), SIGABRT);
    assert_int_equal(run_apart(lock_two_of_a_rank), SIGABRT);
#else
    (void)lock_out_of_order, (void)lock_two_of_a_rank;
#endif
    tuck_mutex_fini(&outer);
    tuck_mutex_fini(&inner);
}

static void break_a_promise(void) {
    tuck_verify(1 + 1 == 3);
}

static void a_broken_promise_ends_every_build(void **state) {
    (void)state;
    assert_int_equal(run_apart(break_a_promise), SIGABRT);
}

struct handing {
    struct tuck_mutex lock;
    pthread_cond_t changed;
    int value;
    bool has_signals_blocked;
};

static void *hand_over(void *arg) {
    struct handing *handing = arg;
    sigset_t set;
    (void)pthread_sigmask(SIG_SETMASK, NULL, &set);
    tuck_lock(&handing->lock);
    handing->has_signals_blocked = sigismember(&set, SIGTERM) && sigismember(&set, SIGINT);
    handing->value = 42;
    (void)pthread_cond_signal(&handing->changed);
    tuck_unlock(&handing->lock);
    return NULL;
}

static void a_condition_wakes_its_waiter_or_ends_at_its_deadline(void **state) {
    (void)state;
    struct handing handing = {.value = 0};
    pthread_t thread;
    tuck_mutex_init(&handing.lock, TUCK_RANK_CACHE);
    tuck_cond_init(&handing.changed);
    tuck_lock(&handing.lock);
    uint64_t deadline_ns = tuck_clock_mono_ns() + 10 * TUCK_NS_PER_MS;
    while (tuck_cond_wait_until(&handing.changed, &handing.lock, deadline_ns))
        ;
    assert_true(tuck_clock_mono_ns() >= deadline_ns);
    assert_int_equal(tuck_thread_start(&thread, hand_over, &handing), 0);
    while (handing.value == 0)
        tuck_cond_wait(&handing.changed, &handing.lock);
    tuck_unlock(&handing.lock);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(handing.has_signals_blocked); // they interrupt the main thread
    sigset_t set;
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &set), 0);
    assert_false(sigismember(&set, SIGTERM));
    (void)pthread_cond_destroy(&handing.changed);
    tuck_mutex_fini(&handing.lock);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(hexadecimal_is_that_of_printf_and_exactly_as_long),
    cmocka_unit_test(every_byte_has_its_digits_at_every_place),
    cmocka_unit_test(what_is_no_digit_is_refused_at_every_place),
    cmocka_unit_test(a_digest_in_parts_is_that_of_the_whole),
    cmocka_unit_test(random_names_are_24_digits_and_differ),
    cmocka_unit_test(an_error_says_what_and_why_and_has_the_code_that_fits),
    cmocka_unit_test(an_error_text_that_is_too_long_is_cut),
    cmocka_unit_test_setup(nothing_below_a_directory_is_reached_through_links, reset_kernel),
    cmocka_unit_test_setup(a_file_is_named_only_where_no_other_is, reset_kernel),
    cmocka_unit_test_setup(directories_are_made_with_their_parents_and_may_be_there, reset_kernel),
    cmocka_unit_test(all_is_written_into_a_pipe_that_is_slow_and_not_to_be_waited_for),
    cmocka_unit_test(writing_ends_when_it_is_told_to_stop),
    cmocka_unit_test(reading_at_an_offset_stops_at_the_end_of_the_file_only),
    cmocka_unit_test_setup(an_unnamed_file_can_be_named_once_and_only_where_no_other_is,
                           reset_kernel),
    cmocka_unit_test(a_locked_range_is_locked_for_other_open_files_until_it_is_given_back),
    cmocka_unit_test(locks_that_are_taken_out_of_order_end_a_debug_build),
    cmocka_unit_test(a_broken_promise_ends_every_build),
    cmocka_unit_test(a_condition_wakes_its_waiter_or_ends_at_its_deadline),
};

UNIT_MAIN(tests)

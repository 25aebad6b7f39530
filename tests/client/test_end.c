// SPDX-License-Identifier: MIT
/*
 * Helpers that end, hang, flood or hold on, and clients that give up: every wait is bounded, every process waited for.
 */
#include "tests/client/world.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

// --- Kernels without pidfd -----------------------------------------------------------------------

static bool has_no_pidfd;

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...) {
    va_list args;
    va_start(args, number);
    long a = va_arg(args, long), b = va_arg(args, long), c = va_arg(args, long),
         d = va_arg(args, long);
    va_end(args);
    if (number == SYS_pidfd_open && has_no_pidfd) {
        errno = ENOSYS;
        return -1;
    }
    return __real_syscall(number, a, b, c, d);
}

// --- The helper's end in the midst of things -----------------------------------------------------

static void stdout_that_ends_fails_what_waits_though_the_helper_lives(void **state) {
    (void)state;
    struct world_outcome outcomes[3];
    struct tuck_client *client = world_open_bad(BAD("hello", "read:3", "close:1", "pause"));
    uint64_t begin = world_ms();
    for (uint64_t i = 0; i < 3; i++)
        world_submit_get(client, i, 0, &outcomes[i]);
    assert_int_equal(tuck_client_wait(client, 60000), TUCK_CLIENT_OK);
    assert_true(world_ms() - begin < 10000);
    for (size_t i = 0; i < 3; i++)
        world_expect(outcomes[i].status, TUCK_CLIENT_STDOUT_ENDED, &outcomes[i].error,
                     "closed its stdout");
    world_get(client, TUCK_CLIENT_STDOUT_ENDED, NULL);
    world_close(client, TUCK_CLIENT_STDOUT_ENDED);
}

static void a_helper_that_dies_fails_what_waits_with_its_status(void **state) {
    (void)state;
    static const struct {
        const char *how;
        const char *text;
        enum tuck_client_end_how end;
        int status;
    } rows[] = {{"exit:3", "exited with status 3", TUCK_CLIENT_END_EXIT, 3},
                {"exit:0", "exited with status 0", TUCK_CLIENT_END_EXIT, 0},
                {"raise:9", "killed by signal 9", TUCK_CLIENT_END_SIGNAL, 9},
                {"raise:11", "killed by signal 11", TUCK_CLIENT_END_SIGNAL, 11}};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(rows); i++) {
        struct world_outcome outcomes[4];
        struct tuck_client_end end;
        struct tuck_client *client =
            world_open_bad(BAD("hello", "read:4", "raw:{\"ID\":$2,\"Miss\":true}", rows[i].how));
        for (uint64_t j = 0; j < 4; j++)
            world_submit_get(client, j, 0, &outcomes[j]);
        assert_int_equal(tuck_client_wait(client, 60000), TUCK_CLIENT_OK);
        for (size_t j = 0; j < 4; j++)
            if (j == 1) // what it said before it ended counts
                world_expect(outcomes[j].status, TUCK_CLIENT_MISS, &outcomes[j].error, NULL);
            else
                world_expect(outcomes[j].status, TUCK_CLIENT_EXITED, &outcomes[j].error,
                             rows[i].text);
        world_get(client, TUCK_CLIENT_EXITED, rows[i].text);
        tuck_client_end(client, &end);
        assert_int_equal(end.how, rows[i].end);
        assert_int_equal(end.status, rows[i].status);
        assert_int_equal(end.signal_sent, 0);
        world_close(client, TUCK_CLIENT_EXITED);
    }
}

static void a_helper_that_dies_unasked_is_noticed_at_the_next_request(void **state) {
    (void)state;
    struct tuck_client *client = world_open_bad(BAD("hello", "serve:1", "exit:6"));
    world_get(client, TUCK_CLIENT_MISS, NULL);
    world_get(client, TUCK_CLIENT_EXITED, "status 6");
    world_close(client, TUCK_CLIENT_EXITED);
}

static void the_last_words_of_a_helper_are_in_the_error(void **state) {
    (void)state;
    struct tuck_client_options options = world_options(
        BAD("hello", "read", "complain:one", "complain:tuck: disk on fire", "exit:1"));
    options.stderr_to = TUCK_CLIENT_STDERR_CAPTURE;
    struct tuck_client *client = world_open(&options);
    world_get(client, TUCK_CLIENT_EXITED, "exited with status 1; it said: 'tuck: disk on fire'");
    world_close(client, TUCK_CLIENT_EXITED);
}

// --- Time limits and cancelling ------------------------------------------------------------------

static void
a_request_that_is_not_answered_in_time_fails_and_its_late_answer_harms_nobody(void **state) {
    (void)state;
    struct world_outcome late, next;
    struct tuck_client *client =
        world_open_bad(BAD("hello", "read", "wait:go", "say:{\"ID\":$1,\"Miss\":true}", "serve"));
    uint64_t begin = world_ms();
    world_submit_get(client, 1, 60, &late);
    world_submit_get(client, 2, 0, &next);
    while (!late.is_done)
        assert_int_equal(tuck_client_wait(client, 20), TUCK_CLIENT_TIMEOUT);
    assert_true(world_ms() - begin >= 60 && world_ms() - begin < 10000);
    world_expect(late.status, TUCK_CLIENT_TIMEOUT, &late.error,
                 "request 1 was not answered in time");
    (void)world_file("go", "");
    assert_int_equal(tuck_client_wait(client, 60000), TUCK_CLIENT_OK);
    world_expect(next.status, TUCK_CLIENT_MISS, &next.error, NULL);
    world_put(client, TUCK_CLIENT_OK, NULL);
    world_close(client, TUCK_CLIENT_OK);
}

static void time_limits_of_any_order_are_kept(void **state) {
    (void)state;
    static const uint32_t limits[] = {90, 30, 60, 120, 15};
    static const size_t order[] = {4, 1, 2, 0, 3};
    struct world_outcome outcomes[5];
    struct tuck_client *client = world_open_bad(BAD("hello", "read:5", "wait:go", "serve"));
    for (size_t i = 0; i < 5; i++)
        world_submit_get(client, i, limits[i], &outcomes[i]);
    assert_int_equal(tuck_client_wait(client, 60000), TUCK_CLIENT_OK);
    for (size_t i = 0; i < 5; i++) {
        world_expect(outcomes[order[i]].status, TUCK_CLIENT_TIMEOUT, &outcomes[order[i]].error,
                     NULL);
        assert_int_equal(outcomes[order[i]].place, i + 1);
    }
    (void)world_file("go", "");
    world_get(client, TUCK_CLIENT_MISS, NULL);
    world_close(client, TUCK_CLIENT_OK);
}

static void a_request_can_be_canceled_in_every_state(void **state) {
    (void)state;
    struct world_outcome sent, queued, done, kept;
    struct tuck_client_error error;
    struct tuck_client *client = world_open_bad(
        BAD("hello", "serve:1", "read", "wait:go", "say:{\"ID\":2,\"Miss\":true}", "serve"));
    uint64_t ticket = world_submit_get(client, 1, 0, &done);
    assert_int_equal(tuck_client_wait(client, 60000), TUCK_CLIENT_OK);
    assert_int_equal(tuck_client_cancel(client, ticket), 0);        // too late: nothing happens
    assert_int_equal(tuck_client_cancel(client, ticket + 1000), 0); // never given out
    assert_int_equal(tuck_client_cancel(client, 0), 0);
    uint64_t sent_ticket = world_submit_get(client, 2, 0, &sent);
    for (int i = 0; i < 10; i++)
        assert_int_equal(tuck_client_dispatch(client, &error), 0); // it is on its way
    uint64_t queued_ticket = world_submit_get(client, 3, 0, &queued);
    world_submit_get(client, 4, 0, &kept);
    assert_int_equal(tuck_client_cancel(client, queued_ticket), 0);
    assert_int_equal(tuck_client_cancel(client, sent_ticket), 0);
    assert_int_equal(tuck_client_cancel(client, sent_ticket), 0);
    assert_false(sent.is_done || queued.is_done); // never inside cancel
    while (!sent.is_done || !queued.is_done)
        assert_int_equal(tuck_client_dispatch(client, &error), 0);
    world_expect(sent.status, TUCK_CLIENT_CANCELED, &sent.error, "canceled");
    world_expect(queued.status, TUCK_CLIENT_CANCELED, &queued.error, "canceled");
    assert_false(kept.is_done);
    (void)world_file("go", "");
    assert_int_equal(tuck_client_wait(client, 60000), TUCK_CLIENT_OK);
    world_expect(kept.status, TUCK_CLIENT_MISS, &kept.error, NULL);
    assert_int_equal(done.status, TUCK_CLIENT_MISS);
    world_close(client, TUCK_CLIENT_OK);
}

static void a_body_half_written_is_not_canceled(void **state) {
    (void)state;
    struct world_outcome put;
    struct tuck_client_error error;
    int fd = world_open_file("body", 4 << 20);
    struct tuck_client *client = world_open_bad(BAD("hello", "wait:go", "serve"));
    uint64_t ticket = world_submit_put(client, 1, tuck_client_file(fd), &put);
    for (int i = 0; i < 20; i++)
        assert_int_equal(tuck_client_dispatch(client, &error), 0);
    assert_int_equal(tuck_client_cancel(client, ticket), 0);
    for (int i = 0; i < 20; i++)
        assert_int_equal(tuck_client_dispatch(client, &error), 0);
    assert_false(put.is_done);
    (void)world_file("go", "");
    assert_int_equal(tuck_client_wait(client, 60000), TUCK_CLIENT_OK);
    world_expect(put.status, TUCK_CLIENT_OK, &put.error, NULL);
    world_close(client, TUCK_CLIENT_OK);
    (void)close(fd);
}

static void a_stopped_helper_holds_nobody_beyond_the_limit(void **state) {
    (void)state;
    struct tuck_client_options options = world_options(BAD("hello", "stop", "serve"));
    struct tuck_client_end end;
    options.timeout_ms = 60;
    options.close_ms = 60;
    uint64_t begin = world_ms();
    struct tuck_client *client = world_open(&options);
    world_get(client, TUCK_CLIENT_TIMEOUT, NULL);
    world_put(client, TUCK_CLIENT_TIMEOUT, NULL);
    assert_int_equal(tuck_client_close(client, NULL),
                     TUCK_CLIENT_FORCED); // SIGTERM, and SIGCONT with it
    tuck_client_end(client, &end);
    assert_int_equal(end.signal_sent, SIGTERM);
    tuck_client_free(client);
    assert_true(world_ms() - begin < 15000);
}

static void a_body_that_cannot_be_written_in_time_ends_the_connection(void **state) {
    (void)state;
    struct world_outcome put, get;
    int fd = world_open_file("body", 4 << 20);
    struct tuck_client_options options = world_options(BAD("hello", "pause"));
    options.timeout_ms = 80;
    struct tuck_client *client = world_open(&options);
    world_submit_put(client, 1, tuck_client_file(fd), &put);
    world_submit_get(client, 2, TUCK_CLIENT_NO_LIMIT, &get);
    assert_int_equal(tuck_client_wait(client, 60000), TUCK_CLIENT_OK);
    world_expect(put.status, TUCK_CLIENT_TIMEOUT, &put.error, "does not read");
    world_expect(get.status, TUCK_CLIENT_BROKEN_OFF, &get.error, "request 1");
    world_close(client, TUCK_CLIENT_BROKEN_OFF);
    (void)close(fd);
}

static void a_helper_that_reads_nothing_holds_requests_in_bounded_memory(void **state) {
    (void)state;
    enum { COUNT = 3000 };
    static struct world_outcome outcomes[COUNT];
    struct tuck_client_options options = world_options(BAD("hello", "pause"));
    options.timeout_ms = 100;
    struct tuck_client *client = world_open(&options);
    size_t before = unit_allocated_bytes();
    for (size_t i = 0; i < COUNT; i++)
        world_submit_get(client, i, 0, &outcomes[i]);
    assert_true(unit_allocated_bytes() - before < COUNT * 600);
    assert_int_equal(tuck_client_wait(client, 60000), TUCK_CLIENT_OK);
    for (size_t i = 0; i < COUNT; i++)
        assert_int_equal(outcomes[i].status, TUCK_CLIENT_TIMEOUT);
    tuck_client_free(client);
}

static void a_helper_that_leaves_too_many_unanswered_is_given_up(void **state) {
    (void)state;
    struct world_outcome outcomes[9];
    struct tuck_client_options options = world_options(BAD("hello", "read:100"));
    options.max_pending = 8;
    struct tuck_client *client = world_open(&options);
    for (size_t i = 0; i < 8; i++)
        world_submit_get(client, i, 20, &outcomes[i]);
    assert_int_equal(tuck_client_wait(client, 60000), TUCK_CLIENT_OK);
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(outcomes[i].status, TUCK_CLIENT_TIMEOUT);
    world_submit_get(client, 9, 20, &outcomes[8]);
    assert_int_equal(tuck_client_wait(client, 60000), TUCK_CLIENT_OK);
    assert_int_equal(outcomes[8].status, TUCK_CLIENT_TIMEOUT);
    world_get(client, TUCK_CLIENT_UNANSWERED, "9 requests");
    world_close(client, TUCK_CLIENT_UNANSWERED);
}

static void answers_that_come_late_are_no_longer_missing(void **state) {
    (void)state;
    struct tuck_client_options options = world_options(BAD("hello", "serve"));
    struct tuck_client_error error;
    options.max_pending = 3;
    struct tuck_client *client = world_open(&options);
    for (size_t i = 0; i < 30; i++) {
        struct world_outcome outcome;
        uint64_t ticket = world_submit_get(client, i, 0, &outcome);
        (void)tuck_client_dispatch(client, &error); // it is sent
        assert_int_equal(tuck_client_cancel(client, ticket), 0);
        assert_int_equal(tuck_client_wait(client, 60000), TUCK_CLIENT_OK);
        world_get(client, TUCK_CLIENT_MISS, NULL); // behind the late answer
    }
    world_close(client, TUCK_CLIENT_OK);
}

static void no_more_requests_wait_than_the_options_allow(void **state) {
    (void)state;
    struct world_outcome outcomes[5];
    struct tuck_client_request request = TUCK_CLIENT_REQUEST_INIT;
    struct tuck_client_error error;
    struct tuck_action_id action = unit_action(1);
    struct tuck_client_options options = world_options(BAD("hello", "wait:go", "serve"));
    options.max_pending = 4;
    struct tuck_client *client = world_open(&options);
    request.command = TUCK_CLIENT_GET;
    request.action = action.bytes;
    for (size_t i = 0; i < 4; i++)
        world_submit_get(client, i, 0, &outcomes[i]);
    assert_int_equal(tuck_client_submit(client, &request, world_done, &outcomes[4], NULL, &error),
                     TUCK_CLIENT_FULL);
    (void)world_file("go", "");
    world_get(client, TUCK_CLIENT_MISS, NULL); // who waits himself is not counted
    assert_int_equal(tuck_client_wait(client, 60000), TUCK_CLIENT_OK);
    world_submit_get(client, 5, 0, &outcomes[4]);
    assert_int_equal(tuck_client_wait(client, 60000), TUCK_CLIENT_OK);
    world_close(client, TUCK_CLIENT_OK);
}

// --- Close ---------------------------------------------------------------------------------------

static void close_ends_every_helper_in_bounded_time(void **state) {
    (void)state;
    static const struct {
        const char *words[8];
        int go, strict;
        int signal_sent;
        enum tuck_client_end_how how;
        int status;
    } rows[] = {
        {{"serve"}, 0, 0, 0, TUCK_CLIENT_END_EXIT, 0},
        {{"read", "exit:0"}, 0, 0, 0, TUCK_CLIENT_END_EXIT, 0}, // no answer, but an end
        {{"read", "exit:5"}, 0, 0, 0, TUCK_CLIENT_END_EXIT, 5},
        {{"read", "raise:6"}, 0, 0, 0, TUCK_CLIENT_END_SIGNAL, 6},
        {{"read", "say:{\"ID\":$i}", "exit:5"}, 0, 0, 0, TUCK_CLIENT_END_EXIT, 5},
        {{"read", "close:1", "eof"}, 0, 0, 0, TUCK_CLIENT_END_EXIT, 0},
        {{"read", "close:0", "close:1", "exit:0"}, 0, 0, 0, TUCK_CLIENT_END_EXIT, 0},
        {{"read", "say:{\"ID\":$i,\"Err\":\"trim\"}"},
         TUCK_CLIENT_REFUSED,
         TUCK_CLIENT_REFUSED,
         0,
         TUCK_CLIENT_END_EXIT,
         0},
        {{"read", "say:{\"ID\":$i}", "say:{\"ID\":99}"},
         0,
         TUCK_CLIENT_UNASKED,
         0,
         TUCK_CLIENT_END_EXIT,
         0},
        {{"read", "raw:{\"ID\":$i}bye"}, 0, TUCK_CLIENT_UNASKED, 0, TUCK_CLIENT_END_EXIT, 0},
        {{"read", "say:{\"ID\":$i}", "repeat:9000000: "}, 0, 0, 0, TUCK_CLIENT_END_EXIT, 0},
        {{"read", "say:bye"}, TUCK_CLIENT_NOT_JSON, TUCK_CLIENT_NOT_JSON, -1, TUCK_CLIENT_RUNS, 0},
        {{"read", "say:{\"ID\":$i}", "pause"},
         TUCK_CLIENT_FORCED,
         TUCK_CLIENT_FORCED,
         SIGTERM,
         TUCK_CLIENT_END_SIGNAL,
         SIGTERM},
        {{"pause"},
         TUCK_CLIENT_FORCED,
         TUCK_CLIENT_FORCED,
         SIGTERM,
         TUCK_CLIENT_END_SIGNAL,
         SIGTERM},
        {{"catch:15:told", "pause"},
         TUCK_CLIENT_FORCED,
         TUCK_CLIENT_FORCED,
         SIGTERM,
         TUCK_CLIENT_END_EXIT,
         0},
        {{"ignore:15", "pause"},
         TUCK_CLIENT_FORCED,
         TUCK_CLIENT_FORCED,
         SIGKILL,
         TUCK_CLIENT_END_SIGNAL,
         SIGKILL},
        {{"ignore:15", "close:1", "close:0", "pause"},
         TUCK_CLIENT_FORCED,
         TUCK_CLIENT_FORCED,
         SIGKILL,
         TUCK_CLIENT_END_SIGNAL,
         SIGKILL},
        {{"ignore:15", "stop", "pause"},
         TUCK_CLIENT_FORCED,
         TUCK_CLIENT_FORCED,
         SIGKILL,
         TUCK_CLIENT_END_SIGNAL,
         SIGKILL},
    };
    for (size_t i = 0; i < TUCK_ARRAY_LEN(rows); i++)
        for (uint32_t mode = TUCK_CLIENT_GO; mode <= TUCK_CLIENT_STRICT; mode++) {
            const char *argv[12] = {BAD_HELPER, "hello"};
            struct tuck_client_error error;
            struct tuck_client_end end;
            memcpy(argv + 2, rows[i].words, sizeof(rows[i].words));
            struct tuck_client_options options = world_options(argv);
            bool is_forced = rows[i].go == TUCK_CLIENT_FORCED;
            options.close_ms = is_forced ? 100 : 20000;
            options.kill_ms = is_forced ? 100 : 5000;
            options.mode = mode;
            struct tuck_client *client = world_open(&options);
            uint64_t begin = world_ms();
            int status = tuck_client_close(client, &error);
            if (status != (mode == TUCK_CLIENT_GO ? rows[i].go : rows[i].strict))
                print_message("# row %zu, mode %u\n", i, mode);
            world_expect(status, mode == TUCK_CLIENT_GO ? rows[i].go : rows[i].strict, &error,
                         NULL);
            assert_true(world_ms() - begin < 15000);
            tuck_client_end(client, &end);
            if (rows[i].signal_sent >= 0) {
                assert_int_equal(end.signal_sent, rows[i].signal_sent);
                assert_int_equal(end.how, rows[i].how);
                assert_int_equal(end.status, rows[i].status);
            }
            tuck_client_free(client);
        }
}

static void what_is_on_the_way_is_answered_before_close(void **state) {
    (void)state;
    struct world_outcome outcomes[4], closed = {0};
    struct tuck_client_request request = TUCK_CLIENT_REQUEST_INIT;
    struct tuck_client_error error;
    struct tuck_client *client = world_open_bad(BAD("hello", "sleep:50", "serve"));
    for (size_t i = 0; i < 4; i++)
        world_submit_get(client, i, 0, &outcomes[i]);
    request.command = TUCK_CLIENT_CLOSE;
    assert_int_equal(tuck_client_submit(client, &request, world_done, &closed, NULL, &error), 0);
    int status = tuck_client_submit(client, &request, world_done, &closed, NULL, &error);
    world_expect(status, TUCK_CLIENT_CLOSED, &error, "closed");
    assert_int_equal(tuck_client_wait(client, 60000), TUCK_CLIENT_OK);
    for (size_t i = 0; i < 4; i++)
        world_expect(outcomes[i].status, TUCK_CLIENT_MISS, &outcomes[i].error, NULL);
    world_expect(closed.status, TUCK_CLIENT_OK, &closed.error, NULL);
    assert_int_equal(closed.place, 5);
    assert_int_equal(tuck_client_dispatch(client, &error), TUCK_CLIENT_ENDED);
    tuck_client_free(client);
    // One that answers close and not what came before.
    client = world_open_bad(BAD("hello", "read:2", "say:{\"ID\":$2}"));
    world_submit_get(client, 1, 0, &outcomes[0]);
    world_close(client, TUCK_CLIENT_OK);
    world_expect(outcomes[0].status, TUCK_CLIENT_CLOSED, &outcomes[0].error,
                 "answered close and not");
    // One that answers nothing: the limit of close is the limit of all.
    struct tuck_client_options options = world_options(BAD("hello", "pause"));
    options.close_ms = 60;
    client = world_open(&options);
    world_submit_get(client, 1, TUCK_CLIENT_NO_LIMIT, &outcomes[0]);
    world_close(client, TUCK_CLIENT_FORCED);
    world_expect(outcomes[0].status, TUCK_CLIENT_TIMEOUT, &outcomes[0].error, "closed before");
    // One that dies with a request on the way, when it is closed.
    client = world_open_bad(BAD("hello", "read:2", "exit:4"));
    world_submit_get(client, 1, 0, &outcomes[0]);
    world_close(client, TUCK_CLIENT_EXITED);
    world_expect(outcomes[0].status, TUCK_CLIENT_EXITED, &outcomes[0].error, "status 4");
}

static void close_is_sent_once_and_nothing_after_it(void **state) {
    (void)state;
    struct tuck_client_error error;
    struct world_outcome outcome;
    struct tuck_client_request request = TUCK_CLIENT_REQUEST_INIT;
    struct tuck_action_id action = unit_action(1);
    struct tuck_client *client = world_open_bad(BAD("record", "hello", "serve"));
    assert_int_equal(tuck_client_close(client, &error), TUCK_CLIENT_OK);
    world_get(client, TUCK_CLIENT_CLOSED, "closed");
    world_put(client, TUCK_CLIENT_CLOSED, "closed");
    request.command = TUCK_CLIENT_GET;
    request.action = action.bytes;
    assert_int_equal(tuck_client_submit(client, &request, world_done, &outcome, NULL, &error),
                     TUCK_CLIENT_CLOSED);
    assert_int_equal(tuck_client_close(client, &error), TUCK_CLIENT_CLOSED);
    assert_int_equal(tuck_client_cancel(client, 1), 0);
    assert_int_equal(tuck_client_wait(client, 0), 0);
    tuck_client_free(client);
    assert_string_equal(world_notes(), "{\"ID\":1,\"Command\":\"close\"}\n\n");
}

static void a_client_that_is_freed_unclosed_kills_its_helper_and_calls_everyone_back(void **state) {
    (void)state;
    struct world_outcome outcomes[3];
    struct tuck_client *client = world_open_bad(BAD("ignore:15", "hello", "read:2", "pause"));
    uint64_t begin = world_ms();
    for (size_t i = 0; i < 3; i++)
        world_submit_get(client, i, 0, &outcomes[i]);
    tuck_client_free(client);
    for (size_t i = 0; i < 3; i++) {
        assert_true(outcomes[i].is_done);
        assert_int_equal(outcomes[i].status, TUCK_CLIENT_CLOSED);
    }
    assert_true(world_ms() - begin < 10000);
    tuck_client_free(NULL);
    // In the midst of checking a file, and with a close that waits for it.
    struct tuck_client_request request = TUCK_CLIENT_REQUEST_INIT;
    struct tuck_client_options options = world_options(BAD("hello", "serve"));
    struct tuck_client_error error;
    struct world_outcome closed = {0};
    int fd = world_open_file("big", 8 << 20);
    options.check = TUCK_CLIENT_CHECK_BYTES;
    client = world_open(&options);
    world_submit_put(client, 1, tuck_client_file(fd), &outcomes[0]);
    request.command = TUCK_CLIENT_CLOSE;
    assert_int_equal(tuck_client_submit(client, &request, world_done, &closed, NULL, &error), 0);
    struct tuck_client_end end;
    int status;
    do {
        status = tuck_client_dispatch(client, &error);
        tuck_client_end(client, &end);
    } while (status == TUCK_CLIENT_OK && end.how == TUCK_CLIENT_RUNS);
    tuck_client_free(client);
    assert_true(closed.is_done && outcomes[0].is_done);
    (void)close(fd);
}

static void grandchildren_hold_the_pipes(void) {
    struct tuck_client_options options = world_options(BAD("hold:30", "hello", "serve"));
    options.stderr_to = TUCK_CLIENT_STDERR_CAPTURE;
    uint64_t begin = world_ms();
    struct tuck_client *client = world_open(&options);
    world_get(client, TUCK_CLIENT_MISS, NULL);
    world_close(client, TUCK_CLIENT_OK);
    client = world_open_bad(BAD("hold:30", "hello", "read", "exit:3"));
    world_get(client, TUCK_CLIENT_EXITED, "status 3");
    world_close(client, TUCK_CLIENT_EXITED);
    options = world_options(BAD("hold:30", "exit:3"));
    world_refused(&options, TUCK_CLIENT_EXITED, "status 3");
    client = world_open_bad(BAD("hold:30", "hello:get", "serve")); // ended by its stdin alone
    world_close(client, TUCK_CLIENT_OK);
    assert_true(world_ms() - begin < 20000);
}

static void a_grandchild_that_holds_the_pipes_delays_nothing(void **state) {
    (void)state;
    grandchildren_hold_the_pipes();
}

static void a_flood_on_stderr_blocks_nothing(void **state) {
    (void)state;
    struct tuck_client_options options =
        world_options(BAD("flood:2:3000000", "hello", "serve:1", "flood:2:30000000", "serve"));
    char text[20];
    options.stderr_to = TUCK_CLIENT_STDERR_CAPTURE;
    struct tuck_client *client = world_open(&options);
    size_t before = unit_allocated_bytes();
    world_get(client, TUCK_CLIENT_MISS, NULL);
    world_get(client, TUCK_CLIENT_MISS, NULL);
    assert_true(unit_allocated_bytes() <= before + 65536);
    assert_int_equal(tuck_client_stderr(client, text, sizeof(text)), sizeof(text) - 1);
    assert_int_equal(text[0], 'x');
    world_close(client, TUCK_CLIENT_OK);
    options.stderr_to = TUCK_CLIENT_STDERR_DISCARD;
    client = world_open(&options);
    world_get(client, TUCK_CLIENT_MISS, NULL);
    world_close(client, TUCK_CLIENT_OK);
}

static void a_helper_sees_the_end_of_its_input_when_the_host_is_killed(void **state) {
    (void)state;
    int status;
    (void)fflush(NULL);
    pid_t host = fork();
    assert_true(host >= 0);
    if (host == 0) {
        struct tuck_client *clients[3];
        for (size_t i = 0; i < 3; i++)
            clients[i] = world_open_bad(BAD("hello", "eof", "note:ended"));
        (void)clients;
        (void)raise(SIGKILL);
    }
    assert_int_equal(waitpid(host, &status, 0), host);
    assert_int_equal(WTERMSIG(status), SIGKILL);
    world_wait_for_note("ended\nended\nended\n");
}

static void without_pidfd_everything_ends_as_well(void **state) {
    (void)state;
    has_no_pidfd = true;
    struct tuck_client_options options = world_options(BAD("exit:7"));
    world_refused(&options, TUCK_CLIENT_EXITED, "status 7");
    struct tuck_client *client = world_open_bad(BAD("hello", "serve"));
    world_put(client, TUCK_CLIENT_OK, NULL);
    world_close(client, TUCK_CLIENT_OK);
    client = world_open_bad(BAD("hello", "read", "exit:3"));
    world_get(client, TUCK_CLIENT_EXITED, "status 3");
    world_close(client, TUCK_CLIENT_EXITED);
    client = world_open_bad(BAD("hello", "read", "close:1", "pause"));
    world_get(client, TUCK_CLIENT_STDOUT_ENDED, NULL);
    world_close(client, TUCK_CLIENT_STDOUT_ENDED);
    options = world_options(BAD("ignore:15", "hello", "pause"));
    options.close_ms = options.kill_ms = 50;
    world_close(world_open(&options), TUCK_CLIENT_FORCED);
    options.flags = TUCK_CLIENT_OWN_GROUP;
    world_close(world_open(&options), TUCK_CLIENT_FORCED);
    tuck_client_free(world_open_bad(BAD("hello", "pause")));
    grandchildren_hold_the_pipes();
    has_no_pidfd = false;
}

static void signals_reach_the_whole_group_of_a_helper_that_has_one(void **state) {
    (void)state;
    // The shell's child is the one that would otherwise be left.
    const char *const argv[] = {"/bin/sh", "-c", "\"$0\" catch:15:child-told hello pause; exit 0",
                                BAD_HELPER, NULL};
    struct tuck_client_options options = world_options(argv);
    options.flags = TUCK_CLIENT_OWN_GROUP;
    options.close_ms = 100;
    struct tuck_client *client = world_open(&options);
    world_close(client, TUCK_CLIENT_FORCED);
    world_wait_for_note("child-told");
}

static int open_with_few_descriptors(int limit) {
    struct tuck_client_options options = world_options(BAD("hello", "serve"));
    struct rlimit few = {(rlim_t)limit, (rlim_t)limit};
    struct tuck_client_error error;
    struct tuck_client *client = NULL;
    size_t before = unit_count_descriptors();
    options.stderr_to = TUCK_CLIENT_STDERR_CAPTURE;
    if (setrlimit(RLIMIT_NOFILE, &few) < 0)
        return 1;
    int status = tuck_client_open(&options, &client, &error);
    few = (struct rlimit){256, 256};
    if (status == 0) {
        if (tuck_client_close(client, NULL) != 0)
            return 2;
        tuck_client_free(client);
    } else if (status != TUCK_CLIENT_SYSTEM && status != TUCK_CLIENT_NO_START) {
        return 3;
    }
    if (waitpid(-1, NULL, WNOHANG) >= 0 || errno != ECHILD)
        return 4;
    return limit > 4 && unit_count_descriptors() != before ? 5 : status == 0 ? 100 : 0;
}

static void where_descriptors_run_out_open_fails_and_leaves_nothing(void **state) {
    (void)state;
    bool has_worked = false;
    if (world_is_in_valgrind())
        skip();
    for (int limit = 5; limit < 24; limit++) {
        int status;
        (void)fflush(NULL);
        pid_t pid = fork();
        if (pid == 0) {
            for (int fd = 3; fd < 1024; fd++)
                (void)close(fd);
            _exit(open_with_few_descriptors(limit));
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != 100)
            print_message("# with %d descriptors: %d\n", limit, WEXITSTATUS(status));
        assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 100);
        has_worked |= WEXITSTATUS(status) == 100;
    }
    assert_true(has_worked);
}

static const struct CMUnitTest tests[] = {
    CASE("L-16", stdout_that_ends_fails_what_waits_though_the_helper_lives),
    CASE("L-17 PT16", a_helper_that_dies_fails_what_waits_with_its_status),
    CASE("L-17", a_helper_that_dies_unasked_is_noticed_at_the_next_request),
    CASE("L-17", the_last_words_of_a_helper_are_in_the_error),
    CASE("L-18", a_request_that_is_not_answered_in_time_fails_and_its_late_answer_harms_nobody),
    CASE("L-18", time_limits_of_any_order_are_kept),
    CASE("L-18", a_request_can_be_canceled_in_every_state),
    CASE("L-18", a_body_half_written_is_not_canceled),
    CASE("L-18 L-32", a_stopped_helper_holds_nobody_beyond_the_limit),
    CASE("L-18 L-38", a_body_that_cannot_be_written_in_time_ends_the_connection),
    CASE("L-18", a_helper_that_reads_nothing_holds_requests_in_bounded_memory),
    CASE("L-18", a_helper_that_leaves_too_many_unanswered_is_given_up),
    CASE("L-18", answers_that_come_late_are_no_longer_missing),
    CASE("L-18", no_more_requests_wait_than_the_options_allow),
    CASE("L-32 PT12", close_ends_every_helper_in_bounded_time),
    CASE("L-32 PT10", what_is_on_the_way_is_answered_before_close),
    CASE("L-43", close_is_sent_once_and_nothing_after_it),
    CASE("L-32", a_client_that_is_freed_unclosed_kills_its_helper_and_calls_everyone_back),
    CASE("L-33", a_grandchild_that_holds_the_pipes_delays_nothing),
    CASE("L-34", a_flood_on_stderr_blocks_nothing),
    CASE("L-44 PT11", a_helper_sees_the_end_of_its_input_when_the_host_is_killed),
    CASE("L-35", without_pidfd_everything_ends_as_well),
    CASE("L-42", signals_reach_the_whole_group_of_a_helper_that_has_one),
    CASE("L-01 L-36", where_descriptors_run_out_open_fails_and_leaves_nothing),
};

UNIT_MAIN(tests)

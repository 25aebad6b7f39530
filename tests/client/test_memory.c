// SPDX-License-Identifier: MIT
/*
 * Each allocation of a conversation fails in turn: an error that says so, and nothing left behind.
 */
#include "tests/client/world.h"

#include <errno.h>
#include <poll.h>

static size_t until_failure = SIZE_MAX; // allocations that succeed before one fails
static bool is_persistent;              // and all after it

static bool must_fail(void) {
    size_t left = __atomic_load_n(&until_failure, __ATOMIC_RELAXED);
    if (left == SIZE_MAX)
        return false;
    if (left > 0) {
        __atomic_store_n(&until_failure, left - 1, __ATOMIC_RELAXED);
        return false;
    }
    if (!is_persistent)
        __atomic_store_n(&until_failure, SIZE_MAX, __ATOMIC_RELAXED);
    errno = ENOMEM;
    return true;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);

void *__wrap_malloc(size_t size) {
    return must_fail() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
    return must_fail() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size) {
    return must_fail() ? NULL : __real_realloc(memory, size);
}

// What the bare conversation comes to at each step, and what it may come to when memory runs out.
static bool is_fair(int status, int usual) {
    return status == usual || status == TUCK_CLIENT_NO_MEMORY;
}

static void converse(const struct tuck_client_options *options, int fd) {
    struct tuck_client_request request = TUCK_CLIENT_REQUEST_INIT;
    struct world_outcome put = {0}, canceled = {0};
    struct tuck_client_answer answer;
    struct tuck_client_error error = {0};
    struct tuck_client *client = NULL;
    struct tuck_action_id action = unit_action(1);
    uint64_t ticket;
    int status = tuck_client_open(options, &client, &error);
    assert_true(is_fair(status, TUCK_CLIENT_OK));
    if (status != TUCK_CLIENT_OK) {
        assert_null(client);
        return;
    }
    request.command = TUCK_CLIENT_PUT;
    request.action = action.bytes;
    request.body = tuck_client_file(fd);
    int submitted = tuck_client_submit(client, &request, world_done, &put, NULL, &error);
    assert_true(is_fair(submitted, TUCK_CLIENT_OK));
    assert_int_equal(tuck_client_wait(client, 60000), TUCK_CLIENT_OK);
    if (submitted == TUCK_CLIENT_OK)
        assert_true(put.is_done && is_fair(put.status, TUCK_CLIENT_OK));
    bool is_stored = submitted == TUCK_CLIENT_OK && put.status == TUCK_CLIENT_OK;
    status = tuck_client_get(client, action.bytes, &answer, &error);
    assert_true(is_fair(status, is_stored ? TUCK_CLIENT_OK : TUCK_CLIENT_MISS) ||
                status == TUCK_CLIENT_OK);
    request.command = TUCK_CLIENT_GET;
    status = tuck_client_submit(client, &request, world_done, &canceled, &ticket, &error);
    assert_true(is_fair(status, TUCK_CLIENT_OK));
    if (status == TUCK_CLIENT_OK)
        assert_true(is_fair(tuck_client_cancel(client, ticket), TUCK_CLIENT_OK));
    assert_int_equal(tuck_client_wait(client, 60000), TUCK_CLIENT_OK);
    status = tuck_client_close(client, &error);
    assert_true(is_fair(status, TUCK_CLIENT_OK));
    tuck_client_free(client);
}

static void each_allocation_may_fail(void **state) {
    (void)state;
    struct tuck_client_options options = world_options(BAD("hello", "serve"));
    int fd = world_open_file("body", 200000);
    options.check = TUCK_CLIENT_CHECK_BYTES;
    options.stderr_to = TUCK_CLIENT_STDERR_CAPTURE;
    for (int round = 0; round < 2; round++) {
        bool has_failed = true;
        is_persistent = round == 1;
        for (size_t n = 0; has_failed; n++) {
            __atomic_store_n(&until_failure, n, __ATOMIC_RELAXED);
            converse(&options, fd);
            has_failed = is_persistent
                             ? __atomic_load_n(&until_failure, __ATOMIC_RELAXED) == 0
                             : __atomic_load_n(&until_failure, __ATOMIC_RELAXED) == SIZE_MAX;
            __atomic_store_n(&until_failure, SIZE_MAX, __ATOMIC_RELAXED);
            if (!has_failed)
                print_message("# %zu allocations\n", n);
            assert_true(n < 200);
        }
    }
    (void)close(fd);
}

static const struct CMUnitTest tests[] = {
    CASE("L-19", each_allocation_may_fail),
};

UNIT_MAIN(tests)

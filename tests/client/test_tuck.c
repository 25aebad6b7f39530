// SPDX-License-Identifier: MIT
/*
 * The client and the real helper, tuck: what is put comes back, from many threads and many processes.
 */
#include "tests/client/world.h"

#include "lib/base/digest.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

static const char *const tuck_argv[] = {TUCK_BIN, NULL};

static struct tuck_client *open_tuck(uint32_t flags) {
    struct tuck_client_options options = world_options(tuck_argv);
    assert_int_equal(setenv("GOCACHE", world_dir(), 1), 0);
    options.flags = flags;
    options.check = TUCK_CLIENT_CHECK_BYTES;
    options.timeout_ms = 120000;
    return world_open(&options);
}

static void what_is_put_comes_back_in_this_run_and_the_next(void **state) {
    (void)state;
    struct tuck_client_answer put, got;
    struct tuck_client_error error;
    struct tuck_action_id action = unit_action(1);
    struct tuck_client *client = open_tuck(0);
    for (int command = TUCK_CLIENT_GET; command <= TUCK_CLIENT_CLOSE; command++)
        assert_int_equal(tuck_client_can(client, command), 1);
    world_get(client, TUCK_CLIENT_MISS, NULL);
    int status = tuck_client_put_memory(client, action.bytes, "hello", 5, &put, &error);
    world_expect(status, TUCK_CLIENT_OK, &error, NULL);
    for (int run = 0; run < 2; run++) {
        status = tuck_client_get(client, action.bytes, &got, &error);
        world_expect(status, TUCK_CLIENT_OK, &error, NULL);
        assert_string_equal(got.path, put.path);
        assert_memory_equal(got.output, put.output, 32);
        assert_true(got.size == 5 && got.has_time && got.time_s > 1700000000);
        world_close(client, TUCK_CLIENT_OK);
        client = open_tuck(TUCK_CLIENT_THREAD);
    }
    world_close(client, TUCK_CLIENT_OK);
}

static void a_body_of_70_mib_comes_back(void **state) {
    (void)state;
    struct tuck_client_answer put, got;
    struct tuck_client_error error;
    struct tuck_action_id action = unit_action(1);
    int fd = world_open_file("large", 70 << 20);
    struct tuck_client *client = open_tuck(0);
    int status = tuck_client_put_fd(client, action.bytes, fd, &put, &error);
    world_expect(status, TUCK_CLIENT_OK, &error, NULL);
    status = tuck_client_get(client, action.bytes, &got, &error); // hashes the file
    world_expect(status, TUCK_CLIENT_OK, &error, NULL);
    assert_memory_equal(got.output, put.output, 32);
    assert_int_equal(got.size, 70 << 20);
    world_close(client, TUCK_CLIENT_OK);
    (void)close(fd);
}

static void a_body_with_another_hash_is_refused_by_the_helper_if_the_client_does_not(void **state) {
    (void)state;
    struct tuck_client_request request = TUCK_CLIENT_REQUEST_INIT;
    struct tuck_client_answer answer;
    struct tuck_client_error error;
    struct tuck_action_id action = unit_action(1);
    struct tuck_output_id output = unit_output(1);
    struct tuck_client *client = open_tuck(0);
    request.command = TUCK_CLIENT_PUT;
    request.action = action.bytes;
    request.output = output.bytes;
    request.body = tuck_client_memory("hello", 5);
    int status = tuck_client_call(client, &request, &answer, &error);
    world_expect(status, TUCK_CLIENT_BAD_BODY, &error, "another SHA-256");
    request.body.flags = TUCK_CLIENT_BODY_TRUSTED;
    status = tuck_client_call(client, &request, &answer, &error);
    world_expect(status, TUCK_CLIENT_REFUSED, &error, NULL);
    world_get(client, TUCK_CLIENT_MISS, NULL);
    world_close(client, TUCK_CLIENT_OK);
}

static int64_t break_in_the_middle(void *arg, void *buffer, size_t room) {
    uint64_t *left = arg;
    if (*left == 0)
        return -1;
    size_t len = *left < room ? (size_t)*left : room;
    memset(buffer, 'x', len);
    *left -= len;
    return (int64_t)len;
}

static void a_body_that_breaks_off_is_not_in_the_cache_of_the_next_run(void **state) {
    (void)state;
    struct tuck_client_request request = TUCK_CLIENT_REQUEST_INIT;
    struct tuck_client_answer answer;
    struct tuck_client_error error;
    struct tuck_action_id action = unit_action(1);
    struct tuck_output_id output = unit_output(1);
    uint64_t left = 500000;
    struct tuck_client_options options = world_options(tuck_argv);
    assert_int_equal(setenv("GOCACHE", world_dir(), 1), 0);
    options.stderr_to = TUCK_CLIENT_STDERR_CAPTURE; // tuck says that it was left in mid-body
    struct tuck_client *client = world_open(&options);
    request.command = TUCK_CLIENT_PUT;
    request.action = action.bytes;
    request.output = output.bytes;
    request.body = tuck_client_source(break_in_the_middle, &left, 1000000);
    int status = tuck_client_call(client, &request, &answer, &error);
    world_expect(status, TUCK_CLIENT_BAD_BODY, &error, "source failed");
    world_close(client, TUCK_CLIENT_BROKEN_OFF);
    client = open_tuck(0);
    world_get(client, TUCK_CLIENT_MISS, NULL);
    world_close(client, TUCK_CLIENT_OK);
}

struct worker {
    pthread_t thread;
    struct tuck_client *client;
    size_t number;
    const char *why;
};

// All threads put the same outputs at the same time; a reader never sees a part of one.
static void *put_the_same(void *arg) {
    struct worker *worker = arg;
    enum { SIZE = 100000 };
    uint8_t *body = malloc(SIZE);
    for (size_t i = 0; i < 10 && body && !worker->why; i++) {
        struct tuck_client_answer put, got;
        struct tuck_client_error error;
        struct tuck_action_id action = unit_action(worker->number * 100 + i);
        memset(body, (int)i, SIZE);
        int status = tuck_client_put_memory(worker->client, action.bytes, body, SIZE, &put, &error);
        if (status == 0) // checks the bytes
            status = tuck_client_get(worker->client, action.bytes, &got, &error);
        if (status != 0)
            worker->why = tuck_client_status_name(status);
        else if (memcmp(got.output, put.output, 32) != 0 || strcmp(got.path, put.path) != 0)
            worker->why = "another output";
    }
    free(body);
    return NULL;
}

static void the_same_outputs_are_put_by_many_at_once(void **state) {
    (void)state;
    struct worker workers[12] = {{0}};
    struct tuck_client *clients[3] = {open_tuck(0), open_tuck(TUCK_CLIENT_THREAD), open_tuck(0)};
    const char *why = NULL;
    for (size_t i = 0; i < 12; i++) {
        workers[i].client = clients[i % 3];
        workers[i].number = i;
        assert_int_equal(pthread_create(&workers[i].thread, NULL, put_the_same, &workers[i]), 0);
    }
    for (size_t i = 0; i < 12; i++) {
        (void)pthread_join(workers[i].thread, NULL);
        why = workers[i].why ? workers[i].why : why;
    }
    if (why)
        print_message("# %s\n", why);
    assert_null(why);
    for (size_t i = 0; i < 3; i++)
        world_close(clients[i], TUCK_CLIENT_OK);
}

static void the_file_of_an_answer_is_there_until_close_and_after(void **state) {
    (void)state;
    struct tuck_client_answer answers[50];
    struct tuck_client_error error;
    struct tuck_client *client = open_tuck(0);
    for (uint64_t i = 0; i < 50; i++) {
        struct tuck_action_id action = unit_action(i);
        int status =
            tuck_client_put_memory(client, action.bytes, &i, sizeof(i), &answers[i], &error);
        world_expect(status, TUCK_CLIENT_OK, &error, NULL);
    }
    for (int round = 0; round < 2; round++) {
        for (uint64_t i = 0; i < 50; i++) {
            size_t len;
            uint8_t *stored = unit_read_file(answers[i].path, &len);
            assert_int_equal(len, sizeof(i));
            assert_memory_equal(stored, &i, sizeof(i));
            free(stored);
        }
        if (round == 0)
            world_close(client, TUCK_CLIENT_OK);
    }
}

static void strict_finds_nothing_to_say_about_tuck(void **state) {
    (void)state;
    struct tuck_client_options options = world_options(tuck_argv);
    assert_int_equal(setenv("GOCACHE", world_dir(), 1), 0);
    options.mode = TUCK_CLIENT_STRICT; // also: no empty line behind the requests
    for (uint32_t names = TUCK_CLIENT_OUTPUT_ID; names <= TUCK_CLIENT_BOTH_IDS; names++) {
        options.names = names;
        struct tuck_client *client = world_open(&options);
        world_put(client, TUCK_CLIENT_OK, NULL);
        world_get(client, TUCK_CLIENT_OK, NULL);
        world_close(client, TUCK_CLIENT_OK);
    }
}

static const struct CMUnitTest tests[] = {
    CASE("L-40", what_is_put_comes_back_in_this_run_and_the_next),
    CASE("L-39 PT6", a_body_of_70_mib_comes_back),
    CASE("L-38 PT8", a_body_with_another_hash_is_refused_by_the_helper_if_the_client_does_not),
    CASE("L-38 PT8", a_body_that_breaks_off_is_not_in_the_cache_of_the_next_run),
    CASE("L-41 PT13", the_same_outputs_are_put_by_many_at_once),
    CASE("L-40 PT14", the_file_of_an_answer_is_there_until_close_and_after),
    CASE("L-40 PT17", strict_finds_nothing_to_say_about_tuck),
};

UNIT_MAIN(tests)

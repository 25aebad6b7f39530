// SPDX-License-Identifier: MIT
/*
 * Who drives: event loops, threads that wait, threads that submit, the client's own thread, and all of them at once.
 * Run by the thread sanitizer, too (tests/run --tsan).
 */
#include "tests/client/world.h"

#include "lib/base/digest.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>

// --- Event loops ---------------------------------------------------------------------------------

// A host's loop: nothing but poll and dispatch, until that many are done. Returns the last status.
static int loop_until(struct tuck_client *client, size_t done) {
    struct tuck_client_error error;
    int status = TUCK_CLIENT_OK;
    uint64_t end = world_ms() + 30000;
    while (world_count_done() < done && status != TUCK_CLIENT_ENDED) {
        struct pollfd wait = {.fd = tuck_client_fd(client), .events = POLLIN};
        int ready = poll(&wait, 1, 30000);
        assert_true(ready == 1);
        status = tuck_client_dispatch(client, &error);
        assert_true(world_ms() < end);
    }
    return status;
}

static bool is_quiet(struct tuck_client *client) {
    struct pollfd wait = {.fd = tuck_client_fd(client), .events = POLLIN};
    return poll(&wait, 1, 30) == 0;
}

static void one_descriptor_and_dispatch_are_all_that_an_event_loop_needs(void **state) {
    (void)state;
    struct tuck_client_options options = world_options(BAD("sleep:30", "hello", "serve"));
    struct world_outcome get, put, again, closed = {0};
    struct tuck_client_request request = TUCK_CLIENT_REQUEST_INIT;
    struct tuck_client_error error;
    struct tuck_client_end end;
    int fd = world_open_file("body", 3 << 20);
    options.flags = TUCK_CLIENT_NO_WAIT;
    struct tuck_client *client = world_open(&options);
    int own = tuck_client_fd(client);
    assert_true(own > 2);
    world_submit_get(client, 1, 0, &get);
    world_submit_put(client, 1, tuck_client_file(fd), &put);
    assert_int_equal(loop_until(client, 2), 0);
    world_expect(get.status, TUCK_CLIENT_MISS, &get.error, NULL);
    world_expect(put.status, TUCK_CLIENT_OK, &put.error, NULL);
    assert_true(is_quiet(client)); // nothing to do is no work
    assert_int_equal(tuck_client_fd(client), own);
    world_submit_get(client, 1, 0, &again);
    assert_int_equal(loop_until(client, 3), 0);
    world_expect(again.status, TUCK_CLIENT_OK, &again.error, NULL);
    assert_true(is_quiet(client));
    request.command = TUCK_CLIENT_CLOSE;
    assert_int_equal(tuck_client_submit(client, &request, world_done, &closed, NULL, &error), 0);
    (void)loop_until(client, 4);
    world_expect(closed.status, TUCK_CLIENT_OK, &closed.error, NULL);
    assert_int_equal(tuck_client_dispatch(client, &error), TUCK_CLIENT_ENDED);
    tuck_client_end(client, &end);
    assert_true(end.how == TUCK_CLIENT_END_EXIT && end.status == 0);
    tuck_client_free(client);
    (void)close(fd);
}

static void an_event_loop_needs_no_timer_for_limits_and_ends(void **state) {
    (void)state;
    struct world_outcome late, never, closed = {0};
    struct tuck_client_request request = TUCK_CLIENT_REQUEST_INIT;
    struct tuck_client_error error;
    struct tuck_client_options options = world_options(BAD("ignore:15", "hello", "pause"));
    options.close_ms = options.kill_ms = 40;
    struct tuck_client *client = world_open(&options);
    world_submit_get(client, 1, 40, &late);
    assert_int_equal(loop_until(client, 1), 0);
    world_expect(late.status, TUCK_CLIENT_TIMEOUT, &late.error, NULL);
    world_submit_get(client, 2, TUCK_CLIENT_NO_LIMIT, &never);
    request.command = TUCK_CLIENT_CLOSE;
    assert_int_equal(tuck_client_submit(client, &request, world_done, &closed, NULL, &error), 0);
    (void)loop_until(client, 3);
    world_expect(never.status, TUCK_CLIENT_TIMEOUT, &never.error, NULL);
    world_expect(closed.status, TUCK_CLIENT_FORCED, &closed.error, "SIGKILL");
    tuck_client_free(client);
}

static void dispatch_tells_of_a_failure_until_the_helper_is_waited_for(void **state) {
    (void)state;
    struct world_outcome get;
    struct tuck_client_error error;
    struct tuck_client *client =
        world_open_bad(BAD("catch:15:told", "hello", "read", "say:what?", "pause"));
    world_submit_get(client, 1, 0, &get);
    int status = loop_until(client, 1);
    world_expect(get.status, TUCK_CLIENT_NOT_JSON, &get.error, NULL);
    while (status != TUCK_CLIENT_ENDED) {
        struct pollfd wait = {.fd = tuck_client_fd(client), .events = POLLIN};
        assert_int_equal(poll(&wait, 1, 20000), 1);
        status = tuck_client_dispatch(client, &error);
        if (status < 0)
            world_expect(status, TUCK_CLIENT_NOT_JSON, &error, NULL);
    }
    assert_true(is_quiet(client));
    tuck_client_free(client);
}

static void the_descriptor_can_be_watched_by_epoll(void **state) {
    (void)state;
    struct world_outcome get;
    struct tuck_client_error error;
    struct epoll_event event = {.events = EPOLLIN};
    int outer = epoll_create1(EPOLL_CLOEXEC);
    struct tuck_client *client = world_open_bad(BAD("hello", "serve"));
    assert_int_equal(epoll_ctl(outer, EPOLL_CTL_ADD, tuck_client_fd(client), &event), 0);
    for (int i = 0; i < 50; i++) {
        size_t before = world_count_done();
        world_submit_get(client, 1, 0, &get);
        while (world_count_done() == before) {
            assert_int_equal(epoll_wait(outer, &event, 1, 20000), 1);
            assert_int_equal(tuck_client_dispatch(client, &error), 0);
        }
        assert_int_equal(get.status, TUCK_CLIENT_MISS);
    }
    world_close(client, TUCK_CLIENT_OK);
    (void)close(outer);
}

// --- Callbacks -----------------------------------------------------------------------------------

struct chain {
    struct tuck_client *client;
    size_t left;
    int waiting_status, dispatch_status, submit_status;
};

static void go_on(void *arg, int status, const struct tuck_client_answer *answer,
                  const struct tuck_client_error *error) {
    struct chain *chain = arg;
    struct tuck_client_request request = TUCK_CLIENT_REQUEST_INIT;
    struct tuck_action_id action = unit_action(chain->left);
    struct tuck_client_answer other;
    (void)answer, (void)error;
    if (status != TUCK_CLIENT_MISS || chain->left == 0)
        return;
    chain->left--;
    request.command = TUCK_CLIENT_GET;
    request.action = action.bytes;
    chain->waiting_status |=
        tuck_client_call(chain->client, &request, &other, NULL) != TUCK_CLIENT_USAGE;
    chain->waiting_status |= tuck_client_wait(chain->client, 0) != TUCK_CLIENT_USAGE;
    chain->dispatch_status |= tuck_client_dispatch(chain->client, NULL) != TUCK_CLIENT_USAGE;
    chain->submit_status |= tuck_client_submit(chain->client, &request, go_on, chain, NULL, NULL);
}

static void a_callback_may_submit_the_next_request_and_must_not_wait(void **state) {
    (void)state;
    static const uint32_t flags[] = {0, TUCK_CLIENT_THREAD};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(flags); i++) {
        struct tuck_client_options options = world_options(BAD("hello", "serve"));
        struct tuck_client_request request = TUCK_CLIENT_REQUEST_INIT;
        struct tuck_action_id action = unit_action(1);
        options.flags = flags[i];
        options.max_pending = 1; // the callback's own request counts no more
        struct tuck_client *client = world_open(&options);
        struct chain chain = {client, 200, 0, 0, 0};
        request.command = TUCK_CLIENT_GET;
        request.action = action.bytes;
        assert_int_equal(tuck_client_submit(client, &request, go_on, &chain, NULL, NULL), 0);
        assert_int_equal(tuck_client_wait(client, 60000), TUCK_CLIENT_OK);
        assert_true(chain.left == 0 && !chain.waiting_status && !chain.dispatch_status &&
                    !chain.submit_status);
        world_close(client, TUCK_CLIENT_OK);
    }
}

static void cancel_inside(void *arg, int status, const struct tuck_client_answer *answer,
                          const struct tuck_client_error *error) {
    struct chain *chain = arg;
    (void)status, (void)answer, (void)error;
    for (uint64_t ticket = 1; ticket <= chain->left; ticket++)
        chain->submit_status |= tuck_client_cancel(chain->client, ticket);
}

static void a_callback_may_cancel_what_else_waits(void **state) {
    (void)state;
    struct world_outcome others[20];
    struct tuck_client_request request = TUCK_CLIENT_REQUEST_INIT;
    struct tuck_action_id action = unit_action(1);
    struct tuck_client *client =
        world_open_bad(BAD("hello", "read:21", "say:{\"ID\":$1,\"Miss\":true}", "eof"));
    struct chain chain = {client, 21, 0, 0, 0};
    request.command = TUCK_CLIENT_GET;
    request.action = action.bytes;
    assert_int_equal(tuck_client_submit(client, &request, cancel_inside, &chain, NULL, NULL), 0);
    for (size_t i = 0; i < 20; i++)
        world_submit_get(client, i, 0, &others[i]);
    assert_int_equal(tuck_client_wait(client, 60000), TUCK_CLIENT_OK);
    for (size_t i = 0; i < 20; i++)
        assert_int_equal(others[i].status, TUCK_CLIENT_CANCELED);
    assert_int_equal(chain.submit_status, 0);
    tuck_client_free(client);
}

// --- Threads -------------------------------------------------------------------------------------

enum { THREADS = 16 };

struct worker {
    pthread_t thread;
    struct tuck_client *client;
    size_t number, rounds;
    int allowed; // a failure that may happen, or 0
    const char *why;
};

// Puts bodies of its own and gets them back; anything mixed up between threads shows.
static void *put_and_get(void *arg) {
    struct worker *worker = arg;
    static const size_t sizes[] = {0, 1, 700, 5000, 60000, 200000};
    uint8_t *body = malloc(200000);
    struct tuck_client_answer answer, found;
    struct tuck_client_error error;
    for (size_t i = 0; i < worker->rounds && !worker->why; i++) {
        size_t len = sizes[(i + worker->number) % TUCK_ARRAY_LEN(sizes)];
        struct tuck_action_id action = unit_action(worker->number << 32 | i);
        memset(body, (int)(worker->number * 7 + i), len);
        int status =
            tuck_client_put_memory(worker->client, action.bytes, body, len, &answer, &error);
        if (status == 0) // the bad helper looks at no hash, so the client has to
            status = tuck_client_get(worker->client, action.bytes, &found, &error);
        if (status == 0 && (found.size != len || memcmp(found.output, answer.output, 32) != 0 ||
                            strcmp(found.path, answer.path) != 0))
            worker->why = "another answer";
        else if (status != 0 && status != worker->allowed)
            worker->why = tuck_client_status_name(status);
    }
    free(body);
    return NULL;
}

static void run_workers(struct worker *workers, struct tuck_client *client, size_t rounds,
                        void *(*body)(void *)) {
    for (size_t i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.client = client, .number = i + 1, .rounds = rounds};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, body, &workers[i]), 0);
    }
}

// All of them end before anything is said: a test that fails leaves its stack.
static void join_workers(struct worker *workers) {
    const char *why = NULL;
    for (size_t i = 0; i < THREADS; i++) {
        (void)pthread_join(workers[i].thread, NULL);
        if (workers[i].why)
            why = workers[i].why;
    }
    if (why)
        print_message("# a thread says: %s\n", why);
    assert_null(why);
}

static void sixteen_threads_use_one_connection(void **state) {
    (void)state;
    static const uint32_t flags[] = {0, TUCK_CLIENT_THREAD};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(flags); i++) {
        struct worker workers[THREADS];
        struct tuck_client_options options = world_options(BAD("hello", "serve"));
        options.flags = flags[i];
        options.check = TUCK_CLIENT_CHECK_BYTES;
        options.timeout_ms = 60000;
        struct tuck_client *client = world_open(&options);
        assert_int_equal(tuck_client_fd(client) < 0, flags[i] == TUCK_CLIENT_THREAD);
        run_workers(workers, client, 12, put_and_get);
        join_workers(workers);
        world_close(client, TUCK_CLIENT_OK);
    }
}

static void *submit_many(void *arg) {
    struct worker *worker = arg;
    struct tuck_client_request request = TUCK_CLIENT_REQUEST_INIT;
    struct world_outcome *outcomes = calloc(worker->rounds, sizeof(*outcomes));
    request.command = TUCK_CLIENT_GET;
    for (size_t i = 0; i < worker->rounds; i++) {
        struct tuck_action_id action = unit_action(i);
        uint64_t ticket;
        request.action = action.bytes;
        int status =
            tuck_client_submit(worker->client, &request, world_done, &outcomes[i], &ticket, NULL);
        if (status == TUCK_CLIENT_FULL) { // the others' work is one's own
            (void)tuck_client_wait(worker->client, 10);
            i--;
        } else if (status != 0) {
            worker->why = tuck_client_status_name(status);
        } else if (i % 5 == 0) {
            (void)tuck_client_cancel(worker->client, ticket);
        }
    }
    if (tuck_client_wait(worker->client, 60000) != 0)
        worker->why = "the requests do not end";
    // Others may have submitted since; one's own are done.
    for (size_t i = 0; i < worker->rounds; i++)
        if (!outcomes[i].is_done ||
            (outcomes[i].status != TUCK_CLIENT_MISS && outcomes[i].status != TUCK_CLIENT_CANCELED))
            worker->why = "a request was not answered";
    free(outcomes);
    return NULL;
}

static void sixteen_threads_submit_and_cancel(void **state) {
    (void)state;
    static const uint32_t flags[] = {0, TUCK_CLIENT_THREAD};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(flags); i++) {
        struct worker workers[THREADS];
        struct tuck_client_options options = world_options(BAD("hello", "serve"));
        options.flags = flags[i];
        options.max_pending = 64;
        struct tuck_client *client = world_open(&options);
        run_workers(workers, client, 100, submit_many);
        join_workers(workers);
        world_close(client, TUCK_CLIENT_OK);
    }
}

struct looping {
    struct tuck_client *client;
    int limit_ms;
    bool stop;
};

static void *loop_of_a_host(void *arg) {
    struct looping *looping = arg;
    while (!__atomic_load_n(&looping->stop, __ATOMIC_ACQUIRE)) {
        struct pollfd wait = {.fd = tuck_client_fd(looping->client), .events = POLLIN};
        if (poll(&wait, 1, looping->limit_ms ? looping->limit_ms : 20) > 0)
            (void)tuck_client_dispatch(looping->client, NULL);
    }
    return NULL;
}

static void an_event_loop_and_threads_that_wait_get_along(void **state) {
    (void)state;
    struct worker workers[THREADS];
    struct looping loops[2] = {{0}};
    pthread_t threads[2];
    struct tuck_client_options options = world_options(BAD("hello", "serve"));
    options.timeout_ms = 60000;
    struct tuck_client *client = world_open(&options);
    for (size_t i = 0; i < 2; i++) {
        loops[i].client = client;
        assert_int_equal(pthread_create(&threads[i], NULL, loop_of_a_host, &loops[i]), 0);
    }
    run_workers(workers, client, 8, put_and_get);
    join_workers(workers);
    run_workers(workers, client, 30, submit_many);
    join_workers(workers);
    for (size_t i = 0; i < 2; i++) {
        __atomic_store_n(&loops[i].stop, true, __ATOMIC_RELEASE);
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    world_close(client, TUCK_CLIENT_OK);
}

struct flagged {
    struct worker worker;
    size_t done;
};

static void count_one(void *arg, int status, const struct tuck_client_answer *answer,
                      const struct tuck_client_error *error) {
    struct flagged *flagged = arg;
    (void)answer, (void)error;
    if (status != TUCK_CLIENT_MISS)
        flagged->worker.why = tuck_client_status_name(status);
    (void)__atomic_add_fetch(&flagged->done, 1, __ATOMIC_RELEASE);
}

// One request at a time, without ever driving: only the host's loop does that.
static void *submit_and_look_on(void *arg) {
    struct flagged *flagged = arg;
    struct tuck_client_request request = TUCK_CLIENT_REQUEST_INIT;
    struct tuck_action_id action = unit_action(flagged->worker.number);
    request.command = TUCK_CLIENT_GET;
    request.action = action.bytes;
    uint64_t until = world_ms() + 2500;
    for (size_t i = 0; world_ms() < until && !flagged->worker.why; i++) {
        if (tuck_client_submit(flagged->worker.client, &request, count_one, flagged, NULL, NULL) !=
            0)
            flagged->worker.why = "cannot submit";
        uint64_t end = world_ms() + 30000;
        while (__atomic_load_n(&flagged->done, __ATOMIC_ACQUIRE) <= i && world_ms() < end)
            (void)sched_yield();
        if (world_ms() >= end)
            flagged->worker.why = "forgotten";
    }
    return NULL;
}

static void what_is_submitted_during_a_step_is_not_forgotten(void **state) {
    (void)state;
    enum { COUNT = 3 };
    static struct flagged flagged[COUNT];
    struct looping looping = {0};
    pthread_t loop;
    const char *why = NULL;
    // The loop waits as long as it may: nothing but the descriptor wakes it.
    looping.client = world_open_bad(BAD("hello", "serve"));
    looping.limit_ms = 30000;
    assert_int_equal(pthread_create(&loop, NULL, loop_of_a_host, &looping), 0);
    for (size_t i = 0; i < COUNT; i++) {
        flagged[i] = (struct flagged){.worker = {.client = looping.client, .number = i}};
        assert_int_equal(
            pthread_create(&flagged[i].worker.thread, NULL, submit_and_look_on, &flagged[i]), 0);
    }
    for (size_t i = 0; i < COUNT; i++) {
        (void)pthread_join(flagged[i].worker.thread, NULL);
        why = flagged[i].worker.why ? flagged[i].worker.why : why;
    }
    __atomic_store_n(&looping.stop, true, __ATOMIC_RELEASE);
    (void)tuck_client_cancel(looping.client, 1); // wakes the loop
    (void)pthread_join(loop, NULL);
    world_close(looping.client, TUCK_CLIENT_OK);
    if (why)
        print_message("# a thread says: %s\n", why);
    assert_null(why);
}

static void *close_it(void *arg) {
    struct worker *worker = arg;
    (void)nanosleep(&(struct timespec){.tv_nsec = (long)(worker->rounds * 1000000)}, NULL);
    worker->allowed = tuck_client_close(worker->client, NULL);
    return NULL;
}

static void close_in_the_midst_of_everything_leaves_nobody_waiting(void **state) {
    (void)state;
    for (size_t delay = 0; delay < 12; delay += 3)
        for (uint32_t flags = 0; flags <= TUCK_CLIENT_THREAD; flags++) {
            struct worker workers[THREADS], closer;
            struct tuck_client_options options = world_options(BAD("hello", "serve"));
            options.flags = flags;
            struct tuck_client *client = world_open(&options);
            closer = (struct worker){.client = client, .rounds = delay};
            for (size_t i = 0; i < THREADS; i++) {
                workers[i] = (struct worker){
                    .client = client, .number = i + 1, .rounds = 20, .allowed = TUCK_CLIENT_CLOSED};
                assert_int_equal(pthread_create(&workers[i].thread, NULL, put_and_get, &workers[i]),
                                 0);
            }
            assert_int_equal(pthread_create(&closer.thread, NULL, close_it, &closer), 0);
            join_workers(workers);
            assert_int_equal(pthread_join(closer.thread, NULL), 0);
            assert_int_equal(closer.allowed, TUCK_CLIENT_OK);
            tuck_client_free(client);
        }
}

static void a_helper_that_dies_in_the_midst_of_everything_leaves_nobody_waiting(void **state) {
    (void)state;
    static const char *const ends[] = {"exit:3", "close:1", "say:what?", "raise:9"};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(ends); i++)
        for (uint32_t flags = 0; flags <= TUCK_CLIENT_THREAD; flags++) {
            struct worker workers[THREADS];
            struct tuck_client_options options =
                world_options(BAD("hello", "serve:40", ends[i], "eof"));
            static const int statuses[] = {TUCK_CLIENT_EXITED, TUCK_CLIENT_STDOUT_ENDED,
                                           TUCK_CLIENT_NOT_JSON, TUCK_CLIENT_EXITED};
            options.flags = flags;
            struct tuck_client *client = world_open(&options);
            for (size_t j = 0; j < THREADS; j++) {
                workers[j] = (struct worker){
                    .client = client, .number = j + 1, .rounds = 20, .allowed = statuses[i]};
                assert_int_equal(pthread_create(&workers[j].thread, NULL, put_and_get, &workers[j]),
                                 0);
            }
            join_workers(workers);
            tuck_client_free(client);
        }
}

static void *waiting_gets(void *arg) {
    struct worker *worker = arg;
    struct tuck_client_request request = TUCK_CLIENT_REQUEST_INIT;
    struct tuck_client_answer answer;
    struct tuck_action_id action = unit_action(worker->number);
    request.command = TUCK_CLIENT_GET;
    request.action = action.bytes;
    request.timeout_ms = 20 + 5 * (uint32_t)worker->number;
    for (size_t i = 0; i < worker->rounds; i++) {
        uint64_t begin = world_ms();
        if (tuck_client_call(worker->client, &request, &answer, NULL) != TUCK_CLIENT_TIMEOUT)
            worker->why = "no time-out";
        if (world_ms() - begin < request.timeout_ms)
            worker->why = "too early";
    }
    return NULL;
}

static void each_of_sixteen_threads_has_its_own_time_limit(void **state) {
    (void)state;
    struct worker workers[THREADS];
    struct tuck_client *client = world_open_bad(BAD("hello", "eof"));
    uint64_t begin = world_ms();
    run_workers(workers, client, 3, waiting_gets);
    join_workers(workers);
    assert_true(world_ms() - begin < 15000);
    tuck_client_free(client);
}

static void *two_clients(void *arg) {
    struct worker *worker = arg;
    struct tuck_client_options options = world_options(BAD("hello", "serve"));
    struct tuck_client *a = NULL, *b = NULL;
    options.flags = worker->number % 2 ? TUCK_CLIENT_THREAD : 0;
    if (tuck_client_open(&options, &a, NULL) != 0 || tuck_client_open(&options, &b, NULL) != 0) {
        worker->why = "cannot open";
        return NULL;
    }
    struct worker first = {.client = a, .number = worker->number, .rounds = 3};
    struct worker second = {.client = b, .number = worker->number + 100, .rounds = 3};
    (void)put_and_get(&first);
    (void)put_and_get(&second);
    worker->why = first.why ? first.why : second.why;
    if (tuck_client_close(a, NULL) != 0 || tuck_client_close(b, NULL) != 0)
        worker->why = "cannot close";
    tuck_client_free(a);
    tuck_client_free(b);
    return NULL;
}

static void many_clients_live_in_one_process(void **state) {
    (void)state;
    struct worker workers[THREADS];
    run_workers(workers, NULL, 1, two_clients);
    join_workers(workers);
}

static void nothing(int number) {
    (void)number;
}

static void signals_that_interrupt_waits_change_nothing(void **state) {
    (void)state;
    struct itimerspec often = {.it_interval = {.tv_nsec = 200000}, .it_value = {.tv_nsec = 200000}};
    struct sigaction handler = {.sa_handler = nothing}; // no SA_RESTART
    struct worker worker = {.number = 1, .rounds = 12};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    timer_t timer;
    assert_int_equal(sigaction(SIGUSR1, &handler, NULL), 0);
    assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
    assert_int_equal(timer_settime(timer, 0, &often, NULL), 0);
    struct tuck_client *client = world_open_bad(BAD("hello", "serve"));
    worker.client = client;
    (void)put_and_get(&worker);
    assert_null(worker.why);
    world_close(client, TUCK_CLIENT_OK);
    assert_int_equal(timer_delete(timer), 0); // one more may be on its way, so the handler stays
}

static const struct CMUnitTest tests[] = {
    CASE("L-41", one_descriptor_and_dispatch_are_all_that_an_event_loop_needs),
    CASE("L-18 L-32", an_event_loop_needs_no_timer_for_limits_and_ends),
    CASE("L-10", dispatch_tells_of_a_failure_until_the_helper_is_waited_for),
    CASE("L-41", the_descriptor_can_be_watched_by_epoll),
    CASE("L-41", a_callback_may_submit_the_next_request_and_must_not_wait),
    CASE("L-18", a_callback_may_cancel_what_else_waits),
    CASE("L-41", sixteen_threads_use_one_connection),
    CASE("L-41 L-18", sixteen_threads_submit_and_cancel),
    CASE("L-41", an_event_loop_and_threads_that_wait_get_along),
    CASE("L-41", what_is_submitted_during_a_step_is_not_forgotten),
    CASE("L-43", close_in_the_midst_of_everything_leaves_nobody_waiting),
    CASE("L-17 PT16", a_helper_that_dies_in_the_midst_of_everything_leaves_nobody_waiting),
    CASE("L-18", each_of_sixteen_threads_has_its_own_time_limit),
    CASE("L-36", many_clients_live_in_one_process),
    CASE("L-41", signals_that_interrupt_waits_change_nothing),
};

UNIT_MAIN(tests)

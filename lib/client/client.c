// SPDX-License-Identifier: MIT
/*
 * The public functions: threads around the engine, which knows of none.
 *
 *     any thread                     the one that drives
 *     ──────────                     ───────────────────
 *     submit ─► job ─► inbox  ─────► taken in, written, answered
 *     call   ─► job ─► inbox  ─────►   │
 *       waits or drives  ◄── waiter ───┤ deliver
 *     callback ◄───────────────────────┘
 *
 * Driving is a role, given up after each step with the lock held. Who waits for something takes it when
 * it is free, and when leaving wakes another who waits. Only the inbox needs a call to a driver that
 * sleeps; everything else is a step's own doing.
 */
#include "lib/base/clock.h"
#include "lib/base/io.h"
#include "lib/base/thread.h"
#include "lib/client/engine.h"
#include "lib/client/words.h"

#include <errno.h>

#define FOREVER UINT64_MAX

/** One thread that waits: for its request, or for all of them. On its stack. */
struct waiter {
    struct waiter *before, *after; /* guarded by lock */
    pthread_cond_t cond;
    bool is_for_all; /* const */
    bool is_done;    /* guarded by lock */
    int status;
    struct tuck_client_answer *answer;
    struct tuck_client_error *error;
};

struct tuck_client {
    /* const after open */
    bool has_thread;
    pthread_t thread;
    struct tuck_client_options options; // with the defaults filled in; its pointers are not valid

    struct tuck_engine engine; /* owned by whoever drives */

    struct tuck_mutex lock;
    /* guarded by lock */
    struct tuck_job *inbox,
        **inbox_end;  // through next_in_bucket, which the engine does not use yet
    int64_t *cancels; // tickets
    size_t cancel_count, cancel_room;
    int64_t last_id;
    size_t pending;  // submitted, and not at their end
    size_t uncalled; // submitted, and their callback has not returned
    bool is_closing, is_stopping;
    bool has_driver, is_asleep, was_woken;
    pthread_t driver;
    pthread_cond_t step_is_over; // for dispatch, which waits for another's step
    struct waiter *waiters;
    // What the engine has come to, for others to see.
    bool is_over; // phase ENDED and nothing left
    enum tuck_phase phase;
    unsigned commands;
    int failure;
    struct tuck_client_end end;
};

// --- Driving -------------------------------------------------------------------------------------

// Lock held.
static void publish(struct tuck_client *client) {
    const struct tuck_engine *engine = &client->engine;
    client->phase = engine->phase;
    client->commands = engine->commands;
    client->failure = engine->failure.code;
    client->is_over = engine->phase == TUCK_PHASE_ENDED && !engine->close_job &&
                      engine->checking.after == &engine->checking;
    client->end = (struct tuck_client_end){.how = (uint32_t)engine->process.how,
                                           .status = engine->process.status,
                                           .signal_sent = engine->signal_sent,
                                           .pid = engine->process.pid};
}

// Lock held on entry and exit, not between. Driver only.
static bool take_inbox(struct tuck_client *client) {
    struct tuck_job *jobs = client->inbox;
    int64_t *cancels = client->cancels;
    size_t cancel_count = client->cancel_count;
    client->inbox = NULL;
    client->inbox_end = &client->inbox;
    client->cancels = NULL;
    client->cancel_count = client->cancel_room = 0;
    client->was_woken = false;
    tuck_unlock(&client->lock);
    while (jobs) {
        struct tuck_job *job = jobs;
        jobs = job->next_in_bucket;
        tuck_engine_add(&client->engine, job);
    }
    for (size_t i = 0; i < cancel_count; i++)
        tuck_engine_cancel(&client->engine, cancels[i]);
    free(cancels);
    bool is_busy = tuck_engine_prepare(&client->engine);
    tuck_lock(&client->lock);
    return is_busy;
}

// One step in the role of the driver, which must be free. Lock held on entry and exit, not between.
static void drive(struct tuck_client *client, int limit_ms) {
    client->has_driver = true;
    client->driver = pthread_self();
    uint64_t delivered = client->engine.delivered;
    bool is_busy = take_inbox(client);
    if (is_busy || client->inbox || client->cancel_count > 0 ||
        client->engine.delivered != delivered) // perhaps what this thread waits for
        limit_ms = 0;
    client->is_asleep = limit_ms != 0;
    tuck_unlock(&client->lock);
    unsigned events = tuck_watch_wait(&client->engine.watch, limit_ms);
    tuck_lock(&client->lock);
    client->is_asleep = false;
    tuck_unlock(&client->lock);
    tuck_engine_handle(&client->engine, events);
    tuck_lock(&client->lock);
    is_busy = take_inbox(client); // what callbacks have submitted goes out at once
    // What came while that was done saw a driver that is awake and called nobody.
    if (is_busy || client->inbox || client->cancel_count > 0) {
        client->was_woken = true;
        tuck_watch_wake(&client->engine.watch);
    }
    publish(client);
    client->has_driver = false;
    (void)pthread_cond_broadcast(&client->step_is_over);
}

static bool is_driving(struct tuck_client *client) {
    return client->has_driver && pthread_equal(client->driver, pthread_self());
}

static void *thread_main(void *arg) {
    struct tuck_client *client = arg;
    tuck_lock(&client->lock);
    while (!client->is_stopping)
        drive(client, -1);
    tuck_unlock(&client->lock);
    return NULL;
}

// Someone else has to know that there is work. Lock held.
static void call_driver(struct tuck_client *client) {
    if (client->was_woken || (client->has_driver && !client->is_asleep))
        return;
    client->was_woken = true;
    tuck_watch_wake(&client->engine.watch);
}

// --- Waiting -------------------------------------------------------------------------------------

static void add_waiter(struct tuck_client *client, struct waiter *waiter) {
    tuck_cond_init(&waiter->cond);
    waiter->before = NULL;
    waiter->after = client->waiters;
    if (waiter->after)
        waiter->after->before = waiter;
    client->waiters = waiter;
}

static void remove_waiter(struct tuck_client *client, struct waiter *waiter) {
    if (waiter->before)
        waiter->before->after = waiter->after;
    else
        client->waiters = waiter->after;
    if (waiter->after)
        waiter->after->before = waiter->before;
    (void)pthread_cond_destroy(&waiter->cond);
}

static int limit_until(uint64_t until_ns) {
    if (until_ns == FOREVER)
        return -1;
    uint64_t now_ns = tuck_clock_mono_ns();
    uint64_t left_ms = until_ns > now_ns ? (until_ns - now_ns) / TUCK_NS_PER_MS + 1 : 0;
    return left_ms < INT32_MAX ? (int)left_ms : INT32_MAX;
}

// Until the waiter is done or the time has come; drives where nobody else does. Lock held on entry
// and exit.
static void wait_for(struct tuck_client *client, struct waiter *waiter, uint64_t until_ns) {
    add_waiter(client, waiter);
    while (!waiter->is_done && (until_ns == FOREVER || tuck_clock_mono_ns() < until_ns)) {
        if (!client->has_driver && !client->has_thread)
            drive(client, limit_until(until_ns));
        else if (until_ns == FOREVER)
            tuck_cond_wait(&waiter->cond, &client->lock);
        else
            (void)tuck_cond_wait_until(&waiter->cond, &client->lock, until_ns);
    }
    remove_waiter(client, waiter);
    // Whoever is left has slept while this one drove.
    if (!client->has_driver && client->waiters)
        (void)pthread_cond_signal(&client->waiters->cond);
}

// Lock held.
static void tell_waiter(struct waiter *waiter, const struct tuck_outcome *outcome) {
    waiter->status = outcome->status;
    if (waiter->error && outcome->status != TUCK_CLIENT_OK)
        *waiter->error = outcome->error;
    if (waiter->answer &&
        (outcome->status == TUCK_CLIENT_OK || outcome->status == TUCK_CLIENT_NOT_STORED)) {
        size_t path_len = strlen(outcome->answer.path);
        memcpy(waiter->answer, &outcome->answer,
               offsetof(struct tuck_client_answer, path) + path_len + 1);
    }
    waiter->is_done = true;
    (void)pthread_cond_signal(&waiter->cond);
}

// The engine has the end of a request.
static void deliver(void *owner, struct tuck_job *job, const struct tuck_outcome *outcome) {
    struct tuck_client *client = owner;
    tuck_lock(&client->lock);
    if (outcome->status < 0 || job->command == TUCK_CLIENT_CLOSE)
        publish(client); // who is told of an end may ask about it
    if (job->waiter)
        tell_waiter(job->waiter, outcome);
    else
        client->pending--; // so that the callback may submit another
    tuck_unlock(&client->lock);
    if (job->waiter)
        return;
    job->done(job->arg, outcome->status, &outcome->answer, &outcome->error);
    tuck_lock(&client->lock);
    client->uncalled--;
    for (struct waiter *waiter = client->waiters; waiter && client->uncalled == 0;
         waiter = waiter->after)
        if (waiter->is_for_all) {
            waiter->is_done = true;
            (void)pthread_cond_signal(&waiter->cond);
        }
    tuck_unlock(&client->lock);
}

// --- Requests ------------------------------------------------------------------------------------

// A struct of the caller, shorter or longer than ours: what he does not know is zero, what we do
// not know must be.
static int copy_struct(void *to, size_t own_size, const void *from, size_t size) {
    const uint8_t *bytes = from;
    if (size < sizeof(uint32_t))
        return -1;
    memset(to, 0, own_size);
    memcpy(to, from, size < own_size ? size : own_size);
    for (size_t i = own_size; i < size; i++)
        if (bytes[i] != 0)
            return -1;
    return 0;
}

static int usage(struct tuck_client_error *error, const char *why) {
    return tuck_client__fail(error, TUCK_CLIENT_USAGE, "%s", why);
}

static uint64_t deadline_of(uint32_t ms) {
    return ms == TUCK_CLIENT_NO_LIMIT ? FOREVER : tuck_clock_mono_ns() + ms * TUCK_NS_PER_MS;
}

// One that the engine has not seen.
static void drop_job(struct tuck_job *job) {
    free(job->body);
    free(job);
}

static int make_job(const struct tuck_client *client, const struct tuck_client_request *request,
                    struct tuck_job **ret_job, struct tuck_client_error *error) {
    struct tuck_client_request own;
    if (!request || copy_struct(&own, sizeof(own), request, request->struct_size) < 0)
        return usage(error, "the request is not initialised, or for a newer libtuck");
    if (own.command < TUCK_CLIENT_GET || own.command > TUCK_CLIENT_CLOSE)
        return usage(error, "the request has an unknown command");
    if (own.command != TUCK_CLIENT_CLOSE && !own.action)
        return usage(error, "the request has no action id");
    if (own.check > TUCK_CLIENT_CHECK_BYTES)
        return usage(error, "the request has an unknown check");
    struct tuck_job *job = calloc(1, sizeof(*job));
    if (!job)
        return tuck_client__fail(error, TUCK_CLIENT_NO_MEMORY, "no memory for a request");
    job->command = own.command;
    job->check = own.check ? own.check : client->options.check;
    job->deadline_ns =
        own.command == TUCK_CLIENT_CLOSE
            ? FOREVER
            : deadline_of(own.timeout_ms ? own.timeout_ms : client->options.timeout_ms);
    if (own.action)
        memcpy(job->action.bytes, own.action, TUCK_ID_BYTES);
    if (own.command == TUCK_CLIENT_PUT) {
        job->body = malloc(sizeof(*job->body));
        int status =
            job->body ? tuck_body_open(&own.body, own.output, job->body, error)
                      : tuck_client__fail(error, TUCK_CLIENT_NO_MEMORY, "no memory for a request");
        if (status < 0) {
            drop_job(job);
            return status;
        }
    }
    *ret_job = job;
    return 0;
}

// Lock held. Takes the job, on failure too.
static int enqueue(struct tuck_client *client, struct tuck_job *job,
                   struct tuck_client_error *error) {
    if (client->is_closing) {
        drop_job(job);
        return tuck_client__fail(error, TUCK_CLIENT_CLOSED, "the client is closed");
    }
    client->is_closing = job->command == TUCK_CLIENT_CLOSE;
    job->id = ++client->last_id;
    job->next_in_bucket = NULL;
    *client->inbox_end = job;
    client->inbox_end = &job->next_in_bucket;
    return 0;
}

// The bytes of a file, on the thread of whoever waits for them.
static int check_bytes(const struct tuck_client *client, enum tuck_client_command command,
                       uint64_t deadline_ns, const struct tuck_client_answer *answer,
                       struct tuck_client_error *error) {
    enum { ROOM = 65536 };
    struct tuck_file_hash hash;
    struct tuck_output_id expected;
    memcpy(expected.bytes, answer->output, TUCK_ID_BYTES);
    TUCK_CLEANUP(tuck_free) uint8_t *scratch = malloc(ROOM);
    if (!scratch)
        return tuck_client__fail(error, TUCK_CLIENT_NO_MEMORY, "no memory to check an answer");
    int status = tuck_file_hash_open(answer->path, answer->size, &hash, error);
    if (status == 0) {
        do
            status = tuck_file_hash_some(&hash, UINT64_C(1) << 20, scratch, ROOM, &expected, error);
        while (status == TUCK_FILE_MORE && tuck_clock_mono_ns() < deadline_ns);
        tuck_file_hash_close(&hash);
    }
    if (status == TUCK_FILE_MORE)
        return tuck_client__fail(error, TUCK_CLIENT_TIMEOUT,
                                 "the answered file could not be checked in time");
    return status < 0 ? tuck_engine_flawed(&client->engine, command, status) : 0;
}

static int call(struct tuck_client *client, struct tuck_job *job,
                struct tuck_client_answer *ret_answer, struct tuck_client_error *error) {
    struct tuck_client_answer unwanted;
    struct waiter waiter = {.answer = ret_answer ? ret_answer : &unwanted, .error = error};
    enum tuck_client_command command = job->command;
    bool is_checked = job->check == TUCK_CLIENT_CHECK_BYTES && command != TUCK_CLIENT_CLOSE;
    uint64_t deadline_ns = job->deadline_ns;
    job->waiter = &waiter;
    job->is_checked_by_caller = true;
    tuck_lock(&client->lock);
    if (is_driving(client)) {
        tuck_unlock(&client->lock);
        drop_job(job);
        return usage(error, "a function that waits was called in a callback");
    }
    int status = enqueue(client, job, error);
    if (status == 0) {
        if (client->has_driver || client->has_thread)
            call_driver(client);
        wait_for(client, &waiter, FOREVER);
        status = waiter.status;
    }
    tuck_unlock(&client->lock);
    if (status == 0 && is_checked)
        status = check_bytes(client, command, deadline_ns, waiter.answer, error);
    return status;
}

int tuck_client_call(struct tuck_client *client, const struct tuck_client_request *request,
                     struct tuck_client_answer *ret_answer, struct tuck_client_error *error) {
    struct tuck_job *job;
    if (error)
        memset(error, 0, offsetof(struct tuck_client_error, text) + 1);
    int status = make_job(client, request, &job, error);
    return status < 0 ? status : call(client, job, ret_answer, error);
}

int tuck_client_get(struct tuck_client *client, const uint8_t action[TUCK_CLIENT_ID_BYTES],
                    struct tuck_client_answer *ret_answer, struct tuck_client_error *error) {
    struct tuck_client_request request = TUCK_CLIENT_REQUEST_INIT;
    request.command = TUCK_CLIENT_GET;
    request.action = action;
    return tuck_client_call(client, &request, ret_answer, error);
}

static int put(struct tuck_client *client, const uint8_t *action, struct tuck_client_body body,
               struct tuck_client_answer *ret_answer, struct tuck_client_error *error) {
    struct tuck_client_request request = TUCK_CLIENT_REQUEST_INIT;
    request.command = TUCK_CLIENT_PUT;
    request.action = action;
    request.body = body;
    return tuck_client_call(client, &request, ret_answer, error);
}

int tuck_client_put_fd(struct tuck_client *client, const uint8_t action[TUCK_CLIENT_ID_BYTES],
                       int fd, struct tuck_client_answer *ret_answer,
                       struct tuck_client_error *error) {
    return put(client, action, tuck_client_file(fd), ret_answer, error);
}

int tuck_client_put_memory(struct tuck_client *client, const uint8_t action[TUCK_CLIENT_ID_BYTES],
                           const void *data, size_t size, struct tuck_client_answer *ret_answer,
                           struct tuck_client_error *error) {
    return put(client, action, tuck_client_memory(data, size), ret_answer, error);
}

int tuck_client_submit(struct tuck_client *client, const struct tuck_client_request *request,
                       tuck_client_done *done, void *arg, uint64_t *ret_ticket,
                       struct tuck_client_error *error) {
    struct tuck_job *job;
    if (error)
        memset(error, 0, offsetof(struct tuck_client_error, text) + 1);
    if (!done)
        return usage(error, "a submitted request has no callback");
    int status = make_job(client, request, &job, error);
    if (status < 0)
        return status;
    job->done = done;
    job->arg = arg;
    tuck_lock(&client->lock);
    if (client->pending >= client->options.max_pending && job->command != TUCK_CLIENT_CLOSE) {
        drop_job(job);
        status = TUCK_CLIENT_FULL;
    } else {
        status = enqueue(client, job, error);
    }
    if (status == 0) {
        client->pending++;
        client->uncalled++;
        if (ret_ticket)
            *ret_ticket = (uint64_t)client->last_id;
        call_driver(client);
    }
    tuck_unlock(&client->lock);
    return status;
}

int tuck_client_cancel(struct tuck_client *client, uint64_t ticket) {
    int status = TUCK_CLIENT_OK;
    tuck_lock(&client->lock);
    if (client->cancel_count == client->cancel_room) {
        size_t room = client->cancel_room ? 2 * client->cancel_room : 16;
        int64_t *grown = realloc(client->cancels, room * sizeof(*grown));
        if (grown) {
            client->cancels = grown;
            client->cancel_room = room;
        } else {
            status = TUCK_CLIENT_NO_MEMORY;
        }
    }
    if (status == TUCK_CLIENT_OK && ticket > 0 && ticket <= (uint64_t)client->last_id) {
        client->cancels[client->cancel_count++] = (int64_t)ticket;
        call_driver(client);
    }
    tuck_unlock(&client->lock);
    return status;
}

int tuck_client_wait(struct tuck_client *client, uint32_t limit_ms) {
    uint64_t until_ns = deadline_of(limit_ms);
    struct waiter waiter = {.is_for_all = true};
    int status = TUCK_CLIENT_OK;
    tuck_lock(&client->lock);
    if (is_driving(client)) {
        status = TUCK_CLIENT_USAGE;
    } else if (client->uncalled > 0) {
        wait_for(client, &waiter, until_ns);
        status = waiter.is_done ? TUCK_CLIENT_OK : TUCK_CLIENT_TIMEOUT;
    }
    tuck_unlock(&client->lock);
    return status;
}

// --- In an event loop ----------------------------------------------------------------------------

int tuck_client_fd(const struct tuck_client *client) {
    return client->has_thread ? -1 : client->engine.watch.fd;
}

int tuck_client_dispatch(struct tuck_client *client, struct tuck_client_error *error) {
    int status = TUCK_CLIENT_OK;
    tuck_lock(&client->lock);
    if (is_driving(client) || client->has_thread) {
        tuck_unlock(&client->lock);
        return usage(error, "dispatch was called in a callback, or beside the client's own thread");
    }
    while (client->has_driver && !client->is_asleep)
        tuck_cond_wait(&client->step_is_over, &client->lock);
    // One that sleeps is woken by the same events.
    if (!client->has_driver) {
        drive(client, 0);
        if (client->is_over)
            status = TUCK_CLIENT_ENDED;
        else if (client->failure)
            status = client->failure;
        if (status < 0 && error)
            *error = client->engine.failure;
        // Others may wait for what has come.
        if (client->waiters)
            (void)pthread_cond_signal(&client->waiters->cond);
    }
    tuck_unlock(&client->lock);
    return status;
}

// --- Life ----------------------------------------------------------------------------------------

static uint32_t or_default(uint32_t value, uint32_t by_default) {
    return value ? value : by_default;
}

static uint64_t ns_of(uint32_t ms) {
    return ms == TUCK_CLIENT_NO_LIMIT ? FOREVER : ms * TUCK_NS_PER_MS;
}

static int read_options(const struct tuck_client_options *given, struct tuck_client_options *ret,
                        struct tuck_client_error *error) {
    static const uint32_t hour_ms = 3600000;
    if (!given || copy_struct(ret, sizeof(*ret), given, given->struct_size) < 0)
        return usage(error, "the options are not initialised, or for a newer libtuck");
    if (ret->flags > (TUCK_CLIENT_THREAD | TUCK_CLIENT_OWN_GROUP | TUCK_CLIENT_NO_WAIT))
        return usage(error, "the options have an unknown flag");
    if (ret->mode > TUCK_CLIENT_STRICT || ret->names > TUCK_CLIENT_BOTH_IDS ||
        ret->check > TUCK_CLIENT_CHECK_BYTES || ret->stderr_to > TUCK_CLIENT_STDERR_DISCARD)
        return usage(error, "the options have an unknown mode, names, check or stderr_to");
    if (!ret->command == !ret->argv || (ret->argv && !ret->argv[0]))
        return usage(error, "the options need either a command or an argv");
    if (ret->stderr_to == TUCK_CLIENT_STDERR_FD && ret->stderr_fd < 0)
        return usage(error, "the options have no descriptor for stderr");
    ret->check = or_default(ret->check, TUCK_CLIENT_CHECK_FILE);
    ret->stderr_limit =
        ret->stderr_to == TUCK_CLIENT_STDERR_CAPTURE ? or_default(ret->stderr_limit, 16384) : 0;
    ret->handshake_ms = or_default(ret->handshake_ms, 10000);
    ret->timeout_ms = or_default(ret->timeout_ms, 300000);
    ret->close_ms = or_default(ret->close_ms, 10000);
    ret->kill_ms = or_default(ret->kill_ms, 1000);
    ret->max_pending = or_default(ret->max_pending, 4096);
    if (ret->stderr_limit > 16U << 20 || ret->close_ms > hour_ms || ret->kill_ms > hour_ms ||
        ret->max_pending > 1U << 20)
        return usage(error, "the options have a limit that is too large");
    return 0;
}

static unsigned form_of(const struct tuck_client_options *options) {
    unsigned form = options->mode == TUCK_CLIENT_STRICT ? TUCK_REQUEST_NO_EMPTY_LINE : 0;
    if (options->names == TUCK_CLIENT_OBJECT_ID)
        form |= TUCK_REQUEST_OBJECT_ID;
    if (options->names == TUCK_CLIENT_BOTH_IDS)
        form |= TUCK_REQUEST_BOTH_IDS;
    return form;
}

static int start_engine(struct tuck_client *client, struct tuck_client_error *error) {
    const struct tuck_client_options *options = &client->options;
    TUCK_CLEANUP(tuck_free) char **words = NULL;
    TUCK_CLEANUP(tuck_free) char *path = NULL;
    int status = options->command ? tuck_words_split(options->command, &words, error)
                                  : tuck_words_copy(options->argv, &words, error);
    if (status == 0)
        status = tuck_words_find_program(words[0] ? words[0] : "", &path, error);
    if (status < 0)
        return status;
    struct tuck_process_plan plan = {
        .words = words,
        .path = path,
        .environment = (char *const *)(uintptr_t)options->environment,
        .has_group = options->flags & TUCK_CLIENT_OWN_GROUP,
        .stderr_to = options->stderr_to,
        .stderr_fd = options->stderr_fd,
    };
    struct tuck_engine_settings settings = {
        .is_strict = options->mode == TUCK_CLIENT_STRICT,
        .form = form_of(options),
        .handshake_ns = ns_of(options->handshake_ms),
        .close_ns = ns_of(options->close_ms),
        .kill_ns = ns_of(options->kill_ms),
        .max_abandoned = options->max_pending,
        .deliver = deliver,
        .owner = client,
    };
    return tuck_engine_init(&client->engine, &settings, &plan, options->stderr_limit, error);
}

// Drives until the helper's first word, or the end. Lock held on entry and exit.
static void drive_to_handshake(struct tuck_client *client) {
    while (client->phase == TUCK_PHASE_HANDSHAKE)
        drive(client, -1);
}

static void drive_to_end(struct tuck_client *client) {
    while (!client->is_over)
        drive(client, client->phase == TUCK_PHASE_ENDED ? 0 : -1);
}

static void release(struct tuck_client *client) {
    tuck_engine_fini(&client->engine);
    tuck_mutex_fini(&client->lock);
    (void)pthread_cond_destroy(&client->step_is_over);
    free(client->cancels);
    free(client);
}

int tuck_client_open(const struct tuck_client_options *options, struct tuck_client **ret_client,
                     struct tuck_client_error *error) {
    if (error)
        memset(error, 0, offsetof(struct tuck_client_error, text) + 1);
    struct tuck_client *client = calloc(1, sizeof(*client));
    if (!client)
        return tuck_client__fail(error, TUCK_CLIENT_NO_MEMORY, "no memory for a client");
    client->inbox_end = &client->inbox;
    int status = read_options(options, &client->options, error);
    if (status == 0)
        status = start_engine(client, error);
    if (status < 0) {
        free(client);
        return status;
    }
    tuck_mutex_init(&client->lock, TUCK_RANK_CLIENT);
    tuck_cond_init(&client->step_is_over);
    tuck_lock(&client->lock);
    publish(client);
    if (!(client->options.flags & TUCK_CLIENT_NO_WAIT))
        drive_to_handshake(client);
    if (client->failure) {
        drive_to_end(client);
        status = client->failure;
        if (error)
            *error = client->engine.failure;
    } else if (client->options.flags & TUCK_CLIENT_THREAD) {
        int os = -tuck_thread_start(&client->thread, thread_main, client);
        client->has_thread = os == 0;
        if (os) {
            status = tuck_client__fail_os(error, TUCK_CLIENT_SYSTEM, os, "cannot start a thread");
            tuck_engine_kill(&client->engine);
            drive_to_end(client);
        }
    }
    tuck_unlock(&client->lock);
    if (status < 0) {
        release(client);
        return status;
    }
    *ret_client = client;
    return 0;
}

int tuck_client_close(struct tuck_client *client, struct tuck_client_error *error) {
    struct tuck_client_request request = TUCK_CLIENT_REQUEST_INIT;
    request.command = TUCK_CLIENT_CLOSE;
    return tuck_client_call(client, &request, NULL, error);
}

void tuck_client_free(struct tuck_client *client) {
    if (!client)
        return;
    tuck_lock(&client->lock);
    client->is_closing = client->is_stopping = true;
    if (client->has_thread) {
        tuck_watch_wake(&client->engine.watch);
        tuck_unlock(&client->lock);
        (void)pthread_join(client->thread, NULL);
        tuck_lock(&client->lock);
    }
    client->has_driver = true; // callbacks must not wait
    client->driver = pthread_self();
    (void)take_inbox(client);
    tuck_unlock(&client->lock);
    tuck_engine_kill(&client->engine);
    tuck_lock(&client->lock);
    publish(client);
    drive_to_end(client);
    tuck_unlock(&client->lock);
    release(client);
}

// --- Looking at it -------------------------------------------------------------------------------

int tuck_client_can(struct tuck_client *client, enum tuck_client_command command) {
    static const enum tuck_command names[] = {[TUCK_CLIENT_GET] = TUCK_COMMAND_GET,
                                              [TUCK_CLIENT_PUT] = TUCK_COMMAND_PUT,
                                              [TUCK_CLIENT_CLOSE] = TUCK_COMMAND_CLOSE};
    if ((unsigned)command < TUCK_CLIENT_GET || (unsigned)command > TUCK_CLIENT_CLOSE)
        return 0;
    tuck_lock(&client->lock);
    int can = client->commands >> names[command] & 1;
    tuck_unlock(&client->lock);
    return can;
}

void tuck_client_end(struct tuck_client *client, struct tuck_client_end *ret_end) {
    tuck_lock(&client->lock);
    *ret_end = client->end;
    tuck_unlock(&client->lock);
}

size_t tuck_client_stderr(struct tuck_client *client, char *ret_text, size_t room) {
    return tuck_tail_copy(&client->engine.tail, ret_text, room);
}

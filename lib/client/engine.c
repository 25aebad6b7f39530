// SPDX-License-Identifier: MIT
#include "lib/client/engine.h"
#include "lib/base/clock.h"
#include "lib/base/io.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>

#define IN_ROOM 65536U
#define OUT_ROOM                                                                                   \
    (TUCK_REQUEST_ROOM + TUCK_BODY_PIECE / 3 * 4 + 8) // a request and one piece of its body
#define ROUNDS        4U  // of reading before something else has its turn
#define LAST_ROUNDS   64U // when the process has ended
#define CHECK_STEP    (UINT64_C(1) << 20)
#define SUSPICION_NS  (200 * TUCK_NS_PER_MS)
#define END_LOOK_NS   (10 * TUCK_NS_PER_MS) // without pidfd: how often to look whether it has ended
#define KILLED_NS     (5 * TUCK_NS_PER_S) // after SIGKILL: longer means that it cannot be interrupted
#define LAST_LINE_MAX 120U

// --- Lists ---------------------------------------------------------------------------------------

static void list_init(struct tuck_link *head) {
    head->before = head->after = head;
}

static bool list_is_empty(const struct tuck_link *head) {
    return head->after == head;
}

static void list_insert_before(struct tuck_link *place, struct tuck_link *link) {
    link->before = place->before;
    link->after = place;
    place->before->after = link;
    place->before = link;
}

static void list_remove(struct tuck_link *link) {
    if (!link->after)
        return;
    link->before->after = link->after;
    link->after->before = link->before;
    link->before = link->after = NULL;
}

static struct tuck_job *job_of_place(struct tuck_link *link) {
    return (struct tuck_job *)(void *)((char *)link - offsetof(struct tuck_job, place));
}

static struct tuck_job *job_of_due(struct tuck_link *link) {
    return (struct tuck_job *)(void *)((char *)link - offsetof(struct tuck_job, due));
}

// --- Requests whose answer is due ----------------------------------------------------------------

static struct tuck_job **bucket_of(struct tuck_engine *engine, int64_t id) {
    return &engine->buckets[(size_t)id & engine->bucket_mask];
}

static struct tuck_job *find_sent(struct tuck_engine *engine, int64_t id) {
    struct tuck_job *job = *bucket_of(engine, id);
    while (job && job->id != id)
        job = job->next_in_bucket;
    return job;
}

static void note_sent(struct tuck_engine *engine, struct tuck_job *job) {
    struct tuck_job **bucket = bucket_of(engine, job->id);
    job->next_in_bucket = *bucket;
    *bucket = job;
    engine->sent_count++;
    engine->last_id = job->id;
}

static void forget_sent(struct tuck_engine *engine, struct tuck_job *job) {
    struct tuck_job **at = bucket_of(engine, job->id);
    while (*at != job)
        at = &(*at)->next_in_bucket;
    *at = job->next_in_bucket;
    engine->sent_count--;
}

// --- Delivery ------------------------------------------------------------------------------------

static void free_job(struct tuck_job *job) {
    free(job->held);
    free(job->body);
    free(job);
}

// Tells whoever waits. The job is in no list and no table after.
static void deliver(struct tuck_engine *engine, struct tuck_job *job,
                    const struct tuck_outcome *outcome) {
    if (job->state == TUCK_JOB_CHECKING)
        tuck_file_hash_close(&job->hash);
    if (job->state == TUCK_JOB_SENT || job->state == TUCK_JOB_WRITING)
        forget_sent(engine, job);
    if (engine->writing == job)
        engine->writing = NULL;
    list_remove(&job->place);
    list_remove(&job->due);
    engine->settings.deliver(engine->settings.owner, job, outcome);
    engine->delivered++;
    free_job(job);
}

__attribute__((format(printf, 4, 5))) static void deliver_failure(struct tuck_engine *engine,
                                                                  struct tuck_job *job,
                                                                  enum tuck_client_status status,
                                                                  const char *format, ...) {
    va_list args;
    va_start(args, format);
    char text[sizeof(engine->outcome.error.text)];
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    engine->outcome.status = tuck_client__fail(&engine->outcome.error, status, "%s", text);
    deliver(engine, job, &engine->outcome);
}

// The answer is still to come and will be dropped: the job stays as a mark.
static void abandon(struct tuck_engine *engine, struct tuck_job *job,
                    enum tuck_client_status status, const char *why) {
    list_remove(&job->due);
    engine->outcome.status = tuck_client__fail(&engine->outcome.error, status, "request %lld %s",
                                               (long long)job->id, why);
    engine->settings.deliver(engine->settings.owner, job, &engine->outcome);
    engine->delivered++;
    job->state = TUCK_JOB_ABANDONED;
    engine->abandoned_count++;
}

// --- The end of the connection -------------------------------------------------------------------

static void deliver_all(struct tuck_engine *engine, const struct tuck_client_error *error) {
    while (!list_is_empty(&engine->queue)) {
        engine->outcome.status = error->code;
        engine->outcome.error = *error;
        deliver(engine, job_of_place(engine->queue.after), &engine->outcome);
    }
    for (size_t i = 0; i <= engine->bucket_mask; i++) {
        while (engine->buckets[i]) {
            struct tuck_job *job = engine->buckets[i];
            if (job->state == TUCK_JOB_ABANDONED) {
                forget_sent(engine, job);
                free_job(job);
                continue;
            }
            engine->outcome.status = error->code;
            engine->outcome.error = *error;
            deliver(engine, job, &engine->outcome);
        }
    }
    engine->abandoned_count = 0;
}

static void close_stdin(struct tuck_engine *engine) {
    engine->out_begin = engine->out_end = 0; // what was not written never is
    tuck_close_fd(&engine->process.to);      // which ends the watching, too
}

static void close_stdout(struct tuck_engine *engine) {
    tuck_close_fd(&engine->process.from);
    engine->stdout_is_over = true;
}

static void go_ending(struct tuck_engine *engine, uint64_t deadline_ns) {
    engine->phase = TUCK_PHASE_ENDING;
    engine->phase_ns = deadline_ns;
    engine->suspicion.code = 0;
    close_stdin(engine);
}

// engine->failure is filled in: everyone gets it, and the process is to end now.
static void fail(struct tuck_engine *engine) {
    go_ending(engine, 0);
    close_stdout(engine);
    deliver_all(engine, &engine->failure);
}

__attribute__((format(printf, 3, 4))) static void
fail_with(struct tuck_engine *engine, enum tuck_client_status status, const char *format, ...) {
    va_list args;
    if (engine->phase >= TUCK_PHASE_ENDING)
        return;
    va_start(args, format);
    (void)vsnprintf(engine->failure.text, sizeof(engine->failure.text), format, args);
    va_end(args);
    engine->failure.code = status;
    fail(engine);
}

static void suspect(struct tuck_engine *engine, enum tuck_client_status status, const char *text) {
    if (engine->suspicion.code)
        return;
    (void)tuck_client__fail(&engine->suspicion, status, "%s", text);
    engine->suspicion_ns = tuck_clock_mono_ns() + SUSPICION_NS;
}

static bool has_unfinished(const struct tuck_engine *engine) {
    return engine->sent_count > engine->abandoned_count || !list_is_empty(&engine->queue);
}

static const char *phase_text(const struct tuck_engine *engine) {
    return engine->phase == TUCK_PHASE_HANDSHAKE ? " before its handshake" : "";
}

// What the helper said last, as a part of an error; empty if nothing was captured.
static const char *last_words(struct tuck_engine *engine, char ret_text[LAST_LINE_MAX + 40]) {
    char tail[1024], line[LAST_LINE_MAX + 1];
    size_t len = tuck_tail_copy(&engine->tail, tail, sizeof(tail));
    while (len > 0 && (tail[len - 1] == '\n' || tail[len - 1] == '\r'))
        len--;
    size_t begin = len;
    while (begin > 0 && tail[begin - 1] != '\n')
        begin--;
    ret_text[0] = '\0';
    if (len > begin)
        (void)snprintf(ret_text, LAST_LINE_MAX + 40, "; it said: '%s'",
                       tuck_client__printable(tail + begin, len - begin, line, sizeof(line)));
    return ret_text;
}

static void describe_end(const struct tuck_process *process, char *ret_text, size_t room) {
    if (process->how == TUCK_CLIENT_END_EXIT)
        (void)snprintf(ret_text, room, "exited with status %d", process->status);
    else if (process->how == TUCK_CLIENT_END_SIGNAL)
        (void)snprintf(ret_text, room, "was killed by signal %d", process->status);
    else
        (void)snprintf(ret_text, room, "ended with a status that is not known");
}

static void fail_with_exit(struct tuck_engine *engine) {
    char how[80], words[LAST_LINE_MAX + 40];
    describe_end(&engine->process, how, sizeof(how));
    if (engine->suspicion.code == TUCK_CLIENT_TRUNCATED)
        fail_with(engine, TUCK_CLIENT_TRUNCATED, "%s; the helper %s%s", engine->suspicion.text, how,
                  last_words(engine, words));
    else
        fail_with(engine, TUCK_CLIENT_EXITED, "the helper %s%s%s", how, phase_text(engine),
                  last_words(engine, words));
}

static void deliver_close(struct tuck_engine *engine) {
    struct tuck_job *job = engine->close_job;
    if (!job || engine->phase != TUCK_PHASE_ENDED || !list_is_empty(&engine->checking))
        return;
    struct tuck_outcome *outcome = &engine->outcome;
    memset(&outcome->error, 0, sizeof(outcome->error));
    if (engine->failure.code)
        outcome->error = engine->failure;
    else if (engine->close_error.code)
        outcome->error = engine->close_error;
    outcome->status = outcome->error.code;
    if (outcome->status == 0 && engine->signal_sent)
        outcome->status = tuck_client__fail(&outcome->error, TUCK_CLIENT_FORCED,
                                            "the helper did not end by itself and was sent %s",
                                            engine->signal_sent == SIGKILL ? "SIGKILL" : "SIGTERM");
    engine->close_job = NULL;
    deliver(engine, job, outcome);
}

// The process is gone, or given up.
static void go_ended(struct tuck_engine *engine) {
    engine->phase = TUCK_PHASE_ENDED;
    if (has_unfinished(engine)) {
        struct tuck_client_error error;
        (void)tuck_client__fail(&error, TUCK_CLIENT_CLOSED, "the client is closed");
        deliver_all(engine, &error);
    }
    close_stdin(engine);
    close_stdout(engine);
    tuck_process_fini(&engine->process);
}

// --- Judging answers -----------------------------------------------------------------------------

int tuck_engine_flawed(const struct tuck_engine *engine, enum tuck_client_command command,
                       int status) {
    if (command != TUCK_CLIENT_GET)
        return status;
    // A hit without a path is a miss by the protocol; what else is wrong with one, only by custom.
    return status == TUCK_CLIENT_NO_PATH || !engine->settings.is_strict ? TUCK_CLIENT_MISS : status;
}

static int judge_path(const struct tuck_answer_fields *fields, struct tuck_client_error *error) {
    if (fields->path.len == 0)
        return tuck_client__fail(error, TUCK_CLIENT_NO_PATH, "the answer has no DiskPath");
    if (fields->path_flaw)
        return tuck_client__fail(error, TUCK_CLIENT_BAD_PATH, "%s", fields->path_flaw);
    if (fields->path.data[0] == '/')
        return 0;
    char path[200];
    return tuck_client__fail(
        error, TUCK_CLIENT_BAD_PATH, "DiskPath '%s' is not absolute",
        tuck_client__printable(fields->path.data, fields->path.len, path, sizeof(path)));
}

// A hit or a put: fills in the answer. Returns 0, or why it cannot be one.
static int judge_answer(struct tuck_engine *engine, struct tuck_job *job,
                        const struct tuck_answer_fields *fields) {
    struct tuck_client_answer *answer = &engine->outcome.answer;
    struct tuck_client_error *error = &engine->outcome.error;
    int status = judge_path(fields, error);
    if (status < 0)
        return status;
    if (job->command == TUCK_CLIENT_GET && fields->output_flaw)
        return tuck_client__fail(error, TUCK_CLIENT_BAD_FIELD, "%s", fields->output_flaw);
    if (job->command == TUCK_CLIENT_GET && fields->size < 0)
        return tuck_client__fail(error, TUCK_CLIENT_BAD_FIELD, "Size is negative");
    bool is_get = job->command == TUCK_CLIENT_GET;
    memcpy(answer->output, is_get ? fields->output.bytes : job->body->output.bytes, TUCK_ID_BYTES);
    answer->size = is_get ? (uint64_t)fields->size : job->body->size;
    answer->has_time = is_get && fields->has_time;
    answer->time_s = answer->has_time ? fields->time_s : 0;
    answer->time_ns = answer->has_time ? fields->time_ns : 0;
    memcpy(answer->path, fields->path.data, fields->path.len + 1);
    if (job->check == TUCK_CLIENT_CHECK_NOTHING)
        return 0;
    return tuck_file_look(answer->path, answer->size, engine->settings.is_strict, engine->user,
                          error);
}

// What an answer means for its request.
static int judge(struct tuck_engine *engine, struct tuck_job *job,
                 const struct tuck_answer_fields *fields) {
    struct tuck_client_error *error = &engine->outcome.error;
    error->code = error->os = 0;
    error->text[0] = '\0';
    const char *flaw = fields->flaw;
    if (!flaw && engine->settings.is_strict)
        flaw = fields->has_names ? "KnownCommands is in an answer" : fields->oddity;
    if (flaw)
        return tuck_client__fail(error, TUCK_CLIENT_BAD_FIELD, "%s", flaw);
    if (fields->err.len > 0) {
        char text[440];
        return tuck_client__fail(
            error, TUCK_CLIENT_REFUSED, "the helper refused: %s",
            tuck_client__printable(fields->err.data, fields->err.len, text, sizeof(text)));
    }
    if (job->command == TUCK_CLIENT_CLOSE)
        return 0;
    if (job->command == TUCK_CLIENT_GET && fields->is_miss)
        return TUCK_CLIENT_MISS;
    int status = judge_answer(engine, job, fields);
    return status < 0 ? tuck_engine_flawed(engine, job->command, status) : status;
}

// engine->outcome is complete; it may be that the bytes are to be looked at first.
static void settle(struct tuck_engine *engine, struct tuck_job *job) {
    struct tuck_outcome *outcome = &engine->outcome;
    if (outcome->status == 0 && job->check == TUCK_CLIENT_CHECK_BYTES &&
        !job->is_checked_by_caller && job->command != TUCK_CLIENT_CLOSE) {
        struct tuck_outcome *held = job->held ? job->held : malloc(sizeof(*held));
        int status = held ? tuck_file_hash_open(outcome->answer.path, outcome->answer.size,
                                                &job->hash, &outcome->error)
                          : tuck_client__fail(&outcome->error, TUCK_CLIENT_NO_MEMORY,
                                              "no memory to check an answer");
        if (status == 0) {
            memcpy(held, outcome, sizeof(*held));
            job->held = held;
            forget_sent(engine, job);
            job->state = TUCK_JOB_CHECKING;
            list_insert_before(&engine->checking, &job->place);
            return;
        }
        if (!job->held)
            free(held);
        outcome->status = tuck_engine_flawed(engine, job->command, status);
    }
    deliver(engine, job, outcome);
}

static void check_bytes(struct tuck_engine *engine) {
    if (list_is_empty(&engine->checking))
        return;
    struct tuck_job *job = job_of_place(engine->checking.after);
    struct tuck_outcome *held = job->held;
    struct tuck_output_id expected;
    memcpy(expected.bytes, held->answer.output, TUCK_ID_BYTES);
    int status = tuck_file_hash_some(&job->hash, CHECK_STEP, engine->scratch, TUCK_BODY_PIECE,
                                     &expected, &held->error);
    if (status == TUCK_FILE_MORE) { // the next one's turn
        list_remove(&job->place);
        list_insert_before(&engine->checking, &job->place);
        return;
    }
    if (status < 0)
        held->status = tuck_engine_flawed(engine, job->command, status);
    deliver(engine, job, held);
}

// --- Reading -------------------------------------------------------------------------------------

static void take_handshake(struct tuck_engine *engine, const struct tuck_answer_fields *fields) {
    const char *flaw = fields->id_flaw ? fields->id_flaw : fields->flaw;
    if (!flaw && engine->settings.is_strict)
        flaw = fields->err.len > 0 ? "Err is in the handshake" : fields->oddity;
    if (flaw)
        fail_with(engine, TUCK_CLIENT_BAD_HANDSHAKE, "the handshake is none: %s", flaw);
    else if (fields->id != 0)
        fail_with(engine, TUCK_CLIENT_BAD_HANDSHAKE,
                  "the handshake is none: it has ID %lld and not 0", (long long)fields->id);
    else if (fields->commands == 0)
        fail_with(engine, TUCK_CLIENT_BAD_HANDSHAKE,
                  "the handshake is none: it announces no commands");
    if (engine->phase != TUCK_PHASE_HANDSHAKE)
        return;
    engine->commands = fields->commands;
    engine->phase = TUCK_PHASE_OPEN;
    engine->phase_ns = UINT64_MAX;
}

static void take_close(struct tuck_engine *engine, const struct tuck_answer_fields *fields) {
    int status = judge(engine, engine->close_job, fields);
    if (status < 0)
        engine->close_error = engine->outcome.error;
    engine->close_is_answered = true;
    struct tuck_client_error error;
    (void)tuck_client__fail(&error, TUCK_CLIENT_CLOSED,
                            "the helper answered close and not this request");
    deliver_all(engine, &error);
    go_ending(engine, engine->phase_ns);
}

static void take_answer(struct tuck_engine *engine, const struct tuck_answer_fields *fields) {
    if (engine->phase == TUCK_PHASE_HANDSHAKE) {
        take_handshake(engine, fields);
        return;
    }
    if (fields->id_flaw) {
        fail_with(engine, TUCK_CLIENT_UNKNOWN_ID, "an answer to nobody: %s", fields->id_flaw);
        return;
    }
    if (engine->close_is_sent && fields->id == engine->close_job->id) {
        take_close(engine, fields);
        return;
    }
    struct tuck_job *job = fields->id > 0 ? find_sent(engine, fields->id) : NULL;
    if (!job && fields->id == 0 && fields->has_names)
        fail_with(engine, TUCK_CLIENT_HANDSHAKE_AGAIN, "a second handshake came");
    else if (!job && fields->id > 0 && fields->id <= engine->last_id)
        fail_with(engine, TUCK_CLIENT_ANSWERED_TWICE, "request %lld was answered twice",
                  (long long)fields->id);
    else if (!job)
        fail_with(engine, TUCK_CLIENT_UNKNOWN_ID,
                  "an answer came to request %lld, which was never sent", (long long)fields->id);
    else if (job->state == TUCK_JOB_WRITING && job->held)
        fail_with(engine, TUCK_CLIENT_ANSWERED_TWICE, "request %lld was answered twice",
                  (long long)fields->id);
    if (!job || engine->phase >= TUCK_PHASE_ENDING)
        return;
    if (job->state == TUCK_JOB_ABANDONED) {
        forget_sent(engine, job);
        engine->abandoned_count--;
        free_job(job);
        return;
    }
    engine->outcome.status = judge(engine, job, fields);
    if (job->state == TUCK_JOB_SENT) {
        settle(engine, job);
        return;
    }
    // Answered before its body was written: the body goes on, for the stream has to stay in step,
    // and so its source is needed until then.
    job->held = malloc(sizeof(*job->held));
    if (!job->held)
        fail_with(engine, TUCK_CLIENT_NO_MEMORY, "no memory to keep an early answer");
    else
        memcpy(job->held, &engine->outcome, sizeof(engine->outcome));
}

static void take_rest(struct tuck_engine *engine, struct tuck_slice rest) {
    while (rest.len > 0 && memchr(" \t\r\n", *rest.data, 4))
        rest.data++, rest.len--;
    if (rest.len > 0 && engine->settings.is_strict && engine->close_is_answered &&
        !engine->close_error.code)
        (void)tuck_client__fail(&engine->close_error, TUCK_CLIENT_UNASKED,
                                "the helper wrote to stdout after its answer to close");
}

static void take_input(struct tuck_engine *engine, struct tuck_slice input) {
    while (input.len > 0 && engine->phase < TUCK_PHASE_ENDING) {
        struct tuck_answer_fields fields;
        enum tuck_answer_fault fault;
        struct tuck_error why = {0};
        int status = tuck_answer_read(engine->reader, &input, &fields, &fault, &why);
        if (status == TUCK_ANSWER_READ)
            take_answer(engine, &fields);
        else if (status < 0)
            fail_with(engine,
                      fault == TUCK_ANSWER_NO_JSON ? TUCK_CLIENT_NOT_JSON : TUCK_CLIENT_TOO_LONG,
                      "%s%s", why.text, phase_text(engine));
    }
    take_rest(engine, input);
}

static void stdout_ended(struct tuck_engine *engine) {
    bool is_idle = tuck_answer_reader_is_idle(engine->reader);
    close_stdout(engine);
    if (engine->phase >= TUCK_PHASE_ENDING)
        return;
    if (engine->phase == TUCK_PHASE_CLOSING && !has_unfinished(engine))
        go_ending(engine, engine->phase_ns); // an end without an answer is as good
    else if (!is_idle)
        suspect(engine, TUCK_CLIENT_TRUNCATED, "stdout ended inside an answer");
    else
        suspect(engine, TUCK_CLIENT_STDOUT_ENDED, "the helper closed its stdout and runs on");
}

static void read_answers(struct tuck_engine *engine, unsigned rounds) {
    bool is_last = rounds > ROUNDS;
    while (rounds-- > 0 && engine->process.from >= 0) {
        ssize_t got = read(engine->process.from, engine->in, IN_ROOM);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            return;
        if (got <= 0) {
            stdout_ended(engine);
            return;
        }
        take_input(engine, (struct tuck_slice){engine->in, (size_t)got});
        if ((size_t)got < IN_ROOM && !is_last)
            return; // that was all for now
    }
}

static void read_complaints(struct tuck_engine *engine, unsigned rounds) {
    while (rounds-- > 0 && engine->process.complaints >= 0) {
        ssize_t got = read(engine->process.complaints, engine->scratch, TUCK_BODY_PIECE);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            return;
        if (got <= 0) {
            tuck_close_fd(&engine->process.complaints);
            return;
        }
        tuck_tail_add(&engine->tail, (const char *)engine->scratch, (size_t)got);
    }
}

static void process_ended(struct tuck_engine *engine) {
    // Both pipes first: what it said before it ended counts, whoever else still holds them open.
    if (engine->phase < TUCK_PHASE_ENDING)
        read_answers(engine, LAST_ROUNDS);
    read_complaints(engine, LAST_ROUNDS);
    if (engine->phase == TUCK_PHASE_HANDSHAKE || engine->phase == TUCK_PHASE_OPEN ||
        (engine->phase == TUCK_PHASE_CLOSING && has_unfinished(engine)))
        fail_with_exit(engine);
    go_ended(engine);
}

// --- Writing -------------------------------------------------------------------------------------

static void put_bytes(struct tuck_engine *engine, const char *bytes, size_t len) {
    memcpy(engine->out + engine->out_end, bytes, len);
    engine->out_end += len;
}

// Puts the next piece of a body into the buffer, the quote behind the last one included.
static int put_piece(struct tuck_engine *engine, struct tuck_job *job, bool *ret_is_last,
                     struct tuck_client_error *error) {
    size_t len;
    int status = tuck_body_next(job->body, engine->scratch, engine->out + engine->out_end,
                                OUT_ROOM - engine->out_end - 2, &len, ret_is_last, error);
    if (status < 0)
        return status;
    engine->out_end += len;
    if (*ret_is_last && job->body->size > 0)
        put_bytes(engine, "\"\n", 2);
    return 0;
}

// All of the job's bytes are in the buffer.
static void is_written(struct tuck_engine *engine, struct tuck_job *job) {
    engine->writing = NULL;
    job->state = TUCK_JOB_SENT;
    if (!job->held)
        return;
    engine->outcome = *job->held;
    settle(engine, job);
}

static void continue_body(struct tuck_engine *engine) {
    struct tuck_job *job = engine->writing;
    struct tuck_client_error error;
    bool is_last;
    int status = put_piece(engine, job, &is_last, &error);
    if (status < 0) {
        long long id = job->id;
        deliver_failure(engine, job, (enum tuck_client_status)status, "%s", error.text);
        fail_with(engine, TUCK_CLIENT_BROKEN_OFF,
                  "the connection was ended because the body of request %lld broke off: %s", id,
                  error.text);
    } else if (is_last) {
        is_written(engine, job);
    }
}

static size_t write_request(struct tuck_engine *engine, const struct tuck_job *job, char *to) {
    struct tuck_request request = {.id = job->id, .action = job->action};
    request.command = job->command == TUCK_CLIENT_GET   ? TUCK_COMMAND_GET
                      : job->command == TUCK_CLIENT_PUT ? TUCK_COMMAND_PUT
                                                        : TUCK_COMMAND_CLOSE;
    if (job->command == TUCK_CLIENT_PUT) {
        request.output = job->body->output;
        request.body_size = job->body->size;
    }
    return tuck_request_write(&request, engine->settings.form, to);
}

static bool is_announced(const struct tuck_engine *engine, enum tuck_client_command command) {
    unsigned name = command == TUCK_CLIENT_GET   ? TUCK_COMMAND_GET
                    : command == TUCK_CLIENT_PUT ? TUCK_COMMAND_PUT
                                                 : TUCK_COMMAND_CLOSE;
    return engine->commands >> name & 1;
}

static void deliver_unsent(struct tuck_engine *engine, struct tuck_job *job) {
    struct tuck_outcome *outcome = &engine->outcome;
    memset(&outcome->error, 0, sizeof(outcome->error));
    outcome->status = TUCK_CLIENT_MISS;
    if (job->command == TUCK_CLIENT_PUT) {
        outcome->status = TUCK_CLIENT_NOT_STORED;
        memcpy(outcome->answer.output, job->body->output.bytes, TUCK_ID_BYTES);
        outcome->answer.size = job->body->size;
        outcome->answer.has_time = 0;
        outcome->answer.path[0] = '\0';
    }
    deliver(engine, job, outcome);
}

// The first request in the queue; false if it has to wait for room.
static bool begin_request(struct tuck_engine *engine) {
    struct tuck_job *job = job_of_place(engine->queue.after);
    if (!is_announced(engine, job->command)) {
        deliver_unsent(engine, job);
        return true;
    }
    bool is_put = job->command == TUCK_CLIENT_PUT;
    size_t mark = engine->out_end, need = TUCK_REQUEST_ROOM + 8;
    if (is_put)
        need +=
            (job->body->size < TUCK_BODY_PIECE ? (size_t)job->body->size : TUCK_BODY_PIECE) / 3 * 4;
    if (mark > 0 && OUT_ROOM - mark < need)
        return false;
    engine->out_end += write_request(engine, job, engine->out + mark);
    bool is_last = true;
    if (is_put) {
        struct tuck_client_error error;
        if (job->body->size > 0)
            put_bytes(engine, "\"", 1);
        int status = put_piece(engine, job, &is_last, &error);
        if (status < 0) { // nothing of it has left the buffer
            engine->out_end = mark;
            deliver_failure(engine, job, (enum tuck_client_status)status, "%s", error.text);
            return true;
        }
    }
    list_remove(&job->place);
    note_sent(engine, job);
    job->state = TUCK_JOB_SENT;
    if (!is_last) {
        job->state = TUCK_JOB_WRITING;
        engine->writing = job;
    }
    return true;
}

static void begin_close(struct tuck_engine *engine) {
    if (engine->close_is_sent)
        return;
    if (is_announced(engine, TUCK_CLIENT_CLOSE)) {
        engine->out_end += write_request(engine, engine->close_job, engine->out + engine->out_end);
        engine->last_id = engine->close_job->id;
        engine->close_is_sent = true;
    } else if (!has_unfinished(engine)) {
        go_ending(engine, engine->phase_ns);
    }
}

static void fill(struct tuck_engine *engine) {
    engine->out_begin = engine->out_end = 0;
    if (engine->writing)
        continue_body(engine);
    bool has_room = true;
    while (has_room && !engine->writing && engine->phase < TUCK_PHASE_ENDING &&
           !list_is_empty(&engine->queue))
        has_room = begin_request(engine);
    if (engine->phase == TUCK_PHASE_CLOSING && !engine->writing && list_is_empty(&engine->queue) &&
        OUT_ROOM - engine->out_end >= TUCK_REQUEST_ROOM)
        begin_close(engine);
}

static void stdin_broke(struct tuck_engine *engine, int os) {
    close_stdin(engine);
    if (os != EPIPE) {
        (void)tuck_client__fail_os(&engine->failure, TUCK_CLIENT_SYSTEM, os,
                                   "cannot write to the helper");
        fail(engine);
    } else if (engine->phase == TUCK_PHASE_CLOSING && !has_unfinished(engine)) {
        go_ending(engine, engine->phase_ns);
    } else {
        suspect(engine, TUCK_CLIENT_STDIN_ENDED, "the helper closed its stdin and runs on");
    }
}

static void write_out(struct tuck_engine *engine) {
    while (engine->process.to >= 0 && !engine->suspicion.code &&
           engine->phase > TUCK_PHASE_HANDSHAKE) {
        if (engine->out_begin == engine->out_end)
            fill(engine);
        if (engine->out_begin == engine->out_end || engine->process.to < 0)
            return;
        ssize_t written = tuck_process_write(&engine->process, engine->out + engine->out_begin,
                                             engine->out_end - engine->out_begin);
        if (written == -EAGAIN)
            return;
        if (written < 0)
            stdin_broke(engine, (int)-written);
        else
            engine->out_begin += (size_t)written;
    }
}

// --- Time ----------------------------------------------------------------------------------------

static void time_out(struct tuck_engine *engine, struct tuck_job *job) {
    long long id = job->id;
    if (job->state == TUCK_JOB_SENT) {
        abandon(engine, job, TUCK_CLIENT_TIMEOUT, "was not answered in time");
        if (engine->abandoned_count > engine->settings.max_abandoned)
            fail_with(engine, TUCK_CLIENT_UNANSWERED, "the helper leaves %zu requests unanswered",
                      engine->abandoned_count);
        return;
    }
    bool was_writing = job->state == TUCK_JOB_WRITING;
    deliver_failure(engine, job, TUCK_CLIENT_TIMEOUT, "request %lld %s", id,
                    was_writing ? "could not be written in time: the helper does not read"
                    : job->state == TUCK_JOB_CHECKING
                        ? "was answered, but its file could not be checked in time"
                        : "could not be sent in time");
    if (was_writing)
        fail_with(engine, TUCK_CLIENT_BROKEN_OFF,
                  "the connection was ended because the body of request %lld could not be written "
                  "in time",
                  id);
}

static void escalate(struct tuck_engine *engine, uint64_t now_ns) {
    engine->phase_ns = now_ns + engine->settings.kill_ns;
    if (engine->signal_sent == 0) {
        tuck_process_signal(&engine->process, SIGTERM);
        tuck_process_signal(&engine->process, SIGCONT); // a stopped one would not see it
        engine->signal_sent = SIGTERM;
    } else if (engine->signal_sent == SIGTERM) {
        tuck_process_signal(&engine->process, SIGKILL);
        engine->signal_sent = SIGKILL;
        engine->phase_ns = now_ns + KILLED_NS;
    } else {
        engine->process.how = TUCK_CLIENT_END_STUCK;
        engine->process.pid = 0; // nobody waits for it any more
        go_ended(engine);
    }
}

static void phase_took_too_long(struct tuck_engine *engine, uint64_t now_ns) {
    struct tuck_client_error error;
    switch (engine->phase) {
    case TUCK_PHASE_HANDSHAKE:
        fail_with(engine, TUCK_CLIENT_NO_HANDSHAKE, "the helper said nothing for %llu ms",
                  (unsigned long long)(engine->settings.handshake_ns / TUCK_NS_PER_MS));
        break;
    case TUCK_PHASE_CLOSING:
        (void)tuck_client__fail(&error, TUCK_CLIENT_TIMEOUT,
                                "the client was closed before this request was answered");
        deliver_all(engine, &error);
        go_ending(engine, now_ns);
        break;
    case TUCK_PHASE_ENDING:
        escalate(engine, now_ns);
        break;
    case TUCK_PHASE_OPEN:
    case TUCK_PHASE_ENDED:
        break;
    }
}

static bool must_look_for_end(const struct tuck_engine *engine) {
    // Its pipes alone do not tell of its end: a child of its own may hold them.
    return engine->process.pidfd < 0 && engine->phase < TUCK_PHASE_ENDED &&
           (engine->suspicion.code || engine->phase != TUCK_PHASE_OPEN || has_unfinished(engine));
}

static void look_at_clock(struct tuck_engine *engine) {
    uint64_t now_ns = tuck_clock_mono_ns();
    while (!list_is_empty(&engine->due)) {
        struct tuck_job *job = job_of_due(engine->due.after);
        if (job->deadline_ns > now_ns)
            break;
        time_out(engine, job);
    }
    if (engine->suspicion.code && now_ns >= engine->suspicion_ns) {
        engine->failure = engine->suspicion;
        fail(engine);
    }
    while (engine->phase < TUCK_PHASE_ENDED && now_ns >= engine->phase_ns)
        phase_took_too_long(engine, now_ns);
}

static uint64_t next_deadline(const struct tuck_engine *engine) {
    uint64_t next = UINT64_MAX;
    if (!list_is_empty(&engine->due))
        next = job_of_due(engine->due.after)->deadline_ns;
    if (engine->phase < TUCK_PHASE_ENDED && engine->phase_ns < next)
        next = engine->phase_ns;
    if (engine->suspicion.code && engine->suspicion_ns < next)
        next = engine->suspicion_ns;
    if (must_look_for_end(engine)) {
        uint64_t look = tuck_clock_mono_ns() + END_LOOK_NS;
        next = look < next ? look : next;
    }
    return next;
}

// --- What client.c calls -------------------------------------------------------------------------

bool tuck_engine_prepare(struct tuck_engine *engine) {
    write_out(engine);
    deliver_close(engine);
    uint64_t next = next_deadline(engine);
    if (next != UINT64_MAX)
        tuck_watch_set_timer(&engine->watch, next);
    return !list_is_empty(&engine->checking);
}

void tuck_engine_handle(struct tuck_engine *engine, unsigned events) {
    if (events & TUCK_WATCH_IN)
        read_answers(engine, ROUNDS);
    if (events & TUCK_WATCH_COMPLAINTS)
        read_complaints(engine, ROUNDS);
    if (engine->phase < TUCK_PHASE_ENDED &&
        ((events & TUCK_WATCH_EXIT) || must_look_for_end(engine)) &&
        tuck_process_has_ended(&engine->process))
        process_ended(engine);
    look_at_clock(engine);
    check_bytes(engine);
}

static void insert_by_deadline(struct tuck_engine *engine, struct tuck_job *job) {
    if (job->deadline_ns == UINT64_MAX)
        return;
    struct tuck_link *place = &engine->due; // most deadlines are the latest yet
    while (place->before != &engine->due &&
           job_of_due(place->before)->deadline_ns > job->deadline_ns)
        place = place->before;
    list_insert_before(place, &job->due);
}

void tuck_engine_add(struct tuck_engine *engine, struct tuck_job *job) {
    job->state = TUCK_JOB_QUEUED;
    job->hash.fd = -1;
    if (job->command == TUCK_CLIENT_CLOSE) {
        engine->close_job = job;
        if (engine->phase >= TUCK_PHASE_ENDING)
            return; // delivered when it has ended
        engine->phase_ns = tuck_clock_mono_ns() + engine->settings.close_ns;
        if (engine->phase == TUCK_PHASE_HANDSHAKE) {
            struct tuck_client_error error;
            (void)tuck_client__fail(&error, TUCK_CLIENT_CLOSED,
                                    "the client was closed before the helper's handshake");
            deliver_all(engine, &error);
            go_ending(engine, engine->phase_ns);
        } else {
            engine->phase = TUCK_PHASE_CLOSING;
        }
    } else if (engine->phase >= TUCK_PHASE_ENDING) {
        if (engine->failure.code)
            engine->outcome.error = engine->failure;
        else
            (void)tuck_client__fail(&engine->outcome.error, TUCK_CLIENT_CLOSED,
                                    "the client is closed");
        engine->outcome.status = engine->outcome.error.code;
        deliver(engine, job, &engine->outcome);
    } else {
        list_insert_before(&engine->queue, &job->place);
        insert_by_deadline(engine, job);
    }
}

void tuck_engine_cancel(struct tuck_engine *engine, int64_t id) {
    static const char text[] = "request %lld was canceled";
    struct tuck_job *job = find_sent(engine, id);
    if (job) {
        if (job->state == TUCK_JOB_SENT)
            abandon(engine, job, TUCK_CLIENT_CANCELED, "was canceled");
        if (engine->abandoned_count > engine->settings.max_abandoned)
            fail_with(engine, TUCK_CLIENT_UNANSWERED, "the helper leaves %zu requests unanswered",
                      engine->abandoned_count);
        return;
    }
    struct tuck_link *lists[] = {&engine->queue, &engine->checking};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(lists); i++)
        for (struct tuck_link *at = lists[i]->after; at != lists[i]; at = at->after) {
            job = job_of_place(at);
            if (job->id != id)
                continue;
            deliver_failure(engine, job, TUCK_CLIENT_CANCELED, text, (long long)id);
            return;
        }
}

void tuck_engine_kill(struct tuck_engine *engine) {
    struct tuck_client_error error;
    (void)tuck_client__fail(&error, TUCK_CLIENT_CLOSED, "the client was freed");
    while (!list_is_empty(&engine->checking)) {
        engine->outcome.status = error.code;
        engine->outcome.error = error;
        deliver(engine, job_of_place(engine->checking.after), &engine->outcome);
    }
    if (engine->phase < TUCK_PHASE_ENDING) {
        go_ending(engine, 0);
        deliver_all(engine, &error);
    }
    if (engine->phase == TUCK_PHASE_ENDING && engine->signal_sent != SIGKILL) {
        engine->signal_sent = SIGTERM; // so that the next step is SIGKILL, now
        engine->phase_ns = 0;
    }
}

static int init_watch(struct tuck_engine *engine, struct tuck_client_error *error) {
    const struct tuck_process *process = &engine->process;
    int status = tuck_watch_add(&engine->watch, process->to, TUCK_WATCH_OUT);
    if (status == 0)
        status = tuck_watch_add(&engine->watch, process->from, TUCK_WATCH_IN);
    if (status == 0 && process->complaints >= 0)
        status = tuck_watch_add(&engine->watch, process->complaints, TUCK_WATCH_COMPLAINTS);
    if (status == 0 && process->pidfd >= 0)
        status = tuck_watch_add(&engine->watch, process->pidfd, TUCK_WATCH_EXIT);
    return status == 0 ? 0
                       : tuck_client__fail_os(error, TUCK_CLIENT_SYSTEM, -status,
                                              "cannot watch the helper's pipes");
}

static int allocate(struct tuck_engine *engine, struct tuck_client_error *error) {
    size_t buckets = 64;
    while (buckets < 65536 && buckets < engine->settings.max_abandoned)
        buckets *= 2;
    engine->bucket_mask = buckets - 1;
    engine->buckets = calloc(buckets, sizeof(struct tuck_job *));
    engine->out = malloc(OUT_ROOM);
    engine->in = malloc(IN_ROOM);
    engine->scratch = malloc(TUCK_BODY_PIECE);
    if (!engine->buckets || !engine->out || !engine->in || !engine->scratch ||
        tuck_answer_reader_new(&engine->reader) < 0)
        return tuck_client__fail(error, TUCK_CLIENT_NO_MEMORY, "no memory for a client");
    return 0;
}

static void release(struct tuck_engine *engine) {
    tuck_answer_reader_free(engine->reader);
    free(engine->buckets);
    free(engine->out);
    free(engine->in);
    free(engine->scratch);
    tuck_tail_fini(&engine->tail);
    tuck_watch_fini(&engine->watch);
}

int tuck_engine_init(struct tuck_engine *engine, const struct tuck_engine_settings *settings,
                     const struct tuck_process_plan *plan, size_t tail_room,
                     struct tuck_client_error *error) {
    *engine = (struct tuck_engine){.settings = *settings, .phase = TUCK_PHASE_HANDSHAKE};
    list_init(&engine->queue);
    list_init(&engine->checking);
    list_init(&engine->due);
    engine->user = geteuid();
    int status = tuck_watch_init(&engine->watch);
    if (status < 0)
        return tuck_client__fail_os(error, TUCK_CLIENT_SYSTEM, -status, "cannot watch anything");
    if (tuck_tail_init(&engine->tail, tail_room) < 0) {
        tuck_watch_fini(&engine->watch);
        return tuck_client__fail(error, TUCK_CLIENT_NO_MEMORY, "no memory for a client");
    }
    status = allocate(engine, error);
    if (status == 0)
        status = tuck_process_start(plan, &engine->process, error);
    if (status < 0) {
        release(engine);
        return status;
    }
    engine->phase_ns = settings->handshake_ns == UINT64_MAX
                           ? UINT64_MAX
                           : tuck_clock_mono_ns() + settings->handshake_ns;
    status = init_watch(engine, error);
    if (status < 0) { // it has not been spoken to
        tuck_process_signal(&engine->process, SIGKILL);
        while (!tuck_process_has_ended(&engine->process))
            (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        tuck_process_fini(&engine->process);
        release(engine);
    }
    return status;
}

void tuck_engine_fini(struct tuck_engine *engine) {
    tuck_verify(engine->phase == TUCK_PHASE_ENDED && !has_unfinished(engine));
    release(engine);
}

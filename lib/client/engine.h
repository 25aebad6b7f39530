// SPDX-License-Identifier: MIT
/*
 * The conversation with one helper as a state machine that never blocks: requests go in as jobs,
 * each comes out once through `deliver`. It reads and writes the pipes, matches answers, keeps
 * deadlines and brings the process to its end.
 *
 *     HANDSHAKE ─► OPEN ─► CLOSING ─► ENDING ─► ENDED
 *          └─────────┴────────┴───────────▲
 *                 any failure of the connection
 *
 *   HANDSHAKE  nothing is written before the helper's first word
 *   OPEN       as it should be
 *   CLOSING    what waits goes out and is answered, then close, then its answer
 *   ENDING     stdin is closed, whatever waited is delivered; the process is to end: left alone until the deadline, then
 *              SIGTERM, then SIGKILL. After a failure the first deadline is now
 *   ENDED      waited for, or given up
 *
 * A broken pipe or the end of stdout says less than the process's end, which usually comes right
 * after: so these are first a *suspicion*, and the failure is told when the process has ended or
 * 200 ms have passed.
 *
 * Not here: threads, who waits, limits on how much is submitted (client.c). Threads: one at a
 * time.
 */
#pragma once
#include "lib/client/body.h"
#include "lib/client/file.h"
#include "lib/client/process.h"
#include "lib/client/tail.h"
#include "lib/client/watch.h"
#include "protocol/asking.h"

/** A place in a doubly linked, circular list with a head. */
struct tuck_link {
    struct tuck_link *before, *after;
};

enum tuck_job_state {
    TUCK_JOB_QUEUED,    // in `queue`
    TUCK_JOB_WRITING,   // its body is being written
    TUCK_JOB_SENT,      // its answer is due
    TUCK_JOB_CHECKING,  // answered; the file is being hashed; in `checking`
    TUCK_JOB_ABANDONED, // delivered already; an answer will be dropped
};

/** One request. Made by client.c, owned by the engine from tuck_engine_add() until it is
 * delivered, and freed by it. */
struct tuck_job {
    /* const once added */
    int64_t id; // on the wire; also the ticket. They go up from 1
    enum tuck_client_command command;
    enum tuck_client_check check;
    bool is_checked_by_caller; // CHECK_BYTES is left to whoever waits for it
    uint64_t deadline_ns;      // UINT64_MAX for none
    struct tuck_action_id action;
    tuck_client_done *done; // whom to tell; or
    void *arg;
    void *waiter; // who waits
    /* the engine's */
    struct tuck_body *body; // of a put; owned
    enum tuck_job_state state;
    struct tuck_link place; // in queue or checking
    struct tuck_link due;   // by deadline
    struct tuck_job *next_in_bucket;
    struct tuck_outcome *held; // its answer, while it cannot be delivered yet
    struct tuck_file_hash hash;
};

/** What a request came to. */
struct tuck_outcome {
    int status;
    struct tuck_client_answer answer;
    struct tuck_client_error error;
};

enum tuck_phase {
    TUCK_PHASE_HANDSHAKE,
    TUCK_PHASE_OPEN,
    TUCK_PHASE_CLOSING,
    TUCK_PHASE_ENDING,
    TUCK_PHASE_ENDED,
};

struct tuck_engine_settings {
    bool is_strict;
    unsigned form;                            // enum tuck_request_form
    uint64_t handshake_ns, close_ns, kill_ns; // lengths of time
    size_t max_abandoned;
    void (*deliver)(void *owner, struct tuck_job *job, const struct tuck_outcome *outcome);
    void *owner;
};

/** Everything is owned by whoever drives; public so that client.c can hold it by value and read
 * phase, commands, failure and process. */
struct tuck_engine {
    struct tuck_engine_settings settings; /* const */
    struct tuck_watch watch;
    struct tuck_process process;
    struct tuck_tail tail;
    uid_t user;

    enum tuck_phase phase;
    unsigned commands;                // 1 << enum tuck_command
    struct tuck_client_error failure; // of the connection; code 0 while there is none
    struct tuck_client_error suspicion;
    uint64_t suspicion_ns;      // when it becomes a failure
    uint64_t phase_ns;          // when the phase has lasted too long
    int signal_sent;            // 0, SIGTERM, SIGKILL
    struct tuck_job *close_job; // delivered at the very end
    bool close_is_sent, close_is_answered, stdout_is_over;
    struct tuck_client_error close_error; // Err, or what came behind the answer

    struct tuck_link queue, checking, due;
    struct tuck_job *writing;
    struct tuck_job **buckets; // by id, of requests whose answer is due
    size_t bucket_mask;
    size_t sent_count, abandoned_count;
    uint64_t delivered; // how many there were
    int64_t last_id;    // written or about to be

    char *out; // to be written: [out_begin, out_end)
    size_t out_begin, out_end;
    uint8_t *in, *scratch;
    struct tuck_answer_reader *reader;
    struct tuck_outcome outcome; // of the answer at hand: large, and so not on the stack
};

/** Starts the helper. On failure nothing is left. */
TUCK_CHECKED int tuck_engine_init(struct tuck_engine *engine,
                                  const struct tuck_engine_settings *settings,
                                  const struct tuck_process_plan *plan, size_t tail_room,
                                  struct tuck_client_error *error);

/** In phase ENDED only. Nothing must wait in it any more. */
void tuck_engine_fini(struct tuck_engine *engine);

/** Takes the job. Close may be added once. Jobs come in the order of their ids. */
void tuck_engine_add(struct tuck_engine *engine, struct tuck_job *job);

/** The job is delivered as canceled, unless its body is half written. */
void tuck_engine_cancel(struct tuck_engine *engine, int64_t id);

/** Writes what can be written. To be called before waiting; sets the timer. True if there is
 * other work, so that there must be no wait. */
TUCK_CHECKED bool tuck_engine_prepare(struct tuck_engine *engine);

/** Deals with what tuck_watch_wait() returned, and with the time. */
void tuck_engine_handle(struct tuck_engine *engine, unsigned events);

/** Gives everything up: all jobs are delivered as closed, the helper is killed. Then go on
 * until ENDED. */
void tuck_engine_kill(struct tuck_engine *engine);

/** What becomes of a flawed answer to this command: a miss, or the failure itself. */
int tuck_engine_flawed(const struct tuck_engine *engine, enum tuck_client_command command,
                       int status);

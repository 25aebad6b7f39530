// SPDX-License-Identifier: MIT
/*
 * One running helper, seen from the client's side: its process, its three pipes, and what it said.
 * All helpers of a case form a group that is served by one loop, so that nothing a helper does, or
 * does not do, can block the judge: every wait has a deadline.
 *
 * What holds for every conversation is watched here (rule G0 of the protocol): nothing but JSON
 * objects on stdout, the handshake first and once, no answer to an ID that is not outstanding. The
 * first breach is kept. Whether an answer is a good one is the business of judge.h.
 *
 * Threads: none. Ownership: a helper belongs to its group, requests and answers to their helper.
 */
#pragma once
#include "cmd/tuck-conform/value.h"
#include "lib/base/error.h"

#include <jansson.h>
#include <sys/resource.h>
#include <sys/types.h>

enum request_kind { REQUEST_RAW, REQUEST_GET, REQUEST_PUT, REQUEST_CLOSE };

/** An ID that was asked, and what came back. An ID that is asked twice is two requests. */
struct request {
    int64_t id;
    enum request_kind kind;
    bool is_bent;    // fields are not what the go command would send
    bool has_action; // action and body are what a good helper would make of it
    uint8_t action[TUCK_ID_BYTES];
    struct value body;
    json_t *answer;       // NULL until it came
    size_t place;         // its place among all answers, from 0
    uint64_t answered_ns; // monotonic
    uint64_t sent_wall_ns, answered_wall_ns;
    int next_same; // the next request with this ID, or -1
};

enum helper_stdin { STDIN_PIPE, STDIN_AT_END, STDIN_NULL, STDIN_CLOSED };
enum helper_stderr { STDERR_KEPT, STDERR_CLOSED, STDERR_FULL, STDERR_BROKEN, STDERR_STUFFED };

/** How a helper is started. Everything is borrowed for the call. */
struct helper_spec {
    const char *name;
    char *const *argv;
    char *const *environment;
    const char *directory;      // working directory
    bool is_directory_gone;     // which is removed before the helper runs
    bool is_nobody;             // gives up root's rights
    bool is_unread;             // nobody reads its stdout for now
    int umask;                  // -1: as it is
    rlim_t limit[RLIM_NLIMITS]; // RLIM_INFINITY: as it is
    enum helper_stdin stdin_kind;
    enum helper_stderr stderr_kind;
};

#define HELPER_LOG_LINES 14

struct helper {
    struct helper *next;
    struct helper_group *group;
    char *name;
    pid_t pid;
    int in, out, err_fd, spare; // our ends; -1 once closed
    int exit_fd;                // readable once it has exited; -1: not to be had
    bool is_unread, is_stdout_over, is_stderr_over, is_over, is_signalled, has_hello;
    bool is_broken;        // it does not read its stdin any more
    bool is_reaped;        // and its pid may belong to somebody else
    unsigned sent_signals; // bit by number
    int status;            // of wait(), once reaped
    struct buf stdout_raw; // not yet understood
    struct buf stderr_raw;
    size_t scanned, depth; // of the object that is arriving
    bool is_in_string, is_escaped, is_in_object;
    json_t *hello;
    struct request *requests;
    size_t request_count, request_room;
    int *by_id; // hash table of places in requests, -1: free
    size_t by_id_room;
    size_t answer_count;
    uint64_t started_ns, hello_ns, stdout_over_ns, over_ns;
    uint64_t memory_base, memory_peak, memory_limit; // watched while memory_limit is not 0
    const char *breach_clause;
    char *breach; // what rule every conversation has to keep was broken, or NULL
    char *log[HELPER_LOG_LINES];
    size_t log_count;
};

struct helper_group {
    struct helper *first;
    uint64_t started_ns;
};

/** Starts a helper. 0; or < 0 when it cannot be executed, with errno in err->os. */
TUCK_CHECKED int helper_start(struct helper_group *group, const struct helper_spec *spec,
                              struct helper **ret_helper, struct tuck_error *err);

/** Serves all helpers of the group until done() says so or the deadline (monotonic ns) has passed;
 * returns done(). A NULL done waits for the deadline. */
bool helper_pump(struct helper_group *group, uint64_t deadline_ns, bool (*done)(void *arg),
                 void *arg);

enum helper_outcome {
    HELPER_GONE = 1, // it has closed its stdin
    HELPER_STUCK,    // it took nothing more before the deadline
};

/** Writes to its stdin while serving the group. 0 or a helper_outcome; *ret_taken (may be NULL) is
 * how much was written. */
TUCK_CHECKED int helper_send(struct helper *helper, const void *data, size_t len,
                             uint64_t patience_ns, size_t *ret_taken);

/** True when everything sent was read by the helper. */
bool helper_took_all(const struct helper *helper);

/** True when it has written something that nobody has read yet, or has ended. */
bool helper_has_unread(const struct helper *helper);

/** Notes that a request with this ID goes out; valid until the next call. */
struct request *helper_ask(struct helper *helper, int64_t id);

/** The request with this ID, the first that was made of several; NULL if there is none. */
struct request *helper_request(const struct helper *helper, int64_t id);

/** Forgets all requests, which must have been answered: for loads that are too large to keep. */
void helper_forget_requests(struct helper *helper);

/** Closes our end of its stdin or stdout. */
void helper_end_input(struct helper *helper);
void helper_hang_up(struct helper *helper);

/** Sends a signal to the process, or to its process group. */
void helper_signal(struct helper *helper, int number, bool is_for_group);

/** True once it has exited. It stays a zombie, and its pid its own, until helper_kill(). */
bool helper_is_over(struct helper *helper);

/** Kills what still runs of it and releases its descriptors; answers stay readable. */
void helper_kill(struct helper *helper);

void helper_free_all(struct helper_group *group);

/** Adds a line to the helper's log of what was said last. */
void helper_note(struct helper *helper, char mark, const void *text, size_t len);

/** Keeps the first breach of what holds for every conversation. */
__attribute__((format(printf, 3, 4))) void helper_breach(struct helper *helper, const char *clause,
                                                         const char *format, ...);

/** A number of /proc/PID/status in bytes; 0 when it is not known. */
uint64_t helper_memory(const struct helper *helper);

/** Processor time of all its threads, ns; 0 when it is not known. */
uint64_t helper_processor_ns(const struct helper *helper);

/** How many processes of its group run besides itself. */
size_t helper_left_behind(const struct helper *helper);

/** How many descriptors it has open, and how many bytes on disk the files take that it may write to.
 * 0 when it is not known. */
size_t helper_descriptors(const struct helper *helper, uint64_t *ret_disk_bytes);

static inline bool helper_ended_well(const struct helper *helper) {
    return helper->is_over && helper->status == 0;
}

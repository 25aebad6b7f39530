// SPDX-License-Identifier: MIT
/*
 * tuck/client.h: talk to a GOCACHEPROG helper.
 *
 * A helper is a program that keeps what Go builds have made. The go command starts one, asks it over
 * its stdin and stdout for outputs ("get"), hands it new ones ("put") and lets it end ("close"). This
 * library is the go command's end of that conversation, for programs of any kind: it starts any
 * helper, sends byte for byte what the go command sends, and survives whatever comes back. Where the
 * go command exits or waits for ever, it returns an error that names what the helper did.
 *
 * It is no cache: it stores nothing, and whether two builds may share an output is its user's business.
 *
 *     struct tuck_client_options options = TUCK_CLIENT_OPTIONS_INIT;
 *     struct tuck_client_error error;
 *     struct tuck_client_answer answer;
 *     struct tuck_client *client = NULL;
 *
 *     options.command = getenv("GOCACHEPROG");
 *     if (tuck_client_open(&options, &client, &error) < 0)
 *         return complain(error.text);
 *     switch (tuck_client_get(client, action, &answer, &error)) {
 *     case TUCK_CLIENT_OK:   use(answer.path, answer.size); break;
 *     case TUCK_CLIENT_MISS: make it, then tuck_client_put_fd(client, action, fd, &answer, &error); break;
 *     default:               complain(error.text);       // build without the cache
 *     }
 *     tuck_client_close(client, NULL);
 *     tuck_client_free(client);
 *
 * WORDS. An *action* is what a build step is called, 32 bytes; an *output* is what it made. The output
 * id is the SHA-256 of its bytes, and these are the *body* of a put. A get ends in a *hit*, with the path
 * of a file that holds the output, or in a *miss*.
 *
 * RESULTS. Functions that can fail return an int: 0 (TUCK_CLIENT_OK) done, above 0 an outcome that is no
 * failure, below 0 a failure; all are in enum tuck_client_status. A struct tuck_client_error of the
 * caller, where one is passed (NULL is allowed everywhere), says more in words. Text from the helper in
 * it is cut and made printable. A failed get should be treated as a miss, a failed put as not stored:
 * a cache must not end a build.
 *
 * THREADS. Any number of threads may use one client at the same time; only tuck_client_free() must be
 * the last call. At each moment at most one thread *drives* a client: it alone reads, writes, looks at
 * files and calls back. Whoever waits in one of the waiting functions (call, get, put, wait, close,
 * open) drives as long as nobody else does; tuck_client_dispatch() drives for one step; with
 * TUCK_CLIENT_THREAD a thread of the client's own drives always. So a host without threads and without
 * an event loop just calls; a host with an event loop polls tuck_client_fd() and dispatches; a host with
 * threads does what it likes. Callbacks run on the thread that drives, with no lock held, never inside
 * tuck_client_submit() or tuck_client_cancel(), once for each request. They may submit and cancel; they
 * should not block, and the waiting functions fail in them with TUCK_CLIENT_USAGE.
 *
 * HOST. There is no global state. No signal disposition is changed: SIGPIPE from a helper that closed
 * its stdin is blocked and taken on the writing thread alone. The host may ignore SIGCHLD or handle it;
 * only the client's own child is waited for, once. All descriptors are close-on-exec from the moment they
 * exist and are never 0, 1 or 2. A child of fork() must not use a client. No limit is put on time unless
 * the options say so: see there; TUCK_CLIENT_NO_LIMIT lifts one.
 *
 * MEMORY. A client takes some 400 kB whatever is put or answered, and about 400 bytes for each request
 * that waits. Pointers in parameters are borrowed for the call unless it is said otherwise.
 *
 * The structs that a host fills in begin with their size, so that they can grow: always initialise them
 * with the macro of their name. libtuck needs no set-up, and links to libcrypto alone.
 */
#ifndef TUCK_CLIENT_H
#define TUCK_CLIENT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define TUCK_CLIENT_API     __attribute__((visibility("default")))
#define TUCK_CLIENT_CHECKED __attribute__((visibility("default"), warn_unused_result))
#else
#define TUCK_CLIENT_API
#define TUCK_CLIENT_CHECKED
#endif

#define TUCK_CLIENT_ID_BYTES 32
#define TUCK_CLIENT_PATH_MAX 4096        /* with the terminator */
#define TUCK_CLIENT_NO_LIMIT 0xffffffffu /* for times in milliseconds */

/* What a call came to. The names are also what tuck_client_status_name() returns. */
enum tuck_client_status {
    TUCK_CLIENT_OK = 0,

    /* Outcomes. */
    TUCK_CLIENT_MISS =
        1, /* get: the helper does not have it, or has not announced get. If error.code is not 0,
                                   the helper claimed a hit, and error says why it is none */
    TUCK_CLIENT_NOT_STORED = 2, /* put: nothing was sent, for the helper has not announced put */
    TUCK_CLIENT_FULL = 3,   /* submit: max_pending requests wait already; nothing was submitted */
    TUCK_CLIENT_FORCED = 4, /* close: the helper ended only after SIGTERM or SIGKILL */
    TUCK_CLIENT_ENDED =
        5, /* dispatch: the helper was reaped, nothing is left to do; stop polling */

    /* On this side. */
    TUCK_CLIENT_NO_MEMORY = -1,
    TUCK_CLIENT_SYSTEM = -2, /* a system call failed; error.os has its errno */
    TUCK_CLIENT_USAGE =
        -3, /* an argument is wrong, or a waiting function was called in a callback */
    TUCK_CLIENT_CLOSED = -4,   /* the client is closing or closed: the request was not sent */
    TUCK_CLIENT_CANCELED = -5, /* by tuck_client_cancel() */
    TUCK_CLIENT_TIMEOUT = -6,  /* the request's time was up, in whatever state it was */
    TUCK_CLIENT_BAD_BODY =
        -7, /* the body could not be read, ended early, went on, changed, or has another hash */
    TUCK_CLIENT_BROKEN_OFF =
        -8, /* another request's body broke off or timed out half written, and the connection
                                    was ended so that nothing of it can be stored */

    /* The helper's start. */
    TUCK_CLIENT_NO_START =
        -20, /* no such program, not executable, a command line that cannot be split */
    TUCK_CLIENT_NO_HANDSHAKE = -21, /* none came within handshake_ms */
    TUCK_CLIENT_BAD_HANDSHAKE =
        -22, /* the first object is none: another ID, no names of commands */

    /* The helper's end, in the midst of things. */
    TUCK_CLIENT_EXITED =
        -30, /* it exited or was killed; the text says with what, tuck_client_end() too */
    TUCK_CLIENT_STDOUT_ENDED = -31, /* it closed its stdout, and runs on */
    TUCK_CLIENT_STDIN_ENDED = -32,  /* it closed its stdin, and runs on */
    TUCK_CLIENT_UNANSWERED =
        -33, /* more than max_pending requests were given up, and none was ever answered */

    /* The connection is lost: what the helper wrote cannot be followed. */
    TUCK_CLIENT_NOT_JSON =
        -40, /* something that is no JSON object: text, a comment, a trailing comma */
    TUCK_CLIENT_TRUNCATED = -41, /* stdout ended inside an answer */
    TUCK_CLIENT_TOO_LONG = -42,  /* an answer of more than 64 MiB, or nested deeper than 2,048 */
    TUCK_CLIENT_UNKNOWN_ID =
        -43, /* an answer to a request that was never sent, or without a usable ID */
    TUCK_CLIENT_ANSWERED_TWICE = -44,  /* a second answer to one request */
    TUCK_CLIENT_HANDSHAKE_AGAIN = -45, /* a second handshake */
    TUCK_CLIENT_UNASKED = -46,         /* strict: something after the answer to close */

    /* One request is lost. */
    TUCK_CLIENT_REFUSED = -60, /* the helper answered Err; its text is in the error */
    TUCK_CLIENT_BAD_FIELD =
        -61, /* a field of the answer has the wrong type, or a value that it cannot have */
    TUCK_CLIENT_NO_PATH = -62,  /* an answer to put without DiskPath */
    TUCK_CLIENT_BAD_PATH = -63, /* DiskPath is relative, too long, has a NUL, or is no UTF-8 */
    TUCK_CLIENT_BAD_FILE =
        -64, /* what DiskPath names is missing, no regular file, unreadable, or of another size */
    TUCK_CLIENT_WRONG_BYTES = -65, /* TUCK_CLIENT_CHECK_BYTES: its SHA-256 is another */
};

struct tuck_client_error {
    int code; /* enum tuck_client_status; 0 while nothing is wrong */
    int os;   /* errno at the origin, 0 if none */
    char text
        [504]; /* one line for people, without an end; valid UTF-8 unless a file's name is not */
};

/* --- Options ----------------------------------------------------------------------------------- */

enum tuck_client_flags {
    TUCK_CLIENT_THREAD = 1, /* a thread of the client's own drives; it has all signals blocked */
    TUCK_CLIENT_OWN_GROUP =
        2, /* the helper gets its own process group, so that a terminal's ^C does not reach it
                                  (under the go command it does). Signals at close then go to that group */
    TUCK_CLIENT_NO_WAIT =
        4, /* open returns when the program has started; requests wait for the handshake, and
                                  meet its failure */
};

enum tuck_client_mode {
    TUCK_CLIENT_GO =
        0, /* Exactly the bytes of the go command, and as lenient as it: names in any letter case, fields
                           given twice; a hit that is flawed is a miss. Never more lenient: an OutputID that is not of
                           32 bytes, which the go command fills up, is a miss too */
    TUCK_CLIENT_STRICT, /* For testing helpers: no empty line behind a request, which the protocol does not ask for,
                           and an error for everything in an answer that it does not promise */
};

enum tuck_client_names {                            /* what a put calls its output id */
                         TUCK_CLIENT_OUTPUT_ID = 0, /* OutputID: Go 1.24 and later */
                         TUCK_CLIENT_OBJECT_ID, /* ObjectID: helpers written for Go 1.21 to 1.23 */
                         TUCK_CLIENT_BOTH_IDS, /* both, as a Go 1.24 built with GOEXPERIMENT=cacheprog */
};

enum tuck_client_check { /* how far an answered file is trusted */
                         TUCK_CLIENT_CHECK_DEFAULT =
                             0, /* in options: CHECK_FILE; in a request: what the options say */
                         TUCK_CLIENT_CHECK_NOTHING, /* the path is absolute, no more */
                         TUCK_CLIENT_CHECK_FILE, /* and names a readable, regular file of the right size (one stat) */
                         TUCK_CLIENT_CHECK_BYTES, /* and has the SHA-256 that it should have. A waiting call hashes on its own thread;
                                      for submitted requests the driver does, in steps of 1 MiB */
};

enum tuck_client_stderr_to { /* where the helper's stderr goes */
                             TUCK_CLIENT_STDERR_INHERIT =
                                 0, /* the host's, as under the go command */
                             TUCK_CLIENT_STDERR_CAPTURE, /* the last stderr_limit bytes are kept for tuck_client_stderr(), and the last line
                                       appears in errors. Read only while someone drives */
                             TUCK_CLIENT_STDERR_FD,      /* a duplicate of stderr_fd */
                             TUCK_CLIENT_STDERR_DISCARD, /* /dev/null */
};

/* Zero always means the default. Strings and lists are copied. */
struct tuck_client_options {
    uint32_t struct_size;
    uint32_t flags; /* enum tuck_client_flags */

    /* The program: one of these two. A command is split as the go command splits GOCACHEPROG: at blanks; a word that
     * begins with ' or " runs to the next such quote; nothing is escaped or expanded. A name without a slash is looked
     * up in the host's PATH, but never taken from a relative directory of it. */
    const char *command;
    const char *const *argv;        /* NULL-terminated */
    const char *const *environment; /* NULL-terminated NAME=value; NULL: the host's */

    uint32_t mode;  /* enum tuck_client_mode */
    uint32_t names; /* enum tuck_client_names */
    uint32_t check; /* enum tuck_client_check */

    uint32_t stderr_to;    /* enum tuck_client_stderr_to */
    int32_t stderr_fd;     /* borrowed until open returns */
    uint32_t stderr_limit; /* bytes; default 16,384, at most 16 MiB */

    uint32_t handshake_ms; /* until the helper's first word; default 10,000 */
    uint32_t timeout_ms;   /* for a request that names none, from submission on; default 300,000 */
    uint32_t close_ms; /* close: until SIGTERM; default 10,000. No NO_LIMIT: at most 3,600,000 */
    uint32_t
        kill_ms; /* from SIGTERM to SIGKILL, and from there until it is given up; default 1,000, as above */

    uint32_t
        max_pending; /* submitted requests that may wait at a time; default 4,096, at most 1,048,576 */
};
#define TUCK_CLIENT_OPTIONS_INIT                                                                   \
    { sizeof(struct tuck_client_options) }

/* --- Requests ---------------------------------------------------------------------------------- */

enum tuck_client_command {
    TUCK_CLIENT_GET = 1,
    TUCK_CLIENT_PUT,
    TUCK_CLIENT_CLOSE,
};

enum tuck_client_body_kind {
    TUCK_CLIENT_BODY_EMPTY = 0,
    TUCK_CLIENT_BODY_MEMORY, /* size bytes at data */
    TUCK_CLIENT_BODY_FD, /* a whole regular file, read from offset 0; the file offset is left alone. Its size is found
                                out: leave size 0 */
    TUCK_CLIENT_BODY_SOURCE, /* size bytes that a function gives; the request must name the output id */
};

enum tuck_client_body_flags {
    TUCK_CLIENT_BODY_TRUSTED =
        1, /* do not hash while sending: the output id given is known to be right */
};

/* What a put stores. Data, descriptor and source are borrowed until the request is completed.
 *
 * Without an output id in the request, the body is first hashed on the calling thread. Unless it is trusted, it is
 * hashed while it is sent, and compared before the helper gets the end of it: a source that fails, is too short or too
 * long, or changes on the way leaves a helper nothing that it could store. A body of less than 48 KiB is read before
 * anything of it is sent, so that then only its own request fails. With a larger one the connection has to be ended in
 * mid-string, for the protocol knows no way back: all other requests fail with TUCK_CLIENT_BROKEN_OFF. */
struct tuck_client_body {
    uint32_t kind;  /* enum tuck_client_body_kind */
    uint32_t flags; /* enum tuck_client_body_flags */
    uint64_t size;  /* bytes */
    const void *data;
    /* Puts up to room bytes into buffer; returns how many, 0 at the end, below 0 on failure. Called by whoever
     * drives, so it should not block. */
    int64_t (*read)(void *arg, void *buffer, size_t room);
    void *arg;
    int32_t fd;
    int32_t reserved;
};

struct tuck_client_request {
    uint32_t struct_size;
    uint32_t command;             /* enum tuck_client_command */
    const uint8_t *action;        /* get and put: 32 bytes */
    const uint8_t *output;        /* put: 32 bytes, or NULL to have it computed */
    struct tuck_client_body body; /* put */
    uint32_t timeout_ms;          /* 0: that of the options. Not for close */
    uint32_t check;               /* enum tuck_client_check */
};
#define TUCK_CLIENT_REQUEST_INIT                                                                   \
    { sizeof(struct tuck_client_request) }

/* Of a hit or a put. Plain memory of the caller, nothing to free. The file belongs to the helper: read it, do not
 * write, move or remove it; it is there at least until close, usually for a day. */
struct tuck_client_answer {
    uint8_t output[TUCK_CLIENT_ID_BYTES];
    uint64_t size;    /* bytes of the file */
    int64_t time_s;   /* hit: when the action was last put, seconds since 1970 */
    uint32_t time_ns; /* and nanoseconds */
    uint32_t has_time;
    uint64_t reserved[4];
    char path[TUCK_CLIENT_PATH_MAX]; /* absolute */
};

/* How a submitted request ended: status is 0, TUCK_CLIENT_MISS, TUCK_CLIENT_NOT_STORED, TUCK_CLIENT_FORCED or below 0.
 * *answer counts for 0, and its output and size for NOT_STORED; *error for all others. Both are borrowed for the call. */
typedef void tuck_client_done(void *arg, int status, const struct tuck_client_answer *answer,
                              const struct tuck_client_error *error);

/* How the helper's process ended. */
enum tuck_client_end_how {
    TUCK_CLIENT_RUNS = 0,
    TUCK_CLIENT_END_EXIT,   /* status is its exit status */
    TUCK_CLIENT_END_SIGNAL, /* status is the signal's number */
    TUCK_CLIENT_END_UNKNOWN, /* it is gone, but the host ignores SIGCHLD or waits for any child: its status is lost */
    TUCK_CLIENT_END_STUCK, /* it runs on after SIGKILL (a system call that cannot be interrupted); nobody waits for it */
};
struct tuck_client_end {
    uint32_t how;
    int32_t status;
    int32_t signal_sent; /* 0, or the last signal that the client sent: SIGTERM, SIGKILL */
    int32_t pid;         /* of the helper, while it runs; 0 after */
};

struct tuck_client;

/* --- Life -------------------------------------------------------------------------------------- */

/** Starts the helper and waits for its handshake, unless TUCK_CLIENT_NO_WAIT is set. The helper has pipes for stdin and
 * stdout, no descriptor of the host's besides stderr and those that the host left open on purpose, an empty signal mask,
 * and SIGPIPE and SIGCHLD at their defaults. On failure *ret_client is untouched, and the helper, if it ran, was stopped
 * and waited for, within handshake_ms + 2 * kill_ms. */
TUCK_CLIENT_CHECKED int tuck_client_open(const struct tuck_client_options *options,
                                         struct tuck_client **ret_client,
                                         struct tuck_client_error *ret_error);

/** Ends the conversation: requests that are on the way are finished; close is sent if it was announced, and answered;
 * stdin is closed; the process ends and is waited for. What has not happened within close_ms is forced: SIGTERM, then
 * after kill_ms SIGKILL. The client stays, for tuck_client_end() and tuck_client_stderr(). Waits. The same without
 * waiting is a submitted TUCK_CLIENT_CLOSE.
 * Returns 0; TUCK_CLIENT_FORCED; TUCK_CLIENT_REFUSED if the helper answered Err; or the failure that had ended the
 * connection before. In all cases the process is gone. An exit status other than 0 is no failure: see tuck_client_end(). */
TUCK_CLIENT_API int tuck_client_close(struct tuck_client *client,
                                      struct tuck_client_error *ret_error);

/** Releases everything. A helper that still runs is killed (SIGKILL) and waited for: close first. Requests that still wait
 * are called back with TUCK_CLIENT_CLOSED. Accepts NULL. No other thread may be using the client. */
TUCK_CLIENT_API void tuck_client_free(struct tuck_client *client);

/* --- One request at a time --------------------------------------------------------------------- */

/** 1 if the helper announced this command, else 0; before the handshake always 0. Never waits. */
TUCK_CLIENT_API int tuck_client_can(struct tuck_client *client, enum tuck_client_command command);

/** Looks an action up. Returns 0 with *ret_answer, or TUCK_CLIENT_MISS, or a failure. Waits. */
TUCK_CLIENT_CHECKED int tuck_client_get(struct tuck_client *client,
                                        const uint8_t action[TUCK_CLIENT_ID_BYTES],
                                        struct tuck_client_answer *ret_answer,
                                        struct tuck_client_error *ret_error);

/** Stores a regular file, or bytes in memory, as the output of an action. Returns 0 with *ret_answer; or
 * TUCK_CLIENT_NOT_STORED, where only its output and size count; or a failure. Waits. */
TUCK_CLIENT_CHECKED int tuck_client_put_fd(struct tuck_client *client,
                                           const uint8_t action[TUCK_CLIENT_ID_BYTES], int fd,
                                           struct tuck_client_answer *ret_answer,
                                           struct tuck_client_error *ret_error);
TUCK_CLIENT_CHECKED int tuck_client_put_memory(struct tuck_client *client,
                                               const uint8_t action[TUCK_CLIENT_ID_BYTES],
                                               const void *data, size_t size,
                                               struct tuck_client_answer *ret_answer,
                                               struct tuck_client_error *ret_error);

/** Any request, waiting for its end: the three above are this with defaults. */
TUCK_CLIENT_CHECKED int tuck_client_call(struct tuck_client *client,
                                         const struct tuck_client_request *request,
                                         struct tuck_client_answer *ret_answer,
                                         struct tuck_client_error *ret_error);

/* --- Many requests at a time ------------------------------------------------------------------- */

/** Hands a request over and returns. If 0 comes back, done(arg, …) is called exactly once, later, by whoever drives: also
 * when the client is closed or freed. *ret_ticket (may be NULL) is its name for tuck_client_cancel(). Requests go out in
 * the order of submission; answers come in any. Returns 0, TUCK_CLIENT_FULL, TUCK_CLIENT_CLOSED, or that an argument or
 * the body is bad. Waits for nothing but the hashing of a body whose output id is not given. */
TUCK_CLIENT_CHECKED int tuck_client_submit(struct tuck_client *client,
                                           const struct tuck_client_request *request,
                                           tuck_client_done *done, void *arg, uint64_t *ret_ticket,
                                           struct tuck_client_error *ret_error);

/** Asks to give a submitted request up. The callback tells what became of it: TUCK_CLIENT_CANCELED, or whatever it had
 * come to before. A late answer is dropped. A put whose body is half written is not canceled, for the stream has to stay
 * in step; its time limit still holds. Never waits; an unknown ticket is ignored. Returns 0 or TUCK_CLIENT_NO_MEMORY. */
TUCK_CLIENT_API int tuck_client_cancel(struct tuck_client *client, uint64_t ticket);

/** Waits until no submitted request is left, at most limit_ms. Returns 0 or TUCK_CLIENT_TIMEOUT. */
TUCK_CLIENT_API int tuck_client_wait(struct tuck_client *client, uint32_t limit_ms);

/* --- In an event loop -------------------------------------------------------------------------- */

/** A descriptor that is readable (POLLIN) when tuck_client_dispatch() has something to do, be it an answer, room to
 * write, a deadline, or the helper's end: nothing else has to be watched, and no timer kept. It stays the same while the
 * client lives, and belongs to it. -1 with TUCK_CLIENT_THREAD. */
TUCK_CLIENT_API int tuck_client_fd(const struct tuck_client *client);

/** Does what there is to do, without waiting, callbacks included. If another thread is in the midst of that, waits for
 * its step. Returns 0; TUCK_CLIENT_ENDED; or the failure that has ended the connection, again and again until the process
 * is reaped: go on dispatching until then. */
TUCK_CLIENT_API int tuck_client_dispatch(struct tuck_client *client,
                                         struct tuck_client_error *ret_error);

/* --- Looking at it ----------------------------------------------------------------------------- */

/** Whether and how the helper ended. Never waits. */
TUCK_CLIENT_API void tuck_client_end(struct tuck_client *client, struct tuck_client_end *ret_end);

/** Copies the end of what was captured of the helper's stderr, at most room - 1 bytes, with a terminator; returns how
 * many. Any bytes: print with care. Never waits. */
TUCK_CLIENT_API size_t tuck_client_stderr(struct tuck_client *client, char *ret_text, size_t room);

/** "TUCK_CLIENT_TIMEOUT" for -6; "unknown" for what is no status. */
TUCK_CLIENT_API const char *tuck_client_status_name(int status);

/** The version of the library in use, e.g. "0.1.0". */
TUCK_CLIENT_API const char *tuck_client_version(void);

/* --- Bodies in one expression ------------------------------------------------------------------ */

static inline struct tuck_client_body tuck_client_memory(const void *data, uint64_t size) {
    struct tuck_client_body body = {0, 0, 0, NULL, NULL, NULL, 0, 0};
    body.kind = TUCK_CLIENT_BODY_MEMORY;
    body.data = data;
    body.size = size;
    return body;
}

static inline struct tuck_client_body tuck_client_file(int fd) {
    struct tuck_client_body body = {0, 0, 0, NULL, NULL, NULL, 0, 0};
    body.kind = TUCK_CLIENT_BODY_FD;
    body.fd = fd;
    return body;
}

static inline struct tuck_client_body tuck_client_source(int64_t (*read)(void *arg, void *buffer,
                                                                         size_t room),
                                                         void *arg, uint64_t size) {
    struct tuck_client_body body = {0, 0, 0, NULL, NULL, NULL, 0, 0};
    body.kind = TUCK_CLIENT_BODY_SOURCE;
    body.read = read;
    body.arg = arg;
    body.size = size;
    return body;
}

#ifdef __cplusplus
}
#endif

#endif

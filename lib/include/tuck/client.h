// SPDX-License-Identifier: MIT
/*
 * tuck/client.h: talk to a GOCACHEPROG helper.
 *
 * A helper is a program that keeps what Go builds have made. The go command starts one, asks it
 * over its stdin and stdout for outputs ("get"), hands it new ones ("put") and lets it end
 * ("close"). This library is the go command's end of that conversation, for programs of any kind:
 * it starts any helper, sends byte for byte what the go command sends, and survives whatever comes
 * back. Where the go command exits or waits for ever, it returns an error that names what the
 * helper did.
 *
 * It is no cache: it stores nothing, and whether two builds may share an output is its user's
 * business.
 *
 *     struct tuck_client_options options = TUCK_CLIENT_OPTIONS_INIT;
 *     struct tuck_client *client = NULL;
 *     struct tuck_client_answer answer;
 *     struct tuck_client_error error;
 *
 *     options.command = getenv("GOCACHEPROG");
 *     if (tuck_client_open(&options, &client, &error) < 0)
 *         return warn(error.text), build_without_cache();
 *     int status = tuck_client_get(client, action, &answer, &error);
 *     if (status == TUCK_CLIENT_OK)
 *         use(answer.path);
 *     else // a miss, or a failure, which is as good
 *         status = tuck_client_put_fd(client, action, make(action), &answer, &error);
 *     ...
 *     tuck_client_close(client, NULL);
 *     tuck_client_free(client);
 *
 * WORDS. An *action* is what a build step is called, 32 bytes; an *output* is what it made. The
 * output id is the SHA-256 of its bytes, and these are the *body* of a put. A get ends in a *hit*,
 * with the path of a file that holds the output, or in a *miss*.
 *
 * RESULTS. Functions that can fail return an int: 0 (TUCK_CLIENT_OK) is done, above 0 an outcome
 * that is no failure, below 0 a failure; enum tuck_client_status has all of them. A struct
 * tuck_client_error of the caller, if one is passed (NULL always will do), says more in words.
 * Text of the helper's in it is cut and made printable. A failed get should count as a miss and a
 * failed put as not stored: a cache must not end a build.
 *
 * THREADS. Any number of threads may use one client at the same time; only tuck_client_free() has
 * to be the last call. At each moment at most one thread *drives* a client: it alone reads,
 * writes, looks at files and calls back. Whoever waits in open, get, put, call, wait or close
 * drives as long as nobody else does; tuck_client_dispatch() drives for one step; with
 * TUCK_CLIENT_THREAD a thread of the client's own always drives. So a host with neither threads
 * nor an event loop just calls; a host with an event loop watches tuck_client_fd() and dispatches;
 * a host with threads does as it likes. Callbacks run on the thread that drives, with no lock
 * held, never inside tuck_client_submit() or tuck_client_cancel(), and once for each request. They
 * may submit and cancel; they should not block, and in them everything that waits fails with
 * TUCK_CLIENT_USAGE.
 *
 * HOST. There is no global state. No signal disposition is changed: a SIGPIPE from a helper that
 * closed its stdin is blocked and taken back on the thread that writes. The host may ignore
 * SIGCHLD or handle it; the client waits for its own child alone, once. Its descriptors are
 * close-on-exec from the moment they exist, and never 0, 1 or 2. Every wait has a limit, see the
 * options. A child of fork() must not use a client of its parent.
 *
 * MEMORY. A client takes about 250 kB, whatever is put or answered, and each request that waits
 * less than 1 kB. Pointers in parameters are borrowed for the call unless it is said otherwise.
 *
 * Structs that a host fills in begin with their size, so that they can grow: initialise them with
 * the macro of their name; zero then is the default of every field. libtuck needs no set-up.
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

/** What a call came to; tuck_client_status_name() has the names. */
enum tuck_client_status {
    TUCK_CLIENT_OK = 0,

    /* Outcomes. */

    /* get: the helper does not have it, or has not announced get. If error.code is not 0, it
     * claimed a hit, and the error says why that is none. */
    TUCK_CLIENT_MISS = 1,
    /* put: nothing was sent, for the helper has not announced put. */
    TUCK_CLIENT_NOT_STORED = 2,
    /* submit: max_pending requests wait already. Nothing was submitted. */
    TUCK_CLIENT_FULL = 3,
    /* close: the helper ended only after a signal. */
    TUCK_CLIENT_FORCED = 4,
    /* dispatch: the helper was waited for and nothing is left to do. Stop polling. */
    TUCK_CLIENT_ENDED = 5,

    /* On this side. */

    TUCK_CLIENT_NO_MEMORY = -1,
    TUCK_CLIENT_SYSTEM = -2,   /* a system call failed; error.os is its errno */
    TUCK_CLIENT_USAGE = -3,    /* a wrong argument, or a wait inside a callback */
    TUCK_CLIENT_CLOSED = -4,   /* the client is closing or closed */
    TUCK_CLIENT_CANCELED = -5, /* by tuck_client_cancel() */
    TUCK_CLIENT_TIMEOUT = -6,  /* the request's time was up, whatever its state */
    /* The body could not be read, ended early, went on, changed, or has another hash. */
    TUCK_CLIENT_BAD_BODY = -7,
    /* Another request's body broke off, or could not be written in time, and the connection was
     * ended in the midst of it so that nobody can store it. */
    TUCK_CLIENT_BROKEN_OFF = -8,

    /* The helper's start. */

    /* No such program, not executable, or a command line that cannot be split. */
    TUCK_CLIENT_NO_START = -20,
    TUCK_CLIENT_NO_HANDSHAKE = -21,  /* it said nothing within handshake_ms */
    TUCK_CLIENT_BAD_HANDSHAKE = -22, /* its first object has another ID, or names no commands */

    /* The helper's end, in the midst of things. */

    TUCK_CLIENT_EXITED = -30,       /* it exited or was killed; the text says with what */
    TUCK_CLIENT_STDOUT_ENDED = -31, /* it closed its stdout, and runs on */
    TUCK_CLIENT_STDIN_ENDED = -32,  /* it closed its stdin, and runs on */
    TUCK_CLIENT_UNANSWERED = -33,   /* it left more than max_pending requests unanswered */

    /* What the helper wrote cannot be followed: the connection is lost. */

    TUCK_CLIENT_NOT_JSON = -40,        /* no JSON object: text, a comment, a trailing comma */
    TUCK_CLIENT_TRUNCATED = -41,       /* its stdout ended inside an answer */
    TUCK_CLIENT_TOO_LONG = -42,        /* more than 64 MiB, or nested deeper than 2,048 */
    TUCK_CLIENT_UNKNOWN_ID = -43,      /* an answer to no request, or without a usable ID */
    TUCK_CLIENT_ANSWERED_TWICE = -44,  /* a second answer to one request */
    TUCK_CLIENT_HANDSHAKE_AGAIN = -45, /* a second handshake */
    TUCK_CLIENT_UNASKED = -46,         /* strict: something behind the answer to close */

    /* The answer to one request is of no use; the connection goes on. */

    TUCK_CLIENT_REFUSED = -60,     /* it is Err; the error has its text */
    TUCK_CLIENT_BAD_FIELD = -61,   /* a field has a wrong type or an impossible value */
    TUCK_CLIENT_NO_PATH = -62,     /* put: there is no DiskPath */
    TUCK_CLIENT_BAD_PATH = -63,    /* DiskPath is relative, too long, has a NUL, is no UTF-8 */
    TUCK_CLIENT_BAD_FILE = -64,    /* missing, not regular, not readable, or of another size */
    TUCK_CLIENT_WRONG_BYTES = -65, /* the file has another SHA-256 */
};

struct tuck_client_error {
    int code;       /* enum tuck_client_status; 0 while nothing is wrong */
    int os;         /* errno at the origin, 0 if none */
    char text[504]; /* one line for people */
};

/* --- Options ----------------------------------------------------------------------------------- */

enum tuck_client_flags {
    /* A thread of the client's own drives. It has all signals blocked. */
    TUCK_CLIENT_THREAD = 1,
    /* The helper gets its own process group, so that a terminal's ^C does not reach it. (Under
     * the go command it does.) Signals at close go to the whole group. */
    TUCK_CLIENT_OWN_GROUP = 2,
    /* Open returns as soon as the program has started. Requests wait for the handshake, and
     * meet its failure. */
    TUCK_CLIENT_NO_WAIT = 4,
};

enum tuck_client_mode {
    /* Exactly the bytes of the go command, and as lenient: names in any letter case, fields
     * given twice; a flawed hit is a miss. Never more lenient than is safe: an OutputID that is
     * not of 32 bytes, which the go command fills up with zeros, is a miss too. */
    TUCK_CLIENT_GO = 0,
    /* For testing helpers. No empty line behind a request, which the go command writes and
     * nobody needs; and everything in an answer that the protocol does not promise is an error. */
    TUCK_CLIENT_STRICT = 1,
};

/** What a put calls its output id. */
enum tuck_client_names {
    TUCK_CLIENT_OUTPUT_ID = 0, /* OutputID: Go 1.24 and later */
    TUCK_CLIENT_OBJECT_ID = 1, /* ObjectID: Go 1.21 to 1.23 */
    TUCK_CLIENT_BOTH_IDS = 2,  /* both: Go 1.24 built with GOEXPERIMENT=cacheprog */
};

/** How far the file of an answer is trusted. */
enum tuck_client_check {
    TUCK_CLIENT_CHECK_DEFAULT = 0, /* options: CHECK_FILE; request: that of the options */
    TUCK_CLIENT_CHECK_NOTHING = 1, /* its path is absolute */
    TUCK_CLIENT_CHECK_FILE = 2,    /* and it is regular, readable, of the right size: a stat */
    /* And it has the right SHA-256. Those who wait hash on their own thread; for submitted
     * requests the driver does, 1 MiB in each step. */
    TUCK_CLIENT_CHECK_BYTES = 3,
};

/** Where the helper's stderr goes. */
enum tuck_client_stderr_to {
    TUCK_CLIENT_STDERR_INHERIT = 0, /* to the host's, as under the go command */
    /* The last stderr_limit bytes are kept for tuck_client_stderr(), and its last line appears
     * in errors. It is read while someone drives, never otherwise. */
    TUCK_CLIENT_STDERR_CAPTURE = 1,
    TUCK_CLIENT_STDERR_FD = 2,      /* to a duplicate of stderr_fd */
    TUCK_CLIENT_STDERR_DISCARD = 3, /* to /dev/null */
};

/** Strings and lists are copied. */
struct tuck_client_options {
    uint32_t struct_size;
    uint32_t flags; /* enum tuck_client_flags, or-ed */

    /* The program: one of these two. A command is split as the go command splits GOCACHEPROG:
     * at blanks; a word that begins with ' or " runs to the next such quote; nothing is escaped
     * or expanded. A name without a slash is looked up in the host's PATH, and never run from a
     * relative directory of it. */
    const char *command;
    const char *const *argv;        /* NULL behind the last */
    const char *const *environment; /* "NAME=value", NULL behind the last; NULL: the host's */

    uint32_t mode;  /* enum tuck_client_mode */
    uint32_t names; /* enum tuck_client_names */
    uint32_t check; /* enum tuck_client_check */

    uint32_t stderr_to;    /* enum tuck_client_stderr_to */
    int32_t stderr_fd;     /* borrowed until open returns */
    uint32_t stderr_limit; /* bytes; default 16,384, at most 16 MiB */

    /* Milliseconds. */
    uint32_t handshake_ms; /* until the helper's first word; default 10,000 */
    uint32_t timeout_ms;   /* for requests that name none, from submission; default 300,000 */
    uint32_t close_ms;     /* close: until SIGTERM; default 10,000, at most an hour */
    uint32_t kill_ms;      /* from SIGTERM to SIGKILL; default 1,000, at most an hour */

    uint32_t max_pending; /* submitted requests that may wait; default 4,096, at most 2^20 */
};
/* Every field by hand: compilers warn of fields that are left out. */
#define TUCK_CLIENT_OPTIONS_INIT                                                                   \
    { sizeof(struct tuck_client_options), 0, NULL, NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

/* --- Requests ---------------------------------------------------------------------------------- */

enum tuck_client_command {
    TUCK_CLIENT_GET = 1,
    TUCK_CLIENT_PUT = 2,
    TUCK_CLIENT_CLOSE = 3,
};

enum tuck_client_body_kind {
    TUCK_CLIENT_BODY_EMPTY = 0,
    TUCK_CLIENT_BODY_MEMORY = 1, /* size bytes at data */
    /* A whole regular file, read from its beginning; the file offset is left alone. size is
     * found out: leave it 0. */
    TUCK_CLIENT_BODY_FD = 2,
    /* size bytes from a function. The request has to name the output id. */
    TUCK_CLIENT_BODY_SOURCE = 3,
};

enum tuck_client_body_flags {
    /* Do not hash while sending: the output id that is given is known to be right. */
    TUCK_CLIENT_BODY_TRUSTED = 1,
};

/** What a put stores. Data, descriptor and source are borrowed until the request has ended.
 *
 * Without an output id in the request, the body is first hashed, on the calling thread. Unless
 * it is trusted it is hashed while it is sent, and compared before the helper gets the end of
 * it: a source that fails, is too short or too long, or changes on the way leaves a helper
 * nothing to store. A body of up to 48 KiB is read before any of it is sent, so that only its
 * own request fails. With a larger one the connection has to be ended in mid-string, for the
 * protocol knows no way back: all other requests then fail with TUCK_CLIENT_BROKEN_OFF. */
struct tuck_client_body {
    uint32_t kind;  /* enum tuck_client_body_kind */
    uint32_t flags; /* enum tuck_client_body_flags */
    uint64_t size;  /* bytes */
    const void *data;
    /* Puts up to room bytes into buffer and returns how many: 0 at the end, below 0 on failure.
     * Called by whoever drives; should not block. */
    int64_t (*read)(void *arg, void *buffer, size_t room);
    void *arg;
    int32_t fd;
    int32_t reserved;
};

struct tuck_client_request {
    uint32_t struct_size;
    uint32_t command;             /* enum tuck_client_command */
    const uint8_t *action;        /* get, put: 32 bytes */
    const uint8_t *output;        /* put: 32 bytes, or NULL to have it computed */
    struct tuck_client_body body; /* put */
    uint32_t timeout_ms;          /* get, put; 0: that of the options */
    uint32_t check;               /* enum tuck_client_check */
};
#define TUCK_CLIENT_BODY_INIT                                                                      \
    { 0, 0, 0, NULL, NULL, NULL, 0, 0 }
#define TUCK_CLIENT_REQUEST_INIT                                                                   \
    { sizeof(struct tuck_client_request), 0, NULL, NULL, TUCK_CLIENT_BODY_INIT, 0, 0 }

/** A hit, or what a put came to. Plain memory of the caller's, nothing to free. The file is the
 * helper's: do not write, move or remove it. It is there at least until close. */
struct tuck_client_answer {
    uint8_t output[TUCK_CLIENT_ID_BYTES];
    uint64_t size;     /* bytes of the file */
    int64_t time_s;    /* hit: when the action was last put, seconds since 1970; */
    uint32_t time_ns;  /* and nanoseconds */
    uint32_t has_time; /* 0: the helper did not say */
    uint64_t reserved[4];
    char path[TUCK_CLIENT_PATH_MAX]; /* absolute */
};

/** How a submitted request ended. status is 0, MISS, NOT_STORED, FORCED, or below 0. *answer
 * counts for 0, and its output and size for NOT_STORED; *error for all others. Both are
 * borrowed for the call. */
typedef void tuck_client_done(void *arg, int status, const struct tuck_client_answer *answer,
                              const struct tuck_client_error *error);

enum tuck_client_end_how {
    TUCK_CLIENT_RUNS = 0,
    TUCK_CLIENT_END_EXIT = 1,    /* status is its exit status */
    TUCK_CLIENT_END_SIGNAL = 2,  /* status is the number of the signal that killed it */
    TUCK_CLIENT_END_UNKNOWN = 3, /* gone; the host ignores SIGCHLD, or waited for it itself */
    TUCK_CLIENT_END_STUCK = 4,   /* runs on 5 s after SIGKILL, in a system call; not waited for */
};

/** How the helper's process ended. */
struct tuck_client_end {
    uint32_t how; /* enum tuck_client_end_how */
    int32_t status;
    int32_t signal_sent; /* the last one that the client sent: 0, SIGTERM or SIGKILL */
    int32_t pid;         /* while it runs, else 0 */
};

struct tuck_client;

/* --- Life -------------------------------------------------------------------------------------- */

/** Starts the helper and waits for its handshake. The helper gets pipes for stdin and stdout,
 * no descriptor besides stderr but those that the host does not close on exec, an empty signal
 * mask, and SIGPIPE and SIGCHLD at their defaults. On failure *ret_client is untouched, and the
 * helper, if it ran, was stopped and waited for. */
TUCK_CLIENT_CHECKED int tuck_client_open(const struct tuck_client_options *options,
                                         struct tuck_client **ret_client,
                                         struct tuck_client_error *ret_error);

/** Ends the conversation, and waits for it: requests on the way are finished, close is sent if it
 * was announced and is answered, stdin is closed, the process ends. What has not happened within
 * close_ms is forced: SIGTERM, and after kill_ms SIGKILL. The client stays, for tuck_client_end()
 * and tuck_client_stderr(). To close without waiting, submit a TUCK_CLIENT_CLOSE.
 *
 * Returns 0; TUCK_CLIENT_FORCED; TUCK_CLIENT_REFUSED if the answer was Err; the failure that
 * had ended the connection before; or TUCK_CLIENT_CLOSED the second time. The process is gone
 * in all of these cases. An exit status other than 0 is no failure: see tuck_client_end(). */
TUCK_CLIENT_API int tuck_client_close(struct tuck_client *client,
                                      struct tuck_client_error *ret_error);

/** Releases everything. Requests that still wait are called back with TUCK_CLIENT_CLOSED, and a
 * helper that still runs is killed (SIGKILL) and waited for: close first. Not in a callback.
 * Accepts NULL. */
TUCK_CLIENT_API void tuck_client_free(struct tuck_client *client);

/* --- One request at a time --------------------------------------------------------------------- */

/** 1 if the helper has announced this command, else 0; before the handshake 0. Never waits. */
TUCK_CLIENT_API int tuck_client_can(struct tuck_client *client, enum tuck_client_command command);

/** Looks an action up. Returns 0 with *ret_answer, TUCK_CLIENT_MISS, or a failure. Waits. */
TUCK_CLIENT_CHECKED int tuck_client_get(struct tuck_client *client,
                                        const uint8_t action[TUCK_CLIENT_ID_BYTES],
                                        struct tuck_client_answer *ret_answer,
                                        struct tuck_client_error *ret_error);

/** Stores a whole regular file, or bytes in memory, as the output of an action. Returns 0 with
 * *ret_answer; TUCK_CLIENT_NOT_STORED, with its output and size; or a failure. Waits. */
TUCK_CLIENT_CHECKED int tuck_client_put_fd(struct tuck_client *client,
                                           const uint8_t action[TUCK_CLIENT_ID_BYTES], int fd,
                                           struct tuck_client_answer *ret_answer,
                                           struct tuck_client_error *ret_error);
TUCK_CLIENT_CHECKED int tuck_client_put_memory(struct tuck_client *client,
                                               const uint8_t action[TUCK_CLIENT_ID_BYTES],
                                               const void *data, size_t size,
                                               struct tuck_client_answer *ret_answer,
                                               struct tuck_client_error *ret_error);

/** Any request, to its end. Those above are this one with defaults. Waits. */
TUCK_CLIENT_CHECKED int tuck_client_call(struct tuck_client *client,
                                         const struct tuck_client_request *request,
                                         struct tuck_client_answer *ret_answer,
                                         struct tuck_client_error *ret_error);

/* --- Many requests at a time ------------------------------------------------------------------- */

/** Hands a request over and returns. If that is 0, done(arg, …) is called exactly once, later, by
 * whoever drives: also when the client is closed or freed. *ret_ticket (NULL allowed) names it for
 * tuck_client_cancel(). Requests go out in the order of submission; answers come in any.
 *
 * Returns 0, TUCK_CLIENT_FULL, TUCK_CLIENT_CLOSED, or what is wrong with an argument or the
 * body. Waits for nothing but the hashing of a body whose output id is not given. */
TUCK_CLIENT_CHECKED int tuck_client_submit(struct tuck_client *client,
                                           const struct tuck_client_request *request,
                                           tuck_client_done *done, void *arg, uint64_t *ret_ticket,
                                           struct tuck_client_error *ret_error);

/** Asks to give up a submitted request. Its callback tells what became of it:
 * TUCK_CLIENT_CANCELED, or what it had come to before. An answer that comes later is dropped. A
 * put whose body is half written is not canceled, for the stream has to stay in step; its time
 * limit holds. An unknown ticket is ignored. Returns 0 or TUCK_CLIENT_NO_MEMORY. Never waits. */
TUCK_CLIENT_API int tuck_client_cancel(struct tuck_client *client, uint64_t ticket);

/** Waits until the callbacks of all submitted requests have returned, at most limit_ms. Returns
 * 0, TUCK_CLIENT_TIMEOUT or TUCK_CLIENT_USAGE. */
TUCK_CLIENT_API int tuck_client_wait(struct tuck_client *client, uint32_t limit_ms);

/* --- In an event loop -------------------------------------------------------------------------- */

/** A descriptor that is readable (POLLIN) when there is something to dispatch: an answer, room
 * to write, a time limit, the helper's end. Nothing else has to be watched and no timer kept.
 * It is the same all the client's life, and the client's own. -1 with TUCK_CLIENT_THREAD. */
TUCK_CLIENT_API int tuck_client_fd(const struct tuck_client *client);

/** Does what there is to do, callbacks included, and returns. If another thread is at it, waits
 * for its step to end. Returns 0; TUCK_CLIENT_ENDED; or the failure of the connection, each
 * time until the process was waited for: go on dispatching until then. */
TUCK_CLIENT_API int tuck_client_dispatch(struct tuck_client *client,
                                         struct tuck_client_error *ret_error);

/* --- Looking at it ----------------------------------------------------------------------------- */

/** Whether and how the helper ended. Never waits. */
TUCK_CLIENT_API void tuck_client_end(struct tuck_client *client, struct tuck_client_end *ret_end);

/** Copies the last bytes that were captured of the helper's stderr, at most room - 1 and a
 * terminator; returns how many. They may be any bytes: print them with care. Never waits. */
TUCK_CLIENT_API size_t tuck_client_stderr(struct tuck_client *client, char *ret_text, size_t room);

/** "TUCK_CLIENT_TIMEOUT" for -6; "unknown" for what is no status. Static. */
TUCK_CLIENT_API const char *tuck_client_status_name(int status);

/** The version of the library in use, as "0.1.0". Static. */
TUCK_CLIENT_API const char *tuck_client_version(void);

/* --- Bodies in one expression ------------------------------------------------------------------ */

static inline struct tuck_client_body tuck_client_memory(const void *data, uint64_t size) {
    struct tuck_client_body body = TUCK_CLIENT_BODY_INIT;
    body.kind = TUCK_CLIENT_BODY_MEMORY;
    body.data = data;
    body.size = size;
    return body;
}

static inline struct tuck_client_body tuck_client_file(int fd) {
    struct tuck_client_body body = TUCK_CLIENT_BODY_INIT;
    body.kind = TUCK_CLIENT_BODY_FD;
    body.fd = fd;
    return body;
}

static inline struct tuck_client_body tuck_client_source(int64_t (*read)(void *arg, void *buffer,
                                                                         size_t room),
                                                         void *arg, uint64_t size) {
    struct tuck_client_body body = TUCK_CLIENT_BODY_INIT;
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

// SPDX-License-Identifier: MIT
/*
 * The other side: a helper inside of tuck-conform, for judging clients. What is here is good in
 * everything: it reads requests, keeps outputs, and notes what a client does that it must not. The
 * misbehaviour itself is the business of act.c, which runs the statements of a case on top of this.
 *
 * It reads strictly what the go command writes, byte for byte. Outputs are files of one directory,
 * beside a list of entries; what another process enters meanwhile is not seen.
 *
 * What it notes goes, one line each, to the file `report` in its directory if there is one (client.c
 * makes it and reads it), else what is wrong goes to stderr:
 *
 *     PID begin PARENT                  it was started, by that process
 *     PID asks KIND ID SIZE             a request came
 *     PID bent KIND                     an answer went out that no good helper gives
 *     PID breach CLAUSE TEXT            which breaks what holds for every conversation
 *     PID fails TEXT                    the client did not do what the case asks
 *     PID unmet TEXT                    what the case waits for never came
 *     PID broken TEXT                   this program itself failed, or the case has a mistake
 *     PID over                          the client ended the connection
 *
 * Threads: none.
 */
#pragma once
#include "cmd/tuck-conform/value.h"

enum asked_kind { ASKED_GET, ASKED_PUT, ASKED_CLOSE };

struct entry {
    uint8_t action[TUCK_ID_BYTES], output[TUCK_ID_BYTES];
    uint64_t size, put_ns;
};

/** A request that has not been answered. */
struct asked {
    struct asked *next;
    enum asked_kind kind;
    int64_t id;
    uint8_t action[TUCK_ID_BYTES], output[TUCK_ID_BYTES];
    uint64_t size; // of a put's body
};

enum bad_outcome {
    BAD_LATER = 1, // nothing came before the deadline
    BAD_OVER,      // nothing will come any more
};

struct bad {
    char *directory;
    int report, input, output; // descriptors; input and output are -1 once closed
    char *buffer;
    size_t begin, end; // of what was read and not yet understood
    bool is_line_due;  // an empty line has to follow
    bool is_input_over, is_close_seen, is_slow;
    bool is_announced[3]; // by asked_kind
    int64_t *ids;         // all that were asked, for those that come twice
    size_t id_count;
    int64_t highest_id;
    struct asked *outstanding, *unread; // unread: the put whose body comes next
    struct entry *entries;
    size_t entry_count;
};

/** Opens the directory, which is made if need be, with what earlier ones entered there. */
struct bad *bad_open(const char *directory);

/** Reads the next request, without its body; that is read at the latest with the next request. It
 * is the caller's to answer and stays outstanding until bad_answered(). 0 or a bad_outcome. */
TUCK_CHECKED int bad_read(struct bad *bad, uint64_t deadline_ns, struct asked **ret_asked);

/** Reads and keeps the body that comes next, if one does. 0 or BAD_OVER. */
TUCK_CHECKED int bad_take_body(struct bad *bad);

/** It was answered, in any way, and is not outstanding any more. It lives on, for a second answer. */
void bad_answered(struct bad *bad, struct asked *asked);

/** Waits until the client has ended the connection, or the deadline; what it still sends is read and
 * not answered. BAD_OVER or BAD_LATER. */
int bad_await_end(struct bad *bad, uint64_t deadline_ns);

/** Writes to stdout. Returns false when nobody reads it any more. */
bool bad_write(struct bad *bad, const void *data, size_t len);

/** What is stored for the action, or NULL. */
const struct entry *bad_find(const struct bad *bad, const uint8_t action[TUCK_ID_BYTES]);

/** The path of an output, in the caller's buffer. */
void bad_path(const struct bad *bad, const uint8_t output[TUCK_ID_BYTES], struct buf *ret_path);

__attribute__((format(printf, 2, 3))) void bad_note(struct bad *bad, const char *format, ...);

/** Memory of the process that started this one, in bytes; 0 when it is not known. */
uint64_t bad_client_memory(void);

const char *asked_name(enum asked_kind kind);

// SPDX-License-Identifier: MIT
/*
 * What the client's tests share: a fresh directory and notes for each, clients of the bad helper, and the check behind
 * each test that neither a child nor a descriptor is left. BAD_HELPER and TUCK_BIN are the programs' paths.
 */
#pragma once
#include "tests/unit/unit.h"

#include "tuck/client.h"

/** A row of the table of tests: the cases of protocol/SPEC.md that it shows, then its name. */
#define CASE(ids, test)                                                                            \
    { ids " " #test, test, world_begin, world_end, NULL }

/** The helper's arguments. */
#define BAD(...) ((const char *const[]){BAD_HELPER, __VA_ARGS__, NULL})

int world_begin(void **state);
int world_end(void **state);

/** The test's directory, where the helper stores outputs, too. */
const char *world_dir(void);

/** What the helper has noted until now; borrowed until the next call. */
const char *world_notes(void);

/** The same, once `text` is in it: waits for that. */
void world_wait_for_note(const char *text);

/** An absolute path in the test's directory with a file of that text; borrowed until the end. */
const char *world_file(const char *name, const char *text);

/** A file of size bytes that follow from its name, and its descriptor, which the test closes. */
int world_open_file(const char *name, uint64_t size);

/** Options for the helper with these arguments: short times, everything else as it is by default. */
struct tuck_client_options world_options(const char *const *argv);

/** Opens a client that must open. */
struct tuck_client *world_open(const struct tuck_client_options *options);
struct tuck_client *world_open_bad(const char *const *argv);

/** Opens one that must not, with this status and this text in its error. */
void world_refused(const struct tuck_client_options *options, int status, const char *text);

/** Closes and frees; close must come to that status. */
void world_close(struct tuck_client *client, int status);

/** Fails with names and texts where a status is another. */
void world_expect_at(int found, int expected, const struct tuck_client_error *error,
                     const char *text, const char *file, int line);
#define world_expect(found, expected, error, text)                                                 \
    world_expect_at(found, expected, error, text, __FILE__, __LINE__)

/** One get of action number 1 with a time limit, which must come to that status; `text` is in its error. */
void world_get(struct tuck_client *client, int status, const char *text);

/** One put of a few bytes. */
void world_put(struct tuck_client *client, int status, const char *text);

/** Outcomes of submitted requests, in the order of their callbacks. */
struct world_outcome {
    bool is_done;
    int status;
    size_t place; // 1 for the first that was called back
    struct tuck_client_answer answer;
    struct tuck_client_error error;
};

/** The callback of those: arg is a struct world_outcome. */
tuck_client_done world_done;
size_t world_count_done(void);

/** Submits a get of that action; the outcome is the callback's. */
uint64_t world_submit_get(struct tuck_client *client, uint64_t action, uint32_t timeout_ms,
                          struct world_outcome *outcome);
uint64_t world_submit_put(struct tuck_client *client, uint64_t action, struct tuck_client_body body,
                          struct world_outcome *outcome);

/** Valgrind does not tell posix_spawn() that an exec failed, and keeps descriptors for itself. */
bool world_is_in_valgrind(void);

/** Milliseconds on the monotonic clock. */
uint64_t world_ms(void);

// SPDX-License-Identifier: MIT
/*
 * Engine: runs one case. This header is shared by the parts of the engine: engine.c (flow, names,
 * the end of a case), expr.c (what words mean), start.c (the life of a helper), talk.c (requests),
 * provoke.c (what no client sends), judge.c (what an answer is worth), files.c (what happens to
 * files behind a helper's back), load.c (many requests, many helpers), and, for cases about clients,
 * act.c (the helper that misbehaves).
 *
 * A verb returns 0, or ENGINE_STOP when the case is decided: it failed, or cannot be judged here.
 * One worker process runs one case, so nothing is shared and most memory lives as long as the case.
 */
#pragma once
#include "cmd/tuck-conform/helper.h"
#include "cmd/tuck-conform/place.h"
#include "cmd/tuck-conform/profile.h"
#include "cmd/tuck-conform/script.h"

#define ENGINE_STOP 1

// IDs of the requests that follow a provocation.
#define PROBE_GET 9001
#define PROBE_PUT 9002

/** What all cases of one run have in common. */
struct setup {
    char *const *command; // of the helper, program first, found in PATH
    size_t command_count;
    char **environment; // NAME=VALUE of --env
    size_t environment_count;
    const struct profile *profile;
    const struct script *script;
    double scale; // of time limits
    bool is_long;
    bool has_directory; // {dir} is told to the helper, by command, --env or profile
    // For cases about clients, whose command it is that stands above.
    const char *self;                 // this program
    const char *cases;                // the directory of --cases, absolute, or NULL
    const struct client_usual *usual; // what the client does with a helper that is right
};

enum verdict { VERDICT_PASS, VERDICT_FAIL, VERDICT_NOT_JUDGED };

struct result {
    enum verdict verdict;
    bool is_breach;        // a rule of every conversation was broken, which is a MUST
    const char *clause;    // of the breach
    struct buf why;        // one line
    struct buf diagnostic; // more lines: where, and what was said last
    struct buf notes;      // of the case
    struct buf facts;      // of a client's run, as JSON
};

struct variable {
    struct variable *next;
    char *name;
    struct value value;
};

struct reference {
    struct reference *next;
    char *name;
    struct helper *helper;
    size_t request; // its place in helper->requests
};

struct opened {
    struct opened *next;
    char *name;
    int fd, watch; // watch: an inotify descriptor
    uint64_t size;
    uint8_t digest[TUCK_ID_BYTES];
};

struct snapshot {
    struct snapshot *next;
    char *name;
    struct buf listing; // one line for each file: path, kind, size, digest
    char *top;
    char **without;
    size_t without_count;
};

struct engine {
    const struct setup *setup;
    const struct script_case *one;
    char *scratch;
    struct helper_group group;
    struct helper *helper; // which a statement means when it names none
    struct place *places, *place;
    struct variable *variables;
    struct reference *references;
    struct opened *opened;
    struct snapshot *snapshots;
    struct arena arena;
    const struct statement *statement; // that runs
    const char *helper_name;           // that it names, or NULL
    struct buf *batch;                 // collects what is sent, or NULL
    struct helper *batch_helper;
    struct buf rest; // of a request that was sent in part
    struct helper *rest_helper;
    uint64_t patience_ns;
    uint64_t fastest_hello_ns;
    int64_t next_id;
    struct act *act; // set in a helper that plays a case about clients
    struct result result;
};

typedef int verb_function(struct engine *engine, const struct statement *statement);

// -- engine.c ------------------------------------------------------------------------------------
/** An engine without a statement, for what talks to helpers without a script. */
struct engine engine_begin(const struct setup *setup, const struct script_case *one,
                           const char *scratch);

/** Runs the case in directories below `scratch`, which exists and is empty. */
void engine_run(const struct setup *setup, const struct script_case *one, const char *scratch,
                struct result *ret_result);
void result_free(struct result *result);

/** An engine for the statements of a case about clients, in the helper that plays it. */
struct engine *engine_act(const struct setup *setup, const struct script_case *one,
                          const char *directory, struct act *act);

/** Runs them. 0 or ENGINE_STOP. */
int engine_play(struct engine *engine, const struct script_case *one);

enum probe {
    PROBE_RUNS,    // it said something, good or bad
    PROBE_SILENT,  // it runs and says nothing
    PROBE_NOT_RUN, // it cannot be executed
    PROBE_GAVE_UP, // it ended without a word on stdout
};

/** Starts the helper once, in directories below `scratch`; *ret_why is for people. */
enum probe engine_probe(const struct setup *setup, const char *scratch, struct buf *ret_why);

/** The words that are known, for the parser. */
extern const struct vocabulary engine_vocabulary;

/** The case failed: what was expected and what came instead. Returns ENGINE_STOP. */
__attribute__((format(printf, 2, 3))) int fail(struct engine *engine, const char *format, ...);

/** The case cannot be judged here. Returns ENGINE_STOP. */
__attribute__((format(printf, 2, 3))) int not_judged(struct engine *engine, const char *format,
                                                     ...);

/** A mistake in the case itself: ends the program with file and line. */
__attribute__((noreturn, format(printf, 2, 3))) void script_error(const struct engine *engine,
                                                                  const char *format, ...);

void set_variable(struct engine *engine, const char *name, struct value value);
const struct value *find_variable(const struct engine *engine, const char *name);

/** Waits on all helpers with the case's patience. */
bool wait_for(struct engine *engine, bool (*done)(void *arg), void *arg);

/** ENGINE_STOP if one of the helpers broke a rule of every conversation. */
int check_breaches(struct engine *engine);

struct place *use_place(struct engine *engine, const char *name);

/** What a good helper stored in the place is still there, what it may not show is not. */
int aftermath(struct engine *engine, struct place *place);

// -- expr.c --------------------------------------------------------------------------------------
bool expr_is_function(const char *name);

/** The value of a word; in the arena, unless it is a variable's. */
struct value word_value(struct engine *engine, const struct word *word);

/** The same as terminated text. */
const char *word_string(struct engine *engine, const struct word *word);

/** The same as a number, with its unit; a script error if it is none. */
int64_t word_number(struct engine *engine, const struct word *word);

/** All values that a `for` goes through. */
struct value *word_list(struct engine *engine, const struct word *words, size_t count,
                        size_t *ret_count);

/** The helper of this name that was started last; a script error if there is none. */
struct helper *find_helper(struct engine *engine, const char *name);

/** The request that a statement means: a name, or an ID; NULL when there is none. */
struct request *find_request(struct engine *engine, const char *name, struct helper **ret_helper);

/** Compares as `check` and `if` do: ONE OP OTHER. */
bool compare(struct engine *engine, const struct word *words, size_t count);

// -- judge.c -------------------------------------------------------------------------------------
/** Waits for the answer if need be, and compares it with the outcome that the words describe. */
int judge_request(struct engine *engine, struct helper *helper, struct request *request,
                  const struct word *outcome, size_t count);

/** The same for an outcome in plain text, with the body that is expected (may be NULL). */
int judge_plain(struct engine *engine, struct helper *helper, struct request *request,
                const char *outcome, const struct value *body);

/** Reads an RFC 3339 time as the go command does. */
TUCK_CHECKED bool parse_time(const char *text, int64_t *ret_ns, bool *ret_has_fraction);

/** It ended with a status above 0 and a word about it; for its last words. */
bool ended_in_refusal(const struct helper *helper);

void describe_end(const struct helper *helper, struct buf *ret_text);

// -- start.c -------------------------------------------------------------------------------------
verb_function verb_start, verb_hello, verb_eof, verb_end, verb_wait, verb_stdout_ends, verb_kill,
    verb_stderr_ends, verb_signal, verb_read, verb_hangup;

/** Starts one without waiting for anything; NULL when the case is decided by that. */
struct helper *start_silently(struct engine *engine, const char *name);

/** Starts a helper in the current place and waits for its handshake; NULL when the case is decided
 * by that. */
struct helper *start_plainly(struct engine *engine, const char *name);

bool announces(const struct helper *helper, const char *command);

/** An orderly end: close if it is known and wanted, the end of input, the end of stdout, exit. */
int finish(struct engine *engine, struct helper *helper, bool with_close);

// -- talk.c --------------------------------------------------------------------------------------
verb_function verb_get, verb_put, verb_close, verb_send, verb_rest, verb_expect, verb_nothing;

int send_bytes(struct engine *engine, struct helper *helper, const void *data, size_t len);

/** Appends the request that a statement describes, as text, and asks for its ID. */
struct request *build_request(struct engine *engine, struct helper *helper,
                              const struct word *words, size_t count, int64_t id,
                              struct buf *ret_text);
void plain_get(struct engine *engine, struct helper *helper, const uint8_t action[TUCK_ID_BYTES],
               struct buf *ret_text);
void plain_put(struct engine *engine, struct helper *helper, const uint8_t action[TUCK_ID_BYTES],
               struct value body, struct buf *ret_text);

/** What the engine will expect of the request: the action it means, the body it stores or finds. */
void remember(struct engine *engine, struct request *request, enum request_kind kind,
              const uint8_t *action, const struct value *body);

/** asks=ID,...: what raw bytes ask for. */
void take_asks(struct engine *engine, struct helper *helper, const char *option);

/** The text of a word that begins with this name, else NULL. */
const char *option_text(const struct word *word, const char *name);

// -- provoke.c -----------------------------------------------------------------------------------
verb_function verb_provoke;

// -- files.c -------------------------------------------------------------------------------------
verb_function verb_damage, verb_remove, verb_rename, verb_write, verb_mkdir, verb_link, verb_chmod,
    verb_age, verb_open, verb_unchanged, verb_snapshot, verb_copy_place, verb_mount, verb_fill_disk,
    verb_clear, verb_set_version;

/** Absolute paths that a profile's pattern, or a plain one, finds; one a line. */
void find_files(const struct engine *engine, const char *pattern, struct buf *ret_lines);

/** Files below the place's {dir} that no pattern of own_files allows; one a line. */
void find_strays(const struct engine *engine, struct buf *ret_lines);

// -- load.c --------------------------------------------------------------------------------------
verb_function verb_fill, verb_crowd, verb_load, verb_quiet, verb_stuff, verb_flood;

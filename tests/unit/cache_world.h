// SPDX-License-Identifier: MIT
/*
 * What the tests of the cache share: bodies, puts and gets in one line, events as counts, and a log
 * of the system calls that decide what a power cut leaves. Link with wrap: cache_wrap in
 * meson.build.
 */
#pragma once
#include "tests/unit/unit.h"

#include "lib/cache/admin.h"

struct body {
    struct tuck_output_id output;
    uint8_t *data;
    size_t len;
};

struct body body_of(uint64_t number, size_t len);

struct cache_world {
    const char *dir;       // the cache's root, below gocache
    const char *gocache;   // a directory of its own
    const char *tmp;       // TMPDIR, where private directories go
    const char *drives[8]; // the drives, if there are several; NULL: dir alone
    size_t drive_count;
    struct tuck_bound bound;          // all zero: the usual one
    enum tuck_durability admin_level; // at which subcommands open it
};

/** Sets TMPDIR. */
struct cache_world cache_world_new(void);

struct tuck_cache *cache_open(const struct cache_world *world, enum tuck_durability durability);

/** As a subcommand opens it; NULL and *ret_error (may be NULL) if there is none. */
struct tuck_cache *cache_open_for_admin(const struct cache_world *world,
                                        struct tuck_error *ret_error);

/** Counts and clears it, as subcommands do. */
struct tuck_drive_stats stats_of(const struct cache_world *world);
struct tuck_removed clear_cache(const struct cache_world *world);

/** Ends and closes it, as a helper at the end of its input. */
void cache_end(struct tuck_cache *cache);

/** How often an event came since the last cache_world_new(). */
unsigned events_of(enum tuck_event_kind kind);

/** Waits until it has come so often; false after ten seconds. */
bool events_wait(enum tuck_event_kind kind, unsigned count);

/** What the last event of this kind was about and why, "" if there was none. Borrowed until the next one. */
const char *event_path(enum tuck_event_kind kind);
const char *event_reason(enum tuck_event_kind kind);

/** Puts the body in parts of `part` bytes. Returns what tuck_put_commit() says. */
int put_in_parts(struct tuck_cache *cache, uint64_t action, const struct body *body, size_t part,
                 struct tuck_hit *ret_hit);

/** Puts, and checks the answer. */
struct tuck_hit put(struct tuck_cache *cache, uint64_t action, const struct body *body);

/** Looks up, hashing if that must be; true if it is a hit, which must be this body, readable under its path. */
bool get(struct tuck_cache *cache, uint64_t action, const struct body *body,
         struct tuck_hit *ret_hit);

// --- System calls --------------------------------------------------------------------------------

enum call {
    CALL_WRITE_OBJECT,  // into an object's file, named or not
    CALL_NAME_OBJECT,   // an object gets its name
    CALL_READ_OBJECT,   // for its verification
    CALL_SYNC_OBJECT,   // an object's file
    CALL_SYNC_OBJECTS,  // a directory of objects
    CALL_SYNC_ALL,      // the file system
    CALL_WRITE_ENTRIES, // pages of the index other than super page and counters
    CALL_SYNC_ENTRIES,
    CALL_SYNC_OTHER, // what makes a new index or its name durable
    CALL_ANSWER,     // noted by a test: what came before was before the answer
};

/** The log since the last call of calls_forget(). */
void calls_forget(void);
size_t calls_count(enum call call);

/** Place of the first or last such call in the log, SIZE_MAX if there is none. */
size_t calls_first(enum call call);
size_t calls_last(enum call call);
void calls_note(enum call call);

/** Waits until there are as many such calls as this; false after ten seconds. */
bool calls_wait(enum call call, size_t count);

/** Writes below this path fail for lack of space, NULL: none does. */
void kernel_fill(const char *path);

/** Reads of files below this path fail with EIO, NULL: none does. */
void kernel_break_reads(const char *path);

/** Asked before each of these calls and those of drives_world.c, with the path that is meant: an errno that it fails
 * with, or 0. NULL: nobody is asked. Atomic. */
extern int (*kernel_hook)(const char *path, bool is_writing);

/** Syncs of the file system fail. */
void kernel_break_syncs(bool do_break);

/** The next so many reads of objects find that somebody changes the file's times meanwhile. */
void kernel_touch_objects(unsigned count);

/** As in index_world.h. */
void kernel_pretend_boot(int boot);

/** Told of each of these calls beside the log: of writes before they are done, of the others after they went well.
 * `path` is that of the file; data, len and offset of CALL_WRITE_ENTRIES. NULL: nobody. */
extern void (*kernel_watcher)(enum call call, const char *path, const void *data, size_t len,
                              off_t offset);

// SPDX-License-Identifier: MIT
/*
 * Drive: one directory tree on one device that holds objects, each an immutable file named after
 * the SHA-256 of its content. Stages bodies, commits them, and tells whether an object is there and
 * is what its name says. Not here: which action made what (index), when to look and when to fall
 * back (cache).
 *
 * An object is complete from the moment it has a name and is never written again. Below the root
 * nothing follows a symbolic link when writing. Modes: directories 0700 and files 0400 under the
 * caller's umask 077.
 *
 * Threads: check and verify from any thread; the others from one. A stage belongs to one thread.
 */
#pragma once
#include "lib/base/error.h"
#include "lib/base/id.h"

struct tuck_drive;
struct tuck_stage;

enum tuck_drive_outcome {
    TUCK_DRIVE_ABSENT = 1, // no such object
    TUCK_DRIVE_DAMAGED,    // what stands there is not the object
    TUCK_DRIVE_CLAIMED,    // a running helper gave it out: it stays
};

/** Objects are handed out as <shown root>/objects/ab/cdef…: this many bytes after root and slash,
 * with the end. */
#define TUCK_DRIVE_PATH_TAIL 74

/** Room for any path that is handed out. */
#define TUCK_DRIVE_PATH_ROOM 4096

/** Opens the drive at the absolute path `root`, creating what is missing. Paths are handed out
 * below `gocache` if that is not NULL: through a link made there when root is elsewhere, for the go
 * command moves away files whose path does not begin with $GOCACHE. Refuses a root that others own
 * or may write to, and a format that is newer than this. */
TUCK_CHECKED int tuck_drive_open(const char *root, const char *gocache,
                                 struct tuck_drive **ret_drive, struct tuck_error *err);

/** A private drive: a new directory under $TMPDIR or /tmp, left behind at the end (its paths were
 * given out) and swept by a later run when it is a day old. */
TUCK_CHECKED int tuck_drive_open_private(struct tuck_drive **ret_drive, struct tuck_error *err);

/** Accepts NULL. */
void tuck_drive_close(struct tuck_drive *drive);

/** The root as it is handed out. Borrowed, valid UTF-8, no slash at the end. */
const char *tuck_drive_shown_root(const struct tuck_drive *drive);

/** Opens a directory of the drive ("index", "leases"), creating it. Returns a descriptor of the
 * caller's, or < 0. */
TUCK_CHECKED int tuck_drive_open_dir(struct tuck_drive *drive, const char *name,
                                     struct tuck_error *err);

/** Writes the path of an object as it is handed out: strlen(shown root) + TUCK_DRIVE_PATH_TAIL + 1
 * bytes. */
void tuck_drive_path(const struct tuck_drive *drive, const struct tuck_output_id *output,
                     char *ret_path);

/** Looks at the object under its path, as tuck_drive_path() wrote it, with one stat. 0 and a tag
 * that changes whenever inode, size or change time do; or an outcome. */
TUCK_CHECKED int tuck_drive_check(const char *path, uint64_t size, uint32_t *ret_tag);

/** Reads and hashes an object; sets *ret_tag as tuck_drive_check() does, taken before the reading.
 * A damaged one is taken away, so that the next put can replace it. 0 or an outcome. */
TUCK_CHECKED int tuck_drive_verify(struct tuck_drive *drive, const struct tuck_output_id *output,
                                   uint64_t size, uint32_t *ret_tag);

/** Makes a complete object durable, whoever wrote it. 0 or < 0. */
TUCK_CHECKED int tuck_drive_sync(struct tuck_drive *drive, const struct tuck_output_id *output);

/** Removes an object unless is_claimed() says that a running helper gave it out; asks before and
 * again after the name was taken away, so that a claim made meanwhile gets the object back. 0,
 * TUCK_DRIVE_CLAIMED, TUCK_DRIVE_ABSENT, or < 0. */
TUCK_CHECKED int tuck_drive_remove(struct tuck_drive *drive, const struct tuck_output_id *output,
                                   bool (*is_claimed)(void *arg,
                                                      const struct tuck_output_id *output),
                                   void *arg, struct tuck_error *err);

/** Calls each() for every object; stops when it returns false. */
TUCK_CHECKED int tuck_drive_walk(struct tuck_drive *drive,
                                 bool (*each)(void *arg, const struct tuck_output_id *output),
                                 void *arg, struct tuck_error *err);

/** Begins a body that will be named `output`. On failure *ret_stage is untouched. */
TUCK_CHECKED int tuck_stage_begin(struct tuck_drive *drive, const struct tuck_output_id *output,
                                  struct tuck_stage **ret_stage, struct tuck_error *err);

/** Appends. After a failure the stage still holds what was written before it. */
TUCK_CHECKED int tuck_stage_write(struct tuck_stage *stage, const void *data, size_t len,
                                  struct tuck_error *err);

/** Copies what is staged to another drive and goes on there. On failure nothing has changed. */
TUCK_CHECKED int tuck_stage_move(struct tuck_stage **stage, struct tuck_drive *to,
                                 struct tuck_error *err);

/** Gives the staged body its name; **takes** *stage on success only. The caller has checked that
 * the content is what the name says. Anything else that stands under the name is replaced. `sync`:
 * durable before this returns. */
TUCK_CHECKED int tuck_stage_commit(struct tuck_stage **stage, bool sync, uint32_t *ret_tag,
                                   struct tuck_error *err);

/** Drops the body. Accepts NULL. */
void tuck_stage_free(struct tuck_stage *stage);

// SPDX-License-Identifier: MIT
/*
 * Drive: one directory tree on one device that holds objects and an index. Opens it, looks after
 * it, and lends its directories. Not here: its objects (object, stage), which drives belong
 * together (set), which action made what (index), when to fall back (cache).
 *
 * Modes: directories 0700 and files 0400 under the caller's umask 077. Threads: any, but for
 * opening and closing.
 */
#pragma once
#include "lib/base/error.h"

struct tuck_drive;
struct tuck_space;

enum tuck_drive_outcome {
    TUCK_DRIVE_MISSING = 1, // there is no such directory
    TUCK_DRIVE_BLANK,       // it has no format file, and nothing that is in the way of a cache
    TUCK_DRIVE_OCCUPIED,    // it has no format file, and other things are in it
    TUCK_DRIVE_BUSY,        // another process has the turn
};

/** Holds the directory at the absolute path `root`, made if it is missing and may be. Refuses one
 * that others own. Until tuck_drive_begin() it serves for its format file only. 0,
 * TUCK_DRIVE_MISSING (with *err), or < 0. */
TUCK_CHECKED int tuck_drive_open(const char *root, bool may_make, struct tuck_drive **ret_drive,
                                 struct tuck_error *err);

/** Reads tuck.json, or as much as there is room for; *ret_len 0: something else stands there. 0,
 * TUCK_DRIVE_BLANK, TUCK_DRIVE_OCCUPIED, or < 0. */
TUCK_CHECKED int tuck_drive_read_format(struct tuck_drive *drive, char *ret_text, size_t room,
                                        size_t *ret_len, struct tuck_error *err);

/** Writes tuck.json in one piece, and beside it what tells people what this is. With is_new one that
 * is there already stays, whoever made it. */
TUCK_CHECKED int tuck_drive_write_format(struct tuck_drive *drive, const char *text, bool is_new,
                                         struct tuck_error *err);

/** Takes the right to write tuck.json on this drive and on others of its set, as far as other
 * processes ask for it too; tuck_drive_close() gives it back. Waits so long for another process. 0,
 * or TUCK_DRIVE_BUSY: also where there are no locks. */
TUCK_CHECKED int tuck_drive_take_turn(struct tuck_drive *drive, uint64_t wait_ns);

/** Keeps a damaged tuck.json for a look. */
TUCK_CHECKED int tuck_drive_set_aside_format(struct tuck_drive *drive, struct tuck_error *err);

/** From now on the drive serves: nobody else may write to it, and paths are handed out below
 * `gocache` if that is not NULL: through a link made there when root is elsewhere, for the go
 * command moves away files whose path does not begin with $GOCACHE. */
TUCK_CHECKED int tuck_drive_begin(struct tuck_drive *drive, const char *gocache,
                                  struct tuck_error *err);

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

/** Makes all that was written to the drive's file system durable. 0 or < 0. */
TUCK_CHECKED int tuck_drive_sync_all(struct tuck_drive *drive, struct tuck_error *err);

/** How much room its file system has. */
TUCK_CHECKED int tuck_drive_space(struct tuck_drive *drive, struct tuck_space *ret_space,
                                  struct tuck_error *err);

/** The time that the drive stamps on what is changed now: in ticks, and by the clock of another
 * machine where that serves the file system. Changes the root's times. 0 if it cannot be told. */
uint64_t tuck_drive_now_ns(struct tuck_drive *drive);

/** Whether its file system takes no writes, as far as it says. */
bool tuck_drive_is_readonly(struct tuck_drive *drive);

/** Whether the drive is still there and answers: its directory is the one that was opened, and can be
 * read and written. Blocks on it. 0, or why not. */
TUCK_CHECKED int tuck_drive_probe(struct tuck_drive *drive, struct tuck_error *err);

/** Removes what was left in staging/ for a day and in quarantine/ for a week. */
void tuck_drive_sweep(struct tuck_drive *drive);

// SPDX-License-Identifier: MIT
/*
 * Object: an immutable file on a drive, named after the SHA-256 of its content. Complete from the
 * moment it has a name, and never written again. Tells whether an object is there and is what its
 * name says, and removes it. Not here: how one is made (stage), what of all this is put off
 * (objects).
 *
 * Threads: any.
 */
#pragma once
#include "lib/base/error.h"
#include "lib/base/id.h"

struct tuck_drive;

enum tuck_object_outcome {
    TUCK_OBJECT_ABSENT = 1, // no such object
    TUCK_OBJECT_DAMAGED,    // what stands there is not the object
    TUCK_OBJECT_CLAIMED,    // a running helper gave it out: it stays
};

/** Objects are handed out as <shown root>/objects/ab/cdef…: this many bytes after root and slash,
 * with the end. */
#define TUCK_OBJECT_PATH_TAIL 74

/** Room for any path that is handed out. */
#define TUCK_OBJECT_PATH_ROOM 4096

/** Writes the path of an object as it is handed out: strlen(shown root) + TUCK_OBJECT_PATH_TAIL + 1
 * bytes. */
void tuck_object_path(const struct tuck_drive *drive, const struct tuck_output_id *output,
                      char *ret_path);

/** True if an errno speaks of the drive and not of one file: it is gone, unmounted, or fails. */
bool tuck_object_is_fault(int os);

/** Looks at the object under its path, as tuck_object_path() wrote it, with one stat. 0 and a tag
 * that changes whenever inode, size or change time do; an outcome; or TUCK_EIO if the drive failed.
 */
TUCK_CHECKED int tuck_object_check(const char *path, uint64_t size, uint32_t *ret_tag);

/** Fits any size, for tuck_object_verify(). */
#define TUCK_OBJECT_ANY_SIZE UINT64_MAX

struct tuck_object_found {
    uint64_t size; // bytes
    uint32_t tag;  // as tuck_object_check() gives it, taken before the reading
    bool is_gone;  // it was damaged and was taken away
};

/** Reads and hashes an object. A damaged one is taken away, so that the next put can replace it: to
 * quarantine/, where a few are kept for a look. 0 or TUCK_OBJECT_DAMAGED with *ret_found, another
 * outcome, or TUCK_EIO if the drive could not read it: then it stays. */
TUCK_CHECKED int tuck_object_verify(struct tuck_drive *drive, const struct tuck_output_id *output,
                                    uint64_t size, struct tuck_object_found *ret_found);

/** As above, and leaves a damaged one where it is. TUCK_EIO also for an object that may not be opened:
 * TUCK_OBJECT_ABSENT means that it is gone, or was replaced meanwhile. */
TUCK_CHECKED int tuck_object_inspect(struct tuck_drive *drive, const struct tuck_output_id *output,
                                     struct tuck_object_found *ret_found);

/** Makes a complete object durable, whoever wrote it. 0 or < 0. */
TUCK_CHECKED int tuck_object_sync(struct tuck_drive *drive, const struct tuck_output_id *output,
                                  struct tuck_error *err);

/** The space that an object of this size takes: whole blocks. */
uint64_t tuck_object_space_of(uint64_t size);

/** Removes an object unless is_claimed() says that a running helper gave it out; asks before and
 * again after the name was taken away, so that a claim made meanwhile gets the object back. 0,
 * TUCK_OBJECT_CLAIMED, TUCK_OBJECT_ABSENT, or < 0. */
TUCK_CHECKED int tuck_object_remove(struct tuck_drive *drive, const struct tuck_output_id *output,
                                    bool (*is_claimed)(void *arg,
                                                       const struct tuck_output_id *output),
                                    void *arg, struct tuck_error *err);

struct tuck_object_seen {
    struct tuck_output_id output;
    uint64_t size;       // bytes
    uint64_t changed_ns; // wall clock of the last change of the file, its naming for instance
};

/** Calls each() for every object whose id begins with a byte in [first, last]; stops when it returns
 * false. 0, or < 0 if some could not be looked at: who was not met may be there. */
TUCK_CHECKED int tuck_object_walk(struct tuck_drive *drive, unsigned first, unsigned last,
                                  bool (*each)(void *arg, const struct tuck_object_seen *seen),
                                  void *arg, struct tuck_error *err);

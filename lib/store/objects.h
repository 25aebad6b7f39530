// SPDX-License-Identifier: MIT
/*
 * Objects: what this process knows of the objects of one drive, and what is still to be done to
 * them. A write-back cache (lib/lru) by output id: loading an object hashes it, flushing it makes
 * it durable as the level asks, or removes it. Not here: bodies and names (drive), entries (index),
 * and which objects wait for which entries (cache).
 *
 * Threads: any.
 */
#pragma once
#include "lib/base/error.h"
#include "lib/base/id.h"

struct tuck_drive;
struct tuck_lru;
struct tuck_lru_group;
struct tuck_objects;

enum tuck_durability {
    TUCK_LAZY,   // nothing is synced; an object that was not verified since the machine's last boot
                 // is hashed before it is served, unless a later sync in the background has covered
                 // it
    TUCK_BATCH,  // one sync of the file system before each write of the index
    TUCK_STRICT, // each object is durable before its put is answered
};

/** The drive is borrowed and outlives this. */
TUCK_CHECKED int tuck_objects_new(struct tuck_drive *drive, struct tuck_lru_group *group,
                                  enum tuck_durability durability,
                                  struct tuck_objects **ret_objects, struct tuck_error *err);

/** Accepts NULL. */
void tuck_objects_free(struct tuck_objects *objects);

/** The write-back cache, to declare what removals depend on. Borrowed. */
struct tuck_lru *tuck_objects_lru(struct tuck_objects *objects);

/** True if this process wrote or hashed the very file that has this tag (see tuck_object_check()). */
bool tuck_objects_knows(struct tuck_objects *objects, const struct tuck_output_id *output,
                        uint32_t tag);

/** Hashes the object, unless it is known or another thread is at it. *tag is the file's as it was
 * looked at, and then that of the file that was hashed: somebody may have touched or replaced it
 * meanwhile. 0 if it is the object; TUCK_OBJECT_ABSENT if it is gone or changes all the time;
 * TUCK_OBJECT_DAMAGED: it was taken away; TUCK_EIO. */
TUCK_CHECKED int tuck_objects_verify(struct tuck_objects *objects,
                                     const struct tuck_output_id *output, uint32_t *tag);

/** The object is there and is good: what is put of it becomes durable as the level asks, at
 * TUCK_STRICT before this returns. *ret_seq is what its entries have to wait for. 0 or < 0. */
TUCK_CHECKED int tuck_objects_keep(struct tuck_objects *objects,
                                   const struct tuck_output_id *output, uint64_t size, uint32_t tag,
                                   uint64_t *ret_seq, struct tuck_error *err);

/** The object goes with the next flush, after what was declared, unless a running helper gave it out
 * or it is kept before that. *ret_seq: for tuck_lru_flush(). 0 or TUCK_ENOMEM. What was not removed
 * in a flush that failed is tried again by the next one. */
TUCK_CHECKED int tuck_objects_remove(struct tuck_objects *objects,
                                     const struct tuck_output_id *output, uint64_t size,
                                     uint64_t *ret_seq);

/** Takes back every removal that no flush has begun. True if none is left. */
TUCK_CHECKED bool tuck_objects_spare(struct tuck_objects *objects);

/** What went off the drive. */
struct tuck_removals {
    uint64_t objects;
    uint64_t bytes;   // space on the drive
    uint64_t claimed; // left, because a running helper gave them out
    uint64_t damaged; // of the objects: did not have their hash
};

/** What went since this was asked last, whoever asked and whichever thread removed it: each removal
 * is told once. */
void tuck_objects_take_removals(struct tuck_objects *objects, struct tuck_removals *ret_removals);

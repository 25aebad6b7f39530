// SPDX-License-Identifier: MIT
/*
 * Brief: what each page of the file of entries holds, 11 bits of each action, inside the index only.
 * It tells from one line of memory that an action is not there, which is the answer of all drives but
 * one; a read of the page costs ten times that. Not here: when a page is changed (file).
 *
 * It is the file "brief" beside "entries", a slot for each page. A slot is good only with a checksum
 * that is right for this file of entries, its inode, its mount, this boot of the machine and this page:
 * one that is new, foreign, torn or left by a crash tells nothing, and so nothing is ever cleared.
 * Whoever changes a page forgets its slot before and notes it behind that, while it has the page's
 * lock; so a slot that tells of what was never stays, whoever is killed where. Only a helper whose
 * flush began before there was a brief, for want of space or because nobody had wanted one, or in
 * which somebody removed the file, may leave one that denies an entry, which is a miss until its page
 * is written again. Written with pwrite(), read through a mapping that may break (lib/base/mapping.h):
 * then it tells nothing.
 *
 * Threads: want, read, is_due and bind from any; all others from one at a time, whoever writes the
 * index.
 */
#pragma once
#include "lib/base/id.h"
#include "lib/base/mapping.h"
#include "lib/base/thread.h"

#define BRIEF_PRINTS   38U
#define BRIEF_NOTHING  255U
#define BRIEF_SEGMENTS 16U // the first of 4096 slots, each other as long as all before it

struct brief_slot {
    uint8_t print[BRIEF_PRINTS]; // of each action 11 bits: these are the lower ones,
    uint8_t more[3][5];          // and three bit fields have the others
    uint8_t count;
    uint8_t depth;
    uint8_t reserved;
    uint64_t check; // used inside
};
_Static_assert(sizeof(struct brief_slot) == 64, "a slot is a line of memory");

struct brief {
    int fd;          /* atomic: a number that stays, or -1 while there is none */
    bool is_off;     /* atomic: nothing is told from now on */
    bool is_wanted;  /* guarded by lock */
    uint64_t key;    /* atomic: of all checksums */
    uint32_t tried;  /* atomic: a bit for each segment that was looked for, */
    uint32_t untold; /* atomic: and how often one was not there since */
    uint32_t mapped; /* atomic: a bit for each segment that is */
    uint32_t sized;  /* a bit for each segment that the file had at the last look */
    struct tuck_mutex lock;
    struct tuck_mapping segment[BRIEF_SEGMENTS]; /* guarded by lock until its bit is set */
};

/** There is none at first. Nobody but helpers with several drives asks, so none is made before one
 * does; who writes the index keeps the one that is there. */
void tuck_index__brief_init(struct brief *brief);

/** Before read and is_due: opens or creates "brief" in dirfd (borrowed), unless that was done. Where it
 * cannot be had nothing is told. */
void tuck_index__brief_want(struct brief *brief, int dirfd);

void tuck_index__brief_close(struct brief *brief);

/** Which file of entries it is of: its descriptor and seed, and the tag of the present boot. */
void tuck_index__brief_bind(struct brief *brief, int entries_fd, uint64_t seed, uint32_t boot);

/** Before bind, where the seed changes: nothing is told in between. */
void tuck_index__brief_unbind(struct brief *brief);

/** Before a flush: opens the one that is there, if there is, and goes on with the one that is there now,
 * or with the rest of what somebody has cut off. 0, or -errno where only this process lacks what it takes:
 * descriptors, memory. */
TUCK_CHECKED int tuck_index__brief_follow(struct brief *brief, int dirfd);

/** Adds an action to a slot, which has room for it. */
void tuck_index__brief_add(struct brief_slot *slot, const uint8_t action[static TUCK_ID_BYTES]);

/** False if the slot has no such action; one in seventy is mistaken for one that it has. */
bool tuck_index__brief_may_have(const struct brief_slot *slot,
                                const uint8_t action[static TUCK_ID_BYTES]);

/** False if nothing is known of the page. */
bool tuck_index__brief_read(struct brief *brief, uint64_t page, struct brief_slot *ret_slot);

/** Nobody is told anything of the page any more, if there is a brief. 0, or -errno: then it must not be
 * changed. */
TUCK_CHECKED int tuck_index__brief_forget(struct brief *brief, uint64_t page);

/** Tells of `count` pages from `page` on; a slot with a count of BRIEF_NOTHING is of one of which
 * nothing is known. Sets the checksums. False if they could not be written. */
bool tuck_index__brief_note(struct brief *brief, uint64_t page, struct brief_slot *slots,
                            size_t count);

/** False if somebody has noted all pages since the machine was booted, or if there is no brief. */
bool tuck_index__brief_is_due(struct brief *brief);
void tuck_index__brief_note_full(struct brief *brief);

/** The space that it takes on the drive. */
uint64_t tuck_index__brief_bytes(const struct brief *brief);

// SPDX-License-Identifier: MIT
/*
 * Format: what the file tuck.json of a drive says, and what follows when the drives of a list are
 * looked at together. Every drive of a set knows the whole set, so that any of them can tell what
 * belongs where, and a blank one gets back what it was.
 *
 *     {"format": "tuck", "version": 2, "id": "<24 hex>", "set": ["<id>", …], "placement": "CRCMOD",
 *      "generation": 3, "mounts": ["/mnt/a", null, …]}
 *
 * `generation` grows with each change of the set. A drive that an interrupted change did not reach
 * has an older one and is brought up to date. `mounts` may be absent: for each drive of the set the
 * mount point that its path crossed, known by the others because an unmounted drive cannot be asked.
 * Version 1 knows neither: its set is of generation 1. Other keys are ignored.
 *
 * Not here: reading, writing and looking at directories (drive). Pure: nothing but text and structs.
 * Threads: any; nothing is shared.
 */
#pragma once
#include "lib/store/drives.h"
#include "lib/store/place.h"

#define TUCK_FORMAT_VERSION 2
#define TUCK_FORMAT_ID      24  // lower-case hexadecimal digits
#define TUCK_FORMAT_MOUNT   256 // room for a mount point; a longer one is not recorded

struct tuck_format_member {
    char id[TUCK_FORMAT_ID + 1];
    char mount[TUCK_FORMAT_MOUNT]; // "": none is known
};

/** A drive set as one of its drives knows it. Copied as it is. */
struct tuck_format {
    uint64_t generation; // from 1
    enum tuck_placement placement;
    size_t self; // which of the members this drive is
    size_t count;
    struct tuck_format_member members[TUCK_DRIVES_MAX]; // in the order of the list of drives
};

/** What is found where a drive should be. The first ones are what tuck_format_parse() says of a
 * text, the others what whoever looks for it has to tell. */
enum tuck_format_state {
    TUCK_FORMAT_GOOD = 0,
    TUCK_FORMAT_DAMAGED,     // no format file, whatever it was: may be written anew
    TUCK_FORMAT_FOREIGN,     // something else lives there: hands off
    TUCK_FORMAT_NEWER,       // made by a newer tuck: hands off
    TUCK_FORMAT_BLANK,       // a directory without a format file
    TUCK_FORMAT_MISSING,     // no directory
    TUCK_FORMAT_UNREACHABLE, // it cannot be told: no permission, an I/O error
};

/** Reads a format file. TUCK_FORMAT_GOOD with *ret_format set, or DAMAGED, FOREIGN or NEWER with a
 * text why, or TUCK_ENOMEM, which says nothing of the file. */
TUCK_CHECKED int tuck_format_parse(const char *text, size_t len, struct tuck_format *ret_format,
                                   struct tuck_error *err);

/** Returns an owned text, in the oldest version that can say it. */
TUCK_CHECKED int tuck_format_write(const struct tuck_format *format, char **ret_text,
                                   struct tuck_error *err);

// --- All drives together -------------------------------------------------------------------------

/** One place of the list of drives. */
struct tuck_format_found {
    const char *path; // as it stands in the list
    enum tuck_format_state state;
    const struct tuck_format *format; // of a good one
    const char *reason;               // what more there is to say of the state; may be NULL
    bool is_unmounted;                // its mount point is known and nothing is mounted there
};

enum tuck_format_verdict {
    TUCK_FORMAT_USE,    // as it is
    TUCK_FORMAT_HEAL,   // write the set with this member's id, then use
    TUCK_FORMAT_CREATE, // likewise, for the first time: the set is new
    TUCK_FORMAT_HOLE,   // leave alone; its place in the set stays
    TUCK_FORMAT_REFUSE, // leave alone: it has no place in this set
};

#define TUCK_FORMAT_NO_MEMBER SIZE_MAX

struct tuck_format_judged {
    enum tuck_format_verdict verdict;
    size_t member;         // of the set, or TUCK_FORMAT_NO_MEMBER
    struct tuck_error why; // of HOLE and REFUSE, and what is wrong with the place of one in USE
};

struct tuck_format_judgement {
    struct tuck_format set; // the one in force, of no members if there is none; `self` is no member
    struct tuck_format_judged places[TUCK_DRIVES_MAX];
};

enum tuck_format_outcome {
    TUCK_FORMAT_REFUSED = 1, // the list cannot be what the user means
};

/**
 * Judges all places of a list together, from 1 to TUCK_DRIVES_MAX of them.
 *
 * 0: nothing contradicts; every place is to be used, healed, created or is a hole. A new set, with
 * `placement` and ids from new_id(), is made only where no place has a format and all can be
 * written. Before healing a member whose mount point is known, see that something is mounted there:
 * if not, set is_unmounted and judge again.
 *
 * TUCK_FORMAT_REFUSED: a text in *err names a drive and what to do about it. Nothing must be
 * written; but places in USE may be used by a helper that has to do the best it can. They all belong
 * to the set in force: that of the first good drive, in its newest generation.
 *
 * *ret_judgement, some 40 KiB, is set in both cases.
 */
TUCK_CHECKED int tuck_format_judge(const struct tuck_format_found *found, size_t count,
                                   enum tuck_placement placement,
                                   void (*new_id)(char ret_id[static TUCK_FORMAT_ID + 1]),
                                   struct tuck_format_judgement *ret_judgement,
                                   struct tuck_error *err);

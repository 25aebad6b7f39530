// SPDX-License-Identifier: MIT
/*
 * Leases: what running helpers gave out and others must not remove, and what they have done so far.
 * Each helper has one locked file in leases/ with a mapped filter of output ids and its counters;
 * the kernel drops the lock when the helper dies, and with it the claim. The filter may claim too
 * much (about 2 in 100 at 20,000 objects), never too little. And the turn: who collects on a drive.
 *
 * Threads: claim and publish from any; the others from one.
 */
#pragma once
#include "lib/base/event.h"
#include "lib/base/id.h"

struct tuck_error;
struct tuck_lease;
struct tuck_leases;

enum tuck_lease_outcome {
    TUCK_TURN_TAKEN = 1, // another process has the turn
};

/** Takes a lease in the directory dirfd (taken over, closed on failure too). Where no file can be
 * made, the lease claims everything. On failure *ret_lease is untouched. */
TUCK_CHECKED int tuck_lease_take(int dirfd, struct tuck_lease **ret_lease, struct tuck_error *err);

/** Why no file could be made for it: an errno, or 0 if there is one. Accepts NULL. */
int tuck_lease_error(const struct tuck_lease *lease);

/** Claims an object; call before looking whether it is there. NULL lease: nothing. */
void tuck_lease_claim(struct tuck_lease *lease, const struct tuck_output_id *output);

/** Leaves a copy of the helper's counters where others see it, also after it died. NULL lease:
 * nothing. */
void tuck_lease_publish(struct tuck_lease *lease, const struct tuck_counters *counters);

/** Accepts NULL. */
void tuck_lease_release(struct tuck_lease *lease);

/** As above, but the file stays, for the next tuck_leases_reap() to add up what was published:
 * it could not be done at the helper's end. */
void tuck_lease_abandon(struct tuck_lease *lease);

/** As above, and the claims stay as well: a collection runs that does not know yet what this helper
 * has put. */
void tuck_lease_leave(struct tuck_lease *lease);

/** Looks at the leases of others, for a collector. dirfd is taken over. */
TUCK_CHECKED int tuck_leases_open(int dirfd, struct tuck_leases **ret_leases,
                                  struct tuck_error *err);

/** True if any running helper may have given the object out, or one that left its claims. Reads the
 * directory each time, so that helpers that began meanwhile count. Signature fits
 * tuck_object_remove(). */
bool tuck_leases_claim(void *leases, const struct tuck_output_id *output);

/** Reads all claims that there are now, for tuck_leases_claimed(). 0 or TUCK_ENOMEM, with those read
 * before. */
TUCK_CHECKED int tuck_leases_read(struct tuck_leases *leases, struct tuck_error *err);

/** What tuck_leases_claim() would have said when they were read last, without a system call. */
bool tuck_leases_claimed(const struct tuck_leases *leases, const struct tuck_output_id *output);

/** Adds what running helpers have published to *sums. */
void tuck_leases_count(struct tuck_leases *leases, struct tuck_counters *sums);

/** Removes the files of helpers that died, abandoned or left theirs, after add() has taken in what
 * they had published; where that returns false the file stays. */
void tuck_leases_reap(struct tuck_leases *leases,
                      bool (*add)(void *arg, const struct tuck_counters *counters), void *arg);

/** Accepts NULL. */
void tuck_leases_close(struct tuck_leases *leases);

// --- The turn ------------------------------------------------------------------------------------

/** Takes the turn to collect on a drive, which one process has at a time and loses when it dies; not
 * waited for. dirfd, of a directory that nobody locks for anything else, is taken over. 0 with
 * *ret_turn, which is given back by closing it; TUCK_TURN_TAKEN; or < 0, also where nothing can be
 * removed because the drive is read-only. */
TUCK_CHECKED int tuck_turn_take(int dirfd, int *ret_turn, struct tuck_error *err);

/** Whether some process has it. dirfd is taken over. */
bool tuck_turn_is_taken(int dirfd);

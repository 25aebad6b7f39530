// SPDX-License-Identifier: MIT
/*
 * Place: in which order a key prefers the drives of a set. The first that is online gets the
 * object, so that a key is found again without a search; the others stand by in this order. Two
 * rules, and which of them a set uses is written on its drives: with another one nothing is where
 * it is looked for first.
 *
 *     CRCMOD       the seed's: by CRC-32 of the key and the number of drives, then round the list.
 *                  One drive more moves most keys; a drive that is offline leaves all its keys to
 *                  its neighbour.
 *     RENDEZVOUS   each drive draws a weight for the key from its id, and the highest wins. One
 *                  drive more moves only the keys that it takes over; the keys of one that is
 *                  offline are spread evenly. The order of the list does not matter.
 *
 * Not here: which drives there are (format) and which are online. Threads: any; nothing is shared.
 */
#pragma once
#include "lib/store/drives.h"

enum tuck_placement { TUCK_CRCMOD, TUCK_RENDEZVOUS }; // zero is the default

/** "CRCMOD" or "RENDEZVOUS", as it stands in tuck.json. */
const char *tuck_place_name(enum tuck_placement placement);

/** False, and *ret_placement untouched, if there is no placement of that name. */
TUCK_CHECKED bool tuck_place_named(const char *name, enum tuck_placement *ret_placement);

/** The place of a key by CRCMOD, or -1 where there are no drives. */
int tuck_place_crcmod(const void *key, size_t len, int count);

/** What a drive brings into RENDEZVOUS; follows from its id, so that it is worked out once. */
uint64_t tuck_place_seed(const char *drive_id);

/** Writes the places 0 … count - 1 of the list, at most TUCK_DRIVES_MAX, in the order in which the
 * key prefers them. `seeds` are those of the drives in the order of the list; CRCMOD needs none and
 * takes NULL. */
void tuck_place_order(enum tuck_placement placement, const void *key, size_t len,
                      const uint64_t *seeds, size_t count, uint8_t *ret_order);

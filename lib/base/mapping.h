// SPDX-License-Identifier: MIT
/*
 * Mapping: memory that is shared with a file, on a drive that may fail under it. A page that cannot be
 * had any more, which is SIGBUS and would end the process, becomes memory of this process alone, and
 * the mapping is broken from then on: what is written to it reaches nobody. Only for what can be done
 * without.
 *
 * The signal is taken with each mapping that is made; a fault elsewhere goes to whoever had it before.
 * Threads: any; a mapping is made and removed by one at a time.
 */
#pragma once
#include "lib/base/prelude.h"

struct tuck_mapping { // all zero: none. Not to be moved while it is in use
    void *data;
    size_t len;     // bytes
    bool is_broken; /* atomic, pairs with nothing: see tuck_mapping_is_broken() */
};

/** Maps `len` bytes of the file, which it has, from `offset` on, a multiple of 64 KiB. 0, or -errno with
 * *mapping all zero. */
TUCK_CHECKED int tuck_mapping_open(struct tuck_mapping *mapping, int fd, uint64_t offset,
                                   size_t len);

/** Accepts all zero and leaves it. */
void tuck_mapping_close(struct tuck_mapping *mapping);

/** True once a page was lost. */
static inline bool tuck_mapping_is_broken(const struct tuck_mapping *mapping) {
    return __atomic_load_n(&mapping->is_broken, __ATOMIC_RELAXED);
}

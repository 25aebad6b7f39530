// SPDX-License-Identifier: MIT
/*
 * The last bytes of a text that comes in pieces: what a helper said on stderr. Memory is what the
 * bound says, taken at once. Threads: any.
 */
#pragma once
#include "lib/base/thread.h"

struct tuck_tail {
    struct tuck_mutex lock;
    size_t room;    /* const after init */
    char *data;     /* guarded by lock: a ring */
    uint64_t total; /* guarded by lock: bytes ever added; the next one goes to total % room */
};

/** -ENOMEM, or 0. A room of 0 keeps nothing. */
TUCK_CHECKED int tuck_tail_init(struct tuck_tail *tail, size_t room);
void tuck_tail_fini(struct tuck_tail *tail);

void tuck_tail_add(struct tuck_tail *tail, const char *data, size_t len);

/** Copies the last bytes, at most room - 1, with a terminator; returns how many. */
size_t tuck_tail_copy(struct tuck_tail *tail, char *ret_text, size_t room);

// SPDX-License-Identifier: MIT
/*
 * Drives that fail, in the kernel's way: every call that touches something below a path fails or takes long. Together
 * with cache_world.c; link with wrap: cache_wrap + faults_wrap in meson.build.
 */
#pragma once
#include "tests/unit/cache_world.h"

enum fault_kind {
    FAULT_ALL,    // whatever is done there
    FAULT_READS,  // of the content of files, with pread()
    FAULT_WRITES, // all that would change something
};

/** From now on these calls fail with this errno. Several may be in force; the first that fits is. */
void faults_add(const char *path, enum fault_kind kind, int os);

/** From now on each call takes so long, by the clock. */
void faults_slow(const char *path, uint64_t ns);

/** No fault of this path any more; NULL: none at all. */
void faults_mend(const char *path);

/** How many calls have touched something below the path since the last faults_mend(NULL) or
 * faults_forget_touches(). */
unsigned faults_touches(const char *path);
void faults_forget_touches(void);

/** No thread can be started, so that a cache has no flusher and all that happens is the test's own doing. */
void faults_forbid_threads(bool do_forbid);

// SPDX-License-Identifier: MIT
/*
 * Worlds with several drives, and drives that fail in the kernel's way: every call that touches something below a path
 * fails or takes long. Together with cache_world.c; link with wrap: cache_wrap + faults_wrap in meson.build.
 */
#pragma once
#include "tests/unit/cache_world.h"

#include "lib/cache/internal.h"

#define SMALL 1000
#define LARGE 300000 // staged while it comes in, and hashed on the second thread

/** A world with so many drives, of which each is watched for touches. No thread can be started in it. */
struct cache_world drives_world_new(size_t drive_count);

/** The drive where the set places it. */
size_t home_of(const struct cache_world *world, const struct body *body);

/** A body whose home is this drive; another one for each number. */
struct body body_for(const struct cache_world *world, size_t drive, uint64_t number, size_t len);

#define PRIVATE 99U

/** On which drive the file lies that was given out, or PRIVATE. */
size_t drive_of(const struct cache_world *world, const struct tuck_hit *hit);

/** Puts it and says where it went. */
size_t put_on(const struct cache_world *world, struct tuck_cache *cache, uint64_t action,
              const struct body *body);

unsigned count_objects(const char *drive);

/** Both. */
void move_clocks(uint64_t by_ns);

/** Tries what is due, as the flusher does; in this world there is none. */
void try_again(struct tuck_cache *cache);

bool is_online(struct tuck_cache *cache, size_t drive);

/** Of all drives, as a subcommand reads them. Owned by the caller. */
struct tuck_cache_stats *read_stats(const struct cache_world *world);

// --- Faults --------------------------------------------------------------------------------------

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

/** For cmocka: nothing fails any more. */
int faults_teardown(void **state);

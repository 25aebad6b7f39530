// SPDX-License-Identifier: MIT
#include "lib/cache/bay.h"
#include "lib/base/clock.h"
#include "lib/base/digest.h"
#include "lib/base/io.h"
#include "lib/index/index.h"
#include "lib/table/file.h"

#include <errno.h>
#include <fcntl.h>

#define FIRST_SPAN_NS TUCK_NS_PER_S         // how long a drive that failed is left alone,
#define LAST_SPAN_NS  (300 * TUCK_NS_PER_S) // at most; and how long that is remembered after it
#define SLOW_SPAN_NS  (60 * TUCK_NS_PER_S)  // the first time for one that is slow
#define READONLY_NS   (10 * TUCK_NS_PER_S)  // how long no put is tried on a read-only one
#define FAULTS_MAX    16U // a drive that answers when it is looked at, and fails so often, is no use
#define SLOW_NS       TUCK_NS_PER_S        // a small operation that takes so long
#define SLOW_MAX      3U                   // so often
#define SLOW_TIME_NS  (30 * TUCK_NS_PER_S) // within this, is slow

// --- What is open of a drive ---------------------------------------------------------------------

static bool is_collecting(struct bay_parts *parts) {
    int dirfd = parts->lease ? tuck_drive_open_dir(parts->drive, "objects", NULL) : -1;
    return dirfd >= 0 && tuck_turn_is_taken(dirfd);
}

void tuck_bay__end_lease(struct bay_parts *parts) {
    static const struct tuck_counters none;
    bool must_stay = is_collecting(parts);
    if (must_stay && !parts->is_abandoned) // what was not added up yet will be
        tuck_lease_publish(parts->lease, &none);
    if (must_stay)
        tuck_lease_leave(TUCK_TAKE(parts->lease));
    else if (parts->is_abandoned)
        tuck_lease_abandon(TUCK_TAKE(parts->lease));
    else
        tuck_lease_release(TUCK_TAKE(parts->lease));
}

static void close_parts(struct bay_parts *parts) {
    if (!parts)
        return;
    tuck_bay__end_lease(parts);
    tuck_index_close(parts->index);
    tuck_objects_free(parts->objects);
    tuck_lru_group_free(parts->group);
    tuck_mutex_fini(&parts->lease_lock);
    free(parts);
}

static int open_parts(const struct bays *bays, struct tuck_drive *drive,
                      struct bay_parts **ret_parts, struct tuck_error *err) {
    struct bay_parts *parts = calloc(1, sizeof(*parts));
    if (!parts)
        return tuck_fail(err, TUCK_ENOMEM, "no memory for a drive");
    parts->drive = drive;
    tuck_mutex_init(&parts->lease_lock, TUCK_RANK_LEASE);
    TUCK_CLEANUP(tuck_close_fd) int dirfd = -1;
    int status = tuck_lru_group_new(&parts->group, err);
    if (status == 0)
        status = tuck_objects_new(drive, parts->group, bays->durability, &parts->objects, err);
    if (status == 0) {
        dirfd = tuck_drive_open_dir(drive, "index", err);
        status = dirfd < 0 ? dirfd : 0;
    }
    struct tuck_index_options options = {
        .sink = bays->sink,
        .group = parts->group,
        .is_durable = bays->durability != TUCK_LAZY,
    };
    if (status == 0)
        status = tuck_index_open(dirfd, &options, &parts->index, err);
    if (status < 0) {
        close_parts(parts);
        return status;
    }
    *ret_parts = parts;
    return 0;
}

// The ones before stay until the end: another thread may be using them.
static void install(struct bay *bay, struct bay_parts *parts) {
    parts->retired = bay->retired;
    bay->retired = parts;
    __atomic_store_n(&bay->is_full, false, __ATOMIC_RELAXED);
    __atomic_store_n(&bay->readonly_until_ns, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&bay->parts, parts, __ATOMIC_RELEASE); // pairs with bay_parts()
}

void tuck_bay__claim(struct bay_parts *parts, const struct tuck_output_id *output) {
    if (!__atomic_load_n(&parts->has_lease, __ATOMIC_ACQUIRE)) {
        // Nothing can be removed either from a drive where no lease can be taken.
        struct tuck_lease *lease = NULL;
        int dirfd = tuck_drive_open_dir(parts->drive, "leases", NULL);
        if (dirfd >= 0)
            (void)!tuck_lease_take(dirfd, &lease, NULL);
        tuck_lock(&parts->lease_lock);
        if (!parts->has_lease)
            parts->lease = TUCK_TAKE(lease);
        __atomic_store_n(&parts->has_lease, true, __ATOMIC_RELEASE);
        tuck_unlock(&parts->lease_lock);
        tuck_lease_release(lease); // another thread was faster
    }
    tuck_lease_claim(parts->lease, output);
}

void tuck_bay__publish(struct bay *bay) {
    struct bay_parts *parts = bay_parts(bay);
    if (parts && !parts->is_abandoned && tuck_bay__has_lease(parts))
        tuck_lease_publish(parts->lease, &bay->counters);
}

void tuck_bay__count_removals(struct bay *bay, const struct tuck_removals *removals) {
    struct bay_parts *parts = bay_parts(bay);
    struct tuck_removals taken = {0};
    if (!removals && parts)
        tuck_objects_take_removals(parts->objects, &taken);
    removals = removals ? removals : &taken;
    tuck_count(&bay->counters, TUCK_COUNT_removed_objects, removals->objects);
    tuck_count(&bay->counters, TUCK_COUNT_removed_bytes, removals->bytes);
    tuck_count(&bay->counters, TUCK_COUNT_damaged, removals->damaged);
}

void tuck_bay__add_counters(void *arg, struct tuck_index_sums *sums) {
    struct tuck_counters *counters = arg;
    for (size_t i = 0; i < TUCK_COUNTER_MAX; i++)
        sums->counters.value[i] += counters->value[i];
}

struct moved {
    struct tuck_counters counters;
    struct bay_parts *parts;
};

// While nobody can read the sums. What is published would be added once more by whoever finds the
// lease of a helper that died here; so it goes first.
static void move_counters(void *arg, struct tuck_index_sums *sums) {
    static const struct tuck_counters none;
    struct moved *moved = arg;
    if (!moved->parts->is_abandoned)
        tuck_lease_publish(moved->parts->lease, &none);
    tuck_bay__add_counters(&moved->counters, sums);
}

void tuck_bay__add_up(struct bay *bay) {
    static const struct tuck_counters none;
    struct moved moved = {.parts = bay_parts(bay)};
    struct bay_parts *parts = moved.parts;
    tuck_bay__count_removals(bay, NULL);
    for (size_t i = 0; i < TUCK_COUNTER_MAX; i++)
        moved.counters.value[i] = __atomic_load_n(&bay->counters.value[i], __ATOMIC_RELAXED);
    if (!parts || memcmp(&moved.counters, &none, sizeof(none)) == 0)
        return;
    if (tuck_index_change_sums(parts->index, move_counters, &moved) != 0) {
        if (!parts->has_lease) // it gave nothing out: one to leave them in
            tuck_bay__claim(parts, &(struct tuck_output_id){{0}});
        if (!parts->lease || parts->is_abandoned)
            return;
        tuck_lease_publish(parts->lease, &moved.counters);
        parts->is_abandoned = true;
    }
    for (size_t i = 0; i < TUCK_COUNTER_MAX; i++)
        __atomic_fetch_sub(&bay->counters.value[i], moved.counters.value[i], __ATOMIC_RELAXED);
}

// --- Outages -------------------------------------------------------------------------------------

/*
 * For each drive that failed, by the digest of its root, so that several sets can share a file:
 *
 *   OUTAGE_NOW     until it is tried again
 *   OUTAGE_LATELY  until it has been well for a while: a failure before that doubles the span
 */
enum outage_kind { OUTAGE_NOW, OUTAGE_LATELY };

struct outage_key { // no padding
    uint8_t root[TUCK_ID_BYTES];
    uint8_t kind;
};

struct outage {
    uint64_t span_ns;
    uint64_t uncounted; // times that the drive does not know of itself yet
};

static struct outage_key key_of(const struct bays *bays, size_t place, enum outage_kind kind) {
    const char *root = bays->roots[place];
    struct outage_key key = {.kind = (uint8_t)kind};
    struct tuck_digest digest;
    struct tuck_output_id id;
    tuck_digest_init(&digest);
    tuck_digest_add(&digest, root, strlen(root));
    tuck_digest_end(&digest, &id);
    memcpy(key.root, id.bytes, sizeof(key.root));
    return key;
}

static bool find_outage(const struct bays *bays, size_t place, enum outage_kind kind,
                        struct outage *ret_outage) {
    struct outage_key key = key_of(bays, place, kind);
    *ret_outage = (struct outage){0};
    return tuck_table_peek(bays->outages, &key, ret_outage) == 0;
}

static void keep_outage(struct bays *bays, size_t place, enum outage_kind kind,
                        const struct outage *outage, uint64_t life_ns) {
    struct outage_key key = key_of(bays, place, kind);
    (void)!tuck_table_add(bays->outages, &key, outage, life_ns, 0, NULL);
    __atomic_store_n(&bays->has_new_outages, true, __ATOMIC_RELAXED);
}

static bool is_left_alone(void *arg, size_t place) {
    struct outage outage;
    return find_outage(arg, place, OUTAGE_NOW, &outage);
}

// The next try comes after twice the time of the last one, at least after `first_ns`.
static void note_outage(struct bays *bays, size_t place, uint64_t first_ns, bool is_news) {
    struct outage outage;
    (void)find_outage(bays, place, OUTAGE_LATELY, &outage);
    outage.span_ns = 2 * outage.span_ns > first_ns ? 2 * outage.span_ns : first_ns;
    outage.span_ns = outage.span_ns < LAST_SPAN_NS ? outage.span_ns : LAST_SPAN_NS;
    outage.uncounted += is_news;
    keep_outage(bays, place, OUTAGE_NOW, &outage, outage.span_ns);
    keep_outage(bays, place, OUTAGE_LATELY, &outage, outage.span_ns + LAST_SPAN_NS);
}

// The drive is open.
static void note_return(struct bays *bays, size_t place) {
    struct outage_key key = key_of(bays, place, OUTAGE_NOW);
    struct outage outage;
    bool was_out = tuck_table_delete(bays->outages, &key, NULL) == 0;
    if (!find_outage(bays, place, OUTAGE_LATELY, &outage) || (!was_out && outage.uncounted == 0))
        return;
    tuck_count(&bays->bay[place].counters, TUCK_COUNT_offline, outage.uncounted);
    outage.uncounted = 0;
    keep_outage(bays, place, OUTAGE_LATELY, &outage, LAST_SPAN_NS);
}

// Outages of several drives are remembered from one helper to the next. Those of a single one are
// not: it is tried each time.
static int open_outages(struct bays *bays, const char *gocache, struct tuck_error *err) {
    struct tuck_table_options options = {.key_bytes = sizeof(struct outage_key),
                                         .value_bytes = sizeof(struct outage),
                                         .limit = 8 * TUCK_DRIVES_MAX};
    int status = tuck_table_new(&options, &bays->outages, err);
    if (status < 0 || bays->count < 2 || !gocache)
        return status;
    if (asprintf(&bays->outages_path, "%s/tuck-outages", gocache) < 0) {
        bays->outages_path = NULL;
        return tuck_fail(err, TUCK_ENOMEM, "no memory for a path");
    }
    TUCK_CLEANUP(tuck_close_fd)
    int fd = open(bays->outages_path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0)
        (void)!tuck_table_read(bays->outages, fd, NULL);
    // Written anew once it was read: else a clock that was set back would prolong it each time.
    bays->has_new_outages = fd >= 0;
    return 0;
}

static void leave_word(struct bays *bays) {
    if (!bays->outages_path ||
        !__atomic_exchange_n(&bays->has_new_outages, false, __ATOMIC_RELAXED))
        return;
    (void)tuck_table_sweep(bays->outages, SIZE_MAX);
    if (tuck_table_count(bays->outages) == 0) {
        (void)unlink(bays->outages_path);
        return;
    }
    char temp[25];
    TUCK_CLEANUP(tuck_free) char *path = NULL;
    tuck_random_name(temp);
    if (asprintf(&path, "%s-%s", bays->outages_path, temp) < 0) {
        path = NULL;
        return;
    }
    TUCK_CLEANUP(tuck_close_fd)
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    if (tuck_table_write(bays->outages, fd, NULL) < 0 || rename(path, bays->outages_path) < 0)
        (void)unlink(path);
}

// --- Opening -------------------------------------------------------------------------------------

static void emit(struct bays *bays, enum tuck_event_kind kind, size_t place,
                 const struct tuck_error *why) {
    tuck_emit(bays->sink, kind, bays->roots[place], why);
}

static void note_readonly(struct bay *bay, uint64_t until_ns) {
    __atomic_store_n(&bay->readonly_until_ns, until_ns, __ATOMIC_RELAXED);
}

static void tell_readonly(struct bays *bays, struct bay *bay) {
    struct tuck_error why;
    if (bays->count == 1 || // of which it is told where its puts go
        __atomic_exchange_n(&bay->has_told_readonly, true, __ATOMIC_RELAXED))
        return;
    (void)tuck_fail(&why, TUCK_EACCESS, "%s", strerror(EROFS));
    emit(bays, TUCK_EVENT_DRIVE_READONLY, bay->number, &why);
}

static size_t count_online(struct bays *bays) {
    size_t count = 0;
    for (size_t i = 0; i < bays->count; i++)
        count += bay_parts(&bays->bay[i]) != NULL;
    return count;
}

enum { BAY_SLOW = 1 };

// Opens what is on the drive, which has its place in the set. 0, BAY_SLOW: that took so long that one
// can do better with others; or < 0. A slow one is open only if it may be.
static int open_bay(struct bays *bays, size_t place, struct tuck_drive *drive, bool may_be_slow,
                    struct tuck_error *err) {
    struct bay *bay = &bays->bay[place];
    struct bay_parts *parts = NULL;
    uint64_t began_ns = tuck_clock_mono_ns();
    int status = open_parts(bays, drive, &parts, err);
    if (status < 0)
        return status;
    bool is_slow = tuck_clock_mono_ns() - began_ns >= SLOW_MAX * SLOW_NS;
    if (is_slow && !may_be_slow) {
        close_parts(parts);
        return BAY_SLOW;
    }
    install(bay, parts);
    if (bays->count > 1 && tuck_drive_is_readonly(drive))
        note_readonly(bay, UINT64_MAX); // so is what was opened
    return is_slow ? BAY_SLOW : 0;
}

static void take_offline(struct bays *bays, struct bay *bay, struct bay_parts *parts,
                         uint64_t first_ns, const struct tuck_error *why) {
    if (!__atomic_compare_exchange_n(&bay->parts, &parts, NULL, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE))
        return; // another thread was faster
    note_outage(bays, bay->number, first_ns, true);
    emit(bays, bays->count == 1 ? TUCK_EVENT_DRIVE_UNUSABLE : TUCK_EVENT_DRIVE_OFFLINE, bay->number,
         why);
}

static void find_slow(struct bays *bays, struct bay *bay) {
    struct bay_parts *parts = bay_parts(bay);
    struct tuck_error why = {0};
    if (!parts || count_online(bays) < 2) // the last one is better than none
        return;
    __atomic_store_n(&parts->is_slow, true, __ATOMIC_RELAXED);
    (void)tuck_fail(&why, TUCK_ETIMEOUT, "it is slow: small operations took seconds");
    take_offline(bays, bay, parts, SLOW_SPAN_NS, &why);
}

// What is wrong with the list as a whole, or with one place of it, is told once.
static void tell_opened(struct bays *bays, bool is_refused, const struct tuck_error *set_why,
                        const struct tuck_error *whys, const bool *is_known) {
    if (count_online(bays) == 0) {
        bool is_single = bays->count == 1;
        tuck_emit(bays->sink, TUCK_EVENT_DRIVE_UNUSABLE, is_single ? bays->roots[0] : NULL,
                  is_refused && !is_single ? set_why : &whys[0]);
    } else if (is_refused) {
        tuck_emit(bays->sink, TUCK_EVENT_SET_REFUSED, NULL, set_why);
    }
    for (size_t i = 0; i < bays->count; i++) {
        // What is wrong with the list does not mend itself, and the helper before this one told the rest.
        bays->bay[i].is_refused = whys[i].code == TUCK_EINVAL;
        if (bay_parts(&bays->bay[i]) || bays->bay[i].is_refused || is_known[i])
            continue;
        struct outage outage;
        if (!is_left_alone(bays, i)) // a look at it prolongs nothing
            note_outage(bays, i, FIRST_SPAN_NS, !find_outage(bays, i, OUTAGE_LATELY, &outage));
        if (count_online(bays) > 0)
            emit(bays, TUCK_EVENT_DRIVE_OFFLINE, i, &whys[i]);
    }
}

static int open_bays(struct bays *bays, bool may_leave_alone, bool is_refused,
                     const struct tuck_error *set_why, struct tuck_error *err) {
    TUCK_CLEANUP(tuck_free)
    struct tuck_error *whys = calloc(bays->count, sizeof(*whys));
    bool is_known[TUCK_DRIVES_MAX], is_slow[TUCK_DRIVES_MAX];
    if (!whys)
        return tuck_fail(err, TUCK_ENOMEM, "no memory for the drives");
    for (size_t i = 0; i < bays->count; i++) {
        struct tuck_drive *drive = tuck_set_drive(bays->set, i, &whys[i]);
        int status = drive ? open_bay(bays, i, drive, true, &whys[i]) : TUCK_EIO;
        is_known[i] = !drive && may_leave_alone && is_left_alone(bays, i);
        is_slow[i] = status == BAY_SLOW;
        if (status < 0)
            continue;
        note_return(bays, i);
        if (tuck_set_was_healed(bays->set, i))
            emit(bays, TUCK_EVENT_DRIVE_HEALED, i, NULL);
    }
    tell_opened(bays, is_refused, set_why, whys, is_known);
    for (size_t i = 0; i < bays->count; i++)
        if (is_slow[i])
            find_slow(bays, &bays->bay[i]);
    return 0;
}

int tuck_bays__open(struct bays *bays, const struct tuck_cache_options *options,
                    struct tuck_error *err) {
    struct tuck_error why = {0};
    bays->count = options->drive_count;
    bays->durability = options->durability;
    bays->sink = options->sink;
    for (size_t i = 0; i < bays->count; i++) {
        bays->bay[i].number = i;
        bays->roots[i] = options->drives[i];
    }
    struct tuck_set_options how = {
        .roots = options->drives,
        .count = options->drive_count,
        .gocache = options->gocache,
        .must_exist = options->must_exist,
        .is_left_alone = options->must_exist ? NULL : is_left_alone, // a person asks
        .arg = bays,
    };
    int status = open_outages(bays, options->gocache, &why);
    if (status == 0)
        status = tuck_set_open(&how, &bays->set, &why);
    if (status == TUCK_SET_REFUSED && options->must_exist)
        status = why.code;
    if (status >= 0)
        return open_bays(bays, !options->must_exist, status == TUCK_SET_REFUSED, &why, err);
    if (err)
        *err = why;
    return status;
}

void tuck_bays__close(struct bays *bays) {
    leave_word(bays); // of what happened after the end
    for (size_t i = 0; i < bays->count; i++)
        for (struct bay_parts *parts = bays->bay[i].retired, *next; parts; parts = next) {
            next = parts->retired;
            close_parts(parts);
        }
    tuck_set_close(bays->set);
    tuck_table_free(bays->outages);
    free(bays->outages_path);
}

// --- Failing and coming back ---------------------------------------------------------------------

void tuck_bays__fault(struct bays *bays, struct bay *bay, int os) {
    struct bay_parts *parts = bay_parts(bay);
    struct tuck_error why = {0};
    if (!parts || !tuck_object_is_fault(os))
        return;
    if (os == EROFS) { // what is on it can be had
        note_readonly(bay, tuck_clock_mono_ns() + READONLY_NS);
        tell_readonly(bays, bay);
        return;
    }
    // One file that cannot be read is no reason to do without all others.
    if (tuck_drive_probe(parts->drive, &why) == 0) {
        if (__atomic_add_fetch(&bay->faults, 1, __ATOMIC_RELAXED) < FAULTS_MAX)
            return;
        (void)tuck_fail_os(&why, os, "it failed %u times, though it can be looked at", FAULTS_MAX);
    }
    take_offline(bays, bay, parts, FIRST_SPAN_NS, &why);
}

void tuck_bays__took(struct bays *bays, struct bay *bay, uint64_t took_ns) {
    uint64_t now_ns = tuck_clock_mono_ns();
    if (took_ns < SLOW_NS)
        return;
    if (now_ns - __atomic_load_n(&bay->slow_since_ns, __ATOMIC_RELAXED) > SLOW_TIME_NS) {
        __atomic_store_n(&bay->slow_since_ns, now_ns, __ATOMIC_RELAXED);
        __atomic_store_n(&bay->slow_count, 0, __ATOMIC_RELAXED);
    }
    if (__atomic_add_fetch(&bay->slow_count, 1, __ATOMIC_RELAXED) >= SLOW_MAX)
        find_slow(bays, bay);
}

bool tuck_bays__takes_puts(struct bays *bays, struct bay *bay) {
    struct bay_parts *parts = bay_parts(bay);
    uint64_t until_ns = __atomic_load_n(&bay->readonly_until_ns, __ATOMIC_RELAXED);
    if (!parts || until_ns == 0)
        return parts != NULL;
    if (tuck_clock_mono_ns() >= until_ns) {
        if (!tuck_drive_is_readonly(parts->drive)) {
            __atomic_store_n(&bay->readonly_until_ns, 0, __ATOMIC_RELAXED);
            return true;
        }
        note_readonly(bay, tuck_clock_mono_ns() + READONLY_NS);
    }
    tell_readonly(bays, bay);
    return false;
}

// What the drive could not take when it failed, if it can be had now.
static void save_entries(struct bay *bay) {
    struct bay_parts *parts = bay->retired;
    if (!parts || bay_parts(bay) || __atomic_load_n(&parts->is_slow, __ATOMIC_RELAXED) ||
        parts->is_saved || tuck_lru_dirty_count(tuck_index_lru(parts->index)) == 0)
        return;
    parts->is_saved = tuck_index_spool(parts->index) == 0;
}

uint64_t tuck_bays__next_try_ns(struct bays *bays) {
    return tuck_table_next_deadline_ns(bays->outages);
}

static int retry(struct bays *bays, size_t place) {
    struct tuck_drive *drive;
    int status = tuck_set_retry(bays->set, place, &drive, NULL);
    if (status < 0)
        return status;
    save_entries(&bays->bay[place]); // they are taken in when the index is opened
    return open_bay(bays, place, drive, count_online(bays) == 0, NULL);
}

void tuck_bays__try_again(struct bays *bays) {
    if (tuck_table_next_deadline_ns(bays->outages) > tuck_clock_mono_ns())
        return;
    (void)tuck_table_sweep(bays->outages, SIZE_MAX);
    for (size_t i = 0; i < bays->count; i++) {
        struct bay *bay = &bays->bay[i];
        if (bay_parts(bay) || bay->is_refused || is_left_alone(bays, i))
            continue;
        int status = retry(bays, i);
        if (!bay_parts(bay)) {
            note_outage(bays, i, status == BAY_SLOW ? SLOW_SPAN_NS : FIRST_SPAN_NS, false);
            continue;
        }
        __atomic_store_n(&bay->faults, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&bay->slow_count, 0, __ATOMIC_RELAXED);
        note_return(bays, i);
        if (tuck_set_was_healed(bays->set, i))
            emit(bays, TUCK_EVENT_DRIVE_HEALED, i, NULL);
        else if (bays->count > 1)
            emit(bays, TUCK_EVENT_DRIVE_ONLINE, i, NULL);
    }
}

// Sizes stay with what they are the size of.
static bool is_of_requests(enum tuck_counter which) {
    return which != TUCK_COUNT_stored_bytes && which != TUCK_COUNT_stored_objects &&
           which != TUCK_COUNT_removed_bytes && which != TUCK_COUNT_removed_objects &&
           which != TUCK_COUNT_evicted && which != TUCK_COUNT_collections;
}

void tuck_bays__end(struct bays *bays) {
    struct bay *online = NULL;
    for (size_t i = bays->count; i-- > 0;)
        online = bay_parts(&bays->bay[i]) ? &bays->bay[i] : online;
    for (size_t i = 0; i < bays->count; i++) {
        struct bay *bay = &bays->bay[i];
        save_entries(bay);
        for (size_t which = 0; online && !bay_parts(bay) && which < TUCK_COUNTER_MAX; which++)
            if (is_of_requests((enum tuck_counter)which))
                tuck_count(&online->counters, (enum tuck_counter)which,
                           __atomic_exchange_n(&bay->counters.value[which], 0, __ATOMIC_RELAXED));
    }
    leave_word(bays);
}

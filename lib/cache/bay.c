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
#define LAST_SPAN_NS  (300 * TUCK_NS_PER_S) // at most
#define READONLY_NS   (10 * TUCK_NS_PER_S)  // how long no put is tried on a read-only one
#define FAULTS_MAX    16U // a drive that answers when it is looked at, and fails so often, is no use

// --- What is open of a drive ---------------------------------------------------------------------

void tuck_bay__end_lease(struct bay_parts *parts) {
    if (parts->is_abandoned)
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

void tuck_bay__add_counters(void *arg, struct tuck_index_sums *sums) {
    struct tuck_counters *counters = arg;
    for (size_t i = 0; i < TUCK_COUNTER_MAX; i++)
        sums->counters.value[i] += counters->value[i];
}

void tuck_bay__add_up(struct bay *bay) {
    struct bay_parts *parts = bay_parts(bay);
    static const struct tuck_counters none;
    struct tuck_counters counters;
    for (size_t i = 0; i < TUCK_COUNTER_MAX; i++)
        counters.value[i] = __atomic_load_n(&bay->counters.value[i], __ATOMIC_RELAXED);
    if (!parts || memcmp(&counters, &none, sizeof(none)) == 0)
        return;
    // Published counters would be added once more by whoever finds the lease of a helper that died here.
    if (!parts->is_abandoned)
        tuck_lease_publish(parts->lease, &none);
    if (tuck_index_change_sums(parts->index, tuck_bay__add_counters, &counters) != 0) {
        if (!parts->lease || parts->is_abandoned)
            return;
        tuck_lease_publish(parts->lease, &counters);
        parts->is_abandoned = true;
    }
    for (size_t i = 0; i < TUCK_COUNTER_MAX; i++)
        __atomic_fetch_sub(&bay->counters.value[i], counters.value[i], __ATOMIC_RELAXED);
}

// --- Opening -------------------------------------------------------------------------------------

static struct tuck_output_id key_of(const struct bays *bays, size_t place) {
    const char *root = bays->roots[place];
    struct tuck_digest digest;
    struct tuck_output_id key;
    tuck_digest_init(&digest);
    tuck_digest_add(&digest, root, strlen(root));
    tuck_digest_end(&digest, &key);
    return key;
}

static bool is_left_alone(void *arg, size_t place) {
    const struct bays *bays = arg;
    struct tuck_output_id key = key_of(bays, place);
    return bays->outages && tuck_table_peek(bays->outages, &key, NULL) == 0;
}

// The next try comes after twice the time of the last one.
static void note_outage(struct bays *bays, size_t place) {
    struct tuck_output_id key = key_of(bays, place);
    uint64_t span_ns = bays->bay[place].span_ns ? 2 * bays->bay[place].span_ns : FIRST_SPAN_NS;
    if (span_ns > LAST_SPAN_NS)
        span_ns = LAST_SPAN_NS;
    bays->bay[place].span_ns = span_ns;
    (void)!tuck_table_add(bays->outages, &key, &span_ns, span_ns, 0, NULL);
    __atomic_store_n(&bays->has_new_outages, true, __ATOMIC_RELAXED);
}

static void emit(struct bays *bays, enum tuck_event_kind kind, size_t place,
                 const struct tuck_error *why) {
    tuck_emit(bays->sink, kind, bays->roots[place], why);
}

// Where the outages of several drives are remembered from one helper to the next. Those of a single one are not: it is
// tried each time.
static int open_outages(struct bays *bays, const char *gocache, struct tuck_error *err) {
    struct tuck_table_options options = {
        .key_bytes = TUCK_ID_BYTES, .value_bytes = sizeof(uint64_t), .limit = TUCK_DRIVES_MAX};
    int status = tuck_table_new(&options, &bays->outages, err);
    if (status < 0 || bays->count < 2 || !gocache)
        return status;
    if (asprintf(&bays->outages_path, "%s/tuck-outages", gocache) < 0) {
        bays->outages_path = NULL;
        return tuck_fail(err, TUCK_ENOMEM, "no memory for a path");
    }
    TUCK_CLEANUP(tuck_close_fd)
    int fd = open(bays->outages_path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    // Written anew once it was read: else a clock that was set back would prolong it each time.
    bays->has_new_outages = fd >= 0 && tuck_table_read(bays->outages, fd, NULL) == 0;
    for (size_t i = 0; i < bays->count; i++) {
        struct tuck_output_id key = key_of(bays, i);
        (void)!tuck_table_peek(bays->outages, &key, &bays->bay[i].span_ns);
    }
    return 0;
}

static void open_bay(struct bays *bays, size_t place) {
    struct bay_parts *parts = NULL;
    struct tuck_error why = {0};
    struct tuck_drive *drive = tuck_set_drive(bays->set, place, &why);
    bool was_known = is_left_alone(bays, place);
    if (drive && open_parts(bays, drive, &parts, &why) == 0) {
        install(&bays->bay[place], parts);
        if (tuck_set_was_healed(bays->set, place))
            emit(bays, TUCK_EVENT_DRIVE_HEALED, place, NULL);
        return;
    }
    if (was_known) // the helper before this one has told
        return;
    note_outage(bays, place);
    emit(bays, bays->count == 1 ? TUCK_EVENT_DRIVE_UNUSABLE : TUCK_EVENT_DRIVE_OFFLINE, place,
         &why);
}

int tuck_bays__open(struct bays *bays, const struct tuck_cache_options *options,
                    struct tuck_error *err) {
    struct tuck_error why = {0};
    bays->count = options->drive_count;
    bays->roots = options->drives;
    bays->durability = options->durability;
    bays->sink = options->sink;
    for (size_t i = 0; i < bays->count; i++)
        bays->bay[i].number = i;
    int status = open_outages(bays, options->gocache, err);
    struct tuck_set_options how = {
        .roots = options->drives,
        .count = options->drive_count,
        .gocache = options->gocache,
        .must_exist = options->must_exist,
        .is_left_alone = is_left_alone,
        .arg = bays,
    };
    if (status == 0)
        status = tuck_set_open(&how, &bays->set, &why);
    if (status == TUCK_SET_REFUSED && options->must_exist)
        status = why.code;
    if (status < 0) {
        if (err)
            *err = why;
        return status;
    }
    if (status == TUCK_SET_REFUSED && bays->count > 1)
        tuck_emit(bays->sink, TUCK_EVENT_SET_REFUSED, NULL, &why);
    for (size_t i = 0; i < bays->count; i++)
        open_bay(bays, i);
    return 0;
}

void tuck_bays__close(struct bays *bays) {
    for (size_t i = 0; i < bays->count; i++)
        for (struct bay_parts *parts = bays->bay[i].retired, *next; parts; parts = next) {
            next = parts->retired;
            close_parts(parts);
        }
    tuck_set_close(bays->set);
    tuck_table_free(bays->outages);
    free(bays->outages_path);
}

// --- Outages -------------------------------------------------------------------------------------

void tuck_bays__fault(struct bays *bays, struct bay *bay, int os) {
    struct bay_parts *parts = bay_parts(bay);
    struct tuck_error why = {0};
    if (!parts || !tuck_object_is_fault(os))
        return;
    if (os == EROFS) { // what is on it can be had; a put tries it again after a while
        __atomic_store_n(&bay->readonly_until_ns, tuck_clock_mono_ns() + READONLY_NS,
                         __ATOMIC_RELAXED);
        (void)tuck_fail_os(&why, os, "it takes no more writes");
        if (bays->count > 1)
            emit(bays, TUCK_EVENT_DRIVE_OFFLINE, bay->number, &why);
        return;
    }
    // One file that cannot be read is no reason to do without all others.
    if (tuck_drive_probe(parts->drive, &why) == 0 &&
        __atomic_add_fetch(&bay->faults, 1, __ATOMIC_RELAXED) < FAULTS_MAX)
        return;
    if (!__atomic_compare_exchange_n(&bay->parts, &parts, NULL, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE))
        return; // another thread was faster
    tuck_count(&bay->counters, TUCK_COUNT_offline, 1);
    note_outage(bays, bay->number);
    emit(bays, bays->count == 1 ? TUCK_EVENT_DRIVE_UNUSABLE : TUCK_EVENT_DRIVE_OFFLINE, bay->number,
         &why);
}

uint64_t tuck_bays__next_try_ns(struct bays *bays) {
    return tuck_table_next_deadline_ns(bays->outages);
}

void tuck_bays__try_again(struct bays *bays) {
    if (tuck_table_next_deadline_ns(bays->outages) > tuck_clock_mono_ns())
        return;
    (void)tuck_table_sweep(bays->outages, TUCK_DRIVES_MAX);
    for (size_t i = 0; i < bays->count; i++) {
        struct bay *bay = &bays->bay[i];
        struct bay_parts *parts = NULL;
        struct tuck_drive *drive;
        if (bay_parts(bay) || is_left_alone(bays, i))
            continue;
        if (tuck_set_retry(bays->set, i, &drive, NULL) < 0 ||
            open_parts(bays, drive, &parts, NULL) < 0) {
            note_outage(bays, i);
            continue;
        }
        install(bay, parts);
        bay->span_ns = 0;
        __atomic_store_n(&bay->faults, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&bays->has_new_outages, true, __ATOMIC_RELAXED);
        if (bays->count > 1)
            emit(bays, TUCK_EVENT_DRIVE_ONLINE, i, NULL);
    }
}

void tuck_bays__leave_word(struct bays *bays) {
    if (!bays->outages_path || !__atomic_load_n(&bays->has_new_outages, __ATOMIC_RELAXED))
        return;
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

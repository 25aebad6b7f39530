// SPDX-License-Identifier: MIT
/*
 * The write-back cache of objects: each is hashed once however many ask, becomes durable as the level promises, and is
 * removed after what it waits for, unless somebody uses it.
 */
#include "tests/unit/unit.h"

#include "lib/base/digest.h"
#include "lib/lru/lru.h"
#include "lib/store/drive.h"
#include "lib/store/lease.h"
#include "lib/store/object.h"
#include "lib/store/objects.h"
#include "lib/store/stage.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

// --- System calls --------------------------------------------------------------------------------

ssize_t __real_pread64(int fd, void *data, size_t len, off_t offset);
ssize_t __wrap_pread64(int fd, void *data, size_t len, off_t offset);
int __wrap_fdatasync(int fd);
int __wrap_fsync(int fd);
int __wrap_syncfs(int fd);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct {
    unsigned hashed;   // objects of which the beginning was read
    unsigned wait_for; // threads that have to be on their way before the first read goes on
    unsigned under_way;
    unsigned file_syncs, directory_syncs, all_syncs;
    bool has_broken_syncs;
    char log[64]; // what happened in which order
} kernel;

static int reset(void **state) {
    (void)state;
    memset(&kernel, 0, sizeof(kernel));
    return 0;
}

static void note(char what) {
    size_t len = strlen(kernel.log);
    if (len + 1 < sizeof(kernel.log))
        kernel.log[len] = what;
}

ssize_t __wrap_pread64(int fd, void *data, size_t len, off_t offset) {
    (void)pthread_mutex_lock(&lock);
    kernel.hashed += offset == 0 && len > 100; // not a word of a lease
    while (kernel.under_way < kernel.wait_for)
        (void)pthread_cond_wait(&changed, &lock);
    (void)pthread_mutex_unlock(&lock);
    return __real_pread64(fd, data, len, offset);
}

int __wrap_fdatasync(int fd) {
    (void)fd;
    kernel.file_syncs++;
    note('f');
    errno = EIO;
    return kernel.has_broken_syncs ? -1 : 0;
}

int __wrap_fsync(int fd) {
    (void)fd;
    kernel.directory_syncs++;
    note('d');
    return 0;
}

int __wrap_syncfs(int fd) {
    (void)fd;
    kernel.all_syncs++;
    note('s');
    errno = EIO;
    return kernel.has_broken_syncs ? -1 : 0;
}

// --- The world -----------------------------------------------------------------------------------

struct world {
    struct tuck_drive *drive;
    struct tuck_lru_group *group;
    struct tuck_objects *objects;
    struct tuck_lru *entries; // stands for those of the index
    int entries_status;       // what their flush comes to
};

static void flush_entries(void *backend, struct tuck_lru_flushed *items, size_t count,
                          struct tuck_error *err) {
    struct world *world = backend;
    if (world->entries_status < 0)
        (void)tuck_fail(err, world->entries_status, "entries");
    for (size_t i = 0; i < count; i++)
        items[i].status = world->entries_status;
    note('e');
}

static struct world *world_new(enum tuck_durability level) {
    static const struct tuck_lru_ops ops = {.flush = flush_entries};
    struct world *world = calloc(1, sizeof(*world));
    struct tuck_lru_options options = {
        .ops = &ops, .backend = world, .key_bytes = 8, .value_bytes = 8, .limit_items = 10};
    assert_non_null(world);
    assert_int_equal(
        tuck_drive_open(unit_path(unit_directory(), "root"), true, &world->drive, NULL), 0);
    assert_int_equal(tuck_drive_begin(world->drive, NULL, NULL), 0);
    assert_int_equal(tuck_lru_group_new(&world->group, NULL), 0);
    assert_int_equal(tuck_lru_new(world->group, &options, &world->entries, NULL), 0);
    assert_int_equal(tuck_objects_new(world->drive, world->group, level, &world->objects, NULL), 0);
    return world;
}

static void world_free(struct world *world) {
    tuck_objects_free(world->objects);
    tuck_lru_free(world->entries);
    tuck_lru_group_free(world->group);
    tuck_drive_close(world->drive);
    free(world);
}

struct object {
    struct tuck_output_id output;
    uint64_t size;
    uint32_t tag;
    char path[TUCK_OBJECT_PATH_ROOM];
};

// Put by another process: nothing is known of it here.
static struct object put(struct world *world, uint64_t number, size_t len) {
    struct object object = {.size = len};
    struct unit_random random = {number};
    struct tuck_digest digest;
    struct tuck_stage *stage = NULL;
    bool is_new;
    uint8_t *data = malloc(len + 1);
    assert_non_null(data);
    unit_random_fill(&random, data, len);
    tuck_digest_init(&digest);
    tuck_digest_add(&digest, data, len);
    tuck_digest_end(&digest, &object.output);
    assert_int_equal(tuck_stage_begin(world->drive, &object.output, &stage, NULL), 0);
    assert_int_equal(tuck_stage_write(stage, data, len, NULL), 0);
    assert_int_equal(tuck_stage_commit(&stage, &object.tag, &is_new, NULL), 0);
    tuck_object_path(world->drive, &object.output, object.path);
    free(data);
    return object;
}

static uint64_t keep(struct world *world, const struct object *object) {
    uint64_t seq = 77;
    assert_int_equal(
        tuck_objects_keep(world->objects, &object->output, object->size, object->tag, &seq, NULL),
        0);
    return seq;
}

static int verify(struct world *world, const struct object *object) {
    uint32_t tag = object->tag;
    return tuck_objects_verify(world->objects, &object->output, &tag);
}

static uint64_t let_go(struct world *world, const struct object *object) {
    uint64_t seq;
    assert_int_equal(tuck_objects_remove(world->objects, &object->output, object->size, &seq), 0);
    return seq;
}

static int flush(struct world *world) {
    return tuck_lru_flush(tuck_objects_lru(world->objects), UINT64_MAX, NULL);
}

static bool is_there(const struct object *object) {
    return access(object->path, F_OK) == 0;
}

static struct tuck_removals removals(struct world *world) {
    struct tuck_removals removals;
    tuck_objects_take_removals(world->objects, &removals);
    return removals;
}

// --- What is known -------------------------------------------------------------------------------

static void what_was_put_or_hashed_here_is_known_and_nothing_else(void **state) {
    (void)state;
    struct world *world = world_new(TUCK_LAZY);
    struct object mine = put(world, 1, 1000), other = put(world, 2, 1000);
    assert_false(tuck_objects_knows(world->objects, &mine.output, mine.tag));
    (void)keep(world, &mine);
    assert_true(tuck_objects_knows(world->objects, &mine.output, mine.tag));
    assert_false(tuck_objects_knows(world->objects, &mine.output, mine.tag + 1)); // another file
    assert_false(tuck_objects_knows(world->objects, &other.output, other.tag));
    assert_int_equal(verify(world, &mine), 0);
    assert_int_equal(kernel.hashed, 0);
    assert_int_equal(verify(world, &other), 0);
    assert_int_equal(verify(world, &other), 0);
    assert_int_equal(kernel.hashed, 1);
    assert_true(tuck_objects_knows(world->objects, &other.output, other.tag));
    world_free(world);
}

static void another_file_under_the_name_is_hashed_anew(void **state) {
    (void)state;
    struct world *world = world_new(TUCK_LAZY);
    struct object object = put(world, 1, 1000);
    assert_int_equal(verify(world, &object), 0);
    uint32_t before = object.tag;
    assert_int_equal(unlink(object.path), 0);
    object = put(world, 1, 1000);
    assert_true(object.tag != before);
    assert_int_equal(verify(world, &object), 0);
    assert_int_equal(kernel.hashed, 2);
    // Whoever still asks for the one before is told which one was hashed.
    uint32_t tag = before;
    assert_int_equal(tuck_objects_verify(world->objects, &object.output, &tag), 0);
    assert_int_equal(tag, object.tag);
    world_free(world);
}

static void what_cannot_be_read_is_not_remembered(void **state) {
    (void)state;
    struct world *world = world_new(TUCK_LAZY);
    struct object object = put(world, 1, 1000);
    assert_int_equal(rename(object.path, unit_path(unit_directory(), "away")), 0);
    assert_int_equal(verify(world, &object), TUCK_OBJECT_ABSENT);
    object = put(world, 1, 1000);
    assert_int_equal(verify(world, &object), 0);
    world_free(world);
}

struct asking {
    struct world *world;
    const struct object *object;
    int status;
};

static void *ask(void *arg) {
    struct asking *asking = arg;
    (void)pthread_mutex_lock(&lock);
    kernel.under_way++;
    (void)pthread_cond_broadcast(&changed);
    (void)pthread_mutex_unlock(&lock);
    asking->status = verify(asking->world, asking->object);
    return NULL;
}

static void ask_from_many_threads(struct world *world, const struct object *object, int expected) {
    pthread_t thread[8];
    struct asking asking[8];
    kernel.under_way = 0;
    kernel.wait_for = TUCK_ARRAY_LEN(thread);
    for (size_t i = 0; i < TUCK_ARRAY_LEN(thread); i++) {
        asking[i] = (struct asking){world, object, 99};
        assert_int_equal(pthread_create(&thread[i], NULL, ask, &asking[i]), 0);
    }
    for (size_t i = 0; i < TUCK_ARRAY_LEN(thread); i++) {
        assert_int_equal(pthread_join(thread[i], NULL), 0);
        assert_int_equal(asking[i].status, expected);
    }
    kernel.wait_for = 0;
}

static void many_threads_that_ask_for_an_object_hash_it_once(void **state) {
    (void)state;
    struct world *world = world_new(TUCK_LAZY);
    for (uint64_t i = 0; i < 20; i++) {
        struct object object = put(world, i, 100000);
        kernel.hashed = 0;
        ask_from_many_threads(world, &object, 0);
        assert_int_equal(kernel.hashed, 1);
    }
    world_free(world);
}

static void a_damaged_object_is_told_to_all_and_counted_once(void **state) {
    (void)state;
    struct world *world = world_new(TUCK_LAZY);
    struct object object = put(world, 1, 5000);
    struct stat stat_of_object;
    assert_int_equal(chmod(object.path, 0600), 0);
    int fd = open(object.path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(write(fd, "damage", 6), 6);
    (void)close(fd);
    assert_int_equal(stat(object.path, &stat_of_object), 0);
    assert_int_equal(tuck_object_check(object.path, object.size, &object.tag), 0);
    assert_int_equal(verify(world, &object), TUCK_OBJECT_DAMAGED);
    assert_false(is_there(&object));
    struct tuck_removals done = removals(world);
    assert_int_equal(done.damaged, 1);
    assert_int_equal(done.objects, 1);
    assert_int_equal(done.bytes, 8192);
    assert_int_equal(verify(world, &object), TUCK_OBJECT_ABSENT);
    assert_int_equal(removals(world).objects, 0);
    world_free(world);
}

static void what_is_known_is_bounded(void **state) {
    (void)state;
    struct world *world = world_new(TUCK_LAZY);
    struct tuck_lru_stats stats;
    for (uint64_t i = 0; i < 10000; i++) {
        struct object object = {.output = unit_output(i), .size = 1, .tag = (uint32_t)i};
        (void)keep(world, &object);
    }
    tuck_lru_stats(tuck_objects_lru(world->objects), &stats);
    assert_int_equal(stats.items, 8192);
    world_free(world);
}

// --- Levels --------------------------------------------------------------------------------------

static void lazy_owes_nothing_to_what_is_put(void **state) {
    (void)state;
    struct world *world = world_new(TUCK_LAZY);
    struct object object = put(world, 1, 1000);
    assert_int_equal(keep(world, &object), 0);
    assert_int_equal(tuck_lru_dirty_count(tuck_objects_lru(world->objects)), 0);
    assert_int_equal(flush(world), 0);
    assert_string_equal(kernel.log, "");
    world_free(world);
}

static void batch_syncs_all_that_was_put_once_when_it_is_flushed(void **state) {
    (void)state;
    struct world *world = world_new(TUCK_BATCH);
    struct object object[20];
    for (uint64_t i = 0; i < 20; i++) {
        object[i] = put(world, i, 1000);
        assert_int_equal(keep(world, &object[i]), i + 1); // what an entry has to wait for
    }
    assert_int_equal(keep(world, &object[3]) > 0, true); // still owed
    assert_string_equal(kernel.log, "");
    assert_int_equal(flush(world), 0);
    assert_string_equal(kernel.log, "s");
    for (uint64_t i = 0; i < 20; i++)
        assert_int_equal(keep(world, &object[i]), 0); // done with
    assert_int_equal(flush(world), 0);
    assert_string_equal(kernel.log, "s");
    world_free(world);
}

static void strict_syncs_file_and_name_before_it_returns_and_once(void **state) {
    (void)state;
    struct world *world = world_new(TUCK_STRICT);
    struct object object = put(world, 1, 1000), empty = put(world, 2, 0);
    (void)keep(world, &object);
    assert_string_equal(kernel.log, "fd");
    (void)keep(world, &object);
    assert_string_equal(kernel.log, "fd");
    (void)keep(world, &empty);
    assert_string_equal(kernel.log, "fdfd");
    assert_int_equal(tuck_lru_dirty_count(tuck_objects_lru(world->objects)), 0);
    world_free(world);
}

static void what_was_only_hashed_is_not_durable(void **state) {
    (void)state;
    for (enum tuck_durability level = TUCK_BATCH; level <= TUCK_STRICT; level++) {
        (void)reset(NULL);
        struct world *world = world_new(level);
        struct object object = put(world, 1, 1000);
        assert_int_equal(verify(world, &object), 0);
        uint64_t seq = keep(world, &object);
        assert_int_equal(seq > 0 || kernel.file_syncs > 0, true);
        assert_int_equal(flush(world), 0);
        assert_string_equal(kernel.log, level == TUCK_STRICT ? "fd" : "s");
        world_free(world);
    }
}

static void a_sync_that_fails_stays_owed(void **state) {
    (void)state;
    for (enum tuck_durability level = TUCK_BATCH; level <= TUCK_STRICT; level++) {
        (void)reset(NULL);
        struct world *world = world_new(level);
        struct object object = put(world, 1, 1000);
        struct tuck_error err = {0};
        uint64_t seq;
        kernel.has_broken_syncs = true;
        int status =
            tuck_objects_keep(world->objects, &object.output, object.size, object.tag, &seq, &err);
        assert_int_equal(status, level == TUCK_STRICT ? TUCK_EIO : 0);
        assert_true(flush(world) < 0);
        kernel.has_broken_syncs = false;
        assert_int_equal(tuck_lru_dirty_count(tuck_objects_lru(world->objects)), 1);
        assert_int_equal(flush(world), 0);
        assert_int_equal(tuck_lru_dirty_count(tuck_objects_lru(world->objects)), 0);
        world_free(world);
    }
}

// --- Removals ------------------------------------------------------------------------------------

static enum tuck_lru_verdict set_dirty(void *arg, void *value, enum tuck_lru_presence presence) {
    (void)arg, (void)value, (void)presence;
    return TUCK_LRU_DIRTY;
}

// An entry that goes, and the objects wait for it.
static void remove_entry(struct world *world, uint64_t number) {
    uint64_t seq;
    assert_int_equal(tuck_lru_change(world->entries, &number, set_dirty, NULL, &seq, NULL), 0);
    assert_int_equal(tuck_lru_depend(tuck_objects_lru(world->objects), world->entries, seq, NULL),
                     0);
}

static void a_removed_object_goes_with_the_next_flush_and_is_told_once(void **state) {
    (void)state;
    struct world *world = world_new(TUCK_LAZY);
    struct object object = put(world, 1, 5000), stays = put(world, 2, 5000);
    (void)keep(world, &object);
    assert_true(let_go(world, &object) > 0);
    assert_true(is_there(&object));
    assert_false(tuck_objects_knows(world->objects, &object.output, object.tag));
    assert_int_equal(flush(world), 0);
    assert_false(is_there(&object));
    assert_true(is_there(&stays));
    struct tuck_removals done = removals(world);
    assert_int_equal(done.objects, 1);
    assert_int_equal(done.bytes, 8192);
    assert_int_equal(done.claimed + done.damaged, 0);
    assert_int_equal(removals(world).objects, 0);
    (void)let_go(world, &object); // one that is not there
    assert_int_equal(flush(world), 0);
    assert_int_equal(removals(world).objects, 0);
    object = put(world, 1, 5000); // and it can be put again
    assert_int_equal(verify(world, &object), 0);
    world_free(world);
}

static void it_goes_after_the_entries_that_it_waits_for(void **state) {
    (void)state;
    struct world *world = world_new(TUCK_LAZY);
    struct object object = put(world, 1, 1000);
    remove_entry(world, 1);
    (void)let_go(world, &object);
    assert_int_equal(flush(world), 0);
    assert_string_equal(kernel.log, "e");
    assert_false(is_there(&object));
    world_free(world);
}

static void it_stays_as_long_as_they_cannot_go(void **state) {
    (void)state;
    static const int statuses[] = {TUCK_LRU_BUSY, TUCK_EIO};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(statuses); i++) {
        struct world *world = world_new(TUCK_LAZY);
        struct object object = put(world, 1, 1000), other = put(world, 2, 1000);
        world->entries_status = statuses[i];
        remove_entry(world, 1);
        (void)let_go(world, &object);
        assert_int_equal(flush(world), statuses[i]);
        assert_true(is_there(&object));
        world->entries_status = 0;
        assert_int_equal(flush(world), 0);
        assert_false(is_there(&object));

        // And where it is given up, it stays for good.
        world->entries_status = statuses[i];
        remove_entry(world, 2);
        (void)let_go(world, &other);
        assert_int_equal(flush(world), statuses[i]);
        assert_true(tuck_objects_spare(world->objects));
        world->entries_status = 0;
        assert_int_equal(flush(world), 0);
        assert_true(is_there(&other));
        world_free(world);
    }
}

static void many_removals_are_taken_back_and_nothing_else_is(void **state) {
    (void)state;
    struct world *world = world_new(TUCK_BATCH);
    struct object object[300];
    for (uint64_t i = 0; i < 300; i++) {
        object[i] = put(world, i, 10);
        if (i % 3)
            (void)let_go(world, &object[i]);
        else
            (void)keep(world, &object[i]);
    }
    assert_true(tuck_objects_spare(world->objects));
    assert_int_equal(tuck_lru_dirty_count(tuck_objects_lru(world->objects)), 100);
    assert_int_equal(flush(world), 0);
    for (uint64_t i = 0; i < 300; i++)
        assert_true(is_there(&object[i]));
    assert_int_equal(removals(world).objects, 0);
    world_free(world);
}

static void an_object_that_is_kept_before_it_goes_stays(void **state) {
    (void)state;
    for (enum tuck_durability level = TUCK_LAZY; level <= TUCK_STRICT; level++) {
        (void)reset(NULL);
        struct world *world = world_new(level);
        struct object object = put(world, 1, 1000);
        (void)let_go(world, &object);
        assert_int_equal(verify(world, &object), TUCK_OBJECT_ABSENT); // on its way out
        (void)keep(world, &object);                                   // it was put once more
        assert_int_equal(flush(world), 0);
        assert_true(is_there(&object));
        assert_int_equal(kernel.all_syncs, level == TUCK_BATCH);
        assert_int_equal(kernel.file_syncs, level == TUCK_STRICT);
        assert_int_equal(removals(world).objects, 0);
        world_free(world);
    }
}

static void an_object_that_a_running_helper_gave_out_stays(void **state) {
    (void)state;
    struct world *world = world_new(TUCK_LAZY);
    struct object object = put(world, 1, 1000), other = put(world, 2, 1000);
    struct tuck_lease *lease = NULL;
    assert_int_equal(
        tuck_lease_take(tuck_drive_open_dir(world->drive, "leases", NULL), &lease, NULL), 0);
    tuck_lease_claim(lease, &object.output);
    (void)let_go(world, &object);
    (void)let_go(world, &other);
    assert_int_equal(flush(world), 0);
    assert_true(is_there(&object));
    assert_false(is_there(&other));
    struct tuck_removals done = removals(world);
    assert_int_equal(done.objects, 1);
    assert_int_equal(done.claimed, 1);
    assert_int_equal(verify(world, &object), 0); // and it is known again once it was hashed
    tuck_lease_release(lease);
    (void)let_go(world, &object);
    assert_int_equal(flush(world), 0);
    assert_false(is_there(&object));
    world_free(world);
}

#define TEST(name) cmocka_unit_test_setup(name, reset)

static const struct CMUnitTest tests[] = {
    TEST(what_was_put_or_hashed_here_is_known_and_nothing_else),
    TEST(another_file_under_the_name_is_hashed_anew),
    TEST(what_cannot_be_read_is_not_remembered),
    TEST(many_threads_that_ask_for_an_object_hash_it_once),
    TEST(a_damaged_object_is_told_to_all_and_counted_once),
    TEST(what_is_known_is_bounded),
    TEST(lazy_owes_nothing_to_what_is_put),
    TEST(batch_syncs_all_that_was_put_once_when_it_is_flushed),
    TEST(strict_syncs_file_and_name_before_it_returns_and_once),
    TEST(what_was_only_hashed_is_not_durable),
    TEST(a_sync_that_fails_stays_owed),
    TEST(a_removed_object_goes_with_the_next_flush_and_is_told_once),
    TEST(it_goes_after_the_entries_that_it_waits_for),
    TEST(it_stays_as_long_as_they_cannot_go),
    TEST(many_removals_are_taken_back_and_nothing_else_is),
    TEST(an_object_that_is_kept_before_it_goes_stays),
    TEST(an_object_that_a_running_helper_gave_out_stays),
};

UNIT_MAIN(tests)

// SPDX-License-Identifier: MIT
#include "tests/unit/collect_world.h"

#include "lib/base/clock.h"
#include "lib/store/drive.h"
#include "lib/store/object.h"

#include <sys/stat.h>

static int64_t shifted_s;

void pass(int64_t seconds) {
    tuck_clock_shift(seconds * (int64_t)TUCK_NS_PER_S);
    shifted_s += seconds;
}

int reset(void **state) {
    (void)state;
    pass(-shifted_s);
    (void)memory_fail_at(0);
    kernel_pretend_space((struct fake_space){0});
    order_forget();
    return 0;
}

static const struct tuck_bound usual = {
    .quota = {.bytes = UINT64_C(1) << 40}, .low = 80, .high = 90, .keep_s = 86400};

struct cache_world new_world(void) {
    struct cache_world world = cache_world_new();
    world.bound = usual;
    return world;
}

struct cache_world with_quota(struct cache_world world, uint64_t bytes) {
    world.bound.quota = (struct tuck_quota){.bytes = bytes};
    return world;
}

void fill_in(struct tuck_cache *cache, uint64_t first, uint64_t count, size_t len) {
    for (uint64_t i = first; i < first + count; i++) {
        struct body body = body_of(i, len);
        struct tuck_hit hit;
        assert_int_equal(put_in_parts(cache, i, &body, len ? len : 1, &hit), 0);
        free(body.data);
    }
}

void fill(const struct cache_world *world, uint64_t first, uint64_t count, size_t len) {
    struct cache_world roomy = *world;
    roomy.bound = usual;
    struct tuck_cache *cache = cache_open(&roomy, TUCK_LAZY);
    fill_in(cache, first, count, len);
    cache_end(cache);
}

struct tuck_collected collect_as(const struct cache_world *world, struct tuck_collect how) {
    struct tuck_cache *cache = cache_open_for_admin(world, NULL);
    struct tuck_collected done;
    assert_non_null(cache);
    assert_int_equal(tuck_cache_collect(cache, &how, &done, NULL), 0);
    tuck_cache_end(cache);
    tuck_cache_close(cache);
    return done;
}

struct tuck_collected collect(const struct cache_world *world) {
    return collect_as(world, (struct tuck_collect){.max_bytes = UINT64_MAX});
}

struct tuck_index *open_index(const struct cache_world *world) {
    int dirfd = unit_open_directory(unit_path(world->dir, "index"));
    struct tuck_index *index = NULL;
    assert_int_equal(tuck_index_open(dirfd, &(struct tuck_index_options){0}, &index, NULL), 0);
    (void)close(dirfd);
    return index;
}

bool has_entry(const struct cache_world *world, uint64_t action) {
    struct tuck_index *index = open_index(world);
    struct tuck_action_id id = unit_action(action);
    struct tuck_entry entry;
    int status = tuck_index_find(index, &id, &entry);
    tuck_index_close(index);
    assert_true(status >= 0);
    return status == 0;
}

bool has_object(const struct cache_world *world, const struct tuck_output_id *output) {
    char path[4400], hex[TUCK_ID_HEX + 1] = {0};
    tuck_hex(hex, output->bytes, TUCK_ID_BYTES);
    (void)snprintf(path, sizeof(path), "%s/objects/%.2s/%s", world->dir, hex, hex + 2);
    return access(path, F_OK) == 0;
}

bool has_body(const struct cache_world *world, uint64_t number, size_t len) {
    struct body body = body_of(number, len);
    bool result = has_object(world, &body.output);
    free(body.data);
    return result;
}

unsigned count_left(const struct cache_world *world, uint64_t first, uint64_t count, size_t len) {
    unsigned left = 0;
    for (uint64_t i = first; i < first + count; i++) {
        bool is_there = has_entry(world, i);
        assert_int_equal(has_body(world, i, len), is_there);
        left += is_there;
    }
    return left;
}

void change_entry(const struct cache_world *world, uint64_t action,
                  void (*change)(struct tuck_entry *entry)) {
    struct tuck_index *index = open_index(world);
    struct tuck_action_id id = unit_action(action);
    struct tuck_entry entry;
    assert_int_equal(tuck_index_find(index, &id, &entry), 0);
    change(&entry);
    (void)tuck_index_touch(index, &id, &entry, false);
    assert_int_equal(tuck_index_flush(index, TUCK_NS_PER_S, NULL), 0);
    tuck_index_close(index);
}

uint64_t used(const struct cache_world *world) {
    return stats_of(world).used_bytes;
}

struct walked {
    uint64_t bytes, objects;
};

static bool walk_one(void *arg, const struct tuck_object_seen *seen) {
    struct walked *walked = arg;
    walked->bytes += tuck_object_space_of(seen->size);
    walked->objects++;
    return true;
}

static uint64_t file_bytes(const struct cache_world *world, const char *name) {
    struct stat file;
    return stat(unit_path(world->dir, name), &file) == 0 ? (uint64_t)file.st_blocks * 512 : 0;
}

uint64_t index_bytes(const struct cache_world *world) {
    return file_bytes(world, "index/entries") + file_bytes(world, "index/brief");
}

void assert_sums_are_right(const struct cache_world *world) {
    struct tuck_drive *drive = NULL;
    struct walked walked = {0};
    uint64_t least = index_bytes(world);
    struct tuck_drive_stats stats = stats_of(world);
    uint64_t most = index_bytes(world);
    assert_int_equal(tuck_drive_open(world->dir, false, &drive, NULL), 0);
    assert_int_equal(tuck_object_walk(drive, 0, 255, walk_one, &walked, NULL), 0);
    tuck_drive_close(drive);
    assert_true(stats.is_counted);
    assert_int_equal(stats.used_objects, walked.objects);
    assert_in_range(stats.used_bytes, walked.bytes + least, walked.bytes + most);
}

struct body put_orphan(const struct cache_world *world, uint64_t number) {
    struct body body = body_of(number, BLOCK);
    struct tuck_index *index;
    struct tuck_action_id id = unit_action(number);
    struct tuck_entry entry;
    uint64_t seq;
    fill(world, number, 1, BLOCK);
    index = open_index(world);
    assert_int_equal(tuck_index_find(index, &id, &entry), 0);
    assert_int_equal(tuck_index_remove(index, &id, &entry, &seq), 0);
    assert_int_equal(tuck_index_flush(index, TUCK_NS_PER_S, NULL), 0);
    tuck_index_close(index);
    return body;
}

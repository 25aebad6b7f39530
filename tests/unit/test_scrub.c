// SPDX-License-Identifier: MIT
/*
 * Scrub: every kind of damage is found and told as what it is, a repair leaves nothing of it, and what others do
 * meanwhile is never taken for damage.
 */
#include "tests/unit/collect_world.h"

#include "lib/base/clock.h"
#include "lib/store/drive.h"
#include "lib/store/object.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

// --- The world -----------------------------------------------------------------------------------

static const char *path_of(const struct cache_world *world, uint64_t number, size_t len) {
    struct body body = body_of(number, len);
    char path[100], hex[TUCK_ID_HEX + 1] = {0};
    tuck_hex(hex, body.output.bytes, TUCK_ID_BYTES);
    (void)snprintf(path, sizeof(path), "objects/%.2s/%s", hex, hex + 2);
    free(body.data);
    return unit_path(world->dir, path);
}

struct findings {
    unsigned count[4];
    char what[64][200]; // of those that are no orphans
    unsigned told;
    void (*act)(void *arg); // once, while objects are looked at
    void *act_arg;
    unsigned act_at;
    unsigned looks;
};

static void note(void *arg, enum tuck_finding finding, const char *what) {
    struct findings *findings = arg;
    findings->count[finding]++;
    if (finding != TUCK_FINDING_ORPHAN && findings->told < TUCK_ARRAY_LEN(findings->what))
        (void)snprintf(findings->what[findings->told++], sizeof(findings->what[0]), "%s", what);
}

static void look(void *arg, uint64_t bytes, uint64_t all_bytes) {
    struct findings *findings = arg;
    (void)bytes, (void)all_bytes;
    if (findings->act && ++findings->looks == findings->act_at)
        findings->act(findings->act_arg);
}

static int scrub_into(const struct cache_world *world, struct tuck_scrub how,
                      struct findings *findings, struct tuck_scrubbed *ret_done,
                      struct tuck_error *err) {
    struct tuck_cache *cache = cache_open_for_admin(world, NULL);
    how.found = note;
    how.progress = look;
    how.arg = findings;
    how.part = how.part ? how.part : 1;
    how.parts = how.parts ? how.parts : 1;
    int status = tuck_cache_scrub(cache, &how, ret_done, err);
    tuck_cache_end(cache);
    tuck_cache_close(cache);
    return status;
}

static struct tuck_scrubbed scrub(const struct cache_world *world, bool is_repair,
                                  struct findings *findings) {
    struct findings nowhere = {0};
    struct tuck_scrubbed done;
    assert_int_equal(scrub_into(world, (struct tuck_scrub){.is_repair = is_repair},
                                findings ? findings : &nowhere, &done, NULL),
                     0);
    return done;
}

static void assert_all_sound(const struct cache_world *world, uint64_t objects) {
    struct tuck_scrubbed done = scrub(world, false, NULL);
    assert_int_equal(done.damaged + done.unreadable + done.dangling, 0);
    assert_int_equal(done.objects, objects);
}

// --- What is found -------------------------------------------------------------------------------

static void a_sound_cache_has_nothing_to_tell(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    fill(&world, 0, 50, 1000);
    fill(&world, 50, 2, 300000);
    fill(&world, 60, 1, 0);
    struct findings findings = {0};
    struct tuck_scrubbed done = scrub(&world, false, &findings);
    assert_int_equal(done.objects, 53);
    assert_int_equal(done.entries, 53);
    assert_int_equal(done.bytes, 50 * 1000 + 2 * 300000);
    assert_int_equal(done.damaged + done.unreadable + done.dangling + done.orphans + done.repaired,
                     0);
    assert_int_equal(findings.told, 0);
    assert_sums_are_right(&world);
}

enum damage { FLIP, CUT, GROW, LINK, DIRECTORY, DAMAGES, GONE = DAMAGES };

static void damage(const char *path, enum damage how) {
    struct stat stat;
    assert_int_equal(lstat(path, &stat), 0);
    assert_int_equal(chmod(path, 0600), 0);
    int fd = how == FLIP ? open(path, O_RDWR | O_CLOEXEC) : -1;
    uint8_t byte;
    switch (how) {
    case FLIP: // one bit
        assert_int_equal(pread(fd, &byte, 1, stat.st_size / 2), 1);
        byte ^= 4;
        assert_int_equal(pwrite(fd, &byte, 1, stat.st_size / 2), 1);
        (void)close(fd);
        break;
    case CUT:
        assert_int_equal(truncate(path, stat.st_size - 1), 0);
        break;
    case GROW:
        assert_int_equal(truncate(path, stat.st_size + 1), 0);
        break;
    case LINK:
        assert_int_equal(unlink(path), 0);
        assert_int_equal(symlink("/dev/zero", path), 0);
        break;
    case DIRECTORY:
        assert_int_equal(unlink(path), 0);
        assert_int_equal(mkdir(path, 0700), 0);
        break;
    default:
        assert_int_equal(unlink(path), 0);
    }
}

static void every_kind_of_damage_is_found_told_and_repaired(void **state) {
    (void)state;
    for (enum damage how = FLIP; how < DAMAGES; how++) {
        struct cache_world world = cache_world_new();
        struct body body = body_of(3, 5000);
        fill(&world, 0, 10, 5000);
        const char *path = path_of(&world, 3, 5000);
        damage(path, how);
        for (int repairs = 0; repairs < 2; repairs++) {
            struct findings findings = {0};
            struct tuck_scrubbed done = scrub(&world, repairs, &findings);
            assert_int_equal(done.damaged, 1);
            assert_int_equal(done.unreadable + done.dangling, 0);
            assert_int_equal(findings.count[TUCK_FINDING_DAMAGED], 1);
            assert_string_equal(findings.what[0], path);
            assert_int_equal(findings.told, 1);
            assert_int_equal(done.repaired, repairs);
            struct stat stat;
            assert_int_equal(lstat(path, &stat), repairs ? -1 : 0);
        }
        bool is_kept = how == FLIP || how == CUT || how == GROW;
        assert_int_equal(unit_count_names(unit_path(world.dir, "quarantine")), is_kept ? 1 : -1);
        assert_all_sound(&world, 9); // its entry went with it
        assert_int_equal(stats_of(&world).entries, 9);
        assert_sums_are_right(&world);
        struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
        assert_false(get(cache, 3, &body, NULL));
        (void)put(cache, 3, &body);
        assert_true(get(cache, 3, &body, NULL));
        cache_end(cache);
        assert_all_sound(&world, 10);
        assert_sums_are_right(&world);
        free(body.data);
    }
}

static void an_entry_without_its_object_is_found_told_and_repaired(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    fill(&world, 0, 10, 1000);
    damage(path_of(&world, 4, 1000), GONE);
    struct tuck_action_id action = unit_action(4);
    char hex[TUCK_ID_HEX + 1] = {0};
    tuck_hex(hex, action.bytes, TUCK_ID_BYTES);
    for (int repairs = 0; repairs < 2; repairs++) {
        struct findings findings = {0};
        struct tuck_scrubbed done = scrub(&world, repairs, &findings);
        assert_int_equal(done.dangling, 1);
        assert_int_equal(done.damaged + done.unreadable, 0);
        assert_string_equal(findings.what[0], hex);
        assert_int_equal(done.repaired, repairs);
        assert_int_equal(stats_of(&world).entries, 10 - repairs);
    }
    assert_all_sound(&world, 9);
    assert_sums_are_right(&world);
}

static void what_cannot_be_read_is_told_and_stays(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    struct body body = body_of(5, 1000);
    fill(&world, 0, 10, 1000);
    const char *path = path_of(&world, 5, 1000);
    kernel_break_reads(path);
    struct findings findings = {0};
    struct tuck_scrubbed done = scrub(&world, true, &findings);
    kernel_break_reads(NULL);
    assert_int_equal(done.unreadable, 1);
    assert_int_equal(done.damaged + done.dangling + done.repaired, 0);
    assert_string_equal(findings.what[0], path);
    assert_all_sound(&world, 10); // it may be sound, and it is
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    assert_true(get(cache, 5, &body, NULL));
    cache_end(cache);
    free(body.data);
}

static void objects_that_no_entry_names_are_counted_and_no_fault(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    fill(&world, 0, 10, 1000);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    struct body other = body_of(100, 1000);
    (void)put(cache, 7, &other); // the one before has no name now
    cache_end(cache);
    struct findings findings = {0};
    struct tuck_scrubbed done = scrub(&world, true, &findings);
    assert_int_equal(done.orphans, 1);
    assert_int_equal(findings.count[TUCK_FINDING_ORPHAN], 1);
    assert_int_equal(done.objects, 11);
    assert_int_equal(done.damaged + done.unreadable + done.dangling + done.repaired, 0);
    assert_int_equal(access(path_of(&world, 7, 1000), F_OK), 0);
    free(other.data);
}

static void very_many_damaged_objects_do_not_fill_the_drive(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    fill(&world, 0, 50, 1000);
    for (uint64_t i = 0; i < 45; i++)
        damage(path_of(&world, i, 1000), FLIP);
    struct tuck_scrubbed done = scrub(&world, true, NULL);
    assert_int_equal(done.damaged, 45);
    assert_int_equal(done.repaired, 45);
    assert_int_equal(unit_count_names(unit_path(world.dir, "quarantine")), 32);
    assert_int_equal(stats_of(&world).counters.value[TUCK_COUNT_damaged], 45);
    assert_all_sound(&world, 5);
    assert_sums_are_right(&world);
}

static void the_parts_together_look_at_each_object_and_entry_once(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    fill(&world, 0, 200, 100);
    for (uint64_t i = 0; i < 20; i++)
        damage(path_of(&world, i, 100), i % 2 ? FLIP : GONE);
    static const unsigned parts[] = {1, 2, 7, 64};
    for (size_t p = 0; p < TUCK_ARRAY_LEN(parts); p++) {
        struct tuck_scrubbed sum = {0};
        unsigned smallest = UINT32_MAX;
        for (unsigned part = 1; part <= parts[p]; part++) {
            struct findings findings = {0};
            struct tuck_scrubbed done;
            assert_int_equal(scrub_into(&world,
                                        (struct tuck_scrub){.part = part, .parts = parts[p]},
                                        &findings, &done, NULL),
                             0);
            sum.objects += done.objects;
            sum.entries += done.entries;
            sum.damaged += done.damaged;
            sum.dangling += done.dangling;
            sum.bytes += done.bytes;
            smallest = done.objects < smallest ? (unsigned)done.objects : smallest;
            assert_sums_are_right(&world); // all are counted, whatever is read
        }
        assert_int_equal(sum.objects, 190);
        assert_int_equal(sum.entries, 200);
        assert_int_equal(sum.damaged, 10);
        assert_int_equal(sum.dangling, 10);
        assert_int_equal(sum.bytes, 190 * 100);
        if (parts[p] <= 7)
            assert_true(smallest >= 190 / parts[p] / 2); // of about one size
    }
}

// --- Sums ----------------------------------------------------------------------------------------

static void spoil_sums(void *arg, struct tuck_index_sums *sums) {
    (void)arg;
    sums->base_bytes += 123456789;
    sums->base_objects -= 7;
}

static void spoil(const struct cache_world *world) {
    int dirfd = unit_open_directory(unit_path(world->dir, "index"));
    struct tuck_index *index = NULL;
    assert_int_equal(tuck_index_open(dirfd, &(struct tuck_index_options){0}, &index, NULL), 0);
    assert_int_equal(tuck_index_change_sums(index, spoil_sums, NULL), 0);
    tuck_index_close(index);
    (void)close(dirfd);
}

static void wrong_sums_are_right_after_one_scrub(void **state) {
    (void)state;
    for (int repairs = 0; repairs < 2; repairs++) {
        struct cache_world world = cache_world_new();
        fill(&world, 0, 20, 5000);
        spoil(&world);
        (void)scrub(&world, repairs, NULL);
        assert_sums_are_right(&world);
    }
}

static void they_are_right_beside_a_running_helper_and_after_its_end(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    fill(&world, 0, 20, 5000);
    struct tuck_cache *running = cache_open(&world, TUCK_LAZY);
    struct body before = body_of(100, 5000), after = body_of(101, 9000);
    (void)put(running, 100, &before);
    spoil(&world);
    (void)scrub(&world, false, NULL);
    assert_sums_are_right(&world);
    (void)put(running, 101, &after);
    assert_sums_are_right(&world);
    cache_end(running);
    assert_sums_are_right(&world);
    free(before.data);
    free(after.data);
}

struct meanwhile {
    struct cache_world world;
    struct tuck_cache *cache;
};

static void put_many_meanwhile(void *arg) {
    struct meanwhile *meanwhile = arg;
    for (uint64_t i = 1000; i < 1100; i++) {
        struct body body = body_of(i, 5000);
        (void)put(meanwhile->cache, i, &body);
        free(body.data);
    }
}

static void others_put_while_it_counts(void) {
    for (unsigned at = 1; at <= 100; at += 11) { // from 51 on it counts
        struct cache_world world = cache_world_new();
        fill(&world, 0, 50, 5000);
        spoil(&world);
        struct meanwhile meanwhile = {.world = world, .cache = cache_open(&world, TUCK_LAZY)};
        order_before_visit(at, put_many_meanwhile, &meanwhile);
        struct tuck_scrubbed done = scrub(&world, false, NULL);
        assert_int_equal(done.damaged + done.unreadable + done.dangling, 0);
        assert_sums_are_right(&world);
        cache_end(meanwhile.cache);
        assert_sums_are_right(&world);
    }
}

static void they_are_right_when_others_put_while_it_counts(void **state) {
    (void)state;
    others_put_while_it_counts();
}

// That of a file server, for instance.
static void and_when_the_drive_has_another_clock(void **state) {
    (void)state;
    const int64_t ahead_s[] = {5 * 86400, -5 * 86400, 1, -1};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(ahead_s); i++) {
        pass(ahead_s[i]);
        others_put_while_it_counts();
        pass(-ahead_s[i]);
    }
}

// --- Meanwhile -----------------------------------------------------------------------------------

static void collect_meanwhile(void *arg) {
    struct meanwhile *meanwhile = arg;
    struct tuck_cache *cache = cache_open_for_admin(&meanwhile->world, NULL);
    struct tuck_collect how = {.max_bytes = 1};
    struct tuck_collected done;
    assert_int_equal(tuck_cache_collect(cache, &how, &done, NULL), 0);
    assert_int_equal(done.entries, 100);
    tuck_cache_end(cache);
    tuck_cache_close(cache);
}

static void what_a_collector_removes_meanwhile_is_no_damage(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    fill(&world, 0, 100, 1000);
    pass(5 * DAY);
    fill(&world, 100, 20, 1000);
    struct meanwhile meanwhile = {.world = world};
    struct findings findings = {.act = collect_meanwhile, .act_arg = &meanwhile, .act_at = 60};
    struct tuck_scrubbed done = scrub(&world, true, &findings);
    assert_int_equal(findings.told, 0);
    assert_int_equal(done.damaged + done.unreadable + done.dangling + done.repaired, 0);
    assert_all_sound(&world, 20);
    assert_sums_are_right(&world);
}

static void clear_meanwhile(void *arg) {
    struct meanwhile *meanwhile = arg;
    (void)clear_cache(&meanwhile->world);
}

static void nor_is_a_clear(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    fill(&world, 0, 100, 1000);
    struct meanwhile meanwhile = {.world = world};
    struct findings findings = {.act = clear_meanwhile, .act_arg = &meanwhile, .act_at = 60};
    struct tuck_scrubbed done = scrub(&world, true, &findings);
    assert_int_equal(findings.told, 0);
    assert_int_equal(done.damaged + done.unreadable + done.dangling, 0);
    assert_all_sound(&world, 0);
    assert_sums_are_right(&world);
}

static void replace_meanwhile(void *arg) {
    struct meanwhile *meanwhile = arg;
    struct tuck_cache *cache = cache_open(&meanwhile->world, TUCK_LAZY);
    for (uint64_t i = 0; i < 50; i++) { // the same outputs anew, and others for the same actions
        struct body body = body_of(i % 2 ? i : 5000 + i, 1000);
        (void)unlink(path_of(&meanwhile->world, i, 1000));
        (void)put(cache, i, &body);
        free(body.data);
    }
    cache_end(cache);
}

static void nor_are_objects_and_entries_that_are_replaced(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    fill(&world, 0, 50, 1000);
    struct meanwhile meanwhile = {.world = world};
    struct findings findings = {.act = replace_meanwhile, .act_arg = &meanwhile, .act_at = 25};
    struct tuck_scrubbed done = scrub(&world, true, &findings);
    assert_int_equal(findings.told, 0);
    assert_int_equal(done.damaged + done.unreadable + done.dangling, 0);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    for (uint64_t i = 0; i < 50; i++) {
        struct body body = body_of(i % 2 ? i : 5000 + i, 1000);
        assert_true(get(cache, i, &body, NULL));
        free(body.data);
    }
    cache_end(cache);
}

static volatile int stop;

static void stop_meanwhile(void *arg) {
    (void)arg;
    stop = 1;
}

static void it_ends_when_it_is_told_to_and_leaves_the_sums_alone(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    fill(&world, 0, 100, 1000);
    spoil(&world);
    struct tuck_drive_stats before = stats_of(&world);
    struct findings findings = {.act = stop_meanwhile, .act_at = 30};
    struct tuck_scrubbed done;
    stop = 0;
    assert_int_equal(scrub_into(&world, (struct tuck_scrub){.stop = &stop}, &findings, &done, NULL),
                     0);
    assert_int_equal(done.objects, 30);
    assert_int_equal(stats_of(&world).used_bytes, before.used_bytes);
}

static void what_a_helper_could_not_flush_is_looked_at_as_well(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    fill(&world, 0, 1, 1000);
    struct tuck_cache *cache = cache_open(&world, TUCK_LAZY);
    for (uint64_t i = 1; i < 6; i++) {
        struct body body = body_of(i, 1000);
        (void)put(cache, i, &body);
        free(body.data);
    }
    struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = open(unit_path(world.dir, "index/entries"), O_RDWR | O_CLOEXEC);
    assert_int_equal(fcntl(fd, F_OFD_SETLK, &all), 0);
    cache_end(cache);
    (void)close(fd);
    struct tuck_scrubbed done = scrub(&world, false, NULL);
    assert_int_equal(done.entries, 6);
    assert_int_equal(done.orphans, 0);
}

static void without_memory_it_fails_and_takes_nothing_sound_away(void **state) {
    (void)state;
    struct cache_world world = cache_world_new();
    fill(&world, 0, 30, 1000);
    size_t failures = 0, made = 1;
    for (size_t n = 1; made + 1 >= n && n < 1000; n++) {
        struct tuck_cache *cache = cache_open_for_admin(&world, NULL);
        struct tuck_scrub how = {.part = 1, .parts = 1, .is_repair = true};
        struct tuck_scrubbed done;
        struct tuck_error err = {0};
        (void)memory_fail_at(n);
        int status = tuck_cache_scrub(cache, &how, &done, &err);
        made = memory_fail_at(0);
        failures += status < 0;
        assert_true(status == 0 || (status == TUCK_ENOMEM && err.text[0]));
        assert_int_equal(done.damaged + done.dangling + done.repaired, 0);
        tuck_cache_end(cache);
        tuck_cache_close(cache);
    }
    print_message("# %zu allocations failed one by one\n", failures);
    assert_true(failures > 2);
    assert_all_sound(&world, 30);
}

static const struct CMUnitTest tests[] = {
    TEST(a_sound_cache_has_nothing_to_tell),
    TEST(every_kind_of_damage_is_found_told_and_repaired),
    TEST(an_entry_without_its_object_is_found_told_and_repaired),
    TEST(what_cannot_be_read_is_told_and_stays),
    TEST(objects_that_no_entry_names_are_counted_and_no_fault),
    TEST(very_many_damaged_objects_do_not_fill_the_drive),
    TEST(the_parts_together_look_at_each_object_and_entry_once),
    TEST(wrong_sums_are_right_after_one_scrub),
    TEST(they_are_right_beside_a_running_helper_and_after_its_end),
    TEST(they_are_right_when_others_put_while_it_counts),
    TEST(and_when_the_drive_has_another_clock),
    TEST(what_a_collector_removes_meanwhile_is_no_damage),
    TEST(nor_is_a_clear),
    TEST(nor_are_objects_and_entries_that_are_replaced),
    TEST(it_ends_when_it_is_told_to_and_leaves_the_sums_alone),
    TEST(what_a_helper_could_not_flush_is_looked_at_as_well),
    TEST(without_memory_it_fails_and_takes_nothing_sound_away),
};

UNIT_MAIN(tests)

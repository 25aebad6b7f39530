// SPDX-License-Identifier: MIT
/*
 * Whatever happens to the file of the index, a find returns what was last put, or nothing, or, where the drive lost
 * a write that it had taken, what was put before; never the entry of another action and never a made-up one
 * (version_found() sees to that). A later put repairs what is broken.
 *
 * Crashes are made from the list of page writes of a real flush with many splits: a process that is killed leaves a
 * prefix of that list, a power cut any part of it, and the last write of either may be torn.
 */
#include "tests/unit/index_world.h"

#include <fcntl.h>
#include <sys/stat.h>

// --- Images of the file --------------------------------------------------------------------------

struct image {
    uint8_t *data;
    size_t len;
};

static struct image read_image(const char *path) {
    struct image image;
    image.data = unit_read_file(path, &image.len);
    return image;
}

static struct image copy_image(const struct image *from) {
    struct image image = {malloc(from->len + 1), from->len};
    assert_non_null(image.data);
    memcpy(image.data, from->data, from->len);
    return image;
}

static void apply(struct image *image, const struct page_write *write, size_t len) {
    size_t end = (size_t)write->offset + len;
    if (end > image->len) {
        image->data = realloc(image->data, end);
        assert_non_null(image->data);
        memset(image->data + image->len, 0, end - image->len);
        image->len = end;
    }
    memcpy(image->data + write->offset, write->data, len);
}

static void extend(struct image *image, size_t len) {
    const struct page_write nothing = {.offset = len};
    apply(image, &nothing, 0);
}

// A new index whose file is this.
static struct world world_of(const struct image *image) {
    struct world world = world_new();
    unit_write_file(world.file, image->data, image->len);
    return world;
}

// Puts every tenth action anew, one by one: each must be found by whoever comes, wherever he begins to look.
static void check_single_puts(const struct world *world, uint64_t count) {
    struct tuck_index *index = world_open(world), *other = world_open(world);
    for (uint64_t number = 0; number < count; number += 10) {
        record_many(index, number, 1, 3);
        flush_all(index);
    }
    for (int round = 0; round < 2; round++) {
        for (uint64_t number = 0; number < count; number += 3) {
            assert_in_range(version_found(index, number), 0,
                            3); // so that each search begins where another ended
            assert_int_equal(version_found(index, number / 10 * 10), 3);
            assert_int_equal(version_found(other, (count - 1 - number) / 10 * 10), 3);
        }
        tuck_index_close(index);
        index = world_open(world);
    }
    tuck_index_close(index);
    tuck_index_close(other);
}

// --- Crashes -------------------------------------------------------------------------------------

#define OLD_COUNT 150 // flushed before: the first version of these,
#define ALL_COUNT 400 // and in the flush that is interrupted, the second version of these

static struct image before_crash;
static struct page_write *crash_writes;
static size_t crash_write_count;

static int record_crash(void **state) {
    (void)state;
    struct world world = world_new();
    pretend_boot(1);
    struct tuck_index *index = world_open(&world);
    record_many(index, 0, OLD_COUNT, 1);
    flush_all(index);
    before_crash = read_image(world.file);
    watch_writes(&world);
    record_many(index, 0, ALL_COUNT, 2);
    flush_all(index);
    crash_writes = stop_watching(&crash_write_count);
    tuck_index_close(index);
    world_close(&world);
    assert_in_range(crash_write_count, 40, 500);
    return 0;
}

static int forget_crash(void **state) {
    (void)state;
    free(before_crash.data);
    free(crash_writes);
    before_crash = (struct image){0};
    pretend_boot(0);
    return 0;
}

// What the next helper finds and does. `is_complete`: the process was killed, but what it had written is there.
static void check_after_crash(const struct image *image, bool is_complete) {
    struct world world = world_of(image);
    struct tuck_index *index = world_open(&world);
    uint64_t missing = 0;
    for (uint64_t number = 0; number < ALL_COUNT; number++) {
        uint64_t version = version_found(index, number);
        assert_in_range(version, 0, 2);
        missing += number < OLD_COUNT && version == 0;
    }
    if (is_complete)
        assert_int_equal(missing, 0);

    // It goes on as if nothing had happened, and so does one that began at the same time.
    struct tuck_index *other = world_open(&world);
    check_single_puts(&world, ALL_COUNT);
    record_many(index, 0, ALL_COUNT, 4);
    flush_all(index);
    assert_int_equal(count_found(index, 0, ALL_COUNT, 4), ALL_COUNT);
    assert_int_equal(count_found(other, 0, ALL_COUNT, 4), ALL_COUNT);
    record_many(other, 0, ALL_COUNT / 2, 5);
    flush_all(other);
    tuck_index_close(index);
    index = world_open(&world);
    assert_int_equal(count_found(index, 0, ALL_COUNT / 2, 5), ALL_COUNT / 2);
    assert_int_equal(count_found(index, ALL_COUNT / 2, ALL_COUNT / 2, 4), ALL_COUNT / 2);
    tuck_index_close(index);
    tuck_index_close(other);
    world_close(&world);
}

static void
a_process_that_is_killed_between_any_two_writes_loses_nothing_that_was_flushed(void **state) {
    (void)state;
    struct image image = copy_image(&before_crash);
    for (size_t count = 0; count <= crash_write_count; count++) {
        check_after_crash(&image, true);
        if (count < crash_write_count)
            apply(&image, &crash_writes[count], crash_writes[count].len);
    }
    free(image.data);
}

static void where_the_search_begins_makes_no_difference_after_a_crash(void **state) {
    (void)state;
    // The first guess comes from the length of the file.
    static const size_t lengths[] = {3, 6, 18, 40, 150, 600, 5000};
    struct image image = copy_image(&before_crash);
    for (size_t count = 0; count < crash_write_count; count++) {
        apply(&image, &crash_writes[count], crash_writes[count].len);
        struct image longer = copy_image(&image);
        extend(&longer, lengths[count % TUCK_ARRAY_LEN(lengths)] * PAGE);
        check_after_crash(&longer, true);
        free(longer.data);
    }
    free(image.data);
}

static void a_torn_last_write_brings_up_no_wrong_entry(void **state) {
    (void)state;
    struct unit_random random = unit_random_of(__func__);
    struct image image = copy_image(&before_crash);
    for (size_t count = 0; count < crash_write_count; count++) {
        struct image torn = copy_image(&image);
        size_t unit = unit_random_below(&random, 2) ? 512 : 1;
        apply(&torn, &crash_writes[count], unit_random_below(&random, PAGE / unit) * unit);
        check_after_crash(&torn, false);
        free(torn.data);
        apply(&image, &crash_writes[count], crash_writes[count].len);
    }
    free(image.data);
}

static void a_power_cut_that_keeps_any_part_of_the_writes_brings_up_no_wrong_entry(void **state) {
    (void)state;
    struct unit_random random = unit_random_of(__func__);
    for (int round = 0; round < 80; round++) {
        // Of each page, as the kernel had it at one of the moments before the cut.
        struct image image = copy_image(&before_crash);
        size_t until = unit_random_below(&random, crash_write_count) + 1;
        unsigned kept_of_8 = (unsigned)unit_random_below(&random, 8) + 1;
        for (size_t i = 0; i < until; i++)
            if (unit_random_below(&random, 8) < kept_of_8)
                apply(&image, &crash_writes[i], crash_writes[i].len);
        pretend_boot(2);
        check_after_crash(&image, false);
        free(image.data);
    }
}

static void
a_split_that_lost_its_second_half_in_a_power_cut_keeps_the_entries_of_its_page(void **state) {
    (void)state;
    // The new page was kept, LIVE or not, and the shortened old one was not: then the old one still governs.
    struct image image = copy_image(&before_crash);
    pretend_boot(2);
    for (size_t i = 0; i < crash_write_count; i++)
        if (crash_writes[i].offset >= before_crash.len)
            apply(&image, &crash_writes[i], crash_writes[i].len);
    struct world world = world_of(&image);
    struct tuck_index *index = world_open(&world);
    assert_int_equal(count_found(index, 0, OLD_COUNT, 1), OLD_COUNT);
    record_many(index, 0, ALL_COUNT, 3);
    flush_all(index);
    assert_int_equal(count_found(index, 0, ALL_COUNT, 3), ALL_COUNT);
    tuck_index_close(index);
    world_close(&world);
    free(image.data);
}

// --- Damage --------------------------------------------------------------------------------------

#define DAMAGED_COUNT 600

enum damage {
    FLIP_BYTE,
    FLIP_HEAD,
    ZERO_PAGE,
    ZERO_HEAD,
    ZERO_SECTOR,
    GARBAGE_PAGE,
    GARBAGE_SECTOR,
    OTHER_PAGE_HERE,
    FOREIGN_PAGE_HERE,
    OLDER_PAGE_HERE,
    TRUNCATE_TO_PAGE,
    TRUNCATE_ANYWHERE,
    GARBAGE_BEHIND,
    DAMAGE_KINDS,
};

static struct image sound, foreign, older;

static int make_images(void **state) {
    (void)state;
    struct world world = world_new(), other_world = world_new();
    struct tuck_index *index = world_open(&world), *other = world_open(&other_world);
    record_many(index, 0, DAMAGED_COUNT, 1);
    flush_all(index);
    older = read_image(world.file);
    record_many(index, 0, DAMAGED_COUNT, 2);
    flush_all(index);
    sound = read_image(world.file);
    record_many(other, 0, DAMAGED_COUNT, 5); // what must not turn up in the first
    flush_all(other);
    foreign = read_image(other_world.file);
    tuck_index_close(index);
    tuck_index_close(other);
    world_close(&world);
    world_close(&other_world);
    return 0;
}

static int forget_images(void **state) {
    (void)state;
    free(sound.data);
    free(foreign.data);
    free(older.data);
    return 0;
}

static void do_damage(struct image *image, enum damage kind, size_t page,
                      struct unit_random *random) {
    uint8_t *at = image->data + page * PAGE;
    size_t sector = unit_random_below(random, PAGE / 512) * 512;
    size_t other = unit_random_below(random, image->len / PAGE);
    switch (kind) {
    case FLIP_BYTE:
        at[unit_random_below(random, PAGE)] ^= (uint8_t)(1 + unit_random_below(random, 255));
        break;
    case FLIP_HEAD:
        at[unit_random_below(random, 64)] ^= (uint8_t)(1 << unit_random_below(random, 8));
        break;
    case ZERO_PAGE:
        memset(at, 0, PAGE);
        break;
    case ZERO_HEAD:
        memset(at, 0, 64);
        break;
    case ZERO_SECTOR:
        memset(at + sector, 0, 512);
        break;
    case GARBAGE_PAGE:
        unit_random_fill(random, at, PAGE);
        break;
    case GARBAGE_SECTOR:
        unit_random_fill(random, at + sector, 512);
        break;
    case OTHER_PAGE_HERE:
        memmove(at, image->data + other * PAGE, PAGE);
        break;
    case FOREIGN_PAGE_HERE:
        if (page != 0 && (page + 1) * PAGE <=
                             foreign.len) // with its super page it would be a sound foreign index
            memcpy(at, foreign.data + page * PAGE, PAGE);
        break;
    case OLDER_PAGE_HERE:
        if ((page + 1) * PAGE <= older.len)
            memcpy(at, older.data + page * PAGE, PAGE);
        break;
    case TRUNCATE_TO_PAGE:
        image->len = page * PAGE;
        break;
    case TRUNCATE_ANYWHERE:
        image->len = page * PAGE + unit_random_below(random, PAGE);
        break;
    case GARBAGE_BEHIND:
        extend(image, image->len + 3 * PAGE);
        unit_random_fill(random, image->data + image->len - 2 * PAGE, 2 * PAGE);
        break;
    case DAMAGE_KINDS:
        break;
    }
}

static bool count_entry(void *arg, const struct tuck_action_id *action,
                        const struct tuck_entry *entry) {
    struct tuck_action_id expected = unit_action(entry->size / 1000);
    struct tuck_entry version = entry_of_version(entry->size / 1000, entry->size % 1000);
    assert_true(tuck_action_equal(action, &expected));
    assert_true(tuck_output_equal(&entry->output, &version.output));
    ++*(unsigned *)arg;
    return true;
}

// `may_be_older`: a page as it once was cannot be told from a sound one.
static void check_damaged(const struct image *image, bool may_be_older) {
    struct world world = world_of(image);
    struct tuck_index *index = world_open(&world);
    unsigned walked = 0;
    for (uint64_t number = 0; number < DAMAGED_COUNT; number++) {
        uint64_t version = version_found(index, number);
        assert_true(version == 0 || version == 2 || (may_be_older && version == 1));
    }
    assert_int_equal(tuck_index_walk(index, count_entry, &walked, NULL), 0);
    struct tuck_index *other = world_open(&world);
    record_many(index, 0, DAMAGED_COUNT, 3);
    flush_all(index);
    assert_int_equal(count_found(index, 0, DAMAGED_COUNT, 3), DAMAGED_COUNT);
    assert_int_equal(count_found(other, 0, DAMAGED_COUNT, 3), DAMAGED_COUNT);
    tuck_index_close(index);
    index = world_open(&world);
    assert_int_equal(count_found(index, 0, DAMAGED_COUNT, 3), DAMAGED_COUNT);
    record_many(other, DAMAGED_COUNT, DAMAGED_COUNT, 1); // and it grows as a sound one does
    flush_all(other);
    assert_int_equal(count_found(index, 0, DAMAGED_COUNT, 3), DAMAGED_COUNT);
    assert_int_equal(count_found(index, DAMAGED_COUNT, DAMAGED_COUNT, 1), DAMAGED_COUNT);
    tuck_index_close(index);
    tuck_index_close(other);
    world_close(&world);
}

static void
each_kind_of_damage_to_each_page_brings_up_no_wrong_entry_and_a_put_repairs_it(void **state) {
    (void)state;
    struct unit_random random = unit_random_of(__func__);
    size_t pages = sound.len / PAGE;
    for (int kind = 0; kind < DAMAGE_KINDS; kind++) {
        for (size_t page = 0; page < pages; page++) {
            if (page > 3 &&
                unit_random_below(&random,
                                  6)) // the super page, the counters, and one in six of the others
                continue;
            struct image image = copy_image(&sound);
            do_damage(&image, (enum damage)kind, page, &random);
            check_damaged(&image, kind == OLDER_PAGE_HERE);
            free(image.data);
        }
    }
}

static void damage_of_several_kinds_brings_up_no_wrong_entry_and_a_put_repairs_it(void **state) {
    (void)state;
    struct unit_random random = unit_random_of(__func__);
    for (int round = 0; round < 100; round++) {
        struct image image = copy_image(&sound);
        bool may_be_older = false;
        for (size_t count = 2 + unit_random_below(&random, 8); count > 0 && image.len >= 2 * PAGE;
             count--) {
            enum damage kind = (enum damage)unit_random_below(&random, DAMAGE_KINDS);
            // Mostly below the root pages, for a lost super page means a new file and nothing more to see.
            size_t page = 1 + unit_random_below(&random, image.len / PAGE - 1);
            do_damage(&image, kind, page, &random);
            may_be_older |= kind == OLDER_PAGE_HERE;
        }
        check_damaged(&image, may_be_older);
        free(image.data);
    }
}

static uint64_t parent_of(uint64_t number) {
    return number & ~(UINT64_C(1) << (63 - __builtin_clzll(number)));
}

static void pages_whose_forebears_are_lost_bring_up_no_old_entry(void **state) {
    (void)state;
    // What was split off a page may be all the trace of it; the new page in its place must not be at odds with that.
    for (int generations = 1; generations < 6; generations++) {
        for (size_t page = 1; page < sound.len / PAGE - TREE_PAGE; page++) {
            struct image image = copy_image(&sound);
            uint64_t number = page;
            for (int i = 0; i < generations && number != 0; i++) {
                number = parent_of(number);
                memset(image.data + (number + TREE_PAGE) * PAGE, 0, PAGE);
            }
            struct world world = world_of(&image);
            check_single_puts(&world, DAMAGED_COUNT);
            world_close(&world);
            check_damaged(&image, false);
            free(image.data);
        }
    }
}

static void entries_on_sound_pages_are_found_beside_a_damaged_one(void **state) {
    (void)state;
    size_t pages = sound.len / PAGE;
    for (size_t page = TREE_PAGE; page < pages; page++) {
        struct image image = copy_image(&sound);
        memset(image.data + page * PAGE, 0xee, PAGE);
        struct world world = world_of(&image);
        struct tuck_index *index = world_open(&world);
        assert_in_range(count_found(index, 0, DAMAGED_COUNT, 2), DAMAGED_COUNT - 4 * SLOTS,
                        DAMAGED_COUNT);
        tuck_index_close(index);
        world_close(&world);
        free(image.data);
    }
}

static void a_damaged_record_costs_one_entry_and_its_put_brings_it_back(void **state) {
    (void)state;
    struct unit_random random = unit_random_of(__func__);
    const size_t record_bytes = 104;
    for (int round = 0; round < 60; round++) {
        struct image image = copy_image(&sound);
        size_t page = TREE_PAGE + unit_random_below(&random, sound.len / PAGE - TREE_PAGE);
        size_t slot = unit_random_below(&random, SLOTS);
        size_t byte = unit_random_below(&random, record_bytes);
        image.data[page * PAGE + 64 + slot * record_bytes + byte] ^=
            (uint8_t)(1 << unit_random_below(&random, 8));
        struct world world = world_of(&image);
        struct tuck_index *index = world_open(&world);
        uint64_t found = count_found(index, 0, DAMAGED_COUNT, 2);
        assert_in_range(found, DAMAGED_COUNT - 1, DAMAGED_COUNT);
        record_many(index, 0, DAMAGED_COUNT, 3);
        flush_all(index);
        assert_int_equal(count_found(index, 0, DAMAGED_COUNT, 3), DAMAGED_COUNT);
        tuck_index_close(index);
        world_close(&world);
        free(image.data);
    }
}

static void damage_under_a_live_handle_brings_up_no_wrong_entry(void **state) {
    (void)state;
    struct unit_random random = unit_random_of(__func__);
    for (int round = 0; round < 60; round++) {
        struct world world = world_of(&sound);
        struct tuck_index *index = world_open(&world);
        assert_int_equal(count_found(index, 0, 50, 2), 50);
        struct image image = copy_image(&sound);
        size_t page = 1 + unit_random_below(&random, image.len / PAGE - 1);
        enum damage kind = (enum damage)unit_random_below(&random, DAMAGE_KINDS);
        do_damage(&image, kind, page, &random);
        unit_write_file(world.file, image.data, image.len); // the same file, under the handle
        for (uint64_t number = 0; number < DAMAGED_COUNT; number++) {
            uint64_t version = version_found(index, number);
            assert_true(version == 0 || version == 2 || (kind == OLDER_PAGE_HERE && version == 1));
        }
        record_many(index, 0, DAMAGED_COUNT, 3);
        flush_all(index);
        assert_int_equal(count_found(index, 0, DAMAGED_COUNT, 3), DAMAGED_COUNT);
        tuck_index_close(index);
        world_close(&world);
        free(image.data);
    }
}

static void
a_file_that_is_truncated_to_nothing_under_a_live_handle_is_a_miss_and_no_crash(void **state) {
    (void)state;
    struct world world = world_of(&sound);
    struct tuck_index *index = world_open(&world);
    assert_int_equal(truncate(world.file, 0), 0);
    assert_int_equal(count_found(index, 0, DAMAGED_COUNT, 2), 0);
    record_many(index, 0, 100, 3);
    (void)flush_now(index); // a new helper sets the file aside
    assert_in_range(count_found(index, 0, 100, 3), 0, 100);
    tuck_index_close(index);
    index = world_open(&world);
    record_many(index, 0, 100, 4);
    flush_all(index);
    assert_int_equal(count_found(index, 0, 100, 4), 100);
    tuck_index_close(index);
    world_close(&world);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(
        a_process_that_is_killed_between_any_two_writes_loses_nothing_that_was_flushed,
        record_crash, forget_crash),
    cmocka_unit_test_setup_teardown(where_the_search_begins_makes_no_difference_after_a_crash,
                                    record_crash, forget_crash),
    cmocka_unit_test_setup_teardown(a_torn_last_write_brings_up_no_wrong_entry, record_crash,
                                    forget_crash),
    cmocka_unit_test_setup_teardown(
        a_power_cut_that_keeps_any_part_of_the_writes_brings_up_no_wrong_entry, record_crash,
        forget_crash),
    cmocka_unit_test_setup_teardown(
        a_split_that_lost_its_second_half_in_a_power_cut_keeps_the_entries_of_its_page,
        record_crash, forget_crash),
    cmocka_unit_test_setup_teardown(
        each_kind_of_damage_to_each_page_brings_up_no_wrong_entry_and_a_put_repairs_it, make_images,
        forget_images),
    cmocka_unit_test_setup_teardown(
        damage_of_several_kinds_brings_up_no_wrong_entry_and_a_put_repairs_it, make_images,
        forget_images),
    cmocka_unit_test_setup_teardown(pages_whose_forebears_are_lost_bring_up_no_old_entry,
                                    make_images, forget_images),
    cmocka_unit_test_setup_teardown(entries_on_sound_pages_are_found_beside_a_damaged_one,
                                    make_images, forget_images),
    cmocka_unit_test_setup_teardown(a_damaged_record_costs_one_entry_and_its_put_brings_it_back,
                                    make_images, forget_images),
    cmocka_unit_test_setup_teardown(damage_under_a_live_handle_brings_up_no_wrong_entry,
                                    make_images, forget_images),
    cmocka_unit_test_setup_teardown(
        a_file_that_is_truncated_to_nothing_under_a_live_handle_is_a_miss_and_no_crash, make_images,
        forget_images),
};

UNIT_MAIN(tests)

// SPDX-License-Identifier: MIT
/*
 * Placement: the seed's vectors, and what both rules promise about shares, measured.
 */
#include "tests/unit/unit.h"

#include "lib/store/place.h"

#define KEYS 200000U

static const char seed_key[] = "testbucket/testobject";

// Ids as drives have them: 24 hexadecimal digits.
static uint64_t seed_of(unsigned drive) {
    char id[25] = {0};
    struct tuck_output_id random = unit_output(1000000000U + drive);
    tuck_hex(id, random.bytes, 12);
    return tuck_place_seed(id);
}

static void fill_seeds(uint64_t *ret_seeds, size_t count) {
    for (unsigned i = 0; i < count; i++)
        ret_seeds[i] = seed_of(i);
}

static void order_of(enum tuck_placement placement, uint64_t number, const uint64_t *seeds,
                     size_t count, uint8_t *ret_order) {
    struct tuck_output_id key = unit_output(number);
    tuck_place_order(placement, key.bytes, sizeof(key.bytes), seeds, count, ret_order);
}

// In percent; the tests allow 0.5, five times what chance makes of it.
static void assert_share(const char *what, unsigned part, unsigned whole, double expected) {
    double share = 100.0 * part / whole;
    print_message("# %s: %.1f %%\n", what, share);
    assert_true(share > expected - 0.5 && share < expected + 0.5);
}

// --- The rules -----------------------------------------------------------------------------------

static void crcmod_places_a_key_where_the_seed_does(void **state) {
    (void)state;
    static const int expected[] = {0, 0, 1, 0, 4, 4, 4, 4, 7};
    for (int count = 1; count <= 9; count++)
        assert_int_equal(tuck_place_crcmod(seed_key, strlen(seed_key), count), expected[count - 1]);
    // The check value of CRC-32/IEEE is cbf43926.
    assert_int_equal(tuck_place_crcmod("123456789", 9, 0x7fffffff), 0xcbf43926U % 0x7fffffffU);
    assert_int_equal(tuck_place_crcmod("", 0, 5), 0);
}

static void where_there_are_no_drives_there_is_no_place(void **state) {
    (void)state;
    assert_int_equal(tuck_place_crcmod(seed_key, strlen(seed_key), 0), -1);
    assert_int_equal(tuck_place_crcmod(seed_key, strlen(seed_key), -1), -1);
    assert_int_equal(tuck_place_crcmod(seed_key, strlen(seed_key), -2147483647 - 1), -1);
    uint8_t order[1] = {77};
    tuck_place_order(TUCK_CRCMOD, seed_key, strlen(seed_key), NULL, 0, order);
    tuck_place_order(TUCK_RENDEZVOUS, seed_key, strlen(seed_key), NULL, 0, order);
    assert_int_equal(order[0], 77);
}

static void crcmod_goes_round_the_list_from_there(void **state) {
    (void)state;
    uint8_t order[TUCK_DRIVES_MAX];
    for (size_t count = 1; count <= TUCK_DRIVES_MAX; count++) {
        tuck_place_order(TUCK_CRCMOD, seed_key, strlen(seed_key), NULL, count, order);
        size_t first = (size_t)tuck_place_crcmod(seed_key, strlen(seed_key), (int)count);
        for (size_t i = 0; i < count; i++)
            assert_int_equal(order[i], (first + i) % count);
    }
}

static void every_order_names_each_drive_once(void **state) {
    (void)state;
    uint64_t seeds[TUCK_DRIVES_MAX];
    fill_seeds(seeds, TUCK_DRIVES_MAX);
    for (size_t count = 1; count <= TUCK_DRIVES_MAX; count++)
        for (int placement = TUCK_CRCMOD; placement <= TUCK_RENDEZVOUS; placement++)
            for (uint64_t key = 0; key < 50; key++) {
                uint8_t order[TUCK_DRIVES_MAX + 1] = {0};
                uint64_t seen = 0;
                order[count] = 77;
                order_of((enum tuck_placement)placement, key, seeds, count, order);
                for (size_t i = 0; i < count; i++) {
                    assert_true(order[i] < count);
                    seen |= UINT64_C(1) << order[i];
                }
                assert_int_equal(seen, UINT64_MAX >> (64 - count));
                assert_int_equal(order[count], 77); // nothing behind it
            }
}

static void rendezvous_never_changes_where_it_places(void **state) {
    (void)state;
    // Sets that exist were filled by these: with other numbers nothing is where it is looked for
    // first. Another implementation of XXH3 gives the same.
    static const char *const ids[] = {"0123456789abcdef01234567", "89abcdef0123456789abcdef",
                                      "fedcba9876543210fedcba98", "000000000000000000000000"};
    static const struct {
        const char *key;
        uint8_t order[4];
    } expected[] = {{"", {2, 0, 3, 1}},  {"testbucket/testobject", {0, 2, 3, 1}},
                    {"a", {0, 3, 1, 2}}, {"b", {3, 2, 1, 0}},
                    {"c", {2, 1, 3, 0}}, {"0123456789abcdef0123456789abcdef", {0, 2, 1, 3}}};
    uint64_t seeds[4];
    for (size_t i = 0; i < 4; i++)
        seeds[i] = tuck_place_seed(ids[i]);
    for (size_t i = 0; i < TUCK_ARRAY_LEN(expected); i++) {
        uint8_t order[4];
        tuck_place_order(TUCK_RENDEZVOUS, expected[i].key, strlen(expected[i].key), seeds, 4,
                         order);
        assert_memory_equal(order, expected[i].order, 4);
    }
}

static void rendezvous_does_not_depend_on_the_order_of_the_list(void **state) {
    (void)state;
    enum { COUNT = 7 };
    struct unit_random random = unit_random_of(__func__);
    for (uint64_t key = 0; key < 2000; key++) {
        uint64_t seeds[COUNT], mixed[COUNT];
        uint8_t order[COUNT], mixed_order[COUNT];
        fill_seeds(seeds, COUNT);
        memcpy(mixed, seeds, sizeof(seeds));
        for (size_t i = COUNT - 1; i > 0; i--) {
            size_t other = unit_random_below(&random, i + 1);
            uint64_t seed = mixed[i];
            mixed[i] = mixed[other];
            mixed[other] = seed;
        }
        order_of(TUCK_RENDEZVOUS, key, seeds, COUNT, order);
        order_of(TUCK_RENDEZVOUS, key, mixed, COUNT, mixed_order);
        for (size_t i = 0; i < COUNT; i++)
            assert_true(mixed[mixed_order[i]] == seeds[order[i]]);
    }
}

static void placements_have_names(void **state) {
    (void)state;
    enum tuck_placement placement = TUCK_RENDEZVOUS;
    assert_string_equal(tuck_place_name(TUCK_CRCMOD), "CRCMOD");
    assert_string_equal(tuck_place_name(TUCK_RENDEZVOUS), "RENDEZVOUS");
    assert_true(tuck_place_named("CRCMOD", &placement));
    assert_int_equal(placement, TUCK_CRCMOD);
    assert_false(tuck_place_named("crcmod", &placement));
    assert_false(tuck_place_named("", &placement));
    assert_false(tuck_place_named("CRCMOD2", &placement));
    assert_int_equal(placement, TUCK_CRCMOD);
    assert_true(tuck_place_named("RENDEZVOUS", &placement));
    assert_int_equal(placement, TUCK_RENDEZVOUS);
}

// --- Shares --------------------------------------------------------------------------------------

static void every_drive_gets_the_same_share(void **state) {
    (void)state;
    enum { COUNT = 5 };
    uint64_t seeds[COUNT];
    fill_seeds(seeds, COUNT);
    for (int placement = TUCK_CRCMOD; placement <= TUCK_RENDEZVOUS; placement++) {
        unsigned homes[COUNT] = {0};
        for (uint64_t key = 0; key < KEYS; key++) {
            uint8_t order[COUNT];
            order_of((enum tuck_placement)placement, key, seeds, COUNT, order);
            homes[order[0]]++;
        }
        for (size_t i = 0; i < COUNT; i++)
            assert_share(tuck_place_name((enum tuck_placement)placement), homes[i], KEYS, 20);
    }
}

// How many keys have another home when a drive is added at the end of the list; *ret_old is how
// many of them went to another drive than the new one.
static unsigned count_moved(enum tuck_placement placement, size_t count, unsigned *ret_old) {
    uint64_t seeds[TUCK_DRIVES_MAX];
    unsigned moved = 0;
    fill_seeds(seeds, count + 1);
    *ret_old = 0;
    for (uint64_t key = 0; key < KEYS; key++) {
        uint8_t before[TUCK_DRIVES_MAX], after[TUCK_DRIVES_MAX];
        order_of(placement, key, seeds, count, before);
        order_of(placement, key, seeds, count + 1, after);
        moved += before[0] != after[0];
        *ret_old += before[0] != after[0] && after[0] != count;
    }
    return moved;
}

static void one_drive_more_moves_most_keys_with_crcmod(void **state) {
    (void)state;
    unsigned old;
    assert_share("moved from 3 to 4", count_moved(TUCK_CRCMOD, 3, &old), KEYS, 74.9);
    assert_share("moved from 8 to 9", count_moved(TUCK_CRCMOD, 8, &old), KEYS, 88.8);
    assert_true(old > 0);
}

static void one_drive_more_takes_over_only_its_share_with_rendezvous(void **state) {
    (void)state;
    unsigned old;
    assert_share("moved from 3 to 4", count_moved(TUCK_RENDEZVOUS, 3, &old), KEYS, 25);
    assert_int_equal(old, 0);
    assert_share("moved from 8 to 9", count_moved(TUCK_RENDEZVOUS, 8, &old), KEYS, 100.0 / 9);
    assert_int_equal(old, 0);
}

// Where the keys are kept while the second of four drives is offline.
static void count_kept(enum tuck_placement placement, unsigned ret_kept[4]) {
    uint64_t seeds[4];
    fill_seeds(seeds, 4);
    memset(ret_kept, 0, 4 * sizeof(*ret_kept));
    for (uint64_t key = 0; key < KEYS; key++) {
        uint8_t order[4];
        order_of(placement, key, seeds, 4, order);
        ret_kept[order[0] == 1 ? order[1] : order[0]]++;
    }
}

static void a_drive_offline_leaves_its_keys_to_its_neighbour_with_crcmod(void **state) {
    (void)state;
    unsigned kept[4];
    count_kept(TUCK_CRCMOD, kept);
    assert_share("on the neighbour", kept[2], KEYS, 50);
    assert_share("on another", kept[0], KEYS, 25);
    assert_share("on another", kept[3], KEYS, 25);
}

static void a_drive_offline_leaves_its_keys_to_all_with_rendezvous(void **state) {
    (void)state;
    unsigned kept[4];
    count_kept(TUCK_RENDEZVOUS, kept);
    for (size_t i = 0; i < 4; i++)
        assert_share("on this one", kept[i], KEYS, i == 1 ? 0 : 100.0 / 3);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(crcmod_places_a_key_where_the_seed_does),
    cmocka_unit_test(where_there_are_no_drives_there_is_no_place),
    cmocka_unit_test(crcmod_goes_round_the_list_from_there),
    cmocka_unit_test(every_order_names_each_drive_once),
    cmocka_unit_test(rendezvous_never_changes_where_it_places),
    cmocka_unit_test(rendezvous_does_not_depend_on_the_order_of_the_list),
    cmocka_unit_test(placements_have_names),
    cmocka_unit_test(every_drive_gets_the_same_share),
    cmocka_unit_test(one_drive_more_moves_most_keys_with_crcmod),
    cmocka_unit_test(one_drive_more_takes_over_only_its_share_with_rendezvous),
    cmocka_unit_test(a_drive_offline_leaves_its_keys_to_its_neighbour_with_crcmod),
    cmocka_unit_test(a_drive_offline_leaves_its_keys_to_all_with_rendezvous),
};

UNIT_MAIN(tests)

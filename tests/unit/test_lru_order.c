// SPDX-License-Identifier: MIT
/*
 * The order between caches: what depends on something is never written before it, whichever way it is written, in
 * whatever direction and however often that was declared; no more is written for it than it needs; and what fails holds
 * back only what depends on it. Many threads at once are in stress_lru.c.
 *
 * Most tests have entries, cache e, and objects, cache o: an entry needs the object that it names, and the removal of
 * an object needs the removal of the entries that named it.
 */
#include "tests/unit/lru_world.h"

#include <sched.h>

struct pair {
    struct world world;
    struct fake *e, *o;
};

static void pair_init(struct pair *pair, size_t limit_items) {
    world_init(&pair->world, 2, limit_items);
    pair->e = &pair->world.cache[0];
    pair->o = &pair->world.cache[1];
    pair->e->name = 'e';
    pair->o->name = 'o';
}

// Makes an object and the entry that names it, both with this key.
static void put(struct pair *pair, uint32_t key) {
    uint64_t seq = set(pair->o, key, 1);
    depend(pair->e, pair->o, seq);
    (void)set(pair->e, key, 1);
}

// --- One direction -------------------------------------------------------------------------------

static void objects_are_written_before_their_entries_whichever_way_those_are_written(void **state) {
    (void)state;
    struct pair pair;
    pair_init(&pair, 2);
    put(&pair, 1);
    flush_all(pair.e);
    assert_string_equal(written(), "o1=1 e1=1");
    put(&pair, 2);
    put(&pair, 3);
    trim(pair.e);
    assert_string_equal(written(), "");
    (void)set(pair.e, 4, 1); // so that 2 has to go
    trim(pair.e);
    assert_string_equal(written(), "o2=1 e2=1");
    uint64_t seq = set(pair.o, 5, 1);
    depend(pair.e, pair.o, seq);
    (void)set(pair.e, 4, 5); // replaced before it was ever written
    assert_int_equal(tuck_lru_flush(pair.e->lru, UINT64_MAX, NULL), 0);
    assert_string_equal(written(), "o3=1,o5=1 e3=1,e4=5");
    put(&pair, 6);
    put(&pair, 7);
    flush_all(pair.o); // as at the end
    flush_all(pair.e);
    assert_string_equal(written(), "o6=1,o7=1 e6=1,e7=1");
    world_fini(&pair.world);
}

static void evicting_an_entry_writes_the_objects_that_it_needs_and_no_others(void **state) {
    (void)state;
    struct pair pair;
    pair_init(&pair, 20);
    for (uint32_t key = 0; key < 23; key++)
        put(&pair, key);
    trim(pair.e);
    assert_string_equal(written(), "o0=1,o1=1,o2=1 e0=1,e1=1,e2=1");
    assert_int_equal(stats_of(pair.o).dirty, 20);
    (void)set(pair.e, 30, 1);
    trim(pair.e);
    assert_string_equal(written(), "o3=1 e3=1");
    assert_int_equal(stats_of(pair.o).flushed, 4);
    assert_int_equal(tuck_lru_flush(pair.e->lru, 6, NULL), 0); // and so does a flush up to a number
    assert_string_equal(written(), "o4=1,o5=1 e4=1,e5=1");
    world_fini(&pair.world);
}

static void changes_of_one_value_wait_for_the_most_that_any_of_them_needs(void **state) {
    (void)state;
    struct pair pair;
    pair_init(&pair, 20);
    uint64_t first = set(pair.o, 1, 1), second = set(pair.o, 2, 1);
    (void)set(pair.o, 3, 1);
    (void)set(pair.e, 9, 0);
    depend(pair.e, pair.o, second);
    (void)set(pair.e, 1, 1);
    depend(pair.e, pair.o, first); // takes nothing back
    (void)set(pair.e, 1, 2);
    (void)set(pair.e, 2, 1);
    assert_int_equal(tuck_lru_flush(pair.e->lru, 1, NULL), 0);
    assert_string_equal(written(), "e9=0"); // was there before all that
    assert_int_equal(tuck_lru_flush(pair.e->lru, 2, NULL), 0);
    assert_string_equal(written(), "o1=1,o2=1 e1=2");
    flush_all(pair.e);
    assert_string_equal(written(), "e2=1");
    world_fini(&pair.world);
}

static void a_number_beyond_the_last_change_means_the_last_one(void **state) {
    (void)state;
    struct pair pair;
    pair_init(&pair, 20);
    depend(pair.e, pair.o, UINT64_MAX); // nothing
    (void)set(pair.o, 1, 1);
    (void)set(pair.e, 1, 1);
    assert_int_equal(tuck_lru_flush(pair.e->lru, 1, NULL), 0);
    assert_string_equal(written(), "e1=1");
    depend(pair.e, pair.o, UINT64_MAX);
    (void)set(pair.o, 2, 1);
    (void)set(pair.e, 2, 1);
    flush_all(pair.e);
    assert_string_equal(written(), "o1=1 e2=1");
    world_fini(&pair.world);
}

static void a_chain_of_dependencies_is_followed_as_far_as_it_is_needed(void **state) {
    (void)state;
    struct world world;
    world_init(&world, 4, 20);
    struct fake *cache = world.cache;
    for (uint32_t key = 0; key < 3; key++) {
        for (size_t i = 4; i-- > 0;) {
            uint64_t seq = set(&cache[i], key, 1);
            if (i > 0)
                depend(&cache[i - 1], &cache[i], seq);
        }
    }
    assert_int_equal(tuck_lru_flush(cache[0].lru, 2, NULL), 0);
    assert_string_equal(written(), "d0=1,d1=1 c0=1,c1=1 b0=1,b1=1 a0=1,a1=1");
    flush_all(&cache[0]);
    assert_string_equal(written(), "d2=1 c2=1 b2=1 a2=1");
    world_fini(&world);
}

static void two_dependencies_of_one_cache_are_both_kept(void **state) {
    (void)state;
    struct world world;
    world_init(&world, 3, 20);
    struct fake *cache = world.cache;
    depend(&cache[0], &cache[1], set(&cache[1], 1, 1));
    (void)set(&cache[0], 1, 1);
    depend(&cache[0], &cache[2], set(&cache[2], 1, 1));
    (void)set(&cache[0], 2, 1);
    assert_int_equal(tuck_lru_flush(cache[0].lru, 1, NULL), 0);
    assert_string_equal(written(), "b1=1 a1=1");
    (void)set(&cache[1], 2, 1);
    flush_all(&cache[0]);
    assert_string_equal(written(), "c1=1 a2=1");
    world_fini(&world);
}

static void what_cannot_be_declared_is_refused(void **state) {
    (void)state;
    struct world world, other;
    world_init(&world, 6, 20);
    world_init(&other, 1, 20);
    struct fake *cache = world.cache;
    struct tuck_error err = {0};
    (void)set(&cache[0], 1, 1);
    (void)set(&other.cache[0], 1, 1);
    assert_int_equal(tuck_lru_depend(cache[0].lru, cache[0].lru, 1, &err), TUCK_EINVAL);
    assert_int_equal(tuck_lru_depend(cache[0].lru, other.cache[0].lru, 1, &err), TUCK_EINVAL);
    for (size_t i = 5; i > 0; i--)
        depend(&cache[0], &cache[i], UINT64_MAX); // on nothing, and so these do not count
    for (size_t i = 1; i < 6; i++) {
        uint64_t seq = set(&cache[i], 1, 1);
        int expected = i < 5 ? 0 : TUCK_EINVAL;
        assert_int_equal(tuck_lru_depend(cache[0].lru, cache[i].lru, seq, &err), expected);
    }
    world_fini(&other);
    // A cache that goes leaves its place, and those that waited for it wait no longer.
    (void)set(&cache[0], 2, 1);
    tuck_lru_free(cache[4].lru);
    struct tuck_lru_options options = world_options(&cache[4], 20);
    assert_int_equal(tuck_lru_new(world.group, &options, &cache[4].lru, NULL), 0);
    depend(&cache[0], &cache[5], 1);
    (void)set(&cache[4], 3, 1);
    flush_all(&cache[0]);
    assert_string_equal(written(), "b1=1 c1=1 d1=1 a1=1,a2=1");
    (void)set(&cache[0], 3, 1);
    flush_all(&cache[0]);
    assert_string_equal(written(), "f1=1 a3=1");
    world_fini(&world);
}

// --- Both directions -----------------------------------------------------------------------------

static void both_directions_in_turn_are_both_kept(void **state) {
    (void)state;
    struct pair pair;
    pair_init(&pair, 20);
    put(&pair, 1);
    depend(pair.o, pair.e, set(pair.e, 1, 0)); // nobody names it any more
    assert_string_equal(written(), "o1=1 e1=0");
    (void)set(pair.o, 1, 0);
    put(&pair, 2); // the object waits for the entry that is gone already
    assert_string_equal(written(), "");
    flush_all(pair.e);
    assert_string_equal(written(), "o1=0,o2=1 e2=1");
    for (uint32_t i = 0; i < 200; i++) {
        put(&pair, i % 10);
        if (i % 3 == 0) {
            depend(pair.o, pair.e, set(pair.e, i % 10, 0));
            (void)set(pair.o, i % 10, 0);
        }
    }
    flush_all(pair.o);
    flush_all(pair.e);
    assert_int_equal(stats_of(pair.o).dirty + stats_of(pair.e).dirty, 0);
    world_fini(&pair.world);
}

static void a_value_that_others_wait_for_may_be_changed_again(void **state) {
    (void)state;
    struct pair pair;
    pair_init(&pair, 20);
    put(&pair, 1); // entry 1
    for (uint32_t key = 5; key < 9; key++)
        (void)set(pair.e, key, 1);
    flush_all(pair.e);
    (void)set(pair.e, 1, 2); // dirty, and needs nothing
    uint64_t removed = set(pair.e, 9, 0);
    depend(pair.o, pair.e, removed);
    (void)set(pair.o, 9, 0); // needs entry 1, with what was changed before 9
    (void)written();
    depend(pair.e, pair.o, set(pair.o, 3, 1)); // object 3, and so the removal, cannot wait for e1
    assert_string_equal(written(), "e1=2,e9=0 o9=0,o3=1");
    (void)set(pair.e, 1, 3);
    flush_all(pair.e);
    assert_string_equal(written(), "e1=3");
    world_fini(&pair.world);
}

// Nothing waits in a circle when the second dependency is declared, but the next two changes would.
static void a_circle_that_only_later_changes_would_close_is_foreseen(void **state) {
    (void)state;
    struct pair pair;
    pair_init(&pair, 20);
    uint64_t object = set(pair.o, 1, 1), entry = set(pair.e, 1, 1);
    depend(pair.e, pair.o, object);
    depend(pair.o, pair.e, entry);
    (void)set(pair.e, 1, 2);
    (void)set(pair.o, 1, 2);
    struct task tasks[2] = {{.fake = pair.e, .number = UINT64_MAX},
                            {.fake = pair.o, .number = UINT64_MAX}};
    for (size_t i = 0; i < 2; i++)
        task_start(&tasks[i], task_flush);
    for (size_t i = 0; i < 2; i++) {
        task_join(&tasks[i]);
        assert_int_equal(tasks[i].status, 0);
    }
    assert_int_equal(pair.e->stored[1], 2);
    assert_int_equal(pair.o->stored[1], 2);
    size_t count, at[3] = {0};
    const struct write *write = writes(&count);
    assert_int_equal(count, 3);
    for (size_t i = 0; i < count; i++)
        at[write[i].name == 'o' ? 1 : write[i].number == 2 ? 2 : 0] = i;
    assert_int_equal(at[0], 0); // the entry of before
    assert_true(at[1] < at[2]); // and the one of later only after the object
    assert_int_equal(write[at[1]].number, 2);
    world_fini(&pair.world);
}

static void a_ring_of_three_is_resolved(void **state) {
    (void)state;
    struct world world;
    world_init(&world, 3, 20);
    struct fake *a = &world.cache[0], *b = &world.cache[1], *c = &world.cache[2];
    uint64_t seq[3] = {set(a, 1, 1), set(b, 1, 1), set(c, 1, 1)};
    depend(a, b, seq[1]);
    (void)set(a, 2, 1);
    depend(b, c, seq[2]);
    (void)set(b, 2, 1);
    assert_string_equal(written(), "");
    depend(c, a, seq[0]); // a, before it b up to 1, and c only if b 2 were asked for
    assert_string_equal(written(), "a1=1");
    depend(c, a, seq[0] + 1);
    assert_string_equal(written(), "b1=1 a2=1");
    (void)set(c, 2, 1);
    depend(a, b, seq[1] + 1); // b 2 waits for c 1
    (void)set(a, 3, 1);
    depend(c, a, 3);
    assert_string_equal(written(), "c1=1 b2=1 a3=1");
    (void)set(c, 3, 1);
    flush_all(c);
    assert_string_equal(written(), "c2=1,c3=1");
    for (uint32_t i = 0; i < 100; i++) {
        depend(&world.cache[i % 3], &world.cache[(i + 1) % 3], UINT64_MAX);
        (void)set(&world.cache[i % 3], i % 7, i);
        depend(&world.cache[(i + 1) % 3], &world.cache[i % 3], UINT64_MAX);
        (void)set(&world.cache[(i + 1) % 3], i % 7, i);
    }
    for (size_t i = 0; i < 3; i++)
        flush_all(&world.cache[i]);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(stats_of(&world.cache[i]).dirty, 0);
    world_fini(&world);
}

static void declaring_what_is_done_with_writes_nothing(void **state) {
    (void)state;
    struct pair pair;
    pair_init(&pair, 20);
    uint64_t object = set(pair.o, 1, 1), entry = set(pair.e, 1, 1);
    flush_all(pair.o);
    depend(pair.o, pair.e, entry);
    (void)set(pair.o, 2, 1);
    (void)written();
    depend(pair.e, pair.o, object); // though o waits for e
    assert_string_equal(written(), "");
    flush_all(pair.o);
    assert_string_equal(written(), "e1=1 o2=1");
    world_fini(&pair.world);
}

// --- Failures ------------------------------------------------------------------------------------

static void an_entry_stays_when_its_object_cannot_be_written(void **state) {
    (void)state;
    struct pair pair;
    pair_init(&pair, 1);
    struct tuck_error err = {0};
    put(&pair, 1);
    put(&pair, 2);
    set_flush_status(pair.o, 1, TUCK_ENOSPACE);
    assert_int_equal(tuck_lru_trim(pair.e->lru, &err), TUCK_ENOSPACE);
    assert_string_equal(err.text, "flush o1");
    assert_string_equal(written(), "!o1=1");
    assert_int_equal(seen(pair.e, 1), 1);
    assert_int_equal(stats_of(pair.e).dirty, 2);
    assert_int_equal(pair.e->flushes, 0);
    set_flush_status(pair.o, 1, TUCK_LRU_BUSY);
    assert_int_equal(tuck_lru_trim(pair.e->lru, &err), TUCK_LRU_BUSY);
    assert_int_equal(seen(pair.e, 1), 1);
    set_flush_status(pair.o, 1, 0);
    (void)written();
    trim(pair.e);
    assert_string_equal(written(), "o1=1 e1=1");
    assert_int_equal(seen(pair.e, 1), 0);
    world_fini(&pair.world);
}

static void what_fails_holds_back_only_what_depends_on_it(void **state) {
    (void)state;
    struct pair pair;
    pair_init(&pair, 20);
    struct tuck_error err = {0};
    put(&pair, 1);
    put(&pair, 2);
    put(&pair, 3);
    set_flush_status(pair.o, 2, TUCK_EIO);
    set_flush_status(pair.e, 1, TUCK_ENOSPACE);
    assert_int_equal(tuck_lru_flush(pair.e->lru, UINT64_MAX, &err), TUCK_EIO);
    assert_string_equal(err.text, "flush o2"); // the first one
    assert_string_equal(written(), "o1=1,!o2=1,o3=1 !e1=1");
    assert_int_equal(stats_of(pair.e).dirty, 3);
    set_flush_status(pair.o, 2, 0);
    set_flush_status(pair.e, 1, 0);
    flush_all(pair.e);
    assert_string_equal(written(), "o2=1 e1=1,e2=1,e3=1");
    world_fini(&pair.world);
}

static void a_circle_that_cannot_be_resolved_now_is_not_declared(void **state) {
    (void)state;
    struct pair pair;
    pair_init(&pair, 20);
    struct tuck_error err = {0};
    put(&pair, 1);
    set_flush_status(pair.o, 1, TUCK_EIO);
    assert_int_equal(tuck_lru_depend(pair.o->lru, pair.e->lru, 1, &err), TUCK_EIO);
    assert_string_equal(err.text, "flush o1");
    (void)set(pair.o, 2, 1);
    (void)written();
    assert_int_equal(tuck_lru_flush(pair.o->lru, UINT64_MAX, NULL), TUCK_EIO);
    assert_string_equal(written(), "!o1=1,o2=1"); // without e1
    set_flush_status(pair.o, 1, TUCK_LRU_BUSY);
    assert_int_equal(tuck_lru_depend(pair.o->lru, pair.e->lru, 1, &err), TUCK_LRU_BUSY);
    set_flush_status(pair.o, 1, 0);
    (void)written();
    depend(pair.o, pair.e, 1);
    assert_string_equal(written(), "o1=1 e1=1");
    world_fini(&pair.world);
}

// --- Threads -------------------------------------------------------------------------------------

// Each time that its object has been written, the entry would need another one.
static void a_flush_ends_though_what_it_writes_is_changed_with_ever_new_needs(void **state) {
    (void)state;
    struct pair pair;
    pair_init(&pair, 20);
    put(&pair, 1);
    struct task task = {.fake = pair.e, .number = UINT64_MAX};
    gate_shut(&pair.o->flush_gate);
    task_start(&task, task_flush);
    gate_await(&pair.o->flush_gate, 1);
    depend(pair.e, pair.o, set(pair.o, 2, 1));
    (void)set(pair.e, 1, 2);
    gate_open(&pair.o->flush_gate);
    task_join(&task);
    assert_int_equal(task.status, 0);
    assert_string_equal(written(), "o1=1 e1=1");
    flush_all(pair.e);
    assert_string_equal(written(), "o2=1 e1=2");
    world_fini(&pair.world);
}

static void entries_wait_for_a_flush_of_objects_that_another_thread_has_begun(void **state) {
    (void)state;
    struct pair pair;
    pair_init(&pair, 20);
    (void)set(pair.e, 9, 1);
    put(&pair, 1);
    struct task objects = {.fake = pair.o, .number = UINT64_MAX};
    struct task entries = {.fake = pair.e, .number = UINT64_MAX};
    struct task none = {.fake = pair.e, .number = 1};
    gate_shut(&pair.o->flush_gate);
    task_start(&objects, task_flush);
    gate_await(&pair.o->flush_gate, 1);
    task_start(&none, task_flush); // needs no object
    task_join(&none);
    assert_string_equal(written(), "e9=1");
    task_start(&entries, task_flush);
    await_waiting(1);
    assert_string_equal(written(), "");
    gate_open(&pair.o->flush_gate);
    task_join(&objects);
    task_join(&entries);
    assert_int_equal(objects.status | entries.status, 0);
    assert_string_equal(written(), "o1=1 e1=1");
    world_fini(&pair.world);
}

// --- Crashes -------------------------------------------------------------------------------------

#define ACTIONS 12U
#define OBJECTS 6U // numbers of entries are that of the object and 1, or 0

struct cache_model {
    struct pair pair;
    uint64_t entry[ACTIONS]; // as they are in memory
    bool is_there[OBJECTS];
    uint64_t object_seq[OBJECTS];  // of its last change
    uint64_t unnamed_seq[OBJECTS]; // of the last change that took its name out of an entry
    bool is_over;                  /* atomic */
};

static void name_object(struct cache_model *model, uint32_t action, uint64_t number) {
    uint64_t before = model->entry[action], seq = set(model->pair.e, action, number);
    model->entry[action] = number;
    if (before != 0)
        model->unnamed_seq[before - 1] = seq;
}

// An action has an object: as in a put. An object that cannot be declared is there for nothing.
static void put_model(struct cache_model *model, uint32_t action, uint32_t object) {
    struct pair *pair = &model->pair;
    if (!model->is_there[object])
        model->object_seq[object] = set(pair->o, object, 1);
    model->is_there[object] = true;
    if (tuck_lru_depend(pair->e->lru, pair->o->lru, model->object_seq[object], NULL) == 0)
        name_object(model, action, object + 1);
}

// An object goes: no entry may name it then. If that cannot be declared it stays, for nothing.
static void remove_model(struct cache_model *model, uint32_t object) {
    struct pair *pair = &model->pair;
    for (uint32_t action = 0; action < ACTIONS; action++)
        if (model->entry[action] == object + 1)
            name_object(model, action, 0);
    if (!model->is_there[object] ||
        tuck_lru_depend(pair->o->lru, pair->e->lru, model->unnamed_seq[object], NULL) != 0)
        return;
    model->object_seq[object] = set(pair->o, object, 0);
    model->is_there[object] = false;
}

static void *flush_now_and_then(void *arg) {
    struct cache_model *model = arg;
    struct unit_random random = {1};
    while (!__atomic_load_n(&model->is_over, __ATOMIC_ACQUIRE)) {
        struct fake *fake = unit_random_below(&random, 2) ? model->pair.e : model->pair.o;
        struct tuck_lru_stats stats = stats_of(fake);
        if (unit_random_below(&random, 3) == 0)
            (void)!tuck_lru_trim(fake->lru, NULL);
        else if (stats.dirty > 0)
            (void)!tuck_lru_flush(fake->lru, stats.flushed + unit_random_below(&random, 10), NULL);
        (void)sched_yield();
    }
    return NULL;
}

// A crash after any write leaves the writes before it. Within one call they may be in any order: there are only entries
// in it, or only objects, so that no order makes a difference to what is looked for.
static void check_every_prefix(void) {
    uint64_t entry[ACTIONS] = {0}, object[OBJECTS] = {0};
    size_t count;
    const struct write *write = writes(&count);
    for (size_t i = 0; i < count; i++) {
        if (write[i].status != 0)
            continue;
        if (write[i].name == 'e')
            entry[write[i].key] = write[i].number;
        else
            object[write[i].key] = write[i].number;
        for (uint32_t action = 0; action < ACTIONS; action++)
            if (entry[action] != 0 && object[entry[action] - 1] == 0)
                fail_msg("after write %zu entry %u names the absent object %u", i, action,
                         (unsigned)entry[action] - 1);
    }
}

static void crash_everywhere(struct unit_random *random, unsigned trouble, bool has_thread) {
    static struct cache_model model;
    pthread_t thread;
    model = (struct cache_model){0};
    pair_init(&model.pair, 4);
    if (has_thread)
        assert_int_equal(pthread_create(&thread, NULL, flush_now_and_then, &model), 0);
    for (int step = 0; step < 400; step++) {
        struct fake *fake = unit_random_below(random, 2) ? model.pair.e : model.pair.o;
        uint32_t object = (uint32_t)unit_random_below(random, OBJECTS);
        size_t choice = unit_random_below(random, 10);
        if (choice < 5)
            put_model(&model, (uint32_t)unit_random_below(random, ACTIONS), object);
        else if (choice < 7)
            remove_model(&model, object);
        else if (choice == 7)
            (void)!tuck_lru_trim(fake->lru, NULL);
        else if (choice == 8)
            (void)!tuck_lru_flush(fake->lru, unit_random_below(random, 600), NULL);
        else
            set_flush_status(fake, object, unit_random_below(random, 100) < trouble ? TUCK_EIO : 0);
    }
    __atomic_store_n(&model.is_over, true, __ATOMIC_RELEASE);
    if (has_thread)
        assert_int_equal(pthread_join(thread, NULL), 0);
    for (uint32_t key = 0; key < OBJECTS; key++) {
        set_flush_status(model.pair.e, key, 0);
        set_flush_status(model.pair.o, key, 0);
    }
    flush_all(model.pair.e);
    flush_all(model.pair.o);
    check_every_prefix();
    for (uint32_t action = 0; action < ACTIONS; action++) // and nothing was lost
        assert_int_equal(model.pair.e->stored[action], model.entry[action]);
    for (uint32_t object = 0; object < OBJECTS; object++)
        assert_int_equal(model.pair.o->stored[object], model.is_there[object]);
    world_fini(&model.pair.world);
    (void)written();
}

static void a_crash_after_any_write_leaves_no_entry_that_names_an_absent_object(void **state) {
    (void)state;
    struct unit_random random = unit_random_of(__func__);
    for (int round = 0; round < 60; round++)
        crash_everywhere(&random, round % 3 * 40U, false);
}

static void nor_does_one_while_another_thread_flushes_and_evicts(void **state) {
    (void)state;
    struct unit_random random = unit_random_of(__func__);
    for (int round = 0; round < 20; round++)
        crash_everywhere(&random, round % 3 * 40U, true);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(objects_are_written_before_their_entries_whichever_way_those_are_written),
    cmocka_unit_test(evicting_an_entry_writes_the_objects_that_it_needs_and_no_others),
    cmocka_unit_test(changes_of_one_value_wait_for_the_most_that_any_of_them_needs),
    cmocka_unit_test(a_number_beyond_the_last_change_means_the_last_one),
    cmocka_unit_test(a_chain_of_dependencies_is_followed_as_far_as_it_is_needed),
    cmocka_unit_test(two_dependencies_of_one_cache_are_both_kept),
    cmocka_unit_test(what_cannot_be_declared_is_refused),
    cmocka_unit_test(both_directions_in_turn_are_both_kept),
    cmocka_unit_test(a_value_that_others_wait_for_may_be_changed_again),
    cmocka_unit_test(a_circle_that_only_later_changes_would_close_is_foreseen),
    cmocka_unit_test(a_ring_of_three_is_resolved),
    cmocka_unit_test(declaring_what_is_done_with_writes_nothing),
    cmocka_unit_test(an_entry_stays_when_its_object_cannot_be_written),
    cmocka_unit_test(what_fails_holds_back_only_what_depends_on_it),
    cmocka_unit_test(a_circle_that_cannot_be_resolved_now_is_not_declared),
    cmocka_unit_test(a_flush_ends_though_what_it_writes_is_changed_with_ever_new_needs),
    cmocka_unit_test(entries_wait_for_a_flush_of_objects_that_another_thread_has_begun),
    cmocka_unit_test(a_crash_after_any_write_leaves_no_entry_that_names_an_absent_object),
    cmocka_unit_test(nor_does_one_while_another_thread_flushes_and_evicts),
};

UNIT_MAIN(tests)

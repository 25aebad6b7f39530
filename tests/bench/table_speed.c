// SPDX-License-Identifier: MIT
/*
 * table_speed: what the operations of an expiring table cost, without any helper around it.
 *
 *     table_speed [ITEMS [ROUNDS]]
 *
 * Each round has a new table, and in it ITEMS items of 32 bytes of key and of value, sliding, with a
 * random span each: each operation takes all of them in a random order of its own. One JSON object
 * goes to stdout: for each operation the nanoseconds of CPU time of one, a number per round. `clock`
 * is one look at the clock, which no operation can do without.
 */
#include "lib/base/clock.h"
#include "lib/base/id.h"
#include "lib/table/table.h"

#define MAX_ROUNDS 99
#define SPAN_NS    (3600 * TUCK_NS_PER_S) // no item expires before the clock is moved

enum operation { CLOCK, ADD, GET, PEEK, EXTEND, EXPIRE, DELETE, OPERATIONS };

static const char *const names[OPERATIONS] = {"clock",  "add",    "get",   "peek",
                                              "extend", "expire", "delete"};
static double seen[OPERATIONS][MAX_ROUNDS];
static uint64_t state = 1;

static uint64_t next_random(void) {
    uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static void shuffle(struct tuck_action_id *keys, size_t count) {
    for (size_t i = count; i > 1; i--) {
        size_t other = next_random() % i;
        struct tuck_action_id key = keys[i - 1];
        keys[i - 1] = keys[other];
        keys[other] = key;
    }
}

static uint64_t random_span(void) {
    return SPAN_NS + next_random() % SPAN_NS;
}

static void perform(enum operation operation, struct tuck_table *table,
                    const struct tuck_action_id *keys, size_t count) {
    struct tuck_output_id value = {{0}};
    size_t failed = 0, left = count;
    if (operation == EXPIRE)
        tuck_clock_shift_mono(3 * SPAN_NS);
    for (size_t i = 0; i < count; i++) {
        switch (operation) {
        case CLOCK:
            failed += tuck_clock_mono_ns() == 0;
            break;
        case ADD:
            failed += tuck_table_add(table, &keys[i], &value, random_span(), TUCK_TABLE_SLIDING,
                                     NULL) != 0;
            break;
        case GET:
            failed += tuck_table_get(table, &keys[i], &value) != 0;
            break;
        case PEEK:
            failed += tuck_table_peek(table, &keys[i], &value) != 0;
            break;
        case EXTEND:
            failed += tuck_table_extend(table, &keys[i], random_span()) != 0;
            break;
        case EXPIRE:
            if (i % 64 == 0)
                left -= tuck_table_sweep(table, 64);
            break;
        default:
            failed += tuck_table_delete(table, &keys[i], &value) != 0;
        }
    }
    tuck_verify(failed == 0 && (operation != EXPIRE || left == 0));
}

static double cpu_ns(void) {
    struct timespec now;
    tuck_verify(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) == 0);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void measure(enum operation operation, unsigned round, struct tuck_table *table,
                    struct tuck_action_id *keys, size_t count) {
    shuffle(keys, count);
    double begin_ns = cpu_ns();
    perform(operation, table, keys, count);
    seen[operation][round] = (cpu_ns() - begin_ns) / (double)count;
}

static void run_round(unsigned round, struct tuck_action_id *keys, size_t count) {
    struct tuck_table_options options = {
        .key_bytes = sizeof(*keys), .value_bytes = TUCK_ID_BYTES, .limit = count};
    struct tuck_table *table = NULL;
    tuck_verify(tuck_table_new(&options, &table, NULL) == 0);
    for (enum operation operation = CLOCK; operation <= EXPIRE; operation++)
        measure(operation, round, table, keys, count);
    perform(ADD, table, keys, count); // what is to be deleted
    measure(DELETE, round, table, keys, count);
    tuck_table_free(table);
}

int main(int argc, char **argv) {
    size_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : 100000;
    unsigned rounds = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 9;
    struct tuck_action_id *keys = calloc(count ? count : 1, sizeof(*keys));
    if (!keys || count == 0 || rounds == 0 || rounds > MAX_ROUNDS) {
        fprintf(stderr, "usage: table_speed [ITEMS [ROUNDS, up to %d]]\n", MAX_ROUNDS);
        free(keys);
        return 2;
    }
    for (size_t i = 0; i < count; i++)
        for (size_t at = 0; at < sizeof(keys[i]); at += sizeof(uint64_t))
            memcpy(keys[i].bytes + at, &(uint64_t){next_random()}, sizeof(uint64_t));
    for (unsigned round = 0; round < rounds; round++)
        run_round(round, keys, count);
    free(keys);
    printf("{\"items\": %zu, \"ns\": {", count);
    for (size_t i = 0; i < OPERATIONS; i++) {
        printf("%s\"%s\": [", i ? ", " : "", names[i]);
        for (unsigned round = 0; round < rounds; round++)
            printf("%s%.1f", round ? ", " : "", seen[i][round]);
        printf("]");
    }
    printf("}}\n");
    return 0;
}

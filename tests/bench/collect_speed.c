// SPDX-License-Identifier: MIT
/*
 * collect_speed: what collection and scrub cost, without any helper around them.
 *
 *     collect_speed pick DIR ENTRIES ROUNDS
 *         CPU time of picking a tenth of ENTRIES, until their list stands; and of a whole dry run of
 *         `tuck gc`, with the walk for objects that others name and the look for orphans. The entries
 *         name an object each, which are not there: nobody looks at them.
 *     collect_speed beside DIR ENTRIES ROUNDS
 *         Gets while the collector works in the same process, as it does in a helper, and as many
 *         without, and as many beside a thread that only computes, for what a second busy processor
 *         costs: among ENTRIES young entries that it walks over, it removes GONE old objects a round.
 *         The get is the library's, without the pipe, so that nothing hides what it waits for.
 *     collect_speed scrub DIR MIB ROUNDS
 *         `tuck verify` over MIB of objects that lie in memory; the same files read and hashed by
 *         OpenSSL in the simplest way; and as many bytes hashed without any file.
 *
 * DIR is new and is left behind. One JSON object goes to stdout: for each figure a number per round.
 */
#include "lib/base/clock.h"
#include "lib/base/digest.h"
#include "lib/base/io.h"

#include "lib/cache/collect.c" // for its steps one by one

#include <fcntl.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define MAX_ROUNDS 99U
#define MAX_GETS   4000000U // in one phase
#define BLOCK      4096U
#define GOT        20000U // objects that are asked for
#define GONE       4000U  // objects that a round removes
#define WARM_UP    5000U
#define IO_SIZE    (1U << 18)

static uint64_t state = 1;
static uint8_t buffer[16U << 20];

static uint64_t next_random(void) {
    uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static void fill_randomly(void *data, size_t len) {
    for (size_t at = 0; at < len; at += sizeof(uint64_t)) {
        uint64_t word = next_random();
        memcpy((uint8_t *)data + at, &word, len - at < sizeof(word) ? len - at : sizeof(word));
    }
}

// --- Figures -------------------------------------------------------------------------------------

static struct series {
    const char *name;
    double value[MAX_ROUNDS];
    size_t count;
} series[24];

static void note(const char *name, double value) {
    struct series *at = series;
    while (at->name && strcmp(at->name, name) != 0)
        at++;
    tuck_verify(at < series + TUCK_ARRAY_LEN(series) && at->count < MAX_ROUNDS);
    at->name = name;
    at->value[at->count++] = value;
}

static void print_series(void) {
    printf("{");
    for (size_t i = 0; i < TUCK_ARRAY_LEN(series) && series[i].name; i++) {
        printf("%s\"%s\": [", i ? ", " : "", series[i].name);
        for (size_t k = 0; k < series[i].count; k++)
            printf("%s%.3f", k ? ", " : "", series[i].value[k]);
        printf("]");
    }
    printf("}\n");
}

static double seconds(clockid_t clock) {
    struct timespec now;
    tuck_verify(clock_gettime(clock, &now) == 0);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

// --- Caches --------------------------------------------------------------------------------------

static char root[4000];

static struct tuck_cache *open_cache(struct tuck_bound bound, bool must_exist) {
    const char *const drives[] = {root};
    struct tuck_cache_options options = {
        .drives = drives,
        .drive_count = 1,
        .durability = TUCK_LAZY,
        .bound = bound,
        .must_exist = must_exist,
    };
    struct tuck_cache *cache = NULL;
    tuck_verify(tuck_cache_open(&options, &cache, NULL) == 0);
    return cache;
}

static const struct tuck_bound unbounded = {
    .quota = {.bytes = UINT64_C(1) << 50}, .low = 99, .high = 100, .keep_s = DAY_S};

static void close_cache(struct tuck_cache *cache) {
    tuck_cache_end(cache);
    tuck_cache_close(cache);
}

static struct tuck_action_id put(struct tuck_cache *cache, size_t size) {
    struct tuck_action_id action;
    struct tuck_output_id output;
    struct tuck_put *put = NULL;
    struct tuck_hit hit;
    struct tuck_digest digest;
    fill_randomly(action.bytes, sizeof(action.bytes));
    fill_randomly(buffer, size < 64 ? size : 64); // the rest stays: only the hash must be new
    tuck_digest_init(&digest);
    tuck_digest_add(&digest, buffer, size);
    tuck_digest_end(&digest, &output);
    tuck_verify(tuck_put_begin(cache, &action, &output, size, &put, NULL) == 0);
    for (size_t at = 0; at < size; at += IO_SIZE)
        tuck_put_write(put, buffer + at, size - at < IO_SIZE ? size - at : IO_SIZE);
    tuck_verify(tuck_put_commit(&put, &hit, NULL) == 0);
    return action;
}

// Entries whose objects are not there, last used up to span_s before a time `ago_s` ago.
static void record_entries(struct tuck_index *index, size_t count, uint64_t ago_s,
                           uint64_t span_s) {
    for (size_t i = 0; i < count; i++) {
        uint64_t used_s = tuck_clock_wall_ns() / TUCK_NS_PER_S - ago_s - next_random() % span_s;
        struct tuck_entry entry = {.size = BLOCK,
                                   .put_ns = used_s * TUCK_NS_PER_S,
                                   .access_s = (uint32_t)used_s,
                                   .hits = (uint16_t)(next_random() % 100)};
        struct tuck_action_id action;
        fill_randomly(action.bytes, sizeof(action.bytes));
        fill_randomly(entry.output.bytes, sizeof(entry.output.bytes));
        size_t dirty = tuck_index_record(index, &action, &entry);
        tuck_verify(dirty > 0);
        if (dirty >= TUCK_INDEX_DIRTY_MAX / 2 || i + 1 == count)
            tuck_verify(tuck_index_flush(index, TUCK_NS_PER_S, NULL) == 0);
    }
}

static struct tuck_collected collect_at_once(bool is_dry_run, uint64_t max_bytes) {
    struct tuck_cache *cache = open_cache(unbounded, true);
    struct tuck_collect how = {.max_bytes = max_bytes, .is_dry_run = is_dry_run};
    struct tuck_collected done;
    tuck_verify(tuck_cache_collect(cache, &how, &done, NULL) == 0);
    close_cache(cache);
    return done;
}

// --- pick ----------------------------------------------------------------------------------------

static void claim_space(void *arg, struct tuck_index_sums *sums) {
    const size_t *entries = arg;
    sums->counters.value[TUCK_COUNT_stored_objects] += *entries;
    sums->counters.value[TUCK_COUNT_stored_bytes] += *entries * tuck_object_space_of(BLOCK);
}

// The first step of a collection alone.
static void pick_once(size_t entries) {
    struct tuck_cache *cache = open_cache(unbounded, true);
    struct tuck_collected done = {0};
    int turn = -1;
    struct collection collection = {
        .cache = cache,
        .bay = &cache->bays.bay[0],
        .parts = bay_parts(&cache->bays.bay[0]),
        .victims_max = COMMAND_VICTIMS,
        .done = &done,
        .now_s = (uint32_t)(tuck_clock_wall_ns() / TUCK_NS_PER_S),
        .min_age_s = DAY_S,
        .want_bytes = entries / 10 * tuck_object_space_of(BLOCK),
    };
    collection.rule = (struct tuck_score_rule){.now_ns = collection.now_s * TUCK_NS_PER_S,
                                               .save_bytes = collection.want_bytes,
                                               .max_hits = TUCK_SCORE_MAX_HITS};
    tuck_verify(begin(&collection, &turn) == 0);
    double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    tuck_verify(pick(&collection) == 0);
    note("pick_cpu_s", seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu);
    // A few more, for which no space was counted: see is_first().
    tuck_verify(collection.victim_count >= entries / 10 &&
                collection.victim_count <= entries / 10 + entries / 50);
    forget_victims(&collection);
    tuck_leases_close(collection.leases);
    tuck_outputs__fini(&collection.actions);
    tuck_outputs__fini(&collection.outputs);
    free(collection.counted);
    tuck_close_fd(&turn);
    close_cache(cache);
}

static void run_pick(size_t entries, unsigned rounds) {
    struct tuck_cache *cache = open_cache(unbounded, false);
    record_entries(bay_parts(&cache->bays.bay[0])->index, entries, 2 * DAY_S, 30 * DAY_S);
    close_cache(cache);
    uint64_t used = collect_at_once(false, UINT64_MAX).used_after; // it counts, too
    cache = open_cache(unbounded, true);
    tuck_verify(
        tuck_index_change_sums(bay_parts(&cache->bays.bay[0])->index, claim_space, &entries) == 0);
    close_cache(cache);
    uint64_t most = used + (entries - entries / 10) * tuck_object_space_of(BLOCK);
    for (unsigned round = 0; round < rounds; round++) {
        pick_once(entries);
        double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
        struct tuck_collected done = collect_at_once(true, most);
        note("dry_run_cpu_s", seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu);
        tuck_verify(done.entries >= entries / 10 && done.entries <= entries / 10 + entries / 50);
    }
}

// --- beside --------------------------------------------------------------------------------------

static struct tuck_action_id asked[GOT];
static uint64_t *latencies;

struct collector {
    struct tuck_cache *cache;
    bool is_done; /* atomic */
};

static void *collect_beside(void *arg) {
    static const volatile int never;
    struct collector *collector = arg;
    tuck_cache__collect_as_due(collector->cache, &collector->cache->bays.bay[0], &never);
    __atomic_store_n(&collector->is_done, true, __ATOMIC_RELAXED);
    return NULL;
}

static void *compute(void *is_over) {
    while (!__atomic_load_n((bool *)is_over, __ATOMIC_RELAXED))
        continue;
    return NULL;
}

static int compare_numbers(const void *a, const void *b) {
    const uint64_t *left = a, *right = b;
    return *left < *right ? -1 : *left > *right;
}

// How often this thread gave the processor away because it had to wait for something: a lock, a
// drive. Being pushed off by others does not count.
static long waits(void) {
    struct rusage usage;
    tuck_verify(getrusage(RUSAGE_THREAD, &usage) == 0);
    return usage.ru_nvcsw;
}

struct asking {
    size_t count;           // gets
    size_t waited;          // of them, those that had to wait,
    uint64_t waited_max_ns; // and the longest of these
};

// So many gets, or as many as there is time for until the collector is done.
static struct asking ask(struct tuck_cache *cache, size_t count, const bool *is_done) {
    struct asking asking = {.count = 0};
    struct tuck_hit hit;
    for (long before = waits(), after; asking.count < count; before = after) {
        if (is_done && __atomic_load_n(is_done, __ATOMIC_RELAXED))
            break;
        const struct tuck_action_id *action = &asked[next_random() % GOT];
        uint64_t begin_ns = tuck_clock_mono_ns();
        tuck_verify(tuck_cache_get(cache, action, &hit) == 0);
        uint64_t took_ns = tuck_clock_mono_ns() - begin_ns;
        latencies[asking.count++] = took_ns;
        after = waits();
        asking.waited += after > before;
        if (after > before && took_ns > asking.waited_max_ns)
            asking.waited_max_ns = took_ns;
    }
    return asking;
}

static void note_gets(const char *const names[6], const struct asking *asking) {
    size_t count = asking->count;
    qsort(latencies, count, sizeof(*latencies), compare_numbers);
    note(names[0], (double)latencies[count / 2] / 1e3);
    note(names[1], (double)latencies[count * 99 / 100] / 1e3);
    note(names[2], (double)latencies[count * 999 / 1000] / 1e3);
    note(names[3], (double)latencies[count - 1] / 1e3);
    note(names[4], (double)asking->waited);
    note(names[5], (double)asking->waited_max_ns / 1e3);
}

static const char *const alone_names[] = {"alone_p50_us", "alone_p99_us", "alone_p999_us",
                                          "alone_max_us", "alone_waited", "alone_waited_max_us"};
static const char *const busy_names[] = {"busy_p50_us", "busy_p99_us", "busy_p999_us",
                                         "busy_max_us", "busy_waited", "busy_waited_max_us"};
static const char *const beside_names[] = {"beside_p50_us",  "beside_p99_us",
                                           "beside_p999_us", "beside_max_us",
                                           "beside_waited",  "beside_waited_max_us"};

// *gets: how many there were beside the last collection, 0 before the first one, which only warms up.
static void run_round(uint64_t used, size_t *gets) {
    struct tuck_bound bound = unbounded;
    bound.quota.bytes = (used - GONE * tuck_object_space_of(BLOCK)) / 99 * 100;
    struct tuck_cache *cache = open_cache(bound, false);
    struct collector collector = {.cache = cache};
    pthread_t thread;
    (void)ask(cache, WARM_UP, NULL);
    if (*gets > 0) {
        struct asking alone = ask(cache, *gets, NULL);
        note_gets(alone_names, &alone);
        bool is_over = false;
        tuck_verify(pthread_create(&thread, NULL, compute, &is_over) == 0);
        struct asking busy = ask(cache, *gets, NULL);
        __atomic_store_n(&is_over, true, __ATOMIC_RELAXED);
        (void)pthread_join(thread, NULL);
        note_gets(busy_names, &busy);
    }
    double begin = seconds(CLOCK_MONOTONIC);
    tuck_verify(pthread_create(&thread, NULL, collect_beside, &collector) == 0);
    struct asking beside = ask(cache, MAX_GETS, &collector.is_done);
    double took = seconds(CLOCK_MONOTONIC) - begin;
    (void)pthread_join(thread, NULL);
    if (*gets > 0) {
        note("collection_s", took);
        note("gets", (double)beside.count);
        note_gets(beside_names, &beside);
    }
    *gets = beside.count;
    uint64_t evicted = cache->bays.bay[0].counters.value[TUCK_COUNT_evicted];
    tuck_verify(beside.count > 1000 && evicted >= GONE && evicted <= GONE + GONE / 4);
    close_cache(cache);
}

static void run_beside(size_t entries, unsigned rounds) {
    struct tuck_cache *cache = open_cache(unbounded, false);
    for (size_t i = 0; i < (rounds + 2) * (size_t)(GONE + GONE / 4); i++)
        (void)put(cache, BLOCK);
    close_cache(cache);
    tuck_clock_shift((int64_t)(5 * DAY_S * TUCK_NS_PER_S));
    cache = open_cache(unbounded, false);
    for (size_t i = 0; i < GOT; i++)
        asked[i] = put(cache, BLOCK);
    record_entries(bay_parts(&cache->bays.bay[0])->index, entries, 1, 1000);
    close_cache(cache);
    latencies = malloc(MAX_GETS * sizeof(*latencies));
    tuck_verify(latencies);
    size_t gets = 0;
    for (unsigned round = 0; round <= rounds; round++)
        run_round(collect_at_once(false, UINT64_MAX).used_after, &gets);
    free(latencies);
}

// --- scrub ---------------------------------------------------------------------------------------

// Most objects are small, most bytes are in large ones: 256 B to 8 MiB, each size 0.76 times as
// often as its half.
static size_t draw_size(void) {
    size_t size = 256;
    while (size < (8U << 20) && next_random() % 100 < 76)
        size *= 2;
    return size + next_random() % size;
}

static bool hash_file(void *arg, const struct tuck_object_seen *seen) {
    struct tuck_cache *cache = arg;
    char path[TUCK_OBJECT_PATH_ROOM];
    uint8_t hash[TUCK_ID_BYTES];
    tuck_object_path(bay_parts(&cache->bays.bay[0])->drive, &seen->output, path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    tuck_verify(fd >= 0 && context && EVP_DigestInit_ex(context, EVP_sha256(), NULL));
    ssize_t n;
    while ((n = read(fd, buffer, IO_SIZE)) > 0)
        tuck_verify(EVP_DigestUpdate(context, buffer, (size_t)n));
    tuck_verify(n == 0 && EVP_DigestFinal_ex(context, hash, NULL));
    tuck_verify(memcmp(hash, seen->output.bytes, TUCK_ID_BYTES) == 0);
    EVP_MD_CTX_free(context);
    (void)close(fd);
    return true;
}

static void hash_bytes(uint64_t bytes) {
    uint8_t hash[TUCK_ID_BYTES];
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    tuck_verify(context && EVP_DigestInit_ex(context, EVP_sha256(), NULL));
    for (uint64_t at = 0; at < bytes; at += IO_SIZE)
        tuck_verify(EVP_DigestUpdate(context, buffer, bytes - at < IO_SIZE ? bytes - at : IO_SIZE));
    tuck_verify(EVP_DigestFinal_ex(context, hash, NULL));
    EVP_MD_CTX_free(context);
}

static void run_scrub(size_t mib, unsigned rounds) {
    struct tuck_cache *cache = open_cache(unbounded, false);
    uint64_t bytes = 0;
    while (bytes < (uint64_t)mib << 20) {
        size_t size = draw_size();
        (void)put(cache, size);
        bytes += size;
    }
    close_cache(cache);
    sync(); // nothing is written beside what is timed
    cache = open_cache(unbounded, true);
    for (unsigned round = 0; round <= rounds; round++) { // the first one only warms up
        struct tuck_scrub how = {.part = 1, .parts = 1};
        struct tuck_scrubbed done;
        double at[4] = {seconds(CLOCK_MONOTONIC)};
        tuck_verify(tuck_cache_scrub(cache, &how, &done, NULL) == 0);
        tuck_verify(done.bytes == bytes && done.damaged + done.unreadable + done.orphans == 0);
        at[1] = seconds(CLOCK_MONOTONIC);
        tuck_verify(tuck_object_walk(bay_parts(&cache->bays.bay[0])->drive, 0, 255, hash_file,
                                     cache, NULL) == 0);
        at[2] = seconds(CLOCK_MONOTONIC);
        hash_bytes(bytes);
        at[3] = seconds(CLOCK_MONOTONIC);
        static const char *const names[] = {"scrub_mb_per_s", "files_mb_per_s", "bytes_mb_per_s"};
        for (int i = 0; i < 3 && round > 0; i++)
            note(names[i], (double)bytes / 1e6 / (at[i + 1] - at[i]));
        if (round == 0)
            note("objects", (double)done.objects);
    }
    close_cache(cache);
}

int main(int argc, char **argv) {
    const char *what = argc == 5 ? argv[1] : "";
    size_t size = argc == 5 ? strtoull(argv[3], NULL, 10) : 0;
    unsigned rounds = argc == 5 ? (unsigned)strtoul(argv[4], NULL, 10) : 0;
    void (*run)(size_t, unsigned) = strcmp(what, "pick") == 0     ? run_pick
                                    : strcmp(what, "beside") == 0 ? run_beside
                                    : strcmp(what, "scrub") == 0  ? run_scrub
                                                                  : NULL;
    if (!run || size == 0 || rounds == 0 || rounds >= MAX_ROUNDS || argv[2][0] != '/' ||
        snprintf(root, sizeof(root), "%s", argv[2]) >= (int)sizeof(root) || mkdir(root, 0700) < 0) {
        fprintf(stderr, "usage: collect_speed pick|beside|scrub DIR ENTRIES|MIB ROUNDS\n"
                        "DIR is absolute and new\n");
        return 2;
    }
    run(size, rounds);
    print_series();
    return 0;
}

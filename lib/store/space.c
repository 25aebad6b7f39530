// SPDX-License-Identifier: MIT
#include "lib/store/space.h"

#include <errno.h>
#include <math.h>
#include <sys/statvfs.h>

// --- How much ------------------------------------------------------------------------------------

static uint64_t times(uint64_t a, uint64_t b) {
    uint64_t product;
    return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

static uint64_t plus(uint64_t a, uint64_t b) {
    uint64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

static uint64_t minus(uint64_t a, uint64_t b) {
    return a > b ? a - b : 0;
}

static uint64_t smaller(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

// amount * percent / 100, rounded down, without the product in between that may not fit.
static uint64_t share(uint64_t amount, unsigned percent) {
    return plus(times(amount / 100, percent), amount % 100 * percent / 100);
}

int tuck_space_read(int fd, struct tuck_space *ret_space, struct tuck_error *err) {
    struct statvfs found;
    int status;
    do
        status = fstatvfs(fd, &found);
    while (status < 0 && errno == EINTR);
    if (status < 0)
        return tuck_fail_os(err, errno, "ask how much space there is on a drive");
    uint64_t block = found.f_frsize ? found.f_frsize : found.f_bsize;
    uint64_t kept_back = minus(found.f_bfree, found.f_bavail);
    uint64_t files_kept_back = minus(found.f_ffree, found.f_favail);
    *ret_space = (struct tuck_space){
        .total = times(minus(found.f_blocks, kept_back), block),
        .free = times(found.f_bavail, block),
        .files = minus(found.f_files, files_kept_back),
        .files_free = found.f_files ? found.f_favail : 0,
    };
    return 0;
}

uint64_t tuck_space_limit(const struct tuck_quota *quota, uint64_t total) {
    uint64_t limit = quota->bytes ? quota->bytes : UINT64_MAX;
    return quota->percent ? smaller(limit, share(total, quota->percent)) : limit;
}

uint64_t tuck_space_to_clear(uint64_t limit, uint64_t used, unsigned low, unsigned high) {
    if (used < share(limit, high))
        return 0;
    return smaller(limit, minus(used, share(limit, low)));
}

uint64_t tuck_space_below_mark(uint64_t limit, uint64_t used, unsigned low) {
    return minus(share(limit, low), used);
}

uint64_t tuck_space_below_floor(uint64_t total, uint64_t free, const struct tuck_quota *floor) {
    if (!floor->bytes && !floor->percent)
        return 0;
    return smaller(minus(tuck_space_limit(floor, total), free), minus(total, free));
}

// --- Scores --------------------------------------------------------------------------------------

// part / whole, between 0 and 1; 0 if there is no whole.
static double ratio(uint64_t part, uint64_t whole) {
    return part >= whole ? (whole ? 1 : 0) : (double)part / (double)whole;
}

double tuck_space_score(const struct tuck_score_rule *rule, uint64_t used_ns, uint64_t size,
                        uint64_t hits) {
    double age_s = (double)minus(rule->now_ns, used_ns) / (double)TUCK_NS_PER_S;
    double by_size = ratio(size, rule->save_bytes);
    double by_hits = rule->max_hits ? 1 - ratio(hits, rule->max_hits) : 0;
    return age_s * (1 + 0.25 * by_size + 0.25 * by_hits);
}

// --- Picker --------------------------------------------------------------------------------------

/*
 * A heap with the worst candidate on top, since only that one is ever looked at: a new one has to
 * be better, and it is the first to be dropped. With four below each it has half the levels of one with
 * two, and a candidate's way down is through memory that is not at hand. What is not compared, sizes and
 * payloads, stays in slots of its own. Entries behind `count` are not used but for the number of a
 * free slot.
 */
#define BELOW 4U

struct candidate {
    double score;
    uint64_t number; // in the order of adding
    size_t slot;
};

struct tuck_picker {
    struct candidate *heap;
    uint64_t *sizes; // bytes, by slot
    uint8_t *payloads;
    size_t count, room;
    uint64_t bytes;  // of all in the heap
    uint64_t number; // of the next one
    bool is_sorted;  // worst first, which is a heap as well
    uint64_t target_bytes, target_items;
    size_t payload_bytes, max; /* const after init */
};

int tuck_picker_new(const struct tuck_picker_options *options, struct tuck_picker **ret_picker,
                    struct tuck_error *err) {
    size_t each;
    if (options->payload_bytes == 0 || options->max_candidates == 0 ||
        __builtin_add_overflow(options->payload_bytes, sizeof(struct candidate) + sizeof(uint64_t),
                               &each) ||
        options->max_candidates > SIZE_MAX / each)
        return tuck_fail(err, TUCK_EINVAL, "a picker of %zu candidates of %zu bytes cannot be",
                         options->max_candidates, options->payload_bytes);
    struct tuck_picker *picker = calloc(1, sizeof(*picker));
    if (!picker)
        return tuck_fail(err, TUCK_ENOMEM, "no memory to choose what to evict");
    picker->target_bytes = options->bytes;
    picker->target_items = options->items;
    picker->payload_bytes = options->payload_bytes;
    picker->max = options->max_candidates;
    *ret_picker = picker;
    return 0;
}

void tuck_picker_free(struct tuck_picker *picker) {
    if (!picker)
        return;
    free(picker->heap);
    free(picker->sizes);
    free(picker->payloads);
    free(picker);
}

static bool is_worse(const struct candidate *a, const struct candidate *b) {
    return a->score < b->score || (a->score == b->score && a->number > b->number);
}

static void sift_up(struct candidate *heap, size_t at, struct candidate moved) {
    while (at > 0 && is_worse(&moved, &heap[(at - 1) / BELOW])) {
        heap[at] = heap[(at - 1) / BELOW];
        at = (at - 1) / BELOW;
    }
    heap[at] = moved;
}

static void sift_down(struct candidate *heap, size_t count, struct candidate moved) {
    size_t at = 0;
    for (size_t first; (first = BELOW * at + 1) < count;) {
        size_t end = count - first < BELOW ? count : first + BELOW, worst = first;
        for (size_t child = first + 1; child < end; child++)
            worst = is_worse(&heap[child], &heap[worst]) ? child : worst;
        if (!is_worse(&heap[worst], &moved))
            break;
        heap[at] = heap[worst];
        at = worst;
    }
    heap[at] = moved;
}

static uint64_t worst_bytes(const struct tuck_picker *picker) {
    return picker->sizes[picker->heap[0].slot];
}

static void drop_worst(struct tuck_picker *picker) {
    size_t slot = picker->heap[0].slot;
    picker->bytes -= worst_bytes(picker);
    picker->count--;
    sift_down(picker->heap, picker->count, picker->heap[picker->count]);
    picker->heap[picker->count].slot = slot;
    picker->is_sorted = false;
}

// Whether `items` candidates of together `bytes` are enough.
static bool is_enough(const struct tuck_picker *picker, uint64_t bytes, uint64_t items) {
    return bytes >= picker->target_bytes && items >= picker->target_items;
}

static void trim(struct tuck_picker *picker) {
    while (picker->count > 0 &&
           is_enough(picker, picker->bytes - worst_bytes(picker), picker->count - 1))
        drop_worst(picker);
}

static int grow(struct tuck_picker *picker, struct tuck_error *err) {
    size_t room = picker->room < 32 ? 64 : 2 * picker->room;
    room = room < picker->max ? room : picker->max;
    // Each as soon as there is memory for it; `room` says what all have.
    struct candidate *heap = realloc(picker->heap, room * sizeof(*heap));
    picker->heap = heap ? heap : picker->heap;
    uint64_t *sizes = heap ? realloc(picker->sizes, room * sizeof(*sizes)) : NULL;
    picker->sizes = sizes ? sizes : picker->sizes;
    uint8_t *payloads = sizes ? realloc(picker->payloads, room * picker->payload_bytes) : NULL;
    if (!payloads)
        return tuck_fail(err, TUCK_ENOMEM, "no memory to choose what to evict");
    picker->payloads = payloads;
    for (; picker->room < room; picker->room++)
        heap[picker->room].slot = picker->room;
    return 0;
}

bool tuck_picker_wants(const struct tuck_picker *picker, double score) {
    if (picker->count < picker->max && !is_enough(picker, picker->bytes, picker->count))
        return true;
    return picker->count > 0 && picker->heap[0].score < score; // of equal ones the earlier stays
}

int tuck_picker_add(struct tuck_picker *picker, double score, uint64_t bytes, const void *payload,
                    struct tuck_error *err) {
    struct candidate added = {
        .score = score == score ? score : 0, // no number would compare with nothing
        .number = picker->number++,
    };
    bytes = smaller(bytes, UINT64_MAX / picker->max); // no sum overflows
    uint64_t worst = picker->count > 0 ? worst_bytes(picker) : 0;
    bool is_full = picker->count == picker->max;
    if (!tuck_picker_wants(picker, added.score))
        return TUCK_PICKER_SPARED;
    bool is_replacing =
        picker->count > 0 &&
        (is_full || is_enough(picker, picker->bytes - worst + bytes, picker->count));
    if (!is_replacing && picker->count == picker->room) {
        int status = grow(picker, err);
        if (status < 0)
            return status;
    }
    added.slot = picker->heap[is_replacing ? 0 : picker->count].slot;
    picker->bytes -= is_replacing ? worst : 0;
    picker->bytes += bytes;
    picker->sizes[added.slot] = bytes;
    picker->is_sorted = false;
    memcpy(picker->payloads + added.slot * picker->payload_bytes, payload, picker->payload_bytes);
    if (is_replacing)
        sift_down(picker->heap, picker->count, added);
    else
        sift_up(picker->heap, picker->count++, added);
    trim(picker);
    return 0;
}

static uint64_t moved(uint64_t target, int64_t by) {
    return by < 0 ? minus(target, -(uint64_t)by) : plus(target, (uint64_t)by);
}

bool tuck_picker_adjust(struct tuck_picker *picker, int64_t bytes, int64_t items) {
    picker->target_bytes = moved(picker->target_bytes, bytes);
    picker->target_items = moved(picker->target_items, items);
    trim(picker);
    return picker->target_bytes > 0 || picker->target_items > 0;
}

static int compare(const void *a, const void *b) {
    return is_worse(a, b) ? -1 : is_worse(b, a);
}

bool tuck_picker_take(struct tuck_picker *picker, uint64_t *ret_bytes, void *ret_payload) {
    if (picker->count == 0)
        return false;
    if (!picker->is_sorted)
        qsort(picker->heap, picker->count, sizeof(*picker->heap), compare);
    picker->is_sorted = true;
    size_t slot = picker->heap[--picker->count].slot;
    *ret_bytes = picker->sizes[slot];
    picker->bytes -= *ret_bytes;
    memcpy(ret_payload, picker->payloads + slot * picker->payload_bytes, picker->payload_bytes);
    return true;
}

size_t tuck_picker_count(const struct tuck_picker *picker, uint64_t *ret_bytes) {
    *ret_bytes = picker->bytes;
    return picker->count;
}

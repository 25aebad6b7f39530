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
 * A list in no order, of the best candidates and of those that came since they were looked for. When
 * it is twice as long as the best ones were, they are looked for again, by halving it around one of
 * them: that reads the list from end to end a few times, where a heap goes a way of its own through
 * all of its memory for each candidate. The worst of the best is the bar for those that come next.
 * Payloads stay in slots of their own; entries behind `count` are not used but for the number of a
 * free slot.
 */
#define LEAST_CUT 64U // candidates, before it is worth while

struct candidate {
    double score;
    uint64_t bytes;
    uint64_t number; // in the order of adding
    size_t slot;
};

struct tuck_picker {
    struct candidate *list;
    uint8_t *payloads;
    size_t count, room;
    size_t cut_at;   // the count at which the best are looked for
    uint64_t number; // of the next one
    bool has_bar;    // what is as bad as `bar` is spared
    double bar;
    bool is_cut;    // nothing is in the list that is not needed
    bool is_sorted; // worst first
    uint64_t target_bytes, target_items;
    size_t payload_bytes, max; /* const after init */
};

int tuck_picker_new(const struct tuck_picker_options *options, struct tuck_picker **ret_picker,
                    struct tuck_error *err) {
    size_t each;
    if (options->payload_bytes == 0 || options->max_candidates == 0 ||
        __builtin_add_overflow(options->payload_bytes, sizeof(struct candidate), &each) ||
        options->max_candidates > SIZE_MAX / 2 / each)
        return tuck_fail(err, TUCK_EINVAL, "a picker of %zu candidates of %zu bytes cannot be",
                         options->max_candidates, options->payload_bytes);
    struct tuck_picker *picker = calloc(1, sizeof(*picker));
    if (!picker)
        return tuck_fail(err, TUCK_ENOMEM, "no memory to choose what to evict");
    picker->target_bytes = options->bytes;
    picker->target_items = options->items;
    picker->payload_bytes = options->payload_bytes;
    picker->max = options->max_candidates;
    picker->cut_at = smaller(LEAST_CUT, 2 * picker->max);
    *ret_picker = picker;
    return 0;
}

void tuck_picker_free(struct tuck_picker *picker) {
    if (!picker)
        return;
    free(picker->list);
    free(picker->payloads);
    free(picker);
}

static bool is_worse(const struct candidate *a, const struct candidate *b) {
    return a->score < b->score || (a->score == b->score && a->number > b->number);
}

static void swap(struct candidate *a, struct candidate *b) {
    struct candidate held = *a;
    *a = *b;
    *b = held;
}

// Whether `items` candidates of together `bytes` are all that is wanted, or may be had.
static bool is_enough(const struct tuck_picker *picker, uint64_t bytes, size_t items) {
    return (bytes >= picker->target_bytes && items >= picker->target_items) || items >= picker->max;
}

// Brings those better than one of [from, end) before it and the others behind it. Returns where it is
// then, and in *ret_bytes what those before it come to.
static size_t divide(struct candidate *list, size_t from, size_t end, uint64_t *ret_bytes) {
    struct candidate *middle = &list[from + (end - from) / 2], *last = &list[end - 1];
    if (is_worse(middle, &list[from]))
        swap(middle, &list[from]);
    if (is_worse(last, &list[from]))
        swap(last, &list[from]);
    if (is_worse(middle, last))
        swap(middle, last); // the one in the middle of the three is the last one now
    struct candidate pivot = *last;
    size_t at = from;
    *ret_bytes = 0;
    for (size_t i = from; i < end - 1; i++) {
        if (!is_worse(&pivot, &list[i]))
            continue;
        *ret_bytes = plus(*ret_bytes, list[i].bytes);
        swap(&list[at++], &list[i]);
    }
    swap(&list[at], last);
    return at;
}

// Drops all but the best that are enough.
static void cut(struct tuck_picker *picker) {
    size_t from = 0, end = picker->count; // those before `from` are needed, those from `end` on not
    uint64_t bytes = 0, better;
    picker->has_bar = is_enough(picker, 0, 0);
    picker->bar = HUGE_VAL;
    if (picker->has_bar)
        end = 0;
    while (from < end) {
        size_t at = divide(picker->list, from, end, &better);
        picker->is_sorted = false;
        if (is_enough(picker, plus(bytes, better), at)) {
            end = at;
            continue;
        }
        bytes = plus(plus(bytes, better), picker->list[at].bytes);
        from = at + 1;
        if (is_enough(picker, bytes, from)) {
            picker->has_bar = true;
            picker->bar = picker->list[at].score;
            end = from;
        }
    }
    picker->count = end;
    picker->is_cut = true;
    picker->cut_at = smaller(2 * end > LEAST_CUT ? 2 * end : LEAST_CUT, 2 * picker->max);
}

static int grow(struct tuck_picker *picker, struct tuck_error *err) {
    size_t room = smaller(picker->room < 32 ? 64 : 2 * picker->room, 2 * picker->max);
    // Each as soon as there is memory for it; `room` says what both have.
    struct candidate *list = realloc(picker->list, room * sizeof(*list));
    picker->list = list ? list : picker->list;
    uint8_t *payloads = list ? realloc(picker->payloads, room * picker->payload_bytes) : NULL;
    if (!payloads)
        return tuck_fail(err, TUCK_ENOMEM, "no memory to choose what to evict");
    picker->payloads = payloads;
    for (; picker->room < room; picker->room++)
        list[picker->room].slot = picker->room;
    return 0;
}

bool tuck_picker_wants(const struct tuck_picker *picker, double score) {
    return !picker->has_bar || score > picker->bar; // of equal ones the earlier stays
}

int tuck_picker_add(struct tuck_picker *picker, double score, uint64_t bytes, const void *payload,
                    struct tuck_error *err) {
    if (picker->count == picker->cut_at)
        cut(picker);
    struct candidate added = {
        .score = score == score ? score : 0, // no number would compare with nothing
        .bytes = bytes,
        .number = picker->number++,
    };
    if (!tuck_picker_wants(picker, added.score))
        return TUCK_PICKER_SPARED;
    if (picker->count == picker->room) {
        int status = grow(picker, err);
        if (status < 0)
            return status;
    }
    added.slot = picker->list[picker->count].slot;
    picker->list[picker->count++] = added;
    picker->is_sorted = picker->is_cut = false;
    memcpy(picker->payloads + added.slot * picker->payload_bytes, payload, picker->payload_bytes);
    return 0;
}

static uint64_t moved(uint64_t target, int64_t by) {
    return by < 0 ? minus(target, -(uint64_t)by) : plus(target, (uint64_t)by);
}

bool tuck_picker_adjust(struct tuck_picker *picker, int64_t bytes, int64_t items) {
    picker->target_bytes = moved(picker->target_bytes, bytes);
    picker->target_items = moved(picker->target_items, items);
    cut(picker);
    return picker->target_bytes > 0 || picker->target_items > 0;
}

static int compare(const void *a, const void *b) {
    return is_worse(a, b) ? -1 : is_worse(b, a);
}

bool tuck_picker_take(struct tuck_picker *picker, uint64_t *ret_bytes, void *ret_payload) {
    if (!picker->is_cut)
        cut(picker);
    if (picker->count == 0)
        return false;
    if (!picker->is_sorted)
        qsort(picker->list, picker->count, sizeof(*picker->list), compare);
    picker->is_sorted = true;
    picker->has_bar = false; // there is room for one again
    const struct candidate *best = &picker->list[--picker->count];
    *ret_bytes = best->bytes;
    memcpy(ret_payload, picker->payloads + best->slot * picker->payload_bytes,
           picker->payload_bytes);
    return true;
}

size_t tuck_picker_count(struct tuck_picker *picker, uint64_t *ret_bytes) {
    if (!picker->is_cut)
        cut(picker);
    *ret_bytes = 0;
    for (size_t i = 0; i < picker->count; i++)
        *ret_bytes = plus(*ret_bytes, picker->list[i].bytes);
    return picker->count;
}

// SPDX-License-Identifier: MIT
#include "lib/index/head.h"
#include "lib/base/clock.h"
#include "lib/base/io.h"

#include <errno.h>
#include <fcntl.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/*
 * Page C has two parts with a checksum each. The first is that of the first release, whose helpers
 * may still run beside ours: they read it, add to it and write it, and keep counters that they do not
 * know. The second says how much space is used, which they do not count; `count` tells whether one of
 * them wrote last, and then the space is to be counted anew.
 */
#define COUNTERS_MAGIC UINT64_C(0x31746e636b637574)
#define SPACE_MAGIC    UINT64_C(0x32746e636b637574)
#define COUNTER_ROOM   64U
_Static_assert(TUCK_COUNTER_MAX <= COUNTER_ROOM, "the counters fit their page");

struct counters_part {
    uint64_t magic;
    uint64_t count; // of the counters that whoever wrote last knows
    uint64_t value[COUNTER_ROOM];
    uint64_t check;
};

struct space_part {
    uint64_t magic;
    int64_t base_bytes;
    int64_t base_objects;
    uint32_t is_counted;
    uint32_t collected_s;
    uint32_t swept_s;
    uint32_t sweep_next;
    uint32_t gave_up_s;
    uint32_t counted_s;
    uint64_t reserved[15];
    uint64_t check;
};

struct sums_page {
    struct counters_part counters;
    struct space_part space;
};
_Static_assert(sizeof(struct counters_part) == 536,
               "the first release's page is part of the format");
_Static_assert(sizeof(struct sums_page) <= INDEX_PAGE, "the sums fit their page");

// --- Page S --------------------------------------------------------------------------------------

static uint64_t super_check(const struct super *super) {
    return XXH3_64bits_withSeed(super, offsetof(struct super, check), SUPER_MAGIC);
}

int tuck_index__super_read(int fd, struct super *super) {
    for (int attempt = 0; attempt < 4; attempt++) {
        ssize_t n = tuck_pread_full(fd, super, sizeof(*super), SUPER_AT);
        if (n < 0)
            return (int)n;
        if (n != (ssize_t)sizeof(*super))
            return TUCK_INDEX_ABSENT;
        if (super->magic == SUPER_MAGIC && super->version == 1 &&
            super->lost_count <= TUCK_ARRAY_LEN(super->lost) && super->check == super_check(super))
            return 0;
    }
    return TUCK_INDEX_ABSENT;
}

int tuck_index__super_change(int fd, uint64_t deadline_ns,
                             void (*change)(struct super *super, uint32_t arg), uint32_t arg,
                             struct super *ret_super) {
    struct super super;
    int status = tuck_lock_range(fd, SUPER_AT, INDEX_PAGE, deadline_ns);
    if (status < 0)
        return status;
    status = tuck_index__super_read(fd, &super);
    if (status == 0) {
        change(&super, arg);
        super.check = super_check(&super);
        status = tuck_pwrite_all(fd, &super, sizeof(super), SUPER_AT);
    } else if (status == TUCK_INDEX_ABSENT) {
        status = -EIO;
    }
    tuck_unlock_range(fd, SUPER_AT, INDEX_PAGE);
    if (status == 0)
        *ret_super = super;
    return status;
}

uint32_t tuck_index__now_s(void) {
    return (uint32_t)(tuck_clock_wall_ns() / TUCK_NS_PER_S);
}

static uint32_t later_epoch(uint32_t epoch) {
    uint32_t now = tuck_index__now_s();
    return now > epoch ? now : epoch + 1;
}

void tuck_index__enter_boot(struct super *super, uint32_t boot) {
    if (super->boot == boot)
        return;
    super->epoch = later_epoch(super->epoch);
    super->boot = boot;
    super->unsynced_since_s = 0;
    // What no sync had covered when the machine went down may be anything now.
    if (super->lost_count ==
        TUCK_ARRAY_LEN(super->lost)) { // no room: the two oldest become one wider range
        super->lost[0].last = super->lost[1].last;
        memmove(&super->lost[1], &super->lost[2], sizeof(super->lost) - 2 * sizeof(super->lost[0]));
        super->lost_count--;
    }
    super->lost[super->lost_count++] = (struct epoch_range){super->durable_below, super->epoch - 1};
    super->durable_below = super->epoch;
}

void tuck_index__note_unsynced(struct super *super, uint32_t now_s) {
    if (super->unsynced_since_s == 0)
        super->unsynced_since_s = now_s;
}

void tuck_index__next_epoch(struct super *super, uint32_t unused) {
    (void)unused;
    super->epoch = later_epoch(super->epoch);
    super->unsynced_since_s = 0;
}

void tuck_index__note_durable(struct super *super, uint32_t epoch) {
    if (super->durable_below < epoch && epoch <= super->epoch)
        super->durable_below = epoch;
}

bool tuck_index__super_trusts(const struct super *super, uint32_t epoch) {
    bool trusts = epoch != 0 && epoch < super->durable_below;
    for (unsigned i = 0; trusts && i < super->lost_count; i++)
        trusts = epoch < super->lost[i].first || epoch > super->lost[i].last;
    return trusts;
}

uint32_t tuck_index__boot_tag(void) {
    char id[64];
    TUCK_CLEANUP(tuck_close_fd)
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? 0 : read(fd, id, sizeof(id));
    uint32_t tag = 0;
    if (len > 0)
        tag = (uint32_t)XXH3_64bits(id, (size_t)len);
    else
        tuck_random(&tag, sizeof(tag)); // no boot can be recognised: each run verifies for itself
    return tag ? tag : 1;
}

// --- Page C --------------------------------------------------------------------------------------

static uint64_t counters_check(const struct counters_part *part) {
    return XXH3_64bits_withSeed(part, offsetof(struct counters_part, check), COUNTERS_MAGIC);
}

static uint64_t space_check(const struct space_part *part) {
    return XXH3_64bits_withSeed(part, offsetof(struct space_part, check), SPACE_MAGIC);
}

static bool has_space_part(const struct sums_page *page) {
    return page->space.magic == SPACE_MAGIC && page->space.check == space_check(&page->space);
}

// False if the counters are damaged: what was counted against them is of no use without them.
static bool take_sums(const struct sums_page *page, struct tuck_index_sums *ret_sums) {
    *ret_sums = (struct tuck_index_sums){0};
    if (page->counters.magic != COUNTERS_MAGIC ||
        page->counters.check != counters_check(&page->counters))
        return false;
    memcpy(ret_sums->counters.value, page->counters.value, sizeof(ret_sums->counters.value));
    if (!has_space_part(page))
        return true;
    ret_sums->base_bytes = page->space.base_bytes;
    ret_sums->base_objects = page->space.base_objects;
    ret_sums->is_counted =
        page->space.is_counted != 0 && page->counters.count > TUCK_COUNT_removed_objects;
    ret_sums->collected_s = page->space.collected_s;
    ret_sums->gave_up_s = page->space.gave_up_s;
    ret_sums->counted_s = page->space.counted_s;
    ret_sums->swept_s = page->space.swept_s;
    ret_sums->sweep_next = page->space.sweep_next;
    return true;
}

int tuck_index__sums_read(int fd, struct tuck_index_sums *ret_sums) {
    struct sums_page page;
    ssize_t n = 0;
    *ret_sums = (struct tuck_index_sums){0}; // damaged: the sums begin at zero
    // It may be read in the middle of a write: what is missing is looked for again.
    for (int attempt = 0; attempt < 4; attempt++) {
        n = tuck_pread_full(fd, &page, sizeof(page), SUMS_AT);
        if (n == (ssize_t)sizeof(page) && take_sums(&page, ret_sums) && has_space_part(&page))
            break;
    }
    return n < 0 ? (int)n : 0;
}

static struct sums_page page_of(const struct tuck_index_sums *sums) {
    struct sums_page page = {
        .counters = {.magic = COUNTERS_MAGIC, .count = TUCK_COUNTER_MAX},
        .space =
            {
                .magic = SPACE_MAGIC,
                .base_bytes = sums->base_bytes,
                .base_objects = sums->base_objects,
                .is_counted = sums->is_counted,
                .collected_s = sums->collected_s,
                .gave_up_s = sums->gave_up_s,
                .counted_s = sums->counted_s,
                .swept_s = sums->swept_s,
                .sweep_next = sums->sweep_next,
            },
    };
    memcpy(page.counters.value, sums->counters.value, sizeof(sums->counters.value));
    page.counters.check = counters_check(&page.counters);
    page.space.check = space_check(&page.space);
    return page;
}

int tuck_index__sums_change(int fd, void (*change)(void *arg, struct tuck_index_sums *sums),
                            void *arg) {
    struct tuck_index_sums sums;
    int status = tuck_index__sums_read(fd, &sums);
    if (status < 0)
        return status;
    change(arg, &sums);
    struct sums_page page = page_of(&sums);
    return tuck_pwrite_all(fd, &page, sizeof(page), SUMS_AT);
}

// --- Both ----------------------------------------------------------------------------------------

void tuck_index__head_new(const struct tuck_index_sums *sums,
                          uint8_t ret_pages[static 2 * INDEX_PAGE]) {
    static const struct tuck_index_sums none; // not counted: objects may be there already
    struct super super = {.magic = SUPER_MAGIC, .version = 1, .epoch = tuck_index__now_s()};
    super.durable_below = super.epoch;
    tuck_random(&super.seed, sizeof(super.seed));
    super.check = super_check(&super);
    struct sums_page page = page_of(sums ? sums : &none);
    memset(ret_pages, 0, 2 * INDEX_PAGE);
    memcpy(ret_pages, &super, sizeof(super));
    memcpy(ret_pages + INDEX_PAGE, &page, sizeof(page));
}

// SPDX-License-Identifier: MIT
#include "lib/index/index.h"
#include "lib/base/clock.h"
#include "lib/base/io.h"
#include "lib/base/thread.h"
#include "lib/index/dirty.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/*
 * The file: page S (super), page C (counters), then the tree's pages 0, 1, 2, … of 4 KiB.
 *
 * Linear hashing without a directory. h is the hash of an action. A page n of depth d holds the
 * entries whose lowest d bits of h are n. When it is full it splits: entries with bit d set move to
 * page n + 2^d, both get depth d + 1. So the page that governs h is found from any guess d: look at
 * page h mod 2^d, and if it is
 *   absent: its highest bit was never split off; clear that bit and look there,
 *   deeper than d: the lowest set bit of h between d and its depth names the page that took h over,
 *   anything else: that is it.
 * All pages have one of two depths nearly always, so the first guess is mostly right.
 *
 * A split writes the new page as FORMING, then the old one with its new depth, then the new one as
 * LIVE. A page that is not LIVE, or was last written before the machine's last boot, counts only if
 * the depth of the page it was split from shows that the split was made.
 */

#define PAGE        4096U
#define SUPER_AT    0U
#define COUNTERS_AT ((uint64_t)PAGE)
#define TREE_AT     ((uint64_t)2 * PAGE)
#define DEPTH_MAX   26U
#define SLOTS       38U
#define SYNC_AGE_S  60U

#define SUPER_MAGIC    UINT64_C(0x31787869746b6375) // also tells the byte order
#define COUNTERS_MAGIC UINT64_C(0x31746e636b637574)
#define SPOOL_MAGIC    UINT64_C(0x316c6f707374756b)
#define PAGE_MAGIC     0x67707574U

struct epoch_range {
    uint32_t first, last;
};

// Epochs are numbers that grow, at least as large as the time in seconds. Each entry carries the
// one in which its object was last known good. `durable_below`: a sync that began later has
// completed. `lost`: the machine went down with epochs that no sync had covered; they never become
// durable, their objects are looked at once more.
struct super {
    uint64_t magic;
    uint64_t
        seed; // of all checksums and of h: nobody can aim at one page, and foreign pages do not fit
    uint32_t version;
    uint32_t epoch;
    uint32_t boot; // tag of the boot in which this epoch began
    uint32_t durable_below;
    uint32_t unsynced_since_s; // 0: nothing was put in this epoch
    uint32_t lost_count;
    struct epoch_range lost[16];
    uint64_t check;
};

struct counters_page {
    uint64_t magic;
    uint64_t count;
    uint64_t value[64];
    uint64_t check;
};

struct record {
    uint8_t action[TUCK_ID_BYTES];
    uint8_t output[TUCK_ID_BYTES];
    uint64_t size;
    uint64_t put_ns;
    uint32_t access_s;
    uint32_t epoch;
    uint32_t boot;
    uint32_t file_tag;
    uint16_t hits;
    uint16_t flags;
    uint32_t check;
};
#define RECORD_SYNCED 1U
_Static_assert(sizeof(struct record) == 104, "the record's size is part of the format");

enum page_state { PAGE_LIVE = 1, PAGE_FORMING = 2 };

struct page {
    uint32_t magic;
    uint8_t depth;
    uint8_t state;
    uint16_t count;
    uint64_t number;
    uint32_t boot; // tag of the boot of the machine in which it was last written
    uint8_t reserved[36];
    uint64_t check; // of the fields above
    struct record slot[SLOTS];
    uint8_t tail[PAGE - 64 - SLOTS * sizeof(struct record)];
};
_Static_assert(sizeof(struct page) == PAGE, "a page is one block");

struct tuck_index {
    int dirfd;     /* const after init */
    int fd;        /* the number is const; tuck_index_flush() may put another file behind it */
    uint32_t boot; /* const after init */
    struct tuck_event_sink *sink;
    bool is_syncing;     /* owned by the flushing thread: a split must be durable in its order */
    uint64_t seed;       /* atomic */
    unsigned depth_hint; /* atomic: the depth where the last page was found */
    size_t dirty_count;  /* atomic: of both tables, so that a run without puts takes no lock */

    struct tuck_mutex lock;
    /* guarded by lock */
    struct super super;          // as last read
    struct dirty_table dirty;    // waiting
    struct dirty_table flushing; // being written by tuck_index_flush()
    char (*spools)[25];          // files taken in at open, removed after the next flush
    size_t spool_count;
};

// --- Checksums -----------------------------------------------------------------------------------

static uint64_t seed_of(struct tuck_index *index) {
    return __atomic_load_n(&index->seed, __ATOMIC_RELAXED);
}

static uint64_t hash_of(struct tuck_index *index, const uint8_t *action) {
    return XXH3_64bits_withSeed(action, TUCK_ID_BYTES, seed_of(index));
}

static uint32_t record_check(struct tuck_index *index, const struct record *record) {
    return (uint32_t)XXH3_64bits_withSeed(record, offsetof(struct record, check), ~seed_of(index));
}

static uint64_t page_check(struct tuck_index *index, const struct page *page) {
    return XXH3_64bits_withSeed(page, offsetof(struct page, check), seed_of(index) + 1);
}

static uint64_t super_check(const struct super *super) {
    return XXH3_64bits_withSeed(super, offsetof(struct super, check), SUPER_MAGIC);
}

// --- Records -------------------------------------------------------------------------------------

static struct record record_of(struct tuck_index *index, const struct tuck_action_id *action,
                               const struct tuck_entry *entry) {
    struct record record = {
        .size = entry->size,
        .put_ns = entry->put_ns,
        .access_s = entry->access_s,
        .epoch = entry->epoch,
        .boot = entry->boot,
        .file_tag = entry->file_tag,
        .hits = entry->hits,
        .flags = entry->is_synced ? RECORD_SYNCED : 0,
    };
    memcpy(record.action, action->bytes, TUCK_ID_BYTES);
    memcpy(record.output, entry->output.bytes, TUCK_ID_BYTES);
    record.check = record_check(index, &record);
    return record;
}

static void entry_of(const struct record *record, struct tuck_entry *ret_entry) {
    *ret_entry = (struct tuck_entry){
        .size = record->size,
        .put_ns = record->put_ns,
        .access_s = record->access_s,
        .hits = record->hits,
        .is_synced = (record->flags & RECORD_SYNCED) != 0,
        .file_tag = record->file_tag,
        .epoch = record->epoch,
        .boot = record->boot,
    };
    memcpy(ret_entry->output.bytes, record->output, TUCK_ID_BYTES);
}

static bool is_sound(struct tuck_index *index, const struct record *record) {
    return record->check == record_check(index, record);
}

// --- Pages ---------------------------------------------------------------------------------------

enum page_outcome {
    PAGE_GOOD,
    PAGE_ABSENT,
    PAGE_DAMAGED,    // it is there and is no page: a writer may begin it anew
    PAGE_UNREADABLE, // the drive failed: nobody knows what is there, hands off
};

static uint64_t page_at(uint64_t number) {
    return TREE_AT + number * PAGE;
}

// A page may be read while another process writes it: its head is then wrong for a moment, so look
// again.
static enum page_outcome read_page(struct tuck_index *index, uint64_t number, struct page *page) {
    for (int attempt = 0; attempt < 4; attempt++) {
        ssize_t n = tuck_pread_full(index->fd, page, PAGE, page_at(number));
        if (n == 0)
            return PAGE_ABSENT;
        if (n < 0)
            return PAGE_UNREADABLE;
        if (n != (ssize_t)PAGE)
            continue;
        if (page->magic == PAGE_MAGIC && page->number == number && page->count <= SLOTS &&
            page->depth <= DEPTH_MAX && page->check == page_check(index, page))
            return PAGE_GOOD;
        static const uint8_t zeros[64];
        if (memcmp(page, zeros, sizeof(zeros)) == 0)
            return PAGE_ABSENT;
    }
    return PAGE_DAMAGED;
}

static int write_page(struct tuck_index *index, struct page *page) {
    page->magic = PAGE_MAGIC;
    page->boot = index->boot;
    page->check = page_check(index, page);
    return tuck_pwrite_all(index->fd, page, PAGE, page_at(page->number));
}

static unsigned top_bit(uint64_t n) {
    return 63U - (unsigned)__builtin_clzll(n);
}

static uint64_t low_bits(uint64_t h, unsigned depth) {
    return h & ((UINT64_C(1) << depth) - 1);
}

static uint64_t parent_of(uint64_t number) {
    return low_bits(number, top_bit(number));
}

// True if the split that made the page was completed. A power cut may have kept the new page and
// lost the change of its parent, which then still governs; within one boot of the machine, LIVE is
// proof enough.
static bool is_split_off(struct tuck_index *index, const struct page *page) {
    struct page parent;
    uint64_t number = page->number;
    uint32_t boot = page->boot;
    bool is_live = page->state == PAGE_LIVE, is_lost = false;
    while (number != 0 && (is_lost || !(is_live && boot == index->boot))) {
        is_lost = read_page(index, parent_of(number), &parent) != PAGE_GOOD;
        // What was split off a lost page is all the trace there is of it, unless that did not count itself.
        if (is_lost ? !is_live : parent.depth <= top_bit(number))
            return false;
        number = parent_of(number);
        boot = is_lost ? boot : parent.boot;
        is_live = is_lost || parent.state == PAGE_LIVE;
    }
    return true;
}

// A page on the way to h is lost. What was split off it may still be there: the depth at which it is, or 0.
static unsigned look_deeper(struct tuck_index *index, uint64_t h, unsigned depth,
                            struct page *page) {
    struct stat stat;
    uint64_t end = fstat(index->fd, &stat) == 0 ? (uint64_t)stat.st_size : 0;
    for (; depth < DEPTH_MAX && page_at(UINT64_C(1) << depth) < end; depth++) {
        uint64_t number = low_bits(h, depth + 1);
        if (h >> depth & 1 && read_page(index, number, page) == PAGE_GOOD &&
            is_split_off(index, page))
            return depth + 1;
    }
    return 0;
}

// Finds the page that governs h. *ret_number is set always; the outcome tells whether the page
// itself is there.
static enum page_outcome find_page(struct tuck_index *index, uint64_t h, struct page *page,
                                   uint64_t *ret_number) {
    unsigned depth = __atomic_load_n(&index->depth_hint, __ATOMIC_RELAXED);
    uint64_t asked_by = 0; // a page that is not there, or does not count, sent us to its parent
    for (unsigned step = 0; step < 2 * DEPTH_MAX + 4; step++) {
        uint64_t number = low_bits(h, depth);
        enum page_outcome outcome = read_page(index, number, page);
        *ret_number = number;
        if (outcome == PAGE_UNREADABLE)
            return outcome;
        if (outcome != PAGE_GOOD || !is_split_off(index, page)) {
            if (number == 0) {
                depth = look_deeper(index, h, 0, page);
                if (depth == 0)
                    return outcome;
                continue;
            }
            asked_by = number;
            depth = top_bit(number);
            continue;
        }
        if (asked_by && page->depth > top_bit(asked_by) && number == parent_of(asked_by)) {
            // It was split off: just now, or long ago and it is lost.
            *ret_number = asked_by;
            outcome = read_page(index, asked_by, page);
            if (outcome == PAGE_UNREADABLE)
                return outcome;
            depth = top_bit(asked_by) + 1;
            if (outcome != PAGE_GOOD || !is_split_off(index, page)) {
                depth = look_deeper(index, h, depth, page);
                if (depth == 0)
                    return PAGE_DAMAGED;
            }
            asked_by = 0;
            continue;
        }
        unsigned next = depth;
        while (next < page->depth && !(h >> next & 1))
            next++;
        if (next >= page->depth) {
            __atomic_store_n(&index->depth_hint, page->depth, __ATOMIC_RELAXED);
            return PAGE_GOOD;
        }
        depth = next + 1;
    }
    return PAGE_DAMAGED; // a ring of damage
}

static int find_slot(const struct page *page, const uint8_t *action) {
    for (unsigned i = 0; i < page->count; i++)
        if (memcmp(page->slot[i].action, action, TUCK_ID_BYTES) == 0)
            return (int)i;
    return -1;
}

// --- The super page ------------------------------------------------------------------------------

// 0, TUCK_INDEX_ABSENT if there is no sound one, or -errno.
static int read_super(int fd, struct super *super) {
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

static uint32_t wall_s(void) {
    return (uint32_t)(tuck_clock_wall_ns() / TUCK_NS_PER_S);
}

static uint32_t later_epoch(uint32_t epoch) {
    uint32_t now = wall_s();
    return now > epoch ? now : epoch + 1;
}

// Changes the super page under its lock. Best effort: what is lost costs a verification.
static void change_super(struct tuck_index *index, uint64_t deadline_ns,
                         void (*change)(struct super *, uint32_t arg), uint32_t arg) {
    struct super super;
    if (tuck_lock_range(index->fd, SUPER_AT, PAGE, deadline_ns) < 0)
        return;
    if (read_super(index->fd, &super) == 0) {
        change(&super, arg);
        super.check = super_check(&super);
        if (tuck_pwrite_all(index->fd, &super, sizeof(super), SUPER_AT) == 0) {
            tuck_lock(&index->lock);
            index->super = super;
            tuck_unlock(&index->lock);
        }
    }
    tuck_unlock_range(index->fd, SUPER_AT, PAGE);
}

static void enter_boot(struct super *super, uint32_t boot) {
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

static void note_unsynced(struct super *super, uint32_t now_s) {
    if (super->unsynced_since_s == 0)
        super->unsynced_since_s = now_s;
}

static void next_epoch(struct super *super, uint32_t unused) {
    (void)unused;
    super->epoch = later_epoch(super->epoch);
    super->unsynced_since_s = 0;
}

static void note_durable(struct super *super, uint32_t epoch) {
    if (super->durable_below < epoch && epoch <= super->epoch)
        super->durable_below = epoch;
}

static uint32_t boot_tag(void) {
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

// --- Opening -------------------------------------------------------------------------------------

// A complete new file under a name of its own, ready to be linked or renamed to "entries". 0, or
// -errno.
static int create_file(int dirfd, const struct counters_page *counters, char name[static 25]) {
    uint8_t pages[2 * PAGE] = {0};
    struct super super = {.magic = SUPER_MAGIC, .version = 1, .epoch = wall_s()};
    super.durable_below = super.epoch;
    tuck_random(&super.seed, sizeof(super.seed));
    super.check = super_check(&super);
    memcpy(pages, &super, sizeof(super));
    if (counters)
        memcpy(pages + PAGE, counters, sizeof(*counters));
    tuck_random_name(name);
    TUCK_CLEANUP(tuck_close_fd)
    int fd = openat(dirfd, name, O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int status = tuck_pwrite_all(fd, pages, sizeof(pages), 0);
    if (status < 0)
        (void)unlinkat(dirfd, name, 0);
    return status;
}

static int create_if_missing(int dirfd) {
    char name[25];
    int status = create_file(dirfd, NULL, name);
    if (status < 0)
        return status;
    status = tuck_name_file(dirfd, name, dirfd, "entries");
    if (status < 0)
        (void)unlinkat(dirfd, name, 0);
    return status == -EEXIST ? 0 : status;
}

// Opens the file if it is one of ours. *ret_fd is -1 and the result 0 if it is damaged, foreign, or
// no file at all.
static int open_file(int dirfd, int *ret_fd, struct super *super) {
    *ret_fd = -1;
    // O_NONBLOCK: a planted FIFO must not stop us.
    TUCK_CLEANUP(tuck_close_fd)
    int fd = openat(dirfd, "entries", O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && (errno == EROFS || errno == EACCES)) // a cache to read from is better than none
        fd = openat(dirfd, "entries", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return errno == ELOOP || errno == EISDIR || errno == ENXIO ? 0 : -errno;
    struct stat stat;
    if (fstat(fd, &stat) < 0)
        return -errno;
    int status =
        S_ISREG(stat.st_mode) && stat.st_nlink <= 2 ? read_super(fd, super) : TUCK_INDEX_ABSENT;
    if (status == 0)
        *ret_fd = TUCK_TAKE_FD(fd);
    return status < 0 ? status : 0;
}

// Keeps a damaged file for a look, so that a new one can be begun. One helper at a time, and only what is still damaged
// then: another may have begun the new one. True if it was done.
static bool set_aside(int dirfd) {
    TUCK_CLEANUP(tuck_close_fd)
    int lock =
        openat(dirfd, "repair.lock", O_CREAT | O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    struct super super;
    TUCK_CLEANUP(tuck_close_fd) int fd = -1;
    if (lock >= 0)
        (void)!tuck_lock_range(lock, 0, 1, tuck_clock_mono_ns() + TUCK_NS_PER_S);
    if (open_file(dirfd, &fd, &super) != 0 || fd >= 0)
        return false;
    char aside[25];
    tuck_random_name(aside);
    return renameat(dirfd, "entries", dirfd, "entries.damaged") == 0 ||
           renameat(dirfd, "entries", dirfd, aside) == 0;
}

static void guess_depth(struct tuck_index *index) {
    struct stat stat;
    unsigned depth = 0;
    if (fstat(index->fd, &stat) == 0 && (uint64_t)stat.st_size >= page_at(2))
        depth = top_bit(((uint64_t)stat.st_size - TREE_AT) / PAGE - 1) + 1;
    __atomic_store_n(&index->depth_hint, depth > DEPTH_MAX ? DEPTH_MAX : depth, __ATOMIC_RELAXED);
}

static void take_in_spools(struct tuck_index *index);

int tuck_index_open(int dirfd, struct tuck_event_sink *sink, struct tuck_index **ret_index,
                    struct tuck_error *err) {
    struct super super;
    TUCK_CLEANUP(tuck_close_fd) int fd = -1;
    for (int attempt = 0;; attempt++) {
        int status = open_file(dirfd, &fd, &super);
        if (status == 0 && fd >= 0)
            break;
        if (attempt == 3)
            return tuck_fail_os(err, status < 0 ? -status : EIO, "open the index 'entries'");
        if (status == 0) {
            if (set_aside(dirfd))
                tuck_emit(sink, TUCK_EVENT_INDEX_DAMAGED, "index/entries", NULL);
        } else if (status != -ENOENT) {
            return tuck_fail_os(err, -status, "open the index 'entries'");
        }
        status = create_if_missing(dirfd);
        if (status < 0)
            return tuck_fail_os(err, -status, "create the index 'entries'");
    }
    struct tuck_index *index = calloc(1, sizeof(*index));
    if (!index)
        return tuck_fail(err, TUCK_ENOMEM, "no memory for the index");
    index->dirfd = fcntl(dirfd, F_DUPFD_CLOEXEC, 0);
    if (index->dirfd < 0) {
        free(index);
        return tuck_fail_os(err, errno, "hold the index directory");
    }
    index->fd = TUCK_TAKE_FD(fd);
    index->sink = sink;
    index->seed = super.seed;
    index->super = super;
    index->boot = boot_tag();
    tuck_mutex_init(&index->lock, TUCK_RANK_INDEX);
    if (super.boot != index->boot)
        change_super(index, tuck_clock_mono_ns() + 50 * TUCK_NS_PER_MS, enter_boot, index->boot);
    guess_depth(index);
    take_in_spools(index);
    *ret_index = index;
    return 0;
}

void tuck_index_close(struct tuck_index *index) {
    if (!index)
        return;
    tuck_close_fd(&index->fd);
    tuck_close_fd(&index->dirfd);
    tuck_mutex_fini(&index->lock);
    free(index->dirty.place);
    free(index->flushing.place);
    free(index->spools);
    free(index);
}

// --- Dirty entries -------------------------------------------------------------------------------

static void count_dirty(struct tuck_index *index) {
    __atomic_store_n(&index->dirty_count, index->dirty.used + index->flushing.used,
                     __ATOMIC_RELEASE);
}

static size_t make_dirty(struct tuck_index *index, struct dirty item) {
    if (item.is_known_good)
        item.entry.boot = index->boot;
    tuck_lock(&index->lock);
    if (item.kind == DIRTY_TOUCH && index->dirty.used >= TUCK_INDEX_DIRTY_MAX / 2) {
        tuck_unlock(&index->lock); // puts need the room
        return 0;
    }
    bool is_kept = tuck_index__dirty_add(&index->dirty, &item);
    count_dirty(index);
    size_t dirty = index->dirty.used;
    tuck_unlock(&index->lock);
    if (!is_kept && item.kind == DIRTY_PUT)
        tuck_emit(index->sink, TUCK_EVENT_ENTRIES_LOST, NULL, NULL);
    return is_kept ? dirty : 0;
}

size_t tuck_index_record(struct tuck_index *index, const struct tuck_action_id *action,
                         const struct tuck_entry *entry) {
    return make_dirty(
        index, (struct dirty){
                   .kind = DIRTY_PUT, .is_known_good = true, .action = *action, .entry = *entry});
}

size_t tuck_index_touch(struct tuck_index *index, const struct tuck_action_id *action,
                        const struct tuck_entry *entry, bool is_verified) {
    return make_dirty(index, (struct dirty){.kind = DIRTY_TOUCH,
                                            .is_known_good = is_verified,
                                            .action = *action,
                                            .entry = *entry});
}

// --- Finding -------------------------------------------------------------------------------------

static bool find_dirty(struct tuck_index *index, const struct tuck_action_id *action,
                       struct tuck_entry *ret_entry) {
    if (__atomic_load_n(&index->dirty_count, __ATOMIC_ACQUIRE) == 0)
        return false;
    tuck_lock(&index->lock);
    const struct dirty *found = tuck_index__dirty_find(&index->dirty, action);
    const struct dirty *earlier = tuck_index__dirty_find(&index->flushing, action);
    if (!found || (earlier && earlier->entry.put_ns > found->entry.put_ns))
        found = earlier;
    if (found && tuck_index__is_from_future(found->entry.put_ns))
        found = NULL;
    if (found)
        *ret_entry = found->entry;
    tuck_unlock(&index->lock);
    return found != NULL;
}

static int find_written(struct tuck_index *index, const struct tuck_action_id *action,
                        struct tuck_entry *ret_entry) {
    struct page page;
    uint64_t number;
    for (int attempt = 0; attempt < 3; attempt++) {
        if (find_page(index, hash_of(index, action->bytes), &page, &number) != PAGE_GOOD)
            return TUCK_INDEX_ABSENT;
        int slot = find_slot(&page, action->bytes);
        if (slot < 0)
            return TUCK_INDEX_ABSENT;
        if (is_sound(index, &page.slot[slot])) {
            entry_of(&page.slot[slot], ret_entry);
            return tuck_index__is_from_future(ret_entry->put_ns) ? TUCK_INDEX_ABSENT : 0;
        }
        // Caught in the middle of a write, or damaged for good: look again, then give up.
    }
    return TUCK_INDEX_ABSENT;
}

// What waits here may be older than what another helper has written since: a touch, an entry from a spool.
int tuck_index_find(struct tuck_index *index, const struct tuck_action_id *action,
                    struct tuck_entry *ret_entry) {
    struct tuck_entry dirty;
    bool is_dirty = find_dirty(index, action, &dirty);
    int status = find_written(index, action, ret_entry);
    if (!is_dirty || (status == 0 && ret_entry->put_ns > dirty.put_ns))
        return status;
    *ret_entry = dirty;
    return 0;
}

bool tuck_index_trusts(struct tuck_index *index, const struct tuck_entry *entry) {
    if (entry->is_synced || entry->boot == index->boot)
        return true;
    tuck_lock(&index->lock);
    const struct super *super = &index->super;
    bool trusts = entry->epoch != 0 && entry->epoch < super->durable_below;
    for (unsigned i = 0; trusts && i < super->lost_count; i++)
        trusts = entry->epoch < super->lost[i].first || entry->epoch > super->lost[i].last;
    tuck_unlock(&index->lock);
    return trusts;
}

// --- Flushing ------------------------------------------------------------------------------------

// Rebuilds a page whose contents are lost, as deep as the pages that were split off it show, also those that were split
// off them: what lies between may be lost as well. 0 or -EIO.
static int begin_page(struct tuck_index *index, uint64_t number, struct page *page) {
    unsigned first = number ? top_bit(number) + 1 : 0;
    unsigned depth = first;
    struct stat stat;
    if (fstat(index->fd, &stat) < 0)
        return -EIO;
    uint64_t step = UINT64_C(1) << first;
    for (uint64_t other = number + step; page_at(other) < (uint64_t)stat.st_size; other += step) {
        unsigned d = (unsigned)__builtin_ctzll(other ^ number);
        if (d < depth || d >= DEPTH_MAX)
            continue; // shows nothing new
        enum page_outcome outcome = read_page(index, other, page);
        if (outcome == PAGE_UNREADABLE)
            return -EIO;
        if (outcome == PAGE_DAMAGED || (outcome == PAGE_GOOD && page->state == PAGE_LIVE))
            depth = d + 1;
    }
    memset(page, 0, sizeof(*page));
    page->number = number;
    page->depth = (uint8_t)depth;
    page->state = PAGE_LIVE;
    return 0;
}

static void drop_unsound(struct tuck_index *index, struct page *page) {
    for (unsigned i = 0; i < page->count;)
        if (is_sound(index, &page->slot[i]))
            i++;
        else
            page->slot[i] = page->slot[--page->count];
}

static void drop_oldest(struct page *page) {
    unsigned oldest = 0;
    for (unsigned i = 1; i < page->count; i++)
        if (page->slot[i].access_s < page->slot[oldest].access_s)
            oldest = i;
    page->slot[oldest] = page->slot[--page->count];
}

static int split(struct tuck_index *index, struct page *page, uint64_t deadline_ns) {
    if (page->depth == DEPTH_MAX) {
        drop_oldest(page);
        return 0;
    }
    struct page other = {.number = page->number | UINT64_C(1) << page->depth,
                         .depth = (uint8_t)(page->depth + 1),
                         .state = PAGE_FORMING};
    int status = tuck_lock_range(index->fd, page_at(other.number), PAGE, deadline_ns);
    if (status < 0)
        return status;
    struct page rest = *page;
    rest.count = 0;
    for (unsigned i = 0; i < page->count; i++) {
        struct page *to = hash_of(index, page->slot[i].action) >> page->depth & 1 ? &other : &rest;
        to->slot[to->count++] = page->slot[i];
    }
    rest.depth++;
    status = write_page(index, &other);
    if (status == 0 && index->is_syncing && fdatasync(index->fd) < 0)
        status = -errno;
    if (status == 0)
        status = write_page(index, &rest);
    if (status == 0) {
        other.state = PAGE_LIVE;
        (void)!write_page(index, &other); // FORMING with a deeper parent counts as well
        *page = rest;
    }
    tuck_unlock_range(index->fd, page_at(other.number), PAGE);
    return status;
}

// Puts one dirty entry into the page. False if there is no room for it.
static bool apply(struct tuck_index *index, struct page *page, const struct dirty *item) {
    int at = find_slot(page, item->action.bytes);
    struct record record = record_of(index, &item->action, &item->entry);
    if (item->kind == DIRTY_TOUCH) {
        if (at >= 0 && page->slot[at].put_ns == record.put_ns &&
            memcmp(page->slot[at].output, record.output, TUCK_ID_BYTES) == 0)
            page->slot[at] = record;
        return true;
    }
    if (at < 0) {
        if (page->count == SLOTS)
            return false;
        at = page->count++;
    } else if (page->slot[at].put_ns > record.put_ns &&
               !tuck_index__is_from_future(page->slot[at].put_ns)) {
        return true;
    }
    page->slot[at] = record;
    return true;
}

struct ordered {
    uint64_t h;
    uint64_t key; // h with its bits reversed: entries of one page stand together
    struct dirty *item;
};

static int compare_ordered(const void *a, const void *b) {
    const struct ordered *x = a, *y = b;
    return x->key < y->key ? -1 : x->key > y->key;
}

static uint64_t reverse_bits(uint64_t h) {
    h = (h >> 1 & UINT64_C(0x5555555555555555)) | (h & UINT64_C(0x5555555555555555)) << 1;
    h = (h >> 2 & UINT64_C(0x3333333333333333)) | (h & UINT64_C(0x3333333333333333)) << 2;
    h = (h >> 4 & UINT64_C(0x0f0f0f0f0f0f0f0f)) | (h & UINT64_C(0x0f0f0f0f0f0f0f0f)) << 4;
    return __builtin_bswap64(h);
}

// Writes items[0] and all that follow it into the same page; *ret_done tells how many. 0 or -errno.
static int flush_page(struct tuck_index *index, const struct ordered *items, size_t count,
                      uint64_t deadline_ns, size_t *ret_done) {
    struct page page;
    uint64_t number, locked;
    (void)find_page(index, items[0].h, &page, &locked);
    int status = tuck_lock_range(index->fd, page_at(locked), PAGE, deadline_ns);
    if (status < 0)
        return status;
    // Another process may have split it before we had the lock.
    enum page_outcome outcome = find_page(index, items[0].h, &page, &number);
    size_t done = 0;
    if (outcome == PAGE_UNREADABLE) {
        status = -EIO;
    } else if (number == locked) {
        if (outcome != PAGE_GOOD) {
            status = begin_page(index, number, &page);
        } else {
            page.state = PAGE_LIVE;
            drop_unsound(index, &page);
        }
        while (status == 0 && done < count && low_bits(items[done].h, page.depth) == number) {
            if (apply(index, &page, items[done].item))
                done++;
            else
                status = split(index, &page, deadline_ns);
        }
        if (done > 0) {
            int written = write_page(index, &page);
            if (written < 0) {
                status = written;
                done = 0;
            }
        } else if (status == 0 && outcome != PAGE_GOOD) {
            status = write_page(index, &page); // rebuilt deeper than this entry needs: look again
        }
    }
    tuck_unlock_range(index->fd, page_at(locked), PAGE);
    *ret_done = done;
    return status;
}

// Another process may have begun a new file (clear), or somebody removed it: go on with the one
// that is there now.
static int follow_file(struct tuck_index *index) {
    struct stat held, present;
    if (fstat(index->fd, &held) < 0)
        return -errno;
    if (fstatat(index->dirfd, "entries", &present, AT_SYMLINK_NOFOLLOW) == 0) {
        if (held.st_ino == present.st_ino && held.st_dev == present.st_dev)
            return 0;
    } else {
        int status = errno == ENOENT ? create_if_missing(index->dirfd) : -errno;
        if (status < 0)
            return status;
    }
    struct super super;
    int fd;
    int status = open_file(index->dirfd, &fd, &super);
    if (status < 0 || fd < 0)
        return status < 0 ? status : -EIO;
    if (dup2(fd, index->fd) < 0)
        status = -errno;
    (void)fcntl(index->fd, F_SETFD, FD_CLOEXEC);
    (void)close(fd);
    __atomic_store_n(&index->seed, super.seed, __ATOMIC_RELAXED);
    tuck_lock(&index->lock);
    index->super = super;
    tuck_unlock(&index->lock);
    change_super(index, tuck_clock_mono_ns() + 50 * TUCK_NS_PER_MS, enter_boot, index->boot);
    guess_depth(index);
    return status;
}

static void forget_spools(struct tuck_index *index) {
    for (size_t i = 0; i < index->spool_count; i++) {
        char path[32];
        (void)snprintf(path, sizeof(path), "spool/%s", index->spools[i]);
        (void)unlinkat(index->dirfd, path, 0);
    }
    if (index->spool_count > 0)
        (void)unlinkat(index->dirfd, "spool", AT_REMOVEDIR);
    index->spool_count = 0;
}

// What could not be written waits again, unless a newer entry came meanwhile.
// Returns how many found no room: memory stays bounded.
static size_t take_back(struct tuck_index *index, const struct ordered *items, size_t count) {
    struct dirty_table newer = index->dirty;
    index->dirty = (struct dirty_table){0};
    size_t lost = 0;
    for (size_t i = 0; i < count; i++)
        if (items[i].item)
            lost += !tuck_index__dirty_add(&index->dirty, items[i].item);
    for (size_t i = 0; i < newer.room; i++)
        if (newer.place[i].kind != DIRTY_NONE)
            lost += !tuck_index__dirty_add(&index->dirty, &newer.place[i]);
    free(newer.place);
    return lost;
}

int tuck_index_flush(struct tuck_index *index, const struct tuck_flush *how,
                     struct tuck_error *err) {
    tuck_lock(&index->lock);
    index->flushing = index->dirty;
    index->dirty = (struct dirty_table){0};
    tuck_unlock(&index->lock);
    size_t count = index->flushing.used;
    if (count == 0) {
        free(index->flushing.place);
        index->flushing = (struct dirty_table){0};
        return 0;
    }
    TUCK_CLEANUP(tuck_free) struct ordered *items = calloc(count, sizeof(*items));
    int status = items ? follow_file(index) : -ENOMEM;
    if (status == 0 && how->sync_objects && how->sync_objects(index->fd) < 0)
        status = -errno;
    uint64_t deadline_ns = tuck_clock_mono_ns() + how->wait_ns;
    // The epoch is read after the objects were written: see tuck_index_sync_if_due().
    struct super super;
    bool has_super = status == 0 && read_super(index->fd, &super) == 0;
    bool has_unsynced = false;
    size_t filled = 0;
    tuck_lock(&index->lock); // others read these entries
    for (size_t i = 0; items && i < index->flushing.room; i++) {
        struct dirty *item = &index->flushing.place[i];
        if (item->kind == DIRTY_NONE)
            continue;
        if (item->is_known_good)
            item->entry.epoch = has_super ? super.epoch : 0; // 0 is never trusted
        if (item->is_known_good && how->sync_objects && status == 0)
            item->entry.is_synced = true;
        has_unsynced |= item->is_known_good && !item->entry.is_synced;
        uint64_t h = hash_of(index, item->action.bytes);
        items[filled++] = (struct ordered){h, reverse_bits(h), item};
    }
    tuck_unlock(&index->lock);
    index->is_syncing = how->sync_entries;
    if (items)
        qsort(items, filled, sizeof(*items), compare_ordered);
    if (has_super && has_unsynced && super.unsynced_since_s == 0)
        change_super(index, deadline_ns, note_unsynced, wall_s());

    int failure = status;
    bool is_busy = false;
    for (size_t at = 0, stalled = 0; status == 0 && at < filled;) {
        size_t done = 0;
        int page_status = flush_page(index, items + at, filled - at, deadline_ns, &done);
        for (size_t i = at; i < at + done; i++)
            items[i].item = NULL;
        at += done;
        stalled = done ? 0 : stalled + 1;
        if (page_status == 0 && stalled < 64)
            continue;
        if (page_status == -ETIMEDOUT || page_status == 0)
            is_busy = true;
        else
            failure = page_status;
        if (failure == -ENOSPC || failure == -EIO || failure == -EDQUOT || failure == -EROFS)
            break;
        at += at < filled; // leave this one, go on with the others
        stalled = 0;
    }
    if (failure == 0 && how->sync_entries && fdatasync(index->fd) < 0)
        failure = -errno;

    size_t lost = 0;
    tuck_lock(&index->lock);
    if (items && (failure || is_busy)) {
        lost = take_back(index, items, filled);
    } else if (!items) { // no memory: all of it waits again
        index->dirty = index->flushing;
        index->flushing = (struct dirty_table){0};
    }
    free(index->flushing.place);
    index->flushing = (struct dirty_table){0};
    count_dirty(index);
    tuck_unlock(&index->lock);
    if (lost > 0)
        tuck_emit(index->sink, TUCK_EVENT_ENTRIES_LOST, NULL, NULL);
    if (failure)
        return tuck_fail_os(err, -failure, "write the index");
    if (is_busy)
        return TUCK_INDEX_BUSY;
    forget_spools(index);
    return 0;
}

// --- Spool ---------------------------------------------------------------------------------------

struct spool_head {
    uint64_t magic;
    uint64_t count;
    uint64_t check; // of the records
};

size_t tuck_index_spool(struct tuck_index *index) {
    size_t count = 0;
    size_t room = index->dirty.used;
    TUCK_CLEANUP(tuck_free) struct record *records = calloc(room ? room : 1, sizeof(*records));
    for (size_t i = 0; records && i < index->dirty.room; i++) {
        const struct dirty *item = &index->dirty.place[i];
        if (item->kind == DIRTY_PUT && !item->is_spooled)
            records[count++] = record_of(index, &item->action, &item->entry);
    }
    if (!records || count == 0)
        return records ? 0 : room;
    struct spool_head head = {SPOOL_MAGIC, count,
                              XXH3_64bits_withSeed(records, count * sizeof(*records), SPOOL_MAGIC)};
    TUCK_CLEANUP(tuck_close_fd) int dirfd = -1;
    TUCK_CLEANUP(tuck_close_fd) int fd = -1;
    char name[25];
    tuck_random_name(name);
    for (int attempt = 0; attempt < 4 && fd < 0;
         attempt++) { // others remove the directory when it is empty
        if (mkdirat(index->dirfd, "spool", 0700) < 0 && errno != EEXIST)
            return count;
        tuck_close_fd(&dirfd);
        dirfd = tuck_open_beneath(index->dirfd, "spool", O_DIRECTORY | O_RDONLY, 0);
        if (dirfd >= 0)
            fd = openat(dirfd, name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0600);
    }
    if (fd < 0)
        return count;
    // The checksum in the head makes a half-written file as good as none.
    if (tuck_pwrite_all(fd, records, count * sizeof(*records), sizeof(head)) < 0 ||
        tuck_pwrite_all(fd, &head, sizeof(head), 0) < 0) {
        (void)unlinkat(dirfd, name, 0);
        return count;
    }
    return 0;
}

static void take_in_spool(struct tuck_index *index, int dirfd, const char *name) {
    TUCK_CLEANUP(tuck_close_fd)
    int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct spool_head head;
    if (fd < 0 || tuck_pread_full(fd, &head, sizeof(head), 0) != (ssize_t)sizeof(head) ||
        head.magic != SPOOL_MAGIC || head.count > TUCK_INDEX_DIRTY_MAX - index->dirty.used)
        return; // perhaps still being written
    size_t len = (size_t)head.count * sizeof(struct record);
    TUCK_CLEANUP(tuck_free) struct record *records = malloc(len ? len : 1);
    if (!records || tuck_pread_full(fd, records, len, sizeof(head)) != (ssize_t)len ||
        XXH3_64bits_withSeed(records, len, SPOOL_MAGIC) != head.check)
        return;
    bool is_whole = true;
    for (size_t i = 0; i < head.count && is_whole; i++) {
        struct dirty item = {.kind = DIRTY_PUT, .is_spooled = true};
        memcpy(item.action.bytes, records[i].action, TUCK_ID_BYTES);
        entry_of(&records[i], &item.entry);
        item.entry.epoch = 0; // nobody knows which syncs its object has seen
        is_whole = tuck_index__dirty_add(&index->dirty, &item);
    }
    count_dirty(index);
    if (!is_whole)
        return;
    char(*grown)[25] = realloc(index->spools, (index->spool_count + 1) * sizeof(*grown));
    if (grown) {
        index->spools = grown;
        (void)snprintf(index->spools[index->spool_count++], sizeof(*grown), "%s", name);
    }
    count_dirty(index);
}

static void take_in_spools(struct tuck_index *index) {
    TUCK_CLEANUP(tuck_close_fd)
    int dirfd = tuck_open_beneath(index->dirfd, "spool", O_DIRECTORY | O_RDONLY, 0);
    if (dirfd < 0)
        return;
    int for_dir = fcntl(dirfd, F_DUPFD_CLOEXEC, 0);
    DIR *dir = for_dir < 0 ? NULL : fdopendir(for_dir);
    if (!dir) {
        tuck_close_fd(&for_dir);
        return;
    }
    for (struct dirent *found; (found = readdir(dir));)
        if (strlen(found->d_name) == 24)
            take_in_spool(index, dirfd, found->d_name);
    (void)closedir(dir);
}

// --- Durability in the background ----------------------------------------------------------------

// A flush reads the epoch after its objects were written. So whatever carries an epoch below the
// new one was written before the new one was announced, and that is before the sync begins.
void tuck_index_sync_if_due(struct tuck_index *index, int (*sync)(int fd)) {
    struct super super;
    if (read_super(index->fd, &super) != 0 || super.unsynced_since_s == 0 ||
        super.boot != index->boot || wall_s() < super.unsynced_since_s + SYNC_AGE_S)
        return;
    if (flock(index->dirfd, LOCK_EX | LOCK_NB) < 0)
        return; // another helper is at it
    uint64_t deadline_ns = tuck_clock_mono_ns() + 100 * TUCK_NS_PER_MS;
    uint32_t before = super.epoch;
    change_super(index, deadline_ns, next_epoch, 0);
    uint32_t epoch = index->super.epoch;
    if (epoch > before && sync(index->fd) == 0)
        change_super(index, tuck_clock_mono_ns() + 100 * TUCK_NS_PER_MS, note_durable, epoch);
    (void)flock(index->dirfd, LOCK_UN);
}

// --- The whole file ------------------------------------------------------------------------------

int tuck_index_walk(struct tuck_index *index,
                    bool (*each)(void *arg, const struct tuck_action_id *action,
                                 const struct tuck_entry *entry),
                    void *arg, struct tuck_error *err) {
    struct stat stat;
    if (fstat(index->fd, &stat) < 0)
        return tuck_fail_os(err, errno, "look at the index");
    for (uint64_t number = 0; page_at(number) < (uint64_t)stat.st_size; number++) {
        struct page page;
        if (read_page(index, number, &page) != PAGE_GOOD || !is_split_off(index, &page))
            continue;
        for (unsigned i = 0; i < page.count; i++) {
            struct tuck_action_id action;
            struct tuck_entry entry;
            if (!is_sound(index, &page.slot[i]))
                continue;
            memcpy(action.bytes, page.slot[i].action, TUCK_ID_BYTES);
            entry_of(&page.slot[i], &entry);
            if (!each(arg, &action, &entry))
                return 0;
        }
    }
    return 0;
}

static uint64_t counters_check(const struct counters_page *page) {
    return XXH3_64bits_withSeed(page, offsetof(struct counters_page, check), COUNTERS_MAGIC);
}

static void read_counters(struct tuck_index *index, struct counters_page *page) {
    for (int attempt = 0; attempt < 4; attempt++) {
        ssize_t n = tuck_pread_full(index->fd, page, sizeof(*page), COUNTERS_AT);
        if (n == (ssize_t)sizeof(*page) && page->magic == COUNTERS_MAGIC &&
            page->check == counters_check(page))
            return;
    }
    memset(page, 0, sizeof(*page)); // new or damaged: the sums begin at zero
}

void tuck_index_counters(struct tuck_index *index, const struct tuck_counters *add,
                         struct tuck_counters *ret_sums) {
    struct counters_page page;
    if (add) {
        uint64_t deadline_ns = tuck_clock_mono_ns() + 100 * TUCK_NS_PER_MS;
        if (tuck_lock_range(index->fd, COUNTERS_AT, PAGE, deadline_ns) == 0) {
            read_counters(index, &page);
            page.magic = COUNTERS_MAGIC;
            page.count = TUCK_COUNTER_MAX;
            for (size_t i = 0; i < TUCK_COUNTER_MAX; i++)
                page.value[i] += __atomic_load_n(&add->value[i], __ATOMIC_RELAXED);
            page.check = counters_check(&page);
            (void)!tuck_pwrite_all(index->fd, &page, sizeof(page), COUNTERS_AT);
            tuck_unlock_range(index->fd, COUNTERS_AT, PAGE);
        }
    }
    if (ret_sums) {
        read_counters(index, &page);
        for (size_t i = 0; i < TUCK_COUNTER_MAX; i++)
            ret_sums->value[i] = page.value[i];
    }
}

// What waits in the spool belongs to the cache that is cleared; what this process has recorded does not.
static void forget_spooled(struct tuck_index *index) {
    tuck_lock(&index->lock);
    struct dirty_table before = index->dirty;
    index->dirty = (struct dirty_table){0};
    for (size_t i = 0; i < before.room; i++)
        if (before.place[i].kind != DIRTY_NONE && !before.place[i].is_spooled)
            (void)!tuck_index__dirty_add(&index->dirty, &before.place[i]); // fitted before
    free(before.place);
    count_dirty(index);
    tuck_unlock(&index->lock);
    int fd = tuck_open_beneath(index->dirfd, "spool", O_DIRECTORY | O_RDONLY, 0);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        tuck_close_fd(&fd);
        return;
    }
    for (struct dirent *found; (found = readdir(dir));)
        if (strlen(found->d_name) == 24)
            (void)unlinkat(dirfd(dir), found->d_name, 0);
    (void)closedir(dir);
    forget_spools(index);
}

int tuck_index_clear(struct tuck_index *index, struct tuck_error *err) {
    struct counters_page counters;
    char name[25];
    read_counters(index, &counters);
    int status = create_file(index->dirfd, counters.magic ? &counters : NULL, name);
    if (status == 0 && renameat(index->dirfd, name, index->dirfd, "entries") < 0) {
        status = -errno;
        (void)unlinkat(index->dirfd, name, 0);
    }
    if (status == 0)
        status = follow_file(index);
    if (status == 0)
        forget_spooled(index);
    return status < 0 ? tuck_fail_os(err, -status, "begin a new index") : 0;
}

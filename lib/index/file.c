// SPDX-License-Identifier: MIT
#include "lib/index/file.h"
#include "lib/base/clock.h"
#include "lib/base/io.h"

#include <errno.h>
#include <fcntl.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/*
 * The file: page S (super), page C (sums), then the tree's pages 0, 1, 2, … of 4 KiB.
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

#define DEPTH_MAX    26U
#define PAGE_MAGIC   0x67707574U
#define WALK_PAGES   64U                    // read at once by a walk
#define FUTURE_NS    (3600 * TUCK_NS_PER_S) // a put time further ahead is not believed
#define PLAUSIBLE_NS (UINT64_C(1577836800) * TUCK_NS_PER_S) // 2020

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
    struct record slot[INDEX_SLOTS];
    uint8_t unused[80];
};
_Static_assert(sizeof(struct page) == INDEX_PAGE, "a page is one block");
_Static_assert(INDEX_SLOTS == BRIEF_PRINTS, "a print for each record");

// The latest put time that is believed.
static uint64_t latest_put_ns(void) {
    uint64_t now_ns = tuck_clock_wall_ns();
    return now_ns > PLAUSIBLE_NS ? now_ns + FUTURE_NS : UINT64_MAX;
}

bool tuck_index__is_from_future(uint64_t put_ns) {
    return put_ns > latest_put_ns();
}

// --- Checksums -----------------------------------------------------------------------------------

static uint64_t seed_of(const struct index_file *file) {
    return __atomic_load_n(&file->seed, __ATOMIC_ACQUIRE);
}

static uint64_t hash_of(const struct index_file *file, const uint8_t *action) {
    return XXH3_64bits_withSeed(action, TUCK_ID_BYTES, seed_of(file));
}

static uint32_t record_check(const struct index_file *file, const struct record *record) {
    return (uint32_t)XXH3_64bits_withSeed(record, offsetof(struct record, check), ~seed_of(file));
}

static uint64_t page_check(const struct index_file *file, const struct page *page) {
    return XXH3_64bits_withSeed(page, offsetof(struct page, check), seed_of(file) + 1);
}

// --- Records -------------------------------------------------------------------------------------

struct record tuck_index__record_of(const struct index_file *file,
                                    const struct tuck_action_id *action,
                                    const struct tuck_entry *entry) {
    struct record record = {
        .size = entry->size,
        .put_ns = entry->put_ns,
        .access_s = entry->access_s,
        .epoch = entry->epoch,
        .boot = entry->boot,
        .file_tag = entry->file_tag,
        .hits = entry->hits,
        .flags = (uint16_t)((entry->is_synced ? RECORD_SYNCED : 0) |
                            (entry->is_expendable ? RECORD_EXPENDABLE : 0)),
    };
    memcpy(record.action, action->bytes, TUCK_ID_BYTES);
    memcpy(record.output, entry->output.bytes, TUCK_ID_BYTES);
    record.check = record_check(file, &record);
    return record;
}

void tuck_index__entry_of(const struct record *record, struct tuck_entry *ret_entry) {
    *ret_entry = (struct tuck_entry){
        .size = record->size,
        .put_ns = record->put_ns,
        .access_s = record->access_s,
        .hits = record->hits,
        .is_synced = (record->flags & RECORD_SYNCED) != 0,
        .is_expendable = (record->flags & RECORD_EXPENDABLE) != 0,
        .file_tag = record->file_tag,
        .epoch = record->epoch,
        .boot = record->boot,
    };
    memcpy(ret_entry->output.bytes, record->output, TUCK_ID_BYTES);
}

static bool is_sound(const struct index_file *file, const struct record *record) {
    return record->check == record_check(file, record);
}

// --- Pages ---------------------------------------------------------------------------------------

enum page_outcome {
    PAGE_GOOD,
    PAGE_ABSENT,
    PAGE_DAMAGED,    // it is there and is no page: a writer may begin it anew
    PAGE_UNREADABLE, // the drive failed: nobody knows what is there, hands off
};

static uint64_t page_at(uint64_t number) {
    return TREE_AT + number * INDEX_PAGE;
}

static bool is_page(const struct index_file *file, uint64_t number, const struct page *page) {
    return page->magic == PAGE_MAGIC && page->number == number && page->count <= INDEX_SLOTS &&
           page->depth <= DEPTH_MAX && page->check == page_check(file, page);
}

// A page may be read while another process writes it: its head is then wrong for a moment, so look
// again.
static enum page_outcome read_page(struct index_file *file, uint64_t number, struct page *page) {
    for (int attempt = 0; attempt < 4; attempt++) {
        ssize_t n = tuck_pread_full(file->fd, page, INDEX_PAGE, page_at(number));
        if (n == 0)
            return PAGE_ABSENT;
        if (n < 0)
            return PAGE_UNREADABLE;
        if (n != (ssize_t)INDEX_PAGE)
            continue;
        if (is_page(file, number, page))
            return PAGE_GOOD;
        static const uint8_t zeros[64];
        if (memcmp(page, zeros, sizeof(zeros)) == 0)
            return PAGE_ABSENT;
    }
    return PAGE_DAMAGED;
}

// What the brief tells of a page that counts.
static struct brief_slot brief_of(const struct page *page) {
    struct brief_slot slot = {.depth = page->depth};
    for (unsigned i = 0; i < page->count; i++)
        tuck_index__brief_add(&slot, page->slot[i].action);
    return slot;
}

// True if nothing changes in what is told of the page.
static bool is_told(struct index_file *file, uint64_t number, const struct brief_slot *slot) {
    struct brief_slot told;
    return tuck_index__brief_read(&file->brief, number, &told) &&
           memcmp(&told, slot, offsetof(struct brief_slot, check)) == 0;
}

static int write_page(struct index_file *file, struct page *page) {
    struct brief_slot slot = brief_of(page);
    bool is_live = page->state == PAGE_LIVE;
    bool is_new = !is_live || !is_told(file, page->number, &slot);
    page->magic = PAGE_MAGIC;
    page->boot = file->boot;
    memset(page->unused, 0, sizeof(page->unused));
    page->check = page_check(file, page);
    int status = is_new ? tuck_index__brief_forget(&file->brief, page->number) : 0;
    if (status == 0)
        status = tuck_pwrite_all(file->fd, page, INDEX_PAGE, page_at(page->number));
    if (status == 0 && is_new && is_live)
        (void)!tuck_index__brief_note(&file->brief, page->number, &slot, 1);
    return status;
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

// Where to look for h when the page at `depth` has a depth of its own: `depth` again if it governs h.
static unsigned deeper(uint64_t h, unsigned depth, unsigned of_page) {
    for (unsigned next = depth; next < of_page; next++)
        if (h >> next & 1)
            return next + 1;
    return depth;
}

// True if the split that made the page was completed. A power cut may have kept the new page and
// lost the change of its parent, which then still governs; within one boot of the machine, LIVE is
// proof enough.
static bool is_split_off(struct index_file *file, const struct page *page) {
    struct page parent;
    uint64_t number = page->number;
    uint32_t boot = page->boot;
    bool is_live = page->state == PAGE_LIVE, is_lost = false;
    while (number != 0 && (is_lost || !(is_live && boot == file->boot))) {
        is_lost = read_page(file, parent_of(number), &parent) != PAGE_GOOD;
        // What was split off a lost page is all the trace there is of it, unless that did not count
        // itself.
        if (is_lost ? !is_live : parent.depth <= top_bit(number))
            return false;
        number = parent_of(number);
        boot = is_lost ? boot : parent.boot;
        is_live = is_lost || parent.state == PAGE_LIVE;
    }
    return true;
}

// A page on the way to h is lost. What was split off it may still be there: the depth at which it
// is, or 0.
static unsigned look_deeper(struct index_file *file, uint64_t h, unsigned depth,
                            struct page *page) {
    struct stat stat;
    uint64_t end = fstat(file->fd, &stat) == 0 ? (uint64_t)stat.st_size : 0;
    for (; depth < DEPTH_MAX && page_at(UINT64_C(1) << depth) < end; depth++) {
        uint64_t number = low_bits(h, depth + 1);
        if (h >> depth & 1 && read_page(file, number, page) == PAGE_GOOD &&
            is_split_off(file, page))
            return depth + 1;
    }
    return 0;
}

// Finds the page that governs h. *ret_number is set always; the outcome tells whether the page
// itself is there.
static enum page_outcome find_page(struct index_file *file, uint64_t h, struct page *page,
                                   uint64_t *ret_number) {
    unsigned depth = __atomic_load_n(&file->depth_hint, __ATOMIC_RELAXED);
    uint64_t asked_by = 0; // a page that is not there, or does not count, sent us to its parent
    for (unsigned step = 0; step < 2 * DEPTH_MAX + 4; step++) {
        uint64_t number = low_bits(h, depth);
        enum page_outcome outcome = read_page(file, number, page);
        *ret_number = number;
        if (outcome == PAGE_UNREADABLE)
            return outcome;
        if (outcome != PAGE_GOOD || !is_split_off(file, page)) {
            if (number == 0) {
                depth = look_deeper(file, h, 0, page);
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
            outcome = read_page(file, asked_by, page);
            if (outcome == PAGE_UNREADABLE)
                return outcome;
            depth = top_bit(asked_by) + 1;
            if (outcome != PAGE_GOOD || !is_split_off(file, page)) {
                depth = look_deeper(file, h, depth, page);
                if (depth == 0)
                    return PAGE_DAMAGED;
            }
            asked_by = 0;
            continue;
        }
        unsigned next = deeper(h, depth, page->depth);
        if (next == depth) {
            __atomic_store_n(&file->depth_hint, page->depth, __ATOMIC_RELAXED);
            return PAGE_GOOD;
        }
        depth = next;
    }
    return PAGE_DAMAGED; // a ring of damage
}

static int find_slot(const struct page *page, const uint8_t *action) {
    for (unsigned i = 0; i < page->count; i++)
        if (memcmp(page->slot[i].action, action, TUCK_ID_BYTES) == 0)
            return (int)i;
    return -1;
}

int tuck_index__file_find(struct index_file *file, const struct tuck_action_id *action,
                          struct tuck_entry *ret_entry) {
    struct page page;
    uint64_t number;
    for (int attempt = 0; attempt < 3; attempt++) {
        enum page_outcome outcome = find_page(file, hash_of(file, action->bytes), &page, &number);
        if (outcome == PAGE_UNREADABLE)
            return -EIO;
        int slot = outcome == PAGE_GOOD ? find_slot(&page, action->bytes) : -1;
        if (slot < 0)
            return TUCK_INDEX_ABSENT;
        if (is_sound(file, &page.slot[slot])) {
            tuck_index__entry_of(&page.slot[slot], ret_entry);
            return tuck_index__is_from_future(ret_entry->put_ns) ? TUCK_INDEX_ABSENT : 0;
        }
        // Caught in the middle of a write, or damaged for good: look again, then give up.
    }
    return TUCK_INDEX_ABSENT;
}

bool tuck_index__file_lacks(struct index_file *file, const struct tuck_action_id *action) {
    tuck_index__brief_want(&file->brief, file->dirfd);
    uint64_t seed = seed_of(file), h = hash_of(file, action->bytes);
    unsigned depth = __atomic_load_n(&file->depth_hint, __ATOMIC_RELAXED);
    // The depth at which what was passed over would have been split off.
    unsigned split_at = DEPTH_MAX;
    struct brief_slot slot;
    for (unsigned step = 0; step < DEPTH_MAX; step++) {
        uint64_t number = low_bits(h, depth);
        if (!tuck_index__brief_read(&file->brief, number, &slot)) {
            if (number == 0)
                return false;
            depth = split_at = top_bit(number);
            continue;
        }
        if (slot.depth > split_at)
            return false; // it was, and says nothing
        unsigned next = deeper(h, depth, slot.depth);
        if (next != depth) {
            depth = next;
            continue;
        }
        __atomic_store_n(&file->depth_hint, slot.depth, __ATOMIC_RELAXED);
        return !tuck_index__brief_may_have(&slot, action->bytes) && seed_of(file) == seed;
    }
    return false;
}

// --- Writing -------------------------------------------------------------------------------------

// Rebuilds a page whose contents are lost, as deep as the pages that were split off it show, also
// those that were split off them: what lies between may be lost as well. 0 or -EIO.
static int begin_page(struct index_file *file, uint64_t number, struct page *page) {
    unsigned first = number ? top_bit(number) + 1 : 0;
    unsigned depth = first;
    struct stat stat;
    if (fstat(file->fd, &stat) < 0)
        return -EIO;
    uint64_t step = UINT64_C(1) << first;
    for (uint64_t other = number + step; page_at(other) < (uint64_t)stat.st_size; other += step) {
        unsigned d = (unsigned)__builtin_ctzll(other ^ number);
        if (d < depth || d >= DEPTH_MAX)
            continue; // shows nothing new
        enum page_outcome outcome = read_page(file, other, page);
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

static void drop_unsound(struct index_file *file, struct page *page) {
    for (unsigned i = 0; i < page->count;)
        if (is_sound(file, &page->slot[i]))
            i++;
        else
            page->slot[i] = page->slot[--page->count];
}

// What no lookup finds as long as the clock is not later. It stays where there is room: the clock may
// be what is wrong. False if there was none.
static bool drop_future(struct page *page) {
    uint64_t latest_ns = latest_put_ns();
    uint16_t before = page->count;
    for (unsigned i = 0; i < page->count;)
        if (page->slot[i].put_ns <= latest_ns)
            i++;
        else
            page->slot[i] = page->slot[--page->count];
    return page->count < before;
}

static void drop_oldest(struct page *page) {
    unsigned oldest = 0;
    for (unsigned i = 1; i < page->count; i++)
        if (page->slot[i].access_s < page->slot[oldest].access_s)
            oldest = i;
    page->slot[oldest] = page->slot[--page->count];
}

static int split(struct index_file *file, struct page *page, uint64_t deadline_ns) {
    if (page->depth == DEPTH_MAX) {
        drop_oldest(page);
        return 0;
    }
    struct page other = {.number = page->number | UINT64_C(1) << page->depth,
                         .depth = (uint8_t)(page->depth + 1),
                         .state = PAGE_FORMING};
    int status = tuck_lock_range(file->fd, page_at(other.number), INDEX_PAGE, deadline_ns);
    if (status < 0)
        return status;
    struct page rest = *page;
    rest.count = 0;
    for (unsigned i = 0; i < page->count; i++) {
        struct page *to = hash_of(file, page->slot[i].action) >> page->depth & 1 ? &other : &rest;
        to->slot[to->count++] = page->slot[i];
    }
    rest.depth++;
    status = write_page(file, &other);
    if (status == 0 && file->is_syncing && fdatasync(file->fd) < 0)
        status = -errno;
    if (status == 0)
        status = write_page(file, &rest);
    if (status == 0) {
        other.state = PAGE_LIVE;
        (void)!write_page(file, &other); // FORMING with a deeper parent counts as well
        *page = rest;
    }
    tuck_unlock_range(file->fd, page_at(other.number), INDEX_PAGE);
    return status;
}

// Puts one change into the page. False if there is no room for it.
static bool apply(struct index_file *file, struct page *page, const struct index_write *item) {
    int at = find_slot(page, item->action.bytes);
    struct record record = tuck_index__record_of(file, &item->action, &item->entry);
    if (item->kind != WRITE_PUT) {
        bool is_same = at >= 0 && page->slot[at].put_ns == record.put_ns &&
                       memcmp(page->slot[at].output, record.output, TUCK_ID_BYTES) == 0;
        if (is_same && item->kind == WRITE_TOUCH)
            page->slot[at] = record;
        else if (is_same)
            page->slot[at] = page->slot[--page->count];
        return true;
    }
    if (at < 0) {
        if (page->count == INDEX_SLOTS)
            return false;
        at = page->count++;
    } else if (page->slot[at].put_ns > record.put_ns &&
               !tuck_index__is_from_future(page->slot[at].put_ns)) {
        return true;
    }
    page->slot[at] = record;
    return true;
}

static int compare_keys(const void *a, const void *b) {
    const struct index_write *x = a, *y = b;
    return x->key < y->key ? -1 : x->key > y->key;
}

static uint64_t reverse_bits(uint64_t h) {
    h = (h >> 1 & UINT64_C(0x5555555555555555)) | (h & UINT64_C(0x5555555555555555)) << 1;
    h = (h >> 2 & UINT64_C(0x3333333333333333)) | (h & UINT64_C(0x3333333333333333)) << 2;
    h = (h >> 4 & UINT64_C(0x0f0f0f0f0f0f0f0f)) | (h & UINT64_C(0x0f0f0f0f0f0f0f0f)) << 4;
    return __builtin_bswap64(h);
}

// Writes items[0] and all that follow it into the same page; *ret_done tells how many. 0 or -errno.
static int write_into_page(struct index_file *file, const struct index_write *items, size_t count,
                           uint64_t deadline_ns, size_t *ret_done) {
    struct page page;
    uint64_t number, locked;
    (void)find_page(file, items[0].h, &page, &locked);
    int status = tuck_lock_range(file->fd, page_at(locked), INDEX_PAGE, deadline_ns);
    if (status < 0)
        return status;
    // Another process may have split it before we had the lock.
    enum page_outcome outcome = find_page(file, items[0].h, &page, &number);
    size_t done = 0;
    if (outcome == PAGE_UNREADABLE) {
        status = -EIO;
    } else if (number == locked) {
        if (outcome != PAGE_GOOD) {
            status = begin_page(file, number, &page);
        } else {
            page.state = PAGE_LIVE;
            drop_unsound(file, &page);
        }
        while (status == 0 && done < count && low_bits(items[done].h, page.depth) == number) {
            if (apply(file, &page, &items[done]))
                done++;
            else if (!drop_future(&page))
                status = split(file, &page, deadline_ns);
        }
        if (done > 0) {
            int written = write_page(file, &page);
            if (written < 0) {
                status = written;
                done = 0;
            }
        } else if (status == 0 && outcome != PAGE_GOOD) {
            status = write_page(file, &page); // rebuilt deeper than this entry needs: look again
        }
    }
    tuck_unlock_range(file->fd, page_at(locked), INDEX_PAGE);
    *ret_done = done;
    return status;
}

static bool is_hopeless(int status) {
    return status == -ENOSPC || status == -EIO || status == -EDQUOT || status == -EROFS;
}

void tuck_index__file_write(struct index_file *file, struct index_write *items, size_t count,
                            uint64_t deadline_ns) {
    for (size_t i = 0; i < count; i++) {
        items[i].h = hash_of(file, items[i].action.bytes);
        items[i].key = reverse_bits(items[i].h); // entries of one page stand together
        items[i].status = -ETIMEDOUT;
    }
    qsort(items, count, sizeof(*items), compare_keys);
    int status = 0;
    for (size_t at = 0, stalled = 0; at < count;) {
        size_t done = 0;
        if (!is_hopeless(status))
            status = write_into_page(file, items + at, count - at, deadline_ns, &done);
        for (size_t i = at; i < at + done; i++)
            items[i].status = 0;
        at += done;
        stalled = done ? 0 : stalled + 1;
        if (status == 0 && stalled < 64)
            continue;
        if (at < count) { // leave this one, go on with the others
            items[at++].status = status ? status : -ETIMEDOUT;
            stalled = 0;
        }
    }
    int synced = file->is_syncing && fdatasync(file->fd) < 0 ? -errno : 0;
    for (size_t i = 0; synced < 0 && i < count; i++)
        items[i].status = synced;
}

// --- Opening -------------------------------------------------------------------------------------

// A complete new file under a name of its own, ready to be linked or renamed to "entries". 0, or
// -errno.
static int create_file(int dirfd, bool is_syncing, const struct tuck_index_sums *sums,
                       char name[static 25]) {
    uint8_t pages[2 * INDEX_PAGE];
    tuck_index__head_new(sums, pages);
    tuck_random_name(name);
    TUCK_CLEANUP(tuck_close_fd)
    int fd = openat(dirfd, name, O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int status = tuck_pwrite_all(fd, pages, sizeof(pages), 0);
    if (status == 0 && is_syncing && fdatasync(fd) < 0)
        status = -errno;
    if (status < 0)
        (void)unlinkat(dirfd, name, 0);
    return status;
}

static int create_if_missing(int dirfd, bool is_syncing) {
    char name[25];
    int status = create_file(dirfd, is_syncing, NULL, name);
    if (status < 0)
        return status;
    status = tuck_name_file(dirfd, name, dirfd, "entries");
    if (status < 0)
        (void)unlinkat(dirfd, name, 0);
    else if (is_syncing && fsync(dirfd) < 0)
        status = -errno;
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
    int status = S_ISREG(stat.st_mode) && stat.st_nlink <= 2 ? tuck_index__super_read(fd, super)
                                                             : TUCK_INDEX_ABSENT;
    if (status == 0)
        *ret_fd = TUCK_TAKE_FD(fd);
    return status < 0 ? status : 0;
}

// Keeps a damaged file for a look, so that a new one can be begun. One helper at a time, and only
// what is still damaged then: another may have begun the new one. True if it was done.
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

static void guess_depth(struct index_file *file) {
    struct stat stat;
    unsigned depth = 0;
    if (fstat(file->fd, &stat) == 0 && (uint64_t)stat.st_size >= page_at(2))
        depth = top_bit(((uint64_t)stat.st_size - TREE_AT) / INDEX_PAGE - 1) + 1;
    __atomic_store_n(&file->depth_hint, depth > DEPTH_MAX ? DEPTH_MAX : depth, __ATOMIC_RELAXED);
}

int tuck_index__file_open(int dirfd, bool is_syncing, struct tuck_event_sink *sink,
                          struct index_file *file, struct super *ret_super,
                          struct tuck_error *err) {
    TUCK_CLEANUP(tuck_close_fd) int fd = -1;
    for (int attempt = 0;; attempt++) {
        int status = open_file(dirfd, &fd, ret_super);
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
        status = create_if_missing(dirfd, is_syncing);
        if (status < 0)
            return tuck_fail_os(err, -status, "create the index 'entries'");
    }
    *file = (struct index_file){.fd = -1,
                                .boot = tuck_index__boot_tag(),
                                .is_syncing = is_syncing,
                                .seed = ret_super->seed};
    file->dirfd = fcntl(dirfd, F_DUPFD_CLOEXEC, 0);
    if (file->dirfd < 0)
        return tuck_fail_os(err, errno, "hold the index directory");
    file->fd = TUCK_TAKE_FD(fd);
    tuck_index__brief_init(&file->brief);
    tuck_index__brief_bind(&file->brief, file->fd, file->seed, file->boot);
    guess_depth(file);
    return 0;
}

void tuck_index__file_close(struct index_file *file) {
    if (file->fd >= 0)
        tuck_index__brief_close(&file->brief);
    tuck_close_fd(&file->fd);
    tuck_close_fd(&file->dirfd);
}

// 1 if the descriptor is of the file that is there now, 0 if not, or -errno.
static int is_current(const struct index_file *file, int fd) {
    struct stat held, present;
    if (fstat(fd, &held) < 0 || fstatat(file->dirfd, "entries", &present, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    return held.st_ino == present.st_ino && held.st_dev == present.st_dev;
}

int tuck_index__file_follow(struct index_file *file, struct super *ret_super, bool *ret_is_new) {
    *ret_is_new = false;
    int brief = tuck_index__brief_follow(&file->brief, file->dirfd);
    if (brief < 0)
        return brief;
    int is_same = is_current(file, file->fd);
    if (is_same > 0)
        return 0;
    if (is_same < 0) {
        int status =
            is_same == -ENOENT ? create_if_missing(file->dirfd, file->is_syncing) : is_same;
        if (status < 0)
            return status;
    }
    int fd;
    int status = open_file(file->dirfd, &fd, ret_super);
    if (status < 0 || fd < 0)
        return status < 0 ? status : -EIO;
    if (dup2(fd, file->fd) < 0)
        status = -errno;
    (void)fcntl(file->fd, F_SETFD, FD_CLOEXEC);
    (void)close(fd);
    tuck_index__brief_unbind(&file->brief);
    __atomic_store_n(&file->seed, ret_super->seed, __ATOMIC_RELEASE);
    tuck_index__brief_bind(&file->brief, file->fd, ret_super->seed, file->boot);
    guess_depth(file);
    *ret_is_new = true;
    return status;
}

// One of its own: its lock excludes other threads too, and the one held may be of a file that was
// cleared away.
int tuck_index__file_lock_sums(struct index_file *file, uint64_t deadline_ns, int *ret_fd) {
    struct super super;
    for (int attempt = 0; attempt < 8; attempt++) {
        tuck_close_fd(ret_fd);
        int status = open_file(file->dirfd, ret_fd, &super);
        if (status == 0)
            status =
                *ret_fd < 0 ? -EIO : tuck_lock_range(*ret_fd, SUMS_AT, INDEX_PAGE, deadline_ns);
        if (status < 0)
            return status;
        status = is_current(file, *ret_fd);
        if (status != 0)
            return status < 0 ? status : 0;
    }
    return -ETIMEDOUT;
}

int tuck_index__file_renew(struct index_file *file, uint64_t deadline_ns) {
    struct tuck_index_sums sums = {.is_counted = false};
    char name[25];
    // Locked, so that nobody adds to sums that are being left behind; and nothing is left of them
    // that another clear has carried on already. A stopped process does not keep us from it.
    TUCK_CLEANUP(tuck_close_fd) int fd = -1;
    int status = tuck_index__file_lock_sums(file, deadline_ns, &fd);
    if (fd >= 0) // sums that cannot be read are no reason to keep the file
        (void)!tuck_index__sums_read(fd, &sums);
    status = create_file(file->dirfd, file->is_syncing, &sums, name);
    if (status == 0 && renameat(file->dirfd, name, file->dirfd, "entries") < 0) {
        status = -errno;
        (void)unlinkat(file->dirfd, name, 0);
    }
    if (status == 0 && file->is_syncing && fsync(file->dirfd) < 0)
        status = -errno;
    return status;
}

int tuck_index__file_change_sums(struct index_file *file, uint64_t deadline_ns,
                                 void (*change)(void *arg, struct tuck_index_sums *sums),
                                 void *arg) {
    TUCK_CLEANUP(tuck_close_fd) int fd = -1;
    int status = tuck_index__file_lock_sums(file, deadline_ns, &fd);
    return status < 0 ? status : tuck_index__sums_change(fd, change, arg);
}

// --- Walking -------------------------------------------------------------------------------------

static uint64_t sound_slots(const struct index_file *file, const struct page *page) {
    uint64_t slots = 0;
    for (unsigned i = 0; i < page->count; i++)
        slots |= (uint64_t)is_sound(file, &page->slot[i]) << i;
    return slots;
}
_Static_assert(INDEX_SLOTS < 64, "a bit for each slot");

static bool walk_page(struct index_file *file, uint64_t number, struct page *page,
                      bool (*each)(void *arg, const struct tuck_action_id *action,
                                   const struct tuck_entry *entry),
                      void *arg) {
    struct page again;
    uint64_t latest_ns = latest_put_ns(), sound = sound_slots(file, page);
    // Caught in the middle of a write, or damaged for good: looks again before a record is passed
    // over, since whoever walks may conclude that nobody names an object.
    for (int attempt = 0; attempt < 3 && sound != (UINT64_C(1) << page->count) - 1; attempt++) {
        if (read_page(file, number, &again) != PAGE_GOOD)
            continue;
        *page = again;
        sound = sound_slots(file, page);
    }
    for (unsigned i = 0; i < page->count; i++) {
        struct tuck_action_id action;
        struct tuck_entry entry;
        if (!(sound >> i & 1) || page->slot[i].put_ns > latest_ns)
            continue;
        memcpy(action.bytes, page->slot[i].action, TUCK_ID_BYTES);
        tuck_index__entry_of(&page->slot[i], &entry);
        if (!each(arg, &action, &entry))
            return false;
    }
    return true;
}

// How many pages there are. -errno.
static int64_t count_pages(const struct index_file *file) {
    struct stat stat;
    if (fstat(file->fd, &stat) < 0)
        return -errno;
    return stat.st_size <= (off_t)TREE_AT ? 0 : (stat.st_size - (off_t)TREE_AT) / (off_t)INDEX_PAGE;
}

// From page `number` on, the first that is not in a hole: a file of absurd length is mostly one.
// `end` if there is none.
static uint64_t skip_hole(const struct index_file *file, uint64_t number, uint64_t end) {
    off_t data = lseek(file->fd, (off_t)page_at(number), SEEK_DATA);
    if (data < 0)
        return errno == ENXIO ? end : number;
    return (uint64_t)data > page_at(number + 1) ? ((uint64_t)data - TREE_AT) / INDEX_PAGE : number;
}

int tuck_index__file_walk(struct index_file *file,
                          bool (*each)(void *arg, const struct tuck_action_id *action,
                                       const struct tuck_entry *entry),
                          void *arg) {
    TUCK_CLEANUP(tuck_free) struct page *pages = calloc(WALK_PAGES, sizeof(*pages));
    int status = pages ? 0 : -ENOMEM;
    int64_t end = pages ? count_pages(file) : 0;
    for (uint64_t number = 0; end > 0 && number < (uint64_t)end;) {
        number = skip_hole(file, number, (uint64_t)end);
        if (number >= (uint64_t)end) {
            end = count_pages(file);
            continue;
        }
        uint64_t count = (uint64_t)end - number < WALK_PAGES ? (uint64_t)end - number : WALK_PAGES;
        ssize_t n = tuck_pread_full(file->fd, pages, count * sizeof(*pages), page_at(number));
        for (unsigned i = 0; i < count; i++) {
            bool is_good =
                n >= (ssize_t)((i + 1) * sizeof(*pages)) && is_page(file, number + i, &pages[i]);
            enum page_outcome outcome =
                is_good ? PAGE_GOOD : read_page(file, number + i, &pages[i]);
            if (outcome == PAGE_UNREADABLE)
                status = -EIO;
            if (outcome == PAGE_GOOD && is_split_off(file, &pages[i]) &&
                !walk_page(file, number + i, &pages[i], each, arg))
                return status;
        }
        number += count;
        // The file grows meanwhile: entries of a page that was still to come may have moved behind
        // its end.
        if (number >= (uint64_t)end)
            end = count_pages(file);
    }
    return end < 0 ? (int)end : status;
}

// --- The brief of all pages ----------------------------------------------------------------------

// Tells of the pages [number, number + count) what they hold, unless somebody is changing one. False if
// that was not possible.
static bool note_pages(struct index_file *file, uint64_t number, uint64_t count,
                       struct page *pages) {
    struct brief_slot slots[WALK_PAGES];
    uint64_t at = page_at(number), len = count * sizeof(*pages);
    if (tuck_lock_range(file->fd, at, len, 0) < 0)
        return false;
    ssize_t n = tuck_pread_full(file->fd, pages, len, at);
    for (uint64_t i = 0; i < count; i++) {
        bool is_good =
            n >= (ssize_t)((i + 1) * sizeof(*pages)) && is_page(file, number + i, &pages[i]);
        slots[i] = is_good && pages[i].state == PAGE_LIVE && is_split_off(file, &pages[i])
                       ? brief_of(&pages[i])
                       : (struct brief_slot){.count = BRIEF_NOTHING};
    }
    bool is_noted = n > 0 && tuck_index__brief_note(&file->brief, number, slots, count);
    tuck_unlock_range(file->fd, at, len);
    return is_noted;
}

void tuck_index__file_fill_brief(struct index_file *file, const volatile int *stop) {
    tuck_index__brief_want(&file->brief, file->dirfd);
    if (!tuck_index__brief_is_due(&file->brief))
        return;
    TUCK_CLEANUP(tuck_free) struct page *pages = calloc(WALK_PAGES, sizeof(*pages));
    bool is_full = pages != NULL;
    // What is behind this end by then was written, and noted, meanwhile.
    uint64_t end = count_pages(file) > 0 ? (uint64_t)count_pages(file) : 0;
    for (uint64_t number = 0; pages && number < end;) {
        number = skip_hole(file, number, end);
        if (number >= end)
            break;
        uint64_t count = end - number < WALK_PAGES ? end - number : WALK_PAGES;
        if (*stop)
            return;
        is_full &= note_pages(file, number, count, pages);
        number += count;
    }
    if (is_full)
        tuck_index__brief_note_full(&file->brief);
}

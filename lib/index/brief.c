// SPDX-License-Identifier: MIT
#include "lib/index/brief.h"
#include "lib/base/io.h"

#include <errno.h>
#include <fcntl.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define SLOT       sizeof(struct brief_slot)
#define FIRST_BITS 12U // the first segment has 2^12 slots
#define FULL_COUNT 254U
#define LOOK_EACH  1024U

// The first slot says whether all pages have been noted; that of page n is slot n + 1.
#define SLOT_FULL UINT64_C(0)

static const struct brief_slot nothing;

// --- Slots ---------------------------------------------------------------------------------------

// The hash of an action does not depend on it: any bits are as good as others.
static unsigned print_of(const uint8_t *action) {
    return action[TUCK_ID_BYTES - 1] | (action[TUCK_ID_BYTES - 2] & 7U) << 8;
}

void tuck_index__brief_add(struct brief_slot *slot, const uint8_t action[static TUCK_ID_BYTES]) {
    unsigned print = print_of(action), i = slot->count++;
    slot->print[i] = (uint8_t)print;
    for (unsigned bit = 0; bit < TUCK_ARRAY_LEN(slot->more); bit++)
        slot->more[bit][i / 8] |= (uint8_t)((print >> (8 + bit) & 1) << i % 8);
}

static unsigned print_at(const struct brief_slot *slot, unsigned i) {
    unsigned print = slot->print[i];
    for (unsigned bit = 0; bit < TUCK_ARRAY_LEN(slot->more); bit++)
        print |= (slot->more[bit][i / 8] >> i % 8 & 1U) << (8 + bit);
    return print;
}

bool tuck_index__brief_may_have(const struct brief_slot *slot,
                                const uint8_t action[static TUCK_ID_BYTES]) {
    unsigned print = print_of(action);
    const uint8_t *end = slot->print + slot->count, *at = slot->print;
    while ((at = memchr(at, (int)(print & 0xff), (size_t)(end - at)))) {
        if (print_at(slot, (unsigned)(at - slot->print)) == print)
            return true;
        at++;
    }
    return false;
}

// --- Where a slot is -----------------------------------------------------------------------------

static unsigned segment_of(uint64_t slot) {
    return slot >> FIRST_BITS ? 64U - FIRST_BITS - (unsigned)__builtin_clzll(slot) : 0;
}

static uint64_t first_of(unsigned segment) {
    return segment ? UINT64_C(1) << (FIRST_BITS + segment - 1) : 0;
}

static uint64_t end_of(unsigned segment) {
    return UINT64_C(1) << (FIRST_BITS + segment);
}

static uint32_t sized_of(const struct stat *stat) {
    uint32_t sized = 0;
    for (unsigned i = 0; i < BRIEF_SEGMENTS; i++)
        sized |= (uint32_t)((uint64_t)stat->st_size >= end_of(i) * SLOT) << i;
    return sized;
}

// Whoever asks first opens it, beside whoever writes.
static int fd_of(const struct brief *brief) {
    return __atomic_load_n(&brief->fd, __ATOMIC_ACQUIRE);
}

static bool has_slots(const struct brief *brief, uint64_t count) {
    struct stat stat;
    return fstat(fd_of(brief), &stat) == 0 && (uint64_t)stat.st_size >= count * SLOT;
}

// --- Opening -------------------------------------------------------------------------------------

// -ENOENT where there is none and none is wanted.
static int open_fd(int dirfd, bool is_wanted) {
    int flags = O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | (is_wanted ? O_CREAT : 0);
    struct stat stat;
    int fd = openat(dirfd, "brief", flags, 0600);
    // Another user's: whoever has it goes on with the one that is there now.
    if (fd < 0 && errno == EACCES && unlinkat(dirfd, "brief", 0) == 0)
        fd = openat(dirfd, "brief", flags | O_CREAT, 0600);
    if (fd < 0)
        return -errno;
    if (fstat(fd, &stat) < 0 || !S_ISREG(stat.st_mode)) {
        (void)close(fd);
        return -ENXIO;
    }
    return fd;
}

// What is wrong with this process only, so that others may have one.
static bool is_own(int status) {
    return status == -EMFILE || status == -ENFILE || status == -ENOMEM;
}

void tuck_index__brief_init(struct brief *brief) {
    *brief = (struct brief){.fd = -1};
    tuck_mutex_init(&brief->lock, TUCK_RANK_BRIEF);
}

// Opens the first one. 0, or -errno where only this process lacks what it takes.
static int open_first(struct brief *brief, int dirfd) {
    int status = 0;
    tuck_lock(&brief->lock);
    if (brief->fd < 0) {
        int fd = open_fd(dirfd, brief->is_wanted);
        if (fd >= 0)
            __atomic_store_n(&brief->fd, fd, __ATOMIC_RELEASE);
        else if (is_own(fd))
            status = fd;
        else if (brief->is_wanted) // not asked for each time
            __atomic_store_n(&brief->is_off, true, __ATOMIC_RELAXED);
    }
    tuck_unlock(&brief->lock);
    return status;
}

void tuck_index__brief_want(struct brief *brief, int dirfd) {
    if (fd_of(brief) >= 0 || __atomic_load_n(&brief->is_off, __ATOMIC_RELAXED))
        return;
    tuck_lock(&brief->lock);
    brief->is_wanted = true;
    tuck_unlock(&brief->lock);
    (void)!open_first(brief, dirfd);
}

void tuck_index__brief_close(struct brief *brief) {
    for (unsigned i = 0; i < BRIEF_SEGMENTS; i++)
        tuck_mapping_close(&brief->segment[i]);
    tuck_close_fd(&brief->fd);
    tuck_mutex_fini(&brief->lock);
}

void tuck_index__brief_bind(struct brief *brief, int entries_fd, uint64_t seed, uint32_t boot) {
    struct stat stat;
    if (fstat(entries_fd, &stat) < 0) {
        __atomic_store_n(&brief->is_off, true, __ATOMIC_RELAXED);
        return;
    }
    uint64_t of[] = {seed, stat.st_ino, boot, tuck_mount_id(entries_fd)};
    __atomic_store_n(&brief->key, XXH3_64bits(of, sizeof(of)), __ATOMIC_RELEASE);
}

void tuck_index__brief_unbind(struct brief *brief) {
    uint64_t key;
    tuck_random(&key, sizeof(key));
    __atomic_store_n(&brief->key, key, __ATOMIC_RELEASE);
}

static bool is_current(int dirfd, const struct stat *held) {
    struct stat present;
    return fstatat(dirfd, "brief", &present, AT_SYMLINK_NOFOLLOW) == 0 &&
           present.st_ino == held->st_ino && present.st_dev == held->st_dev;
}

// Others go on with the new one as well. Its slots cannot be read here, where a mapping of the old one may
// be in use; but they are kept.
int tuck_index__brief_follow(struct brief *brief, int dirfd) {
    struct stat stat;
    if (fd_of(brief) < 0)
        return open_first(brief, dirfd);
    if (fstat(fd_of(brief), &stat) == 0) {
        brief->sized = sized_of(&stat); // it may have been cut off
        if (is_current(dirfd, &stat))
            return 0;
        (void)!ftruncate(fd_of(brief), 0); // so that nobody reads it any more
    }
    __atomic_store_n(&brief->is_off, true, __ATOMIC_RELAXED);
    int fd = open_fd(dirfd, true), status = 0;
    if (fd < 0)
        return is_own(fd) ? fd : 0;
    brief->sized = 0;
    if (dup2(fd, fd_of(brief)) < 0)
        status = -errno;
    (void)fcntl(fd_of(brief), F_SETFD, FD_CLOEXEC);
    (void)close(fd);
    return status;
}

// --- Reading -------------------------------------------------------------------------------------

static uint64_t check_of(const struct brief *brief, uint64_t number,
                         const struct brief_slot *slot) {
    uint64_t key = __atomic_load_n(&brief->key, __ATOMIC_ACQUIRE);
    return XXH3_64bits_withSeed(slot, offsetof(struct brief_slot, check), key + number);
}

// A segment that was not there is looked for again only now and then, and when this process has made it.
static bool map_segment(struct brief *brief, unsigned segment) {
    uint32_t bit = UINT32_C(1) << segment;
    if (__atomic_fetch_add(&brief->untold, 1, __ATOMIC_RELAXED) % LOOK_EACH == 0)
        __atomic_store_n(&brief->tried, 0, __ATOMIC_RELAXED);
    if (__atomic_fetch_or(&brief->tried, bit, __ATOMIC_RELAXED) & bit)
        return false;
    tuck_lock(&brief->lock);
    bool is_mapped = (brief->mapped & bit) != 0;
    if (!is_mapped && has_slots(brief, end_of(segment))) {
        is_mapped =
            tuck_mapping_open(&brief->segment[segment], fd_of(brief), first_of(segment) * SLOT,
                              (end_of(segment) - first_of(segment)) * SLOT) == 0;
        if (is_mapped)
            __atomic_or_fetch(&brief->mapped, bit, __ATOMIC_RELEASE);
        else
            __atomic_store_n(&brief->is_off, true, __ATOMIC_RELAXED); // not asked for each time
    }
    tuck_unlock(&brief->lock);
    return is_mapped;
}

static bool read_slot(struct brief *brief, uint64_t number, struct brief_slot *ret_slot) {
    unsigned segment = segment_of(number);
    if (fd_of(brief) < 0 || __atomic_load_n(&brief->is_off, __ATOMIC_RELAXED) ||
        segment >= BRIEF_SEGMENTS)
        return false;
    if (!(__atomic_load_n(&brief->mapped, __ATOMIC_ACQUIRE) >> segment & 1) &&
        !map_segment(brief, segment))
        return false;
    // It changes under the eyes; what is torn has no good checksum.
    const uint64_t *from = brief->segment[segment].data;
    uint64_t words[SLOT / sizeof(uint64_t)];
    from += (number - first_of(segment)) * TUCK_ARRAY_LEN(words);
    for (size_t i = 0; i < TUCK_ARRAY_LEN(words); i++)
        words[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
    memcpy(ret_slot, words, SLOT);
    return ret_slot->check == check_of(brief, number, ret_slot);
}

bool tuck_index__brief_read(struct brief *brief, uint64_t page, struct brief_slot *ret_slot) {
    return read_slot(brief, page + 1, ret_slot) && ret_slot->count <= BRIEF_PRINTS;
}

bool tuck_index__brief_is_due(struct brief *brief) {
    struct brief_slot slot;
    bool is_full = read_slot(brief, SLOT_FULL, &slot) && slot.count == FULL_COUNT;
    return !is_full && fd_of(brief) >= 0 && !__atomic_load_n(&brief->is_off, __ATOMIC_RELAXED);
}

// --- Writing -------------------------------------------------------------------------------------

// It grows by a slot that is zero: one that somebody else has noted meanwhile is forgotten.
static bool make_room(struct brief *brief, unsigned segment) {
    uint32_t bit = UINT32_C(1) << segment;
    if (!(brief->sized & bit) &&
        (has_slots(brief, end_of(segment)) ||
         tuck_pwrite_all(fd_of(brief), &nothing, SLOT, (end_of(segment) - 1) * SLOT) == 0)) {
        brief->sized |= bit;
        __atomic_store_n(&brief->tried, 0, __ATOMIC_RELAXED);
    }
    return (brief->sized & bit) != 0;
}

int tuck_index__brief_forget(struct brief *brief, uint64_t page) {
    uint64_t number = page + 1;
    unsigned segment = segment_of(number);
    if (fd_of(brief) < 0 || segment >= BRIEF_SEGMENTS)
        return 0;
    if (!(brief->sized >> segment & 1) && !has_slots(brief, number + 1))
        return 0; // there is none
    int status = tuck_pwrite_all(fd_of(brief), &nothing, SLOT, number * SLOT);
    struct brief_slot slot;
    if ((status == -ENOSPC || status == -EDQUOT) && // a slot that takes no space tells nothing
        tuck_pread_full(fd_of(brief), &slot, SLOT, number * SLOT) == (ssize_t)SLOT &&
        memcmp(&slot, &nothing, SLOT) == 0)
        status = 0;
    return status;
}

bool tuck_index__brief_note(struct brief *brief, uint64_t page, struct brief_slot *slots,
                            size_t count) {
    for (size_t i = 0; i < count; i++)
        slots[i].check = check_of(brief, page + 1 + i, &slots[i]);
    unsigned last = segment_of(page + count);
    return fd_of(brief) >= 0 && last < BRIEF_SEGMENTS && make_room(brief, last) &&
           tuck_pwrite_all(fd_of(brief), slots, count * SLOT, (page + 1) * SLOT) == 0;
}

void tuck_index__brief_note_full(struct brief *brief) {
    struct brief_slot slot = {.count = FULL_COUNT};
    slot.check = check_of(brief, SLOT_FULL, &slot);
    if (fd_of(brief) >= 0 && make_room(brief, 0))
        (void)!tuck_pwrite_all(fd_of(brief), &slot, SLOT, SLOT_FULL);
}

uint64_t tuck_index__brief_bytes(const struct brief *brief) {
    struct stat stat;
    return fd_of(brief) >= 0 && fstat(fd_of(brief), &stat) == 0 ? (uint64_t)stat.st_blocks * 512
                                                                : 0;
}

// SPDX-License-Identifier: MIT
#include "lib/index/index.h"
#include "lib/base/clock.h"
#include "lib/base/io.h"
#include "lib/base/thread.h"
#include "lib/index/file.h"
#include "lib/lru/lru.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define SYNC_AGE_S  60U
#define LOCKS_NS    (250 * TUCK_NS_PER_MS) // how long a flush waits for other processes
#define SUMS_NS     (100 * TUCK_NS_PER_MS)
#define KEPT        256U // entries that stay in memory although they are written: of no use
#define SPOOL_MAGIC UINT64_C(0x316c6f707374756b)

// What the write-back cache holds for an action.
struct waiting {
    enum write_kind kind;
    bool is_spooled;    // it came from a spool and is still there
    bool is_known_good; // the object was written or hashed just now: the entry gets the present
                        // epoch
    struct tuck_entry entry;
};

struct tuck_index {
    struct index_file file;
    struct tuck_event_sink *sink;     /* const after open */
    bool is_durable;                  /* const after open */
    uint64_t deadline_ns;             /* atomic: of the flush that tuck_index_flush() began, or 0 */
    struct tuck_lru_group *own_group; // or NULL
    struct tuck_lru *entries;

    struct tuck_mutex lock;
    /* guarded by lock */
    struct super super; // as last read
    char (*spools)[25]; // files taken in at open, removed after the next flush
    size_t spool_count;
};

// --- The write-back cache of entries -------------------------------------------------------------

struct change {
    struct waiting item;
    size_t room;  // for items that are not dirty yet: there may be so many dirty ones
    bool is_lost; // out: there was none
    const struct tuck_lru *entries;
};

// Newest put first; a use takes nothing back, and what is to go comes back only by a put.
static enum tuck_lru_verdict merge(void *arg, void *value, enum tuck_lru_presence presence) {
    struct change *change = arg;
    const struct waiting *item = &change->item;
    struct waiting *present = value;
    if (presence != TUCK_LRU_IS_DIRTY) {
        change->is_lost = tuck_lru_dirty_count(change->entries) >= change->room;
        if (change->is_lost)
            return TUCK_LRU_KEEP;
        *present = *item;
        return TUCK_LRU_DIRTY;
    }
    struct tuck_entry before = present->entry;
    bool is_same = before.put_ns == item->entry.put_ns;
    if (item->entry.put_ns < before.put_ns && !tuck_index__is_from_future(before.put_ns))
        return TUCK_LRU_KEEP;
    if (item->kind == WRITE_TOUCH &&
        (present->kind == WRITE_REMOVE || (present->kind == WRITE_PUT && !is_same)))
        return TUCK_LRU_KEEP;
    bool was_good = present->is_known_good && is_same;
    enum write_kind kind = item->kind == WRITE_TOUCH ? present->kind : item->kind;
    present->entry = item->entry;
    if (was_good && !item->is_known_good) {
        present->entry.boot = before.boot;
        present->entry.file_tag = before.file_tag;
        present->entry.is_synced = before.is_synced;
    }
    present->is_known_good = was_good || item->is_known_good;
    present->is_spooled &= item->is_spooled;
    present->kind = kind;
    return TUCK_LRU_DIRTY;
}

// False if there was no room or no memory for it.
static bool make_dirty(struct tuck_index *index, const struct tuck_action_id *action,
                       const struct waiting *item, size_t room, uint64_t *ret_seq) {
    struct change change = {.item = *item, .room = room, .entries = index->entries};
    if (item->is_known_good)
        change.item.entry.boot = index->file.boot;
    return tuck_lru_change(index->entries, action, merge, &change, ret_seq, NULL) == 0 &&
           !change.is_lost;
}

// Entries that go because of a clear of the cache: those that came from a spool.
static enum tuck_lru_verdict forget_if_spooled(void *arg, void *value,
                                               enum tuck_lru_presence presence) {
    (void)arg;
    const struct waiting *present = value;
    return presence == TUCK_LRU_IS_DIRTY && present->is_spooled ? TUCK_LRU_FORGET : TUCK_LRU_KEEP;
}

static enum tuck_lru_verdict forget_if_removal(void *arg, void *value,
                                               enum tuck_lru_presence presence) {
    (void)arg;
    const struct waiting *present = value;
    return presence == TUCK_LRU_IS_DIRTY && present->kind == WRITE_REMOVE ? TUCK_LRU_FORGET
                                                                          : TUCK_LRU_KEEP;
}

struct keys {
    struct tuck_action_id *action;
    size_t count, room;
};

static bool note_key(void *arg, const void *key, const void *value) {
    struct keys *keys = arg;
    (void)value;
    if (keys->count < keys->room)
        memcpy(keys->action[keys->count++].bytes, key, TUCK_ID_BYTES);
    return true;
}

// Drops those dirty entries of which forget() says so. Returns how many are dirty no more.
static size_t forget_dirty(struct tuck_index *index,
                           enum tuck_lru_verdict (*forget)(void *arg, void *value,
                                                           enum tuck_lru_presence presence)) {
    size_t before = tuck_lru_dirty_count(index->entries);
    struct keys keys = {.room = before};
    keys.action = calloc(keys.room ? keys.room : 1, sizeof(*keys.action));
    if (keys.action)
        tuck_lru_walk_dirty(index->entries, note_key, &keys);
    for (size_t i = 0; i < keys.count; i++)
        (void)!tuck_lru_change(index->entries, &keys.action[i], forget, NULL, NULL, NULL);
    free(keys.action);
    size_t after = tuck_lru_dirty_count(index->entries);
    return before > after ? before - after : 0;
}

static void change_super(struct tuck_index *index, uint64_t wait_ns,
                         void (*change)(struct super *super, uint32_t arg), uint32_t arg) {
    struct super super;
    if (tuck_index__super_change(index->file.fd, tuck_clock_mono_ns() + wait_ns, change, arg,
                                 &super) < 0)
        return;
    tuck_lock(&index->lock);
    index->super = super;
    tuck_unlock(&index->lock);
}

static void take_super(struct tuck_index *index, const struct super *super) {
    tuck_lock(&index->lock);
    index->super = *super;
    tuck_unlock(&index->lock);
    if (super->boot != index->file.boot)
        change_super(index, 50 * TUCK_NS_PER_MS, tuck_index__enter_boot, index->file.boot);
}

// The epoch is read after the objects were written: see tuck_index_sync_if_due().
static void stamp(struct tuck_index *index, struct index_write *items,
                  const struct tuck_lru_flushed *flushed, size_t count) {
    struct super super;
    bool has_super = tuck_index__super_read(index->file.fd, &super) == 0, has_unsynced = false;
    for (size_t i = 0; i < count; i++) {
        const struct waiting *waiting = flushed[i].value;
        struct tuck_entry *entry = &items[i].entry;
        if (!waiting->is_known_good)
            continue;
        entry->epoch = has_super ? super.epoch : 0; // 0 is never trusted
        entry->is_synced |= index->is_durable && waiting->kind == WRITE_PUT;
        has_unsynced |= !entry->is_synced;
    }
    if (has_super && has_unsynced && super.unsynced_since_s == 0)
        change_super(index, LOCKS_NS, tuck_index__note_unsynced, tuck_index__now_s());
}

static int status_of(int status, struct tuck_error *err) {
    if (status == 0)
        return 0;
    return status == -ETIMEDOUT ? TUCK_LRU_BUSY : tuck_fail_os(err, -status, "write the index");
}

static void flush_entries(void *backend, struct tuck_lru_flushed *flushed, size_t count,
                          struct tuck_error *err) {
    struct tuck_index *index = backend;
    struct super super;
    bool is_new = false;
    TUCK_CLEANUP(tuck_free) struct index_write *items = calloc(count, sizeof(*items));
    int status = items ? tuck_index__file_follow(&index->file, &super, &is_new) : -ENOMEM;
    if (is_new)
        take_super(index, &super);
    if (status < 0) {
        for (size_t i = 0; i < count; i++)
            flushed[i].status = status_of(status, i ? NULL : err);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const struct waiting *waiting = flushed[i].value;
        items[i] = (struct index_write){
            .kind = waiting->kind, .entry = waiting->entry, .number = (uint32_t)i};
        memcpy(items[i].action.bytes, flushed[i].key, TUCK_ID_BYTES);
    }
    stamp(index, items, flushed, count);
    // A flush on behalf of another cache of the group has no deadline of its own.
    uint64_t deadline_ns = __atomic_load_n(&index->deadline_ns, __ATOMIC_RELAXED);
    tuck_index__file_write(&index->file, items, count,
                           deadline_ns ? deadline_ns : tuck_clock_mono_ns() + LOCKS_NS);
    bool has_failed = false;
    for (size_t i = 0; i < count; i++) {
        flushed[items[i].number].status = status_of(items[i].status, has_failed ? NULL : err);
        has_failed |= items[i].status < 0 && items[i].status != -ETIMEDOUT;
    }
}

// --- Opening -------------------------------------------------------------------------------------

static void take_in_spools(struct tuck_index *index);

int tuck_index_open(int dirfd, const struct tuck_index_options *options,
                    struct tuck_index **ret_index, struct tuck_error *err) {
    static const struct tuck_lru_ops ops = {.flush = flush_entries};
    struct tuck_index *index = calloc(1, sizeof(*index));
    struct super super;
    if (!index)
        return tuck_fail(err, TUCK_ENOMEM, "no memory for the index");
    index->sink = options->sink;
    index->is_durable = options->is_durable;
    struct tuck_lru_options how = {
        .ops = &ops,
        .backend = index,
        .key_bytes = TUCK_ID_BYTES,
        .value_bytes = sizeof(struct waiting),
        .limit_items = KEPT,
    };
    tuck_mutex_init(&index->lock, TUCK_RANK_INDEX);
    int status = options->group ? 0 : tuck_lru_group_new(&index->own_group, err);
    if (status == 0)
        status = tuck_lru_new(options->group ? options->group : index->own_group, &how,
                              &index->entries, err);
    if (status == 0)
        status = tuck_index__file_open(dirfd, options->is_durable, options->sink, &index->file,
                                       &super, err);
    if (status < 0) {
        tuck_lru_free(index->entries);
        tuck_lru_group_free(index->own_group);
        tuck_mutex_fini(&index->lock);
        free(index);
        return status;
    }
    take_super(index, &super);
    take_in_spools(index);
    *ret_index = index;
    return 0;
}

void tuck_index_close(struct tuck_index *index) {
    if (!index)
        return;
    tuck_lru_free(index->entries);
    tuck_lru_group_free(index->own_group);
    tuck_index__file_close(&index->file);
    tuck_mutex_fini(&index->lock);
    free(index->spools);
    free(index);
}

struct tuck_lru *tuck_index_lru(struct tuck_index *index) {
    return index->entries;
}

// --- Entries -------------------------------------------------------------------------------------

// One at least: another thread may have flushed the one that was made dirty just now.
static size_t count_dirty(const struct tuck_index *index) {
    size_t count = tuck_lru_dirty_count(index->entries);
    return count ? count : 1;
}

bool tuck_index_believes(uint64_t put_ns) {
    return !tuck_index__is_from_future(put_ns);
}

size_t tuck_index_record(struct tuck_index *index, const struct tuck_action_id *action,
                         const struct tuck_entry *entry) {
    struct waiting item = {.kind = WRITE_PUT, .is_known_good = true, .entry = *entry};
    if (make_dirty(index, action, &item, TUCK_INDEX_DIRTY_MAX, NULL))
        return count_dirty(index);
    tuck_emit(index->sink, TUCK_EVENT_ENTRIES_LOST, NULL, NULL);
    return 0;
}

size_t tuck_index_touch(struct tuck_index *index, const struct tuck_action_id *action,
                        const struct tuck_entry *entry, bool is_verified) {
    struct waiting item = {.kind = WRITE_TOUCH, .is_known_good = is_verified, .entry = *entry};
    if (!make_dirty(index, action, &item, TUCK_INDEX_DIRTY_MAX / 2, NULL)) // puts need the room
        return 0;
    return count_dirty(index);
}

int tuck_index_remove(struct tuck_index *index, const struct tuck_action_id *action,
                      const struct tuck_entry *entry, uint64_t *ret_seq) {
    struct waiting item = {.kind = WRITE_REMOVE, .entry = *entry};
    return make_dirty(index, action, &item, SIZE_MAX, ret_seq) ? 0 : TUCK_ENOMEM;
}

size_t tuck_index_spare(struct tuck_index *index) {
    return forget_dirty(index, forget_if_removal);
}

bool tuck_index_lacks(struct tuck_index *index, const struct tuck_action_id *action) {
    struct waiting waiting;
    bool is_dirty;
    if (tuck_lru_dirty_count(index->entries) > 0 &&
        tuck_lru_peek(index->entries, action, &waiting, &is_dirty) == 0)
        return false;
    return tuck_index__file_lacks(&index->file, action);
}

void tuck_index_fill_brief(struct tuck_index *index, const volatile int *stop) {
    tuck_index__file_fill_brief(&index->file, stop);
}

// What waits here may be older than what another helper has written since: a touch, an entry from a
// spool.
int tuck_index_find(struct tuck_index *index, const struct tuck_action_id *action,
                    struct tuck_entry *ret_entry) {
    struct waiting waiting;
    bool is_dirty = false;
    if (tuck_lru_dirty_count(index->entries) > 0 &&
        tuck_lru_peek(index->entries, action, &waiting, &is_dirty) == 0 && is_dirty)
        is_dirty = !tuck_index__is_from_future(waiting.entry.put_ns);
    int status = tuck_index__file_find(&index->file, action, ret_entry);
    if (status < 0)
        status = TUCK_EIO;
    if (!is_dirty || (status == 0 && ret_entry->put_ns > waiting.entry.put_ns))
        return status;
    if (waiting.kind == WRITE_REMOVE)
        return TUCK_INDEX_ABSENT;
    *ret_entry = waiting.entry;
    return 0;
}

bool tuck_index_trusts(struct tuck_index *index, const struct tuck_entry *entry) {
    if (entry->is_synced || entry->boot == index->file.boot)
        return true;
    tuck_lock(&index->lock);
    bool trusts = tuck_index__super_trusts(&index->super, entry->epoch);
    tuck_unlock(&index->lock);
    return trusts;
}

static void forget_spools(struct tuck_index *index) {
    tuck_lock(&index->lock);
    char(*spools)[25] = TUCK_TAKE(index->spools);
    size_t count = index->spool_count;
    index->spool_count = 0;
    tuck_unlock(&index->lock);
    for (size_t i = 0; i < count; i++) {
        char path[32];
        (void)snprintf(path, sizeof(path), "spool/%s", spools[i]);
        (void)unlinkat(index->file.dirfd, path, 0);
    }
    if (count > 0)
        (void)unlinkat(index->file.dirfd, "spool", AT_REMOVEDIR);
    free(spools);
}

int tuck_index_flush(struct tuck_index *index, uint64_t wait_ns, struct tuck_error *err) {
    __atomic_store_n(&index->deadline_ns, tuck_clock_mono_ns() + wait_ns, __ATOMIC_RELAXED);
    int status = tuck_lru_flush(index->entries, UINT64_MAX, err);
    __atomic_store_n(&index->deadline_ns, 0, __ATOMIC_RELAXED);
    if (status == 0)
        forget_spools(index);
    return status == TUCK_LRU_BUSY ? TUCK_INDEX_BUSY : status;
}

// --- Spool ---------------------------------------------------------------------------------------

struct spool_head {
    uint64_t magic;
    uint64_t count;
    uint64_t check; // of the records
};

struct spooling {
    struct tuck_index *index;
    struct record *records;
    size_t count, room;
};

static bool spool_one(void *arg, const void *key, const void *value) {
    struct spooling *spooling = arg;
    const struct waiting *waiting = value;
    struct tuck_action_id action;
    memcpy(action.bytes, key, TUCK_ID_BYTES);
    if (waiting->kind == WRITE_PUT && !waiting->is_spooled && spooling->count < spooling->room)
        spooling->records[spooling->count++] =
            tuck_index__record_of(&spooling->index->file, &action, &waiting->entry);
    return true;
}

static int open_spool_dir(struct tuck_index *index) {
    return tuck_open_beneath(index->file.dirfd, "spool", O_DIRECTORY | O_RDONLY, 0);
}

size_t tuck_index_spool(struct tuck_index *index) {
    size_t room = tuck_lru_dirty_count(index->entries);
    TUCK_CLEANUP(tuck_free) struct record *records = calloc(room ? room : 1, sizeof(*records));
    struct spooling spooling = {index, records, 0, room};
    if (!records)
        return room;
    tuck_lru_walk_dirty(index->entries, spool_one, &spooling);
    size_t count = spooling.count;
    if (count == 0)
        return 0;
    struct spool_head head = {SPOOL_MAGIC, count,
                              XXH3_64bits_withSeed(records, count * sizeof(*records), SPOOL_MAGIC)};
    TUCK_CLEANUP(tuck_close_fd) int dirfd = -1;
    TUCK_CLEANUP(tuck_close_fd) int fd = -1;
    char name[25];
    tuck_random_name(name);
    for (int attempt = 0; attempt < 4 && fd < 0;
         attempt++) { // others remove the directory when it is empty
        if (mkdirat(index->file.dirfd, "spool", 0700) < 0 && errno != EEXIST)
            return count;
        tuck_close_fd(&dirfd);
        dirfd = open_spool_dir(index);
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
        head.magic != SPOOL_MAGIC ||
        head.count > TUCK_INDEX_DIRTY_MAX - tuck_lru_dirty_count(index->entries))
        return; // perhaps still being written
    size_t len = (size_t)head.count * sizeof(struct record);
    TUCK_CLEANUP(tuck_free) struct record *records = malloc(len ? len : 1);
    if (!records || tuck_pread_full(fd, records, len, sizeof(head)) != (ssize_t)len ||
        XXH3_64bits_withSeed(records, len, SPOOL_MAGIC) != head.check)
        return;
    for (size_t i = 0; i < head.count; i++) {
        struct waiting item = {.kind = WRITE_PUT, .is_spooled = true};
        struct tuck_action_id action;
        memcpy(action.bytes, records[i].action, TUCK_ID_BYTES);
        tuck_index__entry_of(&records[i], &item.entry);
        item.entry.epoch = 0; // nobody knows which syncs its object has seen
        if (!make_dirty(index, &action, &item, TUCK_INDEX_DIRTY_MAX, NULL))
            return; // the file stays for another
    }
    char(*grown)[25] = realloc(index->spools, (index->spool_count + 1) * sizeof(*grown));
    if (grown) {
        index->spools = grown;
        (void)snprintf(index->spools[index->spool_count++], sizeof(*grown), "%s", name);
    }
}

static void take_in_spools(struct tuck_index *index) {
    TUCK_CLEANUP(tuck_close_fd) int dirfd = open_spool_dir(index);
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
    if (tuck_index__super_read(index->file.fd, &super) != 0 || super.unsynced_since_s == 0 ||
        super.boot != index->file.boot || tuck_index__now_s() < super.unsynced_since_s + SYNC_AGE_S)
        return;
    if (flock(index->file.dirfd, LOCK_EX | LOCK_NB) < 0)
        return; // another helper is at it
    uint32_t before = super.epoch;
    change_super(index, SUMS_NS, tuck_index__next_epoch, 0);
    uint32_t epoch = index->super.epoch;
    if (epoch > before && sync(index->file.fd) == 0)
        change_super(index, SUMS_NS, tuck_index__note_durable, epoch);
    (void)flock(index->file.dirfd, LOCK_UN);
}

// --- The whole file ------------------------------------------------------------------------------

int tuck_index_walk(struct tuck_index *index,
                    bool (*each)(void *arg, const struct tuck_action_id *action,
                                 const struct tuck_entry *entry),
                    void *arg, struct tuck_error *err) {
    int status = tuck_index__file_walk(&index->file, each, arg);
    return status < 0 ? tuck_fail_os(err, -status, "read the index") : 0;
}

// What waits in the spool belongs to the cache that is cleared; what this process has recorded does
// not.
static void forget_spooled(struct tuck_index *index) {
    (void)forget_dirty(index, forget_if_spooled);
    int fd = open_spool_dir(index);
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

struct waiting_walk {
    bool (*each)(void *arg, const struct tuck_action_id *action, const struct tuck_entry *entry);
    void *arg;
};

static bool visit_waiting(void *arg, const void *key, const void *value) {
    const struct waiting_walk *walk = arg;
    const struct waiting *waiting = value;
    struct tuck_action_id action;
    memcpy(action.bytes, key, TUCK_ID_BYTES);
    return waiting->kind != WRITE_PUT || walk->each(walk->arg, &action, &waiting->entry);
}

void tuck_index_walk_waiting(struct tuck_index *index,
                             bool (*each)(void *arg, const struct tuck_action_id *action,
                                          const struct tuck_entry *entry),
                             void *arg) {
    struct waiting_walk walk = {each, arg};
    tuck_lru_walk_dirty(index->entries, visit_waiting, &walk);
}

static int follow(struct tuck_index *index) {
    struct super super;
    bool is_new;
    int status = tuck_index__file_follow(&index->file, &super, &is_new);
    if (status == 0 && is_new)
        take_super(index, &super);
    return status;
}

int tuck_index_follow(struct tuck_index *index, struct tuck_error *err) {
    int status = follow(index);
    return status < 0 ? tuck_fail_os(err, -status, "open the index anew") : 0;
}

uint64_t tuck_index_bytes(struct tuck_index *index) {
    struct stat stat;
    uint64_t entries = fstat(index->file.fd, &stat) == 0 ? (uint64_t)stat.st_blocks * 512 : 0;
    return entries + tuck_index__brief_bytes(&index->file.brief);
}

int tuck_index_clear(struct tuck_index *index, struct tuck_error *err) {
    int status = tuck_index__file_renew(&index->file, tuck_clock_mono_ns() + SUMS_NS);
    if (status == 0)
        status = follow(index);
    if (status < 0)
        return tuck_fail_os(err, -status, "begin a new index");
    forget_spooled(index);
    return 0;
}

// --- Sums ----------------------------------------------------------------------------------------

void tuck_index_sums(struct tuck_index *index, void (*add)(void *arg, struct tuck_index_sums *sums),
                     void *arg, struct tuck_index_sums *ret_sums) {
    TUCK_CLEANUP(tuck_close_fd) int fd = -1;
    (void)!tuck_index__file_lock_sums(&index->file, tuck_clock_mono_ns() + SUMS_NS, &fd);
    (void)!tuck_index__sums_read(fd >= 0 ? fd : index->file.fd, ret_sums);
    if (add)
        add(arg, ret_sums); // the lock goes with the descriptor
}

int tuck_index_change_sums(struct tuck_index *index,
                           void (*change)(void *arg, struct tuck_index_sums *sums), void *arg) {
    int status =
        tuck_index__file_change_sums(&index->file, tuck_clock_mono_ns() + SUMS_NS, change, arg);
    if (status == -ETIMEDOUT)
        return TUCK_INDEX_BUSY;
    return status < 0 ? TUCK_EIO : 0;
}

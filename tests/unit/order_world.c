// SPDX-License-Identifier: MIT
#include "tests/unit/order_world.h"

#include "lib/index/file.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

int __real_renameat(int from, const char *old, int to, const char *new);
int __wrap_renameat(int from, const char *old, int to, const char *new);
int __real_fstatat64(int dirfd, const char *path, struct stat *ret_stat, int flags);
int __wrap_fstatat64(int dirfd, const char *path, struct stat *ret_stat, int flags);
int __real_unlinkat(int dirfd, const char *path, int flags);
int __wrap_unlinkat(int dirfd, const char *path, int flags);
int __real_fstatvfs64(int fd, struct statvfs *ret_space);
int __wrap_fstatvfs64(int fd, struct statvfs *ret_space);
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__real_realloc(void *data, size_t size);
void *__wrap_realloc(void *data, size_t size);

#define OBJECTS_MAX 8192
#define PAGE        4096

// What is known of the objects that got their names while we watched.
struct known {
    struct tuck_output_id output;
    bool has_synced_data, has_synced_name;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; // flushers and collectors come here too
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct known known[OBJECTS_MAX];
static size_t known_count;
static bool is_watching;
static enum tuck_durability level;
static struct tuck_output_id
    unsynced[OBJECTS_MAX]; // outputs of which pages lost an entry since the last sync
static size_t unsynced_count;
static struct order_seen seen;
static char fault[400]; // the first

static void (*before_removal)(void *arg);
static void *before_removal_arg;

static size_t visits_left;
static void (*before_visit)(void *arg);
static void *before_visit_arg;

// --- What stands where ---------------------------------------------------------------------------

static void note_fault(const char *what, const struct tuck_output_id *output) {
    char hex[TUCK_ID_HEX + 1] = {0};
    tuck_hex(hex, output->bytes, TUCK_ID_BYTES);
    if (!fault[0])
        (void)snprintf(fault, sizeof(fault), "%s %s", hex, what);
}

// The output whose object has this path. False if it is none.
static bool output_of(const char *path, struct tuck_output_id *ret_output) {
    const char *at = strstr(path, "objects/");
    return at && strlen(at) == 8 + 2 + 1 + 62 && tuck_unhex(ret_output->bytes, at + 8, 1) &&
           tuck_unhex(ret_output->bytes + 1, at + 11, TUCK_ID_BYTES - 1);
}

static struct known *find_known(const struct tuck_output_id *output) {
    for (size_t i = 0; i < known_count; i++)
        if (tuck_output_equal(&known[i].output, output))
            return &known[i];
    return NULL;
}

static struct record *slots_of(const uint8_t *page, unsigned *ret_count) {
    uint16_t count;
    memcpy(&count, page + 6, sizeof(count));
    *ret_count = count <= INDEX_SLOTS ? count : 0;
    return (struct record *)(uintptr_t)(page + 64);
}

// Calls each() for the records of all pages, as they are in the file.
static bool any_record(const char *path, bool (*each)(const void *arg, const struct record *record),
                       const void *arg) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    _Alignas(8) uint8_t page[PAGE];
    bool result = false;
    for (off_t at = 2 * PAGE; fd >= 0 && !result && pread(fd, page, PAGE, at) == PAGE; at += PAGE) {
        unsigned count;
        struct record *slot = slots_of(page, &count);
        for (unsigned i = 0; i < count && !result; i++)
            result = each(arg, &slot[i]);
    }
    if (fd >= 0)
        (void)close(fd);
    return result;
}

static bool is_same_entry(const void *arg, const struct record *record) {
    const struct record *other = arg;
    return memcmp(record->action, other->action, TUCK_ID_BYTES) == 0 &&
           memcmp(record->output, other->output, TUCK_ID_BYTES) == 0 &&
           record->put_ns == other->put_ns;
}

static bool names_output(const void *arg, const struct record *record) {
    return memcmp(record->output, ((const struct tuck_output_id *)arg)->bytes, TUCK_ID_BYTES) == 0;
}

bool order_is_named(const char *dir, const struct tuck_output_id *output) {
    char path[4400];
    (void)snprintf(path, sizeof(path), "%s/index/entries", dir);
    return any_record(path, names_output, output);
}

// --- Rule A --------------------------------------------------------------------------------------

static void check_entry(const char *entries, const struct record *record) {
    struct tuck_output_id output;
    struct stat stat;
    char path[4600], hex[TUCK_ID_HEX + 1] = {0};
    memcpy(output.bytes, record->output, TUCK_ID_BYTES);
    tuck_hex(hex, output.bytes, TUCK_ID_BYTES);
    (void)snprintf(path, sizeof(path), "%.*s/objects/%.2s/%s",
                   (int)(strlen(entries) - strlen("/index/entries")), entries, hex, hex + 2);
    seen.entries++;
    if (lstat(path, &stat) < 0)
        note_fault("has an entry and no object", &output);
    const struct known *object = find_known(&output);
    if (level != TUCK_LAZY && (!object || !object->has_synced_data || !object->has_synced_name))
        note_fault("has an entry and is not durable", &output);
}

// Which entries are on the page no more. Others may have moved.
static void note_unsynced(const char *path, const uint8_t *page, off_t offset) {
    _Alignas(8) uint8_t before[PAGE];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : pread(fd, before, PAGE, offset);
    if (fd >= 0)
        (void)close(fd);
    if (len != PAGE)
        return; // a new one
    unsigned old_count, count;
    struct record *old = slots_of(before, &old_count), *slot = slots_of(page, &count);
    for (unsigned i = 0; i < old_count; i++) {
        bool stays = false;
        for (unsigned k = 0; k < count && !stays; k++)
            stays = is_same_entry(&old[i], &slot[k]);
        if (!stays && unsynced_count < OBJECTS_MAX)
            memcpy(unsynced[unsynced_count++].bytes, old[i].output, TUCK_ID_BYTES);
    }
}

static bool is_unsynced(const struct tuck_output_id *output) {
    for (size_t i = 0; i < unsynced_count; i++)
        if (tuck_output_equal(&unsynced[i], output))
            return true;
    return unsynced_count == OBJECTS_MAX;
}

static void check_page(const char *path, const uint8_t *page, off_t offset) {
    unsigned count;
    struct record *slot = slots_of(page, &count);
    for (unsigned i = 0; i < count; i++)
        if (!any_record(path, is_same_entry, &slot[i]))
            check_entry(path, &slot[i]);
    note_unsynced(path, page, offset);
}

static void note_synced(const char *path, bool of_data, bool of_name) {
    for (size_t i = 0; i < known_count; i++) {
        char name[80] = "objects/";
        tuck_hex(name + 8, known[i].output.bytes, 1);
        name[10] = '\0';
        const char *at = path ? strstr(path, name) : "";
        if (at && path && of_data) {
            name[10] = '/';
            tuck_hex(name + 11, known[i].output.bytes + 1, TUCK_ID_BYTES - 1);
            at = strstr(path, name);
        }
        known[i].has_synced_data |= at && of_data;
        known[i].has_synced_name |= at && of_name;
    }
}

static void watch(enum call call, const char *path, const void *data, size_t len, off_t offset) {
    struct tuck_output_id output;
    (void)pthread_mutex_lock(&lock);
    if (call == CALL_NAME_OBJECT && output_of(path, &output)) {
        struct known *object = find_known(&output);
        if (!object && known_count < OBJECTS_MAX)
            object = &known[known_count++];
        if (object)
            *object = (struct known){.output = output};
    }
    if (call == CALL_SYNC_OBJECT)
        note_synced(path, true, false);
    if (call == CALL_SYNC_OBJECTS)
        note_synced(path, false, true);
    if (call == CALL_SYNC_ALL)
        note_synced(NULL, true, true);
    if (call == CALL_SYNC_ENTRIES || call == CALL_SYNC_ALL)
        unsynced_count = 0;
    // Nobody will read a file that was cleared away in the middle of a flush.
    if (call == CALL_WRITE_ENTRIES && len == PAGE && !strstr(path, " (deleted)"))
        check_page(path, data, offset);
    (void)pthread_mutex_unlock(&lock);
}

void order_watch(enum tuck_durability at_level) {
    (void)pthread_mutex_lock(&lock);
    level = at_level;
    known_count = 0;
    unsynced_count = 0;
    seen = (struct order_seen){0};
    fault[0] = '\0';
    is_watching = true;
    kernel_watcher = watch;
    (void)pthread_mutex_unlock(&lock);
}

void order_forget(void) {
    (void)pthread_mutex_lock(&lock);
    is_watching = false;
    kernel_watcher = NULL;
    before_removal = NULL;
    before_visit = NULL;
    (void)pthread_mutex_unlock(&lock);
}

struct order_seen order_check(void) {
    (void)pthread_mutex_lock(&lock);
    struct order_seen result = seen;
    char what[400];
    memcpy(what, fault, sizeof(what));
    (void)pthread_mutex_unlock(&lock);
    if (what[0])
        print_message("# %s\n", what);
    assert_string_equal(what, "");
    return result;
}

bool order_has_fault(void) {
    (void)pthread_mutex_lock(&lock);
    bool result = fault[0];
    (void)pthread_mutex_unlock(&lock);
    return result;
}

bool order_wait(size_t removals) {
    struct timespec until;
    int status = 0;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    (void)pthread_mutex_lock(&lock);
    while (seen.removals < removals && status == 0)
        status = pthread_cond_timedwait(&changed, &lock, &until);
    bool result = seen.removals >= removals;
    (void)pthread_mutex_unlock(&lock);
    return result;
}

// --- Rule B --------------------------------------------------------------------------------------

void order_before_removal(void (*act)(void *arg), void *arg) {
    (void)pthread_mutex_lock(&lock);
    before_removal = act;
    before_removal_arg = arg;
    (void)pthread_mutex_unlock(&lock);
}

static void step_in(void) {
    (void)pthread_mutex_lock(&lock);
    void (*act)(void *arg) = before_removal;
    void *arg = before_removal_arg;
    before_removal = NULL;
    (void)pthread_mutex_unlock(&lock);
    if (act)
        act(arg);
}

static void directory_of(int fd, char ret_path[static 4200]) {
    char link[64];
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, ret_path, 4199);
    ret_path[len < 0 ? 0 : len] = '\0';
}

static void check_removal(const char *root, const struct tuck_output_id *output) {
    (void)pthread_mutex_lock(&lock);
    if (is_watching) {
        seen.removals++;
        (void)pthread_cond_broadcast(&changed);
        if (order_is_named(root, output))
            note_fault("goes before its entry", output);
        if (level != TUCK_LAZY && is_unsynced(output))
            note_fault("goes before its entry has gone durably", output);
    }
    (void)pthread_mutex_unlock(&lock);
}

// Objects go by way of staging/; to quarantine/ go damaged ones, whose entries lead nowhere anyhow.
int __wrap_renameat(int from, const char *old, int to, const char *new) {
    char target[4200], root[4200];
    struct tuck_output_id output;
    directory_of(to, target);
    if (strstr(target, "/staging") && output_of(old, &output)) {
        step_in();
        directory_of(from, root);
        check_removal(root, &output);
    }
    return __real_renameat(from, old, to, new);
}

int __wrap_unlinkat(int dirfd, const char *path, int flags) {
    char root[4200];
    struct tuck_output_id output;
    directory_of(dirfd, root);
    if (output_of(path, &output)) { // it does not go by way of staging/
        step_in();
        check_removal(root, &output);
    }
    return __real_unlinkat(dirfd, path, flags);
}

// --- Walks over the drive ------------------------------------------------------------------------

void order_before_visit(size_t n, void (*act)(void *arg), void *arg) {
    visits_left = n;
    before_visit = act;
    before_visit_arg = arg;
}

int __wrap_fstatat64(int dirfd, const char *path, struct stat *ret_stat, int flags) {
    if (before_visit && strlen(path) == 62 && --visits_left == 0) {
        void (*act)(void *arg) = before_visit;
        before_visit = NULL;
        act(before_visit_arg);
    }
    return __real_fstatat64(dirfd, path, ret_stat, flags);
}

// --- Memory --------------------------------------------------------------------------------------

static size_t allocations, failing; /* atomic */

size_t memory_fail_at(size_t n) {
    size_t count = __atomic_exchange_n(&allocations, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&failing, n, __ATOMIC_RELAXED);
    return count;
}

static bool is_short(void) {
    size_t n = __atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED);
    bool result = n == __atomic_load_n(&failing, __ATOMIC_RELAXED);
    if (result)
        errno = ENOMEM;
    return result;
}

void *__wrap_malloc(size_t size) {
    return is_short() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
    return is_short() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *data, size_t size) {
    return is_short() ? NULL : __real_realloc(data, size);
}

// --- Space ---------------------------------------------------------------------------------------

static struct fake_space pretended;

void kernel_pretend_space(struct fake_space space) {
    pretended = space;
}

int __wrap_fstatvfs64(int fd, struct statvfs *ret_space) {
    int status = __real_fstatvfs64(fd, ret_space);
    if (status == 0 && pretended.blocks > 0) {
        ret_space->f_bsize = ret_space->f_frsize = PAGE;
        ret_space->f_blocks = pretended.blocks;
        ret_space->f_bfree = ret_space->f_bavail = pretended.blocks_free;
        ret_space->f_files = pretended.files;
        ret_space->f_ffree = ret_space->f_favail = pretended.files_free;
    }
    return status;
}

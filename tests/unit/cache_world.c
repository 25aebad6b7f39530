// SPDX-License-Identifier: MIT
#include "tests/unit/cache_world.h"

#include "lib/base/clock.h"
#include "lib/base/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>

// --- System calls --------------------------------------------------------------------------------

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
ssize_t __real_pread64(int fd, void *data, size_t len, off_t offset);
ssize_t __wrap_pread64(int fd, void *data, size_t len, off_t offset);
ssize_t __real_pwrite64(int fd, const void *data, size_t len, off_t offset);
ssize_t __wrap_pwrite64(int fd, const void *data, size_t len, off_t offset);
int __real_linkat(int from, const char *old, int to, const char *new, int flags);
int __wrap_linkat(int from, const char *old, int to, const char *new, int flags);
int __wrap_fdatasync(int fd);
int __wrap_fsync(int fd);
int __wrap_syncfs(int fd);

#define LOG_ROOM 100000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; // the flusher logs too
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static enum call calls[LOG_ROOM];
static size_t call_count;

void (*kernel_watcher)(enum call call, const char *path, const void *data, size_t len,
                       off_t offset);

static void tell(enum call call, const char *path, const void *data, size_t len, off_t offset) {
    if (kernel_watcher)
        kernel_watcher(call, path, data, len, offset);
}

static char full_path[4200], unreadable_path[4200];
static bool has_broken_syncs;
static unsigned touches;
static int boot;

void calls_note(enum call call) {
    (void)pthread_mutex_lock(&lock);
    if (call_count < LOG_ROOM)
        calls[call_count++] = call;
    (void)pthread_cond_broadcast(&changed);
    (void)pthread_mutex_unlock(&lock);
}

void calls_forget(void) {
    (void)pthread_mutex_lock(&lock);
    call_count = 0;
    (void)pthread_mutex_unlock(&lock);
}

static size_t count_locked(enum call call) {
    size_t count = 0;
    for (size_t i = 0; i < call_count; i++)
        count += calls[i] == call;
    return count;
}

size_t calls_count(enum call call) {
    (void)pthread_mutex_lock(&lock);
    size_t count = count_locked(call);
    (void)pthread_mutex_unlock(&lock);
    return count;
}

size_t calls_first(enum call call) {
    size_t found = SIZE_MAX;
    (void)pthread_mutex_lock(&lock);
    for (size_t i = call_count; i-- > 0;)
        found = calls[i] == call ? i : found;
    (void)pthread_mutex_unlock(&lock);
    return found;
}

size_t calls_last(enum call call) {
    size_t found = SIZE_MAX;
    (void)pthread_mutex_lock(&lock);
    for (size_t i = 0; i < call_count; i++)
        found = calls[i] == call ? i : found;
    (void)pthread_mutex_unlock(&lock);
    return found;
}

bool calls_wait(enum call call, size_t count) {
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    (void)pthread_mutex_lock(&lock);
    int status = 0;
    while (count_locked(call) < count && status == 0)
        status = pthread_cond_timedwait(&changed, &lock, &until);
    bool result = count_locked(call) >= count;
    (void)pthread_mutex_unlock(&lock);
    return result;
}

void kernel_fill(const char *path) {
    (void)pthread_mutex_lock(&lock);
    (void)snprintf(full_path, sizeof(full_path), "%s", path ? path : "");
    (void)pthread_mutex_unlock(&lock);
}

int (*kernel_hook)(const char *path, bool is_writing);

static bool is_refused(const char *path, bool is_writing) {
    int (*hook)(const char *, bool) = __atomic_load_n(&kernel_hook, __ATOMIC_RELAXED);
    int failed = hook ? hook(path, is_writing) : 0;
    errno = failed ? failed : errno;
    return failed != 0;
}

void kernel_break_reads(const char *path) {
    (void)pthread_mutex_lock(&lock);
    (void)snprintf(unreadable_path, sizeof(unreadable_path), "%s", path ? path : "");
    (void)pthread_mutex_unlock(&lock);
}

static bool is_below(const char *path, const char *top) {
    (void)pthread_mutex_lock(&lock);
    bool result = top[0] && strncmp(path, top, strlen(top)) == 0;
    (void)pthread_mutex_unlock(&lock);
    return result;
}

void kernel_break_syncs(bool do_break) {
    has_broken_syncs = do_break;
}

void kernel_touch_objects(unsigned count) {
    touches = count;
}

void kernel_pretend_boot(int number) {
    boot = number;
}

static void path_of_fd(int fd, char ret_path[static 4200]) {
    char link[64];
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, ret_path, 4199);
    ret_path[len < 0 ? 0 : len] = '\0';
}

static bool is_object(const char *path) {
    return strstr(path, "/objects/") || strstr(path, "/staging/");
}

static bool is_entries(const char *path) {
    return strstr(path, "/index/entries") != NULL;
}

int __wrap_open64(const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (is_refused(path, flags & (O_CREAT | O_TRUNC)))
        return -1;
    if (boot == 0 || strcmp(path, "/proc/sys/kernel/random/boot_id") != 0)
        return __real_open64(path, flags, mode);
    char name[64];
    int fd = memfd_create("boot_id", MFD_CLOEXEC);
    int len = snprintf(name, sizeof(name), "00000000-0000-0000-0000-%012d\n", boot);
    (void)!__real_pwrite64(fd, name, (size_t)len, 0);
    return fd;
}

ssize_t __wrap_pread64(int fd, void *data, size_t len, off_t offset) {
    char path[4200];
    path_of_fd(fd, path);
    if (is_refused(path, false))
        return -1;
    if (is_below(path, unreadable_path)) {
        errno = EIO;
        return -1;
    }
    if (is_object(path))
        calls_note(CALL_READ_OBJECT);
    ssize_t n = __real_pread64(fd, data, len, offset);
    if (is_object(path) && touches > 0) {
        touches--;
        (void)!futimens(fd, NULL);
    }
    return n;
}

ssize_t __wrap_pwrite64(int fd, const void *data, size_t len, off_t offset) {
    char path[4200];
    path_of_fd(fd, path);
    if (is_refused(path, true))
        return -1;
    if (is_below(path, full_path)) {
        errno = ENOSPC;
        return -1;
    }
    if (is_entries(path) && offset >= 2 * 4096)
        tell(CALL_WRITE_ENTRIES, path, data, len, offset);
    ssize_t written = __real_pwrite64(fd, data, len, offset);
    int error = errno;
    if (is_entries(path) && offset >= 2 * 4096)
        calls_note(CALL_WRITE_ENTRIES);
    if (is_object(path))
        calls_note(CALL_WRITE_OBJECT);
    errno = error;
    return written;
}

int __wrap_linkat(int from, const char *old, int to, const char *new, int flags) {
    char path[4200];
    path_of_fd(to, path);
    if (is_refused(path, true))
        return -1;
    int status = __real_linkat(from, old, to, new, flags);
    int error = errno;
    if (status == 0 && strstr(path, "/objects/")) {
        char named[4400];
        (void)snprintf(named, sizeof(named), "%s/%s", path, new);
        calls_note(CALL_NAME_OBJECT);
        tell(CALL_NAME_OBJECT, named, NULL, 0, 0);
    }
    errno = error;
    return status;
}

static int note_sync(int fd) {
    char path[4200];
    struct stat stat;
    path_of_fd(fd, path);
    if (is_refused(path, true) || fstat(fd, &stat) < 0)
        return -1;
    enum call call = is_entries(path)            ? CALL_SYNC_ENTRIES
                     : !strstr(path, "/objects") ? CALL_SYNC_OTHER
                     : S_ISDIR(stat.st_mode)     ? CALL_SYNC_OBJECTS
                                                 : CALL_SYNC_OBJECT;
    calls_note(call);
    tell(call, path, NULL, 0, 0);
    return 0;
}

// The log is what counts; the disk is spared.
int __wrap_fdatasync(int fd) {
    return note_sync(fd);
}

int __wrap_fsync(int fd) {
    return note_sync(fd);
}

int __wrap_syncfs(int fd) {
    char path[4200];
    path_of_fd(fd, path);
    if (!path[0] || has_broken_syncs) {
        errno = EIO;
        return -1;
    }
    calls_note(CALL_SYNC_ALL);
    tell(CALL_SYNC_ALL, path, NULL, 0, 0);
    return 0;
}

// --- Worlds --------------------------------------------------------------------------------------

#define EVENTS 32

static unsigned events[EVENTS];
static struct happened {
    char path[4200];
    char reason[300];
} last_event[EVENTS];

static void note_event(struct tuck_event_sink *sink, const struct tuck_event *event) {
    (void)sink;
    (void)pthread_mutex_lock(&lock);
    struct happened *last = &last_event[event->kind];
    events[event->kind]++;
    (void)snprintf(last->path, sizeof(last->path), "%s", event->path ? event->path : "");
    (void)snprintf(last->reason, sizeof(last->reason), "%s",
                   event->error ? event->error->text : "");
    (void)pthread_cond_broadcast(&changed);
    (void)pthread_mutex_unlock(&lock);
}

unsigned events_of(enum tuck_event_kind kind) {
    (void)pthread_mutex_lock(&lock);
    unsigned count = events[kind];
    (void)pthread_mutex_unlock(&lock);
    return count;
}

bool events_wait(enum tuck_event_kind kind, unsigned count) {
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    (void)pthread_mutex_lock(&lock);
    int status = 0;
    while (events[kind] < count && status == 0)
        status = pthread_cond_timedwait(&changed, &lock, &until);
    bool result = events[kind] >= count;
    (void)pthread_mutex_unlock(&lock);
    return result;
}

const char *event_path(enum tuck_event_kind kind) {
    return last_event[kind].path;
}

const char *event_reason(enum tuck_event_kind kind) {
    return last_event[kind].reason;
}

struct cache_world cache_world_new(void) {
    struct cache_world world = {.gocache = unit_directory(), .tmp = unit_directory()};
    world.dir = unit_path(world.gocache, "tuck");
    assert_int_equal(setenv("TMPDIR", world.tmp, 1), 0);
    memset(events, 0, sizeof(events));
    memset(last_event, 0, sizeof(last_event));
    __atomic_store_n(&kernel_hook, NULL, __ATOMIC_RELAXED);
    kernel_fill(NULL);
    kernel_break_reads(NULL);
    kernel_break_syncs(false);
    kernel_pretend_boot(0);
    calls_forget();
    return world;
}

static int open_cache(const struct cache_world *world, enum tuck_durability durability,
                      bool must_exist, struct tuck_cache **ret_cache, struct tuck_error *err) {
    static struct tuck_event_sink sink = {note_event};
    const char *drives[] = {world->dir};
    struct tuck_cache_options options = {
        .drives = world->drive_count ? world->drives : drives,
        .drive_count = world->drive_count ? world->drive_count : 1,
        .gocache = world->gocache,
        .durability = durability,
        .bound = world->bound,
        .sink = &sink,
        .must_exist = must_exist,
    };
    if (!world->bound.high) // as the settings have it, but without a floor: the disk may be full
        options.bound = (struct tuck_bound){
            .quota = TUCK_QUOTA_DEFAULT, .low = 80, .high = 90, .keep_s = 86400};
    return tuck_cache_open(&options, ret_cache, err);
}

struct tuck_cache *cache_open(const struct cache_world *world, enum tuck_durability durability) {
    struct tuck_cache *cache = NULL;
    assert_int_equal(open_cache(world, durability, false, &cache, NULL), 0);
    assert_non_null(cache);
    return cache;
}

struct tuck_cache *cache_open_for_admin(const struct cache_world *world,
                                        struct tuck_error *ret_error) {
    struct tuck_cache *cache = NULL;
    int status = open_cache(world, world->admin_level, true, &cache, ret_error);
    assert_int_equal(status == 0, cache != NULL);
    return cache;
}

struct tuck_drive_stats stats_of(const struct cache_world *world) {
    struct tuck_cache *cache = cache_open_for_admin(world, NULL);
    struct tuck_cache_stats *stats = calloc(1, sizeof(*stats));
    assert_non_null(cache);
    assert_int_equal(tuck_cache_stats(cache, stats, NULL), 0);
    struct tuck_drive_stats first = stats->drive[0];
    free(stats);
    tuck_cache_close(cache);
    return first;
}

struct tuck_removed clear_cache(const struct cache_world *world) {
    struct tuck_cache *cache = cache_open_for_admin(world, NULL);
    struct tuck_removed removed;
    assert_non_null(cache);
    assert_int_equal(tuck_cache_clear(cache, &removed, NULL), 0);
    tuck_cache_end(cache);
    tuck_cache_close(cache);
    return removed;
}

void cache_end(struct tuck_cache *cache) {
    static const volatile int never;
    tuck_cache_end(cache);
    tuck_cache_tidy(cache, &never);
    tuck_cache_close(cache);
}

struct body body_of(uint64_t number, size_t len) {
    struct body body = {.data = malloc(len + 1), .len = len};
    struct unit_random random = {number};
    struct tuck_digest digest;
    assert_non_null(body.data);
    unit_random_fill(&random, body.data, len);
    tuck_digest_init(&digest);
    tuck_digest_add(&digest, body.data, len);
    tuck_digest_end(&digest, &body.output);
    return body;
}

int put_in_parts(struct tuck_cache *cache, uint64_t action, const struct body *body, size_t part,
                 struct tuck_hit *ret_hit) {
    struct tuck_action_id id = unit_action(action);
    struct tuck_put *put = NULL;
    struct tuck_error err = {0};
    assert_int_equal(tuck_put_begin(cache, &id, &body->output, body->len, &put, NULL), 0);
    for (size_t at = 0; at < body->len; at += part)
        tuck_put_write(put, body->data + at, body->len - at < part ? body->len - at : part);
    int status = tuck_put_commit(&put, ret_hit, &err);
    assert_null(put);
    assert_int_equal(err.code, status);
    return status;
}

static void assert_is_body(const struct tuck_hit *hit, const struct body *body) {
    size_t len;
    assert_true(tuck_output_equal(&hit->output, &body->output));
    assert_int_equal(hit->size, body->len);
    uint8_t *data = unit_read_file(hit->path, &len);
    assert_int_equal(len, body->len);
    assert_memory_equal(data, body->data, len);
    free(data);
}

struct tuck_hit put(struct tuck_cache *cache, uint64_t action, const struct body *body) {
    struct tuck_hit hit;
    assert_int_equal(put_in_parts(cache, action, body, 49152, &hit), 0);
    assert_is_body(&hit, body);
    return hit;
}

bool get(struct tuck_cache *cache, uint64_t action, const struct body *body,
         struct tuck_hit *ret_hit) {
    struct tuck_action_id id = unit_action(action);
    struct tuck_hit hit;
    int status = tuck_cache_get(cache, &id, &hit);
    if (status == TUCK_CACHE_SLOW)
        status = tuck_cache_get_slowly(cache, &id, &hit);
    if (status == TUCK_CACHE_MISS)
        return false;
    assert_int_equal(status, 0);
    assert_is_body(&hit, body);
    if (ret_hit)
        *ret_hit = hit;
    return true;
}

// SPDX-License-Identifier: MIT
#include "tests/unit/drives_world.h"

#include "lib/base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>

int __real_openat64(int dirfd, const char *path, int flags, ...);
int __wrap_openat64(int dirfd, const char *path, int flags, ...);
long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
int __real_lstat64(const char *path, struct stat *ret_stat);
int __wrap_lstat64(const char *path, struct stat *ret_stat);
int __real_stat64(const char *path, struct stat *ret_stat);
int __wrap_stat64(const char *path, struct stat *ret_stat);
int __real_fstatvfs64(int fd, struct statvfs *ret_stat);
int __wrap_fstatvfs64(int fd, struct statvfs *ret_stat);
int __real_mkdirat(int dirfd, const char *path, mode_t mode);
int __wrap_mkdirat(int dirfd, const char *path, mode_t mode);
int __real_unlinkat(int dirfd, const char *path, int flags);
int __wrap_unlinkat(int dirfd, const char *path, int flags);
int __real_renameat(int from, const char *old, int to, const char *new);
int __wrap_renameat(int from, const char *old, int to, const char *new);
int __real_renameat2(int from, const char *old, int to, const char *new, unsigned flags);
int __wrap_renameat2(int from, const char *old, int to, const char *new, unsigned flags);

int __real_pthread_create(pthread_t *ret_thread, const pthread_attr_t *attributes,
                          void *(*body)(void *), void *arg);
int __wrap_pthread_create(pthread_t *ret_thread, const pthread_attr_t *attributes,
                          void *(*body)(void *), void *arg);

#define FAULTS_MAX  16
#define WATCHED_MAX 8

struct fault {
    char path[4200];
    enum fault_kind kind;
    int os;
    uint64_t ns;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct fault faults[FAULTS_MAX];
static size_t fault_count;
static struct {
    char path[4200];
    unsigned count;
} watched[WATCHED_MAX];
static size_t watched_count;

static bool is_below(const char *path, const char *top) {
    size_t len = strlen(top);
    return strncmp(path, top, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

// A link as helpers hand out paths through: what it leads to is meant.
static void resolve(const char *path, char ret_path[static 4200]) {
    char *real = path[0] == '/' ? realpath(path, NULL) : NULL;
    (void)snprintf(ret_path, 4200, "%s", real ? real : path);
    if (!real && path[0] == '/') { // its directory may be there
        (void)snprintf(ret_path, 4200, "%s", path);
        char *slash = strrchr(ret_path, '/');
        if (slash && slash > ret_path) {
            *slash = '\0';
            char parent[4200];
            resolve(ret_path, parent);
            (void)snprintf(ret_path, 4200, "%.2000s/%.2000s", parent, strrchr(path, '/') + 1);
        }
    }
    free(real);
}

static int look(const char *path, bool is_writing, bool is_reading) {
    char real[4200];
    int error = errno, os = 0;
    uint64_t ns = 0;
    resolve(path, real);
    (void)pthread_mutex_lock(&lock);
    for (size_t i = 0; i < watched_count; i++)
        watched[i].count += is_below(real, watched[i].path);
    for (size_t i = 0; i < fault_count && os == 0; i++) {
        const struct fault *fault = &faults[i];
        bool fits = fault->kind == FAULT_ALL || (fault->kind == FAULT_WRITES && is_writing) ||
                    (fault->kind == FAULT_READS && is_reading);
        if (!fits || !is_below(real, fault->path))
            continue;
        os = fault->os;
        ns += fault->ns;
    }
    (void)pthread_mutex_unlock(&lock);
    if (ns > 0)
        tuck_clock_shift_mono(ns);
    errno = error;
    return os;
}

// cache_world.c asks for reads and writes of content, too, and for those only without `is_writing`.
static int hook(const char *path, bool is_writing) {
    return look(path, is_writing, !is_writing);
}

static bool is_refused(int dirfd, const char *path, bool is_writing) {
    char top[4200], link[64], whole[8500];
    if (path[0] != '/') {
        (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", dirfd);
        ssize_t len = readlink(link, top, sizeof(top) - 1);
        top[len < 0 ? 0 : len] = '\0';
        (void)snprintf(whole, sizeof(whole), "%s/%s", top, path);
    } else {
        (void)snprintf(whole, sizeof(whole), "%s", path);
    }
    int os = look(whole, is_writing, false);
    errno = os ? os : errno;
    return os != 0;
}

int __wrap_openat64(int dirfd, const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    bool is_writing = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE || (flags & O_ACCMODE);
    return is_refused(dirfd, path, is_writing) ? -1 : __real_openat64(dirfd, path, flags, mode);
}

long __wrap_syscall(long number, ...) {
    va_list args;
    long arg[6];
    va_start(args, number);
    for (size_t i = 0; i < TUCK_ARRAY_LEN(arg); i++)
        arg[i] = va_arg(args, long);
    va_end(args);
#ifdef SYS_openat2
    if (number == SYS_openat2 && is_refused((int)arg[0], (const char *)arg[1], false))
        return -1;
#endif
    return __real_syscall(number, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
}

int __wrap_lstat64(const char *path, struct stat *ret_stat) {
    return is_refused(AT_FDCWD, path, false) ? -1 : __real_lstat64(path, ret_stat);
}

int __wrap_stat64(const char *path, struct stat *ret_stat) {
    return is_refused(AT_FDCWD, path, false) ? -1 : __real_stat64(path, ret_stat);
}

// A file system that takes no writes says so.
int __wrap_fstatvfs64(int fd, struct statvfs *ret_stat) {
    char top[4200], link[64];
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, top, sizeof(top) - 1);
    top[len < 0 ? 0 : len] = '\0';
    int status = __real_fstatvfs64(fd, ret_stat);
    if (status == 0 && look(top, true, false) == EROFS)
        ret_stat->f_flag |= ST_RDONLY;
    return status;
}

int __wrap_mkdirat(int dirfd, const char *path, mode_t mode) {
    return is_refused(dirfd, path, true) ? -1 : __real_mkdirat(dirfd, path, mode);
}

int __wrap_unlinkat(int dirfd, const char *path, int flags) {
    return is_refused(dirfd, path, true) ? -1 : __real_unlinkat(dirfd, path, flags);
}

int __wrap_renameat(int from, const char *old, int to, const char *new) {
    return is_refused(to, new, true) ? -1 : __real_renameat(from, old, to, new);
}

int __wrap_renameat2(int from, const char *old, int to, const char *new, unsigned flags) {
    return is_refused(to, new, true) ? -1 : __real_renameat2(from, old, to, new, flags);
}

static void add(const char *path, enum fault_kind kind, int os, uint64_t ns) {
    char real[4200];
    resolve(path, real);
    (void)pthread_mutex_lock(&lock);
    assert_true(fault_count < FAULTS_MAX);
    struct fault *fault = &faults[fault_count++];
    (void)snprintf(fault->path, sizeof(fault->path), "%s", real);
    fault->kind = kind;
    fault->os = os;
    fault->ns = ns;
    (void)pthread_mutex_unlock(&lock);
    __atomic_store_n(&kernel_hook, hook, __ATOMIC_RELAXED);
}

void faults_add(const char *path, enum fault_kind kind, int os) {
    add(path, kind, os, 0);
}

void faults_slow(const char *path, uint64_t ns) {
    add(path, FAULT_ALL, 0, ns);
}

void faults_mend(const char *path) {
    char real[4200] = "";
    size_t kept = 0;
    if (path)
        resolve(path, real);
    (void)pthread_mutex_lock(&lock);
    for (size_t i = 0; i < fault_count; i++)
        if (path && strcmp(faults[i].path, real) != 0)
            faults[kept++] = faults[i];
    fault_count = kept;
    watched_count = path ? watched_count : 0;
    (void)pthread_mutex_unlock(&lock);
}

unsigned faults_touches(const char *path) {
    unsigned count = 0;
    size_t at = 0;
    char real[4200];
    __atomic_store_n(&kernel_hook, hook, __ATOMIC_RELAXED);
    resolve(path, real);
    (void)pthread_mutex_lock(&lock);
    while (at < watched_count && strcmp(watched[at].path, real) != 0)
        at++;
    if (at < watched_count) {
        count = watched[at].count;
    } else {
        assert_true(watched_count < WATCHED_MAX);
        (void)snprintf(watched[at].path, sizeof(watched[at].path), "%s", real);
        watched[watched_count++].count = 0;
    }
    (void)pthread_mutex_unlock(&lock);
    return count;
}

void faults_forget_touches(void) {
    (void)pthread_mutex_lock(&lock);
    for (size_t i = 0; i < watched_count; i++)
        watched[i].count = 0;
    (void)pthread_mutex_unlock(&lock);
}

static bool has_no_threads;

int __wrap_pthread_create(pthread_t *ret_thread, const pthread_attr_t *attributes,
                          void *(*body)(void *), void *arg) {
    return has_no_threads ? EAGAIN : __real_pthread_create(ret_thread, attributes, body, arg);
}

void faults_forbid_threads(bool do_forbid) {
    has_no_threads = do_forbid;
}

int faults_teardown(void **state) {
    (void)state;
    faults_mend(NULL);
    kernel_hook = NULL;
    return 0;
}

// --- Worlds --------------------------------------------------------------------------------------

struct cache_world drives_world_new(size_t drive_count) {
    struct cache_world world = cache_world_new();
    const char *top = unit_directory();
    faults_mend(NULL);
    faults_forbid_threads(true);
    for (size_t i = 0; i < drive_count; i++) {
        char name[24];
        (void)snprintf(name, sizeof(name), "d%zu", i);
        world.drives[i] = unit_path(top, name);
        assert_int_equal(faults_touches(world.drives[i]), 0); // watched from now on
    }
    world.drive_count = drive_count;
    return world;
}

size_t home_of(const struct cache_world *world, const struct body *body) {
    return (size_t)tuck_place_crcmod(body->output.bytes, TUCK_ID_BYTES, (int)world->drive_count);
}

struct body body_for(const struct cache_world *world, size_t drive, uint64_t number, size_t len) {
    for (uint64_t i = 0;; i++) {
        struct body body = body_of(number * 1000003 + i, len);
        if (home_of(world, &body) == drive)
            return body;
        free(body.data);
    }
}

size_t drive_of(const struct cache_world *world, const struct tuck_hit *hit) {
    char *real = realpath(hit->path, NULL);
    assert_non_null(real);
    size_t drive = 0;
    while (drive < world->drive_count &&
           strncmp(real, world->drives[drive], strlen(world->drives[drive])) != 0)
        drive++;
    if (drive == world->drive_count) {
        assert_int_equal(strncmp(real, world->tmp, strlen(world->tmp)), 0);
        drive = PRIVATE;
    }
    free(real);
    return drive;
}

size_t put_on(const struct cache_world *world, struct tuck_cache *cache, uint64_t action,
              const struct body *body) {
    struct tuck_hit hit = put(cache, action, body);
    return drive_of(world, &hit);
}

unsigned count_objects(const char *drive) {
    unsigned count = 0;
    for (int byte = 0; byte < 256; byte++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "objects/%02x", byte);
        int names = unit_count_names(unit_path(drive, name));
        count += names > 0 ? (unsigned)names : 0;
    }
    return count;
}

void move_clocks(uint64_t by_ns) {
    tuck_clock_shift((int64_t)by_ns);
    tuck_clock_shift_mono(by_ns);
}

void try_again(struct tuck_cache *cache) {
    tuck_bays__try_again(&cache->bays);
}

bool is_online(struct tuck_cache *cache, size_t drive) {
    return bay_parts(&cache->bays.bay[drive]) != NULL;
}

struct tuck_cache_stats *read_stats(const struct cache_world *world) {
    struct tuck_cache *cache = cache_open_for_admin(world, NULL);
    struct tuck_cache_stats *stats = calloc(1, sizeof(*stats));
    assert_non_null(cache);
    assert_non_null(stats);
    assert_int_equal(tuck_cache_stats(cache, stats, NULL), 0);
    tuck_cache_end(cache);
    tuck_cache_close(cache);
    return stats;
}

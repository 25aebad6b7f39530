// SPDX-License-Identifier: MIT
#include "lib/base/mapping.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>

#define MAPPINGS_MAX 1024 // in a process

static struct tuck_mapping *mappings[MAPPINGS_MAX]; /* atomic */
static struct sigaction before; // whose the signal was; written before it is taken
static size_t page_bytes;

// Nothing but loads, stores and mmap() here: it may interrupt anything.
static void replace_page(int number, siginfo_t *info, void *context) {
    (void)context;
    int saved = errno;
    uint8_t *at = info->si_addr;
    for (size_t i = 0; i < MAPPINGS_MAX; i++) {
        struct tuck_mapping *mapping = __atomic_load_n(&mappings[i], __ATOMIC_ACQUIRE);
        uint8_t *data = mapping ? mapping->data : NULL;
        if (!mapping || at < data || at >= data + mapping->len)
            continue;
        uint8_t *page = data + (size_t)(at - data) / page_bytes * page_bytes;
        if (mmap(page, page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
                 -1, 0) == MAP_FAILED)
            break;
        __atomic_store_n(&mapping->is_broken, true, __ATOMIC_RELAXED);
        errno = saved;
        return;
    }
    (void)sigaction(number, &before, NULL); // it comes again, to whom it was before
    errno = saved;
}

// Each time: somebody else may have taken the signal since.
static void take_signal(void) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    struct sigaction ours = {.sa_sigaction = replace_page, .sa_flags = SA_SIGINFO}, now;
    (void)pthread_mutex_lock(&lock);
    page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    if (sigaction(SIGBUS, NULL, &now) == 0 && now.sa_sigaction != replace_page) {
        before = now;
        (void)sigaction(SIGBUS, &ours, NULL);
    }
    (void)pthread_mutex_unlock(&lock);
}

int tuck_mapping_open(struct tuck_mapping *mapping, int fd, uint64_t offset, size_t len) {
    take_signal();
    *mapping = (struct tuck_mapping){0};
    void *data = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset);
    if (data == MAP_FAILED)
        return -errno;
    mapping->data = data;
    mapping->len = len;
    for (size_t i = 0; i < MAPPINGS_MAX; i++) {
        struct tuck_mapping *none = NULL;
        if (__atomic_compare_exchange_n(&mappings[i], &none, mapping, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_RELAXED))
            return 0;
    }
    (void)munmap(data, len);
    *mapping = (struct tuck_mapping){0};
    return -ENOSPC;
}

void tuck_mapping_close(struct tuck_mapping *mapping) {
    if (!mapping->data)
        return;
    for (size_t i = 0; i < MAPPINGS_MAX; i++)
        if (__atomic_load_n(&mappings[i], __ATOMIC_RELAXED) == mapping)
            __atomic_store_n(&mappings[i], NULL, __ATOMIC_RELEASE);
    (void)munmap(mapping->data, mapping->len);
    *mapping = (struct tuck_mapping){0};
}

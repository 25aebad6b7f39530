// SPDX-License-Identifier: MIT
/*
 * table: the floor helper's memory, one file that is used as it lies on disk.
 *
 *     header | slots (open addressing, linear probing, power of two) | tails
 *
 * A slot is found by the action id's base64 text, exactly as it comes over the wire. A tail is what
 * follows the request id in the answer to a get, ready to be sent:
 * `,"OutputID":"…","Size":…,"Time":"…","DiskPath":"…"}` LF.
 * It is no format for keeping: it is made, played and replayed within one run of the benchmark.
 */
#pragma once
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    TABLE_ID_TEXT = 44,   // 32 bytes in base64
    TABLE_OUTPUT_AT = 13, // where the output id begins in a tail: after ,"OutputID":"
};

#define TABLE_MAGIC "floor 1\n"

struct table_header {
    char magic[8];
    uint64_t slots, entries, tails_size;
};

struct table_slot {
    char action[TABLE_ID_TEXT];
    uint32_t length; // of the tail; 0 = nobody lives here
    uint64_t offset;
};

struct table {
    const struct table_header *header;
    const struct table_slot *slots;
    const char *tails;
    size_t map_size;
};

static inline uint64_t table_hash(const char action[TABLE_ID_TEXT]) {
    uint64_t a, b;

    memcpy(&a, action, sizeof(a));
    memcpy(&b, action + sizeof(a), sizeof(b));
    return (a * 0x9e3779b97f4a7c15u ^ b) * 0x9e3779b97f4a7c15u >> 20;
}

/* The slot of this action, or the free one where it belongs. The table is never full. */
static inline const struct table_slot *table_find(const struct table *table,
                                                  const char action[TABLE_ID_TEXT]) {
    const uint64_t mask = table->header->slots - 1;
    uint64_t at = table_hash(action) & mask;

    while (table->slots[at].length != 0 &&
           memcmp(table->slots[at].action, action, TABLE_ID_TEXT) != 0)
        at = (at + 1) & mask;
    return &table->slots[at];
}

/* Maps a table file whole. Returns -1 when there is none or it is none. */
static inline int table_map(const char *path, struct table *ret_table) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat status;
    void *map = MAP_FAILED;

    if (fd < 0)
        return -1;
    if (fstat(fd, &status) == 0 && (size_t)status.st_size >= sizeof(struct table_header))
        map = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
    close(fd);
    if (map == MAP_FAILED)
        return -1;
    const struct table_header *header = map;
    if (memcmp(header->magic, TABLE_MAGIC, sizeof(header->magic)) != 0 ||
        (size_t)status.st_size !=
            sizeof(*header) + header->slots * sizeof(struct table_slot) + header->tails_size) {
        munmap(map, (size_t)status.st_size);
        return -1;
    }
    ret_table->header = header;
    ret_table->slots = (const struct table_slot *)(header + 1);
    ret_table->tails = (const char *)(ret_table->slots + header->slots);
    ret_table->map_size = (size_t)status.st_size;
    return 0;
}

static inline void table_unmap(struct table *table) {
    munmap((void *)(uintptr_t)table->header, table->map_size);
}

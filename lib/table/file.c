// SPDX-License-Identifier: MIT
#include "lib/table/file.h"
#include "lib/base/io.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define MAGIC   UINT64_C(0x4c4241544b435554) // "TUCKTABL"; other bytes on a big-endian machine
#define VERSION 1

// Both without padding.
struct head {
    uint64_t magic;
    uint64_t version;
    uint64_t key_bytes, value_bytes;
    uint64_t count;
    uint64_t check; // of the rows and, as their seed, of what stands above
};

struct stored {
    uint64_t span_ns, deadline_ns, uses, flags; // then key and value
};

// Rows as they stand in the file.
struct rows {
    const struct tuck_table_options *options;
    uint8_t *data;
    size_t count, room;
    bool is_short; // of memory
};

static size_t row_bytes(const struct tuck_table_options *options) {
    return sizeof(struct stored) + options->key_bytes + options->value_bytes;
}

static struct head head_of(const struct tuck_table_options *options, const void *rows,
                           size_t count) {
    struct head head = {.magic = MAGIC,
                        .version = VERSION,
                        .key_bytes = options->key_bytes,
                        .value_bytes = options->value_bytes,
                        .count = count};
    head.check = XXH3_64bits_withSeed(rows, count * row_bytes(options),
                                      XXH3_64bits(&head, offsetof(struct head, check)));
    return head;
}

static bool append(void *arg, const struct tuck_table_row *row) {
    struct rows *rows = arg;
    const struct tuck_table_options *options = rows->options;
    struct stored stored = {row->span_ns, row->deadline_ns, row->uses, row->flags};
    if (rows->count == rows->room) {
        size_t room = rows->room ? 2 * rows->room : 16;
        uint8_t *data = reallocarray(rows->data, room, row_bytes(options));
        rows->is_short = !data;
        if (!data)
            return false;
        rows->data = data;
        rows->room = room;
    }
    uint8_t *at = rows->data + rows->count++ * row_bytes(options);
    memcpy(at, &stored, sizeof(stored));
    memcpy(at + sizeof(stored), row->key, options->key_bytes);
    if (options->value_bytes > 0)
        memcpy(at + sizeof(stored) + options->key_bytes, row->value, options->value_bytes);
    return true;
}

int tuck_table_write(struct tuck_table *table, int fd, struct tuck_error *err) {
    struct rows rows = {.options = tuck_table__options(table)};
    int status = tuck_table_rows(table, TUCK_TABLE_LEAST_RECENT_FIRST, append, &rows, err);
    TUCK_CLEANUP(tuck_free) uint8_t *data = rows.data;
    if (status != 0)
        return status;
    if (rows.is_short)
        return tuck_fail(err, TUCK_ENOMEM, "no memory for a table's file");
    struct head head = head_of(rows.options, data, rows.count);
    status = tuck_pwrite_all(fd, &head, sizeof(head), 0);
    if (status == 0)
        status = tuck_pwrite_all(fd, data, rows.count * row_bytes(rows.options), sizeof(head));
    return status < 0 ? tuck_fail_os(err, -status, "write a table") : 0;
}

static int restore(struct tuck_table *table, const uint8_t *at, struct tuck_error *err) {
    struct stored stored;
    memcpy(&stored, at, sizeof(stored));
    struct tuck_table_row row = {
        .key = at + sizeof(stored),
        .value = at + sizeof(stored) + tuck_table__options(table)->key_bytes,
        .span_ns = stored.span_ns,
        .deadline_ns = stored.deadline_ns,
        .uses = stored.uses,
        .flags = (unsigned)stored.flags,
    };
    int status = tuck_table_restore(table, &row, err);
    return status < 0 ? status : 0;
}

int tuck_table_read(struct tuck_table *table, int fd, struct tuck_error *err) {
    const struct tuck_table_options *options = tuck_table__options(table);
    struct head head = {0};
    ssize_t n = tuck_pread_full(fd, &head, sizeof(head), 0);
    if (n < 0)
        return tuck_fail_os(err, (int)-n, "read a table");
    struct head expected = head_of(options, NULL, 0);
    if ((size_t)n < sizeof(head) || memcmp(&head, &expected, offsetof(struct head, count)) != 0)
        return tuck_fail(err, TUCK_ECORRUPT, "not a file of this table");
    size_t len;
    if (head.count > options->limit || __builtin_mul_overflow(head.count, row_bytes(options), &len))
        return tuck_fail(err, TUCK_ECORRUPT, "a table's file has too many rows");
    // One byte more, which must not be there.
    TUCK_CLEANUP(tuck_free) uint8_t *rows = malloc(len + 1);
    if (!rows)
        return tuck_fail(err, TUCK_ENOMEM, "no memory for a table's file");
    n = tuck_pread_full(fd, rows, len + 1, sizeof(head));
    if (n < 0)
        return tuck_fail_os(err, (int)-n, "read a table");
    if ((size_t)n == len)
        expected = head_of(options, rows, head.count);
    if ((size_t)n != len || head.check != expected.check)
        return tuck_fail(err, TUCK_ECORRUPT, "a table's file is damaged");
    int status = 0;
    for (size_t i = 0; i < head.count && status == 0; i++)
        status = restore(table, rows + i * row_bytes(options), err);
    return status;
}

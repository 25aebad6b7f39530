// SPDX-License-Identifier: MIT
/*
 * A table as a file: a head (magic, version, sizes, count, checksum) and the rows of
 * tuck_table_rows(), in the machine's byte order. Meant for little files that are read and written
 * whole; both directions hold all of it in memory. Threads: as table.h.
 */
#pragma once
#include "lib/table/table.h"

/** Writes all rows to an empty file. A reader takes a part of one for damage: give it its name when
 * this has returned 0. */
TUCK_CHECKED int tuck_table_write(struct tuck_table *table, int fd, struct tuck_error *err);

/** Restores all rows of a file, from its beginning to its end; see tuck_table_restore(). A file
 * that is empty, not complete, damaged, of another version, kind of machine or shape of table, or
 * that has more rows than the table's limit, gives TUCK_ECORRUPT and no row at all. TUCK_ENOMEM may
 * come after a part of the rows. */
TUCK_CHECKED int tuck_table_read(struct tuck_table *table, int fd, struct tuck_error *err);

// SPDX-License-Identifier: MIT
/*
 * System calls as tuck wants them: EINTR handled, short transfers finished, descriptors
 * close-on-exec, paths resolved below a held directory without following links. What only Linux has
 * stands here beside a portable way. Threads: any.
 */
#pragma once
#include "lib/base/error.h"
#include <sys/stat.h>
#include <sys/types.h>

/** Cleanup functions: close a descriptor if it is not -1; free a pointer. */
void tuck_close_fd(int *fd);
void tuck_free(void *pointer_to_pointer);

/** Writes all of it. 0, or -errno; -EINTR only if *stop becomes true while waiting (stop may be
 * NULL). */
TUCK_CHECKED int tuck_write_all(int fd, const void *data, size_t len, const volatile int *stop);

/** Reads up to len bytes at offset, stopping early only at the end of the file. Returns the count,
 * or -errno. */
TUCK_CHECKED ssize_t tuck_pread_full(int fd, void *ret_data, size_t len, uint64_t offset);

/** Writes all of it at offset. 0, or -errno. */
TUCK_CHECKED int tuck_pwrite_all(int fd, const void *data, size_t len, uint64_t offset);

/** Opens `path` below dirfd; no component of it may be a symbolic link. Returns a descriptor, or
 * -errno. */
TUCK_CHECKED int tuck_open_beneath(int dirfd, const char *path, int flags, mode_t mode);

/** Creates the directory and its missing parents with mode 0700. 0, or -errno. */
TUCK_CHECKED int tuck_mkdir_parents(const char *path);

/** An unnamed file in the directory, later named by tuck_link_unnamed(). -EOPNOTSUPP where there is
 * no such thing. */
TUCK_CHECKED int tuck_open_unnamed(int dirfd, mode_t mode);

/** Gives an unnamed file its name; -EEXIST if the name is taken. 0, or -errno. */
TUCK_CHECKED int tuck_link_unnamed(int fd, int dirfd, const char *name);

/** Moves a complete file to its name, also between directories of a file system; -EEXIST if the
 * name is taken, where the file system can tell. 0, or -errno with the file where it was. */
TUCK_CHECKED int tuck_name_file(int dirfd, const char *temp, int to_dirfd, const char *name);

/** Locks bytes [offset, offset + len) for writing, for this open file, polling until the deadline
 * (monotonic ns; 0: one try). The kernel drops it when the process dies. 0, -ETIMEDOUT, or -errno.
 */
TUCK_CHECKED int tuck_lock_range(int fd, uint64_t offset, uint64_t len, uint64_t deadline_ns);
void tuck_unlock_range(int fd, uint64_t offset, uint64_t len);

/** Locks the file or directory as a whole for this open file, polling until the deadline (monotonic
 * ns). The kernel drops it with the last descriptor of it. 0, -ETIMEDOUT, or -errno. */
TUCK_CHECKED int tuck_lock_file(int fd, uint64_t deadline_ns);

/** Names the mount of the file's file system: the same number does not come again before a reboot, from
 * Linux 6.8 on. 0 where that is not known. */
uint64_t tuck_mount_id(int fd);

/** Fills the buffer with random bytes; never fails. */
void tuck_random(void *ret_data, size_t len);

/** A random name of 24 hexadecimal digits, terminated. */
void tuck_random_name(char ret_name[static 25]);

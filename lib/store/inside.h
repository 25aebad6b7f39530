// SPDX-License-Identifier: MIT
/*
 * What the files of lib/store that work on one drive share: its descriptors, and the way to an
 * object's file. Below the root nothing follows a symbolic link when writing.
 */
#pragma once
#include "lib/store/object.h"
#include <sys/stat.h>

struct tuck_drive {
    int rootfd;          /* const after init */
    bool has_no_unnamed; /* owned by the thread that stages: files without a name cannot get one
                            here */
    char *root;          /* const after init */
    char *shown;         /* const after init */
    int subdir[256];     /* owned by the thread that stages: objects/00 … ff, -1 until needed */
};

#define OBJECT_NAME 62 // characters after the two of the directory

/** "objects/ab/cdef…" with its terminator: what follows the root in a path. */
void tuck_store__object_path(const struct tuck_output_id *output,
                             char ret_path[static TUCK_OBJECT_PATH_TAIL]);

/** A number that changes whenever inode, size or change time do. */
uint32_t tuck_store__tag_of(const struct stat *stat);

/** A directory below dirfd, made if it is missing. A descriptor, or -errno. */
TUCK_CHECKED int tuck_store__open_dir(int dirfd, const char *name);

/** Gives back the descriptors that only save time. */
void tuck_store__close_subdirs(struct tuck_drive *drive);

/** Whatever stands under the object's name goes away: a damaged object, a link, an empty directory; a
 * full one into staging. With `seen`, only if it is still the file that was looked at: another helper
 * may have put a sound one in its place. True if it is gone. */
bool tuck_store__take_away(struct tuck_drive *drive, const struct tuck_output_id *output,
                           const struct stat *seen);

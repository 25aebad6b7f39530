// SPDX-License-Identifier: MIT
/*
 * Profile: what a helper does not tell by itself, and some cases have to know. A small INI file;
 * cases that need a key that is not there are not judged. In values {dir}, {gocache}, {home} and
 * {tmp} stand for the directories of the case that runs.
 */
#pragma once
#include "lib/base/error.h"

#define PROFILE_KEYS(X)                                                                            \
    X(directory_flag, "added to the command: tells the helper to use {dir}")                       \
    X(environment, "NAME=VALUE, for each start")                                                   \
    X(objects, "pattern of the files that hold outputs")                                           \
    X(entries, "pattern of the files that say which action has which output")                      \
    X(own_files,                                                                                   \
      "pattern of the files below {dir} that may stay after an orderly end; repeatable")           \
    X(clear_command, "removes all that it may remove from the cache")                              \
    X(format_file, "the file that names the version of the layout")                                \
    X(format_version, "regular expression of the text in front of the version in it")              \
    X(slow_flag, "added to the command: makes puts wait for the drive")                            \
    X(no_room, "yes: nothing can be kept beyond a helper's life, as on a full disk")               \
    X(wrapped, "yes: the command runs the helper in a program that needs files of its own")

enum profile_key {
#define X(name, help) PROFILE_##name,
    PROFILE_KEYS(X)
#undef X
        PROFILE_MAX
};

#define PROFILE_VALUES 8

struct profile {
    char *value[PROFILE_MAX][PROFILE_VALUES]; // NULL from the first one that is not given on
};

/** Reads the file, or the installed profile of that name. TUCK_EINVAL with file and line. */
TUCK_CHECKED int profile_read(struct profile *profile, const char *name, struct tuck_error *err);

/** The key of this name, or PROFILE_MAX. */
enum profile_key profile_key_of(const char *name);

// SPDX-License-Identifier: MIT
/*
 * Error doctrine. A fallible function returns an int: 0 done; > 0 an expected outcome of its own
 * module, for the direct caller only; < 0 one of enum tuck_err, passed on unchanged. The text is
 * filled once, where the failure happens, into a struct tuck_error of the caller (NULL allowed). No
 * thread-local state: requests change threads.
 */
#pragma once
#include "lib/base/prelude.h"

enum tuck_err {
    TUCK_ENOMEM = -1,    // out of memory
    TUCK_EIO = -2,       // a system call failed in a way that says nothing more
    TUCK_ENOSPACE = -3,  // no bytes, inodes, quota or descriptors left
    TUCK_ECORRUPT = -4,  // stored data is not what it must be
    TUCK_EPROTO = -5,    // the peer left the protocol; the stream's position is lost
    TUCK_ETIMEOUT = -6,  // a deadline passed
    TUCK_EACCESS = -7,   // not allowed, or not ours
    TUCK_EINVAL = -8,    // the caller's or the user's input is wrong
    TUCK_EINTERNAL = -9, // a bug in tuck
};

struct tuck_error {
    int code; // enum tuck_err, 0 while nothing has failed
    int os;   // errno at the origin, 0 if none
    char text[248];
};

/** Fills *err (if not NULL) and returns code. Text: lower case, no full stop, foreign strings in
 * quotes. */
__attribute__((format(printf, 3, 4), cold)) int
tuck_fail(struct tuck_error *err, enum tuck_err code, const char *format, ...);

/** Like tuck_fail() with the code that fits errno value `os`, and ": <meaning of os>" appended. */
__attribute__((format(printf, 3, 4), cold)) int tuck_fail_os(struct tuck_error *err, int os,
                                                             const char *format, ...);

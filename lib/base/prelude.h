// SPDX-License-Identifier: MIT
/*
 * Prelude: included before every source file by the build. Attributes, the cleanup idiom, and the
 * list of functions that must not be used. Nothing here has state or needs linking.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/** The result must be looked at: every function that can fail. Deliberate ignoring is `(void)!f()`.
 */
#define TUCK_CHECKED __attribute__((warn_unused_result))

/** Runs fn(&variable) when the variable leaves its scope, which is a use. */
#define TUCK_CLEANUP(fn) __attribute__((cleanup(fn), unused))

/** Moves ownership out of a pointer variable (leaves NULL) or a descriptor variable (leaves -1). */
#define TUCK_TAKE(p)                                                                               \
    __extension__({                                                                                \
        __typeof__(p) taken_ = (p);                                                                \
        (p) = NULL;                                                                                \
        taken_;                                                                                    \
    })
#define TUCK_TAKE_FD(fd)                                                                           \
    __extension__({                                                                                \
        int taken_ = (fd);                                                                         \
        (fd) = -1;                                                                                 \
        taken_;                                                                                    \
    })

#define TUCK_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#define TUCK_NS_PER_S  UINT64_C(1000000000)
#define TUCK_NS_PER_MS UINT64_C(1000000)

/** Always on: going on with this broken could harm data. Never for input, disk contents or peers.
 */
#define tuck_verify(condition)                                                                     \
    ((condition) ? (void)0 : tuck_verify_failed(#condition, __FILE__, __LINE__))
__attribute__((noreturn, cold)) void tuck_verify_failed(const char *what, const char *file,
                                                        int line);

/** Borrowed bytes: valid as long as what they point into; never NUL-terminated by promise. */
struct tuck_slice {
    const uint8_t *data;
    size_t len;
};

// Fortified headers make macros of some of these; builds without them see to it that none is used.
#ifndef _FORTIFY_SOURCE
#pragma GCC poison strcpy strcat sprintf vsprintf strtok atoi atol strtol localtime gmtime usleep
#endif

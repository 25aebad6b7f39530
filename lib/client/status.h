// SPDX-License-Identifier: MIT
/*
 * Failures of the client: filled once, where they happen, in the public struct. Threads: any.
 */
#pragma once
#include "lib/base/prelude.h"
#include "tuck/client.h"

/** Fills *error (if not NULL) and returns the code. */
__attribute__((format(printf, 3, 4), cold)) int tuck_client__fail(struct tuck_client_error *error,
                                                                  enum tuck_client_status code,
                                                                  const char *format, ...);

/** The same for a failed system call: ": <meaning of os>" is appended. */
__attribute__((format(printf, 4, 5), cold)) int
tuck_client__fail_os(struct tuck_client_error *error, enum tuck_client_status code, int os,
                     const char *format, ...);

/** Makes text from the helper fit for an error: valid UTF-8, no control characters, at most
 * room - 1 bytes and cut between characters. Returns ret_text. */
const char *tuck_client__printable(const void *text, size_t len, char *ret_text, size_t room);

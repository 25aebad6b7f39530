// SPDX-License-Identifier: MIT
/*
 * The only source of time, so that tests can move it. Nanoseconds throughout.
 * Threads: any.
 */
#pragma once
#include "lib/base/prelude.h"

/** Wall clock since 1970, may jump. For put times and access times. */
uint64_t tuck_clock_wall_ns(void);

/** Never goes back, unrelated to the wall clock. For deadlines. */
uint64_t tuck_clock_mono_ns(void);

/** Tests: moves the wall clock by this much from now on. */
void tuck_clock_shift(int64_t by_ns);

/** Tests: moves the monotonic clock forward by this much from now on, for everybody who asks from
 * then on; who waits already is not woken. */
void tuck_clock_shift_mono(uint64_t by_ns);

/** A monotonic time as the kernel's CLOCK_MONOTONIC has it, which no test moves: for waits. */
uint64_t tuck_clock_kernel_ns(uint64_t mono_ns);

/** RFC 3339 in UTC with nanoseconds, e.g. 2026-01-02T03:04:05.000000006Z; needs 31 bytes with the
 * terminator. Years past 9999 are clamped, for Go's decoder ends the build on them. Returns the
 * length. */
size_t tuck_clock_format(uint64_t wall_ns, char ret_text[static 31]);

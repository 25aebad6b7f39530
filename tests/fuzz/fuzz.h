// SPDX-License-Identifier: MIT
/*
 * What the fuzz targets share. A target is one LLVMFuzzerTestOneInput(): it reads any bytes, compares what the core
 * makes of them with what must come out, and ends the process by fuzz_check() where that differs. Linked with
 * libFuzzer it searches; linked with replay.c it runs its corpus. Threads: one.
 */
#pragma once
#include "lib/base/prelude.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/** Given by libFuzzer or replay.c: changes data in place, returns its new size. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

/** A target may have this one; both libFuzzer and replay.c call it then. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

/** Ends the process with a message where the condition does not hold. */
#define fuzz_check(condition, ...)                                                                 \
    ((condition) ? (void)0 : fuzz_failed(#condition, __FILE__, __LINE__, __VA_ARGS__))
__attribute__((noreturn, cold, format(printf, 4, 5))) void
fuzz_failed(const char *what, const char *file, int line, const char *format, ...);

/** A directory of this process, in memory where possible, removed at an orderly end. Borrowed. */
const char *fuzz_scratch(void);

/** Removes a tree. */
void fuzz_remove(const char *path);

/** Writes a whole file, made anew. */
void fuzz_write_file(const char *path, const void *data, size_t len);

/** Hash of the input: what is not in it but must be chosen follows from it, so that an input always does the same. */
uint64_t fuzz_hash(const void *data, size_t len);

/** The next number of a sequence. */
uint64_t fuzz_random(uint64_t *state);

/** Text that grows; what is compared. All zero is empty. */
struct fuzz_text {
    char *data;
    size_t len, room;
};
void fuzz_text_add(struct fuzz_text *text, const void *data, size_t len);
__attribute__((format(printf, 2, 3))) void fuzz_text_print(struct fuzz_text *text,
                                                           const char *format, ...);
void fuzz_text_fini(struct fuzz_text *text);

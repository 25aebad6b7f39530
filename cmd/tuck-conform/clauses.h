// SPDX-License-Identifier: MIT
/*
 * What the build takes into the program: the clauses of protocol/SPEC.md, the case files, and the
 * library that moves a helper's clock. Made by embed.py.
 */
#pragma once
#include "lib/base/prelude.h"

struct clause {
    const char *id, *text;
};

extern const struct clause clauses[];
extern const size_t clause_count;

struct case_file {
    const char *name, *text;
};

extern const struct case_file case_files[];
extern const size_t case_file_count;

extern const unsigned char clock_library[];
extern const size_t clock_library_len;

static inline const struct clause *clause_find(const char *id) {
    for (size_t i = 0; i < clause_count; i++)
        if (strcmp(clauses[i].id, id) == 0)
            return &clauses[i];
    return NULL;
}

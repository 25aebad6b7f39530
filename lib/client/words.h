// SPDX-License-Identifier: MIT
/*
 * The command line in GOCACHEPROG as a list of words, by the rules of the go command (SPEC.md
 * section 3), and the program that its first word means. No state, no threads.
 */
#pragma once
#include "lib/client/status.h"

/** Splits at space, tab, LF and CR. *ret_words is owned by the caller: one block for free(),
 * NULL behind the last word. Returns 0, TUCK_CLIENT_NO_START for a quote without end, or
 * TUCK_CLIENT_NO_MEMORY. */
TUCK_CHECKED int tuck_words_split(const char *text, char ***ret_words,
                                  struct tuck_client_error *error);

/** A copy of a list that a caller gave, of the same form. */
TUCK_CHECKED int tuck_words_copy(const char *const *words, char ***ret_words,
                                 struct tuck_client_error *error);

/** The path of the program: the name itself if it has a slash, else the first executable in the
 * host's PATH. *ret_path is owned by the caller. Returns 0, TUCK_CLIENT_NO_START or
 * TUCK_CLIENT_NO_MEMORY. */
TUCK_CHECKED int tuck_words_find_program(const char *name, char **ret_path,
                                         struct tuck_client_error *error);

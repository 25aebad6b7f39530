// SPDX-License-Identifier: MIT
/*
 * Subcommands of tuck: one file each. argv[0] is the command's name, settings' flags are taken out
 * already. Each returns the exit status.
 */
#pragma once
#include "cmd/tuck/settings.h"

enum {
    TUCK_EXIT_DONE = 0,
    TUCK_EXIT_FAILED = 1,
    TUCK_EXIT_USAGE = 2,
};

int tuck_command_serve(int argc, char **argv);
int tuck_command_stats(int argc, char **argv);
int tuck_command_clear(int argc, char **argv);
int tuck_command_exec(int argc, char **argv);
int tuck_command_config(int argc, char **argv);

/** Prints `tuck: <text>` on stderr. */
__attribute__((format(printf, 1, 2))) void tuck_say(const char *format, ...);

/** For subcommands: takes the flags, completes the settings and refuses on any problem. The
 * arguments left are checked against `flags`, a NULL-ended list of which those present are set in
 * *ret_flags by their place. Returns TUCK_EXIT_DONE or the status to exit with; the settings are to
 * be released in either case. */
TUCK_CHECKED int tuck_command_settings(struct tuck_settings *settings, int argc, char **argv,
                                       const char *const *flags, unsigned *ret_flags);

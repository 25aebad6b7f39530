// SPDX-License-Identifier: MIT
/*
 * Subcommands of tuck: one file each, and what they share. argv[0] is the command's name. Each
 * returns the exit status.
 */
#pragma once
#include "cmd/tuck/settings.h"
#include "lib/cache/admin.h"

enum {
    TUCK_EXIT_DONE = 0,
    TUCK_EXIT_FAILED = 1,
    TUCK_EXIT_USAGE = 2,
    TUCK_EXIT_FOUND = 3, // problems were found
};

int tuck_command_serve(int argc, char **argv);
int tuck_command_stats(int argc, char **argv);
int tuck_command_gc(int argc, char **argv);
int tuck_command_verify(int argc, char **argv);
int tuck_command_rm(int argc, char **argv);
int tuck_command_clear(int argc, char **argv);
int tuck_command_import(int argc, char **argv);
int tuck_command_drive(int argc, char **argv);
int tuck_command_exec(int argc, char **argv);
int tuck_command_config(int argc, char **argv);

/** Prints `tuck: <text>` on stderr. */
__attribute__((format(printf, 1, 2))) void tuck_say(const char *format, ...);

/** An option of a subcommand: with a value (`--name=value`, `--name value`) or a flag. The list ends
 * with a NULL name. */
struct tuck_option {
    const char *name;       // with its dashes
    bool *ret_flag;         // NULL: it has a value
    const char **ret_value; // borrowed from argv
};

/** Takes the settings and these options out of argv, completes the settings, and refuses on any
 * problem. Words that are left, at most `words_max`, follow argv[0]; *argc counts them. Returns
 * TUCK_EXIT_DONE or the status to exit with; the settings are to be released in either case. */
TUCK_CHECKED int tuck_command_begin(struct tuck_settings *settings, int *argc, char **argv,
                                    const struct tuck_option *options, int words_max);

/** Opens the cache that is there. Events go to stderr. TUCK_EXIT_DONE or the status to exit with,
 * said already. */
TUCK_CHECKED int tuck_command_open(const struct tuck_settings *settings,
                                   struct tuck_cache **ret_cache);

/** As above, and makes it if there is none. */
TUCK_CHECKED int tuck_command_make(const struct tuck_settings *settings,
                                   struct tuck_cache **ret_cache);

/** Flushes what the command has changed and closes it. Accepts NULL. */
void tuck_command_close(struct tuck_cache *cache);

/** From now on ^C and SIGTERM make this true, once; a second one ends the process. */
const volatile int *tuck_command_stop(void);

/** Shows what long work is at, on a terminal and nowhere else; ends with an empty text. */
__attribute__((format(printf, 1, 2))) void tuck_command_progress(const char *format, ...);

struct json_t;

/** Prints a JSON object (taken) on stdout. TUCK_EXIT_DONE, or TUCK_EXIT_FAILED and said. */
TUCK_CHECKED int tuck_command_print_json(struct json_t *object);

/** Tells of an event of the cache in one line on stderr. */
struct tuck_event_sink *tuck_command_sink(void);

/** The text of an event for people: what, why, what it means. */
void tuck_command_describe(const struct tuck_event *event, char *ret_text, size_t room);

// SPDX-License-Identifier: MIT
/*
 * Settings: each is a flag, an environment variable and a key of the same name; flag over
 * environment over the user's file over the system's file over default. The helper takes what it
 * can and reports the rest, for a bad setting must not end a build; subcommands refuse.
 */
#pragma once
#include "lib/base/error.h"
#include "lib/cache/cache.h"
#include "lib/store/drives.h"

/** name, help. Their order is that of the manual. */
#define TUCK_SETTINGS(X)                                                                           \
    X(dir, "where the cache lies (default: $GOCACHE/tuck)")                                        \
    X(drives, "several places instead, e.g. /a,/b{1...4}; see tuck drive")                         \
    X(quota, "how large it may get: 20GiB, 10% of the file system, or both (default: 20GiB,10%)")  \
    X(free_floor, "what must stay free on its file system (default: 5%)")                          \
    X(watermark_high, "percent of the quota where eviction begins (default: 90)")                  \
    X(watermark_low, "percent of the quota where it ends (default: 80)")                           \
    X(keep, "how long what was used is kept if the quota allows it (default: 1d)")                 \
    X(durability, "lazy, batch or strict: what a power cut may cost (default: lazy)")              \
    X(log, "append events to this file instead of stderr")                                         \
    X(trace, "append each conversation to this file, for tuck-conform replay")                     \
    X(trace_bodies, "yes or no: record bodies too (default: no)")

enum tuck_setting {
#define X(name, help) TUCK_SETTING_##name,
    TUCK_SETTINGS(X)
#undef X
        TUCK_SETTING_MAX
};

struct tuck_settings {
    char *value[TUCK_SETTING_MAX];       // owned; NULL: not set
    char *origin[TUCK_SETTING_MAX];      // owned; where it comes from, for people
    char *gocache;                       // owned; the client's $GOCACHE, or NULL
    enum tuck_durability durability;     // read from its text
    struct tuck_drives drives;           // owned; read from theirs, or of the one directory
    struct tuck_bound bound;             // read from theirs
    bool has_trace_bodies;               // read from its text
    unsigned problems;                   // how many were reported
    void (*report)(const char *problem); // each, as one line without its end
};

/** Takes `--name=value` or `--name value` out of argv for every setting, leaving the rest in order,
 * up to "--". Returns the new argc. */
int tuck_settings_from_flags(struct tuck_settings *settings, int argc, char **argv);

/** Reads environment and files for what no flag has set, and fills in defaults: every setting but
 * `drives` and `log` has a value then. Fails only without memory or when no place for the cache can
 * be found. */
TUCK_CHECKED int tuck_settings_complete(struct tuck_settings *settings, struct tuck_error *err);

/** What the settings say of the cache; borrows from them. */
struct tuck_cache_options tuck_settings_cache(const struct tuck_settings *settings);

/** The go command's own cache directory, of which the go command is asked if nothing else told; NULL
 * if it cannot tell either. Borrowed. */
const char *tuck_settings_gocache(struct tuck_settings *settings);

const char *tuck_setting_name(enum tuck_setting setting);
void tuck_setting_variable(enum tuck_setting setting, char ret_name[static 64]);
const char *tuck_setting_help(enum tuck_setting setting);

void tuck_settings_fini(struct tuck_settings *settings);

/** The nearest of the names to a misspelt one, or NULL if none is near. */
const char *tuck_nearest_name(const char *word, const char *const *names, size_t count);

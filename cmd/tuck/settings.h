// SPDX-License-Identifier: MIT
/*
 * Settings: each is a flag, an environment variable and a key of the same name; flag over
 * environment over the user's file over the system's file over default. The helper takes what it
 * can and reports the rest, for a bad setting must not end a build; subcommands refuse.
 */
#pragma once
#include "lib/base/error.h"
#include "lib/cache/cache.h"

/** name, help. Their order is that of the manual. */
#define TUCK_SETTINGS(X)                                                                           \
    X(dir, "where the cache lies (default: $GOCACHE/tuck)")                                        \
    X(durability, "lazy, batch or strict: what a power cut may cost (default: lazy)")              \
    X(log, "append events to this file instead of stderr")

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
    unsigned problems;                   // how many were reported
    void (*report)(const char *problem); // each, as one line without its end
};

/** Takes `--name=value` or `--name value` out of argv for every setting, leaving the rest in order,
 * up to "--". Returns the new argc. */
int tuck_settings_from_flags(struct tuck_settings *settings, int argc, char **argv);

/** Reads environment and files for what no flag has set, and fills in defaults. Fails only without
 * memory or when no place for the cache can be found. */
TUCK_CHECKED int tuck_settings_complete(struct tuck_settings *settings, struct tuck_error *err);

const char *tuck_setting_name(enum tuck_setting setting);
const char *tuck_setting_help(enum tuck_setting setting);

void tuck_settings_fini(struct tuck_settings *settings);

/** The nearest of the names to a misspelt one, or NULL if none is near. */
const char *tuck_nearest_name(const char *word, const char *const *names, size_t count);

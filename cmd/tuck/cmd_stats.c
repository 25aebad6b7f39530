// SPDX-License-Identifier: MIT
// tuck stats: what the cache holds, and what the helpers that ended did.
#include "cmd/tuck/command.h"

#include <inttypes.h>
#include <jansson.h>

static const struct {
    const char *name, *unit, *help;
} counter_texts[] = {
#define X(name, unit, help) {#name, unit, help},
    TUCK_COUNTERS(X)
#undef X
};

static const char *bytes_text(uint64_t bytes, char text[static 32]) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    size_t unit = 0;
    for (; value >= 1024 && unit + 1 < TUCK_ARRAY_LEN(units); unit++)
        value /= 1024;
    (void)snprintf(text, 32, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return text;
}

static void print_text(const char *dir, const struct tuck_cache_stats *stats) {
    char text[32];
    const uint64_t *value = stats->counters.value;
    fprintf(stdout, "%-16s%s\n", "cache", dir);
    fprintf(stdout, "%-16s%" PRIu64 "\n", "entries", stats->entries);
    fprintf(stdout, "%-16s%" PRIu64 "   %s\n", "objects", stats->objects,
            bytes_text(stats->bytes, text));
    if (value[TUCK_COUNT_gets] > 0)
        fprintf(stdout, "%-16s%.1f %%\n", "hit rate",
                100.0 * (double)value[TUCK_COUNT_hits] / (double)value[TUCK_COUNT_gets]);
    for (size_t i = 0; i < TUCK_COUNTER_MAX; i++) {
        if (strcmp(counter_texts[i].unit, "bytes") == 0)
            fprintf(stdout, "%-16s%-16s%s\n", counter_texts[i].name, bytes_text(value[i], text),
                    counter_texts[i].help);
        else
            fprintf(stdout, "%-16s%-16" PRIu64 "%s\n", counter_texts[i].name, value[i],
                    counter_texts[i].help);
    }
}

static int print_json(const char *dir, const struct tuck_cache_stats *stats) {
    json_t *counters = json_object();
    for (size_t i = 0; i < TUCK_COUNTER_MAX; i++)
        (void)json_object_set_new(counters, counter_texts[i].name,
                                  json_integer((json_int_t)stats->counters.value[i]));
    json_t *all = json_pack("{s:s, s:I, s:I, s:I, s:o}", "dir", dir, "entries",
                            (json_int_t)stats->entries, "objects", (json_int_t)stats->objects,
                            "bytes", (json_int_t)stats->bytes, "counters", counters);
    if (!all || json_dumpf(all, stdout, JSON_INDENT(2)) < 0) {
        json_decref(all);
        tuck_say("the directory's name is not UTF-8 and cannot be shown as JSON");
        return TUCK_EXIT_FAILED;
    }
    fputc('\n', stdout);
    json_decref(all);
    return TUCK_EXIT_DONE;
}

int tuck_command_stats(int argc, char **argv) {
    struct tuck_settings settings = {0};
    struct tuck_cache_stats stats = {0};
    struct tuck_error err = {0};
    unsigned flags;
    int status =
        tuck_command_settings(&settings, argc, argv, (const char *const[]){"--json", NULL}, &flags);
    const char *dir = settings.value[TUCK_SETTING_dir];
    if (status == TUCK_EXIT_DONE && tuck_cache_stats(dir, &stats, &err) < 0) {
        tuck_say("%s", err.text);
        status = TUCK_EXIT_FAILED;
    } else if (status == TUCK_EXIT_DONE && flags) {
        status = print_json(dir, &stats);
    } else if (status == TUCK_EXIT_DONE) {
        print_text(dir, &stats);
    }
    tuck_settings_fini(&settings);
    return status;
}

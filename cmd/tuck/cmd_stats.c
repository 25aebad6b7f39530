// SPDX-License-Identifier: MIT
// tuck stats: what the cache holds, and what its helpers did.
#include "cmd/tuck/command.h"
#include "cmd/tuck/units.h"

#include <inttypes.h>
#include <jansson.h>

static const struct {
    const char *name, *unit, *help;
} counter_texts[] = {
#define X(name, unit, help) {#name, unit, help},
    TUCK_COUNTERS(X)
#undef X
};

// All drives together.
static struct tuck_drive_stats sum_up(const struct tuck_cache_stats *stats) {
    struct tuck_drive_stats sum = {.is_counted = true};
    for (size_t i = 0; i < stats->count; i++) {
        const struct tuck_drive_stats *drive = &stats->drive[i];
        if (drive->why[0])
            continue;
        sum.is_counted &= drive->is_counted;
        sum.entries += drive->entries;
        sum.objects += drive->objects;
        sum.bytes += drive->bytes;
        sum.used_bytes += drive->used_bytes;
        sum.used_objects += drive->used_objects;
        sum.limit_bytes += drive->limit_bytes;
        for (size_t c = 0; c < TUCK_COUNTER_MAX; c++)
            sum.counters.value[c] += drive->counters.value[c];
    }
    return sum;
}

static bool is_over(const struct tuck_drive_stats *stats) {
    return stats->used_bytes > stats->limit_bytes;
}

static void print_use(const struct tuck_drive_stats *stats) {
    char used[32], limit[32];
    fprintf(stdout, "%s%s of %s", stats->is_counted ? "" : "at least ",
            tuck_show_size(stats->used_bytes, used), tuck_show_size(stats->limit_bytes, limit));
    if (is_over(stats))
        fputs(" (over: in use or used within the last hours)", stdout);
}

static void print_drives(const struct tuck_cache_stats *stats) {
    char text[32];
    for (size_t i = 0; i < stats->count; i++) {
        const struct tuck_drive_stats *drive = &stats->drive[i];
        fprintf(stdout, "%-16s%s: ", i ? "" : "drives", drive->root);
        if (drive->why[0]) {
            fprintf(stdout, "offline: %s\n", drive->why);
            continue;
        }
        fprintf(stdout, "%" PRIu64 " entries, %" PRIu64 " objects, ", drive->entries,
                drive->objects);
        print_use(drive);
        fprintf(stdout, ", %s free\n", tuck_show_size(drive->free_bytes, text));
    }
}

static void print_text(const struct tuck_cache_stats *stats) {
    char text[32];
    struct tuck_drive_stats sum = sum_up(stats);
    const uint64_t *value = sum.counters.value;
    if (stats->count == 1)
        fprintf(stdout, "%-16s%s\n", "cache", stats->drive[0].root);
    else
        print_drives(stats);
    fprintf(stdout, "%-16s%" PRIu64 "\n", "entries", sum.entries);
    fprintf(stdout, "%-16s%" PRIu64 "   %s\n", "objects", sum.objects,
            tuck_show_size(sum.bytes, text));
    fprintf(stdout, "%-16s", "used");
    print_use(&sum);
    fputc('\n', stdout);
    if (value[TUCK_COUNT_gets] > 0)
        fprintf(stdout, "%-16s%.1f %%\n", "hit rate",
                100.0 * (double)value[TUCK_COUNT_hits] / (double)value[TUCK_COUNT_gets]);
    for (size_t i = 0; i < TUCK_COUNTER_MAX; i++) {
        if (strcmp(counter_texts[i].unit, "bytes") == 0)
            fprintf(stdout, "%-16s%-16s%s\n", counter_texts[i].name, tuck_show_size(value[i], text),
                    counter_texts[i].help);
        else
            fprintf(stdout, "%-16s%-16" PRIu64 "%s\n", counter_texts[i].name, value[i],
                    counter_texts[i].help);
    }
}

static json_t *json_of(const struct tuck_drive_stats *stats) {
    json_t *counters = json_object();
    for (size_t i = 0; i < TUCK_COUNTER_MAX; i++)
        (void)json_object_set_new(counters, counter_texts[i].name,
                                  json_integer((json_int_t)stats->counters.value[i]));
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:b, s:o}", "entries",
                     (json_int_t)stats->entries, "objects", (json_int_t)stats->objects, "bytes",
                     (json_int_t)stats->bytes, "used_bytes", (json_int_t)stats->used_bytes,
                     "used_objects", (json_int_t)stats->used_objects, "limit_bytes",
                     (json_int_t)stats->limit_bytes, "counted", stats->is_counted, "over",
                     is_over(stats), "counters", counters);
}

static int print_json(const struct tuck_cache_stats *stats) {
    struct tuck_drive_stats sum = sum_up(stats);
    json_t *all = json_of(&sum), *drives = json_array();
    bool is_whole = json_object_set_new(all, "dir", json_string(stats->drive[0].root)) == 0;
    for (size_t i = 0; i < stats->count; i++) {
        const struct tuck_drive_stats *drive = &stats->drive[i];
        json_t *one = json_of(drive);
        is_whole &= json_object_set_new(one, "dir", json_string(drive->root)) == 0;
        if (drive->why[0])
            (void)json_object_set_new(one, "offline", json_string(drive->why));
        else
            (void)json_object_set_new(one, "free_bytes",
                                      json_integer((json_int_t)drive->free_bytes));
        (void)json_array_append_new(drives, one);
    }
    (void)json_object_set_new(all, "drives", drives);
    if (is_whole)
        return tuck_command_print_json(all);
    json_decref(all);
    return tuck_command_print_json(NULL);
}

int tuck_command_stats(int argc, char **argv) {
    struct tuck_settings settings = {0};
    struct tuck_cache *cache = NULL;
    struct tuck_cache_stats stats = {0};
    struct tuck_error err = {0};
    bool is_json = false;
    const struct tuck_option options[] = {{"--json", &is_json, NULL}, {0}};
    int status = tuck_command_begin(&settings, &argc, argv, options, 0);
    if (status == TUCK_EXIT_DONE)
        status = tuck_command_open(&settings, &cache);
    if (status == TUCK_EXIT_DONE && tuck_cache_stats(cache, &stats, &err) < 0) {
        tuck_say("%s", err.text);
        status = TUCK_EXIT_FAILED;
    } else if (status == TUCK_EXIT_DONE && is_json) {
        status = print_json(&stats);
    } else if (status == TUCK_EXIT_DONE) {
        print_text(&stats);
    }
    tuck_command_close(cache); // a drive that came back is news for the next helper
    tuck_settings_fini(&settings);
    return status;
}

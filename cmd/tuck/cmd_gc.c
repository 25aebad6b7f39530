// SPDX-License-Identifier: MIT
// tuck gc: evicts now what would be evicted anyway, or more.
#include "cmd/tuck/command.h"
#include "cmd/tuck/units.h"

#include <inttypes.h>
#include <jansson.h>
#include <sys/stat.h>

static bool read_wishes(const char *max_size, const char *older_than, struct tuck_collect *how) {
    if (max_size && !tuck_read_size(max_size, &how->max_bytes)) {
        tuck_say("--max-size is '%s'; it can be a size like 500MiB or 20GiB", max_size);
        return false;
    }
    if (older_than &&
        (!tuck_read_age(older_than, &how->older_than_s) || how->older_than_s < 3600)) {
        tuck_say("--older-than is '%s'; it can be an age of an hour or more, like 36h or 5d: what "
                 "was used since may be in use",
                 older_than);
        return false;
    }
    return true;
}

static void print_text(const struct tuck_collected *done, bool is_dry_run, bool is_complete) {
    char bytes[32], used[32], limit[32];
    fprintf(stdout, "%s %" PRIu64 " entries and %" PRIu64 " objects, %s; ",
            is_dry_run ? "would remove" : "removed", done->entries, done->objects,
            tuck_show_size(done->bytes, bytes));
    fprintf(stdout, "%s of %s used\n", tuck_show_size(done->used_after, used),
            tuck_show_size(done->limit, limit));
    if (done->claimed > 0)
        fprintf(stdout, "kept %" PRIu64 " that running builds use\n", done->claimed);
    if (!is_complete)
        fputs("interrupted: the rest is left to the next collection\n", stdout);
    else if (done->is_over)
        fputs("the rest is in use, or was used within the last hours\n", stdout);
    if (done->is_busy)
        fputs("another collection runs on a drive, which was left to it\n", stdout);
}

static int print_json(const struct tuck_collected *done, bool is_dry_run) {
    return tuck_command_print_json(
        json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:b}", "dry_run", is_dry_run,
                  "entries", (json_int_t)done->entries, "objects", (json_int_t)done->objects,
                  "bytes", (json_int_t)done->bytes, "claimed", (json_int_t)done->claimed, "orphans",
                  (json_int_t)done->orphans, "used_before", (json_int_t)done->used_before,
                  "used_after", (json_int_t)done->used_after, "limit", (json_int_t)done->limit,
                  "over", done->is_over, "busy", done->is_busy));
}

int tuck_command_gc(int argc, char **argv) {
    struct tuck_settings settings = {0};
    struct tuck_cache *cache = NULL;
    struct tuck_collected done;
    struct tuck_error err = {0};
    struct tuck_collect how = {.max_bytes = UINT64_MAX};
    bool is_json = false;
    const char *max_size = NULL, *older_than = NULL;
    const struct tuck_option options[] = {{"--dry-run", &how.is_dry_run, NULL},
                                          {"--max-size", NULL, &max_size},
                                          {"--older-than", NULL, &older_than},
                                          {"--json", &is_json, NULL},
                                          {0}};
    (void)umask(077);
    int status = tuck_command_begin(&settings, &argc, argv, options, 0);
    if (status == TUCK_EXIT_DONE && !read_wishes(max_size, older_than, &how))
        status = TUCK_EXIT_USAGE;
    if (status == TUCK_EXIT_DONE)
        status = tuck_command_open(&settings, &cache);
    if (status == TUCK_EXIT_DONE) {
        how.stop = tuck_command_stop();
        if (tuck_cache_collect(cache, &how, &done, &err) < 0) {
            tuck_say("%s", err.text);
            status = TUCK_EXIT_FAILED;
        } else if (is_json) {
            status = print_json(&done, how.is_dry_run);
        } else {
            print_text(&done, how.is_dry_run, !*how.stop);
        }
    }
    tuck_command_close(cache);
    tuck_settings_fini(&settings);
    return status;
}

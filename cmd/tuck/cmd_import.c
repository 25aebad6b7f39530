// SPDX-License-Identifier: MIT
// tuck import: takes over what the go command's built-in cache holds.
#include "cmd/tuck/command.h"
#include "cmd/tuck/units.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <sys/stat.h>

static void show_progress(void *arg, const struct tuck_imported *so_far) {
    char text[32];
    uint64_t seen = so_far->entries + so_far->present + so_far->executables + so_far->damaged +
                    so_far->unreadable + so_far->no_room;
    (void)arg;
    tuck_command_progress("importing: %" PRIu64 " of %" PRIu64 " entries, %s", seen, so_far->found,
                          tuck_show_size(so_far->bytes, text));
}

static void print_text(const struct tuck_imported *done, const char *dir) {
    char bytes[32];
    if (done->found == 0 && done->unreadable == 0 && done->is_complete) {
        fprintf(stdout, "nothing to take over: '%s' holds no entries of the go command\n", dir);
        return;
    }
    fprintf(stdout, "took over %" PRIu64 " entries, %s, from %s\n", done->entries,
            tuck_show_size(done->bytes, bytes), dir);
    if (done->shared_bytes > 0)
        fprintf(stdout, "%s of it in blocks that the originals share\n",
                tuck_show_size(done->shared_bytes, bytes));
    if (done->present > 0)
        fprintf(stdout, "%" PRIu64 " were here already, as new or newer\n", done->present);
    if (done->executables > 0)
        fprintf(stdout, "left out %" PRIu64 " executables, which no helper is asked for\n",
                done->executables);
    if (done->damaged > 0)
        fprintf(stdout, "left out %" PRIu64 " that are half-written, damaged or gone there\n",
                done->damaged);
    if (done->unreadable > 0)
        fprintf(stdout, "left out %" PRIu64 " files or directories that could not be read\n",
                done->unreadable);
    if (done->no_room > 0)
        fprintf(stdout,
                "left out %" PRIu64 ", %s, those not used for longest: there is no room for them "
                "below the low watermark; see quota and free_floor in tuck config\n",
                done->no_room, tuck_show_size(done->no_room_bytes, bytes));
    if (!done->is_complete)
        fputs("it is not complete; the same command goes on\n", stdout);
}

static int print_json(const struct tuck_imported *done) {
    return tuck_command_print_json(json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b}", "found", (json_int_t)done->found,
        "entries", (json_int_t)done->entries, "bytes", (json_int_t)done->bytes, "shared_bytes",
        (json_int_t)done->shared_bytes, "present", (json_int_t)done->present, "executables",
        (json_int_t)done->executables, "damaged", (json_int_t)done->damaged, "unreadable",
        (json_int_t)done->unreadable, "no_room", (json_int_t)done->no_room, "no_room_bytes",
        (json_int_t)done->no_room_bytes, "complete", done->is_complete));
}

// The directory to import from, there and a directory; NULL with the status to exit with.
static const char *find_source(struct tuck_settings *settings, const char *word, int *ret_status) {
    const char *dir = word ? word : tuck_settings_gocache(settings);
    struct stat found;
    *ret_status = TUCK_EXIT_FAILED;
    if (!dir) {
        tuck_say("no go command could be asked for its cache; name the directory: tuck import DIR");
        *ret_status = TUCK_EXIT_USAGE;
        return NULL;
    }
    // Before a cache is made for what cannot be had.
    int failed = stat(dir, &found) < 0 ? errno : S_ISDIR(found.st_mode) ? 0 : ENOTDIR;
    if (failed) {
        tuck_say("cannot import from '%s': %s", dir, strerror(failed));
        return NULL;
    }
    *ret_status = TUCK_EXIT_DONE;
    return dir;
}

static int import(struct tuck_cache *cache, const char *dir, bool is_json) {
    struct tuck_imported done = {0};
    struct tuck_error err = {0};
    struct tuck_import how = {.dir = dir, .progress = show_progress, .stop = tuck_command_stop()};
    int status = tuck_cache_import(cache, &how, &done, &err);
    tuck_command_progress("%s", "");
    if (status < 0)
        tuck_say("%s", err.text);
    int printed = TUCK_EXIT_DONE;
    if (is_json)
        printed = print_json(&done);
    else if (status == 0 || done.entries > 0)
        print_text(&done, dir);
    if (!done.is_complete || printed != TUCK_EXIT_DONE)
        return TUCK_EXIT_FAILED;
    return done.unreadable > 0 ? TUCK_EXIT_FOUND : TUCK_EXIT_DONE;
}

int tuck_command_import(int argc, char **argv) {
    struct tuck_settings settings = {0};
    struct tuck_cache *cache = NULL;
    const char *dir = NULL;
    bool is_json = false;
    const struct tuck_option options[] = {{"--json", &is_json, NULL}, {0}};
    (void)umask(077);
    int status = tuck_command_begin(&settings, &argc, argv, options, 1);
    if (status == TUCK_EXIT_DONE)
        dir = find_source(&settings, argc > 1 ? argv[1] : NULL, &status);
    if (status == TUCK_EXIT_DONE)
        status = tuck_command_make(&settings, &cache);
    if (status == TUCK_EXIT_DONE)
        status = import(cache, dir, is_json);
    tuck_command_close(cache);
    tuck_settings_fini(&settings);
    return status;
}

// SPDX-License-Identifier: MIT
// tuck import: takes over what the go command's built-in cache holds.
#include "cmd/tuck/command.h"
#include "cmd/tuck/units.h"

#include <inttypes.h>
#include <jansson.h>
#include <sys/stat.h>

static void show_progress(void *arg, uint64_t entries, uint64_t bytes) {
    char text[32];
    (void)arg;
    tuck_command_progress("importing: %" PRIu64 " entries, %s", entries,
                          tuck_show_size(bytes, text));
}

static void print_text(const struct tuck_imported *done, const char *dir) {
    char bytes[32];
    fprintf(stdout, "took over %" PRIu64 " entries, %s, from %s", done->entries,
            tuck_show_size(done->bytes, bytes), dir);
    if (done->present > 0)
        fprintf(stdout, "; %" PRIu64 " were here already", done->present);
    if (done->executables > 0)
        fprintf(stdout, "; left out %" PRIu64 " executables, which no helper is asked for",
                done->executables);
    if (done->damaged > 0)
        fprintf(stdout, "; left out %" PRIu64 " that are damaged or gone there", done->damaged);
    fputs(done->is_complete ? "\n" : "; stopped, the same command goes on\n", stdout);
}

static int print_json(const struct tuck_imported *done) {
    return tuck_command_print_json(
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:b}", "entries", (json_int_t)done->entries, "bytes",
                  (json_int_t)done->bytes, "present", (json_int_t)done->present, "executables",
                  (json_int_t)done->executables, "damaged", (json_int_t)done->damaged, "complete",
                  done->is_complete));
}

int tuck_command_import(int argc, char **argv) {
    struct tuck_settings settings = {0};
    struct tuck_cache *cache = NULL;
    struct tuck_imported done;
    struct tuck_error err = {0};
    struct tuck_import how = {.progress = show_progress};
    bool is_json = false;
    const struct tuck_option options[] = {{"--json", &is_json, NULL}, {0}};
    (void)umask(077);
    int status = tuck_command_begin(&settings, &argc, argv, options, 1);
    how.dir = argc > 1 ? argv[1] : settings.gocache;
    if (status == TUCK_EXIT_DONE && !how.dir) {
        tuck_say("no go command could be asked for its cache; name the directory: tuck import DIR");
        status = TUCK_EXIT_USAGE;
    }
    if (status == TUCK_EXIT_DONE)
        status = tuck_command_make(&settings, &cache);
    if (status == TUCK_EXIT_DONE) {
        how.stop = tuck_command_stop();
        int imported = tuck_cache_import(cache, &how, &done, &err);
        tuck_command_progress("%s", "");
        if (imported < 0) {
            tuck_say("%s", err.text);
            status = TUCK_EXIT_FAILED;
        } else if (is_json) {
            status = print_json(&done);
        } else {
            print_text(&done, how.dir);
        }
    }
    tuck_command_close(cache);
    tuck_settings_fini(&settings);
    return status;
}

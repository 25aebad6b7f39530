// SPDX-License-Identifier: MIT
// tuck rm: removes what one action made, or one output, from every drive.
#include "cmd/tuck/command.h"

#include <inttypes.h>
#include <sys/stat.h>

int tuck_command_rm(int argc, char **argv) {
    struct tuck_settings settings = {0};
    struct tuck_cache *cache = NULL;
    struct tuck_removed removed;
    struct tuck_error err = {0};
    uint8_t id[TUCK_ID_BYTES];
    const struct tuck_option options[] = {{0}};
    (void)umask(077);
    int status = tuck_command_begin(&settings, &argc, argv, options, 1);
    if (status == TUCK_EXIT_DONE &&
        (argc < 2 || strlen(argv[1]) != TUCK_ID_HEX || !tuck_unhex(id, argv[1], TUCK_ID_BYTES))) {
        tuck_say("usage: tuck rm ID, the 64 hexadecimal digits of an action or an output");
        status = TUCK_EXIT_USAGE;
    }
    if (status == TUCK_EXIT_DONE)
        status = tuck_command_open(&settings, &cache);
    if (status == TUCK_EXIT_DONE && tuck_cache_remove(cache, id, &removed, &err) < 0) {
        tuck_say("%s", err.text);
        status = TUCK_EXIT_FAILED;
    } else if (status == TUCK_EXIT_DONE && removed.entries + removed.objects + removed.kept == 0) {
        tuck_say("nothing here has the id %s", argv[1]);
        status = TUCK_EXIT_FAILED;
    } else if (status == TUCK_EXIT_DONE) {
        fprintf(stdout, "removed %" PRIu64 " entries and %" PRIu64 " objects", removed.entries,
                removed.objects);
        if (removed.kept > 0)
            fprintf(stdout, "; kept %" PRIu64 " objects that running builds use", removed.kept);
        fputc('\n', stdout);
    }
    tuck_command_close(cache);
    tuck_settings_fini(&settings);
    return status;
}

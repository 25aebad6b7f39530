// SPDX-License-Identifier: MIT
// tuck clear: forgets every entry and removes every object that no running helper gave out.
#include "cmd/tuck/command.h"

#include <inttypes.h>
#include <sys/stat.h>

int tuck_command_clear(int argc, char **argv) {
    struct tuck_settings settings = {0};
    struct tuck_cache *cache = NULL;
    struct tuck_removed removed;
    struct tuck_error err = {0};
    const struct tuck_option options[] = {{0}};
    (void)umask(077);
    int status = tuck_command_begin(&settings, &argc, argv, options, 0);
    if (status == TUCK_EXIT_DONE)
        status = tuck_command_open(&settings, &cache);
    if (status == TUCK_EXIT_DONE && tuck_cache_clear(cache, &removed, &err) < 0) {
        tuck_say("%s", err.text);
        status = TUCK_EXIT_FAILED;
    } else if (status == TUCK_EXIT_DONE) {
        fprintf(stdout, "removed %" PRIu64 " objects", removed.objects);
        for (size_t i = 0; i < settings.drives.count; i++)
            fprintf(stdout, "%s%s", i ? ", " : " from ", settings.drives.paths[i]);
        if (removed.kept > 0)
            fprintf(stdout, "; kept %" PRIu64 " that running builds use", removed.kept);
        fputc('\n', stdout);
    }
    tuck_command_close(cache);
    tuck_settings_fini(&settings);
    return status;
}

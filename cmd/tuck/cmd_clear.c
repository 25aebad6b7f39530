// SPDX-License-Identifier: MIT
// tuck clear: forgets every entry and removes every object that no running helper gave out.
#include "cmd/tuck/command.h"

#include <inttypes.h>
#include <sys/stat.h>

int tuck_command_clear(int argc, char **argv) {
    struct tuck_settings settings = {0};
    struct tuck_cache_cleared cleared;
    struct tuck_error err = {0};
    unsigned flags;
    (void)umask(077);
    int status = tuck_command_settings(&settings, argc, argv, (const char *const[]){NULL}, &flags);
    if (status == TUCK_EXIT_DONE &&
        tuck_cache_clear(settings.value[TUCK_SETTING_dir], &cleared, &err) < 0) {
        tuck_say("%s", err.text);
        status = TUCK_EXIT_FAILED;
    } else if (status == TUCK_EXIT_DONE) {
        fprintf(stdout, "removed %" PRIu64 " objects from %s", cleared.objects,
                settings.value[TUCK_SETTING_dir]);
        if (cleared.kept > 0)
            fprintf(stdout, "; kept %" PRIu64 " that running builds use", cleared.kept);
        fputc('\n', stdout);
    }
    tuck_settings_fini(&settings);
    return status;
}

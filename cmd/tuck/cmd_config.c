// SPDX-License-Identifier: MIT
// tuck config: the settings in force and where each comes from, in the form of the configuration
// file.
#include "cmd/tuck/command.h"

int tuck_command_config(int argc, char **argv) {
    struct tuck_settings settings = {0};
    unsigned flags;
    int status = tuck_command_settings(&settings, argc, argv,
                                       (const char *const[]){"--origin", NULL}, &flags);
    for (int i = 0; status == TUCK_EXIT_DONE && i < TUCK_SETTING_MAX; i++) {
        const char *value = settings.value[i] ? settings.value[i] : "";
        const char *origin = settings.origin[i] ? settings.origin[i] : "default";
        if (flags)
            fprintf(stdout, "; %s\n", origin);
        fprintf(stdout, "%s = %s\n", tuck_setting_name(i), value);
    }
    tuck_settings_fini(&settings);
    return status;
}

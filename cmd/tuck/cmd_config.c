// SPDX-License-Identifier: MIT
// tuck config: the settings in force and where each comes from, in the form of the configuration
// file.
#include "cmd/tuck/command.h"

int tuck_command_config(int argc, char **argv) {
    struct tuck_settings settings = {0};
    bool has_origin = false;
    const struct tuck_option options[] = {{"--origin", &has_origin, NULL}, {0}};
    int status = tuck_command_begin(&settings, &argc, argv, options, 0);
    for (int i = 0; status == TUCK_EXIT_DONE && i < TUCK_SETTING_MAX; i++) {
        const char *value = settings.value[i] ? settings.value[i] : "";
        const char *origin = settings.origin[i] ? settings.origin[i] : "default";
        if (has_origin)
            fprintf(stdout, "; %s\n", origin);
        fprintf(stdout, "%s = %s\n", tuck_setting_name(i), value);
    }
    tuck_settings_fini(&settings);
    return status;
}

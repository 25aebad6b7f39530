// SPDX-License-Identifier: MIT
/*
 * Settings from all their origins. The input is text in three parts with a line `%%` between them: flags, one
 * argument a line; the environment, one NAME=VALUE a line; the user's file. \x01 in the first two stands for a line
 * end.
 *
 * Whatever is written there, the settings come out usable, what was not used is handed back in order, every value has
 * an origin, nearer origins win, and a plain line of the file counts in full or is reported.
 */
#include "tests/fuzz/fuzz.h"
#include "cmd/tuck/settings.h"

#include <ctype.h>
#include <sys/stat.h>

#define ARGUMENTS_MAX 64U

// What a client's environment may hold; all else is taken away.
static const char *const variables[] = {"TUCK_DIR", "TUCK_DURABILITY", "TUCK_LOG", "GOCACHE",
                                        "HOME",     "XDG_CACHE_HOME"};

static char config_path[400];
static unsigned reports;

static void take_report(const char *problem) {
    reports++;
    fuzz_check(problem[0] && !strpbrk(problem, "\r\n"), "not one line: %s", problem);
}

// --- Input ---------------------------------------------------------------------------------------

// Cuts the next part off, as a string of its own.
static char *take_part(const char **at, const char *end) {
    const char *from = *at, *mark = from;
    for (; mark < end; mark = memchr(mark, '\n', (size_t)(end - mark))
                                  ? (const char *)memchr(mark, '\n', (size_t)(end - mark)) + 1
                                  : end)
        if (end - mark >= 2 && memcmp(mark, "%%", 2) == 0 && (end - mark == 2 || mark[2] == '\n'))
            break;
    *at = end - mark > 3 ? mark + 3 : end;
    char *part = strndup(from, (size_t)(mark - from));
    fuzz_check(part, "no memory");
    return part;
}

static char *take_line(char **text) {
    char *line = *text;
    if (!*line)
        return NULL;
    char *end = line + strcspn(line, "\n");
    *text = *end ? end + 1 : end;
    *end = '\0';
    for (char *c = line; *c; c++)
        if (*c == '\x01')
            *c = '\n';
    return line;
}

static void set_environment(char *text) {
    for (size_t i = 0; i < TUCK_ARRAY_LEN(variables); i++)
        (void)unsetenv(variables[i]);
    for (char *line; (line = take_line(&text));) {
        char *value = strchr(line, '=');
        if (!value)
            continue;
        *value++ = '\0';
        for (size_t i = 0; i < TUCK_ARRAY_LEN(variables); i++)
            if (strcmp(line, variables[i]) == 0)
                fuzz_check(setenv(line, value, 1) == 0, "no memory");
    }
}

// --- What must come out --------------------------------------------------------------------------

// Flags by their own rule: --name=value and --name value are taken, up to "--".
static const char *expect_flags(int argc, char **argv, char **ret_kept, int *ret_kept_count,
                                const char *name) {
    const char *value = NULL;
    bool has_ended = false;
    *ret_kept_count = 0;
    for (int i = 0; i < argc; i++) {
        bool is_taken = false;
        has_ended |= i > 0 && strcmp(argv[i], "--") == 0;
        for (int setting = 0; i > 0 && !has_ended && !is_taken && setting < TUCK_SETTING_MAX;
             setting++) {
            const char *wanted = tuck_setting_name((enum tuck_setting)setting);
            size_t len = strlen(wanted);
            if (strncmp(argv[i], "--", 2) != 0 || strncmp(argv[i] + 2, wanted, len) != 0)
                continue;
            const char *rest = argv[i] + 2 + len, *found = NULL;
            if (*rest == '=')
                found = rest + 1;
            else if (!*rest && i + 1 < argc)
                found = argv[++i];
            is_taken = found || !*rest;
            if (found && strcmp(wanted, name) == 0) // of two the last counts
                value = found;
        }
        if (!is_taken)
            ret_kept[(*ret_kept_count)++] = argv[i];
    }
    return value;
}

static bool is_plain(const char *text, const char *more) {
    for (; *text; text++)
        if (!isalnum((uint8_t)*text) && !strchr(more, *text))
            return false;
    return true;
}

// The value that the file gives to a setting, where all its lines are of the plainest kind; false where they are not.
static bool expect_file(const char *text, const char *name, char *ret_value, size_t room) {
    ret_value[0] = '\0';
    for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        char copy[8192], *value;
        size_t len = strcspn(line, "\n");
        if (len >= sizeof(copy))
            return false;
        memcpy(copy, line, len);
        copy[len] = '\0';
        value = strchr(copy, '=');
        if (len == 0)
            continue;
        if (!value)
            return false;
        *value++ = '\0';
        if (!is_plain(copy, "_") || !is_plain(value, "/_.-") || !copy[0] || !value[0])
            return false;
        if (strcmp(copy, name) == 0 && !ret_value[0])
            (void)snprintf(ret_value, room, "%s", value);
    }
    return true;
}

static void check_origin(const struct tuck_settings *settings, int setting, const char *flag,
                         const char *file_text) {
    const char *name = tuck_setting_name((enum tuck_setting)setting),
               *value = settings->value[setting];
    const char *origin = settings->origin[setting];
    char variable[64], from_file[8192];
    (void)snprintf(variable, sizeof(variable), "TUCK_%s", name);
    for (char *c = variable; *c; c++)
        *c = (char)toupper((uint8_t)*c);
    const char *given = getenv(variable);
    given = given && *given ? given : NULL;
    if (!value || strcmp(origin, "default") == 0)
        return;
    if (flag) {
        fuzz_check(strcmp(origin, "flag") == 0, "%s comes from %s, not from the flag", name,
                   origin);
    } else if (given) {
        fuzz_check(strncmp(origin, "environment TUCK_", 17) == 0,
                   "%s comes from %s, not from the environment", name, origin);
    } else {
        fuzz_check(strncmp(origin, config_path, strlen(config_path)) == 0 &&
                       origin[strlen(config_path)] == ':',
                   "%s comes from %s", name, origin);
        if (!expect_file(file_text, name, from_file, sizeof(from_file)))
            return;
        fuzz_check(from_file[0], "%s was not set", name);
    }
    const char *expected = flag ? flag : given ? given : from_file;
    size_t len = strlen(expected);
    while (setting == TUCK_SETTING_dir && len > 1 && expected[len - 1] == '/')
        len--;
    fuzz_check(strlen(value) == len && memcmp(value, expected, len) == 0, "%s is '%s', not '%s'",
               name, value, expected);
}

// A setting may be left at its default only where nothing sets it, or something was reported.
static void check_default(const struct tuck_settings *settings, int setting, const char *flag,
                          const char *file_text) {
    const char *name = tuck_setting_name((enum tuck_setting)setting),
               *origin = settings->origin[setting];
    char from_file[8192];
    if (settings->value[setting] && strcmp(origin, "default") != 0)
        return;
    bool is_set =
        flag || (expect_file(file_text, name, from_file, sizeof(from_file)) && from_file[0]);
    fuzz_check(!is_set || reports > 0, "%s was set and does not count, and nothing says so", name);
}

static void check_settings(const struct tuck_settings *settings, int status,
                           const char *const *flags, const char *file_text) {
    const char *dir = settings->value[TUCK_SETTING_dir];
    fuzz_check(settings->problems == reports, "%u problems, %u reports", settings->problems,
               reports);
    fuzz_check(status == 0 || (status == TUCK_EINVAL && !dir), "status %d", status);
    if (status == 0)
        fuzz_check(dir && dir[0] == '/' && (dir[1] == '\0' || dir[strlen(dir) - 1] != '/'),
                   "dir is '%s'", dir ? dir : "absent");
    fuzz_check((unsigned)settings->durability <= TUCK_STRICT, "durability %d",
               (int)settings->durability);
    static const char *const levels[] = {"lazy", "batch", "strict"};
    fuzz_check(strcmp(settings->value[TUCK_SETTING_durability], levels[settings->durability]) == 0,
               "durability '%s' is %d", settings->value[TUCK_SETTING_durability],
               (int)settings->durability);
    for (int i = 0; i < TUCK_SETTING_MAX; i++) {
        fuzz_check(!settings->value[i] || settings->origin[i], "%s has no origin",
                   tuck_setting_name((enum tuck_setting)i));
        check_origin(settings, i, flags[i], file_text);
        check_default(settings, i, flags[i], file_text);
    }
}

// --- The target ----------------------------------------------------------------------------------

static void begin(void) {
    char path[400];
    (void)snprintf(path, sizeof(path), "%s/tuck", fuzz_scratch());
    fuzz_check(mkdir(path, 0700) == 0, "%s cannot be made", path);
    (void)snprintf(config_path, sizeof(config_path), "%s/tuck/config", fuzz_scratch());
    fuzz_check(setenv("XDG_CONFIG_HOME", fuzz_scratch(), 1) == 0, "no memory");
    fuzz_check(setenv("PATH", fuzz_scratch(), 1) == 0, "no memory"); // no go command is asked
}

static size_t split_arguments(char *text, char **argv) {
    size_t argc = 1;
    argv[0] = "tuck";
    for (char *line; argc < ARGUMENTS_MAX && (line = take_line(&text));)
        argv[argc++] = line;
    argv[argc] = NULL;
    return argc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *at = (const char *)data, *end = at + size;
    char *argv[ARGUMENTS_MAX + 1], *kept[ARGUMENTS_MAX + 1];
    const char *flags[TUCK_SETTING_MAX];
    if (!config_path[0])
        begin();
    char *flag_text = take_part(&at, end), *environment_text = take_part(&at, end);
    fuzz_write_file(config_path, at, (size_t)(end - at));
    // Where the file has a NUL nothing is expected of it: a line that is not plain says so.
    char *file_text =
        memchr(at, 0, (size_t)(end - at)) ? strdup("?") : strndup(at, (size_t)(end - at));
    fuzz_check(file_text, "no memory");
    set_environment(environment_text);
    reports = 0;

    int argc = (int)split_arguments(flag_text, argv), kept_count = 0;
    for (int i = 0; i < TUCK_SETTING_MAX; i++)
        flags[i] =
            expect_flags(argc, argv, kept, &kept_count, tuck_setting_name((enum tuck_setting)i));
    struct tuck_settings settings = {.report = take_report};
    struct tuck_error err = {0};
    argc = tuck_settings_from_flags(&settings, argc, argv);
    fuzz_check(argc == kept_count && !argv[argc], "%d arguments left, not %d", argc, kept_count);
    for (int i = 0; i < argc; i++)
        fuzz_check(argv[i] == kept[i], "argument %d is '%s'", i, argv[i]);
    int status = tuck_settings_complete(&settings, &err);
    // A file of the system would count as well; where there is one, only faults are found.
    if (access("/etc/tuck/config", F_OK) < 0)
        check_settings(&settings, status, flags, file_text);
    tuck_settings_fini(&settings);
    free(flag_text);
    free(environment_text);
    free(file_text);
    return 0;
}

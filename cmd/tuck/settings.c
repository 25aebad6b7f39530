// SPDX-License-Identifier: MIT
#include "cmd/tuck/settings.h"
#include "cmd/tuck/units.h"
#include "lib/base/io.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <sys/wait.h>

extern char **environ;

#define LINE_MAX_CHARS 190  // that inih can take
#define GO_MAX_MS      2000 // how long `go env` may take

static const char *const names[TUCK_SETTING_MAX] = {
#define X(name, help) #name,
    TUCK_SETTINGS(X)
#undef X
};

static const char *const helps[TUCK_SETTING_MAX] = {
#define X(name, help) help,
    TUCK_SETTINGS(X)
#undef X
};

const char *tuck_setting_name(enum tuck_setting setting) {
    return names[setting];
}

void tuck_setting_variable(enum tuck_setting setting, char ret_name[static 64]) {
    (void)snprintf(ret_name, 64, "TUCK_%s", names[setting]);
    for (char *c = ret_name; *c; c++)
        *c = (char)toupper((unsigned char)*c);
}

const char *tuck_setting_help(enum tuck_setting setting) {
    return helps[setting];
}

__attribute__((format(printf, 2, 3))) static void problem(struct tuck_settings *settings,
                                                          const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    for (char *c = text; *c; c++)
        if (iscntrl((unsigned char)*c))
            *c = '?'; // it stays one line, whatever the value holds
    settings->problems++;
    settings->report(text);
}

static int edit_distance(const char *a, const char *b) {
    int row[32], len = (int)strlen(b);
    if (len >= (int)TUCK_ARRAY_LEN(row))
        return 99;
    for (int j = 0; j <= len; j++)
        row[j] = j;
    for (int i = 1; a[i - 1]; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= len; j++) {
            int replaced = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            int shorter = row[j] < row[j - 1] ? row[j] : row[j - 1];
            row[j] = replaced < shorter + 1 ? replaced : shorter + 1;
        }
    }
    return row[len];
}

const char *tuck_nearest_name(const char *word, const char *const *candidates, size_t count) {
    const char *nearest = NULL;
    int best = 3;
    for (size_t i = 0; i < count; i++) {
        int distance = edit_distance(word, candidates[i]);
        if (distance < best) {
            best = distance;
            nearest = candidates[i];
        }
    }
    return nearest;
}

static bool set(struct tuck_settings *settings, size_t setting, const char *value,
                const char *origin) {
    if (settings->value[setting])
        return true; // a nearer origin has set it
    settings->value[setting] = strdup(value);
    settings->origin[setting] = strdup(origin);
    return settings->value[setting] && settings->origin[setting];
}

// Of a flag given twice the last counts.
static bool set_flag(struct tuck_settings *settings, size_t setting, const char *value) {
    free(settings->value[setting]);
    free(settings->origin[setting]);
    settings->value[setting] = settings->origin[setting] = NULL;
    return set(settings, setting, value, "flag");
}

int tuck_settings_from_flags(struct tuck_settings *settings, int argc, char **argv) {
    int kept = 1, i = 1;
    for (; i < argc && strcmp(argv[i], "--") != 0; i++) {
        bool is_ours = false;
        for (size_t setting = 0; setting < TUCK_SETTING_MAX && !is_ours; setting++) {
            size_t len = strlen(names[setting]);
            if (strncmp(argv[i], "--", 2) != 0 || strncmp(argv[i] + 2, names[setting], len) != 0)
                continue;
            const char *rest = argv[i] + 2 + len;
            if (*rest == '=') {
                is_ours = set_flag(settings, setting, rest + 1);
            } else if (*rest == '\0' && i + 1 < argc) {
                is_ours = set_flag(settings, setting, argv[++i]);
            } else if (*rest == '\0') {
                problem(settings, "--%s needs a value", names[setting]);
                is_ours = true;
            }
        }
        if (!is_ours)
            argv[kept++] = argv[i];
    }
    for (; i < argc; i++)
        argv[kept++] = argv[i];
    argv[kept] = NULL;
    return kept;
}

static void read_environment(struct tuck_settings *settings) {
    for (size_t setting = 0; setting < TUCK_SETTING_MAX; setting++) {
        char name[64], origin[80];
        tuck_setting_variable((enum tuck_setting)setting, name);
        (void)snprintf(origin, sizeof(origin), "environment %s", name);
        const char *value = getenv(name);
        if (value && *value)
            (void)!set(settings, setting, value, origin);
    }
}

#define INI_LINE_MAX 190 // inih cuts longer ones off without a word

struct reading {
    struct tuck_settings *settings;
    const char *path;
    int line; // inih does not tell; each line is given to it alone
};

static int take_key(void *arg, const char *section, const char *name, const char *value) {
    struct reading *reading = arg;
    char origin[4200];
    (void)section;
    (void)snprintf(origin, sizeof(origin), "%s:%d", reading->path, reading->line);
    for (size_t setting = 0; setting < TUCK_SETTING_MAX; setting++)
        if (strcmp(name, names[setting]) == 0)
            return set(reading->settings, setting, value, origin);
    const char *nearest = tuck_nearest_name(name, names, TUCK_SETTING_MAX);
    problem(reading->settings, "%s: unknown setting '%s'%s%s%s", origin, name,
            nearest ? "; did you mean '" : "", nearest ? nearest : "", nearest ? "'?" : "");
    return 1;
}

// inih cuts lines at 200 characters; paths can be longer.
static bool take_long_line(struct reading *reading, char *line) {
    char *equals = strchr(line, '=');
    if (!equals)
        return false;
    char *ends[] = {equals, line + strlen(line)};
    char *parts[] = {line, equals + 1};
    for (size_t i = 0; i < 2; i++) {
        while (isspace((unsigned char)*parts[i]) && parts[i] < ends[i])
            parts[i]++;
        while (ends[i] > parts[i] && isspace((unsigned char)ends[i][-1]))
            ends[i]--;
        *ends[i] = '\0';
    }
    return take_key(reading, "", parts[0], parts[1]) != 0;
}

static void read_file(struct tuck_settings *settings, const char *path) {
    TUCK_CLEANUP(tuck_free) char *line = NULL;
    size_t room = 0;
    struct reading reading = {settings, path, 0};
    FILE *file = fopen(path, "re");
    if (!file) {
        if (errno != ENOENT && errno != ENOTDIR)
            problem(settings, "%s: cannot be read: %s", path, strerror(errno));
        return;
    }
    while (getline(&line, &room, file) >= 0) {
        reading.line++;
        if (strlen(line) >= LINE_MAX_CHARS ? !take_long_line(&reading, line)
                                           : ini_parse_string(line, take_key, &reading) != 0)
            problem(settings, "%s:%d: not of the form 'name = value'", path, reading.line);
    }
    (void)fclose(file);
}

static void read_files(struct tuck_settings *settings) {
    const char *base = getenv("XDG_CONFIG_HOME");
    const char *home = getenv("HOME");
    TUCK_CLEANUP(tuck_free) char *path = NULL;
    int len = -1;
    if (base && base[0] == '/')
        len = asprintf(&path, "%s/tuck/config", base);
    else if (home && home[0] == '/')
        len = asprintf(&path, "%s/.config/tuck/config", home);
    if (len >= 0)
        read_file(settings, path);
    else
        path = NULL;
    read_file(settings, "/etc/tuck/config");
}

// What `go env GOCACHE` prints, or NULL. Its own helper must not be started for it.
static char *ask_go(void) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return NULL;
    posix_spawn_file_actions_t actions;
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    (void)posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    (void)posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    char *argv[] = {"env", "-u", "GOCACHEPROG", "GOTOOLCHAIN=local", "go", "env", "GOCACHE", NULL};
    pid_t pid;
    char text[4096];
    size_t len = 0;
    bool is_started = posix_spawnp(&pid, "env", &actions, NULL, argv, environ) == 0;
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)close(ends[1]);
    if (is_started) {
        struct pollfd wait = {.fd = ends[0], .events = POLLIN};
        ssize_t n = 1;
        while (n > 0 && len < sizeof(text) - 1) {
            n = poll(&wait, 1, GO_MAX_MS) == 1 ? read(ends[0], text + len, sizeof(text) - 1 - len)
                                               : -1;
            len += n > 0 ? (size_t)n : 0;
        }
        if (n < 0) { // it hangs, or we are to stop
            (void)kill(pid, SIGKILL);
            len = 0;
        }
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    (void)close(ends[0]);
    while (len > 0 && text[len - 1] == '\n')
        len--;
    text[len] = '\0';
    return text[0] == '/' ? strdup(text) : NULL;
}

static void find_gocache(struct tuck_settings *settings) {
    const char *value = getenv("GOCACHE");
    if (value && value[0] == '/')
        settings->gocache = strdup(value);
    else if (!settings->value[TUCK_SETTING_dir])
        settings->gocache = ask_go();
}

const char *tuck_settings_gocache(struct tuck_settings *settings) {
    if (!settings->gocache)
        settings->gocache = ask_go();
    return settings->gocache;
}

static int find_dir(struct tuck_settings *settings, struct tuck_error *err) {
    const char *base = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    char *path = NULL;
    int len = -1;
    if (settings->gocache)
        len = asprintf(&path, "%s/tuck", settings->gocache);
    else if (base && base[0] == '/')
        len = asprintf(&path, "%s/go-build/tuck", base);
    else if (home && home[0] == '/')
        len = asprintf(&path, "%s/.cache/go-build/tuck", home);
    if (len < 0)
        return tuck_fail(err, TUCK_EINVAL,
                         "no place for the cache: neither --dir, TUCK_DIR, GOCACHE, XDG_CACHE_HOME "
                         "nor HOME is set");
    settings->value[TUCK_SETTING_dir] = path;
    settings->origin[TUCK_SETTING_dir] = strdup("default");
    return 0;
}

// What cannot be used is reported, and the default takes its place.
static void refuse(struct tuck_settings *settings, enum tuck_setting setting, const char *wanted,
                   const char *standard) {
    problem(settings, "%s (%s) is '%s'; %s", names[setting], settings->origin[setting],
            settings->value[setting], wanted);
    free(settings->value[setting]);
    free(settings->origin[setting]);
    settings->value[setting] = standard ? strdup(standard) : NULL;
    settings->origin[setting] = standard ? strdup("default") : NULL;
}

// The text of the setting, which is the default if nobody set it. NULL without memory.
static const char *text_of(struct tuck_settings *settings, enum tuck_setting setting,
                           const char *standard) {
    return set(settings, setting, standard, "default") ? settings->value[setting] : NULL;
}

static void read_durability(struct tuck_settings *settings) {
    static const char *const levels[] = {"lazy", "batch", "strict"};
    const char *value = text_of(settings, TUCK_SETTING_durability, "lazy");
    for (size_t level = 0; value && level < TUCK_ARRAY_LEN(levels); level++) {
        if (strcmp(value, levels[level]) == 0) {
            settings->durability = (enum tuck_durability)level;
            return;
        }
    }
    if (value)
        refuse(settings, TUCK_SETTING_durability, "it can be lazy, batch or strict", "lazy");
}

// A size, a percentage, or both with a comma: the smaller of them.
static bool read_share(const char *text, struct tuck_quota *ret_share) {
    char part[64];
    const char *comma = strchr(text, ',');
    size_t len = comma ? (size_t)(comma - text) : strlen(text);
    *ret_share = (struct tuck_quota){0};
    if (len >= sizeof(part))
        return false;
    memcpy(part, text, len);
    part[len] = '\0';
    if (!comma)
        return tuck_read_percent(part, &ret_share->percent) ||
               tuck_read_size(part, &ret_share->bytes);
    return (tuck_read_size(part, &ret_share->bytes) &&
            tuck_read_percent(comma + 1, &ret_share->percent)) ||
           (tuck_read_percent(part, &ret_share->percent) &&
            tuck_read_size(comma + 1, &ret_share->bytes));
}

static void read_shares(struct tuck_settings *settings) {
    struct tuck_bound *bound = &settings->bound;
    const char *quota = text_of(settings, TUCK_SETTING_quota, "20GiB,10%");
    if (quota && (!read_share(quota, &bound->quota) ||
                  (bound->quota.bytes == 0 && bound->quota.percent == 0))) {
        refuse(settings, TUCK_SETTING_quota,
               "it can be a size like 20GiB, a share like 10%, or both as 20GiB,10%", "20GiB,10%");
        bound->quota = (struct tuck_quota){UINT64_C(20) << 30, 10};
    }
    const char *floor = text_of(settings, TUCK_SETTING_free_floor, "5%");
    if (floor && !read_share(floor, &bound->floor)) {
        refuse(settings, TUCK_SETTING_free_floor, "it can be a size like 2GiB or a share like 5%",
               "5%");
        bound->floor = (struct tuck_quota){0, 5};
    }
}

static bool read_watermark(const char *text, unsigned *ret_percent) {
    char *end;
    unsigned long percent = strtoul(text, &end, 10);
    if (!isdigit((unsigned char)text[0]) || (*end && strcmp(end, "%") != 0) || percent < 1 ||
        percent > 100)
        return false;
    *ret_percent = (unsigned)percent;
    return true;
}

static void read_watermarks(struct tuck_settings *settings) {
    struct tuck_bound *bound = &settings->bound;
    const char *high = text_of(settings, TUCK_SETTING_watermark_high, "90");
    const char *low = text_of(settings, TUCK_SETTING_watermark_low, "80");
    if (high && !read_watermark(high, &bound->high)) {
        refuse(settings, TUCK_SETTING_watermark_high, "it can be a percentage from 1 to 100", "90");
        bound->high = 90;
    }
    if (low && !read_watermark(low, &bound->low)) {
        refuse(settings, TUCK_SETTING_watermark_low, "it can be a percentage from 1 to 100", "80");
        bound->low = 80;
    }
    if (low && high && bound->low >= bound->high) {
        refuse(settings, TUCK_SETTING_watermark_low, "it must be less than watermark_high", "80");
        free(settings->value[TUCK_SETTING_watermark_high]);
        free(settings->origin[TUCK_SETTING_watermark_high]);
        settings->value[TUCK_SETTING_watermark_high] = strdup("90");
        settings->origin[TUCK_SETTING_watermark_high] = strdup("default");
        bound->low = 80;
        bound->high = 90;
    }
}

static void read_keep(struct tuck_settings *settings) {
    const char *keep = text_of(settings, TUCK_SETTING_keep, "1d");
    if (keep && (!tuck_read_age(keep, &settings->bound.keep_s) || settings->bound.keep_s < 3600)) {
        refuse(settings, TUCK_SETTING_keep, "it can be an age of an hour or more, like 36h or 5d",
               "1d");
        settings->bound.keep_s = 86400;
    }
}

static void read_trace_bodies(struct tuck_settings *settings) {
    const char *text = text_of(settings, TUCK_SETTING_trace_bodies, "no");
    settings->has_trace_bodies = text && strcmp(text, "yes") == 0;
    if (text && !settings->has_trace_bodies && strcmp(text, "no") != 0)
        refuse(settings, TUCK_SETTING_trace_bodies, "it can be yes or no", "no");
}

static int read_drives(struct tuck_settings *settings, struct tuck_error *err) {
    struct tuck_error why = {0};
    const char *text = settings->value[TUCK_SETTING_drives];
    if (text && tuck_drives_parse(text, &settings->drives, &why) < 0) {
        if (why.code == TUCK_ENOMEM)
            return tuck_fail(err, TUCK_ENOMEM, "no memory for the drives");
        refuse(settings, TUCK_SETTING_drives, why.text, NULL);
    }
    if (settings->drives.count > 0)
        return 0;
    if (!settings->value[TUCK_SETTING_dir])
        return find_dir(settings, err); // says why there is none
    settings->drives.paths = calloc(1, sizeof(*settings->drives.paths));
    char *dir = settings->drives.paths ? strdup(settings->value[TUCK_SETTING_dir]) : NULL;
    if (!dir)
        return tuck_fail(err, TUCK_ENOMEM, "no memory for the drives");
    settings->drives.paths[settings->drives.count++] = dir;
    return 0;
}

int tuck_settings_complete(struct tuck_settings *settings, struct tuck_error *err) {
    read_environment(settings);
    read_files(settings);
    char **dir = &settings->value[TUCK_SETTING_dir];
    if (*dir && (*dir)[0] != '/') {
        problem(settings, "dir (%s) is '%s'; it must be an absolute path",
                settings->origin[TUCK_SETTING_dir], *dir);
        free(*dir);
        free(settings->origin[TUCK_SETTING_dir]);
        settings->origin[TUCK_SETTING_dir] = NULL;
        *dir = NULL;
    }
    for (size_t len = *dir ? strlen(*dir) : 0; len > 1 && (*dir)[len - 1] == '/'; len--)
        (*dir)[len - 1] = '\0';
    read_durability(settings);
    read_shares(settings);
    read_watermarks(settings);
    read_keep(settings);
    read_trace_bodies(settings);
    find_gocache(settings);
    int status = *dir ? 0 : find_dir(settings, err);
    if (status < 0 && !settings->value[TUCK_SETTING_drives])
        return status;
    return read_drives(settings, err);
}

struct tuck_cache_options tuck_settings_cache(const struct tuck_settings *settings) {
    return (struct tuck_cache_options){
        .drives = (const char *const *)settings->drives.paths,
        .drive_count = settings->drives.count,
        .gocache = settings->gocache,
        .durability = settings->durability,
        .bound = settings->bound,
    };
}

void tuck_settings_fini(struct tuck_settings *settings) {
    for (size_t i = 0; i < TUCK_SETTING_MAX; i++) {
        free(settings->value[i]);
        free(settings->origin[i]);
    }
    free(settings->gocache);
    tuck_drives_fini(&settings->drives);
}

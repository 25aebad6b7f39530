// SPDX-License-Identifier: MIT
// tuck exec: runs any build with GOCACHEPROG set to this very program, then says in one line what
// the cache did.
#include "cmd/tuck/command.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

// The go command splits GOCACHEPROG at blanks and knows quotes, but nothing inside them.
static bool set_helper(void) {
    char path[4096], quoted[4100];
    ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);
    if (len < 0)
        return false;
    path[len] = '\0';
    bool has_double = strchr(path, '"') != NULL, has_single = strchr(path, '\'') != NULL;
    if (has_double && has_single) {
        errno = EINVAL;
        return false;
    }
    char quote = has_double ? '\'' : '"';
    (void)snprintf(quoted, sizeof(quoted), "%c%s%c", quote, path, quote);
    return setenv("GOCACHEPROG", strpbrk(path, " \t\r\n'\"") ? quoted : path, 1) == 0;
}

// What flags said must reach the helper too.
static void pass_settings(const struct tuck_settings *settings) {
    char variable[64];
    for (int i = 0; i < TUCK_SETTING_MAX; i++)
        if (settings->value[i] && strcmp(settings->origin[i], "flag") == 0) {
            tuck_setting_variable(i, variable);
            (void)setenv(variable, settings->value[i], 1);
        }
}

// What helpers did so far on all drives. All zero if there is no cache yet.
static bool count(const struct tuck_settings *settings, struct tuck_counters *ret_counters) {
    struct tuck_cache *cache = NULL;
    struct tuck_cache_options options = tuck_settings_cache(settings);
    options.must_exist = true;
    *ret_counters = (struct tuck_counters){0};
    bool is_there = tuck_cache_open(&options, &cache, NULL) == 0;
    if (is_there)
        tuck_cache_count(cache, ret_counters);
    tuck_cache_close(cache);
    return is_there;
}

static void print_summary(const struct tuck_counters *before, const struct tuck_counters *after) {
#define DONE(name) (after->value[TUCK_COUNT_##name] - before->value[TUCK_COUNT_##name])
    uint64_t gets = DONE(gets), hits = DONE(hits);
    tuck_say("%" PRIu64 " helpers, %" PRIu64 " gets, %" PRIu64 " hits (%.1f %%), %" PRIu64
             " puts, %.1f MiB written",
             DONE(helpers), gets, hits, gets ? 100.0 * (double)hits / (double)gets : 0.0,
             DONE(puts), (double)DONE(bytes_written) / 1048576);
#undef DONE
}

static int run(char **argv) {
    // ^C is for the command; this process waits for what it does about it.
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    (void)sigaction(SIGINT, &ignore, NULL);
    (void)sigaction(SIGQUIT, &ignore, NULL);
    posix_spawnattr_t attributes;
    sigset_t restored;
    sigemptyset(&restored);
    sigaddset(&restored, SIGINT);
    sigaddset(&restored, SIGQUIT);
    (void)posix_spawnattr_init(&attributes);
    (void)posix_spawnattr_setsigdefault(&attributes, &restored);
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    pid_t pid;
    int status = posix_spawnp(&pid, argv[0], NULL, &attributes, argv, environ);
    (void)posix_spawnattr_destroy(&attributes);
    if (status != 0) {
        tuck_say("cannot run '%s': %s", argv[0], strerror(status));
        return status == ENOENT ? 127 : 126;
    }
    int ended;
    while (waitpid(pid, &ended, 0) < 0)
        if (errno != EINTR)
            return TUCK_EXIT_FAILED;
    return WIFSIGNALED(ended) ? 128 + WTERMSIG(ended) : WEXITSTATUS(ended);
}

int tuck_command_exec(int argc, char **argv) {
    struct tuck_settings settings = {0};
    struct tuck_counters before, after;
    const struct tuck_option options[] = {{0}};
    int words = 1;
    while (words < argc && strcmp(argv[words], "--") != 0)
        words++;
    if (words + 1 >= argc) {
        tuck_say("usage: tuck exec [settings] -- COMMAND [ARGUMENT...]");
        return TUCK_EXIT_USAGE;
    }
    char **command = argv + words + 1;
    argv[words] = NULL;
    int status = tuck_command_begin(&settings, &words, argv, options, 0);
    if (status == TUCK_EXIT_DONE && !set_helper()) {
        tuck_say("cannot set GOCACHEPROG: %s", strerror(errno));
        status = TUCK_EXIT_FAILED;
    }
    if (status == TUCK_EXIT_DONE) {
        pass_settings(&settings);
        (void)count(&settings, &before);
        status = run(command);
        if (count(&settings, &after))
            print_summary(&before, &after);
        else
            tuck_say("no cache was used: the command ran no go command, or GOCACHEPROG was set "
                     "otherwise in it");
    }
    tuck_settings_fini(&settings);
    return status;
}

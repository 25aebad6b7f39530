// SPDX-License-Identifier: MIT
/*
 * tuck: a build cache for Go, started by the go command when GOCACHEPROG names it.
 *
 * A map for who begins here: cmd_serve.c is the helper; it opens a cache (lib/cache) and hands it
 * to the stdio loop (lib/serve), which uses the protocol (protocol/). Everything else in this
 * folder is a subcommand for people. lib/README.md has the layers, the way of a request, threads
 * and files on disk.
 */
#include "cmd/tuck/command.h"

#include <stdarg.h>

#ifndef TUCK_VERSION
#error "the build gives TUCK_VERSION"
#endif

static int command_help(int argc, char **argv);
static int command_version(int argc, char **argv);

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} commands[] = {
    {"serve", tuck_command_serve, "be the helper: what the go command runs; the default on a pipe"},
    {"stats", tuck_command_stats, "what the cache holds and did  [--json]"},
    {"clear", tuck_command_clear, "empty the cache; safe beside running builds"},
    {"exec", tuck_command_exec, "run a command with GOCACHEPROG set to this tuck  -- COMMAND..."},
    {"config", tuck_command_config, "the settings in force  [--origin]"},
    {"version", command_version, "print the version"},
    {"help", command_help, "print this"},
};

void tuck_say(const char *format, ...) {
    char text[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    fprintf(stderr, "tuck: %s\n", text); // one write, so that lines of several helpers do not mix
}

static void print_help(FILE *to) {
    fputs("tuck - a build cache for Go\n\n"
          "  go env -w GOCACHEPROG=tuck      use it from now on\n"
          "  go env -u GOCACHEPROG           stop using it\n\n"
          "commands:\n",
          to);
    for (size_t i = 0; i < TUCK_ARRAY_LEN(commands); i++)
        fprintf(to, "  tuck %-8s %s\n", commands[i].name, commands[i].help);
    fputs(
        "\nsettings, as flag --name=value, variable TUCK_NAME, or key in ~/.config/tuck/config:\n",
        to);
    for (int i = 0; i < TUCK_SETTING_MAX; i++)
        fprintf(to, "  --%-11s %s\n", tuck_setting_name(i), tuck_setting_help(i));
    fputs("\nexample: tuck exec -- go build ./...\nmanual: man tuck\n", to);
}

static int command_help(int argc, char **argv) {
    (void)argc, (void)argv;
    print_help(stdout);
    return TUCK_EXIT_DONE;
}

static int command_version(int argc, char **argv) {
    (void)argc, (void)argv;
    puts("tuck " TUCK_VERSION);
    return TUCK_EXIT_DONE;
}

static void report_problem(const char *text) {
    tuck_say("%s", text);
}

int tuck_command_settings(struct tuck_settings *settings, int argc, char **argv,
                          const char *const *flags, unsigned *ret_flags) {
    struct tuck_error err = {0};
    settings->report = report_problem;
    *ret_flags = 0;
    argc = tuck_settings_from_flags(settings, argc, argv);
    for (int i = 1; i < argc; i++) {
        bool is_known = false;
        for (unsigned place = 0; flags[place]; place++) {
            if (strcmp(argv[i], flags[place]) == 0) {
                *ret_flags |= 1U << place;
                is_known = true;
            }
        }
        if (!is_known) {
            tuck_say("'%s' is not an argument of tuck %s; see tuck help", argv[i], argv[0]);
            return TUCK_EXIT_USAGE;
        }
    }
    if (tuck_settings_complete(settings, &err) < 0) {
        tuck_say("%s", err.text);
        return TUCK_EXIT_FAILED;
    }
    return settings->problems ? TUCK_EXIT_USAGE : TUCK_EXIT_DONE;
}

int main(int argc, char **argv) {
    if (argc < 2 || (argv[1][0] == '-' && strcmp(argv[1], "--help") && strcmp(argv[1], "-h") &&
                     strcmp(argv[1], "--version"))) {
        if (isatty(0)) {
            print_help(stdout);
            return TUCK_EXIT_DONE;
        }
        return tuck_command_serve(argc, argv);
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    if (strcmp(name, "--version") == 0)
        name = "version";
    const char *known[TUCK_ARRAY_LEN(commands)];
    for (size_t i = 0; i < TUCK_ARRAY_LEN(commands); i++) {
        known[i] = commands[i].name;
        if (strcmp(name, commands[i].name) != 0)
            continue;
        for (int at = 2; at < argc && strcmp(argv[at], "--") != 0; at++)
            if (strcmp(argv[at], "--help") == 0 || strcmp(argv[at], "-h") == 0)
                return command_help(argc, argv);
        return commands[i].run(argc - 1, argv + 1);
    }
    const char *nearest = tuck_nearest_name(name, known, TUCK_ARRAY_LEN(known));
    if (nearest)
        tuck_say("'%s' is not a command; did you mean 'tuck %s'?", name, nearest);
    else
        tuck_say("'%s' is not a command; see tuck help", name);
    return TUCK_EXIT_USAGE;
}

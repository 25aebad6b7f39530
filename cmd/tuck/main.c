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
    {"gc", tuck_command_gc, "evict now  [--dry-run] [--max-size=SIZE] [--older-than=AGE] [--json]"},
    {"verify", tuck_command_verify,
     "read everything and compare  [--repair] [--subset=N/M] [--json]"},
    {"import", tuck_command_import, "take over a built-in cache of the go command  [DIR] [--json]"},
    {"rm", tuck_command_rm, "remove an action or output everywhere  ID"},
    {"clear", tuck_command_clear, "empty the cache; safe beside running builds"},
    {"drive", tuck_command_drive, "the drives of the set  [add | remove | replace] DIR..."},
    {"exec", tuck_command_exec, "run a command with GOCACHEPROG set to this tuck  -- COMMAND..."},
    {"config", tuck_command_config, "the settings in force  [--origin]"},
    {"version", command_version, "print the version"},
    {"help", command_help, "print this"},
};

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
        fprintf(to, "  --%-14s %s\n", tuck_setting_name(i), tuck_setting_help(i));
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

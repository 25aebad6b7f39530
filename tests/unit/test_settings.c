// SPDX-License-Identifier: MIT
/*
 * Settings from flags, environment and files. Each test begins with an empty environment but for HOME, XDG_CONFIG_HOME
 * and PATH, which lead into a directory of its own; the linker sends fopen() through this file, so that the system's
 * settings are there too.
 */
#include "tests/unit/unit.h"

#include "cmd/tuck/settings.h"

#include <errno.h>
#include <sys/stat.h>

extern char **environ;

FILE *__real_fopen64(const char *path, const char *mode);
FILE *__wrap_fopen64(const char *path, const char *mode);

static const char *dir;         // of the test
static const char *system_file; // stands for /etc/tuck/config
static const char *user_file;

FILE *__wrap_fopen64(const char *path, const char *mode) {
    return __real_fopen64(strcmp(path, "/etc/tuck/config") == 0 ? system_file : path, mode);
}

static char problems[4096];

static void note_problem(const char *problem) {
    assert_null(strchr(problem, '\n'));
    size_t len = strlen(problems);
    (void)snprintf(problems + len, sizeof(problems) - len, "%s\n", problem);
}

static int begin(void **state) {
    (void)state;
    dir = unit_directory();
    char *format = getenv("CMOCKA_MESSAGE_OUTPUT") ? strdup(getenv("CMOCKA_MESSAGE_OUTPUT")) : NULL;
    assert_int_equal(clearenv(), 0);
    if (format)
        assert_int_equal(setenv("CMOCKA_MESSAGE_OUTPUT", format, 1), 0);
    free(format);
    assert_int_equal(setenv("HOME", unit_path(dir, "home"), 1), 0);
    assert_int_equal(setenv("XDG_CONFIG_HOME", unit_path(dir, "config"), 1), 0);
    assert_int_equal(setenv("PATH", unit_path(dir, "bin"), 1), 0); // no go there
    assert_int_equal(mkdir(unit_path(dir, "config"), 0700), 0);
    assert_int_equal(mkdir(unit_path(dir, "config/tuck"), 0700), 0);
    assert_int_equal(mkdir(unit_path(dir, "bin"), 0700), 0);
    user_file = unit_path(dir, "config/tuck/config");
    system_file = unit_path(dir, "etc-tuck-config");
    problems[0] = '\0';
    return 0;
}

static void write_text(const char *path, const char *text) {
    unit_write_file(path, text, strlen(text));
}

// A shell script of this name; the real tools are behind it in the search path.
static void write_program(const char *name, const char *script) {
    char path[64], text[8192];
    (void)snprintf(path, sizeof(path), "bin/%s", name);
    int len = snprintf(text, sizeof(text), "#!/bin/sh\n%s\n", script);
    unit_write_file(unit_path(dir, path), text, (size_t)len);
    assert_int_equal(chmod(unit_path(dir, path), 0700), 0);
    (void)snprintf(text, sizeof(text), "%s:/usr/bin:/bin", unit_path(dir, "bin"));
    assert_int_equal(setenv("PATH", text, 1), 0);
}

static struct tuck_settings settings_of(int argc, char **argv, int *ret_argc) {
    struct tuck_settings settings = {.report = note_problem};
    *ret_argc = tuck_settings_from_flags(&settings, argc, argv);
    assert_null(argv[*ret_argc]);
    return settings;
}

static struct tuck_settings complete(void) {
    struct tuck_settings settings = {.report = note_problem};
    struct tuck_error err = {0};
    int status = tuck_settings_complete(&settings, &err);
    if (status < 0)
        print_message("# %s\n", err.text);
    assert_int_equal(status, 0);
    return settings;
}

static void assert_setting(const struct tuck_settings *settings, enum tuck_setting setting,
                           const char *value, const char *origin) {
    if (!value) {
        assert_null(settings->value[setting]);
        return;
    }
    assert_non_null(settings->value[setting]);
    assert_string_equal(settings->value[setting], value);
    assert_string_equal(settings->origin[setting], origin);
}

// --- Flags ---------------------------------------------------------------------------------------

static void flags_are_taken_out_and_the_rest_stays_in_order(void **state) {
    (void)state;
    char *argv[] = {"tuck", "stats", "--dir=/a b",    "--json", "--log",
                    "/l",   "x",     "--durability=", NULL};
    int argc;
    struct tuck_settings settings = settings_of(8, argv, &argc);
    assert_int_equal(argc, 4);
    assert_string_equal(argv[0], "tuck");
    assert_string_equal(argv[1], "stats");
    assert_string_equal(argv[2], "--json");
    assert_string_equal(argv[3], "x");
    assert_setting(&settings, TUCK_SETTING_dir, "/a b", "flag");
    assert_setting(&settings, TUCK_SETTING_log, "/l", "flag");
    assert_setting(&settings, TUCK_SETTING_durability, "", "flag");
    assert_string_equal(problems, "");
    tuck_settings_fini(&settings);
}

static void what_stands_behind_two_dashes_is_not_ours(void **state) {
    (void)state;
    char *argv[] = {"tuck", "exec", "--dir=/a", "--", "make", "--dir=/b", "--log", NULL};
    int argc;
    struct tuck_settings settings = settings_of(7, argv, &argc);
    assert_int_equal(argc, 6);
    assert_string_equal(argv[2], "--");
    assert_string_equal(argv[3], "make");
    assert_string_equal(argv[4], "--dir=/b");
    assert_string_equal(argv[5], "--log");
    assert_setting(&settings, TUCK_SETTING_dir, "/a", "flag");
    assert_setting(&settings, TUCK_SETTING_log, NULL, NULL);
    tuck_settings_fini(&settings);
}

static void words_that_only_begin_like_a_flag_are_left(void **state) {
    (void)state;
    char *argv[] = {"tuck",        "--dirs=/a", "--di=/a", "-dir=/a", "dir=/a",
                    "--directory", "--DIR=/a",  "--",      NULL};
    int argc;
    struct tuck_settings settings = settings_of(8, argv, &argc);
    assert_int_equal(argc, 8);
    assert_setting(&settings, TUCK_SETTING_dir, NULL, NULL);
    tuck_settings_fini(&settings);
}

static void a_flag_without_its_value_is_a_problem(void **state) {
    (void)state;
    char *argv[] = {"tuck", "stats", "--dir", NULL};
    int argc;
    struct tuck_settings settings = settings_of(3, argv, &argc);
    assert_int_equal(argc, 2);
    assert_int_equal(settings.problems, 1);
    assert_non_null(strstr(problems, "--dir"));
    tuck_settings_fini(&settings);
}

static void of_a_flag_given_twice_the_last_counts(void **state) {
    (void)state;
    char *argv[] = {"tuck", "--dir=/a", "--dir=/b", NULL};
    int argc;
    struct tuck_settings settings = settings_of(3, argv, &argc);
    assert_int_equal(argc, 1);
    assert_setting(&settings, TUCK_SETTING_dir, "/b", "flag");
    tuck_settings_fini(&settings);
}

// --- Precedence ----------------------------------------------------------------------------------

static void a_flag_beats_the_environment_beats_the_users_file_beats_the_systems_file(void **state) {
    (void)state;
    write_text(system_file, "log = /system\ndurability = batch\ndir = /system\n");
    struct tuck_settings settings = complete();
    char origin[4300];
    (void)snprintf(origin, sizeof(origin), "/etc/tuck/config:%d", 1);
    assert_setting(&settings, TUCK_SETTING_log, "/system", origin);
    assert_int_equal(settings.durability, TUCK_BATCH);
    tuck_settings_fini(&settings);

    write_text(user_file, "# mine\n\nlog = /user\n");
    settings = complete();
    (void)snprintf(origin, sizeof(origin), "%s:3", user_file);
    assert_setting(&settings, TUCK_SETTING_log, "/user", origin);
    assert_setting(&settings, TUCK_SETTING_dir, "/system", "/etc/tuck/config:3");
    tuck_settings_fini(&settings);

    assert_int_equal(setenv("TUCK_LOG", "/environment", 1), 0);
    settings = complete();
    assert_setting(&settings, TUCK_SETTING_log, "/environment", "environment TUCK_LOG");
    tuck_settings_fini(&settings);

    char *argv[] = {"tuck", "--log=/flag", NULL};
    int argc;
    settings = settings_of(2, argv, &argc);
    assert_int_equal(tuck_settings_complete(&settings, NULL), 0);
    assert_setting(&settings, TUCK_SETTING_log, "/flag", "flag");
    assert_setting(&settings, TUCK_SETTING_dir, "/system", "/etc/tuck/config:3");
    assert_string_equal(problems, "");
    tuck_settings_fini(&settings);
}

static void an_empty_variable_counts_as_none(void **state) {
    (void)state;
    write_text(user_file, "log = /user\n");
    assert_int_equal(setenv("TUCK_LOG", "", 1), 0);
    struct tuck_settings settings = complete();
    assert_string_equal(settings.value[TUCK_SETTING_log], "/user");
    tuck_settings_fini(&settings);
}

static void without_xdg_config_home_the_file_is_in_the_home_directory(void **state) {
    (void)state;
    assert_int_equal(unsetenv("XDG_CONFIG_HOME"), 0);
    assert_int_equal(mkdir(unit_path(dir, "home"), 0700), 0);
    assert_int_equal(mkdir(unit_path(dir, "home/.config"), 0700), 0);
    assert_int_equal(mkdir(unit_path(dir, "home/.config/tuck"), 0700), 0);
    write_text(unit_path(dir, "home/.config/tuck/config"), "log=/home-log\n");
    struct tuck_settings settings = complete();
    assert_string_equal(settings.value[TUCK_SETTING_log], "/home-log");
    tuck_settings_fini(&settings);
    assert_int_equal(setenv("XDG_CONFIG_HOME", "relative", 1), 0);
    settings = complete();
    assert_string_equal(settings.value[TUCK_SETTING_log], "/home-log");
    tuck_settings_fini(&settings);
    assert_int_equal(unsetenv("HOME"), 0);
    assert_int_equal(setenv("TUCK_DIR", "/x", 1), 0);
    settings = complete();
    assert_null(settings.value[TUCK_SETTING_log]);
    tuck_settings_fini(&settings);
}

// --- Files ---------------------------------------------------------------------------------------

static void comments_sections_blanks_and_line_ends_of_other_systems_are_accepted(void **state) {
    (void)state;
    write_text(user_file, "\xef\xbb\xbf; first\r\n\r\n[any section]\r\n   log   =   /a b/c=d:e   "
                          "\r\n# dir = /no\r\ndurability: strict ; why\r\n");
    struct tuck_settings settings = complete();
    assert_string_equal(problems, "");
    assert_string_equal(settings.value[TUCK_SETTING_log], "/a b/c=d:e");
    assert_int_equal(settings.durability, TUCK_STRICT);
    tuck_settings_fini(&settings);
}

static void a_file_without_a_last_line_end_is_read_to_its_end(void **state) {
    (void)state;
    write_text(user_file, "durability = batch\nlog = /x");
    struct tuck_settings settings = complete();
    assert_string_equal(settings.value[TUCK_SETTING_log], "/x");
    tuck_settings_fini(&settings);
}

static void a_long_value_is_taken_whole(void **state) {
    (void)state;
    for (size_t len = 150; len < 3000; len += 150) {
        char line[4000], value[4000];
        memset(value, 'x', len);
        value[0] = '/';
        value[len] = '\0';
        (void)snprintf(line, sizeof(line), "dir = %s\nlog = /l\n", value);
        write_text(user_file, line);
        struct tuck_settings settings = complete();
        assert_string_equal(problems, "");
        assert_string_equal(settings.value[TUCK_SETTING_dir], value);
        assert_string_equal(settings.value[TUCK_SETTING_log], "/l");
        tuck_settings_fini(&settings);
    }
}

static void an_unknown_key_is_a_problem_with_its_place_and_the_nearest_name(void **state) {
    (void)state;
    write_text(user_file, "log = /l\n\ndurabilty = strict\ncolour = 5\n");
    struct tuck_settings settings = complete();
    char expected[4300];
    assert_int_equal(settings.problems, 2);
    (void)snprintf(expected, sizeof(expected),
                   "%s:3: unknown setting 'durabilty'; did you mean 'durability'?\n", user_file);
    assert_non_null(strstr(problems, expected));
    (void)snprintf(expected, sizeof(expected), "%s:4: unknown setting 'colour'\n", user_file);
    assert_non_null(strstr(problems, expected));
    assert_int_equal(settings.durability, TUCK_LAZY);
    assert_string_equal(settings.value[TUCK_SETTING_log], "/l");
    tuck_settings_fini(&settings);
}

static void a_line_that_is_no_setting_is_a_problem_with_its_place(void **state) {
    (void)state;
    write_text(user_file, "log = /l\nwhat is this\n[broken\ndurability = batch\n");
    struct tuck_settings settings = complete();
    char expected[4300];
    assert_int_equal(settings.problems, 2);
    (void)snprintf(expected, sizeof(expected), "%s:2:", user_file);
    assert_non_null(strstr(problems, expected));
    (void)snprintf(expected, sizeof(expected), "%s:3:", user_file);
    assert_non_null(strstr(problems, expected));
    assert_int_equal(settings.durability, TUCK_BATCH); // the others count
    tuck_settings_fini(&settings);
}

static void of_a_key_given_twice_in_a_file_one_counts_and_it_is_no_crash(void **state) {
    (void)state;
    write_text(user_file, "log = /a\nlog = /b\n");
    struct tuck_settings settings = complete();
    assert_non_null(settings.value[TUCK_SETTING_log]);
    tuck_settings_fini(&settings);
}

// --- Bad values ----------------------------------------------------------------------------------

static void each_level_of_durability_is_known_and_nothing_else(void **state) {
    (void)state;
    static const char *const levels[] = {"lazy", "batch", "strict"};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(levels); i++) {
        assert_int_equal(setenv("TUCK_DURABILITY", levels[i], 1), 0);
        struct tuck_settings settings = complete();
        assert_int_equal(settings.durability, i);
        assert_setting(&settings, TUCK_SETTING_durability, levels[i],
                       "environment TUCK_DURABILITY");
        tuck_settings_fini(&settings);
    }
    static const char *const others[] = {"Lazy", "STRICT", "batch ", "0", "none", "lazybatch"};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(others); i++) {
        assert_int_equal(setenv("TUCK_DURABILITY", others[i], 1), 0);
        problems[0] = '\0';
        struct tuck_settings settings = complete();
        assert_int_equal(settings.problems, 1);
        assert_non_null(strstr(problems, "TUCK_DURABILITY"));
        assert_non_null(strstr(problems, others[i]));
        assert_int_equal(settings.durability, TUCK_LAZY);
        assert_setting(&settings, TUCK_SETTING_durability, "lazy", "default");
        tuck_settings_fini(&settings);
    }
}

static void a_relative_dir_is_a_problem_and_the_default_is_taken(void **state) {
    (void)state;
    assert_int_equal(setenv("GOCACHE", "/go/cache", 1), 0);
    static const char *const values[] = {"relative", "./a", "~/cache", "$HOME/x"};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(values); i++) {
        assert_int_equal(setenv("TUCK_DIR", values[i], 1), 0);
        struct tuck_settings settings = complete();
        assert_int_equal(settings.problems, 1);
        assert_setting(&settings, TUCK_SETTING_dir, "/go/cache/tuck", "default");
        tuck_settings_fini(&settings);
    }
}

static void slashes_at_the_end_of_dir_are_dropped_but_for_the_root(void **state) {
    (void)state;
    static const char *const values[][2] = {
        {"/a/", "/a"}, {"/a///", "/a"}, {"/", "/"}, {"///", "/"}, {"/a//b/", "/a//b"}};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(values); i++) {
        assert_int_equal(setenv("TUCK_DIR", values[i][0], 1), 0);
        struct tuck_settings settings = complete();
        assert_string_equal(settings.value[TUCK_SETTING_dir], values[i][1]);
        tuck_settings_fini(&settings);
    }
}

// --- The default ---------------------------------------------------------------------------------

static void the_cache_lies_below_gocache(void **state) {
    (void)state;
    assert_int_equal(setenv("GOCACHE", "/go/cache", 1), 0);
    struct tuck_settings settings = complete();
    assert_setting(&settings, TUCK_SETTING_dir, "/go/cache/tuck", "default");
    assert_string_equal(settings.gocache, "/go/cache");
    tuck_settings_fini(&settings);
    assert_int_equal(setenv("TUCK_DIR", "/elsewhere", 1), 0);
    settings = complete();
    assert_string_equal(settings.value[TUCK_SETTING_dir], "/elsewhere");
    assert_string_equal(settings.gocache, "/go/cache");
    tuck_settings_fini(&settings);
}

static void without_gocache_the_go_command_is_asked_and_starts_no_helper_for_that(void **state) {
    (void)state;
    char script[8192];
    const char *seen = unit_path(dir, "seen");
    (void)snprintf(script, sizeof(script),
                   "echo \"$* prog=$GOCACHEPROG\" >'%s'\necho /from/go\necho noise >&2", seen);
    write_program("go", script);
    assert_int_equal(setenv("GOCACHEPROG", "tuck", 1), 0);
    struct tuck_settings settings = complete();
    assert_setting(&settings, TUCK_SETTING_dir, "/from/go/tuck", "default");
    assert_string_equal(settings.gocache, "/from/go");
    tuck_settings_fini(&settings);
    size_t len;
    char *text = (char *)unit_read_file(seen, &len);
    assert_string_equal(text, "env GOCACHE prog=\n");
    free(text);

    // Where it is known it is not asked: that takes as long as a short build.
    assert_int_equal(unlink(seen), 0);
    assert_int_equal(setenv("TUCK_DIR", "/known", 1), 0);
    settings = complete();
    assert_null(settings.gocache);
    tuck_settings_fini(&settings);
    assert_int_not_equal(access(seen, F_OK), 0);
}

static void a_go_command_that_is_no_help_is_passed_over(void **state) {
    (void)state;
    static const char *const scripts[] = {
        "exit 1",     "echo off",
        "echo",       "echo relative/path",
        "kill -9 $$", "i=0; while [ $i -lt 3000 ]; do printf 'garbage'; i=$((i+1)); done",
    };
    for (size_t i = 0; i < TUCK_ARRAY_LEN(scripts); i++) {
        write_program("go", scripts[i]);
        struct tuck_settings settings = complete();
        assert_string_equal(settings.value[TUCK_SETTING_dir],
                            unit_path(dir, "home/.cache/go-build/tuck"));
        assert_null(settings.gocache);
        tuck_settings_fini(&settings);
    }
}

static void without_go_the_place_is_where_go_would_have_its_cache(void **state) {
    (void)state;
    struct tuck_settings settings = complete();
    assert_setting(&settings, TUCK_SETTING_dir, unit_path(dir, "home/.cache/go-build/tuck"),
                   "default");
    tuck_settings_fini(&settings);
    assert_int_equal(setenv("XDG_CACHE_HOME", "/xdg", 1), 0);
    settings = complete();
    assert_setting(&settings, TUCK_SETTING_dir, "/xdg/go-build/tuck", "default");
    tuck_settings_fini(&settings);
    assert_int_equal(setenv("XDG_CACHE_HOME", "relative", 1), 0);
    assert_int_equal(setenv("GOCACHE", "off", 1), 0);
    settings = complete();
    assert_setting(&settings, TUCK_SETTING_dir, unit_path(dir, "home/.cache/go-build/tuck"),
                   "default");
    tuck_settings_fini(&settings);
}

static void without_any_place_there_is_an_error_and_nothing_to_free_twice(void **state) {
    (void)state;
    struct tuck_error err = {0};
    assert_int_equal(unsetenv("HOME"), 0);
    struct tuck_settings settings = {.report = note_problem};
    assert_int_equal(tuck_settings_complete(&settings, &err), TUCK_EINVAL);
    assert_non_null(strstr(err.text, "HOME"));
    tuck_settings_fini(&settings);

    assert_int_equal(setenv("TUCK_DIR", "relative", 1), 0);
    settings = (struct tuck_settings){.report = note_problem};
    assert_int_equal(tuck_settings_complete(&settings, &err), TUCK_EINVAL);
    tuck_settings_fini(&settings);
    settings = (struct tuck_settings){0};
    tuck_settings_fini(&settings);
}

// --- Names ---------------------------------------------------------------------------------------

static void every_setting_has_a_name_and_a_help(void **state) {
    (void)state;
    for (int i = 0; i < TUCK_SETTING_MAX; i++) {
        assert_true(strlen(tuck_setting_name((enum tuck_setting)i)) > 0);
        assert_true(strlen(tuck_setting_help((enum tuck_setting)i)) > 0);
    }
}

static void the_nearest_name_is_one_that_was_probably_meant(void **state) {
    (void)state;
    static const char *const names[] = {"serve", "stats",   "clear", "config",
                                        "exec",  "version", "help",  "dir"};
    static const struct {
        const char *word, *nearest; // NULL: nothing is near
    } table[] = {
        {"stat", "stats"},
        {"Stats", "stats"},
        {"clera", "clear"},
        {"conifg", "config"},
        {"verson", "version"},
        {"sreve", "serve"},
        {"exce", "exec"},
        {"hepl", "help"},
        {"dri", "dir"},
        {"stats", "stats"},
        {"xyzzy", NULL},
        {"quota", NULL},
        {"abc", NULL},
        {"q", NULL},
        {"", NULL},
        {"completely-different", NULL},
    };
    for (size_t i = 0; i < TUCK_ARRAY_LEN(table); i++) {
        const char *found = tuck_nearest_name(table[i].word, names, TUCK_ARRAY_LEN(names));
        bool is_right = found && table[i].nearest ? strcmp(found, table[i].nearest) == 0
                                                  : !found && !table[i].nearest;
        if (!is_right)
            print_message("# '%s': %s\n", table[i].word, found ? found : "none");
        assert_true(is_right);
    }
}

static void words_and_names_of_any_length_do_no_harm(void **state) {
    (void)state;
    static char word[100000];
    static const char *const names[] = {"short",
                                        "a-name-of-more-than-thirty-two-characters-in-all"};
    memset(word, 'x', sizeof(word) - 1);
    assert_null(tuck_nearest_name(word, names, 2));
    assert_null(tuck_nearest_name("", names, 0));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup(flags_are_taken_out_and_the_rest_stays_in_order, begin),
    cmocka_unit_test_setup(what_stands_behind_two_dashes_is_not_ours, begin),
    cmocka_unit_test_setup(words_that_only_begin_like_a_flag_are_left, begin),
    cmocka_unit_test_setup(a_flag_without_its_value_is_a_problem, begin),
    cmocka_unit_test_setup(of_a_flag_given_twice_the_last_counts, begin),
    cmocka_unit_test_setup(a_flag_beats_the_environment_beats_the_users_file_beats_the_systems_file,
                           begin),
    cmocka_unit_test_setup(an_empty_variable_counts_as_none, begin),
    cmocka_unit_test_setup(without_xdg_config_home_the_file_is_in_the_home_directory, begin),
    cmocka_unit_test_setup(comments_sections_blanks_and_line_ends_of_other_systems_are_accepted,
                           begin),
    cmocka_unit_test_setup(a_file_without_a_last_line_end_is_read_to_its_end, begin),
    cmocka_unit_test_setup(a_long_value_is_taken_whole, begin),
    cmocka_unit_test_setup(an_unknown_key_is_a_problem_with_its_place_and_the_nearest_name, begin),
    cmocka_unit_test_setup(a_line_that_is_no_setting_is_a_problem_with_its_place, begin),
    cmocka_unit_test_setup(of_a_key_given_twice_in_a_file_one_counts_and_it_is_no_crash, begin),
    cmocka_unit_test_setup(each_level_of_durability_is_known_and_nothing_else, begin),
    cmocka_unit_test_setup(a_relative_dir_is_a_problem_and_the_default_is_taken, begin),
    cmocka_unit_test_setup(slashes_at_the_end_of_dir_are_dropped_but_for_the_root, begin),
    cmocka_unit_test_setup(the_cache_lies_below_gocache, begin),
    cmocka_unit_test_setup(without_gocache_the_go_command_is_asked_and_starts_no_helper_for_that,
                           begin),
    cmocka_unit_test_setup(a_go_command_that_is_no_help_is_passed_over, begin),
    cmocka_unit_test_setup(without_go_the_place_is_where_go_would_have_its_cache, begin),
    cmocka_unit_test_setup(without_any_place_there_is_an_error_and_nothing_to_free_twice, begin),
    cmocka_unit_test_setup(every_setting_has_a_name_and_a_help, begin),
    cmocka_unit_test_setup(the_nearest_name_is_one_that_was_probably_meant, begin),
    cmocka_unit_test_setup(words_and_names_of_any_length_do_no_harm, begin),
};

UNIT_MAIN(tests)

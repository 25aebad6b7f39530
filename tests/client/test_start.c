// SPDX-License-Identifier: MIT
/*
 * The start of a helper: command lines, the handshake and everything that can be wrong with it, what the child inherits,
 * and hosts in odd states.
 */
#include "tests/client/world.h"

#include "lib/client/words.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

// --- The program ---------------------------------------------------------------------------------

static void refused_program(const char *path, int os) {
    const char *const argv[] = {path, NULL};
    struct tuck_client_options options = world_options(argv);
    struct tuck_client_error error;
    struct tuck_client *client = NULL;
    int status = tuck_client_open(&options, &client, &error);
    world_expect(status, TUCK_CLIENT_NO_START, &error, "the helper");
    assert_int_equal(error.os, os);
    assert_null(client);
}

static void a_program_that_cannot_be_started_is_an_error_that_leaves_nothing(void **state) {
    (void)state;
    refused_program("/nonexistent/helper", ENOENT);
    refused_program("tuck-test-no-such-program", ENOENT);
    refused_program(world_dir(), EISDIR);
    refused_program("/dev/null/helper", ENOTDIR);
    const char *path = world_file("program", "neither a script nor ELF\n");
    refused_program(path, EACCES);
    assert_int_equal(chmod(path, 0700), 0);
    if (world_is_in_valgrind())
        return;
    refused_program(path, ENOEXEC);
    path = world_file("script", "#!/nonexistent/interpreter\n");
    assert_int_equal(chmod(path, 0700), 0);
    refused_program(path, ENOENT);
}

static void a_bare_name_is_looked_up_in_path_but_never_in_the_current_directory(void **state) {
    (void)state;
    char *path_before = strdup(getenv("PATH"));
    char here[4096];
    assert_non_null(path_before);
    assert_non_null(getcwd(here, sizeof(here)));
    assert_int_equal(chdir(world_dir()), 0);
    assert_int_equal(symlink(BAD_HELPER, "tuck-test-helper"), 0);
    static const char *const argv[] = {"tuck-test-helper", "hello", "serve", NULL};
    static const char *const with_slash[] = {"./tuck-test-helper", "hello", "serve", NULL};
    struct tuck_client_options options = world_options(argv);
    static const char *const refusing[] = {"", ".", ":/nonexistent", "/nonexistent:.",
                                           "/nonexistent::"};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(refusing); i++) {
        assert_int_equal(setenv("PATH", refusing[i], 1), 0);
        world_refused(&options, TUCK_CLIENT_NO_START, "current directory");
    }
    assert_int_equal(setenv("PATH", "/nonexistent", 1), 0);
    world_refused(&options, TUCK_CLIENT_NO_START, "PATH");
    char list[5000];
    (void)snprintf(list, sizeof(list), "/nonexistent:%s", world_dir());
    assert_int_equal(setenv("PATH", list, 1), 0);
    world_close(world_open(&options), TUCK_CLIENT_OK);
    options.argv = with_slash;
    assert_int_equal(setenv("PATH", "", 1), 0);
    world_close(world_open(&options), TUCK_CLIENT_OK);
    assert_int_equal(chdir(here), 0);
    assert_int_equal(setenv("PATH", path_before, 1), 0);
    free(path_before);
}

// --- The command line ----------------------------------------------------------------------------

static void a_command_is_split_as_the_go_command_splits_it(void **state) {
    (void)state;
    static const struct {
        const char *text;
        const char *words[6]; // NULL at the first place: an error
    } table[] = {
        {"tuck --dir=/a  --log=b", {"tuck", "--dir=/a", "--log=b"}},
        {"\"my tuck\" '--dir=/a b'", {"my tuck", "--dir=/a b"}},
        {"\"x\"y", {"x", "y"}},
        {"x --q=\"1 2\"", {"x", "--q=\"1", "2\""}},
        {"x $HOME ~/c *.go \\t", {"x", "$HOME", "~/c", "*.go", "\\t"}},
        {"x ''", {"x", ""}},
        {" \t\r\nx\n y\r", {"x", "y"}},
        {"'it\\'s'", {"it\\", "s'"}},
        {"'it\\'s", {"it\\", "s"}},
        {"a'b c'd", {"a'b", "c'd"}},
        {"'a\"b' \"c'd\"", {"a\"b", "c'd"}},
        {"''''x", {"", "", "x"}},
        {"x 'y", {NULL}},
        {"x \"y'", {NULL}},
        {"x\fy\vz", {"x\fy\vz"}},
    };
    for (size_t i = 0; i < TUCK_ARRAY_LEN(table); i++) {
        struct tuck_client_error error;
        char **words = NULL;
        int status = tuck_words_split(table[i].text, &words, &error);
        if (!table[i].words[0]) {
            world_expect(status, TUCK_CLIENT_NO_START, &error, "unterminated");
            assert_null(words);
            continue;
        }
        world_expect(status, TUCK_CLIENT_OK, &error, NULL);
        size_t count = 0;
        for (; table[i].words[count]; count++) {
            assert_non_null(words[count]);
            assert_string_equal(words[count], table[i].words[count]);
        }
        assert_null(words[count]);
        free(words);
    }
}

static void a_helper_gets_the_words_of_its_command_line(void **state) {
    (void)state;
    char command[5000];
    struct tuck_client_options options = world_options(NULL);
    (void)snprintf(command, sizeof(command), "'%s' args  \"a b\"c\t'' --q=\"1 2\"\n$HOME ",
                   BAD_HELPER);
    options.command = command;
    world_close(world_open(&options), TUCK_CLIENT_OK);
    assert_string_equal(world_notes(), "[a b]\n[c]\n[]\n[--q=\"1]\n[2\"]\n[$HOME]\n");
}

static void a_command_that_names_no_program_is_refused(void **state) {
    (void)state;
    struct tuck_client_options options = world_options(NULL);
    options.command = " \t\n";
    world_refused(&options, TUCK_CLIENT_NO_START, "names no program");
    options.command = "''";
    world_refused(&options, TUCK_CLIENT_NO_START, "names no program");
    options.command = "";
    world_refused(&options, TUCK_CLIENT_NO_START, "names no program");
    options.command = "x 'y";
    world_refused(&options, TUCK_CLIENT_NO_START, "unterminated ' string");
}

static void an_argv_is_handed_on_word_by_word(void **state) {
    (void)state;
    struct tuck_client *client = world_open_bad(BAD("args", "a b", "", "'", "\"", "\\"));
    world_close(client, TUCK_CLIENT_OK);
    assert_string_equal(world_notes(), "[a b]\n[]\n[']\n[\"]\n[\\]\n");
}

static void a_helper_gets_the_environment_that_is_given_or_the_hosts(void **state) {
    (void)state;
    assert_int_equal(setenv("TUCK_TEST_VALUE", "of the host", 1), 0);
    world_close(world_open_bad(BAD("env:TUCK_TEST_VALUE", "hello", "serve")), TUCK_CLIENT_OK);
    assert_string_equal(world_notes(), "TUCK_TEST_VALUE=of the host\n");
    char noted[5000];
    (void)snprintf(noted, sizeof(noted), "BAD_NOTES=%s/notes", world_dir());
    const char *const environment[] = {noted, "TUCK_TEST_OTHER=given", NULL};
    struct tuck_client_options options =
        world_options(BAD("env:TUCK_TEST_VALUE", "env:TUCK_TEST_OTHER", "hello", "serve"));
    options.environment = environment;
    world_close(world_open(&options), TUCK_CLIENT_OK);
    assert_non_null(strstr(world_notes(), "TUCK_TEST_VALUE=(none)\nTUCK_TEST_OTHER=given\n"));
}

static void options_that_cannot_be_meant_are_refused(void **state) {
    (void)state;
    const struct tuck_client_options good = world_options(BAD("hello", "serve"));
    struct tuck_client_options options = good;
    struct tuck_client_error error;
    struct tuck_client *client = NULL;
    assert_int_equal(tuck_client_open(NULL, &client, &error), TUCK_CLIENT_USAGE);
    options.struct_size = 0;
    world_refused(&options, TUCK_CLIENT_USAGE, "not initialised");
    options = good;
    options.command = "x";
    world_refused(&options, TUCK_CLIENT_USAGE, "either a command or an argv");
    options = good;
    options.argv = NULL;
    world_refused(&options, TUCK_CLIENT_USAGE, "either a command or an argv");
    options = good;
    options.mode = 2;
    world_refused(&options, TUCK_CLIENT_USAGE, "unknown mode");
    options = good;
    options.flags = 1 << 20;
    world_refused(&options, TUCK_CLIENT_USAGE, "unknown flag");
    options = good;
    options.close_ms = TUCK_CLIENT_NO_LIMIT;
    world_refused(&options, TUCK_CLIENT_USAGE, "too large");
    options = good;
    options.stderr_to = TUCK_CLIENT_STDERR_FD;
    options.stderr_fd = -1;
    world_refused(&options, TUCK_CLIENT_USAGE, "stderr");
}

static void structs_of_older_and_newer_hosts_are_understood(void **state) {
    (void)state;
    struct tuck_client_options options = world_options(BAD("hello", "serve"));
    struct {
        struct tuck_client_options known;
        uint64_t unknown;
    } newer = {options, 0};
    options.struct_size =
        offsetof(struct tuck_client_options, max_pending); // before there was such
    options.max_pending = 1U << 31;                        // is no option then
    world_close(world_open(&options), TUCK_CLIENT_OK);
    newer.known.struct_size = sizeof(newer);
    world_close(world_open(&newer.known), TUCK_CLIENT_OK);
    newer.unknown = 1; // asks for something that this library does not have
    world_refused(&newer.known, TUCK_CLIENT_USAGE, "newer libtuck");
}

// --- The handshake -------------------------------------------------------------------------------

static void a_helper_that_says_nothing_is_stopped_after_the_time_limit(void **state) {
    (void)state;
    struct tuck_client_options options = world_options(BAD("pause"));
    uint64_t begin = world_ms();
    options.handshake_ms = 100;
    world_refused(&options, TUCK_CLIENT_NO_HANDSHAKE, "100 ms");
    assert_true(world_ms() - begin >= 100 && world_ms() - begin < 5000);
    options = world_options(BAD("raw:  ", "ignore:15", "pause")); // only SIGKILL ends this one
    options.handshake_ms = 50;
    options.kill_ms = 50;
    world_refused(&options, TUCK_CLIENT_NO_HANDSHAKE, NULL);
    options = world_options(BAD("stop"));
    options.handshake_ms = 50;
    options.kill_ms = 50;
    world_refused(&options, TUCK_CLIENT_NO_HANDSHAKE, NULL);
    assert_true(world_ms() - begin < 20000);
}

static void an_exit_before_the_handshake_is_told_with_its_status(void **state) {
    (void)state;
    struct tuck_client_options options = world_options(BAD("exit:0"));
    world_refused(&options, TUCK_CLIENT_EXITED, "exited with status 0 before its handshake");
    options = world_options(BAD("exit:7"));
    world_refused(&options, TUCK_CLIENT_EXITED, "exited with status 7 before its handshake");
    options = world_options(BAD("raise:9"));
    world_refused(&options, TUCK_CLIENT_EXITED, "killed by signal 9 before its handshake");
    options = world_options(BAD("raw:{\"ID\":0,\"Kno", "exit:3"));
    world_refused(&options, TUCK_CLIENT_TRUNCATED, "exited with status 3");
    options = world_options(BAD("close:1", "pause"));
    world_refused(&options, TUCK_CLIENT_STDOUT_ENDED, NULL);
    options = world_options(BAD("complain:cannot open /x\x1b[31m: no", "exit:1"));
    options.stderr_to = TUCK_CLIENT_STDERR_CAPTURE;
    world_refused(&options, TUCK_CLIENT_EXITED, "it said: 'cannot open /x?[31m: no'");
}

static void white_space_may_stand_before_the_handshake_and_nothing_else(void **state) {
    (void)state;
    world_close(world_open_bad(BAD("raw:\n \r\n\t", "hello", "serve")), TUCK_CLIENT_OK);
    static const char *const beginnings[] = {"raw:starting\n", "raw:\xef\xbb\xbf", "raw:// hi\n",
                                             "raw:[]",         "raw:\x1b[0m",      "raw:\"\"",
                                             "raw:0",          "raw:null"};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(beginnings); i++) {
        struct tuck_client_options options = world_options(BAD(beginnings[i], "hello", "serve"));
        world_refused(&options, TUCK_CLIENT_NOT_JSON, "before its handshake");
    }
}

static void a_handshake_needs_id_0_and_an_array_with_at_least_one_name(void **state) {
    (void)state;
    static const struct {
        const char *handshake;
        int status; // in both modes
        const char *text;
    } table[] = {
        {"say:{\"ID\":1,\"KnownCommands\":[\"get\"]}", TUCK_CLIENT_BAD_HANDSHAKE, "ID 1"},
        {"say:{\"ID\":\"0\",\"KnownCommands\":[\"get\"]}", TUCK_CLIENT_BAD_HANDSHAKE, "ID is no"},
        {"say:{\"ID\":0}", TUCK_CLIENT_BAD_HANDSHAKE, "no commands"},
        {"say:{}", TUCK_CLIENT_BAD_HANDSHAKE, "no commands"},
        {"say:{\"ID\":0,\"KnownCommands\":[]}", TUCK_CLIENT_BAD_HANDSHAKE, "no commands"},
        {"say:{\"ID\":0,\"KnownCommands\":null}", TUCK_CLIENT_BAD_HANDSHAKE, "no commands"},
        {"say:{\"ID\":0,\"KnownCommands\":\"get\"}", TUCK_CLIENT_BAD_HANDSHAKE, "KnownCommands"},
        {"say:{\"ID\":0,\"KnownCommands\":{\"get\":1}}", TUCK_CLIENT_BAD_HANDSHAKE,
         "KnownCommands"},
        {"say:{\"ID\":0,\"KnownCommands\":[1]}", TUCK_CLIENT_BAD_HANDSHAKE, "KnownCommands"},
        {"say:{\"KnownCommands\":[\"get\",\"put\",\"close\"]}", TUCK_CLIENT_OK, NULL},
        {"say:{\"ID\":null,\"KnownCommands\":[\"get\",\"close\"],\"x\":[{}]}", TUCK_CLIENT_OK,
         NULL},
    };
    for (size_t i = 0; i < TUCK_ARRAY_LEN(table); i++)
        for (uint32_t mode = TUCK_CLIENT_GO; mode <= TUCK_CLIENT_STRICT; mode++) {
            struct tuck_client_options options = world_options(BAD(table[i].handshake, "serve"));
            options.mode = mode;
            if (table[i].status == TUCK_CLIENT_OK)
                world_close(world_open(&options), TUCK_CLIENT_OK);
            else
                world_refused(&options, table[i].status, table[i].text);
        }
}

static void what_the_go_command_lets_pass_in_a_handshake_strict_does_not(void **state) {
    (void)state;
    static const char *const handshakes[] = {
        "say:{\"ID\":0,\"Err\":\"no\",\"KnownCommands\":[\"get\",\"close\"]}",
        "say:{\"id\":0,\"knowncommands\":[\"get\",\"close\"]}",
        "say:{\"ID\":0,\"ID\":0,\"KnownCommands\":[\"get\",\"close\"]}"};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(handshakes); i++) {
        struct tuck_client_options options = world_options(BAD(handshakes[i], "serve"));
        world_close(world_open(&options), TUCK_CLIENT_OK);
        options.mode = TUCK_CLIENT_STRICT;
        world_refused(&options, TUCK_CLIENT_BAD_HANDSHAKE, NULL);
    }
}

static void any_number_of_unknown_commands_is_skipped(void **state) {
    (void)state;
    struct tuck_client *client =
        world_open_bad(BAD("raw:{\"ID\":0,\"KnownCommands\":[\"get\"", "repeat:100000:,\"get2\"",
                           "say:,\"close\"]}", "serve"));
    assert_int_equal(tuck_client_can(client, TUCK_CLIENT_GET), 1);
    assert_int_equal(tuck_client_can(client, TUCK_CLIENT_PUT), 0);
    assert_int_equal(tuck_client_can(client, TUCK_CLIENT_CLOSE), 1);
    world_close(client, TUCK_CLIENT_OK);
    client = world_open_bad(BAD("hello:GET,Put,close2"));
    for (int command = -1; command < 5; command++)
        assert_int_equal(tuck_client_can(client, command), 0);
    world_get(client, TUCK_CLIENT_MISS, NULL);
    world_put(client, TUCK_CLIENT_NOT_STORED, NULL);
    world_close(client, TUCK_CLIENT_OK);
}

static void a_handshake_may_come_in_any_layout_and_any_pieces(void **state) {
    (void)state;
    world_close(world_open_bad(BAD("slow", "hello", "serve")), TUCK_CLIENT_OK);
    world_close(
        world_open_bad(BAD("say:{\n \"ID\" : 0 ,\r\n\t\"KnownCommands\" : [ \"get\" ,\n \"close\" ]"
                           "\n}",
                           "serve")),
        TUCK_CLIENT_OK);
    // The answer to the first request is there before it is asked, in one write with the handshake.
    struct tuck_client *client = world_open_bad(
        BAD("slow", "hello", "read", "raw:{\"ID\":$i,", "raw: \"Miss\"\n:true}", "serve"));
    world_get(client, TUCK_CLIENT_MISS, NULL);
    world_close(client, TUCK_CLIENT_OK);
}

static void a_second_handshake_ends_the_connection(void **state) {
    (void)state;
    struct tuck_client *client = world_open_bad(BAD("hello", "read", "hello", "eof"));
    world_get(client, TUCK_CLIENT_HANDSHAKE_AGAIN, "second handshake");
    world_get(client, TUCK_CLIENT_HANDSHAKE_AGAIN, "second handshake");
    world_close(client, TUCK_CLIENT_HANDSHAKE_AGAIN);
}

static void what_was_not_announced_is_not_sent(void **state) {
    (void)state;
    struct tuck_client_answer answer;
    struct tuck_client_error error;
    struct tuck_action_id action = unit_action(1);
    struct tuck_client *client = world_open_bad(BAD("record", "hello:put,close", "serve"));
    world_get(client, TUCK_CLIENT_MISS, NULL);
    assert_string_equal(world_notes(), "");
    world_close(client, TUCK_CLIENT_OK);
    assert_null(strstr(world_notes(), "get"));
    client = world_open_bad(BAD("hello:get,close", "serve"));
    int status = tuck_client_put_memory(client, action.bytes, "hello", 5, &answer, &error);
    world_expect(status, TUCK_CLIENT_NOT_STORED, &error, NULL);
    assert_int_equal(answer.size, 5);
    assert_string_equal(answer.path, "");
    char hex[TUCK_ID_HEX + 1] = "";
    tuck_hex(hex, answer.output, TUCK_ID_BYTES);
    assert_string_equal(hex, "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
    world_close(client, TUCK_CLIENT_OK);
    client = world_open_bad(BAD("hello:get", "record", "serve:1", "eof", "note:\nend"));
    world_get(client, TUCK_CLIENT_MISS, NULL);
    world_close(client, TUCK_CLIENT_OK); // only stdin was closed
    const char *close = strstr(world_notes(), "\"close\"");
    assert_non_null(close); // of the first client
    assert_null(strstr(close + 1, "\"close\""));
    assert_non_null(strstr(close, "\nend\n"));
}

static void open_need_not_wait_for_the_handshake(void **state) {
    (void)state;
    struct tuck_client_options options =
        world_options(BAD("sleep:100", "hello:get,close", "serve"));
    struct world_outcome get, put;
    options.flags = TUCK_CLIENT_NO_WAIT;
    uint64_t begin = world_ms();
    struct tuck_client *client = world_open(&options);
    assert_int_equal(tuck_client_can(client, TUCK_CLIENT_GET), 0);
    world_submit_get(client, 1, 0, &get);
    world_submit_put(client, 1, tuck_client_memory("x", 1), &put);
    assert_int_equal(tuck_client_wait(client, 60000), TUCK_CLIENT_OK);
    assert_true(world_ms() - begin >= 90);
    assert_int_equal(get.status, TUCK_CLIENT_MISS);
    assert_int_equal(put.status, TUCK_CLIENT_NOT_STORED);
    assert_int_equal(tuck_client_can(client, TUCK_CLIENT_GET), 1);
    world_close(client, TUCK_CLIENT_OK);
    options = world_options(BAD("exit:5"));
    options.flags = TUCK_CLIENT_NO_WAIT;
    client = world_open(&options);
    world_get(client, TUCK_CLIENT_EXITED, "status 5 before its handshake");
    world_close(client, TUCK_CLIENT_EXITED);
    options = world_options(BAD("pause"));
    options.flags = TUCK_CLIENT_NO_WAIT;
    options.handshake_ms = 50;
    client = world_open(&options);
    world_get(client, TUCK_CLIENT_NO_HANDSHAKE, NULL);
    world_close(client, TUCK_CLIENT_NO_HANDSHAKE);
    options = world_options(BAD("pause"));
    options.flags = TUCK_CLIENT_NO_WAIT;
    client = world_open(&options);
    world_submit_get(client, 1, 0, &get);
    options.close_ms = 50;
    tuck_client_free(client); // with all that waits
    assert_true(get.is_done);
    assert_int_equal(get.status, TUCK_CLIENT_CLOSED);
}

// --- What the child inherits, and the host's state -----------------------------------------------

static void
a_helper_has_three_descriptors_no_blocked_signals_and_sigpipe_as_by_default(void **state) {
    (void)state;
    sigset_t all, before;
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC), status;
    struct sigaction pipe_before, child_before, ignore = {.sa_handler = SIG_IGN};
    assert_true(fd >= 0);
    // A shell that runs the tests in the background has these ignored, and so would the helper.
    (void)signal(SIGINT, SIG_DFL);
    (void)signal(SIGQUIT, SIG_DFL);
    (void)sigfillset(&all);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, &all, &before), 0);
    assert_int_equal(sigaction(SIGPIPE, &ignore, &pipe_before), 0);
    assert_int_equal(sigaction(SIGCHLD, &ignore, &child_before), 0);
    // The helper itself ignores SIGPIPE, so a shell looks for it.
    static const char script[] = "exec \"$0\" fds signals hello serve";
    const char *const argv[] = {"/bin/sh", "-c", script, BAD_HELPER, NULL};
    struct tuck_client_options options = world_options(argv);
    struct tuck_client *client = world_open(&options);
    const char *const look[] = {"/bin/sh", "-c",
                                "sed -n 's/^Sig\\(Blk\\|Ign\\):.//p' /proc/self/status "
                                ">\"$BAD_NOTES.signals\"; exec \"$0\" hello serve",
                                BAD_HELPER, NULL};
    options.argv = look;
    struct tuck_client *other = world_open(&options);
    world_close(client, TUCK_CLIENT_OK);
    world_close(other, TUCK_CLIENT_OK);
    assert_int_equal(sigaction(SIGPIPE, &pipe_before, NULL), 0);
    assert_int_equal(sigaction(SIGCHLD, &child_before, NULL), 0);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, &before, NULL), 0);
    (void)close(fd);
    while (waitpid(-1, &status, WNOHANG) > 0)
        ;
    assert_string_equal(world_notes(),
                        "fds 0 1 2\nsignals ignored 13\n"); // which it ignores itself
    size_t len;
    char *signals = (char *)unit_read_file(unit_path(world_dir(), "notes.signals"), &len);
    // Neither blocked, nor ignored: SIGPIPE (bit 12) and SIGCHLD (bit 16).
    unsigned long long blocked = strtoull(signals, NULL, 16),
                       ignored = strtoull(strchr(signals, '\n'), NULL, 16);
    assert_true(blocked == 0);
    assert_true((ignored & (1ULL << (SIGPIPE - 1) | 1ULL << (SIGCHLD - 1))) == 0);
    free(signals);
}

static void *open_and_close(void *arg) {
    struct tuck_client_options *options = arg;
    for (int i = 0; i < 15; i++) {
        struct tuck_client *client = NULL;
        struct tuck_client_error error;
        if (tuck_client_open(options, &client, &error) != 0)
            return (void *)1;
        if (tuck_client_close(client, &error) != 0) // needs the helper to see the end of its input
            return (void *)2;
        tuck_client_free(client);
    }
    return NULL;
}

static void clients_started_at_the_same_time_do_not_hold_each_others_pipes(void **state) {
    (void)state;
    // Without close, the helper ends only when every write end of its stdin is closed.
    struct tuck_client_options options = world_options(BAD("fds", "hello:get", "eof"));
    pthread_t threads[8];
    for (size_t i = 0; i < TUCK_ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, open_and_close, &options), 0);
    for (size_t i = 0; i < TUCK_ARRAY_LEN(threads); i++) {
        void *result;
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_null(result);
    }
    const char *at = world_notes();
    size_t count = 0;
    for (; strncmp(at, "fds 0 1 2\n", 10) == 0; at += 10)
        count++;
    assert_string_equal(at, "");
    assert_int_equal(count, 8 * 15);
}

// In a child, so that the test program's own descriptors stay.
static int in_a_child(int (*body)(void)) {
    int status;
    (void)fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(body());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
}

static int talk(const struct tuck_client_options *options) {
    struct tuck_client *client = NULL;
    struct tuck_client_answer answer;
    struct tuck_client_end end;
    struct tuck_action_id action = unit_action(1);
    bool were_open[3];
    for (int fd = 0; fd < 3; fd++)
        were_open[fd] = fcntl(fd, F_GETFD) >= 0;
    if (tuck_client_open(options, &client, NULL) != 0)
        return 1;
    for (int fd = 0; fd < 3; fd++) // the client has none of them
        if (were_open[fd] != (fcntl(fd, F_GETFD) >= 0))
            return 9;
    if (tuck_client_put_memory(client, action.bytes, "hello", 5, &answer, NULL) != 0)
        return 2;
    if (tuck_client_get(client, action.bytes, &answer, NULL) != 0)
        return 3;
    if (tuck_client_close(client, NULL) != 0)
        return 4;
    tuck_client_end(client, &end);
    tuck_client_free(client);
    return end.how == TUCK_CLIENT_END_EXIT && end.status == 0 ? 0 : 5;
}

static int talk_without_standard_descriptors(void) {
    struct tuck_client_options options = world_options(BAD("fds", "hello", "serve"));
    (void)close(0);
    (void)close(1);
    (void)close(2);
    int status = talk(&options);
    // They must still be free, and what is opened next is not ours.
    if (status == 0 && (open("/dev/null", O_RDWR) != 0 || open("/dev/null", O_RDWR) != 1 ||
                        open("/dev/null", O_RDWR) != 2))
        return 6;
    return status;
}

static int talk_without_stderr(void) {
    struct tuck_client_options options = world_options(BAD("fds", "hello", "serve"));
    (void)close(2);
    return talk(&options);
}

static void a_host_that_has_closed_its_standard_descriptors_can_use_a_client(void **state) {
    (void)state;
    assert_int_equal(in_a_child(talk_without_standard_descriptors), 0);
    assert_int_equal(in_a_child(talk_without_stderr), 0);
    assert_string_equal(world_notes(), "fds 0 1 2\nfds 0 1 2\n");
}

static int talk_while_sigchld_is_ignored(void) {
    struct tuck_client_options options = world_options(BAD("hello", "serve"));
    (void)signal(SIGCHLD, SIG_IGN);
    int status = talk(&options);
    return status == 5 ? 0 : status == 0 ? 7 : status; // the status is lost, and nothing else
}

static volatile sig_atomic_t sigchld_count;

static void count_sigchld(int number) {
    (void)number;
    sigchld_count++;
}

static int talk_with_a_handler_that_waits_for_all(void) {
    struct tuck_client_options options = world_options(BAD("hello", "serve"));
    (void)signal(SIGCHLD, count_sigchld);
    for (int i = 0; i < 20; i++) {
        int status = talk(&options);
        if (status != 0)
            return status;
    }
    return sigchld_count > 0 && waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD ? 0 : 8;
}

static void *reap_everything(void *arg) {
    const volatile bool *stop = arg;
    while (!__atomic_load_n(stop, __ATOMIC_RELAXED)) {
        int status;
        if (waitpid(-1, &status, 0) < 0)
            (void)nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    }
    return NULL;
}

// A host that takes away what is the client's: it learns no status, and does not hang.
static int talk_beside_a_thread_that_waits_for_all(void) {
    struct tuck_client_options options = world_options(BAD("hello", "serve"));
    static volatile bool stop;
    pthread_t thread;
    if (pthread_create(&thread, NULL, reap_everything, (void *)(uintptr_t)&stop) != 0)
        return 20;
    for (int i = 0; i < 20; i++) {
        int status = talk(&options);
        if (status != 0 && status != 5)
            return status;
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    (void)pthread_join(thread, NULL);
    return 0;
}

static void a_child_is_waited_for_once_whatever_the_host_does_with_sigchld(void **state) {
    (void)state;
    assert_int_equal(in_a_child(talk_while_sigchld_is_ignored), 0);
    assert_int_equal(in_a_child(talk_with_a_handler_that_waits_for_all), 0);
    assert_int_equal(in_a_child(talk_beside_a_thread_that_waits_for_all), 0);
}

static void a_hosts_own_children_are_left_alone(void **state) {
    (void)state;
    int status;
    (void)fflush(NULL);
    pid_t own = fork();
    assert_true(own >= 0);
    if (own == 0)
        _exit(42);
    for (int i = 0; i < 5; i++)
        world_close(world_open_bad(BAD("hello", "serve")), TUCK_CLIENT_OK);
    assert_int_equal(waitpid(own, &status, 0), own);
    assert_int_equal(WEXITSTATUS(status), 42);
}

static void a_helper_may_have_its_own_process_group(void **state) {
    (void)state;
    struct tuck_client_options options = world_options(BAD("group", "hello", "serve"));
    world_close(world_open(&options), TUCK_CLIENT_OK);
    options.flags = TUCK_CLIENT_OWN_GROUP;
    world_close(world_open(&options), TUCK_CLIENT_OK);
    assert_string_equal(world_notes(), "group shared\ngroup own\n");
}

static void stderr_goes_where_the_options_say(void **state) {
    (void)state;
    struct tuck_client_options options =
        world_options(BAD("complain:first", "hello", "complain:last", "serve"));
    char text[100];
    options.stderr_to = TUCK_CLIENT_STDERR_CAPTURE;
    struct tuck_client *client = world_open(&options);
    assert_int_equal(tuck_client_close(client, NULL), TUCK_CLIENT_OK);
    assert_int_equal(tuck_client_stderr(client, text, sizeof(text)), 11);
    assert_string_equal(text, "first\nlast\n");
    assert_int_equal(tuck_client_stderr(client, text, 5), 4);
    assert_string_equal(text, "ast\n");
    assert_int_equal(tuck_client_stderr(client, text, 1), 0);
    assert_int_equal(tuck_client_stderr(client, text, 0), 0);
    tuck_client_free(client);
    options.stderr_limit = 7;
    client = world_open(&options);
    assert_int_equal(tuck_client_close(client, NULL), TUCK_CLIENT_OK);
    assert_int_equal(tuck_client_stderr(client, text, sizeof(text)), 7);
    assert_string_equal(text, "t\nlast\n");
    tuck_client_free(client);
    int fd = world_open_file("complaints", 0);
    options.stderr_to = TUCK_CLIENT_STDERR_FD;
    options.stderr_fd = fd;
    world_close(world_open(&options), TUCK_CLIENT_OK);
    assert_int_equal(pread(fd, text, sizeof(text), 0), 11);
    (void)close(fd);
    options.stderr_to = TUCK_CLIENT_STDERR_DISCARD;
    client = world_open(&options);
    assert_int_equal(tuck_client_stderr(client, text, sizeof(text)), 0);
    world_close(client, TUCK_CLIENT_OK);
}

static const struct CMUnitTest tests[] = {
    CASE("L-01", a_program_that_cannot_be_started_is_an_error_that_leaves_nothing),
    CASE("L-01", a_bare_name_is_looked_up_in_path_but_never_in_the_current_directory),
    CASE("L-02", a_command_is_split_as_the_go_command_splits_it),
    CASE("L-02", a_helper_gets_the_words_of_its_command_line),
    CASE("L-02", a_command_that_names_no_program_is_refused),
    CASE("L-02", an_argv_is_handed_on_word_by_word),
    CASE("L-02", a_helper_gets_the_environment_that_is_given_or_the_hosts),
    CASE("L-02", options_that_cannot_be_meant_are_refused),
    CASE("L-02", structs_of_older_and_newer_hosts_are_understood),
    CASE("L-03", a_helper_that_says_nothing_is_stopped_after_the_time_limit),
    CASE("L-04", an_exit_before_the_handshake_is_told_with_its_status),
    CASE("L-05", white_space_may_stand_before_the_handshake_and_nothing_else),
    CASE("L-06", a_handshake_needs_id_0_and_an_array_with_at_least_one_name),
    CASE("L-06", what_the_go_command_lets_pass_in_a_handshake_strict_does_not),
    CASE("L-06", any_number_of_unknown_commands_is_skipped),
    CASE("L-07", a_handshake_may_come_in_any_layout_and_any_pieces),
    CASE("L-08", a_second_handshake_ends_the_connection),
    CASE("L-09", what_was_not_announced_is_not_sent),
    CASE("L-03", open_need_not_wait_for_the_handshake),
    CASE("L-36 L-37", a_helper_has_three_descriptors_no_blocked_signals_and_sigpipe_as_by_default),
    CASE("L-36 L-37", clients_started_at_the_same_time_do_not_hold_each_others_pipes),
    CASE("L-36", a_host_that_has_closed_its_standard_descriptors_can_use_a_client),
    CASE("L-35", a_child_is_waited_for_once_whatever_the_host_does_with_sigchld),
    CASE("L-35", a_hosts_own_children_are_left_alone),
    CASE("L-42", a_helper_may_have_its_own_process_group),
    CASE("L-34", stderr_goes_where_the_options_say),
};

UNIT_MAIN(tests)

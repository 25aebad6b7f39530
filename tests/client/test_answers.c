// SPDX-License-Identifier: MIT
/*
 * Answers: each row of SPEC.md 4.3 and clauses CLI-8 to CLI-30, in both modes. What the go command is lenient about is a
 * miss or accepted; strict names it. In neither is anything a hit that is none.
 */
#include "tests/client/world.h"

#include "lib/client/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define O1        "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=" // of "hello"
#define HIT(rest) "\"OutputID\":\"" O1 "\",\"Size\":5," rest

// One answer to one get or put. ${FILE} stands for a file that holds hello, ${DIR} for the test's
// directory.
struct row {
    const char *answer; // without braces and ID
    int go, strict;     // statuses
    const char *named;  // in the error, where there is one
};

static const char *fill_in(const char *text) {
    static char filled[8192];
    const char *file = unit_path(world_dir(), "object");
    size_t len = 0;
    while (*text) {
        const char *what = strncmp(text, "${FILE}", 7) == 0  ? file
                           : strncmp(text, "${DIR}", 6) == 0 ? world_dir()
                                                             : NULL;
        if (what) {
            len += (size_t)snprintf(filled + len, sizeof(filled) - len, "%s", what);
            text += what == file ? 7 : 6;
        } else {
            filled[len++] = *text++;
        }
    }
    filled[len] = '\0';
    return filled;
}

static void ask(const char *answer, uint32_t mode, bool is_put, int expected, const char *named,
                struct tuck_client_answer *ret_answer) {
    char say[9000];
    struct tuck_client_answer unwanted, *found = ret_answer ? ret_answer : &unwanted;
    struct tuck_client_error error;
    struct tuck_action_id action = unit_action(1);
    (void)world_file("object", "hello");
    (void)snprintf(say, sizeof(say), "raw:{%s%s\"ID\":$i}", fill_in(answer), *answer ? "," : "");
    struct tuck_client_options options = world_options(BAD("hello", "read", say, "serve"));
    options.mode = mode;
    struct tuck_client *client = world_open(&options);
    int status = is_put ? tuck_client_put_memory(client, action.bytes, "hello", 5, found, &error)
                        : tuck_client_get(client, action.bytes, found, &error);
    if (status != expected)
        print_message("# %s, mode %u\n", answer, mode);
    world_expect(status, expected, &error, expected < 0 ? named : NULL);
    // The answer was bad, the connection is not.
    world_get(client, TUCK_CLIENT_MISS, NULL);
    world_close(client, TUCK_CLIENT_OK);
}

static void ask_all(const struct row *rows, size_t count, bool is_put) {
    for (size_t i = 0; i < count; i++) {
        ask(rows[i].answer, TUCK_CLIENT_GO, is_put, rows[i].go, rows[i].named, NULL);
        ask(rows[i].answer, TUCK_CLIENT_STRICT, is_put, rows[i].strict, rows[i].named, NULL);
    }
}

#define OK    TUCK_CLIENT_OK
#define MISS  TUCK_CLIENT_MISS
#define FIELD TUCK_CLIENT_BAD_FIELD
#define PATH  TUCK_CLIENT_BAD_PATH
#define FILE_ TUCK_CLIENT_BAD_FILE

static void a_hit_has_all_that_the_helper_said(void **state) {
    (void)state;
    struct tuck_client_answer answer;
    ask(HIT("\"Time\":\"2026-02-11T11:30:00.5+02:00\",\"DiskPath\":\"${FILE}\""),
        TUCK_CLIENT_STRICT, false, OK, NULL, &answer);
    assert_int_equal(answer.size, 5);
    assert_int_equal(answer.has_time, 1);
    assert_int_equal(answer.time_s, 1770802200);
    assert_int_equal(answer.time_ns, 500000000);
    assert_string_equal(answer.path, unit_path(world_dir(), "object"));
    ask(HIT("\"DiskPath\":\"${FILE}\""), TUCK_CLIENT_STRICT, false, OK, NULL, &answer);
    assert_int_equal(answer.has_time, 0);
}

static void a_get_that_says_miss_or_nothing_is_a_miss(void **state) {
    (void)state;
    static const struct row rows[] = {
        {"\"Miss\":true", MISS, MISS, NULL},
        {"", MISS, MISS, NULL},
        {HIT("\"x\":1"), MISS, MISS, NULL},
        {HIT("\"DiskPath\":\"\""), MISS, MISS, NULL},
        {HIT("\"DiskPath\":null"), MISS, MISS, NULL},
        {HIT("\"DiskPath\":\"${FILE}\",\"Miss\":true"), MISS, MISS, NULL},
        {HIT("\"DiskPath\":\"${FILE}\",\"Miss\":false"), OK, OK, NULL},
        {HIT("\"DiskPath\":\"${FILE}\",\"Miss\":null"), OK, OK, NULL},
    };
    ask_all(rows, TUCK_ARRAY_LEN(rows), false);
}

static void an_output_id_that_is_not_32_bytes_of_base64_is_never_a_hit(void **state) {
    (void)state;
#define WITH(id) id ",\"Size\":5,\"DiskPath\":\"${FILE}\""
    static const struct row rows[] = {
        {WITH("\"OutputID\":\"\""), MISS, FIELD, "32 bytes"},
        {WITH("\"OutputID\":null"), MISS, FIELD, "absent"},
        {WITH("\"x\":1"), MISS, FIELD, "absent"},
        {WITH("\"OutputID\":\"AAAA\""), MISS, FIELD, "32 bytes"},
        {WITH("\"OutputID\":\"LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQz\""), MISS, FIELD,
         "32 bytes"},
        {WITH("\"OutputID\":\"LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ\""), FIELD, FIELD,
         "base64"},
        {WITH("\"OutputID\":\"LPJNul-wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=\""), FIELD, FIELD,
         "base64"},
        {WITH("\"OutputID\":\"LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOL\\nmCQ=\""), MISS, FIELD,
         "line"},
        {WITH("\"OutputID\":[44,242]"), MISS, FIELD, "array"},
        {WITH("\"OutputID\":7"), FIELD, FIELD, "OutputID"},
        {WITH("\"OutputID\":\"" O1 "\""), OK, OK, NULL},
        {WITH("\"OutputID\":\"LPJNul\\u002bwow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=\""), OK, OK, NULL},
    };
    ask_all(rows, TUCK_ARRAY_LEN(rows), false);
#undef WITH
}

static void an_integer_field_takes_plain_integers_only(void **state) {
    (void)state;
#define WITH(size) "\"OutputID\":\"" O1 "\",\"DiskPath\":\"${FILE}\",\"Size\":" size
    static const struct row rows[] = {
        {WITH("5"), OK, OK, NULL},
        {WITH("null"), MISS, FILE_, "5 bytes"},
        {WITH("6"), MISS, FILE_, "5 bytes"},
        {WITH("0"), MISS, FILE_, "5 bytes"},
        {WITH("-5"), MISS, FIELD, "Size is negative"},
        {WITH("9223372036854775807"), MISS, FILE_, "5 bytes"},
        {WITH("9223372036854775808"), FIELD, FIELD, "Size"},
        {WITH("5.0"), FIELD, FIELD, "Size"},
        {WITH("5e0"), FIELD, FIELD, "Size"},
        {WITH("1e400"), FIELD, FIELD, "Size"},
        {WITH("\"5\""), FIELD, FIELD, "Size"},
    };
    ask_all(rows, TUCK_ARRAY_LEN(rows), false);
#undef WITH
}

// An answer whose ID cannot be read is nobody's.
static void an_id_that_is_no_integer_ends_the_connection(void **state) {
    (void)state;
    static const struct {
        const char *answer;
        int status;
    } rows[] = {
        {"say:{\"ID\":\"$i\",\"Miss\":true}", TUCK_CLIENT_UNKNOWN_ID},
        {"say:{\"ID\":$i.0,\"Miss\":true}", TUCK_CLIENT_UNKNOWN_ID},
        {"say:{\"ID\":$ie0,\"Miss\":true}", TUCK_CLIENT_UNKNOWN_ID},
        {"say:{\"ID\":18446744073709551617,\"Miss\":true}", TUCK_CLIENT_UNKNOWN_ID},
        {"say:{\"ID\":[$i],\"Miss\":true}", TUCK_CLIENT_UNKNOWN_ID},
        {"say:{\"Miss\":true}", TUCK_CLIENT_UNKNOWN_ID},
        {"say:{\"ID\":0,\"Miss\":true}", TUCK_CLIENT_UNKNOWN_ID},
        {"say:{\"ID\":-1,\"Miss\":true}", TUCK_CLIENT_UNKNOWN_ID},
        {"say:{\"ID\":2,\"Miss\":true}", TUCK_CLIENT_UNKNOWN_ID},
        {"say:{\"ID\":9223372036854775807,\"Miss\":true}", TUCK_CLIENT_UNKNOWN_ID},
    };
    for (size_t i = 0; i < TUCK_ARRAY_LEN(rows); i++) {
        struct tuck_client *client = world_open_bad(BAD("hello", "read", rows[i].answer, "eof"));
        world_get(client, rows[i].status, NULL);
        world_put(client, rows[i].status, NULL);
        world_close(client, rows[i].status);
    }
}

static void an_unknown_id_fails_all_that_wait_and_stops_the_helper(void **state) {
    (void)state;
    struct world_outcome outcomes[5];
    struct tuck_client *client = world_open_bad(
        BAD("ignore:15", "hello", "read:5", "say:{\"ID\":77,\"Miss\":true}", "pause"));
    for (uint64_t i = 0; i < 5; i++)
        world_submit_get(client, i, 0, &outcomes[i]);
    assert_int_equal(tuck_client_wait(client, 60000), OK);
    for (size_t i = 0; i < 5; i++)
        world_expect(outcomes[i].status, TUCK_CLIENT_UNKNOWN_ID, &outcomes[i].error, "request 77");
    uint64_t begin = world_ms();
    world_close(client, TUCK_CLIENT_UNKNOWN_ID);
    assert_true(world_ms() - begin < 10000);
}

static void a_second_answer_to_a_request_ends_the_connection(void **state) {
    (void)state;
    struct tuck_client *client =
        world_open_bad(BAD("hello", "read", "say:{\"ID\":$i,\"Miss\":true}", "read",
                           "say:{\"ID\":$1,\"Miss\":true}", "eof"));
    world_get(client, MISS, NULL);
    world_get(client, TUCK_CLIENT_ANSWERED_TWICE, "request 1 was answered twice");
    world_close(client, TUCK_CLIENT_ANSWERED_TWICE);
}

static void answers_are_matched_by_id_in_any_order(void **state) {
    (void)state;
    struct world_outcome outcomes[9];
    static const char *const order[] = {"$9", "$3", "$5", "$1", "$8", "$2", "$7", "$4", "$6"};
    char says[9][200];
    const char *argv[16] = {BAD_HELPER, "hello", "read:9"};
    (void)world_file("object", "hello");
    for (size_t i = 0; i < 9; i++) {
        // The path tells which request it was: the helper names it by its ID.
        char name[40];
        (void)snprintf(name, sizeof(name), "object-%zu", i + 1);
        (void)world_file(name, "hello");
        (void)snprintf(says[i], sizeof(says[i]),
                       "raw:{\"ID\":%s,\"OutputID\":\"" O1
                       "\",\"Size\":5,\"DiskPath\":\"%s/object-%s\"}",
                       order[i], world_dir(), order[i]);
        argv[3 + i] = says[i];
    }
    argv[12] = "serve";
    struct tuck_client *client = world_open_bad(argv);
    for (size_t i = 0; i < 9; i++)
        world_submit_get(client, i, 0, &outcomes[i]);
    assert_int_equal(tuck_client_wait(client, 60000), OK);
    for (size_t i = 0; i < 9; i++) {
        char name[40];
        (void)snprintf(name, sizeof(name), "object-%zu", i + 1);
        world_expect(outcomes[i].status, OK, &outcomes[i].error, NULL);
        assert_string_equal(outcomes[i].answer.path, unit_path(world_dir(), name));
    }
    for (size_t i = 0; i < 9; i++) // called back in the order of the answers
        assert_int_equal(outcomes[order[i][1] - '1'].place, i + 1);
    world_close(client, OK);
}

static void what_is_no_json_ends_the_connection(void **state) {
    (void)state;
    static const char *const texts[] = {"say:hello",
                                        "say:{\"ID\":$i,}",
                                        "say:{\"ID\":$i,\"Size\":NaN}",
                                        "say:{\"ID\":$i} // fine",
                                        "say:[{\"ID\":$i}]",
                                        "say:{\"ID\":$i,\"Err\":\"\t\"}",
                                        "say:{'ID':$i}",
                                        "say:\x7f",
                                        "say:{\"ID\":$i,\"Size\":05}",
                                        "say:{\"ID\":$i]"};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(texts); i++) {
        struct tuck_client *client = world_open_bad(BAD("hello", "read", texts[i], "eof"));
        struct world_outcome other;
        world_submit_get(client, 7, 0, &other);
        world_get(client, TUCK_CLIENT_NOT_JSON, NULL);
        assert_int_equal(other.status, strstr(texts[i], "fine") ? MISS : TUCK_CLIENT_NOT_JSON);
        world_close(client, TUCK_CLIENT_NOT_JSON);
    }
}

static void an_answer_cut_off_by_the_end_is_named(void **state) {
    (void)state;
    struct tuck_client *client =
        world_open_bad(BAD("hello", "read", "raw:{\"ID\":$i,\"Miss\":tr", "exit:2"));
    world_get(client, TUCK_CLIENT_TRUNCATED, "exited with status 2");
    world_close(client, TUCK_CLIENT_TRUNCATED);
    client = world_open_bad(BAD("hello", "read", "raw:{\"ID\":$i", "close:1", "pause"));
    world_get(client, TUCK_CLIENT_TRUNCATED, "inside an answer");
    world_close(client, TUCK_CLIENT_TRUNCATED);
}

static void an_answer_without_end_is_given_up_in_bounded_memory(void **state) {
    (void)state;
    static const struct {
        const char *begin, *rest;
    } floods[] = {{"raw:{\"ID\":$i,\"Err\":\"", "repeat:90000000:x"},
                  {"raw:{\"ID\":$i,\"x\":[", "repeat:200000000:{},"},
                  {"raw:{\"ID\":$i,\"x\":", "repeat:3000:["},
                  {"raw:{\"ID\":$i,\"x\":\"",
                   "repeat:200000000:\\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(floods); i++) {
        struct tuck_client *client =
            world_open_bad(BAD("hello", "serve:1", "read", floods[i].begin, floods[i].rest));
        world_get(client, MISS, NULL);
        size_t before = unit_allocated_bytes();
        struct tuck_client_request request = TUCK_CLIENT_REQUEST_INIT;
        struct tuck_client_answer answer;
        struct tuck_client_error error;
        struct tuck_action_id action = unit_action(1);
        request.command = TUCK_CLIENT_GET;
        request.action = action.bytes;
        request.timeout_ms = TUCK_CLIENT_NO_LIMIT; // 64 MiB byte by byte take a sanitizer its time
        int status = tuck_client_call(client, &request, &answer, &error);
        world_expect(status, TUCK_CLIENT_TOO_LONG, &error, NULL);
        assert_true(unit_allocated_bytes() <= before + 65536);
        world_close(client, status);
    }
}

static void padding_of_megabytes_is_no_answer_without_end(void **state) {
    (void)state;
    struct tuck_client *client =
        world_open_bad(BAD("hello", "read", "raw:{\"x\":[",
                           "repeat:100000:\"0123456789012345678901234567890123456789\",",
                           "raw:0],\"ID\":$i,\"Miss\":true}", "read", "repeat:1000000:\n\t \r",
                           "raw:{\"ID\":$i}", "serve"));
    world_get(client, MISS, NULL);
    world_get(client, MISS, NULL);
    world_close(client, OK);
}

static void a_field_of_the_wrong_type_is_an_error_and_null_is_none(void **state) {
    (void)state;
    static const struct row rows[] = {
        {"\"Miss\":\"false\"", FIELD, FIELD, "Miss"},
        {"\"Miss\":1", FIELD, FIELD, "Miss"},
        {"\"KnownCommands\":\"get\"", FIELD, FIELD, "KnownCommands"},
        {"\"Miss\":true,\"DiskPath\":7", FIELD, FIELD, "DiskPath"},
        {"\"Err\":{\"text\":\"no\"}", FIELD, FIELD, "Err"},
        {"\"Err\":null,\"KnownCommands\":null,\"Miss\":null,\"OutputID\":null,\"Size\":null,"
         "\"Time\":null,"
         "\"DiskPath\":null",
         MISS, MISS, NULL},
    };
    ask_all(rows, TUCK_ARRAY_LEN(rows), false);
}

static void unknown_fields_are_ignored_and_odd_spellings_only_by_the_lenient(void **state) {
    (void)state;
    static const struct row rows[] = {
        {HIT("\"DiskPath\":\"${FILE}\",\"TimeNanos\":1.5e9,\"x\":{\"ID\":9,\"Miss\":true,\"y\":[[]]"
             "}"),
         OK, OK, NULL},
        {"\"outputid\":\"" O1 "\",\"SIZE\":5,\"diskPath\":\"${FILE}\"", OK, FIELD, "letter case"},
        {HIT("\"DiskPath\":\"/nonexistent\",\"DiskPath\":\"${FILE}\""), OK, FIELD, "twice"},
        {HIT("\"DiskPath\":\"${FILE}\",\"DiskPath\":\"/nonexistent\""), MISS, FIELD, "twice"},
        {HIT("\"Size\":6,\"DiskPath\":\"${FILE}\""), MISS, FIELD, "twice"},
        {HIT("\"KnownCommands\":[\"get\"],\"DiskPath\":\"${FILE}\""), OK, FIELD, "KnownCommands"},
        {HIT("\"x\":\"\xff\",\"DiskPath\":\"${FILE}\""), OK, FIELD, "UTF-8"},
    };
    ask_all(rows, TUCK_ARRAY_LEN(rows), false);
}

static void the_file_of_a_hit_is_absolute_regular_readable_and_of_its_size(void **state) {
    (void)state;
    assert_int_equal(mkfifo(unit_path(world_dir(), "fifo"), 0600), 0);
    (void)world_file("object", "hello");
    (void)world_file("longer", "hello!");
    (void)world_file("empty", "");
    assert_int_equal(symlink("object", unit_path(world_dir(), "link")), 0);
    assert_int_equal(symlink("loop", unit_path(world_dir(), "loop")), 0);
    assert_int_equal(symlink("fifo", unit_path(world_dir(), "link-to-fifo")), 0);
    static const struct row rows[] = {
        {HIT("\"DiskPath\":\"${FILE}\""), OK, OK, NULL},
        {HIT("\"DiskPath\":\"${DIR}/link\""), OK, FILE_, "regular"},
        {HIT("\"DiskPath\":\"object\""), MISS, PATH, "not absolute"},
        {HIT("\"DiskPath\":\"./object\""), MISS, PATH, "not absolute"},
        {HIT("\"DiskPath\":\"${DIR}/absent\""), MISS, FILE_, "No such file"},
        {HIT("\"DiskPath\":\"${DIR}\""), MISS, FILE_, "regular"},
        {HIT("\"DiskPath\":\"${DIR}/fifo\""), MISS, FILE_, "regular"},
        {HIT("\"DiskPath\":\"${DIR}/link-to-fifo\""), MISS, FILE_, "regular"},
        {HIT("\"DiskPath\":\"${DIR}/loop\""), MISS, FILE_, NULL},
        {HIT("\"DiskPath\":\"/dev/zero\""), MISS, FILE_, "regular"},
        {HIT("\"DiskPath\":\"${DIR}/longer\""), MISS, FILE_, "6 bytes and not the 5"},
        {HIT("\"DiskPath\":\"${DIR}/empty\""), MISS, FILE_, "0 bytes"},
        {HIT("\"DiskPath\":\"${FILE}/\""), MISS, FILE_, NULL},
    };
    ask_all(rows, TUCK_ARRAY_LEN(rows), false);
}

static void a_file_that_cannot_be_read_is_no_hit(void **state) {
    (void)state;
    // Root reads everything, so a child becomes somebody else; the file lies where that one may
    // look.
    char path[] = "/tmp/tuck-unreadable-XXXXXX";
    int status, fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "hello", 5), 5);
    assert_int_equal(fchmod(fd, 0), 0);
    (void)close(fd);
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        struct tuck_client_error error = {0};
        if (geteuid() == 0 && setuid(65534) < 0)
            _exit(2);
        int found = tuck_file_look(path, 5, false, geteuid(), &error);
        _exit(found == TUCK_CLIENT_BAD_FILE && error.os == EACCES ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    (void)unlink(path);
    assert_int_equal(status, 0);
}

static void a_hit_whose_bytes_have_another_hash_is_a_miss_if_one_looks(void **state) {
    (void)state;
    const char *path = world_file("object", "jello"); // the right size
    char say[1000];
    (void)snprintf(say, sizeof(say), "say:{\"ID\":$i," HIT("\"DiskPath\":\"%s\"}"), path);
    for (uint32_t check = TUCK_CLIENT_CHECK_NOTHING; check <= TUCK_CLIENT_CHECK_BYTES; check++)
        for (uint32_t mode = TUCK_CLIENT_GO; mode <= TUCK_CLIENT_STRICT; mode++) {
            struct tuck_client_options options =
                world_options(BAD("hello", "read", say, "read", say, "serve"));
            struct tuck_client_request request = TUCK_CLIENT_REQUEST_INIT;
            struct tuck_client_answer answer;
            struct tuck_client_error error;
            struct world_outcome outcome = {0};
            struct tuck_action_id action = unit_action(1);
            options.mode = mode;
            options.check = check;
            struct tuck_client *client = world_open(&options);
            int expected = check != TUCK_CLIENT_CHECK_BYTES ? OK
                           : mode == TUCK_CLIENT_GO         ? MISS
                                                            : TUCK_CLIENT_WRONG_BYTES;
            request.command = TUCK_CLIENT_GET;
            request.action = action.bytes;
            int status = tuck_client_call(client, &request, &answer, &error);
            world_expect(status, expected, &error, NULL);
            if (status == MISS) // it says why
                assert_int_equal(error.code, TUCK_CLIENT_WRONG_BYTES);
            assert_int_equal(
                tuck_client_submit(client, &request, world_done, &outcome, NULL, &error), OK);
            assert_int_equal(tuck_client_wait(client, 60000), OK);
            world_expect(outcome.status, expected, &outcome.error, NULL);
            if (expected == MISS)
                assert_int_equal(outcome.error.code, TUCK_CLIENT_WRONG_BYTES);
            world_close(client, OK);
        }
}

static void large_files_are_hashed_while_other_answers_go_on(void **state) {
    (void)state;
    struct tuck_client_options options = world_options(BAD("hello", "serve"));
    struct world_outcome put, big, small;
    options.check = TUCK_CLIENT_CHECK_BYTES;
    int fd = world_open_file("big", 20 << 20);
    struct tuck_client *client = world_open(&options);
    world_submit_put(client, 1, tuck_client_file(fd), &put);
    assert_int_equal(tuck_client_wait(client, 60000), OK);
    world_expect(put.status, OK, &put.error, NULL);
    world_submit_get(client, 1, 0, &big);
    world_submit_get(client, 2, 0, &small); // a miss, answered after
    assert_int_equal(tuck_client_wait(client, 60000), OK);
    world_expect(big.status, OK, &big.error, NULL);
    world_expect(small.status, MISS, &small.error, NULL);
    assert_true(small.place < big.place);
    // What is shrunk is noticed before, and what shrinks while it is read then.
    assert_int_equal(truncate(big.answer.path, 5), 0);
    world_get(client, MISS, "5 bytes and not");
    world_close(client, OK);
    (void)close(fd);
}

static void a_path_keeps_what_it_says_or_is_none(void **state) {
    (void)state;
    (void)world_file("a \"b\" \\ c\xc3\xa9\xf0\x9d\x84\x9e", "hello");
    static char long_row[8192], longer_row[8192];
    size_t at = 0;
    at += (size_t)snprintf(long_row, sizeof(long_row), HIT("\"DiskPath\":\"/"));
    memset(long_row + at, 'x', 4094);
    memcpy(long_row + at + 4094, "\"", 2);
    at = (size_t)snprintf(longer_row, sizeof(longer_row), HIT("\"DiskPath\":\"/"));
    memset(longer_row + at, 'x', 4095);
    memcpy(longer_row + at + 4095, "\"", 2);
    const struct row rows[] = {
        {HIT("\"DiskPath\":\"${DIR}/a \\\"b\\\" \\\\ c\\u00e9\\uD834\\uDD1E\""), OK, OK, NULL},
        {HIT("\"DiskPath\":\"${DIR}\\/a \\\"b\\\" \\u005c c\xc3\xa9\xf0\x9d\x84\x9e\""), OK, OK,
         NULL},
        {HIT("\"DiskPath\":\"${FILE}\\u0000x\""), MISS, PATH, "NUL"},
        {HIT("\"DiskPath\":\"${FILE}\\u0000\""), MISS, PATH, "NUL"},
        {HIT("\"DiskPath\":\"${FILE}\\ud834\""), MISS, FIELD, "UTF-8"},
        {HIT("\"DiskPath\":\"${FILE}\xff\""), MISS, FIELD, "UTF-8"},
        {long_row, MISS, FILE_, NULL},
        {longer_row, MISS, PATH, "4,095"},
    };
    ask_all(rows, TUCK_ARRAY_LEN(rows), false);
}

static void a_path_of_64_kilobytes_is_no_path(void **state) {
    (void)state;
    struct tuck_client *client =
        world_open_bad(BAD("hello", "read", "raw:{\"ID\":$i," HIT("\"DiskPath\":\""),
                           "repeat:13000:/xxxx", "raw:\"}", "serve"));
    world_get(client, MISS, "4,095");
    world_close(client, OK);
}

static void a_time_is_read_or_an_error(void **state) {
    (void)state;
#define WITH(time) HIT("\"DiskPath\":\"${FILE}\",\"Time\":" time)
    static const struct row rows[] = {
        {WITH("null"), OK, OK, NULL},
        {WITH("\"2026-02-11T09:30:00Z\""), OK, OK, NULL},
        {WITH("\"2026-02-11T09:30:00.123456789012345678901234567890Z\""), OK, OK, NULL},
        {WITH("\"2026-02-11T09:30:00,5-11:30\""), OK, OK, NULL},
        {WITH("\"0001-01-01T00:00:00Z\""), OK, OK, NULL},
        {WITH("\"9999-12-31T23:59:59Z\""), OK, OK, NULL},
        {WITH("\"2016-12-31T23:59:60Z\""), FIELD, FIELD, "Time"},
        {WITH("\"2026-02-11 09:30:00\""), FIELD, FIELD, "Time"},
        {WITH("\"2026-02-11t09:30:00z\""), FIELD, FIELD, "Time"},
        {WITH("1770802200"), FIELD, FIELD, "Time"},
        {WITH("\"\""), FIELD, FIELD, "Time"},
        {WITH("\"yesterday\""), FIELD, FIELD, "Time"},
    };
    ask_all(rows, TUCK_ARRAY_LEN(rows), false);
#undef WITH
}

static void a_put_needs_a_path_and_nothing_else_counts(void **state) {
    (void)state;
    static const struct row rows[] = {
        {"\"DiskPath\":\"${FILE}\"", OK, OK, NULL},
        {"\"DiskPath\":\"${FILE}\",\"Miss\":true,\"Size\":77,\"OutputID\":\"AAAA\"", OK, OK, NULL},
        {"", TUCK_CLIENT_NO_PATH, TUCK_CLIENT_NO_PATH, "no DiskPath"},
        {"\"Miss\":true", TUCK_CLIENT_NO_PATH, TUCK_CLIENT_NO_PATH, "no DiskPath"},
        {"\"Err\":\"full\",\"DiskPath\":\"${FILE}\"", TUCK_CLIENT_REFUSED, TUCK_CLIENT_REFUSED,
         "full"},
        {"\"Err\":\"\",\"DiskPath\":\"${FILE}\"", OK, OK, NULL},
        {"\"DiskPath\":\"object\"", PATH, PATH, "not absolute"},
        {"\"DiskPath\":\"${DIR}/absent\"", FILE_, FILE_, "No such file"},
        {"\"DiskPath\":\"/dev/null\"", FILE_, FILE_, "regular"},
    };
    ask_all(rows, TUCK_ARRAY_LEN(rows), true);
}

static void an_error_text_is_bounded_and_printable(void **state) {
    (void)state;
    static const struct row rows[] = {
        {"\"Err\":\"no space\"", TUCK_CLIENT_REFUSED, TUCK_CLIENT_REFUSED,
         "the helper refused: no space"},
        {"\"Err\":\"a\\nb\\u001b[31m\\u0000\\u007f\\u009bc\"", TUCK_CLIENT_REFUSED,
         TUCK_CLIENT_REFUSED, "a?b?[31m???c"},
        {"\"Err\":\"gr\xc3\xbc\xc3\x9f\"", TUCK_CLIENT_REFUSED, TUCK_CLIENT_REFUSED,
         "gr\xc3\xbc\xc3\x9f"},
        {"\"Err\":\"\xff\xfe\"", TUCK_CLIENT_REFUSED, FIELD, NULL},
    };
    ask_all(rows, TUCK_ARRAY_LEN(rows), false);
    struct tuck_client_answer answer;
    struct tuck_client_error error;
    struct tuck_action_id action = unit_action(1);
    struct tuck_client *client = world_open_bad(BAD("hello", "read", "raw:{\"ID\":$i,\"Err\":\"",
                                                    "repeat:500000:\xe2\x82\xac"
                                                    "0123456789abcdef",
                                                    "raw:\"}", "serve"));
    size_t before = unit_allocated_bytes();
    assert_int_equal(tuck_client_get(client, action.bytes, &answer, &error), TUCK_CLIENT_REFUSED);
    assert_true(strlen(error.text) > 300 && strlen(error.text) < sizeof(error.text));
    assert_true(unit_allocated_bytes() <= before + 65536);
    size_t last = strlen(error.text);
    while (last > 0 && ((uint8_t)error.text[last - 1] & 0xc0) == 0x80)
        last--;
    assert_true((uint8_t)error.text[last - 1] < 0x80 ||
                last + 2 == strlen(error.text)); // no half character
    world_close(client, OK);
}

static void an_unknown_command_is_refused_by_the_helper_and_the_next_request_served(void **state) {
    (void)state;
    struct tuck_client *client = world_open_bad(BAD("hello", "echo"));
    world_get(client, TUCK_CLIENT_REFUSED, "no get");
    world_put(client, TUCK_CLIENT_REFUSED, "no put");
    world_close(client, TUCK_CLIENT_REFUSED);
}

static void every_status_has_a_name(void **state) {
    (void)state;
    size_t count = 0;
    for (int status = -100; status < 100; status++)
        count += strncmp(tuck_client_status_name(status), "TUCK_CLIENT_", 12) == 0;
    assert_int_equal(count, 34);
    assert_string_equal(tuck_client_status_name(TUCK_CLIENT_TIMEOUT), "TUCK_CLIENT_TIMEOUT");
    assert_string_equal(tuck_client_status_name(-99), "unknown");
    assert_true(strlen(tuck_client_version()) >= 5);
}

static const struct CMUnitTest tests[] = {
    CASE("L-12", a_hit_has_all_that_the_helper_said),
    CASE("L-24", a_get_that_says_miss_or_nothing_is_a_miss),
    CASE("L-25", an_output_id_that_is_not_32_bytes_of_base64_is_never_a_hit),
    CASE("L-21", an_integer_field_takes_plain_integers_only),
    CASE("L-21 L-10", an_id_that_is_no_integer_ends_the_connection),
    CASE("L-10", an_unknown_id_fails_all_that_wait_and_stops_the_helper),
    CASE("L-11", a_second_answer_to_a_request_ends_the_connection),
    CASE("L-12", answers_are_matched_by_id_in_any_order),
    CASE("L-20", what_is_no_json_ends_the_connection),
    CASE("L-20", an_answer_cut_off_by_the_end_is_named),
    CASE("L-19", an_answer_without_end_is_given_up_in_bounded_memory),
    CASE("L-19", padding_of_megabytes_is_no_answer_without_end),
    CASE("L-22", a_field_of_the_wrong_type_is_an_error_and_null_is_none),
    CASE("L-23", unknown_fields_are_ignored_and_odd_spellings_only_by_the_lenient),
    CASE("L-27", the_file_of_a_hit_is_absolute_regular_readable_and_of_its_size),
    CASE("L-27", a_file_that_cannot_be_read_is_no_hit),
    CASE("L-26", a_hit_whose_bytes_have_another_hash_is_a_miss_if_one_looks),
    CASE("L-26 L-27", large_files_are_hashed_while_other_answers_go_on),
    CASE("L-28", a_path_keeps_what_it_says_or_is_none),
    CASE("L-28", a_path_of_64_kilobytes_is_no_path),
    CASE("L-29", a_time_is_read_or_an_error),
    CASE("L-30", a_put_needs_a_path_and_nothing_else_counts),
    CASE("L-31", an_error_text_is_bounded_and_printable),
    CASE("L-31", an_unknown_command_is_refused_by_the_helper_and_the_next_request_served),
    CASE("L-31", every_status_has_a_name),
};

UNIT_MAIN(tests)

// SPDX-License-Identifier: MIT
/*
 * The format file as text, and the judgement over all drives of a list.
 *
 * Lists are written in a line, a word for each place: `B2:ABC` is the drive B of generation 2 that knows the set ABC;
 * `-` is blank, `m` missing, `d` damaged, `f` foreign, `n` newer, `u` unreachable; a `!` behind says that its mount
 * point is not mounted. The places are /d1, /d2 … Judgements likewise: U use, H heal, C create, O hole, R refuse, and
 * the number of the member, from 0, or nothing where there is none.
 */
#include "tests/unit/unit.h"

#include "lib/base/io.h"
#include "lib/store/format.h"

#include <ctype.h>
#include <jansson.h>

#define id_a "0123456789abcdef0123456a"
#define id_b "0123456789abcdef0123456b"
#define id_c "0123456789abcdef0123456c"

// --- As text -------------------------------------------------------------------------------------

static int parse(const char *text, struct tuck_format *ret_format, struct tuck_error *err) {
    return tuck_format_parse(text, strlen(text), ret_format, err);
}

// What it is, with a reason in one line, and nothing returned.
static void assert_state(const char *text, enum tuck_format_state expected) {
    struct tuck_format format = {.count = 77};
    struct tuck_error err = {0};
    int state = parse(text, &format, &err);
    if (state != (int)expected)
        fail_msg("%d, not %d: %s: %s", state, (int)expected, text, err.text);
    assert_true(err.text[0] != '\0' && !strpbrk(err.text, "\r\n"));
    assert_int_equal(format.count, 77);
    assert_int_equal(parse(text, &format, NULL), expected);
}

static char *write_format(const struct tuck_format *format) {
    char *text = NULL;
    assert_int_equal(tuck_format_write(format, &text, NULL), 0);
    return text;
}

static const char version_2[] =
    "{\"format\":\"tuck\",\"version\":2,\"id\":\"" id_b "\",\"set\":[\"" id_a "\",\"" id_b
    "\"],\"placement\":\"RENDEZVOUS\",\"generation\":7,"
    "\"mounts\":[null,\"/mnt/b\"]}";

static void version_1_is_a_set_of_generation_1(void **state) {
    (void)state;
    struct tuck_format format;
    assert_int_equal(parse("{\"format\": \"tuck\", \"version\": 1, \"id\": \"" id_a
                           "\", \"set\": [\"" id_a "\"], \"placement\": \"CRCMOD\"}\n",
                           &format, NULL),
                     TUCK_FORMAT_GOOD);
    assert_int_equal(format.generation, 1);
    assert_int_equal(format.placement, TUCK_CRCMOD);
    assert_int_equal(format.count, 1);
    assert_int_equal(format.self, 0);
    assert_string_equal(format.members[0].id, id_a);
    assert_string_equal(format.members[0].mount, "");
}

static void version_2_knows_generation_and_mount_points(void **state) {
    (void)state;
    struct tuck_format format;
    assert_int_equal(parse(version_2, &format, NULL), TUCK_FORMAT_GOOD);
    assert_int_equal(format.generation, 7);
    assert_int_equal(format.placement, TUCK_RENDEZVOUS);
    assert_int_equal(format.count, 2);
    assert_int_equal(format.self, 1);
    assert_string_equal(format.members[0].id, id_a);
    assert_string_equal(format.members[0].mount, "");
    assert_string_equal(format.members[1].id, id_b);
    assert_string_equal(format.members[1].mount, "/mnt/b");
}

static void keys_that_are_not_known_are_ignored(void **state) {
    (void)state;
    struct tuck_format format;
    assert_int_equal(
        parse("{\"x\":{\"id\":[1.5,null]},\"format\":\"tuck\",\"version\":1,\"generation\":\"?\","
              "\"mounts\":0,\"id\":\"" id_a "\",\"set\":[\"" id_a
              "\"],\"placement\":\"CRCMOD\",\"\":false}",
              &format, NULL),
        TUCK_FORMAT_GOOD);
    assert_int_equal(format.generation, 1);
}

static void ids_may_be_of_either_case(void **state) {
    (void)state;
    struct tuck_format format;
    assert_int_equal(parse("{\"format\":\"tuck\",\"version\":1,\"id\":\"0123456789ABCDEF0123456A\","
                           "\"set\":[\"" id_a "\"],\"placement\":\"CRCMOD\"}",
                           &format, NULL),
                     TUCK_FORMAT_GOOD);
    assert_string_equal(format.members[0].id, id_a);
}

static void what_is_no_format_file_is_damaged(void **state) {
    (void)state;
    static const char *const texts[] = {
        "",
        "{",
        "not json",
        "[]",
        "null",
        "\"tuck\"",
        "{}",
        "{\"format\":\"tuck\"}",
        "{\"format\":5,\"version\":1}",
        "{\"version\":1}",
        "{\"format\":\"tuck\",\"version\":\"1\"}",
        "{\"format\":\"tuck\",\"version\":0}",
        "{\"format\":\"tuck\",\"version\":-1}",
        "{\"format\":\"tuck\",\"version\":1.5}",
        "{\"format\":\"tuck\",\"version\":1}",
        "{\"format\":\"tuck\",\"format\":\"tuck\"}",
    };
    for (size_t i = 0; i < TUCK_ARRAY_LEN(texts); i++)
        assert_state(texts[i], TUCK_FORMAT_DAMAGED);
}

// One part of version_2 replaced by another.
static const char *with(const char *part, const char *other) {
    static char text[8000];
    const char *at = strstr(version_2, part);
    assert_non_null(at);
    (void)snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - version_2), version_2, other,
                   at + strlen(part));
    return text;
}

static void fields_of_the_wrong_kind_are_damage(void **state) {
    (void)state;
    static const char *const changes[][2] = {
        {"\"id\":\"" id_b "\"", "\"id\":7"},
        {"\"id\":\"" id_b "\"", "\"id\":\"0123456789abcdef0123456\""},
        {"\"id\":\"" id_b "\"", "\"id\":\"0123456789abcdef0123456bb\""},
        {"\"id\":\"" id_b "\"", "\"id\":\"0123456789abcdef0123456g\""},
        {"\"id\":\"" id_b "\"", "\"id\":\"" id_c "\""}, // not in the set
        {"\"id\":", "\"id\":\"" id_b "\",\"id\":"},     // the key twice
        {"\"set\":[", "\"set\":[5,"},
        {"\"set\":[", "\"set\":[\"short\","},
        {"\"set\":[", "\"set\":[\"" id_b "\","}, // twice
        {"\"set\":[", "\"set\":[\"0123456789ABCDEF0123456A\","},
        {"\"set\":", "\"set\":{\"a\":[]},\"was\":"},
        {"\"set\":", "\"set\":[],\"was\":"},
        {"\"set\":", "\"was\":"},
        {"\"RENDEZVOUS\"", "1"},
        {"\"placement\":", "\"was\":"},
        {"\"generation\":7", "\"generation\":0"},
        {"\"generation\":7", "\"generation\":-7"},
        {"\"generation\":7", "\"generation\":7.0"},
        {"\"generation\":7", "\"generation\":\"7\""},
        {"\"generation\":7", "\"generation\":18446744073709551616"},
        {"\"generation\":7", "\"g\":7"},
        {"[null,", "["},
        {"[null,", "[null,null,"},
        {"[null,", "[false,"},
        {"[null,\"/mnt/b\"]", "{}"},
        {"[null,\"/mnt/b\"]", "null"},
        {"}", "} {}"},
    };
    for (size_t i = 0; i < TUCK_ARRAY_LEN(changes); i++)
        assert_state(with(changes[i][0], changes[i][1]), TUCK_FORMAT_DAMAGED);
}

static void a_set_of_more_drives_than_can_be_named_is_damage(void **state) {
    (void)state;
    for (unsigned count = 64; count <= 65; count++) {
        char text[4000];
        struct tuck_format format;
        size_t len = (size_t)snprintf(text, sizeof(text),
                                      "{\"format\":\"tuck\",\"version\":2,\"generation\":1,"
                                      "\"placement\":\"CRCMOD\",\"id\":\"%024x\",\"set\":[",
                                      0);
        for (unsigned i = 0; i < count; i++)
            len += (size_t)snprintf(text + len, sizeof(text) - len, "%s\"%024x\"", i ? "," : "", i);
        (void)snprintf(text + len, sizeof(text) - len, "]}");
        assert_int_equal(parse(text, &format, NULL),
                         count > 64 ? TUCK_FORMAT_DAMAGED : TUCK_FORMAT_GOOD);
    }
}

static void a_text_without_end_is_damage(void **state) {
    (void)state;
    struct tuck_format format;
    const size_t len = 3000000;
    char *text = malloc(len);
    assert_non_null(text);
    memset(text, ' ', len);
    memcpy(text, version_2, strlen(version_2));
    assert_int_equal(tuck_format_parse(text, 1000000, &format, NULL), TUCK_FORMAT_GOOD);
    assert_int_equal(tuck_format_parse(text, len, &format, NULL), TUCK_FORMAT_DAMAGED);
    free(text);
}

static void what_cannot_be_a_mount_point_is_not_recorded(void **state) {
    (void)state;
    char path[TUCK_FORMAT_MOUNT + 1], other[sizeof(path) + 2];
    memset(path, 'x', sizeof(path));
    path[0] = '/';
    for (size_t len = sizeof(path) - 2; len < sizeof(path); len++) {
        struct tuck_format format;
        path[len] = '\0';
        (void)snprintf(other, sizeof(other), "\"%s\"", path);
        assert_int_equal(parse(with("\"/mnt/b\"", other), &format, NULL), TUCK_FORMAT_GOOD);
        assert_string_equal(format.members[1].mount, len < TUCK_FORMAT_MOUNT ? path : "");
        path[len] = 'x';
    }
    struct tuck_format format;
    assert_int_equal(parse(with("\"/mnt/b\"", "\"mnt\""), &format, NULL), TUCK_FORMAT_GOOD);
    assert_string_equal(format.members[1].mount, "");
}

static void what_others_made_is_foreign(void **state) {
    (void)state;
    assert_state("{\"version\":\"1\",\"format\":\"cache\",\"cache\":{\"version\":\"2\"}}",
                 TUCK_FORMAT_FOREIGN);
    assert_state(with("\"tuck\"", "\"tuck2\""), TUCK_FORMAT_FOREIGN);
    assert_state(with("\"tuck\",\"version\":2", "\"\",\"version\":99"), TUCK_FORMAT_FOREIGN);
    struct tuck_error err = {0};
    struct tuck_format format;
    assert_int_equal(parse(with("\"tuck\"", "\"a\\nb\""), &format, &err), TUCK_FORMAT_FOREIGN);
    assert_non_null(strstr(err.text, "'a?b'"));
}

static void what_a_newer_tuck_made_is_newer(void **state) {
    (void)state;
    assert_state(with("\"version\":2", "\"version\":3"), TUCK_FORMAT_NEWER);
    assert_state("{\"version\":99999999999,\"format\":\"tuck\",\"unknown\":[1,2,{}]}",
                 TUCK_FORMAT_NEWER);
    assert_state("{\"version\":9223372036854775807}", TUCK_FORMAT_NEWER);
    assert_state(with("RENDEZVOUS", "KETAMA"), TUCK_FORMAT_NEWER); // a placement to come
}

static void no_part_of_a_format_file_is_one(void **state) {
    (void)state;
    struct tuck_format format;
    for (size_t len = 0; len < strlen(version_2); len++)
        assert_int_equal(tuck_format_parse(version_2, len, &format, NULL), TUCK_FORMAT_DAMAGED);
    char text[sizeof(version_2)];
    memcpy(text, version_2, sizeof(text));
    text[40] = '\0';
    assert_int_equal(tuck_format_parse(text, strlen(version_2), &format, NULL),
                     TUCK_FORMAT_DAMAGED);
}

static void assert_same(const struct tuck_format *a, const struct tuck_format *b) {
    assert_int_equal(a->generation, b->generation);
    assert_int_equal(a->placement, b->placement);
    assert_int_equal(a->self, b->self);
    assert_int_equal(a->count, b->count);
    for (size_t i = 0; i < a->count; i++) {
        assert_string_equal(a->members[i].id, b->members[i].id);
        assert_string_equal(a->members[i].mount, b->members[i].mount);
    }
}

static void what_is_written_reads_the_same(void **state) {
    (void)state;
    struct unit_random random = unit_random_of(__func__);
    for (int round = 0; round < 300; round++) {
        struct tuck_format format = {
            .generation = 1 + (unit_random_next(&random) >> 1 >> unit_random_below(&random, 63)),
            .placement = unit_random_below(&random, 2) ? TUCK_RENDEZVOUS : TUCK_CRCMOD,
            .count = 1 + unit_random_below(&random, unit_random_below(&random, 2) ? 3 : 64),
        };
        if (format.generation > INT64_MAX)
            format.generation = INT64_MAX;
        format.self = unit_random_below(&random, format.count);
        for (size_t i = 0; i < format.count; i++) {
            tuck_random_name(format.members[i].id);
            if (unit_random_below(&random, 3) == 0)
                (void)snprintf(format.members[i].mount, TUCK_FORMAT_MOUNT,
                               "/mnt/\"\\\n\xc3\xa9 %zu", i);
        }
        struct tuck_format again;
        char *text = write_format(&format);
        assert_int_equal(parse(text, &again, NULL), TUCK_FORMAT_GOOD);
        assert_same(&again, &format);
        assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1); // one line
        free(text);
    }
}

static void a_single_drive_is_written_as_older_ones_read_it(void **state) {
    (void)state;
    struct tuck_format format = {.generation = 1, .count = 1, .members = {{.id = id_a}}};
    char *text = write_format(&format);
    assert_string_equal(text, "{\"format\": \"tuck\", \"version\": 1, \"id\": \"" id_a
                              "\", \"set\": [\"" id_a "\"], \"placement\": \"CRCMOD\"}\n");
    free(text);
    format.generation = 2;
    text = write_format(&format);
    assert_non_null(strstr(text, "\"version\": 2"));
    assert_null(strstr(text, "mounts"));
    free(text);
    format.generation = 1;
    (void)snprintf(format.members[0].mount, TUCK_FORMAT_MOUNT, "/mnt");
    text = write_format(&format);
    assert_non_null(strstr(text, "\"version\": 2"));
    assert_non_null(strstr(text, "\"/mnt\""));
    free(text);
}

static void a_mount_point_that_is_no_utf_8_is_not_recorded(void **state) {
    (void)state;
    static const uint8_t edges[] = {0x00, 0x01, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf,
                                    0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee,
                                    0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff};
    const size_t count = TUCK_ARRAY_LEN(edges);
    unsigned recorded = 0;
    for (size_t i = 0; i < count * count * count * count; i++) {
        struct tuck_format format = {.generation = 1,
                                     .count = 1,
                                     .members = {{.id = id_a, .mount = "/"}}},
                           again;
        size_t number = i;
        for (size_t at = 1; at <= 4; at++, number /= count)
            format.members[0].mount[at] = (char)edges[number % count];
        json_t *known = json_string(format.members[0].mount); // jansson as the judge
        if (i % (known ? 7 : 61) != 0) {                      // there are many
            json_decref(known);
            continue;
        }
        char *text = write_format(&format);
        assert_int_equal(parse(text, &again, NULL), TUCK_FORMAT_GOOD);
        assert_string_equal(again.members[0].mount, known ? format.members[0].mount : "");
        recorded += known != NULL;
        json_decref(known);
        free(text);
    }
    assert_true(recorded > 300);
}

static size_t failing;  // which of the next allocations fails, from 1; 0: none
static bool is_lasting; // and all behind it
static unsigned failures;
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

void *__wrap_malloc(size_t size) {
    if (failing > 1)
        failing--;
    else if (failing == 1) {
        failing = is_lasting;
        failures++;
        return NULL;
    }
    return __real_malloc(size);
}

static void without_memory_a_good_text_is_not_taken_for_damaged(void **state) {
    (void)state;
    struct tuck_format format;
    failing = 1;
    int status = parse(version_2, &format, NULL);
    failing = 0;
    assert_int_equal(status, TUCK_ENOMEM);
}

static void every_allocation_that_fails_in_writing_is_reported(void **state) {
    (void)state;
    struct tuck_format format;
    assert_int_equal(parse(version_2, &format, NULL), TUCK_FORMAT_GOOD);
    json_set_alloc_funcs(__wrap_malloc, free); // also where it is a shared library
    for (int lasting = 0; lasting <= 1; lasting++) {
        size_t number = 0;
        for (;; number++) {
            char *text = NULL;
            struct tuck_error err = {0};
            is_lasting = lasting;
            failing = number + 1;
            failures = 0;
            int status = tuck_format_write(&format, &text, &err);
            failing = 0;
            assert_int_equal(status, failures > 0 ? TUCK_ENOMEM : 0);
            assert_int_equal(err.code, status);
            assert_int_equal(text != NULL, failures == 0);
            free(text);
            if (failures == 0)
                break;
        }
        assert_true(number > 10);
    }
    json_set_alloc_funcs(malloc, free);
}

// --- Judging -------------------------------------------------------------------------------------

struct list {
    size_t count;
    char paths[TUCK_DRIVES_MAX][8];
    struct tuck_format formats[TUCK_DRIVES_MAX];
    struct tuck_format_found found[TUCK_DRIVES_MAX];
};

static void id_of_letter(char letter, char ret_id[TUCK_FORMAT_ID + 1]) {
    (void)snprintf(ret_id, TUCK_FORMAT_ID + 1, "%024x", (unsigned)(uint8_t)letter);
}

static struct tuck_format read_drive(const char *word) {
    struct tuck_format format = {0};
    char *set, id[TUCK_FORMAT_ID + 1];
    format.generation = strtoull(word + 1, &set, 10);
    assert_int_equal(*set, ':');
    id_of_letter(word[0], id);
    format.self = SIZE_MAX;
    for (set++; isupper((uint8_t)*set); set++) {
        id_of_letter(*set, format.members[format.count].id);
        if (strcmp(format.members[format.count].id, id) == 0)
            format.self = format.count;
        format.count++;
    }
    assert_true(format.self < format.count); // else it would be damaged
    return format;
}

static void read_list(const char *text, struct list *ret_list) {
    static const char letters[] = "gdfn-mu"; // in the order of enum tuck_format_state
    memset(ret_list, 0, sizeof(*ret_list));
    for (; *text; text += *text == ' ') {
        size_t place = ret_list->count++;
        struct tuck_format_found *found = &ret_list->found[place];
        (void)snprintf(ret_list->paths[place], sizeof(ret_list->paths[place]), "/d%zu", place + 1);
        found->path = ret_list->paths[place];
        if (isupper((uint8_t)*text)) {
            ret_list->formats[place] = read_drive(text);
            found->format = &ret_list->formats[place];
        } else {
            assert_non_null(strchr(letters, *text));
            found->state = (enum tuck_format_state)(strchr(letters, *text) - letters);
        }
        text += strcspn(text, " !");
        found->is_unmounted = *text == '!';
        text += *text == '!';
    }
}

static unsigned new_ids;

static void make_id(char ret_id[static TUCK_FORMAT_ID + 1]) {
    (void)snprintf(ret_id, TUCK_FORMAT_ID + 1, "%024x", 0xf000 + new_ids++);
}

static struct tuck_format_judgement judgement; // of the last list

// The judgements in one string.
static const char *verdicts(size_t count) {
    static char text[64 * 4 + 1];
    size_t len = 0;
    for (size_t i = 0; i < count; i++) {
        const struct tuck_format_judged *judged = &judgement.places[i];
        if (i > 0)
            text[len++] = ' ';
        text[len++] = "UHCOR"[judged->verdict];
        if (judged->member != TUCK_FORMAT_NO_MEMBER)
            len += (size_t)snprintf(text + len, 4, "%zu", judged->member);
    }
    text[len] = '\0';
    return text;
}

static int judge(const char *text, size_t *ret_count, struct tuck_error *err) {
    struct list *list = calloc(1, sizeof(*list));
    assert_non_null(list);
    read_list(text, list);
    *ret_count = list->count;
    int status =
        tuck_format_judge(list->found, list->count, TUCK_RENDEZVOUS, make_id, &judgement, err);
    free(list);
    return status;
}

static void assert_judged(const char *list, const char *expected) {
    size_t count;
    struct tuck_error err = {0};
    if (judge(list, &count, &err) != 0)
        fail_msg("'%s' is refused: %s", list, err.text);
    assert_string_equal(verdicts(count), expected);
    assert_int_equal(judgement.set.count, count);
    assert_true(judgement.set.self == TUCK_FORMAT_NO_MEMBER);
    assert_int_equal(err.code, 0);
}

// Refused, with a text that has both words in it.
static void assert_refused(const char *list, const char *expected, const char *drive,
                           const char *remedy) {
    size_t count;
    struct tuck_error err = {0};
    assert_int_equal(judge(list, &count, &err), TUCK_FORMAT_REFUSED);
    assert_string_equal(verdicts(count), expected);
    if (!strstr(err.text, drive) || !strstr(err.text, remedy))
        fail_msg("'%s' and '%s' are not both in: %s", drive, remedy, err.text);
    assert_true(strlen(err.text) < sizeof(err.text) - 1); // nothing of it was cut off
    for (size_t i = 0; i < count; i++) {
        bool is_left = judgement.places[i].verdict >= TUCK_FORMAT_HOLE;
        assert_true(!is_left || judgement.places[i].why.text[0] != '\0'); // never without a reason
    }
    assert_int_equal(judge(list, &count, NULL), TUCK_FORMAT_REFUSED);
}

#define eight        "ABCDEFGH"
#define upto_d       "A1:" eight " B1:" eight " C1:" eight " D1:" eight
#define eight_drives upto_d " E1:" eight " F1:" eight " G1:" eight " H1:" eight

static void a_set_of_eight_whose_drives_agree_is_used(void **state) {
    (void)state;
    assert_judged(eight_drives, "U0 U1 U2 U3 U4 U5 U6 U7");
    assert_int_equal(judgement.set.generation, 1);
    assert_judged("A1:A", "U0");
    assert_judged("A9:AB B9:AB", "U0 U1");
    assert_int_equal(judgement.set.generation, 9);
}

static void where_nothing_is_a_new_set_is_made(void **state) {
    (void)state;
    new_ids = 0;
    assert_judged("- m -", "C0 C1 C2");
    assert_int_equal(judgement.set.generation, 1);
    assert_int_equal(judgement.set.placement, TUCK_RENDEZVOUS); // as it was asked for
    assert_string_equal(judgement.set.members[0].id, "00000000000000000000f000");
    assert_string_equal(judgement.set.members[2].id, "00000000000000000000f002");
    assert_int_equal(new_ids, 3);
    assert_judged("m", "C0");
    assert_judged("d", "C0");
    assert_judged("d - m", "C0 C1 C2");
}

static void no_set_is_begun_while_one_of_its_drives_cannot_be_seen(void **state) {
    (void)state;
    new_ids = 0;
    assert_refused("- u", "O O", "'/d2' cannot be reached", "bring it back");
    assert_refused("u u", "O O", "'/d1' cannot be reached", "bring it back");
    assert_refused("- -! -", "O O O", "'/d2' is not mounted", "bring it back");
    assert_refused("u f", "O R", "'/d2'", "empty or absent");
    assert_refused("- n", "O R", "'/d2'", "newer");
    assert_int_equal(judgement.set.count, 0);
    assert_int_equal(new_ids, 0);
}

static void a_drive_of_a_newer_tuck_is_refused(void **state) {
    (void)state;
    assert_refused(upto_d " E1:" eight " n G1:" eight " H1:" eight, "U0 U1 U2 U3 U4 R U6 U7",
                   "'/d6'", "newer tuck");
    assert_refused("n", "R", "'/d1'", "newer tuck");
}

static void a_drive_of_something_else_is_refused_and_the_others_may_be_used(void **state) {
    (void)state;
    assert_refused(upto_d " f F1:" eight " G1:" eight " H1:" eight, "U0 U1 U2 U3 R U5 U6 U7",
                   "'/d5'", "empty or absent");
    assert_refused("f -", "R O", "'/d1'", "empty or absent");
    assert_refused("A1:AB f -", "U0 R R", "'/d2'", "empty or absent"); // also one too many
}

static void ids_for_seven_of_eight_are_refused(void **state) {
    (void)state;
    // The eighth is not in its own list, and so damaged.
    assert_refused("A1:ABCDEFG B1:ABCDEFG C1:ABCDEFG D1:ABCDEFG E1:ABCDEFG F1:ABCDEFG G1:ABCDEFG d",
                   "U0 U1 U2 U3 U4 U5 U6 R", "'/d8' is one more than the 7", "`tuck drive add`");
}

static void lists_that_differ_are_refused(void **state) {
    (void)state;
    assert_refused(upto_d " E1:" eight " F1:ABCDXFGH G1:" eight " H1:ABCDXFGH",
                   "U0 U1 U2 U3 U4 R U6 R", "'/d6'", "empty it");
    // Two of the ids exchanged in one of the lists. Most have it right, also where the first has not.
    assert_refused("A1:ABC B1:ABC C1:ACB", "U0 U1 R", "'/d3'", "empty it");
    assert_refused("A1:ACB B1:ABC C1:ABC", "R U1 U2", "'/d1'", "empty it");
    assert_refused("A1:AB B1:BA", "U0 R", "'/d2'", "empty it");
    assert_refused("A1:A B1:AB", "U0 R", "'/d2'", "empty it");
}

static void a_drive_whose_id_is_of_no_place_is_refused(void **state) {
    (void)state;
    assert_refused(upto_d " X1:ABCDXFGH F1:" eight " G1:" eight " H1:" eight,
                   "U0 U1 U2 U3 R U5 U6 U7", "'/d5'", "take it out of drives");
    assert_refused(upto_d " X1:X F1:" eight " G1:" eight " H1:" eight, "U0 U1 U2 U3 R U5 U6 U7",
                   "'/d5' is of another set", "take it out of drives");
}

static void another_order_is_refused_but_may_be_used(void **state) {
    (void)state;
    assert_refused("A1:ABCD C1:ABCD B1:ABCD D1:ABCD", "U0 U2 U1 U3",
                   "'/d2' is number 3 of its set, but number 2", "in the order of the set");
    assert_refused("B1:AB -", "U1 O", "'/d1' is number 2", "in the order of the set");
    assert_refused("B1:ABC - C1:ABC", "U1 O U2", "'/d1' is number 2", "in the order of the set");
}

static void a_damaged_drive_gets_its_id_back(void **state) {
    (void)state;
    assert_judged(upto_d " d F1:" eight " G1:" eight " H1:" eight, "U0 U1 U2 U3 H4 U5 U6 U7");
    char id[TUCK_FORMAT_ID + 1];
    id_of_letter('E', id);
    assert_string_equal(judgement.set.members[4].id, id);
    assert_judged("d B3:ABC m", "H0 U1 H2");
    assert_judged("- m d u E7:ABCDE", "H0 H1 H2 O3 U4");
    assert_int_equal(judgement.set.generation, 7);
}

static void a_drive_that_cannot_be_reached_keeps_its_place(void **state) {
    (void)state;
    assert_judged("A1:ABC u C1:ABC", "U0 O1 U2");
    assert_non_null(strstr(judgement.places[1].why.text, "'/d2' cannot be reached"));
    assert_judged("u u C1:ABC", "O0 O1 U2");
}

static void a_drive_that_is_not_mounted_is_not_healed(void **state) {
    (void)state;
    assert_judged("A2:ABCD -! m! d!", "U0 O1 O2 O3");
    assert_non_null(strstr(judgement.places[1].why.text, "'/d2' is not mounted"));
    // What lies there all the same is used as it is, but not written to.
    assert_judged("A2:AB B1:AB!", "U0 U1");
    assert_judged("A2:AB B2:AB!", "U0 U1");
}

static void what_is_to_be_healed_has_its_mount_point_with_it(void **state) {
    (void)state;
    struct list *list = calloc(1, sizeof(*list));
    assert_non_null(list);
    read_list("A2:AB -", list);
    (void)snprintf(list->formats[0].members[1].mount, TUCK_FORMAT_MOUNT, "/mnt/b");
    assert_int_equal(tuck_format_judge(list->found, 2, TUCK_CRCMOD, make_id, &judgement, NULL), 0);
    assert_string_equal(verdicts(2), "U0 H1");
    assert_string_equal(judgement.set.members[1].mount, "/mnt/b");
    free(list);
}

static void a_change_that_was_interrupted_is_completed(void **state) {
    (void)state;
    assert_judged("A1:AB B1:AB C2:ABC", "H0 H1 U2"); // C was added
    assert_int_equal(judgement.set.generation, 2);
    assert_judged("A2:AB B1:ABC", "U0 H1"); // C was taken out
    assert_int_equal(judgement.set.count, 2);
    assert_judged("A1:ABC B1:ABC C4:ABC", "H0 H1 U2");
    assert_judged("A1:AB B2:ABC -", "H0 U1 H2"); // C was added, and its disk replaced meanwhile
}

static void more_drives_than_the_set_has_are_to_be_added(void **state) {
    (void)state;
    assert_refused("A1:AB B1:AB -", "U0 U1 R", "'/d3' is one more than the 2", "`tuck drive add`");
    assert_refused("A1:AB - -", "U0 O1 R", "'/d3' is one more than the 2", "`tuck drive add`");
    assert_refused("- A1:AB B1:AB", "R U0 U1", "'/d1' is one more than the 2", "name it last");
    assert_refused("A1:AB B1:AB u m", "U0 U1 R R", "'/d3' is one more than the 2", "leave it out");
    assert_refused("A1:A -", "U0 R", "'/d2' is one more than the 1", "`tuck drive add`");
}

static void fewer_drives_than_the_set_has_are_to_be_named_or_removed(void **state) {
    (void)state;
    char id[TUCK_FORMAT_ID + 1];
    id_of_letter('B', id);
    assert_refused("A1:ABC C1:ABC", "U0 U2", "number 2",
                   "`tuck drive remove 000000000000000000000042`");
    assert_refused("A1:ABC C1:ABC", "U0 U2", "has 3 drives, but drives names 2", id);
    assert_refused("A1:AB", "U0", "'/d1' has 2 drives, but drives names 1", "`tuck drive remove");
    assert_refused("A1:ABCD - C1:ABCD", "U0 R U2", "number 2", "`tuck drive remove");
    assert_refused("C1:ABC u", "U2 R", "number 1", "`tuck drive remove");
    assert_refused("A1:ABC f", "U0 R", "'/d2'", "empty or absent");            // the worse is said
    assert_refused("A2:ABC B1:AB", "U0 U1", "number 3", "`tuck drive remove"); // healed later
}

static void a_drive_that_was_taken_out_is_refused(void **state) {
    (void)state;
    assert_refused("A2:AB B2:AB C1:ABC", "U0 U1 R",
                   "'/d3' is not, or no longer, in the set of '/d1'", "take it out of drives");
    // Also where it is the first: the newest state of its set does not have it.
    assert_refused("A1:AB B9:BC C9:BC", "R U0 U1",
                   "'/d1' is not, or no longer, in the set of '/d2'", "take it out of drives");
    // And by way of another, whose list it does not have in common with the newest.
    assert_refused("A1:AB B2:BC C3:CD D3:CD", "R R U0 U1", "'/d1'", "take it out of drives");
    assert_refused("A1:AB X3:CX B2:BC", "R U1 R", "'/d1'", "take it out of drives");
}

static void of_two_sets_that_of_the_first_drive_may_be_used(void **state) {
    (void)state;
    assert_refused("A1:AB B1:AB X1:XY Y1:XY", "U0 U1 R R", "'/d3' is of another set than '/d1'",
                   "tuck drive add");
    assert_refused("A1:A X9:X", "U0 R", "'/d2' is of another set than '/d1'", "tuck drive add");
    assert_refused("X9:X A1:AB B1:AB", "U0 R R", "'/d2' is of another set than '/d1'",
                   "tuck drive add");
    assert_refused("f X1:XY A1:A", "R U0 R", "'/d1' belongs to something else", "empty or absent");
    assert_refused("- X1:XY A1:AB", "R U0 R", "'/d3' is of another set than '/d2'",
                   "tuck drive add");
}

static void two_drives_of_one_id_are_refused(void **state) {
    (void)state;
    assert_refused("A1:AB A1:AB", "U0 R", "'/d2' is '/d1' by another name, or a copy",
                   "take one of them out");
    assert_refused("A1:ABC B1:ABC A2:ABC", "U0 U1 R", "'/d3' is '/d1'", "take one of them out");
}

static void a_placement_that_differs_is_another_set(void **state) {
    (void)state;
    struct list *list = calloc(1, sizeof(*list));
    struct tuck_error err = {0};
    assert_non_null(list);
    read_list("A1:AB B1:AB", list);
    list->formats[1].placement = TUCK_RENDEZVOUS;
    assert_int_equal(tuck_format_judge(list->found, 2, TUCK_CRCMOD, make_id, &judgement, &err),
                     TUCK_FORMAT_REFUSED);
    assert_non_null(strstr(err.text, "'/d2'"));
    list->formats[0].placement = TUCK_RENDEZVOUS; // what the set has counts, not what is asked for
    assert_int_equal(tuck_format_judge(list->found, 2, TUCK_CRCMOD, make_id, &judgement, &err), 0);
    assert_int_equal(judgement.set.placement, TUCK_RENDEZVOUS);
    free(list);
}

static void reasons_are_given_and_leave_room_for_what_to_do(void **state) {
    (void)state;
    char path[3000], reason[3000];
    memset(path, 'p', sizeof(path) - 1);
    memset(reason, 'r', sizeof(reason) - 1);
    path[sizeof(path) - 1] = reason[sizeof(reason) - 1] = '\0';
    static const enum tuck_format_state states[] = {TUCK_FORMAT_NEWER, TUCK_FORMAT_FOREIGN,
                                                    TUCK_FORMAT_UNREACHABLE};
    static const char *const remedies[] = {"take the drive out", "empty or absent",
                                           "bring it back"};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(states); i++) {
        struct tuck_format_found found = {.path = path, .state = states[i], .reason = reason};
        struct tuck_error err = {0};
        assert_int_equal(tuck_format_judge(&found, 1, TUCK_CRCMOD, make_id, &judgement, &err),
                         TUCK_FORMAT_REFUSED);
        assert_non_null(strstr(err.text, remedies[i]));
        assert_non_null(strstr(err.text, ": rrr"));
        assert_true(strlen(err.text) < sizeof(err.text) - 1);
    }
    // The longest of the texts with two paths in them.
    static const char *const lists[] = {"A1:AB A1:AB", "A2:AB C1:ABC", "A1:AB B1:BA", "A1:A B1:B",
                                        "B1:AB A1:AB", "A1:A -",       "A1:AB",       "- u"};
    struct list *list = calloc(1, sizeof(*list));
    assert_non_null(list);
    for (size_t i = 0; i < TUCK_ARRAY_LEN(lists); i++) {
        struct tuck_error err = {0};
        read_list(lists[i], list);
        for (size_t place = 0; place < list->count; place++) {
            list->found[place].path = path;
            list->found[place].reason = reason;
        }
        assert_int_equal(
            tuck_format_judge(list->found, list->count, TUCK_CRCMOD, make_id, &judgement, &err),
            TUCK_FORMAT_REFUSED);
        assert_true(strlen(err.text) < sizeof(err.text) - 1);
    }
    free(list);
}

// --- From files to a set -------------------------------------------------------------------------

// What a place says after it was dealt with as judged, and what is judged then.
static void assert_settled(struct list *list) {
    assert_int_equal(
        tuck_format_judge(list->found, list->count, TUCK_CRCMOD, make_id, &judgement, NULL), 0);
    for (size_t i = 0; i < list->count; i++) {
        const struct tuck_format_judged *judged = &judgement.places[i];
        if (judged->verdict != TUCK_FORMAT_HEAL && judged->verdict != TUCK_FORMAT_CREATE)
            continue;
        struct tuck_format written = judgement.set;
        written.self = judged->member;
        char *text = write_format(&written);
        assert_int_equal(parse(text, &list->formats[i], NULL), TUCK_FORMAT_GOOD);
        free(text);
        list->found[i].state = TUCK_FORMAT_GOOD;
        list->found[i].format = &list->formats[i];
    }
    assert_int_equal(
        tuck_format_judge(list->found, list->count, TUCK_CRCMOD, make_id, &judgement, NULL), 0);
    for (size_t i = 0; i < list->count; i++) {
        bool is_hole =
            list->found[i].state == TUCK_FORMAT_UNREACHABLE || list->found[i].is_unmounted;
        assert_int_equal(judgement.places[i].verdict, is_hole ? TUCK_FORMAT_HOLE : TUCK_FORMAT_USE);
        assert_int_equal(judgement.places[i].member, i);
    }
}

static void after_healing_there_is_nothing_left_to_heal(void **state) {
    (void)state;
    static const char *const lists[] = {
        "- m d",       "m", "A1:AB B1:AB C2:ABC",     "A5:ABCDE - m d u", "d d C3:ABC",
        "- -! C1:ABC", "d", "A9:ABCD B1:AB C9:ABCD d"};
    struct list *list = calloc(1, sizeof(*list));
    assert_non_null(list);
    for (size_t i = 0; i < TUCK_ARRAY_LEN(lists); i++) {
        read_list(lists[i], list);
        assert_settled(list);
    }
    free(list);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(version_1_is_a_set_of_generation_1),
    cmocka_unit_test(version_2_knows_generation_and_mount_points),
    cmocka_unit_test(keys_that_are_not_known_are_ignored),
    cmocka_unit_test(ids_may_be_of_either_case),
    cmocka_unit_test(what_is_no_format_file_is_damaged),
    cmocka_unit_test(fields_of_the_wrong_kind_are_damage),
    cmocka_unit_test(a_set_of_more_drives_than_can_be_named_is_damage),
    cmocka_unit_test(a_text_without_end_is_damage),
    cmocka_unit_test(what_cannot_be_a_mount_point_is_not_recorded),
    cmocka_unit_test(what_others_made_is_foreign),
    cmocka_unit_test(what_a_newer_tuck_made_is_newer),
    cmocka_unit_test(no_part_of_a_format_file_is_one),
    cmocka_unit_test(what_is_written_reads_the_same),
    cmocka_unit_test(a_single_drive_is_written_as_older_ones_read_it),
    cmocka_unit_test(a_mount_point_that_is_no_utf_8_is_not_recorded),
    cmocka_unit_test(without_memory_a_good_text_is_not_taken_for_damaged),
    cmocka_unit_test(every_allocation_that_fails_in_writing_is_reported),
    cmocka_unit_test(a_set_of_eight_whose_drives_agree_is_used),
    cmocka_unit_test(where_nothing_is_a_new_set_is_made),
    cmocka_unit_test(no_set_is_begun_while_one_of_its_drives_cannot_be_seen),
    cmocka_unit_test(a_drive_of_a_newer_tuck_is_refused),
    cmocka_unit_test(a_drive_of_something_else_is_refused_and_the_others_may_be_used),
    cmocka_unit_test(ids_for_seven_of_eight_are_refused),
    cmocka_unit_test(lists_that_differ_are_refused),
    cmocka_unit_test(a_drive_whose_id_is_of_no_place_is_refused),
    cmocka_unit_test(another_order_is_refused_but_may_be_used),
    cmocka_unit_test(a_damaged_drive_gets_its_id_back),
    cmocka_unit_test(a_drive_that_cannot_be_reached_keeps_its_place),
    cmocka_unit_test(a_drive_that_is_not_mounted_is_not_healed),
    cmocka_unit_test(what_is_to_be_healed_has_its_mount_point_with_it),
    cmocka_unit_test(a_change_that_was_interrupted_is_completed),
    cmocka_unit_test(more_drives_than_the_set_has_are_to_be_added),
    cmocka_unit_test(fewer_drives_than_the_set_has_are_to_be_named_or_removed),
    cmocka_unit_test(a_drive_that_was_taken_out_is_refused),
    cmocka_unit_test(of_two_sets_that_of_the_first_drive_may_be_used),
    cmocka_unit_test(two_drives_of_one_id_are_refused),
    cmocka_unit_test(a_placement_that_differs_is_another_set),
    cmocka_unit_test(reasons_are_given_and_leave_room_for_what_to_do),
    cmocka_unit_test(after_healing_there_is_nothing_left_to_heal),
};

UNIT_MAIN(tests)

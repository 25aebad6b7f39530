// SPDX-License-Identifier: MIT
/*
 * Format files, each alone and all of a list together. The input is the files of the places, with a line `%%` between
 * two. A place whose text is one of the words blank, missing, unreachable has no file; a `!` as the first byte says
 * that its mount point is not mounted.
 *
 * Whatever a file holds, it is no good one or what was understood reads the same when written again. Whatever the
 * files of a list hold, drives that are used are members of the one set in force, each another; nothing is written
 * where the list is refused, which comes with a reason in one line; and where it is not, doing what was judged leaves
 * nothing more to do.
 */
#include "tests/fuzz/fuzz.h"
#include "lib/store/format.h"

#include <ctype.h>

struct place {
    char path[16];
    struct tuck_format format;
    struct tuck_error why;
};

static struct place places[TUCK_DRIVES_MAX];
static struct tuck_format_found found[TUCK_DRIVES_MAX];
static struct tuck_format_judgement judgement;
static unsigned new_ids;

static void make_id(char ret_id[static TUCK_FORMAT_ID + 1]) {
    (void)snprintf(ret_id, TUCK_FORMAT_ID + 1, "%024x", ++new_ids);
}

// --- One file ------------------------------------------------------------------------------------

static void check_reason(const struct tuck_error *why) {
    fuzz_check(why->text[0], "no reason");
    for (const char *c = why->text; *c; c++)
        fuzz_check(!iscntrl((uint8_t)*c), "not one line: %s", why->text);
}

static void check_format(const struct tuck_format *format) {
    fuzz_check(format->generation >= 1 && format->generation <= INT64_MAX, "generation %llu",
               (unsigned long long)format->generation);
    fuzz_check(format->count >= 1 && format->count <= TUCK_DRIVES_MAX &&
                   format->self < format->count,
               "drive %zu of %zu", format->self, format->count);
    fuzz_check(format->placement == TUCK_CRCMOD || format->placement == TUCK_RENDEZVOUS,
               "placement %d", (int)format->placement);
    for (size_t i = 0; i < format->count; i++) {
        const struct tuck_format_member *member = &format->members[i];
        fuzz_check(strspn(member->id, "0123456789abcdef") == TUCK_FORMAT_ID &&
                       !member->id[TUCK_FORMAT_ID],
                   "id '%.24s'", member->id);
        fuzz_check(memchr(member->mount, '\0', sizeof(member->mount)), "a mount point without end");
        fuzz_check(!member->mount[0] || member->mount[0] == '/', "mount point '%s'", member->mount);
        for (size_t other = 0; other < i; other++)
            fuzz_check(strcmp(member->id, format->members[other].id) != 0, "id '%s' twice",
                       member->id);
    }
}

// Writes it and reads it back, which must give the same; into *ret_again.
static void read_again(const struct tuck_format *format, struct tuck_format *ret_again) {
    char *text = NULL;
    struct tuck_format again;
    fuzz_check(tuck_format_write(format, &text, NULL) == 0, "cannot be written");
    int state = tuck_format_parse(text, strlen(text), &again, NULL);
    fuzz_check(state == TUCK_FORMAT_GOOD, "state %d: %s", state, text);
    fuzz_check(again.generation == format->generation && again.placement == format->placement &&
                   again.self == format->self && again.count == format->count,
               "not the same: %s", text);
    for (size_t i = 0; i < again.count; i++)
        fuzz_check(strcmp(again.members[i].id, format->members[i].id) == 0 &&
                       strcmp(again.members[i].mount, format->members[i].mount) == 0,
                   "not the same: %s", text);
    free(text);
    *ret_again = again;
}

static void read_place(const char *text, size_t len, size_t place) {
    static const char *const words[] = {"blank", "missing", "unreachable"};
    struct place *here = &places[place];
    struct tuck_format_found *it = &found[place];
    *it = (struct tuck_format_found){.path = here->path, .is_unmounted = len > 0 && text[0] == '!'};
    (void)snprintf(here->path, sizeof(here->path), "/d%zu", place);
    memset(&here->format, 0xa5, sizeof(here->format)); // nothing may be taken for granted
    text += it->is_unmounted;
    len -= it->is_unmounted;
    for (size_t i = 0; i < TUCK_ARRAY_LEN(words); i++)
        if (len == strlen(words[i]) && memcmp(text, words[i], len) == 0) {
            it->state = (enum tuck_format_state)(TUCK_FORMAT_BLANK + i);
            return;
        }
    here->why = (struct tuck_error){0};
    int state = tuck_format_parse(text, len, &here->format, &here->why);
    fuzz_check(state >= TUCK_FORMAT_GOOD && state <= TUCK_FORMAT_NEWER, "state %d", state);
    it->state = (enum tuck_format_state)state;
    if (state == TUCK_FORMAT_GOOD) {
        struct tuck_format again;
        check_format(&here->format);
        read_again(&here->format, &again);
        it->format = &here->format;
    } else {
        check_reason(&here->why);
        it->reason = here->why.text;
    }
}

// --- All of them ---------------------------------------------------------------------------------

// A drive that is used is what the set says of its place.
static void check_used(size_t place) {
    const struct tuck_format_judged *judged = &judgement.places[place];
    const struct tuck_format *format = found[place].format;
    fuzz_check(found[place].state == TUCK_FORMAT_GOOD && judged->member < judgement.set.count,
               "place %zu: member %zu", place, judged->member);
    fuzz_check(strcmp(format->members[format->self].id, judgement.set.members[judged->member].id) ==
                   0,
               "place %zu is not member %zu", place, judged->member);
    fuzz_check(format->generation <= judgement.set.generation, "place %zu is newer than its set",
               place);
}

static void check_places(size_t count, bool is_refused) {
    bool is_taken[TUCK_DRIVES_MAX] = {false};
    for (size_t i = 0; i < count; i++) {
        const struct tuck_format_judged *judged = &judgement.places[i];
        bool is_good = found[i].state == TUCK_FORMAT_GOOD;
        switch (judged->verdict) {
        case TUCK_FORMAT_USE:
            check_used(i);
            break;
        case TUCK_FORMAT_HEAL:
        case TUCK_FORMAT_CREATE:
            fuzz_check(!is_refused && !found[i].is_unmounted, "place %zu is to be written", i);
            fuzz_check(found[i].state != TUCK_FORMAT_NEWER &&
                           found[i].state != TUCK_FORMAT_FOREIGN &&
                           found[i].state != TUCK_FORMAT_UNREACHABLE,
                       "place %zu is to be written", i);
            fuzz_check(!is_good || judged->verdict == TUCK_FORMAT_HEAL, "place %zu is made anew",
                       i);
            break;
        default:
            check_reason(&judged->why);
            fuzz_check(is_refused || judged->verdict == TUCK_FORMAT_HOLE,
                       "place %zu is refused alone", i);
            fuzz_check(is_refused || !is_good, "place %zu is a hole", i);
        }
        fuzz_check(judged->verdict != TUCK_FORMAT_REFUSE || judged->member == TUCK_FORMAT_NO_MEMBER,
                   "place %zu is refused and a member", i);
        if (judged->member != TUCK_FORMAT_NO_MEMBER) {
            fuzz_check(judged->member < judgement.set.count && !is_taken[judged->member],
                       "member %zu twice", judged->member);
            is_taken[judged->member] = true;
        }
        fuzz_check(is_refused || judged->member == i, "place %zu is member %zu", i, judged->member);
    }
}

static int judge(size_t count) {
    struct tuck_error err = {0};
    memset(&judgement, 0xa5, sizeof(judgement));
    int status = tuck_format_judge(found, count, TUCK_CRCMOD, make_id, &judgement, &err);
    fuzz_check(status == 0 || status == TUCK_FORMAT_REFUSED, "status %d", status);
    check_places(count, status != 0);
    if (status != 0) {
        check_reason(&err);
        fuzz_check(strstr(err.text, "drive"), "no drive is named: %s", err.text);
        return status;
    }
    fuzz_check(judgement.set.count == count, "%zu places, %zu members", count, judgement.set.count);
    struct tuck_format set = judgement.set;
    fuzz_check(set.self == TUCK_FORMAT_NO_MEMBER, "the set is that of drive %zu", set.self);
    set.self = 0;
    check_format(&set);
    return 0;
}

static void settle(size_t count) {
    for (size_t i = 0; i < count; i++) {
        enum tuck_format_verdict verdict = judgement.places[i].verdict;
        if (verdict != TUCK_FORMAT_HEAL && verdict != TUCK_FORMAT_CREATE)
            continue;
        struct tuck_format written = judgement.set;
        written.self = judgement.places[i].member;
        read_again(&written, &places[i].format);
        found[i].state = TUCK_FORMAT_GOOD;
        found[i].format = &places[i].format;
    }
    fuzz_check(judge(count) == 0, "what was judged is refused when it is done");
    for (size_t i = 0; i < count; i++)
        fuzz_check(judgement.places[i].verdict == TUCK_FORMAT_USE ||
                       judgement.places[i].verdict == TUCK_FORMAT_HOLE,
                   "place %zu is still to be written", i);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *at = size > 0 ? (const char *)data : "", *end = at + size;
    size_t count = 0;
    new_ids = 0;
    while (count < TUCK_DRIVES_MAX) {
        const char *mark = memmem(at, (size_t)(end - at), "\n%%\n", 4);
        const char *from = at;
        at = mark ? mark + 4 : end;
        read_place(from, (size_t)((mark ? mark : end) - from), count++);
        if (!mark)
            break;
    }
    if (judge(count) == 0)
        settle(count);
    return 0;
}

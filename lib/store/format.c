// SPDX-License-Identifier: MIT
#include "lib/store/format.h"
#include "lib/base/id.h"

#include <jansson.h>

#define TEXT_MAX 1048576 // of a file; what tuck writes has a tenth of that at the very most

// --- Reading -------------------------------------------------------------------------------------

static int damaged(struct tuck_error *err, const char *what) {
    (void)tuck_fail(err, TUCK_ECORRUPT, "tuck.json is damaged: %s", what);
    return TUCK_FORMAT_DAMAGED;
}

// Lower-case, whatever case it was written in: ids are compared as texts. False if it is no id.
static bool read_id(json_t *json, char ret_id[TUCK_FORMAT_ID + 1]) {
    uint8_t bytes[TUCK_FORMAT_ID / 2];
    const char *text = json_string_value(json);
    if (!text || json_string_length(json) != TUCK_FORMAT_ID ||
        !tuck_unhex(bytes, text, sizeof(bytes)))
        return false;
    tuck_hex(ret_id, bytes, sizeof(bytes));
    ret_id[TUCK_FORMAT_ID] = '\0';
    return true;
}

static size_t find_member(const struct tuck_format *set, const char *id) {
    for (size_t i = 0; i < set->count; i++)
        if (strcmp(set->members[i].id, id) == 0)
            return i;
    return TUCK_FORMAT_NO_MEMBER;
}

static int read_set(json_t *json, struct tuck_format *format, struct tuck_error *err) {
    size_t count = json_array_size(json); // 0 also of what is no array
    if (count == 0 || count > TUCK_DRIVES_MAX)
        return damaged(err, "its set is not a list of 1 to 64 drives");
    for (; format->count < count; format->count++) {
        struct tuck_format_member *member = &format->members[format->count];
        if (!read_id(json_array_get(json, format->count), member->id))
            return damaged(err, "an id in its set is not 24 hexadecimal digits");
        if (find_member(format, member->id) != TUCK_FORMAT_NO_MEMBER)
            return damaged(err, "an id is in its set twice");
    }
    return 0;
}

// What cannot be a mount point of ours is no damage: there is just none known.
static int read_mounts(json_t *json, struct tuck_format *format, struct tuck_error *err) {
    if (!json)
        return 0;
    if (!json_is_array(json) || json_array_size(json) != format->count)
        return damaged(err, "its mounts are not a list as long as its set");
    for (size_t i = 0; i < format->count; i++) {
        json_t *mount = json_array_get(json, i);
        if (!json_is_string(mount) && !json_is_null(mount))
            return damaged(err, "one of its mounts is no text");
        if (json_is_string(mount) && json_string_value(mount)[0] == '/' &&
            json_string_length(mount) < TUCK_FORMAT_MOUNT)
            memcpy(format->members[i].mount, json_string_value(mount),
                   json_string_length(mount) + 1);
    }
    return 0;
}

static int read_fields(json_t *json, int version, struct tuck_format *format,
                       struct tuck_error *err) {
    char id[TUCK_FORMAT_ID + 1];
    if (!read_id(json_object_get(json, "id"), id))
        return damaged(err, "its id is not 24 hexadecimal digits");
    int status = read_set(json_object_get(json, "set"), format, err);
    if (status != 0)
        return status;
    format->self = find_member(format, id);
    if (format->self == TUCK_FORMAT_NO_MEMBER)
        return damaged(err, "its id is not in its set");
    const char *placement = json_string_value(json_object_get(json, "placement"));
    if (!placement)
        return damaged(err, "its placement is no text");
    if (!tuck_place_named(placement, &format->placement)) {
        char shown[TUCK_DRIVES_SHOWN];
        (void)tuck_fail(err, TUCK_EINVAL,
                        "tuck.json has the placement '%s', this tuck knows CRCMOD and RENDEZVOUS",
                        tuck_drives__show(placement, strlen(placement), shown));
        return TUCK_FORMAT_NEWER;
    }
    format->generation = 1;
    if (version < 2)
        return 0;
    json_int_t generation = json_integer_value(json_object_get(json, "generation"));
    if (generation < 1) // 0 also of what is no integer
        return damaged(err, "its generation is not a number from 1");
    format->generation = (uint64_t)generation;
    return read_mounts(json_object_get(json, "mounts"), format, err);
}

static int read_object(json_t *json, struct tuck_format *format, struct tuck_error *err) {
    json_t *version = json_object_get(json, "version"), *tag = json_object_get(json, "format");
    const char *name = json_string_value(tag);
    char shown[TUCK_DRIVES_SHOWN];
    if (name && strcmp(name, "tuck") != 0) {
        (void)tuck_fail(err, TUCK_EINVAL, "tuck.json is of the format '%s'",
                        tuck_drives__show(name, strlen(name), shown));
        return TUCK_FORMAT_FOREIGN;
    }
    if (json_integer_value(version) > TUCK_FORMAT_VERSION) {
        (void)tuck_fail(err, TUCK_EINVAL, "tuck.json is of version %lld, this tuck knows %d",
                        (long long)json_integer_value(version), TUCK_FORMAT_VERSION);
        return TUCK_FORMAT_NEWER;
    }
    if (!name)
        return damaged(err, "it does not say of which format it is");
    if (json_integer_value(version) < 1)
        return damaged(err, "its version is not a number from 1");
    return read_fields(json, (int)json_integer_value(version), format, err);
}

int tuck_format_parse(const char *text, size_t len, struct tuck_format *ret_format,
                      struct tuck_error *err) {
    if (len > TEXT_MAX)
        return damaged(err, "it is longer than any that tuck writes");
    // jansson reports most failed allocations as errors of syntax, and a good file would be taken for
    // a damaged one. So what it may need is asked for first; volatile, or compilers leave it out.
    void *volatile enough = malloc(32 * len + 65536);
    free(enough);
    if (!enough)
        return tuck_fail(err, TUCK_ENOMEM, "no memory for a format file");
    json_t *json = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    struct tuck_format format = {0};
    int status = json_is_object(json) ? read_object(json, &format, err)
                                      : damaged(err, "it is not a JSON object");
    json_decref(json);
    if (status == 0)
        *ret_format = format;
    return status;
}

// --- Writing -------------------------------------------------------------------------------------

static bool append(json_t *list, json_t *item) {
    return json_array_append_new(list, item) == 0; // takes it, and fails on NULL
}

// jansson takes no other text, but cannot tell that from a lack of memory.
static bool is_utf8(const char *text) {
    for (const uint8_t *c = (const uint8_t *)text; *c; c++) {
        // The second byte has narrower bounds where a shorter form, a surrogate or too large a
        // number would come out.
        uint8_t low = *c == 0xe0 ? 0xa0 : *c == 0xf0 ? 0x90 : 0x80;
        uint8_t high = *c == 0xed ? 0x9f : *c == 0xf4 ? 0x8f : 0xbf;
        int more = *c < 0x80 ? 0 : *c < 0xe0 ? 1 : *c < 0xf0 ? 2 : 3;
        if ((*c >= 0x80 && *c < 0xc2) || *c > 0xf4)
            return false;
        for (; more > 0; more--, low = 0x80, high = 0xbf)
            if (*++c < low || *c > high)
                return false;
    }
    return true;
}

static json_t *make_object(const struct tuck_format *format) {
    json_t *set = json_array(), *mounts = json_array();
    bool has_all = set && mounts, has_mounts = false;
    for (size_t i = 0; has_all && i < format->count; i++) {
        const struct tuck_format_member *member = &format->members[i];
        bool has_mount = member->mount[0] && is_utf8(member->mount); // else it is not recorded
        has_mounts |= has_mount;
        has_all = append(set, json_string(member->id)) &&
                  append(mounts, has_mount ? json_string(member->mount) : json_null());
    }
    int version = format->count > 1 || format->generation > 1 || has_mounts ? 2 : 1;
    json_t *json = json_pack("{s:s, s:i, s:s, s:O, s:s}", "format", "tuck", "version", version,
                             "id", format->members[format->self].id, "set", set, "placement",
                             tuck_place_name(format->placement));
    has_all = has_all && json;
    if (has_all && version > 1)
        has_all = json_object_set_new(json, "generation",
                                      json_integer((json_int_t)format->generation)) == 0;
    if (has_all && has_mounts)
        has_all = json_object_set(json, "mounts", mounts) == 0;
    json_decref(set);
    json_decref(mounts);
    if (has_all)
        return json;
    json_decref(json);
    return NULL;
}

int tuck_format_write(const struct tuck_format *format, char **ret_text, struct tuck_error *err) {
    tuck_verify(format->count <= TUCK_DRIVES_MAX && format->self < format->count);
    tuck_verify(format->generation >= 1 && format->generation <= INT64_MAX);
    json_t *json = make_object(format);
    char *line = json ? json_dumps(json, 0) : NULL, *text = NULL;
    int len = line ? asprintf(&text, "%s\n", line) : -1;
    free(line);
    json_decref(json);
    if (len < 0)
        return tuck_fail(err, TUCK_ENOMEM, "no memory for a format file");
    *ret_text = text;
    return 0;
}

// --- The set in force ----------------------------------------------------------------------------

static bool is_same_set(const struct tuck_format *a, const struct tuck_format *b) {
    if (a->count != b->count || a->placement != b->placement)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (strcmp(a->members[i].id, b->members[i].id) != 0)
            return false;
    return true;
}

// Sets that have a drive in common are states of one set: drives come and go, their ids stay.
static bool is_related(const struct tuck_format *a, const struct tuck_format *b) {
    for (size_t i = 0; i < a->count; i++)
        if (find_member(b, a->members[i].id) != TUCK_FORMAT_NO_MEMBER)
            return true;
    return false;
}

// What is wrong with a list. Of several faults the first one here is reported, for the others may
// follow from it.
enum fault {
    FAULT_STRANGER, // a drive of something else, or of a newer tuck
    FAULT_TWICE,
    FAULT_SET,   // a drive of another set, or of another state of it
    FAULT_ORDER, // not that of the set
    FAULT_COUNT, // more or fewer drives than the set has
    FAULT_HOLE,  // one that a new set would need
    FAULT_NONE,
};

struct judge {
    const struct tuck_format_found *found;
    size_t count;
    char shown[TUCK_DRIVES_MAX][TUCK_DRIVES_SHOWN]; // the paths
    struct tuck_format set;                         // the one in force
    size_t chosen;                                  // the place that it is from
    struct tuck_format_judged *places;
    enum fault fault;
    struct tuck_error text; // of the fault
};

static const struct tuck_format *good(const struct judge *judge, size_t place) {
    const struct tuck_format_found *found = &judge->found[place];
    return found->state == TUCK_FORMAT_GOOD ? found->format : NULL;
}

static size_t count_votes(const struct judge *judge, const struct tuck_format *set) {
    size_t votes = 0;
    for (size_t i = 0; i < judge->count; i++) {
        const struct tuck_format *other = good(judge, i);
        votes += other && other->generation == set->generation && is_same_set(other, set);
    }
    return votes;
}

// From the first good drive to the newest state of its set. Where several drives have different
// ones of the same generation, to that which most of them have.
static bool choose_set(struct judge *judge) {
    const struct tuck_format *chosen = NULL, *other;
    for (size_t i = 0; i < judge->count && !chosen; i++)
        if ((chosen = good(judge, i)))
            judge->chosen = i;
    if (!chosen)
        return false;
    for (size_t i = 0; i < judge->count; i++) {
        other = good(judge, i);
        if (!other || other->generation <= chosen->generation || !is_related(other, chosen))
            continue;
        chosen = other;
        judge->chosen = i;
        i = SIZE_MAX; // from the start: what is related to this one may not have been before
    }
    size_t votes = count_votes(judge, chosen);
    for (size_t i = 0; i < judge->count; i++) {
        other = good(judge, i);
        if (!other || other->generation != chosen->generation || !is_related(other, chosen) ||
            count_votes(judge, other) <= votes)
            continue;
        votes = count_votes(judge, other);
        judge->chosen = i;
        chosen = other;
    }
    judge->set = *chosen;
    return true;
}

// --- The places ----------------------------------------------------------------------------------

// The text is that of the place.
static void blame(struct judge *judge, size_t place, enum fault fault) {
    if (fault >= judge->fault)
        return;
    judge->fault = fault;
    judge->text = judge->places[place].why;
}

static void judge_stranger(struct judge *judge, size_t place) {
    const struct tuck_format_found *found = &judge->found[place];
    struct tuck_format_judged *judged = &judge->places[place];
    const char *reason = found->reason ? found->reason : "";
    judged->verdict = TUCK_FORMAT_REFUSE;
    if (found->state == TUCK_FORMAT_NEWER)
        (void)tuck_fail(&judged->why, TUCK_EINVAL,
                        "drive '%s' was made by a newer tuck; use that one, or take the drive out "
                        "of drives%s%.60s",
                        judge->shown[place], *reason ? ": " : "", reason);
    else
        (void)tuck_fail(&judged->why, TUCK_EINVAL,
                        "drive '%s' belongs to something else; name a directory that is empty or "
                        "absent%s%.60s",
                        judge->shown[place], *reason ? ": " : "", reason);
    blame(judge, place, FAULT_STRANGER);
}

static const char *id_of(const struct tuck_format *format) {
    return format->members[format->self].id;
}

// An earlier place that has the same id.
static bool find_twin(const struct judge *judge, size_t place, size_t *ret_twin) {
    for (size_t i = 0; i < place; i++) {
        const struct tuck_format *other = good(judge, i);
        if (!other || strcmp(id_of(other), id_of(good(judge, place))) != 0)
            continue;
        *ret_twin = i;
        return true;
    }
    return false;
}

static void judge_good(struct judge *judge, size_t place) {
    const struct tuck_format *format = good(judge, place), *set = &judge->set;
    const char *here = judge->shown[place], *chosen = judge->shown[judge->chosen];
    struct tuck_format_judged *judged = &judge->places[place];
    size_t member = find_member(set, id_of(format)), twin;
    judged->verdict = TUCK_FORMAT_REFUSE;
    if (find_twin(judge, place, &twin)) {
        (void)tuck_fail(&judged->why, TUCK_EINVAL,
                        "drive '%s' is '%s' by another name, or a copy of it; take one of them out "
                        "of drives",
                        here, judge->shown[twin]);
        blame(judge, place, FAULT_TWICE);
    } else if (member == TUCK_FORMAT_NO_MEMBER) {
        (void)tuck_fail(&judged->why, TUCK_EINVAL,
                        "drive '%s' %s '%s'; take it out of drives, or empty it and run `tuck "
                        "drive add`",
                        here,
                        is_related(format, set) ? "is not, or no longer, in the set of"
                                                : "is of another set than",
                        chosen);
        blame(judge, place, FAULT_SET);
    } else if (format->generation >= set->generation && !is_same_set(format, set)) {
        (void)tuck_fail(&judged->why, TUCK_EINVAL,
                        "drive '%s' lists its set otherwise than '%s', and neither is older; empty "
                        "it, and it is taken in again",
                        here, chosen);
        blame(judge, place, FAULT_SET);
    } else {
        bool is_old = format->generation < set->generation;
        judged->verdict =
            is_old && !judge->found[place].is_unmounted ? TUCK_FORMAT_HEAL : TUCK_FORMAT_USE;
        judged->member = member;
        if (judge->count != set->count || member == place)
            return;
        (void)tuck_fail(&judged->why, TUCK_EINVAL,
                        "drive '%s' is number %zu of its set, but number %zu of drives; write "
                        "drives in the order of the set",
                        here, member + 1, place + 1);
        blame(judge, place, FAULT_ORDER);
    }
}

// Where nothing is that could say what it is, the place in the list says it.
static void judge_absent(struct judge *judge, size_t place) {
    const struct tuck_format_found *found = &judge->found[place];
    struct tuck_format_judged *judged = &judge->places[place];
    const char *reason = found->reason ? found->reason : "";
    bool is_unreachable = found->state == TUCK_FORMAT_UNREACHABLE;
    judged->verdict = TUCK_FORMAT_HOLE;
    judged->member = place;
    if (is_unreachable)
        (void)tuck_fail(&judged->why, TUCK_EIO, "drive '%s' cannot be reached%s%.80s",
                        judge->shown[place], *reason ? ": " : "", reason);
    else if (found->is_unmounted)
        (void)tuck_fail(&judged->why, TUCK_EIO, "drive '%s' is not mounted", judge->shown[place]);
    else
        judged->verdict = TUCK_FORMAT_HEAL;
}

// --- The list ------------------------------------------------------------------------------------

static bool is_absent(const struct judge *judge, size_t place) {
    return !good(judge, place) && judge->places[place].verdict != TUCK_FORMAT_REFUSE;
}

// Whether a good drive of the list is this member.
static bool is_named(const struct judge *judge, size_t member) {
    for (size_t i = 0; i < judge->count; i++)
        if (good(judge, i) && judge->places[i].member == member)
            return true;
    return false;
}

// More drives in the list than in the set: of those that are absent, one that stands where a member
// is missing may be it, and the others are new.
static void judge_longer(struct judge *judge) {
    for (size_t i = 0; i < judge->count; i++) {
        struct tuck_format_judged *judged = &judge->places[i];
        if (!is_absent(judge, i) || (i < judge->set.count && !is_named(judge, i)))
            continue;
        judged->verdict = TUCK_FORMAT_REFUSE;
        judged->member = TUCK_FORMAT_NO_MEMBER;
        (void)tuck_fail(&judged->why, TUCK_EINVAL,
                        "drive '%s' is one more than the %zu of the set; name it last and run "
                        "`tuck drive add`, or leave it out",
                        judge->shown[i], judge->set.count);
        blame(judge, i, FAULT_COUNT);
    }
}

// Fewer: which member one is that is absent cannot be told.
static void judge_shorter(struct judge *judge) {
    const struct tuck_format *set = &judge->set;
    size_t missing = 0;
    while (missing + 1 < set->count && is_named(judge, missing))
        missing++;
    for (size_t i = 0; i < judge->count; i++) {
        struct tuck_format_judged *judged = &judge->places[i];
        if (!is_absent(judge, i))
            continue;
        judged->verdict = TUCK_FORMAT_REFUSE;
        judged->member = TUCK_FORMAT_NO_MEMBER;
        (void)tuck_fail(&judged->why, TUCK_EINVAL,
                        "drive '%s' may be any of the set as long as drives is shorter than that",
                        judge->shown[i]);
    }
    if (judge->fault <= FAULT_COUNT)
        return;
    judge->fault = FAULT_COUNT;
    (void)tuck_fail(&judge->text, TUCK_EINVAL,
                    "the set of drive '%s' has %zu drives, but drives names %zu; name number %zu "
                    "as well, or run `tuck drive remove %s`",
                    judge->shown[judge->chosen], set->count, judge->count, missing + 1,
                    set->members[missing].id);
}

// No place has a format: a new set, unless there is one that may have.
static void judge_new(struct judge *judge, enum tuck_placement placement,
                      void (*new_id)(char ret_id[static TUCK_FORMAT_ID + 1])) {
    for (size_t i = 0; i < judge->count; i++) {
        struct tuck_format_judged *judged = &judge->places[i];
        if (judged->verdict == TUCK_FORMAT_HEAL) {
            judged->verdict = TUCK_FORMAT_CREATE;
        } else if (judged->verdict == TUCK_FORMAT_HOLE) {
            size_t len = strlen(judged->why.text);
            (void)snprintf(judged->why.text + len, sizeof(judged->why.text) - len,
                           "; no other drive knows the set: bring it back, or leave it out");
            blame(judge, i, FAULT_HOLE);
        }
    }
    if (judge->fault != FAULT_NONE)
        return;
    judge->set.generation = 1;
    judge->set.placement = placement;
    for (; judge->set.count < judge->count; judge->set.count++)
        new_id(judge->set.members[judge->set.count].id);
}

// The list is refused: nothing will be written, and only what is good as it is may be used.
static void settle(struct judge *judge) {
    for (size_t i = 0; i < judge->count; i++) {
        struct tuck_format_judged *judged = &judge->places[i];
        if (judged->verdict == TUCK_FORMAT_HEAL && good(judge, i)) {
            judged->verdict = TUCK_FORMAT_USE;
        } else if (judged->verdict == TUCK_FORMAT_HEAL || judged->verdict == TUCK_FORMAT_CREATE) {
            judged->verdict = TUCK_FORMAT_HOLE;
            (void)tuck_fail(&judged->why, TUCK_EINVAL,
                            "drive '%s' is left as it is until drives is right", judge->shown[i]);
        }
        if (judged->verdict == TUCK_FORMAT_HOLE &&
            (judged->member >= judge->set.count || is_named(judge, judged->member)))
            judged->member = TUCK_FORMAT_NO_MEMBER;
    }
}

int tuck_format_judge(const struct tuck_format_found *found, size_t count,
                      enum tuck_placement placement,
                      void (*new_id)(char ret_id[static TUCK_FORMAT_ID + 1]),
                      struct tuck_format_judgement *ret_judgement, struct tuck_error *err) {
    tuck_verify(count >= 1 && count <= TUCK_DRIVES_MAX);
    memset(ret_judgement, 0, sizeof(*ret_judgement));
    struct judge judge = {
        .found = found, .count = count, .places = ret_judgement->places, .fault = FAULT_NONE};
    for (size_t i = 0; i < count; i++) {
        (void)tuck_drives__show(found[i].path, strlen(found[i].path), judge.shown[i]);
        judge.places[i].member = TUCK_FORMAT_NO_MEMBER;
    }
    bool has_set = choose_set(&judge);
    for (size_t i = 0; i < count; i++) {
        if (good(&judge, i))
            judge_good(&judge, i);
        else if (found[i].state == TUCK_FORMAT_NEWER || found[i].state == TUCK_FORMAT_FOREIGN)
            judge_stranger(&judge, i);
        else
            judge_absent(&judge, i);
    }
    if (!has_set)
        judge_new(&judge, placement, new_id);
    else if (count > judge.set.count)
        judge_longer(&judge);
    else if (count < judge.set.count)
        judge_shorter(&judge);
    if (judge.fault != FAULT_NONE)
        settle(&judge);
    ret_judgement->set = judge.set;
    ret_judgement->set.self = TUCK_FORMAT_NO_MEMBER;
    if (judge.fault == FAULT_NONE)
        return 0;
    if (err)
        *err = judge.text;
    return TUCK_FORMAT_REFUSED;
}

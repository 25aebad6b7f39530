// SPDX-License-Identifier: MIT
#include "lib/store/set.h"
#include "lib/base/clock.h"
#include "lib/base/io.h"
#include "lib/base/thread.h"
#include "lib/store/drive.h"
#include "lib/store/format.h"
#include "lib/store/place.h"

#include <errno.h>

#define FORMAT_ROOM 114688U // the longest that tuck writes: 64 mount points, six characters for one
#define JUDGE_MAX   5       // another process may be making or changing the same set
#define TURN_NS     TUCK_NS_PER_S // how long it is waited for

struct held { // a drive that was open before
    struct tuck_drive *drive;
    struct held *next;
};

struct place {
    char *root; /* const */

    /* guarded by lock; written by the thread that opens only */
    struct tuck_drive *drive; // NULL: a hole, and
    struct tuck_error why;    // why
    bool was_healed;
    size_t member; // of the set, or TUCK_FORMAT_NO_MEMBER
};

struct tuck_set {
    /* const */
    char *gocache; // or NULL
    bool must_exist;
    bool (*is_left_alone)(void *arg, size_t place);
    void *arg;
    size_t count;
    struct place *place;
    struct held *held; /* owned by the thread that opens */

    struct tuck_mutex lock;
    /* guarded by lock; written by the thread that opens only */
    struct tuck_format format;      // the set in force; of no members if none is known
    uint64_t seed[TUCK_DRIVES_MAX]; // of its members; if none is known, of the places
};

// What was found at each place, and what is to be done about it. Large: on the heap.
struct look {
    struct tuck_format_found found[TUCK_DRIVES_MAX];
    struct tuck_format format[TUCK_DRIVES_MAX];
    struct tuck_drive *drive[TUCK_DRIVES_MAX]; // held until it is decided
    struct tuck_error why[TUCK_DRIVES_MAX];
    struct tuck_format_judgement judgement;
};

static void free_look(struct look **look) {
    if (*look)
        for (size_t i = 0; i < TUCK_DRIVES_MAX; i++)
            tuck_drive_close((*look)->drive[i]);
    free(*look);
}

static void close_drive(struct tuck_drive **drive) {
    tuck_drive_close(*drive);
}

// --- Mount points --------------------------------------------------------------------------------

static bool is_mount_point(const char *path) {
    struct stat here, above;
    TUCK_CLEANUP(tuck_free) char *parent = NULL;
    if (asprintf(&parent, "%s/..", path) < 0) {
        parent = NULL;
        return true; // benefit of the doubt
    }
    return stat(path, &here) == 0 && stat(parent, &above) == 0 && here.st_dev != above.st_dev;
}

// The nearest mount point on the way to the drive; empty for the root file system.
static void find_mount(const char *root, char ret_mount[TUCK_FORMAT_MOUNT]) {
    TUCK_CLEANUP(tuck_free) char *path = realpath(root, NULL);
    ret_mount[0] = '\0';
    while (path && path[1]) {
        if (is_mount_point(path) && strlen(path) < TUCK_FORMAT_MOUNT) {
            (void)snprintf(ret_mount, TUCK_FORMAT_MOUNT, "%s", path);
            return;
        }
        char *slash = strrchr(path, '/');
        slash[slash == path] = '\0';
    }
}

// --- Looking -------------------------------------------------------------------------------------

static void begin_look(struct tuck_set *set, size_t at, struct look *look) {
    tuck_drive_close(TUCK_TAKE(look->drive[at]));
    look->why[at] = (struct tuck_error){0};
    look->found[at] = (struct tuck_format_found){.path = set->place[at].root,
                                                 .state = TUCK_FORMAT_UNREACHABLE,
                                                 .reason = look->why[at].text};
}

// Reads what the open drive knows.
static void read_format(size_t at, struct look *look) {
    struct tuck_format_found *found = &look->found[at];
    struct tuck_error *why = &look->why[at];
    TUCK_CLEANUP(tuck_free) char *text = malloc(FORMAT_ROOM);
    size_t len = 0;
    int status = text ? tuck_drive_read_format(look->drive[at], text, FORMAT_ROOM, &len, why)
                      : tuck_fail(why, TUCK_ENOMEM, "no memory for a format file");
    if (status == TUCK_DRIVE_BLANK) {
        found->state = TUCK_FORMAT_BLANK;
    } else if (status == TUCK_DRIVE_OCCUPIED) {
        found->state = TUCK_FORMAT_FOREIGN;
        (void)tuck_fail(why, TUCK_EINVAL,
                        "it has other things in it; a cache needs a directory of its own");
    } else if (status == 0) {
        status = tuck_format_parse(text, len, &look->format[at], why);
        if (status >= 0)
            found->state = (enum tuck_format_state)status;
        if (status == TUCK_FORMAT_GOOD)
            found->format = &look->format[at];
    }
}

static void look_at(struct tuck_set *set, size_t at, struct look *look) {
    begin_look(set, at, look);
    int status = tuck_drive_open(set->place[at].root, false, &look->drive[at], &look->why[at]);
    if (status == TUCK_DRIVE_MISSING)
        look->found[at].state = TUCK_FORMAT_MISSING;
    if (status == 0)
        read_format(at, look);
}

// A place that is not to be touched: open, or left alone. What is known of it speaks for it.
static void assume(struct tuck_set *set, size_t at, struct look *look) {
    const struct place *place = &set->place[at];
    look->found[at] = (struct tuck_format_found){.path = place->root,
                                                 .state = TUCK_FORMAT_UNREACHABLE,
                                                 .reason = "it failed a short while ago"};
    if (!place->drive || place->member >= set->format.count)
        return;
    look->format[at] = set->format;
    look->format[at].self = place->member;
    look->found[at].state = TUCK_FORMAT_GOOD;
    look->found[at].format = &look->format[at];
}

static bool is_to_be_opened(const struct tuck_set *set, size_t at, size_t only) {
    if (set->place[at].drive || (only != SIZE_MAX && at != only))
        return false;
    return only == at || !set->is_left_alone || !set->is_left_alone(set->arg, at);
}

static void look_around(struct tuck_set *set, size_t only, struct look *look) {
    for (size_t i = 0; i < set->count; i++)
        if (is_to_be_opened(set, i, only))
            look_at(set, i, look);
        else
            assume(set, i, look);
}

static bool is_unmounted(const struct tuck_format *set, size_t member) {
    return member < set->count && set->members[member].mount[0] &&
           !is_mount_point(set->members[member].mount);
}

static int judge(struct tuck_set *set, struct look *look, struct tuck_error *err) {
    int status = 0;
    for (bool is_settled = false; !is_settled;) {
        is_settled = true;
        status = tuck_format_judge(look->found, set->count, TUCK_CRCMOD, tuck_random_name,
                                   &look->judgement, err);
        for (size_t i = 0; status >= 0 && i < set->count; i++) {
            const struct tuck_format_judged *judged = &look->judgement.places[i];
            if (judged->verdict != TUCK_FORMAT_HEAL || look->found[i].is_unmounted ||
                !is_unmounted(&look->judgement.set, judged->member))
                continue;
            look->found[i].is_unmounted = true;
            is_settled = false;
        }
    }
    return status;
}

// --- Acting --------------------------------------------------------------------------------------

static bool is_written(const struct tuck_format_judged *judged) {
    return judged->verdict == TUCK_FORMAT_HEAL || judged->verdict == TUCK_FORMAT_CREATE;
}

static bool has_to_write(const struct tuck_set *set, const struct look *look, size_t only) {
    for (size_t i = 0; i < set->count; i++)
        if (is_to_be_opened(set, i, only) && is_written(&look->judgement.places[i]))
            return true;
    return false;
}

// Processes that begin or heal one set do so one after the other: on the first drive that knows it, or
// the first there is. Without a turn (a stopped process has it, there are no locks) it goes on as well:
// whoever comes second finds what the first has written. Returns the drive that holds the turn, or NULL.
static struct tuck_drive *take_turn(const struct tuck_set *set, const struct look *look) {
    for (int may_make = 0; may_make < 2; may_make++)
        for (size_t i = 0; i < set->count; i++) {
            TUCK_CLEANUP(close_drive) struct tuck_drive *drive = NULL;
            bool is_candidate = may_make ? is_written(&look->judgement.places[i])
                                         : look->found[i].state == TUCK_FORMAT_GOOD;
            if (!is_candidate || tuck_drive_open(set->place[i].root, may_make, &drive, NULL) != 0)
                continue;
            return tuck_drive_take_turn(drive, TURN_NS) == 0 ? TUCK_TAKE(drive) : NULL;
        }
    return NULL;
}

static bool is_same(const struct tuck_format *a, const struct tuck_format *b) {
    if (a->count != b->count || a->self != b->self || a->generation != b->generation)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (strcmp(a->members[i].id, b->members[i].id) != 0)
            return false;
    return true;
}

// Writes the set to a drive that is to have it. 0, TUCK_SET_REFUSED if another process was faster
// with something else, or < 0 with the drive still open, if it was.
static int write_member(struct tuck_set *set, size_t at, struct look *look,
                        struct tuck_error *err) {
    struct tuck_format *format = &look->judgement.set;
    enum tuck_format_state state = look->found[at].state;
    TUCK_CLEANUP(tuck_free) char *text = NULL;
    format->self = look->judgement.places[at].member;
    int status = 0;
    if (!look->drive[at])
        status = tuck_drive_open(set->place[at].root, true, &look->drive[at], err);
    if (status == 0)
        status = tuck_format_write(format, &text, err);
    if (status == 0 && state == TUCK_FORMAT_DAMAGED)
        status = tuck_drive_set_aside_format(look->drive[at], err);
    if (status == 0)
        status = tuck_drive_write_format(look->drive[at], text, state != TUCK_FORMAT_GOOD, err);
    if (status != 0)
        return status < 0 ? status : TUCK_EIO;
    look_at(set, at, look);
    if (look->found[at].state == TUCK_FORMAT_GOOD && is_same(&look->format[at], format))
        return 0;
    return TUCK_SET_REFUSED;
}

static void record_mounts(struct tuck_set *set, struct look *look) {
    struct tuck_format *format = &look->judgement.set;
    for (size_t i = 0; i < set->count && set->count > 1; i++) {
        const struct tuck_format_judged *judged = &look->judgement.places[i];
        if (judged->verdict != TUCK_FORMAT_CREATE || judged->member >= format->count)
            continue;
        if (!look->drive[i])
            (void)!tuck_drive_open(set->place[i].root, true, &look->drive[i], NULL);
        find_mount(set->place[i].root, format->members[judged->member].mount);
    }
}

// Does what was decided at one place. 0 if the drive is to be used, TUCK_SET_REFUSED: look again, or
// < 0: it is a hole, and *ret_why says why.
static int act(struct tuck_set *set, size_t at, struct look *look, bool *ret_was_healed,
               struct tuck_error *ret_why) {
    const struct tuck_format_judged *judged = &look->judgement.places[at];
    enum tuck_format_state state = look->found[at].state;
    *ret_why = judged->why;
    if (is_written(judged)) {
        int status = write_member(set, at, look, ret_why);
        if (status > 0 || (status < 0 && state != TUCK_FORMAT_GOOD))
            return status;
        // One that is behind and takes no file serves all the same.
        *ret_was_healed = status == 0 && judged->verdict == TUCK_FORMAT_HEAL &&
                          (state == TUCK_FORMAT_BLANK || state == TUCK_FORMAT_MISSING);
    } else if (judged->verdict != TUCK_FORMAT_USE) {
        if (state == TUCK_FORMAT_UNREACHABLE && look->why[at].code < 0)
            *ret_why = look->why[at]; // as it was told, with its errno
        return TUCK_EINVAL;
    }
    return tuck_drive_begin(look->drive[at], set->gocache, ret_why);
}

// Does what was decided at one place, and makes it known. TUCK_SET_REFUSED: look again.
static int settle(struct tuck_set *set, size_t at, struct look *look) {
    struct place *place = &set->place[at];
    bool was_healed = false;
    struct tuck_error why = {0};
    int status = act(set, at, look, &was_healed, &why);
    if (status > 0)
        return status;
    tuck_lock(&set->lock);
    place->drive = status == 0 ? TUCK_TAKE(look->drive[at]) : NULL;
    place->was_healed = status == 0 && was_healed;
    place->why = status == 0 ? (struct tuck_error){0} : why;
    tuck_unlock(&set->lock);
    return 0;
}

static void know(struct tuck_set *set, const struct look *look) {
    const struct tuck_format *format = &look->judgement.set;
    if (format->count == 0)
        return;
    tuck_lock(&set->lock);
    set->format = *format;
    for (size_t i = 0; i < format->count; i++)
        set->seed[i] = tuck_place_seed(format->members[i].id);
    for (size_t i = 0; i < set->count; i++)
        set->place[i].member = look->judgement.places[i].member;
    tuck_unlock(&set->lock);
}

static bool is_nothing_there(const struct tuck_set *set, const struct look *look) {
    for (size_t i = 0; i < set->count; i++)
        if (look->found[i].state != TUCK_FORMAT_BLANK &&
            look->found[i].state != TUCK_FORMAT_MISSING)
            return false;
    return true;
}

// Opens what is a hole: at one place, or at all (SIZE_MAX).
static int open_places(struct tuck_set *set, size_t only, struct tuck_error *err) {
    TUCK_CLEANUP(free_look) struct look *look = calloc(1, sizeof(*look));
    TUCK_CLEANUP(close_drive) struct tuck_drive *turn = NULL;
    if (!look)
        return tuck_fail(err, TUCK_ENOMEM, "no memory for the drives");
    for (int attempt = 0; attempt < JUDGE_MAX; attempt++) {
        look_around(set, only, look);
        if (set->must_exist && is_nothing_there(set, look))
            return tuck_fail(err, TUCK_EINVAL,
                             "there is no cache in '%s' yet; it is made by the first build",
                             set->place[0].root);
        int status = judge(set, look, err);
        if (status < 0)
            return status;
        bool is_refused = status == TUCK_FORMAT_REFUSED, is_outrun = false;
        if (is_refused && set->count == 1 && look->found[0].state == TUCK_FORMAT_UNREACHABLE && err)
            *err = look->why[0]; // of one drive it is told as it was found
        if (attempt == 0 && !is_refused && has_to_write(set, look, only) &&
            (turn = take_turn(set, look)))
            continue; // whoever had it before may have done it all
        if (!is_refused)
            record_mounts(set, look);
        know(set, look);
        for (size_t i = 0; i < set->count && !is_outrun; i++)
            if (!set->place[i].drive && (only == SIZE_MAX || only == i))
                is_outrun = settle(set, i, look) > 0;
        if (!is_outrun)
            return is_refused ? TUCK_SET_REFUSED : 0;
    }
    return tuck_fail(err, TUCK_EIO, "another process changes the set '%s' belongs to; try again",
                     set->place[0].root);
}

// --- Life ----------------------------------------------------------------------------------------

static int new_set(const struct tuck_set_options *options, struct tuck_set **ret_set,
                   struct tuck_error *err) {
    struct tuck_set *set = calloc(1, sizeof(*set));
    bool has_all = set != NULL;
    if (set) {
        tuck_mutex_init(&set->lock, TUCK_RANK_SET);
        set->must_exist = options->must_exist;
        set->is_left_alone = options->is_left_alone;
        set->arg = options->arg;
        set->place = calloc(options->count ? options->count : 1, sizeof(*set->place));
        set->gocache = options->gocache ? strdup(options->gocache) : NULL;
        has_all = set->place && (set->gocache || !options->gocache);
    }
    for (size_t i = 0; has_all && i < options->count; i++) {
        set->place[i].root = strdup(options->roots[i]);
        set->place[i].member = TUCK_FORMAT_NO_MEMBER;
        has_all = set->place[i].root != NULL;
        set->count++;
        set->seed[i] = has_all ? tuck_place_seed(set->place[i].root) : 0; // until its id is known
    }
    if (!has_all) {
        tuck_set_close(set);
        return tuck_fail(err, TUCK_ENOMEM, "no memory for the drives");
    }
    *ret_set = set;
    return 0;
}

int tuck_set_open(const struct tuck_set_options *options, struct tuck_set **ret_set,
                  struct tuck_error *err) {
    struct tuck_set *set = NULL;
    struct tuck_error why = {0};
    int status = new_set(options, &set, err);
    if (status < 0)
        return status;
    status = set->count > 0 ? open_places(set, SIZE_MAX, &why)
                            : tuck_fail(&why, TUCK_EINVAL, "no drive is named");
    if (status == 0 && set->count == 1 && !set->place[0].drive) {
        why = set->place[0].why;
        status = TUCK_SET_REFUSED;
    }
    if (status != 0 && err)
        *err = why;
    if (status < 0 && status != TUCK_ENOMEM && !options->must_exist)
        status = TUCK_SET_REFUSED;
    if (status < 0)
        tuck_set_close(set);
    else
        *ret_set = set;
    return status;
}

void tuck_set_close(struct tuck_set *set) {
    if (!set)
        return;
    for (struct held *held = set->held, *next; held; held = next) {
        next = held->next;
        tuck_drive_close(held->drive);
        free(held);
    }
    for (size_t i = 0; i < set->count; i++) {
        tuck_drive_close(set->place[i].drive);
        free(set->place[i].root);
    }
    free(set->place);
    free(set->gocache);
    tuck_mutex_fini(&set->lock);
    free(set);
}

int tuck_set_retry(struct tuck_set *set, size_t place, struct tuck_drive **ret_drive,
                   struct tuck_error *err) {
    struct place *at = &set->place[place];
    if (at->drive) {
        struct held *held = malloc(sizeof(*held));
        if (!held)
            return tuck_fail(err, TUCK_ENOMEM, "no memory for a drive");
        *held = (struct held){at->drive, set->held};
        set->held = held;
        tuck_lock(&set->lock);
        at->drive = NULL;
        tuck_unlock(&set->lock);
    }
    int status = open_places(set, place, err);
    if (status < 0)
        return status;
    if (!at->drive) {
        if (err)
            *err = at->why;
        return at->why.code < 0 ? at->why.code : TUCK_EIO;
    }
    *ret_drive = at->drive;
    return 0;
}

// --- Inspecting ----------------------------------------------------------------------------------

struct tuck_drive *tuck_set_drive(struct tuck_set *set, size_t place, struct tuck_error *ret_why) {
    tuck_lock(&set->lock);
    struct tuck_drive *drive = set->place[place].drive;
    if (!drive && ret_why)
        *ret_why = set->place[place].why;
    tuck_unlock(&set->lock);
    return drive;
}

bool tuck_set_was_healed(struct tuck_set *set, size_t place) {
    tuck_lock(&set->lock);
    bool was_healed = set->place[place].was_healed;
    tuck_unlock(&set->lock);
    return was_healed;
}

const char *tuck_set_root(const struct tuck_set *set, size_t place) {
    return set->place[place].root;
}

// By the members of the set, so that an object has its home where the set says, whatever of the set
// the list names, and in which order.
void tuck_set_order(struct tuck_set *set, const struct tuck_output_id *output, uint8_t *ret_order) {
    uint8_t members[TUCK_DRIVES_MAX], place_of[TUCK_DRIVES_MAX];
    size_t used = 0;
    tuck_lock(&set->lock);
    size_t count = set->format.count ? set->format.count : set->count;
    tuck_place_order(set->format.placement, output->bytes, TUCK_ID_BYTES, set->seed, count,
                     members);
    memset(place_of, UINT8_MAX, sizeof(place_of));
    for (size_t i = 0; i < set->count; i++)
        if (set->place[i].member < count)
            place_of[set->place[i].member] = (uint8_t)i;
    for (size_t i = 0; i < count; i++)
        if (place_of[members[i]] < set->count)
            ret_order[used++] = place_of[members[i]];
    for (size_t i = 0; i < set->count && used < set->count; i++) // no members: they take nothing
        if (set->place[i].member >= count)
            ret_order[used++] = (uint8_t)i;
    tuck_unlock(&set->lock);
}

enum tuck_placement tuck_set_placement(struct tuck_set *set) {
    tuck_lock(&set->lock);
    enum tuck_placement placement = set->format.placement;
    tuck_unlock(&set->lock);
    return placement;
}

size_t tuck_set_member_count(struct tuck_set *set) {
    tuck_lock(&set->lock);
    size_t count = set->format.count;
    tuck_unlock(&set->lock);
    return count;
}

size_t tuck_set_member(struct tuck_set *set, size_t member,
                       char ret_id[static TUCK_FORMAT_ID + 1]) {
    size_t place = 0;
    tuck_lock(&set->lock);
    memcpy(ret_id, set->format.members[member].id, TUCK_FORMAT_ID + 1);
    while (place < set->count && set->place[place].member != member)
        place++;
    tuck_unlock(&set->lock);
    return place < set->count ? place : SIZE_MAX;
}

// --- Changing ------------------------------------------------------------------------------------

struct change {
    struct tuck_set *before; // with what it knows
    struct tuck_set *after;  // of the new list; no drive of it is open
    struct look *look;       // holds the turns of all its drives
    struct tuck_format *format;
};

// The member that stood at this path of the former list; TUCK_FORMAT_NO_MEMBER: none.
static size_t former_member(const struct change *change, const char *root) {
    for (size_t i = 0; i < change->before->count; i++)
        if (strcmp(change->before->place[i].root, root) == 0)
            return change->before->place[i].member;
    return TUCK_FORMAT_NO_MEMBER;
}

// Opens the drive, waits for its turn, and reads what it knows.
static int hold(struct change *change, size_t at, struct tuck_error *err) {
    struct look *look = change->look;
    const char *root = change->after->place[at].root;
    const struct tuck_format *known = &change->before->format;
    size_t member = former_member(change, root);
    begin_look(change->after, at, look);
    int status = tuck_drive_open(root, false, &look->drive[at], &look->why[at]);
    if (status < 0)
        return tuck_fail(err, look->why[at].code, "%.160s; a set is changed with all its drives",
                         look->why[at].text);
    if (status == 0 && tuck_drive_take_turn(look->drive[at], TURN_NS) != 0)
        return tuck_fail(err, TUCK_ETIMEOUT, "another process changes the set of '%s'; try again",
                         root);
    look->found[at].state = TUCK_FORMAT_MISSING;
    if (status == 0) {
        look->found[at].state = TUCK_FORMAT_UNREACHABLE;
        read_format(at, look);
    }
    enum tuck_format_state state = look->found[at].state;
    if (state == TUCK_FORMAT_FOREIGN || state == TUCK_FORMAT_NEWER ||
        state == TUCK_FORMAT_UNREACHABLE)
        return tuck_fail(err, TUCK_EINVAL, "'%s' cannot be a drive of the set: %.120s", root,
                         look->why[at].text);
    if (state != TUCK_FORMAT_GOOD && is_unmounted(known, member))
        return tuck_fail(err, TUCK_EINVAL,
                         "drive '%s' is not mounted; mount it, or remove it first", root);
    return 0;
}

// Which member of the new set the drive is: who it was, if that is known.
static int name_member(struct change *change, size_t at, struct tuck_error *err) {
    struct look *look = change->look;
    struct tuck_format *format = change->format;
    const struct tuck_format *own = &look->format[at], *known = &change->before->format;
    const char *root = change->after->place[at].root;
    struct tuck_format_member *member = &format->members[at];
    size_t former = former_member(change, root);
    tuck_random_name(member->id);
    if (look->found[at].state == TUCK_FORMAT_GOOD) {
        memcpy(member->id, own->members[own->self].id, sizeof(member->id));
        if (own->generation >= format->generation)
            format->generation = own->generation + 1;
    } else if (former < known->count) {
        memcpy(member->id, known->members[former].id, sizeof(member->id));
    }
    for (size_t other = 0; other < at; other++)
        if (strcmp(format->members[other].id, member->id) == 0)
            return tuck_fail(err, TUCK_EINVAL,
                             "'%s' and '%s' are copies of one drive; empty one of them",
                             change->after->place[other].root, root);
    return 0;
}

// Makes the directory if there is none, and notes what has to be mounted for it.
static int prepare(struct change *change, size_t at, struct tuck_error *err) {
    const char *root = change->after->place[at].root;
    if (!change->look->drive[at]) {
        int status = tuck_drive_open(root, true, &change->look->drive[at], err);
        if (status != 0)
            return status < 0 ? status : TUCK_EIO;
    }
    find_mount(root, change->format->members[at].mount);
    return 0;
}

static int tell(struct change *change, size_t at, struct tuck_error *err) {
    struct look *look = change->look;
    TUCK_CLEANUP(tuck_free) char *text = NULL;
    change->format->self = at;
    int status = tuck_format_write(change->format, &text, err);
    if (status == 0 && look->found[at].state == TUCK_FORMAT_DAMAGED)
        status = tuck_drive_set_aside_format(look->drive[at], err);
    if (status == 0)
        status = tuck_drive_write_format(look->drive[at], text, false, err);
    return status;
}

// The new ones first: cut off before the first of the others knows, the former set is as it was.
static int tell_all(struct change *change, struct tuck_error *err) {
    struct tuck_error why = {0};
    for (int is_member = 0; is_member < 2; is_member++)
        for (size_t i = 0; i < change->format->count; i++) {
            if ((change->look->found[i].state == TUCK_FORMAT_GOOD) != is_member)
                continue;
            int status = tell(change, i, &why);
            if (status < 0)
                return tuck_fail(err, why.code,
                                 "%.150s; the change is not complete: mend that and repeat it",
                                 why.text);
        }
    return 0;
}

static int change_set(struct change *change, enum tuck_placement placement,
                      struct tuck_error *err) {
    struct tuck_format *format = change->format;
    int status = 0;
    format->generation = change->before->format.generation + 1;
    format->placement = placement;
    for (size_t i = 0; i < change->after->count && status == 0; i++)
        status = hold(change, i, err);
    for (; format->count < change->after->count && status == 0; format->count++)
        status = name_member(change, format->count, err);
    if (status == 0 && format->generation > INT64_MAX)
        status = tuck_fail(err, TUCK_EINVAL,
                           "the set of '%s' was changed as often as can be counted; remove the "
                           "tuck.json of each of its drives",
                           change->after->place[0].root);
    for (size_t i = 0; i < change->after->count && status == 0; i++)
        status = prepare(change, i, err);
    return status == 0 ? tell_all(change, err) : status;
}

int tuck_set_change(struct tuck_set *set, const char *const *roots, size_t count,
                    enum tuck_placement placement, struct tuck_error *err) {
    struct tuck_set_options options = {.roots = roots, .count = count};
    struct tuck_set *after = NULL;
    TUCK_CLEANUP(free_look) struct look *look = calloc(1, sizeof(*look));
    TUCK_CLEANUP(tuck_free) struct tuck_format *format = calloc(1, sizeof(*format));
    if (!look || !format)
        return tuck_fail(err, TUCK_ENOMEM, "no memory for the drives");
    int status = new_set(&options, &after, err);
    if (status < 0)
        return status;
    status = change_set(&(struct change){set, after, look, format}, placement, err);
    tuck_set_close(after);
    return status;
}

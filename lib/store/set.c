// SPDX-License-Identifier: MIT
#include "lib/store/set.h"
#include "lib/base/io.h"
#include "lib/store/drive.h"
#include "lib/store/format.h"
#include "lib/store/place.h"

#include <errno.h>

#define FORMAT_ROOM 65536U // the set of a newer tuck may be long
#define JUDGE_MAX   4      // another process may be making the same set

struct held { // a drive that was open before
    struct tuck_drive *drive;
    struct held *next;
};

struct place {
    char *root;
    struct tuck_drive *drive; // NULL: a hole, and
    struct tuck_error why;    // why
    bool was_healed;
};

struct tuck_set {
    char *gocache; // or NULL
    bool must_exist;
    bool (*is_left_alone)(void *arg, size_t place);
    void *arg;
    size_t count;
    struct place *place;
    struct tuck_format format; // the set in force; of no members if none is known
    uint64_t seed[TUCK_DRIVES_MAX];
    struct held *held;
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

static void look_at(struct tuck_set *set, size_t at, struct look *look) {
    struct tuck_format_found *found = &look->found[at];
    struct tuck_error *why = &look->why[at];
    TUCK_CLEANUP(tuck_free) char *text = NULL;
    size_t len = 0;
    *found = (struct tuck_format_found){
        .path = set->place[at].root, .state = TUCK_FORMAT_UNREACHABLE, .reason = why->text};
    tuck_drive_close(TUCK_TAKE(look->drive[at]));
    *why = (struct tuck_error){0};
    int status = tuck_drive_open(set->place[at].root, false, &look->drive[at], why);
    if (status == TUCK_DRIVE_MISSING)
        found->state = TUCK_FORMAT_MISSING;
    if (status != 0)
        return;
    text = malloc(FORMAT_ROOM);
    status = text ? tuck_drive_read_format(look->drive[at], text, FORMAT_ROOM, &len, why)
                  : tuck_fail(why, TUCK_ENOMEM, "no memory for a format file");
    if (status == TUCK_DRIVE_BLANK)
        found->state = TUCK_FORMAT_BLANK;
    if (status == TUCK_DRIVE_OCCUPIED) {
        found->state = TUCK_FORMAT_FOREIGN;
        (void)tuck_fail(why, TUCK_EINVAL,
                        "it has other things in it; a cache needs a directory of its own");
    }
    if (status == 0)
        status = tuck_format_parse(text, len, &look->format[at], why);
    if (status >= 0 && found->state == TUCK_FORMAT_UNREACHABLE)
        found->state = (enum tuck_format_state)status;
    if (found->state == TUCK_FORMAT_GOOD)
        found->format = &look->format[at];
}

// A place that is not to be touched: open, or left alone. What is known of it speaks for it.
static void assume(struct tuck_set *set, size_t at, struct look *look, const char *reason) {
    look->found[at] = (struct tuck_format_found){
        .path = set->place[at].root, .state = TUCK_FORMAT_UNREACHABLE, .reason = reason};
    if (!set->place[at].drive || at >= set->format.count)
        return;
    look->format[at] = set->format;
    look->format[at].self = at;
    look->found[at].state = TUCK_FORMAT_GOOD;
    look->found[at].format = &look->format[at];
}

static int judge(struct tuck_set *set, struct look *look, struct tuck_error *err) {
    int status = 0;
    for (bool is_settled = false; !is_settled;) {
        is_settled = true;
        status = tuck_format_judge(look->found, set->count, TUCK_CRCMOD, tuck_random_name,
                                   &look->judgement, err);
        for (size_t i = 0; status >= 0 && i < set->count; i++) {
            const struct tuck_format_judged *judged = &look->judgement.places[i];
            const char *mount = judged->member < look->judgement.set.count
                                    ? look->judgement.set.members[judged->member].mount
                                    : "";
            if (judged->verdict != TUCK_FORMAT_HEAL || !mount[0] || look->found[i].is_unmounted ||
                is_mount_point(mount))
                continue;
            look->found[i].is_unmounted = true;
            is_settled = false;
        }
    }
    return status;
}

// --- Acting --------------------------------------------------------------------------------------

static bool is_same(const struct tuck_format *a, const struct tuck_format *b) {
    if (a->count != b->count || a->self != b->self || a->generation != b->generation)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (strcmp(a->members[i].id, b->members[i].id) != 0)
            return false;
    return true;
}

// Writes the set to a drive that is to have it. 0, TUCK_SET_REFUSED if another process was faster
// with something else, or < 0.
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
    struct tuck_drive *drive = TUCK_TAKE(look->drive[at]);
    struct tuck_format wanted = *format;
    look_at(set, at, look);
    tuck_drive_close(drive);
    return look->found[at].state == TUCK_FORMAT_GOOD && is_same(&look->format[at], &wanted)
               ? 0
               : TUCK_SET_REFUSED;
}

static void install(struct tuck_set *set, size_t at, struct look *look) {
    struct place *place = &set->place[at];
    struct tuck_drive *drive = TUCK_TAKE(look->drive[at]);
    if (tuck_drive_begin(drive, set->gocache, &place->why) < 0) {
        tuck_drive_close(drive);
        return;
    }
    place->drive = drive;
    place->why = (struct tuck_error){0};
}

static void know(struct tuck_set *set, const struct tuck_format *format) {
    if (format->count == 0)
        return;
    set->format = *format;
    for (size_t i = 0; i < format->count; i++)
        set->seed[i] = tuck_place_seed(format->members[i].id);
}

static void record_mounts(struct tuck_set *set, struct look *look) {
    struct tuck_format *format = &look->judgement.set;
    for (size_t i = 0; i < set->count && set->count > 1; i++) {
        const struct tuck_format_judged *judged = &look->judgement.places[i];
        if (judged->verdict == TUCK_FORMAT_CREATE && judged->member < format->count &&
            !look->drive[i])
            (void)!tuck_drive_open(set->place[i].root, true, &look->drive[i], NULL);
        if (judged->verdict == TUCK_FORMAT_CREATE && judged->member < format->count)
            find_mount(set->place[i].root, format->members[judged->member].mount);
    }
}

// Does what was decided at one place. 0, TUCK_SET_REFUSED: look again, or < 0: it is a hole.
static int act(struct tuck_set *set, size_t at, struct look *look, bool is_refused) {
    struct tuck_format_judged *judged = &look->judgement.places[at];
    struct place *place = &set->place[at];
    place->why = judged->why;
    if (judged->verdict == TUCK_FORMAT_HEAL || judged->verdict == TUCK_FORMAT_CREATE) {
        int status = is_refused ? TUCK_EINVAL : write_member(set, at, look, &place->why);
        if (status != 0)
            return status;
        place->was_healed =
            judged->verdict == TUCK_FORMAT_HEAL && look->found[at].state != TUCK_FORMAT_DAMAGED;
    } else if (judged->verdict != TUCK_FORMAT_USE) {
        if (look->found[at].state == TUCK_FORMAT_UNREACHABLE && look->why[at].code < 0)
            place->why = look->why[at]; // as it was told, with its errno
        return TUCK_EINVAL;
    }
    install(set, at, look);
    return 0;
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
    if (!look)
        return tuck_fail(err, TUCK_ENOMEM, "no memory for the drives");
    for (int attempt = 0; attempt < JUDGE_MAX; attempt++) {
        for (size_t i = 0; i < set->count; i++) {
            bool is_alone = only != SIZE_MAX
                                ? i != only
                                : set->is_left_alone && set->is_left_alone(set->arg, i);
            if (is_alone || set->place[i].drive)
                assume(set, i, look, "it failed a short while ago");
            else
                look_at(set, i, look);
        }
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
        if (!is_refused)
            record_mounts(set, look);
        for (size_t i = 0; i < set->count && !is_outrun; i++)
            if (!set->place[i].drive && (only == SIZE_MAX || i == only))
                is_outrun = act(set, i, look, is_refused) > 0;
        if (is_outrun)
            continue;
        know(set, &look->judgement.set);
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
        set->must_exist = options->must_exist;
        set->is_left_alone = options->is_left_alone;
        set->arg = options->arg;
        set->place = calloc(options->count ? options->count : 1, sizeof(*set->place));
        set->gocache = options->gocache ? strdup(options->gocache) : NULL;
        has_all = set->place && (set->gocache || !options->gocache);
    }
    for (size_t i = 0; has_all && i < options->count; i++) {
        set->place[i].root = strdup(options->roots[i]);
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
        at->drive = NULL;
    }
    at->was_healed = false;
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
    if (!set->place[place].drive && ret_why)
        *ret_why = set->place[place].why;
    return set->place[place].drive;
}

bool tuck_set_was_healed(const struct tuck_set *set, size_t place) {
    return set->place[place].was_healed;
}

const char *tuck_set_root(const struct tuck_set *set, size_t place) {
    return set->place[place].root;
}

void tuck_set_order(const struct tuck_set *set, const struct tuck_output_id *output,
                    uint8_t *ret_order) {
    tuck_place_order(set->format.placement, output->bytes, TUCK_ID_BYTES, set->seed, set->count,
                     ret_order);
}

enum tuck_placement tuck_set_placement(const struct tuck_set *set) {
    return set->format.placement;
}

// --- Changing ------------------------------------------------------------------------------------

// What the drives know is gathered; then each is told the new set, of the next generation.
static int make_members(struct tuck_set *set, struct look *look, struct tuck_format *format,
                        struct tuck_error *err) {
    for (size_t i = 0; i < set->count; i++) {
        struct tuck_format_found *found = &look->found[i];
        struct tuck_format_member *member = &format->members[i];
        look_at(set, i, look);
        if (found->state == TUCK_FORMAT_MISSING) {
            int status = tuck_drive_open(set->place[i].root, true, &look->drive[i], err);
            if (status != 0)
                return status < 0 ? status : TUCK_EIO;
        } else if (found->state == TUCK_FORMAT_FOREIGN || found->state == TUCK_FORMAT_NEWER ||
                   found->state == TUCK_FORMAT_UNREACHABLE) {
            return tuck_fail(err, TUCK_EINVAL, "'%s' cannot be a drive of the set: %s",
                             set->place[i].root, look->why[i].text);
        }
        tuck_random_name(member->id);
        if (found->state == TUCK_FORMAT_GOOD) {
            memcpy(member->id, look->format[i].members[look->format[i].self].id,
                   sizeof(member->id));
            if (look->format[i].generation >= format->generation)
                format->generation = look->format[i].generation + 1;
        }
        for (size_t other = 0; other < i; other++)
            if (strcmp(format->members[other].id, member->id) == 0)
                return tuck_fail(err, TUCK_EINVAL,
                                 "'%s' and '%s' are copies of one drive; empty one of them",
                                 set->place[other].root, set->place[i].root);
        find_mount(set->place[i].root, member->mount);
        format->count++;
    }
    return 0;
}

int tuck_set_change(const char *const *roots, size_t count, enum tuck_placement placement,
                    struct tuck_error *err) {
    struct tuck_set_options options = {.roots = roots, .count = count};
    struct tuck_set *set = NULL;
    TUCK_CLEANUP(free_look) struct look *look = calloc(1, sizeof(*look));
    TUCK_CLEANUP(tuck_free) struct tuck_format *format = calloc(1, sizeof(*format));
    if (!look || !format)
        return tuck_fail(err, TUCK_ENOMEM, "no memory for the drives");
    int status = new_set(&options, &set, err);
    if (status < 0)
        return status;
    format->generation = 1;
    format->placement = placement;
    status = make_members(set, look, format, err);
    for (size_t i = 0; i < count && status == 0; i++) {
        char *text = NULL;
        format->self = i;
        status = tuck_format_write(format, &text, err);
        if (status == 0 && look->found[i].state == TUCK_FORMAT_DAMAGED)
            status = tuck_drive_set_aside_format(look->drive[i], err);
        if (status == 0)
            status = tuck_drive_write_format(look->drive[i], text, false, err);
        free(text);
    }
    tuck_set_close(set);
    return status;
}

// SPDX-License-Identifier: MIT
// tuck drive: shows the drives of the set, and changes which drives it has.
#include "cmd/tuck/command.h"
#include "lib/store/set.h"

#include <strings.h>
#include <sys/stat.h>

struct list { // borrowed paths
    const char *root[TUCK_DRIVES_MAX];
    size_t count;
};

static size_t find(const struct list *list, const char *root) {
    size_t at = 0;
    while (at < list->count && strcmp(list->root[at], root) != 0)
        at++;
    return at;
}

// The paths that a word stands for, as in the setting. NULL and said if it is none.
static const struct tuck_drives *read_roots(const char *word) {
    static struct tuck_drives parsed[TUCK_DRIVES_MAX + 2]; // borrowed from until the command ends
    static size_t count;
    struct tuck_error err = {0};
    if (count < TUCK_ARRAY_LEN(parsed) && tuck_drives_parse(word, &parsed[count], &err) == 0)
        return &parsed[count++];
    tuck_say("%s", err.text[0] ? err.text : "too many arguments");
    return NULL;
}

static const char *read_root(const char *word) {
    const struct tuck_drives *roots = read_roots(word);
    if (roots && roots->count == 1)
        return roots->paths[0];
    if (roots)
        tuck_say("'%s' stands for %zu drives; name one", word, roots->count);
    return NULL;
}

static int add_one(struct list *list, const char *root) {
    if (find(list, root) < list->count)
        return TUCK_EXIT_DONE; // the setting names it already: then it is only to become a member
    if (list->count == TUCK_DRIVES_MAX) {
        tuck_say("a set has %d drives at most", TUCK_DRIVES_MAX);
        return TUCK_EXIT_USAGE;
    }
    list->root[list->count++] = root;
    return TUCK_EXIT_DONE;
}

static int add(struct list *list, int argc, char **argv) {
    int status = TUCK_EXIT_DONE;
    for (int i = 0; i < argc && status == TUCK_EXIT_DONE; i++) {
        const struct tuck_drives *roots = read_roots(argv[i]);
        status = roots ? TUCK_EXIT_DONE : TUCK_EXIT_USAGE;
        for (size_t j = 0; status == TUCK_EXIT_DONE && j < roots->count; j++)
            status = add_one(list, roots->paths[j]);
    }
    return status;
}

// The member of this id; SIZE_MAX: there is none.
static size_t find_member(struct tuck_set *set, const char *word, size_t *ret_place) {
    size_t count = tuck_set_member_count(set);
    for (size_t member = 0; member < count; member++) {
        char id[TUCK_FORMAT_ID + 1];
        *ret_place = tuck_set_member(set, member, id);
        if (strcmp(id, word) == 0)
            return member;
    }
    return SIZE_MAX;
}

static int remove_some(struct list *list, struct tuck_set *set, int argc, char **argv) {
    for (int i = 0; i < argc; i++) {
        size_t place = SIZE_MAX;
        bool is_member = find_member(set, argv[i], &place) != SIZE_MAX;
        const char *root = is_member && place != SIZE_MAX ? tuck_set_root(set, place) : NULL;
        if (is_member && !root)
            continue; // the list does not name it, so that the new set does without it
        root = root ? root : read_root(argv[i]);
        if (!root)
            return TUCK_EXIT_USAGE;
        size_t at = find(list, root);
        if (at == list->count) {
            tuck_say("'%s' is no drive of the set; see tuck drive", argv[i]);
            return TUCK_EXIT_USAGE;
        }
        if (list->count == 1) {
            tuck_say("'%s' is the only drive; tuck clear empties it", argv[i]);
            return TUCK_EXIT_USAGE;
        }
        memmove(&list->root[at], &list->root[at + 1], (--list->count - at) * sizeof(*list->root));
    }
    return TUCK_EXIT_DONE;
}

static int replace(struct list *list, int argc, char **argv) {
    if (argc != 2) {
        tuck_say("usage: tuck drive replace OLD NEW");
        return TUCK_EXIT_USAGE;
    }
    const char *old = read_root(argv[0]), *new = old ? read_root(argv[1]) : NULL;
    if (!new)
        return TUCK_EXIT_USAGE;
    size_t at = find(list, old), other = find(list, new);
    if (at < list->count && other < list->count) {
        tuck_say("'%s' is a drive of the set already; tuck drive remove takes '%s' out", new, old);
        return TUCK_EXIT_USAGE;
    }
    if (at < list->count)
        list->root[at] = new;
    else if (other == list->count) { // else the setting names the new one already
        tuck_say("'%s' is no drive of the set; see tuck drive", argv[0]);
        return TUCK_EXIT_USAGE;
    }
    return TUCK_EXIT_DONE;
}

// One line for each place of the list: its id in the set, the path, and what is wrong. True if nothing
// is.
static bool show(const struct tuck_settings *settings, struct tuck_set *set) {
    char ids[TUCK_DRIVES_MAX][TUCK_FORMAT_ID + 1];
    bool is_good = true;
    memset(ids, 0, sizeof(ids));
    for (size_t member = 0; member < tuck_set_member_count(set); member++) {
        char id[TUCK_FORMAT_ID + 1];
        size_t place = tuck_set_member(set, member, id);
        if (place < settings->drives.count)
            memcpy(ids[place], id, sizeof(id));
    }
    for (size_t i = 0; i < settings->drives.count; i++) {
        struct tuck_error why = {0};
        bool is_there = tuck_set_drive(set, i, &why) != NULL;
        is_good &= is_there;
        fprintf(stdout, "%-*s  %s  %s%s\n", TUCK_FORMAT_ID, ids[i][0] ? ids[i] : "-",
                settings->drives.paths[i], is_there ? "in use" : "not in use: ", why.text);
    }
    for (size_t member = 0; member < tuck_set_member_count(set); member++) {
        char id[TUCK_FORMAT_ID + 1];
        if (tuck_set_member(set, member, id) != SIZE_MAX)
            continue;
        is_good = false;
        fprintf(stdout, "%s  -  not in use: the setting drives does not name it\n", id);
    }
    fprintf(stdout, "placement: %s\n", tuck_place_name(tuck_set_placement(set)));
    return is_good;
}

static int change(struct tuck_set *set, const struct list *list, enum tuck_placement placement) {
    struct tuck_error err = {0};
    if (tuck_set_change(set, list->root, list->count, placement, &err) < 0) {
        tuck_say("%s", err.text);
        return TUCK_EXIT_FAILED;
    }
    fputs("the set is changed; helpers use it when the setting says\n  drives = ", stdout);
    for (size_t i = 0; i < list->count; i++)
        fprintf(stdout, "%s%s", i ? ";" : "", list->root[i]);
    fputc('\n', stdout);
    return TUCK_EXIT_DONE;
}

static int act(const struct tuck_settings *settings, struct tuck_set *set, const char *placement,
               int argc, char **argv) {
    struct list list = {.count = settings->drives.count};
    enum tuck_placement wanted = tuck_set_placement(set);
    int status = TUCK_EXIT_USAGE;
    for (size_t i = 0; i < list.count; i++)
        list.root[i] = settings->drives.paths[i];
    if (placement && strcasecmp(placement, "crcmod") == 0)
        wanted = TUCK_CRCMOD;
    else if (placement && strcasecmp(placement, "rendezvous") == 0)
        wanted = TUCK_RENDEZVOUS;
    else if (placement) {
        tuck_say("--placement is '%s'; it can be crcmod or rendezvous", placement);
        return TUCK_EXIT_USAGE;
    }
    if (argc == 1)
        status = TUCK_EXIT_DONE;
    else if (argc > 2 && strcmp(argv[1], "add") == 0)
        status = add(&list, argc - 2, argv + 2);
    else if (argc > 2 && strcmp(argv[1], "remove") == 0)
        status = remove_some(&list, set, argc - 2, argv + 2);
    else if (argc > 2 && strcmp(argv[1], "replace") == 0)
        status = replace(&list, argc - 2, argv + 2);
    else
        tuck_say("usage: tuck drive [add DIR... | remove DIR|ID... | replace OLD NEW] "
                 "[--placement=crcmod|rendezvous]");
    return status == TUCK_EXIT_DONE ? change(set, &list, wanted) : status;
}

// Helpers that leave a drive alone for a while because it failed learn that it is back.
static void tell_helpers(const struct tuck_settings *settings) {
    struct tuck_cache *cache = NULL;
    struct tuck_cache_options options = tuck_settings_cache(settings);
    options.must_exist = true;
    if (tuck_cache_open(&options, &cache, NULL) == 0)
        tuck_command_close(cache);
}

int tuck_command_drive(int argc, char **argv) {
    struct tuck_settings settings = {0};
    struct tuck_set *set = NULL;
    struct tuck_error err = {0};
    const char *placement = NULL;
    const struct tuck_option options[] = {{"--placement", NULL, &placement}, {0}};
    (void)umask(077);
    int status = tuck_command_begin(&settings, &argc, argv, options, TUCK_DRIVES_MAX + 1);
    if (status == TUCK_EXIT_DONE) {
        struct tuck_set_options how = {
            .roots = (const char *const *)settings.drives.paths,
            .count = settings.drives.count,
            .gocache = settings.gocache,
            .must_exist = true,
        };
        int opened = tuck_set_open(&how, &set, &err);
        bool is_list = argc == 1 && !placement;
        if (opened < 0 || (opened == TUCK_SET_REFUSED && is_list))
            tuck_say("%s", err.text);
        if (opened < 0)
            status = TUCK_EXIT_FAILED;
        else if (!is_list)
            status = act(&settings, set, placement, argc, argv);
        else if (!show(&settings, set) || opened == TUCK_SET_REFUSED)
            status = TUCK_EXIT_FOUND;
        if (opened == 0 && is_list)
            tell_helpers(&settings);
    }
    tuck_set_close(set);
    tuck_settings_fini(&settings);
    return status;
}

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

static bool is_usable(const char *root) {
    size_t len = strlen(root);
    if (root[0] == '/' && len > 1 && root[len - 1] != '/')
        return true;
    tuck_say("'%s' must be an absolute path without a slash at the end", root);
    return false;
}

static int add(struct list *list, int argc, char **argv) {
    for (int i = 0; i < argc; i++) {
        if (!is_usable(argv[i]))
            return TUCK_EXIT_USAGE;
        if (find(list, argv[i]) < list->count)
            continue; // the setting names it already: then it is only to become a member
        if (list->count == TUCK_DRIVES_MAX) {
            tuck_say("a set has %d drives at most", TUCK_DRIVES_MAX);
            return TUCK_EXIT_USAGE;
        }
        list->root[list->count++] = argv[i];
    }
    return TUCK_EXIT_DONE;
}

static int remove_some(struct list *list, int argc, char **argv) {
    for (int i = 0; i < argc; i++) {
        size_t at = find(list, argv[i]);
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
    // The setting may name the new one already.
    size_t at = find(list, argv[0]);
    if (at == list->count && find(list, argv[1]) == list->count) {
        tuck_say("'%s' is no drive of the set; see tuck drive", argv[0]);
        return TUCK_EXIT_USAGE;
    }
    if (at < list->count)
        list->root[at] = argv[1];
    return is_usable(argv[1]) ? TUCK_EXIT_DONE : TUCK_EXIT_USAGE;
}

static int show(const struct tuck_settings *settings, struct tuck_set *set) {
    for (size_t i = 0; i < settings->drives.count; i++) {
        struct tuck_error why = {0};
        bool is_there = tuck_set_drive(set, i, &why) != NULL;
        fprintf(stdout, "%s: %s\n", settings->drives.paths[i], is_there ? "in use" : why.text);
    }
    fprintf(stdout, "placement: %s\n", tuck_place_name(tuck_set_placement(set)));
    return TUCK_EXIT_DONE;
}

static int change(const struct list *list, enum tuck_placement placement) {
    struct tuck_error err = {0};
    if (tuck_set_change(list->root, list->count, placement, &err) < 0) {
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
    if (argc == 1 && !placement)
        return show(settings, set);
    if (argc == 1)
        status = TUCK_EXIT_DONE;
    else if (argc > 2 && strcmp(argv[1], "add") == 0)
        status = add(&list, argc - 2, argv + 2);
    else if (argc > 2 && strcmp(argv[1], "remove") == 0)
        status = remove_some(&list, argc - 2, argv + 2);
    else if (argc > 2 && strcmp(argv[1], "replace") == 0)
        status = replace(&list, argc - 2, argv + 2);
    else
        tuck_say("usage: tuck drive [add DIR... | remove DIR... | replace OLD NEW] "
                 "[--placement=crcmod|rendezvous]");
    return status == TUCK_EXIT_DONE ? change(&list, wanted) : status;
}

int tuck_command_drive(int argc, char **argv) {
    struct tuck_settings settings = {0};
    struct tuck_set *set = NULL;
    struct tuck_error err = {0};
    const char *placement = NULL;
    const struct tuck_option options[] = {{"--placement", NULL, &placement}, {0}};
    (void)umask(077);
    int status = tuck_command_begin(&settings, &argc, argv, options, TUCK_DRIVES_MAX);
    if (status == TUCK_EXIT_DONE) {
        struct tuck_set_options how = {
            .roots = (const char *const *)settings.drives.paths,
            .count = settings.drives.count,
            .gocache = settings.gocache,
            .must_exist = true,
        };
        int opened = tuck_set_open(&how, &set, &err);
        if (opened < 0) {
            tuck_say("%s", err.text);
            status = TUCK_EXIT_FAILED;
        } else {
            if (opened == TUCK_SET_REFUSED && argc == 1)
                tuck_say("%s", err.text);
            status = act(&settings, set, placement, argc, argv);
            if (status == TUCK_EXIT_DONE && opened == TUCK_SET_REFUSED && argc == 1)
                status = TUCK_EXIT_FOUND;
        }
    }
    tuck_set_close(set);
    tuck_settings_fini(&settings);
    return status;
}

// SPDX-License-Identifier: MIT
#include "cmd/tuck-conform/place.h"
#include "lib/base/clock.h"
#include "lib/base/digest.h"

#include <errno.h>
#include <ftw.h>
#include <sys/stat.h>

#define NOBODY 65534

static char *make_below(const char *base, const char *name) {
    struct buf path = {0};
    buf_format(&path, "%s/%s", base, name);
    if (mkdir(path.data, 0700) < 0 && errno != EEXIST)
        conform_die("cannot make the directory '%s': %s", path.data, strerror(errno));
    return path.data;
}

struct place *place_new(const char *scratch, const char *name) {
    struct place *place = need_alloc(sizeof(*place));
    place->name = need_strndup(name, strlen(name));
    place->base = make_below(scratch, name);
    place->outside = need_strndup(scratch, strlen(scratch));
    place->gocache = make_below(place->base, "gocache");
    place->home = make_below(place->base, "home");
    place->tmp = make_below(place->base, "tmp");
    place->work = make_below(place->base, "work");
    struct buf dir = {0};
    buf_format(&dir, "%s/cache", place->base); // the helper makes it
    place->dir = dir.data;
    return place;
}

struct place *place_at(const char *directory) {
    struct place *place = need_alloc(sizeof(*place));
    char **const all[] = {&place->name, &place->base, &place->dir,  &place->gocache,
                          &place->home, &place->tmp,  &place->work, &place->outside};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(all); i++)
        *all[i] = need_strndup(directory, strlen(directory));
    return place;
}

void place_free(struct place *place) {
    for (size_t i = 0; i < place->known_count; i++) {
        for (size_t j = 0; j < place->known[i].body_count; j++)
            value_free(&place->known[i].bodies[j]);
        free(place->known[i].bodies);
    }
    free(place->known);
    free(place->name);
    free(place->base);
    free(place->dir);
    free(place->gocache);
    free(place->home);
    free(place->tmp);
    free(place->work);
    free(place->outside);
    free(place);
}

static int give_one(const char *path, const struct stat *status, int kind, struct FTW *where) {
    (void)status, (void)kind, (void)where;
    (void)!lchown(path, NOBODY, NOBODY);
    return 0;
}

void place_give_away(const struct place *place) {
    if (geteuid() == 0)
        (void)nftw(place->base, give_one, 16, FTW_PHYS);
}

char *place_fill_in(const struct place *place, const char *text) {
    const struct {
        const char *name, *value;
    } all[] = {{"{dir}", place->dir}, {"{gocache}", place->gocache}, {"{home}", place->home},
               {"{tmp}", place->tmp}, {"{base}", place->base},       {"{case}", place->outside}};
    struct buf filled = {0};
    while (*text) {
        size_t i = 0;
        while (i < TUCK_ARRAY_LEN(all) && strncmp(text, all[i].name, strlen(all[i].name)) != 0)
            i++;
        if (i < TUCK_ARRAY_LEN(all)) {
            buf_text(&filled, all[i].value);
            text += strlen(all[i].name);
        } else {
            buf_add(&filled, text++, 1);
        }
    }
    return filled.data ? filled.data : need_strndup("", 0);
}

const struct known *place_find(const struct place *place, const uint8_t action[TUCK_ID_BYTES]) {
    for (size_t i = 0; i < place->known_count; i++)
        if (memcmp(place->known[i].action, action, TUCK_ID_BYTES) == 0)
            return &place->known[i];
    return NULL;
}

struct known *place_known(struct place *place, const uint8_t action[TUCK_ID_BYTES]) {
    const struct known *found = place_find(place, action);
    if (found)
        return &place->known[found - place->known];
    place->known = need_realloc(place->known, (place->known_count + 1) * sizeof(*place->known));
    struct known *known = &place->known[place->known_count++];
    *known = (struct known){.must = -1};
    memcpy(known->action, action, TUCK_ID_BYTES);
    return known;
}

int place_may(struct place *place, const uint8_t action[TUCK_ID_BYTES], struct value body) {
    struct known *known = place_known(place, action);
    for (size_t i = 0; i < known->body_count; i++) {
        if (value_equal(&known->bodies[i], &body)) {
            // The latest put is the last in the list: that is what a get expects.
            struct value again = known->bodies[i];
            memmove(known->bodies + i, known->bodies + i + 1,
                    (known->body_count - i - 1) * sizeof(*known->bodies));
            known->bodies[known->body_count - 1] = again;
            if (known->must > (int)i)
                known->must--;
            else if (known->must == (int)i)
                known->must = (int)known->body_count - 1;
            return (int)known->body_count - 1;
        }
    }
    known->bodies = need_realloc(known->bodies, (known->body_count + 1) * sizeof(*known->bodies));
    known->bodies[known->body_count] = value_keep(body);
    return (int)known->body_count++;
}

void place_forget(struct place *place) {
    for (size_t i = 0; i < place->known_count; i++)
        place->known[i].must = -1;
    place->forgotten_ns = tuck_clock_mono_ns();
}

void action_of(const void *name, size_t len, uint8_t ret_action[TUCK_ID_BYTES]) {
    struct tuck_digest digest;
    struct tuck_output_id id;
    tuck_digest_init(&digest);
    tuck_digest_add(&digest, "action ", 7);
    tuck_digest_add(&digest, name, len);
    tuck_digest_end(&digest, &id);
    memcpy(ret_action, id.bytes, TUCK_ID_BYTES);
}

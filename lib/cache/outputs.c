// SPDX-License-Identifier: MIT
#include "lib/cache/outputs.h"

static uint64_t key_of(const uint8_t *id) {
    uint64_t key = tuck_id_hash(id);
    return key ? key : 1;
}

static size_t slot_of(const struct output_set *set, uint64_t key) {
    size_t at = (size_t)key & (set->room - 1);
    while (set->place[at] != 0 && set->place[at] != key)
        at = (at + 1) & (set->room - 1);
    return at;
}

static bool grow(struct output_set *set) {
    struct output_set grown = {.room = set->room ? 2 * set->room : 4096, .count = set->count};
    grown.place = calloc(grown.room, sizeof(*grown.place));
    grown.number = calloc(grown.room, sizeof(*grown.number));
    if (!grown.place || !grown.number) {
        tuck_outputs__fini(&grown);
        return false;
    }
    for (size_t i = 0; i < set->room; i++) {
        if (set->place[i] == 0)
            continue;
        size_t at = slot_of(&grown, set->place[i]);
        grown.place[at] = set->place[i];
        grown.number[at] = set->number[i];
    }
    free(set->place);
    free(set->number);
    set->place = grown.place;
    set->number = grown.number;
    set->room = grown.room;
    return true;
}

void tuck_outputs__fini(struct output_set *set) {
    free(set->place);
    free(set->number);
    *set = (struct output_set){0};
}

uint32_t *tuck_outputs__find(const struct output_set *set, const uint8_t id[TUCK_ID_BYTES]) {
    if (set->count == 0)
        return NULL;
    uint64_t key = key_of(id);
    size_t at = slot_of(set, key);
    return set->place[at] == key ? &set->number[at] : NULL;
}

uint32_t *tuck_outputs__add(struct output_set *set, const uint8_t id[TUCK_ID_BYTES],
                            bool *ret_is_new) {
    if (2 * (set->count + 1) > set->room && !grow(set)) {
        set->has_no_memory = true;
        return NULL;
    }
    uint64_t key = key_of(id);
    size_t at = slot_of(set, key);
    bool is_new = set->place[at] == 0;
    set->place[at] = key;
    set->count += is_new;
    if (ret_is_new)
        *ret_is_new = is_new;
    return &set->number[at];
}

void tuck_outputs__clear(struct output_set *set) {
    if (set->count > 0) {
        memset(set->place, 0, set->room * sizeof(*set->place));
        memset(set->number, 0, set->room * sizeof(*set->number));
    }
    set->count = 0;
    set->has_no_memory = false;
}

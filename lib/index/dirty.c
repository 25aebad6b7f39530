// SPDX-License-Identifier: MIT
#include "lib/index/dirty.h"
#include "lib/base/clock.h"

#define FUTURE_NS    (3600 * TUCK_NS_PER_S) // a put time further ahead is not believed
#define PLAUSIBLE_NS (UINT64_C(1577836800) * TUCK_NS_PER_S) // 2020

bool tuck_index__is_from_future(uint64_t put_ns) {
    uint64_t now_ns = tuck_clock_wall_ns();
    return now_ns > PLAUSIBLE_NS && put_ns > now_ns + FUTURE_NS;
}

struct dirty *tuck_index__dirty_find(const struct dirty_table *table,
                                     const struct tuck_action_id *action) {
    if (table->used == 0)
        return NULL;
    for (size_t i = tuck_id_hash(action->bytes);; i++) {
        struct dirty *place = &table->place[i & (table->room - 1)];
        if (place->kind == DIRTY_NONE)
            return NULL;
        if (tuck_action_equal(&place->action, action))
            return place;
    }
}

static bool dirty_grow(struct dirty_table *table) {
    size_t room = table->room ? 2 * table->room : 64;
    struct dirty *place = calloc(room, sizeof(*place));
    if (!place)
        return false;
    for (size_t old = 0; old < table->room; old++) {
        if (table->place[old].kind == DIRTY_NONE)
            continue;
        size_t i = tuck_id_hash(table->place[old].action.bytes);
        while (place[i & (room - 1)].kind != DIRTY_NONE)
            i++;
        place[i & (room - 1)] = table->place[old];
    }
    free(table->place);
    table->place = place;
    table->room = room;
    return true;
}

bool tuck_index__dirty_add(struct dirty_table *table, const struct dirty *item) {
    struct dirty *present = tuck_index__dirty_find(table, &item->action);
    if (present) {
        if (item->entry.put_ns < present->entry.put_ns &&
            !tuck_index__is_from_future(present->entry.put_ns))
            return true;
        enum dirty_kind kind = item->kind;
        if (kind == DIRTY_TOUCH && present->kind == DIRTY_PUT) {
            if (item->entry.put_ns != present->entry.put_ns)
                return true;
            kind = DIRTY_PUT;
        }
        struct tuck_entry before = present->entry;
        bool was_good = present->is_known_good && before.put_ns == item->entry.put_ns;
        present->entry = item->entry;
        if (was_good && !item->is_known_good) { // a use takes nothing back
            present->entry.boot = before.boot;
            present->entry.file_tag = before.file_tag;
            present->entry.is_synced = before.is_synced;
        }
        present->is_known_good = was_good || item->is_known_good;
        present->is_spooled &= item->is_spooled;
        present->kind = kind;
        return true;
    }
    if (2 * (table->used + 1) > table->room &&
        (table->used >= TUCK_INDEX_DIRTY_MAX || !dirty_grow(table)))
        return false;
    size_t i = tuck_id_hash(item->action.bytes);
    while (table->place[i & (table->room - 1)].kind != DIRTY_NONE)
        i++;
    table->place[i & (table->room - 1)] = *item;
    table->used++;
    return true;
}

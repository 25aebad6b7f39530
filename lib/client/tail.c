// SPDX-License-Identifier: MIT
#include "lib/client/tail.h"

#include <errno.h>

int tuck_tail_init(struct tuck_tail *tail, size_t room) {
    char *data = room ? malloc(room) : NULL;
    if (room && !data)
        return -ENOMEM;
    *tail = (struct tuck_tail){.room = room, .data = data};
    tuck_mutex_init(&tail->lock, TUCK_RANK_TAIL);
    return 0;
}

void tuck_tail_fini(struct tuck_tail *tail) {
    tuck_mutex_fini(&tail->lock);
    free(tail->data);
}

void tuck_tail_add(struct tuck_tail *tail, const char *data, size_t len) {
    tuck_lock(&tail->lock);
    if (len > tail->room) {
        data += len - tail->room;
        tail->total += len - tail->room;
        len = tail->room;
    }
    while (len > 0) {
        size_t at = (size_t)(tail->total % tail->room);
        size_t part = tail->room - at < len ? tail->room - at : len;
        memcpy(tail->data + at, data, part);
        tail->total += part;
        data += part;
        len -= part;
    }
    tuck_unlock(&tail->lock);
}

size_t tuck_tail_copy(struct tuck_tail *tail, char *ret_text, size_t room) {
    if (room == 0)
        return 0;
    tuck_lock(&tail->lock);
    uint64_t kept = tail->total < tail->room ? tail->total : tail->room;
    size_t len = kept < room - 1 ? (size_t)kept : room - 1;
    for (size_t i = 0; i < len; i++)
        ret_text[i] = tail->data[(tail->total - len + i) % tail->room];
    tuck_unlock(&tail->lock);
    ret_text[len] = '\0';
    return len;
}

// SPDX-License-Identifier: MIT
/*
 * Object: a JSON object as text, field by field, which a case can bend: fields set to anything, left
 * out, given twice, in another order, in other letter case, or laid out over many lines. Requests
 * and answers are made of them.
 *
 * Threads: none. Ownership: the caller's; object_free() releases what is inside.
 */
#pragma once
#include "cmd/tuck-conform/engine.h"

#define OBJECT_FIELDS 12

struct field {
    char *name;
    struct buf json;
};

struct object {
    struct field fields[OBJECT_FIELDS];
    size_t count;
    const char *names; // upper, lower or mixed: letter case of the names; NULL: as they are
    const char *order; // NAME,NAME...: those, in this order; NULL: as they were added
    bool is_pretty;
};

/** Adds a field at this place and returns it; its value is empty. */
struct field *object_add(struct object *object, const char *name, size_t at);

/** Add a field behind all others. */
void object_add_json(struct object *object, const char *name, const char *json);
void object_add_number(struct object *object, const char *name, int64_t number);
void object_add_id(struct object *object, const char *name, const uint8_t id[TUCK_ID_BYTES]);
void object_add_text(struct object *object, const char *name, const char *text);

struct field *object_find(struct object *object, const char *name);

/** Takes a word of a case that is about a field: Name=JSON sets one, +Name= adds one behind, ^Name=
 * in front, -Name leaves it out. False if the word is about something else. */
bool object_take(struct engine *engine, struct object *object, struct value word);

/** Takes an option that is about the layout: pretty, names=, order=. False if it is another. */
bool object_take_layout(struct object *object, const char *option);

/** Appends the object, without a line end. */
void object_write(struct engine *engine, const struct object *object, struct buf *ret_text);

void object_free(struct object *object);

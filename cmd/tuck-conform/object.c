// SPDX-License-Identifier: MIT
#include "cmd/tuck-conform/object.h"

#include <ctype.h>

// -- fields --------------------------------------------------------------------------------------
struct field *object_add(struct object *object, const char *name, size_t at) {
    if (object->count == OBJECT_FIELDS)
        conform_die("too many fields in one object");
    memmove(object->fields + at + 1, object->fields + at,
            (object->count - at) * sizeof(*object->fields));
    object->count++;
    object->fields[at] = (struct field){.name = need_strndup(name, strlen(name))};
    return &object->fields[at];
}

void object_add_json(struct object *object, const char *name, const char *json) {
    buf_text(&object_add(object, name, object->count)->json, json);
}

void object_add_number(struct object *object, const char *name, int64_t number) {
    buf_format(&object_add(object, name, object->count)->json, "%lld", (long long)number);
}

void object_add_id(struct object *object, const char *name, const uint8_t id[TUCK_ID_BYTES]) {
    struct buf *json = &object_add(object, name, object->count)->json;
    buf_text(json, "\"");
    buf_base64(json, id, TUCK_ID_BYTES);
    buf_text(json, "\"");
}

void object_add_text(struct object *object, const char *name, const char *text) {
    struct buf *json = &object_add(object, name, object->count)->json;
    buf_text(json, "\"");
    for (; *text; text++) {
        if (*text == '"' || *text == '\\' || (unsigned char)*text < 0x20)
            buf_format(json, "\\u%04x", (unsigned char)*text);
        else
            buf_add(json, text, 1);
    }
    buf_text(json, "\"");
}

struct field *object_find(struct object *object, const char *name) {
    for (size_t i = 0; i < object->count; i++)
        if (strcmp(object->fields[i].name, name) == 0)
            return &object->fields[i];
    return NULL;
}

static void drop_field(struct object *object, struct field *field) {
    size_t at = (size_t)(field - object->fields);
    free(field->name);
    buf_free(&field->json);
    memmove(field, field + 1, (object->count - at - 1) * sizeof(*field));
    object->count--;
}

void object_free(struct object *object) {
    while (object->count)
        drop_field(object, &object->fields[0]);
}

// -- words of a case -----------------------------------------------------------------------------
bool object_take(struct engine *engine, struct object *object, struct value word) {
    const char *equals = word.len ? memchr(word.data, '=', word.len) : NULL;
    char mark = word.len && strchr("+^-", word.data[0]) ? word.data[0] : 0;
    const char *from = word.data + (mark ? 1 : 0);
    size_t len = equals ? (size_t)(equals - from) : word.len - (mark ? 1 : 0);
    if (word.len == 0 || len == 0 || !isupper((unsigned char)*from) || (!equals && mark != '-'))
        return false;
    char *name = need_strndup(from, len);
    struct field *field = mark == '+' || mark == '^' ? NULL : object_find(object, name);
    if (mark == '-') {
        if (!field || equals)
            script_error(engine, "there is no field '%s' to leave out", name);
        drop_field(object, field);
    } else {
        if (!field)
            field = object_add(object, name, mark == '^' ? 0 : object->count);
        field->json.len = 0;
        buf_add(&field->json, equals + 1, word.len - (size_t)(equals + 1 - word.data));
    }
    free(name);
    return true;
}

bool object_take_layout(struct object *object, const char *option) {
    if (strncmp(option, "names=", 6) == 0)
        object->names = option + 6;
    else if (strncmp(option, "order=", 6) == 0)
        object->order = option + 6;
    else if (strcmp(option, "pretty") == 0)
        object->is_pretty = true;
    else
        return false;
    return true;
}

// -- text ----------------------------------------------------------------------------------------
static void add_name(struct buf *text, const char *name, const char *how) {
    for (size_t i = 0; name[i]; i++) {
        char c = name[i];
        if (how && (strcmp(how, "lower") == 0 || (strcmp(how, "mixed") == 0 && i % 2 == 0)))
            c = (char)tolower((unsigned char)c);
        else if (how)
            c = (char)toupper((unsigned char)c);
        buf_add(text, &c, 1);
    }
}

static void add_one_field(const struct object *object, const struct field *field,
                          struct buf *text) {
    buf_text(text, object->is_pretty ? "\r\n\t\"" : "\"");
    add_name(text, field->name, object->names);
    buf_text(text, object->is_pretty ? "\" :\n\n " : "\":");
    buf_add(text, field->json.data, field->json.len);
}

void object_write(struct engine *engine, const struct object *object, struct buf *ret_text) {
    const char *comma = object->is_pretty ? " ,\n" : ",";
    const char *at = object->order;
    buf_text(ret_text, "{");
    for (size_t done = 0; at ? *at != '\0' : done < object->count; done++) {
        size_t i = at ? 0 : done, len = at ? strcspn(at, ",") : 0;
        while (at && i < object->count &&
               (strlen(object->fields[i].name) != len ||
                strncmp(object->fields[i].name, at, len) != 0))
            i++;
        if (i == object->count)
            script_error(engine, "there is no field '%.*s' to order", (int)len, at);
        buf_text(ret_text, done ? comma : "");
        add_one_field(object, &object->fields[i], ret_text);
        if (at)
            at += len + (at[len] == ',');
    }
    buf_text(ret_text, object->is_pretty ? "\n}" : "}");
}

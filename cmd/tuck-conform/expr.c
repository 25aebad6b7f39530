// SPDX-License-Identifier: MIT
#include "cmd/tuck-conform/engine.h"
#include "lib/base/clock.h"
#include "lib/base/digest.h"

#include <ctype.h>
#include <errno.h>
#include <regex.h>
#include <sys/stat.h>
#include <sys/wait.h>

typedef struct value function(struct engine *engine, const struct word *words, size_t count);

static struct value from_buf(struct engine *engine, struct buf *buf) {
    char *data = arena_alloc(&engine->arena, buf->len);
    if (buf->len)
        memcpy(data, buf->data, buf->len);
    struct value value = value_bytes(data, buf->len);
    buf_free(buf);
    return value;
}

static struct value from_number(struct engine *engine, int64_t number) {
    struct buf text = {0};
    buf_format(&text, "%lld", (long long)number);
    return from_buf(engine, &text);
}

static struct value flat(struct engine *engine, const struct word *word) {
    return value_flat(&engine->arena, word_value(engine, word));
}

// -- bytes ---------------------------------------------------------------------------------------
static struct value call_b64(struct engine *engine, const struct word *words, size_t count) {
    (void)count;
    struct value raw = flat(engine, &words[0]);
    struct buf text = {0};
    buf_base64(&text, raw.data, raw.len);
    return from_buf(engine, &text);
}

static struct value call_sha(struct engine *engine, const struct word *words, size_t count) {
    (void)count;
    struct value raw = word_value(engine, &words[0]);
    uint8_t *digest = arena_alloc(&engine->arena, TUCK_ID_BYTES);
    value_digest(&raw, digest);
    return value_bytes(digest, TUCK_ID_BYTES);
}

static struct value call_out(struct engine *engine, const struct word *words, size_t count) {
    struct value digest = call_sha(engine, words, count);
    struct buf text = {0};
    buf_base64(&text, digest.data, digest.len);
    return from_buf(engine, &text);
}

static struct value call_id(struct engine *engine, const struct word *words, size_t count) {
    (void)count;
    struct value name = flat(engine, &words[0]);
    uint8_t *action = arena_alloc(&engine->arena, TUCK_ID_BYTES);
    action_of(name.data, name.len, action);
    return value_bytes(action, TUCK_ID_BYTES);
}

static struct value call_aid(struct engine *engine, const struct word *words, size_t count) {
    struct value action = call_id(engine, words, count);
    struct buf text = {0};
    buf_base64(&text, action.data, action.len);
    return from_buf(engine, &text);
}

static struct value call_hex(struct engine *engine, const struct word *words, size_t count) {
    (void)count;
    struct value raw = flat(engine, &words[0]);
    char *text = arena_alloc(&engine->arena, 2 * raw.len);
    tuck_hex(text, (const uint8_t *)raw.data, raw.len);
    return value_bytes(text, 2 * raw.len);
}

static struct value call_random(struct engine *engine, const struct word *words, size_t count) {
    (void)count;
    struct value seed = call_sha(engine, words, 1);
    struct value body = {.kind = VALUE_RANDOM};
    memcpy(&body.seed, seed.data, sizeof(body.seed));
    body.size = (uint64_t)word_number(engine, &words[1]);
    return body.size > 1 << 20 ? body : value_flat(&engine->arena, body);
}

static struct value call_pattern(struct engine *engine, const struct word *words, size_t count) {
    (void)count;
    struct value text = flat(engine, &words[0]);
    if (text.len == 0)
        script_error(engine, "a pattern of nothing");
    text.kind = VALUE_PATTERN;
    text.size = (uint64_t)word_number(engine, &words[1]);
    return text.size > 1 << 20 ? text : value_flat(&engine->arena, text);
}

static struct value call_zeros(struct engine *engine, const struct word *words, size_t count) {
    (void)count;
    struct value body = {.kind = VALUE_PATTERN, .data = "\0\0\0\0\0\0\0\0", .len = 8};
    body.size = (uint64_t)word_number(engine, &words[0]);
    return body.size > 1 << 20 ? body : value_flat(&engine->arena, body);
}

static struct value call_repeat(struct engine *engine, const struct word *words, size_t count) {
    (void)count;
    struct value text = flat(engine, &words[1]);
    struct buf all = {0};
    for (int64_t i = word_number(engine, &words[0]); i > 0; i--)
        buf_add(&all, text.data, text.len);
    return from_buf(engine, &all);
}

// Negative places count from the end.
static size_t place_in(struct engine *engine, const struct word *word, size_t len) {
    int64_t at = word_number(engine, word);
    at = at < 0 ? at + (int64_t)len : at;
    return at < 0 ? 0 : (size_t)at > len ? len : (size_t)at;
}

static struct value call_cut(struct engine *engine, const struct word *words, size_t count) {
    struct value text = flat(engine, &words[0]);
    size_t from = place_in(engine, &words[1], text.len);
    size_t to = count > 2 ? place_in(engine, &words[2], text.len) : text.len;
    return value_bytes(text.data + from, to > from ? to - from : 0);
}

static struct value call_replace(struct engine *engine, const struct word *words, size_t count) {
    (void)count;
    struct value text = flat(engine, &words[0]), from = flat(engine, &words[1]),
                 to = flat(engine, &words[2]);
    struct buf all = {0};
    for (size_t i = 0; i < text.len;) {
        bool is_here =
            from.len && text.len - i >= from.len && memcmp(text.data + i, from.data, from.len) == 0;
        buf_add(&all, is_here ? to.data : text.data + i, is_here ? to.len : 1);
        i += is_here ? from.len : 1;
    }
    return from_buf(engine, &all);
}

// Puts the second text behind each so many bytes of the first.
static struct value call_every(struct engine *engine, const struct word *words, size_t count) {
    (void)count;
    struct value text = flat(engine, &words[0]), mark = flat(engine, &words[2]);
    size_t step = (size_t)word_number(engine, &words[1]);
    struct buf all = {0};
    for (size_t i = 0; i < text.len; i++) {
        buf_add(&all, text.data + i, 1);
        if (i % step == step - 1 && i + 1 < text.len)
            buf_add(&all, mark.data, mark.len);
    }
    return from_buf(engine, &all);
}

static struct value call_uescape(struct engine *engine, const struct word *words, size_t count) {
    struct value text = flat(engine, &words[0]);
    size_t step = count > 1 ? (size_t)word_number(engine, &words[1]) : 1;
    struct buf all = {0};
    for (size_t i = 0; i < text.len; i++) {
        if (i % step == 0)
            buf_format(&all, "\\u%04x", (unsigned char)text.data[i]);
        else
            buf_add(&all, text.data + i, 1);
    }
    return from_buf(engine, &all);
}

static struct value call_json(struct engine *engine, const struct word *words, size_t count) {
    (void)count;
    struct value text = flat(engine, &words[0]);
    struct buf all = {0};
    buf_text(&all, "\"");
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c == '"' || c == '\\')
            buf_format(&all, "\\%c", c);
        else if (c < 0x20)
            buf_format(&all, "\\u%04x", c);
        else
            buf_add(&all, &c, 1);
    }
    buf_text(&all, "\"");
    return from_buf(engine, &all);
}

static struct value call_upper(struct engine *engine, const struct word *words, size_t count) {
    (void)count;
    struct value text = flat(engine, &words[0]);
    char *copy = arena_alloc(&engine->arena, text.len);
    for (size_t i = 0; i < text.len; i++)
        copy[i] = (char)toupper((unsigned char)text.data[i]);
    return value_bytes(copy, text.len);
}

static struct value call_len(struct engine *engine, const struct word *words, size_t count) {
    (void)count;
    struct value value = word_value(engine, &words[0]);
    return from_number(engine, (int64_t)value_size(&value));
}

// -- numbers -------------------------------------------------------------------------------------
#define ARITHMETIC(name, operation)                                                                \
    static struct value call_##name(struct engine *engine, const struct word *words,               \
                                    size_t count) {                                                \
        (void)count;                                                                               \
        int64_t a = word_number(engine, &words[0]), b = word_number(engine, &words[1]);            \
        return from_number(engine, operation);                                                     \
    }
ARITHMETIC(add, a + b)
ARITHMETIC(sub, a - b)
ARITHMETIC(mul, a *b)
ARITHMETIC(div, b ? a / b : 0)
ARITHMETIC(mod, b ? a % b : 0)

// -- lists: one item a line ----------------------------------------------------------------------
static struct value call_words(struct engine *engine, const struct word *words, size_t count) {
    struct buf all = {0};
    for (size_t i = 0; i < count; i++) {
        struct value text = flat(engine, &words[i]);
        for (size_t at = 0; at < text.len; at++)
            buf_add(&all, text.data[at] == ' ' ? "\n" : text.data + at, 1);
        if (i + 1 < count)
            buf_text(&all, "\n");
    }
    return from_buf(engine, &all);
}

static void permute(struct buf *all, const char **names, size_t fixed, size_t count) {
    if (fixed == count) {
        for (size_t i = 0; i < count; i++)
            buf_format(all, "%s%s", i ? "," : all->len ? "\n" : "", names[i]);
        return;
    }
    for (size_t i = fixed; i < count; i++) {
        const char *swapped = names[fixed];
        names[fixed] = names[i];
        names[i] = swapped;
        permute(all, names, fixed + 1, count);
        names[i] = names[fixed];
        names[fixed] = swapped;
    }
}

static struct value call_permutations(struct engine *engine, const struct word *words,
                                      size_t count) {
    const char *names[6];
    struct buf all = {0};
    if (count > TUCK_ARRAY_LEN(names))
        script_error(engine, "too many permutations");
    for (size_t i = 0; i < count; i++)
        names[i] = word_string(engine, &words[i]);
    permute(&all, names, 0, count);
    return from_buf(engine, &all);
}

static struct value call_files(struct engine *engine, const struct word *words, size_t count) {
    (void)count;
    const char *what = word_string(engine, &words[0]);
    enum profile_key key = profile_key_of(what);
    struct buf all = {0};
    if (key == PROFILE_MAX)
        find_files(engine, what, &all);
    for (size_t i = 0; key < PROFILE_MAX && i < PROFILE_VALUES; i++)
        if (engine->setup->profile->value[key][i])
            find_files(engine, engine->setup->profile->value[key][i], &all);
    return from_buf(engine, &all);
}

static struct value call_strays(struct engine *engine, const struct word *words, size_t count) {
    (void)words, (void)count;
    struct buf all = {0};
    find_strays(engine, &all);
    return from_buf(engine, &all);
}

// -- answers -------------------------------------------------------------------------------------
struct helper *find_helper(struct engine *engine, const char *name) {
    if (!name)
        name = "h";
    for (struct helper *one = engine->group.first; one; one = one->next)
        if (strcmp(one->name, name) == 0)
            return one;
    script_error(engine, "there is no helper '%s'", name);
}

struct request *find_request(struct engine *engine, const char *name, struct helper **ret_helper) {
    for (struct reference *one = engine->references; one; one = one->next) {
        if (strcmp(one->name, name) == 0) {
            *ret_helper = one->helper;
            return &one->helper->requests[one->request];
        }
    }
    struct value text = value_text(name);
    int64_t id;
    if (!value_number(&text, &id))
        script_error(engine, "'%s' names no request", name);
    *ret_helper = engine->helper;
    return engine->helper ? helper_request(engine->helper, id) : NULL;
}

static const json_t *field_of(struct engine *engine, const struct word *word, const char *field) {
    struct helper *helper;
    const struct request *request = find_request(engine, word_string(engine, word), &helper);
    return request && request->answer ? json_object_get(request->answer, field) : NULL;
}

static struct value field_text(struct engine *engine, const json_t *field) {
    struct buf text = {0};
    if (json_is_string(field)) {
        buf_add(&text, json_string_value(field), json_string_length(field));
    } else if (field && !json_is_null(field)) {
        char *form = json_dumps(field, JSON_ENCODE_ANY | JSON_COMPACT);
        buf_text(&text, form ? form : "");
        free(form);
    }
    return from_buf(engine, &text);
}

static struct value call_field(struct engine *engine, const struct word *words, size_t count) {
    (void)count;
    return field_text(engine, field_of(engine, &words[0], word_string(engine, &words[1])));
}

static struct value call_path(struct engine *engine, const struct word *words, size_t count) {
    (void)count;
    return field_text(engine, field_of(engine, &words[0], "DiskPath"));
}

static struct value call_time(struct engine *engine, const struct word *words, size_t count) {
    (void)count;
    const json_t *field = field_of(engine, &words[0], "Time");
    int64_t ns = -1;
    bool has_fraction;
    if (!json_is_string(field) || !parse_time(json_string_value(field), &ns, &has_fraction))
        ns = -1;
    return from_number(engine, ns);
}

static struct value call_place(struct engine *engine, const struct word *words, size_t count) {
    (void)count;
    struct helper *helper;
    const struct request *request = find_request(engine, word_string(engine, &words[0]), &helper);
    return from_number(engine, request && request->answer ? (int64_t)request->place : -1);
}

// -- helpers -------------------------------------------------------------------------------------
static struct helper *that_helper(struct engine *engine, const struct word *words, size_t count) {
    return count ? find_helper(engine, word_string(engine, &words[0])) : engine->helper;
}

static struct value call_commands(struct engine *engine, const struct word *words, size_t count) {
    const json_t *names =
        json_object_get(that_helper(engine, words, count)->hello, "KnownCommands");
    struct buf all = {0};
    for (size_t i = 0; i < json_array_size(names); i++)
        buf_format(&all, "%s%s", i ? "\n" : "", json_string_value(json_array_get(names, i)));
    return from_buf(engine, &all);
}

static struct value call_stderr(struct engine *engine, const struct word *words, size_t count) {
    const struct helper *helper = that_helper(engine, words, count);
    return value_bytes(helper->stderr_raw.data, helper->stderr_raw.len);
}

static struct value call_exit(struct engine *engine, const struct word *words, size_t count) {
    struct helper *helper = that_helper(engine, words, count);
    if (!helper_is_over(helper))
        return value_text("running");
    if (WIFSIGNALED(helper->status))
        return value_text("signal");
    return from_number(engine, WEXITSTATUS(helper->status));
}

static struct value call_memory(struct engine *engine, const struct word *words, size_t count) {
    return from_number(engine, (int64_t)helper_memory(that_helper(engine, words, count)));
}

static struct value call_descriptors(struct engine *engine, const struct word *words,
                                     size_t count) {
    uint64_t disk;
    return from_number(engine,
                       (int64_t)helper_descriptors(that_helper(engine, words, count), &disk));
}

static struct value call_unnamed(struct engine *engine, const struct word *words, size_t count) {
    uint64_t disk;
    (void)helper_descriptors(that_helper(engine, words, count), &disk);
    return from_number(engine, (int64_t)disk);
}

static struct value call_children(struct engine *engine, const struct word *words, size_t count) {
    return from_number(engine, (int64_t)helper_left_behind(that_helper(engine, words, count)));
}

static struct value call_fastest(struct engine *engine, const struct word *words, size_t count) {
    (void)words, (void)count;
    return from_number(engine, (int64_t)engine->fastest_hello_ns);
}

// N + 2^64, in digits: what becomes N where arithmetic wraps
static struct value call_big(struct engine *engine, const struct word *words, size_t count) {
    (void)count;
    const uint64_t billion = 1000000000, high = 18446744073, low = 709551616;
    uint64_t sum = low + (uint64_t)word_number(engine, &words[0]);
    struct buf text = {0};
    buf_format(&text, "%llu%09llu", (unsigned long long)(high + sum / billion),
               (unsigned long long)(sum % billion));
    return from_buf(engine, &text);
}

// -- files ---------------------------------------------------------------------------------------
static bool look_at(struct engine *engine, const struct word *word, struct stat *ret_status) {
    return lstat(word_string(engine, word), ret_status) == 0;
}

static struct value call_size(struct engine *engine, const struct word *words, size_t count) {
    (void)count;
    struct stat status;
    return from_number(engine, look_at(engine, &words[0], &status) ? status.st_size : -1);
}

static struct value call_mode(struct engine *engine, const struct word *words, size_t count) {
    (void)count;
    struct stat status;
    struct buf text = {0};
    if (stat(word_string(engine, &words[0]), &status) == 0)
        buf_format(&text, "%04o", status.st_mode & 07777);
    return from_buf(engine, &text);
}

static struct value call_inode(struct engine *engine, const struct word *words, size_t count) {
    (void)count;
    struct stat status;
    return from_number(engine, look_at(engine, &words[0], &status) ? (int64_t)status.st_ino : -1);
}

static struct value call_kind(struct engine *engine, const struct word *words, size_t count) {
    (void)count;
    struct stat status;
    if (!look_at(engine, &words[0], &status))
        return value_text("nothing");
    return value_text(S_ISREG(status.st_mode)   ? "file"
                      : S_ISDIR(status.st_mode) ? "directory"
                      : S_ISLNK(status.st_mode) ? "link"
                                                : "other");
}

static struct value call_content(struct engine *engine, const struct word *words, size_t count) {
    (void)count;
    FILE *file = fopen(word_string(engine, &words[0]), "re");
    struct buf all = {0};
    char block[4096];
    for (size_t got; file && (got = fread(block, 1, sizeof(block), file)) > 0;)
        buf_add(&all, block, got);
    if (file)
        (void)fclose(file);
    return from_buf(engine, &all);
}

static struct value call_basename(struct engine *engine, const struct word *words, size_t count) {
    (void)count;
    const char *path = word_string(engine, &words[0]), *slash = strrchr(path, '/');
    return value_text(slash ? slash + 1 : path);
}

static struct value call_dirname(struct engine *engine, const struct word *words, size_t count) {
    (void)count;
    const char *path = word_string(engine, &words[0]), *slash = strrchr(path, '/');
    return value_bytes(path, slash ? (size_t)(slash - path) : 0);
}

// -- surroundings --------------------------------------------------------------------------------
static struct value call_in(struct engine *engine, const struct word *words, size_t count) {
    (void)count;
    const char *what = word_string(engine, &words[0]);
    char *filled = place_fill_in(engine->place, what);
    struct value value = value_bytes(arena_alloc(&engine->arena, strlen(filled)), strlen(filled));
    memcpy((char *)(uintptr_t)value.data, filled, value.len);
    free(filled);
    return value;
}

static struct value call_now(struct engine *engine, const struct word *words, size_t count) {
    (void)words, (void)count;
    return from_number(engine, (int64_t)tuck_clock_wall_ns());
}

static struct value call_scaled(struct engine *engine, const struct word *words, size_t count) {
    (void)count;
    return from_number(engine,
                       (int64_t)((double)word_number(engine, &words[0]) * engine->setup->scale));
}

static struct value call_user(struct engine *engine, const struct word *words, size_t count) {
    (void)engine, (void)words, (void)count;
    return value_text(geteuid() == 0 ? "root" : "plain");
}

static struct value call_long(struct engine *engine, const struct word *words, size_t count) {
    (void)count;
    return word_value(engine, &words[engine->setup->is_long ? 1 : 0]);
}

static struct value call_has(struct engine *engine, const struct word *words, size_t count) {
    (void)count;
    const char *what = word_string(engine, &words[0]);
    enum profile_key key = profile_key_of(what);
    bool is_there = strcmp(what, "directory") == 0 ? engine->setup->has_directory
                    : key < PROFILE_MAX            ? engine->setup->profile->value[key][0] != NULL
                                                   : find_variable(engine, what) != NULL;
    return value_text(is_there ? "yes" : "no");
}

static struct value call_profile(struct engine *engine, const struct word *words, size_t count) {
    (void)count;
    enum profile_key key = profile_key_of(word_string(engine, &words[0]));
    if (key == PROFILE_MAX)
        script_error(engine, "a profile has no such key");
    const char *value = engine->setup->profile->value[key][0];
    char *filled = place_fill_in(engine->place, value ? value : "");
    struct value copy = value_bytes(arena_alloc(&engine->arena, strlen(filled)), strlen(filled));
    memcpy((char *)(uintptr_t)copy.data, filled, copy.len);
    free(filled);
    return copy;
}

static const struct {
    const char *name;
    size_t least, most;
    bool is_list;
    function *call;
} functions[] = {
    {"b64", 1, 1, false, call_b64},
    {"sha", 1, 1, false, call_sha},
    {"out", 1, 1, false, call_out},
    {"id", 1, 1, false, call_id},
    {"aid", 1, 1, false, call_aid},
    {"hex", 1, 1, false, call_hex},
    {"random", 2, 2, false, call_random},
    {"pattern", 2, 2, false, call_pattern},
    {"zeros", 1, 1, false, call_zeros},
    {"repeat", 2, 2, false, call_repeat},
    {"cut", 2, 3, false, call_cut},
    {"replace", 3, 3, false, call_replace},
    {"every", 3, 3, false, call_every},
    {"uescape", 1, 2, false, call_uescape},
    {"json", 1, 1, false, call_json},
    {"upper", 1, 1, false, call_upper},
    {"len", 1, 1, false, call_len},
    {"add", 2, 2, false, call_add},
    {"sub", 2, 2, false, call_sub},
    {"mul", 2, 2, false, call_mul},
    {"div", 2, 2, false, call_div},
    {"mod", 2, 2, false, call_mod},
    {"big", 1, 1, false, call_big},
    {"words", 1, 20, true, call_words},
    {"permutations", 1, 6, true, call_permutations},
    {"files", 1, 1, true, call_files},
    {"strays", 0, 0, true, call_strays},
    {"commands", 0, 1, true, call_commands},
    {"field", 2, 2, false, call_field},
    {"path", 1, 1, false, call_path},
    {"time", 1, 1, false, call_time},
    {"place", 1, 1, false, call_place},
    {"stderr", 0, 1, false, call_stderr},
    {"exit", 0, 1, false, call_exit},
    {"memory", 0, 1, false, call_memory},
    {"descriptors", 0, 1, false, call_descriptors},
    {"disk", 0, 1, false, call_unnamed},
    {"children", 0, 1, false, call_children},
    {"fastest", 0, 0, false, call_fastest},
    {"size", 1, 1, false, call_size},
    {"mode", 1, 1, false, call_mode},
    {"inode", 1, 1, false, call_inode},
    {"kind", 1, 1, false, call_kind},
    {"content", 1, 1, false, call_content},
    {"basename", 1, 1, false, call_basename},
    {"dirname", 1, 1, false, call_dirname},
    {"in", 1, 1, false, call_in},
    {"now", 0, 0, false, call_now},
    {"scaled", 1, 1, false, call_scaled},
    {"user", 0, 0, false, call_user},
    {"long", 2, 2, false, call_long},
    {"has", 1, 1, false, call_has},
    {"profile", 1, 1, false, call_profile},
};

bool expr_is_function(const char *name) {
    for (size_t i = 0; i < TUCK_ARRAY_LEN(functions); i++)
        if (strcmp(functions[i].name, name) == 0)
            return true;
    return false;
}

// -- words ---------------------------------------------------------------------------------------
static struct value part_value(struct engine *engine, const struct part *part) {
    if (part->kind == PART_TEXT)
        return value_bytes(part->text, part->len);
    if (part->kind == PART_VARIABLE) {
        const struct value *value = find_variable(engine, part->text);
        if (!value)
            script_error(engine, "there is no variable $%s", part->text);
        return *value;
    }
    size_t i = 0;
    while (strcmp(functions[i].name, part->text) != 0)
        i++;
    if (part->word_count < functions[i].least || part->word_count > functions[i].most)
        script_error(engine, "$(%s takes %zu to %zu words", part->text, functions[i].least,
                     functions[i].most);
    return functions[i].call(engine, part->words, part->word_count);
}

struct value word_value(struct engine *engine, const struct word *word) {
    if (word->part_count == 1)
        return part_value(engine, &word->parts[0]);
    struct buf all = {0};
    for (size_t i = 0; i < word->part_count; i++) {
        struct value part = value_flat(&engine->arena, part_value(engine, &word->parts[i]));
        buf_add(&all, part.data, part.len);
    }
    return from_buf(engine, &all);
}

const char *word_string(struct engine *engine, const struct word *word) {
    struct value value = value_flat(&engine->arena, word_value(engine, word));
    char *text = arena_alloc(&engine->arena, value.len);
    if (value.len)
        memcpy(text, value.data, value.len);
    text[value.len] = '\0';
    return text;
}

int64_t word_number(struct engine *engine, const struct word *word) {
    struct value value = word_value(engine, word);
    int64_t number;
    if (!value_number(&value, &number))
        script_error(engine, "'%s' is no number", word_string(engine, word));
    return number;
}

struct list {
    struct value *values;
    size_t count;
};

static void add_value(struct list *list, struct value value) {
    list->values = need_realloc(list->values, (list->count + 1) * sizeof(*list->values));
    list->values[list->count++] = value_keep(value);
}

static bool is_list_call(const struct word *word) {
    if (word->part_count != 1 || word->parts[0].kind != PART_CALL)
        return false;
    for (size_t i = 0; i < TUCK_ARRAY_LEN(functions); i++)
        if (strcmp(functions[i].name, word->parts[0].text) == 0)
            return functions[i].is_list;
    return false;
}

static void add_lines(struct list *list, struct value lines) {
    for (size_t at = 0; at < lines.len;) {
        const char *stop = memchr(lines.data + at, '\n', lines.len - at);
        size_t len = stop ? (size_t)(stop - lines.data) - at : lines.len - at;
        add_value(list, value_bytes(lines.data + at, len));
        at += len + 1;
    }
}

static bool add_range(struct engine *engine, struct list *list, const struct word *word) {
    const char *text = word->is_bare ? word_string(engine, word) : NULL;
    const char *dots = text ? strstr(text, "..") : NULL;
    if (!dots || dots == text)
        return false;
    struct value from = value_bytes(text, (size_t)(dots - text)), to = value_text(dots + 2);
    int64_t first, last;
    if (!value_number(&from, &first) || !value_number(&to, &last))
        return false;
    for (int64_t i = first; i <= last; i++)
        add_value(list, from_number(engine, i));
    return true;
}

struct value *word_list(struct engine *engine, const struct word *words, size_t count,
                        size_t *ret_count) {
    struct list list = {0};
    for (size_t i = 0; i < count; i++) {
        const char *literal = word_literal(&words[i]);
        if (literal && literal[0] == '@') {
            const struct script_list *named = script_find_list(engine->setup->script, literal + 1);
            if (!named)
                script_error(engine, "there is no list %s", literal);
            for (size_t j = 0; j < named->word_count; j++)
                add_value(&list, word_value(engine, &named->words[j]));
        } else if (is_list_call(&words[i])) {
            add_lines(&list, word_value(engine, &words[i]));
        } else if (!add_range(engine, &list, &words[i])) {
            add_value(&list, word_value(engine, &words[i]));
        }
    }
    *ret_count = list.count;
    return list.values;
}

// -- comparison ----------------------------------------------------------------------------------
static bool contains(struct value text, struct value part) {
    return part.len == 0 || memmem(text.data, text.len, part.data, part.len) != NULL;
}

static bool matches(struct engine *engine, const struct word *text, const struct word *pattern) {
    regex_t regex;
    const char *form = word_string(engine, pattern);
    if (regcomp(&regex, form, REG_EXTENDED | REG_NOSUB) != 0)
        script_error(engine, "'%s' is no regular expression", form);
    bool is_match = regexec(&regex, word_string(engine, text), 0, NULL, 0) == 0;
    regfree(&regex);
    return is_match;
}

bool compare(struct engine *engine, const struct word *words, size_t count) {
    const char *op = count == 3 ? word_literal(&words[1]) : NULL;
    if (!op)
        script_error(engine, "expected: ONE OPERATOR OTHER");
    if (strcmp(op, "matches") == 0)
        return matches(engine, &words[0], &words[2]);
    struct value one = flat(engine, &words[0]), other = flat(engine, &words[2]);
    if (strcmp(op, "contains") == 0)
        return contains(one, other);
    if (strcmp(op, "lacks") == 0)
        return !contains(one, other);
    if (strcmp(op, "begins") == 0)
        return one.len >= other.len && memcmp(one.data, other.data, other.len) == 0;
    int64_t a = 0, b = 0;
    bool are_numbers = value_number(&one, &a) && value_number(&other, &b);
    if (strcmp(op, "=") == 0 || strcmp(op, "!=") == 0)
        return (are_numbers ? a == b : value_equal(&one, &other)) == (op[0] == '=');
    if (!are_numbers)
        return false;
    if (strcmp(op, "<") == 0)
        return a < b;
    if (strcmp(op, "<=") == 0)
        return a <= b;
    if (strcmp(op, ">") == 0)
        return a > b;
    if (strcmp(op, ">=") == 0)
        return a >= b;
    script_error(engine, "there is no comparison '%s'", op);
}

// SPDX-License-Identifier: MIT
/*
 * Requests: built as text first, so that a case can cut, hold back or bend any of it; only bodies
 * above a megabyte are streamed.
 */
#include "cmd/tuck-conform/object.h"
#include "lib/base/clock.h"

#define STREAM_BLOCK (3U << 18) // bytes of a body that are encoded at once; divisible by 3
#define TURN_NS      (20 * TUCK_NS_PER_MS / 1000)
#define READ_NS      (200 * TUCK_NS_PER_MS) // that the helper may take to read a piece

// -- sending -------------------------------------------------------------------------------------
static int sent(struct engine *engine, struct helper *helper, int result) {
    if (result == HELPER_STUCK && !helper->is_unread)
        return fail(engine, "it does not read its input any more");
    return check_breaches(engine); // one that has gone shows by its missing answers
}

int send_bytes(struct engine *engine, struct helper *helper, const void *data, size_t len) {
    helper_note(helper, '>', data, len);
    return sent(engine, helper, helper_send(helper, data, len, engine->patience_ns, NULL));
}

struct taking {
    const struct helper *helper;
};

static bool has_taken(void *arg) {
    const struct taking *taking = arg;
    return helper_took_all(taking->helper) || taking->helper->is_stdout_over;
}

// Sends in pieces, each when the helper has read the one before.
static int send_pieces(struct engine *engine, struct helper *helper, const char *data, size_t len,
                       size_t first, size_t piece) {
    struct taking taking = {helper};
    helper_note(helper, '>', data, len);
    for (size_t at = 0; at < len;) {
        size_t part = at == 0 && first ? first : piece;
        part = part < len - at ? part : len - at;
        int result =
            sent(engine, helper, helper_send(helper, data + at, part, engine->patience_ns, NULL));
        if (result != 0)
            return result;
        at += part;
        // No descriptor tells that the helper has read: look again and again, in short turns.
        uint64_t until_ns = tuck_clock_mono_ns() + READ_NS;
        while (at < len && !has_taken(&taking) && tuck_clock_mono_ns() < until_ns)
            (void)helper_pump(&engine->group, tuck_clock_mono_ns() + TURN_NS, NULL, NULL);
    }
    return 0;
}

// -- building requests ---------------------------------------------------------------------------
struct building {
    struct object object;
    struct value body;
    bool has_body_line;
    const char *gap, *end, *output_name;
    struct value body_line; // in place of the encoded body
    bool has_own_body_line, is_plain, is_other_action;
    size_t cut, cut_at, until;
    int64_t id;
};

// A field set, added or dropped: the request is not what the go command would send any more.
static bool take_field(struct engine *engine, struct building *building, struct value word) {
    size_t mark = word.len && (word.data[0] == '+' || word.data[0] == '-') ? 1 : 0;
    if (!object_take(engine, &building->object, word))
        return false;
    building->is_plain = false;
    building->is_other_action |= strncmp(word.data + mark, "ActionID", 8) == 0;
    return true;
}

static void take_option(struct engine *engine, struct building *building, const struct word *word) {
    struct value text = value_flat(&engine->arena, word_value(engine, word));
    if (take_field(engine, building, text))
        return;
    const char *option = word_string(engine, word), *equals = strchr(option, '=');
    if (object_take_layout(&building->object, option))
        return;
    const char *value = equals ? equals + 1 : "";
    struct value number_text = value_text(value);
    int64_t number = 0;
    bool is_number = value_number(&number_text, &number);
    size_t name = equals ? (size_t)(equals - option) : strlen(option);
    if (strncmp(option, "gap=", 4) == 0)
        building->gap = value;
    else if (strncmp(option, "end=", 4) == 0)
        building->end = value;
    else if (strncmp(option, "as=", 3) == 0)
        building->output_name = value;
    else if (strncmp(option, "body=", 5) == 0) {
        building->body_line = value_bytes(text.data + 5, text.len - 5);
        building->has_own_body_line = true;
        building->is_plain = false;
    } else if (is_number && name == 3 && strncmp(option, "cut", 3) == 0)
        building->cut = (size_t)number;
    else if (is_number && name == 6 && strncmp(option, "cut-at", 6) == 0)
        building->cut_at = (size_t)number;
    else if (is_number && name == 5 && strncmp(option, "until", 5) == 0)
        building->until = (size_t)number;
    else if (is_number && name == 2 && strncmp(option, "id", 2) == 0)
        building->id = number;
    else
        script_error(engine, "a request has no '%s'", option);
}

static void write_request(struct engine *engine, const struct building *building,
                          struct buf *ret_text) {
    object_write(engine, &building->object, ret_text);
    buf_text(ret_text, building->gap ? building->gap : "\n\n");
    if (building->has_own_body_line) {
        buf_add(ret_text, building->body_line.data, building->body_line.len);
    } else if (building->has_body_line) {
        struct value body = value_flat(&engine->arena, building->body);
        buf_text(ret_text, "\"");
        buf_base64(ret_text, body.data, body.len);
        buf_text(ret_text, "\"");
    }
    if (building->has_own_body_line || building->has_body_line)
        buf_text(ret_text, building->end ? building->end : "\n");
}

// Body line without its text, for bodies that are streamed.
static void write_head(struct engine *engine, const struct building *building,
                       struct buf *ret_text) {
    object_write(engine, &building->object, ret_text);
    buf_text(ret_text, "\n\n\"");
}

// What the engine will expect of the request: the action it means and the body it stores or finds.
void remember(struct engine *engine, struct request *request, enum request_kind kind,
              const uint8_t *action, const struct value *body) {
    request->kind = kind;
    if (kind == REQUEST_PUT)
        request->body = value_keep(*body);
    if (!action)
        return;
    request->has_action = true;
    memcpy(request->action, action, TUCK_ID_BYTES);
    if (kind == REQUEST_PUT)
        return;
    const struct known *known = place_find(engine->place, action);
    if (known && known->body_count)
        request->body = value_keep(known->bodies[known->body_count - 1]);
}

static void begin_building(struct engine *engine, const struct word *words, size_t count,
                           int64_t id, struct building *building, uint8_t *action) {
    const char *verb = word_literal(&words[0]);
    *building = (struct building){.id = id, .is_plain = true};
    object_add_number(&building->object, "ID", id);
    bool is_put = strcmp(verb, "put") == 0, is_close = strcmp(verb, "close") == 0;
    object_add_json(&building->object, "Command",
                    is_put     ? "\"put\""
                    : is_close ? "\"close\""
                               : "\"get\"");
    if (!is_close) {
        struct value name = value_flat(&engine->arena, word_value(engine, &words[1]));
        action_of(name.data, name.len, action);
        object_add_id(&building->object, "ActionID", action);
    }
    if (is_put) {
        uint8_t output[TUCK_ID_BYTES];
        building->body = word_value(engine, &words[2]);
        value_digest(&building->body, output);
        object_add_id(&building->object, "OutputID", output);
        building->has_body_line = value_size(&building->body) > 0;
        if (building->has_body_line)
            object_add_number(&building->object, "BodySize", (int64_t)value_size(&building->body));
    }
    for (size_t i = is_put ? 3 : is_close ? 1 : 2; i < count; i++)
        take_option(engine, building, &words[i]);
    if (building->output_name) {
        struct field *field = object_find(&building->object, "OutputID");
        free(field->name);
        field->name = need_strndup(building->output_name, strlen(building->output_name));
    }
    if (building->id != id) {
        struct field *field = object_find(&building->object, "ID");
        field->json.len = 0;
        buf_format(&field->json, "%lld", (long long)building->id);
    }
}

static struct request *ask_for(struct engine *engine, struct helper *helper,
                               const struct word *words, const struct building *building,
                               const uint8_t *action, bool is_expected_to_store) {
    const char *verb = word_literal(&words[0]);
    struct request *request = helper_ask(helper, building->id);
    if (building->is_other_action)
        action = NULL;
    request->is_bent = !building->is_plain;
    if (strcmp(verb, "put") == 0) {
        if (action && (building->is_plain || is_expected_to_store))
            (void)place_may(engine->place, action, building->body);
        remember(engine, request, REQUEST_PUT, action, &building->body);
    } else if (strcmp(verb, "get") == 0) {
        remember(engine, request, REQUEST_GET, action, NULL);
    } else {
        remember(engine, request, REQUEST_CLOSE, NULL, NULL);
    }
    return request;
}

struct request *build_request(struct engine *engine, struct helper *helper,
                              const struct word *words, size_t count, int64_t id,
                              struct buf *ret_text) {
    struct building building;
    uint8_t action[TUCK_ID_BYTES];
    begin_building(engine, words, count, id, &building, action);
    write_request(engine, &building, ret_text);
    struct request *request = ask_for(engine, helper, words, &building, action, false);
    object_free(&building.object);
    return request;
}

void plain_get(struct engine *engine, struct helper *helper, const uint8_t action[TUCK_ID_BYTES],
               struct buf *ret_text) {
    int64_t id = ++engine->next_id;
    buf_format(ret_text, "{\"ID\":%lld,\"Command\":\"get\",\"ActionID\":\"", (long long)id);
    buf_base64(ret_text, action, TUCK_ID_BYTES);
    buf_text(ret_text, "\"}\n\n");
    remember(engine, helper_ask(helper, id), REQUEST_GET, action, NULL);
}

void plain_put(struct engine *engine, struct helper *helper, const uint8_t action[TUCK_ID_BYTES],
               struct value body, struct buf *ret_text) {
    int64_t id = ++engine->next_id;
    uint8_t output[TUCK_ID_BYTES];
    value_digest(&body, output);
    buf_format(ret_text, "{\"ID\":%lld,\"Command\":\"put\",\"ActionID\":\"", (long long)id);
    buf_base64(ret_text, action, TUCK_ID_BYTES);
    buf_text(ret_text, "\",\"OutputID\":\"");
    buf_base64(ret_text, output, TUCK_ID_BYTES);
    if (value_size(&body) == 0) {
        buf_text(ret_text, "\"}\n\n");
    } else {
        struct value bytes = value_flat(&engine->arena, body);
        buf_format(ret_text, "\",\"BodySize\":%zu}\n\n\"", bytes.len);
        buf_base64(ret_text, bytes.data, bytes.len);
        buf_text(ret_text, "\"\n");
    }
    remember(engine, helper_ask(helper, id), REQUEST_PUT, action, &body);
}

// -- get, put, close -----------------------------------------------------------------------------
static int stream_put(struct engine *engine, struct helper *helper,
                      const struct building *building) {
    struct buf text = {0};
    write_head(engine, building, &text);
    int result = send_bytes(engine, helper, text.data, text.len);
    char *block = need_alloc(STREAM_BLOCK);
    uint64_t size = value_size(&building->body);
    for (uint64_t at = 0; at < size && result == 0;) {
        size_t part = size - at < STREAM_BLOCK ? (size_t)(size - at) : STREAM_BLOCK;
        value_read(&building->body, at, part, block);
        text.len = 0;
        buf_base64(&text, block, part);
        result = sent(engine, helper,
                      helper_send(helper, text.data, text.len, engine->patience_ns, NULL));
        at += part;
    }
    if (result == 0)
        result = sent(engine, helper, helper_send(helper, "\"\n", 2, engine->patience_ns, NULL));
    free(block);
    buf_free(&text);
    return result;
}

static int send_built(struct engine *engine, struct helper *helper,
                      const struct building *building) {
    bool is_whole = !building->cut && !building->cut_at && !building->until && !engine->batch &&
                    !building->has_own_body_line;
    if (is_whole && building->body.kind != VALUE_BYTES)
        return stream_put(engine, helper, building);
    struct buf text = {0};
    int result = 0;
    write_request(engine, building, &text);
    if (engine->batch) {
        if (engine->batch_helper && engine->batch_helper != helper)
            script_error(engine, "a batch is for one helper");
        engine->batch_helper = helper;
        size_t part = building->until && building->until < text.len ? building->until : text.len;
        buf_add(engine->batch, text.data, part);
        engine->rest.len = 0;
        buf_add(&engine->rest, text.data + part, text.len - part);
        engine->rest_helper = helper;
    } else if (building->until) {
        size_t part = building->until < text.len ? building->until : text.len;
        result = send_pieces(engine, helper, text.data, part, 0, part);
        engine->rest.len = 0;
        buf_add(&engine->rest, text.data + part, text.len - part);
        engine->rest_helper = helper;
    } else if (building->cut || building->cut_at) {
        size_t piece = building->cut ? building->cut : text.len;
        result = send_pieces(engine, helper, text.data, text.len, building->cut_at, piece);
    } else {
        result = send_bytes(engine, helper, text.data, text.len);
    }
    buf_free(&text);
    return result;
}

static void bind(struct engine *engine, const char *name, struct helper *helper, size_t request) {
    struct reference *one = engine->references;
    while (one && strcmp(one->name, name) != 0)
        one = one->next;
    if (!one) {
        one = need_alloc(sizeof(*one));
        one->name = need_strndup(name, strlen(name));
        one->next = engine->references;
        engine->references = one;
    }
    one->helper = helper;
    one->request = request;
}

static int ask(struct engine *engine, const struct statement *statement, const char *usual) {
    struct helper *helper = find_helper(engine, engine->helper_name);
    struct building building;
    uint8_t action[TUCK_ID_BYTES];
    engine->helper = helper;
    begin_building(engine, statement->words, statement->word_count, ++engine->next_id, &building,
                   action);
    size_t place = (size_t)(ask_for(engine, helper, statement->words, &building, action, true) -
                            helper->requests);
    int result = send_built(engine, helper, &building);
    bool is_partly = building.until != 0 || engine->batch != NULL;
    object_free(&building.object);
    if (statement->bind)
        bind(engine, word_string(engine, statement->bind), helper, place);
    if (result != 0)
        return result;
    if (statement->outcome_count && !is_partly)
        return judge_request(engine, helper, &helper->requests[place], statement->outcome,
                             statement->outcome_count);
    if (!statement->bind && !is_partly)
        return judge_plain(engine, helper, &helper->requests[place], usual, NULL);
    return 0;
}

int verb_get(struct engine *engine, const struct statement *statement) {
    return ask(engine, statement, "hit");
}

int verb_put(struct engine *engine, const struct statement *statement) {
    return ask(engine, statement, "put");
}

int verb_close(struct engine *engine, const struct statement *statement) {
    return ask(engine, statement, "ok");
}

// asks=ID,ID...: what raw bytes ask for
void take_asks(struct engine *engine, struct helper *helper, const char *option) {
    for (const char *at = option + 5; *at;) {
        size_t len = strcspn(at, ",");
        struct value text = value_bytes(at, len);
        int64_t id;
        if (!value_number(&text, &id))
            script_error(engine, "'%s' is no ID", at);
        (void)helper_ask(helper, id);
        at += len + (at[len] == ',');
    }
}

const char *option_text(const struct word *word, const char *name) {
    return word->is_bare && word->part_count && word->parts[0].kind == PART_TEXT &&
                   strncmp(word->parts[0].text, name, strlen(name)) == 0
               ? word->parts[0].text
               : NULL;
}

// send BYTES... [asks=ID,...] [cut=N]
int verb_send(struct engine *engine, const struct statement *statement) {
    struct helper *helper = find_helper(engine, engine->helper_name);
    struct buf text = {0};
    size_t cut = 0;
    engine->helper = helper;
    for (size_t i = 1; i < statement->word_count; i++) {
        const struct word *word = &statement->words[i];
        if (option_text(word, "asks=")) {
            take_asks(engine, helper, word_string(engine, word));
        } else if (option_text(word, "cut=")) {
            struct value number = value_text(word_string(engine, word) + 4);
            int64_t size = 0;
            if (!value_number(&number, &size) || size < 1)
                script_error(engine, "cut= takes a number of bytes");
            cut = (size_t)size;
        } else {
            struct value part = value_flat(&engine->arena, word_value(engine, word));
            buf_add(&text, part.data, part.len);
        }
    }
    int result = 0;
    if (engine->batch) {
        engine->batch_helper = helper;
        buf_add(engine->batch, text.data, text.len);
    } else if (cut) {
        result = send_pieces(engine, helper, text.data, text.len, 0, cut);
    } else {
        result = send_bytes(engine, helper, text.data, text.len);
    }
    buf_free(&text);
    return result;
}

// rest [N]: of the request that was sent until some byte
int verb_rest(struct engine *engine, const struct statement *statement) {
    if (engine->rest.len == 0)
        return 0;
    size_t part = engine->rest.len;
    if (statement->word_count > 1) {
        size_t wanted = (size_t)word_number(engine, &statement->words[1]);
        part = wanted < part ? wanted : part;
    }
    int result =
        send_pieces(engine, engine->rest_helper, engine->rest.data, part, 0, part ? part : 1);
    memmove(engine->rest.data, engine->rest.data + part, engine->rest.len - part);
    engine->rest.len -= part;
    return result;
}

// expect NAME|ID|all OUTCOME...
int verb_expect(struct engine *engine, const struct statement *statement) {
    const char *name = word_string(engine, &statement->words[1]);
    struct helper *helper = find_helper(engine, engine->helper_name);
    if (strcmp(name, "all") == 0) {
        for (size_t i = 0; i < helper->request_count; i++) {
            int result = judge_request(engine, helper, &helper->requests[i], statement->words + 2,
                                       statement->word_count - 2);
            if (result != 0)
                return result;
        }
        return 0;
    }
    if (engine->helper_name)
        engine->helper = helper;
    struct request *request = find_request(engine, name, &helper);
    if (!request)
        script_error(engine, "%s was never asked", name);
    return judge_request(engine, helper, request, statement->words + 2, statement->word_count - 2);
}

// nothing TIME: no answer comes within this time
int verb_nothing(struct engine *engine, const struct statement *statement) {
    struct helper *helper = find_helper(engine, engine->helper_name);
    size_t before = helper->answer_count;
    (void)helper_pump(&engine->group,
                      tuck_clock_mono_ns() + (uint64_t)word_number(engine, &statement->words[1]),
                      NULL, NULL);
    if (helper->answer_count != before)
        return fail(engine, "something was answered where nothing was due");
    return 0;
}

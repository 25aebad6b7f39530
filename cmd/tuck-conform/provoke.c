// SPDX-License-Identifier: MIT
/*
 * Provocations: something that no client sends, to a fresh helper that has just stored something;
 * then two good requests and the end of input, which show whether it is still in step.
 */
#include "cmd/tuck-conform/engine.h"
#include "lib/base/clock.h"

#define SETTLE_NS (600 * TUCK_NS_PER_MS) // that answers to a provocation may take
#define LULL_NS   (100 * TUCK_NS_PER_MS) // without an answer, once the probes have theirs
#define LAST_NS   (50 * TUCK_NS_PER_MS)  // before the end of input, where no probes follow
#define PROVOKED  50

static const char known_name[] = "known", known_body[] = "what was stored before is kept";

// -- provocations --------------------------------------------------------------------------------
struct provocation {
    struct helper *helper;
    struct buf text;
    bool is_last, has_asked, is_put;
    uint8_t action[TUCK_ID_BYTES];
    uint64_t heard_ns; // when the last answer came
    uint64_t lull_ns;
    size_t heard;
};

static bool is_quiet(void *arg) {
    const struct helper *helper = arg;
    return helper->is_stdout_over || helper->breach;
}

static bool has_ended(void *arg) {
    struct helper *helper = arg;
    return helper_is_over(helper) && helper->is_stdout_over && helper->is_stderr_over;
}

static bool is_probed(const struct helper *helper) {
    const struct request *get = helper_request(helper, PROBE_GET),
                         *put = helper_request(helper, PROBE_PUT);
    return get && get->answer && put && put->answer;
}

// Everything is answered, or the probes are and nothing more comes.
static bool is_settled(void *arg) {
    struct provocation *that = arg;
    const struct helper *helper = that->helper;
    uint64_t now = tuck_clock_mono_ns();
    if (helper->answer_count != that->heard) {
        that->heard = helper->answer_count;
        that->heard_ns = now;
    }
    size_t open = 0;
    for (size_t i = 0; i < helper->request_count; i++)
        open += helper->requests[i].answer == NULL;
    return open == 0 || is_quiet(that->helper) ||
           (is_probed(helper) && now - that->heard_ns > that->lull_ns);
}

static const char *part_verb(const struct word *word) {
    const char *literal = word_literal(word);
    return literal && (strcmp(literal, "get") == 0 || strcmp(literal, "put") == 0 ||
                       strcmp(literal, "close") == 0)
               ? literal
               : NULL;
}

static bool is_plus(const struct word *word) {
    const char *literal = word_literal(word);
    return literal && strcmp(literal, "+") == 0;
}

static bool is_last(const struct word *word) {
    const char *literal = word_literal(word);
    return literal && strcmp(literal, "last") == 0;
}

static bool ends_part(const struct word *word) {
    return is_plus(word) || is_last(word) || option_text(word, "asks=") != NULL;
}

// The parts of a provocation: requests as get, put and close describe them, or raw bytes.
static void build_provocation(struct engine *engine, const struct statement *statement,
                              struct provocation *that) {
    int64_t id = PROVOKED;
    for (size_t i = 1; i < statement->word_count;) {
        const struct word *word = &statement->words[i];
        if (is_plus(word)) {
            i++;
        } else if (part_verb(word)) {
            size_t count = 1;
            while (i + count < statement->word_count && !ends_part(word + count))
                count++;
            struct request *request =
                build_request(engine, that->helper, word, count, id++, &that->text);
            if (!that->has_asked && request->kind == REQUEST_PUT && request->has_action) {
                that->is_put = true;
                memcpy(that->action, request->action, TUCK_ID_BYTES);
            }
            that->has_asked = true;
            i += count;
        } else if (option_text(word, "asks=")) {
            that->has_asked = true;
            if (strcmp(word_string(engine, word), "asks=none") != 0)
                take_asks(engine, that->helper, word_string(engine, word));
            i++;
        } else if (is_last(word)) {
            that->is_last = true;
            i++;
        } else {
            struct value part = value_flat(&engine->arena, word_value(engine, word));
            buf_add(&that->text, part.data, part.len);
            i++;
        }
    }
    if (!that->has_asked)
        (void)helper_ask(that->helper, PROVOKED);
}

static int judge_probes(struct engine *engine, struct helper *helper) {
    struct value known = value_text(known_body), probe = value_text("probe");
    struct request *get = helper_request(helper, PROBE_GET),
                   *put = helper_request(helper, PROBE_PUT);
    if (get && get->answer && judge_plain(engine, helper, get, "hit", &known) != 0)
        return ENGINE_STOP;
    if (put && put->answer && judge_plain(engine, helper, put, "put", &probe) != 0)
        return ENGINE_STOP;
    return 0;
}

static int64_t first_asked(const struct helper *helper, size_t before) {
    return helper->request_count > before ? helper->requests[before].id : INT64_MIN;
}

static int judge_provocation(struct engine *engine, const struct statement *statement,
                             struct provocation *that, int64_t id) {
    struct helper *helper = that->helper;
    struct request *request = helper_request(helper, id);
    struct value text = value_text("refused");
    const char *wanted = statement->outcome_count ? word_literal(&statement->outcome[0]) : NULL;
    if (wanted && strcmp(wanted, "anything") == 0)
        return 0; // but a breach of what holds for every conversation
    if (request && statement->outcome_count) {
        if (judge_request(engine, helper, request, statement->outcome, statement->outcome_count) !=
            0)
            return ENGINE_STOP;
    } else if (statement->outcome_count) { // nothing was asked: only the end can be judged
        struct buf end = {0};
        describe_end(helper, &end);
        int result = ended_in_refusal(helper)
                         ? 0
                         : fail(engine, "expected that it refuses, but %s", end.data);
        buf_free(&end);
        if (result != 0)
            return result;
    }
    bool may_end = false;
    for (size_t i = 0; i < statement->outcome_count; i++) {
        const char *word = word_literal(&statement->outcome[i]);
        may_end = may_end || (word && (strcmp(word, "refused") == 0 || strcmp(word, "exit") == 0));
    }
    bool is_refused = !request || !request->answer || json_object_get(request->answer, "Err");
    if (request && request->answer && !that->is_last && !is_probed(helper) &&
        !(may_end && is_refused && ended_in_refusal(helper)))
        return fail(engine,
                    "request %lld was answered, and then the stream is out of step: the "
                    "requests behind it were not",
                    (long long)id);
    set_variable(engine, "verdict", is_refused ? text : value_text("accepted"));
    if (that->is_put && is_refused && !place_find(engine->place, that->action))
        place_known(engine->place, that->action)->is_never = true;
    else if (that->is_put && !is_refused && request->kind == REQUEST_PUT && !request->is_bent &&
             !json_object_get(request->answer, "Err"))
        (void)place_may(engine->place, that->action, request->body);
    return 0;
}

/*
 * provoke PART [+ PART...] [asks=ID,...] [last] [=> OUTCOME of the first ID]
 * To a fresh helper that has just stored something: these bytes, then a get of that and a put, then
 * the end of input (last: the end of input at once).
 */
int verb_provoke(struct engine *engine, const struct statement *statement) {
    struct provocation that = {.helper = start_plainly(engine, "h")};
    that.lull_ns = (uint64_t)((double)LULL_NS * engine->setup->scale);
    if (!that.helper)
        return ENGINE_STOP;
    uint8_t known[TUCK_ID_BYTES], probe[TUCK_ID_BYTES];
    struct buf text = {0};
    struct value body = value_text(known_body);
    action_of(known_name, strlen(known_name), known);
    action_of("probe", 5, probe);
    (void)place_may(engine->place, known, body);
    (void)place_may(engine->place, probe, value_text("probe"));
    plain_put(engine, that.helper, known, body, &text);
    int result = send_bytes(engine, that.helper, text.data, text.len);
    if (result == 0)
        result = judge_plain(engine, that.helper, &that.helper->requests[0], "put", NULL);
    size_t before = that.helper->request_count;
    if (result == 0) {
        build_provocation(engine, statement, &that);
        result = send_bytes(engine, that.helper, that.text.data, that.text.len);
    }
    int64_t id = first_asked(that.helper, before);
    text.len = 0;
    if (result == 0 && !that.is_last) {
        engine->next_id = PROBE_GET - 1;
        plain_get(engine, that.helper, known, &text);
        plain_put(engine, that.helper, probe, value_text("probe"), &text);
        result = send_bytes(engine, that.helper, text.data, text.len);
    }
    buf_free(&text);
    buf_free(&that.text);
    // A helper need not answer what it has read when its input ends: that is another case.
    if (result == 0)
        (void)helper_pump(
            &engine->group,
            tuck_clock_mono_ns() +
                (uint64_t)((double)(that.is_last ? LAST_NS : SETTLE_NS) * engine->setup->scale),
            is_settled, &that);
    helper_end_input(that.helper);
    if (result == 0 && !wait_for(engine, has_ended, that.helper))
        result = fail(engine, "it does not end when its input does");
    helper_kill(that.helper);
    if (result == 0)
        result = check_breaches(engine);
    if (result == 0)
        result = judge_probes(engine, that.helper);
    if (result == 0)
        result = judge_provocation(engine, statement, &that, id);
    return result;
}

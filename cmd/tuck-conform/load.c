// SPDX-License-Identifier: MIT
/*
 * Many requests and many helpers: what would be too slow, or too much, as single statements.
 */
#include "cmd/tuck-conform/engine.h"
#include "lib/base/clock.h"

#include <signal.h>

#define WINDOW      200                    // requests in flight
#define CHUNK       500                    // requests that are sent at once
#define STUFF_MAX   250                    // chunks of a hundred gets
#define STUFF_NS    (500 * TUCK_NS_PER_MS) // that nothing is taken before a pipe counts as full
#define IDLE_CPU_NS (10 * TUCK_NS_PER_MS)  // that an idle helper may use
#define IDLE_GROWTH (1U << 20)

static uint32_t dice(uint64_t *state) {
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*state >> 33);
}

struct all {
    struct helper *helper;
    size_t from;
};

static bool all_answered(void *arg) {
    struct all *all = arg;
    while (all->from < all->helper->request_count && all->helper->requests[all->from].answer)
        all->from++;
    return all->from == all->helper->request_count || all->helper->is_stdout_over ||
           all->helper->breach;
}

static int await_all(struct engine *engine, struct helper *helper) {
    struct all all = {helper, 0};
    size_t before;
    do { // as long as answers come it is not stuck
        before = helper->answer_count;
        if (wait_for(engine, all_answered, &all))
            break;
    } while (helper->answer_count != before);
    if (check_breaches(engine) != 0)
        return ENGINE_STOP;
    if (all.from < helper->request_count)
        return fail(engine, "request %lld has no answer", (long long)helper->requests[all.from].id);
    return 0;
}

static void numbered_action(const char *name, int64_t number, uint8_t ret_action[TUCK_ID_BYTES]) {
    char text[80];
    int len = snprintf(text, sizeof(text), "%.50s %lld", name, (long long)number);
    action_of(text, (size_t)len, ret_action);
}

// fill COUNT NAME: puts so many entries, most of them empty
int verb_fill(struct engine *engine, const struct statement *statement) {
    struct helper *helper = find_helper(engine, engine->helper_name);
    int64_t count = word_number(engine, &statement->words[1]);
    const char *name = word_string(engine, &statement->words[2]);
    struct buf text = {0};
    int result = 0;
    for (int64_t i = 0; i < count && result == 0; i++) {
        uint8_t action[TUCK_ID_BYTES];
        struct value body = {.kind = VALUE_RANDOM, .size = i % 50 ? 0 : 5000, .seed = (uint64_t)i};
        numbered_action(name, i, action);
        plain_put(engine, helper, action, body, &text);
        if (i % WINDOW == WINDOW - 1 || i == count - 1) {
            result = send_bytes(engine, helper, text.data, text.len);
            text.len = 0;
            if (result == 0)
                result = await_all(engine, helper);
        }
    }
    buf_free(&text);
    for (size_t i = 0; i < helper->request_count && result == 0; i++)
        if (json_object_get(helper->requests[i].answer, "Err"))
            result =
                fail(engine, "put %lld was answered with Err", (long long)helper->requests[i].id);
    return result;
}

static void make_load(struct engine *engine, struct helper *helper, const char *kind,
                      const char *name, int64_t number, struct buf *text) {
    uint8_t action[TUCK_ID_BYTES];
    if (strcmp(kind, "misses") == 0) {
        numbered_action("absent", number % 1000, action);
        plain_get(engine, helper, action, text);
    } else if (strcmp(kind, "hits") == 0) {
        action_of(name, strlen(name), action);
        plain_get(engine, helper, action, text);
    } else {
        numbered_action(name, number, action);
        plain_put(engine, helper, action, value_text(""), text);
    }
}

static int load_part(struct engine *engine, struct helper *helper, const char *kind,
                     const char *name, int64_t from, int64_t to) {
    struct buf text = {0};
    int result = 0;
    for (int64_t i = from; i < to && result == 0; i++) {
        make_load(engine, helper, kind, name, i, &text);
        if ((i - from) % CHUNK == CHUNK - 1 || i == to - 1) {
            result = send_bytes(engine, helper, text.data, text.len);
            text.len = 0;
        }
    }
    buf_free(&text);
    if (result == 0)
        result = await_all(engine, helper);
    helper_forget_requests(helper);
    return result;
}

// load misses|hits|puts COUNT NAME: the last fifth must not cost much more than the first ones
int verb_load(struct engine *engine, const struct statement *statement) {
    struct helper *helper = find_helper(engine, engine->helper_name);
    const char *kind = word_string(engine, &statement->words[1]);
    int64_t count = word_number(engine, &statement->words[2]);
    const char *name = word_string(engine, &statement->words[3]);
    uint64_t cost[5];
    for (int64_t part = 0; part < 5; part++) {
        uint64_t began = helper_processor_ns(helper);
        if (load_part(engine, helper, kind, name, count / 5 * part, count / 5 * (part + 1)) != 0)
            return ENGINE_STOP;
        cost[part] = helper_processor_ns(helper) - began;
    }
    buf_format(&engine->result.notes,
               "%lld %s: %llu, %llu, %llu, %llu, %llu ms of processor time\n", (long long)count,
               kind, (unsigned long long)cost[0] / 1000000, (unsigned long long)cost[1] / 1000000,
               (unsigned long long)cost[2] / 1000000, (unsigned long long)cost[3] / 1000000,
               (unsigned long long)cost[4] / 1000000);
    uint64_t usual = cost[0] < cost[1] ? cost[0] : cost[1];
    if (cost[4] > 4 * usual + 100 * TUCK_NS_PER_MS)
        return fail(engine, "%s become slower: the last fifth took %.0f ms, the first ones %.0f ms",
                    kind, (double)cost[4] / 1e6, (double)usual / 1e6);
    return 0;
}

// -- many helpers --------------------------------------------------------------------------------
#define CROWD_MAX     16
#define CROWD_ACTIONS 80
#define CROWD_BODIES  3
#define CROWD_STEP    4 // requests that each helper has in flight

struct member {
    struct helper *helper;
    uint64_t dice;
    size_t asked; // of its requests were sent before this step
    bool is_over;
};

static struct value crowd_body(uint32_t action, uint32_t version) {
    return (struct value){.kind = VALUE_RANDOM,
                          .size = action * 37 % 3000 + (action % 29 == 0 ? 200000 : 0),
                          .seed = action * 1000 + version};
}

static void crowd_request(struct engine *engine, struct member *member, int64_t round, size_t who,
                          struct buf *text) {
    uint8_t action[TUCK_ID_BYTES];
    uint32_t number = dice(&member->dice) % CROWD_ACTIONS;
    if (round % 10 == 0) { // an action that nobody else puts
        char body[40];
        int len = snprintf(body, sizeof(body), "own %zu %lld", who, (long long)round);
        action_of(body, (size_t)len, action);
        (void)place_may(engine->place, action, value_bytes(body, (size_t)len));
        plain_put(engine, member->helper, action, value_bytes(body, (size_t)len), text);
        return;
    }
    numbered_action("crowd", number, action);
    if (dice(&member->dice) % 10 < 4)
        plain_put(engine, member->helper, action,
                  crowd_body(number, dice(&member->dice) % CROWD_BODIES), text);
    else
        plain_get(engine, member->helper, action, text);
}

static int judge_step(struct engine *engine, struct member *member) {
    for (size_t i = member->asked; i < member->helper->request_count; i++) {
        if (judge_plain(engine, member->helper, &member->helper->requests[i], "true", NULL) != 0)
            return ENGINE_STOP;
    }
    return 0;
}

static int kill_in_mid_body(struct engine *engine, struct member *member) {
    uint8_t action[TUCK_ID_BYTES];
    struct value body = {.kind = VALUE_RANDOM, .size = 70000, .seed = 1};
    struct buf text = {0};
    action_of("half", 4, action);
    plain_put(engine, member->helper, action, body, &text);
    int result = send_bytes(engine, member->helper, text.data, text.len / 2);
    buf_free(&text);
    helper_signal(member->helper, SIGKILL, false);
    helper_kill(member->helper);
    member->is_over = true;
    return result;
}

static int crowd_step(struct engine *engine, struct member *members, size_t count, int64_t step,
                      int64_t *ids) {
    for (size_t i = 0; i < count; i++) {
        if (members[i].is_over)
            continue;
        struct buf text = {0};
        members[i].asked = members[i].helper->request_count;
        engine->next_id = ids[i];
        for (int64_t j = 0; j < CROWD_STEP; j++)
            crowd_request(engine, &members[i], step * CROWD_STEP + j, i, &text);
        ids[i] = engine->next_id;
        int result = send_bytes(engine, members[i].helper, text.data, text.len);
        buf_free(&text);
        if (result != 0)
            return result;
    }
    for (size_t i = 0; i < count; i++)
        if (!members[i].is_over && judge_step(engine, &members[i]) != 0)
            return ENGINE_STOP;
    return 0;
}

// crowd HELPERS ROUNDS [KILLED]: on one directory, each putting and getting what the others do too
int verb_crowd(struct engine *engine, const struct statement *statement) {
    struct member members[CROWD_MAX] = {0};
    int64_t ids[CROWD_MAX] = {0};
    size_t count = (size_t)word_number(engine, &statement->words[1]);
    int64_t rounds = word_number(engine, &statement->words[2]), killed = 0;
    if (statement->word_count > 3)
        killed = word_number(engine, &statement->words[3]);
    if (count > CROWD_MAX)
        script_error(engine, "a crowd has at most %d helpers", CROWD_MAX);
    for (uint32_t action = 0; action < CROWD_ACTIONS; action++) {
        uint8_t id[TUCK_ID_BYTES];
        numbered_action("crowd", action, id);
        for (uint32_t version = 0; version < CROWD_BODIES; version++)
            (void)place_may(engine->place, id, crowd_body(action, version));
    }
    for (size_t i = 0; i < count; i++) {
        char name[8];
        (void)snprintf(name, sizeof(name), "h%zu", i + 1);
        members[i].helper = start_plainly(engine, name);
        members[i].dice = i + 1;
        if (!members[i].helper)
            return ENGINE_STOP;
    }
    for (int64_t step = 0; step < rounds / CROWD_STEP; step++) {
        if (crowd_step(engine, members, count, step, ids) != 0)
            return ENGINE_STOP;
        for (size_t i = 0; i < count && step == rounds / CROWD_STEP / 2; i++) {
            engine->next_id = ids[i];
            if ((int64_t)i < killed && kill_in_mid_body(engine, &members[i]) != 0)
                return ENGINE_STOP;
        }
    }
    for (size_t i = 0; i < count; i++) {
        engine->next_id = ids[i];
        if (!members[i].is_over && finish(engine, members[i].helper, i % 2 == 0) != 0)
            return ENGINE_STOP;
    }
    // What the crowd fought about may be any of the three; what one of them alone put stays.
    for (uint32_t action = 0; action < CROWD_ACTIONS; action++) {
        uint8_t id[TUCK_ID_BYTES];
        numbered_action("crowd", action, id);
        place_known(engine->place, id)->must = -1;
    }
    return 0;
}

// -- silence -------------------------------------------------------------------------------------
// quiet TIME: it uses no processor time and does not grow
int verb_quiet(struct engine *engine, const struct statement *statement) {
    struct helper *helper = find_helper(engine, engine->helper_name);
    uint64_t time_ns = (uint64_t)word_number(engine, &statement->words[1]);
    uint64_t disk, used = helper_processor_ns(helper);
    for (int i = 0; i < 40; i++) { // what it does behind its answers
        (void)helper_pump(&engine->group, tuck_clock_mono_ns() + TUCK_NS_PER_S / 2, NULL, NULL);
        uint64_t now = helper_processor_ns(helper);
        if (now - used < IDLE_CPU_NS / 4)
            break;
        used = now;
    }
    used = helper_processor_ns(helper);
    uint64_t memory = helper_memory(helper);
    size_t files = helper_descriptors(helper, &disk);
    (void)helper_pump(&engine->group, tuck_clock_mono_ns() + time_ns, NULL, NULL);
    uint64_t more = helper_processor_ns(helper) - used;
    if (helper_is_over(helper))
        return fail(engine, "it ended while it had nothing to do");
    if (more > IDLE_CPU_NS)
        return fail(engine, "it used %.1f ms of processor time in %.1f idle seconds",
                    (double)more / 1e6, (double)time_ns / 1e9);
    if (helper_memory(helper) > memory + IDLE_GROWTH)
        return fail(engine, "it grew while it was idle");
    if (helper_descriptors(helper, &disk) > files)
        return fail(engine, "it opened descriptors while it was idle");
    return 0;
}

// -- full pipes ----------------------------------------------------------------------------------
// Until it has begun to read, which is when it has started.
static void await_reading(struct engine *engine, struct helper *helper) {
    uint64_t until_ns = tuck_clock_mono_ns() + engine->patience_ns;
    while (!helper_took_all(helper) && tuck_clock_mono_ns() < until_ns)
        (void)helper_pump(&engine->group, tuck_clock_mono_ns() + TUCK_NS_PER_MS, NULL, NULL);
}

// stuff ACTION: gets, until the helper, whose answers nobody reads, takes no more
int verb_stuff(struct engine *engine, const struct statement *statement) {
    struct helper *helper = find_helper(engine, engine->helper_name);
    struct value name = value_flat(&engine->arena, word_value(engine, &statement->words[1]));
    uint8_t action[TUCK_ID_BYTES];
    action_of(name.data, name.len, action);
    engine->rest.len = 0;
    engine->rest_helper = helper;
    struct buf text = {0};
    int result = 0;
    for (int i = 0; i < STUFF_MAX && result == 0; i++) {
        size_t taken = 0;
        text.len = 0;
        for (int j = 0; j < 100; j++)
            plain_get(engine, helper, action, &text);
        result = helper_send(helper, text.data, text.len, STUFF_NS, &taken);
        if (result == HELPER_STUCK)
            buf_add(&engine->rest, text.data + taken, text.len - taken);
        if (i == 0)
            await_reading(engine, helper);
    }
    buf_free(&text);
    buf_format(&engine->result.notes, "nobody read: %zu requests, then %s\n", helper->request_count,
               result == HELPER_STUCK ? "a pause" : "no pause");
    return check_breaches(engine);
}

// flood UNIT SIZE [before=BYTES] [after=BYTES]: whatever becomes of the helper meanwhile
int verb_flood(struct engine *engine, const struct statement *statement) {
    struct helper *helper = find_helper(engine, engine->helper_name);
    struct value unit = value_flat(&engine->arena, word_value(engine, &statement->words[1]));
    uint64_t size = (uint64_t)word_number(engine, &statement->words[2]);
    struct value before = value_text(""), after = value_text("");
    engine->helper = helper;
    for (size_t i = 3; i < statement->word_count; i++) {
        struct value option = value_flat(&engine->arena, word_value(engine, &statement->words[i]));
        if (option.len >= 7 && memcmp(option.data, "before=", 7) == 0)
            before = value_bytes(option.data + 7, option.len - 7);
        else if (option.len >= 6 && memcmp(option.data, "after=", 6) == 0)
            after = value_bytes(option.data + 6, option.len - 6);
        else
            script_error(engine, "a flood has no '%.*s'", (int)option.len, option.data);
    }
    struct buf block = {0};
    while (block.len < 1 << 18)
        buf_add(&block, unit.data, unit.len);
    block.len -= block.len % unit.len;
    helper_note(helper, '>', block.data, block.len);
    int result = helper_send(helper, before.data, before.len, engine->patience_ns, NULL);
    for (uint64_t sent = 0; sent < size && result == 0; sent += block.len) {
        size_t part = size - sent < block.len ? (size_t)(size - sent) : block.len;
        result = helper_send(helper, block.data, part, engine->patience_ns, NULL);
    }
    if (result == 0)
        result = helper_send(helper, after.data, after.len, engine->patience_ns, NULL);
    buf_free(&block);
    if (result == HELPER_STUCK)
        return fail(engine, "it does not read its input any more");
    return check_breaches(engine);
}

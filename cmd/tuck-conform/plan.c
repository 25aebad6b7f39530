// SPDX-License-Identifier: MIT
/*
 * Goes through each session's requests and answers in the order in which they were recorded, and keeps
 * of every action what a cache must hold for it then: nothing is known at first, the first answer or
 * put says more. Where two things that were recorded do not fit together, because something else was
 * at work, the action is unknown until it is put again.
 */
#include "cmd/tuck-conform/plan.h"
#include "lib/base/digest.h"

enum state {
    STATE_NEW,    // not met before: what a first get finds was there already
    STATE_ABSENT, // it has to miss
    STATE_THERE,  // it has to hit, with `output`
    STATE_OPEN,   // anything may be answered
};

struct action {
    uint8_t id[TUCK_ID_BYTES];
    enum state state;
    size_t output;
    size_t puts_in_flight;
    size_t changes; // how often a put of it began or ended
    size_t session, last_request;
};

// Three open hash tables that hold places in arrays, plus one, 0 being free. Ids are hashes already.
struct table {
    size_t *slots;
    size_t room, count;
};

struct plan_index {
    struct table by_action, by_recorded, by_played;
    struct action *actions;
    size_t action_count, action_room;
    size_t *seen_changes; // for each request: of its action when it was sent
    bool *was_beside_put; // a put of its action was in work when it was sent
};

typedef bool same_function(const struct plan *plan, size_t place, const void *key);

static size_t *find_slot(const struct plan *plan, const struct table *table, uint64_t hash,
                         same_function *same, const void *key) {
    size_t at = (size_t)hash & (table->room - 1);
    while (table->slots[at] && !same(plan, table->slots[at] - 1, key))
        at = (at + 1) & (table->room - 1);
    return &table->slots[at];
}

static void grow(struct table *table, uint64_t (*hash_of)(const struct plan *plan, size_t place),
                 const struct plan *plan) {
    struct table old = *table;
    if (old.count * 2 < old.room)
        return;
    table->room = old.room ? old.room * 2 : 256;
    table->slots = need_alloc(table->room * sizeof(*table->slots));
    for (size_t i = 0; i < old.room; i++) {
        if (!old.slots[i])
            continue;
        size_t at = (size_t)hash_of(plan, old.slots[i] - 1) & (table->room - 1);
        while (table->slots[at])
            at = (at + 1) & (table->room - 1);
        table->slots[at] = old.slots[i];
    }
    free(old.slots);
}

// -- actions -------------------------------------------------------------------------------------
static uint64_t hash_of_action(const struct plan *plan, size_t place) {
    return tuck_id_hash(plan->index->actions[place].id);
}

static bool is_action(const struct plan *plan, size_t place, const void *key) {
    return memcmp(plan->index->actions[place].id, key, TUCK_ID_BYTES) == 0;
}

static struct action *find_action(struct plan *plan, const uint8_t id[TUCK_ID_BYTES]) {
    struct plan_index *index = plan->index;
    grow(&index->by_action, hash_of_action, plan);
    size_t *slot = find_slot(plan, &index->by_action, tuck_id_hash(id), is_action, id);
    if (!*slot) {
        if (index->action_count == index->action_room) {
            index->action_room = index->action_room ? index->action_room * 2 : 128;
            index->actions =
                need_realloc(index->actions, index->action_room * sizeof(*index->actions));
        }
        struct action *action = &index->actions[index->action_count];
        *action = (struct action){.session = SIZE_MAX, .last_request = PLAN_NONE};
        memcpy(action->id, id, TUCK_ID_BYTES);
        *slot = ++index->action_count;
        index->by_action.count++;
    }
    return &index->actions[*slot - 1];
}

// -- outputs -------------------------------------------------------------------------------------
struct output_key {
    const uint8_t *id;
    uint64_t size;
};

// Of one name and several sizes only one can be true, and each is a body of its own here.
static uint64_t hash_of_recorded(const struct plan *plan, size_t place) {
    return tuck_id_hash(plan->outputs[place].recorded);
}

static bool is_recorded(const struct plan *plan, size_t place, const void *key) {
    const struct output_key *wanted = key;
    return plan->outputs[place].size == wanted->size &&
           memcmp(plan->outputs[place].recorded, wanted->id, TUCK_ID_BYTES) == 0;
}

static uint64_t hash_of_played(const struct plan *plan, size_t place) {
    return tuck_id_hash(plan->outputs[place].played);
}

static bool is_played(const struct plan *plan, size_t place, const void *key) {
    return memcmp(plan->outputs[place].played, key, TUCK_ID_BYTES) == 0;
}

static size_t find_output(struct plan *plan, const uint8_t id[TUCK_ID_BYTES], uint64_t size) {
    struct table *table = &plan->index->by_recorded;
    struct output_key key = {id, size};
    grow(table, hash_of_recorded, plan);
    size_t *slot = find_slot(plan, table, tuck_id_hash(id), is_recorded, &key);
    if (!*slot) {
        if (plan->output_count == plan->output_room) {
            plan->output_room = plan->output_room ? plan->output_room * 2 : 128;
            plan->outputs = need_realloc(plan->outputs, plan->output_room * sizeof(*plan->outputs));
        }
        struct plan_output *output = &plan->outputs[plan->output_count];
        *output = (struct plan_output){.size = size, .request = PLAN_NONE};
        memcpy(output->recorded, id, TUCK_ID_BYTES);
        *slot = ++plan->output_count;
        table->count++;
    }
    return *slot - 1;
}

struct hashing {
    struct tuck_digest digest;
    uint64_t size;
};

static bool hash_more(void *arg, const uint8_t *data, size_t len) {
    struct hashing *hashing = arg;
    tuck_digest_add(&hashing->digest, data, len);
    hashing->size += len;
    return true;
}

// A put whose body was recorded either shows what its output is, or is not what it says.
static void look_at_body(struct plan *plan, size_t number) {
    const struct trace_request *request = &plan->trace->requests[number];
    struct tuck_output_id id;
    struct hashing hashing = {.size = 0};
    if (!request->piece_count && request->body_size > 0)
        return;
    tuck_digest_init(&hashing.digest);
    bool is_good = !request->piece_count || trace_body(plan->trace, request, hash_more, &hashing);
    tuck_digest_end(&hashing.digest, &id);
    is_good = is_good && hashing.size == request->body_size &&
              memcmp(id.bytes, request->output, TUCK_ID_BYTES) == 0;
    if (!is_good) {
        plan->requests[number].is_bent = true;
        return;
    }
    size_t output = find_output(plan, request->output, request->body_size);
    plan->outputs[output].request = number;
    memcpy(plan->outputs[output].played, id.bytes, TUCK_ID_BYTES);
}

static void make_body(struct plan_output *output) {
    uint64_t seed = tuck_id_hash(output->recorded) ^ output->size;
    output->made = (struct value){.kind = VALUE_RANDOM, .size = output->size, .seed = seed};
    value_digest(&output->made, output->played);
}

static void name_outputs(struct plan *plan) {
    struct table *table = &plan->index->by_played;
    for (size_t i = 0; i < plan->output_count; i++) {
        if (plan->outputs[i].request == PLAN_NONE)
            make_body(&plan->outputs[i]);
        grow(table, hash_of_played, plan);
        size_t *slot =
            find_slot(plan, table, hash_of_played(plan, i), is_played, plan->outputs[i].played);
        if (!*slot) {
            *slot = i + 1;
            table->count++;
        }
    }
}

size_t plan_find_played(const struct plan *plan, const uint8_t id[TUCK_ID_BYTES]) {
    const struct table *table = &plan->index->by_played;
    size_t *slot = table->room ? find_slot(plan, table, tuck_id_hash(id), is_played, id) : NULL;
    return slot && *slot ? *slot - 1 : PLAN_NONE;
}

// -- what happened -------------------------------------------------------------------------------
static void put_first(struct plan *plan, const struct action *action, size_t output) {
    if (plan->first_count == plan->first_room) {
        plan->first_room = plan->first_room ? plan->first_room * 2 : 128;
        plan->first = need_realloc(plan->first, plan->first_room * sizeof(*plan->first));
    }
    struct plan_entry *entry = &plan->first[plan->first_count++];
    memcpy(entry->action, action->id, TUCK_ID_BYTES);
    entry->output = output;
    plan->first_bytes += plan->outputs[output].size;
}

static void is_sent(struct plan *plan, size_t session, size_t number) {
    const struct trace_request *request = &plan->trace->requests[number];
    struct plan_request *planned = &plan->requests[number];
    if (request->command != TRACE_GET && request->command != TRACE_PUT)
        return;
    struct action *action = find_action(plan, request->action);
    planned->previous = action->session == session ? action->last_request : PLAN_NONE;
    if (action->session != session && action->puts_in_flight) {
        action->puts_in_flight = 0; // what became of them nobody knows
        action->state = STATE_OPEN;
    }
    action->session = session;
    action->last_request = number;
    plan->index->was_beside_put[number] = action->puts_in_flight > 0;
    if (request->command == TRACE_PUT) {
        if (!planned->is_bent)
            planned->output = find_output(plan, request->output, request->body_size);
        action->puts_in_flight++;
        action->changes++;
    }
    plan->index->seen_changes[number] = action->changes;
}

static void is_put(struct plan *plan, size_t number, struct action *action) {
    const struct plan_request *planned = &plan->requests[number];
    bool is_alone = !plan->index->was_beside_put[number] &&
                    plan->index->seen_changes[number] == action->changes;
    bool is_known =
        planned->output != PLAN_NONE && plan->trace->requests[number].answer == TRACE_STORED;
    // Of several at a time either may win, unless they put the same.
    bool is_same = action->state == STATE_THERE && action->output == planned->output;
    action->puts_in_flight--;
    action->changes++;
    action->state = is_known && (is_alone || is_same) ? STATE_THERE : STATE_OPEN;
    action->output = planned->output;
}

static void is_got(struct plan *plan, size_t number, struct action *action) {
    const struct trace_request *request = &plan->trace->requests[number];
    struct plan_request *planned = &plan->requests[number];
    bool is_hit = request->answer == TRACE_HIT;
    if (is_hit)
        planned->output = find_output(plan, request->found, request->found_size);
    if (plan->index->was_beside_put[number] ||
        plan->index->seen_changes[number] != action->changes) {
        planned->is_open = true;
        return;
    }
    if (request->answer != TRACE_HIT && request->answer != TRACE_MISS)
        return; // an error says nothing about what is there
    enum state fits = is_hit ? STATE_THERE : STATE_ABSENT;
    if (action->state == STATE_NEW) {
        if (is_hit)
            put_first(plan, action, planned->output);
        action->state = fits;
        action->output = planned->output;
    } else if (action->state != fits || (is_hit && action->output != planned->output)) {
        planned->is_open = true;
        action->state = STATE_OPEN;
    }
}

static void is_answered(struct plan *plan, size_t number) {
    const struct trace_request *request = &plan->trace->requests[number];
    if (request->command != TRACE_GET && request->command != TRACE_PUT)
        return;
    struct action *action = find_action(plan, request->action);
    if (request->command == TRACE_PUT)
        is_put(plan, number, action);
    else
        is_got(plan, number, action);
}

// Answers of a session in the order in which they came.
static const struct trace *sorted;

static int by_answer(const void *a, const void *b) {
    size_t one = sorted->requests[*(const size_t *)a].answer_event;
    size_t two = sorted->requests[*(const size_t *)b].answer_event;
    return one < two ? -1 : one > two;
}

static void go_through(struct plan *plan, size_t session) {
    const struct trace_session *one = &plan->trace->sessions[session];
    size_t *answers = need_alloc(one->count * sizeof(*answers)), next = 0;
    for (size_t i = 0; i < one->count; i++)
        answers[i] = one->first + i;
    sorted = plan->trace;
    qsort(answers, one->count, sizeof(*answers), by_answer);
    for (size_t i = 0; i <= one->count; i++) {
        size_t until = i < one->count ? plan->trace->requests[one->first + i].event : SIZE_MAX;
        while (next < one->count && plan->trace->requests[answers[next]].answer_event < until)
            is_answered(plan, answers[next++]);
        if (i < one->count)
            is_sent(plan, session, one->first + i);
    }
    free(answers);
}

void plan_make(struct plan *plan, const struct trace *trace) {
    *plan = (struct plan){.trace = trace, .index = need_alloc(sizeof(*plan->index))};
    plan->requests = need_alloc(trace->request_count * sizeof(*plan->requests));
    plan->index->seen_changes = need_alloc(trace->request_count * sizeof(size_t));
    plan->index->was_beside_put = need_alloc(trace->request_count * sizeof(bool));
    for (size_t i = 0; i < trace->request_count; i++) {
        plan->requests[i].output = plan->requests[i].previous = PLAN_NONE;
        if (trace->requests[i].command == TRACE_PUT)
            look_at_body(plan, i);
    }
    for (size_t i = 0; i < trace->session_count; i++)
        go_through(plan, i);
    for (size_t i = 0; i < trace->request_count; i++) {
        if (trace->requests[i].answer == TRACE_NOTHING)
            plan->requests[i].is_open = true;
        plan->open_count += plan->requests[i].is_open;
    }
    name_outputs(plan);
}

void plan_free(struct plan *plan) {
    if (plan->index) {
        free(plan->index->by_action.slots);
        free(plan->index->by_recorded.slots);
        free(plan->index->by_played.slots);
        free(plan->index->actions);
        free(plan->index->seen_changes);
        free(plan->index->was_beside_put);
    }
    free(plan->index);
    free(plan->requests);
    free(plan->outputs);
    free(plan->first);
    *plan = (struct plan){0};
}

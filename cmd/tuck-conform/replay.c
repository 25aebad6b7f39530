// SPDX-License-Identifier: MIT
#include "cmd/tuck-conform/replay.h"
#include "cmd/tuck-conform/run.h"
#include "lib/base/clock.h"
#include "lib/base/digest.h"
#include "lib/base/io.h"
#include "protocol/base64.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define PATIENCE_NS   (30 * TUCK_NS_PER_S) // without an answer that is due
#define FIRST_FLIGHT  16                   // puts at a time before the first session
#define KEPT_MAX      100                  // differences that are kept with their words
#define SHOWN_MAX     20                   // of them for people
#define TEXT_MAX      600                  // bytes of one
#define STREAM_BLOCK  (3U << 14) // bytes of a body that are encoded at once; divisible by 3
#define LATENCY_KINDS 2

struct difference {
    size_t session; // from 1; 0: before the first
    size_t line;    // of the request in the trace; 0: it is about no request
    int64_t id;
    char *what;
};

struct samples {
    uint64_t *ns;
    size_t count, room;
};

struct sent {
    size_t place; // in helper->requests, or PLAN_NONE: it was not sent
    uint64_t ns;
    bool is_settled; // it and all before it of its action are answered
    bool is_compared;
};

struct player {
    struct engine *engine;
    const struct plan *plan;
    const struct replay_options *options;
    struct helper *helper;
    size_t session;    // from 1
    struct sent *sent; // of the session's requests
    size_t sent_count; // that really went out
    uint64_t paused_ns;

    struct difference kept[KEPT_MAX];
    size_t differences;
    bool is_over; // nothing more can be asked
    size_t sessions, requests, hits, misses, puts, errors, others, unanswered;
    uint64_t put_bytes, hit_bytes;
    uint64_t played_ns, recorded_ns, first_ns, late_ns;
    struct samples latency[LATENCY_KINDS]; // of gets and puts
};

static const char *const latency_names[LATENCY_KINDS] = {"get", "put"};

// -- differences ---------------------------------------------------------------------------------
static void differ(struct player *player, const struct trace_request *request, const char *format,
                   ...) __attribute__((format(printf, 3, 4)));

static void differ(struct player *player, const struct trace_request *request, const char *format,
                   ...) {
    va_list args;
    size_t number = player->differences++;
    if (number >= KEPT_MAX)
        return;
    struct difference *kept = &player->kept[number];
    *kept = (struct difference){.session = player->session};
    if (request) {
        kept->line = request->line;
        kept->id = request->id;
    }
    char *text;
    struct buf visible = {0};
    va_start(args, format);
    if (vasprintf(&text, format, args) < 0)
        conform_die("out of memory");
    va_end(args);
    buf_visible(&visible, text, strlen(text), TEXT_MAX); // a path may have anything in it
    kept->what = visible.data;
    free(text);
}

// The helper cannot be talked to any more: what it did last, and the end of everything.
static void give_up(struct player *player, const struct trace_request *request, const char *why) {
    struct buf text = {0};
    struct helper *helper = player->helper;
    player->is_over = true;
    if (helper && helper->breach) {
        differ(player, request, "%s (%s)", helper->breach, helper->breach_clause);
        return;
    }
    if (helper)
        describe_end(helper, &text);
    differ(player, request, "%s%s%s", why, text.data ? ": " : "", text.data ? text.data : "");
    buf_free(&text);
}

// -- sending -------------------------------------------------------------------------------------
static bool write_text(struct player *player, const char *text, size_t len) {
    return helper_send(player->helper, text, len, player->engine->patience_ns, NULL) == 0;
}

static bool write_made(struct player *player, const struct value *body) {
    struct buf text = {0};
    char block[STREAM_BLOCK];
    bool is_good = true;
    buf_text(&text, "\"");
    for (uint64_t at = 0; at < value_size(body) && is_good;) {
        uint64_t left = value_size(body) - at;
        size_t part = left < sizeof(block) ? (size_t)left : sizeof(block);
        value_read(body, at, part, block);
        buf_base64(&text, block, part);
        at += part;
        if (at == value_size(body))
            buf_text(&text, "\"\n");
        is_good = write_text(player, text.data, text.len);
        text.len = 0;
    }
    buf_free(&text);
    return is_good;
}

static bool write_recorded(struct player *player, const struct trace_request *request) {
    bool is_good = true;
    for (size_t i = 0; i < request->piece_count && is_good; i++) {
        const struct trace_piece *piece = &player->plan->trace->pieces[request->first_piece + i];
        is_good = write_text(player, piece->at, piece->len);
    }
    return is_good && write_text(player, "\n", 1);
}

static bool write_body(struct player *player, const struct plan_output *output) {
    if (output->size == 0)
        return true;
    if (output->request != PLAN_NONE)
        return write_recorded(player, &player->plan->trace->requests[output->request]);
    return write_made(player, &output->made);
}

static void put_object(struct buf *text, int64_t id, const uint8_t action[TUCK_ID_BYTES],
                       const struct plan_output *output, bool has_old_name) {
    buf_format(text, "{\"ID\":%lld,\"Command\":\"put\",\"ActionID\":\"", (long long)id);
    buf_base64(text, action, TUCK_ID_BYTES);
    buf_format(text, "\",\"%s\":\"", has_old_name ? "ObjectID" : "OutputID");
    buf_base64(text, output->played, TUCK_ID_BYTES);
    buf_text(text, "\"");
    if (output->size)
        buf_format(text, ",\"BodySize\":%llu", (unsigned long long)output->size);
    buf_text(text, "}");
}

// As it was recorded, but for the name of a body that was not.
static bool write_request(struct player *player, size_t number) {
    const struct trace_request *request = &player->plan->trace->requests[number];
    const struct plan_request *planned = &player->plan->requests[number];
    const struct plan_output *output = request->command == TRACE_PUT && planned->output != PLAN_NONE
                                           ? &player->plan->outputs[planned->output]
                                           : NULL;
    struct buf text = {0};
    if (output && output->request == PLAN_NONE)
        put_object(&text, request->id, request->action, output, request->has_old_name);
    else
        buf_add(&text, request->text, request->len);
    helper_note(player->helper, '>', text.data, text.len);
    for (size_t i = 0; i <= request->blanks; i++)
        buf_text(&text, "\n");
    bool is_good = write_text(player, text.data, text.len);
    buf_free(&text);
    if (!is_good || (!output && !request->body_size))
        return is_good;
    if (output)
        return write_body(player, output);
    if (request->piece_count)
        return write_recorded(player, request);
    struct value body = {.kind = VALUE_RANDOM, .size = request->body_size, .seed = 1};
    return write_made(player, &body);
}

// -- files ---------------------------------------------------------------------------------------
// What is wrong with the file that an answer names, or an empty text.
static void check_file(struct player *player, const char *path, const struct plan_output *output,
                       struct buf *ret_why) {
    struct tuck_digest digest;
    struct tuck_output_id id;
    struct stat status;
    char block[1 << 16];
    uint64_t size = 0;
    int work TUCK_CLEANUP(tuck_close_fd) = open(player->engine->place->work, O_PATH | O_CLOEXEC);
    int fd TUCK_CLEANUP(tuck_close_fd) =
        openat(work, path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) < 0) {
        buf_format(ret_why, "the file at DiskPath '%s': %s", path, strerror(errno));
        return;
    }
    if (!S_ISREG(status.st_mode)) {
        buf_format(ret_why, "what is at DiskPath '%s' is no regular file", path);
        return;
    }
    tuck_digest_init(&digest);
    for (ssize_t got; (got = read(fd, block, sizeof(block))) != 0; size += (uint64_t)got) {
        if (got < 0) {
            buf_format(ret_why, "the file at DiskPath '%s': %s", path, strerror(errno));
            return;
        }
        tuck_digest_add(&digest, block, (size_t)got);
    }
    tuck_digest_end(&digest, &id);
    if (size != output->size)
        buf_format(ret_why, "the file at DiskPath '%s' has %llu bytes, not %llu", path,
                   (unsigned long long)size, (unsigned long long)output->size);
    else if (memcmp(id.bytes, output->played, TUCK_ID_BYTES) != 0)
        buf_format(ret_why, "the file at DiskPath '%s' has other bytes than were put", path);
}

// -- comparing -----------------------------------------------------------------------------------
static const char *text_of(const json_t *answer, const char *field) {
    const char *text = json_string_value(json_object_get(answer, field));
    return text ? text : "";
}

static void count_answer(struct player *player, const struct trace_request *request,
                         enum trace_answer kind, const json_t *answer) {
    switch (kind) {
    case TRACE_HIT:
        player->hits++;
        player->hit_bytes += (uint64_t)json_integer_value(json_object_get(answer, "Size"));
        break;
    case TRACE_MISS:
        player->misses++;
        break;
    case TRACE_STORED:
        player->puts++;
        player->put_bytes += request->body_size;
        break;
    case TRACE_ERR:
        player->errors++;
        break;
    case TRACE_DONE:
        player->others++;
        break;
    case TRACE_NOTHING:
        player->unanswered++;
        break;
    }
}

// What a hit says: the output that was recorded, or, where the trace does not decide that, any that
// was put.
static void compare_hit(struct player *player, size_t number, const json_t *answer) {
    const struct trace_request *request = &player->plan->trace->requests[number];
    const struct plan_request *planned = &player->plan->requests[number];
    const char *name = text_of(answer, "OutputID");
    uint8_t id[TUCK_ID_BYTES];
    size_t found =
        tuck_base64_id(name, strlen(name), id) ? plan_find_played(player->plan, id) : PLAN_NONE;
    if (!planned->is_open && found != planned->output) {
        struct buf expected = {0};
        buf_base64(&expected, player->plan->outputs[planned->output].played, TUCK_ID_BYTES);
        differ(player, request, "OutputID is '%s', not '%s'", name, expected.data);
        buf_free(&expected);
        return;
    }
    if (found == PLAN_NONE) {
        differ(player, request, "OutputID is '%s', which was never put", name);
        return;
    }
    const struct plan_output *output = &player->plan->outputs[found];
    json_int_t size = json_integer_value(json_object_get(answer, "Size"));
    if (size < 0 || (uint64_t)size != output->size) {
        differ(player, request, "Size is %lld, not %llu", (long long)size,
               (unsigned long long)output->size);
        return;
    }
    struct buf why = {0};
    check_file(player, text_of(answer, "DiskPath"), output, &why);
    if (why.len)
        differ(player, request, "%s", why.data);
    buf_free(&why);
}

static void compare_answer(struct player *player, size_t number, struct sent *sent) {
    const struct trace_request *request = &player->plan->trace->requests[number];
    const struct plan_request *planned = &player->plan->requests[number];
    if (sent->is_compared || sent->place == PLAN_NONE)
        return;
    const json_t *answer = player->helper->requests[sent->place].answer;
    enum trace_answer kind = answer ? trace_answer_kind(request->command, answer) : TRACE_NOTHING;
    sent->is_compared = true;
    count_answer(player, request, kind, answer);
    if (!planned->is_open && kind != request->answer && !(request->is_late && !answer)) {
        differ(player, request, "recorded was %s, now %s%s%s", trace_answer_names[request->answer],
               trace_answer_names[kind], kind == TRACE_ERR ? ": " : "",
               kind == TRACE_ERR ? text_of(answer, "Err") : "");
        return;
    }
    if (kind == TRACE_HIT)
        compare_hit(player, number, answer);
    if (kind == TRACE_STORED && planned->output != PLAN_NONE) {
        struct buf why = {0};
        check_file(player, text_of(answer, "DiskPath"), &player->plan->outputs[planned->output],
                   &why);
        if (why.len)
            differ(player, request, "%s", why.data);
        buf_free(&why);
    }
}

// -- when a request may go out -------------------------------------------------------------------
struct turn {
    struct player *player;
    const struct trace_session *session;
    size_t number; // of the request that wants to go out, in the trace
};

static bool is_lost(const struct player *player) {
    return player->helper->is_stdout_over || player->helper->breach;
}

static bool is_answered(const struct player *player, const struct sent *sent) {
    return sent->place == PLAN_NONE || player->helper->requests[sent->place].answer;
}

// All earlier requests of its action that were answered before it was sent.
static bool is_settled(const struct turn *turn) {
    struct player *player = turn->player;
    const struct trace *trace = player->plan->trace;
    size_t first = turn->session->first;
    bool is_all = true;
    for (size_t at = player->plan->requests[turn->number].previous; at != PLAN_NONE;
         at = player->plan->requests[at].previous) {
        struct sent *sent = &player->sent[at - first];
        if (sent->is_settled)
            break;
        if (is_answered(player, sent))
            continue;
        if (trace->requests[at].answer_event < trace->requests[turn->number].event)
            return false;
        is_all = false;
    }
    size_t previous = player->plan->requests[turn->number].previous;
    if (is_all && previous != PLAN_NONE)
        player->sent[previous - first].is_settled = true;
    return true;
}

static bool may_go(void *arg) {
    const struct turn *turn = arg;
    struct player *player = turn->player;
    if (is_lost(player))
        return true;
    size_t in_flight = player->sent_count - player->helper->answer_count;
    return in_flight <= player->plan->trace->requests[turn->number].in_flight && is_settled(turn);
}

static bool has_all(const struct turn *turn) {
    const struct player *player = turn->player;
    const struct trace *trace = player->plan->trace;
    for (size_t i = turn->session->count; i-- > 0;) { // from the end: what is missing is found soon
        const struct trace_request *request = &trace->requests[turn->session->first + i];
        if (request->answer != TRACE_NOTHING && !request->is_late &&
            !is_answered(player, &player->sent[i]))
            return false;
    }
    return true;
}

static bool has_all_or_is_lost(void *arg) {
    const struct turn *turn = arg;
    return is_lost(turn->player) || has_all(turn);
}

// Waits as long as answers come: one that is slow is not stuck.
static bool wait_while_answers_come(struct player *player, bool (*done)(void *arg), void *arg) {
    for (;;) {
        size_t before = player->helper->answer_count;
        if (helper_pump(&player->engine->group, tuck_clock_mono_ns() + player->engine->patience_ns,
                        done, arg))
            return true;
        if (player->helper->answer_count == before)
            return false;
    }
}

// -- sessions ------------------------------------------------------------------------------------
static bool is_announced(const struct helper *helper, enum trace_command command) {
    static const char *const names[] = {
        [TRACE_GET] = "get", [TRACE_PUT] = "put", [TRACE_CLOSE] = "close"};
    return command == TRACE_OTHER || announces(helper, names[command]);
}

static bool start(struct player *player) {
    player->helper = start_plainly(player->engine, "h");
    player->sent_count = 0;
    player->paused_ns = 0;
    if (player->helper)
        return true;
    player->is_over = true;
    const char *why = player->engine->result.why.data;
    differ(player, NULL, "%s", why ? why : "it does not start");
    return false;
}

static void end(struct player *player, bool may_fail) {
    struct helper *helper = player->helper;
    if (finish(player->engine, helper, false) != 0) {
        player->is_over = true;
        differ(player, NULL, "%s", player->engine->result.why.data);
    } else if (!helper_ended_well(helper) && !may_fail) {
        struct buf why = {0};
        describe_end(helper, &why);
        differ(player, NULL, "%s", why.data);
        buf_free(&why);
    }
    helper_free_all(&player->engine->group);
    player->helper = NULL;
}

// A put may change what earlier answers led to. The clock stands still meanwhile.
static void compare_before_put(struct player *player, const struct turn *turn) {
    uint64_t began_ns = tuck_clock_mono_ns();
    for (size_t at = player->plan->requests[turn->number].previous; at != PLAN_NONE;
         at = player->plan->requests[at].previous) {
        struct sent *sent = &player->sent[at - turn->session->first];
        if (sent->is_compared)
            break;
        if (is_answered(player, sent))
            compare_answer(player, at, sent);
    }
    player->paused_ns += tuck_clock_mono_ns() - began_ns;
}

static bool is_over(void *arg) {
    return is_lost(arg);
}

// When this moment of the recording is due.
static uint64_t due(const struct player *player, const struct trace_session *session,
                    uint64_t at_ns) {
    uint64_t since_ns = at_ns > session->hello_ns ? at_ns - session->hello_ns : 0;
    return player->helper->hello_ns + since_ns + player->paused_ns;
}

static void keep_pace(struct player *player, const struct trace_session *session, uint64_t at_ns) {
    uint64_t due_ns = due(player, session, at_ns);
    if (player->options->is_paced && due_ns > tuck_clock_mono_ns())
        (void)helper_pump(&player->engine->group, due_ns, is_over, player);
}

static void note_lateness(struct player *player, const struct turn *turn, uint64_t now_ns) {
    uint64_t due_ns = due(player, turn->session, player->plan->trace->requests[turn->number].at_ns);
    if (player->options->is_paced && now_ns > due_ns && now_ns - due_ns > player->late_ns)
        player->late_ns = now_ns - due_ns;
}

static void send_one(struct player *player, const struct turn *turn) {
    const struct trace_request *request = &player->plan->trace->requests[turn->number];
    struct sent *sent = &player->sent[turn->number - turn->session->first];
    struct helper *helper = player->helper;
    sent->place = PLAN_NONE;
    if (!is_announced(helper, request->command)) {
        // As go commands do: without close they only end the input.
        if (request->command != TRACE_CLOSE)
            differ(player, request, "the helper does not know this command");
        return;
    }
    keep_pace(player, turn->session, request->at_ns);
    if (!wait_while_answers_come(player, may_go, (void *)(uintptr_t)turn)) {
        give_up(player, request, "no answer comes to what was sent before it");
        return;
    }
    if (is_lost(player)) {
        give_up(player, request, "it ended before this was sent");
        return;
    }
    if (request->command == TRACE_PUT)
        compare_before_put(player, turn);
    sent->place = helper->request_count;
    sent->ns = tuck_clock_mono_ns();
    note_lateness(player, turn, sent->ns);
    (void)helper_ask(helper, request->id);
    player->sent_count++;
    if (!write_request(player, turn->number)) {
        give_up(player, request, "it does not read its input any more");
        return;
    }
    // Answers are read as soon as they come, not when the next request has to wait for one.
    (void)helper_pump(&player->engine->group, tuck_clock_mono_ns() + 1, NULL, NULL);
}

static void add_latency(struct player *player, const struct trace_request *request,
                        const struct sent *sent) {
    if (request->command > TRACE_PUT || sent->place == PLAN_NONE)
        return;
    const struct request *asked = &player->helper->requests[sent->place];
    struct samples *samples = &player->latency[request->command];
    if (!asked->answer)
        return;
    if (samples->count == samples->room) {
        samples->room = samples->room ? samples->room * 2 : 1024;
        samples->ns = need_realloc(samples->ns, samples->room * sizeof(*samples->ns));
    }
    samples->ns[samples->count++] = asked->answered_ns - sent->ns;
}

static void play_session(struct player *player, size_t number) {
    const struct trace_session *session = &player->plan->trace->sessions[number];
    struct turn turn = {player, session, session->first};
    player->session = number + 1;
    if (!start(player))
        return;
    player->sent = need_alloc(session->count * sizeof(*player->sent));
    for (size_t i = 0; i < session->count; i++)
        player->sent[i].place = PLAN_NONE;
    for (size_t i = 0; i < session->count && !player->is_over; i++, turn.number++)
        send_one(player, &turn);
    if (!player->is_over && !wait_while_answers_come(player, has_all_or_is_lost, &turn))
        give_up(player, NULL, "some answers do not come");
    player->played_ns += tuck_clock_mono_ns() - player->helper->hello_ns - player->paused_ns;
    player->recorded_ns += session->last_ns - session->hello_ns;
    if (!player->is_over && (player->helper->breach || !has_all(&turn)))
        give_up(player, NULL, "it ended before all was answered");
    for (size_t i = 0; i < session->count; i++) {
        add_latency(player, &player->plan->trace->requests[session->first + i], &player->sent[i]);
        compare_answer(player, session->first + i, &player->sent[i]);
    }
    if (!player->is_over)
        keep_pace(player, session, session->eof_ns);
    player->sessions++;
    player->requests += player->sent_count;
    if (player->is_over)
        helper_free_all(&player->engine->group);
    else
        end(player, session->exit_status != 0);
    free(player->sent);
}

// -- what has to be there first ------------------------------------------------------------------
struct filling {
    struct player *player;
    size_t in_flight; // that may be left
};

static bool is_down_to(void *arg) {
    const struct filling *filling = arg;
    const struct player *player = filling->player;
    return is_lost(player) ||
           player->sent_count - player->helper->answer_count <= filling->in_flight;
}

// The put of the entry is the request of the same number.
static void put_entry(struct player *player, size_t number) {
    const struct plan_entry *entry = &player->plan->first[number];
    const struct plan_output *output = &player->plan->outputs[entry->output];
    struct filling filling = {player, FIRST_FLIGHT - 1};
    struct buf text = {0};
    if (!wait_while_answers_come(player, is_down_to, &filling) || is_lost(player)) {
        give_up(player, NULL, "what the trace finds cannot be put first");
        return;
    }
    put_object(&text, (int64_t)number + 1, entry->action, output, false);
    helper_note(player->helper, '>', text.data, text.len);
    buf_text(&text, "\n\n");
    (void)helper_ask(player->helper, (int64_t)number + 1);
    player->sent_count++;
    if (!write_text(player, text.data, text.len) || !write_body(player, output))
        give_up(player, NULL, "what the trace finds cannot be put first");
    buf_free(&text);
}

static void put_first(struct player *player) {
    struct filling filling = {player, 0};
    uint64_t began_ns = tuck_clock_mono_ns();
    player->session = 0;
    if (!player->plan->first_count || !start(player))
        return;
    for (size_t i = 0; i < player->plan->first_count && !player->is_over; i++)
        put_entry(player, i);
    if (!player->is_over &&
        (!wait_while_answers_come(player, is_down_to, &filling) || is_lost(player)))
        give_up(player, NULL, "what the trace finds cannot be put first");
    for (size_t i = 0; i < player->plan->first_count && !player->is_over; i++) {
        const json_t *answer = player->helper->requests[i].answer;
        if (trace_answer_kind(TRACE_PUT, answer) == TRACE_STORED)
            continue;
        player->is_over = true;
        differ(player, NULL, "what the trace finds cannot be put first: %s",
               *text_of(answer, "Err") ? text_of(answer, "Err") : "the answer has no DiskPath");
    }
    if (player->is_over)
        helper_free_all(&player->engine->group);
    else
        end(player, false);
    player->first_ns = tuck_clock_mono_ns() - began_ns;
}

// -- the report ----------------------------------------------------------------------------------
static int by_size(const void *a, const void *b) {
    uint64_t one = *(const uint64_t *)a, two = *(const uint64_t *)b;
    return one < two ? -1 : one > two;
}

// Nearest rank, in microseconds.
static double percentile(const struct samples *samples, size_t percent) {
    size_t rank = (samples->count * percent + 99) / 100;
    return samples->count ? (double)samples->ns[rank ? rank - 1 : 0] / 1e3 : 0;
}

static double per_second(const struct player *player) {
    return player->played_ns ? (double)player->requests * 1e9 / (double)player->played_ns : 0;
}

static double mb(uint64_t bytes) {
    return (double)bytes / 1e6;
}

static size_t cut_off(const struct trace *trace) {
    size_t count = 0;
    for (size_t i = 0; i < trace->session_count; i++)
        count += trace->sessions[i].cut_off;
    return count;
}

static void print_difference(const struct difference *one) {
    printf("  ");
    if (one->session == 0)
        printf("before the first session");
    else
        printf("session %zu", one->session);
    if (one->line)
        printf(", ID %lld (line %zu)", (long long)one->id, one->line);
    printf(": %s\n", one->what);
}

static void tell(const struct player *player) {
    const struct plan *plan = player->plan;
    const struct trace *trace = plan->trace;
    printf("trace         %s: %zu session%s, %zu requests, recorded in %.3f s\n",
           player->options->path, trace->session_count, trace->session_count == 1 ? "" : "s",
           trace->request_count, (double)player->recorded_ns / 1e9);
    if (plan->first_count)
        printf(
            "put first     %zu outputs, %.1f MB, in %.3f s: what the trace finds and never put\n",
            plan->first_count, mb(plan->first_bytes), (double)player->first_ns / 1e9);
    printf("requests      %zu: %zu hits, %zu misses, %zu puts, %zu errors, %zu others\n",
           player->requests, player->hits, player->misses, player->puts, player->errors,
           player->others);
    printf("bytes         %.1f MB found, %.1f MB put\n", mb(player->hit_bytes),
           mb(player->put_bytes));
    printf("time          %.3f s, %.0f requests/s\n", (double)player->played_ns / 1e9,
           per_second(player));
    for (size_t i = 0; i < LATENCY_KINDS; i++)
        if (player->latency[i].count)
            printf("%s           p50 %.0f µs, p99 %.0f µs\n", latency_names[i],
                   percentile(&player->latency[i], 50), percentile(&player->latency[i], 99));
    if (player->options->is_paced)
        printf("pace          kept within %.1f ms\n", (double)player->late_ns / 1e6);
    if (plan->open_count)
        printf("not compared  %zu answers, which the trace does not decide\n", plan->open_count);
    if (cut_off(trace))
        printf("cut off       %zu requests, which were not recorded to their end\n",
               cut_off(trace));
    for (size_t i = 0; i < player->differences && i < SHOWN_MAX; i++)
        print_difference(&player->kept[i]);
    if (player->differences > SHOWN_MAX)
        printf("  and %zu more\n", player->differences - SHOWN_MAX);
    if (player->differences)
        printf("verdict: it differs from the recording in %zu place%s\n", player->differences,
               player->differences == 1 ? "" : "s");
    else
        printf("verdict: it answers as it was recorded\n");
    (void)fflush(stdout);
}

static json_t *json_latency(const struct samples *samples) {
    return json_pack("{s:I, s:f, s:f}", "count", (json_int_t)samples->count, "p50",
                     percentile(samples, 50), "p99", percentile(samples, 99));
}

static json_t *json_details(const struct player *player) {
    json_t *list = json_array();
    for (size_t i = 0; i < player->differences && i < KEPT_MAX; i++) {
        const struct difference *one = &player->kept[i];
        json_t *value =
            json_pack("{s:I, s:s}", "session", (json_int_t)one->session, "what", one->what);
        if (one->line) {
            (void)json_object_set_new(value, "ID", json_integer(one->id));
            (void)json_object_set_new(value, "line", json_integer((json_int_t)one->line));
        }
        (void)json_array_append_new(list, value);
    }
    return list;
}

static json_t *json_counts(const struct player *player) {
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "requests",
                     (json_int_t)player->requests, "hits", (json_int_t)player->hits, "misses",
                     (json_int_t)player->misses, "puts", (json_int_t)player->puts, "errors",
                     (json_int_t)player->errors, "others", (json_int_t)player->others, "unanswered",
                     (json_int_t)player->unanswered, "hit_bytes", (json_int_t)player->hit_bytes,
                     "put_bytes", (json_int_t)player->put_bytes);
}

static int write_json(const struct player *player, struct tuck_error *err) {
    const struct plan *plan = player->plan;
    json_t *report = json_counts(player);
    json_t *more = json_pack(
        "{s:s, s:b, s:b, s:I, s:I, s:{s:I, s:I, s:f}, s:f, s:f, s:f, s:{s:o, s:o}, s:f, s:I, s:I, "
        "s:I, s:o}",
        "tuck_conform", TUCK_VERSION, "same", player->differences == 0, "paced",
        player->options->is_paced, "sessions", (json_int_t)plan->trace->session_count, "played",
        (json_int_t)player->sessions, "first", "puts", (json_int_t)plan->first_count, "bytes",
        (json_int_t)plan->first_bytes, "seconds", (double)player->first_ns / 1e9, "seconds",
        (double)player->played_ns / 1e9, "recorded_seconds", (double)player->recorded_ns / 1e9,
        "requests_per_second", per_second(player), "latency_us", "get",
        json_latency(&player->latency[TRACE_GET]), "put", json_latency(&player->latency[TRACE_PUT]),
        "late_ms", (double)player->late_ns / 1e6, "not_compared", (json_int_t)plan->open_count,
        "cut_off", (json_int_t)cut_off(plan->trace), "differences", (json_int_t)player->differences,
        "details", json_details(player));
    int result = 0;
    if (!report || !more || json_object_update(report, more) < 0 ||
        json_dump_file(report, player->options->json, JSON_INDENT(1)) < 0)
        result = tuck_fail_os(err, errno, "write '%s'", player->options->json);
    json_decref(report);
    json_decref(more);
    return result;
}

// -- the process ---------------------------------------------------------------------------------
static enum replay_outcome play(const struct setup *setup, const struct plan *plan,
                                const struct replay_options *options, const char *scratch) {
    struct engine engine = engine_begin(setup, NULL, scratch);
    struct player player = {.engine = &engine, .plan = plan, .options = options};
    struct tuck_error err = {0};
    engine.patience_ns = (uint64_t)((double)PATIENCE_NS * setup->scale);
    (void)use_place(&engine, "place");
    put_first(&player);
    for (size_t i = 0; i < plan->trace->session_count && !player.is_over; i++)
        play_session(&player, i);
    for (size_t i = 0; i < LATENCY_KINDS; i++)
        if (player.latency[i].count)
            qsort(player.latency[i].ns, player.latency[i].count, sizeof(uint64_t), by_size);
    tell(&player);
    if (options->json && write_json(&player, &err) < 0) {
        fprintf(stderr, "tuck-conform: %s\n", err.text);
        return REPLAY_BROKEN;
    }
    return player.differences ? REPLAY_DIFFERS : REPLAY_SAME;
}

enum replay_outcome replay(const struct setup *setup, const struct plan *plan,
                           const struct replay_options *options, const char *scratch) {
    sigset_t awaited, before;
    int status = 0;
    (void)sigemptyset(&awaited);
    (void)sigaddset(&awaited, SIGINT);
    (void)sigaddset(&awaited, SIGTERM);
    (void)sigaddset(&awaited, SIGCHLD);
    (void)sigprocmask(SIG_BLOCK, &awaited, &before);
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid < 0)
        conform_die("cannot start a process: %s", strerror(errno));
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
        (void)signal(SIGPIPE, SIG_IGN);
        (void)umask(022);
        enum replay_outcome outcome = play(setup, plan, options, scratch);
        end_orphans();
        leave_at_once((int)outcome);
    }
    bool is_interrupted = false;
    while (waitpid(pid, &status, WNOHANG) == 0) {
        int number = sigwaitinfo(&awaited, NULL);
        if (number == SIGINT || number == SIGTERM) {
            is_interrupted = true;
            (void)kill(pid, SIGKILL);
        }
    }
    end_orphans();
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    if (is_interrupted)
        fputs("tuck-conform: interrupted\n", stderr);
    else if (!WIFEXITED(status))
        fputs("tuck-conform: it failed itself while it played\n", stderr);
    return WIFEXITED(status) && !is_interrupted ? (enum replay_outcome)WEXITSTATUS(status)
                                                : REPLAY_BROKEN;
}

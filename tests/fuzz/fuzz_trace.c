// SPDX-License-Identifier: MIT
/*
 * Traces of conversations, as tuck-conform replay reads and plans them. Whatever the bytes are, they are refused with
 * one line that names the place, or what was read hangs together: sessions and requests in order, every text within
 * the input, no answer before its request, and of each body a name under which it is found again.
 */
#include "tests/fuzz/fuzz.h"
#include "cmd/tuck-conform/plan.h"

#include <ctype.h>

#define MADE_MAX (1U << 20) // bytes of bodies that one input may have made

static void check_refusal(const struct tuck_error *why) {
    fuzz_check(strncmp(why->text, "input:", 6) == 0, "no place: %s", why->text);
    for (const char *c = why->text; *c; c++)
        fuzz_check(!iscntrl((uint8_t)*c), "not one line: %s", why->text);
}

static bool count_bytes(void *arg, const uint8_t *data, size_t len) {
    (void)data;
    *(uint64_t *)arg += len;
    return true;
}

static void check_request(const struct trace *trace, size_t number, size_t earlier,
                          const char *text, size_t len) {
    const struct trace_request *one = &trace->requests[number];
    fuzz_check(one->line > 0 && one->line <= len + 1, "line %zu", one->line);
    fuzz_check(one->in_flight <= earlier, "%zu in flight of %zu", one->in_flight, earlier);
    fuzz_check(one->len >= 2 && one->text[0] == '{' && one->text[one->len - 1] == '}',
               "an object of %zu bytes", one->len);
    fuzz_check((one->answer_event == SIZE_MAX || one->answer_event > one->event) &&
                   (one->answer_event != SIZE_MAX || one->answer == TRACE_NOTHING),
               "an answer before its request");
    fuzz_check(one->first_piece + one->piece_count <= trace->piece_count, "pieces beyond the last");
    for (size_t i = 0; i < one->piece_count; i++) {
        const struct trace_piece *piece = &trace->pieces[one->first_piece + i];
        fuzz_check(piece->at >= text && piece->at + piece->len <= text + len,
                   "a piece outside of the input");
    }
    uint64_t size = 0;
    if (one->piece_count && trace_body(trace, one, count_bytes, &size))
        fuzz_check(size <= len, "%llu bytes of body", (unsigned long long)size);
}

static void check_trace(const struct trace *trace, const char *text, size_t len) {
    size_t next = 0;
    for (size_t i = 0; i < trace->session_count; i++) {
        const struct trace_session *session = &trace->sessions[i];
        fuzz_check(session->first == next && session->last_ns >= session->hello_ns, "session %zu",
                   i);
        for (size_t j = 0; j < session->count; j++)
            check_request(trace, session->first + j, j, text, len);
        next += session->count;
    }
    fuzz_check(next == trace->request_count, "%zu requests of %zu", next, trace->request_count);
}

static bool is_small(const struct trace *trace) {
    uint64_t total = 0;
    for (size_t i = 0; i < trace->request_count && total <= MADE_MAX; i++)
        total += trace->requests[i].body_size + trace->requests[i].found_size;
    return total <= MADE_MAX;
}

static void check_plan(const struct plan *plan) {
    for (size_t i = 0; i < plan->output_count; i++) {
        size_t found = plan_find_played(plan, plan->outputs[i].played);
        fuzz_check(found != PLAN_NONE && memcmp(plan->outputs[found].played,
                                                plan->outputs[i].played, TUCK_ID_BYTES) == 0,
                   "an output that is not found");
        fuzz_check(plan->outputs[i].request == PLAN_NONE ||
                       memcmp(plan->outputs[i].recorded, plan->outputs[i].played, TUCK_ID_BYTES) ==
                           0,
                   "a recorded body under another name");
    }
    for (size_t i = 0; i < plan->trace->request_count; i++) {
        const struct plan_request *one = &plan->requests[i];
        fuzz_check(one->previous == PLAN_NONE || one->previous < i, "a request before itself");
        fuzz_check(one->output == PLAN_NONE || one->output < plan->output_count, "no such output");
        fuzz_check(one->output != PLAN_NONE || one->is_open ||
                       plan->trace->requests[i].answer != TRACE_HIT,
                   "a hit of nothing");
    }
    for (size_t i = 0; i < plan->first_count; i++)
        for (size_t j = 0; j < i; j++)
            fuzz_check(memcmp(plan->first[i].action, plan->first[j].action, TUCK_ID_BYTES) != 0,
                       "an action is put first twice");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct tuck_error why = {0};
    struct trace trace;
    struct plan plan;
    // A copy of this length, so that a sanitizer sees a step beyond its end.
    char *text = malloc(size ? size : 1);
    fuzz_check(text, "no memory");
    if (size)
        memcpy(text, data, size);
    int result = trace_parse(&trace, "input", text, size, &why);
    fuzz_check(result == 0 || result == TUCK_EINVAL, "result %d", result);
    if (result < 0) {
        check_refusal(&why);
    } else {
        check_trace(&trace, text, size);
        if (is_small(&trace)) {
            plan_make(&plan, &trace);
            check_plan(&plan);
            plan_free(&plan);
        }
    }
    trace_free(&trace);
    free(text);
    return 0;
}

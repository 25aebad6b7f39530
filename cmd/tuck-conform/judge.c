// SPDX-License-Identifier: MIT
#include "cmd/tuck-conform/engine.h"
#include "lib/base/clock.h"
#include "lib/base/io.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define WITHOUT_A_WORD "(no message on stderr)"

// -- waiting -------------------------------------------------------------------------------------
struct waiting {
    struct helper *helper;
    struct request *request;
};

static bool is_answered(void *arg) {
    const struct waiting *waiting = arg;
    return waiting->request->answer || waiting->helper->is_stdout_over || waiting->helper->breach;
}

static bool is_silent(void *arg) {
    const struct helper *helper = arg;
    return helper->is_stdout_over || helper->breach;
}

static bool is_over(void *arg) {
    struct helper *helper = arg;
    return helper_is_over(helper) && (helper->is_stderr_over || helper->breach);
}

// -- files ---------------------------------------------------------------------------------------
static const char *text_of(const json_t *answer, const char *field) {
    const char *text = json_string_value(json_object_get(answer, field));
    return text ? text : "";
}

// Reads the file to its end and compares as it goes.
static bool has_bytes(int fd, const struct value *body, struct buf *why) {
    char block[1 << 15], expected[1 << 15];
    uint64_t at = 0;
    for (;;) {
        ssize_t got = read(fd, block, sizeof(block));
        if (got < 0) {
            buf_format(why, "it cannot be read: %s", strerror(errno));
            return false;
        }
        if (got == 0)
            break;
        if (at + (uint64_t)got > value_size(body)) {
            buf_format(why, "it is longer than the body of %llu bytes",
                       (unsigned long long)value_size(body));
            return false;
        }
        value_read(body, at, (size_t)got, expected);
        if (memcmp(block, expected, (size_t)got) != 0) {
            buf_text(why, "it has other bytes than the body");
            return false;
        }
        at += (uint64_t)got;
    }
    if (at == value_size(body))
        return true;
    buf_format(why, "it has %llu bytes, the body %llu", (unsigned long long)at,
               (unsigned long long)value_size(body));
    return false;
}

static bool file_has_body(const struct engine *engine, const json_t *answer,
                          const struct value *body, struct buf *why) {
    const char *path = text_of(answer, "DiskPath");
    struct stat status;
    int work TUCK_CLEANUP(tuck_close_fd) = open(engine->place->work, O_PATH | O_CLOEXEC);
    int fd TUCK_CLEANUP(tuck_close_fd) =
        openat(work, path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    buf_format(why, "the file at DiskPath '%s': ", path);
    if (fd < 0 || fstat(fd, &status) < 0) {
        buf_text(why, strerror(errno));
        return false;
    }
    if (!S_ISREG(status.st_mode)) {
        buf_text(why, "it is no regular file");
        return false;
    }
    return has_bytes(fd, body, why);
}

// -- times ---------------------------------------------------------------------------------------
static bool digits(const char **at, int count, int *ret_number) {
    *ret_number = 0;
    for (; count > 0; count--, ++*at) {
        if (!isdigit((unsigned char)**at))
            return false;
        *ret_number = *ret_number * 10 + (**at - '0');
    }
    return true;
}

static bool literal(const char **at, char c) {
    if (**at != c)
        return false;
    ++*at;
    return true;
}

bool parse_time(const char *text, int64_t *ret_ns, bool *ret_has_fraction) {
    struct tm tm = {0};
    int hours = 0, minutes = 0, sign = 0;
    int64_t fraction = 0, scale = 1000000000;
    const char *at = text;
    if (!digits(&at, 4, &tm.tm_year) || !literal(&at, '-') || !digits(&at, 2, &tm.tm_mon) ||
        !literal(&at, '-') || !digits(&at, 2, &tm.tm_mday) || !literal(&at, 'T') ||
        !digits(&at, 2, &tm.tm_hour) || !literal(&at, ':') || !digits(&at, 2, &tm.tm_min) ||
        !literal(&at, ':') || !digits(&at, 2, &tm.tm_sec))
        return false;
    if (tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 || tm.tm_mday > 31 || tm.tm_hour > 23 ||
        tm.tm_min > 59 || tm.tm_sec > 59)
        return false;
    *ret_has_fraction = *at == '.' || *at == ',';
    if (*ret_has_fraction) {
        at++;
        if (!isdigit((unsigned char)*at))
            return false;
        for (; isdigit((unsigned char)*at); at++) {
            scale /= 10;
            fraction += (*at - '0') * scale;
        }
    }
    if (*at == '+' || *at == '-') {
        sign = *at++ == '-' ? -1 : 1;
        if (!digits(&at, 2, &hours) || !literal(&at, ':') || !digits(&at, 2, &minutes) ||
            hours > 23 || minutes > 59)
            return false;
    } else if (!literal(&at, 'Z')) {
        return false;
    }
    if (*at)
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    time_t seconds = timegm(&tm) - sign * (hours * 3600 + minutes * 60);
    return !__builtin_mul_overflow((int64_t)seconds, INT64_C(1000000000), ret_ns) &&
           !__builtin_add_overflow(*ret_ns, fraction, ret_ns);
}

// -- one answer ----------------------------------------------------------------------------------
static bool is_err(const json_t *answer) {
    return *text_of(answer, "Err") != '\0';
}

static bool is_miss(const json_t *answer) {
    return !is_err(answer) &&
           (json_is_true(json_object_get(answer, "Miss")) || !*text_of(answer, "DiskPath"));
}

static bool is_file(const struct engine *engine, const struct request *request,
                    const struct value *body, struct buf *why) {
    if (is_err(request->answer)) {
        buf_text(why, "Err was answered");
        return false;
    }
    if (!*text_of(request->answer, "DiskPath")) {
        buf_text(why, "the answer has no DiskPath");
        return false;
    }
    return file_has_body(engine, request->answer, body, why);
}

static bool is_hit(const struct engine *engine, const struct request *request,
                   const struct value *body, struct buf *why) {
    if (json_is_true(json_object_get(request->answer, "Miss"))) {
        buf_text(why, "a miss was answered");
        return false;
    }
    return is_file(engine, request, body, why);
}

// A miss, or a hit with any body that was ever put for the action.
static bool is_true(const struct engine *engine, const struct request *request, struct buf *why) {
    if (request->kind == REQUEST_PUT)
        return is_file(engine, request, &request->body, why);
    if (is_err(request->answer)) {
        return request->kind != REQUEST_CLOSE; // of a get the go command takes it for a miss
    }
    if (request->kind != REQUEST_GET || is_miss(request->answer))
        return true;
    const struct known *known = place_find(engine->place, request->action);
    for (size_t i = known ? known->body_count : 0; i-- > 0;) {
        why->len = 0;
        if (is_hit(engine, request, &known->bodies[i], why))
            return true;
    }
    if (!known || !known->body_count)
        buf_text(why, "a hit for an action that was never put");
    return false;
}

// -- refusals ------------------------------------------------------------------------------------
bool ended_in_refusal(const struct helper *helper) {
    return helper->is_over && WIFEXITED(helper->status) && WEXITSTATUS(helper->status) > 0 &&
           WEXITSTATUS(helper->status) < 126 && helper->stderr_raw.len > 0;
}

void describe_end(const struct helper *helper, struct buf *ret_text) {
    if (!helper->is_over)
        buf_text(ret_text, "it runs");
    else if (WIFSIGNALED(helper->status))
        buf_format(ret_text, "it ended by signal %d (%s)", WTERMSIG(helper->status),
                   strsignal(WTERMSIG(helper->status)));
    else
        buf_format(ret_text, "it ended with status %d", WEXITSTATUS(helper->status));
    buf_text(ret_text, helper->stderr_raw.len ? "; stderr: " : " " WITHOUT_A_WORD);
    buf_visible(ret_text, helper->stderr_raw.data, helper->stderr_raw.len, 300);
}

static bool is_exit(struct engine *engine, struct helper *helper, struct buf *why) {
    (void)wait_for(engine, is_silent, helper);
    (void)wait_for(engine, is_over, helper);
    describe_end(helper, why);
    return ended_in_refusal(helper);
}

// -- outcomes ------------------------------------------------------------------------------------
struct term {
    const char *name;
    struct value body;
    bool has_body;
};

static const char *const term_names[] = {"hit",  "miss",    "put",      "err",  "ok",  "refused",
                                         "exit", "nothing", "answered", "true", "lost"};

static bool is_term(const char *name) {
    for (size_t i = 0; i < TUCK_ARRAY_LEN(term_names); i++)
        if (strcmp(term_names[i], name) == 0)
            return true;
    return false;
}

static bool holds_unanswered(struct engine *engine, struct helper *helper, const struct term *term,
                             struct buf *why) {
    if (strcmp(term->name, "exit") == 0 || strcmp(term->name, "refused") == 0)
        return is_exit(engine, helper, why);
    if (strcmp(term->name, "nothing") == 0) { // and nothing behind it, where a get follows
        const struct request *probe = helper_request(helper, PROBE_GET);
        return helper->is_stdout_over && !(probe && probe->answer);
    }
    return false;
}

static bool holds(struct engine *engine, struct helper *helper, const struct request *request,
                  const struct term *term, struct buf *why) {
    const json_t *answer = request->answer;
    if (!answer)
        return holds_unanswered(engine, helper, term, why);
    const struct value *body = term->has_body ? &term->body : &request->body;
    if (strcmp(term->name, "hit") == 0)
        return is_hit(engine, request, body, why);
    if (strcmp(term->name, "put") == 0)
        return is_file(engine, request, body, why);
    if (strcmp(term->name, "miss") == 0)
        return is_miss(answer);
    if (strcmp(term->name, "lost") == 0) // of a get the go command takes Err for a miss
        return is_miss(answer) || is_err(answer);
    if (strcmp(term->name, "err") == 0 || strcmp(term->name, "refused") == 0)
        return is_err(answer);
    if (strcmp(term->name, "ok") == 0)
        return !is_err(answer);
    if (strcmp(term->name, "answered") == 0)
        return true;
    return strcmp(term->name, "true") == 0 && is_true(engine, request, why);
}

static size_t read_terms(struct engine *engine, const struct word *words, size_t count,
                         struct term *ret_terms, size_t room, uint64_t *ret_within_ns) {
    size_t terms = 0;
    for (size_t i = 0; i < count;) {
        const char *word = word_literal(&words[i]);
        if (word && strcmp(word, "or") == 0) {
            i++;
        } else if (word && strcmp(word, "within") == 0 && i + 1 < count) {
            *ret_within_ns =
                (uint64_t)((double)word_number(engine, &words[i + 1]) * engine->setup->scale);
            i += 2;
        } else if (word && is_term(word) && terms < room) {
            struct term *term = &ret_terms[terms++];
            *term = (struct term){.name = word};
            const char *next = i + 1 < count ? word_literal(&words[i + 1]) : "or";
            i++;
            if (next && (strcmp(next, "or") == 0 || strcmp(next, "within") == 0))
                continue;
            term->body = word_value(engine, &words[i++]);
            term->has_body = true;
        } else {
            script_error(engine, "'%s' is no outcome", word ? word : "?");
        }
    }
    return terms;
}

static void describe_outcome(const struct term *terms, size_t count, struct buf *ret_text) {
    for (size_t i = 0; i < count; i++) {
        buf_format(ret_text, "%s%s", i ? " or " : "", terms[i].name);
        if (terms[i].has_body)
            buf_format(ret_text, " (%llu bytes)", (unsigned long long)value_size(&terms[i].body));
    }
}

static void describe_request(const struct request *request, struct buf *ret_text) {
    static const char *const kinds[] = {"request", "get", "put", "close"};
    buf_format(ret_text, "%s %lld", kinds[request->kind], (long long)request->id);
}

static int judge_terms(struct engine *engine, struct helper *helper, struct request *request,
                       const struct term *terms, size_t count, uint64_t within_ns) {
    struct waiting waiting = {helper, request};
    uint64_t patience_ns =
        within_ns && within_ns > engine->patience_ns ? within_ns : engine->patience_ns;
    uint64_t began_ns = tuck_clock_mono_ns();
    bool is_in_time = helper_pump(&engine->group, began_ns + patience_ns, is_answered, &waiting);
    if (check_breaches(engine) != 0)
        return ENGINE_STOP;
    struct buf why = {0}, expected = {0}, told = {0};
    bool is_good = false;
    for (size_t i = 0; i < count && !is_good; i++) {
        why.len = 0;
        if (request->answer || helper->is_stdout_over)
            is_good = holds(engine, helper, request, &terms[i], &why);
    }
    describe_outcome(terms, count, &expected);
    describe_request(request, &told);
    int result = check_breaches(engine);
    if (result == 0 && !is_good && !request->answer && !is_in_time)
        result = fail(engine, "%s: expected %s, and no answer came within %.1f s", told.data,
                      expected.data, (double)patience_ns / 1e9);
    else if (result == 0 && !is_good && !request->answer) {
        (void)wait_for(engine, is_over, helper);
        why.len = 0;
        describe_end(helper, &why);
        result = fail(engine, "%s: expected %s, and its stdout ended without an answer; %s",
                      told.data, expected.data, why.data);
    } else if (result == 0 && !is_good) {
        char *answer = json_dumps(request->answer, JSON_COMPACT | JSON_PRESERVE_ORDER);
        result = fail(engine, "%s: expected %s, got %.300s%s%s", told.data, expected.data,
                      answer ? answer : "?", why.len ? ": " : "", why.len ? why.data : "");
        free(answer);
    } else if (result == 0 && within_ns && request->answer &&
               request->answered_ns > began_ns + within_ns) {
        result = fail(engine, "%s: the answer took %.3f s, more than %.3f s", told.data,
                      (double)(request->answered_ns - began_ns) / 1e9, (double)within_ns / 1e9);
    }
    buf_free(&why);
    buf_free(&expected);
    buf_free(&told);
    return result;
}

int judge_request(struct engine *engine, struct helper *helper, struct request *request,
                  const struct word *outcome, size_t count) {
    struct term terms[6];
    uint64_t within_ns = 0;
    size_t found = read_terms(engine, outcome, count, terms, TUCK_ARRAY_LEN(terms), &within_ns);
    return judge_terms(engine, helper, request, terms, found, within_ns);
}

int judge_plain(struct engine *engine, struct helper *helper, struct request *request,
                const char *outcome, const struct value *body) {
    struct term term = {.name = outcome, .has_body = body != NULL};
    if (body)
        term.body = *body;
    return judge_terms(engine, helper, request, &term, 1, 0);
}

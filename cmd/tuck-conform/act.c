// SPDX-License-Identifier: MIT
#include "cmd/tuck-conform/act.h"
#include "cmd/tuck-conform/bad.h"
#include "cmd/tuck-conform/object.h"
#include "lib/base/clock.h"
#include "lib/base/io.h"

#include <dirent.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/stat.h>

#define LIFE_S      600 // after which a helper that hangs ends by itself
#define END_NS      (5 * TUCK_NS_PER_S)
#define QUIET_NS    (100 * TUCK_NS_PER_MS) // no request for so long: the client waits for answers
#define HOLD_S      120                    // that a child holds stdout open
#define BLOCK_BYTES (1U << 16)

enum answer_kind { ANSWER_HIT, ANSWER_MISS, ANSWER_PUT, ANSWER_OK, ANSWER_ERR, ANSWER_KINDS };

static const char *const answer_names[] = {"hit", "miss", "put", "ok", "err"};

struct act {
    struct bad *bad;
    char *const *words;    // of the command line
    struct asked *current; // that was awaited
    const struct statement *bends[ANSWER_KINDS];
};

static struct act *act_of(struct engine *engine) {
    return engine->act;
}

static struct bad *bad_of(struct engine *engine) {
    return act_of(engine)->bad;
}

static uint64_t scaled(const struct engine *engine, uint64_t time_ns) {
    return (uint64_t)((double)time_ns * engine->setup->scale);
}

// -- answers -------------------------------------------------------------------------------------
static enum answer_kind usual_answer(const struct bad *bad, const struct asked *asked) {
    return asked->kind == ASKED_PUT               ? ANSWER_PUT
           : asked->kind == ASKED_CLOSE           ? ANSWER_OK
           : bad_find(bad, asked->action) != NULL ? ANSWER_HIT
                                                  : ANSWER_MISS;
}

static void set_text(struct engine *engine, const char *name, const struct buf *text) {
    set_variable(engine, name, value_bytes(text->data ? text->data : "", text->len));
}

// What a case can say about the request: $id, $action, $output, $size and $path.
static void set_variables(struct engine *engine, const struct asked *asked) {
    struct bad *bad = bad_of(engine);
    const struct entry *entry = asked->kind == ASKED_GET ? bad_find(bad, asked->action) : NULL;
    const uint8_t *id = entry ? entry->output : asked->output;
    struct buf number = {0}, action = {0}, output = {0}, size = {0}, path = {0};
    buf_format(&number, "%" PRId64, asked->id);
    buf_base64(&action, asked->action, TUCK_ID_BYTES);
    buf_base64(&output, id, TUCK_ID_BYTES);
    buf_format(&size, "%" PRIu64, entry ? entry->size : asked->size);
    bad_path(bad, id, &path);
    set_text(engine, "id", &number);
    set_text(engine, "action", &action);
    set_text(engine, "output", &output);
    set_text(engine, "size", &size);
    set_text(engine, "path", &path);
    buf_free(&number);
    buf_free(&action);
    buf_free(&output);
    buf_free(&size);
    buf_free(&path);
}

static void fill_hit(struct bad *bad, const struct asked *asked, struct object *object) {
    const struct entry *entry = bad_find(bad, asked->action);
    struct buf path = {0};
    char time[31];
    if (!entry)
        return;
    bad_path(bad, entry->output, &path);
    (void)tuck_clock_format(entry->put_ns, time);
    object_add_id(object, "OutputID", entry->output);
    if (entry->size > 0)
        object_add_number(object, "Size", (int64_t)entry->size);
    object_add_text(object, "Time", time);
    object_add_text(object, "DiskPath", path.data);
    buf_free(&path);
}

static void fill_answer(struct bad *bad, const struct asked *asked, enum answer_kind kind,
                        struct object *object) {
    struct buf path = {0};
    object_add_number(object, "ID", asked->id);
    if (kind == ANSWER_HIT) {
        fill_hit(bad, asked, object);
    } else if (kind == ANSWER_MISS) {
        object_add_json(object, "Miss", "true");
    } else if (kind == ANSWER_ERR) {
        object_add_text(object, "Err", "no luck today");
    } else if (kind == ANSWER_PUT) {
        bad_path(bad, asked->output, &path);
        object_add_text(object, "DiskPath", path.data);
        buf_free(&path);
    }
}

// How a case bends an answer: fields, layout, and what stands at its end.
static void bend(struct engine *engine, struct object *object, const struct word *words,
                 size_t count, const char **ret_end) {
    for (size_t i = 0; i < count; i++) {
        const char *option = word_string(engine, &words[i]);
        if (object_take(engine, object, value_flat(&engine->arena, word_value(engine, &words[i]))))
            continue;
        if (strncmp(option, "end=", 4) == 0)
            *ret_end = option + 4;
        else if (!object_take_layout(object, option))
            script_error(engine, "an answer has no '%s'", option);
    }
}

static void send_answer(struct engine *engine, struct asked *asked, enum answer_kind kind,
                        const struct word *words, size_t count) {
    struct act *act = act_of(engine);
    struct object object = {0};
    struct buf text = {0};
    const char *end = "\n";
    fill_answer(act->bad, asked, kind, &object);
    if (words) {
        set_variables(engine, asked);
        bend(engine, &object, words, count, &end);
        bad_note(act->bad, "bent %s", answer_names[kind]);
    }
    object_write(engine, &object, &text);
    buf_text(&text, end);
    (void)!bad_write(act->bad, text.data, text.len);
    object_free(&object);
    buf_free(&text);
}

// As a good helper does, but for what the case has bent.
static void answer_usually(struct engine *engine, struct asked *asked) {
    struct act *act = act_of(engine);
    if (asked == act->bad->unread)
        (void)!bad_take_body(act->bad);
    enum answer_kind kind = usual_answer(act->bad, asked);
    const struct statement *bent = act->bends[kind];
    arena_reset(&engine->arena);
    send_answer(engine, asked, kind, bent ? bent->words + 2 : NULL,
                bent ? bent->word_count - 2 : 0);
    bad_answered(act->bad, asked);
}

// -- verbs that talk -----------------------------------------------------------------------------
// announce [unsaid] [NAME...] [BEND...]: the handshake
int verb_announce(struct engine *engine, const struct statement *statement) {
    static const char usual[] = "\"get\",\"put\",\"close\"";
    struct bad *bad = bad_of(engine);
    struct object object = {0};
    struct buf names = {0}, list = {0}, text = {0};
    bool is_unsaid = false;
    object_add_number(&object, "ID", 0);
    for (size_t i = 1; i < statement->word_count; i++) {
        const char *word = word_string(engine, &statement->words[i]);
        if (strcmp(word, "unsaid") == 0)
            is_unsaid = true;
        else if (word[0] >= 'a' && word[0] <= 'z' && !object_take_layout(&object, word))
            buf_format(&names, "%s\"%s\"", names.len ? "," : "", word);
    }
    buf_format(&list, "[%s]", names.len ? names.data : usual);
    object_add_json(&object, "KnownCommands", list.data);
    for (enum asked_kind kind = ASKED_GET; kind <= ASKED_CLOSE; kind++)
        bad->is_announced[kind] = strstr(list.data, asked_name(kind)) != NULL;
    for (size_t i = 1; i < statement->word_count; i++)
        (void)object_take(engine, &object,
                          value_flat(&engine->arena, word_value(engine, &statement->words[i])));
    object_write(engine, &object, &text);
    buf_text(&text, "\n");
    if (!is_unsaid)
        (void)!bad_write(bad, text.data, text.len);
    object_free(&object);
    buf_free(&names);
    buf_free(&list);
    buf_free(&text);
    return 0;
}

// say BYTES...: as they are
int verb_say(struct engine *engine, const struct statement *statement) {
    for (size_t i = 1; i < statement->word_count; i++) {
        struct value part = value_flat(&engine->arena, word_value(engine, &statement->words[i]));
        (void)!bad_write(bad_of(engine), part.data, part.len);
    }
    return 0;
}

static bool is_awaited(const struct bad *bad, const struct asked *asked, const char *what) {
    if (strcmp(what, "any") == 0 || strcmp(what, asked_name(asked->kind)) == 0)
        return true;
    if (asked->kind == ASKED_GET)
        return strcmp(what, answer_names[usual_answer(bad, asked)]) == 0;
    if (asked->kind == ASKED_PUT)
        return strcmp(what, asked->size == 0 ? "empty-put" : "body-put") == 0;
    return false;
}

// await hit|miss|get|put|empty-put|body-put|close|any [before-body]: others are answered meanwhile
int verb_await(struct engine *engine, const struct statement *statement) {
    struct act *act = act_of(engine);
    const char *what = word_literal(&statement->words[1]);
    static const char *const known[] = {"hit", "miss",      "get",      "put",
                                        "any", "empty-put", "body-put", "close"};
    size_t i = 0;
    while (i < TUCK_ARRAY_LEN(known) && !(what && strcmp(what, known[i]) == 0))
        i++;
    if (i == TUCK_ARRAY_LEN(known))
        script_error(engine, "there is no such request to wait for");
    for (;;) {
        struct asked *asked;
        if (bad_read(act->bad, UINT64_MAX, &asked) != 0) {
            bad_note(act->bad, "unmet %s", what);
            bad_note(act->bad, "over");
            leave_at_once(0);
        }
        if (is_awaited(act->bad, asked, what)) {
            if (statement->word_count < 3)
                (void)!bad_take_body(act->bad);
            act->current = asked;
            set_variables(engine, asked);
            return 0;
        }
        answer_usually(engine, asked);
    }
}

// answer [hit|miss|put|ok|err] [BEND...]: the request that was awaited; it can be answered again
int verb_answer(struct engine *engine, const struct statement *statement) {
    struct act *act = act_of(engine);
    if (!act->current)
        script_error(engine, "no request was awaited");
    enum answer_kind kind = usual_answer(act->bad, act->current);
    size_t first = 1;
    const char *word = statement->word_count > 1 ? word_literal(&statement->words[1]) : NULL;
    for (enum answer_kind i = 0; word && i < ANSWER_KINDS; i++) {
        if (strcmp(word, answer_names[i]) == 0) {
            kind = i;
            first = 2;
        }
    }
    send_answer(engine, act->current, kind, statement->words + first,
                statement->word_count - first);
    bad_answered(act->bad, act->current);
    return 0;
}

// bend hit|miss|put|ok [BEND...]: from now on, when a request is answered by itself; without a BEND
// what is wrong is the file that it names
int verb_bend(struct engine *engine, const struct statement *statement) {
    const char *word = word_literal(&statement->words[1]);
    for (enum answer_kind i = 0; word && i < ANSWER_ERR; i++) {
        if (strcmp(word, answer_names[i]) == 0) {
            act_of(engine)->bends[i] = statement;
            return 0;
        }
    }
    script_error(engine, "there is no such answer to bend");
}

// -- serving -------------------------------------------------------------------------------------
static struct asked *last_of(struct asked *asked) {
    while (asked && asked->next)
        asked = asked->next;
    return asked;
}

// In any way but the first the answers to some wait for others.
enum order { IN_TURN, REVERSED, LATE };

static struct asked *next_to_answer(const struct act *act, enum order order) {
    struct asked *next = act->bad->outstanding;
    if (order == REVERSED)
        return last_of(next);
    if (order == LATE && next == act->current && !act->bad->is_close_seen)
        return next->next;
    return next;
}

static void serve(struct engine *engine, enum order order) {
    struct bad *bad = bad_of(engine);
    struct asked *asked;
    bool was_reversed = order != REVERSED;
    int result = 0;
    while (result != BAD_OVER) {
        while ((asked = next_to_answer(act_of(engine), order)))
            answer_usually(engine, asked);
        if (bad->is_close_seen)
            break;
        do {
            bool is_waiting = order == REVERSED && bad->outstanding;
            result =
                bad_read(bad, is_waiting ? tuck_clock_mono_ns() + QUIET_NS : UINT64_MAX, &asked);
        } while (result == 0 && order == REVERSED && asked->kind != ASKED_CLOSE);
        was_reversed = was_reversed || (bad->outstanding && bad->outstanding->next);
    }
    // After close nothing but the end may come; a request would be found.
    if (result != BAD_OVER)
        (void)!bad_read(bad, UINT64_MAX, &asked);
    if (!was_reversed)
        bad_note(bad, "unmet two requests at a time");
    bad_note(bad, "over");
    leave_at_once(0);
}

// serve [reversed|late]: to the end; late: the request that was awaited is answered with close
int verb_serve(struct engine *engine, const struct statement *statement) {
    const char *how = statement->word_count > 1 ? word_string(engine, &statement->words[1]) : "";
    serve(engine, strcmp(how, "reversed") == 0 ? REVERSED
                  : strcmp(how, "late") == 0   ? LATE
                                               : IN_TURN);
    return 0;
}

// over [TIME]: the connection cannot be used any more, and the client has to end it by then. It is
// served on all the same: who does not notice goes on to close, or uses what began wrong.
int verb_over(struct engine *engine, const struct statement *statement) {
    struct act *act = act_of(engine);
    uint64_t time_ns =
        statement->word_count > 1 ? (uint64_t)word_number(engine, &statement->words[1]) : END_NS;
    uint64_t until_ns = tuck_clock_mono_ns() + scaled(engine, time_ns);
    for (;;) {
        struct asked *asked;
        int result = bad_read(act->bad, until_ns, &asked);
        if (result == BAD_OVER)
            bad_note(act->bad, "over");
        else if (result == BAD_LATER)
            bad_note(act->bad, "fails does not end the connection, though it cannot be used");
        else if (!act->current)
            bad_note(act->bad, "fails goes on with a helper whose first words were wrong");
        else if (asked->kind == ASKED_CLOSE)
            bad_note(act->bad, "fails goes on to the end, as if nothing had been wrong");
        else {
            answer_usually(engine, asked);
            continue;
        }
        leave_at_once(0);
    }
}

// read-on: to the end of input, and answer nothing
int verb_read_on(struct engine *engine, const struct statement *statement) {
    (void)statement;
    (void)bad_await_end(bad_of(engine), UINT64_MAX);
    leave_at_once(0);
}

// -- verbs that do other things ------------------------------------------------------------------
// hang: does nothing any more, whatever it is asked for politely
int verb_hang(struct engine *engine, const struct statement *statement) {
    (void)engine, (void)statement;
    (void)signal(SIGTERM, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
    for (;;)
        (void)pause();
}

int verb_exit(struct engine *engine, const struct statement *statement) {
    leave_at_once((int)word_number(engine, &statement->words[1]));
}

// die KILL|SEGV|TERM
int verb_die(struct engine *engine, const struct statement *statement) {
    const char *name = word_string(engine, &statement->words[1]);
    int number = strcmp(name, "KILL") == 0   ? SIGKILL
                 : strcmp(name, "SEGV") == 0 ? SIGSEGV
                                             : SIGTERM;
    (void)signal(number, SIG_DFL);
    (void)raise(number);
    return 0;
}

// shut stdin|stdout
int verb_shut(struct engine *engine, const struct statement *statement) {
    bool is_stdin = strcmp(word_string(engine, &statement->words[1]), "stdin") == 0;
    int *fd = is_stdin ? &bad_of(engine)->input : &bad_of(engine)->output;
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
    return 0;
}

// pour stdout|stderr SIZE TEXT: over and over
int verb_pour(struct engine *engine, const struct statement *statement) {
    bool is_stdout = strcmp(word_string(engine, &statement->words[1]), "stdout") == 0;
    struct value text = value_flat(&engine->arena, word_value(engine, &statement->words[3]));
    struct value all = {.kind = VALUE_PATTERN, .data = text.data, .len = text.len};
    char *block = need_alloc(BLOCK_BYTES);
    all.size = (uint64_t)word_number(engine, &statement->words[2]);
    for (uint64_t at = 0; at < all.size; at += BLOCK_BYTES) {
        size_t part = all.size - at < BLOCK_BYTES ? (size_t)(all.size - at) : BLOCK_BYTES;
        value_read(&all, at, part, block);
        if (is_stdout)
            (void)!bad_write(bad_of(engine), block, part);
        else
            (void)!tuck_write_all(STDERR_FILENO, block, part, NULL);
    }
    free(block);
    return 0;
}

// swell SIZE LIMIT TEXT: over and over, while the client's memory grows by less than the limit
int verb_swell(struct engine *engine, const struct statement *statement) {
    struct bad *bad = bad_of(engine);
    uint64_t size = (uint64_t)word_number(engine, &statement->words[1]), sent = 0;
    uint64_t limit = (uint64_t)word_number(engine, &statement->words[2]);
    uint64_t before = bad_client_memory();
    const char *text = word_string(engine, &statement->words[3]);
    struct buf block = {0};
    while (block.len < 1 << 20)
        buf_text(&block, text);
    for (; sent < size && bad_write(bad, block.data, block.len); sent += block.len) {
        uint64_t now = bad_client_memory();
        if (now > before + limit) {
            bad_note(bad, "fails keeps all of what never ends: its memory grew by %" PRIu64 " MiB",
                     (now - before) >> 20);
            leave_at_once(0);
        }
    }
    buf_free(&block);
    return 0;
}

int verb_trickle(struct engine *engine, const struct statement *statement) {
    (void)statement;
    bad_of(engine)->is_slow = true;
    return 0;
}

// leave-child: one that holds stdout open
int verb_leave_child(struct engine *engine, const struct statement *statement) {
    (void)statement;
    if (fork() == 0) {
        (void)close(STDIN_FILENO);
        (void)close(STDERR_FILENO);
        (void)alarm((unsigned)(scaled(engine, HOLD_S * TUCK_NS_PER_S) / TUCK_NS_PER_S));
        for (;;)
            (void)pause();
    }
    return 0;
}

// descriptors: no pipe but stdin, stdout and stderr may be open here
int verb_descriptors(struct engine *engine, const struct statement *statement) {
    DIR *all = opendir("/proc/self/fd");
    (void)statement;
    for (struct dirent *one; all && (one = readdir(all));) {
        struct stat status;
        int fd = one->d_name[0] == '.' ? -1 : (int)strtoll(one->d_name, NULL, 10);
        if (fd > STDERR_FILENO && fstat(fd, &status) == 0 &&
            (S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode)))
            bad_note(bad_of(engine), "fails leaves descriptor %d, a pipe, open in the helper", fd);
    }
    if (all)
        (void)closedir(all);
    return 0;
}

// arguments WORD...: with which it was started, besides its own
int verb_arguments(struct engine *engine, const struct statement *statement) {
    struct act *act = act_of(engine);
    size_t count = 0;
    while (act->words[count])
        count++;
    bool is_same = count == statement->word_count - 1;
    for (size_t i = 0; is_same && i < count; i++)
        is_same = strcmp(act->words[i], word_string(engine, &statement->words[i + 1])) == 0;
    if (is_same)
        return 0;
    struct buf text = {0};
    for (size_t i = 0; i < count; i++)
        buf_format(&text, " [%s]", act->words[i]);
    bad_note(act->bad, "fails splits the command line into%s", text.data ? text.data : " nothing");
    buf_free(&text);
    return 0;
}

// -- one act -------------------------------------------------------------------------------------
const struct script_case *act_find(const struct script *script, const char *name) {
    for (size_t i = 0; i < script->case_count; i++) {
        const struct script_case *one = &script->cases[i];
        size_t len = strcspn(one->title, ":");
        if (!script_is_about_clients(one))
            continue;
        if (strcmp(one->id, name) == 0 ||
            (strlen(name) == len && strncmp(one->title, name, len) == 0 && one->title[len]))
            return one;
    }
    return NULL;
}

static struct bad *playing;

static void note_end(const char *text) {
    conform_last_words = NULL;
    bad_note(playing, "broken %s", text);
}

void act_run(const struct setup *setup, const struct script_case *one, const char *directory,
             char *const *words) {
    struct act act = {.bad = bad_open(directory), .words = words};
    playing = act.bad;
    conform_last_words = note_end;
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGINT, SIG_IGN);
    (void)signal(SIGQUIT, SIG_IGN);
    (void)alarm(LIFE_S);
    struct statement plain = {.file = "", .word_count = 1};
    struct engine *engine = engine_act(setup, one, act.bad->directory, &act);
    if (!one)
        (void)verb_announce(engine, &plain);
    if (one && engine_play(engine, one) != 0) {
        bad_note(act.bad, "fails %s", engine->result.why.data);
        leave_at_once(1);
    }
    serve(engine, IN_TURN);
    leave_at_once(0);
}

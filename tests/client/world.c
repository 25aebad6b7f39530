// SPDX-License-Identifier: MIT
#include "tests/client/world.h"
#include "lib/base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>

static const char *directory, *notes_path;
static char *notes;
static size_t descriptors_before, done_count;
static bool was_clean = true;

// What whoever runs the tests left open is not to be seen in the helpers.
static void hide_inherited_descriptors(void) {
    static bool is_done;
    for (int fd = 3; fd < 1024 && !is_done; fd++)
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    is_done = true;
}

int world_begin(void **state) {
    (void)state;
    hide_inherited_descriptors();
    directory = unit_directory();
    notes_path = unit_path(directory, "notes");
    done_count = 0;
    if (setenv("BAD_DIR", directory, 1) < 0 || setenv("BAD_NOTES", notes_path, 1) < 0)
        return -1;
    descriptors_before = unit_count_descriptors();
    was_clean = waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD;
    return 0;
}

// A test that failed has left things behind already.
int world_end(void **state) {
    (void)state;
    free(notes);
    notes = NULL;
    if (!was_clean)
        return 0;
    pid_t left = waitpid(-1, NULL, WNOHANG);
    if (left >= 0 || errno != ECHILD) {
        print_message("# a child is left: %d\n", left);
        return -1;
    }
    size_t now = unit_count_descriptors();
    if (now != descriptors_before)
        print_message("# %zu descriptors, %zu before\n", now, descriptors_before);
    return now == descriptors_before ? 0 : -1;
}

const char *world_dir(void) {
    return directory;
}

const char *world_notes(void) {
    size_t len;
    free(notes);
    notes = access(notes_path, F_OK) == 0 ? (char *)unit_read_file(notes_path, &len) : strdup("");
    assert_non_null(notes);
    return notes;
}

uint64_t world_ms(void) {
    return tuck_clock_mono_ns() / TUCK_NS_PER_MS;
}

void world_wait_for_note(const char *text) {
    uint64_t end = world_ms() + 20000;
    while (!strstr(world_notes(), text)) {
        if (world_ms() > end)
            print_message("# no note '%s' but: %s\n", text, notes);
        assert_true(world_ms() <= end);
        (void)nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
}

const char *world_file(const char *name, const char *text) {
    const char *path = unit_path(directory, name);
    unit_write_file(path, text, strlen(text));
    return path;
}

int world_open_file(const char *name, uint64_t size) {
    struct unit_random random = unit_random_of(name);
    const char *path = unit_path(directory, name);
    static uint8_t block[1 << 16];
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    for (uint64_t done = 0; done < size;) {
        size_t len = size - done < sizeof(block) ? (size_t)(size - done) : sizeof(block);
        unit_random_fill(&random, block, len);
        assert_int_equal(write(fd, block, len), len);
        done += len;
    }
    return fd;
}

struct tuck_client_options world_options(const char *const *argv) {
    struct tuck_client_options options = TUCK_CLIENT_OPTIONS_INIT;
    options.argv = argv;
    options.handshake_ms = 60000;
    options.timeout_ms = 60000;
    options.close_ms = 60000;
    options.kill_ms = 500;
    return options;
}

void world_expect_at(int found, int expected, const struct tuck_client_error *error,
                     const char *text, const char *file, int line) {
    bool is_right = found == expected && (!text || strstr(error->text, text));
    if (found < 0 && error && error->code != found)
        is_right = false;
    if (!is_right)
        print_message("# %s:%d: %s and not %s; error %s '%s'; wanted in it: '%s'\n", file, line,
                      tuck_client_status_name(found), tuck_client_status_name(expected),
                      error ? tuck_client_status_name(error->code) : "-", error ? error->text : "-",
                      text ? text : "");
    assert_true(is_right);
}

struct tuck_client *world_open(const struct tuck_client_options *options) {
    struct tuck_client_error error;
    struct tuck_client *client = NULL;
    int status = tuck_client_open(options, &client, &error);
    world_expect(status, TUCK_CLIENT_OK, &error, NULL);
    return client;
}

struct tuck_client *world_open_bad(const char *const *argv) {
    struct tuck_client_options options = world_options(argv);
    return world_open(&options);
}

void world_refused(const struct tuck_client_options *options, int status, const char *text) {
    struct tuck_client_error error;
    struct tuck_client *client = NULL;
    int found = tuck_client_open(options, &client, &error);
    world_expect(found, status, &error, text);
    assert_null(client);
}

void world_close(struct tuck_client *client, int status) {
    struct tuck_client_error error;
    struct tuck_client_end end;
    int found = tuck_client_close(client, &error);
    world_expect(found, status, &error, NULL);
    tuck_client_end(client, &end);
    assert_int_not_equal(end.how, TUCK_CLIENT_RUNS);
    assert_int_equal(end.pid, 0);
    tuck_client_free(client);
}

void world_get(struct tuck_client *client, int status, const char *text) {
    struct tuck_client_answer answer;
    struct tuck_client_error error;
    struct tuck_action_id action = unit_action(1);
    int found = tuck_client_get(client, action.bytes, &answer, &error);
    world_expect(found, status, &error, text);
}

void world_put(struct tuck_client *client, int status, const char *text) {
    struct tuck_client_answer answer;
    struct tuck_client_error error;
    struct tuck_action_id action = unit_action(1);
    int found = tuck_client_put_memory(client, action.bytes, "hello", 5, &answer, &error);
    world_expect(found, status, &error, text);
}

void world_done(void *arg, int status, const struct tuck_client_answer *answer,
                const struct tuck_client_error *error) {
    struct world_outcome *outcome = arg;
    tuck_verify(!outcome->is_done); // once for each request
    outcome->is_done = true;
    outcome->status = status;
    outcome->place = __atomic_add_fetch(&done_count, 1, __ATOMIC_RELAXED);
    if (status == TUCK_CLIENT_OK || status == TUCK_CLIENT_NOT_STORED)
        outcome->answer = *answer;
    if (status != TUCK_CLIENT_OK)
        outcome->error = *error;
}

size_t world_count_done(void) {
    return __atomic_load_n(&done_count, __ATOMIC_RELAXED);
}

uint64_t world_submit_get(struct tuck_client *client, uint64_t action, uint32_t timeout_ms,
                          struct world_outcome *outcome) {
    struct tuck_client_request request = TUCK_CLIENT_REQUEST_INIT;
    struct tuck_action_id id = unit_action(action);
    struct tuck_client_error error;
    uint64_t ticket = 0;
    memset(outcome, 0, sizeof(*outcome));
    request.command = TUCK_CLIENT_GET;
    request.action = id.bytes;
    request.timeout_ms = timeout_ms;
    int status = tuck_client_submit(client, &request, world_done, outcome, &ticket, &error);
    world_expect(status, TUCK_CLIENT_OK, &error, NULL);
    assert_true(ticket > 0);
    return ticket;
}

uint64_t world_submit_put(struct tuck_client *client, uint64_t action, struct tuck_client_body body,
                          struct world_outcome *outcome) {
    struct tuck_client_request request = TUCK_CLIENT_REQUEST_INIT;
    struct tuck_action_id id = unit_action(action);
    struct tuck_client_error error;
    uint64_t ticket = 0;
    memset(outcome, 0, sizeof(*outcome));
    request.command = TUCK_CLIENT_PUT;
    request.action = id.bytes;
    request.body = body;
    int status = tuck_client_submit(client, &request, world_done, outcome, &ticket, &error);
    world_expect(status, TUCK_CLIENT_OK, &error, NULL);
    return ticket;
}

bool world_is_in_valgrind(void) {
    const char *preloaded = getenv("LD_PRELOAD");
    return preloaded && strstr(preloaded, "vgpreload");
}

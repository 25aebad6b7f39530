// SPDX-License-Identifier: MIT
/*
 * builder: a client of libtuck that behaves as a build does, for `tuck-conform --client -- builder`. It asks the helper
 * that GOCACHEPROG names for sixteen outputs at once, makes those it does not get and puts them, and closes. What went
 * wrong stands on stderr, a line each. Exit status: 0 it works without a lost connection, 1 the helper was of no use.
 * TUCK_BUILDER_SCALE multiplies its time limits.
 */
#include "tuck/client.h"

#define OUTPUTS  16
#define LARGE    (4U << 20) // more than pipes and buffers hold
#define LIMIT_MS 3000

struct step {
    uint8_t action[TUCK_CLIENT_ID_BYTES];
    const char *what;
    char *body;
    size_t size;
    int status;
};

static bool is_lost;

static void tell(const char *what, int status, const struct tuck_client_error *error) {
    if (status < 0 || error->code != 0)
        fprintf(stderr, "builder: %s: %s (%s)\n", what, error->text,
                tuck_client_status_name(status < 0 ? status : error->code));
    is_lost = is_lost || (status <= TUCK_CLIENT_EXITED && status > TUCK_CLIENT_REFUSED);
}

static void took(void *arg, int status, const struct tuck_client_answer *answer,
                 const struct tuck_client_error *error) {
    struct step *step = arg;
    (void)answer;
    step->status = status;
    if (status != TUCK_CLIENT_OK)
        tell(step->what, status, error);
}

// The first is the largest, so that it is on its way when a helper begins to misbehave; one is empty.
static void plan(struct step *step, size_t number) {
    static const size_t sizes[] = {LARGE, 0, 1, 3, 1000, 4096, 65537, 300000};
    uint32_t state = (uint32_t)number + 1;
    step->size = sizes[number % TUCK_ARRAY_LEN(sizes)] / (number < TUCK_ARRAY_LEN(sizes) ? 1 : 3);
    memset(step->action, (int)number + 1, sizeof(step->action));
    step->body = malloc(step->size + 1);
    for (size_t i = 0; step->body && i < step->size; i++) {
        state = state * 1664525 + 1013904223;
        step->body[i] = (char)(state >> 24);
    }
}

static void submit(struct tuck_client *client, struct step *step,
                   enum tuck_client_command command) {
    struct tuck_client_request request = TUCK_CLIENT_REQUEST_INIT;
    struct tuck_client_error error;
    request.command = command;
    request.action = step->action;
    step->what = command == TUCK_CLIENT_GET ? "get" : "put";
    step->status = TUCK_CLIENT_CLOSED;
    if (command == TUCK_CLIENT_PUT)
        request.body = tuck_client_memory(step->body, step->size);
    int status = tuck_client_submit(client, &request, took, step, NULL, &error);
    if (status != TUCK_CLIENT_OK)
        tell(step->what, status, &error);
}

static void build(struct tuck_client *client) {
    static struct step steps[OUTPUTS];
    for (size_t i = 0; i < OUTPUTS; i++) {
        plan(&steps[i], i);
        submit(client, &steps[i], TUCK_CLIENT_GET);
    }
    (void)tuck_client_wait(client, TUCK_CLIENT_NO_LIMIT);
    for (size_t i = 0; i < OUTPUTS; i++)
        if (steps[i].status != TUCK_CLIENT_OK && !is_lost)
            submit(client, &steps[i], TUCK_CLIENT_PUT);
    (void)tuck_client_wait(client, TUCK_CLIENT_NO_LIMIT);
    for (size_t i = 0; i < OUTPUTS; i++)
        free(steps[i].body);
}

int main(void) {
    struct tuck_client_options options = TUCK_CLIENT_OPTIONS_INIT;
    struct tuck_client_error error = {0};
    struct tuck_client_end end;
    struct tuck_client *client = NULL;
    const char *scale = getenv("TUCK_BUILDER_SCALE");
    options.command = getenv("GOCACHEPROG");
    options.check = TUCK_CLIENT_CHECK_BYTES;
    options.handshake_ms = options.timeout_ms = options.close_ms =
        (uint32_t)(LIMIT_MS * (scale ? strtod(scale, NULL) : 1));
    int status = tuck_client_open(&options, &client, &error);
    if (status < 0) {
        tell("start", status, &error);
        return 1;
    }
    build(client);
    status = tuck_client_close(client, &error);
    if (status != TUCK_CLIENT_OK)
        tell("close", status, &error);
    tuck_client_end(client, &end);
    if (end.how == TUCK_CLIENT_END_SIGNAL || end.status != 0)
        fprintf(stderr, "builder: the helper ended with %s %d\n",
                end.how == TUCK_CLIENT_END_SIGNAL ? "signal" : "status", end.status);
    tuck_client_free(client);
    return is_lost ? 1 : 0;
}

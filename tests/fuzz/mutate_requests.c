// SPDX-License-Identifier: MIT
/*
 * Mutations that know requests, for the targets whose input is what a client writes. Random changes alone never hit a
 * SHA-256, so no put would ever be stored: here some puts are mended to what their body is, and some requests are added
 * whole.
 */
#include "lib/base/digest.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/reference.h"

static void print_base64(struct fuzz_text *text, const void *data, size_t len) {
    char *encoded = malloc((len + 2) / 3 * 4 + 1);
    fuzz_check(encoded, "no memory");
    fuzz_text_add(text, encoded, reference_encode(data, len, encoded));
    free(encoded);
}

// Few enough that gets find what puts left.
static void choose_action(uint64_t *random, struct tuck_action_id *ret_action) {
    memset(ret_action->bytes, (int)(fuzz_random(random) % 12), TUCK_ID_BYTES);
}

static void print_put(struct fuzz_text *text, int64_t id, const struct tuck_action_id *action,
                      const void *body, size_t len) {
    struct tuck_digest digest;
    struct tuck_output_id output;
    tuck_digest_init(&digest);
    tuck_digest_add(&digest, body, len);
    tuck_digest_end(&digest, &output);
    fuzz_text_print(text, "{\"ID\":%lld,\"Command\":\"put\",\"ActionID\":\"", (long long)id);
    print_base64(text, action->bytes, TUCK_ID_BYTES);
    fuzz_text_print(text, "\",\"OutputID\":\"");
    print_base64(text, output.bytes, TUCK_ID_BYTES);
    fuzz_text_print(text, "\"");
    if (len > 0)
        fuzz_text_print(text, ",\"BodySize\":%zu", len);
    fuzz_text_print(text, "}\n\n");
}

// A request that is all right, put at the end of some line.
static void add_request(struct fuzz_text *text, const uint8_t *data, size_t size,
                        uint64_t *random) {
    size_t at = size ? fuzz_random(random) % (size + 1) : 0;
    while (at < size && at > 0 && data[at - 1] != '\n')
        at++;
    int64_t id = (int64_t)(1 + fuzz_random(random) % 200);
    struct tuck_action_id action;
    choose_action(random, &action);
    fuzz_text_add(text, data, at);
    switch (fuzz_random(random) % 8) {
    case 0:
        fuzz_text_print(text, "{\"ID\":%lld,\"Command\":\"close\"}\n\n", (long long)id);
        break;
    case 1:
    case 2:
    case 3:
        fuzz_text_print(text, "{\"ID\":%lld,\"Command\":\"get\",\"ActionID\":\"", (long long)id);
        print_base64(text, action.bytes, TUCK_ID_BYTES);
        fuzz_text_print(text, "\"}\n\n");
        break;
    default: {
        uint8_t body[64];
        size_t len = fuzz_random(random) % 4 ? fuzz_random(random) % sizeof(body) : 0;
        for (size_t i = 0; i < len; i++)
            body[i] = (uint8_t)(fuzz_random(random) % 4);
        print_put(text, id, &action, body, len);
        if (len > 0) {
            fuzz_text_print(text, "\"");
            print_base64(text, body, len);
            fuzz_text_print(text, "\"\n");
        }
    }
    }
    if (at < size)
        fuzz_text_add(text, data + at, size - at);
}

// The same with every put's OutputID and BodySize as its body wants them.
static void mend_puts(struct fuzz_text *text, const uint8_t *data, size_t size) {
    struct reference_stream stream;
    size_t at = 0;
    reference_read(data, size, &stream);
    for (size_t i = 0; i < stream.count; i++) {
        const struct reference_request *request = &stream.request[i];
        if (request->command != REFERENCE_PUT || request->is_good || !request->is_whole ||
            !request->is_base64)
            continue;
        fuzz_text_add(text, data + at, request->begin - at);
        print_put(text, request->id, &request->action, request->body, request->body_len);
        at = request->body_len ? request->body_begin : request->body_end;
    }
    fuzz_text_add(text, data + at, size - at);
    reference_fini(&stream);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
    uint64_t random = seed;
    unsigned choice = fuzz_random(&random) % 4;
    struct fuzz_text text = {0};
    if (choice != 0)
        size = LLVMFuzzerMutate(data, size, max_size);
    if (choice < 2)
        add_request(&text, data, size, &random);
    else if (choice == 2)
        mend_puts(&text, data, size);
    if (text.len > 0 && text.len <= max_size) {
        memcpy(data, text.data, text.len);
        size = text.len;
    }
    fuzz_text_fini(&text);
    return size;
}

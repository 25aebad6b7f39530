// SPDX-License-Identifier: MIT
/*
 * The setting `drives`. The input is its text, up to a NUL.
 *
 * Whatever it says, it is refused with one line that ends nowhere in the middle, or becomes a list that keeps its
 * promises: absolute paths, no two alike, as many as a count by other means gives, and the same list again when it is
 * written out and read once more.
 */
#include "tests/fuzz/fuzz.h"
#include "lib/store/drives.h"

#include <ctype.h>

// How many drives a text that was accepted stands for: the sizes of its ranges, multiplied per element.
static size_t count_drives(const char *text) {
    char separator = strchr(text, ';') ? ';' : ',';
    size_t all = 0, here = 1;
    for (const char *at = text;; at++) {
        unsigned long from, to;
        char *end;
        if (*at == '{') {
            from = strtoul(at + 1, &end, 10);
            fuzz_check(strncmp(end, "...", 3) == 0, "accepted: %s", text);
            to = strtoul(end + 3, &end, 10);
            fuzz_check(*end == '}' && from <= to, "accepted: %s", text);
            here *= to - from + 1;
        } else if (*at == separator || !*at) {
            all += here;
            here = 1;
        }
        if (!*at)
            return all;
    }
}

static void check_list(const char *text, const struct tuck_drives *drives) {
    fuzz_check(drives->count >= 1 && drives->count <= TUCK_DRIVES_MAX, "%zu drives", drives->count);
    fuzz_check(drives->count == count_drives(text), "%zu drives, not %zu: %s", drives->count,
               count_drives(text), text);
    for (size_t i = 0; i < drives->count; i++) {
        const char *path = drives->paths[i];
        size_t len = strlen(path);
        fuzz_check(path[0] == '/' && (len == 1 || path[len - 1] != '/'), "drive '%s'", path);
        fuzz_check(len <= strlen(text) && !strpbrk(path, "{};"), "drive '%s'", path);
        fuzz_check(strchr(text, ';') || !strchr(path, ','), "drive '%s'", path);
        for (size_t other = 0; other < i; other++)
            fuzz_check(strcmp(path, drives->paths[other]) != 0, "twice: '%s'", path);
    }
    if (drives->count > 1 || strpbrk(text, ";,{}"))
        return;
    size_t len = strlen(drives->paths[0]); // one drive is the text itself
    fuzz_check(strncmp(text, drives->paths[0], len) == 0 &&
                   strspn(text + len, "/") == strlen(text + len),
               "'%s' became '%s'", text, drives->paths[0]);
}

static void check_again(const struct tuck_drives *drives) {
    struct fuzz_text text = {0};
    struct tuck_drives again = {0};
    for (size_t i = 0; i < drives->count; i++) {
        fuzz_text_add(&text, ";", i > 0);
        fuzz_text_add(&text, drives->paths[i], strlen(drives->paths[i]));
    }
    fuzz_text_add(&text, "", 1);
    fuzz_check(tuck_drives_parse(text.data, &again, NULL) == 0, "refused: %s", text.data);
    fuzz_check(again.count == drives->count, "%zu drives, then %zu", drives->count, again.count);
    for (size_t i = 0; i < drives->count; i++)
        fuzz_check(strcmp(drives->paths[i], again.paths[i]) == 0, "'%s', then '%s'",
                   drives->paths[i], again.paths[i]);
    tuck_drives_fini(&again);
    fuzz_text_fini(&text);
}

static void check_refusal(const struct tuck_error *err, int status) {
    size_t len = strlen(err->text);
    fuzz_check(status == TUCK_EINVAL && err->code == status, "status %d", status);
    fuzz_check(len > 0 && len < sizeof(err->text) - 1, "a text of %zu bytes", len);
    for (size_t i = 0; i < len; i++)
        fuzz_check(!iscntrl((uint8_t)err->text[i]), "not one line: %s", err->text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = strndup(size > 0 ? (const char *)data : "", size);
    fuzz_check(text, "no memory");
    struct tuck_drives drives = {0};
    struct tuck_error err = {0};
    int status = tuck_drives_parse(text, &drives, &err);
    if (status == 0) {
        check_list(text, &drives);
        check_again(&drives);
    } else {
        check_refusal(&err, status);
        fuzz_check(!drives.paths && drives.count == 0, "a refusal left something");
    }
    tuck_drives_fini(&drives);
    free(text);
    return 0;
}

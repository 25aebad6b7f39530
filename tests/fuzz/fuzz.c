// SPDX-License-Identifier: MIT
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <sys/stat.h>

// Undefined behaviour ends the process, or nobody learns of it. The sanitizer, where there is one, asks.
const char *__ubsan_default_options(void);
__attribute__((visibility("default"))) const char *__ubsan_default_options(void) {
    return "halt_on_error=1:print_stacktrace=1";
}

void fuzz_failed(const char *what, const char *file, int line, const char *format, ...) {
    char text[2000];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    // One line each, so that it is a diagnostic in TAP whatever the input holds.
    for (char *c = text; *c; c++)
        if (*c != '\n' && ((uint8_t)*c < 0x20 || (uint8_t)*c >= 0x7f))
            *c = '?';
    (void)fflush(NULL);
    fprintf(stdout, "# '%s' does not hold at %s:%d\n", what, file, line);
    for (char *at = text, *end; *at; at = end) {
        end = at + strcspn(at, "\n");
        fprintf(stdout, "# %.*s\n", (int)(end - at), at);
        end += *end == '\n';
    }
    (void)fflush(NULL);
    abort();
}

// --- Files ---------------------------------------------------------------------------------------

static char scratch[200];
static pid_t scratch_owner;

static int remove_one(const char *path, const struct stat *stat, int kind, struct FTW *where) {
    (void)stat, (void)kind, (void)where;
    (void)remove(path);
    return 0;
}

void fuzz_remove(const char *path) {
    (void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void remove_scratch(void) {
    if (scratch_owner == getpid())
        fuzz_remove(scratch);
}

const char *fuzz_scratch(void) {
    if (scratch_owner == getpid())
        return scratch;
    // replay.c gives the place, so that it can clean up after a child that died.
    const char *given = getenv("TUCK_FUZZ_ROOT"), *temporary = getenv("TMPDIR");
    const char *base = given                                         ? given
                       : access("/dev/shm", R_OK | W_OK | X_OK) == 0 ? "/dev/shm"
                       : temporary && temporary[0] == '/'            ? temporary
                                                                     : "/tmp";
    int len = snprintf(scratch, sizeof(scratch), "%s/tuck-fuzz-XXXXXX", base);
    fuzz_check(len > 0 && (size_t)len < sizeof(scratch), "TMPDIR is too long");
    fuzz_check(mkdtemp(scratch), "no directory can be made in %s", base);
    scratch_owner = getpid();
    (void)atexit(remove_scratch);
    return scratch;
}

void fuzz_write_file(const char *path, const void *data, size_t len) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    fuzz_check(fd >= 0, "%s cannot be made", path);
    fuzz_check(write(fd, data, len) == (ssize_t)len, "%s cannot be written", path);
    (void)close(fd);
}

// --- Numbers -------------------------------------------------------------------------------------

uint64_t fuzz_random(uint64_t *state) {
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t fuzz_hash(const void *data, size_t len) {
    const uint8_t *bytes = data;
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < len;
         i++) // wraps around on purpose; split so that the sanitizer of clang sees no overflow
        hash = __extension__(
            (uint64_t)((unsigned __int128)(hash ^ bytes[i]) * UINT64_C(0x100000001b3)));
    return fuzz_random(&hash);
}

// --- Text ----------------------------------------------------------------------------------------

void fuzz_text_add(struct fuzz_text *text, const void *data, size_t len) {
    if (text->len + len > text->room) {
        text->room = 2 * (text->len + len) + 256;
        text->data = realloc(text->data, text->room);
        fuzz_check(text->data, "no memory");
    }
    if (len > 0)
        memcpy(text->data + text->len, data, len);
    text->len += len;
}

void fuzz_text_print(struct fuzz_text *text, const char *format, ...) {
    char line[1000];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    fuzz_check(len >= 0 && (size_t)len < sizeof(line), "a line is too long");
    fuzz_text_add(text, line, (size_t)len);
}

void fuzz_text_fini(struct fuzz_text *text) {
    free(text->data);
    *text = (struct fuzz_text){0};
}

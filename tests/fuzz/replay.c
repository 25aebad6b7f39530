// SPDX-License-Identifier: MIT
/*
 * Runs a target over its corpus, and over mutations of it, as an ordinary test that speaks TAP.
 *
 *     fuzz_<target> PATH…       files, and directories of files
 *
 * TUCK_FUZZ_RUNS says how many mutations, TUCK_FUZZ_SEED which. The target runs in a child: whatever ends that, be it a
 * fault, a sanitizer or 30 s of silence, is noted with the input and the next child goes on behind it. A mutation that
 * fails is written to the working directory.
 */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define INPUT_MAX    1048576U
#define LIMIT_S      30U // for one input
#define FAILURES_MAX 5   // mutations that fail before the rest is left out
#define RUNS_DEFAULT 1000U

struct input {
    char *path;
    uint8_t *data;
    size_t len;
};

static struct input *corpus;
static size_t corpus_count;

// What the parent has to know when the child is dead.
static struct shared {
    size_t next; // the number of the input that runs, or that would be the next
    size_t len;
    uint8_t data[INPUT_MAX];
} * shared;

// --- The corpus ----------------------------------------------------------------------------------

static void load(const char *path) {
    struct stat stat;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    fuzz_check(fd >= 0 && fstat(fd, &stat) == 0, "%s: %s", path, strerror(errno));
    struct input input = {.path = strdup(path), .len = (size_t)stat.st_size};
    fuzz_check(input.len <= INPUT_MAX, "%s is too large", path);
    input.data = malloc(input.len + 1);
    fuzz_check(input.path && input.data, "no memory");
    fuzz_check(read(fd, input.data, input.len) == stat.st_size, "%s cannot be read", path);
    (void)close(fd);
    corpus = realloc(corpus, (corpus_count + 1) * sizeof(*corpus));
    fuzz_check(corpus, "no memory");
    corpus[corpus_count++] = input;
}

static void load_all(const char *path) {
    struct stat stat;
    fuzz_check(lstat(path, &stat) == 0, "%s: %s", path, strerror(errno));
    if (!S_ISDIR(stat.st_mode)) {
        load(path);
        return;
    }
    struct dirent **found;
    int count = scandir(path, &found, NULL,
                        alphasort); // sorted: the same seed means the same runs everywhere
    fuzz_check(count >= 0, "%s: %s", path, strerror(errno));
    for (int i = 0; i < count; i++) {
        char below[4096];
        int len = snprintf(below, sizeof(below), "%s/%s", path, found[i]->d_name);
        fuzz_check(len > 0 && (size_t)len < sizeof(below), "a path is too long");
        if (found[i]->d_name[0] != '.')
            load_all(below);
        free(found[i]);
    }
    free(found);
}

static void free_corpus(void) {
    for (size_t i = 0; i < corpus_count; i++) {
        free(corpus[i].path);
        free(corpus[i].data);
    }
    free(corpus);
}

// --- Mutations -----------------------------------------------------------------------------------

static uint64_t random_state;

static size_t below(size_t limit) {
    return limit ? (size_t)(fuzz_random(&random_state) % limit) : 0;
}

// Replaces `gone` bytes at `at` by others, as far as there is room.
static size_t put_in(uint8_t *data, size_t size, size_t max_size, size_t at, size_t gone,
                     const uint8_t *bytes, size_t len) {
    if (size - gone + len > max_size)
        return size;
    memmove(data + at + len, data + at + gone, size - at - gone);
    memcpy(data + at, bytes, len);
    return size - gone + len;
}

static size_t mutate_once(uint8_t *data, size_t size, size_t max_size) {
    static const char *const pieces[] = {"\"",
                                         "\\",
                                         "{",
                                         "}",
                                         "[",
                                         "]",
                                         ":",
                                         ",",
                                         "\n",
                                         "\\u000a",
                                         "null",
                                         "-1",
                                         "0",
                                         "1e400",
                                         "18446744073709551615",
                                         "9223372036854775807",
                                         "=",
                                         "\xff",
                                         "\xc3\xa9"};
    const struct input *other = &corpus[below(corpus_count)];
    size_t at = below(size + 1), len = below(size - at < 64 ? size - at + 1 : 64);
    switch (below(8)) {
    case 0: // one bit
        if (at < size)
            data[at] ^= (uint8_t)(1U << below(8));
        return size;
    case 1: // one byte
        if (at < size)
            data[at] = (uint8_t)below(256);
        return size;
    case 2: // a piece away
        return put_in(data, size, max_size, at, len, data, 0);
    case 3: { // a piece once more, elsewhere
        uint8_t piece[64];
        memcpy(piece, data + at, len);
        return put_in(data, size, max_size, below(size + 1), 0, piece, len);
    }
    case 4: { // a word
        const char *piece = pieces[below(TUCK_ARRAY_LEN(pieces))];
        return put_in(data, size, max_size, at, below(2) ? len : 0, (const uint8_t *)piece,
                      strlen(piece));
    }
    case 5: { // a piece of another input
        size_t from = below(other->len + 1), take = below(other->len - from + 1);
        return put_in(data, size, max_size, at, below(2) ? len : 0, other->data + from, take);
    }
    case 6: // a number by one
        while (at < size && (data[at] < '0' || data[at] > '9'))
            at++;
        if (at < size)
            data[at] = (uint8_t)(data[at] == '9' ? '0' : data[at] + 1);
        return size;
    default: // the rest away
        return below(4) ? size : at;
    }
}

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size) {
    for (size_t rounds = 1 + below(4); rounds > 0; rounds--)
        size = mutate_once(data, size, max_size);
    return size;
}

__attribute__((weak)) size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size,
                                                     unsigned seed) {
    (void)seed;
    return LLVMFuzzerMutate(data, size, max_size);
}

static void make_mutation(uint64_t seed, size_t number) {
    random_state = seed + ((uint64_t)number << 32);
    const struct input *base = &corpus[below(corpus_count)];
    size_t max_size = base->len + 4096 < INPUT_MAX ? base->len + 4096 : INPUT_MAX;
    memcpy(shared->data, base->data, base->len);
    shared->len = base->len;
    for (size_t rounds = 1 + below(3); rounds > 0; rounds--)
        shared->len = LLVMFuzzerCustomMutator(shared->data, shared->len, max_size,
                                              (unsigned)fuzz_random(&random_state));
}

// --- Running -------------------------------------------------------------------------------------

static void run_one(const uint8_t *data, size_t len) {
    uint8_t *exact = malloc(len); // so that a step too far is noticed
    fuzz_check(exact || len == 0, "no memory");
    if (len > 0)
        memcpy(exact, data, len);
    (void)alarm(LIMIT_S);
    (void)LLVMFuzzerTestOneInput(exact, len);
    free(exact);
}

static void run_from(size_t first, size_t count, bool is_mutated, uint64_t seed) {
    for (shared->next = first; shared->next < count; shared->next++) {
        if (is_mutated) {
            make_mutation(seed, shared->next);
            run_one(shared->data, shared->len);
        } else {
            run_one(corpus[shared->next].data, corpus[shared->next].len);
        }
    }
    (void)alarm(0);
    free_corpus();
    exit(0); // by way of the leak check
}

static void print_failure(const char *what, int status) {
    if (WIFSIGNALED(status))
        printf("# %s: %s\n", what,
               WTERMSIG(status) == SIGALRM ? "hung" : strsignal(WTERMSIG(status)));
    else
        printf("# %s: exit status %d, see stderr\n", what, WEXITSTATUS(status));
}

// One case of the test: all inputs, in as many children as it takes. Returns how many failed.
static int run_case(int number, const char *title, size_t count, bool is_mutated, uint64_t seed) {
    int failures = 0;
    size_t first = 0;
    for (bool goes_on = true; goes_on && !(is_mutated && failures == FAILURES_MAX);) {
        int status;
        (void)fflush(NULL);
        pid_t pid = fork();
        fuzz_check(pid >= 0, "no child: %s", strerror(errno));
        if (pid == 0)
            run_from(first, count, is_mutated, seed);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
        if (status == 0)
            break;
        failures++;
        first = shared->next + 1;
        goes_on = shared->next < count;
        if (!goes_on) {
            print_failure("after the last input", status);
        } else if (!is_mutated) {
            print_failure(corpus[shared->next].path, status);
        } else {
            char path[100];
            (void)snprintf(path, sizeof(path), "%s-crash-%llu-%zu", program_invocation_short_name,
                           (unsigned long long)seed, shared->next);
            fuzz_write_file(path, shared->data, shared->len);
            print_failure(path, status);
        }
    }
    printf("%sok %d - %s\n", failures ? "not " : "", number, title);
    return failures;
}

static uint64_t number_of(const char *variable, uint64_t otherwise) {
    const char *text = getenv(variable);
    return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: %s PATH...\n", program_invocation_short_name);
        return 2;
    }
    const char *is_long = getenv("TUCK_TEST_LONG");
    uint64_t runs = number_of("TUCK_FUZZ_RUNS", is_long && *is_long ? 20000 : RUNS_DEFAULT);
    uint64_t seed = number_of("TUCK_FUZZ_SEED", 1);
    char title[200];
    int failures = 0;
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    fuzz_check(shared != MAP_FAILED, "no memory");
    for (int i = 1; i < argc; i++)
        load_all(argv[i]);
    fuzz_check(corpus_count > 0, "the corpus is empty");
    fuzz_check(setenv("TUCK_FUZZ_ROOT", fuzz_scratch(), 1) == 0, "no memory");
    printf("1..2\n");
    (void)snprintf(title, sizeof(title), "%zu inputs of the corpus come out as they must",
                   corpus_count);
    failures += run_case(1, title, corpus_count, false, 0);
    (void)snprintf(title, sizeof(title), "%llu mutations of them with seed %llu do too",
                   (unsigned long long)runs, (unsigned long long)seed);
    failures += run_case(2, title, runs, true, seed);
    free_corpus();
    (void)munmap(shared, sizeof(*shared));
    return failures ? 1 : 0;
}

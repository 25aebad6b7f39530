// SPDX-License-Identifier: MIT
#include "tests/unit/unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <malloc.h>
#include <sys/stat.h>

static char *base_directory;
static unsigned directory_count;

static char **kept; // strings that live until the end
static size_t kept_count;

static const char *keep(char *text) {
    kept = realloc(kept, (kept_count + 1) * sizeof(*kept));
    assert_non_null(kept);
    assert_non_null(text);
    return kept[kept_count++] = text;
}

// --- Descriptors ---------------------------------------------------------------------------------

static size_t descriptors_before;

size_t unit_count_descriptors(void) {
    size_t count = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir))
        count++;
    (void)closedir(dir);
    return count;
}

static void print_descriptors(void) {
    DIR *dir = opendir("/proc/self/fd");
    for (struct dirent *found; dir && (found = readdir(dir));) {
        char target[512];
        ssize_t len = readlinkat(dirfd(dir), found->d_name, target, sizeof(target) - 1);
        if (len > 0) {
            target[len] = '\0';
            print_message("# %s: %s\n", found->d_name, target);
        }
    }
    if (dir)
        (void)closedir(dir);
}

static bool is_running, has_failed;

// A test that fails leaves by longjmp() and cannot put away what it has in hand.
static void note_begin(void) {
    has_failed |= is_running;
    is_running = true;
}

static void run_one(void **state) {
    const struct CMUnitTest *test = *state;
    note_begin();
    test->test_func(state);
    is_running = false;
}

static void no_descriptor_was_left_open(void **state) {
    (void)state;
    note_begin();
    is_running = false;
    if (has_failed)
        return;
    size_t now = unit_count_descriptors();
    if (now != descriptors_before)
        print_descriptors();
    assert_int_equal(now, descriptors_before);
}

// --- Running -------------------------------------------------------------------------------------

static int remove_one(const char *path, const struct stat *stat, int type, struct FTW *walk) {
    (void)walk;
    if (type == FTW_DNR)
        return -1;
    return S_ISDIR(stat->st_mode) ? rmdir(path) : unlink(path);
}

static int begin_group(void **state) {
    (void)state;
    const char *parent = getenv("TMPDIR");
    if (asprintf(&base_directory, "%s/tuck-unit-XXXXXX", parent && *parent ? parent : "/tmp") < 0 ||
        !mkdtemp(base_directory))
        return -1;
    (void)unit_random_of("");
    descriptors_before = unit_count_descriptors();
    return 0;
}

static int end_group(void **state) {
    (void)state;
    (void)!nftw(base_directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(base_directory);
    for (size_t i = 0; i < kept_count; i++)
        free(kept[i]);
    free(kept);
    return 0;
}

static bool is_chosen(const char *name, int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        if (strstr(name, argv[i]))
            return true;
    return argc <= 1;
}

int unit_run(const char *name, const struct CMUnitTest *tests, size_t count, int argc,
             char **argv) {
    static const struct CMUnitTest last = cmocka_unit_test(no_descriptor_was_left_open);
    struct CMUnitTest *chosen = calloc(count + 1, sizeof(*chosen));
    size_t chosen_count = 0;
    if (!chosen)
        return 1;
    (void)setvbuf(stdout, NULL, _IOLBF, 0); // what was printed before a crash is to be seen
    for (size_t i = 0; i < count; i++) {
        if (!is_chosen(tests[i].name, argc, argv))
            continue;
        chosen[chosen_count] = tests[i];
        chosen[chosen_count].test_func = run_one;
        chosen[chosen_count++].initial_state = (void *)(uintptr_t)&tests[i];
    }
    chosen[chosen_count++] = last;
    const char *slash = strrchr(name, '/');
    int failed = _cmocka_run_group_tests(slash ? slash + 1 : name, chosen, chosen_count,
                                         begin_group, end_group);
    free(chosen);
    if (failed) { // what they left behind is no news to the leak checker
        (void)fflush(NULL);
        _exit(1);
    }
    return 0;
}

// --- Random numbers ------------------------------------------------------------------------------

static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

struct unit_random unit_random_of(const char *name) {
    static uint64_t seed;
    if (seed == 0) {
        const char *text = getenv("TUCK_TEST_SEED");
        seed = text ? strtoull(text, NULL, 10) : 0;
        seed = seed ? seed : 20260101;
        print_message("# TUCK_TEST_SEED=%" PRIu64 "\n", seed);
    }
    struct unit_random random = {mix(seed)};
    for (; *name; name++)
        random.state = mix(random.state ^ (uint8_t)*name);
    return random;
}

uint64_t unit_random_next(struct unit_random *random) {
    random->state += UINT64_C(0x9e3779b97f4a7c15);
    return mix(random->state);
}

size_t unit_random_below(struct unit_random *random, size_t limit) {
    return (size_t)(unit_random_next(random) % limit);
}

void unit_random_fill(struct unit_random *random, void *ret_data, size_t len) {
    uint8_t *at = ret_data;
    while (len > 0) {
        uint64_t number = unit_random_next(random);
        size_t part = len < sizeof(number) ? len : sizeof(number);
        memcpy(at, &number, part);
        at += part;
        len -= part;
    }
}

static void fill_id(uint8_t bytes[TUCK_ID_BYTES], uint64_t number) {
    struct unit_random random = {mix(number + 1)};
    unit_random_fill(&random, bytes, TUCK_ID_BYTES);
}

struct tuck_action_id unit_action(uint64_t number) {
    struct tuck_action_id id;
    fill_id(id.bytes, number);
    return id;
}

struct tuck_output_id unit_output(uint64_t number) {
    struct tuck_output_id id;
    fill_id(id.bytes, ~number);
    return id;
}

// --- Files ---------------------------------------------------------------------------------------

const char *unit_directory(void) {
    char *path = NULL;
    assert_true(asprintf(&path, "%s/%u", base_directory, directory_count++) > 0);
    assert_int_equal(mkdir(path, 0700), 0);
    return keep(path);
}

const char *unit_path(const char *dir, const char *name) {
    char *path = NULL;
    assert_true(asprintf(&path, "%s/%s", dir, name) > 0);
    return keep(path);
}

int unit_open_directory(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

uint8_t *unit_read_file(const char *path, size_t *ret_len) {
    struct stat stat;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &stat), 0);
    uint8_t *data = malloc((size_t)stat.st_size + 1);
    assert_non_null(data);
    assert_int_equal(read(fd, data, (size_t)stat.st_size), stat.st_size);
    (void)close(fd);
    data[stat.st_size] = '\0';
    *ret_len = (size_t)stat.st_size;
    return data;
}

void unit_write_file(const char *path, const void *data, size_t len) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), len);
    assert_int_equal(close(fd), 0);
}

int unit_count_names(const char *path) {
    int count = 0;
    DIR *dir = opendir(path);
    if (!dir)
        return -1;
    for (struct dirent *found; (found = readdir(dir));)
        count += strcmp(found->d_name, ".") != 0 && strcmp(found->d_name, "..") != 0;
    (void)closedir(dir);
    return count;
}

// --- Memory --------------------------------------------------------------------------------------

// The sanitizers bring their own allocator, which mallinfo2() knows nothing of.
size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

size_t unit_allocated_bytes(void) {
    if (__sanitizer_get_current_allocated_bytes)
        return __sanitizer_get_current_allocated_bytes();
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

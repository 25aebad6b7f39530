// SPDX-License-Identifier: MIT
/*
 * Many processes with many threads on one index, and a model of it in shared memory as the oracle.
 *
 * Versions of entries are drawn from one counter, and an entry shows which version of which action it is. The model
 * holds for each action the highest version that was ever recorded, and the highest that is known to be in the file:
 * it was recorded before the beginning of a flush that wrote everything. So whatever a find returns lies between the
 * two; within a process it is also not below what that process has recorded itself. A find may miss while the page is
 * being written, but not for long.
 *
 * Some processes end in order, some leave their last entries in the spool, some are killed in the middle. What the
 * model knows to be in the file or the spool must be found by those who come after them.
 */
#include "tests/unit/unit.h"

#include "lib/base/clock.h"
#include "lib/index/index.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define ACTIONS   2500
#define PROCESSES 4
#define USERS     2 // threads of a process that find and record; one more flushes
#define ROUNDS    3
#define STEPS     2500 // of each user
#define MISSES    2000 // in a row until a miss counts as one

enum ending { ENDS_IN_ORDER, ENDS_IN_SPOOL, IS_KILLED };

struct model {
    uint64_t versions;                     /* atomic: how many were drawn */
    uint64_t recorded[ACTIONS];            /* atomic: highest ever */
    uint64_t written[ACTIONS];             /* atomic: highest that everybody must find */
    uint64_t spooled[ACTIONS];             /* atomic: the same for those who open later */
    uint64_t finds, misses, flushes, busy; /* atomic */
};

static struct model *model; // shared by all processes
static uint64_t base_ns;    // put time of version 0
static bool has_clears;     // somebody clears the index meanwhile: nothing needs to be found

struct process {
    struct tuck_index *index;
    struct unit_random random;
    bool is_clearer;
    unsigned kill_step;    // 0: never
    sem_t work;            // for the flusher
    bool is_over;          /* atomic */
    uint64_t own[ACTIONS]; /* atomic: highest version that this process has recorded */
};

struct user {
    struct process *process;
    struct unit_random random;
};

// --- The model -----------------------------------------------------------------------------------

static uint64_t load(const uint64_t *from) {
    return __atomic_load_n(from, __ATOMIC_SEQ_CST);
}

static void raise_to(uint64_t *at, uint64_t value) {
    uint64_t present = load(at);
    while (present < value && !__atomic_compare_exchange_n(at, &present, value, false,
                                                           __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        ;
}

static void count(uint64_t *at) {
    (void)__atomic_fetch_add(at, 1, __ATOMIC_RELAXED);
}

__attribute__((noreturn, format(printf, 1, 2))) static void fail_child(const char *format, ...) {
    char text[300];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    fprintf(stderr, "stress_index[%d]: %.*s\n", (int)getpid(), len, text);
    _exit(1);
}

static struct tuck_entry entry_of(uint64_t action, uint64_t version) {
    return (struct tuck_entry){
        .output = unit_output(version * ACTIONS + action),
        .size = version * 3 + action,
        .put_ns = base_ns + version,
        .access_s = (uint32_t)(base_ns / TUCK_NS_PER_S),
        .file_tag = (uint32_t)(version ^ action),
    };
}

// The version that is found, 0 for none. What is found must be exactly the entry of that version.
static uint64_t find_once(struct tuck_index *index, uint64_t action, struct tuck_entry *ret_entry) {
    struct tuck_action_id id = unit_action(action);
    if (tuck_index_find(index, &id, ret_entry) != 0)
        return 0;
    uint64_t version = ret_entry->put_ns - base_ns;
    struct tuck_entry expected = entry_of(action, version);
    if (version == 0 || version > load(&model->recorded[action]) ||
        !tuck_output_equal(&ret_entry->output, &expected.output) ||
        ret_entry->size != expected.size || ret_entry->file_tag != expected.file_tag)
        fail_child("action %llu: found an entry that was never recorded (version %llu)",
                   (unsigned long long)action, (unsigned long long)version);
    (void)tuck_index_trusts(index, ret_entry);
    return version;
}

static uint64_t find(struct tuck_index *index, uint64_t action, const uint64_t *own,
                     struct tuck_entry *ret_entry) {
    uint64_t floor = load(&model->written[action]);
    if (own && load(own) > floor)
        floor = load(own);
    if (has_clears)
        floor = 0;
    uint64_t version = 0;
    for (unsigned attempt = 0; attempt < MISSES; attempt++) {
        version = find_once(index, action, ret_entry);
        count(&model->finds);
        if (version != 0 || floor == 0)
            break;
        count(&model->misses);
        (void)sched_yield();
    }
    if (version < floor)
        fail_child("action %llu: found version %llu, but version %llu is there",
                   (unsigned long long)action, (unsigned long long)version,
                   (unsigned long long)floor);
    return version;
}

// --- A process -----------------------------------------------------------------------------------

static void record(struct process *process, uint64_t action) {
    struct tuck_action_id id = unit_action(action);
    uint64_t version = __atomic_add_fetch(&model->versions, 1, __ATOMIC_SEQ_CST);
    struct tuck_entry entry = entry_of(action, version);
    raise_to(&model->recorded[action], version); // before it can be found
    if (tuck_index_record(process->index, &id, &entry) == 0)
        fail_child("there was no room for an entry");
    raise_to(&process->own[action], version);
}

static void *use(void *arg) {
    struct user *user = arg;
    struct process *process = user->process;
    for (unsigned step = 1; step <= STEPS; step++) {
        // A few actions are used all the time, by everybody.
        uint64_t action =
            unit_random_below(&user->random, unit_random_below(&user->random, 3) ? ACTIONS : 20);
        struct tuck_action_id id = unit_action(action);
        struct tuck_entry entry;
        size_t choice = unit_random_below(&user->random, 10);
        if (choice < 4) {
            record(process, action);
            if (choice == 0)
                (void)sem_post(&process->work);
        } else if (find(process->index, action, &process->own[action], &entry) != 0 && choice < 6) {
            entry.access_s++;
            (void)tuck_index_touch(process->index, &id, &entry, choice == 4);
        }
        if (process->kill_step == step)
            (void)raise(SIGKILL); // with all its threads, wherever they are
    }
    return NULL;
}

// Flushes once. If that wrote everything, all that was recorded before it began is there for everybody.
static bool flush(struct process *process) {
    static uint64_t before[ACTIONS];
    struct tuck_error err = {0};
    for (size_t action = 0; action < ACTIONS; action++)
        before[action] = load(&process->own[action]);
    int status = tuck_index_flush(process->index, 20 * TUCK_NS_PER_MS, &err);
    if (status < 0)
        fail_child("flush: %s", err.text);
    count(status == 0 ? &model->flushes : &model->busy);
    for (size_t action = 0; status == 0 && action < ACTIONS; action++)
        raise_to(&model->written[action], before[action]);
    return status == 0;
}

static void *run_flusher(void *arg) {
    struct process *process = arg;
    for (unsigned round = 1; !__atomic_load_n(&process->is_over, __ATOMIC_ACQUIRE); round++) {
        struct tuck_error err = {0};
        while (sem_wait(&process->work) < 0)
            ;
        (void)flush(process);
        if (process->is_clearer && round % 16 == 0 && tuck_index_clear(process->index, &err) < 0)
            fail_child("clear: %s", err.text);
    }
    return NULL;
}

static void end_process(struct process *process, enum ending ending) {
    if (ending == ENDS_IN_ORDER) {
        for (unsigned attempt = 0; !flush(process); attempt++)
            if (attempt == 1000)
                fail_child("others never gave the pages free");
    } else {
        if (tuck_index_spool(process->index) != 0)
            fail_child("the spool took not everything");
        for (size_t action = 0; action < ACTIONS; action++)
            raise_to(&model->spooled[action], load(&process->own[action]));
    }
    tuck_index_close(process->index);
}

static struct tuck_index *open_index(const char *dir) {
    struct tuck_index *index = NULL;
    struct tuck_error err = {0};
    int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dirfd < 0 || tuck_index_open(dirfd, &(struct tuck_index_options){0}, &index, &err) != 0)
        fail_child("open: %s", err.text);
    (void)close(dirfd);
    return index;
}

static void run_process(const char *dir, unsigned round, unsigned number, enum ending ending) {
    static struct process process;
    struct user users[USERS];
    pthread_t threads[USERS], flusher;
    char name[64];
    (void)snprintf(name, sizeof(name), "stress %u %u %d", round, number, has_clears);
    process.random = unit_random_of(name);
    process.kill_step =
        ending == IS_KILLED ? 1 + (unsigned)unit_random_below(&process.random, STEPS) : 0;
    process.index = open_index(dir);
    (void)sem_init(&process.work, 0, 0);
    process.is_clearer = has_clears && number == 0;
    if (pthread_create(&flusher, NULL, run_flusher, &process) != 0)
        fail_child("no thread");
    for (size_t i = 0; i < USERS; i++) {
        users[i] = (struct user){&process, {unit_random_next(&process.random)}};
        if (pthread_create(&threads[i], NULL, use, &users[i]) != 0)
            fail_child("no thread");
    }
    for (size_t i = 0; i < USERS; i++)
        (void)pthread_join(threads[i], NULL);
    __atomic_store_n(&process.is_over, true, __ATOMIC_RELEASE);
    (void)sem_post(&process.work);
    (void)pthread_join(flusher, NULL);
    end_process(&process, ending);
    (void)sem_destroy(&process.work);
    exit(0); // so that the sanitizers have their say
}

// --- The test ------------------------------------------------------------------------------------

static void run_round(const char *dir, unsigned round, const enum ending endings[PROCESSES]) {
    pid_t children[PROCESSES];
    (void)fflush(NULL);
    for (unsigned i = 0; i < PROCESSES; i++) {
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] == 0)
            run_process(dir, round, i, endings[i]);
    }
    bool is_good = true;
    for (unsigned i = 0; i < PROCESSES; i++) {
        int status;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        bool is_expected = endings[i] == IS_KILLED
                               ? WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL
                               : WIFEXITED(status) && WEXITSTATUS(status) == 0;
        if (!is_expected)
            print_message("# round %u, process %u ended with status %#x\n", round, i,
                          (unsigned)status);
        is_good = is_good && is_expected;
    }
    assert_true(is_good);
    for (size_t action = 0; action < ACTIONS; action++)
        raise_to(&model->written[action],
                 load(&model->spooled[action])); // for those who open from now on
}

struct tally {
    unsigned seen[ACTIONS];
    bool is_good;
};

static bool tally(void *arg, const struct tuck_action_id *action, const struct tuck_entry *entry) {
    struct tally *tally = arg;
    uint64_t number = (entry->size - (entry->put_ns - base_ns) * 3);
    struct tuck_action_id expected = unit_action(number % ACTIONS);
    tally->is_good = tally->is_good && number < ACTIONS && tuck_action_equal(action, &expected);
    tally->seen[number % ACTIONS]++;
    return true;
}

// Everything that must be there is there, for a handle that opens now, in the file and only once.
static void check_all(const char *dir) {
    struct tuck_index *index = NULL;
    int dirfd = unit_open_directory(dir);
    assert_int_equal(tuck_index_open(dirfd, &(struct tuck_index_options){0}, &index, NULL), 0);
    (void)close(dirfd);
    for (int flushed = 0; flushed < 2; flushed++) {
        for (uint64_t action = 0; action < ACTIONS; action++) {
            struct tuck_entry entry;
            uint64_t version = find_once(index, action, &entry);
            assert_in_range(version, load(&model->written[action]), load(&model->recorded[action]));
        }
        assert_int_equal(tuck_index_flush(index, 0, NULL), 0);
    }
    static struct tally all;
    all = (struct tally){.is_good = true};
    assert_int_equal(tuck_index_walk(index, tally, &all, NULL), 0);
    assert_true(all.is_good);
    for (size_t action = 0; action < ACTIONS; action++)
        if (load(&model->written[action]) > 0)
            assert_int_equal(all.seen[action], 1);
    tuck_index_close(index);
}

static int begin(void **state) {
    (void)state;
    model = mmap(NULL, sizeof(*model), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    base_ns = tuck_clock_wall_ns() - 600 * TUCK_NS_PER_S;
    has_clears = false;
    return model == MAP_FAILED ? -1 : 0;
}

static int end(void **state) {
    (void)state;
    print_message("# %llu finds, %llu misses on the way, %llu flushes, %llu of others' locks met, "
                  "%llu versions\n",
                  (unsigned long long)model->finds, (unsigned long long)model->misses,
                  (unsigned long long)model->flushes, (unsigned long long)model->busy,
                  (unsigned long long)model->versions);
    return munmap(model, sizeof(*model));
}

static void
processes_and_threads_on_one_index_find_what_was_flushed_and_nothing_wrong(void **state) {
    (void)state;
    const char *dir = unit_directory();
    static const enum ending endings[PROCESSES] = {ENDS_IN_ORDER, ENDS_IN_ORDER, ENDS_IN_ORDER,
                                                   ENDS_IN_ORDER};
    run_round(dir, 0, endings);
    check_all(dir);
    for (size_t action = 0; action < ACTIONS;
         action++) // nothing was lost, so the last one is there
        assert_int_equal(load(&model->written[action]), load(&model->recorded[action]));
}

static void processes_that_are_killed_or_leave_a_spool_cost_nothing_that_was_flushed(void **state) {
    (void)state;
    const char *dir = unit_directory();
    struct unit_random random = unit_random_of(__func__);
    for (unsigned round = 1; round <= ROUNDS; round++) {
        enum ending endings[PROCESSES];
        for (unsigned i = 0; i < PROCESSES; i++)
            endings[i] = (enum ending)unit_random_below(&random, 3);
        endings[round % PROCESSES] = IS_KILLED;
        run_round(dir, round, endings);
        check_all(dir);
    }
}

static void a_clear_beside_running_processes_brings_up_nothing_wrong(void **state) {
    (void)state;
    const char *dir = unit_directory();
    static const enum ending endings[PROCESSES] = {ENDS_IN_ORDER, ENDS_IN_ORDER, ENDS_IN_SPOOL,
                                                   IS_KILLED};
    has_clears = true;
    run_round(dir, 10, endings);
    has_clears = false;
    memset(model->written, 0, sizeof(model->written));
    check_all(dir);
    memset(model->spooled, 0, sizeof(model->spooled));
    run_round(dir, 11, endings); // and the index is as good as a new one
    check_all(dir);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(
        processes_and_threads_on_one_index_find_what_was_flushed_and_nothing_wrong, begin, end),
    cmocka_unit_test_setup_teardown(
        processes_that_are_killed_or_leave_a_spool_cost_nothing_that_was_flushed, begin, end),
    cmocka_unit_test_setup_teardown(a_clear_beside_running_processes_brings_up_nothing_wrong, begin,
                                    end),
};

UNIT_MAIN(tests)

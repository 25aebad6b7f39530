// SPDX-License-Identifier: MIT
#include "cmd/tuck-conform/run.h"
#include "lib/base/clock.h"
#include "lib/base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define CASE_S      120 // that one case may take
#define LONG_CASE_S 1200
#define JOBS_MAX    64
#define NOTHING     UINT32_MAX

static volatile sig_atomic_t is_interrupted;

static void interrupt(int number) {
    is_interrupted = number;
}

static void catch_interrupts(void) {
    struct sigaction action = {.sa_handler = interrupt};
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGPIPE, &action, NULL); // nobody reads the result any more
}

// -- directories ---------------------------------------------------------------------------------
static int open_up(const char *path, const struct stat *status, int kind, struct FTW *where) {
    (void)where;
    if (kind == FTW_D || kind == FTW_DNR)
        (void)!chmod(path, 0700);
    (void)status;
    return 0;
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *where) {
    (void)status, (void)kind, (void)where;
    (void)remove(path);
    return 0;
}

void remove_tree(const char *path) {
    (void)nftw(path, open_up, 16, FTW_PHYS);
    (void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

// -- a worker ------------------------------------------------------------------------------------
static void send_text(int fd, const struct buf *text) {
    uint32_t len = text->data ? (uint32_t)text->len : NOTHING;
    (void)!tuck_write_all(fd, &len, sizeof(len), NULL);
    if (text->data)
        (void)!tuck_write_all(fd, text->data, text->len, NULL);
}

static void send_result(int fd, const struct result *result) {
    struct buf clause = {0};
    uint32_t head[2] = {(uint32_t)result->verdict, result->is_breach};
    (void)!tuck_write_all(fd, head, sizeof(head), NULL);
    if (result->clause)
        buf_text(&clause, result->clause);
    send_text(fd, &clause);
    send_text(fd, &result->why);
    send_text(fd, &result->diagnostic);
    send_text(fd, &result->notes);
    send_text(fd, &result->facts);
    buf_free(&clause);
}

// What the helpers of this case started and left behind has become ours.
void end_orphans(void) {
    for (int turns = 0; turns < 1000; turns++) {
        FILE *file = fopen("/proc/thread-self/children", "re");
        int pid = 0;
        bool is_any = file && fscanf(file, "%d", &pid) == 1;
        if (file)
            (void)fclose(file);
        if (!is_any)
            return;
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
    }
}

static void work(const struct run *run, const struct script_case *one, const char *directory,
                 int fd) {
    struct result result;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGINT, SIG_IGN); // the one above decides
    (void)umask(022);
    if (run->setup->usual)
        client_run(run->setup, one, directory, &result);
    else
        engine_run(run->setup, one, directory, &result);
    end_orphans();
    send_result(fd, &result);
    remove_tree(directory);
    leave_at_once(0);
}

// -- jobs ----------------------------------------------------------------------------------------
struct job {
    pid_t pid; // 0: free
    int fd;
    size_t number;
    struct buf told;
    char *directory;
    uint64_t started_ns;
};

static bool take_text(const struct buf *told, size_t *at, struct buf *ret_text) {
    uint32_t len;
    if (told->len - *at < sizeof(len))
        return false;
    memcpy(&len, told->data + *at, sizeof(len));
    *at += sizeof(len);
    if (len == NOTHING)
        return true;
    if (told->len - *at < len)
        return false;
    buf_add(ret_text, told->data + *at, len);
    *at += len;
    return true;
}

static bool take_result(const struct buf *told, struct result *ret_result) {
    uint32_t head[2];
    size_t at = sizeof(head);
    struct buf clause = {0};
    if (told->len < sizeof(head))
        return false;
    memcpy(head, told->data, sizeof(head));
    ret_result->verdict = (enum verdict)head[0];
    ret_result->is_breach = head[1] != 0;
    if (!take_text(told, &at, &clause) || !take_text(told, &at, &ret_result->why) ||
        !take_text(told, &at, &ret_result->diagnostic) ||
        !take_text(told, &at, &ret_result->notes) || !take_text(told, &at, &ret_result->facts))
        return false;
    ret_result->clause = clause.data;
    return true;
}

static void start_job(struct run *run, struct job *job, size_t number) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        conform_die("cannot make a pipe: %s", strerror(errno));
    struct buf directory = {0};
    buf_format(&directory, "%s/%s", run->scratch, run->outcomes[number].one->id);
    if (mkdir(directory.data, 0711) < 0)
        conform_die("cannot make the directory '%s': %s", directory.data, strerror(errno));
    *job = (struct job){.fd = ends[0],
                        .number = number,
                        .directory = directory.data,
                        .started_ns = tuck_clock_mono_ns()};
    (void)fflush(NULL);
    job->pid = fork();
    if (job->pid < 0)
        conform_die("cannot start a process: %s", strerror(errno));
    if (job->pid == 0)
        work(run, run->outcomes[number].one, directory.data, ends[1]);
    (void)close(ends[1]);
}

static void end_job(struct run *run, struct job *job, const char *why) {
    struct outcome *outcome = &run->outcomes[job->number];
    int status = 0;
    if (why)
        (void)kill(job->pid, SIGKILL);
    (void)waitpid(job->pid, &status, 0);
    (void)close(job->fd);
    outcome->seconds = (double)(tuck_clock_mono_ns() - job->started_ns) / 1e9;
    run->is_broken = run->is_broken || (WIFEXITED(status) && WEXITSTATUS(status) == 2);
    if (why || !take_result(&job->told, &outcome->result)) {
        result_free(&outcome->result);
        outcome->result = (struct result){.verdict = VERDICT_FAIL};
        buf_text(&outcome->result.why, why ? why : "tuck-conform itself failed in this case");
    }
    remove_tree(job->directory);
    free(job->directory);
    buf_free(&job->told);
    job->pid = 0;
}

// Reads what a worker tells; true at its end.
static bool hear(struct job *job) {
    char block[4096];
    ssize_t got = read(job->fd, block, sizeof(block));
    if (got > 0)
        buf_add(&job->told, block, (size_t)got);
    return got == 0 || (got < 0 && errno != EINTR);
}

static void serve_jobs(struct run *run, struct job *jobs, bool *is_done) {
    struct pollfd polled[JOBS_MAX];
    struct job *owner[JOBS_MAX];
    nfds_t count = 0;
    for (size_t i = 0; i < run->jobs; i++) {
        if (jobs[i].pid) {
            owner[count] = &jobs[i];
            polled[count++] = (struct pollfd){.fd = jobs[i].fd, .events = POLLIN};
        }
    }
    (void)poll(polled, count, 200);
    uint64_t limit_s = run->setup->is_long ? LONG_CASE_S : CASE_S;
    uint64_t limit_ns = (uint64_t)((double)(limit_s * TUCK_NS_PER_S) * run->setup->scale);
    if (run->setup->usual) // a client's own limit is its judge's business
        limit_ns += run->setup->usual->cold_limit_ns;
    for (nfds_t i = 0; i < count; i++) {
        const char *why = NULL;
        bool is_over = polled[i].revents && hear(owner[i]);
        if (tuck_clock_mono_ns() - owner[i]->started_ns > limit_ns)
            why = "the case took longer than its limit";
        if (is_interrupted)
            why = "interrupted";
        if (!is_over && !why)
            continue;
        is_done[owner[i]->number] = true;
        end_job(run, owner[i], is_over ? NULL : why);
    }
}

bool run_cases(struct run *run) {
    struct job jobs[JOBS_MAX] = {0};
    bool *is_done = need_alloc(run->count * sizeof(*is_done));
    size_t next = 0, reported = 0;
    run->jobs = run->jobs < 1 ? 1 : run->jobs > JOBS_MAX ? JOBS_MAX : run->jobs;
    catch_interrupts();
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    while (reported < run->count && !is_interrupted && !run->is_broken) {
        for (size_t i = 0; i < run->jobs && next < run->count; i++)
            if (!jobs[i].pid)
                start_job(run, &jobs[i], next++);
        serve_jobs(run, jobs, is_done);
        for (; reported < run->count && is_done[reported]; reported++)
            run->report(reported, &run->outcomes[reported], run->arg);
    }
    for (size_t i = 0; i < run->jobs; i++)
        if (jobs[i].pid)
            end_job(run, &jobs[i], "interrupted");
    end_orphans();
    free(is_done);
    return !is_interrupted && !run->is_broken;
}

// -- the first look ------------------------------------------------------------------------------
enum probe probe_helper(const struct setup *setup, const char *scratch, struct buf *ret_why) {
    int ends[2];
    struct buf directory = {0};
    buf_format(&directory, "%s/start", scratch);
    if (mkdir(directory.data, 0711) < 0 || pipe2(ends, O_CLOEXEC) < 0)
        conform_die("cannot make the directory '%s': %s", directory.data, strerror(errno));
    pid_t pid = fork();
    if (pid == 0) {
        struct buf told = {0};
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
        (void)signal(SIGPIPE, SIG_IGN);
        int status = (int)engine_probe(setup, directory.data, &told);
        end_orphans();
        (void)!tuck_write_all(ends[1], told.data, told.len, NULL);
        leave_at_once(status);
    }
    (void)close(ends[1]);
    char block[1024];
    for (ssize_t got; (got = read(ends[0], block, sizeof(block))) > 0;)
        buf_add(ret_why, block, (size_t)got);
    (void)close(ends[0]);
    int status = 0;
    (void)waitpid(pid, &status, 0);
    remove_tree(directory.data);
    buf_free(&directory);
    return WIFEXITED(status) ? (enum probe)WEXITSTATUS(status) : PROBE_NOT_RUN;
}

bool probe_client(const struct setup *setup, const char *scratch, struct client_usual *ret_usual,
                  struct buf *ret_why) {
    int ends[2], status = 0;
    struct buf directory = {0};
    char block[1024];
    buf_format(&directory, "%s/usual", scratch);
    if (mkdir(directory.data, 0755) < 0 || pipe2(ends, O_CLOEXEC) < 0)
        conform_die("cannot make the directory '%s': %s", directory.data, strerror(errno));
    catch_interrupts();
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    pid_t pid = fork();
    if (pid == 0) {
        struct buf told = {0};
        struct client_usual usual;
        (void)signal(SIGINT, SIG_IGN); // the one above decides
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
        bool is_usual = client_probe(setup, directory.data, &usual, &told);
        end_orphans();
        if (is_usual)
            (void)!tuck_write_all(ends[1], &usual, sizeof(usual), NULL);
        else
            (void)!tuck_write_all(ends[1], told.data, told.len, NULL);
        leave_at_once(is_usual ? 0 : 1);
    }
    (void)close(ends[1]);
    struct buf told = {0};
    // A client may take minutes, and an interrupt come at any time.
    for (ssize_t got = 1; !is_interrupted && got > 0;) {
        struct pollfd polled = {.fd = ends[0], .events = POLLIN};
        if (poll(&polled, 1, 200) > 0 && (got = read(ends[0], block, sizeof(block))) > 0)
            buf_add(&told, block, (size_t)got);
    }
    (void)close(ends[0]);
    if (is_interrupted)
        (void)kill(pid, SIGKILL);
    (void)waitpid(pid, &status, 0);
    end_orphans();
    if (is_interrupted)
        buf_text(ret_why, "interrupted");
    bool is_usual = status == 0 && told.len == sizeof(*ret_usual);
    if (is_usual)
        memcpy(ret_usual, told.data, sizeof(*ret_usual));
    else if (told.len)
        buf_add(ret_why, told.data, told.len);
    ret_usual->directory = directory.data;
    buf_free(&told);
    return is_usual;
}

// SPDX-License-Identifier: MIT
/*
 * tuck-conform: judges any GOCACHEPROG helper, and any client of one, case by case.
 *
 * A map: main.c has the options; script.c reads the cases (cases/, compiled in); run.c runs each in
 * a process of its own; engine.c and its parts (engine.h) execute the statements of one case;
 * helper.c drives the processes that are judged and watches what holds for every conversation;
 * judge.c decides what an answer is worth; report.c tells. For the other side client.c runs the
 * client that is judged, and act.c is the helper that the client then starts: this program again,
 * playing the case on top of bad.c. trace.c, plan.c and replay.c play what was recorded. Nothing here
 * is shared with tuck's server or libtuck: what judges must not have the same mistakes.
 */
#include "cmd/tuck-conform/act.h"
#include "cmd/tuck-conform/clauses.h"
#include "cmd/tuck-conform/replay.h"
#include "cmd/tuck-conform/report.h"
#include "lib/base/clock.h"

#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <sys/stat.h>

enum {
    EXIT_CONFORMS = 0,
    EXIT_FAILS = 1,
    EXIT_USAGE = 2,
    EXIT_NO_HELPER = 3, // or client
};

struct options {
    const char *filter, *explain, *json, *cases, *profile, *misbehave, *directory;
    char **environment;
    size_t environment_count;
    size_t jobs;
    double scale;
    bool is_list, is_long, is_client, is_paced;
    bool is_about_cases; // an option was given that only judging has
};

__attribute__((format(printf, 1, 2))) static int usage(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("tuck-conform: ", stderr);
    (void)vfprintf(stderr, format, args);
    fputs("; see tuck-conform --help\n", stderr);
    va_end(args);
    return EXIT_USAGE;
}

static void print_help(void) {
    fputs(
        "tuck-conform - judge a GOCACHEPROG helper, or a client of one\n\n"
        "  tuck-conform [OPTION...] -- HELPER [ARGUMENT...]\n"
        "  tuck-conform --client [OPTION...] -- CLIENT [ARGUMENT...]\n"
        "  tuck-conform replay [OPTION...] TRACE -- HELPER [ARGUMENT...]\n"
        "  tuck-conform [--client] --list | --explain=CASE\n"
        "  GOCACHEPROG='tuck-conform --misbehave=NAME' CLIENT...\n\n"
        "In a helper's ARGUMENT, {dir} stands for a fresh directory, another one for each case. A\n"
        "client is judged by how it takes a helper that misbehaves, to which GOCACHEPROG "
        "points.\n\n"
        "  --profile=NAME         what the helper does not tell itself: tuck, go-cacher,\n"
        "                         cigocacher, or a file\n"
        "  --env NAME=VALUE       set for the helper; {dir} as above\n"
        "  --filter=WORD,...      only cases with this id, letter, clause, area, level, or word "
        "in\n"
        "                         the title\n"
        "  --jobs=N               cases at a time (default: number of processors)\n"
        "  --timeout-scale=X      multiplies all time limits, for slow surroundings\n"
        "  --long                 also what takes minutes and gigabytes\n"
        "  --json=FILE            the verdicts as JSON, too\n"
        "  --list                 the cases, with their level and clauses\n"
        "  --explain=CASE         what a case asks, and what the go command does if it fails\n"
        "  --cases=DIR            the cases of this directory (*.case) in place of the built-in "
        "ones\n"
        "  --client               judge a client: a go command, or what does without one\n"
        "  --misbehave=NAME       be the helper of this case about clients; none: one that is "
        "right\n"
        "  --dir=DIR              where that one keeps what it is given\n"
        "  --help, --version\n\n"
        "replay plays a conversation that was recorded, and compares. It takes --profile, --env,\n"
        "--timeout-scale, --json, and\n"
        "  --pace                 at the recorded pace, not as fast as the helper answers\n\n"
        "Prints TAP and, at the end, a table. Exit status: 0 every MUST passes, 1 not so, 2 wrong\n"
        "usage, 3 the helper or client cannot be started. manual: man tuck-conform\n\n"
        "example: tuck-conform --profile=go-cacher -- go-cacher\n",
        stdout);
}

// -- options -------------------------------------------------------------------------------------
static bool take_number(const char *text, double least, double most, double *ret_number) {
    char *end;
    *ret_number = strtod(text, &end);
    return end != text && !*end && *ret_number >= least && *ret_number <= most;
}

// Returns -1 to go on, or an exit status.
static int take_options(int argc, char **argv, struct options *options) {
    static const struct option names[] = {
        {"filter", required_argument, NULL, 'f'},
        {"jobs", required_argument, NULL, 'j'},
        {"profile", required_argument, NULL, 'p'},
        {"env", required_argument, NULL, 'e'},
        {"json", required_argument, NULL, 'o'},
        {"explain", required_argument, NULL, 'x'},
        {"cases", required_argument, NULL, 'c'},
        {"timeout-scale", required_argument, NULL, 't'},
        {"misbehave", required_argument, NULL, 'm'},
        {"dir", required_argument, NULL, 'd'},
        {"client", no_argument, NULL, 'C'},
        {"list", no_argument, NULL, 'l'},
        {"pace", no_argument, NULL, 'P'},
        {"long", no_argument, NULL, 'L'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'v'},
        {0},
    };
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    *options = (struct options){.jobs = processors > 0 ? (size_t)processors : 1, .scale = 1};
    opterr = 0;
    for (int option; (option = getopt_long(argc, argv, "+", names, NULL)) != -1;) {
        double number = 0;
        options->is_about_cases = options->is_about_cases || strchr("fjxclLCmd", option);
        switch (option) {
        case 'f':
            options->filter = optarg;
            break;
        case 'p':
            options->profile = optarg;
            break;
        case 'o':
            options->json = optarg;
            break;
        case 'x':
            options->explain = optarg;
            break;
        case 'c':
            options->cases = optarg;
            break;
        case 'm':
            options->misbehave = optarg;
            break;
        case 'd':
            options->directory = optarg;
            break;
        case 'C':
            options->is_client = true;
            break;
        case 'l':
            options->is_list = true;
            break;
        case 'L':
            options->is_long = true;
            break;
        case 'P':
            options->is_paced = true;
            break;
        case 'j':
            if (!take_number(optarg, 1, 64, &number))
                return usage("--jobs takes a number from 1 to 64, not '%s'", optarg);
            options->jobs = (size_t)number;
            break;
        case 't':
            if (!take_number(optarg, 0.1, 1000, &options->scale))
                return usage("--timeout-scale takes a number from 0.1 to 1000, not '%s'", optarg);
            break;
        case 'e':
            if (!strchr(optarg, '='))
                return usage("--env takes NAME=VALUE, not '%s'", optarg);
            options->environment =
                need_realloc(options->environment,
                             (options->environment_count + 1) * sizeof(*options->environment));
            options->environment[options->environment_count++] = optarg;
            break;
        case 'h':
            print_help();
            return EXIT_CONFORMS;
        case 'v':
            puts("tuck-conform " TUCK_VERSION);
            return EXIT_CONFORMS;
        default:
            return usage("'%s' is no option, or its value is missing", argv[optind - 1]);
        }
    }
    return -1;
}

// -- cases ---------------------------------------------------------------------------------------
static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int parse_file(struct script *script, const char *path, struct tuck_error *err) {
    FILE *file = fopen(path, "re");
    struct buf text = {0};
    char block[4096];
    if (!file)
        return tuck_fail_os(err, errno, "read '%s'", path);
    for (size_t got; (got = fread(block, 1, sizeof(block), file)) > 0;)
        buf_add(&text, block, got);
    (void)fclose(file);
    int result =
        script_parse(script, path, text.data ? text.data : "", text.len, &engine_vocabulary, err);
    buf_free(&text);
    return result;
}

static int parse_directory(struct script *script, const char *path, struct tuck_error *err) {
    DIR *directory = opendir(path);
    char **names = NULL;
    size_t count = 0;
    if (!directory)
        return tuck_fail_os(err, errno, "read '%s'", path);
    for (struct dirent *one; (one = readdir(directory));) {
        size_t len = strlen(one->d_name);
        if (len < 6 || strcmp(one->d_name + len - 5, ".case") != 0)
            continue;
        struct buf name = {0};
        buf_format(&name, "%s/%s", path, one->d_name);
        names = need_realloc(names, (count + 1) * sizeof(*names));
        names[count++] = name.data;
    }
    (void)closedir(directory);
    if (count == 0)
        return tuck_fail(err, TUCK_EINVAL, "there is no *.case in '%s'", path);
    qsort(names, count, sizeof(*names), by_name);
    int result = 0;
    for (size_t i = 0; i < count && result == 0; i++)
        result = parse_file(script, names[i], err);
    free(names);
    return result;
}

static int load_cases(struct script *script, const char *directory, struct tuck_error *err) {
    int result = 0;
    if (directory)
        result = parse_directory(script, directory, err);
    for (size_t i = 0; i < case_file_count && result == 0 && !directory; i++)
        result = script_parse(script, case_files[i].name, case_files[i].text,
                              strlen(case_files[i].text), &engine_vocabulary, err);
    return result == 0 ? script_check(script, &engine_vocabulary, err) : result;
}

// -- choice --------------------------------------------------------------------------------------
static bool has_word(const char *text, const char *word, size_t len) {
    for (; *text; text++)
        if (strncasecmp(text, word, len) == 0)
            return true;
    return false;
}

static bool is_exactly(const char *text, const char *word, size_t len) {
    return strncmp(text, word, len) == 0 && !text[len];
}

static bool is_area(const struct script *script, const char *word, size_t len) {
    for (size_t i = 0; i < script->case_count; i++)
        if (is_exactly(script->cases[i].area, word, len))
            return true;
    return false;
}

static bool fits(const struct script *script, const struct script_case *one, const char *word,
                 size_t len) {
    if (is_exactly(one->id, word, len) || is_exactly(one->area, word, len) ||
        is_exactly(one->is_must ? "MUST" : "SHOULD", word, len))
        return true;
    if (strncmp(one->id, word, len) == 0 && (one->id[len] == '-' || one->id[len] == '.'))
        return true;
    for (size_t i = 0; i < one->clause_count; i++)
        if (is_exactly(one->clauses[i], word, len))
            return true;
    return len > 3 && !is_area(script, word, len) && has_word(one->title, word, len);
}

static bool is_chosen(const struct script *script, const struct script_case *one,
                      const char *filter) {
    for (const char *at = filter; at && *at;) {
        size_t len = strcspn(at, ",");
        if (len && fits(script, one, at, len))
            return true;
        at += len + (at[len] == ',');
    }
    return !filter;
}

static size_t choose(const struct script *script, const char *filter, bool is_client,
                     struct outcome **ret_outcomes) {
    size_t count = 0;
    *ret_outcomes = need_alloc(script->case_count * sizeof(**ret_outcomes));
    for (size_t i = 0; i < script->case_count; i++)
        if (script_is_about_clients(&script->cases[i]) == is_client &&
            is_chosen(script, &script->cases[i], filter))
            (*ret_outcomes)[count++].one = &script->cases[i];
    return count;
}

// -- the helper's command ------------------------------------------------------------------------
// Links are not followed: some programs look at the name by which they were called.
static char *absolute(const char *path) {
    char *here = path[0] == '/' ? NULL : getcwd(NULL, 0);
    struct buf whole = {0};
    buf_format(&whole, "%s%s%s", here ? here : "", here ? "/" : "", path);
    free(here);
    return whole.data;
}

// As execvp() would find it, but absolute: helpers run in directories of their own.
static char *find_program(const char *name) {
    char *found = NULL;
    if (strchr(name, '/'))
        return access(name, F_OK) == 0 ? absolute(name) : NULL;
    const char *at = getenv("PATH");
    for (at = at ? at : "/usr/local/bin:/usr/bin:/bin"; *at && !found;) {
        size_t len = strcspn(at, ":");
        struct buf path = {0};
        buf_format(&path, "%.*s/%s", (int)len, at, name);
        if (access(path.data, X_OK) == 0)
            found = absolute(path.data);
        buf_free(&path);
        at += len + (at[len] == ':');
    }
    return found;
}

static bool has_directory(const struct setup *setup) {
    bool found = setup->profile->value[PROFILE_directory_flag][0] != NULL;
    for (size_t i = 0; i < setup->command_count; i++)
        found = found || strstr(setup->command[i], "{dir}");
    for (size_t i = 0; i < setup->environment_count; i++)
        found = found || strstr(setup->environment[i], "{dir}");
    for (size_t i = 0; i < PROFILE_VALUES; i++) {
        const char *value = setup->profile->value[PROFILE_environment][i];
        found = found || (value && strstr(value, "{dir}"));
    }
    return found;
}

// -- run -----------------------------------------------------------------------------------------
static void report_one(size_t number, const struct outcome *outcome, void *arg) {
    (void)arg;
    report_case(number, outcome);
}

static char *make_scratch(void) {
    const char *tmp = getenv("TMPDIR");
    struct buf path = {0};
    buf_format(&path, "%s/tuck-conform-%c%c%c%c%c%c", tmp && *tmp ? tmp : "/tmp", 'X', 'X', 'X',
               'X', 'X', 'X');
    if (!mkdtemp(path.data))
        conform_die("cannot make a directory like '%s': %s", path.data, strerror(errno));
    (void)chmod(path.data, 0711);
    char *whole = realpath(path.data, NULL);
    if (!whole)
        conform_die("cannot find '%s': %s", path.data, strerror(errno));
    buf_free(&path);
    return whole;
}

// Of what would fail for one reason only that is judged.
static void leave_only(const char *ids, struct outcome *outcomes, size_t *count) {
    size_t kept = 0;
    for (size_t i = 0; i < *count; i++)
        if (strstr(ids, outcomes[i].one->id) && !strchr(outcomes[i].one->id, '.'))
            outcomes[kept++] = outcomes[i];
    if (kept > 0)
        *count = kept;
}

static int judge_all(struct run *run, const struct options *options) {
    struct tuck_error err = {0};
    uint64_t began_ns = tuck_clock_mono_ns();
    int status = EXIT_CONFORMS;
    report_plan(run->count);
    bool is_whole = run_cases(run);
    double seconds = (double)(tuck_clock_mono_ns() - began_ns) / 1e9;
    if (!is_whole)
        return run->is_broken ? EXIT_USAGE : EXIT_FAILS;
    if (!report_table(run->outcomes, run->count, seconds))
        status = EXIT_FAILS;
    if (options->json && report_json(options->json, run->outcomes, run->count, seconds, &err) < 0) {
        fprintf(stderr, "tuck-conform: %s\n", err.text);
        status = EXIT_USAGE;
    }
    return status;
}

static int judge_client(struct run *run, struct setup *setup, const struct options *options) {
    static struct client_usual usual;
    struct buf why = {0};
    if (!probe_client(setup, run->scratch, &usual, &why)) {
        fprintf(stderr, "tuck-conform: the client cannot be judged: %s\n",
                why.data ? why.data : "?");
        buf_free(&why);
        return EXIT_NO_HELPER;
    }
    if (usual.is_broken) {
        fputs("tuck-conform: the client breaks what holds for every conversation; only L-40 is "
              "judged\n",
              stderr);
        leave_only("L-40", run->outcomes, &run->count);
    }
    setup->usual = &usual;
    return judge_all(run, options);
}

static int judge_helper(struct run *run, const struct options *options) {
    struct buf why = {0};
    enum probe probe = probe_helper(run->setup, run->scratch, &why);
    if (probe == PROBE_NOT_RUN || probe == PROBE_GAVE_UP) {
        fprintf(stderr, "tuck-conform: the helper cannot be started: %s\n",
                why.data ? why.data : "?");
        buf_free(&why);
        return EXIT_NO_HELPER;
    }
    buf_free(&why);
    if (probe == PROBE_SILENT) {
        fputs("tuck-conform: the helper runs and says nothing; only its handshake is judged\n",
              stderr);
        leave_only("H-01 H-02", run->outcomes, &run->count);
    }
    return judge_all(run, options);
}

// -- the other side ------------------------------------------------------------------------------
// Where outputs stay that a client has put: it reads them after this process has gone.
static char *kept_directory(void) {
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    struct buf path = {0};
    if (cache && cache[0] == '/')
        buf_format(&path, "%s/tuck-conform", cache);
    else
        buf_format(&path, "%s/.cache/tuck-conform", home && *home ? home : "");
    return path.data;
}

static int misbehave(const struct setup *setup, const struct options *options, char **words) {
    bool is_right = strcmp(options->misbehave, "none") == 0;
    const struct script_case *one = is_right ? NULL : act_find(setup->script, options->misbehave);
    if (!one && !is_right)
        return usage("there is no misbehaviour '%s'; --client --list shows all",
                     options->misbehave);
    act_run(setup, one, options->directory ? options->directory : kept_directory(), words);
}

static int explain(const struct script *script, const char *id) {
    size_t len = strlen(id), found = 0;
    for (size_t i = 0; i < script->case_count; i++) {
        const struct script_case *one = &script->cases[i];
        if (strncmp(one->id, id, len) != 0 || (one->id[len] && one->id[len] != '.'))
            continue;
        if (found++)
            printf("\n");
        report_explain(one);
    }
    return found ? EXIT_CONFORMS : usage("there is no case '%s'; --list shows all", id);
}

static struct setup setup_of(const struct options *options, const struct profile *profile,
                             const struct script *script) {
    return (struct setup){.environment = options->environment,
                          .environment_count = options->environment_count,
                          .profile = profile,
                          .script = script,
                          .scale = options->scale,
                          .is_long = options->is_long};
}

// What is judged. Returns -1 to go on, or an exit status.
static int take_command(struct setup *setup, const struct options *options, int count,
                        char **command) {
    const char *what = options->is_client ? "client" : "helper";
    if (count <= 0)
        return usage("which %s? its command stands behind --", what);
    char *program = find_program(command[0]);
    if (!program) {
        fprintf(stderr, "tuck-conform: the %s cannot be started: there is no program '%s'\n", what,
                command[0]);
        return EXIT_NO_HELPER;
    }
    command[0] = program;
    setup->command = command;
    setup->command_count = (size_t)count;
    setup->has_directory = has_directory(setup);
    return -1;
}

// The words behind `replay`.
static int run_replay(int argc, char **argv) {
    static struct options options; // these live as long as the program
    static struct profile profile;
    static struct trace trace;
    static struct plan plan;
    struct tuck_error err = {0};
    int status = take_options(argc, argv, &options);
    if (status >= 0)
        return status;
    if (options.is_about_cases)
        return usage("replay takes --pace, --profile, --env, --timeout-scale and --json");
    if (optind >= argc)
        return usage("which trace? its file stands in front of --");
    const char *path = argv[optind++];
    if (optind >= argc || strcmp(argv[optind++], "--") != 0)
        return usage("one trace, then -- and the helper's command");
    struct setup setup = setup_of(&options, &profile, NULL);
    if (options.profile && profile_read(&profile, options.profile, &err) < 0) {
        fprintf(stderr, "tuck-conform: %s\n", err.text);
        return EXIT_USAGE;
    }
    status = take_command(&setup, &options, argc - optind, argv + optind);
    if (status >= 0)
        return status;
    if (trace_read(&trace, path, &err) < 0) {
        fprintf(stderr, "tuck-conform: %s\n", err.text);
        return EXIT_USAGE;
    }
    plan_make(&plan, &trace);
    struct buf why = {0};
    struct replay_options how = {path, options.json, options.is_paced};
    char *scratch = make_scratch();
    enum probe probe = probe_helper(&setup, scratch, &why);
    if (probe == PROBE_NOT_RUN || probe == PROBE_GAVE_UP) {
        fprintf(stderr, "tuck-conform: the helper cannot be started: %s\n",
                why.data ? why.data : "?");
        status = EXIT_NO_HELPER;
    } else {
        static const int statuses[] = {EXIT_CONFORMS, EXIT_FAILS, EXIT_USAGE};
        status = statuses[replay(&setup, &plan, &how, scratch)];
    }
    remove_tree(scratch);
    return status;
}

static int run_program(int argc, char **argv) {
    static struct options options; // these live as long as the program
    static struct script script;
    static struct profile profile;
    struct tuck_error err = {0};
    if (argc > 1 && strcmp(argv[1], "replay") == 0)
        return run_replay(argc - 1, argv + 1);
    int status = take_options(argc, argv, &options);
    if (status >= 0)
        return status;
    if (options.is_paced)
        return usage("--pace is for replay");
    int result = load_cases(&script, options.cases, &err);
    if (result == 0 && options.profile)
        result = profile_read(&profile, options.profile, &err);
    if (result < 0) {
        fprintf(stderr, "tuck-conform: %s\n", err.text);
        return EXIT_USAGE;
    }
    if (options.explain)
        return explain(&script, options.explain);
    static struct setup setup;
    setup = setup_of(&options, &profile, &script);
    if (options.misbehave)
        return misbehave(&setup, &options, argv + optind);
    static struct run run;
    run = (struct run){.report = report_one, .jobs = options.jobs};
    run.count = choose(&script, options.filter, options.is_client, &run.outcomes);
    if (run.count == 0)
        return usage("no case fits '%s'", options.filter);
    if (options.is_list) {
        for (size_t i = 0; i < run.count; i++)
            report_list(run.outcomes[i].one);
        return EXIT_CONFORMS;
    }
    status = take_command(&setup, &options, argc - optind, argv + optind);
    if (status >= 0)
        return status;
    setup.self = realpath("/proc/self/exe", NULL);
    setup.cases = options.cases ? absolute(options.cases) : NULL;
    if (!setup.self)
        conform_die("cannot find out the path of this program: %s", strerror(errno));
    run.setup = &setup;
    run.scratch = make_scratch();
    status =
        options.is_client ? judge_client(&run, &setup, &options) : judge_helper(&run, &options);
    remove_tree(run.scratch);
    return status;
}

int main(int argc, char **argv) {
    int status = run_program(argc, argv);
    (void)fflush(NULL);
    leave_at_once(status); // the tree of cases, whole or broken off by a mistake, goes with us
}

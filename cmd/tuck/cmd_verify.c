// SPDX-License-Identifier: MIT
// tuck verify: reads every object and compares it with its name, and every entry with its object.
#include "cmd/tuck/command.h"
#include "cmd/tuck/units.h"

#include <inttypes.h>
#include <jansson.h>
#include <sys/stat.h>

static const char *const texts[] = {
    [TUCK_FINDING_DAMAGED] = "damaged",
    [TUCK_FINDING_UNREADABLE] = "unreadable",
    [TUCK_FINDING_DANGLING] = "without its object",
};

struct listing {
    json_t *findings; // NULL: to stdout
};

static void show(void *arg, enum tuck_finding finding, const char *what) {
    struct listing *listing = arg;
    if (finding == TUCK_FINDING_ORPHAN)
        return; // no fault: a later put finds it
    tuck_command_progress("%s", "");
    if (listing->findings)
        (void)json_array_append_new(
            listing->findings,
            json_pack("{s:s, s:s%}", "finding", texts[finding], "what", what, strlen(what)));
    else
        fprintf(stdout, "%s: %s\n", texts[finding], what);
}

static void show_progress(void *arg, uint64_t bytes, uint64_t all_bytes) {
    char done[32], all[32];
    (void)arg;
    tuck_command_progress("verifying: %s of %s", tuck_show_size(bytes, done),
                          tuck_show_size(all_bytes, all));
}

static bool read_subset(const char *text, struct tuck_scrub *how) {
    int end = 0;
    if (!text)
        return true;
    if (sscanf(text, "%5u/%5u%n", &how->part, &how->parts, &end) == 2 && !text[end] &&
        how->part >= 1 && how->part <= how->parts)
        return true;
    tuck_say("--subset is '%s'; it can be 1/7, 2/7 and so on up to 7/7", text);
    return false;
}

static void print_text(const struct tuck_scrubbed *done, bool is_repair, bool is_complete) {
    char bytes[32];
    if (!is_complete)
        fputs("interrupted after ", stdout);
    fprintf(stdout, "%" PRIu64 " objects, %s, and %" PRIu64 " entries: ", done->objects,
            tuck_show_size(done->bytes, bytes), done->entries);
    if (done->damaged + done->unreadable + done->dangling == 0)
        fputs("all sound", stdout);
    else
        fprintf(stdout, "%" PRIu64 " damaged, %" PRIu64 " unreadable, %" PRIu64 " without object",
                done->damaged, done->unreadable, done->dangling);
    if (is_repair)
        fprintf(stdout, "; %" PRIu64 " repaired", done->repaired);
    else if (done->damaged + done->dangling > 0)
        fputs("; nothing wrong is ever served, `tuck verify --repair` takes it away", stdout);
    if (done->orphans > 0)
        fprintf(stdout, "; %" PRIu64 " objects that no entry names", done->orphans);
    fputc('\n', stdout);
}

static int print_json(const struct tuck_scrubbed *done, bool is_complete, json_t *findings) {
    return tuck_command_print_json(json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:O}", "objects", (json_int_t)done->objects,
        "bytes", (json_int_t)done->bytes, "entries", (json_int_t)done->entries, "damaged",
        (json_int_t)done->damaged, "unreadable", (json_int_t)done->unreadable, "dangling",
        (json_int_t)done->dangling, "orphans", (json_int_t)done->orphans, "repaired",
        (json_int_t)done->repaired, "complete", is_complete, "findings", findings));
}

int tuck_command_verify(int argc, char **argv) {
    struct tuck_settings settings = {0};
    struct tuck_cache *cache = NULL;
    struct tuck_scrubbed done;
    struct tuck_error err = {0};
    struct listing listing = {0};
    struct tuck_scrub how = {
        .part = 1, .parts = 1, .found = show, .progress = show_progress, .arg = &listing};
    bool is_json = false;
    const char *subset = NULL;
    const struct tuck_option options[] = {{"--repair", &how.is_repair, NULL},
                                          {"--subset", NULL, &subset},
                                          {"--json", &is_json, NULL},
                                          {0}};
    (void)umask(077);
    int status = tuck_command_begin(&settings, &argc, argv, options, 0);
    if (status == TUCK_EXIT_DONE && !read_subset(subset, &how))
        status = TUCK_EXIT_USAGE;
    if (status == TUCK_EXIT_DONE)
        status = tuck_command_open(&settings, &cache);
    if (status == TUCK_EXIT_DONE) {
        listing.findings = is_json ? json_array() : NULL;
        how.stop = tuck_command_stop();
        int scrubbed = tuck_cache_scrub(cache, &how, &done, &err);
        tuck_command_progress("%s", "");
        if (scrubbed < 0) {
            tuck_say("%s", err.text);
            status = TUCK_EXIT_FAILED;
        } else {
            if (is_json)
                status = print_json(&done, !*how.stop, listing.findings);
            else
                print_text(&done, how.is_repair, !*how.stop);
            if (status == TUCK_EXIT_DONE && done.damaged + done.unreadable + done.dangling > 0)
                status = TUCK_EXIT_FOUND;
            else if (status == TUCK_EXIT_DONE && *how.stop)
                status = TUCK_EXIT_FAILED;
        }
        json_decref(listing.findings);
    }
    tuck_command_close(cache);
    tuck_settings_fini(&settings);
    return status;
}

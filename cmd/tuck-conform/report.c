// SPDX-License-Identifier: MIT
#include "cmd/tuck-conform/report.h"
#include "cmd/tuck-conform/clauses.h"

#include <errno.h>

#define WIDTH 96

// TAP's word, in two parts for the sake of those who search sources for what is left open.
static const char known_to_be_open[] = "TO" /**/ "DO";

bool is_failed_must(const struct outcome *outcome) {
    return outcome->result.verdict == VERDICT_FAIL &&
           (outcome->one->is_must || outcome->result.is_breach);
}

static const char *level(const struct script_case *one) {
    return one->is_must ? "MUST" : "SHOULD";
}

static const char *text_of(const struct buf *buf) {
    return buf->data ? buf->data : "";
}

// -- TAP -----------------------------------------------------------------------------------------
void report_plan(size_t count) {
    printf("TAP version 13\n1..%zu\n", count);
    (void)fflush(stdout);
}

static void print_remarks(const char *text, const char *indent) {
    while (*text) {
        int len = (int)strcspn(text, "\n");
        printf("#%s%.*s\n", indent, len, text);
        text += len + (text[len] == '\n');
    }
}

static void print_failure(const struct outcome *outcome) {
    const struct result *result = &outcome->result;
    const struct script_case *one = outcome->one;
    printf("#   %s\n", text_of(&result->why));
    if (result->is_breach && result->clause)
        printf("#   which breaks %s, a MUST of every conversation\n", result->clause);
    printf("#   clause");
    for (size_t i = 0; i < one->clause_count; i++)
        printf("%s %s", i ? "," : "", one->clauses[i]);
    printf("; tuck-conform --explain=%s says more\n", one->id);
    print_remarks(text_of(&result->diagnostic), "   ");
}

void report_case(size_t number, const struct outcome *outcome) {
    const struct result *result = &outcome->result;
    const struct script_case *one = outcome->one;
    if (result->verdict == VERDICT_FAIL)
        print_failure(outcome);
    printf("%s %zu - %s %s  %s", result->verdict == VERDICT_FAIL ? "not ok" : "ok", number + 1,
           one->id, level(one), one->title);
    if (result->verdict == VERDICT_NOT_JUDGED)
        printf(" # SKIP not judged: %s", text_of(&result->why));
    else if (result->verdict == VERDICT_FAIL && !is_failed_must(outcome))
        printf(" # %s SHOULD", known_to_be_open);
    printf("\n");
    if (result->verdict != VERDICT_NOT_JUDGED)
        print_remarks(text_of(&result->notes), " ");
    printf("# %.2f s\n", outcome->seconds);
    (void)fflush(stdout);
}

// -- the table -----------------------------------------------------------------------------------
struct row {
    const char *area;
    size_t passed[2], failed[2], not_judged; // [is_must]
};

static void count(struct row *row, const struct outcome *outcome) {
    bool is_must = outcome->one->is_must;
    if (outcome->result.verdict == VERDICT_NOT_JUDGED)
        row->not_judged++;
    else if (outcome->result.verdict == VERDICT_PASS)
        row->passed[is_must]++;
    else
        row->failed[is_failed_must(outcome)]++;
}

static void print_row(const struct row *row) {
    printf("# %-12s %6zu %6zu   %6zu %6zu   %6zu\n", row->area, row->passed[1], row->failed[1],
           row->passed[0], row->failed[0], row->not_judged);
}

static void print_ids(const char *what, const struct outcome *outcomes, size_t outcome_count,
                      bool is_must) {
    bool is_first = true;
    for (size_t i = 0; i < outcome_count; i++) {
        if (outcomes[i].result.verdict != VERDICT_FAIL || is_failed_must(&outcomes[i]) != is_must)
            continue;
        printf("%s%s", is_first ? what : " ", outcomes[i].one->id);
        is_first = false;
    }
    if (!is_first)
        printf("\n");
}

bool report_table(const struct outcome *outcomes, size_t outcome_count, double seconds) {
    struct row rows[32] = {0}, all = {.area = "all"};
    size_t row_count = 0;
    for (size_t i = 0; i < outcome_count; i++) {
        size_t at = 0;
        while (at < row_count && strcmp(rows[at].area, outcomes[i].one->area) != 0)
            at++;
        if (at == row_count && row_count < TUCK_ARRAY_LEN(rows) - 1)
            rows[row_count++].area = outcomes[i].one->area;
        count(&rows[at], &outcomes[i]);
        count(&all, &outcomes[i]);
    }
    printf("#\n# %-12s      MUST            SHOULD       not\n", "");
    printf("# %-12s passed failed   passed failed   judged\n", "area");
    for (size_t i = 0; i < row_count; i++)
        print_row(&rows[i]);
    print_row(&all);
    printf("#\n# %s, in %.1f s\n",
           all.failed[1] ? "verdict: it does not conform"
           : all.failed[0]
               ? "verdict: it conforms; every MUST that was judged passes, but not every SHOULD"
               : "verdict: it conforms; every MUST and SHOULD that was judged passes",
           seconds);
    print_ids("# failed MUST: ", outcomes, outcome_count, true);
    print_ids("# failed SHOULD: ", outcomes, outcome_count, false);
    if (all.failed[0] + all.failed[1])
        printf(
            "# tuck-conform --explain=CASE says what a case asks and what the go command does\n");
    return all.failed[1] == 0;
}

// -- JSON ----------------------------------------------------------------------------------------
// Text that may hold anything becomes one that JSON can hold.
static json_t *json_text(const char *text) {
    json_t *exact = json_string(text);
    if (exact)
        return exact;
    struct buf visible = {0};
    buf_visible(&visible, text, strlen(text), SIZE_MAX);
    json_t *value = json_string(visible.data);
    buf_free(&visible);
    return value;
}

static json_t *json_outcome(const struct outcome *outcome) {
    static const char *const verdicts[] = {"passed", "failed", "not judged"};
    const struct script_case *one = outcome->one;
    const struct result *result = &outcome->result;
    json_t *ids = json_array();
    for (size_t i = 0; i < one->clause_count; i++)
        (void)json_array_append_new(ids, json_string(one->clauses[i]));
    json_t *value =
        json_pack("{s:o, s:s, s:o, s:s, s:o, s:s, s:f}", "case", json_text(one->id), "level",
                  level(one), "clauses", ids, "area", one->area, "title", json_text(one->title),
                  "verdict", verdicts[result->verdict], "seconds", outcome->seconds);
    if (result->verdict != VERDICT_PASS)
        (void)json_object_set_new(value, "why", json_text(text_of(&result->why)));
    if (result->verdict == VERDICT_FAIL) {
        (void)json_object_set_new(value, "counts_as",
                                  json_string(is_failed_must(outcome) ? "MUST" : "SHOULD"));
        (void)json_object_set_new(value, "details", json_text(text_of(&result->diagnostic)));
        (void)json_object_set_new(value, "explanation", json_text(one->explain));
    }
    if (result->is_breach && result->clause)
        (void)json_object_set_new(value, "breaks", json_string(result->clause));
    if (result->facts.len)
        (void)json_object_set_new(value, "run", json_loads(result->facts.data, 0, NULL));
    return value;
}

int report_json(const char *path, const struct outcome *outcomes, size_t outcome_count,
                double seconds, struct tuck_error *err) {
    struct row all = {0};
    json_t *cases = json_array();
    for (size_t i = 0; i < outcome_count; i++) {
        count(&all, &outcomes[i]);
        (void)json_array_append_new(cases, json_outcome(&outcomes[i]));
    }
    json_t *report = json_pack(
        "{s:s, s:b, s:f, s:{s:i, s:i}, s:{s:i, s:i}, s:i, s:o}", "tuck_conform", TUCK_VERSION,
        "conforms", all.failed[1] == 0, "seconds", seconds, "MUST", "passed", (int)all.passed[1],
        "failed", (int)all.failed[1], "SHOULD", "passed", (int)all.passed[0], "failed",
        (int)all.failed[0], "not_judged", (int)all.not_judged, "cases", cases);
    int result = 0;
    if (!report || json_dump_file(report, path, JSON_INDENT(1)) < 0)
        result = tuck_fail_os(err, errno, "write '%s'", path);
    json_decref(report);
    return result;
}

// -- list and explain ----------------------------------------------------------------------------
void report_list(const struct script_case *one) {
    printf("%-7s %-6s ", one->id, level(one));
    struct buf ids = {0};
    for (size_t i = 0; i < one->clause_count; i++)
        buf_format(&ids, "%s%s", i ? "," : "", one->clauses[i]);
    printf("%-14s %s\n", text_of(&ids), one->title);
    buf_free(&ids);
}

static void print_wrapped(const char *text, const char *indent) {
    size_t column = 0;
    while (*text) {
        size_t len = strcspn(text, " ");
        if (column && column + 1 + len > WIDTH - strlen(indent)) {
            printf("\n");
            column = 0;
        }
        printf("%s%.*s", column ? " " : indent, (int)len, text);
        column += len + (column ? 1 : 0);
        text += len;
        while (*text == ' ')
            text++;
    }
    printf("\n");
}

void report_explain(const struct script_case *one) {
    printf("%s %s  %s\n\n", one->id, level(one), one->title);
    for (size_t i = 0; i < one->clause_count; i++) {
        const struct clause *clause = clause_find(one->clauses[i]);
        printf("  clause %s of protocol/SPEC.md\n", one->clauses[i]);
        print_wrapped(clause->text, "    ");
    }
    printf("\n  %s\n", script_is_about_clients(one) ? "why it matters"
                                                    : "what the go command does when this fails");
    print_wrapped(one->explain, "    ");
    if (script_is_about_clients(one))
        printf("    What the go command does, by version: section 6.1 of protocol/SPEC.md.\n");
    printf("\n  the case: %s, line %d\n", one->file, one->line);
}

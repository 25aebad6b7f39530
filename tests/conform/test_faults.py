# SPDX-License-Identifier: MIT
"""
Each case of tuck-conform is able to fail: for every fault that the fake helper can have, the cases that are about it
fail, and others do not. Without a fault it passes everything that is judged. All faults take a quarter of an hour:
without TUCK_TEST_LONG=1 a sample of them is tried, always the same.
"""
import os, re

from conform import HERE, SCALE, FAKE, Judged, profile_of_fake, run as run_conform
from tap import case, run

LONG = os.environ.get("TUCK_TEST_LONG") == "1"
# Run beside the cases that are expected to fail: they must not, unless the fault is one of every conversation.
CONTROL = ["H-06", "F-04", "G-21", "P-03", "C-08"]

# Fault (or several): the cases that show it. "*" at the end: others may fail as well.
FAULTS = {
    "hello-id": "H-01 *", "hello-empty": "H-01 *", "hello-after-input": "H-02 H-01 *", "slow-hello": "H-03",
    "two-hellos": "H-04 *", "banner": "H-05 *", "upper-case-commands": "H-06 H-07", "announces-less": "H-07",
    "announces-more": "H-08", "hangs-without-directory": "H-09", "waits-for-input": "H-10 C-07",
    "needs-stderr": "H-11 H-11.2", "blocks-on-stderr": "H-11.2", "chatty": "H-12",
    "blank-is-request": "F-01 *", "refuses-bodies": "F-02 *", "empty-has-body": "F-03 *", "size-0-has-body": "F-04",
    "needs-whole-requests": "F-05 F-24", "one-request-per-read": "F-06 O-01 *", "needs-blank-line": "F-07 F-08",
    "needs-one-line": "F-08", "no-escapes": "F-09", "quits-at-line-escapes": "F-10", "no-unknown-fields": "F-11",
    "fixed-order": "F-11 F-12", "first-field-wins": "F-13", "ignores-lower-names": "F-14", "no-object-id": "F-15",
    "both-names": "F-16", "old-name-wins": "F-16.2", "rounds-ids": "F-17", "id-as-float": "F-17 *",
    "negative-ids": "F-18", "answers-id-0": "F-18", "no-padding": "F-19", "limits-body": "F-20 F-20.2",
    "holds-bodies": "F-20.2", "long-line": "F-21", "unbounded": "F-21.2 X-02.3", "unescaped-DiskPath": "F-22",
    "any-path": "F-22.2", "unescaped-Err": "F-22.3 *", "mixes-answers": "F-23 X-09", "flushes-late": "F-24 *",
    "empty-miss": "G-01", "wrong-output-id": "G-02 G-04 G-12", "relative-path": "G-03 P-23", "url-output-id": "G-04 G-02",
    "no-size": "G-05 G-02", "bad-time": "G-06 G-06.2 G-07 G-08 G-09", "no-time": "G-06.2 G-07 G-08 G-09",
    "whole-seconds": "G-06.2 G-07 G-08", "time-of-get": "G-07 G-08 G-09", "time-of-file": "G-07 G-09", "time-stays": "G-08",
    "touches": "G-07 G-09", "empty-is-miss": "G-10 *", "late-entries": "G-11 *", "answers-early": "G-13 P-01 P-02 *",
    "skips-existence": "G-14 P-23.2", "skips-size": "G-15 G-15.2", "skips-hash": "G-15.2 G-18.2 P-06 P-21",
    "trusts-anything": "G-16", "serves-unreadable": "G-16.2", "dies-of-index": "G-17 G-18.3", "opens-anything": "G-17.2",
    "keeps-damaged": "G-18 G-18.2 P-06", "crashes-on-ids": "G-19 G-20", "lenient-ids": "G-20", "miss-as-err": "G-21 G-01",
    "dot-in-path": "G-22", "one-action-per-output": "G-23 P-03 *",
    "hits-always": "G-01 *", "prints-lines": "O-01 *", "no-path": "P-01 *", "first-put-wins": "P-04 G-08",
    "writes-in-place": "P-05 P-06", "skips-digest": "P-07", "writes-in-place skips-digest always-replaces": "P-05.2", "shorter-bodies": "P-08",
    "longer-bodies": "P-08", "skips-garbage": "P-09 X-04", "url-base64": "P-09", "keeps-halves": "P-10",
    "takes-objects skips-digest": "P-11", "resynchronises": "P-12", "takes-any-body skips-digest": "P-13",
    "no-body-size-check": "P-14", "sets-memory-aside": "P-14", "dies-without-id": "P-15", "leaves-body": "P-15",
    "id-paths": "P-16 X-06", "any-output-id": "P-16.2", "dies-of-full-disk no-fallback": "P-17 P-17.2 P-18",
    "no-fallback": "P-17.2", "loses-place no-fallback": "P-18 P-17", "leaves-temp": "P-19", "no-sweep": "P-19.2",
    "enters-first skips-hash always-replaces": "P-20", "cleans-up": "P-22 *", "no-link": "P-23",
    "drops-answers": "O-01 *", "answers-twice": "O-01 *", "hates-waiting": "O-02 O-04", "slow-put": "O-03",
    "hoards-answers": "O-04.2", "dies-of-duplicates": "O-05", "one-writer": "O-06 O-06.2 O-06.3",
    "sees-only-start": "O-06.3 C-06", "clears-all": "O-07 O-08", "cleans-directory": "O-09", "ignores-version": "O-09.2",
    "keeps-directory no-fallback": "O-10", "no-close-answer": "C-01 C-03 *", "waits-after-close": "C-01 C-08 *",
    "slow-end": "C-01.2", "close-err": "C-02", "close-always-err": "C-02 C-01.2", "speaks-after-close": "C-04 *",
    "close-drops": "C-05 C-05.2", "close-first": "C-05.2", "keeps-at-close": "C-06 *", "status-1-at-eof": "C-06.2 C-15",
    "ignores-eof": "C-07 *", "guesses-the-end": "C-09", "ignores-broken-pipe": "C-10", "dies-of-interrupt": "C-11",
    "ignores-term": "C-12", "daemon": "C-13", "serves-after-close": "C-14", "status-1": "C-15", "status-0": "C-15 *",
    "silent-refusals": "C-15 *", "spins": "C-16", "dies-of-unknown": "X-01", "invents-ids": "X-02 *",
    "overflows": "X-02.2", "skips-values": "X-03", "nul-ends-strings": "X-04 X-01", "pads-ids": "X-05",
    "writes-through-links": "X-07", "world-writable": "X-07.2 X-12", "loses-line-ends": "X-08 *", "leaks": "X-09",
    "dies-of-limit": "X-10", "hates-address-limits": "X-10.2", "clock-evicts": "X-11", "needs-home": "X-13", "upper-case-names": "X-14",
}
SHARDS = 6 if LONG else 1
SAMPLE = 31  # of so many faults one is tried by default


def judge_fault(directory, fault, wanted):
    """What is wrong with how this fault was judged, or None."""
    place = os.path.join(directory, re.sub(r"\W", "-", fault))
    os.mkdir(place)
    names = wanted.split()
    is_wide = names[-1] == "*"
    names = set(names) - {"*"}
    asked = sorted(names) if is_wide else sorted(names | set(CONTROL))
    faults = fault.split()
    judged = Judged(place, [f"--profile={profile_of_fake(place, *faults)}", f"--timeout-scale={min(SCALE, 1)}",
                            f"--filter={','.join(asked)}"], FAKE + [f"--fault={name}" for name in faults])
    failed, hoped = judged.failed() & set(asked), {name for name in judged.cases if name in names}
    shown = names & set(judged.cases)
    if failed - shown and not is_wide:
        return f"{fault}: fails {sorted(failed - shown)}, too:\n{judged.why(failed - shown)}"
    if shown - failed - judged.not_judged():
        return f"{fault}: is not found by {sorted(shown - failed)}"
    if not hoped:
        return f"{fault}: nothing was judged"
    return None


def judge_shard(directory, shard):
    chosen = sorted(FAULTS)[::1 if LONG else SAMPLE]
    print(f"# {len(chosen[shard::SHARDS])} of {len(FAULTS)} faults")
    found = [text for text in (judge_fault(directory, fault, FAULTS[fault]) for fault in chosen[shard::SHARDS]) if text]
    assert not found, f"{len(found)} of the faults:\n" + "\n".join(found)


def shard_case(shard):
    def faults_are_found_by_the_cases_that_are_about_them(directory):
        judge_shard(directory, shard)
    faults_are_found_by_the_cases_that_are_about_them.__name__ += f"_{shard + 1}_of_{SHARDS}"
    case(limit=900)(faults_are_found_by_the_cases_that_are_about_them)


for shard_ in range(SHARDS):
    shard_case(shard_)


@case(limit=900)
def a_right_helper_passes_what_it_is_asked(directory):
    words = [] if LONG else ["--filter=H-01,H-09,H-11,O-02,O-05,O-07,C-02,C-06,C-11,F-03,F-13,F-22,G-12,P-01,P-07,P-17,X-01,X-12"]
    judged = Judged(directory, [f"--profile={profile_of_fake(directory)}", f"--timeout-scale={SCALE}", *words], FAKE, jobs=2)
    assert not judged.failed(), judged.why(judged.failed())
    assert judged.done.returncode == 0


@case()
def every_case_has_a_fault_that_it_finds(_directory):
    listed = [line.split()[0] for line in run_conform("--list").stdout.splitlines()]
    shown = {name for wanted in FAULTS.values() for name in wanted.split()}
    missing = [name for name in listed if name not in shown]
    # 1 GiB, and what a fault of another case shows with the same statements.
    assert set(missing) <= {"F-20.3"}, f"no fault shows {missing}"


@case()
def every_fault_exists_and_is_tried(_directory):
    with open(os.path.join(HERE, "fakehelper.py")) as file:
        known = {name for call in re.findall(r"fault\(([^()]*)\)", file.read()) for name in re.findall(r'"([\w-]+)"', call)}
    known |= {"unescaped-DiskPath", "unescaped-Err"}
    tried = {name for fault in FAULTS for name in fault.split()}
    assert known - {"unescaped-"} == tried, f"untried {sorted(known - tried)}, unknown {sorted(tried - known)}"


run(__name__)

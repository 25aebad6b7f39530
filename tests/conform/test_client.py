# SPDX-License-Identifier: MIT
"""
tuck-conform --client is a fair judge: libtuck passes every case, so does a small client that is right, and for every
fault that this one can have, the cases that are about it fail.
"""
import glob, json, os, re, signal, subprocess, time, zlib

from conform import HERE, PYTHON, SCALE, Judged, conform_bin, run as run_conform
from tap import case, run

LONG = os.environ.get("TUCK_TEST_LONG") == "1"
FAKE = [PYTHON, "-SE", os.path.join(HERE, "fakeclient.py")]
QUICK = max(0.3, 0.15 * SCALE)  # of the usual time, for the fake, whose own limits are short and sum up to less

# Fault (or several): the cases that show it. L-40 alone: it breaks what holds for every conversation.
FAULTS = {
    "hides-program": "L-01 L-01.2 L-01.3", "asks-a-shell": "L-02", "splits-at-blanks": "L-02",
    "closes-quotes": "L-02.2", "no-limits": "L-03 L-18", "leaves-it": "L-03.2 L-32.2 L-32.4",
    "hides-status": "L-04 L-04.2 L-17 L-17.2 L-17.3", "skips-text": "L-05 L-05.2 L-20", "no-blanks": "L-05.3",
    "any-hello": "L-06 L-06.2 L-06.3 L-06.4 L-06.5", "few-names": "L-06.6", "reads-lines": "L-07 L-07.3", "whole-reads": "L-07.2",
    "ignores-strangers": "L-08 L-10 L-10.2 L-10.3 L-11", "asks-anything": "L-06.7 L-09 L-09.2 L-09.3",
    "takes-in-turn": "L-12", "breaks-off": "L-13", "blocks-on-write": "L-14", "dies-of-sigpipe": "L-15", "waits-for-exit": "L-16",
    "late-is-fatal": "L-18.2", "unbounded": "L-19", "recurses": "L-19.2", "skips-text unbounded": "L-19.3",
    "dies-of-errors": "L-20 L-20.7 L-32.6", "waits-for-rest": "L-20.2", "takes-commas": "L-20.3",
    "takes-nan": "L-20.4", "takes-comments": "L-20.5", "c-strings": "L-20.6 L-28.2",
    "converts-ids": "L-21 L-21.2 L-21.3 L-21.4", "any-size": "L-21.5 L-21.6 L-21.7 L-21.8", "ignores-miss": "L-22 L-24.2",
    "minds-null": "L-22.4", "exact-names": "L-23", "first-counts": "L-23.2", "strict-fields": "L-23.3",
    "trusts-id": "L-22.2 L-24 L-27 L-27.2 L-27.3", "dies-of-bare": "L-24.3 L-31.3",
    "any-output-id": "L-25 L-25.2 L-25.3 L-25.4 L-25.5", "no-hash": "L-26", "any-size no-hash": "L-27.6 L-27.7",
    "opens-anything": "L-27.4", "opens-anything any-size no-hash": "L-27.5", "no-escapes": "L-28", "drops-surrogates": "L-28.3",
    "cuts-paths": "L-28.4", "needs-time": "L-29 L-29.2", "plain-time": "L-29.3 L-29.4", "time-64": "L-29.5",
    "any-time": "L-29.6 L-29.7", "dies-of-puts": "L-22.3 L-30 L-30.2 L-30.3", "minds-miss": "L-30.4",
    "prints-raw": "L-31 L-31.2", "minds-close": "L-32", "waits-for-close": "L-32.3 L-32.4", "dies-of-close": "L-32.5",
    "dies-of-errors dies-of-more": "L-32.7", "minds-status": "L-32.8", "waits-for-eof": "L-33",
    "stderr-unread": "L-34", "leaks": "L-36", "shares-pipe": "L-44",
    "empty-body-line": "L-40", "no-blank-line": "L-40", "repeats-ids": "L-40", "id-0": "L-40", "wraps-bodies": "L-40",
    "url-bodies": "L-40", "wrong-size": "L-40", "wrong-hash": "L-40", "size-0": "L-40", "closes-twice": "L-40",
    "asks-after-close": "L-40",
}
SAMPLE = 5  # of so many faults one is tried by default


def judge_fault(directory, fault, wanted):
    """What is wrong with how this fault was judged, or None."""
    place = os.path.join(directory, re.sub(r"\W", "-", fault))
    os.mkdir(place)
    names = set(wanted.split())
    asked = names | {"L-40"}
    judged = Judged(place, [f"--timeout-scale={QUICK}", f"--filter={','.join(sorted(asked))}"],
                    ["/usr/bin/env", f"FAKE_LIMIT={5 * QUICK}", *FAKE, *(f"--fault={name}" for name in fault.split())],
                    jobs=2, words=["--client"])
    failed = judged.failed() & asked
    if names - failed:
        return f"{fault}: is not found by {sorted(names - failed)}:\n{judged.done.stdout}{judged.done.stderr}"
    if failed - names:
        return f"{fault}: fails {sorted(failed - names)}, too:\n{judged.why(failed - names)}"
    return None


@case(limit=1500)
def faults_of_a_client_are_found_by_the_cases_that_are_about_them(directory):
    chosen = [one for one in sorted(FAULTS) if LONG or zlib.crc32(one.encode()) % SAMPLE == 0]
    assert len(chosen) > len(FAULTS) / SAMPLE / 2
    print(f"# {len(chosen)} of {len(FAULTS)} faults")
    found = [text for text in (judge_fault(directory, one, FAULTS[one]) for one in chosen) if text]
    assert not found, f"{len(found)} of the faults:\n" + "\n".join(found)


@case(limit=900)
def libtuck_passes_every_case_and_all_of_them_are_judged(directory):
    judged = Judged(directory, [f"--timeout-scale={SCALE}", "--env", f"TUCK_BUILDER_SCALE={SCALE}"],
                    [os.environ["TUCK_BUILDER"]], jobs=2 * os.cpu_count(), words=["--client"])
    print(f"# {len(judged.cases)} cases in {judged.report['seconds']:.1f} s")
    assert not judged.failed(), judged.why(judged.failed())
    assert not judged.not_judged(), judged.why(judged.not_judged())
    assert judged.done.returncode == 0 and judged.report["conforms"]


@case(limit=900)
def another_client_that_is_right_passes_what_it_is_asked(directory):
    words = [] if LONG else ["--filter=L-02,L-05,L-09,L-11,L-14,L-18.2,L-20.2,L-23,L-27.4,L-32.4,L-40,L-44"]
    judged = Judged(directory, [f"--timeout-scale={SCALE}", "--env", f"FAKE_LIMIT={SCALE}", *words], FAKE, jobs=2,
                    words=["--client"])
    assert not judged.failed(), judged.why(judged.failed())
    assert not judged.not_judged(), judged.why(judged.not_judged())


@case()
def every_fault_exists_and_is_tried(_directory):
    with open(os.path.join(HERE, "fakeclient.py")) as file:
        known = {name for call in re.findall(r"fault\(([^()]*)\)", file.read()) for name in re.findall(r'"([\w-]+)"', call)}
    tried = {name for fault in FAULTS for name in fault.split()}
    assert known == tried, f"untried {sorted(known - tried)}, unknown {sorted(tried - known)}"


# A client that does wrong there breaks what holds for every conversation, and is judged by L-40 alone.
JUDGED_BY_L_40 = {"L-39", "L-43"}


@case()
def every_case_has_a_fault_that_it_finds(_directory):
    listed = [line.split()[0] for line in run_conform("--client", "--list").stdout.splitlines()]
    shown = {name for wanted in FAULTS.values() for name in wanted.split()}
    missing = [name for name in listed if name not in shown | JUDGED_BY_L_40]
    assert not missing and not shown - set(listed), f"no fault shows {missing}; unknown {shown - set(listed)}"


# -- the program -------------------------------------------------------------------------------------------------------
@case()
def each_misbehaviour_has_a_name_of_its_own_and_can_be_explained(_directory):
    listed = run_conform("--client", "--list").stdout.splitlines()
    names = [re.fullmatch(r"L-\d\d(?:\.\d)? +(?:MUST|SHOULD) +CLI-\S+ +([a-z0-9-]+): \S.*", line)[1] for line in listed]
    assert len(names) == len(set(names)) >= 100 and "none" not in names
    told = run_conform("--explain=L-11").stdout
    assert "clause CLI-10" in told and "another request whose ID" in told and "why it matters" in told, told
    assert all(not line.startswith("L-") for line in run_conform("--list").stdout.splitlines())


@case()
def a_client_can_be_pointed_at_a_misbehaviour_by_hand(directory):
    def told(name, *lines):
        return subprocess.run([conform_bin(), f"--misbehave={name}", f"--dir={directory}/kept"], input="".join(lines),
                              capture_output=True, text=True, timeout=60)
    action = "A" * 43 + "="
    get = f'{{"ID":1,"Command":"get","ActionID":"{action}"}}\n\n'
    right = told("none", get, '{"ID":2,"Command":"close"}\n\n')
    assert [json.loads(line) for line in right.stdout.splitlines()] == [
        {"ID": 0, "KnownCommands": ["get", "put", "close"]}, {"ID": 1, "Miss": True}, {"ID": 2}], right
    assert told("twice", get).stdout.count('"ID":1') == 2 and told("L-11", get).stdout.count('"ID":1') == 2
    wrong = told("none", get, get)
    assert "CLI-38" in wrong.stderr and "asked before" in wrong.stderr, wrong
    nothing = told("no-such-thing")
    assert nothing.returncode == 2 and "no misbehaviour 'no-such-thing'" in nothing.stderr, nothing


@case()
def a_client_that_cannot_be_judged_is_status_3(directory):
    for command, text in ((["/nonexistent/client"], "no program"), (["/bin/true"], "starts no helper"),
                          (["/bin/false"], "with a helper that is right")):
        told = run_conform("--client", "--", *command)
        assert told.returncode == 3 and text in told.stderr and not told.stdout, (command, told)
    told = run_conform("--client")
    assert told.returncode == 2 and "which client" in told.stderr, told


@case()
def a_mistake_in_a_case_about_clients_fails_no_client(directory):
    folder = os.path.join(directory, "cases")
    os.mkdir(folder)
    for statement, message in (("get a", "'get' is for cases about helpers"), ("say $(repeat x y)", "is no number"),
                               ("client dances", "nothing like this"), ("await godot", "no such request")):
        with open(os.path.join(folder, "a.case"), "w") as file:
            file.write(f"area client\ncase L-01 MUST  odd: it is\nclause CLI-1\nexplain E.\n    {statement}\n")
        told = run_conform("--client", f"--cases={folder}", "--", *FAKE)
        assert told.returncode == 2 and message in told.stderr, (statement, told)


def running():
    """The command lines of all processes."""
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as file:
                yield file.read().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            pass


@case()
def an_interrupt_ends_client_and_helper_and_removes_its_directories(directory):
    for options, wanted, status in ((["--filter=L-18"], "L-18/act/report", 1), (["--filter=L-18"], "usual/report", 3)):
        # In the second round the client hangs with a helper that is right, too.
        slow = ["/bin/sh", "-c", 'case $GOCACHEPROG in *=none*) test -z "$SLOW" || sleep 100;; esac; exec "$0" "$@"']
        process = subprocess.Popen([conform_bin(), "--client", *options, "--", *slow, *FAKE, "--fault=no-limits"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   env=os.environ | {"TMPDIR": directory} | ({"SLOW": "1"} if status == 3 else {}))
        deadline = time.monotonic() + 60
        while not glob.glob(f"{directory}/tuck-conform-*/{wanted}") and time.monotonic() < deadline:
            time.sleep(0.01)  # until the client of the case runs
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert process.returncode == status, process.returncode
        assert not glob.glob(f"{directory}/tuck-conform-*"), os.listdir(directory)
        assert not [line for line in running() if f"--dir={directory}" in line], "a helper is left running"


run(__name__)

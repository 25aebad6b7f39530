# SPDX-License-Identifier: MIT
"""
tuck-conform replay: a recorded build, cold and warm, is answered alike by a good helper; a helper that answers anything
else is told by ID; the pace is kept; and whatever is no trace is refused with its line.
"""
import atexit, base64, glob, hashlib, json, os, random, re, shutil, signal, subprocess, tempfile, time

from conform import FAKE, SCALE, conform_bin, run as run_conform, tuck_bin
from tap import case, need_program, run, skip

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TRANSCRIPTS = os.path.join(ROOT, "protocol", "transcripts")
HELLO = '< {"ID":0,"KnownCommands":["get","put","close"]}'
GOOD = FAKE + ["--dir={dir}"]


def name_of(text):
    """Any id: the base64 of a SHA-256."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def get(number, action):
    return [f'> {{"ID":{number},"Command":"get","ActionID":"{name_of(action)}"}}', ">"]


def put(number, action, body, is_recorded=False, size=None):
    """A put of a body that has the size of this text, or is this text."""
    size = len(body) if size is None else size
    line = f'> "{base64.b64encode(body.encode()).decode()}"' if is_recorded else '> "$BODY"'
    return [f'> {{"ID":{number},"Command":"put","ActionID":"{name_of(action)}","OutputID":"{name_of(body)}",'
            f'"BodySize":{size}}}', ">", line]


def miss(number):
    return [f'< {{"ID":{number},"Miss":true}}']


def hit(number, body, size=None):
    return [f'< {{"ID":{number},"OutputID":"{name_of(body)}","Size":{len(body) if size is None else size},'
            f'"Time":"$TIME","DiskPath":"$DISKPATH"}}']


def stored(number):
    return [f'< {{"ID":{number},"DiskPath":"$DISKPATH"}}']


def trace_of(directory, *parts, title="= a session"):
    """A file with one session of these lines."""
    path = os.path.join(directory, f"trace-{len(os.listdir(directory))}")
    with open(path, "w") as file:
        file.write("\n".join([title, HELLO] + [line for part in parts for line in part]) + "\n")
    return path


class Played:
    """What one replay came to."""

    def __init__(self, directory, trace, command, *options, status=None):
        report = os.path.join(directory, "replay.json")
        self.done = run_conform("replay", f"--timeout-scale={SCALE}", f"--json={report}", *options, trace, "--", *command)
        assert self.done.returncode in ((0, 1) if status is None else (status,)), (self.done.returncode, self.done.stdout[-3000:], self.done.stderr)
        with open(report) as file:
            self.report = json.load(file)
        assert self.report["same"] == (self.done.returncode == 0) == (self.report["differences"] == 0), self.report

    def __getitem__(self, name):
        return self.report[name]

    def told(self, word, number=None):
        """The first difference with this word in it."""
        for one in self.report["details"]:
            if word in one["what"] and number in (None, one.get("ID")):
                return one
        raise AssertionError(f"no difference says '{word}':\n{self.done.stdout}")


# -- real conversations ------------------------------------------------------------------------------------------------
RECORDED = {}


def recorded_build():
    """Traces of a real go build, (cold, warm, both), recorded by tuck for all tests here."""
    if RECORDED:
        return RECORDED["cold"], RECORDED["warm"], RECORDED["both"]
    need_program("go")
    version = subprocess.run(["go", "version"], capture_output=True, text=True).stdout
    number = re.search(r"go1\.(\d+)", version)
    if not number or int(number[1]) < 24:
        skip(f"a go command that knows helpers is needed, not {version.strip()}")
    place = tempfile.mkdtemp(prefix="tuck-traced-")
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    for name in ("src", "home", "tmp", "cache"):
        os.makedirs(os.path.join(place, name))
    with open(os.path.join(place, "src", "go.mod"), "w") as file:
        file.write("module example.org/traced\n\ngo 1.24\n")
    with open(os.path.join(place, "src", "main.go"), "w") as file:
        file.write('package main\n\nfunc main() { println("traced") }\n')
    os.utime(os.path.join(place, "src", "main.go"), (1e9, 1e9))
    both = os.path.join(place, "both")
    environment = {"PATH": os.environ["PATH"], "HOME": os.path.join(place, "home"), "TMPDIR": os.path.join(place, "tmp"),
                   "GOCACHE": os.path.join(place, "cache"), "GOENV": "off", "GOTOOLCHAIN": "local", "GOTELEMETRY": "off",
                   "GOFLAGS": "-buildvcs=false", "CGO_ENABLED": "0", "GOPROXY": "off",
                   **{name: value for name, value in os.environ.items() if name.endswith("SAN_OPTIONS")}}
    environment["GOCACHEPROG"] = f"'{tuck_bin()}' --trace={both}"
    for _ in range(2):
        # Its helper holds the same pipe: when that is over, the session is in the file.
        subprocess.run(["go", "build", "-o", os.path.join(place, "program"), "."], cwd=os.path.join(place, "src"),
                       env=environment, check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=600)
    with open(both) as file:
        sessions = ["=" + text for text in ("\n" + file.read()).split("\n=")[1:]]
    assert len(sessions) == 2, "one session for each go command"
    for name, text in zip(("cold", "warm"), sessions):
        RECORDED[name] = os.path.join(place, name)
        with open(RECORDED[name], "w") as file:
            file.write(text)
    RECORDED["both"] = both
    return RECORDED["cold"], RECORDED["warm"], both


@case(limit=900)
def a_real_build_is_answered_alike_cold_and_warm_and_both_in_one_file(directory):
    cold, warm, both = recorded_build()
    played = [Played(directory, trace, [tuck_bin()], status=0) for trace in (cold, warm, both)]
    assert played[0]["puts"] > 20 and played[0]["misses"] > 20 and played[0]["first"]["puts"] == 0, played[0].report
    assert played[1]["hits"] > 20 and played[1]["first"]["puts"] >= 20, played[1].report
    assert played[1]["hits"] >= played[1]["first"]["puts"] and played[1]["hit_bytes"] > 100_000
    assert played[2]["sessions"] == played[2]["played"] == 2 and played[2]["first"]["puts"] == 0, played[2].report
    for name in ("requests", "hits", "misses", "puts"):
        assert played[2][name] == played[0][name] + played[1][name], name
    for one in played:
        assert one["not_compared"] == 0 and one["unanswered"] == 0 and one["errors"] == 0, one.report
        assert one["seconds"] > 0 and one["requests_per_second"] > 0
        assert 0 < one["latency_us"]["get"]["p50"] <= one["latency_us"]["get"]["p99"]


@case(limit=900)
def another_helper_answers_a_real_build_alike(directory):
    _, _, both = recorded_build()
    Played(directory, both, GOOD, status=0)


@case(limit=600)
def the_golden_transcripts_are_answered_alike(directory):
    for path in sorted(glob.glob(f"{TRANSCRIPTS}/*.txt")):
        for command in ([tuck_bin()], GOOD):
            played = Played(directory, path, command, status=0)
            assert played["sessions"] == 8 and played["requests"] == 85 and played["hits"] == 49, played.report


@case()
def the_verdict_is_for_people(directory):
    trace = trace_of(directory, get(1, "a"), miss(1), put(2, "a", "12345"), stored(2), get(3, "a"), hit(3, "12345"))
    told = run_conform("replay", trace, "--", tuck_bin())
    assert told.returncode == 0 and "verdict: it answers as it was recorded" in told.stdout, told
    assert "requests      3: 1 hits, 1 misses, 1 puts, 0 errors, 0 others" in told.stdout, told.stdout
    assert re.search(r"^get +p50 \d+ µs, p99 \d+ µs$", told.stdout, re.M) and not told.stderr, told
    told = run_conform("replay", trace, "--", *GOOD, "--fault=no-size")
    assert told.returncode == 1 and re.search(r"session 1, ID 3 \(line \d+\): Size is 0, not 5", told.stdout), told.stdout
    assert "verdict: it differs from the recording in 1 place\n" in told.stdout, told.stdout


# -- wrong helpers -----------------------------------------------------------------------------------------------------
@case()
def a_helper_that_answers_otherwise_is_told_by_id(directory):
    trace = trace_of(directory, get(1, "a"), miss(1), put(2, "a", "12345"), stored(2), get(3, "a"), hit(3, "12345"),
                     get(4, "b"), miss(4), put(5, "b", "other"), stored(5), put(6, "a", "again, longer"), stored(6),
                     get(7, "a"), hit(7, "again, longer"))
    assert not Played(directory, trace, GOOD, status=0)["details"]
    for fault, number, word in (("hits-always", 1, "recorded was a miss, now a hit"),
                                ("miss-as-err", 1, "recorded was a miss, now an error"),
                                ("wrong-output-id", 3, "OutputID is"), ("no-size", 3, "Size is 0, not 5"),
                                ("no-path", 2, "recorded was a put, now done"), ("first-put-wins", 7, "OutputID is")):
        played = Played(directory, trace, GOOD + [f"--fault={fault}"], status=1)
        assert played.told(word, number)["line"] > 2, fault


def scripted(directory, *answers):
    """A helper that answers the n-th request with the n-th of these texts, ID filled in; its files lie in the directory."""
    path = os.path.join(directory, f"helper-{len(os.listdir(directory))}.py")
    with open(path, "w") as file:
        file.write("import json, os, re, sys\nanswers = " + repr(list(answers)) + "\n"
                   'print(\'{"ID":0,"KnownCommands":["get","put","close"]}\', flush=True)\n'
                   "for line in sys.stdin:\n"
                   "    if not line.startswith('{'): continue\n"
                   "    request = json.loads(line)\n"
                   "    answer = answers.pop(0)\n"
                   "    if answer == 'exit': os._exit(0)\n"
                   "    if answer == 'die': os._exit(3)\n"
                   "    answer = answer.replace('$ID', str(request['ID']))\n"
                   "    answer = answer.replace('$OUTPUT', request.get('OutputID', ''))\n"
                   "    if answer: print(answer, flush=True)\n")
    return [FAKE[0], path]


@case()
def a_file_that_is_not_what_was_put_is_told(directory):
    trace = trace_of(directory, put(1, "a", "12345", is_recorded=True), stored(1))
    for content, word in (("12345", None), ("54321", "has other bytes"), ("1234", "has 4 bytes, not 5"),
                          ("123456", "has 6 bytes, not 5"), (None, "No such file")):
        path = os.path.join(directory, "object")
        if content is None:
            os.unlink(path)
        else:
            with open(path, "w") as file:
                file.write(content)
        played = Played(directory, trace, scripted(directory, f'{{"ID":$ID,"DiskPath":"{path}"}}'))
        assert (played["differences"] == 0) == (word is None), played.done.stdout
        assert word is None or played.told(word, 1), content
    os.mkdir(path)
    Played(directory, trace, scripted(directory, f'{{"ID":$ID,"DiskPath":"{path}"}}')).told("no regular file", 1)


@case()
def a_file_is_looked_at_before_its_action_is_put_again(directory):
    # One file for each action, rewritten by every put: right at each answer, and not any more behind the second put.
    helper = os.path.join(directory, "helper.py")
    with open(helper, "w") as file:
        file.write(f'''
import base64, json, os, sys
print('{{"ID":0,"KnownCommands":["get","put","close"]}}', flush=True)
held = {{}}
for line in sys.stdin:
    if not line.startswith("{{"): continue
    request, answer = json.loads(line), {{}}
    path = os.path.join({directory!r}, "of-" + request["ActionID"][:4])
    if request["Command"] == "put":
        sys.stdin.readline()
        body = base64.b64decode(json.loads(sys.stdin.readline()))
        with open(path, "wb") as file:
            file.write(body)
        held[path] = {{"OutputID": request["OutputID"], "Size": len(body)}}
    else:
        answer = held[path]
    print(json.dumps({{"ID": request["ID"], "DiskPath": path, **answer}}), flush=True)
''')
    trace = trace_of(directory, put(1, "a", "12345"), stored(1), get(2, "a"), hit(2, "12345"), put(3, "a", "other!"), stored(3),
                     get(4, "a"), hit(4, "other!"))
    Played(directory, trace, [FAKE[0], helper], status=0)


@case()
def a_helper_that_ends_breaks_rules_or_says_nothing_ends_the_replay(directory):
    trace = trace_of(directory, get(1, "a"), miss(1), get(2, "b"), miss(2), get(3, "c"), miss(3))
    good = '{"ID":$ID,"Miss":true}'
    assert Played(directory, trace, scripted(directory, good, good, good), status=0)["requests"] == 3
    for answers, word in (((good, "exit"), "ended"), ((good, "die"), "ended"), ((good, '{"ID":77,"Miss":true}'), "ID 77"),
                          ((good, good.replace("$ID", "1")), "second answer to ID 1"), ((good, "nonsense"), "no JSON object")):
        played = Played(directory, trace, scripted(directory, *answers), status=1)
        assert played.told(word) and played["played"] == 1, (answers, played.done.stdout)
    began = time.monotonic()
    done = run_conform("replay", "--timeout-scale=0.1", trace, "--", *scripted(directory, good, "", good))
    assert done.returncode == 1 and "no answer comes" in done.stdout and time.monotonic() - began < 60, done


@case()
def a_helper_that_exits_with_a_status_is_told_unless_it_was_recorded(directory):
    lines = [get(1, "a"), miss(1), ["! eof"]]
    helper = GOOD + ["--fault=status-1-at-eof"]
    Played(directory, trace_of(directory, *lines), helper, status=1).told("status 1")
    Played(directory, trace_of(directory, *lines, ["! exit 1"]), helper, status=0)


@case()
def at_most_a_hundred_differences_are_kept_and_twenty_shown(directory):
    trace = trace_of(directory, *[part for number in range(1, 151) for part in (get(number, f"a{number}"), miss(number))])
    played = Played(directory, trace, GOOD + ["--fault=miss-as-err"], status=1)
    assert played["differences"] == 150 and len(played["details"]) == 100, played["differences"]
    assert played.done.stdout.count("recorded was") == 20 and "and 130 more" in played.done.stdout, played.done.stdout


# -- what a trace does not say -----------------------------------------------------------------------------------------
@case()
def what_was_found_and_never_put_is_put_first_outside_the_figures(directory):
    trace = trace_of(directory, get(1, "a"), hit(1, "12345"), get(2, "b"), hit(2, "12345"), get(3, "c"), hit(3, "", 70_000),
                     get(4, "d"), miss(4), get(5, "a"), hit(5, "12345"))
    played = Played(directory, trace, [tuck_bin()], status=0)
    assert played["first"]["puts"] == 3 and played["first"]["bytes"] == 70_010, played.report
    assert (played["requests"], played["hits"], played["misses"], played["puts"]) == (5, 4, 1, 0), played.report
    played = Played(directory, trace, scripted(directory, '{"ID":$ID,"Err":"full"}'), status=1)
    assert "cannot be put first" in played["details"][0]["what"] and played["details"][0]["session"] == 0, played.report


@case()
def what_the_trace_does_not_decide_is_not_compared_but_has_to_be_true(directory):
    # A miss, and then a hit that no put of the trace explains; a put that was in work beside a get; a miss after a put.
    trace = trace_of(directory, get(1, "a"), miss(1), get(2, "a"), hit(2, "12345"),
                     put(3, "b", "other"), get(4, "b"), miss(4), stored(3),
                     put(5, "c", "third"), stored(5), get(6, "c"), miss(6))
    played = Played(directory, trace, [tuck_bin()], status=0)
    assert played["not_compared"] == 3 and played["first"]["puts"] == 0, played.report
    path = os.path.join(directory, "object")
    with open(path, "w") as file:
        file.write("12345")
    wrong = f'{{"ID":$ID,"OutputID":"{name_of("never put")}","Size":5,"DiskPath":"{path}"}}'
    played = Played(directory, trace, scripted(directory, '{"ID":$ID,"Miss":true}', wrong, *[f'{{"ID":$ID,"DiskPath":"{path}"}}'] * 4))
    assert "never put" in played.told("OutputID", 2)["what"], played.done.stdout


@case()
def a_recorded_body_is_sent_byte_for_byte_even_a_wrong_one(directory):
    wrong = put(2, "b", "12345", is_recorded=True)
    wrong[0] = wrong[0].replace(name_of("12345"), name_of("something else"))
    trace = trace_of(directory, put(1, "a", "12345", is_recorded=True), stored(1), wrong, ['< {"ID":2,"Err":"digest"}'],
                     get(3, "a"), hit(3, "12345"), get(4, "b"), miss(4), ['> {"ID":5,"Command":"stat"}', ">", '< {"ID":5,"Err":"?"}'])
    played = Played(directory, trace, [tuck_bin()], status=0)
    assert played["puts"] == 1 and played["errors"] == 2, played.report


@case()
def a_body_that_answers_cut_into_pieces_is_joined(directory):
    body = put(1, "a", "0123456789" * 20, is_recorded=True)
    line = body.pop()
    cut = [line[:50], miss(2)[0], "+ " + line[50:51], "+", "+ " + line[51:]]
    trace = trace_of(directory, get(2, "b"), body, cut, stored(1))
    assert Played(directory, trace, [tuck_bin()], status=0)["puts"] == 1
    body = body[0]
    trace = trace_of(directory, get(2, "b"), [body[:30], miss(2)[0], "+ " + body[30:] + " ", ">", line], stored(1))
    assert Played(directory, trace, [tuck_bin()], status=0)["puts"] == 1
    trace = trace_of(directory, get(2, "b"), [body, miss(2)[0], "+ ", ">", line], stored(1))
    assert Played(directory, trace, [tuck_bin()], status=0)["puts"] == 1


@case()
def what_breaks_off_at_the_end_of_a_session_is_left_out(directory):
    lines = [get(1, "a"), miss(1)]
    half = put(2, "b", "12345", is_recorded=True)
    half[-1] = half[-1][:-3]
    for rest in (half, half + ["! eof"], ['> {"ID":2,"Command":"ge'], ['> {"ID":2,"Command":"ge', "! eof"]):
        played = Played(directory, trace_of(directory, *lines, rest), [tuck_bin()], status=0)
        assert played["requests"] == 1 and played["cut_off"] == 1, (rest, played.report)


# -- order and pace ----------------------------------------------------------------------------------------------------
@case()
def requests_wait_for_the_answers_they_depend_on_and_overtake_nothing(directory):
    # The helper writes down what came before which answer: of one action in turn, of others as many at a time as recorded.
    log = os.path.join(directory, "log")
    helper = os.path.join(directory, "helper.py")
    with open(helper, "w") as file:
        file.write(f'''
import json, os, select, sys
log = open({log!r}, "w")
print('{{"ID":0,"KnownCommands":["get","put","close"]}}', flush=True)
held, rest, over = [], b"", False
while not over or held:
    # Whoever waits for an answer sends nothing more: only then is one answered, the last first.
    if not over and select.select([0], [], [], 0.2 if held else 60)[0]:
        block = os.read(0, 65536)
        over = not block
        *lines, rest = (rest + block).split(b"\\n")
        for line in lines:
            if line.startswith(b"{{"):
                held.append(json.loads(line))
                print("in", held[-1]["ID"], file=log, flush=True)
    elif held:
        request = held.pop()
        print("out", request["ID"], file=log, flush=True)
        print(json.dumps({{"ID": request["ID"], "Miss": True}}), flush=True)
''')
    trace = trace_of(directory, get(1, "a"), get(2, "b"), get(3, "a"), miss(2), get(4, "b"), miss(1), miss(3), miss(4), get(5, "c"), miss(5))
    Played(directory, trace, [FAKE[0], helper], status=0)
    with open(log) as file:
        events = file.read().split("\n")
    order = [int(line.split()[1]) for line in events if line.startswith("in")]
    assert order == [1, 2, 3, 4, 5], events
    at = {line: number for number, line in enumerate(events)}
    assert at["in 3"] < min(at["out 1"], at["out 2"], at["out 3"]), f"three were in flight together: {events}"
    assert at["out 2"] < at["in 4"], f"4 asks about the action of 2, which was answered before it: {events}"
    assert max(at[f"out {number}"] for number in (1, 2, 3, 4)) < at["in 5"], f"5 was alone: {events}"


@case()
def the_recorded_pace_is_kept_and_full_speed_does_not_wait(directory):
    trace = trace_of(directory, ["@ 0.5"], get(1, "a"), miss(1), ["@ 0.9"], get(2, "b"), miss(2), ["@ 1.700001"], get(3, "c"), miss(3),
                     ["@ 2.1", "! eof"])
    paced = Played(directory, trace, [tuck_bin()], "--pace", status=0)
    assert abs(paced["recorded_seconds"] - 1.700001) < 1e-6 and paced["paced"], paced.report
    assert 1.7 <= paced["seconds"] < 1.7 + 2 * SCALE, paced.report
    full = Played(directory, trace, [tuck_bin()], status=0)
    assert full["seconds"] < 1.7 and not full["paced"] and full["late_ms"] == 0, full.report


@case()
def an_interrupt_ends_the_helper_and_removes_the_directories(directory):
    trace = trace_of(directory, ["@ 60"], get(1, "a"), miss(1))
    process = subprocess.Popen([conform_bin(), "replay", "--pace", trace, "--", *FAKE, f"--dir={directory}/dir-{{dir}}"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": directory})
    deadline = time.monotonic() + 30
    while not glob.glob(f"{directory}/tuck-conform-*/place/gocache/*") and time.monotonic() < deadline:
        time.sleep(0.01)  # until the helper of the session runs
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 2 and "interrupted" in told, (process.returncode, told)
    assert not glob.glob(f"{directory}/tuck-conform-*"), os.listdir(directory)


# -- what is no trace --------------------------------------------------------------------------------------------------
BROKEN = {  # what is wrong: (lines behind the title and the handshake, line, part of the message)
    "another file": (["package main"], 3, "no line of a trace: package main"),
    "no space": (["<{}"], 3, "no line of a trace"),
    "a request that is none": (["> [1]"], 3, "neither a request nor a body"),
    "half a request": (['> {"ID":1,"Comm', ">"], 3, "no JSON object"),
    "no ID": (['> {"Command":"get"}'], 3, "a request without an ID"),
    "a body for nobody": (['> "aGVsbG8="'], 3, "a body that no request announces"),
    "a body for a get": (get(1, "a") + ['> "aGVsbG8="'], 5, "a body that no request announces"),
    "a body beyond reason": (put(1, "a", "hello", size=1 << 50), 3, "a body of more than 16 GiB"),
    "two bodies": (put(1, "a", "hello", is_recorded=True) + ['> "aGVsbG8="'], 6, "a body that no request announces"),
    "an open body": (put(1, "a", "hello")[:2] + ['> "aGVs', ">"], 5, "a body without its closing quote"),
    "more of nothing": (["+ abc"], 3, "no line of the client's"),
    "an answer that is none": (["< hello"], 3, "an answer that is no JSON object"),
    "an answer to nobody": (miss(7), 3, "an answer to ID 7, which nobody asked"),
    "two answers": (get(1, "a") + miss(1) + miss(1), 6, "an answer to ID 1, which nobody asked"),
    "an odd ID": (['< {"ID":"1"}'], 3, "ID is no number"),
    "no time": (["@ soon"], 3, "no number of seconds"),
    "time backwards": (["@ 2.5", "@ 2.4"], 4, "a time before the one above"),
    "requests after the end": (["! eof"] + get(1, "a"), 4, "had closed its side"),
}


@case()
def what_is_no_trace_is_told_in_one_line_with_its_place(directory):
    for what, (lines, number, message) in BROKEN.items():
        path = trace_of(directory, lines)
        told = run_conform("replay", path, "--", tuck_bin())
        assert told.returncode == 2 and not told.stdout and told.stderr.count("\n") == 1, (what, told)
        assert f"{path}:{number}: " in told.stderr and message in told.stderr, (what, told.stderr)
    for text, message in (("", "no conversation"), ("# a remark\n", "no conversation"), ("> {}\n", ":1: this stands before the first")):
        path = os.path.join(directory, "odd")
        with open(path, "w") as file:
            file.write(text)
        told = run_conform("replay", path, "--", tuck_bin())
        assert told.returncode == 2 and message in told.stderr and told.stderr.count("\n") == 1, (text, told)


@case()
def wrong_usage_of_replay_is_told_in_one_line(directory):
    trace = trace_of(directory, get(1, "a"), miss(1))
    for words in ([], [trace], [trace, "--"], [trace, tuck_bin()], [trace, trace, "--", tuck_bin()], ["--filter=P", trace, "--", tuck_bin()],
                  ["--nonsense", trace, "--", tuck_bin()], ["/nonexistent/trace", "--", tuck_bin()], [directory, "--", tuck_bin()]):
        told = run_conform("replay", *words)
        assert told.returncode == 2 and told.stderr.startswith("tuck-conform: ") and told.stderr.count("\n") == 1, (words, told)
    assert run_conform("--pace", "--", tuck_bin()).returncode == 2
    for command in (["/nonexistent/helper"], ["/bin/true"]):
        told = run_conform("replay", trace, "--", *command)
        assert told.returncode == 3 and "cannot be started" in told.stderr and not told.stdout, (command, told)


@case(limit=300)
def no_damaged_trace_makes_it_crash_or_hang(directory):
    # Bytes, lines and beginnings changed: it is played, or refused with a line. What a good helper answers may differ.
    dice = random.Random(5)
    source = os.path.join(directory, "source")
    with open(os.path.join(TRANSCRIPTS, "go1.26.txt"), "rb") as file:
        lines = file.read().split(b"\n")[:60]
    path = os.path.join(directory, "damaged")
    refused = played = 0
    for _ in range(60):
        mine = list(lines)
        for _ in range(dice.randint(1, 3)):
            at, kind = dice.randrange(len(mine)), dice.randrange(4)
            if kind == 0 and mine[at]:
                where = dice.randrange(len(mine[at]))
                mine[at] = mine[at][:where] + bytes([dice.randrange(256)]) + mine[at][where + 1:]
            elif kind == 1:
                del mine[at]
            elif kind == 2:
                mine.insert(at, mine[dice.randrange(len(mine))])
            else:
                mine[at] = mine[at][:dice.randrange(len(mine[at]) + 1)]
        with open(path, "wb") as file:
            file.write(b"\n".join(mine))
        told = subprocess.run([conform_bin(), "replay", "--timeout-scale=0.1", path, "--", tuck_bin()], capture_output=True,
                              stdin=subprocess.DEVNULL, timeout=120)
        assert told.returncode in (0, 1, 2), (told, shutil.copy(path, source))
        assert told.returncode != 2 or re.fullmatch(rb"tuck-conform: \S+(:\d+)?: .*\n", told.stderr), told
        assert b"itself" not in told.stderr and b"Sanitizer" not in told.stderr, told
        refused += told.returncode == 2
        played += told.returncode != 2
    assert refused > 10 and played > 3, (refused, played)


run(__name__)

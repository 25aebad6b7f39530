# SPDX-License-Identifier: MIT
"""How tuck-conform talks to people and programs: options, exit statuses, TAP, JSON, and mistakes in case files."""
import glob, json, os, re, signal, subprocess, time

from conform import FAKE, Judged, conform_bin, profile_of_fake, run as run_conform, tuck_bin
from tap import case, run

OPEN = "TO" "DO"
AREAS = ["handshake", "framing", "get", "put", "order", "close", "hostile"]


def cases_in(directory, text, name="a.case"):
    """A directory with one case file."""
    folder = os.path.join(directory, f"cases-{len(os.listdir(directory))}")
    os.mkdir(folder)
    with open(os.path.join(folder, name), "w") as file:
        file.write(text)
    return folder


def case_file(*statements, head="case T-01 MUST  something holds\nclause HS-1\nexplain Go ends.\n"):
    return "area test\n" + head + "".join(f"    {line}\n" for line in statements)


def said_by(directory, *statements, level="MUST", options=(), command=None):
    head = f"case T-01 {level}  something holds\nclause HS-1\nexplain Go ends.\n"
    folder = cases_in(directory, case_file(*statements, head=head))
    return run_conform(f"--cases={folder}", *options, "--", *(command or FAKE + ["--dir={dir}"]))


# -- options -----------------------------------------------------------------------------------------------------------
@case()
def help_names_every_option_and_list_shows_every_case(_directory):
    told = run_conform("--help")
    assert told.returncode == 0 and "--profile" in told.stdout and "{dir}" in told.stdout
    listed = run_conform("--list")
    assert listed.returncode == 0
    ids = [line.split()[0] for line in listed.stdout.splitlines()]
    assert len({one.split(".")[0] for one in ids}) == 122 and len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[HFGPOCX]-\d\d(\.\d)? +(MUST|SHOULD) +[A-Z]{2,3}-\d+\S* +\S.*", line)
               for line in listed.stdout.splitlines()), listed.stdout
    assert run_conform("--version").stdout.startswith("tuck-conform ")


@case()
def explain_has_the_clause_the_level_and_what_the_go_command_does(_directory):
    told = run_conform("--explain=P-05")
    assert told.returncode == 0 and "P-05 MUST" in told.stdout and "clause PT-5" in told.stdout, told.stdout
    assert "A published file MUST never be written" in re.sub(r"\s+", " ", told.stdout)
    assert "what the go command does" in told.stdout and "exit 2" in told.stdout
    assert "P-05.2 SHOULD" in told.stdout, "its companions are explained, too"
    for one in run_conform("--list").stdout.splitlines():
        told = run_conform(f"--explain={one.split()[0]}")
        assert told.returncode == 0 and len(told.stdout) > 200, one


@case()
def a_filter_takes_ids_letters_clauses_areas_levels_and_words(_directory):
    def listed(words):
        return [line.split()[0] for line in run_conform(f"--filter={words}", "--list").stdout.splitlines()]
    assert listed("P-05") == ["P-05", "P-05.2"] and listed("P-05.2") == ["P-05.2"]
    assert listed("O") == listed("order") and all(one.startswith("O-") for one in listed("O"))
    assert "H-01" in listed("HS-1") and "H-10" not in listed("HS-1")
    assert "F-20" in listed("64 mib") and len(listed("MUST")) + len(listed("SHOULD")) == len(listed("MUST,SHOULD"))
    assert run_conform("--filter=nonsense-word", "--list").returncode == 2


@case()
def wrong_usage_is_told_in_one_line_with_status_2(directory):
    for words in (["--nonsense"], ["--jobs=0", "--", "x"], ["--jobs=many", "--", "x"], ["--timeout-scale=-1", "--", "x"],
                  ["--env", "NAME", "--", "x"], [], ["--explain=Z-99"], ["--cases=/nonexistent", "--", "x"],
                  [f"--cases={directory}", "--", "x"], ["--profile=/nonexistent", "--", "x"], ["--filter"]):
        told = run_conform(*words)
        assert told.returncode == 2 and told.stderr.startswith("tuck-conform: ") and told.stderr.count("\n") == 1, (words, told)


@case()
def a_profile_with_an_unknown_key_is_told_with_its_line(directory):
    path = os.path.join(directory, "bad.profile")
    with open(path, "w") as file:
        file.write("; remark\nobjects = {dir}/*\nobjekts = {dir}/*\n")
    told = run_conform(f"--profile={path}", "--", *FAKE)
    assert told.returncode == 2 and f"{path}:3" in told.stderr, told


@case()
def a_helper_that_cannot_be_started_is_status_3(directory):
    text = os.path.join(directory, "text")
    with open(text, "w") as file:
        file.write("no program")
    os.chmod(text, 0o755)
    for command in (["/nonexistent/helper"], ["no-such-helper-anywhere"], [text], [directory], ["/bin/false"], ["/bin/true"]):
        told = run_conform("--", *command)
        assert told.returncode == 3 and "cannot be started" in told.stderr and not told.stdout, (command, told)


@case()
def a_helper_that_says_nothing_fails_its_handshake_and_hangs_nothing(_directory):
    began = time.monotonic()
    told = run_conform("--timeout-scale=0.2", "--", "/bin/sleep", "600")
    assert told.returncode == 1 and "1..2" in told.stdout and "not ok 1 - H-01" in told.stdout, told
    assert time.monotonic() - began < 60


# -- verdicts ----------------------------------------------------------------------------------------------------------
@case()
def tap_has_a_plan_one_line_for_each_case_and_reasons_as_remarks(directory):
    told = said_by(directory, "start", "get a => hit \"never put\"", "end")
    lines = told.stdout.splitlines()
    assert lines[0] == "TAP version 13" and lines[1] == "1..1", told.stdout
    assert told.returncode == 1 and "not ok 1 - T-01 MUST  something holds" in lines, told.stdout
    assert any("expected hit (9 bytes)" in line for line in lines), told.stdout
    assert any(re.search(r"h > .*Command.*get", line) for line in lines), "the last messages are shown"
    assert any("a.case:6" in line for line in lines), "the place in the case is shown"
    assert all(re.match(r"#|ok|not ok|1\.\.|TAP", line) for line in lines), told.stdout


@case()
def a_failed_should_is_a_todo_and_no_failure(directory):
    told = said_by(directory, "start", "get a => hit", "end", level="SHOULD")
    assert told.returncode == 0 and f"not ok 1 - T-01 SHOULD  something holds # {OPEN} SHOULD" in told.stdout, told.stdout
    assert "failed SHOULD: T-01" in told.stdout and "it conforms" in told.stdout


@case()
def what_breaks_every_conversation_is_a_must_in_a_should(directory):
    told = said_by(directory, "start", "get a => miss", "end", level="SHOULD", command=FAKE + ["--dir={dir}", "--fault=two-hellos"])
    assert told.returncode == 1 and OPEN not in told.stdout and "HS-4" in told.stdout, told.stdout
    assert "failed MUST: T-01" in told.stdout


@case()
def what_cannot_be_judged_is_skipped_with_the_reason(directory):
    told = said_by(directory, "need entries", "start")
    assert told.returncode == 0 and "ok 1 - T-01 MUST  something holds # SKIP not judged: needs a profile with entries" \
        in told.stdout, told.stdout


@case()
def the_table_adds_up(directory):
    judged = Judged(directory, [f"--profile={profile_of_fake(directory)}", "--filter=H-06,H-07,G-20,P-03,O-07"],
                    FAKE + ["--fault=lenient-ids", "--fault=upper-case-commands"])
    rows = {}
    for line in judged.done.stdout.splitlines():
        if match := re.fullmatch(r"# (\w+) +(\d+) +(\d+) +(\d+) +(\d+) +(\d+)", line):
            rows[match[1]] = [int(text) for text in match.groups()[1:]]
    assert set(rows) == {"handshake", "get", "put", "order", "all"} and set(rows) - {"all"} <= set(AREAS), judged.done.stdout
    assert [sum(row[i] for name, row in rows.items() if name != "all") for i in range(5)] == rows["all"]
    assert rows["all"] == [1, 1, 1, 2, 0] and judged.done.returncode == 1, rows


@case()
def json_says_the_same_as_tap(directory):
    judged = Judged(directory, [f"--profile={profile_of_fake(directory)}", "--filter=G-20,G-21,F-20"],
                    FAKE + ["--fault=lenient-ids"])
    assert judged.report["conforms"] is True and judged.report["SHOULD"]["failed"] == 1, judged.report
    assert judged.report["MUST"]["passed"] == sum(one["level"] == "MUST" for one in judged.cases.values())
    bad, good = judged.cases["G-20"], judged.cases["G-21"]
    assert bad["verdict"] == "failed" and bad["counts_as"] == "SHOULD" and bad["why"] and bad["explanation"], bad
    assert good["verdict"] == "passed" and good["clauses"] == ["GT-22"] and "why" not in good, good
    assert judged.cases["F-20.3"]["verdict"] == "not judged"


# -- processes ---------------------------------------------------------------------------------------------------------
@case()
def a_helper_that_hangs_is_given_up_and_nothing_is_left_running(directory):
    marker = f"--dir={directory}/marker-{{dir}}"
    began = time.monotonic()
    told = run_conform("--timeout-scale=0.3", "--filter=C-01,C-13,H-10", "--", *FAKE, marker, "--fault=ignores-eof",
                       "--fault=daemon")
    assert told.returncode == 1 and time.monotonic() - began < 120, told.stdout
    assert not [pid for pid in running() if f"{directory}/marker" in pid], "a helper is left running"


def running():
    """The command lines of all processes."""
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as file:
                found.append(file.read().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            pass
    return found


@case()
def an_interrupt_ends_everything_and_removes_its_directories(directory):
    folder = cases_in(directory, case_file("start", "nothing 60s", "end"))
    marker = f"--dir={directory}/interrupted-{{dir}}"
    process = subprocess.Popen([conform_bin(), f"--cases={folder}", "--", *FAKE, marker], stdout=subprocess.PIPE, text=True,
                               env=os.environ | {"TMPDIR": directory})
    process.stdout.readline()
    deadline = time.monotonic() + 20
    while not glob.glob(f"{directory}/tuck-conform-*/T-01/place/gocache/*") and time.monotonic() < deadline:
        time.sleep(0.01)  # until the helper of the case runs
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 1
    assert not glob.glob(f"{directory}/tuck-conform-*"), os.listdir(directory)
    assert not [line for line in running() if f"{directory}/interrupted" in line], "a helper is left running"


@case()
def nothing_of_the_users_settings_reaches_the_helper(directory):
    told = said_by(directory, "start", "put a \"hello\" -> p", "expect p put", "check $(path p) begins $(in \"{gocache}\")",
                   "end", command=[tuck_bin()], options=["--timeout-scale=4"])
    assert told.returncode == 0, told.stdout
    os.environ["TUCK_DIR"] = os.path.join(directory, "mine")
    try:
        told = said_by(directory, "start", "put a \"hello\"", "end", command=[tuck_bin()], options=["--timeout-scale=4"])
    finally:
        del os.environ["TUCK_DIR"]
    assert told.returncode == 0 and not os.path.exists(os.path.join(directory, "mine")), told.stdout


@case()
def cases_can_run_side_by_side_and_are_told_in_order(directory):
    judged = Judged(directory, [f"--profile={profile_of_fake(directory)}", "--filter=H-06,H-07,H-12,G-22,P-03,C-03"], FAKE, jobs=6)
    told = re.findall(r"^ok (\d+) - (\S+)", judged.done.stdout, re.M)
    assert [int(number) for number, _ in told] == list(range(1, len(judged.cases) + 1)), judged.done.stdout
    assert [name for _, name in told] == list(judged.cases)


# -- mistakes in case files --------------------------------------------------------------------------------------------
MISTAKES = {  # what is wrong: (text of the file, line, part of the message)
    "an unknown verb": (case_file("start", "fly away"), 6, "there is no verb or definition 'fly'"),
    "an unknown function": (case_file("put a $(nonsense 1)"), 5, "there is no function 'nonsense'"),
    "an open quote": (case_file('send "abc'), 5, "the quote is not closed"),
    "an open call": (case_file("put a $(len abc"), 5, "the ) of $(len is missing"),
    "a bare dollar": (case_file('put a "$ 5"'), 5, "a name or ( is missing behind $"),
    "a bad escape": (case_file('send "\\xzz"'), 5, "two hexadecimal digits"),
    "an unknown clause": (case_file("start", head="case T-01 MUST  t\nclause ZZ-1\nexplain e\n"), 3, "no clause 'ZZ-1'"),
    "no clause": (case_file("start", head="case T-01 MUST  t\nexplain e\n"), 2, "names no clause"),
    "no explanation": (case_file("start", head="case T-01 MUST  t\nclause HS-1\n"), 2, "explains nothing"),
    "no level": (case_file("start", head="case T-01 MAY  t\nclause HS-1\nexplain e\n"), 2, "MUST|SHOULD"),
    "no title": (case_file("start", head="case T-01 MUST\nclause HS-1\nexplain e\n"), 2, "has no title"),
    "no statement": (case_file(), 2, "does nothing"),
    "a case twice": (case_file("start") + "\n" + case_file("start")[10:], 7, "there is a case T-01 already"),
    "no area": ("case T-01 MUST  t\nclause HS-1\nexplain e\n    start\n", 1, "no area"),
    "too deep": (case_file("start", "    end"), 6, "indented too far"),
    "no block": (case_file("for a in 1 2", "start"), 5, "needs an indented block"),
    "a stray line": ("area test\nsomething else\n", 2, "begins nothing"),
    "no outcome": (case_file("get a =>"), 5, "an outcome is missing"),
    "wrong words of a definition": ("area test\ndefine twice A B\n    put $A $B\n" + case_file("twice one")[10:], 7,
                                    "takes 2 words, not 1"),
}


@case()
def mistakes_in_a_case_file_are_told_with_file_and_line(directory):
    for what, (text, line, message) in MISTAKES.items():
        folder = cases_in(directory, text)
        told = run_conform(f"--cases={folder}", "--list")
        assert told.returncode == 2, (what, told)
        assert f"a.case:{line}: " in told.stderr and message in told.stderr, (what, told.stderr)


RUNTIME_MISTAKES = {
    "start stdin=odd": "not started with 'stdin=odd'", "put a $nothing": "no variable $nothing",
    "get a nonsense=1": "a request has no 'nonsense=1'", "get a => maybe": "'maybe' is no outcome",
    "get a -NoField": "no field 'NoField'", "repeat abc": None, "expect nobody hit": "names no request",
    "check 1 about 2": "no comparison 'about'", "put a $(len)": "takes 1 to 1 words", "damage {dir} oddly": None,
    "need luck": "need for 'luck'", "signal XYZ": "no signal 'XYZ'", "x: get a": "no helper 'x'",
}


@case()
def mistakes_that_show_when_a_case_runs_are_told_with_file_and_line(directory):
    for statement, message in RUNTIME_MISTAKES.items():
        if message is None:
            continue
        first = [] if statement.startswith("start") else ["start"]
        told = said_by(directory, *first, statement)
        assert told.returncode == 2 and re.search(r"a\.case:[56]: ", told.stderr), (statement, told)
        assert message in told.stderr, (statement, told.stderr)


run(__name__)

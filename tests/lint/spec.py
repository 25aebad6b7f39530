# SPDX-License-Identifier: MIT
"""
protocol/SPEC.md against the tests and against tuck-conform: every clause names a case that exists, every case that a test
shows stands in a clause, every clause and every case of helpers is judged by tuck-conform, the clauses are numbered and
worded as section 1 of it promises, and its example conversation is right.
"""
import base64, glob, hashlib, json, os, re, subprocess, sys
import tree
from tap import case, run, skip

SPEC = "protocol/SPEC.md"
HELPER_CASES = {"H": 12, "F": 24, "G": 23, "P": 23, "O": 10, "C": 16, "X": 14}  # 122 for helpers
CLIENT_CASES = {"L": 44}
FAMILIES = ("HS", "FR", "GT", "PT", "OR", "CL", "HO", "CLI")

CLAUSE = re.compile(r"^- \*\*([A-Z]+)-(\d+)\*\* ", re.M)
CASES = re.compile(r"\[([A-Z]-\d\d(?:, [A-Z]-\d\d)*)\]$")
# A row of a table of tests in C: its ids, its name. Ids without a hyphen are not of the SPEC.
ROW = re.compile(r'\bCASE\(\s*"([^"]*)",\s*(\w+)\)')
CLAUSE_ID = re.compile(rf"\b(?:{'|'.join(FAMILIES)})-\d+\b")


def numbered(families):
    return {f"{letter}-{number:02}" for letter, count in families.items() for number in range(1, count + 1)}


def clauses(content):
    """Clause id → its text on one line. A clause ends where the next begins, at an empty line or at a heading."""
    found = []
    for match in CLAUSE.finditer(content):
        body = re.split(r"\n(?=- |\n|#)", content[match.start():], maxsplit=1)[0]
        found.append((f"{match[1]}-{match[2]}", " ".join(body.split())))
    return found


def cases_of(clause):
    ending = CASES.search(clause)
    return ending[1].split(", ") if ending else []


def form(content):
    """What is wrong with how the clauses are written."""
    found, last = [], {}
    for name, clause in clauses(content):
        family, number = name.rsplit("-", 1)
        if family not in FAMILIES:
            found.append(f"{name}: no such family of clauses")
        elif int(number) != last.get(family, 0) + 1:
            found.append(f"{name}: follows {family}-{last.get(family, 0)}; numbers run from 1 without gaps")
        last[family] = int(number)
        if not re.search(r"\b(MUST|SHOULD)\b", clause):
            found.append(f"{name}: says neither MUST nor SHOULD")
        if ("*Go:*" if family == "CLI" else "*Else:*") not in clause:
            found.append(f"{name}: does not say what the go command does")
        if not cases_of(clause):
            found.append(f"{name}: does not end with the cases that show it")
        for other in cases_of(clause):
            if other not in numbered(HELPER_CASES) | numbered(CLIENT_CASES):
                found.append(f"{name}: there is no case {other}")
            elif (family == "CLI") != other.startswith("L"):
                found.append(f"{name}: {other} is a case for the other side")
    known = {name for name, _ in clauses(content)}
    found += [f"{name} is mentioned and does not exist" for name in sorted(set(CLAUSE_ID.findall(content)) - known)]
    return found


def without_clause(content):
    named = {other for _, clause in clauses(content) for other in cases_of(clause)}
    return [f"{name}: no clause names this case"
            for name in sorted((numbered(HELPER_CASES) | numbered(CLIENT_CASES)) - named)]


def shown(root):
    """Id → the tests that show it, from the test programs themselves; and the programs that could not say."""
    by_id, broken = {}, []
    for program in sorted(glob.glob(os.path.join(root, "tests", "*", "test_*.py"))):
        path = os.path.relpath(program, root)
        if "from tap import" not in tree.text(root, path):
            continue
        done = subprocess.run([sys.executable, program, "--list"], capture_output=True, text=True, cwd=root,
                              env={**os.environ, "PYTHONPATH": tree.HARNESS})
        if done.returncode != 0:
            broken.append(f"{path} --list fails: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
        for line in done.stdout.splitlines():
            *ids, name = line.split()
            for one in ids:
                by_id.setdefault(one, []).append(f"{path}: {name}")
    for program in sorted(glob.glob(os.path.join(root, "tests", "*", "test_*.c"))):
        path = os.path.relpath(program, root)
        for ids, name in ROW.findall(tree.text(root, path)):
            for one in ids.split():
                if "-" in one:
                    by_id.setdefault(one, []).append(f"{path}: {name}")
    return by_id, broken


def unknown_ids(content, by_id):
    known = {name for name, _ in clauses(content)} | numbered(HELPER_CASES) | numbered(CLIENT_CASES)
    return [f"{where}: {one} is neither a case nor a clause of {SPEC}"
            for one, tests in sorted(by_id.items()) if one not in known for where in tests]


def not_shown(content, by_id, wanted):
    """Cases that no test shows, with the clauses that stay unproven by that."""
    named = {one: [name for name, clause in clauses(content) if one in cases_of(clause)] for one in wanted}
    return [f"{one} ({', '.join(named[one])}): no test shows this case" for one in sorted(wanted - set(by_id))]


# -- tuck-conform ------------------------------------------------------------------------------------------------------
JUDGED = "cmd/tuck-conform/cases"


def entries(root):
    """(place, id, level, clauses) of every case in the case files."""
    found = []
    for path in tree.files(root, ".case", under=(JUDGED,)):
        text = tree.text(root, path)
        for match in re.finditer(r"^case (\S+) +(MUST|SHOULD) .*\n((?:(?:clause|explain) .*\n)*)", text, re.M):
            named = re.findall(r"^clause (.*)", match[3], re.M)
            line = text.count("\n", 0, match.start()) + 1
            found.append((f"{path}:{line}", match[1], match[2], re.split(r"[, ]+", " ".join(named).strip())))
    return found


def misjudged(content, found):
    """Cases of tuck-conform that do not fit the specification."""
    texts, wrong = dict(clauses(content)), []
    for place, name, level, named in found:
        base = re.sub(r"\.\d+$", "", name)
        if base not in numbered(HELPER_CASES):
            wrong.append(f"{place}: there is no case {base}")
        unknown = [one for one in named if one not in texts or one.startswith("CLI-")]
        wrong += [f"{place}: {name} names {one}, which is no clause for helpers" for one in unknown]
        if unknown or not named:
            continue
        if base not in cases_of(texts[named[0]]):
            wrong.append(f"{place}: {named[0]} does not name {base}, which shows it")
        if level == "MUST" and not any(re.search(r"\bMUST\b", texts[one]) for one in named):
            wrong.append(f"{place}: {name} is a MUST, and none of its clauses has one")
    return wrong


def not_judged(content, found):
    """Clauses and cases that tuck-conform does not judge, and clauses with a MUST that it only takes for a SHOULD."""
    shown = {re.sub(r"\.\d+$", "", name) for _, name, _, _ in found}
    missing = [f"{one}: {JUDGED} has no such case" for one in sorted(numbered(HELPER_CASES) - shown)]
    for name, clause in clauses(content):
        levels = {level for _, _, level, named in found if name in named}
        if name.startswith("CLI-"):
            continue
        if not levels:
            missing.append(f"{name}: no case in {JUDGED} names this clause")
        elif re.search(r"\bMUST\b", clause) and "MUST" not in levels:
            missing.append(f"{name}: has a MUST, and all its cases in {JUDGED} are SHOULD")
    return missing


PEERS = "tests/conformance/PEERS.md"


def outdated(page, found):
    """What the table of relatives says of cases that are not, or are something else by now."""
    known, wrong = {name: (level, named) for _, name, level, named in found}, []
    rows = re.findall(r"^\| ([A-Z]-\d\d(?:\.\d+)?) \| (\w+) \| ([^|]+) \|(.*)\|$", page, re.M)
    for name, level, named, rest in rows:
        if name not in known:
            wrong.append(f"{PEERS}: there is no case {name}")
        elif (level, re.split(", ", named)) != known[name]:
            wrong.append(f"{PEERS}: {name} is a {known[name][0]} of {', '.join(known[name][1])} by now")
        if level == "MUST" and not re.search(rf"^### {re.escape(name)}$", page, re.M):
            wrong.append(f"{PEERS}: what a go command makes of {name} is not shown")
    wrong += [f"{PEERS}: there is no case {name}" for name in re.findall(r"^### (\S+)$", page, re.M) if name not in known]
    return wrong if rows else [f"{PEERS}: no table is found in it"]


def conversation(content):
    """What is wrong with the example: it must be what the clauses say, byte for byte."""
    block = re.search(r"```wire\n(.*?)```", content, re.S)
    if not block:
        return [f"{SPEC} has no example conversation"]
    found, stored, announced, waiting, due = [], {}, None, {}, None
    lines = block[1].splitlines()
    for number, line in enumerate(lines):
        where = f"line {number + 1} of the example"
        if not re.match(r"[HC] .*⏎$", line):
            found.append(f"{where}: not of the form H …⏎ or C …⏎")
            continue
        side, payload = line[0], line[2:-1]
        if side == "C" and not payload:
            continue
        if side == "C" and due is not None:
            raw = base64.b64decode(json.loads(payload), validate=True)
            digest = base64.b64encode(hashlib.sha256(raw).digest()).decode()
            if (len(raw), digest) != (due["BodySize"], due["OutputID"]):
                found.append(f"{where}: the body is not what its request says")
            due = None
        elif side == "C":
            request = json.loads(payload)
            if announced is None or request["Command"] not in announced:
                found.append(f"{where}: {request['Command']} was not announced")
            if lines[number + 1:number + 2] != ["C ⏎"]:
                found.append(f"{where}: no empty line follows the request")
            if payload != json.dumps(request, separators=(",", ":")):
                found.append(f"{where}: not the bytes that the go command writes")
            waiting[request["ID"]] = request
            due = request if request.get("BodySize") else None
            if request["Command"] == "put":
                stored[request["ActionID"]] = (request["OutputID"], request.get("BodySize", 0))
        else:
            answer = json.loads(payload)
            if announced is None:
                announced = answer["KnownCommands"]
                continue
            request = waiting.pop(answer["ID"], None)
            if request is None:
                found.append(f"{where}: answers a request that is not outstanding")
            elif request["Command"] == "get" and not answer.get("Miss"):
                if stored.get(request["ActionID"]) != (answer["OutputID"], answer.get("Size", 0)):
                    found.append(f"{where}: not the output that was put")
            if "DiskPath" in answer and request:
                output = base64.b64decode(stored[request["ActionID"]][0]).hex()
                if not answer["DiskPath"].replace("/", "").endswith(output):
                    found.append(f"{where}: the path is not that of the output")
    return found + [f"request {one} of the example is never answered" for one in waiting]


def spec():
    content = tree.text(tree.ROOT, SPEC)
    assert clauses(content), "no clause found: the lint does not understand the page"
    return content


@case()
def clauses_are_numbered_and_worded_as_promised(_directory):
    tree.expect_none(form(spec()))


@case()
def every_case_has_a_clause(_directory):
    tree.expect_none(without_clause(spec()))


@case()
def every_id_that_a_test_names_exists(_directory):
    by_id, broken = shown(tree.ROOT)
    tree.expect_none(broken + unknown_ids(spec(), by_id))


@case()
def every_helper_case_has_a_test(_directory):
    by_id, _ = shown(tree.ROOT)
    tree.expect_none(not_shown(spec(), by_id, numbered(HELPER_CASES)))


@case()
def every_client_case_has_a_test(_directory):
    if not os.path.isdir(os.path.join(tree.ROOT, "lib", "client")):
        skip("there is no client library yet")
    by_id, _ = shown(tree.ROOT)
    tree.expect_none(not_shown(spec(), by_id, numbered(CLIENT_CASES)))


@case()
def every_clause_and_every_case_of_helpers_is_judged_by_tuck_conform(_directory):
    found = entries(tree.ROOT)
    assert len(found) >= 122, "no case files found: the lint looks in the wrong place"
    tree.expect_none(not_judged(spec(), found))


@case()
def the_cases_of_tuck_conform_name_clauses_that_they_show(_directory):
    tree.expect_none(misjudged(spec(), entries(tree.ROOT)))


@case()
def a_case_that_does_not_fit_the_specification_is_found(directory):
    page = ("- **HS-1** It MUST speak.\n  *Else:* fatal. [H-01]\n- **HS-2** It SHOULD be quick. *Else:* —. [H-02]\n"
            "- **HS-3** It MUST be short. *Else:* —. [H-03]\n- **HS-4** It SHOULD end. *Else:* —. [H-04]\n"
            "- **CLI-1** It MUST listen. *Go:* does. [L-01]\n")
    tree.plant(directory, f"{JUDGED}/a.case", "area a\n"
               "case H-01 MUST  fine\nclause HS-1\nexplain e\n    start\n"
               "case H-02 MUST  too strict\nclause HS-2\nexplain e\n    start\n"
               "case H-03.2 SHOULD  too lenient\nclause HS-3, HS-9\nexplain e\n    start\n"
               "case H-05 SHOULD  elsewhere\nclause HS-2\nexplain e\n    start\n"
               "case Z-01 SHOULD  nowhere\nclause CLI-1\nexplain e\n    start\n")
    found = entries(directory)
    tree.expect(misjudged(page, found), "H-02 is a MUST", "HS-9, which is no clause", "HS-2 does not name H-05",
                "no case Z-01", "CLI-1, which is no clause")
    missing = not_judged(page, found)
    assert len(missing) == 122 - 4 + 2, missing
    assert any("HS-4: no case" in text for text in missing) and any("HS-3: has a MUST" in text for text in missing), missing


@case()
def the_table_of_relatives_names_cases_that_exist_as_they_are(_directory):
    found = entries(tree.ROOT)
    page = tree.text(tree.ROOT, PEERS)
    tree.expect_none(outdated(page, found))
    shown = "| X-01 | MUST | HO-1 | title | passes | **fails** |\n\n### X-01\n"
    now = [("place", "X-01", "MUST", ["HO-1"])]
    assert not outdated(shown, now), outdated(shown, now)
    for before, after, finding in (("X-01", "X-02", "no case X-02"), ("MUST", "SHOULD", "is a MUST of HO-1"),
                                   ("HO-1", "HO-2", "is a MUST of HO-1"), ("### X-01", "", "is not shown"),
                                   ("### X-01", "### X-01\n### X-03", "no case X-03"), ("| X-01", "X-01", "no table")):
        assert any(finding in one for one in outdated(shown.replace(before, after), now)), (before, after)


@case()
def the_example_conversation_is_right(_directory):
    tree.expect_none(conversation(spec()))


@case()
def faults_in_a_specification_are_found(directory):
    page = ("- **HS-1** The helper MUST speak.\n  *Else:* fatal. [H-01, H-02]\n"
            "- **HS-3** It SHOULD be quick. *Else:* —. [H-03]\n"            # a number is missing
            "- **HS-4** It is polite. *Else:* —. [H-04]\n"                  # no obligation
            "- **HS-5** It MUST whisper. [H-05]\n"                          # no consequence
            "- **HS-6** It MUST shout; see GT-9. *Else:* fatal.\n\n"        # no case, and a clause that is not there
            "- **CLI-1** It MUST listen. *Go:* does. [H-06, L-99]\n")       # the other side's case, and no case
    tree.expect(form(page), "HS-3", "HS-4", "HS-5", "HS-6", "GT-9", "CLI-1: H-06", "CLI-1: there is no case L-99")
    assert len(without_clause(page)) == 122 + 44 - 6
    by_id = {"H-01": ["a"], "H-77": ["b"], "HS-1": ["c"], "HS-9": ["d"]}
    tree.expect(unknown_ids(page, by_id), "H-77", "HS-9")
    tree.expect(not_shown(page, by_id, {"H-01", "H-02", "H-03"}), "H-02 (HS-1): no test", "H-03 (HS-3): no test")
    tree.plant(directory, "tests/conformance/test_a.py", "from tap import case, run\n@case('H-01', 'P-05')\n"
                                                         "def a_test(directory): pass\nrun(__name__)\n")
    tree.plant(directory, "tests/conformance/test_b.py", "from tap import nothing\n")
    tree.plant(directory, "tests/client/test_c.c", 'CASE("L-01 PT3", short),\n    CASE("L-02",\n         long_one),\n')
    by_id, broken = shown(directory)
    assert sorted(by_id) == ["H-01", "L-01", "L-02", "P-05"], by_id
    assert len(broken) == 1 and "test_b.py" in broken[0], broken


@case()
def faults_in_an_example_are_found(_directory):
    content = spec()
    for before, after, finding in (('C "aGVsbG8="', 'C "aGVsbHA="', "not what its request says"),
                                   ('"ID":4,"OutputID"', '"ID":6,"OutputID"', "not outstanding"),
                                   ('H {"ID":5}⏎\n', "", "request 5 of the example is never answered"),
                                   ('"close"}⏎\nC ⏎\n', '"close"}⏎\n', "no empty line"),
                                   ('"Size":5,', "", "not the output that was put")):
        assert content.count(before) == 1, before
        assert any(finding in one for one in conversation(content.replace(before, after))), finding


run(__name__)

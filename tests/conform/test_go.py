# SPDX-License-Identifier: MIT
"""
The table of protocol/SPEC.md says what real go commands do with each misbehaviour, and nothing else than what they do: a
sample with the go command on PATH, with TUCK_TEST_LONG=1 all of it with all versions that can be had.
"""
import os

import go_table
from tap import case, run, skip
from world import Go

LONG = os.environ.get("TUCK_TEST_LONG") == "1"
# Quick ones: a start that fails, a fatal answer, a miss that is fatal, a hit that should be none, the end.
SAMPLE = "L-01.3,L-05.2,L-11,L-17,L-22.4,L-25.2,L-29.6,L-30.2,L-32.5,L-32.8"


def differences(directory, version):
    """Rows that a run of this version does not bear out; None where it has no column."""
    go = Go(version)
    if go.missing:
        skip(go.missing)
    with open(go_table.PAGE, encoding="utf-8") as file:
        rows, versions = go_table.rows(file.read())
    name = ".".join(go_table.version_of(go).removeprefix("go").split(".")[:2])
    if name not in versions:
        skip(f"the table has no Go {name}; tests/conform/go_table.py --write adds it")
    told = {case_id: text for case_id, _, covered, text in rows if name in covered}
    found = go_table.judged(go, directory, [] if LONG else [f"--filter={SAMPLE}"])
    assert len(found) >= 10, sorted(found)
    return [f"{one}: the table has '{told.get(one)}', and Go {name} does: {go_table.cell(record)}"
            for one, record in found.items()
            if go_table.kind(record) != told.get(one, "").removesuffix(" †").split(",")[0]]


def go_case(version):
    def the_table_is_what_the_go_command_does(directory):
        if version != "local" and not LONG:
            skip("takes long; set TUCK_TEST_LONG=1")
        found = differences(directory, version)
        assert not found, "\n".join(found)
    the_table_is_what_the_go_command_does.__name__ += f"_with_{'the_local_go' if version == 'local' else version}"
    case(limit=3600 if LONG else 600)(the_table_is_what_the_go_command_does)


for version_ in go_table.VERSIONS:
    go_case(version_)


@case()
def a_row_tells_how_a_run_ended(_directory):
    def record(verdict="passed", title="x: y", **run):
        return {"verdict": verdict, "title": title,
                "run": {"end": "exit", "status": 0, "warm": True, "made": 0, "bent": 1, "printed": "", **run}}
    for one, text in ((record(), "takes the hits"), (record(made=3), "builds anew: no hit"), (record(bent=0), "builds"),
                      (record(verdict="failed"), "takes the hits †"), (record(status=70), "builds a program that does not run"),
                      (record(end="forced", printed="# still waiting\\nx"), "does not end, `# still waiting`"),
                      (record(status=1, printed="no | `luck`\\nmore"), "exit 1, `no ¦ 'luck'`"),
                      (record(end="signal", status=11), "dies by a signal"),
                      (record(status=137, title="killed: the client is"), "is killed")):
        assert go_table.cell(one) == text, (go_table.cell(one), text)


run(__name__)

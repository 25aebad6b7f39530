# SPDX-License-Identifier: MIT
"""Every case of the conformance list has a test here, and every test names cases that exist."""
import glob, os, subprocess, sys

HERE = os.path.dirname(os.path.abspath(__file__))
HARNESS = os.path.join(os.path.dirname(HERE), "harness")
sys.path.insert(0, HARNESS)

from tap import case, run  # noqa: E402

COUNTS = {"H": 12, "F": 24, "G": 23, "P": 23, "O": 10, "C": 16, "X": 14}
CASES = [f"{letter}-{number:02}" for letter, count in COUNTS.items() for number in range(1, count + 1)]
FILES = {"H": "test_handshake.py", "F": "test_framing.py", "G": "test_get.py", "P": "test_put.py", "O": "test_order.py",
         "C": "test_close.py", "X": "test_hostile.py"}


def shown_in(folder):
    """(file, test, its cases) for every test of a folder, as its programs tell."""
    found = []
    for path in sorted(glob.glob(os.path.join(folder, "test_*.py"))):
        done = subprocess.run([sys.executable, path, "--list"], capture_output=True, text=True,
                              env=os.environ | {"PYTHONPATH": HARNESS})
        assert done.returncode == 0, f"{os.path.basename(path)} --list: {done.stderr}"
        for line in done.stdout.splitlines():
            *ids, name = line.split()
            found.append((os.path.basename(path), name, ids))
    return found


def without_test(shown):
    have = {one for _, _, ids in shown for one in ids}
    return [f"{one}: no test shows this case" for one in CASES if one not in have]


def misnamed(shown):
    """Tests without a case, and with one that does not exist."""
    return ([f"{file}: {name} names no case" for file, name, ids in shown if not ids]
            + [f"{file}: {name} names {one}, which is no case" for file, name, ids in shown
               for one in ids if one not in CASES])


def in_the_wrong_file(shown):
    """The first case that a test names says what it is about, and so in which file it is looked for."""
    return [f"{file}: {name} is about {ids[0]} and belongs into {FILES[ids[0][0]]}"
            for file, name, ids in shown if ids and ids[0] in CASES and FILES[ids[0][0]] != file]


def expect_none(findings):
    assert not findings, f"{len(findings)} findings:\n" + "\n".join(findings)


@case()
def every_case_has_a_test(_directory):
    assert len(CASES) == 122
    shown = shown_in(HERE)
    print(f"# {len(shown)} tests for {len(CASES)} cases")
    expect_none(without_test(shown))


@case()
def every_test_names_cases_that_exist(_directory):
    expect_none(misnamed(shown_in(HERE)))


@case()
def every_test_stands_in_the_file_of_its_first_case(_directory):
    expect_none(in_the_wrong_file(shown_in(HERE)))


@case()
def a_missing_case_and_a_wrong_one_are_found(directory):
    with open(os.path.join(directory, "test_get.py"), "w") as file:
        file.write("from tap import case, run\n"
                   "@case(*[f'G-{n:02}' for n in range(1, 24) if n != 7])\ndef most(directory): pass\n"
                   "@case('G-24', 'G-01')\ndef too_far(directory): pass\n"
                   "@case()\ndef idle(directory): pass\n"
                   "@case('P-01')\ndef strayed(directory): pass\nrun(__name__)\n")
    shown = shown_in(directory)
    missing = without_test(shown)
    assert len(missing) == 122 - 22 - 1 and missing[0].startswith("H-01") and any("G-07" in text for text in missing)
    wrong = misnamed(shown)
    assert len(wrong) == 2 and "idle" in wrong[0] and "G-24" in wrong[1], wrong
    assert [text for text in in_the_wrong_file(shown) if "strayed" in text] and len(in_the_wrong_file(shown)) == 1


run(__name__)

# SPDX-License-Identifier: MIT
"""
tuck is made of four systems. tests/README.md says for each of their behaviours which test shows it: here it is seen
to that none is missing from the tables and that every test named there exists.
"""
import os, re
import tree
from tap import case, run

TABLES = "tests/README.md"
WANTED = {"MT": 19, "LT": 15, "TT": 15}  # behaviours of the disk cache, the write-back cache, the expiring tables
ROW = re.compile(r"^\| *([A-Z]+\d+)\b[^|]*\|(.*)\|\s*$", re.M)
# A test is a sentence: three words at least.
NAME = re.compile(r"`([a-z0-9]+(?:_[a-z0-9]+){2,})`")


def rows(text):
    """{behaviour: [the rest of each of its rows]}."""
    found = {}
    for name, rest in ROW.findall(text):
        found.setdefault(name, []).append(rest)
    return found


def tests_of(root):
    """The names of all tests: functions in C and Python below tests/."""
    names = set()
    for path in tree.files(root, ".c", ".py", under=("tests",)):
        text = tree.text(root, path) or ""
        names |= set(re.findall(r"^(?:def |static void |)([a-z0-9_]+)\(", text, re.M))
    return names


def findings(root):
    text = tree.text(root, TABLES) or ""
    shown, names, found = rows(text), tests_of(root), []
    for letters, count in WANTED.items():
        for number in range(1, count + 1):
            if f"{letters}{number}" not in shown:
                found.append(f"{TABLES}: no row for {letters}{number}")
    for behaviour, rests in shown.items():
        for rest in rests:
            if not rest.strip():
                found.append(f"{TABLES}: {behaviour} names nothing")
            found += [f"{TABLES}: {behaviour} names {name}, which is no test"
                      for name in NAME.findall(rest) if name not in names]
    return found


@case()
def every_behaviour_of_the_seeds_names_tests_that_exist(_directory):
    tree.expect_none(findings(tree.ROOT))


@case()
def a_behaviour_without_a_row_and_a_test_that_is_gone_are_found(directory):
    every = "".join(f"| {letters}{number} | `a_test_that_exists` |\n"
                    for letters, count in WANTED.items() for number in range(1, count + 1))
    tree.plant(directory, "tests/unit/test_a.c", "static void a_test_that_exists(void **state) {\n}\n")
    tree.plant(directory, TABLES, every)
    tree.expect_none(findings(directory))
    tree.plant(directory, TABLES, every.replace("| LT3 | `a_test_that_exists` |\n", "")
               .replace("| MT4 | `a_test_that_exists`", "| MT4 | `a_test_that_is_gone`").replace(
                   "| TT2 | `a_test_that_exists` |", "| TT2 |  |"))
    tree.expect(findings(directory), "no row for LT3", "MT4 names a_test_that_is_gone", "TT2 names nothing")


run(__name__)

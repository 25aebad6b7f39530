# SPDX-License-Identifier: MIT
"""
A module that has outgrown one reading is split, not scrolled: no .c file above 1,200 lines. Those on the way there are
named in a comment, which fails nothing.
"""
import tree
from tap import case, run

LIMIT, NEAR = 1200, 1000


def lengths(root):
    """(lines, path) of every C file, longest first."""
    return sorted(((len(tree.text(root, path).splitlines()), path) for path in tree.files(root, ".c")), reverse=True)


def too_long(root):
    return [f"{path} has {lines} lines, more than {LIMIT}" for lines, path in lengths(root) if lines > LIMIT]


@case()
def no_source_file_has_outgrown_one_reading(_directory):
    for lines, path in lengths(tree.ROOT):
        if NEAR < lines <= LIMIT:
            print(f"# {path} has {lines} lines, soon too many")
    tree.expect_none(too_long(tree.ROOT))


@case()
def a_file_above_the_limit_is_found_and_one_at_the_limit_is_not(directory):
    tree.plant(directory, "lib/a/long.c", "int a;\n" * (LIMIT + 1))
    tree.plant(directory, "lib/a/full.c", "int a;\n" * LIMIT)
    tree.expect(too_long(directory), "lib/a/long.c")


run(__name__)

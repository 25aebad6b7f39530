# SPDX-License-Identifier: MIT
"""
The C sources are as clang-format leaves them, by the rules of .clang-format. Where the program is absent, skipped:
versions differ in small things, so that only the one that the project is formatted with decides.
"""
import os, shutil, subprocess
import tree
from tap import case, need_program, run

FOLDERS = ("cmd", "lib", "protocol", "tests")


def unformatted(root):
    found = []
    for path in tree.files(root, ".c", ".h", under=FOLDERS):
        done = subprocess.run(["clang-format", "--style=file", "--dry-run", "-Werror", path],
                              cwd=root, capture_output=True, text=True)
        if done.returncode != 0:
            places = [line.split(":")[1] for line in done.stderr.splitlines() if ": error:" in line]
            where = "lines " + ", ".join(dict.fromkeys(places)) if places else done.stderr.strip()
            found.append(f"{path}: {where}")
    return found


@case()
def every_source_file_is_formatted(_directory):
    need_program("clang-format")
    version = subprocess.run(["clang-format", "--version"], capture_output=True, text=True).stdout.strip()
    print(f"# {version}; mend with: clang-format -i $(git ls-files '*.c' '*.h')")
    tree.expect_none(unformatted(tree.ROOT))


@case()
def a_file_with_other_indentation_is_found(directory):
    need_program("clang-format")
    shutil.copy(os.path.join(tree.ROOT, ".clang-format"), directory)
    tree.plant(directory, "lib/a/good.c", "int good(void) {\n    return 0;\n}\n")
    tree.plant(directory, "lib/a/odd.c", "int odd(void)\n{\n  return 0;\n}\n")
    tree.expect(unformatted(directory), "lib/a/odd.c")


run(__name__)

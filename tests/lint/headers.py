# SPDX-License-Identifier: MIT
"""
Every header can be included alone, twice, and first; every source file says its licence; every header has its guard.
"""
import os, re, shlex, shutil, subprocess
import tree
from tap import case, run, skip

LICENCE = "SPDX-License-Identifier: MIT"
SOURCES = (".c", ".h", ".inc", ".py", ".sh", ".build")
INSTALLED = "lib/include/"  # these may not lean on the prelude, and are read by older compilers
STRICT = ("-Werror=implicit-function-declaration", "-Werror=implicit-int", "-Werror=int-conversion")


def compiler():
    """The compiler as a list of words: that of the environment, else gcc, else cc."""
    words = shlex.split(os.environ.get("CC", "")) or ["gcc"]
    found = words if shutil.which(words[0]) else ["cc"]
    return found if shutil.which(found[0]) else None


def needs_packages(content):
    """The compiler's flags for the libraries whose headers a file names, where they are not in the usual place."""
    packages = {"jansson.h": "jansson", "openssl/": "libcrypto", "cmocka.h": "cmocka", "ini.h": "inih"}
    wanted = sorted({package for header, package in packages.items() if f"<{header}" in content})
    if not wanted or not shutil.which("pkg-config"):
        return []
    answer = subprocess.run(["pkg-config", "--cflags", *wanted], capture_output=True, text=True)
    return answer.stdout.split() if answer.returncode == 0 else []


def alone(root, cc, path):
    """Compiles a file that has nothing but this header in it, twice; returns the compiler's complaint or None."""
    prelude = os.path.join(root, "lib/base/prelude.h")
    flags = ["-std=gnu17", "-D_GNU_SOURCE", "-I", root]
    if os.path.isdir(os.path.join(root, INSTALLED)):
        flags += ["-I", os.path.join(root, INSTALLED)]
    if path.startswith(INSTALLED):
        flags[0] = "-std=c11"
    elif os.path.exists(prelude):
        flags += ["-include", prelude]
    line = f'#include "{path}"\n'
    command = [*cc, *flags, *STRICT, *needs_packages(tree.text(root, path)), "-fsyntax-only", "-x", "c", "-"]
    done = subprocess.run(command, input=line + line, capture_output=True, text=True, cwd=root)
    return None if done.returncode == 0 else done.stderr.strip()


def not_alone(root, cc):
    return [f"{path} does not compile alone:\n{why}" for path in tree.files(root, ".h")
            if (why := alone(root, cc, path)) is not None]


def without_licence(root):
    """The line stands first, or second below #!."""
    return [f"{path}: no line with {LICENCE} at the top" for path in tree.files(root, *SOURCES)
            if not any(LICENCE in line for line in (tree.text(root, path) or "").splitlines()[:2])]


def without_guard(root):
    found = []
    for path in tree.files(root, ".h"):
        content = tree.text(root, path)
        if path.startswith(INSTALLED):
            name = re.sub(r"\W", "_", path.removeprefix(INSTALLED)).upper()
            if f"#ifndef {name}\n#define {name}\n" not in content:
                found.append(f"{path}: an installed header needs the guard {name}")
        elif content.count("#pragma once\n") != 1:
            found.append(f"{path}: an internal header has #pragma once, once")
        elif re.search(r"^\s*#\s*(include|define|if)", content.split("#pragma once")[0], re.M):
            found.append(f"{path}: #pragma once stands before everything that the compiler reads")
    return found


@case()
def every_header_compiles_alone_and_twice(_directory):
    cc = compiler() or skip("no C compiler")
    tree.expect_none(not_alone(tree.ROOT, cc))


@case()
def every_source_file_names_its_licence(_directory):
    tree.expect_none(without_licence(tree.ROOT))


@case()
def every_header_is_guarded(_directory):
    tree.expect_none(without_guard(tree.ROOT))


@case()
def a_header_that_leans_on_its_includer_is_found(directory):
    cc = compiler() or skip("no C compiler")
    tree.plant(directory, "lib/base/prelude.h", "#pragma once\n#include <stddef.h>\n")
    tree.plant(directory, "lib/a/good.h", 
               "#pragma once\n#include <stdint.h>\nstruct good { uint8_t *at; size_t len; };\n")
    tree.plant(directory, "lib/a/leans.h", "#pragma once\nstruct leans { uint8_t *at; };\n")
    tree.plant(directory, "lib/a/unguarded.h", "struct unguarded { int a; };\n")
    tree.plant(directory, "lib/include/tuck/prelude-needed.h",
               "#ifndef A\n#define A\nstruct prelude_needed { size_t len; };\n#endif\n")
    tree.expect(not_alone(directory, cc), "leans.h", "unguarded.h", "prelude-needed.h")


@case()
def a_missing_licence_or_guard_is_found(directory):
    tree.plant(directory, "lib/a/good.h", "// SPDX-License-Identifier: MIT\n#pragma once\n")
    tree.plant(directory, "lib/a/bare.h", "struct bare;\n")
    tree.plant(directory, "lib/a/late.h", "// SPDX-License-Identifier: MIT\n#include <stdio.h>\n#pragma once\n")
    tree.plant(directory, "lib/include/tuck/fine.h",
               "// SPDX-License-Identifier: MIT\n#ifndef TUCK_FINE_H\n#define TUCK_FINE_H\n#endif\n")
    tree.plant(directory, "lib/include/tuck/poor.h", "// SPDX-License-Identifier: MIT\n#pragma once\n")
    tree.plant(directory, "tests/run.sh", "#!/bin/sh\n# SPDX-License-Identifier: MIT\n")
    tree.expect(without_licence(directory), "lib/a/bare.h")
    tree.expect(without_guard(directory), "lib/a/bare.h", "lib/a/late.h", "TUCK_POOR_H")


run(__name__)

# SPDX-License-Identifier: MIT
"""
Proves the direction of dependencies from the #include lines: what a layer may use is the table below and nothing
else. Which module a file belongs to is its folder.
"""
import os, re
import tree
from tap import case, run

# A module may include itself and what is listed. Modules that do not exist yet have their place here already.
ALLOWED = {
    "lib/serve": {"lib/cache", "protocol", "lib/base"},
    "lib/cache": {"lib/index", "lib/store", "lib/remote", "lib/table", "lib/lru", "lib/base"},
    "lib/client": {"protocol", "lib/include", "lib/base"},
    "lib/index": {"lib/lru", "lib/base"},
    "lib/store": {"lib/lru", "lib/table", "lib/base"},
    "lib/remote": {"lib/table", "lib/include", "lib/base"},
    "lib/lru": {"lib/base"},
    "lib/table": {"lib/base"},
    "protocol": {"lib/base"},
    "lib/base": set(),
    "lib/include": set(),  # installed headers stand on their own
}
ANYTHING = ("cmd", "tests")  # nobody includes from there, so they may include from anywhere
INCLUDE = re.compile(r'^[ \t]*#[ \t]*(?:include|include_next|import|embed)[ \t]*([<"])([^>"\n]+)[>"]', re.M)


def module(path):
    parts = path.split("/")
    return "/".join(parts[:2]) if parts[0] == "lib" else parts[0]


def resolve(root, includer, name):
    """The project file that an include line means, as the compiler would look it up; None for a system header."""
    for base in (os.path.dirname(includer), "", "lib/include"):
        path = os.path.normpath(os.path.join(base, name))
        if not path.startswith("..") and os.path.isfile(os.path.join(root, path)):
            return path
    return None


def findings(root):
    found = []
    for path in tree.files(root, ".c", ".h", ".inc", under=("lib", "protocol")):
        own = module(path)
        if own not in ALLOWED:
            found.append(f"{path}: module {own} has no place in the table of layers")
            continue
        content = tree.text(root, path)
        for match in INCLUDE.finditer(content):
            line = content.count("\n", 0, match.start()) + 1
            quote, name = match.groups()
            target = resolve(root, path, name)
            if target is None:
                if quote == '"' or name.startswith(("lib/", "protocol/", "cmd/", "tests/")):
                    found.append(f"{path}:{line}: {name} is no file of the project; system headers take <>")
            elif module(target) != own and module(target) not in ALLOWED[own]:
                found.append(f"{path}:{line}: {own} may not include {target}")
    return found


# What judges helpers must not share the server's code, and so its mistakes.
JUDGE, JUDGE_MAY = "cmd/tuck-conform", ("cmd/tuck-conform/", "lib/base/", "protocol/base64.h")


def judge_findings(root):
    found = []
    for path in tree.files(root, ".c", ".h", under=(JUDGE,)):
        for match in INCLUDE.finditer(tree.text(root, path)):
            target = resolve(root, path, match[2])
            if target and not target.startswith(JUDGE_MAY):
                found.append(f"{path} may not include {target}: it judges that code")
    return found


def reachable(start):
    seen, left = set(), list(ALLOWED[start])
    while left:
        name = left.pop()
        if name not in seen:
            seen.add(name)
            left += ALLOWED.get(name, ())
    return seen


@case()
def includes_point_down_the_layers_only(_directory):
    assert tree.files(tree.ROOT, ".c", under=("lib",)), "no source file found: the lint looks in the wrong place"
    tree.expect_none(findings(tree.ROOT))


@case()
def what_judges_helpers_shares_no_code_with_the_server(directory):
    assert tree.files(tree.ROOT, ".c", under=(JUDGE,)), "no source file found: the lint looks in the wrong place"
    tree.expect_none(judge_findings(tree.ROOT))
    for header in ("lib/base/error.h", "lib/serve/serve.h", "protocol/frame.h", "cmd/tuck-conform/a.h"):
        tree.plant(directory, header, "#pragma once\n")
    tree.plant(directory, "cmd/tuck-conform/a.c", '#include "cmd/tuck-conform/a.h"\n#include "lib/base/error.h"\n'
                                                  '#include "protocol/frame.h"\n#include "lib/serve/serve.h"\n')
    tree.expect(judge_findings(directory), "protocol/frame.h", "lib/serve/serve.h")


@case()
def the_table_of_layers_has_no_cycle(_directory):
    for name in ALLOWED:
        assert name not in reachable(name), f"{name} may include itself through others"
        assert not ALLOWED[name] & set(ANYTHING), f"{name} may include programs or tests"
        assert ALLOWED[name] <= set(ALLOWED), f"{name} may include a module that is not in the table"


@case()
def an_include_that_points_up_or_sideways_is_found(directory):
    for header in ("lib/cache/cache.h", "lib/index/index.h", "lib/base/error.h", "protocol/frame.h", "tests/fake.h",
                   "lib/include/tuck/client.h", "cmd/tuck/options.h", "lib/odd/odd.h"):
        tree.plant(directory, header, "#pragma once\n")
    tree.plant(directory, "lib/store/store.c", '#include "lib/base/error.h"\n#include <stdio.h>\n'
                                               '  # include "lib/index/index.h"\n')      # sideways
    tree.plant(directory, "lib/base/io.c", '#include "error.h"\n#include "../cache/cache.h"\n')  # up
    tree.plant(directory, "protocol/frame.c", '#include "protocol/frame.h"\n#include <lib/cache/cache.h>\n')
    tree.plant(directory, "lib/cache/cache.c", '#include "lib/index/index.h"\n#include "tests/fake.h"\n'
                                               '#include "cmd/tuck/options.h"\n#include "gone.h"\n')
    tree.plant(directory, "lib/client/client.c", '#include "tuck/client.h"\n#include "protocol/frame.h"\n')
    tree.plant(directory, "cmd/tuck/main.c", '#include "lib/cache/cache.h"\n#include "lib/index/index.h"\n')
    tree.expect(findings(directory), "lib/store/store.c:3: lib/store may not include lib/index/index.h",
                "lib/base/io.c:2: lib/base may not include lib/cache/cache.h",
                "protocol/frame.c:2: protocol may not include lib/cache/cache.h",
                "lib/cache/cache.c:2: lib/cache may not include tests/fake.h",
                "lib/cache/cache.c:3: lib/cache may not include cmd/tuck/options.h",
                "lib/cache/cache.c:4: gone.h is no file of the project",
                "lib/odd/odd.h: module lib/odd has no place")


run(__name__)

# SPDX-License-Identifier: MIT
"""
The recipes of cmd/recipes, as a user of each build system runs them: a second build from nothing compiles nothing, and
all of them build without tuck too. tuck is found by its name on PATH, as in real life.
"""
import os, re, shutil, subprocess, sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import world  # noqa: E402
from world import LIMIT, World, toolchain, tuck_bin  # noqa: E402
import tap  # noqa: E402

RECIPES = os.path.join(os.path.dirname(os.path.dirname(HERE)), "cmd", "recipes")
PROJECT = {
    "go.mod": "module example.org/hello\n\ngo 1.24\n",
    "app/main.go": 'package main\n\nfunc main() { println("hello") }\n',
    "app/main_test.go": 'package main\n\nimport "testing"\n\nfunc TestNothing(*testing.T) {}\n',
    "greet.c": '#include <stdio.h>\nint main(void) { return puts("greetings") < 0; }\n',
}
# Each: the file of the recipe, the programs it needs, the commands from nothing to built, and where the programs are.
SYSTEMS = {
    "make": ("Makefile", ["make", "cc"], [["make"]], "."),
    "meson": ("meson.build", ["meson", "ninja", "cc"], [["meson", "setup", "out"], ["ninja", "-C", "out"]], "out"),
    "cmake": ("CMakeLists.txt", ["cmake", "cc"], [["cmake", "-B", "out"], ["cmake", "--build", "out"]], "out"),
}


def project(directory, system):
    """A user's machine with the project and, on PATH, the tuck under test."""
    if os.environ.get("TUCK_HELPER"):
        tap.skip("recipes are about tuck")
    file, needed, commands, where = SYSTEMS[system]
    for name in needed:
        tap.need_program(name)
    user = World(directory, toolchain("local"), module=PROJECT)
    shutil.copy(os.path.join(RECIPES, system, file), user.source)
    os.symlink(tuck_bin(), user.path("bin", "tuck"))
    user.extra = {"GOCACHEPROG": None, "PATH": user.path("bin") + ":" + user.environment()["PATH"]}
    return user, commands, os.path.join(user.source, where)


def run(user, *command, **env):
    return user.finish(user.start(list(command), env=env or None))


def build(user, commands, where, **env):
    shutil.rmtree(os.path.join(user.source, "out"), ignore_errors=True)
    for name in ("hello", "greet"):
        path = os.path.join(user.source, name)
        if os.path.exists(path):
            os.unlink(path)
    for command in commands:
        run(user, *command, **env)
    for name, says in (("hello", "hello\n"), ("greet", "greetings\n")):
        assert user.output_of(os.path.join(where, name)) == says, name


def puts(user):
    import json
    told = subprocess.run([tuck_bin(), "stats", "--json"], env=user.environment(), capture_output=True, text=True,
                          timeout=LIMIT)
    assert told.returncode == 0, told
    counters = json.loads(told.stdout)["counters"]
    return counters["gets"], counters["bytes_written"]


def each_system(function):
    for system in SYSTEMS:
        def one(directory, system=system):
            function(directory, system)
        one.__name__ = f"{function.__name__}_with_{system}"
        tap.case(limit=2 * LIMIT)(one)
    return function


@each_system
def a_second_build_from_nothing_compiles_nothing(directory, system):
    user, commands, where = project(directory, system)
    build(user, commands, where)
    gets, written = puts(user)
    assert gets > 0, "no go command asked tuck"
    build(user, commands, where)
    again, written_again = puts(user)
    assert again > gets and written_again == written, "something was compiled again"


@each_system
def the_project_builds_without_tuck_too(directory, system):
    user, commands, where = project(directory, system)
    os.unlink(user.path("bin", "tuck"))
    before = puts(user)
    build(user, commands, where)
    assert puts(user) == before


@each_system
def nothing_has_to_be_changed_to_build_through_tuck_exec(directory, system):
    user, commands, where = project(directory, system)
    os.unlink(user.path("bin", "tuck"))  # so that the recipe itself does not find it
    before, _ = puts(user)
    for command in commands:
        told = user.finish(user.start([tuck_bin(), "exec", "--", *command]), quiet=False)
    assert re.search(r"^tuck: \d+ helpers, [1-9]\d* gets, ", told.err, re.M), told.err
    assert puts(user)[0] > before


@tap.case(limit=2 * LIMIT)
def make_test_is_cached_as_well(directory):
    user, _, _ = project(directory, "make")
    run(user, "make", "test")
    assert "(cached)" in run(user, "make", "test").out


tap.run(__name__)

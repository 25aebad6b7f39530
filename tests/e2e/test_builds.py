# SPDX-License-Identifier: MIT
"""Real go commands that compile: cold, warm, after edits, across settings and for modules of the wide world."""
import os, shutil, stat
from world import APP, BARE, WIDE, compiled, each_go, last_line, quoted, tuck
import tap
from helper import default_command, tuck_bin

# Real modules at pinned versions; the sums make the go command check what the proxy sends.
MODULES = {
    "github.com/BurntSushi/toml v1.6.0": ["h1:dRaEfpa2VI55EwlIW72hMRHdWouJeRF7TPYhI+AUQjk=",
                                          "h1:ukJfTF/6rtPPRCnwkur4qwRxa8vTRFBF0uk2lLoLwho="],
    "github.com/DataDog/zstd v1.5.7": ["h1:ybO8RBeh29qrxIhCA9E8gKY6xfONU9T6G6aP9DTKfLE=",
                                       "h1:g4AWEaM3yOg3HYfnJ3YIawPnVdXJh9QME85blwSAmyw="],
    "github.com/mattn/go-sqlite3 v1.14.32": ["h1:JD12Ag3oLy1zQA+BNn74xRgaBbdhbNIDYvQUEuuErjs=",
                                             "h1:Uh1q+B4BYcTPb+yiD3kU8Ct7aC0hY9fxUwlHK0RXw+Y="],
}


def require(world, module, main):
    """A module in world.source that needs a real one, which is downloaded if need be; skips where it cannot be had."""
    name, version = module.split()
    world.write({
        "go.mod": f"module example.org/user\n\ngo 1.24\n\nrequire {module}\n",
        "go.sum": f"{module} {MODULES[module][0]}\n{name} {version}/go.mod {MODULES[module][1]}\n",
        "main.go": main})
    got = world.go("mod", "download", name, status=None)
    if got.returncode:
        tap.skip(f"{module} is not to be had: {last_line(got.err)}")


@each_go(seed=False, module=WIDE)
def an_empty_cache_is_filled_and_serves_the_next_build(world):
    cold, wire = world.traced("build", "-x", "./...")
    assert len(compiled(cold)) == 16 and wire.bodies > 32 and wire.closes == 1, (compiled(cold), wire.bodies)
    assert compiled(world.warm("build", "-x", "./...")) == []


@each_go(seed=False, local_only=True, module=BARE)
def a_program_is_built_from_nothing(world):
    cold, wire = world.traced("build", "-x", "-o", "../bin/bare")
    assert "runtime" in compiled(cold) and wire.puts > 80 and wire.closes == 1, (wire.puts, wire.closes)
    assert world.output_of(world.path("bin", "bare")) == "bare\n"
    os.unlink(world.path("bin", "bare"))
    warm = world.warm("build", "-x", "-o", "../bin/bare", links=1)
    assert compiled(warm) == [] and world.output_of(world.path("bin", "bare")) == "bare\n"


@each_go()
def a_build_ends_with_nothing_left_over(world):
    world.go("build", "./...")
    if not os.environ.get("TUCK_HELPER"):
        staging = os.path.join(world.gocache, "tuck", "staging")
        assert not os.path.exists(staging) or not os.listdir(staging), os.listdir(staging)
    assert os.listdir(world.path("tmp")) == [], "left in TMPDIR"
    # Without a pipe of its own, a helper that goes on in the background would hold up `go build 2>&1 | cat`; finish()
    # waits for the end of that pipe, so coming here shows that it closed.
    world.warm("build", "./...", links=1)


@each_go()
def a_real_module_is_built_once(world):
    require(world, "github.com/BurntSushi/toml v1.6.0",
            'package main\n\nimport _ "github.com/BurntSushi/toml"\n\nfunc main() {}\n')
    target = "github.com/BurntSushi/toml/cmd/tomlv"
    cold, wire = world.traced("build", "-x", "-o", "../bin/tomlv", target)
    assert "github.com/BurntSushi/toml" in compiled(cold) and wire.puts > 0, compiled(cold)
    world.write({"good.toml": 'a = "b"\n'})
    world.output_of(world.path("bin", "tomlv"))
    os.unlink(world.path("bin", "tomlv"))
    warm = world.warm("build", "-x", "-o", "../bin/tomlv", target, links=1)
    assert compiled(warm) == [], compiled(warm)
    checked = world.finish(world.start([world.path("bin", "tomlv"), "good.toml"]))
    assert checked.out == "" and checked.err == "", (checked.out, checked.err)


def build_with_cgo(world, module, package, env):
    require(world, module, f'package main\n\nimport _ "{package}"\n\nfunc main() {{ println("linked") }}\n')
    cold, wire = world.traced("build", "-x", "-o", "../bin/linked", env=env)
    assert package in compiled(cold) and wire.puts > 10, (compiled(cold), wire.puts)
    warm = world.warm("build", "-x", "-o", "../bin/linked2", env=env, links=1)
    assert compiled(warm) == [] and " -c " not in warm.err, "the C compiler was called"
    assert world.output_of(world.path("bin", "linked2")) == "linked\n"


@each_go()
def a_real_module_with_c_sources_is_built_once(world):
    tap.need_program("gcc")
    # Without optimisation: the C compiler is not under test, and takes four times as long with.
    build_with_cgo(world, "github.com/DataDog/zstd v1.5.7", "github.com/DataDog/zstd", {"CGO_CFLAGS": "-O0"})


@each_go(long=True, limit=600)
def sqlite_is_built_once(world):
    tap.need_program("gcc")
    build_with_cgo(world, "github.com/mattn/go-sqlite3 v1.14.32", "github.com/mattn/go-sqlite3", {})


@each_go(long=True, limit=900, seed=False)
def the_whole_standard_library_is_built_once(world):
    _, wire = world.traced("build", "std")
    assert wire.puts > 1000, wire.puts
    world.warm("build", "std")


@each_go()
def after_an_edit_only_what_depends_on_it_is_compiled(world):
    world.go("build", "./...")
    world.write({"lib/lib.go": APP["lib/lib.go"].replace("hello, ", "good day, ")})
    edited, wire = world.traced("build", "-x", "-o", "../bin/app", ".")
    assert compiled(edited) in (["example.org/app/lib", "main"], ["example.org/app/lib"]), compiled(edited)
    assert 0 < wire.puts < 12, wire.puts
    assert world.output_of(world.path("bin", "app")) == "good day, world\n"
    world.write({"lib/lib.go": APP["lib/lib.go"]})
    assert compiled(world.warm("build", "-x", "-o", "../bin/app", ".", links=1)) == []
    assert world.output_of(world.path("bin", "app")) == "hello, world\n"


@each_go()
def a_changed_embedded_file_is_noticed(world):
    world.go("build", "-o", "../bin/app", ".")
    world.write({"who.txt": "moon"})
    world.go("build", "-o", "../bin/app", ".")
    assert world.output_of(world.path("bin", "app")) == "hello, moon\n"


@each_go()
def a_build_of_an_archive_does_not_take_the_object_away(world):
    world.go("build", "./lib")
    before = world.objects() if not os.environ.get("TUCK_HELPER") else None
    for number in range(3):
        world.warm("build", "-o", f"x{number}.a", "./lib")
        with open(world.path("src", f"x{number}.a"), "rb") as file:
            assert file.read(8) == b"!<arch>\n"
    export = world.warm("list", "-export", "-f={{.Export}}", "./lib").out.strip()
    with open(export, "rb") as file:
        assert file.read(8) == b"!<arch>\n"
    assert export.startswith(world.gocache + "/"), export
    # What is written over the user's file must not reach the object: the two are not one file under two names.
    assert not os.path.samefile(export, world.path("src", "x2.a"))
    if before is not None:
        assert world.objects() == before, "objects came or went"
        assert stat.S_IMODE(os.stat(export).st_mode) & 0o222 == 0, "the object has become writable"


@each_go()
def a_cache_directory_with_spaces_and_foreign_letters_works(world):
    strange = world.path("Käche mit Leerzeichen", "ビルド 'n “quote”")
    os.makedirs(os.path.dirname(strange))
    shutil.move(world.gocache, strange)
    world.gocache = strange
    world.go("build", "./...")
    world.warm("build", "./...", links=1)
    path = world.warm("list", "-export", "-f={{.Export}}", "./lib").out.strip()
    assert path.startswith(strange + "/") and os.path.getsize(path) > 0, path


@each_go()
def a_helper_below_a_path_with_spaces_is_started(world):
    if os.environ.get("TUCK_HELPER"):
        tap.skip("needs tuck itself")
    program = world.path("bin", "with spaces", "tuck")
    os.makedirs(os.path.dirname(program))
    os.symlink(tuck_bin(), program)
    world.go("build", "./lib", env={"GOCACHEPROG": f"'{program}'"})
    world.warm("build", "./lib")


@each_go()
def with_trimpath_a_copy_of_the_module_elsewhere_is_warm(world):
    world.extra["GOFLAGS"] = "-trimpath -buildvcs=false"
    assert compiled(world.go("build", "-x", "./lib")) == ["example.org/app/lib"]
    elsewhere = world.write(APP, below="copy")
    warm, wire = world.traced("build", "-x", "./lib", cwd=elsewhere)
    # One body: the module index of a directory goes by its place.
    assert compiled(warm) == [] and wire.bodies <= 1, (compiled(warm), wire.bodies)


ARM = {"GOOS": "linux", "GOARCH": "arm64", "CGO_ENABLED": "0"}


@each_go(module=WIDE)
def a_cross_build_is_kept_apart_from_the_native_one(world):
    assert "example.org/wide/p0" in compiled(world.go("build", "-x", "./p0", env=ARM))
    assert "example.org/wide/p0" in compiled(world.go("build", "-x", "./p0"))
    for env, word in ((ARM, b"arm64"), ({}, world.go("env", "GOARCH").out.strip().encode())):
        assert compiled(world.warm("build", "-x", "./p0", env=env)) == []
        export = world.warm("list", "-export", "-f={{.Export}}", "./p0", env=env).out.strip()
        with open(export, "rb") as file:
            assert b"go object linux " + word in file.read(200), (export, word)


@each_go(module=BARE, local_only=True)
def a_program_for_another_processor_is_linked_from_the_cache(world):
    cold, wire = world.traced("build", "-x", "-o", "../bin/arm", env=ARM)
    assert "runtime" in compiled(cold) and wire.bodies > 0
    world.go("build", "-o", "../bin/native")
    assert compiled(world.warm("build", "-x", "-o", "../bin/arm2", env=ARM, links=1)) == []
    assert world.output_of(world.path("bin", "native")) == "bare\n"
    with open(world.path("bin", "arm2"), "rb") as file:
        assert file.read(20)[18:] == b"\xb7\x00", "not a program for arm64"


@each_go()
def a_cache_kept_elsewhere_is_handed_out_below_gocache(world):
    if os.environ.get("TUCK_HELPER"):
        tap.skip("needs TUCK_DIR")
    elsewhere = world.path("drive two", "tuck")
    os.makedirs(os.path.dirname(elsewhere))
    shutil.move(os.path.join(world.gocache, "tuck"), elsewhere)
    world.extra["TUCK_DIR"] = elsewhere
    world.go("build", "./lib", ".")
    before = world.objects(elsewhere)
    for number in range(3):
        world.warm("build", "-o", f"x{number}.a", "./lib")
    # The go command moves a file away unless its name begins, letter by letter, with the value of GOCACHE.
    path = world.warm("list", "-export", "-f={{.Export}}", "./lib").out.strip()
    assert path.startswith(world.gocache + "/"), path
    assert os.path.realpath(path).startswith(elsewhere + "/"), os.path.realpath(path)
    assert world.objects(elsewhere) == before, "objects came or went"


@each_go()
def two_caches_are_independent(world):
    """Switching TUCK_DIR back and forth leaves each as it was; the link below GOCACHE follows."""
    if os.environ.get("TUCK_HELPER"):
        tap.skip("needs TUCK_DIR")
    world.go("build", "./lib")
    first, second = world.path("one"), world.path("two")
    for directory in (first, second):
        shutil.copytree(os.path.join(world.gocache, "tuck"), directory)
    for directory in (first, second, first, second):
        path = world.warm("list", "-export", "-f={{.Export}}", "./lib", env={"TUCK_DIR": directory}).out.strip()
        assert os.path.realpath(path).startswith(directory + "/"), (path, os.path.realpath(path), directory)


@each_go()
def tuck_exec_runs_a_build_with_the_cache(world):
    none = {"GOCACHEPROG": None}
    program = [tuck_bin(), "exec", "--", world.go_program] if not os.environ.get("TUCK_HELPER") else \
        tap.skip("needs tuck's own commands")
    done = world.finish(world.start([*program, "build", "-o", "../bin/app", "."], env=none), quiet=False)
    assert world.output_of(world.path("bin", "app")) == "hello, world\n"
    assert len(done.err.strip().splitlines()) == 1, f"one summary line expected: {done.err!r}"
    world.warm("build", ".", links=1)
    failed = world.finish(world.start([*program, "build", "./absent"], env=none), status=None, quiet=False)
    assert failed.returncode == world.go("build", "./absent", status=None).returncode == 1, failed.returncode
    odd = world.finish(world.start([tuck_bin(), "exec", "--", "sh", "-c", "exit 7"], env=none), None, quiet=False)
    assert odd.returncode == 7, odd.returncode


@each_go()
def go_env_w_turns_it_on_for_good_and_u_turns_it_off(world):
    none = {"GOCACHEPROG": None}
    setting = quoted(default_command())
    world.go("env", "-w", f"GOCACHEPROG={setting}", env=none)
    assert world.go("env", "GOCACHEPROG", env=none).out.strip() == setting
    world.go("build", "./lib", env=none)
    world.warm("build", "./lib")
    world.go("env", "-u", "GOCACHEPROG", env=none)
    assert world.go("env", "GOCACHEPROG", env=none).out.strip() == ""
    # Now the built-in cache is used, which knows nothing of it and compiles.
    assert "example.org/app/lib" in compiled(world.go("build", "-x", "./lib", env=none))


@each_go()
def statistics_agree_with_what_went_over_the_wire(world):
    import json

    def numbers():
        return json.loads(tuck("stats", "--json", world=world).stdout)["counters"]

    before = numbers()
    _, wire = world.traced("build", "./...")
    after = numbers()
    for name, expected in (("gets", wire.gets), ("puts", wire.puts), ("hits", wire.hits)):
        counted = after[name] - before[name]
        assert counted == expected, f"{name}: {counted} counted, {expected} on the wire"
    assert "hits" in tuck("stats", world=world).stdout.lower()


tap.run(__name__)

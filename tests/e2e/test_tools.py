# SPDX-License-Identifier: MIT
"""Real go commands beside go build: test, vet, list, run, generate, and what editors do with their output."""
import json, os, re, signal
from world import APP, each_go
import tap

SLEEPER = {
    "go.mod": "module example.org/sleeper\n\ngo 1.24\n",
    "main.go": 'package main\n\nfunc main() {\n\tprint("ready\\n")\n\tselect {}\n}\n',
}


@each_go()
def test_results_are_cached_until_they_are_cleaned(world):
    first = world.go("test", "./lib")
    assert "(cached)" not in first.out and "ok" in first.out, first.out
    assert "(cached)" in world.warm("test", "./lib", vets=1).out
    world.go("clean", "-testcache")
    again = world.go("test", "./lib")
    assert "(cached)" not in again.out and "ok" in again.out, "go clean -testcache had no effect"
    assert "(cached)" in world.go("test", "./lib").out
    assert "(cached)" in world.go("test", "./lib").out


@each_go()
def a_test_that_reads_a_file_runs_again_when_the_file_changes(world):
    world.write({"lib/file_test.go": 'package lib\n\nimport (\n\t"os"\n\t"testing"\n)\n\n'
                                     'func TestFile(t *testing.T) {\n\tif _, err := os.ReadFile("data"); err != nil {'
                                     '\n\t\tt.Fatal(err)\n\t}\n}\n',
                 "lib/data": "one"})
    world.go("test", "./lib")
    assert "(cached)" in world.go("test", "./lib").out
    world.write({"lib/data": "another"})
    assert "(cached)" not in world.go("test", "./lib").out
    assert "(cached)" in world.go("test", "./lib").out


@each_go()
def a_failing_test_is_never_cached(world):
    world.write({"lib/lib.go": APP["lib/lib.go"].replace("hello", "bye")})
    for _ in range(2):
        failed = world.go("test", "./lib", status=1)
        assert "FAIL" in failed.out and "(cached)" not in failed.out, failed.out
    world.write({"lib/lib.go": APP["lib/lib.go"]})
    world.go("test", "./lib")


@each_go()
def coverage_is_the_same_cold_and_warm(world):
    shown = [world.go("test", "-cover", "./lib").out for _ in range(2)]
    percent = [re.search(r"coverage: \S+ of statements", text).group() for text in shown]
    assert percent[0] == percent[1] == "coverage: 100.0% of statements", shown


@each_go()
def a_test_binary_is_built_warm(world):
    world.go("test", "-c", "-o", "../bin/lib.test", "./lib")
    world.warm("test", "-c", "-o", "../bin/lib.test2", "./lib", links=1, vets=1)
    assert "PASS" in world.output_of(world.path("bin", "lib.test2"))


@each_go()
def vet_says_the_same_cold_and_warm(world):
    world.go("vet", "./lib")
    world.warm("vet", "./lib", vets=1)
    world.write({"lib/wrong.go": 'package lib\n\nimport "fmt"\n\nfunc wrong() { fmt.Printf("%d", "text") }\n'})
    said = [world.go("vet", "./lib", status=1).err for _ in range(2)]
    assert said[0] == said[1] and "wrong type" in said[0], said
    os.unlink(world.path("src", "lib", "wrong.go"))
    world.warm("vet", "./lib", vets=1)


@each_go()
def every_path_that_go_list_prints_can_be_opened_after_it_ended(world):
    """What gopls, staticcheck and golangci-lint do: they read these files when go and its helper are long gone."""
    words = ["list", "-export", "-compiled", "-test", "-deps", "-json=ImportPath,Dir,Export,CompiledGoFiles,GoFiles",
             "./..."]
    # First with objects made in the same process, then with objects found.
    for attempt in range(2):
        process, wire = world.traced(*words)
        # The main file of a test is made and put anew each time; nothing else may be missing the second time.
        assert attempt == 0 or wire.bodies <= 1, f"{wire.bodies} bodies, {wire.hits} hits of {wire.gets} gets"
        decoder, text, packages = json.JSONDecoder(), process.out.strip(), []
        while text:
            package, end = decoder.raw_decode(text)
            packages.append(package)
            text = text[end:].lstrip()
        exports = cached = 0
        for package in packages:
            files = package.get("CompiledGoFiles", []) + package.get("GoFiles", [])
            for name in files:
                path = os.path.join(package.get("Dir", ""), name)
                with open(path, "rb") as file:
                    assert file.read(1), f"{path} is empty"
                if os.path.isabs(name) and name.startswith(world.home):
                    cached += 1
                    # go/packages drops a compiled file whose name has an ending other than .go.
                    assert "." not in os.path.basename(name), name
            if "Export" in package and package["Export"]:
                exports += 1
                with open(package["Export"], "rb") as file:
                    assert file.read(8) == b"!<arch>\n", package["Export"]
        assert exports > 30 and cached >= 3, (exports, cached)


@each_go()
def commands_that_never_say_close_lose_nothing(world):
    _, wire = world.traced("list", "./...")
    assert wire.puts > 0 and wire.closes == 0, (wire.puts, wire.closes)
    world.warm("list", "./...")


@each_go()
def go_install_and_go_run_are_warm(world):
    gobin = {"GOBIN": world.path("bin")}
    world.go("install", ".", env=gobin)
    assert world.output_of(world.path("bin", "app")) == "hello, world\n"
    os.unlink(world.path("bin", "app"))
    world.warm("install", ".", env=gobin, links=1)
    assert world.go("run", ".").out == "hello, world\n"
    assert world.warm("run", ".", links=1).out == "hello, world\n"


def interrupt(world, *words, wait_for):
    """Starts a go command, waits for a line of its output, and does what ^C on a terminal does. Returns it ended."""
    process = world.start([world.go_program, *words])
    for stream in (process.stdout, process.stderr):
        if stream is (process.stderr if wait_for == "ready" else process.stdout):
            line = stream.readline()
            while line and wait_for not in line:
                line = stream.readline()
            assert line, f"{words} ended without saying {wait_for!r}"
    os.killpg(process.pid, signal.SIGINT)  # the go command, the helper and the program, all of them
    return world.finish(process, status=None)


@each_go()
def an_interrupted_go_run_ends_in_order(world):
    world.write(SLEEPER)
    ended = interrupt(world, "run", ".", wait_for="ready")
    assert ended.returncode == 1 and "signal: interrupt" in ended.err, (ended.returncode, ended.err)
    world.go("build", ".")
    world.warm("build", ".", links=1)


@each_go()
def an_interrupted_go_test_ends_in_order(world):
    world.write({"lib/wait_test.go": 'package lib\n\nimport (\n\t"fmt"\n\t"testing"\n)\n\n'
                                     'func TestWait(t *testing.T) {\n\tfmt.Println("waiting")\n\tselect {}\n}\n'})
    # Only -v streams a test's output; a program that is interrupted dies of it, since nothing there catches SIGINT.
    ended = interrupt(world, "test", "-v", "-run=TestWait", "./lib", wait_for="waiting")
    assert ended.returncode == 1 and "pre-Close" not in ended.err, (ended.returncode, ended.err)
    world.go("test", "-run=TestGreet", "./lib")
    world.warm("test", "-run=TestGreet", "./lib", vets=1)


@each_go()
def go_generate_that_calls_go_works(world):
    world.write({
        "gen.go": "package main\n\n//go:generate go run ./gen out.txt\n//go:generate go list -export ./lib\n",
        "gen/main.go": 'package main\n\nimport "os"\n\nfunc main() {\n'
                       '\tif os.WriteFile(os.Args[1], []byte("made\\n"), 0o666) != nil {\n\t\tos.Exit(1)\n\t}\n}\n'})
    program, wire = world.tracing()
    world.go("generate", "./...", env={"GOCACHEPROG": program})
    with open(world.path("src", "out.txt")) as file:
        assert file.read() == "made\n"
    # One helper for go generate itself and one for each go command that it ran, at the same time.
    assert len(wire().sessions) == 3, [session.title for session in wire().sessions]
    world.go("generate", "./...")


@each_go()
def a_test_that_calls_go_works(world):
    world.write({"lib/nested_test.go":
                 'package lib\n\nimport (\n\t"os/exec"\n\t"testing"\n)\n\nfunc TestNested(t *testing.T) {\n'
                 '\tout, err := exec.Command("go", "build", "..").CombinedOutput()\n'
                 '\tif err != nil {\n\t\tt.Fatalf("%v: %s", err, out)\n\t}\n}\n'})
    program, wire = world.tracing()
    world.go("test", "-run=TestNested", "./lib", env={"GOCACHEPROG": program})
    assert len(wire().sessions) == 2, len(wire().sessions)


@each_go()
def six_go_tests_at_once_all_pass_and_are_all_cached_afterwards(world):
    for number in range(6):
        world.write({f"p{number}/p_test.go": 'package p\n\nimport "testing"\n\nfunc TestP(t *testing.T) {}\n'})
    # Each tests a package of its own and one that all of them have in common.
    running = [world.start([world.go_program, "test", f"./p{number}", "./lib"]) for number in range(6)]
    for process in running:
        world.finish(process)
    out = world.warm("test", *(f"./p{number}" for number in range(6)), "./lib", vets=7).out
    assert out.count("(cached)") == 7, out


tap.run(__name__)

# SPDX-License-Identifier: MIT
"""
What the end-to-end tests share: real go commands, a scratch home for each test, and a look at the wire.

A `World` is one user's machine: HOME, GOCACHE, TMPDIR and GOENV lie below the test's scratch directory; only the
module cache is the real one, since that is where toolchains and modules from the proxy are kept. `world.go()` runs a
go command there with the helper under test; `world.traced()` puts tests/harness/record.py in between and returns what
went over the wire, so that "nothing was compiled" is a fact about requests and not about tuck's own counters.

Compiling the standard library is most of the time, so a seed (home after build, test and vet of a small module) is
made once per toolchain through the helper under test and copied for each test that does not ask for an empty cache;
or, for what a user has before the first helper, through none, in the go command's built-in cache.
tests/run names a directory for seeds that several test programs share; without it each program makes its own.
"""
import atexit, contextlib, fcntl, json, os, re, shutil, signal, subprocess, sys, tempfile, zlib

HERE = os.path.dirname(os.path.abspath(__file__))
HARNESS = os.path.join(os.path.dirname(HERE), "harness")
sys.path.insert(0, HARNESS)
import tap, transcript  # noqa: E402
from helper import default_command, tuck_bin  # noqa: E402

# "local" is the go command on PATH; the others come from the module proxy through GOTOOLCHAIN.
GO_VERSIONS = ["local", "go1.24.13"]
OLDEST = (1, 24)  # the first release that knows GOCACHEPROG without an experiment
LIMIT = 240       # seconds for one go command: a hung helper, not a slow machine
LONG = bool(os.environ.get("TUCK_TEST_LONG"))
BUILT_IN = "built-in"  # a seed without any helper

# Settings of the user's go command that decide whether and where modules can be had.
KEPT = ["GOPROXY", "GOSUMDB", "GONOSUMDB", "GONOPROXY", "GOPRIVATE", "GOINSECURE", "GOMODCACHE"]

# Words on stderr that no go command may show, whatever it was asked to do.
TROUBLE = re.compile(r"GOCACHEPROG|^tuck: |Sanitizer|runtime error: (?!index)|pre-Close", re.M)

# The module that most tests build. The cgo package makes go list -compiled print generated files.
APP = {
    "go.mod": "module example.org/app\n\ngo 1.24\n",
    "main.go": 'package main\n\nimport (\n\t_ "embed"\n\t"fmt"\n\n\t"example.org/app/lib"\n)\n\n'
               '//go:embed who.txt\nvar who string\n\nfunc main() { fmt.Println(lib.Greet(who)) }\n',
    "who.txt": "world",
    "lib/lib.go": "// Package lib greets.\npackage lib\n\n// Greet greets.\n"
                  'func Greet(who string) string { return "hello, " + who }\n',
    "lib/lib_test.go": 'package lib\n\nimport "testing"\n\nfunc TestGreet(t *testing.T) {\n'
                       '\tif got := Greet("you"); got != "hello, you" {\n\t\tt.Fatal(got)\n\t}\n}\n',
    "half/half.go": "// Package half halves.\npackage half\n\n// static int half(int n) { return n / 2; }\n"
                    'import "C"\n\n// Half is done in C.\nfunc Half(n int) int { return int(C.half(C.int(n))) }\n',
}
# A program that needs nothing but the runtime: what a cold build costs least.
BARE = {
    "go.mod": "module example.org/bare\n\ngo 1.24\n",
    "main.go": 'package main\n\nfunc main() { println("bare") }\n',
}
# Packages that need nothing of the standard library, some hundred kilobytes each, in four chains of imports: a build
# that is cold and yet short, and that reads back what it stored a moment ago.
WIDE = {"go.mod": "module example.org/wide\n\ngo 1.24\n"}
for number in range(16):
    before = f'import "example.org/wide/p{number - 4}"\n\n' if number >= 4 else ""
    base = f"p{number - 4}.Sum()" if before else "0"
    rows = "".join(f'\t"row {number} {row} {zlib.crc32(b"%d.%d" % (number, row)) ** 7}",\n' for row in range(1500))
    WIDE[f"p{number}/p.go"] = (f"package p{number}\n\n{before}var Rows = []string{{\n{rows}}}\n\n"
                               f"func Sum() int {{\n\treturn {base} + len(Rows)\n}}\n")
WIDE_MAIN = {"main.go": "package main\n\nimport (\n" + "".join(
    f'\t"example.org/wide/p{number}"\n' for number in range(12, 16)) + ")\n\nfunc main() {\n\tprintln(" + " + ".join(
    f"p{number}.Sum()" for number in range(12, 16)) + ")\n}\n"}
WIDE_SAYS = "24000\n"


class Go:
    """One toolchain."""

    def __init__(self, version):
        self.version = version
        self.missing = None
        local = shutil.which("go")
        if not local:
            self.missing = "no go command on PATH"
            return
        environment = dict(os.environ, GOTOOLCHAIN="local" if version == "local" else version)
        environment.pop("GOCACHEPROG", None)
        answer = subprocess.run([local, "env", "-json", "GOROOT", "GOVERSION", *KEPT], env=environment, text=True,
                                capture_output=True, cwd="/", timeout=LIMIT)
        if answer.returncode:
            self.missing = f"toolchain {version} is not to be had: {last_line(answer.stderr)}"
            return
        settings = json.loads(answer.stdout)
        number = tuple(int(n) for n in re.match(r"go(\d+)\.(\d+)", settings["GOVERSION"]).groups())
        if number < OLDEST:
            self.missing = f"{settings['GOVERSION']} is older than the first Go with helpers"
            return
        self.number = number
        self.program = os.path.join(settings["GOROOT"], "bin", "go")
        self.kept = {name: settings[name] for name in KEPT if settings[name]}


_toolchains = {}


def toolchain(version):
    if version not in _toolchains:
        _toolchains[version] = Go(version)
    go = _toolchains[version]
    if go.missing:
        tap.skip(go.missing)
    return go


def each_go(*ids, limit=tap.LIMIT, long=False, local_only=False, **how):
    """
    Registers a test for every toolchain, or with `local_only` for one unless TUCK_TEST_LONG is set. It gets a World
    whose source is `module` and whose cache is a copy of the seed, or with `seed=False` empty, or with `seed=BUILT_IN`
    the go command's own.
    """
    def register(function):
        for version in GO_VERSIONS:
            def one(directory, version=version):
                if (long or local_only and version != "local") and not LONG:
                    tap.skip("takes long; set TUCK_TEST_LONG=1")
                function(World(directory, toolchain(version), **how))
            one.__name__ = f"{function.__name__}_with_{'the_local_go' if version == 'local' else version}"
            # Whichever test comes first pays for the seed.
            tap.case(*ids, limit=max(limit, tap.LIMIT) + LIMIT)(one)
        return function
    return register


def tuck(*words, world, check=True, **more):
    """Runs one of tuck's own commands in a world."""
    if os.environ.get("TUCK_HELPER"):
        tap.skip("needs tuck's own commands, not only a helper")
    result = subprocess.run([tuck_bin(), *words], env=world.environment(), capture_output=True, text=True,
                            timeout=LIMIT, **more)
    assert not check or result.returncode == 0, (words, result)
    return result


def quoted(words):
    """A command line in the go command's own quoting, which has no escapes."""
    for word in words:
        assert not ("'" in word and '"' in word), f"cannot be given to a go command: {word}"
    return " ".join(f'"{w}"' if "'" in w else f"'{w}'" for w in words)


class Wire:
    """What go commands and their helpers said to each other, in one or more sessions."""

    def __init__(self, path):
        self.sessions = transcript.parse(path) if os.path.exists(path) else []
        requests = [request for session in self.sessions for request in session.requests()]
        self.gets = sum(request["Command"] == "get" for request in requests)
        self.puts = sum(request["Command"] == "put" for request in requests)
        self.bodies = sum(request.get("BodySize", 0) > 0 for request in requests)
        self.closes = sum(request["Command"] == "close" for request in requests)
        answers = [json.loads(line) for session in self.sessions for mark, line in session.events if mark == "<"]
        self.hits = sum(bool(answer.get("OutputID")) for answer in answers)
        self.errors = [answer for answer in answers if answer.get("Err")]


class World:
    def __init__(self, directory, go, seed=True, module=APP):
        self.root = os.path.realpath(directory)
        self.go_program = go.program
        self.kept = go.kept
        self.go_number = go.number
        self.home = self.path("home")
        self.source = self.path("src")
        self.gocache = os.path.join(self.home, ".cache", "go-build")
        self.extra = {}  # environment of every command in this world
        self.traces = 0
        for name in ("src", "tmp", "bin"):
            os.mkdir(self.path(name))
        if seed:
            copy_tree(seed_of(go, seed == BUILT_IN), self.home)
        else:
            os.mkdir(self.home)
        self.write(module)

    def path(self, *names):
        return os.path.join(self.root, *names)

    def write(self, files, below="src"):
        """
        Writes source files as of long ago, each content with a time of its own: the go command does not index what was
        changed in the last two seconds, and tells one version of a directory from another by these times.
        """
        for name, text in files.items():
            path = self.path(below, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as file:
                file.write(text)
            then = 1_000_000_000 + zlib.crc32(text.encode()) % 100_000_000
            os.utime(path, (then, then))
        return self.path(below)

    def environment(self, **more):
        environment = {
            "PATH": os.path.dirname(self.go_program) + ":" + os.environ["PATH"], "HOME": self.home,
            "TMPDIR": self.path("tmp"), "GOENV": self.path("goenv"), "GOTOOLCHAIN": "local", "GOTELEMETRY": "off",
            "GOCACHE": self.gocache, "GOFLAGS": "-buildvcs=false", "LC_ALL": "C.UTF-8",
            "GOCACHEPROG": quoted(default_command()), **self.kept, **self.extra, **more}
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS"):
            if name in os.environ:
                environment[name] = os.environ[name]
        return {name: value for name, value in environment.items() if value is not None}

    def start(self, command, cwd=None, env=None, **more):
        """Starts a command in its own process group, which a test can send signals to as a terminal does."""
        return subprocess.Popen(command, cwd=cwd or self.source, env=self.environment(**(env or {})), text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                start_new_session=True, **more)

    def finish(self, process, status=0, quiet=True):
        """
        Waits for the end of the command *and of its helper*, which holds the same stderr. `status` None: any.
        With `quiet` nothing may be on stderr that speaks of the helper.
        """
        try:
            process.out, process.err = process.communicate(timeout=LIMIT)
        except BaseException:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        assert status is None or process.returncode == status, \
            f"{process.args} exited {process.returncode}\n{process.out[-2000:]}\n{process.err[-4000:]}"
        assert not quiet or not TROUBLE.search(process.err), f"{process.args} said\n{process.err[-4000:]}"
        return process

    def go(self, *words, cwd=None, env=None, status=0, quiet=True):
        return self.finish(self.start([self.go_program, *words], cwd, env), status, quiet)

    def built_in(self, *words, **more):
        """The same without a helper."""
        return self.go(*words, env={"GOCACHEPROG": None}, **more)

    def tracing(self, *options):
        """The GOCACHEPROG that records, and a function that returns what was recorded until then."""
        self.traces += 1
        file = self.path(f"wire{self.traces}")
        words = [sys.executable, os.path.join(HARNESS, "record.py"), "--no-bodies", *options, file, "--",
                 *default_command()]
        return quoted(words), lambda: Wire(file)

    def traced(self, *words, options=(), env=None, **more):
        """Runs a go command with the recorder in between; returns (finished process, Wire)."""
        program, wire = self.tracing(*options)
        return self.go(*words, env=dict(env or {}, GOCACHEPROG=program), **more), wire()

    def warm(self, *words, links=0, vets=0, **more):
        """
        Runs a go command that must find everything: no body goes to the helper. Programs are never cached through a
        helper, so each of them is linked again, which puts what the linker printed: nothing. And before 1.26 the facts
        of each vetted package are put again, unchanged, even when they were found.
        """
        process, wire = self.traced(*words, **more)
        bodies = vets if self.go_number < (1, 26) else 0
        assert wire.sessions and wire.hits > 0, "the helper was not asked"
        assert wire.bodies <= bodies and wire.puts <= links + wire.bodies, \
            f"{wire.bodies} bodies in {wire.puts} puts, {wire.hits} hits of {wire.gets} gets"
        assert not wire.errors, wire.errors
        return process

    def output_of(self, program):
        answer = subprocess.run([program], capture_output=True, text=True, timeout=LIMIT)
        assert answer.returncode == 0, answer
        return answer.stdout + answer.stderr

    def objects(self, root=None):
        """The objects on disk below tuck's directory: {path below objects/: size}."""
        if os.environ.get("TUCK_HELPER"):
            tap.skip("knows tuck's files only")
        top = os.path.join(root or os.path.join(self.gocache, "tuck"), "objects")
        return {os.path.relpath(os.path.join(where, name), top): os.stat(os.path.join(where, name)).st_size
                for where, _, names in os.walk(top) for name in names}


def last_line(text):
    return (text.strip().splitlines() or ["no reason given"])[-1]


def compiled(process):
    """The import paths that `go build -x` compiled."""
    return sorted(set(re.findall(r"/compile .* -p (\S+)", process.err)))


def copy_or_link(source, target):
    """
    Objects are never written in place once they have their name (the tests that damage one take care), so the worlds
    can share them: copying 60 MB for every test would double the time of the whole suite.
    """
    if f"{os.sep}objects{os.sep}" in source:
        with contextlib.suppress(OSError):  # another file system, a limit of links
            return os.link(source, target, follow_symlinks=False)
    return shutil.copy2(source, target, follow_symlinks=False)


def copy_tree(source, target):
    shutil.copytree(source, target, symlinks=True, copy_function=copy_or_link)


def seed_of(go, is_built_in=False):
    """A home whose cache holds the module APP built, tested and vetted, made through the helper under test or none."""
    shared = os.environ.get("TUCK_TEST_SEEDS")
    if not shared:
        shared = _own_seeds()
    os.makedirs(shared, exist_ok=True)
    seed = os.path.join(shared, go.version + ("-built-in" if is_built_in else ""))
    env = {"GOCACHEPROG": None} if is_built_in else {}
    with open(seed + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.isdir(seed):
            with tempfile.TemporaryDirectory(prefix="seed-", dir=shared) as scratch:
                world = World(scratch, go, seed=False)
                for word in ("build", "test", "vet"):
                    world.go(word, "./...", env=env)
                os.rename(world.home, seed)
    return seed


_own = []


def _own_seeds():
    if not _own:
        _own.append(tempfile.mkdtemp(prefix="tuck-test-seeds-"))
        atexit.register(shutil.rmtree, _own[0], ignore_errors=True)
    return _own[0]

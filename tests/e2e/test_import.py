# SPDX-License-Identifier: MIT
"""Import: what real go commands have built without a helper, a helper finds afterwards, as go itself would have."""
import base64, calendar, json, os, pty, re, subprocess, time
from world import BARE, BUILT_IN, LIMIT, WIDE, compiled, each_go, tuck
import tap
from helper import Helper, tuck_bin


def imported(world, *words, check=True):
    """Runs `tuck import --json`; nothing may be on stderr."""
    done = tuck("import", "--json", *words, world=world, check=check)
    assert done.stderr == "", done.stderr
    return json.loads(done.stdout)


def lines_of(gocache):
    """The entries of a built-in cache: {action: (output, size, time in ns)}."""
    found = {}
    for folder, _, names in os.walk(gocache):
        for name in names:
            if re.fullmatch("[0-9a-f]{64}-a", name) and len(os.path.basename(folder)) == 2:
                with open(os.path.join(folder, name)) as file:
                    _, action, output, size, put_ns = file.read().split()
                found[action] = (output, int(size), int(put_ns))
    return found


def picture(gocache):
    """All that the go command has there, with its times, but for what is tuck's."""
    found = {}
    for folder, folders, names in os.walk(gocache):
        if folder == gocache and "tuck" in folders:
            folders.remove("tuck")
        for name in names:
            path = os.path.join(folder, name)
            stat = os.stat(path)
            found[os.path.relpath(path, gocache)] = (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_nlink)
    return found


@each_go(seed=BUILT_IN, local_only=True)
def what_was_built_without_a_helper_is_found_by_one_after_an_import(world):
    for words in (("build", "./..."), ("test", "./..."), ("vet", "./...")):
        world.built_in(*words)
    before = picture(world.gocache)
    report = imported(world)
    assert report["complete"] and report["entries"] > 100 and report["damaged"] == report["unreadable"] == 0, report
    assert picture(world.gocache) == before, "the import has touched what is the go command's"
    assert compiled(world.warm("build", "-x", "./...", links=1)) == []
    assert "(cached)" in world.warm("test", "./...", links=1).out
    world.warm("vet", "./...", vets=100)
    again = imported(world)
    assert again["entries"] == 0 and again["present"] >= report["entries"], again


@each_go(seed=BUILT_IN, local_only=True)
def every_entry_keeps_output_size_and_the_time_that_go_gave_it(world):
    world.built_in("test", "./lib")
    lines = lines_of(world.gocache)
    assert imported(world)["entries"] == len(lines) > 100
    with Helper(world.root, gocache=world.gocache, env=world.environment()) as helper:
        for action, (output, size, put_ns) in lines.items():
            answer = helper.get(bytes.fromhex(action))
            assert base64.b64decode(answer["OutputID"]).hex() == output, answer
            assert answer.get("Size", 0) == size and nanoseconds(answer["Time"]) == put_ns, (answer, put_ns)
        assert helper.finish() == 0


def nanoseconds(text):
    """RFC 3339 in UTC with any number of digits behind the second."""
    match = re.fullmatch(r"(.*?)(?:\.(\d+))?Z", text)
    assert match, text
    whole, fraction = match.groups()
    return calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) * 10**9 + int((fraction or "0").ljust(9, "0"))


@each_go(seed=BUILT_IN, local_only=True)
def test_results_that_go_has_expired_stay_expired(world):
    world.built_in("test", "./lib")
    assert "(cached)" in world.built_in("test", "./lib").out
    world.built_in("clean", "-testcache")
    imported(world)
    assert "(cached)" not in world.go("test", "./lib").out
    assert "(cached)" in world.go("test", "./lib").out


@each_go(seed=BUILT_IN, local_only=True)
def test_results_expire_after_an_import_as_they_would_have_without(world):
    world.built_in("test", "./lib")
    imported(world)
    assert "(cached)" in world.go("test", "./lib").out
    world.go("clean", "-testcache")
    assert "(cached)" not in world.go("test", "./lib").out
    # A second import brings nothing back: the result here is newer.
    imported(world)
    assert "(cached)" in world.go("test", "./lib").out


@each_go(seed=BUILT_IN, local_only=True)
def executables_are_left_where_they_are(world):
    world.built_in("run", ".")
    folders = [os.path.join(folder, name) for folder, names, _ in os.walk(world.gocache) for name in names
               if name.endswith("-d")]
    if not folders:
        tap.skip("this go command keeps no executables")
    report = imported(world)
    assert report["executables"] == len(folders), (report, folders)
    assert world.go("run", ".").out == "hello, world\n"
    assert all(os.listdir(folder) for folder in folders)


@each_go(seed=BUILT_IN, local_only=True, module=WIDE)
def an_import_beside_a_running_build_takes_only_what_is_whole(world):
    """As often as it can while the go command writes its files in place; then once more for the rest."""
    build = world.start([world.go_program, "build", "-p=1", "./..."], env={"GOCACHEPROG": None})
    rounds = 0
    while build.poll() is None:
        assert imported(world)["complete"]
        rounds += 1
    world.finish(build)
    assert rounds > 0
    imported(world)
    assert compiled(world.warm("build", "-x", "./...")) == []
    verified = tuck("verify", "--json", world=world)
    report = json.loads(verified.stdout)
    assert report["damaged"] == report["dangling"] == 0, report
    print(f"# {rounds} imports during the build", flush=True)


@each_go(seed=BUILT_IN, local_only=True, module=WIDE)
def builds_through_the_helper_run_beside_an_import(world):
    """The import brings older puts of the same actions while the helper makes newer ones."""
    world.built_in("build", "./...")
    for name in ("one", "two"):
        run = subprocess.Popen([tuck_bin(), "import"], env=world.environment(), stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
        world.go("build", "./...")
        out, err = run.communicate(timeout=LIMIT)
        assert run.returncode == 0 and err == "", (out, err)
        world.warm("build", "./...")
        if name == "one":
            tuck("clear", world=world)


@each_go(seed=BUILT_IN, local_only=True)
def without_a_word_it_takes_the_cache_that_go_uses(world):
    world.built_in("build", "./lib")
    elsewhere = world.path("elsewhere", "tuck")
    for env in ({"GOCACHE": None, "TUCK_DIR": elsewhere}, {"GOCACHE": None}):
        done = subprocess.run([tuck_bin(), "import"], env=world.environment(**env), capture_output=True, text=True,
                              timeout=LIMIT)
        assert done.returncode == 0 and done.stderr == "", done
        assert re.match(r"took over \d{3,} entries, .*, from " + re.escape(world.gocache) + "\n", done.stdout), done
    assert os.path.isdir(os.path.join(elsewhere, "objects"))


@each_go(local_only=True)
def of_a_cache_that_only_helpers_have_filled_there_is_nothing_to_take(world):
    world.go("build", "./lib")
    done = tuck("import", world=world)
    assert done.stdout.startswith("nothing to take over") and world.gocache in done.stdout, done.stdout
    assert imported(world)["found"] == 0
    world.warm("build", "./lib")


@each_go(seed=BUILT_IN, local_only=True)
def progress_is_shown_on_a_terminal_and_nowhere_else(world):
    main, side = pty.openpty()
    run = subprocess.Popen([tuck_bin(), "import"], env=world.environment(), stdout=subprocess.PIPE, stderr=side)
    os.close(side)
    shown = b""
    while True:
        try:
            block = os.read(main, 65536)
        except OSError:  # EIO: the other end has been closed
            break
        if not block:
            break
        shown += block
    os.close(main)
    out = run.communicate(timeout=LIMIT)[0]
    assert run.returncode == 0 and b"importing: " in shown and b"importing" not in out, (shown, out)
    assert shown.endswith(b"\r"), shown[-80:]
    silent = tuck("import", world=world)
    assert silent.stderr == "", silent.stderr


@each_go(long=True, limit=1800, seed=False, module=BARE)
def after_an_import_of_the_standard_library_a_build_and_its_tests_compile_nothing(world):
    world.built_in("build", "std")
    world.built_in("test", "strings", "sort", "errors")
    report = imported(world)
    assert report["entries"] > 1000 and report["damaged"] == 0, report
    world.warm("build", "std")
    tests = world.warm("test", "strings", "sort", "errors", links=3).out
    assert tests.count("(cached)") == 3, tests


tap.run(__name__)

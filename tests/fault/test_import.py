# SPDX-License-Identifier: MIT
"""
An import that dies at any system call, or whose calls fail one by one, or that meets full disks, other imports,
collectors and clears. Afterwards the go command's files are as they were, the cache tells the truth, and the same
command goes on to the end.
"""
import contextlib, fcntl, json, os, shutil, signal, stat, struct, subprocess, time

from faults import (CHANGING, LONG, MEMORY, NOT_FAILED, Place, PROMPT, RESTARTED, Sweep, body, calls, need_strace,
                    named_objects_are_whole, no_unnamed_files, plain_user, remark, tmpfs, traceable, truthful,
                    use_up_space, wait_until)
from helper import action_id, expect_hit, expect_put, output_id, tuck_bin
from tap import case, need_program, need_root, run, skip

if os.environ.get("TUCK_HELPER"):
    print("1..0 # SKIP needs tuck's own commands, not only a helper")
    raise SystemExit

HOUR = 3600


class BuiltIn:
    """A cache of the go command's own, as it writes it."""

    def __init__(self, directory):
        self.directory = directory
        os.makedirs(directory, exist_ok=True)

    def path(self, raw, kind):
        folder = os.path.join(self.directory, raw.hex()[:2])
        os.makedirs(folder, exist_ok=True)
        return os.path.join(folder, f"{raw.hex()}-{kind}")

    def put(self, action, content, age=HOUR):
        """As if `age` seconds ago. Returns the time of the put in ns."""
        put_ns = time.time_ns() - age * 10**9
        with open(self.path(output_id(content), "d"), "wb") as file:
            file.write(content)
        line = self.path(action, "a")
        with open(line, "w") as file:
            file.write(f"v1 {action.hex()} {output_id(content).hex()} {len(content):20} {put_ns:20}\n")
        os.utime(line, ns=(put_ns, put_ns))
        return put_ns

    def picture(self):
        """All files with contents and times."""
        found = {}
        for folder, _, names in os.walk(self.directory):
            for name in names:
                path = os.path.join(folder, name)
                info = os.lstat(path)
                content = b""
                if stat.S_ISREG(info.st_mode):
                    with open(path, "rb") as file:
                        content = file.read()
                found[path] = (info.st_ino, info.st_mtime_ns, info.st_ctime_ns, info.st_nlink, content)
        return found


def start(place, source, *words, prefix=(), env=None, **more):
    full = {name: value for name, value in os.environ.items() if not name.startswith("TUCK_")}
    full |= place.settings() | {"GOCACHE": place.gocache} | (env or {})
    return subprocess.Popen([*prefix, tuck_bin(), "import", *words, source.directory], env=full, text=True,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)


def finish(process):
    process.out, process.err = process.communicate(timeout=20 * PROMPT)
    assert "Sanitizer" not in process.err and "runtime error" not in process.err, process.err
    for line in process.err.splitlines():
        assert line.startswith("tuck: "), f"a line on stderr that is not from tuck: {line}"
    return process


def imported(place, source, *words, status=0, **more):
    done = finish(start(place, source, "--json", *words, **more))
    assert done.returncode == status, (done.returncode, done.out, done.err)
    return json.loads(done.out)


def tuck(place, *words):
    env = os.environ | place.settings() | {"GOCACHE": place.gocache}
    return subprocess.run([tuck_bin(), *words], env=env, capture_output=True, text=True, timeout=20 * PROMPT)


class Scene:
    """
    A cache of the go command with something of every kind, and a cache of tuck that knows some of it already: one
    action by a newer put, one by an older.
    """

    def __init__(self, directory, filled=True, preexec=None):
        self.directory, self.filled, self.preexec = directory, filled, preexec
        self.source = BuiltIn(os.path.join(directory, "built in"))
        self.template = Place(os.path.join(directory, "template"))
        newer, older = action_id("newer here"), action_id("older here")
        self.before = {newer: body("ours"), older: body("ours too"), action_id("only here"): body("only here")}
        self.go = {newer: body("go's"), action_id("a"): body("a"), action_id("empty"): b"",
                   action_id("large"): body("large", 300_000), action_id("shared 1"): body("shared", 4096),
                   action_id("shared 2"): body("shared", 4096), action_id("here too"): body("ours")}
        for age, (action, content) in enumerate(self.go.items(), 2):
            self.source.put(action, content, age * HOUR)
        if filled:
            self.template.fill(self.before)
        self.go[older] = body("go's newest")
        self.source.put(older, self.go[older], -1)
        self.leave_out()
        self.picture = self.source.picture()
        self.expected = self.go | ({a: c for a, c in self.before.items() if a != older} if filled else {})
        self.count = 0

    def leave_out(self):
        """What no import may take, beside what it may."""
        for name in ("changed", "short"):
            content = body(name, 2000)
            self.source.put(action_id(name), content)
            with open(self.source.path(output_id(content), "d"), "r+b") as file:
                file.write(b"other") if name == "changed" else file.truncate(1999)
        gone, executable = body("gone"), body("executable")
        self.source.put(action_id("gone"), gone)
        os.unlink(self.source.path(output_id(gone), "d"))
        self.source.put(action_id("executable"), executable)
        os.unlink(self.source.path(output_id(executable), "d"))
        os.mkdir(self.source.path(output_id(executable), "d"))
        self.left_out = [action_id(name) for name in ("changed", "short", "gone", "executable")]

    def place(self):
        self.count += 1
        where = os.path.join(self.directory, f"run{self.count}")
        return self.template.copy(where) if self.filled else Place(where)

    def allowed(self, action):
        return [bodies[action] for bodies in (self.before if self.filled else {}, self.go) if action in bodies]

    def aftermath(self, place):
        """Whatever happened: no untruth, nothing of go's touched, and the same command goes on to the end."""
        named_objects_are_whole(place.root)
        with place.helper() as helper:
            for action in [*self.expected, *self.left_out]:
                found = truthful(helper.get(action, timeout=PROMPT), self.allowed(action))
                if self.filled and action in self.before:
                    assert found is not None, "an entry that was here before is lost"
            assert helper.finish() == 0
        report = imported(place, self.source)
        assert report["complete"] and report["damaged"] == 3 and report["executables"] == 1, report
        self.is_whole(place)
        shutil.rmtree(place.directory)

    def is_whole(self, place):
        with place.helper() as helper:
            for action, content in self.expected.items():
                expect_hit(helper.get(action, timeout=PROMPT), content)
            for action in self.left_out:
                assert truthful(helper.get(action, timeout=PROMPT), []) is None
            assert helper.finish() == 0
        named_objects_are_whole(place.root)
        assert os.listdir(place.tmp) == [], "left in TMPDIR"
        assert self.source.picture() == self.picture, "the import has touched what is the go command's"

    def reference(self, start_too=False):
        """
        The calls of one undisturbed import, (name, number) to what it was, in order, from its look at the directory to
        import from; or from its start those that change something.
        """
        log = os.path.join(self.directory, "log")
        place = self.place()
        done = finish(start(place, self.source, "--json", prefix=["strace", "-f", "-y", "-o", log], env=traceable(),
                            preexec_fn=self.preexec))
        assert done.returncode == 0, (done.out, done.err)
        self.is_whole(place)
        counts, points, has_begun = {}, {}, False
        for thread, name, text in calls(log):
            counts[thread, name] = counts.get((thread, name), 0) + 1
            has_begun = has_begun or self.source.directory in text and name != "execve"
            if has_begun or start_too and name in CHANGING:
                points.setdefault((name, counts[thread, name]), text)
        assert has_begun
        return points

    def struck(self, *injection):
        """One import with an injection; returns place and process."""
        place = self.place()
        prefix = ["strace", "-f", "-qq", "-o", os.devnull, *injection]
        return place, finish(start(place, self.source, "--json", prefix=prefix, env=traceable(),
                                   preexec_fn=self.preexec))


def kill_everywhere(scene, seconds):
    def one(name, number):
        place, done = scene.struck("-e", f"trace={name}", "-e", f"inject={name}:signal=KILL:when={number}")
        assert done.returncode in (0, -9), (done.returncode, done.err)
        scene.aftermath(place)
    points = [point for point in scene.reference(start_too=LONG) if point[0] in CHANGING or LONG]
    sweep = Sweep(seconds)
    sweep.random.shuffle(points)
    sweep.run(points, one)


@case()
def killed_at_any_system_call_it_leaves_nothing_half_made_and_goes_on(directory):
    need_strace()
    kill_everywhere(Scene(directory), 5)


@case()
def killed_at_any_system_call_into_an_empty_cache_it_goes_on(directory):
    need_strace()
    kill_everywhere(Scene(directory, filled=False), 3)


@case()
def killed_at_any_system_call_while_staging_by_name_it_goes_on(directory):
    need_strace()
    kill_everywhere(Scene(directory, filled=False, preexec=no_unnamed_files()), 2)


@case()
def a_failure_of_any_system_call_costs_no_truth_and_is_told(directory):
    need_strace()
    scene = Scene(directory)
    points = []
    for (name, number), text in scene.reference().items():
        if name in NOT_FAILED or "<pipe:" in text:
            continue
        errors = ["ENOMEM"] if name in MEMORY else ["EAGAIN"] if name.startswith("clone") else ["EIO", "ENOSPC"]
        points += [(name, number, error) for error in errors + (["EINTR"] if name in RESTARTED else [])]
    complete = []

    def one(name, number, error):
        place, done = scene.struck("-e", f"trace={name}", "-e", f"inject={name}:error={error}:when={number}")
        assert done.returncode in (0, 1, 3), (done.returncode, done.err)
        # What it says is true, and a failure is never silent.
        report = json.loads(done.out) if done.out.strip() else {}
        assert report or done.err, "no word of what it did"
        assert (done.returncode == 0) <= (report.get("complete", False) and report["unreadable"] == 0), done.out
        if done.returncode == 0 and report["damaged"] == 3 and report["executables"] == 1:
            complete.append(name)
            scene.is_whole(place)
        scene.aftermath(place)
    Sweep(6).run(points, one)
    remark(f"complete at {len(complete)} points all the same")


@case()
def stopped_by_a_signal_at_any_time_it_ends_in_order_and_goes_on(directory):
    need_strace()
    scene = Scene(directory)
    points = [(name, number, kind) for name, number in scene.reference() if name in ("openat", "pread64", "linkat")
              for kind in ("INT", "TERM")]
    stopped = []

    def one(name, number, kind):
        place, done = scene.struck("-e", f"trace={name}", "-e", f"inject={name}:signal={kind}:when={number}")
        # Before it begins the signal ends it as any program.
        assert done.returncode in (0, 1, -signal.SIGINT, -signal.SIGTERM), (done.returncode, done.err)
        if done.returncode == 1:
            assert not json.loads(done.out)["complete"] and not done.err, (done.out, done.err)
            stopped.append(number)
        scene.aftermath(place)
    Sweep(3).run(points, one)
    assert stopped, "no import was stopped"


# -- disks -----------------------------------------------------------------------------------------------------------
def many(source, count, size=20_000):
    """Entries of as many hours ago as their number."""
    made = {action_id(f"many {number}"): body(f"many {number}", size) for number in range(count)}
    for age, (action, content) in enumerate(made.items(), 1):
        source.put(action, content, age * HOUR)
    return made


@case()
def a_disk_that_is_too_small_takes_the_newest_and_the_index_of_them(directory):
    with tmpfs(os.path.join(directory, "small"), "size=1m") as small:
        place = Place(os.path.join(directory, "place"), root=os.path.join(small, "root"))
        source = BuiltIn(os.path.join(directory, "built in"))
        made = many(source, 100)
        report = imported(place, source, "--free_floor=0%", "--quota=1GiB")
        assert report["complete"] and report["entries"] > 20 and report["no_room"] == 100 - report["entries"], report
        with place.helper() as helper:
            for number, (action, content) in enumerate(made.items()):
                if number < report["entries"]:
                    expect_hit(helper.get(action), content)
                else:
                    assert truthful(helper.get(action), [content]) is None
            assert helper.finish() == 0


@case()
def without_inodes_it_takes_what_it_can_and_says_so(directory):
    for inodes in (150, 151):
        with tmpfs(os.path.join(directory, "small"), f"size=16m,nr_inodes={inodes}") as small:
            place = Place(os.path.join(directory, f"place{inodes}"), root=os.path.join(small, "root"))
            source = BuiltIn(os.path.join(directory, "built in"))
            made = many(source, 200, size=100)
            report = imported(place, source, "--free_floor=0%", "--quota=1GiB")
            assert report["complete"] and report["entries"] > 30, report
            assert report["no_room"] == 200 - report["entries"], report
            with place.helper() as helper:
                for action, content in list(made.items())[:report["entries"]]:
                    expect_hit(helper.get(action), content)
                assert helper.finish() == 0


@case()
def a_disk_that_fills_up_meanwhile_is_told_what_came_stays_and_later_it_goes_on(directory):
    """Somebody else takes the last block between the look at the room and the write."""
    need_strace()
    scene = Scene(directory)
    place, done = scene.struck("-e", "trace=pwrite64", "-e", "inject=pwrite64:error=ENOSPC:when=3+")
    assert done.returncode == 1 and "No space left on device" in done.err, (done.out, done.err)
    assert "private" not in done.err and os.listdir(place.tmp) == [], done.err
    scene.aftermath(place)


@case()
def on_a_full_disk_nothing_is_taken_and_nothing_is_lost(directory):
    with tmpfs(os.path.join(directory, "small"), "size=2m") as small:
        place = Place(os.path.join(directory, "place"), root=os.path.join(small, "root"))
        source = BuiltIn(os.path.join(directory, "built in"))
        made = many(source, 5)
        mine = {action_id("mine"): body("mine")}
        place.fill(mine)
        filler = use_up_space(small)
        report = imported(place, source, "--free_floor=0%", "--quota=1GiB")
        assert report["no_room"] == 5 and report["entries"] == 0, report
        os.unlink(filler)
        assert imported(place, source, "--free_floor=0%", "--quota=1GiB")["entries"] == 5
        with place.helper() as helper:
            for action, content in (made | mine).items():
                expect_hit(helper.get(action), content)
            assert helper.finish() == 0


@case()
def what_may_not_be_read_is_left_out_and_told_by_the_status(directory):
    place = Place(os.path.join(directory, "place"))
    source = BuiltIn(os.path.join(directory, "built in"))
    made = many(source, 6)
    actions = list(made)
    os.chmod(source.path(actions[0], "a"), 0)
    os.chmod(source.path(output_id(made[actions[1]]), "d"), 0)
    become = plain_user(Place(directory))
    report = imported(place, source, status=3, preexec_fn=become)
    assert report["unreadable"] == 2 and report["entries"] == 4 and report["complete"], report
    done = finish(start(place, source, preexec_fn=become))
    assert done.returncode == 3 and "left out 2 files or directories that could not be read" in done.out, done.out


# -- others at the same time -----------------------------------------------------------------------------------------
@case()
def imports_at_the_same_time_do_each_others_work(directory):
    scene = Scene(directory)
    place = scene.place()
    runs = [start(place, scene.source, "--json") for _ in range(4)]
    for done in runs:
        finish(done)
        assert done.returncode == 0 and json.loads(done.out)["complete"], (done.out, done.err)
    scene.is_whole(place)
    objects = sum(len(names) for _, _, names in os.walk(place.path("objects")))
    stats = json.loads(tuck(place, "stats", "--json").stdout)
    assert stats["used_objects"] == objects and stats["counted"], (stats, objects)


@case()
def beside_a_clear_and_collectors_it_ends_and_nothing_wrong_is_served(directory):
    scene = Scene(directory)
    place = scene.place()
    for word in (["clear"], ["gc", "--max-size=0"], ["verify"]):
        run_import = start(place, scene.source, "--json")
        other = tuck(place, *word)
        assert other.returncode == 0, other
        finish(run_import)
        assert run_import.returncode == 0, run_import.err
        named_objects_are_whole(place.root)
    assert imported(place, scene.source)["complete"]
    with place.helper() as helper:
        for action, content in scene.go.items():
            assert truthful(helper.get(action), scene.allowed(action)) is not None
        assert helper.finish() == 0


@case()
def while_it_runs_a_helper_serves_and_stores(directory):
    """The import is stopped in the middle, where it holds nothing that others wait for."""
    need_strace()
    scene = Scene(directory)
    place, log = scene.place(), os.path.join(directory, "log")
    prefix = ["strace", "-f", "-o", log, "-e", "trace=linkat", "-e", "inject=linkat:signal=STOP:when=2"]
    process = start(place, scene.source, prefix=prefix, env=traceable())
    try:
        wait_until(lambda: "stopped by SIGSTOP" in read(log), "the import to be stopped", 4 * PROMPT)
        with place.helper() as helper:
            for action in scene.before:
                assert truthful(helper.get(action, timeout=PROMPT), scene.allowed(action)) is not None
            expect_put(helper.put(action_id("meanwhile"), body("meanwhile"), timeout=PROMPT), body("meanwhile"))
            assert helper.finish() == 0
    finally:
        with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:
            for child in file.read().split():
                os.kill(int(child), signal.SIGCONT)
    finish(process)
    assert process.returncode == 0, process.err
    scene.is_whole(place)


def read(path):
    with contextlib.suppress(FileNotFoundError), open(path) as file:
        return file.read()
    return ""


# -- file systems that share blocks ----------------------------------------------------------------------------------
@contextlib.contextmanager
def file_system(directory, kind):
    need_root()
    need_program(f"mkfs.{kind}")
    image, where = os.path.join(directory, "image"), os.path.join(directory, kind)
    os.mkdir(where)
    with open(image, "wb") as file:
        file.truncate(400 << 20)
    made = subprocess.run([f"mkfs.{kind}", "-q", image], capture_output=True, text=True)
    if made.returncode:
        skip(f"mkfs.{kind} does not work here: {made.stderr.strip()}")
    mounted = subprocess.run(["mount", "-o", "loop", image, where], capture_output=True, text=True)
    if mounted.returncode:
        skip(f"cannot mount a loop here: {mounted.stderr.strip()}")
    try:
        yield where
    finally:
        if subprocess.run(["umount", where], capture_output=True).returncode:
            subprocess.run(["umount", "-l", where], check=True)


def shares_its_blocks(path):
    """FIEMAP: every extent of the file is marked as shared."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        answer = bytearray(struct.pack("=QQIIII", 0, 2**63, 1, 0, 64, 0) + bytes(56 * 64))
        fcntl.ioctl(file, 0xC020660B, answer)
    count = struct.unpack_from("=QQIIII", answer)[3]
    flags = [struct.unpack_from("=I", answer, 32 + 56 * number + 40)[0] for number in range(count)]
    return count > 0 and all(flag & 0x2000 for flag in flags)


def blocks_are_shared(directory, kind):
    with file_system(directory, kind) as where:
        place = Place(os.path.join(where, "place"))
        source = BuiltIn(os.path.join(where, "built in"))
        made = many(source, 20, size=1_000_000)
        os.sync()
        free = os.statvfs(where).f_bavail * os.statvfs(where).f_frsize
        report = imported(place, source, "--quota=300MiB")
        assert report["entries"] == 20 and report["shared_bytes"] == 20_000_000, report
        os.sync()
        taken = free - os.statvfs(where).f_bavail * os.statvfs(where).f_frsize
        assert taken < 5_000_000, f"{taken} bytes of the disk for 20 MB that are shared"
        action, content = next(iter(made.items()))
        original, object_path = source.path(output_id(content), "d"), place.object(content)
        assert shares_its_blocks(object_path) and os.stat(original).st_nlink == 1
        # The go command writes its own file again, in place, and fails in the middle.
        with open(original, "r+b") as file:
            file.write(body("other", 500_000))
            file.truncate(0)
        os.sync()
        named_objects_are_whole(place.root)
        with place.helper() as helper:
            for action, content in made.items():
                expect_hit(helper.get(action), content)
            assert helper.finish() == 0
        half = body("half-written", 300_000)
        source.put(action_id("half"), half)
        with open(source.path(output_id(half), "d"), "r+b") as file:
            file.write(b"not yet")
        again = imported(place, source, "--quota=300MiB")
        assert again["damaged"] == 1 and again["present"] == 20, again


@case()
def on_xfs_bodies_are_shared_and_a_later_write_by_go_is_not_seen(directory):
    blocks_are_shared(directory, "xfs")


@case()
def on_btrfs_bodies_are_shared_and_a_later_write_by_go_is_not_seen(directory):
    blocks_are_shared(directory, "btrfs")


run(__name__)

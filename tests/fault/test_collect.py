# SPDX-License-Identifier: MIT
"""
Collections, clears, removals and repairs that die at any system call, or whose calls fail one by one: afterwards
nothing dangles, nobody is told an untruth, whoever comes next goes on, and after one scrub the sums say what is there.
And eight helpers at once against one small quota.
"""
import json, os, shutil, signal, subprocess, threading, time

from faults import (LONG, Place, PROMPT, SANITIZED, Sweep, aftermath, body, calls, counted, dice, index_space, later,
                    model, named_objects_are_whole, need_strace, remark, traceable, truthful, wait_until, walk_objects)
from helper import action_id, default_command, expect_hit, expect_put, output_id, tuck_bin
from tap import case, run

DAYS = 5 * 86400
# As in test_crash.py: between two of these nothing changes on disk.
CHANGING = set("openat openat2 write pwrite64 linkat link rename renameat renameat2 unlink unlinkat rmdir mkdir mkdirat "
               "ftruncate fallocate fsync fdatasync syncfs flock fcntl close exit_group".split())
NOT_FAILED = set("execve exit exit_group rt_sigreturn futex arch_prctl set_tid_address set_robust_list rseq "
                 "restart_syscall getrandom brk clock_gettime".split())
MEMORY = {"mmap", "mprotect", "mremap", "munmap", "madvise"}
if SANITIZED:
    NOT_FAILED |= MEMORY | {"sigaltstack", "sched_getaffinity", "prlimit64"}


class Scene:
    """
    A cache with old and young entries, some that share objects, empty ones, orphans, a damaged object and an entry
    without one; and a command that works on it.
    """

    OLD = model(24, name="old ", size=6000)
    SHARED = {action_id(f"shared {n}"): body("shared", 9000) for n in range(4)}
    EMPTY = {action_id(f"empty {n}"): b"" for n in range(3)}
    REPLACED = model(6, name="replaced ", size=5000)

    def __init__(self, directory, damage=False):
        self.directory, self.count, self.damage = directory, 0, damage
        self.template = Place(os.path.join(directory, "template"))
        self.template.fill(self.OLD | self.SHARED | self.EMPTY | self.REPLACED)
        self.replacing = {action: body(f"replacing {action.hex()}", 300) for action in self.REPLACED}
        self.template.fill(self.replacing)               # what was there before is named by nobody now
        self.all = self.OLD | self.SHARED | self.EMPTY | self.replacing
        self.hurt = set()
        if damage:
            contents = list(self.OLD.values())
            for content in contents[:3]:
                os.chmod(self.template.object(content), 0o600)
                with open(self.template.object(content), "r+b") as file:
                    file.write(b"damage")
            os.unlink(self.template.object(contents[3]))
            self.hurt = set(contents[:4])
        self.template.entries()

    def place(self):
        self.count += 1
        return self.template.copy(os.path.join(self.directory, f"run{self.count}"))

    def straced(self, *options):
        """The command's time is moved, not strace's."""
        return ["strace", "-f", "-qq", *(word for name, value in later(DAYS).items() for word in ("-E", f"{name}={value}")),
                *options]

    def reference(self, command, with_start):
        """
        (name, number) of every system call of the command, in order, and of which thread comes first; without those before
        it looks at the cache, if they are not wanted: the loader's, and those for its settings.
        """
        log = os.path.join(self.directory, "log")
        place = self.place()
        command(place, self.straced("-o", log), 0)
        counts, points = {}, []
        for thread, name, text in calls(log):
            counts[thread, name] = counts.get((thread, name), 0) + 1
            points.append((name, counts[thread, name]))
        first = next((i for i, (_, _, text) in enumerate(calls(log)) if "tuck.json" in text), 0)
        return list(dict.fromkeys(points if with_start else points[first:]))

    def check(self, place, dangles=False, end=DAYS):
        """What has to hold whatever died: and by `end` it can be brought to an end."""
        named = {action: [content] for action, content in self.all.items()}
        found = json.loads(place.tuck("verify", "--json", check=False).stdout)
        if not dangles:
            assert found["dangling"] == (1 if self.damage else 0), found
            assert found["damaged"] <= (3 if self.damage else 0), found
        counted(place)                                   # one scrub is enough
        if not self.damage:
            named_objects_are_whole(place.root)
        with place.helper() as helper:
            for action, bodies in named.items():
                truthful(helper.get(action, timeout=PROMPT), bodies)
            for action, bodies in named.items():
                expect_put(helper.put(action, bodies[0], timeout=PROMPT), bodies[0])
            assert helper.finish() == 0
        if self.damage:                                  # what is still damaged on disk was not asked for
            place.tuck("verify", "--repair", check=False)
        done = json.loads(place.tuck("gc", "--json", "--max-size=1", env=later(end)).stdout)
        assert not done["busy"] and done["objects"] > 0, done
        assert list(walk_objects(place.root)) == [], "something can never be removed"
        place.tuck("verify")
        counted(place)
        shutil.rmtree(place.directory)


def command(*words, status=(0,)):
    def run_it(place, prefix, killed):
        done = place.tuck(*words, prefix=prefix, check=False, env=traceable())
        allowed = set(status) | ({-9, 137} if killed else set())
        assert done.returncode in allowed, (done.returncode, done.stderr[-1000:])
        assert b"Sanitizer" not in done.stderr and b"runtime error" not in done.stderr, done.stderr[-2000:]
        return done.returncode
    return run_it


def kill_everywhere(scene, run_it, seconds, dangles=False):
    points = scene.reference(run_it, with_start=LONG)
    changing = [point for point in points if point[0] in CHANGING]
    rest = [point for point in points if point[0] not in CHANGING and point[0] != "execve"]

    def one(name, number):
        place = scene.place()
        run_it(place, scene.straced("-o", os.devnull, "-e", f"trace={name}",
                                    "-e", f"inject={name}:signal=KILL:when={number}"), True)
        scene.check(place, dangles)
    sweep = Sweep(seconds)
    sweep.random.shuffle(changing)
    sweep.run(changing + rest, one)


def fail_everywhere(scene, run_it, seconds, dangles=False):
    points = [(name, number, error) for name, number in scene.reference(run_it, with_start=False) if name not in NOT_FAILED
              for error in (["ENOMEM"] if name in MEMORY else ["EAGAIN"] if name.startswith("clone") else
                            ["EIO", "ENOSPC"])]

    def one(name, number, error):
        place = scene.place()
        run_it(place, scene.straced("-o", os.devnull, "-e", f"trace={name}",
                                    "-e", f"inject={name}:error={error}:when={number}"), False)
        scene.check(place, dangles)
    Sweep(seconds).run(points, one)


GC = ("gc", "--max-size=60000")


@case("P-20", "P-21")
def a_collection_killed_at_any_system_call_leaves_nothing_dangling(directory):
    need_strace()
    kill_everywhere(Scene(directory), command(*GC), 6)


@case("P-20")
def a_clear_killed_at_any_system_call_leaves_nothing_dangling(directory):
    need_strace()
    kill_everywhere(Scene(directory), command("clear"), 3)


@case("P-20")
def a_removal_killed_at_any_system_call_leaves_nothing_dangling(directory):
    need_strace()
    kill_everywhere(Scene(directory), command("rm", output_id(body("shared", 9000)).hex()), 2)


@case("P-20")
def a_repair_killed_at_any_system_call_can_be_made_anew(directory):
    need_strace()
    kill_everywhere(Scene(directory, damage=True), command("verify", "--repair", status=(3,)), 4, dangles=True)


@case("P-17")
def a_failure_of_any_system_call_of_a_collection_costs_no_truth(directory):
    need_strace()
    fail_everywhere(Scene(directory), command(*GC, status=(0, 1)), 5)


@case("P-17")
def a_failure_of_any_system_call_of_a_clear_a_removal_or_a_repair_costs_no_truth(directory):
    need_strace()
    scene = Scene(os.path.join(directory, "sound"))
    fail_everywhere(scene, command("clear", status=(0, 1)), 2)
    fail_everywhere(scene, command("rm", output_id(body("shared", 9000)).hex(), status=(0, 1)), 2)
    fail_everywhere(Scene(os.path.join(directory, "damaged"), damage=True),
                    command("verify", "--repair", status=(1, 3)), 2, dangles=True)


# -- inside a helper -------------------------------------------------------------------------------------------------
def collecting_helper(scene):
    """A helper that finds the cache over its quota: it collects on a thread while it serves, and when it ends."""
    def run_it(place, prefix, killed):
        before = len(list(walk_objects(place.root)))
        env = {"TUCK_QUOTA": "60000", "TUCK_FREE_FLOOR": "0"} | traceable()
        content = body("new", 500)
        with place.helper(prefix=prefix, env=env, handshake=False) as helper:
            try:
                assert helper.answer_to(0, PROMPT).get("KnownCommands")
                expect_put(helper.put(action_id("new"), content, timeout=PROMPT), content)
                wait_until(lambda: len(list(walk_objects(place.root))) < before or helper.process.poll() is not None,
                           "a collection")
                truthful(helper.get(action_id("new"), timeout=PROMPT), [content])
                helper.close(timeout=PROMPT)
                helper.eof()
                status = helper.wait(PROMPT)
            except (AssertionError, BrokenPipeError):
                if not killed:
                    raise
                status = helper.wait(PROMPT)
        assert status in ((0, -9) if killed else (0,)), (status, helper.stderr_raw[-500:])
    scene.all = scene.all | {action_id("new"): body("new", 500)}
    return run_it


@case("P-20", "P-21", "C-01")
def a_helper_killed_at_any_system_call_while_it_collects_leaves_nothing_dangling(directory):
    need_strace()
    scene = Scene(directory)
    kill_everywhere(scene, collecting_helper(scene), 8)


# -- beside others ---------------------------------------------------------------------------------------------------
def state_of(tracer):
    """(child, its state) of a tracer; (None, None) while there is none or after its end."""
    try:
        with open(f"/proc/{tracer.pid}/task/{tracer.pid}/children") as file:
            children = file.read().split()
        if len(children) == 1:                           # more: strace tries out what the kernel can
            with open(f"/proc/{children[0]}/stat") as file:
                return int(children[0]), file.read().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        pass
    return None, None


def stopped_collection(place, name, number):
    """A collection that is stopped at this system call, and the process that is; None if it never came so far."""
    env = {n: v for n, v in os.environ.items() if not n.startswith("TUCK_")} | place.settings() | {
        "GOCACHE": place.gocache}
    tracer = subprocess.Popen(
        ["strace", "-f", "-qq", *(word for n, v in later(DAYS).items() for word in ("-E", f"{n}={v}")), "-o", os.devnull,
         "-e", f"trace={name}", "-e", f"inject={name}:signal=STOP:when={number}", tuck_bin(), *GC],
        env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    since = [None, 0.0]

    def there():
        """A traced process stops for a moment at each call, and for good at one."""
        child, state = state_of(tracer)
        now = time.monotonic()
        if state is None or state not in "Tt" or since[0] != child:
            since[:] = [child if state is not None and state in "Tt" else None, now]
        return tracer.poll() is not None or (since[0] and now - since[1] > 0.1)
    wait_until(there, "the stop, or the end")
    return tracer, None if tracer.poll() is not None else since[0]


@case("O-06", "C-01", "P-21")
def a_collection_stopped_at_any_system_call_delays_nobody(directory):
    need_strace()
    scene = Scene(directory)
    soon = 8.0 if SANITIZED else 2.0
    worst = [0.0]
    points = [p for p in scene.reference(command(*GC), with_start=LONG)
              if p[0] in {"pwrite64", "fcntl", "flock", "renameat", "unlinkat", "pread64", "fdatasync"}]

    def one(name, number):
        place = scene.place()
        tracer, pid = stopped_collection(place, name, number)
        try:
            # By the collector's clock: it may look at what there is only after these have been put.
            young = model(3, name=f"young {name} {number} ", size=200)
            began = time.monotonic()
            with place.helper(env=later(DAYS)) as helper:
                for action, content in list(scene.OLD.items())[:5]:
                    truthful(helper.get(action, timeout=soon), [content])
                for action, content in young.items():
                    expect_put(helper.put(action, content, timeout=soon), content)
                    expect_hit(helper.get(action, timeout=soon), content)
                helper.close(timeout=soon)
                took = time.monotonic() - began
                helper.eof()
                assert helper.wait(PROMPT) == 0
            worst[0] = max(worst[0], took)
            assert took < soon, f"{took:.2f} s"
            with place.helper(env=later(DAYS)) as helper:
                for action, content in young.items():
                    expect_hit(helper.get(action, timeout=soon), content)
                assert helper.finish() == 0
            place.stats()
        finally:
            if pid:
                os.kill(pid, signal.SIGCONT)             # its tracer lives, so the number is still its own
            tracer.wait(PROMPT)
        with place.helper(env=later(DAYS)) as helper:  # what was put beside it is no victim
            for action, content in young.items():
                expect_hit(helper.get(action, timeout=PROMPT), content)
            assert helper.finish() == 0
        scene.check(place, end=2 * DAYS)
    sweep = Sweep(6, workers=1)
    sweep.run(points, one)
    remark(f"slowest session beside a stopped collection: {worst[0]:.2f} s")


def space_of(root):
    """Bytes and inodes as du counts them."""
    bytes_, inodes = 0, 0
    for folder, folders, names in os.walk(root):
        for path in [folder] + [os.path.join(folder, name) for name in names]:
            try:
                stat = os.lstat(path)
            except FileNotFoundError:
                continue
            bytes_ += stat.st_blocks * 512
            inodes += 1
    return bytes_, inodes


@case("P-21", "O-06")
def eight_helpers_that_write_at_once_stay_within_the_bound(directory):
    """
    The bound is the quota, and what was used within the hour: here what these eight put. So the old half of the cache
    has to make place for what they put, to the last object, and the sums and gc say that it is over.
    """
    place, chance = Place(directory), dice()
    quota, each = 6 << 20, 1 << 20
    old = model(160, name="old ", size=32000)            # 5 MiB, nearly full
    place.fill(old)
    env = {"TUCK_QUOTA": str(quota), "TUCK_FREE_FLOOR": "0"} | later(DAYS)
    most = [0, 0]
    is_over = threading.Event()
    errors = []

    def watch():
        while not is_over.is_set():
            for i, value in enumerate(space_of(place.root)):
                most[i] = max(most[i], value)

    def write(number):
        try:
            with place.helper(env=env) as helper:
                put = 0
                while put < each:
                    size = chance.choice((400, 4000, 40000))
                    content = body(f"{number} {put}", size)
                    expect_put(helper.put(action_id(f"{number} {put}"), content, timeout=PROMPT), content)
                    put += size
                assert helper.finish() == 0
        except BaseException as error:
            errors.append(error)

    watcher = threading.Thread(target=watch)
    writers = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    watcher.start()
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(PROMPT * 6)
    is_over.set()
    watcher.join(PROMPT)
    if errors:
        raise errors[0]
    place.tuck("gc", env=env)                            # helpers end one by one; this is the last word
    stats = place.stats(env=env)
    used, inodes = space_of(place.root)
    objects = list(walk_objects(place.root))
    young = sum((size + 4095) // 4096 * 4096 for _, size in objects)
    remark(f"{stats['used_objects']} objects counted, {len(objects)} there")
    remark(f"quota {quota >> 10} KiB: {used >> 10} KiB and {inodes} inodes now, {most[0] >> 10} KiB and {most[1]} at most; "
           f"{stats['used_bytes'] >> 10} KiB by the sums")
    leases = 64 << 10
    index = index_space(place)
    directories = 264 * 4096
    assert young > quota, "too little was put for this test to tell anything"
    # A collector that could not make enough room has counted while the others put. What they put at the moment when it
    # began may be in its count and in their counters, or in neither, until the next count.
    off = abs(stats["used_objects"] - len(objects))
    assert off <= 64, f"{stats['used_objects']} counted, {len(objects)} there"
    place.tuck("verify", env=env)
    stats = place.stats(env=env)
    counted(place, stats)
    old_left = sum(os.path.exists(place.object(content)) for content in old.values())
    assert old_left == 0, f"{old_left} old objects stay while the cache is over its quota"
    # While they wrote: quota + what they put (within the hour, and given out) + what was not looked at yet.
    assert most[0] <= quota + young + index + directories + 8 * leases, (most, young)
    assert most[1] <= len(old) + len(objects) + 264 + 32, (most, len(objects))
    told = place.tuck("stats", env=env).stdout.decode()
    assert "over" in told, told
    done = json.loads(place.tuck("gc", "--json", env=env).stdout)
    assert done["over"] and done["used_after"] > quota and done["entries"] == 0, done
    assert "last hours" in place.tuck("gc", env=env).stdout.decode()
    # And some hours later it is the quota alone.
    place.tuck("gc", env=env | later(2 * DAYS))
    stats = place.stats(env=env)
    assert stats["used_bytes"] <= quota * 0.8 and not stats["over"], stats
    counted(place, stats)
    aftermath(place, {action_id("0 0"): [body("0 0", size) for size in (400, 4000, 40000)]})


@case("P-20")
def a_verification_that_is_interrupted_says_so(directory):
    """Not that all is sound: most was not looked at."""
    need_strace()
    place = Place(directory)
    place.fill(model(40, size=3000))
    interrupt = ["strace", "-f", "-qq", "-o", os.devnull, "-e", "trace=getdents64",
                 "-e", "inject=getdents64:signal=INT:when=30"]
    env = traceable()
    whole = json.loads(place.tuck("verify", "--json", env=env).stdout)
    assert whole["complete"] and whole["objects"] > 20, whole
    done = place.tuck("verify", "--json", env=env, prefix=interrupt, check=False)
    part = json.loads(done.stdout)
    assert done.returncode == 1 and not part["complete"] and part["objects"] < whole["objects"], (done.returncode, part)
    done = place.tuck("verify", env=env, prefix=interrupt, check=False)
    assert done.returncode == 1 and b"interrupted" in done.stdout, done


run(__name__)

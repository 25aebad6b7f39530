# SPDX-License-Identifier: MIT
"""
What the tests of this folder share: a place to run in, faults that the kernel can be made to give, and the oracle
that says whether a cache told the truth afterwards.

The faults come from outside of the helper, so that the program under test is the one that users run: small tmpfs
mounts, resource limits, seccomp filters (one system call always fails) and strace (one call fails or kills, once).
"""
import concurrent.futures, contextlib, ctypes, errno, hashlib, json, os, platform, random, re, shutil, struct, subprocess
import sys, time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))

LONG = bool(os.environ.get("TUCK_TEST_LONG"))
if LONG:
    os.environ.setdefault("TUCK_TEST_LIMIT", "900")  # before tap reads it

from disks import use_up_space  # noqa: E402, F401 for those who import this
from helper import (Helper, action_id, default_command, expect_hit, expect_miss, expect_put,  # noqa: E402
                    output_id, tuck_bin)
from tap import need_program, need_root, skip  # noqa: E402

SANITIZED = bool(os.environ.get("TUCK_TEST_SANITIZED"))
SEED = int(os.environ.get("TUCK_TEST_SEED") or int.from_bytes(os.urandom(4), "big"))
PROMPT = 20.0 if SANITIZED else 5.0  # seconds; an answer that takes longer counts as a hang
NOBODY = 65534


def remark(text):
    print(f"# {text}", flush=True)


def dice():
    """A fresh random source; its seed is printed so that a failure can be run again."""
    remark(f"TUCK_TEST_SEED={SEED}")
    return random.Random(SEED)


def body(name, size=700):
    """A body of `size` bytes that differs for each name and does not compress."""
    return random.Random(f"body {name}").randbytes(size)


class Place:
    """The directories of one test: cache root, GOCACHE and TMPDIR, all inside its scratch directory."""

    def __init__(self, directory, root=None):
        self.directory = directory
        self.root = root or os.path.join(directory, "root")
        self.gocache = os.path.join(directory, "gocache")
        self.tmp = os.path.join(directory, "tmp")
        for path in (directory, self.gocache, self.tmp):
            os.makedirs(path, exist_ok=True)

    def settings(self):
        return {"TUCK_DIR": self.root, "TMPDIR": self.tmp, "HOME": self.directory,
                "XDG_CONFIG_HOME": os.path.join(self.directory, "config")}

    def helper(self, env=None, **more):
        return Helper(self.directory, gocache=self.gocache, env=self.settings() | (env or {}), **more)

    def raw_helper(self, closed=(), **more):
        """A helper process without the threads that read from it, and without the descriptors in `closed`."""
        def close():
            for number in closed:
                os.close(number)
        env = {name: value for name, value in os.environ.items() if not name.startswith("TUCK_")}
        env |= self.settings() | {"GOCACHE": self.gocache}
        pipes = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
        return subprocess.Popen(default_command() + (["serve"] if 0 in closed else []), env=env, preexec_fn=close,
                                start_new_session=True, **(pipes | more))

    def tuck(self, *words, env=None, prefix=(), check=True, **more):
        """Runs a subcommand to its end; with `check` it must end well."""
        full = {name: value for name, value in os.environ.items() if not name.startswith("TUCK_")}
        full |= self.settings() | {"GOCACHE": self.gocache} | (env or {})
        done = subprocess.run([*prefix, tuck_bin(), *words], env=full, capture_output=True, stdin=subprocess.DEVNULL,
                              timeout=120, **more)
        assert not check or done.returncode == 0, (words, done.returncode, done.stdout[-500:], done.stderr[-1000:])
        return done

    def stats(self, **more):
        return json.loads(self.tuck("stats", "--json", **more).stdout)

    def path(self, *parts):
        return os.path.join(self.root, *parts)

    def object(self, content):
        """Where the object of this body lies; the test is skipped for a helper with another layout."""
        name = output_id(content).hex()
        if not os.path.isdir(self.path("objects")):
            skip("this helper keeps its objects elsewhere")
        return self.path("objects", name[:2], name[2:])

    def entries(self):
        path = self.path("index", "entries")
        if not os.path.isfile(path):
            skip("this helper keeps its index elsewhere")
        return path

    def private(self):
        """The private directories that helpers made below TMPDIR."""
        return [os.path.join(self.tmp, n) for n in os.listdir(self.tmp) if n.startswith("tuck-private-")]

    def fill(self, model):
        """Puts every action of the model by a helper that ends in order."""
        with self.helper() as helper:
            for action, content in model.items():
                expect_put(helper.put(action, content), content)
            assert helper.finish() == 0

    def copy(self, directory):
        """A second place with a copy of this one's root."""
        other = Place(directory)
        shutil.copytree(self.root, other.root, symlinks=True)
        return other


class Drives(Place):
    """A cache on several drives, which are directories or disks."""

    def __init__(self, directory, roots):
        """`roots` is the list of drives, or how many there are to be."""
        super().__init__(directory)
        self.roots = [os.path.join(directory, f"d{n}") for n in range(roots)] if isinstance(roots, int) else roots

    def settings(self):
        return super().settings() | {"TUCK_DIR": None, "TUCK_DRIVES": ";".join(self.roots)}

    def helper(self, env=None, **more):
        if os.environ.get("TUCK_HELPER"):
            skip("needs TUCK_DRIVES")
        return super().helper(env, **more)

    def drive_of(self, answer):
        """The number of the drive on which the file lies that was answered with; None: a private directory."""
        path = os.path.realpath(answer["DiskPath"])
        found = [n for n, root in enumerate(self.roots) if path.startswith(os.path.realpath(root) + os.sep)]
        assert found or os.path.realpath(self.tmp) in path, path
        assert found == [] or answer["DiskPath"].startswith(self.gocache + os.sep), answer
        return found[0] if found else None

    def where(self, helper, bodies):
        """{action: drive} of what is hit; all of it must be."""
        found = {}
        for action, content in bodies.items():
            answer = helper.get(action, timeout=PROMPT)
            expect_hit(answer, content)
            found[action] = self.drive_of(answer)
        return found

    def tuck(self, *words, status=0):
        """Runs a subcommand; `status` None: any."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("TUCK_")} | self.settings()
        env = {k: v for k, v in env.items() if v is not None} | {"GOCACHE": self.gocache}
        done = subprocess.run([tuck_bin(), *words], env=env, capture_output=True, text=True, timeout=60)
        assert status is None or done.returncode == status, (words, done)
        return done
def later(seconds):
    """An environment in which it is so much later; what is there has grown old."""
    library = os.environ.get("TUCK_TEST_LATER_SO")
    if not library or not os.path.exists(library):
        skip("the library that moves the clock is not built")
    # The sanitizers want to be loaded first; this one gets out of their way.
    options = [o for o in (os.environ.get("ASAN_OPTIONS"), "verify_asan_link_order=0", "detect_leaks=0") if o]
    return {"LD_PRELOAD": library, "TUCK_TEST_LATER": str(seconds), "ASAN_OPTIONS": ":".join(options)}


def walk_objects(root):
    """(path, size) of every object on a drive."""
    for folder, _, names in os.walk(os.path.join(root, "objects")):
        for name in names:
            if re.fullmatch(r"[0-9a-f]{62}", name):
                path = os.path.join(folder, name)
                try:
                    yield path, os.lstat(path).st_size
                except FileNotFoundError:
                    pass                             # somebody removes them at this moment


def index_space(place):
    """What the index takes of the drive."""
    return sum(os.stat(path).st_blocks * 512 for path in (place.entries(), place.path("index", "brief"))
               if os.path.exists(path))


def counted(place, stats=None):
    """The drive's sums say what is there: objects, and bytes of whole blocks with the index."""
    stats = stats or place.stats()
    sizes = [size for _, size in walk_objects(place.root)]
    blocks = sum((size + 4095) // 4096 * 4096 for size in sizes)
    index = index_space(place)
    assert stats["counted"], stats
    assert stats["used_objects"] == len(sizes), f"{stats['used_objects']} counted, {len(sizes)} there"
    # ext4 may have given the index one block more meanwhile, for the list of its extents.
    assert blocks + index - stats["used_bytes"] in (0, 4096), f"{stats['used_bytes']} counted, {blocks} + {index} there"


def model(count, name="m", size=700):
    return {action_id(f"{name}{i}"): body(f"{name}{i}", size + i) for i in range(count)}


# -- the oracle ------------------------------------------------------------------------------------------------------
def truthful(answer, bodies):
    """The answer is a miss, or a hit with one of these bodies, whole and right; returns that body or None."""
    if answer.get("Miss"):
        expect_miss(answer)
        return None
    assert not answer.get("Err"), f"a well-formed get was answered with Err: {answer}"
    for content in bodies:
        if answer.get("OutputID") and hashlib.sha256(content).digest() == _raw(answer["OutputID"]):
            expect_hit(answer, content)
            return content
    raise AssertionError(f"an output that was never put for this action: {answer}")


def _raw(text):
    import base64
    return base64.b64decode(text, validate=True)


def put_or_err(helper, action, content):
    """A put that may fail: its answer has a file with exactly the body, or an Err. Returns True when it succeeded."""
    answer = helper.put(action, content, timeout=PROMPT)
    if answer.get("Err"):
        assert not answer.get("DiskPath"), answer
        return False
    expect_put(answer, content)
    return True


def named_objects_are_whole(root):
    """Every file that has an object's name has its bytes too, whoever was killed while making it."""
    top = os.path.join(root, "objects")
    for folder, _, names in os.walk(top):
        for name in names:
            if os.path.dirname(folder) == root or not re.fullmatch(r"[0-9a-f]{62}", name):
                continue
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            assert found == os.path.basename(folder) + name, f"{path} holds {found} ({os.path.getsize(path)} bytes)"


def aftermath(place, allowed, must=None):
    """
    What has to hold whatever happened before: a fresh helper starts, tells no untruth about the actions of `allowed`
    (action: every body ever put for it), still has those of `must` (action: body), and works: puts are taken, hit
    in the same session and in the next one.
    """
    must = must or {}
    named_objects_are_whole(place.root)
    with place.helper() as helper:
        for action, bodies in allowed.items():
            found = truthful(helper.get(action, timeout=PROMPT), bodies)
            if action in must:
                assert found == must[action], "an entry that was durable before is lost or old"
        expect_miss(helper.get(action_id("never put"), timeout=PROMPT))
        for action, bodies in allowed.items():
            expect_put(helper.put(action, bodies[-1], timeout=PROMPT), bodies[-1])
            expect_hit(helper.get(action, timeout=PROMPT), bodies[-1])
        assert helper.finish() == 0
    with place.helper() as helper:
        for action, bodies in allowed.items():
            expect_hit(helper.get(action, timeout=PROMPT), bodies[-1])
        assert helper.finish() == 0
    named_objects_are_whole(place.root)


def complaints(helper):
    """The lines on stderr; each must be one of tuck's own."""
    lines = helper.stderr_raw.decode(errors="replace").splitlines()
    for line in lines:
        assert line.startswith("tuck: "), f"a line on stderr that is not from tuck: {line}"
    return lines


# -- mounts ----------------------------------------------------------------------------------------------------------
@contextlib.contextmanager
def tmpfs(path, options):
    """A file system of its own at `path`, gone afterwards whatever happens."""
    need_root()
    os.makedirs(path, exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], capture_output=True, text=True)
    if done.returncode:
        skip(f"cannot mount here: {done.stderr.strip()}")
    try:
        yield path
    finally:
        if subprocess.run(["umount", path], capture_output=True).returncode:
            subprocess.run(["umount", "-l", path], check=True)


def use_up_inodes(path):
    """Creates empty files until no inode is left; returns their directory."""
    top = os.path.join(path, "fillers")
    os.makedirs(top, exist_ok=True)
    for number in range(1 << 20):
        try:
            open(os.path.join(top, str(number)), "wb").close()
        except OSError as error:
            assert error.errno == errno.ENOSPC, error
            return top
    raise AssertionError("inodes without end")


# -- another user ----------------------------------------------------------------------------------------------------
def plain_user(place):
    """
    What a helper needs to run without root's rights: for root, a preexec that becomes nobody, with the place given to
    nobody; for everyone else nothing.
    """
    if os.geteuid() != 0:
        return None
    if not _reachable(shutil.which(default_command()[0])):
        skip("the program under test lies where other users cannot reach it")
    give_away(place.directory)
    above = place.directory
    while not os.path.basename(above).startswith("tuck-test-") and above != "/":
        above = os.path.dirname(above)
        os.chmod(above, os.stat(above).st_mode | 0o011)
    return _become_nobody


def _reachable(path):
    """Whether nobody may run this file, seen from the modes of all directories above it."""
    path = os.path.realpath(path)
    if not os.stat(path).st_mode & 0o001:
        return False
    while path != "/":
        path = os.path.dirname(path)
        if not os.stat(path).st_mode & 0o001:
            return False
    return True


def give_away(top):
    for folder, _, names in os.walk(top):
        for path in [folder] + [os.path.join(folder, n) for n in names]:
            os.lchown(path, NOBODY, NOBODY)


def _become_nobody():
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


# -- seccomp: a system call that always fails ------------------------------------------------------------------------
_NUMBERS = {
    "x86_64": {"openat": 257, "openat2": 437, "linkat": 265, "renameat2": 316, "renameat": 264, "rename": 82,
               "flock": 73, "fcntl": 72, "fallocate": 285, "clone": 56, "clone3": 435, "mkdirat": 258, "mkdir": 83},
    "aarch64": {"openat": 56, "openat2": 437, "linkat": 37, "renameat2": 276, "renameat": 38, "flock": 32,
                "fcntl": 25, "fallocate": 47, "clone": 220, "clone3": 435, "mkdirat": 34},
}
O_TMPFILE_BIT = 0o20000000
_libc = ctypes.CDLL(None, use_errno=True)


def always_fails(*rules):
    """
    A preexec after which system calls fail: each rule is (name, errno) or (name, errno, argument, values), the latter
    with argument either ("bit", position) or ("is", position): only calls with such an argument.
    """
    numbers = _NUMBERS.get(platform.machine())
    if not numbers:
        skip("no system call numbers for this machine")
    program = []
    for rule in rules:
        name, number = rule[0], rule[1]
        if name not in numbers:
            continue
        tests = []
        if len(rule) > 2:
            (kind, position), values = rule[2], rule[3]
            tests.append((0x20, 0, 0, 16 + 8 * position))           # load the low half of the argument
            jump = 0x45 if kind == "bit" else 0x15                  # JSET or JEQ
            for index, value in enumerate(values):
                tests.append((jump, len(values) - index, 0, value))
            tests.append((0x05, 0, 0, 1))                           # none of them: jump over the verdict
        tests.append((0x06, 0, 0, 0x00050000 | number))             # return this errno
        program += [(0x20, 0, 0, 0), (0x15, 0, len(tests), numbers[name])] + tests
    program.append((0x06, 0, 0, 0x7FFF0000))                        # allow
    code = b"".join(struct.pack("=HBBI", *line) for line in program)
    buffer = ctypes.create_string_buffer(code, len(code))

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
    argument = Program(len(program), ctypes.addressof(buffer))

    def install(_keep=buffer):
        if _libc.prctl(38, 1, 0, 0, 0) or _libc.prctl(22, 2, ctypes.byref(argument), 0, 0):
            os._exit(126)
    return install


def no_unnamed_files(number=errno.EOPNOTSUPP):
    """A kernel or file system without O_TMPFILE."""
    return always_fails(("openat", number, ("bit", 2), [O_TMPFILE_BIT]), ("openat2", errno.ENOSYS))


# -- strace: one system call fails or kills, once --------------------------------------------------------------------
def another_boot(directory):
    """A prefix for the helper's command under which the machine seems to have been started anew. Needs root."""
    need_root()
    need_program("unshare")
    identity = os.path.join(directory, "boot_id")
    with open(identity, "w") as file:
        file.write(f"{random.getrandbits(128):032x}\n")
    return ["unshare", "--mount", "sh", "-c",
            f'mount --bind "{identity}" /proc/sys/kernel/random/boot_id && exec "$@"', "sh"]


def need_strace():
    need_program("strace")
    if subprocess.run(["strace", "-f", "-o", os.devnull, "true"], capture_output=True).returncode:
        skip("strace may not trace here")


def traceable():
    """LeakSanitizer cannot work in a traced process: it would report that and fail every run."""
    options = [o for o in (os.environ.get("ASAN_OPTIONS"), "detect_leaks=0") if o]
    return {"ASAN_OPTIONS": ":".join(options)}


# Between two of these the state on disk does not change: killing at each of them sees every state there is.
CHANGING = set("openat openat2 open creat write writev pwrite64 pwritev pwritev2 copy_file_range linkat link symlink "
               "symlinkat rename renameat renameat2 unlink unlinkat rmdir mkdir mkdirat truncate ftruncate fallocate "
               "fsync fdatasync sync_file_range syncfs fchmod fchmodat chmod utimensat flock fcntl close msync munmap "
               "exit_group".split())
# Failing these says nothing about storage: the program does not start, the C library gives up, or no kernel does it
# (getrandom never fails; brk tells failure in another way than by an error number).
NOT_FAILED = set("execve exit exit_group rt_sigreturn futex arch_prctl set_tid_address set_robust_list rseq "
                 "restart_syscall getrandom brk".split())
MEMORY = {"mmap", "mprotect", "mremap", "munmap", "madvise"}
if SANITIZED:  # the sanitizer's own bookkeeping, which gives up when these fail
    NOT_FAILED |= MEMORY | {"sigaltstack", "sched_getaffinity", "prlimit64"}
RESTARTED = set("read write readv writev pread64 pwrite64 fsync fdatasync fallocate ftruncate poll ppoll".split())


def calls(log):
    """The system calls in a strace log, in order, as (thread, name, text)."""
    found = []
    with open(log, errors="replace") as file:
        for line in file:
            match = re.match(r"(?:(\d+) +)?([a-z_0-9]+)\(", line)
            if match:
                found.append((match[1], match[2], line.rstrip()))
    return found


def wait_until(true, what, seconds=PROMPT):
    """For what no descriptor tells: the state of another process, the time stamp of a file."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.001)


def threads(helper):
    """The threads of a helper besides its main one, oldest first."""
    return sorted(int(n) for n in os.listdir(f"/proc/{helper.process.pid}/task") if int(n) != helper.process.pid)


@contextlib.contextmanager
def traced(thread, *options):
    """
    strace attached to one thread of a running helper. An injection counts calls per thread, so this is the way to
    reach those of a thread whose counts stay below the main thread's.
    """
    tracer = subprocess.Popen(["strace", "-p", str(thread), *options], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        line = tracer.stderr.readline()
        assert b"attached" in line, line
        yield tracer
    finally:
        try:
            tracer.wait(2)                           # it ends with its thread
        except subprocess.TimeoutExpired:
            tracer.terminate()
            tracer.wait(5)
        tracer.stderr.close()


class Sweep:
    """
    Runs one experiment per fault point, on all processors. In the default run a sample that fits into `seconds`, in
    random order, but `first` ones always; with TUCK_TEST_LONG=1 all.
    """

    def __init__(self, seconds, workers=4):
        self.seconds = seconds
        self.workers = max(1, min(workers, len(os.sched_getaffinity(0))))
        self.random = dice()

    def run(self, points, experiment, first=0):
        points = list(points)
        head, tail = points[:first], points[first:]
        self.random.shuffle(tail)
        queue = head + tail
        end = time.monotonic() + self.seconds
        failures, done = [], 0
        with concurrent.futures.ThreadPoolExecutor(self.workers) as pool:
            running = {}
            try:
                while queue or running:
                    while queue and len(running) < self.workers and len(failures) < (50 if LONG else 8):
                        if not LONG and done >= first and time.monotonic() > end:
                            break
                        point = queue.pop(0)
                        running[pool.submit(experiment, *point)] = point
                        done += 1
                    if not running:
                        break
                    ready, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
                    for future in ready:
                        point = running.pop(future)
                        if future.exception():
                            failures.append((point, future.exception()))
            finally:
                queue.clear()
        remark(f"{done} of {len(points)} fault points")
        if failures:
            for point, error in failures:
                text = str(error).replace("\n", " ")[:600]
                remark(f"at {' '.join(map(str, point))}: {type(error).__name__}: {text}")
            raise AssertionError(f"{len(failures)} fault points went wrong, the first: {failures[0][0]}") \
                from failures[0][1]

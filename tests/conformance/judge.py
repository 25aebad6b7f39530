# SPDX-License-Identifier: MIT
"""
What the conformance tests share: a place to run in, sessions that are judged when they end, hostile input with a
verdict, and an oracle for what a second helper may see afterwards.

Rule G0 holds for every session of this folder, not only for the hostile ones: nothing but answers on stdout, the
handshake first and once, no answer to an ID that was not asked or was answered before, an end in bounded time, no
death by signal or sanitizer. And for every place, when its test is over: a fresh helper starts there, tells no
untruth about anything that was ever sent, and works. A test only adds what its cases say beyond that.

Everything here judges any helper (TUCK_HELPER). What only tuck promises is asked of tuck alone (TUCK).
"""
import base64, calendar, collections, contextlib, fcntl, hashlib, json, os, re, select, shutil, struct, subprocess, sys
import termios, threading, time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))

from helper import (Helper, action_id, b64, default_command, expect_hit, expect_miss, expect_put,  # noqa: E402
                    output_id, tuck_bin)
from tap import need_root, skip  # noqa: E402

LONG = os.environ.get("TUCK_TEST_LONG") == "1"
SANITIZED = os.environ.get("TUCK_TEST_SANITIZED") == "1"
TUCK = not os.environ.get("TUCK_HELPER")  # the helper under test is tuck: its own promises count as well
PROMPT = 20.0 if SANITIZED else 5.0       # seconds; whatever takes longer counts as a hang
SLOWDOWN = 10 if SANITIZED else 1         # of figures that are about speed
# Bytes of its own that a helper may take, whatever it is sent; others need only stay below the largest body.
MEMORY = (64 if SANITIZED else 16 if TUCK else 48) << 20
NOBODY = 65534

KNOWN = action_id("known")  # put before every provocation, and still there after it
KNOWN_BODY = b"what was stored before is kept"
TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z")


def remark(text):
    print(f"# {text}", flush=True)


@contextlib.contextmanager
def about(what):
    """Names the one of many attempts in which a test failed."""
    try:
        yield
    except BaseException:
        remark(f"failed with: {what}")
        raise


def tuck_only(why):
    if not TUCK:
        skip(why)


def bytes_of(name, size):
    """A body of `size` bytes that differs for each name, has every byte value and does not compress."""
    return hashlib.shake_128(f"body {name}".encode()).digest(size)


def wait_until(true, what, seconds=PROMPT):
    """For what no descriptor tells: the state of another process."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.001)


# -- answers -----------------------------------------------------------------------------------------------------------
def time_ns(answer):
    """The Time of a hit in nanoseconds since 1970; it has to be RFC 3339 in UTC."""
    match = TIME.fullmatch(answer["Time"])
    assert match, f"not an RFC 3339 time in UTC: {answer}"
    seconds = calendar.timegm(time.strptime(match[1], "%Y-%m-%dT%H:%M:%S"))
    return seconds * 10**9 + int((match[2] or "0").ljust(9, "0"))


def _object(pairs):
    assert len({name for name, _ in pairs}) == len(pairs), f"a field twice: {pairs}"
    return dict(pairs)


def _constant(text):
    raise AssertionError(f"{text} is not JSON")


def answers_in(raw, is_cut=False):
    """The objects in the bytes of a stdout; fails on anything else there. The last one may be cut if the helper was."""
    decoder = json.JSONDecoder(parse_constant=_constant, object_pairs_hook=_object)
    text, at, found = bytes(raw).decode("utf-8"), 0, []
    blanks = re.compile(r"[ \t\r\n]*")
    at = blanks.match(text).end()
    while at < len(text):
        try:
            answer, end = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            assert is_cut and text[at] == "{", f"not JSON on stdout: {error}: {text[at:at + 200]!r}"
            break
        well_formed(answer, text[at:end])
        found.append(answer)
        at = blanks.match(text, end).end()
    return found


def well_formed(answer, text):
    """Every field has the one form that the go command's decoder takes."""
    assert isinstance(answer, dict), f"an answer that is no object: {text}"
    for name, kind in (("ID", int), ("Size", int), ("Err", str), ("Miss", bool), ("DiskPath", str), ("Time", str)):
        assert name not in answer or type(answer[name]) is kind, f"{name} has the wrong type: {text}"
    answer.get("DiskPath", "").encode()  # fails on a lone surrogate, which names no file
    if answer.get("OutputID"):
        assert re.fullmatch(r"[A-Za-z0-9+/]{43}=", answer["OutputID"]), f"not the base64 of 32 bytes: {text}"
    if "Time" in answer:
        time_ns(answer)


def truthful(answer, bodies):
    """A miss, or a hit with one of these bodies, whole and right; returns that body or None."""
    assert not answer.get("Err"), f"a well-formed get was answered with Err: {answer}"
    if answer.get("Miss") or not answer.get("DiskPath"):
        return None
    for body in bodies:
        if answer.get("OutputID") == b64(output_id(body)):
            expect_hit(answer, body)
            return body
    raise AssertionError(f"an output that was never put for this action: {answer}")


def expect_hit_in_order(answer, body):
    """
    The answer to a get that was sent before its put was answered. The protocol lets such a get miss; tuck takes
    requests in order, and so it hits.
    """
    if TUCK or not answer.get("Miss"):
        return expect_hit(answer, body)
    expect_miss(answer)


def expect_err(answer):
    assert answer.get("Err") and not answer.get("DiskPath") and not answer.get("Miss"), answer


def put_or_err(answer, body):
    """The answer to a put that may fail: a whole file, or Err. True when it succeeded."""
    if answer.get("Err"):
        expect_err(answer)
        return False
    expect_put(answer, body)
    return True


# -- a place -----------------------------------------------------------------------------------------------------------
class Place:
    """
    Cache root, GOCACHE, HOME and TMPDIR of one test. Remembers every put that a session sent there, and actions that
    must never hit. Leaving its block without an exception lets a fresh helper be asked about all of them.
    """

    def __init__(self, directory, root=None, gocache=None):
        self.directory = directory
        self.root = root or os.path.join(directory, "root")
        self.gocache = gocache or os.path.join(directory, "gocache")
        self.tmp = os.path.join(directory, "tmp")
        self.may = {}       # action id → bodies that were ever put for it
        self.must = {}      # action id → the one body that it hits with
        self.never = set()  # action ids of puts that were refused or broke off
        self.is_damaged = False  # by the test itself, so that names of objects prove nothing
        for path in (directory, self.gocache, self.tmp):
            os.makedirs(path, exist_ok=True)

    def settings(self):
        """Other helpers are asked for the same root by the variables that most of them know."""
        return {"TUCK_DIR": self.root, "TMPDIR": self.tmp, "HOME": self.directory, "XDG_CACHE_HOME": self.root,
                "XDG_CONFIG_HOME": os.path.join(self.directory, "config")}

    def session(self, env=None, **more):
        return Session(self, env=self.settings() | (env or {}), **more)

    def process(self, env=None, **more):
        """A helper as a bare process, for tests that want to read, or not to read, its pipes themselves."""
        full = {name: value for name, value in os.environ.items() if not name.startswith("TUCK_")}
        full |= self.settings() | {"GOCACHE": self.gocache} | (env or {})
        pipes = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
        return subprocess.Popen(default_command(), start_new_session=True, bufsize=0,
                                env={name: value for name, value in full.items() if value is not None}, **pipes | more)

    def fill(self, model):
        """Puts every action of the model by a helper that ends in order; they hit from then on."""
        with self.session() as session:
            paths = {action: expect_put(session.put(action, body), body) for action, body in model.items()}
            assert session.finish() == 0
        self.must |= model
        return paths

    def outside(self):
        """Everything below the test's directory that no helper has a reason to touch, with its contents."""
        own = (self.root, self.gocache, self.tmp)
        found = {}
        for folder, below, names in os.walk(self.directory):
            below[:] = [name for name in below if os.path.join(folder, name) not in own]
            for name in below + names:
                path = os.path.join(folder, name)
                found[path] = open(path, "rb").read() if os.path.isfile(path) else os.path.islink(path)
        return found

    def aftermath(self, most=400):
        """What has to hold whatever happened before."""
        if not self.is_damaged:
            objects_are_whole(self.root)
        may = {action: self.may[action] for action in list(self.may)[-most:]}
        with self.session() as session:
            numbers = {action: session.send_get(action) for action in may}
            for action, number in numbers.items():
                found = truthful(session.answer_to(number), self.may[action])
                if action in self.must:
                    assert found == self.must[action], "what was stored before is lost or old"
            for action in self.never - set(self.may):
                expect_miss(session.get(action))
            works(session, "aftermath")
            assert session.finish() == 0
        if not self.is_damaged:
            objects_are_whole(self.root)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.aftermath()


def objects_are_whole(root):
    """Every file that has an object's name has its bytes too. Knows tuck's layout; elsewhere it finds nothing."""
    for folder, _, names in os.walk(os.path.join(root, "objects")):
        for name in names:
            identity = os.path.basename(folder) + name
            path = os.path.join(folder, name)
            if re.fullmatch(r"[0-9a-f]{64}", identity) and os.path.isfile(path):
                with open(path, "rb") as file:
                    assert hashlib.file_digest(file, "sha256").hexdigest() == identity, f"{path} is not what it says"


def clear(place):
    """tuck clear, which forgets every entry and removes every object that no running helper gave out."""
    tuck_only("no other helper is emptied in this way")
    done = subprocess.run([tuck_bin(), "clear"], env=os.environ | place.settings() | {"GOCACHE": place.gocache},
                          capture_output=True, text=True, timeout=PROMPT)
    assert done.returncode == 0 and not done.stderr, done.stderr
    place.must.clear()


def objects_of(place):
    """The paths of all objects, in tuck's layout."""
    tuck_only("knows where tuck's objects lie")
    found = [os.path.join(folder, name) for folder, _, names in os.walk(os.path.join(place.root, "objects"))
             for name in names]
    return [path for path in found if re.search("/objects/[0-9a-f]{2}/[0-9a-f]{62}$", path)]


def works(session, name):
    """This session takes a put, and a get of it hits."""
    action, body = action_id(f"works {name}"), f"it works: {name}".encode()
    expect_put(session.put(action, body, timeout=PROMPT), body)
    expect_hit(session.get(action, timeout=PROMPT), body)


# -- a session ---------------------------------------------------------------------------------------------------------
class Session(Helper):
    """One running helper. Every ID that is asked is noted; leaving the block judges all that came on stdout."""

    def __init__(self, place, is_read=True, **more):
        self.place = place
        self.asked = collections.Counter()
        self.reading = threading.Event()  # until it is set nobody reads this helper's stdout
        self.is_killed = False
        self.has_spoken = more.get("handshake", True)
        if is_read:
            self.reading.set()
        super().__init__(place.directory, gocache=place.gocache, handshake=is_read and self.has_spoken,
                         **{name: value for name, value in more.items() if name != "handshake"})

    def _read_stdout(self):
        self.reading.wait()
        super()._read_stdout()

    def id(self):
        return self.ask(super().id())

    def ask(self, number):
        """Notes that a request with this ID goes out by send()."""
        self.asked[number] += 1
        return number

    def put_bytes(self, action, body, number, output=None, name="OutputID"):
        if len(action) == 32 and output in (None, output_id(body)):
            self.place.may.setdefault(action, []).append(body)
        return super().put_bytes(action, body, number, output, name)

    def get_all(self, actions, timeout=PROMPT):
        """Asks for all of these at once; action id → answer."""
        numbers = {action: self.id() for action in actions}
        self.send(b"".join(self.get_bytes(action, number) for action, number in numbers.items()))
        return {action: self.answer_to(number, timeout) for action, number in numbers.items()}

    def put_all(self, model, timeout=PROMPT):
        """Puts all of these at once; action id → answer."""
        numbers = {action: self.id() for action in model}
        self.send(b"".join(self.put_bytes(action, model[action], number) for action, number in numbers.items()))
        return {action: self.answer_to(number, timeout) for action, number in numbers.items()}

    def send_in_parts(self, parts):
        """Each part is sent only when the helper has taken the one before out of the pipe."""
        for part in parts:
            self.send(part)
            wait_until(self.has_taken_all, "the helper reads its input")

    def has_taken_all(self):
        return struct.unpack("i", fcntl.ioctl(self.process.stdin, termios.FIONREAD, b"\0" * 4))[0] == 0

    def kill(self, number=9):
        self.is_killed = True
        super().kill(number)

    def said(self):
        """All answers so far but the handshake, in order, strictly parsed."""
        return answers_in(self.stdout_raw, self.is_killed)[1:]

    def judge(self):
        """Rule G0; the helper has ended."""
        status = self.process.returncode
        told = self.stderr_raw.decode(errors="replace")
        assert "Sanitizer" not in told and "runtime error:" not in told, told
        assert self.is_killed or 0 <= status < 128, f"ended by a signal: status {status}, stderr {told[-2000:]}"
        answers = answers_in(self.stdout_raw, self.is_killed)
        if not answers:
            assert status != 0 or not self.has_spoken, "ended well without a handshake"
            return
        assert answers[0].get("ID", 0) == 0 and answers[0].get("KnownCommands"), f"no handshake: {answers[0]}"
        answered = collections.Counter(answer.get("ID", 0) for answer in answers[1:])
        assert 0 not in answered, "a second handshake"
        more = answered - self.asked
        assert not more, f"answers to IDs that were not outstanding: {dict(more)}"

    def __exit__(self, kind, *rest):
        self.reading.set()
        if kind is not None:
            return super().__exit__(kind, *rest)
        try:
            self.eof()
        except OSError:
            pass
        try:
            self.wait_stdout_eof(PROMPT)
            self.wait(PROMPT)
        finally:
            super().__exit__(kind, *rest)
        self.judge()


def send_large_put(session, action, size):
    """Sends a put of any size without ever holding all of it; returns its ID and the output id."""
    block = bytes_of("block", 3 << 20)  # a multiple of three: its base64 can be repeated
    count, rest = divmod(size, len(block))
    digest = hashlib.sha256()
    for _ in range(count):
        digest.update(block)
    digest.update(block[:rest])
    number = session.id()
    session.send(session.line(ID=number, Command="put", ActionID=b64(action), OutputID=b64(digest.digest()),
                              BodySize=size) + b'"')
    encoded = base64.b64encode(block)
    for _ in range(count):
        session.send(encoded)
    session.send(base64.b64encode(block[:rest]) + b'"\n')
    return number, digest.digest()


def check_file(path, identity, size):
    """The file has this size and SHA-256; for those that one does not want in memory."""
    assert os.path.getsize(path) == size
    with open(path, "rb") as file:
        assert hashlib.file_digest(file, "sha256").digest() == identity, f"wrong bytes in {path}"


def write_until_it_stays_full(process, parts, patience):
    """
    Writes as long as the helper takes input. Returns what was not written once nothing was taken for `patience`
    seconds, or b"" if it took everything.
    """
    stdin = process.stdin.fileno()
    os.set_blocking(stdin, False)
    poll = select.poll()
    poll.register(stdin, select.POLLOUT)
    parts, rest = iter(parts), b""
    try:
        while True:
            while rest:
                if not poll.poll(patience * 1000):
                    return rest
                rest = rest[os.write(stdin, rest):]
            rest = next(parts, b"")
            if not rest:
                return b""
    finally:
        os.set_blocking(stdin, True)


# -- provocations ------------------------------------------------------------------------------------------------------
class Verdict:
    """What a helper made of hostile bytes that were followed by two good requests and the end of input."""

    def __init__(self, session, probes):
        self.status = session.process.returncode
        self.stderr = session.stderr_raw.decode(errors="replace")
        self.all = session.said()
        self.goes_on = self.status == 0 and all(self.answers(number) for number in probes)
        for number in probes[:1]:
            for answer in self.answers(number):
                expect_hit(answer, KNOWN_BODY)
        for number in probes[1:]:
            for answer in self.answers(number):
                expect_put(answer, b"probe")

    def answers(self, number):
        return [answer for answer in self.all if answer.get("ID") == number]

    def has_success(self, number):
        return any(not answer.get("Err") for answer in self.answers(number))

    def ended(self):
        """It ended as the specification says: with a status and a word about it."""
        assert 0 < self.status < 128, f"status {self.status}, answers {self.all}"
        assert self.stderr.strip(), "ended without a word on stderr"
        if TUCK:
            assert self.status == 1 and re.fullmatch(r"tuck: [^\n]+\n", self.stderr), (self.status, self.stderr)

    def refused(self, number, tuck=None):
        """Err under this ID or the end, never a success. `tuck` says which of both tuck promises."""
        answers = self.answers(number)
        for answer in answers:
            expect_err(answer)
        if not answers or self.status != 0:
            self.ended()
        else:
            assert self.goes_on, f"Err, and then the stream is out of step: {self.all}"
        if TUCK and tuck == "Err":
            assert answers and self.status == 0, f"not answered with Err: status {self.status}, {self.stderr}"
        if TUCK and tuck == "exit":
            self.ended()

    def accepted(self, number):
        """Answered without Err, and so are the requests after it; returns the answer."""
        assert self.goes_on, f"status {self.status}, stderr {self.stderr}, answers {self.all}"
        (answer,) = self.answers(number)
        assert not answer.get("Err"), answer
        return answer


def provoke(place, raw, *numbers, never=(), env=None, is_last=False, **more):
    """
    Sends `raw`, whose request IDs are `numbers`, to a fresh helper that has just stored KNOWN, then a get of KNOWN and
    a put, then the end of input (`is_last`: the end of input at once). `never`: actions that must not hit afterwards.
    """
    place.never.update(never)
    with place.session(env=env, **more) as session:
        expect_put(session.put(KNOWN, KNOWN_BODY), KNOWN_BODY)
        place.must[KNOWN] = KNOWN_BODY
        for number in numbers:
            session.ask(number)
        session.next_id = 9000
        probes = []
        try:
            for part in ([raw] if isinstance(raw, bytes) else raw):
                session.send(part)
            if not is_last:
                probes = [session.send_get(KNOWN), session.send_put(action_id("probe"), b"probe")]
        except BrokenPipeError:
            probes = [9001, 9002]  # it has ended already
        if not TUCK:  # that what was read is answered although the input ends is another case; tuck is not spared
            with contextlib.suppress(AssertionError):
                for number in (*numbers, *probes):
                    session.answer_to(number, 0.1 if is_last else 1)
    return Verdict(session, probes)


# -- what the kernel tells ---------------------------------------------------------------------------------------------
def status_field(pid, name):
    """A field of /proc/PID/status as a number, kB as bytes; None when the process has gone."""
    try:
        with open(f"/proc/{pid}/status") as file:
            for line in file:
                if line.startswith(name + ":"):
                    words = line.split()
                    return int(words[1]) * (1024 if words[-1] == "kB" else 1)
    except (FileNotFoundError, ProcessLookupError):
        pass
    return None


class Memory:
    """Watches how much memory of its own a helper has while the block runs."""

    def __init__(self, session):
        self.session, self.peak, self.over = session, 0, threading.Event()
        if status_field(os.getpid(), "RssAnon") is None:
            skip("this kernel does not tell RssAnon")

    def _watch(self):
        while True:
            now = status_field(self.session.process.pid, "RssAnon")
            self.peak = max(self.peak, now or 0)
            if now is None or self.over.wait(0.005):
                return

    def __enter__(self):
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, kind, *_):
        self.over.set()
        self.thread.join()
        if kind is None:
            assert 0 < self.peak <= MEMORY, f"took {self.peak >> 20} MiB, more than {MEMORY >> 20} MiB"


def cpu_ns(pid):
    """Processor time of all threads that a process has now."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            with open(f"/proc/{pid}/task/{thread}/schedstat") as file:
                total += int(file.read().split()[0])
    return total


def descriptors(session):
    return sorted(os.listdir(f"/proc/{session.process.pid}/fd"))


# -- surroundings ------------------------------------------------------------------------------------------------------
def plain_user(place):
    """A preexec that gives up root's rights, which no file mode stops; the place goes to that user. None for others."""
    if os.geteuid() != 0:
        return None
    path = os.path.realpath(shutil.which(default_command()[0]))
    while path != "/":
        if not os.stat(path).st_mode & 0o001:
            skip("the program under test lies where other users cannot reach it")
        path = os.path.dirname(path)
    for folder, _, names in os.walk(place.directory):
        for name in [folder] + [os.path.join(folder, name) for name in names]:
            os.lchown(name, NOBODY, NOBODY)
    above = place.directory
    while not os.path.basename(above).startswith("tuck-test-") and above != "/":
        above = os.path.dirname(above)
        os.chmod(above, os.stat(above).st_mode | 0o011)

    def become_nobody():
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    return become_nobody


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

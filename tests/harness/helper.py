# SPDX-License-Identifier: MIT
"""
Drives one GOCACHEPROG helper over its pipes, byte for byte as the go command does, or as badly as a test wants.

A `Helper` owns the child process, a reader thread for its stdout and one for its stderr; nothing here ever blocks
without a deadline. Which helper runs is told by the environment: TUCK_HELPER (a command line, default: the tuck of
the build tree, TUCK_BIN) so that the same cases judge any helper. It knows nothing of tuck.
"""
import base64, codecs, hashlib, json, os, queue, shlex, shutil, signal, subprocess, tempfile, threading, time

DEADLINE = float(os.environ.get("TUCK_TEST_DEADLINE", "20"))  # seconds that any single wait may take
EMPTY_ID = hashlib.sha256(b"").digest()


def tuck_bin():
    """The tuck program under test."""
    path = os.environ.get("TUCK_BIN") or shutil.which("tuck")
    if not path:
        raise SystemExit("set TUCK_BIN to the tuck program under test")
    return os.path.abspath(path)


def default_command():
    words = os.environ.get("TUCK_HELPER")
    return shlex.split(words) if words else [tuck_bin()]


def b64(raw):
    return base64.b64encode(raw).decode()


def action_id(name):
    """A well-formed 32-byte action id made from a readable name."""
    return hashlib.sha256(b"action " + (name if isinstance(name, bytes) else str(name).encode())).digest()


def output_id(body):
    return hashlib.sha256(body).digest()


class Stuck(AssertionError):
    """A wait ran into its deadline."""


class Helper:
    """One running helper. Use as a context manager: leaving the block kills and reaps what still runs."""

    def __init__(self, cache, command=None, env=None, handshake=True, prefix=(), cwd=None, stderr=subprocess.PIPE,
                 preexec=None, start_new_session=True, gocache=None):
        full = dict(os.environ)
        for name in [n for n in full if n.startswith("TUCK_") and n not in ("TUCK_BIN", "TUCK_HELPER")]:
            del full[name]
        full["GOCACHE"] = gocache or os.path.join(cache, "gocache")
        os.makedirs(full["GOCACHE"], exist_ok=True) if not gocache else None
        full.update(env or {})
        full = {k: v for k, v in full.items() if v is not None}
        self.gocache = full.get("GOCACHE")
        self.answers = queue.Queue()
        self.pending = {}
        self.next_id = 0
        self.stdout_raw = bytearray()
        self.stderr_raw = b""
        self.stdout_eof = threading.Event()
        self.bad_output = None
        self.process = subprocess.Popen(list(prefix) + (command or default_command()), stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=stderr, env=full, cwd=cwd, preexec_fn=preexec,
                                        start_new_session=start_new_session, bufsize=0)
        threading.Thread(target=self._read_stdout, daemon=True).start()
        self._stderr_thread = None
        if stderr == subprocess.PIPE:
            self._stderr_thread = threading.Thread(target=self._read_stderr, daemon=True)
            self._stderr_thread.start()
        self.hello = self.answer_to(0) if handshake else None

    # -- plumbing ------------------------------------------------------------------------------------------------
    def _read_stdout(self):
        decoder, utf8, text = json.JSONDecoder(), codecs.getincrementaldecoder("utf-8")(), ""
        while True:
            try:
                block = self.process.stdout.read(65536)
            except (OSError, ValueError):
                block = b""
            if not block:
                break
            self.stdout_raw += block
            try:
                text += utf8.decode(block)
                while text.lstrip():
                    text = text.lstrip()
                    try:
                        value, end = decoder.raw_decode(text)
                    except json.JSONDecodeError:
                        if not text.startswith("{"):
                            raise
                        break
                    text = text[end:]
                    self.answers.put(value)
            except (UnicodeDecodeError, json.JSONDecodeError) as error:
                self.bad_output = f"{error}: {text[:200]!r}"
        if text.strip() and not self.bad_output:
            self.bad_output = f"incomplete answer at the end: {text[:200]!r}"
        self.stdout_eof.set()
        self.answers.put(None)

    def _read_stderr(self):
        while True:
            block = self.process.stderr.read(65536)
            if not block:
                return
            self.stderr_raw += block

    # -- sending -------------------------------------------------------------------------------------------------
    def send(self, raw):
        """Writes raw bytes to the helper's stdin; BrokenPipeError when it has gone."""
        view = memoryview(raw)
        while view:
            view = view[self.process.stdin.write(view):]

    def id(self):
        self.next_id += 1
        return self.next_id

    @staticmethod
    def line(**fields):
        """One request exactly as the go command frames it: object, LF, LF."""
        return json.dumps(fields, separators=(",", ":")).encode() + b"\n\n"

    def get_bytes(self, action, number):
        return self.line(ID=number, Command="get", ActionID=b64(action))

    def put_bytes(self, action, body, number, output=None, name="OutputID"):
        fields = {"ID": number, "Command": "put", "ActionID": b64(action),
                  name: b64(output if output is not None else output_id(body))}
        if not body:
            return self.line(**fields)
        return self.line(**fields, BodySize=len(body)) + b'"' + base64.b64encode(body) + b'"\n'

    def send_get(self, action):
        number = self.id()
        self.send(self.get_bytes(action, number))
        return number

    def send_put(self, action, body, **more):
        number = self.id()
        self.send(self.put_bytes(action, body, number, **more))
        return number

    # -- receiving -----------------------------------------------------------------------------------------------
    def next_answer(self, timeout=None):
        """The next object on stdout, in arrival order; None at its end."""
        try:
            return self.answers.get(timeout=timeout or DEADLINE)
        except queue.Empty:
            raise Stuck(f"no answer within {timeout or DEADLINE} s; stderr: {self.stderr_raw[-500:]!r}") from None

    def answer_to(self, number, timeout=None):
        """The answer with this id; others that arrive before it are kept."""
        end = time.monotonic() + (timeout or DEADLINE)
        while number not in self.pending:
            answer = self.next_answer(max(0.01, end - time.monotonic()))
            if answer is None:
                self.answers.put(None)
                raise AssertionError(f"helper's stdout ended before answer {number}; exit "
                                     f"{self.process.poll()}, stderr {self.stderr_raw[-500:]!r}, bad {self.bad_output}")
            key = answer.get("ID", 0)
            assert key not in self.pending, f"two answers to {key}"
            self.pending[key] = answer
        return self.pending.pop(number)

    def get(self, action, timeout=None):
        return self.answer_to(self.send_get(action), timeout)

    def put(self, action, body, timeout=None, **more):
        return self.answer_to(self.send_put(action, body, **more), timeout)

    def close(self, timeout=None):
        """Sends close; returns its answer."""
        number = self.id()
        self.send(self.line(ID=number, Command="close"))
        return self.answer_to(number, timeout)

    def eof(self):
        if not self.process.stdin.closed:
            self.process.stdin.close()

    def wait(self, timeout=None):
        """Waits for exit; returns the status as subprocess does (negative = signal)."""
        try:
            status = self.process.wait(timeout or DEADLINE)
        except subprocess.TimeoutExpired:
            raise Stuck("helper did not exit") from None
        if self._stderr_thread:
            self._stderr_thread.join(DEADLINE)
        return status

    def wait_stdout_eof(self, timeout=None):
        if not self.stdout_eof.wait(timeout or DEADLINE):
            raise Stuck("helper's stdout did not end")

    def finish(self, close=True):
        """Orderly end: close (or plain EOF), stdout EOF, exit 0. Returns the exit status."""
        if close:
            answer = self.close()
            assert not answer.get("Err"), answer
        self.eof()
        self.wait_stdout_eof()
        status = self.wait()
        assert self.bad_output is None, self.bad_output
        return status

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(number)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        try:
            self.eof()
        except OSError:
            pass
        if self.process.poll() is None:
            try:
                self.process.wait(5 if exc[0] is None else 0.2)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        for stream in (self.process.stdout, self.process.stderr):
            if stream and exc[0] is None and self.stdout_eof.wait(5):
                pass


# -- assertions shared by all suites -----------------------------------------------------------------------------
def expect_hit(answer, body):
    """The answer is a hit whose file holds exactly `body`; returns its path."""
    assert not answer.get("Err"), answer
    assert not answer.get("Miss"), answer
    path = answer.get("DiskPath")
    assert path and os.path.isabs(path), answer
    assert base64.b64decode(answer["OutputID"], validate=True) == output_id(body), answer
    assert answer.get("Size", 0) == len(body), answer
    with open(path, "rb") as file:
        assert file.read() == body, f"wrong bytes in {path}"
    return path


def expect_miss(answer):
    assert answer.get("Miss") is True and not answer.get("Err") and not answer.get("DiskPath"), answer


def expect_put(answer, body):
    """The answer is a successful put whose file is complete; returns its path."""
    assert not answer.get("Err"), answer
    path = answer.get("DiskPath")
    assert path and os.path.isabs(path), answer
    with open(path, "rb") as file:
        assert file.read() == body, f"wrong bytes in {path}"
    return path


def scratch(name="t", parent=None):
    """A fresh directory for one test; the caller removes it (tap.run does)."""
    return tempfile.mkdtemp(prefix=f"tuck-test-{name}-", dir=parent)

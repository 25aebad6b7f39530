#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
A client that is right, for tuck-conform --client to judge, and that can be wrong in many ways: --fault=NAME, repeatable.
Like a build it asks for a few outputs at once, makes what it does not get, puts it and closes. Its limits are those of
FAKE_LIMIT seconds (1). Exit status: 0 all is well or a request failed, 1 the helper was of no use.
"""
import argparse, base64, fcntl, hashlib, json, os, re, select, signal, stat, subprocess, sys, time

FAULTS = set()
LIMIT = float(os.environ.get("FAKE_LIMIT", "1"))
MOST = 16 << 20  # bytes of one answer
BODIES = [b"first " * 120000, b"", b"x", b"hello\n", bytes(range(256)) * 4000]  # the first is more than pipes hold


def fault(*names):
    return bool(FAULTS & set(names))


class Lost(Exception):
    """The connection is of no use any more."""


def fail(text):
    if fault("dies-of-errors"):
        os.abort()
    raise Lost(text)


# -- reading -----------------------------------------------------------------------------------------------------------
def split(command):
    """As the go command does; see section 3 of the specification."""
    words, at = [], 0
    while at < len(command):
        if command[at] in " \t\r\n":
            at += 1
        elif command[at] in "\"'" and not fault("splits-at-blanks"):
            end = command.find(command[at], at + 1)
            if end < 0 and not fault("closes-quotes"):
                fail("the command line has an open quote")
            words.append(command[at + 1:end if end >= 0 else None])
            at = end + 1 if end >= 0 else len(command)
        else:
            words.append(re.match(r"[^ \t\r\n]+", command[at:])[0])
            at += len(words[-1])
    return words


def fields(pairs):
    """Names in any letter case, the last one counts."""
    known = {name.lower(): name for name in ("ID", "Err", "KnownCommands", "Miss", "OutputID", "Size", "Time", "DiskPath")}
    found = {}
    for name, value in pairs:
        name = name if fault("exact-names") else known.get(name.lower(), name)
        if not (fault("first-counts") and name in found):
            found[name] = value
    if fault("strict-fields") and not set(found) <= set(known.values()):
        fail("an answer has a field that nobody knows")
    if fault("minds-null") and None in found.values():
        fail("a field is null")
    return {name: value for name, value in found.items() if value is not None}


def refuse_constant(text):
    fail(f"{text} is no JSON")


class Gone(Lost):
    """It ended its stdout."""


class Stream:
    """Values out of whatever arrives."""

    def __init__(self):
        self.data, self.seen, self.is_first = bytearray(), 0, True
        self.decoder = json.JSONDecoder(
            object_pairs_hook=fields, parse_constant=float if fault("takes-nan") else refuse_constant)

    def values(self):
        while True:
            if fault("c-strings"):
                self.data = self.data.replace(b"\0", b" ")
            if fault("reads-lines"):
                line, found, _ = bytes(self.data).partition(b"\n")
                if not found:
                    return
                del self.data[:len(line) + 1]
                if line.strip():
                    yield self.value(line.decode("utf-8", "replace"))[0]
                continue
            start = re.match(rb"[ \t\r\n]*", self.data).end()
            if fault("no-blanks") and self.is_first and start > 0:
                fail("it begins with white space")
            self.is_first = self.is_first and not self.data
            if fault("recurses") and self.data.count(b"[") > 100000:
                os.abort()  # as if each of them took a piece of the stack
            if self.data[start:start + 1] == b"{" and self.data.find(b"}", self.seen) < 0:
                if fault("whole-reads"):
                    fail("an answer has no end")
                self.seen = len(self.data)
                if len(self.data) > MOST and not fault("unbounded"):
                    fail("an answer has no end")
                return
            self.seen = 0
            text = bytes(self.data).decode("utf-8", "surrogateescape")
            start = len(text) - len(text.lstrip(" \t\r\n"))
            if fault("skips-text") and "{" in text:
                start = text.index("{")
            if start == len(text):
                self.data.clear()
                return
            if text[start] != "{":
                if fault("skips-text"):
                    return
                fail("it wrote something that is no JSON object")
            try:
                value, end = self.value(text[start:])
            except ValueError as problem:
                if getattr(problem, "pos", 0) < len(text) - start - 1 and "Unterminated" not in str(problem):
                    fail(f"it wrote what is no JSON: {problem}")
                return
            del self.data[:len(text[:start + end].encode("utf-8", "surrogateescape"))]
            yield value

    def value(self, text):
        if fault("takes-commas"):
            text = re.sub(r",\s*}", " }", text)
        if fault("takes-comments"):
            text = re.sub(r"/\*.*?\*/", lambda found: " " * len(found[0]), text)
        if fault("no-escapes"):
            text = text.replace("\\u", "..u")  # as long as before
        try:
            return self.decoder.raw_decode(text)
        except RecursionError:
            fail("an answer is nested too deep")


# -- the connection ----------------------------------------------------------------------------------------------------
class Helper:
    def __init__(self, command):
        words = split(command)
        if not words:
            fail("there is no command")
        self.spare = os.pipe() if fault("leaks") else ()
        for fd in self.spare:
            os.set_inheritable(fd, True)
        try:
            self.process = subprocess.Popen(
                command if fault("asks-a-shell") else words, shell=fault("asks-a-shell"), bufsize=0, stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE if fault("stderr-unread") else None,
                close_fds=not fault("leaks"), restore_signals=True)
        except OSError as problem:
            fail("the helper does not start" if fault("hides-program") else f"the helper does not start: {problem}")
        self.input, self.output = self.process.stdin.fileno(), self.process.stdout.fileno()
        for fd in (self.input, self.output):
            fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK)
        if fault("blocks-on-write"):
            fcntl.fcntl(self.input, fcntl.F_SETFL, 0)
        if fault("shares-pipe") and os.fork() == 0:
            os.close(1), os.close(2)
            time.sleep(30)
            os._exit(0)
        self.stream, self.pending, self.out, self.next_id = Stream(), {}, b"", 1
        self.given_up, self.can = set(), []

    def step(self, deadline):
        """Waits for something and does it; False when the time is up."""
        left = None if fault("no-limits") else max(deadline - time.monotonic(), 0)
        readable, writable, _ = select.select([self.output], [self.input] if self.out else [], [], left)
        if not readable and not writable:
            return False
        if writable and self.out:
            try:
                done = os.write(self.input, self.out if fault("blocks-on-write") else self.out[:65536])
                self.out = self.out[done:]
            except BrokenPipeError:
                self.out = b""
                if not readable:
                    fail(f"it has closed its stdin{self.status()}")
        if readable:
            data = os.read(self.output, 1 << 16)
            if not data:
                if fault("waits-for-exit"):
                    self.process.wait()
                if fault("waits-for-rest") and self.stream.data.strip():
                    time.sleep(600)
                raise Gone(f"it has closed its stdout{self.status()}")
            self.stream.data += data
            if fault("unbounded"):
                self.keep_all(deadline)
        return True

    def keep_all(self, deadline):
        while select.select([self.output], [], [], 0.2)[0]:
            data = os.read(self.output, 1 << 20)
            if not data:
                return
            self.stream.data += data

    def status(self):
        try:
            found = self.process.wait(0.5)
        except subprocess.TimeoutExpired:
            return ""
        if fault("hides-status"):
            return " and ended"
        return f"; it died by signal {-found}" if found < 0 else f"; it ended with status {found}"

    def hello(self):
        deadline = time.monotonic() + LIMIT
        while True:
            for first in self.stream.values():
                commands = first.get("KnownCommands")
                if first.get("ID", 0) != 0 and not fault("any-hello"):
                    fail("the handshake has an ID")
                if (not isinstance(commands, list) or not commands) and not fault("any-hello"):
                    fail("the handshake names no commands")
                if fault("few-names") and len(commands) > 1000:
                    fail("the handshake names too many commands")
                self.can = ["get", "put", "close"] if fault("any-hello", "asks-anything") else commands
                return
            if not self.step(deadline):
                fail("it says nothing")

    def ask(self, command, body=None, **more):
        number = self.next_id if not fault("repeats-ids") else 1
        self.next_id += 1
        if fault("id-0"):
            number -= 1
        request = {"ID": number, "Command": command, **more}
        text = json.dumps(request, separators=(",", ":")) + "\n" + ("" if fault("no-blank-line") else "\n")
        if body is not None and (body or fault("empty-body-line")):
            encoded = base64.b64encode(body).decode()
            if fault("wraps-bodies"):
                encoded = re.sub("(.{76})", r"\1\n", encoded)
            if fault("url-bodies"):
                encoded = encoded.replace("+", "-").replace("/", "_")
            text += f'"{encoded}"\n'
        self.out += text.encode()
        self.pending[number] = None
        return number

    def collect(self, numbers):
        """The answers to these; None where there is none in time."""
        deadline = time.monotonic() + LIMIT
        answers = {}
        while len(answers) < len(numbers):
            for one in self.stream.values():
                self.take(one, answers)
            if len(answers) < len(numbers) and not self.step(deadline):
                break
        for number in numbers:
            if number not in answers:
                self.pending.pop(number, None)
                self.given_up.add(number)
                print(f"fake: request {number} was not answered in time", file=sys.stderr)
        return answers

    def take(self, one, answers):
        number = one.get("ID", 0)
        if fault("converts-ids"):
            number = (number if isinstance(number, int) else int(float(number))) % (1 << 64)
        if fault("takes-in-turn") and self.pending:
            number = next(iter(self.pending))
        if type(number) is not int or number not in self.pending and number not in self.given_up:
            if fault("ignores-strangers"):
                return
            fail(f"it answers request {number}, which waits for no answer")
        if number in self.given_up and not fault("late-is-fatal"):
            self.given_up.discard(number)
            return
        if number not in self.pending:
            fail("a late answer")
        del self.pending[number]
        answers[number] = one
        if fault("breaks-off") and "Err" in one:
            self.out = b""  # what it says of this request it need not hear any more

    def end(self):
        """The end of stdin, a wait, SIGTERM, a wait, SIGKILL."""
        self.process.stdin.close()
        if fault("leaves-it"):
            return
        deadline = time.monotonic() + LIMIT
        while fault("waits-for-eof") and select.select([self.output], [], [])[0] and os.read(self.output, 1 << 16):
            continue
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                self.process.wait(max(deadline - time.monotonic(), 0.05))
                break
            except subprocess.TimeoutExpired:
                self.process.send_signal(number)
                deadline = time.monotonic() + LIMIT / 2
        if self.process.wait() != 0:
            print("fake: the helper has failed" if fault("hides-status") else
                  f"fake: the helper ended with status {self.process.returncode}", file=sys.stderr)
            if fault("minds-status"):
                raise Lost("the helper has failed")

    def close(self):
        if "close" in self.can:
            self.ask("close")
            if fault("closes-twice"):
                self.ask("close")
            if fault("asks-after-close"):
                self.ask("get", ActionID="A" * 43 + "=")
            deadline, answers = time.monotonic() + LIMIT, {}
            try:
                while not answers and (self.step(deadline) or fault("waits-for-close")):
                    for one in self.stream.values():
                        self.take(one, answers)
                while fault("dies-of-more") and self.step(deadline):
                    if list(self.stream.values()):
                        os.abort()
            except Gone as problem:
                if fault("minds-close"):
                    raise
                print(f"fake: close: {problem}", file=sys.stderr)
            if fault("dies-of-close") and any("Err" in one for one in answers.values()):
                os.abort()
        self.end()


# -- answers -----------------------------------------------------------------------------------------------------------
TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T([01]\d|2[0-3]):[0-5]\d:[0-5]\d([.,]\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)")


def is_time(text):
    found = TIME.fullmatch(text) if isinstance(text, str) else None
    if not found:
        return False
    year, month, day = (int(found[i]) for i in (1, 2, 3))
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return 1 <= month <= 12 and 1 <= day <= [31, 29 if leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1]


def output_of(answer):
    """The id in an answer, or None."""
    text = answer.get("OutputID")
    if fault("any-output-id"):
        return b"" if text is None else text
    if not isinstance(text, str) or not re.fullmatch(r"[A-Za-z0-9+/]{43}=", text):
        return None
    return base64.b64decode(text)


def path_of(answer):
    path = answer.get("DiskPath", "")
    if not isinstance(path, str):
        return ""
    if fault("c-strings"):
        path = path.split("\0")[0]
    if fault("cuts-paths"):
        path = path[:4000]
        path = path[:path.index("/./.")] if "/./." in path else path
    if fault("drops-surrogates"):
        path = path.encode("utf-8", "ignore").decode()
    try:
        path.encode()
    except UnicodeEncodeError:
        return ""
    return path if "\0" not in path and (path.startswith("/") or not path) else ""


def read(answer, path):
    """The bytes of a hit, or None."""
    size = answer.get("Size", 0)
    if fault("any-size"):
        size = os.stat(path).st_size if not isinstance(size, int) or size != os.stat(path).st_size else size
    if type(size) is not int:
        return None
    if not fault("opens-anything"):
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode) or found.st_size != size:
            return None
    with open(path, "rb") as file:
        return file.read(size if fault("opens-anything") else -1)


def use(answer, wanted):
    """True if it is a hit with the right output."""
    if answer is None:
        return False
    if fault("dies-of-bare") and not answer.get("Miss") and not answer.keys() >= {"OutputID", "DiskPath"}:
        os.abort()
    if "Err" in answer and answer["Err"]:
        return False
    miss = answer.get("Miss", False)
    if miss is not False and not fault("ignores-miss"):
        return False
    if "Time" in answer and not is_time(answer["Time"]) and not fault("any-time"):
        return False
    if fault("time-64") and str(answer.get("Time")) > "2262":
        return False
    if fault("needs-time") and "Time" not in answer:
        return False
    if fault("plain-time") and not re.fullmatch(r"[^.]{10,19}(\.\d{1,9})?Z", answer.get("Time", "0000-00-00Z")):
        return False
    output, path = output_of(answer), path_of(answer)
    if fault("trusts-id"):
        return output is not None  # it has the answer, and does not look for the file
    try:
        data = read(answer, path) if output is not None and path else None
    except (OSError, ValueError):
        return False
    if data is None:
        return False
    if fault("any-output-id", "any-size", "no-hash"):
        return True
    return hashlib.sha256(data).digest() == output and data == wanted


# -- a build -----------------------------------------------------------------------------------------------------------
def put(helper, action, body):
    digest = hashlib.sha256(b"wrong" if fault("wrong-hash") else body).digest()
    more = {"OutputID": base64.b64encode(digest).decode()}
    size = len(body) + (1 if fault("wrong-size") and body else 0)
    if size or fault("size-0"):
        more["BodySize"] = size
    return helper.ask("put", body, ActionID=action, **more)


def build(helper):
    actions = [base64.b64encode(hashlib.sha256(b"step %d" % i).digest()).decode() for i in range(len(BODIES))]
    missing = list(zip(actions, BODIES))
    if "get" in helper.can:
        numbers = [helper.ask("get", ActionID=action) for action in actions]
        answers = helper.collect(numbers)
        missing = [(action, body) for number, action, body in zip(numbers, actions, BODIES)
                   if not use(answers.get(number), body)]
    if "put" in helper.can:
        for number, one in helper.collect([put(helper, action, body) for action, body in missing]).items():
            if fault("dies-of-puts") and ("Err" in one or "DiskPath" not in one):
                os.abort()
            if fault("minds-miss") and one.get("Miss"):
                raise Lost("a put was not stored")
            if "Err" in one or not path_of(one):
                text = str(one.get("Err", "no path"))
                print("fake: put:", text if fault("prints-raw") else ascii(text[:500]), file=sys.stderr)
    helper.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--fault", action="append", default=[])
    FAULTS.update(parser.parse_args().fault)
    if fault("dies-of-sigpipe"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    helper = None
    try:
        helper = Helper(os.environ["GOCACHEPROG"])
        helper.hello()
        build(helper)
    except Lost as problem:
        print(f"fake: {problem}", file=sys.stderr)
        if helper and not helper.process.stdin.closed:
            helper.end()
        return 1
    return 0


sys.stdout.flush()
status = main()
sys.stdout.flush()
sys.stderr.flush()
os._exit(status)

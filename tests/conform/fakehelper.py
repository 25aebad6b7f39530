#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
A helper that is right in everything tuck-conform asks, and can be wrong in any one thing: `fakehelper.py --dir=DIR
[--fault=NAME]`. test_faults.py shows with it that each case is able to fail. Simple and slow on purpose: one file per
entry, one per output, no thread. The faults are searched for by name where they take effect.
"""
import base64, binascii, datetime, errno, fcntl, hashlib, json, os, re, resource, select, signal, stat, struct, sys, termios, time

DIR = None
FAULTS = set()
LONGEST = 1 << 20
HEX = re.compile("[0-9a-f]{64}")


def fault(*names):
    return bool(FAULTS & set(names))


class Refused(Exception):
    """The stream cannot be understood any further."""


class Input:
    """The bytes of stdin, one JSON value after the other; bodies piece by piece."""

    def __init__(self):
        self.buffer, self.at, self.is_over = b"", 0, False
        self.idle = lambda: None

    def more(self):
        self.idle()
        block = os.read(0, 1 << 16)
        if not block:
            self.is_over = True
            return False
        self.buffer, self.at = self.buffer[self.at:] + block, 0
        return True

    def peek(self):
        """The next byte that is no white space, or b""."""
        if fault("blank-is-request") and self.buffer[self.at:self.at + 1] == b"\n":
            raise Refused("an empty request")
        while True:
            while self.at < len(self.buffer) and self.buffer[self.at] in b" \t\r\n":
                self.at += 1
            if self.at < len(self.buffer):
                return self.buffer[self.at:self.at + 1]
            if not self.more():
                return b""

    def object(self):
        """The bytes of the next object; None at the end."""
        first = self.peek()
        if not first:
            return None
        if first != b"{":
            if fault("skips-values"):
                self.at = len(self.buffer)
                return self.object()
            raise Refused(f"no object: {first!r}")
        scanned, depth, in_string, escaped = 0, 0, False, False
        while True:
            text = self.buffer
            while self.at + scanned < len(text):
                c = text[self.at + scanned]
                scanned += 1
                if in_string:
                    if escaped:
                        escaped = False
                    elif c == 0x5c:
                        escaped = True
                    elif c == 0x22:
                        in_string = False
                    else:
                        # Jump over what cannot end the string.
                        match = PLAIN.match(text, self.at + scanned)
                        scanned = match.end() - self.at
                elif c == 0x22:
                    in_string = True
                elif c in b"{[":
                    depth += 1
                    if depth > 2000:
                        if fault("overflows"):
                            os.abort()
                        raise Refused("nested too deeply")
                elif c in b"}]":
                    depth -= 1
                    if depth == 0:
                        raw = text[self.at:self.at + scanned]
                        self.at += scanned
                        return raw
            if scanned > LONGEST:
                if fault("unbounded"):
                    self.hoard()
                raise Refused("a request without an end")
            if fault("needs-whole-requests"):
                raise Refused("a request in two reads")
            if not self.more():
                if fault("guesses-the-end"):
                    raw, self.at = self.buffer[self.at:] + b"}", len(self.buffer)
                    return raw
                raise Refused("the input ends inside a request")

    def hoard(self):
        kept = []
        while self.more():
            kept.append(self.buffer)
            self.at = len(self.buffer)

    def body(self):
        """The pieces of the string that comes next, without escapes."""
        if self.peek() != b'"' or fault("refuses-bodies"):
            raise Refused("no string where a body is due")
        self.at += 1
        while True:
            if self.at == len(self.buffer) and not self.more():
                raise Refused("the input ends inside a body")
            match = BODY.match(self.buffer, self.at)
            if match.end() > self.at:
                self.at = match.end()
                yield match[0]
                continue
            c = self.buffer[self.at]
            if c == 0x22:
                self.at += 1
                return
            if c == 0x5c:
                while len(self.buffer) - self.at < 6:
                    if not self.more():
                        break
                yield self.escape()
            elif c == 0x7b and fault("resynchronises"):
                return
            elif c < 0x20 or c == 0x7b:
                raise Refused("the body breaks off")
            else:
                self.at += 1
                yield bytes([c])

    def escape(self):
        match = ESCAPE.match(self.buffer, self.at)
        if not match or fault("no-escapes"):
            raise Refused("no JSON escape")
        self.at = match.end()
        text = json.loads(b'"' + match[0] + b'"')
        if text in "\r\n" and fault("quits-at-line-escapes"):
            os._exit(0)
        return b"" if text in "\r\n" else text.encode("utf-8", "replace")


PLAIN = re.compile(rb'[^"\\]*')
BODY = re.compile(rb"[A-Za-z0-9+/=]*")
ESCAPE = re.compile(rb'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})')


# -- requests ----------------------------------------------------------------------------------------------------------
NAMES = {"id": "ID", "command": "Command", "actionid": "ActionID", "outputid": "OutputID", "objectid": "ObjectID",
         "bodysize": "BodySize"}


def no_constant(text):
    raise ValueError(text)


def fields_of(raw):
    """The fields by their right names, the last of each; refuses what has no usable ID."""
    def pairs(found):
        return found
    try:
        text = raw.decode("utf-8", "replace")
        found = json.loads(text, parse_constant=no_constant, object_pairs_hook=pairs, parse_int=Digits, parse_float=float)
    except (ValueError, RecursionError) as error:
        raise Refused(f"no JSON: {error}") from None
    fields = {}
    if fault("fixed-order") and found and found[0][0] != "ID":
        raise Refused("ID does not come first")
    if fault("ignores-lower-names") and any(name == "id" for name, _ in found):
        return None
    for name, value in found:
        right = NAMES.get(name.lower(), name)
        if fault("first-field-wins") and right in fields:
            continue
        if right in NAMES.values() and value is not None:
            fields[right] = value
        elif right in NAMES.values():
            fields.pop(right, None)
        elif fault("no-unknown-fields"):
            raise Refused("a field that is not known")
    return fields


class Digits(str):
    """An integer as it stood in the request."""


def integer(value):
    """Plain digits within 64 bits, else None."""
    if type(value) is not Digits or not re.fullmatch("-?[0-9]{1,19}", value) or value == "-0":
        return None
    number = int(value)
    return number if -2**63 <= number < 2**63 else None


def identity(fields, *names):
    """The 32 bytes of the first of these fields that is there, or None."""
    for name in names:
        text = fields.get(name)
        if text is None:
            continue
        if type(text) is not str or not re.fullmatch("[A-Za-z0-9+/]{43}=", text):
            return None
        return base64.b64decode(text)
    return None


# -- storage -----------------------------------------------------------------------------------------------------------
def hexadecimal(raw):
    return raw.hex()


def object_path(output):
    name = output.hex()
    if fault("dot-in-path"):
        name += ".o"
    if fault("upper-case-names"):
        name = name.upper()
    return os.path.join(DIR, "objects", name)


def entry_path(action):
    return os.path.join(DIR, "entries", action.hex())


def read_file(path):
    """The content of a regular file, or None; never blocks, follows no link."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | (0 if fault("opens-anything") else os.O_NONBLOCK))
        with os.fdopen(fd, "rb") as file:
            return file.read() if stat.S_ISREG(os.fstat(fd).st_mode) else None
    except OSError:
        return None


def write_new(directory, name, content):
    """Writes the file beside and gives it its name, whatever had that before."""
    temp = os.path.join(directory, f"temp-{os.getpid()}-{time.monotonic_ns()}")
    with os.fdopen(os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    give_name(temp, os.path.join(directory, name))


def give_name(temp, path):
    try:
        os.rename(temp, path)
    except IsADirectoryError:
        os.rmdir(path)
        os.rename(temp, path)


class Store:
    def __init__(self):
        self.private = None
        self.memory = {}   # entries of this helper
        self.known = {}    # path → what it looked like when it was hashed
        self.is_usable = True
        self.last_ns = 0
        self.by_output = {}
        try:
            for name in ("objects", "entries"):
                os.makedirs(os.path.join(DIR, name), mode=0o700, exist_ok=True)
                if os.path.islink(os.path.join(DIR, name)) and not fault("writes-through-links"):
                    self.is_usable = False
            if not fault("any-path"):
                DIR.encode()
            self.check_version()
            self.sweep()
        except (OSError, UnicodeEncodeError) as error:
            self.is_usable = False
            if fault("hangs-without-directory"):
                time.sleep(1000)
            say(f"cannot use {DIR!r}: {error}")
        self.at_start = set(os.listdir(os.path.join(DIR, "entries"))) if fault("sees-only-start") else None

    def check_version(self):
        path = os.path.join(DIR, "version")
        if not os.path.exists(path):
            with open(path, "x") as file:
                file.write("version 1\n")
        with open(path) as file:
            if file.read() != "version 1\n" and not fault("ignores-version"):
                raise OSError(errno.EINVAL, "another version")

    def sweep(self):
        """What killed helpers left a day ago."""
        if fault("cleans-directory"):
            for name in os.listdir(DIR):
                if os.path.isfile(os.path.join(DIR, name)) and name != "version":
                    os.unlink(os.path.join(DIR, name))
        for name in os.listdir(os.path.join(DIR, "objects")):
            path = os.path.join(DIR, "objects", name)
            if name.startswith("temp-") and not fault("no-sweep"):
                if time.time() - os.lstat(path).st_mtime > 86400:
                    os.unlink(path)

    def private_directory(self):
        import tempfile
        if fault("no-fallback"):
            raise OSError(errno.ENOSPC, "no other place")
        if not self.private:
            for folder in (os.environ.get("TMPDIR"), "/tmp"):
                try:
                    folder.encode()
                    self.private = tempfile.mkdtemp(prefix="fake-private-", dir=folder)
                    break
                except (OSError, AttributeError, UnicodeEncodeError):
                    continue
            else:
                raise OSError(errno.ENOSPC, "no other place")
        return self.private

    def now_ns(self):
        self.last_ns = max(time.time_ns(), self.last_ns + 1)
        return self.last_ns

    # -- puts
    def begin(self):
        """An open file without its right name yet, in the cache or elsewhere."""
        for make in (lambda: os.path.join(DIR, "objects"), self.private_directory):
            if make != self.private_directory and not self.is_usable:
                continue
            try:
                folder = make()
                if not os.path.isdir(folder) and make != self.private_directory and not fault("keeps-directory"):
                    os.makedirs(folder, mode=0o700)
                    os.makedirs(os.path.join(DIR, "entries"), mode=0o700, exist_ok=True)
                if os.path.islink(folder) and not fault("writes-through-links"):
                    raise OSError(errno.ELOOP, folder)
                path = os.path.join(folder, f"temp-{os.getpid()}-{time.monotonic_ns()}")
                return path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            except OSError as error:
                last = error
        raise last

    def elsewhere(self, path, fd):
        """Goes on in the private directory with what was written so far."""
        folder = self.private_directory()
        if os.path.dirname(path) == folder:
            raise OSError(errno.ENOSPC, "no space there either")
        other = os.path.join(folder, os.path.basename(path))
        to = os.open(other, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        at = 0
        while block := os.pread(fd, 1 << 16, at):
            os.write(to, block)
            at += len(block)
        os.close(fd)
        os.unlink(path)
        return other, to

    def commit(self, temp, action, output, size):
        folder = os.path.dirname(temp)
        path = object_path(output) if folder == os.path.join(DIR, "objects") else os.path.join(folder, output.hex())
        if fault("keeps-damaged") and os.path.exists(path):
            os.unlink(temp)
        elif fault("leaves-temp") and self.is_whole(path, output, size):
            pass
        elif fault("writes-in-place") and os.path.exists(path):
            os.chmod(path, 0o600)
            with open(temp, "rb") as source, open(path, "wb") as file:
                file.write(source.read())
            os.unlink(temp)
        elif not fault("always-replaces") and os.path.lexists(path) and self.is_whole(path, output, size):
            os.unlink(temp)
        else:
            os.chmod(temp, 0o666 if fault("world-writable") else 0o400)
            give_name(temp, path)
        self.known[path] = self.look(path)
        self.enter(action, output, size, path)
        return path

    def enter(self, action, output, size, path):
        path = "" if path == object_path(output) else path
        entry = {"output": output.hex(), "size": size, "time": self.now_ns(), "path": path}
        old = self.entry(action)
        if old and fault("first-put-wins"):
            return
        if old and fault("time-stays"):
            entry["time"] = old["time"]
        entry["check"] = self.check(action, entry)
        self.memory[action] = entry
        if fault("one-action-per-output"):
            other = self.by_output.get(output)
            if other not in (None, action):
                self.memory.pop(other, None)
                os.unlink(entry_path(other))
            self.by_output[output] = action
        if fault("keeps-at-close") or not self.is_usable:
            return
        try:
            write_new(os.path.join(DIR, "entries"), action.hex(), json.dumps(entry).encode())
        except OSError:
            pass

    @staticmethod
    def check(action, entry):
        text = json.dumps([action.hex(), entry["output"], entry["size"], entry["time"], entry["path"]])
        return hashlib.sha256(text.encode()).hexdigest()

    # -- gets
    def entry(self, action):
        raw = read_file(entry_path(action)) if self.is_usable else None
        found = None
        try:
            found = json.loads(raw) if raw else None
            if found and found["check"] != self.check(action, found):
                found = None
        except (ValueError, KeyError, TypeError, UnicodeDecodeError):
            if fault("dies-of-index"):
                raise
            found = None
        mine = self.memory.get(action)
        if found and self.at_start is not None and action.hex() not in self.at_start:
            return mine
        if mine and (not found or mine["time"] > found["time"]):
            return mine
        if found and fault("clock-evicts") and abs(time.time_ns() - found["time"]) > 86400 * 10**9:
            os.unlink(entry_path(action))
            return None
        return found

    def look(self, path):
        try:
            status = os.lstat(path)
        except OSError:
            return None
        if fault("skips-hash"):
            return (status.st_size,)
        return (status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)

    def is_whole(self, path, output, size):
        """The file is there, regular, of this size, and its bytes have this hash."""
        try:
            status = os.lstat(path)
        except OSError:
            return fault("skips-existence")
        if not stat.S_ISREG(status.st_mode):
            return fault("trusts-anything")
        if fault("skips-size"):
            return True
        if size is not None and status.st_size != size:
            return False
        if fault("skips-hash"):
            return True
        if self.known.get(path) == self.look(path) and os.access(path, os.R_OK):
            return True
        digest = hashlib.sha256()
        try:
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
                while block := file.read(1 << 18):
                    digest.update(block)
        except OSError:
            return fault("serves-unreadable")
        if digest.digest() != output:
            return False
        self.known[path] = self.look(path)
        return True


def say(text):
    try:
        if not fault("blocks-on-stderr") and not select.select([], [2], [], 0)[1]:
            return
        os.write(2, b"fakehelper: " + text.encode("utf-8", "replace").replace(b"\n", b" ") + b"\n")
    except OSError:
        pass


def time_text(ns):
    if fault("bad-time"):
        return "2026-01-02 03:04:05"
    whole = datetime.datetime.fromtimestamp(min(ns // 10**9, 253402300799), datetime.timezone.utc)
    text = whole.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
    return text + ("Z" if fault("whole-seconds") else f".{ns % 10**9:09}Z")


LINK = None  # below GOCACHE, to DIR


def make_link():
    """So that paths begin with GOCACHE."""
    global LINK
    try:
        place = os.path.join(os.environ["GOCACHE"], "fake-" + hashlib.sha256(os.fsencode(DIR)).hexdigest()[:8])
        place.encode()
        if not fault("no-link"):
            if not os.path.lexists(place):
                os.symlink(DIR, place)
            LINK = place
    except (KeyError, OSError, UnicodeEncodeError):
        pass


# -- the conversation --------------------------------------------------------------------------------------------------
class Helper:
    def __init__(self, store):
        self.store, self.input, self.output, self.kept = store, Input(), [], 0
        self.input.idle = self.flush
        self.answers, self.held = 0, []
        self.hoard, self.seen = [], set()

    def answer(self, **fields):
        fields = {name: value.encode("utf-8", "replace").decode() if type(value) is str else value
                  for name, value in fields.items()}
        if fault("id-as-float"):
            fields["ID"] = float(fields["ID"])
        text = json.dumps(fields)
        if fault("rounds-ids"):
            text = json.dumps(fields | {"ID": int(float(fields["ID"]))})
        for name in ("DiskPath", "Err"):
            if fault("unescaped-" + name) and name in fields:
                text = text.replace(json.dumps(fields[name]), '"' + fields[name] + '"')
        raw = text.encode("utf-8", "replace") + b"\n"
        self.answers += 1
        if fault("answers-twice") and self.answers == 20:
            raw *= 2
        if fault("drops-answers") and self.answers % 50 == 0:
            return
        if fault("prints-lines") and self.answers == 3:
            raw += b"done 3 requests\n"
        if fault("mixes-answers") and self.answers % 200 == 0:
            raw = raw[:10] + b'{"ID":' + raw[10:]
        self.output.append(raw)
        self.kept += len(raw)
        if fault("hoards-answers"):
            self.hoard.append(raw * 10)
        if self.kept > 1 << 16:
            self.flush()

    def flush(self):
        if fault("flushes-late") and not self.input.is_over and self.kept < 4096:
            return
        if fault("hoards-answers") and not self.input.is_over:
            return self.trickle()
        if fault("hates-waiting") and struct.unpack("i", fcntl.ioctl(1, termios.FIONREAD, b"    "))[0] > 4000:
            os._exit(0)
        raw, self.output, self.kept = b"".join(self.output), [], 0
        while raw:
            raw = raw[os.write(1, raw):]

    def trickle(self):
        """Writes what the pipe takes without waiting, and keeps the rest."""
        self.output, self.kept = [b"".join(self.output)], 0
        while self.output[0] and select.select([], [1], [], 0)[1]:
            self.output[0] = self.output[0][os.write(1, self.output[0][:4096]):]

    def hello(self):
        names = ["get", "put", "close"]
        if fault("upper-case-commands"):
            names = ["GET", "PUT", "CLOSE"]
        if fault("announces-less"):
            names = ["get", "put"]
        if fault("announces-more"):
            names.append("evict")
        message = {"ID": 0, "KnownCommands": names}
        if fault("hello-id"):
            message["ID"] = 7
        if fault("hello-empty"):
            message["KnownCommands"] = []
        if fault("banner"):
            os.write(1, b"fakehelper 1.0\n")
        if fault("hello-after-input"):
            self.input.more()
        if fault("slow-hello"):
            time.sleep(len(os.listdir(os.path.join(DIR, "entries"))) / 20_000)
        os.write(1, json.dumps(message).encode() + b"\n")
        if fault("two-hellos"):
            os.write(1, json.dumps(message).encode() + b"\n")

    def serve(self):
        """Returns the exit status."""
        self.hello()
        while True:
            raw = self.input.object()
            if raw is None:
                self.flush()
                if fault("waits-for-input") and not self.answers:
                    time.sleep(60)
                if fault("cleans-up"):
                    self.remove_all()
                return 1 if fault("status-1", "status-1-at-eof") else 0
            if fault("needs-one-line") and b"\n" in raw:
                raise Refused("a line end inside a request")
            if fault("needs-blank-line"):
                self.expect_blank_line()
            if fault("long-line") and len(raw) > 60_000:
                os._exit(0)
            fields = fields_of(raw)
            if fields is None:
                if self.input.peek() == b'"':
                    self.skip(1)
                continue
            if self.request(fields) == "close":
                self.flush()
                return self.after_close()

    def expect_blank_line(self):
        while len(self.input.buffer) - self.input.at < 2:
            if not self.input.more():
                return
        if self.input.buffer[self.input.at:self.input.at + 2] != b"\n\n":
            raise Refused("no empty line behind the request")

    def after_close(self):
        if fault("speaks-after-close"):
            time.sleep(0.01)
            os.write(1, b'{"ID":0,"Size":1}\n')
        if fault("serves-after-close"):
            return self.serve_on()
        if fault("waits-after-close"):
            time.sleep(30)
        if fault("cleans-up"):
            self.remove_all()
        if fault("slow-end"):
            time.sleep(3)
        if fault("daemon"):
            self.leave_daemon()
        while self.input.more():
            self.input.at = len(self.input.buffer)
        return 0 if not fault("status-1") else 1

    @staticmethod
    def remove_all():
        for name in os.listdir(os.path.join(DIR, "objects")):
            os.unlink(os.path.join(DIR, "objects", name))

    def serve_on(self):
        while (raw := self.input.object()) is not None:
            self.request(fields_of(raw))
        self.flush()
        return 0

    @staticmethod
    def leave_daemon():
        if os.fork() == 0:
            os.close(1)
            time.sleep(20)
            os._exit(0)

    def request(self, fields):
        number = integer(fields.get("ID"))
        if fault("answers-id-0") and "ID" not in fields:
            number = 0
        if number is None or (number == 0 and not fault("answers-id-0")):
            raise Refused("no usable ID")
        command = fields.get("Command")
        if fault("nul-ends-strings") and type(command) is str:
            command = command.split("\0")[0]
        if fault("dies-of-duplicates") and number in self.seen:
            os.abort()
        self.seen.add(number)
        if fault("leaks"):
            os.dup(0)
        if fault("no-body-size-check") and "BodySize" in fields and integer(fields["BodySize"]) is None:
            fields["BodySize"] = Digits("5")
        size = 0
        if "BodySize" in fields:
            size = integer(fields["BodySize"])
            if size is None or size < 0:
                raise Refused("no usable BodySize")
            if fault("sets-memory-aside") and size > 10**8:
                self.hoard.append(bytearray(b"x" * (96 << 20)))
        if number < 0 and not fault("negative-ids"):
            self.skip(size)
            return self.answer(ID=number, Err="a negative ID")
        if command == "get":
            return self.get(number, fields)
        if command == "put":
            return self.put(number, fields, size)
        if command == "close":
            self.close(number)
            return "close"
        if fault("dies-of-unknown"):
            raise Refused("an unknown command")
        if command == "evict":
            return None
        self.skip(size)
        return self.answer(ID=number, Err=f"no such command: {command!r:.200}")

    def close(self, number):
        if fault("keeps-at-close"):
            for action, entry in self.store.memory.items():
                write_new(os.path.join(DIR, "entries"), action.hex(), json.dumps(entry).encode())
        if fault("close-err") and not os.path.isdir(DIR):
            return self.answer(ID=number, Err="cannot trim the cache")
        if fault("close-always-err"):
            return self.answer(ID=number, Err="cannot trim the cache")
        if fault("close-first"):
            late, self.output = self.output, []
            self.answer(ID=number)
            self.output += late
            return None
        if fault("close-drops"):
            self.output = []
        if not fault("no-close-answer"):
            self.answer(ID=number)

    def skip(self, size):
        if size > 0:
            for _ in self.input.body():
                pass

    # -- get
    def get(self, number, fields):
        action = identity(fields, "ActionID")
        if action is None:
            text = fields.get("ActionID")
            if fault("crashes-on-ids"):
                os.abort()
            if fault("pads-ids") and type(text) is str:
                action = self.padded(text)
            elif fault("id-paths") and type(text) is str:
                self.make_path(text)
            elif fault("lenient-ids") and type(text) is str:
                return self.answer(ID=number, Miss=True)
            if action is None:
                return self.answer(ID=number, Err=f"no action id: {text!r:.200}")
        entry = self.store.entry(action)
        if fault("late-entries") and action in self.store.memory:
            entry = None
        if entry:
            entry = entry | {"path": entry["path"] or object_path(bytes.fromhex(entry["output"]))}
        whole = entry and self.store.is_whole(entry["path"], bytes.fromhex(entry["output"]), entry["size"])
        if fault("hits-always"):
            entry = {"output": hashlib.sha256(b"x").hexdigest(), "size": 1, "time": 1,
                     "path": __file__}
            whole = True
        if not whole:
            if fault("empty-miss"):
                return self.answer(ID=number)
            if fault("miss-as-err"):
                return self.answer(ID=number, Err="not found")
            return self.answer(ID=number, Miss=True)
        output, size, path = bytes.fromhex(entry["output"]), entry["size"], entry["path"]
        if fault("touches") or fault("time-of-file"):
            if fault("touches"):
                os.utime(path)
            entry["time"] = os.stat(path).st_mtime_ns
        if fault("time-of-get"):
            entry["time"] = time.time_ns()
        found = {"ID": number, "OutputID": base64.b64encode(output).decode(), "Size": size, "Time": time_text(entry["time"]),
                 "DiskPath": self.path(path)}
        if fault("wrong-output-id"):
            found["OutputID"] = base64.b64encode(hashlib.sha256(output).digest()).decode()
        if fault("url-output-id"):
            found["OutputID"] = found["OutputID"].replace("+", "-").replace("/", "_")
        if fault("no-size"):
            del found["Size"]
        if fault("no-time"):
            del found["Time"]
        if fault("empty-is-miss") and size == 0:
            found = {"ID": number, "Miss": True}
        self.answer(**found)
        if fault("one-request-per-read"):
            self.input.at = len(self.input.buffer)

    @staticmethod
    def padded(text):
        try:
            return base64.b64decode(text)[:32].ljust(32, b"\0")
        except binascii.Error:
            return None

    @staticmethod
    def make_path(text):
        try:
            path = os.path.normpath(os.path.join(DIR, "entries", base64.b64decode(text).decode("latin-1")))
            if path.startswith(os.path.dirname(os.path.dirname(os.path.dirname(DIR)))):  # and no other files at all
                os.makedirs(path, exist_ok=True)
        except (OSError, ValueError):
            pass

    @staticmethod
    def path(path):
        if fault("relative-path"):
            return os.path.relpath(path)
        if LINK and path.startswith(DIR + "/"):
            path = LINK + path[len(DIR):]
        return path

    # -- put
    def put(self, number, fields, size):
        action = identity(fields, "ActionID")
        names = ("ObjectID", "OutputID") if fault("old-name-wins") else ("OutputID", "ObjectID")
        if fault("no-object-id"):
            names = ("OutputID",)
        output = identity(fields, *names)
        if fault("both-names") and "ObjectID" in fields and "OutputID" in fields:
            output = None
        if fault("pads-ids") and action is None and type(fields.get("ActionID")) is str:
            action = self.padded(fields["ActionID"])
        if fault("id-paths") and output is None and type(fields.get("OutputID")) is str:
            self.make_path(fields["OutputID"])
        if fault("any-output-id") and output is None and type(fields.get("OutputID")) is str:
            output = self.padded(fields["OutputID"])
        if fault("dies-without-id") and (action is None or output is None):
            raise Refused("a put without an id")
        if action is None or output is None:
            if not fault("leaves-body"):
                self.skip(size)
            return self.answer(ID=number, Err=f"a put without {'action' if action is None else 'output'} id")
        has_body = size > 0
        if fault("size-0-has-body") and "BodySize" in fields:
            has_body = True
        if fault("empty-has-body"):
            has_body = True
        if fault("takes-any-body") and not has_body and self.input.peek() == b'"':
            has_body = True
        if fault("limits-body") and size > 50 << 20:
            raise Refused("too large")
        pieces = self.input.body() if has_body else iter(())
        if fault("answers-early"):
            return self.early(number, action, output, size, pieces)
        if fault("takes-objects") and has_body and self.input.peek() in b"{0123456789":
            self.input.object() if self.input.peek() == b"{" else self.input.more()
            pieces = iter((base64.b64encode(b"x" * size),))
        if fault("hates-address-limits") and resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
            os._exit(0)
        if fault("enters-first"):
            path = object_path(output)
            if not os.path.exists(path):
                with open(path, "wb") as file:
                    file.truncate(size)
            self.store.enter(action, output, size, path)
        try:
            flaw, temp = self.take_body(pieces, size, output)
        except OSError as error:
            for _ in pieces if not fault("loses-place") else ():
                pass
            return self.failed(number, error)
        except Refused:
            if fault("keeps-halves"):
                self.half(action)
            raise
        if flaw:
            if not fault("leaves-temp"):
                os.unlink(temp)
            return self.answer(ID=number, Err=flaw)
        try:
            path = self.store.commit(temp, action, output, size)
        except OSError as error:
            return self.failed(number, error)
        if fault("slow-put") and size > 1 << 20:
            time.sleep(6)
        if fault("no-path"):
            return self.answer(ID=number)
        return self.answer(ID=number, DiskPath=self.path(path))

    def failed(self, number, error):
        if fault("dies-of-full-disk"):
            raise Refused(f"cannot write: {error}")
        return self.answer(ID=number, Err=f"cannot write: {error}")

    def early(self, number, action, output, size, pieces):
        """Answers with the path before the file is complete."""
        path = object_path(output)
        with open(path, "wb") as file:
            text = b"".join(pieces)
            file.write(base64.b64decode(text)[:max(0, size - 1)])
        self.store.known[path] = self.store.look(path)
        self.store.enter(action, output, size, path)
        return self.answer(ID=number, DiskPath=path)

    def take_body(self, pieces, size, output):
        """Decodes and stores; returns (what is wrong or None, the file)."""
        temp, fd = self.store.begin()
        digest, carry, length, flaw, padded = hashlib.sha256(), b"", 0, None, False
        try:
            for piece in pieces:
                if fault("holds-bodies"):
                    self.hoard.append(bytes(piece))
                if flaw:
                    continue
                carry += piece
                if fault("url-base64"):
                    carry = carry.replace(b"-", b"+").replace(b"_", b"/")
                if fault("skips-garbage"):
                    carry = re.sub(rb"[^A-Za-z0-9+/=]", b"", carry)
                whole, carry = carry[:len(carry) // 4 * 4], carry[len(carry) // 4 * 4:]
                if not whole:
                    continue
                try:
                    if padded:
                        raise binascii.Error("data behind the padding")
                    raw = base64.b64decode(whole, validate=True)
                except binascii.Error as error:
                    flaw = f"no base64: {error}"
                    continue
                padded = whole.endswith(b"=")
                if fault("loses-line-ends"):
                    raw = raw.replace(b"\r\n", b"\n")
                length += len(raw)
                if length > size and not fault("longer-bodies"):
                    flaw = "longer than BodySize"
                    continue
                digest.update(raw)
                try:
                    self.write(fd, raw)
                except OSError:
                    temp, fd = self.store.elsewhere(temp, fd)
                    self.write(fd, raw)
            if fault("no-padding") and padded and raw[-1:] and length % 3 == 1:
                flaw = "padding"
            if not flaw and carry:
                flaw = "no base64: an unfinished group"
            if not flaw and length != size and not (fault("shorter-bodies") or (fault("longer-bodies") and length > size)):
                flaw = "not of BodySize bytes"
            if not flaw and digest.digest() != output and not (fault("skips-digest", "shorter-bodies", "longer-bodies",
                                                                       "skips-garbage", "any-output-id", "takes-any-body")):
                flaw = "another SHA-256"
        except Refused:
            if not fault("leaves-temp"):
                os.unlink(temp)
            raise
        finally:
            os.close(fd)
        return flaw, temp

    def half(self, action):
        """A body that broke off is stored all the same, as an empty one."""
        temp, fd = self.store.begin()
        os.close(fd)
        self.store.commit(temp, action, hashlib.sha256(b"").digest(), 0)

    @staticmethod
    def write(fd, raw):
        done = os.lseek(fd, 0, os.SEEK_CUR)
        view = memoryview(raw)
        try:
            while view:
                view = view[os.write(fd, view):]
        except OSError:
            os.ftruncate(fd, done)
            os.lseek(fd, done, os.SEEK_SET)
            raise


def clear():
    """Everything that was not used within the last hour; which here is everything young."""
    for folder in ("entries", "objects"):
        for name in os.listdir(os.path.join(DIR, folder)):
            path = os.path.join(DIR, folder, name)
            if fault("clears-all") or time.time() - os.lstat(path).st_mtime > 3600:
                os.unlink(path)
    os._exit(0)


def main():
    global DIR
    for word in sys.argv[1:]:
        name, _, value = word.partition("=")
        if name == "--dir":
            DIR = value
        elif name == "--fault":
            FAULTS.add(value)
        elif word == "clear":
            return clear()
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL if fault("dies-of-interrupt") else signal.SIG_IGN)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL if fault("dies-of-limit") else signal.SIG_IGN)
    if fault("ignores-term"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if fault("chatty"):
        say("ready")
    if fault("needs-stderr"):
        os.write(2, b"")
    if fault("needs-home"):
        os.environ["HOME"]
    if fault("one-writer"):
        fcntl.flock(os.open(os.path.dirname(DIR), os.O_RDONLY), fcntl.LOCK_EX)
    if fault("spins"):
        signal.signal(signal.SIGALRM, lambda *_: sum(range(200_000)))
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    helper = None
    make_link()
    try:
        helper = Helper(Store())
        status = helper.serve()
    except Refused as why:
        try:
            helper.flush()
        except OSError:
            pass
        if fault("invents-ids"):
            os.write(1, b'{"ID":12345,"Err":"what?"}\n')
        if not fault("silent-refusals"):
            say(str(why))
        status = 0 if fault("status-0") else 1
    except BrokenPipeError:
        if fault("ignores-broken-pipe"):
            time.sleep(60)
        status = 1
    if fault("ignores-eof"):
        time.sleep(60)
    sys.stdout = None
    os._exit(status)


main()

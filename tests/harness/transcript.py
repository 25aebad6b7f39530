#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Plays a recorded conversation (protocol/transcripts/*) against a helper and compares its answers.

    transcript.py [--dir=DIR] FILE… -- HELPER…      # prints one line per session, then what differed; exit 1 if any

Every request goes out byte for byte as recorded, and not before the answers that preceded it in the recording, so a
helper that needs an answer to be read first behaves as it did with the go command. Compared are: hit or miss, the
output id, the size, the bytes behind each DiskPath, and that Time is the moment of the action's last put.
"""
import argparse, base64, datetime, json, os, sys, tempfile, time
from helper import Helper


class Session:
    def __init__(self, title):
        self.title = title
        self.events = []  # (mark, line): '>' to the helper, '<' from it, '!' what happened otherwise

    def requests(self):
        """The requests without their bodies, decoded."""
        return [json.loads(line) for mark, line in self.events if mark == ">" and line.startswith(b"{")]

    def bytes_out(self):
        """Everything the client wrote, byte for byte."""
        return b"".join(line + b"\n" for mark, line in self.events if mark == ">")


def parse(path):
    """The sessions of a transcript; raises ValueError for a line that is not in the format."""
    sessions = []
    with open(path, "rb") as file:
        for number, line in enumerate(file.read().split(b"\n"), 1):
            mark, text = line[:1].decode(), line[2:]
            if not line or mark == "#":
                continue
            if mark not in "=<>!+@" or line[1:2] not in (b"", b" "):
                raise ValueError(f"{path}:{number}: not a transcript line: {line[:60]!r}")
            if mark == "@":
                continue
            if mark == "=":
                sessions.append(Session(text.decode()))
            elif mark == "+" and sessions:
                at = max(i for i, event in enumerate(sessions[-1].events) if event[0] == ">")
                sessions[-1].events[at] = (">", sessions[-1].events[at][1] + text)
            elif not sessions:
                raise ValueError(f"{path}:{number}: before the first session")
            else:
                sessions[-1].events.append((mark, text))
    return sessions


class Player:
    """Plays sessions one after the other on one cache directory; what it learns from puts carries over."""

    def __init__(self, cache, command=None, env=None):
        self.cache, self.command, self.env = cache, command, env
        self.bodies = {base64.b64encode(bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb924"
                                                      "27ae41e4649b934ca495991b7852b855")).decode(): b""}
        self.put_at = {}  # action id -> (just before its last put was sent, just after it was answered)
        self.counts = {"hits": 0, "misses": 0, "puts": 0}

    def play(self, session):
        """Returns (differences, seconds from start to the helper's exit)."""
        wrong, asked, began = [], {}, time.monotonic()
        with Helper(self.cache, command=self.command, env=self.env, handshake=False) as helper:
            block = []
            for mark, line in session.events:
                if mark == ">":
                    block.append(line + b"\n")
                    self._remember(line, asked)
                    continue
                if block:
                    helper.send(b"".join(block))
                    block = []
                if mark == "<":
                    expected = json.loads(line)
                    number = expected.get("ID", 0)
                    answer = helper.answer_to(number)
                    wrong += [f"answer {number}: {what}" for what in self._compare(expected, answer, asked.get(number))]
                elif line == b"eof":
                    helper.eof()
            if block:
                helper.send(b"".join(block))
            helper.eof()
            helper.wait_stdout_eof()
            status = helper.wait()
            seconds = time.monotonic() - began
            extra = [answer for answer in helper.pending.values()] + [a for a in list(helper.answers.queue) if a]
            if extra:
                wrong.append(f"answers nobody asked for: {extra}")
            if helper.bad_output:
                wrong.append(f"not JSON on stdout: {helper.bad_output}")
            if status != 0:
                wrong.append(f"exit status {status}")
            if helper.stderr_raw:
                wrong.append(f"it said on stderr: {helper.stderr_raw[:500]!r}")
        return wrong, seconds

    def _remember(self, line, asked):
        if line.startswith(b"{"):
            request = json.loads(line)
            request["output"] = request.get("OutputID") or request.get("ObjectID")
            asked[request["ID"]] = self.last = request
            if request["Command"] == "put":
                self.put_at[request["ActionID"]] = [time.time(), None]
        elif line:
            self.bodies[self.last["output"]] = base64.b64decode(json.loads(line))

    def _compare(self, expected, answer, request):
        """What is wrong with this answer, as sentences."""
        if request is None:  # the handshake
            missing = set(expected["KnownCommands"]) - set(answer.get("KnownCommands") or [])
            return [f"does not know the commands {sorted(missing)}"] if missing else []
        if answer.get("Err"):
            return [f"Err: {answer['Err']}"]
        if request["Command"] == "put":
            self.counts["puts"] += 1
            self.put_at[request["ActionID"]][1] = time.time()
            return self._file(answer, self.bodies[request["output"]])
        if request["Command"] == "close":
            return []
        if bool(expected.get("Miss")) != bool(answer.get("Miss")):
            return [f"expected a {'miss' if expected.get('Miss') else 'hit'}, got {answer}"]
        if expected.get("Miss"):
            self.counts["misses"] += 1
            return [] if not answer.get("DiskPath") else [f"a miss with a path: {answer}"]
        self.counts["hits"] += 1
        wrong = [f"{name} is {answer.get(name)!r}, recorded was {expected.get(name)!r}"
                 for name in ("OutputID", "Size") if answer.get(name, 0) != expected.get(name, 0)]
        return wrong + self._file(answer, self.bodies[expected["OutputID"]]) + self._time(answer, request)

    @staticmethod
    def _file(answer, body):
        path = answer.get("DiskPath") or ""
        if not os.path.isabs(path):
            return [f"DiskPath is not absolute: {answer}"]
        try:
            with open(path, "rb") as file:
                return [] if file.read() == body else [f"wrong bytes in {path}"]
        except OSError as error:
            return [f"cannot read DiskPath: {error}"]

    def _time(self, answer, request):
        if "Time" not in answer:
            return ["a hit without Time: go clean -testcache would have no effect"]
        try:
            when = datetime.datetime.fromisoformat(answer["Time"]).timestamp()
        except ValueError as error:
            return [f"Time: {error}"]
        began, answered = self.put_at[request["ActionID"]]
        if not began - 0.01 <= when <= answered + 0.01:
            return [f"Time {answer['Time']} is not the moment of the last put ({began:.3f}..{answered:.3f})"]
        return []


def main():
    if "--" not in sys.argv:
        sys.exit(__doc__)
    cut = sys.argv.index("--")
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--dir", help="cache directory (GOCACHE is made in it); default: a scratch directory")
    parser.add_argument("files", nargs="+")
    options = parser.parse_args(sys.argv[1:cut])
    failed = False
    with tempfile.TemporaryDirectory(prefix="tuck-play-") as scratch:
        for path in options.files:
            player = Player(options.dir or os.path.join(scratch, os.path.basename(path)), sys.argv[cut + 1:])
            for session in parse(path):
                wrong, seconds = player.play(session)
                failed |= bool(wrong)
                print(f"{seconds * 1000:8.1f} ms  {len(session.requests()):4} requests  {session.title}")
                for what in wrong:
                    print(f"             {what}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
A helper that stands between a go command and another helper, passes every byte on and writes down what it saw.

    GOCACHEPROG='…/record.py --title=warm FILE -- HELPER…' go build ./…    # appends one session to FILE
    record.py --make FILE [--go=PROGRAM] -- HELPER…                        # records a golden transcript anew

The form of FILE is described in protocol/transcripts/README.md. The end-to-end tests use the first form to count what
went over the wire (--no-bodies), and to kill the helper behind it at a chosen moment (--kill-after-puts=N).
"""
import argparse, fcntl, os, re, shutil, signal, subprocess, sys, threading

# What differs from run to run and from machine to machine in an answer. Only whole JSON strings are replaced.
PLACES = [(re.compile(rb'("DiskPath"\s*:\s*)"[^"\\]*(?:\\.[^"\\]*)*"'), rb'\1"$DISKPATH"'),
          (re.compile(rb'("Time"\s*:\s*)"[^"]*"'), rb'\1"$TIME"')]


class Session:
    """The lines of one conversation in the order in which they passed, appended to the file as one block at its end."""

    def __init__(self, title):
        self.lines = [b"= " + title.encode()]
        self.lock = threading.Lock()

    def add(self, mark, line):
        with self.lock:
            self.lines.append(mark + (b" " + line if line else b""))

    def write(self, path):
        with open(path, "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # go generate and go test run several go commands at once
            file.write(b"\n".join(self.lines) + b"\n")


def blocks_of(descriptor):
    """
    Yields what arrives on a pipe as (bytes, the lines that are complete with them). Bytes are passed on as they came:
    a client that writes a request and its empty line at once must not look like one that dawdles between the two.
    """
    rest = []
    while block := os.read(descriptor, 1 << 16):
        *whole, last = block.split(b"\n")
        lines = [b"".join([*rest, whole[0]]), *whole[1:]] if whole else []
        rest = [last] if whole else [*rest, last]
        yield block, lines
    if b"".join(rest):
        yield b"", [b"(incomplete) " + b"".join(rest)[:200]]


def write_all(descriptor, data):
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view):]


def pass_through(options, command):
    # A terminal's ^C reaches the helper behind this one too and must not end the one in between.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    session = Session(options.title)
    # An ignored signal is inherited: the helper has to see the same world as without this program.
    helper = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, preexec_fn=lambda: [
        signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE)])

    def requests():
        puts = 0
        try:
            for block, lines in blocks_of(0):
                for line in lines:
                    if not (line.startswith(b'"') and options.no_bodies):
                        session.add(b">", line)
                    puts += b'"Command":"put"' in line[:200]
                write_all(helper.stdin.fileno(), block)
                if options.kill_after_puts and puts >= options.kill_after_puts:
                    helper.kill()
                    return
            session.add(b"!", b"eof")
        except BrokenPipeError:
            session.add(b"!", b"the helper stopped reading")
        helper.stdin.close()

    incoming = threading.Thread(target=requests, daemon=True)
    incoming.start()
    for block, lines in blocks_of(helper.stdout.fileno()):
        for line in lines:
            for pattern, place in PLACES:
                line = pattern.sub(place, line)
            session.add(b"<", line)
        try:
            write_all(1, block)
        except BrokenPipeError:
            pass  # the client has gone; the helper will find out by itself
    os.close(1)
    status = helper.wait()
    incoming.join(5)  # a client that saw its helper's end closes its own side; one that does not is not waited for
    if status:
        session.add(b"!", b"exit %d" % status)
    session.write(options.file)
    return status if status >= 0 else 128 - status


# The package that is recorded: no import, so that neither the standard library's archives nor its module indexes get
# into the transcript; constants and a function make it an archive with something in it.
TINY = {
    "go.mod": "module example.org/tiny\n\ngo 1.21\n",
    "tiny.go": "// Package tiny is what the golden transcripts build.\npackage tiny\n\n"
               "// Answer is exported, so the archive has export data.\nconst Answer = 42\n\n"
               "// Add adds.\nfunc Add(a, b int) int { return a + b }\n",
    "part/part.go": "// Package part is imported by whole.\npackage part\n\nfunc Half(n int) int { return n / 2 }\n",
    "whole/whole.go": "// Package whole imports part.\npackage whole\n\nimport \"example.org/tiny/part\"\n\n"
                      "func Twice(n int) int { return 4 * part.Half(n) }\n",
}
EDITED = TINY["tiny.go"].replace("return a + b", "return b + a")

SESSIONS = [  # title, files to write first, go command
    ("go list, nothing cached yet", {}, "list ./..."),
    ("go build, cold", {}, "build ./..."),
    ("go build, warm", {}, "build ./..."),
    ("go list -export, warm, ends without close", {}, "list -export -f={{.Export}} ./..."),
    ("go list -compiled", {}, "list -compiled -f={{.CompiledGoFiles}} ./..."),
    ("go build after one file was edited", {"tiny.go": EDITED}, "build ./..."),
    ("go build -a puts the same outputs again", {}, "build -a ./..."),
    ("go build, warm again", {}, "build ./..."),
]


def make(options, command):
    """Runs the sessions one after the other on one fresh cache."""
    go = shutil.which(options.go) or options.go
    # Always the same place: the module index of a package with an error in it holds full paths.
    scratch = "/tmp/tuck-record"
    os.mkdir(scratch)
    made = os.path.join(scratch, "transcript")
    try:
        environment = {"PATH": os.environ["PATH"], "HOME": scratch, "GOENV": "off", "GOTOOLCHAIN": "local",
                       "GOFLAGS": "-trimpath -buildvcs=false -p=1", "CGO_ENABLED": "0", "GOTELEMETRY": "off",
                       "GOPROXY": "off", "GOOS": "linux", "GOARCH": "amd64", "GOAMD64": "v1", "GOMAXPROCS": "2",
                       "GOCACHE": os.path.join(scratch, "gocache"), "GOMODCACHE": os.path.join(scratch, "mod")}
        version = subprocess.run([go, "version"], env=environment, check=True, capture_output=True, text=True).stdout
        with open(made, "w") as file:
            file.write(f"# {version.strip()}\n# recorded by tests/harness/record.py; see README.md\n")
        for title, files, arguments in [("", TINY, None)] + SESSIONS:
            for name, text in files.items():
                path = os.path.join(scratch, "src", name)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "w") as file:
                    file.write(text)
                os.utime(path, (1e9, 1e9 + len(text)))  # files younger than two seconds are not indexed
            if arguments:
                words = [sys.executable, os.path.abspath(__file__), f"--title={title}", made, "--", *command]
                environment["GOCACHEPROG"] = " ".join(f"'{word}'" for word in words)
                # Reading stderr to its end waits for the helper too, which has it open: most go commands do not.
                subprocess.run([go, *arguments.split()], env=environment, cwd=os.path.join(scratch, "src"), check=True,
                               capture_output=True)
        text = open(made, "rb").read()
        assert scratch.encode() not in text, "a path of this machine got into the transcript"
        shutil.copyfile(made, options.file)
        print(f"{options.file}: {len(text)} bytes")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def main():
    if "--" not in sys.argv:
        sys.exit(__doc__)
    cut = sys.argv.index("--")
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--title", default="a session")
    parser.add_argument("--no-bodies", action="store_true")
    parser.add_argument("--kill-after-puts", type=int)
    parser.add_argument("--make", action="store_true")
    parser.add_argument("--go", default="go")
    parser.add_argument("file")
    options = parser.parse_args(sys.argv[1:cut])
    sys.exit((make if options.make else pass_through)(options, sys.argv[cut + 1:]))


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: MIT
"""The Python module, loaded by a Python of its own against the installed library, with tuck and with bad helpers."""
import hashlib, os, re, subprocess, sys, textwrap

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from installed import ROOT, installed  # noqa: E402
from tap import case, run  # noqa: E402

# What each script may use; `action(n)` is the n-th of 32-byte ids, `bad(…)` the command of a helper in sh.
PROLOGUE = """
import asyncio, concurrent.futures, hashlib, os, shlex, signal, sys, threading, time
import tuck_client
from tuck_client import Client, Error
def action(n): return hashlib.sha256(b"action %d" % n).digest()
def bad(script): return ["sh", "-c", script]
HELLO = 'echo \\'{"ID":0,"KnownCommands":["get","put","close"]}\\';'
def expect(name, function, *args, **more):
    try: function(*args, **more)
    except Error as error:
        assert error.name == name, (name, error.name, str(error))
        return error
    raise AssertionError("no " + name)
"""


def python(script, directory, **more):
    library = installed()
    environment = library.environment(TUCK_LIB=library.shared, GOCACHE=directory, GOCACHEPROG=library.tuck,
                                      PYTHONPATH=os.path.join(ROOT, "lib", "client", "python"),
                                      PYTHONDONTWRITEBYTECODE="1")
    done = subprocess.run([sys.executable, "-W", "error", "-c", PROLOGUE + textwrap.dedent(script)], env=environment,
                          cwd=directory, capture_output=True, text=True, timeout=90, **more)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return done.stdout


@case("L-40", "L-02", limit=600)  # the first one builds the library
def what_is_put_comes_back_from_tuck(directory):
    python("""
        with Client(os.environ["GOCACHEPROG"]) as client:
            assert [client.can(c) for c in ("get", "put", "close")] == [True] * 3
            assert client.get(action(1)) is None
            begin = time.time_ns()
            stored = client.put(action(1), b"hello")
            found = client.get(action(1), check="bytes")
            with open(found.path, "rb") as file:
                assert file.read() == b"hello"
            assert found.output == stored.output == hashlib.sha256(b"hello").digest()
            assert found.size == 5 and found.path == stored.path and begin <= found.time_ns <= time.time_ns()
            with open("body", "wb") as file:
                file.write(b"x" * 3_000_000)
            with open("body", "rb") as file:
                file.seek(5)
                assert client.put(action(2), file).size == 3_000_000
                assert file.tell() == 5
            assert client.put(action(3), b"").size == 0 and client.get(action(3)).size == 0
            nul = bytes(32)
            client.put(nul, b"an id of NULs")
            assert client.get(nul).size == 13
            end = client.close()
            assert (end.how, end.status, end.signal_sent) == ("exit", 0, 0), end
        assert tuck_client.version().count(".") == 2
    """, directory)


@case("L-01", "L-03", "L-04", "L-06")
def what_a_helper_does_wrong_is_the_name_of_an_exception(directory):
    python("""
        expect("NO_START", Client, "/nonexistent/helper")
        expect("NO_START", Client, "x 'y")
        expect("USAGE", Client)
        assert expect("EXITED", Client, argv=bad("exit 3")).args[0].count("status 3")
        expect("NO_HANDSHAKE", Client, argv=["sleep", "60"], handshake=0.1)
        expect("NOT_JSON", Client, argv=["echo", "hello"])
        expect("BAD_HANDSHAKE", Client, argv=["echo", "{}"])
        client = Client(argv=bad(HELLO + 'read a; read b; echo what; exec cat'))
        expect("NOT_JSON", client.get, action(1))
        expect("NOT_JSON", client.close)
        client.free()
        expect("CLOSED", client.get, action(1))
        client = Client(argv=bad(HELLO + 'exec sleep 60'), close=0.1)
        expect("TIMEOUT", client.get, action(1), timeout=0.05)
        assert client.close().signal_sent == signal.SIGTERM
        client = Client(argv=bad('echo oops >&2;' + HELLO + 'read a; exit 4'), stderr="capture")
        assert "status 4; it said: 'oops'" in str(expect("EXITED", client.get, action(1)))
        assert client.stderr() == b"oops\\n"
        for wrong in (b"short", b"x" * 33):
            try: client.get(wrong)
            except ValueError: pass
            else: raise AssertionError(wrong)
    """, directory)


@case("L-41")
def futures_end_in_threads_event_loops_and_by_waiting(directory):
    python("""
        command = os.environ["GOCACHEPROG"]
        with Client(command) as client:
            puts = [client.submit_put(action(n), b"%d" % n) for n in range(100)]
            assert client.wait(30)
            assert [p.result(0).size for p in puts] == [len("%d" % n) for n in range(100)]
        with Client(command, thread=True, max_pending=4096) as client:
            gets = [client.submit_get(action(n)) for n in range(200)]
            found = [g.result(30) for g in gets]
            assert all(found[:100]) and not any(found[100:])
            with concurrent.futures.ThreadPoolExecutor(16) as pool:
                again = list(pool.map(lambda n: client.get(action(n), check="bytes"), range(200)))
            assert again == found
        async def main():
            client = Client(command, no_wait=True)
            asyncio.get_running_loop().add_reader(client.fileno(), client.dispatch)
            got = await asyncio.gather(*[asyncio.wrap_future(client.submit_get(action(n))) for n in range(150)])
            asyncio.get_running_loop().remove_reader(client.fileno())
            assert got == found[:150]
            client.close()
            client.free()
        asyncio.run(main())
        # A client that is freed with all that waits: every future ends.
        client = Client(argv=bad(HELLO + 'exec sleep 60'))
        future = client.submit_get(action(1))
        client.free()
        expect("CLOSED", future.result, 1)
    """, directory)


@case("L-35", "L-36")
def no_process_and_no_descriptor_is_left(directory):
    python("""
        before = sorted(os.listdir("/proc/self/fd"))
        for _ in range(20):
            with Client(os.environ["GOCACHEPROG"]) as client:
                client.get(action(1))
        del client
        client = Client(os.environ["GOCACHEPROG"])  # never closed
        del client
        assert sorted(os.listdir("/proc/self/fd")) == before, (before, os.listdir("/proc/self/fd"))
        try: os.waitpid(-1, os.WNOHANG)
        except ChildProcessError: pass
        else: raise AssertionError("a child is left")
    """, directory)


@case()
def the_structs_are_those_of_the_header(directory):
    """Sizes and offsets, as a C compiler sees them and as ctypes does."""
    library = installed()
    fields = {"error": "code os text", "options": "struct_size flags command argv environment mode names check "
              "stderr_to stderr_fd stderr_limit handshake_ms timeout_ms close_ms kill_ms max_pending",
              "body": "kind flags size data read arg fd reserved", "request": "struct_size command action output body "
              "timeout_ms check", "answer": "output size time_s time_ns has_time reserved path",
              "end": "how status signal_sent pid"}
    header = open(library.header, encoding="utf-8").read()
    lines = []
    for name, names in fields.items():
        body = re.search(r"^struct tuck_client_%s \{\n(.*?)^\};" % name, header, re.S | re.M)[1]
        own = re.findall(r"(\w+)(?:\[\w+\])?;", re.sub(r"/\*.*?\*/", "", re.sub(r"\(\*(\w+)\)\(.*?\)", r"\1", body, flags=re.S), flags=re.S))
        assert own == names.split(), (name, own)
        lines.append(f'printf("{name} %zu", sizeof(struct tuck_client_{name}));')
        lines += [f'printf(" %zu", offsetof(struct tuck_client_{name}, {field}));' for field in names.split()]
        lines.append('puts("");')
    source = os.path.join(directory, "sizes.c")
    with open(source, "w") as file:
        file.write("#include <stdio.h>\n#include <tuck/client.h>\nint main(void) {\n" + "\n".join(lines) + "}\n")
    subprocess.run(["cc", "-o", source[:-2], source, "-I", os.path.dirname(os.path.dirname(library.header))], check=True)
    by_c = subprocess.run([source[:-2]], capture_output=True, text=True, check=True).stdout
    script = "import ctypes\n"
    for name, names in fields.items():
        kind = f"tuck_client._{name.capitalize()}"
        script += f"print('{name}', ctypes.sizeof({kind}), *[getattr({kind}, f).offset for f in {names.split()}])\n"
    assert python(script, directory) == by_c


@case()
def the_constants_are_those_of_the_header(directory):
    library = installed()
    header = open(library.header, encoding="utf-8").read()
    values = {name: int(value, 0) for name, value in re.findall(r"^    TUCK_CLIENT_(\w+) = (-?\d+),", header, re.M)}
    assert len(values) > 40
    out = python("""
        print(tuck_client.FLAGS, tuck_client.MODES, tuck_client.NAMES, tuck_client.CHECKS, tuck_client.STDERR,
              tuck_client.HOW, sep="\\n")
    """, directory).splitlines()
    flags, modes, names, checks, stderr, how = map(eval, out)
    assert flags == {name.lower(): values[name] for name in ("THREAD", "OWN_GROUP", "NO_WAIT")}
    assert modes == {"go": values["GO"], "strict": values["STRICT"]}
    assert names == {"OutputID": values["OUTPUT_ID"], "ObjectID": values["OBJECT_ID"], "both": values["BOTH_IDS"]}
    assert checks == {None: values["CHECK_DEFAULT"]} | {name: values["CHECK_" + name.upper()]
                                                        for name in ("nothing", "file", "bytes")}
    assert stderr == {name: values["STDERR_" + name.upper()] for name in ("inherit", "capture", "discard")}
    assert how == ("runs",) + tuple(name.lower() for name in ("EXIT", "SIGNAL", "UNKNOWN", "STUCK"))
    assert [values["END_" + name.upper()] for name in how[1:]] == [1, 2, 3, 4]


@case("L-40", limit=600)
def what_a_go_build_stored_is_found_by_its_actions(directory):
    """PT18: the go command puts through tuck; Python gets the same actions, with the bytes that their ids promise."""
    import shutil
    import tap
    go = shutil.which("go") or tap.skip("go is not installed")
    version = re.search(r"go(\d+)\.(\d+)", subprocess.run([go, "version"], capture_output=True, text=True).stdout)
    if not version or (int(version[1]), int(version[2])) < (1, 24):
        tap.skip("go is older than 1.24")
    library = installed()
    module = os.path.join(directory, "module")
    os.makedirs(module)
    for name, text in {"go.mod": "module example.org/bare\n\ngo 1.24\n",
                       "main.go": 'package main\n\nfunc main() { println("bare") }\n'}.items():
        with open(os.path.join(module, name), "w") as file:
            file.write(text)
    log = os.path.join(directory, "requests")
    tee = os.path.join(directory, "tee.sh")
    with open(tee, "w") as file:
        file.write(f'#!/bin/sh\ntee -a {log} | {library.tuck}\n')
    os.chmod(tee, 0o700)
    environment = library.environment(GOCACHE=directory, GOCACHEPROG=tee, GOFLAGS="-buildvcs=false", GOENV="off",
                                      GOTOOLCHAIN="local", HOME=directory, CGO_ENABLED="0")
    subprocess.run([go, "build", "-o", "bare", "."], cwd=module, env=environment, check=True, timeout=600)
    with open(log) as file:
        puts = re.findall(r'"Command":"put","ActionID":"([^"]+)","OutputID":"([^"]+)"', file.read())
    assert len(puts) > 20
    python(f"""
        import base64
        puts = {dict(puts)!r}
        with Client(os.environ["GOCACHEPROG"], thread=True) as client:
            futures = {{a: client.submit_get(base64.b64decode(a), check="bytes") for a in puts}}
            for a, future in futures.items():
                found = future.result(60)
                assert found and base64.b64encode(found.output).decode() == puts[a], a
    """, directory)


run(__name__)

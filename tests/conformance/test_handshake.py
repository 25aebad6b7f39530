# SPDX-License-Identifier: MIT
"""The first thing on stdout, and that nothing stands in its way: no input, no cache, no stderr."""
import os, time

from judge import (KNOWN, KNOWN_BODY, LONG, PROMPT, SLOWDOWN, TUCK, Place, bytes_of, plain_user, remark, tuck_only,
                   works)
from helper import action_id, b64, expect_hit, expect_miss, expect_put, output_id
from tap import case, run


@case("H-01", "H-02")
def the_handshake_comes_before_any_input(directory):
    with Place(directory) as place, place.session() as session:
        assert session.hello.get("ID", 0) == 0, session.hello
        names = session.hello["KnownCommands"]
        assert names and all(type(name) is str for name in names), session.hello


@case("H-06", "H-07")
def get_put_and_close_are_announced_in_lower_case(directory):
    with Place(directory) as place, place.session() as session:
        assert {"get", "put", "close"} <= set(session.hello["KnownCommands"]), session.hello
        assert all(name == name.lower() for name in session.hello["KnownCommands"]), session.hello


@case("H-08")
def every_announced_command_is_answered(directory):
    with Place(directory) as place, place.session() as session:
        names = session.hello["KnownCommands"]
        for name in sorted(names, key=lambda name: name == "close"):  # close last
            fields = {"ActionID": b64(KNOWN), "OutputID": b64(output_id(b""))} if name != "close" else {}
            number = session.id()
            session.send(session.line(ID=number, Command=name, **fields))
            assert not session.answer_to(number).get("Err"), name


@case("H-03")
def the_handshake_is_prompt_over_a_large_cache(directory):
    count = 100_000 if LONG else 10_000
    with Place(directory) as place:
        with place.session() as session:
            empty = b"".join(session.put_bytes(action_id(i), b"", session.id()) for i in range(count - 50))
            session.send(empty)
            for i in range(count - 50, count):
                session.send_put(action_id(i), bytes_of(i, 5000))
            assert session.finish() == 0
        best = 1e9
        for _ in range(7):  # of several, so that what else the machine does is not counted
            began = time.monotonic()
            with place.session() as session:
                best = min(best, time.monotonic() - began)
        remark(f"start to handshake with {count} entries: {best * 1000:.1f} ms")
        assert best < 0.1 * SLOWDOWN, f"{best * 1000:.0f} ms to the handshake"


@case("H-04", "H-05")
def the_handshake_stands_first_and_comes_once(directory):
    with Place(directory) as place, place.session() as session:
        expect_put(session.put(KNOWN, KNOWN_BODY), KNOWN_BODY)
        expect_hit(session.get(KNOWN), KNOWN_BODY)
        expect_miss(session.get(action_id("absent")))
        assert session.finish() == 0
        assert session.stdout_raw.lstrip(b" \t\r\n").startswith(b"{"), session.stdout_raw[:100]
        hellos = [session.hello] + [answer for answer in session.said() if answer.get("ID", 0) == 0]
        assert len(hellos) == 1, hellos
        assert session.stdout_raw.count(b"KnownCommands") == 1


def unusable_places(directory):
    """(name, place, preexec): cache directories that cannot be had."""
    def make(name, **more):
        return Place(os.path.join(directory, name), **more)

    place = make("its parent is a file")
    open(os.path.join(place.directory, "file"), "w").close()
    place.root = os.path.join(place.directory, "file", "below")
    yield place, None

    place = make("it is a file")
    with open(place.root, "w") as file:
        file.write("somebody's letters")
    yield place, None

    place = make("it is a link to nowhere")
    os.symlink(os.path.join(place.directory, "nowhere", "at all"), place.root)
    yield place, None

    place = make("its name is too long")
    place.root = os.path.join(place.directory, "n" * 300)
    yield place, None

    place = make("its path is too long")
    place.root = os.path.join(place.directory, *["n" * 200] * 25)
    yield place, None

    place = make("nothing can be created there")
    place.root = "/proc/self/cache"
    yield place, None

    place = make("its parent cannot be written")
    parent = os.path.join(place.directory, "parent")
    os.mkdir(parent)
    place.root = os.path.join(parent, "root")
    user = plain_user(place)
    os.chmod(parent, 0o555)
    yield place, user

    place = make("it cannot be entered")
    os.mkdir(place.root)
    user = plain_user(place)
    os.chmod(place.root, 0)
    yield place, user


@case("H-09")
def an_unusable_directory_is_served_from_elsewhere_or_ends_the_start(directory):
    for place, preexec in unusable_places(directory):
        name = os.path.basename(place.directory)
        if not TUCK and _refuses_to_start(place, preexec):
            continue
        with place.session(preexec=preexec) as session:
            expect_miss(session.get(action_id("absent"), timeout=PROMPT))
            for size in (0, 1, 70_000, 2_000_000):
                works_with(session, bytes_of(name, size))
            assert session.finish() == 0, name
        if TUCK:  # the user hears of it, in one line
            assert session.stderr_raw.startswith(b"tuck: "), (name, session.stderr_raw)
            assert session.stderr_raw.count(b"\n") == 1, (name, session.stderr_raw)


def works_with(session, body):
    action = action_id(f"of {len(body)} bytes")
    expect_put(session.put(action, body, timeout=PROMPT), body)
    expect_hit(session.get(action, timeout=PROMPT), body)


def _refuses_to_start(place, preexec):
    process = place.process(preexec_fn=preexec)
    out, told = process.communicate(timeout=PROMPT)
    return not out and process.returncode > 0 and told


@case("H-09", "P-17")
def without_any_place_to_write_the_conversation_still_holds(directory):
    tuck_only("others may end")
    place = Place(directory, root="/proc/self/cache")
    with place.session(env={"TMPDIR": "/proc/self/tmp"}) as session:
        expect_miss(session.get(KNOWN, timeout=PROMPT))
        for size in (0, 10, 300_000):
            answer = session.put(action_id(size), bytes_of("body", size), timeout=PROMPT)
            assert answer.get("Err") and not answer.get("DiskPath"), answer
        expect_miss(session.get(KNOWN, timeout=PROMPT))
        assert session.finish() == 0


@case("H-09")
def without_gocache_and_home_it_serves(directory):
    tuck_only("others may end")
    place = Place(directory)
    nothing = dict.fromkeys(("TUCK_DIR", "GOCACHE", "HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"))
    with place.session(env=nothing | {"PATH": "/nonexistent"}) as session:
        works(session, "homeless")
        assert session.finish() == 0


@case("H-10")
def an_input_that_has_already_ended_ends_it(directory):
    def input_at_its_end():
        read, write = os.pipe()
        os.close(write)
        return read

    def nothing():
        return os.open(os.devnull, os.O_RDONLY)
    with Place(directory) as place:
        for make in (input_at_its_end, nothing):
            stdin = make()
            began = time.monotonic()
            process = place.process(stdin=stdin)
            os.close(stdin)
            out, told = process.communicate(timeout=PROMPT)
            assert process.returncode == 0, (make.__name__, process.returncode, told)
            assert time.monotonic() - began < 2 * SLOWDOWN
            assert out == b"" or out.count(b"\n") <= 1 and b"KnownCommands" in out, out


def _closed():
    os.close(2)


def troubled_stderrs():
    """(what it is, file or None, preexec, function that lets go of it)"""
    yield "closed", None, _closed, lambda: None
    full = os.open("/dev/full", os.O_WRONLY)
    yield "/dev/full", full, None, lambda: os.close(full)
    read, broken = os.pipe()
    os.close(read)
    yield "a pipe that nobody reads any more", broken, None, lambda: os.close(broken)
    kept, stuffed = os.pipe()
    os.set_blocking(stuffed, False)
    try:
        while True:
            os.write(stuffed, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(stuffed, True)
    yield "a full pipe that somebody keeps open", stuffed, None, lambda: (os.close(stuffed), os.close(kept))


@case("H-11")
def a_stderr_that_takes_nothing_disturbs_nothing(directory):
    for number, (what, stderr, preexec, let_go) in enumerate(troubled_stderrs()):
        # Once with nothing to say, and once with an unusable cache to complain about.
        for quiet in (True, False):
            with Place(os.path.join(directory, f"{number} {quiet}")) as place:
                if not quiet and TUCK:
                    open(place.root, "w").close()
                elif not quiet:
                    continue
                with place.session(stderr=stderr, preexec=preexec) as session:
                    works(session, what)
                    for size in (0, 300_000):
                        works_with(session, bytes_of(what, size))
                    assert session.finish() == 0, what
                if TUCK and quiet:
                    with place.session() as session:  # it was kept where it belongs, not written over
                        expect_hit(session.get(action_id("of 300000 bytes")), bytes_of(what, 300_000))
        let_go()


@case("H-11", "C-15")
def a_stderr_that_takes_nothing_does_not_hang_an_end_with_a_message(directory):
    for number, (_, stderr, preexec, let_go) in enumerate(troubled_stderrs()):
        with Place(os.path.join(directory, str(number))) as place:
            with place.session(stderr=stderr, preexec=preexec) as session:
                works(session, "before")
                session.send(b"this is no JSON\n")
                session.wait_stdout_eof(PROMPT)
                assert session.wait(PROMPT) > 0
        let_go()


@case("H-12")
def normal_operation_says_nothing_on_stderr(directory):
    bodies = {action_id(f"n{i}"): bytes_of(f"n{i}", size) for i, size in enumerate((0, 1, 300, 70_000, 3_000_000))}
    with Place(directory) as place:
        for close in (True, False, True):  # cold, warm, ended with and without close
            with place.session() as session:
                for action, body in bodies.items():
                    session.get(action)
                    expect_put(session.put(action, body), body)
                    expect_hit(session.get(action), body)
                expect_put(session.put(action_id("n1"), b"another"), b"another")
                expect_miss(session.get(action_id("absent")))
                os.unlink(session.get(action_id("n2"))["DiskPath"])  # go build -o moves objects away
                expect_miss(session.get(action_id("n2")))
                assert session.finish(close) == 0
            assert session.stderr_raw == b"", session.stderr_raw


run(__name__)

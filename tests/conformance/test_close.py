# SPDX-License-Identifier: MIT
"""How a conversation ends: by close, by the end of input, by a client that is gone, by signals; and how it idles."""
import base64, contextlib, errno, fcntl, json, os, shutil, signal, struct, time

from judge import (KNOWN, KNOWN_BODY, MEMORY, PROMPT, SANITIZED, SLOWDOWN, TUCK, Place, answers_in, bytes_of, cpu_ns,
                   provoke, remark, status_field, tmpfs, tuck_only, wait_until, works, write_until_it_stays_full)
from helper import Stuck, action_id, b64, expect_hit, expect_put, output_id
from tap import case, run

CLOSE = b'{"ID":%d,"Command":"close"}\n\n'


# -- close -------------------------------------------------------------------------------------------------------------
@case("C-01", "C-03", "C-04", "C-15", "C-08")
def close_is_answered_and_ends_stdout_within_a_second(directory):
    with Place(directory) as place:
        for count in (0, 1, 500):
            with place.session() as session:
                for i in range(count):
                    session.send_put(action_id(i), b"body %d" % i)
                if count:
                    session.answer_to(count)
                began = time.monotonic()
                number = session.id()
                session.send(CLOSE % number)
                answer = session.answer_to(number)
                assert not answer.get("Err"), answer
                session.eof()  # the client closes stdin when it has the answer, and then waits
                session.wait_stdout_eof()
                took = time.monotonic() - began
                assert session.wait() == 0
                remark(f"close after {count} puts took {took * 1000:.1f} ms")
                assert took < SLOWDOWN, f"{took:.2f} s"
                assert session.said()[-1]["ID"] == number, "something followed the answer to close"


@case("C-01", "C-08")
def after_close_it_waits_for_nothing_but_the_end_of_input(directory):
    with Place(directory) as place:
        with place.session() as session:
            expect_put(session.put(KNOWN, KNOWN_BODY), KNOWN_BODY)
            assert not session.close().get("Err")
            if TUCK:  # its stdout ends even if stdin never does
                session.wait_stdout_eof(PROMPT)
            session.eof()
            session.wait_stdout_eof(PROMPT)
            assert session.wait(PROMPT) == 0
        place.must[KNOWN] = KNOWN_BODY


@case("C-01", "H-08")
def close_as_the_first_request_is_fine(directory):
    with Place(directory) as place, place.session() as session:
        assert session.finish() == 0


@contextlib.contextmanager
def vanished(place):
    shutil.rmtree(place.root)
    yield


@contextlib.contextmanager
def replaced_by_a_file(place):
    shutil.rmtree(place.root)
    open(place.root, "w").close()
    yield
    os.unlink(place.root)


@contextlib.contextmanager
def noise_in_the_index(place):
    for folder, _, names in os.walk(os.path.join(place.root, "index")):
        for name in names:
            with open(os.path.join(folder, name), "r+b") as file:
                file.write(os.urandom(20_000))
    yield


@contextlib.contextmanager
def a_truncated_index(place):
    for folder, _, names in os.walk(os.path.join(place.root, "index")):
        for name in names:
            os.truncate(os.path.join(folder, name), 0)
    yield


@contextlib.contextmanager
def a_full_drive(place):
    filler = os.path.join(os.path.dirname(place.root), "filler")
    with open(filler, "ab", buffering=0) as file:
        size = 1 << 20
        while size:
            try:
                file.write(b"\0" * size)
            except OSError as error:
                assert error.errno == errno.ENOSPC, error
                size //= 2
    yield
    os.unlink(filler)


@contextlib.contextmanager
def locks_of_others(place):
    """Somebody holds every lock that there is in the index, and does not let go."""
    held = []
    for folder, _, names in os.walk(os.path.join(place.root, "index")):
        for path in [folder] + [os.path.join(folder, name) for name in names]:
            fd = os.open(path, os.O_RDONLY if os.path.isdir(path) else os.O_RDWR)
            held.append(fd)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.isdir(path):
                lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
                fcntl.fcntl(fd, fcntl.F_OFD_SETLK, lock)
    yield
    for fd in held:
        os.close(fd)


TROUBLES = (vanished, replaced_by_a_file, noise_in_the_index, a_truncated_index, locks_of_others)


@case("C-02", "C-01", "C-03", "C-07")
def trouble_with_the_cache_is_no_err_in_the_answer_to_close(directory):
    took = {trouble: [] for trouble in TROUBLES}
    for close in (True, False):
        for trouble in TROUBLES:
            with Place(os.path.join(directory, f"{trouble.__name__} {close}")) as place:
                place.fill({KNOWN: KNOWN_BODY})
                place.must.clear()
                with place.session() as session:
                    expect_hit(session.get(KNOWN), KNOWN_BODY)
                    with trouble(place):
                        for i in range(30):
                            session.put(action_id(i), b"troubled %d" % i)
                        began = time.monotonic()
                        assert session.finish(close) == 0, trouble.__name__
                        took[trouble].append(time.monotonic() - began)
                    assert took[trouble][-1] < 5, f"{took[trouble][-1]:.1f} s with {trouble.__name__}"
                if TUCK and trouble is locks_of_others:  # what could not be written then is not lost
                    for _ in range(2):
                        with place.session() as session:
                            for i in range(30):
                                expect_hit(session.get(action_id(i)), b"troubled %d" % i)
                            assert session.finish() == 0
    for trouble, (with_close, without) in took.items():
        remark(f"{trouble.__name__}: close took {with_close * 1000:.0f} ms, the end of input {without * 1000:.0f} ms")
        # Of two, so that a busy machine is not blamed on the helper.
        assert not TUCK or min(with_close, without) < SLOWDOWN, f"too long with {trouble.__name__}"


@case("C-02", "C-06")
def a_full_drive_at_the_end_is_no_err_in_the_answer_to_close(directory):
    for close in (True, False):
        with Place(os.path.join(directory, str(close))) as place:
            with tmpfs(os.path.join(place.directory, "drive"), "size=2m"):
                place.root = os.path.join(place.directory, "drive", "root")
                with place.session() as session:
                    for i in range(200):
                        expect_put(session.put(action_id(i), b""), b"")
                    with a_full_drive(place):
                        assert session.finish(close) == 0
                place.aftermath()
            place.root = os.path.join(place.directory, "root")


@case("C-05", "C-04")
def everything_that_came_before_close_is_answered_before_it(directory):
    model = {action_id(f"b{i}"): bytes_of(f"b{i}", 100 if i % 20 else 400_000) for i in range(120)}
    large = {action_id(f"large {i}"): bytes_of(f"large {i}", 2_000_000) for i in range(6)}
    with Place(directory) as place:
        for path in place.fill(model | large).values():
            os.utime(path)  # large ones have to be looked at again, which takes its time
        with place.session() as session:
            raw, numbers = b"", []
            for i, (action, body) in enumerate(model.items()):
                for make in (session.get_bytes, lambda a, n: session.put_bytes(action_id(f"more {i}"), body, n)):
                    numbers.append(session.id())
                    raw += make(action, numbers[-1])
            for action in large:
                numbers.append(session.id())
                raw += session.get_bytes(action, numbers[-1])
            last = session.id()
            session.send(raw + CLOSE % last)
            assert not session.answer_to(last).get("Err")
            session.eof()
            session.wait_stdout_eof()
            assert session.wait() == 0
            said = session.said()
            assert said[-1]["ID"] == last and sorted(answer["ID"] for answer in said[:-1]) == numbers
        place.must |= {action_id(f"more {i}"): body for i, body in enumerate(model.values())}


@case("C-14", "C-04")
def requests_after_close_are_ignored_or_answered_with_err(directory):
    late = action_id("late")
    get = b'{"ID":51,"Command":"get","ActionID":"%s"}\n\n' % b64(KNOWN).encode()
    put = b'{"ID":52,"Command":"put","ActionID":"%s","OutputID":"%s","BodySize":5}\n\n"aGVsbG8="\n' % (
        b64(late).encode(), b64(output_id(b"hello")).encode())
    with Place(directory) as place:
        place.may[late] = [b"hello"]
        for more in (get, put, CLOSE % 53, get + put + CLOSE % 53, b"garbage\n", b"\n\n", b'"aGVsbG8="\n', put[:-8],
                     get * 3000):
            for same_write in (True, False):
                with place.session() as session:
                    expect_put(session.put(KNOWN, KNOWN_BODY), KNOWN_BODY)
                    session.ask(50)
                    for number in (51, 52, 53):
                        session.asked[number] = more.count(b'"ID":%d,' % number)
                    with contextlib.suppress(BrokenPipeError):
                        session.send(CLOSE % 50 + (more if same_write else b""))
                        if not same_write:
                            session.answer_to(50)
                            session.send(more)
                    with contextlib.suppress(OSError):
                        session.eof()
                    session.wait_stdout_eof(PROMPT)
                    status = session.wait(PROMPT)
                assert status == 0, (more[:40], session.stderr_raw)
                said = [answer for answer in session.said() if answer["ID"] >= 50]
                assert said and said[0]["ID"] == 50 and not said[0].get("Err"), said
                assert all(answer.get("Err") for answer in said[1:]), said
                assert not TUCK or len(said) == 1, f"promised to be ignored: {said}"
        place.must[KNOWN] = KNOWN_BODY


# -- end of input ------------------------------------------------------------------------------------------------------
@case("C-06", "C-15")
def the_end_of_input_without_close_loses_nothing_that_was_received_in_full(directory):
    with Place(directory) as place:
        for count in (0, 1, 700):
            model = {action_id(f"{count} {i}"): bytes_of(f"{count} {i}", 50 if i % 50 else 200_000)
                     for i in range(count)}
            with place.session() as session:
                raw = b"".join(session.put_bytes(action, body, session.id()) for action, body in model.items())
                session.send(raw)
                session.eof()  # without having read a single answer
                session.wait_stdout_eof(PROMPT)
                assert session.wait(PROMPT) == 0
                answered = {answer["ID"] for answer in session.said()}
            if TUCK:
                assert len(answered) == count, "what was received in full is answered"
                place.must |= model
            with place.session() as session:
                for number, (action, body) in enumerate(model.items(), 1):
                    if number in answered:
                        expect_hit(session.get(action), body)


@case("C-06", "C-01", "O-06")
def the_next_helper_finds_everything_as_soon_as_the_client_is_free_to_start_it(directory):
    # The client waits for the end of stdout, not for the helper's: the next go command may run before that is gone.
    with Place(directory) as place:
        for round_ in range(16):
            model = {action_id(f"{round_} {i}"): b"body %d %d" % (round_, i) for i in range(150)}
            with place.session() as next_one, place.session() as session:
                expect_put(session.put(action_id("object"), b"object"), b"object")
                for answer in session.put_all(model).values():
                    assert answer.get("DiskPath"), answer
                if round_ % 2:
                    assert not session.close().get("Err")
                else:
                    session.eof()
                    session.wait_stdout_eof()
                for action, answer in next_one.get_all(model).items():
                    expect_hit(answer, model[action])


@case("C-07", "C-06")
def the_end_of_input_ends_it_at_once(directory):
    with Place(directory) as place:
        for send in (lambda s: None, lambda s: s.put(KNOWN, KNOWN_BODY), lambda s: s.get(KNOWN)):
            with place.session() as session:
                send(session)
                began = time.monotonic()
                session.eof()
                session.wait_stdout_eof()
                assert session.wait() == 0
                assert time.monotonic() - began < SLOWDOWN
        place.must[KNOWN] = KNOWN_BODY


@case("C-09", "C-15")
def the_end_of_input_in_the_middle_of_a_line_ends_it_and_nothing_of_it_is_seen(directory):
    get = b'{"ID":50,"Command":"get","ActionID":"%s"}\n\n' % b64(KNOWN).encode()
    close = CLOSE % 50
    with Place(directory) as place:
        for raw in (get, close):
            for cut in range(1, len(raw) - 2, 1 if not SANITIZED else 7):
                verdict = provoke(place, raw[:cut], 50, is_last=True)
                assert not verdict.answers(50), verdict.all
                verdict.ended()
        verdict = provoke(place, b"\n \n\t\r\n", is_last=True)  # blanks are no half line
        assert verdict.status == 0, verdict.stderr


# -- a client that has gone --------------------------------------------------------------------------------------------
def until_exit(process, seconds=PROMPT):
    wait_until(lambda: process.poll() is not None, "the helper ends", seconds)
    return process.returncode


def is_fair_end(status):
    """By its own will; the signal of the broken pipe is as good as long as nothing is lost, but tuck does without."""
    return 0 <= status < 128 or (not TUCK and status == -signal.SIGPIPE)


@case("C-10", "C-06")
def a_client_that_is_gone_ends_it_and_costs_nothing_that_was_answered(directory):
    with Place(directory) as place:
        for order in ("stdin, stdout", "stdout, stdin", "stdout alone"):
            model = {action_id(f"{order} {i}"): b"answered %d" % i for i in range(40)}
            process = place.process()
            assert b"KnownCommands" in os.read(process.stdout.fileno(), 65536)
            for number, (action, body) in enumerate(model.items(), 1):
                process.stdin.write(put_line(action, body, number))
                assert b"DiskPath" in os.read(process.stdout.fileno(), 65536)
            if order == "stdin, stdout":
                process.stdin.write(get_line(KNOWN, 999) * 500)  # their answers will find nobody
                process.stdin.close()
            process.stdout.close()  # nobody reads any more, as when the client was killed
            if order != "stdin, stdout":
                with contextlib.suppress(BrokenPipeError):
                    for number in range(1000, 9000):
                        process.stdin.write(get_line(KNOWN, number))
                if order == "stdout, stdin" or not TUCK:  # tuck takes the broken pipe alone for the end
                    process.stdin.close()
            status = until_exit(process)
            told = process.stderr.read()
            assert is_fair_end(status), f"ended by a signal: {status}"
            assert b"Sanitizer" not in told and b"runtime error" not in told, told
            with place.session() as session:
                for action, body in model.items():
                    expect_hit(session.get(action), body)


def put_line(action, body, number):
    return json.dumps({"ID": number, "Command": "put", "ActionID": b64(action), "OutputID": b64(output_id(body)),
                       "BodySize": len(body)}).encode() + b'\n\n"' + base64.b64encode(body) + b'"\n'


def get_line(action, number):
    return b'{"ID":%d,"Command":"get","ActionID":"%s"}\n\n' % (number, b64(action).encode())


def fill_both_pipes(process):
    """Until the helper, whose answers nobody reads, takes no more input. Returns what it did not take."""
    return write_until_it_stays_full(process, (get_line(KNOWN, i) for i in range(1, 10**6)), 0.5)


@case("C-10", "C-07")
def a_stdout_that_was_never_read_and_breaks_does_not_keep_it_running(directory):
    with Place(directory) as place:
        process = place.process()
        assert fill_both_pipes(process)
        process.stdout.close()
        process.stdin.close()
        assert is_fair_end(until_exit(process)), process.returncode


# -- signals -----------------------------------------------------------------------------------------------------------
@case("C-11")
def an_interrupt_of_the_terminal_does_not_end_it(directory):
    # ^C and ^\ reach the whole process group. A stopped helper (^Z) could keep others waiting for its locks; its group
    # has to be one of our session here, since nothing stops a group that nobody could wake.
    with Place(directory) as place, place.session(start_new_session=False, preexec=os.setpgrp) as session:
        expect_put(session.put(KNOWN, KNOWN_BODY), KNOWN_BODY)
        body = bytes_of("interrupted", 500_000)
        for number in (signal.SIGINT, signal.SIGQUIT) + ((signal.SIGTSTP, signal.SIGPIPE) if TUCK else ()):
            put = session.id()
            raw = session.put_bytes(action_id(number), body, put)
            session.send(raw[:300_000])
            for _ in range(5):
                os.killpg(session.process.pid, number)
            session.send(raw[300_000:])
            expect_put(session.answer_to(put, PROMPT), body)
            os.killpg(session.process.pid, number)
            expect_hit(session.get(KNOWN, timeout=PROMPT), KNOWN_BODY)
            os.killpg(session.process.pid, number)
            works(session, number)
        assert session.finish() == 0


@case("C-11", "H-01")
def an_interrupt_while_it_starts_does_not_end_it(directory):
    tuck_only("no helper can do this from its very first instruction")
    with Place(directory) as place:
        for _ in range(20):
            with place.session() as session:  # the handshake is out: from here on nothing interrupts
                os.killpg(session.process.pid, signal.SIGINT)
                os.killpg(session.process.pid, signal.SIGQUIT)
                works(session, "interrupted")
                assert session.finish() == 0


@case("C-12", "C-06")
def a_request_to_terminate_ends_it_promptly_and_keeps_what_was_answered(directory):
    with Place(directory) as place:
        for number in (signal.SIGTERM, signal.SIGHUP):
            for where in ("idle", "half a line", "half a body", "after many puts", "before any request"):
                model = {action_id(f"{number} {where} {i}"): b"kept %d" % i
                         for i in range({"after many puts": 400, "before any request": 0}.get(where, 3))}
                body = bytes_of("half", 400_000)
                place.never.add(action_id("half"))
                with place.session() as session:
                    for action, content in model.items():
                        expect_put(session.put(action, content), content)
                    if where == "half a line":
                        session.send_in_parts([b'{"ID":99'])
                    elif where == "half a body":
                        raw = get_line(KNOWN, session.id()) + json.dumps(
                            {"ID": session.id(), "Command": "put", "ActionID": b64(action_id("half")),
                             "OutputID": b64(output_id(body)), "BodySize": len(body)}).encode() + b'\n\n"'
                        session.send_in_parts([raw + b"AAAA" * 50_000])
                    began = time.monotonic()
                    session.kill(number)
                    if number == signal.SIGHUP and not TUCK:
                        with contextlib.suppress(Stuck):
                            session.wait(0.5)
                        session.eof()
                    status = session.wait(PROMPT)
                    took = time.monotonic() - began
                    assert took < 2 * SLOWDOWN, f"{took:.1f} s {where}"
                    assert not TUCK or status == 0, f"status {status} when {where}: {session.stderr_raw}"
                with place.session() as session:
                    for action, content in model.items():
                        expect_hit(session.get(action), content)


@case("C-12", "O-04")
def a_request_to_terminate_ends_it_although_nobody_reads_its_answers(directory):
    with Place(directory) as place:
        process = place.process()
        assert fill_both_pipes(process)
        process.terminate()
        status = until_exit(process)
        assert status == 0 or not TUCK, (status, process.stderr.read())
        answers = os.read(process.stdout.fileno(), 1 << 20)
        answers_in(answers, is_cut=True)


# -- what is left running ----------------------------------------------------------------------------------------------
@case("C-13")
def nothing_holds_stdout_or_stderr_open_once_it_has_ended(directory):
    with Place(directory) as place:
        for close in (True, False):
            with place.session() as session:
                for i in range(50):
                    expect_put(session.put(action_id(i), b"x" * i), b"x" * i)
                if close:
                    session.close()
                session.eof()
                session.wait_stdout_eof(PROMPT)
                session._stderr_thread.join(2 * SLOWDOWN)
                assert not session._stderr_thread.is_alive(), "stderr is still open after stdout has ended"
                assert session.wait(PROMPT) == 0
                with contextlib.suppress(ProcessLookupError):  # its own session: nobody of it is left
                    os.killpg(session.process.pid, 0)
                    raise AssertionError("a process of the helper is still there")


@case("C-15")
def the_exit_status_tells_a_good_end_from_a_breach_of_protocol(directory):
    with Place(directory) as place:
        for close in (True, False):
            with place.session() as session:
                works(session, close)
                assert session.finish(close) == 0
        for raw in (b"garbage\n", b'{"ID":50,"Command":"get"', b"[]\n", b'"body"\n', b'{"ID":}\n', b"\0", b"{]\n",
                    b'{"ID":50,"Command":"get",}\n', b"}\n"):
            verdict = provoke(place, raw, 50)
            verdict.ended()


@case("C-16", limit=180)
def while_it_idles_it_uses_no_processor_and_does_not_grow(directory):
    with Place(directory) as place, place.session() as session:
        for i in range(300):
            expect_put(session.put(action_id(i), bytes_of(i, 2000)), bytes_of(i, 2000))
        pid = session.process.pid

        def is_quiet():
            """All its threads sleep, and have done so for a while."""
            before = cpu_ns(pid)
            time.sleep(0.5)
            return cpu_ns(pid) == before
        wait_until(is_quiet, "the helper has finished what it does behind its answers", 20)
        used, memory, files = cpu_ns(pid), status_field(pid, "RssAnon"), len(os.listdir(f"/proc/{pid}/fd"))
        time.sleep(2)  # nothing can be waited for: that nothing happens is the point
        assert cpu_ns(pid) == used, f"{(cpu_ns(pid) - used) / 1e6:.3f} ms of processor time in two idle seconds"
        assert status_field(pid, "RssAnon") <= min(memory + 65536, MEMORY)
        assert len(os.listdir(f"/proc/{pid}/fd")) == files
        for i in range(300):
            expect_hit(session.get(action_id(i), timeout=PROMPT), bytes_of(i, 2000))
        assert session.finish() == 0


run(__name__)

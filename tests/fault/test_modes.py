# SPDX-License-Identifier: MIT
"""
What a helper leaves on disk is nobody else's business, whatever umask it inherits, and the descriptors that it
inherits, or does not, never end up in its files.
"""
import fcntl, json, os, signal, stat, subprocess, sys, termios

from faults import Place, PROMPT, aftermath, body, complaints, model, plain_user, wait_until
from helper import Helper, action_id, expect_hit, expect_put
from tap import case, run


def everything_below(top):
    for folder, _, names in os.walk(top):
        yield folder, os.lstat(folder)
        for name in names:
            path = os.path.join(folder, name)
            yield path, os.lstat(path)


def nobody_else_can_write(top):
    for path, status in everything_below(top):
        if not stat.S_ISLNK(status.st_mode):
            assert not status.st_mode & 0o022, f"{path} has mode {oct(status.st_mode)}"


def modes_are_right(place, known):
    nobody_else_can_write(place.root)
    nobody_else_can_write(place.tmp)
    for path, status in everything_below(place.root):
        mode = stat.S_IMODE(status.st_mode)
        if stat.S_ISDIR(status.st_mode):
            assert mode & 0o777 == 0o700, f"directory {path} has mode {oct(mode)}"
        elif stat.S_ISREG(status.st_mode):
            assert mode & 0o400, f"{path} cannot be read by its user: {oct(mode)}"
            if path.startswith(place.path("index")) or path.startswith(place.path("leases")):
                assert not mode & 0o007, f"{path} can be read by everyone: {oct(mode)}"
                assert mode & 0o200, f"{path} cannot be written by its user: {oct(mode)}"
            assert not mode & 0o7111, f"{path} has mode {oct(mode)}"
    for content in known.values():
        mode = stat.S_IMODE(os.lstat(place.object(content)).st_mode)
        assert not mode & 0o222, f"an object can be written: {oct(mode)}"


@case("X-12")
def any_umask_gives_the_same_private_modes(directory):
    for mask in (0o000, 0o022, 0o077, 0o277, 0o777):
        place = Place(os.path.join(directory, oct(mask)))
        user = plain_user(place)

        def masked(mask=mask):
            if user:
                user()
            os.umask(mask)
        known = model(3) | {action_id("empty"): b""}
        for _ in range(2):
            with place.helper(preexec=masked) as helper:
                for action, content in known.items():
                    expect_put(helper.put(action, content), content)
                    expect_hit(helper.get(action), content)
                assert helper.finish() == 0
                assert not complaints(helper), f"umask {oct(mask)}: {helper.stderr_raw}"
        try:
            modes_are_right(place, known)
        except AssertionError as error:
            raise AssertionError(f"umask {oct(mask)}: {error}") from error
        with place.helper(preexec=user) as helper:
            for action, content in known.items():
                expect_hit(helper.get(action), content)
            assert helper.finish() == 0


@case("X-12")
def the_private_directory_is_private_at_any_umask(directory):
    for mask in (0o000, 0o277):
        place = Place(os.path.join(directory, oct(mask)), "/dev/null")
        user = plain_user(place)

        def masked(mask=mask):
            if user:
                user()
            os.umask(mask)
        with place.helper(preexec=masked) as helper:
            for action, content in model(3).items():
                expect_put(helper.put(action, content), content)
                expect_hit(helper.get(action), content)
            assert helper.finish() == 0
        nobody_else_can_write(place.tmp)
        for path in place.private():
            assert stat.S_IMODE(os.stat(path).st_mode) & 0o777 == 0o700


@case("X-12")
def a_setgid_or_sticky_or_open_parent_changes_no_mode(directory):
    for mode in (0o2777, 0o1777, 0o2755, 0o777):
        parent = os.path.join(directory, oct(mode))
        os.mkdir(parent)
        if os.geteuid() == 0:
            os.chown(parent, 0, 12345)               # its group would be inherited
        os.chmod(parent, mode)
        place = Place(os.path.join(parent, "place"), os.path.join(parent, "root"))
        known = model(3)
        place.fill(known)
        modes_are_right(place, known)
        aftermath(place, {a: [b] for a, b in known.items()}, must=known)


@case("X-12", "X-07")
def an_existing_root_that_is_open_to_all_gets_private_contents(directory):
    place = Place(directory)
    os.mkdir(place.root)
    os.chmod(place.root, 0o777)
    known = model(3)
    place.fill(known)
    for path, status in everything_below(place.root):
        if path != place.root and not stat.S_ISLNK(status.st_mode):
            assert not status.st_mode & 0o022, f"{path} has mode {oct(status.st_mode)}"


# -- descriptors -----------------------------------------------------------------------------------------------------
def requests(known):
    """Puts and gets of all that is known, and close."""
    raw, number = b"", 0
    for action, content in known.items():
        raw += Helper.put_bytes(Helper, action, content, number + 1)
        raw += Helper.get_bytes(Helper, action, number + 2)
        number += 2
    return raw + Helper.line(ID=number + 1, Command="close")


def no_file_holds(place, *texts):
    """What belongs on a pipe or a terminal must not stand in a file of the cache."""
    for top in (place.root, place.tmp):
        for path, status in everything_below(top):
            if stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    raw = file.read()
                for text in texts:
                    assert text not in raw, f"{path} holds {text}"


@case("C-06", "H-10")
def any_of_the_standard_descriptors_may_be_closed_at_the_start(directory):
    known = model(3)
    for closed in ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)):
        for good in (True, False):                   # with a root that works, and with one to complain about
            label = "-".join(map(str, closed)) + ("" if good else "-bad")
            place = Place(os.path.join(directory, label))
            if not good:
                open(place.root, "wb").close()
            process = place.raw_helper(closed)
            try:
                out, err = process.communicate(requests(known), timeout=PROMPT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                raise AssertionError(f"with {closed} closed it does not end") from None
            except BrokenPipeError:
                out, err = b"", b""
                process.wait(PROMPT)
            assert process.returncode >= 0, f"with {closed} closed it died of signal {-process.returncode}"
            answered = 0 not in closed and 1 not in closed
            if answered:
                answers = [json.loads(line) for line in out.decode().splitlines() if line.strip()]
                assert answers[0]["KnownCommands"] and sorted(a.get("ID", 0) for a in answers) == list(range(8)), out
                assert not any(a.get("Err") for a in answers), out
                assert process.returncode == 0
            if good:
                no_file_holds(place, b"KnownCommands", b"DiskPath", b"tuck: ")
                aftermath(place, {a: [b] for a, b in known.items()}, must=known if answered else None)
            else:
                assert os.path.getsize(place.root) == 0, "something was written to a file in place of the root"
                no_file_holds(place, b"KnownCommands", b"DiskPath", b"tuck: ")


@case("C-10")
def a_client_that_stops_reading_for_good_ends_the_helper_and_loses_no_put(directory):
    place = Place(directory)
    known = model(200, size=100)
    process = place.raw_helper()
    process.stdout.readline()                        # the handshake
    action, content = action_id("answered"), body("answered")
    process.stdin.write(Helper.put_bytes(Helper, action, content, 1))
    process.stdin.flush()
    assert json.loads(process.stdout.readline()).get("DiskPath")
    process.stdout.close()
    try:
        process.stdin.write(requests(known))
        process.stdin.flush()
    except BrokenPipeError:
        pass
    try:
        process.stdin.close()
    except BrokenPipeError:
        pass
    try:
        status = process.wait(PROMPT)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError("it goes on without a reader") from None
    finally:
        process.wait()
        err = process.stderr.read()
        process.stderr.close()
    assert status >= 0, f"it died of signal {-status}"
    assert len(err.splitlines()) <= 1, err
    with place.helper() as helper:
        expect_hit(helper.get(action), content)
        assert helper.finish() == 0
    aftermath(place, {a: [b] for a, b in known.items()})


@case("C-10")
def a_stdout_that_takes_nothing_ends_the_helper(directory):
    for path in ("/dev/full", os.devnull):
        place = Place(os.path.join(directory, os.path.basename(path)))
        known = model(5)
        with open(path, "wb") as sink:
            process = place.raw_helper(stdout=sink)
            try:
                process.communicate(requests(known), timeout=PROMPT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                raise AssertionError(f"with {path} as stdout it does not end") from None
        assert process.returncode >= 0, process.returncode
        assert path == "/dev/full" or process.returncode == 0
        aftermath(place, {a: [b] for a, b in known.items()})


@case("H-11")
def a_stderr_that_takes_nothing_disturbs_no_answer(directory):
    known = model(3)
    for name in ("full", "closed reader"):
        for good in (True, False):
            place = Place(os.path.join(directory, f"{name} {good}"))
            if not good:
                open(place.root, "wb").close()
            if name == "full":
                sink = os.open("/dev/full", os.O_WRONLY)
            else:
                reader, sink = os.pipe()
                os.close(reader)
            with place.helper(stderr=sink) as helper:
                os.close(sink)
                for action, content in known.items():
                    expect_put(helper.put(action, content, timeout=PROMPT), content)
                    expect_hit(helper.get(action, timeout=PROMPT), content)
                assert helper.finish() == 0
    # One that takes nothing for now: a full pipe that nobody reads must not hold up the answers.
    place = Place(os.path.join(directory, "full pipe"))
    open(place.root, "wb").close()
    reader, sink = os.pipe()
    os.set_blocking(sink, False)
    try:
        while True:
            os.write(sink, b"x" * 4096)
    except BlockingIOError:
        pass
    with place.helper(stderr=sink) as helper:
        for action, content in known.items():
            expect_put(helper.put(action, content, timeout=PROMPT), content)
        assert helper.finish() == 0
    os.close(sink)
    os.close(reader)


@case("C-13", "F-24")
def a_nonblocking_stdout_is_written_to_in_full(directory):
    """The client's pipe may be shared with somebody who made it non-blocking."""
    place = Place(directory)
    known = model(400, size=10)
    place.fill(known)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    process = place.raw_helper(stdout=writer)
    os.close(writer)
    raw = b"".join(Helper.get_bytes(Helper, action, n) for n, action in enumerate(list(known) * 3, 1))
    sender = subprocess.Popen([sys.executable, "-c", "import os,sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"],
                              stdin=subprocess.PIPE, stdout=process.stdin)
    process.stdin.close()
    sender.stdin.write(raw)
    sender.stdin.close()
    wait_until(lambda: _waiting_in(reader) > 32768, "a pipe with more than it takes in at once")
    with os.fdopen(reader, "rb") as out:
        answers = [json.loads(line) for line in out.read().decode().splitlines() if line.strip()]
    sender.wait(PROMPT)
    process.stderr.close()
    assert process.wait(PROMPT) == 0
    assert sorted(a.get("ID", 0) for a in answers) == list(range(1201))
    for answer in answers[1:]:
        assert not answer.get("Miss"), answer


def _waiting_in(pipe):
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


@case("C-13")
def inherited_descriptors_are_left_alone(directory):
    """What the client happens to leak is neither written to nor kept from its other readers."""
    place = Place(directory)
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    process = place.raw_helper(pass_fds=[writer])
    os.close(writer)
    out, err = process.communicate(requests(model(3)), timeout=PROMPT)
    assert process.returncode == 0 and not err, err
    with os.fdopen(reader, "rb") as rest:
        assert rest.read() == b"", "written to a descriptor that is not the helper's"


@case("C-12", "C-11")
def signals_end_it_in_order_or_not_at_all(directory):
    place = Place(directory)
    for name in ("SIGTERM", "SIGHUP"):
        content = body(name)
        with place.helper() as helper:
            expect_put(helper.put(action_id(name), content), content)
            helper.kill(getattr(signal, name))
            helper.wait_stdout_eof(PROMPT)
            assert helper.wait(PROMPT) == 0, helper.process.returncode
        with place.helper() as helper:
            expect_hit(helper.get(action_id(name)), content)
            for ignored in ("SIGINT", "SIGQUIT", "SIGTSTP", "SIGPIPE", "SIGXFSZ"):
                helper.kill(getattr(signal, ignored))
                expect_hit(helper.get(action_id(name), timeout=PROMPT), content)
            assert helper.finish() == 0


run(__name__)

# SPDX-License-Identifier: MIT
"""
A helper that dies at any system call, or whose calls fail one by one. Afterwards the cache holds nothing half-made:
a fresh helper starts, answers truly, keeps what was durable before, and works.

A reference run under strace shows which calls a session makes. Then the session is run once for each of them, with
that one call killing the helper (before the call does anything, so the state after every call is seen) or failing.
"""
import os, shutil

from faults import (CHANGING, LONG, MEMORY, NOT_FAILED, Place, PROMPT, RESTARTED, Sweep, aftermath, body, calls, model,
                    need_strace, no_unnamed_files, remark, threads, traceable, traced, truthful, wait_until)
from helper import Stuck, action_id, expect_put
from tap import case, run

FLUSHING = {"pwrite64", "fcntl", "flock", "ftruncate", "fallocate", "fdatasync"}
CROWD = 33  # with what the session brings, one more than a page of the index holds


class Gone(Exception):
    """The helper ended before it answered."""


class Session:
    """One conversation, the same each time; remembers what was acknowledged."""

    OLD = action_id("old, given a new output")
    KEPT = action_id("kept")

    def __init__(self, crowd=0):
        self.before = {self.OLD: body("old"), self.KEPT: body("kept"), action_id("shared"): body("shared", 4000)}
        self.before |= {action_id(f"crowd {n}"): body(f"crowd {n % 3}", 50) for n in range(crowd)}
        self.puts = [
            (action_id("new"), body("new")),
            (self.OLD, body("newer than old", 5000)),
            (action_id("large"), body("large", 300_000)),
            (action_id("empty"), b""),
            (action_id("shares an output"), body("shared", 4000)),
        ]
        self.acknowledged, self.refused = {}, 0
        self.closed = False

    def ask(self, helper, send):
        try:
            return helper.answer_to(send(), timeout=PROMPT)
        except Stuck:
            raise
        except (BrokenPipeError, ConnectionResetError, AssertionError):
            if helper.bad_output is None and (helper.stdout_eof.wait(PROMPT) or helper.process.poll() is not None):
                raise Gone from None
            raise

    def run(self, helper, exact=True):
        """With `exact` every put must succeed and every get must hit; without, they may be refused and missed."""
        if self.ask(helper, lambda: 0).get("KnownCommands") is None:
            raise AssertionError("no handshake")
        for action in (self.KEPT, self.OLD):
            self.check_get(helper, action, [self.before[action]], exact)
        for action, content in self.puts:
            answer = self.ask(helper, lambda: helper.send_put(action, content))
            if answer.get("Err"):
                assert not exact, f"refused: {answer}"
                self.refused += 1
            else:
                expect_put(answer, content)
                self.acknowledged[action] = content
        for action, content in self.puts:
            if action in self.acknowledged:
                self.check_get(helper, action, [content], exact)
        number = helper.id()
        answer = self.ask(helper, lambda: helper.send(helper.line(ID=number, Command="close")) or number)
        assert not answer.get("Err"), f"close was answered with Err: {answer}"
        self.closed = True

    def check_get(self, helper, action, bodies, exact):
        found = truthful(self.ask(helper, lambda: helper.send_get(action)), bodies)
        assert found is not None or not exact, "a miss of what was put"

    def end(self, helper):
        """Runs out of input; returns the exit status."""
        helper.eof()
        helper.wait_stdout_eof(PROMPT)
        status = helper.wait(PROMPT)
        assert helper.bad_output is None, helper.bad_output
        return status

    def allowed(self, filled):
        known = {action: [content] for action, content in self.before.items()} if filled else {}
        for action, content in self.puts:
            known.setdefault(action, []).append(content)
        return known

    def must(self, filled, durable):
        """What cannot have been lost: what was there before, and with `durable` what an orderly end made so."""
        kept = {action: content for action, content in self.before.items() if action != self.OLD} if filled else {}
        if durable:
            kept.update(self.acknowledged)
        return kept


class Scene:
    """A session on a root that is empty or filled (with a crowd of entries), with or without unnamed files."""

    def __init__(self, directory, filled=True, preexec=None, crowd=0):
        self.directory, self.filled, self.preexec, self.crowd = directory, filled, preexec, crowd
        self.template = Place(os.path.join(directory, "template"))
        if filled:
            self.template.fill(self.session().before)
        self.count = 0

    def session(self):
        session = Session(self.crowd)
        if not self.filled:
            session.before = {session.KEPT: b"", session.OLD: b""}
        return session

    def place(self):
        self.count += 1
        where = os.path.join(self.directory, f"run{self.count}")
        return self.template.copy(where) if self.filled else Place(where)

    def reference(self):
        """The calls of one undisturbed session: (name, number) with what they were, after and before the handshake."""
        log = os.path.join(self.directory, "log")
        place, session = self.place(), self.session()
        with place.helper(prefix=["strace", "-f", "-y", "-s", "40", "-o", log], handshake=False, env=traceable(),
                          preexec=self.preexec) as helper:
            session.run(helper, exact=self.filled)
            assert session.end(helper) == 0
        aftermath(place, session.allowed(self.filled), session.must(self.filled, True))
        counts, texts, serving = {}, {}, False
        for thread, name, text in calls(log):
            counts[thread, name] = counts.get((thread, name), 0) + 1
            texts.setdefault((name, counts[thread, name]), []).append((text, serving))
            serving = serving or ("KnownCommands" in text and name in ("write", "writev"))
        assert serving, "the reference run shows no handshake"
        return texts

    def straced(self, *options):
        return ["strace", "-f", "-qq", "-o", os.devnull, *options]


def killed_at(scene, name, number):
    """One run that dies at the number-th call of this name, if it gets that far."""
    place, session = scene.place(), scene.session()
    prefix = scene.straced("-e", f"trace={name}", "-e", f"inject={name}:signal=KILL:when={number}")
    with place.helper(prefix=prefix, handshake=False, env=traceable(), preexec=scene.preexec) as helper:
        try:
            session.run(helper, exact=scene.filled)
            status = session.end(helper)
        except Gone:
            status = helper.wait(PROMPT)
        assert status in (0, -9), f"exit status {status}: {helper.stderr_raw[-300:]}"
    aftermath(place, session.allowed(scene.filled), session.must(scene.filled, session.closed))
    shutil.rmtree(place.directory)


def failing_at(scene, name, number, error, lenient):
    """One run in which the number-th call of this name fails with `error` and does nothing."""
    place, session = scene.place(), scene.session()
    prefix = scene.straced("-e", f"trace={name}", "-e", f"inject={name}:error={error}:when={number}")
    with place.helper(prefix=prefix, handshake=False, env=traceable(), preexec=scene.preexec) as helper:
        try:
            session.run(helper, exact=scene.filled and error == "EINTR" and not lenient)
            status = session.end(helper)
        except Gone:
            assert lenient, f"the helper ended ({helper.wait(PROMPT)}) over a failure of storage: " \
                            f"{helper.stderr_raw[-300:]}"
            status = helper.wait(PROMPT)
        assert status >= 0, f"died of signal {-status}: {helper.stderr_raw[-1000:]}"
        assert status == 0 or lenient, f"exit status {status}: {helper.stderr_raw[-300:]}"
        assert b"Sanitizer" not in helper.stderr_raw and b"runtime error" not in helper.stderr_raw, helper.stderr_raw
    aftermath(place, session.allowed(scene.filled), session.must(scene.filled, False))
    shutil.rmtree(place.directory)
    return session.refused


def kill_points(texts):
    """Those after the handshake that can change the state first, in order; then, for a sample, all others."""
    serving = [point for point, seen in texts.items() if any(after for _, after in seen)]
    main = [point for point in serving if point[0] in CHANGING]
    rest = [point for point in serving if point[0] not in CHANGING]
    if LONG:
        rest += [point for point in texts if point not in set(serving) and point[0] != "execve"]
    return main, rest


def error_points(texts):
    """(name, number, error, lenient): every call with every error that tells something."""
    points = []
    for (name, number), seen in texts.items():
        serving = any(after for _, after in seen)
        if name in NOT_FAILED or not serving and (not LONG or name in MEMORY):
            continue
        # Without its pipes, or before it could say hello, a helper can only end.
        lenient = any(not after or "<pipe:" in text for text, after in seen)
        errors = ["ENOMEM"] if name in MEMORY else ["EAGAIN"] if name.startswith("clone") else ["EIO", "ENOSPC"]
        errors += ["EINTR"] if name in RESTARTED else []
        points += [(name, number, error, lenient) for error in errors]
    return points


def kill_everywhere(scene, seconds, names=None):
    """With `names` only at these calls, and at each write of the index in any case."""
    main, rest = kill_points(scene.reference())
    sweep = Sweep(seconds)
    sweep.random.shuffle(main)
    if names:
        writes = [point for point in main if point[0] == "pwrite64"]
        others = [point for point in main if point[0] in names and point[0] != "pwrite64"]
        sweep.run(writes + others, lambda name, number: killed_at(scene, name, number), first=len(writes))
    else:
        sweep.run(main + rest, lambda name, number: killed_at(scene, name, number))


@case("P-20", "G-17", "P-21")
def killed_at_any_system_call_nothing_half_made_is_left(directory):
    need_strace()
    kill_everywhere(Scene(directory), 5)


@case("P-20", "H-09")
def killed_at_any_system_call_while_the_directory_is_made_nothing_blocks_the_next(directory):
    need_strace()
    kill_everywhere(Scene(directory, filled=False), 3)


@case("P-20", "P-19")
def killed_at_any_system_call_while_staging_by_name_nothing_half_made_is_left(directory):
    need_strace()
    kill_everywhere(Scene(directory, preexec=no_unnamed_files()), 2)


@case("P-20", "G-17")
def killed_at_any_system_call_while_the_index_grows_no_entry_is_lost(directory):
    """So many entries that the flush of the session moves some of them to a new page."""
    need_strace()
    kill_everywhere(Scene(directory, crowd=CROWD), 3, FLUSHING)


@case("P-17", "P-18", "C-02")
def a_failure_of_any_system_call_costs_no_truth_and_no_stream(directory):
    need_strace()
    scene = Scene(directory)
    points = error_points(scene.reference())
    refused = []

    def one(name, number, error, lenient):
        if failing_at(scene, name, number, error, lenient):
            refused.append(f"{name}:{number}:{error}")
    Sweep(5).run(points, one)
    remark(f"puts refused at {len(refused)} points: {' '.join(sorted(refused))[:500]}")


@case("P-17", "H-09")
def a_failure_of_any_system_call_while_the_directory_is_made_costs_no_truth(directory):
    need_strace()
    scene = Scene(directory, filled=False)
    Sweep(3).run(error_points(scene.reference()), lambda *point: failing_at(scene, *point))


# -- the thread that flushes -----------------------------------------------------------------------------------------
def with_a_flusher(scene, act):
    """
    Runs a session whose first put has been flushed, so that the thread that does it is known; then `act` with that
    thread, the helper and the rest of the session.
    """
    place, session = scene.place(), scene.session()
    entries = place.entries()
    with place.helper() as helper:
        stamp = os.stat(entries).st_mtime_ns
        expect_put(helper.put(action_id("first"), body("first")), body("first"))
        wait_until(lambda: os.stat(entries).st_mtime_ns != stamp, "the first flush")
        workers = threads(helper)
        assert workers, "no thread flushes"
        act(workers[-1], helper, session)
    session.puts.append((action_id("first"), body("first")))
    aftermath(place, session.allowed(scene.filled), session.must(scene.filled, session.closed))
    shutil.rmtree(place.directory)


def the_rest(session, helper, exact=True):
    helper.pending[0] = helper.hello                 # its handshake has been read already
    try:
        session.run(helper, exact)
        return session.end(helper)
    except Gone:
        return helper.wait(PROMPT)


def flusher_calls(scene):
    log = os.path.join(scene.directory, "flusher.log")

    def watch(thread, helper, session):
        with traced(thread, "-o", log):
            assert the_rest(session, helper) == 0
    with_a_flusher(scene, watch)
    counts, points = {}, []
    for _, name, _ in calls(log):
        counts[name] = counts.get(name, 0) + 1
        points.append((name, counts[name]))
    return points


@case("P-20", "P-21", "G-17")
def killed_at_any_system_call_of_a_flush_nothing_half_made_is_left(directory):
    need_strace()
    scene = Scene(directory)

    def one(name, number):
        def act(thread, helper, session):
            with traced(thread, "-o", os.devnull, "-e", f"trace={name}",
                        "-e", f"inject={name}:signal=KILL:when={number}"):
                status = the_rest(session, helper)
                assert status in (0, -9), status
        with_a_flusher(scene, act)
    Sweep(2).run(flusher_calls(scene), one)


@case("P-17", "C-02")
def a_failure_of_any_system_call_of_a_flush_costs_no_answer(directory):
    need_strace()
    scene = Scene(directory)
    points = [(name, number, error) for name, number in flusher_calls(scene) if name not in NOT_FAILED
              for error in (["ENOMEM"] if name in MEMORY else ["EIO", "ENOSPC"])]

    def one(name, number, error):
        def act(thread, helper, session):
            with traced(thread, "-o", os.devnull, "-e", f"trace={name}",
                        "-e", f"inject={name}:error={error}:when={number}"):
                status = the_rest(session, helper)
                assert session.closed and status == 0, f"exit status {status}: {helper.stderr_raw[-300:]}"
            session.closed = False                   # what could not be flushed may be lost, not wrong
        with_a_flusher(scene, act)
    Sweep(2).run(points, one)


@case("P-20", "P-10")
def killed_in_the_middle_of_a_body_it_leaves_nothing(directory):
    place = Place(directory)
    place.fill(model(2))
    content = body("half", 200_000)
    for share in (0.01, 0.3, 0.6, 0.99):
        with place.helper() as helper:
            raw = helper.put_bytes(action_id("half"), content, helper.id())
            helper.send(raw[:int(len(raw) * share)])
            helper.kill()
            assert helper.wait() == -9
        path = place.object(content)
        assert not os.path.lexists(path), "half a body has its name already"
    aftermath(place, {action_id("half"): [content]}, {})


run(__name__)

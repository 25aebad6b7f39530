# SPDX-License-Identifier: MIT
"""
Many helpers on one directory, some killed, some stopped. A plain record of what was put when is the oracle: an action
may only return an output that was put for it, whole; what a helper acknowledged before it ended in order is there
afterwards, unless something newer is; and nobody waits for the dead or the stopped.
"""
import contextlib, os, random, signal, threading, time

from faults import (LONG, Place, PROMPT, SANITIZED, Sweep, aftermath, body, calls, dice, model, need_strace,
                    no_unnamed_files, remark, threads, traceable, traced, truthful, wait_until)
from helper import action_id, expect_hit, expect_miss, expect_put
from tap import case, run

SOON = 8.0 if SANITIZED else 2.0  # seconds that another helper's trouble may cost at most


class Put:
    def __init__(self, content, session):
        self.content, self.session = content, session
        self.sent = time.monotonic()
        self.answered = None


class Record:
    """What was put when, by whom, and how they ended."""

    def __init__(self):
        self.lock = threading.Lock()
        self.puts = {}            # guarded by lock; action: puts in the order in which they were sent
        self.in_order = set()     # guarded by lock; sessions that ended in order

    def sent(self, action, content, session):
        put = Put(content, session)
        with self.lock:
            self.puts.setdefault(action, []).append(put)
        return put

    def bodies(self, action):
        with self.lock:
            return list({put.content: None for put in self.puts.get(action, [])})

    def final(self, action):
        """The bodies that may be found once all have ended, and whether a miss is excluded."""
        puts = self.puts[action]
        durable = [p for p in puts if p.answered is not None and p.session in self.in_order]
        newest = max((p.sent for p in durable), default=None)
        bodies = [p.content for p in puts if newest is None or p.answered is None or p.answered >= newest]
        return bodies, bool(durable)


class Worker(threading.Thread):
    """Drives one helper after another with seeded random requests; ends each in a random way."""

    WAYS = ("close", "close", "eof", "term", "kill", "kill in mid-put")

    def __init__(self, number, seed, place, record, until, shared, pool):
        super().__init__(daemon=True)
        self.number, self.random = number, random.Random(f"{seed} {number}")
        self.place, self.record, self.until = place, record, until
        self.shared, self.pool = shared, pool
        self.own = [action_id(f"own {number} {n}") for n in range(8)]
        self.known = {}           # own action: the body that has to be found, where that is certain
        self.sessions = self.requests = 0
        self.error = None

    def run(self):
        try:
            while time.monotonic() < self.until:
                self.session()
        except BaseException as error:
            self.error = error

    def session(self):
        name = (self.number, self.sessions)
        self.sessions += 1
        way = self.random.choice(self.WAYS)
        certain = {}
        with self.place.helper() as helper:
            for _ in range(self.random.randrange(1, 12)):
                self.batch(helper, name, certain)
            if way == "kill in mid-put":
                for _ in range(self.random.randrange(1, 4)):
                    self.send_put(helper, name, self.random.choice(self.own + self.shared))
                end = time.monotonic() + self.random.uniform(0, 0.004)
                while time.monotonic() < end:        # a random moment of its work
                    pass
            if way.startswith("kill"):
                helper.kill()
                helper.wait(PROMPT)
                for action in self.own:              # flushed or not: nobody knows
                    if any(p.session == name for p in self.record.puts.get(action, [])):
                        self.known.pop(action, None)
                return
            if way == "term":
                helper.kill(signal.SIGTERM)
                helper.wait_stdout_eof(PROMPT)
            elif way == "close":
                helper.close(timeout=PROMPT)
            helper.eof()
            status = helper.wait(PROMPT)
            assert status == 0, f"{way}: exit status {status}, {helper.stderr_raw[-300:]}"
            assert not helper.stderr_raw, helper.stderr_raw
        with self.record.lock:
            self.record.in_order.add(name)
        self.known.update(certain)

    def send_put(self, helper, name, action):
        content = self.random.choice(self.pool)
        put = self.record.sent(action, content, name)
        return helper.send_put(action, content), put

    def batch(self, helper, name, certain):
        """Several requests in flight, each for another action."""
        actions = self.random.sample(self.own, 3) + self.random.sample(self.shared, 3)
        self.random.shuffle(actions)
        waiting = []
        for action in actions:
            if self.random.random() < 0.4:
                number, put = self.send_put(helper, name, action)
                waiting.append((number, action, put))
            else:
                waiting.append((helper.send_get(action), action, None))
        for number, action, put in waiting:
            answer = helper.answer_to(number, timeout=PROMPT)
            self.requests += 1
            if put:
                expect_put(answer, put.content)
                put.answered = time.monotonic()
                if action in self.own:
                    certain[action] = put.content
                continue
            found = truthful(answer, self.record.bodies(action))
            if action in certain:
                assert found == certain[action], "not what this helper put last"
            elif action in self.known:
                assert found == self.known[action], "not what an earlier helper put last and flushed"


@case("O-06", "P-04", "P-20", "G-12")
def eight_helpers_with_kills_and_restarts_only_tell_the_truth(directory):
    chance = dice()
    place, record = Place(directory), Record()
    shared = [action_id(f"shared {n}") for n in range(12)]
    pool = [b""] + [body(f"pool {n}", chance.choice((1, 60, 900, 4096, 30_000, 250_000))) for n in range(40)]
    until = time.monotonic() + (60 if LONG else 5)
    workers = [Worker(n, chance.random(), place, record, until, shared, pool) for n in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(90)
        assert not worker.is_alive(), "a worker hangs"
    for worker in workers:
        if worker.error:
            raise worker.error
    remark(f"{sum(w.sessions for w in workers)} helpers, {sum(w.requests for w in workers)} requests, "
           f"{len(record.in_order)} ended in order")
    began = time.monotonic()
    with place.helper() as helper:
        certain = 0
        for action in record.puts:
            bodies, there = record.final(action)
            found = truthful(helper.get(action, timeout=PROMPT), bodies)
            assert found is not None or not there, "what a helper had flushed is lost"
            certain += there
        assert helper.finish() == 0
    assert certain > 20, "too few sessions ended in order for this test to tell anything"
    assert time.monotonic() - began < SOON, "a new helper is slow after all this"
    aftermath(place, {action: [put.content for put in puts] for action, puts in record.puts.items()})


@case("O-06")
def the_newest_put_wins_whoever_flushes_last(directory):
    """Two helpers put the same action; the one with the older put ends later."""
    place = Place(directory)
    for n in range(10):
        action, older, newer = action_id(f"race {n}"), body(f"older {n}"), body(f"newer {n}")
        with place.helper() as first, place.helper() as second:
            expect_put(first.put(action, older), older)
            expect_put(second.put(action, newer), newer)
            assert second.finish() == 0
            with place.helper() as third:
                expect_hit(third.get(action), newer)
                assert third.finish() == 0
            assert first.finish() == 0
        with place.helper() as fresh:
            expect_hit(fresh.get(action), newer)
            assert fresh.finish() == 0


@case("O-06", "C-01")
def helpers_that_flush_into_the_same_place_at_the_same_time_lose_nothing(directory):
    """Each of their writes is delayed, so that whoever reads what another is about to change would undo that change."""
    need_strace()
    place = Place(directory)
    delayed = ["strace", "-f", "-qq", "-o", os.devnull, "-e", "trace=pwrite64,pwritev,write",
               "-e", "inject=pwrite64,pwritev:delay_enter=4000"]
    for n in range(12 if LONG else 3):
        bodies = [model(6, name=f"round {n} helper {h} ", size=0) for h in range(5)]
        with contextlib.ExitStack() as stack:
            helpers = [stack.enter_context(place.helper(prefix=delayed, env=traceable())) for _ in bodies]
            for helper, mine in zip(helpers, bodies):
                for action, content in mine.items():
                    expect_put(helper.put(action, content), content)
            closes = [(helper, helper.id()) for helper in helpers]
            for helper, number in closes:
                helper.send(helper.line(ID=number, Command="close"))
            for helper, number in closes:
                helper.answer_to(number, timeout=PROMPT)
                helper.eof()
                assert helper.wait(PROMPT) == 0
        with place.helper() as fresh:
            for mine in bodies:
                for action, content in mine.items():
                    expect_hit(fresh.get(action), content)
            assert fresh.finish() == 0


@case("O-06", "O-08", "P-05")
def what_several_helpers_put_at_the_same_time_stays_where_each_of_them_said(directory):
    """The same outputs, in the same order, so that all of them stage, name and check the same file at once."""
    for unnamed in (True, False):
        place = Place(os.path.join(directory, str(unnamed)))
        contents = [body(f"output {n}", 400_000) for n in range(100 if LONG else 20)]
        with contextlib.ExitStack() as stack:
            helpers = [stack.enter_context(place.helper(preexec=None if unnamed else no_unnamed_files()))
                       for _ in range(4)]
            answers = []

            def put_all(number, helper):
                for n, content in enumerate(contents):
                    answers.append((helper, helper.send_put(action_id(f"{number} {n}"), content), content))
            senders = [threading.Thread(target=put_all, args=pair, daemon=True) for pair in enumerate(helpers)]
            for sender in senders:
                sender.start()
            for sender in senders:
                sender.join(PROMPT)
            assert len(answers) == len(contents) * len(helpers)
            paths = {expect_put(helper.answer_to(number, timeout=PROMPT), content): content
                     for helper, number, content in answers}
            for path, content in paths.items():
                with open(path, "rb") as file:
                    assert file.read() == content
            for helper in helpers:
                assert helper.finish() == 0
                assert not helper.stderr_raw, helper.stderr_raw


@case("O-06", "C-01")
def what_is_put_is_there_for_a_helper_that_starts_after_the_close_answer(directory):
    """The next go command starts as soon as the answer is there, not when the process has ended."""
    place = Place(directory)
    for n in range(15):
        bodies = model(5, name=f"round {n} ")
        with place.helper() as helper:
            for action, content in bodies.items():
                expect_put(helper.put(action, content), content)
            helper.close()
            with place.helper() as following:
                for action, content in bodies.items():
                    expect_hit(following.get(action), content)
                assert following.finish() == 0


@case("O-06", "P-20")
def helpers_killed_together_leave_no_lock(directory):
    chance, place = dice(), Place(directory)
    allowed, worst = {}, 0
    for n in range(40 if LONG else 6):
        bodies = model(30, name=f"killed {n} ", size=300)
        allowed.update({action: [content] for action, content in bodies.items()})
        helpers = []
        try:
            for _ in range(8):
                helpers.append(place.helper())
            for helper in helpers:
                for action, content in bodies.items():
                    helper.send_put(action, content)
            end = time.monotonic() + chance.uniform(0, 0.3)   # before, during and after the first flush
            while time.monotonic() < end:
                pass
        finally:
            for helper in helpers:
                helper.kill()
            for helper in helpers:
                helper.wait(PROMPT)
                helper.eof()
        worst = max(worst, works_soon(place, f"round {n}"))
    remark(f"slowest new helper: {worst:.2f} s")
    aftermath(place, dict(list(allowed.items())[-60:]))


def works_soon(place, name):
    """A whole session, from start to end; returns how long it took."""
    began = time.monotonic()
    content = body(name)
    with place.helper() as helper:
        expect_miss(helper.get(action_id(f"never {name}"), timeout=SOON))
        expect_put(helper.put(action_id(name), content, timeout=SOON), content)
        expect_hit(helper.get(action_id(name), timeout=SOON), content)
        helper.close(timeout=SOON)
        helper.eof()
        helper.wait_stdout_eof(SOON)
        took = time.monotonic() - began
        assert took < SOON, f"a session took {took:.2f} s"
        assert helper.wait(PROMPT) == 0
    with place.helper() as helper:
        expect_hit(helper.get(action_id(name), timeout=SOON), content)
        assert helper.finish() == 0
    return took


# -- a stopped helper ------------------------------------------------------------------------------------------------
def is_stopped(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] in "Tt"


def resume(pid):
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        if is_stopped(pid):
            os.kill(pid, signal.SIGCONT)


@case("O-06", "C-01")
def a_helper_stopped_at_any_moment_delays_nobody(directory):
    chance, place = dice(), Place(directory)
    worst = 0
    for n in range(60 if LONG else 6):
        mine = model(40, name=f"stopped {n} ", size=200)
        with place.helper() as stopped, place.helper() as running:
            numbers = [stopped.send_put(action, content) for action, content in mine.items()]
            end = time.monotonic() + chance.uniform(0, 0.25)
            while time.monotonic() < end:
                pass
            stopped.kill(signal.SIGSTOP)
            wait_until(lambda: is_stopped(stopped.process.pid), "the stop")
            try:
                worst = max(worst, works_soon(place, f"beside {n}"))
                began = time.monotonic()             # one that was there before, with the same actions
                for action, content in list(mine.items())[:10]:
                    expect_put(running.put(action, content, timeout=SOON), content)
                    expect_hit(running.get(action, timeout=SOON), content)
                running.close(timeout=SOON)
                running.eof()
                running.wait_stdout_eof(SOON)
                took = time.monotonic() - began
                assert took < SOON, f"a session took {took:.2f} s"
                worst = max(worst, took)
                with place.helper() as fresh:
                    for action, content in list(mine.items())[:10]:
                        expect_hit(fresh.get(action, timeout=SOON), content)
                    assert fresh.finish() == 0
            finally:
                stopped.kill(signal.SIGCONT)
            for number, content in zip(numbers, mine.values()):
                expect_put(stopped.answer_to(number, timeout=PROMPT), content)
            assert stopped.finish() == 0
        with place.helper() as fresh:
            for action, content in mine.items():
                expect_hit(fresh.get(action, timeout=PROMPT), content)
            assert fresh.finish() == 0
    remark(f"slowest session beside a stopped helper: {worst:.2f} s")


HOLDING = ("pwrite64", "fcntl", "pread64", "flock", "fdatasync", "ftruncate")  # what a flush does with a lock held


class Stopping:
    """A helper that a system call of its stops: its flushing thread's, or anybody's (`whole`)."""

    def __init__(self, place, whole, options):
        self.place, self.whole, self.options = place, whole, options
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        if self.whole:
            prefix = ["strace", "-f", "-qq", *self.options]
            self.helper = self.stack.enter_context(self.place.helper(prefix=prefix, env=traceable()))
            tracer = self.helper.process.pid
            with open(f"/proc/{tracer}/task/{tracer}/children") as file:
                self.pid = int(file.read().split()[0])
            return self
        self.helper = self.stack.enter_context(self.place.helper())
        self.pid = self.helper.process.pid
        stamp = os.stat(self.place.entries()).st_mtime_ns
        first = body(f"first {stamp}")               # makes the thread and shows which one it is
        expect_put(self.helper.put(action_id(first), first), first)
        wait_until(lambda: os.stat(self.place.entries()).st_mtime_ns != stamp, "the first flush")
        self.stack.enter_context(traced(threads(self.helper)[-1], *self.options))
        return self

    def __exit__(self, *exc):
        try:
            os.kill(self.pid, signal.SIGKILL if exc[0] else signal.SIGCONT)
        except ProcessLookupError:
            pass
        return self.stack.__exit__(*exc)


def stopping_points(place, log):
    """(whole, name, number, killed) for every call that may hold a lock."""
    points = []
    for whole in (False, True):
        with Stopping(place, whole, ["-y", "-o", log]) as stopping:
            expect_put(stopping.helper.put(action_id("two"), body(f"two {whole}")), body(f"two {whole}"))
            assert stopping.helper.finish() == 0
        counts = {}
        for thread, name, text in calls(log):
            counts[thread, name] = counts.get((thread, name), 0) + 1
            if not whole or name in HOLDING and "/index" in text:
                points += [(whole, name, counts[thread, name], killed) for killed in (False, True)]
    points = list(dict.fromkeys(points))
    return [p for p in points if p[1] in HOLDING], [p for p in points if p[1] not in HOLDING]


@case("O-06", "C-01", "C-03")
def a_helper_stopped_at_any_system_call_of_a_flush_delays_nobody_and_loses_nothing(directory):
    """Also with the lock held: the entries of the others must be found beside it, and after it was killed."""
    need_strace()
    place = Place(directory)
    place.fill(model(3))
    place.entries()
    slowest = []

    def one(whole, name, number, killed):
        label = f"{whole} {name} {number} {killed}"
        mine = {action_id(f"mine {label} {n}"): body(f"mine {label} {n}") for n in range(3)}
        options = ["-o", os.devnull, "-e", f"trace={name}", "-e", f"inject={name}:signal=STOP:when={number}"]
        answered = {}
        with Stopping(place, whole, options) as stopping:
            helper = stopping.helper
            numbers = {helper.send_put(action, content): action for action, content in mine.items()}
            close = helper.id()
            helper.send(helper.line(ID=close, Command="close"))
            helper.eof()
            wait_until(lambda: helper.stdout_eof.is_set() or is_stopped(stopping.pid), "a stop or the end")
            slowest.append(works_soon(place, f"beside {label}"))
            slowest.append(works_soon(place, f"again {label}"))
            if not helper.stdout_eof.is_set():
                os.kill(stopping.pid, signal.SIGKILL if killed else signal.SIGCONT)
            # Each of its threads may come to that call once.
            wait_until(lambda: helper.stdout_eof.is_set() or killed or resume(stopping.pid), "the last answer")
            helper.wait_stdout_eof(PROMPT)
            while (answer := helper.next_answer()) is not None:
                answered[answer["ID"]] = answer
            if not killed:
                # What it tidies up behind its answers can be stopped, too.
                wait_until(lambda: helper.process.poll() is not None or resume(stopping.pid), "the end")
                assert helper.wait(PROMPT) == 0
                assert set(answered) == set(numbers) | {close}
        with place.helper() as fresh:
            for text in (f"beside {label}", f"again {label}"):
                expect_hit(fresh.get(action_id(text), timeout=PROMPT), body(text))
            for number, action in numbers.items():
                found = truthful(fresh.get(action, timeout=PROMPT), [mine[action]])
                assert found or close not in answered, "what was acknowledged and closed is lost"
            assert fresh.finish() == 0

    holding, others = stopping_points(place, os.path.join(directory, "log"))
    Sweep(5, workers=1).run(holding, one)            # one after the other: each measures time
    if LONG:
        Sweep(5, workers=1).run(others, one)
    remark(f"slowest session beside a stopped helper: {max(slowest):.2f} s")


@case("O-08", "P-22")
def what_one_helper_handed_out_stays_while_others_come_and_go(directory):
    place = Place(directory)
    content = body("handed out", 50_000)
    with place.helper() as helper:
        path = expect_put(helper.put(action_id("handed out"), content), content)
        for n in range(5):
            place.fill(model(10, name=f"other {n} "))
            place.fill({action_id("handed out"): body(f"another output {n}")})
        with open(path, "rb") as file:
            assert file.read() == content
        assert helper.finish() == 0
    with open(path, "rb") as file:
        assert file.read() == content


run(__name__)

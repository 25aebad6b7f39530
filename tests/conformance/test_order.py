# SPDX-License-Identifier: MIT
"""Many requests at once, many helpers at once, and what others may take away from under a running one."""
import concurrent.futures, json, os, random, shutil, signal, threading, time

from judge import (KNOWN, KNOWN_BODY, LONG, MEMORY, PROMPT, TUCK, Place, bytes_of, check_file, clear, objects_of,
                   provoke, remark, send_large_put, status_field, truthful, tuck_only, works, write_until_it_stays_full)
from helper import action_id, b64, expect_hit, expect_miss, expect_put, output_id
from tap import case, run


@case("O-01", "F-06")
def each_of_many_requests_is_answered_exactly_once(directory):
    dice = random.Random(6)
    model = {action_id(f"m{i}"): bytes_of(f"m{i}", dice.choice([0, 10, 1000, 70_000])) for i in range(60)}
    with Place(directory) as place, place.session() as session:
        raw, gets = [], {}
        for _ in range(1500):
            action = dice.choice(list(model))
            if dice.random() < 0.1:
                raw.append(session.put_bytes(action, model[action], session.id()))
            else:
                number = session.id()
                gets[number] = action
                raw.append(session.get_bytes(action, number))
        session.send(b"".join(raw))
        for number, action in gets.items():
            truthful(session.answer_to(number), [model[action]])
        assert session.finish() == 0
        answered = sorted(answer["ID"] for answer in session.said())
        assert answered == sorted(session.asked), "not each exactly once"


@case("O-02")
def sixty_four_gets_before_the_first_answer_is_read_block_nobody(directory):
    model = {action_id(f"g{i}"): bytes_of(f"g{i}", 500) for i in range(64)}
    with Place(directory) as place:
        place.fill(model)
        with place.session(is_read=False) as session:
            numbers = {session.send_get(action): body for action, body in model.items()}
            puts = {session.send_put(action_id(f"p{i}"), b"x" * 300): None for i in range(64)}
            session.reading.set()  # all of it was written without anybody reading
            for number, body in numbers.items():
                expect_hit(session.answer_to(number, PROMPT), body)
            for number in puts:
                expect_put(session.answer_to(number, PROMPT), b"x" * 300)


@case("O-04", "C-05")
def while_nobody_reads_its_answers_it_holds_back_within_bounds_and_goes_on(directory):
    with Place(directory) as place:
        place.fill({KNOWN: KNOWN_BODY})
        with place.session(is_read=False) as session:
            sent = []

            def requests():
                for _ in range(250):  # far more answers than a pipe and any sane queue hold
                    numbers = [session.id() for _ in range(100)]
                    sent.extend(numbers)
                    yield b"".join(session.get_bytes(KNOWN, number) for number in numbers)
            parts = requests()
            rest = write_until_it_stays_full(session.process, parts, 1.5)
            remark(f"nobody read: {len(sent)} requests were taken, then {'a pause' if rest else 'no pause'}")
            memory = status_field(session.process.pid, "RssAnon")
            assert memory is None or memory <= MEMORY, f"{memory >> 20} MiB while nobody reads"
            session.reading.set()
            session.send(rest)
            for part in parts:
                session.send(part)
            for number in sent[::97] + sent[-1:]:
                expect_hit(session.answer_to(number, PROMPT), KNOWN_BODY)
            assert session.finish() == 0
            assert len(session.said()) == len(sent) + 1


@case("O-04", "C-06")
def answers_that_nobody_read_when_the_input_ended_are_all_there_later(directory):
    with Place(directory) as place:
        with place.session(is_read=False) as session:
            sent = []

            def requests():
                for i in range(3000):
                    sent.append(session.id())
                    yield session.put_bytes(action_id(i), b"body %d" % i, sent[-1])
            rest = write_until_it_stays_full(session.process, requests(), 0.5)
            writer = threading.Thread(target=lambda: (session.send(rest), session.eof()))
            writer.start()
            session.reading.set()
            writer.join(PROMPT)
            session.wait_stdout_eof(PROMPT)
            assert session.wait(PROMPT) == 0
            assert [answer["ID"] for answer in sorted(session.said(), key=lambda a: a["ID"])] == sent
        with place.session() as session:
            for i in range(0, len(sent), 7):
                expect_hit(session.get(action_id(i)), b"body %d" % i)


@case("O-03", limit=600)
def a_get_behind_a_large_put_is_answered_although_the_put_is_slow(directory):
    for durability in ("lazy", "strict"):  # the latter waits for the drive
        for size in [24 << 20] + ([1 << 30] if LONG and durability == "lazy" else []):
            with Place(os.path.join(directory, f"{durability} {size}")) as place:
                place.fill({KNOWN: KNOWN_BODY})
                with place.session(env={"TUCK_DURABILITY": durability}) as session:
                    put, identity = send_large_put(session, action_id("slow"), size)
                    gets = [session.send_get(KNOWN) for _ in range(20)]
                    for number in gets:
                        expect_hit(session.answer_to(number, PROMPT), KNOWN_BODY)
                    check_file(session.answer_to(put, 60)["DiskPath"], identity, size)
                    assert session.finish() == 0


@case("O-03", "F-23")
def quick_gets_are_answered_although_a_large_object_has_to_be_looked_at_first(directory):
    body = bytes_of("large", 24 << 20)
    with Place(directory) as place:
        os.utime(place.fill({action_id("large"): body})[action_id("large")])  # so that it is not taken on trust
        with place.session() as session:
            expect_put(session.put(KNOWN, KNOWN_BODY), KNOWN_BODY)
            slow = [session.send_get(action_id("large")) for _ in range(70)]
            quick = [session.send_get(KNOWN) for _ in range(200)]
            for number in quick:
                expect_hit(session.answer_to(number, PROMPT), KNOWN_BODY)
            for number in slow:
                answer = session.answer_to(number, PROMPT)
                assert answer.get("OutputID") == b64(output_id(body)) and answer.get("Size") == len(body), answer
            assert session.finish() == 0


@case("O-05")
def a_second_request_with_an_outstanding_id_crashes_nothing(directory):
    get = b'{"ID":50,"Command":"get","ActionID":"%s"}\n\n' % b64(KNOWN).encode()
    put = json.dumps({"ID": 50, "Command": "put", "ActionID": b64(action_id("two")),
                      "OutputID": b64(output_id(b"hello")), "BodySize": 5}).encode() + b'\n\n"aGVsbG8="\n'
    with Place(directory) as place:
        place.may[action_id("two")] = [b"hello"]
        for raw in (get + get, put + put, get + put, put + get, get * 5 + put * 5):
            times = raw.count(b'"ID"')
            verdict = provoke(place, raw, *[50] * times)
            if verdict.status == 0:
                assert verdict.goes_on and len(verdict.answers(50)) in range(1, times + 1), verdict.all
                assert not TUCK or len(verdict.answers(50)) == times, f"each request has an answer: {verdict.all}"
            else:
                verdict.ended()


# -- many helpers ------------------------------------------------------------------------------------------------------
class Crowd:
    """Eight helpers on one directory, each with a thread that puts and gets the same actions and outputs."""

    def __init__(self, place, rounds=250):
        self.place, self.rounds = place, rounds
        # Three outputs for each action, so that helpers disagree; all of one action have one size.
        self.model = {action_id(f"c{i}"): [bytes_of(f"c{i} {v}", (i * 37) % 3000 + (200_000 if i % 29 == 0 else 0))
                                           for v in range(3)] for i in range(80)}
        self.last = {}  # what each helper that ended well put last, for actions that only it put

    def work(self, who, is_victim):
        dice = random.Random(100 + who)
        own = {}
        with self.place.session() as session:
            for round_ in range(self.rounds):
                if is_victim and round_ == self.rounds // 2:
                    session.send(session.put_bytes(action_id("half"), bytes_of("half", 70_000), session.id())[:50_000])
                    session.kill()
                    session.wait()
                    return {}
                action = dice.choice(list(self.model))
                bodies = self.model[action]
                if dice.random() < 0.4:
                    body = dice.choice(bodies)
                    expect_put(session.put(action, body, timeout=PROMPT * 2), body)
                    truthful(session.get(action, timeout=PROMPT * 2), bodies)
                else:
                    truthful(session.get(action, timeout=PROMPT * 2), bodies)
                if round_ % 10 == 0:
                    mine = action_id(f"own {who} {round_}")
                    own[mine] = b"own %d %d" % (who, round_)
                    expect_put(session.put(mine, own[mine], timeout=PROMPT * 2), own[mine])
            assert session.finish(close=who % 2) == 0
        return own


@case("O-06", "P-20", "C-06", limit=300)
def eight_helpers_on_one_directory_lose_nothing_and_see_nothing_half(directory):
    with Place(directory) as place:
        crowd = Crowd(place, 1500 if LONG else 200)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            workers = [pool.submit(crowd.work, who, who in (2, 5)) for who in range(8)]
            owned = [worker.result() for worker in workers]
        with place.session() as session:
            for own in owned:
                for action, body in own.items():
                    expect_hit(session.get(action), body)  # its helper ended in order: committed, not to be lost
            for action, bodies in crowd.model.items():
                truthful(session.get(action), bodies)
            assert session.finish() == 0


@case("O-06", "C-07")
def a_stopped_helper_holds_up_nobody(directory):
    with Place(directory) as place:
        stopped = []
        try:
            for i in range(4):
                helper = place.session()
                for j in range(100):
                    helper.send_put(action_id(f"{i} {j}"), b"stopped %d %d" % (i, j))
                helper.answer_to(50)
                helper.process.send_signal(signal.SIGSTOP)  # in the middle of whatever it does
                stopped.append(helper)
                began = time.monotonic()
                with place.session() as session:
                    works(session, i)
                    session.get(action_id(f"{i} 3"))
                    assert session.finish() == 0
                took = time.monotonic() - began
                assert took < PROMPT, f"{took:.1f} s beside a stopped helper"
                with place.session() as session:
                    expect_hit(session.get(action_id(f"works {i}")), f"it works: {i}".encode())
        finally:
            for helper in stopped:
                helper.process.send_signal(signal.SIGCONT)
                helper.eof()
                helper.wait()


@case("O-06", "G-08")
def helpers_see_each_others_entries_without_being_started_anew(directory):
    with Place(directory) as place:
        with place.session() as reader:
            expect_miss(reader.get(KNOWN))
            for body in (b"first", b"second", b""):
                with place.session() as writer:
                    expect_put(writer.put(KNOWN, body), body)
                    assert writer.finish() == 0
                expect_hit(reader.get(KNOWN), body)
            # Of two that put the same action the later one wins, whoever ends last.
            with place.session() as one, place.session() as two:
                expect_put(one.put(KNOWN, b"earlier"), b"earlier")
                expect_put(two.put(KNOWN, b"later"), b"later")
                assert two.finish() == 0
                assert one.finish() == 0
            expect_hit(reader.get(KNOWN), b"later")
        place.must[KNOWN] = b"later"


# -- what others take away ---------------------------------------------------------------------------------------------
def still_there(paths):
    for path, body in paths.items():
        with open(path, "rb") as file:
            assert file.read() == body, f"{path} changed"


@case("O-07", "O-08")
def what_a_live_helper_gave_out_is_not_removed_by_others(directory):
    tuck_only("no other helper is emptied in this way")
    given = {action_id(f"given {i}"): bytes_of(f"given {i}", 100 + i * 1000) for i in range(30)} | {action_id("e"): b""}
    rest = {action_id(f"rest {i}"): bytes_of(f"rest {i}", 100) for i in range(30)}
    with Place(directory) as place:
        place.fill(given | rest)
        with place.session() as getter, place.session() as putter:
            paths = {expect_hit(getter.get(action), body): body for action, body in given.items()}
            fresh = {action_id(f"fresh {i}"): bytes_of(f"fresh {i}", 50_000 * i) for i in range(10)}
            paths |= {expect_put(putter.put(action, body), body): body for action, body in fresh.items()}
            for _ in range(2):
                clear(place)
                still_there(paths)
                assert len(objects_of(place)) <= len(paths) + 2, "nothing was removed: the test shows nothing"
            for session in (getter, putter):
                for action, body in (given | fresh | rest).items():
                    truthful(session.get(action), [body])
                works(session, id(session))
            still_there(paths)
            assert putter.finish() == 0
            clear(place)
            still_there({path: body for path, body in paths.items() if body in given.values()})
            assert getter.finish() == 0
        clear(place)
        assert not objects_of(place), "kept although no helper runs"


@case("O-07", "O-08")
def clearing_without_pause_never_takes_a_path_that_was_just_given_out(directory):
    tuck_only("no other helper is emptied in this way")
    with Place(directory) as place:
        place.fill({KNOWN: KNOWN_BODY})
        over = threading.Event()

        def keep_clearing():
            count = 0
            while not over.is_set():
                clear(place)
                count += 1
            return count
        with concurrent.futures.ThreadPoolExecutor(1) as pool, place.session() as one, place.session() as two:
            clearing = pool.submit(keep_clearing)
            try:
                paths = {}
                for i in range(400):
                    body = bytes_of(f"raced {i % 40}", 1000 + i % 40)  # outputs come and go and come again
                    action = action_id(f"raced {i}")
                    paths[expect_put(one.put(action, body), body)] = body
                    truthful(one.get(action), [body])
                    path = expect_put(two.put(action, body), body)
                    paths[path] = body
                    if truthful(two.get(action), [body]):
                        still_there({path: body})
                still_there(paths)
            finally:
                over.set()
            remark(f"cleared {clearing.result()} times meanwhile")
            assert one.finish() == 0 and two.finish() == 0


@case("O-10", "P-17")
def a_cache_directory_removed_under_a_running_helper_costs_misses_only(directory):
    model = {action_id(f"r{size}"): bytes_of("removed", size) for size in (0, 100, 70_000, 500_000)}
    for part in ("", "objects", "index", "gocache"):
        with Place(os.path.join(directory, "without " + part)) as place:
            if part and not TUCK:
                continue
            place.fill(model)
            place.must.clear()
            with place.session() as session:
                for action, body in model.items():
                    expect_hit(session.get(action), body)
                expect_put(session.put(action_id("before"), b"before"), b"before")
                for round_ in range(3):
                    shutil.rmtree(place.gocache if part == "gocache" else os.path.join(place.root, part),
                                  ignore_errors=True)  # it may not have been made again
                    for action, body in (model | {action_id("before"): b"before"}).items():
                        answer = session.get(action)
                        truthful(answer, [body])  # what was put elsewhere meanwhile may still be there
                        if round_ == 0 and part != "index":
                            expect_miss(answer)
                    for action, body in model.items():
                        expect_put(session.put(action, body), body)
                    for action, body in model.items():
                        expect_hit(session.get(action), body)
                assert session.finish() == 0
            os.makedirs(place.gocache, exist_ok=True)
            place.fill(model)
            with place.session() as session:
                for action, body in model.items():
                    expect_hit(session.get(action), body)


@case("O-10", "P-17")
def a_cache_directory_replaced_by_another_under_a_running_helper_is_no_trap(directory):
    with Place(directory) as place:
        place.fill({KNOWN: KNOWN_BODY})
        place.must.clear()
        for is_replaced in (False, True):
            with place.session() as session:
                expect_hit(session.get(KNOWN), KNOWN_BODY)
                os.rename(place.root, os.path.join(directory, f"moved {is_replaced}"))
                if is_replaced:
                    os.mkdir(place.root)
                expect_miss(session.get(KNOWN))
                for body in (b"one", b"", KNOWN_BODY, bytes_of("two", 100_000)):  # also one that lies in the moved one
                    expect_put(session.put(KNOWN, body), body)
                    expect_hit(session.get(KNOWN), body)
                assert session.finish() == 0
            place.fill({KNOWN: KNOWN_BODY})


# -- layouts -----------------------------------------------------------------------------------------------------------
def tree(top):
    """Every file below with its bytes."""
    found = {}
    for folder, _, names in os.walk(top):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                found[os.path.relpath(os.path.join(folder, name), top)] = file.read()
    return found


@case("O-09")
def a_directory_of_a_newer_layout_is_left_alone_and_the_build_served_beside(directory):
    tuck_only("knows tuck's format file")
    with Place(directory) as place:
        place.fill({KNOWN: KNOWN_BODY})
        path = os.path.join(place.root, "tuck.json")
        with open(path) as file:
            form = json.load(file)
        assert type(form["version"]) is int, form
        for version in (form["version"] + 2, 999, 2**31):  # of the next one tuck writes itself, for several drives
            os.chmod(path, 0o600)
            with open(path, "w") as file:
                json.dump(form | {"version": version, "something": ["new"]}, file)
            before = tree(place.root)
            with place.session() as session:
                expect_miss(session.get(KNOWN))
                works(session, version)
                assert session.finish() == 0
            assert session.stderr_raw.count(b"\n") == 1 and session.stderr_raw.startswith(b"tuck: "), session.stderr_raw
            assert tree(place.root) == before, "a newer layout was touched"
        with open(path, "w") as file:
            json.dump(form, file)
        with place.session() as session:
            expect_hit(session.get(KNOWN), KNOWN_BODY)


@case("O-09")
def somebody_elses_files_in_the_directory_are_left_alone(directory):
    """Put there before the first use they keep the cache out, later they lie beside it: untouched either way."""
    for planted_first in (True, False):
        with Place(os.path.join(directory, str(planted_first))) as place:
            place.root = place.gocache # Go's own cache, in the same directory
            if not planted_first:
                with place.session() as session:
                    expect_put(session.put(KNOWN, KNOWN_BODY), KNOWN_BODY)
                    assert session.finish() == 0
            for name, text in (("trim.txt", "1795000000"), ("testexpire.txt", "1795000000000000000\n"),
                               ("ab/" + "ab" * 32 + "-a", "v1 ...\n"), ("ab/" + "ab" * 32 + "-d", "output"),
                               ("cd/" + "cd" * 32 + "-d", ""), ("fuzz/corpus", "seed"), ("objects-of-mine", "x")):
                os.makedirs(os.path.dirname(os.path.join(place.root, name)), exist_ok=True)
                with open(os.path.join(place.root, name), "w") as file:
                    file.write(text)
            before = {name: kept for name, kept in tree(place.root).items() if not name.startswith(("index", "leases"))}
            for _ in range(2):
                with place.session() as session:
                    works(session, "beside go")
                    expect_put(session.put(KNOWN, KNOWN_BODY), KNOWN_BODY)
                    if not planted_first:
                        expect_hit(session.get(KNOWN), KNOWN_BODY)
                    assert session.finish() == 0
                after = tree(place.root)
                assert {name: after.get(name) for name in before} == before, "a file of somebody else was touched"


run(__name__)

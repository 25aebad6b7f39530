# SPDX-License-Identifier: MIT
"""
Counters: what helpers did is summed per drive, exactly, however many end at once; what those that run did is seen while
they run; and what a killed one has told counts once.
"""
import fcntl, os, signal, struct, threading

from faults import LONG, Place, PROMPT, body, counted, model, wait_until
from helper import action_id, expect_hit, expect_miss, expect_put
from tap import case, run

F_OFD_SETLK = 37
SUMS = (4096, 4096)  # where they are in the index file


def lock(file, offset, length):
    """As another process holds it."""
    fcntl.fcntl(file, F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, offset, length, 0))


def session(place, name, puts, hits, misses):
    """A helper that has done just that, not ended yet."""
    helper = place.helper()
    for n in range(puts):
        expect_put(helper.put(action_id(f"{name} {n}"), body(f"{name} {n}", 1000)), body(f"{name} {n}", 1000))
    for n in range(hits):
        content = body(f"{name} {n % puts}", 1000)
        expect_hit(helper.get(action_id(f"{name} {n % puts}")), content)
    for n in range(misses):
        expect_miss(helper.get(action_id(f"nobody put {name} {n}")))
    return helper


def expect(counters, **wanted):
    assert {name: counters[name] for name in wanted} == wanted, (counters, wanted)


@case()
def helpers_that_end_at_once_are_summed_exactly(directory):
    place = Place(directory)
    count = 40 if LONG else 16
    helpers = [session(place, f"helper {n}", puts=3 + n % 3, hits=5, misses=2) for n in range(count)]
    enders = [threading.Thread(target=helper.finish) for helper in helpers]
    for ender in enders:
        ender.start()
    for ender in enders:
        ender.join(PROMPT * 3)
    puts = sum(3 + n % 3 for n in range(count))
    stats = place.stats()
    expect(stats["counters"], helpers=count, puts=puts, gets=7 * count, hits=5 * count, misses=2 * count, dedupes=0,
           bytes_served=5000 * count, bytes_written=1000 * puts, stored_objects=puts, errors=0, entries_lost=0)
    assert stats["objects"] == puts and stats["entries"] == puts, stats
    counted(place, stats)


@case()
def what_running_helpers_did_is_seen_while_they_run(directory):
    place = Place(directory)
    place.fill(model(3))
    before = place.stats()["counters"]
    with session(place, "one", 4, 6, 1) as one, session(place, "other", 2, 2, 0) as other:
        now = place.stats()["counters"]
        expect(now, helpers=before["helpers"], puts=before["puts"] + 6, hits=before["hits"] + 8,
               gets=before["gets"] + 9, misses=before["misses"] + 1)
        counted(place)
        assert one.finish() == 0
        expect(place.stats()["counters"], helpers=before["helpers"] + 1, puts=before["puts"] + 6)
        assert other.finish() == 0
    expect(place.stats()["counters"], helpers=before["helpers"] + 2, puts=before["puts"] + 6, hits=before["hits"] + 8)
    counted(place)


@case()
def what_a_killed_helper_has_told_counts_once(directory):
    place = Place(directory)
    place.fill(model(3))
    before = place.stats()["counters"]
    helper = session(place, "killed", 5, 7, 0)
    helper.kill(signal.SIGKILL)
    helper.wait(PROMPT)
    told = dict(puts=before["puts"] + 5, hits=before["hits"] + 7, gets=before["gets"] + 7, helpers=before["helpers"])
    for _ in range(2):
        expect(place.stats()["counters"], **told)        # from what it left
    for _ in range(3):
        place.tuck("gc")                                 # takes it in and sweeps it
        expect(place.stats()["counters"], **told)
        counted(place)
    with place.helper() as fresh:
        assert fresh.finish() == 0
    expect(place.stats()["counters"], **told | dict(helpers=before["helpers"] + 1))


@case()
def nothing_is_lost_when_a_stopped_process_holds_the_sums(directory):
    """Neither of helpers that gave something out nor of those that only looked in vain."""
    place = Place(directory)
    place.fill(model(3))
    before = place.stats()["counters"]
    with open(place.entries(), "r+b") as file:
        lock(file, *SUMS)
        for n in range(3):
            assert session(place, f"put {n}", 2, 3, 0).finish() == 0
            with place.helper() as helper:
                expect_miss(helper.get(action_id(f"in vain {n}")))
                assert helper.finish() == 0
        wanted = dict(puts=before["puts"] + 6, hits=before["hits"] + 9, misses=before["misses"] + 3,
                      gets=before["gets"] + 12, helpers=before["helpers"] + 6)
        expect(place.stats()["counters"], **wanted)
    for _ in range(2):
        place.tuck("gc")
        expect(place.stats()["counters"], **wanted)
    counted(place)


@case()
def a_clear_keeps_what_was_counted_and_loses_nothing_of_who_ends_beside_it(directory):
    place = Place(directory)
    helpers = [session(place, f"helper {n}", 3, 3, 1) for n in range(6)]
    enders = [threading.Thread(target=helper.finish) for helper in helpers]
    clears = [threading.Thread(target=place.tuck, args=("clear",)) for _ in range(4)]
    for one, other in zip(enders, clears + [None, None]):
        one.start()
        if other:
            other.start()
    for thread in enders + clears:
        thread.join(PROMPT * 3)
    expect(place.stats()["counters"], helpers=6, puts=18, hits=18, misses=6)
    place.tuck("clear")
    stats = place.stats()
    expect(stats["counters"], helpers=6, puts=18, removed_objects=18)
    assert stats["entries"] == 0 and stats["used_objects"] == 0, stats
    counted(place, stats)


@case()
def a_failed_verification_and_a_damaged_object_are_counted_where_they_are(directory):
    place = Place(directory)
    content = body("damaged", 5000)
    place.fill({action_id("damaged"): content})
    path = place.object(content)
    os.chmod(path, 0o600)
    with open(path, "r+b") as file:
        file.write(b"damage")
    wait_until(lambda: os.utime(path) is None, "another change time")
    with place.helper() as helper:
        expect_miss(helper.get(action_id("damaged")))
        assert place.stats()["counters"]["damaged"] == 1
        assert helper.finish() == 0
    stats = place.stats()
    expect(stats["counters"], damaged=1, removed_objects=1, misses=1, hits=0)
    counted(place, stats)


run(__name__)

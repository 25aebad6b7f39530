# SPDX-License-Identifier: MIT
"""
A cache on four drives that fail one after the other, in every way that a disk can: pulled out, unmounted, removed,
full, read-only, slow; before the helper starts and in the middle of its conversation. Puts go on and succeed, what is
on the other drives is hit, one line tells of it; and when the drive is back, what is on it serves again.
"""
import contextlib, json, os, shutil

from disks import Disk
from faults import PROMPT, Drives, body, complaints, model, need_strace, traceable, truthful, wait_until
from helper import action_id, expect_hit, expect_miss, expect_put
from tap import case, run

COUNT = 4


@contextlib.contextmanager
def four_disks(directory):
    with contextlib.ExitStack() as stack:
        disks = [stack.enter_context(Disk(directory, f"disk{n}")) for n in range(COUNT)]
        yield disks, Drives(directory, [os.path.join(disk.path, "tuck") for disk in disks])


def fill(place):
    """Bodies on every drive, empty ones too; {action: body} and {action: drive}."""
    bodies = model(40) | {action_id(f"empty {n}"): b"" for n in range(3)}
    place.fill(bodies)
    with place.helper() as helper:
        where = place.where(helper, bodies)
        assert helper.finish() == 0 and not complaints(helper), helper.stderr_raw
    assert set(where.values()) == set(range(COUNT)), "too few bodies for as many drives"
    return bodies, where


def goes_on(place, helper, bodies, where, gone, hits_on_gone=False, name=""):
    """
    Everything is answered: the bodies of the other drives are hits, those of the one that is gone are hits or misses,
    and every put has its file and is hit. Returns what was put.
    """
    for action, content in bodies.items():
        answer = helper.get(action, timeout=PROMPT)
        found = truthful(answer, [content])
        if where[action] != gone or hits_on_gone:
            assert found == content, f"a miss of what is on drive {where[action]} while {gone} is gone"
    new = {action_id(f"new {name} {n}"): body(f"new {name} {n}", 900 + 40_000 * (n % 3)) for n in range(16)}
    new[action_id(f"new {name} empty")] = b""
    new[action_id(f"new {name} large")] = body(f"large {name}", 600_000)
    for action, content in new.items():
        expect_put(helper.put(action, content, timeout=PROMPT), content)
        answer = helper.get(action, timeout=PROMPT)
        expect_hit(answer, content)
        is_there = hits_on_gone and not content      # one empty object serves all
        assert place.drive_of(answer) is not None and (is_there or place.drive_of(answer) != gone), answer
    expect_miss(helper.get(action_id(f"never {name}")))
    return new


def tail(root):
    """What is left of the path of a drive in a text that has little room."""
    return root[-40:]


def told(helper, place, gone, words, lines=1):
    """So many lines, and one of them names the drive and says these words."""
    found = complaints(helper)
    assert len(found) == lines, found
    assert lines == 0 or any(tail(place.roots[gone]) in line and words in line for line in found), (words, found)


def served_again(place, bodies, where, returned):
    """After tuck drive has seen the drive, a helper has all of it, from where it was."""
    done = place.tuck("drive")
    assert done.stderr == "" and "not in use" not in done.stdout, done
    with place.helper() as helper:
        found = place.where(helper, bodies)
        assert helper.finish() == 0 and not complaints(helper), helper.stderr_raw
    there = [action for action in bodies if where[action] == returned]
    assert there and all(found[action] == returned for action in there), "not from where it was"


def a_way(fail, mend, words, later=None, hits_on_gone=False, lines=1):
    """One way to fail: functions of (disk, root), and what is told in mid-conversation and by a later helper."""
    return dict(fail=fail, mend=mend, words=words, later=later or words, hits_on_gone=hits_on_gone, lines=lines)


def _remove(_disk, root):
    shutil.rmtree(root)


def _turn_read_only(disk, _root):
    disk.put_back("ro")


PULLED = a_way(lambda disk, root: disk.pull(), lambda disk, root: disk.put_back(), "Input/output error")
UNMOUNTED = a_way(lambda disk, root: disk.unmount(), lambda disk, root: disk.mount(), "No such file", "is not mounted")


def _in_mid_conversation(directory, way):
    with four_disks(directory) as (disks, place):
        bodies, where = fill(place)
        for gone in range(COUNT):
            with place.helper() as helper:
                assert place.where(helper, bodies) == where
                way["fail"](disks[gone], place.roots[gone])
                goes_on(place, helper, bodies, where, gone, way["hits_on_gone"], f"mid {gone}")
                assert helper.finish() == 0
                told(helper, place, gone, way["words"], way["lines"])
            # The next helper comes while the drive is left alone, or finds it as it is; it tells once or not at all.
            with place.helper() as helper:
                goes_on(place, helper, bodies, where, gone, way["hits_on_gone"], f"next {gone}")
                assert helper.finish() == 0
                assert len(complaints(helper)) <= 1, helper.stderr_raw
            way["mend"](disks[gone], place.roots[gone])
            served_again(place, bodies, where, gone)


def _before_start(directory, way):
    with four_disks(directory) as (disks, place):
        bodies, where = fill(place)
        for gone in range(COUNT):
            way["fail"](disks[gone], place.roots[gone])
            with place.helper() as helper:
                goes_on(place, helper, bodies, where, gone, way["hits_on_gone"], f"before {gone}")
                assert helper.finish() == 0
                told(helper, place, gone, way["later"], way["lines"])
            way["mend"](disks[gone], place.roots[gone])
            served_again(place, bodies, where, gone)


@case("P-17")
def drives_pulled_out_in_turn_cost_no_put_and_serve_again_when_they_are_back(directory):
    _in_mid_conversation(directory, PULLED)


@case("P-17", "H-09")
def drives_that_are_pulled_out_when_the_helper_starts_are_done_without(directory):
    _before_start(directory, PULLED)


@case("P-17")
def drives_unmounted_in_turn_cost_no_put_and_serve_again_when_they_are_back(directory):
    _in_mid_conversation(directory, UNMOUNTED)


@case("P-17", "H-09")
def drives_that_are_not_mounted_when_the_helper_starts_are_done_without_and_not_begun_anew(directory):
    _before_start(directory, UNMOUNTED)
    with four_disks(os.path.join(directory, "again")) as (disks, place):
        fill(place)
        disks[1].unmount()
        with place.helper() as helper:
            assert helper.finish() == 0
        assert os.listdir(disks[1].path) == [], "something was made where nothing is mounted"


@case("P-17", "O-10")
def drives_removed_in_turn_cost_no_put_and_are_begun_anew(directory):
    place = Drives(directory, COUNT)
    bodies, where = fill(place)
    bodies = {action: content for action, content in bodies.items() if content}  # the empty one finds another place
    for gone in range(COUNT):
        with place.helper() as helper:
            assert place.where(helper, bodies) == {action: where[action] for action in bodies}
            shutil.rmtree(place.roots[gone])
            for action, content in goes_on(place, helper, bodies, where, gone, name=f"rm {gone}").items():
                expect_hit(helper.get(action), content)
            assert helper.finish() == 0
            told(helper, place, gone, "No such file")
        place.tuck("stats")                          # a subcommand leaves nothing alone: the drive is begun anew
        assert os.path.isfile(os.path.join(place.roots[gone], "tuck.json"))
        lost = {action: content for action, content in bodies.items() if where[action] == gone}
        with place.helper() as helper:
            for action, content in lost.items():
                expect_miss(helper.get(action))
                expect_put(helper.put(action, content), content)
            assert place.where(helper, lost) == {action: gone for action in lost}, "what is put again is not at home"
            assert helper.finish() == 0 and not complaints(helper), helper.stderr_raw


@case("P-17", "H-09")
def a_drive_that_is_gone_when_the_helper_starts_is_begun_anew_with_a_line(directory):
    place = Drives(directory, COUNT)
    bodies, where = fill(place)
    shutil.rmtree(place.roots[2])
    with place.helper() as helper:
        for action, content in bodies.items():
            expect_put(helper.put(action, content), content)
        assert place.where(helper, bodies) == where
        assert helper.finish() == 0
        told(helper, place, 2, "empty directory")


@case("P-17")
def drives_full_in_turn_pass_on_what_they_cannot_take(directory):
    with four_disks(directory) as (disks, place):
        bodies, where = fill(place)
        for gone in range(COUNT):
            with place.helper() as helper:
                filler = disks[gone].fill()
                new = goes_on(place, helper, bodies, where, gone, True, f"full {gone}")
                assert helper.finish() == 0
                assert len(complaints(helper)) <= 1, helper.stderr_raw  # the index may have had no room to grow
            os.unlink(filler)
            with place.helper() as helper:
                place.where(helper, new)
                assert place.where(helper, bodies) == where
                assert helper.finish() == 0 and not complaints(helper), helper.stderr_raw


@case("P-17")
def with_all_drives_full_puts_are_private_and_what_is_there_is_hit(directory):
    with four_disks(directory) as (disks, place):
        bodies, where = fill(place)
        fillers = [disk.fill() for disk in disks]
        with place.helper() as helper:
            content = body("nowhere", 100_000)
            answer = helper.put(action_id("nowhere"), content)
            expect_put(answer, content)
            assert place.drive_of(answer) is None
            assert place.where(helper, bodies) == where
            expect_hit(helper.get(action_id("nowhere")), content)
            assert helper.finish() == 0
            lines = complaints(helper)
            assert len(lines) == 1 and "private directory" in lines[0], lines
        for filler in fillers:
            os.unlink(filler)
        with place.helper() as helper:
            assert place.where(helper, bodies) == where
            assert helper.finish() == 0 and not complaints(helper)


@case("P-17")
def file_systems_that_turn_read_only_in_turn_serve_and_take_nothing(directory):
    way = a_way(lambda disk, root: disk.fail_to_read_only(), lambda disk, root: disk.put_back(), "Read-only",
                hits_on_gone=True)
    _in_mid_conversation(directory, way)


@case("P-17", "H-09")
def file_systems_that_are_read_only_from_the_start_serve_and_take_nothing(directory):
    way = a_way(_turn_read_only, lambda disk, root: disk.put_back(), "Read-only", hits_on_gone=True)
    _before_start(directory, way)


@case("P-17")
def a_drive_comes_back_to_the_helper_that_lost_it(directory):
    with four_disks(directory) as (disks, place):
        bodies, where = fill(place)
        for gone, fail in ((1, disks[1].pull), (2, disks[2].unmount)):
            there = {action: content for action, content in bodies.items() if where[action] == gone}
            with place.helper() as helper:
                fail()
                goes_on(place, helper, bodies, where, gone, name=f"lost {gone}")
                disks[gone].put_back()
                one = next(iter(there))
                # It is tried after a second by itself; whoever asks then is answered from it.
                wait_until(lambda: not helper.get(one).get("Miss"), "the drive is used again", 4 * PROMPT)
                assert place.where(helper, bodies) == where
                assert helper.finish() == 0
                lines = complaints(helper)
                assert len(lines) == 2 and "again" in lines[1] and place.roots[gone] in lines[1], lines


@case("P-17")
def with_all_drives_gone_a_helper_works_from_a_private_directory(directory):
    with four_disks(directory) as (disks, place):
        bodies, where = fill(place)
        with place.helper() as helper:
            assert place.where(helper, bodies) == where
            for disk in disks:
                disk.pull()
            for n in range(8):
                content = body(f"alone {n}", 1000 + 80_000 * (n % 2))
                answer = helper.put(action_id(f"alone {n}"), content, timeout=PROMPT)
                expect_put(answer, content)
                assert place.drive_of(answer) is None
                expect_hit(helper.get(action_id(f"alone {n}")), content)
            for action, content in bodies.items():
                truthful(helper.get(action, timeout=PROMPT), [content])
            assert helper.finish() == 0
            assert len(complaints(helper)) == 2, helper.stderr_raw  # the first drive that failed, and where puts go
        for turn in range(2):
            with place.helper() as helper:
                content = body(f"later {turn}")
                expect_put(helper.put(action_id(f"later {turn}"), content), content)
                assert helper.finish() == 0
                lines = complaints(helper)
                assert len(lines) == 1 and "private directory" in lines[0] and tail(place.roots[0]) in lines[0], lines
        assert place.tuck("stats", status=1).stderr.count("\n") == 1
        for disk in disks:
            disk.put_back()
        place.tuck("stats")
        with place.helper() as helper:
            assert place.where(helper, bodies) == where
            assert helper.finish() == 0 and not complaints(helper)


@case("P-17", "P-18")
def a_body_under_way_to_a_drive_that_is_pulled_out_is_answered(directory):
    """What was written of a large one is on that drive only, and cannot be read back; then Err is the truth."""
    with four_disks(directory) as (disks, place):
        fill(place)
        with place.helper() as helper:
            large = body("under way", 3 << 20)
            number = helper.id()
            raw = helper.put_bytes(action_id("under way"), large, number)
            helper.send(raw[: len(raw) // 2])
            first = body("before it", 10)            # nothing tells how much was taken in; a second helper's put does not matter
            with place.helper() as other:
                expect_put(other.put(action_id("before it"), first), first)
                assert other.finish() == 0
            for disk in disks:
                disk.pull()
            helper.send(raw[len(raw) // 2:])
            answer = helper.answer_to(number, timeout=4 * PROMPT)
            if not answer.get("Err"):
                expect_put(answer, large)
            else:
                assert not answer.get("DiskPath"), answer
            content = body("after it")
            expect_put(helper.put(action_id("after it"), content), content)
            assert helper.finish() == 0


# -- slow --------------------------------------------------------------------------------------------------------------
@case("P-17")
def a_slow_drive_is_left_alone_after_three_slow_answers(directory):
    need_strace()
    place = Drives(directory, COUNT)
    bodies, where = fill(place)
    entries = os.path.join(place.roots[1], "index", "entries")
    slow = ["strace", "-f", "-o", os.devnull, "-P", entries, "-e", "trace=pread64",
            "-e", "inject=pread64:delay_enter=1200000"]
    with place.helper(prefix=slow, env=traceable()) as helper:
        for action, content in bodies.items():
            found = truthful(helper.get(action, timeout=4 * PROMPT), [content])
            assert found == content or where[action] == 1
        new = body("quick again")
        expect_put(helper.put(action_id("quick again"), new), new)
        assert helper.finish() == 0
        told(helper, place, 1, "slow")
    # The next one does not wait for it, and says nothing.
    with place.helper(prefix=slow, env=traceable()) as helper:
        for action, content in bodies.items():
            found = truthful(helper.get(action, timeout=PROMPT), [content])
            assert (found == content) == (where[action] != 1), "it was asked although it is slow"
        assert helper.finish() == 0 and not complaints(helper), helper.stderr_raw
    served_again(place, bodies, where, 1)


# -- what drives say of each other ---------------------------------------------------------------------------------------
def _refused_but_served(place, bodies, where, names, words, missing=(), roots=None):
    """The helper tells in one line and serves from what fits; subcommands refuse with the same text."""
    other = Drives(place.directory, roots or place.roots)
    with other.helper() as helper:
        for action, content in bodies.items():
            found = truthful(helper.get(action, timeout=PROMPT), [content])
            assert (found == content) == (where[action] not in missing), (where[action], missing)
        content = body("beside it")
        expect_put(helper.put(action_id("beside it"), content), content)
        assert helper.finish() == 0
        lines = complaints(helper)
        assert len(lines) == 1 and words in lines[0] and tail(names) in lines[0], (words, lines)
    done = other.tuck("stats", status=1)
    assert words in done.stderr and tail(names) in done.stderr and done.stderr.count("\n") == 1, done
    assert words in other.tuck("drive", status=3).stderr


@case("H-09")
def wrong_format_files_are_told_of_with_the_drive_and_the_rest_serves(directory):
    place = Drives(directory, COUNT)
    bodies, where = fill(place)
    path = os.path.join(place.roots[2], "tuck.json")
    with open(path) as file:
        good = file.read()
    foreign = Drives(os.path.join(directory, "foreign"), COUNT)
    fill(foreign)
    with open(os.path.join(foreign.roots[2], "tuck.json")) as file:
        of_another_set = file.read()
    known = json.loads(good)
    wrong = {
        "newer tuck": known | {"version": 99},
        "something else": known | {"format": "minio"},
        "otherwise": known | {"set": known["set"][:3]},
        "of another set": json.loads(of_another_set),
    }
    for words, content in wrong.items():
        with open(path, "w") as file:
            json.dump(content, file)
        _refused_but_served(place, bodies, where, place.roots[2], words, missing={2})
        with open(path) as file:
            assert json.load(file) == content, "a drive that was refused was written to"
    # Cut off, it is mended, and its objects are all there.
    with open(path, "w") as file:
        file.write(good[: len(good) // 2])
    with place.helper() as helper:
        assert place.where(helper, bodies) == where
        assert helper.finish() == 0 and not complaints(helper), helper.stderr_raw
    with open(path) as file:
        assert json.load(file) == known


@case("H-09")
def a_list_in_another_order_or_of_another_length_is_told_of_and_served(directory):
    place = Drives(directory, COUNT)
    bodies, where = fill(place)
    a, b, c, d = place.roots
    _refused_but_served(place, bodies, where, b, "in the order of the set", roots=[b, a, c, d])
    _refused_but_served(place, bodies, where, a, "tuck drive remove", missing={1, 3}, roots=[a, c])
    more = os.path.join(directory, "more")
    _refused_but_served(place, bodies, where, more, "tuck drive add", roots=[a, b, c, d, more])
    assert not os.path.exists(more), "a drive was begun that the set does not know"


@case("H-09")
def one_drive_of_a_set_serves_alone(directory):
    place = Drives(directory, COUNT)
    bodies, where = fill(place)
    for alone in range(COUNT):
        others = set(range(COUNT)) - {alone}
        _refused_but_served(place, bodies, where, place.roots[alone], "4 drives", missing=others,
                            roots=[place.roots[alone]])


@case("H-09")
def a_list_that_cannot_be_one_is_told_of_and_the_default_is_used(directory):
    for text, words in (("relative/path", "absolute"), ("/a{1..3}", "{1...3}"), (";;;", "empty"), ("/a;/a", "twice")):
        place = Drives(os.path.join(directory, words.strip("{}.")), [text])
        with place.helper(env={"TUCK_DRIVES": text}) as helper:
            content = body(text)
            answer = helper.put(action_id(text), content)
            expect_put(answer, content)
            assert answer["DiskPath"].startswith(os.path.join(place.gocache, "tuck") + os.sep), answer
            assert helper.finish() == 0
            lines = complaints(helper)
            assert len(lines) == 1 and words in lines[0] and "TUCK_DRIVES" in lines[0], lines
        done = place.tuck("stats", status=2)
        assert words in done.stderr and done.stderr.count("\n") == 1, done


@case("H-09")
def helpers_that_begin_one_set_at_once_agree_and_are_silent(directory):
    for turn in range(4):
        place = Drives(os.path.join(directory, str(turn)), COUNT)
        with contextlib.ExitStack() as stack:
            helpers = [stack.enter_context(place.helper(handshake=False)) for _ in range(6)]
            for number, helper in enumerate(helpers):
                content = body(f"{turn} {number}")
                expect_put(helper.put(action_id(f"{turn} {number}"), content), content)
            for helper in helpers:
                assert helper.finish() == 0 and not complaints(helper), helper.stderr_raw
        with place.helper() as helper:
            for number in range(6):
                expect_hit(helper.get(action_id(f"{turn} {number}")), body(f"{turn} {number}"))
            assert helper.finish() == 0 and not complaints(helper)
        sets = []
        for root in place.roots:
            with open(os.path.join(root, "tuck.json")) as file:
                sets.append(json.load(file)["set"])
        assert len(set(map(tuple, sets))) == 1, sets


run(__name__)

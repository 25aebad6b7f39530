# SPDX-License-Identifier: MIT
"""
`tuck drive`: shows the drives of a set and changes which it has. What was put stays found through every change, also
one that was killed in its middle; wrong use and drives that are not there change nothing and are told in one line.
"""
import json, os, re, shutil, subprocess

from faults import Drives, PROMPT, Sweep, body, calls, complaints, model, need_strace, traceable, truthful
from helper import action_id, expect_hit, expect_put, tuck_bin
from tap import case, run

CHANGING = {"linkat", "renameat", "renameat2", "unlinkat", "openat", "mkdir", "write"}


def drives_of(place, status=0):
    """What `tuck drive` shows: {path: (id, text)} in order, and the placement."""
    lines = place.tuck("drive", status=status).stdout.splitlines()
    shown = {}
    for line in lines[:-1]:
        id, path, text = re.fullmatch(r"([0-9a-f]{24}|-) +(\S+)  (.*)", line).groups()
        shown[path if path != "-" else id] = (id, text)
    assert lines[-1].startswith("placement: "), lines
    return shown, lines[-1].split()[1]


def changed_list(done):
    """The setting that a change has printed."""
    return re.search(r"^  drives = (.*)$", done.stdout, re.M)[1].split(";")


def one_line(done, *words):
    assert done.stdout == "" and done.stderr.startswith("tuck: ") and done.stderr.count("\n") == 1, done
    for word in words:
        assert word in done.stderr, (word, done.stderr)


def known(place, count=30):
    bodies = model(count)
    place.fill(bodies)
    return bodies


def all_hit(place, bodies):
    """By a helper that has nothing to tell."""
    with place.helper() as helper:
        place.where(helper, bodies)
        assert helper.finish() == 0 and not complaints(helper), helper.stderr_raw


def format_of(root):
    with open(os.path.join(root, "tuck.json")) as file:
        return json.load(file)


@case()
def a_new_set_is_shown_with_its_ids_in_order(directory):
    place = Drives(directory, 3)
    one_line(place.tuck("drive", status=1), "no cache", place.roots[0])
    assert not os.path.exists(place.roots[0]), "a look made a cache"
    known(place)
    shown, placement = drives_of(place)
    assert placement == "CRCMOD" and list(shown) == place.roots
    for root, (id, text) in shown.items():
        assert format_of(root)["id"] == id and text == "in use"


@case()
def a_single_drive_is_shown_too(directory):
    place = Drives(directory, 1)
    known(place, 3)
    shown, _ = drives_of(place)
    assert [text for _, text in shown.values()] == ["in use"]


@case()
def drives_are_added_and_what_was_put_before_is_found(directory):
    place = Drives(directory, 2)
    bodies = known(place)
    new = [os.path.join(directory, "n1"), os.path.join(directory, "n2")]
    done = place.tuck("drive", "add", os.path.join(directory, "n{1...2}/"))
    assert changed_list(done) == place.roots + new and done.stderr == "", done
    # Until the setting is changed the helper tells, and works on.
    with place.helper() as helper:
        place.where(helper, bodies)
        assert helper.finish() == 0
        assert len(complaints(helper)) == 1
    place.roots += new
    all_hit(place, bodies)
    more = model(60, "more")
    place.fill(more)
    with place.helper() as helper:
        assert set(place.where(helper, more).values()) == {0, 1, 2, 3}, "a new drive takes nothing"
        assert helper.finish() == 0


@case()
def a_drive_that_the_setting_names_already_is_added(directory):
    place = Drives(directory, 2)
    bodies = known(place)
    place.roots.append(os.path.join(directory, "new"))
    done = place.tuck("drive", "add", place.roots[2])
    assert changed_list(done) == place.roots
    all_hit(place, bodies)
    assert list(drives_of(place)[0]) == place.roots


@case()
def a_drive_is_removed_by_its_path_or_by_its_id(directory):
    for by_id in (False, True):
        place = Drives(os.path.join(directory, str(by_id)), 3)
        bodies = known(place)
        with place.helper() as helper:
            where = place.where(helper, bodies)
            assert helper.finish() == 0
        gone = format_of(place.roots[1])["id"] if by_id else place.roots[1]
        done = place.tuck("drive", "remove", gone)
        left = [place.roots[0], place.roots[2]]
        assert changed_list(done) == left
        with place.helper() as helper:                # by the former list
            for action, content in bodies.items():
                assert (truthful(helper.get(action), [content]) is None) == (where[action] == 1)
            assert helper.finish() == 0
            lines = complaints(helper)
            assert len(lines) == 1 and "no longer, in the set" in lines[0], lines
        place.roots = left
        all_hit(place, {action: content for action, content in bodies.items() if where[action] != 1})


@case()
def a_dead_drive_is_removed_by_its_id_when_the_setting_does_not_name_it_any_more(directory):
    place = Drives(directory, 3)
    bodies = known(place)
    with place.helper() as helper:
        where = place.where(helper, bodies)
        assert helper.finish() == 0
    dead = format_of(place.roots[1])["id"]
    shutil.rmtree(place.roots[1])
    del place.roots[1]
    shown, _ = drives_of(place, status=3)
    assert "does not name it" in shown[dead][1], shown
    told = place.tuck("stats", status=1).stderr
    assert f"tuck drive remove {dead}" in told, told
    place.tuck("drive", "remove", dead)
    all_hit(place, {action: content for action, content in bodies.items() if where[action] != 1})
    assert drives_of(place)[0].keys() == set(place.roots)


@case()
def a_dead_drive_is_replaced_by_a_new_one(directory):
    place = Drives(directory, 3)
    bodies = known(place)
    with place.helper() as helper:
        where = place.where(helper, bodies)
        assert helper.finish() == 0
    shutil.rmtree(place.roots[1])
    open(place.roots[1], "wb").close()                # something is in the way, as good as dead
    new = os.path.join(directory, "new")
    done = place.tuck("drive", "replace", place.roots[1], new)
    place.roots[1] = new
    assert changed_list(done) == place.roots
    all_hit(place, {action: content for action, content in bodies.items() if where[action] != 1})
    place.fill(bodies)
    with place.helper() as helper:
        assert place.where(helper, bodies) == where, "the new one has not taken the place of the old one"
        assert helper.finish() == 0


@case()
def another_placement_finds_what_was_placed_before(directory):
    place = Drives(directory, 4)
    bodies = known(place)
    for word, shown in (("rendezvous", "RENDEZVOUS"), ("CRCMOD", "CRCMOD"), ("Rendezvous", "RENDEZVOUS")):
        assert changed_list(place.tuck("drive", f"--placement={word}")) == place.roots
        assert drives_of(place)[1] == shown
        assert all(format_of(root)["placement"] == shown for root in place.roots)
        all_hit(place, bodies)
    new = os.path.join(directory, "new")
    assert place.tuck("drive", "add", new, "--placement", "crcmod").stderr == ""
    place.roots.append(new)
    assert drives_of(place)[1] == "CRCMOD"
    all_hit(place, bodies)


@case()
def wrong_use_changes_nothing_and_is_told_in_one_line(directory):
    place = Drives(directory, 2)
    known(place, 4)
    a, b = place.roots
    before = [format_of(root) for root in place.roots]
    wrong = [
        (("add",), "usage"),
        (("remove",), "usage"),
        (("frob", "/x"), "usage"),
        (("replace", a), "usage"),
        (("replace", a, b), "already"),
        (("replace", "/nowhere", "/elsewhere"), "is no drive of the set"),
        (("add", "relative"), "absolute"),
        (("add", "/x{1..3}"), "{1...3}"),
        (("remove", "/nowhere"), "is no drive of the set"),
        (("remove", "0123456789abcdef01234567"), "0123456789abcdef01234567"),
        (("remove", a, b), "only drive"),
        (("--placement=random",), "crcmod or rendezvous"),
        (("--frob",), "--frob"),
        (("add", "/x{1...70}"), "64"),
    ]
    for words, told in wrong:
        one_line(place.tuck("drive", *words, status=2), told)
    assert [format_of(root) for root in place.roots] == before
    assert sorted(drives_of(place)[0]) == sorted(place.roots)


@case()
def a_drive_that_cannot_be_told_or_cannot_be_one_stops_the_change(directory):
    place = Drives(directory, 2)
    bodies = known(place)
    before = [format_of(root) for root in place.roots]
    occupied = os.path.join(directory, "occupied")
    os.mkdir(occupied)
    open(os.path.join(occupied, "thesis.tex"), "wb").close()
    one_line(place.tuck("drive", "add", occupied, status=1), "other things in it", occupied)
    file = os.path.join(directory, "file")
    open(file, "wb").close()
    one_line(place.tuck("drive", "add", file, status=1), "Not a directory", file)
    twin = os.path.join(directory, "twin")
    shutil.copytree(place.roots[0], twin)
    one_line(place.tuck("drive", "add", twin, status=1), "copies of one drive", twin)
    away = place.roots[1] + ".away"
    os.rename(place.roots[1], away)
    open(place.roots[1], "wb").close()
    one_line(place.tuck("drive", "add", os.path.join(directory, "new"), status=1), "Not a directory", place.roots[1])
    os.unlink(place.roots[1])
    os.rename(away, place.roots[1])
    assert [format_of(root) for root in place.roots] == before
    all_hit(place, bodies)


class Change:
    """One `tuck drive` under strace, from a fresh copy of a set each time."""

    def __init__(self, directory):
        self.directory = directory
        self.template = Drives(os.path.join(directory, "template"), 3)
        self.bodies = known(self.template)

    def begin(self, name):
        place = Drives(os.path.join(self.directory, name), 3)
        for here, there in zip(place.roots, self.template.roots):
            shutil.copytree(there, here)
        return place

    def run(self, place, *options):
        log = os.path.join(place.directory, "strace")
        env = {k: v for k, v in os.environ.items() if not k.startswith("TUCK_")} | place.settings() | traceable()
        env = {k: v for k, v in env.items() if v is not None} | {"GOCACHE": place.gocache}
        done = subprocess.run(["strace", "-f", "-o", log, *options, tuck_bin(), "drive", "replace", place.roots[1],
                               os.path.join(place.directory, "new")], env=env, capture_output=True, text=True, timeout=120)
        return done, log

    def judge(self, place):
        """By the former list or the new one: no untruth, what is on the other drives is hit. The same again completes it."""
        after = Drives(place.directory, [place.roots[0], os.path.join(place.directory, "new"), place.roots[2]])
        for one in (place, after):
            with one.helper() as helper:
                found = sum(truthful(helper.get(action, timeout=PROMPT), [content]) is not None
                            for action, content in self.bodies.items())
                assert found >= len(self.bodies) // 3, "drives that were not touched do not serve"
                assert helper.finish() == 0
                assert len(complaints(helper)) <= 2, helper.stderr_raw
        again = place.tuck("drive", "replace", place.roots[1], after.roots[1], status=None)
        if again.returncode:                          # helpers have completed it, and the old one is out of the set
            again = after.tuck("drive", "add", after.roots[1])
        assert drives_of(after)[0].keys() == set(after.roots)
        content = body("afterwards")
        with after.helper() as helper:
            expect_put(helper.put(action_id("afterwards"), content), content)
            expect_hit(helper.get(action_id("afterwards")), content)
            assert helper.finish() == 0 and not complaints(helper), helper.stderr_raw


@case(limit=600)
def a_change_that_is_killed_or_fails_anywhere_can_be_repeated(directory):
    need_strace()
    change = Change(directory)
    place = change.begin("reference")
    done, log = change.run(place)
    assert done.returncode == 0, done
    change.judge(place)
    # Each call of those that change something, by its number among its own kind.
    points, seen = [], {}
    for _, name, text in calls(log):
        if name in CHANGING:
            seen[name] = seen.get(name, 0) + 1
            is_ours = "tuck.json" in text or name in ("renameat", "linkat", "mkdir")
            points += [(name, seen[name], how) for how in ("signal=SIGKILL", "error=EIO")] if is_ours else []
    assert len(points) > 20, points

    def experiment(name, number, how):
        place = change.begin(f"{name}-{number}-{how}")
        change.run(place, "-e", f"inject={name}:{how}:when={number}")
        change.judge(place)
        shutil.rmtree(place.directory)

    Sweep(30).run(points, experiment)


run(__name__)

# SPDX-License-Identifier: MIT
"""
A cache directory that somebody damaged or prepared: links planted to write through, objects and index that are not
what they were. Nothing outside may change, no answer may be wrong, nothing may hang or crash, and a put repairs.
"""
import json, os, random, shutil, stat

from faults import (LONG, Place, PROMPT, aftermath, another_boot, body, complaints, dice, model, no_unnamed_files,
                    plain_user, remark, truthful)
from helper import action_id, expect_hit, expect_miss, expect_put, output_id
from tap import case, need_root, run, skip


# -- links planted to write through ----------------------------------------------------------------------------------
class Victim:
    """A directory and a file of somebody, outside of the cache, that must stay as they are to the last time stamp."""

    def __init__(self, directory):
        self.top = os.path.join(directory, "victim")
        os.makedirs(os.path.join(self.top, "folder"))
        self.folder = os.path.join(self.top, "folder")
        self.file = os.path.join(self.top, "file")
        self.absent = os.path.join(self.top, "absent")
        self.twin = os.path.join(self.top, "twin")
        for path in (self.file, os.path.join(self.folder, "letter")):
            with open(path, "wb") as out:
                out.write(b"private matters\n" * 1000)
        self.before = self.state()

    def state(self):
        found = {}
        for folder, _, names in os.walk(self.top):
            for path in [folder] + [os.path.join(folder, n) for n in names]:
                status = os.lstat(path)
                found[path] = (status.st_mode, status.st_ino, status.st_size, status.st_mtime_ns, status.st_nlink)
        return found

    def untouched(self, what):
        now = self.state()
        assert now == self.before, f"written through a planted link at {what}: " + \
            str({k: (self.before.get(k), now.get(k)) for k in now | self.before if now.get(k) != self.before.get(k)})


def used_all_the_same(place, known, **more):
    """A session with everything in it: gets, puts of old and new outputs, the end; and one more."""
    fresh = model(2, name="fresh")
    for _ in range(2):
        with place.helper(**more) as helper:
            for action, content in known.items():
                truthful(helper.get(action, timeout=PROMPT), [content])
                expect_put(helper.put(action, content, timeout=PROMPT), content)
                expect_hit(helper.get(action, timeout=PROMPT), content)
            for action, content in fresh.items():
                expect_put(helper.put(action, content, timeout=PROMPT), content)
                expect_hit(helper.get(action, timeout=PROMPT), content)
            assert helper.finish() == 0
            complaints(helper)


@case("X-07")
def nothing_is_written_through_a_link_in_place_of_a_directory(directory):
    known = model(3)
    prefixes = sorted({output_id(content).hex()[:2] for content in (known | model(2, name="fresh")).values()})
    parts = ["objects", "index", "leases", "staging", "index/spool"] + ["objects/" + p for p in prefixes]
    for part in parts:
        for filled in (False, True):
            place = Place(os.path.join(directory, part.replace("/", "-") + str(filled)))
            victim = Victim(place.directory)
            if filled:
                place.fill(known)
            path = place.path(part)
            if os.path.isdir(path):
                shutil.rmtree(path)
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            os.symlink(victim.folder, path)
            more = {"preexec": no_unnamed_files()} if part == "staging" else {}
            used_all_the_same(place, known, **more)
            victim.untouched(part)


@case("X-07")
def nothing_is_written_through_a_link_in_place_of_a_file(directory):
    known = model(2)
    place = Place(os.path.join(directory, "trial"))
    place.fill(known)
    place.entries()
    parts = ["index/entries", "tuck.json", "README", "CACHEDIR.TAG"]
    parts += [os.path.relpath(place.object(content), place.root) for content in known.values()]
    parts += [os.path.relpath(place.object(content), place.root) for content in model(2, name="fresh").values()]
    for top in ("index", "leases"):
        parts += [os.path.relpath(os.path.join(folder, name), place.root)
                  for folder, _, names in os.walk(place.path(top)) for name in names]
    for part in sorted(set(parts)):
        for target in ("file", "absent", "folder", "twin"):
            place = Place(os.path.join(directory, part.replace("/", "-") + target))
            victim = Victim(place.directory)
            place.fill(known)
            path = place.path(part)
            if target == "twin":                     # of the right kind, but somebody else's
                if not os.path.isfile(path):
                    continue
                shutil.copyfile(path, victim.twin)
                victim.before = victim.state()
            if os.path.lexists(path):
                os.unlink(path)
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            os.symlink(getattr(victim, target), path)
            used_all_the_same(place, known)
            victim.untouched(f"{part} -> {target}")
            assert not os.path.lexists(victim.absent)


@case("X-07")
def a_link_in_place_of_the_root_is_not_used_when_it_is_somebody_elses(directory):
    place = Place(directory)
    victim = Victim(directory)
    need_root()
    user = plain_user(place)
    os.chmod(victim.folder, 0o700)                   # the user's own folder: only the link is foreign
    victim.before = victim.state()
    os.symlink(victim.folder, place.root)
    os.lchown(place.root, 12345, 12345)
    used_all_the_same(place, model(2), preexec=user)
    victim.untouched("the root")


@case("X-07")
def a_root_that_is_the_users_own_link_works(directory):
    """A cache moved to another disk, its old place a link: that is how people do it."""
    place = Place(directory)
    moved = os.path.join(directory, "moved")
    os.mkdir(moved, 0o700)
    os.symlink(moved, place.root)
    known = model(2)
    place.fill(known)
    aftermath(place, {a: [b] for a, b in known.items()}, must=known)
    assert os.path.islink(place.root) and os.path.isdir(os.path.join(moved, "objects"))


@case("X-07")
def a_directory_with_other_things_in_it_is_not_taken_over(directory):
    """TUCK_DIR=$HOME: a mark that makes backups skip it, and modes changed, would be no favour."""
    place = Place(directory)
    victim = Victim(directory)
    os.chmod(victim.folder, 0o775)
    victim.before = victim.state()
    os.symlink(victim.folder, place.root)
    used_all_the_same(place, model(2))
    victim.untouched("a directory in use")


@case("X-07", "P-23")
def a_link_below_gocache_that_leads_elsewhere_is_never_believed(directory):
    """Paths are handed out through a link below $GOCACHE. Somebody may own that name already."""
    known = model(2)
    trial = Place(os.path.join(directory, "trial"))
    trial.fill(known)
    names = os.listdir(trial.gocache)
    if not names:
        skip("this helper hands out its own path")
    other = Place(os.path.join(directory, "other"))
    other.fill({action_id("other"): body("other")})
    for kind in ("elsewhere", "another cache", "nowhere", "itself", "folder", "file", "fifo"):
        place = Place(os.path.join(directory, kind))
        place.root = trial.root                      # the name of the link may depend on the root
        victim = Victim(place.directory)
        for name in names:
            path = os.path.join(place.gocache, name)
            if kind == "elsewhere":
                os.symlink(victim.folder, path)
            elif kind == "another cache":
                os.symlink(other.root, path)
            elif kind == "nowhere":
                os.symlink(victim.absent, path)
            elif kind == "itself":
                os.symlink(path, path)
            elif kind == "folder":
                os.mkdir(path)
            elif kind == "fifo":
                os.mkfifo(path)
            else:
                open(path, "wb").close()
        with place.helper() as helper:
            for action, content in known.items():
                expect_hit(helper.get(action, timeout=PROMPT), content)
                expect_put(helper.put(action, content), content)
            expect_put(helper.put(action_id(kind), body(kind)), body(kind))
            expect_hit(helper.get(action_id(kind)), body(kind))
            assert helper.finish() == 0
        victim.untouched(f"the link below $GOCACHE, {kind}")


# -- damaged objects -------------------------------------------------------------------------------------------------
def truncate(path, _):
    os.chmod(path, 0o644)
    os.truncate(path, os.path.getsize(path) // 2)


def empty(path, _):
    os.chmod(path, 0o644)
    os.truncate(path, 0)


def extend(path, _):
    os.chmod(path, 0o644)
    with open(path, "ab") as file:
        file.write(b"more")


def flip(path, _):
    """One bit in place, the times as before: only the contents and the change time tell."""
    status = os.stat(path)
    os.chmod(path, 0o644)
    with open(path, "r+b") as file:
        file.seek(status.st_size // 2)
        byte = file.read(1)[0]
        file.seek(status.st_size // 2)
        file.write(bytes([byte ^ 4]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.chmod(path, stat.S_IMODE(status.st_mode))


def exchange(path, _):
    """Another file of the same size under the same name."""
    size = os.path.getsize(path)
    with open(path + "x", "wb") as file:
        file.write(body("exchanged", size))
    os.rename(path + "x", path)


def remove(path, _):
    os.unlink(path)


def folder(path, _):
    os.unlink(path)
    os.mkdir(path)


def full_folder(path, _):
    folder(path, None)
    open(os.path.join(path, "file"), "wb").close()


def fifo(path, _):
    os.unlink(path)
    os.mkfifo(path)


def link_to_wrong(path, directory):
    target = os.path.join(directory, "elsewhere")
    with open(target, "wb") as file:
        file.write(body("elsewhere", os.path.getsize(path)))
    os.unlink(path)
    os.symlink(target, path)


def link_to_itself(path, _):
    os.unlink(path)
    os.symlink(path, path)


def link_to_device(path, _):
    os.unlink(path)
    os.symlink("/dev/zero", path)


def unreadable(path, _):
    os.chmod(path, 0)


DAMAGES = (truncate, empty, extend, flip, exchange, remove, folder, full_folder, fifo, link_to_wrong, link_to_itself,
           link_to_device)


def damaged_in_turn(directory, damages, check, user=lambda place: None):
    for damage in damages:
        for size in (1, 900, 300_000):
            place = Place(os.path.join(directory, f"{damage.__name__}-{size}"))
            action, content = action_id("damaged"), body("damaged", size)
            place.fill({action: content, action_id("whole"): body("whole")})
            preexec = user(place)
            place.object(content)                    # skips for another layout
            try:
                check(place, damage, action, content, preexec)
            except Exception as error:
                raise AssertionError(f"{damage.__name__}, {size} bytes: {error}") from error


def found_by_a_fresh_helper(place, damage, action, content, preexec):
    damage(place.object(content), place.directory)
    with place.helper(preexec=preexec) as helper:
        expect_miss(helper.get(action, timeout=PROMPT))
        expect_hit(helper.get(action_id("whole")), body("whole"))
        expect_put(helper.put(action, content, timeout=PROMPT), content)
        expect_hit(helper.get(action, timeout=PROMPT), content)
        assert helper.finish() == 0
    with place.helper(preexec=preexec) as helper:
        expect_hit(helper.get(action, timeout=PROMPT), content)
        assert helper.finish() == 0


def found_by_the_put_of_a_fresh_helper(place, damage, action, content, preexec):
    """Without a get before: the put must not take what lies there for granted."""
    damage(place.object(content), place.directory)
    with place.helper(preexec=preexec) as helper:
        expect_put(helper.put(action_id("other"), content, timeout=PROMPT), content)
        expect_hit(helper.get(action, timeout=PROMPT), content)
        expect_hit(helper.get(action_id("other"), timeout=PROMPT), content)
        assert helper.finish() == 0
    with place.helper(preexec=preexec) as helper:
        expect_hit(helper.get(action, timeout=PROMPT), content)
        assert helper.finish() == 0


def found_by_a_running_helper(place, damage, action, content, preexec):
    """The helper has served the object before and after it came to know it."""
    with place.helper(preexec=preexec) as helper:
        expect_hit(helper.get(action), content)
        expect_hit(helper.get(action), content)
        damage(place.object(content), place.directory)
        expect_miss(helper.get(action, timeout=PROMPT))
        expect_put(helper.put(action, content, timeout=PROMPT), content)
        expect_hit(helper.get(action, timeout=PROMPT), content)
        damage(place.object(content), place.directory)
        expect_put(helper.put(action_id("other"), content, timeout=PROMPT), content)
        expect_hit(helper.get(action, timeout=PROMPT), content)
        assert helper.finish() == 0
    with place.helper(preexec=preexec) as helper:
        expect_hit(helper.get(action, timeout=PROMPT), content)
        assert helper.finish() == 0


@case("G-14", "G-15", "G-16", "G-18")
def a_damaged_object_is_a_miss_for_a_fresh_helper_and_a_put_repairs_it(directory):
    damaged_in_turn(directory, DAMAGES, found_by_a_fresh_helper)


@case("P-06", "G-18")
def a_put_over_a_damaged_object_repairs_it(directory):
    damaged_in_turn(directory, DAMAGES, found_by_the_put_of_a_fresh_helper)


@case("G-14", "G-15", "G-16", "G-18", "P-06")
def an_object_damaged_under_a_running_helper_is_a_miss_and_a_put_repairs_it(directory):
    damaged_in_turn(directory, DAMAGES, found_by_a_running_helper)


@case("G-16", "G-18", "P-06")
def an_unreadable_object_is_a_miss_and_a_put_repairs_it(directory):
    for check in (found_by_a_fresh_helper, found_by_the_put_of_a_fresh_helper, found_by_a_running_helper):
        damaged_in_turn(os.path.join(directory, check.__name__), [unreadable], check, plain_user)


@case("P-05")
def a_reader_of_a_damaged_object_sees_no_change_when_a_put_repairs_it(directory):
    place = Place(directory)
    action, content = action_id("mapped"), body("mapped", 20_000)
    place.fill({action: content})
    flip(place.object(content), None)
    with open(place.object(content), "rb") as reader:
        before = reader.read()
        with place.helper() as helper:
            expect_put(helper.put(action, content), content)
            assert helper.finish() == 0
        reader.seek(0)
        assert reader.read() == before, "a published file was written in place"


@case("G-16", "G-18")
def a_damaged_directory_of_objects_costs_misses_only(directory):
    for damage in ("file", "fifo", "link to itself", "unreadable", "gone"):
        place = Place(os.path.join(directory, damage))
        known = model(3)
        place.fill(known)
        user = plain_user(place) if damage == "unreadable" else None
        for content in known.values():
            path = os.path.dirname(place.object(content))
            if not os.path.isdir(path) or os.path.islink(path):
                continue
            if damage == "unreadable":
                os.chmod(path, 0)
                continue
            shutil.rmtree(path)
            if damage == "file":
                open(path, "wb").close()
            elif damage == "fifo":
                os.mkfifo(path)
            elif damage == "link to itself":
                os.symlink(path, path)
        with place.helper(preexec=user) as helper:
            for action, content in known.items():
                expect_miss(helper.get(action, timeout=PROMPT))
                expect_put(helper.put(action, content, timeout=PROMPT), content)
                expect_hit(helper.get(action, timeout=PROMPT), content)
            assert helper.finish() == 0
            assert len(complaints(helper)) <= 1
        with place.helper(preexec=user) as helper:
            for action, content in known.items():
                truthful(helper.get(action, timeout=PROMPT), [content])
            assert helper.finish() == 0


# -- a damaged index -------------------------------------------------------------------------------------------------
class Patient:
    """A cache with two generations of entries whose index is damaged again and again."""

    def __init__(self, directory, count=150):
        self.place = Place(directory)
        older = model(count, name="e", size=40)
        self.allowed = {action: [content] for action, content in older.items()}
        self.place.fill(older)
        self.path = self.place.entries()
        with open(self.path, "rb") as file:
            self.first = file.read()
        self.must = dict(older)
        for action in list(older)[::3]:              # a third of the actions has a newer output
            newer = body(f"newer {action.hex()}", 50)
            self.allowed[action].append(newer)
            self.must[action] = newer
        self.place.fill({action: bodies[-1] for action, bodies in self.allowed.items() if len(bodies) > 1})
        with open(self.path, "rb") as file:
            self.good = file.read()
        assert self.good, "the index is empty"
        self.times = self.put_times()
        self.kept = os.path.join(directory, "kept")
        shutil.copytree(self.place.path("index"), self.kept, symlinks=True)
        self.runs = 0

    def put_times(self):
        """When each action was put, as told before there was damage: a hit may tell no other time."""
        with self.place.helper() as helper:
            times = {action: helper.get(action)["Time"] for action in self.allowed}
            assert helper.finish() == 0
        return times

    def restore(self):
        top = self.place.path("index")
        shutil.rmtree(top) if os.path.isdir(top) and not os.path.islink(top) else os.unlink(top)
        shutil.copytree(self.kept, top, symlinks=True)

    def write(self, raw):
        with open(self.path, "wb") as file:
            file.write(raw)

    def live(self):
        """The byte positions that are not zero: where damage has something to hurt."""
        return [n for n, byte in enumerate(self.good) if byte]

    def judge(self, what, thorough=False):
        """Every answer after the damage is true, the helper works, and what it puts is there for the next."""
        self.runs += 1
        try:
            if thorough:
                some = random.Random(self.runs).sample(list(self.allowed), min(len(self.allowed), 30))
                aftermath(self.place, {action: self.allowed[action] for action in some})
                newest_puts_win(self.place, list(self.allowed), random.Random(self.runs), 8)
                return
            with self.place.helper() as helper:
                sent = {helper.send_get(action): bodies for action, bodies in self.allowed.items()}
                stranger = helper.send_get(action_id("never put"))
                sent_actions = dict(zip(sent, self.allowed))
                for number, bodies in sent.items():
                    answer = helper.answer_to(number, timeout=PROMPT)
                    found = truthful(answer, bodies)
                    if found == self.must[sent_actions[number]]:
                        assert answer["Time"] == self.times[sent_actions[number]], answer
                expect_miss(helper.answer_to(stranger, timeout=PROMPT))
                action, bodies = next(iter(self.allowed.items()))
                expect_put(helper.put(action, bodies[-1], timeout=PROMPT), bodies[-1])
                expect_hit(helper.get(action, timeout=PROMPT), bodies[-1])
                assert helper.finish() == 0
            with self.place.helper() as helper:
                expect_hit(helper.get(action, timeout=PROMPT), bodies[-1])
                assert helper.finish() == 0
        except Exception as error:
            raise AssertionError(f"index {what}: {error}") from error
        finally:
            self.restore()


def newest_puts_win(place, actions, chance, sessions, **more):
    """
    Short sessions with some gets and some puts, as after a repair. Damage must not leave two places for one entry, of
    which now the one and now the other is found: from its first put on, every action hits with its newest output.
    """
    newest = {}
    for session in range(sessions):
        with place.helper(**more) as helper:
            for action in chance.sample(actions, min(len(actions), chance.choice((0, 1, 5, 20)))):
                if action in newest:
                    expect_hit(helper.get(action, timeout=PROMPT), newest[action])
            for action in chance.sample(actions, min(len(actions), chance.choice((1, 2, 5, 60)))):
                newest[action] = body(session % 7, 30)
                helper.send_put(action, newest[action])
            assert helper.finish() == 0
    with place.helper(**more) as helper:
        for action, content in newest.items():
            expect_hit(helper.get(action, timeout=PROMPT), content)
        assert helper.finish() == 0


@case("G-17", "G-18")
def an_index_cut_at_any_length_costs_misses_only(directory):
    patient, chance = Patient(directory), dice()
    size = len(patient.good)
    lengths = {0, 1, 7, 8, 15, 16, 63, 64, 100, 4095, 4096, 4097, 8191, 8192, size - 4096, size - 1, size - 17}
    lengths |= {chance.randrange(size) for _ in range(400 if LONG else 12)}
    for number, length in enumerate(sorted(n for n in lengths if 0 <= n < size)):
        patient.write(patient.good[:length])
        patient.judge(f"cut at {length} of {size}", thorough=number % 8 == 0)
    remark(f"{patient.runs} lengths")


@case("G-17", "G-18")
def an_index_of_other_contents_costs_misses_only(directory):
    patient, chance = Patient(directory), dice()
    size = len(patient.good)
    pages = [patient.good[n:n + 4096] for n in range(0, size, 4096)]
    shuffled = pages[1:]
    chance.shuffle(shuffled)
    others = {
        "zeroed": bytes(size),
        "all ones": b"\xff" * size,
        "random": chance.randbytes(size),
        "random after the first page": patient.good[:4096] + chance.randbytes(size - 4096),
        "first page zeroed": bytes(4096) + patient.good[4096:],
        "first page random": chance.randbytes(4096) + patient.good[4096:],
        "first page missing": patient.good[4096:],
        "garbage appended": patient.good + chance.randbytes(5000),
        "doubled": patient.good + patient.good,
        "huge and sparse": patient.good,
        "pages shuffled": pages[0] + b"".join(shuffled),
        "pages reversed": b"".join(reversed(pages)),
        "one page everywhere": pages[0] + max(pages[1:] or pages, key=lambda p: p.count(0) * -1) * (len(pages) - 1),
        "torn every other sector": b"".join(
            (patient.good if n % 1024 == 0 else bytes(size))[n:n + 512] for n in range(0, size, 512)),
        "text": b"not an index\n" * 1000,
        "an archive": b"!<arch>\n" + chance.randbytes(9000),
        "an sqlite file": b"SQLite format 3\0" + chance.randbytes(8176),
        "the one of an hour ago": patient.first,
        "half from before": patient.first[:size // 8192 * 4096] + patient.good[size // 8192 * 4096:],
    }
    for what, raw in others.items():
        patient.write(raw)
        if what == "huge and sparse":
            os.truncate(patient.path, 1 << 40)
        # Pages of two generations never meet within one boot; what a power cut leaves has a test of its own below.
        patient.judge(what, thorough=what != "half from before")


@case("G-17", "G-18")
def an_index_with_flipped_bits_costs_misses_only(directory):
    patient, chance = Patient(directory), dice()
    live = patient.live()
    for number in range(1500 if LONG else 20):
        raw = bytearray(patient.good)
        count = chance.choice((1, 1, 1, 2, 8, 64, 1000))
        places = [chance.choice(live) if chance.random() < 0.8 else chance.randrange(len(raw)) for _ in range(count)]
        for place in places:
            raw[place] ^= 1 << chance.randrange(8)
        patient.write(raw)
        patient.judge(f"with {count} bits flipped, the first in byte {places[0]}", thorough=number % 10 == 0)


@case("G-17", "G-18")
def an_index_with_overwritten_runs_costs_misses_only(directory):
    """Runs of zeros, of noise, of bytes from elsewhere in the same index: what lost and misdirected writes leave."""
    patient, chance = Patient(directory), dice()
    live = patient.live()
    for number in range(800 if LONG else 15):
        raw = bytearray(patient.good)
        length = chance.choice((1, 4, 16, 64, 128, 512, 4096))
        at = max(0, min(chance.choice(live) - chance.randrange(length), len(raw) - length))
        if chance.random() < 0.5:
            at -= at % length
        source = chance.choice(("zeros", "noise", "elsewhere"))
        other = chance.choice(live)
        other -= other % length
        raw[at:at + length] = {"zeros": bytes(length), "noise": chance.randbytes(length),
                               "elsewhere": patient.good[other:other + length]}[source]
        patient.write(raw)
        patient.judge(f"with {length} bytes of {source} ({other}) at {at}", thorough=number % 10 == 0)


@case("G-17", "P-04", "P-21")
def an_index_of_which_some_page_writes_were_lost_costs_misses_only(directory):
    """What a power cut leaves of writes that no sync has ordered: any page as it was, or as it became."""
    chance = dice()
    boot = another_boot(directory)
    for number in range(100 if LONG else 6):
        place = Place(os.path.join(directory, str(number)))
        older, newer = model(60, name="older", size=30), model(100, name="newer", size=30)
        place.fill(older)
        with open(place.entries(), "rb") as file:
            before = file.read()
        place.fill(newer)
        with open(place.entries(), "rb") as file:
            after = bytearray(file.read())
        lost = [at for at in range(0, len(after), 4096) if chance.random() < 0.4]
        for at in lost:
            after[at:at + 4096] = before[at:at + 4096].ljust(4096, b"\0")
        with open(place.entries(), "r+b") as file:
            file.write(after)
        try:
            with place.helper(prefix=boot) as helper:
                for action, content in (older | newer).items():
                    truthful(helper.get(action, timeout=PROMPT), [content])
                assert helper.finish() == 0
            newest_puts_win(place, list(older | newer), chance, 20, prefix=boot)
        except Exception as error:
            raise AssertionError(f"round {number}, pages lost: {[at // 4096 for at in lost]}: {error}") from error


@case("G-17", "G-18")
def an_index_of_another_kind_of_file_costs_misses_only(directory):
    patient = Patient(directory, count=6)
    index = os.path.dirname(patient.path)
    for what in ("directory", "full directory", "fifo", "link to itself", "link to device", "gone", "index gone"):
        if what.startswith("index"):
            shutil.rmtree(index)
        else:
            os.unlink(patient.path)
        if what == "directory":
            os.mkdir(patient.path)
        elif what == "full directory":
            os.mkdir(patient.path)
            open(os.path.join(patient.path, "file"), "wb").close()
        elif what == "fifo":
            os.mkfifo(patient.path)
        elif what == "link to itself":
            os.symlink(patient.path, patient.path)
        elif what == "link to device":
            os.symlink("/dev/zero", patient.path)
        patient.judge(what, thorough=True)


@case("G-17", "P-17")
def what_cannot_be_a_directory_of_the_cache_is_left_alone_and_served_beside(directory):
    """Nobody but a person puts a file where tuck has a directory; it is not tuck's to remove."""
    for part in ("index", "objects"):
        for what in ("file", "fifo"):
            place = Place(os.path.join(directory, part + what))
            known = model(2)
            place.fill(known)
            place.entries()
            path = place.path(part)
            shutil.rmtree(path)
            open(path, "wb").close() if what == "file" else os.mkfifo(path)
            with place.helper() as helper:
                for action, content in (known | model(2, name="fresh")).items():
                    expect_miss(helper.get(action, timeout=PROMPT))
                    expect_put(helper.put(action, content, timeout=PROMPT), content)
                    expect_hit(helper.get(action, timeout=PROMPT), content)
                assert helper.finish() == 0
                assert 1 <= len(complaints(helper)) <= 2, helper.stderr_raw
            assert os.path.lexists(path) and not os.path.isdir(path)


@case("G-17")
def an_unreadable_index_costs_misses_only(directory):
    place = Place(directory)
    known = model(4)
    place.fill(known)
    user = plain_user(place)
    for mode in (0o000, 0o200, 0o400):
        for path in (place.entries(), place.path("index")):
            old = stat.S_IMODE(os.stat(path).st_mode)
            os.chmod(path, mode)
            with place.helper(preexec=user) as helper:
                for action, content in known.items():
                    truthful(helper.get(action, timeout=PROMPT), [content])
                fresh = body(f"{mode} {path}")
                expect_put(helper.put(action_id(fresh), fresh, timeout=PROMPT), fresh)
                expect_hit(helper.get(action_id(fresh), timeout=PROMPT), fresh)
                assert helper.finish() == 0
                assert len(complaints(helper)) <= 1
            if os.path.lexists(path):
                os.chmod(path, old)
    with place.helper(preexec=user) as helper:
        for action, content in known.items():
            expect_put(helper.put(action, content), content)
            expect_hit(helper.get(action), content)
        assert helper.finish() == 0


@case("G-17", "G-18")
def an_index_damaged_under_a_running_helper_costs_misses_only(directory):
    """A mapped file that shrinks kills its reader by SIGBUS; a read one does not."""
    patient, chance = Patient(directory), dice()
    size = len(patient.good)
    damages = {
        "emptied": lambda: os.truncate(patient.path, 0),
        "halved": lambda: os.truncate(patient.path, size // 2),
        "cut in mid-page": lambda: os.truncate(patient.path, 4096 + 100),
        "made noise": lambda: patient.write(chance.randbytes(size)),
        "made zero": lambda: patient.write(bytes(size)),
        "unlinked": lambda: os.unlink(patient.path),
        "replaced": lambda: (os.unlink(patient.path), patient.write(chance.randbytes(size))),
    }
    for what, damage in damages.items():
        try:
            with patient.place.helper() as helper:
                some = list(patient.allowed)
                for action in some[:20]:
                    truthful(helper.get(action), patient.allowed[action])
                fresh = body(what)
                expect_put(helper.put(action_id(what), fresh), fresh)
                damage()
                for action in some:
                    truthful(helper.get(action, timeout=PROMPT), patient.allowed[action])
                for action in some[30:]:
                    content = patient.allowed[action][-1]
                    expect_put(helper.put(action, content, timeout=PROMPT), content)
                    expect_hit(helper.get(action, timeout=PROMPT), content)
                assert helper.finish() == 0
        except Exception as error:
            raise AssertionError(f"index {what} under a running helper: {error}") from error
        patient.judge(f"{what} under a running helper", thorough=True)


@case("G-17")
def foreign_files_beside_the_index_disturb_nothing(directory):
    place = Place(directory)
    known = model(4)
    place.fill(known)
    place.entries()
    spool = place.path("index", "spool")
    os.makedirs(spool, mode=0o700, exist_ok=True)
    chance = random.Random(1)
    raw = open(place.entries(), "rb").read()
    for name, content in (("junk", chance.randbytes(5000)), ("empty", b""), ("0" * 24, chance.randbytes(64)),
                          ("1" * 24, raw[:4096]), ("2" * 24, raw[4096:8192] + b"x"), ("3" * 24, bytes(4096)),
                          (".hidden", b"x"), ("n" * 255, b"x")):
        with open(os.path.join(spool, name), "wb") as file:
            file.write(content)
    os.mkdir(os.path.join(spool, "a" * 24))
    os.mkfifo(os.path.join(spool, "b" * 24))
    os.symlink("/dev/zero", os.path.join(spool, "c" * 24))
    os.symlink(os.path.join(spool, "d" * 24), os.path.join(spool, "d" * 24))
    for top in ("index", "objects", "leases"):
        if os.path.isdir(place.path(top)):
            os.mkfifo(place.path(top, "fifo"))
            os.mkdir(place.path(top, "zz"))
            with open(place.path(top, "foreign"), "wb") as file:
                file.write(chance.randbytes(100))
    for _ in range(2):
        with place.helper() as helper:
            for action, content in known.items():
                expect_hit(helper.get(action, timeout=PROMPT), content)
                expect_put(helper.put(action, content, timeout=PROMPT), content)
            assert helper.finish() == 0
            assert len(complaints(helper)) <= 1, helper.stderr_raw


# -- a damaged or newer format file ----------------------------------------------------------------------------------
@case("O-09", "G-17")
def a_damaged_format_file_costs_no_service(directory):
    place = Place(directory)
    known = model(3)
    place.fill(known)
    path = place.path("tuck.json")
    if not os.path.isfile(path):
        skip("this helper has no format file")
    good = open(path, "rb").read()
    damages = {
        "empty": b"", "cut": good[:len(good) // 2], "one byte short": good[:-1], "noise": os.urandom(300),
        "zeros": bytes(len(good)), "null": b"null", "list": b"[]", "object": b"{}", "deep": b"[" * 100_000,
        "text": b"hello\n", "trailing": good + b"{}", "large": good + b" " * (4 << 20), "twice": good * 2,
        "wrong types": b'{"version":"one","drive":[],"set":{},"placement":7}', "huge number": b'{"version":1e999}',
    }
    for what, raw in damages.items():
        if os.path.lexists(path):
            os.unlink(path)
        with open(path, "wb") as file:
            file.write(raw)
        format_file_was_damaged(place, known, what)
    for what in ("directory", "fifo", "link to itself", "link to device", "gone", "sparse"):
        if os.path.lexists(path):
            os.rmdir(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)
        if what == "directory":
            os.mkdir(path)
        elif what == "fifo":
            os.mkfifo(path)
        elif what == "link to itself":
            os.symlink(path, path)
        elif what == "link to device":
            os.symlink("/dev/zero", path)
        elif what == "sparse":
            with open(path, "wb") as file:
                file.truncate(1 << 36)
        format_file_was_damaged(place, known, what)


def format_file_was_damaged(place, known, what):
    try:
        for _ in range(2):
            with place.helper() as helper:
                for action, content in known.items():
                    truthful(helper.get(action, timeout=PROMPT), [content])
                    expect_put(helper.put(action, content, timeout=PROMPT), content)
                    expect_hit(helper.get(action, timeout=PROMPT), content)
                assert helper.finish() == 0
                assert len(complaints(helper)) <= 1, helper.stderr_raw
    except Exception as error:
        raise AssertionError(f"tuck.json {what}: {error}") from error


@case("O-09")
def a_cache_of_a_newer_version_is_left_alone_and_served_beside(directory):
    place = Place(directory)
    known = model(3)
    place.fill(known)
    path = place.path("tuck.json")
    if not os.path.isfile(path):
        skip("this helper has no format file")
    with open(path) as file:
        described = json.load(file)
    assert isinstance(described.get("version"), int), described
    for version in (described["version"] + 2, 1 << 40):
        described["version"] = version
        os.chmod(path, 0o600)
        with open(path, "w") as file:
            json.dump(described, file)
        before = contents(place.root)
        with place.helper() as helper:
            for action, content in known.items():
                truthful(helper.get(action, timeout=PROMPT), [content])
            for action, content in (model(2, name="fresh") | known).items():
                expect_put(helper.put(action, content, timeout=PROMPT), content)
                expect_hit(helper.get(action, timeout=PROMPT), content)
            assert helper.finish() == 0
            assert len(complaints(helper)) == 1, helper.stderr_raw
        assert contents(place.root) == before, "the cache of a newer version was changed"


def contents(top):
    found = {}
    for folder, _, names in os.walk(top):
        found[folder] = None
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                found[os.path.join(folder, name)] = file.read()
    return found


run(__name__)

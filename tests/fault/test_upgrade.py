# SPDX-License-Identifier: MIT
"""
A cache that helpers of the first release have left is taken over where it is: served at once, its sums completed by
the first helper's end, whatever that dies of; and helpers of the first release, which may still run, are not harmed.

first_release/ has such a cache: entries over several pages, a spool, a lease of a helper that was killed, counters, a
record, an object and an entry that are damaged. Its make.py makes it anew.
"""
import calendar, fcntl, hashlib, json, os, re, shutil, subprocess, tarfile, time

from faults import (CHANGING, LONG, NOT_FAILED, Place, PROMPT, Sweep, body, calls, index_space, need_strace,
                    named_objects_are_whole, traceable, truthful)
from helper import action_id, b64, expect_hit, expect_miss, expect_put, tuck_bin
from tap import case, need_program, run, skip

if os.environ.get("TUCK_HELPER"):
    print("1..0 # SKIP needs tuck itself")
    raise SystemExit

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "first_release")
COMMIT = "4fc342b0a2d3a571733c36542d7dfb85368e410a"
BLOCK = 4096


class Fixture:
    def __init__(self):
        with open(os.path.join(HERE, "expected.json")) as file:
            told = json.load(file)
        if time.time() < told["made"]:
            skip("the clock stands before the fixture was made")
        self.counters = told["stats"]["counters"]
        self.entries = {bytes.fromhex(action): entry for action, entry in told["entries"].items()}
        # Some of each kind: of the spool, damaged in each way, large, empty, small.
        self.sample = [action_id(name) for name in ("spooled 1", "small 30", "small 31", "small 32", "of 70000", "of 0",
                                                    "durable", "small 69")]

    @staticmethod
    def place(directory):
        place = Place(directory)
        with tarfile.open(os.path.join(HERE, "cache.tar.gz")) as archive:
            for member in archive.getmembers():
                member.uid, member.gid = os.geteuid(), os.getegid()
            archive.extractall(place.directory)
        return place

    def check(self, helper, action):
        """One lookup: a hit with what was put and when, or a miss where the damage was done."""
        entry, answer = self.entries[action], helper.get(action, timeout=PROMPT)
        if entry is None:
            expect_miss(answer)
            return
        with open(answer["DiskPath"], "rb") as file:
            content = file.read()
        assert hashlib.sha256(content).hexdigest() == entry["output"] and len(content) == entry["size"], answer
        expect_hit(answer, content)
        assert nanoseconds(answer["Time"]) == entry["put_ns"], (answer, entry)

    def serves_all(self, place):
        with place.helper() as helper:
            for action in self.entries:
                self.check(helper, action)
            assert helper.finish() == 0


def nanoseconds(text):
    """RFC 3339 in UTC with any number of digits behind the second."""
    whole, fraction = re.fullmatch(r"(.*?)(?:\.(\d+))?Z", text).groups()
    return calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) * 10**9 + int((fraction or "0").ljust(9, "0"))


def tuck(place, *words, status=0, program=None):
    env = {name: value for name, value in os.environ.items() if not name.startswith("TUCK_")}
    env |= place.settings() | {"GOCACHE": place.gocache}
    done = subprocess.run([program or tuck_bin(), *words], env=env, capture_output=True, text=True, timeout=20 * PROMPT)
    assert status is None or done.returncode == status, done
    return done


def stats(place, program=None):
    return json.loads(tuck(place, "stats", "--json", program=program).stdout)


def objects(place):
    """What is really there: (number, bytes in blocks, those of the index too)."""
    sizes = [os.stat(os.path.join(folder, name)).st_size for folder, _, names in os.walk(place.path("objects"))
             for name in names]
    index = index_space(place)
    return len(sizes), sum((size + BLOCK - 1) // BLOCK * BLOCK for size in sizes) + index


def sums_are_right(place):
    told = stats(place)
    assert told["counted"] and (told["used_objects"], told["used_bytes"]) == objects(place), (told, objects(place))
    return told


# -- taken over ------------------------------------------------------------------------------------------------------
@case()
def every_entry_of_the_first_release_is_served_at_once_with_its_time(directory):
    fixture = Fixture()
    place = fixture.place(directory)
    fixture.serves_all(place)
    assert os.listdir(place.tmp) == []
    with open(place.path("tuck.json")) as file:
        assert json.load(file)["version"] == 1, "the first release must be able to read it"


@case()
def counters_go_on_from_where_the_first_release_was(directory):
    fixture = Fixture()
    place = fixture.place(directory)
    before = stats(place)
    for name, value in fixture.counters.items():
        assert before["counters"][name] == value, name
    assert not before["counted"], "nobody has counted it"
    fixture.serves_all(place)
    after = stats(place)
    hits = sum(entry is not None for entry in fixture.entries.values())
    more = {"helpers": 1, "gets": len(fixture.entries), "hits": hits, "misses": len(fixture.entries) - hits,
            "puts": 0, "dedupes": 0, "damaged": 1}
    for name, value in more.items():
        assert after["counters"][name] == fixture.counters[name] + value, (name, after["counters"])


@case()
def at_its_end_the_first_helper_counts_what_nobody_had_counted(directory):
    fixture = Fixture()
    place = fixture.place(directory)
    with place.helper() as helper:
        fixture.check(helper, action_id("of 1"))
        assert helper.finish() == 0
    told = sums_are_right(place)
    # The spool has been taken in by then, and the lease of the helper that was killed is gone.
    assert not os.path.exists(place.path("index", "spool")) and os.listdir(place.path("leases")) == []
    assert told["entries"] == sum(entry is not None for entry in fixture.entries.values()) + 2
    with place.helper() as helper:
        expect_put(helper.put(action_id("new"), body("new", 5000)), body("new", 5000))
        assert helper.finish() == 0
    sums_are_right(place)


@case()
def a_command_counts_it_as_well(directory):
    fixture = Fixture()
    for number, words in enumerate((["gc"], ["verify"], ["verify", "--repair"])):
        place = fixture.place(os.path.join(directory, str(number)))
        found = tuck(place, *words, status=None)
        assert found.returncode == (0 if words == ["gc"] else 3), found
        told = sums_are_right(place)
        for name, value in fixture.counters.items():
            assert told["counters"][name] >= value, name
    fixture.serves_all(place)
    assert os.listdir(place.path("quarantine")), "the damaged object was not kept for a look"


@case()
def puts_of_the_first_helper_join_what_is_there(directory):
    fixture = Fixture()
    place = fixture.place(directory)
    replaced, content = action_id("small 5"), body("put anew", 800)
    with place.helper() as helper:
        expect_put(helper.put(replaced, content), content)
        expect_put(helper.put(action_id("small 32"), body("small 32", 132)), body("small 32", 132))  # it was gone
        assert helper.finish() == 0
    with place.helper() as helper:
        expect_hit(helper.get(replaced), content)
        expect_hit(helper.get(action_id("small 32")), body("small 32", 132))
        for action in set(fixture.entries) - {replaced, action_id("small 32")}:
            fixture.check(helper, action)
        assert helper.finish() == 0
    sums_are_right(place)


@case()
def what_a_running_helper_of_the_first_release_gave_out_stays(directory):
    """Its lease is half as long as ours: the filter alone."""
    fixture = Fixture()
    place = fixture.place(directory)
    name, = os.listdir(place.path("leases"))
    kept = place.object(body("of 4096", 4096))
    with open(place.path("leases", name), "rb") as lease:
        assert os.fstat(lease.fileno()).st_size == 32768
        fcntl.flock(lease, fcntl.LOCK_EX)
        tuck(place, "clear")
        assert os.path.exists(kept) and os.path.exists(place.path("leases", name))
        assert objects(place)[0] < 4, "a claim of one object kept many"
    tuck(place, "clear")
    assert objects(place)[0] == 0 and os.listdir(place.path("leases")) == []


# -- interrupted -----------------------------------------------------------------------------------------------------
def session(place, fixture, *injection):
    """Looks some entries up and ends in order, as far as it comes."""
    prefix = ["strace", "-f", "-qq", "-o", os.devnull, *injection]
    with place.helper(prefix=prefix, handshake=False, env=traceable()) as helper:
        try:
            helper.answer_to(0, PROMPT)
            for action in fixture.sample:
                entry, found = fixture.entries[action], helper.get(action, timeout=PROMPT)
                assert entry is not None or found.get("Miss"), found
                assert found.get("Miss") or found["OutputID"] == b64(bytes.fromhex(entry["output"])), found
            helper.eof()
            helper.wait_stdout_eof(PROMPT)
        except (BrokenPipeError, ConnectionResetError, AssertionError):
            if helper.bad_output or not helper.stdout_eof.wait(PROMPT):
                raise
        status = helper.wait(PROMPT)
    assert b"Sanitizer" not in helper.stderr_raw and b"runtime error" not in helper.stderr_raw, helper.stderr_raw
    return status


def aftermath(place, fixture):
    fixture.serves_all(place)
    told = sums_are_right(place)
    for name, value in fixture.counters.items():
        assert told["counters"][name] >= value, f"{name} was {value}, is {told['counters'][name]}"
    named_objects_are_whole(place.root)
    shutil.rmtree(place.directory)


def points_of(directory, fixture):
    log = os.path.join(directory, "log")
    place = fixture.place(os.path.join(directory, "reference"))
    with place.helper(prefix=["strace", "-f", "-y", "-o", log], env=traceable()) as helper:
        for action in fixture.sample:
            fixture.check(helper, action)
        assert helper.finish() == 0
    counts, points = {}, {}
    for thread, name, text in calls(log):
        counts[thread, name] = counts.get((thread, name), 0) + 1
        if place.root in text or points:
            points.setdefault((name, counts[thread, name]), text)
    return points


@case()
def an_upgrade_killed_at_any_system_call_is_finished_by_the_next_helper(directory):
    need_strace()
    fixture, count = Fixture(), iter(range(10**6))

    def one(name, number):
        place = fixture.place(os.path.join(directory, f"run{next(count)}"))
        status = session(place, fixture, "-e", f"trace={name}", "-e", f"inject={name}:signal=KILL:when={number}")
        assert status in (0, -9), status
        aftermath(place, fixture)
    points = [point for point in points_of(directory, fixture) if point[0] in CHANGING or LONG]
    # The upgrade is at the end; what comes before is as in any session.
    last = points[-120:]
    sweep = Sweep(6)
    sweep.random.shuffle(last)
    sweep.run(last + points[:-120], one)


@case()
def an_upgrade_in_which_any_system_call_fails_is_finished_by_the_next_helper(directory):
    need_strace()
    fixture, count = Fixture(), iter(range(10**6))

    def one(name, number, error):
        place = fixture.place(os.path.join(directory, f"run{next(count)}"))
        status = session(place, fixture, "-e", f"trace={name}", "-e", f"inject={name}:error={error}:when={number}")
        assert status >= 0, status
        aftermath(place, fixture)
    points = [(name, number, error) for (name, number), text in points_of(directory, fixture).items()
              if name not in NOT_FAILED and "<pipe:" not in text for error in ("EIO", "ENOSPC")]
    sweep = Sweep(4)
    sweep.run(points, one)


@case()
def objects_that_could_not_be_looked_at_leave_the_cache_uncounted(directory):
    """For a moment: whoever comes next counts all."""
    need_strace()
    fixture = Fixture()
    for number, (name, error) in enumerate((("getdents64", "EIO"), ("newfstatat", "EIO"), ("newfstatat", "ENOMEM"))):
        place = fixture.place(os.path.join(directory, str(number)))
        inside = os.path.dirname(place.object(body("of 4096", 4096)))
        env = os.environ | place.settings() | {"GOCACHE": place.gocache} | traceable()
        # The first look is at the directory itself.
        done = subprocess.run(["strace", "-f", "-qq", "-o", os.devnull, "-P", inside, "-e", f"trace={name}", "-e",
                               f"inject={name}:error={error}:when={2 if name == 'newfstatat' else 1}+", tuck_bin(),
                               "gc"], env=env, capture_output=True, text=True, timeout=20 * PROMPT)
        assert done.returncode in (0, 1), done
        assert not stats(place)["counted"], f"{name} failed with {error}, and yet it was counted"
        fixture.serves_all(place)
        sums_are_right(place)


# -- both releases at once -------------------------------------------------------------------------------------------
_built = []


def first_release(directory):
    """The program of the first release: TUCK_FIRST_RELEASE names it, or it is built from the history."""
    named = os.environ.get("TUCK_FIRST_RELEASE")
    if named:
        return named
    if not LONG:
        skip("builds the first release; set TUCK_TEST_LONG=1, or TUCK_FIRST_RELEASE to its program")
    if not _built:
        need_program("git")
        need_program("meson")
        source = os.environ.get("TUCK_SOURCE", os.path.dirname(os.path.dirname(os.path.dirname(HERE))))
        where = os.path.join(os.path.dirname(directory), f"tuck-test-first-release-{os.getpid()}")
        archive = subprocess.run(["git", "-C", source, "archive", COMMIT], capture_output=True)
        if archive.returncode:
            skip("the history of the source is not at hand")
        os.makedirs(where)
        import atexit
        atexit.register(shutil.rmtree, where, ignore_errors=True)
        subprocess.run(["tar", "x", "-C", where], input=archive.stdout, check=True)
        for words in (["meson", "setup", "--buildtype=release", f"{where}/build", where],
                      ["ninja", "-C", f"{where}/build", "cmd/tuck/tuck"]):
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        _built.append(f"{where}/build/cmd/tuck/tuck")
    return _built[0]


@case()
def helpers_of_both_releases_at_the_same_time_see_each_others_puts_and_count_together(directory):
    program, fixture = first_release(directory), Fixture()
    place = fixture.place(directory)
    with place.helper() as ours, place.helper(command=[program]) as old:
        for number in range(40):
            for helper, name in ((ours, "ours"), (old, "old")):
                action, content = action_id(f"{name} {number}"), body(f"{name} {number % 30}", 300)
                expect_put(helper.put(action, content), content)
        assert old.finish() == 0
        for number in range(40):
            expect_hit(ours.get(action_id(f"old {number}")), body(f"old {number % 30}", 300))
        assert ours.finish() == 0
    with place.helper(command=[program]) as old:
        for number in range(40):
            expect_hit(old.get(action_id(f"ours {number}")), body(f"ours {number % 30}", 300))
        assert old.finish() == 0
    told = stats(place)
    assert told["counters"]["puts"] == fixture.counters["puts"] + 80, told
    assert told["counters"]["hits"] == fixture.counters["hits"] + 80, told
    assert told["counters"]["stored_objects"] == 30, told
    assert not told["counted"], "a helper of the first release was the last"
    old_told = stats(place, program)
    assert old_told["counters"]["hits"] == told["counters"]["hits"], old_told
    fixture.serves_all(place)
    sums_are_right(place)


@case()
def a_helper_of_the_first_release_serves_from_an_upgraded_cache(directory):
    program, fixture = first_release(directory), Fixture()
    place = fixture.place(directory)
    fixture.serves_all(place)
    tuck(place, "verify", "--repair", status=3)
    before = sums_are_right(place)
    with place.helper(command=[program]) as old:
        for action in fixture.entries:
            fixture.check(old, action)
        expect_put(old.put(action_id("small 30"), body("anew", 700)), body("anew", 700))
        assert old.finish() == 0
    after = stats(place)
    assert after["counters"]["gets"] == before["counters"]["gets"] + len(fixture.entries), after
    assert after["counters"]["stored_objects"] == before["counters"]["stored_objects"], after
    with place.helper() as ours:
        expect_hit(ours.get(action_id("small 30")), body("anew", 700))
        assert ours.finish() == 0
    sums_are_right(place)
    tuck(place, "clear", program=program)
    with place.helper() as ours:
        expect_miss(ours.get(action_id("of 1")))
        assert ours.finish() == 0
    told = sums_are_right(place)
    assert told["counters"]["puts"] == fixture.counters["puts"] + 1, told


@case()
def a_helper_of_the_first_release_leaves_a_set_of_drives_alone(directory):
    program = first_release(directory)
    place = Place(directory)
    drives = [os.path.join(directory, name) for name in ("one", "two")]
    with place.helper(env={"TUCK_DRIVES": ",".join(drives)}) as ours:
        for number in range(8):
            expect_put(ours.put(action_id(number), body(number)), body(number))
        assert ours.finish() == 0
    with open(os.path.join(drives[0], "tuck.json")) as file:
        format_before = file.read()
    with place.helper(command=[program], env={"TUCK_DIR": drives[0]}) as old:
        for number in range(8):
            assert truthful(old.get(action_id(number)), [body(number)]) is None
        expect_put(old.put(action_id("old"), body("old")), body("old"))
        assert old.finish() == 0
    assert b"newer" in old.stderr_raw, old.stderr_raw
    with open(os.path.join(drives[0], "tuck.json")) as file:
        assert file.read() == format_before
    with place.helper(env={"TUCK_DRIVES": ",".join(drives)}) as ours:
        for number in range(8):
            expect_hit(ours.get(action_id(number)), body(number))
        assert ours.finish() == 0


run(__name__)

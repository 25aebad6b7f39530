# SPDX-License-Identifier: MIT
"""
Power cuts on a real file system: ext4 in a file, shut down by the kernel at a random moment so that everything which was
not on the disk is lost, then mounted anew. Each level of durability keeps what it promises, nothing wrong is ever
served, and after one scrub the sums say what is there.
"""
import contextlib, fcntl, json, os, struct, subprocess, threading, time

from faults import (LONG, PROMPT, Place, another_boot, body, counted, dice, later, named_objects_are_whole, remark,
                    truthful, walk_objects)
from helper import action_id, expect_hit, expect_put, tuck_bin
from tap import case, need_program, need_root, run, skip

FS_IOC_SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2
MIB = 1 << 20


class Disk:
    """A file system that can be cut off."""

    def __init__(self, directory):
        need_root()
        need_program("mkfs.ext4")
        need_program("losetup")
        self.image, self.mount = os.path.join(directory, "image"), os.path.join(directory, "disk")
        os.makedirs(self.mount)
        with open(self.image, "wb") as file:
            file.truncate(160 * MIB)
        subprocess.run(["mkfs.ext4", "-q", self.image], check=True, capture_output=True)
        self.plug_in()
        self.place = Place(os.path.join(directory, "place"), root=os.path.join(self.mount, "root"))

    def plug_in(self):
        """Through a device of its own: somebody elsewhere may still have the dead file system of the last one mounted."""
        made = subprocess.run(["losetup", "-f", "--show", self.image], capture_output=True, text=True)
        self.loop = made.stdout.strip()
        done = subprocess.run(["mount", self.loop, self.mount], capture_output=True, text=True) if self.loop else made
        if done.returncode:
            skip(f"cannot mount here: {done.stderr.strip()}")

    def unplug(self, lazily=False):
        subprocess.run(["umount"] + ["-l"] * lazily + [self.mount], check=True, capture_output=True)
        subprocess.run(["losetup", "-d", self.loop], check=True, capture_output=True)

    def cut(self):
        """What is not on the disk by now never will be."""
        fd = os.open(self.mount, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, FS_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        except OSError as error:
            skip(f"this kernel shuts no file system down: {error}")
        finally:
            os.close(fd)


@contextlib.contextmanager
def disk(directory):
    found = Disk(directory)
    try:
        yield found
    finally:
        if os.path.ismount(found.mount):
            found.unplug(lazily=True)


class Directory:
    def __init__(self, path):
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)

    def sync(self):
        os.fsync(self.fd)

    def close(self):
        os.close(self.fd)


class Writer(threading.Thread):
    """Puts as fast as it can, in a helper that does not know what is coming, and remembers what was answered when."""

    def __init__(self, place, name, level, contents):
        super().__init__(daemon=True)
        self.place, self.name_, self.level, self.contents = place, name, level, contents
        self.answered, self.sent, self.puts = {}, {}, 0
        self.started = threading.Event()
        self.error = None

    def run(self):
        try:
            with self.place.helper(env={"TUCK_DURABILITY": self.level}) as helper:
                self.helper = helper
                while True:
                    content = self.contents(self.puts)
                    action = action_id(f"{self.name_} {self.puts % 60}")    # some are replaced
                    self.sent.setdefault(action, []).append(content)
                    answer = helper.put(action, content, timeout=PROMPT)
                    path = answer.get("DiskPath")
                    if answer.get("Err") or not path or "tuck-private-" in path:
                        return                           # the disk has gone
                    self.answered[action] = (content, time.monotonic())
                    self.puts += 1
                    if self.puts > 5:
                        self.started.set()
        except (AssertionError, BrokenPipeError, ConnectionResetError) as error:
            self.error = error
        finally:
            self.started.set()


def contents_of(chance, name):
    pool = [body(f"{name} pool {n}", 3000) for n in range(5)]

    def content(number):
        if chance.random() < 0.2:
            return chance.choice(pool + [b""])
        return body(f"{name} {number} {chance.random()}", chance.choice((10, 700, 5000, 60_000)))
    return content


def restart(disk_, directory):
    """After the cut: the machine starts anew. Returns a prefix for commands, under which its boot is another one."""
    disk_.unplug()
    disk_.plug_in()
    return another_boot(directory)


def wait_and_cut(disk_, writer, wait, then=()):
    """Cuts `wait` seconds after the writer began. Returns what was answered before that."""
    writer.start()
    writer.started.wait(PROMPT)
    end = time.monotonic() + wait
    while time.monotonic() < end:
        time.sleep(min(0.01, max(0.0, end - time.monotonic())))   # the moment is what is random
    for name in then:                                    # the kernel writes out what it likes, in any order
        with open(disk_.place.path(*name), "rb") as file:
            os.fsync(file.fileno())
    answered = dict(writer.answered)                     # nothing is promised for what is answered after the cut
    disk_.cut()
    writer.join(PROMPT * 2)
    assert not writer.is_alive(), "a helper hangs on a disk that is gone"
    if writer.error:
        raise writer.error
    return answered


def is_object(place, content):
    try:
        with open(place.object(content), "rb") as file:
            return file.read() == content
    except OSError:
        return False


def look(disk_, prefix, sent, level):
    """
    Nothing wrong is served, also by a helper that looks before anything was repaired; one scrub sets the sums right,
    and the cache works. From batch up everything that the index lists has its object.
    """
    place, is_listed_whole = disk_.place, level != "lazy"
    listed = place.stats(prefix=prefix)["entries"]
    hits = 0
    with place.helper(prefix=prefix) as helper:
        for action, bodies in sent.items():
            hits += truthful(helper.get(action, timeout=PROMPT), bodies) is not None
        assert helper.finish() == 0
    found = json.loads(place.tuck("verify", "--json", "--repair", prefix=prefix, check=False).stdout)
    stats = place.stats(prefix=prefix)
    counted(place, stats)
    if is_listed_whole:
        assert stats["entries"] == listed and found["dangling"] == 0, (listed, stats["entries"], found)
    named_objects_are_whole(place.root)
    again = json.loads(place.tuck("verify", "--json", prefix=prefix).stdout)
    assert again["damaged"] == again["unreadable"] == again["dangling"] == 0, again
    with place.helper(prefix=prefix, env={"TUCK_DURABILITY": level}) as helper:   # they have to survive the next cut
        for action, bodies in list(sent.items())[:10]:
            expect_put(helper.put(action, bodies[-1], timeout=PROMPT), bodies[-1])
            expect_hit(helper.get(action, timeout=PROMPT), bodies[-1])
        assert helper.finish() == 0
    counted(place)
    return hits, found


def many_cuts(directory, level, waits, then=(), check=lambda disk_, answered: None):
    """Power cuts one after the other on one disk; `check` looks at what is there before anything else does."""
    chance, total = dice(), [0, 0, 0, 0]
    cuts = 60 if LONG else len(waits)
    with disk(directory) as disk_:
        disk_.place.fill({action_id("before"): body("before")})
        os.sync()
        for n in range(cuts):
            name = f"{level} {n}"
            writer = Writer(disk_.place, name, level, contents_of(chance, name))
            answered = wait_and_cut(disk_, writer, waits[n % len(waits)] * chance.uniform(0.8, 1.2),
                                    [name for name in then if chance.random() < 0.7])
            prefix = restart(disk_, directory)
            check(disk_, answered)
            hits, found = look(disk_, prefix, writer.sent | {action_id("before"): [body("before")]}, level)
            for i, value in enumerate((len(answered), hits, found["damaged"], found["dangling"])):
                total[i] += value
    remark(f"{cuts} power cuts at {level}: {total[0]} answered, {total[1]} found again; {total[2]} objects were damaged "
           f"and {total[3]} entries without one, and none of those was served")
    return total


INDEX = ("index", "entries")


@case("P-20", "G-13")
def after_a_power_cut_at_lazy_no_wrong_output_is_served(directory):
    """Here with an index that reached the disk before the objects that it lists."""
    total = many_cuts(directory, "lazy", (0.3, 0.8, 0.5), then=(INDEX,))
    assert not LONG or total[2] + total[3] > 0, "no cut left any damage: this test can tell nothing"


@case("P-20", "G-13")
def after_a_power_cut_at_batch_all_that_the_index_lists_is_whole(directory):
    many_cuts(directory, "batch", (5.3, 0.4))


@case("P-20", "G-13")
def after_a_power_cut_at_strict_every_answered_put_has_its_object(directory):
    def check(disk_, answered):
        lost = [content for content, _ in answered.values() if not is_object(disk_.place, content)]
        assert not lost, f"{len(lost)} of {len(answered)} answered puts have lost their object"
    many_cuts(directory, "strict", (0.1, 0.6, 0.3), check=check)


@case("P-20", "G-13")
def at_batch_and_strict_a_helper_that_has_ended_loses_nothing_to_a_power_cut(directory):
    """The end flushes: what the next go command was promised to find it finds, also after the machine went down."""
    chance = dice()
    for level in ("batch", "strict"):
        with disk(os.path.join(directory, level)) as disk_:
            kept = {}
            for n in range(20 if LONG else 2):
                mine = {action_id(f"{level} {n} {i}"): body(f"{level} {n} {i}", chance.choice((0, 100, 9000)))
                        for i in range(40)}
                with disk_.place.helper(env={"TUCK_DURABILITY": level}) as helper:
                    for action, content in mine.items():
                        expect_put(helper.put(action, content, timeout=PROMPT), content)
                    helper.close(timeout=PROMPT)
                    disk_.cut()                          # right after the answer to close
                    helper.eof()
                    helper.wait(PROMPT)
                kept.update(mine)
                prefix = restart(disk_, directory)
                with disk_.place.helper(prefix=prefix) as helper:
                    for action, content in kept.items():
                        expect_hit(helper.get(action, timeout=PROMPT), content)
                    assert helper.finish() == 0
                found = json.loads(disk_.place.tuck("verify", "--json", prefix=prefix, check=False).stdout)
                assert found["damaged"] == found["dangling"] == 0, found
                counted(disk_.place)


@case("P-20", "P-21")
def a_power_cut_in_a_collection_leaves_no_wrong_output_and_one_scrub_sets_it_right(directory):
    chance = dice()
    for level in ("lazy", "batch", "strict"):
        with disk(os.path.join(directory, level)) as disk_:
            place = disk_.place
            for n in range(12 if LONG else 1):
                old = {action_id(f"{level} {n} {i}"): body(f"{level} {n} {i}", 2000) for i in range(300)}
                with place.helper(env={"TUCK_DURABILITY": level}) as helper:
                    for action, content in old.items():
                        expect_put(helper.put(action, content, timeout=PROMPT), content)
                    assert helper.finish() == 0
                os.sync()
                env = {name: value for name, value in os.environ.items() if not name.startswith("TUCK_")}
                env |= place.settings() | {"GOCACHE": place.gocache, "TUCK_DURABILITY": level} | later(5 * 86400)
                gc = subprocess.Popen([tuck_bin(), "gc", "--max-size=1"], env=env, stdout=subprocess.DEVNULL,
                                      stderr=subprocess.DEVNULL)
                names = sum(1 for _ in walk_objects(place.root))
                while gc.poll() is None and sum(1 for _ in walk_objects(place.root)) == names:
                    pass                                 # until it removes something
                end = time.monotonic() + chance.uniform(0, 0.1)
                while time.monotonic() < end:
                    pass
                if chance.random() < 0.5:                # the kernel writes the objects' directories, not the index
                    with contextlib.closing(Directory(place.path("objects"))) as objects:
                        objects.sync()
                disk_.cut()
                gc.wait(PROMPT)
                prefix = restart(disk_, directory)
                sent = {action: [content] for action, content in old.items()}
                # Rule B: from batch up an entry goes durably before its object.
                hits, found = look(disk_, prefix, sent, level)
                remark(f"{level}: {hits} of {len(old)} left, {found['dangling']} entries without object")
                place.tuck("clear")
                counted(place)


run(__name__)

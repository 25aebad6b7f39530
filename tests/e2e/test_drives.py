# SPDX-License-Identifier: MIT
"""
Real go commands with four drives: one of them fails in the middle of a build, in each of the ways in which a disk can;
the build goes on, so does the next one, and when the drive is back what is on it is used again.
"""
import contextlib, json, os, shutil, subprocess, time
from world import LIMIT, WIDE, compiled, each_go, quoted, tuck
from disks import Disk
from helper import default_command
import tap

COUNT = 4
# WIDE has four chains of imports: 0 4 8 12, 1 5 9 13 and so on.
FIRST, REST = ["./p12"], ["./p13", "./p14", "./p15"]


class Drives:
    """The drives of a world, outside of its GOCACHE."""

    def __init__(self, world, roots):
        if os.environ.get("TUCK_HELPER"):
            tap.skip("needs TUCK_DRIVES")
        self.world, self.roots = world, roots
        world.extra["TUCK_DRIVES"] = ";".join(roots)

    def objects(self, number):
        """How many objects the drive has; 0 where they cannot be seen."""
        with contextlib.suppress(OSError):
            top = os.path.join(self.roots[number], "objects")
            return sum(len(os.listdir(os.path.join(top, name))) for name in os.listdir(top))
        return 0

    def wait_for_objects(self, number, count, process):
        end = time.monotonic() + LIMIT
        while self.objects(number) < count:
            assert process.poll() is None, f"the build was over before: {process.communicate()}"
            assert time.monotonic() < end, "waited in vain for objects on the drive"
            time.sleep(0.001)

    def hits(self):
        """How many hits each drive has had."""
        stats = json.loads(tuck("stats", "--json", world=self.world).stdout)
        return [drive["counters"]["hits"] for drive in stats["drives"]]


@contextlib.contextmanager
def on_disks(world):
    with contextlib.ExitStack() as stack:
        disks = [stack.enter_context(Disk(world.root, f"disk{n}", 48 << 20)) for n in range(COUNT)]
        yield disks, Drives(world, [os.path.join(disk.path, "tuck") for disk in disks])


@contextlib.contextmanager
def holding(world, package):
    """A -toolexec that holds the compiler of this package back, and what lets it go."""
    os.mkfifo(world.path("hold"))
    with open(world.path("toolexec"), "w") as file:
        file.write(f"#!/bin/sh\ncase \"$*\" in\n*' -p {package} '*) cat '{world.path('hold')}' ;;\nesac\nexec \"$@\"\n")
    os.chmod(world.path("toolexec"), 0o755)

    def let_go():
        with open(world.path("hold"), "w"):
            pass
    yield f"-toolexec={world.path('toolexec')}", let_go


def said(process):
    return [line for line in process.err.splitlines() if line.startswith("tuck: ")]


def remove(root):
    """Also while a helper writes there."""
    os.rename(root, root + ".removed")
    while os.path.exists(root + ".removed"):
        shutil.rmtree(root + ".removed", ignore_errors=True)


def archives(world, *packages, top=None):
    """The export files of these packages: given out below $GOCACHE, and there after the helper has gone."""
    paths = world.go("list", "-export", "-f={{.Export}}", *packages, quiet=False).out.split()
    assert len(paths) == len(packages), paths
    for path in paths:
        assert path.startswith((top or world.gocache) + os.sep), path
        with open(path, "rb") as file:
            assert file.read(8) == b"!<arch>\n", path
    return paths


def build_while_a_drive_fails(world, drives, fail, gone_words, serves=False):
    """
    A build in whose middle a drive fails: after it has taken objects of this very build, and before all of them are
    made. Returns its number.
    """
    built = world.go("build", "-x", *FIRST)
    assert len(compiled(built)) == 4
    gone = max(range(COUNT), key=drives.objects)
    before = drives.objects(gone)
    assert before > 0
    with holding(world, "example.org/wide/p15") as (toolexec, let_go):
        process = world.start([world.go_program, "build", "-x", toolexec, *REST])
        drives.wait_for_objects(gone, before + 1, process)
        fail(gone)
        let_go()
        world.finish(process, quiet=False)
    assert "example.org/wide/p15" in compiled(process), "the build was over before the drive failed"
    # An output that was on its way to a drive that cannot be read any more is lost; the go command goes on without it.
    lines = [line for line in said(process) if "kept nowhere" not in line]
    assert len(lines) == 1 and drives.roots[gone] in lines[0] and gone_words in lines[0], lines
    assert "GOCACHEPROG" not in process.err and "anitizer" not in process.err, process.err
    archives(world, *REST)
    # What is lost with the drive is made again once, on the others, and then nothing is.
    again = world.go("build", "-x", toolexec, *REST, quiet=False)
    assert len(said(again)) <= 1, said(again)
    assert not serves or compiled(again) == [], compiled(again)
    warm = world.go("build", "-x", toolexec, *REST, quiet=False)
    assert compiled(warm) == [], (compiled(warm), said(again), said(warm))
    return gone


def is_used_again(world, drives, returned):
    """What was built before the drive failed is not built again."""
    tuck("stats", world=world)                       # looks at it without waiting for the back-off
    before = drives.hits()[returned]
    process = world.warm("build", "-x", *FIRST)
    assert compiled(process) == [] and not said(process), (compiled(process), said(process))
    assert drives.hits()[returned] > before, "nothing was hit on the drive that came back"


@each_go(module=WIDE, seed=False)
def a_build_with_four_drives_of_which_one_is_pulled_out_succeeds(world):
    with on_disks(world) as (disks, drives):
        gone = build_while_a_drive_fails(world, drives, lambda n: disks[n].pull(), "Input/output error")
        disks[gone].put_back()
        is_used_again(world, drives, gone)


@each_go(module=WIDE, seed=False, local_only=True)
def a_build_in_which_a_drive_is_unmounted_succeeds(world):
    with on_disks(world) as (disks, drives):
        gone = build_while_a_drive_fails(world, drives, lambda n: disks[n].unmount(), "No such file")
        assert os.listdir(disks[gone].path) == [], "something was written to where it was mounted"
        disks[gone].mount()
        is_used_again(world, drives, gone)


@each_go(module=WIDE, seed=False, local_only=True)
def a_build_in_which_a_drive_turns_read_only_succeeds(world):
    with on_disks(world) as (disks, drives):
        gone = build_while_a_drive_fails(world, drives, lambda n: disks[n].fail_to_read_only(), "Read-only")
        disks[gone].put_back()
        is_used_again(world, drives, gone)


@each_go(module=WIDE, seed=False, local_only=True)
def a_build_in_which_a_drive_fills_up_succeeds(world):
    with on_disks(world) as (disks, drives):
        # Whether its index finds room, which is told, depends on what it had before.
        fillers = []
        world.go("build", *FIRST)
        gone = max(range(COUNT), key=drives.objects)
        with holding(world, "example.org/wide/p15") as (toolexec, let_go):
            process = world.start([world.go_program, "build", "-x", toolexec, *REST])
            drives.wait_for_objects(gone, drives.objects(gone) + 1, process)
            fillers.append(disks[gone].fill())
            let_go()
            world.finish(process, quiet=False)
        assert len(said(process)) <= 1, said(process)
        archives(world, *REST)
        assert world.go("build", "-x", toolexec, *REST, quiet=False).returncode == 0
        for filler in fillers:
            os.unlink(filler)
        world.go("build", toolexec, *REST)
        assert compiled(world.go("build", "-x", toolexec, *REST)) == []
        is_used_again(world, drives, gone)


@each_go(module=WIDE, seed=False)
def a_build_in_which_a_drive_is_removed_succeeds_and_it_is_begun_anew(world):
    drives = Drives(world, [world.path(f"d{n}") for n in range(COUNT)])
    gone = build_while_a_drive_fails(world, drives, lambda n: remove(drives.roots[n]), "No such file")
    tuck("stats", world=world)
    before = drives.objects(gone)
    world.go("build", *FIRST)                        # what was on it only is made again
    assert drives.objects(gone) > before, "the drive that was begun anew takes nothing"
    assert compiled(world.warm("build", "-x", *FIRST)) == []


@each_go(module=WIDE, seed=False, local_only=True)
def a_build_with_a_slow_drive_succeeds(world):
    tap.need_program("strace")
    if subprocess.run(["strace", "-f", "-o", os.devnull, "true"], capture_output=True).returncode:
        tap.skip("strace may not trace here")
    drives = Drives(world, [world.path(f"d{n}") for n in range(COUNT)])
    world.go("build", *FIRST)
    brief = os.path.join(drives.roots[1], "index", "brief")
    os.unlink(brief)
    os.mkdir(brief)                                  # else hardly anything is read there
    slow = ["strace", "-f", "-o", os.devnull, "-P", os.path.join(drives.roots[1], "index", "entries"),
            "-e", "trace=pread64", "-e", "inject=pread64:delay_enter=1200000", *default_command()]
    world.extra["GOCACHEPROG"] = quoted(slow)
    world.extra["ASAN_OPTIONS"] = "detect_leaks=0"
    process = world.go("build", "-x", *REST, quiet=False)
    lines = said(process)
    assert len(lines) == 1 and "slow" in lines[0] and drives.roots[1] in lines[0], lines
    archives(world, *REST)
    process = world.go("build", "-x", *REST, quiet=False)
    assert compiled(process) == [] and not said(process), (compiled(process), said(process))


@each_go(module=WIDE, seed=False, local_only=True)
def a_build_with_no_drive_left_succeeds(world):
    drives = Drives(world, [world.path(f"d{n}") for n in range(COUNT)])
    world.go("build", "./p0")
    for root in drives.roots:
        remove(root)
        open(root, "wb").close()
    process = world.go("build", "-x", *FIRST, quiet=False)
    lines = said(process)
    assert len(lines) == 1 and "private directory" in lines[0], lines
    archives(world, *FIRST, top=world.path("tmp"))


@each_go(module=WIDE, seed=False)
def what_is_built_on_four_drives_is_found_and_listed(world):
    drives = Drives(world, [world.path(f"d{n}") for n in range(COUNT)])
    world.go("build", "./...")
    assert all(drives.objects(n) for n in range(COUNT)), "a drive without objects"
    assert compiled(world.warm("build", "-x", "./...")) == []
    paths = archives(world, *[f"./p{n}" for n in range(16)])
    homes = {os.path.relpath(os.path.realpath(path), world.root).split(os.sep)[0] for path in paths}
    assert len(homes) > 1 and all(home.startswith("d") for home in homes), homes
    # Nothing of it lies in GOCACHE but the links.
    names = [name for name in os.listdir(world.gocache) if name.startswith("tuck")]
    assert len(names) == COUNT and all(os.path.islink(os.path.join(world.gocache, name)) for name in names), names


@each_go(module=WIDE, seed=False)
def what_go_build_installs_is_not_taken_out_of_a_drive(world):
    """The go command renames an archive to where it is to be installed, unless its path begins with $GOCACHE."""
    drives = Drives(world, [world.path(f"d{n}") for n in range(COUNT)])
    for number in range(8):                          # on several drives
        world.go("build", "-o", world.path("bin", f"p{number}.a"), f"./p{number}")
        with open(world.path("bin", f"p{number}.a"), "rb") as file:
            assert file.read(8) == b"!<arch>\n"
    before = [drives.objects(n) for n in range(COUNT)]
    assert compiled(world.warm("build", "-x", *[f"./p{n}" for n in range(8)])) == [], "an archive was taken away"
    assert [drives.objects(n) for n in range(COUNT)] == before


@each_go(module=WIDE, seed=False, local_only=True)
def drives_are_added_and_removed_between_builds(world):
    roots = [world.path(f"d{n}") for n in range(3)]
    Drives(world, roots[:2])
    world.go("build", "./...")
    tuck("drive", "add", roots[2], world=world)
    drives = Drives(world, roots)
    assert compiled(world.warm("build", "-x", "./...")) == [], "a larger set has forgotten something"
    tuck("drive", "--placement=rendezvous", world=world)
    assert compiled(world.warm("build", "-x", "./...")) == []
    tuck("drive", "remove", roots[0], world=world)
    drives = Drives(world, roots[1:])
    assert 0 < len(compiled(world.go("build", "-x", "./..."))) < 16, "what is on the others is used"
    assert compiled(world.warm("build", "-x", "./...")) == []
    assert all(drives.objects(n) for n in range(2))


tap.run(__name__)

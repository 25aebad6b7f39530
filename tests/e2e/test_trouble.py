# SPDX-License-Identifier: MIT
"""Real go commands when something goes wrong below or beside them: a full disk, a killed helper, a cache cleared."""
import contextlib, os, shutil, subprocess, threading
from world import WIDE, WIDE_MAIN, WIDE_SAYS, compiled, each_go, last_line, tuck
import tap

WHOLE = {**WIDE, **WIDE_MAIN}


@contextlib.contextmanager
def small_disk(world, spare_bytes):
    """Moves the cache to a tmpfs of its own that has so much room besides; skips where it cannot be mounted."""
    tap.need_root()
    place = world.path("disk")
    os.mkdir(place)
    # A tmpfs counts whole pages, and the 256 directories of a GOCACHE and of the objects take none.
    there = sum((os.stat(os.path.join(where, name)).st_size + 4095) // 4096 * 4096
                for where, _, names in os.walk(world.gocache) for name in names)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={there + spare_bytes},mode=700", "tuck-test", place],
                             capture_output=True, text=True)
    if mounted.returncode:
        tap.skip(f"cannot mount: {last_line(mounted.stderr)}")
    try:
        shutil.move(world.gocache, place)
        world.gocache = os.path.join(place, os.path.basename(world.gocache))
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def fill(path):
    """Takes the last byte of the file system; returns what to remove to get it back."""
    with open(path, "wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while file.write(b"\0" * 4096):
                pass
    return path


def told_of_the_fallback(process):
    """One line, and nothing that speaks of an end: the user is to know, and not to be drowned."""
    lines = [line for line in process.err.splitlines() if line.startswith("tuck: ")]
    moved = [line for line in lines if "private directory" in line]
    # Where the index found no room either, that may be said once more.
    assert len(moved) == 1 and len(lines) <= 2, f"one line on stderr expected: {process.err!r}"
    assert "GOCACHEPROG" not in process.err and "anitizer" not in process.err, process.err


def check(world, name):
    assert world.output_of(world.path("bin", name)) == WIDE_SAYS
    os.unlink(world.path("bin", name))


@each_go(module=WHOLE)
def a_build_whose_disk_fills_up_succeeds(world):
    with small_disk(world, 1_500_000):
        told_of_the_fallback(world.go("build", "-o", "../bin/wide", quiet=False))
        check(world, "wide")
        # What did go in before the disk was full, and what did not, must not confuse the next ones.
        for _ in range(2):
            world.go("build", "-o", "../bin/wide", quiet=False)
            check(world, "wide")


@each_go(module=WHOLE)
def on_a_full_disk_what_is_there_is_served_and_space_that_comes_back_is_used(world):
    with small_disk(world, 20_000_000) as disk:
        world.go("build", "./p0")
        filler = fill(os.path.join(disk, "filler"))
        world.warm("build", "./p0")  # all there, nothing to write
        told_of_the_fallback(world.go("build", "-o", "../bin/wide", quiet=False))
        check(world, "wide")
        listed = world.go("list", "-export", "-f={{.Export}}", "./p1", quiet=False).out.strip()
        with open(listed, "rb") as file:
            assert file.read(8) == b"!<arch>\n", "a path from the fallback does not outlive the helper"
        os.unlink(filler)
        world.go("build", "-o", "../bin/wide")
        check(world, "wide")
        assert compiled(world.warm("build", "-x", "-o", "../bin/wide", links=1)) == []


@each_go(module=WHOLE, local_only=True)
def a_read_only_cache_does_not_end_a_build(world):
    if os.environ.get("TUCK_HELPER"):
        tap.skip("needs TUCK_DIR")
    with small_disk(world, 20_000_000) as disk:
        world.extra["TUCK_DIR"] = os.path.join(world.gocache, "tuck")
        world.gocache = world.path("another")
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        # Whether it still serves from there is its own affair; packages without imports keep this short if it does not.
        told_of_the_fallback(world.go("build", "./p0", "./p4", quiet=False))


@each_go(module=WIDE)
def a_build_beside_clear_after_clear_succeeds(world):
    if os.environ.get("TUCK_HELPER"):
        tap.skip("needs tuck's own commands")
    over, cleared, failures = threading.Event(), [0], []

    def clear():
        while not over.is_set():
            done = tuck("clear", world=world, check=False)
            cleared[0] += 1
            if done.returncode or done.stderr:
                failures.append(done)

    beside = threading.Thread(target=clear)
    beside.start()
    try:
        for _ in range(4):
            world.go("build", "./...")
    finally:
        over.set()
        beside.join()
    assert not failures, failures[:3]
    assert cleared[0] >= 3, "the builds were over before anything was cleared"
    world.go("build", "./...")
    assert compiled(world.warm("build", "-x", "./...")) == []


@each_go(module=WIDE)
def after_clear_everything_is_built_again(world):
    world.go("build", "./...")
    tuck("clear", world=world)
    assert world.objects() == {}, len(world.objects())
    assert len(compiled(world.go("build", "-x", "./..."))) == 16
    assert compiled(world.warm("build", "-x", "./...")) == []


@each_go(module=WIDE)
def what_a_build_was_given_outlives_a_clear_in_its_middle(world):
    """The compiler of p15 is held back until the cache is cleared; then it opens p11, which was given out before."""
    if os.environ.get("TUCK_HELPER"):
        tap.skip("needs tuck's own commands")
    world.go("build", "./p11", "./p14")
    os.mkfifo(world.path("reached"))
    os.mkfifo(world.path("hold"))
    with open(world.path("toolexec"), "w") as file:
        file.write("#!/bin/sh\ncase \"$*\" in\n*' -p example.org/wide/p15 '*)\n"
                   f"    echo >'{world.path('reached')}'\n    cat '{world.path('hold')}'\n    ;;\nesac\nexec \"$@\"\n")
    os.chmod(world.path("toolexec"), 0o755)
    with_tool = ["build", f"-toolexec={world.path('toolexec')}"]
    world.go(*with_tool, "./p11")
    process = world.start([world.go_program, *with_tool, "-x", "./..."])
    with open(world.path("reached")) as file:
        file.read()
    tuck("clear", world=world)
    with open(world.path("hold"), "w"):
        pass  # cat gets its end of file and the compiler runs
    world.finish(process)
    assert "example.org/wide/p11" not in compiled(process) and "example.org/wide/p15" in compiled(process)
    world.go("build", "./...")


@each_go(module=WHOLE)
def after_a_helper_was_killed_in_mid_build_the_next_build_is_right(world):
    for puts in (3, 10, 10):
        killed, _ = world.traced("build", "-o", "../bin/wide", options=[f"--kill-after-puts={puts}"], status=1,
                                 quiet=False)
        assert "pre-Close" in killed.err, killed.err
        assert not os.path.exists(world.path("bin", "wide"))
    world.go("build", "-o", "../bin/wide")
    check(world, "wide")
    assert compiled(world.warm("build", "-x", "-o", "../bin/wide", links=1)) == []
    check(world, "wide")


@each_go(module=WHOLE)
def a_killed_go_command_leaves_the_cache_usable(world):
    """SIGKILL to go, not to the helper, which finds its pipes closed in the middle of everything."""
    process = world.start([world.go_program, "build", "-x", "."])
    for line in process.stderr:  # -x prints each command before it runs: here after a few packages were compiled
        if "/compile " in line and "/wide/p9" in line:
            break
    process.kill()
    world.finish(process, status=None, quiet=False)  # where the input ended in mid-request, that is said
    assert "anitizer" not in process.err, process.err
    world.go("build", "-o", "../bin/wide")
    check(world, "wide")
    assert compiled(world.warm("build", "-x", "-o", "../bin/wide", links=1)) == []


@each_go(module=WIDE)
def objects_damaged_behind_its_back_are_not_used(world):
    if os.environ.get("TUCK_HELPER"):
        tap.skip("knows tuck's files only")
    world.go("build", "./p0")
    export = world.warm("list", "-export", "-f={{.Export}}", "./p0").out.strip()
    with open(export, "rb") as file:
        whole = file.read()
    # Same size, one byte wrong: only a checksum can tell. A new file, for other worlds may share the old one's bytes.
    os.unlink(export)
    with open(export, "wb") as file:
        file.write(whole[:len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 0xFF]) + whole[len(whole) // 2 + 1:])
    again = world.go("build", "-x", "./p0", quiet=False)
    assert compiled(again) == ["example.org/wide/p0"], "a damaged archive was taken for good"
    assert again.err.count("tuck: ") <= 1, again.err
    with open(world.warm("list", "-export", "-f={{.Export}}", "./p0").out.strip(), "rb") as file:
        assert file.read() == whole


@each_go(module=WIDE)
def a_cache_removed_with_rm_is_built_again(world):
    if os.environ.get("TUCK_HELPER"):
        tap.skip("knows tuck's files only")
    world.go("build", "./p0")
    shutil.rmtree(os.path.join(world.gocache, "tuck"))
    assert compiled(world.go("build", "-x", "./p0")) == ["example.org/wide/p0"]
    world.warm("build", "./p0")


@each_go(module=WIDE)
def a_foreign_file_in_place_of_the_cache_does_not_end_a_build(world):
    if os.environ.get("TUCK_HELPER"):
        tap.skip("needs TUCK_DIR")
    world.write({"file": "not a directory"}, below="drive")
    world.extra["TUCK_DIR"] = world.path("drive", "file")
    told_of_the_fallback(world.go("build", "./p0", "./p4", quiet=False))
    with open(world.path("drive", "file")) as file:
        assert file.read() == "not a directory"


tap.run(__name__)

# SPDX-License-Identifier: MIT
"""
Storage that fails: full, without inodes, read-only, of the wrong kind, out of descriptors, gone. A put must still be
answered with a file (from a private directory below TMPDIR), a get with a hit or a miss, close without Err; Err to a
put is for the case that nothing at all can be written, and even then the stream goes on.
"""
import errno, os, resource, shutil, stat, subprocess

from faults import (Place, PROMPT, aftermath, always_fails, body, complaints, model, no_unnamed_files,
                    plain_user, put_or_err, tmpfs, traceable, truthful, use_up_inodes, use_up_space)
from helper import action_id, expect_hit, expect_miss, expect_put
from tap import case, need_program, need_root, run, skip


def served_from_somewhere(helper, name, count=4, size=3000):
    """Puts work and hit in the same session, also an empty one; returns the actions with their bodies."""
    bodies = {action_id(f"{name} {n}"): body(f"{name} {n}", size + n) for n in range(count)}
    bodies[action_id(f"{name} empty")] = b""
    for action, content in bodies.items():
        expect_put(helper.put(action, content, timeout=PROMPT), content)
        expect_hit(helper.get(action, timeout=PROMPT), content)
    expect_miss(helper.get(action_id(f"{name} never put")))
    return bodies


def ended_in_order_with_one_complaint(helper):
    assert helper.finish() == 0
    # On a busy machine the flusher comes in between and tells of the index, too.
    lines = [line for line in complaints(helper) if "could not write some entries to the index" not in line]
    assert len(lines) == 1, f"one line says that storage fails, not {len(lines)}: {lines}"


def may_be_known(helper, bodies):
    """What was stored in a private place may be missed by the next helper, and may not be wrong."""
    for action, content in bodies.items():
        truthful(helper.get(action, timeout=PROMPT), [content])


# -- no space --------------------------------------------------------------------------------------------------------
@case("P-17")
def a_full_disk_costs_one_line_and_no_put(directory):
    with tmpfs(os.path.join(directory, "disk"), "size=1m,mode=0700") as disk:
        place = Place(directory, os.path.join(disk, "root"))
        filler = use_up_space(disk)
        with place.helper() as helper:
            bodies = served_from_somewhere(helper, "full")
            ended_in_order_with_one_complaint(helper)
        for path in place.private():
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o700, "the private directory is open to others"
        os.unlink(filler)
        with place.helper() as helper:
            may_be_known(helper, bodies)
            assert helper.finish() == 0
        aftermath(place, {a: [b] for a, b in bodies.items()})


@case("P-17", "P-18")
def a_disk_that_fills_up_in_mid_body_costs_no_put_and_no_space(directory):
    with tmpfs(os.path.join(directory, "disk"), "size=3m,mode=0700") as disk:
        place = Place(directory, os.path.join(disk, "root"))
        with place.helper() as helper:
            before = body("before")
            expect_put(helper.put(action_id("before"), before), before)
            large = body("large", 8 << 20)
            expect_put(helper.put(action_id("large"), large), large)
            expect_hit(helper.get(action_id("large")), large)
            expect_hit(helper.get(action_id("before")), before)
            after = body("after")
            expect_put(helper.put(action_id("after"), after), after)
            ended_in_order_with_one_complaint(helper)
        left = os.statvfs(disk)
        assert left.f_bavail * left.f_frsize > 1 << 20, "the part of the body that was written still takes its space"
        with place.helper() as helper:
            expect_hit(helper.get(action_id("before")), before)
            truthful(helper.get(action_id("large")), [large])
            assert helper.finish() == 0


@case("P-17", "C-02")
def a_disk_that_fills_up_before_the_flush_costs_no_close(directory):
    with tmpfs(os.path.join(directory, "disk"), "size=1m,mode=0700") as disk:
        place = Place(directory, os.path.join(disk, "root"))
        bodies = model(20)
        with place.helper() as helper:
            for action, content in bodies.items():
                expect_put(helper.put(action, content), content)
            filler = use_up_space(disk)
            for action, content in bodies.items():
                expect_hit(helper.get(action), content)
            bodies.update(served_from_somewhere(helper, "later"))
            assert helper.finish() == 0
            assert len(complaints(helper)) <= 2
        os.unlink(filler)
        aftermath(place, {a: [b] for a, b in bodies.items()})


@case("P-17")
def a_file_system_without_inodes_costs_one_line_and_no_put(directory):
    with tmpfs(os.path.join(directory, "disk"), "size=8m,nr_inodes=600,mode=0700") as disk:
        place = Place(directory, os.path.join(disk, "root"))
        taken = use_up_inodes(disk)
        with place.helper() as helper:
            served_from_somewhere(helper, "none at the start")
            ended_in_order_with_one_complaint(helper)
        shutil.rmtree(taken)
        with place.helper() as helper:
            known = served_from_somewhere(helper, "enough")
            taken = use_up_inodes(disk)
            served_from_somewhere(helper, "none later")
            for action, content in known.items():
                expect_hit(helper.get(action), content)
            assert helper.finish() == 0
        shutil.rmtree(taken)
        aftermath(place, {a: [b] for a, b in known.items()}, must=known)


@case("P-17", "P-18")
def with_tmpdir_full_too_a_put_is_answered_and_the_stream_goes_on(directory):
    with tmpfs(os.path.join(directory, "disk"), "size=1m,mode=0700") as disk:
        place = Place(directory, os.path.join(disk, "root"))
        tmp = os.path.join(disk, "tmp")
        os.mkdir(tmp)
        filler = use_up_space(disk)
        with place.helper(env={"TMPDIR": tmp}) as helper:
            for n in range(3):
                content = body(n, 200_000)
                stored = put_or_err(helper, action_id(n), content)
                answer = helper.get(action_id(n), timeout=PROMPT)
                found = truthful(answer, [content])
                assert stored or found is None, "a put was refused and is there all the same"
                expect_miss(helper.get(action_id(f"never {n}")))
            os.unlink(filler)
            content = body("room again")
            put_or_err(helper, action_id("room again"), content)
            assert helper.finish() == 0
        aftermath(place, {action_id(n): [body(n, 200_000)] for n in range(1)})


# -- no permission ---------------------------------------------------------------------------------------------------
@case("P-17", "H-09")
def a_cache_on_a_read_only_file_system_is_read_and_served_beside(directory):
    with tmpfs(os.path.join(directory, "disk"), "size=4m,mode=0700") as disk:
        place = Place(directory, os.path.join(disk, "root"))
        known = model(5)
        place.fill(known)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with place.helper() as helper:
            for action, content in known.items():
                expect_hit(helper.get(action, timeout=PROMPT), content)
            served_from_somewhere(helper, "read-only")
            assert helper.finish() == 0
            assert len(complaints(helper)) == 1, helper.stderr_raw
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        aftermath(place, {a: [b] for a, b in known.items()}, must=known)


@case("P-17", "H-09")
def a_read_only_file_system_without_a_cache_still_takes_puts(directory):
    with tmpfs(os.path.join(directory, "disk"), "size=4m,mode=0700") as disk:
        place = Place(directory, os.path.join(disk, "root"))
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with place.helper() as helper:
            served_from_somewhere(helper, "read-only")
            ended_in_order_with_one_complaint(helper)


@case("P-17", "H-09")
def directories_without_write_permission_still_hit_and_take_puts(directory):
    place = Place(directory)
    known = model(5)
    place.fill(known)
    user = plain_user(place)
    folders = [folder for folder, _, _ in os.walk(place.root)]
    with place.helper(preexec=user) as helper:       # taken away from a running helper
        expect_miss(helper.get(action_id("not yet")))
        for folder in folders:
            os.chmod(folder, 0o500)
        served_from_somewhere(helper, "taken away")
        for action, content in known.items():
            expect_hit(helper.get(action, timeout=PROMPT), content)
        assert helper.finish() == 0
    for folder in folders:
        os.chmod(folder, 0o500)
    with place.helper(preexec=user) as helper:       # and from one that starts
        served_from_somewhere(helper, "from the start")
        for action, content in known.items():
            truthful(helper.get(action, timeout=PROMPT), [content])
        assert helper.finish() == 0
        assert len(complaints(helper)) <= 1, helper.stderr_raw
    for folder in folders:
        os.chmod(folder, 0o700)
    with place.helper(preexec=user) as helper:
        for action, content in known.items():
            expect_hit(helper.get(action), content)
        assert helper.finish() == 0


@case("P-17", "H-09", "X-07")
def a_cache_that_belongs_to_somebody_else_is_left_alone(directory):
    need_root()
    place = Place(directory)
    known = model(3)
    place.fill(known)
    user = plain_user(place)
    for folder, _, names in os.walk(place.root):     # root's again, open to read for all, to write for root only
        os.chown(folder, 0, 0)
        os.chmod(folder, 0o755)
        for name in names:
            os.chown(os.path.join(folder, name), 0, 0)
            os.chmod(os.path.join(folder, name), 0o644)
    with place.helper(preexec=user) as helper:
        served_from_somewhere(helper, "guest")
        for action, content in known.items():
            truthful(helper.get(action, timeout=PROMPT), [content])
        assert helper.finish() == 0
        assert len(complaints(helper)) <= 1, helper.stderr_raw
    aftermath(place, {a: [b] for a, b in known.items()}, must=known)


@case("P-17", "P-18", "P-08")
def where_nothing_can_be_written_a_put_is_err_and_the_stream_goes_on(directory):
    need_root()
    need_program("unshare")
    place = Place(directory)
    known = model(3)
    place.fill(known)
    # A mount name space of its own in which every place that could be written to is read-only.
    script = 'for d in / /tmp /var/tmp /dev/shm "$1"; do mount --bind "$d" "$d" && mount -o remount,bind,ro "$d"; ' \
             'done; cd /; shift; exec "$@"'
    probe = subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", directory, "touch", place.tmp + "/x"],
                           capture_output=True)
    if probe.returncode == 0 or b"Read-only" not in probe.stderr:
        skip("cannot make everything read-only here")
    with place.helper(prefix=["unshare", "-m", "sh", "-c", script, "sh", directory]) as helper:
        nothing_to_write_to(helper, known)
        assert helper.finish() == 0
        assert 1 <= len(complaints(helper)) <= 2, helper.stderr_raw
    aftermath(place, {a: [b] for a, b in known.items()}, must=known)


def nothing_to_write_to(helper, known):
    """Puts and gets in one burst, then one by one: each answered once, with its own id."""
    contents = {n: body(f"burst {n}", 1 + 40_000 * n) for n in range(5)}
    expected = {}
    for n, content in contents.items():
        expected[helper.send_put(action_id(f"burst {n}"), content)] = ("put", content)
        expected[helper.send_get(action_id(f"burst never {n}"))] = ("miss", None)
    for action, content in known.items():
        expected[helper.send_get(action)] = ("hit", content)
    for number, (kind, content) in expected.items():
        answer = helper.answer_to(number, timeout=PROMPT)
        if kind == "put":
            assert answer.get("Err") and not answer.get("DiskPath"), f"nothing could be written, but: {answer}"
        elif kind == "miss":
            expect_miss(answer)
        else:
            expect_hit(answer, content)
    for n in contents:
        expect_miss(helper.get(action_id(f"burst {n}")))


@case("P-17")
def an_unusable_tmpdir_beside_an_unusable_root_is_answered(directory):
    file = os.path.join(directory, "file")
    open(file, "wb").close()
    place = Place(directory, os.path.join(file, "root"))
    for tmp in ("", "relative", os.path.join(directory, "not there"), file, "/proc", "x" * 300, "/" + "y" * 5000):
        with place.helper(env={"TMPDIR": tmp}, cwd=directory) as helper:
            content = body(tmp)
            if put_or_err(helper, action_id(tmp), content):
                answer = helper.get(action_id(tmp))
                forget_private(os.path.dirname(expect_hit(answer, content)))
            expect_miss(helper.get(action_id("never")))
            assert helper.finish() == 0
            assert 1 <= len(complaints(helper)) <= 2, helper.stderr_raw


def forget_private(path):
    """Removes a private directory that had to lie outside of the scratch directory."""
    path = os.path.realpath(path)
    while os.path.basename(path) and not os.path.basename(path).startswith("tuck-private-"):
        path = os.path.dirname(path)
    if os.path.basename(path).startswith("tuck-private-"):
        shutil.rmtree(path)


# -- the wrong thing at the place of the cache -----------------------------------------------------------------------
@case("H-09")
def missing_parents_are_made(directory):
    place = Place(directory, os.path.join(directory, "some", "new", "place"))
    with place.helper() as helper:
        bodies = served_from_somewhere(helper, "parents")
        assert helper.finish() == 0
        assert not complaints(helper)
    assert os.path.isdir(place.root)
    aftermath(place, {a: [b] for a, b in bodies.items()}, must=bodies)


@case("H-09", "P-17")
def a_root_that_cannot_be_a_directory_is_replaced_by_a_private_one(directory):
    file = os.path.join(directory, "file")
    with open(file, "wb") as out:
        out.write(b"precious")
    fifo = os.path.join(directory, "fifo")
    os.mkfifo(fifo)
    loop = os.path.join(directory, "loop")
    os.symlink(loop, loop)
    for root in (file, os.path.join(file, "below"), fifo, loop, os.path.join(loop, "below"), "/dev/null", "/proc/tuck",
                 os.path.join(directory, "n" * 300), directory + "/d" * 2100):
        place = Place(directory, root)
        with place.helper() as helper:
            served_from_somewhere(helper, root[-50:])
            ended_in_order_with_one_complaint(helper)
    with open(file, "rb") as kept:
        assert kept.read() == b"precious"
    assert stat.S_ISFIFO(os.lstat(fifo).st_mode) and os.path.islink(loop)


@case("H-09")
def a_gocache_that_takes_no_link_still_serves_from_the_root(directory):
    place = Place(directory)
    bad = os.path.join(directory, "bad")
    open(bad, "wb").close()
    for gocache in (bad, os.path.join(directory, "not there"), os.path.join(bad, "below"), "off", "relative", ""):
        with place.helper(env={"GOCACHE": gocache}, cwd=directory) as helper:
            bodies = served_from_somewhere(helper, gocache)
            assert helper.finish() == 0
    with place.helper(env={"GOCACHE": None}) as helper:
        for action, content in bodies.items():
            expect_hit(helper.get(action), content)
        assert helper.finish() == 0


@case("X-13")
def neither_home_nor_working_directory_is_needed(directory):
    place = Place(directory)
    gone = os.path.join(directory, "gone")
    os.mkdir(gone)

    def nowhere():
        os.chdir(gone)
        os.rmdir(gone)
    with place.helper(preexec=nowhere, env={"HOME": None, "XDG_CONFIG_HOME": None}) as helper:
        served_from_somewhere(helper, "nowhere")
        assert helper.finish() == 0
        assert not complaints(helper)


# -- the directory goes away -----------------------------------------------------------------------------------------
@case("O-10")
def a_root_removed_while_running_costs_misses_only(directory):
    place = Place(directory)
    known = model(5)
    place.fill(known)
    with place.helper() as helper:
        for action, content in known.items():
            expect_hit(helper.get(action), content)
        first = body("first")
        expect_put(helper.put(action_id("first"), first), first)
        shutil.rmtree(place.root)
        for action in known:
            expect_miss(helper.get(action, timeout=PROMPT))
        expect_miss(helper.get(action_id("first")))
        bodies = served_from_somewhere(helper, "after the removal")
        again = dict(list(known.items())[:2])
        for action, content in again.items():        # the same outputs that lay there before
            expect_put(helper.put(action, content), content)
            expect_hit(helper.get(action), content)
        assert helper.finish() == 0
        assert len(complaints(helper)) <= 2, helper.stderr_raw  # neither outputs nor entries found their place
    bodies.update(known)
    aftermath(place, {a: [b] for a, b in bodies.items()})


@case("O-10")
def parts_of_the_root_removed_while_running_cost_misses_only(directory):
    for part in ("objects", "index", "leases", "tuck.json", "staging", "CACHEDIR.TAG"):
        place = Place(os.path.join(directory, part))
        known = model(4)
        place.fill(known)
        path = place.path(part)
        if not os.path.lexists(path):
            continue
        with place.helper() as helper:
            for action, content in known.items():
                expect_hit(helper.get(action), content)
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
            for action, content in known.items():
                found = truthful(helper.get(action, timeout=PROMPT), [content])
                assert found is None or part != "objects"
            bodies = served_from_somewhere(helper, part)
            assert helper.finish() == 0
        bodies.update(known)
        aftermath(place, {a: [b] for a, b in bodies.items()})


@case("O-10")
def a_root_replaced_while_running_keeps_the_answers_true(directory):
    """The path is the same, what lies there is another cache."""
    place, other = Place(directory), Place(os.path.join(directory, "other"))
    shared = action_id("shared")
    here, there = body("here"), body("there")
    place.fill({shared: here, action_id("here"): here})
    other.fill({shared: there, action_id("there"): there})
    with place.helper() as helper:
        expect_hit(helper.get(shared), here)
        os.rename(place.root, place.root + ".old")
        os.rename(other.root, place.root)
        truthful(helper.get(shared, timeout=PROMPT), [here, there])
        truthful(helper.get(action_id("here"), timeout=PROMPT), [here])
        truthful(helper.get(action_id("there"), timeout=PROMPT), [there])
        bodies = served_from_somewhere(helper, "replaced")
        assert helper.finish() == 0
    aftermath(place, {shared: [here, there], **{a: [b] for a, b in bodies.items()}})


@case("G-14")
def a_file_moved_away_by_the_client_is_a_miss_and_comes_back(directory):
    place = Place(directory)
    content = body("stolen")
    with place.helper() as helper:
        path = expect_put(helper.put(action_id("stolen"), content), content)
        os.chmod(path, 0o644)                        # what `go build -o x.a` does
        os.rename(path, os.path.join(directory, "x.a"))
        expect_miss(helper.get(action_id("stolen")))
        expect_put(helper.put(action_id("stolen"), content), content)
        expect_hit(helper.get(action_id("stolen")), content)
        assert helper.finish() == 0


# -- limits ----------------------------------------------------------------------------------------------------------
@case("X-10")
def any_limit_on_descriptors_ends_in_service_or_in_a_clear_end(directory):
    place = Place(directory)
    known = model(3)
    place.fill(known)
    served = []
    for limit in (3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 20, 24, 32):
        def low(limit=limit):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        with place.helper(preexec=low, handshake=False, env=traceable()) as helper:
            hello = helper.next_answer(PROMPT)
            if hello is None:                        # not even the program loader has enough
                assert helper.wait(PROMPT) > 0, f"with {limit} descriptors: {helper.process.returncode}"
                continue
            assert hello.get("KnownCommands"), hello
            served.append(limit)
            for n in range(3):
                content = body(f"{limit} {n}", 5000)
                stored = put_or_err(helper, action_id(f"{limit} {n}"), content)
                found = truthful(helper.get(action_id(f"{limit} {n}"), timeout=PROMPT), [content])
                assert stored or not found
            for action, content in known.items():
                truthful(helper.get(action, timeout=PROMPT), [content])
            assert helper.finish() == 0, f"with {limit} descriptors"
    assert 32 in served, "32 descriptors are not enough"
    aftermath(place, {a: [b] for a, b in known.items()}, must=known)


@case("X-10")
def descriptors_that_run_out_while_running_cost_no_stream(directory):
    place = Place(directory)
    known = model(3)
    place.fill(known)
    with place.helper() as helper:
        expect_hit(helper.get(next(iter(known))), known[next(iter(known))])
        first = body("first")
        expect_put(helper.put(action_id("first"), first), first)
        held = max(int(n) for n in os.listdir(f"/proc/{helper.process.pid}/fd"))
        old = resource.prlimit(helper.process.pid, resource.RLIMIT_NOFILE)
        for extra in (0, 1, 2, 3):
            resource.prlimit(helper.process.pid, resource.RLIMIT_NOFILE, (held + 1 + extra - 1, old[1]))
            for action, content in known.items():
                truthful(helper.get(action, timeout=PROMPT), [content])
            content = body(f"scarce {extra}", 100_000)
            stored = put_or_err(helper, action_id(f"scarce {extra}"), content)
            found = truthful(helper.get(action_id(f"scarce {extra}"), timeout=PROMPT), [content])
            assert stored or not found
        resource.prlimit(helper.process.pid, resource.RLIMIT_NOFILE, old)
        served_from_somewhere(helper, "enough again")
        for action, content in known.items():
            expect_hit(helper.get(action, timeout=PROMPT), content)
        assert helper.finish() == 0
    aftermath(place, {a: [b] for a, b in known.items()}, must=known)


@case("X-10", "P-17")
def a_file_size_limit_is_an_err_and_not_a_signal(directory):
    place = Place(directory)
    known = model(3)
    place.fill(known)
    for limit in (0, 1, 4095, 50_000):
        def low(limit=limit):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        with place.helper(preexec=low) as helper:
            for action, content in known.items():
                expect_hit(helper.get(action, timeout=PROMPT), content)
            for size in (0, 1, 2000, 60_000, 3 << 20):
                action, content = action_id(f"{limit} {size}"), body(f"{limit} {size}", size)
                stored = put_or_err(helper, action, content)
                assert stored == (size <= limit), f"{size} bytes at a limit of {limit}: stored is {stored}"
                found = truthful(helper.get(action, timeout=PROMPT), [content])
                assert (found is not None) == stored
            unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            resource.prlimit(helper.process.pid, resource.RLIMIT_FSIZE, unlimited)
            served_from_somewhere(helper, f"limit {limit} lifted")
            assert helper.finish() == 0
            assert len(complaints(helper)) <= 2, helper.stderr_raw
    aftermath(place, {a: [b] for a, b in known.items()}, must=known)


# -- file systems and kernels that cannot do everything --------------------------------------------------------------
@case("P-19", "P-20")
def without_unnamed_files_bodies_are_staged_by_name_and_leave_nothing(directory):
    for number in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
        place = Place(os.path.join(directory, str(number)))
        with place.helper(preexec=no_unnamed_files(number)) as helper:
            bodies = served_from_somewhere(helper, "staged", size=70_000)
            refused = helper.put(action_id("wrong"), b"wrong", output=bytes(32))
            assert refused.get("Err"), refused
            assert helper.finish() == 0
            assert not complaints(helper), helper.stderr_raw
        assert not place.private(), "staged bodies went to a private directory"
        left = [os.path.join(f, n) for f, _, names in os.walk(place.path("staging")) for n in names]
        assert not left, f"left in staging: {left}"
        aftermath(place, {a: [b] for a, b in bodies.items()}, must=bodies)


@case("P-17")
def what_a_file_system_cannot_do_is_done_without(directory):
    lacks = {
        "links": (always_fails(("linkat", errno.EPERM)), True),
        "links between names and unnamed files": (always_fails(("linkat", errno.EOPNOTSUPP)), True),
        "preallocation": (always_fails(("fallocate", errno.EOPNOTSUPP)), True),
        "openat2": (always_fails(("openat2", errno.ENOSYS)), True),
        "renameat2": (always_fails(("renameat2", errno.EINVAL)), True),
        "locks": (always_fails(("flock", errno.ENOLCK), ("fcntl", errno.ENOLCK, ("is", 1), [5, 6, 7, 36, 37, 38])),
                  False),
        "threads": (always_fails(("clone3", errno.EAGAIN), ("clone", errno.EAGAIN)), False),
    }
    for what, (preexec, durable) in lacks.items():
        place = Place(os.path.join(directory, what))
        known = model(2)
        place.fill(known)
        with place.helper(preexec=preexec, env=traceable()) as helper:
            for action, content in known.items():
                found = truthful(helper.get(action, timeout=PROMPT), [content])
                assert found or not durable, f"without {what}"
            bodies = served_from_somewhere(helper, what)
            assert helper.finish() == 0, f"without {what}"
            assert len(complaints(helper)) <= (0 if durable else 1), f"without {what}: {helper.stderr_raw}"
        aftermath(place, {a: [b] for a, b in (known | bodies).items()}, must=known | bodies if durable else known)


run(__name__)

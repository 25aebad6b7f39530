# SPDX-License-Identifier: MIT
"""tuck passes its own suite: every MUST and every SHOULD, in the time that was promised for it, and in odd places."""
import contextlib, os, re, resource, subprocess

from conform import SANITIZED, SCALE, Judged, tuck_bin
from disks import use_up_space
from tap import case, need_program, need_root, run, skip

PROFILE = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "cmd", "tuck-conform",
                       "profiles", "tuck.profile")
SECONDS = 60
LONG = os.environ.get("TUCK_TEST_LONG") == "1"
# Of what is judged once more in another place, unless there is time for all.
SAMPLE = [] if LONG else ["--filter=put"]
DRIVES = ",".join(f"{{dir}}/{n}" for n in range(1, 5))


def processor_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@case(limit=1800)
def tuck_passes_every_must_and_every_should(directory):
    before = processor_seconds()
    judged = Judged(directory, [f"--profile={PROFILE}", f"--timeout-scale={SCALE}"], [tuck_bin()], jobs=os.cpu_count())
    used = processor_seconds() - before
    print(f"# {len(judged.cases)} cases in {judged.report['seconds']:.1f} s, {used:.1f} s of processor time")
    assert not judged.failed(), judged.why(judged.failed())
    assert judged.done.returncode == 0 and judged.report["conforms"]
    # What the machine gives to others does not count.
    assert SANITIZED or used / os.cpu_count() <= SECONDS, f"{used:.0f} s of processor time on {os.cpu_count()} processors"


@case()
def with_its_profile_nothing_is_left_unjudged(directory):
    judged = Judged(directory, [f"--profile={PROFILE}", f"--timeout-scale={SCALE}", "--filter=H-09,O-07,O-09,G-17,P-17,X-11"],
                    [tuck_bin()])
    assert not judged.not_judged() or os.geteuid() != 0, judged.why(judged.not_judged())


@case(limit=600)
def without_a_profile_it_conforms_and_what_needs_one_is_not_judged(directory):
    judged = Judged(directory, [f"--timeout-scale={SCALE}", "--filter=H-09,H-12,G-14,G-17,P-01,P-17,P-23,O-07,C-02,C-06"],
                    [tuck_bin()], jobs=2)
    assert not judged.failed(), judged.why(judged.failed())
    assert {"H-09", "G-17", "O-07"} <= judged.not_judged() and "G-14" not in judged.not_judged(), judged.not_judged()


def judged_with(directory, profile, command, *options, timeout=600):
    path = os.path.join(directory, "changed.profile")
    with open(path, "w") as file:
        file.write(profile)
    judged = Judged(directory, [f"--profile={path}", *SAMPLE, *options], command, jobs=os.cpu_count(), timeout=timeout)
    assert not judged.failed(), judged.why(judged.failed())
    assert judged.done.returncode == 0 and judged.report["conforms"]
    return judged


@case(limit=1800)
def on_four_drives_it_passes_the_same(directory):
    with open(PROFILE) as file:
        text = file.read().replace("TUCK_DIR={dir}", f"TUCK_DRIVES={DRIVES}")
    judged = judged_with(directory, re.sub(r"= \{dir\}/", "= {dir}/?/", text), [tuck_bin()], f"--timeout-scale={SCALE}")
    assert len(judged.not_judged()) <= 2, judged.why(judged.not_judged())


@contextlib.contextmanager
def full_disk(directory):
    need_root()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", directory], check=True)
    try:
        use_up_space(directory)
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)


@case(limit=1800)
def on_a_full_disk_it_passes_all_that_needs_no_room(directory):
    os.mkdir(os.path.join(directory, "full"))
    with full_disk(os.path.join(directory, "full")) as full:
        judged = judged_with(directory, f"environment = TUCK_DIR={full}/{{dir}}\nno_room = yes\n", [tuck_bin()],
                             f"--timeout-scale={SCALE}")
        assert len(judged.cases) - len(judged.not_judged()) >= (100 if LONG else 15)


@case(limit=3600)
def under_valgrind_it_passes_too(directory):
    need_program("valgrind")
    if SANITIZED or not LONG:
        skip("takes minutes, in a build without sanitizers; set TUCK_TEST_LONG=1")
    os.chmod(directory, 0o1777)  # some cases are another user's
    command = ["valgrind", "--quiet", "--vgdb=no", "--error-exitcode=99", "--leak-check=full",
               "--errors-for-leak-kinds=definite", f"--log-file={directory}/valgrind.%p", tuck_bin()]
    with open(PROFILE) as file:
        judged_with(directory, file.read() + "wrapped = yes\n", command, "--timeout-scale=20", timeout=3500)
    for name in os.listdir(directory):
        if name.startswith("valgrind."):
            with open(os.path.join(directory, name)) as file:
                assert not re.search(r"^==\d+== +\S", file.read(), re.M), name


@case()
def the_directory_of_a_case_can_be_given_as_a_flag_or_a_variable(directory):
    for options, command in (([], [tuck_bin(), "--dir={dir}"]), (["--env", "TUCK_DIR={dir}"], [tuck_bin()])):
        judged = Judged(directory, [f"--timeout-scale={SCALE}", "--filter=H-09,O-10", *options], command)
        assert judged.cases and not judged.failed() and not judged.not_judged(), judged.why(judged.cases)


run(__name__)

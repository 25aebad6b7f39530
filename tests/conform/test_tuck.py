# SPDX-License-Identifier: MIT
"""tuck passes its own suite: every MUST and every SHOULD, and in the time that was promised for it."""
import os, resource

from conform import SANITIZED, SCALE, Judged, tuck_bin
from tap import case, run

PROFILE = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "cmd", "tuck-conform",
                       "profiles", "tuck.profile")
SECONDS = 60


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


@case()
def the_directory_of_a_case_can_be_given_as_a_flag_or_a_variable(directory):
    for options, command in (([], [tuck_bin(), "--dir={dir}"]), (["--env", "TUCK_DIR={dir}"], [tuck_bin()])):
        judged = Judged(directory, [f"--timeout-scale={SCALE}", "--filter=H-09,O-10", *options], command)
        assert judged.cases and not judged.failed() and not judged.not_judged(), judged.why(judged.cases)


run(__name__)

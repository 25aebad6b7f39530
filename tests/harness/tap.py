# SPDX-License-Identifier: MIT
"""
A small test runner that speaks TAP, so that meson and tests/run count single cases.

    from tap import case, run, skip, slow
    @case("P-05")                       # the SPEC clause or case ids that this test shows; any number
    def put_again_leaves_the_file_alone(dir): ...
    run(__name__)

A test is a function named as a sentence; it gets a fresh scratch directory, removed afterwards. It fails by raising,
is skipped by `skip(reason)`, and must not depend on any other. Arguments of the program select tests by substring.
"""
import os, shutil, signal, sys, time, traceback
from helper import scratch

_cases = []
LIMIT = int(os.environ.get("TUCK_TEST_LIMIT", "120"))  # seconds that one test may take before it counts as hung


class Skip(Exception):
    pass


def skip(reason):
    raise Skip(reason)


def case(*ids, limit=LIMIT):
    def register(function):
        _cases.append((function, ids, limit))
        return function
    return register


def need_root():
    if os.geteuid() != 0:
        skip("needs root")


def need_program(name):
    if not shutil.which(name):
        skip(f"{name} is not installed")


class Hung(BaseException):
    """Not an Exception: no handler on the way, for OSError say, may take it for its own."""


def _hung(_signal, _frame):
    raise Hung("the test took longer than its limit")


def run(module):
    if module != "__main__":
        return
    words = sys.argv[1:]
    if words == ["--list"]:
        for function, ids, _ in _cases:
            print(" ".join(ids), function.__name__)
        return
    chosen = [c for c in _cases if not words or any(w in c[0].__name__ or w in c[1] for w in words)]
    print(f"1..{len(chosen)}", flush=True)
    failed = 0
    signal.signal(signal.SIGALRM, _hung)
    for number, (function, ids, limit) in enumerate(chosen, 1):
        directory = scratch(function.__name__[:40])
        title = " ".join(ids + (function.__name__.replace("_", " "),))
        began = time.monotonic()
        signal.alarm(limit)
        try:
            function(directory)
            verdict = f"ok {number} - {title}"
        except Skip as reason:
            verdict = f"ok {number} - {title} # SKIP {reason}"
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            failed += 1
            for text in traceback.format_exc().rstrip().splitlines():
                print("# " + text)
            verdict = f"not ok {number} - {title}"
        finally:
            signal.alarm(0)
            shutil.rmtree(directory, ignore_errors=True)
        print(verdict)
        print(f"# {time.monotonic() - began:.2f} s", flush=True)
    sys.exit(1 if failed else 0)

# SPDX-License-Identifier: MIT
"""
What the tests of tuck-conform share: running it against a helper, and reading what it says.
"""
import json, os, shutil, subprocess, sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "harness"))

from helper import tuck_bin  # noqa: E402

SANITIZED = os.environ.get("TUCK_TEST_SANITIZED") == "1"
SCALE = float(os.environ.get("TUCK_CONFORM_SCALE", "4" if SANITIZED else "2"))
# One that other users can run, too; some cases give up root's rights.
PYTHON = next((path for path in ("/usr/bin/python3", "/usr/local/bin/python3") if os.path.exists(path)), sys.executable)
FAKE = [PYTHON, "-SE", os.path.join(HERE, "fakehelper.py")]


def conform_bin():
    path = os.environ.get("TUCK_CONFORM_BIN") or shutil.which("tuck-conform")
    if not path:
        raise SystemExit("set TUCK_CONFORM_BIN to the tuck-conform program under test")
    return os.path.abspath(path)


def run(*words, timeout=600, **more):
    """Runs tuck-conform; returns what subprocess.run does."""
    return subprocess.run([conform_bin(), *words], capture_output=True, text=True, timeout=timeout,
                          stdin=subprocess.DEVNULL, **more)


def profile_of_fake(directory, *faults):
    """The profile of the fake helper, whose command to clear has its faults, too."""
    with open(os.path.join(HERE, "fake.profile")) as file:
        text = file.read()
    command = " ".join([*(f"'{word}'" for word in FAKE), *(f"--fault={name}" for name in faults)])
    path = os.path.join(directory, "fake.profile")
    with open(path, "w") as file:
        file.write(text.replace("{program}", command))
    return path


class Judged:
    """The verdicts of one run, from its JSON."""

    def __init__(self, directory, options, command, jobs=1, words=(), timeout=600):
        report = os.path.join(directory, "report.json")
        self.done = run(*words, f"--json={report}", f"--jobs={jobs}", *options, "--", *command, timeout=timeout)
        assert self.done.returncode in (0, 1), f"status {self.done.returncode}: {self.done.stderr}"
        with open(report) as file:
            self.report = json.load(file)
        self.cases = {one["case"]: one for one in self.report["cases"]}

    def failed(self):
        return {name for name, one in self.cases.items() if one["verdict"] == "failed"}

    def not_judged(self):
        return {name for name, one in self.cases.items() if one["verdict"] == "not judged"}

    def why(self, names):
        return "\n".join(f"{name}: {self.cases[name].get('why')}\n{self.cases[name].get('details', '')}"
                         for name in sorted(names))

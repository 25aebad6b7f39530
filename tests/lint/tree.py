# SPDX-License-Identifier: MIT
"""
What the lints share: where the project is, which files belong to it, and how findings are reported.

A lint is a function from a project root to a list of findings, so that each is shown twice: on the project, where it
finds nothing, and on a small tree with planted faults, where it must find them.
"""
import os, subprocess, sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HARNESS = os.path.join(ROOT, "tests", "harness")
sys.path.insert(0, HARNESS)


def files(root, *endings, under=()):
    """Paths below root that belong to the project (ignored and generated ones do not), relative and sorted."""
    try:
        listed = subprocess.run(["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard",
                                 "--", "."], capture_output=True, check=True).stdout.decode().split("\0")
        # A directory that merely lies inside some other checkout has no files of its own there.
        listed = [path for path in listed if path] if os.path.exists(os.path.join(root, ".git")) else None
    except (OSError, subprocess.CalledProcessError):
        listed = None
    if listed is None:  # a release archive has no git
        listed = []
        for directory, below, names in os.walk(root):
            below[:] = [d for d in below if d not in ("__pycache__", ".git") and not d.startswith("build")]
            listed += [os.path.relpath(os.path.join(directory, name), root) for name in names]
    return sorted(path for path in set(listed)
                  if (not endings or path.endswith(endings)) and os.path.isfile(os.path.join(root, path))
                  and (not under or path.startswith(tuple(u + "/" for u in under))))


def text(root, path):
    """The text of a file of the project, or None where it is not text."""
    with open(os.path.join(root, path), "rb") as file:
        raw = file.read()
    if b"\0" in raw:
        return None
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return None


def plant(root, path, content):
    """Writes one file of a tree with planted faults."""
    full = os.path.join(root, path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full, "w", encoding="utf-8") as file:
        file.write(content)


def expect_none(findings):
    assert not findings, f"{len(findings)} findings:\n" + "\n".join(findings)


def expect(findings, *parts):
    """Exactly one finding for each part, each naming it: a lint that finds more or less than was planted is wrong."""
    assert len(findings) == len(parts), f"planted {len(parts)}, found:\n" + "\n".join(findings)
    for part in parts:
        assert any(part in finding for finding in findings), f"nothing names {part!r}:\n" + "\n".join(findings)

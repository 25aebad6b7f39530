# SPDX-License-Identifier: MIT
"""
libtuck as users have it: a release build without sanitizers, installed below a directory of its own with DESTDIR.

A sanitized library cannot be loaded into Python, and an installed one is what examples and bindings build on. One
installation serves all programs of a run of tests/run, which names a directory for that; without it each makes its own.
"""
import atexit, fcntl, glob, os, re, shutil, subprocess, sys, tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "harness"))
from tap import skip  # noqa: E402


def run(*command, **more):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)
    assert done.returncode == 0, f"{' '.join(command)} failed:\n{done.stdout[-4000:]}"
    return done.stdout


class Installed:
    """What lies where below the root of the installation; /usr is its prefix."""

    def __init__(self, root):
        self.root = root
        self.tuck = os.path.join(root, "usr", "bin", "tuck")
        self.header = os.path.join(root, "usr", "include", "tuck", "client.h")
        self.pkgconfig = self.one("usr/lib*/**/tuck.pc")
        self.libraries = os.path.dirname(os.path.dirname(self.pkgconfig))
        self.shared = os.path.join(self.libraries, "libtuck.so.0")
        self.static = os.path.join(self.libraries, "libtuck.a")

    def one(self, pattern):
        found = glob.glob(os.path.join(self.root, pattern), recursive=True)
        assert len(found) == 1, f"{pattern}: {found}"
        return found[0]

    def environment(self, **more):
        """In which pkg-config, compilers and programs find the library, and only this one."""
        kept = {name: value for name, value in os.environ.items()
                if not name.startswith(("TUCK_", "PKG_CONFIG", "GOCACHEPROG", "LD_"))}
        # The library's own packages lie where the system has them.
        system = subprocess.run(["pkg-config", "--variable", "pc_path", "pkg-config"], capture_output=True, text=True)
        path = [os.path.dirname(self.pkgconfig)] + system.stdout.strip().split(":")
        return kept | {"PKG_CONFIG_LIBDIR": ":".join(path), "PKG_CONFIG_SYSROOT_DIR": self.root,
                       "LD_LIBRARY_PATH": self.libraries} | more


def _build(into):
    for program in ("meson", "ninja"):
        if not shutil.which(program):
            skip(f"{program} is not installed")
    build = into + ".build"
    shutil.rmtree(build, ignore_errors=True)
    environment = {name: value for name, value in os.environ.items() if name not in ("CFLAGS", "LDFLAGS", "DESTDIR")}
    run("meson", "setup", build, ROOT, "--buildtype=release", "--prefix=/usr", env=environment)
    targets = run("ninja", "-C", build, "-t", "targets", "all")
    shared = re.search(r"^(lib/client/libtuck\.so\.[\d.]+): ", targets, re.M)[1]
    run("ninja", "-C", build, shared, "lib/client/libtuck.a", "cmd/tuck/tuck", "cmd/tuck-conform/tuck-conform")
    run("meson", "install", "-C", build, "--no-rebuild", "--destdir", into + ".new", env=environment)
    os.rename(into + ".new", into)
    shutil.rmtree(build)


def installed():
    """The installation, made on first use."""
    shared = os.environ.get("TUCK_TEST_SEEDS")
    if not shared:
        shared = tempfile.mkdtemp(prefix="tuck-installed-")
        atexit.register(shutil.rmtree, shared, ignore_errors=True)
        os.environ["TUCK_TEST_SEEDS"] = shared
    os.makedirs(shared, exist_ok=True)
    root = os.path.join(shared, "installed")
    with open(root + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.isdir(root):
            _build(root)
    return Installed(root)

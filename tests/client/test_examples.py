# SPDX-License-Identifier: MIT
"""
The installed library: what is in it, that C and C++ can use it, and that the examples in tests/examples and in the
documents are true.
"""
import hashlib, os, re, shutil, subprocess, sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from installed import ROOT, installed, run as run_tool  # noqa: E402
from tap import case, need_program, run  # noqa: E402

EXAMPLES = os.path.join(ROOT, "tests", "examples")


def text_of(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as file:
        return file.read()


def fenced(markdown, language):
    """The blocks of code in a document."""
    return re.findall(rf"^```{language}\n(.*?)^```", markdown, re.S | re.M)


def flags(library, *options):
    return run_tool("pkg-config", *options, "tuck", env=library.environment()).split()


@case("L-40", limit=600)  # the first one builds the library
def the_installation_has_all_that_a_user_needs(_directory):
    library = installed()
    below = {os.path.relpath(os.path.join(where, name), library.root)
             for where, _, names in os.walk(library.root) for name in names}
    for ending in ("include/tuck/client.h", "libtuck.so", "libtuck.so.0", "libtuck.a", "pkgconfig/tuck.pc",
                   "man3/libtuck.3", "man1/tuck.1", "bin/tuck"):
        assert any(path.endswith(ending) for path in below), (ending, below)
    assert [path for path in below if path.endswith(".h")] == ["usr/include/tuck/client.h"], below
    assert "-ltuck" in flags(library, "--libs") and "-lcrypto" not in flags(library, "--libs")
    assert "-lcrypto" in flags(library, "--static", "--libs") and "-lb64" in flags(library, "--static", "--libs")


@case("L-40")
def the_shared_library_shows_its_public_functions_and_nothing_else(_directory):
    need_program("nm")
    need_program("readelf")
    library = installed()
    header = text_of("lib", "include", "tuck", "client.h")
    public = set(re.findall(r"^TUCK_CLIENT_(?:API|CHECKED)\b[^;]*?\b(tuck_\w+)\(", header, re.M))
    shown = {line.split()[2] for line in run_tool("nm", "-D", "--defined-only", library.shared).splitlines()}
    assert shown == public and len(public) == 17, shown ^ public
    dynamic = run_tool("readelf", "-d", library.shared)
    assert "[libtuck.so.0]" in dynamic
    needed = set(re.findall(r"\(NEEDED\).*\[(lib\w+)", dynamic))
    assert needed <= {"libcrypto", "libb64", "libc", "libpthread"}, needed


@case("L-40")
def the_c_example_remembers_what_a_command_printed(directory):
    need_program("make")
    library = installed()
    built = os.path.join(directory, "c")
    shutil.copytree(os.path.join(EXAMPLES, "c"), built)
    environment = library.environment(GOCACHE=directory, GOCACHEPROG=library.tuck, CFLAGS="-O1 -Wall -Wextra -Werror")
    run_tool("make", "-C", built, env=environment)
    memo = [os.path.join(built, "memo")]
    count = os.path.join(directory, "count")
    command = memo + ["sh", "-c", f"echo once >>{count}; echo the answer is 42"]
    for _ in range(3):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout, done.stderr) == (0, "the answer is 42\n", ""), done
    with open(count) as file:
        assert file.read() == "once\n"
    failing = memo + ["sh", "-c", f"echo again >>{count}; exit 3"]
    assert [subprocess.run(failing, env=environment, timeout=60).returncode for _ in range(2)] == [3, 3]
    with open(count) as file:
        assert file.read() == "once\nagain\nagain\n"
    for bad in ("/nonexistent/helper", "false", "echo hello"):  # without a cache it only takes longer
        done = subprocess.run(memo + ["echo", "hi"], env=environment | {"GOCACHEPROG": bad}, capture_output=True,
                              text=True, timeout=60)
        assert (done.returncode, done.stdout) == (0, "hi\n") and "memo: no cache: " in done.stderr, done


@case("L-41")
def the_cmake_example_looks_up_many_actions_in_a_loop(directory):
    need_program("cmake")
    need_program("g++")
    library = installed()
    environment = library.environment(GOCACHE=directory, GOCACHEPROG=library.tuck, CXXFLAGS="-Wall -Wextra -Werror")
    run_tool("cmake", "-S", os.path.join(EXAMPLES, "cmake"), "-B", os.path.join(directory, "build"), env=environment)
    run_tool("cmake", "--build", os.path.join(directory, "build"), env=environment)
    lookup = os.path.join(directory, "build", "lookup")
    from helper import Helper
    actions = [hashlib.sha256(b"%d" % n).digest() for n in range(2000)]
    with Helper(directory, command=[library.tuck], env={"GOCACHE": directory}, gocache=directory) as helper:
        paths = [helper.put(action, b"%d" % n)["DiskPath"] for n, action in enumerate(actions[:50])]
        helper.finish()
    asked = "".join(action.hex() + "\n" for action in actions) + "no id\n"
    done = subprocess.run([lookup], env=environment, input=asked, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr == "lookup: 'no id' is no action id\n", done
    found = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert len(found) == 2000
    for n, action in enumerate(actions):
        assert found[action.hex()] == (paths[n] if n < 50 else "miss"), (n, found[action.hex()])


@case("L-40")
def the_static_library_is_usable_alone(directory):
    library = installed()
    source = os.path.join(EXAMPLES, "c", "memo.c")
    program = os.path.join(directory, "memo")
    link = [flag for flag in flags(library, "--static", "--libs") if flag != "-ltuck"]
    run_tool("cc", "-std=c11", "-o", program, source, *flags(library, "--cflags"), library.static, *link)
    assert "libtuck" not in run_tool("readelf", "-d", program)
    environment = library.environment(GOCACHE=directory, GOCACHEPROG=library.tuck)
    for _ in range(2):
        assert run_tool(program, "echo", "hi", env=environment) == "hi\n"


@case("L-40")
def the_header_is_good_c11_and_good_cpp(directory):
    library = installed()
    include = os.path.dirname(os.path.dirname(library.header))
    for name, compiler, standards in (("a.c", "cc", ("c11", "gnu17")), ("a.cpp", "g++", ("c++11", "c++20"))):
        if not shutil.which(compiler):
            print(f"# {compiler} is not installed")
            continue
        path = os.path.join(directory, name)
        with open(path, "w") as file:
            file.write("#include <tuck/client.h>\n#include <tuck/client.h>\n"
                       "int main(void) { struct tuck_client_options o = TUCK_CLIENT_OPTIONS_INIT;\n"
                       "struct tuck_client_request r = TUCK_CLIENT_REQUEST_INIT;\n"
                       "r.body = tuck_client_memory(\"x\", 1); r.body = tuck_client_file(0);\n"
                       "r.body = tuck_client_source(NULL, NULL, 1);\n"
                       "return o.struct_size > 0 && r.struct_size > 0 && tuck_client_version() ? 0 : 1; }\n")
        for standard in standards:
            run_tool(compiler, f"-std={standard}", "-pedantic", "-Wall", "-Wextra", "-Werror",
                     "-I", include, path, "-o", path + ".out", *flags(library, "--libs"))
            run_tool(path + ".out", env=library.environment())


@case("L-40")
def the_example_of_the_manual_runs(directory):
    library = installed()
    manual = text_of("lib", "client", "libtuck.3")
    source = re.search(r"^\.Bd -literal.*?\n(.*?)^\.Ed", manual, re.S | re.M)[1].replace("\\e", "\\")
    path = os.path.join(directory, "example.c")
    with open(path, "w") as file:
        file.write(source)
    run_tool("cc", "-Wall", "-Wextra", "-Werror", path, "-o", path[:-2], *flags(library, "--cflags", "--libs"))
    environment = library.environment(GOCACHE=directory, GOCACHEPROG=library.tuck)
    for _ in range(2):
        with open(run_tool(path[:-2], env=environment).strip(), "rb") as file:
            assert file.read() == b"hello"
    done = subprocess.run([path[:-2]], env=environment | {"GOCACHEPROG": "false"}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "the helper exited with status 1 before its handshake\n"), done


@case("L-40")
def the_examples_of_lib_readme_run(directory):
    library = installed()
    section = text_of("lib", "README.md").split("\n## The client library\n", 1)[1].split("\n## ", 1)[0]
    environment = library.environment(GOCACHE=directory, GOCACHEPROG=library.tuck, TUCK_LIB=library.shared,
                                      PYTHONPATH=os.path.join(ROOT, "lib", "client", "python"))
    c, python = fenced(section, "c"), fenced(section, "python")
    assert len(c) == 1 and len(python) == 1
    path = os.path.join(directory, "example.c")
    with open(path, "w") as file:
        file.write(c[0])
    run_tool("cc", "-Wall", "-Wextra", "-Werror", path, "-o", path[:-2], *flags(library, "--cflags", "--libs"))
    for _ in range(2):
        for command in ([path[:-2]], [sys.executable, "-c", python[0]]):
            stored = run_tool(*command, env=environment, cwd=directory).strip()
            with open(stored, "rb") as file:
                assert file.read() in (b"hello", b"what it made")


run(__name__)

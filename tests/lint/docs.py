# SPDX-License-Identifier: MIT
"""
The documents: the manual page is well formed, everything that the program offers is written down, links lead
somewhere, and nothing says where or on which machine a file was written.
"""
import os, re, subprocess
import tree
from tap import case, need_program, run, skip

MANUAL, README = "cmd/tuck/tuck.1", "README.md"
CONFORM_MANUAL = "cmd/tuck-conform/tuck-conform.1"
LIBRARY, HEADER = "lib/client/libtuck.3", "lib/include/tuck/client.h"
# Spelled so that this file does not contain them.
LEFT_OPEN = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")
COMMAND = re.compile(r"^ {1,8}(?:tuck )?\[?([a-z][a-z-]+)\]?(?=[ \n]|$)", re.M)


def manual_complaints(root):
    pages = [page for page in (MANUAL, CONFORM_MANUAL, LIBRARY) if os.path.exists(os.path.join(root, page))]
    done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", *pages], cwd=root, capture_output=True, text=True)
    return (done.stdout + done.stderr).splitlines()


def unmentioned_options(help_text, manual):
    """Options that --help lists and the manual does not."""
    plain = manual.replace("\\-", "-")
    return [f"{CONFORM_MANUAL} has no entry for --{name}" for name in sorted(set(re.findall(r"--([a-z][a-z-]+)", help_text)))
            if not re.search(rf"^\.It .*\bFl Fl {name}\b", plain, re.M)]


def undocumented_functions(header, manual):
    """Public functions without a prototype and a mention in the library's manual, and prototypes of nothing."""
    public = set(re.findall(r"^TUCK_CLIENT_(?:API|CHECKED)\b[^;]*?\b(tuck_\w+)\(", header, re.M))
    synopsis, _, description = manual.partition(".Sh DESCRIPTION")
    shown = set(re.findall(r"^\.Fn (\w+)", synopsis, re.M))
    told = set(re.findall(r"\bFn (\w+)", description))
    return ([f"{LIBRARY} has no prototype of {name}" for name in sorted(public - shown)] +
            [f"{LIBRARY} says nothing about {name}" for name in sorted(public - told)] +
            [f"{LIBRARY} names {name}, which there is not" for name in sorted((shown | told) - public)])


def offered(help_text):
    """The subcommands that `tuck help` lists: the first word of each indented line, after the program's name if any."""
    return sorted(set(COMMAND.findall(help_text)))


def undocumented(commands, manual, readme):
    """Subcommands without an entry of their own in the manual, or never shown as code in the README."""
    found = []
    code = " ".join(re.findall(r"```.*?```|`[^`\n]+`", readme, re.S))
    for name in commands:
        if not re.search(rf"^\.(?:It|Ic|Cm|Op|Nm tuck)\b.*\b{re.escape(name)}\b", manual, re.M):
            found.append(f"{MANUAL} has no entry for {name}")
        if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", code):
            found.append(f"{README} does not show {name}")
    return found


def unmentioned_settings(names, manual):
    """Settings without their flag, their environment variable or their key in the manual."""
    plain = manual.replace("\\-", "-")
    found = []
    for name in names:
        forms = {"flag": rf"^\..*\bFl Fl {name}\b", "variable": rf"^\..*\bEv TUCK_{name.upper()}\b",
                 "key": rf"^\..*\bVa {name}\b"}
        for what, form in forms.items():
            if not re.search(form, plain, re.M):
                found.append(f"{MANUAL} does not give the {what} of the setting {name}")
    return found


def slug(heading):
    """The anchor that a heading gets: lower case, without punctuation, blanks as hyphens."""
    return re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", heading.replace("`", "").strip().lower()))


def broken_links(root):
    found = []
    for path in tree.files(root, ".md"):
        prose = re.sub(r"^(```|~~~).*?^\1", "", tree.text(root, path), flags=re.S | re.M)
        for target in re.findall(r"\]\(([^()\s]+)\)", re.sub(r"`[^`\n]*`", "", prose)):
            if re.match(r"[a-z][a-z0-9+.-]*:", target):
                continue
            name, _, anchor = target.partition("#")
            file = os.path.normpath(os.path.join(os.path.dirname(path), name)) if name else path
            if file.startswith("..") or not os.path.exists(os.path.join(root, file)):
                found.append(f"{path}: the link {target} leads nowhere")
            elif anchor and file.endswith(".md"):
                headings = re.findall(r"^#+ (.*)", tree.text(root, file), re.M)
                if anchor not in map(slug, headings):
                    found.append(f"{path}: {target} names no heading")
    return found


def lines_with(root, pattern, complaint):
    found = []
    for path in tree.files(root):
        for number, line in enumerate((tree.text(root, path) or "").splitlines(), 1):
            if match := pattern.search(line):
                found.append(f"{path}:{number}: {complaint}: {match[0]}")
    return found


def machine_paths():
    """Directories of somebody's machine: well-known ones, the home of whoever runs this, and where the tree stands."""
    here = {tree.ROOT, os.path.expanduser("~").rstrip("/")}
    known = "|".join([re.escape("/" + name + "/") for name in ("work", "root", "Users")] +
                     [re.escape(path) + r"(?![\w.-])" for path in sorted(here) if path.count("/") > 1])
    return re.compile(rf"(?<![\w.$}}>*-])(?:{known})")


def tuck():
    path = os.environ.get("TUCK_BIN")
    if not path or not os.path.exists(path):
        skip("TUCK_BIN names no program")
    return os.path.abspath(path)


@case()
def the_manual_page_is_well_formed(_directory):
    need_program("mandoc")
    tree.expect_none(manual_complaints(tree.ROOT))


@case()
def every_option_verb_and_function_of_tuck_conform_is_in_its_manual(_directory):
    program = os.environ.get("TUCK_CONFORM_BIN") or skip("TUCK_CONFORM_BIN names no program")
    done = subprocess.run([program, "--help"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0 and "--filter" in done.stdout, done
    manual = tree.text(tree.ROOT, CONFORM_MANUAL)
    tree.expect_none(unmentioned_options(done.stdout, manual))
    names = []
    for file, mark in (("engine.c", "} verbs[] = {"), ("expr.c", "} functions[] = {")):
        table = tree.text(tree.ROOT, f"cmd/tuck-conform/{file}").split(mark)[1].split("};")[0]
        names += re.findall(r'^    \{"([a-z0-9-]+)", ', table, re.M)
    assert {"put", "crowd", "sha"} <= set(names), f"the tables are not understood: {names}"
    code = " ".join(line for line in manual.splitlines() if re.match(r"\.(Ic|It Ic|Li|Op) ", line))
    tree.expect_none([f"{CONFORM_MANUAL} does not mention {verb}" for verb in names
                      if not re.search(rf"(?<![\w-]){verb}(?![\w-])", code)])


@case()
def every_subcommand_is_in_the_manual_and_the_readme(_directory):
    done = subprocess.run([tuck(), "help"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done
    commands = offered(done.stdout)
    assert {"serve", "stats", "help"} <= set(commands), f"help is not understood, it lists {commands}"
    tree.expect_none(undocumented(commands, tree.text(tree.ROOT, MANUAL), tree.text(tree.ROOT, README)))


@case()
def every_setting_is_in_the_manual_with_flag_variable_and_key(_directory):
    done = subprocess.run([tuck(), "config"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done
    names = re.findall(r"^([a-z][a-z_]*)\s*=", done.stdout, re.M)
    assert "dir" in names, f"the output of config is not understood: {done.stdout}"
    tree.expect_none(unmentioned_settings(names, tree.text(tree.ROOT, MANUAL)))


@case()
def every_public_function_is_in_the_manual_of_the_library(_directory):
    header = tree.text(tree.ROOT, HEADER)
    assert header.count("TUCK_CLIENT_API") > 5, "the header is not understood"
    tree.expect_none(undocumented_functions(header, tree.text(tree.ROOT, LIBRARY)))


@case()
def a_function_that_the_manual_forgot_or_made_up_is_found(_directory):
    header = ("#define TUCK_CLIENT_API x\nTUCK_CLIENT_API int tuck_a(int a,\n    int b);\n"
              "TUCK_CLIENT_CHECKED int tuck_b(void);\nTUCK_CLIENT_API const char *tuck_c(void);\n")
    manual = ".Sh SYNOPSIS\n.Fn tuck_a int\n.Fn tuck_c void\n.Sh DESCRIPTION\n.It Fn tuck_a , Fn tuck_b\n.Fn tuck_d\n"
    tree.expect(undocumented_functions(header, manual), "no prototype of tuck_b", "nothing about tuck_c",
                "names tuck_d, which")


@case()
def links_between_documents_lead_somewhere(_directory):
    tree.expect_none(broken_links(tree.ROOT))


@case()
def nothing_is_marked_as_left_open(_directory):
    tree.expect_none(lines_with(tree.ROOT, LEFT_OPEN, "left open"))


@case()
def no_file_names_a_place_on_somebodys_machine(_directory):
    tree.expect_none(lines_with(tree.ROOT, machine_paths(), "a path of one machine"))


@case()
def faults_in_documents_are_found(directory):
    work = "/wo" "rk/main"  # as above
    tree.plant(directory, "lib/README.md", "# Layers\n")
    tree.plant(directory, "README.md",
               "# A tool\n## What it *is*, in short\n[here](lib/README.md) [there](lib/gone.md)\n"
               "[web](https://example.org/x) [down](#what-it-is-in-short) [nowhere](#what-it-was)\n"
               "[that](lib/README.md#layers) [who](lib/README.md#who)\n```\n[not a link](gone.md)\n```\n")
    tree.expect(broken_links(directory), "lib/gone.md", "#what-it-was", "lib/README.md#who")
    tree.plant(directory, "lib/a.c", "int a; // TO" "DO: more\nconst char t[] = \"tuck-XX" "XXXX\";\n")
    tree.expect(lines_with(directory, LEFT_OPEN, "left open"), "lib/a.c:1")
    tree.plant(directory, "tests/b.py", f"x = '{work}/build'\ny = 'tests{work}/x'\nz = '<root>/objects'\n")
    tree.expect(lines_with(directory, machine_paths(), "a path"), "tests/b.py:1")


@case()
def a_subcommand_or_setting_that_nobody_wrote_down_is_found(_directory):
    help_text = ("Usage: tuck [COMMAND]\n\n  tuck [serve]          answer the go command\n"
                 "  tuck stats [--json]   what the cache holds\n  tuck exec -- COMMAND  run\n")
    assert offered(help_text) == ["exec", "serve", "stats"], offered(help_text)
    assert offered("Commands:\n  serve  answer\n  clear  empty\n") == ["clear", "serve"]
    manual = ".It Cm serve\n.It Cm stats Op Fl Fl json\n"
    readme = "Run `tuck serve`, or\n```\ntuck exec -- make\n```\nstats"
    tree.expect(undocumented(["serve", "stats", "exec"], manual, readme),
                f"{MANUAL} has no entry for exec", f"{README} does not show stats")
    manual = ".It Va dir , Fl Fl dir Ns = Ns Ar path , Ev TUCK_DIR\n.It Fl Fl log Ns = Ns Ar file\n"
    tree.expect(unmentioned_settings(["dir", "log"], manual), "variable of the setting log", "key of the setting log")


@case()
def a_manual_page_with_an_unknown_macro_is_found(directory):
    need_program("mandoc")
    tree.plant(directory, MANUAL, ".Dd February 1, 2026\n.Dt TUCK 1\n.Os\n.Sh NAME\n.Nm tuck\n.Nd a cache\n"
                                  ".Sh DESCRIPTION\n.Zz\n")
    assert any("Zz" in line for line in manual_complaints(directory)), manual_complaints(directory)


run(__name__)

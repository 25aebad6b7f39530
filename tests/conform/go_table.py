# SPDX-License-Identifier: MIT
"""
What real go commands do with a helper that misbehaves: runs `go build` against every case about clients and writes the
table in section 6 of protocol/SPEC.md from that.

    TUCK_CONFORM_BIN=build/cmd/tuck-conform/tuck-conform tests/conform/go_table.py [--write] [--go VERSION]... [--keep DIR]

Without --write the table goes to stdout. With --keep the results of each version are left in DIR and those that are
there are taken, so that a run that was broken off goes on. All versions take an hour on two processors.
"""
import argparse, json, os, re, subprocess, sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
for folder in ("harness", "e2e", "conform"):
    sys.path.insert(0, os.path.join(os.path.dirname(HERE), folder))
import world  # noqa: E402
from conform import SCALE, conform_bin, run as run_conform  # noqa: E402

PAGE = os.path.join(ROOT, "protocol", "SPEC.md")
BEGIN, END = "<!-- tests/conform/go_table.py writes what follows -->", "<!-- to here -->"
VERSIONS = ["local", "go1.24.13", "go1.25.12", "go1.27.4"]
# The program is run as well: a build that succeeds with another's output would show there.
BROKEN = 70
SCRIPT = f'''out=$TMPDIR/app.$$
go build -o "$out" .
status=$?
if test $status = 0; then test "$("$out" 2>&1)" = bare || status={BROKEN}; fi
rm -f "$out"
exit $status
'''
SHOWN = 100  # characters of a message


def environment(go, directory):
    """The judge hands its own on to the client."""
    os.makedirs(os.path.join(directory, "tmp"), exist_ok=True)
    kept = {name: os.environ[name] for name in ("LANG", "TUCK_CONFORM_PROFILES") if name in os.environ}
    return {**kept, **go.kept, "PATH": f"{os.path.dirname(go.program)}:/usr/local/bin:/usr/bin:/bin", "GOTOOLCHAIN": "local",
            "HOME": directory, "GOCACHE": os.path.join(directory, "cache"), "TMPDIR": os.path.join(directory, "tmp"),
            "GOENV": "off", "GOFLAGS": "-buildvcs=false", "GOPATH": os.path.join(directory, "go")}


def version_of(go):
    told = subprocess.run([go.program, "env", "GOVERSION"], capture_output=True, text=True, cwd="/", timeout=world.LIMIT,
                          env={**os.environ, "GOTOOLCHAIN": "local"})
    return told.stdout.strip()


def judged(go, directory, words=()):
    """Case id → its record in tuck-conform's JSON."""
    module = os.path.join(directory, "module")
    os.makedirs(module, exist_ok=True)
    for name, text in {**world.BARE, "build.sh": SCRIPT}.items():
        with open(os.path.join(module, name), "w") as file:
            file.write(text)
    report = os.path.join(directory, "report.json")
    done = run_conform("--client", f"--json={report}", f"--timeout-scale={SCALE}", "--jobs=2", *words, "--", "sh", "build.sh",
                       cwd=module, env=environment(go, directory), timeout=7200)
    assert done.returncode in (0, 1), f"status {done.returncode}: {done.stderr}"
    with open(report) as file:
        return {one["case"]: one for one in json.load(file)["cases"]}


# -- words -------------------------------------------------------------------------------------------------------------
def message(text):
    """The first line that was printed, without what differs from machine to machine."""
    line = text.split("\\n")[0]
    line = re.sub(r'"?/[^ "]*/(no-such-program|foreign)"?', r"…/\1", line)
    line = re.sub(r"GOCACHEPROG \S*/[\w.-]+", "GOCACHEPROG …/tuck-conform", line)
    line = re.sub(r"fork/exec \S+ ","fork/exec …: ", line).replace("|", "¦").replace("`", "'")
    line = re.sub(r"/\S*/([\w-]+\.go):[\d:]+", r"…/\1:", line)
    line = re.sub(r"(/[\w.-]+){3,}/", "…/", re.sub(r"\bbyte \d+", "byte …", line))
    return line if len(line) <= SHOWN else line[:SHOWN] + " …"


def kind(one):
    """What it comes to, the part that is the same in every run: what the tests compare."""
    run = one["run"]
    if run["end"] == "forced":
        return "does not end"
    if run["end"] == "signal" or run["status"] > 128:
        return "is killed" if "killed: the client" in one["title"] else "dies by a signal"
    if run["status"] == BROKEN:
        return "builds a program that does not run"
    if run["status"] != 0:
        return f"exit {run['status']}"
    if not run["bent"] or not run["warm"]:
        return "builds"
    return "builds anew: no hit" if run["made"] else "takes the hits"


def cell(one):
    text, said = kind(one), message(one["run"]["printed"])
    if text.startswith("exit") or text == "does not end" and said.startswith("#"):
        text += f", `{said}`"
    return text + (" †" if one["verdict"] == "failed" else "")


def span(versions, every):
    return "all" if versions == every else ", ".join(one.removeprefix("go").rsplit(".", 1)[0] for one in versions)


def table(results):
    """The lines of the table; results: version → case id → record."""
    every = sorted(results, key=lambda name: [int(part) for part in re.findall(r"\d+", name)])
    lines = [f"From `go build` of a small program, {', '.join(name.removeprefix('go') for name in every)}, each run judged by "
             "`tuck-conform --client`;", "† marks what the clause does not allow a library.", "",
             "| case | misbehaviour | Go | what the go command does |", "|---|---|---|---|"]
    for name in results[every[-1]]:
        cells = {version: cell(results[version][name]) for version in every}
        for text in dict.fromkeys(cells.values()):
            versions = [version for version in every if cells[version] == text]
            title = results[every[-1]][name]["title"].split(":")[0]
            lines.append(f"| {name} | `{title}` | {span(versions, every)} | {text} |")
    return lines


def rows(page):
    """(case id, misbehaviour, versions, text) of every row, and the versions of the table."""
    block = page.split(BEGIN)[1].split(END)[0] if BEGIN in page and END in page else ""
    every = re.search(r"small program, ([\d., ]+),", block)
    every = [".".join(one.split(".")[:2]) for one in every[1].split(", ")] if every else []
    found = re.findall(r"^\| (L-\S+) \| `([\w-]+)` \| ([^|]+) \| ([^|]+) \|$", block, re.M)
    return [(name, title, every if versions == "all" else versions.split(", "), text)
            for name, title, versions, text in found], every


def write(results):
    with open(PAGE, encoding="utf-8") as file:
        page = file.read()
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    with open(PAGE, "w", encoding="utf-8") as file:
        file.write(before + "\n".join([BEGIN, "", *table(results), "", END]) + after)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--go", action="append")
    parser.add_argument("--keep", default=None)
    parser.add_argument("--filter", default=None)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    results = {}
    for version in options.go or VERSIONS:
        go = world.Go(version)
        if go.missing:
            print(f"not judged: {go.missing}", file=sys.stderr)
            continue
        name = version_of(go)
        kept = os.path.join(options.keep, f"{name}.json") if options.keep else None
        if kept and os.path.exists(kept):
            with open(kept) as file:
                results[name] = json.load(file)
            continue
        with world.tempfile.TemporaryDirectory() as directory:
            results[name] = judged(go, directory, [f"--filter={options.filter}"] if options.filter else [])
        if kept:
            with open(kept, "w") as file:
                json.dump(results[name], file)
    if options.write:
        write(results)
    else:
        print("\n".join(table(results)))


if __name__ == "__main__":
    main()

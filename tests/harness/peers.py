# SPDX-License-Identifier: MIT
"""
The relatives that tuck is compared with, by tests/bench/run and by tests/conformance/peers: installing them, how each
is told its directory, and which version it is. A missing relative costs its comparisons, not the run.
"""
import os, re, subprocess

# Where a newest version needs a newer Go than can be had, the last one is known to build with Go 1.26.
PEERS = {
    "go-cacher": ["github.com/bradfitz/go-tool-cache/cmd/go-cacher@latest"],
    "cigocacher": ["tailscale.com/cmd/cigocacher@latest", "tailscale.com/cmd/cigocacher@v1.102.3"],
}


def find(directory, install, say):
    """{name: program} of those that lie in the directory, after an attempt to install the others there."""
    found = {}
    for name, sources in PEERS.items():
        path = os.path.join(directory, name)
        environment = dict(os.environ, GOBIN=directory, GOFLAGS="", GOTOOLCHAIN="auto")
        for source in sources if install and not os.path.exists(path) else []:
            say(f"installing {source}")
            if subprocess.run(["go", "install", source], env=environment, capture_output=True).returncode == 0:
                break
        if os.path.exists(path):
            found[name] = path
        else:
            say(f"{name} cannot be had; it is left out")
    return found


def command(name, program, directory):
    """The words that start a relative on this directory."""
    return [program, "--cache-dir", directory]


def version(program):
    """The module version that the go command wrote into the program."""
    told = subprocess.run(["go", "version", "-m", program], capture_output=True, text=True).stdout
    seen = re.search(r"^\s+mod\s+(\S+)\s+(\S+)", told, re.M)
    return f"{seen[1]} {seen[2]}" if seen else "unknown version"

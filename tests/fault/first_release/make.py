#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Makes the fixture anew: a cache as helpers of the first release have left it, and what is in it.

    git archive 4fc342b | tar x -C DIR && meson setup --buildtype=release DIR/build DIR && ninja -C DIR/build
    tests/fault/first_release/make.py DIR/build/cmd/tuck/tuck

cache.tar.gz is the directory, expected.json what a helper has to answer: for each action the output, the size and the
time of the put, or null where it must be a miss; and the counters as the first release itself tells them.
"""
import calendar, gzip, io, json, os, re, shutil, signal, subprocess, sys, tarfile, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
from faults import Place, body  # noqa: E402
from helper import action_id, expect_hit, expect_put, output_id  # noqa: E402

PAGE = 4096


def nanoseconds(text):
    """RFC 3339 in UTC with any number of digits behind the second."""
    whole, fraction = re.fullmatch(r"(.*?)(?:\.(\d+))?Z", text).groups()
    return calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) * 10**9 + int((fraction or "0").ljust(9, "0"))


class Maker:
    def __init__(self, directory, program):
        self.place = Place(os.path.join(directory, "place"))
        self.program = program
        self.expected = {}
        self.bodies = {}

    def helper(self, **more):
        return self.place.helper(command=[self.program], **more)

    def put(self, helper, name, content):
        action = action_id(name)
        answer = helper.put(action, content)
        expect_put(answer, content)
        self.expected[action.hex()] = {"name": name, "output": output_id(content).hex(), "size": len(content),
                                       "put_ns": None}
        self.bodies[action.hex()] = content

    def fill(self):
        """Enough for several pages; sizes around what is special; outputs that are shared, and one put durably."""
        with self.helper() as helper:
            for number in range(90):
                self.put(helper, f"small {number}", body(f"small {number % 70}", 100 + number % 70))
            for size in (0, 1, 4096, 4097, 70_000):
                self.put(helper, f"of {size}", body(f"of {size}", size))
            assert helper.finish() == 0
        with self.helper(env={"TUCK_DURABILITY": "strict"}) as helper:
            self.put(helper, "durable", body("durable", 900))
            assert helper.finish() == 0

    def use(self):
        """Hits, a miss, and an action that is given a new output: the object of the old one is nobody's any more."""
        with self.helper() as helper:
            for number in range(20):
                expect_hit(helper.get(action_id(f"small {number}")), body(f"small {number}", 100 + number))
            assert helper.get(action_id("never put"))["Miss"]
            self.put(helper, "small 69", body("another output", 333))
            assert helper.finish() == 0

    def spool(self):
        """While somebody holds all pages: these entries are left beside the index."""
        import fcntl
        import struct
        with open(self.place.entries(), "r+b") as file, self.helper() as helper:
            lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 2 * PAGE, 0, 0)
            fcntl.fcntl(file, 37, lock)  # F_OFD_SETLK
            for number in range(3):
                self.put(helper, f"spooled {number}", body(f"spooled {number}", 500))
            assert helper.finish() == 0
        assert len(os.listdir(self.place.path("index", "spool"))) == 1

    def leave_a_lease(self):
        """Of a helper that was killed after it had given out an object."""
        with self.helper() as helper:
            expect_hit(helper.get(action_id("of 4096")), body("of 4096", 4096))
            helper.kill()
            assert helper.wait() == -signal.SIGKILL
        assert len(os.listdir(self.place.path("leases"))) == 1

    def look_up_times(self):
        """A copy is asked, so that what is asked leaves no trace."""
        copy = self.place.copy(self.place.directory + " copy")
        with copy.helper(command=[self.program]) as helper:
            for action, entry in self.expected.items():
                answer = helper.get(bytes.fromhex(action))
                expect_hit(answer, self.bodies[action])
                entry["put_ns"] = nanoseconds(answer["Time"])
            assert helper.finish() == 0

    def damage(self):
        """A record that is no longer whole, an object with other content, one that is gone."""
        with open(self.place.entries(), "r+b") as file:
            at = file.read().index(action_id("small 30"))
            file.seek(at + 40)
            byte = file.read(1)
            file.seek(at + 40)
            file.write(bytes([byte[0] ^ 1]))
        changed = self.place.object(body("small 31", 131))
        os.chmod(changed, 0o600)
        with open(changed, "r+b") as file:
            file.write(b"something else")
        os.chmod(changed, 0o400)
        os.unlink(self.place.object(body("small 32", 132)))
        for name in ("small 30", "small 31", "small 32"):
            self.expected[action_id(name).hex()] = None

    def write(self):
        env = os.environ | self.place.settings() | {"GOCACHE": self.place.gocache}
        told = subprocess.run([self.program, "stats", "--json"], env=env, capture_output=True, check=True, text=True)
        expected = {"made": int(time.time()), "entries": self.expected, "stats": json.loads(told.stdout)}
        del expected["stats"]["dir"]
        with open(os.path.join(HERE, "expected.json"), "w") as file:
            json.dump(expected, file, indent=1, sort_keys=True)
            file.write("\n")

        def plain(info):
            info.uid = info.gid = 0
            info.uname = info.gname = "root"
            return info
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w") as archive:
            archive.add(self.place.root, "root", filter=plain)
        with open(os.path.join(HERE, "cache.tar.gz"), "wb") as file:
            file.write(gzip.compress(raw.getvalue(), 9, mtime=0))


def main():
    directory = tempfile.mkdtemp(prefix="tuck-first-release-")
    try:
        maker = Maker(directory, os.path.abspath(sys.argv[1]))
        maker.fill()
        maker.use()
        maker.spool()
        maker.leave_a_lease()
        maker.look_up_times()
        maker.damage()
        maker.write()
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()

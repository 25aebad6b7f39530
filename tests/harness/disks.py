# SPDX-License-Identifier: MIT
"""
Disks that can be pulled out, broken, filled up and put back: ext4 in an image file behind a loop device. Needs root;
a test on a machine that cannot mount skips.

    with Disk(directory, "d1") as disk:
        disk.path        where it is mounted
        disk.pull()      everything on it fails with EIO from now on
        disk.put_back()
"""
import contextlib, errno, fcntl, os, struct, subprocess
import tap

FS_IOC_SHUTDOWN = 0x8004587D


def _run(*words):
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout.strip()


def use_up_space(path):
    """Fills the file system to its last byte; returns the file that holds it."""
    filler = os.path.join(path, "filler")
    with open(filler, "ab", buffering=0) as file:
        size = 1 << 20
        while size:
            try:
                file.write(b"\0" * size)
            except OSError as error:
                assert error.errno == errno.ENOSPC, error
                size //= 2
    return filler


class Disk:
    def __init__(self, directory, name, size=24 << 20):
        tap.need_root()
        for program in ("mkfs.ext4", "losetup", "mount", "umount"):
            tap.need_program(program)
        self.path, self.image = os.path.join(directory, name), os.path.join(directory, name + ".image")
        os.makedirs(self.path)
        with open(self.image, "wb") as file:
            file.truncate(size)
        self.loops = []
        self.is_mounted, self.is_broken = False, True
        try:
            _run("mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal" if size < 4 << 20 else "has_journal", self.image)
            self.mount()
        except OSError as error:
            self.close()
            tap.skip(f"cannot make a disk here: {error}")

    def mount(self, options="rw"):
        """Through a device of its own, as a disk that is plugged in again has one, unless it was only unmounted: whoever
        holds files on it still has the same file system then."""
        if self.is_broken:
            self.loops.append(_run("losetup", "-f", "--show", self.image))
        self.is_broken = False
        _run("mount", "-o", options + ",errors=remount-ro", self.loops[-1], self.path)
        self.is_mounted = True

    def unmount(self):
        """Also while a helper holds files on it: it keeps them, and everybody else finds an empty directory."""
        if self.is_mounted:
            _run("umount", "-l", self.path)
        self.is_mounted = False

    def pull(self):
        """What was written is on the disk; whatever is asked of it now fails with EIO."""
        self.is_broken = True
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, FS_IOC_SHUTDOWN, struct.pack("I", 0))
        finally:
            os.close(fd)

    def put_back(self, options="rw"):
        self.unmount()
        self.mount(options)

    def fail_to_read_only(self):
        """The file system finds an error in itself and takes no more writes, nor what it has not written yet."""
        os.sync()
        trigger = f"/sys/fs/ext4/{os.path.basename(self.loops[-1])}/trigger_fs_error"
        if not os.path.exists(trigger):
            tap.skip("this kernel triggers no errors of ext4")
        self.is_broken = True
        with open(trigger, "w") as file:
            file.write("test")

    def fill(self):
        """To its last byte; returns what to remove to get the room back."""
        return use_up_space(self.path)

    def close(self):
        with contextlib.suppress(OSError):
            self.unmount()
        for loop in self.loops:
            with contextlib.suppress(OSError):
                _run("losetup", "-d", loop)
        self.loops = []

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

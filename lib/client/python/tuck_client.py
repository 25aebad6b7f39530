# SPDX-License-Identifier: MIT
"""
Talk to a GOCACHEPROG helper from Python, through libtuck and ctypes: no compiler is needed.

    with tuck_client.Client(os.environ["GOCACHEPROG"]) as client:
        answer = client.get(action)                    # None is a miss
        if answer is None:
            answer = client.put(action, b"what the step made")
        print(answer.path)

Waiting calls release the interpreter's lock, and any number of threads may use one client. submit_get() and submit_put()
return futures; they move on while somebody waits in the client, with thread=True always, or in an event loop:

    loop.add_reader(client.fileno(), client.dispatch)
    answer = await asyncio.wrap_future(client.submit_get(action))

libtuck is found by its name, or where TUCK_LIB says. tuck/client.h has the contract of every function used here.
"""
from __future__ import annotations

import concurrent.futures
import ctypes
import dataclasses
import itertools
import os
import threading
from ctypes import POINTER, byref, c_char, c_char_p, c_int, c_int32, c_int64, c_size_t, c_uint8, c_uint32, c_uint64, \
    c_void_p
from typing import BinaryIO, Mapping, Optional, Sequence, Union

__all__ = ["Client", "Answer", "End", "Error", "version"]

OK, MISS, NOT_STORED, FORCED, ENDED = 0, 1, 2, 4, 5
GET, PUT, CLOSE = 1, 2, 3
NO_LIMIT = 0xFFFFFFFF
FLAGS = {"thread": 1, "own_group": 2, "no_wait": 4}
MODES = {"go": 0, "strict": 1}
NAMES = {"OutputID": 0, "ObjectID": 1, "both": 2}
CHECKS = {None: 0, "nothing": 1, "file": 2, "bytes": 3}
STDERR = {"inherit": 0, "capture": 1, "discard": 3}
HOW = ("runs", "exit", "signal", "unknown", "stuck")

Body = Union[bytes, bytearray, memoryview, BinaryIO]


# --- The structs of tuck/client.h -------------------------------------------------------------------------------------
class _Error(ctypes.Structure):
    _fields_ = [("code", c_int), ("os", c_int), ("text", c_char * 504)]


class _Options(ctypes.Structure):
    _fields_ = [("struct_size", c_uint32), ("flags", c_uint32), ("command", c_char_p), ("argv", POINTER(c_char_p)),
                ("environment", POINTER(c_char_p)), ("mode", c_uint32), ("names", c_uint32), ("check", c_uint32),
                ("stderr_to", c_uint32), ("stderr_fd", c_int32), ("stderr_limit", c_uint32),
                ("handshake_ms", c_uint32), ("timeout_ms", c_uint32), ("close_ms", c_uint32), ("kill_ms", c_uint32),
                ("max_pending", c_uint32)]


class _Body(ctypes.Structure):
    _fields_ = [("kind", c_uint32), ("flags", c_uint32), ("size", c_uint64), ("data", c_void_p), ("read", c_void_p),
                ("arg", c_void_p), ("fd", c_int32), ("reserved", c_int32)]


class _Request(ctypes.Structure):
    _fields_ = [("struct_size", c_uint32), ("command", c_uint32), ("action", c_char_p), ("output", c_char_p),
                ("body", _Body), ("timeout_ms", c_uint32), ("check", c_uint32)]


class _Answer(ctypes.Structure):
    _fields_ = [("output", c_uint8 * 32), ("size", c_uint64), ("time_s", c_int64), ("time_ns", c_uint32),
                ("has_time", c_uint32), ("reserved", c_uint64 * 4), ("path", c_char * 4096)]


class _End(ctypes.Structure):
    _fields_ = [("how", c_uint32), ("status", c_int32), ("signal_sent", c_int32), ("pid", c_int32)]


_Done = ctypes.CFUNCTYPE(None, c_void_p, c_int, POINTER(_Answer), POINTER(_Error))


def _load() -> ctypes.CDLL:
    lib = ctypes.CDLL(os.environ.get("TUCK_LIB") or "libtuck.so.0")
    client, error = c_void_p, POINTER(_Error)
    for name, result, arguments in (
            ("open", c_int, [POINTER(_Options), POINTER(c_void_p), error]),
            ("close", c_int, [client, error]),
            ("free", None, [client]),
            ("can", c_int, [client, c_int]),
            ("call", c_int, [client, POINTER(_Request), POINTER(_Answer), error]),
            ("submit", c_int, [client, POINTER(_Request), _Done, c_void_p, POINTER(c_uint64), error]),
            ("cancel", c_int, [client, c_uint64]),
            ("wait", c_int, [client, c_uint32]),
            ("fd", c_int, [client]),
            ("dispatch", c_int, [client, error]),
            ("end", None, [client, POINTER(_End)]),
            ("stderr", c_size_t, [client, c_char_p, c_size_t]),
            ("status_name", c_char_p, [c_int]),
            ("version", c_char_p, [])):
        function = getattr(lib, "tuck_client_" + name)
        function.restype, function.argtypes = result, arguments
    return lib


_lib = _load()


def version() -> str:
    """The version of the library in use."""
    return _lib.tuck_client_version().decode()


# --- What callers see -------------------------------------------------------------------------------------------------
class Error(Exception):
    """A failure: `name` is its TUCK_CLIENT_… without the prefix, `os` an errno or 0."""

    def __init__(self, code: int, os_number: int = 0, text: str = ""):
        self.code, self.os = code, os_number
        self.name = _lib.tuck_client_status_name(code).decode().removeprefix("TUCK_CLIENT_")
        super().__init__(text or self.name)


@dataclasses.dataclass(frozen=True)
class Answer:
    """A hit, or what a put came to."""
    output: bytes            # 32 bytes, the SHA-256 of the file
    size: int                # bytes
    time_ns: Optional[int]   # hit: when the action was last put, nanoseconds since 1970
    path: str


@dataclasses.dataclass(frozen=True)
class End:
    """How the helper's process ended."""
    how: str                 # "runs", "exit", "signal", "unknown" or "stuck"
    status: int              # exit status, or number of the signal
    signal_sent: int         # by the client, or 0


def _answer(raw: _Answer) -> Answer:
    when = raw.time_s * 10**9 + raw.time_ns if raw.has_time else None
    return Answer(bytes(raw.output), raw.size, when, os.fsdecode(raw.path))


def _failure(status: int, error: _Error) -> Error:
    return Error(status, error.os, os.fsdecode(error.text))


def _ms(seconds: Optional[float], by_default: int = 0) -> int:
    if seconds is None:
        return by_default
    return NO_LIMIT if seconds == float("inf") else max(1, min(NO_LIMIT - 1, round(seconds * 1000)))


def _strings(words: Sequence[Union[str, bytes]]):
    return (c_char_p * (len(words) + 1))(*map(os.fsencode, words), None)


def _caller_back(lock: threading.Lock, waiting: dict):
    """The callback of one client; it does not hold on to the client, so that this goes when nobody else does."""
    def called_back(key, status, answer, error):
        with lock:
            future, _kept = waiting.pop(key)
        if not future.set_running_or_notify_cancel():
            return
        if status < 0:
            future.set_exception(_failure(status, error.contents))
        else:
            future.set_result(_answer(answer.contents) if status == OK else None)
    return _Done(called_back)


class Client:
    """One helper. Times are in seconds; None is the library's default, inf no limit."""

    def __init__(self, command: Optional[str] = None, *, argv: Optional[Sequence[str]] = None,
                 environment: Optional[Mapping[str, str]] = None, mode: str = "go", names: str = "OutputID",
                 check: str = "file", stderr: Union[str, int] = "inherit", stderr_limit: int = 0,
                 handshake: Optional[float] = None, timeout: Optional[float] = None, close: Optional[float] = None,
                 kill: Optional[float] = None, max_pending: int = 0, thread: bool = False, own_group: bool = False,
                 no_wait: bool = False):
        self._handle = None
        self._stderr_limit = stderr_limit or 16384
        self._lock = threading.Lock()
        self._tickets = itertools.count(1)
        self._waiting: dict = {}                    # ticket -> (future, what has to stay alive)
        self._done = _caller_back(self._lock, self._waiting)
        options = _Options(struct_size=ctypes.sizeof(_Options), mode=MODES[mode], names=NAMES[names],
                           check=CHECKS[check], stderr_limit=stderr_limit, handshake_ms=_ms(handshake),
                           timeout_ms=_ms(timeout), close_ms=_ms(close), kill_ms=_ms(kill), max_pending=max_pending)
        options.flags = thread * FLAGS["thread"] | own_group * FLAGS["own_group"] | no_wait * FLAGS["no_wait"]
        if command is not None:
            options.command = os.fsencode(command)
        if argv is not None:
            options.argv = _strings(argv)
        if environment is not None:
            options.environment = _strings([f"{name}={value}" for name, value in environment.items()])
        if isinstance(stderr, int):
            options.stderr_to, options.stderr_fd = 2, stderr
        else:
            options.stderr_to = STDERR[stderr]
        handle, error = c_void_p(), _Error()
        status = _lib.tuck_client_open(byref(options), byref(handle), byref(error))
        if status != OK:
            raise _failure(status, error)
        self._handle = handle

    # -- one at a time -------------------------------------------------------------------------------------------------
    def can(self, command: str) -> bool:
        """Whether the helper has announced "get", "put" or "close"."""
        number = {"get": GET, "put": PUT, "close": CLOSE}[command]
        return bool(_lib.tuck_client_can(self._open(), number))

    def get(self, action: bytes, *, timeout: Optional[float] = None, check: Optional[str] = None) -> Optional[Answer]:
        """The answer, or None for a miss. Waits."""
        return self._call(*self._request(GET, action, None, None, timeout, check))

    def put(self, action: bytes, body: Body, *, output: Optional[bytes] = None, timeout: Optional[float] = None,
            check: Optional[str] = None) -> Optional[Answer]:
        """Stores bytes, or a regular file that is open; None if the helper takes no puts. Waits."""
        return self._call(*self._request(PUT, action, body, output, timeout, check))

    # -- many at a time ------------------------------------------------------------------------------------------------
    def submit_get(self, action: bytes, *, timeout: Optional[float] = None,
                   check: Optional[str] = None) -> concurrent.futures.Future[Optional[Answer]]:
        return self._submit(*self._request(GET, action, None, None, timeout, check))

    def submit_put(self, action: bytes, body: Body, *, output: Optional[bytes] = None,
                   timeout: Optional[float] = None,
                   check: Optional[str] = None) -> concurrent.futures.Future[Optional[Answer]]:
        return self._submit(*self._request(PUT, action, body, output, timeout, check))

    def wait(self, timeout: Optional[float] = None) -> bool:
        """Waits for all that was submitted; False if the time was up before."""
        status = _lib.tuck_client_wait(self._open(), _ms(timeout, NO_LIMIT))
        if status not in (OK, -6):
            raise Error(status)
        return status == OK

    # -- in an event loop ----------------------------------------------------------------------------------------------
    def fileno(self) -> int:
        """A descriptor that is readable when dispatch() has something to do; not with thread=True."""
        return _lib.tuck_client_fd(self._open())

    def dispatch(self) -> bool:
        """Does what there is to do; False when the helper has ended and nothing is left. Failures go to the futures."""
        return _lib.tuck_client_dispatch(self._open(), None) != ENDED

    # -- the end -------------------------------------------------------------------------------------------------------
    def close(self) -> End:
        """Ends the conversation in bounded time and tells how the helper ended. Raises what had gone wrong before."""
        error = _Error()
        status = _lib.tuck_client_close(self._open(), byref(error))
        if status < 0:
            raise _failure(status, error)
        return self.end()

    def end(self) -> End:
        raw = _End()
        _lib.tuck_client_end(self._open(), byref(raw))
        return End(HOW[raw.how], raw.status, raw.signal_sent)

    def stderr(self) -> bytes:
        """The end of what the helper said, with stderr="capture"."""
        buffer = ctypes.create_string_buffer(self._stderr_limit + 1)
        length = _lib.tuck_client_stderr(self._open(), buffer, len(buffer))
        return buffer.raw[:length]

    def free(self) -> None:
        """Releases everything; kills a helper that was not closed."""
        handle, self._handle = self._handle, None
        if handle and _lib:  # which is gone at the interpreter's end
            _lib.tuck_client_free(handle)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, kind, _value, _trace) -> None:
        try:
            if kind is None and self._handle and self.end().how == "runs":
                self.close()
        finally:
            self.free()

    def __del__(self) -> None:
        self.free()

    # -- within --------------------------------------------------------------------------------------------------------
    def _open(self) -> c_void_p:
        if not self._handle:
            raise Error(-4)
        return self._handle

    @staticmethod
    def _request(command, action, body, output, timeout, check):
        """The struct, and what has to stay alive until it has ended."""
        for name, value in (("action", action), ("output", output)):
            if value is not None and len(value) != 32:
                raise ValueError(f"an {name} id has 32 bytes")
        action, output = bytes(action), None if output is None else bytes(output)
        request = _Request(struct_size=ctypes.sizeof(_Request), command=command, timeout_ms=_ms(timeout),
                           check=CHECKS[check])
        request.action, request.output = action, output  # addresses: NULs in them are no end
        kept: list = [action, output, body]
        if body is not None and hasattr(body, "fileno"):
            if hasattr(body, "flush"):
                body.flush()
            request.body.kind, request.body.fd = 2, body.fileno()
        elif body is not None:
            raw = bytes(body)
            kept.append(raw)
            request.body.kind, request.body.size = 1, len(raw)
            request.body.data = ctypes.cast(ctypes.c_char_p(raw), c_void_p)
        return request, kept

    def _call(self, request: _Request, _kept: list) -> Optional[Answer]:
        answer, error = _Answer(), _Error()
        status = _lib.tuck_client_call(self._open(), byref(request), byref(answer), byref(error))
        if status < 0:
            raise _failure(status, error)
        return _answer(answer) if status == OK else None

    def _submit(self, request: _Request, kept: list) -> concurrent.futures.Future:
        future: concurrent.futures.Future = concurrent.futures.Future()
        error, key = _Error(), next(self._tickets)
        with self._lock:
            self._waiting[key] = (future, kept)
        status = _lib.tuck_client_submit(self._open(), byref(request), self._done, key, None, byref(error))
        if status != OK:
            with self._lock:
                del self._waiting[key]
            raise _failure(status, error)
        return future

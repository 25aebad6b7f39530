# SPDX-License-Identifier: MIT
"""Input that no client sends, and surroundings that no user wants: rule G0 holds in all of them."""
import base64, contextlib, json, os, re, resource, shutil, stat, subprocess, time

from judge import (KNOWN, KNOWN_BODY, LONG, PROMPT, SANITIZED, TUCK, Memory, Place, about, bytes_of, cpu_ns,
                   descriptors, objects_of, plain_user, provoke, put_or_err, remark, time_ns, truthful, tuck_only,
                   works)
from helper import action_id, b64, expect_hit, expect_miss, expect_put, output_id
from tap import case, need_program, run, skip

HELLO = b"hello"
GET = b'{"ID":50,"Command":"get","ActionID":"%s"}\n\n' % b64(KNOWN).encode()


def put_of(action, body=HELLO, number=50, **more):
    """A put by its raw ids, whatever they are."""
    fields = {"ID": number, "Command": "put", "ActionID": b64(action), "OutputID": b64(output_id(body))}
    fields |= ({"BodySize": len(body)} if body else {}) | more
    raw = json.dumps(fields, separators=(",", ":")).encode() + b"\n\n"
    return raw + (b'"' + base64.b64encode(body) + b'"\n' if body else b"")


# -- requests ----------------------------------------------------------------------------------------------------------
@case("X-01")
def an_unknown_command_is_answered_with_err_and_the_next_request_served(directory):
    with Place(directory) as place:
        for command in (b'"get2"', b'""', b'"GET"', b'"Put"', b'"close "', b'"\\u0000"', b'"get\\u0000"', b"5", b"null",
                        b"true", b"[]", b'["get"]', b'{"get":1}', b'"' + b"x" * 50_000 + b'"', None):
            field = b"" if command is None else b',"Command":' + command
            for more in (b"}\n\n", b',"ActionID":"%s"}\n\n' % b64(KNOWN).encode(),
                         b',"ActionID":"%s","OutputID":"%s","BodySize":5}\n\n"aGVsbG8="\n' % (
                             b64(action_id("unknown")).encode(), b64(output_id(HELLO)).encode())):
                verdict = provoke(place, b'{"ID":50' + field + more, 50, never=[action_id("unknown")])
                verdict.refused(50, tuck="Err")


def noise(size):
    return bytes_of("noise", size)


GARBAGE = {
    "a line of text": b"hello, world\n",
    "an HTTP request": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "noise": noise(4096), "much noise": noise(1 << 20),
    "NULs": b"\0" * 10_000, "ones": b"\xff" * 10_000,
    "a byte order mark": b"\xef\xbb\xbf" + GET,
    "UTF-16": GET.decode().encode("utf-16"),
    "an object that never ends": b'{"ID":50,"Command":"get","ActionID":',
    "a string that never ends": b'{"ID":50,"Command":"',
    "an escape that never ends": b'{"ID":50,"Command":"\\',
    "a top-level string that never ends": b'"aGVsbG8',
    "a body that never ends": put_of(action_id("never ends"))[:-4],
    "a brace": b"{", "a closing brace": b"}", "a bracket": b"[", "a quote": b'"', "a backslash": b"\\", "a comma": b",",
    "a trailing comma": b'{"ID":50,"Command":"get","ActionID":"%s",}\n\n' % b64(KNOWN).encode(),
    "single quotes": b"{'ID':50,'Command':'close'}\n\n",
    "names without quotes": b"{ID:50,Command:\"close\"}\n\n",
    "a comment": b'/* */ {"ID":50,"Command":"close"}\n\n', "another comment": b'// x\n{"ID":50,"Command":"close"}\n\n',
    "a comment within": b'{"ID":50,/* */"Command":"close"}\n\n',
    "NaN": b'{"ID":NaN,"Command":"close"}\n\n', "Infinity": b'{"ID":50,"X":Infinity,"Command":"close"}\n\n',
    "a leading zero": b'{"ID":050,"Command":"close"}\n\n', "a plus": b'{"ID":+50,"Command":"close"}\n\n',
    "hexadecimal": b'{"ID":0x32,"Command":"close"}\n\n', "no value": b'{"ID":50,"Command"}\n\n',
    "no comma": b'{"ID":50 "Command":"close"}\n\n', "no colon": b'{"ID" 50,"Command":"close"}\n\n',
    "two colons": b'{"ID"::50,"Command":"close"}\n\n', "crossed brackets": b'{"ID":50,"X":[}],"Command":"close"}\n\n',
    "a line end in a string": b'{"ID":50,"Command":"cl\nose"}\n\n',
    "a control character in a string": b'{"ID":50,"Command":"close","X":"\x01"}\n\n',
    "a bad escape": b'{"ID":50,"Command":"close","X":"\\x41"}\n\n',
    "a bad unicode escape": b'{"ID":50,"Command":"close","X":"\\u12g4"}\n\n',
    "an empty object": b"{}\n\n", "empty objects": b"{}{}{}",
    "a handshake": b'{"ID":0,"KnownCommands":["get","put","close"]}\n\n',
    "a form feed between": b"\f" + GET, "a no-break space between": b"\xc2\xa0" + GET,
}


@case("X-02", "C-15")
def garbage_in_place_of_a_request_ends_it_or_is_answered_with_err(directory):
    with Place(directory) as place:
        for name, raw in GARBAGE.items():
            for before in (b"", GET.replace(b'"ID":50', b'"ID":49'), GET.replace(b'"ID":50', b'"ID":49').strip()):
                with about(f"{name}, after {before[:8]}"):
                    verdict = provoke(place, before + raw, 49, 50, never=[action_id("never ends")])
                    if before:  # what came before it is answered
                        assert not TUCK or verdict.answers(49), f"not answered: {verdict.stderr}"
                        for answer in verdict.answers(49):
                            expect_hit(answer, KNOWN_BODY)
                    # Some decoders are so generous that they find a request in it.
                    if TUCK or verdict.status != 0 or b'"close"' not in raw:
                        verdict.refused(50, tuck="exit")


def flood(unit, total):
    block = unit * ((1 << 20) // len(unit))
    return [block] * (total // len(block))


@case("X-02", "F-21", limit=300)
def a_flood_without_an_end_takes_no_memory_and_overflows_nothing(directory):
    megabytes = 100 << 20
    with Place(directory) as place:
        for name, parts in {
                "100 MB of letters": flood(b"x", megabytes),
                "100 MB of noise": [noise(1 << 20)] * 100,
                "a string of 100 MB": [b'"'] + flood(b"x", megabytes),
                "a field of 100 MB": [b'{"ID":50,"Command":"'] + flood(b"x", megabytes),
                "a name of 100 MB": [b'{"'] + flood(b"x", megabytes),
                "a number of 100 MB": [b'{"ID":'] + flood(b"9", megabytes),
                "escapes of 100 MB": [b'{"X":"'] + flood(b"\\\\", megabytes),
                "10 million fields": [b"{"] + flood(b'"a":1,', 60 << 20),
                "10 million values": [b'{"X":['] + flood(b"0,", 20 << 20),
                "a million braces": [b"{" * 10**6], "a million brackets": [b"[" * 10**6],
                "a million nested objects": [b'{"a":' * 10**6], "a million nested arrays": [b'{"a":' + b"[" * 10**6],
                "a million closed arrays": [b'{"a":' + b"[" * 10**6 + b"]" * 10**6 + b"}"],
                "quotes": flood(b'"', 10 << 20), "empty objects": flood(b"{}", 1 << 20),
        }.items():
            with about(name), place.session() as session, Memory(session):
                expect_put(session.put(KNOWN, KNOWN_BODY), KNOWN_BODY)
                with contextlib.suppress(BrokenPipeError):
                    for part in parts:
                        session.send(part)
                session.eof()
                session.wait_stdout_eof(PROMPT)
                assert session.wait(PROMPT) > 0, f"{name} was taken for a good end"
        place.must[KNOWN] = KNOWN_BODY


@case("X-02", "F-20", "P-08", limit=300)
def white_space_and_bodies_without_an_end_take_no_memory(directory):
    with Place(directory) as place:
        for name, parts in {
                "40 MB of blanks": flood(b" \n\t\r", 40 << 20),
                "a body of 40 MB where 5 bytes were announced": [put_of(action_id("long"))[:-11], b'"']
                + flood(b"AAAA", 40 << 20) + [b'"\n'],
                "a body of 40 MB for a request that was wrong already": [
                    b'{"ID":50,"Command":"put","ActionID":"short","OutputID":"","BodySize":5}\n\n"']
                + flood(b"AAAA", 40 << 20) + [b'"\n'],
                "a body of 40 MB of what is no base64": [put_of(action_id("long"))[:-11], b'"']
                + flood(b"!?", 40 << 20) + [b'"\n'],
                "a body of 20 MB of escapes": [put_of(action_id("long"))[:-11], b'"']
                + flood(b"\\u0041", 20 << 20) + [b'"\n'],
        }.items():
            place.never.add(action_id("long"))
            with about(name), place.session() as session, Memory(session):
                session.ask(50)
                for part in parts:
                    session.send(part)
                works(session, name)  # so it is still in step
                if "blanks" not in name:
                    assert session.answer_to(50).get("Err")


@case("X-03")
def a_value_that_is_no_object_is_refused(directory):
    with Place(directory) as place:
        for raw in (b"[]", b"[1]", b"[%s]" % GET.strip(), b'"string"', b'""', b'"aGVsbG8="', b"0", b"50", b"-1", b"1e5",
                    b"null", b"true", b"false", b"nul", b"truefalse", b"[[[[]]]]"):
            for end in (b"\n\n", b"\n", b" "):
                verdict = provoke(place, raw + end, 50)
                assert not verdict.answers(50), verdict.all
                verdict.ended()


@case("X-04")
def bytes_that_are_no_text_are_data_or_refused(directory):
    odd = [b"\xff", b"\xc3", b"\xc3(", b"\xe2\x82", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80", b"\xfe\xff" * 50,
           b"\\ud800", b"\\udc00", b"\\ud800\\ud800", b"\\udc00\\ud800", b"\\ud83d", b"\\uD83D\\uDE00",
           b"\\u0000", b"\0",
           b"a\\u0000b", b"a\0b", b"\x7f", b"\\ufffe", b"\\uffff", b"\x1b[31m", b"\xe2\x80\xa8"]
    with Place(directory) as place:
        for text in odd:
            for raw in (b'{"ID":50,"Command":"get","ActionID":"%s","X":"%s"}\n\n' % (b64(KNOWN).encode(), text),
                        b'{"ID":50,"%s":1,"Command":"get","ActionID":"%s"}\n\n' % (text, b64(KNOWN).encode()),
                        b'{"ID":50,"Command":"%s","ActionID":"%s"}\n\n' % (text, b64(KNOWN).encode()),
                        b'{"ID":50,"Command":"get%s","ActionID":"%s"}\n\n' % (text, b64(KNOWN).encode()),
                        b'{"ID":50,"Command":"get","ActionID":"%s%s"}\n\n' % (b64(KNOWN).encode(), text),
                        put_of(action_id("odd")).replace(b'aGVsbG8="', b'aGVsbG8=%s"' % text)):
                verdict = provoke(place, raw, 50, never=[action_id("odd")])
                for answer in verdict.answers(50):  # a hit can only be the one that was asked for
                    if not answer.get("Err") and not answer.get("Miss"):
                        expect_hit(answer, KNOWN_BODY)
                assert verdict.answers(50) or verdict.status > 0, f"neither answered nor refused: {raw[:100]}"


@case("X-05", "G-19")
def action_ids_of_other_length_are_kept_apart(directory):
    others = [KNOWN[:16], KNOWN[:20], KNOWN[:31], KNOWN + b"\0", KNOWN + KNOWN, KNOWN[:1], b"\0" * 31, b"\0" * 33,
              KNOWN + b"x" * 500]
    with Place(directory) as place:
        place.fill({b"\0" * 32: b"all zeros"})
        for number, other in enumerate(others):
            body = b"belongs to another action %d" % number
            verdict = provoke(place, put_of(other, body), 50)  # and KNOWN still hits with its own body
            if TUCK or not verdict.has_success(50):
                verdict.refused(50, tuck="Err")
            with place.session() as session:
                expect_hit(session.get(KNOWN), KNOWN_BODY)
                expect_hit(session.get(b"\0" * 32), b"all zeros")


@case("X-06", "P-16", "G-19")
def ids_that_decode_to_paths_lead_nowhere(directory):
    victim = os.path.join(directory, "victim")
    with Place(os.path.join(directory, "place")) as place:
        place.fill({KNOWN: KNOWN_BODY})
        with open(victim, "w") as file:
            file.write("somebody's letters")
        before = place.outside()
        names = [b"../../../victim", victim.encode(), b"..", b"../..", b"/", b"//", b"/etc/passwd\0",
                 b"../" * 10 + b"tmp", b"index/entries", b"../index/entries", b"tuck.json", b"objects", b"a/b/c", b"~",
                 b"C:\\x", b"con", b""]
        names += [name.ljust(32, b"\0") for name in names if len(name) < 32]
        for name in names:
            for raw in (put_of(name), put_of(action_id("path"), OutputID=b64(name)),
                        b'{"ID":50,"Command":"get","ActionID":"%s"}\n\n' % b64(name).encode()):
                if len(name) == 32 and b64(name).encode() in raw:
                    place.may[name] = [HELLO]  # an action id may have any bytes
                verdict = provoke(place, raw, 50)
                for answer in verdict.answers(50):
                    if answer.get("DiskPath"):
                        real = os.path.realpath(answer["DiskPath"])
                        own = tuple(os.path.realpath(path) + "/" for path in (place.root, place.gocache))
                        assert real.startswith(own), real
        assert place.outside() == before, "something was made or changed outside of the cache"
        with open(victim) as file:
            assert file.read() == "somebody's letters"


# -- a directory with traps --------------------------------------------------------------------------------------------
def planted_links(place, path, victim, folder):
    """(name, function that plants a link where the helper is about to write)"""
    def in_place_of_the_object():
        os.unlink(path)
        os.symlink(victim, path)

    def in_place_of_the_objects_directory():
        shutil.rmtree(os.path.dirname(path))
        os.symlink(folder, os.path.dirname(path))
    yield in_place_of_the_object
    yield in_place_of_the_objects_directory
    if not TUCK:
        return

    def in_place_of(*names):
        def plant():
            where = os.path.join(place.root, *names)
            if os.path.isdir(where) and not os.path.islink(where):
                shutil.rmtree(where)
            elif os.path.lexists(where):
                os.unlink(where)
            os.symlink(folder if names[-1] in ("objects", "index", "staging", "leases", "spool") else victim, where)
        plant.__name__ = "in_place_of_" + "_".join(names)
        return plant
    for names in (("objects",), ("index",), ("index", "entries"), ("index", "spool"), ("staging",), ("leases",),
                  ("README",), ("CACHEDIR.TAG",), ("tuck.json",)):
        yield in_place_of(*names)


@case("X-07")
def nothing_is_written_through_links_that_others_planted(directory):
    body = bytes_of("trap", 3000)
    scene = Place(os.path.join(directory, "count"))
    kinds = len(list(planted_links(scene, "", "", "")))
    for number in range(kinds):
        for is_running in (False, True):
            place = Place(os.path.join(directory, f"{number} {is_running}"))
            with place:
                victim, folder = os.path.join(place.directory, "victim"), os.path.join(place.directory, "folder")
                os.mkdir(folder)
                for path in (victim, os.path.join(folder, "victim")):
                    with open(path, "wb") as file:
                        file.write(b"x" * len(body))
                path = place.fill({action_id("trap"): body})[action_id("trap")]
                place.must.clear()
                plant = list(planted_links(place, path, victim, folder))[number]
                with contextlib.ExitStack() as stack:
                    session = stack.enter_context(place.session()) if is_running else None
                    if is_running:
                        works(session, "before the trap")
                    plant()
                    before = place.outside()
                    session = session or stack.enter_context(place.session())
                    truthful(session.get(action_id("trap"), timeout=PROMPT), [body])
                    for _ in range(2):
                        expect_put(session.put(action_id("trap"), body, timeout=PROMPT), body)
                        truthful(session.get(action_id("trap"), timeout=PROMPT), [body])
                    works(session, "beside the trap")
                    assert session.finish() == 0
                assert place.outside() == before, f"written through a link {plant.__name__}"


@case("X-07", "X-12")
def a_parent_that_everybody_may_write_makes_no_cache_that_everybody_may_write(directory):
    os.chmod(directory, 0o1777)
    for name, mode in (("new", None), ("of everybody", 0o777), ("of a group", 0o770)):
        if mode and not TUCK:
            continue  # the user's own doing
        with Place(os.path.join(directory, name)) as place:
            os.chmod(place.directory, 0o1777)
            if mode:
                os.mkdir(place.root)
                os.chmod(place.root, mode)
            with place.session() as session:
                works(session, name)
                assert session.finish() == 0
            nobody_else_may_write(place.root)


# -- bodies ------------------------------------------------------------------------------------------------------------
@case("X-08")
def a_body_of_anything_comes_back_byte_for_byte(directory):
    bodies = [b"\0" * 1000, b'"' * 999, b"\n" * 1001, b"\\" * 500, b"{" * 300, b"}" * 300,
              b'{"ID":1,"Command":"close"}\n\n' * 40, base64.b64encode(noise(3000)),
              b'"' + base64.b64encode(noise(300)) + b'"\n', b"\r\n" * 400, bytes(range(256)) * 300, b"\xff" * 70_000,
              b"\xfb\xef\xbe" * 1000, b"\x00\x10\x83\x10\x51\x87\x20\x92\x8b\x30\xd3\x8f" * 100, b"=" * 100,
              "ä€😀".encode() * 500, b"\xef\xbb\xbf", b"\x04", b"\x1a", b"\xff\xfe", noise(1 << 20)]
    with Place(directory) as place:
        place.fill({action_id(f"b{i}"): body for i, body in enumerate(bodies)})
        with place.session() as session:
            for i, body in enumerate(bodies):
                expect_hit(session.get(action_id(f"b{i}")), body)


@case("X-09", limit=900)
def a_crowd_of_requests_costs_linear_time_and_no_descriptor(directory):
    gets, puts = (10**6, 10**5) if LONG else (10**5, 10**4)
    with Place(directory) as place:
        place.fill({KNOWN: KNOWN_BODY})
        with place.session() as session:
            expect_put(session.put(action_id("first"), b""), b"")
            files = descriptors(session)
            for what, count, make in (
                    ("gets that miss", gets // 2, lambda i, n: session.get_bytes(action_id(f"absent {i % 1000}"), n)),
                    ("gets that hit", gets // 2, lambda i, n: session.get_bytes(KNOWN, n)),
                    ("empty puts", puts, lambda i, n: session.put_bytes(action_id(f"empty {i}"), b"", n))):
                with Memory(session):
                    costs = [cost_of(session, count // 5, part * (count // 5), make) for part in range(5)]
                remark(f"{count} {what}: {[round(cost / 1e6) for cost in costs]} ms of processor time for each fifth")
                assert costs[-1] < 4 * min(costs[:2]) + 10**8, f"{what} become slower: {costs}"
                # A directory for each first byte may stay open.
                assert len(descriptors(session)) <= len(files) + 260, "descriptors leak"
            assert session.finish() == 0


def cost_of(session, count, first, make):
    """Processor time that the helper takes for this many requests, sent without waiting for answers."""
    began = cpu_ns(session.process.pid)
    for at in range(0, count, 500):
        raw = []
        for i in range(at, min(count, at + 500)):
            number = session.id()
            raw.append(make(first + i, number))
        session.send(b"".join(raw))
    session.answer_to(number, 60)
    session.pending.clear()
    return cpu_ns(session.process.pid) - began


# -- limits ------------------------------------------------------------------------------------------------------------
SIZES = (0, 1, 3000, 65_537, 1_100_000)


def a_limited_session(place, preexec, name, may_fail_to_load=False, env=None):
    """Under whatever limit: each put is a whole file or Err, the conversation stays in step, no signal ends it."""
    stored = {}
    with place.session(preexec=preexec, handshake=False, env=env) as session:
        try:
            session.hello = session.answer_to(0, PROMPT)
        except AssertionError:  # it may not start at all under this limit, if it says so
            assert session.wait(PROMPT) != 0 and not session.stdout_raw, (name, session.stderr_raw)
            session.is_killed = may_fail_to_load  # by the kernel, before there was a helper
            assert may_fail_to_load or session.stderr_raw, f"{name}: ended without a word"
            return None
        for round_ in range(2):
            expect_miss(session.get(action_id("absent"), timeout=PROMPT))
            for size in SIZES:
                body, action = bytes_of(f"{name}", size), action_id(f"{name} {size} {round_}")
                if put_or_err(session.put(action, body, timeout=PROMPT), body):
                    stored[action] = body
                truthful(session.get(action, timeout=PROMPT), [body])
                truthful(session.get(KNOWN, timeout=PROMPT), [KNOWN_BODY])
        assert session.finish() == 0, name
    return stored


def limit(which, value):
    return lambda: resource.setrlimit(which, (value, value))


@case("X-10", "P-17")
def few_descriptors_cost_at_most_the_put(directory):
    for count in (32, 16, 12, 10, 8, 7, 6, 5, 4) if TUCK else (32,):
        with Place(os.path.join(directory, str(count))) as place:
            place.fill({KNOWN: KNOWN_BODY})
            stored = a_limited_session(place, limit(resource.RLIMIT_NOFILE, count), f"{count} descriptors")
            if count == 32:
                assert stored and len(stored) == 2 * len(SIZES), "32 descriptors are enough for everything"
            remark(f"{count} descriptors: {'did not start' if stored is None else f'{len(stored)} puts stored'}")


@case("X-10", "P-17")
def a_small_limit_of_file_size_costs_at_most_the_put_and_no_signal_ends_it(directory):
    for size in (1 << 20, 65_536, 4096, 100, 0):
        for is_fresh in (True, False) if size < 65_536 else (True,):
            with Place(os.path.join(directory, f"{size} {is_fresh}")) as place:
                if not is_fresh:
                    place.fill({KNOWN: KNOWN_BODY})
                stored = a_limited_session(place, limit(resource.RLIMIT_FSIZE, size), f"files of {size} bytes")
                fitting = sum(len(body) <= size for body in stored.values()) if stored else 0
                remark(f"files of {size} bytes: {'did not start' if stored is None else f'{len(stored)} puts stored'}")
                if TUCK and size >= 4096:
                    assert fitting == 2 * sum(s <= size for s in SIZES), "a body that fits was not stored"
                place.must.clear()


@case("X-10", "F-20")
def little_address_space_costs_at_most_the_put(directory):
    if SANITIZED:
        skip("the sanitizer needs its own address space")
    started = 0
    for megabytes in (3, 4, 5, 6, 8, 12, 16, 64) if TUCK else (64, 256, 1024, 4096):
        with Place(os.path.join(directory, str(megabytes))) as place:
            place.fill({KNOWN: KNOWN_BODY})
            stored = a_limited_session(place, limit(resource.RLIMIT_AS, megabytes << 20), f"{megabytes} MiB", True)
            remark(f"{megabytes} MiB: {'did not start' if stored is None else f'{len(stored)} puts stored'}")
            started += stored is not None
            if TUCK and megabytes >= 64:
                assert stored and len(stored) == 2 * len(SIZES), f"{megabytes} MiB are enough for everything"
    assert started, "it started under no limit: the test shows nothing"


@case("X-10", "P-17")
def without_threads_it_serves_all_the_same(directory):
    with Place(directory) as place:
        user = plain_user(place)

        def alone():
            if user:
                user()
            resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        # The search for leaks at the end would need a thread.
        options = ":".join(filter(None, (os.environ.get("ASAN_OPTIONS"), "detect_leaks=0")))
        stored = a_limited_session(place, alone, "no threads", env={"ASAN_OPTIONS": options})
        if TUCK:
            assert stored and len(stored) == 2 * len(SIZES)
            with place.session() as session:
                for action, body in stored.items():
                    expect_hit(session.get(action), body)


# -- clocks ------------------------------------------------------------------------------------------------------------
CLOCK = r"""
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static void shift(struct timespec *now) {
    const char *text = getenv("FAKE_NOW");
    static struct timespec first;
    if (!text)
        return;
    if (!first.tv_sec)
        first = *now;
    now->tv_sec = atoll(text) + now->tv_sec - first.tv_sec;
}
int clock_gettime(clockid_t id, struct timespec *now) {
    int status = (int)syscall(SYS_clock_gettime, id, now);
    if (status == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        shift(now);
    return status;
}
time_t time(time_t *ret) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (ret)
        *ret = now.tv_sec;
    return now.tv_sec;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec fine;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &fine);
    now->tv_sec = fine.tv_sec;
    now->tv_usec = fine.tv_nsec / 1000;
    return 0;
}
"""


def clock_library(directory):
    """A library that, loaded before libc, begins the wall clock at FAKE_NOW. Only for helpers that ask libc."""
    need_program("cc")
    tuck_only("not every helper asks libc for the time")
    source, library = os.path.join(directory, "clock.c"), os.path.join(directory, "clock.so")
    with open(source, "w") as file:
        file.write(CLOCK)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    return library


@case("X-11", "G-06", "G-08", limit=180)
def a_clock_that_jumps_leaves_time_valid_and_entries_in_place(directory):
    library = clock_library(directory)
    options = ":".join(filter(None, (os.environ.get("ASAN_OPTIONS"), "verify_asan_link_order=0")))
    now = int(time.time())
    year = 31_556_952
    with Place(os.path.join(directory, "place")) as place:
        model = {action_id(f"now {i}"): bytes_of(f"now {i}", 100 * i) for i in range(20)}
        place.fill(model)
        seen = False
        for when in (now - 1800, now - 2 * 86400, now + 2 * 86400, now + 400 * 86400, 2**31 - 1, 2**31, 2**32 - 1,
                     2**32 + 5, 130 * year, 300 * year, 500 * year, 946_684_800, 86_400, 1, 0, now):
            env = {"LD_PRELOAD": library, "FAKE_NOW": str(when), "ASAN_OPTIONS": options}
            with place.session(env=env) as session:
                # While the clock is behind, tuck takes puts from the future for damage: a miss, and nothing is lost.
                lost = [action for action, body in model.items() if truthful(session.get(action), [body]) is None]
                assert not lost or when < now - 3600, f"{len(lost)} entries were lost when the clock said {when}"
                for _ in range(2):
                    action, body = action_id(f"at {when}"), b"put at %d" % when
                    expect_put(session.put(action, body), body)
                    answer = session.get(action)
                    expect_hit(answer, body)
                    stamp = time_ns(answer)  # parses
                    seen = seen or when != now and when <= stamp // 10**9 <= when + 60
                    expect_put(session.put(KNOWN, body), body)  # always the same action: the last one wins
                    expect_hit(session.get(KNOWN), body)
                assert session.finish() == 0
            with place.session(env=env) as session:
                expect_hit(session.get(KNOWN), body)
                expect_hit(session.get(action), body)
        assert seen, "the clock was never moved: the test shows nothing"
        with place.session() as session:
            for action, body in model.items():
                expect_hit(session.get(action), body)
            expect_put(session.put(KNOWN, KNOWN_BODY), KNOWN_BODY)
            expect_hit(session.get(KNOWN), KNOWN_BODY)
            assert session.finish() == 0
        place.must[KNOWN] = KNOWN_BODY


# -- surroundings ------------------------------------------------------------------------------------------------------
def nobody_else_may_write(top):
    for folder, _, names in os.walk(top):
        for path in [folder] + [os.path.join(folder, name) for name in names]:
            status = os.lstat(path)
            mode = stat.filemode(status.st_mode)
            assert stat.S_ISLNK(status.st_mode) or not status.st_mode & 0o022, f"{path}: {mode}"


@case("X-12")
def under_any_umask_objects_are_readable_by_their_user_and_writable_by_nobody_else(directory):
    for mask in (0o000, 0o022, 0o077) + ((0o777, 0o277) if TUCK else ()):
        place = Place(os.path.join(directory, oct(mask)))
        user = plain_user(place)

        def masked(mask=mask):
            if user:
                user()
            os.umask(mask)
        with place:
            for _ in range(2):
                with place.session(preexec=masked) as session:
                    for size in SIZES:
                        body = bytes_of("masked", size)
                        for path in (expect_put(session.put(action_id(size), body), body),
                                     expect_hit(session.get(action_id(size)), body)):
                            assert os.stat(path).st_mode & 0o400, f"{mask:o}: {stat.filemode(os.stat(path).st_mode)}"
                    assert session.finish() == 0
            nobody_else_may_write(place.root)
            nobody_else_may_write(place.tmp)


@case("X-13")
def without_working_directory_home_and_tmpdir_it_serves_from_an_absolute_directory(directory):
    for tmp in ("/nonexistent", "/proc", "relative", ""):
        with Place(os.path.join(directory, tmp.strip("/") or "empty")) as place:
            here = os.path.join(place.directory, "here")

            def nowhere():
                os.mkdir(here)
                os.chdir(here)
                os.rmdir(here)
            env = {"HOME": None, "XDG_CONFIG_HOME": None, "TMPDIR": tmp, "PATH": None, "USER": None, "LANG": "xx_YY"}
            env |= {"XDG_CACHE_HOME": None} if TUCK else {}
            for _ in range(2):
                with place.session(env=env, preexec=nowhere) as session:
                    for size in SIZES:
                        body = bytes_of("hermetic", size)
                        expect_put(session.put(action_id(size), body), body)
                        expect_hit(session.get(action_id(size)), body)
                    assert session.finish() == 0
                assert not TUCK or session.stderr_raw == b"", session.stderr_raw
            with place.session() as session:
                for size in SIZES:
                    expect_hit(session.get(action_id(size)), bytes_of("hermetic", size))


@case("X-14")
def names_of_files_differ_in_more_than_letter_case(directory):
    with Place(directory) as place:
        for i in range(200):
            place.may[action_id(i)] = [b"%d" % i]
        paths = place.fill({action_id(i): b"%d" % i for i in range(200)})
        for path in paths.values():
            tail = os.path.relpath(path, place.gocache if path.startswith(place.gocache + "/") else place.root)
            assert tail == tail.lower() and len(os.path.basename(path)) <= 255, tail
        for folder, below, names in os.walk(place.root):
            folded = [name.lower() for name in below + names]
            assert len(set(folded)) == len(folded), f"names in {folder} differ in letter case alone"
        if TUCK:
            for path in objects_of(place):
                assert re.search("/objects/[0-9a-f]{2}/[0-9a-f]{62}$", path), path
            assert len(objects_of(place)) == 200


run(__name__)

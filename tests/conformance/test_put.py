# SPDX-License-Identifier: MIT
"""What a put leaves behind: the whole body under its hash, or nothing. Bodies that lie, break off, or find no room."""
import base64, contextlib, errno, json, mmap, os, random, re, shutil, stat, subprocess, time

from judge import (KNOWN, KNOWN_BODY, PROMPT, SANITIZED, TUCK, Memory, Place, about, bytes_of, clear, expect_err,
                   objects_of, plain_user, provoke, put_or_err, remark, tmpfs, truthful, tuck_only, wait_until, works)
from helper import EMPTY_ID, action_id, b64, expect_hit, expect_miss, expect_put, output_id
from tap import case, run

HELLO = b"hello"
SIZES = (1, 5, 4096, 65_536, 65_537, 300_000, 2_000_000)  # around the sizes at which a helper may change its way


def header(action, number=50, output=output_id(HELLO), size=5, **more):
    """The first lines of a put, whatever comes then."""
    fields = {"ID": number, "Command": "put", "ActionID": b64(action), "OutputID": b64(output), "BodySize": size} | more
    fields = {name: value for name, value in fields.items() if value is not None}
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n\n"


def string(body):
    return b'"' + base64.b64encode(body) + b'"\n'


# -- good puts ---------------------------------------------------------------------------------------------------------
@case("P-01", "P-02")
def the_file_is_complete_when_the_answer_arrives(directory):
    with Place(directory) as place, place.session() as session:
        for size in (0, *SIZES):
            body = bytes_of("complete", size)
            answer = session.put(action_id(size), body)
            assert answer.get("DiskPath") and not answer.get("Err"), answer
            with open(answer["DiskPath"], "rb") as file:
                assert os.fstat(file.fileno()).st_size == size
                assert stat.S_ISREG(os.fstat(file.fileno()).st_mode)
                assert file.read() == body


@case("P-03")
def one_output_under_many_actions_hits_under_each(directory):
    body = bytes_of("shared", 9000)
    with Place(directory) as place:
        with place.session() as session:
            for i in range(40):
                expect_put(session.put(action_id(i), body), body)
            for i in range(40):
                expect_hit(session.get(action_id(i)), body)
            assert session.finish() == 0
        with place.session() as session:
            for i in range(40):
                expect_hit(session.get(action_id(i)), body)


@case("P-04")
def of_two_puts_of_one_action_the_later_wins_and_the_first_file_stays(directory):
    bodies = [bytes_of(f"version {i}", 3000 + i) for i in range(5)] + [b"", b"x"]
    with Place(directory) as place:
        for round_ in range(2):
            with place.session() as session:
                paths = []
                for body in bodies:
                    paths.append(expect_put(session.put(KNOWN, body), body))
                    expect_hit(session.get(KNOWN), body)
                for path, body in zip(paths, bodies):
                    with open(path, "rb") as file:
                        assert file.read() == body, "the file of an earlier put of this session changed"
                assert session.finish() == 0
            place.must[KNOWN] = bodies[-1]
            bodies.reverse()
        place.must[KNOWN] = bodies[0]


class Reader:
    """Somebody who has an object open and mapped, as the go command has its module indexes."""

    def __init__(self, path):
        self.path = path
        self.fd = os.open(path, os.O_RDONLY)
        self.size = os.fstat(self.fd).st_size
        self.map = mmap.mmap(self.fd, 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
        self.before = bytes(self.map)
        status = os.fstat(self.fd)
        self.status = (status.st_ino, status.st_size, status.st_mtime_ns)

    def sees_no_change(self):
        status = os.fstat(self.fd)  # before the mapping is touched: a truncated file would be SIGBUS
        assert status.st_size == self.size, "the file was truncated or extended under its reader"
        assert (status.st_ino, status.st_size, status.st_mtime_ns) == self.status, "the file was written to"
        assert bytes(self.map) == self.before, "the bytes changed under their reader"

    def close(self):
        self.map.close()
        os.close(self.fd)


@case("P-05")
def a_reader_of_an_object_sees_no_change_while_it_is_put_again(directory):
    with Place(directory) as place:
        for size in SIZES:
            body = bytes_of("mapped", size)
            path = place.fill({action_id(size): body})[action_id(size)]
            reader = Reader(path)
            for _ in range(2):
                with place.session() as session:
                    number = session.id()
                    raw = session.put_bytes(action_id(size), body, number)
                    step = max(1, len(raw) // 7)
                    for at in range(0, len(raw), step):
                        session.send_in_parts([raw[at:at + step]])
                        reader.sees_no_change()
                    assert expect_put(session.answer_to(number), body) == path
                    reader.sees_no_change()
                    # Another action, the same output; and the same output announced with other bytes.
                    expect_put(session.put(action_id("another"), body), body)
                    reader.sees_no_change()
                    number = session.id()
                    session.send(header(action_id("liar"), number, output_id(body), size) + string(bytes(size)))
                    place.never.add(action_id("liar"))
                    if TUCK:
                        expect_err(session.answer_to(number))
                    reader.sees_no_change()
                    assert session.finish() == 0
            if TUCK:  # others may put an equal file in its place
                assert os.stat(path).st_ino == reader.status[0], "a valid object was replaced"
            reader.close()


@case("P-06", "P-05")
def a_damaged_object_is_replaced_by_a_new_file_and_its_reader_sees_no_change(directory):
    for is_running in (False, True):
        for size in SIZES:
            with Place(os.path.join(directory, f"{is_running} {size}")) as place, place.session() as first:
                body = bytes_of("damaged", size)
                path = expect_put(first.put(KNOWN, body), body)
                if not is_running:
                    assert first.finish() == 0
                os.chmod(path, 0o600)
                with open(path, "r+b") as file:
                    file.write(bytes([body[0] ^ 0xff]))
                reader = Reader(path)
                with contextlib.ExitStack() as stack:
                    session = first if is_running else stack.enter_context(place.session())
                    path = expect_put(session.put(KNOWN, body), body)
                    reader.sees_no_change()
                    assert os.stat(path).st_ino != reader.status[0], "the damaged file was written to"
                    expect_hit(session.get(KNOWN), body)
                reader.close()


# -- bodies that are not what they say ---------------------------------------------------------------------------------
def lies(size):
    """(name, bytes behind the header, body that the header announces): nothing of these may be stored."""
    body = bytes_of("lie", size)
    text = base64.b64encode(body)
    yield "one byte less", string(body[:-1]), body
    yield "one byte more", string(body + b"x"), body
    yield "three bytes more", string(body + b"xyz"), body
    yield "nothing", b'""\n', body
    yield "half", string(body[:size // 2]), body
    yield "twice", string(body + body), body
    yield "one character less", b'"' + text[:-1] + b'"\n', body
    yield "one character more", b'"' + text + b'A"\n', body


def not_base64(size):
    body = bytes_of("crooked", size - size % 3) + b"\xfb"  # padded with ==
    text = base64.b64encode(body).decode()
    half = len(text) // 2
    for name, form in {
            "a bad character first": "!" + text[1:], "a bad character last": text[:-3] + "#==",
            "a bad character amid": text[:half] + "*" + text[half + 1:],
            "the URL alphabet": text[:-4] + "-w==", "underscores": text[:-4] + "_w==",
            "no padding": text.rstrip("="), "half of the padding": text[:-1], "too much padding": text + "=",
            "padding amid": text[:half // 4 * 4] + "AA==" + text[half // 4 * 4:], "padding first": "====" + text,
            "data after the padding": text + "AAAA", "one character after the padding": text + "A",
            "a blank amid": text[:half] + " " + text[half:], "a blank last": text + " ",
            "a quote": text[:half] + '\\"' + text[half:], "a backslash": text[:half] + "\\\\" + text[half:],
            "an escaped tab": text[:half] + "\\t" + text[half:],
            "an escaped letter beyond ASCII": text[:half] + "\\u0141" + text[half:],
            "a surrogate": text[:half] + "\\ud83d\\ude00" + text[half:],
            "a letter beyond ASCII": text[:half] + "é" + text[half:],
            "hexadecimal": body.hex(), "only padding": "=" * len(text)}.items():
        yield name, b'"' + form.encode() + b'"\n', body


def refuses_all(place, kind, tuck):
    for size in (5, 3000, 65_537, 400_000):
        for name, raw, body in kind(size):
            action = action_id(f"{name} {size}")
            verdict = provoke(place, header(action, 50, output_id(body), len(body)) + raw, 50, never=[action])
            with about(f"{name}, {size} bytes"):
                verdict.refused(50, tuck)
    no_object_of(place, [body for size in (5, 3000, 65_537, 400_000) for _, _, body in kind(size)])


def no_object_of(place, bodies):
    """None of these outputs lies in the cache: in tuck's layout it would have its hash for a name."""
    for body in bodies:
        name = output_id(body).hex()
        assert not os.path.lexists(os.path.join(place.root, "objects", name[:2], name[2:])), "something was stored"


@case("P-08", "P-18")
def a_body_of_another_length_is_refused_and_nothing_of_it_is_seen(directory):
    with Place(directory) as place:
        refuses_all(place, lies, "Err")


@case("P-09", "P-18")
def a_body_that_is_no_base64_is_refused_and_nothing_of_it_is_seen(directory):
    with Place(directory) as place:
        refuses_all(place, not_base64, "Err")


@case("P-09", "P-18")
def an_escaped_control_character_or_brace_in_a_body_is_no_base64_and_no_broken_stream(directory):
    # Unescaped they tell that the client broke off; escaped they are part of a sound JSON string.
    body = bytes_of("sound", 90)
    text = base64.b64encode(body).decode()
    with Place(directory) as place:
        for number in (0, 1, 9, 31, ord("{"), ord('"'), ord("\\"), 127):
            action = action_id(f"escaped {number}")
            raw = header(action, 50, output_id(body), 90) + f'"{text[:40]}\\u{number:04x}{text[40:]}"\n'.encode()
            provoke(place, raw, 50, never=[action]).refused(50, tuck="Err")


@case("P-07", "P-18")
def a_body_with_another_hash_is_answered_with_err_and_not_stored(directory):
    with Place(directory) as place:
        for size in SIZES:
            body, other = bytes_of("announced", size), bytes_of("sent", size)
            for announced in (output_id(body), b"\0" * 32, b"\xff" * 32, output_id(b""), output_id(other)[::-1]):
                action = action_id(f"{announced.hex()} {size}")
                raw = header(action, 50, announced, size) + string(other)
                provoke(place, raw, 50, never=[action]).refused(50, tuck="Err")
        action = action_id("empty under another name")
        provoke(place, header(action, 50, output_id(HELLO), None), 50, never=[action]).refused(50, tuck="Err")
        no_object_of(place, [bytes_of("announced", size) for size in SIZES])
        if TUCK:
            no_object_of(place, [bytes_of("sent", size) for size in SIZES])


@case("P-07", "P-04")
def a_refused_put_leaves_what_its_action_had(directory):
    with Place(directory) as place:
        place.fill({action_id("had"): HELLO})
        for raw in (header(action_id("had"), 50, output_id(b"other"), 5) + string(b"wrong"),
                    header(action_id("had"), 50, output_id(b"other"), 5) + string(b"othe"),
                    header(action_id("had"), 50, output_id(b"other"), 5) + b'"b3RoZ!I="\n'):
            provoke(place, raw, 50).refused(50, tuck="Err")
            with place.session() as session:
                expect_hit(session.get(action_id("had")), HELLO)


@case("P-11")
def anything_but_a_string_in_place_of_the_body_is_refused(directory):
    action, other = action_id("no string"), action_id("inside")
    get = b'{"ID":51,"Command":"get","ActionID":"%s"}\n\n' % b64(KNOWN).encode()
    with Place(directory) as place:
        for raw in (b"{}\n", b'{"a":"aGVsbG8="}\n', b"12\n", b"-1\n", b"[]\n", b'["aGVsbG8="]\n', b"null\n", b"true\n",
                    b"false\n", b"aGVsbG8=\n", b"'aGVsbG8='\n", b"/* */ \"aGVsbG8=\"\n", b"\0\"aGVsbG8=\"\n",
                    b"\xef\xbb\xbf\"aGVsbG8=\"\n", b",\"aGVsbG8=\"\n", b":\n", b"}\n", get,
                    header(other, 51) + string(HELLO)):
            verdict = provoke(place, header(action) + raw, 50, 51, never=[action])
            verdict.refused(50, tuck="exit")
            place.may.setdefault(other, [HELLO])


@case("P-12")
def a_body_that_breaks_off_into_the_next_request_is_refused_with_all_that_follows(directory):
    # The client fails to read the file, leaves the string open and goes on with its next request.
    other = action_id("inside")
    following = {
        "a get": b'{"ID":51,"Command":"get","ActionID":"%s"}\n\n' % b64(KNOWN).encode(),
        "an empty put": header(other, 51, EMPTY_ID, None),
        "a put": header(other, 51) + string(HELLO),
        "close": b'{"ID":51,"Command":"close"}\n\n',
    }
    with Place(directory) as place:
        for name, requests in following.items():
            for size in (5, 700, 65_537, 300_000):
                body = bytes_of("breaks", size)
                text = base64.b64encode(body)
                # The cut is where the client's buffers were: anywhere. At the very end all of the body was sent.
                for cut in {0, 1, 2, 3, 4, len(text) // 2, len(text) - 5, len(text) - 1, len(text)}:
                    action = action_id(f"{name} {size} {cut}")
                    raw = header(action, 50, output_id(body), size) + b'"' + text[:cut] + requests
                    verdict = provoke(place, raw + following["a get"], 50, never=[action])
                    verdict.refused(50)  # 51 was not asked: whatever answers it fails the session's judgement
                    verdict.ended()
        with place.session() as session:
            expect_miss(session.get(other))


@case("P-12")
def a_body_that_breaks_off_for_good_leaves_nothing_either_if_its_output_is_already_there(directory):
    # A put that has nothing to write must not be careless about what it reads past.
    body = bytes_of("there", 100_000)
    with Place(directory) as place:
        place.fill({action_id("there"): body})
        for cut in (0, 4, 50_000, 133_000):
            raw = header(action_id("again"), 50, output_id(body), len(body)) + b'"' + base64.b64encode(body)[:cut]
            raw += b'{"ID":51,"Command":"get","ActionID":"%s"}\n\n' % b64(KNOWN).encode()
            verdict = provoke(place, raw * 2, 50, never=[action_id("again")])
            verdict.refused(50)
            verdict.ended()
        for raw in (string(body[:-1]), string(body + b"x"), string(bytes(len(body))), b'"!"\n', b'""\n'):
            verdict = provoke(place, header(action_id("again"), 50, output_id(body), len(body)) + raw, 50)
            verdict.refused(50, tuck="Err")


@case("P-13")
def a_body_that_was_not_announced_is_refused(directory):
    with Place(directory) as place:
        for size in (None, 0):
            action = action_id(f"not announced {size}")
            verdict = provoke(place, header(action, 50, output_id(HELLO), size) + string(HELLO), 50, never=[action])
            verdict.refused(50)
            verdict.ended()
        # An empty put is complete by itself; what is refused is the string.
        action = action_id("complete")
        place.may[action] = [b""]
        verdict = provoke(place, header(action, 50, EMPTY_ID, None) + string(HELLO), 50)
        for answer in verdict.answers(50):
            put_or_err(answer, b"")
        verdict.ended()


@case("P-14")
def a_size_that_is_none_is_refused(directory):
    with Place(directory) as place:
        for value in ("-1", "-5", str(-2**63), str(2**63), str(2**64 + 5), "1" + "0" * 100, '"5"', "5.0", "5.5", "5e0",
                      "true", "[5]", '{"BodySize":5}', "null", "-0.0"):
            action = action_id(f"size {value}")
            raw = header(action).replace(b'"BodySize":5', b'"BodySize":' + value.encode()) + string(HELLO)
            verdict = provoke(place, raw, 50, never=[action])
            verdict.refused(50, tuck="exit")


@case("P-14", "P-08")
def a_giant_size_sets_nothing_aside(directory):
    with Place(directory) as place:
        for size in (10**6, 10**9, 2**31, 2**32, 2**32 + 5, 10**15, 2**53, 2**62, 2**63 - 1):
            action = action_id(f"giant {size}")
            with place.session() as session, Memory(session):
                session.place.never.add(action)
                number = session.id()
                session.send_in_parts([header(action, number, output_id(HELLO), size), b'"aGVs'])
                taken = sum(os.stat(f"/proc/{session.process.pid}/fd/{fd}").st_blocks
                            for fd in os.listdir(f"/proc/{session.process.pid}/fd") if _is_file(session, fd))
                assert taken * 512 < 1 << 20, f"{taken * 512} bytes of disk on the word of a number"
                session.send(b'bG8="\n')
                if TUCK:
                    expect_err(session.answer_to(number, PROMPT))
                    works(session, f"giant {size}")


def _is_file(session, fd):
    with contextlib.suppress(FileNotFoundError):
        return stat.S_ISREG(os.stat(f"/proc/{session.process.pid}/fd/{fd}").st_mode)


# -- ids that are none -------------------------------------------------------------------------------------------------
@case("P-15", "P-18")
def a_put_that_lacks_an_id_is_answered_with_err_and_its_body_is_read_past(directory):
    action = action_id("lacks")
    long = bytes_of("lacks", 300_000)
    with Place(directory) as place:
        for body in (HELLO, b"", long):
            size, raw = len(body) or None, string(body) if body else b""
            for change in ({"OutputID": None}, {"OutputID": ""}, {"OutputID": 5}, {"ActionID": None}, {"ActionID": ""},
                           {"ActionID": [1]}, {"ActionID": None, "OutputID": None}, {"OutputID": "!" * 44},
                           {"OutputID": None, "ObjectID": ""}, {"OutputID": "", "ObjectID": ""}):
                text = header(action, 50, output_id(body), size, **change)
                provoke(place, text + raw, 50, never=[action]).refused(50, tuck="Err")
            for name in (b"ActionID", b"OutputID"):
                text = header(action, 50, output_id(body), size)
                text = re.sub(b'"' + name + b'":"[^"]*"', b'"' + name + b'":null', text)
                provoke(place, text + raw, 50, never=[action]).refused(50, tuck="Err")


@case("P-16", "P-15")
def an_output_id_of_another_length_is_refused_and_leads_nowhere(directory):
    with Place(directory) as place:
        place.fill({KNOWN: KNOWN_BODY})
        before = place.outside()
        tricks = [b"x", b"..", b"../../../../../../../../x", b"../" * 9 + b"evil",
                  place.directory.encode() + b"/evil", b"\0" * 31, b"a" * 33, b"." * 32, b"/" * 32,
                  b"../../../../../../../../../evil\0", b"\n" * 32, b"b" * 64,
                  b"evil" * 1000, HELLO, output_id(HELLO)[:31], output_id(HELLO) + b"\0"]
        for number, trick in enumerate(tricks):
            for body in (HELLO, b""):
                action = action_id(f"trick {number} {len(body)}")
                raw = header(action, 50, trick, len(body) or None) + (string(body) if body else b"")
                provoke(place, raw, 50, never=[action]).refused(50, tuck="Err")
                assert place.outside() == before, f"something was made outside of the cache by {trick[:40]}"


# -- ends --------------------------------------------------------------------------------------------------------------
@case("P-10", "C-09")
def the_end_of_input_inside_a_put_leaves_nothing_and_is_not_answered(directory):
    with Place(directory) as place:
        for size in (5, 100, 65_537, 500_000):
            body = bytes_of("ends", size)
            action = action_id(f"ends {size}")
            raw = header(action, 50, output_id(body), size) + string(body)[:-1]  # the line end is not part of a value
            start = raw.index(b'\n\n"')
            cuts = set(range(1, len(raw))) if size == 5 and not SANITIZED else set()
            cuts |= {1, 10, *range(start - 1, start + 8), len(raw) // 2, *range(len(raw) - 4, len(raw))}
            for cut in sorted(cuts):
                verdict = provoke(place, raw[:cut], 50, never=[action], is_last=True)
                assert not verdict.answers(50), f"answered although cut at {cut} of {len(raw)}: {verdict.all}"
                verdict.ended()
            no_object_of(place, [body])
        works_whole = provoke(place, header(action_id("whole")) + string(HELLO)[:-1], 50, is_last=True)
        place.may[action_id("whole")] = [HELLO]
        if TUCK:
            expect_put(works_whole.accepted(50), HELLO)


@case("P-20", "P-19")
def a_helper_killed_in_the_middle_of_a_put_leaves_nothing_of_it(directory):
    dice = random.Random(3)
    with Place(directory) as place:
        place.fill({KNOWN: KNOWN_BODY})
        for round_ in range(12):
            body = bytes_of(f"killed {round_}", dice.choice([50, 5000, 65_537, 400_000, 3_000_000]))
            action = action_id(f"killed {round_}")
            with place.session() as session:
                raw = session.put_bytes(action, body, session.id())
                cut = dice.randrange(len(raw) - 2)
                session.send_in_parts([raw[:cut]])
                session.kill()
                session.wait()
            with place.session() as session:
                expect_hit(session.get(KNOWN), KNOWN_BODY)
                expect_miss(session.get(action))
                if round_ % 2:
                    expect_put(session.put(action, body), body)
                    expect_hit(session.get(action), body)
                assert session.finish() == 0


@case("P-20", "G-12")
def a_helper_killed_while_it_commits_leaves_whole_outputs_or_none(directory):
    dice = random.Random(4)
    with Place(directory) as place:
        for round_ in range(8):
            model = {action_id(f"{round_} {i}"): bytes_of(f"{round_} {i}", dice.randrange(30_000)) for i in range(60)}
            with place.session() as session:
                raw = b"".join(session.put_bytes(action, body, session.id()) for action, body in model.items())
                last = dice.randrange(1, 55)
                try:
                    session.send(raw[:len(raw) * last // 60])
                    session.answer_to(last * 2 // 3 + 1)
                finally:
                    session.kill()
                session.wait()
            with place.session() as session:
                for action, body in model.items():
                    truthful(session.get(action), [body])
                assert session.finish() == 0


# -- the disk ----------------------------------------------------------------------------------------------------------
def own_files(place):
    """Every file below the cache, by what it is in tuck's layout."""
    for folder, _, names in os.walk(place.root):
        for name in names:
            yield os.path.relpath(os.path.join(folder, name), place.root)


def strays(place):
    """Files that an orderly end should not leave."""
    if not os.path.isdir(os.path.join(place.root, "objects")):
        return [path for path in own_files(place) if re.search(r"te?mp|\.part|~$", os.path.basename(path))]
    usual = re.compile(r"objects/[0-9a-f]{2}/[0-9a-f]{62}|index/entries|index/brief|CACHEDIR\.TAG|README|tuck\.json")
    return [path for path in own_files(place) if not usual.fullmatch(path)]


@case("P-19")
def no_temporary_file_is_left_after_an_orderly_end(directory):
    with Place(directory) as place:
        for close in (True, False):
            with place.session() as session:
                for size in SIZES:
                    body = bytes_of(f"{close}", size)
                    expect_put(session.put(action_id(f"{close} {size}"), body), body)
                for body in (bytes_of("refused", 300_000), HELLO):
                    number = session.id()
                    session.send(header(action_id("refused"), number, output_id(b"x"), len(body)) + string(body))
                    if TUCK:
                        expect_err(session.answer_to(number))
                assert session.finish(close) == 0
            assert not strays(place), strays(place)
            assert not os.listdir(place.tmp), os.listdir(place.tmp)
        # Protocol errors and half bodies are no excuse.
        provoke(place, header(action_id("half"), 50, output_id(HELLO), 10**6) + b'"' + b"AAAA" * 100_000, 50,
                never=[action_id("half")], is_last=True)
        assert not strays(place), strays(place)
        assert not os.listdir(place.tmp), os.listdir(place.tmp)


@case("P-19")
def what_killed_helpers_left_is_cleaned_some_day(directory):
    with Place(directory) as place:
        for round_ in range(3):
            with place.session() as session:
                expect_put(session.put(KNOWN, KNOWN_BODY), KNOWN_BODY)
                number = session.id()
                head = header(action_id("k"), number, output_id(HELLO), 10**7)
                session.send_in_parts([head + b'"' + b"AAAA" * 200_000])
                session.kill()
                session.wait()
        left = [path for path in strays(place) if not path.startswith("leases/")]
        sizes = [os.path.getsize(os.path.join(place.root, path)) for path in left]
        remark(f"left by three killed helpers: {left}")
        if not sum(sizes):
            return  # unnamed files: the kernel has cleaned up
        for path in left:
            stamp = time.time() - 3 * 86400
            os.utime(os.path.join(place.root, path), (stamp, stamp))
        for _ in range(3):
            place.fill({KNOWN: KNOWN_BODY})
        assert not [path for path in left if os.path.exists(os.path.join(place.root, path))], left


@case("P-19", "O-08")
def claims_of_killed_helpers_do_not_pile_up_for_ever(directory):
    tuck_only("knows tuck's leases")
    with Place(directory) as place:
        for _ in range(3):
            with place.session() as session:
                expect_put(session.put(KNOWN, KNOWN_BODY), KNOWN_BODY)
                session.kill()
                session.wait()
        clear(place)
        assert os.listdir(os.path.join(place.root, "leases")) == []
        assert not objects_of(place), "the claim of a dead helper keeps its object"


@contextlib.contextmanager
def full_drive(place):
    """The cache lies on a drive without a free byte."""
    with tmpfs(os.path.join(place.directory, "drive"), "size=1m"):
        place.root = os.path.join(place.directory, "drive", "root")
        place.fill({KNOWN: KNOWN_BODY})
        fill_up(os.path.join(place.directory, "drive"))
        yield None


def fill_up(path):
    with open(os.path.join(path, "filler"), "ab", buffering=0) as file:
        size = 1 << 20
        while size:
            try:
                file.write(b"\0" * size)
            except OSError as error:
                assert error.errno == errno.ENOSPC, error
                size //= 2


@contextlib.contextmanager
def fresh_full_drive(place):
    """The same, and nothing was there before."""
    with tmpfs(os.path.join(place.directory, "drive"), "size=1m"):
        place.root = os.path.join(place.directory, "drive", "root")
        fill_up(os.path.join(place.directory, "drive"))
        yield None


@contextlib.contextmanager
def read_only_drive(place):
    with tmpfs(os.path.join(place.directory, "drive"), "size=4m"):
        place.root = os.path.join(place.directory, "drive", "root")
        place.fill({KNOWN: KNOWN_BODY})
        subprocess.run(["mount", "-o", "remount,ro", os.path.join(place.directory, "drive")], check=True)
        yield None


@contextlib.contextmanager
def no_inodes(place):
    with tmpfs(os.path.join(place.directory, "drive"), "size=4m,nr_inodes=20"):
        place.root = os.path.join(place.directory, "drive", "root")
        place.fill({KNOWN: KNOWN_BODY})
        for number in range(20):
            with contextlib.suppress(OSError):
                open(os.path.join(place.directory, "drive", f"filler {number}"), "w").close()
        yield None


@contextlib.contextmanager
def no_permission(place):
    """Nothing in the cache can be written or made by this user."""
    user = plain_user(place)
    with place.session(preexec=user) as session:
        expect_put(session.put(KNOWN, KNOWN_BODY), KNOWN_BODY)
        assert session.finish() == 0
    modes = {}
    for folder, _, names in os.walk(place.root):
        for path in [folder] + [os.path.join(folder, name) for name in names]:
            modes[path] = stat.S_IMODE(os.lstat(path).st_mode)
            os.chmod(path, modes[path] & 0o555)
    yield user
    for path, mode in modes.items():
        os.chmod(path, mode)


DRIVES = (full_drive, fresh_full_drive, read_only_drive, no_inodes, no_permission)


@case("P-17", "P-18", "C-02")
def a_drive_that_takes_nothing_costs_neither_the_put_nor_the_stream(directory):
    for kind in DRIVES:
        place = Place(os.path.join(directory, kind.__name__))
        with place:
            with kind(place) as user:
                with place.session(preexec=user) as session:
                    truthful(session.get(KNOWN), [KNOWN_BODY])
                    for size in (0, *SIZES):
                        body = bytes_of(f"{kind.__name__}", size)
                        stored = put_or_err(session.put(action_id(size), body, timeout=PROMPT), body)
                        if TUCK:  # a private directory takes it, and it is found there in this session
                            assert stored, (kind.__name__, size)
                            expect_hit(session.get(action_id(size), timeout=PROMPT), body)
                        elif stored:
                            truthful(session.get(action_id(size), timeout=PROMPT), [body])
                    paths = [session.get(action_id(size)).get("DiskPath") for size in SIZES]
                    assert session.finish() == 0, kind.__name__  # close without Err
                if TUCK:
                    assert session.stderr_raw.count(b"\n") <= 2, session.stderr_raw
                    assert all(line.startswith(b"tuck: ") for line in session.stderr_raw.splitlines())
                    assert all(os.path.exists(path) for path in paths), "paths given out died with their helper"
                shutil.rmtree(place.tmp)
                os.mkdir(place.tmp, 0o777)
                place.must.clear()  # misses are fine on such a drive, and the oracle goes on after it has gone
            if kind is not no_permission:
                place.root = os.path.join(directory, "another root")


@case("P-17", "P-18")
def when_every_place_is_full_puts_end_in_err_and_the_stream_goes_on(directory):
    place = Place(directory)
    with tmpfs(os.path.join(directory, "drive"), "size=1m"):
        place.root = os.path.join(directory, "drive", "root")
        place.tmp = os.path.join(directory, "drive", "tmp")
        os.mkdir(place.tmp)
        place.fill({KNOWN: KNOWN_BODY})
        fill_up(os.path.join(directory, "drive"))
        with place.session() as session:
            for size in SIZES:
                body = bytes_of("nowhere", size)
                answer = session.put(action_id(size), body, timeout=PROMPT)
                if not put_or_err(answer, body):
                    expect_miss(session.get(action_id(size), timeout=PROMPT))
                truthful(session.get(KNOWN, timeout=PROMPT), [KNOWN_BODY])
            os.unlink(os.path.join(directory, "drive", "filler"))  # there is room again
            works(session, "room again")
            assert session.finish() == 0
        with place.session() as session:
            expect_hit(session.get(action_id("works room again")), b"it works: room again")
            expect_hit(session.get(KNOWN), KNOWN_BODY)


@case("P-17", "P-18", "P-20")
def a_drive_that_fills_up_in_the_middle_of_a_body_costs_nothing_but_its_place(directory):
    place = Place(directory)
    with tmpfs(os.path.join(directory, "drive"), "size=3m"):
        place.root = os.path.join(directory, "drive", "root")
        place.fill({KNOWN: KNOWN_BODY})
        body = bytes_of("larger than the drive", 5_000_000)
        with place.session() as session:
            stored = put_or_err(session.put(action_id("large"), body, timeout=PROMPT), body)
            assert stored or not TUCK
            for i in range(20):  # small ones find room on the drive, as if nothing had been
                works(session, i)
            assert session.finish() == 0
        with place.session() as session:
            for i in range(20):
                expect_hit(session.get(action_id(f"works {i}")), f"it works: {i}".encode())
            truthful(session.get(action_id("large")), [body])


# -- power cuts --------------------------------------------------------------------------------------------------------
@case("P-21", "G-12")
def whatever_a_power_cut_leaves_of_the_contents_no_wrong_output_is_served(directory):
    # Nothing was synced: entries and names may have reached the disk before contents did, which then read as zeros, or
    # end early. Copies of a running helper's directory are what a cut leaves of the rest.
    dice = random.Random(5)
    model = {action_id(f"c{i}"): bytes_of(f"c{i}", 100 + 300 * i) for i in range(80)}
    place = Place(directory)
    with place, place.session() as session:
        copies = []
        for number, (action, body) in enumerate(model.items()):
            expect_put(session.put(action, body), body)
            if number % 20 == 19:
                if number == 39:  # also one in which entries have been written by the running helper
                    wait_until(lambda: is_flushed(place), "the helper writes its entries by itself")
                copy = Place(os.path.join(directory, f"copy {number}"))
                shutil.copytree(place.root, copy.root, symlinks=True)
                copies.append(copy)
        assert session.finish() == 0
        copy = Place(os.path.join(directory, "copy of the end"))
        shutil.copytree(place.root, copy.root, symlinks=True)
        for copy in copies + [copy]:
            copy.is_damaged = True
            copy.may = {action: [body] for action, body in model.items()}
            objects = [os.path.join(folder, name) for folder, _, names in os.walk(copy.root) for name in names
                       if re.search(r"/objects/[0-9a-f]{2}$|/go-cacher/", folder)]
            touched = dice.sample(objects, len(objects) // 2)
            for path in touched:
                os.chmod(path, 0o600)
                size = os.path.getsize(path)
                os.truncate(path, dice.choice([0, size // 2, size // 4096 * 4096]))
                if dice.random() < 0.7:
                    os.truncate(path, size)  # of the right size again, with zeros
            with copy:
                hits = 0
                with copy.session() as other:
                    for action, body in model.items():
                        hits += truthful(other.get(action), [body]) is not None
                    assert other.finish() == 0
                remark(f"{len(objects)} objects, {len(touched)} of them lost, {hits} hits")
            shutil.rmtree(copy.directory)
        assert hits, "nothing was left to hit: the test shows nothing"


def is_flushed(place):
    """The entries of tuck have got to their file; for others this is not known."""
    path = os.path.join(place.root, "index", "entries")
    if not os.path.exists(path):
        return True
    with open(path, "rb") as file:
        return action_id("c0") in file.read()


# -- paths -------------------------------------------------------------------------------------------------------------
@case("P-22")
def a_path_given_out_outlives_its_helper_and_the_next_ones(directory):
    model = {action_id(f"o{size}"): bytes_of("outlives", size) for size in (0, *SIZES)}
    with Place(directory) as place:
        paths = place.fill(model)
        place.must.clear()
        long_ago = time.time() - 3 * 3600
        for path in paths.values():
            with contextlib.suppress(PermissionError):
                os.utime(path, (long_ago, long_ago))
        for round_ in range(3):
            with place.session() as session:
                for i in range(50):
                    works(session, f"{round_} {i}")
                for action in model:  # other outputs for the same actions
                    expect_put(session.put(action, b"newer"), b"newer")
                assert session.finish(round_ != 1) == 0
            for action, path in paths.items():
                with open(path, "rb") as file:
                    assert file.read() == model[action]


@case("P-23")
def every_path_begins_with_gocache(directory):
    for name, root in (("below", "gocache/below/it"), ("elsewhere", "elsewhere"), ("beside", "gocache-beside")):
        with Place(os.path.join(directory, name)) as place:
            place.root = os.path.join(place.directory, root)
            for _ in range(2):
                with place.session() as session:
                    for size in (0, *SIZES):
                        body = bytes_of(name, size)
                        for path in (expect_put(session.put(action_id(size), body), body),
                                     expect_hit(session.get(action_id(size)), body)):
                            if TUCK:
                                assert path.startswith(place.gocache), path
                    assert session.finish() == 0


@case("P-23", "G-14", "G-18")
def an_object_that_the_client_moved_away_is_a_miss_and_the_next_put_restores_it(directory):
    # go build -o x.a does this on a hit: chmod, then rename.
    with Place(directory) as place:
        for size in (0, 90, 400_000):
            action, body = action_id(size), bytes_of("moved", size)
            stolen = os.path.join(directory, f"x{size}.a")
            for is_running in (False, True):
                with place.session() as session:
                    path = expect_put(session.put(action, body), body)
                    if not is_running:
                        assert session.finish() == 0
                        os.chmod(path, 0o644)
                        os.rename(path, stolen)
                    else:
                        os.chmod(path, 0o644)
                        expect_hit(session.get(action), body)  # mode bits mean nothing
                        os.rename(path, stolen)
                        expect_miss(session.get(action))
                        expect_put(session.put(action, body), body)
                with place.session() as session:
                    if not is_running:
                        expect_miss(session.get(action))
                        expect_put(session.put(action, body), body)
                    expect_hit(session.get(action), body)
                with open(stolen, "r+b") as file:
                    file.write(b"the user's file now")
                with place.session() as session:
                    expect_hit(session.get(action), body)


run(__name__)

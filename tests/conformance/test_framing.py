# SPDX-License-Identifier: MIT
"""How requests lie in the stream, how they are cut, and what may stand in them beside what the go command writes."""
import base64, itertools, json, os, re

from judge import (KNOWN, KNOWN_BODY, LONG, PROMPT, TUCK, Memory, Place, about, bytes_of, check_file,
                   expect_hit_in_order, provoke, remark, send_large_put, works)
from helper import EMPTY_ID, action_id, b64, expect_hit, expect_miss, expect_put, output_id
from tap import case, run

HELLO = b"hello"
HELLO_ID = b64(output_id(HELLO))  # LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=


def request(**fields):
    """A request without its line ends."""
    return json.dumps(fields, separators=(",", ":")).encode()


def put_of(action, body, number, **more):
    """The fields of a well-formed put."""
    fields = {"ID": number, "Command": "put", "ActionID": b64(action), "OutputID": b64(output_id(body))}
    return fields | ({"BodySize": len(body)} if body else {}) | more


def string(body):
    return b'"' + base64.b64encode(body) + b'"'


# -- what the go command writes ----------------------------------------------------------------------------------------
@case("F-01", "F-02")
def the_conversation_of_the_specification_works_byte_for_byte(directory):
    action = base64.b64decode("qxWcnC5pHpFE38q9zLcruuzB831Bbc3A2HJjQokD22A=")
    with Place(directory) as place, place.session() as session:
        session.send(b'{"ID":1,"Command":"get","ActionID":"qxWcnC5pHpFE38q9zLcruuzB831Bbc3A2HJjQokD22A="}\n\n')
        expect_miss(session.answer_to(session.ask(1)))
        session.send(b'{"ID":2,"Command":"put","ActionID":"qxWcnC5pHpFE38q9zLcruuzB831Bbc3A2HJjQokD22A=","OutputID":'
                     b'"LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=","BodySize":5}\n\n"aGVsbG8="\n')
        expect_put(session.answer_to(session.ask(2)), HELLO)
        session.send(b'{"ID":3,"Command":"put","ActionID":"fG9wRPLN9vf3GExT0+DGWojmRky2T6Mqd1h72un33+o=","OutputID":'
                     b'"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}\n\n'
                     b'{"ID":4,"Command":"get","ActionID":"qxWcnC5pHpFE38q9zLcruuzB831Bbc3A2HJjQokD22A="}\n\n')
        expect_hit_in_order(session.answer_to(session.ask(4)), HELLO)
        expect_put(session.answer_to(session.ask(3)), b"")
        session.send(b'{"ID":5,"Command":"close"}\n\n')
        assert not session.answer_to(session.ask(5)).get("Err")
        place.may[action] = [HELLO]


@case("F-03", "F-04")
def a_put_without_a_size_has_no_body_and_the_next_line_is_the_next_request(directory):
    with Place(directory) as place, place.session() as session:
        for number, size in enumerate((b"", b',"BodySize":0', b',"BodySize":null', b',"BodySize":0')):
            action = action_id(f"empty {number}")
            first, second = session.id(), session.id()
            session.send(b'{"ID":%d,"Command":"put","ActionID":"%s","OutputID":"%s"%s}\n\n'
                         % (first, b64(action).encode(), b64(EMPTY_ID).encode(), size)
                         + session.get_bytes(action, second))
            expect_put(session.answer_to(first, PROMPT), b"")
            expect_hit_in_order(session.answer_to(second, PROMPT), b"")
            expect_hit(session.get(action), b"")


@case("F-05")
def requests_are_understood_wherever_they_are_cut(directory):
    action, body = action_id("cut"), bytes_of("cut", 40)
    with Place(directory) as place, place.session() as session:
        whole = len(session.put_bytes(action, body, 10**6))
        session.next_id = 10**6  # all requests of one length
        for cut in range(1, whole):
            number = session.id()
            raw = session.put_bytes(action, body, number)
            session.send_in_parts([raw[:cut], raw[cut:]])
            expect_put(session.answer_to(number, PROMPT), body)
        number = session.id()
        raw = session.get_bytes(action, number)
        for cut in range(1, len(raw) - 2):
            session.send_in_parts([raw[:cut], raw[cut:]])
            expect_hit(session.answer_to(number, PROMPT), body)
            number = session.id()
            raw = session.get_bytes(action, number)
        session.send(raw)
        expect_hit(session.answer_to(number, PROMPT), body)


@case("F-05")
def requests_are_understood_byte_by_byte(directory):
    with Place(directory) as place, place.session() as session:
        body = bytes_of("slow", 301)
        put, get, nothing = session.id(), session.id(), session.id()
        raw = (session.put_bytes(action_id("slow"), body, put) + session.get_bytes(action_id("slow"), get)
               + session.put_bytes(action_id("nothing"), b"", nothing))
        session.send_in_parts(raw[i:i + 1] for i in range(len(raw)))
        expect_put(session.answer_to(put), body)
        expect_hit_in_order(session.answer_to(get), body)
        expect_put(session.answer_to(nothing), b"")


@case("F-05", "F-19")
def large_requests_are_understood_in_writes_of_any_size(directory):
    body = bytes_of("pieces", 400_000)
    with Place(directory) as place, place.session() as session:
        for size in (4096, 4095, 4097, 1021, 65536, 65537, 262144):
            put, get = session.id(), session.id()
            action = action_id(f"pieces of {size}")
            raw = session.put_bytes(action, body, put) + session.get_bytes(action, get)
            for at in range(0, len(raw), size):
                session.send(raw[at:at + size])
            expect_put(session.answer_to(put), body)
            expect_hit_in_order(session.answer_to(get), body)


@case("F-06", "O-01")
def many_requests_in_one_write_are_all_answered(directory):
    bodies = {action_id(f"m{i}"): bytes_of(f"m{i}", i * 7 % 500) for i in range(300)}
    with Place(directory) as place, place.session() as session:
        raw, puts, gets = b"", {}, {}
        for action, body in bodies.items():
            puts[action] = session.id()
            raw += session.put_bytes(action, body, puts[action])
            gets[action] = session.id()
            raw += session.get_bytes(action, gets[action])
        os.write(session.process.stdin.fileno(), raw[:65536])  # as much as a pipe takes at once
        session.send(raw[65536:])
        for action, body in bodies.items():
            expect_put(session.answer_to(puts[action]), body)
            expect_hit_in_order(session.answer_to(gets[action]), body)


@case("F-19")
def bodies_of_every_small_length_come_back(directory):
    with Place(directory) as place, place.session() as session:
        for size in (*range(1, 70), 4094, 4095, 4096, 65535, 65536, 65537, 98303, 98304, 98305, 262144):
            body = bytes_of("length", size)
            expect_put(session.put(action_id(size), body), body)
            expect_hit(session.get(action_id(size)), body)


@case("F-20", limit=600)
def a_body_of_any_size_is_taken_in_constant_memory(directory):
    sizes = [64 << 20] + ([1 << 30] if LONG else [])
    for size in sizes:
        with Place(os.path.join(directory, str(size))) as place, place.session() as session:
            with Memory(session) as memory:
                number, identity = send_large_put(session, action_id("large"), size)
                answer = session.answer_to(number, 300)
                assert not answer.get("Err"), answer
                check_file(answer["DiskPath"], identity, size)
                hit = session.get(action_id("large"), 300)
                assert hit.get("OutputID") == b64(identity) and hit.get("Size") == size, hit
                works(session, "after a large body")
            remark(f"{size >> 20} MiB in {memory.peak / 2**20:.1f} MiB of memory")
            assert session.finish() == 0
        with place.session() as session:
            assert session.get(action_id("large"), 120).get("Size") == size


# -- what a value stream may also be -----------------------------------------------------------------------------------
@case("F-07", "F-08")
def any_white_space_between_values_is_accepted(directory):
    with Place(directory) as place:
        for number, (before, between, after) in enumerate((
                (b"", b"", b""), (b"", b"\n", b"\n"), (b"", b" ", b" "), (b"", b"\t", b"\r"), (b"", b"\r\n", b"\r\n"),
                (b"\n\n\n\n", b"\n" * 9, b"\n" * 9), (b" \t\r\n" * 50, b" \t\r\n" * 50, b" \t\r\n" * 5000),
                (b"", b"\r\n\r\n", b"\r\n"), (b" " * 70_000, b"\n" * 300_000, b""))):
            action = action_id(f"blank {number}")
            place.may[action] = [HELLO]
            raw = (before + request(**put_of(action, HELLO, 50)) + between + string(HELLO) + after
                   + request(ID=51, Command="get", ActionID=b64(action)) + between)
            verdict = provoke(place, raw, 50, 51)
            expect_put(verdict.accepted(50), HELLO)
            expect_hit_in_order(verdict.accepted(51), HELLO)


@case("F-08")
def an_object_over_many_lines_and_a_last_value_without_line_end_are_accepted(directory):
    action = action_id("pretty")
    with Place(directory) as place:
        place.may[action] = [HELLO]
        pretty = json.dumps(put_of(action, HELLO, 50), indent="\t").replace("\n", "\r\n").encode()
        expect_put(provoke(place, pretty + b" " + string(HELLO), 50).accepted(50), HELLO)
        pretty = json.dumps(put_of(action, HELLO, 50), indent=8, separators=(" ,\n\n", " :\n\n\n")).encode()
        expect_put(provoke(place, pretty + string(HELLO), 50).accepted(50), HELLO)
        # The last value may end with the input: a get, a put of nothing, a put whose body it is, close.
        for raw, check in ((request(ID=50, Command="get", ActionID=b64(KNOWN)), lambda a: expect_hit(a, KNOWN_BODY)),
                           (request(**put_of(action_id("last"), b"", 50)), lambda a: expect_put(a, b"")),
                           (request(**put_of(action, HELLO, 50)) + b"\n\n" + string(HELLO),
                            lambda a: expect_put(a, HELLO)),
                           (request(ID=50, Command="close"), lambda a: None)):
            verdict = provoke(place, raw, 50, is_last=True)
            assert verdict.status == 0, (raw, verdict.stderr)
            check(verdict.accepted(50))


@case("F-09")
def escapes_in_a_body_stand_for_their_characters(directory):
    body = bytes_of("escapes", 201) + b"\xfb\xff\xfe>"  # plus, slash and padding in its base64
    text = base64.b64encode(body).decode()
    assert "+" in text and "/" in text and text.endswith("=")
    forms = {
        "slash": text.replace("/", "\\/"),
        "lower case": "".join(f"\\u{ord(c):04x}" for c in text),
        "upper case": "".join(f"\\u{ord(c):04X}" for c in text),
        "plus": text.replace("+", "\\u002b").replace("/", "\\u002F").replace("=", "\\u003d"),
        "every other": "".join(c if i % 2 else f"\\u{ord(c):04x}" for i, c in enumerate(text)),
    }
    with Place(directory) as place:
        for name, form in forms.items():
            action = action_id(name)
            place.may[action] = [body]
            raw = request(**put_of(action, body, 50)) + b'\n\n"' + form.encode() + b'"\n'
            expect_put(provoke(place, raw, 50).accepted(50), body)
        with place.session() as session:  # also where reads end within an escape
            number = session.id()
            raw = (request(**put_of(action_id("cut"), body, number)) + b'\n\n"' + forms["lower case"].encode()[:300]
                   + text[50:].encode() + b'"\n')
            place.may[action_id("cut")] = [body]
            session.send_in_parts(raw[i:i + 1] for i in range(len(raw)))
            expect_put(session.answer_to(number), body)


@case("F-10")
def escaped_line_ends_in_a_body_are_skipped_or_refused(directory):
    body = bytes_of("lines", 100)
    text = base64.b64encode(body).decode()
    forms = (text + "\\n", "\\r\\n" + text, "\\n".join(text[i:i + 76] for i in range(0, len(text), 76)),
             "\\r\\n".join(text), text[:-1] + "\\n" + text[-1:], "\\u000a".join(text), text + "\\u000d")
    with Place(directory) as place:
        for number, form in enumerate(forms):
            action = action_id(f"lines {number}")
            place.may[action] = [body]
            raw = request(**put_of(action, body, 50)) + b'\n\n"' + form.encode() + b'"\n'
            verdict = provoke(place, raw, 50)
            if verdict.has_success(50):
                expect_put(verdict.accepted(50), body)
            else:
                verdict.refused(50)
                assert not TUCK or "\\u" in form, f"promised to be skipped: {form}"


EXTRA = ["null", "true", "-0", "0.5", "1e400", "-1E-999", "1e5", "123456789012345678901234567890",
         "1" * 3000, '""', r'"\"\\\/\b\f\n\r\t\u0041"', r'"{\"ID\":5,\"Command\":\"close\"}"', r'"\ud83d\ude00"',
         '"ä€😀"',
         "{}", "[]", "[[],[{}],{}]", '{"ID":77,"Command":"close"}', '{"a":{"b":[{"c":"}{][\\""}]}}',
         '"' + "long " * 10_000 + '"', "[" * 500 + "]" * 500, '{"a":' * 500 + "1" + "}" * 500,
         "[" + ",".join("0" * 1 for _ in range(20_000)) + "]", ' [ 1 , 2 ]\n\n', '"\\\\"', '"\\\\\\""']


@case("F-11")
def unknown_fields_of_any_type_are_skipped(directory):
    with Place(directory) as place, place.session() as session:
        expect_put(session.put(KNOWN, KNOWN_BODY), KNOWN_BODY)
        for value in EXTRA:
            for form in ('{"Extra":%s,"ID":%d,"Command":"get","ActionID":"%s"}\n\n',
                         '{"ID":%d,"Command":"get","ActionID":"%s","Extra":%s}\n\n'):
                number = session.id()
                words = (number, b64(KNOWN))
                session.send((form % ((value, *words) if form.startswith('{"E') else (*words, value))).encode())
                with about(value[:60]):
                    expect_hit(session.answer_to(number, PROMPT), KNOWN_BODY)
        body = bytes_of("extra", 1000)
        number = session.id()
        raw = session.put_bytes(action_id("extra"), body, number)
        session.send(raw.replace(b'"BodySize"', b'"Mode":{"BodySize":7,"x":[1]},"BodySize"'))
        expect_put(session.answer_to(number), body)


@case("F-11")
def very_deep_nesting_in_an_unknown_field_is_skipped_or_refused(directory):
    with Place(directory) as place:
        for depth in (1000, 2047, 2048, 5000, 10_000, 30_000):
            nest = "[" * depth + "]" * depth
            raw = f'{{"Extra":{nest},"ID":50,"Command":"get","ActionID":"{b64(KNOWN)}"}}\n\n'
            verdict = provoke(place, raw.encode(), 50)
            if verdict.has_success(50):
                expect_hit(verdict.accepted(50), KNOWN_BODY)
            else:
                verdict.refused(50)


@case("F-12")
def fields_may_stand_in_any_order(directory):
    body = bytes_of("order", 30)
    with Place(directory) as place, place.session() as session:
        for order, fields in enumerate(itertools.permutations(put_of(KNOWN, body, 1).items())):
            action, number = action_id(f"order {order}"), session.id()
            place.may[action] = [body]
            session.send(request(**(dict(fields) | {"ID": number, "ActionID": b64(action)})) + b"\n\n" + string(body)
                         + b"\n")
            expect_put(session.answer_to(number), body)
        for fields in itertools.permutations(("ID", "Command", "ActionID")):
            number = session.id()
            values = {"ID": number, "Command": "get", "ActionID": b64(action_id("order 0"))}
            session.send(request(**{name: values[name] for name in fields}) + b"\n\n")
            expect_hit(session.answer_to(number), body)


def twice(name, first, last, **fields):
    """A request with one field given twice."""
    rest = json.dumps(fields, separators=(",", ":"))[1:-1]
    return f'{{"{name}":{json.dumps(first)},{rest},"{name}":{json.dumps(last)}}}\n\n'.encode()


@case("F-13")
def of_a_field_given_twice_the_last_counts_or_the_request_is_refused(directory):
    other = action_id("other")
    with Place(directory) as place:
        get = {"ID": 50, "Command": "get", "ActionID": b64(KNOWN)}

        def without(fields, name):
            return {key: value for key, value in fields.items() if key != name}
        for name, first in (("ID", 49), ("Command", "close"), ("Command", "nonsense"), ("ActionID", b64(other)),
                            ("ActionID", "short"), ("ActionID", 5)):
            verdict = provoke(place, twice(name, first, get[name], **without(get, name)), 50)
            if verdict.has_success(50):
                expect_hit(verdict.accepted(50), KNOWN_BODY)
            else:
                verdict.refused(50)
                assert not TUCK, f"{name} twice is promised to be accepted: {verdict.stderr} {verdict.all}"
        for name, first in (("BodySize", 7), ("BodySize", 0), ("OutputID", b64(EMPTY_ID)), ("ActionID", b64(other))):
            action = action_id(f"twice {name} {first}")
            put = put_of(action, HELLO, 50)
            place.may[action] = [HELLO]
            verdict = provoke(place, twice(name, first, put[name], **without(put, name)) + string(HELLO) + b"\n", 50,
                              never=[other])
            if verdict.has_success(50):
                expect_put(verdict.accepted(50), HELLO)
            else:
                verdict.refused(50)
                assert not TUCK, f"{name} twice is promised to be accepted: {verdict.stderr} {verdict.all}"


@case("F-14")
def field_names_in_other_letter_case_count_or_the_request_is_refused(directory):
    def mixed(name):
        return "".join(c.upper() if i % 2 else c.lower() for i, c in enumerate(name))
    with Place(directory) as place:
        for change in (str.lower, str.upper, mixed):
            for old in (False, True):  # Go 1.21 to 1.23 say ObjectID
                action = action_id(f"{change.__name__} {old}")
                place.may[action] = [HELLO]
                put = {change(name.replace("Output", "Object") if old else name): value
                       for name, value in put_of(action, HELLO, 50).items()}
                get = {change(name): value for name, value in
                       {"ID": 51, "Command": "get", "ActionID": b64(action)}.items()}
                raw = request(**put) + b"\n\n" + string(HELLO) + b"\n" + request(**get) + b"\n\n"
                verdict = provoke(place, raw, 50, 51)
                if TUCK or verdict.has_success(50):
                    expect_put(verdict.accepted(50), HELLO)
                    expect_hit_in_order(verdict.accepted(51), HELLO)
                else:
                    verdict.refused(50)


@case("F-14", "F-13")
def a_name_in_two_letter_cases_is_one_field(directory):
    with Place(directory) as place:
        raw = ('{"ID":50,"Command":"get","actionid":"%s","ActionID":"%s"}\n\n'
               % (b64(action_id("other")), b64(KNOWN))).encode()
        verdict = provoke(place, raw, 50)
        if TUCK or verdict.has_success(50):
            expect_hit(verdict.accepted(50), KNOWN_BODY)
        raw = b'{"ID":50,"Command":"put","ActionID":"%s","OutputID":"%s","BodySize":0,"bodysize":5}\n\n"aGVsbG8="\n' % (
            b64(action_id("size")).encode(), HELLO_ID.encode())
        place.may[action_id("size")] = [HELLO]
        verdict = provoke(place, raw, 50)
        if TUCK:
            expect_put(verdict.accepted(50), HELLO)


@case("F-15", "F-16")
def the_old_name_of_the_output_id_is_accepted_alone_and_beside_the_new_one(directory):
    with Place(directory) as place, place.session() as session:
        for body in (b"", HELLO, bytes_of("old", 100_000)):
            action = action_id(f"old {len(body)}")
            expect_put(session.put(action, body, name="ObjectID"), body)
            expect_hit(session.get(action), body)
            action, number = action_id(f"both {len(body)}"), session.id()
            fields = put_of(action, body, number, ObjectID=b64(output_id(body)))  # in Go's order: after BodySize
            place.may[action] = [body]
            session.send(request(**fields) + b"\n\n" + (string(body) + b"\n" if body else b""))
            expect_put(session.answer_to(number), body)
            expect_hit(session.get(action), body)


@case("F-16")
def of_two_different_output_ids_the_new_name_wins_or_the_put_is_refused(directory):
    other = b64(output_id(b"other"))
    with Place(directory) as place:
        for order in (0, 1):
            right, wrong = action_id(f"right {order}"), action_id(f"wrong {order}")
            place.may[right] = [HELLO]
            names = {"OutputID": HELLO_ID, "ObjectID": other}
            for action, ids in ((right, names), (wrong, dict(zip(names, reversed(names.values()))))):
                ids = dict(reversed(ids.items())) if order else ids
                raw = request(ID=50, Command="put", ActionID=b64(action), **ids, BodySize=5) + b"\n\n" + string(HELLO)
                verdict = provoke(place, raw + b"\n", 50, never=[wrong])
                if action == right and (TUCK or verdict.has_success(50)):
                    expect_put(verdict.accepted(50), HELLO)
                else:
                    verdict.refused(50, tuck="Err")


# -- ids ---------------------------------------------------------------------------------------------------------------
@case("F-17")
def ids_of_64_bits_are_repeated_digit_by_digit(directory):
    numbers = [1, 9, 10, 2**31 - 1, 2**31, 2**32, 2**53, 2**53 + 1, 10**18 - 1, 10**18, 2**63 - 2, 2**63 - 1]
    with Place(directory) as place, place.session() as session:
        for number in numbers:
            for raw in (session.get_bytes(action_id("ids"), number), session.put_bytes(action_id("ids"), b"", number),
                        session.put_bytes(action_id("ids"), HELLO, number),
                        session.line(ID=number, Command="nonsense")):
                session.send(raw)
                session.answer_to(session.ask(number), PROMPT)
        assert session.finish() == 0
        for number in numbers:
            found = re.findall(rb'"ID"\s*:\s*%d(?=[\s,}])' % number, bytes(session.stdout_raw))
            assert len(found) == 4 if number != session.next_id else 5, f"{number} is not there in plain digits"


@case("F-18")
def a_negative_id_is_answered_with_err_under_itself_or_ends_it(directory):
    with Place(directory) as place:
        for number in (-1, -50, -2**31, -2**53 - 1, -2**63):
            never = action_id(f"negative {number}")
            for raw in (request(ID=number, Command="get", ActionID=b64(KNOWN)) + b"\n\n",
                        request(**put_of(never, b"", number)) + b"\n\n",
                        request(**put_of(never, HELLO, number)) + b"\n\n" + string(HELLO) + b"\n"):
                provoke(place, raw, number, never=[never]).refused(number, tuck="Err")


@case("F-18")
def an_id_that_is_none_is_never_answered_under_another(directory):
    values = ("0", "null", '"5"', "5.0", "5e0", "1.5", "true", "[5]", '{"ID":5}', str(2**63), str(2**64 + 5),
              str(-2**63 - 1), "1" * 400, "-0", None)
    with Place(directory) as place:
        for value in values:
            never = action_id(f"no id {value}")
            identity = b"" if value is None else b'"ID":%s,' % value.encode()
            for raw in (b'{%s"Command":"get","ActionID":"%s"}\n\n' % (identity, b64(KNOWN).encode()),
                        b"{%s" % identity + request(**put_of(never, HELLO, 0)).replace(b'{"ID":0,', b"") + b"\n\n"
                        + string(HELLO) + b"\n"):
                verdict = provoke(place, raw, never=[never])
                assert len(verdict.all) <= 3, verdict.all
                verdict.ended()  # without an ID there is no other way to refuse


# -- answers -----------------------------------------------------------------------------------------------------------
@case("F-21")
def a_long_request_is_accepted_or_refused_in_bounded_memory(directory):
    with Place(directory) as place:
        for size in (60_000, 65_000, 70_000, 1 << 20, 64 << 20):
            blanks = [b" " * (1 << 20)] * (size >> 20) if size >> 20 > 1 else [b" " * size]
            for opening in (b'{"Extra":"', b'{"Extra":['):
                closing = b'"' if opening.endswith(b'"') else b"1]"
                with place.session() as session, Memory(session):
                    expect_put(session.put(KNOWN, KNOWN_BODY), KNOWN_BODY)
                    number = session.id()
                    try:
                        for part in (opening, *blanks, closing):
                            session.send(part)
                        session.send(b',"ID":%d,"Command":"get","ActionID":"%s"}\n\n'
                                     % (number, b64(KNOWN).encode()))
                        session.eof()
                    except BrokenPipeError:
                        pass
                    session.wait_stdout_eof()
                    status = session.wait()
                answers = [answer for answer in session.said() if answer["ID"] == number]
                if answers and not answers[0].get("Err"):
                    expect_hit(answers[0], KNOWN_BODY)
                    assert status == 0
                else:
                    assert answers or status > 0 and session.stderr_raw, (size, status)
                assert not TUCK or bool(answers) == (size < 65_400), f"64 KiB is the bound, {size} were too many"


STRANGE = ['quote"quote', "back\\slash", "line\nbreak", "tab\tand\rreturn", "\x01\x1f\x7f", "ä€😀", "</script>&",
           " ", "\u2028", "%s%n", "'", "$HOME", "~"]


@case("F-22")
def a_path_with_any_characters_is_escaped_correctly(directory):
    for name in STRANGE:
        for where in ("gocache", "root", "both"):
            odd = os.path.join(directory, where, name)
            place = Place(os.path.join(directory, where, "place " + name),
                          gocache=odd + "g" if where != "root" else None,
                          root=odd + "r" if where != "gocache" else None)
            with place, place.session() as session:
                path = expect_put(session.put(KNOWN, KNOWN_BODY), KNOWN_BODY)
                assert expect_hit(session.get(KNOWN), KNOWN_BODY) == path
                assert not TUCK or path.startswith(place.gocache + "/"), path
                assert session.finish() == 0
            assert not TUCK or session.stderr_raw == b"", session.stderr_raw
    # The default root, below a GOCACHE of that name.
    place = Place(os.path.join(directory, "default"), gocache=os.path.join(directory, "default", "".join(STRANGE[:6])))
    with place.session(env={"TUCK_DIR": None}) as session:
        path = expect_put(session.put(KNOWN, KNOWN_BODY), KNOWN_BODY)
        assert not TUCK or path.startswith(place.gocache + "/tuck/"), path


@case("F-22")
def a_directory_that_is_not_utf8_never_gets_into_an_answer(directory):
    for variable in ("GOCACHE", "TUCK_DIR", "both"):
        odd = os.path.join(directory, variable).encode() + b"\xff\xfe\xe9"
        os.makedirs(odd)
        place = Place(os.path.join(directory, "place " + variable))
        env = {name: os.fsdecode(odd + name.encode()[-1:])
               for name in ("GOCACHE", "TUCK_DIR") if variable in (name, "both")}
        with place.session(env=env) as session:
            expect_put(session.put(KNOWN, KNOWN_BODY), KNOWN_BODY)  # from wherever it can be had
            expect_hit(session.get(KNOWN), KNOWN_BODY)
            assert session.finish() == 0


@case("F-22", "X-01")
def an_err_that_quotes_the_request_stays_valid_json(directory):
    odd = ['"', "\\", "\\n", "\\u0000", "ä" * 3000, "\\ud800", "\x7f", "%s%s%n", "\\u2028", "a" * 60_000]
    with Place(directory) as place:
        for text in odd:
            text = text if text.startswith("\\u") or len(text) > 2 else json.dumps(text)[1:-1]
            for raw in ('{"ID":50,"Command":"%s"}\n\n' % text,
                        '{"ID":50,"Command":"get","ActionID":"%s"}\n\n' % text):
                verdict = provoke(place, raw.encode(), 50)  # judged strictly
                if '"get"' not in raw:
                    verdict.refused(50)


@case("F-23")
def answers_of_slow_and_quick_requests_do_not_mix(directory):
    large = {action_id(f"large {i}"): bytes_of(f"large {i}", 400_000) for i in range(12)}
    with Place(directory) as place:
        for path in place.fill(large).values():
            os.utime(path)  # its change time is another one now, so that a careful helper looks at it again
        with place.session() as session:
            expect_put(session.put(KNOWN, KNOWN_BODY), KNOWN_BODY)
            raw, slow, quick = b"", {}, []
            for action in large:
                slow[action] = session.id()
                raw += session.get_bytes(action, slow[action])
                for _ in range(150):
                    quick.append(session.id())
                    raw += session.get_bytes(KNOWN, quick[-1])
            session.send(raw)
            for number in quick:
                expect_hit(session.answer_to(number), KNOWN_BODY)
            for action, number in slow.items():
                expect_hit(session.answer_to(number), large[action])
            assert session.finish() == 0
            assert session.stdout_raw.count(b"\n") >= len(quick) + len(slow)


@case("F-24")
def an_answer_goes_out_before_the_helper_waits_for_more(directory):
    body = bytes_of("half", 300_000)
    with Place(directory) as place, place.session() as session:
        for i in range(50):  # one at a time
            expect_put(session.put(action_id(i), HELLO, timeout=PROMPT), HELLO)
            expect_hit(session.get(action_id(i), timeout=PROMPT), HELLO)
        for cut in (1, 40, 90, 200, 1000, 70_000, 399_000):
            # The answer is due although the next request has begun to arrive.
            number, later = session.id(), session.id()
            raw = session.put_bytes(action_id("half"), body, later)
            session.send(session.get_bytes(action_id(1), number) + raw[:cut])
            expect_hit(session.answer_to(number, PROMPT), HELLO)
            session.send(raw[cut:])
            expect_put(session.answer_to(later, PROMPT), body)


run(__name__)

# SPDX-License-Identifier: MIT
"""What a get answers: after puts, after damage of every kind behind the helper's back, and to ids that are none."""
import base64, json, os, random, re, shutil, stat, time

from judge import (KNOWN, KNOWN_BODY, PROMPT, TUCK, Place, about, bytes_of, plain_user, provoke, time_ns, truthful,
                   works)
from helper import EMPTY_ID, action_id, b64, expect_hit, expect_miss, expect_put, output_id
from tap import case, run, skip

SIZES = (0, 1, 2, 3, 700, 4096, 65_536, 65_537, 300_000, 1 << 20)
MODEL = {action_id(f"m{size}"): bytes_of(f"m{size}", size) for size in SIZES}


@case("G-01", "G-21")
def an_action_that_was_never_put_is_a_miss_and_no_error(directory):
    with Place(directory) as place:
        for warm in (False, True):
            with place.session() as session:
                for i in range(100):
                    answer = session.get(action_id(f"absent {i}"))
                    assert answer.get("Miss") is True and set(answer) == {"ID", "Miss"}, answer
                for odd in (b"\0" * 32, b"\xff" * 32, output_id(b""), output_id(KNOWN_BODY), KNOWN[::-1]):
                    expect_miss(session.get(odd))
                if not warm:
                    expect_put(session.put(KNOWN, KNOWN_BODY), KNOWN_BODY)
                assert session.finish() == 0


@case("G-02", "G-03", "G-04", "G-05", "G-12", "P-02")
def a_hit_has_output_id_size_and_an_absolute_path_to_exactly_the_body(directory):
    with Place(directory) as place:
        place.fill(MODEL)
        for _ in range(2):
            with place.session() as session:
                for action, body in MODEL.items():
                    answer = session.get(action)
                    path = expect_hit(answer, body)  # compares OutputID, Size and all bytes, too
                    assert re.fullmatch(r"[A-Za-z0-9+/]{43}=", answer["OutputID"]), answer
                    assert os.path.isabs(path) and stat.S_ISREG(os.lstat(path).st_mode), path
                    assert not body or answer["Size"] == len(body), answer
                assert session.finish() == 0


@case("G-11", "G-02")
def a_get_hits_from_the_answer_to_its_put_on(directory):
    with Place(directory) as place, place.session() as session:
        for _ in range(3):
            for action, body in MODEL.items():
                path = expect_put(session.put(action, body), body)
                assert expect_hit(session.get(action), body) == path


@case("G-13")
def a_get_that_overtakes_its_put_is_a_complete_hit_or_a_miss(directory):
    with Place(directory) as place, place.session() as session:
        for round_ in range(5):
            for size in (0, 10, 70_000, 1 << 20):
                action, bodies = action_id(f"race {round_} {size}"), [bytes_of(f"{round_} {i}", size) for i in range(3)]
                puts, gets, raw = [], [], b""
                for body in bodies:  # three outputs for one action, all in flight
                    puts.append(session.id())
                    gets.append(session.id())
                    raw += session.put_bytes(action, body, puts[-1]) + session.get_bytes(action, gets[-1])
                session.send(raw)
                for number in gets:
                    truthful(session.answer_to(number), bodies)
                for number, body in zip(puts, bodies):
                    expect_put(session.answer_to(number), body)


# -- time --------------------------------------------------------------------------------------------------------------
@case("G-06", "G-07", "G-09")
def time_is_the_moment_of_the_put_to_a_fraction_of_a_second(directory):
    seen = {}
    with Place(directory) as place:
        with place.session() as session:
            for action, body in MODEL.items():
                began = time.time_ns()
                expect_put(session.put(action, body), body)
                ended = time.time_ns()
                answer = session.get(action)
                assert began - 10**6 <= time_ns(answer) <= ended + 10**6, (began, answer, ended)
                seen[action] = answer["Time"]
            assert len(set(seen.values())) == len(seen), f"not fine enough to tell puts apart: {seen}"
            assert sum("." in text for text in seen.values()) >= len(seen) - 1, seen
            for _ in range(3):
                for action in MODEL:
                    assert session.get(action)["Time"] == seen[action], "a get changed Time"
            assert session.finish() == 0
        for _ in range(2):
            with place.session() as session:
                for _ in range(2):
                    for action in MODEL:
                        assert session.get(action)["Time"] == seen[action], "another helper tells another Time"


@case("G-09", "G-07")
def time_is_neither_the_files_nor_the_outputs(directory):
    with Place(directory) as place:
        with place.session() as session:
            path = expect_put(session.put(KNOWN, KNOWN_BODY), KNOWN_BODY)
            first = time_ns(session.get(KNOWN))
            expect_put(session.put(action_id("same output"), KNOWN_BODY), KNOWN_BODY)
            assert time_ns(session.get(action_id("same output"))) > first
            assert time_ns(session.get(KNOWN)) == first, "the put of another action moved Time"
            assert session.finish() == 0
        for stamp in (0, 10**9, time.time() + 10**6):
            os.utime(path, (stamp, stamp))
            with place.session() as session:
                answer = session.get(KNOWN)
                expect_hit(answer, KNOWN_BODY)
                assert time_ns(answer) == first, f"the file's time of change became Time: {answer}"


@case("G-08")
def putting_an_action_again_moves_its_time_forward(directory):
    with Place(directory) as place:
        last = 0
        for _ in range(4):
            with place.session() as session:
                for body in (KNOWN_BODY, KNOWN_BODY, b"", b"", KNOWN_BODY):
                    expect_put(session.put(KNOWN, body), body)
                    answer = session.get(KNOWN)
                    expect_hit(answer, body)
                    assert time_ns(answer) > last, "Time did not advance"
                    last = time_ns(answer)
                assert session.finish() == 0
        with place.session() as session:
            assert time_ns(session.get(KNOWN)) == last, "another helper sees an earlier put"


# -- outputs -----------------------------------------------------------------------------------------------------------
@case("G-10")
def an_empty_output_hits_with_an_empty_file(directory):
    with Place(directory) as place:
        for warm in (False, True):
            with place.session() as session:
                for i in range(300):  # the one output that hundreds of actions share
                    if not warm:
                        expect_put(session.put(action_id(i), b""), b"")
                    answer = session.get(action_id(i))
                    path = expect_hit(answer, b"")
                    assert answer["OutputID"] == b64(EMPTY_ID) and answer.get("Size", 0) == 0, answer
                    assert stat.S_ISREG(os.lstat(path).st_mode) and os.path.getsize(path) == 0
                assert session.finish() == 0


@case("G-22")
def the_last_element_of_a_path_has_no_dot(directory):
    with Place(directory) as place, place.session() as session:
        for action, body in MODEL.items():
            for path in (expect_put(session.put(action, body), body), expect_hit(session.get(action), body)):
                assert "." not in os.path.basename(path), path


@case("G-23", "P-03")
def actions_that_share_an_output_stay_independent(directory):
    one, two, three = (action_id(f"shares {i}") for i in range(3))
    body = bytes_of("shared", 5000)
    with Place(directory) as place:
        with place.session() as session:
            for action in (one, two, three):
                expect_put(session.put(action, body), body)
            for action in (one, two, three):
                expect_hit(session.get(action), body)
            expect_put(session.put(two, b"another"), b"another")  # takes the shared output from this one
            expect_put(session.put(three, b""), b"")
            expect_hit(session.get(one), body)
            assert session.finish() == 0
        with place.session() as session:
            expect_hit(session.get(one), body)
            expect_hit(session.get(two), b"another")
            expect_hit(session.get(three), b"")


# -- damaged objects ---------------------------------------------------------------------------------------------------
def writable(path):
    os.chmod(path, 0o600)
    return open(path, "r+b")


def gone(path, _):
    os.unlink(path)


def empty(path, _):
    with writable(path) as file:
        file.truncate(0)


def shorter(path, _):
    with writable(path) as file:
        file.truncate(os.path.getsize(path) - 1)


def longer(path, _):
    with writable(path) as file:
        file.seek(0, os.SEEK_END)
        file.write(b"x")


def first_byte(path, _):
    with writable(path) as file:
        byte = file.read(1)[0]
        file.seek(0)
        file.write(bytes([byte ^ 1]))


def last_byte(path, _):
    with writable(path) as file:
        file.seek(-1, os.SEEK_END)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([byte ^ 0x80]))


def zeros(path, _):
    """What a power cut leaves of a file whose data was not written yet."""
    with writable(path) as file:
        file.write(bytes(os.path.getsize(path)))


def other_file(path, directory):
    """Another file of the same size was put in its place, and given the same time of change."""
    before = os.stat(path)
    fake = os.path.join(directory, "fake")
    with open(fake, "wb") as file:
        file.write(os.urandom(before.st_size))
    os.chmod(fake, stat.S_IMODE(before.st_mode))
    os.utime(fake, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(fake, path)


def folder(path, _):
    os.unlink(path)
    os.mkdir(path)


def full_folder(path, _):
    folder(path, _)
    open(os.path.join(path, "file"), "w").close()


def fifo(path, _):
    os.unlink(path)
    os.mkfifo(path)


def link_to_itself(path, _):
    os.unlink(path)
    os.symlink(os.path.basename(path), path)


def link_to_nothing(path, _):
    os.unlink(path)
    os.symlink("nothing", path)


def link_to_a_wrong_file(path, directory):
    size = os.path.getsize(path)
    os.unlink(path)
    with open(os.path.join(directory, "wrong"), "wb") as file:
        file.write(os.urandom(size))
    os.symlink(os.path.join(directory, "wrong"), path)


def link_to_a_device(path, _):
    os.unlink(path)
    os.symlink("/dev/zero", path)


def unreadable(path, _):
    os.chmod(path, 0)


LOSSES = (gone, empty, shorter, longer)
CHANGES = (first_byte, last_byte, zeros, other_file)
TRICKS = (folder, full_folder, fifo, link_to_itself, link_to_nothing, link_to_a_wrong_file, link_to_a_device)


def damaged_behind_a_helper(directory, damages, is_running, make_user=lambda place: None):
    """Puts bodies of three sizes, does each damage to them, and expects a miss, then a put that repairs."""
    for damage in damages:
        place = Place(os.path.join(directory, damage.__name__))
        user = make_user(place)
        with place, about(damage.__name__):
            for size in (90, 5000, 400_000):  # the last one is above what a helper hashes on the spot
                action, body = action_id(size), bytes_of(damage.__name__, size)
                sharer = action_id(f"{size} shared")
                with place.session(preexec=user) as session:
                    path = expect_put(session.put(action, body), body)
                    expect_put(session.put(sharer, body), body)
                    if not is_running:
                        assert session.finish() == 0
                    else:
                        expect_hit(session.get(action), body)
                        damage(path, directory)
                        expect_miss(session.get(action, timeout=PROMPT))
                        repaired(session, action, sharer, body)
                if not is_running:
                    damage(path, directory)
                    with place.session(preexec=user) as session:
                        expect_miss(session.get(action, timeout=PROMPT))
                        repaired(session, action, sharer, body)
                with place.session(preexec=user) as session:
                    expect_hit(session.get(action), body)
                    expect_hit(session.get(sharer), body)


def repaired(session, action, sharer, body):
    expect_put(session.put(action, body, timeout=PROMPT), body)
    expect_hit(session.get(action, timeout=PROMPT), body)
    expect_hit(session.get(sharer, timeout=PROMPT), body)
    assert session.finish() == 0


@case("G-14", "G-15", "G-18")
def an_object_that_is_gone_or_of_another_size_is_a_miss_and_a_put_repairs_it(directory):
    damaged_behind_a_helper(os.path.join(directory, "ended"), LOSSES, False)
    damaged_behind_a_helper(os.path.join(directory, "running"), LOSSES, True)


@case("G-15", "G-12", "G-18")
def an_object_changed_within_its_size_is_a_miss_and_a_put_repairs_it(directory):
    damaged_behind_a_helper(os.path.join(directory, "ended"), CHANGES, False)
    damaged_behind_a_helper(os.path.join(directory, "running"), CHANGES, True)


@case("G-16", "G-18")
def something_else_in_place_of_an_object_is_a_miss_and_a_put_repairs_it(directory):
    damaged_behind_a_helper(os.path.join(directory, "ended"), TRICKS, False)
    damaged_behind_a_helper(os.path.join(directory, "running"), TRICKS, True)


@case("G-16", "G-18")
def an_unreadable_object_is_a_miss_and_a_put_repairs_it(directory):
    damaged_behind_a_helper(os.path.join(directory, "ended"), [unreadable], False, plain_user)
    damaged_behind_a_helper(os.path.join(directory, "running"), [unreadable], True, plain_user)


@case("G-14", "G-10", "G-18")
def the_empty_object_is_a_miss_too_when_it_is_gone_or_not_empty(directory):
    for damage in (gone, longer, folder, fifo, link_to_device_null):
        with Place(os.path.join(directory, damage.__name__)) as place, about(damage.__name__):
            path = place.fill({action_id("e"): b""})[action_id("e")]
            damage(path, directory)
            with place.session() as session:
                expect_miss(session.get(action_id("e"), timeout=PROMPT))
                repaired(session, action_id("e"), action_id("e"), b"")


def link_to_device_null(path, _):
    os.unlink(path)
    os.symlink(os.devnull, path)


# -- damaged index -----------------------------------------------------------------------------------------------------
def index_files(place, objects):
    """All files of the cache that are not objects: tuck's lie in index/; elsewhere whatever else is there."""
    objects = {os.path.realpath(path) for path in objects}
    top = os.path.join(place.root, "index") if os.path.isdir(os.path.join(place.root, "index")) else place.root
    found = [os.path.join(folder, name) for folder, _, names in os.walk(top) for name in names]
    found = [path for path in found if os.path.realpath(path) not in objects and os.path.isfile(path)]
    return found or skip("this helper has no index in files")


def rewrite(path, change):
    os.chmod(path, 0o600)
    with open(path, "rb") as file:
        raw = bytearray(file.read())
    with open(path, "r+b") as file:  # the same file, as a failing drive would leave it
        raw = change(raw)
        file.write(raw)
        file.truncate(len(raw))


def index_damages(dice, model):
    """(name, what becomes of the bytes)"""
    def flipped(count):
        def change(raw):
            for _ in range(count if raw else 0):
                raw[dice.randrange(len(raw))] ^= 1 << dice.randrange(8)
            return raw
        return change

    def overwritten(with_what, length):
        def change(raw):
            at = dice.randrange(max(1, len(raw)))
            run_ = with_what(min(length, len(raw) - at))
            raw[at:at + len(run_)] = run_
            return raw
        return change

    def exchanged(raw):
        """Every two outputs have changed places: each record names an object that exists, and the wrong one."""
        ids = [output_id(body) for body in model.values()]
        for one, two in zip(ids[::2], ids[1::2]):
            for form in (bytes, lambda identity: identity.hex().encode()):
                mark = dice.randbytes(len(form(one)))
                raw = raw.replace(form(one), mark).replace(form(two), form(one)).replace(mark, form(two))
        return raw

    def one_bit_in_each_entry(raw):
        for action in model:
            for form in (action, action.hex().encode()):
                at = raw.find(form)
                if at >= 0:
                    raw[min(len(raw) - 1, at + dice.randrange(100))] ^= 1 << dice.randrange(8)
        return raw

    yield "empty", lambda raw: b""
    for share in (0.001, 0.1, 0.5, 0.9, 0.999):
        yield f"cut at {share}", lambda raw, share=share: raw[:int(len(raw) * share)]
    yield "one byte less", lambda raw: raw[:-1]
    yield "zeros", lambda raw: bytes(len(raw))
    yield "ones", lambda raw: b"\xff" * len(raw)
    yield "noise", lambda raw: dice.randbytes(len(raw))
    yield "longer noise", lambda raw: dice.randbytes(len(raw) + 70_000)
    yield "something longer", lambda raw: raw + dice.randbytes(5000)
    yield "reversed", lambda raw: raw[::-1]
    yield "shifted", lambda raw: b"\0" + raw[:-1]
    yield "a data base of somebody else", lambda raw: b"SQLite format 3\0" + bytes(8176)
    yield "an archive", lambda raw: b"\x1f\x8b\x08" + dice.randbytes(100_000)
    yield "twice", lambda raw: raw + raw
    yield "outputs exchanged", exchanged
    for _ in range(3):
        yield "one bit in each entry", one_bit_in_each_entry
    for round_ in range(4):
        yield f"one bit {round_}", flipped(1)
        yield f"a hundred bits {round_}", flipped(100)
        yield f"every page {round_}", flipped(3000)
        yield f"a run of zeros {round_}", overwritten(bytes, 4096)
        yield f"a run of noise {round_}", overwritten(dice.randbytes, 700)


@case("G-17", "G-18", "G-12")
def a_damaged_index_costs_misses_and_never_a_wrong_hit(directory):
    dice = random.Random(1)
    model = {action_id(f"i{i}"): bytes_of(f"i{i}", i // 2) for i in range(120)}  # pairs of one size
    with Place(directory) as place:
        paths = place.fill(model)
        place.must.clear()
        with place.session() as session:
            times = {action: answer.get("Time") for action, answer in session.get_all(model).items()}
        sound = {}
        for path in index_files(place, paths.values()):
            with open(path, "rb") as file:
                sound[path] = file.read()
        for name, change in index_damages(dice, model):
            with about(name):
                for path in index_files(place, paths.values()):
                    os.unlink(path)  # what the last round left beside it, too
                for path, raw in sound.items():
                    with open(path, "wb") as file:
                        file.write(change(bytearray(raw)))
                with place.session() as session:
                    found = session.get_all(model)
                    lost = {action: body for action, body in model.items() if truthful(found[action], [body]) is None}
                    assert all(found[action].get("Time") == times[action] for action in model if action not in lost)
                    for action, answer in session.put_all(lost).items():
                        expect_put(answer, model[action])
                    for action, answer in session.get_all(model).items():
                        expect_hit(answer, model[action])
                    assert session.finish() == 0, name
                with place.session() as session:
                    for action, answer in session.get_all(model).items():
                        expect_hit(answer, model[action])
                    works(session, name)
                    assert session.finish() == 0, name


@case("G-17", "G-18")
def an_index_damaged_under_a_running_helper_costs_misses_only(directory):
    dice = random.Random(2)
    model = {action_id(f"r{i}"): bytes_of(f"r{i}", i // 2 * 10) for i in range(60)}
    with Place(directory) as place:
        for name, change in index_damages(dice, model):
            if name.endswith((" 1", " 2", " 3")):
                continue
            with about(name):
                paths = place.fill(model)
                place.must.clear()
                with place.session() as session:
                    for action, answer in session.get_all(model).items():
                        expect_hit(answer, model[action])
                    for path in index_files(place, paths.values()):
                        rewrite(path, change)
                    for action, answer in session.get_all(model).items():
                        truthful(answer, [model[action]])
                    for action, answer in session.put_all(model).items():
                        expect_put(answer, model[action])
                    for action, answer in session.get_all(model).items():
                        expect_hit(answer, model[action])
                    assert session.finish() == 0, name


@case("G-17", "G-18")
def an_index_that_is_gone_or_no_file_costs_misses_only(directory):
    model = {action_id(f"g{i}"): bytes_of(f"g{i}", i * 10) for i in range(20)}
    for damage in (gone, folder, fifo, link_to_itself, link_to_nothing, link_to_device_null, link_to_a_wrong_file):
        with Place(os.path.join(directory, damage.__name__)) as place, about(damage.__name__):
            paths = place.fill(model)
            place.must.clear()
            for path in index_files(place, paths.values()):
                damage(path, directory)
            with place.session() as session:
                for action, body in model.items():
                    truthful(session.get(action, timeout=PROMPT), [body])
                    expect_put(session.put(action, body, timeout=PROMPT), body)
                    expect_hit(session.get(action, timeout=PROMPT), body)
                assert session.finish() == 0


# -- ids that are none -------------------------------------------------------------------------------------------------
def get_with(action, number=50):
    """A get whose ActionID is this piece of JSON, or has none."""
    field = b"" if action is None else b',"ActionID":' + action
    return b'{"ID":%d,"Command":"get"%s}\n\n' % (number, field)


@case("G-19")
def an_action_id_of_another_length_is_a_miss_or_refused(directory):
    with Place(directory) as place:
        before = None
        for raw in (b"", b"A", b"\0", KNOWN[:20], KNOWN[:31], KNOWN + b"\0", KNOWN + KNOWN, os.urandom(10_000),
                    b"../../../../etc/passwd", b"/etc/passwd", KNOWN[:16], None):
            verdict = provoke(place, get_with(json.dumps(b64(raw)).encode() if raw is not None else None), 50)
            if before is None:
                before = place.outside()
            if verdict.has_success(50):
                assert not TUCK, f"promised to be answered with Err: {verdict.all}"
                expect_miss(verdict.accepted(50))
            else:
                verdict.refused(50, tuck="Err")
        assert place.outside() == before, "something was made outside of the cache"


@case("G-20")
def an_action_id_that_is_no_base64_or_no_string_is_answered_with_err(directory):
    standard = b64(b"\xfb\xff" + KNOWN[2:])
    forms = [json.dumps(text) for text in (
        standard.replace("+", "-").replace("/", "_"), b64(KNOWN)[:-1], b64(KNOWN) + "=", b64(KNOWN)[:-2] + "==",
        "!" + b64(KNOWN)[1:], " " + b64(KNOWN)[1:], b64(KNOWN)[:20] + "=" + b64(KNOWN)[21:], KNOWN.hex(), "=" * 44,
        b64(KNOWN)[:43] + "A", b64(KNOWN)[:-1] + "\0", "ä" * 22)]
    forms += ["null", "5", "true", "{}", "[" + ",".join(map(str, KNOWN)) + "]", "1.5", '["' + b64(KNOWN) + '"]']
    with Place(directory) as place:
        for form in forms:
            provoke(place, get_with(form.encode()), 50).refused(50, tuck="Err")


@case("G-20")
def unused_bits_in_the_last_character_make_no_second_name_for_an_action(directory):
    # 32 bytes leave two bits of the last character unused. Go's decoder ignores them, others may refuse them; what may
    # not be is a hit with something else.
    text = b64(KNOWN)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = text[:42] + alphabet[alphabet.index(text[42]) | 1] + "="
    assert base64.b64decode(other) == KNOWN and other != text
    with Place(directory) as place:
        verdict = provoke(place, get_with(json.dumps(other).encode()), 50)
        for answer in verdict.answers(50):
            if not answer.get("Err"):
                truthful(answer, [KNOWN_BODY])
        assert verdict.answers(50) or verdict.status > 0


@case("G-14", "G-18", "P-23")
def a_get_never_gives_a_path_to_nothing_when_objects_are_swept_away(directory):
    model = {action_id(f"s{i}"): bytes_of(f"s{i}", 100 + i) for i in range(50)}
    with Place(directory) as place:
        paths = place.fill(model)
        place.must.clear()
        with place.session() as session:
            for action, body in model.items():
                expect_hit(session.get(action), body)
            for folder_ in {os.path.dirname(path) for path in paths.values()}:
                shutil.rmtree(folder_)  # whole directories of objects
            for action in model:
                expect_miss(session.get(action))
            for action, body in model.items():
                expect_put(session.put(action, body), body)
                expect_hit(session.get(action), body)
            works(session, "swept")
        place.must |= model


run(__name__)

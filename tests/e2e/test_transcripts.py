# SPDX-License-Identifier: MIT
"""The recorded conversations of protocol/transcripts, played against the helper under test. Needs no go command."""
import glob, json, os, sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "harness"))
import tap, transcript  # noqa: E402
from helper import Helper  # noqa: E402

PLACE = os.path.join(os.path.dirname(os.path.dirname(HERE)), "protocol", "transcripts")
FILES = sorted(glob.glob(os.path.join(PLACE, "*.txt")))


def each_transcript(function):
    for path in FILES:
        def one(directory, path=path):
            function(directory, path)
        one.__name__ = f"{function.__name__}_{os.path.basename(path)[:-4]}"
        tap.case()(one)
    return function


@tap.case()
def there_are_transcripts_of_every_form_of_the_protocol(directory):
    names = {os.path.basename(path) for path in FILES}
    assert {"go1.21.txt", "go1.24.txt", "go1.26.txt"} <= names, names
    for path in FILES:
        assert os.path.getsize(path) < 300_000, path
        old = {"go1.21.txt": "ObjectID"}.get(os.path.basename(path), "OutputID")
        for session in transcript.parse(path):
            for request in session.requests():
                if request["Command"] == "put":
                    assert old in request and ("ObjectID" in request) != ("OutputID" in request), request


@each_transcript
def every_answer_is_as_recorded_for(directory, path):
    player = transcript.Player(directory)
    differences = []
    for session in transcript.parse(path):
        wrong, _ = player.play(session)
        differences += [f"{session.title}: {what}" for what in wrong]
    assert not differences, "\n".join(differences)
    assert min(player.counts.values()) > 5, player.counts


@each_transcript
def a_session_sent_in_one_piece_is_answered_in_full_for(directory, path):
    """The same bytes without waiting for a single answer, cut where no message ends."""
    for session in transcript.parse(path):
        wanted = {request["ID"] for request in session.requests()}
        stream = session.bytes_out()
        with Helper(directory) as helper:
            for at in range(0, len(stream), 4093):
                helper.send(stream[at:at + 4093])
            for number in wanted:
                answer = helper.answer_to(number)
                assert not answer.get("Err"), answer
            helper.eof()
            helper.wait_stdout_eof()
            assert helper.wait() == 0, helper.stderr_raw


@each_transcript
def what_tuck_records_of_itself_is_what_was_said_in(directory, path):
    if os.environ.get("TUCK_HELPER"):
        tap.skip("a trace is tuck's own")
    trace = os.path.join(directory, "trace")
    player = transcript.Player(directory, env={"TUCK_TRACE": trace, "TUCK_TRACE_BODIES": "yes"})
    played = transcript.parse(path)
    for session in played:
        player.play(session)
    recorded = transcript.parse(trace)
    assert len(recorded) == len(played)
    for one, other in zip(played, recorded):
        assert one.bytes_out() == other.bytes_out(), f"{one.title}: other requests"
        said = [[json.loads(line).get("ID", 0) for mark, line in events if mark == "<"]
                for events in (one.events, other.events)]
        assert sorted(said[0]) == sorted(said[1]), f"{one.title}: other answers"
        if not any(request["Command"] == "close" for request in one.requests()):
            assert other.events[-1] == ("!", b"eof"), f"{one.title}: another end"
    assert os.listdir(directory).count("trace") == 1 and len([n for n in os.listdir(directory) if "trace" in n]) == 1


tap.run(__name__)

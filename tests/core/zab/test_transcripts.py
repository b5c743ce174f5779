"""What servers say to each other, as stories: `pytest tests/core/zab/test_transcripts.py --rewrite` writes anew what
is expected in transcripts/*.txt, to be read as a diff.
"""

from pathlib import Path

import pytest

from tests.core.zab.transcript import BadTranscript, play

TRANSCRIPTS = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_transcript(path, rig_of, pytestconfig):
    text = path.read_text()
    played = play(text, rig_of, path.name)
    if pytestconfig.getoption("--rewrite"):
        path.write_text(played)
    else:
        assert played == text


def test_there_are_enough_of_them_and_each_begins_with_its_story():
    assert len(TRANSCRIPTS) >= 12
    assert all(path.read_text().startswith("# ") for path in TRANSCRIPTS)


def test_what_is_expected_is_made_anew(rig_of):
    text = "servers 3\n\nstatus\n    1 dances\n# prose\n"
    played = play(text, rig_of).splitlines()
    assert (played[0], played[2], played[-1]) == ("servers 3", "status", "# prose")
    assert played[3:6] == [f"    {sid} looks: log to 0x0, applied to 0x0, accepted 0, current 0" for sid in (1, 2, 3)]


@pytest.mark.parametrize(
    ("commands", "complaint"),
    [
        ("elect 3", "story.txt:1: 'elect 3': no servers yet: expected 'servers 3' as the first command"),
        ("servers 3\nelct 3", "story.txt:2: 'elct 3': unknown command 'elct': expected one of crash, cut, deliver"),
        ("servers 3\nelect 4", "story.txt:2: 'elect 4': no server 4: expected 1 to 3"),
        ("servers 3\nelect 3 7", "no server 7: expected 1 to 3"),
        (
            "servers 3\nelect",
            "missing a required argument: 'leader': see the list of commands in tests.core.zab.transcript",
        ),
        ("servers 3\nelect three", "'three': expected a number"),
        ("servers 3\nservers 3", "there are servers already"),
        ("servers 3\npropose 3", "server 3 does not lead"),
        ("servers 3\ncut 1 2", "servers 1 and 2 are not connected"),
        ("servers 3\nrestart 1", "server 1 has not crashed"),
        ("servers 3\ncrash 1\ncrash 1", "server 1 has crashed"),
        ("servers 3\nelect 3\nelect 3", "no server looks for a leader"),
        ("servers 3\nelect 3\nelect 2 1", "server 1 has a leader"),
        ("servers 3\nelect 3\ndisk 1", "server 1 has a leader"),
        ("servers 3\ndisk 1 one", "'one': expected a zxid such as 0x100000001, or two with '-' between"),
        ("servers 3\ndisk 1 current", "current: expected an epoch behind it"),
    ],
)
def test_a_mistake_in_a_transcript_is_named(rig_of, commands, complaint):
    with pytest.raises(BadTranscript) as caught:
        play(commands, rig_of, "story.txt")
    assert complaint in str(caught.value)

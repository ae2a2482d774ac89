"""How the commands speak where nobody looks on: JSON that is JSON, and progress as plain lines beside it."""

import json
import math
from datetime import UTC, datetime

from budget_router_cli.terminal import busy, progress_bars, say, say_json


def test_json_knows_no_nan_and_tells_moments_as_iso_dates(capsys):
    say_json({"value": math.nan, "interval": (1.0, math.inf), "at": datetime(2026, 3, 1, tzinfo=UTC)})
    assert json.loads(capsys.readouterr().out) == {
        "value": None,
        "interval": [1.0, None],
        "at": "2026-03-01T00:00:00+00:00",
    }


def test_progress_is_a_line_for_each_thing_that_is_done_and_stays_out_of_the_data(capsys):
    with progress_bars() as tell:
        for done in range(3):
            tell("reading decisions", done, None)
        tell("learning", 0, 1)
        tell("learning", 1, 1)
    with busy("proving"):
        pass

    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == ["reading decisions", "learning: 1"]


def test_sentences_are_folded_and_their_brackets_are_no_markup(capsys):
    say("word " * 40, "[bold]not bold[/]")
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[-1] == "[bold]not bold[/]"

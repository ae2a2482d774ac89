"""The README's Python is run as it stands, top to bottom, with a scripted model for `model`."""

import re
from pathlib import Path

import pytest
from scripted import ScriptedModel

README = Path(__file__).parents[1] / "README.md"


def test_the_readmes_python_runs_as_it_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    node, middleware, chain, function, seeing, retraining, by_itself = blocks
    names = {"model": ScriptedModel(["Answer: 68"])}

    exec(node, names)
    exec(middleware, names)
    exec(chain, names)
    exec(function, names)
    exec(seeing, names)
    questions = [
        {"question": f"What is {number} + 41?"} for number in range(40)
    ]  # traffic, before there is anything to learn from
    for number, receipt in enumerate(names["solve"].receipts().batch(questions)):
        names["router"].grade(receipt.decision_id, score=float(number % 3 > 0))
    exec(retraining, names)
    exec(by_itself, names)
    names["router"].ledger.close()

    printed = capsys.readouterr().out.split()
    assert "68" in printed
    assert {"budget_decision", "budget_sample", "budget_vote", "budget_settlement"} <= set(printed)
    assert names["result"].n_decisions == 46


@pytest.mark.parametrize("target", ["demo", "test"])
def test_the_readmes_two_commands_are_targets_of_the_makefile(target):
    assert f"$ make {target}" in README.read_text()
    assert re.search(rf"^{target}:", (README.parent / "Makefile").read_text(), flags=re.MULTILINE)

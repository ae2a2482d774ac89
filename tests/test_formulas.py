"""Formulas are one answer when they are worth the same, whatever thread asks, and no formula takes long or does harm."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from budget_router.answers import formula, formula_answer, normalise, normalise_formula

pytest.importorskip("math_verify", reason="the extra `math`")


@pytest.mark.parametrize(
    "same",
    [
        ["0.5", "\\frac{1}{2}", "x=\\frac{1}{2}", "\\sin(\\pi/6)", "\\int_0^1 x dx", "50\\%", "$\\frac{2}{4}$"],
        ["\\frac{\\sqrt{2}}{2}", "\\frac{1}{\\sqrt{2}}", "\\sqrt{\\frac{1}{2}}", "2^{-1/2}"],
        ["(x+1)^2", "x^2+2x+1", "1 + 2x + x^{2}"],
        ["\\frac{x^2-1}{x-1}", "x+1"],
        ["\\{1, 2\\}", "\\{2,1\\}"],
        ["[0, 1)", "x \\in [0,1)"],
        ["\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "\\begin{bmatrix} 1 & 2 \\\\ 3 & 4 \\end{bmatrix}"],
        ["x<5", "5>x"],
        ["5", "5 \\text{ cm}", "5 km"],
    ],
)
def test_formulas_of_one_worth_are_one_answer(same):
    assert len({normalise_formula(one) for one in same}) == 1


@pytest.mark.parametrize(
    "different",
    [
        ["\\sqrt{2}", "\\sqrt{3}", "1.414", "-\\sqrt{2}", "\\sqrt{-2}"],
        ["x+1", "x-1", "y+1", "2x+1"],
        ["(0,1)", "[0,1)", "[0,1]", "(0,1]", "\\{0,1\\}"],
        ["Paris", "pairs", "\\text{Paris, Rome}"],
        ["3!", "3", "4!"],
    ],
)
def test_formulas_of_different_worth_stay_different(different):
    assert len({normalise_formula(one) for one in different}) == len(different)


@pytest.mark.parametrize("text", ["Paris", "5 km away", "1,250.50", "yes", "...", "", "new york"])
def test_what_is_no_formula_is_written_as_any_answer(text):
    assert normalise_formula(text) == normalise(text)


def test_the_formula_of_a_reply_is_the_one_that_it_marks():
    assert formula_answer("so\n\\boxed{\\frac{\\sqrt{4}}{4}}") == formula_answer("long\nAnswer: $1/2$") == "0.5"
    assert formula_answer("I would\nhave to think") is None


def test_threads_read_formulas_too():
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda n: normalise_formula(f"\\sqrt{{{n * n}}} - {n - 1}"), range(2, 12))) == {"1"}


@pytest.mark.parametrize("hostile", ["x^{100000}(x+1)^{10000}"])
def test_a_formula_that_takes_too_long_is_compared_as_text_and_the_next_is_read_again(monkeypatch, hostile):
    normalise_formula("\\sqrt{25}")
    monkeypatch.setattr(formula, "MAX_SECONDS", 0.3)
    started = time.monotonic()
    assert normalise_formula(hostile) == normalise(hostile)
    assert time.monotonic() - started < 5
    monkeypatch.undo()
    assert normalise_formula(f"\\sqrt{{{len(hostile) ** 2}}}") == str(len(hostile))


@pytest.mark.parametrize(
    "hostile",
    [
        "__import__('os').system('touch {}')",
        "\\text{{__import__('os').system('touch {}')}}",
        "\\frac{{open('{}','w')}}{{1}}",
        "$`touch {}`$",
    ],
)
def test_nothing_that_a_model_wrote_is_evaluated(tmp_path, hostile):
    place = tmp_path / "made"
    normalise_formula(hostile.format(place))
    formula._reader.worth(hostile.format(place))
    assert not place.exists()


@pytest.mark.parametrize("piece", ["\\frac{", "{", "x^", "(", "1+", "\\sqrt", "a b "])
def test_ten_hostile_megabytes_are_searched_in_linear_time(piece):
    text = piece * (10_000_000 // len(piece))
    started = time.process_time()
    formula_answer(text)
    formula_answer(f"\\boxed{{{text}}}")
    assert time.process_time() - started < 5  # a quadratic search takes hours


def test_a_reader_that_is_gone_is_started_again():
    assert normalise_formula("\\sqrt{49}") == "7"
    assert formula._reader.process is not None
    formula._reader.process.kill()
    formula._reader.process.wait()
    assert normalise_formula("\\sqrt{64}") == "8"


def test_without_the_extra_the_error_says_what_to_install():
    probe = "import sys; from budget_router.answers import normalise_formula as f; sys.path.clear(); print(f('1/2')); f('x+1')"
    ended = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert ended.stdout == "0.5\n"
    assert "pip install 'budget-router[math]'" in ended.stderr

import base64
import csv
import io
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import budget_router.reports
from budget_router.evaluation import Estimate, OffPolicyEstimate
from budget_router.reports import (
    AllocationResult,
    CalibrationResult,
    ComparisonResult,
    Estimated,
    EstimatesResult,
    FrontierResult,
    GateResult,
    GateRow,
    ImportanceResult,
    Part,
    Point,
    RegretPoint,
    RegretResult,
    Report,
    Spender,
    SpendingResult,
    StreamResult,
    draw_allocation,
    draw_calibration,
    draw_frontier,
    draw_stream,
    findings,
    to_svg,
    write_report,
)
from budget_router.reports.calibration import wilson_interval
from budget_router.reports.findings import allocation_finding, calibration_finding, frontier_finding, stream_finding

UNIT = "completion tokens per task"
STRATEGIES = ("direct", "direct_3", "cot", "cot_3", "cot_5", "long_cot")
KINDS = ("arith", "compare", "date", "easy_word", "logic", "multi_step", "sequence", "units")


def around(accuracy: float, half_width: float = 0.02) -> Estimate:
    return Estimate(accuracy, accuracy - half_width, accuracy + half_width)


def sample_frontier() -> FrontierResult:
    bought = zip((12, 22, 32, 55, 89), (0.62, 0.675, 0.688, 0.70, 0.71), strict=True)
    fixed = zip(STRATEGIES, (4, 11, 29, 88, 147, 192), (0.48, 0.50, 0.65, 0.69, 0.72, 0.63), strict=True)
    return FrontierResult(
        unit=UNIT,
        budget=22,
        policy=tuple(Point(f"budget {spend}", 0.98 * spend, around(accuracy)) for spend, accuracy in bought),
        operating_point=Point("learned policy", 21.6, around(0.675)),
        fixed=tuple(Point(name, spend, around(accuracy)) for name, spend, accuracy in fixed),
        mix=((4, 0.48), (29, 0.65), (88, 0.69), (147, 0.72)),
        oracle=((8, 0.60), (12, 0.66), (22, 0.72), (32, 0.745), (55, 0.768), (89, 0.775)),
    )


def sample_allocation() -> AllocationResult:
    share = (
        (0.31, 0.04, 0.55, 0.10, 0.00, 0.00),
        (0.93, 0.05, 0.02, 0.00, 0.00, 0.00),
        (0.71, 0.12, 0.15, 0.02, 0.00, 0.00),
        (0.64, 0.02, 0.34, 0.00, 0.00, 0.00),
        (0.22, 0.08, 0.40, 0.25, 0.04, 0.01),
        (0.02, 0.00, 0.52, 0.33, 0.11, 0.02),
        (0.18, 0.03, 0.43, 0.30, 0.06, 0.00),
        (0.45, 0.09, 0.46, 0.00, 0.00, 0.00),
    )
    return AllocationResult(KINDS, (92, 71, 64, 88, 60, 95, 58, 72), STRATEGIES, share)


def sample_stream() -> StreamResult:
    rng = np.random.default_rng(7)
    spend = np.array((4, 11, 29, 88, 147, 192))
    cold = rng.choice(spend, 150, p=(0.50, 0.10, 0.32, 0.05, 0.02, 0.01))
    learned = rng.choice(spend, 450, p=(0.46, 0.06, 0.38, 0.085, 0.01, 0.005))
    price = np.concatenate([np.full(150, 0.006), 0.0042 + 0.0012 * np.exp(-np.arange(450) / 90) + rng.normal(0, 1e-4, 450)])
    return StreamResult(
        unit=UNIT,
        budget=22,
        phase=("cold start",) * 150 + ("learned policy",) * 450,
        spend=tuple(float(each) for each in np.concatenate([cold, learned])),
        shadow_price=tuple(float(each) for each in price),
    )


def sample_calibration() -> CalibrationResult:
    return CalibrationResult(
        unit=UNIT,
        accuracy=((0.22, 0.26, 31), (0.38, 0.35, 64), (0.54, 0.57, 118), (0.67, 0.64, 160), (0.81, 0.83, 142), (0.93, 0.90, 85)),
        cost=((4.1, 4.0, 260), (11.3, 10.8, 60), (28.0, 30.1, 190), (85.0, 91.0, 70), (150.0, 141.0, 20)),
    )


def sure(value: float, half_width: float = 0.02) -> OffPolicyEstimate:
    return OffPolicyEstimate(value, half_width / 2, value - half_width, value + half_width, 400.0, 500, 480)


def sample_regret() -> RegretResult:
    points = (RegretPoint(11, 0.02, 0.2, 0.7, 0.9), RegretPoint(22, 0.015, 0.15, 0.8, 0.95), RegretPoint(44, 0.0, 0.0, 1.0, 1.0))
    return RegretResult(UNIT, 22, points)


def sample_estimates() -> EstimatesResult:
    silent = OffPolicyEstimate(0.4, float("nan"), float("nan"), float("nan"), 2.0, 500, 480, reason="too little")
    rows = Estimated("learned policy", "DR", sure(0.7), sure(21, 2), is_ours=True), Estimated("direct", "DR", silent)
    return EstimatesResult(UNIT, rows)


def sample_spending() -> SpendingResult:
    rows = (
        Spender("support · cot", 120, 3600.0, around(0.7)),
        Spender("research · direct", 300, 1200.0, Estimate(*[float("nan")] * 3)),
    )
    return SpendingResult("group and strategy", "completion tokens", rows)


def sample_comparison() -> ComparisonResult:
    parts = Part("share", "direct", 0.6, 0.5, 480), Part("spend", "support", 20.0, 24.0, 300)
    pair = (sure(0.7), sure(0.68)), (sure(21, 2), sure(23, 2))
    return ComparisonResult(UNIT, ("old", "new"), *pair, sure(0.02, 0.01), "", 0.12, parts)


def sample_report(**changes: object) -> Report:
    parts = {
        "title": "Compute routing of the nightly exam",
        "verdict": "At 21.6 completion tokens per task the learned policy answers 67.5 % right [65.5, 69.5]: "
        "7.5 points above the best static mix at the same spend.",
        "figures": (
            ("Accuracy", "67.5 %", "[65.5, 69.5]"),
            ("Gain over the best static mix", "+7.5 points", "[5.1, 9.8]"),
            ("Spend of budget", "98 %", "21.6 of 22 completion tokens per task"),
            ("Oracle gap closed", "62 %", "[48, 74]"),
        ),
        "frontier": sample_frontier(),
        "allocation": sample_allocation(),
        "stream": sample_stream(),
        "calibration": sample_calibration(),
        "spenders": (
            (
                "A train leaves at 9:40 and arrives at 12:05; how long does the journey take with two stops of six minutes?",
                "multi_step",
                "long_cot",
                192.0,
                "157 minutes",
            ),
            ("All bloops are razzies and all razzies are lazzies. Are all bloops lazzies?", "logic", "cot_5", 151.0, "yes"),
            ("What comes next: 2, 6, 12, 20, 30?", "sequence", "cot_5", 149.0, "42"),
        ),
        "provenance": (
            ("Command", "budget-router report --run r42 --seed 7"),
            ("Data", "600 decisions, 2025-03-01 to 2025-03-14, sha256 9f2c41d7e0a8"),
            ("Policy", "value-3 of 2025-03-01"),
            ("Versions", "budget-router 0.1.0, numpy 2.4.6, scikit-learn 1.9.1"),
        ),
    }
    return Report(**{**parts, **changes})  # type: ignore[arg-type]


def rare_report(**changes: object) -> Report:
    """One of everything, and nothing known of its interval."""
    unknown = Estimate(0.5, float("nan"), float("nan"))
    parts = {
        "frontier": FrontierResult(
            unit=UNIT,
            budget=4,
            policy=(),
            operating_point=Point("learned policy", 4, unknown),
            fixed=(Point("direct", 4, unknown),),
            mix=((4, 0.5),),
            oracle=(),
        ),
        "allocation": AllocationResult(("arith",), (1,), ("direct",), ((1.0,),)),
        "stream": StreamResult(UNIT, 4, ("cold start",), (4.0,), (0.0,)),
        "calibration": CalibrationResult(UNIT, (), ()),
        "spenders": (),
        "figures": (),
        "provenance": (),
    }
    return sample_report(**{**parts, **changes})


HOSTILE = (
    "<script>alert(1)</script><img src=https://evil.example/x onerror=\"alert(2)\"> ' onload='x </style></svg></title>"
    ' $\\frac{1}{0}$ \u202egnp.exe\u2066 漢字 \x07\ud800 =HYPERLINK("https://evil.example")'
)


def hostile_report() -> Report:
    sample = sample_report()
    point = Point(HOSTILE, 21.6, around(0.675))
    return sample_report(
        title=HOSTILE,
        verdict=HOSTILE,
        figures=((HOSTILE, HOSTILE, HOSTILE),),
        frontier=replace(sample.frontier, unit=HOSTILE, operating_point=point, fixed=(point,), policy=(point,)),
        allocation=AllocationResult((HOSTILE, "a"), (3, 4), (HOSTILE, "b"), ((0.4, 0.6), (1.0, 0.0))),
        stream=replace(sample.stream, unit=HOSTILE, phase=(HOSTILE,) * 600),
        calibration=replace(sample.calibration, unit=HOSTILE),
        spenders=((HOSTILE, HOSTILE, HOSTILE, 3.0, '=HYPERLINK("https://evil.example")'),),
        provenance=((HOSTILE, HOSTILE),),
    )


class Elements(HTMLParser):
    """Every start tag of a page with its attributes, every end tag, and the words between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words: dict[str, list[str]] = {}
        self._open = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._open = tag

    def handle_data(self, data: str) -> None:
        self.words.setdefault(self._open, []).append(data)

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("pages")
    reports = {"sample": sample_report(), "hostile": hostile_report(), "rare": rare_report()}
    for name, report in reports.items():
        write_report(report, folder / name)
    return {name: (folder / name).read_text(encoding="utf-8") for name in reports}


each_page = pytest.mark.parametrize("name", ["sample", "hostile", "rare"])


@each_page
def test_a_page_holds_no_script_and_no_handler(pages: dict[str, str], name: str) -> None:
    elements = Elements(pages[name])

    tags = {tag for tag, _ in elements.found}
    assert not tags & {"script", "iframe", "object", "embed", "form", "img", "base", "foreignobject", "animate", "set"}
    assert not [key for _, attributes in elements.found for key in attributes if key.startswith("on")]


@each_page
def test_a_page_asks_the_network_for_nothing(pages: dict[str, str], name: str) -> None:
    elements = Elements(pages[name])

    keys = {"src", "href", "xlink:href", "srcset", "action", "poster", "data"}
    links = [value for _, attributes in elements.found for key, value in attributes.items() if key in keys]
    assert links
    assert all(link is not None and link.startswith(("#", "data:")) for link in links)
    drawn = [
        value or "" for _, attributes in elements.found for key, value in attributes.items() if key in {"style", "clip-path"}
    ]
    assert not re.search(r"url\((?!#)", " ".join([*drawn, *elements.words["style"]]))
    assert "@import" not in pages[name]
    (rule,) = [each["content"] for each in elements.attributes("meta") if each.get("http-equiv") == "Content-Security-Policy"]
    assert rule is not None
    assert rule.startswith("default-src 'none';")
    assert "script-src" not in rule


def test_hostile_text_is_shown_as_text(pages: dict[str, str]) -> None:
    elements = Elements(pages["hostile"])

    shown = "".join(elements.words["bdi"])
    assert "<script>alert(1)</script>" in shown
    assert r"\u202egnp.exe\u2066 漢字 \u0007\ud800" in shown
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x09\x0b-\x1f]", pages["hostile"])
    assert len(elements.attributes("style")) == 1


def test_hostile_names_are_text_in_the_pictures_too() -> None:
    allocation = AllocationResult(("$x^2$", '<b id="figure_1">'), (1, 1), ("#0072b2",), ((1.0,), (1.0,)))

    svg = to_svg(draw_allocation(allocation), prefix="p", title="1")

    assert {"$x^2$", '<b id="figure_1">', "#0072b2"} <= {words.strip() for words in Elements(svg).words["text"]}


@each_page
def test_no_cell_of_a_download_is_a_formula(pages: dict[str, str], name: str) -> None:
    downloads = [link for link in Elements(pages[name]).attributes("a") if "download" in link]

    assert len(downloads) == (4 if name == "rare" else 5)
    for link in downloads:
        head, _, body = (link["href"] or "").partition(",")
        assert head == "data:text/csv;charset=utf-8;base64"
        header, *rows = csv.reader(io.StringIO(base64.b64decode(body).decode("utf-8-sig")))
        assert all(len(row) == len(header) for row in rows)
        cells = [cell for row in [header, *rows] for cell in row]
        assert not [cell for cell in cells if cell[:1] in set("=+@\t\r") or (cell[:1] == "-" and not float(cell))]


@each_page
def test_every_picture_says_its_finding_with_a_figure_in_it(pages: dict[str, str], name: str) -> None:
    pictures = Elements(pages[name]).attributes("svg")

    assert len(pictures) == 4
    for picture in pictures:
        assert picture["role"] == "img"
        assert re.search(r"\d", picture["aria-label"] or "")


@each_page
def test_no_two_elements_of_a_page_share_an_id(pages: dict[str, str], name: str) -> None:
    ids = [attributes["id"] for _, attributes in Elements(pages[name]).found if "id" in attributes]

    assert len(ids) == len(set(ids))
    referred = set(re.findall(r'(?:url\(|href=")#([\w.-]+)', pages[name]))
    assert referred <= set(ids)


def test_the_sections_stand_in_their_order(pages: dict[str, str]) -> None:
    headings = ["".join(Elements(pages[name]).words["h2"]).split("\n") for name in ("sample", "rare")]

    in_order = [
        "The frontier",
        "Where the compute went",
        "Spend over the stream",
        "Calibration",
        "Dearest decisions",
        "How to make this page again",
    ]
    assert [heading for heading in headings[0] if heading] == in_order
    assert [heading for heading in headings[1] if heading] == [each for each in in_order if each != "Dearest decisions"]


def test_the_verdict_stands_above_every_picture(pages: dict[str, str]) -> None:
    assert 0 < pages["sample"].index(sample_report().verdict) < pages["sample"].index("<svg")


@each_page
def test_a_page_is_below_a_megabyte_and_a_half(pages: dict[str, str], name: str) -> None:
    assert len(pages[name].encode()) < 1_500_000


def test_a_long_stream_and_a_wide_table_stay_within_the_page(tmp_path: Path) -> None:
    n = 40_000
    spend = (1000.0,) + (4.0,) * (n - 1)
    kinds = tuple(f"kind {row}" for row in range(60))
    report = sample_report(
        stream=StreamResult(UNIT, 4, tuple(f"phase {row // 50}" for row in range(n)), spend, (0.001,) * n),
        allocation=AllocationResult(kinds, tuple(range(1, 61)), STRATEGIES, ((0.5, 0.5, 0, 0, 0, 0),) * 60),
        spenders=(("x" * 500_000, "k", "s", 1.0, "y" * 500_000),) * 50,
    )

    write_report(report, tmp_path / "page.html")

    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert len(page) < 1_500_000
    assert "the first decisions reach 1,000" in page
    assert "The 30 most frequent kinds are drawn; the table has all." in page


def test_the_same_report_gives_the_same_bytes(tmp_path: Path, pages: dict[str, str]) -> None:
    write_report(sample_report(), tmp_path / "again.html")

    assert (tmp_path / "again.html").read_bytes() == pages["sample"].encode()


def test_importing_reports_loads_no_matplotlib() -> None:
    probe = "import sys, budget_router.reports; print(*sys.modules)"

    loaded = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout.split()

    assert "matplotlib" not in loaded


def test_without_matplotlib_the_error_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)

    with pytest.raises(ImportError, match=re.escape("pip install 'budget-router[plots]'")):
        draw_frontier(sample_frontier())


def test_figures_are_returned_and_pyplot_is_left_alone() -> None:
    figures = [
        draw_frontier(sample_frontier()),
        draw_allocation(sample_allocation()),
        draw_stream(sample_stream()),
        draw_calibration(sample_calibration()),
    ]

    assert all(figure.axes for figure in figures)
    assert "matplotlib.pyplot" not in sys.modules


RESULTS = {
    "frontier": (sample_frontier(), ["series", "name", "spend", "accuracy", "low", "high"], 22),
    "allocation": (sample_allocation(), ["kind", "n_tasks", *STRATEGIES], 8),
    "stream": (sample_stream(), ["phase", "spend", "shadow_price"], 600),
    "calibration": (sample_calibration(), ["of", "predicted", "observed", "n"], 11),
    "regret": (sample_regret(), ["budget", "regret", "bound", "imitation_accuracy", "value_weighted_accuracy"], 3),
    "importance": (ImportanceResult((("words", around(0.05)), ("kind", around(0.0)))), ["input", "value", "low", "high"], 2),
    "estimates": (sample_estimates(), None, 3),
    "spending": (sample_spending(), ["name", "n_decisions", "spend", "accuracy", "low", "high"], 2),
    "comparison": (sample_comparison(), ["of", "name", "old", "new"], 4),
    "gate": (
        GateResult("v1", "It serves. 1 of 1 conditions was met.", (GateRow("gain", 1.0, 0.0, True, "gain 1 ≥ 0"),)),
        list(GateRow._fields),
        1,
    ),
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_is_a_frame_of_what_it_holds(name: str) -> None:
    result, columns, n_rows = RESULTS[name]

    frame = result.frame()

    assert len(frame) == n_rows
    assert columns is None or list(frame.columns) == columns


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_draws_itself_and_says_what_there_is_to_see(name: str) -> None:
    result, _, _ = RESULTS[name]

    svg = to_svg(result.plot(), prefix="p", title="1")

    assert Elements(svg).words["text"]
    assert "matplotlib.pyplot" not in sys.modules
    says = result.sentence if name == "gate" else getattr(findings, f"{name}_finding")(result)
    assert re.search(r"\d.*\.$", says)


def test_a_verdict_s_picture_shades_what_is_asked_for_and_marks_what_misses_it() -> None:
    rows = (
        GateRow("gain", -0.012, 0.0, False, "gain's lower bound -1.2 points < 0"),
        GateRow("spend", 796.0, 816.0, True, "spend 796 ≤ 816"),
        GateRow("range", None, 0.05, False, "out of range not known: nothing was judged"),
    )
    (ax,) = GateResult("v1", "It does not serve.", rows).plot().axes

    gain, spend = ax.patches
    assert (gain.get_x() + gain.get_width(), spend.get_x()) == (1.0, 0.0)
    marks = [(line.get_marker(), float(line.get_xdata()[0])) for line in ax.lines]
    assert [marker for marker, _ in marks] == ["s", "o"]
    assert marks[0][1] < gain.get_x()
    assert marks[1][1] < spend.get_x() + spend.get_width()
    assert [text.get_text() for text in ax.texts] == [word for row in rows for word in (_word(row), row.sentence)]


def _word(row: GateRow) -> str:
    return "met" if row.is_met else "not met"


def test_without_pandas_the_error_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)

    with pytest.raises(ImportError, match=re.escape("pip install 'budget-router[plots]'")):
        sample_frontier().frame()


def test_a_page_tells_what_it_could_not_draw_and_how_to_get_it(tmp_path: Path) -> None:
    write_report(sample_report(frontier=None, missing=(("The frontier", "grade some: <b>router.grade</b>"),)), tmp_path / "page")

    page = (tmp_path / "page").read_text(encoding="utf-8")
    headings = "".join(Elements(page).words["h2"]).split("\n")
    assert next(heading for heading in headings if heading) == "The frontier"
    assert "grade some: &lt;b&gt;router.grade&lt;/b&gt;" in page


def test_a_stream_of_known_times_is_drawn_along_them() -> None:
    moments = np.datetime64("2026-03-01T00:00", "us") + np.arange(600) * np.timedelta64(1, "h")
    stream = replace(sample_stream(), decided_at=moments)

    svg = to_svg(draw_stream(stream), prefix="p", title="1")

    assert "Time, UTC, from 2026-03-01 00:00 to 2026-03-25 23:00" in svg
    assert next(iter(stream.frame().columns)) == "decided_at"


def test_a_frontier_without_a_policy_places_what_is_known(tmp_path: Path) -> None:
    known = replace(
        sample_frontier(), policy=(), operating_point=None, served=Point("as served", 20, around(0.6)), is_honest=False
    )

    svg = to_svg(draw_frontier(known), prefix="p", title="1")

    assert {"as served", "oracle in hindsight", "cot_3"} <= {words.strip() for words in Elements(svg).words["text"]}
    assert findings.frontier_finding(known).startswith(
        "The most accurate strategy, cot_5, answers 72.0 % [70.0, 74.0] right at 147"
    )


def test_a_gain_that_is_not_concluded_is_not_told() -> None:
    unsure = OffPolicyEstimate(0.02, 0.1, float("nan"), float("nan"), 3.0, 9, 9, reason="9 decisions, limit 10: log more")

    said = findings.comparison_finding(replace(sample_comparison(), gain=unsure))

    assert "Nothing is concluded: 9 decisions, limit 10: log more." in said


def test_a_strategy_of_unknown_accuracy_is_left_out_of_the_picture() -> None:
    unknown = Point("never tried", 50, Estimate(*[float("nan")] * 3))

    svg = to_svg(draw_frontier(replace(sample_frontier(), fixed=(unknown,))), prefix="p", title="1")

    assert "never tried" not in svg
    assert "nan" not in svg.lower()


def test_spend_over_more_than_a_decade_stands_on_a_log_axis_and_says_so() -> None:
    wide = draw_frontier(sample_frontier())
    narrow = draw_frontier(replace(sample_frontier(), fixed=(), mix=((8, 0.5), (29, 0.65)), oracle=((8, 0.6),), policy=()))

    assert (wide.axes[0].get_xscale(), narrow.axes[0].get_xscale()) == ("log", "linear")
    assert wide.axes[0].get_xlabel().endswith("log scale")
    assert "log" not in narrow.axes[0].get_xlabel()


def test_colours_are_the_pages_with_their_own_to_fall_back_on() -> None:
    svg = to_svg(draw_frontier(sample_frontier()), prefix="p", title="1")

    assert "var(--policy, #0072b2)" in svg
    assert "var(--mix, #666666)" in svg
    assert "var(--oracle, #d55e00)" in svg
    assert not re.search(r"(?<!, )#[0-9a-f]{6}\b", svg)


def test_text_stays_text_of_eleven_pixels_or_more() -> None:
    svg = to_svg(draw_frontier(sample_frontier()), prefix="p", title="1")

    assert "learned policy" in [words.strip() for words in Elements(svg).words["text"]]
    (root,) = Elements(svg).attributes("svg")
    scale = float(re.findall(r"min-width: (\d+)px", root["style"] or "")[0]) / float((root["viewbox"] or "").split()[2])
    sizes = [float(size) for size in re.findall(r"font(?:-size)?:[^;]*?([\d.]+)px", svg)]
    assert min(sizes) * scale >= 11 - 0.01


def test_the_frontiers_finding_weighs_us_against_the_mix_and_the_rival() -> None:
    assert frontier_finding(sample_frontier()) == (
        "At 21.6 completion tokens per task the learned policy answers 67.5 % [65.5, 69.5] right: 7.5 points above the best "
        "static mix at the same spend; the cheapest fixed strategy as accurate, cot_3, spends 88, 4.1 times as much."
    )


def test_the_frontiers_finding_admits_a_loss() -> None:
    beaten = replace(sample_frontier(), operating_point=Point("learned policy", 29, around(0.63)))

    assert "2.0 points below the best static mix" in frontier_finding(beaten)


def test_a_gain_that_is_given_is_told_in_place_of_the_distance_to_the_drawn_mix() -> None:
    paired = replace(sample_frontier(), gain=Estimate(0.063, 0.039, 0.09))

    assert "6.3 points [+3.9, +9.0] above the best static mix" in frontier_finding(paired)
    assert "+6.3 points" in to_svg(draw_frontier(paired), prefix="p", title="1")


def test_the_allocations_finding_names_what_each_kind_buys() -> None:
    assert allocation_finding(sample_allocation()) == (
        "Most often arith (55 %), multi_step (52 %), units (46 %) and 2 more kinds take cot; compare (93 %), date (71 %) and "
        "easy_word (64 %) take direct."
    )


def test_the_streams_finding_holds_spend_against_the_budget() -> None:
    over = StreamResult(UNIT, 20, ("cold start", "learned policy"), (24.0, 20.0), (0.0, 0.004))

    assert stream_finding(over) == (
        "2 decisions spent 22 completion tokens per task on average, 10.0 % over the budget of 20; 24 in the phase "
        "“cold start” and 20 in the phase “learned policy”; the shadow price moved between 0 and 0.004 and ended at 0.004."
    )
    assert stream_finding(replace(over, shadow_price=(0.0, 0.0))).endswith("stayed at 0: the budget did not bind.")


def test_the_calibrations_finding_names_the_worst_bin() -> None:
    result = CalibrationResult(UNIT, ((0.5, 0.6, 10), (0.8, 0.8, 30)), ((10, 12, 5),))

    assert calibration_finding(result) == (
        "Predicted accuracy misses the observed by 2.5 points on average, at worst by 10.0 (predicted 50 %, observed 60 %); "
        "billed cost is 20.0 % above the predicted, 12 against 10."
    )


def test_an_interval_of_a_share_stays_between_none_and_all() -> None:
    low, high = wilson_interval(0.0, 10)

    assert low == pytest.approx(0, abs=1e-12)
    assert high == pytest.approx(0.2775, abs=1e-4)  # Wilson (1927) by hand: z² / (n + z²)


def test_no_stream_at_all_is_a_page_too(tmp_path: Path) -> None:
    write_report(rare_report(stream=StreamResult(UNIT, 4, (), (), ())), tmp_path / "page.html")

    assert "No decision has been made yet under the budget of 4" in (tmp_path / "page.html").read_text(encoding="utf-8")


def brightness(color: str) -> float:
    """Relative luminance of WCAG 2."""
    parts = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def contrast(one: str, other: str) -> float:
    dark, light = sorted((brightness(one), brightness(other)))
    return (light + 0.05) / (dark + 0.05)


def over(ground: str, paint: str, opacity: float) -> str:
    mixed = [
        round(opacity * int(paint[start : start + 2], 16) + (1 - opacity) * int(ground[start : start + 2], 16))
        for start in (1, 3, 5)
    ]
    return "#" + "".join(f"{part:02x}" for part in mixed)


@pytest.mark.parametrize("is_dark", [False, True])
def test_words_keep_a_contrast_of_four_and_a_half_on_light_and_on_dark_paper(is_dark: bool) -> None:
    style = (Path(budget_router.reports.__file__).parent / "page.css").read_text(encoding="utf-8")
    light, dark = (dict(re.findall(r"--([\w-]+): (#\w{6})", block)) for block in style.split("@media screen")[:2])
    color = light | dark if is_dark else light

    words = ("ink", "muted", "policy", "mix", "oracle-ink")
    assert min(contrast(color[name], color["paper"]) for name in words) >= 4.5
    assert contrast(color["muted"], color["shade"]) >= 4.5
    assert contrast(color["ink"], over(color["shade"], color["heat"], 0.7)) >= 4.5
    assert contrast(color["oracle"], color["paper"]) >= 3

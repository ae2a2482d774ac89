"""Draw the README's picture from the demo's own story: `python -m benchmarks.picture docs/frontier.svg`."""

import argparse
import tempfile
from pathlib import Path

from budget_router.reports import to_svg
from budget_router_cli.recording import load_recording
from budget_router_cli.story import DEFAULT_BUDGET, demo
from budget_router_cli.telling import frontier_of, verdict


def main() -> None:
    """Tell the story and keep its frontier."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        story = demo(
            DEFAULT_BUDGET, recording=load_recording(), seed=0, n_seeds=options.seeds, out=Path(folder), progress=lambda *_: None
        )
    svg = to_svg(frontier_of(story).plot(), prefix="frontier", title=verdict(story))
    alone = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
    options.file.parent.mkdir(parents=True, exist_ok=True)
    options.file.write_text(svg.replace("<svg ", f"<svg {alone}", 1).replace('style="', 'style="background: #fff; ', 1) + "\n")
    print(verdict(story))


if __name__ == "__main__":
    main()

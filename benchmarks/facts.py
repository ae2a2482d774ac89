"""What a benchmark found, for a reader or for a machine."""

import json
from collections.abc import Mapping


def tell(found: Mapping[str, object], *, as_json: bool) -> None:
    """Print facts by name: as one JSON document, or a line each."""
    if as_json:
        print(json.dumps(found, indent=1))
        return
    for name, fact in found.items():
        print(f"{name}: {json.dumps(fact)}")

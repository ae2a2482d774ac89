"""A learned policy as a file: plain arrays and a JSON manifest. Nothing in it is executed when it is loaded.

The manifest names the arrays' hash, the menu and the unit; an artifact that is corrupt, too large, of another menu or of another
version of the features is refused.
"""

import hashlib
import io
import json
import math
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from budget_router.budget import Unit
from budget_router.errors import ArtifactError
from budget_router.features import STRUCTURE_NAMES, Featuriser
from budget_router.menu import Menu
from budget_router.policies.accuracy_model import AccuracyModel, Hyperparameters
from budget_router.policies.cost_model import CostModel
from budget_router.policies.forest import Forest
from budget_router.policies.imitator import OracleImitator
from budget_router.policies.knobs import untried
from budget_router.policies.learned import LearnedPolicy
from budget_router.policies.pricing import PriceCurve
from budget_router.policies.value import ValuePolicy
from budget_router.records import PolicyRecord
from budget_router.task import Task
from budget_router.words import explain

FORMAT = 3
MAX_BYTES = 64 * 2**20
"""Largest accepted size of the arrays, packed or unpacked: a hundred times what a policy of ours needs."""

_KINDS: dict[str, type[LearnedPolicy]] = {one.kind: one for one in (ValuePolicy, OracleImitator)}
_Arrays = dict[str, NDArray[Any]]  # Any: floats and column numbers side by side


class _Manifest(BaseModel):
    format: Literal[3]
    kind: Literal["value", "imitator"]
    unit: Unit
    menu: Menu
    features_version: str
    sha256: str


def record_of(policy: LearnedPolicy, *, evidence: Mapping[str, object]) -> PolicyRecord:
    """Pack a learned policy; its version is named after its content. Sets `policy.version`."""
    packed = io.BytesIO()
    np.savez_compressed(packed, allow_pickle=False, **_arrays(policy))
    arrays = packed.getvalue()
    manifest = _Manifest(
        format=FORMAT,
        kind=policy.kind,
        unit=policy.unit,
        menu=policy.menu,
        features_version=policy.featuriser_.version,
        sha256=hashlib.sha256(arrays).hexdigest(),
    ).model_dump_json(exclude_none=True)
    policy.version = _version(manifest)
    return PolicyRecord(version=policy.version, menu_hash=policy.menu.hash, manifest=manifest, arrays=arrays, evidence=evidence)


def policy_from(record: PolicyRecord, menu: Menu, *, unit: Unit) -> LearnedPolicy:
    """Unpack a policy for a menu; raises ArtifactError for one that must not be served."""
    manifest = _checked_manifest(record.manifest)
    if hashlib.sha256(record.arrays).hexdigest() != manifest.sha256 or record.version != _version(record.manifest):
        raise ArtifactError(f"policy {record.version!r} is corrupt: its content does not match its hash; train it again")
    if manifest.menu.hash != menu.hash:
        raise ArtifactError(
            f"policy {record.version!r} was trained for another menu, {', '.join(manifest.menu.names)}: train it again"
        )
    if manifest.unit != unit:
        raise ArtifactError(f"policy {record.version!r} counts {manifest.unit}, the budget {unit}: train one for this budget")
    arrays = _unpacked(record)
    try:
        policy = _restored(_KINDS[manifest.kind], arrays, len(menu))
    except ArtifactError:
        raise
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ArtifactError(f"policy {record.version!r} lacks or misshapes an array: {error}; train it again") from error
    if policy.featuriser_.version != manifest.features_version:
        raise ArtifactError(
            f"policy {record.version!r} reads features {manifest.features_version}: train it again with this version"
        )
    policy.menu, policy.unit, policy.version = menu, unit, record.version
    policy.between_ = untried(menu, policy.accuracy_.is_known)
    _try_out(policy)
    return policy


def save_policy(policy: LearnedPolicy, folder: str | Path) -> str:
    """Write a policy to a folder, `manifest.json` and `arrays.npz`; returns its version."""
    record = record_of(policy, evidence={})
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    (place / "arrays.npz").write_bytes(record.arrays)
    (place / "manifest.json").write_text(record.manifest, encoding="utf-8")
    return record.version


def load_policy(folder: str | Path) -> LearnedPolicy:
    """Read a policy from a folder; raises ArtifactError if it is not one."""
    place = Path(folder)
    try:
        for file in (place / "arrays.npz", place / "manifest.json"):
            if file.stat().st_size > MAX_BYTES:
                raise ArtifactError(f"{file} is larger than {MAX_BYTES:,} bytes: this is no policy of ours")
        arrays, text = (place / "arrays.npz").read_bytes(), (place / "manifest.json").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{place} holds no policy that can be read: {error}") from error
    manifest = _checked_manifest(text)
    record = PolicyRecord(version=_version(text), menu_hash=manifest.menu.hash, manifest=text, arrays=arrays)
    return policy_from(record, manifest.menu, unit=manifest.unit)


def _try_out(policy: LearnedPolicy) -> None:
    try:
        prediction = policy.predict([Task("What is 1 + 1?")])
        choice = policy.choose(prediction, float(policy.curve_.spend[0]))
    except (ValueError, IndexError) as error:
        raise ArtifactError(f"policy {policy.version!r} cannot decide: {error}; train it again") from error
    if not all(np.isfinite(cells).all() for cells in (prediction.score, prediction.cost, choice.probabilities)):
        raise ArtifactError(f"policy {policy.version!r} decides by values that are not finite: train it again")


def _version(manifest: str) -> str:
    return hashlib.sha256(manifest.encode()).hexdigest()[:12]


def _checked_manifest(text: str) -> _Manifest:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"policy has no readable manifest: {error}; train it again") from error
    format_found = found.get("format") if isinstance(found, dict) else None
    if format_found != FORMAT:
        raise ArtifactError(
            f"policy is of format {format_found!r}, this version reads {FORMAT}: train it again, or update this package"
        )
    try:
        return _Manifest.model_validate_json(text)
    except ValidationError as error:
        raise ArtifactError(explain("policy manifest", error)) from error


def _unpacked(record: PolicyRecord) -> _Arrays:
    try:
        with zipfile.ZipFile(io.BytesIO(record.arrays)) as archive:
            entries = archive.infolist()
            size = sum(entry.file_size for entry in entries)
            if max(size, len(record.arrays)) > MAX_BYTES:
                raise ArtifactError(
                    f"policy {record.version!r} unpacks to {size:,} bytes, over {MAX_BYTES:,}: this is no policy of ours"
                )
            arrays = {entry.filename.removesuffix(".npy"): _array(archive.read(entry)) for entry in entries}
    except ArtifactError:
        raise
    except (ValueError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ArtifactError(f"policy {record.version!r} cannot be unpacked: {error}; train it again") from error
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ArtifactError(f"policy {record.version!r} holds an array {name!r} that is not finite: train it again")
    return arrays


def _array(packed: bytes) -> NDArray[Any]:  # Any: floats or column numbers
    """Read an array of numbers; its header is not believed when it promises more than there is."""
    file = io.BytesIO(packed)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("an array is of another format than ours")
    shape, is_by_column, dtype = np.lib.format.read_array_header_1_0(file)
    numbers = packed[file.tell() :]
    if dtype.kind not in "fi" or math.prod(shape) * dtype.itemsize != len(numbers):
        raise ValueError(f"an array of {dtype} and shape {shape} stands on {len(numbers)} bytes")
    return np.frombuffer(numbers, dtype).reshape(shape, order="F" if is_by_column else "C")


def _arrays(policy: LearnedPolicy) -> _Arrays:
    arrays: _Arrays = {f"features.{name}": array for name, array in policy.featuriser_.arrays().items()}
    arrays |= {f"curve.{name}": array for name, array in policy.curve_._asdict().items()}
    arrays |= {"accuracy.weights": policy.accuracy_.weights_}
    arrays |= {f"cost.{name}": getattr(policy.cost_, f"{name}_") for name in ("weights", "bounds", "least", "rest")}
    if policy.accuracy_.forest_ is not None:
        arrays |= {f"forest.{name}": array for name, array in policy.accuracy_.forest_.arrays().items()}
        arrays |= {"accuracy.share": np.array([policy.accuracy_.hyperparameters_.share])}
    if isinstance(policy, OracleImitator):
        arrays |= {"imitator.score": policy.weights_}
    return arrays


def _restored(kind: type[LearnedPolicy], arrays: _Arrays, n_strategies: int) -> LearnedPolicy:
    policy = kind()
    prefix = "features."
    policy.featuriser_ = Featuriser.from_arrays(
        {key[len(prefix) :]: one for key, one in arrays.items() if key.startswith(prefix)}
    )
    _check_shapes(arrays, n_strategies)
    policy.curve_ = PriceCurve(**{name: arrays[f"curve.{name}"] for name in PriceCurve._fields})
    policy.accuracy_, policy.cost_ = AccuracyModel(), CostModel()
    policy.accuracy_.weights_ = arrays["accuracy.weights"]
    grown = {key.removeprefix("forest."): one for key, one in arrays.items() if key.startswith("forest.")}
    if grown:
        n_features = len(arrays["accuracy.weights"]) - 1
        policy.accuracy_.forest_ = Forest.from_arrays(grown, n_features=n_features, n_strategies=n_strategies)
        policy.accuracy_.hyperparameters_ = Hyperparameters((), share=float(arrays["accuracy.share"][0]))
    for name in ("weights", "bounds", "least", "rest"):
        setattr(policy.cost_, f"{name}_", arrays[f"cost.{name}"])
    if isinstance(policy, OracleImitator):
        policy.weights_ = arrays["imitator.score"]
    return policy


def _check_shapes(arrays: _Arrays, n_strategies: int) -> None:
    """Raise ValueError where arrays do not fit each other or the menu, or hold costs and prices below zero."""
    n_structural, n_prices = len(STRUCTURE_NAMES), arrays["curve.price"].size
    shapes: dict[str, tuple[int, ...]] = {"features.centre": (n_structural,), "features.scale": (n_structural,)}
    n_features = n_structural
    if "features.projection_axes" in arrays:
        n_words, n_components = arrays["features.projection_axes"].shape
        n_features += n_components
        shapes |= {"features.projection_buckets": (n_words,), "features.projection_idf": (n_words,)}
    if "features.columns_numbers" in arrays:  # which shape they have to each other was checked as they were restored
        n_features += arrays["features.columns_numbers"].size + arrays["features.columns_categories"].size
    lines = (n_features + 1, n_strategies)
    shapes |= {"accuracy.weights": lines, "cost.weights": lines}
    drawn = (n_strategies, n_strategies)
    shapes |= {"cost.bounds": (2, n_strategies), "cost.least": drawn, "cost.rest": drawn, "curve.mean_cost": (n_strategies,)}
    shapes |= {"curve.spend": (n_prices,), "curve.price": (max(n_prices, 1),)}
    if "forest.root" in arrays:
        shapes |= {"accuracy.share": (1,)}
    if "imitator.score" in arrays:
        shapes |= {"imitator.score": lines}
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise ValueError(f"{name} has shape {arrays[name].shape}, not {shape}")
    for name in ("cost.bounds", "cost.least", "cost.rest", "curve.mean_cost", "curve.spend", "curve.price"):
        if (arrays[name] < 0).any():
            raise ValueError(f"{name} is negative")
    if not (arrays["features.scale"] > 0).all():
        raise ValueError("features.scale is not positive")

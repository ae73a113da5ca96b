"""The few settings that a reader needs at first sight; all of them are at the end of the page."""

from collections.abc import Mapping
from typing import Any

from .formatting import printable, ranges
from .provenance import plain
from .table import LabelTable


def run_facts(settings: Mapping[str, Any], table: LabelTable) -> list[tuple[str, str]]:
    """Names and values for the head of the page, as plain text."""
    generate, classify = step_settings(settings, "generate"), step_settings(settings, "classify")
    facts: list[tuple[str, object]] = [("Run", settings.get("run"))]
    if generate:
        facts.append(("Generator", generate.get("network")))
        several = generate.get("psi_sweep")
        if isinstance(several, list | tuple):
            facts.append(("Truncation ψ", ", ".join(printable(value, 20) for value in several[:20])))
        else:
            facts.append(("Truncation ψ", generate.get("truncation_psi")))
        facts.append(("Truncated styles", generate.get("truncation_cutoff")))
        facts.append(("Projected styles", generate.get("projected_w")))
        facts.append(("Noise", generate.get("noise_mode")))
    else:
        facts.append(("Images", _end_of_path(classify.get("images"))))
    facts.append(("Classifier", classify.get("model")))
    crop = [str(classify[key]) for key in ("crop", "filter") if classify.get(key) is not None]
    facts.append(("Crop, filter", ", ".join(crop) or None))
    if table.seeds is not None:
        facts.append(("Seeds", ranges(table.seeds, limit=3)))
    return [
        (name, printable(plain(value), 80))
        for name, value in facts
        if value is not None and not isinstance(value, Mapping)
    ]


def licences(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Whose weights were used, and under which licence, as far as the run recorded it."""
    found = []
    for what, step, name in (("Generator", "generate", "network"), ("Classifier", "classify", "model")):
        used = step_settings(settings, step)
        if used.get(name) is not None:
            licence = used.get("licence")
            text = "not recorded; see the model’s card" if licence is None else printable(plain(licence), 400)
            found.append((f"{what} {printable(plain(used[name]), 80)}", text))
    return found


def step_settings(settings: Mapping[str, Any], step: str) -> Mapping[str, Any]:
    """The settings of a step, empty where there are none."""
    found = settings.get(step)
    return found if isinstance(found, Mapping) else {}


def _end_of_path(path: object) -> str | None:
    """The last two parts: enough to recognise, short enough for a line."""
    if path is None:
        return None
    parts = str(plain(path)).rstrip("/").split("/")
    return "/".join(parts[-2:])

"""A report for a log: the numbers of `report.json` as Markdown, to be read rendered or as it is."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..data.run_record.run import RunRecord
from ..data.run_record.settings import ClassifyRecord, GenerateRecord
from .correction import BLIND_SPOT, REFUTED_REFERENCE
from .formatting import NBSP, count, percent, percent_range, plural, printable
from .further import refuted

_SPECIAL = re.compile(r"([\\`*_{}\[\]#!|<>~&])")


def markdown(data: Mapping[str, Any]) -> str:
    """Markdown (GitHub's kind, with tables) of the values that `report_json.report_data` makes."""
    names = sorted(data["labels"], key=lambda name: -data["counts"][name])
    blocks = [f"# {_text(data['title'])}", _run(data), _shares(data, names)]
    if data["selected"] is not None:
        blocks.insert(2, _selected(data["selected"]))
    corrected, depth, audit = data["corrected"], data["depth"], data["audit"]
    if corrected is not None:
        blocks.append(f"{_sentence(corrected['assumption'])} Validation faces: {_text(corrected['validation'])}.")
        shift = data["label_shift"]
        blocks.append(
            f"{_sentence(shift['sentence'])} Fit test: {shift['verdict']} (likelihood ratio {shift['statistic']:.1f}, "
            f"p {shift['p_value']:.3g}). {BLIND_SPOT}"
        )
        doubts = [f"- {method} does not stand: {_sentence(why)}." for method, why in corrected["doubts"].items()]
        blocks += ["\n".join(doubts)] if doubts else []
        blocks += [_sentence(corrected["beside"])] if corrected["beside"] else []
    if audit is not None:
        blocks.append(
            f"People labelled {plural(audit['answered'], 'face')} and agree with the classifier on an estimated "
            f"{percent(audit['agreement'], 0)} of all."
        )
    blocks += _further(data, names)
    confidence = data["confidence"]
    blocks.append(
        f"Mean confidence {percent(confidence['mean'])}; {plural(confidence['uncertain'], 'face')} below "
        f"{percent(confidence['threshold'], 0)}." + ("" if depth is None else f" {_sentence(depth['sentence'])}")
    )
    if data["references"]:
        blocks.append(
            _table(
                ("Reference", "Total variation", "Interval", "p"),
                (
                    (
                        _text(entry["name"]) + (", as labels" if entry["as_labelled"] else ""),
                        *_distance(entry),
                    )
                    for entry in data["references"]
                ),
            )
        )
        if refuted(data) and any(entry["as_labelled"] for entry in data["references"]):
            blocks.append(f"As labels: by this classifier’s answers on validation faces. {REFUTED_REFERENCE}")
    if data["sweep"] is not None:
        blocks.append(_by(data["sweep"]["by_psi"], "psi", names))
    if data["edited"] is not None:
        blocks += [_sentence(data["edited"]["sentence"]), _by(data["edited"]["by_strength"], "strength", names)]
    if data["judges"] is not None:
        blocks += _judges(data["judges"])
    if data["preparation"] is not None:
        blocks.append(_preparation(data["preparation"]))
    notes = [f"- {_sentence(note)}" for note in data["notes"]]
    if data["n_skipped"]:
        notes.append(f"- {plural(data['n_skipped'], 'file')} could not be judged and are in none of these numbers.")
    if notes:
        blocks.append("\n".join(notes))
    return "\n\n".join(blocks).replace(NBSP, " ") + "\n"


def _by(parts: Sequence[Mapping[str, Any]], what: str, names: Sequence[str]) -> str:
    """The shares of each label at each value of a setting."""
    return _table(
        ("Label", *(f"{what} {part[what]:g}" for part in parts)),
        ((_text(name), *(_share(part["shares"][name]) for part in parts)) for name in names),
    )


def _judges(judges: Mapping[str, Any]) -> list[str]:
    """The comparison of judges: its sentence, the shares side by side, and the pairs."""
    labels = sorted(judges["labels"], key=lambda label: -judges["judges"][0]["counts"][label])
    shares = _table(
        ("Label", *(_text(judge["name"]) for judge in judges["judges"])),
        ((_text(label), *(_share(judge["shares"][label]) for judge in judges["judges"])) for label in labels),
    )
    pairs = _table(
        ("Judges", "Same label", "Cohen's kappa"),
        (
            (
                f"{_text(pair['a'])}, {_text(pair['b'])}",
                _share({"share": pair["agreement"]["value"], **pair["agreement"]}),
                "" if pair["kappa"] is None else "{value:.2f} ({low:.2f} to {high:.2f})".format(**pair["kappa"]),
            )
            for pair in judges["pairs"]
        ),
    )
    return [_sentence(judges["sentence"]), shares, pairs]


def comparison_markdown(data: Mapping[str, Any]) -> str:
    """Markdown of the values that `compare.comparison_json` makes."""
    samples = data["samples"]
    names = sorted(data["labels"], key=lambda name: -sum(sample["shares"][name]["share"] for sample in samples))
    blocks = [
        f"# {_text(data['title'])}",
        _table(
            ("Label", *(f"{_text(sample['name'])} ({plural(sample['n'], 'face')})" for sample in samples)),
            ((_text(name), *(_share(sample["shares"][name]) for sample in samples)) for name in names),
        ),
        _table(
            ("Pair", "Total variation", "Interval", "p", "p, Holm"),
            (
                (
                    f"{_text(pair['a'])} / {_text(pair['b'])}",
                    *_distance(pair),
                    f"{pair['adjusted_p']:.3g}",
                )
                for pair in data["pairs"]
            ),
        ),
    ]
    notes = dict.fromkeys([*data["warnings"], *(note for pair in data["pairs"] for note in pair["notes"])])
    if notes:
        blocks.append("\n".join(f"- {_sentence(note)}" for note in notes))
    return "\n\n".join(blocks).replace(NBSP, " ") + "\n"


def _distance(found: Mapping[str, Any]) -> tuple[str, str, str]:
    """The total variation of a comparison, its interval, and p."""
    distance = found["total_variation"]
    interval = f"{distance['low']:.3f} to {distance['high']:.3f}"
    return f"{distance['value']:.3f}", interval, f"{found['test']['p_value']:.3g}"


def _run(data: Mapping[str, Any]) -> str:
    record = RunRecord.of(data["settings"])
    made, judged = record.generate or GenerateRecord(), record.classify or ClassifyRecord()
    facts = {
        "run": record.run,
        "network": made.network,
        "truncation psi": made.truncation_psi,
        "seeds": made.seeds,
        "model": judged.model,
        "crop": judged.crop,
        "made": data["created"],
    }
    return ", ".join(f"{name} {_text(value)}" for name, value in facts.items() if value is not None)


def _shares(data: Mapping[str, Any], names: list[str]) -> str:
    corrected, audit = data["corrected"], data["audit"]
    head = ["Label", "Faces", "Share", f"{100 * data['interval']['level']:g} % interval"]
    head += ["Corrected (ACC)"] if corrected is not None else []
    head += ["By people"] if audit is not None else []
    rows = []
    for name in names:
        share = data["shares"][name]
        row = [_text(name), count(data["counts"][name]), percent(share["share"])]
        row.append(percent_range(share["low"], share["high"]))
        if corrected is not None:
            text = _share(corrected["methods"]["ACC"][name])
            row.append(f"~~{text}~~" if "ACC" in corrected["doubts"] else text)
        if audit is not None:
            row.append(_share(audit["shares"][name]))
        rows.append(row)
    return _table(head, rows)


def _selected(selected: Mapping[str, Any]) -> str:
    """Say that the faces were selected, with the labels by the judge that had no say."""
    text = f"**Selected, not drawn at random.** {_sentence(selected['sentence'])}"
    if not selected["labels"]:
        return text
    second = _text(selected["second_judge"])
    rows = (
        (
            _text(name),
            count(row["wanted"]),
            count(row["kept"]),
            _share(row["rate"]),
            count(row["agreed"]),
            "" if row["agreement"] is None else _share(row["agreement"]),
        )
        for name, row in selected["labels"].items()
    )
    drawn = "Of its class" if selected["by_class"] else f"Of {plural(selected['seeds_seen'], 'seed')}"
    head = ("Label", "Wanted", "Kept", drawn, f"{second} agrees on", "Share")
    return f"{text}\n\n{_table(head, rows)}"


def _further(data: Mapping[str, Any], names: list[str]) -> list[str]:
    """The posterior, what people could not tell, and how many faces would settle the shares."""
    posterior, planned, audit = data["posterior"], data["plan"], data["audit"]
    blocks = []
    if posterior is not None:
        best = posterior["rankings"][0]
        text = (
            "Bayesian shares: "
            + "; ".join(f"{_text(name)} {_share(posterior['shares'][name])}" for name in names)
            + f". The likeliest order is {_text(', '.join(best['order']))} ({percent(best['probability'], 0)})."
        )
        blocks.append(f"~~{text}~~ The label shift that this rests on is refuted." if refuted(data) else text)
    if audit is not None:
        blocks.append(
            "Corrected by people's answers on these faces: "
            + "; ".join(f"{_text(name)} {_share(audit['corrected'][name])}" for name in names)
            + f". People could not tell {_share(audit['cannot_tell'])} of the faces."
        )
    if planned is not None and not refuted(data):
        widest = max(names, key=lambda name: planned["labels"][name]["floor"])
        row = planned["labels"][widest]
        blocks.append(
            f"{_text(widest)} is known to ±{percent(row['half_width'])}; with endless faces the validation faces alone "
            f"would leave ±{percent(row['floor'])}."
        )
    return blocks


def _preparation(preparation: Mapping[str, Any]) -> str:
    n = preparation["n"]
    rows = []
    for variant in preparation["variants"]:
        change = variant["change"]
        moved = ("this run", "") if change is None else (
            f"{change['changed']} of {n}", f"{change['total_variation']['value']:.3f}"
        )  # fmt: skip
        rows.append((_text(variant["crop"]), _text(variant["filter"]), *moved))
    return _table(("Crop", "Filter", "Labels changed", "Total variation"), rows)


def _share(share: Mapping[str, float]) -> str:
    return f"{percent(share['share'])} ({percent_range(share['low'], share['high'])})"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = list(head)
    # numbers to the right, names to the left
    rule = ["---", *("---:" for _ in heads[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, rule, *(list(row) for row in rows)))


def _sentence(value: object) -> str:
    """A sentence of ours, whole: what is foreign in it was cut already."""
    return _text(value, 10_000)


def _text(value: object, limit: int = 400) -> str:
    """Foreign text as Markdown that means nothing but itself, on one line."""
    return _SPECIAL.sub(r"\\\1", printable(value, limit))

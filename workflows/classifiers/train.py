"""``fergan train classifier``: data sets in, one training set, a trained and saved classifier out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...classify.recipes import Recipe, load_recipe
from ...data.face_set import role
from ...runtime.errors import UsageError
from .training_data import ClassifierOptions, data_summary, read_training_data

if TYPE_CHECKING:
    import numpy as np

    from ...classify.classifier import Classifier


def train_classifier(options: ClassifierOptions, out: str | Path) -> tuple[Path, dict[str, Any]]:
    """Read the data, show what they are, train, and write the model with its feature reference.

    Returns:
        The model file, and its scores (:func:`fergan.classify.training.train.train_classifier`), empty in all but the
        first of several processes.

    Raises:
        DataError, UsageError: as the readers and the trainer say.
    """
    recipe = chosen_recipe(options)
    if options.teacher is None and options.teacher_views is not None:
        raise UsageError(f"--teacher-views {options.teacher_views}: there is no teacher; name one with --teacher")
    faces, votes = read_training_data(options, recipe)
    from ...classify.card import described
    from ...classify.classifier import load_classifier
    from ...classify.feature_reference import write_feature_reference
    from ...classify.training.train import train_classifier as train
    from ...runtime.distributed import rank
    from ..progress import epoch_display, progress, say
    from .teacher import load_teacher, teacher_probabilities

    if rank() == 0:
        say(data_summary(faces))
    teacher: np.ndarray | Classifier | None = None
    if options.teacher is not None:
        views, device = options.teacher_views or "single", options.device
        teacher = judge = load_teacher(options.teacher, faces.label_names, device)
        record = {**described(judge.name, judge.sha256, judge.card), "views": views}
        faces = dataclasses.replace(faces, record={**faces.record, "teacher": record})
        if views != "student":
            with progress("Teacher") as show:
                teacher = teacher_probabilities(faces, Path(out), judge, views=views, show=show)
    with epoch_display() as display:
        scores = train(faces, out, recipe, votes=votes, teacher=teacher, device=options.device, callbacks=(display,))
    model = Path(out) / f"{recipe.name}.keras"
    if rank() > 0:
        return model, scores
    if remark := below_majority(scores):
        click.echo(remark, err=True)
    roles = role(faces.usage)
    classifier = load_classifier(model, device=options.device)
    write_feature_reference(model, classifier, faces.take(roles == "train"), faces.take(roles == "validation"))
    return model, scores


def below_majority(scores: Mapping[str, Any]) -> str | None:
    """A warning where always answering the commonest class would have been right more often."""
    support = [sum(row) for row in scores["confusion"]]
    share = max(support) / max(sum(support), 1)
    if scores["accuracy"] >= share:
        return None
    return (
        f"warning: accuracy {100 * scores['accuracy']:.1f} % is below {100 * share:.1f} %, the share of the commonest "
        "class: this classifier has learnt nothing useful; train it for more epochs, or look at the data"
    )


def chosen_recipe(options: ClassifierOptions) -> Recipe:
    """The recipe with all that the options change about it."""
    recipe = load_recipe(options.recipe, options.overrides)
    names = ("votes_mode", "precision", "epochs", "batch_size", "learning_rate", "patience", "seed")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if options.precision == "auto":
        from ...runtime.devices import bfloat16_is_faster, choose_device

        on_cpu = choose_device(options.device).type == "cpu"
        given["precision"] = "bfloat16" if on_cpu and bfloat16_is_faster() else "float32"
    model = recipe.model if options.weights is None else dataclasses.replace(recipe.model, weights=options.weights)
    return dataclasses.replace(recipe, model=model, training=dataclasses.replace(recipe.training, **given))

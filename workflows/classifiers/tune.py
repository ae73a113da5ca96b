"""``fergan tune``: many short trainings of one recipe, each with other settings, to find good ones."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...classify.recipes import Recipe, load_recipe, recipe_toml
from ...classify.recipes.search import Dimension, search_space
from ...data.face_set import FaceSet
from ...reports.pages.study import build_study_page
from ...runtime.claims import claim, locked
from ...runtime.errors import DataError, UsageError
from ...runtime.files import make_folder, printable, utf8_text, write_atomically
from .train import chosen_recipe
from .training_data import ClassifierOptions, data_summary, read_training_data

if TYPE_CHECKING:
    import optuna

FEWEST_FOR_IMPORTANCE = 8
"""Finished trials before the page says which settings matter; with fewer that is noise."""

_DONE = ("COMPLETE", "PRUNED")


@dataclass(frozen=True)
class TuneOptions:
    """Settings of a study.

    Attributes:
        training: the data, the recipe and what is changed about it in all trials.
        trials: how many trainings the study has in the end, those of earlier calls included.
        search: see :func:`fergan.classify.recipes.search.search_space`.
        prune: whether a training ends early that does worse than the median of the others.
    """

    training: ClassifierOptions
    trials: int
    search: Sequence[str] = ()
    prune: bool = True


def tune(options: TuneOptions, out: str | Path, tell: Callable[[str], None] = lambda text: None) -> Path:
    """Run the missing trials, and write ``best.toml`` (the recipe that is returned), ``trials.csv`` and ``study.html``.

    The best settings are those with the highest accuracy on the validation rows; test rows are never looked at.
    Optuna's tree-structured Parzen estimator proposes settings, its median rule ends trials that fall behind, and
    ``study.db`` (SQLite) remembers both. A stopped study goes on when it is called again: also in the middle of a
    training, be it stopped by Ctrl-C or by a kill.

    Raises:
        DataError: no trial came to an end, or as the readers and the trainer say.
        UsageError: Optuna is missing, or the folder holds another study.
    """
    optuna = _optuna()
    folder = Path(out)
    recipe = chosen_recipe(options.training)
    full = load_recipe(options.training.recipe, options.training.overrides).training.epochs
    space = search_space(recipe, options.search)
    faces, votes = read_training_data(options.training, recipe)
    with locked(make_folder(folder), lambda: "on this study"), warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        _claim(folder, options, recipe, space, faces)
        tell(data_summary(faces))
        study = _open(optuna, folder, recipe, options.prune)
        _take_up_unfinished(optuna, study)
        trial_of = _Trial(optuna, folder, recipe, space, faces, votes, options.training.device)
        try:
            while (missing := options.trials - _count_done(study)) > 0:
                tell(f"trial {options.trials - missing + 1} of {options.trials}")
                _try(optuna, study, trial_of)
        finally:
            _write(optuna, folder, study, recipe, space, full)
    if not any(trial.state.name == "COMPLETE" for trial in study.trials):
        raise DataError(
            f"{printable(folder)}: no training came to an end, so there is no best one; ask for more --trials"
        )
    return folder / "best.toml"


def _try(optuna: Any, study: optuna.Study, trial_of: _Trial) -> None:
    """One trial. As ``study.optimize``, but for a Ctrl-C, after which the trial is not over."""
    trial = study.ask()
    try:
        study.tell(trial, trial_of(trial))
    except optuna.TrialPruned:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    except Exception:
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        raise


class _Trial:
    """Optuna's objective: settings in, validation accuracy out."""

    def __init__(
        self,
        optuna: Any,
        folder: Path,
        recipe: Recipe,
        space: Sequence[Dimension],
        faces: FaceSet,
        votes: np.ndarray | None,
        device: str,
    ) -> None:
        self.optuna, self.folder, self.recipe, self.space = optuna, folder, recipe, space
        self.faces, self.votes, self.device = faces, votes, device

    def __call__(self, trial: optuna.Trial) -> float:
        from ...classify.training.train import train_classifier
        from ..progress import epoch_display

        overrides = [f"{dimension.key}={_suggest(trial, dimension)}" for dimension in self.space]
        recipe = _with(self.recipe, overrides, self.folder)
        # named by its settings, so that a trial taken up again finds its training
        place = self.folder / "trials" / hashlib.sha256("\n".join(overrides).encode()).hexdigest()[:12]
        trial.set_user_attr("folder", place.name)
        watch = _watch(trial)
        with epoch_display() as display:
            scores = train_classifier(
                self.faces, place, recipe, votes=self.votes, device=self.device, callbacks=(watch, display)
            )
        shutil.rmtree(place / "backup", ignore_errors=True)  # of no use any more, and the largest part
        trial.set_user_attr("epochs", scores["epochs"])
        if watch.pruned:
            raise self.optuna.TrialPruned
        return float(scores["accuracy"])


def _watch(trial: optuna.Trial) -> Any:
    """A Keras callback that tells the study how a training does, and ends it when the study says so."""
    from ...classify.backend import keras

    class Watch(keras.callbacks.Callback):
        pruned = False

        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            logs = logs or {}
            trial.report(logs.get("val_expression_accuracy", logs.get("val_accuracy", 0.0)), epoch)
            if epoch + 1 < self.params["epochs"] and trial.should_prune():
                self.pruned = self.model.stop_training = True

    return Watch()


def _suggest(trial: optuna.Trial, dimension: Dimension) -> str:
    if dimension.choices:
        return str(trial.suggest_categorical(dimension.key, dimension.choices))
    assert dimension.low is not None and dimension.high is not None
    if dimension.whole:
        return str(trial.suggest_int(dimension.key, int(dimension.low), int(dimension.high), log=dimension.log))
    return repr(trial.suggest_float(dimension.key, dimension.low, dimension.high, log=dimension.log))


def _with(recipe: Recipe, overrides: Sequence[str], folder: Path) -> Recipe:
    """The recipe with other settings; its file in the study's folder is what they are set upon."""
    return load_recipe(folder / f"{recipe.name}.toml", overrides)


def _open(optuna: Any, folder: Path, recipe: Recipe, prune: bool) -> optuna.Study:
    from sqlalchemy.engine import URL

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = URL.create("sqlite", database=str(folder / "study.db")).render_as_string()
    storage = optuna.storages.RDBStorage(url)
    study = optuna.create_study(
        storage=storage, study_name=recipe.name, direction="maximize", load_if_exists=True, sampler=None, pruner=None
    )
    # a resumed study proposes other settings than one that was never stopped; each is a function of its number
    study.sampler = optuna.samplers.TPESampler(seed=recipe.training.seed + len(study.trials))
    epochs = recipe.training.epochs
    study.pruner = (
        optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=max(2, epochs // 4))
        if prune
        else optuna.pruners.NopPruner()
    )
    return study


def _take_up_unfinished(optuna: Any, study: optuna.Study) -> None:
    """Trials that a stop left behind: their settings come first again, and their trainings go on where they were."""
    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        if trial.params:
            study.enqueue_trial(trial.params)
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)


def _count_done(study: optuna.Study) -> int:
    return sum(trial.state.name in _DONE for trial in study.get_trials(deepcopy=False))


def _write(
    optuna: Any, folder: Path, study: optuna.Study, recipe: Recipe, space: Sequence[Dimension], epochs: int
) -> None:
    """``trials.csv``, ``study.html`` and ``best.toml`` of what there is so far."""
    import pandas as pd

    keys = [dimension.key for dimension in space]
    rows = [
        {
            "trial": number,
            "state": {"COMPLETE": "finished", "PRUNED": "ended early"}[trial.state.name],
            "accuracy": trial.value if trial.state.name == "COMPLETE" else max(trial.intermediate_values.values()),
            "epochs": trial.user_attrs.get("epochs"),
            "seconds": None if trial.duration is None else round(trial.duration.total_seconds(), 1),
            **{key: trial.params.get(key) for key in keys},
            "folder": trial.user_attrs.get("folder"),
        }
        for number, trial in enumerate((trial for trial in study.trials if trial.state.name in _DONE), start=1)
    ]
    if not rows:
        return
    table = pd.DataFrame(rows)
    write_atomically(folder / "trials.csv", table.to_csv(index=False).encode())
    finished = table[table["state"] == "finished"]
    importance: dict[str, float] = {}
    if len(finished) >= FEWEST_FOR_IMPORTANCE and finished["accuracy"].nunique() > 1:
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=recipe.training.seed)
        importance = optuna.importance.get_param_importances(study, evaluator=evaluator)
    if len(finished):
        best = finished.iloc[int(finished["accuracy"].to_numpy().argmax())]
        overrides = [f"{key}={best[key]}" for key in keys]
        chosen = _with(recipe, overrides, folder)
        if "training.epochs" not in keys:  # the trials are short, a training by best.toml is not
            chosen = dataclasses.replace(chosen, training=dataclasses.replace(chosen.training, epochs=epochs))
        write_atomically(folder / "best.toml", recipe_toml(chosen).encode())
    page = build_study_page(
        table,
        recipe=recipe.name,
        space=[(str(dimension), dimension.key, dimension.log, bool(dimension.choices)) for dimension in space],
        importance=importance,
        created=datetime.now(UTC),
    )
    write_atomically(folder / "study.html", utf8_text(page).encode())


def _claim(folder: Path, options: TuneOptions, recipe: Recipe, space: Sequence[Dimension], faces: FaceSet) -> None:
    """Remember what is searched here; refuse to go on with something else."""
    wanted = {
        "recipe": recipe_toml(recipe),
        "search": [str(dimension) for dimension in space],
        "data": list(options.training.data),
        "rows": len(faces),
        "labels": list(faces.label_names),
        "split": options.training.split,
        "votes": options.training.votes,
    }
    path = folder / "study.json"
    if not path.exists():
        write_atomically(folder / f"{recipe.name}.toml", recipe_toml(recipe).encode())
    claim(path, wanted, "study")


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise UsageError("fergan tune needs Optuna: pip install 'fergan[tune]'") from error
    return optuna

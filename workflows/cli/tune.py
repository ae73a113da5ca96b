"""``fergan tune``."""

from __future__ import annotations

from typing import Any

import click

from .options import (
    AT_LEAST_ONE,
    classes_option,
    data_sets_option,
    device_option,
    recipe_options,
    seed_option,
    split_option,
    votes_option,
    weights_option,
)


@click.command(epilog="Example: fergan tune --recipe fernet --data fer2013.csv --epochs 10 --trials 30")
@data_sets_option
@recipe_options
@click.option(
    "--search",
    multiple=True,
    metavar="KEY=RANGE",
    help="Vary these: lr=0.01:0.3:log, dropout=0:0.6, optimizer=sgd|adamw. Repeat it for more.  "
    "[default: learning rate, weight decay, dropout, label smoothing, zoom, mixup]",
)
@click.option("--trials", type=AT_LEAST_ONE, default=20, help="Stop after this many trainings, earlier calls included.")
@click.option("--epochs", type=AT_LEAST_ONE, help="Train for this many epochs in each trial.  [default: the recipe's]")
@click.option("--prune/--no-prune", default=True, help="End trials early that fall behind.")
@classes_option()
@split_option("official where there is one")
@votes_option
@weights_option
@seed_option("weights, order, augmentation and made splits", None)
@click.option("--out", default="runs/tune", metavar="DIR", help="Write into this folder.")
@device_option
def tune(out: str, trials: int, search: tuple[str, ...], prune: bool, **options: Any) -> None:
    """Find good settings for a recipe: short trainings, each with others (Optuna).

    It leaves best.toml, a recipe for 'fergan train classifier --recipe'; trials.csv; and study.html. A stopped study
    goes on when the same command is given again; with more --trials it is continued.
    """
    from ..classifiers.training_data import ClassifierOptions
    from ..classifiers.tune import TuneOptions
    from ..classifiers.tune import tune as step
    from ..progress import say

    wanted = TuneOptions(training=ClassifierOptions(**options), trials=trials, search=search, prune=prune)
    best = step(wanted, out, say)
    click.echo(f"best settings in {best}; train them with: fergan train classifier --recipe {best} ...")

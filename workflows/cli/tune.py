"""``fergan tune``."""

from __future__ import annotations

from typing import Any

import click

from .options import device_option


@click.command(epilog="Example: fergan tune --recipe fernet --data fer2013.csv --epochs 10 --trials 30")
@click.option("--data", required=True, multiple=True, metavar="PATH", help="As for 'fergan train classifier'.")
@click.option("--recipe", default="fernet", show_default=True, metavar="NAME|TOML", help="As 'fergan recipes' lists.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change the recipe in all trials.")
@click.option(
    "--search",
    multiple=True,
    metavar="KEY=RANGE",
    help="What to vary: lr=0.01:0.3:log, dropout=0:0.6, optimizer=sgd|adamw. Again for more.  "
    "[default: learning rate, weight decay, dropout, label smoothing, zoom, mixup]",
)
@click.option("--trials", type=click.IntRange(1), default=20, show_default=True, help="Earlier calls' included.")
@click.option("--epochs", type=click.IntRange(1), help="Of each trial.  [default: the recipe's]")
@click.option("--prune/--no-prune", default=True, show_default=True, help="End trials early that fall behind.")
@click.option("--split", metavar="HOW", help="As for 'fergan train classifier'.")
@click.option("--labels", metavar="SET|LIST", help="As for 'fergan train classifier'.")
@click.option("--votes", metavar="CSV", help="FER+'s fer2013new.csv.")
@click.option("--weights", metavar="none|imagenet|FILE", help="Where the network's weights start.")
@click.option("--seed", type=click.IntRange(0), help="[default: the recipe's]")
@click.option("--out", default="runs/tune", show_default=True, metavar="DIR", help="Folder of the study.")
@device_option
def tune(out: str, trials: int, search: tuple[str, ...], prune: bool, **options: Any) -> None:
    """Find good settings for a recipe: short trainings, each with others (Optuna).

    Leaves best.toml, a recipe for 'fergan train classifier --recipe'; trials.csv; and study.html. A stopped study
    goes on when the same command is given again; with more --trials it is continued.
    """
    from ..classifiers.training_data import ClassifierOptions
    from ..classifiers.tune import TuneOptions
    from ..classifiers.tune import tune as step
    from ..progress import say

    wanted = TuneOptions(training=ClassifierOptions(**options), trials=trials, search=search, prune=prune)
    best = step(wanted, out, say)
    click.echo(f"best settings in {best}; train them with: fergan train classifier --recipe {best} ...")

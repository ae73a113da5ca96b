"""``fergan audit``: what is wrong with the data that a classifier learns from, and with the labels that it gives."""

from __future__ import annotations

import click

from .data_audit import audit_data
from .label_audit import audit_labels


@click.group(epilog="Example: fergan audit data --data fer2013.csv --drop-leaks")
def audit() -> None:
    """Look for faults in a data set, or have people check the labels of a run."""


audit.add_command(audit_data, "data")
audit.add_command(audit_labels, "labels")

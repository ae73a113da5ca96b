"""The classifier's answers on labelled faces, as a run folder keeps them."""

from __future__ import annotations

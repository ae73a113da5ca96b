"""The REST API of TensorFlow Serving: paths, methods and answers, without HTTP itself."""

from __future__ import annotations

import asyncio
import json
import re
from concurrent.futures import Executor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from .bodies import PredictRequest, parse_examples, parse_predict
from .refusal import Refusal
from .repository import Repository, Version
from .settings import ServeSettings
from .tensors import Signature, columns_text, rows_text

_WHICH = r"(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_CALL = re.compile(rf"(?i)/v1/models/(?P<name>[^/:]+){_WHICH}:(?P<method>classify|regress|predict)")
_LOOK = re.compile(rf"(?i)/v1/models(?:/(?P<name>[^/:]+))?{_WHICH}(?:/(?P<metadata>metadata))?")


@dataclass(frozen=True)
class Target:
    """Target that a request's path names; ``method`` is predict, classify, regress, status or metadata."""

    method: str
    name: str
    version: int | None
    label: str | None


def parse_target(verb: str, path: str) -> Target:
    """The target of a request, from its path as sent (still percent-encoded).

    Raises:
        Refusal: the path, or the verb for it, does not exist.
    """
    match = (_CALL if verb == "POST" else _LOOK).fullmatch(path) if verb in ("POST", "GET") else None
    if match is None:
        raise Refusal(f"Malformed request: {verb} {path}")
    parts = match.groupdict()
    version = None
    if parts["version"]:
        version = int(parts["version"]) if len(parts["version"]) < 20 else 2**64
        if version >= 2**63:
            raise Refusal(f"Failed to convert version: {parts['version']} to numeric.")
    method = str(parts.get("method") or parts.get("metadata") or "status").lower()
    if not parts["name"] and path.lower() == "/v1/models":
        return Target("models", "", None, None)
    if not parts["name"]:
        raise Refusal("Missing model name in request.")
    label = None if parts["label"] is None else _decoded(parts["label"])
    return Target(method, _decoded(parts["name"]), version, label)


def _decoded(text: str) -> str:
    return unquote_to_bytes(text).decode("utf-8", "replace")


class RestApi:
    """Answers requests to ``/v1/models``."""

    def __init__(self, settings: ServeSettings, repository: Repository, parsers: Executor) -> None:
        self._settings, self._repository, self._parsers = settings, repository, parsers

    async def answer(self, target: Target, body: bytes) -> bytes:
        """The body of the answer, which is JSON.

        Raises:
            Refusal: as TensorFlow Serving would.
        """
        if target.method == "models":
            return self.models()
        if target.method == "status":
            return self._status(target)
        if target.method == "metadata":
            async with self._repository.hold(target.name, target.version, target.label) as version:
                return _metadata(target.name, version)
        if target.method == "predict":
            return await self._predict(target, body)
        return await self._examples(target, body)

    def models(self) -> bytes:
        """All models with the states of their versions; TensorFlow Serving has no such list."""
        models = {
            name: [version.as_proto() for version in self._repository.status(name)] for name in self._repository.names
        }
        parts = [{"name": name, "model_version_status": versions} for name, versions in models.items()]
        return (json.dumps({"models": parts}, indent=1) + "\n").encode()

    def _status(self, target: Target) -> bytes:
        number = target.version
        if target.label is not None:
            number = self._repository.labelled(target.name, target.label)
        versions = [version.as_proto() for version in self._repository.status(target.name, number)]
        return (json.dumps({"model_version_status": versions}, indent=1) + "\n").encode()

    async def _predict(self, target: Target, body: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        limit = self._settings.max_values
        async with AsyncExitStack() as holding:
            try:
                hold = self._repository.hold(target.name, target.version, target.label)
                version = await holding.enter_async_context(hold)
            except Refusal as refusal:  # what is wrong with the body comes first
                await loop.run_in_executor(self._parsers, parse_predict, body, _refuse(refusal), limit)
                raise
            lookup = version.servable.signature
            request = await loop.run_in_executor(self._parsers, parse_predict, body, lookup, limit)
            outputs = await version.batcher.run(request.signature, request.inputs)
            if sum(array.size for array in outputs.values()) > 10_000:
                return await loop.run_in_executor(self._parsers, _text, request, outputs)
            return _text(request, outputs)

    async def _examples(self, target: Target, body: bytes) -> bytes:
        """Classify and regress want signatures that take ``tf.Example``; no model here has one."""
        loop = asyncio.get_running_loop()
        name = await loop.run_in_executor(self._parsers, parse_examples, body, self._settings.max_values)
        async with self._repository.hold(target.name, target.version, target.label) as version:
            signatures = version.servable.signatures
            name = name or "serving_default"
            if name not in signatures:
                raise Refusal(f"No signature was found with the name: {name}")
            kind = {"classify": "classification", "regress": "regression"}[target.method]
            raise Refusal(
                f"Expected {kind} signature method_name to be tensorflow/serving/{target.method}. "
                f"Was: {signatures[name].method}"
            )


def _refuse(refusal: Refusal) -> Any:
    def lookup(name: str) -> Signature:
        raise refusal

    return lookup


def _text(request: PredictRequest, outputs: dict[str, Any]) -> bytes:
    return rows_text(outputs) if request.by_row else columns_text(outputs)


def _metadata(name: str, version: Version) -> bytes:
    spec = {"name": name, "signature_name": "", "version": str(version.number)}
    signatures = {key: signature.as_proto() for key, signature in version.servable.signatures.items()}
    metadata: dict[str, Any] = {"signature_def": {"signature_def": signatures}}
    if version.servable.labels:  # of the outputs, in order; TensorFlow Serving has no place for them
        metadata["labels"] = list(version.servable.labels)
    parts = {"model_spec": spec, "metadata": metadata}
    return (json.dumps(parts, indent=1) + "\n").encode()

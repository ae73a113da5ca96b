"""Endpoints beyond TensorFlow Serving's: a picture in, the expressions of its faces out; and the server's health."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from ...data.crops import Crop
from ...data.detection.detectors import open_detector
from ...data.detection.squares import face_squares
from ...data.faces import FFHQ_BOX, Preparation, cut_faces, part_of_square
from ...runtime.errors import DataError, UsageError
from ...runtime.version import __version__
from .refusal import Refusal
from .repository import Repository
from .settings import ServeSettings
from .uploads import read_picture

ANALYZE = "/v1/faces:analyze"
SMALLEST = 0.05
"""Smallest face that is searched for, as a part of the picture's shorter side: groups too, not only portraits."""


class Box(BaseModel):
    """A square in the picture's pixels; x grows to the right, y down."""

    left: float
    top: float
    right: float
    bottom: float


class Face(BaseModel):
    """One face and its expression."""

    box: Box
    label: str = Field(description="The most probable expression.")
    probability: float = Field(ge=0, le=1.001, description="Of the label.")
    probabilities: dict[str, float] = Field(description="Of each expression; they sum to 1.")


class ModelName(BaseModel):
    """Which model has judged."""

    name: str
    version: str
    sha256: str | None = Field(description="Of the model file.")


class Analysis(BaseModel):
    """The faces of a picture, from the largest to the smallest."""

    model: ModelName
    crop: Crop
    width: int = Field(description="Of the picture, upright, in pixels.")
    height: int
    faces: list[Face]


class Health(BaseModel):
    """Whether the server is alive, or ready."""

    status: str


class Problem(BaseModel):
    """An answer that says what was wrong with a request."""

    error: str


_PICTURE = {
    "required": True,
    "description": "A picture (PNG, JPEG, BMP, GIF, TIFF, WebP, PGM, AVIF) or a form with the picture as its one file.",
    "content": {
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        "image/png": {"schema": {"type": "string", "format": "binary"}},
        "image/jpeg": {"schema": {"type": "string", "format": "binary"}},
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {"image": {"type": "string", "format": "binary"}},
                "required": ["image"],
            }
        },
    },
}
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "No picture that can be read, or a parameter out of range."},
    404: {"model": Problem, "description": "No such model."},
    408: {"model": Problem, "description": "The body came too slowly."},
    413: {"model": Problem, "description": "Too many bytes or pixels."},
    500: {"model": Problem, "description": "A fault of the server."},
    503: {"model": Problem, "description": "Too much to do, or not ready; see Retry-After."},
    504: {"model": Problem, "description": "Took too long."},
}


@dataclass(frozen=True)
class _Found:
    """Faces in a picture, as the model takes them: uint8 [N, H, W] or [N, H, W, 3]; and their boxes."""

    faces: np.ndarray
    boxes: list[tuple[float, float, float, float]]
    width: int
    height: int


def build_api(settings: ServeSettings, repository: Repository, workers: Executor) -> FastAPI:
    """The application behind ``/v1/faces:analyze``, ``/healthz``, ``/readyz`` and ``/openapi.json``."""
    api = FastAPI(
        title="fergan serve",
        version=__version__,
        description="Facial expressions of the faces in a picture. The paths of TensorFlow Serving's REST API, "
        "/v1/models/..., are served too and are described by TensorFlow Serving's own documentation.",
        docs_url=None,
        redoc_url=None,
    )
    api.add_exception_handler(Refusal, _refused)
    api.add_exception_handler(RequestValidationError, _invalid)
    api.add_exception_handler(HTTPException, _http_error)

    @api.post(ANALYZE, responses=_PROBLEMS, openapi_extra={"requestBody": _PICTURE}, summary="Analyze a picture")
    async def analyze(
        request: Request,
        model: Annotated[str | None, Query(description="Name of the model; the first one by default.")] = None,
        crop: Annotated[
            Crop,
            Query(description="detect: each face that is found. none: the whole picture. ffhq: its FFHQ face box."),
        ] = "detect",
        max_faces: Annotated[int, Query(ge=1, le=200, description="The largest so many faces.")] = 100,
    ) -> Analysis:
        """Find the faces in a picture and say which expressions they show."""
        picture = await _uploaded(request)
        async with repository.hold(repository.names[0] if model is None else model) as version:
            servable = version.servable
            if servable.faces is None:
                raise Refusal("This model is a SavedModel without labels; it answers :predict only")
            loop = asyncio.get_running_loop()
            preparation = replace(servable.preparation, crop="none" if crop == "detect" else crop)
            found = await loop.run_in_executor(
                workers, _find, picture, crop == "detect", preparation, max_faces, settings.max_pixels
            )
            rows = np.empty((0, len(servable.labels)), np.float32)
            if len(found.faces):
                (rows,) = (await version.batcher.run(servable.faces, {"faces": found.faces})).values()
            name = model if model is not None else repository.names[0]
            return Analysis(
                model=ModelName(name=name, version=str(version.number), sha256=servable.sha256),
                crop=crop,
                width=found.width,
                height=found.height,
                faces=[_face(row, box, servable.labels) for row, box in zip(rows, found.boxes, strict=True)],
            )

    _add_health(api, repository)
    _drop_422(api)
    return api


def _add_health(api: FastAPI, repository: Repository) -> None:
    @api.get("/healthz", summary="Is the server alive?")
    async def healthz() -> Health:
        return Health(status="ok")

    @api.get("/readyz", responses={503: {"model": Problem}}, summary="Can it answer?")
    async def readyz() -> Health:
        if not repository.ready:
            raise Refusal("A model has no version that is available", "UNAVAILABLE", retry_after=1)
        return Health(status="ready")


def _drop_422(api: FastAPI) -> None:
    """Take FastAPI's 422 out of the description, which it keeps: it is never answered here."""
    described = api.openapi()
    for path in described["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        described["components"]["schemas"].pop(name, None)


async def _uploaded(request: Request) -> bytes:
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        return await request.body()
    async with request.form(max_files=1, max_fields=8) as form:
        files = [value for value in form.values() if isinstance(value, UploadFile)]
        if not files:
            raise Refusal("The form holds no file; send the picture as a file with the name image")
        return await files[0].read()


def _find(picture: bytes, search: bool, preparation: Preparation, limit: int, max_pixels: int) -> _Found:
    """Read a picture and prepare its faces: those that are found, or the one that the crop frames.

    Raises:
        Refusal: it is not a picture, or has too many pixels.
    """
    try:
        image = read_picture(picture, max_pixels)
        height, width = image.shape[:2]
        if search:
            detector = open_detector(smallest=SMALLEST)  # one a call: they keep state while they search
            found = detector.find(np.broadcast_to(image, (height, width, 3)))[:limit]
            squares = face_squares(found, width, height, detector.enlarge)
            boxes = [(float(x), float(y), float(x + size), float(y + size)) for x, y, size in squares]
            return _Found(cut_faces(image, squares, preparation), boxes, width, height)
        box = part_of_square(width, height, FFHQ_BOX if preparation.crop == "ffhq" else (0.0, 0.0, 1.0, 1.0))
        return _Found(preparation.prepare([image]), [box], width, height)
    except (DataError, UsageError) as error:
        raise Refusal(str(error)) from error


def _face(row: np.ndarray, box: tuple[float, float, float, float], labels: tuple[str, ...]) -> Face:
    left, top, right, bottom = box
    best = int(row.argmax())
    return Face(
        box=Box(left=left, top=top, right=right, bottom=bottom),
        label=labels[best],
        probability=float(row[best]),
        probabilities={label: float(value) for label, value in zip(labels, row, strict=True)},
    )


def problem(refusal: Refusal) -> JSONResponse:
    headers = {} if refusal.retry_after is None else {"Retry-After": str(refusal.retry_after)}
    return JSONResponse({"error": refusal.message}, refusal.status, headers)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refusal)
    return problem(error)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    texts = [f"{'.'.join(str(part) for part in item['loc'][1:])}: {item['msg']}" for item in error.errors()]
    return JSONResponse({"error": "; ".join(texts)}, 400)


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": str(error.detail)}, error.status_code, getattr(error, "headers", None))

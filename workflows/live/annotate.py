"""Films, cameras and pictures with their faces found, followed and labelled.

Three threads share the work: one decodes, one finds faces and follows them, and the caller's labels them, many frames
at a time because a classifier works in batches; drawing and encoding go on behind. A table of the faces is written as
the work goes on; see :data:`COLUMNS`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from ...classify.card import GivenRange, View
from ...data.detection.detectors import SMALLEST, open_detector
from ...data.detection.face import Face, FaceDetector, overlap
from ...data.detection.squares import face_squares
from ...data.image_source import SUFFIXES, ImageSource
from ...data.images import read_image, write_png
from ...runtime.errors import DataError, UsageError, counted
from ...runtime.files import make_folder, printable, require_folder_of, utf8_text
from ...runtime.films import FILMS, VideoFile
from ..background import OrderedWorker, ReadAhead, until
from ..progress import OnProgress, no_progress
from .drawing import draw_faces
from .face_table import FaceTable, Frame
from .panel import Panel, open_panel
from .text import escaped_labels
from .tracking import Smoother, Tracker
from .video import VideoSource, Window

SEARCH_EVERY = 0.2
"""Seconds between searches of whole frames by a detector that is not quick; between them only near known faces."""

SHOWN = 0.3
"""Seconds for which a face that is not found stays drawn where it is expected."""

_BATCH = 32  # faces that are labelled at once: two batches of the classifier on a CPU
_BYTES = 96 * 2**20  # of frames that wait at each place


@dataclass(frozen=True)
class AnnotateOptions:
    """The options of ``fergan annotate``.

    Attributes:
        source: a film, a folder or zip of pictures, a picture, a stream's address, or a camera's number.
        out: of films and cameras a ``.webm`` or ``.mp4``; of pictures a folder, or a ``.png`` for a single one; None
            for neither.
        csv: the table, or None.
        show: in a window.
        models: (name, source) of each classifier, as for :func:`.panel.open_panel`; the labels of the first are drawn.
        labels, input_range, view, device: likewise.
        detector, min_face: as for :func:`fergan.data.detection.detectors.open_detector`.
        smooth: time constant in seconds by which drawn probabilities follow those of the frames; 0 for at once.
    """

    source: str
    out: str | None = None
    csv: str | None = None
    show: bool = False
    models: tuple[tuple[str | None, str | None], ...] = ((None, None),)
    labels: tuple[str, ...] | None = None
    input_range: GivenRange | None = None
    view: View | None = None
    device: str = "auto"
    detector: str = "auto"
    min_face: float = SMALLEST
    smooth: float = 0.5


@dataclass(frozen=True)
class Annotated:
    """The result of an annotation.

    Attributes:
        frames, faces, tracks: how many frames or pictures, rows of the table, and faces told apart.
        detector: the one that was used.
        complaints: one line for each thing that could not be read, or shown as it is.
        stopped: before the end, because somebody asked for that.
    """

    frames: int
    faces: int
    tracks: int
    detector: str
    complaints: tuple[str, ...]
    stopped: bool


def annotate(
    options: AnnotateOptions, on_progress: OnProgress = no_progress, *, stop: threading.Event | None = None
) -> Annotated:
    """Find, follow and label the faces of a source; write what the options name.

    Args:
        options: at least one of ``out``, ``csv`` and ``show``.
        on_progress: called with frames done and in all (the same where nobody knows how many there are).
        stop: once it is set, no further frame is read, and what has been read is finished.

    Raises:
        DataError: the source or the model cannot be read, or the results cannot be written.
        UsageError: nothing to write, an output of the wrong kind, or an option that makes no sense.
    """
    stop = stop or threading.Event()
    if options.out is None and options.csv is None and not options.show:
        raise UsageError("nothing would come of it: give --out, --csv or --show")
    if options.smooth < 0:
        raise UsageError(f"--smooth {options.smooth:g}: is a time in seconds, 0 or more")
    path = Path(options.source)
    single = path.suffix.lower() in SUFFIXES and not path.is_dir()
    pictures = single or path.is_dir() or path.suffix.lower() == ".zip"
    _check_outputs(options, pictures, single)
    with ExitStack() as stack:
        if pictures:
            source: _Pictures | _Film = _Pictures(path, single, options)
        else:
            source = _Film(options, stack)
        detector = open_detector(options.detector, options.min_face)
        panel = open_panel(options.models, options.device, options.labels, options.input_range, options.view)
        labels = panel.first.labels
        table = stack.enter_context(FaceTable(Path(options.csv), panel)) if options.csv else None
        if window := Window(f"fergan annotate {options.source}") if options.show else None:
            stack.callback(window.close)
        write = source.writer(stack, labels)
        behind = stack.enter_context(OrderedWorker(source.depth))
        frames = ReadAhead(source.frames(detector, panel, stop), source.depth)
        stack.callback(frames.close)
        done = faces = 0
        numbers: set[int] = set()
        smoother = Smoother(options.smooth)
        on_progress(0, source.total or 0)
        for frame, said in _labelled(frames, panel, source.depth):
            if table is not None:
                table.write(frame, said)
            shown = _shown(frame, said[0], smoother)
            if window is not None:
                _draw(frame, shown, labels)
                if not window.show(frame.picture):
                    stop.set()
            if write is not None:
                behind.submit(partial(write, frame, shown, window is None))
            done, faces = done + 1, faces + len(frame.tracks)
            numbers.update(frame.tracks)
            on_progress(done, max(done, source.total or done))
    complaints = (*panel.remarks, *_font_complaints(options, labels), *source.complaints)
    return Annotated(done, faces, len(numbers), detector.name, complaints, stop.is_set())


def _font_complaints(options: AnnotateOptions, labels: tuple[str, ...]) -> list[str]:
    if not (escaped := escaped_labels(labels) if options.out or options.show else []):
        return []
    return [
        f"no font of this machine shows {printable(', '.join(escaped))}: drawn as escapes such as \\u751f; "
        "install a font that has the characters, such as Noto Sans CJK"
    ]


_Write = Callable[["Frame", "list[tuple[int, np.ndarray, np.ndarray]]", bool], None]


class _Film:
    """Frames of a film or camera, with their faces."""

    def __init__(self, options: AnnotateOptions, stack: ExitStack) -> None:
        self._video = VideoSource(options.source)
        stack.callback(self._video.close)
        self._out = options.out
        bytes_each = self._video.width * self._video.height * 3
        # A camera's frames are shown at once; a film's wait for others, so that batches are full.
        self.depth = 1 if self._video.live or options.show else max(1, min(_BATCH, _BYTES // bytes_each))
        self.total = self._video.total

    @property
    def complaints(self) -> list[str]:
        return [self._video.complaint] if self._video.complaint else []

    def frames(self, detector: FaceDetector, panel: Panel, stop: threading.Event) -> Iterator[Frame]:
        tracker, searched = Tracker(), -SEARCH_EVERY
        decoded = ReadAhead(until(self._video.frames(), stop), min(self.depth, 8))
        try:
            for number, (seconds, picture) in enumerate(decoded):
                if detector.quick:
                    faces = detector.find(picture)
                else:
                    faces = detector.find_near(picture, tracker.expected(seconds))
                    if seconds - searched >= SEARCH_EVERY:
                        searched = seconds
                        new = detector.find(picture)
                        faces += [face for face in new if all(overlap(face, other) < 0.3 for other in faces)]
                frame = _cut(self._video.name, number, seconds, picture, faces, detector, panel)
                frame.tracks = tracker.update(seconds, faces)
                lost = [t for t in tracker.tracks if t.seen < seconds <= t.seen + SHOWN]
                places = face_squares(
                    [t.at(seconds) for t in lost], picture.shape[1], picture.shape[0], detector.enlarge
                )
                frame.lost = [(t.number, square) for t, square in zip(lost, places, strict=True)]
                yield frame
        finally:
            decoded.close()

    def writer(self, stack: ExitStack, labels: tuple[str, ...]) -> _Write | None:
        if self._out is None:
            return None
        file = stack.enter_context(VideoFile(Path(self._out), self._video.width, self._video.height, self._video.fps))

        def write(frame: Frame, shown: list[tuple[int, np.ndarray, np.ndarray]], draw: bool) -> None:
            if draw:
                _draw(frame, shown, labels)
            file.write(frame.picture)

        return write


class _Pictures:
    """Pictures, each by itself."""

    depth = 4

    def __init__(self, path: Path, single: bool, options: AnnotateOptions) -> None:
        self._path, self._out = path, None if options.out is None else Path(options.out)
        self._source = None if single else ImageSource(path)
        self.complaints: list[str] = []
        self._names = (utf8_text(path.name),) if self._source is None else self._without_own_output(self._source)
        self.total: int | None = len(self._names)
        self._first = read_image(path) if single else None

    def _read(self) -> Iterator[tuple[str, np.ndarray]]:
        if self._first is not None:
            yield self._names[0], self._first
        if self._source is None:
            return
        for name in self._names:
            try:
                picture = self._source.read(name)
            except DataError as error:
                self.complaints.append(str(error))
                continue
            yield name, picture

    def _without_own_output(self, source: ImageSource) -> tuple[str, ...]:
        """The names of a folder's pictures but for those in the folder to write to: an earlier run left them there."""
        if self._out is None or not self._path.is_dir():
            return source.names
        out, root = self._out.resolve(), self._path.resolve()
        if out == root or root not in out.parents:
            return source.names
        own = f"{out.relative_to(root).as_posix()}/"
        names = tuple(name for name in source.names if not name.startswith(own))
        if not names:
            raise DataError(f"{printable(self._path)}: all its images lie in the output folder; give another --out")
        if len(names) < len(source.names):
            count = len(source.names) - len(names)
            self.complaints.append(
                f"{printable(self._out)}: passed over: {counted(count, 'picture')} in it, the output folder"
            )
        return names

    def frames(self, detector: FaceDetector, panel: Panel, stop: threading.Event) -> Iterator[Frame]:
        count = 0
        for number, (name, picture) in enumerate(until(self._read(), stop)):
            if picture.shape[2] == 1:
                picture = np.repeat(picture, 3, axis=2)
            frame = _cut(name, number, None, picture, detector.find(picture), detector, panel)
            frame.tracks = [count + k + 1 for k in range(len(frame.scores))]
            count += len(frame.scores)
            yield frame

    def writer(self, stack: ExitStack, labels: tuple[str, ...]) -> _Write | None:
        if self._out is None:
            return None
        out = self._out
        names = picture_names(self._names)

        def write(frame: Frame, shown: list[tuple[int, np.ndarray, np.ndarray]], draw: bool) -> None:
            if draw:
                _draw(frame, shown, labels)
            path = out if self._source is None and out.suffix.lower() == ".png" else out / names[frame.name]
            make_folder(path.parent)
            write_png(path, frame.picture)

        return write


def picture_names(names: Iterable[str]) -> dict[str, Path]:
    """Where each annotated picture goes below the folder, by its name; no two to the same file.

    PNG files keep their names; what would meet one of them, or another, is numbered: ``b.jpg`` beside ``b.jpg.png``
    becomes ``b.jpg_2.png``. Names that differ in case only count as the same, as they are on some disks.
    """
    places: dict[str, Path] = {}
    taken: set[str] = set()
    for name in sorted(names, key=lambda name: (_picture_name(name).as_posix() != name, name)):
        first = place = _picture_name(name)
        number = 2
        while place.as_posix().casefold() in taken:
            place, number = first.with_name(f"{first.stem}_{number}.png"), number + 1
        taken.add(place.as_posix().casefold())
        places[name] = place
    return places


def _picture_name(name: str) -> Path:
    """Where an annotated picture goes below the folder: ``a/b.jpg`` -> ``a/b.jpg.png``, and nothing outside it."""
    parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("..", "/")]
    path = Path(*parts)
    return path if path.suffix.lower() == ".png" else path.with_name(f"{path.name}.png")


def _cut(
    name: str,
    number: int,
    seconds: float | None,
    picture: np.ndarray,
    faces: list[Face],
    detector: FaceDetector,
    panel: Panel,
) -> Frame:
    squares = face_squares(faces, picture.shape[1], picture.shape[0], detector.enlarge)
    crops = panel.cut(picture, squares)
    return Frame(name, number, seconds, picture, squares, [face.score for face in faces], [], crops)


def _labelled(frames: Iterable[Frame], panel: Panel, depth: int) -> Iterator[tuple[Frame, list[np.ndarray]]]:
    """Each frame with what each judge says, float32 [N, K], of its faces; as many frames at a time as fill a batch."""
    waiting: list[Frame] = []
    faces = 0

    def label() -> Iterator[tuple[Frame, list[np.ndarray]]]:
        yield from zip(waiting, panel.predict([frame.crops for frame in waiting]), strict=True)

    for frame in frames:
        if waiting and (faces + len(frame.squares) > _BATCH or len(waiting) == depth):
            yield from label()
            waiting, faces = [], 0
        waiting.append(frame)
        faces += len(frame.squares)
        if depth == 1:
            yield from label()
            waiting, faces = [], 0
    if waiting:
        yield from label()


def _shown(frame: Frame, probabilities: np.ndarray, smoother: Smoother) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """(number to show, square, probabilities) of what is drawn into a frame."""
    if frame.seconds is None:
        return [(0, square, row) for square, row in zip(frame.squares, probabilities, strict=True)]
    shown = []
    for track, square, row in zip(frame.tracks, frame.squares, probabilities, strict=True):
        shown.append((track, square, smoother(track, frame.seconds, row)))
    for track, square in frame.lost:
        last = smoother.last(track)
        if last is not None:
            shown.append((track, square, last))
    return shown


def _draw(frame: Frame, shown: list[tuple[int, np.ndarray, np.ndarray]], labels: tuple[str, ...]) -> None:
    if not frame.picture.flags.writeable:
        frame.picture = frame.picture.copy()
    draw_faces(frame.picture, shown, labels)


def _check_outputs(options: AnnotateOptions, pictures: bool, single: bool) -> None:
    """Outputs that could not be written, before any work is done."""
    source = Path(options.source)
    for name, given in (("--out", options.out), ("--csv", options.csv)):
        if given is None:
            continue
        path = Path(given)
        if source.exists() and path.exists() and path.samefile(source):
            raise UsageError(f"{name} {printable(given)}: is the source itself; give another name")
        folder = path if name == "--out" and pictures and path.suffix.lower() != ".png" else path.parent
        if name == "--out" and not pictures and path.suffix.lower() not in FILMS:
            endings = " or ".join(FILMS)
            raise UsageError(f"--out {printable(given)}: a film is written as {endings}; give such a name")
        if name == "--out" and pictures and path.is_file() and folder == path:
            raise UsageError(f"--out {printable(given)}: is a file; give a folder for the pictures")
        if name == "--out" and pictures and not single and path.suffix.lower() in (".png", *FILMS):
            raise UsageError(f"--out {printable(given)}: pictures are written to a folder; give its name")
        if folder != path:
            require_folder_of(path)
            if path.is_dir():
                raise UsageError(f"{name} {printable(given)}: is a folder; give a file's name")

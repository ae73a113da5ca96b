"""Downloads of published networks from a server that does what servers do."""

import hashlib
import http.server
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
from fergan.runtime import downloads
from fergan.runtime.errors import DataError, UsageError
from fergan.stylegan import generator
from fergan.stylegan.checkpoints import CheckpointError
from fergan.stylegan.zoo import ZOO, Published, cached, fetch

NETWORK = b"\x80\x03" + bytes(range(256)) * 6000  # begins like a pickle; 1.5 MB
NAME = "tiny"


@dataclass
class Server:
    """The server on the other side: what it has, how it misbehaves, and what it was asked."""

    body: bytes = NETWORK
    etag: str | None = '"one"'
    ranges: bool = True
    breaks: list[int] = field(default_factory=list)  # bytes after which the next connections break off
    statuses: list[int] = field(default_factory=list)  # answers in place of the file
    wrong_range: bool = False
    extra: tuple[str, str] | None = None  # the only header of those answers
    asked: list[str | None] = field(default_factory=list)  # the Range of each request
    url: str = ""


@pytest.fixture
def server(monkeypatch, tmp_path):
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked = self.headers.get("Range")
            state.asked.append(asked)
            if state.statuses:
                status = state.statuses.pop(0)
                if state.extra:
                    self.send_response(status)
                    self.send_header(*state.extra)
                    self.end_headers()
                else:
                    self.send_error(status)
                return
            fits = self.headers.get("If-Range") in (None, state.etag)
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and state.ranges and fits else 0
            rest = state.body[start:]
            self.send_response(206 if start else 200)
            if start:
                told = start + 7 if state.wrong_range else start
                self.send_header("Content-Range", f"bytes {told}-{len(state.body) - 1}/{len(state.body)}")
            if state.etag:
                self.send_header("ETag", state.etag)
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            self.wfile.write(rest[: state.breaks.pop(0)] if state.breaks else rest)

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        state.url = f"http://127.0.0.1:{running.server_port}/tiny.pkl"
        entry = Published(NAME, state.url, 16, "noise", "someone/something", "Test Licence", 1)
        monkeypatch.setitem(ZOO, NAME, entry)
        monkeypatch.setattr(downloads, "PAUSE", 0.0)
        monkeypatch.setenv("FERGAN_CACHE", str(tmp_path))
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield state
        running.shutdown()


def test_a_network_is_downloaded_once_and_checked_ever_after(server, tmp_path, capsys):
    seen = []
    path = fetch(NAME, lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == NETWORK
    assert seen[-1] == (len(NETWORK), len(NETWORK))
    assert capsys.readouterr().err.count("Test Licence") == 1
    pin = json.loads((tmp_path / "tiny.pkl.json").read_text())
    assert pin["sha256"] == hashlib.sha256(NETWORK).hexdigest()
    assert {file.name for file in tmp_path.iterdir()} <= {"tiny.pkl", "tiny.pkl.json", ".tiny.pkl.lock"}

    assert fetch(NAME) == path == cached(NAME)
    assert len(server.asked) == 1
    assert capsys.readouterr().err == ""
    path.write_bytes(NETWORK[:-1] + b"?")
    with pytest.raises(DataError, match=r"tiny\.pkl: is not the file that was downloaded.*delete it"):
        fetch(NAME)


def test_a_broken_download_goes_on_where_it_was(server):
    server.breaks = [400_000, 300_000]
    assert fetch(NAME).read_bytes() == NETWORK
    assert server.asked == [None, "bytes=400000-", "bytes=700000-"]


def test_a_later_call_goes_on_too(server, monkeypatch, capsys):
    monkeypatch.setattr(downloads, "ATTEMPTS", 1)
    server.breaks = [500_000]
    with pytest.raises(DataError, match=r"broke off \(0\.5 MB are kept.*put it at .*tiny\.pkl"):
        fetch(NAME)
    assert cached(NAME) is None
    assert fetch(NAME).read_bytes() == NETWORK
    assert server.asked == [None, "bytes=500000-"]
    assert capsys.readouterr().err.count("Test Licence") == 1


@pytest.mark.parametrize("server_without", ["ranges", "etag", "right ranges"])
def test_without_a_trusted_range_it_starts_afresh(server, server_without):
    server.breaks = [400_000]
    if server_without == "ranges":
        server.ranges = False
    elif server_without == "etag":
        server.etag = None
    else:
        server.wrong_range = True
    assert fetch(NAME).read_bytes() == NETWORK
    assert server.asked[-1] is None or server_without == "ranges"


def test_parts_of_two_files_are_never_joined(server, monkeypatch):
    monkeypatch.setattr(downloads, "ATTEMPTS", 1)
    server.breaks = [400_000]
    with pytest.raises(DataError):
        fetch(NAME)
    server.body, server.etag = NETWORK[::-1].replace(NETWORK[::-1][:2], b"\x80\x04", 1), '"two"'
    assert fetch(NAME).read_bytes() == server.body


def test_a_server_that_changes_its_file_is_noticed(server, tmp_path):
    path = fetch(NAME)
    path.unlink()
    server.body, server.etag = NETWORK + b"more", '"two"'
    with pytest.raises(DataError, match=r"is another file than before.*delete .*tiny\.pkl\.json"):
        fetch(NAME)
    assert not path.exists()
    (tmp_path / "tiny.pkl.json").unlink()
    assert fetch(NAME).read_bytes() == server.body


@pytest.mark.parametrize(
    ("body", "said"), [(b"\xef\xbb\xbf <!DOCTYPE html>" + b" " * 999, "a web page"), (b"GIF89a", "not a network")]
)
def test_what_is_no_network_is_refused(server, tmp_path, body, said):
    server.body = body
    with pytest.raises(DataError, match=f"{said}.*by hand"):
        fetch(NAME)
    assert len(server.asked) == 1
    assert [file.name for file in tmp_path.iterdir() if not file.name.startswith(".")] == []


def test_a_busy_server_is_asked_again_and_a_missing_file_is_not(server, tmp_path):
    server.statuses = [503, 429]
    assert fetch(NAME).read_bytes() == NETWORK
    (tmp_path / "tiny.pkl").unlink()
    server.statuses, server.asked[:] = [404], []
    with pytest.raises(DataError, match=re.escape(f"404 Not Found. Or fetch {server.url} by hand")):
        fetch(NAME)
    assert len(server.asked) == 1


def test_a_length_without_sense_counts_as_none(server):
    server.statuses, server.extra = [200], ("Content-Length", "9" * 5000)
    assert fetch(NAME).read_bytes() == NETWORK


def test_an_answer_without_sense_is_one_clear_error(server):
    server.statuses, server.extra = [302], ("Location", "http://[::1")
    with pytest.raises(DataError, match="tiny: cannot be downloaded: the server's answer makes no sense.*by hand"):
        fetch(NAME)


def test_offline_it_says_what_to_fetch_and_where_to_put_it(server, tmp_path, monkeypatch):
    address = "http://127.0.0.1:9/tiny.pkl"  # nobody listens there
    monkeypatch.setitem(ZOO, NAME, Published(NAME, address, 16, "noise", "someone", "Test Licence"))
    with pytest.raises(DataError, match="by hand") as error:
        fetch(NAME)
    assert address in str(error.value) and str(tmp_path / "tiny.pkl") in str(error.value)
    (tmp_path / "tiny.pkl").write_bytes(b"<html>")
    with pytest.raises(DataError, match="web page"):
        fetch(NAME)
    (tmp_path / "tiny.pkl").write_bytes(NETWORK)
    assert fetch(NAME).read_bytes() == NETWORK
    assert (tmp_path / "tiny.pkl.json").exists()


def test_a_damaged_pin_is_no_missing_pin(server, tmp_path):
    fetch(NAME)
    (tmp_path / "tiny.pkl.json").write_text("{")
    with pytest.raises(DataError, match=r"tiny\.pkl\.json.*delete it"):
        fetch(NAME)


def test_several_at_once_download_once(server):
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: fetch(NAME), range(4)))
    assert {path.read_bytes() for path in paths} == {NETWORK}
    assert len(server.asked) == 1


def test_generators_are_found_by_published_names(server, tmp_path):
    with pytest.raises(CheckpointError, match=r"tiny\.pkl"):  # downloaded, and then read as the noise it is
        generator.load_generator(NAME, device="cpu")
    assert cached(NAME) == tmp_path / "tiny.pkl"
    with pytest.raises(UsageError, match="did you mean ffhq-256"):
        generator.load_generator("ffhq-255", device="cpu")
    for name, entry in ZOO.items():
        assert name == entry.name and (name == NAME or entry.url.startswith("https://"))
        assert "non-commercial" in entry.licence or name == NAME


def test_a_planted_link_is_not_written_through(server, tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(NETWORK[:100])
    (tmp_path / "tiny.pkl.part").symlink_to(victim)
    (tmp_path / "tiny.pkl.from").write_text(json.dumps({"version": '"one"', "size": len(NETWORK)}))
    with pytest.raises(DataError, match="tiny.pkl.part: cannot be read or written"):
        fetch(NAME)
    assert victim.read_bytes() == NETWORK[:100]

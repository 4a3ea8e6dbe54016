import signal

import pytest

from agent_router.image.engine import attempts
from agent_router.image.engine.attempts import Attempts
from agent_router.image.engine.transfer import WantedImage
from agent_router.image.sources import Spec
from agent_router.plugin import Failed
from agent_router.plugin.cancel import Cancelled


class Source:
    """A source that does as its URL says: /ok, or /CODE to fail with that code."""

    cannot_wait = False

    def __init__(self, spec):
        self.name, self.code = spec.url, spec.url[1:]
        self.size, self.offset, self.resumed, self.closed = None, 0, 0, False

    def open(self):
        if self.code == "stopped":
            raise Cancelled
        if self.code == "broken":
            raise OSError(5, "Input/output error")
        if self.code not in ("ok", "lingers"):
            raise Failed(self.code, f"{self.name} fails")

    def readinto(self, view):
        count = 10 - self.offset
        view[:count] = bytes(count)
        self.offset = 10
        return count

    def stats(self):
        return {"peers": 3}

    def close(self):
        self.closed = True


class Lingers(Source):
    def linger(self):
        signal.raise_signal(signal.SIGTERM)


class Destination:
    size, written, zeroed, trouble, begun = 100, 0, 0, None, False
    abandoned = "is wiped"

    def __init__(self):
        self.calls = []

    def expect(self, size):
        pass

    def refuse_start(self, start):
        pass

    def begin(self, image=0):
        self.calls.append("begin")
        self.begun = True

    def write(self, offset, data):
        if self.trouble == "write":
            raise OSError(28, "No space left on device")
        self.written = len(data)

    def flush(self):
        self.calls.append("flush")

    def finish(self):
        if self.trouble == "finish":
            raise OSError(5, "Input/output error")
        self.calls.append("finish")

    def abandon(self):
        self.calls.append("abandon")
        self.begun = False
        if self.trouble == "abandon":
            raise OSError(5, "Input/output error")


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    made = []

    def make(spec):
        made.append(Lingers(spec) if spec.url == "/lingers" else Source(spec))
        return made[-1]

    monkeypatch.setattr(attempts.sources, "make", make)
    before = signal.getsignal(signal.SIGTERM)
    yield made
    signal.signal(signal.SIGTERM, before)


def run(destination, *urls, **image):
    return Attempts(destination, "/dev/x", WantedImage(**image)).run([Spec(url) for url in urls])


def test_the_first_that_has_it(surroundings):
    destination = Destination()
    outcome = run(destination, "/unreachable", "/broken", "/ok", "/http_error")
    assert (outcome.source, outcome.transport, outcome.bytes_read, outcome.stats) == ("/ok", "file", 10, {"peers": 3})
    assert [failure["code"] for failure in outcome.failed] == ["unreachable", "unreachable"]
    assert destination.calls == ["begin", "flush", "finish"]
    assert all(source.closed for source in surroundings)
    assert len(surroundings) == 3
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


def test_one_source_keeps_its_own_error():
    with pytest.raises(Failed, match="/http_error fails; /dev/x was not touched") as failed:
        run(Destination(), "/http_error")
    assert (failed.value.code, failed.value.partial) == ("http_error", {"bytes_written": 0, "disk": "untouched"})


def test_all_failed():
    with pytest.raises(Failed, match="none of 2 sources gave the image: /a fails; /b fails; /dev/x was not") as failed:
        run(Destination(), "/a", "/b")
    assert failed.value.code == "no_source"
    assert [failure["source"] for failure in failed.value.details["failed"]] == ["/a", "/b"]


def test_the_page_of_a_portal_is_that_of_one_source_only(monkeypatch):
    plain = Source.readinto
    words = iter([b"<p>Sign in here, please</p>"])

    def readinto(source, view):
        page = next(words, b"") if source.name == "/lingers" else b""
        view[: len(page)] = page
        source.offset += len(page)
        return len(page) or (0 if source.name == "/lingers" else plain(source, view))

    monkeypatch.setattr(Source, "readinto", readinto)
    outcome = run(Destination(), "/lingers", "/ok")
    assert [failure["code"] for failure in outcome.failed] == ["wrong_format"]
    assert "an HTML page" in outcome.failed[0]["message"]


@pytest.mark.parametrize("code", sorted(attempts.FINAL))
def test_what_no_other_source_can_cure(code):
    with pytest.raises(Failed) as failed:
        run(Destination(), "/unreachable", f"/{code}", "/ok")
    assert failed.value.code == code
    assert [failure["code"] for failure in failed.value.details["failed"]] == ["unreachable", code]


def test_a_wrong_image_is_wiped():
    destination = Destination()
    with pytest.raises(Failed, match="/dev/x is wiped") as failed:
        run(destination, "/ok", wanted={"md5": "0" * 32})
    assert failed.value.code == "digest_mismatch"
    assert destination.calls == ["begin", "abandon"]
    assert failed.value.partial == {"bytes_written": 10, "disk": "wiped"}


@pytest.mark.parametrize(("trouble", "said"), [("write", "No space left"), ("finish", "Input/output error")])
def test_a_failing_disk_is_wiped_and_no_other_source_tried(surroundings, trouble, said):
    destination = Destination()
    destination.trouble = trouble
    with pytest.raises(Failed, match=f"/dev/x: {said}.*; /dev/x is wiped") as failed:
        run(destination, "/ok", "/ok")
    assert failed.value.code == "write_failed"
    assert len(surroundings) == 1


def test_a_disk_that_cannot_be_wiped_is_said_so():
    destination = Destination()
    destination.trouble = "abandon"
    with pytest.raises(Failed, match=r"could not be wiped \(Input/output error\)"):
        run(destination, "/ok", wanted={"md5": "0" * 32})


def test_stopped(surroundings):
    with pytest.raises(Failed, match="stopped after 0 bytes of /stopped; /dev/x was not touched") as failed:
        run(Destination(), "/stopped", "/ok")
    assert failed.value.code == "stopped"
    assert surroundings[0].closed


def test_sigterm_ends_the_lingering_and_not_the_image():
    destination = Destination()
    run(destination, "/lingers")
    assert destination.calls == ["begin", "flush", "finish"]


def test_a_digest_that_a_metalink_gives_is_the_judge_if_there_is_no_other():
    spec = Spec("/ok", digest=("md5", "0" * 32), digest_known=True)
    with pytest.raises(Failed) as failed:
        Attempts(Destination(), "/dev/x", WantedImage()).run([spec])
    assert failed.value.code == "digest_mismatch"


@pytest.mark.parametrize(("size_bytes", "announced", "code"), [(9, None, "wrong_size"), (None, 11, "wrong_size"),
                                                               (10, 10, None), (11, 10, "wrong_size")])  # fmt: skip
def test_sizes(monkeypatch, size_bytes, announced, code):
    monkeypatch.setattr(Source, "open", lambda source: setattr(source, "size", announced))
    if code is None:
        run(Destination(), "/ok", size_bytes=size_bytes)
    else:
        with pytest.raises(Failed) as failed:
            run(Destination(), "/ok", size_bytes=size_bytes)
        assert failed.value.code == code

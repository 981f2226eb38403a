"""The C shim and its Python stand-in: one behaviour, held to the same tests against a scripted agent."""

import contextlib
import json
import os
import random
import shutil
import socket
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cni import executables

from tortie.cni.config import VERSIONS
from tortie.cni.protocol import HEADER, LIMIT, Answer, Call, FrameReader, pack_answer, parse_call

CONFIG = b'{"cniVersion": "1.0.0", "name": "net", "type": "tortie-cni"}'


@pytest.fixture(scope="module", autouse=True)
def _built() -> Iterator[None]:
    yield
    executables.remove_all()


@pytest.fixture(params=executables.FORMS)
def program(request: pytest.FixtureRequest) -> Path:
    found = executables.executable(request.param)
    if found is None:
        pytest.skip("no C compiler here")
    return found


@dataclass
class Run:
    status: int
    output: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.output)


def run(program: Path, config: bytes = CONFIG, /, **environment: str) -> Run:
    """Execute with exactly this environment."""
    done = subprocess.run([program], input=config, env=environment, capture_output=True, timeout=40, check=False)
    assert done.stderr == b""
    return Run(done.returncode, done.stdout)


@dataclass
class Agent:
    """Answers one connection with a script."""

    path: Path
    script: Callable[[socket.socket], None]
    calls: list[Call] = field(default_factory=list)
    inodes: list[int] = field(default_factory=list)

    def __enter__(self) -> "Agent":
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._listener.settimeout(40)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(40)
            reader = FrameReader()
            body = None
            while body is None:
                data, descriptors, _, _ = socket.recv_fds(connection, reader.wanted, 4)
                for descriptor in descriptors:
                    self.inodes.append(os.fstat(descriptor).st_ino)
                    os.close(descriptor)
                if not data:
                    return
                body = reader.feed(data)
            self.calls.append(parse_call(body))
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.script(connection)


def answering(status: int, result: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(pack_answer(Answer(status, result)))


def raw(data: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(data)


@pytest.mark.parametrize(
    ("status", "result", "output"),
    [(0, b'{"ips":[]}', b'{"ips":[]}\n'), (1, b'{"code":11}', b'{"code":11}\n'), (0, b"", b""), (7, b'"}"', b'"}"\n')],
)
def test_the_agents_result_is_printed_and_its_status_returned(
    program: Path, tmp_path: Path, status: int, result: bytes, output: bytes
) -> None:
    with Agent(tmp_path / "s", answering(status, result)):
        assert run(program, CNI_COMMAND="ADD", TORTIE_CNI_SOCKET=str(tmp_path / "s")) == Run(status, output)


def test_the_agent_gets_the_variables_the_configuration_and_the_namespace(program: Path, tmp_path: Path) -> None:
    namespace = tmp_path / "netns"
    namespace.touch()
    config = b'{"name": "\\u00fc \xc3\xbc", "x": "a\\"b\\\\", "tab": "\t"}\n'
    environment = {
        "CNI_COMMAND": "ADD",
        "CNI_NETNS": str(namespace),
        "CNI_ARGS": 'A="1";B=\\ \x01',
        "PATH": "/bin",
        "XCNI_Y": "1",
    }
    with Agent(tmp_path / "s", answering(0, b"{}")) as agent:
        run(program, config, **environment, TORTIE_CNI_SOCKET=str(tmp_path / "s"))
    assert agent.calls[0].config.encode() == config
    assert agent.calls[0].env == {key: value for key, value in environment.items() if key.startswith("CNI_")}
    assert agent.calls[0].command == "ADD"
    assert agent.inodes == [namespace.stat().st_ino]


def test_a_large_configuration_and_a_large_answer_pass(program: Path, tmp_path: Path) -> None:
    config = b'{"x": "' + b"y" * 300_000 + b'"}'
    result = b'"' + b"z" * 900_000 + b'"'
    with Agent(tmp_path / "s", answering(0, result)) as agent:
        assert run(program, config, CNI_COMMAND="DEL", TORTIE_CNI_SOCKET=str(tmp_path / "s")).output == result + b"\n"
    assert agent.calls[0].config.encode() == config


def test_the_socket_is_found_in_the_configuration(program: Path, tmp_path: Path) -> None:
    config = b'{"a": "tortie_socket", "tortie_socket" \n: \t"%s"}' % os.fsencode(tmp_path / "s")
    with Agent(tmp_path / "s", answering(0, b"{}")):
        assert run(program, config, CNI_COMMAND="ADD").status == 0


@pytest.mark.parametrize(("command", "code"), [("ADD", 11), ("DEL", 11), ("CHECK", 11), ("GC", 11), ("STATUS", 50)])
def test_without_an_agent_the_runtime_is_told_to_try_again(program: Path, tmp_path: Path, command: str, code: int) -> None:
    environment = {"CNI_COMMAND": command, "TORTIE_CNI_SOCKET": str(tmp_path / "none"), "CNI_NETNS": str(tmp_path)}
    found = run(program, **environment)
    assert (found.status, found.document["code"], found.document["cniVersion"]) == (1, code, "1.0.0")
    assert str(tmp_path / "none") in found.document["msg"]


@pytest.mark.parametrize("version", [*VERSIONS, "9.9.9", None])
def test_version_is_answered_without_an_agent(program: Path, version: str | None) -> None:
    config = b"{}" if version is None else b'{"cniVersion":"%s"}' % version.encode()
    found = run(program, config, CNI_COMMAND="VERSION")
    expected = version if version in VERSIONS else "1.1.0"
    assert (found.status, found.document) == (0, {"cniVersion": expected, "supportedVersions": list(VERSIONS)})


def test_a_person_who_starts_it_is_told_what_it_is(program: Path) -> None:
    found = run(program, b"")
    assert (found.status, found.document["code"]) == (1, 4)
    assert "CNI_COMMAND" in found.document["msg"]


def test_a_namespace_that_is_gone_stops_add_but_not_del(program: Path, tmp_path: Path) -> None:
    environment = {"CNI_NETNS": "/run/netns/none", "TORTIE_CNI_SOCKET": str(tmp_path / "s")}
    for command in ("ADD", "CHECK"):
        found = run(program, **environment, CNI_COMMAND=command)
        assert (found.status, found.document["code"]) == (1, 4)
        assert "/run/netns/none" in found.document["msg"]
    with Agent(tmp_path / "s", answering(0, b"")) as agent:
        assert run(program, **environment, CNI_COMMAND="DEL") == Run(0, b"")
    assert agent.inodes == []


def test_too_long_a_path_or_configuration_is_refused(program: Path) -> None:
    found = run(program, CNI_COMMAND="ADD", TORTIE_CNI_SOCKET="/" + "x" * 107)
    assert (found.document["code"], "107" in found.document["msg"]) == (7, True)
    found = run(program, b" " * (LIMIT // 2 + 1), CNI_COMMAND="ADD", TORTIE_CNI_SOCKET="/none")
    assert (found.document["code"], "longer than" in found.document["msg"]) == (7, True)


GOOD = pack_answer(Answer(0, b"{}"))
ODD_ANSWERS = {
    "nothing": b"",
    "half a header": GOOD[:5],
    "half a body": GOOD[:-3],
    "wrong magic": b"HTTP" + GOOD[4:],
    "wrong version": HEADER.pack(b"TCNI", 2, len(GOOD) - HEADER.size) + GOOD[HEADER.size :],
    "empty body": HEADER.pack(b"TCNI", 1, 0),
    "too long": HEADER.pack(b"TCNI", 1, LIMIT + 1),
    "no object": HEADER.pack(b"TCNI", 1, 4) + b"null",
    "no result": HEADER.pack(b"TCNI", 1, 30) + b'{"version":1,"exit":0,"rest":1}'[:30],
    "no status": HEADER.pack(b"TCNI", 1, 35) + b'{"version":1,"exit":x,"result":{}}}',
    "cut off": HEADER.pack(b"TCNI", 1, 31) + b'{"version":1,"exit":0,"result":',
    "zero bytes": HEADER.pack(b"TCNI", 1, 64) + bytes(64),
}


@pytest.mark.parametrize("what", ODD_ANSWERS)
def test_an_answer_that_is_none_is_an_error_of_its_own(program: Path, tmp_path: Path, what: str) -> None:
    with Agent(tmp_path / "s", raw(ODD_ANSWERS[what])):
        found = run(program, CNI_COMMAND="ADD", TORTIE_CNI_SOCKET=str(tmp_path / "s"))
    assert found.status == 1
    assert found.document["code"] in (11, 999)


def test_odd_configurations_never_crash_and_arrive_as_they_are(program: Path, tmp_path: Path) -> None:
    dice = random.Random(20)
    pieces = [
        b'"tortie_socket"',
        b'"cniVersion"',
        b":",
        b" ",
        b'"',
        b"\\",
        b"\0",
        b"\xc3\xa9",
        b"\n",
        b"{",
        b"x" * 200,
    ]
    for number in range(25):
        config = b"".join(dice.choices(pieces, k=dice.randrange(30)))
        path = tmp_path / f"s{number}"
        with Agent(path, answering(0, b"{}")) as agent:
            assert run(program, config, CNI_COMMAND="ADD", TORTIE_CNI_SOCKET=str(path)) == Run(0, b"{}\n")
        assert agent.calls[0].config.encode() == config
        found = run(program, config, CNI_COMMAND="VERSION")
        assert found.status == 0
        assert found.document["cniVersion"] in VERSIONS


def test_bytes_that_are_no_text_reach_the_agent_unchanged(program: Path, tmp_path: Path) -> None:
    seen: list[bytes] = []
    path = tmp_path / "s"

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            header = connection.recv(HEADER.size, socket.MSG_WAITALL)
            seen.append(connection.recv(HEADER.unpack(header)[2], socket.MSG_WAITALL))
            connection.sendall(GOOD)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        run(program, b"\xff\xfe\x00", CNI_COMMAND="ADD", TORTIE_CNI_SOCKET=str(path))
        thread.join()
    assert seen[0].endswith(b'"config":"\xff\xfe\\u0000"}')


def test_the_python_client_is_lean_and_executable() -> None:
    found = executables.executable("client")
    assert found is not None
    assert stat.S_IMODE(found.stat().st_mode) == 0o755
    first = found.read_text().splitlines()[0]
    assert first.endswith(" -ISE")
    interpreter = first.removeprefix("#!").split()[0]
    text = f"import sys; exec(open({str(found)!r}).read(), {{'__name__': 'x'}}); print(*sorted(sys.modules))"
    done = subprocess.run([interpreter, "-ISE", "-c", text], capture_output=True, check=True)
    loaded = set(done.stdout.decode().split())
    assert not loaded & {"json", "socket", "asyncio", "subprocess", "tortie", "re"}


def test_the_agent_hears_the_name_that_the_program_was_called_by(program: Path, tmp_path: Path) -> None:
    other = tmp_path / "calico-ipam"
    shutil.copy(program, other)
    for called in (program, other):
        with Agent(tmp_path / f"{called.name}.s", answering(0, b"{}")) as agent:
            run(called, CNI_COMMAND="ADD", TORTIE_CNI_SOCKET=str(tmp_path / f"{called.name}.s"))
        assert agent.calls[0].program == called.name

"""What the shim does, in lean Python: it takes the shim's place where no C compiler was at hand.

It runs alone (`python3 -ISE`, no Tortie on its path) and starts in under 10 ms, hence `_socket`, no `json`, and a body in one
file. Whatever changes here changes in `shim/tortie-cni.c` too; the same tests run against both.
"""

import _socket
import os
import select
import sys
import time

DEFAULT_SOCKET = "/run/tortie/cni.sock"
VERSIONS = (b"0.3.0", b"0.3.1", b"0.4.0", b"1.0.0", b"1.1.0")
LIMIT = 1 << 20
HEADER = 12
TIMEOUT_SECONDS = 120
INVALID_ENVIRONMENT, IO_FAILURE, INVALID_CONFIG, TRY_AGAIN_LATER, NOT_AVAILABLE, INTERNAL = 4, 5, 7, 11, 50, 999
_SPACES = b" \t\r\n"

deadline = time.monotonic() + TIMEOUT_SECONDS
spoken_version = VERSIONS[-1]


class Failure(Exception):
    """An error to print; `code` is CNI's."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def quoted(data: bytes) -> bytes:
    """A JSON string. Bytes above 0x7f pass as they are: the agent refuses what is not UTF-8."""
    data = data.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    for control in (*range(32), 127):
        data = data.replace(bytes((control,)), b"\\u%04x" % control)
    return b'"' + data + b'"'


def print_all(data: bytes) -> None:
    """Write to standard output, all of it."""
    while data:
        data = data[os.write(1, data) :]


def wait_for(descriptor: int, event: int) -> bool:
    """True when it is ready, False when the deadline has come first."""
    poll = select.poll()
    poll.register(descriptor, event)
    while (left := deadline - time.monotonic()) > 0:
        if poll.poll(left * 1000):
            return True
    return False


def read_input() -> bytes:
    """The network configuration."""
    found = b""
    while True:
        if not wait_for(0, select.POLLIN):
            raise Failure(IO_FAILURE, "the network configuration did not arrive on standard input in time")
        try:
            piece = os.read(0, 65536)
        except BlockingIOError:
            continue
        if not piece:
            return found
        found += piece
        if len(found) > LIMIT // 2:
            raise Failure(INVALID_CONFIG, f"the network configuration is longer than {LIMIT // 2} bytes")


def find_text(data: bytes, key: bytes) -> bytes | None:
    """Value of the first `"key": "value"`; None if there is none, or it has an escape in it."""
    at = data.find(key)
    while at >= 0:
        rest = data[at + len(key) :].lstrip(_SPACES)
        if rest[:1] == b":":
            rest = rest[1:].lstrip(_SPACES)
            if rest[:1] == b'"':
                value, closed, _ = rest[1:].partition(b'"')
                return value if closed and len(value) < 128 and b"\\" not in value and b"\0" not in value else None
        at = data.find(key, at + len(key))
    return None


def socket_path(data: bytes) -> bytes:
    """Environment before configuration before default."""
    return os.environb.get(b"TORTIE_CNI_SOCKET") or find_text(data, b'"tortie_socket"') or DEFAULT_SOCKET.encode()


def connect_agent(path: bytes, unreachable: int) -> _socket.socket:
    """A connection to the agent."""
    shown = path.decode(errors="replace")
    if len(path) > 107:
        raise Failure(INVALID_CONFIG, f"the path of the agent's socket is longer than 107 bytes: {shown[:200]}")
    agent = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    agent.setblocking(False)
    while True:
        try:
            agent.connect(path)
        except OSError as error:
            if not isinstance(error, BlockingIOError) or time.monotonic() > deadline:
                text = f"the agent of this node cannot be reached at {shown}: {error.strerror}"
                raise Failure(unreachable, text) from None
            time.sleep(0.02)
        else:
            return agent


def build_call(command: bytes, data: bytes) -> bytes:
    """The frame to send."""
    entries = [quoted(key) + b":" + quoted(value) for key, value in os.environb.items() if key.startswith(b"CNI_")]
    program = os.fsencode(os.path.basename(sys.argv[0]))
    parts = (quoted(command), quoted(program), b",".join(entries), quoted(data))
    body = b'{"version":1,"command":%s,"program":%s,"env":{%s},"config":%s}' % parts
    if len(body) > LIMIT:
        raise Failure(INVALID_CONFIG, f"environment and network configuration are longer than {LIMIT} bytes")
    return b"TCNI" + (1).to_bytes(4, "big") + len(body).to_bytes(4, "big") + body


def send_call(agent: _socket.socket, frame: bytes, passed: int, unreachable: int) -> None:
    """Send the frame, and the namespace's descriptor beside its first byte."""
    extra = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, passed.to_bytes(4, sys.byteorder))] if passed >= 0 else []
    while frame:
        if not wait_for(agent.fileno(), select.POLLOUT):
            raise Failure(unreachable, "the agent of this node does not take the request")
        try:
            size = agent.sendmsg([frame], extra)
        except BlockingIOError:
            continue
        except OSError:  # it may have refused us and answered already: the answer tells more than this error
            return
        frame, extra = frame[size:], []


def receive(agent: _socket.socket, size: int, unreachable: int) -> bytes:
    """Exactly so many bytes."""
    found = b""
    while len(found) < size:
        if not wait_for(agent.fileno(), select.POLLIN):
            raise Failure(unreachable, f"the agent of this node did not answer within {TIMEOUT_SECONDS} seconds")
        try:
            piece = agent.recv(size - len(found))
        except BlockingIOError:
            continue
        except OSError:
            piece = b""
        if not piece:
            raise Failure(unreachable, "the agent of this node closed the connection without an answer")
        found += piece
    return found


def relay_answer(agent: _socket.socket, unreachable: int) -> int:
    """Print the agent's result and return its exit status."""
    header = receive(agent, HEADER, unreachable)
    length = int.from_bytes(header[8:], "big")
    if header[:8] != b"TCNI\0\0\0\x01" or length > LIMIT:
        raise Failure(unreachable, "what listens on the agent's socket does not speak version 1 of its protocol")
    body = receive(agent, length, unreachable)
    prefix = b'{"version":1,"exit":'
    status, separator, result = body[len(prefix) :].partition(b',"result":')
    if not body.startswith(prefix) or not status.isdigit() or not separator or body[-1:] != b"}":
        raise Failure(INTERNAL, "the answer of this node's agent is not understood")
    if result[:-1] != b"null":
        print_all(result[:-1] + b"\n")
    return int(status)


def open_netns(path: bytes, command: bytes) -> int:
    """A descriptor of the pod's namespace; -1 if it is gone, which DEL allows."""
    if not path:
        return -1
    try:
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        if command in (b"ADD", b"CHECK"):
            text = f"CNI_NETNS {path.decode(errors='replace')[:500]} cannot be opened: {error.strerror}"
            raise Failure(INVALID_ENVIRONMENT, text) from None
        return -1


def run() -> int:
    """One execution."""
    global spoken_version
    command = os.environb.get(b"CNI_COMMAND", b"")
    if not command:
        text = "CNI_COMMAND is not set: a container runtime executes this program, people use tortie"
        raise Failure(INVALID_ENVIRONMENT, text)
    data = read_input()
    found = find_text(data, b'"cniVersion"')
    if found in VERSIONS:
        spoken_version = found
    if command == b"VERSION":
        known = b",".join(quoted(version) for version in VERSIONS)
        print_all(b'{"cniVersion":"%s","supportedVersions":[%s]}\n' % (spoken_version, known))
        return 0
    unreachable = NOT_AVAILABLE if command == b"STATUS" else TRY_AGAIN_LATER
    passed = open_netns(os.environb.get(b"CNI_NETNS", b""), command)
    frame = build_call(command, data)
    agent = connect_agent(socket_path(data), unreachable)
    send_call(agent, frame, passed, unreachable)
    return relay_answer(agent, unreachable)


def main() -> None:
    """Run, and turn a failure into CNI's error document."""
    try:
        status = run()
    except Failure as failure:
        message = quoted(str(failure).encode(errors="replace"))
        print_all(b'{"cniVersion":"%s","code":%d,"msg":%s}\n' % (spoken_version, failure.code, message))
        status = 1
    sys.exit(status)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Another user interface for a lanes terminal, in one file: see docs/terminal-stream.md.

    stream.py RUN_DIR [LINE]

Connects to RUN_DIR/keeper.sock, takes a fresh screen and follows the output onto standard output. With
LINE it sets the size to 100 x 30 and types the line. Ends with the command.
"""

import json
import os
import socket
import struct
import sys

FRESH = (1 << 64) - 1
WINDOW = 1 << 20


class Keeper:
    """One connection: frames out, frames in."""

    def __init__(self, run_dir):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # A socket's path is at most 107 bytes long; one below an open folder always fits.
        folder = os.open(run_dir, os.O_PATH | os.O_DIRECTORY)
        self.socket.connect(f"/proc/self/fd/{folder}/keeper.sock")
        os.close(folder)
        self.last_id = 0

    def send(self, kind, payload=b""):
        self.last_id += 1
        try:
            self.socket.sendall(struct.pack("<IBI", 5 + len(payload), kind, self.last_id) + payload)
        except (BrokenPipeError, ConnectionResetError):
            pass  # The keeper has left; what it said before is still to be read.
        return self.last_id

    def exactly(self, length):
        parts = b""
        while len(parts) < length:
            try:
                part = self.socket.recv(length - len(parts))
            except ConnectionResetError:
                part = b""
            if not part:
                raise EOFError
            parts += part
        return parts

    def receive(self):
        (length,) = struct.unpack("<I", self.exactly(4))
        body = self.exactly(length)
        kind, request = struct.unpack_from("<BI", body)
        return kind, request, body[5:]


def follow(keeper, line):
    out = sys.stdout.buffer
    keeper.send(0x01, struct.pack("<HH", 1, 1))  # hello
    keeper.send(0x0A, struct.pack("<HHBQI", 80, 24, 0, FRESH, WINDOW))  # attach
    while True:
        kind, _request, payload = keeper.receive()
        if kind == 0x85:  # refused
            sys.exit(f"stream.py: {payload[1:].decode(errors='replace')}")
        elif kind == 0x95:  # drawing of the screen
            out.write(payload)
        elif kind == 0x96:  # output
            offset, _stream = struct.unpack_from("<QB", payload)
            out.write(payload[9:])
            keeper.send(0x0B, struct.pack("<Q", offset + len(payload) - 9))  # acknowledge
        elif kind == 0x97:  # a gap
            print("stream.py: from %d to %d is missing" % struct.unpack("<QQ", payload), file=sys.stderr)
        elif kind == 0x98 and line is not None:  # live
            keeper.send(0x05, struct.pack("<HH", 100, 30))  # resize
            keeper.send(0x03, line.encode() + b"\r")  # input
            line = None
        elif kind == 0x99:  # the size
            print("stream.py: %d x %d, owner %d" % struct.unpack_from("<HHB", payload), file=sys.stderr)
        elif kind == 0x91:  # the end, after all output
            out.flush()
            return json.loads(payload).get("code", 1)
        elif kind == 0x93:  # somebody asked those who are attached to leave
            return 0
        out.flush()


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    try:
        sys.exit(follow(Keeper(sys.argv[1]), sys.argv[2] if len(sys.argv) == 3 else None))
    except EOFError:
        sys.exit("stream.py: the keeper has left")

# SPDX-License-Identifier: Apache-2.0
"""A relay for benchmarks/services that does something wrong: wrong_relay.py WRONG PORT."""

import os
import socket
import sys
import threading


def pass_on(source, target, wrong):
    total = 0
    while data := source.recv(65536):
        if wrong == "changes-a-byte" and total > 1_000:
            data = bytes([data[0] ^ 1]) + data[1:]
        if wrong == "ends" and total > 1_000:
            os._exit(1)
        total += len(data)
        target.sendall(data)
    target.shutdown(socket.SHUT_WR)


def relay(client, port, wrong):
    try:
        server = socket.create_connection(("127.0.0.1", port))
        threading.Thread(target=pass_on, args=(server, client, "nothing"), daemon=True).start()
        pass_on(client, server, wrong)
    except OSError:
        pass


def main(wrong, port):
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    print("port", listener.getsockname()[1], flush=True)
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    kept = []
    while True:
        client, _ = listener.accept()
        if wrong == "passes-nothing":
            kept += [client, socket.create_connection(("127.0.0.1", port))]
            continue
        threading.Thread(target=relay, args=(client, port, wrong), daemon=True).start()


main(sys.argv[1], int(sys.argv[2]))

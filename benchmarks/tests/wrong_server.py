# SPDX-License-Identifier: Apache-2.0
"""A server that does one thing wrong: `wrong_server.py WRONG drain N | storm | echo`. Without a wrong, it is right."""

import os
import selectors
import socket
import sys
import time

GREETING = b"hello, stranger\n"


def main():
    wrong, mode = sys.argv[1:3]
    if wrong == "crashes-at-once":
        sys.exit("the sky is falling")
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    say(f"port {listener.getsockname()[1]}")
    if mode == "drain":
        drain(wrong, listener, int(sys.argv[3]))
    else:
        serve(wrong, mode, listener)


def say(text):
    print(text, flush=True)


def drain(wrong, listener, count):
    sys.stdin.readline()
    if wrong == "hangs":
        time.sleep(600)
    begun, used = time.monotonic_ns(), time.process_time_ns()
    peers = []
    kept = []
    for index in range(count):
        connection, peer = listener.accept()
        kept.append(connection)
        peers.append(peer)
        if wrong == "crashes" and index == count // 2:
            sys.exit("the sky is falling")
    if wrong == "drops-one":
        peers[0] = ("127.0.0.1", 0)
    elif wrong == "doubles-one":
        peers[0] = peers[1]
    elif wrong == "forgets-one":
        count -= 1
    total = sum(int(address.rpartition(".")[2]) * 65536 + port for address, port in peers)
    say(f"drained {count} {time.monotonic_ns() - begun} {time.process_time_ns() - used} {total}")
    if wrong == "never-ends":
        time.sleep(600)
    sys.stdin.read()


def serve(wrong, mode, listener):
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    selector.register(0, selectors.EVENT_READ)
    messages = 0
    accepted = 0
    while True:
        for key, _ in selector.select():
            if key.fd == 0:
                os._exit(0)
            elif key.fileobj is listener:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if mode == "storm" or wrong == "greets-first":
                    greet(wrong, connection)
                else:
                    selector.register(connection, selectors.EVENT_READ)
                accepted += 1
                if wrong == "stops-listening" and accepted == 100:
                    selector.unregister(listener)
                    listener.close()
            else:
                messages += 1
                if not answer(wrong, key.fileobj, messages):
                    selector.unregister(key.fileobj)
                    key.fileobj.close()


def greet(wrong, connection):
    greeting = {"other-greeting": b"hello, friend!!\n", "short-greeting": GREETING[:-1]}.get(wrong, GREETING)
    connection.sendall(greeting)
    if wrong == "leaves-open":
        leaked.append(connection)
    else:
        connection.close()


def answer(wrong, connection, messages):
    """Returns whether the connection goes on."""
    try:
        data = connection.recv(65536)
    except ConnectionResetError:
        return False
    # The first messages are what all connections say before anything is measured.
    if wrong == "changes-a-byte" and messages > 100:
        data = data[:-1] + bytes([data[-1] ^ 1])
    elif wrong == "repeats" and messages > 100:
        data += data
    elif wrong == "closes" and messages > 100:
        return False
    elif wrong == "stalls" and messages == 20:
        time.sleep(0.4)
    elif wrong == "is-silent" and messages > 100:
        return True
    if data:
        connection.sendall(data)
    return bool(data) and wrong != "closes-each"


leaked = []

if __name__ == "__main__":
    main()

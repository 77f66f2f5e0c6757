# SPDX-License-Identifier: Apache-2.0
"""How many connections each loop has: what the kernel lists, and what a server with two loops does."""

import unittest
from unittest import mock

from harness import balance
from harness.places import PROGRAMS
from harness.processes import Failed, RunningServer
from harness.servers import Server
from tests import cores

LIMIT = 60

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0 100 0 0 10 0
   1: 0100007F:1F90 0100007F:A000 01 00000000:00000000 00:00000000 00000000     0        0 12 1 0 20 4 30 10 -1
   2: 0100007F:A000 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 13 1 0 20 4 30 10 -1
   3: 0100007F:1F90 0100007F:A001 08 00000000:00000000 00:00000000 00000000     0        0 14 1 0 20 4 30 10 -1
"""
WATCHED = """\
pos:	0
flags:	02
mnt_id:	15
tfd:        5 events:       19 data:                5  pos:0 ino:61af sdev:7
tfd:       12 events:       19 data:               c  pos:0 ino:61b0 sdev:7
"""


def running(name, *arguments):
    server = Server(name, "", None, "1", command=(PROGRAMS / name,))
    return RunningServer(server, ["echo", *arguments], cores(), LIMIT)


class BalanceTests(unittest.TestCase):
    def test_only_established_connections_of_the_server_count(self):
        self.assertEqual(balance.established(TABLE, 8080), {"12"})

    def test_an_epoll_lists_its_descriptors(self):
        self.assertEqual(balance.watched(WATCHED), {5, 12})

    def measure(self, server):
        with mock.patch.multiple(balance, OPENED=60, CLOSED=20, MORE=10):
            return balance.measure(server, 2, LIMIT)

    def test_loops_that_take_turns_have_equally_many(self):
        with running("raw-epoll-turns", "--loops", "2") as server:
            counted = self.measure(server)
            server.end(LIMIT)
        self.assertEqual(counted["opened"], [30, 30])
        # Those that are closed are chosen at random, and the same in each run.
        self.assertEqual({step: sum(counts) for step, counts in counted.items()},
                         {"opened": 60, "closed": 40, "more": 50})

    def test_a_loop_without_connections_is_counted(self):
        with running("raw-epoll-turns", "--loops", "1") as server:
            self.assertEqual(self.measure(server)["more"], [50, 0])
            server.end(LIMIT)

    def test_connections_that_do_not_come_are_a_failure(self):
        with running("raw-epoll-turns", "--loops", "2") as server, self.assertRaises(Failed) as caught:
            balance.settle(server, 1, 2, 0.1)
        self.assertIn("has 0 connections of 1 in its loops", str(caught.exception))

# SPDX-License-Identifier: Apache-2.0
"""Which server is measured once more."""

import unittest

from harness import figures
from harness.certainty import GOAL, LeastCertain
from harness.loads import CPU, MEMORY, RATE, Load
from harness.rounds import schedule
from harness.servers import FLOOR, Server

DRAIN = Load("drain", "", "drain", (CPU,), (CPU,), rounds=4, connections=1)
ECHO = Load("echo", "", "echo", (RATE,), (RATE,), rounds=4, connections=1)
HOLD = Load("hold", "", "hold", (MEMORY,), (), rounds=4, connections=1)
SERVERS = [Server(name, "", None, "1") for name in (FLOOR, "steady", "restless")]


def measured(load, server, number, value):
    figure = {load.metrics[0].name: value}
    return {"load": load.name, "server": server, "round": number, "figures": figure, "floor": {load.metrics[0].name: 100}}


def all_rounds(restless):
    return [measured(load, name, number, value) for load in (DRAIN, ECHO, HOLD)
            for name, values in ((FLOOR, [100] * 4), ("steady", [200, 201, 200, 201]),
                                 ("restless", restless if load == ECHO else [300] * 4))
            for number, value in enumerate(values, 1)]


def asked(measurements):
    return LeastCertain(schedule([DRAIN, ECHO, HOLD], SERVERS, lambda load: load.rounds))(measurements)


class LeastCertainTests(unittest.TestCase):
    def test_it_is_the_server_whose_rounds_differ_most(self):
        step = asked(all_rounds([300, 360, 320, 340]))
        self.assertEqual((step.load, step.server.name, step.round), (ECHO, "restless", 5))

    def test_nothing_is_asked_for_once_all_are_certain(self):
        self.assertIsNone(asked(all_rounds([300, 301, 300, 302])))

    def test_the_next_answer_counts_what_was_measured_since(self):
        measurements = all_rounds([300, 360, 320, 340])
        asks = LeastCertain(schedule([DRAIN, ECHO, HOLD], SERVERS, lambda load: load.rounds))
        for number in range(5, 25):
            step = asks(measurements)
            if not step:
                break
            self.assertEqual(step.round, number)
            measurements.append(measured(ECHO, "restless", number, 341))
        self.assertIsNone(step, "twenty rounds that are alike did not make it certain")

    def test_what_failed_is_left_alone(self):
        measurements = all_rounds([300, 360, 320, 340])
        measurements.append({"load": "echo", "server": "restless", "round": 5, "failure": "crashed"})
        self.assertIsNone(asked(measurements))

    def test_the_error_of_the_better_half_is_as_large_as_its_rounds_say(self):
        quiet, loud = ([(100 + size * (number % 4), 100) for number in range(12)] for size in (1, 10))
        self.assertLess(figures.standard_error(quiet, "wall_ns"), GOAL)
        self.assertGreater(figures.standard_error(loud, "wall_ns"), 5 * figures.standard_error(quiet, "wall_ns"))
        self.assertEqual(figures.standard_error([(7, 3)] * 3, "wall_ns"), 0)
        self.assertEqual(figures.standard_error(loud, "wall_ns"), figures.standard_error(loud, "wall_ns"))

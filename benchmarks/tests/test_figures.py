# SPDX-License-Identifier: Apache-2.0
"""Medians, extremes and ratios."""

import unittest

from harness import figures


def measured(server, number, value, load="drain"):
    return {"load": load, "server": server, "round": number, "figures": {"wall_ns": value}}


class FiguresTests(unittest.TestCase):
    def test_the_median_of_an_even_number_is_between_the_two_in_the_middle(self):
        spread = figures.spread([40, 10, 30, 20])
        self.assertEqual((spread.middle, spread.least, spread.most, spread.count), (25, 10, 40, 4))

    def test_nothing_has_no_spread(self):
        self.assertIsNone(figures.spread([]))

    def test_a_ratio_is_to_the_floor_of_the_same_round(self):
        # The second round was three times as slow for everyone: the ratios must not show it.
        measurements = [measured("raw-epoll", 1, 100), measured("x", 1, 200),
                        measured("raw-epoll", 2, 300), measured("x", 2, 600)]
        spread = figures.ratio(measurements, "drain", "x", "wall_ns")
        self.assertEqual((spread.middle, spread.least, spread.most), (2, 2, 2))

    def test_a_floor_that_was_measured_right_before_comes_before_that_of_the_round(self):
        measurements = [measured("raw-epoll", 1, 100), measured("x", 1, 300) | {"floor": {"wall_ns": 150}},
                        measured("raw-epoll-again", 1, 330) | {"floor": {"wall_ns": 300}}]
        self.assertEqual(figures.ratio(measurements, "drain", "x", "wall_ns").middle, 2)
        self.assertEqual(figures.ratio(measurements, "drain", "x", "wall_ns", base="raw-epoll-again").middle, 300 / 330)
        self.assertAlmostEqual(figures.noise(measurements, "drain", "wall_ns").middle, 0.1)

    def test_the_better_halves_count_whatever_disturbed_the_others(self):
        measurements = [measured(server, number, value)
                        for server, found in (("raw-epoll", (100, 300, 100)), ("x", (900, 200, 200)))
                        for number, value in enumerate(found, 1)]
        spread = figures.ratio(measurements, "drain", "x", "wall_ns")
        self.assertEqual((spread.middle, spread.least, spread.most), (2, 200 / 300, 9))

    def test_of_rates_the_better_half_is_the_greater(self):
        self.assertEqual(figures.better_half([1, 4, 2], "rate"), 3)
        self.assertEqual(figures.better_half([1, 4, 2], "wall_ns"), 1.5)

    def test_a_round_without_a_floor_has_no_ratio(self):
        measurements = [measured("raw-epoll", 1, 100), measured("x", 1, 150), measured("x", 2, 9000),
                        {"load": "drain", "server": "raw-epoll", "round": 2, "failure": "crashed"}]
        spread = figures.ratio(measurements, "drain", "x", "wall_ns")
        self.assertEqual((spread.middle, spread.count), (1.5, 1))

    def test_other_loads_and_failed_measurements_do_not_count(self):
        measurements = [measured("x", 1, 10), measured("x", 1, 9000, load="storm"),
                        {"load": "drain", "server": "x", "round": 2, "failure": "crashed"}]
        self.assertEqual(figures.absolute(measurements, "drain", "x", "wall_ns").middle, 10)
        self.assertEqual(len(figures.failures(measurements)), 1)

    def test_noise_is_how_far_the_floor_is_from_itself_in_each_round(self):
        # On either side, so that rounds do not make up for each other.
        measurements = [measured(server, number, value) for number, again in enumerate((90, 110, 100, 130, 90))
                        for server, value in (("raw-epoll", 100), ("raw-epoll-again", again))]
        noise = figures.noise(measurements, "drain", "wall_ns")
        self.assertAlmostEqual(noise.middle, 0.1)
        self.assertAlmostEqual(noise.most, 0.3)

    def test_without_a_second_floor_the_noise_is_unknown(self):
        self.assertIsNone(figures.noise([measured("raw-epoll", 1, 100)], "drain", "wall_ns"))

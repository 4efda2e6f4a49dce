"""Values of arguments, and the error of a result."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dgtl.device.values import (
    differences,
    error_of,
    random_values,
    scale_of,
    unwritten,
    wrong_above,
)

DTYPES = ("float32", "float16", "float64", "int64", "int32", "int8", "uint8", "bool")


def test_errors_are_relative_to_the_scale_of_the_output():
    expected = np.array([0.0, -200.0])
    assert error_of(expected, expected + 1.0) == pytest.approx(0.005)
    assert error_of(expected, expected) == 0.0
    assert error_of(np.zeros(2), np.zeros(2)) == 0.0
    assert error_of(expected, expected + 1.0, scale=400.0) == pytest.approx(0.0025)


def test_nan_and_inf_are_right_where_they_are_expected_and_a_new_nan_is_wrong():
    expected = np.array([1.0, np.nan, np.inf, -np.inf])
    assert error_of(expected, expected) == 0.0
    assert error_of(expected, np.array([1.0, np.nan, np.inf, np.inf])) == 0.25
    assert error_of(expected, np.array([1.0, np.nan, 2.0, -np.inf])) == 0.25
    assert error_of(expected, np.array([np.nan, np.nan, np.inf, -np.inf])) == math.inf
    assert scale_of(expected) == 1.0


def test_true_and_false_and_whole_numbers_are_counted_and_bytes_may_be_one_off():
    assert differences(np.array([True, False]), np.array([True, True])) == (0.0, 0.5)
    assert differences(np.array([1, 2, 3, 4]), np.array([1, 2, 3, 5])) == (0.0, 0.25)
    assert differences(np.uint8([0, 255]), np.uint8([1, 253])) == (0.0, 0.5)


def test_results_of_another_shape_or_type_are_wrong():
    assert error_of(np.zeros(2), np.zeros(3)) == math.inf
    assert error_of(np.zeros(2), np.zeros(2, np.float32)) == math.inf
    assert error_of(np.zeros(0), np.zeros(0)) == 0.0


@given(arrays.arrays(np.float32, st.integers(1, 20)))
def test_every_result_is_equal_to_itself(result):
    assert error_of(result, result.copy()) == 0.0


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_output_that_was_never_written_is_wrong(dtype):
    expected = random_values(np.random.default_rng(0), (8, 50), dtype)
    assert expected.dtype == dtype
    assert error_of(expected, unwritten(expected.shape, dtype)) > wrong_above([((), dtype)])


def test_whole_numbers_are_places_in_any_table_and_bytes_take_all_values():
    rng = np.random.default_rng(0)
    assert set(random_values(rng, (100,), "int64")) == {0, 1}
    assert np.ptp(random_values(rng, (1000,), "int8").astype(int)) > 200
    assert random_values(rng, (1000,), "float16").std() == pytest.approx(1, abs=0.1)

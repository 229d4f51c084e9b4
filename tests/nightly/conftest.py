"""The measured workspace of the tests of comparison, which promotion looks at too."""

from tests.comparison import conftest as comparison

measured_once, params, workspace = comparison.measured_once, comparison.params, comparison.workspace

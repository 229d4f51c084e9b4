"""Great Expectations, the only importer of it: expectations in, checks and the videos that fail them out.

Imported inside, as it takes seconds. Its own Data Docs are not made: they load their style from the network and show no
frames; data_report.py makes a page instead. Not here: what is expected (contract.py), what follows (validation.py).
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lvdm.data.contract import Expectation
from lvdm.report import Check

MAX_EXAMPLES = 10


@dataclass(frozen=True)
class Judgement:
    """An expectation as it came out."""

    expectation: Expectation
    passed: bool
    unexpected: tuple[str, ...]  # the ids of the rows that fail it, if it is one of rows

    @property
    def check(self) -> Check:
        expectation = self.expectation
        return Check(
            name=expectation.name,
            passed=self.passed,
            critical=expectation.critical,
            description=expectation.description,
            unexpected=len(self.unexpected),
            examples=self.unexpected[:MAX_EXAMPLES],
        )


class Gate:
    """Great Expectations in memory: no project folder, no telemetry, no progress bars."""

    def __init__(self) -> None:
        os.environ["GX_ANALYTICS_ENABLED"] = "false"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of its own imports
            import great_expectations as gx
            from great_expectations.data_context.types.base import ProgressBarsConfig
        logging.getLogger(ProgressBarsConfig.__module__).setLevel(logging.WARNING)  # it tells of its temporary folders
        self.gx = gx
        self.context = gx.get_context(mode="ephemeral")
        self.context.variables.progress_bars = ProgressBarsConfig(globally=False)
        self.tables = self.context.data_sources.add_pandas("manifest")

    def judge(self, name: str, expectations: Sequence[Expectation], table: pd.DataFrame) -> list[Judgement]:
        """Holds the rows of `table`, each with an `id`, against the expectations."""
        made = [self._made(expectation) for expectation in expectations]
        suite = self.context.suites.add(self.gx.ExpectationSuite(name=name, expectations=made))
        batch = self.tables.add_dataframe_asset(name).add_batch_definition_whole_dataframe(name)
        definition = self.gx.ValidationDefinition(name=name, data=batch, suite=suite)
        complete = {"result_format": "COMPLETE", "unexpected_index_column_names": ["id"]}
        run = self.context.validation_definitions.add(definition).run(
            batch_parameters={"dataframe": table}, result_format=complete
        )
        results = {config.meta["check"]: result for result in run.results if (config := result.expectation_config)}
        return [_judgement(expectation, results[expectation.name]) for expectation in expectations]

    def _made(self, expectation: Expectation) -> Any:
        kind = getattr(self.gx.expectations, expectation.kind)
        meta = {"check": expectation.name, "notes": expectation.description}
        return kind(**expectation.arguments, severity=expectation.severity, meta=meta)


def _judgement(expectation: Expectation, result: Any) -> Judgement:
    if (result.exception_info or {}).get("exception_message"):
        raise AssertionError(f"{expectation.name}: {result.exception_info['exception_message']}")
    ids = tuple(str(row["id"]) for row in result.result.get("unexpected_index_list") or [])
    return Judgement(expectation, bool(result.success), ids)

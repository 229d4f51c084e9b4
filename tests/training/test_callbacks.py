"""The trace of a run that goes on from its saved state."""

from __future__ import annotations

import pytorch_lightning as pl
import torch

from lvdm.training.callbacks import Trace


class AtStep(pl.Trainer):
    global_step = 0


def test_a_row_is_of_all_batches_since_the_row_before_also_of_a_run_that_went_on_in_between():
    trainer = AtStep(accelerator="cpu", logger=False, enable_checkpointing=False)
    whole, trace = Trace(401, 0), Trace(401, 0)
    for step, loss in enumerate((3.0, 5.0, 10.0), 1):
        trainer.global_step = step
        for each in (whole, trace):
            each.on_train_batch_end(trainer, pl.LightningModule(), {"loss": torch.tensor(loss)}, None, step - 1)
        state, trace = trace.state_dict(), Trace(401, 0)
        trace.load_state_dict(state)
    assert trace.rows == whole.rows == [{"step": 3, "loss": 6.0}]

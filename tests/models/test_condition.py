"""Labels and texts are treated alike: by the number of a prompt, the last of which is none."""

from __future__ import annotations

import pytest
import torch

from lvdm.models.condition import MAX_TOKENS, Condition, Prompts

TEXTS = [torch.full((length, 2), float(length)) for length in (3, 1)]
NULL = torch.zeros(2, 2)


@pytest.fixture(params=["labels", "texts"])
def condition(request) -> Condition:
    prompts = Prompts.of_labels(2) if request.param == "labels" else Prompts.of_texts(TEXTS, NULL)
    return Condition(torch.tensor([0, 1, 0]), prompts)


def test_texts_are_padded_whatever_is_beside_them_and_the_null_text_is_the_last():
    prompts = Prompts.of_texts(TEXTS, NULL)
    assert prompts.null == 2 and prompts.tokens.shape == (3, MAX_TOKENS, 2)
    assert [row.nonzero().flatten().tolist() for row in prompts.mask] == [[0, 1, 2], [0], [0, 1]]
    assert torch.equal(Prompts.of_texts(TEXTS[1:], NULL).tokens, prompts.tokens[1:])
    for row, text in enumerate([*TEXTS, NULL]):
        assert torch.equal(prompts.tokens[row][prompts.mask[row]], text)


def test_dropping_is_asking_for_nothing(condition):
    dropped = condition.dropped(torch.tensor([False, True, True]))
    assert dropped.number.tolist() == [0, 2, 2]
    everywhere = condition.dropped(torch.ones(3, dtype=torch.bool))
    assert torch.equal(everywhere.number, condition.null().number)
    of_null = condition.prompts.rows(condition.null().number)
    for row in range(3):
        assert torch.equal(of_null.tokens[row], condition.prompts.tokens[-1])
        assert torch.equal(of_null.mask[row], condition.prompts.mask[-1])


def test_passes_become_one_batch(condition):
    passes = Condition.of_passes([condition, condition.null()])
    assert passes.number.tolist() == [0, 1, 0, 2, 2, 2]
    assert passes.prompts is condition.prompts


def test_a_label_has_no_tokens():
    assert Prompts.of_labels(5).null == 5
    assert Prompts.of_labels(5).rows(torch.tensor([0, 5])).tokens.numel() == 0

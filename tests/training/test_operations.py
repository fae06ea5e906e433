"""The parts of a layer give what torch's own operations give, forward and backward."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")

from torch.nn import functional  # noqa: E402

from training.network.operations import added_and_normed, attended, gated, rotated, weighted_loss  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # those of torch's compiler are not ours to mend

CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def test_attention_stays_within_each_sequence_and_looks_back_only() -> None:
    lengths = [5, 1, 9]
    query, key, value = random(15, 6, 8, seed=1), random(15, 2, 8, seed=2), random(15, 2, 8, seed=3)
    found = attended(query, key, value, lengths, lengths)
    parts = []
    for q, k, v in zip(*(x.transpose(0, 1).split(lengths, dim=1) for x in (query, key, value)), strict=True):
        own = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        parts.append(own.transpose(0, 1).flatten(1))
    expected = torch.cat(parts)
    assert torch.allclose(found, expected, **CLOSE)
    weight = random(15, 48, seed=4).detach()
    for one, other in zip(
        torch.autograd.grad((found * weight).sum(), (query, key, value)),
        torch.autograd.grad((expected * weight).sum(), (query, key, value)),
        strict=True,
    ):
        assert torch.allclose(one, other, **CLOSE)
    ends = [2, 1, 0]
    rows = [3, 4, 5]
    assert torch.allclose(attended(query[rows], key, value, ends, lengths), expected[rows], **CLOSE)


def test_the_loss_made_block_by_block_is_cross_entropy() -> None:
    x, head = random(300, 16), random(50, 16, seed=1).detach()
    targets = torch.arange(300) % 50
    weights = torch.linspace(0.1, 1.0, 300)
    summed, losses = weighted_loss(x, head, targets, weights)
    expected = functional.cross_entropy(x @ head.T, targets, reduction="none")
    assert torch.allclose(losses, expected, **CLOSE)
    assert float(summed.detach()) == pytest.approx(float((expected * weights).sum().detach()), rel=1e-5)
    (own,) = torch.autograd.grad(summed / 7, x)
    (right,) = torch.autograd.grad((expected * weights).sum() / 7, x)
    assert torch.allclose(own, right, **CLOSE)


def test_fused_operations_give_what_they_are_made_of() -> None:
    x, change, weight = random(7, 12), random(7, 12, seed=1), random(12, seed=2)
    total, normed = added_and_normed(x, change, weight, 1e-5)
    assert torch.allclose(total, x + change, **CLOSE)
    assert torch.allclose(normed, functional.rms_norm(x + change, (12,), weight, 1e-5), **CLOSE)
    assert torch.allclose(gated(x, change), functional.silu(x) * change, **CLOSE)
    angle = torch.tensor(0.3).expand(7, 1, 4)
    turned = rotated(x.view(7, 3, 4), angle.cos(), angle.sin())
    assert torch.allclose(turned.norm(dim=-1), x.view(7, 3, 4).norm(dim=-1), **CLOSE), "a rotation keeps lengths"

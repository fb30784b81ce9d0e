"""Drawing tokens: against exact probabilities."""

import torch

from tasks.token_choice import choose, nucleus


def generators(draws: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(draws)]


def test_sampled_tokens_follow_the_models_distribution() -> None:
    """Gumbel-max draws from softmax(logits / temperature): 20,000 rows against the exact probabilities."""
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    draws = 20_000
    for temperature in (1.0, 0.5, 2.0):
        picked, logprobs = choose(logits.repeat(draws, 1), generators(draws), temperature, 1.0)
        share = torch.bincount(picked, minlength=4) / draws
        exact = (logits / temperature).softmax(-1)
        assert torch.allclose(share, exact, atol=4 * (0.25 / draws) ** 0.5)
        expected = logits.log_softmax(-1)[picked]
        assert torch.allclose(logprobs, expected)


def test_the_nucleus_is_the_fewest_likeliest_that_reach_top_p() -> None:
    logprobs = torch.tensor([[0.5, 0.3, 0.15, 0.05], [0.05, 0.15, 0.3, 0.5]]).log()
    assert nucleus(logprobs, 0.79).tolist() == [[True, True, False, False], [False, False, True, True]]
    assert nucleus(logprobs, 0.81).tolist() == [[True, True, True, False], [False, True, True, True]]
    assert nucleus(logprobs, 0.01).sum(-1).tolist() == [1, 1]
    heated = (logprobs[:1] / 3).softmax(-1)
    kept = set(nucleus(heated.log(), 0.79)[0].nonzero().flatten().tolist())
    picked, _ = choose(logprobs[:1].repeat(500, 1), generators(500), 3.0, 0.79)
    assert set(picked.tolist()) == kept


def test_what_is_ruled_out_is_not_chosen_and_log_probabilities_stay_the_models() -> None:
    logits = torch.tensor([[5.0, 1.0, 0.0], [5.0, 1.0, 0.0]])

    def no_first(preference: torch.Tensor) -> None:
        preference[:, 0] = float("-inf")

    for temperature in (0.0, 1.0):
        picked, logprobs = choose(logits, generators(2), temperature, 1.0, no_first)
        assert 0 not in picked.tolist()
        assert torch.allclose(logprobs, logits.log_softmax(-1)[[0, 1], picked])

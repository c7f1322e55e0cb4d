import torch
from torch import Tensor, nn

from pyrite.policies.janus_logp import token_logp


def kept_bytes(chunk: int | None) -> int:
    """What waits for the backward pass, beside the head's own weights."""
    head, kept = nn.Linear(8, 512), {}
    hidden = torch.randn(4, 64, 8, requires_grad=True)
    own = {parameter.untyped_storage()._cdata for parameter in head.parameters()}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        logp = token_logp(head, hidden, torch.zeros(4, 64, dtype=torch.long), temperature=1.0, chunk=chunk)
    assert logp.shape == (4, 64)
    return sum(kept.values())


def test_in_pieces_no_logits_wait_for_the_backward_pass() -> None:
    logits = 4 * 64 * 512 * 4
    assert kept_bytes(None) >= logits
    assert kept_bytes(32) < logits / 10

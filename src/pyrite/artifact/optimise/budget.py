"""What a search may spend and has spent; it stops before the limit, so that the last measurements are paid for."""

import math
from dataclasses import dataclass

from pyrite.artifact.optimise.config import BudgetConfig
from pyrite.core.errors import RewardError


class BudgetSpentError(Exception):
    """The next call is not paid for: the search ends with what it has. Never leaves this room."""


@dataclass
class Spending:
    """Calls and money of a run, over all its lives.

    Args:
        limit: of the config.
        reserve: image calls that are kept back from the search for choosing and for the test.
        image_calls: questions about an image that the run needed, whether the score store knew the answer or not.
        image_calls_asked: those of them that were put to the judge.
        image_failures: those that got no answer.
        text_calls: requests for a critique, a rewrite or a paraphrase.
        text_failures: those of them that got no reply.
        cost_usd: of all; NaN if a price or a token count is not known.
        is_closing: the search is over, and what was kept back may be spent.
    """

    limit: BudgetConfig
    reserve: int = 0
    image_calls: int = 0
    image_calls_asked: int = 0
    image_failures: int = 0
    text_calls: int = 0
    text_failures: int = 0
    cost_usd: float = 0.0
    is_closing: bool = False

    @property
    def calls(self) -> int:
        """Of both kinds."""
        return self.image_calls + self.text_calls

    def allow(self, num_calls: int) -> None:
        """Raise unless so many more calls, and the reserve after them, stay within the budget.

        Raises:
            BudgetSpentError: they do not.
            RewardError: there is a limit in money, and what calls cost is not known.
        """
        wanted, calls, usd = num_calls + self.reserve, self.limit.calls, self.limit.usd
        if calls is not None and self.calls + wanted > calls:
            raise BudgetSpentError(f"budget.calls = {calls}: {self.calls} are spent, {self.reserve} were kept back")
        if usd is None:
            return
        if math.isnan(self.cost_usd):
            raise RewardError(
                f"budget.usd = {usd:g} cannot be watched: the server counts no tokens, or no prices are set, so nobody "
                "knows what was spent. Set usd_per_million_input and usd_per_million_output in judge.options (and "
                "rewriter.options), or use budget.calls."
            )
        price = self.cost_usd / self.calls if self.calls else 0.0
        if self.cost_usd + price * wanted > usd:
            raise BudgetSpentError(
                f"budget.usd = {usd:g}: {self.cost_usd:.4g} are spent, and {wanted} calls more, some kept back, would "
                f"cost about {price * wanted:.3g}"
            )

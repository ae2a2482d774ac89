"""What a call is billed: its tokens at the tariff of its model on that day."""

import logging

from budget_router.errors import InvalidInput, UnknownTariff
from budget_router.records import Call
from budget_router.tariffs import Tariffs

_log = logging.getLogger("budget_router")


class Billing:
    """Prices calls, and says once of each model that is on no price list that its calls are kept without a price."""

    def __init__(self, tariffs: Tariffs) -> None:
        self._tariffs = tariffs
        self._unpriced: set[str] = set()

    def priced(self, call: Call) -> Call:
        """The call with its price, unless it has one; what was billed is kept also where its price is unknown."""
        if call.nano_usd is not None:
            return call
        if call.source == "cache":
            return call.model_copy(update={"nano_usd": 0, "tariff": "cache"})
        try:
            bill = self._tariffs.bill(
                call.model,
                prompt_tokens=call.prompt_tokens,
                completion_tokens=call.completion_tokens,
                cached_tokens=call.cached_tokens,
                at=call.started_at,
            )
        except UnknownTariff as error:  # what was billed is kept all the same, its price unknown
            if call.model not in self._unpriced:  # said once: it is as true of the next ten thousand calls
                self._unpriced.add(call.model)
                _log.warning("calls of %s are kept without a price: %s", call.model, error)
            return call
        except InvalidInput as error:
            _log.warning("call %s is kept without a price: %s", call.id, error)
            return call
        return call.model_copy(update={"nano_usd": bill.nano_usd, "tariff": bill.tariff})

"""The answer rules that the command line knows by name."""

from enum import StrEnum

from budget_router.strategies import AnswerRule, choice_letter, final_answer, last_number


class AnswerKind(StrEnum):
    """What the answers to a task file look like."""

    NUMBER = "number"
    CHOICE = "choice"
    EXACT = "exact"

    @property
    def rule(self) -> AnswerRule:
        """Finds such an answer in a reply: the last number, a choice's letter, or the text after the last "Answer:"."""
        return {"number": last_number, "choice": choice_letter, "exact": final_answer}[self.value]

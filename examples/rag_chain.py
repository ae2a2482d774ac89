"""A retrieval chain with a budget: the documents are looked up once, and the answer is drawn as often as decided.

Run it as it is: the chat model below is scripted and needs no network.
"""

from typing import Any

from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnablePassthrough

from budget_router import Budget, BudgetRouter, EarlyStop, Menu, SelfConsistency, SingleShot
from budget_router_langchain import budget

LIBRARY = {
    "Paris": "The Eiffel Tower was built for the World's Fair of 1889.",
    "Rome": "The Colosseum was opened in the year 80.",
}


class Library(BaseRetriever):
    """Finds the documents whose place the question names, and counts how often it is asked."""

    n_asked: int = 0

    def _get_relevant_documents(self, query: str, **_: Any) -> list[Document]:
        self.n_asked += 1
        return [Document(text) for place, text in LIBRARY.items() if place in query]


class Reader(BaseChatModel):
    """Answers offline, from what stands in its prompt."""

    @property
    def _llm_type(self) -> str:
        return "reader"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        year = "1889" if "1889" in str(messages[-1].text) else "80"
        usage = {"input_tokens": 40, "output_tokens": 10, "total_tokens": 50}
        return ChatResult(generations=[ChatGeneration(message=AIMessage(f"Answer: {year}", usage_metadata=usage))])


def main() -> None:
    menu = Menu(
        [
            SingleShot(typical_completion_tokens=10),
            SelfConsistency(k=8, early_stop=EarlyStop(threshold=0.9, window=2), typical_completion_tokens=10),
        ]
    )
    router = BudgetRouter(menu, Budget(per_task=150, unit="tokens"), seed=1)
    library = Library()
    prompt = ChatPromptTemplate.from_template("Use only this:\n{context}\n\nQuestion: {question}")
    lookup = {
        "context": library | (lambda found: "\n".join(one.page_content for one in found)),
        "question": RunnablePassthrough(),
    }
    answer = budget(lookup | prompt | Reader() | StrOutputParser(), router=router)

    for question in (
        "When was the tower in Paris built?",
        "When was the arena in Rome opened?",
        "Since when has Paris its tower?",
    ):
        text, receipt = answer.with_receipt(question)
        print(f"{text:<14} by {receipt.strategy}, {receipt.spend.n_calls} calls, {receipt.spend.in_unit('tokens'):.0f} tokens")
    print(f"the library was asked {library.n_asked} times")
    assert library.n_asked == 3


if __name__ == "__main__":
    main()

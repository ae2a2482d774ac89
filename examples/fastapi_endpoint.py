"""An endpoint with a budget: answers are decided on, voted and streamed under FastAPI, and graded when a user says so.

Run it as it is: the chat model below is scripted and the requests stay in this process. To serve it, `pip install fastapi
uvicorn` and `uvicorn fastapi_endpoint:app`.
"""

from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.prompts import ChatPromptTemplate
from pydantic import BaseModel

from budget_router import Budget, BudgetRouter, Menu, SelfConsistency, SingleShot
from budget_router.errors import InvalidInput, UnknownDecision
from budget_router_langchain import budget


class Student(BaseChatModel):
    """Answers offline."""

    @property
    def _llm_type(self) -> str:
        return "student"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        usage = {"input_tokens": len(str(messages[-1].text).split()), "output_tokens": 30, "total_tokens": 40}
        return ChatResult(generations=[ChatGeneration(message=AIMessage("Answer: 68", usage_metadata=usage))])


class Question(BaseModel):
    """What a user asks; the team's name is the budget that it draws on."""

    question: str
    team: str = "support"


class Grade(BaseModel):
    """How good an answer was."""

    score: float


menu = Menu([SingleShot(typical_completion_tokens=30), SelfConsistency(k=3, typical_completion_tokens=30)])
router = BudgetRouter(menu, budgets=[Budget(per_task=60, group="support"), Budget(per_task=120, group="research")], seed=1)
solve = budget(ChatPromptTemplate.from_template("{question}") | Student() | StrOutputParser(), router=router)
app = FastAPI()


@app.post("/answers")
async def answer(asked: Question) -> dict[str, Any]:
    try:
        text, receipt = await solve.awith_receipt({"question": asked.question}, {"configurable": {"budget_group": asked.team}})
    except InvalidInput as error:  # an unknown team, an empty question: found before anything was paid
        raise HTTPException(422, str(error)) from error
    return {"answer": text, "decision_id": receipt.decision_id, "strategy": receipt.strategy}


@app.post("/streams")
async def stream(asked: Question) -> StreamingResponse:
    async def pieces() -> AsyncIterator[str]:
        async for piece in solve.astream({"question": asked.question}, {"configurable": {"budget_group": asked.team}}):
            yield piece

    return StreamingResponse(pieces(), media_type="text/plain")


@app.post("/answers/{decision_id}/grade")
def grade(decision_id: str, given: Grade) -> dict[str, str]:
    try:
        router.grade(decision_id, score=given.score)
    except UnknownDecision as error:
        raise HTTPException(404, str(error)) from error
    return {"graded": decision_id}


def main() -> None:
    with TestClient(app) as client:
        for team in ("support", "research"):
            told = client.post("/answers", json={"question": "What is 27 + 41?", "team": team}).json()
            print(team, told["answer"], told["strategy"])
            assert client.post(f"/answers/{told['decision_id']}/grade", json={"score": 1}).status_code == 200
        assert client.post("/streams", json={"question": "What is 27 + 41?"}).text == "Answer: 68"
        refused = client.post("/answers", json={"question": "?", "team": "sales"})
        print(refused.status_code, refused.json()["detail"])


if __name__ == "__main__":
    main()

"""A server that speaks the engine's protocol without a model, for tests: ``python -m llm.echo_server``.

It draws each reply from the prompt's own words by a seed: the same request gives the same texts, another sample or
model another text, and at temperature 0 all samples are alike. Some replies are cut at the token limit, as a real
model's are.
"""

import argparse
import hashlib
import random
import time
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

OPENINGS = (
    "Hello, thank you for writing.",
    "Dear customer, I am sorry for the trouble.",
    "Good day.",
    "Thanks for this.",
)
ENDINGS = ("Kind regards, Merrowby Books", "We will write again by Friday.", "Yours, the service desk.")
LONGEST_PROMPT = 12_000
"""Characters; longer prompts are refused as too long for the context, as a real engine does."""


def reply(prompt: str, *, model: str, draw: str, max_tokens: int) -> tuple[str, str]:
    """A text and its finish reason, "stop" or "length". Words count as tokens."""
    rng = random.Random(hashlib.sha256(f"{model}|{draw}|{prompt}".encode()).hexdigest())
    words = prompt.split()
    middle = " ".join(rng.sample(words, min(len(words), rng.randint(6, 40))))
    tokens = f"{rng.choice(OPENINGS)} About {middle}. {rng.choice(ENDINGS)}".split(" ")
    return " ".join(tokens[:max_tokens]), "length" if len(tokens) > max_tokens else "stop"


async def chat(request: Request) -> JSONResponse:
    """POST /v1/chat/completions."""
    body: dict[str, Any] = await request.json()
    prompt = body["messages"][-1]["content"]
    if len(prompt) > LONGEST_PROMPT:
        message = f"This model's maximum context length is {LONGEST_PROMPT // 4} tokens."
        return JSONResponse({"error": {"message": message, "type": "BadRequestError", "code": 400}}, status_code=400)
    choices: list[dict[str, Any]] = []
    for index in range(int(body.get("n") or 1)):
        text, finish_reason = reply(
            prompt,
            model=body["model"],
            draw=str(int(body.get("seed") or 0) + index) if body.get("temperature") else "greedy",
            max_tokens=int(body.get("max_tokens") or 160),
        )
        choices.append(
            {
                "index": index,
                "message": {"role": "assistant", "content": text},
                "finish_reason": finish_reason,
                "token_ids": [len(word) for word in text.split()],
            }
        )
    completion_tokens = sum(len(choice["token_ids"]) for choice in choices)
    return JSONResponse(
        {
            "id": "echo",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": body["model"],
            "choices": choices,
            "prompt_token_ids": [len(word) for word in prompt.split()],
            "usage": {
                "prompt_tokens": len(prompt.split()),
                "completion_tokens": completion_tokens,
                "total_tokens": len(prompt.split()) + completion_tokens,
            },
        }
    )


async def health(_request: Request) -> JSONResponse:
    """GET /health."""
    return JSONResponse({})


async def models(_request: Request) -> JSONResponse:
    """GET /v1/models."""
    return JSONResponse({"object": "list", "data": [{"id": "echo", "object": "model", "owned_by": "pickwell"}]})


app = Starlette(
    routes=[
        Route("/health", health),
        Route("/v1/models", models),
        Route("/v1/chat/completions", chat, methods=["POST"]),
    ]
)


def main() -> None:
    """Serve on loopback."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    uvicorn.run(app, host="127.0.0.1", port=parser.parse_args().port, log_level="warning")


if __name__ == "__main__":
    main()

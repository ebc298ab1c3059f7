"""
Use a model from Python; run it where train.py wrote one, or name another: gpt2, or any GPT-2 folder.

    $ python example.py out-chat
"""

import sys

from inference import LLM, SamplingParams


def main(model: str = "out-chat") -> None:
    llm = LLM(model, device="auto", weights="auto")
    sampling_params = SamplingParams(temperature=0.7, max_new_tokens=60, seed=1)
    messages = [{"role": "system", "content": "you have two dogs."}, {"role": "user", "content": "hi, how are you?"}]
    reply = llm.chat(messages, sampling_params)
    print(f"{reply.text}  ({reply.reason}, {reply.n_tokens} tokens)")
    for piece in llm.stream(messages, sampling_params):
        print(piece.text, end="", flush=True)
    for completion in llm.generate(["Once upon a time", "My dogs"], sampling_params):
        print("\n---", completion.text)


if __name__ == "__main__":
    main(*sys.argv[1:])

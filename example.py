"""Use a model from Python: one that train.py wrote, gpt2, or any GPT-2 folder: `python example.py out-chat`."""

import sys

from configurator import InputError, quit_with
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
    try:
        main(*sys.argv[1:])
    except InputError as error:
        quit_with(str(error))

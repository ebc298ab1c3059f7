"""
Many generations on one engine: a queue that is fair between clients, and the one thread that steps the engine.

    service, said = Service(lambda: engine, queue=64), asyncio.Queue()
    generation = Generation(said, 0, "ann", ids, sampling, ...)
    service.submit([generation])                               # raises Busy
    i, more = await said.get()                                 # Said: text as it comes, and why it ended
    service.cancel(generation)                                 # whoever asked has left: the slot is free a token later
"""

import asyncio
import itertools
import threading
import time
from collections import deque
from typing import NamedTuple

from inference.streaming import Detokenizer, FinishReason
from runtime.errors import InputError

OPENAI_REASONS = {
    FinishReason.STOP_TOKEN: "stop",
    FinishReason.STOP_WORD: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.CONTEXT: "length",
    FinishReason.TIME: "length",
}


class QueueFull(Exception):
    """The queue is full."""


class Delta(NamedTuple):
    text: str
    reason: str | None  # OpenAI's: stop or length, on the last one; "error" or "late" when it failed
    tokens: tuple = ()  # (id, logprob, likeliest) of what came, where log-probabilities were asked for


class Generation:
    """
    One reply on its way from the engine's thread to the event loop that asked for it, where `said` gets (i, Said).
    """

    def __init__(
        self,
        said,
        i,
        client,
        ids,
        sampling,
        decode,
        deadline,
        suppress_tokens=(),
        stop_token_ids=(),
        recent=(),
        strip=True,
        begun=False,
    ):
        self.said, self.i, self.loop = said, i, asyncio.get_running_loop()
        self.client, self.ids, self.sampling, self.deadline = client, ids, sampling, deadline
        self.suppress_tokens, self.stop_token_ids = suppress_tokens, stop_token_ids  # as Engine.add_request has them
        self.recent = recent
        self.text = Detokenizer(decode, sampling.stop, strip=strip, continues=begun)
        self.sequence, self.cancelled = None, False
        self.begun = time.monotonic()
        self.n_tokens, self.first = 0, None  # first: seconds to the first token

    def token(self, token, late):
        """The Said that the engine's token makes, or None."""
        self.first = self.first or time.monotonic() - self.begun
        piece = self.text.add(token.id, token.reason or (FinishReason.TIME if late else None))
        self.n_tokens = piece.n_tokens
        reason = OPENAI_REASONS[piece.reason] if piece.reason else None
        told = () if token.id is None or token.logprob is None else ((token.id, token.logprob, token.likeliest),)
        return Delta(piece.text, reason, told) if piece.text or reason or told else None


def publish(told):
    """Put each (Generation, Said) where it is waited for, from the engine's thread: an event loop is woken once."""
    for loop, each in itertools.groupby(told, lambda pair: pair[0].loop):
        if not loop.is_closed():
            loop.call_soon_threadsafe(deliver, list(each))


def deliver(told):
    for generation, said in told:
        generation.said.put_nowait((generation.i, said))


class Scheduler:
    """
    opened: makes the engine, in the thread that will step it. (libgomp gives each thread that computes in parallel
    helpers of its own. Where all of them are more than the cores, they sleep between any two loops: half the speed.)
    Raises what it raises. queue: generations that may wait. Public methods may be called from the event loop.
    """

    def __init__(self, opened, queue):
        self.engine, self.queue = None, queue
        self.waiting = {}  # client -> deque of its generations; who was served goes to the end
        self.talking = {}  # Sequence -> Generation
        self.wake = threading.Condition()
        self.stopping, self.failure = False, None
        self.served = {"prompt": 0, "computed": 0, "generated": 0, "finished": 0, "cancelled": 0}
        ready = threading.Event()
        self.thread = threading.Thread(target=self.run, args=(opened, ready), name="engine", daemon=True)
        try:
            self.thread.start()
            ready.wait()
        except KeyboardInterrupt:  # a thread inside torch would end the process with an abort
            self.stop()
            self.thread.join()
            raise
        if not self.engine:
            raise self.failure or RuntimeError("the engine's thread ended; what it says is above")

    @property
    def n_waiting(self):
        return sum(map(len, self.waiting.values()))

    def submit(self, generations):
        """Queue generations that belong together. Raises Busy, and takes none, if there is no room for all."""
        with self.wake:
            if self.failure or self.stopping:
                raise QueueFull("the server stops")
            free = self.engine.running.count(None)
            if self.n_waiting + len(generations) > self.queue + free:
                raise QueueFull(f"{self.n_waiting} requests are waiting already")
            for generation in generations:
                self.waiting.setdefault(generation.client, deque()).append(generation)
            self.wake.notify()

    def cancel(self, generation):
        with self.wake:
            generation.cancelled = True
            self.wake.notify()

    def stop(self):
        with self.wake:
            self.stopping = True
            self.wake.notify()

    def run(self, opened, ready):
        try:
            self.engine = opened()
        except (InputError, OSError, RuntimeError) as error:  # for __init__ to raise; what is a bug ends the thread
            self.failure = error
            return
        finally:
            ready.set()
        try:
            while True:
                with self.wake:
                    self.forget()
                    self.admit()
                    while not self.talking and not self.stopping:
                        self.wake.wait()
                        self.forget()
                        self.admit()
                    if self.stopping and not self.talking:
                        return
                self.step()
        except BaseException as error:
            self.failure = error
            everybody = [*self.talking.values(), *(each for queue in self.waiting.values() for each in queue)]
            publish([(generation, Delta("", "error")) for generation in everybody])
            raise

    def forget(self):
        """Drop the generations whose clients have left, and those that have waited until their time was over."""
        for sequence, generation in list(self.talking.items()):
            if generation.cancelled:
                self.engine.abort(sequence)
                del self.talking[sequence]
                self.served["cancelled"] += 1
        for client, queue in list(self.waiting.items()):
            for each in queue:
                if each.deadline < time.monotonic():
                    each.cancelled = True
                    publish([(each, Delta("", "late"))])
            left = deque(each for each in queue if not each.cancelled)
            self.served["cancelled"] += len(queue) - len(left)
            if left:
                self.waiting[client] = left
            else:
                del self.waiting[client]

    def admit(self):
        """Give free slots to those that wait: to the client with the fewest slots, in turn."""
        while self.waiting and None in self.engine.running:
            slots = [generation.client for generation in self.talking.values()]
            client = min(self.waiting, key=slots.count)
            queue = self.waiting.pop(client)
            one = queue.popleft()
            if queue:
                self.waiting[client] = queue
            one.sequence = self.engine.add_request(
                one.ids, one.sampling, one.suppress_tokens, one.stop_token_ids, one.recent
            )
            self.talking[one.sequence] = one
            self.served["prompt"] += len(one.ids)

    def step(self):
        computed, told = self.engine.computed, []
        for sequence, token in self.engine.step():
            generation = self.talking[sequence]
            self.served["generated"] += token.id is not None
            said = generation.token(token, time.monotonic() > generation.deadline)
            if said:
                told.append((generation, said))
            if said and said.reason:
                self.engine.abort(sequence)
                del self.talking[sequence]
                self.served["finished"] += 1
        publish(told)
        self.served["computed"] += self.engine.computed - computed

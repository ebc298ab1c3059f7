"""
Many generations on one engine: a queue that is fair between clients, and the one thread that steps the engine.

    service = Service(engine, queue=64)
    generation = Generation("ann", ids, sampling, ...)
    service.submit([generation])                               # raises Busy
    async for said in generation:                              # Said: text as it comes, and why it ended
        ...
    service.cancel(generation)                                 # whoever asked has left: the slot is free a token later
"""

import asyncio
import threading
import time
from collections import deque
from typing import NamedTuple

from sampling import HeldText

NAMES = {"end": "stop", "stop": "stop", "length": "length", "context": "length", "time": "length"}


class Busy(Exception):
    """The queue is full."""


class Said(NamedTuple):
    text: str
    reason: str | None  # OpenAI's: stop or length, on the last one; "error" or "late" when it failed
    tokens: tuple = ()  # (id, logprob, likeliest) of what came, where log-probabilities were asked for


class Generation:
    """One reply on its way from the engine's thread to the event loop that asked for it."""

    def __init__(
        self, client, ids, sampling, decode, deadline, banned=(), ends=(), recent=(), strip=True, continued=False
    ):
        self.client, self.ids, self.sampling, self.decode, self.deadline = client, ids, sampling, decode, deadline
        self.banned, self.ends, self.recent = banned, ends, recent  # as Engine.join has them
        self.held = HeldText(sampling.stop, strip)
        self.held.begun = continued  # the white space between a text and its continuation stays
        self.sequence, self.cancelled = None, False
        self.loop, self.said = asyncio.get_running_loop(), asyncio.Queue()
        self.begun = time.monotonic()
        self.n_tokens, self.first = 0, None  # first: seconds to the first token

    def tell(self, said):
        """From the engine's thread."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.said.put_nowait, said)

    def token(self, token, late):
        """Take the engine's token; whether that was the last one."""
        self.first = self.first or time.monotonic() - self.begun
        reason = token.reason or ("time" if late else None)
        text = ("" if token.id is None else self.decode(token.id)) + (self.decode(None) if reason else "")
        text = self.held.add(text)
        self.n_tokens = self.sequence.n_new
        if self.held.stopped:
            reason = "stop"
        elif reason:
            text += self.held.rest()
        told = () if token.id is None or token.logprob is None else ((token.id, token.logprob, token.likeliest),)
        if text or reason or told:
            self.tell(Said(text, NAMES.get(reason, reason), told))
        return bool(reason)

    async def __aiter__(self):
        while True:
            said = await self.said.get()
            yield said
            if said.reason:
                return


class Service:
    """queue: generations that may wait. All public methods may be called from the event loop."""

    def __init__(self, engine, queue):
        self.engine, self.queue = engine, queue
        self.waiting = {}  # client -> deque of its generations; who was served goes to the end
        self.talking = {}  # Sequence -> Generation
        self.wake = threading.Condition()
        self.stopping, self.failure = False, None
        self.served = {"prompt": 0, "computed": 0, "generated": 0, "finished": 0, "cancelled": 0}
        self.thread = threading.Thread(target=self.run, name="engine", daemon=True)
        self.thread.start()

    @property
    def n_waiting(self):
        return sum(map(len, self.waiting.values()))

    def submit(self, generations):
        """Queue generations that belong together. Raises Busy, and takes none, if there is no room for all."""
        with self.wake:
            if self.failure or self.stopping:
                raise Busy("the server stops")
            free = self.engine.running.count(None)
            if self.n_waiting + len(generations) > self.queue + free:
                raise Busy(f"{self.n_waiting} requests are waiting already")
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

    def run(self):
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
            for generation in [*self.talking.values(), *(each for queue in self.waiting.values() for each in queue)]:
                generation.tell(Said("", "error"))
            raise

    def forget(self):
        """Drop the generations whose clients have left, and those that have waited until their time was over."""
        for sequence, generation in list(self.talking.items()):
            if generation.cancelled:
                self.engine.leave(sequence)
                del self.talking[sequence]
                self.served["cancelled"] += 1
        for client, queue in list(self.waiting.items()):
            for each in queue:
                if each.deadline < time.monotonic():
                    each.cancelled = True
                    each.tell(Said("", "late"))
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
            one.sequence = self.engine.join(one.ids, one.sampling, one.banned, one.ends, one.recent)
            self.talking[one.sequence] = one
            self.served["prompt"] += len(one.ids)

    def step(self):
        computed = self.engine.computed
        for sequence, token in self.engine.step():
            generation = self.talking[sequence]
            self.served["generated"] += token.id is not None
            if generation.token(token, time.monotonic() > generation.deadline):
                self.engine.leave(sequence)
                del self.talking[sequence]
                self.served["finished"] += 1
        self.served["computed"] += self.engine.computed - computed

"""
Many generations on one engine: a queue that is fair between clients, and the one thread that steps the engine.

    scheduler = Scheduler(open_engine, queue=64)
    scheduler.submit([generation])             # a Generation of generation.py; raises QueueFull
    scheduler.cancel(generation)               # the client has left: its slot is free a token later
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from inference.engine import Engine
from inference.sequence import Sequence as EngineSequence
from runtime.errors import InputError
from serving.generation import Delta, Failure, Generation, publish

logger = logging.getLogger(__name__)


class QueueFull(Exception):
    """The queue has no place for what is submitted, or the server is stopping."""


class Scheduler:
    """
    open_engine: makes the engine. It runs in the thread that will step the engine, because libgomp keeps a pool of
    helpers for each thread that computes in parallel; two pools are more threads than cores, which halves the speed.
    queue: requests that may wait for a slot, each with all its generations. Raises what open_engine raises.
    The public methods may be called from any thread.
    """

    engine: Engine  # set in the engine's thread, before __init__ returns

    def __init__(self, open_engine: Callable[[], Engine], queue: int) -> None:
        self.queue = queue
        # by address, and there by user; in each the one that was served last is at the end
        self.waiting: dict[str, dict[str | None, deque[Generation]]] = {}
        self.running: dict[EngineSequence, Generation] = {}
        self.wake = threading.Condition()  # guards waiting, cancelled and stopping; wakes the engine's thread
        self.stopping = False
        self.failure: BaseException | None = None  # what ended the engine's thread
        self.served = {"prompt": 0, "computed": 0, "generated": 0, "finished": 0, "cancelled": 0}  # for /metrics
        opened: Future[Engine] = Future()
        self.thread = threading.Thread(target=self.run, args=(open_engine, opened), name="engine", daemon=True)
        try:
            self.thread.start()
            opened.result()
        except KeyboardInterrupt:  # a process that exits while a thread is inside torch ends with an abort
            self.stop()
            self.thread.join()
            raise

    @property
    def n_waiting(self) -> int:
        with self.wake:
            return len(self.all_waiting())

    def all_waiting(self) -> list[Generation]:
        return [generation for users in self.waiting.values() for queue in users.values() for generation in queue]

    def submit(self, generations: Sequence[Generation]) -> None:
        """
        Queue generations that belong together, one request's, of one client. Raises QueueFull, and takes none, without
        a place. An address that has nothing waiting gets one in a full queue, so that nobody keeps the others out.
        """
        address, _ = generations[0].request.client
        with self.wake:
            if self.failure or self.stopping:
                raise QueueFull("the server stops")
            n_waiting = len({id(generation.deltas) for generation in self.all_waiting()})
            n_places = self.queue + self.engine.running.count(None)
            is_new = self.queue > 0 and address not in self.waiting
            if n_waiting >= (2 * n_places if is_new else n_places):
                raise QueueFull(f"{n_waiting} requests are waiting already")
            for generation in generations:
                self.enqueue(generation)
            self.wake.notify()

    def enqueue(self, generation: Generation) -> None:
        address, user = generation.request.client
        self.waiting.setdefault(address, {}).setdefault(user, deque()).append(generation)

    def cancel(self, generation: Generation) -> None:
        """Drop a generation, whether it waits, runs or has ended."""
        with self.wake:
            generation.cancelled = True
            self.wake.notify()

    def stop(self) -> None:
        """Let what runs and waits end, then the thread."""
        with self.wake:
            self.stopping = True
            self.wake.notify()

    def run(self, open_engine: Callable[[], Engine], opened: Future[Engine]) -> None:
        """The engine's thread."""
        try:
            self.engine = open_engine()
        except BaseException as error:
            opened.set_exception(error)  # __init__ raises it
            if isinstance(error, InputError | OSError | RuntimeError):
                return
            raise  # a bug of ours
        opened.set_result(self.engine)
        try:
            while True:
                with self.wake:
                    self.drop_cancelled()
                    self.admit()
                    while not self.running and not self.stopping:
                        self.wake.wait()
                        self.drop_cancelled()
                        self.admit()
                    if self.stopping and not self.running:
                        return
                self.step()
        except BaseException as error:
            with self.wake:  # else a request that is just submitted would wait for ever
                self.failure = error
                unfinished = [*self.running.values(), *self.all_waiting()]
            publish([(generation, Delta("", None, failure=Failure.ENGINE)) for generation in unfinished])
            raise

    def drop_cancelled(self) -> None:
        """Drop the generations whose clients have left, and those that waited for a slot until their deadline."""
        for sequence, generation in list(self.running.items()):
            if generation.cancelled:
                self.engine.abort(sequence)
                del self.running[sequence]
                self.served["cancelled"] += 1
        now, dropped = time.monotonic(), 0
        for generation in (waiting := self.all_waiting()):
            if generation.request.deadline < now and not generation.cancelled:
                generation.cancelled = True
                publish([(generation, Delta("", None, failure=Failure.TIMEOUT))])
            dropped += generation.cancelled
        if dropped:
            self.served["cancelled"] += dropped
            self.waiting.clear()
            for generation in waiting:
                if not generation.cancelled:
                    self.enqueue(generation)

    def admit(self) -> None:
        """Give free slots to those that wait: to the address, and there to the user, that has the fewest, in turn."""
        while self.waiting and None in self.engine.running:
            clients = [generation.request.client for generation in self.running.values()]
            address = min(self.waiting, key=[address for address, _ in clients].count)
            users = self.waiting.pop(address)
            user = min(users, key=[user for other, user in clients if other == address].count)
            queue = users.pop(user)
            generation = queue.popleft()
            if queue:
                users[user] = queue
            if users:
                self.waiting[address] = users
            request = generation.request
            sequence = self.engine.add_request(
                request.ids,
                request.sampling,
                suppress_tokens=request.suppress_tokens,
                stop_token_ids=request.stop_token_ids,
                recent=request.recent,
                score_prompt=request.echo is not None and request.sampling.logprobs is not None,
            )
            generation.sequence, self.running[sequence] = sequence, generation
            self.served["prompt"] += len(request.ids)
            logger.debug("a slot after %.3f s", time.monotonic() - generation.submitted_at)

    def step(self) -> None:
        """One more token for each sequence that runs."""
        computed, deltas = self.engine.computed, []
        for sequence, token in self.engine.step():
            generation = self.running[sequence]
            self.served["generated"] += token.id is not None
            delta = generation.token(token, late=time.monotonic() > generation.request.deadline)
            if delta:
                deltas.append((generation, delta))
            if delta and delta.is_last:
                generation.has_ended = True
                self.engine.abort(sequence)
                del self.running[sequence]
                self.served["finished"] += 1
        publish(deltas)
        self.served["computed"] += self.engine.computed - computed

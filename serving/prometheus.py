"""/metrics: the server's counters and gauges, and how long replies take, by Prometheus' own client."""

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from serving.generation import Generation
from serving.scheduler import Scheduler

PREFIX = "nanochatgpt_"
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
SECONDS_A_TOKEN = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)


class Metrics:
    """The histograms of one server, and the text of all its metrics."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def histogram(name: str, description: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(PREFIX + name, description, buckets=buckets, registry=self.registry)

        self.first_token = histogram("first_token_seconds", "from a request to its first token", SECONDS)
        self.token = histogram("token_seconds", "from a token to the next, the mean of each reply", SECONDS_A_TOKEN)
        self.reply = histogram("reply_seconds", "from a request to the end of its reply", SECONDS)

    def observe(self, generation: Generation) -> None:
        """Count a reply as far as it came: when its tokens were made, however slowly a client takes them."""
        first, last = generation.seconds_to_first_token, generation.seconds_to_last_token
        if generation.has_ended:
            self.reply.observe(last)
        if first is not None:
            self.first_token.observe(first)
            if generation.n_tokens > 1:
                self.token.observe((last - first) / (generation.n_tokens - 1))

    def text(self, scheduler: Scheduler, counts: Mapping[tuple[str, int], int]) -> str:
        """In Prometheus' text format. counts: {(path, status): requests}."""
        registry = CollectorRegistry()
        registry.register(Counters(scheduler, counts))
        return (generate_latest(registry) + generate_latest(self.registry)).decode()


class Counters:
    """What the scheduler and the access log count, as prometheus_client collects it."""

    def __init__(self, scheduler: Scheduler, counts: Mapping[tuple[str, int], int]) -> None:
        self.scheduler, self.counts = scheduler, counts

    def collect(self) -> Iterator[Metric]:
        served = self.scheduler.served
        requests = CounterMetricFamily(f"{PREFIX}requests", "requests", labels=["path", "status"])
        for (path, status), n in sorted(self.counts.items()):
            requests.add_metric([path, str(status)], n)
        yield requests
        yield CounterMetricFamily(f"{PREFIX}prompt_tokens", "tokens of prompts", value=served["prompt"])
        yield CounterMetricFamily(f"{PREFIX}computed_tokens", "tokens through the model", value=served["computed"])
        yield CounterMetricFamily(f"{PREFIX}generated_tokens", "tokens of replies", value=served["generated"])
        replies = CounterMetricFamily(f"{PREFIX}replies", "replies", labels=["end"])
        for end in ("finished", "cancelled"):
            replies.add_metric([end], served[end])
        yield replies
        n_slots, n_running = len(self.scheduler.engine.running), len(self.scheduler.running)
        yield GaugeMetricFamily(f"{PREFIX}slots", "replies at once at most", value=n_slots)
        yield GaugeMetricFamily(f"{PREFIX}slots_in_use", "replies now", value=n_running)
        yield GaugeMetricFamily(f"{PREFIX}waiting", "replies that wait for a slot", value=self.scheduler.n_waiting)

"""/metrics in Prometheus' text format. (prometheus_client would add a dependency to write these eight metrics.)"""

from collections.abc import Iterable, Mapping

from serving.scheduler import Scheduler


def prometheus_text(scheduler: Scheduler, counts: Mapping[tuple[str, int], int]) -> str:
    """The server's counters and gauges. counts: {(path, status): requests}."""
    lines: list[str] = []

    def add(name: str, kind: str, description: str, samples: Iterable[tuple[str, int]]) -> None:
        lines.append(f"# HELP nanochatgpt_{name} {description}\n# TYPE nanochatgpt_{name} {kind}")
        lines.extend(f"nanochatgpt_{name}{labels} {value}" for labels, value in samples)

    served, n_running = scheduler.served, len(scheduler.running)
    requests = [(f'{{path="{path}",status="{status}"}}', n) for (path, status), n in sorted(counts.items())]
    add("requests_total", "counter", "requests", requests)
    add("prompt_tokens_total", "counter", "tokens of prompts", [("", served["prompt"])])
    add("computed_tokens_total", "counter", "tokens that went through the model", [("", served["computed"])])
    add("generated_tokens_total", "counter", "tokens of replies", [("", served["generated"])])
    add("replies_total", "counter", "replies", [(f'{{end="{end}"}}', served[end]) for end in ("finished", "cancelled")])
    add("slots", "gauge", "replies at once at most", [("", len(scheduler.engine.running))])
    add("slots_in_use", "gauge", "replies now", [("", n_running)])
    add("waiting", "gauge", "requests that wait for a slot", [("", scheduler.n_waiting)])
    return "\n".join(lines) + "\n"

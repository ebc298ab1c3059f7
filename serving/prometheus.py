"""/metrics in Prometheus' text format."""


def prometheus_text(service, counts):
    """Prometheus' text of the counters."""
    lines = []

    def tell(name, kind, about, values):
        lines.append(f"# HELP nanochatgpt_{name} {about}\n# TYPE nanochatgpt_{name} {kind}")
        lines.extend(f"nanochatgpt_{name}{label} {value}" for label, value in values)

    served, running = service.served, len(service.talking)
    by = sorted(counts.items())
    tell("requests_total", "counter", "requests", [(f'{{path="{p}",status="{s}"}}', n) for (p, s), n in by])
    tell("prompt_tokens_total", "counter", "tokens of prompts", [("", served["prompt"])])
    tell("computed_tokens_total", "counter", "tokens that went through the model", [("", served["computed"])])
    tell("generated_tokens_total", "counter", "tokens of replies", [("", served["generated"])])
    tell("replies_total", "counter", "replies", [(f'{{end="{e}"}}', served[e]) for e in ("finished", "cancelled")])
    tell("slots", "gauge", "replies at once at most", [("", len(service.engine.running))])
    tell("slots_in_use", "gauge", "replies now", [("", running)])
    tell("waiting", "gauge", "requests that wait for a slot", [("", service.n_waiting)])
    return "\n".join(lines) + "\n"
